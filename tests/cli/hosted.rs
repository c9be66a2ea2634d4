//! The store of a host, with what no session file has: forks that share records, names, open work.

use std::time::Duration;

use coppicer::{
    Runtime, Script, ScriptedEngine, SpawnThread, SqliteStore, Step, Submission, ThreadId,
};
use serde_json::Value;

use crate::support::*;

/// What a host has made in the default store of `home`, and left.
struct Made {
    source: ThreadId,
    fork: ThreadId,
}

/// Two threads of one name, and a fork of the first before its second turn. With `open`, a third
/// thread has a turn that does not end.
async fn host(home: &Home, open: bool) -> Made {
    let store = SqliteStore::open(home.store()).unwrap();
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "wait" => Script::new().then(Step::Hang),
        text => Script::new().say(text.to_owned()),
    });
    let runtime = Runtime::builder().engine(engine).store(store).start().await.unwrap();
    let poet = runtime.spawn(SpawnThread::new().with_name("poet")).await.unwrap();
    poet.run("a haiku").await.unwrap();
    poet.run("a sonnet").await.unwrap();
    let fork = runtime.fork(poet.id(), 1).await.unwrap();
    fork.run("a limerick").await.unwrap();
    if open {
        let request = SpawnThread::new().with_name("waiter").with_first(Submission::input("wait"));
        runtime.spawn(request).await.unwrap();
    } else {
        runtime.spawn(SpawnThread::new().with_name("poet")).await.unwrap();
        runtime.shutdown(Duration::from_secs(30)).await.unwrap();
    }
    Made { source: poet.id(), fork: fork.id() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_exported_as_a_file_that_stands_alone() {
    let home = Home::new();
    let Made { source, fork } = host(&home, false).await;
    let (source, fork) = (source.to_string(), fork.to_string());
    let shown = home.well(["show", &fork, "--json"]).json();
    assert_eq!(shown["forked_from"], source);
    assert!(shown["forked_at"].as_u64().unwrap() > 0);
    assert!(home.well(["show", &fork]).out.contains(&format!("fork of     {source}, its first ")));

    let out = home.folder().join("fork.jsonl");
    let out = out.to_str().unwrap();
    home.well(["export", &fork, "-o", out]);
    let text = std::fs::read_to_string(out).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["payload"]["id"], &first["payload"]["forked_from_id"]),
        (&fork.clone().into(), &source.clone().into())
    );
    assert_eq!(text.matches(r#""type":"session_meta""#).count(), 1);
    for (words, there) in [("a haiku", true), ("a sonnet", false), ("a limerick", true)] {
        assert_eq!(text.contains(words), there, "{words}");
    }
    assert_eq!(coppicer(["check", out]).code, Some(0));
    // Elsewhere it is a thread like any other.
    let elsewhere = Home::new();
    elsewhere.well(["import", out]);
    elsewhere.well(["run", "--json", out]);

    // The fork keeps what it shares with a source that is deleted.
    let before = home.well(["show", &fork, "--json"]).json()["classes"].clone();
    home.well(["delete", "--yes", &source]);
    assert_eq!(home.well(["show", &fork, "--json"]).json()["classes"], before);
    assert!(home.well(["verify"]).out.ends_with("all sound\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_two_threads_have_means_neither() {
    let home = Home::new();
    let Made { source, fork } = host(&home, false).await;
    let ran = home.coppicer(["show", "poet"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    ran.says(&["`poet` can be any of these threads"]);
    ran.says(&[&source.to_string(), "/root/poet"]);
    assert!(!ran.err.contains(&fork.to_string()), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_a_host_has_under_way_is_shown_beside_it() {
    let home = Home::new();
    let Made { source, .. } = host(&home, true).await;
    // The host goes on in this process.
    let shown = home.well(["show", "waiter", "--json"]).json();
    assert_eq!(
        (&shown["status"], &shown["has_work"]),
        (&"running".into(), &true.into()),
        "{shown}"
    );
    assert!(home.well(["show", "waiter"]).out.contains("work        waits"));
    let shown = home.well(["show", &source.to_string(), "--json"]).json();
    assert_eq!(shown["has_work"], false);
}
