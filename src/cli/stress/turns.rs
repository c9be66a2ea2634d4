//! `coppicer stress turns`: how many turns does a process make, and how long does one take?

use std::time::Duration;

use coppicer::{Outcome, ThreadHandle};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Broken;
use super::baselines::locked_map::{LockedMap, Thread};
use super::baselines::ractor_actor::RawActor;
use super::baselines::tokio_task::Task;
use super::figure::Target;
use super::frame::{Common, Frame, Layout};
use super::load::{self, MAP, RACTOR, TOKIO, on_worker};
use super::rounds::Rounds;
use crate::cli::{Failure, duration};

/// Turns a second that two cores have to make.
const THROUGHPUT: Target = Target::AtLeast(100_000.0);

/// Microseconds that the median turn of one thread may take.
const LATENCY: Target = Target::AtMost(30.0);

/// Turns from `submit` to the durable outcome, with a store in memory and an engine that answers at once.
///
/// A caller per thread sends the next input when the last has its outcome: one thread, then many at once.
/// Baselines do what a turn needs at the least: the locked map starts a task, notes three lines and tells
/// three events; raw ractor spawns a linked actor, asks and stops it; raw tokio spawns a task that
/// answers. Targets: 100,000 turns a second over 64 threads, a median of 30 µs with one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Threads that run turns at once, in the second part.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    threads: u32,
    /// How long each part of a round is measured; 1s if not said, with --quick 300ms, with --smoke 20ms.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    round: Option<Duration>,
    /// Rounds; 5 if not said (9 with --compare), with --quick 3 (5).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
}

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let millis = Duration::from_millis;
    let time = args.round.unwrap_or(common.pick(millis(20), millis(300), millis(1_000)));
    let (threads, rounds) = (args.threads as usize, common.rounds(args.rounds));
    let mut frame = Frame::new("turns", common, Layout::Figures, rounds);
    let mut p50 = Rounds::new("1 thread, p50", "µs");
    let mut p99 = Rounds::new("1 thread, p99", "µs");
    let mut rate = Rounds::new(format!("{threads} threads"), "turns/s");
    let mut many_p50 = Rounds::new(format!("{threads} threads, p50"), "µs");
    let mut left = 0;
    for round in 1..=rounds {
        frame.step(&format!("round {round} of {rounds}"));
        if common.compare {
            for (name, kind) in [(RACTOR, Kind::Ractor), (MAP, Kind::Map), (TOKIO, Kind::Tokio)] {
                let one = on_worker(load_of(kind, 1, time)).await?;
                p50.beside(name, one.quantile(0.5));
                p99.beside(name, one.quantile(0.99));
                rate.beside(name, on_worker(load_of(kind, threads, time)).await?.rate);
            }
        }
        let one = on_worker(load_of(Kind::Ours, 1, time)).await?;
        p50.ours(one.quantile(0.5));
        p99.ours(one.quantile(0.99));
        let many = on_worker(load_of(Kind::Ours, threads, time)).await?;
        rate.ours(many.rate);
        many_p50.ours(many.quantile(0.5));
        left += one.left + many.left;
    }
    frame.rounds(p50, &[(None, LATENCY)]);
    frame.rounds(p99, &[]);
    frame.rounds(rate, &[(None, THROUGHPUT)]);
    frame.rounds(many_p50, &[]);
    frame.judge(frame.figure("left by the audit", left as f64, "rows"), Target::Exactly(0.0));
    Ok(frame)
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Ours,
    Ractor,
    Map,
    Tokio,
}

/// What a load gave.
struct Load {
    /// Turns a second.
    rate: f64,
    /// What each took, in microseconds, in ascending order.
    took: Vec<f64>,
    left: usize,
}

impl Load {
    fn quantile(&self, quantile: f64) -> f64 {
        #[expect(clippy::cast_sign_loss, reason = "a quantile is not negative")]
        let place = (self.took.len() as f64 * quantile) as usize;
        self.took.get(place).copied().unwrap_or_default()
    }
}

/// What runs a caller's turns.
enum Runs {
    Ours(ThreadHandle),
    Ractor(RawActor),
    Map(std::sync::Arc<Thread>),
    Tokio,
}

impl Runs {
    async fn turn(&self, n: u64) -> Result<(), Broken> {
        match self {
            Self::Ours(thread) => match thread.run("go").await? {
                Outcome::Completed { .. } => Ok(()),
                other => Err(Broken::Baseline(format!("a turn ended as {other:?}"))),
            },
            Self::Ractor(actor) => actor.turn().await.map(drop).map_err(Broken::Baseline),
            Self::Map(thread) => thread.run(n, "go").await.map(drop).map_err(Broken::Baseline),
            Self::Tokio => Task::turn().await.map(drop).map_err(Broken::Baseline),
        }
    }
}

async fn load_of(kind: Kind, threads: usize, time: Duration) -> Result<Load, Broken> {
    let mut runtime = None;
    let map = LockedMap::default();
    let mut runs = Vec::with_capacity(threads);
    for n in 0..threads {
        runs.push(match kind {
            Kind::Ours => {
                if runtime.is_none() {
                    runtime = Some(load::runtime().await?);
                }
                let Some(runtime) = &runtime else { continue };
                Runs::Ours(runtime.spawn(coppicer::SpawnThread::new()).await?)
            }
            Kind::Ractor => Runs::Ractor(RawActor::start().await.map_err(Broken::Baseline)?),
            Kind::Map => Runs::Map(map.spawn(load::id(n)).await),
            Kind::Tokio => Runs::Tokio,
        });
    }
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for runs in runs {
        callers.spawn(async move {
            let mut took = Vec::new();
            let mut before = Instant::now();
            while begun.elapsed() < time {
                runs.turn(took.len() as u64 + 1).await?;
                let after = Instant::now();
                took.push((after - before).as_secs_f64() * 1e6);
                before = after;
            }
            if let Runs::Ractor(actor) = runs {
                actor.end().await.map_err(Broken::Baseline)?;
            }
            Ok::<_, Broken>(took)
        });
    }
    let mut took = Vec::new();
    while let Some(caller) = callers.join_next().await {
        took.append(&mut caller??);
    }
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    map.close_all().await;
    let left = match runtime {
        Some(runtime) => load::end(runtime).await?,
        None => 0,
    };
    took.sort_unstable_by(f64::total_cmp);
    Ok(Load { rate, took, left })
}
