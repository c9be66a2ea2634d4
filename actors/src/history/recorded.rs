//! Recorded turns, for an engine that replays them.

use coppicer_messages::{RecordClass, Seq, TurnRef};

use super::History;
use super::outline::{Outline, RecordedOutcome};
use super::text::text_of;

/// One turn as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedTurn {
    /// Its id, if the history names it.
    pub turn: Option<TurnRef>,
    /// The text of its first user message; of its mail if it has no message.
    pub user_input: Option<String>,
    /// The record of that input.
    pub input: Option<Seq>,
    /// What the agent made of it: the records of the items after the input, without messages of
    /// users, developers and other agents.
    pub items: Vec<Seq>,
    /// User messages that were steered into it later.
    pub steered: Vec<Seq>,
    /// How it ended.
    pub outcome: RecordedOutcome,
}

/// The turns of `history` that still count, oldest first. Turns without an input (a compaction by
/// request) are among them.
pub fn recorded_turns(history: &History) -> Vec<RecordedTurn> {
    let outline = Outline::of(history);
    let turns = outline.turns().iter().map(|turn| {
        let mut recorded = RecordedTurn {
            turn: turn.id.clone(),
            user_input: None,
            input: None,
            items: Vec::new(),
            steered: Vec::new(),
            outcome: turn.outcome,
        };
        let mut mail = None;
        for record in history.range(turn.start, turn.end) {
            match &record.class {
                RecordClass::UserMessage if recorded.input.is_none() => {
                    recorded.input = Some(record.seq);
                }
                RecordClass::UserMessage => recorded.steered.push(record.seq),
                RecordClass::Envelope { .. } => {
                    mail.get_or_insert(record.seq);
                }
                RecordClass::AssistantMessage { .. }
                | RecordClass::Reasoning
                | RecordClass::ToolCall { .. }
                | RecordClass::ToolOutput { .. } => recorded.items.push(record.seq),
                RecordClass::OtherItem if recorded.input.or(mail).is_some() => {
                    recorded.items.push(record.seq);
                }
                _ => {}
            }
        }
        recorded.input = recorded.input.or(mail);
        recorded.user_input = recorded.input.and_then(|seq| history.get(seq)).and_then(text_of);
        recorded
    });
    turns.collect()
}
