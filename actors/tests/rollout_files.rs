//! Session files of every kind of soundness, and histories that begin in other files.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use coppicer_actors::{
    DamageReason, History, LINE_BYTES_MAX, Line, LineFlaw, Parting, ReadError, ResolveError,
    SessionFile, SessionMeta, SessionSet, read_session, read_session_from, resolve_history,
    text_of,
};
use coppicer_messages::{RecordClass, Seq, ThreadId};
use support::*;

const ID: &str = "0197f0a2-4c11-7d3e-9a55-0c6f3a1b2c3d";

fn meta_line() -> String {
    let meta = SessionMeta::new(ID.parse().unwrap(), "/srv/demo");
    String::from_utf8(Line::session_meta(1, &meta).raw.to_vec()).unwrap()
}

fn user_line(text: &str) -> String {
    String::from_utf8(Ui(text).raw.to_vec()).unwrap()
}

fn read(bytes: impl AsRef<[u8]>) -> Result<SessionFile, ReadError> {
    // A small buffer, so that lines cross its edges.
    read_session_from(BufReader::with_capacity(16, bytes.as_ref()), Path::new("x.jsonl"))
}

fn damage(file: &SessionFile) -> Vec<String> {
    file.damage.iter().map(ToString::to_string).collect()
}

#[test]
fn bad_files_say_what_is_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.jsonl");
    for (error, words) in [
        (read_session(&missing), ["missing.jsonl: there is no such file", "check the path"]),
        (read_session(folder.path()), ["this is a folder", "name a file in it"]),
        (read(""), ["the file is empty", "`session_meta`"]),
        (read("\n\n"), ["the file is empty", "`session_meta`"]),
        (read(user_line("x")), ["no `session_meta` line", "lost its first line"]),
        (read("garbage\n"), ["no `session_meta` line", "line 1"]),
        (read(meta_line().replace(ID, "no-uuid")), ["x.jsonl: line 1", "`no-uuid` is no UUID"]),
        (
            read(format!("garbage\n{}", meta_line().replace(ID, ""))),
            ["x.jsonl: line 2", "mend the line"],
        ),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn damaged_lines_are_reported_and_the_rest_is_read() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let bytes = [
        meta_line().as_bytes(),
        b"\n\n",
        user_line("a").as_bytes(),
        b"\ngarbage\n\xff\xfe\n",
        deep.as_bytes(),
        b"\n  \n",
        user_line("b").as_bytes(),
        b"\r\n{\"timestamp\":\"2026",
    ]
    .concat();
    let file = read(&bytes).unwrap();
    let lines: Vec<u64> = file.damage.iter().map(|damage| damage.line).collect();
    assert_eq!(lines, [4, 5, 6, 9], "{:?}", damage(&file));
    assert_eq!(file.damage[2].reason, DamageReason::Flaw(LineFlaw::TooDeep));
    assert_eq!(file.damage[3].reason, DamageReason::TornTail { bytes: 18 });
    assert_eq!(damage(&file)[1], "line 5: not UTF-8 from byte 0 on");
    assert_eq!(file.sound_len, Some(2));
    assert!(!file.ends_with_newline);
    assert_eq!(view(&file.history), ["a", "b"]);
    assert_eq!(view(&file.sound_history()), ["a"]);
    // All but the torn tail is written back, and what is written next is not glued to a line.
    let mut out = Vec::new();
    file.write_to(&mut out).unwrap();
    assert_eq!(out, bytes[..bytes.len() - 18]);
}

#[test]
fn a_line_without_newline_at_the_end_is_sound_if_it_is_whole() {
    let bytes = format!("{}\n{}", meta_line(), user_line("a"));
    let file = read(&bytes).unwrap();
    assert_eq!(file.damage, []);
    assert_eq!(file.history.len(), 2);
    let mut out = Vec::new();
    file.write_to(&mut out).unwrap();
    assert_eq!(out, bytes.as_bytes());
}

#[test]
fn blank_lines_and_line_ends_are_kept() {
    let bytes = format!("\n{}\r\n \n\n{}\n\t\n", meta_line(), user_line("a"));
    let file = read(&bytes).unwrap();
    assert_eq!(file.history.len(), 2);
    let mut out = Vec::new();
    file.write_to(&mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), bytes);
}

#[test]
fn a_line_that_is_too_long_is_skipped_without_being_held() {
    let (head, tail) = (format!("{}\n", meta_line()), format!("\n{}\n", user_line("after")));
    let long = io::repeat(b'x').take(20 * 1024 * 1024);
    let input = BufReader::new(head.as_bytes().chain(long).chain(tail.as_bytes()));
    let file = read_session_from(input, Path::new("x.jsonl")).unwrap();
    assert_eq!(file.damage.len(), 1);
    assert_eq!(file.damage[0].line, 2);
    assert_eq!(file.damage[0].reason, DamageReason::TooLong { bytes: 20 * 1024 * 1024 });
    assert_eq!(view(&file.history), ["after"]);
    let longest = user_line(&"y".repeat(LINE_BYTES_MAX - user_line("").len()));
    assert_eq!(longest.len(), LINE_BYTES_MAX);
    let file = read(format!("{head}{longest}")).unwrap();
    assert_eq!((file.damage.len(), file.history.len()), (0, 2));
}

// Bases.

struct Sessions {
    folder: tempfile::TempDir,
}

impl Sessions {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Writes a paginated file with one message of each text, and gives its path.
    fn file(
        &self,
        name: &str,
        id: ThreadId,
        base: Option<(String, u64)>,
        texts: &[&str],
    ) -> PathBuf {
        let from = base.as_ref().map_or(0, |(_, end)| *end);
        let base = base
            .map(|(id, end)| serde_json::json!({ "thread_id": id, "end_ordinal_exclusive": end }));
        let mut lines = vec![
            serde_json::json!({ "timestamp": "", "ordinal": from, "type": "session_meta", "payload":
            { "id": id, "history_base": base, "history_mode": "paginated" } }),
        ];
        for (at, text) in texts.iter().enumerate() {
            let mut line: serde_json::Value = serde_json::from_str(&user_line(text)).unwrap();
            line["ordinal"] = (from + 1 + at as u64).into();
            lines.push(line);
        }
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    }

    fn resolve(&self, path: &Path) -> Result<Vec<String>, ResolveError> {
        let file = read_session(path).unwrap();
        resolve_history(&file, Some(self.folder.path())).map(|history| texts(&history))
    }
}

fn texts(history: &History) -> Vec<String> {
    history
        .iter()
        .filter(|record| record.class == RecordClass::UserMessage)
        .filter_map(text_of)
        .collect()
}

fn id(number: u8) -> ThreadId {
    ThreadId::from_parts(u64::from(number), [number; 10])
}

fn name(thread: ThreadId) -> String {
    format!("rollout-2026-11-22T12-14-02-{thread}.jsonl")
}

fn segment_name(thread: ThreadId, segment: ThreadId) -> String {
    format!("rollout-2026-11-22T12-14-02-{thread}_{segment}.jsonl")
}

#[test]
fn a_history_is_put_together_from_its_bases() {
    let sessions = Sessions::new();
    sessions.file(&name(id(1)), id(1), None, &["a", "b", "c"]);
    let segment = sessions.file(
        &segment_name(id(1), id(7)),
        id(1),
        Some((id(1).to_string(), 3)),
        &["d", "e"],
    );
    let fork = sessions.file(&name(id(2)), id(2), Some((id(7).to_string(), 5)), &["f"]);
    let far = sessions.file("2026/11/23/far.jsonl", id(3), Some((id(2).to_string(), 2)), &["g"]);
    assert_eq!(sessions.resolve(&segment).unwrap(), ["a", "b", "d", "e"]);
    assert_eq!(sessions.resolve(&fork).unwrap(), ["a", "b", "d", "f"]);
    assert_eq!(sessions.resolve(&far).unwrap(), ["a", "g"], "a cut before its base's own lines");
    let file = read_session(&fork).unwrap();
    let whole = resolve_history(&file, None).unwrap();
    assert!(whole.iter().enumerate().all(|(at, record)| record.seq == Seq(at as u64)));
}

#[test]
fn bases_that_are_missing_too_short_or_go_in_circles_are_named() {
    let sessions = Sessions::new();
    let orphan = sessions.file(&name(id(1)), id(1), Some((id(9).to_string(), 3)), &["a"]);
    let error = sessions.resolve(&orphan).unwrap_err();
    assert!(
        matches!(&error, ResolveError::MissingBase { base, .. } if *base == id(9).to_string()),
        "{error}"
    );
    assert!(error.to_string().contains("name the folder"), "{error}");

    sessions.file(&name(id(2)), id(2), None, &["a"]);
    let hungry = sessions.file(&name(id(3)), id(3), Some((id(2).to_string(), 9)), &["b"]);
    assert!(matches!(sessions.resolve(&hungry), Err(ResolveError::ShortBase { needed: 9, .. })));

    let one = sessions.file(&name(id(4)), id(4), Some((id(5).to_string(), 2)), &["a", "b"]);
    sessions.file(&name(id(5)), id(5), Some((id(4).to_string(), 2)), &["a", "b"]);
    assert!(matches!(sessions.resolve(&one), Err(ResolveError::Cycle { .. })));
    let own = sessions.file(&name(id(6)), id(6), Some((id(6).to_string(), 2)), &["a", "b"]);
    assert!(matches!(sessions.resolve(&own), Err(ResolveError::Cycle { .. })));
}

#[test]
fn of_several_copies_of_a_base_one_that_reaches_far_enough_is_taken() {
    let sessions = Sessions::new();
    sessions.file(&format!("0-early-{}", name(id(1))), id(1), None, &["a"]);
    sessions.file(&format!("1-late-{}", name(id(1))), id(1), None, &["a", "b", "c"]);
    let fork = sessions.file(&name(id(2)), id(2), Some((id(1).to_string(), 3)), &["d"]);
    assert_eq!(sessions.resolve(&fork).unwrap(), ["a", "b", "d"]);
}

#[test]
fn files_that_were_read_already_are_bases_too() {
    let sessions = Sessions::new();
    let base = sessions.file("elsewhere/base.jsonl", id(1), None, &["a", "b"]);
    let fork = sessions.file("fork.jsonl", id(2), Some((id(1).to_string(), 2)), &["c"]);
    let mut set = SessionSet::new();
    set.add_file(read_session(&base).unwrap().into());
    let history = set.history_of(&read_session(&fork).unwrap()).unwrap();
    assert_eq!(texts(&history), ["a", "c"]);
}

#[test]
fn what_a_fork_has_from_the_file_of_its_source_is_shared_and_not_compared() {
    let sessions = Sessions::new();
    let many: Vec<String> = (0..300).map(|n| format!("message {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let base = sessions.file(&name(id(1)), id(1), None, &many);
    let fork = sessions.file(&name(id(2)), id(2), Some((id(1).to_string(), 201)), &["mine"]);
    let base = std::sync::Arc::new(read_session(&base).unwrap());
    let mut set = SessionSet::new();
    set.add_file(base.clone());
    let whole = set.history_of(&base).unwrap();
    let fork = set.history_of(&read_session(&fork).unwrap()).unwrap();
    let parting = Parting::of(&whole, &fork);
    assert_eq!(parting.shared, 192, "three segments of 64");
    assert_eq!(parting.common, 200, "all but the two metas");
    assert_eq!((parting.left, parting.right), (Seq(201), Seq(202)));
}
