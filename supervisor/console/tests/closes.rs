//! What the console says of closes: who goes on, and which rung each reached.
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use coppicer_actors::faulty::StoreOp;
use coppicer_messages::{ParentClose, SpawnThread, ThreadId};
use serde_json::{Value, json};
use support::*;

async fn close(served: &Served, thread: ThreadId, within_ms: u64) -> Value {
    let body = json!({ "within_ms": within_ms }).to_string();
    let answer = served.client.post(&format!("/api/threads/{thread}/close"), &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn the_answer_to_a_close_names_those_that_go_on() {
    let served = Served::new().await;
    let parent = served.spawn("hello").await;
    let child = |policy| SpawnThread::new().with_parent(parent).with_parent_close(policy);
    let stays = served.world.spawn(child(ParentClose::Detach)).await.unwrap().id();
    let goes = served.world.spawn(child(ParentClose::Close)).await.unwrap().id();
    let report = close(&served, parent, 5_000).await;
    assert_eq!(report["detached"], json!([stays]));
    let mut closed = [parent, goes];
    closed.sort_unstable();
    assert_eq!(report["completed"], json!(closed));
    served.end().await;
}

#[tokio::test]
async fn one_that_was_fenced_off_is_told_of_and_fades_with_that_rung() {
    let served = Served::new().await;
    let parent = served.spawn("hello").await;
    let request = SpawnThread::new().with_parent(parent);
    let child = served.world.spawn(request).await.unwrap().id();
    let path = format!("/api/events?kind=runtime&subtree={parent}");
    let mut events = served.client.open(&path, None).await;
    served.world.store.hold(StoreOp::Append);
    let report = close(&served, parent, 300).await;
    assert_eq!((&report["rungs"]["fenced"], &report["completed"]), (&json!(2), &json!([])));
    let mut told = Vec::new();
    for _ in 0..2 {
        let fact = events.until(|event| event.data["fact"]["runtime"]["event"] == "thread_ended");
        let fact = fact.await.data;
        assert_eq!(fact["fact"]["runtime"]["how"], json!({ "closed": { "rung": "fenced" } }));
        told.push(serde_json::from_value::<ThreadId>(fact["thread"].clone()).unwrap());
    }
    told.sort_unstable();
    assert_eq!(json!(told), report["timed_out"], "each once");
    assert!(told.contains(&parent) && told.contains(&child));
    let rows = async {
        loop {
            let frame = served.client.get_json("/api/tree").await;
            let rows = frame["rows"].as_array().unwrap().clone();
            let gone = rows.iter().map(|row| (&row["gone"]["how"], &row["gone"]["rung"]));
            if gone.clone().all(|gone| gone == (&json!("closed"), &json!("fenced"))) {
                return rows.len();
            }
        }
    };
    assert_eq!(tokio::time::timeout(BUDGET, rows).await.expect("they fade"), 2);
    served.world.store.release(StoreOp::Append);
    served.end().await;
}

#[tokio::test]
async fn what_is_closed_is_refused_as_closed_and_what_is_unknown_as_unknown_whatever_is_asked() {
    let served = Served::new().await;
    let closed = served.spawn("hello").await;
    close(&served, closed, 5_000).await;
    let unknown = ThreadId::from_parts(1, [9; 10]);
    for (thread, code) in [(closed, (409, "closed")), (unknown, (404, "not_found"))] {
        for (action, body) in [
            ("submit", r#"{"input":"more"}"#),
            ("interrupt", "{}"),
            ("park", "{}"),
            ("revive", "{}"),
            ("fund", r#"{"more":{"tokens":1}}"#),
        ] {
            let answer = served.client.post(&format!("/api/threads/{thread}/{action}"), body).await;
            assert_eq!((answer.status, &*answer.code()), code, "{action}: {answer:?}");
            assert_eq!(answer.json()["thread"], json!(thread), "{action}");
        }
    }
    for action in ["fork", "close", "resume"] {
        let answer = served.client.post(&format!("/api/threads/{unknown}/{action}"), "{}").await;
        assert_eq!((answer.status, &*answer.code()), (404, "not_found"), "{action}: {answer:?}");
        assert_eq!(answer.json()["thread"], json!(unknown), "{action}");
    }
    served.end().await;
}
