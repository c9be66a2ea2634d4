use coppicer_actors::record_of;
use coppicer_messages::NewRecord;
use serde_json::json;

use super::*;

/// Records of lines, numbered from 10 on.
fn records(lines: &[Value]) -> Vec<Record> {
    let line = |(at, line): (usize, &Value)| {
        let mut record: NewRecord = record_of(line.to_string().as_bytes());
        record.at_ms = 1_000 + at as u64;
        record.at(Seq(10 + at as u64))
    };
    lines.iter().enumerate().map(line).collect()
}

fn item(payload: &Value) -> Value {
    json!({ "timestamp": "2026-06-03T08:00:00.000Z", "type": "response_item", "payload": payload })
}

fn event(payload: &Value) -> Value {
    json!({ "timestamp": "2026-06-03T08:00:00.000Z", "type": "event_msg", "payload": payload })
}

fn said(role: &str, text: &str) -> Value {
    let kind = if role == "assistant" { "output_text" } else { "input_text" };
    item(&json!({ "type": "message", "role": role, "content": [{ "type": kind, "text": text }] }))
}

fn started(turn: &str) -> Value {
    event(&json!({ "type": "task_started", "turn_id": turn }))
}

fn call(id: &str) -> Value {
    let arguments = r#"{"cmd":"ls"}"#;
    item(
        &json!({ "type": "function_call", "name": "shell", "arguments": arguments, "call_id": id }),
    )
}

fn output(id: &str, text: &str) -> Value {
    item(&json!({ "type": "function_call_output", "call_id": id, "output": text }))
}

fn interrupted() -> Vec<Record> {
    records(&[
        started("t1"),
        said("user", "list the files"),
        call("c1"),
        output("c1", "a.txt"),
        call("c2"),
        output("c2", ABORTED_OUTPUT),
        said("user", "<turn_aborted>\nThe turn before this was interrupted.\n</turn_aborted>"),
        event(&json!({ "type": "turn_aborted", "turn_id": "t1", "reason": "interrupted" })),
        started("t2"),
        said("user", "again"),
        said("assistant", "done"),
        event(&json!({ "type": "task_complete", "turn_id": "t2", "last_agent_message": "done" })),
        started("t3"),
        said("user", "more"),
    ])
}

#[test]
fn a_record_shows_its_text_and_what_closed_a_turn_is_marked() {
    let shown: Vec<Shown> =
        interrupted().iter().map(|record| shown(record, Seq(12), false)).collect();
    assert_eq!((shown[0].class, shown[0].turn.as_deref()), ("turn_started", Some("t1")));
    assert_eq!((shown[0].seq, &*shown[0].marks), (10, &["shared"][..]));
    assert_eq!(shown[1].text.as_deref(), Some("list the files"));
    assert_eq!((shown[2].name.as_deref(), shown[2].call.as_deref()), (Some("shell"), Some("c1")));
    assert_eq!(shown[2].text.as_deref(), Some(r#"{"cmd":"ls"}"#));
    assert_eq!((shown[3].text.as_deref(), shown[3].marks.len()), (Some("a.txt"), 0));
    for place in [5, 6, 7] {
        assert_eq!(shown[place].marks, ["closing"], "{:?}", shown[place]);
    }
    assert_eq!((shown[7].class, shown[7].reason), ("turn_aborted", Some("interrupted")));
    assert!(shown.iter().all(|record| record.raw.is_none()));
}

#[test]
fn a_long_text_is_cut_and_a_line_that_is_none_is_shown_as_it_is() {
    let long = "ä".repeat(RECORD_TEXT_MAX);
    let records = records(&[said("user", &long)]);
    let cut = shown(&records[0], Seq(0), true);
    assert_eq!((cut.marks.clone(), cut.raw.unwrap().len()), (vec!["cut"], cut.bytes));
    assert!(cut.text.unwrap().len() <= RECORD_TEXT_MAX + 3);
    let torn = record_of(&b"{\"torn\": \x1b[31m\xff"[..]).at(Seq(3));
    let opaque = shown(&torn, Seq(0), false);
    assert_eq!((opaque.class, opaque.marks), ("opaque", vec!["opaque"]));
    let lost = damaged(Seq(4), "its checksum does not match");
    assert_eq!((lost.class, lost.marks), ("damaged", vec!["damaged"]));
}

#[test]
fn turns_have_their_calls_their_end_and_their_words() {
    let records = interrupted();
    let turns_of = |records: &[Record], max| {
        let mut turns = Turns::last(max);
        for record in records {
            turns.take(record);
        }
        turns.rows()
    };
    let (turns, more) = turns_of(&records, 3);
    assert!(!more);
    let outcomes: Vec<_> = turns.iter().map(|turn| (turn.outcome, turn.reason)).collect();
    assert_eq!(outcomes, [("aborted", Some("interrupted")), ("completed", None), ("open", None)]);
    let first = &turns[0];
    assert_eq!((first.from_seq, first.to_seq, first.records), (10, 17, 8));
    assert_eq!((first.from_ms, first.to_ms), (Some(1_000), Some(1_007)));
    assert_eq!(first.input.as_deref(), Some("list the files"));
    let calls: Vec<_> =
        first.calls.iter().map(|call| (&*call.call, call.to_ms, call.closing)).collect();
    assert_eq!(calls, [("c1", Some(1_003), false), ("c2", Some(1_005), true)]);
    assert_eq!(turns[1].message.as_deref(), Some("done"));
    assert_eq!((turns[2].to_ms, turns[2].to_seq), (None, 23));
    let (behind, more) = turns_of(&records[3..], 3);
    assert_eq!((behind.len(), more), (2, false), "what began before is left out");
    assert_eq!(turns_of(&records, 2), (turns[1..].to_vec(), true), "the last ones are kept");
}

#[test]
fn a_page_holds_what_fits_and_at_least_one_record() {
    const LARGE: usize = HISTORY_BYTES_MAX / 2;
    let page = |mut page: Page, sizes: &[usize]| {
        let (mut most, mut taken) = (0, 0);
        for &size in sizes {
            let raw = Some("x".repeat(size));
            let seq = taken;
            taken += 1;
            let enough = page.take(Shown { seq, raw, ..Shown::default() }).is_break();
            most = most.max(page.bytes);
            if enough {
                break;
            }
        }
        let seqs: Vec<u64> = page.records().iter().map(|record| record.seq).collect();
        assert!(most <= HISTORY_BYTES_MAX + 3 * LARGE, "it keeps no more than it gives");
        (seqs, taken)
    };
    let sizes = [10, LARGE, LARGE, 10, 3 * LARGE, 10];
    assert_eq!(page(Page::of_first(), &sizes), (vec![0, 1], 3), "and reads no further");
    assert_eq!(page(Page::of_last(), &sizes), (vec![5], 6));
    assert_eq!(page(Page::of_first(), &sizes[4..]), (vec![0], 2));
    assert_eq!(page(Page::of_last(), &sizes[..4]), (vec![2, 3], 4));
    assert_eq!(page(Page::of_last(), &sizes[..5]), (vec![4], 5), "one that is too large by itself");
    assert_eq!(page(Page::of_first(), &[1, 2, 3]), (vec![0, 1, 2], 3));
}

#[test]
fn names_are_cut_too_and_a_call_has_its_output_all_the_same() {
    let long = "n".repeat(5_000);
    let mut lines = vec![started(&long), call(&long), output(&long, "a.txt")];
    lines[1]["payload"]["name"] = long.clone().into();
    let records = records(&lines);
    let named = shown(&records[1], Seq(0), false);
    for text in
        [named.name.unwrap(), named.call.unwrap(), shown(&records[0], Seq(0), false).turn.unwrap()]
    {
        assert_eq!(text.len(), NAME_MAX + "…".len());
    }
    let mut turns = Turns::last(1);
    for record in &records {
        turns.take(record);
    }
    assert_eq!(turns.rows().0[0].calls[0].to_ms, Some(1_002));
}
