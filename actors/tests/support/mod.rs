//! The notation of the case tables: one function for each short name.

#![allow(dead_code, non_snake_case, reason = "each test file uses some; the names are the tables'")]
#![allow(unreachable_pub, reason = "a module of each test file that uses it")]
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use coppicer_actors::{ABORTED_OUTPUT, Envelope, History, Line, MarkerKind, model_view, record_of};
use coppicer_messages::{AbortReason, MessagePhase, NewRecord, Record, RecordClass, Seq};
use serde_json::{Value, json};

fn line(kind: &str, payload: &Value) -> NewRecord {
    let line = json!({ "timestamp": "2026-06-03T08:15:30.123Z", "type": kind, "payload": payload });
    record_of(line.to_string().as_bytes())
}

pub fn item(payload: &Value) -> NewRecord {
    line("response_item", payload)
}

pub fn event(payload: &Value) -> NewRecord {
    line("event_msg", payload)
}

fn message(role: &str, part: &str, text: &str, phase: Option<&str>) -> Value {
    let mut message =
        json!({ "type": "message", "role": role, "content": [{ "type": part, "text": text }] });
    if let Some(phase) = phase {
        message["phase"] = phase.into();
    }
    message
}

/// A user's message whose part is an output text, as REF's tests have it.
pub fn U(text: &str) -> NewRecord {
    item(&message("user", "output_text", text, None))
}

pub fn Ui(text: &str) -> NewRecord {
    item(&message("user", "input_text", text, None))
}

pub fn A(text: &str) -> NewRecord {
    item(&message("assistant", "output_text", text, None))
}

pub fn A_final(text: &str) -> NewRecord {
    item(&message("assistant", "output_text", text, Some("final_answer")))
}

pub fn A_note(text: &str) -> NewRecord {
    item(&message("assistant", "output_text", text, Some("commentary")))
}

pub fn D(text: &str) -> NewRecord {
    item(&message("developer", "input_text", text, None))
}

pub fn IA(content: &str, trigger: bool) -> NewRecord {
    let mail = Envelope {
        author: "/root/a".into(),
        recipient: "/root".into(),
        other_recipients: Vec::new(),
        content: content.into(),
        trigger,
    };
    Line::envelope(7, &mail)
}

pub fn R() -> NewRecord {
    item(&json!({ "type": "reasoning", "summary": [], "encrypted_content": null }))
}

pub fn FC(call: &str) -> NewRecord {
    Line::function_call(7, call, "tool", "{}")
}

pub fn FO(call: &str) -> NewRecord {
    Line::function_call_output(7, call, "done")
}

pub fn TS(turn: &str) -> NewRecord {
    Line::task_started(7, turn)
}

pub fn TC(turn: &str) -> NewRecord {
    Line::task_complete(7, turn, None, Some(1), None)
}

pub fn TA(turn: Option<&str>) -> NewRecord {
    Line::turn_aborted(7, turn, AbortReason::Interrupted, None)
}

pub fn UE(text: &str) -> NewRecord {
    event(&json!({ "type": "user_message", "message": text }))
}

pub fn AE(text: &str) -> NewRecord {
    event(&json!({ "type": "agent_message", "message": text }))
}

pub fn RB(turns: u32) -> NewRecord {
    Line::rolled_back(7, turns)
}

pub fn TX(turn: &str) -> NewRecord {
    Line::turn_context(7, turn, "/srv/demo", "model")
}

/// A compaction with this replacement history.
pub fn CP(items: &[NewRecord]) -> NewRecord {
    let items: Vec<Value> = items.iter().map(payload).collect();
    line("compacted", &json!({ "message": "", "replacement_history": items }))
}

/// A compaction with a summary only.
pub fn CP_summary(text: &str) -> NewRecord {
    line("compacted", &json!({ "message": text }))
}

pub fn MKu() -> NewRecord {
    Line::interrupted_marker(7, MarkerKind::ContextualUser).unwrap()
}

pub fn context() -> [NewRecord; 2] {
    [D("startup"), Ui("<environment_context>here</environment_context>")]
}

/// A complete turn with all of its records.
pub fn turn(id: &str) -> Vec<NewRecord> {
    let (user, agent) = (format!("U{id}"), format!("A{id}"));
    vec![TS(id), UE(&user), TX(id), U(&user), A(&agent), TC(id)]
}

pub fn payload(record: &NewRecord) -> Value {
    let line: Value = serde_json::from_slice(&record.raw).unwrap();
    line["payload"].clone()
}

pub fn history(records: impl IntoIterator<Item = NewRecord>) -> History {
    records.into_iter().collect()
}

pub fn seqs(seqs: &[Seq]) -> Vec<u64> {
    seqs.iter().map(|seq| seq.0).collect()
}

/// A short name of a record or item, as the tables write it.
pub fn short(class: &RecordClass, payload: &Value) -> String {
    let text = payload["content"][0]["text"].as_str().unwrap_or_default();
    match class {
        RecordClass::ContextualUserMessage if text.starts_with("<turn_aborted>") => "MKu".into(),
        RecordClass::DeveloperMessage if text.starts_with("<turn_aborted>") => "MKd".into(),
        RecordClass::DeveloperMessage => format!("D:{text}"),
        RecordClass::AssistantMessage { phase: MessagePhase::Commentary } => format!("A~:{text}"),
        RecordClass::UserMessage
        | RecordClass::ContextualUserMessage
        | RecordClass::AssistantMessage { .. } => text.into(),
        RecordClass::Envelope { .. } => {
            let mail: Value = serde_json::from_str(text).unwrap();
            format!("IA:{}", mail["content"].as_str().unwrap())
        }
        RecordClass::Reasoning => "R".into(),
        RecordClass::ToolCall { call, .. } => format!("FC:{call}"),
        RecordClass::ToolOutput { call, .. } => {
            let aborted = payload["output"] == ABORTED_OUTPUT;
            format!("{}:{call}", if aborted { "aborted" } else { "FO" })
        }
        RecordClass::TurnStarted { turn } => format!("TS:{}", turn.as_deref().unwrap_or("-")),
        RecordClass::TurnCompleted { turn, .. } => format!("TC:{}", turn.as_deref().unwrap_or("-")),
        RecordClass::TurnAborted { turn, .. } => format!("TA:{}", turn.as_deref().unwrap_or("-")),
        other => other.name().into(),
    }
}

pub fn shorts<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<String> {
    records
        .into_iter()
        .map(|record| short(&record.class, &payload(&record.clone().into())))
        .collect()
}

/// What a model is shown, in short names.
pub fn view(history: &History) -> Vec<String> {
    let view = model_view(history);
    coppicer_actors::items_validity(&view.items).unwrap();
    let items = view.items.iter();
    items.map(|item| short(&item.class, &serde_json::from_slice(item.payload()).unwrap())).collect()
}
