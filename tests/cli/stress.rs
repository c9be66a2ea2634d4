//! `coppicer stress`: the scenarios at small sizes. Their counts must come out; times are this machine's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::*;

/// Runs a scenario: its figures by name. A debug build judges no times, so only a count can be missed.
fn figures(args: &[&str]) -> BTreeMap<String, Value> {
    let ran = coppicer(["stress", "--smoke", "--json"].iter().chain(args));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let lines = ran.json_lines();
    let mut given = BTreeSet::new();
    for figure in &lines {
        let named = (figure["figure"].to_string(), figure["baseline"].to_string());
        assert!(given.insert(named), "a figure is given once beside each baseline: {figure}");
    }
    let named: BTreeMap<String, Value> = lines
        .into_iter()
        .map(|figure| (figure["figure"].as_str().unwrap().to_owned(), figure))
        .collect();
    let fields = [
        "baseline",
        "baseline_value",
        "figure",
        "met",
        "ratio",
        "scenario",
        "target",
        "unit",
        "value",
    ];
    for figure in named.values() {
        let has: Vec<&String> = figure.as_object().unwrap().keys().collect();
        let mut has: Vec<&str> = has.into_iter().map(String::as_str).collect();
        has.sort_unstable();
        assert_eq!(has, fields, "{figure}");
        assert_eq!(figure["scenario"], args[0]);
        assert_ne!(figure["met"], Value::Bool(false), "{figure}");
        let beside = figure["baseline"].is_null();
        assert_eq!(figure["baseline_value"].is_null(), beside, "{figure}");
    }
    named
}

fn value(figures: &BTreeMap<String, Value>, name: &str) -> f64 {
    let figure = figures.get(name).unwrap_or_else(|| panic!("no figure {name} in {figures:#?}"));
    figure["value"].as_f64().unwrap()
}

fn equals(figures: &BTreeMap<String, Value>, name: &str, expected: f64) {
    let value = value(figures, name);
    assert!((value - expected).abs() < f64::EPSILON, "{name}: {value}, not {expected}");
}

#[test]
fn a_close_of_wedged_trees_names_a_rung_for_each_thread_and_answers_every_caller() {
    let figures = figures(&["close", "--threads", "60", "--wedged", "0,10", "--deadline", "1s"]);
    for (shape, threads) in [("flat", 60.0), ("deep", 60.0), ("chain", 60.0)] {
        for (wedged, blocking) in [("0", 0.0), ("10", 3.0)] {
            let case = format!("{shape}/60/{wedged} %");
            let rungs = ["drained", "stopped", "killed", "fenced"];
            let named: f64 =
                rungs.iter().map(|rung| value(&figures, &format!("{case}/{rung}"))).sum();
            assert!((named - threads).abs() < f64::EPSILON, "{case}: {named} have a rung");
            assert!(value(&figures, &format!("{case}/fenced")) >= blocking, "{case}");
            assert!(value(&figures, &format!("{case}/zombies")) >= blocking, "{case}");
            for none in ["without a rung", "unanswered", "left"] {
                equals(&figures, &format!("{case}/{none}"), 0.0);
            }
            // Of a second: far from the target, which is judged in an optimised build.
            assert!(value(&figures, &format!("{case}/answer")) < 30_000.0, "{case}");
        }
    }
}

#[test]
fn a_storm_of_crashes_gives_every_turn_its_outcome_and_runs_nothing_in_a_parked_thread() {
    let figures = figures(&["crash", "--threads", "20", "--share", "20"]);
    assert!(value(&figures, "storm/panics in all") > 0.0);
    assert!(value(&figures, "storm/throughput of healthy threads") > 0.0);
    equals(&figures, "storm/outcomes of another kind", 0.0);
    equals(&figures, "storm/left by the audit", 0.0);
    for reply in ["engine's panic to first reply", "engine's panic to next durable outcome"] {
        for pace in ["respawn", "respawn back to back"] {
            let figure = &figures[&format!("{pace}/{reply}")];
            assert_eq!(figure["baseline"], "raw ractor", "{figure}");
            assert!(figure["ratio"].as_f64().unwrap() > 0.0, "{figure}");
        }
    }
    equals(&figures, "parked/threads parked", 20.0);
    equals(&figures, "parked/turns until then", 80.0);
    equals(&figures, "parked/turns afterwards", 0.0);
    equals(&figures, "parked/restarts afterwards", 0.0);
    assert!(value(&figures, "parked/submissions refused") >= 20.0);
}

#[cfg(feature = "testing")]
#[test]
fn a_crash_of_a_threads_own_actor_is_measured_where_it_can_be_ordered() {
    let figures = figures(&["crash", "--threads", "10", "--rounds", "1", "--round", "1ms"]);
    assert_eq!(figures["respawn/actor's panic to first reply"]["target"], "<= 3x");
}

/// Every scenario as it is, with the baselines, each in a process of its own.
#[test]
fn all_scenarios_give_their_figures_and_each_target_is_shown() {
    let ran = coppicer(["stress", "all", "--smoke", "--compare", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let figures = ran.json_lines();
    let scenarios: BTreeSet<&str> =
        figures.iter().map(|figure| figure["scenario"].as_str().unwrap()).collect();
    let mut expected = vec![
        "close", "crash", "durable", "fork", "lookup", "open", "refuse", "scaling", "soak",
        "spawn", "taps", "turns",
    ];
    if cfg!(target_os = "linux") {
        expected.push("idle");
    }
    assert_eq!(scenarios, expected.into_iter().collect());
    for (scenario, what, baseline, target) in [
        ("spawn", "200 threads, one caller", Some("raw ractor"), "<= 2x"),
        ("spawn", "200 threads, one caller", Some("locked map"), "<= 4x"),
        ("turns", "1 thread, p50", None, "<= 30"),
        ("turns", "64 threads", None, ">= 100000"),
        ("lookup", "status through a handle, mean", Some("raw ractor"), "<= 1.3x"),
        ("lookup", "look-up in the directory, mean", None, "<= 150"),
        ("refuse", "one caller", None, "<= 1000"),
        ("close", "all of 200 idle threads", Some("raw ractor"), "<= 2x"),
        ("durable", "appends, 8 at once", Some("bare rusqlite, same rows"), ">= 0.8x"),
        ("fork", "200 records, on disk", None, "<= 1"),
        ("open", "500 dormant threads, store", None, "<= 200"),
        ("taps", "turns on disk, ten taps read at 4 Hz", Some("none"), ">= 0.9x"),
    ] {
        let figure = figures.iter().find(|it| {
            it["scenario"] == scenario
                && it["figure"] == what
                && it["baseline"].as_str() == baseline
                && it["target"] == target
        });
        let figure = figure.unwrap_or_else(|| panic!("{scenario}: no {what}, {target}: {ran:?}"));
        assert!(figure["met"].is_null(), "times of a smoke test are not judged: {figure}");
        assert!(figure["value"].as_f64().unwrap() > 0.0, "{figure}");
        assert_eq!(figure["ratio"].is_null(), baseline.is_none(), "{figure}");
    }
    let named = |what: &str| figures.iter().find(|figure| figure["figure"] == what);
    for place in ["in memory", "on disk"] {
        let figure = named(&format!("turns {place}, a console with one reader"));
        assert_eq!(figure.is_some(), cfg!(feature = "console"), "{place}");
        assert!(figure.is_none_or(|figure| figure["ratio"].as_f64().unwrap() > 0.0), "{figure:?}");
    }
    let counted = figures.iter().filter(|figure| figure["met"] == true).count();
    assert!(counted > 20, "what is counted is judged also here: {counted}");
    // And the same once more as tables, from a file.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.jsonl");
    std::fs::write(&file, &ran.out).unwrap();
    let report = coppicer(["stress", "report", file.to_str().unwrap(), "--targets"]);
    assert_eq!(report.code, Some(0), "{report:?}");
    assert!(report.out.starts_with("| scenario"), "{report:?}");
    assert!(report.out.ends_with(&format!("\n{counted} targets met\n")), "{report:?}");
    let report = coppicer(["stress", "report", file.to_str().unwrap()]);
    for scenario in scenarios {
        assert!(report.out.contains(&format!("`{scenario}`\n\n| ")), "{scenario}: {report:?}");
    }
}

#[test]
fn without_compare_no_baseline_is_measured() {
    for figure in figures(&["spawn", "--threads", "10"]).values() {
        assert!(figure["baseline"].is_null(), "{figure}");
    }
}

#[test]
fn what_is_no_report_is_named_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.jsonl");
    std::fs::write(&file, "\n{}\n").unwrap();
    let ran = coppicer(["stress", "report", file.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    ran.says(&["figures.jsonl: line 2"]);
}

#[test]
fn for_people_the_figures_are_a_table_with_a_verdict_below_it() {
    let args = ["stress", "close", "--smoke", "--threads", "10", "--shape", "flat", "--idle", "9"];
    let ran = coppicer(args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("| case"), "{ran:?}");
    assert!(ran.out.lines().any(|line| line.starts_with("| flat/10/1 %")), "{ran:?}");
    assert!(ran.out.ends_with("targets met\n"), "{ran:?}");
    ran.says(&["close: flat/10/0 %"]);
}

#[test]
fn what_no_scenario_can_be_is_wrong_usage() {
    for args in [
        ["close", "--wedged", "51"],
        ["close", "--wedged", "x"],
        ["close", "--threads", "1"],
        ["close", "--shape", "round"],
        ["close", "--deadline", "2"],
        ["crash", "--share", "41"],
        ["crash", "--threads", "9"],
        ["crash", "--rounds", "0"],
        ["spawn", "--threads", "0"],
        ["soak", "--share", "41"],
        ["durable", "--threads", "0"],
        ["turns", "--round", "2"],
        ["spawn", "--smoke", "--quick"],
    ] {
        let ran = coppicer(["stress"].iter().chain(&args));
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
    }
}
