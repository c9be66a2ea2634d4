//! The vocabulary of Coppicer.

mod fork;
mod ids;
mod record;

pub use fork::ForkPoint;
pub use ids::{Epoch, IdError, Seq, SubmissionId, ThreadId, TurnId};
pub use record::{
    AbortReason, CallId, MessagePhase, NewRecord, Raw, Record, RecordClass, ToolKind, TurnRef,
};
