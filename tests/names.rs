//! What a thread is called is its own for as long as it is not closed: also while it is in the store
//! alone, and for the next process. (Stores: `contract`; what is given to whom: `tests/nicknames.rs`.)

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::time::Duration;

use coppicer::faulty::{FaultyStore, StoreOp};
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentPath, Change, Done, IdSource, Limits, MemoryStore, NewThread, Nicknames, Runtime,
    ScriptedEngine, SpawnError, SpawnThread, SqliteStore, StoreError, ThreadConfig, ThreadId,
    ThreadPatch, ThreadStore,
};

/// After this long without work a thread leaves memory.
const IDLE: Duration = Duration::from_secs(60);

fn store() -> FaultyStore {
    FaultyStore::new(Arc::new(MemoryStore::new()))
}

async fn on(store: &FaultyStore) -> World {
    World::on(store.clone(), ScriptedEngine::echo(), Limits::default()).await
}

fn below(parent: ThreadId) -> SpawnThread {
    SpawnThread::new().with_parent(parent)
}

fn taken(path: &str) -> SpawnError {
    SpawnError::PathTaken { path: path.into() }
}

/// A root and a worker below it, of a process that is dead by then: it is buried at the end.
async fn left_behind(store: &FaultyStore) -> (World, ThreadId, ThreadId) {
    let dead = on(store).await;
    let root = dead.spawn(SpawnThread::new()).await.unwrap();
    let worker = dead.spawn(below(root.id()).with_name("worker")).await.unwrap();
    for thread in [&root, &worker] {
        thread.run("persist").await.unwrap();
    }
    (dead, root.id(), worker.id())
}

async fn bury(dead: World) {
    drop(dead.shutdown(BUDGET).await);
}

/// A thread that is brought up for a message, and nothing below it.
async fn wake(world: &World, thread: ThreadId) {
    let receipt = world.submit(thread, "awake").await.unwrap();
    world.get(thread).unwrap().outcome(&receipt.submission).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_path_of_a_stored_thread_is_its_own_in_the_next_process() {
    let store = store();
    let (dead, root, worker) = left_behind(&store).await;
    let world = on(&store).await;
    wake(&world, root).await;
    let request = || below(root).with_name("worker");
    for _ in 0..2 {
        assert_eq!(world.spawn(request()).await.unwrap_err(), taken("/root/worker"));
    }
    assert!(world.get(worker).is_none(), "nobody woke it for that");
    world.spawn(below(root).with_name("another")).await.unwrap();
    // It comes back under it, and gives it up when it is closed.
    wake(&world, worker).await;
    let path: AgentPath = "/root/worker".parse().unwrap();
    assert_eq!(world.get(worker).unwrap().view().path, Some(path.clone()));
    assert_eq!(world.resolve(root, "worker").await, Ok(worker));
    world.close(worker, BUDGET).await.unwrap();
    let next = world.spawn(request()).await.unwrap();
    assert_eq!(next.view().path, Some(path));
    bury(dead).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_path_is_its_own_wherever_in_the_tree_its_thread_hangs() {
    // Below a thread without a name, and by a patch.
    let store = store();
    let dead = on(&store).await;
    let root = dead.spawn(SpawnThread::new()).await.unwrap().id();
    let nameless = dead.spawn(below(root)).await.unwrap().id();
    dead.spawn(below(nameless).with_name("below")).await.unwrap();
    let patched = dead.spawn(below(nameless)).await.unwrap().id();
    let path = Change::Set("/root/patched".parse().unwrap());
    dead.patch(patched, ThreadPatch { path, ..ThreadPatch::default() }).await.unwrap();

    let world = on(&store).await;
    wake(&world, root).await;
    for name in ["below", "patched"] {
        let refused = world.spawn(below(root).with_name(name)).await.unwrap_err();
        assert_eq!(refused, taken(&format!("/root/{name}")));
    }
    // Another name of one that sleeps frees the first one.
    let path = Change::Set("/root/renamed".parse().unwrap());
    world.patch(patched, ThreadPatch { path, ..ThreadPatch::default() }).await.unwrap();
    let refused = world.spawn(below(root).with_name("renamed")).await.unwrap_err();
    assert_eq!(refused, taken("/root/renamed"));
    let id = ThreadId::from_parts(9, [9; 10]); // the ids of both hosts come from one seed
    world.spawn(below(root).with_id(id).with_name("patched")).await.unwrap();
    bury(dead).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_nickname_is_not_given_again_while_a_stored_thread_has_it() {
    let store = store();
    let host = async |seed| {
        let names = Nicknames::new(["Ash", "Beech", "Cedar"]).unwrap();
        let builder = Runtime::builder().engine(ScriptedEngine::echo()).nicknames(names);
        builder.store(store.clone()).ids(IdSource::seeded(seed)).start().await.unwrap()
    };
    let dead = host(1).await;
    let root = dead.spawn(SpawnThread::new()).await.unwrap().id();
    let mut given = Vec::new();
    for _ in 0..4 {
        given.push(dead.spawn(below(root)).await.unwrap().view().nickname.unwrap());
    }
    let runtime = host(2).await;
    runtime.submit(root, "awake").await.unwrap();
    for _ in 0..3 {
        given.push(runtime.spawn(below(root)).await.unwrap().view().nickname.unwrap());
    }
    let mut names = given.clone();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 7, "{given:?}");
    assert!(given[6].ends_with(" the 3rd"), "no round is left out: {given:?}");
    drop(dead.shutdown(BUDGET).await);
    runtime.shutdown(BUDGET).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_name_outlives_the_time_of_its_tree_in_memory() {
    let mut limits = Limits::default();
    limits.idle_after = IDLE;
    let world = World::with_limits(ScriptedEngine::echo(), limits).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap().id();
    world.spawn(below(root).with_name("worker")).await.unwrap();
    tokio::time::sleep(IDLE * 4).await; // virtual
    assert!(world.get(root).is_none(), "the whole tree left memory");
    wake(&world, root).await;
    let refused = world.spawn(below(root).with_name("worker")).await.unwrap_err();
    assert_eq!(refused, taken("/root/worker"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_names_of_a_list_are_asked_for_once_and_those_of_a_new_tree_never() {
    let store = store();
    let (dead, root, _) = left_behind(&store).await;
    for n in 0..3 {
        dead.spawn(below(root).with_name(format!("w{n}"))).await.unwrap();
    }
    assert_eq!(store.calls(StoreOp::Names), 0, "all of it was made there");
    let world = on(&store).await;
    wake(&world, root).await;
    for n in 3..9 {
        world.spawn(below(root).with_name(format!("w{n}"))).await.unwrap();
    }
    assert_eq!(store.calls(StoreOp::Names), 1);
    // Who says what it is called needs none.
    let config = ThreadConfig::default().with_nickname("Ada").with_role("scout");
    world.spawn(below(root).with_config(config)).await.unwrap();
    assert_eq!(store.calls(StoreOp::Names), 1);
    bury(dead).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_into_a_large_stored_tree_looks_at_no_thread_of_it() {
    // Each name of the list was given some 200 times.
    let store = store();
    let mut limits = Limits::default();
    (limits.children_max, limits.tree_max, limits.spawns_per_minute_max) = (9_000, 9_000, 9_000);
    let host = async |seed| {
        let names = Nicknames::new(["Ash", "Beech", "Cedar"]).unwrap();
        let builder = Runtime::builder().engine(ScriptedEngine::echo()).nicknames(names);
        let builder = builder.limits(limits.clone()).ids(IdSource::seeded(seed));
        builder.store(store.clone()).start().await.unwrap()
    };
    let dead = host(1).await;
    let root = dead.spawn(SpawnThread::new()).await.unwrap().id();
    for n in 0..601 {
        dead.spawn(below(root).with_name(format!("w{n}"))).await.unwrap();
    }
    let runtime = host(2).await;
    runtime.submit(root, "awake").await.unwrap();
    let (looks, names) = (store.calls(StoreOp::Look), store.calls(StoreOp::Names));
    let next = runtime.spawn(below(root).with_name("next")).await.unwrap();
    // 601 are 200 rounds and one: 200 has eight digits.
    let asked = store.calls(StoreOp::Names) - names;
    assert!((2..=18).contains(&asked), "the store was asked for {asked} rounds");
    assert_eq!(store.calls(StoreOp::Look), looks, "nobody was looked at");
    assert!(next.view().nickname.unwrap().ends_with(" the 201st"), "no round is left out");
    let refused = runtime.spawn(below(root).with_name("w17")).await.unwrap_err();
    assert_eq!(refused, taken("/root/w17"));
    drop(dead.shutdown(BUDGET).await);
    runtime.shutdown(BUDGET).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_name_that_came_free_while_the_names_were_read_is_free() {
    let store = store();
    let (dead, root, worker) = left_behind(&store).await;
    let world = on(&store).await;
    wake(&world, root).await;
    store.hold(StoreOp::Names);
    let spawning = world.spawn(below(root).with_name("worker"));
    let closing = async {
        tokio::task::yield_now().await;
        world.close(worker, BUDGET).await.unwrap();
        assert_eq!(store.calls(StoreOp::Names), 1, "the names were asked for before");
        store.release(StoreOp::Names);
    };
    let (spawned, ()) = tokio::join!(spawning, closing);
    assert_ne!(spawned.unwrap().id(), worker);
    bury(dead).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_whose_names_cannot_be_read_is_refused_and_the_next_one_is_not() {
    let store = store();
    let (dead, root, _) = left_behind(&store).await;
    let world = on(&store).await;
    wake(&world, root).await;
    let error = StoreError::Unavailable { reason: "the disk is away".into() };
    store.fail_next(StoreOp::Names, error.clone());
    assert_eq!(world.spawn(below(root)).await.unwrap_err(), SpawnError::Store(error));
    // P4: it has its answer by the deadline, and nothing of it remains.
    store.hold(StoreOp::Names);
    let late = world.spawn_within(below(root).with_name("late"), Duration::from_secs(1)).await;
    assert_eq!(late.unwrap_err(), SpawnError::NoAnswer);
    store.release(StoreOp::Names);
    world.spawn(below(root).with_name("late")).await.unwrap();
    bury(dead).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_store_refuses_a_path_that_only_it_knows_to_be_taken() {
    let world = World::new(ScriptedEngine::echo()).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap().id();
    let behind = NewThread {
        parent: Some(root),
        depth: 1,
        path: Some("/root/worker".parse().unwrap()),
        ..NewThread::root(ThreadId::from_parts(7, [7; 10]), 1)
    };
    let (done, made) = Done::channel();
    world.store.create(behind, Vec::new(), done);
    made.await.unwrap();
    let before = world.audit().await;
    let refused = world.spawn(below(root).with_name("worker")).await.unwrap_err();
    assert_eq!(refused, taken("/root/worker"));
    let after = world.audit().await;
    assert_eq!(before.live.len(), after.live.len(), "nothing of it remains: {after:?}");
    world.spawn(below(root).with_name("another")).await.unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_thread_whose_name_another_took_is_not_resumed_under_it() {
    let store = store();
    let (dead, root, old) = left_behind(&store).await;
    dead.close(old, BUDGET).await.unwrap();
    let new = dead.spawn(below(root).with_name("worker")).await.unwrap().id();

    let world = on(&store).await;
    assert_eq!(world.resume(old).await.unwrap_err(), taken("/root/worker"));
    // It can still be read, and comes back when the name is free.
    assert_eq!(world.stored(old).await.unwrap().path.unwrap().to_string(), "/root/worker");
    world.close(new, BUDGET).await.unwrap();
    assert_eq!(world.resume(old).await.unwrap().id(), old);
    bury(dead).await;
    world.end().await;
}

#[test]
fn names_are_kept_on_disk_across_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let host = |work: &mut dyn FnMut(&Runtime, &tokio::runtime::Runtime), dies: bool| {
        let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let runtime = threads.block_on(async {
            let names = Nicknames::new(["Ash"]).unwrap();
            let builder = Runtime::builder().engine(ScriptedEngine::echo()).nicknames(names);
            builder.store(SqliteStore::open(&path).unwrap()).start().await.unwrap()
        });
        work(&runtime, &threads);
        if !dies {
            threads.block_on(runtime.shutdown(BUDGET)).unwrap();
        }
        drop(runtime);
        threads.shutdown_timeout(BUDGET);
    };
    let (mut root, mut worker) = (None, None);
    host(
        &mut |runtime, threads| {
            threads.block_on(async {
                let top = runtime.spawn(SpawnThread::new()).await.unwrap();
                let child = runtime.spawn(below(top.id()).with_name("worker")).await.unwrap();
                child.run("persist").await.unwrap();
                (root, worker) = (Some(top.id()), Some(child.id()));
            });
        },
        true,
    );
    let (root, worker) = (root.unwrap(), worker.unwrap());
    host(
        &mut |runtime, threads| {
            threads.block_on(async {
                runtime.submit(root, "awake").await.unwrap();
                let config = ThreadConfig::default().with_role("scout");
                let child = runtime.spawn(below(root).with_config(config)).await.unwrap();
                assert_eq!(child.view().nickname.as_deref(), Some("Ash the 2nd"));
                let refused = runtime.spawn(below(root).with_name("worker")).await.unwrap_err();
                assert_eq!(refused, taken("/root/worker"));
                assert!(runtime.get(worker).is_none());
                runtime.close(worker, BUDGET).await.unwrap();
                runtime.spawn(below(root).with_name("worker")).await.unwrap();
            });
        },
        false,
    );
    let reader = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sound =
        reader.block_on(async { SqliteStore::open(&path).unwrap().verify().await.unwrap() });
    assert!(sound.is_sound(), "{sound:?}");
}

#[tokio::test(start_paused = true)]
async fn what_left_memory_below_a_thread_that_is_closed_gives_its_name_up_with_it() {
    let mut limits = Limits::default();
    limits.idle_after = IDLE;
    let world = World::with_limits(ScriptedEngine::echo(), limits).await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let a = world.spawn(below(top.id()).with_name("a")).await.unwrap();
    let b = world.spawn(below(a.id()).with_name("b")).await.unwrap().id();
    tokio::time::sleep(IDLE * 4).await; // virtual
    assert!(world.get(b).is_none() && world.get(a.id()).is_some(), "it is held");
    world.close(a.id(), BUDGET).await.unwrap();
    let again = world.spawn(below(top.id()).with_name("a")).await.unwrap();
    world.spawn(below(again.id()).with_name("b")).await.unwrap();
    world.end().await;
}
