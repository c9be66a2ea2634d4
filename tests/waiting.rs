//! Waits for agents, from a turn and from the host (REF 3.12; TL-18 to TL-26 by id).
//!
//! Not here: TL-18 (ids and budgets are typed; waiting for nobody is over at once), TL-23 to TL-25
//! (waits have no bounds of their own but the caller's).

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentPath, Budget, Interrupted, Limits, Script, ScriptedEngine, SpawnThread, Step, StoreError,
    ThreadConfig, ThreadHandle, ThreadId, ThreadStatus, Usage, Wait,
};
use tokio::time::Instant;

/// Says what it is told; "hang" runs until it is stopped, "work" for 100 ms.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "panic" => Script::new().panic("boom"),
        "hang" => Script::new().then(Step::Hang),
        "work" => Script::new().sleep(Duration::from_millis(100)).say("worked"),
        "spend" => Script::new().then(Step::Usage(Usage { output_tokens: 10, ..Usage::default() })),
        text => Script::new().say(text),
    })
}

async fn spawn(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.expect("a root is spawned")
}

#[tokio::test(start_paused = true)]
async fn tl_19_a_wait_for_threads_that_nobody_knows_is_over_at_once() {
    let world = World::new(engine()).await;
    let unknown = [1, 2].map(|n| ThreadId::from_parts(n, [0; 10]));
    let began = Instant::now();
    let waited = world.wait(&unknown, Wait::All, Duration::from_secs(10)).await;
    assert_eq!(waited.ended, unknown.map(|thread| (thread, ThreadStatus::NotFound)));
    assert_eq!((waited.timed_out, began.elapsed()), (false, Duration::ZERO));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tl_20_tl_21_a_thread_that_did_nothing_yet_is_waited_for_until_the_budget_is_over() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    let began = Instant::now();
    let waited = world.wait(&[thread.id()], Wait::Any, Duration::from_secs(10)).await;
    assert_eq!((waited.ended, waited.timed_out), (Vec::new(), true));
    assert_eq!(began.elapsed(), Duration::from_secs(10), "no sooner");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tl_22_a_thread_that_was_closed_counts_at_once() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    thread.run("hello").await.unwrap();
    thread.close(BUDGET).await.unwrap();
    let waited = world.wait(&[thread.id()], Wait::Any, BUDGET).await;
    assert_eq!(waited.ended, [(thread.id(), ThreadStatus::NotFound)], "it is not here any more");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_any_ends_with_the_first_and_one_for_all_with_the_last() {
    let world = World::new(engine()).await;
    let [quick, slow, stuck] = [spawn(&world).await, spawn(&world).await, spawn(&world).await];
    quick.run("done").await.unwrap();
    slow.submit("work").await.unwrap();
    stuck.submit("hang").await.unwrap();
    let done = |text: &str| ThreadStatus::Completed(Some(text.into()));
    let ids = [stuck.id(), slow.id(), quick.id()];
    let began = Instant::now();
    let waited = world.wait(&ids, Wait::Any, BUDGET).await;
    assert_eq!(waited.ended, [(quick.id(), done("done"))], "it had ended before");
    assert_eq!(began.elapsed(), Duration::ZERO);
    let waited = world.wait(&ids[..2], Wait::Any, BUDGET).await;
    assert_eq!(waited.ended, [(slow.id(), done("worked"))]);
    assert_eq!(began.elapsed(), Duration::from_millis(100), "told, not polled for");
    let waited = world.wait(&ids, Wait::All, Duration::from_secs(1)).await;
    assert!(waited.timed_out);
    assert_eq!(waited.ended.len(), 2, "those that had ended by the deadline");
    // An interrupted thread has ended what it did (REF 14.5: there its waiters time out).
    let (waited, found) = tokio::join!(world.wait(&ids, Wait::All, BUDGET), stuck.interrupt());
    assert!(matches!(found.unwrap(), Interrupted::Turn { .. }));
    assert_eq!(waited.ended[0], (stuck.id(), ThreadStatus::Interrupted));
    assert!(!waited.timed_out && waited.ended.len() == 3);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_nobody_is_over_at_once_and_a_dropped_one_leaves_nothing() {
    let world = World::new(engine()).await;
    for how in [Wait::Any, Wait::All] {
        assert!(!world.wait(&[], how, BUDGET).await.timed_out, "{how:?}");
    }
    let thread = spawn(&world).await;
    thread.submit("hang").await.unwrap();
    let ids = [thread.id()];
    let wait = world.wait(&ids, Wait::All, Duration::from_secs(3_600));
    assert!(tokio::time::timeout(Duration::from_secs(1), wait).await.is_err());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_sleeps_has_ended_what_it_did_also_without_a_slot() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    thread.run("hello").await.unwrap();
    let id = thread.id();
    thread.hibernate().await.unwrap();
    drop(thread);
    world.until(|audit| audit.live.is_empty()).await;
    let waited = world.wait(&[id], Wait::All, BUDGET).await;
    assert_eq!(waited.ended, [(id, ThreadStatus::Completed(Some("hello".into())))]);
    assert_eq!(world.get(id), None, "it was not loaded for that");
    world.end().await;
}

fn done(text: &str) -> ThreadStatus {
    ThreadStatus::Completed(Some(text.into()))
}

/// One that is busy and has the only permit, and one that was told this before.
async fn without_permit(told: &str) -> (World, [ThreadHandle; 2]) {
    let mut limits = Limits::default();
    limits.executing_max = 1;
    let world = World::with_limits(engine(), limits).await;
    let [busy, thread] = [spawn(&world).await, spawn(&world).await];
    thread.run(told).await.expect("it has a permit");
    busy.submit("hang").await.expect("it has room");
    (world, [busy, thread])
}

// permits  |■■ another's turn, 1 s ■■|
// thread   first ✓   mail, no permit ─|■ second ■|
// wait               |──────────────────────────────✓ "second"
#[tokio::test(start_paused = true)]
async fn a_thread_with_mail_that_starts_a_turn_has_work_also_before_it_has_a_permit() {
    let (world, [busy, thread]) = without_permit("first").await;
    world.mail(thread.id(), AgentPath::root(), "second", true).await.unwrap();
    let ids = [thread.id()];
    let waited = world.wait(&ids, Wait::All, Duration::from_secs(1)).await;
    assert_eq!((waited.ended, waited.timed_out), (Vec::new(), true), "it did not begin yet");
    let (waited, stopped) = tokio::join!(world.wait(&ids, Wait::All, BUDGET), busy.interrupt());
    stopped.unwrap();
    assert_eq!(waited.ended, [(thread.id(), done("second"))]);
    // Mail that came while a turn ran, and that it did not take, is work too.
    thread.submit("work").await.unwrap();
    world.mail(thread.id(), AgentPath::root(), "third", true).await.unwrap();
    let waited = world.wait(&ids, Wait::All, BUDGET).await;
    assert_eq!(waited.ended, [(thread.id(), done("third"))]);
    // So is mail that waits for the end of a pause.
    thread.run("panic").await.unwrap();
    world.mail(thread.id(), AgentPath::root(), "after the pause", true).await.unwrap();
    let waited = world.wait(&ids, Wait::All, BUDGET).await;
    assert_eq!(waited.ended, [(thread.id(), done("after the pause"))]);
    // Mail that starts none is not.
    world.mail(thread.id(), AgentPath::root(), "for later", false).await.unwrap();
    let waited = world.wait(&ids, Wait::All, Duration::ZERO).await;
    assert_eq!(waited.ended, [(thread.id(), done("after the pause"))]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_whose_mail_waits_for_money_has_ended_what_it_did() {
    let world = World::new(engine()).await;
    let budget = Budget::new().with_tokens(10);
    let config = ThreadConfig::default().with_budget(budget);
    let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    thread.run("spend").await.unwrap();
    let before = thread.status();
    world.mail(thread.id(), AgentPath::root(), "more", true).await.unwrap();
    let waited = world.wait(&[thread.id()], Wait::All, Duration::from_secs(1)).await;
    assert_eq!((waited.ended, waited.timed_out), (vec![(thread.id(), before)], false));
    world.fund(thread.id(), Budget::new().with_tokens(10)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let waited = world.wait(&[thread.id()], Wait::All, BUDGET).await;
    assert_eq!(waited.ended, [(thread.id(), done("more"))], "it has some, and so has work");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_host_left_is_waited_for_to_its_end() {
    let first = World::new(engine()).await;
    let thread = spawn(&first).await;
    thread.submit("hang").await.unwrap();
    thread.submit("afterwards").await.unwrap();
    let idle = spawn(&first).await;
    idle.run("all done").await.unwrap();
    let never = spawn(&first).await;
    // The host is gone; the next one brings nothing up by itself.
    let next = coppicer::Runtime::builder()
        .engine(engine())
        .store(first.store.clone())
        .recover(coppicer::Recover::OnDemand)
        .start()
        .await
        .unwrap();
    let ids = [thread.id(), idle.id()];
    let waited = next.wait(&ids, Wait::All, BUDGET).await;
    assert_eq!(waited.ended, [(thread.id(), done("afterwards")), (idle.id(), done("all done"))]);
    assert!(!waited.timed_out);
    assert!(next.get(idle.id()).is_none(), "what had nothing to do was not brought up");
    // One that did nothing yet is waited for, whether or not it is in memory.
    let waited = next.wait(&[never.id()], Wait::All, Duration::from_secs(1)).await;
    assert_eq!((waited.ended, waited.timed_out), (Vec::new(), true));
    next.shutdown(BUDGET).await.unwrap();
    first.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_hangs_makes_no_thread_one_that_is_gone() {
    let world = World::new(engine()).await;
    let [ended, away] = [spawn(&world).await, spawn(&world).await];
    ended.run("here").await.unwrap();
    away.run("asleep").await.unwrap();
    let away_id = away.id();
    away.hibernate().await.unwrap();
    drop(away);
    world.until(|audit| audit.count(coppicer::LeaseKind::Slot) == 1).await;
    // Once it cannot say: it is asked again.
    world.store.fail_next(StoreOp::Look, StoreError::Unavailable { reason: "a while".into() });
    let began = Instant::now();
    let waited = world.wait(&[away_id], Wait::All, BUDGET).await;
    assert_eq!(waited.ended, [(away_id, done("asleep"))]);
    assert_eq!(began.elapsed(), world.limits().store_retry);
    // While it hangs, those who are here are not held up.
    world.store.hold(StoreOp::Look);
    let began = Instant::now();
    let ids = [away_id, ended.id()];
    let waited = world.wait(&ids, Wait::Any, BUDGET).await;
    assert_eq!((waited.ended, began.elapsed()), (vec![(ended.id(), done("here"))], Duration::ZERO));
    let waited = world.wait(&ids, Wait::All, Duration::from_secs(1)).await;
    assert_eq!((waited.ended, waited.timed_out), (vec![(ended.id(), done("here"))], true));
    world.store.release(StoreOp::Look);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_sleeps_in_memory_counts_with_what_it_did_last_and_is_not_woken() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    thread.run("hello").await.unwrap();
    thread.hibernate().await.unwrap();
    let waited = world.wait(&[thread.id()], Wait::All, Duration::from_secs(1)).await;
    assert_eq!(waited.ended, [(thread.id(), done("hello"))]);
    assert_eq!(thread.status(), ThreadStatus::Dormant);
    // Woken meanwhile, it is waited for.
    thread.submit("work").await.unwrap();
    let waited = world.wait(&[thread.id()], Wait::All, BUDGET).await;
    assert_eq!(waited.ended, [(thread.id(), done("worked"))]);
    // A wait holds on to nothing when it is over: what sleeps leaves memory.
    let other = spawn(&world).await;
    let ids = [thread.id(), other.id()];
    thread.hibernate().await.unwrap();
    other.submit("work").await.unwrap();
    let (waited, ()) = tokio::join!(world.wait(&ids, Wait::All, BUDGET), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(thread);
    });
    assert_eq!(waited.ended, [(ids[0], done("worked")), (ids[1], done("worked"))]);
    world.until(|audit| audit.count(coppicer::LeaseKind::Slot) == 1).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_whose_actor_crashed_and_comes_back_has_not_ended() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    thread.submit("hang").await.unwrap();
    let ids = [thread.id()];
    let (waited, ()) = tokio::join!(world.wait(&ids, Wait::All, BUDGET), async {
        thread.panic_for_test();
    });
    assert_eq!(waited.ended, [(thread.id(), ThreadStatus::Interrupted)], "as its next life says");
    assert_eq!(thread.view().crashes, 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_host_accepted_and_never_began_is_waited_for() {
    // It shows what it did last, and has more to do: there was no permit for it.
    let (first, [_busy, thread]) = without_permit("before").await;
    thread.submit("afterwards").await.unwrap();
    let stored = first.stored(thread.id()).await.unwrap();
    assert_eq!(stored.status, done("before"));
    let next = coppicer::Runtime::builder()
        .engine(engine())
        .store(first.store.clone())
        .recover(coppicer::Recover::OnDemand)
        .start()
        .await
        .unwrap();
    let waited = next.wait(&[thread.id()], Wait::All, BUDGET).await;
    assert_eq!(waited.ended, [(thread.id(), done("afterwards"))]);
    next.shutdown(BUDGET).await.unwrap();
    first.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_slept_and_was_woken_is_waited_for_though_the_store_never_says_how_it_slept() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    thread.run("hello").await.unwrap();
    thread.hibernate().await.unwrap();
    world.store.hold(StoreOp::Look);
    let ids = [thread.id()];
    let (waited, ()) = tokio::join!(world.wait(&ids, Wait::All, BUDGET), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        thread.submit("work").await.unwrap();
    });
    assert_eq!((waited.ended, waited.timed_out), (vec![(ids[0], done("worked"))], false));
    world.store.release(StoreOp::Look);
    world.end().await;
}

/// "work" takes 100 ms. At some moment around the end of one thread's work, another one that had ended
/// is given work: nobody who waits on for both is told its old result.
#[tokio::test(start_paused = true)]
async fn what_came_to_the_inbox_of_one_that_had_ended_counts_before_it_is_taken_up() {
    use futures::FutureExt as _;
    let mut caught = 0;
    for steps in 0..60 {
        let world = World::new(engine()).await;
        let [ended, works] = [spawn(&world).await, spawn(&world).await];
        ended.run("old").await.unwrap();
        works.submit("work").await.unwrap();
        let ids = [ended.id(), works.id()];
        let mut waiting = Box::pin(world.wait(&ids, Wait::All, BUDGET));
        assert!(waiting.as_mut().now_or_never().is_none());
        tokio::time::sleep(Duration::from_millis(100)).await;
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
        let mut again = Box::pin(ended.submit("work"));
        let receipt = again.as_mut().now_or_never();
        // Looked at in the moment in which that is in the inbox.
        let waited = match waiting.as_mut().now_or_never() {
            Some(waited) => waited,
            None => waiting.as_mut().await,
        };
        drop(waiting);
        caught += usize::from(waited.ended[0].1 == done("worked"));
        assert_ne!(waited.ended[0].1, done("old"), "after {steps} steps");
        if receipt.is_none() {
            again.as_mut().await.unwrap();
        }
        drop(again);
        world.until(|audit| audit.count(coppicer::LeaseKind::TurnPermit) == 0).await;
        world.end().await;
    }
    assert!(caught > 0);
}
