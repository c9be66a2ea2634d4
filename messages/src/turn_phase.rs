//! What a running turn is at, and what follows when it makes no progress.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{QuestionId, ThreadId};

/// What a wait for threads waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// The first of them to end what it does.
    Any,
    /// All of them.
    All,
}

/// What a running turn is at: the innermost of what it has begun and not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TurnPhase {
    /// None of the others: its model works, or its engine itself.
    #[default]
    Model,
    /// A tool call has no output yet.
    Tool {
        /// By when the tool should be done, in milliseconds since the Unix epoch, if that was said:
        /// of several calls, the first.
        deadline_ms: Option<u64>,
    },
    /// It waits until threads have ended what they do.
    AwaitChild {
        /// Which.
        threads: Arc<[ThreadId]>,
        /// For the first or for all of them.
        how: Wait,
    },
    /// It waits for an answer of the host.
    AwaitHost {
        /// To which question.
        question: QuestionId,
    },
}

impl TurnPhase {
    /// The name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Tool { .. } => "tool",
            Self::AwaitChild { .. } => "await_child",
            Self::AwaitHost { .. } => "await_host",
        }
    }
}

/// What is done about a turn that makes no progress. Each is one rung of a ladder.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remedy {
    /// Taps are told.
    #[default]
    Tell,
    /// The turn is stopped, as by an interrupt.
    Interrupt,
    /// The thread is restarted, as after a crash: from history, at the cost of its restart budget.
    Restart,
}

impl Remedy {
    /// The rung above.
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Tell => Some(Self::Interrupt),
            Self::Interrupt => Some(Self::Restart),
            Self::Restart => None,
        }
    }
}

/// When a turn counts as stuck, and how far that goes. Each further period without progress is one
/// rung; progress begins anew. A turn that waits for threads is never acted on, but who it waits for,
/// by that one's own ladder; one that waits for its host is told of and no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct StuckPolicy {
    /// The period without progress; [`Limits::stuck_after`](crate::Limits::stuck_after) if not said.
    pub after: Option<Duration>,
    /// The same for a tool call that named no deadline;
    /// [`Limits::stuck_tool_after`](crate::Limits::stuck_tool_after) if not said.
    pub tool_after: Option<Duration>,
    /// The highest rung.
    pub up_to: Remedy,
}

impl StuckPolicy {
    /// The default with another highest rung.
    #[must_use]
    pub const fn up_to(mut self, remedy: Remedy) -> Self {
        self.up_to = remedy;
        self
    }

    /// The default with another period.
    #[must_use]
    pub const fn after(mut self, period: Duration) -> Self {
        self.after = Some(period);
        self
    }

    /// The default with another period for tool calls that name no deadline.
    #[must_use]
    pub const fn tool_after(mut self, period: Duration) -> Self {
        self.tool_after = Some(period);
        self
    }
}
