//! An example: a host that serves a request through an agent, with all of it in one trace, which goes to
//! an OpenTelemetry collector by OTLP over HTTP. Coppicer itself depends on none of this.
//!
//! `cargo run -p coppicer-otlp-example [ENDPOINT]`: it ends by itself, also if no collector is there.

mod bridge;
mod engine;

use std::error::Error;
use std::time::Duration;

use coppicer::{Runtime, SpawnThread, Submission, ThreadConfig};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

pub use bridge::{OtelBridge, context_of};
pub use engine::Librarian;

/// Serves one request, sends what was traced to the collector, and returns the answer. Sets the
/// process's subscriber, so it can be called once.
///
/// # Errors
/// The endpoint is no URL; the runtime did not do as asked; the collector did not take the spans.
pub fn serve_one_request(endpoint: &str) -> Result<String, Box<dyn Error>> {
    // Outside of tokio: the exporter's client blocks, in a thread of its own.
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .with_timeout(Duration::from_secs(5))
        .build()?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("host"));
    // Ours alone: the exporter's own requests are not to be traced.
    let ours = Targets::new()
        .with_target("coppicer::traces", LevelFilter::INFO)
        .with_target("coppicer_otlp_example", LevelFilter::INFO);
    tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(layer.with_filter(ours)),
    )?;

    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let answer = tokio.block_on(host())?;
    // Says whether the collector took them; a shutdown does not.
    let sent = provider.force_flush();
    provider.shutdown()?;
    sent?;
    Ok(answer)
}

async fn host() -> Result<String, Box<dyn Error>> {
    let runtime = Runtime::builder().engine(Librarian).trace_bridge(OtelBridge).start().await?;
    let config = ThreadConfig::default().with_nickname("librarian");
    let thread = runtime.spawn(SpawnThread::new().with_config(config)).await?;

    let request = tracing::info_span!("request", http.route = "/ask");
    let mut submission = Submission::input("Middlemarch");
    // A host that is behind another takes `TraceContext::from_headers` as its request's parent.
    submission.trace = context_of(&request);
    let outcome = thread.run(submission).await?;
    drop(request);

    runtime.shutdown(Duration::from_secs(5)).await?;
    Ok(outcome.message().unwrap_or_default().to_owned())
}
