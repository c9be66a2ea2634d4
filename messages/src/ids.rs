//! Ids of threads, turns, submissions and records.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Names one thread for ever: a UUID, version 7 for the threads made here, so that ids sort by
/// creation time. Its text is the canonical lower-case form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ThreadId(Uuid);

/// Hashes ids of threads: with a random seed of its own for each map. Ids may come from outside, and
/// whoever makes them knows neither the seeds nor any hash; so the speed of a few multiplications is
/// not paid for with maps that can be made slow on purpose.
#[doc(hidden)]
pub type ThreadHasher = foldhash::fast::RandomState;

/// A map by thread.
#[doc(hidden)]
pub type ThreadMap<T> = HashMap<ThreadId, T, ThreadHasher>;

/// In one piece.
impl Hash for ThreadId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(*self.0.as_bytes()));
    }
}

impl ThreadId {
    /// The id with these 128 bits.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// A version 7 id from its parts: milliseconds since the Unix epoch and ten random bytes.
    pub fn from_parts(at_ms: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(at_ms, &random).into_uuid())
    }

    /// The 128 bits of the id.
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// A thread id is a UUID and this is none.
    #[error(
        "`{text}` is no thread id: expected a UUID such as 0197f0a2-4c11-7d3e-9a55-0c6f3a1b2c3d"
    )]
    NotUuid {
        /// What was given, cut at 64 characters.
        text: String,
    },
    /// A submission or turn id has 1 to 128 characters of `[A-Za-z0-9._:-]`.
    #[error("`{text}` is no id: expected 1 to 128 characters of A-Z a-z 0-9 . _ : -")]
    BadCharacters {
        /// What was given, cut at 64 characters.
        text: String,
    },
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

impl FromStr for ThreadId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::parse_str(text).map(Self).map_err(|_| IdError::NotUuid { text: cut(text) })
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(ArcStr);

        impl $name {
            /// Most characters of such an id.
            pub const LENGTH_MAX: usize = 128;

            /// Checks and takes `text`.
            ///
            /// # Errors
            /// [`IdError::BadCharacters`] unless it has 1 to 128 characters of `[A-Za-z0-9._:-]`.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                let sound = (1..=Self::LENGTH_MAX).contains(&text.len())
                    && text
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
                if sound {
                    Ok(Self(ArcStr::from(text)))
                } else {
                    Err(IdError::BadCharacters { text: cut(text) })
                }
            }

            /// The id whose text is this UUID.
            pub fn from_uuid(uuid: Uuid) -> Self {
                let mut text = [0u8; 36];
                Self(ArcStr::from(&*uuid.as_hyphenated().encode_lower(&mut text)))
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id! {
    /// Names one submission within its thread: chosen by the caller, or made for it. The same id
    /// sent again gets the first answer and runs nothing twice (P3).
    SubmissionId
}

text_id! {
    /// Names one turn within its thread. A turn has the id of the submission that started it; a
    /// further attempt at the same submission has `.2`, `.3`, … behind it.
    TurnId
}

impl TurnId {
    /// The id of attempt `attempt` (from 1) at `submission`.
    pub fn of_attempt(submission: &SubmissionId, attempt: u32) -> Self {
        if attempt <= 1 {
            Self(submission.0.clone())
        } else {
            let suffix = format!(".{attempt}");
            let keep = submission.0.len().min(Self::LENGTH_MAX - suffix.len());
            Self(ArcStr::from(format!("{}{suffix}", &submission.0[..keep])))
        }
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The next number.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The number `count` further on.
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                Self(self.0 + count)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The place of a record in its thread: from 0, without gaps.
    Seq
}

number! {
    /// Counts the lives of a thread's actor. The store refuses a write of an older one (P1).
    Epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_id_is_a_uuid_and_says_so_when_it_is_none() {
        let id: ThreadId = "0197f0a2-4c11-7d3e-9a55-0c6f3a1b2c3d".parse().unwrap();
        assert_eq!(id.to_string(), "0197f0a2-4c11-7d3e-9a55-0c6f3a1b2c3d");
        let error = "not-a-uuid".parse::<ThreadId>().unwrap_err();
        assert!(error.to_string().contains("`not-a-uuid` is no thread id"), "{error}");
    }

    #[test]
    fn ids_made_later_sort_later() {
        let early = ThreadId::from_parts(1_000, [255; 10]);
        let late = ThreadId::from_parts(1_001, [0; 10]);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.as_uuid().get_version_num(), 7);
    }

    #[test]
    fn submission_ids_are_bounded_at_128_plain_characters() {
        assert!(SubmissionId::new("a".repeat(128)).is_ok());
        for bad in [String::new(), "a".repeat(129), "a b".into(), "a/b".into(), "é".into()] {
            assert!(SubmissionId::new(&bad).is_err(), "{bad:?}");
            assert!(serde_json::from_value::<SubmissionId>(bad.into()).is_err());
        }
    }

    #[test]
    fn a_second_attempt_has_an_id_of_its_own() {
        let submission = SubmissionId::new("s").unwrap();
        assert_eq!(TurnId::of_attempt(&submission, 1).as_str(), "s");
        assert_eq!(TurnId::of_attempt(&submission, 2).as_str(), "s.2");
        let long = SubmissionId::new("x".repeat(128)).unwrap();
        assert_eq!(TurnId::of_attempt(&long, 3).as_str().len(), 128);
    }
}
