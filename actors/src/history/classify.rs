//! What a rollout line is: one pass over its JSON, without building its value.
//!
//! Values that no decision needs (arguments, outputs, texts) are skipped, not decoded. A line that
//! is no sound record is [`RecordClass::Opaque`] with a [`LineFlaw`]; nothing here panics or
//! recurses with the depth of the input.

use std::borrow::Cow;
use std::sync::Arc;

use coppicer_messages::{AbortReason, MessagePhase, NewRecord, RecordClass, ToolKind};

use super::clock::parse_timestamp;
use super::fragments::is_contextual;
use super::scan::{
    Part, PartKind, Payload, ScannedLine, Value, first_text_object, scan_line, scan_payload,
};

/// Deepest nesting of arrays and objects in a line, as deep as the usual JSON readers go.
pub const LINE_DEPTH_MAX: usize = 127;

/// What one line of a rollout is.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// What the runtime needs to know of it.
    pub class: RecordClass,
    /// When it was written, in milliseconds since the Unix epoch; 0 if the line does not say.
    pub at_ms: u64,
    /// Its number in a file of the paginated mode.
    pub ordinal: Option<u64>,
    /// Why it is opaque; none for every other class.
    pub flaw: Option<LineFlaw>,
}

/// Why a line is no sound record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineFlaw {
    /// It is no text.
    #[error("not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// The first byte that is wrong, from 0.
        at: usize,
    },
    /// It is no JSON, or more than one value.
    #[error("not one JSON value: {what}")]
    NotJson {
        /// What the reader says.
        what: String,
    },
    /// It nests deeper than [`LINE_DEPTH_MAX`].
    #[error("nested deeper than {LINE_DEPTH_MAX} levels")]
    TooDeep,
    /// It is JSON of another form: no object, or a field twice, or of a wrong kind.
    #[error("not a rollout line: {what}")]
    Malformed {
        /// What the reader says.
        what: String,
    },
    /// A field is missing without which the record means nothing.
    #[error("`{kind}` without `{field}`")]
    Missing {
        /// The kind of line or payload.
        kind: String,
        /// The field.
        field: &'static str,
    },
}

/// Finds the class of one line, given without its newline.
///
/// Takes any bytes. Unknown kinds of lines, events and items are [`RecordClass::Other`].
pub fn classify(line: &[u8]) -> Classified {
    let scanned = match sound_text(line).and_then(scan_line) {
        Ok(scanned) => scanned,
        Err(flaw) => return opaque(0, None, flaw),
    };
    let at_ms = scanned.timestamp.as_deref().and_then(parse_timestamp).unwrap_or(0);
    let ordinal = scanned.ordinal;
    match line_class(&scanned) {
        Ok(class) => Classified { class, at_ms, ordinal, flaw: None },
        Err(flaw) => opaque(at_ms, ordinal, flaw),
    }
}

/// The record that this line is.
pub fn record_of(line: &[u8]) -> NewRecord {
    let Classified { class, at_ms, .. } = classify(line);
    NewRecord { at_ms, class, raw: Arc::from(line) }
}

/// Finds the class of one response item, given as its JSON object alone (as in the `payload` of a
/// line, or in a replacement history).
///
/// # Errors
/// If it is no sound item.
pub fn classify_item(item: &[u8]) -> Result<RecordClass, LineFlaw> {
    item_class(&sound_text(item).and_then(scan_payload)?)
}

fn opaque(at_ms: u64, ordinal: Option<u64>, flaw: LineFlaw) -> Classified {
    Classified { class: RecordClass::Opaque, at_ms, ordinal, flaw: Some(flaw) }
}

/// The line as text that every JSON reader can take: UTF-8, not too deep.
fn sound_text(line: &[u8]) -> Result<&str, LineFlaw> {
    let text =
        std::str::from_utf8(line).map_err(|error| LineFlaw::NotUtf8 { at: error.valid_up_to() })?;
    // `[` and `{` differ in one bit. Few lines have so many of them that they could be too deep.
    let openings = line.iter().filter(|&&byte| byte | 0x20 == b'{').count();
    if openings > LINE_DEPTH_MAX && depth(line) > LINE_DEPTH_MAX {
        return Err(LineFlaw::TooDeep);
    }
    Ok(text)
}

fn depth(line: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0usize, 0, false, false);
    for &byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn line_class(line: &ScannedLine<'_>) -> Result<RecordClass, LineFlaw> {
    let Some(kind) = line.kind.as_deref() else {
        return Err(LineFlaw::Missing { kind: "line".into(), field: "type" });
    };
    let Some(payload) = &line.payload else {
        return Err(LineFlaw::Missing { kind: kind.into(), field: "payload" });
    };
    match kind {
        "response_item" => item_class(payload),
        "event_msg" => event_class(payload),
        "session_meta" if payload.has_id => Ok(RecordClass::Meta),
        "session_meta" => Err(LineFlaw::Missing { kind: kind.into(), field: "id" }),
        "turn_context" => Ok(RecordClass::TurnContext { turn: shared(&payload.turn_id) }),
        "compacted" => Ok(RecordClass::Compaction { replaced: payload.replaced }),
        "inter_agent_communication" => {
            Ok(RecordClass::Envelope { trigger: matches!(payload.trigger_turn, Value::Flag(true)) })
        }
        _ => Ok(RecordClass::Other),
    }
}

fn item_class(item: &Payload<'_>) -> Result<RecordClass, LineFlaw> {
    let Some(kind) = item.kind.text() else {
        return Err(LineFlaw::Missing { kind: "response_item".into(), field: "type" });
    };
    let tool = |kind| move |call| RecordClass::ToolCall { call, kind };
    let output = |kind| move |call| RecordClass::ToolOutput { call, kind };
    // A call that needs an output must say its id; the others may.
    let needed = |class: &dyn Fn(Arc<str>) -> RecordClass| match item.call_id.text() {
        Some(call) => Ok(class(Arc::from(call))),
        None => Err(LineFlaw::Missing { kind: kind.into(), field: "call_id" }),
    };
    let optional = |class: &dyn Fn(Arc<str>) -> RecordClass| {
        Ok(item.call_id.text().map_or(RecordClass::OtherItem, |call| class(Arc::from(call))))
    };
    match kind {
        "message" => message_class(item),
        "agent_message" => Ok(RecordClass::Envelope { trigger: starts_task(&item.content) }),
        "reasoning" => Ok(RecordClass::Reasoning),
        "function_call" => needed(&tool(ToolKind::Function)),
        "local_shell_call" => optional(&tool(ToolKind::Function)),
        "custom_tool_call" => needed(&tool(ToolKind::Custom)),
        "tool_search_call" | "tool_search_output" if server_side(item) => {
            Ok(RecordClass::OtherItem)
        }
        "tool_search_call" => optional(&tool(ToolKind::Search)),
        "function_call_output" | "mcp_tool_call_output" => needed(&output(ToolKind::Function)),
        "custom_tool_call_output" => needed(&output(ToolKind::Custom)),
        "tool_search_output" => optional(&output(ToolKind::Search)),
        "web_search_call"
        | "image_generation_call"
        | "additional_tools"
        | "compaction"
        | "compaction_summary"
        | "context_compaction" => Ok(RecordClass::OtherItem),
        // Ghost snapshots of old versions are here too: kept in the file, never shown.
        _ => Ok(RecordClass::Other),
    }
}

/// A search that the provider runs has no output of ours.
fn server_side(item: &Payload<'_>) -> bool {
    item.execution.text() == Some("server")
}

fn message_class(item: &Payload<'_>) -> Result<RecordClass, LineFlaw> {
    let Some(role) = item.role.text() else {
        return Err(LineFlaw::Missing { kind: "message".into(), field: "role" });
    };
    Ok(match role {
        "user" if item.content.iter().any(is_contextual_part) => RecordClass::ContextualUserMessage,
        "user" => RecordClass::UserMessage,
        "developer" | "system" => RecordClass::DeveloperMessage,
        "assistant" => {
            let phase = match item.phase.text() {
                Some("commentary") => MessagePhase::Commentary,
                Some("final_answer") => MessagePhase::Final,
                _ => MessagePhase::None,
            };
            match mail_trigger(phase, &item.content) {
                Some(trigger) => RecordClass::Envelope { trigger },
                None => RecordClass::AssistantMessage { phase },
            }
        }
        _ => RecordClass::OtherItem,
    })
}

/// Output-text parts in a user's message are never looked at (REF 2.3).
fn is_contextual_part(part: &Part<'_>) -> bool {
    part.kind == PartKind::InputText && part.text.is_some_and(is_contextual)
}

/// The trigger flag of an envelope in an assistant's message; none if it is an ordinary message.
fn mail_trigger(phase: MessagePhase, content: &[Part<'_>]) -> Option<bool> {
    match (phase, content) {
        (
            MessagePhase::Commentary,
            [Part { kind: PartKind::InputText | PartKind::OutputText, text: Some(text) }],
        ) => first_text_object(text)
            .filter(super::scan::MailFields::is_sound)
            .map(|mail| mail.trigger),
        _ => None,
    }
}

/// Envelope of the newer form says in its first line what it is. Only a new task starts a turn.
fn starts_task(content: &[Part<'_>]) -> bool {
    content
        .first()
        .and_then(|part| part.text)
        .is_some_and(|text| text.get().starts_with("\"Message Type: NEW_TASK"))
}

fn event_class(event: &Payload<'_>) -> Result<RecordClass, LineFlaw> {
    let Some(kind) = event.kind.text() else {
        return Err(LineFlaw::Missing { kind: "event_msg".into(), field: "type" });
    };
    let turn = || shared(&event.turn_id);
    Ok(match kind {
        "task_started" | "turn_started" => RecordClass::TurnStarted { turn: turn() },
        "task_complete" | "turn_complete" => {
            RecordClass::TurnCompleted { turn: turn(), failed: event.error.is_present() }
        }
        "turn_aborted" => RecordClass::TurnAborted {
            turn: turn(),
            reason: event
                .cause
                .text()
                .or(event.reason.text())
                .map_or(AbortReason::Other, AbortReason::from_name),
        },
        "thread_rolled_back" => match event.num_turns {
            Some(turns) => {
                RecordClass::RolledBack { turns: u32::try_from(turns).unwrap_or(u32::MAX) }
            }
            None => {
                return Err(LineFlaw::Missing { kind: kind.into(), field: "num_turns" });
            }
        },
        "user_message" => RecordClass::UserEvent,
        "agent_message" => RecordClass::AgentEvent,
        "item_completed" => match event.item_kind.text() {
            Some("UserMessage") => RecordClass::UserEvent,
            Some("AgentMessage") => RecordClass::AgentEvent,
            _ => RecordClass::Other,
        },
        // Refusals of a request are errors that say nothing about the turn.
        "error" => match event.error_info.text() {
            Some("thread_rollback_failed" | "active_turn_not_steerable") => RecordClass::Other,
            _ => RecordClass::ErrorEvent,
        },
        "token_count" => RecordClass::Usage,
        _ => RecordClass::Other,
    })
}

fn shared(value: &Value<'_>) -> Option<Arc<str>> {
    value.text().map(Arc::from)
}

/// Decodes a JSON text that was skipped as raw bytes; none if it is no text.
pub(super) fn decode(raw: &serde_json::value::RawValue) -> Option<Cow<'_, str>> {
    let quoted = raw.get();
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(quoted).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}
