//! From a panic to the first reply of the new incarnation, one at a time, beside the floor.
//!
//! What each does from the moment of its panic on:
//! - raw ractor: the actor's panic is caught, its supervisor hears of it and spawns another, linked; the
//!   caller is told of that, and has a call answered by it. Nothing comes back and nothing is written.
//! - an engine's panic: the turn's panic is caught and its thread hears of it; the end of the turn and the
//!   crash are written; the next input, which waits in the inbox, is taken up, and that is written too;
//!   a session is opened from the history, and its turn replies to the caller.
//! - an actor's panic: the supervisor hears of it, shows and tells it, acquires the thread again in the
//!   store and starts its actor; that writes the crash, and answers the request that waits in its slot.
//!
//! All that is sent was sent before the panic: no submission is inside of a figure. The turn that is to
//! panic runs and waits for the word, as it would for its model. The caller is a task of a worker.

use std::sync::Arc;
use std::time::Duration;

use coppicer::{
    Engine, EngineError, EngineSession, Item, OpenContext, Outcome, Runtime, SpawnThread,
    ThreadConfig, ThreadHandle, TurnContext, TurnInput, TurnOutput,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::super::Broken;
use super::super::baselines::{respawn_ractor, respawn_tokio};
use super::super::figure::median;
use super::super::frame::Frame;
use super::super::quiet::{ORDERED, last_ordered_panic};
use super::{RESPAWN, tireless};

/// How long a shutdown may take.
const END: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub(super) struct Respawns {
    /// Crashes of each kind in a round.
    pub(super) each: usize,
    pub(super) rounds: usize,
}

/// What the engine and its host tell each other.
#[derive(Clone)]
struct Wire {
    /// Its turn replies, or says that it waits for the word to panic.
    replies: mpsc::Sender<()>,
    /// That word.
    panic: Arc<Notify>,
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
    let wire = Wire { replies, panic: Arc::default() };
    let runtime = Runtime::builder().engine(Streaming(wire.clone())).start().await;
    let runtime = runtime.map_err(Broken::Start)?;
    let config = ThreadConfig::default().with_restart(tireless());
    let thread = runtime.spawn(SpawnThread::new().with_config(config)).await?;
    for _ in 0..each {
        let (reply, outcome) = panic_and_run(&thread, &wire, &mut replied).await?;
        let panicked = last_ordered_panic().ok_or(Broken::NotInTime { what: "a panic" })?;
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
    wire: &Wire,
    replied: &mut mpsc::Receiver<()>,
) -> Result<(Instant, Instant), Broken> {
    let (panic, next) = tokio::join!(thread.submit("panic"), thread.submit("go"));
    let (panic, next) = (panic?.submission, next?.submission);
    replied.recv().await; // its turn runs
    wire.panic.notify_one();
    let ((next, outcome), (reply, at)) =
        tokio::join!(async { (thread.outcome(&next).await, Instant::now()) }, async {
            (replied.recv().await, Instant::now())
        },);
    match (thread.outcome(&panic).await?, next?, reply) {
        (Outcome::Crashed { .. }, Outcome::Completed { .. }, Some(())) => Ok((at, outcome)),
        other => Err(Broken::Baseline(format!("not a crash and a turn behind it: {other:?}"))),
    }
}

/// As a host's engine does that streams to its client, it replies to whoever waits, without the way
/// through the history.
struct Streaming(Wire);

impl Engine for Streaming {
    fn open(&self, _: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let session: Box<dyn EngineSession> = Box::new(Stream(self.0.clone()));
        futures::future::ready(Ok(session)).boxed()
    }
}

struct Stream(Wire);

impl EngineSession for Stream {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        let Self(wire) = self;
        async move {
            // There is room: the last one was taken before.
            let _room = wire.replies.try_send(());
            if input.text() == "panic" {
                wire.panic.notified().await;
                panic!("{ORDERED}");
            }
            cx.emit(Item::answer("done")).await?;
            Ok(TurnOutput::default())
        }
        .boxed()
    }
}
