//! What is granted comes back (P10), also where a caller gives up, a thread closes, or a notice
//! comes late.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    Fact, LeaseKind, Limits, Op, Outcome, OutcomeError, Phase, RuntimeEvent, Script,
    ScriptedEngine, SpawnError, SpawnThread, Step, Submission, SubmissionId, SubmitError,
    SubmitOptions, ThreadHandle, ThreadStatus,
};
use futures::FutureExt;

/// Hangs when it is told "hang"; says everything else.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    })
}

async fn world_with(change: impl FnOnce(&mut Limits)) -> World {
    let mut limits = Limits::default();
    change(&mut limits);
    World::with_limits(engine(), limits).await
}

async fn spawn(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.unwrap()
}

async fn hang(world: &World) -> ThreadHandle {
    let thread = spawn(world).await;
    thread.submit("hang").await.unwrap();
    until(|| thread.status() == ThreadStatus::Running).await;
    thread
}

/// Lets others run until it holds.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    // No time passes while somebody is ready to run: the bound is on turns of the loop.
    let turns = async {
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = waiting => {}
        () = turns => panic!("it did not come to hold"),
    }
}

fn id(text: &str) -> SubmissionId {
    SubmissionId::new(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_free_for_a_closed_thread_goes_to_the_next() {
    // A closed thread's slot lives as long as a host holds its handle; its lanes hold nothing.
    let world = world_with(|limits| limits.executing_max = 1).await;
    let first = hang(&world).await;
    let second = spawn(&world).await;
    let waiting = second.submit("never runs").await.unwrap();
    second.close(BUDGET).await.unwrap();
    assert_eq!(second.outcome(&waiting.submission).await.unwrap(), Outcome::Returned);
    first.interrupt().await.unwrap();
    let third = spawn(&world).await;
    let outcome = tokio::time::timeout(BUDGET, third.run("hello")).await;
    assert!(matches!(outcome, Ok(Ok(Outcome::Completed { .. }))), "{outcome:?}");
    assert_eq!(world.audit().await.count(LeaseKind::TurnPermit), 0);
    drop((first, second, third));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_place_in_the_inbox_that_a_caller_gave_up_goes_to_the_next() {
    let world = world_with(|limits| limits.inbox_max = 1).await;
    let thread = hang(&world).await;
    thread.submit("fills the inbox").await.unwrap();
    let options = SubmitOptions::new().wait_for_place();
    let mut in_line = Box::pin(thread.submit_with("in line", options));
    assert!((&mut in_line).now_or_never().is_none());
    thread.interrupt().await.unwrap();
    until(|| thread.view().turns == 2).await;
    drop(in_line); // it was given its place, and never learned of it
    assert_eq!(thread.view().inbox, 0);
    thread.run("hello").await.unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_line_at_a_parked_thread_is_told_so() {
    let policy = coppicer::RestartPolicy::default().with_limit(0, Duration::from_secs(60));
    let config = coppicer::ThreadConfig::default().with_restart(policy);
    let engine = ScriptedEngine::new(|_, _| Script::new().sleep(Duration::from_secs(1)).panic("!"));
    let mut limits = Limits::default();
    limits.inbox_max = 1;
    let world = World::with_limits(engine, limits).await;
    let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    thread.submit("panics").await.unwrap();
    until(|| thread.status() == ThreadStatus::Running).await;
    thread.submit("fills the inbox").await.unwrap();
    let options = SubmitOptions::new().wait_for_place();
    let refused = thread.submit_with("in line", options).await;
    assert_eq!(refused, Err(SubmitError::Parked { thread: thread.id() }));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_time_that_comes_late_wakes_no_dormant_thread() {
    let world = world_with(|_| {}).await;
    let thread = hang(&world).await;
    thread.interrupt().await.unwrap(); // its grace of 100 ms is not over
    thread.hibernate().await.unwrap();
    until(|| thread.status() == ThreadStatus::Dormant).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // virtual: the grace is over
    assert_eq!(thread.view().phase, Phase::Dormant);
    assert_eq!(world.audit().await.count(LeaseKind::Resident), 0);
    assert_eq!(thread.run("hello").await.unwrap().name(), "completed");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_look_up_of_one_id_is_not_taken_for_that_of_another() {
    let world = world_with(|_| {}).await;
    let thread = spawn(&world).await;
    thread.run(Submission::input("once").with_id(id("used"))).await.unwrap();
    world.store.hold(StoreOp::Submission);
    let before = world.store.calls(StoreOp::Submission);
    let used = thread.submit(Submission::input("once").with_id(id("used")));
    // Control has a lane of its own, and its ids are looked up too.
    let control = async {
        until(|| world.store.calls(StoreOp::Submission) == before + 1).await;
        thread.submit(Submission::new(Op::Interrupt).with_id(id("new"))).await
    };
    let release = async {
        until(|| world.store.calls(StoreOp::Submission) > before).await;
        tokio::time::sleep(Duration::from_millis(1)).await; // virtual: nobody else is ready to run
        world.store.release(StoreOp::Submission);
    };
    let (used, control, ()) = tokio::join!(used, control, release);
    let (used, control) = (used.unwrap(), control.unwrap());
    assert!(used.duplicate && used.submission == id("used"), "{used:?}");
    assert!(!control.duplicate && control.submission == id("new"), "{control:?}");
    assert_eq!(thread.view().inbox, 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_outcome_that_its_closed_thread_cannot_give_is_told() {
    let world = world_with(|_| {}).await;
    let thread = hang(&world).await;
    let hanging = thread.view().turn.unwrap();
    world.store.hold(StoreOp::Append);
    let report = thread.close(Duration::from_millis(100)).await.unwrap();
    assert_eq!(report.timed_out, [thread.id()], "its end could not be written");
    let hanging = id(hanging.as_str());
    let outcome = thread.outcome_within(&hanging, BUDGET);
    let outcome = tokio::time::timeout(Duration::from_secs(1), outcome).await;
    assert!(matches!(outcome, Ok(Err(OutcomeError::Closed { .. }))), "{outcome:?}");
    world.store.release(StoreOp::Append);
    // The next life settles it.
    let thread = world.resume(thread.id()).await.unwrap();
    assert_eq!(thread.outcome(&hanging).await.unwrap(), Outcome::Interrupted);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_that_comes_behind_a_shutdown_finds_the_runtime_ended() {
    let world = world_with(|_| {}).await;
    let thread = spawn(&world).await;
    let mut tap = world.watch();
    let (report, spawned) = tokio::join!(world.shutdown(BUDGET), world.spawn(SpawnThread::new()));
    assert_eq!(report.unwrap().completed, [thread.id()]);
    assert_eq!(spawned, Err(SpawnError::RuntimeEnded));
    assert_eq!(world.spawn(SpawnThread::new()).await, Err(SpawnError::RuntimeEnded));
    let ended = |event: &coppicer::Event| event.fact == Fact::Runtime(RuntimeEvent::RuntimeEnded);
    World::event(&mut tap, ended).await;
    assert_eq!(tap.next().await, None, "and nothing comes after it");
}
