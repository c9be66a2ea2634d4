//! `coppicer stress fork`: does a fork cost the same, however long its history is?

use std::time::Duration;

use coppicer::{ForkPoint, ImportThread, NewThread, Runtime, SqliteStore, ThreadHandle, ThreadId};
use tokio::time::Instant;

use super::Broken;
use super::figure::{Target, median};
use super::frame::{Common, Frame, Layout};
use super::load::{self, on_worker};
use super::rounds::Rounds;
use super::sessions::session;
use crate::cli::Failure;
use crate::cli::memory::resident_bytes;

/// A fork on disk, in milliseconds.
const DURABLE: Target = Target::AtMost(1.0);

/// The longest history beside the shortest.
const FLAT: Target = Target::RatioAtMost(2.0);

/// Forks of the big thread.
const MANY: usize = 1_000;

/// Forks threads with short and long histories, in memory and on disk, each with an actor of its own.
///
/// A fork goes the whole way: planned, made durable, brought up, answered. In memory it stands beside a
/// spawn in the same runtime, since it is one. Then 1,000 forks of one thread of 100 MB. Targets: on disk
/// a median of 1 ms; the longest history at most twice the shortest; the 1,000 in a second and 50 MB.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Records of the histories; 1,000, 10,000 and 100,000 if not said, with --smoke 20 and 200.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(10..=2_000_000))]
    records: Vec<u32>,
    /// Forks of each; 200 if not said, with --smoke 5.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    forks: Option<u32>,
    /// Bytes of the big thread; 100,000,000 if not said, with --smoke 100,000.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(10_000..))]
    big: Option<u32>,
    #[command(flatten)]
    disk: load::Disk,
}

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let usual =
        common.pick(vec![20, 200], vec![1_000, 10_000, 100_000], vec![1_000, 10_000, 100_000]);
    let lengths = if args.records.is_empty() { usual } else { args.records.clone() };
    let forks = args.forks.map_or(common.pick(5, 200, 200), |n| n as usize);
    let mut frame = Frame::new("fork", common, Layout::Figures, lengths.len() * 2 + 1);
    for place in ["in memory", "on disk"] {
        let mut shortest = None;
        for &length in &lengths {
            frame.step(&format!("{length} records, {place}"));
            let folder = args.disk.folder()?;
            let builder = Runtime::builder().engine(load::instant_engine());
            let on_disk = place == "on disk";
            let builder = if on_disk {
                let store = SqliteStore::open(folder.path().join("store.db"));
                builder.store(store.map_err(|e| Broken::Disk(e.to_string()))?)
            } else {
                builder
            };
            let runtime = load::start(builder).await?;
            let took = on_worker(timed(runtime.clone(), length as usize, forks)).await?;
            load::end(runtime).await?;
            let (unit, each) = if on_disk { ("ms", 1e3) } else { ("µs", 1e6) };
            let fork = took.fork * each;
            let name = format!("{length} records, {place}");
            let figure = frame.figure(name.clone(), fork, unit);
            if on_disk {
                frame.judge(figure, DURABLE);
            } else {
                frame.give(figure.beside("a spawn", took.spawn * each));
            }
            match shortest {
                None => shortest = Some(fork),
                Some(shortest) if Some(&length) == lengths.last() => {
                    let figure = frame.figure(name, fork, unit);
                    frame.judge(figure.beside("the shortest", shortest), FLAT);
                }
                Some(_) => {}
            }
        }
    }
    let bytes = args.big.map_or(common.pick(100_000, 100_000_000, 100_000_000), |n| n as usize);
    many(&mut frame, bytes, common).await?;
    Ok(frame)
}

/// Seconds of the median.
struct Took {
    fork: f64,
    spawn: f64,
}

async fn import(runtime: &Runtime, records: usize, text: &str) -> Result<ThreadId, Broken> {
    let id = load::id(1);
    let new = NewThread::root(id, 1);
    runtime
        .import(ImportThread::new(new, session(records as u64, text)))
        .await
        .map_err(Broken::Store)?;
    Ok(id)
}

async fn timed(runtime: Runtime, records: usize, forks: usize) -> Result<Took, Broken> {
    let text = "What a user or an agent says in a line of this session.";
    let source = import(&runtime, records, text).await?;
    let (mut fork, mut spawn) = (Vec::new(), Vec::new());
    for _ in 0..forks {
        let begun = Instant::now();
        let forked = runtime.fork(source, ForkPoint::Interrupted).await?;
        fork.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let spawned = runtime.spawn(coppicer::SpawnThread::new()).await?;
        spawn.push(begun.elapsed().as_secs_f64());
        drop((forked, spawned));
    }
    Ok(Took { fork: median(fork), spawn: median(spawn) })
}

/// Many forks of one big thread.
async fn many(frame: &mut Frame, bytes: usize, common: Common) -> Result<(), Failure> {
    let forks = common.pick(20, MANY, MANY);
    frame.step(&format!("{forks} forks of a thread of {} MB", bytes / 1_000_000));
    let text = "x".repeat((bytes / 5 / 100).min(2_300));
    // A turn has the text about six times.
    let records = (bytes / (text.len() + 200)) * 10 / 7;
    let mut seconds = Rounds::new(format!("{forks} forks of {} MB", bytes / 1_000_000), "s");
    let mut grown = Rounds::new(format!("{forks} forks of {} MB, memory", bytes / 1_000_000), "MB");
    for _ in 0..common.pick(1, 1, 3) {
        let runtime = load::runtime().await?;
        let source = import(&runtime, records, &text).await?;
        let before = resident_bytes();
        let (runtime, took) = on_worker(async move {
            let begun = Instant::now();
            let mut held: Vec<ThreadHandle> = Vec::with_capacity(forks);
            for _ in 0..forks {
                held.push(runtime.fork(source, ForkPoint::Interrupted).await?);
            }
            let took: Duration = begun.elapsed();
            Ok((runtime, (took, held)))
        })
        .await?;
        seconds.ours(took.0.as_secs_f64());
        if let (Some(before), Some(after)) = (before, resident_bytes()) {
            grown.ours(after.saturating_sub(before) as f64 / 1e6);
        }
        drop(took.1);
        load::end(runtime).await?;
    }
    frame.rounds(seconds, &[(None, Target::AtMost(1.0))]);
    frame.rounds(grown, &[(None, Target::AtMost(50.0))]);
    Ok(())
}
