//! What a child tells its parent through the pipe: one line for each word, written after the call
//! that it is about returned. A line is short enough that the pipe takes it whole or not at all.

use std::fmt;
use std::str::FromStr;

use crate::plan::StepId;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// The store is about to be opened.
    Opening,
    /// It is open.
    Open,
    /// It does not open.
    Refused(String),
    /// Every thread that was at work is back.
    Recovered,
    /// A step was acknowledged.
    Did(StepId),
    /// The sub-agent that the engine spawned for a step was acknowledged to the engine.
    Agent(StepId),
    /// The outcome of a step's submission, as JSON.
    Outcome(StepId, String),
    /// A call was refused; the step is tried again.
    Error(StepId, String),
    /// A call did not end by its deadline.
    Late(StepId, String),
    /// The store told that it cannot write.
    Ailing(String),
    /// The store told that it writes again.
    Well,
    /// The history of a slot's root was read while the store was at work.
    Read(StepId),
    /// It could not be read.
    Unread(StepId, String),
    /// All is finished and closed.
    Finished,
}

/// Longest line, in bytes: less than what a pipe takes in one piece (4,096).
const LINE_BYTES_MAX: usize = 2_000;

fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE_BYTES_MAX / 4).collect()
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening => f.write_str("opening"),
            Self::Open => f.write_str("open"),
            Self::Refused(why) => write!(f, "refused {}", short(why)),
            Self::Recovered => f.write_str("recovered"),
            Self::Did(step) => write!(f, "did {step}"),
            Self::Agent(step) => write!(f, "agent {step}"),
            Self::Outcome(step, outcome) => write!(f, "outcome {step} {}", short(outcome)),
            Self::Error(step, why) => write!(f, "error {step} {}", short(why)),
            Self::Late(step, what) => write!(f, "late {step} {}", short(what)),
            Self::Ailing(why) => write!(f, "ailing {}", short(why)),
            Self::Well => f.write_str("well"),
            Self::Read(step) => write!(f, "read {step}"),
            Self::Unread(step, why) => write!(f, "unread {step} {}", short(why)),
            Self::Finished => f.write_str("finished"),
        }
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let step = || rest.split(' ').next().unwrap_or("").parse::<StepId>();
        let text = || rest.split_once(' ').map_or("", |(_, text)| text).to_owned();
        Ok(match word {
            "opening" => Self::Opening,
            "open" => Self::Open,
            "refused" => Self::Refused(rest.to_owned()),
            "recovered" => Self::Recovered,
            "did" => Self::Did(step()?),
            "agent" => Self::Agent(step()?),
            "outcome" => Self::Outcome(step()?, text()),
            "error" => Self::Error(step()?, text()),
            "late" => Self::Late(step()?, text()),
            "ailing" => Self::Ailing(rest.to_owned()),
            "well" => Self::Well,
            "read" => Self::Read(step()?),
            "unread" => Self::Unread(step()?, text()),
            "finished" => Self::Finished,
            _ => return Err(format!("`{line}` is no word")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_the_same_after_it_went_through_the_pipe() {
        let step = StepId { slot: 1, life: 2, at: 3 };
        for word in [
            Word::Opening,
            Word::Open,
            Word::Refused("no such file".into()),
            Word::Recovered,
            Word::Did(step),
            Word::Agent(step),
            Word::Outcome(step, r#"{"outcome":"interrupted"}"#.into()),
            Word::Error(step, "the disk is full".into()),
            Word::Late(step, "submit".into()),
            Word::Ailing("disk full".into()),
            Word::Well,
            Word::Read(step),
            Word::Unread(step, "the disk fails".into()),
            Word::Finished,
        ] {
            assert_eq!(word.to_string().parse(), Ok(word));
        }
        assert!("nonsense".parse::<Word>().is_err());
    }
}
