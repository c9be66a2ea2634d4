//! The inbox of a thread.

use std::fmt;

use tokio::time::Instant;

use crate::{
    Accepted, CloseOrder, ControlError, Interrupted, Lease, LimitReached, Mail, MailPage,
    NewRecord, QuestionId, Reply, Seq, StoreError, Submission, SubmissionId, SubmissionState,
    SubmitError, ThreadAccount, ThreadId, TurnId,
};

/// Everything one agent thread can be asked, or told.
///
/// Input ([`Submit`](Self::Submit)) waits in the bounded inbox of the thread's slot. All else has a
/// lane of its own and is taken first.
#[non_exhaustive]
pub enum ThreadMsg {
    // Requests. The reply port is the last field.
    /// Accept a submission. Answered once it is durable; not executed after its deadline (P4).
    Submit {
        /// What is asked, under its id.
        submission: Submission,
        /// Its id.
        id: SubmissionId,
        /// Whether the caller chose the id, so that it may have been used before.
        chosen: bool,
        /// The receipt.
        reply: Reply<Accepted, SubmitError>,
    },
    /// Stop the running turn, if any. Answered once its end is durable. Idempotent.
    Interrupt {
        /// What was found.
        reply: Reply<Interrupted, ControlError>,
    },
    /// Answer an engine's question.
    Answer {
        /// Which.
        question: QuestionId,
        /// With what.
        answer: serde_json::Value,
        /// Whether it was waiting.
        reply: Reply<(), SubmitError>,
    },
    /// Stop the running turn, if any, and start no other until it is revived. Idempotent.
    Park {
        /// Done; durable.
        reply: Reply<(), ControlError>,
    },
    /// Let a parked thread run again, with a fresh budget of restarts.
    Revive {
        /// Done.
        reply: Reply<(), ControlError>,
    },
    /// Give up the actor until the next submission.
    Hibernate {
        /// Done; the actor ends after it.
        reply: Reply<(), ControlError>,
    },
    /// Tell the head once everything written before is durable.
    Flush {
        /// The head, and whether a turn runs.
        reply: Reply<Flushed, ControlError>,
    },
    /// Tell why the thread does what it does.
    Explain {
        /// What it says.
        reply: Reply<ThreadAccount, ControlError>,
    },
    /// End. The supervisor hears of it when the actor is gone.
    Close {
        /// When to go one rung further.
        order: CloseOrder,
    },
    /// Mail that is durable in this thread's mailbox. The same mail told twice is read once.
    Mail {
        /// The mail.
        mail: Mail,
    },

    /// There may be mail in the mailbox that nobody told of: look.
    LookForMail,
    /// The restarts of its engine are spent, and there is no parent that could make that its affair:
    /// it is parked. Stale if it is not on its way out any more.
    SitParked,
    /// The thread has another place in its tree, or is in another tree. Stale if it has moved again
    /// since: what the slot says counts.
    Moved,

    // Notices. Sent only by what this actor started; each names what it belongs to.
    /// The store read the mailbox.
    MailRead {
        /// For which incarnation.
        epoch: crate::Epoch,
        /// What it found.
        result: Result<MailPage, StoreError>,
    },
    /// The turn took what was waiting for it.
    TakeSteered {
        /// By whom.
        turn: TurnId,
        /// What was waiting, in order.
        reply: Reply<Vec<TurnItem>, ControlError>,
    },
    /// The turn emitted records. Stale if it is not the running one.
    Emitted {
        /// By whom.
        turn: TurnId,
        /// What, in order.
        records: Vec<NewRecord>,
        /// The text, if it is a message of the assistant.
        said: Option<String>,
    },
    /// The turn leaves mail for a thread that has no actor, and that it is not to wake.
    LeaveMail {
        /// By whom.
        turn: TurnId,
        /// For whom.
        to: ThreadId,
        /// The mail.
        mail: Mail,
        /// The receipt, once it is durable in that one's mailbox.
        reply: Reply<Accepted, SubmitError>,
    },
    /// The turn asks the host.
    Asked {
        /// By whom.
        turn: TurnId,
        /// Under which name.
        question: QuestionId,
        /// What.
        body: serde_json::Value,
        /// The host's answer.
        reply: Reply<serde_json::Value, ControlError>,
    },
    /// The turn set itself a deadline: look by then.
    Watch {
        /// Which.
        turn: TurnId,
        /// When.
        at: Instant,
    },
    /// A turn of another thread waits for this one and makes no progress: look whether this one does.
    HoldsUp {
        /// How long the other has made none.
        patience: std::time::Duration,
    },
    /// The code of a turn that ran on an OS thread of its own is gone.
    TurnGone {
        /// Which.
        turn: TurnId,
    },
    /// The turn has its permit.
    Permitted {
        /// Which.
        turn: TurnId,
        /// The right to run.
        permit: TurnPermit,
    },
    /// The budget that the turn draws on is used up. Stale if it is not the running one.
    BudgetSpent {
        /// Which turn.
        turn: TurnId,
        /// What is used up.
        limit: LimitReached,
    },
    /// The budget that the thread draws on may have more again, or less: look.
    LookAtBudget,
    /// The store committed the append of this number, or refused it.
    Committed {
        /// By which incarnation.
        epoch: crate::Epoch,
        /// The how-many-th append of that incarnation.
        append: u64,
        /// The head after it.
        result: Result<Seq, StoreError>,
    },
    /// The store looked up a submission id.
    LookedUp {
        /// For which incarnation.
        epoch: crate::Epoch,
        /// What it found.
        result: Result<Option<KnownSubmission>, StoreError>,
    },
    /// A time that this actor asked to be told of has come.
    Tick {
        /// For which incarnation.
        epoch: crate::Epoch,
        /// Which.
        tick: ThreadTick,
    },
    /// A hook of the `testing` feature: the actor panics.
    #[doc(hidden)]
    PanicForTest,
}

impl ThreadMsg {
    /// Whether it is asked from outside. What is not is a notice for one incarnation.
    pub const fn is_request(&self) -> bool {
        matches!(
            self,
            Self::Submit { .. }
                | Self::Interrupt { .. }
                | Self::Answer { .. }
                | Self::Park { .. }
                | Self::Revive { .. }
                | Self::Hibernate { .. }
                | Self::Flush { .. }
                | Self::Explain { .. }
                | Self::Close { .. }
                | Self::Mail { .. }
                | Self::LookForMail
        )
    }

    /// Its name, for logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Submit { .. } => "submit",
            Self::Interrupt { .. } => "interrupt",
            Self::Answer { .. } => "answer",
            Self::Park { .. } => "park",
            Self::Revive { .. } => "revive",
            Self::Hibernate { .. } => "hibernate",
            Self::Flush { .. } => "flush",
            Self::Explain { .. } => "explain",
            Self::Close { .. } => "close",
            Self::Mail { .. } => "mail",
            Self::LookForMail => "look_for_mail",
            Self::SitParked => "sit_parked",
            Self::Moved => "moved",
            Self::MailRead { .. } => "mail_read",
            Self::TakeSteered { .. } => "take_steered",
            Self::Emitted { .. } => "emitted",
            Self::LeaveMail { .. } => "leave_mail",
            Self::Asked { .. } => "asked",
            Self::Watch { .. } => "watch",
            Self::HoldsUp { .. } => "holds_up",
            Self::TurnGone { .. } => "turn_gone",
            Self::Permitted { .. } => "permitted",
            Self::Committed { .. } => "committed",
            Self::LookedUp { .. } => "looked_up",
            Self::Tick { .. } => "tick",
            Self::BudgetSpent { .. } => "budget_spent",
            Self::LookAtBudget => "look_at_budget",
            Self::PanicForTest => "panic_for_test",
        }
    }
}

impl fmt::Debug for ThreadMsg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The right of one turn to run, until it is dropped.
pub struct TurnPermit {
    // The books first: whoever gets the place next is counted after this one.
    _lease: Lease,
    _place: Box<dyn Send + Sync>,
}

impl TurnPermit {
    /// Ties the place, which is given back when it is dropped, to the books.
    pub fn new(place: impl Send + Sync + 'static, lease: Lease) -> Self {
        Self { _lease: lease, _place: Box::new(place) }
    }
}

impl fmt::Debug for TurnPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TurnPermit")
    }
}

/// Where a thread stands once everything written before is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// Its head: the place of the next record.
    pub head: Seq,
    /// Whether a turn runs.
    pub running: bool,
}

/// What a turn is given to work on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TurnItem {
    /// Input of a user.
    Input {
        /// Under which submission.
        submission: SubmissionId,
        /// What.
        input: crate::UserInput,
    },
    /// Mail of another agent.
    Mail(Mail),
}

/// What the store knows of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownSubmission {
    /// A digest of its body.
    pub digest: [u8; 16],
    /// The head when it was accepted.
    pub seq: Seq,
    /// Where it is on its way.
    pub state: SubmissionState,
}

impl KnownSubmission {
    /// What is known.
    pub const fn new(digest: [u8; 16], seq: Seq, state: SubmissionState) -> Self {
        Self { digest, seq, state }
    }
}

/// Times that a thread asks to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThreadTick {
    /// The running turn should have come to its own end by now.
    DrainOver(TurnId),
    /// The cancelled turn should have ended by now.
    GraceOver(TurnId),
    /// The killed turn should be gone by now.
    KillOver(TurnId),
    /// The time that the turn may run may be used up.
    BudgetDue(TurnId),
    /// The running turn may have made no progress for too long.
    StuckDue,
    /// The pause before the next attempt at the turn is over.
    RetryDue(TurnId),
    /// Mail that could not be read from the store is asked for again.
    MailDue,
    /// The pause after a crash is over.
    BackoffOver {
        /// The crash that it follows.
        crash: u64,
    },
}

/// What the clock says when a message is handled: decisions get it as a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// On the runtime's clock (virtual in tests).
    pub instant: Instant,
    /// In milliseconds since the Unix epoch.
    pub at_ms: u64,
}
