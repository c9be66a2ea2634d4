//! Texts for a terminal. What sessions say is foreign: it must not steer the terminal.

use std::borrow::Cow;

use coppicer_messages::text;
pub(super) use coppicer_messages::text::{escaped, with_causes};

/// Whether a character would steer a terminal; line breaks and tabs are let be.
fn steers(c: char) -> bool {
    c != '\n' && c != '\t' && text::steers(c)
}

/// The text without what would steer a terminal.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(steers) {
        Cow::Owned(text.chars().filter(|&c| !steers(c)).collect())
    } else {
        Cow::Borrowed(text)
    }
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
