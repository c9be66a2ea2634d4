//! Recordings: the items of a tap in a file, to be replayed.
//!
//! A file is frames of [`encode`](coppicer_messages::encode), one after the other: a header, then the
//! items. Each has its own checksum. The body of a fact is JSON inside its frame, because facts are
//! added from version to version; what they are about is not. A recording can be thrown away: it is
//! written behind, without an fsync for each event, and is no history.

mod error;
mod form;
mod reader;
mod writer;

pub use error::RecordError;
pub use reader::{Recording, recording_files};
pub use writer::{RecordOptions, Recorded, Recorder};
