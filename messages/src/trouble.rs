//! What kind of trouble a store is in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of trouble a store is in that cannot write: what somebody has to do about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StoreTrouble {
    /// There is no room on the disk, or the store has reached its largest size. Make room.
    DiskFull,
    /// It may not be written: the file, its folder or the whole file system. Give the right back.
    ReadOnly,
    /// Somebody else holds it locked. It passes when they let go.
    Busy,
    /// Anything else: a disk that fails, a folder that is gone, memory that is short.
    #[default]
    #[serde(other)]
    Other,
}

impl StoreTrouble {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::Busy => "busy",
            Self::Other => "other",
        }
    }
}

/// In words, for people.
impl fmt::Display for StoreTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "disk full",
            Self::ReadOnly => "read only",
            Self::Busy => "busy",
            Self::Other => "other",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuntimeEvent;

    #[test]
    fn each_has_a_name_on_the_wire_and_what_is_not_known_here_is_other() {
        for trouble in [
            StoreTrouble::DiskFull,
            StoreTrouble::ReadOnly,
            StoreTrouble::Busy,
            StoreTrouble::Other,
        ] {
            let wire = serde_json::to_value(trouble).unwrap();
            assert_eq!(wire, trouble.as_str());
            assert_eq!(serde_json::from_value::<StoreTrouble>(wire).unwrap(), trouble);
        }
        let later: StoreTrouble = serde_json::from_str(r#""on_fire""#).unwrap();
        assert_eq!(later, StoreTrouble::Other);
    }

    #[test]
    fn a_fact_that_an_earlier_version_recorded_says_no_kind_and_is_read() {
        let earlier = r#"{"event":"store_ailing","reason":"no room"}"#;
        let read: RuntimeEvent = serde_json::from_str(earlier).unwrap();
        let reason = "no room".to_owned();
        assert_eq!(read, RuntimeEvent::StoreAiling { trouble: StoreTrouble::Other, reason });
    }
}
