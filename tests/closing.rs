//! Closing is legal in every phase, idempotent, and answers also for what is gone (P5).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    Audit, CloseError, CloseReport, EdgeStatus, Limits, Phase, Rung, Script, ScriptedEngine,
    SpawnError, SpawnThread, Step, StoreError, ThreadHandle, ThreadId, ThreadStatus,
};
use tokio::time::Instant;

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "panic" => Script::new().panic("boom"),
        "hang" => Script::new().then(Step::Hang),
        "ignore" => Script::new().then(Step::IgnoreCancel(Duration::from_secs(3_600))),
        text => Script::new().say(text),
    })
}

async fn spawn(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.unwrap()
}

async fn closes(world: &World, thread: ThreadId) -> CloseReport {
    let before = Instant::now();
    let report = world.close(thread, BUDGET).await.unwrap();
    assert!(before.elapsed() <= BUDGET, "by its deadline");
    assert!(report.timed_out.is_empty(), "{report:?}");
    assert!(world.get(thread).is_none());
    report
}

#[tokio::test(start_paused = true)]
async fn a_thread_is_closed_in_whatever_phase_it_is_and_its_end_is_durable() {
    let world = World::new(engine()).await;
    let idle = spawn(&world).await;
    let pausing = spawn(&world).await;
    pausing.run("panic").await.unwrap();
    assert_eq!(pausing.view().phase, Phase::Backoff, "its engine crashed");
    let crashed = spawn(&world).await;
    crashed.panic_for_test();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(crashed.view().phase, Phase::Backoff, "its actor crashed");
    let parked = spawn(&world).await;
    parked.park().await.unwrap();
    let dormant = spawn(&world).await;
    dormant.hibernate().await.unwrap();
    let running = spawn(&world).await;
    running.submit("hang").await.unwrap();
    let wedged = spawn(&world).await;
    wedged.submit("ignore").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    for (thread, rung) in [
        (&idle, Rung::Drained),
        (&pausing, Rung::Drained),
        (&crashed, Rung::Drained),
        (&parked, Rung::Drained),
        (&dormant, Rung::Drained),
        (&running, Rung::Stopped),
        (&wedged, Rung::Killed),
    ] {
        let report = closes(&world, thread.id()).await;
        assert_eq!(report.rung(thread.id()), Some(rung));
        let stored = world.store().thread(thread.id()).await.unwrap();
        assert_eq!(stored.status, ThreadStatus::Shutdown);
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_is_starting_is_closed_and_its_spawn_refused() {
    let world = World::new(engine()).await;
    let parent = spawn(&world).await;
    world.store.hold(StoreOp::Create);
    let child = ThreadId::from_parts(7, [7; 10]);
    let request = SpawnThread::new().with_id(child).with_parent(parent.id());
    let runtime = world.runtime().clone();
    let spawning = tokio::spawn(async move { runtime.spawn(request).await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let runtime = world.runtime().clone();
    let closing = tokio::spawn(async move { runtime.close(child, BUDGET).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.store.release(StoreOp::Create);
    let refused = spawning.await.unwrap().unwrap_err();
    assert!(matches!(refused, SpawnError::Closing { .. }), "{refused}");
    assert!(closing.await.unwrap().unwrap().timed_out.is_empty());
    assert!(world.store().thread(child).await.is_err(), "nothing of it remains");
    assert_eq!(parent.run("hello").await.unwrap().message(), Some("hello"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn closing_twice_and_closing_what_is_gone_are_answered_and_change_nothing() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    thread.submit("ignore").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (first, second) =
        tokio::join!(world.close(thread.id(), BUDGET), world.close(thread.id(), BUDGET));
    assert_eq!(first.unwrap().completed, [thread.id()]);
    assert_eq!(second.unwrap().completed, [thread.id()], "who joins a close gets its report");
    let head = world.store().thread(thread.id()).await.unwrap();
    let again = world.close(thread.id(), BUDGET).await.unwrap();
    assert!(again.timed_out.is_empty() && again.submit_failed.is_empty());
    assert_eq!(world.store().thread(thread.id()).await.unwrap(), head);
    let unknown = ThreadId::from_parts(1, [1; 10]);
    let missing = world.close(unknown, BUDGET).await;
    assert_eq!(missing, Err(CloseError::NotFound { thread: unknown }));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_subtree_a_thread_and_everything_are_closed_by_the_same_rules() {
    for what in ["subtree", "everything"] {
        let world = World::new(engine()).await;
        let root = spawn(&world).await;
        let mut threads = vec![root.clone()];
        for at in 0..40 {
            let parent = threads[at / 3].id();
            let child = world.spawn(SpawnThread::new().with_parent(parent)).await.unwrap();
            if at % 5 == 0 {
                child.submit("ignore").await.unwrap();
            }
            threads.push(child);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let before = Instant::now();
        let budget = Duration::from_secs(2);
        let report = match what {
            "subtree" => world.close(root.id(), budget).await.unwrap(),
            _ => world.close_all(budget).await.unwrap(),
        };
        assert!(before.elapsed() <= budget);
        assert_eq!(report.completed.len(), threads.len());
        assert_eq!((report.count(Rung::Killed), report.count(Rung::Drained)), (8, 33));
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_the_store_does_not_close_is_tried_once_more_and_reported_if_it_stays_open() {
    let world = World::new(engine()).await;
    let top = spawn(&world).await;
    for (failures, edge) in [(1, EdgeStatus::Closed), (2, EdgeStatus::Open)] {
        let child = world.spawn(SpawnThread::new().with_parent(top.id())).await.unwrap().id();
        for _ in 0..failures {
            let error = StoreError::Unavailable { reason: "a while".into() };
            world.store.fail_next(StoreOp::PutEdge, error);
        }
        let report = world.close(child, BUDGET).await.unwrap();
        let row = report.threads.iter().find(|row| row.thread == child).unwrap();
        assert_eq!(world.stored(child).await.unwrap().parent, Some((top.id(), edge)));
        let says = row.left.as_ref().is_some_and(|left| left.contains("its edge is still open"));
        assert_eq!(says, edge == EdgeStatus::Open, "{row:?}");
    }
    world.end().await;
}

// store  |■ created ■|■■■ the first submission is held ■■■■
// close  |            |── 1 s ──✓ fenced: the child is undone
#[tokio::test(start_paused = true)]
async fn a_child_whose_spawn_was_not_answered_when_its_close_was_due_is_undone_in_the_store() {
    let mut limits = Limits::default();
    limits.registered_max = 2;
    let world = World::with_limits(engine(), limits).await;
    let top = spawn(&world).await;
    let child = ThreadId::from_parts(9, [9; 10]);
    let request = SpawnThread::new().with_parent(top.id()).with_id(child).with_first("hello");
    world.store.hold(StoreOp::Append);
    let closing = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(world.stored(child).await.is_ok(), "it is in the store");
        top.close(Duration::from_secs(1)).await.unwrap()
    };
    let (spawned, _report) = tokio::join!(world.spawn_within(request, BUDGET), closing);
    assert!(spawned.is_err(), "{spawned:?}");
    world.store.release(StoreOp::Append);
    world.until(Audit::is_empty).await;
    let gone = world.stored(child).await;
    assert_eq!(gone.unwrap_err(), StoreError::NotFound { thread: child });
    spawn(&world).await; // it does not count as registered any more
    world.end().await;
}
