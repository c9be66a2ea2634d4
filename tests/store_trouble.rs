//! A store that cannot write for a while, and one that finds damage: neither is a thread's fault.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentPath, Ended, Event, EventKind, Fact, LeaseKind, Limits, Outcome, Phase, RestartPolicy,
    RuntimeEvent, Script, ScriptedEngine, Seq, SpawnError, SpawnThread, Step, StoreError,
    StoreHealth, StoreTrouble, Submission, SubmissionId, SubmitError, Tap, TapFilter, TapOptions,
    ThreadConfig, ThreadEvent, ThreadHandle, ThreadId, ThreadStatus,
};
use tokio::time::Instant;

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    })
}

fn full() -> StoreError {
    StoreError::Unavailable { reason: "disk full".into() }
}

fn damage(thread: ThreadId) -> StoreError {
    StoreError::Corrupt { thread, seq: Seq(3), reason: "bad checksum".into() }
}

/// A thread that is parked by its first crash.
fn strict() -> SpawnThread {
    let policy = RestartPolicy::default().with_limit(0, Duration::from_secs(60));
    SpawnThread::new().with_config(ThreadConfig::default().with_restart(policy))
}

fn tap(world: &World, kinds: impl IntoIterator<Item = EventKind>) -> Tap {
    world.tap(TapOptions::matching(TapFilter::all().kinds(kinds))).unwrap()
}

fn runtime_events(mut tap: Tap) -> Vec<RuntimeEvent> {
    let mut events = Vec::new();
    while let Some(item) = tap.try_next() {
        if let Fact::Runtime(event) = &item.event().unwrap().fact {
            events.push(event.clone());
        }
    }
    events
}

async fn status(world: &World, thread: &ThreadHandle, wanted: impl Fn(&ThreadStatus) -> bool) {
    let mut tap = tap(world, [EventKind::Status]);
    if wanted(&thread.status()) {
        return;
    }
    let fits = |event: &Event| {
        event.thread == Some(thread.id())
            && matches!(&event.fact, Fact::Thread(ThreadEvent::StatusChanged { status, .. })
                if wanted(status))
    };
    World::event(&mut tap, fits).await;
}

// store    |─── writes fail ─────────────── 60 s ───────────────✗|── writes ──
// thread   |lost ─ 1 s ─ lost ─ 1 s ─ … never parked …           ✓ works on
#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_write_for_a_minute_costs_a_thread_no_restart_and_nothing_it_had() {
    let world = World::new(engine()).await;
    let thread = world.spawn(strict()).await.unwrap();
    let hanging = thread.submit("hang").await.unwrap();
    let queued = thread.submit("queued").await.unwrap();
    let waiter = {
        let (thread, id) = (thread.clone(), queued.submission.clone());
        tokio::spawn(async move { thread.outcome(&id).await })
    };
    let events = tap(&world, [EventKind::Runtime]);
    world.store.fail_next(StoreOp::Append, full());
    for _ in 0..60 {
        world.store.fail_next(StoreOp::Acquire, full());
    }
    let before = Instant::now();
    // What was in flight is answered.
    assert_eq!(thread.submit("in flight").await.unwrap_err(), SubmitError::Store(full()));
    status(&world, &thread, |status| matches!(status, ThreadStatus::Crashed(_))).await;
    assert_eq!(thread.view().phase, Phase::Backoff);
    let inbox = {
        let thread = thread.clone();
        tokio::spawn(async move { thread.run("while it was lost").await })
    };
    assert_eq!(thread.outcome(&hanging.submission).await.unwrap(), Outcome::Interrupted);
    assert_eq!(before.elapsed(), Duration::from_secs(61), "a try each second");
    assert_eq!(waiter.await.unwrap().unwrap().message(), Some("queued"));
    let refused = inbox.await.unwrap();
    // Its receipt was due within 30 s: it may say so, or have run.
    assert!(refused.is_err() || refused.unwrap().message() == Some("while it was lost"));
    assert_eq!(world.get(thread.id()).unwrap(), thread, "the same handle");
    assert_eq!(thread.view().crashes, 0);
    let events = runtime_events(events);
    let lost = RuntimeEvent::ThreadEnded { how: Ended::StoreLost { reason: full().to_string() } };
    assert_eq!(events, [lost, RuntimeEvent::ThreadRestarted], "never parked");
    // Its whole budget is left: none, and the first crash of its own parks it.
    thread.panic_for_test();
    status(&world, &thread, |status| *status == ThreadStatus::Parked).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn when_the_store_is_well_again_those_that_wait_for_it_come_back_at_once() {
    let world = World::new(engine()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let events = tap(&world, [EventKind::Runtime]);
    let reason = || "disk full".to_owned();
    let trouble = StoreTrouble::DiskFull;
    world.store.tell(&StoreHealth::Ailing { trouble, reason: reason() });
    world.store.tell(&StoreHealth::Ailing { trouble, reason: reason() });
    world.store.fail_next(StoreOp::Append, full());
    thread.submit("lost").await.unwrap_err();
    let before = Instant::now();
    status(&world, &thread, |status| matches!(status, ThreadStatus::Crashed(_))).await;
    world.store.tell(&StoreHealth::Well);
    world.store.tell(&StoreHealth::Well);
    assert_eq!(thread.run("kept").await.unwrap().message(), Some("kept"));
    assert_eq!(before.elapsed(), Duration::ZERO, "without the pause of a second");
    let told = runtime_events(events);
    let told: Vec<&RuntimeEvent> = told
        .iter()
        .filter(|event| {
            matches!(event, RuntimeEvent::StoreAiling { .. } | RuntimeEvent::StoreRecovered)
        })
        .collect();
    let ailing = RuntimeEvent::StoreAiling { trouble, reason: reason() };
    assert_eq!(told, [&ailing, &RuntimeEvent::StoreRecovered], "each change once");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_children_of_a_thread_whose_store_was_lost_come_back_after_it_in_start_order() {
    let world = World::new(engine()).await;
    let parent = world.spawn(strict()).await.unwrap();
    let first = world.spawn(strict().with_parent(parent.id())).await.unwrap();
    let second = world.spawn(strict().with_parent(parent.id())).await.unwrap();
    let mut events = tap(&world, [EventKind::Runtime]);
    world.store.fail_next(StoreOp::Append, StoreError::UnknownOutcome { reason: "io".into() });
    let refused = parent.submit("lost").await.unwrap_err();
    assert!(matches!(refused, SubmitError::Unknown { .. }), "{refused:?}");
    for expected in [&parent, &first, &second] {
        let back = World::event(&mut events, |event| {
            event.fact == Fact::Runtime(RuntimeEvent::ThreadRestarted)
        });
        assert_eq!(back.await.thread, Some(expected.id()));
    }
    for thread in [&parent, &first, &second] {
        assert_eq!(thread.run("on").await.unwrap().message(), Some("on"));
        assert_ne!(thread.status(), ThreadStatus::Parked);
    }
    drop(events);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_waits_for_its_store_can_be_closed_and_does_not_come_back_then() {
    let world = World::new(engine()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    world.store.fail_next(StoreOp::Append, full());
    for _ in 0..3 {
        world.store.fail_next(StoreOp::Acquire, full());
    }
    thread.submit("lost").await.unwrap_err();
    status(&world, &thread, |status| matches!(status, ThreadStatus::Crashed(_))).await;
    let report = thread.close(BUDGET).await.unwrap();
    assert_eq!(report.submit_failed, [thread.id()], "its end could not be written");
    tokio::time::sleep(Duration::from_secs(30)).await; // virtual
    assert_eq!(world.get(thread.id()), None);
    let audit = world.audit().await;
    assert_eq!((audit.count(LeaseKind::Resident), audit.count(LeaseKind::Slot)), (0, 0));
    world.end().await;
}

/// REF 14.6 #33: after an append error the items stayed queued, and a retry wrote them twice.
#[tokio::test(start_paused = true)]
async fn weakness_33_an_append_error_and_a_retry_duplicate_nothing() {
    for error in [full(), StoreError::UnknownOutcome { reason: "io".into() }] {
        let world = World::new(engine()).await;
        let thread = world.spawn(SpawnThread::new()).await.unwrap();
        let id = SubmissionId::new("mine").unwrap();
        let submission = || Submission::input("once").with_id(id.clone());
        world.store.fail_next(StoreOp::Append, error);
        thread.submit(submission()).await.unwrap_err();
        assert!(!thread.submit(submission()).await.unwrap().duplicate, "nothing of it was kept");
        assert_eq!(thread.outcome(&id).await.unwrap().message(), Some("once"));
        let history = thread.history().await.unwrap();
        let said = |record: &&coppicer::Record| record.class == coppicer::RecordClass::UserMessage;
        assert_eq!(history.iter().filter(said).count(), 1);
        assert!(thread.submit(submission()).await.unwrap().duplicate);
        world.end().await;
    }
}

// Damage.

#[tokio::test(start_paused = true)]
async fn damage_that_the_store_finds_ends_its_thread_alone_and_is_told() {
    let world = World::new(engine()).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let below = |thread: &ThreadHandle| strict().with_parent(thread.id());
    let hurt = world.spawn(below(&parent)).await.unwrap();
    let sibling = world.spawn(below(&parent)).await.unwrap();
    let child = world.spawn(below(&hurt)).await.unwrap();
    let hanging = hurt.submit("hang").await.unwrap();
    let mut events = tap(&world, [EventKind::Damage, EventKind::Runtime]);
    world.store.tell(&StoreHealth::Damaged {
        thread: hurt.id(),
        seq: Seq(3),
        reason: "bad checksum".into(),
    });
    let what = "record 3: bad checksum".to_owned();
    let found = World::event(&mut events, |event| event.fact.kind() == EventKind::Damage).await;
    assert_eq!(found.fact, Fact::Thread(ThreadEvent::DamageFound { what: what.clone() }));
    assert_eq!((found.thread, found.parent), (Some(hurt.id()), Some(parent.id())));
    let ended = World::event(&mut events, |event| {
        event.fact
            == Fact::Runtime(RuntimeEvent::ThreadEnded {
                how: Ended::Damaged { what: what.clone() },
            })
    });
    assert_eq!(ended.await.thread, Some(hurt.id()));
    assert_eq!(hurt.status(), ThreadStatus::Damaged(what));
    assert_eq!(hurt.submit("more").await.unwrap_err(), SubmitError::Closed { thread: hurt.id() });
    assert!(hurt.outcome(&hanging.submission).await.is_err(), "nobody waits for ever");
    assert_eq!(world.get(hurt.id()), None);
    // What is beside and above it goes on; what is below comes back by itself.
    for thread in [&parent, &sibling, &child] {
        assert_eq!(thread.run("on").await.unwrap().message(), Some("on"));
        assert_eq!(thread.view().crashes, 0);
    }
    tokio::time::sleep(Duration::from_secs(60)).await; // virtual
    assert_eq!(world.get(hurt.id()), None, "it is not restarted");
    drop(events);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn damage_of_a_thread_that_only_the_store_knows_is_told_with_where_it_is() {
    let mut limits = Limits::default();
    limits.idle_after = Duration::from_secs(1);
    let world = World::with_limits(engine(), limits).await;
    let parent = world.spawn(SpawnThread::new().with_name("house")).await.unwrap().id();
    let hurt = SpawnThread::new().with_parent(parent).with_name("attic");
    let hurt = world.spawn(hurt).await.unwrap().id();
    // Nobody holds them: they fall asleep, and leave memory.
    let asleep = async {
        while world.audit().await.count(LeaseKind::Slot) > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await; // virtual
        }
    };
    tokio::time::timeout(BUDGET, asleep).await.expect("they leave memory");
    let below = TapFilter::subtree(parent).kinds([EventKind::Damage]);
    let mut events = world.tap(TapOptions::matching(below)).unwrap();
    let reason = "bad checksum".to_owned();
    world.store.tell(&StoreHealth::Damaged { thread: hurt, seq: Seq(3), reason: reason.clone() });
    let found = World::event(&mut events, |event| event.thread == Some(hurt)).await;
    assert_eq!(found.path.as_ref().map(AgentPath::as_str), Some("/root/house/attic"));
    assert_eq!(found.parent, Some(parent));
    drop(events);
    // One of which the store can say nothing is told of all the same, in time.
    let mut events = tap(&world, [EventKind::Damage]);
    let unknown = ThreadId::from_parts(1, [9; 10]);
    world.store.tell(&StoreHealth::Damaged { thread: unknown, seq: Seq(3), reason });
    let found = World::event(&mut events, |event| event.thread == Some(unknown)).await;
    assert_eq!((found.path.clone(), found.parent), (None, None));
    drop(events);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_thread_is_not_restarted_when_its_store_refuses_to_give_it_out() {
    let world = World::new(engine()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    world.store.fail_next(StoreOp::Acquire, damage(thread.id()));
    thread.panic_for_test();
    status(&world, &thread, |status| matches!(status, ThreadStatus::Damaged(_))).await;
    assert!(thread.view().closed);
    assert_eq!(world.get(thread.id()), None);
    world.store.fail_next(StoreOp::Acquire, damage(thread.id()));
    let refused = world.resume(thread.id()).await.unwrap_err();
    let reason = "record 3: bad checksum".to_owned();
    assert_eq!(refused, SpawnError::Damaged { thread: thread.id(), reason });
    assert!(world.audit().await.count(LeaseKind::Slot) == 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_whose_history_is_damaged_fails_and_names_the_record() {
    let world = World::new(engine()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    world.store.fail_next(StoreOp::Read, damage(thread.id()));
    let Outcome::Failed { error } = thread.run("hello").await.unwrap() else {
        panic!("it cannot have run");
    };
    assert!(error.contains("record 3") && error.contains("bad checksum"), "{error}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_thread_can_be_forked_up_to_the_damage() {
    let world = World::new(engine()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("one").await.unwrap();
    let sound = thread.history().await.unwrap().len();
    thread.run("two").await.unwrap();
    thread.close(BUDGET).await.unwrap();
    let (thread, seq) = (thread.id(), Seq(sound + 2));
    world.store.fail_next(StoreOp::Read, StoreError::Corrupt { thread, seq, reason: "bad".into() });
    let fork = world.fork(thread, coppicer::ForkPoint::LastStable).await.unwrap();
    let history = fork.history().await.unwrap();
    let turns = history
        .iter()
        .filter(|record| matches!(record.class, coppicer::RecordClass::TurnCompleted { .. }))
        .count();
    assert_eq!(turns, 1, "the turn before the damage");
    assert_eq!(fork.run("three").await.unwrap().message(), Some("three"));
    world.end().await;
}
