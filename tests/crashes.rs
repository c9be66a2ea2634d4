//! Crashes of engines and of actors: visible, and followed by what the policy says (P6, P7, P12).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Backoff, Engine, EngineError, EngineSession, Event, EventKind, Fact, OnSpent, OpenContext,
    Outcome, Phase, RecordClass, RestartPolicy, RuntimeEvent, Script, ScriptedEngine, SpawnThread,
    Step, SubmitError, TapFilter, TapOptions, ThreadConfig, ThreadEvent, ThreadId, ThreadStatus,
    TurnContext, TurnInput, TurnOutput, items_validity, model_view, wire_validity,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

/// Panics when it is told "panic"; says everything else.
fn fragile() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "panic" => Script::new()
            .then(Step::Call { name: "shell".into(), arguments: "{}".into(), output: None })
            .panic("boom"),
        text => Script::new().say(text),
    })
}

fn with_policy(policy: RestartPolicy) -> SpawnThread {
    SpawnThread::new().with_config(ThreadConfig::default().with_restart(policy))
}

#[tokio::test(start_paused = true)]
async fn a_crashed_turn_is_never_shown_as_running_and_its_end_is_told_once_in_order() {
    let world = World::new(fragile()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let filter = TapFilter::thread(thread.id()).lifecycle();
    let mut tap = world.tap(TapOptions::matching(filter)).unwrap();
    let outcome = thread.run("panic").await.unwrap();
    assert_eq!(outcome, Outcome::Crashed { cause: "boom".into() });
    assert_eq!(thread.status(), ThreadStatus::Crashed("boom".into()));
    assert_eq!(thread.view().phase, Phase::Backoff);
    let mut kinds = Vec::new();
    while let Some(item) = tap.try_next() {
        kinds.push(match &item.event().unwrap().fact {
            Fact::Thread(ThreadEvent::TurnStarted { .. }) => "turn started",
            Fact::Thread(ThreadEvent::Crashed { .. }) => "crashed",
            Fact::Thread(ThreadEvent::TurnEnded { .. }) => "turn ended",
            Fact::Thread(ThreadEvent::SubmissionEnded { .. }) => "submission ended",
            Fact::Thread(ThreadEvent::BackoffStarted { .. }) => "backoff",
            _ => continue,
        });
    }
    assert_eq!(kinds, ["turn started", "crashed", "turn ended", "submission ended", "backoff"]);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_history_of_a_crashed_turn_is_valid_for_a_model() {
    let world = World::new(fragile()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("panic").await.unwrap();
    let history = thread.history().await.unwrap();
    let view = model_view(&history);
    items_validity(&view.items).unwrap();
    let outputs = |class: &RecordClass| matches!(class, RecordClass::ToolOutput { .. });
    assert_eq!(history.iter().filter(|record| outputs(&record.class)).count(), 1);
    let last = history.iter().rev().find(|r| matches!(r.class, RecordClass::TurnAborted { .. }));
    assert!(last.is_some(), "the turn is closed in the history");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_runs_after_the_pause_and_pauses_grow() {
    let world = World::new(fragile()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let before = Instant::now();
    thread.submit("panic").await.unwrap();
    thread.submit("panic").await.unwrap();
    let last = thread.submit("and on").await.unwrap();
    let outcome = thread.outcome(&last.submission).await.unwrap();
    assert_eq!(outcome.message(), Some("and on"));
    let waited = before.elapsed();
    // 100 ms, then 200 ms, each with up to a tenth of jitter.
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
    assert!(waited <= Duration::from_millis(331), "{waited:?}");
    assert_eq!(thread.view().crashes, 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_whose_restarts_are_spent_is_parked_readable_forkable_and_revivable() {
    let world = World::new(fragile()).await;
    let policy = RestartPolicy::default().with_limit(1, Duration::from_secs(60));
    let thread = world.spawn(with_policy(policy)).await.unwrap();
    let sibling = world.spawn(with_policy(policy)).await.unwrap();
    let mut tap = thread.status_changes().unwrap();
    thread.submit("panic").await.unwrap();
    thread.submit("panic").await.unwrap();
    let queued = thread.submit("later").await.unwrap();
    World::event(&mut tap, |event| {
        matches!(&event.fact, Fact::Thread(ThreadEvent::StatusChanged { status, .. })
            if *status == ThreadStatus::Parked)
    })
    .await;
    drop(tap);
    let refused = thread.submit("more").await.unwrap_err();
    assert_eq!(refused, SubmitError::Parked { thread: thread.id() });
    assert!(!thread.history().await.unwrap().is_empty());
    let fork = world.fork(thread.id(), 0).await.unwrap();
    assert_eq!(fork.run("in the fork").await.unwrap().name(), "completed");
    assert_eq!(sibling.run("untouched").await.unwrap().name(), "completed");

    thread.revive().await.unwrap();
    let outcome = thread.outcome(&queued.submission).await.unwrap();
    assert_eq!(outcome.message(), Some("later"), "what was queued stayed queued");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_thread_can_be_closed_and_starts_afresh_when_it_is_resumed() {
    let world = World::new(fragile()).await;
    let policy = RestartPolicy::default().with_limit(0, Duration::from_secs(60));
    let thread = world.spawn(with_policy(policy)).await.unwrap();
    thread.run("panic").await.unwrap();
    assert_eq!(thread.status(), ThreadStatus::Parked);
    let report = thread.close(BUDGET).await.unwrap();
    assert_eq!(report.completed, [thread.id()]);
    let thread = world.resume(thread.id()).await.unwrap();
    assert_eq!(thread.run("again").await.unwrap().message(), Some("again"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_can_close_a_thread_whose_restarts_are_spent() {
    let world = World::new(fragile()).await;
    let policy = RestartPolicy::default()
        .with_limit(0, Duration::from_secs(60))
        .with_on_spent(OnSpent::Close);
    let thread = world.spawn(with_policy(policy)).await.unwrap();
    let mut tap = thread.status_changes().unwrap();
    thread.submit("panic").await.unwrap();
    World::event(&mut tap, |event| {
        matches!(&event.fact, Fact::Thread(ThreadEvent::StatusChanged { status, .. })
            if *status == ThreadStatus::Shutdown)
    })
    .await;
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn passing_errors_are_tried_again_with_growing_pauses_and_fatal_ones_are_not() {
    let transient = EngineError::Transient { message: "busy".into(), retry_after: None };
    let cases = [
        (transient.clone(), 2, "completed", 600),
        (transient, 9, "failed", 1_400),
        (EngineError::Overloaded, 1, "completed", 400),
        (EngineError::SessionLost { message: "gone".into() }, 1, "completed", 200),
        (EngineError::fatal("no"), 9, "failed", 0),
    ];
    for (error, times, outcome, pause_ms) in cases {
        let script = Script::new().then(Step::FailFirst(times, error.clone())).say("done");
        let world = World::new(ScriptedEngine::always(script)).await;
        let thread = world.spawn(SpawnThread::new()).await.unwrap();
        let before = Instant::now();
        assert_eq!(thread.run("go").await.unwrap().name(), outcome, "{error:?} {times}");
        assert_eq!(before.elapsed().as_millis(), pause_ms, "{error:?} {times}");
        let failed = matches!(thread.status(), ThreadStatus::Errored(_));
        assert_eq!(failed, outcome == "failed", "a failed turn stays errored (REF 14.5)");
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crashed_actor_comes_back_with_its_handle_its_inbox_and_its_children() {
    let runs = Arc::new(AtomicU32::new(0));
    let engine = {
        let runs = runs.clone();
        ScriptedEngine::new(move |_, input| {
            runs.fetch_add(1, Ordering::Relaxed);
            Script::new().sleep(Duration::from_millis(10)).say(input.text())
        })
    };
    let world = World::new(engine).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let child = world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap();
    parent.run("before").await.unwrap();
    let mut tap =
        world.tap(TapOptions::matching(TapFilter::all().kinds([EventKind::Runtime]))).unwrap();

    let running = parent.submit("running").await.unwrap();
    let queued = parent.submit("queued").await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await; // into the turn
    parent.panic_for_test();
    for expected in [parent.id(), child.id()] {
        let event = World::event(&mut tap, |event| {
            event.fact == Fact::Runtime(RuntimeEvent::ThreadRestarted)
        })
        .await;
        assert_eq!(event.thread, Some(expected), "parents before children");
    }
    drop(tap);
    assert_eq!(parent.outcome(&running.submission).await.unwrap(), Outcome::Interrupted);
    assert_eq!(parent.outcome(&queued.submission).await.unwrap().message(), Some("queued"));
    assert_eq!(parent.run("after").await.unwrap().message(), Some("after"));
    assert_eq!(child.run("child").await.unwrap().message(), Some("child"));
    assert_eq!(world.get(parent.id()).unwrap(), parent, "the same handle");
    assert!(parent.view().crashes >= 1);
    let history = parent.history().await.unwrap();
    wire_validity(&history).unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_crashes_again_and_again_is_parked_and_can_be_revived_and_closed() {
    let world = World::new(ScriptedEngine::echo()).await;
    let policy = RestartPolicy::default().with_limit(2, Duration::from_secs(60));
    let thread = world.spawn(with_policy(policy)).await.unwrap();
    let mut tap =
        world.tap(TapOptions::matching(TapFilter::all().kinds([EventKind::Runtime]))).unwrap();
    for _ in 0..2 {
        thread.panic_for_test();
        World::event(&mut tap, |event| event.fact == Fact::Runtime(RuntimeEvent::ThreadRestarted))
            .await;
    }
    thread.panic_for_test();
    World::event(&mut tap, |event| event.fact == Fact::Runtime(RuntimeEvent::ThreadRestarted))
        .await;
    drop(tap);
    assert_eq!(thread.status(), ThreadStatus::Parked);
    assert_eq!(thread.submit("no").await.unwrap_err(), SubmitError::Parked { thread: thread.id() });
    thread.revive().await.unwrap();
    assert_eq!(thread.run("yes").await.unwrap().name(), "completed");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_a_write_ends_the_incarnation_and_nobody_is_told_a_lie() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let error = coppicer::StoreError::Unavailable { reason: "disk full".into() };
    world.store.fail_next(coppicer::faulty::StoreOp::Append, error.clone());
    let refused = thread.submit("lost").await.unwrap_err();
    assert_eq!(refused, SubmitError::Store(error));
    // It comes back when the store can, and works: it was not the thread's fault.
    assert_eq!(thread.run("kept").await.unwrap().message(), Some("kept"));
    assert_eq!(thread.view().crashes, 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_hears_of_each_end_of_a_sub_agent_once() {
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "fail" => Script::new().fail(EngineError::fatal("no")),
        "panic" => Script::new().panic("boom"),
        "listen" => Script::new().then(Step::TakeSteered),
        text => Script::new().say(text),
    });
    let world = World::new(engine).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let request = SpawnThread::new().with_parent(parent.id()).with_name("worker");
    let child = world.spawn(request).await.unwrap();
    child.run("done").await.unwrap();
    child.run("fail").await.unwrap();
    child.run("panic").await.unwrap();
    child.close(BUDGET).await.unwrap();
    parent.run("listen").await.unwrap();
    let told = |history: &coppicer::History| {
        let texts = history.iter().filter(|r| matches!(r.class, RecordClass::Envelope { .. }));
        texts.map(|record| String::from_utf8_lossy(&record.raw).into_owned()).collect::<Vec<_>>()
    };
    let mails = told(&parent.history().await.unwrap());
    assert_eq!(mails.len(), 4, "{mails:#?}");
    for (mail, what) in mails.iter().zip(["completed", "errored", "crashed", "shutdown"]) {
        assert!(mail.contains(what) && mail.contains("/root/worker"), "{mail}");
    }
    parent.run("again").await.unwrap();
    assert_eq!(told(&parent.history().await.unwrap()).len(), 4, "told once");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_was_not_there_hears_of_it_when_it_comes_back() {
    let world = World::new(ScriptedEngine::echo()).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let child = world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap();
    assert!(parent.hibernate().await.is_err(), "a child is linked under it");
    world.close_all(BUDGET).await.unwrap();
    let child = world.resume(child.id()).await.unwrap();
    child.run("while it slept").await.unwrap();
    let parent = world.resume(parent.id()).await.unwrap();
    let outcome = parent.run("what happened?").await.unwrap();
    assert!(outcome.message().unwrap().contains("subagent_notification"), "{outcome:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_hibernates_keeps_its_handle_and_wakes_for_the_next_submission() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("one").await.unwrap();
    thread.hibernate().await.unwrap();
    world.until(|audit| audit.count(coppicer::LeaseKind::Resident) == 0).await;
    assert_eq!(thread.status(), ThreadStatus::Dormant);
    assert_eq!(thread.run("two").await.unwrap().message(), Some("two"));
    thread.hibernate().await.unwrap();
    // A message that meets the actor on its way out is not lost.
    assert_eq!(thread.run("three").await.unwrap().message(), Some("three"));
    thread.hibernate().await.unwrap();
    assert_eq!(thread.close(BUDGET).await.unwrap().completed, [thread.id()]);
    world.end().await;
}

// clock    |panic ✗ back ✓ panic ✗ back ✓ …: it does not move
#[tokio::test(start_paused = true)]
async fn a_restart_without_a_pause_waits_for_no_timer() {
    let world = World::new(fragile()).await;
    let none = Duration::ZERO;
    let backoff = Backoff { initial: none, factor: 1.0, max: none, jitter: 0.0 };
    let policy = RestartPolicy::default().with_limit(100, BUDGET).with_backoff(backoff);
    let thread = world.spawn(with_policy(policy)).await.unwrap();
    let began = Instant::now();
    for _ in 0..20 {
        let (crashed, next) = tokio::join!(thread.run("panic"), thread.run("and on"));
        assert_eq!(crashed.unwrap().name(), "crashed");
        assert_eq!(next.unwrap().message(), Some("and on"));
    }
    let epoch = thread.view().epoch;
    for _ in 0..20 {
        thread.panic_for_test();
        thread.interrupt().await.unwrap(); // answered by the next incarnation
    }
    assert_eq!(thread.view().epoch.0, epoch.0 + 20);
    assert_eq!(began.elapsed(), Duration::ZERO);
    world.end().await;
}

/// Panics in its first turn, and again when it is dropped for that.
struct FallsApart {
    panics: bool,
}

impl EngineSession for FallsApart {
    fn run_turn<'a>(
        &'a mut self,
        _: &'a TurnContext,
        _: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        let panics = self.panics;
        async move { if panics { panic!("boom") } else { Ok(TurnOutput::done()) } }.boxed()
    }
}

impl Drop for FallsApart {
    fn drop(&mut self) {
        assert!(!self.panics, "and again");
    }
}

/// Its first session falls apart.
#[derive(Default)]
struct Brittle(AtomicU32);

impl Engine for Brittle {
    fn open(&self, _: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let panics = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        futures::future::ready(Ok(Box::new(FallsApart { panics }) as Box<dyn EngineSession>))
            .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn p_6_a_session_that_panics_again_when_it_is_dropped_crashes_its_turn_and_no_more() {
    let world = World::new(Brittle::default()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    assert!(matches!(thread.run("hello").await.unwrap(), Outcome::Crashed { .. }));
    assert!(matches!(thread.run("again").await.unwrap(), Outcome::Completed { .. }));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn sv_3_what_went_down_with_a_thread_comes_back_in_start_order() {
    let world = World::new(ScriptedEngine::echo()).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let mut expected = vec![parent.id()];
    for n in [7, 3, 9, 1] {
        // Not in the order of their ids.
        let id = ThreadId::from_parts(n, [9; 10]);
        world.spawn(SpawnThread::new().with_parent(parent.id()).with_id(id)).await.unwrap();
        expected.push(id);
    }
    let kinds = TapFilter::all().kinds([EventKind::Runtime]);
    let mut tap = world.tap(TapOptions::matching(kinds)).unwrap();
    parent.panic_for_test();
    let mut back = Vec::new();
    while back.len() < expected.len() {
        let restarted = |event: &Event| event.fact == Fact::Runtime(RuntimeEvent::ThreadRestarted);
        back.extend(World::event(&mut tap, restarted).await.thread);
    }
    assert_eq!(back, expected);
    drop(tap);
    world.end().await;
}
