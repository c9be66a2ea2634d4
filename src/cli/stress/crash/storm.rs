//! A storm: panics in a share of all turns, and what those who do not crash keep of their throughput.
//!
//! Each thread has a caller that sends the next turn when the last has its outcome, and turns take no
//! time of their own: the workers are never idle, so whatever a crash costs is taken from the others.
//! A turn that panics has done all that another does before: one that panics at once is over sooner, its
//! caller is back sooner, and 100 threads that crash get 13 % of all turns, not 10 %, at the cost of the
//! others whatever a crash costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use coppicer::{Outcome, Runtime, Script, ScriptedEngine, SpawnThread, ThreadConfig, ThreadHandle};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::Broken;
use super::super::figure::{Target, median};
use super::super::frame::Frame;
use super::super::quiet::ORDERED;
use super::{KEPT, tireless};

/// How long a shutdown may take.
const END: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub(super) struct Storm {
    pub(super) threads: usize,
    /// Per cent of all turns that panic.
    pub(super) share: f64,
    /// How long a round is measured.
    pub(super) time: Duration,
}

/// What one round gave.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    /// Turns a second of those that never crash.
    healthy: f64,
    /// Turns that ended, and of these those that panicked.
    turns: u64,
    crashed: u64,
    /// Outcomes that were neither completed nor an ordered crash.
    strange: u64,
    /// What the audit found when everything was closed.
    left: usize,
}

/// What the callers of a round share.
#[derive(Default)]
struct Counts {
    measuring: AtomicBool,
    over: AtomicBool,
    healthy: AtomicU64,
    /// Of all turns since the round began, in millionths that may panic: who may take a whole one does.
    turns: AtomicU64,
    crashed: AtomicU64,
    strange: AtomicU64,
}

pub(super) async fn measure(frame: &mut Frame, storm: Storm, rounds: usize) -> Result<(), Broken> {
    let mut with = Vec::new();
    let mut without = Vec::new();
    for round in 1..=rounds {
        // Who goes first changes: the second of a pair finds the memory as the first has left it.
        let panics_first = round % 2 == 0;
        for panics in [panics_first, !panics_first] {
            let (name, to) = if panics { ("with", &mut with) } else { ("without", &mut without) };
            frame.step(&format!("storm, round {round} of {rounds}, {name} panics"));
            to.push(one_round(storm, panics).await?);
        }
    }
    let healthy = |rounds: &[Round]| median(rounds.iter().map(|round| round.healthy).collect());
    let kept = frame.figure("storm/throughput of healthy threads", healthy(&with), "turns/s");
    // A round is set beside the one next to it: the machine may be busier at times.
    let pairs = with.iter().zip(&without).filter(|(_, without)| without.healthy > 0.0);
    let ratio = median(pairs.map(|(with, without)| with.healthy / without.healthy).collect());
    frame.judge(kept.beside_in_turns("without panics", healthy(&without), ratio), KEPT);
    let shares = with.iter().map(|round| round.crashed as f64 * 100.0 / round.turns.max(1) as f64);
    frame.give(frame.figure("storm/turns that panicked", median(shares.collect()), "%"));
    let crashed: u64 = with.iter().map(|round| round.crashed).sum();
    frame.give(frame.figure("storm/panics in all", crashed as f64, "turns"));
    let both = || with.iter().chain(&without);
    let strange: u64 = both().map(|round| round.strange).sum();
    let strange = frame.figure("storm/outcomes of another kind", strange as f64, "turns");
    frame.judge(strange, Target::Exactly(0.0));
    let left: usize = both().map(|round| round.left).sum();
    frame.judge(frame.figure("storm/left by the audit", left as f64, "rows"), Target::Exactly(0.0));
    Ok(())
}

async fn one_round(storm: Storm, panics: bool) -> Result<Round, Broken> {
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "panic" => Script::new().say("done").panic(ORDERED),
        _ => Script::new().say("done"),
    });
    let runtime = Runtime::builder().engine(engine).start().await.map_err(Broken::Start)?;
    // Those that may crash do so in less than every second turn.
    let crashing = crashing(storm);
    let counts = Arc::new(Counts::default());
    let mut callers = JoinSet::new();
    for place in 0..storm.threads {
        let config = ThreadConfig::default().with_restart(tireless());
        let thread = runtime.spawn(SpawnThread::new().with_config(config)).await?;
        let may_crash = place < crashing;
        let share = if panics && may_crash { storm.share } else { 0.0 };
        callers.spawn(call(thread, counts.clone(), may_crash, share));
    }
    tokio::time::sleep(storm.time / 4).await;
    counts.turns.store(0, Ordering::Relaxed);
    counts.crashed.store(0, Ordering::Relaxed);
    counts.measuring.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    tokio::time::sleep(storm.time).await;
    counts.measuring.store(false, Ordering::Relaxed);
    let took = begun.elapsed();
    let (turns, crashed) =
        (counts.turns.load(Ordering::Relaxed), counts.crashed.load(Ordering::Relaxed));
    counts.over.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    runtime.shutdown(END).await?;
    let audit = runtime.audit().await;
    Ok(Round {
        healthy: counts.healthy.load(Ordering::Relaxed) as f64 / took.as_secs_f64(),
        turns,
        crashed,
        strange: counts.strange.load(Ordering::Relaxed),
        left: audit.live.len() + audit.drift.len(),
    })
}

/// How many threads crash, so that each does in at most about every second turn.
fn crashing(storm: Storm) -> usize {
    let most = storm.threads - 1;
    #[expect(clippy::cast_sign_loss, reason = "a share is not negative")]
    let crashing = (storm.threads as f64 * storm.share * 2.0 / 100.0).ceil() as usize;
    crashing.min(most)
}

/// Sends one turn after the other. Where `share` per cent of all turns have not panicked yet, the next
/// one does.
async fn call(
    thread: ThreadHandle,
    counts: Arc<Counts>,
    may_crash: bool,
    share: f64,
) -> Result<(), Broken> {
    while !counts.over.load(Ordering::Relaxed) {
        let (turns, crashed) =
            (counts.turns.load(Ordering::Relaxed), counts.crashed.load(Ordering::Relaxed));
        let panics = share > 0.0 && (crashed as f64) < turns as f64 * share / 100.0;
        if panics {
            counts.crashed.fetch_add(1, Ordering::Relaxed);
        }
        let outcome = thread.run(if panics { "panic" } else { "go" }).await?;
        counts.turns.fetch_add(1, Ordering::Relaxed);
        let as_ordered = match outcome {
            Outcome::Completed { .. } => !panics,
            Outcome::Crashed { .. } => panics,
            _ => false,
        };
        counts.strange.fetch_add(u64::from(!as_ordered), Ordering::Relaxed);
        if !may_crash && counts.measuring.load(Ordering::Relaxed) {
            counts.healthy.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_as_many_threads_crash_as_turns_and_some_never_do() {
        let crashing = |threads, share| crashing(Storm { threads, share, time: Duration::ZERO });
        assert_eq!(crashing(1_000, 5.0), 100);
        assert_eq!(crashing(10, 40.0), 8);
        assert_eq!(crashing(10, 5.0), 1);
        assert_eq!(crashing(1_000, 0.0), 0);
    }
}
