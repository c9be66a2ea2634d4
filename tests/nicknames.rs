//! Names for people (REF 3.2): each sub-agent has one, unlike any other of its tree. The rules are
//! pure (`coppicer-supervisor`, `nicknames::tests`: AR-01, AR-09, AR-10, AR-12, AR-17); here they are
//! seen through a runtime.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;

use coppicer::faulty::FaultyStore;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    Change, ForkPoint, IdSource, Limits, MemoryStore, Nicknames, Runtime, ScriptedEngine,
    SessionMeta, SpawnError, SpawnThread, ThreadConfig, ThreadHandle, ThreadId, ThreadPatch,
};

/// A runtime with lists of names, and ids from a seed.
async fn runtime(nicknames: Nicknames, seed: u64) -> Runtime {
    let builder = Runtime::builder().engine(ScriptedEngine::echo()).ids(IdSource::seeded(seed));
    builder.nicknames(nicknames).start().await.unwrap()
}

fn below(parent: ThreadId) -> SpawnThread {
    SpawnThread::new().with_parent(parent)
}

fn named(thread: &ThreadHandle) -> String {
    thread.view().nickname.unwrap()
}

#[tokio::test(start_paused = true)]
async fn ac_34_a_sub_agent_has_a_parent_a_depth_a_role_and_some_nickname() {
    let world = World::new(ScriptedEngine::echo()).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let config = ThreadConfig::default().with_role("explorer");
    let child = world.spawn(below(parent.id()).with_config(config)).await.unwrap();
    let view = child.view();
    assert_eq!((view.parent, view.depth), (Some(parent.id()), 1));
    assert_eq!(view.role.as_deref(), Some("explorer"));
    let name = view.nickname.unwrap();
    assert!(!name.is_empty());
    assert_eq!(parent.view().nickname, None, "a root has one only if it asks");
    // It is durable, and in the line that says who the thread is.
    let stored = world.stored(child.id()).await.unwrap();
    assert_eq!(stored.config.nickname.as_ref(), Some(&name));
    let history = child.history().await.unwrap();
    let meta = SessionMeta::parse(&history.iter().next().unwrap().raw).unwrap();
    assert_eq!(meta.agent_nickname.as_ref(), Some(&name));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_35_a_role_with_a_list_of_its_own_takes_names_from_it() {
    let lists = Nicknames::default().with_role("researcher", ["Atlas"]).unwrap();
    let runtime = runtime(lists, 1).await;
    let parent = runtime.spawn(SpawnThread::new()).await.unwrap();
    let researcher = || {
        let config = ThreadConfig::default().with_role("researcher");
        below(parent.id()).with_config(config)
    };
    assert_eq!(named(&runtime.spawn(researcher()).await.unwrap()), "Atlas");
    assert_eq!(named(&runtime.spawn(researcher()).await.unwrap()), "Atlas the 2nd");
    runtime.shutdown(BUDGET).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn ar_09_the_name_of_a_spawn_that_was_undone_stays_used() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    let builder = Runtime::builder().engine(ScriptedEngine::echo()).store(store.clone());
    let lists = Nicknames::new(["alpha"]).unwrap().with_role("two", ["alpha", "beta"]).unwrap();
    let runtime = builder.nicknames(lists).start().await.unwrap();
    let parent = runtime.spawn(SpawnThread::new()).await.unwrap();
    // A first submission that is refused undoes its spawn.
    let refused = runtime.spawn(below(parent.id()).with_first("")).await.unwrap_err();
    assert!(matches!(refused, SpawnError::FirstSubmission(_)), "{refused:?}");
    let two = ThreadConfig::default().with_role("two");
    let child = runtime.spawn(below(parent.id()).with_config(two)).await.unwrap();
    assert_eq!(named(&child), "beta");
    runtime.shutdown(BUDGET).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn ar_12_names_of_agents_that_are_closed_come_again_with_an_ordinal() {
    let runtime = runtime(Nicknames::new(["Plato"]).unwrap(), 1).await;
    let parent = runtime.spawn(SpawnThread::new()).await.unwrap();
    for name in ["Plato", "Plato the 2nd", "Plato the 3rd"] {
        let child = runtime.spawn(below(parent.id())).await.unwrap();
        assert_eq!(named(&child), name);
        child.close(BUDGET).await.unwrap();
    }
    // Another tree has names of its own.
    let other = runtime.spawn(SpawnThread::new()).await.unwrap();
    assert_eq!(named(&runtime.spawn(below(other.id())).await.unwrap()), "Plato");
    runtime.shutdown(BUDGET).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_name_of_its_own_is_taken_as_it_is_and_given_to_nobody_else() {
    let runtime = runtime(Nicknames::new(["Ash", "Elm"]).unwrap(), 1).await;
    let parent = runtime.spawn(SpawnThread::new()).await.unwrap();
    let own = || ThreadConfig::default().with_nickname("Ash");
    let twins = [own(), own()].map(|config| below(parent.id()).with_config(config));
    for twin in twins {
        assert_eq!(named(&runtime.spawn(twin).await.unwrap()), "Ash");
    }
    let third = runtime.spawn(below(parent.id())).await.unwrap();
    assert_eq!(named(&third), "Elm");
    // A name that it is given later is used too.
    let patch = ThreadPatch { nickname: Change::Set("Ash the 2nd".into()), ..Default::default() };
    runtime.patch(third.id(), patch).await.unwrap();
    let fourth = runtime.spawn(below(parent.id())).await.unwrap();
    assert!(named(&fourth).ends_with(" the 2nd"));
    runtime.shutdown(BUDGET).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn forks_and_grandchildren_have_one_and_a_root_that_asks() {
    let runtime = runtime(Nicknames::new(["Ash", "Elm", "Oak"]).unwrap(), 7).await;
    let root = runtime.spawn(SpawnThread::new().nicknamed()).await.unwrap();
    let child = runtime.spawn(below(root.id())).await.unwrap();
    let fork = SpawnThread::fork(root.id(), ForkPoint::Interrupted).with_parent(child.id());
    let fork = runtime.spawn(fork).await.unwrap();
    let mut names = [named(&root), named(&child), named(&fork)];
    names.sort_unstable();
    assert_eq!(names, ["Ash", "Elm", "Oak"], "each once in the tree");
    let lone = runtime.fork(root.id(), ForkPoint::Interrupted).await.unwrap();
    assert_eq!(lone.view().nickname, None, "a fork without a parent is a root");
    runtime.shutdown(BUDGET).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_row_of_names_and_none_comes_twice() {
    let mut rows = Vec::new();
    for seed in [1, 1, 2] {
        let runtime = runtime(Nicknames::default(), seed).await;
        let parent = runtime.spawn(SpawnThread::new()).await.unwrap();
        let mut row = Vec::new();
        for _ in 0..20 {
            row.push(named(&runtime.spawn(below(parent.id())).await.unwrap()));
        }
        let mut once = row.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), row.len(), "{row:?}");
        rows.push(row);
        runtime.shutdown(BUDGET).await.unwrap();
    }
    assert_eq!(rows[0], rows[1]);
    assert_ne!(rows[0], rows[2]);
}

#[tokio::test(start_paused = true)]
async fn ac_36_a_name_that_was_given_is_there_again_after_a_restart_and_stays_used() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    let world = |store| World::on(store, ScriptedEngine::echo(), Limits::default());
    let first = world(store.clone()).await;
    let parent = first.spawn(SpawnThread::new()).await.unwrap().id();
    let child = first.spawn(below(parent)).await.unwrap();
    let (child, name) = (child.id(), named(&child));
    first.end().await;
    let second = world(store).await;
    let resumed = second.resume_tree(parent).await.unwrap();
    assert_eq!(named(&resumed.below[0]), name);
    assert_eq!(resumed.below[0].id(), child);
    for n in 0..101 {
        // The first world's ids came from the same seed.
        let id = ThreadId::from_parts(n, [7; 10]);
        let next = second.spawn(below(parent).with_id(id)).await.unwrap();
        assert_ne!(named(&next), name, "the others of the list come first");
    }
    second.end().await;
}
