//! Where a thread goes, what goes with it, and what is refused.

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AdoptError, AutoShutdown, Children, Limits, ParentClose, Phase, StoreError, Strategy,
    TapFilter, ThreadConfig, ThreadHandle, ThreadId, ThreadStatus,
};

use super::{
    adoptions, below, engine, mail, named, path, root, runtime_facts, stored_parent, stored_path,
    world,
};

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
