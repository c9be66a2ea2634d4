//! What the client of one slot does: a script that a seed decides, so that the client can be killed
//! at any step and go on with it, under the same ids.
//!
//! A slot has one life after the other: a root is opened, works, and is closed. Steps are sent one
//! after the other; a step that was not acknowledged is sent again.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use coppicer::{Op, Submission, SubmissionId, ThreadId, digest};

use crate::dice::Dice;

/// Names one step: slot, life, place in the life's script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// Which client.
    pub slot: u64,
    /// Which of its lives.
    pub life: u64,
    /// Which step of the life.
    pub at: u64,
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.slot, self.life, self.at)
    }
}

impl FromStr for StepId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.').map(str::parse);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(slot)), Some(Ok(life)), Some(Ok(at)), None) => Ok(Self { slot, life, at }),
            _ => Err(format!("`{text}` is no step")),
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes the root, with the step's submission as its first.
    Open,
    /// Sends the step's submission to a thread; to the one that the named step made.
    Say {
        /// The step that made the thread.
        to: u64,
        /// Whether the next step waits for the outcome.
        wait: bool,
    },
    /// Has the root's engine spawn a sub-agent.
    Delegate,
    /// Makes a sub-agent of the root, with the step's submission as its first.
    Child,
    /// Makes a fork of the root, with the step's submission as its first.
    Fork,
    /// Puts the sub-agent that the named step made below the root (0) or a fork.
    Move {
        /// The step that made it.
        made: u64,
        /// The step that made its new parent.
        to: u64,
    },
    /// Closes the thread that the named step made. Closing the root (0) ends the life.
    Close {
        /// The step that made the thread.
        made: u64,
    },
}

impl Step {
    /// The step whose thread gets this step's submission, if it sends one.
    pub const fn reader(&self, at: u64) -> Option<u64> {
        match self {
            Self::Open | Self::Child | Self::Fork => Some(at),
            Self::Say { to, .. } => Some(*to),
            Self::Delegate => Some(0),
            Self::Move { .. } | Self::Close { .. } => None,
        }
    }

    /// Whether it makes a thread.
    pub const fn makes(&self) -> bool {
        matches!(self, Self::Open | Self::Child | Self::Fork)
    }
}

/// The steps of one life.
pub fn script(seed: u64, slot: u64, life: u64) -> Vec<Step> {
    let mut dice = Dice::of(seed, &[slot, life]);
    let count = 12 + dice.below(28);
    let mut steps = vec![Step::Open];
    let mut open: Vec<u64> = Vec::new();
    let mut roots = vec![0];
    for at in 1..count {
        let step = match dice.below(100) {
            0..8 if open.len() < 4 => {
                open.push(at);
                Step::Child
            }
            8..14 => {
                roots.push(at);
                Step::Fork
            }
            14..20 => Step::Delegate,
            20..28 if !open.is_empty() => {
                Step::Close { made: open.remove(dice.below(open.len() as u64) as usize) }
            }
            28..36 if !open.is_empty() => {
                Step::Move { made: *dice.pick(&open), to: *dice.pick(&roots) }
            }
            36..50 if !open.is_empty() => {
                Step::Say { to: *dice.pick(&open), wait: dice.chance(30) }
            }
            _ => Step::Say { to: 0, wait: dice.chance(30) },
        };
        steps.push(step);
    }
    steps.push(Step::Close { made: 0 });
    steps
}

/// The id of the thread that a step makes.
pub fn thread_of(seed: u64, step: StepId) -> ThreadId {
    id_of(seed, step, 1)
}

/// The id of the sub-agent that the engine spawns for a step.
pub fn agent_of(seed: u64, step: StepId) -> ThreadId {
    id_of(seed, step, 2)
}

fn id_of(seed: u64, step: StepId, kind: u64) -> ThreadId {
    let mut dice = Dice::of(seed, &[step.slot, step.life, step.at, kind, 77]);
    let (one, two) = (dice.draw().to_le_bytes(), dice.draw().to_le_bytes());
    let mut random = [0; 10];
    random[..8].copy_from_slice(&one);
    random[8..].copy_from_slice(&two[..2]);
    ThreadId::from_parts(1_780_000_000_000 + step.life * 1_000 + step.at, random)
}

/// The id of a step's submission.
///
/// # Panics
/// Never: it is a plain name.
pub fn submission_of(step: StepId) -> SubmissionId {
    SubmissionId::new(format!("s{}", step.at)).expect("a plain name")
}

/// The mark that a step's text begins with.
pub fn mark_of(step: StepId) -> String {
    format!("[{step}]")
}

/// The step that a text is marked with.
pub fn marked(text: &str) -> Option<StepId> {
    let (mark, _) = text.strip_prefix('[')?.split_once(']')?;
    mark.parse().ok()
}

/// What a step's submission says: its mark, and text of a length that the seed decides.
pub fn text_of(seed: u64, step: StepId) -> String {
    let mut dice = Dice::of(seed, &[step.slot, step.life, step.at, 5]);
    let length = match dice.below(100) {
        0..2 => dice.below(60_000),
        2..20 => dice.below(4_000),
        _ => dice.below(300),
    };
    let mut text = mark_of(step);
    while (text.len() as u64) < length {
        write!(text, " {:x}", dice.draw()).expect("a text takes what is written");
    }
    text
}

/// What the engine answers to a text with this mark.
pub fn answer_of(mark: &str) -> String {
    format!("answer {mark}")
}

/// A step's submission.
pub fn submission(seed: u64, step: StepId) -> Submission {
    Submission::input(text_of(seed, step)).with_id(submission_of(step))
}

/// The digest that the store keeps of a step's submission.
///
/// # Panics
/// Never: an op of text is JSON.
pub fn digest_of(seed: u64, step: StepId) -> [u8; 16] {
    let Submission { op, .. } = submission(seed, step);
    let op: Op = op;
    digest(&serde_json::to_vec(&op).expect("an op of text is JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_opens_first_closes_last_and_speaks_to_threads_that_are_open() {
        for slot in 0..200 {
            let steps = script(3, slot, 1);
            assert_eq!(steps.first(), Some(&Step::Open));
            assert_eq!(steps.last(), Some(&Step::Close { made: 0 }));
            let mut open = vec![0];
            for (step, at) in steps.iter().zip(0..) {
                match step {
                    Step::Child => open.push(at),
                    Step::Say { to, .. } => assert!(open.contains(to)),
                    Step::Close { made } => {
                        assert!(open.contains(made));
                        open.retain(|it| it != made);
                    }
                    Step::Move { made, to } => {
                        assert!(*made != 0 && open.contains(made));
                        assert!(*to == 0 || steps[*to as usize] == Step::Fork && *to < at);
                    }
                    Step::Open | Step::Delegate | Step::Fork => {}
                }
            }
        }
    }

    #[test]
    fn a_mark_names_its_step() {
        let step = StepId { slot: 3, life: 1, at: 7 };
        assert_eq!(marked(&text_of(9, step)), Some(step));
        assert_eq!(marked("[3.1] no"), None);
        assert_ne!(thread_of(9, step), agent_of(9, step));
    }
}
