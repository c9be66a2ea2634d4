//! The supervisor of Coppicer: the runtime that hosts build, and the actor that replaces their map
//! of threads.
//!
//! Hosts use it through the facade crate `coppicer`.

mod adopting;
mod agents;
mod asking;
mod audit;
mod budgets;
mod directory;
mod keeping;
mod limits_used;
mod nicknames;
mod runtime;
mod sinks;
mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;
mod why;

pub use audit::{Audit, LeaseOwner, LeaseRow};
pub use limits_used::{LimitUse, NearChange, NearLimits};
pub use nicknames::{NicknameError, Nicknames};
pub use runtime::{ImportThread, Resumed, Runtime, RuntimeBuilder, StartError};
pub use sinks::{
    Attention, HookCounts, Hooks, RecordError, RecordOptions, Recorded, Recorder, Recording,
    Terminal, log_events, recording_files,
};
#[cfg(feature = "metrics")]
pub use sinks::{METRICS, MetricKind, MetricRow, count_events, describe_metrics};
pub use supervisor::Recover;
pub use why::{Silent, WaitsFor, Why, WhyError, WhyTurn};
