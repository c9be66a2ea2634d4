//! What lines are, and that no bytes are too strange to say so.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use coppicer_actors::{
    Envelope, LINE_DEPTH_MAX, Line, LineFlaw, MarkerKind, SessionMeta, SessionSource, ThreadSpawn,
    TokenCounts, classify, classify_item, record_of,
};
use coppicer_messages::{AbortReason, MessagePhase, NewRecord, RecordClass, ThreadId, ToolKind};
use proptest::prelude::*;
use serde_json::json;
use support::*;

fn flaw(line: &[u8]) -> LineFlaw {
    let classified = classify(line);
    assert_eq!(classified.class, RecordClass::Opaque);
    classified.flaw.unwrap()
}

#[test]
fn every_class() {
    use RecordClass as C;
    let call = |kind, call: &str| C::ToolCall { call: call.into(), kind };
    let output = |kind, call: &str| C::ToolOutput { call: call.into(), kind };
    let turn = Some("t".into());
    for (kind, payload, class) in [
        ("session_meta", json!({ "id": "x" }), C::Meta),
        ("response_item", json!({ "type": "reasoning", "summary": [] }), C::Reasoning),
        (
            "response_item",
            json!({ "type": "message", "role": "system", "content": [] }),
            C::DeveloperMessage,
        ),
        (
            "response_item",
            json!({ "type": "message", "role": "tool", "content": [] }),
            C::OtherItem,
        ),
        (
            "response_item",
            json!({ "type": "message", "role": "user", "content": "text" }),
            C::UserMessage,
        ),
        (
            "response_item",
            json!({ "type": "message", "role": "assistant", "content": [null, 1, "x", [], {}] }),
            C::AssistantMessage { phase: MessagePhase::None },
        ),
        (
            "response_item",
            json!({ "type": "message", "role": "assistant", "phase": "final_answer" }),
            C::AssistantMessage { phase: MessagePhase::Final },
        ),
        (
            "response_item",
            json!({ "type": "function_call", "call_id": "c" }),
            call(ToolKind::Function, "c"),
        ),
        (
            "response_item",
            json!({ "type": "local_shell_call", "call_id": "c" }),
            call(ToolKind::Function, "c"),
        ),
        ("response_item", json!({ "type": "local_shell_call", "call_id": null }), C::OtherItem),
        (
            "response_item",
            json!({ "type": "custom_tool_call", "call_id": "c" }),
            call(ToolKind::Custom, "c"),
        ),
        (
            "response_item",
            json!({ "type": "tool_search_call", "call_id": "c" }),
            call(ToolKind::Search, "c"),
        ),
        (
            "response_item",
            json!({ "type": "tool_search_call", "call_id": "c", "execution": "server" }),
            C::OtherItem,
        ),
        (
            "response_item",
            json!({ "type": "function_call_output", "call_id": "c" }),
            output(ToolKind::Function, "c"),
        ),
        (
            "response_item",
            json!({ "type": "custom_tool_call_output", "call_id": "c" }),
            output(ToolKind::Custom, "c"),
        ),
        (
            "response_item",
            json!({ "type": "tool_search_output", "call_id": "c" }),
            output(ToolKind::Search, "c"),
        ),
        ("response_item", json!({ "type": "web_search_call" }), C::OtherItem),
        ("response_item", json!({ "type": "image_generation_call" }), C::OtherItem),
        ("response_item", json!({ "type": "ghost_snapshot" }), C::Other),
        ("response_item", json!({ "type": "of a later version" }), C::Other),
        (
            "event_msg",
            json!({ "type": "task_started", "turn_id": "t" }),
            C::TurnStarted { turn: turn.clone() },
        ),
        ("event_msg", json!({ "type": "turn_started" }), C::TurnStarted { turn: None }),
        (
            "event_msg",
            json!({ "type": "task_complete", "turn_id": "t", "error": null }),
            C::TurnCompleted { turn: turn.clone(), failed: false },
        ),
        (
            "event_msg",
            json!({ "type": "turn_complete", "turn_id": "t", "error": {} }),
            C::TurnCompleted { turn: turn.clone(), failed: true },
        ),
        (
            "event_msg",
            json!({ "type": "turn_aborted", "turn_id": "t", "reason": "replaced" }),
            C::TurnAborted { turn: turn.clone(), reason: AbortReason::Replaced },
        ),
        (
            "event_msg",
            json!({ "type": "turn_aborted", "reason": "interrupted", "cause": "crashed" }),
            C::TurnAborted { turn: None, reason: AbortReason::Crashed },
        ),
        (
            "event_msg",
            json!({ "type": "thread_rolled_back", "num_turns": 3 }),
            C::RolledBack { turns: 3 },
        ),
        (
            "event_msg",
            json!({ "type": "thread_rolled_back", "num_turns": u64::MAX }),
            C::RolledBack { turns: u32::MAX },
        ),
        (
            "event_msg",
            json!({ "type": "item_completed", "item": { "type": "UserMessage" } }),
            C::UserEvent,
        ),
        (
            "event_msg",
            json!({ "type": "item_completed", "item": { "id": 1, "type": "AgentMessage" } }),
            C::AgentEvent,
        ),
        ("event_msg", json!({ "type": "item_completed", "item": { "type": "Plan" } }), C::Other),
        ("event_msg", json!({ "type": "item_completed", "item": [] }), C::Other),
        (
            "event_msg",
            json!({ "type": "error", "message": "x", "codex_error_info": "other" }),
            C::ErrorEvent,
        ),
        (
            "event_msg",
            json!({ "type": "error", "codex_error_info": "thread_rollback_failed" }),
            C::Other,
        ),
        ("event_msg", json!({ "type": "token_count" }), C::Usage),
        ("event_msg", json!({ "type": "of a later version" }), C::Other),
        (
            "compacted",
            json!({ "message": "", "replacement_history": [] }),
            C::Compaction { replaced: true },
        ),
        (
            "compacted",
            json!({ "message": "", "replacement_history": null }),
            C::Compaction { replaced: false },
        ),
        ("turn_context", json!({ "turn_id": "t" }), C::TurnContext { turn }),
        ("of a later version", json!({ "role": 7, "content": { "x": [1.5, -2, true] } }), C::Other),
    ] {
        let line = json!({ "ordinal": 5, "timestamp": "1970-01-01T00:00:01Z", "type": kind, "payload": payload });
        let classified = classify(line.to_string().as_bytes());
        assert_eq!(classified.class, class, "{line}");
        assert_eq!((classified.at_ms, classified.ordinal, classified.flaw), (1_000, Some(5), None));
    }
}

#[test]
fn the_order_of_fields_does_not_matter() {
    let line = br#"{"payload":{"content":[{"text":"<skill>x</skill>","type":"input_text"}],"role":"user","type":"message"},"type":"response_item","timestamp":"1970-01-01T00:00:01Z"}"#;
    assert_eq!(classify(line).class, RecordClass::ContextualUserMessage);
}

#[test]
fn mail_is_commentary_with_one_envelope() {
    let mail = r#"{"author":"/root/a","recipient":"/root","other_recipients":[],"content":"x","trigger_turn":true}"#;
    let assistant = RecordClass::AssistantMessage { phase: MessagePhase::Commentary };
    assert_eq!(A_note(mail).class, RecordClass::Envelope { trigger: true });
    assert_eq!(A_final(mail).class, RecordClass::AssistantMessage { phase: MessagePhase::Final });
    assert_eq!(A_note("{}").class, assistant);
    assert_eq!(A_note(&mail.replace("\"x\"", "1")).class, assistant);
    assert_eq!(A_note(&mail.replace("true", "1")).class, assistant);
}

#[test]
fn strange_lines_are_opaque_and_say_why() {
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!(r#"{{"timestamp":"","type":"x","payload":{{}},"more":{open}{close}}}"#)
    };
    assert_eq!(flaw(deep(10_000).as_bytes()), LineFlaw::TooDeep);
    assert_eq!(flaw(deep(LINE_DEPTH_MAX + 1).as_bytes()), LineFlaw::TooDeep);
    assert_eq!(classify(deep(LINE_DEPTH_MAX).as_bytes()).class, RecordClass::Other);
    let brackets = format!(r#"{{"type":"x","payload":{{"text":"{}"}}}}"#, "[{\\\"".repeat(500));
    assert_eq!(
        classify(brackets.as_bytes()).class,
        RecordClass::Other,
        "brackets in a text nest nothing"
    );
    assert_eq!(flaw(b"\xff{}"), LineFlaw::NotUtf8 { at: 0 });
    for not_json in [
        "",
        "x",
        "{",
        r#"{"type":"#,
        r#"{"type":"x","payload":{}} {}"#,
        r#"{"type":"x","payload":{"a":NaN}}"#,
        r#"{"type":"x","payload":{"a":01}}"#,
        r#"{"type":"x","payload":{"a":1e400}}"#,
        "{\"type\":\"x\",\"payload\":{\"a\":\"\u{1}\"}}",
        r#"{"type":"x","payload":{"a":"\ud800"}}"#,
        r#"{"type":"x","payload":{"a":"\uDC00x"}}"#,
        r#"{"type":"x","payload":{},}"#,
    ] {
        assert!(matches!(flaw(not_json.as_bytes()), LineFlaw::NotJson { .. }), "{not_json}");
    }
    for malformed in [
        "[]",
        "1",
        "null",
        r#""x""#,
        r#"{"type":"x","payload":[]}"#,
        r#"{"type":"x","type":"y","payload":{}}"#,
        r#"{"type":"x","payload":{},"payload":{}}"#,
        r#"{"type":"x","payload":{"role":"a","role":"b"}}"#,
    ] {
        assert!(matches!(flaw(malformed.as_bytes()), LineFlaw::Malformed { .. }), "{malformed}");
    }
    for missing in [
        r"{}",
        r#"{"type":"x"}"#,
        r#"{"payload":{}}"#,
        r#"{"type":7,"payload":{}}"#,
        r#"{"type":"event_msg","payload":{}}"#,
        r#"{"type":"response_item","payload":{"type":"message"}}"#,
        r#"{"type":"response_item","payload":{"type":"function_call"}}"#,
        r#"{"type":"event_msg","payload":{"type":"thread_rolled_back","num_turns":-1}}"#,
        r#"{"type":"session_meta","payload":{}}"#,
    ] {
        assert!(matches!(flaw(missing.as_bytes()), LineFlaw::Missing { .. }), "{missing}");
    }
    let emoji = r#"{"type":"x","payload":{"a":"\ud83d\ude00"}}"#;
    assert_eq!(classify(emoji.as_bytes()).flaw, None);
}

fn every_builder(text: &str) -> Vec<NewRecord> {
    let id = ThreadId::from_parts(1, [7; 10]);
    let spawn = ThreadSpawn {
        parent: id,
        depth: 2,
        agent_path: Some(text.into()),
        agent_nickname: Some(text.into()),
        agent_role: None,
    };
    let mail = Envelope {
        author: text.into(),
        recipient: text.into(),
        other_recipients: vec![text.into()],
        content: text.into(),
        trigger: true,
    };
    let item = json!({ "type": "function_call", "call_id": text }).to_string();
    let mut records = vec![
        Line::session_meta(1, &SessionMeta::new(id, text).spawned_by(spawn).forked_from(id)),
        Line::task_started(1, text),
        Line::task_complete(1, text, Some(text), Some(3), None),
        Line::task_complete(1, text, None, None, Some(text)),
        Line::developer_item(1, text),
        Line::function_call(1, text, text, text),
        Line::function_call_output(1, text, text),
        Line::aborted_output(1, &text.into(), ToolKind::Search),
        Line::aborted_output(1, &text.into(), ToolKind::Custom),
        Line::envelope(1, &mail),
        Line::rolled_back(1, 4),
        Line::compacted(1, text, Some(&[item.as_bytes(), item.as_bytes()])),
        Line::compacted(1, text, None),
        Line::turn_context(1, text, text, text),
        Line::error(1, text),
        Line::token_count(
            1,
            &TokenCounts::default(),
            &TokenCounts { input: 1, ..TokenCounts::default() },
        ),
        Line::response_item(1, item.as_bytes()).unwrap(),
    ];
    records.extend(Line::user_message(1, text));
    for phase in [MessagePhase::None, MessagePhase::Commentary, MessagePhase::Final] {
        records.extend(Line::assistant_message(1, text, phase));
    }
    for reason in
        ["interrupted", "replaced", "review_ended", "budget_limited", "crashed", "failed", "?"]
    {
        records.push(Line::turn_aborted(1, Some(text), AbortReason::from_name(reason), Some(2)));
    }
    for kind in [MarkerKind::ContextualUser, MarkerKind::Developer] {
        for reason in [AbortReason::Interrupted, AbortReason::Crashed, AbortReason::BudgetLimited] {
            records.extend(Line::interrupted_boundary(1, None, kind, reason));
        }
    }
    records
}

#[test]
fn what_is_written_is_read_as_the_class_that_was_claimed() {
    let mail = r#"{"author":"","recipient":"","content":"","trigger_turn":false}"#;
    for text in ["plain", "", "\"quotes\"\n\u{1}\u{2028}😀", "<skill>x</skill>", mail] {
        for record in every_builder(text) {
            assert_eq!(record_of(&record.raw), record, "{}", String::from_utf8_lossy(&record.raw));
            assert!(!record.raw.contains(&b'\n'));
        }
    }
}

#[test]
fn reasons_that_the_reference_does_not_know_are_written_as_one_that_it_knows() {
    for reason in [AbortReason::Crashed, AbortReason::Failed, AbortReason::Other] {
        let line = payload(&Line::turn_aborted(1, None, reason, None));
        assert_eq!(
            (&line["reason"], &line["cause"]),
            (&json!("interrupted"), &json!(reason.as_str()))
        );
    }
}

#[test]
fn a_session_meta_is_read_as_it_was_written() {
    let id = ThreadId::from_parts(1_000, [1; 10]);
    let mut meta = SessionMeta::new(id, "/srv/demo").forked_from(ThreadId::from_parts(2, [2; 10]));
    meta.created_ms = Some(77);
    meta.model_provider = Some("acme".into());
    meta.base_instructions = Some("Be brief.".into());
    for source in [
        SessionSource::Cli,
        SessionSource::VsCode,
        SessionSource::Exec,
        SessionSource::Mcp,
        SessionSource::Named("new".into()),
        SessionSource::Custom("x".into()),
        SessionSource::Internal("memory".into()),
        SessionSource::SubAgent("review".into()),
        SessionSource::SubAgent("word".into()),
    ] {
        meta.source = source;
        assert_eq!(SessionMeta::parse(&Line::session_meta(5, &meta).raw).unwrap(), meta);
    }
    let child = meta.spawned_by(ThreadSpawn {
        parent: id,
        depth: 3,
        agent_path: Some("/root/indexer".into()),
        agent_nickname: Some("Noether".into()),
        agent_role: Some("explorer".into()),
    });
    assert_eq!(SessionMeta::parse(&Line::session_meta(5, &child).raw).unwrap(), child);
    assert_eq!(child.depth(), 3);
}

#[test]
fn engines_cannot_slip_in_what_is_no_item() {
    assert!(Line::response_item(1, b"{").is_err());
    assert!(Line::response_item(1, b"{\"type\":\"message\"}").is_err());
    assert!(Line::response_item(1, b"{\"type\":\"reasoning\",\n\"summary\":[]}").is_err());
    assert!(Line::response_item(1, b"{\"type\":\"ghost_snapshot\"}").is_err());
    assert!(classify_item(b"[]").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_have_a_class(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        classify(&bytes);
    }

    #[test]
    fn any_damage_to_a_line_is_survived(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
    ) {
        let records = every_builder("a \\ \" text");
        let mut line = which.get(&records).raw.to_vec();
        let at = at.index(line.len());
        if cut { line.truncate(at) } else { line[at] = byte }
        let classified = classify(&line);
        // What is taken as sound is one JSON value for every other reader too.
        if classified.flaw.is_none() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&line).is_ok());
        }
    }

    #[test]
    fn texts_of_every_kind_come_back(text in any::<String>()) {
        for record in every_builder(&text) {
            prop_assert_eq!(&record_of(&record.raw), &record);
        }
    }
}
