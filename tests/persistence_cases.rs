//! Cases and weaknesses of the reference system that are about what is kept, by their ids in REF
//! 12.2 and 14.6. Where REF drops its manager, a process dies: its threads write nothing any more,
//! and the next runtime opens the same store.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::time::Duration;

use coppicer::faulty::{FaultyStore, StoreOp};
use coppicer::testing::{BUDGET, World};
use coppicer::{
    EdgeStatus, EngineError, Limits, MemoryStore, Op, Outcome, RecordedOutcome, Script,
    ScriptedEngine, Seq, SpawnError, SpawnThread, StoreError, SubmitError, ThreadConfig,
    ThreadHandle, ThreadId, ThreadStatus, model_view, recorded_turns,
};

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "fail" => Script::new().fail(EngineError::fatal("boom")),
        text => Script::new().say(text),
    })
}

fn store() -> FaultyStore {
    FaultyStore::new(Arc::new(MemoryStore::new()))
}

async fn on(store: &FaultyStore) -> World {
    World::on(store.clone(), engine(), Limits::default()).await
}

/// P, c below it, g below that, as in AC-40.
async fn grow(world: &World) -> [ThreadId; 3] {
    let below = |parent: &ThreadHandle, role: &str| {
        let config = ThreadConfig::default().with_role(role);
        SpawnThread::new().with_parent(parent.id()).with_config(config)
    };
    let p = world.spawn(SpawnThread::new()).await.unwrap();
    let c = world.spawn(below(&p, "explorer")).await.unwrap();
    let g = world.spawn(below(&c, "worker")).await.unwrap();
    for thread in [&p, &c, &g] {
        thread.run("persist").await.unwrap();
    }
    [p.id(), c.id(), g.id()]
}

fn here(world: &World, threads: [ThreadId; 3]) -> [bool; 3] {
    threads.map(|thread| world.get(thread).is_some())
}

#[tokio::test(start_paused = true)]
async fn ac_36_a_resumed_sub_agent_has_its_parent_path_nickname_and_role_again() {
    let store = store();
    let first = on(&store).await;
    let parent = first.spawn(SpawnThread::new()).await.unwrap();
    let mut config = ThreadConfig::default().with_role("explorer");
    config.nickname = Some("Atlas".into());
    let request = SpawnThread::new().with_parent(parent.id()).with_config(config);
    let child = first.spawn(request.with_name("explorer")).await.unwrap();
    child.run("persist").await.unwrap();
    first.close(child.id(), BUDGET).await.unwrap();
    let (parent, child) = (parent.id(), child.id());
    first.end().await;

    let second = on(&store).await;
    let again = second.resume(child).await.unwrap();
    let view = again.view();
    assert_eq!((again.id(), view.parent, view.depth), (child, Some(parent), 1));
    assert_eq!(view.path, Some("/root/explorer".parse().unwrap()));
    assert_eq!(view.nickname.as_deref(), Some("Atlas"));
    assert_eq!(view.role.as_deref(), Some("explorer"));
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_37_an_archived_thread_is_resumed() {
    let store = store();
    let first = on(&store).await;
    let thread = first.spawn(SpawnThread::new()).await.unwrap();
    thread.run("keep me").await.unwrap();
    let thread = thread.id();
    first.archive(thread, BUDGET).await.unwrap();
    first.end().await;

    let second = on(&store).await;
    let again = second.resume(thread).await.unwrap();
    assert_eq!(again.id(), thread);
    let kept = model_view(&again.history().await.unwrap());
    assert!(String::from_utf8_lossy(&kept.to_json()).contains("keep me"));
    assert_eq!(again.run("on").await.unwrap().message(), Some("on"));
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_42_a_closed_edge_keeps_its_branch_out_of_a_resume_by_the_next_process() {
    let store = store();
    let first = on(&store).await;
    let tree = grow(&first).await;
    first.close(tree[1], BUDGET).await.unwrap();
    first.close(tree[0], BUDGET).await.unwrap();
    first.end().await;

    let second = on(&store).await;
    let resumed = second.resume_tree(tree[0]).await.unwrap();
    assert!(resumed.below.is_empty() && resumed.failed.is_empty(), "{resumed:?}");
    assert_eq!(here(&second, tree), [true, false, false]);
    let thread = tree[1];
    let refused = second.submit(thread, "hello").await.unwrap_err();
    assert_eq!(refused, SubmitError::Closed { thread }, "nor does a message open it");
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_44_after_a_shutdown_the_next_process_brings_the_whole_tree_back() {
    let store = store();
    let first = on(&store).await;
    let tree = grow(&first).await;
    let report = first.close_all(Duration::from_secs(5)).await.unwrap();
    assert!(report.submit_failed.is_empty() && report.timed_out.is_empty());
    first.end().await;

    let second = on(&store).await;
    let resumed = second.resume_tree(tree[0]).await.unwrap();
    let below: Vec<ThreadId> = resumed.below.iter().map(ThreadHandle::id).collect();
    assert_eq!(below, [tree[1], tree[2]], "parents before children");
    assert_eq!(here(&second, tree), [true; 3]);
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_46_a_branch_whose_thread_cannot_be_read_stays_out_and_the_resume_succeeds() {
    for deleted in [false, true] {
        let store = store();
        let first = on(&store).await;
        let tree = grow(&first).await;
        first.close_all(Duration::from_secs(5)).await.unwrap();
        if deleted {
            first.delete(tree[1], BUDGET).await.unwrap();
        }
        first.end().await;

        let second = on(&store).await;
        second.resume(tree[0]).await.unwrap();
        if !deleted {
            let damage =
                StoreError::Corrupt { thread: tree[1], seq: Seq(0), reason: "gone".into() };
            store.fail_next(StoreOp::Acquire, damage);
        }
        let resumed = second.resume_tree(tree[0]).await.unwrap();
        assert!(resumed.below.is_empty(), "{resumed:?}");
        assert_eq!(here(&second, tree), [true, false, false]);
        let failed: Vec<ThreadId> = resumed.failed.iter().map(|(thread, _)| *thread).collect();
        let listed = second.store().children(tree[0], Some(EdgeStatus::Open)).await.unwrap();
        if deleted {
            assert!(failed.is_empty() && listed.is_empty());
        } else {
            assert!(matches!(resumed.failed[0].1, SpawnError::Damaged { .. }), "{resumed:?}");
            assert_eq!((failed, listed), (vec![tree[1]], vec![tree[1]]), "it stays listed (P8)");
        }
        second.end().await;
    }
}

async fn items(thread: &ThreadHandle) -> usize {
    model_view(&thread.history().await.unwrap()).items.len()
}

/// REF changed its memory before the marker was durable, so that a restart brought turns back.
#[tokio::test(start_paused = true)]
async fn weakness_34_a_rollback_counts_once_it_is_durable_and_not_before() {
    let store = store();
    let first = on(&store).await;
    let thread = first.spawn(SpawnThread::new()).await.unwrap();
    for text in ["one", "two"] {
        thread.run(text).await.unwrap();
    }
    assert_eq!(items(&thread).await, 4);
    let full = StoreError::Unavailable { reason: "disk full".into() };
    store.fail_next(StoreOp::Append, full.clone());
    let refused = thread.submit(Op::Rollback { turns: 1 }).await.unwrap_err();
    assert_eq!(refused, SubmitError::Store(full));
    assert_eq!(thread.run("three").await.unwrap().name(), "completed");
    assert_eq!(items(&thread).await, 6, "refused: nothing is taken back");
    // While its write is under way it is in nobody's history.
    store.hold(StoreOp::Append);
    let rollback = {
        let thread = thread.clone();
        tokio::spawn(async move { thread.submit(Op::Rollback { turns: 2 }).await })
    };
    tokio::time::sleep(Duration::from_millis(1)).await; // virtual: it is written now
    let history = first.store().read(thread.id(), None).await.unwrap();
    assert_eq!(model_view(&history).items.len(), 6);
    assert!(!rollback.is_finished(), "and nobody was told");
    store.release(StoreOp::Append);
    rollback.await.unwrap().unwrap();
    assert_eq!(items(&thread).await, 2);
    let thread = { thread }.id();
    first.end().await;

    let second = on(&store).await;
    let thread = second.resume(thread).await.unwrap();
    assert_eq!(items(&thread).await, 2, "and it stays so");
    second.end().await;
}

/// REF did not keep error events, so that a failed turn looked successful after a resume.
#[tokio::test(start_paused = true)]
async fn weakness_38_a_failed_turn_is_still_failed_after_a_resume() {
    let store = store();
    let first = on(&store).await;
    let thread = first.spawn(SpawnThread::new()).await.unwrap();
    let receipt = thread.submit("fail").await.unwrap();
    let failed = Outcome::Failed { error: "boom".into() };
    assert_eq!(thread.outcome(&receipt.submission).await.unwrap(), failed);
    // The process dies: the next one shows it as failed, and so it stays after a close.
    let second = on(&store).await;
    let again = second.resume(thread.id()).await.unwrap();
    assert_eq!(again.status(), ThreadStatus::Errored("boom".into()));
    again.close(BUDGET).await.unwrap();
    let again = second.resume(thread.id()).await.unwrap();
    let turns = recorded_turns(&again.history().await.unwrap());
    assert!(
        matches!(&turns[0].outcome, RecordedOutcome::Failed),
        "in its history: {:?}",
        turns[0].outcome
    );
    assert_eq!(again.outcome(&receipt.submission).await.unwrap(), failed);
    drop(first.shutdown(BUDGET).await);
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn weakness_39_a_thread_that_was_resumed_from_the_archive_can_be_rolled_back() {
    let store = store();
    let first = on(&store).await;
    let thread = first.spawn(SpawnThread::new()).await.unwrap();
    for text in ["one", "two"] {
        thread.run(text).await.unwrap();
    }
    first.archive(thread.id(), BUDGET).await.unwrap();
    let thread = first.resume(thread.id()).await.unwrap();
    thread.submit(Op::Rollback { turns: 1 }).await.unwrap();
    assert_eq!(items(&thread).await, 2);
    assert!(first.stored(thread.id()).await.unwrap().archived_ms.is_some());
    first.end().await;
}
