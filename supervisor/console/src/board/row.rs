//! One row of the tree, as clients have it.

use std::collections::VecDeque;

use coppicer_actors::{ThreadView, TreeRow};
use coppicer_messages::{
    AgentPath, Ended, Event, Fact, Outcome, Phase, RuntimeEvent, ThreadEvent, ThreadId, TurnId,
    Usage,
};
use serde::Serialize;

use super::BudgetRow;
use crate::bounds::{RECENT_MAX, ROW_TEXT_MAX};
use crate::text::cut;

/// One thread, as the tree of the console shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) thread: ThreadId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<ThreadId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<AgentPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nickname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    pub(crate) internal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) forked_from: Option<ThreadId>,
    pub(crate) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status_text: Option<String>,
    pub(crate) phase: Phase,
    pub(crate) since_ms: u64,
    pub(crate) epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turn: Option<RowTurn>,
    /// Facts of it that the console saw: what is known of it beside its row may be another with each.
    pub(crate) facts: u64,
    pub(crate) turns: u64,
    pub(crate) crashes: u64,
    pub(crate) restarts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inbox: Option<Inbox>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<Tokens>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) cost_micros: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<Box<BudgetRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<LastError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_task: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gone: Option<Gone>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The running turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RowTurn {
    pub(crate) turn: TurnId,
    pub(crate) since_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phase_since_ms: Option<u64>,
    /// To the second: it is not to make rows of its own all the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) progress_ms: Option<u64>,
    pub(crate) waits_for_host: bool,
}

/// The inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Inbox {
    pub(crate) used: usize,
    pub(crate) capacity: usize,
}

/// Tokens used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) cached_input: u64,
    pub(crate) output: u64,
    pub(crate) reasoning_output: u64,
    pub(crate) total: u64,
}

/// The last thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LastError {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_ms: Option<u64>,
    pub(crate) text: String,
}

/// That a thread is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Gone {
    pub(crate) at_ms: u64,
    pub(crate) how: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rung: Option<&'static str>,
}

/// Something that happened to a thread's engine or actor, as this console saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Recent {
    pub(crate) at_ms: u64,
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

/// What the console keeps of a thread beside its row of the tree: what facts told, and what its view
/// said when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) turn_since_ms: Option<u64>,
    pub(super) last_error: Option<LastError>,
    pub(super) recent: VecDeque<Recent>,
    pub(super) facts: u64,
    /// Whether its engine is down and pauses, and how often it came back.
    engine_down: bool,
    engine_restarts: u64,
    /// Usage of earlier slots of the thread, that of this one as its view said, and what facts told
    /// since.
    carried: Usage,
    viewed: Usage,
    told: Usage,
    view: Option<Viewed>,
}

/// What only a view says.
#[derive(Debug, Clone)]
struct Viewed {
    inbox: Inbox,
    forked_from: Option<ThreadId>,
    last_task: Option<String>,
    budget: Option<Box<BudgetRow>>,
    turn: Option<TurnId>,
    phase: Option<&'static str>,
    phase_since_ms: Option<u64>,
    progress_ms: Option<u64>,
    waits_for_host: bool,
}

impl Known {
    /// Takes in a fact of the thread.
    pub(super) fn follow(&mut self, event: &Event) {
        let at_ms = event.at_ms;
        self.facts += u64::from(event.fact.is_lifecycle());
        let mut erred = |text: &str| {
            self.last_error = Some(LastError { at_ms: Some(at_ms), text: cut(text, ROW_TEXT_MAX) });
        };
        match &event.fact {
            Fact::Thread(ThreadEvent::TurnStarted { .. }) => self.turn_since_ms = Some(at_ms),
            Fact::Thread(ThreadEvent::TurnEnded { outcome, .. }) => {
                if let Outcome::Failed { error: text } | Outcome::Crashed { cause: text } = outcome
                {
                    erred(text);
                }
                self.turn_since_ms = None;
            }
            Fact::Thread(ThreadEvent::TurnRetried { error, .. }) => erred(error),
            Fact::Thread(ThreadEvent::Crashed { cause }) => erred(cause),
            Fact::Thread(ThreadEvent::DamageFound { what })
            | Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Damaged { what } }) => {
                erred(what);
            }
            Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Crashed { cause } }) => {
                erred(cause);
            }
            Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::StoreLost { reason } }) => {
                erred(reason);
            }
            Fact::Thread(ThreadEvent::UsageReported { usage }) => self.told += *usage,
            _ => {}
        }
        let recent = self.recent_of(event);
        self.engine_restarts += u64::from(self.engine_is_back(event));
        match &event.fact {
            Fact::Thread(ThreadEvent::BackoffStarted { .. }) => self.engine_down = true,
            Fact::Thread(ThreadEvent::StatusChanged { phase: Phase::Backoff, .. }) => {}
            Fact::Thread(ThreadEvent::StatusChanged { .. } | ThreadEvent::TurnStarted { .. })
            | Fact::Runtime(RuntimeEvent::ThreadEnded { .. }) => self.engine_down = false,
            _ => {}
        }
        if let Some(recent) = recent {
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(recent);
        }
    }

    /// Whether a fact says that the engine goes on after its pause.
    fn engine_is_back(&self, event: &Event) -> bool {
        self.engine_down
            && match &event.fact {
                Fact::Thread(ThreadEvent::TurnStarted { .. }) => true,
                Fact::Thread(ThreadEvent::StatusChanged { phase, .. }) => {
                    matches!(phase, Phase::Idle | Phase::Running)
                }
                _ => false,
            }
    }

    fn recent_of(&self, event: &Event) -> Option<Recent> {
        let recent = |kind, n, pause: Option<std::time::Duration>, text: Option<&str>| Recent {
            at_ms: event.at_ms,
            kind,
            n,
            pause_ms: pause.map(|pause| pause.as_millis() as u64),
            text: text.map(|text| cut(text, ROW_TEXT_MAX)),
        };
        let why = self.last_error.as_ref().map(|error| &*error.text);
        match &event.fact {
            Fact::Thread(ThreadEvent::BackoffStarted { crash, after }) => {
                Some(recent("backoff", Some(*crash), Some(*after), why))
            }
            Fact::Thread(ThreadEvent::TurnRetried { attempt, after, error }) => {
                Some(recent("retry", Some(*attempt), Some(*after), Some(error)))
            }
            Fact::Thread(ThreadEvent::Crashed { cause }) => {
                Some(recent("crash", None, None, Some(cause)))
            }
            Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Crashed { cause } }) => {
                Some(recent("actor_crash", None, None, Some(cause)))
            }
            Fact::Runtime(RuntimeEvent::RestartScheduled { restart, after }) => {
                Some(recent("restart_scheduled", Some(*restart), Some(*after), why))
            }
            Fact::Runtime(RuntimeEvent::ThreadRestarted) => {
                Some(recent("restart", None, None, why))
            }
            Fact::Runtime(RuntimeEvent::ThreadParked) => Some(recent("parked", None, None, why)),
            _ if self.engine_is_back(event) => Some(recent("restart", None, None, why)),
            _ => None,
        }
    }

    /// Takes in what the thread's view says now; none if nobody has one.
    pub(super) fn look(&mut self, view: Option<ThreadView>) {
        let Some(view) = view else {
            // What is known of it stays, but nothing waits in it and nothing runs.
            if let Some(kept) = &mut self.view {
                kept.inbox.used = 0;
                kept.turn = None;
            }
            return;
        };
        if is_less(view.usage, self.viewed) {
            // It has another slot than before, which counts from the beginning.
            self.carried += self.viewed;
        }
        self.viewed = view.usage;
        self.told = Usage::default();
        if self.last_error.is_none()
            && let Some(text) = &view.last_error
        {
            self.last_error = Some(LastError { at_ms: None, text: cut(text, ROW_TEXT_MAX) });
        }
        self.view = Some(Viewed {
            inbox: Inbox { used: view.inbox, capacity: view.inbox_capacity },
            forked_from: view.forked_from,
            budget: view.ledger.map(|ledger| Box::new(BudgetRow::of(&ledger))),
            last_task: view.last_task.map(|text| cut(&text, ROW_TEXT_MAX)),
            turn: view.turn,
            phase: view.turn_phase.as_ref().map(coppicer_messages::TurnPhase::name),
            phase_since_ms: view.turn_phase_since_ms,
            progress_ms: view.progress_ms.map(|at_ms| at_ms - at_ms % 1_000),
            waits_for_host: view.waiting_for_host,
        });
    }

    /// Whether it had a budget of its own when it was last looked at.
    pub(super) fn has_budget(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.budget.is_some())
    }

    fn usage(&self) -> Usage {
        let mut usage = self.carried;
        usage += self.viewed;
        usage += self.told;
        usage
    }

    /// The row that follows from the tree's and from what else is known.
    pub(super) fn row(&self, tree: &TreeRow, gone: Option<Gone>) -> Row {
        let view = self.view.as_ref();
        let usage = self.usage();
        let turn = tree.turn.clone().map(|turn| {
            let view = view.filter(|view| view.turn.as_ref() == Some(&turn));
            RowTurn {
                since_ms: self.turn_since_ms.unwrap_or(tree.since_ms),
                phase: view.and_then(|view| view.phase),
                phase_since_ms: view.and_then(|view| view.phase_since_ms),
                progress_ms: view.and_then(|view| view.progress_ms),
                waits_for_host: view.is_some_and(|view| view.waits_for_host),
                turn,
            }
        });
        Row {
            thread: tree.thread,
            parent: tree.parent,
            path: tree.path.clone(),
            nickname: tree.nickname.as_deref().map(|text| cut(text, ROW_TEXT_MAX)),
            role: tree.role.as_deref().map(|text| cut(text, ROW_TEXT_MAX)),
            internal: tree.internal,
            forked_from: view.and_then(|view| view.forked_from),
            status: tree.status.name(),
            status_text: tree.status.text().map(|text| cut(text, ROW_TEXT_MAX)),
            phase: tree.phase,
            since_ms: tree.since_ms,
            epoch: tree.epoch.0,
            turn: turn.filter(|_| gone.is_none()),
            facts: self.facts,
            turns: tree.turns.into(),
            crashes: tree.crashes.into(),
            restarts: u64::from(tree.restarts) + self.engine_restarts,
            inbox: view.map(|view| view.inbox),
            tokens: (usage != Usage::default()).then(|| Tokens {
                input: usage.input_tokens,
                cached_input: usage.cached_input_tokens,
                output: usage.output_tokens,
                reasoning_output: usage.reasoning_output_tokens,
                total: usage.total_tokens(),
            }),
            cost_micros: usage.cost_micros,
            budget: view.and_then(|view| view.budget.clone()),
            last_error: self.last_error.clone(),
            last_task: view.and_then(|view| view.last_task.clone()),
            gone,
        }
    }
}

/// Whether `now` cannot have grown out of `before`.
const fn is_less(now: Usage, before: Usage) -> bool {
    now.input_tokens < before.input_tokens
        || now.output_tokens < before.output_tokens
        || now.cost_micros < before.cost_micros
}
