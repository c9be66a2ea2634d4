//! How submissions and turns end.

use serde::{Deserialize, Serialize};

use crate::{Seq, SubmissionId, TurnId};

/// The one durable end of an accepted submission (P3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It was done. A turn's last message, if it had one.
    Completed {
        /// The last message of the turn.
        message: Option<String>,
    },
    /// The engine gave up.
    Failed {
        /// Why.
        error: String,
    },
    /// It was interrupted, or its thread closed or was lost in mid-turn.
    Interrupted,
    /// The engine, or the host, crashed while it ran.
    Crashed {
        /// How.
        cause: String,
    },
    /// Something that came later took its place.
    Superseded,
    /// The thread closed before it ran. It may be sent to the reopened thread, under a new id.
    Returned,
}

impl Outcome {
    /// The wire name of the kind.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Interrupted => "interrupted",
            Self::Crashed { .. } => "crashed",
            Self::Superseded => "superseded",
            Self::Returned => "returned",
        }
    }

    /// The last message of a completed turn.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Completed { message } => message.as_deref(),
            _ => None,
        }
    }
}

/// Where a submission is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubmissionState {
    /// Durable, waiting for its turn.
    Accepted,
    /// Its turn runs.
    Running {
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Over.
    Ended(Outcome),
}

/// What a caller gets for a submission: it is durable, and will have one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Accepted {
    /// The id under which the outcome is kept.
    pub submission: SubmissionId,
    /// The head of the thread when it was accepted: every record of its turn has this place or a later one.
    pub seq: Seq,
    /// Whether it had been accepted before, and nothing was started now.
    pub duplicate: bool,
    /// The running turn that it joined, if it steered one.
    pub steered: Option<TurnId>,
}

impl Accepted {
    /// A receipt.
    pub const fn new(submission: SubmissionId, seq: Seq) -> Self {
        Self { submission, seq, duplicate: false, steered: None }
    }
}

/// What an interrupt found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interrupted {
    /// No turn was running; nothing was changed.
    NothingRan,
    /// The turn ended, and its end is durable.
    Turn {
        /// Which.
        turn: TurnId,
        /// How far it had to go.
        rung: Rung,
    },
}

/// How far a stop had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rung {
    /// Nothing ran, or what ran came to its own end.
    Drained,
    /// The running turn was told to stop, and did.
    Stopped,
    /// The running turn did not listen; its future was dropped.
    Killed,
    /// Its code would not stop. It can write, emit and hold nothing any more (P1); the task or
    /// thread it blocks is counted as a zombie until it returns.
    Fenced,
}

impl Rung {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Fenced => "fenced",
        }
    }
}
