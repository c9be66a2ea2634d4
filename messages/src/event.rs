//! Facts: each is declared once, here. Taps carry them, logs print them, metrics count them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::encoded_bytes;
use crate::facts::{FactRow, facts};
use crate::{
    AgentPath, Budget, Epoch, MailId, Outcome, Phase, RecordClass, Remedy, Rung, Seq, StoreTrouble,
    SubmissionId, ThreadId, ThreadStatus, TurnId, TurnPhase,
};

/// One observable fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Place in the runtime's stream of facts, from 1 without gaps.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Of which thread; none for facts of the runtime as a whole.
    pub thread: Option<ThreadId>,
    /// That thread's parent.
    pub parent: Option<ThreadId>,
    /// That thread's path.
    pub path: Option<AgentPath>,
    /// That thread's incarnation.
    pub epoch: Epoch,
    /// The turn, where one is concerned.
    pub turn: Option<TurnId>,
    /// What happened.
    pub fact: Fact,
}

impl Event {
    /// A fact that is not numbered yet and of nobody in particular.
    pub const fn new(fact: Fact) -> Self {
        Self {
            seq: 0,
            at_ms: 0,
            thread: None,
            parent: None,
            path: None,
            epoch: Epoch(0),
            turn: None,
            fact,
        }
    }

    /// About how much memory it takes, in bytes. May read the whole fact: taps ask once for each event.
    pub fn bytes(&self) -> usize {
        let fact = match &self.fact {
            // What there are many of is small, or says how long it is.
            Fact::Thread(ThreadEvent::Delta { text }) => text.len(),
            Fact::Thread(
                ThreadEvent::RecordAppended { .. }
                | ThreadEvent::UsageReported { .. }
                | ThreadEvent::TurnStarted { .. }
                | ThreadEvent::SubmissionAccepted { .. },
            ) => 0,
            fact => encoded_bytes(fact),
        };
        size_of::<Self>() + fact
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// To the runtime, or to a thread as its supervisor sees it.
    Runtime(RuntimeEvent),
    /// In a thread.
    Thread(ThreadEvent),
}

facts! {
/// Facts of the supervisor. All are lifecycle facts, kept in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RuntimeEvent {
    /// A thread was made, is durable, and has an actor. The first fact of that actor.
    #[fact(Runtime, lifecycle)]
    ThreadSpawned {
        /// How it came to be.
        origin: SpawnOrigin,
    },
    /// What a thread is known by, behind each patch, and behind its spawn if it has any of it.
    #[fact(Runtime, lifecycle)]
    ThreadDescribed {
        /// Its path. Other facts carry the one that it came up with.
        path: Option<AgentPath>,
        /// A name for people.
        nickname: Option<String>,
        /// Its role.
        role: Option<String>,
        /// Whether it is hidden from lists.
        internal: bool,
    },
    /// A thread has another parent, or is a root now, with all that is below it: it was adopted, or
    /// its parent was closed and it goes on. Told to those who watch its old place or its new one.
    #[fact(Runtime, lifecycle)]
    ThreadAdopted {
        /// Its parent before.
        from: Option<ThreadId>,
        /// Its parent from now on; none of a root.
        to: Option<ThreadId>,
        /// Its path from now on. Those below it are told as `ThreadDescribed` if theirs change.
        path: Option<AgentPath>,
    },
    /// A spawn, resume or fork was refused.
    #[fact(Runtime, lifecycle)]
    SpawnRefused {
        /// Why.
        reason: String,
    },
    /// A spawn, resume or fork missed its deadline, and what it had started was taken back.
    #[fact(Runtime, lifecycle)]
    SpawnUndone,
    /// A thread's actor is gone.
    #[fact(Runtime, lifecycle)]
    ThreadEnded {
        /// How.
        how: Ended,
    },
    /// A thread's actor comes back after a pause.
    #[fact(Runtime, lifecycle)]
    RestartScheduled {
        /// The how-many-th of its window.
        restart: u32,
        /// The pause.
        after: Duration,
    },
    /// A thread's actor is back.
    #[fact(Runtime, lifecycle)]
    ThreadRestarted,
    /// A thread's restarts are spent.
    #[fact(Runtime, lifecycle)]
    ThreadParked,
    /// A close began, of one thread and what is below it, or of everything.
    #[fact(Runtime, lifecycle)]
    CloseStarted {
        /// How many threads it covers.
        threads: usize,
    },
    /// A close answered. What ended in time was told of before it. What did not is fenced off behind it, and
    /// each such thread is told of as `ThreadEnded` with the rung `fenced` then, once.
    #[fact(Runtime, lifecycle)]
    CloseEnded {
        /// Threads that ended.
        completed: usize,
        /// Threads that had not ended by the deadline: their ends are still to come.
        timed_out: usize,
    },
    /// A thread is in the archive: not listed with the others, and kept.
    #[fact(Runtime, lifecycle)]
    ThreadArchived,
    /// A thread is out of the archive again.
    #[fact(Runtime, lifecycle)]
    ThreadUnarchived,
    /// What is known of a thread was changed.
    #[fact(Runtime, lifecycle)]
    ThreadPatched,
    /// A thread and what was below it are gone from the store.
    #[fact(Runtime, lifecycle)]
    ThreadDeleted {
        /// How many threads.
        threads: u64,
    },
    /// The store cannot write: nothing is acknowledged until it can. What it has can be read. Told again
    /// if it is trouble of another kind.
    #[fact(Runtime, lifecycle)]
    StoreAiling {
        /// What kind of trouble it is: `disk_full`, `read_only`, `busy` or `other`.
        #[serde(default)]
        trouble: StoreTrouble,
        /// Why.
        reason: String,
    },
    /// The store writes again.
    #[fact(Runtime, lifecycle)]
    StoreRecovered,
    /// A thread that an earlier process left unfinished could not be brought up.
    #[fact(Runtime, lifecycle)]
    RecoveryFailed {
        /// Why.
        reason: String,
        /// Whether it is tried again.
        again: bool,
        /// A name for people, if it has one and the store could say it. Its path is the event's.
        #[serde(default)]
        nickname: Option<String>,
    },
    /// The store does not say how many threads it knows, so none is refused for `registered_max`. It is
    /// asked again each `store_retry`, and as soon as it is well, until it does. Told once.
    #[fact(Runtime, lifecycle)]
    ThreadsNotCounted {
        /// Why.
        reason: String,
    },
    /// The store says how many threads it knows, behind `ThreadsNotCounted`: `registered_max` holds from
    /// here on.
    #[fact(Runtime, lifecycle)]
    ThreadsCounted {
        /// How many.
        threads: u64,
    },
    /// The runtime has ended: behind the end of each thread, and behind the answer of each close. The last event
    /// of every tap.
    #[fact(Runtime, lifecycle)]
    RuntimeEnded,
}
}

/// How a thread came to have an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnOrigin {
    /// It is new.
    New,
    /// It was in the store.
    Resume,
    /// It is a fork of another.
    Fork,
    /// A submission met it dormant.
    Activation,
    /// An earlier process left it unfinished.
    Recovery,
}

/// How a thread's actor ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// It was closed.
    Closed {
        /// How far that had to go.
        rung: Rung,
    },
    /// It gave up its actor until it is needed.
    Dormant,
    /// It crashed.
    Crashed {
        /// How.
        cause: String,
    },
    /// It was killed together with its parent, or with a sibling by the strategy of their parent.
    Killed,
    /// The store gave its place to a newer incarnation.
    Fenced,
    /// The store could not write for it. It comes back when the store can.
    StoreLost {
        /// Why.
        reason: String,
    },
    /// A record of it is damaged: it does not come back.
    Damaged {
        /// Which, and how.
        what: String,
    },
}

impl Ended {
    /// The wire name of the kind.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Dormant => "dormant",
            Self::Crashed { .. } => "crashed",
            Self::Killed => "killed",
            Self::Fenced => "fenced",
            Self::StoreLost { .. } => "store_lost",
            Self::Damaged { .. } => "damaged",
        }
    }
}

facts! {
/// Facts of one thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ThreadEvent {
    /// Its status changed.
    #[fact(Status, lifecycle)]
    StatusChanged {
        /// The how-many-th status of this runtime's view of the thread, from 1.
        status_seq: u64,
        /// The new status.
        status: ThreadStatus,
        /// The phase.
        phase: Phase,
    },
    /// A submission is durable.
    #[fact(Submission, lifecycle)]
    SubmissionAccepted {
        /// Which.
        submission: SubmissionId,
        /// The wire name of its op.
        op: String,
    },
    /// A submission has its one outcome.
    #[fact(Submission, lifecycle)]
    SubmissionEnded {
        /// Which.
        submission: SubmissionId,
        /// How.
        outcome: Outcome,
    },
    /// A turn's start is durable.
    #[fact(Turn, lifecycle)]
    TurnStarted {
        /// Which attempt at its submission, from 1.
        attempt: u32,
    },
    /// A turn is tried again after a passing error.
    #[fact(Turn, lifecycle)]
    TurnRetried {
        /// Which attempt comes next.
        attempt: u32,
        /// The pause.
        after: Duration,
        /// What went wrong.
        error: String,
    },
    /// A turn's end is durable.
    #[fact(Turn, lifecycle)]
    TurnEnded {
        /// How.
        outcome: Outcome,
        /// How far a stop had to go; none if it came to its own end.
        rung: Option<Rung>,
        /// How long it took.
        took: Duration,
    },
    /// A turn's engine, or the thread's actor, panicked.
    #[fact(Crash, lifecycle)]
    Crashed {
        /// What it said.
        cause: String,
    },
    /// No turn starts for a while after a crash.
    #[fact(Crash, lifecycle)]
    BackoffStarted {
        /// The how-many-th crash of its window.
        crash: u32,
        /// The pause.
        after: Duration,
    },
    /// A turn's code would not stop and was fenced off.
    #[fact(Turn, lifecycle)]
    TurnFenced,
    /// The running turn has made no progress for a period of its thread's
    /// [`StuckPolicy`](crate::StuckPolicy), or a tool of it missed its deadline.
    #[fact(Turn, lifecycle)]
    TurnStuck {
        /// What the turn is at.
        phase: TurnPhase,
        /// How long it has made no progress.
        quiet: Duration,
        /// What is done about it.
        remedy: Remedy,
        /// Threads that wait for this one, itself not included; at most 64.
        waiters: Vec<ThreadId>,
        /// Of a turn that waits for threads: those that hold it up and cannot be acted on.
        blockers: Vec<ThreadId>,
    },
    /// A wait of the running turn would have closed a cycle, and was refused.
    #[fact(Turn, lifecycle)]
    WaitCycle {
        /// Who waits for whom: each for the next, the last for the first.
        threads: Vec<ThreadId>,
    },
    /// A record is durable.
    #[fact(Record, ephemeral)]
    RecordAppended {
        /// Its place.
        seq: Seq,
        /// Its class.
        class: RecordClass,
    },
    /// Input joined the running turn.
    #[fact(Submission, lifecycle)]
    Steered {
        /// Which.
        submission: SubmissionId,
    },
    /// Mail is durable in this thread's mailbox.
    #[fact(Mail, lifecycle)]
    MailReceived {
        /// Which.
        mail: MailId,
    },
    /// Mail was handed to a turn.
    #[fact(Mail, ephemeral)]
    MailDelivered {
        /// Which.
        mail: MailId,
    },
    /// The engine asks the host.
    #[fact(Question, lifecycle)]
    QuestionAsked {
        /// Which.
        question: QuestionId,
        /// What.
        body: serde_json::Value,
    },
    /// The host answered.
    #[fact(Question, lifecycle)]
    QuestionAnswered {
        /// Which.
        question: QuestionId,
    },
    /// Tokens were used.
    #[fact(Usage, ephemeral)]
    UsageReported {
        /// How many.
        usage: Usage,
    },
    /// The budget that the running turn draws on is used up, and the turn is told to stop.
    #[fact(Turn, lifecycle)]
    BudgetSpent {
        /// What of it, such as `budget.tokens`.
        limit: String,
        /// How much that was.
        granted: u64,
    },
    /// A thread was given more of its budget.
    #[fact(Turn, lifecycle)]
    BudgetFunded {
        /// How much of what.
        more: Budget,
    },
    /// A piece of text on its way. Never durable.
    #[fact(Delta, ephemeral)]
    Delta {
        /// The text.
        text: String,
    },
    /// What the store found damaged.
    #[fact(Damage, lifecycle)]
    DamageFound {
        /// Where and how.
        what: String,
    },
}
}

/// Names one question of an engine within its thread.
pub type QuestionId = std::sync::Arc<str>;

/// Tokens and cost of a piece of work. Adds up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Of these, from a cache.
    pub cached_input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Of these, for reasoning.
    pub reasoning_output_tokens: u64,
    /// Cost in millionths of the host's currency.
    pub cost_micros: u64,
}

impl Usage {
    /// All tokens, read and written.
    pub const fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.cached_input_tokens =
            self.cached_input_tokens.saturating_add(more.cached_input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.reasoning_output_tokens =
            self.reasoning_output_tokens.saturating_add(more.reasoning_output_tokens);
        self.cost_micros = self.cost_micros.saturating_add(more.cost_micros);
    }
}

impl Fact {
    /// Whether it is kept in the journal and can be read again from a cursor.
    pub const fn is_lifecycle(&self) -> bool {
        match self {
            Self::Runtime(event) => event.is_lifecycle(),
            Self::Thread(event) => event.is_lifecycle(),
        }
    }

    /// The kind, for filters.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Runtime(event) => event.kind(),
            Self::Thread(event) => event.kind(),
        }
    }

    /// The name on the wire, such as `turn_ended`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Runtime(event) => event.name(),
            Self::Thread(event) => event.name(),
        }
    }

    /// The table of all facts: those of the runtime, then those of threads.
    pub fn table() -> Vec<FactRow> {
        [RuntimeEvent::table(), ThreadEvent::table()].concat()
    }
}

/// The kinds of facts, for filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// [`RuntimeEvent`]s.
    Runtime,
    /// Status changes.
    Status,
    /// Submissions accepted, steered and ended.
    Submission,
    /// Turns started, retried, ended and fenced.
    Turn,
    /// Crashes and the pauses after them.
    Crash,
    /// Records.
    Record,
    /// Mail.
    Mail,
    /// Questions and answers.
    Question,
    /// Token usage.
    Usage,
    /// Pieces of text on their way.
    Delta,
    /// Damage.
    Damage,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Runtime,
        Self::Status,
        Self::Submission,
        Self::Turn,
        Self::Crash,
        Self::Record,
        Self::Mail,
        Self::Question,
        Self::Usage,
        Self::Delta,
        Self::Damage,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Status => "status",
            Self::Submission => "submission",
            Self::Turn => "turn",
            Self::Crash => "crash",
            Self::Record => "record",
            Self::Mail => "mail",
            Self::Question => "question",
            Self::Usage => "usage",
            Self::Delta => "delta",
            Self::Damage => "damage",
        }
    }

    /// A bit of its own, for sets of kinds.
    pub const fn bit(self) -> u32 {
        1 << (self as u32)
    }
}
