//! What is waited for no more leaves nothing behind: no timer of a close that was answered, of a turn
//! that is over, of a thread that is gone; and no thread in memory that nobody holds (P10).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coppicer::testing::World;
use coppicer::{
    Backoff, Budget, LeaseKind, Limits, Phase, RestartPolicy, Script, ScriptedEngine, SpawnThread,
    ThreadConfig,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// How often each case does what must leave nothing.
const TIMES: usize = 50;

/// Tasks of a runtime that come and go by themselves, and its one timer.
const SOME: usize = 3;

async fn world() -> World {
    World::new(ScriptedEngine::always(Script::new().say("done"))).await
}

/// Tasks that are alive, timers among them.
async fn tasks() -> usize {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_answered_leaves_no_timer() {
    let world = world().await;
    let before = tasks().await;
    for _ in 0..TIMES {
        let thread = world.spawn(SpawnThread::new()).await.unwrap();
        thread.close(HOUR).await.unwrap();
    }
    world.close_all(HOUR).await.unwrap();
    assert!(tasks().await <= before + SOME, "{} before, {} now", before, tasks().await);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_over_leaves_no_timer() {
    let world = world().await;
    let config = ThreadConfig::default().with_budget(Budget::new().with_wall_ms(3_600_000));
    let mut threads = Vec::new();
    for _ in 0..TIMES {
        threads.push(world.spawn(SpawnThread::new().with_config(config.clone())).await.unwrap());
    }
    let before = tasks().await;
    for thread in &threads {
        thread.run("go").await.unwrap();
    }
    // One for each thread looks after stuck turns, and is left for the next one.
    let before = before + TIMES;
    assert!(tasks().await <= before + SOME, "{} before, {} now", before, tasks().await);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_is_closed_while_it_pauses_leaves_no_timer() {
    let world = world().await;
    let before = tasks().await;
    let backoff = Backoff { initial: HOUR, factor: 1.0, max: HOUR, jitter: 0.0 };
    let config =
        ThreadConfig::default().with_restart(RestartPolicy::default().with_backoff(backoff));
    for _ in 0..TIMES {
        let thread = world.spawn(SpawnThread::new().with_config(config.clone())).await.unwrap();
        thread.panic_for_test();
        tokio::time::sleep(Duration::from_millis(1)).await; // virtual
        assert_eq!(thread.view().phase, Phase::Backoff);
        thread.close(HOUR).await.unwrap();
    }
    assert!(tasks().await <= before + SOME, "{} before, {} now", before, tasks().await);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn many_that_come_back_at_the_same_moment_all_do() {
    let world = world().await;
    let backoff = Backoff { initial: HOUR, factor: 1.0, max: HOUR, jitter: 0.0 };
    let config =
        ThreadConfig::default().with_restart(RestartPolicy::default().with_backoff(backoff));
    let mut threads = Vec::new();
    for _ in 0..500 {
        threads.push(world.spawn(SpawnThread::new().with_config(config.clone())).await.unwrap());
    }
    for thread in &threads {
        thread.panic_for_test();
    }
    tokio::time::sleep(Duration::from_millis(1)).await; // virtual
    assert!(threads.iter().all(|thread| thread.view().phase == Phase::Backoff));
    tokio::time::sleep(HOUR).await; // virtual
    assert!(threads.iter().all(|thread| thread.view().phase == Phase::Idle));
    world.end().await;
}

/// Of two who let go of a dormant thread at once, and of one who does while its actor is on its way
/// out, somebody says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dormant_thread_leaves_memory_whoever_lets_go_of_it_and_when() {
    let mut limits = Limits::default();
    limits.idle_after = HOUR;
    let world = World::with_limits(ScriptedEngine::always(Script::new()), limits).await;
    for _ in 0..500 {
        let thread = world.spawn(SpawnThread::new()).await.unwrap();
        let (other, here) = (thread.clone(), Arc::new(AtomicUsize::new(0)));
        thread.hibernate().await.unwrap();
        let both = move |here: &AtomicUsize| {
            here.fetch_add(1, Ordering::SeqCst);
            while here.load(Ordering::SeqCst) < 2 {
                std::hint::spin_loop();
            }
        };
        let there = here.clone();
        let drops = std::thread::Builder::new().name("drops".to_owned());
        let drops = drops.spawn(move || {
            both(&there);
            drop(other);
        });
        both(&here);
        drop(thread);
        drops.unwrap().join().unwrap();
    }
    world.until(|audit| audit.count(LeaseKind::Slot) == 0).await;
    world.end().await;
}
