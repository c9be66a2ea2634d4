//! The vocabulary of Coppicer.

mod codec;
mod ids;
mod record;

pub use codec::{CodecError, FRAME_BYTES_MAX, FRAME_BYTES_OVERHEAD, FRAME_VERSION, decode, encode};
pub use ids::{Epoch, IdError, Seq, SubmissionId, ThreadId, TurnId};
pub use record::{AbortReason, CallId, MessagePhase, Raw, Record, RecordClass, ToolKind, TurnRef};
