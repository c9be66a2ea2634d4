//! `coppicer stress`: scenarios that a host would fear, with what they cost.
//!
//! One file or folder a scenario. Each takes a [`frame::Frame`], gives it figures, and judges them by targets.

mod close;
mod crash;
mod figure;
mod frame;
mod idle;
mod load;
mod lookup;
mod quiet;
mod rounds;
mod shape;
mod spawn;
mod table;
mod turns;

#[path = "../../../benches/baselines/mod.rs"]
mod baselines;

use frame::Common;

use super::{Failure, Verdict};

/// Worker threads of the scenarios' runtimes: targets are for two cores.
const WORKERS: usize = 2;

/// Runs a stress scenario on this machine, and judges its figures by their targets.
///
/// A scenario makes threads on a store in memory, puts them under stress, and prints what it measured.
/// Trust the ratios and the counts: times are this machine's, and it may be busy. A debug build shows
/// figures of time and does not judge them.
///
/// Exit codes: 0 if no target is missed, 1 if one is.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    scenario: Scenario,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Scenario {
    Spawn(spawn::Args),
    Idle(idle::Args),
    Turns(turns::Args),
    Lookup(lookup::Args),
    Close(close::Args),
    Crash(crash::Args),
}

/// Why a scenario could not be measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("cannot start the runtime")]
    Start(#[source] coppicer::StartError),
    #[error("a thread was not spawned")]
    Spawn(#[from] coppicer::SpawnError),
    #[error("a submission was refused")]
    Submit(#[from] coppicer::SubmitError),
    #[error("an outcome was lost")]
    Outcome(#[from] coppicer::OutcomeError),
    #[error("a close was not answered")]
    Close(#[from] coppicer::CloseError),
    #[error("a thread did not answer")]
    Control(#[from] coppicer::ControlError),
    #[error("{what} did not come about in time")]
    NotInTime { what: &'static str },
    #[error("a task of the scenario failed")]
    Task(#[from] tokio::task::JoinError),
    #[error("a process of the scenario failed: {0}")]
    Child(String),
    #[error("the baseline failed: {0}")]
    Baseline(String),
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    quiet::quieten_ordered_panics();
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let frame = tokio.block_on(Box::pin(async {
        match &args.scenario {
            Scenario::Spawn(spawn) => spawn::measure(spawn, args.common).await,
            Scenario::Idle(idle) => idle::measure(idle, args.common).await,
            Scenario::Lookup(lookup) => lookup::measure(lookup, args.common).await,
            Scenario::Turns(turns) => turns::measure(turns, args.common).await,
            Scenario::Close(close) => close::measure(close, args.common).await,
            Scenario::Crash(crash) => crash::measure(crash, args.common).await,
        }
    }))?;
    Ok(Verdict::of(frame.print()?))
}
