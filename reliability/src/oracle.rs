//! What the parent knows: everything that a child was heard to acknowledge, in all its lives. Lives
//! outside of the process that is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::plan::{Step, StepId, script};
use crate::words::Word;

/// The memory of all clients.
#[derive(Debug, Clone)]
pub struct Oracle {
    /// Decides the scripts.
    pub seed: u64,
    /// The life that each slot is in, and the first step of it that was not acknowledged.
    pub slots: Vec<(u64, u64)>,
    /// Steps whose sub-agent was acknowledged to the engine.
    pub agents: BTreeSet<StepId>,
    /// Outcomes that were told, or found in the store.
    pub outcomes: BTreeMap<StepId, String>,
    /// How many acknowledgements were heard.
    pub acks: u64,
    /// Steps that were acknowledged, by what they did: submissions, spawns, forks, closes.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// What was heard that must not be.
    pub wrong: Vec<String>,
}

/// Where a slot goes on after a restart. As text, a line of the child's standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoesOn {
    /// Its life.
    pub life: u64,
    /// The first step that was not acknowledged.
    pub at: u64,
    /// Steps before it whose outcome is waited for.
    pub waits: Vec<u64>,
}

impl fmt::Display for GoesOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.life, self.at)?;
        self.waits.iter().try_for_each(|at| write!(f, " {at}"))
    }
}

impl FromStr for GoesOn {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([life, at, waits @ ..]) => Ok(Self { life: *life, at: *at, waits: waits.to_vec() }),
            _ => Err(format!("`{line}` is no slot")),
        }
    }
}

impl Oracle {
    /// Nothing was heard yet.
    pub fn new(seed: u64, slots: u64) -> Self {
        Self {
            seed,
            slots: (0..slots).map(|_| (0, 0)).collect(),
            agents: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            acks: 0,
            by_kind: BTreeMap::new(),
            wrong: Vec::new(),
        }
    }

    /// Hears a word.
    pub fn hear(&mut self, word: &Word) {
        match word {
            Word::Did(step) => {
                self.acks += 1;
                let steps = script(self.seed, step.slot, step.life);
                let Some(slot) = self.slots.get_mut(step.slot as usize) else {
                    return self.wrong.push(format!("an acknowledgement of no slot: {step}"));
                };
                if *slot != (step.life, step.at) {
                    let (life, at) = *slot;
                    self.wrong.push(format!("step {step} was acknowledged, {life}.{at} is next"));
                }
                let kind = match steps.get(step.at as usize) {
                    Some(Step::Say { .. } | Step::Delegate) => "submitted",
                    Some(Step::Open | Step::Child) => "spawned",
                    Some(Step::Fork) => "forked",
                    Some(Step::Move { .. }) => "moved",
                    Some(Step::Close { .. }) => "closed",
                    None => "nothing",
                };
                *self.by_kind.entry(kind).or_default() += 1;
                let last = step.at + 1 >= steps.len() as u64;
                *slot = if last { (step.life + 1, 0) } else { (step.life, step.at + 1) };
            }
            Word::Agent(step) => {
                self.acks += 1;
                *self.by_kind.entry("spawned by agents").or_default() += 1;
                self.agents.insert(*step);
            }
            Word::Outcome(step, outcome) => {
                // One that an earlier process told already is told again after a restart.
                if !self.outcomes.contains_key(step) {
                    self.acks += 1;
                    *self.by_kind.entry("outcomes").or_default() += 1;
                }
                self.learn(*step, outcome);
            }
            Word::Late(step, what) => {
                self.wrong.push(format!("a call did not end by its deadline: {step} {what}"));
            }
            Word::Refused(why) => self.wrong.push(format!("the store did not open: {why}")),
            Word::Opening
            | Word::Open
            | Word::Recovered
            | Word::Error(..)
            | Word::Ailing(_)
            | Word::Well
            | Word::Read(_)
            | Word::Unread(..)
            | Word::Finished => {}
        }
    }

    /// Learns an outcome that is durable: it never changes from here on.
    pub fn learn(&mut self, step: StepId, outcome: &str) {
        let known = self.outcomes.entry(step).or_insert_with(|| outcome.to_owned());
        if known != outcome {
            self.wrong.push(format!("the outcome of {step} was {known}, then {outcome}"));
        }
    }

    /// Where a slot goes on: its life, the next step, and the steps before it whose outcome was not
    /// told and whose reader is not closed.
    pub fn goes_on(&self, slot: usize) -> Option<GoesOn> {
        let &(life, at) = self.slots.get(slot)?;
        let steps = script(self.seed, slot as u64, life);
        let done = || (0..at).zip(&steps);
        let is_closed = |reader| done().any(|(_, step)| *step == Step::Close { made: reader });
        let waits = |(at, step): (u64, &Step)| {
            let id = StepId { slot: slot as u64, life, at };
            let reader = step.reader(at)?;
            (!self.outcomes.contains_key(&id) && !is_closed(reader)).then_some(at)
        };
        Some(GoesOn { life, at, waits: done().filter_map(waits).collect() })
    }

    /// Whether a step was acknowledged.
    pub fn did(&self, step: StepId) -> bool {
        self.slots
            .get(step.slot as usize)
            .is_some_and(|&(life, at)| (step.life, step.at) < (life, at))
    }

    /// Whether a step was acknowledged, or may have been carried out.
    pub fn may(&self, step: StepId) -> bool {
        self.slots
            .get(step.slot as usize)
            .is_some_and(|&(life, at)| (step.life, step.at) <= (life, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: StepId = StepId { slot: 0, life: 0, at: 0 };

    #[test]
    fn a_step_is_done_when_its_acknowledgement_was_heard_and_the_next_one_is_in_doubt() {
        let mut oracle = Oracle::new(1, 2);
        assert!(!oracle.did(FIRST) && oracle.may(FIRST));
        oracle.hear(&Word::Did(FIRST));
        let next = StepId { at: 1, ..FIRST };
        assert!(oracle.did(FIRST) && !oracle.did(next) && oracle.may(next));
        assert!(!oracle.may(StepId { at: 2, ..FIRST }));
        assert_eq!(oracle.wrong, [""; 0]);
    }

    #[test]
    fn a_slot_goes_on_at_the_first_step_in_doubt_and_waits_for_outcomes_that_were_not_told() {
        let mut oracle = Oracle::new(138, 1);
        for at in 0..7 {
            oracle.hear(&Word::Did(StepId { at, ..FIRST }));
        }
        oracle.hear(&Word::Outcome(FIRST, "a".into()));
        let goes_on = oracle.goes_on(0).unwrap();
        // Step 3 makes a sub-agent, which step 6 closes.
        assert_eq!(goes_on, GoesOn { life: 0, at: 7, waits: vec![1, 2, 4, 5] });
        assert_eq!(goes_on.to_string().parse(), Ok(goes_on));
        assert!("3".parse::<GoesOn>().is_err());
    }

    #[test]
    fn an_outcome_that_changes_is_wrong() {
        let mut oracle = Oracle::new(1, 1);
        oracle.hear(&Word::Outcome(FIRST, "a".into()));
        oracle.hear(&Word::Outcome(FIRST, "a".into()));
        assert!(oracle.wrong.is_empty());
        oracle.hear(&Word::Outcome(FIRST, "b".into()));
        assert_eq!(oracle.wrong, ["the outcome of 0.0.0 was a, then b"]);
    }

    #[test]
    fn an_acknowledgement_out_of_turn_a_late_call_and_a_refused_opening_are_wrong() {
        let mut oracle = Oracle::new(1, 1);
        oracle.hear(&Word::Did(StepId { at: 4, ..FIRST }));
        oracle.hear(&Word::Late(FIRST, "close".into()));
        oracle.hear(&Word::Refused("damaged".into()));
        assert_eq!(oracle.wrong.len(), 3, "{:?}", oracle.wrong);
    }
}
