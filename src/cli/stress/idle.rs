//! `coppicer stress idle`: how much memory does a thread take that does nothing?
//!
//! What a host pays is what its process grows by, slack of the allocator included. So each kind is
//! measured in a process of its own, which is this command again: memory that another kind gave back would
//! be taken first. `benches/memory.rs` counts the bytes that are asked for.

use std::process::{Command, Stdio};
use std::time::Duration;

use coppicer::{Durability, Limits, Phase, Runtime, SqliteOptions, SqliteStore, ThreadHandle};
use futures::{StreamExt, TryStreamExt, stream};

use super::Broken;
use super::baselines::locked_map::LockedMap;
use super::baselines::ractor_actor::RawActor;
use super::baselines::tokio_task::Task;
use super::figure::Target;
use super::frame::{Common, Frame, Layout};
use super::load::{self, MAP, PATIENCE, RACTOR, TOKIO, instant_engine};
use super::rounds::Rounds;
use crate::cli::Failure;
use crate::cli::memory::resident_bytes;

/// Threads that go to sleep at once: memory of those with an actor must not hide what sleepers take.
const BATCH: usize = 500;

/// How many of all threads are there before memory is looked at: one in so many.
const WARM: usize = 20;

/// Measures the memory of threads that do nothing.
///
/// Bytes by which a process grows for each thread: with an actor, before and after a first turn, on a
/// store in memory, which has their records; without one, on a store on disk. Each kind in a process of its
/// own. Targets: with an actor at most 1.25 times a raw ractor actor, without one at most 300 bytes. Linux
/// only: elsewhere it says that nothing was measured.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Threads of each kind; 100,000 if not said, with --smoke 400. Of those without an actor half of
    /// it, with --quick.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=500_000))]
    threads: Option<u32>,
    /// Rounds; 3 if not said, with --quick or --smoke 1: memory hardly differs from one to the next.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Measures one kind in this process, and prints its bytes.
    #[arg(long, value_enum, hide = true)]
    alone: Option<Kind>,
}

/// What does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Tokio,
    Map,
    Ractor,
    /// A thread with an actor, before its first turn.
    Fresh,
    /// A thread with an actor, after its first turn.
    Resident,
    /// A thread whose actor is gone, and whose handle too.
    Dormant,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Map => "map",
            Self::Ractor => "ractor",
            Self::Fresh => "fresh",
            Self::Resident => "resident",
            Self::Dormant => "dormant",
        }
    }
}

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let threads = args.threads.map_or(common.pick(400, 100_000, 100_000), |n| n as usize);
    if let Some(kind) = args.alone {
        let grown = alone(kind, threads).await?;
        let mut frame = Frame::new("idle", common, Layout::Figures, 1);
        frame.give(frame.figure(kind.name(), grown, "B"));
        return Ok(frame);
    }
    let rounds = args.rounds.map_or(common.pick(1, 1, 3), |rounds| rounds as usize);
    let mut frame = Frame::new("idle", common, Layout::Figures, rounds);
    if resident_bytes().is_none() {
        frame.note("nothing measured: the memory of a process is known on Linux alone");
        return Ok(frame);
    }
    let mut fresh = Rounds::new(format!("{threads} threads with an actor, before a turn"), "B");
    let mut resident = Rounds::new(format!("{threads} threads with an actor, after a turn"), "B");
    let sleepers = if common.quick { threads / 2 } else { threads };
    let mut dormant = Rounds::new(format!("{sleepers} threads without an actor"), "B");
    for round in 1..=rounds {
        frame.step(&format!("round {round} of {rounds}"));
        if common.compare {
            for (name, kind) in [(RACTOR, Kind::Ractor), (MAP, Kind::Map), (TOKIO, Kind::Tokio)] {
                let bytes = in_a_process(kind, threads)?;
                fresh.beside(name, bytes);
                resident.beside(name, bytes);
            }
        }
        fresh.ours(in_a_process(Kind::Fresh, threads)?);
        resident.ours(in_a_process(Kind::Resident, threads)?);
        dormant.ours(in_a_process(Kind::Dormant, sleepers)?);
    }
    let beside_ractor = [(Some(RACTOR), Target::RatioAtMost(1.25))];
    frame.rounds(fresh, &beside_ractor);
    frame.rounds(resident, &[]);
    frame.rounds(dormant, &[(None, Target::AtMost(300.0))]);
    Ok(frame)
}

/// Has another process measure a kind.
fn in_a_process(kind: Kind, threads: usize) -> Result<f64, Broken> {
    let broken = |what: &dyn std::fmt::Display| Broken::Child(what.to_string());
    let this = std::env::current_exe().map_err(|e| broken(&e))?;
    let ran = Command::new(this)
        .args(["stress", "idle", "--json", "--alone", kind.name(), "--threads"])
        .arg(threads.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| broken(&e))?;
    if !ran.status.success() {
        return Err(broken(&ran.status));
    }
    let figure: super::figure::Figure =
        serde_json::from_slice(&ran.stdout).map_err(|e| broken(&e))?;
    Ok(figure.value)
}

/// Bytes that this process grows by for each thread of a kind.
async fn alone(kind: Kind, threads: usize) -> Result<f64, Broken> {
    let warm = (threads / WARM).max(1);
    let now = || resident_bytes().map(|bytes| bytes as f64);
    let unknown = || Broken::Child("the memory of this process is not known".to_owned());
    let each = |before: f64, count: usize| {
        let after = now().ok_or_else(unknown)?;
        Ok((after - before) / count as f64)
    };
    match kind {
        Kind::Tokio => {
            let mut held: Vec<Task> = (0..warm).map(|_| Task::spawn()).collect();
            held.reserve_exact(threads);
            let before = now().ok_or_else(unknown)?;
            held.extend((0..threads).map(|_| Task::spawn()));
            settle().await;
            let grown = each(before, threads);
            Task::end_all(held).await;
            grown
        }
        Kind::Map => {
            let map = LockedMap::default();
            for n in 0..warm {
                map.spawn(load::id(n)).await;
            }
            let before = now().ok_or_else(unknown)?;
            for n in 0..threads {
                map.spawn(load::id(warm + n)).await;
            }
            settle().await;
            let grown = each(before, threads);
            map.close_all().await;
            grown
        }
        Kind::Ractor => {
            let root = RawActor::start().await.map_err(Broken::Baseline)?;
            let mut held = Vec::with_capacity(warm + threads);
            for _ in 0..warm {
                held.push(root.spawn().await.map_err(Broken::Baseline)?);
            }
            let before = now().ok_or_else(unknown)?;
            for _ in 0..threads {
                held.push(root.spawn().await.map_err(Broken::Baseline)?);
            }
            settle().await;
            let grown = each(before, threads);
            root.end_all().await.map_err(Broken::Baseline)?;
            grown
        }
        Kind::Fresh | Kind::Resident => {
            let runtime = load::runtime().await?;
            let mut held = resident(&runtime, warm, kind).await?;
            held.reserve_exact(threads);
            let before = now().ok_or_else(unknown)?;
            for _ in 0..threads.div_ceil(BATCH) {
                held.append(&mut resident(&runtime, BATCH, kind).await?);
            }
            settle().await;
            let grown = each(before, held.len() - warm);
            drop(held);
            load::end(runtime).await?;
            grown
        }
        Kind::Dormant => {
            let broken = |e: &dyn std::fmt::Display| Broken::Child(e.to_string());
            let folder = tempfile::tempdir().map_err(|e| broken(&e))?;
            let options = SqliteOptions::new().durability(Durability::Process);
            let store = SqliteStore::open_with(folder.path().join("store.db"), options);
            // Who was looked at while its actor was on its way out is looked at again after this.
            let mut limits = Limits::default();
            limits.idle_after = Duration::from_secs(2);
            // A buffer of all threads, and not of one: full before it is measured.
            limits.journal_events_max = 1_024;
            let builder = Runtime::builder().engine(instant_engine()).limits(limits);
            let runtime = load::start(builder.store(store.map_err(|e| broken(&e))?)).await?;
            let batches = threads.div_ceil(BATCH);
            // More than of the others: caches of the store and the journal of facts fill first.
            for _ in 0..batches.div_ceil(4) {
                sleep(&runtime).await?;
            }
            let before = now().ok_or_else(unknown)?;
            for _ in 0..batches {
                sleep(&runtime).await?;
            }
            left(&runtime, 0).await?;
            let grown = each(before, batches * BATCH);
            load::end(runtime).await?;
            grown
        }
    }
}

async fn resident(
    runtime: &Runtime,
    count: usize,
    kind: Kind,
) -> Result<Vec<ThreadHandle>, Broken> {
    let threads = load::roots(runtime, count).await?;
    if kind == Kind::Resident {
        for thread in &threads {
            thread.run("go").await?;
        }
    }
    Ok(threads)
}

/// A batch of threads that come, go to sleep, and leave memory.
async fn sleep(runtime: &Runtime) -> Result<(), Broken> {
    let threads = load::roots(runtime, BATCH).await?;
    let asleep = threads.iter().map(ThreadHandle::hibernate);
    stream::iter(asleep).buffered(BATCH).try_collect::<Vec<()>>().await?;
    let asleep = async {
        while threads.iter().any(|thread| thread.view().phase != Phase::Dormant) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let asleep = tokio::time::timeout(PATIENCE, asleep).await;
    asleep.map_err(|_| Broken::NotInTime { what: "that threads fall asleep" })?;
    drop(threads);
    // A few are held by an actor on its way out when they are looked at. The next batch need not wait.
    left(runtime, BATCH / 50).await
}

/// Waits until all but so many threads have left memory.
async fn left(runtime: &Runtime, but: usize) -> Result<(), Broken> {
    let left = async {
        while runtime.list().len() > but {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let left = tokio::time::timeout(PATIENCE, left).await;
    left.map_err(|_| Broken::NotInTime { what: "that sleeping threads leave memory" })
}

/// Lets those that were spawned come to rest.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}
