//! `coppicer run`: recorded sessions as supervised threads.

mod drive;
pub(super) mod engine;
mod forest;
pub(super) mod import;
mod jobs;
mod keep;
mod load;
mod lot;
mod problem;
mod progress;
mod record;
mod report;
mod told;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use drive::Driven;
use engine::EngineArgs;
use report::Report;

use super::store::StoreArgs;
use super::{Failure, Verdict, duration, text};

/// How long the process waits for what still runs when all is closed.
pub(super) const END_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs recorded sessions as supervised threads, to an outcome for each.
///
/// Imports the sessions into a store, rebuilds trees from what they say of their parents, and resumes
/// every thread as a supervised actor. A turn that a session left unfinished is closed, and its input
/// sent again; then each thread is sent further turns. At the end everything is closed within the
/// deadline, and a report says what became of it.
///
/// A session that the store has already is continued where it is. Run again with the same sessions,
/// engine, `--crash` and `--seed`, a run that was killed does what is left and reports what it would
/// have reported, and one that is done has nothing left to do; with others it is a new run on the same
/// threads.
///
/// Several files of one thread are one session if each continues the one before. Session files are
/// only read. What is wrong with one is told on standard error; the others still run.
///
/// Exit codes: 0 only if every thread reached a durable outcome, the audit is clean and no input was
/// flawed; 1 if not; 130 after an interrupt (ctrl-c), which closes everything and reports.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Session files, or folders with session files (`*.jsonl`) in them and below.
    #[arg(required_unless_present = "threads")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Keep the threads in memory, for this run only.
    #[arg(long, conflicts_with = "store")]
    memory: bool,
    /// Turns that each thread is sent beside its unfinished work.
    #[arg(long, value_name = "N", default_value_t = 3)]
    turns: u32,
    #[command(flatten)]
    engine: EngineArgs,
    /// The probability that the engine panics in a turn, from 0 to 1.
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = probability)]
    crash: f64,
    /// Decides which turns crash: the same seed gives the same outcomes, whatever the timing.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How long the shutdown may take: 500ms, 10s, 2m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    deadline: Duration,
    /// Record every event of the run in this file, for `coppicer tap --replay FILE`. A recording that is
    /// there already goes on; past 256 MiB it is put aside as FILE.1.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Serve the console while this runs, and afterwards until an interrupt (ctrl-c), before everything
    /// is closed. The address that is printed opens it.
    #[cfg(feature = "console")]
    #[arg(long)]
    console: bool,
    /// How long the console serves when all turns have ended, instead of until an interrupt.
    #[cfg(feature = "console")]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, requires = "console")]
    console_for: Option<Duration>,
    #[cfg(feature = "console")]
    #[command(flatten)]
    console_at: super::console::ConsoleArgs,
    /// Print the report as one JSON object, and no progress.
    #[arg(long)]
    json: bool,
    /// Spawn this many fresh threads too, and report the memory of each while it is idle.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

fn probability(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err("expected a number from 0 to 1".to_owned())
    }
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    quieten_crashes();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let driven = runtime.block_on(Box::pin(drive::drive(args)));
    // A turn that blocks its OS thread must not hold up the end of the process for long.
    runtime.shutdown_timeout(END_TIMEOUT);
    let Driven { report, store } = driven?;
    // Nobody uses it any more, unless such a turn is left: then what was acknowledged is in its log.
    if let Some(store) = store.and_then(Arc::into_inner) {
        store.close();
    }
    match print(args, &report) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    Ok(if report.interrupted { Verdict::Interrupted } else { Verdict::of(report.is_well()) })
}

fn print(args: &Args, report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
    } else {
        write!(out, "{}", text::printable(&report.text()))?;
    }
    out.flush()
}

/// Crashes by lot are in the report; their messages would only hide others.
#[expect(clippy::disallowed_methods, reason = "this process is the host, and has one runtime")]
pub(super) fn quieten_crashes() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        let by_lot = text.is_some_and(|text| text.starts_with(engine::CRASH));
        if !by_lot {
            usual(panic);
        }
    }));
}
