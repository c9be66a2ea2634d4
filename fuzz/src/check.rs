//! What must hold of any bytes. The fuzzer calls it, and `actors/tests/fuzz_corpus.rs` for every
//! file of the corpus.

use std::path::Path;

use coppicer_actors::{
    DamageReason, Envelope, ForkOptions, History, KeepRules, Kept, Line, MarkerKind, Outline,
    SessionMeta, before_nth_user_message, classify, classify_item, close_turn, fork_turn_positions,
    items_validity, model_view, open_calls, plan_fork, plan_rollback, read_session_from, record_of,
    recorded_turns, text_of, turn_state, user_positions, user_turns, wire_validity,
    write_flattened, write_history,
};
use coppicer_messages::{
    AbortReason, ForkPoint, MessagePhase, NewRecord, RecordClass, Seq, ThreadId, ToolKind,
};

/// Longest input that is looked at, in bytes.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Any bytes as one line of a rollout.
pub(crate) fn line(bytes: &[u8]) {
    if bytes.len() > INPUT_BYTES_MAX || bytes.contains(&b'\n') {
        return;
    }
    let classified = classify(bytes);
    assert_eq!(classified.flaw.is_some(), classified.class == RecordClass::Opaque);
    let json = serde_json::from_slice::<serde_json::Value>(bytes);
    assert!(
        json.is_ok() || classified.flaw.is_some(),
        "another reader refuses what we take: {:?}",
        json.err()
    );
    let record = record_of(bytes).at(Seq(0));
    assert_eq!(record.class, classified.class);
    assert_eq!(&*record.raw, bytes);
    let _ = text_of(&record);
    let _ = SessionMeta::parse(bytes);
    let _ = classify_item(bytes);
    if let Ok(record) = Line::response_item(7, bytes) {
        assert_eq!(classify(&record.raw).class, record.class, "an item that became another");
    }
    histories(&std::iter::once(NewRecord::from(record)).collect());
}

/// Any bytes as a session file.
pub(crate) fn session(bytes: &[u8]) {
    if bytes.len() > INPUT_BYTES_MAX {
        return;
    }
    let path = Path::new("fuzzed.jsonl");
    let Ok(file) = read_session_from(bytes, path) else { return };
    // What is sound, and what is damaged but whole, is written back byte for byte.
    let mut out = Vec::new();
    file.write_to(&mut out).expect("a vector takes every byte");
    let skipped = file.damage.iter().any(|damage| !matches!(damage.reason, DamageReason::Flaw(_)));
    assert!(skipped || out == bytes, "an export that is not what was imported");
    let again = read_session_from(out.as_slice(), path).expect("what was read can be read again");
    assert_eq!(again.history, file.history);
    // Made to stand alone, it shows the same.
    out.clear();
    let sound: History = file
        .history
        .iter()
        .filter(|record| record.class != RecordClass::Opaque)
        .cloned()
        .map(NewRecord::from)
        .collect();
    write_flattened(&mut out, &file.meta, &sound).expect("a vector takes every byte");
    let alone = read_session_from(out.as_slice(), path).expect("it has a meta");
    assert_eq!(alone.damage, [], "{}", String::from_utf8_lossy(&out));
    assert_eq!(model_view(&alone.history).to_json(), model_view(&sound).to_json());
    histories(&file.history);
    histories(&file.sound_history());
}

/// Any bytes as a history: each picks a record.
pub(crate) fn plan(bytes: &[u8]) {
    if bytes.len() > 512 {
        return;
    }
    histories(&bytes.iter().map(|&byte| record(byte)).collect());
}

/// What must hold of any history.
fn histories(source: &History) {
    assert_eq!(wire_validity(source), Ok(()));
    let view = model_view(source);
    serde_json::from_slice::<serde_json::Value>(&view.to_json()).expect("a view is JSON");
    let outline = Outline::of(source);
    let positions = user_positions(source);
    assert!(positions.iter().all(|&seq| outline.counts(seq)));
    for nth in 0..=positions.len().min(8) {
        let wanted = positions.get(nth).map_or(source.len(), |seq| seq.0);
        assert_eq!(before_nth_user_message(source, nth), wanted);
    }
    assert!(fork_turn_positions(source).iter().all(|&seq| outline.counts(seq)));
    let _ = (recorded_turns(source), user_turns(source), plan_rollback(source, 1, 9));
    let before: Vec<_> = source.iter().cloned().collect();
    let options = [
        ForkOptions::at(9),
        ForkOptions::at(9).with_marker(MarkerKind::Developer),
        ForkOptions::at(9)
            .with_marker(MarkerKind::Disabled)
            .with_keep(KeepRules::for_subagent().without_hints(["a"]).with_hint("hint")),
    ];
    for (nth, point) in points(source).iter().enumerate() {
        // Each point with two of the three, in turn.
        for options in [&options[nth % 3], &options[(nth + 1) % 3]] {
            if let Ok(plan) = plan_fork(source, point, options) {
                assert_eq!(plan.check(source), Ok(()), "{point:?}");
                let fork = plan.history(source);
                if let Kept::Prefix { cut } = plan.kept {
                    assert_eq!(fork.prefix(cut), source.prefix(cut));
                }
                fork_of_a_fork(&fork);
            }
        }
    }
    assert!(source.iter().eq(&before), "the source is never written");
}

/// At a boundary it is a fixed point.
fn fork_of_a_fork(fork: &History) {
    let mut boundary = fork.clone();
    boundary.extend(close_turn(fork, AbortReason::Interrupted, MarkerKind::ContextualUser, 9));
    assert!(!turn_state(&boundary).mid_turn);
    assert_eq!(open_calls(&boundary), []);
    let again = plan_fork(&boundary, &ForkPoint::Interrupted, &ForkOptions::at(99))
        .expect("every history can be interrupted");
    assert_eq!(again.closing, []);
    assert_eq!(again.history(&boundary), boundary);
    assert_eq!(items_validity(&model_view(&boundary).items), Ok(()));
    let mut bytes = Vec::new();
    write_history(&mut bytes, &boundary).expect("a vector takes every byte");
}

fn points(source: &History) -> Vec<ForkPoint> {
    let len = source.len();
    let mut points = vec![
        ForkPoint::Interrupted,
        ForkPoint::LastStable,
        ForkPoint::NextStable,
        ForkPoint::BeforeUserMessage(usize::MAX),
        ForkPoint::At(Seq(len + 1)),
        ForkPoint::After("none".into()),
    ];
    points.extend([0, 1, 2, 5].map(ForkPoint::BeforeUserMessage));
    points.extend([0, 1, 3, u32::MAX].map(ForkPoint::LastTurns));
    points.extend(
        [0, 1, len / 3, len / 2, len.saturating_sub(1), len].map(|at| ForkPoint::At(Seq(at))),
    );
    let starts = source.iter().rev().filter_map(|record| match &record.class {
        RecordClass::TurnStarted { turn: Some(turn) } => Some(turn.clone()),
        _ => None,
    });
    for turn in starts.take(3) {
        points.extend([ForkPoint::After(turn.clone()), ForkPoint::Before(turn)]);
    }
    points
}

/// The record that a byte picks: its kind in the low five bits, an id in the others.
fn record(byte: u8) -> NewRecord {
    let id = ["a", "b", "c", "d", "e", "f", "g", "h"][usize::from(byte >> 5)];
    let text = |role: &str, text: &str| {
        let part = if role == "assistant" { "output_text" } else { "input_text" };
        let item = serde_json::json!({ "type": "message", "role": role,
            "content": [{ "type": part, "text": text }] });
        Line::response_item(7, item.to_string().as_bytes()).expect("a message is an item")
    };
    let mail = |trigger| {
        Line::envelope(
            7,
            &Envelope {
                author: "/root/a".into(),
                recipient: "/root".into(),
                other_recipients: Vec::new(),
                content: id.into(),
                trigger,
            },
        )
    };
    let tool = |kind: &str, more: &str| {
        let item = format!(r#"{{"type":"{kind}","call_id":"{id}"{more}}}"#);
        Line::response_item(7, item.as_bytes()).expect("a tool call is an item")
    };
    let reason = [AbortReason::Interrupted, AbortReason::Crashed, AbortReason::Replaced];
    match byte & 31 {
        0 => text("user", id),
        1 => text("user", "<environment_context>x</environment_context>"),
        2 => text("assistant", id),
        3 => Line::assistant_message(7, id, MessagePhase::Final)[1].clone(),
        4 => text("developer", id),
        5 => mail(true),
        6 => mail(false),
        7 => Line::function_call(7, id, "tool", "{}"),
        8 => Line::function_call_output(7, id, "done"),
        9 => Line::aborted_output(7, &id.into(), ToolKind::Custom),
        10 => tool("custom_tool_call", r#","name":"n","input":"""#),
        11 => tool("tool_search_call", r#","execution":"client","arguments":{}"#),
        12 => Line::aborted_output(7, &id.into(), ToolKind::Search),
        13 | 14 => Line::task_started(7, id),
        15 | 16 => Line::task_complete(7, id, None, Some(1), (byte & 32 == 0).then_some("no")),
        17 => Line::turn_aborted(7, Some(id), reason[usize::from(byte >> 5) % 3], None),
        18 => Line::turn_aborted(7, None, AbortReason::Interrupted, None),
        19 => Line::rolled_back(7, u32::from(byte >> 5)),
        20 => Line::rolled_back(7, u32::MAX),
        21 => Line::user_message(7, id)[1].clone(),
        22 => Line::turn_context(7, id, "/srv/demo", "model"),
        23 => Line::compacted(7, id, None),
        24 => Line::compacted(
            7,
            "",
            Some(&[
                br#"{"type":"message","role":"user","content":[{"type":"input_text","text":"kept"}]}"#,
                br#"{"type":"function_call","name":"n","arguments":"{}","call_id":"a"}"#,
                br#"{"type":"function_call_output","call_id":"b","output":""}"#,
            ]),
        ),
        25 => Line::error(7, id),
        26 => Line::interrupted_marker(7, MarkerKind::ContextualUser).expect("it has a text"),
        27 => Line::interrupted_marker(7, MarkerKind::Developer).expect("it has a text"),
        28 => Line::session_meta(7, &SessionMeta::new(ThreadId::from_parts(1, [1; 10]), "/")),
        29 => record_of(br#"{"type":"of a later version","payload":{}}"#),
        30 => record_of(b"\xff garbage"),
        _ => tool("web_search_call", ""),
    }
}
