//! Whether a turn is stuck, what is done about it, who holds up a turn that waits, and which waits can
//! never end. Pure.

mod cycles;

use std::collections::HashSet;
use std::time::Duration;

use coppicer_messages::{Limits, Remedy, StuckPolicy, ThreadId, TurnPhase};

pub(crate) use cycles::cycle;

use crate::engine::WaitFor;

/// What is known of a turn when somebody looks whether it is stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Looked<'a> {
    pub(crate) phase: &'a TurnPhase,
    /// When it last made progress; its start if it never did. In milliseconds since the Unix epoch,
    /// like all times here.
    pub(crate) progress_ms: u64,
    /// What was done last, and when, if nothing made progress since. A new turn's start is none.
    pub(crate) last: Option<(Remedy, u64)>,
    pub(crate) now_ms: u64,
}

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    /// Nothing before then.
    NotYet { at_ms: u64 },
    /// This rung. The next look is a period later.
    Act(Remedy),
    /// It waits for threads: those who hold it up are looked at.
    LookBelow,
    /// All that its policy allows was done.
    Rest,
}

/// The periods of one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Periods {
    pub(crate) after: Duration,
    pub(crate) tool_after: Duration,
    pub(crate) up_to: Remedy,
}

impl Periods {
    pub(crate) fn of(policy: &StuckPolicy, limits: &Limits) -> Self {
        Self {
            after: policy.after.unwrap_or(limits.stuck_after),
            tool_after: policy.tool_after.unwrap_or(limits.stuck_tool_after),
            up_to: policy.up_to,
        }
    }

    /// The same for somebody whose patience is shorter.
    pub(crate) fn at_most(self, patience: Duration) -> Self {
        let (after, tool_after) = (self.after.min(patience), self.tool_after.min(patience));
        Self { after, tool_after, ..self }
    }

    /// The period that a turn at `phase` is given.
    pub(crate) const fn of_phase(&self, phase: &TurnPhase) -> Duration {
        match phase {
            TurnPhase::Tool { deadline_ms: None } => self.tool_after,
            _ => self.after,
        }
    }
}

pub(crate) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// When a turn that makes no progress from now on is looked at.
pub(crate) fn due_ms(phase: &TurnPhase, progress_ms: u64, periods: &Periods) -> u64 {
    match phase {
        TurnPhase::Tool { deadline_ms: Some(deadline) } => *deadline,
        phase => progress_ms.saturating_add(ms(periods.of_phase(phase))),
    }
}

/// Decides about one turn.
pub(crate) fn judge(looked: &Looked<'_>, periods: &Periods) -> Verdict {
    let &Looked { phase, progress_ms, last, now_ms } = looked;
    let due = match last {
        Some((_, acted_ms)) => {
            acted_ms.max(progress_ms).saturating_add(ms(periods.of_phase(phase)))
        }
        None => due_ms(phase, progress_ms, periods),
    };
    if now_ms < due {
        return Verdict::NotYet { at_ms: due };
    }
    let up_to = match phase {
        TurnPhase::AwaitChild { .. } => return Verdict::LookBelow,
        TurnPhase::AwaitHost { .. } => Remedy::Tell,
        _ => periods.up_to,
    };
    match last.map_or(Some(Remedy::Tell), |(last, _)| last.next()) {
        Some(remedy) if remedy <= up_to => Verdict::Act(remedy),
        _ => Verdict::Rest,
    }
}

/// A thread at the end of a chain of waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A turn runs there and waits for nobody.
    Runs,
    /// No turn runs there, and it has not ended what it does.
    Pauses,
}

/// What is known of a thread on a chain of waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// It has ended what it does.
    Ended,
    /// Its turn waits for others.
    Waits(Vec<WaitFor>),
    /// It is an end of the chain.
    Is(End),
}

/// Who holds up a thread that waits: the threads at the ends of its chain of waits, in the order in
/// which they are met. Looks at `most` threads.
pub(crate) fn blockers(
    start: ThreadId,
    most: usize,
    mut look: impl FnMut(ThreadId) -> Link,
) -> Vec<(ThreadId, End)> {
    let (mut found, mut met, mut to_see) = (Vec::new(), HashSet::from([start]), vec![start]);
    while let Some(thread) = to_see.pop() {
        match look(thread) {
            Link::Ended => {}
            Link::Is(end) => found.push((thread, end)),
            Link::Waits(waits) => {
                for &thread in waits.iter().flat_map(|wait| wait.threads.iter().rev()) {
                    if met.len() < most && met.insert(thread) {
                        to_see.push(thread);
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
