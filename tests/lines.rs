//! Spawns that stand in line for a limit to pass: first come first served, until their deadline.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Budget, LeaseKind, Limits, Script, ScriptedEngine, SpawnError, SpawnThread, Step, ThreadConfig,
    ThreadHandle,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

type Spawned = Result<ThreadHandle, SpawnError>;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "greedy" => Script::new()
            .then(Step::TrySpawn(Box::new(SpawnThread::new().or_wait())))
            .then(Step::Sleep(secs(1_000))),
        "hang" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    })
}

async fn world(change: impl FnOnce(&mut Limits)) -> World {
    let mut limits = Limits::default();
    limits.call_timeout = secs(300);
    change(&mut limits);
    World::with_limits(engine(), limits).await
}

fn below(parent: &ThreadHandle) -> SpawnThread {
    SpawnThread::new().with_parent(parent.id())
}

/// Has a request wait, and lets it get there.
async fn waits(world: &World, request: SpawnThread) -> JoinHandle<Spawned> {
    waits_for(world, request, secs(300)).await
}

async fn waits_for(world: &World, request: SpawnThread, budget: Duration) -> JoinHandle<Spawned> {
    let runtime = world.runtime().clone();
    let waiting =
        tokio::spawn(async move { runtime.spawn_within(request.or_wait(), budget).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    waiting
}

#[tokio::test(start_paused = true)]
async fn a_spawn_that_waits_comes_up_when_a_sibling_ends_first_come_first_served() {
    let world = world(|limits| limits.children_max = 1).await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let first = world.spawn(below(&top)).await.unwrap();
    let second = waits(&world, below(&top).with_name("second")).await;
    let third = waits(&world, below(&top).with_name("third")).await;
    let hasty = world.spawn(below(&top)).await.unwrap_err();
    assert!(matches!(hasty, SpawnError::Limit(_)), "who does not wait is refused: {hasty:?}");
    first.close(BUDGET).await.unwrap();
    let second = second.await.unwrap().unwrap();
    assert!(!third.is_finished(), "one place, one thread");
    second.close(BUDGET).await.unwrap();
    assert_eq!(third.await.unwrap().unwrap().view().path.unwrap().to_string(), "/root/third");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_waits_for_the_rate_to_the_moment() {
    let world = world(|limits| limits.spawns_per_minute_max = 1).await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let start = Instant::now();
    world.spawn(below(&top)).await.unwrap();
    let (second, third) = (waits(&world, below(&top)).await, waits(&world, below(&top)).await);
    second.await.unwrap().unwrap();
    assert_eq!(start.elapsed().as_secs(), 60);
    third.await.unwrap().unwrap();
    assert_eq!(start.elapsed().as_secs(), 120);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_waits_for_room_in_its_tree() {
    let world = world(|limits| limits.tree_max = 3).await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let child = world.spawn(below(&top)).await.unwrap();
    let deep = world.spawn(below(&child)).await.unwrap();
    let waiting = waits(&world, below(&top)).await;
    deep.close(BUDGET).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().view().parent, Some(top.id()));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_waits_for_room_in_the_runtime() {
    let world = world(|limits| limits.resident_max = 2).await;
    let busy = world.spawn(SpawnThread::new().with_first("hang")).await.unwrap();
    world.spawn(SpawnThread::new().with_first("hang")).await.unwrap();
    let refused = world.spawn(SpawnThread::new()).await.unwrap_err();
    assert!(matches!(refused, SpawnError::Limit(ref met) if met.limit == "resident_max"));
    let (first, second) =
        (waits(&world, SpawnThread::new()).await, waits(&world, SpawnThread::new()).await);
    busy.close(BUDGET).await.unwrap();
    let first = first.await.unwrap().unwrap();
    assert!(!second.is_finished());
    first.close(BUDGET).await.unwrap();
    second.await.unwrap().unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_fell_asleep_is_woken_for_what_waits() {
    let world = world(|limits| {
        limits.idle_after = secs(60);
        limits.spawns_per_minute_max = 1;
    })
    .await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let first = world.spawn(below(&top)).await.unwrap();
    first.close(BUDGET).await.unwrap();
    let waiting = [
        waits(&world, below(&top)).await,
        waits(&world, below(&top)).await,
        waits(&world, below(&top)).await,
    ];
    for spawned in waiting {
        spawned.await.unwrap().unwrap().close(BUDGET).await.unwrap();
        top.hibernate().await.unwrap();
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_waits_for_what_a_sibling_gives_back_of_a_budget() {
    let world = world(|_| {}).await;
    let budget = Budget::new().with_tokens(100);
    let part = |tokens| ThreadConfig::default().with_budget(Budget::new().with_tokens(tokens));
    let config = ThreadConfig::default().with_budget(budget);
    let top = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    let holder = world.spawn(below(&top).with_config(part(80))).await.unwrap();
    let waiting = waits(&world, below(&top).with_config(part(50))).await;
    assert!(!waiting.is_finished());
    holder.close(BUDGET).await.unwrap();
    let waited = waiting.await.unwrap().unwrap();
    // Nobody holds what is missing: it does not come by waiting.
    waited.close(BUDGET).await.unwrap();
    let asked = world.spawn(below(&top).with_config(part(101)).or_wait()).await.unwrap_err();
    assert!(matches!(asked, SpawnError::Limit(ref met) if met.value == 100), "{asked:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_past_its_deadline_has_no_answer_and_leaves_nothing() {
    let world = world(|limits| limits.children_max = 1).await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let first = world.spawn(below(&top)).await.unwrap();
    let start = Instant::now();
    let late = waits_for(&world, below(&top), secs(5)).await;
    assert_eq!(late.await.unwrap().unwrap_err(), SpawnError::NoAnswer);
    assert_eq!(start.elapsed(), secs(5));
    let gone = waits(&world, below(&top)).await;
    gone.abort();
    let last = waits(&world, below(&top)).await;
    first.close(BUDGET).await.unwrap();
    last.await.unwrap().unwrap();
    assert_eq!(world.audit().await.count(LeaseKind::PendingReply), 0);
    assert_eq!(world.subtree(top.id()).await.unwrap().len(), 3, "the top, the first and the last");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_closes_sends_its_line_away() {
    let world = world(|limits| limits.children_max = 1).await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    world.spawn(below(&top)).await.unwrap();
    let waiting = waits(&world, below(&top)).await;
    let start = Instant::now();
    top.close(BUDGET).await.unwrap();
    let refused = waiting.await.unwrap().unwrap_err();
    assert!(
        matches!(refused, SpawnError::Closing { .. } | SpawnError::ParentGone { .. }),
        "{refused:?}"
    );
    assert!(start.elapsed() < secs(1), "at once");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_sends_all_lines_away() {
    let world = world(|limits| limits.children_max = 0).await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let waiting = waits(&world, below(&top)).await;
    world.end().await;
    assert_eq!(waiting.await.unwrap().unwrap_err(), SpawnError::RuntimeEnded);
}

#[tokio::test(start_paused = true)]
async fn the_line_is_bounded() {
    let world = world(|limits| {
        limits.children_max = 0;
        limits.spawn_line_max = 2;
    })
    .await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let gone = waits(&world, below(&top)).await;
    let waiting = waits(&world, below(&top)).await;
    let refused = world.spawn(below(&top).or_wait()).await.unwrap_err();
    assert!(matches!(refused, SpawnError::Limit(ref met) if met.limit == "children_max"));
    gone.abort();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let next = waits(&world, below(&top)).await;
    assert!(!next.is_finished(), "whoever went away made room in the line");
    world.end().await;
    assert!(waiting.await.unwrap().is_err() && next.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_stopped_while_it_waits_spawns_nothing() {
    let world = world(|limits| limits.children_max = 1).await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let child = world.spawn(below(&top)).await.unwrap();
    top.submit("greedy").await.unwrap();
    tokio::time::sleep(secs(1)).await;
    top.interrupt().await.unwrap();
    child.close(BUDGET).await.unwrap();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(world.list().len(), 1, "nothing was spawned for it");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_that_waits_for_the_store_to_know_fewer_threads_comes_up_when_one_is_deleted() {
    let world = world(|limits| limits.registered_max = 2).await;
    let [first, _second] = [
        world.spawn(SpawnThread::new()).await.unwrap(),
        world.spawn(SpawnThread::new()).await.unwrap(),
    ];
    let third = waits(&world, SpawnThread::new()).await;
    first.close(BUDGET).await.unwrap();
    tokio::time::sleep(secs(1)).await;
    assert!(!third.is_finished(), "what is closed is still known");
    assert_eq!(world.delete(first.id(), BUDGET).await, Ok(1));
    tokio::time::sleep(secs(1)).await;
    assert!(third.is_finished(), "at once, not by its deadline");
    third.await.unwrap().unwrap();
    world.end().await;
}
