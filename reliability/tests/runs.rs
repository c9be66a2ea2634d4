//! The crash tests themselves, small: the README says how they are run in full.

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_coppicer-reliability");
    Command::new(program).args(args).output().expect("the program starts")
}

/// The line of counts of a run that is to go well.
fn line(args: &[&str]) -> String {
    let output = run(args);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}\n{wrong}");
    print!("{said}");
    said
}

fn count(line: &str, what: &str) -> u64 {
    let found = line.split([',', ':', '(', ')']).find_map(|part| part.trim().strip_prefix(what));
    let found = found.and_then(|number| number.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no count of `{what}` in {line}"))
}

#[test]
fn what_a_killed_process_acknowledged_is_in_the_store() {
    let line = line(&["kill", "--rounds", "8", "--threads", "100", "--seed", "11"]);
    assert_eq!(count(&line, "rounds"), 8);
    assert!(count(&line, "submitted") > 100, "{line}");
}

#[test]
fn a_process_that_acknowledges_too_early_is_found_out() {
    let output = run(&["kill", "--rounds", "10", "--threads", "20", "--seed", "16", "--break"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Lost: "), "{said}");
}

#[test]
fn a_store_opens_after_its_first_opening_was_killed() {
    assert_eq!(count(&line(&["open-kill", "--rounds", "6", "--seed", "12"]), "rounds"), 6);
}

#[test]
fn a_loss_of_power_loses_nothing_and_the_controls_tell_the_difference() {
    // One control in four loses nothing (11 of 40 were seen): of six, some lose something.
    let rounds = ["--rounds", "2", "--control-rounds", "6", "--raw-rounds", "1", "--threads", "30"];
    let line = line(&[&["power", "--seed", "13"][..], &rounds[..]].concat());
    if !line.contains("skipped") {
        assert!(count(&line, "rounds that lost") > 0);
    }
}

#[test]
fn faults_of_the_disk_lose_nothing_and_writes_go_on_by_themselves() {
    let line = line(&["faults", "--trials", "5", "--full", "1", "--threads", "30", "--seed", "14"]);
    if !line.contains("faults: skipped") {
        assert!(count(&line, "calls that failed") > 0, "{line}");
    }
}

#[test]
fn a_flipped_bit_is_noticed_or_changes_nothing() {
    let line = line(&["flips", "--places", "25", "--seed", "15"]);
    assert_eq!(count(&line, "places"), 25);
}

#[test]
fn a_zombie_writes_emits_spawns_and_sends_nothing() {
    let line = line(&["zombie", "--rounds", "3"]);
    assert_eq!((count(&line, "zombies"), count(&line, "tries refused")), (3, 15));
}

#[test]
fn the_same_seed_is_printed_and_wrong_usage_has_a_code_of_its_own() {
    assert_eq!(count(&line(&["zombie", "--rounds", "1", "--seed", "99"]), "seed"), 99);
    assert_eq!(run(&["kill", "--rounds", "many"]).status.code(), Some(2));
}
