//! The lines that a thread writes of itself.

use std::time::Duration;

use coppicer_messages::{Mail, NewRecord, ThreadStatus, TurnId, UserInput};

use super::running::{RunningTurn, Verdict};
use crate::history::{self, Line, MarkerKind};

pub(super) fn turn_started(turn: &TurnId, at_ms: u64) -> NewRecord {
    Line::task_started(at_ms, turn.as_str())
}

pub(super) fn user_input(input: &UserInput, at_ms: u64) -> [NewRecord; 2] {
    Line::user_message(at_ms, &input.preview())
}

pub(super) fn envelope(mail: &Mail, at_ms: u64) -> NewRecord {
    let mail = history::Envelope {
        author: mail.author.clone(),
        recipient: mail.recipient.clone(),
        other_recipients: Vec::new(),
        content: mail.content.clone(),
        trigger: mail.trigger,
    };
    Line::envelope(at_ms, &mail)
}

/// The end of a turn: outputs for the calls that it left open, then why it ended (REF 7.5, 7.7).
pub(super) fn turn_ended(
    turn: &RunningTurn,
    verdict: &Verdict,
    took: Duration,
    at_ms: u64,
) -> Vec<NewRecord> {
    let mut records: Vec<NewRecord> = turn
        .open_calls
        .iter()
        .map(|(call, kind)| Line::aborted_output(at_ms, call, *kind))
        .collect();
    let took_ms = Some(took.as_millis() as u64);
    if let Some(reason) = verdict.aborted {
        if let Some(error) = &verdict.error {
            records.push(Line::error(at_ms, error));
        }
        records.extend(Line::interrupted_marker(at_ms, MarkerKind::ContextualUser));
        records.push(Line::turn_aborted(at_ms, Some(turn.id.as_str()), reason, took_ms));
    } else {
        let message = verdict.outcome.message();
        let error = verdict.error.as_deref();
        records.push(Line::task_complete(at_ms, turn.id.as_str(), message, took_ms, error));
    }
    records
}

/// What a parent is told of a sub-agent's end (REF 3.10).
pub(super) fn notification(agent: &str, status: &ThreadStatus) -> String {
    let body = serde_json::json!({ "agent_path": agent, "status": status });
    format!("<subagent_notification>\n{body}\n</subagent_notification>")
}
