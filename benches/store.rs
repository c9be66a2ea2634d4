//! What does it cost to keep threads on disk: an append, a fork, the opening of a store?
//!
//! Units of work: one record of 1,184 bytes appended and acknowledged, in a closed loop of as many
//! threads; one fork of a thread; one opening of a store with dormant threads. Baselines in the same
//! run, in turns: the same rows in bare rusqlite group commits (no fence, no seals, no trees), and one
//! JSONL file per thread with an fdatasync per append, as agent hosts keep theirs.
//!
//! `cargo bench --bench store` (some minutes), `-- --quick` (seconds), `-- --threads 1000` (one row
//! of the appends). `COPPICER_BENCH_DIR` says on
//! which disk; the system's folder for temporary files if it does not.

mod baselines;
mod size;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use baselines::bare_sqlite::BareSqlite;
use baselines::jsonl::Jsonl;
use baselines::keeper::{Keeper, RECORD_BYTES, told};

use coppicer::{
    Base, Batch, Done, Durability, Fence, NewRecord, NewThread, RecordClass, Runtime,
    ScriptedEngine, Seq, SqliteOptions, SqliteStore, ThreadId, ThreadStore,
};
use size::Size;
use tempfile::TempDir;
use tokio::time::Instant;

fn main() {
    let size = Size::of_args();
    if size.is_left_out("store") {
        return;
    }
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a tokio runtime starts");
    tokio.block_on(async {
        appends(size).await;
        forks(size).await;
        opening(size).await;
    });
}

fn folder() -> TempDir {
    match std::env::var_os("COPPICER_BENCH_DIR") {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    }
    .expect("a folder for the bench can be made")
}

fn id(n: u64) -> ThreadId {
    ThreadId::from_parts(n, [0; 10])
}

fn record() -> NewRecord {
    NewRecord { at_ms: 1, class: RecordClass::Other, raw: vec![b'x'; RECORD_BYTES].into() }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

// Appends.

async fn appends(size: Size) {
    let (rounds, millis) = size.pick((1, 20), (1, 300), (5, 2_000));
    let time = Duration::from_millis(millis);
    println!(
        "durable appends a second ({rounds} rounds in turns, medians; p50 and p99 of the last)"
    );
    println!(
        "{:>8} {:>14} {:>14} {:>14} {:>10} {:>10} {:>10} {:>10}",
        "threads", "coppicer", "bare rusqlite", "jsonl", "/ bare", "/ jsonl", "p50 ms", "p99 ms"
    );
    // One row, for a profile.
    let only = std::env::args().skip_while(|arg| arg != "--threads").nth(1);
    let only: Option<u64> = only.and_then(|count| count.parse().ok());
    let counts = size.pick([1, 2, 8], [1, 64, 1_000], [1, 64, 1_000]);
    for threads in counts.into_iter().filter(|&threads| only.is_none_or(|n| n == threads)) {
        let (mut ours, mut bare, mut jsonl) = (Vec::new(), Vec::new(), Vec::new());
        let mut latencies = (0.0, 0.0);
        for _ in 0..rounds {
            let place = folder();
            let (rate, p50, p99) =
                run(Coppicer::new(place.path(), threads).await, threads, time).await;
            latencies = (p50, p99);
            ours.push(rate);
            let place = folder();
            bare.push(
                run(
                    BareSqlite::new(place.path(), threads).expect("a database is made"),
                    threads,
                    time,
                )
                .await
                .0,
            );
            let place = folder();
            jsonl.push(
                run(Jsonl::new(place.path(), threads).expect("files are made"), threads, time)
                    .await
                    .0,
            );
        }
        let (ours, bare, jsonl) = (median(&mut ours), median(&mut bare), median(&mut jsonl));
        println!(
            "{threads:>8} {ours:>14.0} {bare:>14.0} {jsonl:>14.0} {:>10.2} {:>10.1} {:>10.2} {:>10.2}",
            ours / bare,
            ours / jsonl,
            latencies.0,
            latencies.1
        );
    }
}

/// Appends a second, and the median and 99th percentile of their times in milliseconds.
async fn run(keeper: impl Keeper, threads: u64, time: Duration) -> (f64, f64, f64) {
    let keeper = Arc::new(keeper);
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..threads)
        .map(|n| {
            let (keeper, stop, count) = (keeper.clone(), stop.clone(), count.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut at = 0;
                while !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    keeper.append(n, at).await.expect("an append is kept");
                    times.push(started.elapsed().as_secs_f64() * 1e3);
                    at += 1;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                times
            })
        })
        .collect();
    // Not the start, where files are made and caches are cold.
    tokio::time::sleep(time / 4).await;
    let (before, started) = (count.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(time).await;
    let done = count.load(Ordering::Relaxed) - before;
    let rate = done as f64 / started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a task of the bench ends"));
    }
    times.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(0.0);
    (rate, at(50), at(99))
}

struct Coppicer {
    store: SqliteStore,
    fences: Vec<Fence>,
}

impl Coppicer {
    async fn new(folder: &Path, threads: u64) -> Self {
        let store = SqliteStore::open(folder.join("store.db")).expect("a store opens");
        let mut fences = Vec::new();
        for n in 0..threads {
            let (done, made) = Done::channel();
            store.create(NewThread::root(id(n + 1), 1), Vec::new(), done);
            fences.push(made.await.expect("a thread is made").fence);
        }
        Self { store, fences }
    }
}

impl Keeper for Coppicer {
    async fn append(&self, n: u64, at: u64) -> Result<(), String> {
        let batch = Batch { records: vec![record()], ..Batch::default() };
        let (done, head) = Done::channel();
        self.store.append(self.fences[n as usize], Seq(at), batch, done);
        head.await.map(drop).map_err(told)
    }
}

// Forks.

async fn forks(size: Size) {
    let lengths: &[u64] =
        size.pick(&[10, 100], &[1_000, 10_000], &[1_000, 10_000, 100_000, 1_000_000]);
    let times = size.pick(2, 20, 200);
    println!(
        "\na durable fork at the end of a thread ({times} of each length), and reading through it"
    );
    println!(
        "{:>10} {:>12} {:>12} {:>18} {:>18} {:>8}",
        "records", "p50 ms", "p99 ms", "read base ms", "read fork ms", "ratio"
    );
    let place = folder();
    let store = SqliteStore::open(place.path().join("store.db")).expect("a store opens");
    let mut next = 1;
    for &length in lengths {
        let base = id(next);
        next += 1;
        fill(&store, base, length).await;
        let mut took = Vec::new();
        let mut fork = base;
        for _ in 0..times {
            let new = NewThread {
                base: Some(Base { thread: base, cut: Seq(length) }),
                ..NewThread::root(id(next), 1)
            };
            fork = new.id;
            next += 1;
            let started = Instant::now();
            let (done, made) = Done::channel();
            store.create(new, vec![record()], done);
            made.await.expect("a fork is made");
            took.push(started.elapsed().as_secs_f64() * 1e3);
        }
        let (mut own, mut through) = (Vec::new(), Vec::new());
        for round in 0..10 {
            let mut ways = [(base, &mut own), (fork, &mut through)];
            if round % 2 == 1 {
                ways.reverse(); // none is always the second
            }
            for (thread, times) in ways {
                let started = Instant::now();
                let history = store.read(thread, Some(Seq(length))).await.expect("it can be read");
                assert_eq!(history.len(), length);
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        let (p50, p99) = {
            let p50 = median(&mut took);
            (p50, took[took.len() * 99 / 100])
        };
        let (own, through) = (median(&mut own), median(&mut through));
        println!(
            "{length:>10} {p50:>12.2} {p99:>12.2} {own:>18.1} {through:>18.1} {:>8.2}",
            through / own
        );
    }
}

async fn fill(store: &SqliteStore, thread: ThreadId, length: u64) {
    let (done, made) = Done::channel();
    store.create(NewThread::root(thread, 1), Vec::new(), done);
    let fence = made.await.expect("a thread is made").fence;
    let mut at = 0;
    while at < length {
        let count = (length - at).min(1_000);
        let records = std::iter::repeat_with(record).take(count as usize).collect();
        let (done, head) = Done::channel();
        store.append(fence, Seq(at), Batch { records, ..Batch::default() }, done);
        at = head.await.expect("records are kept").0;
    }
}

// Opening.

async fn opening(size: Size) {
    let counts: &[u64] = size.pick(&[50], &[1_000], &[1_000, 100_000]);
    println!("\nopening a store with dormant threads, and a runtime on it (nothing is loaded)");
    println!(
        "{:>10} {:>12} {:>14} {:>18} {:>22}",
        "threads", "open ms", "runtime ms", "first page ms", "bytes per thread"
    );
    for &count in counts {
        let place = folder();
        let path = place.path().join("store.db");
        let store =
            SqliteStore::open_with(&path, SqliteOptions::new().durability(Durability::Process))
                .expect("a store opens");
        // Not more at once than may wait to be written.
        for from in (0..count).step_by(1_000) {
            let made = (from..count.min(from + 1_000)).map(|n| {
                let (done, made) = Done::channel();
                let mut new = NewThread::root(id(n + 1), n);
                new.details.preview = Some(format!("what thread {n} was asked"));
                new.settled = true;
                store.create(new, vec![record(); 3], done);
                made
            });
            for made in futures::future::join_all(made).await {
                made.expect("a thread is made");
            }
        }
        store.close();
        let (mut opened, mut started, mut listed, mut bytes) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..size.pick(1, 1, 7) {
            let before = resident_bytes();
            let clock = Instant::now();
            let store = Arc::new(SqliteStore::open(&path).expect("a store opens"));
            opened.push(clock.elapsed().as_secs_f64() * 1e3);
            let clock = Instant::now();
            let runtime = Runtime::builder()
                .engine(ScriptedEngine::echo())
                .shared_store(store.clone())
                .start()
                .await
                .expect("a runtime starts");
            started.push(clock.elapsed().as_secs_f64() * 1e3);
            let clock = Instant::now();
            let page = store.list(coppicer::ThreadQuery::new()).await.expect("a list can be read");
            assert_eq!(page.threads.len(), 25);
            listed.push(clock.elapsed().as_secs_f64() * 1e3);
            assert!(runtime.list().is_empty(), "nothing is loaded");
            bytes.push(resident_bytes().saturating_sub(before) as f64 / count as f64);
            runtime.shutdown(Duration::from_secs(5)).await.expect("it ends");
            drop(runtime);
            // The last actor of the runtime holds it for a moment longer.
            let mut held = store;
            loop {
                match Arc::try_unwrap(held) {
                    Ok(store) => break store.close(),
                    Err(store) => held = store,
                }
                tokio::task::yield_now().await;
            }
        }
        let mut row = String::new();
        write!(
            row,
            "{count:>10} {:>12.1} {:>14.2} {:>18.2} {:>22.0}",
            median(&mut opened),
            median(&mut started),
            median(&mut listed),
            median(&mut bytes)
        )
        .expect("a text takes what is written");
        println!("{row}");
    }
}

/// Bytes of memory that the process has resident; 0 where that is not told.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}
