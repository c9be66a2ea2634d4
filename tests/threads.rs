//! Threads end to end, in virtual time.

use std::time::Duration;

use coppicer::testing::World;
use coppicer::{
    Event, Fact, Interrupted, Outcome, ReplayEngine, Rung, ScriptedEngine, SpawnThread,
    ThreadEvent, ThreadStatus,
};

#[tokio::test(start_paused = true)]
async fn a_thread_runs_a_turn_and_tells_its_outcome() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let outcome = thread.run("hello").await.unwrap();
    assert_eq!(outcome, Outcome::Completed { message: Some("hello".into()) });
    assert_eq!(thread.status(), ThreadStatus::Completed(Some("hello".into())));
    let report = world.end().await;
    assert_eq!(report.completed, [thread.id()]);
}

#[tokio::test(start_paused = true)]
async fn a_paced_replay_takes_its_time_for_each_item_and_stops_within_one() {
    let pace = Duration::from_secs(10);
    let world = World::new(ReplayEngine::new().with_pace(pace)).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    // It has nothing recorded: it says what it is told, as one item. Then it replays that.
    for _ in 0..3 {
        let began = tokio::time::Instant::now();
        let outcome = thread.run("ping").await.unwrap();
        assert_eq!(outcome.message(), Some("ping"));
        let took = began.elapsed();
        assert!((pace / 2..=pace * 3 / 2).contains(&took), "{took:?}");
    }
    let mut tap = world.watch();
    thread.submit("ping").await.unwrap();
    let starts =
        |event: &Event| matches!(event.fact, Fact::Thread(ThreadEvent::TurnStarted { .. }));
    World::event(&mut tap, starts).await;
    drop(tap);
    let stopped = thread.interrupt().await.unwrap();
    assert!(matches!(stopped, Interrupted::Turn { rung: Rung::Stopped, .. }), "{stopped:?}");
    world.end().await;
}
