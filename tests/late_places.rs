//! A store that shows threads where they are not any more, since what moved them is not written yet:
//! nobody is renamed, and nobody is put back (P8). Each is a fault that a storm of moves found.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AdoptError, CloseReport, Done, Limits, ParentClose, Phase, Script, ScriptedEngine, SpawnThread,
    ThreadHandle, ThreadId, ThreadStore,
};

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| Script::new().say(input.text()))
}

/// Threads that nobody holds leave memory after ten seconds.
async fn world() -> World {
    let mut limits = Limits::default();
    limits.idle_after = Duration::from_secs(10);
    World::with_limits(engine(), limits).await
}

async fn root(world: &World, name: &str) -> ThreadHandle {
    world.spawn(SpawnThread::new().with_name(name)).await.unwrap()
}

async fn below(world: &World, parent: ThreadId, name: &str, policy: ParentClose) -> ThreadHandle {
    let request = SpawnThread::new().with_parent(parent).with_name(name);
    world.spawn(request.with_parent_close(policy)).await.unwrap()
}

/// Closes a thread while the store does not write where others go on.
async fn closed_meanwhile(world: &World, thread: ThreadId) -> CloseReport {
    world.close(thread, Duration::from_millis(200)).await.unwrap()
}

/// Where the store shows a thread: its parent and its path.
async fn shown(world: &World, thread: ThreadId) -> (Option<ThreadId>, String) {
    let stored = world.stored(thread).await.unwrap();
    (stored.parent.map(|(parent, _)| parent), stored.path.unwrap().to_string())
}

// store    |─ top ─ middle ─ deep ──────────────────────────|─ deep is a root ─
// here     |─ top ─ middle ✗   deep is a root               |
// adoption |                        top below other: refused|            moves
#[tokio::test(start_paused = true)]
async fn a_move_renames_nobody_whom_the_store_shows_in_a_branch_that_it_has_left() {
    let world = world().await;
    let (top, other) = (root(&world, "top").await, root(&world, "other").await);
    let middle = below(&world, top.id(), "middle", ParentClose::Close).await;
    let deep = below(&world, middle.id(), "deep", ParentClose::Detach).await;
    let leaf = below(&world, deep.id(), "leaf", ParentClose::Close).await;
    world.store.hold(StoreOp::PutEdge);
    assert_eq!(closed_meanwhile(&world, middle.id()).await.detached, [deep.id()]);
    let path = deep.view().path.unwrap().to_string();
    assert_eq!(shown(&world, deep.id()).await, (Some(middle.id()), path.clone()), "not written");

    let refused = world.adopt(top.id(), Some(other.id())).await.unwrap_err();
    assert_eq!(refused, AdoptError::Moving { thread: deep.id() });

    world.store.release(StoreOp::PutEdge);
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.adopt(top.id(), Some(other.id())).await.unwrap();
    assert_eq!(shown(&world, deep.id()).await, (None, path.clone()));
    assert_eq!(shown(&world, leaf.id()).await, (Some(deep.id()), format!("{path}/leaf")));
    assert_eq!(leaf.view().path.unwrap().to_string(), format!("{path}/leaf"));
    let moved = shown(&world, top.id()).await;
    assert_eq!(moved, (Some(other.id()), "/root/other/top".to_owned()));
    drop((top, other, middle, deep, leaf));
    world.end().await;
}

/// A thread that goes on from a close and sleeps in the store alone, where it is shown below what was
/// closed; below it is one that is awake. And one that could adopt it.
async fn goes_on_asleep(world: &World) -> (ThreadId, ThreadHandle, ThreadHandle) {
    let (top, other) = (root(world, "top").await, root(world, "other").await);
    let deep = below(world, top.id(), "deep", ParentClose::Detach).await.id();
    let leaf = below(world, deep, "leaf", ParentClose::Close).await.id();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let leaf = world.resume(leaf).await.unwrap();
    assert!(world.get(deep).is_none(), "it sleeps in the store alone");
    for op in [StoreOp::PutEdge, StoreOp::Detaching] {
        world.store.hold(op);
    }
    assert_eq!(closed_meanwhile(world, top.id()).await.detached, [deep]);
    assert_eq!(shown(world, deep).await.0, Some(top.id()), "not written");
    assert_eq!(leaf.view().depth, 1, "here it is a root, and that is below it");
    (deep, leaf, other)
}

async fn write(world: &World) {
    for op in [StoreOp::Detaching, StoreOp::PutEdge] {
        world.store.release(op);
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_adoption_does_not_put_a_sleeping_thread_back_that_goes_on_from_a_close() {
    let world = world().await;
    let (deep, leaf, other) = goes_on_asleep(&world).await;
    let refused = world.adopt(deep, Some(other.id())).await.unwrap_err();
    assert_eq!(refused, AdoptError::Moving { thread: deep });
    assert_eq!((leaf.view().parent, leaf.view().depth), (Some(deep), 1));
    write(&world).await;
    assert_eq!(shown(&world, deep).await.0, None);
    world.adopt(deep, Some(other.id())).await.unwrap();
    assert_eq!(shown(&world, deep).await, (Some(other.id()), "/root/other/deep".to_owned()));
    assert_eq!(leaf.view().depth, 2);
    drop((leaf, other));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_close_does_not_put_a_sleeping_thread_back_that_goes_on_from_a_close() {
    let world = world().await;
    let (deep, leaf, other) = goes_on_asleep(&world).await;
    let top = shown(&world, deep).await.0.unwrap();
    let closing = world.close(deep, BUDGET);
    let writing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let view = leaf.view();
        assert_eq!((view.depth, view.phase), (1, Phase::Idle), "it waits until that is known");
        let here = world.get(deep).and_then(|deep| deep.view().parent);
        assert_eq!(here, None, "nobody shows it below what it has left");
        write(&world).await;
    };
    let (report, ()) = tokio::join!(closing, writing);
    let report = report.unwrap();
    assert_eq!(report.completed, [deep, leaf.id()], "{report:?}");
    let (done, mail) = Done::channel();
    world.store.mail(top, done);
    assert_eq!(mail.await.unwrap().len(), 0, "a root has nobody whom it could tell (P12)");
    assert_eq!(shown(&world, deep).await.0, None, "it is closed where it is");
    let back = world.resume(deep).await.unwrap();
    assert_eq!((back.view().parent, back.view().depth), (None, 0));
    drop((leaf, other, back));
    world.end().await;
}

/// Found by seed 5418 of the model.
#[tokio::test(start_paused = true)]
async fn a_close_reports_by_its_deadline_that_the_store_may_show_a_thread_where_it_is_not() {
    let world = world().await;
    let top = root(&world, "top").await;
    let deep = below(&world, top.id(), "deep", ParentClose::Detach).await.id();
    let leaf = below(&world, deep, "leaf", ParentClose::Close).await.id();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.get(leaf).is_none(), "it sleeps in the store alone");
    world.store.hold(StoreOp::PutEdge);
    assert_eq!(closed_meanwhile(&world, top.id()).await.detached, [deep]);
    let since = tokio::time::Instant::now();
    let report = closed_meanwhile(&world, leaf).await;
    assert_eq!((&report.timed_out[..], &report.unknown[..]), (&[leaf][..], &[leaf][..]));
    assert!(since.elapsed() <= Duration::from_millis(200), "{:?}", since.elapsed());
    write(&world).await;
    let report = world.close(leaf, BUDGET).await.unwrap();
    assert_eq!((&report.completed[..], report.unknown.len()), (&[leaf][..], 0), "{report:?}");
    drop(top);
    world.end().await;
}
