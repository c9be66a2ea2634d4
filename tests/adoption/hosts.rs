//! Two hosts on one store: a thread is moved by the one that has it, and a move that another commands
//! takes it over.

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AdoptError, Budget, Limits, SpawnThread, StoreError, ThreadConfig, ThreadHandle, ThreadId,
};

use super::{engine, stored_parent, world};

/// A host, and another on its store.
async fn two() -> (World, World) {
    let first = world().await;
    let second = World::on(first.store.clone(), engine(), Limits::default()).await;
    (first, second)
}

async fn spawn(world: &World, above: Option<&ThreadHandle>, tokens: Option<u64>) -> ThreadHandle {
    let mut config = ThreadConfig::default().detached();
    config.budget = tokens.map(|tokens| Budget::new().with_tokens(tokens));
    let mut request = SpawnThread::new().with_config(config);
    request.parent = above.map(ThreadHandle::id);
    world.spawn(request).await.unwrap()
}

async fn carved(world: &World, thread: ThreadId) -> (i64, i64) {
    let ledger = world.stored(thread).await.unwrap().ledger.unwrap();
    (ledger.spent.tokens, ledger.carved.tokens)
}

#[tokio::test(start_paused = true)]
async fn p1_a_host_that_lost_a_thread_does_not_move_it() {
    let (first, second) = two().await;
    let top = spawn(&first, None, None).await;
    let other = spawn(&first, Some(&top), None).await;
    let child = spawn(&first, Some(&top), None).await;
    let there = second.resume(child.id()).await.unwrap();
    for to in [Some(other.id()), None] {
        let refused = first.adopt(child.id(), to).await.unwrap_err();
        assert!(matches!(refused, AdoptError::Store(StoreError::Fenced { .. })), "{refused:?}");
        assert_eq!(stored_parent(&first, child.id()).await, Some(top.id()));
    }
    assert!(there.run("work").await.is_ok(), "it goes on where it is");
    drop((top, other, child, there));
    second.end().await;
    first.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_close_that_lets_go_of_a_thread_which_runs_elsewhere_moves_nothing() {
    let (first, second) = two().await;
    let top = spawn(&first, None, Some(100)).await;
    let child = spawn(&first, Some(&top), Some(60)).await;
    let there = second.resume(child.id()).await.unwrap();
    top.close(BUDGET).await.unwrap();
    tokio::time::sleep(BUDGET).await;
    assert_eq!(
        stored_parent(&first, child.id()).await,
        Some(top.id()),
        "where it runs it is below it"
    );
    drop(first.close(child.id(), BUDGET).await);
    assert!(there.run("use 10").await.is_ok());
    there.close(BUDGET).await.unwrap();
    let (spent, carved) = carved(&first, top.id()).await;
    assert_eq!(spent + carved, 10, "it gave back what it had once: {spent} {carved}");
    drop((top, child, there));
    second.end().await;
    first.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_move_of_a_thread_that_runs_elsewhere_takes_it_over() {
    let (first, second) = two().await;
    let top = spawn(&first, None, None).await;
    let child = spawn(&first, Some(&top), None).await;
    second.adopt(child.id(), None).await.unwrap();
    assert_eq!(stored_parent(&first, child.id()).await, None);
    assert!(child.run("work").await.is_err(), "it can write nothing any more");
    assert!(first.get(child.id()).is_none(), "another runtime has it");
    let there = second.resume(child.id()).await.unwrap();
    assert!(there.run("work").await.is_ok());
    drop((top, child, there));
    second.end().await;
    first.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_close_takes_over_what_it_lets_go_of_and_has_no_actor_for() {
    let (first, second) = two().await;
    let top = spawn(&first, None, None).await;
    let child = spawn(&first, Some(&top), None).await;
    second.close(top.id(), BUDGET).await.unwrap();
    tokio::time::sleep(BUDGET).await;
    assert_eq!(stored_parent(&first, child.id()).await, None);
    assert!(child.run("work").await.is_err(), "another runtime has it");
    drop((top, child));
    second.end().await;
    first.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_was_moved_elsewhere_does_not_come_back_with_what_it_had_here() {
    let (first, second) = two().await;
    let top = spawn(&first, None, Some(100)).await;
    let child = spawn(&first, Some(&top), Some(60)).await;
    second.adopt(child.id(), None).await.unwrap();
    assert_eq!(carved(&first, top.id()).await, (60, 0), "given away for good");
    // Its actor here knows nothing of that; it crashes, and is to be restarted.
    child.panic_for_test();
    tokio::time::sleep(BUDGET).await;
    assert!(first.get(child.id()).is_none(), "another runtime had it");
    let id = top.id();
    drop((top, child));
    first.end().await;
    assert_eq!(carved(&second, id).await, (60, 0), "nothing of it came back");
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_move_that_is_owed_does_not_take_back_a_thread_that_was_lost_meanwhile() {
    let (first, second) = two().await;
    let top = spawn(&first, None, None).await;
    let child = spawn(&first, Some(&top), None).await;
    let there = second.resume(child.id()).await.unwrap();
    let full = StoreError::Unavailable { reason: "disk full".into() };
    first.store.fail_next(StoreOp::PutEdge, full);
    top.close(BUDGET).await.unwrap();
    assert!(child.run("left behind").await.is_err(), "another runtime has it");
    tokio::time::sleep(BUDGET).await;
    assert!(there.run("work").await.is_ok(), "it goes on where it is");
    assert_eq!(stored_parent(&first, child.id()).await, Some(top.id()));
    drop((top, child, there));
    second.end().await;
    first.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_move_on_its_way_does_not_take_back_a_thread_that_is_lost_meanwhile() {
    let (first, second) = two().await;
    let top = spawn(&first, None, Some(100)).await;
    let child = spawn(&first, Some(&top), Some(60)).await;
    let there = second.resume(child.id()).await.unwrap();
    first.store.hold(StoreOp::PutEdge);
    let lose = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(child.run("left behind").await.is_err(), "another runtime has it");
        first.store.release(StoreOp::PutEdge);
    };
    let (closed, ()) = tokio::join!(top.close(BUDGET), lose);
    closed.unwrap();
    tokio::time::sleep(BUDGET).await;
    assert!(there.run("use 10").await.is_ok(), "it goes on where it is");
    assert_eq!(stored_parent(&first, child.id()).await, Some(top.id()));
    drop((top, child, there));
    second.end().await;
    first.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_move_and_a_close_on_their_way_do_not_take_back_a_thread_that_is_lost_meanwhile() {
    let (first, second) = two().await;
    let top = spawn(&first, None, None).await;
    let other = spawn(&first, None, None).await;
    let child = spawn(&first, Some(&top), None).await;
    let there = second.resume(child.id()).await.unwrap();
    first.store.hold(StoreOp::PutEdge);
    let lose = async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(child.run("left behind").await.is_err(), "another runtime has it");
        first.store.release(StoreOp::PutEdge);
    };
    let close = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        top.close(BUDGET).await
    };
    let (moved, closed, ()) = tokio::join!(first.adopt(child.id(), Some(other.id())), close, lose);
    moved.unwrap_err();
    closed.unwrap();
    tokio::time::sleep(BUDGET).await;
    assert!(there.run("work").await.is_ok(), "it goes on where it is");
    assert_eq!(stored_parent(&first, child.id()).await, Some(top.id()));
    drop((top, other, child, there));
    second.end().await;
    first.end().await;
}

#[tokio::test(start_paused = true)]
async fn p3_what_another_host_had_accepted_is_done_by_who_took_it_over() {
    let (first, second) = two().await;
    let top = spawn(&first, None, None).await;
    let child = spawn(&first, Some(&top), None).await;
    second.adopt(child.id(), None).await.unwrap();
    let there = second.resume(child.id()).await.unwrap();
    let receipt = there.submit("work").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    child.panic_for_test();
    tokio::time::sleep(BUDGET).await;
    let here = first.get(child.id()).unwrap();
    let outcome = here.outcome(&receipt.submission).await.unwrap();
    assert!(second.get(child.id()).is_none(), "it was taken over");
    assert_eq!(here.view().parent, None, "where the other put it: {outcome:?}");
    drop((top, child, there, here));
    second.end().await;
    first.end().await;
}
