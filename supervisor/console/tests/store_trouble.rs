//! What is shown of a store that cannot write: in the list of what needs attention, and in the tree's frames.
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::sync::Arc;

use coppicer_actors::faulty::{FaultyStore, StoreOp};
use coppicer_actors::{MemoryStore, StoreHealth};
use coppicer_messages::{Limits, SpawnThread, StoreError, StoreTrouble, ThreadConfig};
use coppicer_supervisor::testing::World;
use serde_json::{Value, json};
use support::*;

fn ailing(trouble: StoreTrouble, reason: &str) -> StoreHealth {
    StoreHealth::Ailing { trouble, reason: reason.to_owned() }
}

/// The list, once `holds` of it.
async fn attention(served: &Served, holds: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            let list = served.client.get_json("/api/attention").await;
            if holds(&list) {
                return list;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BUDGET, waiting).await.expect("it did not come to it in time")
}

#[tokio::test]
async fn what_kind_of_trouble_the_store_is_in_is_listed_until_it_writes_again() {
    let served = Served::new().await;
    let mut frames = served.client.open("/api/tree/stream", None).await;
    let first = frames.named("frame").await.data;
    assert_eq!(first["attention"]["count"], 0);
    let kinds = [
        (StoreTrouble::Busy, "busy"),
        (StoreTrouble::DiskFull, "disk_full"),
        (StoreTrouble::ReadOnly, "read_only"),
        (StoreTrouble::Other, "other"),
    ];
    let mut since = None;
    for (trouble, name) in kinds {
        served.world.store.tell(&ailing(trouble, &format!("it is {name}")));
        let list = attention(&served, |list| list["items"][0]["trouble"] == name).await;
        assert_eq!(list["count"], 1, "there is one store: {list}");
        let item = &list["items"][0];
        assert_eq!(
            (&item["kind"], &item["text"]),
            (&json!("store_ailing"), &json!(format!("it is {name}")))
        );
        let begun = item["since_ms"].as_u64().unwrap();
        assert_eq!(*since.get_or_insert(begun), begun, "since it could not write at all");
    }
    frames.until(|frame| frame.data["attention"]["count"] == 1).await;
    served.world.store.tell(&StoreHealth::Well);
    attention(&served, |list| list["items"] == json!([])).await;
    frames.until(|frame| frame.data["attention"]["count"] == 0).await;
    served.end().await;
}

#[tokio::test]
async fn a_console_that_begins_while_the_store_cannot_write_shows_it() {
    let world = World::with_limits(engine(), Limits::default()).await;
    let mut tap = world.watch();
    world.store.tell(&ailing(StoreTrouble::DiskFull, "no room"));
    World::event(&mut tap, |event| event.fact.name() == "store_ailing").await;
    drop(tap);
    let served = Served::on(world, |options| options);
    let list = attention(&served, |list| list["count"] == 1).await;
    let item = &list["items"][0];
    assert_eq!((&item["kind"], &item["trouble"]), (&json!("store_ailing"), &json!("disk_full")));
    let health = served
        .client
        .send(&format!(
            "GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            served.client.address
        ))
        .await;
    assert_eq!((health.status, health.json()), (503, json!({ "status": "ailing" })));
    let counted = async {
        while !served.client.get("/metrics").await.body.contains("coppicer_store_ailing 1\n") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BUDGET, counted).await.expect("the gauge says so too");
    // Who reads facts from a snapshot has it too.
    let mut events = served.client.open("/api/events?from=snapshot", None).await;
    let snapshot = events.named("snapshot").await.data;
    assert_eq!(snapshot["ailing"]["trouble"], "disk_full", "{snapshot}");
    served.end().await;
}

#[tokio::test]
async fn a_thread_that_could_not_be_brought_up_is_listed_by_its_name() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    let first = World::on(store.clone(), engine(), Limits::default()).await;
    let parent = first.spawn(SpawnThread::new()).await.unwrap();
    let config = ThreadConfig::default().with_nickname("Alder");
    let request = SpawnThread::new().with_parent(parent.id()).with_name("worker");
    let child = first.spawn(request.with_config(config)).await.unwrap();
    child.submit("hang").await.unwrap();
    let full = StoreError::Unavailable { reason: "disk full".to_owned() };
    store.fail_next(StoreOp::Acquire, full);
    let mut limits = Limits::default();
    limits.store_retry = BUDGET; // it stays so for as long as we look
    let second = World::on(store, engine(), limits).await;
    let served = Served::on(second, |options| options);
    let list = attention(&served, |list| list["count"] == 1).await;
    let item = &list["items"][0];
    assert_eq!((&item["kind"], &item["thread"]), (&json!("recovery_failed"), &json!(child.id())));
    assert_eq!((&item["path"], &item["nickname"]), (&json!("/root/worker"), &json!("Alder")));
    served.end().await;
    drop(first.shutdown(BUDGET).await);
}
