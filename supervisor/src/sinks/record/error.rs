//! What can go wrong with a recording.

use std::io;
use std::path::PathBuf;

use coppicer_messages::CodecError;

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file cannot be opened or made.
    #[error("{}: cannot be opened", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another recorder writes it.
    #[error("{}: another recorder writes it", path.display())]
    Busy {
        /// Which.
        path: PathBuf,
    },
    /// There is something else in the file. It is left alone.
    #[error("{}: this is no recording", path.display())]
    NotARecording {
        /// Which.
        path: PathBuf,
    },
    /// It is of another version: its header, or already its frames.
    #[error("{}: a recording of version {found}, expected {expected}", path.display())]
    UnknownVersion {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The newest that is known here.
        expected: u16,
    },
    /// The file cannot be written. What was written before is whole.
    #[error("{}: cannot be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be read on.
    #[error("{}: cannot be read at byte {offset}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// How far it was read.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An item is not as it was written. Reading goes on behind it if that place is known.
    #[error("{}: damaged at byte {offset}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where its frame begins.
        offset: u64,
        /// How.
        #[source]
        source: CodecError,
    },
    /// An item is sound and says what is not known here. Reading goes on behind it.
    #[error("{}: not known in this version, at byte {offset}: {reason}", path.display())]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// Where its frame begins.
        offset: u64,
        /// What is not known.
        reason: String,
    },
    /// The task that wrote was stopped.
    #[error("the recorder was stopped")]
    Stopped,
}
