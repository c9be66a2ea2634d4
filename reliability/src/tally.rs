//! Counts of a test, and its one line.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use crate::session::Session;

/// What a test counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The test's name.
    pub name: &'static str,
    /// Counts, in the order in which they are printed.
    pub counts: Vec<(String, u64)>,
    /// What was acknowledged, by kind.
    pub acked: BTreeMap<&'static str, u64>,
    /// What is wrong.
    pub wrong: Vec<String>,
    /// Why it was not run, if it was not.
    pub skipped: Option<String>,
}

impl Tally {
    /// No counts yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// A test that cannot run here.
    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, skipped: Some(why.into()), ..Self::default() }
    }

    /// Adds to a count.
    pub fn add(&mut self, what: &str, more: u64) {
        match self.counts.iter_mut().find(|(name, _)| name == what) {
            Some((_, count)) => *count += more,
            None => self.counts.push((what.to_owned(), more)),
        }
    }

    /// A count.
    pub fn count(&self, what: &str) -> u64 {
        self.counts.iter().find(|(name, _)| name == what).map_or(0, |(_, count)| *count)
    }

    /// Takes over what a session heard and found.
    pub fn take(&mut self, session: &Session) {
        for (&kind, &count) in &session.oracle.by_kind {
            *self.acked.entry(kind).or_default() += count;
        }
        self.add("acked", session.oracle.acks);
        if session.errors > 0 {
            self.add("refused and sent again", session.errors);
        }
        self.add("checks", session.checks);
        self.add("closed without an end of its own", session.not_ended.len() as u64);
        self.wrong.extend(session.wrong());
    }

    /// Prints the line, and what is wrong before it; 1 if anything is.
    pub fn report(&self) -> ExitCode {
        const SHOWN: usize = 20;
        for wrong in self.wrong.iter().take(SHOWN) {
            eprintln!("{}: {wrong}", self.name);
        }
        if self.wrong.len() > SHOWN {
            eprintln!("{}: … and {} more", self.name, self.wrong.len() - SHOWN);
        }
        println!("{self}");
        if self.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.skipped {
            return write!(f, "{}: skipped: {why}", self.name);
        }
        write!(f, "{}:", self.name)?;
        let mut separator = " ";
        for (what, count) in &self.counts {
            write!(f, "{separator}{what} {count}")?;
            separator = ", ";
            if what == "acked" && !self.acked.is_empty() {
                let kinds: Vec<String> =
                    self.acked.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
                write!(f, " ({})", kinds.join(", "))?;
            }
        }
        write!(f, "{separator}violations {}", self.wrong.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_one_line_and_says_what_is_wrong_in_it() {
        let mut tally = Tally::new("kill");
        tally.add("rounds", 2);
        tally.add("rounds", 1);
        tally.wrong.push("lost".into());
        assert_eq!(tally.to_string(), "kill: rounds 3, violations 1");
        assert_eq!(tally.report(), ExitCode::FAILURE);
        assert_eq!(Tally::skipped("power", "no loop device").report(), ExitCode::SUCCESS);
    }
}
