//! Requests carry the trace that they belong to.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use coppicer_actors::{Script, ScriptedEngine, Step};
use coppicer_messages::{Event, Limits, Outcome, ThreadId};
use coppicer_supervisor::testing::World;
use support::Served;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Says what caused its turn.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| {
        let trace = input.trace.as_ref();
        let told = trace.map(|it| format!("{} {}", it.traceparent(), it.tracestate()));
        Script::new().then(Step::Say(told.unwrap_or_else(|| "none".into())))
    })
}

#[tokio::test]
async fn a_spawn_and_a_submission_belong_to_the_trace_of_their_request() {
    let served = Served::with(engine(), Limits::default(), |options| options).await;
    let post = async |path: &str, body: &str, trace: &str| {
        let headers = format!("Content-Type: application/json\r\n{trace}");
        served.client.send(&served.client.posted(path, body, &headers)).await
    };
    let whole = format!("traceparent: {PARENT}\r\ntracestate: a=1\r\n");
    let spawned = post("/api/threads", r#"{"input":"x"}"#, &whole).await;
    assert_eq!(spawned.status, 201, "{spawned:?}");
    let thread: ThreadId = spawned.json()["thread"].as_str().unwrap().parse().unwrap();
    let up = served.world.get(thread).unwrap();
    let said = async |id: &str| {
        let id = id.parse().unwrap();
        let outcome = up.outcome_within(&id, support::BUDGET).await.unwrap();
        let Outcome::Completed { .. } = outcome else { panic!("{outcome:?}") };
        outcome.message().unwrap().to_owned()
    };
    let path = format!("/api/threads/{thread}/submit");
    for (id, trace, cause) in [
        ("whole", &*whole, format!("{PARENT} a=1")),
        (
            "bad-state",
            &format!("traceparent: {PARENT}\r\ntracestate: ==\r\n"),
            format!("{PARENT} "),
        ),
        (
            "states",
            &format!("tracestate: a=1\r\ntraceparent: {PARENT}\r\ntracestate: b=2,c=3\r\n"),
            format!("{PARENT} a=1,b=2,c=3"),
        ),
        (
            "bad-among-states",
            &format!("traceparent: {PARENT}\r\ntracestate: a=1\r\ntracestate: ==\r\n"),
            format!("{PARENT} "),
        ),
        ("two", &format!("traceparent: {PARENT}\r\ntraceparent: {PARENT}\r\n"), "none".into()),
        ("bad", "traceparent: 00-zz\r\n", "none".into()),
        ("without", "", "none".into()),
    ] {
        let body = format!(r#"{{"input":"x","id":"{id}"}}"#);
        let answer = post(&path, &body, trace).await;
        assert_eq!(answer.status, 202, "{id}: {answer:?}");
        assert_eq!(said(id).await, cause, "{id}");
    }
    let mut all = served.world.watch();
    let fork = post(&format!("/api/threads/{thread}/fork"), r#"{"input":"x"}"#, &whole).await;
    assert_eq!(fork.status, 201, "{fork:?}");
    let fork: ThreadId = fork.json()["thread"].as_str().unwrap().parse().unwrap();
    let of_fork = |event: &Event| event.thread == Some(fork) && event.fact.name() == "turn_ended";
    let ended = World::event(&mut all, of_fork).await;
    assert!(format!("{ended:?}").contains(&format!("{PARENT} a=1")), "{ended:?}");
    drop(all);
    let history = served.client.get(&format!("/api/threads/{thread}/history")).await;
    let first = history.body.matches(PARENT).count();
    assert!(first >= 2, "the first input was of the spawn's trace: {}", history.body);
    drop(up);
    served.end().await;
}
