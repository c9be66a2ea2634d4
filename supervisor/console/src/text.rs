//! Foreign texts, cut to what a row holds.

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
}
