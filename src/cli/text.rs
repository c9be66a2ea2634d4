//! Texts for a terminal. What sessions say is foreign: it must not steer the terminal.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;

/// Whether a character would steer a terminal, or turn the direction of what follows.
fn steers(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
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

/// The text without what would steer a terminal.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(steers) {
        Cow::Owned(text.chars().filter(|&c| !steers(c)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The text with what would steer a terminal as `\uXXXX`, as JSON has it: in a JSON text it means the
/// same.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| steers(c) || c == '\n' || c == '\t') {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) || c == '\n' || c == '\t' {
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

/// The text in one line, as it can be printed.
pub(super) fn one_line(text: &str) -> String {
    printable(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text cut to `width` columns; an ellipsis stands for what is left out.
pub(super) fn fit(text: &str, width: usize) -> String {
    if text.chars().map(columns).sum::<usize>() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let kept = text.chars().take_while(|&c| {
        let fits = columns(c) <= left;
        left = left.saturating_sub(columns(c));
        fits
    });
    kept.chain(['…']).collect()
}

/// Columns that a character takes on most terminals: East Asian scripts and emoji take two.
fn columns(c: char) -> usize {
    let wide = matches!(
        c,
        '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}'
            | '\u{1f300}'..='\u{1faff}'
            | '\u{20000}'..='\u{3fffd}'
    );
    if wide { 2 } else { 1 }
}

/// How long ago a time was, in the largest unit: `12s`, `5m`, `3h`, `8d`, `2y`.
pub(super) fn age(now_ms: u64, at_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(at_ms) / 1_000;
    let (number, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3_600 => (seconds / 60, "m"),
        3_600..86_400 => (seconds / 3_600, "h"),
        86_400..31_536_000 => (seconds / 86_400, "d"),
        _ => (seconds / 31_536_000, "y"),
    };
    format!("{number}{unit}")
}

/// An error and its causes, in one line. A cause that its error repeats is left out.
pub(super) fn with_causes(error: &dyn Error) -> String {
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

/// `one file`, `3 files`.
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_left_out() {
        assert_eq!(printable("a\u{1b}[31mb\u{7}\r\u{9b}c"), "a[31mbc");
        assert_eq!(printable("x\u{202e}y\u{2066}z\u{200f}"), "xyz");
        assert_eq!(one_line(" a\n b\t\u{1b}c "), "a b c");
        assert!(matches!(printable("plain\n\täöü 木"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_escaped_means_the_same_in_json() {
        let hostile = "a\u{1b}[31m\u{7f}\u{9b}b\u{202e}c\u{e0041}\u{2028}ä木\n\t\"";
        let json = serde_json::to_string(hostile).unwrap();
        let line = escaped(&json);
        assert!(
            !line.contains(steers) && line.contains("\\u202e") && line.contains("ä木"),
            "{line}"
        );
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), hostile);
        assert_eq!(escaped("a\nb"), "a\\u000ab");
    }

    #[test]
    fn a_text_is_cut_at_its_columns_with_an_ellipsis() {
        assert_eq!(fit("twelve chars", 12), "twelve chars");
        assert_eq!(fit("thirteen char", 12), "thirteen ch…");
        assert_eq!(fit("木木木", 6), "木木木");
        assert_eq!(fit("木木木", 5), "木木…");
        assert_eq!(fit("木木木", 4), "木…");
    }

    #[test]
    fn an_age_has_the_largest_unit_that_is_not_zero() {
        let ages = [(0, "0s"), (59, "59s"), (60, "1m"), (3_600, "1h"), (86_400, "1d")];
        for (seconds, text) in ages {
            assert_eq!(age(5_000 + seconds * 1_000, 5_000), text);
        }
        assert_eq!(age(400 * 86_400 * 1_000, 0), "1y");
        assert_eq!(age(0, 5_000), "0s", "clocks go back");
    }
}
