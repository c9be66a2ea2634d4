//! What a runtime does by itself when it starts: every submission that an earlier process accepted
//! gets its one outcome, though nobody asks for its thread (P3, P8). Nothing else is loaded.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::time::Duration;

use coppicer::faulty::{FaultyStore, StoreOp};
use coppicer::testing::{BEGINS_AT_MS, BUDGET, World};
use coppicer::{
    AgentPath, Clock, Done, Event, EventKind, Fact, Fence, IdSource, LeaseKind, Limits,
    MemoryStore, NewThread, OnCrash, Op, Outcome, Recover, RestartPolicy, Runtime, RuntimeEvent,
    Script, ScriptedEngine, Seq, SpawnOrigin, SpawnThread, Step, StoreError, StoreHealth,
    Submission, SubmissionId, SubmissionState, Tap, TapFilter, TapFrom, TapItem, TapOptions,
    ThreadConfig, ThreadEvent, ThreadId, ThreadStatus, ThreadStore,
};

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        "slow" => Script::new().sleep(Duration::from_secs(1)).say("slow"),
        "panic" => Script::new().panic("boom"),
        text => Script::new().say(text),
    })
}

fn store() -> FaultyStore {
    FaultyStore::new(Arc::new(MemoryStore::new()))
}

fn id(text: &str) -> SubmissionId {
    SubmissionId::new(text).unwrap()
}

fn config(on_crash: OnCrash) -> ThreadConfig {
    ThreadConfig::default().with_on_crash(on_crash)
}

/// The outcome that the store has of a submission, if it has ended.
async fn outcome(store: &FaultyStore, thread: ThreadId, submission: &str) -> Option<Outcome> {
    let (done, known) = Done::channel();
    store.submission(thread, &id(submission), done);
    match known.await.unwrap().unwrap().state {
        SubmissionState::Ended(outcome) => Some(outcome),
        _ => None,
    }
}

fn events(runtime: &Runtime) -> Tap {
    let kinds = TapFilter::all().kinds([EventKind::Runtime, EventKind::Submission]);
    // From the start: what comes up by itself may be quicker than the one who looks.
    runtime.tap(TapOptions::matching(kinds).with_from(TapFrom::Cursor(0))).unwrap()
}

fn ended(event: &Event, submission: &str) -> bool {
    matches!(&event.fact, Fact::Thread(ThreadEvent::SubmissionEnded { submission: of, .. })
        if *of == id(submission))
}

/// The first process, which dies without a word: its threads can write nothing any more.
struct Dead(World);

impl Dead {
    async fn lived(store: &FaultyStore) -> Self {
        Self(World::on(store.clone(), engine(), Limits::default()).await)
    }

    /// Its leases are its own: they end with it, after the next process took over.
    async fn bury(self) {
        drop(self.0.shutdown(BUDGET).await);
    }
}

// first    |accepted ── running ── ✝
// second                            |start ── closed, run, told: nobody asked
#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_accepted_gets_its_outcome_though_nobody_asks() {
    let store = store();
    let first = Dead::lived(&store).await;
    let mut threads = Vec::new();
    for on_crash in [
        OnCrash::Interrupt,
        OnCrash::Requeue { attempts_max: 1 },
        OnCrash::Requeue { attempts_max: 3 },
    ] {
        let request = SpawnThread::new().with_config(config(on_crash));
        let thread = first.0.spawn(request).await.unwrap();
        thread.submit(Submission::input("slow").with_id(id("running"))).await.unwrap();
        thread.submit(Submission::input("queued").with_id(id("queued"))).await.unwrap();
        threads.push(thread.id());
    }
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: into the turns
    let second = World::on(store.clone(), engine(), Limits::default()).await;
    let mut tap = events(&second);
    for _ in 0..6 {
        let over = World::event(&mut tap, |event| {
            matches!(event.fact, Fact::Thread(ThreadEvent::SubmissionEnded { .. }))
        });
        over.await;
    }
    for (thread, expected) in threads.iter().zip(["interrupted", "crashed", "completed"]) {
        let outcome_of = async |what| outcome(&store, *thread, what).await.unwrap();
        assert_eq!(outcome_of("running").await.name(), expected);
        assert_eq!(outcome_of("queued").await.message(), Some("queued"));
    }
    drop(tap);
    first.bury().await;
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_comes_up_by_itself_says_so_and_mail_that_starts_a_turn_brings_it_up() {
    let store = store();
    let (reader, writer) = (ThreadId::from_parts(1, [1; 10]), ThreadId::from_parts(2, [2; 10]));
    for thread in [reader, writer] {
        let (done, made) = Done::channel();
        store.create(NewThread::root(thread, 1), Vec::new(), done);
        made.await.unwrap();
    }
    let mail = coppicer::Mail {
        id: "letter".into(),
        sender: Some(writer),
        author: "/root".into(),
        recipient: reader.to_string(),
        content: "work".into(),
        trigger: true,
        trace: None,
    };
    let batch = coppicer::Batch {
        mail: vec![coppicer::MailTo { to: reader, mail }],
        ..coppicer::Batch::default()
    };
    let (done, written) = Done::channel();
    let fence = Fence { thread: writer, epoch: coppicer::Epoch(1) };
    store.append(fence, Seq(0), batch, done);
    written.await.unwrap();
    let world = World::on(store.clone(), engine(), Limits::default()).await;
    let mut tap = world.tap(TapOptions::all().with_from(TapFrom::Cursor(0))).unwrap();
    let origin = SpawnOrigin::Recovery;
    let up = World::event(&mut tap, |event| {
        event.fact == Fact::Runtime(RuntimeEvent::ThreadSpawned { origin })
    });
    assert_eq!(up.await.thread, Some(reader));
    let done = World::event(&mut tap, |event| {
        matches!(event.fact, Fact::Thread(ThreadEvent::TurnEnded { .. }))
    });
    assert_eq!(done.await.thread, Some(reader));
    assert_eq!(world.get(writer), None, "nothing waits in that one");
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn closed_and_parked_threads_and_those_with_nothing_to_do_stay_and_nothing_is_read() {
    let store = store();
    let first = Dead::lived(&store).await;
    let idle = first.0.spawn(SpawnThread::new()).await.unwrap();
    idle.run("done").await.unwrap();
    let closed = first.0.spawn(SpawnThread::new()).await.unwrap();
    closed.run("done").await.unwrap();
    closed.close(BUDGET).await.unwrap();
    let policy = RestartPolicy::default().with_limit(0, Duration::from_secs(60));
    let strict = ThreadConfig::default().with_restart(policy);
    let parked = first.0.spawn(SpawnThread::new().with_config(strict)).await.unwrap();
    let (_panics, waits) = tokio::join!(
        parked.submit("panic"),
        parked.submit(Submission::input("waits").with_id(id("waits"))),
    );
    let waits = waits.unwrap();
    while parked.status() != ThreadStatus::Parked {
        tokio::task::yield_now().await;
    }
    let fresh = first.0.spawn(SpawnThread::new()).await.unwrap();
    let queued = SpawnThread::new().with_first(Submission::input("hang").with_id(id("hangs")));
    let unfinished = first.0.spawn(queued).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: into the turn
    let before = (store.calls(StoreOp::Read), store.calls(StoreOp::Acquire));
    let second = World::on(store.clone(), engine(), Limits::default()).await;
    let mut tap = events(&second);
    World::event(&mut tap, |event| ended(event, "hangs")).await;
    tokio::time::sleep(Duration::from_secs(60)).await; // virtual
    assert_eq!(store.calls(StoreOp::Acquire), before.1 + 1, "one thread was loaded");
    assert_eq!(store.calls(StoreOp::Read), before.0 + 1, "what it had open");
    for thread in [&idle, &closed, &parked, &fresh] {
        assert_eq!(second.get(thread.id()), None);
    }
    assert!(second.get(unfinished.id()).is_some());
    assert_eq!(outcome(&store, parked.id(), waits.submission.as_str()).await, None, "kept");
    // With nothing open, a resume reads nothing either.
    second.resume(idle.id()).await.unwrap();
    assert_eq!(store.calls(StoreOp::Read), before.0 + 1);
    drop(tap);
    first.bury().await;
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_may_have_nothing_brought_up_that_it_does_not_ask_for() {
    let store = store();
    let first = Dead::lived(&store).await;
    let request = SpawnThread::new().with_first(Submission::input("hang").with_id(id("hangs")));
    let thread = first.0.spawn(request).await.unwrap().id();
    let second = Runtime::builder()
        .engine(engine())
        .store(store.clone())
        .clock(Clock::starting_at(BEGINS_AT_MS))
        .ids(IdSource::seeded(7))
        .recover(Recover::OnDemand)
        .start()
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await; // virtual
    assert!(second.list().is_empty());
    assert_eq!(outcome(&store, thread, "hangs").await, None);
    second.interrupt(thread).await.unwrap();
    assert_eq!(outcome(&store, thread, "hangs").await, Some(Outcome::Interrupted));
    first.bury().await;
    second.shutdown(BUDGET).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_few_come_up_at_once_and_start_does_not_wait_for_them() {
    const THREADS: usize = 50;
    let store = store();
    let first = Dead::lived(&store).await;
    for _ in 0..THREADS {
        first.0.spawn(SpawnThread::new().with_first("hang")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: into the turns
    store.hold(StoreOp::Acquire);
    let before = store.calls(StoreOp::Acquire);
    let mut limits = Limits::default();
    limits.recoveries_max = 4;
    let second = World::on(store.clone(), engine(), limits).await;
    tokio::time::sleep(Duration::from_secs(10)).await; // virtual
    assert_eq!(store.calls(StoreOp::Acquire), before + 4);
    // Meanwhile it works.
    let other = second.spawn(SpawnThread::new()).await.unwrap();
    assert_eq!(other.run("hello").await.unwrap().message(), Some("hello"));
    let mut tap = events(&second);
    store.release(StoreOp::Acquire);
    for _ in 0..THREADS {
        let over = World::event(&mut tap, |event| {
            event.thread != Some(other.id())
                && matches!(event.fact, Fact::Thread(ThreadEvent::SubmissionEnded { .. }))
        });
        over.await;
    }
    assert!(store.unfinished(None, 100).await.unwrap().is_empty());
    drop(tap);
    first.bury().await;
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_the_recovery_is_answered_and_what_is_left_is_left_for_the_next() {
    let store = store();
    let first = Dead::lived(&store).await;
    let mut threads = Vec::new();
    for _ in 0..20 {
        let request = SpawnThread::new().with_first(Submission::input("hang").with_id(id("hangs")));
        threads.push(first.0.spawn(request).await.unwrap().id());
    }
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: into the turns
    store.hold(StoreOp::Acquire);
    let mut limits = Limits::default();
    limits.recoveries_max = 4;
    let second = World::on(store.clone(), engine(), limits.clone()).await;
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: some are under way
    let report = second.shutdown(Duration::from_secs(1)).await.unwrap();
    assert_eq!(report.timed_out.len(), 4, "{report:?}");
    store.release(StoreOp::Acquire);
    second.until(coppicer::Audit::is_empty).await;
    drop(second);
    let third = World::on(store.clone(), engine(), limits).await;
    let mut tap = events(&third);
    for _ in &threads {
        World::event(&mut tap, |event| ended(event, "hangs")).await;
    }
    for thread in threads {
        assert_eq!(outcome(&store, thread, "hangs").await, Some(Outcome::Interrupted));
    }
    drop(tap);
    first.bury().await;
    third.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_come_up_when_all_is_closed_stays_down_though_the_host_goes_on() {
    let store = store();
    let first = Dead::lived(&store).await;
    for _ in 0..20 {
        let request = SpawnThread::new().with_first(Submission::input("hang").with_id(id("hangs")));
        first.0.spawn(request).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: into the turns
    store.hold(StoreOp::Acquire);
    let mut limits = Limits::default();
    limits.recoveries_max = 4;
    let second = World::on(store.clone(), engine(), limits).await;
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: some are under way
    let report = second.close_all(Duration::from_secs(1)).await.unwrap();
    assert_eq!(report.timed_out.len(), 4, "{report:?}");
    store.release(StoreOp::Acquire);
    let before = store.calls(StoreOp::Acquire);
    let other = second.spawn(SpawnThread::new()).await.unwrap();
    assert_eq!(other.run("hello").await.unwrap().message(), Some("hello"), "it takes new ones");
    tokio::time::sleep(Duration::from_secs(600)).await; // virtual
    assert_eq!(second.list().len(), 1, "nothing else comes up");
    assert_eq!(store.calls(StoreOp::Acquire), before, "nobody asks for it");
    drop(other);
    first.bury().await;
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_does_not_come_up_is_tried_again_and_a_damaged_one_is_told() {
    let store = store();
    let first = Dead::lived(&store).await;
    let request = |name| SpawnThread::new().with_first(Submission::input("hang").with_id(id(name)));
    let again = first.0.spawn(request("again")).await.unwrap().id();
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: into the turn
    let full = StoreError::Unavailable { reason: "disk full".into() };
    for _ in 0..3 {
        store.fail_next(StoreOp::Acquire, full.clone());
    }
    let second = World::on(store.clone(), engine(), Limits::default()).await;
    let mut tap = events(&second);
    for _ in 0..3 {
        let failed = World::event(&mut tap, |event| {
            matches!(event.fact, Fact::Runtime(RuntimeEvent::RecoveryFailed { again: true, .. }))
        });
        failed.await;
    }
    World::event(&mut tap, |event| ended(event, "again")).await;
    assert_eq!(outcome(&store, again, "again").await, Some(Outcome::Interrupted));
    drop(tap);
    first.bury().await;
    second.end().await;

    let store = self::store();
    let first = Dead::lived(&store).await;
    let hurt = first.0.spawn(request("hurt")).await.unwrap().id();
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: into the turn
    let damage = StoreError::Corrupt { thread: hurt, seq: Seq(3), reason: "bad".into() };
    store.fail_next(StoreOp::Acquire, damage);
    let second = World::on(store.clone(), engine(), Limits::default()).await;
    let mut tap = events(&second);
    let failed = World::event(&mut tap, |event| {
        matches!(&event.fact, Fact::Runtime(RuntimeEvent::RecoveryFailed { again: false, reason, .. })
            if reason.contains(&hurt.to_string()) && reason.contains("record 3"))
    });
    assert_eq!(failed.await.thread, Some(hurt), "the fact is the thread's own");
    assert_eq!(second.audit().await.count(LeaseKind::Slot), 0);
    drop(tap);
    first.bury().await;
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_was_opened_again_and_accepted_something_is_found_by_the_next_process() {
    // Its last durable status was that it is closed, until it said otherwise.
    let store = store();
    let first = Dead::lived(&store).await;
    let thread = first.0.spawn(SpawnThread::new()).await.unwrap();
    thread.close(BUDGET).await.unwrap();
    let thread = first.0.resume(thread.id()).await.unwrap();
    let stored = || async { store.thread(thread.id()).await.unwrap().status };
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stored().await, ThreadStatus::PendingInit);
    thread.submit(Submission::input("hang").with_id(id("hangs"))).await.unwrap();
    let second = World::on(store.clone(), engine(), Limits::default()).await;
    let mut tap = events(&second);
    World::event(&mut tap, |event| ended(event, "hangs")).await;
    drop(tap);
    first.bury().await;
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_comes_up_by_itself_below_a_parent_that_does_not_and_is_where_it_was() {
    let store = store();
    let first = Dead::lived(&store).await;
    let parent = first.0.spawn(SpawnThread::new()).await.unwrap();
    let request = SpawnThread::new().with_parent(parent.id()).with_name("worker");
    let child = first.0.spawn(request).await.unwrap();
    let hangs = Submission::input("hang").with_id(id("hangs"));
    child.submit(hangs).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: into the turn
    let second = World::on(store.clone(), engine(), Limits::default()).await;
    let mut tap = events(&second);
    World::event(&mut tap, |event| ended(event, "hangs")).await;
    let view = second.get(child.id()).unwrap().view();
    assert_eq!((view.parent, view.depth), (Some(parent.id()), 1));
    assert_eq!(view.path, Some("/root/worker".parse::<AgentPath>().unwrap()));
    assert_eq!(second.get(parent.id()), None);
    // The parent hears of it when it comes up (P12), and what is below it closes with it.
    second.resume(parent.id()).await.unwrap();
    assert!(!second.submit(parent.id(), Op::Compact).await.unwrap().duplicate);
    let report = second.close(parent.id(), BUDGET).await.unwrap();
    assert_eq!(report.completed.len(), 2, "{report:?}");
    drop(tap);
    first.bury().await;
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_did_not_come_up_is_tried_again_at_once_when_the_store_is_well() {
    let store = store();
    let first = Dead::lived(&store).await;
    let request = SpawnThread::new().with_first(Submission::input("hang").with_id(id("hangs")));
    first.0.spawn(request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: into the turn
    store.fail_next(StoreOp::Acquire, StoreError::Unavailable { reason: "disk full".into() });
    let second = World::on(store.clone(), engine(), Limits::default()).await;
    let mut tap = events(&second);
    let before = tokio::time::Instant::now();
    World::event(&mut tap, |event| {
        matches!(event.fact, Fact::Runtime(RuntimeEvent::RecoveryFailed { again: true, .. }))
    })
    .await;
    store.tell(&StoreHealth::Well);
    World::event(&mut tap, |event| ended(event, "hangs")).await;
    assert_eq!(before.elapsed(), Duration::ZERO, "without the pause");
    drop(tap);
    first.bury().await;
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_hears_of_a_recovery_that_failed_learns_by_what_name_the_thread_goes() {
    let store = store();
    let first = Dead::lived(&store).await;
    let parent = first.0.spawn(SpawnThread::new()).await.unwrap();
    let request = SpawnThread::new().with_parent(parent.id()).with_name("worker");
    let config = ThreadConfig::default().with_nickname("Alder");
    let child = first.0.spawn(request.with_config(config)).await.unwrap();
    child.submit(Submission::input("hang").with_id(id("hangs"))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await; // virtual: into the turn
    let full = StoreError::Unavailable { reason: "disk full".into() };
    // Once when it is looked up, behind the question which there are, and once when it is acquired.
    store.hold(StoreOp::Look);
    let asked = store.calls(StoreOp::Look);
    let second = World::on(store.clone(), engine(), Limits::default()).await;
    while store.calls(StoreOp::Look) == asked {
        tokio::task::yield_now().await;
    }
    store.fail_next(StoreOp::Look, full.clone());
    store.release(StoreOp::Look);
    let mut tap = events(&second);
    let failed = |event: &Event| {
        matches!(event.fact, Fact::Runtime(RuntimeEvent::RecoveryFailed { again: true, .. }))
    };
    for fails in [StoreOp::Look, StoreOp::Acquire] {
        let told = World::event(&mut tap, failed).await;
        let Fact::Runtime(RuntimeEvent::RecoveryFailed { nickname, .. }) = &told.fact else {
            unreachable!()
        };
        assert_eq!((told.thread, told.parent), (Some(child.id()), Some(parent.id())), "{fails:?}");
        assert_eq!(told.path, Some("/root/worker".parse::<AgentPath>().unwrap()));
        assert_eq!(nickname.as_deref(), Some("Alder"));
        // It has no row; what still needs somebody says it to who begins late.
        let options = TapOptions::all().with_from(TapFrom::Snapshot);
        let mut late = second.tap(options).unwrap();
        let Some(TapItem::Snapshot(now)) = late.try_next() else { panic!("no snapshot") };
        assert_eq!((now.get(child.id()), now.concerns.len()), (None, 1));
        assert_eq!(now.concerns[0].event.path, told.path);
        if fails == StoreOp::Look {
            store.fail_next(StoreOp::Acquire, full.clone());
        }
    }
    World::event(&mut tap, |event| ended(event, "hangs")).await;
    drop(tap);
    first.bury().await;
    second.end().await;
}
