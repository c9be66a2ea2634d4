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
//!
//! Each is measured at two paces. A crash comes alone: what is judged finds the host at rest, after a pause
//! that is the same for each kind and lets tokio's workers sleep. Back to back, whether a kind finds the
//! other worker awake is an accident of its own length: a wake-up of a worker that just fell asleep costs
//! more than all else (some 14 us on a machine of two virtual cores), and raw ractor's cycle is so short
//! that it never meets one. Those figures are given beside, and not judged.

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
use super::super::figure::{Target, median};
use super::super::frame::Frame;
use super::super::quiet::{ORDERED, last_ordered_panic};
use super::{RESPAWN, tireless};

/// How long a shutdown may take.
const END: Duration = Duration::from_secs(10);

/// Before each crash at rest: longer than a worker looks for work before it sleeps.
const REST: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy)]
pub(super) struct Respawns {
    /// Crashes of each kind in a round, at each pace.
    pub(super) each: usize,
    pub(super) rounds: usize,
}

/// What is between two crashes.
#[derive(Debug, Clone, Copy)]
enum Pace {
    AtRest,
    BackToBack,
}

impl Pace {
    async fn keep(self) {
        match self {
            Self::AtRest => tokio::time::sleep(REST).await,
            Self::BackToBack => {}
        }
    }

    const fn group(self) -> &'static str {
        match self {
            Self::AtRest => "respawn",
            Self::BackToBack => "respawn back to back",
        }
    }
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
    let (mut at_rest, mut back_to_back) = (Took::default(), Took::default());
    for round in 1..=respawns.rounds {
        frame.step(&format!("respawns, round {round} of {}", respawns.rounds));
        // The kinds in turns, in a task of a worker: the caller is no foreign thread.
        at_rest = tokio::spawn(one_round(respawns.each, Pace::AtRest, at_rest)).await??;
        back_to_back =
            tokio::spawn(one_round(respawns.each, Pace::BackToBack, back_to_back)).await??;
    }
    show(frame, Pace::AtRest, at_rest);
    show(frame, Pace::BackToBack, back_to_back);
    Ok(())
}

fn show(frame: &mut Frame, pace: Pace, took: Took) {
    let ractor = median(took.ractor);
    let figure = |frame: &Frame, what: &str, micros: f64| {
        frame.figure(format!("{}/{what}", pace.group()), micros, "µs")
    };
    frame.give(figure(frame, "raw tokio task", median(took.tokio)));
    frame.give(figure(frame, "raw ractor actor", ractor));
    let mut beside = |what, times, target: Option<Target>| {
        let figure = figure(frame, what, median(times)).beside("raw ractor", ractor);
        match (pace, target) {
            (Pace::AtRest, Some(target)) => frame.judge(figure, target),
            _ => frame.give(figure),
        }
    };
    beside("engine's panic to first reply", took.engine_replies, Some(RESPAWN));
    beside("engine's panic to next durable outcome", took.engine_ends, None);
    #[cfg(feature = "testing")]
    beside("actor's panic to first reply", took.actor_replies, Some(RESPAWN));
}

async fn one_round(each: usize, pace: Pace, mut took: Took) -> Result<Took, Broken> {
    let micros = |time: Duration| time.as_secs_f64() * 1_000_000.0;
    let mut raw = respawn_ractor::Respawn::start().await.map_err(Broken::Baseline)?;
    for _ in 0..each {
        pace.keep().await;
        let time = raw.panic_and_ask(ORDERED).await.map_err(Broken::Baseline)?;
        took.ractor.push(micros(time));
    }
    raw.end().await;
    let mut raw = respawn_tokio::Respawn::start();
    for _ in 0..each {
        pace.keep().await;
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
        let (reply, outcome) = panic_and_run(&thread, pace, &wire, &mut replied).await?;
        let panicked = last_ordered_panic().ok_or(Broken::NotInTime { what: "a panic" })?;
        took.engine_replies.push(micros(reply - panicked));
        took.engine_ends.push(micros(outcome - panicked));
    }
    #[cfg(feature = "testing")]
    for _ in 0..each {
        pace.keep().await;
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
    pace: Pace,
    wire: &Wire,
    replied: &mut mpsc::Receiver<()>,
) -> Result<(Instant, Instant), Broken> {
    let (panic, next) = tokio::join!(thread.submit("panic"), thread.submit("go"));
    let (panic, next) = (panic?.submission, next?.submission);
    replied.recv().await; // its turn runs
    pace.keep().await;
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
