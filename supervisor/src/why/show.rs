//! Why a thread does what it does, in lines for people.

use std::fmt;

use coppicer_messages::{Budget, ThreadId, Wait};

use crate::audit::LeaseOwner;

use super::{WaitsFor, Why, WhyTurn};

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {}", self.thread)?;
        let names = [self.path.as_ref().map(ToString::to_string), self.nickname.clone()];
        for name in names.into_iter().flatten() {
            write!(f, " {name}")?;
        }
        if let Some(role) = &self.role {
            write!(f, " ({role})")?;
        }
        writeln!(f)?;
        self.fmt_origin(f)?;
        write!(f, "  is: {}", self.status.name())?;
        if let Some(phase) = self.phase {
            write!(f, ", phase {phase:?}")?;
        }
        match self.stage {
            Some(stage) => write!(f, ", {stage:?} for its supervisor")?,
            None => write!(f, ", in the store alone")?,
        }
        writeln!(f, ", epoch {}", self.epoch)?;
        if let Some(turn) = &self.turn {
            self.fmt_turn(f, turn)?;
        }
        for wait in &self.waits_for {
            writeln!(f, "  waits for: {}", self.wait(wait))?;
        }
        if !self.waiters.is_empty() {
            writeln!(f, "  waited for by: {}", list(&self.waiters))?;
        }
        for row in &self.leases {
            write!(f, "  holds: {} {}", row.count, row.kind.name())?;
            if let LeaseOwner::Process { name, .. } = &row.owner {
                write!(f, " {name}")?;
            }
            writeln!(f)?;
        }
        if let Some(crash) = &self.last_crash {
            let ago = self.ago(crash.at_ms);
            writeln!(f, "  last crash: {} ({ago}, epoch {})", crash.cause, crash.epoch)?;
        }
        if let Some(error) = &self.last_error {
            writeln!(f, "  last error: {error}")?;
        }
        let left = |left: Option<u32>| match left {
            None => "-".to_owned(),
            Some(u32::MAX) => "unlimited".to_owned(),
            Some(left) => left.to_string(),
        };
        writeln!(
            f,
            "  restarts left: actor {}, engine {}, of {}; {} crashes here",
            left(self.actor_restarts_left),
            left(self.engine_restarts_left),
            left(self.restarts_max),
            self.crashes,
        )?;
        if let Some(budget) = &self.budget_left {
            writeln!(f, "  budget left: {}", rest(budget))?;
        }
        write!(f, "  inbox: {} of {}; mail: {}", self.inbox, self.inbox_capacity, self.mail)?;
        for silent in &self.silent {
            write!(f, "\n  no answer in time: {silent:?}")?;
        }
        Ok(())
    }
}

impl Why {
    fn fmt_origin(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parent {
            Some(parent) => write!(f, "  spawned: as a sub-agent of {parent}")?,
            None => write!(f, "  spawned: as a root")?,
        }
        if let Some(from) = self.forked_from {
            write!(f, ", as a fork of {from}")?;
        }
        if let Some(source) = &self.source {
            write!(f, ", by {source}")?;
        }
        if let Some(created_ms) = self.created_ms {
            write!(f, ", {}", self.ago(created_ms))?;
        }
        writeln!(f)
    }

    fn fmt_turn(&self, f: &mut fmt::Formatter<'_>, turn: &WhyTurn) -> fmt::Result {
        write!(f, "  runs: turn {}", turn.turn)?;
        if let Some(attempt) = turn.attempt {
            write!(f, ", attempt {attempt}")?;
        }
        if let Some(since_ms) = turn.since_ms {
            write!(f, ", begun {}", self.ago(since_ms))?;
        }
        if let Some(phase) = &turn.phase {
            write!(f, "; in {}", phase.name())?;
        }
        if let Some(since_ms) = turn.phase_since_ms {
            write!(f, " since {}", self.ago(since_ms))?;
        }
        if let Some(progress_ms) = turn.progress_ms {
            write!(f, "; last progress {}", self.ago(progress_ms))?;
        }
        writeln!(f)
    }

    fn wait(&self, wait: &WaitsFor) -> String {
        let until = |until_ms: Option<u64>| {
            until_ms.map_or(String::new(), |until_ms| {
                format!(" for {}", seconds(until_ms.saturating_sub(self.asked_ms)))
            })
        };
        match wait {
            WaitsFor::Threads { threads, how } => {
                let of = match how {
                    Wait::Any => "the first of",
                    Wait::All => "all of",
                };
                let shown = threads.iter().map(|(id, status)| format!("{id} ({})", status.name()));
                format!("{of} {}", shown.collect::<Vec<_>>().join(", "))
            }
            WaitsFor::Host { question } => format!("the host's answer to {question}"),
            WaitsFor::Permit { turn } => format!("a permit for turn {turn}"),
            WaitsFor::Retry => "the next attempt at its turn".into(),
            WaitsFor::EngineBackoff { until_ms } => {
                format!("the end of its engine's pause{}", until(*until_ms))
            }
            WaitsFor::ActorBackoff { until_ms } => {
                format!("the end of its actor's pause{}", until(*until_ms))
            }
            WaitsFor::Start => "its actor to come up".into(),
            WaitsFor::Store => "the store to write".into(),
            WaitsFor::StoreRecovery => "the store to recover".into(),
            WaitsFor::Parent => "its parent to come back".into(),
            WaitsFor::Sibling => "a sibling to come back".into(),
            WaitsFor::Close => "its close".into(),
            WaitsFor::Revival => "its revival".into(),
            WaitsFor::Work => "work".into(),
        }
    }

    fn ago(&self, at_ms: u64) -> String {
        format!("{} ago", seconds(self.asked_ms.saturating_sub(at_ms)))
    }
}

/// Up to two minutes to the millisecond, then in two units: `2 m 5 s`, `3 h 4 m`, `5 d 7 h`.
fn seconds(ms: u64) -> String {
    const EXACT_MS: u64 = 120_000;
    let s = ms / 1_000;
    let (m, h, d) = (s / 60, s / 3_600, s / 86_400);
    match ms {
        0..EXACT_MS => format!("{s}.{:03} s", ms % 1_000),
        _ if h == 0 => format!("{m} m {} s", s % 60),
        _ if d == 0 => format!("{h} h {} m", m % 60),
        _ => format!("{d} d {} h", h % 24),
    }
}

fn list(threads: &[ThreadId]) -> String {
    threads.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn rest(budget: &Budget) -> String {
    let parts = [
        ("tokens", budget.tokens),
        ("cost micros", budget.cost_micros),
        ("wall ms", budget.wall_ms),
        ("spawns", budget.spawns),
    ];
    let known = parts.iter().filter_map(|(name, left)| left.map(|left| format!("{left} {name}")));
    let known: Vec<String> = known.collect();
    if known.is_empty() { "not limited".into() } else { known.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn a_long_time_is_said_in_units_that_people_count_in() {
        let times = [7, 119_999, 120_000, 3_599_000, 3_600_000, 86_399_999, 458_117_532];
        let said =
            ["0.007 s", "119.999 s", "2 m 0 s", "59 m 59 s", "1 h 0 m", "23 h 59 m", "5 d 7 h"];
        assert_eq!(times.map(seconds), said);
    }
}
