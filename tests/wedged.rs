//! Turns whose code does not stop: `close` answers within its deadline and names the rung, and what
//! they do afterwards is nothing (P1, P5). Real time: the code really blocks an OS thread.

use std::time::{Duration, Instant};

use coppicer::testing::World;
use coppicer::{
    Gate, LeaseKind, Placement, Rung, Script, ScriptedEngine, SpawnThread, Step, ThreadConfig,
    ThreadStatus,
};

const DEADLINE: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_millis(100);

/// Blocks until the gate opens, then tries to go on as if nothing had happened.
fn blocking(gate: &Gate) -> ScriptedEngine {
    let script = Script::new()
        .then(Step::Remark("before".into()))
        .then(Step::BlockUntil(gate.clone()))
        .then(Step::Say("a zombie speaks".into()))
        .then(Step::TrySpawn(Box::new(SpawnThread::new())));
    ScriptedEngine::always(script)
}

/// Waits until so many turns block. They hold OS threads, so no virtual time and no event can tell.
async fn until_blocked(gate: &Gate, turns: usize) {
    let blocked = async {
        while gate.reached() < turns {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), blocked).await.expect("the turns block in time");
}

async fn said_by_zombie(thread: &coppicer::ThreadHandle) -> usize {
    let history = thread.history().await.expect("a memory store can be read");
    let spoke = |raw: &[u8]| raw.windows(13).any(|part| part == b"zombie speaks");
    history.iter().filter(|record| spoke(&record.raw)).count()
}

#[expect(clippy::disallowed_methods, reason = "these tests measure real time")]
fn real_now() -> Instant {
    Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_blocks_a_thread_of_its_own_is_fenced_and_close_answers_in_time() {
    let gate = Gate::new();
    let world = World::new(blocking(&gate).on_own_threads()).await;
    let mut threads = Vec::new();
    for _ in 0..20 {
        threads.push(world.spawn(SpawnThread::new().with_first("go")).await.unwrap());
    }
    until_blocked(&gate, 20).await;
    let before = real_now();
    let report = world.close_all(DEADLINE).await.unwrap();
    assert!(before.elapsed() <= DEADLINE + SLACK, "{:?}", before.elapsed());
    assert_eq!(report.count(Rung::Fenced), 20, "{report:?}");
    assert!(report.timed_out.is_empty(), "their ends are durable all the same");

    let audit = world.audit().await;
    assert_eq!((audit.count(LeaseKind::Zombie), audit.count(LeaseKind::Resident)), (20, 0));
    gate.open();
    world.until(|audit| audit.count(LeaseKind::Zombie) == 0).await;
    for thread in &threads {
        assert_eq!(said_by_zombie(thread).await, 0);
        assert_eq!(thread.status(), ThreadStatus::Shutdown);
    }
    assert!(world.list().is_empty(), "a zombie starts nothing");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_turn_that_blocks_a_worker_is_fenced_and_close_answers_in_time() {
    let gate = Gate::new();
    let world = World::new(blocking(&gate)).await;
    let thread = world.spawn(SpawnThread::new().with_first("go")).await.unwrap();
    until_blocked(&gate, 1).await;
    let before = real_now();
    let report = thread.close(DEADLINE).await.unwrap();
    assert!(before.elapsed() <= DEADLINE + SLACK, "{:?}", before.elapsed());
    assert_eq!(report.rung(thread.id()), Some(Rung::Fenced));
    assert_eq!(world.audit().await.count(LeaseKind::Zombie), 1);
    gate.open();
    world.until(|audit| audit.count(LeaseKind::Zombie) == 0).await;
    assert_eq!(said_by_zombie(&thread).await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_ignores_cancellation_is_killed_and_close_answers_in_time() {
    let script = Script::new().then(Step::IgnoreCancel(Duration::from_secs(3_600)));
    let world = World::new(ScriptedEngine::always(script)).await;
    let config = ThreadConfig::default().with_placement(Placement::Dedicated);
    let shared = world.spawn(SpawnThread::new().with_first("go")).await.unwrap();
    let own = world.spawn(SpawnThread::new().with_config(config).with_first("go")).await.unwrap();
    let mut tap = world.watch();
    while shared.view().turn.is_none() || own.view().turn.is_none() {
        World::event(&mut tap, |_| true).await;
    }
    drop(tap);
    let before = real_now();
    let report = world.close_all(DEADLINE).await.unwrap();
    assert!(before.elapsed() <= DEADLINE + SLACK, "{:?}", before.elapsed());
    assert_eq!(report.rung(shared.id()), Some(Rung::Killed));
    assert_eq!(report.rung(own.id()), Some(Rung::Killed), "its future was dropped there too");
    world.end().await;
}

// turn 1   |■■ blocks ■■ interrupt ✗ fenced ──────── opens: its writes are refused
// turn 2                                   |■■ runs ■■|
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_goes_on_after_a_turn_was_fenced_and_the_zombie_writes_nothing() {
    let gate = Gate::new();
    let engine = {
        let gate = gate.clone();
        ScriptedEngine::new(move |_, input| match input.text().as_str() {
            "block" => Script::new()
                .then(Step::BlockUntil(gate.clone()))
                .then(Step::Say("a zombie speaks".into())),
            text => Script::new().say(text),
        })
    };
    let world = World::new(engine.on_own_threads()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let receipt = thread.submit("block").await.unwrap();
    until_blocked(&gate, 1).await;
    let found = thread.interrupt().await.unwrap();
    assert!(matches!(found, coppicer::Interrupted::Turn { rung: Rung::Fenced, .. }), "{found:?}");
    assert_eq!(thread.outcome(&receipt.submission).await.unwrap().name(), "interrupted");
    assert_eq!(thread.run("and on").await.unwrap().message(), Some("and on"));
    gate.open();
    world.until(|audit| audit.count(LeaseKind::Zombie) == 0).await;
    assert_eq!(said_by_zombie(&thread).await, 0);
    world.end().await;
}
