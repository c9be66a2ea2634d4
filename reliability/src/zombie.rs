//! `zombie`: the code of a turn blocks, its thread is closed with its runtime, and resumed by another
//! one on the same store. Then the old code goes on: it can write, emit, spawn and send nothing, and
//! nothing of it is seen anywhere.

use std::sync::Arc;
use std::time::Duration;

use coppicer::{
    Batch, Done, Engine, EngineError, EngineSession, Fence, Item, OpenContext, OpenError,
    Placement, Rung, Runtime, Seq, SpawnThread, SqliteStore, StoreError, TapItem, TapOptions,
    ThreadConfig, ThreadId, ThreadStore, TurnContext, TurnInput, TurnOutput, record_of,
};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parking_lot::{Condvar, Mutex};

use crate::session::{TestError, store_in};
use crate::snapshot::all_threads;
use crate::tally::Tally;

/// How it is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Zombie {
    /// How many zombies, one after the other on one store.
    #[arg(long, default_value_t = 10)]
    pub rounds: u64,
}

/// What a zombie says, wherever it can.
const SPEECH: &str = "a zombie speaks";

const BUDGET: Duration = Duration::from_secs(20);

/// What one blocked turn and its test share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The turn has come to the place where it blocks.
    reached: bool,
    /// It may go on.
    open: bool,
    /// Where its thread's next record belongs by then.
    head: Seq,
    /// What became of its tries, once it has made them.
    tries: Option<Vec<(&'static str, Result<(), String>)>>,
}

#[derive(Clone)]
struct Blocking {
    shared: Arc<Shared>,
    store: Arc<SqliteStore>,
    /// A thread that it tries to send to.
    other: ThreadId,
}

impl Engine for Blocking {
    fn open(&self, _cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        ready(Ok(Box::new(self.clone()) as Box<dyn EngineSession>)).boxed()
    }
}

impl EngineSession for Blocking {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        self.turn(cx, input).boxed()
    }

    fn placement(&self) -> Option<Placement> {
        Some(Placement::Dedicated)
    }
}

impl Blocking {
    async fn turn(&self, cx: &TurnContext, input: TurnInput) -> Result<TurnOutput, EngineError> {
        if input.text() != "block" {
            cx.emit(Item::answer(input.text())).await?;
            return Ok(TurnOutput::done());
        }
        cx.emit(Item::remark("before")).await?;
        self.block();
        // From here on it is a zombie: its thread has another life. What it tries is refused at once.
        let mut tries = Vec::new();
        tries.push(("emit", told(cx.emit(Item::answer(SPEECH)).await)));
        let request = SpawnThread::new().with_first(SPEECH);
        tries.push(("spawn", told(cx.spawn(request).await)));
        tries.push(("send", told(cx.send(self.other, SPEECH).await)));
        tries.push(("history", told(cx.history().await)));
        cx.delta(SPEECH);
        tries.push(("append", self.append(cx)));
        self.shared.state.lock().tries = Some(tries);
        Ok(TurnOutput::message(SPEECH))
    }

    fn block(&self) {
        let mut state = self.shared.state.lock();
        state.reached = true;
        while !state.open {
            self.shared.changed.wait(&mut state);
        }
    }

    /// What the actor of its own time would do: an append under its fence, at the right place. It waits
    /// by blocking: a killed turn is not polled again after it waited.
    fn append(&self, cx: &TurnContext) -> Result<(), String> {
        let fence = Fence { thread: cx.thread(), epoch: cx.epoch() };
        let head = self.shared.state.lock().head;
        let batch = Batch { records: vec![record_of(SPEECH.as_bytes())], ..Batch::default() };
        let (to, written) = std::sync::mpsc::sync_channel(1);
        self.store.append(fence, head, batch, Done::new(move |result| drop(to.send(result))));
        match written.recv_timeout(BUDGET) {
            Ok(Err(StoreError::Fenced { .. })) => Err("fenced".into()),
            Ok(other) => told(other),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

/// Runs it.
///
/// # Errors
/// A [`TestError`]: it could not be carried out.
pub fn zombie(args: &Zombie, seed: u64) -> Result<Tally, TestError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(TestError::io("cannot make a runtime"))?;
    let folder = tempfile::tempdir().map_err(TestError::io("cannot make a folder"))?;
    let mut tally = Tally::new("zombie");
    tally.add("seed", seed);
    let path = store_in(folder.path());
    let all = async {
        for _ in 0..args.rounds {
            tokio::time::timeout(BUDGET, one(&path, &mut tally))
                .await
                .map_err(|_| "a round did not end in time".to_owned())??;
        }
        Ok::<_, String>(())
    };
    let said = runtime.block_on(all);
    // A zombie that was never let go is left behind.
    runtime.shutdown_background();
    said.map_err(|said| TestError::Tool { what: "the zombie test".into(), said })?;
    Ok(tally)
}

async fn one(path: &std::path::Path, tally: &mut Tally) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    // The zombie of the round before lets go of the store when its code ends.
    let store = loop {
        match SqliteStore::open(path) {
            Ok(store) => break Arc::new(store),
            Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => return Err(text(&error)),
        }
    };
    let shared = Arc::new(Shared::default());
    let start = |other| {
        let engine = Blocking { shared: shared.clone(), store: store.clone(), other };
        Runtime::builder().engine(engine).shared_store(store.clone()).start()
    };

    // The first life blocks, and its runtime ends without it.
    let other = ThreadId::from_parts(7, [7; 10]);
    let first = start(other).await.map_err(|error| text(&error))?;
    let config = ThreadConfig::default().with_placement(Placement::Dedicated);
    let request = SpawnThread::new().with_config(config).with_first("block");
    let thread = first.spawn(request).await.map_err(|error| text(&error))?.id();
    while !shared.state.lock().reached {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let report = first.shutdown(Duration::from_millis(500)).await.map_err(|error| text(&error))?;
    if report.rung(thread) != Some(Rung::Fenced) {
        tally.wrong.push(format!("the blocked turn was not fenced off: {report:?}"));
    }
    drop(first);
    // Its code still holds the store, so the file is not given to anybody else.
    let in_use = matches!(SqliteStore::open(path), Err(OpenError::InUse { .. }));
    tally.add("second openings refused meanwhile", u64::from(in_use));

    // The second life works.
    let second = start(other).await.map_err(|error| text(&error))?;
    let mut tap = second.tap(TapOptions::all()).map_err(|error| text(&error))?;
    let handle = second.resume(thread).await.map_err(|error| text(&error))?;
    let said = handle.run("before the zombie").await.map_err(|error| text(&error))?;
    if said.message() != Some("before the zombie") {
        tally.wrong.push(format!("the resumed thread answered {said:?}"));
    }

    // The zombie goes on.
    let before = all_threads(&*store).await.map_err(|error| text(&error))?;
    {
        let mut state = shared.state.lock();
        state.head = before.get(&thread).map_or(Seq(0), |row| row.head);
        state.open = true;
        shared.changed.notify_all();
    }
    let tries = loop {
        if let Some(tries) = shared.state.lock().tries.take() {
            break tries;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    for (what, result) in &tries {
        match result {
            Err(why) if *what != "append" || why == "fenced" => tally.add("tries refused", 1),
            other => tally.wrong.push(format!("the zombie's {what}: {other:?}")),
        }
    }

    // Nothing of it is seen: histories, lists, taps, what comes after.
    let said = handle.run("after the zombie").await.map_err(|error| text(&error))?;
    if said.message() != Some("after the zombie") {
        tally.wrong.push(format!("the thread answered {said:?} after the zombie"));
    }
    let after = all_threads(&*store).await.map_err(|error| text(&error))?;
    if before.keys().ne(after.keys()) {
        tally.wrong.push("a thread of the zombie's is in the store".into());
    }
    for &thread in after.keys() {
        let history = store.read(thread, None).await.map_err(|error| text(&error))?;
        let spoke = |raw: &[u8]| raw.windows(SPEECH.len()).any(|part| part == SPEECH.as_bytes());
        if history.iter().any(|record| spoke(&record.raw)) {
            tally.wrong.push(format!("the zombie speaks in the history of {thread}"));
        }
    }
    drop(second.shutdown(Duration::from_secs(5)).await);
    while let Some(item) = tap.next().await {
        if let TapItem::Event(event) = &item {
            tally.add("events looked at", 1);
            if format!("{event:?}").contains(SPEECH) {
                tally.wrong.push(format!("the zombie is seen on a tap: {event:?}"));
            }
        }
    }
    tally.add("zombies", 1);
    Ok(())
}
