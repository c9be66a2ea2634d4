//! `coppicer stress`: scenarios that a host would fear, with what they cost.
//!
//! One file or folder a scenario. Each takes a [`frame::Frame`], gives it figures, and judges them by targets.

mod all;
mod close;
mod close_all;
mod crash;
mod durable;
mod figure;
mod fork;
mod frame;
mod idle;
mod load;
mod lookup;
mod open;
mod quiet;
mod refuse;
mod report;
mod rounds;
mod scaling;
mod sessions;
mod shape;
mod soak;
mod spawn;
mod table;
mod taps;
mod turns;

#[path = "../../../benches/baselines/mod.rs"]
mod baselines;

use frame::{Common, Frame, Layout};

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
    All(all::Args),
    Spawn(spawn::Args),
    Idle(idle::Args),
    Turns(turns::Args),
    Lookup(lookup::Args),
    Refuse(refuse::Args),
    Close(close::Args),
    Crash(crash::Args),
    Durable(durable::Args),
    Fork(fork::Args),
    Open(open::Args),
    Taps(taps::Args),
    Soak(soak::Args),
    Scaling(scaling::Args),
    Report(report::Args),
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
    #[error("a tap was refused")]
    Tap(#[source] coppicer::TapError),
    #[error("the store refused it")]
    Store(#[source] coppicer::StoreError),
    #[error("the disk cannot be used: {0}")]
    Disk(String),
    #[cfg(feature = "console")]
    #[error("the console cannot be used: {0}")]
    Console(String),
    #[error("a process of the scenario failed: {0}")]
    Child(String),
    #[error("the baseline failed: {0}")]
    Baseline(String),
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    match &args.scenario {
        Scenario::All(all) => return all::run(all, args.common),
        Scenario::Report(report) => return report::run(report),
        _ => {}
    }
    quiet::quieten_ordered_panics();
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let frame = tokio.block_on(Box::pin(measure(&args.scenario, args.common)))?;
    Ok(Verdict::of(frame.print()?))
}

async fn measure(scenario: &Scenario, common: Common) -> Result<Frame, Failure> {
    match scenario {
        // They measure nothing themselves.
        Scenario::All(_) | Scenario::Report(_) => {
            Ok(Frame::new("none", common, Layout::Figures, 0))
        }
        Scenario::Spawn(args) => spawn::measure(args, common).await,
        Scenario::Idle(args) => idle::measure(args, common).await,
        Scenario::Turns(args) => turns::measure(args, common).await,
        Scenario::Lookup(args) => lookup::measure(args, common).await,
        Scenario::Refuse(args) => refuse::measure(args, common).await,
        Scenario::Close(args) => close::measure(args, common).await,
        Scenario::Crash(args) => crash::measure(args, common).await,
        Scenario::Durable(args) => durable::measure(args, common).await,
        Scenario::Fork(args) => fork::measure(args, common).await,
        Scenario::Open(args) => open::measure(args, common).await,
        Scenario::Taps(args) => taps::measure(args, common).await,
        Scenario::Soak(args) => soak::measure(args, common).await,
        Scenario::Scaling(args) => scaling::measure(args, common).await,
    }
}
