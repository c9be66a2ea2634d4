//! What a thread's core decides to have done.

use std::sync::Arc;

use coppicer_messages::{
    Accepted, ControlError, Ended, Flushed, Interrupted, Mail, Outcome, Phase, Reply, Seq,
    SubmissionId, SubmitError, ThreadEvent, ThreadId, ThreadStatus, ThreadTick, TraceContext,
    TurnId, TurnItem,
};
use tokio::time::Instant;

use super::mailbox::ReadMail;
use crate::engine::TurnKind;
use crate::store::Batch;
use crate::taps::Classes;

/// Something to do. Effects are in the order in which they must happen.
pub(crate) enum Effect {
    /// Write. All of one wake-up go into one append.
    Write(Batch),

    // What tells others of a write waits until it is durable.
    /// Tell the caller that it is accepted.
    Accept { reply: Reply<Accepted, SubmitError>, receipt: Accepted },
    /// Tell who waits for it.
    Settle { submission: SubmissionId, outcome: Outcome },
    /// Tell taps.
    Publish { turn: Option<TurnId>, event: ThreadEvent },
    /// Tell taps of records, the first of which is at `from`.
    TellRecords { turn: Option<TurnId>, from: Seq, classes: Classes },
    /// Publish the view; `ended` if a turn ended.
    Show {
        status: ThreadStatus,
        phase: Phase,
        turn: Option<TurnId>,
        waiting_for_host: bool,
        has_work: bool,
        ended: Option<Last>,
    },
    /// Publish what was last asked of the thread.
    ShowTask { task: String },
    /// Run the turn.
    Launch(Launch),
    /// Give a turn what came for it.
    GiveItems { reply: Reply<Vec<TurnItem>, ControlError>, items: Vec<TurnItem> },
    /// Tell what an interrupt found.
    AnswerInterrupt { reply: Reply<Interrupted, ControlError>, found: Interrupted },
    /// Tell the durable head.
    AnswerFlush { reply: Reply<Flushed, ControlError>, flushed: Flushed },
    /// Tell that it is done.
    Confirm { reply: Reply<(), ControlError> },
    /// Give a turn the host's answer.
    TellAnswer { reply: Reply<serde_json::Value, ControlError>, answer: serde_json::Value },
    /// Tell another thread of mail in its mailbox.
    Deliver { to: ThreadId, mail: Mail },
    /// Give one place of the inbox back: what held it is done, or shown as running.
    FreePlace,
    /// Give places of the emit window back.
    FreeWindow { places: usize },
    /// Refuse submissions until the thread is revived.
    Park,
    /// Take submissions again.
    Unpark,
    /// Take one place of the inbox, for work that is queued again.
    TakePlace,
    /// Tell the supervisor that a turn crashed; `spent`: that the restarts are, and it is the
    /// parent's affair.
    TellCrash { spent: Option<String> },
    /// Ask the supervisor to close this thread.
    AskClose,
    /// Read the mailbox.
    ReadMail(ReadMail),
    /// Give up the actor until it is needed.
    Sleep { reply: Option<Reply<(), ControlError>> },
    /// End the actor.
    End(Ended),

    // These wait for nothing.
    /// Tell the caller that it is refused.
    Refuse { reply: Reply<Accepted, SubmitError>, refusal: SubmitError },
    /// Ask for a turn permit.
    AskPermit { turn: TurnId },
    /// Cancel the turn's token.
    Cancel { turn: TurnId },
    /// Take every right from the turn and drop its future.
    Kill { turn: TurnId },
    /// Let go of a turn whose code does not stop, and count it.
    Fence { turn: TurnId },
    /// The thread ends: what is left of its budget goes back, with the write that comes next.
    Refund,
    /// The turn is over: let go of it, and of the session unless it may go on.
    TurnOver { turn: TurnId, keep_session: bool },
    /// The engine's session does not know what was written: the next turn opens a new one.
    DropSession,
    /// Ask to be told of a time.
    Arm { at: Instant, tick: ThreadTick },
    /// Refuse all that comes from now on, and what waits in the inbox.
    Shut,
}

impl Effect {
    /// Whether it may only follow the writes before it.
    pub(crate) const fn waits_for_writes(&self) -> bool {
        match self {
            Self::Accept { .. }
            | Self::Settle { .. }
            | Self::Publish { .. }
            | Self::TellRecords { .. }
            | Self::Show { .. }
            | Self::ShowTask { .. }
            | Self::Launch(_)
            | Self::GiveItems { .. }
            | Self::AnswerInterrupt { .. }
            | Self::AnswerFlush { .. }
            | Self::Confirm { .. }
            | Self::Deliver { .. }
            | Self::FreePlace
            | Self::FreeWindow { .. }
            | Self::Park
            | Self::Unpark
            | Self::TakePlace
            | Self::TellCrash { .. }
            | Self::AskClose
            | Self::ReadMail(_)
            | Self::TellAnswer { .. }
            | Self::Sleep { .. }
            | Self::End(_) => true,
            Self::Write(_)
            | Self::Refuse { .. }
            | Self::AskPermit { .. }
            | Self::Cancel { .. }
            | Self::Kill { .. }
            | Self::Fence { .. }
            | Self::Refund
            | Self::TurnOver { .. }
            | Self::DropSession
            | Self::Arm { .. }
            | Self::Shut => false,
        }
    }
}

/// How the last turn ended, for the view.
pub(crate) struct Last {
    pub(crate) error: Option<String>,
}

/// One attempt at a turn.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) turn: TurnId,
    pub(crate) attempt: u32,
    pub(crate) kind: TurnKind,
    pub(crate) items: Arc<[TurnItem]>,
    pub(crate) trace: Option<TraceContext>,
    /// The head when the attempt begins.
    pub(crate) seq: Seq,
}
