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
