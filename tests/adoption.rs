//! Adoption: a thread goes below another one with all that is below it, or becomes a root, and nothing
//! of it notices (P1, P4, P5, P6, P8, P10, P12).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::faulty::{FaultyStore, StoreOp};
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AdoptError, AutoShutdown, Budget, Children, Done, Event, EventKind, Fact, Limits, Outcome,
    ParentClose, Phase, RuntimeEvent, Script, ScriptedEngine, SpawnThread, Step, StoreError,
    Strategy, Tap, TapFilter, TapOptions, ThreadConfig, ThreadHandle, ThreadId, ThreadStatus,
    ThreadStore, Usage, Wait,
};
use tokio::time::Instant;

/// "work" takes a second; "panic" panics; "adopt T" adopts T; "wait T" waits for T; "use N" uses N
/// tokens; all else is said.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| {
        let text = input.text();
        match text.split_once(' ') {
            Some(("adopt", thread)) => Script::new().then(Step::Adopt(thread.parse().unwrap())),
            Some(("wait", thread)) => {
                let thread = thread.parse().unwrap();
                Script::new().then(Step::WaitFor(vec![thread], Wait::All, BUDGET)).say("waited")
            }
            Some(("use", tokens)) => {
                let output_tokens = tokens.parse().unwrap();
                Script::new().then(Step::Usage(Usage { output_tokens, ..Usage::default() }))
            }
            _ if text == "work" => Script::new().sleep(Duration::from_secs(1)).say("worked"),
            _ if text == "panic" => Script::new().panic("boom"),
            _ => Script::new().say(text),
        }
    })
}

async fn world() -> World {
    World::new(engine()).await
}

fn named(name: &str) -> SpawnThread {
    SpawnThread::new().with_name(name)
}

async fn root(world: &World, name: &str) -> ThreadHandle {
    world.spawn(named(name)).await.unwrap()
}

async fn below(world: &World, parent: &ThreadHandle, name: &str) -> ThreadHandle {
    world.spawn(named(name).with_parent(parent.id())).await.unwrap()
}

fn path(thread: &ThreadHandle) -> String {
    thread.view().path.unwrap().to_string()
}

async fn stored_path(world: &World, thread: ThreadId) -> String {
    world.stored(thread).await.unwrap().path.unwrap().to_string()
}

async fn stored_parent(world: &World, thread: ThreadId) -> Option<ThreadId> {
    world.stored(thread).await.unwrap().parent.map(|(parent, _)| parent)
}

async fn mail(store: &FaultyStore, thread: ThreadId) -> usize {
    let (done, mail) = Done::channel();
    store.mail(thread, done);
    mail.await.unwrap().len()
}

fn runtime_facts(world: &World, filter: TapFilter) -> Tap {
    world.tap(TapOptions::matching(filter.kinds([EventKind::Runtime]))).unwrap()
}

fn adoptions(tap: &mut Tap) -> Vec<(ThreadId, Option<ThreadId>, Option<ThreadId>, String)> {
    let events = std::iter::from_fn(|| tap.try_next());
    let adopted = |event: &Event| match &event.fact {
        Fact::Runtime(RuntimeEvent::ThreadAdopted { from, to, path }) => {
            let path = path.as_ref().map(ToString::to_string).unwrap_or_default();
            Some((event.thread.unwrap(), *from, *to, path))
        }
        _ => None,
    };
    events.filter_map(|item| item.event().and_then(adopted)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_orphan_goes_below_another_thread_and_back_while_it_works() {
    let world = world().await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let orphan = world
        .spawn(named("x").with_parent(old.id()).with_parent_close(ParentClose::Detach))
        .await
        .unwrap();
    let leaf = below(&world, &orphan, "leaf").await;
    let inner = below(&world, &new, "inner").await;
    world.close(old.id(), BUDGET).await.unwrap();
    assert_eq!(path(&orphan), "/root/old/x", "a root keeps the path that it had");
    let running = orphan.submit("work").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let before = orphan.view();

    let (mut of_it, mut of_new) = (
        runtime_facts(&world, TapFilter::subtree(orphan.id())),
        runtime_facts(&world, TapFilter::subtree(new.id())),
    );
    world.adopt(orphan.id(), Some(inner.id())).await.unwrap();
    let after = orphan.view();
    assert_eq!((after.parent, after.depth), (Some(inner.id()), 2));
    assert_eq!((after.epoch, &after.turn), (before.epoch, &before.turn));
    assert_eq!(
        (path(&orphan), path(&leaf)),
        ("/root/new/inner/x".into(), "/root/new/inner/x/leaf".into())
    );
    assert_eq!(leaf.view().depth, 3);
    for thread in [&orphan, &leaf] {
        assert_eq!(stored_path(&world, thread.id()).await, path(thread), "durable when answered");
    }
    assert_eq!(stored_parent(&world, orphan.id()).await, Some(inner.id()));
    let told = [(orphan.id(), None, Some(inner.id()), path(&orphan))];
    assert_eq!((&adoptions(&mut of_it)[..], &adoptions(&mut of_new)[..]), (&told[..], &told[..]));
    assert_eq!(orphan.outcome(&running.submission).await.unwrap().message(), Some("worked"));
    // P12: the end of a turn that began before is told to the parent that it has at its end.
    assert_eq!((mail(&world.store, inner.id()).await, mail(&world.store, old.id()).await), (1, 0));

    // By its path, in the tree, from the tree.
    let agents = world.agents(new.id(), None).await.unwrap();
    let names: Vec<String> = agents.iter().map(coppicer::AgentRow::name).collect();
    assert_eq!(
        names,
        ["/root/new", "/root/new/inner", "/root/new/inner/x", "/root/new/inner/x/leaf"]
    );
    assert_eq!(world.resolve(leaf.id(), "/root/new/inner/x").await.unwrap(), orphan.id());
    assert_eq!(world.resolve(orphan.id(), "leaf").await.unwrap(), leaf.id());
    assert!(world.resolve(orphan.id(), "/root/old/x").await.is_err());
    let why = world.why(orphan.id()).await.unwrap();
    assert!(format!("{why}").contains(&inner.id().to_string()), "{why}");

    // It is there already; and a root again.
    world.adopt(orphan.id(), Some(inner.id())).await.unwrap();
    assert_eq!(adoptions(&mut of_new), []);
    world.adopt(orphan.id(), None).await.unwrap();
    assert_eq!((orphan.view().parent, orphan.view().depth), (None, 0));
    assert_eq!(stored_parent(&world, orphan.id()).await, None);
    assert_eq!(adoptions(&mut of_new).len(), 1, "those who watched it there hear that it left");
    drop((of_it, of_new));
    let report = world.close(new.id(), BUDGET).await.unwrap();
    assert_eq!(report.completed.len(), 2);
    assert_eq!(leaf.run("hello").await.unwrap().message(), Some("hello"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn it_stands_and_falls_with_its_new_parent_and_not_with_its_old_one() {
    let world = world().await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let child = below(&world, &old, "x").await;
    world.adopt(child.id(), Some(new.id())).await.unwrap();
    let epoch = child.view().epoch;
    old.panic_for_test();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((child.view().epoch, child.view().phase), (epoch, Phase::Idle));
    world.close(old.id(), BUDGET).await.unwrap();
    assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"));
    new.panic_for_test();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(child.view().phase, Phase::Backoff, "it went down with it");
    assert_eq!(child.run("again").await.unwrap().message(), Some("again"));
    assert!(child.view().epoch > epoch);
    assert_eq!(child.view().parent, Some(new.id()));
    let report = world.close(new.id(), BUDGET).await.unwrap();
    assert_eq!(report.completed.len(), 2);
    assert!(world.get(child.id()).is_none());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_adopted_thread_is_the_last_of_its_siblings() {
    let world = world().await;
    let mut children = Children::default();
    (children.strategy, children.auto_shutdown) = (Strategy::RestForOne, AutoShutdown::Never);
    let config = ThreadConfig::default().with_children(children);
    let old = root(&world, "old").await;
    let adopted = below(&world, &old, "early").await;
    let new = world.spawn(named("new").with_config(config)).await.unwrap();
    let first = below(&world, &new, "first").await;
    let second = below(&world, &new, "second").await;
    world.adopt(adopted.id(), Some(new.id())).await.unwrap();
    let third = below(&world, &new, "third").await;
    let epochs = || [&first, &second, &adopted, &third].map(|thread| thread.view().epoch.0);
    second.panic_for_test();
    tokio::time::sleep(BUDGET).await;
    assert_eq!(epochs(), [1, 2, 2, 2]);
    adopted.panic_for_test();
    tokio::time::sleep(BUDGET).await;
    assert_eq!(epochs(), [1, 2, 3, 3], "those before it stay");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_adopted_in_whatever_phase_it_is() {
    let world = world().await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let pausing = below(&world, &old, "pausing").await;
    pausing.run("panic").await.unwrap();
    let crashed = below(&world, &old, "crashed").await;
    crashed.panic_for_test();
    let parked = below(&world, &old, "parked").await;
    parked.park().await.unwrap();
    let dormant = below(&world, &old, "dormant").await;
    dormant.hibernate().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let all = [&pausing, &crashed, &parked, &dormant];
    let phases = all.map(|thread| thread.view().phase);
    assert_eq!(phases, [Phase::Backoff, Phase::Backoff, Phase::Parked, Phase::Dormant]);
    for thread in all {
        world.adopt(thread.id(), Some(new.id())).await.unwrap();
        assert_eq!(thread.view().parent, Some(new.id()));
    }
    assert_eq!(dormant.view().phase, Phase::Dormant, "nobody was woken for it");
    world.close(old.id(), BUDGET).await.unwrap();
    parked.revive().await.unwrap();
    let told = mail(&world.store, new.id()).await;
    for thread in all {
        assert_eq!(thread.run("hello").await.unwrap().message(), Some("hello"));
        assert_eq!(thread.view().parent, Some(new.id()));
    }
    assert_eq!(mail(&world.store, new.id()).await, told + 4, "P12");
    // A parent that sleeps is woken, and a thread that is down with its parent comes back alone.
    new.hibernate().await.unwrap_err();
    let sleeper = root(&world, "sleeper").await;
    sleeper.hibernate().await.unwrap();
    world.adopt(new.id(), Some(sleeper.id())).await.unwrap();
    assert_eq!(path(&parked), "/root/sleeper/new/parked");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_down_with_its_parent_comes_back_in_its_new_place() {
    let world = world().await;
    let slow = coppicer::Backoff {
        initial: Duration::from_secs(60),
        factor: 1.0,
        max: Duration::from_secs(60),
        jitter: 0.0,
    };
    let config =
        ThreadConfig::default().with_restart(coppicer::RestartPolicy::default().with_backoff(slow));
    let old = world.spawn(named("old").with_config(config)).await.unwrap();
    let child = below(&world, &old, "x").await;
    let new = root(&world, "new").await;
    old.panic_for_test();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(child.view().phase, Phase::Backoff);
    world.adopt(child.id(), Some(new.id())).await.unwrap();
    assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"));
    assert_eq!((child.view().parent, old.view().phase), (Some(new.id()), Phase::Backoff));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn each_refusal_has_a_type_and_changes_nothing() {
    let mut limits = Limits::default();
    (limits.depth_max, limits.children_max, limits.tree_max) = (3, 2, 6);
    let world = World::with_limits(engine(), limits).await;
    let top = root(&world, "a").await;
    let mid = below(&world, &top, "b").await;
    let leaf = below(&world, &mid, "c").await;
    let x = root(&world, "x").await;
    let y = below(&world, &x, "y").await;
    let nobody = ThreadId::from_parts(1, [7; 10]);
    let adopt = async |thread: ThreadId, parent: ThreadId| {
        world.adopt(thread, Some(parent)).await.unwrap_err()
    };
    let limit = |error: AdoptError| match error {
        AdoptError::Limit(reached) => (reached.limit, reached.value),
        other => panic!("{other:?}"),
    };
    let (thread, parent) = (top.id(), leaf.id());
    assert_eq!(adopt(top.id(), leaf.id()).await, AdoptError::Cycle { thread, parent });
    assert_eq!(adopt(top.id(), top.id()).await, AdoptError::Cycle { thread, parent: top.id() });
    assert_eq!(adopt(nobody, top.id()).await, AdoptError::NotFound { thread: nobody });
    assert_eq!(adopt(x.id(), nobody).await, AdoptError::ParentGone { parent: nobody });
    assert_eq!(limit(adopt(x.id(), leaf.id()).await), ("depth_max", 3), "its child would be at 4");
    let low = below(&world, &top, "z").await;
    assert_eq!(limit(adopt(x.id(), top.id()).await), ("children_max", 2));
    let last = below(&world, &x, "w").await;
    assert_eq!(limit(adopt(x.id(), low.id()).await), ("tree_max", 6), "four and three");
    world.close(last.id(), BUDGET).await.unwrap();
    assert_eq!(adopt(last.id(), top.id()).await, AdoptError::Closed { thread: last.id() });
    world.close(low.id(), BUDGET).await.unwrap();
    assert_eq!(adopt(y.id(), low.id()).await, AdoptError::ParentGone { parent: low.id() });
    world.close(leaf.id(), BUDGET).await.unwrap();
    let other = below(&world, &mid, "x").await;
    let taken = adopt(x.id(), mid.id()).await;
    assert_eq!(taken, AdoptError::PathTaken { path: path(&other) });
    world.store.fail_next(StoreOp::PutEdge, StoreError::Unavailable { reason: "full".into() });
    let failed = adopt(y.id(), top.id()).await;
    assert!(matches!(failed, AdoptError::Store(StoreError::Unavailable { .. })), "{failed:?}");
    assert_eq!((y.view().parent, path(&y)), (Some(x.id()), "/root/x/y".into()));
    assert_eq!(stored_parent(&world, y.id()).await, Some(x.id()));
    world.adopt(y.id(), Some(top.id())).await.unwrap();
    assert_eq!(path(&y), "/root/a/y");
    let ended = {
        let runtime = world.runtime().clone();
        let (y, top) = (y.id(), top.id());
        world.end().await;
        runtime.adopt(y, Some(top)).await
    };
    assert!(ended.is_err());
}

#[tokio::test(start_paused = true)]
async fn names_that_are_taken_in_the_store_alone_are_taken() {
    let mut limits = Limits::default();
    limits.idle_after = Duration::from_secs(60);
    let world = World::with_limits(engine(), limits).await;
    let (a, x) = (root(&world, "a").await, root(&world, "x").await);
    let sleeper = below(&world, &a, "twin").await.id();
    let twin = below(&world, &x, "twin").await;
    let deep = below(&world, &twin, "deep").await.id();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.list().iter().all(|view| view.thread != sleeper && view.thread != deep));
    let taken = world.adopt(twin.id(), Some(a.id())).await.unwrap_err();
    assert_eq!(taken, AdoptError::PathTaken { path: "/root/a/twin".into() });
    // What sleeps below it goes along, with its name.
    let (b, top) = (root(&world, "b").await, twin.id());
    world.adopt(top, Some(b.id())).await.unwrap();
    assert_eq!(stored_path(&world, deep).await, "/root/b/twin/deep");
    assert_eq!(world.resolve(b.id(), "/root/b/twin/deep").await.unwrap(), deep);
    drop(twin);
    let woken = world.resume(deep).await.unwrap();
    assert_eq!((path(&woken), woken.view().depth), ("/root/b/twin/deep".into(), 2));
    drop(woken);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p8_what_sleeps_in_the_store_alone_is_moved_asleep_and_comes_back_there_in_the_next_host() {
    let mut limits = Limits::default();
    limits.idle_after = Duration::from_secs(60);
    let world = World::with_limits(engine(), limits.clone()).await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let child = below(&world, &old, "x").await;
    let leaf = below(&world, &child, "leaf").await;
    let ids = [old.id(), new.id(), child.id(), leaf.id()];
    drop((child, leaf));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let [old_id, new_id, child, leaf] = ids;
    let mut facts = runtime_facts(&world, TapFilter::subtree(old_id));
    world.adopt(child, Some(new_id)).await.unwrap();
    let told = [(child, Some(old_id), Some(new_id), "/root/new/x".to_owned())];
    assert_eq!(adoptions(&mut facts), told);
    drop(facts);
    assert!(world.get(child).is_none_or(|it| it.status() == ThreadStatus::Dormant));
    assert!(world.get(leaf).is_none());
    drop((old, new));
    let store = world.store.clone();
    world.end().await;

    let world = World::on(store, engine(), limits).await;
    let resumed = world.resume_tree(old_id).await.unwrap();
    assert_eq!(resumed.below.len(), 0);
    let resumed = world.resume_tree(new_id).await.unwrap();
    let views: Vec<(ThreadId, String, u32)> =
        resumed.below.iter().map(|it| (it.id(), path(it), it.view().depth)).collect();
    assert_eq!(views, [(child, "/root/new/x".into(), 1), (leaf, "/root/new/x/leaf".into(), 2)]);
    drop(resumed);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p8_what_does_not_come_back_below_an_adopted_thread_is_a_placeholder() {
    let world = world().await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let child = below(&world, &old, "x").await;
    let (first, second) = (below(&world, &child, "a").await, below(&world, &child, "b").await);
    world.adopt(child.id(), Some(new.id())).await.unwrap();
    let ids = [&new, &child, &first, &second].map(ThreadHandle::id);
    let store = world.store.clone();
    world.end().await;
    let world = World::on(store, engine(), Limits::default()).await;
    let [new, child, first, second] = ids;
    world.resume(new).await.unwrap();
    world.resume(child).await.unwrap();
    world.store.fail_next(StoreOp::Acquire, StoreError::Unavailable { reason: "torn".into() });
    let resumed = world.resume_tree(new).await.unwrap();
    let back: Vec<ThreadId> = resumed.below.iter().map(ThreadHandle::id).collect();
    let failed: Vec<ThreadId> = resumed.failed.iter().map(|(thread, _)| *thread).collect();
    assert_eq!((back, failed), (vec![child, second], vec![first]));
    drop(resumed);
    world.end().await;
}

/// Begins to adopt `thread`, and holds the store while it writes that.
async fn held_up(
    world: &World,
    thread: ThreadId,
    parent: Option<ThreadId>,
) -> tokio::task::JoinHandle<Result<(), AdoptError>> {
    world.store.hold(StoreOp::PutEdge);
    let runtime = world.runtime().clone();
    let adopting = tokio::spawn(async move { runtime.adopt(thread, parent).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    adopting
}

#[tokio::test(start_paused = true)]
async fn p5_a_close_that_comes_while_the_store_writes_it_wins() {
    // Of the thread itself.
    let world = world().await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let child = below(&world, &old, "x").await;
    let adopting = held_up(&world, child.id(), Some(new.id())).await;
    let runtime = world.runtime().clone();
    let thread = child.id();
    let closing = tokio::spawn(async move { runtime.close(thread, BUDGET).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.store.release(StoreOp::PutEdge);
    let refused = adopting.await.unwrap().unwrap_err();
    assert!(
        matches!(refused, AdoptError::Closing { .. } | AdoptError::Closed { .. }),
        "{refused:?}"
    );
    assert_eq!(closing.await.unwrap().unwrap().completed, [thread]);
    let parent = world.stored(thread).await.unwrap().parent;
    assert_eq!(parent, Some((old.id(), coppicer::EdgeStatus::Closed)), "where it was, and closed");
    assert_eq!(stored_path(&world, thread).await, "/root/old/x");

    // Of its new parent, or of one above that.
    let child = below(&world, &old, "y").await;
    let inner = below(&world, &new, "inner").await;
    let adopting = held_up(&world, child.id(), Some(inner.id())).await;
    let report = world.close(new.id(), Duration::from_millis(100)).await.unwrap();
    assert!(report.rung(child.id()).is_none(), "it was not there yet");
    world.store.release(StoreOp::PutEdge);
    let refused = adopting.await.unwrap().unwrap_err();
    let gone = [
        AdoptError::ParentGone { parent: inner.id() },
        AdoptError::Closing { thread: inner.id() },
        AdoptError::Closing { thread: new.id() },
    ];
    assert!(gone.contains(&refused), "{refused:?}");
    assert_eq!(child.view().parent, Some(old.id()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(stored_parent(&world, child.id()).await, Some(old.id()));
    assert_eq!(stored_path(&world, child.id()).await, "/root/old/y");
    assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"));

    // Of its old parent, whose close it outlives by its own edge.
    let new = root(&world, "new").await;
    let request = named("z").with_parent(old.id()).with_parent_close(ParentClose::Detach);
    let orphan = world.spawn(request).await.unwrap();
    let adopting = held_up(&world, orphan.id(), Some(new.id())).await;
    let report = world.close(old.id(), Duration::from_millis(100)).await.unwrap();
    assert_eq!(report.detached, [orphan.id()]);
    world.store.release(StoreOp::PutEdge);
    let thread = orphan.id();
    assert_eq!(adopting.await.unwrap().unwrap_err(), AdoptError::Moving { thread });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((orphan.view().parent, stored_parent(&world, thread).await), (None, None));
    assert_eq!(stored_path(&world, thread).await, "/root/old/z");
    world.adopt(thread, Some(new.id())).await.unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_move_that_the_store_hangs_over_is_answered_by_its_deadline() {
    let world = world().await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let child = below(&world, &old, "x").await;
    let since = Instant::now();
    let adopting = held_up(&world, child.id(), Some(new.id())).await;
    assert_eq!(adopting.await.unwrap(), Err(AdoptError::NoAnswer));
    assert!(since.elapsed() <= Limits::default().call_timeout + Duration::from_millis(1));
    assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"), "it is not disturbed");
    world.store.release(StoreOp::PutEdge);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(child.view().parent, Some(new.id()), "what was taken up goes on");
    assert_eq!(stored_parent(&world, child.id()).await, Some(new.id()));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn two_moves_at_once_make_no_cycle() {
    let world = world().await;
    let (a, b) = (root(&world, "a").await, root(&world, "b").await);
    let below_b = below(&world, &b, "c").await;
    let adopting = held_up(&world, a.id(), Some(below_b.id())).await;
    let refused = world.adopt(b.id(), Some(a.id())).await.unwrap_err();
    assert_eq!(refused, AdoptError::Moving { thread: a.id() });
    let again = world.adopt(a.id(), Some(b.id())).await.unwrap_err();
    assert_eq!(again, AdoptError::Moving { thread: a.id() });
    world.store.release(StoreOp::PutEdge);
    adopting.await.unwrap().unwrap();
    assert_eq!((a.view().parent, a.view().depth), (Some(below_b.id()), 2));
    let refused = world.adopt(b.id(), Some(a.id())).await.unwrap_err();
    assert_eq!(refused, AdoptError::Cycle { thread: b.id(), parent: a.id() });
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_spawned_below_it_while_the_store_writes_the_move_moves_along() {
    let world = world().await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let child = below(&world, &old, "x").await;
    let adopting = held_up(&world, child.id(), Some(new.id())).await;
    let late = below(&world, &child, "late").await;
    assert_eq!(path(&late), "/root/old/x/late");
    world.store.release(StoreOp::PutEdge);
    adopting.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((path(&late), late.view().depth), ("/root/new/x/late".into(), 2));
    assert_eq!(stored_path(&world, late.id()).await, "/root/new/x/late");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_adopts_an_orphan_and_nothing_that_has_a_parent() {
    let world = world().await;
    let (a, orphan) = (root(&world, "a").await, root(&world, "orphan").await);
    let theirs = below(&world, &orphan, "theirs").await;
    let said = async |thread: ThreadId| {
        let outcome = a.run(format!("adopt {thread}").as_str()).await.unwrap();
        outcome.message().unwrap().to_owned()
    };
    assert_eq!(
        said(theirs.id()).await,
        format!("thread {} has a parent, {}", theirs.id(), orphan.id())
    );
    assert_eq!(said(orphan.id()).await, "adopted");
    assert_eq!(
        (orphan.view().parent, path(&theirs)),
        (Some(a.id()), "/root/a/orphan/theirs".into())
    );
    assert_eq!(said(orphan.id()).await, "adopted", "it is there already");
    let own = said(a.id()).await;
    assert!(own.contains("cannot adopt"), "{own}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_it_hears_of_its_end_wherever_it_is() {
    let world = world().await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let child = below(&world, &old, "x").await;
    child.submit("work").await.unwrap();
    let waiting = old.submit(format!("wait {}", child.id()).as_str()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.adopt(child.id(), Some(new.id())).await.unwrap();
    let outcome = old.outcome(&waiting.submission).await.unwrap();
    assert_eq!(outcome.message(), Some("waited"));
    assert_eq!(child.status().name(), "completed");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_its_own_is_carved_from_its_new_parent_s() {
    let world = world().await;
    let tokens = |n| ThreadConfig::default().with_budget(Budget::new().with_tokens(n));
    let (old, new) = (
        world.spawn(named("old").with_config(tokens(100))).await.unwrap(),
        world.spawn(named("new").with_config(tokens(50))).await.unwrap(),
    );
    let child =
        world.spawn(named("x").with_parent(old.id()).with_config(tokens(60))).await.unwrap();
    let free = below(&world, &old, "free").await;
    let unlimited = root(&world, "unlimited").await;
    let limit = "budget.tokens";
    let thread = free.id();
    let refused = world.adopt(thread, None).await.unwrap_err();
    assert_eq!(refused, AdoptError::Budget { thread, limit }, "it draws on its parent's");
    let thread = unlimited.id();
    let refused = world.adopt(thread, Some(new.id())).await.unwrap_err();
    assert_eq!(refused, AdoptError::Budget { thread, limit }, "it would draw on the adopter's");
    let refused = world.adopt(child.id(), Some(new.id())).await.unwrap_err();
    assert!(matches!(&refused, AdoptError::Limit(reached) if reached.value == 50), "{refused:?}");
    let ledger = async |thread: &ThreadHandle| world.ledger(thread.id()).await.unwrap().unwrap();
    assert_eq!(ledger(&new).await.rest().tokens, Some(50), "a refusal sets nothing aside");

    child.run("use 20").await.unwrap();
    world.adopt(child.id(), Some(new.id())).await.unwrap();
    let rest = async || {
        let rows = [ledger(&old).await, ledger(&new).await, ledger(&child).await];
        rows.map(|ledger| ledger.rest().tokens.unwrap())
    };
    assert_eq!(rest().await, [40, 10, 40], "what was given away is, and what is left is carved");
    for thread in [&old, &new, &child] {
        let stored = world.stored(thread.id()).await.unwrap().ledger;
        assert_eq!(stored, Some(ledger(thread).await), "in the store as in memory");
    }
    assert_eq!(world.audit().await.count(coppicer::LeaseKind::Budget), 1);
    child.run("use 5").await.unwrap();
    world.close(child.id(), BUDGET).await.unwrap();
    assert_eq!(
        (ledger(&old).await.rest().tokens, ledger(&new).await.rest().tokens),
        (Some(40), Some(45))
    );
    // A move that does not come to be sets nothing aside either.
    let child =
        world.spawn(named("y").with_parent(old.id()).with_config(tokens(30))).await.unwrap();
    world.store.fail_next(StoreOp::PutEdge, StoreError::Unavailable { reason: "full".into() });
    world.adopt(child.id(), Some(new.id())).await.unwrap_err();
    assert_eq!(ledger(&new).await.rest().tokens, Some(45));
    let adopting = held_up(&world, child.id(), Some(new.id())).await;
    assert_eq!(ledger(&new).await.rest().tokens, Some(15), "while it is written");
    drop(world.close(child.id(), Duration::from_millis(100)).await.unwrap());
    world.store.release(StoreOp::PutEdge);
    adopting.await.unwrap().unwrap_err();
    tokio::time::sleep(Duration::from_millis(1)).await;
    for (thread, left) in [(&old, 40), (&new, 45)] {
        assert_eq!(ledger(thread).await.rest().tokens, Some(left));
        let stored = world.stored(thread.id()).await.unwrap().ledger;
        assert_eq!(stored, Some(ledger(thread).await));
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_closes_below_something_closed_is_saved_by_adoption() {
    let world = world().await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let child = below(&world, &old, "x").await;
    world.close(old.id(), BUDGET).await.unwrap();
    let refused = world.adopt(child.id(), Some(new.id())).await.unwrap_err();
    assert_eq!(refused, AdoptError::Closed { thread: child.id() });
    let child = world.resume(child.id()).await.unwrap();
    world.adopt(child.id(), Some(new.id())).await.unwrap();
    assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"));
    let id = child.id();
    drop(child);
    let resumed = world.resume_tree(new.id()).await.unwrap();
    assert_eq!(resumed.below.iter().map(ThreadHandle::id).collect::<Vec<_>>(), [id]);
    drop(resumed);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_dies_while_a_move_is_written_leaves_it_here_or_there() {
    let store = FaultyStore::new(std::sync::Arc::new(coppicer::MemoryStore::new()));
    let world = World::on(store.clone(), engine(), Limits::default()).await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let child = below(&world, &old, "x").await;
    let ids = [&old, &new, &child].map(ThreadHandle::id);
    let outcome = child.run("hello").await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }));
    let adopting = held_up(&world, child.id(), Some(new.id())).await;
    adopting.abort();
    // Another host takes over: the write of the first comes late.
    let [old, new, child_id] = ids;
    let second = World::on(store.clone(), engine(), Limits::default()).await;
    let resumed = second.resume_tree(old).await.unwrap();
    assert_eq!(resumed.below.len(), 1, "it was not written");
    drop(resumed);
    store.release(StoreOp::PutEdge);
    second.shutdown(BUDGET).await.unwrap();
    drop(second.audit().await);
    let parent = world.stored(child_id).await.unwrap().parent;
    assert_eq!(parent.map(|(parent, _)| parent), Some(new), "one of the two, whole");
    assert_eq!(stored_path(&world, child_id).await, "/root/new/x");
    drop(world.runtime().shutdown(BUDGET).await);
    world.until(coppicer::Audit::is_empty).await;
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn p12_one_that_was_on_its_way_back_tells_the_parent_that_it_has_then() {
    let world = world().await;
    let (old, new) = (root(&world, "old").await, root(&world, "new").await);
    let child = below(&world, &old, "x").await;
    child.submit("work").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    // It is acquired, and what its turn left is being read.
    world.store.hold(StoreOp::Read);
    child.panic_for_test();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(child.view().phase, Phase::Backoff);
    world.adopt(child.id(), Some(new.id())).await.unwrap();
    world.store.release(StoreOp::Read);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(child.status().name(), "interrupted");
    let told = (mail(&world.store, old.id()).await, mail(&world.store, new.id()).await);
    assert_eq!(told, (0, 1));
    world.end().await;
}
