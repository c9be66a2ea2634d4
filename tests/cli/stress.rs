//! `coppicer stress`: the scenarios at small sizes. Their counts must come out; times are this machine's.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::*;

/// Runs a scenario: its figures by name. A debug build judges no times, so only a count can be missed.
fn figures(args: &[&str]) -> BTreeMap<String, Value> {
    let ran = coppicer(["stress", "--quick", "--json"].iter().chain(args));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let lines = ran.json_lines();
    let count = lines.len();
    let named: BTreeMap<String, Value> = lines
        .into_iter()
        .map(|figure| (figure["figure"].as_str().unwrap().to_owned(), figure))
        .collect();
    assert_eq!(named.len(), count, "a figure is given once: {ran:?}");
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
        let figure = &figures[&format!("respawn/{reply}")];
        assert_eq!(figure["baseline"], "raw ractor", "{figure}");
        assert!(figure["ratio"].as_f64().unwrap() > 0.0, "{figure}");
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

#[test]
fn for_people_the_figures_are_a_table_with_a_verdict_below_it() {
    let ran = coppicer(["stress", "close", "--quick", "--threads", "10", "--shape", "flat"]);
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
    ] {
        let ran = coppicer(["stress"].iter().chain(&args));
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
    }
}
