//! Typed refusals: one enum for each thing that a caller can ask. Nobody has to read their text.

use std::time::Duration;

use crate::{IdError, NoAnswer, PathError, QuestionId, Seq, SubmissionId, ThreadId, TurnId};

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No such thread.
    #[error("the store has no thread {thread}")]
    NotFound {
        /// Which.
        thread: ThreadId,
    },
    /// The id is taken.
    #[error("the store already has a thread {thread}")]
    Exists {
        /// Which.
        thread: ThreadId,
    },
    /// The writer's epoch is not the thread's newest: another incarnation took over (P1).
    #[error("a newer incarnation of thread {thread} took over; this write was refused")]
    Fenced {
        /// Which.
        thread: ThreadId,
    },
    /// The writer expected another head: a record is missing or was written twice.
    #[error("thread {thread} has its head at {head}, not at {expected}; this write was refused")]
    HeadConflict {
        /// Which.
        thread: ThreadId,
        /// What the writer expected.
        expected: Seq,
        /// What is so.
        head: Seq,
    },
    /// The store cannot work now. The write was surely not applied.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// The write may or may not have been applied: acquire the thread again and read.
    #[error("it is unknown whether the write was applied: {reason}")]
    UnknownOutcome {
        /// Why.
        reason: String,
    },
    /// A record is damaged.
    #[error("record {seq} of thread {thread} is damaged: {reason}")]
    Corrupt {
        /// Whose.
        thread: ThreadId,
        /// Which.
        seq: Seq,
        /// How.
        reason: String,
    },
    /// A record or batch is too large.
    #[error("{what} has {got}, more than the limit of {max}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is.
        got: usize,
        /// How large it may be.
        max: usize,
    },
    /// The parent of a new thread is unknown, or would make a cycle.
    #[error("thread {thread} cannot have parent {parent}: {reason}")]
    BadParent {
        /// The child.
        thread: ThreadId,
        /// The parent.
        parent: ThreadId,
        /// Why.
        reason: &'static str,
    },
    /// A child of the same parent that is not closed has the path.
    #[error("agent path `{path}` is that of thread {by}")]
    PathTaken {
        /// The path.
        path: String,
        /// Whose it is.
        by: ThreadId,
    },
    /// A cursor that no list of this store gave.
    #[error("`{cursor}` is no cursor of a list: pass on what the page before gave as `next`")]
    BadCursor {
        /// What was given, cut at 64 characters.
        cursor: String,
    },
    /// The store cannot do this at all.
    #[error("the store does not support {operation}")]
    Unsupported {
        /// What.
        operation: &'static str,
    },
}

/// A limit that was met, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit {limit} of {value} is reached; {advice}")]
pub struct LimitReached {
    /// The field of [`Limits`](crate::Limits) or [`TreeLimits`](crate::TreeLimits), or `budget.` and
    /// the field of [`Budget`](crate::Budget).
    pub limit: &'static str,
    /// Its value; of a budget that a new thread asks too much of, what is left.
    pub value: u64,
    /// Who holds it: at most 16 threads, oldest first; empty where nobody in particular does.
    pub holders: Vec<ThreadId>,
    /// After which time it may be worth asking again; none if only a change helps.
    pub retry_after: Option<Duration>,
    /// What helps.
    pub advice: &'static str,
}

/// Why a thread was not spawned, resumed or forked. Nothing of it remains (P4).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// No such thread is in the store.
    #[error("there is no thread {thread}")]
    NotFound {
        /// Which.
        thread: ThreadId,
    },
    /// The id is taken.
    #[error("thread {thread} exists already; resume it, or choose another id")]
    Exists {
        /// Which.
        thread: ThreadId,
    },
    /// The parent is not there, or is itself ending.
    #[error("parent {parent} is not running; resume it first")]
    ParentGone {
        /// Which.
        parent: ThreadId,
    },
    /// The thread, an ancestor of it, or everything is closing.
    #[error("thread {thread} is closing; nothing new starts below it")]
    Closing {
        /// Which.
        thread: ThreadId,
    },
    /// The thread, or one above it, is closed; what is sent to it does not open it again.
    #[error("thread {thread} is closed; resume it first")]
    Closed {
        /// Which.
        thread: ThreadId,
    },
    /// The turn that asked is not the running one any more.
    #[error("the turn that asked was stopped; it can start nothing any more")]
    Fenced,
    /// The name is that of a thread of this tree that is not closed, in memory or not.
    #[error("agent path `{path}` already exists in this tree")]
    PathTaken {
        /// The path.
        path: String,
    },
    /// The name is no name.
    #[error(transparent)]
    BadPath(#[from] PathError),
    /// What the thread's configuration says does not go together.
    #[error("`{field}` cannot be so: {reason}")]
    BadConfig {
        /// The field of [`ThreadConfig`](crate::ThreadConfig).
        field: &'static str,
        /// Why, and what helps.
        reason: &'static str,
    },
    /// The thread runs with another rollout path than the one asked for.
    #[error("thread {thread} is already running with a different rollout path")]
    PathMismatch {
        /// Which.
        thread: ThreadId,
    },
    /// A limit is reached.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// The fork point is not in the source.
    #[error("cannot fork {thread}: {reason}")]
    Fork {
        /// The source, which is unchanged.
        thread: ThreadId,
        /// Why.
        #[source]
        reason: crate::ForkRefusal,
    },
    /// The store refused or failed.
    #[error("cannot store the thread")]
    Store(#[source] StoreError),
    /// The history cannot be read.
    #[error("cannot read the history of {thread}: {reason}")]
    Damaged {
        /// Whose.
        thread: ThreadId,
        /// Why.
        reason: String,
    },
    /// The first submission was refused.
    #[error("the first submission was refused")]
    FirstSubmission(#[source] Box<SubmitError>),
    /// The deadline came first. The thread does not exist, or is being undone.
    #[error("no answer by the deadline; what had been started is undone")]
    NoAnswer,
    /// The runtime has ended.
    #[error("the runtime has ended")]
    RuntimeEnded,
}

/// Why a submission was not accepted. It will not run, unless the variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// No such thread is in the store.
    #[error("there is no thread {thread}")]
    NotFound {
        /// Which.
        thread: ThreadId,
    },
    /// The inbox is full.
    #[error(
        "the inbox of the thread holds {depth} of {capacity} submissions; try again when some have run"
    )]
    Overloaded {
        /// How many wait.
        depth: usize,
        /// How many may.
        capacity: usize,
    },
    /// The thread is closing or closed; `resume` opens it again.
    #[error("thread {thread} is closed; resume it first")]
    Closed {
        /// Which.
        thread: ThreadId,
    },
    /// The thread is parked; `revive` lets it run again.
    #[error("thread {thread} is parked after its restarts were spent; revive it first")]
    Parked {
        /// Which.
        thread: ThreadId,
    },
    /// The budget that the thread draws on is spent: no turn starts until there is more.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// There is nothing in the input.
    #[error("the input is empty")]
    EmptyInput,
    /// The body is too large.
    #[error("the submission has {got} bytes, more than the limit of {max}")]
    TooLarge {
        /// How large it is.
        got: usize,
        /// How large it may be.
        max: usize,
    },
    /// An id or a field of the op is not as it must be.
    #[error("bad {field}: {reason}")]
    BadRequest {
        /// Which.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// The same id was used for another body. That one stands.
    #[error("submission id {submission} was used for something else; choose another")]
    Conflict {
        /// Which.
        submission: SubmissionId,
    },
    /// No turn runs that it could steer.
    #[error("no turn is running")]
    NoActiveTurn,
    /// Another turn runs than the one that was to be steered.
    #[error("turn {actual} is running, not {expected}")]
    ExpectedTurnMismatch {
        /// The one that was named.
        expected: TurnId,
        /// The one that runs.
        actual: TurnId,
    },
    /// The running turn takes no input.
    #[error("turn {turn} is a {kind} turn and takes no input")]
    NotSteerable {
        /// Which.
        turn: TurnId,
        /// Of which kind.
        kind: &'static str,
    },
    /// It is refused while a turn runs.
    #[error("turn {turn} is running")]
    Busy {
        /// Which.
        turn: TurnId,
    },
    /// No such question waits for an answer.
    #[error("no question {question} waits for an answer")]
    UnknownQuestion {
        /// Which.
        question: QuestionId,
    },
    /// This version cannot do it.
    #[error("op `{op}` is not supported by this version")]
    Unsupported {
        /// Which.
        op: &'static str,
    },
    /// The thread had no actor, and could not be given one: it is surely not accepted.
    #[error("thread {thread} could not be brought up")]
    NotUp {
        /// Which.
        thread: ThreadId,
        /// Why.
        #[source]
        reason: Box<SpawnError>,
    },
    /// The store refused: it is surely not accepted.
    #[error("cannot store the submission")]
    Store(#[source] StoreError),
    /// It may or may not have been accepted: ask again with the same id.
    #[error(
        "it is unknown whether submission {submission} was accepted; ask again with the same id"
    )]
    Unknown {
        /// Which.
        submission: SubmissionId,
    },
    /// The deadline came first. A request that had not been taken up will not be; one that had
    /// been may be accepted: ask again with the same id.
    #[error("no answer by the deadline; ask again with the same id")]
    NoAnswer,
    /// The runtime has ended.
    #[error("the runtime has ended")]
    RuntimeEnded,
}

/// Why an interrupt, a revival or another control request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No such thread is in the store, or it is closed.
    #[error("there is no thread {thread}")]
    NotFound {
        /// Which.
        thread: ThreadId,
    },
    /// Too many control messages wait.
    #[error("{waiting} control messages wait already; try again")]
    Overloaded {
        /// How many.
        waiting: usize,
    },
    /// The thread is in a state where this means nothing.
    #[error("thread {thread} is {phase}, where this cannot be done")]
    WrongPhase {
        /// Which.
        thread: ThreadId,
        /// Its phase.
        phase: &'static str,
    },
    /// The thread had no actor, and could not be given one.
    #[error("thread {thread} could not be brought up")]
    NotUp {
        /// Which.
        thread: ThreadId,
        /// Why.
        #[source]
        reason: Box<SpawnError>,
    },
    /// The deadline came first; it may still happen.
    #[error("no answer by the deadline")]
    NoAnswer,
    /// The runtime has ended.
    #[error("the runtime has ended")]
    RuntimeEnded,
}

/// Why a close has no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Neither loaded nor in the store.
    #[error("there is no thread {thread}")]
    NotFound {
        /// Which.
        thread: ThreadId,
    },
    /// Too many requests are under way.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// The supervisor did not answer: its host's threads are blocked. A close that is taken up after its
    /// deadline is carried out all the same, with no time left for anybody. It is the one request that is
    /// (P4): what it was to end would go on. Or, of a close that comes before something else (an archive, a
    /// deletion): the store did not say what there is to close.
    #[error("no answer by the deadline")]
    NoAnswer,
    /// The runtime has ended; so has everything in it.
    #[error("the runtime has ended")]
    RuntimeEnded,
}

/// Why a thread got no more of a budget. Nothing changed, unless the variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FundError {
    /// No such thread is up: it is not in the store, or closed, or could not be brought up.
    #[error("thread {thread} is not up")]
    NotUp {
        /// Which.
        thread: ThreadId,
        /// Why.
        #[source]
        reason: Box<SpawnError>,
    },
    /// The thread's own budget does not limit this: it draws on what is above it.
    #[error("thread {thread} has no {limit} of its own")]
    NotLimited {
        /// Which.
        thread: ThreadId,
        /// What.
        limit: &'static str,
    },
    /// What is above it has too little left.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// It is being put elsewhere: what it is given would come from one place or the other.
    #[error("thread {thread} is being moved; ask again")]
    Moving {
        /// Which.
        thread: ThreadId,
    },
    /// The store refused.
    #[error("cannot store the budget")]
    Store(#[source] StoreError),
    /// The deadline came first; it may still be funded.
    #[error("no answer by the deadline; look at the thread's ledger")]
    NoAnswer,
    /// The runtime has ended.
    #[error("the runtime has ended")]
    RuntimeEnded,
}

/// Why a thread was not archived, or not taken out of the archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It could not be closed first. It is not archived.
    #[error("the thread was not closed, and so not archived")]
    Close(#[source] CloseError),
    /// The store refused, or does not have it. It may be closed already.
    #[error("cannot archive the thread")]
    Store(#[source] StoreError),
    /// The deadline came before the store answered: it may be archived all the same.
    #[error("no answer of the store by the deadline; look whether the thread is archived")]
    NoAnswer,
}

/// Why a thread was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// It could not be closed first. It is not deleted.
    #[error("the thread was not closed, and so not deleted")]
    Close(#[source] CloseError),
    /// The store refused, or does not have it. It may be closed already.
    #[error("cannot delete the thread")]
    Store(#[source] StoreError),
    /// The deadline came before the store answered: it may be gone all the same.
    #[error("no answer of the store by the deadline; look whether the thread is gone")]
    NoAnswer,
}

/// Why a thread was not patched. Nothing of it changed, unless the variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// It may not be so.
    #[error("bad {field}: {reason}")]
    BadConfig {
        /// Which field.
        field: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// Another thread of its tree has this path.
    #[error("agent path `{path}` already exists in this tree")]
    PathTaken {
        /// The path.
        path: String,
    },
    /// The store refused, or does not have the thread.
    #[error("cannot patch the thread")]
    Store(#[source] StoreError),
    /// The deadline came first; it may still be patched.
    #[error("no answer by the deadline; look whether the thread is patched")]
    NoAnswer,
    /// The runtime has ended.
    #[error("the runtime has ended")]
    RuntimeEnded,
}

/// Why there is no outcome to tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutcomeError {
    /// The thread never accepted a submission of this id.
    #[error("thread {thread} has no submission {submission}")]
    Unknown {
        /// Which thread.
        thread: ThreadId,
        /// Which submission.
        submission: SubmissionId,
    },
    /// The submission was refused.
    #[error("the submission was refused")]
    Refused(#[from] SubmitError),
    /// The thread was closed before the outcome was durable: its next life settles it.
    #[error("thread {thread} is closed; resume it to learn the outcome of {submission}")]
    Closed {
        /// Which thread.
        thread: ThreadId,
        /// Which submission.
        submission: SubmissionId,
    },
    /// The deadline came first; the submission goes on.
    #[error("no outcome by the deadline; the submission goes on")]
    NoAnswer,
    /// The store cannot be read.
    #[error("cannot read the outcome")]
    Store(#[source] StoreError),
    /// The runtime has ended.
    #[error("the runtime has ended")]
    RuntimeEnded,
}

/// Why a subscription was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// A ring needs room for at least one event.
    #[error("a tap needs a capacity of at least 1 event")]
    NoCapacity,
    /// Too many taps.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// Events after this cursor are not kept any more, or were never there.
    #[error(
        "cursor {cursor} is outside the journal, which reaches from {from} to {to}; start from a snapshot"
    )]
    CursorOutside {
        /// What was asked.
        cursor: u64,
        /// The oldest cursor that works.
        from: u64,
        /// The newest.
        to: u64,
    },
    /// The runtime has ended.
    #[error("the runtime has ended")]
    RuntimeEnded,
}

macro_rules! from_no_answer {
    ($($error:ident),*) => {$(
        impl From<NoAnswer> for $error {
            fn from(none: NoAnswer) -> Self {
                match none {
                    NoAnswer::Deadline => Self::NoAnswer,
                    NoAnswer::Gone => Self::RuntimeEnded,
                }
            }
        }
    )*};
}
from_no_answer!(SpawnError, CloseError, OutcomeError, PatchError, FundError);

impl From<NoAnswer> for ControlError {
    /// A thread's actor that is gone without an answer may have done it: same advice as a deadline.
    fn from(_: NoAnswer) -> Self {
        Self::NoAnswer
    }
}

impl From<NoAnswer> for SubmitError {
    /// A thread's actor that is gone without an answer may have written it: same advice as a deadline.
    fn from(_: NoAnswer) -> Self {
        Self::NoAnswer
    }
}

impl From<IdError> for SubmitError {
    fn from(error: IdError) -> Self {
        Self::BadRequest { field: "id", reason: error.to_string() }
    }
}
