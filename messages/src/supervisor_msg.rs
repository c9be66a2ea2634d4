//! The inbox of the supervisor.

use std::fmt;
use std::time::Duration;

use crate::{
    AdoptError, Budget, CloseError, CloseReport, CloseScope, ControlError, Ended, EntryAccount,
    Epoch, FundError, PatchError, Reply, Seq, SpawnError, SpawnThread, StoreError, StoreTrouble,
    ThreadId, ThreadPatch,
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
    /// Give a dormant thread an actor again. Its inbox, or its mailbox, says what it is for.
    Activate {
        /// Which.
        thread: ThreadId,
    },
    /// Give a thread an actor that may have none, because somebody has something for it. One that
    /// is closed stays so. Any number of these bring up one incarnation.
    Wake {
        /// Which.
        thread: ThreadId,
        /// The thread's id, once it is up.
        reply: Reply<ThreadId, SpawnError>,
    },
    /// Change what is known of a thread, here and in the store.
    Patch {
        /// Which.
        thread: ThreadId,
        /// How.
        patch: Box<ThreadPatch>,
        /// The thread's id, once it is durable.
        reply: Reply<ThreadId, PatchError>,
    },
    /// Give a thread more of its budget, out of what is above it.
    Fund {
        /// Which.
        thread: ThreadId,
        /// How much of what.
        more: Budget,
        /// What it has left then, once it is durable.
        reply: Reply<Budget, FundError>,
    },
    /// Put a thread, with all below it, below another one, or make it a root.
    Adopt {
        /// Which.
        thread: ThreadId,
        /// Its new parent; none makes it a root.
        parent: Option<ThreadId>,
        /// The turn that asks, if one does: it may adopt roots alone.
        asker: Option<Asker>,
        /// The thread's id, once the move is durable and told.
        reply: Reply<ThreadId, AdoptError>,
    },
    /// Tell why a thread does what it does.
    Explain {
        /// Which.
        thread: ThreadId,
        /// What is known of it.
        reply: Reply<EntryAccount, ControlError>,
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

    /// End the runtime once every close is answered, at the reply's deadline at the latest. Nothing
    /// starts from here on.
    End {
        /// Taps have been told.
        reply: Reply<(), CloseError>,
    },

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
    /// A turn of a thread crashed; the thread lives.
    TurnCrashed {
        /// Whose.
        thread: ThreadId,
        /// In which incarnation.
        epoch: Epoch,
        /// That its restarts are spent, and that it is its parent's affair: the cause.
        spent: Option<String>,
    },
    /// A thread asks for its own end.
    CloseItself {
        /// Which.
        thread: ThreadId,
        /// In which incarnation.
        epoch: Epoch,
    },
    /// A thread's turn makes no progress, and its policy goes so far: restart the thread.
    Stuck {
        /// Which.
        thread: ThreadId,
        /// Which incarnation.
        epoch: Epoch,
        /// What is kept as the cause.
        cause: String,
    },
    /// A parked thread runs again: it has a fresh budget of restarts.
    Revived {
        /// Which.
        thread: ThreadId,
    },
    /// Somebody let go of a dormant thread: it may leave memory if nobody else holds it.
    LetGo {
        /// Which.
        thread: ThreadId,
    },
    /// The store cannot write.
    StoreAiling {
        /// What kind of trouble it is.
        trouble: StoreTrouble,
        /// Why.
        reason: String,
    },
    /// The store writes again.
    StoreWell,
    /// The store found a damaged record; it has put the thread into quarantine.
    StoreDamaged {
        /// Whose.
        thread: ThreadId,
        /// Which.
        seq: Seq,
        /// How.
        reason: String,
    },
    /// A host brought threads into the store, or deleted some.
    Registered {
        /// How many more there are.
        more: i64,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SupervisorTick {
    /// The report of this close was due when it was asked for.
    CloseDue(u64),
    /// The threads of this close are told to end, whether or not the store has said what goes on.
    TellBy(u64),
    /// The first of the times that the supervisor waits for has come, reports of closes among them.
    TimeDue,
    /// More threads of a close are to be told, or fenced off.
    TellOn,
    /// The runtime ends now, whatever is still being closed.
    EndDue,
    /// Threads whose store could not write may try again.
    ComebackDue,
    /// Edges that the store could not write are tried again.
    EdgesDue,
    /// The store is asked again how many threads it knows.
    CountDue,
    /// A thread may have been idle for long enough.
    IdleDue,
    /// Of the spawns that wait in line, some may be due, or their deadline has come.
    LineDue,
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
            Self::Wake { .. } => "wake",
            Self::Patch { .. } => "patch",
            Self::Fund { .. } => "fund",
            Self::Registered { .. } => "registered",
            Self::Adopt { .. } => "adopt",
            Self::Explain { .. } => "explain",
            Self::Stuck { .. } => "stuck",
            Self::LetGo { .. } => "let_go",
            Self::StoreAiling { .. } => "store_ailing",
            Self::StoreWell => "store_well",
            Self::StoreDamaged { .. } => "store_damaged",
            Self::Close { .. } => "close",
            Self::End { .. } => "end",
            Self::StepDone { .. } => "step_done",
            Self::ThreadEnded { .. } => "thread_ended",
            Self::TurnCrashed { .. } => "turn_crashed",
            Self::CloseItself { .. } => "close_itself",
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
