//! The second part of `coppicer stress close`: how long does it take to close many threads that are idle?

use tokio::time::Instant;

use super::Broken;
use super::baselines::locked_map::LockedMap;
use super::baselines::ractor_actor::RawActor;
use super::baselines::tokio_task::Task;
use super::figure::Target;
use super::frame::{Common, Frame};
use super::load::{self, MAP, PATIENCE, RACTOR, TOKIO, on_worker};
use super::rounds::Rounds;

/// What a close-all may take beside raw ractor's stop of as many.
const BESIDE_RACTOR: Target = Target::RatioAtMost(2.0);

/// Closes so many idle roots, in rounds.
pub(super) async fn measure(
    frame: &mut Frame,
    threads: usize,
    common: Common,
) -> Result<(), Broken> {
    let rounds = common.rounds(None);
    let mut took = Rounds::new(format!("all of {threads} idle threads"), "ms");
    let (mut unnamed, mut left) = (0, 0);
    for round in 1..=rounds {
        frame.step(&format!("close of {threads} idle threads, round {round} of {rounds}"));
        if common.compare {
            took.beside(RACTOR, on_worker(ractor(threads)).await?);
            took.beside(MAP, on_worker(map(threads)).await?);
            took.beside(TOKIO, on_worker(tasks(threads)).await?);
        }
        let (millis, named, leaked) = on_worker(ours(threads)).await?;
        took.ours(millis);
        unnamed += threads.abs_diff(named);
        left += leaked;
    }
    frame.rounds(took, &[(Some(RACTOR), BESIDE_RACTOR)]);
    let none = Target::Exactly(0.0);
    frame.judge(frame.figure("all idle/not in the report", unnamed as f64, "threads"), none);
    frame.judge(frame.figure("all idle/left by the audit", left as f64, "rows"), none);
    Ok(())
}

fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

async fn ours(threads: usize) -> Result<(f64, usize, usize), Broken> {
    let runtime = load::runtime().await?;
    let held = load::roots(&runtime, threads).await?;
    let begun = Instant::now();
    let report = runtime.close_all(PATIENCE).await?;
    let took = millis(begun);
    drop(held);
    Ok((took, report.threads.len(), load::end(runtime).await?))
}

async fn ractor(threads: usize) -> Result<f64, Broken> {
    let root = RawActor::start().await.map_err(Broken::Baseline)?;
    let mut held = Vec::with_capacity(threads);
    for _ in 0..threads {
        held.push(root.spawn().await.map_err(Broken::Baseline)?);
    }
    let begun = Instant::now();
    root.end_all().await.map_err(Broken::Baseline)?;
    let took = millis(begun);
    drop(held);
    Ok(took)
}

async fn map(threads: usize) -> Result<f64, Broken> {
    let map = LockedMap::default();
    for n in 0..threads {
        map.spawn(load::id(n)).await;
    }
    let begun = Instant::now();
    map.close_all().await;
    Ok(millis(begun))
}

async fn tasks(threads: usize) -> Result<f64, Broken> {
    let tasks = (0..threads).map(|_| Task::spawn()).collect();
    let begun = Instant::now();
    Task::end_all(tasks).await;
    Ok(millis(begun))
}
