//! A console of a runtime whose limits are in use.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use coppicer_actors::{Script, ScriptedEngine, Step};
use coppicer_messages::{Limits, SpawnThread, Usage};
use support::{BUDGET, Served, engine};
use tokio::time::timeout;

/// "spend" tells more at once than the console's watcher holds, twice, and spawns a thread in between: that is told
/// in a gap.
fn spender() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match &*input.text() {
        "spend" => {
            let usage = Usage { input_tokens: 1, ..Usage::default() };
            let spend = std::iter::repeat_n(Step::Usage(usage), 100_000);
            let child = Step::Spawn(Box::new(SpawnThread::new()));
            let spends = spend.clone().chain([child]).chain(spend);
            spends.chain([Step::Say("spent".to_owned())]).collect()
        }
        text => Script::new().say(text),
    })
}

/// What the tree and the metrics say once everything is at rest.
async fn at_rest(served: &Served, threads: usize) -> serde_json::Value {
    let look = async {
        loop {
            let frame = served.client.get_json("/api/tree").await;
            let metrics = served.client.get("/metrics").await.body;
            let idle = format!("coppicer_threads{{phase=\"idle\"}} {threads}\n");
            if frame["totals"]["by_phase"]["idle"] == threads && metrics.contains(&idle) {
                return frame;
            }
        }
    };
    timeout(BUDGET, look).await.expect("the tree and the metrics come to what is so")
}

#[tokio::test]
async fn behind_a_gap_the_tree_is_right_also_where_no_tap_is_to_be_had() {
    for journal in [Limits::default().journal_events_max, 4] {
        let mut limits = Limits::default();
        // The console's own two.
        (limits.taps_max, limits.journal_events_max) = (2, journal);
        let served = Served::with(spender(), limits, |options| options).await;
        let thread = served.spawn("spend").await;
        served.spawn("hello").await;
        let frame = at_rest(&served, 3).await;
        assert!(frame["events"]["lost"].as_u64().unwrap() > 0, "{}", frame["events"]);
        served.world.close(thread, BUDGET).await.unwrap();
        served.spawn("hello").await;
        let frame = at_rest(&served, 2).await;
        assert_eq!(frame["totals"]["threads"], 2, "and it goes on to follow: {frame}");
        served.end().await;
    }
}

#[tokio::test]
async fn a_limit_of_the_runtime_that_is_nearly_used_up_needs_attention_whichever_it_is() {
    let mut limits = Limits::default();
    (limits.registered_max, limits.taps_max) = (10, 10);
    let served = Served::with(engine(), limits, |options| options).await;
    let near = async |wanted: &[&str]| {
        let look = async {
            loop {
                let list = served.client.get_json("/api/attention").await;
                let items = list["items"].as_array().unwrap().iter();
                let near = items.filter(|item| item["kind"] == "near_limit").cloned();
                let near: Vec<serde_json::Value> = near.collect();
                if near
                    .iter()
                    .map(|item| item["limit"].as_str().unwrap())
                    .eq(wanted.iter().copied())
                {
                    return near;
                }
            }
        };
        timeout(BUDGET, look).await.expect("it is told")
    };
    near(&[]).await;
    let taps: Vec<_> = (0..7).map(|_| served.world.watch()).collect();
    let told = near(&["taps_max"]).await;
    assert_eq!((&told[0]["used"], &told[0]["value"]), (&9.into(), &10.into()));
    drop(taps);
    near(&[]).await;
    for _ in 0..9 {
        served.spawn("hello").await;
    }
    near(&["registered_max"]).await;
    served.end().await;
}
