//! Agent paths: names of agents within their tree (REF 3.4).

use std::fmt;
use std::str::FromStr;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};

/// The place of an agent in its tree: `/root`, or `/root/…` with segments of `a-z 0-9 _`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AgentPath(ArcStr);

/// Why a text is no agent path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing was given.
    #[error("an agent path must not be empty")]
    Empty,
    /// A segment may not be called this.
    #[error("`{segment}` is reserved and no agent name")]
    Reserved {
        /// The segment.
        segment: String,
    },
    /// A segment has other characters than `a-z 0-9 _`.
    #[error("agent name `{segment}` may use only a-z, 0-9 and _")]
    BadCharacters {
        /// The segment.
        segment: String,
    },
    /// An absolute path starts with `/root`.
    #[error("agent path `{path}` must start with /root")]
    BadStart {
        /// The path.
        path: String,
    },
    /// A path ends with a slash.
    #[error("agent path `{path}` must not end with a slash")]
    TrailingSlash {
        /// The path.
        path: String,
    },
    /// Longer than [`AgentPath::BYTES_MAX`].
    #[error("an agent path has at most {max} bytes, this one has {got}")]
    TooLong {
        /// The bound.
        max: usize,
        /// What was given.
        got: usize,
    },
}

impl AgentPath {
    /// Most bytes of a path.
    pub const BYTES_MAX: usize = 1024;

    /// The path of the root of every tree.
    pub fn root() -> Self {
        Self(ArcStr::from("/root"))
    }

    /// Whether this is the root's path.
    pub fn is_root(&self) -> bool {
        &*self.0 == "/root"
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The path of a child called `name`.
    ///
    /// # Errors
    /// A [`PathError`] if `name` is no segment.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        check_segment(name)?;
        Self::checked(format!("{}/{name}", self.0))
    }

    /// What `reference` means seen from here: an absolute path as it is, else relative to this one.
    ///
    /// # Errors
    /// A [`PathError`] if it is neither.
    pub fn resolve(&self, reference: &str) -> Result<Self, PathError> {
        if reference.is_empty() {
            return Err(PathError::Empty);
        }
        if reference.starts_with('/') {
            return reference.parse();
        }
        if reference.ends_with('/') {
            return Err(PathError::TrailingSlash { path: reference.to_owned() });
        }
        reference.split('/').try_fold(self.clone(), |at, segment| at.join(segment))
    }

    /// Whether `self` is `other` or below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// This path once what was called `from` is called `to`; as it is if it is not within `from`.
    ///
    /// # Errors
    /// It would be too long.
    pub fn renamed(&self, from: &Self, to: &Self) -> Result<Self, PathError> {
        if !self.is_within(from) {
            return Ok(self.clone());
        }
        Self::checked(format!("{}{}", to.0, &self.0[from.0.len()..]))
    }

    /// The text of the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn checked(path: String) -> Result<Self, PathError> {
        if path.len() > Self::BYTES_MAX {
            return Err(PathError::TooLong { max: Self::BYTES_MAX, got: path.len() });
        }
        Ok(Self(ArcStr::from(path)))
    }
}

fn check_segment(segment: &str) -> Result<(), PathError> {
    if segment.is_empty() {
        return Err(PathError::Empty);
    }
    if matches!(segment, "root" | "." | "..") {
        return Err(PathError::Reserved { segment: segment.to_owned() });
    }
    let sound = segment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if sound { Ok(()) } else { Err(PathError::BadCharacters { segment: segment.to_owned() }) }
}

impl FromStr for AgentPath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        if path == "/morpheus" {
            return Ok(Self(ArcStr::from(path)));
        }
        if path.len() > 1 && path.ends_with('/') {
            return Err(PathError::TrailingSlash { path: path.to_owned() });
        }
        let Some(rest) = path.strip_prefix("/root") else {
            return Err(PathError::BadStart { path: path.to_owned() });
        };
        if rest.is_empty() {
            return Ok(Self::root());
        }
        let Some(rest) = rest.strip_prefix('/') else {
            return Err(PathError::BadStart { path: path.to_owned() });
        };
        rest.split('/').try_for_each(check_segment)?;
        Self::checked(path.to_owned())
    }
}

impl fmt::Display for AgentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AgentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AgentPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ap_01_paths_resolve_and_refuse_as_the_reference_does() {
        let root = AgentPath::root();
        assert_eq!(root.name(), "root");
        let researcher = root.join("researcher").unwrap();
        assert_eq!(researcher.as_str(), "/root/researcher");
        assert_eq!(researcher.resolve("worker").unwrap().as_str(), "/root/researcher/worker");
        assert_eq!(researcher.resolve("/root/other").unwrap().as_str(), "/root/other");
        let bad =
            |error| assert!(matches!(error, Err(PathError::BadCharacters { .. })), "{error:?}");
        bad(root.join("BadName"));
        assert!(matches!("/not-root".parse::<AgentPath>(), Err(PathError::BadStart { .. })));
        assert!(matches!(root.resolve("../sibling"), Err(PathError::Reserved { .. })));
        assert!(matches!(root.resolve(""), Err(PathError::Empty)));
        assert!(matches!(root.resolve("a/"), Err(PathError::TrailingSlash { .. })));
    }

    #[test]
    fn a_prefix_matches_on_segment_boundaries_only() {
        let ab: AgentPath = "/root/ab".parse().unwrap();
        let a: AgentPath = "/root/a".parse().unwrap();
        assert!(!ab.is_within(&a));
        assert!(a.join("b").unwrap().is_within(&a) && a.is_within(&a));
    }
}
