//! The bridge: about all that a host has to write.

use coppicer::{TraceBridge, TraceContext};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Ties the runtime's spans to OpenTelemetry's.
#[derive(Debug)]
pub struct OtelBridge;

impl TraceBridge for OtelBridge {
    fn begun(&self, span: &Span, cause: Option<&TraceContext>) -> Option<TraceContext> {
        if let Some(cause) = cause {
            let parent = Context::new().with_remote_span_context(remote(cause));
            // It fails where no OpenTelemetry layer records the span: then nobody misses the parent.
            let _ = span.set_parent(parent);
        }
        context_of(span)
    }

    fn linked(&self, span: &Span, cause: &TraceContext) {
        span.add_link(remote(cause));
    }
}

/// What a span is called by other processes; none if nobody records it.
pub fn context_of(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let span = context.span();
    let own = span.span_context();
    let (trace, id) = (own.trace_id().to_bytes(), own.span_id().to_bytes());
    let named = TraceContext::new(trace, id, own.is_sampled()).ok()?;
    let named = named.with_flags(own.trace_flags().to_u8());
    Some(named.clone().with_state(&own.trace_state().header()).unwrap_or(named))
}

fn remote(cause: &TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(cause.trace_id()),
        SpanId::from_bytes(cause.span_id()),
        TraceFlags::new(cause.flags()),
        true,
        cause.tracestate().parse::<TraceState>().unwrap_or_default(),
    )
}
