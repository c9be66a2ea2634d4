//! Foreign texts where they are shown: they must not steer a terminal, or turn what stands beside them.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;

/// Whether a character would steer a terminal, or turn the direction of what follows. Line breaks and
/// tabs do.
pub fn steers(c: char) -> bool {
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
pub fn escaped(text: &str) -> Cow<'_, str> {
    // Nearly all is ASCII.
    if !text.bytes().any(|byte| !(0x20..0x7f).contains(&byte)) || !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
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

/// An error and its causes, in one line. A cause that its error repeats is left out.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped_and_means_the_same_in_json() {
        let hostile = "a\u{1b}[31m\u{7f}\u{9b}b\u{202e}c\u{e0041}\u{2028}ä木\n\t\"<script>";
        let json = serde_json::to_string(hostile).unwrap();
        let line = escaped(&json);
        assert!(
            !line.contains(steers) && line.contains("\\u202e") && line.contains("ä木"),
            "{line}"
        );
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), hostile);
        assert!(matches!(escaped("{\"plain\":1}"), Cow::Borrowed(_)));
        assert_eq!(escaped("a\nb"), "a\\u000ab");
    }
}
