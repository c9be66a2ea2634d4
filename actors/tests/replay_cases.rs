//! The reference's cases of rollback and replay (table 12.9), and what we do better.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use coppicer_actors::History;
use coppicer_actors::{
    Line, RollbackRefusal, close_open_calls, model_view, open_calls, plan_rollback, user_turns,
};
use coppicer_messages::{NewRecord, RecordClass};
use serde_json::json;
use support::*;

/// What the model is shown, and whose turn contexts are the settings and the reference.
fn replay(records: Vec<NewRecord>) -> (Vec<String>, Option<String>, Option<String>) {
    let history = history(records);
    let seen = model_view(&history);
    let turn_of = |history: &History, seq| match &history.get(seq).unwrap().class {
        RecordClass::TurnContext { turn } => turn.as_deref().unwrap_or("-").to_owned(),
        other => panic!("{other:?}"),
    };
    let settings = seen.settings.map(|seq| turn_of(&history, seq));
    let reference = seen.reference.map(|seq| turn_of(&history, seq));
    (view(&history), settings, reference)
}

fn concat(parts: &[Vec<NewRecord>]) -> Vec<NewRecord> {
    parts.concat()
}

fn metadata_of(turn: &str) -> (Option<String>, Option<String>) {
    (Some(turn.into()), Some(turn.into()))
}

const CONTEXT: [&str; 2] = ["D:startup", "<environment_context>here</environment_context>"];

#[test]
fn rb_01_rb_02_items_without_events() {
    let items = vec![U("U1"), A("A1"), U("U2"), A("A2"), RB(1)];
    let (shown, settings, reference) = replay(concat(&[context().to_vec(), items]));
    assert_eq!(shown, [CONTEXT[0], CONTEXT[1], "U1", "A1"]);
    assert_eq!((settings, reference), (None, None));
    let (shown, ..) = replay(concat(&[context().to_vec(), vec![U("U1"), RB(99)]]));
    assert_eq!(shown, CONTEXT);
}

#[test]
fn rb_04_the_metadata_is_of_the_newest_turn_that_counts() {
    let (shown, settings, reference) = replay(concat(&[turn("1"), turn("2"), vec![RB(1)]]));
    assert_eq!(shown, ["U1", "A1"]);
    assert_eq!((settings, reference), metadata_of("1"));
}

#[test]
fn rb_05_a_compaction_before_the_turn_stays() {
    let compaction = vec![TS("c"), CP(&[U("U1"), U("summary")]), TC("c")];
    let (shown, settings, reference) =
        replay(concat(&[turn("1"), compaction, turn("2"), vec![RB(1)]]));
    assert_eq!(shown, ["U1", "summary"]);
    assert_eq!(settings.as_deref(), Some("1"));
    assert_eq!(reference, None);
}

#[test]
fn rb_06_rollbacks_add_up() {
    let (shown, ..) = replay(concat(&[turn("1"), turn("2"), turn("3"), vec![RB(1), RB(1)]]));
    assert_eq!(shown, ["U1", "A1"]);
    let (shown, ..) =
        replay(concat(&[turn("1"), turn("2"), vec![RB(1)], turn("3"), vec![RB(1)], turn("4")]));
    assert_eq!(shown, ["U1", "A1", "U4", "A4"]);
}

#[test]
fn rb_07_rb_08_rollbacks_that_are_refused() {
    let mut records = turn("1");
    let source = history(records.clone());
    assert_eq!(plan_rollback(&source, 0, 9), Err(RollbackRefusal::NoTurns));
    assert_eq!(plan_rollback(&source, 99, 9), Ok(Line::rolled_back(9, 99)));
    assert_eq!(user_turns(&source), 1);
    records.push(TS("2"));
    let running = Err(RollbackRefusal::InProgress { turn: Some("2".into()) });
    assert_eq!(plan_rollback(&history(records), 1, 9), running);
}

#[test]
fn rb_09_a_turn_without_a_user_message_does_not_use_up_a_rollback() {
    let standalone = vec![TS("s"), A("standalone"), TC("s")];
    let (shown, ..) = replay(concat(&[turn("1"), turn("2"), standalone, vec![RB(1)]]));
    assert_eq!(shown, ["U1", "A1"]);
}

#[test]
fn rb_10_a_turn_by_mail_counts() {
    let by_mail = vec![TS("a"), TX("a"), IA("continue", true), A("reply"), TC("a"), RB(1)];
    let (shown, settings, reference) = replay(concat(&[turn("1"), by_mail]));
    assert_eq!(shown, ["U1", "A1"]);
    assert_eq!((settings, reference), metadata_of("1"));
}

#[test]
fn rb_11_more_rollbacks_than_turns() {
    assert_eq!(replay(concat(&[turn("1"), vec![RB(99)]])), (vec![], None, None));
}

#[test]
fn the_startup_context_stays_and_no_other() {
    let later = vec![TS("2"), D("again"), U("U2"), A("A2"), TC("2")];
    let first = vec![TS("1"), D("startup"), TX("1"), U("U1"), A("A1"), TC("1")];
    let (shown, settings, _) =
        replay(concat(&[first.clone(), vec![RB(1)], later.clone(), vec![RB(1)]]));
    assert_eq!((shown, settings), (vec!["D:startup".to_owned()], None));
    let (shown, ..) = replay(concat(&[first, later, vec![RB(2)]]));
    assert_eq!(shown, ["D:startup"]);
}

#[test]
fn rb_12_a_compaction_in_a_turn_that_was_rolled_back_never_happened() {
    let bare = vec![TS("1"), UE("U1"), TX("1"), TC("1")];
    let (_, settings, reference) = replay(concat(&[bare, vec![TS("x"), UE("x"), CP(&[]), RB(1)]]));
    assert_eq!((settings, reference), metadata_of("1"));
    // REF 6.9 loses the history before the compaction here.
    let (shown, ..) = replay(vec![
        TS("1"),
        UE("1"),
        U("1"),
        A("1"),
        TC("1"),
        TS("2"),
        UE("2"),
        U("2"),
        CP(&[U("summary")]),
        A("2"),
        TC("2"),
        RB(1),
    ]);
    assert_eq!(shown, ["1", "1"]);
}

#[test]
fn rb_13_an_unfinished_turn_is_rolled_back_too() {
    let unfinished = vec![TS("x"), UE("U2"), U("U2"), RB(1)];
    let (shown, settings, reference) = replay(concat(&[turn("1"), unfinished]));
    assert_eq!(shown, ["U1", "A1"]);
    assert_eq!((settings, reference), metadata_of("1"));
}

#[test]
fn rolling_back_a_steered_turn_takes_all_of_it() {
    let steered = vec![TS("2"), U("a"), UE("a"), A("b"), U("steer"), UE("steer"), A("c"), TC("2")];
    let (shown, ..) = replay(concat(&[turn("1"), steered, vec![RB(1)]]));
    assert_eq!(shown, ["U1", "A1"]);
}

#[test]
fn rolling_back_keeps_the_marker_of_the_turn_before() {
    let interrupted = vec![TS("1"), U("a"), MKu(), TA(Some("1"))];
    let (shown, ..) = replay(concat(&[interrupted, turn("2"), vec![RB(1)]]));
    assert_eq!(shown, ["a", "MKu"]);
}

#[test]
fn a_compaction_without_a_replacement_keeps_user_messages_and_the_summary() {
    let (shown, _, reference) =
        replay(concat(&[context().to_vec(), turn("1"), turn("2"), vec![CP_summary("sum")]]));
    assert_eq!(shown, ["U1", "U2", "sum"]);
    assert_eq!(reference, None);
    let large = "x".repeat(50_000);
    let (shown, ..) = replay(vec![U(&large), A("a"), U("small"), U(&large), CP_summary("")]);
    assert_eq!(shown, ["small", large.as_str(), "(no summary available)"]);
}

#[test]
fn rw_04_ghost_snapshots_are_not_shown() {
    let ghost = || item(&json!({ "type": "ghost_snapshot", "ghost_commit": {} }));
    let (shown, ..) =
        replay(vec![U("a"), ghost(), A("b"), CP(&[U("c"), ghost(), U("d")]), ghost(), A("e")]);
    assert_eq!(shown, ["c", "d", "e"]);
}

#[test]
fn calls_and_outputs_come_in_pairs() {
    for (records, wanted) in [
        (vec![FC("a"), U("u")], vec!["FC:a", "aborted:a", "u"]),
        (vec![FO("a"), U("u")], vec!["u"]),
        (vec![FC("a"), FC("b"), FO("a")], vec!["FC:a", "FC:b", "aborted:b", "FO:a"]),
        (vec![FC("a"), FO("a"), FO("a")], vec!["FC:a", "FO:a"]),
        (vec![FO("a"), FC("a")], vec!["FC:a", "aborted:a"]),
        (vec![FC("a"), FC("a"), FO("a")], vec!["FC:a", "aborted:a", "FC:a", "FO:a"]),
        (vec![FC("a"), FO("a"), FC("a"), FO("a")], vec!["FC:a", "FO:a", "FC:a", "FO:a"]),
    ] {
        assert_eq!(view(&history(records)), wanted);
    }
}

#[test]
fn every_kind_of_call_is_closed_by_its_kind_of_output() {
    let calls = [
        (
            json!({ "type": "function_call", "name": "n", "arguments": "{}", "call_id": "a" }),
            "function_call_output",
        ),
        (
            json!({ "type": "local_shell_call", "call_id": "b", "status": "completed", "action": {} }),
            "function_call_output",
        ),
        (
            json!({ "type": "custom_tool_call", "name": "n", "input": "", "call_id": "c" }),
            "custom_tool_call_output",
        ),
        (
            json!({ "type": "tool_search_call", "call_id": "d", "execution": "client", "arguments": {} }),
            "tool_search_output",
        ),
    ];
    let source = history(calls.iter().map(|(call, _)| item(call)));
    assert_eq!(open_calls(&source).len(), 4);
    let closing = close_open_calls(&source, 5);
    for (record, (call, output)) in closing.iter().zip(&calls) {
        assert_eq!(payload(record)["type"], *output);
        assert_eq!(payload(record)["call_id"], call["call_id"]);
    }
    let mut closed = source.clone();
    closed.extend(closing);
    assert!(open_calls(&closed).is_empty());
    for of in [source, closed] {
        assert_eq!(model_view(&of).items.len(), 8);
        view(&of);
    }
}

#[test]
fn mail_of_every_form_is_shown() {
    let newer = item(&json!({ "type": "agent_message", "author": "/root", "recipient": "/root/a",
        "content": [{ "type": "input_text", "text": "Message Type: NEW_TASK\nPayload:\n" }] }));
    assert_eq!(newer.class, RecordClass::Envelope { trigger: true });
    let line = json!({ "timestamp": "2026-06-03T08:15:30.123Z", "type": "inter_agent_communication", "payload":
        { "author": "/root", "recipient": "/root/a", "other_recipients": [], "content": "hi", "trigger_turn": true } });
    let own_line = coppicer_actors::record_of(line.to_string().as_bytes());
    assert_eq!(own_line.class, RecordClass::Envelope { trigger: true });
    let source = history([IA("older", false), own_line, newer]);
    let seen = model_view(&source);
    assert_eq!(seen.items.len(), 3);
    let kinds: Vec<serde_json::Value> = serde_json::from_slice(&seen.to_json()).unwrap();
    assert_eq!(kinds[1]["type"], "message");
    assert!(kinds[1]["content"][0]["text"].as_str().unwrap().contains("\"hi\""));
    assert_eq!(kinds[2]["type"], "agent_message");
}
