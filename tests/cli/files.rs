//! The file tools.

use std::fs;

use tempfile::tempdir;

use crate::support::*;

fn path(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_recorded_session_is_sound() {
    let ran = coppicer(["check", path(&sessions())]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.ends_with("69 files, all sound\n"), "{ran:?}");
    assert!(ran.out.contains("thread 01a2032d-a9a4-7001-8aea-b4350a6e6193; 32 records: "));
    assert!(ran.out.contains("turn_completed 3"), "{ran:?}");
}

#[test]
fn a_check_names_each_damaged_line_with_its_reason() {
    let folder = tempdir().unwrap();
    let mut bytes = (meta(1, "") + &turn(1, "one")).into_bytes();
    bytes.extend_from_slice(b"garbage\n\xff\xfe\n");
    bytes.extend_from_slice(&[b"[".repeat(10_000), b"]".repeat(10_000), b"\n".to_vec()].concat());
    bytes.extend_from_slice(br#"{"timestamp":"2026"#);
    let file = write(folder.path(), "damaged.jsonl", bytes);
    write(folder.path(), "empty.jsonl", "");
    write(folder.path(), "no-meta.jsonl", turn(1, "one"));
    write(folder.path(), "bad-id.jsonl", meta(1, "").replace(&id(1), "not-a-uuid"));
    write_sound(folder.path(), "sound.jsonl", 2);
    let ran = coppicer(["check", path(folder.path()), "/no/such/path"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for wanted in [
        format!("{}:6: not one JSON value", path(&file)),
        format!("{}:7: not UTF-8 from byte 0 on", path(&file)),
        format!("{}:8: nested deeper than 127 levels", path(&file)),
        format!("{}:9: the file ends inside this line", path(&file)),
        "the file is empty".into(),
        "no `session_meta` line".into(),
        "bad-id.jsonl: line 1: the session id `not-a-uuid` is no UUID".into(),
        "sound.jsonl: sound".into(),
        "5 files, 4 damaged".into(),
    ] {
        assert!(ran.out.contains(&wanted), "{wanted}: {ran:?}");
    }
    ran.says(&["/no/such/path", "there is no such file"]);
}

#[test]
fn a_history_is_a_json_array_of_the_files_own_bytes() {
    let ran = coppicer(["history", path(&example("chat3")), "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let source = fs::read_to_string(example("chat3")).unwrap();
    let items = ran.json();
    let items = items.as_array().unwrap();
    assert!(items.len() >= 7, "{ran:?}");
    for item in items {
        let text = item["content"][0]["text"].as_str().unwrap();
        assert!(source.contains(&serde_json::to_string(text).unwrap()));
    }
}

#[test]
fn a_history_begins_in_the_files_that_it_names() {
    // The segment of a reverted session begins in the file beside it.
    let segment = files_in(&examples().join("reverted"))
        .into_iter()
        .find(|file| path(file).contains("_01a2032d"))
        .unwrap();
    let ran = coppicer(["history", path(&segment)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("user message 1") || ran.out.contains("user: "), "{ran:?}");

    // Away from it the base must be pointed at.
    let folder = tempdir().unwrap();
    let away = folder.path().join("far/away");
    fs::create_dir_all(&away).unwrap();
    let alone = away.join(segment.file_name().unwrap());
    fs::copy(&segment, &alone).unwrap();
    let lost = coppicer(["history", path(&alone)]);
    assert_eq!(lost.code, Some(1));
    lost.says(&["its history begins in", "name the folder that has it"]);
    let found = coppicer(["history", path(&alone), "--sessions", path(&examples())]);
    assert_eq!((found.code, found.out), (Some(0), ran.out));
}

#[test]
fn what_a_session_says_does_not_steer_the_terminal() {
    let folder = tempdir().unwrap();
    let text = "red \u{1b}[31m, bell \u{7}, right to left \u{202e}\n[9] user: a forged item";
    let file = write(folder.path(), "a.jsonl", meta(1, "") + &turn(1, text));
    let ran = coppicer(["history", path(&file)]);
    assert_eq!(
        ran.out.lines().next().unwrap(),
        "[2] user: red [31m, bell , right to left ",
        "{ran:?}"
    );
    assert_eq!(ran.out.lines().nth(1).unwrap(), "    [9] user: a forged item");
}

#[test]
fn damage_is_told_and_the_rest_is_shown() {
    let folder = tempdir().unwrap();
    let file = write(folder.path(), "a.jsonl", meta(1, "") + "garbage\n" + &turn(1, "one"));
    let ran = coppicer(["history", path(&file)]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.out, "[3] user: one\n[4] assistant: one\n");
    ran.says(&[&format!("{}:2: not one JSON value", path(&file))]);
}

#[test]
fn a_fork_stands_alone_and_shows_what_its_source_showed() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("fork.jsonl");
    let out = path(&out);
    // A fork of a fork that begins in another file.
    let forks = files_in(&examples().join("fork"));
    let ran = coppicer(["fork", path(&forks[1]), "--interrupted", "-o", out]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let shown = coppicer(["history", out, "--json"]);
    assert_eq!(shown.out, coppicer(["history", path(&forks[1]), "--json"]).out);
    assert_eq!(coppicer(["check", out]).code, Some(0));

    let lines = fs::read_to_string(out).unwrap();
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["type"], "session_meta");
    assert_eq!(first["payload"]["forked_from_id"], "01a2032d-8478-7f71-90e6-f594d47c43d9");
    assert_eq!(first["payload"]["id"].as_str(), ran.out.split('\t').next());
    assert_eq!(lines.matches(r#""type":"session_meta""#).count(), 1);
}

#[test]
fn a_fork_closes_what_is_open_where_it_is_cut() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("fork.jsonl");
    let crash = example("crash");
    let ran = coppicer(["fork", path(&crash), "--interrupted", "-o", path(&out)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines = fs::read_to_string(&out).unwrap();
    assert!(lines.contains(r#""type":"turn_aborted""#));
    assert!(lines.contains("<turn_aborted>"));
    let shown = coppicer(["history", path(&out), "--json"]).json();
    let count = |kind: &str| shown.as_array().unwrap().iter().filter(|i| i["type"] == kind).count();
    assert_eq!(count("function_call"), count("function_call_output"));
}

#[test]
fn each_kind_of_fork_point_can_be_named() {
    let folder = tempdir().unwrap();
    let file = write_sound(folder.path(), "a.jsonl", 1);
    let shown = |point: &[&str]| {
        let out = folder.path().join("fork.jsonl");
        let args = ["fork", path(&file), "-o", path(&out), "--force"];
        let ran = coppicer(args.iter().chain(point));
        assert_eq!(ran.code, Some(0), "{point:?}: {ran:?}");
        coppicer(["history", path(&out)]).out.lines().filter(|l| l.contains("user")).count()
    };
    assert_eq!(shown(&["--before-user", "0"]), 0);
    assert_eq!(shown(&["--before-user", "1"]), 1);
    assert_eq!(shown(&["--before-user", "99"]), 2);
    assert_eq!(shown(&["--interrupted"]), 2);
    assert_eq!(shown(&["--last-turns", "1"]), 1);
    assert_eq!(shown(&["--at", "5"]), 1);
    assert_eq!(shown(&["--after", "t1"]), 1);
    assert_eq!(shown(&["--before", "t2"]), 1);
    assert_eq!(shown(&["--last-stable"]), 2);
    assert_eq!(shown(&["--next-stable"]), 2);
}

#[test]
fn a_fork_that_is_refused_writes_nothing() {
    let folder = tempdir().unwrap();
    let file = write_sound(folder.path(), "a.jsonl", 1);
    let before = fs::read(&file).unwrap();
    let out = folder.path().join("fork.jsonl");
    let unknown = coppicer(["fork", path(&file), "--after", "t9", "-o", path(&out)]);
    assert_eq!(unknown.code, Some(1));
    unknown.says(&["a.jsonl: there is no turn t9"]);
    assert!(!out.exists());
    let past = coppicer(["fork", path(&file), "--at", "99", "-o", path(&out)]);
    past.says(&["there is no record 99"]);

    // An existing file stays, the source itself too.
    let onto = coppicer(["fork", path(&file), "--interrupted", "-o", path(&file)]);
    assert_eq!(onto.code, Some(1));
    onto.says(&["there is a file already", "--force"]);
    assert_eq!(fs::read(&file).unwrap(), before);

    for usage in [
        vec!["fork", path(&file), "-o", path(&out)],
        vec!["fork", path(&file), "--interrupted", "--at", "1", "-o", path(&out)],
        vec!["fork", path(&file), "--at", "x", "-o", path(&out)],
        vec!["history"],
        vec!["check"],
        vec!["no-such-command"],
    ] {
        let ran = coppicer(&usage);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{usage:?}: {ran:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
}

#[test]
fn an_export_gives_back_the_bytes_that_came_in() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("out.jsonl");
    for name in ["chat3", "tools", "interrupted", "crash", "compacted"] {
        let ran = coppicer(["export", path(&example(name)), "-o", path(&out), "--force"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(fs::read(&out).unwrap() == fs::read(example(name)).unwrap(), "{name}");
    }
    // A fork that begins in another file comes back as one that stands alone.
    let fork = &files_in(&examples().join("fork"))[1];
    coppicer(["export", path(fork), "-o", path(&out), "--force"]);
    let shown = coppicer(["history", path(&out), "--json"]);
    assert_eq!(shown.out, coppicer(["history", path(fork), "--json"]).out);
}

#[test]
fn the_stable_points_of_an_unfinished_session() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("fork.jsonl");
    let crash = example("crash");
    let next = coppicer(["fork", path(&crash), "--next-stable", "-o", path(&out)]);
    assert_eq!(next.code, Some(1));
    next.says(&["the running turn has not ended yet"]);
    assert!(!out.exists());
    let last = coppicer(["fork", path(&crash), "--last-stable", "-o", path(&out)]);
    assert_eq!(last.code, Some(0), "{last:?}");
    assert!(!fs::read_to_string(&out).unwrap().contains("turn_aborted"), "nothing to close");
}

/// Every recorded session, as the manifest has it: the files and what the model was shown.
fn recorded_inputs() -> Vec<(std::path::PathBuf, serde_json::Value)> {
    let mut recorded = Vec::new();
    for folder in [sessions(), sessions().join("0.138")] {
        let manifest = fs::read(folder.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        for scenario in manifest["scenarios"].as_object().unwrap().values() {
            let name = |value: &serde_json::Value| folder.join(value.as_str().unwrap());
            for (file, input) in [("file", "model_input"), ("source_file", "source_model_input")] {
                if scenario[file].is_string() && scenario[input].is_array() {
                    recorded.push((name(&scenario[file]), scenario[input].clone()));
                }
            }
            if scenario["files"].is_array() && scenario["model_input"].is_array() {
                // The newest segment has a name of its own; otherwise the last file is the newest.
                let files: Vec<_> =
                    scenario["files"].as_array().unwrap().iter().map(name).collect();
                let is_segment = |file: &&std::path::PathBuf| {
                    path(file).contains('_') && {
                        let stem = file.file_stem().unwrap().to_str().unwrap();
                        stem.rsplit_once('_').is_some_and(|(_, segment)| segment.len() == 36)
                    }
                };
                let newest = files.iter().find(is_segment).or(files.last()).unwrap();
                recorded.push((newest.clone(), scenario["model_input"].clone()));
            }
            for fork in scenario["forks"].as_array().into_iter().flatten() {
                let input = fork["model_input_next_turn"].clone();
                recorded.push((name(&fork["file_after_turn"]), input));
            }
            for (thread, input) in
                scenario["model_input_children"].as_object().into_iter().flatten()
            {
                let files = scenario["files"].as_array().unwrap();
                let file =
                    files.iter().find(|file| file.as_str().unwrap().contains(thread.as_str()));
                recorded.push((name(file.unwrap()), input.clone()));
            }
        }
    }
    recorded
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Role, text up to the cut, kind, and the id of a call: of an item, and of what the manifest says.
fn gist(item: &serde_json::Value) -> [String; 4] {
    let field = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let parts = item["content"].as_array().into_iter().flatten();
    let texts: String = parts
        .filter_map(|part| part["text"].as_str().or(part["encrypted_content"].as_str()))
        .collect();
    let said = [texts, field("text"), field("arguments"), field("output")].concat();
    let role = if item["type"] == "message" { field("role") } else { String::new() };
    [field("type"), role, field("call_id"), cut(&said)]
}

// What the model was really shown in the newest request, after the leading instruction message, is
// what `coppicer history FILE --json` begins with.
#[test]
fn a_history_begins_with_what_the_model_was_really_shown() {
    let recorded = recorded_inputs();
    assert_eq!(recorded.len(), 36);
    for (file, input) in recorded {
        let ran = coppicer(["history", path(&file), "--json"]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
        let shown: Vec<_> = ran.json().as_array().unwrap().iter().map(gist).collect();
        let mut wanted: Vec<_> = input.as_array().unwrap().iter().map(gist).collect();
        let meta = fs::read_to_string(&file).unwrap();
        let meta: serde_json::Value = serde_json::from_str(meta.lines().next().unwrap()).unwrap();
        let instructions =
            meta["payload"]["base_instructions"]["text"].as_str().unwrap_or_default();
        if wanted[0][1] == "developer" && wanted[0][3] == cut(instructions) {
            wanted.remove(0);
        }
        assert!(shown.len() >= wanted.len(), "{}", path(&file));
        assert_eq!(shown[..wanted.len()], wanted, "{}", path(&file));
    }
}

#[test]
fn every_recorded_session_is_exported_byte_for_byte() {
    let folder = tempdir().unwrap();
    let mut exported = 0;
    let all = [sessions(), examples()];
    let mut folders: Vec<_> = all.to_vec();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            if entry.extension().is_none_or(|extension| extension != "jsonl") {
                continue;
            }
            let bytes = fs::read(&entry).unwrap();
            let first: serde_json::Value =
                serde_json::from_slice(bytes.split(|&byte| byte == b'\n').next().unwrap()).unwrap();
            if first["payload"]["history_base"].is_object() {
                continue; // It comes back as one that stands alone: see the test before.
            }
            let out = folder.path().join("out.jsonl");
            let ran = coppicer(["export", path(&entry), "-o", path(&out), "--force"]);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert!(fs::read(&out).unwrap() == bytes, "{}", path(&entry));
            exported += 1;
        }
    }
    assert!(exported > 50, "{exported}");
}
