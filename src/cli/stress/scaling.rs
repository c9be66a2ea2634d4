//! `coppicer stress scaling`: does an operation cost more because there are more threads?

use std::hint::black_box;

use coppicer::{ForkPoint, Runtime, SpawnThread, TapFrom, TapOptions, ThreadHandle};
use tokio::time::Instant;

use super::Broken;
use super::figure::median;
use super::frame::{Common, Frame, Layout};
use super::load::{self, PATIENCE, micros_each, on_worker};
use crate::cli::Failure;

/// Threads that there are, one column for each.
const COUNTS: [usize; 6] = [1, 10, 100, 1_000, 10_000, 100_000];

/// Operations of one sample: more than one, so that the clock is not what is measured.
const SAMPLE: usize = 20;

/// One operation at a time, beside 1 to 100,000 threads that do nothing.
///
/// Microseconds, the median of samples. Whatever grows with the number of threads is seen; what is left of
/// growth in look-ups are the caches of the processor, which hold a few thousand threads.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Most threads that there are, up to 100,000; with --smoke 100.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    threads: Option<u32>,
    /// Samples of each operation; 50 if not said, with --smoke 2.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    samples: Option<u32>,
}

/// The name of an operation, and its samples.
type Operation = (&'static str, Vec<f64>);

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let most = args.threads.map_or(common.pick(100, 100_000, 100_000), |n| n as usize);
    let samples = args.samples.map_or(common.pick(2, 50, 50), |n| n as usize);
    let counts: Vec<usize> = COUNTS.into_iter().filter(|&count| count <= most).collect();
    let mut frame = Frame::new("scaling", common, Layout::Cases, counts.len());
    let mut table: Vec<(&'static str, Vec<f64>)> = Vec::new();
    for &count in &counts {
        frame.step(&format!("{count} threads"));
        for (place, (name, samples)) in
            on_worker(operations(count, samples)).await?.into_iter().enumerate()
        {
            if table.len() == place {
                table.push((name, Vec::new()));
            }
            table[place].1.push(median(samples));
        }
    }
    for (name, medians) in table {
        for (count, micros) in counts.iter().zip(medians) {
            frame.give(frame.figure(format!("{name}/{count}"), micros, "µs"));
        }
    }
    Ok(frame)
}

/// Samples of every operation, with so many threads beside.
async fn operations(count: usize, samples: usize) -> Result<Vec<Operation>, Broken> {
    let runtime = load::runtime().await?;
    let threads = load::roots(&runtime, count).await?;
    let mut all: Vec<Operation> = Vec::new();
    let mut n = 0;
    let mut next = || {
        n += 7_919;
        &threads[n % threads.len()]
    };

    let (mut spawn, mut fork, mut close, mut turn) = (vec![], vec![], vec![], vec![]);
    for _ in 0..samples {
        let begun = Instant::now();
        let made = spawn_some(&runtime).await?;
        spawn.push(micros_each(begun, SAMPLE));
        let begun = Instant::now();
        for thread in &made {
            thread.run("go").await?;
        }
        turn.push(micros_each(begun, SAMPLE));
        let begun = Instant::now();
        let mut forks = Vec::with_capacity(SAMPLE);
        for thread in &made {
            forks.push(runtime.fork(thread.id(), ForkPoint::Interrupted).await?);
        }
        fork.push(micros_each(begun, SAMPLE));
        let begun = Instant::now();
        for thread in &made {
            thread.close(PATIENCE).await?;
        }
        close.push(micros_each(begun, SAMPLE));
        for fork in forks {
            fork.close(PATIENCE).await?;
        }
    }
    all.extend([("spawn", spawn), ("turn", turn), ("fork", fork), ("close", close)]);

    let (mut get, mut status, mut ask, mut tap) = (vec![], vec![], vec![], vec![]);
    for _ in 0..samples {
        let looked: Vec<&ThreadHandle> = (0..SAMPLE).map(|_| next()).collect();
        let begun = Instant::now();
        for thread in &looked {
            black_box(runtime.get(thread.id()));
        }
        get.push(micros_each(begun, SAMPLE));
        let begun = Instant::now();
        for thread in &looked {
            black_box(thread.status());
        }
        status.push(micros_each(begun, SAMPLE));
        let begun = Instant::now();
        for thread in &looked {
            black_box(thread.interrupt().await?);
        }
        ask.push(micros_each(begun, SAMPLE));
        let begun = Instant::now();
        let from_now = TapOptions::all().with_from(TapFrom::Now);
        drop(runtime.tap(from_now).map_err(Broken::Tap)?);
        tap.push(micros_each(begun, 1));
    }
    all.extend([("look-up", get), ("status", status), ("answer of the actor", ask), ("tap", tap)]);
    drop(threads);
    load::end(runtime).await?;
    Ok(all)
}

async fn spawn_some(runtime: &Runtime) -> Result<Vec<ThreadHandle>, Broken> {
    let mut made = Vec::with_capacity(SAMPLE);
    for _ in 0..SAMPLE {
        made.push(runtime.spawn(SpawnThread::new()).await?);
    }
    Ok(made)
}
