//! `coppicer stress refuse`: what does it cost to say no when an inbox is full?

use coppicer::{Runtime, Script, ScriptedEngine, SpawnThread, Step, SubmitError, ThreadHandle};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Broken;
use super::figure::Target;
use super::frame::{Common, Frame, Layout};
use super::load::{self, nanos_each, on_worker};
use super::rounds::Rounds;
use crate::cli::Failure;

/// Callers that are refused at once, in the second figure.
const CALLERS: usize = 64;

/// Sends to a thread whose inbox is full.
///
/// Its turn waits, and so do as many submissions as there is room for. Beside it, a full channel of raw
/// tokio, which refuses too (`try_send`). Target: a typed refusal in 1 µs. That it allocates nothing is
/// counted by `benches/memory.rs`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Refusals of a round; 1,000,000 if not said, with --smoke 1,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(64..))]
    calls: Option<u32>,
    /// Rounds; 5 if not said (9 with --compare), with --quick 3 (5).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
}

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let calls = args.calls.map_or(common.pick(1_000, 1_000_000, 1_000_000), |n| n as usize);
    let count = common.rounds(args.rounds);
    let mut frame = Frame::new("refuse", common, Layout::Figures, count);
    let engine = ScriptedEngine::always(Script::new().then(Step::Hang));
    let runtime = load::start(Runtime::builder().engine(engine)).await?;
    let thread = full(&runtime).await?;
    let mut one = Rounds::new("one caller", "ns");
    let mut many = Rounds::new(format!("{CALLERS} callers at once"), "ns");
    for round in 1..=count {
        frame.step(&format!("round {round} of {count}"));
        if common.compare {
            let (to, _from) = tokio::sync::mpsc::channel(1);
            to.try_send(0_u64).map_err(|e| Broken::Baseline(e.to_string()))?;
            let begun = Instant::now();
            let refused = (0..calls).filter(|_| to.try_send(0).is_err()).count();
            one.beside("a full channel of tokio", nanos_each(begun, refused));
        }
        one.ours(on_worker(refused(thread.clone(), calls)).await?);
        let begun = Instant::now();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(refused(thread.clone(), calls / CALLERS));
        }
        while let Some(caller) = callers.join_next().await {
            caller.map_err(Broken::Task)??;
        }
        many.ours(nanos_each(begun, calls));
    }
    drop(thread);
    frame.rounds(one, &[(None, Target::AtMost(1_000.0))]);
    frame.rounds(many, &[(None, Target::AtMost(1_000.0))]);
    let left = load::end(runtime).await?;
    frame.judge(frame.figure("left by the audit", left as f64, "rows"), Target::Exactly(0.0));
    Ok(frame)
}

/// A thread whose turn waits, and whose inbox is full.
async fn full(runtime: &Runtime) -> Result<ThreadHandle, Broken> {
    let thread = runtime.spawn(SpawnThread::new()).await?;
    loop {
        match thread.submit("wait").await {
            Ok(_) => {}
            Err(SubmitError::Overloaded { .. }) => return Ok(thread),
            Err(other) => return Err(other.into()),
        }
    }
}

/// Nanoseconds of a refusal.
async fn refused(thread: ThreadHandle, calls: usize) -> Result<f64, Broken> {
    // The submission is the caller's; what it costs to make one is not what a refusal costs.
    let input = coppicer::Submission::input("no");
    let begun = Instant::now();
    for _ in 0..calls {
        match thread.submit(input.clone()).await {
            Err(SubmitError::Overloaded { .. }) => {}
            Err(other) => return Err(other.into()),
            Ok(_) => return Err(Broken::NotInTime { what: "a refusal" }),
        }
    }
    Ok(nanos_each(begun, calls))
}
