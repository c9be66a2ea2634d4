//! `coppicer why` against a console.

use std::time::Duration;

use serde_json::{Value, json};

use crate::console::Serving;
use crate::support::*;

/// A host whose turns do what they are told.
fn told(home: &Home) -> Serving {
    let mut serving = Serving::start(home, &["serve", "--engine", "told"]);
    serving.wait_for("serving ");
    serving
}

fn spawn(serving: &Serving, request: &Value) -> String {
    let made = serving.post("/api/threads", &request.to_string());
    made["thread"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

/// Why a thread does what it does, as soon as that `holds`.
fn why_once(serving: &Serving, home: &Home, thread: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..200 {
        let ran = home.well(["why", &serving.url, thread, "--json"]);
        let why = ran.json();
        if holds(&why) {
            return why;
        }
        pause(Duration::from_millis(50));
    }
    panic!("it never came to it");
}

#[test]
fn a_user_of_the_command_line_asks_why_a_thread_does_what_it_does() {
    let home = Home::new();
    let serving = told(&home);
    let root = spawn(&serving, &json!({ "input": "hello" }));
    let scan = json!({ "parent": root, "name": "scan", "input": "/tool 10m 10m",
                       "budget": { "tokens": 500 } });
    let scan = spawn(&serving, &scan);
    let in_tool = |why: &Value| why["turn"]["phase"].is_object();
    let why = why_once(&serving, &home, &scan, in_tool);
    assert_eq!((&why["thread"], &why["parent"]), (&json!(scan), &json!(root)), "{why}");
    assert_eq!(why["budget_left"]["tokens"], 500, "{why}");
    assert_eq!(why["silent"], json!([]), "{why}");
    // By its path, the last part of that, its id, and the beginning of it.
    for name in ["/root/scan", "scan", &scan, &scan[..scan.len() - 2]] {
        let ran = home.well(["why", &serving.url, name]);
        let lines: Vec<&str> = ran.out.lines().collect();
        assert!(lines[0].starts_with(&format!("thread {scan} /root/scan ")), "{ran:?}");
        for (at, words) in [
            (1, "spawned: as a sub-agent of "),
            (2, "is: running, phase Running, "),
            (3, "runs: turn "),
        ] {
            assert!(lines[at].trim_start().starts_with(words), "{words}: {ran:?}");
        }
        for words in ["in tool", "last progress ", "restarts left: ", "budget left: 500 tokens"] {
            assert!(ran.out.contains(words), "{words}: {ran:?}");
        }
    }
    // With the token in a file.
    let (address, token) = serving.url.split_once("#token=").unwrap();
    let file = write(home.folder(), "token", token);
    let ran = home.well(["why", address, "scan", "--token-file", file.to_str().unwrap()]);
    assert!(ran.out.contains(&scan), "{ran:?}");
    serving.interrupt();
    serving.end();
}

#[test]
fn what_failed_is_said_and_cannot_steer_the_terminal() {
    let home = Home::new();
    let serving = told(&home);
    let input = "/fail \u{1b}]0;owned\u{7} \u{202e}gpj.exe";
    let thread = spawn(&serving, &json!({ "input": input }));
    why_once(&serving, &home, &thread, |why| !why["last_error"].is_null());
    for args in [&["why", &serving.url, &thread][..], &["why", &serving.url, &thread, "--json"]] {
        let ran = home.well(args);
        let steers =
            |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(ran.out.contains("owned") && ran.out.contains("gpj.exe"), "{ran:?}");
        assert!(!ran.out.contains(steers), "{ran:?}");
    }
    serving.interrupt();
    serving.end();
}

#[test]
fn a_thread_that_sleeps_in_the_store_is_explained_and_not_woken() {
    let home = Home::new();
    let file = write_sound(home.folder(), "one.jsonl", 1);
    home.coppicer(["import", file.to_str().unwrap()]);
    let mut serving = Serving::start(&home, &["serve"]);
    serving.wait_for("serving ");
    for _ in 0..2 {
        let ran = home.well(["why", &serving.url, &id(1)]);
        assert!(ran.out.contains("in the store alone"), "{ran:?}");
    }
    serving.interrupt();
    serving.end();
}

#[test]
fn who_is_not_meant_and_where_no_host_runs_is_said_plainly() {
    let home = Home::new();
    let serving = told(&home);
    let root = spawn(&serving, &json!({}));
    let mut twins = Vec::new();
    for above in ["a", "b"] {
        let above = spawn(&serving, &json!({ "parent": root, "name": above }));
        twins.push(spawn(&serving, &json!({ "parent": above, "name": "twin" })));
    }
    let refused = |args: &[&str], words: &[&str]| {
        let ran = home.coppicer(["why"].iter().chain(args));
        assert_eq!((ran.code, &*ran.out), (Some(1), ""), "{ran:?}");
        ran.says(words);
        ran
    };
    refused(&[&serving.url, "nobody"], &["the console has no thread `nobody`"]);
    refused(&[&serving.url, &id(7)], &["the console has no thread"]);
    let ran = refused(&[&serving.url, "twin"], &["`twin` can be any of these threads"]);
    assert!(twins.iter().all(|twin| ran.err.contains(twin)), "{ran:?}");
    let ran = refused(&["http://127.0.0.1:1/#token=a", "x"], &["cannot reach", "refused"]);
    ran.says(&["a host must run", "coppicer show THREAD"]);
    refused(&["/some/store.db", "x"], &["expected an address"]);
    let (address, _) = serving.url.split_once('#').unwrap();
    refused(&[address, "x"], &["no token"]);
    refused(&[&format!("{address}#token=wrong"), "x"], &["refused", "bad_token"]);
    assert_eq!(home.coppicer(["why", &serving.url]).code, Some(2), "it needs a thread");
    serving.interrupt();
    serving.end();
}
