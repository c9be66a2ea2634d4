//! What a thread publishes of itself, read by anyone without a message.

use coppicer_messages::{
    AgentPath, Epoch, Phase, RuntimeEvent, ThreadId, ThreadStatus, TurnId, TurnPhase, Usage,
};
use serde::{Deserialize, Serialize};

use super::Slot;

/// A snapshot of one thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ThreadView {
    /// Its id.
    pub thread: ThreadId,
    /// Its parent.
    pub parent: Option<ThreadId>,
    /// Its path, if it has a name.
    pub path: Option<AgentPath>,
    /// A name for people.
    pub nickname: Option<String>,
    /// Its role.
    pub role: Option<String>,
    /// Levels below the root of its tree.
    pub depth: u32,
    /// Whether it is hidden from lists.
    pub internal: bool,
    /// What it was forked from.
    pub forked_from: Option<ThreadId>,
    /// The rollout that it was imported from.
    pub rollout_path: Option<String>,
    /// Its status.
    pub status: ThreadStatus,
    /// The how-many-th status since this runtime has it.
    pub status_seq: u64,
    /// Its phase.
    pub phase: Phase,
    /// Its incarnation.
    pub epoch: Epoch,
    /// The running turn.
    pub turn: Option<TurnId>,
    /// Turns that ended since this runtime has it.
    pub turns: u64,
    /// Crashes of its engine and its actor since this runtime has it.
    pub crashes: u64,
    /// Whether the running turn waits for an answer of the host.
    pub waiting_for_host: bool,
    /// What the engine's part of the running turn is at; none before and between its attempts.
    pub turn_phase: Option<TurnPhase>,
    /// Since when, in milliseconds since the Unix epoch.
    pub turn_phase_since_ms: Option<u64>,
    /// When the running turn last made progress, in milliseconds since the Unix epoch; its start if
    /// it never did.
    pub progress_ms: Option<u64>,
    /// Tokens used since this runtime has it.
    pub usage: Usage,
    /// The beginning of the last input or mail that it accepted; of a thread that came up again and
    /// accepted none yet, that of its first input.
    pub last_task: Option<String>,
    /// The last error, if the last turn had one.
    pub last_error: Option<String>,
    /// Submissions that wait.
    pub inbox: usize,
    /// Submissions that may wait.
    pub inbox_capacity: usize,
    /// Whether it takes submissions no more.
    pub closed: bool,
}

impl ThreadView {
    /// The view of a thread of which only the id is known.
    pub const fn of(thread: ThreadId) -> Self {
        Self {
            thread,
            parent: None,
            path: None,
            nickname: None,
            role: None,
            depth: 0,
            internal: false,
            forked_from: None,
            rollout_path: None,
            status: ThreadStatus::PendingInit,
            status_seq: 0,
            phase: Phase::Starting,
            epoch: Epoch(0),
            turn: None,
            turns: 0,
            crashes: 0,
            waiting_for_host: false,
            turn_phase: None,
            turn_phase_since_ms: None,
            progress_ms: None,
            usage: Usage {
                input_tokens: 0,
                cached_input_tokens: 0,
                output_tokens: 0,
                reasoning_output_tokens: 0,
                cost_micros: 0,
            },
            last_task: None,
            last_error: None,
            inbox: 0,
            inbox_capacity: 0,
            closed: false,
        }
    }
}

impl Slot {
    /// Sets the view to what its supervisor knows, while no actor is there to publish itself.
    /// Its number, if that is another one than before.
    pub fn show(&self, status: ThreadStatus, phase: Phase) -> Option<u64> {
        self.change_view(|view| {
            view.turn = None;
            view.waiting_for_host = false;
            let changed = view.status != status || view.phase != phase;
            if changed {
                view.status = status;
                view.phase = phase;
                view.status_seq += 1;
            }
            changed.then_some(view.status_seq)
        })
    }

    /// What the thread is known by, if it is told behind its spawn.
    pub fn description(&self) -> Option<RuntimeEvent> {
        let path = self.about().path.as_ref();
        let told = self.with_view(|view| {
            let known = view.nickname.is_some() || view.role.is_some() || view.internal;
            known || view.path.as_ref() != path
        });
        told.then(|| self.describe())
    }

    /// What the thread is known by.
    pub fn describe(&self) -> RuntimeEvent {
        self.with_view(|view| RuntimeEvent::ThreadDescribed {
            path: view.path.clone(),
            nickname: view.nickname.clone(),
            role: view.role.clone(),
            internal: view.internal,
        })
    }

    /// The phase that is shown.
    pub fn phase(&self) -> Phase {
        self.with_view(|view| view.phase)
    }

    /// Whether a turn runs.
    pub fn is_busy(&self) -> bool {
        self.with_view(|view| view.turn.is_some())
    }

    /// The rollout that the thread was imported from.
    pub fn rollout_path(&self) -> Option<String> {
        self.with_view(|view| view.rollout_path.clone())
    }

    /// Counts a crash of the actor.
    pub fn count_crash(&self) {
        self.change_view(|view| view.crashes += 1);
    }
}
