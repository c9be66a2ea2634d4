//! What the parent knows: everything that a child was heard to acknowledge, in all its lives. Lives
//! outside of the process that is killed.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{StepId, script};
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
                    Some(crate::plan::Step::Say { .. } | crate::plan::Step::Delegate) => "submitted",
                    Some(crate::plan::Step::Open | crate::plan::Step::Child) => "spawned",
                    Some(crate::plan::Step::Fork) => "forked",
                    Some(crate::plan::Step::Close { .. }) => "closed",
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
