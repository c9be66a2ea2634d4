//! The report of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::cli::text::count;

/// Rows of one kind of finding that people are shown.
const ROWS_MAX: usize = 10;

/// What became of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Session files that were looked at.
    pub(super) files: usize,
    /// Threads that ran.
    pub(super) threads: usize,
    /// Trees of them: roots.
    pub(super) trees: usize,
    /// The store's file; none if the threads were kept in memory.
    pub(super) store: Option<String>,
    /// What the store had of this run already.
    pub(super) continued: Continued,
    /// Unfinished turns of the sessions that were closed and sent again.
    pub(super) unfinished: usize,
    /// Turns by outcome.
    pub(super) turns: BTreeMap<String, usize>,
    /// Submissions that have no durable outcome.
    pub(super) lost: usize,
    /// Crashes that threads came back from.
    pub(super) restarts: u64,
    /// Threads by the rung that they reached when they were closed.
    pub(super) shutdown: BTreeMap<String, usize>,
    /// Threads that had not ended by the deadline of the shutdown.
    pub(super) timed_out: usize,
    /// Time of the shutdown, in milliseconds.
    pub(super) shutdown_ms: u64,
    /// Time of all, in milliseconds.
    pub(super) wall_ms: u64,
    /// What the audit found after everything was closed; empty if it is clean.
    pub(super) audit: Vec<String>,
    /// Histories that are not valid for a model after the run.
    pub(super) invalid_histories: Vec<String>,
    /// What was wrong with the input.
    pub(super) problems: Vec<String>,
    /// What went wrong in the work.
    pub(super) failures: Vec<String>,
    /// A digest of every submission's outcome. The same seed gives the same one.
    pub(super) outcomes: String,
    /// The seed.
    pub(super) seed: u64,
    /// Whether a signal ended the run early.
    pub(super) interrupted: bool,
    /// Memory, with `--threads` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Memory>,
}

/// What an earlier run has left of this one.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct Continued {
    /// Threads that were in the store.
    pub(super) threads: usize,
    /// Their submissions of this run that had an outcome: none of them ran again.
    pub(super) ended: usize,
    /// Their submissions of this run that were accepted, and had none.
    pub(super) begun: usize,
}

/// What fresh threads cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Memory {
    /// How many.
    pub(super) threads: usize,
    /// Bytes of each after it was spawned, before it ran anything.
    pub(super) spawned_bytes: u64,
    /// Bytes of each when its turns are done, with its history and outcomes in the store.
    pub(super) idle_bytes: u64,
}

impl Report {
    /// Whether every thread reached a durable outcome, the audit is clean, and nothing was wrong.
    pub(super) fn is_well(&self) -> bool {
        self.problems.is_empty() && self.work_is_well()
    }

    fn work_is_well(&self) -> bool {
        self.lost == 0
            && self.timed_out == 0
            && self.audit.is_empty()
            && self.invalid_histories.is_empty()
            && self.failures.is_empty()
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<10} {value}");
        };
        let files = count(self.files, "file");
        let (threads, trees) = (count(self.threads, "thread"), count(self.trees, "tree"));
        row("sessions", format!("{threads} in {trees}, from {files}"));
        if let Some(store) = &self.store {
            row("store", store.clone());
        }
        let Continued { threads, ended, begun } = self.continued;
        if threads > 0 {
            let (threads, turns) = (count(threads, "thread"), count(ended, "turn"));
            let begun = if begun > 0 { format!(", {begun} under way") } else { String::new() };
            row("continued", format!("{threads} of the store, {turns} done before{begun}"));
        }
        if self.unfinished > 0 {
            row("unfinished", format!("{} closed and sent again", count(self.unfinished, "turn")));
        }
        row("turns", list(&self.turns));
        row("restarts", self.restarts.to_string());
        let took = seconds(self.shutdown_ms);
        row("shutdown", format!("{} in {took}", list(&self.shutdown)));
        row("outcomes", format!("{} (seed {})", self.outcomes, self.seed));
        if let Some(memory) = &self.memory {
            row(
                "memory",
                format!(
                    "{} bytes for each of {} idle threads, {} before their first turn",
                    memory.idle_bytes, memory.threads, memory.spawned_bytes
                ),
            );
        }
        row("time", seconds(self.wall_ms));
        if self.lost > 0 {
            row("LOST", count(self.lost, "submission without an outcome"));
        }
        if self.timed_out > 0 {
            row(
                "FENCED",
                format!("{} had not ended by the deadline", count(self.timed_out, "thread")),
            );
        }
        for (name, rows) in [
            ("AUDIT", &self.audit),
            ("INVALID", &self.invalid_histories),
            ("FAILED", &self.failures),
        ] {
            for found in rows.iter().take(ROWS_MAX) {
                row(name, found.clone());
            }
            if rows.len() > ROWS_MAX {
                row(name, format!("… and {} more; --json has all", rows.len() - ROWS_MAX));
            }
        }
        let verdict = match (self.problems.len(), self.work_is_well()) {
            _ if self.interrupted => "interrupted".to_owned(),
            (0, true) => "every thread reached an outcome, the audit is clean".to_owned(),
            (_, false) => "not every thread came out well".to_owned(),
            (some, true) => {
                format!("{} with the input; all else came out well", count(some, "problem"))
            }
        };
        row("verdict", verdict);
        text
    }
}

fn list(counts: &BTreeMap<String, usize>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let counts: Vec<String> =
        counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    counts.join(", ")
}

fn seconds(millis: u64) -> String {
    format!("{:.2} s", Duration::from_millis(millis).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_well_only_without_any_finding() {
        assert!(Report::default().is_well());
        let row = || vec!["x".to_owned()];
        for flawed in [
            Report { lost: 1, ..Report::default() },
            Report { timed_out: 1, ..Report::default() },
            Report { audit: row(), ..Report::default() },
            Report { invalid_histories: row(), ..Report::default() },
            Report { problems: row(), ..Report::default() },
            Report { failures: row(), ..Report::default() },
        ] {
            assert!(!flawed.is_well(), "{flawed:?}");
            assert!(!flawed.text().contains("the audit is clean"), "{}", flawed.text());
        }
    }

    #[test]
    fn people_are_shown_the_first_findings_and_how_many_there_are() {
        let audit = (0..14).map(|n| format!("finding {n}")).collect();
        let text = Report { audit, ..Report::default() }.text();
        assert!(text.contains("AUDIT      finding 9\nAUDIT      … and 4 more"), "{text}");
    }
}
