//! Budgets in frames, and what gives more of them.
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use coppicer_actors::{Script, ScriptedEngine, Step};
use coppicer_messages::{Budget, Limits, SpawnThread, ThreadConfig, ThreadId, Usage};
use serde_json::{Value, json};
use support::*;

/// Uses as many tokens as it is told.
fn spender() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| {
        let output_tokens = input.text().parse().unwrap_or(0);
        let usage = Usage { output_tokens, ..Usage::default() };
        Script::new().then(Step::Usage(usage)).say("used")
    })
}

async fn served() -> Served {
    Served::with(spender(), Limits::default(), |options| options).await
}

fn limited(tokens: u64) -> SpawnThread {
    let config = ThreadConfig::default().with_budget(Budget::default().with_tokens(tokens));
    SpawnThread::new().with_config(config)
}

/// Waits for a frame in which the thread has so much left, given away and used.
async fn budget(frames: &mut Events, thread: ThreadId, left: i64, carved: i64, spent: i64) {
    let says = |row: &Value| {
        let budget = &row["budget"];
        row["thread"] == json!(thread)
            && budget["left"]["tokens"] == left
            && budget["carved"]["tokens"] == carved
            && budget["spent"]["tokens"] == spent
    };
    let found =
        |event: &Event| event.data["rows"].as_array().is_some_and(|rows| rows.iter().any(says));
    frames.until(found).await;
}

#[tokio::test]
async fn a_frame_tells_of_a_budget_that_others_use_and_are_given_a_part_of() {
    let served = served().await;
    let parent = served.world.spawn(limited(1_000)).await.unwrap();
    let mut frames = served.client.open("/api/tree/stream", None).await;
    budget(&mut frames, parent.id(), 1_000, 0, 0).await;
    // None of this is a fact of the parent.
    let part = served.world.spawn(limited(500).with_parent(parent.id())).await.unwrap();
    budget(&mut frames, parent.id(), 500, 500, 0).await;
    let draws = SpawnThread::new().with_parent(parent.id());
    let draws = served.world.spawn(draws).await.unwrap();
    let below = SpawnThread::new().with_parent(draws.id());
    let below = served.world.spawn(below).await.unwrap();
    below.run("40").await.unwrap();
    budget(&mut frames, parent.id(), 460, 500, 40).await;
    part.run("100").await.unwrap();
    served.world.close(part.id(), BUDGET).await.unwrap();
    budget(&mut frames, parent.id(), 860, 0, 140).await;
    let detail = served.client.get_json(&format!("/api/threads/{}", parent.id())).await;
    assert_eq!(detail["budget"], detail["row"]["budget"]);
    drop((parent, part, draws, below));
    served.end().await;
}

#[tokio::test]
async fn a_budget_that_is_used_up_is_given_more() {
    let served = served().await;
    let thread = served.world.spawn(limited(10)).await.unwrap();
    let path = format!("/api/threads/{}/fund", thread.id());
    let _over = thread.run("20").await;
    let mut frames = served.client.open("/api/tree/stream", None).await;
    frames.until(|event| event.data["attention"]["count"] == 1).await;
    let list = served.client.get_json("/api/attention").await;
    assert_eq!(list["items"][0]["kind"], "budget_spent", "{list}");

    let none = ThreadId::from_parts(1, [9; 10]);
    let of_none = format!("/api/threads/{none}/fund");
    let refused = [
        (&path, json!({ "more": {} }), 400, "bad_request"),
        (&path, json!({ "more": { "token": 5 } }), 400, "bad_request"),
        (&path, json!({ "more": { "spawns": 5 } }), 409, "not_limited"),
        (&of_none, json!({ "more": { "tokens": 5 } }), 404, "not_found"),
    ];
    for (path, body, status, code) in refused {
        let answer = served.client.post(path, &body.to_string()).await;
        assert_eq!((answer.status, &*answer.code()), (status, code), "{path} {body}");
    }
    let before = served.world.ledger(thread.id()).await.unwrap().unwrap();
    assert_eq!(before.budget.tokens, Some(10), "nothing was given");

    let answer = served.client.post(&path, r#"{"more":{"tokens":50}}"#).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "left": { "tokens": 40 } })));
    frames.until(|event| event.data["attention"]["count"] == 0).await;
    assert_eq!(thread.run("5").await.unwrap().message(), Some("used"));
    budget(&mut frames, thread.id(), 35, 0, 25).await;
    drop(thread);
    served.end().await;
}
