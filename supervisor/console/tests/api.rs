//! The documented API: what is read, what is done, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use coppicer_actors::faulty::FaultyStore;
use coppicer_actors::{Script, ScriptedEngine};
use coppicer_messages::{Budget, Limits, Phase, SpawnThread, ThreadConfig, ThreadId};
use coppicer_sqlite::SqliteStore;
use coppicer_supervisor::testing::World;
use serde_json::{Value, json};
use support::{BUDGET, Served, engine};

fn id_of(answer: &Value) -> ThreadId {
    answer["thread"].as_str().unwrap().parse().unwrap()
}

/// Waits until `holds` of what a path answers.
async fn until(served: &Served, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            let answer = served.client.get_json(path).await;
            if holds(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BUDGET, waiting).await.expect("it comes to it in time")
}

#[tokio::test]
async fn a_thread_is_spawned_spoken_to_and_shown() {
    let served = Served::new().await;
    let spawned = served
        .client
        .post("/api/threads", r#"{"input":"call","name":"scan","role":"worker","nickname":"Ada"}"#)
        .await;
    assert_eq!(spawned.status, 201);
    let thread = id_of(&spawned.json());
    let path = format!("/api/threads/{thread}/submit");
    let first = served.client.post(&path, r#"{"input":"hello","id":"mine-1"}"#).await;
    assert_eq!((first.status, &first.json()["submission"]), (202, &json!("mine-1")));
    let again = served.client.post(&path, r#"{"input":"hello","id":"mine-1"}"#).await;
    assert_eq!(again.json()["duplicate"], true, "the same id runs nothing twice");
    let other = served.client.post(&path, r#"{"input":"something else","id":"mine-1"}"#).await;
    assert_eq!((other.status, &*other.code()), (409, "conflict"));

    let detail = format!("/api/threads/{thread}");
    let shown = until(&served, &detail, |detail| detail["row"]["turns"] == 2).await;
    assert_eq!(shown["row"]["nickname"], "Ada");
    assert_eq!(
        (&shown["stored"]["config"]["role"], &shown["why"]["stage"]),
        (&json!("worker"), &json!("live"))
    );
    assert_eq!(shown["why"]["waits_for"], json!(["work"]));
    assert_eq!((&shown["restarts"]["engine_left"], &shown["budget"]), (&json!(5), &Value::Null));
    let lines = shown["why_text"].as_array().unwrap();
    assert!(lines.iter().any(|line| line.as_str().unwrap().contains("waits for: work")));

    let timeline = served.client.get_json(&format!("{detail}/timeline")).await;
    let turns = timeline["turns"].as_array().unwrap();
    assert_eq!((turns.len(), &turns[0]["outcome"]), (2, &json!("completed")));
    assert_eq!(
        (&turns[0]["calls"][0]["name"], &turns[0]["message"]),
        (&json!("shell"), &json!("called"))
    );
    assert_eq!((&turns[1]["input"], &timeline["next_before"]), (&json!("hello"), &Value::Null));
    let page = served.client.get_json(&format!("{detail}/timeline?count=1")).await;
    let before = page["next_before"].as_u64().unwrap();
    let page = served.client.get_json(&format!("{detail}/timeline?count=1&before={before}")).await;
    assert_eq!((&page["turns"][0]["input"], &page["next_before"]), (&json!("call"), &Value::Null));
    served.end().await;
}

#[tokio::test]
async fn a_history_is_read_in_pages_from_either_end() {
    let served = Served::new().await;
    let thread = served.spawn("one").await;
    for text in ["two", "call", "three"] {
        served.world.get(thread).unwrap().run(text).await.unwrap();
    }
    let path = format!("/api/threads/{thread}/history");
    let whole = served.client.get_json(&format!("{path}?from=0&count=200")).await;
    let head = whole["head"].as_u64().unwrap();
    let numbers = |page: &Value| -> Vec<u64> {
        page["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["seq"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers(&whole), (0..head).collect::<Vec<_>>());
    let mut forwards = Vec::new();
    let mut from = 0;
    loop {
        let page = served.client.get_json(&format!("{path}?from={from}&count=3")).await;
        forwards.extend(numbers(&page));
        from = page["next"].as_u64().unwrap();
        if page["more_after"] == false {
            break;
        }
    }
    assert_eq!(forwards, numbers(&whole));
    let mut backwards = Vec::new();
    let mut before = head;
    loop {
        let page = served.client.get_json(&format!("{path}?before={before}&count=4")).await;
        let mut read = numbers(&page);
        read.append(&mut backwards);
        backwards = read;
        before = page["first"].as_u64().unwrap();
        if page["more_before"] == false {
            break;
        }
    }
    assert_eq!(backwards, numbers(&whole));
    let newest = served.client.get_json(&format!("{path}?count=2&raw=true")).await;
    assert_eq!(numbers(&newest), [head - 2, head - 1]);
    assert!(newest["records"][0]["raw"].as_str().unwrap().starts_with('{'));
    for (query, code) in [
        ("count=0", "bad_query"),
        ("count=201", "bad_query"),
        ("from=1&before=2", "bad_query"),
        ("from=-1", "bad_query"),
        ("until=3", "bad_query"),
    ] {
        let answer = served.client.get(&format!("{path}?{query}")).await;
        assert_eq!((answer.status, &*answer.code()), (400, code), "{query}");
    }
    let past = served.client.get_json(&format!("{path}?from=100000")).await;
    assert_eq!((numbers(&past).len(), &past["more_after"]), (0, &json!(false)));
    served.end().await;
}

#[tokio::test]
async fn a_large_history_is_cut_into_pages_of_about_a_mebibyte() {
    let large = "x".repeat(4_000);
    let engine = ScriptedEngine::new(move |_, _| {
        (0..100)
            .fold(Script::new(), |script, _| script.call("shell", large.clone(), "y"))
            .say("done")
    });
    let served = Served::with(engine, Limits::default(), |options| options).await;
    let thread = served.spawn("go").await;
    let path = format!("/api/threads/{thread}/history?raw=true&count=200");
    let page = served.client.get(&path).await;
    assert!(page.body.len() < 2 << 20, "{}", page.body.len());
    let last = page.json();
    assert_eq!(last["next"], last["head"], "the newest are the first to be shown");
    assert_eq!(last["more_before"], true);
    served.end().await;
}

#[tokio::test]
async fn damaged_records_are_marked_in_their_place_and_what_is_behind_them_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join("store.db");
    let store = || FaultyStore::new(Arc::new(SqliteStore::open(&path).unwrap()));
    let world = World::on(store(), engine(), Limits::default()).await;
    let handle = world.spawn(SpawnThread::new()).await.unwrap();
    for text in ["one", "two", "three"] {
        handle.run(text).await.unwrap();
    }
    let thread = handle.id();
    drop(handle);
    world.end().await;
    let shell = rusqlite::Connection::open(&path).unwrap();
    let harm = "UPDATE record SET at_ms = at_ms + 1 WHERE seq IN (2, 5)";
    assert_eq!(shell.execute(harm, []).unwrap(), 2);
    drop(shell);

    let served =
        Served::on(World::on(store(), engine(), Limits::default()).await, |options| options);
    let page =
        served.client.get_json(&format!("/api/threads/{thread}/history?from=0&count=200")).await;
    let records = page["records"].as_array().unwrap();
    let places: Vec<u64> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(places, (0..page["head"].as_u64().unwrap()).collect::<Vec<_>>());
    for record in records {
        let is_damaged = [2, 5].contains(&record["seq"].as_u64().unwrap());
        assert_eq!(record["class"] == "damaged", is_damaged, "{record}");
        assert_eq!(record["marks"].as_array().unwrap().contains(&json!("damaged")), is_damaged);
    }
    assert!(records[2]["text"].as_str().unwrap().contains("checksum"));
    let timeline = served.client.get_json(&format!("/api/threads/{thread}/timeline")).await;
    let inputs: Vec<&Value> =
        timeline["turns"].as_array().unwrap().iter().map(|turn| &turn["input"]).collect();
    assert_eq!(inputs.last(), Some(&&json!("three")), "the turns behind the damage");
    let submit = format!("/api/threads/{thread}/submit");
    let refused = served.client.post(&submit, r#"{"input":"four"}"#).await;
    assert_eq!((refused.status, &*refused.code()), (410, "damaged"));
    served.end().await;
}

#[tokio::test]
async fn a_turn_is_interrupted_and_its_closing_records_are_marked() {
    let served = Served::new().await;
    let thread = served.world.spawn(SpawnThread::new().with_first("hang")).await.unwrap().id();
    let running = format!("/api/threads/{thread}");
    let shown = until(&served, &running, |detail| detail["row"]["turn"]["phase"] == "model").await;
    assert_eq!(shown["why"]["turn"]["attempt"], 1);
    let path = format!("/api/threads/{thread}/interrupt");
    let answer = served.client.post(&path, "{}").await.json();
    assert_eq!((&answer["interrupted"], &answer["rung"]), (&json!(true), &json!("stopped")));
    let nothing = served.client.post(&path, "{}").await.json();
    assert_eq!(nothing, json!({ "interrupted": false }));
    let history = served.client.get_json(&format!("/api/threads/{thread}/history")).await;
    let closing: Vec<&str> = history["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|record| record["marks"].as_array().unwrap().contains(&json!("closing")))
        .map(|record| record["class"].as_str().unwrap())
        .collect();
    assert_eq!(closing, ["contextual_user_message", "turn_aborted"]);
    served.end().await;
}

#[tokio::test]
async fn a_fork_is_made_here_and_the_source_is_as_it_was() {
    let served = Served::new().await;
    let thread = served.spawn("one").await;
    served.world.get(thread).unwrap().run("two").await.unwrap();
    let head = served.world.get(thread).unwrap().history().await.unwrap().len();
    let path = format!("/api/threads/{thread}/fork");
    let forks = [
        "{}",
        r#"{"at":"interrupted"}"#,
        r#"{"at":{"at":3}}"#,
        r#"{"at":{"before_user_message":1},"input":"three"}"#,
    ];
    let mut made = BTreeSet::new();
    for body in forks {
        let answer = served.client.post(&path, body).await;
        assert_eq!(answer.status, 201, "{body}: {answer:?}");
        assert_eq!(answer.json()["forked_from"], thread.to_string());
        made.insert(id_of(&answer.json()));
    }
    assert_eq!(made.len(), forks.len());
    let fork = *made.iter().next().unwrap();
    let shown =
        until(&served, &format!("/api/threads/{fork}"), |detail| !detail["row"].is_null()).await;
    assert_eq!(shown["stored"]["base"]["thread"], thread.to_string());
    let history =
        served.client.get_json(&format!("/api/threads/{fork}/history?from=0&count=1")).await;
    assert_eq!(history["records"][0]["marks"], json!(["shared"]));
    for (body, code) in [
        (r#"{"at":{"at":100000}}"#, "fork_refused"),
        (r#"{"at":{"after":"nothing"}}"#, "fork_refused"),
        (r#"{"at":"tomorrow"}"#, "bad_json"),
    ] {
        let answer = served.client.post(&path, body).await;
        assert_eq!((answer.status, &*answer.code()), (400, code), "{body}");
    }
    assert_eq!(served.world.get(thread).unwrap().history().await.unwrap().len(), head);
    served.end().await;
}

#[tokio::test]
async fn a_close_answers_with_the_rung_of_each_thread() {
    let served = Served::new().await;
    let root = served.world.spawn(SpawnThread::new().with_first("hang")).await.unwrap();
    let below = served.world.spawn(SpawnThread::new().with_parent(root.id())).await.unwrap();
    let (root, below) = (root.id(), below.id());
    until(&served, &format!("/api/threads/{root}"), |detail| !detail["row"]["turn"].is_null())
        .await;
    let path = format!("/api/threads/{root}/close");
    for bad in
        [r#"{"within_ms":0}"#, r#"{"within_ms":600001}"#, r#"{"within_ms":10,"drain_ms":11}"#]
    {
        let answer = served.client.post(&path, bad).await;
        assert_eq!((answer.status, &*answer.code()), (400, "bad_request"), "{bad}");
    }
    assert_eq!(served.world.get(root).unwrap().view().phase, Phase::Running, "nothing happened");
    let report = served.client.post(&path, r#"{"within_ms":5000}"#).await.json();
    assert_eq!(report["rungs"], json!({ "drained": 1, "stopped": 1, "killed": 0, "fenced": 0 }));
    let rung = |thread: ThreadId| {
        let rows = report["threads"].as_array().unwrap();
        rows.iter().find(|row| row["thread"] == thread.to_string()).unwrap()["rung"].clone()
    };
    assert_eq!((rung(root), rung(below)), (json!("stopped"), json!("drained")));
    assert_eq!(report["timed_out"], json!([]));
    // What is closed takes nothing, until it is resumed.
    let submit = format!("/api/threads/{root}/submit");
    let refused = served.client.post(&submit, r#"{"input":"hello"}"#).await;
    assert_eq!((refused.status, &*refused.code()), (409, "closed"));
    assert_eq!(served.client.post(&format!("/api/threads/{root}/resume"), "{}").await.status, 200);
    assert_eq!(served.client.post(&submit, r#"{"input":"hello"}"#).await.status, 202);
    served.end().await;
}

#[tokio::test]
async fn a_thread_is_parked_and_revived_and_shown_as_what_needs_attention() {
    let served = Served::new().await;
    let thread = served.spawn("hello").await;
    let before = served.client.get_json("/api/attention").await;
    assert_eq!(before["count"], 0);
    assert_eq!(served.client.post(&format!("/api/threads/{thread}/park"), "{}").await.status, 200);
    let attention = until(&served, "/api/attention", |attention| attention["count"] == 1).await;
    assert_eq!(
        (&attention["items"][0]["kind"], &attention["items"][0]["thread"]),
        (&json!("parked"), &json!(thread.to_string()))
    );
    assert!(attention["version"].as_u64() > before["version"].as_u64());
    let submit = format!("/api/threads/{thread}/submit");
    let refused = served.client.post(&submit, r#"{"input":"hello"}"#).await;
    assert_eq!((refused.status, &*refused.code()), (409, "parked"));
    assert_eq!(
        served.client.post(&format!("/api/threads/{thread}/revive"), "{}").await.status,
        200
    );
    until(&served, "/api/attention", |attention| attention["count"] == 0).await;
    let again = served.client.post(&format!("/api/threads/{thread}/revive"), "{}").await;
    assert_eq!((again.status, &*again.code()), (409, "wrong_phase"));
    served.end().await;
}

#[tokio::test]
async fn a_question_of_an_engine_is_answered_from_here() {
    let served = Served::new().await;
    let thread = served.world.spawn(SpawnThread::new().with_first("ask")).await.unwrap().id();
    let attention = until(&served, "/api/attention", |attention| attention["count"] == 1).await;
    let item = &attention["items"][0];
    assert_eq!((&item["kind"], &item["body"]), (&json!("asked"), &json!("may I?")));
    let tree =
        until(&served, "/api/tree", |tree| tree["rows"][0]["turn"]["waits_for_host"] == true).await;
    assert_eq!(tree["rows"][0]["turn"]["phase"], "await_host");
    let path = format!("/api/threads/{thread}/submit");
    let wrong = json!({ "op": { "answer": { "question": "none", "answer": 1 } } }).to_string();
    let refused = served.client.post(&path, &wrong).await;
    assert_eq!((refused.status, &*refused.code()), (404, "unknown_question"));
    let answer = json!({ "op": { "answer": { "question": item["question"], "answer": "yes" } } });
    assert_eq!(served.client.post(&path, &answer.to_string()).await.status, 202);
    until(&served, "/api/attention", |attention| attention["count"] == 0).await;
    let both = served.client.post(&path, r#"{"input":"a","op":"compact"}"#).await;
    assert_eq!((both.status, &*both.code()), (400, "bad_json"));
    served.end().await;
}

#[tokio::test]
async fn what_waits_in_a_thread_is_shown_by_kind() {
    let mut limits = Limits::default();
    limits.inbox_max = 4;
    let served = Served::with(engine(), limits, |options| options).await;
    let thread = served.world.spawn(SpawnThread::new().with_first("hang")).await.unwrap().id();
    until(&served, &format!("/api/threads/{thread}"), |detail| !detail["row"]["turn"].is_null())
        .await;
    let path = format!("/api/threads/{thread}/submit");
    for body in
        [r#"{"input":"one"}"#, r#"{"op":"compact"}"#, r#"{"input":"two"}"#, r#"{"input":"three"}"#]
    {
        assert_eq!(served.client.post(&path, body).await.status, 202, "{body}");
    }
    let full = served.client.post(&path, r#"{"input":"four"}"#).await;
    assert_eq!(
        (full.status, &*full.code(), &full.json()["capacity"]),
        (429, "overloaded", &json!(4))
    );
    let detail = served.client.get_json(&format!("/api/threads/{thread}")).await;
    assert_eq!(detail["inbox"]["by_kind"], json!({ "user_input": 3, "compact": 1 }));
    assert_eq!(detail["inbox"]["queued"][1]["op"], "compact");
    assert_eq!(detail["row"]["inbox"], json!({ "used": 4, "capacity": 4 }));
    served.end().await;
}

#[tokio::test]
async fn crashes_show_in_the_row_the_detail_and_the_lanes() {
    let served = Served::new().await;
    let thread = served.spawn("panic").await;
    served.world.get(thread).unwrap().run("hello").await.unwrap();
    let path = format!("/api/threads/{thread}");
    let detail = until(&served, &path, |detail| detail["row"]["turns"] == 2).await;
    let row = &detail["row"];
    assert_eq!((&row["crashes"], &row["last_error"]["text"]), (&json!(1), &json!("boom")));
    assert_eq!(detail["restarts"]["engine_left"], 4);
    assert_eq!(detail["restarts"]["crashes"][0]["cause"], "boom");
    let recent: Vec<&str> = detail["restarts"]["recent"]
        .as_array()
        .unwrap()
        .iter()
        .map(|recent| recent["kind"].as_str().unwrap())
        .collect();
    assert_eq!(recent, ["crash", "backoff", "restart"]);
    assert_eq!(row["restarts"], 1, "its engine came back");
    let lanes = served.client.get_json("/api/lanes").await;
    let outcomes: Vec<&Value> =
        lanes["spans"].as_array().unwrap().iter().map(|span| &span["outcome"]).collect();
    assert_eq!(outcomes, [&json!("crashed"), &json!("completed")]);
    let marks = lanes["marks"].as_array().unwrap();
    assert!(marks.iter().any(|mark| mark["kind"] == "crash" && mark["text"] == "boom"));
    let next = lanes["next"].as_str().unwrap();
    let nothing = served.client.get_json(&format!("/api/lanes?after={next}")).await;
    assert_eq!((&nothing["full"], nothing["spans"].as_array().unwrap().len()), (&json!(false), 0));
    let other = served.client.get_json("/api/lanes?after=00000000-1").await;
    assert_eq!(other["full"], true);
    served.end().await;
}

#[tokio::test]
async fn a_budget_is_shown_by_what_it_limits() {
    let served = Served::new().await;
    let config = ThreadConfig::default().with_budget(Budget::new().with_tokens(1_000));
    let root = served.world.spawn(SpawnThread::new().with_config(config)).await.unwrap().id();
    let body = json!({ "parent": root, "budget": { "tokens": 300 } }).to_string();
    assert_eq!(served.client.post("/api/threads", &body).await.status, 201);
    let detail = served.client.get_json(&format!("/api/threads/{root}")).await;
    assert_eq!(
        detail["budget"],
        json!({
            "granted": { "tokens": 1_000 },
            "spent": { "tokens": 0 },
            "carved": { "tokens": 300 },
            "left": { "tokens": 700 },
        })
    );
    assert_eq!(detail["children"].as_array().unwrap().len(), 1);
    let too_much = json!({ "parent": root, "budget": { "tokens": 701 } }).to_string();
    let refused = served.client.post("/api/threads", &too_much).await;
    assert_eq!((refused.status, &*refused.code()), (429, "limit"));
    assert_eq!(
        (&refused.json()["limit"], &refused.json()["value"]),
        (&json!("budget.tokens"), &json!(700))
    );
    served.end().await;
}

#[tokio::test]
async fn stored_threads_are_listed_in_pages_and_one_in_the_store_alone_is_shown() {
    let served = Served::new().await;
    for text in ["alpha", "beta", "gamma"] {
        served.spawn(text).await;
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page =
            served.client.get_json(&format!("/api/threads?count=2&order=asc&sort=id{after}")).await;
        seen.extend(page["threads"].as_array().unwrap().iter().map(|row| row["preview"].clone()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, [json!("alpha"), json!("beta"), json!("gamma")]);
    let found = served.client.get_json("/api/threads?search=BET").await;
    let beta = id_of(&found["threads"][0]);
    assert_eq!(
        (found["threads"].as_array().unwrap().len(), &found["threads"][0]["in_tree"]),
        (1, &json!(true))
    );
    served.world.close(beta, BUDGET).await.unwrap();
    let detail = until(&served, &format!("/api/threads/{beta}"), |detail| {
        detail["stored"]["status"] == "shutdown"
    })
    .await;
    assert_eq!(detail["stored"]["preview"], "beta");
    until(&served, "/api/threads?search=beta", |page| page["threads"][0]["in_tree"] == false).await;
    for (query, code) in
        [("after=nonsense", "bad_cursor"), ("sort=size", "bad_query"), ("count=0", "bad_query")]
    {
        let answer = served.client.get(&format!("/api/threads?{query}")).await;
        assert_eq!((answer.status, &*answer.code()), (400, code), "{query}");
    }
    served.end().await;
}

#[tokio::test]
async fn a_thread_that_is_none_is_not_found_by_anything() {
    let served = Served::new().await;
    let nobody = ThreadId::from_parts(1, [7; 10]);
    for path in ["", "/history", "/timeline"] {
        let answer = served.client.get(&format!("/api/threads/{nobody}{path}")).await;
        assert_eq!((answer.status, &*answer.code()), (404, "not_found"), "{path}");
    }
    for (path, body) in [
        ("submit", r#"{"input":"x"}"#),
        ("interrupt", "{}"),
        ("fork", "{}"),
        ("close", "{}"),
        ("park", "{}"),
        ("revive", "{}"),
        ("resume", "{}"),
    ] {
        let answer = served.client.post(&format!("/api/threads/{nobody}/{path}"), body).await;
        assert_eq!((answer.status, &*answer.code()), (404, "not_found"), "{path}");
    }
    let parent = json!({ "parent": nobody }).to_string();
    let orphan = served.client.post("/api/threads", &parent).await;
    assert_eq!((orphan.status, &*orphan.code()), (404, "parent_gone"));
    assert!(served.world.list().is_empty());
    served.end().await;
}

#[tokio::test]
async fn the_runtime_as_a_whole_is_shown() {
    let served = Served::with(engine(), Limits::default(), |options| {
        options.label("a test").store("/tmp/store.db")
    })
    .await;
    let thread = served.spawn("hello").await;
    let info = served.client.get_json("/api/info").await;
    assert_eq!((&info["label"], &info["store"]), (&json!("a test"), &json!("/tmp/store.db")));
    assert_eq!(info["limits"]["inbox_max"], 512);
    assert_eq!(info["bounds"]["frame_every_ms"], 250);
    let audit = served.client.get_json("/api/audit").await;
    let live = audit["live"].as_array().unwrap();
    assert!(
        live.iter()
            .any(|row| row["owner"]["thread"] == thread.to_string() && row["kind"] == "resident")
    );
    assert_eq!(audit["clean"], true);
    let is_counted = |text: &str| text.contains("coppicer_turns_started_total 1\n");
    let counted = async {
        while !is_counted(&served.client.get("/metrics").await.body) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BUDGET, counted).await.expect("the turn is counted");
    let metrics = served.client.get("/metrics").await;
    assert!(!metrics.body.contains(&thread.to_string()), "no thread is a label");
    assert!(metrics.body.contains("coppicer_threads{phase=\"idle\"} 1\n"));
    served.end().await;
}

#[tokio::test]
async fn health_is_told_to_anybody_and_nothing_else() {
    let served = Served::new().await;
    let request = format!(
        "GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        served.client.address
    );
    let well = served.client.send(&request).await;
    assert_eq!((well.status, well.json()), (200, json!({ "status": "ok" })));
    let ailing = coppicer_actors::StoreHealth::Ailing {
        trouble: coppicer_messages::StoreTrouble::DiskFull,
        reason: "disk full".to_owned(),
    };
    served.world.store.tell(&ailing);
    until(&served, "/api/attention", |attention| attention["count"] == 1).await;
    let ill = served.client.send(&request).await;
    assert_eq!((ill.status, ill.json()), (503, json!({ "status": "ailing" })));
    served.world.store.tell(&coppicer_actors::StoreHealth::Well);
    until(&served, "/api/attention", |attention| attention["count"] == 0).await;
    assert_eq!(served.client.send(&request).await.status, 200);
    served.end().await;
}

/// What stands between two texts, each time.
fn between<'t>(text: &'t str, begin: &str, end: char) -> Vec<&'t str> {
    text.split(begin).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

#[test]
fn every_route_and_every_code_is_in_the_description() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(here.join(file)).unwrap();
    let description = read("../../docs/http-api.md");
    let routes = read("src/routes/mod.rs");
    let paths = between(&routes, ".route(\"", '"');
    assert!(paths.len() > 15, "{paths:?}");
    for path in paths {
        assert!(description.contains(path), "{path} is not described");
    }
    let mut codes: BTreeSet<String> = BTreeSet::new();
    for file in [
        "problem.rs",
        "guard.rs",
        "body.rs",
        "server.rs",
        "routes/act.rs",
        "routes/tree.rs",
        "routes/mod.rs",
    ] {
        let source = read(&format!("src/{file}"));
        let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        let words = between(source, ", \"", '"');
        let is_code =
            |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        codes.extend(words.into_iter().filter(is_code).map(str::to_owned));
    }
    assert!(codes.len() > 40, "{codes:?}");
    for code in codes {
        assert!(description.contains(&code), "{code} is not described");
    }
}
