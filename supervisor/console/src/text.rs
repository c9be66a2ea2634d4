//! Foreign texts: cut to what a row holds, and escaped so that JSON on a terminal does not steer it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text, cut at `max` bytes; an ellipsis stands for what is left out.
pub(crate) fn cut(text: &str, max: usize) -> String {
    cut_marked(text, max).0
}

/// The same, and whether something was left out.
pub(crate) fn cut_marked(text: &str, max: usize) -> (String, bool) {
    if text.len() <= max {
        return (text.to_owned(), false);
    }
    let end = (0..=max).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    (format!("{}…", &text[..end]), true)
}

/// Whether a character would steer a terminal, or turn the direction of what follows.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{206f}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text with what would steer a terminal as `\uXXXX`: of JSON the same JSON, since such characters
/// stand in strings only.
pub(crate) fn escaped(json: &str) -> Cow<'_, str> {
    // Nearly all is ASCII, of which JSON has escaped what steers, but for DEL.
    if !json.bytes().any(|byte| byte >= 0x7f) || !json.contains(steers) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if steers(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(cut("plain", 5), "plain");
        assert_eq!(cut("plain!", 5), "plain…");
        assert_eq!(cut("aä木", 2), "a…");
        assert_eq!(cut_marked("aä木", 3), ("aä…".to_owned(), true));
        assert_eq!(cut_marked("", 0), (String::new(), false));
    }

    #[test]
    fn what_steers_a_terminal_is_escaped_and_means_the_same_in_json() {
        let hostile = "a\u{1b}[31m\u{7f}\u{9b}b\u{202e}c\u{e0041}\u{2028}ä木\n\t\"<script>";
        let json = serde_json::to_string(hostile).unwrap();
        let line = escaped(&json);
        assert!(!line.contains(steers) && line.contains("\\u202e") && line.contains("ä木"));
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), hostile);
        assert!(matches!(escaped("{\"plain\":1}"), Cow::Borrowed(_)));
    }
}
