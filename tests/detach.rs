//! What goes on when its parent is closed: a branch whose edge says so is a tree of its own from then
//! on, and nothing of it notices (P5, P6, P8, P10, P12).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::faulty::{FaultyStore, StoreOp};
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AutoShutdown, Budget, Change, Children, CloseReport, EdgeStatus, Event, EventKind, Fact,
    Limits, OnSpent, Op, Outcome, ParentClose, PatchError, Phase, RestartPolicy, RuntimeEvent,
    Script, ScriptedEngine, SpawnError, SpawnThread, Step, StoreError, SubmitError, Tap, TapFilter,
    TapOptions, ThreadConfig, ThreadHandle, ThreadId, ThreadPatch, ThreadStatus, TreeLimits,
};
use tokio::time::Instant;

/// "work" takes a second; "panic" panics; "hang" hangs; all else is said.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "work" => Script::new().sleep(Duration::from_secs(1)).say("worked"),
        "panic" => Script::new().panic("boom"),
        "hang" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    })
}

async fn world() -> World {
    World::new(engine()).await
}

async fn root(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.unwrap()
}

fn closing(parent: &ThreadHandle) -> SpawnThread {
    SpawnThread::new().with_parent(parent.id())
}

fn detaching(parent: &ThreadHandle) -> SpawnThread {
    closing(parent).with_parent_close(ParentClose::Detach)
}

async fn stored_parent(world: &World, thread: ThreadId) -> Option<ThreadId> {
    world.stored(thread).await.unwrap().parent.map(|(parent, _)| parent)
}

fn sorted(threads: &[&ThreadHandle]) -> Vec<ThreadId> {
    let mut ids: Vec<ThreadId> = threads.iter().map(|thread| thread.id()).collect();
    ids.sort_unstable();
    ids
}

fn adoptions(tap: &mut Tap) -> Vec<(ThreadId, Option<ThreadId>, Option<ThreadId>)> {
    let events = std::iter::from_fn(|| tap.try_next());
    let adopted = |event: &Event| match &event.fact {
        Fact::Runtime(RuntimeEvent::ThreadAdopted { from, to, .. }) => {
            assert_eq!(event.parent, *to);
            Some((event.thread.unwrap(), *from, *to))
        }
        _ => None,
    };
    events.filter_map(|item| item.event().and_then(adopted)).collect()
}

fn runtime_facts(world: &World, filter: TapFilter) -> Tap {
    world.tap(TapOptions::matching(filter.kinds([EventKind::Runtime]))).unwrap()
}

async fn closes(world: &World, thread: &ThreadHandle) -> CloseReport {
    let report = world.close(thread.id(), BUDGET).await.unwrap();
    assert!(report.timed_out.is_empty() && report.submit_failed.is_empty(), "{report:?}");
    report
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_outlives_its_parent_goes_on_undisturbed_as_a_tree_of_its_own() {
    let world = world().await;
    let parent = root(&world).await;
    let child = world.spawn(detaching(&parent).with_name("child")).await.unwrap();
    let below = world.spawn(closing(&child).with_name("below")).await.unwrap();
    let other = world.spawn(closing(&parent)).await.unwrap();
    let running = child.submit("work").await.unwrap();
    let queued = child.submit("later").await.unwrap();
    let waiting = {
        let child = child.clone();
        let queued = queued.submission.clone();
        tokio::spawn(async move { child.outcome(&queued).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = child.view();
    assert_eq!((before.parent, before.depth), (Some(parent.id()), 1));

    let report = closes(&world, &parent).await;
    assert_eq!(report.completed, sorted(&[&parent, &other]));
    assert_eq!(report.detached, [child.id()]);
    assert_eq!(report.threads.len(), 2, "what goes on was not closed");
    assert_eq!(stored_parent(&world, child.id()).await, None, "durable when it is reported");
    assert_eq!(world.subtree(parent.id()).await.unwrap(), [parent.id(), other.id()]);

    let after = child.view();
    assert_eq!((after.parent, after.depth), (None, 0));
    assert_eq!((after.epoch, after.turn), (before.epoch, before.turn), "the same life and turn");
    assert_eq!((&after.path, &after.nickname), (&before.path, &before.nickname));
    assert_eq!((below.view().parent, below.view().depth), (Some(child.id()), 1));
    assert_eq!(child.outcome(&running.submission).await.unwrap().message(), Some("worked"));
    assert_eq!(waiting.await.unwrap().unwrap().message(), Some("later"));
    assert_eq!(world.get(child.id()).unwrap().run("more").await.unwrap().message(), Some("more"));

    // Its tree is one: names are found in it, limits and closes are its own.
    let agents = world.agents(child.id(), None).await.unwrap();
    assert_eq!(agents.len(), 2);
    let path = below.view().path.unwrap();
    assert_eq!(world.resolve(child.id(), path.as_str()).await.unwrap(), below.id());
    let grown = world.spawn(closing(&child).with_name("grown")).await.unwrap();
    assert_eq!(grown.view().path.unwrap().as_str(), "/root/child/grown");
    let report = closes(&world, &child).await;
    assert_eq!(report.completed, sorted(&[&child, &below, &grown]));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_edge_anywhere_below_what_closes_parts_its_branch_from_it() {
    let world = world().await;
    let top = root(&world).await;
    let middle = world.spawn(closing(&top)).await.unwrap();
    let side = world.spawn(closing(&top)).await.unwrap();
    let parted = world.spawn(detaching(&middle)).await.unwrap();
    let below = world.spawn(closing(&parted)).await.unwrap();
    let nested = world.spawn(detaching(&below)).await.unwrap();
    let mut tap = runtime_facts(&world, TapFilter::all());
    let report = closes(&world, &top).await;
    assert_eq!(report.completed, sorted(&[&top, &middle, &side]));
    assert_eq!(report.detached, [parted.id()], "the topmost edge of a branch parts it");
    assert_eq!(adoptions(&mut tap), [(parted.id(), Some(middle.id()), None)]);
    drop(tap);
    assert_eq!(nested.view().parent, Some(below.id()), "inside it nothing changes");
    assert_eq!(nested.view().depth, 2);
    // Closing inside goes on as ever, and that inner edge counts then.
    let report = closes(&world, &below).await;
    assert_eq!((report.completed, report.detached), (vec![below.id()], vec![nested.id()]));
    assert_eq!(nested.run("hello").await.unwrap().message(), Some("hello"));
    // The thread that is closed itself is closed, whatever its own edge says.
    let report = closes(&world, &parted).await;
    assert_eq!((report.completed, report.detached), (vec![parted.id()], vec![]));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_crashes_is_parked_or_sleeps_keeps_what_could_go_on_without_it() {
    let world = world().await;
    let parent = root(&world).await;
    let child = world.spawn(detaching(&parent)).await.unwrap();
    let epoch = child.view().epoch;
    parent.panic_for_test();
    tokio::time::sleep(BUDGET).await;
    assert!(child.view().epoch > epoch, "it went down and came back with its parent");
    assert_eq!(child.view().parent, Some(parent.id()));
    parent.run("panic").await.unwrap();
    parent.park().await.unwrap();
    assert_eq!(child.view().parent, Some(parent.id()));
    parent.revive().await.unwrap();
    child.hibernate().await.unwrap();
    parent.hibernate().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(stored_parent(&world, child.id()).await, Some(parent.id()));
    assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"));
    assert_eq!(child.view().parent, Some(parent.id()));
    // Closing everything closes it too, in its place.
    let report = world.end().await;
    assert_eq!(report.completed, sorted(&[&parent, &child]));
    assert_eq!(report.detached, []);
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_in_whatever_phase_it_is() {
    let world = world().await;
    let parent = root(&world).await;
    let spawn = async || world.spawn(detaching(&parent)).await.unwrap();
    let pausing = spawn().await;
    pausing.run("panic").await.unwrap();
    let crashed = spawn().await;
    crashed.panic_for_test();
    let parked = spawn().await;
    parked.park().await.unwrap();
    let dormant = spawn().await;
    dormant.hibernate().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let phases = [&pausing, &crashed, &parked, &dormant].map(|thread| thread.view().phase);
    assert_eq!(phases, [Phase::Backoff, Phase::Backoff, Phase::Parked, Phase::Dormant]);
    let report = closes(&world, &parent).await;
    assert_eq!(report.detached, sorted(&[&pausing, &crashed, &parked, &dormant]));
    assert_eq!(parked.status(), ThreadStatus::Parked);
    parked.revive().await.unwrap();
    for thread in [&pausing, &crashed, &parked, &dormant] {
        assert_eq!(thread.run("hello").await.unwrap().message(), Some("hello"));
        assert_eq!((thread.view().parent, thread.view().depth), (None, 0));
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_down_with_a_parent_that_is_closed_then_comes_back_without_it() {
    let world = world().await;
    let slow = RestartPolicy::default().with_backoff(coppicer::Backoff {
        initial: Duration::from_secs(60),
        factor: 1.0,
        max: Duration::from_secs(60),
        jitter: 0.0,
    });
    let config = ThreadConfig::default().with_restart(slow);
    let parent = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    let child = world.spawn(detaching(&parent)).await.unwrap();
    let waits = child.submit("work").await.unwrap();
    parent.panic_for_test();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(child.view().phase, Phase::Backoff);
    let report = closes(&world, &parent).await;
    assert_eq!(report.detached, [child.id()]);
    let outcome = child.outcome(&waits.submission).await.unwrap();
    assert_eq!(outcome, Outcome::Interrupted, "its turn went down with its actor");
    assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"));
    assert!(child.view().parent.is_none());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_however_its_parent_comes_to_be_closed() {
    // By itself.
    let world = world().await;
    let parent = root(&world).await;
    let child = world.spawn(detaching(&parent)).await.unwrap();
    parent.submit(Op::Close).await.unwrap();
    until(|| world.get(parent.id()).is_none()).await;
    assert_eq!(child.run("a").await.unwrap().message(), Some("a"));
    // With its significant child.
    let mut children = Children::default();
    children.auto_shutdown = AutoShutdown::Any;
    let config = ThreadConfig::default().with_children(children);
    let parent = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    let config = ThreadConfig::default().significant();
    let significant = world.spawn(closing(&parent).with_config(config)).await.unwrap();
    let child = world.spawn(detaching(&parent)).await.unwrap();
    significant.submit(Op::Close).await.unwrap();
    until(|| world.get(parent.id()).is_none()).await;
    assert_eq!(child.run("b").await.unwrap().message(), Some("b"));
    // By its restart policy.
    let once = RestartPolicy::default().with_limit(0, Duration::from_secs(60));
    let config = ThreadConfig::default().with_restart(once.with_on_spent(OnSpent::Close));
    let parent = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    let child = world.spawn(detaching(&parent)).await.unwrap();
    parent.panic_for_test();
    until(|| world.get(parent.id()).is_none()).await;
    assert_eq!(child.run("c").await.unwrap().message(), Some("c"));
    // Before it is deleted, and before it is archived.
    for delete in [true, false] {
        let parent = root(&world).await;
        let child = world.spawn(detaching(&parent)).await.unwrap();
        if delete {
            assert_eq!(world.delete(parent.id(), BUDGET).await.unwrap(), 1);
        } else {
            world.archive(parent.id(), BUDGET).await.unwrap();
        }
        assert_eq!(child.run("d").await.unwrap().message(), Some("d"));
        assert_eq!(stored_parent(&world, child.id()).await, None);
    }
    world.end().await;
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("it did not come to it");
}

fn forgetful() -> Limits {
    let mut limits = Limits::default();
    limits.idle_after = Duration::from_secs(60);
    limits
}

#[tokio::test(start_paused = true)]
async fn what_sleeps_in_the_store_alone_goes_on_too_also_by_the_next_host() {
    let world = World::with_limits(engine(), forgetful()).await;
    let top = root(&world).await;
    let middle = world.spawn(closing(&top)).await.unwrap();
    let child = world.spawn(detaching(&middle).with_name("poet")).await.unwrap();
    let below = world.spawn(closing(&child)).await.unwrap();
    let stays = world.spawn(closing(&middle)).await.unwrap();
    child.run("hello").await.unwrap();
    let ids = [&top, &middle, &child, &below, &stays].map(ThreadHandle::id);
    drop((top, middle, child, below, stays));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.list().is_empty(), "all of them have left memory: {:?}", world.list());
    let [top, middle, child, below, stays] = ids;

    let mut tap = runtime_facts(&world, TapFilter::subtree(middle));
    let report = world.close(top, BUDGET).await.unwrap();
    assert_eq!((report.completed, report.detached), (vec![top], vec![child]));
    assert_eq!(adoptions(&mut tap), [(child, Some(middle), None)]);
    drop(tap);
    assert_eq!(stored_parent(&world, child).await, None);
    assert!(matches!(world.submit(stays, "hello").await, Err(SubmitError::Closed { .. })));
    let store = world.store.clone();
    world.end().await;

    let world = World::on(store, engine(), forgetful()).await;
    let resumed = world.resume_tree(top).await.unwrap();
    let back: Vec<ThreadId> = resumed.below.iter().map(ThreadHandle::id).collect();
    assert_eq!(back, [middle, stays], "what had gone on does not come back with it");
    assert!(resumed.failed.is_empty());
    let below_it = world.resume_tree(child).await.unwrap();
    assert_eq!(below_it.below.iter().map(ThreadHandle::id).collect::<Vec<_>>(), [below]);
    let view = below_it.thread.view();
    assert_eq!((view.parent, view.depth), (None, 0));
    assert_eq!(view.path.unwrap().as_str(), "/root/poet");
    assert_eq!(below_it.below[0].view().depth, 1);
    drop((resumed, below_it));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_awake_below_one_that_sleeps_and_goes_on_goes_on_with_it() {
    let world = World::with_limits(engine(), forgetful()).await;
    let top = root(&world).await;
    let middle = world.spawn(detaching(&top)).await.unwrap();
    let leaf = world.spawn(closing(&middle)).await.unwrap();
    let (middle, leaf) = {
        let ids = (middle.id(), leaf.id());
        drop((middle, leaf));
        ids
    };
    tokio::time::sleep(Duration::from_secs(600)).await;
    let leaf = world.resume(leaf).await.unwrap();
    assert!(world.list().iter().all(|view| view.thread != middle), "that one is not in memory");
    assert_eq!(leaf.view().depth, 2);
    let running = leaf.submit("work").await.unwrap();
    let mut tap = runtime_facts(&world, TapFilter::all());
    let report = closes(&world, &top).await;
    assert_eq!((report.completed, report.detached), (vec![top.id()], vec![middle]));
    assert_eq!(adoptions(&mut tap), [(middle, Some(top.id()), None)]);
    drop(tap);
    assert_eq!(leaf.outcome(&running.submission).await.unwrap().message(), Some("worked"));
    assert_eq!((leaf.view().parent, leaf.view().depth), (Some(middle), 1));
    let facts = world.tap(TapOptions::matching(TapFilter::subtree(middle))).unwrap();
    leaf.run("hello").await.unwrap();
    assert!(facts.counts().emitted > facts.counts().filtered, "its facts are of that tree");
    drop((facts, leaf));
    world.end().await;
}

fn down() -> StoreError {
    StoreError::Unavailable { reason: "the disk is full".into() }
}

#[tokio::test(start_paused = true)]
async fn p5_a_store_that_cannot_write_that_it_goes_on_is_asked_until_it_can() {
    let world = world().await;
    let parent = root(&world).await;
    let child = world.spawn(detaching(&parent)).await.unwrap();
    for _ in 0..3 {
        world.store.fail_next(StoreOp::PutEdge, down());
    }
    let report = world.close(parent.id(), BUDGET).await.unwrap();
    assert_eq!(report.detached, [child.id()]);
    let row = report.threads.iter().find(|row| row.thread == parent.id()).unwrap();
    let left = row.left.as_deref().unwrap();
    assert!(left.contains("goes on is not durable yet"), "{left}");
    assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"));
    assert_eq!(stored_parent(&world, child.id()).await, Some(parent.id()), "not yet");
    let id = child.id();
    drop(child);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stored_parent(&world, id).await, None);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p5_a_store_that_hangs_over_it_delays_no_report_and_nobody_who_goes_on() {
    for held in [StoreOp::PutEdge, StoreOp::Detaching] {
        let world = world().await;
        let parent = root(&world).await;
        let child = world.spawn(detaching(&parent)).await.unwrap();
        let other = world.spawn(closing(&parent)).await.unwrap();
        world.store.hold(held);
        let budget = Duration::from_millis(400);
        let since = Instant::now();
        let report = world.close(parent.id(), budget).await.unwrap();
        assert!(since.elapsed() <= budget, "{held:?}");
        let rows: Vec<ThreadId> = report.threads.iter().map(|row| row.thread).collect();
        assert_eq!(rows, sorted(&[&parent, &other]), "{held:?}");
        assert_eq!(report.timed_out, [parent.id()], "what is not known of it is said: {report:?}");
        assert!(report.completed.contains(&other.id()), "{held:?}: {report:?}");
        assert_eq!(report.detached, [child.id()]);
        assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"));
        world.store.release(held);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(stored_parent(&world, child.id()).await, None);
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn p12_ends_are_told_to_the_parent_that_it_has_then_and_to_nobody_after_it() {
    let world = world().await;
    let top = root(&world).await;
    let parent = world.spawn(closing(&top)).await.unwrap();
    let child = world.spawn(detaching(&parent)).await.unwrap();
    child.run("one").await.unwrap();
    assert_eq!(mail(&world.store, parent.id()).await, 1);
    closes(&world, &parent).await;
    child.run("two").await.unwrap();
    closes(&world, &child).await;
    assert_eq!(mail(&world.store, parent.id()).await, 1);
    assert_eq!(mail(&world.store, top.id()).await, 1, "of its own child alone");
    world.end().await;
}

async fn mail(store: &FaultyStore, thread: ThreadId) -> usize {
    use coppicer::ThreadStore;
    let (done, mail) = coppicer::Done::channel();
    store.mail(thread, done);
    mail.await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn an_edge_goes_on_to_say_so_after_the_thread_was_closed_and_resumed() {
    let world = world().await;
    let parent = root(&world).await;
    let child = world.spawn(detaching(&parent)).await.unwrap();
    closes(&world, &child).await;
    assert_eq!(
        world.stored(child.id()).await.unwrap().parent,
        Some((parent.id(), EdgeStatus::Closed))
    );
    let report = closes(&world, &parent).await;
    assert_eq!(report.detached, [], "what is closed stays where it is");
    world.resume(parent.id()).await.unwrap();
    let child = world.resume(child.id()).await.unwrap();
    assert_eq!(child.view().parent, Some(parent.id()));
    let report = world.close(parent.id(), BUDGET).await.unwrap();
    assert_eq!(report.detached, [child.id()]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_no_reason_to_detach_what_was_limited_stays_limited() {
    let world = world().await;
    let tokens = |n| ThreadConfig::default().with_budget(Budget::new().with_tokens(n));
    let parent = world.spawn(SpawnThread::new().with_config(tokens(100))).await.unwrap();
    let refused = world.spawn(detaching(&parent)).await.unwrap_err();
    assert!(matches!(refused, SpawnError::BadConfig { field: "parent_close", .. }), "{refused:?}");
    let child = world.spawn(closing(&parent).with_config(tokens(40).detached())).await.unwrap();
    let free = world.spawn(closing(&child)).await.unwrap();
    closes(&world, &parent).await;
    let ledger = async |thread| world.ledger(thread).await.unwrap().unwrap();
    let (of_child, of_parent) = (ledger(child.id()).await, ledger(parent.id()).await);
    assert_eq!(of_child.rest().tokens, Some(40), "it keeps what it was given");
    assert_eq!((of_parent.spent.tokens, of_parent.carved.tokens), (40, 0), "for good");
    assert_eq!(world.stored(parent.id()).await.unwrap().ledger, Some(of_parent));
    assert_eq!(world.budget_left(free.id()).tokens, Some(40), "and shares it as before");
    assert_eq!(world.audit().await.count(coppicer::LeaseKind::Budget), 0);
    // A root's budget is funded from nobody's.
    world.fund(child.id(), Budget::new().with_tokens(5)).await.unwrap();
    assert_eq!(ledger(child.id()).await.rest().tokens, Some(45));
    assert_eq!(world.stored(child.id()).await.unwrap().ledger, Some(ledger(child.id()).await));
    closes(&world, &child).await;
    let resumed = world.resume(parent.id()).await.unwrap();
    assert_eq!(ledger(parent.id()).await.rest().tokens, Some(60), "nothing came back of it");
    drop(resumed);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_it_allows_a_tree_counts_once_it_is_the_root() {
    let world = world().await;
    let parent = root(&world).await;
    let limits = TreeLimits::new().with_children_max(1).with_executing_max(1);
    let config = ThreadConfig::default().with_tree(limits).detached();
    let child = world.spawn(closing(&parent).with_config(config)).await.unwrap();
    let ones = [world.spawn(closing(&child)).await.unwrap(), {
        world.spawn(closing(&child)).await.unwrap()
    }];
    closes(&world, &parent).await;
    let refused = world.spawn(closing(&child)).await.unwrap_err();
    let SpawnError::Limit(reached) = refused else { panic!("{refused:?}") };
    assert_eq!((reached.limit, reached.value), ("children_max", 1));
    let since = Instant::now();
    let both = ones.each_ref().map(|thread| thread.run("work"));
    futures::future::try_join_all(both).await.unwrap();
    assert!(since.elapsed() >= Duration::from_secs(2), "one turn of the tree at a time");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_that_nobody_heard_of_is_taken_back_with_its_parent() {
    let world = world().await;
    let parent = root(&world).await;
    world.store.hold(StoreOp::Create);
    let request = detaching(&parent);
    let runtime = world.runtime().clone();
    let spawning = tokio::spawn(async move { runtime.spawn(request).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let closing = world.close(parent.id(), BUDGET);
    let releasing = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        world.store.release(StoreOp::Create);
    };
    let (report, ()) = tokio::join!(closing, releasing);
    assert_eq!(report.unwrap().detached, []);
    assert!(spawning.await.unwrap().is_err());
    assert_eq!(world.subtree(parent.id()).await.unwrap(), [parent.id()]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn those_who_watch_the_old_tree_hear_of_it_last_and_the_rest_follows_the_new_one() {
    let world = world().await;
    let top = root(&world).await;
    let parent = world.spawn(closing(&top)).await.unwrap();
    let child = world.spawn(detaching(&parent)).await.unwrap();
    let mut old = runtime_facts(&world, TapFilter::subtree(top.id()));
    let mut new = runtime_facts(&world, TapFilter::subtree(child.id()));
    closes(&world, &parent).await;
    let moved = [(child.id(), Some(parent.id()), None)];
    assert_eq!(adoptions(&mut old), moved);
    assert_eq!(adoptions(&mut new), moved);
    child.panic_for_test();
    tokio::time::sleep(BUDGET).await;
    child.run("hello").await.unwrap();
    assert_eq!(old.try_next(), None, "its crash is not of that tree");
    assert!(new.try_next().is_some());
    drop((old, new));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_patch_says_whether_a_thread_goes_on_also_of_one_that_sleeps_in_the_store() {
    let world = World::with_limits(engine(), forgetful()).await;
    let parent = root(&world).await;
    let child = world.spawn(closing(&parent)).await.unwrap();
    let sleeper = world.spawn(closing(&parent)).await.unwrap().id();
    let back = world.spawn(detaching(&parent)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.get(sleeper).is_none());
    let goes_on =
        ThreadPatch { parent_close: Change::Set(ParentClose::Detach), ..ThreadPatch::default() };
    for thread in [child.id(), sleeper] {
        let stored = world.patch(thread, goes_on.clone()).await.unwrap();
        assert_eq!(stored.config.parent_close, ParentClose::Detach);
    }
    let cleared = ThreadPatch { parent_close: Change::Clear, ..ThreadPatch::default() };
    world.patch(back.id(), cleared).await.unwrap();
    let mut expected = [child.id(), sleeper];
    expected.sort_unstable();
    let report = closes(&world, &parent).await;
    assert_eq!(report.detached, expected);
    assert!(world.get(back.id()).is_none());
    // As at a spawn: what is limited by others does not go on without them.
    let tokens = ThreadConfig::default().with_budget(Budget::new().with_tokens(10));
    let parent = world.spawn(SpawnThread::new().with_config(tokens)).await.unwrap();
    let child = world.spawn(closing(&parent)).await.unwrap();
    let refused = world.patch(child.id(), goes_on).await.unwrap_err();
    assert!(matches!(refused, PatchError::BadConfig { field: "parent_close", .. }), "{refused:?}");
    world.end().await;
}

// store  |■■ what goes on? held ■■■■■■■■■■■■■■
// close  |── a quarter of 4 s ──| told to end
#[tokio::test(start_paused = true)]
async fn nobody_is_told_to_end_before_the_store_has_said_what_goes_on_or_took_too_long() {
    let world = world().await;
    let top = root(&world).await;
    top.run("hello").await.unwrap();
    world.store.hold(StoreOp::Detaching);
    let view = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(top.view().phase, Phase::Idle, "a quarter is not over");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(top.view().phase, Phase::Stopped);
        world.store.release(StoreOp::Detaching);
    };
    let (report, ()) = tokio::join!(top.close(Duration::from_secs(4)), view);
    let report = report.unwrap();
    assert_eq!(report.completed, [top.id()], "{report:?}");
    world.end().await;
}
