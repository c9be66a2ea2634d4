//! P9: the checkers of histories and of forks find every kind of flaw, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::sync::Arc;

use coppicer_actors::{
    Flaw, ForkOptions, ForkPlan, Kept, KeptRecord, MarkerKind, ViewItem, close_turn,
    items_validity, model_view, open_calls, plan_fork, wire_validity,
};
use coppicer_messages::{AbortReason, ForkPoint, RecordClass, Seq, ToolKind};
use support::*;

fn items() -> Vec<ViewItem> {
    let source = history([U("u"), FC("a"), FC("b"), FO("b"), FO("a"), MKu(), TA(None), U("v")]);
    model_view(&source).items
}

#[test]
fn each_flaw_of_what_a_model_is_shown_is_named() {
    let sound = items();
    assert_eq!(items_validity(&sound), Ok(()));
    let call = || Arc::from("a");
    let without = |at: usize| {
        let mut items = items();
        items.remove(at);
        items
    };
    let with = |at: usize, copy_of: usize| {
        let mut items = items();
        items.insert(at, items[copy_of].clone());
        items
    };
    let mut swapped = items();
    swapped.swap(1, 4);
    let mut foreign = items();
    foreign[0].class = RecordClass::Usage;
    let mut other_kind = items();
    other_kind[4].class = RecordClass::ToolOutput { call: call(), kind: ToolKind::Custom };
    for (what, items, wanted) in [
        ("no output", without(4), Flaw::OpenCall { at: 1, call: call() }),
        ("no call", without(1), Flaw::StrayOutput { at: 3, call: call() }),
        ("two outputs", with(5, 4), Flaw::StrayOutput { at: 5, call: call() }),
        ("an output before its call", swapped, Flaw::StrayOutput { at: 1, call: call() }),
        ("an output of another kind", other_kind, Flaw::StrayOutput { at: 4, call: call() }),
        ("two markers", with(5, 5), Flaw::SecondMarker { at: 6 }),
        ("no item", foreign, Flaw::NoItem { at: 0, kind: "usage" }),
    ] {
        assert_eq!(items_validity(&items), Err(wanted), "{what}");
    }
}

#[test]
fn a_history_is_checked_as_a_model_is_shown_it() {
    for records in [
        vec![],
        vec![U("u"), FC("a")],
        vec![FO("stray"), U("u")],
        vec![U("u"), MKu(), MKu(), TA(None)],
        vec![TS("1"), U("u"), FC("a"), TS("2"), U("v"), TC("2")],
    ] {
        assert_eq!(wire_validity(&history(records)), Ok(()));
    }
}

#[test]
fn a_plan_that_does_not_hold_is_found_out() {
    let source = history([TS("1"), U("u"), FC("a"), FO("a"), TC("1"), TS("2"), U("v"), FC("b")]);
    let sound = plan_fork(&source, &ForkPoint::Interrupted, &ForkOptions::at(9)).unwrap();
    assert_eq!(sound.check(&source), Ok(()));
    let plan = |kept, closing| ForkPlan { kept, closing };
    let selected =
        |of: &[u64]| Kept::Selected(of.iter().map(|&seq| KeptRecord::Same(Seq(seq))).collect());
    for (what, plan, wanted) in [
        (
            "a call that no record closes",
            plan(Kept::Prefix { cut: 8 }, vec![]),
            Flaw::LeftOpen { at: Seq(7), call: "b".into() },
        ),
        (
            "something from after the cut",
            plan(Kept::Prefix { cut: 5 }, vec![U("v")]),
            Flaw::AfterCut { at: Seq(5) },
        ),
        ("records out of order", plan(selected(&[1, 0]), vec![]), Flaw::AfterCut { at: Seq(1) }),
        ("a record twice", plan(selected(&[0, 1, 1]), vec![]), Flaw::AfterCut { at: Seq(2) }),
        (
            "a selected call without its output",
            plan(selected(&[0, 1, 2]), vec![]),
            Flaw::LeftOpen { at: Seq(2), call: "a".into() },
        ),
    ] {
        assert_eq!(plan.check(&source), Err(wanted), "{what}");
    }
}

#[test]
fn a_suffix_closes_a_call_that_a_rollback_hid() {
    // The rollback parts the call from the end of the history, but not from the end of the fork.
    let source = history([U("u"), FC("a"), TS("2"), U("v"), TC("2"), RB(1)]);
    assert_eq!(open_calls(&source), []);
    let plan = plan_fork(&source, &ForkPoint::LastTurns(1), &ForkOptions::at(9)).unwrap();
    assert_eq!(shorts(&plan.history(&source)), ["u", "FC:a", "aborted:a"]);
}

#[test]
fn what_closes_a_history_is_recorded_in_front_of_its_first_use() {
    for kind in [MarkerKind::Disabled, MarkerKind::ContextualUser, MarkerKind::Developer] {
        let mut source = history([TS("1"), U("u"), FC("a"), FC("b"), FO("b")]);
        source.extend(close_turn(&source, AbortReason::Crashed, kind, 9));
        assert_eq!(open_calls(&source), []);
        // Not made up in the view: it is there for every reader of the file.
        let items = model_view(&source).items;
        let output = items.iter().find(
            |item| matches!(&item.class, RecordClass::ToolOutput { call, .. } if **call == *"a"),
        );
        assert_eq!(output.unwrap().seq, Seq(5));
    }
}
