//! Parking and reviving by the host (P7): in whatever phase, durable, and nothing queued is lost.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::time::Duration;

use coppicer::faulty::FaultyStore;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    ControlError, ForkPoint, Limits, MemoryStore, Outcome, Phase, RestartPolicy, Script,
    ScriptedEngine, SpawnThread, Step, SubmitError, ThreadConfig, ThreadHandle, ThreadId,
    ThreadStatus,
};

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "panic" => Script::new().panic("boom"),
        "hang" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    })
}

async fn spawn(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.unwrap()
}

async fn running(world: &World) -> ThreadHandle {
    let thread = spawn(world).await;
    thread.submit("hang").await.unwrap();
    while thread.view().turn.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    thread
}

#[tokio::test(start_paused = true)]
async fn a_running_thread_is_interrupted_and_parked_and_runs_what_is_queued_when_it_is_revived() {
    let world = World::new(engine()).await;
    let thread = running(&world).await;
    let queued = thread.submit("queued").await.unwrap();
    thread.park().await.unwrap();
    assert_eq!((thread.status(), thread.view().phase), (ThreadStatus::Parked, Phase::Parked));
    let stored = world.store().thread(thread.id()).await.unwrap();
    assert_eq!(stored.status, ThreadStatus::Parked, "durable");
    assert!(matches!(thread.submit("late").await, Err(SubmitError::Parked { .. })));
    thread.park().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(thread.view().inbox, 1, "it waits");
    world.fork(thread.id(), ForkPoint::Interrupted).await.unwrap();
    world.revive(thread.id()).await.unwrap();
    assert_eq!(thread.outcome(&queued.submission).await.unwrap().message(), Some("queued"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_is_parked_in_whatever_phase_it_is() {
    let world = World::new(engine()).await;
    let idle = spawn(&world).await;
    let pausing = spawn(&world).await;
    pausing.run("panic").await.unwrap();
    assert_eq!(pausing.view().phase, Phase::Backoff);
    let crashed = spawn(&world).await;
    crashed.panic_for_test();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(crashed.view().phase, Phase::Backoff, "its actor is not there");
    let asleep = spawn(&world).await;
    asleep.hibernate().await.unwrap();
    let left = spawn(&world).await.id();
    world.get(left).unwrap().hibernate().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(world.get(left).is_none(), "it left memory");
    let threads: Vec<ThreadId> = [&idle, &pausing, &crashed, &asleep]
        .into_iter()
        .map(ThreadHandle::id)
        .chain([left])
        .collect();
    for &thread in &threads {
        world.park(thread).await.unwrap();
        assert_eq!(world.status(thread), ThreadStatus::Parked);
    }
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    for &thread in &threads {
        assert_eq!(world.status(thread), ThreadStatus::Parked, "and stays so");
        world.revive(thread).await.unwrap();
        let outcome = world.get(thread).unwrap().run("hello").await.unwrap();
        assert_eq!(outcome.message(), Some("hello"));
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_closed_or_unknown_is_not_parked() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    world.close(thread.id(), BUDGET).await.unwrap();
    for thread in [thread.id(), ThreadId::from_parts(1, [1; 10])] {
        assert_eq!(world.park(thread).await, Err(ControlError::NotFound { thread }));
        assert_eq!(world.revive(thread).await, Err(ControlError::NotFound { thread }));
    }
    assert!(thread.park().await.is_err());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_thread_is_parked_in_the_next_process_too() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    let world = World::on(store.clone(), engine(), Limits::default()).await;
    let thread = running(&world).await;
    let queued = thread.submit("queued").await.unwrap();
    thread.park().await.unwrap();
    let (id, dead) = (thread.id(), world);

    let world = World::on(store, engine(), Limits::default()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.get(id).is_none(), "nobody brings it up");
    world.revive(id).await.unwrap();
    let thread = world.get(id).unwrap();
    let outcome: Outcome = thread.outcome(&queued.submission).await.unwrap();
    assert_eq!(outcome.message(), Some("queued"));
    world.end().await;
    dead.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_close_that_meets_a_parking_thread_goes_first() {
    let world = World::new(engine()).await;
    let thread = running(&world).await;
    let (parked, closed) = tokio::join!(thread.park(), world.close(thread.id(), BUDGET));
    assert!(closed.unwrap().timed_out.is_empty());
    assert!(parked.is_ok() || matches!(parked, Err(ControlError::WrongPhase { .. })), "{parked:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_is_revived_has_all_its_restarts_again() {
    let policy = RestartPolicy::default().with_limit(1, Duration::from_secs(3_600));
    let config = ThreadConfig::default().with_restart(policy);
    let world = World::new(engine()).await;
    let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    let crash = async || {
        thread.panic_for_test();
        tokio::time::sleep(Duration::from_secs(1)).await;
        thread.view().phase
    };
    assert_eq!([crash().await, crash().await], [Phase::Idle, Phase::Parked]);
    world.revive(thread.id()).await.unwrap();
    assert_eq!([crash().await, crash().await], [Phase::Idle, Phase::Parked]);
    world.end().await;
}
