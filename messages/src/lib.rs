//! The vocabulary of Coppicer.

mod ids;
mod record;

pub use ids::{Epoch, IdError, Seq, SubmissionId, ThreadId, TurnId};
pub use record::{AbortReason, CallId, MessagePhase, Raw, Record, RecordClass, ToolKind, TurnRef};
