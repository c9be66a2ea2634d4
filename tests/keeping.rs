//! Threads as the store keeps them: archived, patched, deleted; forked and resumed from there.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentPath, Archived, Change, DeleteError, EdgeStatus, EventKind, Fact, ForkPoint, LeaseKind,
    Limits, Outcome, PatchError, RestartPolicy, RuntimeEvent, Script, ScriptedEngine, SpawnThread,
    Step, StoreError, SubmitError, TapFilter, TapOptions, ThreadConfig, ThreadHandle, ThreadId,
    ThreadPatch, ThreadQuery, ThreadStatus,
};
use tokio::time::Instant;

const IDLE: Duration = Duration::from_secs(60);

async fn world() -> World {
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        "ignore" => Script::new().then(Step::IgnoreCancel(Duration::from_secs(3_600))),
        "panic" => Script::new().panic("boom"),
        text => Script::new().say(text),
    });
    let mut limits = Limits::default();
    limits.idle_after = IDLE;
    World::with_limits(engine, limits).await
}

async fn spawn(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.unwrap()
}

fn below(parent: &ThreadHandle, name: &str) -> SpawnThread {
    SpawnThread::new().with_parent(parent.id()).with_name(name)
}

fn path(path: &str) -> ThreadPatch {
    let path: AgentPath = path.parse().unwrap();
    ThreadPatch { path: Change::Set(path), ..ThreadPatch::default() }
}

async fn children(world: &World, parent: ThreadId) -> Vec<ThreadId> {
    world.store().children(parent, Some(EdgeStatus::Open)).await.unwrap()
}

/// REF 14.7 #45: archive removed a thread before it was shut down, and went on after a timeout under
/// a live writer.
#[tokio::test(start_paused = true)]
async fn weakness_45_an_archive_closes_first_within_its_budget_and_nothing_is_written_after_it() {
    let world = world().await;
    let thread = spawn(&world).await;
    let child = world.spawn(below(&thread, "worker")).await.unwrap();
    let running = thread.submit("ignore").await.unwrap();
    let below = child.submit("hang").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await; // virtual: into the turns
    let before = Instant::now();
    let stored = world.archive(thread.id(), Duration::from_secs(4)).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    assert!(stored.archived_ms.is_some());
    assert_eq!(stored.status, ThreadStatus::Shutdown, "it was closed before");
    assert_eq!(thread.outcome(&running.submission).await.unwrap(), Outcome::Interrupted);
    assert_eq!(child.outcome(&below.submission).await.unwrap(), Outcome::Interrupted);
    let head = stored.head;
    tokio::time::sleep(Duration::from_secs(7_200)).await; // virtual: the engine has come to its end
    assert_eq!(world.stored(thread.id()).await.unwrap().head, head);
    assert_eq!(world.get(thread.id()), None);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_archive_whose_thread_cannot_be_closed_in_time_fences_it_first() {
    let world = world().await;
    let thread = spawn(&world).await;
    thread.submit("hang").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await; // virtual: into the turn
    world.store.hold(StoreOp::Append);
    let before = Instant::now();
    let stored = world.archive(thread.id(), Duration::from_secs(2)).await.unwrap();
    assert!(before.elapsed() <= Duration::from_secs(2), "{:?}", before.elapsed());
    world.store.release(StoreOp::Append);
    tokio::time::sleep(Duration::from_secs(1)).await; // virtual: late writes are refused
    let now = world.stored(thread.id()).await.unwrap();
    assert_eq!((now.head, now.archived_ms), (stored.head, stored.archived_ms));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_archived_thread_belongs_to_its_tree_and_can_be_forked_resumed_and_taken_out() {
    let world = world().await;
    let parent = spawn(&world).await;
    let child = world.spawn(below(&parent, "worker")).await.unwrap();
    child.run("kept").await.unwrap();
    let kinds = TapFilter::thread(child.id()).kinds([EventKind::Runtime]);
    let mut tap = world.tap(TapOptions::matching(kinds)).unwrap();
    world.archive(child.id(), BUDGET).await.unwrap();
    let archived =
        World::event(&mut tap, |event| event.fact == Fact::Runtime(RuntimeEvent::ThreadArchived))
            .await;
    assert_eq!(archived.parent, Some(parent.id()));
    assert_eq!(archived.path, Some("/root/worker".parse().unwrap()));
    assert_eq!(children(&world, parent.id()).await, [child.id()], "its edge is open");
    let listed = |archived| {
        let world = &world;
        async move {
            let page = world.threads(ThreadQuery::all().archived(archived)).await.unwrap();
            page.threads.iter().map(|thread| thread.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(Archived::Only).await, [child.id()]);
    assert_eq!(listed(Archived::No).await, [parent.id()]);
    let closed = SubmitError::Closed { thread: child.id() };
    assert_eq!(world.submit(child.id(), "x").await.unwrap_err(), closed);

    let fork = world.fork(child.id(), ForkPoint::LastStable).await.unwrap();
    assert_eq!(fork.run("in the fork").await.unwrap().message(), Some("in the fork"));
    let tree = world.resume_tree(parent.id()).await.unwrap();
    assert_eq!(tree.below.iter().map(ThreadHandle::id).collect::<Vec<_>>(), [child.id()]);
    assert_eq!(tree.below[0].run("on").await.unwrap().message(), Some("on"));
    assert!(world.stored(child.id()).await.unwrap().archived_ms.is_some(), "still in it");
    let stored = world.unarchive(child.id()).await.unwrap();
    assert_eq!(stored.archived_ms, None);
    World::event(&mut tap, |event| event.fact == Fact::Runtime(RuntimeEvent::ThreadUnarchived))
        .await;
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn dormant_and_parked_threads_can_be_forked() {
    let world = world().await;
    let dormant = spawn(&world).await;
    dormant.run("one").await.unwrap();
    let dormant = { dormant }.id();
    tokio::time::sleep(IDLE * 2).await; // virtual
    assert_eq!(world.get(dormant), None);
    let policy = RestartPolicy::default().with_limit(0, IDLE);
    let strict = ThreadConfig::default().with_restart(policy);
    let parked = world.spawn(SpawnThread::new().with_config(strict)).await.unwrap();
    parked.run("panic").await.unwrap();
    assert_eq!(parked.status(), ThreadStatus::Parked);
    for source in [dormant, parked.id()] {
        let fork = world.fork(source, ForkPoint::LastStable).await.unwrap();
        assert_eq!(fork.run("on").await.unwrap().message(), Some("on"));
        assert_eq!(fork.view().forked_from, Some(source));
    }
    assert_eq!(world.get(dormant), None, "its source was not loaded");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_patch_shows_at_once_in_a_live_thread_and_is_kept() {
    let world = world().await;
    let parent = spawn(&world).await;
    let child = world.spawn(below(&parent, "worker")).await.unwrap();
    let mut tap =
        world.tap(TapOptions::matching(TapFilter::all().kinds([EventKind::Runtime]))).unwrap();
    let mut patch = path("/root/scout").with_name("mine");
    patch.nickname = Change::Set("Atlas".into());
    patch.role = Change::Set("explorer".into());
    let stored = world.patch(child.id(), patch).await.unwrap();
    assert_eq!(stored.details.name.as_deref(), Some("mine"));
    assert_eq!(stored.config.role.as_deref(), Some("explorer"));
    let view = child.view();
    assert_eq!(view.nickname.as_deref(), Some("Atlas"));
    assert_eq!(view.role.as_deref(), Some("explorer"));
    assert_eq!(view.path, Some("/root/scout".parse().unwrap()));
    let patched =
        World::event(&mut tap, |event| event.fact == Fact::Runtime(RuntimeEvent::ThreadPatched));
    assert_eq!(patched.await.thread, Some(child.id()));
    // Children of it are named below its new path.
    let grandchild = world.spawn(below(&child, "helper")).await.unwrap();
    assert_eq!(grandchild.view().path, Some("/root/scout/helper".parse().unwrap()));
    let clear = ThreadPatch { nickname: Change::Clear, ..ThreadPatch::default() };
    world.patch(child.id(), clear).await.unwrap();
    assert_eq!(child.view().nickname, None);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_path_is_taken_once_in_a_tree_also_by_threads_that_are_not_here() {
    let world = world().await;
    let parent = spawn(&world).await;
    let one = world.spawn(below(&parent, "one")).await.unwrap();
    let two = world.spawn(below(&parent, "two")).await.unwrap();
    let taken = |path: &str| PatchError::PathTaken { path: path.into() };
    assert_eq!(world.patch(two.id(), path("/root/one")).await.unwrap_err(), taken("/root/one"));
    assert_eq!(two.view().path, Some("/root/two".parse().unwrap()), "nothing changed");
    // Two at once: one of them has it.
    let (first, second) = tokio::join!(
        world.patch(one.id(), path("/root/three")),
        world.patch(two.id(), path("/root/three")),
    );
    assert!(first.is_ok());
    assert_eq!(second.unwrap_err(), taken("/root/three"));
    // In another tree it is free.
    let other = spawn(&world).await;
    world.patch(other.id(), path("/root/three")).await.unwrap();
    // A whole tree that is not in memory keeps its names too.
    let (parent, one, two) = ({ parent }.id(), { one }.id(), { two }.id());
    tokio::time::sleep(IDLE * 5).await; // virtual
    assert!([parent, one, two].iter().all(|&thread| world.get(thread).is_none()));
    assert_eq!(world.patch(two, path("/root/three")).await.unwrap_err(), taken("/root/three"));
    world.patch(two, path("/root/two")).await.unwrap();
    world.patch(one, path("/root/four")).await.unwrap();
    assert_eq!(world.stored(one).await.unwrap().path, Some("/root/four".parse().unwrap()));
    assert_eq!(world.get(one), None, "no thread is loaded for it");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_the_store_refuses_changes_nothing() {
    let world = world().await;
    let thread = spawn(&world).await;
    let long = ThreadPatch { nickname: Change::Set("x".repeat(5_000)), ..path("/root/long") };
    let refused = world.patch(thread.id(), long).await.unwrap_err();
    assert!(matches!(refused, PatchError::Store(StoreError::TooLarge { .. })), "{refused:?}");
    assert_eq!((thread.view().path, thread.view().nickname), (None, None));
    world.spawn(below(&thread, "long")).await.unwrap();
    let nobody = ThreadId::from_parts(1, [1; 10]);
    let refused = world.patch(nobody, path("/root/x")).await.unwrap_err();
    assert_eq!(refused, PatchError::Store(StoreError::NotFound { thread: nobody }));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_thread_is_gone_with_all_below_it_and_forks_of_it_live_on() {
    let world = world().await;
    let parent = spawn(&world).await;
    let thread = world.spawn(below(&parent, "worker")).await.unwrap();
    let child = world.spawn(below(&thread, "helper")).await.unwrap();
    thread.run("one").await.unwrap();
    let fork = world.fork(thread.id(), ForkPoint::LastStable).await.unwrap();
    let running = child.submit("hang").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await; // virtual: into the turn
    let mut tap =
        world.tap(TapOptions::matching(TapFilter::all().kinds([EventKind::Runtime]))).unwrap();
    assert_eq!(world.delete(thread.id(), BUDGET).await.unwrap(), 2);
    let deleted = World::event(&mut tap, |event| {
        event.fact == Fact::Runtime(RuntimeEvent::ThreadDeleted { threads: 2 })
    });
    assert_eq!(deleted.await.thread, Some(thread.id()));
    assert!(child.outcome(&running.submission).await.is_err(), "nobody waits for ever");
    for id in [thread.id(), child.id()] {
        let missing = SubmitError::NotFound { thread: id };
        assert_eq!(world.submit(id, "x").await.unwrap_err(), missing);
        assert!(world.stored(id).await.is_err());
    }
    assert!(children(&world, parent.id()).await.is_empty());
    assert_eq!(fork.run("lives on").await.unwrap().message(), Some("lives on"));
    assert!(fork.history().await.unwrap().len() > 8, "with what it shared");
    // Its name is free, and who is above it hears of the close and goes on.
    world.spawn(below(&parent, "worker")).await.unwrap();
    assert_eq!(parent.run("on").await.unwrap().name(), "completed");
    let nobody = world.delete(thread.id(), BUDGET).await.unwrap_err();
    assert!(matches!(nobody, DeleteError::Close(_)), "{nobody:?}");
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dormant_thread_is_archived_and_deleted_without_staying_in_memory() {
    let world = world().await;
    let thread = spawn(&world).await;
    thread.run("one").await.unwrap();
    let thread = { thread }.id();
    tokio::time::sleep(IDLE * 2).await; // virtual
    let stored = world.archive(thread, BUDGET).await.unwrap();
    assert_eq!(stored.status, ThreadStatus::Shutdown);
    let again = world.archive(thread, BUDGET).await.unwrap();
    assert_eq!(again.archived_ms, stored.archived_ms, "twice is as good as once");
    assert_eq!(world.delete(thread, BUDGET).await.unwrap(), 1);
    assert_eq!(world.audit().await.count(LeaseKind::Slot), 0);
    world.end().await;
}

// closed by its deadline ──✗ the end was not durable … and then it was
#[tokio::test(start_paused = true)]
async fn who_hears_that_a_thread_is_closed_learns_of_an_outcome_that_the_store_has() {
    let world = world().await;
    let thread = spawn(&world).await;
    let running = thread.submit("hang").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await; // virtual: into the turn
    let id = thread.id();
    let waiting = {
        let (thread, submission) = (thread.clone(), running.submission.clone());
        tokio::spawn(async move { thread.outcome(&submission).await })
    };
    tokio::time::sleep(Duration::from_millis(1)).await; // virtual: it waits
    // The turn's end is durable, and its actor is killed before it can tell.
    let store = world.store.clone();
    let fence = {
        let (done, acquired) = coppicer::Done::channel();
        coppicer::ThreadStore::acquire(&store, id, done);
        acquired.await.unwrap()
    };
    let batch = coppicer::Batch {
        states: vec![(
            running.submission.clone(),
            coppicer::SubmissionState::Ended(Outcome::Interrupted),
        )],
        ..coppicer::Batch::default()
    };
    let (done, written) = coppicer::Done::channel();
    coppicer::ThreadStore::append(&store, fence.fence, fence.thread.head, batch, done);
    written.await.unwrap();
    drop(thread.close(Duration::from_millis(100)).await);
    assert_eq!(waiting.await.unwrap().unwrap(), Outcome::Interrupted);
    world.end().await;
}
