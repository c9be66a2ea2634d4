//! `coppicer run`: sound sessions, crashes, many threads, interrupts.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tempfile::tempdir;

use crate::support::*;

fn run(args: &[&str]) -> Ran {
    coppicer(["run"].iter().chain(args))
}

fn report(args: &[&str]) -> Value {
    let ran = run(&[args, &["--json"]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    ran.json()
}

#[test]
fn all_recorded_sessions_run_to_an_outcome() {
    let report = report(&[sessions().to_str().unwrap()]);
    assert_eq!(report["files"], 69);
    assert_eq!(report["threads"], 44);
    assert_eq!(report["trees"], 38);
    assert_eq!(report["unfinished"], 4);
    // Three turns each, and what was unfinished.
    assert_eq!(report["turns"], serde_json::json!({ "completed": 44 * 3 + 4 }));
    assert_eq!(report["shutdown"], serde_json::json!({ "drained": 44 }));
    assert_eq!(report["audit"], serde_json::json!([]));
    assert_eq!(report["lost"], 0);
}

#[test]
fn the_same_seed_crashes_the_same_turns() {
    let sessions = sessions();
    let sessions = sessions.to_str().unwrap();
    let mut digests = std::collections::BTreeSet::new();
    for seed in 1..=20 {
        let seed = seed.to_string();
        let args = ["--memory", "--crash", "0.3", "--seed", &seed, sessions];
        let (one, other) = (report(&args), report(&args));
        assert_eq!(one["outcomes"], other["outcomes"]);
        assert_eq!(one["turns"], other["turns"]);
        assert!(one["turns"]["crashed"].as_u64().unwrap() > 20, "{one}");
        assert_eq!(one["restarts"], one["turns"]["crashed"]);
        digests.insert(one["outcomes"].as_str().unwrap().to_owned());
    }
    assert_eq!(digests.len(), 20);
}

#[test]
fn a_thread_whose_every_turn_crashes_has_its_outcomes_too() {
    let report = report(&["--crash", "1", "--turns", "20", example("chat3").to_str().unwrap()]);
    assert_eq!(report["turns"], serde_json::json!({ "crashed": 20 }));
}

#[test]
fn a_run_for_people_ends_with_a_report_and_tells_its_progress_beside_it() {
    let ran = run(&[examples().to_str().unwrap(), "--engine", "script", "--turns", "1"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("12 threads in 9 trees, from 13 files"), "{ran:?}");
    assert!(ran.out.contains("13 completed"), "{ran:?}");
    assert!(ran.out.contains("every thread reached an outcome, the audit is clean"));
    ran.says(&["13/13 turns"]);
}

#[test]
fn session_files_are_only_read() {
    let folder = tempdir().unwrap();
    let file = write_sound(folder.path(), "a.jsonl", 1);
    let before = fs::read(&file).unwrap();
    report(&[file.to_str().unwrap()]);
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn ten_thousand_threads_reach_their_outcome_and_are_measured() {
    let report = report(&["--memory", "--threads", "10000", "--turns", "1"]);
    assert_eq!(report["threads"], 10_000);
    assert_eq!(report["turns"], serde_json::json!({ "completed": 10_000 }));
    assert_eq!(report["shutdown"], serde_json::json!({ "drained": 10_000 }));
    assert_eq!(report["memory"]["threads"], 10_000);
    #[cfg(target_os = "linux")]
    assert!(report["memory"]["idle_bytes"].as_u64().unwrap() > 500, "{report}");
}

#[test]
fn copies_of_one_thread_are_one_session() {
    let folder = tempdir().unwrap();
    let whole = meta(1, "") + &turn(1, "one") + &turn(2, "two");
    write(folder.path(), "0-early.jsonl", meta(1, "") + &turn(1, "one"));
    write(folder.path(), "1-same.jsonl", &whole);
    write(folder.path(), "2-same.jsonl", &whole);
    let report = report(&[folder.path().to_str().unwrap()]);
    assert_eq!(report["files"], 3);
    assert_eq!(report["threads"], 1);
}

#[test]
fn a_segment_continues_its_base_also_when_that_is_not_named() {
    let segment = files_in(&examples().join("reverted"))
        .into_iter()
        .find(|file| file.to_str().unwrap().contains("_01a2032d"))
        .unwrap();
    assert_eq!(report(&[segment.to_str().unwrap()])["threads"], 1);
    assert_eq!(report(&[examples().join("reverted").to_str().unwrap()])["threads"], 1);
}

#[test]
fn an_import_shows_what_a_store_holds_each_tree_from_its_root() {
    let ran = coppicer([std::ffi::OsStr::new("import"), examples().join("tree").as_os_str()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let names: Vec<&str> =
        ran.out.lines().filter_map(|line| line.split("  /root/").nth(1)).collect();
    let names: Vec<&str> = names.iter().filter_map(|rest| rest.split("  ").next()).collect();
    assert_eq!(names, ["child_a", "child_a/grandchild", "child_b"]);
    assert!(ran.out.ends_with("4 threads from 4 files, 4 new\n"), "{ran:?}");
    let ran = coppicer(["import", "nowhere"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(&["nowhere", "no such file"]);
}

#[test]
fn wrong_usage_is_told_apart() {
    for args in [
        &[][..],
        &["x", "--crash", "2"],
        &["x", "--deadline", "10"],
        &["x", "--engine", "other"],
        &["x", "--turns", "-1"],
        &["x", "--memory", "--store", "y"],
    ] {
        let ran = run(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_closes_everything_and_reports() {
    let home = Home::new();
    let mut command = home.command();
    command.arg("run").arg(examples()).args(["--turns", "1000000", "--deadline", "5s", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A thread has run some turns before all are interrupted: its records say so.
    let runs = |row: &Value| row["records"].as_u64().unwrap() > 150;
    while !home.coppicer(["threads", "--json"]).json_lines().iter().any(runs) {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        pause(std::time::Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    let killed = std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(killed.success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:?}");
    let report = ran.json();
    assert_eq!(report["interrupted"], true);
    let closed = report["shutdown"].as_object().unwrap().values();
    assert_eq!(closed.map(|count| count.as_u64().unwrap()).sum::<u64>(), 12, "{report}");
    assert!(report["turns"]["completed"].as_u64().unwrap() > 0, "{report}");
    for none in ["audit", "invalid_histories", "failures", "problems"] {
        assert_eq!(report[none], serde_json::json!([]), "{report}");
    }
    assert_eq!((&report["lost"], &report["timed_out"]), (&0.into(), &0.into()), "{report}");

    // Run again, it does the rest. What ran when it was interrupted has ended so, one turn a thread.
    let report = home.well(["run", "--json", "--turns", "40", examples().to_str().unwrap()]).json();
    let turns = |outcome: &str| report["turns"][outcome].as_u64().unwrap_or(0);
    let cut = turns("interrupted") + turns("returned");
    assert_eq!(turns("completed") + cut, 12 * 40 + 1, "{report}");
    assert!(cut <= 12, "{report}");
}
