//! What else happens while a thread moves, and what it finds where it is then.

use std::time::Duration;

use coppicer::faulty::{FaultyStore, StoreOp};
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AdoptError, Budget, Limits, Outcome, ParentClose, Phase, StoreError, ThreadConfig,
    ThreadHandle, ThreadId,
};
use tokio::time::Instant;

use super::{below, engine, mail, named, path, root, stored_parent, stored_path, world};

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
async fn a_move_of_a_host_that_died_is_not_written_once_another_has_taken_over() {
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
    let [old, _, child_id] = ids;
    let second = World::on(store.clone(), engine(), Limits::default()).await;
    let resumed = second.resume_tree(old).await.unwrap();
    assert_eq!(resumed.below.len(), 1, "it was not written");
    drop(resumed);
    store.release(StoreOp::PutEdge);
    second.shutdown(BUDGET).await.unwrap();
    drop(second.audit().await);
    let parent = world.stored(child_id).await.unwrap().parent;
    assert_eq!(parent.map(|(parent, _)| parent), Some(old), "the other host has it");
    assert_eq!(stored_path(&world, child_id).await, "/root/old/x");
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
