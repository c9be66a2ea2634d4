//! A text in one word: for rows of which there are as many as threads.

use std::fmt;
use std::ops::Deref;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};

/// A text that does not change. It takes one word where it stands, also as an `Option`; clones share its
/// bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(ArcStr);

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Label {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_word_and_looks_like_its_text() {
        assert_eq!(size_of::<Option<Label>>(), size_of::<usize>());
        let label = Label::from("Ash the 2nd");
        assert_eq!((label.as_str(), label.len()), ("Ash the 2nd", 11));
        assert_eq!(
            (format!("{label}"), format!("{label:?}")),
            ("Ash the 2nd".into(), "\"Ash the 2nd\"".into())
        );
        let json = serde_json::to_string(&label).unwrap();
        assert_eq!(json, "\"Ash the 2nd\"");
        assert_eq!(serde_json::from_str::<Label>(&json).unwrap(), label);
    }
}
