//! The inbox of the supervisor.

use std::fmt;
use std::time::Duration;

use crate::{
    CloseError, CloseReport, CloseScope, Ended, Epoch, Reply, SpawnError, SpawnThread, StoreError,
    ThreadId,
};

/// Everything the supervisor can be asked, or told. Its handlers never wait.
#[non_exhaustive]
pub enum SupervisorMsg {
    // Requests. The reply port is the last field.
    /// Bring a thread to life. Undone if the answer misses its deadline (P4).
    Spawn {
        /// Which.
        request: Box<SpawnThread>,
        /// The turn that asks, if one does: refused when it is not the running one any more.
        asker: Option<Asker>,
        /// The thread's id.
        reply: Reply<ThreadId, SpawnError>,
    },
    /// Give a dormant thread an actor again. Its inbox says what it is for.
    Activate {
        /// Which.
        thread: ThreadId,
    },
    /// Close. Answered by the deadline of the reply, whatever threads do (P5).
    Close {
        /// What.
        scope: CloseScope,
        /// How long running turns may go on before they are told to stop.
        drain: Duration,
        /// What became of each.
        reply: Reply<CloseReport, CloseError>,
    },

    /// End the runtime once every close is answered. Nothing starts from here on.
    End,

    // Notices. Sent only by what the supervisor started.
    /// A step of a spawn that ran outside is done.
    StepDone {
        /// Which spawn.
        op: u64,
        /// What the step brought; the type is the supervisor's own.
        step: Box<dyn std::any::Any + Send>,
    },
    /// A thread's actor is gone, and so is all that it owned.
    ThreadEnded {
        /// Which.
        thread: ThreadId,
        /// Which incarnation.
        epoch: Epoch,
        /// How.
        how: Ended,
    },
    /// A parked thread runs again: it has a fresh budget of restarts.
    Revived {
        /// Which.
        thread: ThreadId,
    },
    /// A time that the supervisor asked to be told of has come.
    Tick {
        /// Which.
        tick: SupervisorTick,
    },
    /// The store wrote that a thread was explicitly closed, or could not.
    EdgeClosed {
        /// For which close.
        close: u64,
        /// How that went.
        result: Result<(), StoreError>,
    },
}

/// The turn on whose behalf something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Its thread.
    pub thread: ThreadId,
    /// Its incarnation.
    pub epoch: Epoch,
}

/// Times that the supervisor asks to be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SupervisorTick {
    /// The report of this close is due.
    CloseDue(u64),
    /// More threads of a close are to be told.
    TellOn,
    /// The pause before a restart is over.
    RestartDue {
        /// Which thread.
        thread: ThreadId,
        /// After which crash.
        crash: u64,
    },
}

impl SupervisorMsg {
    /// Its name, for logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Spawn { .. } => "spawn",
            Self::Activate { .. } => "activate",
            Self::Close { .. } => "close",
            Self::End => "end",
            Self::StepDone { .. } => "step_done",
            Self::ThreadEnded { .. } => "thread_ended",
            Self::Revived { .. } => "revived",
            Self::Tick { .. } => "tick",
            Self::EdgeClosed { .. } => "edge_closed",
        }
    }
}

impl fmt::Debug for SupervisorMsg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
