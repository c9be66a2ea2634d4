//! From a panic to the first reply of the new incarnation, one at a time, beside the floor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coppicer::{Outcome, Runtime, Script, ScriptedEngine, SpawnThread, ThreadConfig, ThreadHandle};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::Broken;
use super::super::baselines::{respawn_ractor, respawn_tokio};
use super::super::figure::median;
use super::super::frame::Frame;
use super::super::quiet::ORDERED;
#[cfg(feature = "testing")]
use super::super::quiet::last_ordered_panic;
use super::{RESPAWN, tireless};

/// How long a shutdown may take.
const END: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub(super) struct Respawns {
    /// Crashes of each kind in a round.
    pub(super) each: usize,
    pub(super) rounds: usize,
}

/// When the engine panicked last, in nanoseconds since the beginning; and how it replies to its host.
struct Wire {
    beginning: Instant,
    panicked: AtomicU64,
    replies: mpsc::Sender<()>,
}

/// Microseconds of each crash, by kind.
#[derive(Default)]
struct Took {
    ractor: Vec<f64>,
    tokio: Vec<f64>,
    engine_replies: Vec<f64>,
    engine_ends: Vec<f64>,
    #[cfg(feature = "testing")]
    actor_replies: Vec<f64>,
}

pub(super) async fn measure(frame: &mut Frame, respawns: Respawns) -> Result<(), Broken> {
    let mut took = Took::default();
    for round in 1..=respawns.rounds {
        frame.step(&format!("respawns, round {round} of {}", respawns.rounds));
        // The kinds in turns, in a task of a worker: the caller is no foreign thread.
        took = tokio::spawn(one_round(respawns.each, took)).await??;
    }
    let ractor = median(took.ractor);
    frame.give(frame.figure("respawn/raw tokio task", median(took.tokio), "µs"));
    frame.give(frame.figure("respawn/raw ractor actor", ractor, "µs"));
    let replies = median(took.engine_replies);
    let replies = frame.figure("respawn/engine's panic to first reply", replies, "µs");
    frame.judge(replies.beside("raw ractor", ractor), RESPAWN);
    let ends = median(took.engine_ends);
    let ends = frame.figure("respawn/engine's panic to next durable outcome", ends, "µs");
    frame.give(ends.beside("raw ractor", ractor));
    #[cfg(feature = "testing")]
    {
        let actor = median(took.actor_replies);
        let actor = frame.figure("respawn/actor's panic to first reply", actor, "µs");
        frame.judge(actor.beside("raw ractor", ractor), RESPAWN);
    }
    Ok(())
}

async fn one_round(each: usize, mut took: Took) -> Result<Took, Broken> {
    let micros = |time: Duration| time.as_secs_f64() * 1_000_000.0;
    let mut raw = respawn_ractor::Respawn::start().await.map_err(Broken::Baseline)?;
    for _ in 0..each {
        let time = raw.panic_and_ask(ORDERED).await.map_err(Broken::Baseline)?;
        took.ractor.push(micros(time));
    }
    raw.end().await;
    let mut raw = respawn_tokio::Respawn::start();
    for _ in 0..each {
        let time = raw.panic_and_ask(ORDERED).await.map_err(Broken::Baseline)?;
        took.tokio.push(micros(time));
    }

    let (replies, mut replied) = mpsc::channel(1);
    let wire = Wire { beginning: Instant::now(), panicked: AtomicU64::new(0), replies };
    let wire = Arc::new(wire);
    let runtime = Runtime::builder().engine(engine(&wire)).start().await;
    let runtime = runtime.map_err(Broken::Start)?;
    let config = ThreadConfig::default().with_restart(tireless());
    let thread = runtime.spawn(SpawnThread::new().with_config(config)).await?;
    for _ in 0..each {
        let (reply, outcome) = panic_and_run(&thread, &mut replied).await?;
        let panicked = Duration::from_nanos(wire.panicked.load(Ordering::SeqCst));
        let panicked = wire.beginning + panicked;
        took.engine_replies.push(micros(reply - panicked));
        took.engine_ends.push(micros(outcome - panicked));
    }
    #[cfg(feature = "testing")]
    for _ in 0..each {
        thread.panic_for_test();
        // Behind the panic, in the same lane: the next incarnation answers it.
        thread.interrupt().await?;
        let answered = Instant::now();
        let panicked = last_ordered_panic().ok_or(Broken::NotInTime { what: "a panic" })?;
        took.actor_replies.push(micros(answered - panicked));
    }
    runtime.shutdown(END).await?;
    Ok(took)
}

/// Has the engine panic, with the next input queued behind: when the new session had replied, and when
/// its turn had its durable outcome.
async fn panic_and_run(
    thread: &ThreadHandle,
    replied: &mut mpsc::Receiver<()>,
) -> Result<(Instant, Instant), Broken> {
    let (panic, (next, outcome), (reply, at)) = tokio::join!(
        thread.run("panic"),
        async { (thread.run("go").await, Instant::now()) },
        async { (replied.recv().await, Instant::now()) },
    );
    match (panic?, next?, reply) {
        (Outcome::Crashed { .. }, Outcome::Completed { .. }, Some(())) => Ok((at, outcome)),
        other => Err(Broken::Baseline(format!("not a crash and a turn behind it: {other:?}"))),
    }
}

/// As a host's engine does that streams to its client, it replies to whoever waits, without the way
/// through the history.
fn engine(wire: &Arc<Wire>) -> ScriptedEngine {
    let wire = wire.clone();
    ScriptedEngine::new(move |_, input| {
        if input.text() == "panic" {
            let now = wire.beginning.elapsed().as_nanos() as u64;
            wire.panicked.store(now, Ordering::SeqCst);
            return Script::new().panic(ORDERED);
        }
        // There is room: the last one was taken before the next panic.
        let _room = wire.replies.try_send(());
        Script::new().say("done")
    })
}
