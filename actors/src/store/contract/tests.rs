//! The suite on the stores of this crate, and the store that fails when it is told to.

use std::sync::Arc;

use coppicer_messages::{Seq, StoreError, ThreadId};

use super::words::{CLOSED, OPEN, append, gs, make_root, numbers, texts, written};
use super::{Store, all};
use crate::store::faulty::{FaultyStore, StoreOp};
use crate::store::{Done, EdgeStatus, MemoryStore, descend};

#[tokio::test]
async fn a_memory_store_keeps_the_contract() {
    all(|| Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn a_faulty_store_without_faults_keeps_the_contract() {
    all(|| Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())))).await;
}

#[test]
fn gs_04_edge_statuses_have_the_wire_names_of_the_reference() {
    for (status, json) in [(OPEN, "\"open\""), (CLOSED, "\"closed\"")] {
        assert_eq!(serde_json::to_string(&status).unwrap(), json);
        assert_eq!(serde_json::from_str::<EdgeStatus>(json).unwrap(), status);
    }
}

#[test]
fn a_descent_meets_each_thread_once_where_ways_join() {
    // 1 → 2, 3; 2 → 4; 3 → 4; 4 → 1.
    let below = |thread: ThreadId| match thread.as_uuid().as_u128() {
        1 => vec![gs(3), gs(2)],
        2 | 3 => vec![gs(4)],
        4 => vec![gs(1)],
        _ => vec![],
    };
    assert_eq!(numbers(&descend(gs(1), below)), [2, 3, 4]);
}

fn faulty() -> (FaultyStore, Store) {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    (store.clone(), Arc::new(store))
}

#[tokio::test]
async fn a_request_that_fails_was_not_applied_and_the_next_one_is() {
    let (faults, store) = faulty();
    let fence = make_root(&store, 1).await.fence;
    let error = StoreError::Unavailable { reason: "the disk is full".into() };
    faults.fail_next(StoreOp::Append, error.clone());
    assert_eq!(append(&store, fence, 0, written(["a"])).await, Err(error));
    assert_eq!(append(&store, fence, 0, written(["b"])).await, Ok(Seq(1)));
    assert_eq!(texts(&store, 1).await, ["b"]);
    assert_eq!(faults.calls(StoreOp::Append), 2);
}

#[tokio::test]
async fn held_requests_are_applied_in_order_when_they_are_released() {
    let (faults, store) = faulty();
    let fence = make_root(&store, 1).await.fence;
    faults.hold(StoreOp::Append);
    let (done, first) = Done::channel();
    let mut first = Box::pin(first);
    store.append(fence, Seq(0), written(["a"]), done);
    let (done, second) = Done::channel();
    store.append(fence, Seq(1), written(["b"]), done);
    assert!(futures::poll!(&mut first).is_pending());
    assert_eq!(texts(&store, 1).await, [""; 0], "what is held is not applied");
    faults.release(StoreOp::Append);
    assert_eq!((first.await, second.await), (Ok(Seq(1)), Ok(Seq(2))));
    assert_eq!(append(&store, fence, 2, written(["c"])).await, Ok(Seq(3)));
    assert_eq!(texts(&store, 1).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_request_that_a_store_drops_has_an_unknown_outcome() {
    let (done, answer) = Done::<Seq>::channel();
    drop(done);
    assert!(matches!(answer.await, Err(StoreError::UnknownOutcome { .. })));
}
