//! `coppicer stress lookup`: what does it cost to look at a thread, also while others come and go?

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coppicer::{Runtime, SpawnThread, ThreadHandle, ThreadId};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::Broken;
use super::baselines::locked_map::{LockedMap, Thread};
use super::baselines::ractor_actor::RawActor;
use super::figure::Target;
use super::frame::{Common, Frame, Layout};
use super::load::{self, MAP, PATIENCE, RACTOR, nanos_each, on_worker};
use super::rounds::Rounds;
use crate::cli::{Failure, duration};

/// Looks between two pauses of whoever looks: others have work on its worker.
const BURST: usize = 256;

/// Threads that are spawned and closed in a second, while it is looked.
const CHURN: u64 = 1_000;

/// Looks at threads: by a handle, by an id, quiet and while 1,000 a second are spawned and closed.
///
/// A status is what a thread publishes of itself; nobody is asked for it. Beside it stands a call of a raw
/// ractor actor, and the locked map, which has a watch channel for it. A question that the thread's actor
/// answers itself is measured too (an interrupt of a thread that does nothing). Targets: a status through a
/// handle at most 1.3 times a ractor call, a look-up in the directory at most 150 ns; 99.9 % of the looks
/// while threads come and go at most twice as long as 99.9 % of the quiet ones.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Threads that there are; 10,000 if not said, with --smoke 100.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500_000))]
    threads: Option<u32>,
    /// How long each look is measured in a round; 1s if not said, with --quick 400ms, with --smoke 10ms.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    round: Option<Duration>,
    /// Rounds; 5 if not said (9 with --compare), with --quick 3 (5).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
}

/// One kind of look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The status, through a handle.
    Status,
    /// The handle, by the id.
    Directory,
    /// An answer of the actor.
    Ask,
}

const LOOKS: [(Look, &str); 3] = [
    (Look::Status, "status through a handle"),
    (Look::Directory, "look-up in the directory"),
    (Look::Ask, "an answer of the actor"),
];

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let threads = args.threads.map_or(common.pick(100, 10_000, 10_000), |n| n as usize);
    let millis = Duration::from_millis;
    let time = args.round.unwrap_or(common.pick(millis(10), millis(400), millis(1_000)));
    let count = common.rounds(args.rounds);
    let mut frame = Frame::new("lookup", common, Layout::Figures, count * LOOKS.len());
    let looked = Looked::new(threads, common.compare).await?;
    for (look, name) in LOOKS {
        let mut mean = Rounds::new(format!("{name}, mean"), "ns");
        let mut tail = Rounds::new(format!("{name}, p99.9 while threads come and go"), "ns");
        let mut map_tail = Rounds::new(format!("locked map: {name}, p99.9 likewise"), "ns");
        for round in 1..=count {
            frame.step(&format!("{name}, round {round} of {count}"));
            if common.compare && look != Look::Directory {
                let of = Of::Ractor(looked.actors.clone());
                mean.beside(RACTOR, on_worker(run(of, Look::Ask, time)).await?.mean);
            }
            if common.compare && look != Look::Ask {
                let of = || Of::Map(looked.map.clone(), looked.map_threads.clone());
                let quiet = on_worker(run(of(), look, time)).await?;
                mean.beside(MAP, quiet.mean);
                let churn = Churn::of_map(looked.map.clone());
                map_tail.ours(on_worker(run(of(), look, time)).await?.p999);
                churn.end().await?;
                map_tail.beside("quiet", quiet.p999);
            }
            let of =
                || Of::Ours(looked.runtime.clone(), looked.handles.clone(), looked.ids.clone());
            let quiet = on_worker(run(of(), look, time)).await?;
            mean.ours(quiet.mean);
            let churn = Churn::of_runtime(looked.runtime.clone());
            tail.ours(on_worker(run(of(), look, time)).await?.p999);
            churn.end().await?;
            tail.beside("quiet", quiet.p999);
        }
        let of_mean: &[(Option<&str>, Target)] = match look {
            Look::Status => &[(Some(RACTOR), Target::RatioAtMost(1.3))],
            Look::Directory => &[(None, Target::AtMost(150.0))],
            Look::Ask => &[],
        };
        frame.rounds(mean, of_mean);
        let twice = (Some("quiet"), Target::RatioAtMost(2.0));
        let of_tail = if look == Look::Ask { &[][..] } else { &[twice][..] };
        frame.rounds(tail, of_tail);
        if common.compare && look != Look::Ask {
            frame.rounds(map_tail, &[]);
        }
    }
    looked.actor.end_all().await.map_err(Broken::Baseline)?;
    looked.map.close_all().await;
    drop((looked.handles, looked.map_threads, looked.actors));
    let left = load::end(looked.runtime).await?;
    frame.judge(frame.figure("left by the audit", left as f64, "rows"), Target::Exactly(0.0));
    Ok(frame)
}

/// What is looked at.
struct Looked {
    runtime: Runtime,
    handles: Arc<[ThreadHandle]>,
    ids: Arc<[ThreadId]>,
    map: LockedMap,
    map_threads: Arc<[Arc<Thread>]>,
    actor: RawActor,
    /// Below it.
    actors: Arc<[RawActor]>,
}

impl Looked {
    async fn new(threads: usize, compare: bool) -> Result<Self, Broken> {
        let runtime = load::runtime().await?;
        let handles = load::roots(&runtime, threads).await?;
        let ids = handles.iter().map(ThreadHandle::id).collect();
        let map = LockedMap::default();
        let mut map_threads = Vec::new();
        for n in 0..if compare { threads } else { 0 } {
            map_threads.push(map.spawn(load::id(n)).await);
        }
        let actor = RawActor::start().await.map_err(Broken::Baseline)?;
        let mut actors = Vec::new();
        for _ in 0..if compare { threads } else { 0 } {
            actors.push(actor.spawn().await.map_err(Broken::Baseline)?);
        }
        let (handles, map_threads, actors) = (handles.into(), map_threads.into(), actors.into());
        Ok(Self { runtime, handles, ids, map, map_threads, actor, actors })
    }
}

/// What one kind of look is tried on.
enum Of {
    Ours(Runtime, Arc<[ThreadHandle]>, Arc<[ThreadId]>),
    Map(LockedMap, Arc<[Arc<Thread>]>),
    Ractor(Arc<[RawActor]>),
}

impl Of {
    async fn look(&self, look: Look, n: usize) -> Result<(), Broken> {
        match (self, look) {
            (Self::Ours(_, handles, _), Look::Status) => {
                black_box(handles[n % handles.len()].status());
            }
            (Self::Ours(runtime, _, ids), Look::Directory) => {
                let found = runtime.get(ids[n % ids.len()]);
                black_box(found).ok_or(Broken::NotInTime { what: "a look-up" })?;
            }
            (Self::Ours(_, handles, _), Look::Ask) => {
                black_box(handles[n % handles.len()].interrupt().await?);
            }
            (Self::Map(_, threads), Look::Status | Look::Ask) => {
                black_box(threads[n % threads.len()].status());
            }
            (Self::Map(map, threads), Look::Directory) => {
                black_box(map.get(load::id(n % threads.len())).await);
            }
            (Self::Ractor(actors), _) => {
                black_box(actors[n % actors.len()].ask().await.map_err(Broken::Baseline)?);
            }
        }
        Ok(())
    }
}

/// What was measured of one kind of look, in nanoseconds.
struct Took {
    mean: f64,
    p999: f64,
}

/// Looks for half of `time` without a clock in between, then for the other half with one for each.
async fn run(of: Of, look: Look, time: Duration) -> Result<Took, Broken> {
    let half = time / 2;
    // Threads are looked at out of order, as they come to a host. A step that shares no factor with
    // their count reaches all of them.
    let stride = 7_919;
    let (mut n, mut looks) = (0_usize, 0_usize);
    let mut spent = Duration::ZERO;
    let begun = Instant::now();
    while begun.elapsed() < half {
        let burst = Instant::now();
        for _ in 0..BURST {
            n = n.wrapping_add(stride);
            of.look(look, n).await?;
        }
        spent += burst.elapsed();
        looks += BURST;
        tokio::task::yield_now().await;
    }
    let mean = spent.as_secs_f64() * 1e9 / looks.max(1) as f64;
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < half {
        for _ in 0..BURST {
            n = n.wrapping_add(stride);
            let before = Instant::now();
            of.look(look, n).await?;
            took.push(nanos_each(before, 1));
        }
        tokio::task::yield_now().await;
    }
    took.sort_unstable_by(f64::total_cmp);
    let p999 = took.get(took.len() * 999 / 1_000).copied().unwrap_or_default();
    Ok(Took { mean, p999 })
}

/// Threads that come and go beside those who look.
struct Churn {
    over: Arc<AtomicBool>,
    task: JoinHandle<Result<(), Broken>>,
}

impl Churn {
    fn of_runtime(runtime: Runtime) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let task = tokio::spawn(async move {
            let mut tick = ticks();
            while !until.load(Ordering::Relaxed) {
                tick.tick().await;
                let thread = runtime.spawn(SpawnThread::new()).await?;
                thread.close(PATIENCE).await?;
            }
            Ok(())
        });
        Self { over, task }
    }

    fn of_map(map: LockedMap) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let task = tokio::spawn(async move {
            let mut tick = ticks();
            let id = ThreadId::from_parts(u64::from(u32::MAX), [0; 10]);
            while !until.load(Ordering::Relaxed) {
                tick.tick().await;
                drop(map.spawn(id).await);
                map.close(id).await;
            }
            Ok(())
        });
        Self { over, task }
    }

    async fn end(self) -> Result<(), Broken> {
        self.over.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// One for each thread that comes and goes; those that were missed are made up for.
fn ticks() -> tokio::time::Interval {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / CHURN as u32);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    tick
}
