//! What the scenarios' loads have in common.

use std::path::PathBuf;
use std::time::Duration;

use coppicer::{
    Runtime, RuntimeBuilder, Script, ScriptedEngine, SpawnThread, ThreadHandle, ThreadId,
};
use futures::{StreamExt, TryStreamExt, stream};
use tempfile::TempDir;
use tokio::time::Instant;

use super::Broken;

/// Spawns that are under way at once while a load is built up.
const SPAWNS_MAX: usize = 256;

/// How long what has no deadline of its own may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Baselines by the names that they have in figures.
pub(super) const TOKIO: &str = "raw tokio";
/// See [`TOKIO`].
pub(super) const RACTOR: &str = "raw ractor";
/// See [`TOKIO`].
pub(super) const MAP: &str = "locked map";

/// Where a scenario keeps what it writes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Disk {
    /// Folder on the disk that is measured; the system's folder for temporary files if not said.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl Disk {
    /// A folder that is gone when it is dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn folder(&self) -> Result<TempDir, Broken> {
        let folder = match &self.dir {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        };
        folder.map_err(|error| Broken::Disk(error.to_string()))
    }
}

/// An engine that answers at once.
pub(super) fn instant_engine() -> ScriptedEngine {
    ScriptedEngine::always(Script::new().say("done"))
}

/// A runtime with threads in memory, whose engine answers at once.
pub(super) async fn runtime() -> Result<Runtime, Broken> {
    start(Runtime::builder().engine(instant_engine())).await
}

/// Starts a runtime.
pub(super) async fn start(builder: RuntimeBuilder) -> Result<Runtime, Broken> {
    builder.start().await.map_err(Broken::Start)
}

/// Spawns so many roots, many at once.
pub(super) async fn roots(runtime: &Runtime, count: usize) -> Result<Vec<ThreadHandle>, Broken> {
    let spawns = (0..count).map(|_| runtime.spawn(SpawnThread::new()));
    Ok(stream::iter(spawns).buffered(SPAWNS_MAX).try_collect().await?)
}

/// Ends a runtime, and says how many rows its audit still had.
pub(super) async fn end(runtime: Runtime) -> Result<usize, Broken> {
    runtime.shutdown(PATIENCE).await?;
    let audit = runtime.audit().await;
    Ok(audit.live.len() + audit.drift.len())
}

/// Runs it in a task of a worker: whoever measures is no foreign thread.
pub(super) async fn on_worker<T: Send + 'static>(
    work: impl Future<Output = Result<T, Broken>> + Send + 'static,
) -> Result<T, Broken> {
    tokio::spawn(work).await?
}

/// An id for a thread of a baseline.
pub(super) fn id(n: usize) -> ThreadId {
    ThreadId::from_parts(n as u64, [7; 10])
}

/// Microseconds since `begun` for each of `count`.
pub(super) fn micros_each(begun: Instant, count: usize) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6 / count.max(1) as f64
}

/// Nanoseconds since `begun` for each of `count`.
pub(super) fn nanos_each(begun: Instant, count: usize) -> f64 {
    begun.elapsed().as_secs_f64() * 1e9 / count.max(1) as f64
}
