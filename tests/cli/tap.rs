//! `coppicer run --record` and `coppicer tap --replay`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use coppicer::{
    Event, Fact, RecordOptions, Recorder, RuntimeEvent, SpawnOrigin, StoreTrouble, TapItem,
    ThreadEvent, ThreadId, ThreadTree,
};
use serde_json::Value;

use crate::support::*;

fn recorded(home: &Home) -> PathBuf {
    let file = home.folder().join("run.rec");
    let sessions = examples();
    let ran = home.coppicer([
        "run",
        "--memory",
        "--record",
        file.to_str().unwrap(),
        sessions.to_str().unwrap(),
        "--json",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    file
}

fn replay(home: &Home, file: &Path, args: &[&str]) -> Vec<Value> {
    let file = file.to_str().unwrap();
    let ran = home.well(["tap", "--json", "--replay", file].iter().chain(args));
    ran.json_lines()
}

fn kind_of(row: &Value) -> Option<&str> {
    row["event"]["fact"].as_object()?.values().next()?["event"].as_str()
}

fn thread_of(row: &Value) -> Option<&str> {
    row["event"]["thread"].as_str()
}

#[test]
fn a_recording_that_began_late_shows_what_was_wrong_already() {
    let home = Home::new();
    let file = home.folder().join("late.rec");
    let mut tree = ThreadTree::default();
    let question =
        ThreadEvent::QuestionAsked { question: "q1".into(), body: "may I?\u{1b}[2J".into() };
    let ails = RuntimeEvent::StoreAiling { trouble: StoreTrouble::DiskFull, reason: "full".into() };
    let spawned = RuntimeEvent::ThreadSpawned { origin: SpawnOrigin::New };
    let failed = RuntimeEvent::RecoveryFailed {
        reason: "full".into(),
        again: true,
        nickname: Some("Alder".into()),
    };
    let facts = [
        Fact::Runtime(spawned),
        Fact::Thread(question),
        Fact::Runtime(ails),
        Fact::Runtime(failed),
    ];
    for (seq, fact) in (1..).zip(facts) {
        let mut event = Event::new(fact);
        (event.seq, event.at_ms) = (seq, 1_000 * seq);
        event.thread = (seq < 3).then(|| ThreadId::from_parts(1, [1; 10]));
        if seq == 4 {
            event.thread = Some(ThreadId::from_parts(1, [4; 10]));
            event.path = Some("/root/worker".parse().unwrap());
        }
        tree.apply(&event);
    }
    let mut recorder = Recorder::open(&file, RecordOptions::default()).unwrap();
    recorder.write(&TapItem::Snapshot(tree.snapshot().into())).unwrap();
    recorder.flush().unwrap();
    drop(recorder);
    let shown = home.well(["tap", "--replay", file.to_str().unwrap()]).out;
    assert!(shown.contains("the store cannot write (disk full): full"), "{shown}");
    let asked = "question_asked body=\"may I?\\u001b[2J\" question=\"q1\"";
    assert!(
        shown.contains("   since 00:00:02.000 00000000-0001-7101 ") && shown.contains(asked),
        "{shown}"
    );
    // It is in the store alone, and has no row that would say its name.
    let failed = "recovery_failed again=true nickname=\"Alder\" reason=\"full\" /root/worker\n";
    assert!(shown.contains(failed), "{shown}");
    let rows = replay(&home, &file, &[]);
    let snapshot = &rows[0]["snapshot"];
    assert_eq!(snapshot["ailing"]["trouble"], "disk_full");
    assert_eq!(snapshot["concerns"][0]["event"]["fact"]["thread"]["question"], "q1");
    let other = replay(&home, &file, &["--thread", "ffffffff"]);
    assert_eq!(other[0]["snapshot"]["concerns"], Value::Null, "of no thread that was asked for");
}

#[test]
fn a_run_that_was_recorded_is_replayed_from_its_first_event_to_its_last() {
    let home = Home::new();
    let file = recorded(&home);
    let rows = replay(&home, &file, &[]);
    assert_eq!(rows[0]["snapshot"]["rows"], serde_json::json!([]));
    let seqs: Vec<u64> =
        rows[1..].iter().map(|row| row["event"]["seq"].as_u64().unwrap()).collect();
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64) && seqs.len() > 500, "{}", seqs.len());
    assert_eq!(kind_of(rows.last().unwrap()), Some("runtime_ended"));

    let lifecycle = replay(&home, &file, &["--lifecycle"]);
    assert!(lifecycle.len() < rows.len());
    assert!(!lifecycle.iter().any(|row| kind_of(row) == Some("record_appended")));
    let turns = replay(&home, &file, &["--kind", "turn", "--kind", "crash"]);
    let wanted = |row: &&Value| {
        matches!(kind_of(row), Some("turn_started" | "turn_ended" | "turn_retried" | "crashed"))
    };
    assert_eq!(turns[1..].len(), rows.iter().filter(wanted).count());
    assert!(turns.len() > 10);

    // A thread with sub-agents, and its subtree.
    let parent = rows.iter().find_map(|row| row["event"]["parent"].as_str()).unwrap();
    let one = replay(&home, &file, &["--thread", &parent[..18]]);
    assert!(one.len() > 5 && one[1..].iter().all(|row| thread_of(row) == Some(parent)));
    let tree = replay(&home, &file, &["--subtree", parent]);
    let below = |row: &&Value| row["event"]["parent"].as_str() == Some(parent);
    assert!(tree.len() > one.len() && tree.iter().filter(below).count() > 5);
    assert!(
        tree[1..]
            .iter()
            .all(|row| thread_of(row) == Some(parent) || row["event"]["parent"].as_str().is_some())
    );

    // A second run goes on in the same file.
    recorded(&home);
    assert_eq!(
        replay(&home, &file, &[])
            .iter()
            .filter(|row| kind_of(row) == Some("runtime_ended"))
            .count(),
        2
    );
    // For people, each item is a line too.
    let lines = home.well(["tap", "--replay", file.to_str().unwrap()]);
    assert_eq!(lines.out.lines().count(), replay(&home, &file, &[]).len());
    assert!(lines.out.contains(" turn_ended turn="), "{lines:?}");
}

fn hostile() -> Vec<TapItem> {
    let thread = ThreadId::from_parts(1, [0; 10]);
    let text = "a\u{1b}[2Jb\u{9b}31m\u{202e}c\u{2066}\n\t\u{e0041}\"</script>";
    [
        Fact::Runtime(RuntimeEvent::ThreadSpawned { origin: SpawnOrigin::New }),
        Fact::Thread(ThreadEvent::Delta { text: text.to_owned() }),
        Fact::Thread(ThreadEvent::QuestionAsked {
            question: "q\u{1b}".into(),
            body: serde_json::json!({ "k\u{202e}": text }),
        }),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, fact)| {
        let mut event = Event::new(fact);
        event.seq = n as u64 + 1;
        event.thread = Some(thread);
        TapItem::Event(event.into())
    })
    .collect()
}

fn write_recording(home: &Home, items: &[TapItem]) -> PathBuf {
    let file = home.folder().join("made.rec");
    let mut recorder = Recorder::open(&file, RecordOptions::default()).unwrap();
    for item in items {
        recorder.write(item).unwrap();
    }
    recorder.flush().unwrap();
    file
}

#[test]
fn hostile_text_steers_no_terminal_and_no_line() {
    let home = Home::new();
    let file = write_recording(&home, &hostile());
    for json in [true, false] {
        let mut args = vec!["tap", "--replay", file.to_str().unwrap()];
        args.extend(json.then_some("--json"));
        let ran = home.well(args);
        assert_eq!(ran.out.lines().count(), 3, "{ran:?}");
        let steers = |c: char| {
            (c.is_control() && c != '\n')
                || ('\u{200e}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
                || c >= '\u{e0000}'
        };
        assert!(!ran.out.contains(steers), "{:?}", ran.out);
        if json {
            let delta = &ran.json_lines()[1]["event"]["fact"]["thread"]["text"];
            assert!(delta.as_str().unwrap().contains("\u{1b}[2J"), "JSON says the same");
        }
    }
}

#[test]
fn a_recording_that_was_cut_is_shown_up_to_there_and_said_to_be() {
    let home = Home::new();
    let file = write_recording(&home, &hostile());
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 3]).unwrap();
    let ran = home.coppicer(["tap", "--replay", file.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 2), "{ran:?}");
    ran.says(&["made.rec", "ends in the middle of an event at byte"]);
}

#[test]
fn bad_recordings_are_errors_that_say_where() {
    let home = Home::new();
    let file = write_recording(&home, &hostile());
    let mut bytes = fs::read(&file).unwrap();
    // In the first event's frame: behind the header, in its payload.
    let at = bytes.windows(7).position(|found| found == b"runtime").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let ran = home.coppicer(["tap", "--replay", file.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(1), 2), "{ran:?}");
    ran.says(&["made.rec", "damaged at byte", "checksum"]);

    let text = write(home.folder(), "text.rec", "{\"type\":\"session_meta\"}\n");
    let ran = home.coppicer(["tap", "--replay", text.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    ran.says(&["text.rec", "this is no recording"]);
    let ran = home.coppicer(["tap", "--replay", "/no/such.rec"]);
    assert_eq!(ran.code, Some(1));
    ran.says(&["/no/such.rec", "cannot be opened"]);
    let ran =
        home.coppicer(["run", "--memory", "--record", text.to_str().unwrap(), "--threads", "1"]);
    assert_eq!(ran.code, Some(1));
    ran.says(&["text.rec", "this is no recording"]);
    for wrong in [
        &["tap"][..],
        &["tap", "--replay", "x", "--kind", "turns"],
        &["tap", "--replay", "x", "--thread", "zz"],
    ] {
        assert_eq!(home.coppicer(wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    let events: Vec<TapItem> = hostile().into_iter().cycle().take(20_000).collect();
    let file = write_recording(&home, &events);
    let mut command = home.command();
    command.args(["tap", "--json", "--replay", file.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 100];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}
