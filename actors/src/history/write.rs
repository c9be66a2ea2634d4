//! The rollout lines that the runtime writes itself, as REF's legacy mode has them.
//!
//! Each builder takes the time of the line and gives a record whose class is the one that
//! [`classify`](super::classify) finds in it.

use std::cell::Cell;
use std::sync::Arc;

use coppicer_messages::{
    AbortReason, CallId, MessagePhase, NewRecord, RecordClass, ToolKind, TurnRef,
};

use super::classify::{LineFlaw, classify, classify_item};
use super::clock::write_timestamp;
use super::fragments::is_fragment;
use super::json::Object;
use super::marker::{MarkerKind, marker_text};
use super::meta::SessionMeta;
use super::meta_line::write_meta;

/// Envelope from one agent to another.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Envelope {
    /// The path of the sender.
    pub author: String,
    /// The path of the addressee.
    pub recipient: String,
    /// Paths of others who get it too.
    pub other_recipients: Vec<String>,
    /// The text.
    pub content: String,
    /// Whether it starts a turn if the addressee is idle.
    #[serde(rename = "trigger_turn")]
    pub trigger: bool,
}

/// Token usage, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Tokens that the model read.
    pub input: u64,
    /// Those of `input` that came from a cache.
    pub cached_input: u64,
    /// Tokens that the model wrote.
    pub output: u64,
    /// Those of `output` that were reasoning.
    pub reasoning_output: u64,
}

/// The output that closes a call which has none (REF's word for it).
pub const ABORTED_OUTPUT: &str = "aborted";

/// Builders of rollout lines. `at_ms` is the time of the line, in milliseconds since the Unix
/// epoch.
#[derive(Debug)]
pub struct Line;

impl Line {
    /// The line that opens a file and says whose it is.
    pub fn session_meta(at_ms: u64, meta: &SessionMeta) -> NewRecord {
        line(at_ms, "session_meta", RecordClass::Meta, |payload| {
            write_meta(payload, at_ms, meta);
        })
    }

    /// A turn begins.
    pub fn task_started(at_ms: u64, turn: &str) -> NewRecord {
        event(
            at_ms,
            "task_started",
            RecordClass::TurnStarted { turn: Some(Arc::from(turn)) },
            |payload| {
                payload.text("turn_id", turn);
                payload.number("started_at", at_ms / 1_000);
                payload.raw("model_context_window", b"null");
                payload.text("collaboration_mode_kind", "default");
            },
        )
    }

    /// A turn ran to its end, after `duration_ms`. `error` is set if the engine gave up.
    pub fn task_complete(
        at_ms: u64,
        turn: &str,
        last_agent_message: Option<&str>,
        duration_ms: Option<u64>,
        error: Option<&str>,
    ) -> NewRecord {
        let class =
            RecordClass::TurnCompleted { turn: Some(Arc::from(turn)), failed: error.is_some() };
        event(at_ms, "task_complete", class, |payload| {
            payload.text("turn_id", turn);
            payload.text_or_null("last_agent_message", last_agent_message);
            if let Some(error) = error {
                payload.object("error", |object| {
                    object.text("message", error);
                    object.text("codex_error_info", "other");
                });
            }
            payload.number("completed_at", at_ms / 1_000);
            payload.number_if("duration_ms", duration_ms);
        })
    }

    /// A turn was cut short. REF reads a line with a reason that it does not know as damage, so our
    /// own reasons are written as `interrupted` with the true one as `cause`.
    pub fn turn_aborted(
        at_ms: u64,
        turn: Option<&str>,
        reason: AbortReason,
        duration_ms: Option<u64>,
    ) -> NewRecord {
        let class = RecordClass::TurnAborted { turn: turn.map(Arc::from), reason };
        event(at_ms, "turn_aborted", class, |payload| {
            payload.text_or_null("turn_id", turn);
            match reason {
                AbortReason::Interrupted
                | AbortReason::Replaced
                | AbortReason::ReviewEnded
                | AbortReason::BudgetLimited => payload.text("reason", reason.as_str()),
                _ => {
                    payload.text("reason", "interrupted");
                    payload.text("cause", reason.as_str());
                }
            }
            payload.number_if("completed_at", duration_ms.map(|_| at_ms / 1_000));
            payload.number_if("duration_ms", duration_ms);
        })
    }

    /// A user's message: the item for the model and the event for the host.
    pub fn user_message(at_ms: u64, text: &str) -> [NewRecord; 2] {
        let twin = event(at_ms, "user_message", RecordClass::UserEvent, |payload| {
            payload.text("message", text);
            payload.raw("images", b"[]");
            payload.raw("local_images", b"[]");
            payload.raw("text_elements", b"[]");
        });
        [Self::user_item(at_ms, text), twin]
    }

    /// A user-role item alone. A text that is one of the host's fragments (REF 2.3) is contextual.
    pub fn user_item(at_ms: u64, text: &str) -> NewRecord {
        let class = if is_fragment(text) {
            RecordClass::ContextualUserMessage
        } else {
            RecordClass::UserMessage
        };
        message(at_ms, "user", "input_text", text, MessagePhase::None, class)
    }

    /// A developer-role item.
    pub fn developer_item(at_ms: u64, text: &str) -> NewRecord {
        message(
            at_ms,
            "developer",
            "input_text",
            text,
            MessagePhase::None,
            RecordClass::DeveloperMessage,
        )
    }

    /// An assistant's message: the event for the host and the item for the model, in REF's order.
    pub fn assistant_message(at_ms: u64, text: &str, phase: MessagePhase) -> [NewRecord; 2] {
        let twin = event(at_ms, "agent_message", RecordClass::AgentEvent, |payload| {
            payload.text("message", text);
            payload.text_or_null("phase", phase_name(phase));
            payload.raw("memory_citation", b"null");
        });
        let class = RecordClass::AssistantMessage { phase };
        let mut item = message(at_ms, "assistant", "output_text", text, phase, class);
        if phase == MessagePhase::Commentary {
            // A commentary that reads like mail is mail, for every reader of the file.
            item.class = classify(&item.raw).class;
        }
        [twin, item]
    }

    /// A call of a function. `arguments` is the JSON text that the model wrote.
    pub fn function_call(at_ms: u64, call: &str, name: &str, arguments: &str) -> NewRecord {
        let class = RecordClass::ToolCall { call: CallId::from(call), kind: ToolKind::Function };
        item(at_ms, "function_call", class, |payload| {
            payload.text("name", name);
            payload.text("arguments", arguments);
            payload.text("call_id", call);
        })
    }

    /// The output of a function call.
    pub fn function_call_output(at_ms: u64, call: &str, output: &str) -> NewRecord {
        let class = RecordClass::ToolOutput { call: CallId::from(call), kind: ToolKind::Function };
        item(at_ms, "function_call_output", class, |payload| {
            payload.text("call_id", call);
            payload.text("output", output);
        })
    }

    /// The output that closes a call which will never have one.
    pub fn aborted_output(at_ms: u64, call: &CallId, kind: ToolKind) -> NewRecord {
        let class = RecordClass::ToolOutput { call: call.clone(), kind };
        line(at_ms, "response_item", class, |payload| {
            aborted_output(payload, call, kind);
        })
    }

    /// Envelope that has arrived.
    pub fn envelope(at_ms: u64, mail: &Envelope) -> NewRecord {
        let text = serde_json::to_string(mail).expect("mail has only texts and a flag");
        let class = RecordClass::Envelope { trigger: mail.trigger };
        message(at_ms, "assistant", "output_text", &text, MessagePhase::Commentary, class)
    }

    /// What the model is told of an interrupted turn; none if that is disabled.
    pub fn interrupted_marker(at_ms: u64, kind: MarkerKind) -> Option<NewRecord> {
        Self::aborted_marker(at_ms, kind, AbortReason::Interrupted)
    }

    /// What the model is told of a turn that was cut short for this reason; none if that is
    /// disabled.
    pub fn aborted_marker(at_ms: u64, kind: MarkerKind, reason: AbortReason) -> Option<NewRecord> {
        let text = marker_text(kind, reason)?;
        Some(match kind {
            MarkerKind::Developer => Self::developer_item(at_ms, &text),
            _ => message(
                at_ms,
                "user",
                "input_text",
                &text,
                MessagePhase::None,
                RecordClass::ContextualUserMessage,
            ),
        })
    }

    /// What an interrupt writes, and a fork of an unfinished turn: the marker, if there is one, and
    /// the event.
    pub fn interrupted_boundary(
        at_ms: u64,
        turn: Option<&str>,
        kind: MarkerKind,
        reason: AbortReason,
    ) -> Vec<NewRecord> {
        let mut records = Vec::with_capacity(2);
        records.extend(Self::aborted_marker(at_ms, kind, reason));
        records.push(Self::turn_aborted(at_ms, turn, reason, None));
        records
    }

    /// The last `turns` user turns do not count any more.
    pub fn rolled_back(at_ms: u64, turns: u32) -> NewRecord {
        event(at_ms, "thread_rolled_back", RecordClass::RolledBack { turns }, |payload| {
            payload.number("num_turns", u64::from(turns));
        })
    }

    /// A compaction: `summary` for people, `replacement` the items that the model sees from now on
    /// (each a JSON object).
    pub fn compacted(at_ms: u64, summary: &str, replacement: Option<&[&[u8]]>) -> NewRecord {
        let class = RecordClass::Compaction { replaced: replacement.is_some() };
        line(at_ms, "compacted", class, |payload| {
            payload.text("message", summary);
            if let Some(items) = replacement {
                payload.list("replacement_history", items);
            }
        })
    }

    /// The settings of a turn, as far as every reader needs them.
    pub fn turn_context(at_ms: u64, turn: &str, cwd: &str, model: &str) -> NewRecord {
        let class = RecordClass::TurnContext { turn: Some(TurnRef::from(turn)) };
        line(at_ms, "turn_context", class, |payload| {
            payload.text("turn_id", turn);
            payload.text("cwd", cwd);
            payload.text("approval_policy", "never");
            payload.raw("sandbox_policy", br#"{"type":"danger-full-access"}"#);
            payload.text("model", model);
            payload.text("summary", "auto");
        })
    }

    /// The running turn met an error.
    pub fn error(at_ms: u64, text: &str) -> NewRecord {
        event(at_ms, "error", RecordClass::ErrorEvent, |payload| {
            payload.text("message", text);
            payload.text("codex_error_info", "other");
        })
    }

    /// Token usage: of the thread so far, and of the last request.
    pub fn token_count(at_ms: u64, total: &TokenCounts, last: &TokenCounts) -> NewRecord {
        event(at_ms, "token_count", RecordClass::Usage, |payload| {
            payload.object("info", |info| {
                for (name, counts) in [("total_token_usage", total), ("last_token_usage", last)] {
                    info.object(name, |usage| {
                        usage.number("input_tokens", counts.input);
                        usage.number("cached_input_tokens", counts.cached_input);
                        usage.number("output_tokens", counts.output);
                        usage.number("reasoning_output_tokens", counts.reasoning_output);
                        usage.number("total_tokens", counts.input.saturating_add(counts.output));
                    });
                }
                info.raw("model_context_window", b"null");
            });
            payload.raw("rate_limits", b"null");
        })
    }

    /// Settings of the thread were changed. `settings` is a JSON object.
    pub fn settings_applied(
        at_ms: u64,
        thread: coppicer_messages::ThreadId,
        settings: &serde_json::Value,
    ) -> NewRecord {
        event(at_ms, "thread_settings_applied", RecordClass::Other, |payload| {
            payload.text("thread_id", &thread.to_string());
            payload.raw("thread_settings", settings.to_string().as_bytes());
        })
    }

    /// A response item as an engine gives it: its JSON object, on one line, kept byte for byte.
    ///
    /// # Errors
    /// If it is no sound item, or of a kind that a model cannot be shown.
    pub fn response_item(at_ms: u64, payload: &[u8]) -> Result<NewRecord, LineFlaw> {
        let class = classify_item(payload)?;
        if !class.is_item() {
            return Err(LineFlaw::Malformed {
                what: "an item of a kind that a model cannot be shown".into(),
            });
        }
        if payload.contains(&b'\n') {
            return Err(LineFlaw::Malformed { what: "a line break inside an item".into() });
        }
        Ok(bare(at_ms, "response_item", class, payload))
    }
}

fn bare(at_ms: u64, kind: &str, class: RecordClass, payload: &[u8]) -> NewRecord {
    let raw = written(|raw| {
        open_line(raw, at_ms, kind);
        raw.extend_from_slice(payload);
        raw.push(b'}');
    });
    NewRecord { at_ms, class, raw }
}

/// Most bytes that are kept to write the next line into.
const SCRATCH_MAX: usize = 16_384;

/// What `write` writes. It is put together in a buffer that is kept: a line costs one allocation, of
/// its own length.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> Arc<[u8]> {
    thread_local! {
        static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut raw = SCRATCH.take();
    raw.clear();
    write(&mut raw);
    let line = Arc::from(raw.as_slice());
    if raw.capacity() <= SCRATCH_MAX {
        SCRATCH.set(raw);
    }
    line
}

fn open_line(raw: &mut Vec<u8>, at_ms: u64, kind: &str) {
    raw.extend_from_slice(b"{\"timestamp\":\"");
    write_timestamp(raw, at_ms);
    raw.extend_from_slice(b"\",\"type\":\"");
    raw.extend_from_slice(kind.as_bytes());
    raw.extend_from_slice(b"\",\"payload\":");
}

fn line(
    at_ms: u64,
    kind: &str,
    class: RecordClass,
    fill: impl FnOnce(&mut Object<'_>),
) -> NewRecord {
    let raw = written(|raw| {
        open_line(raw, at_ms, kind);
        Object::write(raw, fill);
        raw.push(b'}');
    });
    NewRecord { at_ms, class, raw }
}

fn event(
    at_ms: u64,
    kind: &str,
    class: RecordClass,
    fill: impl FnOnce(&mut Object<'_>),
) -> NewRecord {
    line(at_ms, "event_msg", class, |payload| {
        payload.text("type", kind);
        fill(payload);
    })
}

fn item(
    at_ms: u64,
    kind: &str,
    class: RecordClass,
    fill: impl FnOnce(&mut Object<'_>),
) -> NewRecord {
    line(at_ms, "response_item", class, |payload| {
        payload.text("type", kind);
        fill(payload);
    })
}

fn message(
    at_ms: u64,
    role: &str,
    part: &str,
    text: &str,
    phase: MessagePhase,
    class: RecordClass,
) -> NewRecord {
    line(at_ms, "response_item", class, |payload| {
        message_item(payload, role, part, text, phase);
    })
}

/// The payload of a message with one text part.
pub(super) fn message_item(
    payload: &mut Object<'_>,
    role: &str,
    part: &str,
    text: &str,
    phase: MessagePhase,
) {
    payload.text("type", "message");
    payload.text("role", role);
    payload.objects("content", |content| {
        content.text("type", part);
        content.text("text", text);
    });
    if let Some(phase) = phase_name(phase) {
        payload.text("phase", phase);
    }
}

/// The payload of an output that closes a call which has none.
pub(super) fn aborted_output(payload: &mut Object<'_>, call: &str, kind: ToolKind) {
    let tag = match kind {
        ToolKind::Custom => "custom_tool_call_output",
        ToolKind::Search => "tool_search_output",
        _ => "function_call_output",
    };
    payload.text("type", tag);
    payload.text("call_id", call);
    if kind == ToolKind::Search {
        payload.text("status", "completed");
        payload.text("execution", "client");
        payload.raw("tools", b"[]");
    } else {
        payload.text("output", ABORTED_OUTPUT);
    }
}

const fn phase_name(phase: MessagePhase) -> Option<&'static str> {
    match phase {
        MessagePhase::None => None,
        MessagePhase::Commentary => Some("commentary"),
        MessagePhase::Final => Some("final_answer"),
    }
}
