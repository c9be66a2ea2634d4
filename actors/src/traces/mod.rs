//! Traces: a span for each life of a thread, each attempt at a turn and each tool call, through the
//! `tracing` facade, and W3C trace contexts in and out.
//!
//! With no subscriber that wants the spans, a turn pays the look at three cached flags. The core knows no
//! tracer: what ties a span to the context of another process is a [`TraceBridge`], the host's.

mod context;
mod spans;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coppicer_messages::{
    CallId, Ended, Epoch, NewRecord, RecordClass, ThreadConfig, ThreadId, TraceContext, TurnItem,
    Usage,
};
use parking_lot::Mutex;
use serde::Deserialize;
use tracing::Span;

use crate::engine::TurnInput;
use crate::slot::Slot;
use crate::taps::About;
use crate::thread::TurnEnd;
use spans::{Which, Who};

/// Most tool calls of one turn that have a span at once. Further ones run without.
pub const TRACED_CALLS_MAX: usize = 256;

/// Ties the runtime's spans to a tracer that knows other processes, such as OpenTelemetry: the core
/// depends on none. `examples/otlp` has one for OpenTelemetry.
///
/// It is called from the runtime's own actors, for spans that somebody records and for no others, so
/// it must not block. A panic in it is logged, and the span goes on without it.
pub trait TraceBridge: Send + Sync + 'static {
    /// A span begins, and was not entered yet. `cause` is what its caller says of itself: of a turn
    /// the trace context of its submission, of a thread that of its spawn; none of a tool call, whose
    /// parent is its turn's span. Returns the span's own context, which is handed on: to the engine,
    /// and to sub-agents as the cause of what they do. If none is returned, `cause` is handed on.
    fn begun(&self, span: &Span, cause: Option<&TraceContext>) -> Option<TraceContext>;

    /// A span has a further cause, beside its parent: mail that came with a turn's input.
    fn linked(&self, span: &Span, cause: &TraceContext);
}

/// The host's bridge, if it has one.
pub(crate) type Bridge = Option<Arc<dyn TraceBridge>>;

fn begun(bridge: &Bridge, span: &Span, cause: Option<&TraceContext>) -> Option<TraceContext> {
    bridge.as_ref().and_then(|bridge| guarded(|| bridge.begun(span, cause)))
}

/// Code of the host, in an actor of ours.
fn guarded<T: Default>(call: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        tracing::error!("a trace bridge panicked");
        T::default()
    })
}

/// The span of one life of a thread. Ends when it is dropped.
pub(crate) struct ThreadTrace(Span);

impl ThreadTrace {
    /// None if nobody records it.
    pub(crate) fn begin(
        bridge: &Bridge,
        about: &About,
        epoch: Epoch,
        config: &ThreadConfig,
        cause: Option<&TraceContext>,
    ) -> Option<Self> {
        let span = spans::thread(&Who { about, epoch, config }, cause);
        if span.is_disabled() {
            return None;
        }
        begun(bridge, &span, cause);
        Some(Self(span))
    }

    pub(crate) fn end(self, how: &Ended) {
        spans::thread_ended(&self.0, how);
    }
}

/// The span of one attempt at a turn, and those of its tool calls. Ends with the code of the turn.
pub(crate) struct TurnTrace {
    thread: ThreadId,
    span: Span,
    /// What is handed on.
    context: Option<TraceContext>,
    bridge: Bridge,
    calls: Mutex<Vec<OpenCall>>,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    end: Mutex<Option<(TurnEnd, bool)>>,
}

struct OpenCall {
    call: CallId,
    span: Span,
    context: Option<TraceContext>,
}

impl TurnTrace {
    /// None if nobody records it.
    pub(crate) fn begin(
        bridge: &Bridge,
        slot: &Slot,
        epoch: Epoch,
        config: &ThreadConfig,
        of: Option<&ThreadTrace>,
        input: &TurnInput,
    ) -> Option<Arc<Self>> {
        let about = slot.about();
        let which = Which { turn: &input.turn, attempt: input.attempt, kind: input.kind };
        let cause = input.trace.as_ref();
        let span = spans::turn(&Who { about, epoch, config }, &which, cause);
        if span.is_disabled() {
            return None;
        }
        // Before the bridge: a tracer may decide on its links whether it records it.
        if let Some(ThreadTrace(thread)) = of {
            span.follows_from(thread);
        }
        let context = begun(bridge, &span, cause);
        let trace = Self {
            thread: about.thread,
            span,
            context,
            bridge: bridge.clone(),
            calls: Mutex::default(),
            input_tokens: AtomicU64::new(0),
            output_tokens: AtomicU64::new(0),
            end: Mutex::default(),
        };
        let mails = input.items.iter().filter_map(|item| match item {
            TurnItem::Mail(mail) => mail.trace.as_ref(),
            _ => None,
        });
        mails.filter(|&mail| Some(mail) != cause).for_each(|mail| trace.link(mail));
        Some(Arc::new(trace))
    }

    /// Current while the code of the turn runs.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn context(&self) -> Option<TraceContext> {
        self.context.clone()
    }

    /// It has a further cause.
    pub(crate) fn link(&self, cause: &TraceContext) {
        if let Some(bridge) = &self.bridge {
            guarded(|| bridge.linked(&self.span, cause));
        }
    }

    /// Calls begin and end with what is added to the history.
    pub(crate) fn note(&self, records: &[NewRecord]) {
        for record in records {
            match &record.class {
                RecordClass::ToolCall { call, .. } => self.call_begun(call, &tool_of(&record.raw)),
                RecordClass::ToolOutput { call, .. } => {
                    self.calls.lock().retain(|open| open.call != *call);
                }
                _ => {}
            }
        }
    }

    fn call_begun(&self, call: &CallId, tool: &str) {
        if self.calls.lock().len() >= TRACED_CALLS_MAX {
            return;
        }
        let span = spans::tool_call(&self.span, self.thread, call, tool);
        if !span.is_disabled() {
            let context = begun(&self.bridge, &span, None);
            self.calls.lock().push(OpenCall { call: call.clone(), span, context });
        }
    }

    /// The span of an open call; that of the turn if it has none.
    pub(crate) fn span_of(&self, call: &str) -> Span {
        let calls = self.calls.lock();
        let open = calls.iter().find(|open| &*open.call == call);
        open.map_or(&self.span, |open| &open.span).clone()
    }

    pub(crate) fn context_of(&self, call: &str) -> Option<TraceContext> {
        let calls = self.calls.lock();
        let open = calls.iter().find(|open| &*open.call == call);
        open.and_then(|open| open.context.clone()).or_else(|| self.context())
    }

    pub(crate) fn used(&self, usage: Usage) {
        self.input_tokens.fetch_add(usage.input_tokens, Ordering::Relaxed);
        self.output_tokens.fetch_add(usage.output_tokens, Ordering::Relaxed);
    }

    /// How it ended; killed if nobody says. `stopped`: it had been told to.
    pub(crate) fn ended(&self, end: TurnEnd, stopped: bool) {
        *self.end.lock() = Some((end, stopped));
    }
}

/// However the code of the turn ends.
impl Drop for TurnTrace {
    fn drop(&mut self) {
        for OpenCall { span, .. } in self.calls.get_mut().drain(..) {
            spans::call_aborted(&span);
        }
        let used = [&self.input_tokens, &self.output_tokens];
        let [input, output] = used.map(|tokens| tokens.load(Ordering::Relaxed));
        if input > 0 || output > 0 {
            spans::used(&self.span, input, output);
        }
        let (end, stopped) = self.end.get_mut().take().unwrap_or((TurnEnd::Killed, true));
        spans::turn_ended(&self.span, &end, stopped);
    }
}

/// The tool that a line calls.
fn tool_of(raw: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Line {
        payload: Payload,
    }
    #[derive(Deserialize)]
    struct Payload {
        #[serde(rename = "type")]
        kind: String,
        name: Option<String>,
    }
    match serde_json::from_slice::<Line>(raw) {
        Ok(Line { payload: Payload { name: Some(name), .. } }) => name,
        // Calls of kinds that name no tool are of one tool each.
        Ok(Line { payload }) => payload.kind.trim_end_matches("_call").to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Line;

    #[test]
    fn the_tool_is_the_one_that_the_line_names() {
        let call = Line::function_call(1, "c", "grep \"x\"", "{}");
        assert_eq!(tool_of(&call.raw), "grep \"x\"");
        let shell =
            br#"{"type":"response_item","payload":{"type":"local_shell_call","call_id":"c"}}"#;
        assert_eq!(tool_of(shell), "local_shell");
        assert_eq!(tool_of(b"no line"), "unknown");
    }
}
