//! `coppicer stress spawn`: what does it cost to bring a thread to life?

use coppicer::SpawnThread;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::Broken;
use super::baselines::locked_map::LockedMap;
use super::baselines::ractor_actor::RawActor;
use super::baselines::tokio_task::Task;
use super::figure::Target;
use super::frame::{Common, Frame, Layout};
use super::load::{self, MAP, RACTOR, TOKIO, micros_each, on_worker};
use super::rounds::Rounds;
use crate::cli::Failure;

/// Callers that spawn at once, in the second figure.
const CALLERS: usize = 64;

/// Spawns threads on a store in memory, without a first submission.
///
/// One caller, who waits for each thread; and 64 at once. All threads stay alive until the round is over.
/// Baselines: a linked ractor actor, the locked map, a tokio task with its channel. Targets: at most twice
/// the ractor actor, at most four times the locked map.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Threads of a round; 100,000 if not said, with --smoke 200.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500_000))]
    threads: Option<u32>,
    /// Rounds; 5 if not said (9 with --compare), with --quick 3 (5).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
}

/// What a spawn may cost beside these.
const TARGETS: [(Option<&str>, Target); 2] =
    [(Some(RACTOR), Target::RatioAtMost(2.0)), (Some(MAP), Target::RatioAtMost(4.0))];

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let threads = args.threads.map_or(common.pick(200, 100_000, 100_000), |n| n as usize);
    let count = common.rounds(args.rounds);
    let mut frame = Frame::new("spawn", common, Layout::Figures, count);
    let mut one = Rounds::new(format!("{threads} threads, one caller"), "µs");
    let mut many = Rounds::new(format!("{threads} threads, {CALLERS} callers at once"), "µs");
    let mut left = 0;
    for round in 1..=count {
        frame.step(&format!("round {round} of {count}"));
        if common.compare {
            one.beside(RACTOR, on_worker(ractor(threads, 1)).await?);
            many.beside(RACTOR, on_worker(ractor(threads, CALLERS)).await?);
            one.beside(MAP, on_worker(map(threads)).await?);
            one.beside(TOKIO, on_worker(tasks(threads)).await?);
        }
        let (took, leaked) = on_worker(ours(threads, 1)).await?;
        one.ours(took);
        left += leaked;
        let (took, leaked) = on_worker(ours(threads, CALLERS)).await?;
        many.ours(took);
        left += leaked;
    }
    frame.rounds(one, &TARGETS);
    frame.rounds(many, &[(Some(RACTOR), Target::RatioAtMost(2.0))]);
    frame.judge(frame.figure("left by the audit", left as f64, "rows"), Target::Exactly(0.0));
    Ok(frame)
}

async fn ours(threads: usize, callers: usize) -> Result<(f64, usize), Broken> {
    let runtime = load::runtime().await?;
    let begun = Instant::now();
    let spawns = (0..threads).map(|_| runtime.spawn(SpawnThread::new()));
    let spawned: Vec<_> = stream::iter(spawns).buffered(callers).try_collect().await?;
    let took = micros_each(begun, threads);
    drop(spawned);
    Ok((took, load::end(runtime).await?))
}

async fn ractor(threads: usize, callers: usize) -> Result<f64, Broken> {
    let root = RawActor::start().await.map_err(Broken::Baseline)?;
    let begun = Instant::now();
    let spawns = (0..threads).map(|_| root.spawn());
    let spawned: Result<Vec<_>, String> =
        stream::iter(spawns).buffered(callers).try_collect().await;
    let took = micros_each(begun, threads);
    drop(spawned.map_err(Broken::Baseline)?);
    root.end_all().await.map_err(Broken::Baseline)?;
    Ok(took)
}

async fn map(threads: usize) -> Result<f64, Broken> {
    let map = LockedMap::default();
    let mut spawned = Vec::with_capacity(threads);
    let begun = Instant::now();
    for n in 0..threads {
        spawned.push(map.spawn(load::id(n)).await);
    }
    let took = micros_each(begun, threads);
    drop(spawned);
    map.close_all().await;
    Ok(took)
}

async fn tasks(threads: usize) -> Result<f64, Broken> {
    let begun = Instant::now();
    let spawned: Vec<Task> = (0..threads).map(|_| Task::spawn()).collect();
    let took = micros_each(begun, threads);
    Task::end_all(spawned).await;
    Ok(took)
}
