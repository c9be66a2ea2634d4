//! `coppicer run` on a store that an earlier run has left, or still has.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::*;

/// How often a run is killed before it may end.
const KILLS: usize = 10;

fn report(home: &Home, args: &[&str]) -> Value {
    home.well(["run", "--json"].iter().chain(args)).json()
}

/// What must not depend on how often, and when, a run was killed.
fn what_counts(report: &Value) -> Value {
    let keys = ["outcomes", "turns", "threads", "trees", "files", "unfinished", "lost"];
    keys.iter().map(|&key| (key.to_owned(), report[key].clone())).collect()
}

/// A time before `most`.
fn draw(most: Duration) -> Duration {
    let drawn = RandomState::new().build_hasher().finish();
    most.mul_f64((drawn >> 11) as f64 / (1u64 << 53) as f64)
}

fn silent(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// The submissions of runs whose turns ended so, over all threads; none of them twice.
fn ended(home: &Home, is_end: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let folder = tempdir().unwrap();
    let out = folder.path().join("out.jsonl");
    let mut found = BTreeSet::new();
    for row in home.well(["threads", "--all", "--limit", "1000", "--json"]).json_lines() {
        let thread = row["thread"].as_str().unwrap();
        home.well(["export", thread, "-o", out.to_str().unwrap(), "--force"]);
        for line in std::fs::read_to_string(&out).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let turn = line["payload"]["turn_id"].as_str().unwrap_or_default();
            if !turn.starts_with("run:") || !is_end(&line["payload"]) {
                continue;
            }
            // A further attempt has its number behind the submission's name.
            let (job, name) = turn.rsplit_once(':').unwrap();
            let name = name.split('.').next().unwrap();
            assert!(found.insert(format!("{thread} {job}:{name}")), "{thread}: {turn} ran twice");
        }
    }
    found
}

#[test]
fn a_run_that_is_killed_and_run_again_ends_as_one_that_was_not_and_runs_nothing_twice_p3() {
    let sessions = examples();
    let sessions = sessions.to_str().unwrap();
    let args = ["--crash", "0.3", "--seed", "7", "--turns", "12", "--threads", "15", sessions];
    let undisturbed = Home::new();
    let begun = SystemTime::now();
    let wanted = report(&undisturbed, &args);
    let took = begun.elapsed().unwrap();
    assert!(wanted["turns"]["crashed"].as_u64().unwrap() > 50, "{wanted}");

    let home = Home::new();
    let mut moments = Vec::new();
    for _ in 0..KILLS {
        let mut command = home.command();
        let mut run = silent(command.arg("run").args(args)).spawn().unwrap();
        moments.push(draw(took));
        pause(moments[moments.len() - 1]);
        run.kill().unwrap();
        run.wait().unwrap();
    }
    let killed = report(&home, &args);
    assert_eq!(what_counts(&killed), what_counts(&wanted), "killed after {moments:?}");
    for none in ["audit", "failures", "problems", "invalid_histories"] {
        assert_eq!(killed[none], json!([]), "killed after {moments:?}");
    }
    let completed = ended(&home, |payload| payload["type"] == "task_complete");
    assert_eq!(Some(completed.len() as u64), killed["turns"]["completed"].as_u64());
    let crashed = ended(&home, |payload| payload["cause"] == "crashed");
    assert_eq!(Some(crashed.len() as u64), killed["turns"]["crashed"].as_u64());
    assert!(completed.is_disjoint(&crashed));
    assert!(home.well(["verify"]).out.ends_with("all sound\n"));
}

#[test]
fn a_run_that_is_done_has_nothing_left_to_do() {
    let (home, sessions) = (Home::new(), examples());
    let args = ["--crash", "0.3", "--seed", "3", "--threads", "3", sessions.to_str().unwrap()];
    let first = report(&home, &args);
    assert_eq!(first["continued"], json!({ "threads": 0, "ended": 0, "begun": 0 }));
    let records = |home: &Home| -> Vec<Value> {
        let rows = home.well(["threads", "--all", "--sort", "id", "--json"]).json_lines();
        rows.into_iter().map(|row| row["records"].clone()).collect()
    };
    let before = records(&home);
    let again = report(&home, &args);
    // Three turns each, and what one session had left unfinished.
    assert_eq!(again["continued"], json!({ "threads": 15, "ended": 15 * 3 + 1, "begun": 0 }));
    assert_eq!(what_counts(&again), what_counts(&first));
    assert_eq!(again["restarts"], 0);
    assert_eq!(records(&home), before);
    let people = home.coppicer(["run"].iter().chain(&args));
    assert!(people.out.contains("continued  15 threads of the store, 46 turns done before"));
}

#[test]
fn another_seed_is_a_new_run_and_more_turns_are_the_rest_of_the_same_one() {
    let (home, chat) = (Home::new(), example("chat3"));
    let run =
        |home: &Home, args: &[&str]| report(home, &[args, &[chat.to_str().unwrap()]].concat());
    let first = run(&home, &["--turns", "2"]);
    let longer = run(&home, &["--turns", "5"]);
    assert_eq!(longer["continued"], json!({ "threads": 1, "ended": 2, "begun": 0 }));
    assert_eq!(longer["outcomes"], run(&Home::new(), &["--turns", "5"])["outcomes"]);
    for other in [&["--turns", "2", "--seed", "1"][..], &["--turns", "2", "--engine", "script"]] {
        let other = run(&home, other);
        assert_eq!(other["continued"], json!({ "threads": 1, "ended": 0, "begun": 0 }), "{other}");
        assert_ne!(other["outcomes"], first["outcomes"]);
    }
}

#[test]
fn what_was_imported_before_is_run_as_if_it_came_with_the_run() {
    let (home, sessions) = (Home::new(), examples());
    let sessions = sessions.to_str().unwrap();
    home.well(["import", sessions]);
    let args = ["--crash", "0.5", "--seed", "2", "--turns", "9", sessions];
    let continued = report(&home, &args);
    assert_eq!(continued["continued"]["threads"], 12);
    assert_eq!(what_counts(&continued), what_counts(&report(&Home::new(), &args)));
}

/// A run that does not end by itself. Killed when it is dropped.
struct Endless(Child);

impl Endless {
    /// Starts one, and waits until its threads run.
    fn start(home: &Home) -> Self {
        let mut command = home.command();
        command.args(["run", "--turns", "1000000", examples().to_str().unwrap()]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("trees resumed")));
        Self(child)
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_store_in_use_can_be_read_and_not_written() {
    let home = Home::new();
    let run = Endless::start(&home);
    let pid = format!("by process {}", run.0.id());
    let sessions = examples();
    let sessions = sessions.to_str().unwrap();
    for args in [
        &["run", sessions][..],
        &["import", sessions],
        &["archive", "01a2032d-a9a4"],
        &["delete", "--yes", "01a2032d-a9a4"],
    ] {
        let ran = home.coppicer(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{args:?}: {ran:?}");
        ran.says(&["default.db", "in use", &pid]);
    }
    let out = home.folder().join("out.jsonl");
    assert!(home.well(["threads"]).out.ends_with("12 threads\n"));
    assert!(home.well(["tree", "child_a"]).out.ends_with("2 threads in 1 tree\n"));
    assert_eq!(home.well(["show", "child_a", "--json"]).json()["path"], "/root/child_a");
    home.well(["export", "01a2032d-a9a4", "-o", out.to_str().unwrap()]);
    assert_eq!(coppicer(["check", out.to_str().unwrap()]).code, Some(0));
    assert!(home.well(["verify"]).out.ends_with("all sound\n"));
    drop(run);
    home.well(["archive", "01a2032d-a9a4"]);
}
