//! `coppicer run` on flawed input: a clear message with file and line, the other sessions run,
//! exit code 1, no panic.

use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::support::*;

/// A folder with one sound session.
fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    write_sound(folder.path(), "sound.jsonl", 1);
    folder
}

/// Runs all of `folder`, and checks that `threads` ran and that a message has all of `words`.
fn check(folder: &Path, threads: usize, words: &[&str]) {
    check_paths(&[folder.to_str().unwrap()], threads, words);
}

fn check_paths(paths: &[&str], threads: usize, words: &[&str]) {
    let ran = coppicer(["run", "--json"].iter().chain(paths));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(words);
    let report = ran.json();
    assert_eq!(report["threads"], threads, "{report}");
    let completed = report["turns"]["completed"].as_u64().unwrap_or(0) as usize;
    assert!(completed >= threads * 3, "{report}");
    for clean in ["failures", "audit", "invalid_histories"] {
        assert_eq!(report[clean], serde_json::json!([]), "{report}");
    }
    let problems = report["problems"].as_array().unwrap();
    assert!(!problems.is_empty());
}

#[test]
fn a_missing_path() {
    let folder = folder();
    let paths = [folder.path().to_str().unwrap(), "/no/such/session.jsonl"];
    check_paths(&paths, 1, &["/no/such/session.jsonl", "there is no such file"]);
}

#[test]
fn a_folder_without_sessions() {
    let (folder, empty) = (folder(), tempdir().unwrap());
    let paths = [folder.path().to_str().unwrap(), empty.path().to_str().unwrap()];
    check_paths(&paths, 1, &[paths[1], "no session files"]);
}

#[test]
fn an_empty_file() {
    let folder = folder();
    write(folder.path(), "bad.jsonl", "");
    check(folder.path(), 1, &["bad.jsonl", "the file is empty"]);
}

#[test]
fn a_file_without_meta() {
    let folder = folder();
    write(folder.path(), "bad.jsonl", turn(1, "one"));
    check(folder.path(), 1, &["bad.jsonl", "no `session_meta` line"]);
}

#[test]
fn a_truncated_last_line() {
    let folder = folder();
    let mut text = meta(2, "") + &turn(1, "one") + &turn(2, "two");
    text.truncate(text.len() - 20);
    write(folder.path(), "bad.jsonl", text);
    check(folder.path(), 2, &["bad.jsonl:9", "the file ends inside this line"]);
}

#[test]
fn garbage_in_the_middle() {
    let folder = folder();
    let text = meta(2, "") + &turn(1, "one") + "{\"garbage\n" + &turn(2, "two");
    write(folder.path(), "bad.jsonl", text);
    check(folder.path(), 2, &["bad.jsonl:6", "not one JSON value"]);
}

#[test]
fn much_garbage() {
    let folder = folder();
    let text = meta(2, "") + &turn(1, "one") + &"garbage\n".repeat(5_000) + &turn(2, "two");
    write(folder.path(), "bad.jsonl", text);
    check(folder.path(), 2, &["bad.jsonl", "4980 more damaged lines", "`coppicer check`"]);
}

#[test]
fn a_line_of_20_mib() {
    let folder = folder();
    let long = line("response_item", &format!("\"{}\"", "x".repeat(20 << 20)));
    let text = meta(2, "") + &turn(1, "one") + &long + &turn(2, "two");
    write(folder.path(), "bad.jsonl", text);
    check(folder.path(), 2, &["bad.jsonl:6", "bytes, more than 16777216"]);
}

#[test]
fn nesting_10_000_deep() {
    let folder = folder();
    let deep = line("response_item", &("[".repeat(10_000) + &"]".repeat(10_000)));
    let text = meta(2, "") + &turn(1, "one") + &deep + &turn(2, "two");
    write(folder.path(), "bad.jsonl", text);
    check(folder.path(), 2, &["bad.jsonl:6", "nested deeper than"]);
    // Also where the meta should be.
    write(folder.path(), "bad.jsonl", deep);
    check(folder.path(), 1, &["bad.jsonl", "no `session_meta` line", "nested deeper than"]);
}

#[test]
fn invalid_utf_8() {
    let folder = folder();
    let mut bytes = (meta(2, "") + &turn(1, "one")).into_bytes();
    bytes.extend_from_slice(b"{\"type\":\"\xff\xfe\"}\n");
    bytes.extend_from_slice(turn(2, "two").as_bytes());
    write(folder.path(), "bad.jsonl", bytes);
    check(folder.path(), 2, &["bad.jsonl:6", "not UTF-8 from byte 9 on"]);
}

#[test]
fn an_id_that_is_no_uuid() {
    let folder = folder();
    write(folder.path(), "bad.jsonl", meta(2, "").replace(&id(2), "thread-2") + &turn(1, "one"));
    check(folder.path(), 1, &["bad.jsonl: line 1", "`thread-2` is no UUID"]);
    write(folder.path(), "bad.jsonl", meta(2, r#","parent_thread_id":"nobody""#));
    check(folder.path(), 1, &["bad.jsonl: line 1", "`parent_thread_id` is `nobody`"]);
}

#[test]
fn two_files_with_one_id() {
    let folder = folder();
    write(folder.path(), "one.jsonl", meta(2, "") + &turn(1, "one"));
    write(folder.path(), "other.jsonl", meta(2, "") + &turn(1, "another"));
    check(folder.path(), 1, &["one.jsonl", "other.jsonl", &id(2), "neither continues the other"]);
}

#[test]
fn a_cycle_of_parents() {
    let folder = folder();
    let child = |number: u32, parent: u32| {
        meta(number, &format!(r#","parent_thread_id":"{}""#, id(parent))) + &turn(1, "one")
    };
    write(folder.path(), "a.jsonl", child(2, 3));
    write(folder.path(), "b.jsonl", child(3, 2));
    write(folder.path(), "below.jsonl", child(4, 3));
    write(folder.path(), "own-parent.jsonl", child(5, 5));
    write(folder.path(), "sound-child.jsonl", child(6, 1));
    let words = ["a.jsonl:1", "its own ancestor", "b.jsonl", "none of them runs"];
    check(folder.path(), 2, &words);
    check(folder.path(), 2, &["below.jsonl:1", "the parent", "does not run"]);
    check(folder.path(), 2, &["own-parent.jsonl:1", "its own ancestor"]);
}

#[test]
fn a_parent_that_is_nowhere() {
    let folder = folder();
    let orphan = meta(2, &format!(r#","parent_thread_id":"{}""#, id(77))) + &turn(1, "one");
    write(folder.path(), "orphan.jsonl", orphan);
    check(folder.path(), 2, &["orphan.jsonl:1", &id(77), "in none of the files, nor in the store"]);
}

#[test]
fn a_base_that_is_nowhere() {
    let folder = folder();
    let base = format!(r#","history_base":{{"thread_id":"{}","end_ordinal_exclusive":3}}"#, id(88));
    write(folder.path(), "fork.jsonl", meta(2, &base) + &turn(1, "one"));
    check(folder.path(), 1, &["fork.jsonl", &id(88), "name the folder"]);
}

#[test]
fn a_history_that_begins_in_itself() {
    // Bases are looked for in the folders beside too: ids that no other test has.
    let folder = folder();
    let base = |of: u32| {
        format!(r#","history_base":{{"thread_id":"{}","end_ordinal_exclusive":0}}"#, id(of))
    };
    write(folder.path(), "a.jsonl", meta(201, &base(202)));
    write(folder.path(), "b.jsonl", meta(202, &base(201)));
    check(folder.path(), 1, &["a.jsonl", "begins in itself"]);
}

#[test]
fn nothing_but_flawed_input() {
    let folder = tempdir().unwrap();
    write(folder.path(), "bad.jsonl", "garbage\n");
    check(folder.path(), 0, &["bad.jsonl", "no `session_meta` line", "line 1"]);
}
