//! The reference's cases of forks, truncation and turn state (tables 12.1, 12.2, 12.4, 12.11).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use coppicer_actors::{
    ForkOptions, ForkPlan, History, KeepRules, Kept, Line, MarkerKind, TokenCounts, TurnState,
    before_nth_user_message, fork_turn_positions, model_view, plan_fork, turn_state,
    user_positions,
};
use coppicer_messages::{
    AbortReason, ForkPoint, ForkRefusal, NewRecord, RecordClass, Seq, TurnRef,
};
use support::*;

fn plan(source: &History, point: impl Into<ForkPoint>) -> ForkPlan {
    plan_fork(source, &point.into(), &ForkOptions::at(9)).unwrap()
}

fn fork(source: &History, point: impl Into<ForkPoint>) -> History {
    plan(source, point).history(source)
}

fn fork_with(source: &History, point: &ForkPoint, marker: MarkerKind) -> Vec<String> {
    let plan = plan_fork(source, point, &ForkOptions::at(9).with_marker(marker)).unwrap();
    shorts(&plan.history(source))
}

fn mixed() -> Vec<NewRecord> {
    vec![U("u1"), A("a1"), A("a2"), U("u2"), A("a3"), R(), FC("c1"), A("a4")]
}

fn state(turn: Option<&str>, start: Option<u64>) -> TurnState {
    TurnState { mid_turn: true, turn: turn.map(TurnRef::from), start: start.map(Seq) }
}

#[test]
fn tm_01_rt_01_rt_02_a_cut_before_the_nth_user_message() {
    let source = history(mixed());
    assert_eq!(before_nth_user_message(&source, 1), 3);
    assert_eq!(before_nth_user_message(&source, 2), 8);
    assert_eq!(before_nth_user_message(&source, 0), 0);
    assert_eq!(before_nth_user_message(&history([U("u1"), A("a1"), U("u2")]), usize::MAX), 3);
    // As a fork, at a boundary. P9 adds what the model needs: an output for the open call.
    let mut complete = mixed();
    complete.push(TA(None));
    let source = history(complete);
    assert_eq!(plan(&source, 1), ForkPlan { kept: Kept::Prefix { cut: 3 }, closing: vec![] });
    assert_eq!(shorts(&fork(&source, 2))[8..], ["TA:-", "aborted:c1"]);
}

#[test]
fn tm_03_a_bare_number_is_a_fork_point() {
    assert_eq!(ForkPoint::from(1), ForkPoint::BeforeUserMessage(1));
}

#[test]
fn tm_04_past_the_last_message_an_unfinished_turn_is_left_out() {
    let source = history([U("u1"), A("a1"), TS("turn-2"), U("u2"), A("partial")]);
    assert_eq!(turn_state(&source), state(Some("turn-2"), Some(2)));
    assert_eq!(
        plan(&source, usize::MAX),
        ForkPlan { kept: Kept::Prefix { cut: 2 }, closing: vec![] }
    );
}

#[test]
fn tm_05_rt_04_startup_context_does_not_count() {
    let [developer, environment] = context();
    let records = [developer, environment, U("feature"), A("ack"), U("second"), A("answer")];
    let source = history(records);
    assert_eq!(plan(&source, 1).kept, Kept::Prefix { cut: 4 });
    assert_eq!(before_nth_user_message(&source, 1), 4);
}

#[test]
fn tm_17_tm_18_tm_20_a_fork_as_if_interrupted() {
    let hello = history([U("hello")]);
    assert_eq!(turn_state(&hello), state(None, None));
    let kinds = [
        (MarkerKind::ContextualUser, vec!["hello", "MKu", "TA:-"]),
        (MarkerKind::Disabled, vec!["hello", "TA:-"]),
        (MarkerKind::Developer, vec!["hello", "MKd", "TA:-"]),
    ];
    for (kind, wanted) in kinds {
        assert_eq!(fork_with(&hello, &ForkPoint::Interrupted, kind), wanted);
    }
    // The boundary itself, as REF's test appends it to a new thread.
    let boundary = |kind| {
        let reason = AbortReason::Interrupted;
        shorts(&history(Line::interrupted_boundary(9, None, kind, reason)))
    };
    assert_eq!(boundary(MarkerKind::ContextualUser), ["MKu", "TA:-"]);
    assert_eq!(boundary(MarkerKind::Disabled), ["TA:-"]);
    // A new thread is not in the middle of a turn: REF 2.2 adds nothing.
    assert_eq!(fork_with(&History::new(), &ForkPoint::Interrupted, MarkerKind::Developer), [""; 0]);
    let marker = Line::interrupted_marker(0, MarkerKind::Developer).unwrap();
    let marker = payload(&marker);
    assert_eq!(marker["role"], "developer");
    assert_eq!(marker["content"].as_array().unwrap().len(), 1);
    assert_eq!(marker["content"][0]["type"], "input_text");
}

#[test]
fn tm_21_turn_states() {
    let at_boundary = TurnState::default();
    for (records, wanted) in [
        (vec![UE("hello"), AE("done")], at_boundary.clone()), // TM-21
        (vec![], at_boundary.clone()),
        (vec![U("x"), UE("x")], state(None, None)),
        (vec![U("x"), A("y")], state(None, None)),
        (vec![U("x"), A("y"), MKu(), TA(Some("t"))], at_boundary.clone()),
        (vec![TS("t"), U("x"), A("y")], state(Some("t"), Some(0))),
        (vec![TS("t"), U("x"), TC("t")], at_boundary.clone()),
        (vec![TS("t"), U("x"), TC("t"), U("y")], state(None, None)),
        (vec![TS("t"), U("x"), TA(Some("t")), U("y")], at_boundary.clone()),
        (vec![TS("t"), U("x"), TA(None)], at_boundary.clone()),
        (vec![TS("t"), U("x"), TC("other")], at_boundary.clone()),
        (vec![TS("a"), TS("t"), U("x"), TC("a")], state(Some("t"), Some(1))),
        (vec![TS("a"), U("x"), TC("a"), TS("t"), U("y"), TA(Some("a"))], state(Some("t"), Some(3))),
        (vec![TS("t"), U("x"), Line::error(1, "no")], at_boundary.clone()),
        (vec![TS("t"), U("x"), RB(1)], at_boundary.clone()),
        (vec![TS("t"), U("x"), TC("t"), U("y"), RB(1)], at_boundary.clone()),
    ] {
        let source = history(records);
        assert_eq!(turn_state(&source), wanted, "{:?}", shorts(&source));
    }
}

#[test]
fn tm_23_tm_25_a_fork_of_a_fork_at_a_boundary_adds_nothing() {
    let source = history([U("hello"), A("partial")]);
    assert_eq!(turn_state(&source), state(None, None));
    let first = fork(&source, ForkPoint::Interrupted);
    assert_eq!(shorts(&first), ["hello", "partial", "MKu", "TA:-"]);
    assert!(!turn_state(&first).mid_turn);
    let second = fork(&first, ForkPoint::Interrupted);
    assert_eq!(second, first);
    assert_eq!(source.len(), 2);
}

#[test]
fn rt_03_rolled_back_messages_are_no_positions_but_stay_before_the_cut() {
    let source =
        history([U("u1"), A("a1"), U("u2"), A("a2"), RB(1), U("u3"), A("a3"), U("u4"), A("a4")]);
    assert_eq!(seqs(&user_positions(&source)), [0, 5, 7]);
    assert_eq!(before_nth_user_message(&source, 2), 7);
    assert_eq!(view(&fork(&source, 2)), ["u1", "a1", "u3", "a3"]);
}

#[test]
fn rt_06_rt_11_rt_12_the_last_turns() {
    let last = |records: &[NewRecord], turns| {
        let source = history(records.to_vec());
        match plan(&source, ForkPoint::LastTurns(turns)).kept {
            Kept::Selected(kept) => {
                let records: Vec<_> =
                    kept.iter().map(|kept| kept.in_source(&source).unwrap()).collect();
                shorts(&history(records))
            }
            Kept::Prefix { .. } => panic!("a suffix"),
        }
    };
    let task = [D("startup"), U("current task"), A("answer")];
    assert_eq!(last(&task, 2), ["current task", "answer"]); // RT-06
    let mail = [U("u1"), A("a1"), IA("triggered", true), A("a2")];
    assert_eq!(last(&mail, 10), ["u1", "a1", "IA:triggered", "a2"]); // RT-11
    assert_eq!(last(&mail, 1), ["IA:triggered", "a2"]);
    assert_eq!(last(&mail, 0), [""; 0]); // RT-12
    assert_eq!(last(&[D("x"), A("y")], 3), [""; 0]);
}

#[test]
fn rt_08_rolling_back_nothing_changes_nothing() {
    let source = history([U("u1"), IA("triggered", true), RB(0), U("u2")]);
    assert_eq!(seqs(&fork_turn_positions(&source)), [0, 1, 3]);
    let source = history([U("u1"), IA("queued", false), IA("triggered", true), RB(2), U("u2")]);
    assert_eq!(seqs(&fork_turn_positions(&source)), [0, 4]);
}

#[test]
fn rt_13_rt_14_contextual_messages_are_no_positions() {
    let source = history([Ui("<environment_context>x</environment_context>"), U("a")]);
    assert_eq!(seqs(&user_positions(&source)), [1]);
    let two_parts = item(&serde_json::json!({ "type": "message", "role": "user", "content": [
        { "type": "input_text", "text": "hi" },
        { "type": "input_text", "text": "<skill>x</skill>" },
    ]}));
    assert_eq!(seqs(&user_positions(&history([two_parts]))), [0u64; 0]);
    // An output text is never looked at.
    assert_eq!(seqs(&user_positions(&history([U("<skill>x</skill>")]))), [0]);
}

#[test]
fn fk_01_forks_of_forks_before_a_user_message() {
    let turns = ["1", "2", "3"].iter().flat_map(|id| turn(id));
    let source = history(turns);
    let first = fork(&source, 1);
    assert_eq!(first, source.prefix(9), "strictly before the second user message");
    let second = fork(&first, 0);
    assert_eq!(second, first.prefix(3), "strictly before the only user message");
    assert_eq!(source.len(), 18);
}

#[test]
fn fk_02_a_fork_at_a_boundary_starts_with_all_items() {
    let source = history(turn("1"));
    assert_eq!(fork(&source, ForkPoint::Interrupted), source);
}

#[test]
fn turns_are_fork_points() {
    let mut records: Vec<_> = ["1", "2"].iter().flat_map(|id| turn(id)).collect();
    records.extend([D("between"), TS("3"), U("u3"), FC("c")]);
    let source = history(records);
    let after = |id: &str| plan_fork(&source, &ForkPoint::After(id.into()), &ForkOptions::at(9));
    let before = |id: &str| plan_fork(&source, &ForkPoint::Before(id.into()), &ForkOptions::at(9));
    assert_eq!(after("1").unwrap().kept, Kept::Prefix { cut: 6 });
    assert_eq!(
        after("2").unwrap().kept,
        Kept::Prefix { cut: 13 },
        "what is between the turns stays"
    );
    assert_eq!(before("3").unwrap(), ForkPlan { kept: Kept::Prefix { cut: 13 }, closing: vec![] });
    assert_eq!(after("3"), Err(ForkRefusal::InProgress { turn: "3".into() }));
    assert_eq!(after("x"), Err(ForkRefusal::UnknownTurn { turn: "x".into() }));
    assert_eq!(plan(&source, ForkPoint::LastStable).kept, Kept::Prefix { cut: 13 });
    let refusal = plan_fork(&source, &ForkPoint::NextStable, &ForkOptions::at(9));
    assert_eq!(refusal, Err(ForkRefusal::NotYet { turn: Some("3".into()) }));
    let past = plan_fork(&source, &ForkPoint::At(Seq(99)), &ForkOptions::at(9));
    assert_eq!(past, Err(ForkRefusal::PastEnd { at: Seq(99), len: 16 }));
    assert_eq!(shorts(&fork(&source, ForkPoint::At(Seq(16))))[16..], ["aborted:c", "MKu", "TA:3"]);
    assert_eq!(
        shorts(&fork(&source, ForkPoint::At(Seq(14))))[14..],
        ["TA:3"],
        "nothing to tell yet"
    );
}

#[test]
fn a_turn_that_was_rolled_back_is_no_fork_point() {
    let mut records: Vec<_> = ["1", "2"].iter().flat_map(|id| turn(id)).collect();
    records.push(RB(1));
    let source = history(records);
    let refusal = plan_fork(&source, &ForkPoint::After("2".into()), &ForkOptions::at(9));
    assert_eq!(refusal, Err(ForkRefusal::RolledBack { turn: "2".into() }));
    assert_eq!(plan(&source, ForkPoint::After("1".into())).kept, Kept::Prefix { cut: 6 });
}

#[test]
fn a_cut_inside_a_steered_turn_closes_it() {
    let source = history([TS("1"), U("a"), FC("c"), U("steer"), FO("c"), A("b"), TC("1")]);
    assert_eq!(shorts(&fork(&source, 1)), ["TS:1", "a", "FC:c", "aborted:c", "MKu", "TA:1"]);
}

// Sub-agents: what a child inherits.

fn child(records: Vec<NewRecord>, point: &ForkPoint, rules: KeepRules) -> History {
    let source = history(records);
    plan_fork(&source, point, &ForkOptions::at(9).with_keep(rules)).unwrap().history(&source)
}

#[test]
fn ac_19_a_child_inherits_what_was_said_but_not_how_it_was_worked_out() {
    let records = vec![
        Ui("seed"),
        D("hint-PR"),
        D("hint-PS"),
        A_note("note"),
        A_final("final"),
        A("unphased"),
        R(),
        IA("wake", true),
        FC("spawn"),
        TX("t"),
    ];
    let rules = KeepRules::for_subagent().without_hints(["hint-PR", "hint-PS"]);
    let inherited =
        child(records.clone(), &ForkPoint::Interrupted, rules.clone().with_hint("hint-CS"));
    assert_eq!(view(&inherited), ["seed", "final", "D:hint-CS"]);
    let reference = model_view(&inherited).reference.and_then(|seq| inherited.get(seq));
    assert!(
        matches!(&reference.unwrap().class, RecordClass::TurnContext { turn: Some(turn) } if **turn == *"t")
    );
    // AC-19b: no hint if the child has none.
    let without = child(records, &ForkPoint::Interrupted, rules);
    assert_eq!(view(&without), ["seed", "final"]);
}

#[test]
fn ac_20_hints_inside_a_replacement_history_are_left_out() {
    let records = vec![CP(&[Ui("old summary"), D("hint-PR")]), TX("t"), FC("spawn")];
    let rules = KeepRules::for_subagent().without_hints(["hint-PR"]).with_hint("hint-CS");
    let inherited = child(records, &ForkPoint::Interrupted, rules);
    assert_eq!(view(&inherited), ["old summary", "D:hint-CS"]);
}

#[test]
fn ac_21_the_newest_answer_is_inherited() {
    let records = vec![A_final("late answer"), FC("spawn")];
    assert_eq!(
        view(&child(records, &ForkPoint::Interrupted, KeepRules::for_subagent())),
        ["late answer"]
    );
}

#[test]
fn ac_23_ac_24_the_last_turns_without_startup_context_and_hints() {
    let records = vec![D("startup dev ctx"), TX("t"), Ui("current task"), TX("u"), FC("spawn")];
    let inherited = child(records, &ForkPoint::LastTurns(2), KeepRules::for_subagent());
    assert_eq!(view(&inherited), ["current task"]);
    assert_eq!(model_view(&inherited).reference, None);
    let records = vec![Ui("task p"), D("hint-PR"), FC("spawn")];
    let rules =
        KeepRules::for_subagent().without_hints(["hint-PR"]).with_hint("never with a suffix");
    assert_eq!(view(&child(records, &ForkPoint::LastTurns(2), rules)), ["task p"]);
}

#[test]
fn a_child_does_not_run_its_parents_turn() {
    let mut records = turn("1");
    records.extend([TS("2"), Ui("go"), FC("spawn")]);
    let inherited = child(records, &ForkPoint::Interrupted, KeepRules::for_subagent());
    assert!(!turn_state(&inherited).mid_turn);
    assert_eq!(view(&inherited), ["U1", "go"]);
}

// REF 2.10: each kind of record, in a fork of the whole history and in one of the last turns.
#[test]
fn the_keep_rules_say_for_each_class_what_a_child_inherits() {
    const KEPT: [bool; 2] = [true, true];
    const DROPPED: [bool; 2] = [false, false];
    use serde_json::json;
    let typed = |kind: &str| item(&json!({ "type": kind, "call_id": "c", "execution": "client" }));
    let role = |role: &str| {
        let parts = json!([{ "type": "input_text", "text": "x" }]);
        item(&json!({ "type": "message", "role": role, "content": parts }))
    };
    let other = |kind: &str| event(&json!({ "type": kind, "turn_id": "t" }));
    for (record, [whole, suffix]) in [
        (U("x"), KEPT),
        (Ui("<skill>x</skill>"), KEPT),
        (role("system"), KEPT),
        (D("x"), KEPT),
        (D("hint"), DROPPED),
        (A_final("x"), KEPT),
        (A("x"), DROPPED),
        (A_note("x"), DROPPED),
        (IA("x", false), DROPPED),
        (role("tool"), DROPPED),
        (R(), DROPPED),
        (typed("function_call"), DROPPED),
        (typed("function_call_output"), DROPPED),
        (typed("custom_tool_call"), DROPPED),
        (typed("custom_tool_call_output"), DROPPED),
        (typed("tool_search_call"), DROPPED),
        (typed("tool_search_output"), DROPPED),
        (typed("local_shell_call"), DROPPED),
        (typed("web_search_call"), DROPPED),
        (typed("image_generation_call"), DROPPED),
        (typed("compaction"), DROPPED),
        (TX("t"), [true, false]),
        (CP(&[U("x")]), KEPT),
        (CP_summary("x"), KEPT),
        (UE("x"), KEPT),
        (AE("x"), KEPT),
        (Line::error(7, "x"), KEPT),
        (Line::token_count(7, &TokenCounts::default(), &TokenCounts::default()), KEPT),
        (other("task_complete"), KEPT),
        (other("patch_apply_end"), KEPT),
    ] {
        let source = history([U("first"), record.clone()]);
        let rules = KeepRules::for_subagent().without_hints(["hint"]);
        for (point, wanted) in [(ForkPoint::Interrupted, whole), (ForkPoint::LastTurns(9), suffix)]
        {
            let options = ForkOptions::at(9).with_keep(rules.clone());
            let plan = plan_fork(&source, &point, &options).unwrap();
            let Kept::Selected(kept) = plan.kept else { panic!("a child's history is selected") };
            let is_kept = kept.iter().any(|kept| kept.of() == Seq(1));
            assert_eq!(is_kept, wanted, "{:?} {point:?}", record.class);
        }
    }
}

#[test]
fn what_came_before_a_compaction_stays_readable_and_forkable() {
    let mut records = context().to_vec();
    records.extend(turn("1"));
    records.extend(turn("2"));
    records.extend([TS("c"), CP(&[U("summary")]), TC("c")]);
    records.extend(turn("3"));
    let source = history(records);
    assert_eq!(view(&source), ["summary", "U3", "A3"], "a model is shown the short one");
    let texts: Vec<_> = source.iter().filter_map(coppicer_actors::text_of).collect();
    assert!(texts.contains(&"U1".to_owned()), "the records are all there");
    let before = |nth: usize| view(&fork(&source, nth))[2..].to_vec();
    assert_eq!(before(1), ["U1", "A1"]);
    assert_eq!(before(0), [""; 0]);
    assert_eq!(view(&fork(&source, ForkPoint::After("1".into())))[2..], ["U1", "A1"]);
    assert_eq!(view(&fork(&source, ForkPoint::Before("c".into())))[2..], ["U1", "A1", "U2", "A2"]);
    assert_eq!(view(&fork(&source, ForkPoint::Before("3".into()))), ["summary"]);
}

#[test]
fn a_history_that_ends_at_damage_is_forked_up_to_it() {
    let meta = coppicer_actors::SessionMeta::new(
        coppicer_messages::ThreadId::from_parts(1, [1; 10]),
        "/srv/demo",
    );
    let before = [vec![Line::session_meta(7, &meta)], turn("1"), vec![TS("2"), U("u"), FC("c")]];
    let mut bytes = Vec::new();
    coppicer_actors::write_history(&mut bytes, &history(before.concat())).unwrap();
    for damage in [&b"garbage\n"[..], b"{\"timestamp\":\"2026", b"\xff\xfe\n", b"[[[[[[[[[\n"] {
        let mut file = bytes.clone();
        file.extend_from_slice(damage);
        if damage.ends_with(b"\n") {
            // What comes after it is sound again, and is no part of the fork.
            coppicer_actors::write_history(&mut file, &history(turn("3"))).unwrap();
        }
        let path = std::path::Path::new("x.jsonl");
        let read = coppicer_actors::read_session_from(file.as_slice(), path).unwrap();
        assert_eq!(read.damage.len(), 1);
        let source = read.sound_history();
        assert_eq!(
            shorts(&fork(&source, ForkPoint::Interrupted))[7..],
            ["TS:2", "u", "FC:c", "aborted:c", "MKu", "TA:2"]
        );
        assert_eq!(view(&fork(&source, ForkPoint::LastStable)), ["U1", "A1"]);
        assert_eq!(view(&fork(&source, 0)), [""; 0]);
        let unknown = plan_fork(&source, &ForkPoint::After("3".into()), &ForkOptions::at(9));
        assert_eq!(unknown, Err(ForkRefusal::UnknownTurn { turn: "3".into() }));
        // Also a plan on all of it, damage and all, holds.
        assert!(!turn_state(&fork(&read.history, ForkPoint::Interrupted)).mid_turn);
    }
}
