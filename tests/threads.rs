//! Threads end to end, in virtual time.

use std::time::Duration;

use coppicer::testing::World;
use coppicer::{Outcome, ScriptedEngine, SpawnThread, ThreadStatus};

#[tokio::test(start_paused = true)]
async fn a_thread_runs_a_turn_and_tells_its_outcome() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let outcome = thread.run("hello").await.unwrap();
    assert_eq!(outcome, Outcome::Completed { message: Some("hello".into()) });
    assert_eq!(thread.status(), ThreadStatus::Completed(Some("hello".into())));
    let report = world.end().await;
    assert_eq!(report.completed, [thread.id()]);
    let _ = Duration::ZERO;
}
