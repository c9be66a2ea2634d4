//! A fork reads what is near its cut, not its source's whole history: on a real file, through a
//! runtime, beside the same fork in memory, where the whole history is at hand.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;

use coppicer::faulty::FaultyStore;
use coppicer::{
    ForkPoint, History, ImportThread, Line, MessagePhase, NewRecord, NewThread, RecordClass,
    Runtime, Script, ScriptedEngine, Seq, SessionMeta, SqliteStore, ThreadId, ThreadStore, TurnRef,
};

/// Turns of the source: 2,000 records.
const TURNS: u64 = 250;
const TURN_RECORDS: u64 = 8;

/// Most records that the plan of a fork may read: a few turns, however long the history is.
const READ_MAX: u64 = 4 * TURN_RECORDS;

fn id(n: u64) -> ThreadId {
    ThreadId::from_parts(1_780_473_600_000 + n, [n as u8; 10])
}

fn named(turn: u64) -> TurnRef {
    format!("turn-{turn}").into()
}

/// Whole turns, and one that is cut off in a call.
fn source() -> History {
    let mut meta = SessionMeta::new(id(1), "/srv/demo");
    meta.base_instructions = Some("Be brief.".into());
    let mut records = vec![Line::session_meta(1, &meta)];
    for turn in 0..=TURNS {
        let (name, call) = (named(turn), format!("call-{turn}"));
        records.push(Line::task_started(turn, &name));
        records.extend(Line::user_message(turn, &format!("message {turn}")));
        records.push(Line::function_call(turn, &call, "shell", "{}"));
        if turn < TURNS {
            records.push(Line::function_call_output(turn, &call, "done"));
            records.extend(Line::assistant_message(turn, "so it is", MessagePhase::Final));
            records.push(Line::task_complete(turn, &name, None, Some(1), None));
        }
    }
    records.into_iter().collect()
}

async fn runtime_on(store: Arc<dyn ThreadStore>) -> Runtime {
    let engine = ScriptedEngine::new(|_, input| Script::new().say(input.text()));
    let runtime = Runtime::builder().engine(engine).shared_store(store).start().await.unwrap();
    runtime.import(ImportThread::new(NewThread::root(id(1), 1), source())).await.unwrap();
    runtime
}

/// What a fork has, but for the ids and times that each has of its own, and how it is listed.
async fn fork(runtime: &Runtime, point: &ForkPoint) -> (Vec<NewRecord>, Option<String>) {
    let fork = runtime.fork(id(1), point.clone()).await.unwrap();
    let history = fork.history().await.unwrap();
    let stored = runtime.stored(fork.id()).await.unwrap();
    let same = |record: &coppicer::Record| {
        let mut record = NewRecord::from(record.clone());
        if record.class == RecordClass::Meta && record.at_ms > 1 {
            let meta = SessionMeta::parse(&record.raw).unwrap();
            let told = (meta.base_instructions, meta.cwd, meta.forked_from);
            record.raw = format!("{told:?}").into_bytes().into();
        } else if record.at_ms > TURNS {
            record.raw = record.class.name().as_bytes().into();
        }
        record.at_ms = 0;
        record
    };
    (history.iter().map(same).collect(), stored.details.preview)
}

#[tokio::test]
async fn a_fork_of_a_long_history_on_disk_reads_a_few_records_and_is_the_same_as_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let file = SqliteStore::open(folder.path().join("store.db")).unwrap();
    let store = FaultyStore::new(Arc::new(file));
    let on_disk = runtime_on(Arc::new(store.clone())).await;
    let in_memory = runtime_on(Arc::new(coppicer::MemoryStore::new())).await;
    let middle = TURNS / 2;
    for point in [
        ForkPoint::Interrupted,
        ForkPoint::LastStable,
        ForkPoint::At(Seq(middle * TURN_RECORDS + 5)),
        ForkPoint::BeforeUserMessage(middle as usize),
        ForkPoint::BeforeUserMessage(9_999),
        ForkPoint::Before(named(middle)),
        ForkPoint::After(named(middle)),
        ForkPoint::LastTurns(2),
    ] {
        let before = store.records_read();
        let begun = on_disk.fork(id(1), point.clone()).await.unwrap();
        let read = store.records_read() - before;
        assert!(read <= READ_MAX, "{point:?}: {read} records were read");
        drop(begun);
        let same = fork(&in_memory, &point).await;
        assert_eq!(fork(&on_disk, &point).await, same, "{point:?}");
        assert!(same.1.is_some(), "{point:?}");
    }
    // Also of a thread that lives, and of a fork.
    let thread = on_disk.resume(id(1)).await.unwrap();
    thread.run("and on").await.unwrap();
    let before = store.records_read();
    let child = on_disk.fork(id(1), ForkPoint::NextStable).await.unwrap();
    on_disk.fork(child.id(), ForkPoint::Interrupted).await.unwrap();
    let read = store.records_read() - before;
    assert!(read <= READ_MAX, "{read} records were read");
    for runtime in [on_disk, in_memory] {
        runtime.shutdown(std::time::Duration::from_secs(20)).await.unwrap();
        assert!(runtime.audit().await.is_empty());
    }
}
