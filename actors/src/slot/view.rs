//! What a thread publishes of itself, read by anyone without a message.

use coppicer_messages::{
    AgentPath, Epoch, Ledger, Phase, RuntimeEvent, ThreadId, ThreadStatus, TurnId, TurnPhase, Usage,
};
use serde::{Deserialize, Serialize};

use tokio::time::Instant;

use super::Slot;
use crate::seldom::{Blank, Seldom};

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
    /// What it was granted, has used and has given away, if it has a budget of its own.
    pub ledger: Option<Ledger>,
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
            usage: NO_USAGE,
            ledger: None,
            last_task: None,
            last_error: None,
            inbox: 0,
            inbox_capacity: 0,
            closed: false,
        }
    }
}

/// What a slot keeps of it: the rest follows from the slot, or is rare.
pub(crate) struct Shown {
    pub(crate) status: ThreadStatus,
    pub(crate) status_seq: u64,
    pub(crate) phase: Phase,
    pub(crate) waiting_for_host: bool,
    /// Whether a turn comes next, though nothing may wait in the inbox.
    pub(crate) has_work: bool,
    pub(crate) epoch: Epoch,
    pub(crate) turn: Option<TurnId>,
    pub(crate) turns: u64,
    pub(crate) crashes: u64,
    /// A patch shows it before the thread has it.
    pub(crate) path: Option<AgentPath>,
    pub(crate) names: Seldom<Names>,
    pub(crate) work: Seldom<Work>,
    /// When the thread last did something that keeps it awake.
    pub(crate) active: Instant,
}

/// What it is known by, beside its path, and where it comes from.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) nickname: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) forked_from: Option<ThreadId>,
    pub(crate) rollout_path: Option<String>,
}

/// What its turns leave to be shown.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) usage: Usage,
    pub(crate) last_task: Option<String>,
    pub(crate) last_error: Option<String>,
}

impl Blank for Names {
    const BLANK: &'static Self =
        &Self { nickname: None, role: None, forked_from: None, rollout_path: None };

    fn is_blank(&self) -> bool {
        let Self { nickname, role, forked_from, rollout_path } = self;
        nickname.is_none() && role.is_none() && forked_from.is_none() && rollout_path.is_none()
    }
}

impl Blank for Work {
    const BLANK: &'static Self = &Self { usage: NO_USAGE, last_task: None, last_error: None };

    fn is_blank(&self) -> bool {
        self.usage == NO_USAGE && self.last_task.is_none() && self.last_error.is_none()
    }
}

const NO_USAGE: Usage = Usage {
    input_tokens: 0,
    cached_input_tokens: 0,
    output_tokens: 0,
    reasoning_output_tokens: 0,
    cost_micros: 0,
};

impl Shown {
    /// What is kept of a view.
    pub(super) fn of(view: ThreadView, active: Instant) -> Self {
        let ThreadView { nickname, role, forked_from, rollout_path, .. } = view;
        let work =
            Work { usage: view.usage, last_task: view.last_task, last_error: view.last_error };
        Self {
            status: view.status,
            status_seq: view.status_seq,
            phase: view.phase,
            waiting_for_host: view.waiting_for_host,
            has_work: false,
            epoch: view.epoch,
            turn: view.turn,
            turns: view.turns,
            crashes: view.crashes,
            path: view.path,
            names: Names { nickname, role, forked_from, rollout_path }.into(),
            work: work.into(),
            active,
        }
    }

    /// Says it in a view.
    pub(super) fn tell(&self, view: &mut ThreadView) {
        view.status = self.status.clone();
        view.status_seq = self.status_seq;
        view.phase = self.phase;
        view.waiting_for_host = self.waiting_for_host;
        view.epoch = self.epoch;
        view.turn.clone_from(&self.turn);
        view.turns = self.turns;
        view.crashes = self.crashes;
        view.path.clone_from(&self.path);
        view.nickname.clone_from(&self.names.nickname);
        view.role.clone_from(&self.names.role);
        view.forked_from = self.names.forked_from;
        view.rollout_path.clone_from(&self.names.rollout_path);
        view.usage = self.work.usage;
        view.last_task.clone_from(&self.work.last_task);
        view.last_error.clone_from(&self.work.last_error);
    }
}

impl Slot {
    /// Sets the view to what its supervisor knows, while no actor is there to publish itself.
    /// Its number, if that is another one than before.
    pub fn show(&self, status: ThreadStatus, phase: Phase) -> Option<u64> {
        self.change_view(|view| {
            view.turn = None;
            view.waiting_for_host = false;
            // What comes back goes on with it.
            view.has_work &= matches!(phase, Phase::Starting | Phase::Backoff);
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
            let known = view.names.nickname.is_some() || view.names.role.is_some() || self.internal;
            known || view.path.as_ref() != path
        });
        told.then(|| self.describe())
    }

    /// What the thread is known by.
    pub fn describe(&self) -> RuntimeEvent {
        self.with_view(|view| RuntimeEvent::ThreadDescribed {
            path: view.path.clone(),
            nickname: view.names.nickname.clone(),
            role: view.names.role.clone(),
            internal: self.internal,
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
        self.with_view(|view| view.names.rollout_path.clone())
    }

    /// Counts a crash of the actor.
    pub fn count_crash(&self) {
        self.change_view(|view| view.crashes += 1);
    }
}
