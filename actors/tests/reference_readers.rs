//! What we write opens in the reference system: each line has the fields that it never leaves out,
//! of the types that it writes itself. Held against its own recorded files.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use coppicer_actors::{
    Envelope, ForkOptions, History, Line, MarkerKind, SessionMeta, ThreadSpawn, TokenCounts,
    close_turn, plan_fork, read_session, read_session_from, resolve_history, session_files,
    write_flattened,
};
use coppicer_messages::{
    AbortReason, ForkPoint, MessagePhase, NewRecord, RecordClass, ThreadId, ToolKind,
};
use serde_json::Value;
use support::*;

/// Fields that are always there in the recorded files, but that REF 6 has as optional: newer
/// versions added them, or they are of one setting.
const OPTIONAL: [&str; 10] = [
    "collaboration_mode",
    "duration_ms",
    "id",
    "internal_chat_message_metadata_passthrough",
    "multi_agent_version",
    "permission_profile",
    "realtime_active",
    "replacement_history",
    "root_turn_id",
    "started_at",
];

/// Fields that may be null by REF 6, and happen not to be in the recorded files.
const NULLABLE: [&str; 5] = [
    "base_instructions",
    "last_agent_message",
    "model_context_window",
    "model_provider",
    "rate_limits",
];

/// Fields of ours that REF's readers pass over.
const OURS: [&str; 1] = ["cause"];

fn sessions() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/sessions");
    session_files(folder).unwrap()
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "flag",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

#[derive(Default)]
struct Kind {
    seen: bool,
    always: BTreeSet<String>,
    types: BTreeMap<String, BTreeSet<&'static str>>,
}

fn kind_of(line: &Value) -> String {
    let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}/{}", field(&line["type"]), field(&line["payload"]["type"]))
}

/// What the reference writes, by kind of line.
fn reference() -> BTreeMap<String, Kind> {
    let mut kinds = BTreeMap::<String, Kind>::new();
    for file in sessions() {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let fields = line["payload"].as_object().unwrap();
            let kind = kinds.entry(kind_of(&line)).or_default();
            let names: BTreeSet<String> = fields.keys().cloned().collect();
            if kind.seen {
                kind.always.retain(|name| names.contains(name));
            } else {
                (kind.seen, kind.always) = (true, names);
            }
            for (name, value) in fields {
                kind.types.entry(name.clone()).or_default().insert(json_type(value));
            }
        }
    }
    kinds
}

fn check(kinds: &BTreeMap<String, Kind>, record: &NewRecord, checked: &mut BTreeSet<String>) {
    let line: Value = serde_json::from_slice(&record.raw).unwrap();
    let stamp = line["timestamp"].as_str().unwrap();
    assert!(stamp.len() == 24 && stamp.ends_with('Z') && stamp.contains('T'), "{stamp}");
    let fields = line["payload"].as_object().unwrap();
    let Some(kind) = kinds.get(&kind_of(&line)) else { return };
    checked.insert(kind_of(&line));
    for name in kind.always.iter().filter(|name| !OPTIONAL.contains(&name.as_str())) {
        // A compaction carries state of the reference's own that its readers do not need.
        let needed = !matches!(record.class, RecordClass::Compaction { .. }) || name == "message";
        assert!(!needed || fields.contains_key(name), "{line} has no `{name}`");
    }
    for (name, value) in fields {
        if let Some(types) = kind.types.get(name) {
            let found = json_type(value);
            // The recorded model never said a phase.
            let is_sound =
                (found == "null" && NULLABLE.contains(&name.as_str())) || name == "phase";
            assert!(
                types.contains(found) || is_sound,
                "{line}: `{name}` is {found}, not {types:?}"
            );
        } else {
            let optional =
                OURS.contains(&name.as_str()) || OPTIONAL_IN_REF.contains(&name.as_str());
            assert!(optional, "{line}: the reference never writes `{name}`");
        }
    }
    if let Some(reason) =
        fields.get("reason").filter(|_| kind_of(&line) == "event_msg/turn_aborted")
    {
        let known = ["interrupted", "replaced", "review_ended", "budget_limited"];
        assert!(known.contains(&reason.as_str().unwrap()), "{line}");
    }
}

/// Fields of REF 6 that the recorded files happen not to have.
const OPTIONAL_IN_REF: [&str; 4] = ["agent_role", "completed_at", "error", "phase"];

fn builders() -> Vec<NewRecord> {
    let id = ThreadId::from_parts(1, [7; 10]);
    let spawn = ThreadSpawn {
        parent: id,
        depth: 1,
        agent_path: Some("/root/a".into()),
        agent_nickname: Some("Noether".into()),
        agent_role: Some("explorer".into()),
    };
    let mut records = vec![
        Line::session_meta(7, &SessionMeta::new(id, "/srv/demo").forked_from(id)),
        Line::session_meta(7, &SessionMeta::new(id, "/srv/demo").spawned_by(spawn)),
        Line::task_started(7, "t"),
        Line::task_complete(7, "t", Some("done"), Some(3), None),
        Line::task_complete(7, "t", None, None, Some("it failed")),
        Line::developer_item(7, "x"),
        Line::function_call(7, "c", "shell", "{}"),
        Line::function_call_output(7, "c", "x"),
        Line::envelope(
            7,
            &Envelope {
                author: "/root/a".into(),
                recipient: "/root".into(),
                other_recipients: vec![],
                content: "x".into(),
                trigger: true,
            },
        ),
        Line::rolled_back(7, 2),
        Line::compacted(7, "summary", None),
        Line::compacted(7, "", Some(&[br#"{"type":"message","role":"user","content":[]}"#])),
        Line::turn_context(7, "t", "/srv/demo", "model"),
        Line::error(7, "x"),
        Line::token_count(7, &TokenCounts::default(), &TokenCounts::default()),
        Line::settings_applied(7, id, &serde_json::json!({})),
    ];
    records.extend(Line::user_message(7, "x"));
    for phase in [MessagePhase::None, MessagePhase::Commentary, MessagePhase::Final] {
        records.extend(Line::assistant_message(7, "x", phase));
    }
    for kind in [ToolKind::Function, ToolKind::Custom, ToolKind::Search] {
        records.push(Line::aborted_output(7, &"c".into(), kind));
    }
    for reason in [
        AbortReason::Interrupted,
        AbortReason::Replaced,
        AbortReason::ReviewEnded,
        AbortReason::BudgetLimited,
        AbortReason::Crashed,
        AbortReason::Failed,
        AbortReason::Other,
    ] {
        for kind in [MarkerKind::Disabled, MarkerKind::ContextualUser, MarkerKind::Developer] {
            records.extend(Line::interrupted_boundary(7, Some("t"), kind, reason));
        }
    }
    records
}

#[test]
fn each_line_that_we_write_has_what_the_references_own_lines_have() {
    let kinds = reference();
    let mut checked = BTreeSet::new();
    for record in builders() {
        check(&kinds, &record, &mut checked);
    }
    assert!(checked.len() >= 13, "{checked:?}");
}

#[test]
fn our_forks_of_its_sessions_have_what_the_references_own_lines_have() {
    let kinds = reference();
    let mut checked = BTreeSet::new();
    let id = ThreadId::from_parts(9, [9; 10]);
    for path in sessions() {
        let file = read_session(&path).unwrap();
        let source = resolve_history(&file, None).unwrap();
        let plan = plan_fork(&source, &ForkPoint::Interrupted, &ForkOptions::at(9)).unwrap();
        let mut meta = SessionMeta::new(id, "/srv/demo").forked_from(file.meta.id);
        meta.history_mode = file.meta.history_mode;
        let mut out = Vec::new();
        write_flattened(&mut out, &meta, &plan.history(&source)).unwrap();
        let fork = read_session_from(out.as_slice(), Path::new("fork.jsonl")).unwrap();
        assert_eq!(fork.damage, []);
        for record in &fork.history {
            check(&kinds, &record.clone().into(), &mut checked);
        }
        // The first meta decides whose file it is (REF 2.8), and there is no other.
        assert_eq!((fork.meta.id, fork.meta.forked_from), (id, Some(file.meta.id)));
        let metas = fork.history.iter().filter(|record| record.class == RecordClass::Meta);
        assert_eq!(metas.count(), 1);
    }
    assert!(checked.len() >= 13, "{checked:?}");
}

#[test]
fn a_boundary_that_we_write_is_one_for_the_references_reducer() {
    // REF 2.5: what it finds in the lines alone. A crash has a reason that it does not know.
    for reason in [AbortReason::Interrupted, AbortReason::Crashed, AbortReason::Failed] {
        let mut source: History = history([TS("1"), U("u"), FC("a")]);
        source.extend(close_turn(&source, reason, MarkerKind::ContextualUser, 9));
        let lines: Vec<Value> =
            source.iter().map(|record| serde_json::from_slice(&record.raw).unwrap()).collect();
        let last = &lines.last().unwrap()["payload"];
        assert_eq!(
            (&last["type"], &last["reason"]),
            (&"turn_aborted".into(), &"interrupted".into())
        );
        assert_eq!(last["turn_id"], "1");
    }
}
