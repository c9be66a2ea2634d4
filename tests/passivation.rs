//! Threads with nothing to do give up their actor; dormant ones that nobody holds leave memory, and
//! are there again for whoever has something for them (DESIGN 8; REF 12.11, RS-01 and RS-02).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentPath, Change, Done, EventKind, Fact, LeaseKind, Limits, NewThread, Op, Outcome, Phase,
    RestartPolicy, RuntimeEvent, Script, ScriptedEngine, SpawnError, SpawnOrigin, SpawnThread,
    Step, Submission, SubmissionId, SubmitError, TapFilter, TapOptions, ThreadConfig, ThreadHandle,
    ThreadId, ThreadPatch, ThreadQuery, ThreadStatus, Wait,
};

const IDLE: Duration = Duration::from_secs(60);

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        "panic" => Script::new().panic("boom"),
        "slow" => Script::new().sleep(Duration::from_secs(100)).say("slow"),
        text => Script::new().say(text),
    })
}

async fn world_with(change: impl FnOnce(&mut Limits)) -> World {
    let mut limits = Limits::default();
    limits.idle_after = IDLE;
    change(&mut limits);
    World::with_limits(engine(), limits).await
}

async fn world() -> World {
    world_with(|_| {}).await
}

async fn spawn(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.unwrap()
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await; // virtual
}

async fn residents(world: &World) -> u64 {
    let audit = world.audit().await;
    assert!(audit.is_clean(), "{audit:?}");
    audit.count(LeaseKind::Resident)
}

async fn slots(world: &World) -> u64 {
    world.audit().await.count(LeaseKind::Slot)
}

/// A thread that is in the store only, dormant.
async fn dormant(world: &World) -> ThreadId {
    let thread = spawn(world).await;
    thread.run("once").await.unwrap();
    let id = thread.id();
    drop(thread);
    pass(IDLE * 2).await;
    assert_eq!(world.get(id), None);
    id
}

#[tokio::test(start_paused = true)]
async fn an_idle_thread_gives_up_its_actor_and_its_handle_works_on() {
    let world = world().await;
    let thread = spawn(&world).await;
    pass(IDLE / 2).await;
    thread.run("one").await.unwrap();
    pass(Duration::from_millis(59_999)).await;
    assert_eq!(residents(&world).await, 1, "it did something since");
    pass(Duration::from_millis(2)).await;
    assert_eq!((residents(&world).await, slots(&world).await), (0, 1));
    assert_eq!((thread.status(), thread.view().phase), (ThreadStatus::Dormant, Phase::Dormant));
    assert!(!thread.history().await.unwrap().is_empty());
    assert_eq!(residents(&world).await, 0, "reading wakes nobody");
    assert_eq!(thread.run("two").await.unwrap().message(), Some("two"));
    assert_eq!(world.get(thread.id()).unwrap(), thread, "the same handle");
    assert_eq!(residents(&world).await, 1);
    pass(IDLE * 2).await;
    assert_eq!(residents(&world).await, 0, "each life anew");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dormant_thread_that_nobody_holds_leaves_memory_and_is_found_again_by_its_id() {
    let world = world().await;
    let thread = spawn(&world).await;
    thread.run("one").await.unwrap();
    let (id, head) = (thread.id(), thread.history().await.unwrap().len());
    pass(IDLE * 2).await;
    assert_eq!(slots(&world).await, 1, "somebody holds it");
    let other = thread.clone();
    drop(thread);
    pass(Duration::from_millis(1)).await;
    assert_eq!(slots(&world).await, 1, "somebody holds it still");
    drop(other);
    pass(Duration::from_millis(1)).await;
    assert_eq!((slots(&world).await, world.list().len()), (0, 0), "nobody does");
    assert_eq!(world.stored(id).await.unwrap().status.name(), "completed");

    let mut tap =
        world.tap(TapOptions::matching(TapFilter::all().kinds([EventKind::Runtime]))).unwrap();
    let receipt = world.submit(id, "two").await.unwrap();
    let origin = SpawnOrigin::Activation;
    World::event(&mut tap, |event| {
        event.fact == Fact::Runtime(RuntimeEvent::ThreadSpawned { origin })
    })
    .await;
    let thread = world.get(id).unwrap();
    assert_eq!(thread.outcome(&receipt.submission).await.unwrap().message(), Some("two"));
    assert!(thread.history().await.unwrap().len() > head, "its history goes on");
    drop((thread, tap));
    // One that nobody held when it fell asleep leaves at once.
    pass(IDLE + Duration::from_millis(1)).await;
    assert_eq!((slots(&world).await, residents(&world).await), (0, 0));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_works_or_waits_or_is_parked_or_has_live_sub_agents_stays() {
    let world = world().await;
    let works = spawn(&world).await;
    works.submit("hang").await.unwrap();
    works.submit("queued").await.unwrap();
    let policy = RestartPolicy::default().with_limit(0, IDLE);
    let strict = ThreadConfig::default().with_restart(policy);
    let parked = world.spawn(SpawnThread::new().with_config(strict)).await.unwrap();
    parked.run("panic").await.unwrap();
    let parent = spawn(&world).await;
    let child = world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap();
    child.submit("hang").await.unwrap();
    pass(IDLE * 10).await;
    assert_eq!(residents(&world).await, 4);
    assert_eq!(works.status(), ThreadStatus::Running);
    assert_eq!(parked.status(), ThreadStatus::Parked);
    // When the child sleeps, so may its parent.
    child.interrupt().await.unwrap();
    pass(IDLE * 3).await;
    assert_eq!((child.status(), parent.status()), (ThreadStatus::Dormant, ThreadStatus::Dormant));
    assert_eq!(residents(&world).await, 2);
    // The actor of a long turn is there until the turn has ended, and a while longer.
    works.interrupt().await.unwrap();
    works.submit("slow").await.unwrap();
    pass(Duration::from_secs(159)).await;
    assert_eq!(residents(&world).await, 2);
    pass(Duration::from_secs(2)).await;
    assert_eq!(residents(&world).await, 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn above_the_cap_the_thread_that_was_idle_longest_gives_up_its_actor() {
    let world = world_with(|limits| limits.idle_max = 3).await;
    let mut threads = Vec::new();
    for n in 0..3 {
        threads.push(spawn(&world).await);
        threads[n].run("x").await.unwrap();
        pass(Duration::from_secs(1)).await;
    }
    threads[0].run("again").await.unwrap();
    pass(Duration::from_secs(1)).await;
    threads.push(spawn(&world).await);
    pass(Duration::from_millis(1)).await;
    let sleep = |thread: &ThreadHandle| thread.status() == ThreadStatus::Dormant;
    assert_eq!(threads.iter().map(sleep).collect::<Vec<_>>(), [false, true, false, false]);
    assert_eq!(residents(&world).await, 3);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn rs_01_rs_02_at_the_limit_of_residents_an_idle_one_makes_room_and_comes_back() {
    let world = world_with(|limits| limits.resident_max = 2).await;
    let (root, worker) = (spawn(&world).await, spawn(&world).await);
    root.submit("hang").await.unwrap();
    worker.run("done").await.unwrap();
    let second = spawn(&world).await;
    assert_eq!(worker.status(), ThreadStatus::Dormant, "RS-01: it made room");
    assert_eq!(residents(&world).await, 2);
    second.run("done").await.unwrap();
    assert_eq!(worker.run("again").await.unwrap().message(), Some("again"), "RS-02");
    assert_eq!((second.status(), root.status()), (ThreadStatus::Dormant, ThreadStatus::Running));
    // With nobody idle a spawn is refused by type, and what waits in an inbox waits for room.
    worker.submit("hang").await.unwrap();
    let refused = world.spawn(SpawnThread::new()).await.unwrap_err();
    assert!(
        matches!(&refused, SpawnError::Limit(limit) if limit.limit == "resident_max"),
        "{refused:?}"
    );
    let waits = {
        let second = second.clone();
        tokio::spawn(async move { second.run("when there is room").await })
    };
    pass(Duration::from_secs(1)).await;
    assert_eq!(residents(&world).await, 2);
    worker.close(BUDGET).await.unwrap();
    let outcome = waits.await.unwrap().unwrap();
    assert_eq!(outcome.message(), Some("when there is room"));
    assert_eq!(residents(&world).await, 2);
    world.end().await;
}

// actor    |──── idle ────|unloading|─ dormant
// message        ↑ at any of these moments: it is accepted, and runs
#[tokio::test(start_paused = true)]
async fn a_message_during_unloading_is_never_lost() {
    for held in [true, false] {
        for turns in 0..60 {
            let world = world().await;
            let thread = spawn(&world).await;
            let id = thread.id();
            pass(IDLE).await;
            let handle = held.then_some(thread);
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            let name = SubmissionId::new("late").unwrap();
            let submission = Submission::input("late").with_id(name.clone());
            match &handle {
                Some(thread) => thread.submit(submission).await.unwrap(),
                None => world.submit(id, submission).await.unwrap(),
            };
            let thread = world.get(id).unwrap();
            let outcome = thread.outcome(&name).await.unwrap();
            assert_eq!(outcome.message(), Some("late"), "after {turns}");
            drop((thread, handle));
            world.end().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_beside_the_request_to_sleep_keeps_its_thread_awake() {
    let world = world().await;
    let thread = spawn(&world).await;
    pass(Duration::from_millis(1)).await;
    // Control is taken first, and finds that input waits.
    let (slept, sent) = tokio::join!(thread.hibernate(), thread.submit("late"));
    assert!(slept.is_err());
    let outcome = thread.outcome(&sent.unwrap().submission).await.unwrap();
    assert_eq!(outcome.message(), Some("late"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_waits_for_and_closes_a_sub_agent_that_left_memory() {
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "lead" => Script::new()
            .spawn(SpawnThread::new().with_first("work"))
            .sleep(IDLE * 3)
            .then(Step::Wait(Wait::All, BUDGET))
            .then(Step::Close(0, BUDGET))
            .then(Step::Wait(Wait::All, BUDGET))
            .say("led"),
        text => Script::new().say(text),
    });
    let mut limits = Limits::default();
    limits.idle_after = IDLE;
    let world = World::with_limits(engine, limits).await;
    let lead = spawn(&world).await;
    assert_eq!(lead.run("lead").await.unwrap().message(), Some("led"));
    let history = lead.history().await.unwrap();
    let said: Vec<String> = history
        .iter()
        .filter(|record| matches!(record.class, coppicer::RecordClass::AssistantMessage { .. }))
        .filter_map(coppicer::text_of)
        .collect();
    assert_eq!(said[..2], ["waited: completed", "waited: not_found"]);
    let open = world.store().children(lead.id(), Some(coppicer::EdgeStatus::Open)).await.unwrap();
    assert!(open.is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_submission_that_is_looked_up_is_not_lost_to_sleep() {
    let world = world().await;
    let thread = spawn(&world).await;
    world.store.hold(StoreOp::Submission);
    let late = {
        let thread = thread.clone();
        let named = Submission::input("late").with_id(SubmissionId::new("late").unwrap());
        tokio::spawn(async move { thread.submit(named).await })
    };
    pass(Duration::from_millis(1)).await;
    assert!(thread.hibernate().await.is_err(), "it has something at hand");
    world.store.release(StoreOp::Submission);
    late.await.unwrap().unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ten_who_have_something_for_a_dormant_thread_bring_up_one_incarnation() {
    let world = world().await;
    let id = dormant(&world).await;
    let (acquired, epoch) =
        (world.store.calls(StoreOp::Acquire), world.stored(id).await.unwrap().epoch);
    let reads = world.store.calls(StoreOp::Read);
    let all = (0..10).map(|n| {
        let runtime = world.runtime().clone();
        async move {
            if n == 9 {
                return runtime.interrupt(id).await.map(drop).map_err(|error| error.to_string());
            }
            let sent = runtime.submit(id, Op::Compact).await;
            sent.map(drop).map_err(|error| error.to_string())
        }
    });
    for result in futures::future::join_all(all).await {
        result.unwrap();
    }
    assert_eq!(world.store.calls(StoreOp::Acquire), acquired + 1);
    assert_eq!(world.stored(id).await.unwrap().epoch, epoch.next());
    assert!(world.store.calls(StoreOp::Read) <= reads + 1, "its engine's session, at most");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_closed_or_below_it_is_not_opened_by_a_message_and_what_is_not_there_is_not_found()
{
    let world = world().await;
    let parent = spawn(&world).await;
    let child = world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap();
    child.run("once").await.unwrap();
    let (parent, child) = (parent.id(), { child }.id());
    pass(IDLE + Duration::from_millis(10)).await;
    assert_eq!(world.get(child), None, "it left memory");
    world.close(parent, BUDGET).await.unwrap();
    for thread in [parent, child] {
        let refused = world.submit(thread, "hello").await.unwrap_err();
        assert_eq!(refused, SubmitError::Closed { thread });
        assert!(refused.to_string().contains("resume it first"));
        assert!(world.interrupt(thread).await.is_err());
        assert_eq!(world.get(thread), None);
    }
    // What is above it is open again, and so is it.
    world.resume(parent).await.unwrap();
    world.submit(child, "hello").await.unwrap();
    let nobody = ThreadId::from_parts(1, [1; 10]);
    assert_eq!(
        world.submit(nobody, "x").await.unwrap_err(),
        SubmitError::NotFound { thread: nobody }
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_was_opened_below_what_is_closed_stays_reachable() {
    let world = world().await;
    let parent = spawn(&world).await;
    let child = world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap().id();
    world.close(parent.id(), BUDGET).await.unwrap();
    drop(world.resume(child).await.unwrap());
    pass(IDLE * 3).await;
    assert_eq!(residents(&world).await, 0);
    let receipt = world.submit(child, "hello").await.unwrap();
    let child = world.get(child).unwrap();
    assert_eq!(child.outcome(&receipt.submission).await.unwrap().message(), Some("hello"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dormant_thread_is_closed_by_its_id_and_is_closed_durably() {
    let world = world().await;
    let id = dormant(&world).await;
    let report = world.close(id, BUDGET).await.unwrap();
    assert_eq!(report.completed, [id]);
    assert_eq!(world.stored(id).await.unwrap().status, ThreadStatus::Shutdown);
    assert_eq!(slots(&world).await, 0);
    assert_eq!(world.submit(id, "x").await.unwrap_err(), SubmitError::Closed { thread: id });
    assert!(world.close(id, BUDGET).await.unwrap().threads.is_empty(), "twice is as good as once");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_sleeps_is_woken_for_a_new_child_and_a_closed_one_is_not() {
    for held in [true, false] {
        let world = world().await;
        let parent = spawn(&world).await;
        let id = parent.id();
        let handle = held.then_some(parent);
        pass(IDLE * 2).await;
        assert_eq!((residents(&world).await, slots(&world).await), (0, u64::from(held)));
        let below = || SpawnThread::new().with_parent(id);
        let child = world.spawn(below()).await.unwrap();
        assert_eq!((child.view().parent, residents(&world).await), (Some(id), 2));
        world.close(id, BUDGET).await.unwrap();
        let refused = world.spawn(below()).await.unwrap_err();
        assert_eq!(refused, SpawnError::ParentGone { parent: id });
        drop(handle);
        world.end().await;
    }
}

/// However many steps lie in between, and with so much to do for the supervisor that it lets others run.
#[tokio::test(start_paused = true)]
async fn p8_a_child_that_is_resumed_while_its_parent_goes_to_sleep_is_back() {
    const PAIRS: usize = 240;
    let world = world().await;
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let parent = spawn(&world).await;
        let child = world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap();
        child.hibernate().await.unwrap();
        pairs.push((parent, child.id()));
    }
    pass(Duration::from_millis(1)).await;
    assert_eq!(slots(&world).await, PAIRS as u64, "the children are in the store alone");
    let all = pairs.iter().enumerate().map(|(at, (parent, child))| {
        let resuming = async {
            world.resume(*child).await.expect("it is not back").run("here").await.unwrap()
        };
        let sleeping = async move {
            for _ in 0..at % 60 {
                tokio::task::yield_now().await;
            }
            drop(parent.hibernate().await);
        };
        futures::future::join(resuming, sleeping)
    });
    for (outcome, ()) in futures::future::join_all(all).await {
        assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_close_covers_what_hangs_below_a_gap() {
    // grandparent ── parent (left memory) ── child (woken by itself)
    let world = world().await;
    let top = spawn(&world).await;
    let below = |parent| SpawnThread::new().with_parent(parent);
    let parent = world.spawn(below(top.id())).await.unwrap().id();
    let child = world.spawn(below(parent)).await.unwrap().id();
    pass(IDLE * 4).await;
    assert_eq!((world.get(parent), world.get(child)), (None, None));
    top.run("awake").await.unwrap();
    world.submit(child, "hang").await.unwrap();
    assert_eq!(world.get(parent), None);
    let refused = {
        let closing = top.close(BUDGET);
        let spawning = world.spawn(below(child));
        let (report, spawned) = tokio::join!(closing, spawning);
        let mut closed = vec![top.id(), child];
        closed.sort_unstable();
        assert_eq!(report.unwrap().completed, closed);
        spawned.unwrap_err()
    };
    assert!(matches!(refused, SpawnError::Closing { .. }), "{refused:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_stays_taken_while_its_owner_sleeps_and_is_free_when_that_is_closed() {
    let world = world().await;
    let root = spawn(&world).await;
    root.submit("hang").await.unwrap();
    let request = |name: &str| SpawnThread::new().with_parent(root.id()).with_name(name);
    let worker = world.spawn(request("worker")).await.unwrap().id();
    pass(IDLE * 2).await;
    assert_eq!(world.get(worker), None);
    let refused = world.spawn(request("worker")).await.unwrap_err();
    assert_eq!(refused, SpawnError::PathTaken { path: "/root/worker".into() });
    // Its own it is: it comes back under it.
    world.submit(worker, "hello").await.unwrap();
    pass(IDLE * 2).await;
    world.close(worker, BUDGET).await.unwrap();
    let other = world.spawn(request("worker")).await.unwrap();
    // A new name frees the old one, at once.
    let path: AgentPath = "/root/renamed".parse().unwrap();
    let patch = ThreadPatch { path: Change::Set(path.clone()), ..ThreadPatch::default() };
    world.patch(other.id(), patch).await.unwrap();
    assert_eq!(other.view().path, Some(path));
    world.spawn(request("worker")).await.unwrap();
    let refused = world.spawn(request("renamed")).await.unwrap_err();
    assert_eq!(refused, SpawnError::PathTaken { path: "/root/renamed".into() });
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn mail_that_starts_a_turn_wakes_its_reader_and_other_mail_wakes_nobody() {
    for (trigger, sleeps_in_memory) in [(true, true), (true, false), (false, true), (false, false)]
    {
        let reader_id = ThreadId::from_parts(9, [9; 10]);
        let mail = Op::AgentMessage { from: AgentPath::root(), content: "note".into(), trigger };
        let engine = ScriptedEngine::new(move |_, input| match input.text().as_str() {
            "write" => Script::new()
                .spawn(SpawnThread::new().with_id(reader_id))
                .sleep(Duration::from_secs(200))
                .then(Step::Send(0, Submission::new(mail.clone())))
                .say("written"),
            text => Script::new().say(text),
        });
        let mut limits = Limits::default();
        limits.idle_after = IDLE;
        let world = World::with_limits(engine, limits).await;
        let writer = spawn(&world).await;
        let writing = writer.submit("write").await.unwrap();
        pass(Duration::from_secs(1)).await;
        let held = sleeps_in_memory.then(|| world.get(reader_id).unwrap());
        pass(IDLE * 2).await;
        assert_eq!(slots(&world).await, 1 + u64::from(sleeps_in_memory));
        let outcome = writer.outcome(&writing.submission).await.unwrap();
        assert_eq!(outcome.message(), Some("written"));
        pass(Duration::from_secs(1)).await;
        assert_eq!(residents(&world).await, 1 + u64::from(trigger), "{trigger}");
        // It is read with the next turn, once.
        drop(held);
        world.submit(reader_id, "next").await.unwrap();
        pass(Duration::from_secs(1)).await;
        let history = world.get(reader_id).unwrap().history().await.unwrap();
        let letters = history
            .iter()
            .filter(|record| matches!(record.class, coppicer::RecordClass::Envelope { .. }));
        assert_eq!(letters.count(), 1);
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_dormant_threads_are_listed_and_none_is_loaded() {
    const THREADS: u64 = 100_000;
    let world = world().await;
    for n in 1..=THREADS {
        let new = NewThread::root(ThreadId::from_parts(n, [0; 10]), n);
        coppicer::ThreadStore::create(&world.store, new, Vec::new(), Done::ignore());
    }
    let page = world.threads(ThreadQuery::new().take(100)).await.unwrap();
    assert_eq!(page.threads.len(), 100);
    assert_eq!(page.threads[0].id, ThreadId::from_parts(THREADS, [0; 10]), "newest first");
    let next = world.threads(ThreadQuery::new().take(100).after(page.next)).await.unwrap();
    assert_eq!(next.threads[0].id, ThreadId::from_parts(THREADS - 100, [0; 10]));
    let calls = [StoreOp::Acquire, StoreOp::Read].map(|op| world.store.calls(op));
    assert_eq!((calls, slots(&world).await), ([0, 0], 0));
    // One of them is as good as any other.
    let receipt = world.submit(page.threads[7].id, "hello").await.unwrap();
    let thread = world.get(page.threads[7].id).unwrap();
    assert_eq!(thread.outcome(&receipt.submission).await.unwrap().message(), Some("hello"));
    assert_eq!(world.store.calls(StoreOp::Acquire), 1);
    drop(thread);
    world.end().await;
}
