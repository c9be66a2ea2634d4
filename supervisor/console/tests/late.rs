//! A console that begins after what needs somebody.
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use coppicer_actors::{Script, ScriptedEngine, Step, StoreHealth};
use coppicer_messages::{Budget, Limits, Seq, SpawnThread, ThreadConfig, Usage};
use coppicer_supervisor::testing::World;
use serde_json::{Value, json};
use support::*;

/// `late` has a tool that is; the rest as [`engine`].
fn agents() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match &*input.text() {
        "late" => Script::new().then(Step::Tool(Duration::from_millis(1), BUDGET)),
        "spend" => {
            let usage = Usage { output_tokens: 20, ..Usage::default() };
            Script::new().then(Step::Usage(usage)).then(Step::Hang)
        }
        _ => Script::new().then(Step::Ask("may I?".into(), BUDGET)),
    })
}

#[tokio::test]
async fn what_began_before_the_console_and_is_not_over_is_listed_and_nothing_else() {
    let world = World::with_limits(agents(), Limits::default()).await;
    let mut tap = world.watch();
    let mut threads = BTreeMap::new();
    for text in ["asks", "answered", "late", "interrupted", "damaged", "spend"] {
        let mut config = ThreadConfig::default();
        if text == "spend" {
            config = config.with_budget(Budget::default().with_tokens(10));
        }
        let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
        threads.insert(text, thread);
    }
    let id = |text: &str| threads[text].id();
    let told = async |tap: &mut _, name: &str| {
        World::event(tap, |event| event.fact.name() == name).await;
    };
    for text in ["asks", "answered", "interrupted"] {
        threads[text].submit(if text == "interrupted" { "late" } else { "ask" }).await.unwrap();
        told(&mut tap, if text == "interrupted" { "turn_stuck" } else { "question_asked" }).await;
    }
    threads["late"].submit("late").await.unwrap();
    told(&mut tap, "turn_stuck").await;
    threads["spend"].submit("spend").await.unwrap();
    told(&mut tap, "budget_spent").await;
    threads["interrupted"].interrupt().await.unwrap();
    threads["answered"].interrupt().await.unwrap();
    let (thread, reason) = (id("damaged"), "bad checksum".to_owned());
    world.store.tell(&StoreHealth::Damaged { thread, seq: Seq(1), reason });
    told(&mut tap, "damage_found").await;
    drop(tap);

    let served = Served::on(world, |options| options);
    let waiting = async {
        loop {
            let list = served.client.get_json("/api/attention").await;
            if list["count"] == 4 {
                return list;
            }
            tokio::task::yield_now().await;
        }
    };
    let list = tokio::time::timeout(BUDGET, waiting).await.expect("all four are listed");
    let items = list["items"].as_array().unwrap().iter();
    let found: Vec<(&Value, &Value)> = items.map(|item| (&item["kind"], &item["thread"])).collect();
    let expected =
        [("damaged", "damaged"), ("stuck", "late"), ("asked", "asks"), ("budget_spent", "spend")];
    let expected = expected.map(|(kind, text)| (json!(kind), json!(id(text))));
    assert_eq!(found, expected.iter().map(|(kind, thread)| (kind, thread)).collect::<Vec<_>>());
    // It can be answered by who was not there when it was asked.
    let question = &list["items"][2]["question"];
    let answer =
        json!({ "op": { "answer": { "question": question, "answer": true } } }).to_string();
    let path = format!("/api/threads/{}/submit", id("asks"));
    assert_eq!(served.client.post(&path, &answer).await.status, 202);
    drop(threads);
    served.end().await;
}
