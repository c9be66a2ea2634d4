//! The commands that work on a store.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::*;

/// A home whose default store has the example sessions.
fn home() -> Home {
    let home = Home::new();
    home.well(["import", examples().to_str().unwrap()]);
    home
}

const ROOT: &str = "01a2032e-03f1-7ab3-bf29-b1da0e65075c";
const CHILD: &str = "01a2032e-0495-7db2-bf49-518f4bd28c01";
const GRANDCHILD: &str = "01a2032e-04f4-7da0-b747-7de8f8f1a861";

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["thread"].as_str().unwrap()).collect()
}

#[test]
fn an_import_can_be_repeated_and_changes_nothing_the_second_time() {
    let home = Home::new();
    let sessions = sessions();
    let args = ["import", sessions.to_str().unwrap()];
    let first = home.well(args);
    assert!(first.out.ends_with("44 threads from 69 files, 44 new\n"), "{first:?}");
    let before = home.well(["threads", "--all", "--limit", "100", "--json"]);
    assert_eq!(before.json_lines().len(), 44);
    let again = home.well(args);
    assert!(again.out.ends_with("44 threads from 69 files, 0 new\n"), "{again:?}");
    assert_eq!(again.out.matches("  (was there)\n").count(), 44);
    assert_eq!(home.well(["threads", "--all", "--limit", "100", "--json"]).out, before.out);
}

#[test]
fn what_the_store_has_otherwise_is_told_by_name_and_left_alone() {
    let (home, folder) = (Home::new(), tempdir().unwrap());
    write_sound(folder.path(), "parent.jsonl", 1);
    home.well(["import", folder.path().to_str().unwrap()]);
    let before = home.well(["show", &id(1), "--json"]).out;

    let child = meta(2, &format!(r#","parent_thread_id":"{}""#, id(1))) + &turn(1, "one");
    write(folder.path(), "child.jsonl", child);
    write_sound(folder.path(), "other.jsonl", 3);
    write(folder.path(), "parent.jsonl", meta(1, "") + &turn(1, "another"));
    for command in ["import", "run"] {
        let ran = home.coppicer([command, folder.path().to_str().unwrap()]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.says(&["parent.jsonl", &id(1), "differs from record 2 on", "left alone"]);
        ran.says(&["child.jsonl", "the parent of thread", "does not run"]);
        assert_eq!(home.well(["show", &id(1), "--json"]).out, before, "{command}");
        assert_eq!(home.coppicer(["show", &id(2)]).code, Some(1));
    }
    let other = home.well(["show", &id(3), "--json"]).json();
    assert!(other["records"].as_u64().unwrap() > 9, "the others run: {other}");
}

#[test]
fn a_session_whose_parent_came_before_is_put_below_it_and_runs_alone() {
    let (home, tree) = (Home::new(), files_in(&examples().join("tree")));
    let file = |thread: &str| {
        let found = tree.iter().find(|file| file.to_str().unwrap().contains(thread));
        found.unwrap().to_str().unwrap()
    };
    home.well(["import", file(ROOT)]);
    home.well(["import", file(CHILD)]);
    let report = home.well(["run", "--json", file(GRANDCHILD)]).json();
    assert_eq!((&report["threads"], &report["trees"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(report["turns"], json!({ "completed": 3 }));
    let rows = home.well(["tree", "--json"]).json_lines();
    assert_eq!(ids(&rows), [ROOT, CHILD, GRANDCHILD]);
    let levels: Vec<_> =
        rows.iter().map(|row| (row["level"].as_u64(), row["depth"].as_u64())).collect();
    assert_eq!(levels, [0, 1, 2].map(|level| (Some(level), Some(level))));
    // With the others it runs as if they had all come together.
    let all = examples().join("tree");
    let report = home.well(["run", "--json", all.to_str().unwrap()]).json();
    assert_eq!((&report["threads"], &report["trees"]), (&4.into(), &1.into()), "{report}");
    assert_eq!(report["continued"]["threads"], 3);
    home.well(["verify"]);
}

#[test]
fn a_list_has_pages_orders_and_a_search() {
    let home = home();
    let all = home.well(["threads", "--json"]).json_lines();
    assert_eq!(all.len(), 12);
    assert!(all.is_sorted_by_key(|row| std::cmp::Reverse(row["created_ms"].as_u64())));
    let mut paged = Vec::new();
    let mut after = Vec::new();
    for _ in 0..4 {
        let args = ["threads", "--json", "--limit", "3"].into_iter().map(str::to_owned);
        let page = home.well(args.chain(after)).json_lines();
        assert_eq!(page.len(), 3);
        after = vec!["--after".to_owned(), page[2]["cursor"].as_str().unwrap().to_owned()];
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let sorted = home.well(["threads", "--json", "--sort", "id"]).json_lines();
    assert!(ids(&sorted).is_sorted());
    let found = home.well(["threads", "--json", "--search", "CHILD_A"]).json_lines();
    assert_eq!(ids(&found), [GRANDCHILD, CHILD]);
    assert!(home.well(["threads", "--search", "no such text"]).out.ends_with("0 threads\n"));

    let page = home.well(["threads", "--limit", "5"]);
    let cursor = page.out.lines().last().unwrap().strip_prefix("more: --after ").unwrap();
    let rest = home.well(["threads", "--after", cursor]);
    assert!(rest.out.ends_with("7 threads\n"), "{rest:?}");
    for line in page.out.lines().chain(rest.out.lines()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    // A cursor of another order.
    let ran = home.coppicer(["threads", "--sort", "id", "--after", cursor]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(&["is no cursor of a list"]);
    assert_eq!(home.coppicer(["threads", "--after", "nonsense"]).code, Some(2));
}

#[test]
fn threads_go_into_the_archive_and_come_back() {
    let home = home();
    let ran = home.well(["archive", GRANDCHILD, "/root/child_b"]);
    assert_eq!(ran.out.matches("  archived  /root/child_").count(), 2, "{ran:?}");
    assert_eq!(home.well(["threads", "--json"]).json_lines().len(), 10);
    let archived = home.well(["threads", "--archived", "--json"]).json_lines();
    assert_eq!(archived.len(), 2);
    assert!(archived.iter().all(|row| row["archived_ms"].is_u64()));
    assert_eq!(home.well(["threads", "--all"]).out.matches("* ").count(), 2);
    // Twice is as good as once, and one that is missing harms no other.
    let ran = home.coppicer(["unarchive", "nobody", "child_b", "child_b", GRANDCHILD]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(&["the store has no thread `nobody`"]);
    assert_eq!(ran.out.lines().count(), 2);
    assert_eq!(home.well(["threads", "--json"]).json_lines().len(), 12);
}

#[test]
fn a_thread_is_deleted_with_all_that_is_below_it_and_only_on_purpose() {
    let home = home();
    let ran = home.coppicer(["delete", CHILD]);
    assert_eq!(ran.code, Some(2), "without --yes: {ran:?}");
    let ran = home.well(["delete", "--yes", CHILD, GRANDCHILD]);
    assert!(ran.out.contains("deleted, 2 threads in all"), "{ran:?}");
    assert!(ran.out.contains(&format!("{GRANDCHILD}  deleted with another")), "{ran:?}");
    let ran = home.coppicer(["show", GRANDCHILD]);
    assert_eq!(ran.code, Some(1));
    ran.says(&["the store has no thread", GRANDCHILD]);
    assert_eq!(home.well(["threads", "--json"]).json_lines().len(), 10);
    home.well(["verify"]);
}

#[test]
fn a_thread_is_meant_by_its_id_a_beginning_a_path_or_the_end_of_one() {
    let home = home();
    for text in [CHILD, "01a2032e-0495", "01A2032E-0495-7", "/root/child_a", "child_a"] {
        assert_eq!(home.well(["show", text, "--json"]).json()["thread"], CHILD, "{text}");
    }
    let ran = home.coppicer(["show", "01a2032e"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    ran.says(&["`01a2032e` can be any of these threads"]);
    for candidate in [ROOT, CHILD, GRANDCHILD] {
        ran.says(&[candidate]);
    }
    assert_eq!(ran.err.lines().count(), 5, "{ran:?}");
    // Too short a beginning, and texts that are no ids at all.
    for nobody in
        ["01a", "zzzz", "", "/root/child_c", "\u{1b}[31m", "0197f0a2-4c11-7d3e-9a55-0c6f3a1b2c3d"]
    {
        let ran = home.coppicer(["show", nobody]);
        assert_eq!(ran.code, Some(1), "{nobody}: {ran:?}");
        ran.says(&["the store has no thread"]);
        assert!(!ran.err.contains('\u{1b}'));
    }
}

#[test]
fn all_that_is_known_of_a_thread_is_shown() {
    let home = home();
    let shown = home.well(["show", "child_a", "--json"]).json();
    assert_eq!(shown["parent"], ROOT);
    assert_eq!(shown["edge"], "open");
    assert_eq!(shown["children"], json!([GRANDCHILD]));
    assert_eq!(
        (&shown["records"], &shown["turns"], &shown["depth"]),
        (&32.into(), &1.into(), &1.into())
    );
    let classes = shown["classes"].as_object().unwrap();
    assert_eq!(classes.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 32);
    assert_eq!(shown["has_work"], false);
    assert_eq!(shown["damage"], Value::Null);
    let people = home.well(["show", "child_a"]).out;
    for wanted in
        ["parent      01a2032e-03f1", "1 level below the root", "path        /root/child_a"]
    {
        assert!(people.contains(wanted), "{wanted}: {people}");
    }
    assert!(people.lines().all(|line| line.chars().count() <= 80), "{people}");
    // A session that ends in mid-turn, with a call open.
    let crash = home.well(["show", "01a2032d-dab1", "--json"]).json();
    assert_eq!((&crash["mid_turn"], &crash["open_calls"]), (&true.into(), &1.into()));
}

#[test]
fn trees_are_shown_from_their_roots() {
    let home = home();
    let all = home.well(["tree"]);
    assert!(all.out.ends_with("12 threads in 9 trees\n"), "{all:?}");
    assert!(all.out.contains(&format!("\n    {GRANDCHILD}  ")), "{all:?}");
    let below = home.well(["tree", CHILD, "--json"]).json_lines();
    assert_eq!(ids(&below), [CHILD, GRANDCHILD]);
    assert_eq!((&below[0]["level"], &below[1]["level"]), (&0.into(), &1.into()));
    assert!(all.out.lines().all(|line| line.chars().count() <= 80), "{all:?}");
}

#[test]
fn an_exported_thread_comes_back_byte_for_byte() {
    let (home, folder) = (home(), tempdir().unwrap());
    let out = folder.path().join("out.jsonl");
    let export =
        |thread: &str| home.well(["export", thread, "-o", out.to_str().unwrap(), "--force"]);
    for (name, thread) in
        [("chat3", "01a2032d-a9a4"), ("crash", "01a2032d-dab1"), ("tools", "01a2032d-aafa")]
    {
        export(thread);
        assert!(fs::read(&out).unwrap() == fs::read(example(name)).unwrap(), "{name}");
    }
    // A fork stands alone, as it does when its file is exported.
    export("01a2032d-8478");
    let lines = fs::read_to_string(&out).unwrap();
    assert_eq!(lines.matches(r#""type":"session_meta""#).count(), 1);
    let fork = &files_in(&examples().join("fork"))[1];
    let shown = coppicer(["history", out.to_str().unwrap(), "--json"]);
    assert_eq!(shown.out, coppicer(["history", fork.to_str().unwrap(), "--json"]).out);
    assert_eq!(coppicer(["check", out.to_str().unwrap()]).code, Some(0));
    // What is in the way stays, and what looks like a file is none of the store's threads.
    let ran = home.coppicer(["export", "01a2032d-a9a4", "-o", out.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(fs::read_to_string(&out).unwrap(), lines);
    let ran = home.coppicer(["export", "missing.jsonl", "-o", "nowhere.jsonl"]);
    ran.says(&["missing.jsonl", "there is no such file"]);
}

#[test]
fn that_nobody_reads_on_is_no_failure() {
    let home = home();
    for args in [&["threads", "--json"][..], &["tree"], &["show", ROOT], &["verify"]] {
        let mut command = home.command();
        let mut child =
            command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{args:?}: {ran:?}");
    }
}

#[test]
fn what_threads_say_does_not_steer_the_terminal_nor_fill_lines_of_its_own() {
    let (home, folder) = (Home::new(), tempdir().unwrap());
    let text = "red \u{1b}[31m \u{202e}\nthread      forged";
    let file = write(folder.path(), "a.jsonl", meta(1, "") + &turn(1, text));
    home.well(["import", file.to_str().unwrap()]);
    home.well(["run", "--json", file.to_str().unwrap()]);
    for args in [&["threads"][..], &["tree"], &["show", &id(1)], &["archive", &id(1)]] {
        let ran = home.well(args);
        assert!(!ran.out.contains(['\u{1b}', '\u{202e}']), "{ran:?}");
        assert!(!ran.out.contains("\nthread      forged"), "{ran:?}");
    }
    // JSON has it all, escaped.
    let shown = home.well(["show", &id(1), "--json"]).json();
    assert_eq!(shown["preview"], text);
}
