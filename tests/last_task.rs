//! What was asked of a thread last is known of one that sleeps, and after a restart of the host (REF
//! 3.6, 3.11; weakness: REF kept it in the memory of its registry). Stores: `contract`.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::time::Duration;

use coppicer::faulty::{FaultyStore, StoreOp};
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentPath, AgentRow, Limits, MemoryStore, Runtime, ScriptedEngine, SpawnThread, SqliteStore,
    ThreadId,
};

async fn on(store: &FaultyStore) -> World {
    World::on(store.clone(), ScriptedEngine::echo(), Limits::default()).await
}

/// A root and a worker below it, of which something was asked twice.
async fn asked_twice(runtime: &Runtime) -> (ThreadId, ThreadId) {
    let root = runtime.spawn(SpawnThread::new()).await.unwrap();
    let worker = SpawnThread::new().with_parent(root.id()).with_name("worker");
    let worker = runtime.spawn(worker).await.unwrap();
    for task in ["first", "second"] {
        worker.run(task).await.unwrap();
    }
    (root.id(), worker.id())
}

async fn row(runtime: &Runtime, root: ThreadId, thread: ThreadId) -> AgentRow {
    let agents = runtime.agents(root, None).await.unwrap();
    agents.into_iter().find(|row| row.thread == thread).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_the_next_process_says_what_was_asked_last_and_reads_no_history() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    let dead = on(&store).await;
    let (root, worker) = asked_twice(&dead).await;

    let world = on(&store).await;
    let reads = store.calls(StoreOp::Read);
    let listed = row(&world, root, worker).await;
    assert_eq!((listed.loaded, listed.last_task.as_deref()), (false, Some("second")));
    assert_eq!(store.calls(StoreOp::Read), reads);
    // Its preview is still how it began.
    let stored = world.stored(worker).await.unwrap();
    assert_eq!(stored.details.preview.as_deref(), Some("first"));
    // It shows the same when it is there again, and what is asked then.
    let thread = world.resume(worker).await.unwrap();
    assert_eq!(thread.view().last_task.as_deref(), Some("second"));
    world.mail(worker, AgentPath::root(), "by mail", false).await.unwrap();
    assert!(thread.submit("").await.is_err(), "what is refused was not asked");
    thread.hibernate().await.unwrap();
    drop(thread);
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual
    let listed = row(&world, root, worker).await;
    assert_eq!((listed.loaded, listed.last_task.as_deref()), (false, Some("by mail")));
    drop(dead.shutdown(BUDGET).await);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_was_asked_already() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "slow" => coppicer::Script::new().sleep(Duration::from_secs(500)),
        text => coppicer::Script::new().say(text),
    });
    let dead = World::on(store.clone(), engine, Limits::default()).await;
    let thread = dead.spawn(SpawnThread::new()).await.unwrap();
    for task in ["slow", "x".repeat(1_000).as_str()] {
        thread.submit(task).await.unwrap();
    }
    let kept = store_row(&store, thread.id()).await;
    assert_eq!(kept.map(|task| task.len()), Some(256), "in short");
    drop(dead.shutdown(BUDGET).await);
}

async fn store_row(store: &FaultyStore, thread: ThreadId) -> Option<String> {
    coppicer::ThreadStore::thread(store, thread).await.unwrap().last_task().map(str::to_owned)
}

#[test]
fn what_was_asked_last_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let threads = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    };
    let start = async || {
        let store = SqliteStore::open(&path).unwrap();
        Runtime::builder().engine(ScriptedEngine::echo()).store(store).start().await.unwrap()
    };
    // The first host dies where it is.
    let first = threads();
    let (root, worker) = first.block_on(async {
        let runtime = start().await;
        asked_twice(&runtime).await
    });
    first.shutdown_timeout(BUDGET);
    let second = threads();
    second.block_on(async {
        let runtime = start().await;
        let listed = row(&runtime, root, worker).await;
        assert_eq!((listed.loaded, listed.last_task.as_deref()), (false, Some("second")));
        runtime.shutdown(BUDGET).await.unwrap();
    });
    second.shutdown_timeout(BUDGET);
    threads().block_on(async {
        let sound = SqliteStore::open(&path).unwrap().verify().await.unwrap();
        assert!(sound.is_sound(), "{sound:?}");
    });
}
