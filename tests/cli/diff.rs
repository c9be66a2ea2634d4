//! `coppicer diff`.

use std::path::PathBuf;

use tempfile::tempdir;

use crate::support::*;

fn path(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// The file of a scenario of forks whose name begins like this.
fn fork_file(mode: &str, name: &str) -> PathBuf {
    let files = files_in(&sessions().join(mode).join("forks"));
    files
        .into_iter()
        .find(|file| file.file_name().unwrap().to_str().unwrap().starts_with(name))
        .unwrap()
}

fn diff(left: &std::path::Path, right: &std::path::Path) -> serde_json::Value {
    let ran = coppicer(["diff", "--json", path(left), path(right)]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    ran.json()
}

// A fork of the legacy mode is a copy with metas and times of its own, one of the paginated mode
// begins in its source's file: both part where the fork was cut.
#[test]
fn a_fork_parts_from_its_source_where_it_was_cut_in_both_modes() {
    for mode in ["legacy", "paginated"] {
        let source = fork_file(mode, "source");
        for (name, turns) in [("full-1", 5), ("last1-1", 2), ("before3-1", 3)] {
            let fork = fork_file(mode, name);
            let seen = diff(&source, &fork);
            assert_eq!(seen["relation"], "the second is a fork of the first", "{mode} {name}");
            assert_eq!(seen["common_user_turns"], turns, "{mode} {name}");
            assert_eq!(seen["left"]["further_user_turns"], 5 - turns, "{mode} {name}");
            assert_eq!(seen["right"]["further_user_turns"], 1, "{mode} {name}");
            let back = diff(&fork, &source);
            assert_eq!(back["relation"], "the first is a fork of the second");
            assert_eq!((&back["left"], &back["right"]), (&seen["right"], &seen["left"]));
            assert_eq!(back["common_records"], seen["common_records"]);
        }
        let forks = diff(&fork_file(mode, "last1-1"), &fork_file(mode, "before3-1"));
        assert_eq!(forks["relation"], "two forks of one thread");
        assert_eq!(forks["common_user_turns"], 2);
    }
}

#[test]
fn our_own_fork_parts_from_its_source_where_it_was_cut() {
    let folder = tempdir().unwrap();
    let source = write_sound(folder.path(), "a.jsonl", 1);
    let fork = folder.path().join("fork.jsonl");
    let ran = coppicer(["fork", path(&source), "--before-user", "1", "-o", path(&fork)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let seen = diff(&source, &fork);
    assert_eq!(seen["relation"], "the second is a fork of the first");
    // One turn of four records and the start of the next.
    assert_eq!((&seen["common_records"], &seen["common_user_turns"]), (&5.into(), &1.into()));
    assert_eq!((&seen["left"]["parts_at"], &seen["right"]["parts_at"]), (&6.into(), &6.into()));
    assert_eq!(seen["right"]["further_records"], 0);
    let ran = coppicer(["diff", path(&source), path(&fork)]);
    assert!(
        ran.out.starts_with("the second is a fork of the first\nin common: 5 records, 1 turn;")
    );
    assert!(ran.out.contains("  [6] user message: two\n"), "{ran:?}");
}

#[test]
fn the_segments_of_a_reverted_session_are_one_thread() {
    let files = files_in(&examples().join("reverted"));
    let seen = diff(&files[0], &files[1]);
    assert_eq!(seen["relation"], "the same thread");
    assert!(seen["common_records"].as_u64().unwrap() > 5);
    assert!(seen["left"]["further_records"].as_u64().unwrap() > 0);
}

#[test]
fn sessions_that_are_the_same_or_strangers_are_told_so() {
    let folder = tempdir().unwrap();
    let one = write_sound(folder.path(), "one.jsonl", 1);
    let seen = diff(&one, &one);
    assert_eq!(seen["relation"], "the same thread");
    assert_eq!(
        (&seen["left"]["further_records"], &seen["right"]["further_records"]),
        (&0.into(), &0.into())
    );
    let alike = write(folder.path(), "alike.jsonl", meta(2, "") + &turn(1, "one"));
    assert_eq!(diff(&one, &alike)["relation"], "two threads that begin alike");
    let other = write(folder.path(), "other.jsonl", meta(3, "") + &turn(7, "else"));
    let seen = diff(&one, &other);
    assert_eq!((&seen["relation"], &seen["common_records"]), (&"two threads".into(), &0.into()));
}

#[test]
fn a_diff_tells_damage_and_missing_files_and_is_not_steered() {
    let folder = tempdir().unwrap();
    let one = write(folder.path(), "one.jsonl", meta(1, "") + &turn(1, "bell \u{7}\u{1b}[31m\nx"));
    let damaged = write(folder.path(), "two.jsonl", meta(2, "") + "garbage\n" + &turn(1, "one"));
    let ran = coppicer(["diff", path(&one), path(&damaged)]);
    assert_eq!(ran.code, Some(1));
    ran.says(&["two.jsonl:2: not one JSON value"]);
    assert!(ran.out.contains("user message: bell [31m x\n"), "{ran:?}");
    let ran = coppicer(["diff", path(&one), "/no/such/file"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    ran.says(&["/no/such/file", "there is no such file"]);
}
