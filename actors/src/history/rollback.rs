//! Planning a rollback: a record that is appended, never a rewrite.

use coppicer_messages::{NewRecord, TurnRef};

use super::outline::Outline;
use super::turns::{TurnState, turn_state};
use super::{History, Line};

/// Why a rollback was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RollbackRefusal {
    /// There is nothing to take back.
    #[error("a rollback takes back at least one turn")]
    NoTurns,
    /// A turn is running.
    #[error("a turn is in progress: interrupt it first, or wait for its end")]
    InProgress {
        /// The turn, if the history names it.
        turn: Option<TurnRef>,
    },
}

/// Decides on a rollback of the last `turns` user turns. The record is to be appended; what it
/// does shows in the history only then. More turns than there are take back all of them.
///
/// # Errors
/// See [`RollbackRefusal`].
pub fn plan_rollback(
    history: &History,
    turns: u32,
    now_ms: u64,
) -> Result<NewRecord, RollbackRefusal> {
    if turns == 0 {
        return Err(RollbackRefusal::NoTurns);
    }
    match turn_state(history) {
        // Histories of items alone have no turn that could be running.
        TurnState { mid_turn: true, turn, start: Some(_) } => {
            Err(RollbackRefusal::InProgress { turn })
        }
        _ => Ok(Line::rolled_back(now_ms, turns)),
    }
}

/// How many user turns of `history` still count.
pub fn user_turns(history: &History) -> usize {
    Outline::of(history).turns().iter().filter(|turn| turn.is_user_turn).count()
}
