//! Why a running turn does not get what it asks for.

use coppicer_messages::{ControlError, StoreError};

use super::EngineError;

/// The turn was told to stop, or is not the running one any more: nothing that it does counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the turn was stopped")]
pub struct TurnStopped;

/// Why an item was not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The turn was stopped.
    #[error(transparent)]
    Stopped(#[from] TurnStopped),
    /// The record is too large.
    #[error(
        "the record has {got} bytes, more than the limit of {max}; put it into a file and name that"
    )]
    TooLarge {
        /// How large it is.
        got: usize,
        /// How large it may be.
        max: usize,
    },
    /// The line is no sound rollout line.
    #[error("not a rollout line: {reason}")]
    BadLine {
        /// Why.
        reason: String,
    },
}

impl From<EmitError> for EngineError {
    fn from(error: EmitError) -> Self {
        match error {
            EmitError::Stopped(_) => Self::Stopped,
            other => Self::fatal(other.to_string()),
        }
    }
}

impl From<ControlError> for EngineError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::WrongPhase { .. } => Self::Stopped,
            other => Self::fatal(other.to_string()),
        }
    }
}

/// Why a turn does not get its history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The turn was stopped, or its thread did not answer.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
