//! The running turn of a thread, and how its end is judged.

use std::sync::Arc;
use std::time::Duration;

use coppicer_messages::{
    AbortReason, CallId, ControlError, Interrupted, LimitReached, Limits, MessagePhase, Now,
    Outcome, RecordClass, Reply, Rung, SubmissionId, ThreadStatus, ToolKind, TraceContext, TurnId,
    TurnItem, TurnPermit, UserInput,
};
use tokio::time::Instant;

use super::core::Waiting;
use crate::engine::TurnKind;
use crate::history::is_own;

/// How far a turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its start is being written.
    Starting,
    /// The engine works on it.
    Live,
    /// It waits for its next attempt.
    Retrying,
    /// It was killed, and may not be gone yet.
    Killed,
}

/// That a turn was told to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cancelled {
    /// When it is killed.
    pub(crate) stop_until: Instant,
}

pub(crate) struct RunningTurn {
    pub(crate) id: TurnId,
    pub(crate) kind: TurnKind,
    pub(crate) stage: Stage,
    pub(crate) attempt: u32,
    pub(crate) first_attempt: u32,
    /// What it works on: each gets the turn's outcome.
    pub(crate) submissions: Vec<SubmissionId>,
    /// Steered input that it took.
    pub(crate) taken: Vec<Waiting>,
    /// Records that its engine wrote in this turn.
    pub(crate) place: u64,
    /// Input that came for it and was not taken.
    pub(crate) steered: Vec<(SubmissionId, UserInput, Option<TraceContext>)>,
    pub(crate) items: Arc<[TurnItem]>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) started: Now,
    pub(crate) open_calls: Vec<(CallId, ToolKind)>,
    pub(crate) said: Option<String>,
    /// Whether mail that comes now waits for the next turn, because this one has given its answer.
    pub(crate) mail_waits: bool,
    pub(crate) cancelled: Option<Cancelled>,
    /// What was used up, if that is why it was told to stop.
    pub(crate) limited: Option<LimitReached>,
    pub(crate) interrupts: Vec<Reply<Interrupted, ControlError>>,
    _permit: TurnPermit,
}

/// How a turn came to its end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TurnEnd {
    /// The engine is done, with this last message or the last one emitted.
    Done(Option<String>),
    /// A passing error.
    Transient { message: String, retry_after: Option<Duration> },
    /// Too much was asked.
    Overloaded,
    /// The session is gone.
    SessionLost(String),
    /// The engine gave up.
    Failed(String),
    /// The engine stopped because it was told to.
    Stopped,
    /// The engine panicked.
    Panicked(String),
    /// Its future was dropped.
    Killed,
    /// Its code would not stop.
    Fenced,
}

impl TurnEnd {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Transient { message, .. } | Self::Failed(message) => message.clone(),
            Self::Overloaded => "the engine is overloaded".into(),
            Self::SessionLost(message) => format!("the engine's session was lost: {message}"),
            Self::Panicked(cause) => cause.clone(),
            Self::Done(_) => "done".into(),
            Self::Stopped | Self::Killed | Self::Fenced => "stopped".into(),
        }
    }
}

/// What the end of a turn means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) status: ThreadStatus,
    /// Why it is recorded as aborted; none if it is recorded as complete.
    pub(crate) aborted: Option<AbortReason>,
    pub(crate) rung: Option<Rung>,
    pub(crate) error: Option<String>,
    pub(crate) keep_session: bool,
}

impl RunningTurn {
    pub(crate) fn new(id: TurnId, started: Now, permit: TurnPermit) -> Self {
        Self {
            id,
            kind: TurnKind::Regular,
            stage: Stage::Starting,
            attempt: 1,
            first_attempt: 1,
            submissions: Vec::new(),
            taken: Vec::new(),
            place: 0,
            steered: Vec::new(),
            items: Arc::new([]),
            trace: None,
            started,
            open_calls: Vec::new(),
            said: None,
            mail_waits: false,
            cancelled: None,
            limited: None,
            interrupts: Vec::new(),
            _permit: permit,
        }
    }

    /// What it works on, as it came, to be tried again: what it began with, then what it took.
    pub(crate) fn take_work(&mut self) -> Vec<Waiting> {
        let attempt = self.first_attempt;
        let input = self.items.iter().find_map(|item| match item {
            TurnItem::Input { submission, input } => Some(Waiting::Input {
                id: submission.clone(),
                input: input.clone(),
                attempt,
                trace: self.trace.clone(),
            }),
            _ => None,
        });
        let compact = || {
            let id = self.submissions.first().filter(|_| self.kind == TurnKind::Compact);
            id.map(|id| Waiting::Compact { id: id.clone(), attempt, trace: self.trace.clone() })
        };
        let mut work: Vec<Waiting> = input.or_else(compact).into_iter().collect();
        work.append(&mut self.taken);
        work
    }

    /// Keeps count of what it wrote, of calls without an output, and of whom mail is for (REF 7.8): from its answer on
    /// for the next turn, unless this one goes on, with a tool call or with input that it was steered
    /// by. A message that is not marked as a remark is an answer.
    pub(crate) fn note(&mut self, class: &RecordClass) {
        self.place += u64::from(is_own(class));
        match class {
            RecordClass::ToolCall { call, kind } => {
                self.open_calls.push((call.clone(), *kind));
                self.mail_waits = false;
            }
            RecordClass::AssistantMessage { phase } if *phase != MessagePhase::Commentary => {
                self.mail_waits = self.steered.is_empty();
            }
            RecordClass::ToolOutput { call, .. } => {
                self.open_calls.retain(|(open, _)| open != call);
            }
            _ => {}
        }
    }

    /// The pause before the next attempt, if this end allows one.
    pub(crate) fn retry_after(&self, end: &TurnEnd, limits: &Limits) -> Option<Duration> {
        let tries = self.attempt - self.first_attempt + 1;
        if tries >= limits.turn_attempts_max {
            return None;
        }
        let own = limits.retry_delay.saturating_mul(1 << (tries - 1).min(16));
        let pause = match end {
            TurnEnd::Transient { retry_after, .. } => retry_after.unwrap_or(own),
            TurnEnd::Overloaded => own.saturating_mul(2),
            TurnEnd::SessionLost(_) => own,
            TurnEnd::Done(_)
            | TurnEnd::Failed(_)
            | TurnEnd::Stopped
            | TurnEnd::Panicked(_)
            | TurnEnd::Killed
            | TurnEnd::Fenced => return None,
        };
        Some(pause.min(limits.retry_delay_max))
    }

    /// What its end means. A turn that was told to stop is interrupted, whatever it says of itself,
    /// unless it panicked.
    pub(crate) fn verdict(&self, end: &TurnEnd) -> Verdict {
        let stopped = |rung| Verdict {
            outcome: Outcome::Interrupted,
            status: ThreadStatus::Interrupted,
            aborted: Some(match self.limited {
                Some(_) => AbortReason::BudgetLimited,
                None => AbortReason::Interrupted,
            }),
            rung: Some(rung),
            error: self.limited.as_ref().map(ToString::to_string),
            keep_session: rung == Rung::Stopped,
        };
        match end {
            TurnEnd::Panicked(cause) => Verdict {
                outcome: Outcome::Crashed { cause: cause.clone() },
                status: ThreadStatus::Crashed(cause.clone()),
                aborted: Some(AbortReason::Crashed),
                rung: None,
                error: Some(cause.clone()),
                keep_session: false,
            },
            TurnEnd::Killed => {
                stopped(if self.stage == Stage::Killed { Rung::Killed } else { Rung::Stopped })
            }
            TurnEnd::Fenced => stopped(Rung::Fenced),
            _ if self.cancelled.is_some() => stopped(Rung::Stopped),
            TurnEnd::Done(message) => {
                let message = message.clone().or_else(|| self.said.clone());
                Verdict {
                    outcome: Outcome::Completed { message: message.clone() },
                    status: ThreadStatus::Completed(message),
                    aborted: None,
                    rung: None,
                    error: None,
                    keep_session: true,
                }
            }
            // An engine that says it was stopped and was not.
            TurnEnd::Stopped => Self::failed("the engine stopped by itself".into(), true),
            TurnEnd::SessionLost(_) => Self::failed(end.describe(), false),
            TurnEnd::Transient { .. } | TurnEnd::Overloaded | TurnEnd::Failed(_) => {
                Self::failed(end.describe(), true)
            }
        }
    }

    fn failed(error: String, keep_session: bool) -> Verdict {
        Verdict {
            outcome: Outcome::Failed { error: error.clone() },
            status: ThreadStatus::Errored(error.clone()),
            aborted: None,
            rung: None,
            error: Some(error),
            keep_session,
        }
    }
}
