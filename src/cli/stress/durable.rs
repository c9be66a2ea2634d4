//! `coppicer stress durable`: what does it cost that an acknowledgement is kept (P2)?

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use coppicer::{
    Batch, Done, Fence, NewRecord, NewThread, RecordClass, Runtime, Seq, SqliteStore, ThreadStore,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Broken;
use super::baselines::bare_sqlite::BareSqlite;
use super::baselines::jsonl::Jsonl;
use super::baselines::keeper::{Keeper, RECORD_BYTES, told};
use super::figure::Target;
use super::frame::{Common, Frame, Layout};
use super::load::{self, on_worker};
use super::rounds::Rounds;
use crate::cli::{Failure, duration};

/// Baselines of the appends.
const BARE: &str = "bare rusqlite, same rows";
/// See [`BARE`].
const JSONL: &str = "JSONL file per thread";

/// What is kept of bare rusqlite's throughput.
const BESIDE_BARE: Target = Target::RatioAtLeast(0.8);

/// Threads at which files have to be left behind, and how far.
const BESIDE_FILES: (u64, Target) = (1_000, Target::RatioAtLeast(8.0));

/// Appends records and runs turns on a store on disk, each acknowledged after its flush.
///
/// As many callers as threads, each waiting for its last one. Baselines of the appends: the same rows in
/// bare rusqlite, and a JSONL file per thread that is flushed after each line. Turns stand beside the same
/// in memory. Targets: 0.8 of bare rusqlite, eight times the files at 1,000 threads.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Threads at once, one part for each; 1, 64 and 1,000 if not said, with --smoke 1 and 8.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=10_000))]
    threads: Vec<u64>,
    /// How long each part of a round is measured; 2s if not said, with --quick 300ms, with --smoke 30ms.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    round: Option<Duration>,
    /// Rounds; 5 if not said (9 with --compare), with --quick 3 (5).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    #[command(flatten)]
    disk: load::Disk,
}

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let millis = Duration::from_millis;
    let time = args.round.unwrap_or(common.pick(millis(30), millis(300), millis(2_000)));
    let usual: &[u64] = common.pick(&[1, 8], &[1, 64, 1_000], &[1, 64, 1_000]);
    let counts = if args.threads.is_empty() { usual } else { &args.threads };
    let rounds = common.rounds(args.rounds);
    let mut frame = Frame::new("durable", common, Layout::Figures, counts.len() * rounds);
    for &threads in counts {
        let mut appends = Rounds::new(format!("appends, {threads} at once"), "/s");
        let mut turns = Rounds::new(format!("turns, {threads} threads"), "/s");
        for round in 1..=rounds {
            frame.step(&format!("{threads} threads, round {round} of {rounds}"));
            if common.compare {
                let place = args.disk.folder()?;
                let bare = BareSqlite::new(place.path(), threads).map_err(Broken::Baseline)?;
                appends.beside(BARE, on_worker(appended(bare, threads, time)).await?);
                let place = args.disk.folder()?;
                let files = Jsonl::new(place.path(), threads).map_err(Broken::Baseline)?;
                appends.beside(JSONL, on_worker(appended(files, threads, time)).await?);
                turns.beside("in memory", on_worker(turned(None, threads, time)).await?);
            }
            let place = args.disk.folder()?;
            let ours = Ours::new(place.path(), threads).await?;
            appends.ours(on_worker(appended(ours, threads, time)).await?);
            let place = args.disk.folder()?;
            let store = open(place.path())?;
            turns.ours(on_worker(turned(Some(store), threads, time)).await?);
        }
        let mut targets = vec![(Some(BARE), BESIDE_BARE)];
        if threads == BESIDE_FILES.0 {
            targets.push((Some(JSONL), BESIDE_FILES.1));
        }
        frame.rounds(appends, &targets);
        frame.rounds(turns, &[]);
    }
    Ok(frame)
}

fn open(folder: &Path) -> Result<SqliteStore, Broken> {
    SqliteStore::open(folder.join("store.db")).map_err(|e| Broken::Disk(e.to_string()))
}

/// Our store, with the fences of its threads.
struct Ours {
    store: SqliteStore,
    fences: Vec<Fence>,
}

impl Ours {
    async fn new(folder: &Path, threads: u64) -> Result<Self, Broken> {
        let store = open(folder)?;
        let mut fences = Vec::new();
        for n in 0..threads {
            let (done, made) = Done::channel();
            store.create(NewThread::root(load::id(n as usize + 1), 1), Vec::new(), done);
            fences.push(made.await.map_err(Broken::Store)?.fence);
        }
        Ok(Self { store, fences })
    }
}

impl Keeper for Ours {
    async fn append(&self, n: u64, at: u64) -> Result<(), String> {
        let raw = vec![b'x'; RECORD_BYTES].into();
        let record = NewRecord { at_ms: 1, class: RecordClass::Other, raw };
        let batch = Batch { records: vec![record], ..Batch::default() };
        let (done, head) = Done::channel();
        self.store.append(self.fences[n as usize], Seq(at), batch, done);
        head.await.map(drop).map_err(told)
    }
}

/// Appends a second of so many callers.
async fn appended(keeper: impl Keeper, threads: u64, time: Duration) -> Result<f64, Broken> {
    let keeper = Arc::new(keeper);
    let work = |n| {
        let keeper = keeper.clone();
        move |at| {
            let keeper = keeper.clone();
            async move { keeper.append(n, at).await.map_err(Broken::Baseline) }
        }
    };
    rate(threads, time, work).await
}

/// Turns a second of so many threads.
async fn turned(store: Option<SqliteStore>, threads: u64, time: Duration) -> Result<f64, Broken> {
    let builder = Runtime::builder().engine(load::instant_engine());
    let builder = match store {
        Some(store) => builder.store(store),
        None => builder,
    };
    let runtime = load::start(builder).await?;
    let handles = load::roots(&runtime, threads as usize).await?;
    let work = |n: u64| {
        let thread = handles[n as usize].clone();
        move |_| {
            let thread = thread.clone();
            async move { thread.run("go").await.map(drop).map_err(Broken::from) }
        }
    };
    let rate = rate(threads, time, work).await?;
    drop(handles);
    load::end(runtime).await?;
    Ok(rate)
}

/// How often callers get their work done in a second. Each is told how often it did before.
async fn rate<W, F>(callers: u64, time: Duration, work: impl Fn(u64) -> W) -> Result<f64, Broken>
where
    W: Fn(u64) -> F + Send + 'static,
    F: Future<Output = Result<(), Broken>> + Send + 'static,
{
    let over = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for n in 0..callers {
        let (over, count, work) = (over.clone(), count.clone(), work(n));
        tasks.spawn(async move {
            let mut done = 0;
            while !over.load(Ordering::Relaxed) {
                work(done).await?;
                done += 1;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Broken>(())
        });
    }
    // Not the start, where files are made and caches are cold.
    tokio::time::sleep(time / 4).await;
    let (before, begun) = (count.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(time).await;
    let done = count.load(Ordering::Relaxed) - before;
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(rate)
}
