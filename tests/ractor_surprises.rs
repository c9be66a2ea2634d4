//! What ractor does that a supervisor built on it must not pass on. Each test cites the fact of
//! ractor 0.16 that it is about, by its number in the notes that the design stands on.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    Backoff, ControlError, Ended, Engine, EngineError, EngineSession, EventKind, Fact, Interrupted,
    LeaseKind, Limits, OpenContext, Outcome, RestartPolicy, RuntimeEvent, Script, ScriptedEngine,
    SpawnError, SpawnThread, Step, SubmitError, SubmitOptions, Tap, TapFilter, TapOptions,
    ThreadConfig, ThreadHandle, ThreadId, ThreadStatus, TurnContext, TurnInput, TurnOutput,
};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};

/// Hangs, panics, or says what it is told.
fn by_text() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        "panic" => Script::new().panic("boom"),
        text => Script::new().say(text),
    })
}

async fn root(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.unwrap()
}

async fn child(world: &World, parent: &ThreadHandle) -> ThreadHandle {
    world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap()
}

async fn hang(thread: &ThreadHandle) {
    thread.submit("hang").await.unwrap();
    until(|| thread.status() == ThreadStatus::Running).await;
}

/// Lets others run until it holds; no time passes.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it did not come to hold");
}

/// A tap of what the supervisor tells.
fn watch(world: &World) -> Tap {
    world.tap(TapOptions::matching(TapFilter::all().kinds([EventKind::Runtime]))).unwrap()
}

/// The threads that a fact was told of so far, in order.
fn told(tap: &mut Tap, wanted: impl Fn(&RuntimeEvent) -> bool) -> Vec<ThreadId> {
    let mut threads = Vec::new();
    while let Some(item) = tap.try_next() {
        let event = item.event().expect("the tap lost nothing");
        if let Fact::Runtime(fact) = &event.fact
            && wanted(fact)
        {
            threads.extend(event.thread);
        }
    }
    threads
}

const fn is_end(fact: &RuntimeEvent) -> bool {
    matches!(fact, RuntimeEvent::ThreadEnded { .. })
}

const fn is_restart(fact: &RuntimeEvent) -> bool {
    matches!(fact, RuntimeEvent::ThreadRestarted)
}

// Fact 1: a panic drops the mailbox, and what was in it is lost.

#[tokio::test(start_paused = true)]
async fn fact_1_a_panic_of_an_actor_loses_nothing_that_was_accepted() {
    let world = World::new(by_text()).await;
    let thread = root(&world).await;
    hang(&thread).await;
    let mut accepted = Vec::new();
    for n in 0..10 {
        accepted.push((n, thread.submit(format!("{n}")).await.unwrap().submission));
    }
    thread.panic_for_test();
    for (n, submission) in accepted {
        let outcome = thread.outcome_within(&submission, BUDGET).await.unwrap();
        assert_eq!(outcome.message(), Some(&*n.to_string()));
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn fact_1_callers_who_wait_in_a_dead_actor_s_queue_are_answered_by_the_next() {
    let world = World::new(by_text()).await;
    let thread = root(&world).await;
    thread.panic_for_test(); // lies in the queue, in front of them
    let submitted = join_all((0..5).map(|n| thread.submit(format!("{n}"))));
    let stopped = join_all((0..5).map(|_| thread.interrupt()));
    let (submitted, stopped) = tokio::join!(submitted, stopped);
    assert!(submitted.iter().all(Result::is_ok), "{submitted:?}");
    assert!(stopped.iter().all(Result::is_ok), "{stopped:?}");
    assert_eq!(thread.view().crashes, 1);
    world.end().await;
}

// Fact 2: mailbox and supervision port have no bound and no length, and keep the states of the dead.

#[tokio::test(start_paused = true)]
async fn fact_2_an_inbox_has_a_bound_and_a_length() {
    let mut limits = Limits::default();
    limits.inbox_max = 3;
    let world = World::with_limits(by_text(), limits).await;
    let thread = root(&world).await;
    hang(&thread).await;
    for _ in 0..3 {
        thread.submit("waits").await.unwrap();
    }
    assert_eq!(thread.view().inbox, 3);
    let refused = thread.submit("one too many").await.unwrap_err();
    assert_eq!(refused, SubmitError::Overloaded { depth: 3, capacity: 3 });
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn fact_2_the_control_lane_has_a_bound() {
    let mut limits = Limits::default();
    limits.control_max = 3;
    let world = World::with_limits(by_text(), limits).await;
    let thread = root(&world).await;
    // Nobody else runs between these: all lie in the lane.
    let mut calls: Vec<_> = (0..4).map(|_| Box::pin(thread.interrupt())).collect();
    let answers: Vec<_> = calls.iter_mut().map(FutureExt::now_or_never).collect();
    assert!(answers[..3].iter().all(Option::is_none), "{answers:?}");
    assert_eq!(answers[3], Some(Err(ControlError::Overloaded { waiting: 3 })));
    for call in calls.drain(..3) {
        assert_eq!(call.await.unwrap(), Interrupted::NothingRan);
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn fact_2_the_supervisor_takes_up_a_bounded_number_of_requests() {
    let mut limits = Limits::default();
    limits.supervisor_requests_max = 2;
    let world = World::with_limits(by_text(), limits).await;
    world.store.hold(StoreOp::Create);
    let spawn = || {
        let runtime = world.runtime().clone();
        tokio::spawn(async move { runtime.spawn(SpawnThread::new()).await })
    };
    let under_way = [spawn(), spawn()];
    until(|| world.store.calls(StoreOp::Create) == 2).await;
    let refused = world.spawn(SpawnThread::new()).await.unwrap_err();
    let SpawnError::Limit(reached) = &refused else { panic!("{refused:?}") };
    assert_eq!(reached.limit, "supervisor_requests_max");
    world.store.release(StoreOp::Create);
    for spawned in under_way {
        spawned.await.unwrap().unwrap();
    }
    world.end().await;
}

/// Counts its sessions, and what was open at once for one thread.
#[derive(Clone, Default)]
struct Counted {
    live: Arc<parking_lot::Mutex<HashMap<ThreadId, usize>>>,
    overlaps: Arc<AtomicUsize>,
    /// How long it takes to drop a session.
    slow_drop: Duration,
}

struct CountedSession {
    of: Counted,
    thread: ThreadId,
}

impl Engine for Counted {
    fn open(&self, cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let mut live = self.live.lock();
        let count = live.entry(cx.thread).or_default();
        *count += 1;
        if *count > 1 {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        let session = CountedSession { of: self.clone(), thread: cx.thread };
        futures::future::ready(Ok(Box::new(session) as Box<dyn EngineSession>)).boxed()
    }
}

impl Drop for CountedSession {
    #[expect(clippy::disallowed_methods, reason = "dropping it takes real time")]
    fn drop(&mut self) {
        if !self.of.slow_drop.is_zero() {
            // Whoever was woken last on this worker runs on it next, and cannot be taken over by
            // another: let that be nobody of ours.
            drop(tokio::spawn(async {}));
        }
        std::thread::sleep(self.of.slow_drop);
        *self.of.live.lock().entry(self.thread).or_default() -= 1;
    }
}

impl EngineSession for CountedSession {
    fn run_turn<'a>(
        &'a mut self,
        _cx: &'a TurnContext,
        _input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        futures::future::ready(Ok(TurnOutput::message("done"))).boxed()
    }
}

impl Counted {
    fn sessions(&self) -> usize {
        self.live.lock().values().sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fact_2_when_an_end_is_told_no_supervisor_keeps_the_state_of_the_dead() {
    let engine = Counted { slow_drop: Duration::from_millis(30), ..Counted::default() };
    let world = World::new(engine.clone()).await;
    let parent = root(&world).await;
    for _ in 0..10 {
        // ractor hands its state to its supervisor, here a parent that has to come round to it.
        let child = child(&world, &parent).await;
        child.run("hello").await.unwrap();
        assert_eq!(engine.sessions(), 1);
        let mut tap = watch(&world);
        let left = async {
            let end = |fact: &Fact| matches!(fact, Fact::Runtime(fact) if is_end(fact));
            World::event(&mut tap, |event| end(&event.fact)).await;
            engine.sessions()
        };
        let (asleep, left) = tokio::join!(child.hibernate(), left);
        asleep.unwrap();
        assert_eq!(left, 0, "its session lives on after its end was told");
    }
    world.end().await;
}

// Fact 3: a kill skips `post_stop`.

#[tokio::test(start_paused = true)]
async fn fact_3_the_end_of_a_killed_thread_is_told_once_and_its_leases_come_back() {
    let world = World::new(by_text()).await;
    let parent = root(&world).await;
    let child = child(&world, &parent).await;
    hang(&child).await;
    let mut tap = watch(&world);
    parent.panic_for_test(); // ractor kills what is linked under it
    let permits = |audit: &coppicer::Audit| audit.count(LeaseKind::TurnPermit);
    world.until(|audit| permits(audit) == 0 && audit.count(LeaseKind::Resident) == 2).await;
    let killed =
        |fact: &RuntimeEvent| matches!(fact, RuntimeEvent::ThreadEnded { how: Ended::Killed });
    assert_eq!(told(&mut tap, killed), [child.id()]);
    assert_eq!(child.run("on").await.unwrap().message(), Some("on"), "and it is back");
    assert!(world.audit().await.is_clean());
    drop(tap);
    world.end().await;
}

// Fact 4: a stopping parent kills its children and does not wait; a second stopper returns early.

#[tokio::test(start_paused = true)]
async fn fact_4_a_close_is_answered_when_all_below_has_ended_children_before_parents() {
    let world = World::new(by_text()).await;
    let top = root(&world).await;
    let mut below = Vec::new();
    for _ in 0..20 {
        let middle = child(&world, &top).await;
        for _ in 0..5 {
            let leaf = child(&world, &middle).await;
            hang(&leaf).await;
            below.push((leaf.id(), middle.id()));
        }
        below.push((middle.id(), top.id()));
    }
    let mut tap = watch(&world);
    let report = top.close(BUDGET).await.unwrap();
    assert_eq!(report.completed.len(), 121, "{report:?}");
    let audit = world.audit_now();
    assert_eq!((audit.count(LeaseKind::Resident), audit.count(LeaseKind::TurnPermit)), (0, 0));
    let ended = told(&mut tap, is_end);
    assert_eq!(ended.len(), 121, "each once");
    let place = |thread| ended.iter().position(|&ended| ended == thread).unwrap();
    assert!(below.iter().all(|&(child, parent)| place(child) < place(parent)));
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn fact_4_who_closes_second_waits_for_the_end_as_well() {
    let script = Script::new().then(Step::IgnoreCancel(Duration::from_secs(3_600)));
    let world = World::new(ScriptedEngine::always(script)).await;
    let thread = root(&world).await;
    thread.submit("go").await.unwrap();
    until(|| thread.status() == ThreadStatus::Running).await;
    let (first, (second, residents)) = tokio::join!(thread.close(BUDGET), async {
        let report = thread.close(BUDGET).await;
        let residents = world.audit_now().count(LeaseKind::Resident);
        (report, residents)
    });
    assert_eq!(first.unwrap().completed, [thread.id()]);
    assert_eq!(second.unwrap().completed, [thread.id()]);
    assert_eq!(residents, 0, "not before it was over");
    world.end().await;
}

// Fact 5: a replacement can start before the old state is dropped.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fact_5_a_new_incarnation_begins_when_all_that_the_old_one_held_is_gone() {
    let engine = Counted { slow_drop: Duration::from_millis(30), ..Counted::default() };
    let world = World::new(engine.clone()).await;
    let at_once =
        Backoff { initial: Duration::ZERO, factor: 1.0, max: Duration::ZERO, jitter: 0.0 };
    let policy = RestartPolicy::default().with_limit(100, Duration::from_secs(60));
    let config = ThreadConfig::default().with_restart(policy.with_backoff(at_once));
    let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    for _ in 0..10 {
        assert_eq!(thread.run("hello").await.unwrap().message(), Some("done"));
        thread.panic_for_test();
        let epoch = thread.view().epoch;
        world.until(|_| thread.view().epoch > epoch).await;
    }
    thread.run("hello").await.unwrap();
    assert_eq!(engine.overlaps.load(Ordering::SeqCst), 0, "two lives at once");
    world.end().await;
}

// Fact 6: `spawn_linked` in a handler blocks that actor for the whole `pre_start`.

#[tokio::test(start_paused = true)]
async fn fact_6_the_supervisor_does_not_wait_for_a_thread_that_comes_up_slowly() {
    let world = World::new(by_text()).await;
    let slow = root(&world).await;
    slow.close(BUDGET).await.unwrap();
    world.store.hold(StoreOp::Acquire);
    let resuming = {
        let (runtime, id) = (world.runtime().clone(), slow.id());
        tokio::spawn(async move { runtime.resume(id).await })
    };
    until(|| world.store.calls(StoreOp::Acquire) >= 1).await;
    let before = tokio::time::Instant::now();
    let other = root(&world).await;
    assert_eq!(other.run("hello").await.unwrap().message(), Some("hello"));
    other.close(BUDGET).await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    world.store.release(StoreOp::Acquire);
    resuming.await.unwrap().unwrap();
    world.end().await;
}

/// An engine that never opens a session.
struct NeverOpens;

impl Engine for NeverOpens {
    fn open(&self, _cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        futures::future::pending().boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn fact_6_a_thread_does_not_wait_for_an_engine_that_does_not_open() {
    let world = World::new(NeverOpens).await;
    let thread = root(&world).await;
    let sent = thread.submit("go").await.unwrap();
    until(|| thread.status() == ThreadStatus::Running).await;
    let before = tokio::time::Instant::now();
    assert!(!thread.history().await.unwrap().is_empty(), "it answers");
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert!(matches!(thread.interrupt().await.unwrap(), Interrupted::Turn { .. }));
    assert_eq!(thread.outcome(&sent.submission).await.unwrap(), Outcome::Interrupted);
    world.end().await;
}

// Fact 7: the default handler stops a supervisor when any child ends, even normally.

#[tokio::test(start_paused = true)]
async fn fact_7_no_end_of_a_child_ends_its_parent_or_the_supervisor() {
    let world = World::new(by_text()).await;
    let parent = root(&world).await;
    let (closed, sleeping) = (child(&world, &parent).await, child(&world, &parent).await);
    let crashing = child(&world, &parent).await;
    let life = parent.view().epoch;
    parent.run("a turn ends too").await.unwrap();
    parent.run("panic").await.unwrap();
    closed.close(BUDGET).await.unwrap();
    sleeping.hibernate().await.unwrap();
    crashing.panic_for_test();
    let before = crashing.view().epoch;
    world.until(|_| crashing.view().epoch > before).await;
    assert_eq!(parent.run("on").await.unwrap().name(), "completed");
    assert_eq!(parent.view().epoch, life, "the same actor");
    let other_root = root(&world).await;
    other_root.close(BUDGET).await.unwrap();
    assert_eq!(root(&world).await.run("on").await.unwrap().message(), Some("on"));
    world.end().await;
}

// Fact 8: a call that timed out is still executed later.

#[tokio::test(start_paused = true)]
async fn fact_8_a_call_whose_deadline_has_passed_is_not_executed() {
    let world = World::new(by_text()).await;
    let thread = root(&world).await;
    let late = thread.submit_with("late", SubmitOptions::new().within(Duration::ZERO)).await;
    assert_eq!(late, Err(SubmitError::NoAnswer));
    let id = ThreadId::from_parts(1, [7; 10]);
    let spawned = world.spawn_within(SpawnThread::new().with_id(id), Duration::ZERO).await;
    assert_eq!(spawned, Err(SpawnError::NoAnswer));
    thread.run("in time").await.unwrap();
    assert_eq!((thread.view().turns, thread.view().inbox), (1, 0));
    assert!(world.get(id).is_none() && world.store().thread(id).await.is_err());
    world.end().await;
}

// Fact 9: how an actor ended is a text that anyone can forge.

#[tokio::test(start_paused = true)]
async fn fact_9_what_a_panic_says_does_not_change_what_it_is() {
    for words in ["killed", "Stopped", "actor_stop", "children stopped"] {
        let world = World::new(ScriptedEngine::always(Script::new().panic(words))).await;
        let thread = root(&world).await;
        let outcome = thread.run("go").await.unwrap();
        assert_eq!(outcome, Outcome::Crashed { cause: words.to_owned() });
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn fact_9_a_thread_that_crashes_while_it_is_closed_does_not_come_back() {
    let world = World::new(by_text()).await;
    let thread = root(&world).await;
    hang(&thread).await;
    let mut tap = watch(&world);
    let (report, ()) = tokio::join!(thread.close(BUDGET), async { thread.panic_for_test() });
    assert!(report.unwrap().timed_out.is_empty());
    tokio::time::sleep(Duration::from_secs(60)).await; // virtual: any pause would be over
    assert_eq!(told(&mut tap, is_restart), []);
    assert!(world.get(thread.id()).is_none());
    drop(tap);
    world.end().await;
}

// Fact 10: children are in no order.

#[tokio::test(start_paused = true)]
async fn fact_10_children_come_back_in_the_order_in_which_they_were_started_and_stop_in_its_reverse()
 {
    let world = World::new(by_text()).await;
    let parent = root(&world).await;
    let mut started = Vec::new();
    for _ in 0..30 {
        started.push(child(&world, &parent).await.id());
    }
    let mut tap = watch(&world);
    let epochs =
        || -> u64 { started.iter().map(|&id| world.get(id).unwrap().view().epoch.0).sum() };
    let before = epochs();
    parent.panic_for_test();
    world.until(|_| epochs() == before + 30).await;
    assert_eq!(told(&mut tap, is_restart).split_off(1), started, "behind their parent");
    parent.close(BUDGET).await.unwrap();
    let mut reversed = started.clone();
    reversed.reverse();
    reversed.push(parent.id());
    assert_eq!(told(&mut tap, is_end), reversed);
    drop(tap);
    world.end().await;
}

// Fact 12: names and groups are global to the process.

#[tokio::test(start_paused = true)]
async fn fact_12_two_runtimes_in_one_process_share_no_names() {
    // Both draw their ids from the same seed.
    let (one, other) = (World::new(by_text()).await, World::new(by_text()).await);
    let named = || SpawnThread::new().with_name("scout");
    let (parent, its) = (root(&one).await, root(&other).await);
    assert_eq!(parent.id(), its.id(), "the same id twice");
    let scout = one.spawn(named().with_parent(parent.id())).await.unwrap();
    let other_scout = other.spawn(named().with_parent(its.id())).await.unwrap();
    assert_eq!(scout.view().path, other_scout.view().path);
    assert_eq!(ractor::registry::registered(), Vec::<String>::new());
    assert_eq!(ractor::pg::which_groups(), Vec::<String>::new());
    one.end().await;
    assert_eq!(other_scout.run("on").await.unwrap().message(), Some("on"));
    other.end().await;
}
