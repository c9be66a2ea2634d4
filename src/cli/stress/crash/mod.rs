//! `coppicer stress crash`: do crashes cost only those who crash, and how soon is one back (P6, P7)?
//!
//! Three parts: a storm of panics in a share of all turns, beside the same load without; single crashes,
//! from the panic to the first reply of the new incarnation, beside what raw ractor and raw tokio need
//! to respawn; threads whose restarts are spent, which must stay parked.

mod parked;
mod respawn;
mod storm;

use std::time::Duration;

use coppicer::{Backoff, RestartPolicy};

use super::figure::Target;
use super::frame::{Common, Frame, Layout};
use crate::cli::{Failure, duration};
use respawn::Respawns;
use storm::Storm;

/// The throughput that those who do not crash must keep.
const KEPT: Target = Target::RatioAtLeast(0.95);

/// How much longer than raw ractor a respawn may take.
const RESPAWN: Target = Target::RatioAtMost(3.0);

/// Panics in a share of the turns of many threads, single crashes, and threads whose restarts are spent.
///
/// Targets: threads that do not crash keep 95 % of the throughput that they have without the crashes
/// (rounds with and without in turns, the median of their ratios); from a panic to the first reply of the new incarnation at
/// most three times what raw ractor needs to respawn an actor, each on a host at rest; nothing runs in a parked thread. Pauses
/// between restarts are set to zero: the worst case. The panic of a thread's own actor is a fault that
/// only the feature `testing` can order: without it that figure is left out.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Threads of the storm; 1,000 if not said, with --smoke 100.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    threads: Option<u32>,
    /// Per cent of all turns that panic.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = share)]
    share: f64,
    /// Rounds with and without panics; 15 if not said, with --quick 7, with --smoke 2.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    /// How long each round is measured; 500ms if not said, with --quick 300ms, with --smoke 100ms.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    round: Option<Duration>,
}

pub(in crate::cli::stress) fn share(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number from 0 to 40".to_owned())?;
    if (0.0..=40.0).contains(&number) {
        Ok(number)
    } else {
        Err("expected a number from 0 to 40".to_owned())
    }
}

/// Comes back at once, as often as it crashes.
pub(super) fn tireless() -> RestartPolicy {
    let pause = Duration::ZERO;
    let backoff = Backoff { initial: pause, factor: 1.0, max: pause, jitter: 0.0 };
    RestartPolicy::default().with_limit(u32::MAX, Duration::from_millis(1)).with_backoff(backoff)
}

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let threads = args.threads.map_or(common.pick(100, 1_000, 1_000), |n| n as usize);
    let rounds = args.rounds.map_or(common.pick(2, 7, 15), |n| n as usize);
    let usual = Duration::from_millis(common.pick(100, 300, 500));
    let storm = Storm { threads, share: args.share, time: args.round.unwrap_or(usual) };
    let steps = rounds * 3 + 1;
    let mut frame = Frame::new("crash", common, Layout::Figures, steps);
    storm::measure(&mut frame, storm, rounds).await?;
    let respawns = Respawns { each: common.pick(20, 100, 200), rounds };
    respawn::measure(&mut frame, respawns).await?;
    parked::measure(&mut frame, threads, storm.time).await?;
    Ok(frame)
}
