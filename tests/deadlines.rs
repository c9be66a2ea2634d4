//! P4: every call has a deadline. Answered, refused, expired before it was taken up, late and undone.
//!
//! Time is virtual. The store is held where a real one would be slow.

use std::pin::Pin;
use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentPath, ArchiveError, CloseScope, Delivery, EdgeStatus, FindAgentError, ForkPoint,
    LeaseKind, Limits, ListAgentsError, Op, Outcome, OutcomeError, Rung, RuntimeEvent, Script,
    ScriptedEngine, SpawnError, SpawnThread, Step, StoreError, Submission, SubmissionId,
    SubmitError, SubmitOptions, ThreadQuery, ThreadStatus, WhyError,
};
use tokio::time::Instant;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(start_paused = true)]
async fn a_spawn_is_answered_within_its_deadline() {
    let world = World::new(ScriptedEngine::echo()).await;
    let before = Instant::now();
    let thread = world.spawn_within(SpawnThread::new(), ms(50)).await.unwrap();
    assert_eq!(Instant::now(), before, "nothing in it waits for time to pass");
    assert_eq!(world.status(thread.id()), ThreadStatus::PendingInit);
    world.end().await;
}

// caller   |── spawn, 50 ms ──✗ NoAnswer
// store    |──────── create held ────────────✓ made, then taken back
#[tokio::test(start_paused = true)]
async fn a_late_spawn_is_undone_and_nothing_of_it_remains() {
    let world = World::new(ScriptedEngine::echo()).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let mut tap = world.watch();
    world.store.hold(StoreOp::Create);
    let request = SpawnThread::new().with_parent(parent.id()).with_name("late");
    let refused = world.spawn_within(request.clone(), ms(50)).await.unwrap_err();
    assert_eq!(refused, SpawnError::NoAnswer);

    world.store.release(StoreOp::Create);
    World::event(&mut tap, |event| {
        event.fact == coppicer::Fact::Runtime(RuntimeEvent::SpawnUndone)
    })
    .await;
    drop(tap);
    assert_eq!(world.subtree(parent.id()).await.unwrap(), [parent.id()], "no thread, no edge");
    assert_eq!(world.list().len(), 1, "no slot");
    let audit = world.audit().await;
    assert_eq!((audit.count(LeaseKind::Slot), audit.count(LeaseKind::Resident)), (1, 1));
    // The name is free again.
    world.spawn(request).await.unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_whose_caller_went_away_is_undone() {
    let world = World::new(ScriptedEngine::echo()).await;
    world.store.hold(StoreOp::Create);
    let dropped = tokio::time::timeout(ms(10), world.spawn(SpawnThread::new())).await;
    assert!(dropped.is_err(), "the store has it");
    let mut tap = world.watch();
    world.store.release(StoreOp::Create);
    World::event(&mut tap, |event| {
        event.fact == coppicer::Fact::Runtime(RuntimeEvent::SpawnUndone)
    })
    .await;
    drop(tap);
    assert!(world.list().is_empty());
    assert!(world.runtime().store().list(ThreadQuery::all()).await.unwrap().threads.is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_that_expired_before_it_was_taken_up_is_not_executed() {
    let world = World::new(ScriptedEngine::echo()).await;
    let refused = world.spawn_within(SpawnThread::new(), Duration::ZERO).await.unwrap_err();
    assert_eq!(refused, SpawnError::NoAnswer);
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    assert_eq!(world.store.calls(StoreOp::Create), 1, "only the second one reached the store");
    assert_eq!(world.list().len(), 1);
    drop(thread);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_that_the_store_refuses_is_refused_and_undone() {
    let world = World::new(ScriptedEngine::echo()).await;
    let error = StoreError::Unavailable { reason: "disk full".into() };
    world.store.fail_next(StoreOp::Create, error.clone());
    assert_eq!(world.spawn(SpawnThread::new()).await.unwrap_err(), SpawnError::Store(error));
    assert!(world.list().is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_resume_leaves_the_stored_thread_as_it_was() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("once").await.unwrap();
    thread.close(BUDGET).await.unwrap();

    world.store.hold(StoreOp::Acquire);
    let request = SpawnThread::resume(thread.id());
    assert_eq!(world.spawn_within(request, ms(50)).await.unwrap_err(), SpawnError::NoAnswer);
    world.store.release(StoreOp::Acquire);
    let again = world.resume(thread.id()).await.unwrap();
    assert_ne!(again, thread);
    assert_eq!(again.run("twice").await.unwrap().message(), Some("twice"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_fork_is_undone() {
    let world = World::new(ScriptedEngine::echo()).await;
    let source = world.spawn(SpawnThread::new()).await.unwrap();
    source.run("one").await.unwrap();
    world.store.hold(StoreOp::Create);
    let request = SpawnThread::fork(source.id(), ForkPoint::LastStable);
    assert_eq!(world.spawn_within(request, ms(50)).await.unwrap_err(), SpawnError::NoAnswer);
    world.store.release(StoreOp::Create);
    world.until(|audit| audit.count(LeaseKind::Slot) == 1).await;
    assert_eq!(world.runtime().store().list(ThreadQuery::all()).await.unwrap().threads.len(), 1);
    world.end().await;
}

// source   |■■■■■■■■■■■■■■ turn, 300 ms ■■■■■■■■■■■■■■|
// fork 1   |── next stable, 100 ms ──✗ NoAnswer
// fork 2   |── next stable, 1 s ────────────────────── ✓ with the turn
#[tokio::test(start_paused = true)]
async fn a_fork_at_the_next_boundary_waits_for_it_within_its_deadline() {
    let engine = ScriptedEngine::always(Script::new().sleep(ms(300)).say("done"));
    let world = World::new(engine).await;
    let source = world.spawn(SpawnThread::new()).await.unwrap();
    source.submit("go").await.unwrap();
    let request = || SpawnThread::fork(source.id(), ForkPoint::NextStable);
    assert_eq!(world.spawn_within(request(), ms(100)).await.unwrap_err(), SpawnError::NoAnswer);
    let fork = world.spawn_within(request(), ms(1_000)).await.unwrap();
    let ended = |class: &coppicer::RecordClass| {
        matches!(class, coppicer::RecordClass::TurnCompleted { .. })
    };
    let history = fork.history().await.unwrap();
    assert_eq!(history.iter().filter(|record| ended(&record.class)).count(), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_submission_that_was_not_taken_up_by_its_deadline_is_not_executed() {
    let engine = ScriptedEngine::always(Script::new().say("done"));
    let world = World::new(engine).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    // The look-up of a chosen id takes its place in line; here it is the store that is slow.
    let options = SubmitOptions::new().within(Duration::ZERO);
    let refused = thread.submit_with("too late", options).await.unwrap_err();
    assert_eq!(refused, SubmitError::NoAnswer);
    assert_eq!(thread.run("in time").await.unwrap().name(), "completed");
    let inputs = thread.history().await.unwrap();
    let inputs = inputs.iter().filter(|r| r.class == coppicer::RecordClass::UserMessage).count();
    assert_eq!(inputs, 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_submission_whose_write_hangs_has_no_answer_and_one_outcome_all_the_same() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let id = SubmissionId::new("mine").unwrap();
    let submission = || Submission::input("hello").with_id(id.clone());
    world.store.hold(StoreOp::Append);
    let options = SubmitOptions::new().within(ms(50));
    assert_eq!(thread.submit_with(submission(), options).await.unwrap_err(), SubmitError::NoAnswer);
    world.store.release(StoreOp::Append);
    // Asked again with the same id: the first answer, and nothing runs twice (P3).
    let receipt = thread.submit(submission()).await.unwrap();
    assert!(receipt.duplicate);
    let outcome = thread.outcome(&id).await.unwrap();
    assert_eq!(outcome, Outcome::Completed { message: Some("hello".into()) });
    let other = Submission::input("something else").with_id(id.clone());
    assert_eq!(thread.submit(other).await.unwrap_err(), SubmitError::Conflict { submission: id });
    assert_eq!(thread.view().turns, 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_refuses_at_once_and_a_caller_may_wait_in_line_until_its_deadline() {
    let mut limits = Limits::default();
    limits.inbox_max = 2;
    let engine = ScriptedEngine::always(Script::new().sleep(ms(100)).say("done"));
    let world = World::with_limits(engine, limits).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    for n in 0..3 {
        thread.submit(n.to_string()).await.unwrap(); // one runs, two wait
    }
    let refused = thread.submit("no room").await.unwrap_err();
    assert_eq!(refused, SubmitError::Overloaded { depth: 2, capacity: 2 });
    let in_line = |budget| SubmitOptions::new().within(budget).wait_for_place();
    let impatient = thread.submit_with("no room", in_line(ms(10))).await.unwrap_err();
    assert_eq!(impatient, SubmitError::NoAnswer);
    let before = Instant::now();
    thread.submit_with("patient", in_line(ms(1_000))).await.unwrap();
    assert_eq!(before.elapsed(), ms(90), "a place came free when the first turn ended");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_is_answered_when_the_end_is_durable() {
    let world = World::new(ScriptedEngine::always(Script::new().then(Step::Hang))).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    assert_eq!(thread.interrupt().await.unwrap(), coppicer::Interrupted::NothingRan);
    let receipt = thread.submit("go").await.unwrap();
    let found = thread.interrupt().await.unwrap();
    assert!(matches!(found, coppicer::Interrupted::Turn { rung: Rung::Stopped, .. }), "{found:?}");
    assert_eq!(thread.outcome(&receipt.submission).await.unwrap(), Outcome::Interrupted);
    assert_eq!(thread.status(), ThreadStatus::Interrupted);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_ignores_its_cancellation_is_killed_after_the_grace() {
    let script = Script::new().then(Step::IgnoreCancel(Duration::from_secs(3_600)));
    let world = World::new(ScriptedEngine::always(script)).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.submit("go").await.unwrap();
    let before = Instant::now();
    let found = thread.interrupt().await.unwrap();
    assert!(matches!(found, coppicer::Interrupted::Turn { rung: Rung::Killed, .. }), "{found:?}");
    assert_eq!(before.elapsed(), ms(100), "the grace of REF 7.7");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_close_lets_a_turn_drain_as_long_as_it_is_told_to() {
    let engine = ScriptedEngine::always(Script::new().sleep(ms(200)).say("done"));
    let world = World::new(engine).await;
    let quick = world.spawn(SpawnThread::new()).await.unwrap();
    let receipt = quick.submit("go").await.unwrap();
    let queued = quick.submit("never").await.unwrap();
    let scope = CloseScope::Thread(quick.id());
    let report = world.close_with(scope, ms(500), Duration::from_secs(2)).await.unwrap();
    assert_eq!(report.rung(quick.id()), Some(Rung::Drained));
    assert_eq!(quick.outcome(&receipt.submission).await.unwrap().name(), "completed");
    assert_eq!(quick.outcome(&queued.submission).await.unwrap(), Outcome::Returned);
    assert_eq!(quick.submit("more").await.unwrap_err(), SubmitError::Closed { thread: quick.id() });

    let slow = world.spawn(SpawnThread::new()).await.unwrap();
    slow.submit("go").await.unwrap();
    let scope = CloseScope::Thread(slow.id());
    let report = world.close_with(scope, ms(50), Duration::from_secs(2)).await.unwrap();
    assert_eq!(report.rung(slow.id()), Some(Rung::Stopped));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_with_wedged_threads_is_answered_by_its_deadline_and_names_their_rungs() {
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "ignore" => Script::new().then(Step::IgnoreCancel(Duration::from_secs(3_600))),
        "hang" => Script::new().then(Step::Hang),
        _ => Script::new().say("done"),
    });
    let world = World::new(engine).await;
    let mut threads = Vec::new();
    for what in ["ignore", "hang"] {
        threads.push(world.spawn(SpawnThread::new().with_first(what)).await.unwrap());
    }
    threads.push(world.spawn(SpawnThread::new()).await.unwrap());
    threads[2].run("and be idle").await.unwrap();
    let before = Instant::now();
    let report = world.shutdown(Duration::from_secs(2)).await.unwrap();
    assert!(before.elapsed() <= Duration::from_secs(2));
    let rungs: Vec<Rung> = threads.iter().map(|t| report.rung(t.id()).unwrap()).collect();
    assert_eq!(rungs, [Rung::Killed, Rung::Stopped, Rung::Drained]);
    assert!(report.timed_out.is_empty() && report.submit_failed.is_empty());
    assert!(world.audit().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_while_the_store_hangs_is_answered_by_its_deadline_and_fences() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    world.store.hold(StoreOp::Append);
    let before = Instant::now();
    let report = world.shutdown(Duration::from_secs(1)).await.unwrap();
    assert!(before.elapsed() <= Duration::from_secs(1), "{:?}", before.elapsed());
    assert_eq!(report.timed_out, [thread.id()]);
    assert_eq!(report.rung(thread.id()), Some(Rung::Fenced));
    world.store.release(StoreOp::Append);
    world.until(coppicer::Audit::is_empty).await;
}

#[tokio::test(start_paused = true)]
async fn a_close_of_a_thread_that_is_still_coming_up_takes_it_back() {
    let world = World::new(ScriptedEngine::echo()).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    world.store.hold(StoreOp::Create);
    let spawning = {
        let runtime = world.runtime().clone();
        let request = SpawnThread::new().with_parent(parent.id());
        tokio::spawn(async move { runtime.spawn(request).await })
    };
    tokio::task::yield_now().await;
    let closing = {
        let (runtime, id) = (world.runtime().clone(), parent.id());
        tokio::spawn(async move { runtime.close(id, Duration::from_secs(1)).await })
    };
    tokio::task::yield_now().await;
    world.store.release(StoreOp::Create);
    let refused = spawning.await.unwrap().unwrap_err();
    assert!(matches!(refused, SpawnError::Closing { .. }), "{refused:?}");
    let report = closing.await.unwrap().unwrap();
    assert_eq!(report.completed.len(), 2);
    assert_eq!(world.subtree(parent.id()).await.unwrap(), [parent.id()]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_spawned_below_a_closing_thread() {
    let script = Script::new().then(Step::IgnoreCancel(Duration::from_secs(3_600)));
    let world = World::new(ScriptedEngine::always(script)).await;
    let parent = world.spawn(SpawnThread::new().with_first("go")).await.unwrap();
    let closing = {
        let (runtime, id) = (world.runtime().clone(), parent.id());
        tokio::spawn(async move { runtime.close(id, Duration::from_secs(1)).await })
    };
    tokio::task::yield_now().await;
    let refused = world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap_err();
    assert_eq!(refused, SpawnError::Closing { thread: parent.id() });
    closing.await.unwrap().unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_during_a_close_waits_for_the_end_of_the_old_life() {
    let script = Script::new().then(Step::IgnoreCancel(Duration::from_secs(3_600)));
    let world = World::new(ScriptedEngine::always(script)).await;
    let old = world.spawn(SpawnThread::new().with_first("go")).await.unwrap();
    let closing = {
        let (runtime, id) = (world.runtime().clone(), old.id());
        tokio::spawn(async move { runtime.close(id, Duration::from_secs(1)).await })
    };
    tokio::task::yield_now().await;
    let new = world.resume(old.id()).await.unwrap();
    assert_ne!(new, old);
    assert!(new.view().epoch > old.view().epoch);
    assert_eq!(closing.await.unwrap().unwrap().rung(old.id()), Some(Rung::Killed));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn closing_what_is_closed_is_a_success_and_what_never_was_is_not_found() {
    let world = World::new(ScriptedEngine::echo()).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let child = world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap();
    assert_eq!(child.close(BUDGET).await.unwrap().completed, [child.id()]);
    assert!(child.close(BUDGET).await.unwrap().threads.is_empty());
    let store = world.runtime().store().clone();
    assert!(store.children(parent.id(), Some(EdgeStatus::Open)).await.unwrap().is_empty());
    let nobody = coppicer::ThreadId::from_parts(1, [1; 10]);
    let refused = world.close(nobody, BUDGET).await.unwrap_err();
    assert_eq!(refused, coppicer::CloseError::NotFound { thread: nobody });
    world.end().await;
    // Op::Close through the inbox is the same close.
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let mut tap = thread.status_changes().unwrap();
    thread.submit(Op::Close).await.unwrap();
    World::event(&mut tap, |event| {
        matches!(&event.fact, coppicer::Fact::Thread(coppicer::ThreadEvent::StatusChanged { status, .. })
            if *status == ThreadStatus::Shutdown)
    })
    .await;
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_steer_meets_its_deadline_or_is_refused_by_type() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let steer = Submission::input("x").with_delivery(Delivery::Steer { expected: None });
    assert_eq!(thread.submit(steer).await.unwrap_err(), SubmitError::NoActiveTurn);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_a_thousand_dormant_and_idle_threads_closes_from_its_leaf_up() {
    let world = World::new(ScriptedEngine::echo()).await;
    let mut chain = vec![world.spawn(SpawnThread::new()).await.unwrap()];
    for _ in 1..1_000 {
        let request = SpawnThread::new().with_parent(chain[chain.len() - 1].id());
        chain.push(world.spawn(request).await.unwrap());
    }
    chain[999].hibernate().await.unwrap();
    let mut tap = world.watch();
    let report = chain[0].close(BUDGET).await.unwrap();
    assert_eq!(report.completed.len(), 1_000);
    let mut ended = Vec::new();
    while let Some(item) = tap.try_next() {
        let event = item.event().unwrap();
        if matches!(event.fact, coppicer::Fact::Runtime(RuntimeEvent::ThreadEnded { .. })) {
            ended.extend(event.thread);
        }
    }
    drop(tap);
    let from_the_leaf: Vec<_> = chain[..999].iter().rev().map(coppicer::ThreadHandle::id).collect();
    assert_eq!(ended, from_the_leaf);
    world.end().await;
}

/// Real time: thousands of threads in a debug build cannot all end within the deadline. The report
/// arrives all the same, and what did not end is fenced off. On a busy machine everything takes longer:
/// how long all threads take to end is measured beside it, and a report that had waited for them would
/// never come in a quarter of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_too_short_for_its_threads_is_kept() {
    const THREADS: usize = 3_000;
    const TRIES: usize = 5;
    let deadline = ms(30);
    let close = async |budget| {
        let mut limits = Limits::default();
        limits.close_slack = BUDGET; // who asked has the report, however late
        let world = World::with_limits(ScriptedEngine::echo(), limits).await;
        for _ in 0..THREADS {
            world.spawn(SpawnThread::new()).await.unwrap();
        }
        let before = Instant::now();
        let report = world.close_all(budget).await.unwrap();
        let took = before.elapsed();
        assert_eq!(report.threads.len(), THREADS);
        assert_eq!(report.completed.len() + report.timed_out.len(), THREADS);
        world.until(|audit| audit.count(LeaseKind::Resident) == 0).await;
        world.end().await;
        (report, took)
    };
    let mut tries = Vec::new();
    while tries.len() < TRIES {
        let (all, whole) = close(BUDGET).await;
        assert_eq!(all.completed.len(), THREADS, "none is fenced off without need");
        let (_, took) = close(deadline).await;
        if took <= deadline + whole / 4 {
            return;
        }
        tries.push((took, whole));
    }
    panic!("reports came late, beside what all threads took: {tries:?}");
}

// store    |■■■■■ the look-up is held ■■■■■■■■■■■
// caller   |── outcome, 1 s ──✗ NoAnswer
// caller   |── outcome, 1 h ────────✓ told by the thread
#[tokio::test(start_paused = true)]
async fn an_outcome_that_the_store_does_not_tell_is_told_by_the_thread_or_not_by_the_deadline() {
    let engine = ScriptedEngine::always(Script::new().sleep(ms(2_000)).say("done"));
    let world = World::new(engine).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let receipt = thread.submit("go").await.unwrap();
    let id = &receipt.submission;
    world.store.hold(StoreOp::Submission);
    let before = Instant::now();
    let late = tokio::time::timeout(BUDGET, thread.outcome_within(id, ms(1_000))).await;
    assert_eq!(late.expect("answered by its deadline"), Err(OutcomeError::NoAnswer));
    assert_eq!(before.elapsed(), ms(1_000));
    let told = tokio::time::timeout(BUDGET, thread.outcome(id)).await.expect("it was told of");
    assert_eq!(told, Ok(Outcome::Completed { message: Some("done".into()) }));
    assert_eq!(before.elapsed(), ms(2_000), "when the turn ended");

    // Of a closed thread only the store knows.
    thread.close(BUDGET).await.unwrap();
    let before = Instant::now();
    let late = tokio::time::timeout(BUDGET, thread.outcome_within(id, ms(1_000))).await;
    assert_eq!(late.expect("answered by its deadline"), Err(OutcomeError::NoAnswer));
    assert_eq!(before.elapsed(), ms(1_000));
    world.store.release(StoreOp::Submission);
    assert_eq!(thread.outcome(id).await.unwrap().name(), "completed");
    let unknown = SubmissionId::new("never").unwrap();
    let refused = OutcomeError::Unknown { thread: thread.id(), submission: unknown.clone() };
    assert_eq!(thread.outcome(&unknown).await, Err(refused));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_read_of_a_store_that_hangs_is_answered_within_the_time_of_a_call() {
    let mut limits = Limits::default();
    limits.call_timeout = ms(1_000);
    let world = World::with_limits(ScriptedEngine::echo(), limits).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("hello").await.unwrap();
    let id = thread.id();
    world.store.hold(StoreOp::Look);
    world.store.hold(StoreOp::Read);
    let late = |error: &StoreError| matches!(error, StoreError::Unavailable { .. });
    let in_time = async |what: &str, reading: Pin<Box<dyn Future<Output = bool> + '_>>| {
        let before = Instant::now();
        let refused = tokio::time::timeout(BUDGET, reading).await;
        assert_eq!(refused, Ok(true), "{what}");
        assert_eq!(before.elapsed(), ms(1_000), "{what}");
    };
    let store =
        |error: &ListAgentsError| matches!(error, ListAgentsError::Store(error) if late(error));
    in_time("history", Box::pin(async { late(&thread.history().await.unwrap_err()) })).await;
    in_time("stored", Box::pin(async { late(&world.stored(id).await.unwrap_err()) })).await;
    in_time("crashes", Box::pin(async { late(&world.crashes(id).await.unwrap_err()) })).await;
    in_time("subtree", Box::pin(async { late(&world.subtree(id).await.unwrap_err()) })).await;
    in_time(
        "threads",
        Box::pin(async { late(&world.threads(ThreadQuery::all()).await.unwrap_err()) }),
    )
    .await;
    in_time("agents", Box::pin(async { store(&world.agents(id, None).await.unwrap_err()) })).await;
    in_time("resolve", Box::pin(async {
        matches!(world.resolve(id, "/root/nobody").await.unwrap_err(), FindAgentError::Tree(error) if store(&error))
    })).await;
    world.store.release(StoreOp::Look);
    world.store.release(StoreOp::Read);
    assert_eq!(world.stored(id).await.unwrap().id, id);
    world.end().await;
}

// inbox    |■■ full ■■■■■■■■■■■■■■■■■■■■■
// caller   |── input, in line ──✗ Parked
// caller   |── mail, in line ────────────────✓ with the first place after the revival
#[tokio::test(start_paused = true)]
async fn mail_in_line_stays_there_when_its_reader_is_parked_and_other_work_is_sent_away() {
    let mut limits = Limits::default();
    limits.inbox_max = 1;
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    });
    let world = World::with_limits(engine, limits).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let letter = |text: &str| Op::AgentMessage {
        from: AgentPath::root(),
        content: text.into(),
        trigger: false,
    };
    let in_line = SubmitOptions::new().within(BUDGET).wait_for_place();
    thread.submit("hang").await.unwrap(); // runs
    thread.submit("next").await.unwrap(); // takes the place
    let (work, mail, parked) = tokio::join!(
        thread.submit_with("more", in_line),
        thread.submit_with(letter("one"), in_line),
        async {
            tokio::task::yield_now().await;
            thread.park().await.unwrap();
            tokio::time::sleep(ms(10)).await;
            thread.revive().await.unwrap();
        }
    );
    let () = parked;
    assert_eq!(work.unwrap_err(), SubmitError::Parked { thread: thread.id() });
    mail.expect("it stayed in line");
    // A parked thread that has room takes it at once.
    thread.park().await.unwrap();
    thread.submit_with(letter("two"), in_line).await.expect("mail is for when it is revived");
    let refused = thread.submit_with("more", in_line).await.unwrap_err();
    assert_eq!(refused, SubmitError::Parked { thread: thread.id() });
    let mail = SpawnThread::resume(thread.id()).with_first(Submission::from(letter("three")));
    world.spawn(mail).await.expect("as the first of a resume too");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_grace_without_an_end_is_no_fault() {
    let mut limits = Limits::default();
    limits.interrupt_grace = Duration::MAX;
    let world =
        World::with_limits(ScriptedEngine::always(Script::new().then(Step::Hang)), limits).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let receipt = thread.submit("go").await.unwrap();
    thread.submit(Op::Interrupt).await.unwrap();
    assert_eq!(thread.outcome(&receipt.submission).await.unwrap(), Outcome::Interrupted);
    assert_eq!(thread.view().crashes, 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_of_a_thread_that_only_a_store_that_hangs_knows_is_answered_by_its_deadline()
{
    let mut limits = Limits::default();
    limits.call_timeout = ms(1_000);
    let world = World::with_limits(ScriptedEngine::echo(), limits).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap().id();
    world.close(thread, BUDGET).await.unwrap();
    world.store.hold(StoreOp::Look);
    let before = Instant::now();
    assert_eq!(world.why_within(thread, ms(500)).await.unwrap_err(), WhyError::NoAnswer);
    assert_eq!(before.elapsed(), ms(500));
    let before = Instant::now();
    assert_eq!(world.unarchive(thread).await, Err(ArchiveError::NoAnswer));
    assert_eq!(before.elapsed(), ms(1_000));
    let before = Instant::now();
    assert!(world.archive(thread, ms(700)).await.is_err());
    assert!(world.delete(thread, ms(700)).await.is_err());
    assert!(before.elapsed() <= ms(1_400), "{:?}", before.elapsed());
    world.store.release(StoreOp::Look);
    world.unarchive(thread).await.unwrap();
    world.end().await;
}
