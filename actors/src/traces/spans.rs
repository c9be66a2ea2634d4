//! The three spans, and every name in them.
//!
//! Names are those of OpenTelemetry's conventions for generative AI: agent spans and tool execution
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-agent-spans/>, version 1.41, of status
//! "development"), and `error.type` of the general ones. `otel.name`, `otel.status_code` and
//! `otel.status_description` are what `tracing-opentelemetry` takes the span's name and status from.
//! What no convention has begins with `coppicer.`.
//!
//! | span | field | what |
//! |---|---|---|
//! | `thread`, `turn`, `tool_call` | `gen_ai.conversation.id` | the thread's id |
//! | | `traceparent` | the W3C trace context of who caused it |
//! | | `error.type`, `otel.status_code` | if it ended badly, as what |
//! | `thread`, `turn` | `gen_ai.agent.id` | the thread's id: a thread is one conversation of one agent |
//! | | `gen_ai.agent.name` | its nickname, else its name below its parent, else its role |
//! | | `coppicer.thread.path`, `coppicer.thread.epoch` | its path, its incarnation |
//! | `thread` | `coppicer.thread.parent` | the thread that it is a sub-agent of |
//! | | `coppicer.thread.end` | `closed`, `dormant`, `crashed`, `killed`, `fenced`, `store_lost`, `damaged` |
//! | `turn` | `gen_ai.operation.name` | `invoke_agent` |
//! | | `gen_ai.request.model` | the model of its configuration |
//! | | `gen_ai.usage.input_tokens`, `gen_ai.usage.output_tokens` | what the engine counted in it |
//! | | `gen_ai.provider.name`, `gen_ai.response.model` | left for the engine to record |
//! | | `coppicer.turn.id`, `coppicer.turn.attempt`, `coppicer.turn.kind` | which attempt at which turn |
//! | | `coppicer.turn.end` | `completed`, `interrupted`, `killed`, or what `error.type` says |
//! | `tool_call` | `gen_ai.operation.name` | `execute_tool` |
//! | | `gen_ai.tool.name`, `gen_ai.tool.call.id`, `gen_ai.tool.type` | the call |
//!
//! `error.type` of a thread: `crashed`, `store_lost`, `damaged`. Of a turn: `transient`, `overloaded`,
//! `session_lost`, `failed`, `panicked`. Of a tool call: `aborted`, if its turn ended without an output.

use std::fmt;

use coppicer_messages::text::escaped;
use coppicer_messages::{CallId, Ended, Epoch, ThreadConfig, ThreadId, TraceContext, TurnId};
use tracing::Span;
use tracing::field::Empty;

use crate::engine::TurnKind;
use crate::taps::About;
use crate::thread::TurnEnd;

/// The target of all spans, for filters.
const TARGET: &str = "coppicer::traces";

/// Of whom a span is.
pub(super) struct Who<'a> {
    pub(super) about: &'a About,
    pub(super) epoch: Epoch,
    pub(super) config: &'a ThreadConfig,
}

impl Who<'_> {
    fn name(&self) -> Option<&str> {
        let below = self.about.path.as_ref().filter(|path| !path.is_root());
        let nickname = self.config.nickname.as_deref();
        nickname
            .or_else(|| below.map(coppicer_messages::AgentPath::name))
            .or(self.config.role.as_deref())
    }
}

/// A span's name in OpenTelemetry: what is done, and with whom. Foreign names are in it, and subscribers
/// write it to terminals as it is.
struct Named<'a>(&'static str, Option<&'a str>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        self.1.map_or(Ok(()), |name| write!(f, " {}", escaped(name)))
    }
}

/// One life of a thread.
pub(super) fn thread(who: &Who<'_>, parent: Option<&TraceContext>) -> Span {
    tracing::info_span!(
        target: TARGET,
        parent: None,
        "thread",
        otel.name = %Named("thread", who.name()),
        gen_ai.agent.id = %who.about.thread,
        gen_ai.agent.name = who.name(),
        gen_ai.conversation.id = %who.about.thread,
        coppicer.thread.path = who.about.path.as_ref().map(tracing::field::display),
        coppicer.thread.parent = who.about.parent.map(tracing::field::display),
        coppicer.thread.epoch = who.epoch.0,
        coppicer.thread.end = Empty,
        traceparent = parent.map(tracing::field::display),
        error.type = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

pub(super) fn thread_ended(span: &Span, how: &Ended) {
    let (end, error) = match how {
        Ended::Closed { .. } => ("closed", None),
        Ended::Dormant => ("dormant", None),
        Ended::Killed => ("killed", None),
        Ended::Fenced => ("fenced", None),
        Ended::Crashed { cause } => ("crashed", Some(cause)),
        Ended::StoreLost { reason } => ("store_lost", Some(reason)),
        Ended::Damaged { what } => ("damaged", Some(what)),
        _ => ("other", None),
    };
    span.record("coppicer.thread.end", end);
    if let Some(error) = error {
        failed(span, end, error);
    }
}

/// Which attempt at which turn.
pub(super) struct Which<'a> {
    pub(super) turn: &'a TurnId,
    pub(super) attempt: u32,
    pub(super) kind: TurnKind,
}

/// One attempt at a turn.
pub(super) fn turn(who: &Who<'_>, which: &Which<'_>, parent: Option<&TraceContext>) -> Span {
    tracing::info_span!(
        target: TARGET,
        parent: None,
        "turn",
        otel.name = %Named("invoke_agent", who.name()),
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.id = %who.about.thread,
        gen_ai.agent.name = who.name(),
        gen_ai.conversation.id = %who.about.thread,
        gen_ai.request.model = who.config.model.as_deref(),
        gen_ai.provider.name = Empty,
        gen_ai.response.model = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        coppicer.thread.path = who.about.path.as_ref().map(tracing::field::display),
        coppicer.thread.epoch = who.epoch.0,
        coppicer.turn.id = %which.turn,
        coppicer.turn.attempt = which.attempt,
        coppicer.turn.kind = which.kind.as_str(),
        coppicer.turn.end = Empty,
        traceparent = parent.map(tracing::field::display),
        error.type = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// How an attempt ended. `stopped`: it had been told to.
pub(super) fn turn_ended(span: &Span, end: &TurnEnd, stopped: bool) {
    let (name, is_error) = match end {
        TurnEnd::Panicked(_) => ("panicked", true),
        TurnEnd::Killed | TurnEnd::Fenced => ("killed", false),
        _ if stopped => ("interrupted", false),
        TurnEnd::Stopped => ("interrupted", false),
        TurnEnd::Done(_) => ("completed", false),
        TurnEnd::Transient { .. } => ("transient", true),
        TurnEnd::Overloaded => ("overloaded", true),
        TurnEnd::SessionLost(_) => ("session_lost", true),
        TurnEnd::Failed(_) => ("failed", true),
    };
    span.record("coppicer.turn.end", name);
    if is_error {
        failed(span, name, &end.describe());
    }
}

pub(super) fn used(span: &Span, input_tokens: u64, output_tokens: u64) {
    span.record("gen_ai.usage.input_tokens", input_tokens);
    span.record("gen_ai.usage.output_tokens", output_tokens);
}

/// One tool call, within its turn.
pub(super) fn tool_call(turn: &Span, thread: ThreadId, call: &CallId, tool: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        parent: turn,
        "tool_call",
        otel.name = %Named("execute_tool", Some(tool)),
        gen_ai.operation.name = "execute_tool",
        gen_ai.conversation.id = %thread,
        gen_ai.tool.name = tool,
        gen_ai.tool.call.id = &**call,
        gen_ai.tool.type = "function",
        error.type = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

pub(super) fn call_aborted(span: &Span) {
    failed(span, "aborted", "its turn ended without an output");
}

fn failed(span: &Span, error: &'static str, what: &str) {
    span.record("error.type", error);
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", what);
}
