//! Recorded sessions: what we show a model of them is what the reference system showed it.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::path::{Path, PathBuf};

use coppicer_actors::{
    ForkOptions, History, Kept, MarkerKind, RecordedOutcome, SessionFile, SessionMeta, classify,
    close_turn, items_validity, model_view, plan_fork, read_session, read_session_from,
    recorded_turns, resolve_history, session_files, turn_state, wire_validity, write_flattened,
    write_history,
};
use coppicer_messages::{AbortReason, ForkPoint, ForkRefusal, RecordClass, Seq, TurnRef};
use serde_json::Value;

fn sessions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/sessions")
}

fn manifest(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap()
}

fn all_files() -> Vec<PathBuf> {
    let files = session_files(sessions()).unwrap();
    assert_eq!(files.len(), 69);
    files
}

fn read(path: &Path) -> (SessionFile, History) {
    let file = read_session(path).unwrap();
    assert_eq!(file.damage, []);
    let history = resolve_history(&file, None).unwrap();
    (file, history)
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

fn text(item: &Value) -> String {
    let parts = item["content"].as_array().into_iter().flatten();
    let texts = parts.map(|part| {
        part["text"].as_str().or(part["encrypted_content"].as_str()).unwrap_or_default()
    });
    texts.collect::<Vec<_>>().concat()
}

/// What the manifest says of an item, from the item itself.
fn summary(item: &Value) -> String {
    let field = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    match item["type"].as_str().unwrap() {
        "message" => format!("{}: {}", field("role"), cut(&text(item))),
        "agent_message" => format!("mail: {}", cut(&text(item))),
        "function_call" => {
            format!(
                "call {} {} {} {}",
                field("call_id"),
                field("namespace"),
                field("name"),
                cut(&field("arguments"))
            )
        }
        "function_call_output" => format!("output {} {}", field("call_id"), cut(&field("output"))),
        other => other.to_owned(),
    }
}

/// What the manifest says of an item.
fn expected(entry: &Value) -> String {
    let mut item = entry.clone();
    if let Some(text) = entry["text"].as_str() {
        item["content"] = serde_json::json!([{ "text": text }]);
    }
    summary(&item)
}

fn shown(history: &History) -> Vec<String> {
    let view = model_view(history);
    items_validity(&view.items).unwrap();
    let items: Vec<Value> = serde_json::from_slice(&view.to_json()).unwrap();
    items.iter().map(summary).collect()
}

/// Checks that the first items of the view are what the model was shown, after the message with
/// the instructions, which no history has.
fn check(label: &str, file: &SessionFile, history: &History, input: &Value) {
    let mut wanted: Vec<String> = input.as_array().unwrap().iter().map(expected).collect();
    let instructions = file.meta.base_instructions.as_deref().unwrap_or_default();
    if wanted[0] == format!("developer: {}", cut(instructions)) {
        wanted.remove(0);
    }
    let shown = shown(history);
    let first = &shown[..wanted.len().min(shown.len())];
    for (at, (shown, wanted)) in first.iter().zip(&wanted).enumerate() {
        assert_eq!(shown, wanted, "{label}: item {at} of {}", file.path.display());
    }
    assert_eq!(first.len(), wanted.len(), "{label}: {}", file.path.display());
}

/// The file in which a scenario ends: the newest segment, or the last one.
fn newest(folder: &Path, scenario: &Value) -> Option<PathBuf> {
    if let Some(file) = scenario["file"].as_str() {
        return Some(folder.join(file));
    }
    let files: Vec<_> = scenario["files"]
        .as_array()?
        .iter()
        .map(|file| folder.join(file.as_str().unwrap()))
        .collect();
    let segment = files.iter().find(|file| read_session(file).unwrap().segment().is_some());
    segment.or(files.last()).cloned()
}

#[test]
fn a_model_is_shown_what_the_reference_showed_it() {
    let mut checked = 0;
    for folder in [sessions(), sessions().join("0.138")] {
        for (label, scenario) in manifest(&folder)["scenarios"].as_object().unwrap() {
            if scenario["model_input"].is_array() {
                let (file, history) = read(&newest(&folder, scenario).unwrap());
                check(label, &file, &history, &scenario["model_input"]);
                checked += 1;
            }
            if scenario["source_model_input"].is_array() {
                let (file, history) = read(&folder.join(scenario["source_file"].as_str().unwrap()));
                check(label, &file, &history, &scenario["source_model_input"]);
                checked += 1;
            }
            for fork in scenario["forks"].as_array().into_iter().flatten() {
                let (file, history) = read(&folder.join(fork["file_after_turn"].as_str().unwrap()));
                let label = format!("{label}: {}", fork["label"]);
                check(&label, &file, &history, &fork["model_input_next_turn"]);
                checked += 1;
            }
            for (thread, input) in
                scenario["model_input_children"].as_object().into_iter().flatten()
            {
                let files = scenario["files"].as_array().unwrap();
                let file =
                    files.iter().find(|file| file.as_str().unwrap().contains(thread.as_str()));
                let (file, history) = read(&folder.join(file.unwrap().as_str().unwrap()));
                check(label, &file, &history, input);
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 36);
}

/// What the source of a fork must be cut at, for what the reference was asked.
fn point_of(fork: &Value) -> ForkPoint {
    let turn = |name: &str| fork["params"][name].as_str().map(TurnRef::from);
    match (turn("lastTurnId"), turn("beforeTurnId")) {
        (Some(turn), _) => ForkPoint::After(turn),
        (_, Some(turn)) => ForkPoint::Before(turn),
        _ => ForkPoint::Interrupted,
    }
}

/// Our text of a marker is our own.
fn without_guidance(mut shown: Vec<String>) -> Vec<String> {
    for item in &mut shown {
        if item.starts_with("user: <turn_aborted>") {
            item.truncate("user: <turn_aborted>".len());
        }
    }
    shown
}

#[test]
fn our_forks_are_the_ones_that_the_reference_makes() {
    let folder = sessions();
    let mut checked = 0;
    for (label, scenario) in manifest(&folder)["scenarios"].as_object().unwrap() {
        for fork in scenario["forks"].as_array().into_iter().flatten() {
            let (_, source) = read(&folder.join(fork["source_file"].as_str().unwrap()));
            let (_, theirs) = read(&folder.join(fork["file_at_fork"].as_str().unwrap()));
            let plan = plan_fork(&source, &point_of(fork), &ForkOptions::at(1)).unwrap();
            let ours = plan.history(&source);
            assert_eq!(
                without_guidance(shown(&ours)),
                without_guidance(shown(&theirs)),
                "{label}: {}",
                fork["label"]
            );
            assert!(!turn_state(&ours).mid_turn);
            checked += 1;
        }
    }
    assert_eq!(checked, 10);
}

/// Every fork point that makes sense for a history.
fn points(history: &History) -> Vec<ForkPoint> {
    let mut points = vec![
        ForkPoint::Interrupted,
        ForkPoint::LastStable,
        ForkPoint::NextStable,
        ForkPoint::BeforeUserMessage(usize::MAX),
    ];
    let users = history.iter().filter(|record| record.class == RecordClass::UserMessage).count();
    points.extend((0..=users.min(12)).map(ForkPoint::from));
    points.extend((0..4).map(ForkPoint::LastTurns));
    // A long history is cut in steps, and everywhere near its end.
    let (len, step) = (history.len(), history.len() / 60 + 1);
    points.extend(
        (0..=len).filter(|at| at % step == 0 || at + 20 > len).map(|at| ForkPoint::At(Seq(at))),
    );
    for record in history.iter().rev() {
        if let RecordClass::TurnStarted { turn: Some(turn) } = &record.class {
            points.push(ForkPoint::After(turn.clone()));
            points.push(ForkPoint::Before(turn.clone()));
            if points.len() > 150 {
                break;
            }
        }
    }
    points
}

#[test]
fn every_fork_of_every_session_is_valid_and_a_fixed_point() {
    for path in all_files() {
        let (_, source) = read(&path);
        for point in points(&source) {
            let plan = match plan_fork(&source, &point, &ForkOptions::at(1)) {
                Ok(plan) => plan,
                Err(
                    ForkRefusal::InProgress { .. }
                    | ForkRefusal::NotYet { .. }
                    | ForkRefusal::RolledBack { .. },
                ) => {
                    continue;
                }
                Err(refusal) => panic!("{}: {point:?}: {refusal}", path.display()),
            };
            let fork = plan.history(&source);
            let label = || format!("{}: {point:?}", path.display());
            wire_validity(&fork).unwrap_or_else(|flaw| panic!("{}: {flaw}", label()));
            if let Kept::Prefix { cut } = plan.kept {
                assert_eq!(fork.prefix(cut), source.prefix(cut), "{}", label());
            }
            let again = plan_fork(&fork, &ForkPoint::Interrupted, &ForkOptions::at(2)).unwrap();
            if turn_state(&fork).mid_turn {
                // The turn whose context was recorded before its message: nothing to tell.
                let closing = close_turn(&fork, AbortReason::Interrupted, MarkerKind::default(), 2);
                assert_eq!(closing.len(), 1, "{}: {closing:?}", label());
                assert_eq!(again.closing, closing, "{}", label());
            } else {
                assert_eq!(again.closing, [], "{}", label());
                assert_eq!(again.kept, Kept::Prefix { cut: fork.len() }, "{}", label());
            }
        }
    }
}

#[test]
fn every_session_is_written_back_byte_for_byte() {
    for path in all_files() {
        let bytes = std::fs::read(&path).unwrap();
        let file = read_session(&path).unwrap();
        let mut out = Vec::new();
        file.write_to(&mut out).unwrap();
        assert!(out == bytes, "{}", path.display());
        out.clear();
        write_history(&mut out, &file.history).unwrap();
        assert!(out == bytes, "{}", path.display());
    }
}

#[test]
fn a_history_that_was_made_to_stand_alone_shows_the_same() {
    for path in all_files() {
        let (file, history) = read(&path);
        let mut out = Vec::new();
        write_flattened(&mut out, &file.meta, &history).unwrap();
        let alone = read_session_from(out.as_slice(), &path).unwrap();
        assert_eq!(alone.damage, []);
        let meta = SessionMeta::parse(&alone.history.get(Seq(0)).unwrap().raw).unwrap();
        assert_eq!(meta.id, file.meta.id);
        assert_eq!(meta.source, file.meta.source);
        assert_eq!(meta.history_base, None);
        let metas = alone.history.iter().filter(|record| record.class == RecordClass::Meta);
        assert_eq!(metas.count(), 1);
        assert_eq!(shown(&alone.history), shown(&history), "{}", path.display());
        if out.starts_with(b"{\"ordinal\"") {
            for (ordinal, record) in alone.history.iter().enumerate() {
                assert_eq!(classify(&record.raw).ordinal, Some(ordinal as u64));
            }
        }
    }
}

#[test]
fn recorded_turns_are_the_ones_that_the_reference_lists() {
    let folder = sessions();
    let mut checked = 0;
    for (label, scenario) in manifest(&folder)["scenarios"].as_object().unwrap() {
        let Some(api) = scenario["api"].as_array().or(scenario["api_after"].as_array()) else {
            continue;
        };
        let (_, history) = read(&newest(&folder, scenario).unwrap());
        let turns = recorded_turns(&history);
        let ids: Vec<_> =
            turns.iter().map(|turn| turn.turn.as_deref().unwrap_or_default()).collect();
        let wanted: Vec<_> = api.iter().map(|turn| turn["id"].as_str().unwrap()).collect();
        assert_eq!(ids, wanted, "{label}");
        for (turn, api) in turns.iter().zip(api) {
            let input = turn.user_input.as_deref().unwrap_or_default();
            if let Some(first) = api["items"].get(0).and_then(Value::as_str)
                && let Some(text) = first.strip_prefix("userMessage:")
            {
                assert!(input.starts_with(text), "{label}: {text} / {input}");
            }
            let outcome = match api["status"].as_str().unwrap() {
                "completed" => RecordedOutcome::Completed,
                "failed" => RecordedOutcome::Failed,
                "interrupted" if turn.outcome == RecordedOutcome::Unfinished => {
                    RecordedOutcome::Unfinished
                }
                "interrupted" => RecordedOutcome::Aborted(AbortReason::Interrupted),
                other => panic!("{other}"),
            };
            assert_eq!(turn.outcome, outcome, "{label}: {input}");
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}
