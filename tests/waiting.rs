//! Waits for agents, from a turn and from the host (REF 3.12; TL-18 to TL-26 by id).
//!
//! Not here: TL-18 (ids and budgets are typed; waiting for nobody is over at once), TL-23 to TL-25
//! (waits have no bounds of their own but the caller's).

use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Interrupted, Script, ScriptedEngine, SpawnThread, Step, ThreadHandle, ThreadId, ThreadStatus,
    Wait,
};
use tokio::time::Instant;

/// Says what it is told; "hang" runs until it is stopped, "work" for 100 ms.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        "work" => Script::new().sleep(Duration::from_millis(100)).say("worked"),
        text => Script::new().say(text),
    })
}

async fn spawn(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.expect("a root is spawned")
}

#[tokio::test(start_paused = true)]
async fn tl_19_a_wait_for_threads_that_nobody_knows_is_over_at_once() {
    let world = World::new(engine()).await;
    let unknown = [1, 2].map(|n| ThreadId::from_parts(n, [0; 10]));
    let began = Instant::now();
    let waited = world.wait(&unknown, Wait::All, Duration::from_secs(10)).await;
    assert_eq!(waited.ended, unknown.map(|thread| (thread, ThreadStatus::NotFound)));
    assert_eq!((waited.timed_out, began.elapsed()), (false, Duration::ZERO));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tl_20_tl_21_a_thread_that_did_nothing_yet_is_waited_for_until_the_budget_is_over() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    let began = Instant::now();
    let waited = world.wait(&[thread.id()], Wait::Any, Duration::from_secs(10)).await;
    assert_eq!((waited.ended, waited.timed_out), (Vec::new(), true));
    assert_eq!(began.elapsed(), Duration::from_secs(10), "no sooner");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tl_22_a_thread_that_was_closed_counts_at_once() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    thread.run("hello").await.unwrap();
    thread.close(BUDGET).await.unwrap();
    let waited = world.wait(&[thread.id()], Wait::Any, BUDGET).await;
    assert_eq!(waited.ended, [(thread.id(), ThreadStatus::NotFound)], "it is not here any more");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_any_ends_with_the_first_and_one_for_all_with_the_last() {
    let world = World::new(engine()).await;
    let [quick, slow, stuck] = [spawn(&world).await, spawn(&world).await, spawn(&world).await];
    quick.run("done").await.unwrap();
    slow.submit("work").await.unwrap();
    stuck.submit("hang").await.unwrap();
    let done = |text: &str| ThreadStatus::Completed(Some(text.into()));
    let ids = [stuck.id(), slow.id(), quick.id()];
    let began = Instant::now();
    let waited = world.wait(&ids, Wait::Any, BUDGET).await;
    assert_eq!(waited.ended, [(quick.id(), done("done"))], "it had ended before");
    assert_eq!(began.elapsed(), Duration::ZERO);
    let waited = world.wait(&ids[..2], Wait::Any, BUDGET).await;
    assert_eq!(waited.ended, [(slow.id(), done("worked"))]);
    assert_eq!(began.elapsed(), Duration::from_millis(100), "told, not polled for");
    let waited = world.wait(&ids, Wait::All, Duration::from_secs(1)).await;
    assert!(waited.timed_out);
    assert_eq!(waited.ended.len(), 2, "those that had ended by the deadline");
    // An interrupted thread has ended what it did (REF 14.5: there its waiters time out).
    let (waited, found) = tokio::join!(world.wait(&ids, Wait::All, BUDGET), stuck.interrupt());
    assert!(matches!(found.unwrap(), Interrupted::Turn { .. }));
    assert_eq!(waited.ended[0], (stuck.id(), ThreadStatus::Interrupted));
    assert!(!waited.timed_out && waited.ended.len() == 3);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_nobody_is_over_at_once_and_a_dropped_one_leaves_nothing() {
    let world = World::new(engine()).await;
    for how in [Wait::Any, Wait::All] {
        assert!(!world.wait(&[], how, BUDGET).await.timed_out, "{how:?}");
    }
    let thread = spawn(&world).await;
    thread.submit("hang").await.unwrap();
    let ids = [thread.id()];
    let wait = world.wait(&ids, Wait::All, Duration::from_secs(3_600));
    assert!(tokio::time::timeout(Duration::from_secs(1), wait).await.is_err());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_sleeps_has_ended_what_it_did_also_without_a_slot() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    thread.run("hello").await.unwrap();
    let id = thread.id();
    thread.hibernate().await.unwrap();
    drop(thread);
    world.until(|audit| audit.live.is_empty()).await;
    let waited = world.wait(&[id], Wait::All, BUDGET).await;
    assert_eq!(waited.ended, [(id, ThreadStatus::Completed(Some("hello".into())))]);
    assert_eq!(world.get(id), None, "it was not loaded for that");
    world.end().await;
}
