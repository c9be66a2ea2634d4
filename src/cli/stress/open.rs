//! `coppicer stress open`: how soon is a store with many dormant threads open, and what do they take?

use std::sync::Arc;

use coppicer::{
    Done, Durability, NewRecord, NewThread, RecordClass, Runtime, SqliteOptions, SqliteStore,
    ThreadQuery, ThreadStore,
};
use futures::future::join_all;
use tokio::time::Instant;

use super::Broken;
use super::baselines::keeper::RECORD_BYTES;
use super::figure::Target;
use super::frame::{Common, Frame, Layout};
use super::load;
use super::rounds::Rounds;
use crate::cli::Failure;
use crate::cli::memory::resident_bytes;

/// Threads that are made at once: not more than may wait to be written.
const MADE_AT_ONCE: usize = 1_000;

/// Records of each thread.
const RECORDS: usize = 3;

/// Opens a store in which many threads sleep, and a runtime on it.
///
/// Nothing is loaded for it. Targets: open in 200 ms, at most 300 bytes of memory for each thread.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Dormant threads; 100,000 if not said, with --smoke 500.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    threads: Option<u32>,
    /// Rounds; 5 if not said (9 with --compare), with --quick 3 (5).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    #[command(flatten)]
    disk: load::Disk,
}

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken::Disk(error.to_string())
}

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let threads = args.threads.map_or(common.pick(500, 100_000, 100_000), |n| n as usize);
    let rounds = common.rounds(args.rounds);
    let mut frame = Frame::new("open", common, Layout::Figures, rounds + 1);
    frame.step(&format!("making {threads} threads"));
    let folder = args.disk.folder()?;
    let path = folder.path().join("store.db");
    fill(&path, threads).await?;
    let mut opened = Rounds::new(format!("{threads} dormant threads, store"), "ms");
    let mut started = Rounds::new(format!("{threads} dormant threads, runtime on it"), "ms");
    let mut listed = Rounds::new(format!("{threads} dormant threads, first page of a list"), "ms");
    let mut bytes = Rounds::new(format!("{threads} dormant threads, memory of each"), "B");
    let mut loaded = 0;
    for round in 1..=rounds {
        frame.step(&format!("opening, round {round} of {rounds}"));
        let before = resident_bytes();
        let begun = Instant::now();
        let store = Arc::new(SqliteStore::open(&path).map_err(broken)?);
        opened.ours(millis(begun));
        let begun = Instant::now();
        let builder = Runtime::builder().engine(load::instant_engine());
        let runtime = load::start(builder.shared_store(store.clone())).await?;
        started.ours(millis(begun));
        let begun = Instant::now();
        let page = store.list(ThreadQuery::new()).await.map_err(Broken::Store)?;
        listed.ours(millis(begun));
        drop(page);
        loaded += runtime.list().len();
        if let (Some(before), Some(after)) = (before, resident_bytes()) {
            bytes.ours(after.saturating_sub(before) as f64 / threads as f64);
        }
        load::end(runtime).await?;
        close(store).await;
    }
    frame.rounds(opened, &[(None, Target::AtMost(200.0))]);
    frame.rounds(started, &[]);
    frame.rounds(listed, &[]);
    frame.rounds(bytes, &[(None, Target::AtMost(300.0))]);
    frame.judge(frame.figure("threads loaded", loaded as f64, ""), Target::Exactly(0.0));
    Ok(frame)
}

fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

async fn fill(path: &std::path::Path, threads: usize) -> Result<(), Broken> {
    let options = SqliteOptions::new().durability(Durability::Process);
    let store = SqliteStore::open_with(path, options).map_err(broken)?;
    for from in (0..threads).step_by(MADE_AT_ONCE) {
        let made = (from..threads.min(from + MADE_AT_ONCE)).map(|n| {
            let (done, made) = Done::channel();
            let mut new = NewThread::root(load::id(n + 1), n as u64);
            new.details.preview = Some(format!("what thread {n} was asked"));
            new.settled = true;
            let raw = vec![b'x'; RECORD_BYTES].into();
            let record = NewRecord { at_ms: 1, class: RecordClass::Other, raw };
            store.create(new, vec![record; RECORDS], done);
            made
        });
        for made in join_all(made).await {
            made.map_err(Broken::Store)?;
        }
    }
    store.close();
    Ok(())
}

/// Closes a store as soon as the last actor of its runtime has let go of it.
async fn close(mut held: Arc<SqliteStore>) {
    loop {
        match Arc::try_unwrap(held) {
            Ok(store) => return store.close(),
            Err(store) => held = store,
        }
        tokio::task::yield_now().await;
    }
}
