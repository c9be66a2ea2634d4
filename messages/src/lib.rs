//! The vocabulary of Coppicer: ids, ops, messages, events, outcomes, refusals and limits.
//!
//! Data only: nothing here reads a clock, starts a task, or touches a file. The other crates of
//! Coppicer speak in these words; hosts use them through the facade crate `coppicer`.

mod account;
mod adopt;
mod budget;
mod close;
mod codec;
mod crash;
mod deadline;
mod details;
mod event;
mod facts;
mod fork;
mod holdings;
mod ids;
mod label;
mod lease;
mod limits;
mod op;
mod outcome;
mod path;
mod record;
mod refusal;
mod reply;
mod restart;
mod spawn;
mod status;
mod supervisor_msg;
#[doc(hidden)]
pub mod text;
mod thread_msg;
mod trace;
mod tree;
mod trouble;
mod turn_phase;

pub use account::{EntryAccount, EntryStage, QUEUED_NAMED_MAX, QueuedSubmission, ThreadAccount};
pub use adopt::AdoptError;
pub use budget::{Amounts, Budget, Charge, Dimension, Ledger};
pub use close::{CloseOrder, CloseReport, CloseScope, ThreadClosed};
pub use codec::{CodecError, FRAME_BYTES_MAX, FRAME_BYTES_OVERHEAD, FRAME_VERSION, decode, encode};
pub use crash::{AfterPoison, CRASHES_KEPT_MAX, CrashRecord, Poison};
pub use deadline::Deadline;
pub use details::{Change, GitDetails, GitPatch, ThreadDetails, ThreadPatch};
pub use event::{
    Ended, Event, EventKind, Fact, QuestionId, RuntimeEvent, SpawnOrigin, ThreadEvent, Usage,
};
pub use facts::{FactField, FactRow};
pub use fork::{ForkPoint, ForkRefusal};
pub use holdings::Holdings;
pub use ids::{Epoch, IdError, Seq, SubmissionId, ThreadId, TurnId};
#[doc(hidden)]
pub use ids::{ThreadHasher, ThreadMap};
pub use label::Label;
pub use lease::{Lease, LeaseBook, LeaseKind};
pub use limits::{
    CONCERN_BYTES_MAX, CONCERNS_BYTES_MAX, CONCERNS_MAX, LimitRow, Limits, MOVES_MAX,
};
pub use op::{
    ACQUIRED_MAIL_MAX, Delivery, InputPart, MAIL_PAGE_MAX, Mail, MailId, MailPage, MailPlace,
    MailRest, Op, Submission, UserInput,
};
pub use outcome::{Accepted, Interrupted, Outcome, Rung, SubmissionState};
pub use path::{AgentPath, PathError};
pub use record::{
    AbortReason, CallId, MessagePhase, NewRecord, Raw, Record, RecordClass, ToolKind, TurnRef,
};
pub use refusal::{
    ArchiveError, CloseError, ControlError, DeleteError, FundError, LimitReached, OutcomeError,
    PatchError, SpawnError, StoreError, SubmitError, TapError,
};
pub use reply::{Answer, NoAnswer, Reply};
pub use restart::{
    AutoShutdown, Backoff, Children, OnSpent, ParentClose, Restart, RestartLimit, RestartPolicy,
    Strategy,
};
pub use spawn::{OnCrash, OnLimit, Origin, Placement, SpawnThread, ThreadConfig};
pub use status::{Phase, StatusFact, ThreadStatus, status_after};
pub use supervisor_msg::{Asker, SupervisorMsg, SupervisorTick};
pub use thread_msg::{Flushed, KnownSubmission, Now, ThreadMsg, ThreadTick, TurnItem, TurnPermit};
pub use trace::{TRACE_STATE_BYTES_MAX, TRACE_STATE_MEMBERS_MAX, TraceContext, TraceContextError};
pub use tree::TreeLimits;
pub use trouble::StoreTrouble;
pub use turn_phase::{Remedy, StuckPolicy, TurnPhase, Wait};
