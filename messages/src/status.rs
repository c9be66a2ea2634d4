//! What a thread is doing: its phase, and the status that hosts are shown.

use serde::{Deserialize, Serialize};

use crate::AbortReason;

/// Where a thread is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Its actor comes up; nothing was run yet.
    Starting,
    /// It waits for work.
    Idle,
    /// A turn runs.
    Running,
    /// Its engine or its actor crashed; it starts again after a pause.
    Backoff,
    /// Its restarts are spent: readable, forkable, closable, revivable, but no turn starts.
    Parked,
    /// It closes; nothing new is accepted.
    Stopping,
    /// It is closed.
    Stopped,
    /// It has no actor; the next submission gives it one.
    Dormant,
}

impl Phase {
    /// The wire name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Backoff => "backoff",
            Self::Parked => "parked",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Dormant => "dormant",
        }
    }
}

/// The status that hosts are shown, with REF's wire values and four of our own (`crashed`,
/// `parked`, `dormant`, `damaged`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ThreadStatus {
    /// Nothing was run yet.
    PendingInit,
    /// A turn runs.
    Running,
    /// The last turn was interrupted, or stopped by its budget.
    Interrupted,
    /// The last turn ended; its last message, if it had one.
    Completed(Option<String>),
    /// The last turn failed; why.
    Errored(String),
    /// The thread is closed.
    Shutdown,
    /// No such thread is loaded.
    NotFound,
    /// The last turn's engine, or the thread's actor, crashed; how.
    Crashed(String),
    /// Its restarts are spent.
    Parked,
    /// It has no actor; the next submission gives it one.
    Dormant,
    /// A record of it is damaged; which, and how. It can be read and forked up to there.
    Damaged(String),
}

impl ThreadStatus {
    /// Whether this ends a wait for the thread. REF counts everything but `pending_init`,
    /// `running` and `interrupted`, so that waiters on an interrupted agent time out (REF 14.5);
    /// here an interrupted turn is an end too.
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::PendingInit | Self::Running | Self::Dormant)
    }

    /// The status that a thread shows in a new life, if this was the durable one of the last.
    #[must_use]
    pub fn reborn(self) -> Self {
        match self {
            Self::Running => Self::Interrupted,
            Self::Shutdown => Self::PendingInit,
            last => last,
        }
    }

    /// What it says beside its name: the last message of a turn, or what went wrong.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Completed(text) => text.as_deref(),
            Self::Errored(text) | Self::Crashed(text) | Self::Damaged(text) => Some(text),
            _ => None,
        }
    }

    /// The wire name without its data.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PendingInit => "pending_init",
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Completed(_) => "completed",
            Self::Errored(_) => "errored",
            Self::Shutdown => "shutdown",
            Self::NotFound => "not_found",
            Self::Crashed(_) => "crashed",
            Self::Parked => "parked",
            Self::Dormant => "dormant",
            Self::Damaged(_) => "damaged",
        }
    }
}

/// The facts that move a status.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatusFact {
    /// A turn started.
    TurnStarted,
    /// A turn ran to its end, with its last message.
    TurnCompleted(Option<String>),
    /// A turn was cut short.
    TurnAborted(AbortReason),
    /// A turn failed; why.
    TurnFailed(String),
    /// A turn's engine or the thread's actor crashed; how.
    Crashed(String),
    /// The restarts are spent.
    Parked,
    /// Revived after it was parked.
    Revived,
    /// The thread closed.
    Closed,
}

/// The status after `fact`. A failed turn stays `errored` when its end is recorded (REF 14.5, 26).
#[must_use]
pub fn status_after(fact: StatusFact) -> ThreadStatus {
    match fact {
        StatusFact::TurnStarted => ThreadStatus::Running,
        StatusFact::TurnCompleted(last) => ThreadStatus::Completed(last),
        StatusFact::TurnAborted(AbortReason::Interrupted | AbortReason::BudgetLimited) => {
            ThreadStatus::Interrupted
        }
        StatusFact::TurnAborted(AbortReason::Crashed) => {
            ThreadStatus::Crashed("the host ended in mid-turn".to_owned())
        }
        StatusFact::TurnAborted(reason) => ThreadStatus::Errored(reason.as_str().to_owned()),
        StatusFact::TurnFailed(why) => ThreadStatus::Errored(why),
        StatusFact::Crashed(how) => ThreadStatus::Crashed(how),
        StatusFact::Parked => ThreadStatus::Parked,
        StatusFact::Revived => ThreadStatus::PendingInit,
        StatusFact::Closed => ThreadStatus::Shutdown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ac_04_to_ac_08_facts_map_to_the_statuses_of_the_reference() {
        let done = Some("done".to_owned());
        let cases = [
            ("AC-04", StatusFact::TurnStarted, ThreadStatus::Running),
            ("AC-05", StatusFact::TurnCompleted(done.clone()), ThreadStatus::Completed(done)),
            ("AC-06", StatusFact::TurnFailed("boom".into()), ThreadStatus::Errored("boom".into())),
            ("AC-07", StatusFact::TurnAborted(AbortReason::Interrupted), ThreadStatus::Interrupted),
            ("AC-08", StatusFact::Closed, ThreadStatus::Shutdown),
        ];
        for (case, fact, status) in cases {
            assert_eq!(status_after(fact), status, "{case}");
        }
        for (reason, status) in [
            (AbortReason::BudgetLimited, ThreadStatus::Interrupted),
            (AbortReason::Replaced, ThreadStatus::Errored("replaced".into())),
            (AbortReason::ReviewEnded, ThreadStatus::Errored("review_ended".into())),
        ] {
            assert_eq!(status_after(StatusFact::TurnAborted(reason)), status);
        }
    }

    #[test]
    fn the_wire_form_is_the_reference_s() {
        for (status, json) in [
            (ThreadStatus::PendingInit, r#""pending_init""#),
            (ThreadStatus::NotFound, r#""not_found""#),
            (ThreadStatus::Completed(Some("text".into())), r#"{"completed":"text"}"#),
            (ThreadStatus::Completed(None), r#"{"completed":null}"#),
            (ThreadStatus::Errored("text".into()), r#"{"errored":"text"}"#),
            (ThreadStatus::Dormant, r#""dormant""#),
        ] {
            assert_eq!(serde_json::to_string(&status).unwrap(), json);
            assert_eq!(serde_json::from_str::<ThreadStatus>(json).unwrap(), status);
        }
    }
}
