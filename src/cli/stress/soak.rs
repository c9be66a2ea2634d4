//! `coppicer stress soak`: does anything pile up in a day, in minutes?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coppicer::{Outcome, Runtime, Script, ScriptedEngine, SpawnThread, ThreadConfig};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Broken;
use super::crash::tireless;
use super::figure::Target;
use super::frame::{Common, Frame, Layout};
use super::load;
use super::quiet::ORDERED;
use crate::cli::Failure;
use crate::cli::memory::resident_bytes;

/// By when a thread has to be closed.
const CLOSED: Duration = Duration::from_secs(5);

/// How often memory is looked at.
const LOOKS: u64 = 200;

/// Spawns, runs, closes and deletes threads, many at once, of which some crash.
///
/// Every cycle is one thread: spawned, one turn, closed, deleted (so that the store in memory forgets it).
/// In the share that crashes the turn panics. Targets: the memory of the last tenth at most 1.05 times that
/// of the second tenth (Linux only); every outcome as ordered; a clean audit.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Cycles; 1,000,000 if not said, with --quick 100,000, with --smoke 400.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(100..))]
    cycles: Option<u64>,
    /// Threads that are alive at once; 1,000 if not said, with --smoke 20.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    live: Option<u32>,
    /// Per cent of the turns that panic.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = super::crash::share)]
    share: f64,
}

/// What those who cycle share.
struct Counts {
    cycles: u64,
    /// One in so many panics; none if 0.
    crash_each: u64,
    begun: AtomicU64,
    crashed: AtomicU64,
    strange: AtomicU64,
    /// Bytes at each look, 0 where there was none.
    memory: Vec<AtomicU64>,
}

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let cycles = args.cycles.unwrap_or(common.pick(400, 100_000, 1_000_000));
    let live = args.live.map_or(common.pick(20, 1_000, 1_000), u64::from).min(cycles);
    #[expect(clippy::cast_sign_loss, reason = "a share is not negative")]
    let crash_each = if args.share > 0.0 { (100.0 / args.share).round() as u64 } else { 0 };
    let mut frame = Frame::new("soak", common, Layout::Figures, 1);
    frame.step(&format!("{cycles} cycles, {live} at once"));
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "panic" => Script::new().panic(ORDERED),
        _ => Script::new().say("done"),
    });
    let runtime = load::start(Runtime::builder().engine(engine)).await?;
    let counts = Arc::new(Counts {
        cycles,
        crash_each,
        begun: AtomicU64::new(0),
        crashed: AtomicU64::new(0),
        strange: AtomicU64::new(0),
        memory: (0..LOOKS).map(|_| AtomicU64::new(0)).collect(),
    });
    let begun = Instant::now();
    let mut cycling = JoinSet::new();
    for _ in 0..live {
        cycling.spawn(cycle(runtime.clone(), counts.clone()));
    }
    while let Some(ended) = cycling.join_next().await {
        ended.map_err(Broken::Task)??;
    }
    let took = begun.elapsed().as_secs_f64();
    frame.give(frame.figure(
        format!("{cycles} cycles, {live} at once"),
        cycles as f64 / took,
        "cycles/s",
    ));
    let crashed = counts.crashed.load(Ordering::Relaxed);
    frame.give(frame.figure("turns that panicked", crashed as f64, "turns"));
    let strange = counts.strange.load(Ordering::Relaxed);
    let strange = frame.figure("outcomes of another kind", strange as f64, "turns");
    frame.judge(strange, Target::Exactly(0.0));
    if let (Some(second), Some(last)) = (counts.tenth(1), counts.tenth(9)) {
        let memory = frame.figure("memory in the last tenth", last / 1e6, "MB");
        let memory = memory.beside("the second tenth", second / 1e6);
        frame.judge(memory, Target::RatioAtMost(1.05));
    }
    let left = load::end(runtime).await?;
    frame.judge(frame.figure("left by the audit", left as f64, "rows"), Target::Exactly(0.0));
    Ok(frame)
}

impl Counts {
    /// The mean of a tenth of the looks; none if memory is not known.
    fn tenth(&self, tenth: usize) -> Option<f64> {
        let each = self.memory.len() / 10;
        let looks = &self.memory[tenth * each..(tenth + 1) * each];
        let looks = looks.iter().map(|bytes| bytes.load(Ordering::Relaxed)).filter(|&b| b > 0);
        let looks: Vec<f64> = looks.map(|bytes| bytes as f64).collect();
        (!looks.is_empty()).then(|| looks.iter().sum::<f64>() / looks.len() as f64)
    }
}

async fn cycle(runtime: Runtime, counts: Arc<Counts>) -> Result<(), Broken> {
    let each = (counts.cycles / LOOKS).max(1);
    loop {
        let n = counts.begun.fetch_add(1, Ordering::Relaxed);
        if n >= counts.cycles {
            return Ok(());
        }
        if n.is_multiple_of(each)
            && let Some(look) = counts.memory.get((n / each) as usize)
            && let Some(bytes) = resident_bytes()
        {
            look.store(bytes, Ordering::Relaxed);
        }
        let panics = counts.crash_each > 0 && n.is_multiple_of(counts.crash_each);
        let config = ThreadConfig::default().with_restart(tireless());
        let thread = runtime.spawn(SpawnThread::new().with_config(config)).await?;
        let outcome = thread.run(if panics { "panic" } else { "go" }).await?;
        let as_ordered = match outcome {
            Outcome::Completed { .. } => !panics,
            Outcome::Crashed { .. } => panics,
            _ => false,
        };
        counts.crashed.fetch_add(u64::from(panics), Ordering::Relaxed);
        counts.strange.fetch_add(u64::from(!as_ordered), Ordering::Relaxed);
        let id = thread.id();
        thread.close(CLOSED).await?;
        drop(thread);
        runtime.delete(id, CLOSED).await.map_err(|e| Broken::Disk(e.to_string()))?;
    }
}
