//! Threads whose restarts are spent are parked, and nothing runs in them from then on.

use std::time::Duration;

use coppicer::{
    Epoch, OutcomeError, Phase, Runtime, Script, ScriptedEngine, SpawnThread, SubmitError,
    ThreadConfig, ThreadHandle,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::Broken;
use super::super::figure::Target;
use super::super::frame::Frame;
use super::super::quiet::ORDERED;
use super::tireless;

/// Restarts that each has.
const RESTARTS: u32 = 3;

/// The window of its restarts: longer than the scenario.
const PERIOD: Duration = Duration::from_secs(3_600);

/// Pause between two submissions to a parked thread.
const KNOCK: Duration = Duration::from_millis(1);

/// How long a thread may take to be shown as parked.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one thread did.
struct Found {
    parked: bool,
    /// Turns that it ran until it was parked.
    turns: u64,
    /// What ran in it afterwards.
    turns_after: u64,
    restarts_after: u64,
    /// Submissions that were refused as they should.
    refused: u64,
    /// Those that were not.
    let_in: u64,
}

pub(super) async fn measure(
    frame: &mut Frame,
    threads: usize,
    time: Duration,
) -> Result<(), Broken> {
    frame.step("threads whose restarts are spent");
    let engine = ScriptedEngine::always(Script::new().panic(ORDERED));
    let runtime = Runtime::builder().engine(engine).start().await.map_err(Broken::Start)?;
    let mut crashing = JoinSet::new();
    for _ in 0..threads {
        let policy = tireless().with_limit(RESTARTS, PERIOD);
        let config = ThreadConfig::default().with_restart(policy);
        let thread = runtime.spawn(SpawnThread::new().with_config(config)).await?;
        crashing.spawn(async move { watch(&thread, time).await });
    }
    let mut all = Vec::with_capacity(threads);
    while let Some(found) = crashing.join_next().await {
        all.push(found??);
    }
    runtime.shutdown(Duration::from_secs(30)).await?;
    let sum = |of: fn(&Found) -> u64| all.iter().map(of).sum::<u64>() as f64;
    let exactly = |count: u64| Target::Exactly(count as f64);
    let count = threads as u64;
    frame.judge(
        frame.figure("parked/threads parked", sum(|found| u64::from(found.parked)), "threads"),
        exactly(count),
    );
    frame.judge(
        frame.figure("parked/turns until then", sum(|found| found.turns), "turns"),
        exactly(count * u64::from(RESTARTS + 1)),
    );
    frame.give(frame.figure("parked/submissions refused", sum(|found| found.refused), "calls"));
    frame.judge(
        frame.figure("parked/submissions let in", sum(|found| found.let_in), "calls"),
        exactly(0),
    );
    frame.judge(
        frame.figure("parked/turns afterwards", sum(|found| found.turns_after), "turns"),
        exactly(0),
    );
    frame.judge(
        frame.figure("parked/restarts afterwards", sum(|found| found.restarts_after), "restarts"),
        exactly(0),
    );
    Ok(())
}

/// Has a thread crash until it is parked, then knocks for `time` and looks what ran.
async fn watch(thread: &ThreadHandle, time: Duration) -> Result<Found, Broken> {
    for _ in 0..=RESTARTS {
        thread.run("go").await?;
    }
    // Shown right behind the outcome.
    let shown = async {
        while thread.view().phase != Phase::Parked {
            tokio::time::sleep(KNOCK).await;
        }
    };
    let parked = tokio::time::timeout(PATIENCE, shown).await;
    parked.map_err(|_| Broken::NotInTime { what: "the parking of a thread" })?;
    let parked = thread.view();
    let (mut refused, mut let_in) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < time {
        match thread.run("go").await {
            Err(OutcomeError::Refused(SubmitError::Parked { .. })) => refused += 1,
            _ => let_in += 1,
        }
        tokio::time::sleep(KNOCK).await;
    }
    let after = thread.view();
    let restarts = |Epoch(now): Epoch, Epoch(then): Epoch| now - then;
    Ok(Found {
        parked: after.phase == Phase::Parked,
        turns: parked.turns,
        turns_after: after.turns - parked.turns,
        restarts_after: restarts(after.epoch, parked.epoch) + (after.crashes - parked.crashes),
        refused,
        let_in,
    })
}
