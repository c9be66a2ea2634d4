//! Which store a command works on, and what it says of one that it cannot open.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::support::*;

fn run_once(home: &Home) {
    home.well(["run", "--json", example("chat3").to_str().unwrap()]);
}

/// Each command that needs a store which is there.
fn readers_and_writers() -> Vec<Vec<&'static str>> {
    vec![
        vec!["threads"],
        vec!["tree"],
        vec!["show", "01a2032d"],
        vec!["export", "01a2032d", "-o", "never-written.jsonl"],
        vec!["verify"],
        vec!["archive", "01a2032d"],
        vec!["unarchive", "01a2032d"],
        vec!["delete", "--yes", "01a2032d"],
    ]
}

fn refused(home: &Home, store: &Path, words: &[&str]) {
    for args in readers_and_writers() {
        let ran = home.coppicer(args.iter().copied().chain(["--store", store.to_str().unwrap()]));
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{args:?}: {ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{args:?}: {ran:?}");
        ran.says(words);
    }
}

#[test]
fn the_option_comes_before_the_variable_and_that_before_the_folder_for_data() {
    let home = Home::new();
    run_once(&home);
    assert!(home.store().is_file());
    let named = home.folder().join("deep/in/named.db");
    let chat = example("chat3");
    let args = ["run", "--json", "--store", named.to_str().unwrap(), chat.to_str().unwrap()];
    assert_eq!(home.well(args).json()["store"], named.to_str().unwrap());
    assert!(named.is_file());

    let data = home.folder().join("data/coppicer/store.db");
    if cfg!(target_os = "linux") {
        let mut command = home.command();
        command.env_remove("COPPICER_STORE").arg("import").arg(&chat);
        assert!(command.output().unwrap().status.success());
        assert!(data.is_file());
        let mut command = home.command();
        command.env("COPPICER_STORE", "").env_remove("XDG_DATA_HOME").arg("import").arg(&chat);
        assert!(command.output().unwrap().status.success());
        assert!(home.folder().join(".local/share/coppicer/store.db").is_file());
    }
}

#[test]
fn a_run_in_memory_leaves_no_store() {
    let home = Home::new();
    let report =
        home.well(["run", "--json", "--memory", example("chat3").to_str().unwrap()]).json();
    assert_eq!(report["store"], serde_json::Value::Null);
    assert!(!home.store().exists());
}

#[test]
fn a_run_lets_go_of_its_store_and_leaves_one_file_and_its_lock() {
    let home = Home::new();
    run_once(&home);
    let mut names: Vec<_> =
        fs::read_dir(home.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["default.db", "default.db.lock"], "a copy of the file is a backup");
}

#[test]
fn a_store_that_is_missing_is_not_made_by_looking_at_it() {
    let home = Home::new();
    let missing = home.folder().join("missing.db");
    refused(&home, &missing, &["there is no store", "missing.db", "coppicer import"]);
    assert_eq!(fs::read_dir(home.folder()).unwrap().count(), 0);
}

#[test]
fn what_is_no_store_is_refused_and_unchanged() {
    let home = Home::new();
    let text = home.folder().join("text.db");
    fs::write(&text, "dear diary, ".repeat(1_000)).unwrap();
    let before = fs::read(&text).unwrap();
    refused(&home, &text, &["text.db", "is no Coppicer store"]);
    let empty = home.folder().join("empty.db");
    fs::write(&empty, "").unwrap();
    refused(&home, &empty, &["empty.db", "is no Coppicer store"]);
    let chat = example("chat3");
    for store in [&text, &empty] {
        let ran =
            home.coppicer(["run", "--store", store.to_str().unwrap(), chat.to_str().unwrap()]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.says(&["is no Coppicer store"]);
    }
    assert_eq!(fs::read(&text).unwrap(), before);
}

#[test]
fn a_store_of_a_later_version_or_with_foreign_things_in_it_is_refused() {
    let folder = tempdir().unwrap();
    let home = Home::new();
    run_once(&home);
    let newer = folder.path().join("newer.db");
    fs::copy(home.store(), &newer).unwrap();
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    refused(&home, &newer, &["newer.db", "schema version 99", "newer program"]);
    let foreign = folder.path().join("foreign.db");
    fs::copy(home.store(), &foreign).unwrap();
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection.execute_batch("CREATE VIEW mine AS SELECT 1").unwrap();
    drop(connection);
    refused(&home, &foreign, &["foreign.db", "which Coppicer did not put there"]);
}
