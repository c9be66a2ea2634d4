//! Replays the corpus of the fuzzer (`fuzz/run TARGET SECONDS`): what it found stays found.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

#[path = "../../fuzz/src/check.rs"]
mod check;

use std::path::Path;

/// How many inputs a corpus has at least: a folder that is not found would pass for a sound one.
fn replay(target: &str, check: fn(&[u8]), at_least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    files.sort_by_key(std::fs::DirEntry::path);
    assert!(files.len() >= at_least, "{target}: {} inputs", files.len());
    for file in files {
        println!("{}", file.path().display());
        check(&std::fs::read(file.path()).unwrap());
    }
}

#[test]
fn no_line_of_the_corpus_is_too_strange_to_be_classified() {
    replay("line", check::line, 20);
}

#[test]
fn no_session_of_the_corpus_breaks_a_reader_a_plan_or_an_export() {
    replay("session", check::session, 10);
}

#[test]
fn no_history_of_the_corpus_breaks_a_law_of_forks() {
    replay("plan", check::plan, 3);
}
