//! Sinks: what hosts hang on a tap. They use the tap API alone.

mod hooks;
mod log;
#[cfg(feature = "metrics")]
mod metrics;
mod record;

pub use hooks::{Attention, HookCounts, Hooks, Terminal};
pub use log::log_events;
#[cfg(feature = "metrics")]
pub use metrics::{METRICS, MetricKind, MetricRow, count_events, describe_metrics};
pub use record::{RecordError, RecordOptions, Recorded, Recorder, Recording, recording_files};
