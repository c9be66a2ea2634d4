//! `coppicer serve`: a stored runtime with its console.

use std::sync::Arc;
use std::time::Duration;

use coppicer::Runtime;

use super::console::ConsoleArgs;
use super::run::engine::{EngineArgs, engine};
use super::run::{END_TIMEOUT, quieten_crashes};
use super::store::StoreArgs;
use super::{Failure, Verdict, duration, say, text};

/// Serves the threads of a store, with the console to look at them and to work with them. Makes the store
/// if there is none.
///
/// The address that is printed opens the console; it has the token of this start in it. Threads that an
/// earlier process left unfinished come up by themselves; all others sleep in the store until somebody
/// sends them something or resumes them.
///
/// No model is behind it: with the engine `replay` a turn repeats what the thread's own session recorded,
/// and a thread without one says what it was told; with `script` each turn is one tool call and an answer
/// that repeats the input; with `told` it does what its input tells it to. A host that has an engine of its own serves it with `Console::start`.
///
/// Ends with an interrupt (ctrl-c): everything is closed within the deadline, and the exit code is 0 if
/// all of it ended in time.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    console: ConsoleArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// Serve for this long, instead of until an interrupt: 500ms, 10s, 2m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    at_most: Option<Duration>,
    /// How long the shutdown may take: 500ms, 10s, 2m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    deadline: Duration,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    quieten_crashes();
    let store = Arc::new(args.store.open_or_make()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(Box::pin(serve(args, store.clone())));
    runtime.shutdown_timeout(END_TIMEOUT);
    if let Some(store) = Arc::into_inner(store) {
        store.close();
    }
    served.map(Verdict::of)
}

/// Whether all ended in time.
async fn serve(args: &Args, store: Arc<coppicer::SqliteStore>) -> Result<bool, Failure> {
    // A task of its own, so that the signal is caught from the start.
    let interrupt = tokio::spawn(tokio::signal::ctrl_c());
    let path = store.path().to_owned();
    let runtime = Runtime::builder()
        .engine(engine(args.engine))
        .shared_store(store)
        .start()
        .await
        .map_err(Failure::Start)?;
    let console = match args.console.start(&runtime, Some(&path), args.engine.engine.label()) {
        Ok(console) => console,
        Err(failure) => {
            // Nothing was asked of it, so that nothing hangs.
            let _ = runtime.shutdown(args.deadline).await;
            return Err(failure);
        }
    };
    say(&format!("serving {}; ctrl-c ends it", path.display()));
    let interrupted = async {
        match interrupt.await {
            Ok(Ok(())) => {}
            // Where signals cannot be had, never.
            _ => std::future::pending().await,
        }
    };
    console.keep(interrupted, args.at_most).await;
    let report = runtime.shutdown(args.deadline).await;
    console.stop().await;
    match report {
        Ok(report) => {
            let closed = text::count(report.threads.len(), "thread");
            say(&format!("{closed} closed, {} not in time", report.timed_out.len()));
            Ok(report.timed_out.is_empty())
        }
        Err(error) => {
            say(&format!("error: the shutdown failed: {}", text::with_causes(&error)));
            Ok(false)
        }
    }
}
