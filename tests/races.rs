//! What a review of the core found: interleavings and inputs that once broke a promise.

use std::sync::Arc;
use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::*;

fn name(s: &str) -> SubmissionId {
    SubmissionId::new(s).expect("a plain name")
}
fn by_text() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        "panic" => Script::new().panic("boom"),
        text => Script::new().say(text),
    })
}
async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}
async fn ms(n: u64) {
    tokio::time::sleep(Duration::from_millis(n)).await;
}

// 1
#[tokio::test(start_paused = true)]
async fn a_resume_that_races_a_spawn_leaves_the_live_thread_alone() {
    let world = World::new(by_text()).await;
    let id = ThreadId::from_parts(1, [7; 10]);
    let (resumed, spawned) =
        tokio::join!(world.resume(id), world.spawn(SpawnThread::new().with_id(id)));
    settle().await;
    let stored = world.runtime().store().thread(id).await.is_ok();
    world.end().await;
    assert!(
        resumed.is_ok() || spawned.is_ok(),
        "both fail, and the thread is in the store: {stored}"
    );
}

// 2
#[tokio::test(start_paused = true)]
async fn a_thread_that_hibernated_and_was_resumed_takes_submissions() {
    let world = World::new(by_text()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.hibernate().await.unwrap();
    settle().await;
    let again = world.resume(thread.id()).await.unwrap();
    let got = tokio::time::timeout(Duration::from_secs(20), again.run("x")).await;
    world.end().await;
    assert!(got.is_ok(), "stuck: {got:?}");
}

// 3
#[tokio::test(start_paused = true)]
async fn a_waiter_hears_of_an_outcome_that_is_durable_though_the_actor_died_before_it_told() {
    let world = World::new(by_text()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let t2 = thread.clone();
    let running = tokio::spawn(async move { t2.run("hang").await });
    ms(1).await;
    world.store.hold(StoreOp::Append);
    let t3 = thread.clone();
    tokio::spawn(async move { drop(t3.interrupt().await) });
    ms(1).await;
    thread.panic_for_test();
    ms(1).await;
    world.store.release(StoreOp::Append);
    ms(2_000).await;
    let got = tokio::time::timeout(Duration::from_secs(60), running).await;
    world.end().await;
    assert!(got.is_ok(), "the waiter is never answered");
}

// 4
#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_free_for_a_closed_thread_goes_to_the_next() {
    let mut limits = Limits::default();
    limits.executing_max = 1;
    let world = World::with_limits(by_text(), limits).await;
    let a = world.spawn(SpawnThread::new()).await.unwrap();
    let b = world.spawn(SpawnThread::new()).await.unwrap();
    let c = world.spawn(SpawnThread::new()).await.unwrap();
    a.submit("hang").await.unwrap();
    ms(1).await;
    b.submit("x").await.unwrap();
    b.close(BUDGET).await.unwrap();
    a.interrupt().await.unwrap();
    let got = tokio::time::timeout(Duration::from_secs(60), c.run("y")).await;
    world.end().await;
    assert!(got.is_ok(), "the only permit sits in the lane of a closed thread");
}

// 5
#[tokio::test(start_paused = true)]
async fn a_place_that_comes_for_a_caller_who_left_goes_to_the_next() {
    let mut limits = Limits::default();
    limits.inbox_max = 1;
    let world = World::with_limits(by_text(), limits).await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    t.submit("hang").await.unwrap();
    ms(1).await;
    t.submit("x").await.unwrap(); // fills the inbox
    let mut waiting = Box::pin(t.submit_with("late", SubmitOptions::new().wait_for_place()));
    assert!(futures::poll!(&mut waiting).is_pending());
    t.interrupt().await.unwrap();
    ms(10).await; // the place was handed over
    drop(waiting);
    ms(10).await;
    let got = t.submit("more").await;
    world.end().await;
    assert!(got.is_ok(), "nothing waits, and yet: {got:?}");
}

// 6
#[tokio::test(start_paused = true)]
async fn a_place_that_changes_hands_during_a_crash_is_counted_once() {
    let mut limits = Limits::default();
    limits.inbox_max = 1;
    let world = World::with_limits(by_text(), limits).await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    t.submit("hang").await.unwrap();
    ms(1).await;
    t.submit("x").await.unwrap();
    let mut waiting = Box::pin(t.submit_with("late", SubmitOptions::new().wait_for_place()));
    assert!(futures::poll!(&mut waiting).is_pending());
    t.interrupt().await.unwrap();
    ms(10).await;
    t.panic_for_test();
    ms(1000).await;
    waiting.await.unwrap();
    ms(10).await;
    let audit = world.audit().await;
    world.end().await;
    let book = 0;
    let _ = book;
    // returned > granted is hidden by saturating_sub; a second thread makes it visible
    assert!(audit.is_clean(), "{audit:?}");
}

// 7
#[tokio::test(start_paused = true)]
async fn a_parent_is_told_of_a_turn_that_a_crashed_actor_left() {
    let world = World::new(by_text()).await;
    let p = world.spawn(SpawnThread::new()).await.unwrap();
    let c = world.spawn(SpawnThread::new().with_parent(p.id())).await.unwrap();
    let mut tap = world
        .tap(TapOptions::matching(TapFilter::thread(p.id()).kinds([EventKind::Mail])))
        .unwrap();
    let left = c.submit("hang").await.unwrap();
    ms(1).await;
    c.panic_for_test();
    ms(2000).await;
    let outcome = c.outcome_within(&left.submission, Duration::from_secs(1)).await.unwrap();
    assert_eq!(outcome, Outcome::Interrupted);
    let got = tap.try_next();
    drop(tap);
    world.end().await;
    assert!(
        got.is_some(),
        "the child's turn ended as interrupted by a crash; the parent heard nothing"
    );
}

// 8
#[tokio::test(start_paused = true)]
async fn a_parent_is_told_of_a_dormant_child_that_is_closed() {
    let world = World::new(by_text()).await;
    let p = world.spawn(SpawnThread::new()).await.unwrap();
    let c = world.spawn(SpawnThread::new().with_parent(p.id())).await.unwrap();
    c.hibernate().await.unwrap();
    settle().await;
    let mut tap = world
        .tap(TapOptions::matching(TapFilter::thread(p.id()).kinds([EventKind::Mail])))
        .unwrap();
    let _report = c.close(BUDGET).await.unwrap();
    settle().await;
    let got = tap.try_next();
    drop(tap);
    world.end().await;
    assert!(got.is_some(), "closed: the parent heard nothing");
}

// 9
#[tokio::test(start_paused = true)]
async fn a_spawn_whose_actor_crashed_before_its_first_submission_is_undone_whole() {
    let world = World::new(by_text()).await;
    let id = ThreadId::from_parts(1, [9; 10]);
    world.store.hold(StoreOp::Append);
    let rt = world.runtime().clone();
    let spawn =
        tokio::spawn(async move { rt.spawn(SpawnThread::new().with_id(id).with_first("x")).await });
    ms(1).await;
    world.get(id).unwrap().panic_for_test();
    ms(1).await;
    let got = spawn.await.unwrap();
    world.store.release(StoreOp::Append);
    ms(60_000).await;
    let ghost = world.get(id).map(|t| t.view());
    world.end().await;
    assert!(got.is_err());
    assert!(ghost.is_none(), "refused, yet it is there: {ghost:?}");
}

// 10
#[tokio::test(start_paused = true)]
async fn a_resume_brings_its_first_submission_along() {
    let world = World::new(by_text()).await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    t.close(BUDGET).await.unwrap();
    let first = Submission::input("hello").with_id(name("first"));
    let t = world.spawn(SpawnThread::resume(t.id()).with_first(first)).await.unwrap();
    ms(100).await;
    let got = t.outcome_within(&name("first"), Duration::from_secs(1)).await;
    world.end().await;
    assert!(got.is_ok(), "answered Ok without accepting: {got:?}");
}

// 11
#[tokio::test(start_paused = true)]
async fn a_revived_thread_has_a_fresh_budget_for_crashes_of_its_actor() {
    let world = World::new(by_text()).await;
    let policy = RestartPolicy::default().with_limit(1, Duration::from_secs(60));
    let t = world
        .spawn(SpawnThread::new().with_config(ThreadConfig::default().with_restart(policy)))
        .await
        .unwrap();
    t.panic_for_test();
    ms(1000).await;
    t.panic_for_test();
    ms(1000).await;
    assert_eq!(t.status(), ThreadStatus::Parked);
    t.revive().await.unwrap();
    t.run("x").await.unwrap();
    t.panic_for_test();
    ms(1000).await;
    let got = t.view();
    world.end().await;
    assert_ne!(got.status, ThreadStatus::Parked, "a revived thread is parked by its first crash");
}

// 12
#[tokio::test(start_paused = true)]
async fn two_control_submissions_with_chosen_ids_are_looked_up_one_after_the_other() {
    let world = World::new(by_text()).await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    let (first, second) = tokio::join!(
        t.submit(Submission::new(Op::Interrupt).with_id(name("a"))),
        t.submit(Submission::new(Op::Interrupt).with_id(name("b"))),
    );
    // and one whose id was used
    let (third, again) = tokio::join!(
        t.submit(Submission::new(Op::Interrupt).with_id(name("c"))),
        t.submit(Submission::new(Op::Interrupt).with_id(name("b"))),
    );
    world.end().await;
    assert!(again.unwrap().duplicate, "an id that was used is accepted again");
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
}

// 13
#[tokio::test(start_paused = true)]
async fn control_ops_take_no_place_of_the_inbox() {
    let mut limits = Limits::default();
    limits.inbox_max = 2;
    let world = World::with_limits(by_text(), limits).await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    t.run(Op::Interrupt).await.unwrap();
    t.run(Op::Interrupt).await.unwrap();
    ms(10).await;
    let got = t.submit("x").await;
    world.end().await;
    assert!(got.is_ok(), "{got:?}");
}

// 14
#[tokio::test(start_paused = true)]
async fn a_pause_that_cannot_be_represented_is_a_long_one() {
    let world = World::new(by_text()).await;
    let long = Backoff { initial: Duration::MAX, factor: 1.0, max: Duration::MAX, jitter: 0.0 };
    let policy = RestartPolicy::default().with_backoff(long);
    let t = world
        .spawn(SpawnThread::new().with_config(ThreadConfig::default().with_restart(policy)))
        .await
        .unwrap();
    let innocent = world.spawn(SpawnThread::new()).await.unwrap();
    t.submit("panic").await.unwrap();
    ms(1000).await;
    let _got = innocent.run("x").await;
    let spawned = world.spawn(SpawnThread::new()).await;
    world.end().await;
    assert!(spawned.is_ok(), "{spawned:?}");
}

// 15
#[tokio::test(start_paused = true)]
async fn what_is_accepted_behind_a_hibernation_is_told() {
    let world = World::new(by_text()).await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    let settings = serde_json::json!({"a": 1});
    let (_h, u) = tokio::join!(
        t.submit(Op::Hibernate),
        t.submit(Submission::new(Op::UpdateConfig { settings })),
    );
    world.end().await;
    assert!(u.is_ok(), "durable, but its caller hears {u:?}");
}

// 16
#[tokio::test(start_paused = true)]
async fn a_journal_of_no_events_keeps_none() {
    let mut limits = Limits::default();
    limits.journal_events_max = 0;
    let world = World::with_limits(by_text(), limits).await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    for _ in 0..50 {
        t.run("x").await.unwrap();
    }
    let tap = world.tap(TapOptions::all().with_from(TapFrom::Cursor(0)));
    let waiting = tap.as_ref().map_or(0, |tap| tap.counts().waiting);
    world.end().await;
    assert_eq!(waiting, 0, "events kept by a journal of none");
}

// 17
#[tokio::test(start_paused = true)]
async fn mail_that_is_sent_and_taken_in_one_append_comes_once() {
    let world = World::new(by_text()).await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    let op = Op::AgentMessage { from: AgentPath::root(), content: "do it".into(), trigger: true };
    t.submit(op).await.unwrap();
    ms(100).await;
    assert_eq!(t.view().turns, 1);
    t.panic_for_test();
    ms(5000).await;
    let turns = t.view().turns;
    world.end().await;
    assert_eq!(turns, 1, "one mail started a turn again after a restart");
}

// 18
#[tokio::test(start_paused = true)]
async fn a_wait_sees_that_the_last_place_came_free() {
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "parent" => Script::new()
            .spawn(SpawnThread::new().with_id(ThreadId::from_parts(5, [5; 10])).with_first("child"))
            .sleep(Duration::from_millis(100))
            .then(Step::Wait(Wait::All, Duration::from_secs(60))),
        text => Script::new().say(text),
    });
    let world = World::new(engine).await;
    let p = world.spawn(SpawnThread::new()).await.unwrap();
    p.submit("parent").await.unwrap();
    ms(50).await;
    let child = world.get(ThreadId::from_parts(5, [5; 10])).unwrap();
    world.store.hold(StoreOp::Append);
    let c2 = child.clone();
    tokio::spawn(async move {
        drop(
            c2.submit(Submission::new(Op::UpdateConfig { settings: serde_json::json!({}) })).await,
        );
    });
    ms(100).await; // the parent waits now
    world.store.release(StoreOp::Append);
    ms(1000).await;
    let (c, p) = (child.view(), p.view());
    world.end().await;
    assert_eq!(c.inbox, 0);
    assert_eq!(p.turn, None, "the child is done, the parent still waits: {:?}", c.status);
}

// 19
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_of_a_crashed_thread_is_counted() {
    let gate = Gate::new();
    let world = World::new(
        ScriptedEngine::always(Script::new().then(Step::BlockUntil(gate.clone()))).on_own_threads(),
    )
    .await;
    let t = world.spawn(SpawnThread::new().with_first("go")).await.unwrap();
    while gate.reached() == 0 {
        ms(1).await; // it holds an OS thread: neither an event nor virtual time can tell
    }
    t.panic_for_test();
    world.until(|audit| audit.count(LeaseKind::Zombie) == 1).await;
    gate.open();
    world.until(|audit| audit.count(LeaseKind::Zombie) == 0).await;
    world.end().await;
}

// 20
#[tokio::test(start_paused = true)]
async fn a_fenced_off_thread_can_write_nothing_any_more() {
    let world = World::new(by_text()).await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    let s = t.submit("hang").await.unwrap();
    ms(1).await;
    world.store.hold(StoreOp::Append);
    let (t2, id) = (t.clone(), s.submission.clone());
    let early = tokio::spawn(async move { t2.outcome(&id).await });
    ms(1).await;
    let report = t.close(Duration::from_millis(500)).await.unwrap();
    assert_eq!(report.timed_out, [t.id()]);
    let told = early.await.unwrap();
    assert!(matches!(told, Err(OutcomeError::Closed { .. })), "{told:?}");
    let before = world.runtime().store().thread(t.id()).await.unwrap().head;
    world.store.release(StoreOp::Append);
    ms(10).await;
    let after = world.runtime().store().thread(t.id()).await.unwrap().head;
    let told = tokio::time::timeout(Duration::from_secs(600), t.outcome(&s.submission)).await;
    assert!(matches!(told, Ok(Err(OutcomeError::Closed { .. }))), "{told:?}");
    world.end().await;
    assert_eq!(before, after, "reported as fenced, and written afterwards");
}
#[tokio::test(start_paused = true)]
async fn who_waits_for_an_outcome_of_a_fenced_off_thread_is_told() {
    let world = World::new(by_text()).await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    let s = t.submit("hang").await.unwrap();
    ms(1).await;
    world.store.hold(StoreOp::Append);
    t.close(Duration::from_millis(500)).await.unwrap();
    let got = tokio::time::timeout(Duration::from_secs(6000), t.outcome(&s.submission)).await;
    world.end().await;
    assert!(got.is_ok(), "outcome of a thread that is over hangs");
}

// 21
#[tokio::test(start_paused = true)]
async fn a_resume_opens_a_closed_edge_again() {
    let world = World::new(by_text()).await;
    let p = world.spawn(SpawnThread::new()).await.unwrap();
    let c = world.spawn(SpawnThread::new().with_parent(p.id())).await.unwrap();
    c.close(BUDGET).await.unwrap();
    world.resume(c.id()).await.unwrap();
    world.close_all(BUDGET).await.unwrap();
    let tree = world.resume_tree(p.id()).await.unwrap();
    let n = tree.below.len();
    world.end().await;
    assert_eq!(n, 1, "REF 3.9 step 6: resume re-opens a closed edge");
}

// 22
#[tokio::test(start_paused = true)]
async fn a_resumed_thread_is_not_shown_as_shut_down() {
    let world = World::new(by_text()).await;
    let p = world.spawn(SpawnThread::new()).await.unwrap();
    p.run("x").await.unwrap();
    p.close(BUDGET).await.unwrap();
    let p = world.resume(p.id()).await.unwrap();
    ms(10).await;
    let view = p.view();
    world.end().await;
    assert_ne!(view.status, ThreadStatus::Shutdown, "{:?}", view.phase);
}

// 23
#[tokio::test(start_paused = true)]
async fn an_edge_that_could_not_be_written_is_in_the_report() {
    let world = World::new(by_text()).await;
    let p = world.spawn(SpawnThread::new()).await.unwrap();
    let c = world.spawn(SpawnThread::new().with_parent(p.id())).await.unwrap();
    world.store.fail_next(StoreOp::PutEdge, StoreError::Unavailable { reason: "disk".into() });
    let got = c.close(BUDGET).await;
    let open = world.runtime().store().children(p.id(), Some(EdgeStatus::Open)).await.unwrap();
    world.end().await;
    assert!(got.is_err() || open.is_empty(), "{got:?}");
}

// 24
#[tokio::test(start_paused = true)]
async fn a_turn_closes_only_what_is_below_its_thread() {
    let victim = ThreadId::from_parts(3, [3; 10]);
    let engine = CloseIt(victim);
    let world = World::new(engine).await;
    let p = world.spawn(SpawnThread::new()).await.unwrap();
    world.spawn(SpawnThread::new().with_parent(p.id()).with_id(victim)).await.unwrap();
    world.close_all(BUDGET).await.unwrap();
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    assert_eq!(t.run("x").await.unwrap().name(), "completed");
    let open = world.runtime().store().children(p.id(), Some(EdgeStatus::Open)).await.unwrap();
    world.end().await;
    assert_eq!(open, [victim], "a turn of another tree closed its edge");
}
struct CloseIt(ThreadId);
struct CloseSession(ThreadId);
use futures::FutureExt;
use futures::future::BoxFuture;
impl Engine for CloseIt {
    fn open(&self, _cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let s = Box::new(CloseSession(self.0)) as Box<dyn EngineSession>;
        futures::future::ready(Ok(s)).boxed()
    }
}
impl EngineSession for CloseSession {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        _input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        async move {
            let refused = cx.close(self.0, Duration::from_secs(1)).await;
            assert_eq!(refused, Err(CloseError::NotFound { thread: self.0 }));
            Ok(TurnOutput::done())
        }
        .boxed()
    }
}

// 25
#[tokio::test(start_paused = true)]
async fn an_interrupt_that_meets_a_crash_does_not_say_that_the_runtime_has_ended() {
    let world = World::new(ScriptedEngine::always(
        Script::new().then(Step::IgnoreCancel(Duration::from_secs(5))),
    ))
    .await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    t.submit("x").await.unwrap();
    ms(1).await;
    let t2 = t.clone();
    let i = tokio::spawn(async move { t2.interrupt().await });
    ms(1).await;
    t.panic_for_test();
    let got = i.await.unwrap();
    world.end().await;
    assert_ne!(got, Err(ControlError::RuntimeEnded));
}

// 26
#[tokio::test(start_paused = true)]
async fn a_child_whose_parent_does_not_come_back_comes_back_itself() {
    let world = World::new(by_text()).await;
    let policy = RestartPolicy::default().with_limit(0, Duration::from_secs(60));
    let p = world
        .spawn(SpawnThread::new().with_config(ThreadConfig::default().with_restart(policy)))
        .await
        .unwrap();
    let c = world.spawn(SpawnThread::new().with_parent(p.id())).await.unwrap();
    world.store.fail_next(StoreOp::Acquire, StoreError::Unavailable { reason: "disk".into() });
    p.panic_for_test();
    ms(5000).await;
    let back = world.resume(c.id()).await.unwrap();
    let got = back.submit("x").await;
    world.end().await;
    assert!(got.is_ok(), "resumed Ok, but stuck: {got:?}");
}

// 27
#[tokio::test(start_paused = true)]
async fn a_revive_that_expired_is_not_executed() {
    let mut limits = Limits::default();
    limits.call_timeout = Duration::from_millis(50);
    let world = World::with_limits(by_text(), limits).await;
    let policy = RestartPolicy::default().with_limit(0, Duration::from_secs(60));
    let t = world
        .spawn(SpawnThread::new().with_config(ThreadConfig::default().with_restart(policy)))
        .await
        .unwrap();
    world.store.hold(StoreOp::Acquire);
    t.panic_for_test();
    ms(10).await;
    assert_eq!(t.revive().await, Err(ControlError::NoAnswer));
    ms(1000).await;
    world.store.release(StoreOp::Acquire);
    ms(100).await;
    let got = t.status();
    world.end().await;
    assert_eq!(got, ThreadStatus::Parked, "a revive that missed its deadline was executed");
}

// 28
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_submitted_has_an_outcome() {
    let engine = ScriptedEngine::always(
        Script::new().then(Step::Ask(serde_json::json!("q"), Duration::from_secs(60))),
    );
    let world = World::new(engine).await;
    let t = world.spawn(SpawnThread::new()).await.unwrap();
    let s = t.submit("x").await.unwrap();
    ms(1).await;
    let question: QuestionId = Arc::from(format!("{}/q1", s.submission));
    let op = Op::Answer { question, answer: serde_json::json!(1) };
    let got = tokio::time::timeout(Duration::from_secs(600), t.run(op)).await;
    world.end().await;
    assert!(got.is_ok(), "a receipt, and no outcome ever");
}
