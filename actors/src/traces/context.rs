//! What a running turn says of its trace.

use coppicer_messages::TraceContext;
use tracing::{Instrument, Span};

use crate::engine::TurnContext;
use crate::thread::TurnEnd;

impl TurnContext {
    /// The W3C trace context of this turn, for what it calls: its own span, where a
    /// [`TraceBridge`](crate::TraceBridge) names it, else what caused the turn. Sub-agents and
    /// submissions of this turn have it as their cause, unless they say another.
    pub fn trace_context(&self) -> Option<TraceContext> {
        let own = self.trace.as_ref().and_then(|trace| trace.context());
        own.or_else(|| self.cause.clone())
    }

    /// As [`trace_context`](Self::trace_context), for what a tool call calls: the span of the call,
    /// from [`emit`](Self::emit) of the call to that of its output.
    pub fn trace_context_of(&self, call: &str) -> Option<TraceContext> {
        let own = self.trace.as_ref().and_then(|trace| trace.context_of(call));
        own.or_else(|| self.cause.clone())
    }

    /// Runs `work` with the span of a tool call as the current one, so that what it traces is below
    /// it; with that of the turn if the call has none.
    pub async fn in_call<T>(&self, call: &str, work: impl Future<Output = T>) -> T {
        let span = self.trace.as_ref().map_or_else(Span::none, |trace| trace.span_of(call));
        work.instrument(span).await
    }

    pub(crate) fn span(&self) -> Span {
        self.trace.as_ref().map_or_else(Span::none, |trace| trace.span())
    }

    pub(crate) fn ended(&self, end: &TurnEnd) {
        if let Some(trace) = &self.trace {
            trace.ended(end.clone(), self.is_cancelled());
        }
    }
}
