//! Where a fork parts from its source.

use serde::{Deserialize, Serialize};

use crate::{Seq, TurnRef};

/// Where a fork parts from its source.
///
/// A number converts to [`ForkPoint::BeforeUserMessage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ForkPoint {
    /// Before the user message with this number, from 0, among those that still count. A number
    /// past the last keeps everything up to the last boundary: an unfinished turn is left out.
    BeforeUserMessage(usize),
    /// As if the source were interrupted now: everything, an unfinished turn closed as aborted.
    Interrupted,
    /// From the n-th last turn on, without what came before it (for sub-agents, REF 2.9).
    LastTurns(u32),
    /// Up to and with this turn. Refused while it runs.
    After(TurnRef),
    /// Up to this turn, without it. Works while it runs.
    Before(TurnRef),
    /// The records before this one. A turn that is open there is closed as aborted.
    At(Seq),
    /// The last boundary: everything but an unfinished turn. Never waits.
    LastStable,
    /// The next boundary: waits until the running turn, if any, has ended.
    NextStable,
}

impl From<usize> for ForkPoint {
    fn from(user_message: usize) -> Self {
        Self::BeforeUserMessage(user_message)
    }
}

/// Why a fork was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForkRefusal {
    /// The history has no turn with this id.
    #[error("there is no turn {turn}")]
    UnknownTurn {
        /// The id.
        turn: TurnRef,
    },
    /// The turn was rolled back.
    #[error("turn {turn} was rolled back")]
    RolledBack {
        /// The turn.
        turn: TurnRef,
    },
    /// The turn is still running.
    #[error("turn {turn} is in progress: fork before it, or with `interrupted` or `next stable`")]
    InProgress {
        /// The turn.
        turn: TurnRef,
    },
    /// The next boundary is not there yet: ask again when the running turn has ended.
    #[error("the running turn has not ended yet")]
    NotYet {
        /// The running turn, if the history names it.
        turn: Option<TurnRef>,
    },
    /// There is no such record.
    #[error("there is no record {at}: the history has {len}")]
    PastEnd {
        /// The number that was asked for.
        at: Seq,
        /// How many records there are.
        len: u64,
    },
    /// A kind of fork point that this version does not know.
    #[error("this fork point is not supported")]
    Unsupported,
}
