//! An engine that only needs what a model is shown opens a session from a part of the history, and
//! sees the same as from all of it.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::path::Path;
use std::sync::Arc;

use coppicer::faulty::StoreOp;
use coppicer::testing::World;
use coppicer::{
    Done, Engine, EngineError, EngineSession, History, ImportThread, Limits, Line, MemoryStore,
    MessagePhase, NewRecord, NewThread, OpenContext, Reads, ThreadId, ThreadStore, TurnContext,
    TurnInput, TurnOutput, model_view, read_session, resolve_history,
};
use coppicer_actors::session_files;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

async fn stored(history: &History) -> (MemoryStore, ThreadId) {
    let (store, thread) = (MemoryStore::new(), ThreadId::from_parts(1, [1; 10]));
    let records = history.iter().cloned().map(NewRecord::from).collect();
    let (done, made) = Done::channel();
    store.create(NewThread::root(thread, 1), records, done);
    made.await.unwrap();
    (store, thread)
}

/// Whether the part from `view_start` on shows a model what the whole shows; and where it begins.
async fn check(history: &History, label: &str) -> u64 {
    let (store, thread) = stored(history).await;
    let from = store.view_start(thread, None).await.unwrap();
    let part = model_view(&store.read_range(thread, from, None).await.unwrap());
    let whole = model_view(history);
    let text = |view: &coppicer::ModelView| String::from_utf8(view.to_json()).unwrap();
    assert_eq!(text(&part), text(&whole), "{label}, from {from}");
    let places =
        |view: &coppicer::ModelView| view.items.iter().map(|item| item.seq).collect::<Vec<_>>();
    assert_eq!(places(&part), places(&whole), "{label}, from {from}");
    from.0
}

#[tokio::test]
async fn a_part_of_every_recorded_session_shows_a_model_what_the_whole_shows_at_every_cut() {
    let mut shortened = 0;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sessions");
    for path in session_files(folder).unwrap() {
        let file = read_session(&path).unwrap();
        let history = resolve_history(&file, None).unwrap();
        let label = path.display().to_string();
        shortened += u64::from(check(&history, &label).await > 0);
        // As a thread that is resumed, forked or crashed there has it.
        for cut in 1..history.len().min(400) {
            check(&history.prefix(cut), &format!("{label} before {cut}")).await;
        }
    }
    assert!(shortened > 0, "some have a compaction to begin at");
}

/// `SplitMix64`, so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// A history as threads write it: turns with settings, calls, compactions, rollbacks, cut anywhere.
fn generated(seed: u64) -> History {
    let mut dice = Dice(seed);
    let mut records = Vec::new();
    for turn in 0..dice.roll(12) {
        let name = format!("t{turn}");
        records.push(Line::task_started(7, &name));
        if dice.roll(4) > 0 {
            records.push(Line::turn_context(7, &name, "/srv", "model"));
        }
        records.extend(Line::user_message(7, &format!("ask {turn}")));
        for call in 0..dice.roll(3) {
            let id = format!("{name}-{call}");
            records.push(Line::function_call(7, &id, "tool", "{}"));
            if dice.roll(5) > 0 {
                records.push(Line::function_call_output(7, &id, "done"));
            }
        }
        if dice.roll(4) == 0 {
            let kept = Line::user_item(7, "kept");
            let kept = serde_json::from_slice::<serde_json::Value>(&kept.raw).unwrap();
            let kept = kept["payload"].to_string();
            let items: [&[u8]; 1] = [kept.as_bytes()];
            let replacement = (dice.roll(3) > 0).then_some(&items[..]);
            records.push(Line::compacted(7, "summary", replacement));
        }
        if dice.roll(5) > 0 {
            records.extend(Line::assistant_message(7, "answer", MessagePhase::Final));
        }
        if dice.roll(6) > 0 {
            records.push(Line::task_complete(7, &name, None, Some(1), None));
        }
        if dice.roll(6) == 0 {
            records.push(Line::rolled_back(7, 1 + dice.roll(3) as u32));
        }
    }
    let keep = dice.roll(records.len() as u64 + 1) as usize;
    let cut = if dice.roll(2) == 0 { records.len() } else { keep };
    let mut history = History::new();
    history.extend(records.into_iter().take(cut));
    history
}

#[tokio::test]
async fn a_part_of_any_generated_history_shows_a_model_what_the_whole_shows() {
    let mut shortened = 0;
    for seed in 0..4_000 {
        shortened += u64::from(check(&generated(seed), &format!("seed {seed}")).await > 0);
    }
    assert!(shortened > 400, "{shortened} began at a compaction");
}

/// Notes what it was given to open a session.
struct Notes {
    reads: Reads,
    opened: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Engine for Notes {
    fn open(&self, cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let records = cx.history.iter().count() as u64;
        self.opened.lock().push((cx.history.first_seq().0, records));
        futures::future::ready(Ok(Box::new(Session) as Box<dyn EngineSession>)).boxed()
    }

    fn reads(&self) -> Reads {
        self.reads
    }
}

struct Session;

impl EngineSession for Session {
    fn run_turn<'a>(
        &'a mut self,
        _cx: &'a TurnContext,
        _input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        futures::future::ready(Ok(TurnOutput::message("done"))).boxed()
    }
}

/// 10,000 records, compacted 20 records before their end.
fn long() -> History {
    let mut history = History::new();
    let mut turn = 0;
    while history.len() < 9_980 {
        turn += 1;
        let name = format!("t{turn}");
        history.append(Line::task_started(7, &name));
        history.append(Line::turn_context(7, &name, "/srv", "model"));
        history.extend(Line::user_message(7, "ask"));
        history.extend(Line::assistant_message(7, "answer", MessagePhase::Final));
        history.append(Line::task_complete(7, &name, None, Some(1), None));
    }
    history.append(Line::task_started(7, "compact"));
    history.append(Line::turn_context(7, "compact", "/srv", "model"));
    let kept: [&[u8]; 1] =
        [br#"{"type":"message","role":"user","content":[{"type":"input_text","text":"kept"}]}"#];
    history.append(Line::compacted(7, "all before", Some(&kept)));
    history.append(Line::task_complete(7, "compact", None, Some(1), None));
    while history.len() < 10_000 {
        history.append(Line::error(7, "a remark"));
    }
    history
}

#[tokio::test(start_paused = true)]
async fn a_long_thread_that_was_compacted_near_its_end_is_opened_from_there() {
    for (reads, most) in [(Reads::ModelView, 40), (Reads::Whole, 11_000)] {
        let opened = Arc::new(Mutex::new(Vec::new()));
        let engine = Notes { reads, opened: opened.clone() };
        let world = World::with_limits(engine, Limits::default()).await;
        let thread = ThreadId::from_parts(1, [1; 10]);
        let history = long();
        assert!(history.len() >= 10_000);
        world.import(ImportThread::new(NewThread::root(thread, 1), history)).await.unwrap();
        let handle = world.resume(thread).await.unwrap();
        assert_eq!(world.store.calls(StoreOp::Read), 0, "nothing is open: a resume reads nothing");
        assert_eq!(handle.run("hello").await.unwrap().message(), Some("done"));
        assert_eq!(world.store.calls(StoreOp::Read), 1);
        let (first, records) = opened.lock()[0];
        assert!(records <= most, "{reads:?}: {records} records from {first}");
        assert_eq!(first == 0, reads == Reads::Whole);
        world.end().await;
    }
}
