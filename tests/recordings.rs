//! Recordings: what a tap gave is in the file, up to the last whole item, whatever became of the file.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Event, Fact, RecordError, RecordOptions, Recorder, Recording, Script, ScriptedEngine,
    SpawnThread, Step, StoreHealth, StoreTrouble, TapFrom, TapItem, TapOptions, ThreadEvent,
    ThreadId, ThreadStatus, ThreadTree, TreeRow, TreeSnapshot, Usage, encode, recording_files,
};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tap.rec");
    (folder, file)
}

/// Items of every form, from a runtime: facts of all kinds, a snapshot, a gap.
async fn story() -> Vec<TapItem> {
    let engine = ScriptedEngine::new(|_, input| match &*input.text() {
        "ask" => {
            let question = serde_json::json!({ "sure?": [1, 2.5, null, "\u{1b}[31m\u{202e}"] });
            Script::new().then(Step::Ask(question, Duration::from_secs(1)))
        }
        "spawn" => Script::new().spawn(SpawnThread::new().with_name("child")),
        "panic" => Script::new().panic("as asked"),
        _ => Script::new()
            .then(Step::Delta("ä\0".into()))
            .then(Step::Usage(Usage::default()))
            .say("done"),
    });
    let world = World::new(engine).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    root.run("spawn").await.unwrap();
    let all = TapOptions::all().with_capacity(10_000).with_from(TapFrom::Snapshot);
    let mut tap = world.tap(all).unwrap();
    let mut slow = world.tap(TapOptions::all().with_capacity(2)).unwrap();
    for text in ["hello", "ask", "panic", "hello"] {
        let _outcome = root.run(text).await.unwrap();
    }
    let mut items: Vec<TapItem> = std::iter::from_fn(|| tap.try_next()).collect();
    items.extend(std::iter::from_fn(|| slow.try_next()));
    assert!(items.iter().any(|item| matches!(item, TapItem::Lagged { .. })));
    drop((tap, slow));
    world.end().await;
    items
}

fn record(file: &Path, items: &[TapItem]) {
    let mut recorder = Recorder::open(file, RecordOptions::default()).unwrap();
    for item in items {
        recorder.write(item).unwrap();
    }
    recorder.flush().unwrap();
}

/// The items, none of them damaged, and where the file is torn.
fn read(file: &Path) -> (Vec<TapItem>, Option<u64>) {
    let mut recording = Recording::open(file).unwrap();
    let items = recording.by_ref().map(Result::unwrap).collect();
    (items, recording.torn())
}

#[tokio::test(start_paused = true)]
async fn every_item_comes_back_as_it_was() {
    let (_folder, file) = folder();
    let items = story().await;
    record(&file, &items);
    assert_eq!(read(&file), (items, None));
    assert!(Recording::open(&file).unwrap().begun_ms() > 1_700_000_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_recording_cut_at_every_byte_replays_up_to_the_last_whole_event() {
    let (_folder, file) = folder();
    let items = story().await;
    // Where each item ends, as the recorder says.
    let mut recorder = Recorder::open(&file, RecordOptions::default()).unwrap();
    let mut ends = vec![recorder.recorded().bytes];
    for item in &items {
        recorder.write(item).unwrap();
        recorder.flush().unwrap();
        ends.push(recorder.recorded().bytes);
    }
    drop(recorder);
    let whole = fs::read(&file).unwrap();
    assert_eq!(ends.last(), Some(&(whole.len() as u64)));
    assert!(whole.len() > 5_000 && ends.len() > 30, "{}", whole.len());
    let cut_file = file.with_extension("cut");
    let healed = TapItem::Lagged { from: 1, to: 2, count: 2 };
    for cut in 0..=whole.len() {
        fs::write(&cut_file, &whole[..cut]).unwrap();
        let kept = ends.iter().filter(|&&end| end <= cut as u64).count().saturating_sub(1);
        let (read_items, torn) = read(&cut_file);
        assert_eq!(read_items, items[..kept], "cut after {cut} bytes");
        let last_end = if cut as u64 >= ends[0] { ends[kept] } else { 0 };
        let is_torn = cut as u64 != last_end || cut == 0;
        assert_eq!(torn, is_torn.then_some(last_end), "cut after {cut} bytes");
        if cut > 200 && cut + 1_500 < whole.len() {
            continue; // opening it takes its time
        }
        // The next recorder takes the torn item off, and goes on.
        record(&cut_file, std::slice::from_ref(&healed));
        let (mut read_items, torn) = read(&cut_file);
        assert_eq!((read_items.pop(), torn), (Some(healed.clone()), None), "after {cut}");
        assert_eq!(read_items, items[..kept], "healed after {cut} bytes");
        assert!(!cut_file.with_extension("cut.1").exists(), "nothing was damaged");
    }
}

#[tokio::test(start_paused = true)]
async fn damage_is_an_error_with_its_place_and_reading_goes_on_behind_it() {
    let (_folder, file) = folder();
    let items = story().await;
    record(&file, &items);
    let whole = fs::read(&file).unwrap();
    let (mut lost, mut ended) = (0, 0);
    for byte in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[byte] ^= 0x10;
        fs::write(&file, &bytes).unwrap();
        let recording = match Recording::open(&file) {
            Ok(recording) => recording,
            Err(RecordError::NotARecording { .. }) if byte < 40 => continue,
            Err(error) => panic!("byte {byte}: {error}"),
        };
        let mut sound = 0;
        let mut damage = Vec::new();
        for item in recording {
            match item {
                Ok(item) => {
                    assert!(items.contains(&item), "byte {byte}: {item:?}");
                    sound += 1;
                }
                Err(RecordError::Damaged { offset, .. }) => damage.push(offset),
                Err(error) => {
                    assert!(matches!(error, RecordError::Unknown { .. }), "byte {byte}: {error}");
                }
            }
        }
        assert!(damage.iter().all(|&offset| offset <= byte as u64 || damage.len() > 1));
        lost += items.len() - sound;
        ended += usize::from(sound + 1 < items.len());
    }
    assert!(lost > 0 && ended < whole.len() / 7 / 2, "most damage costs one item: {ended}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_put_aside_whole_when_a_recorder_opens_it() {
    let (_folder, file) = folder();
    let items = story().await;
    record(&file, &items);
    let whole = fs::read(&file).unwrap();
    let header = {
        let empty = file.with_extension("empty");
        record(&empty, &[]);
        fs::read(&empty).unwrap().len()
    };
    // A flipped length looks like a file that was cut, with all that follows in the torn frame.
    for (byte, files) in [(header + 3, 4), (header + 60, 4), (header + 60, 2), (header + 60, 1)] {
        let mut bytes = whole.clone();
        bytes[byte] ^= 0x10;
        fs::write(&file, &bytes).unwrap();
        let options = RecordOptions::default().with_files(files);
        let mut recorder = Recorder::open(&file, options).unwrap();
        items[..3].iter().for_each(|item| recorder.write(item).unwrap());
        recorder.flush().unwrap();
        drop(recorder);
        assert_eq!(read(&file), (items[..3].to_vec(), None));
        assert_eq!(
            fs::read(file.with_extension("rec.1")).unwrap(),
            bytes,
            "nothing is thrown away, of {files}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn files_of_a_time_when_more_were_kept_go_with_the_next_rotation() {
    let (_folder, file) = folder();
    let items = story().await;
    let write = |files: usize| {
        let options = RecordOptions::default().with_files(files).with_file_bytes(1);
        let mut recorder = Recorder::open(&file, options).unwrap();
        items[..5].iter().for_each(|item| recorder.write(item).unwrap());
        recorder.flush().unwrap();
    };
    write(5);
    assert_eq!(recording_files(&file).len(), 5);
    write(2);
    assert_eq!(recording_files(&file), [file.with_extension("rec.1"), file.clone()]);
    write(1);
    assert_eq!(recording_files(&file), std::slice::from_ref(&file));
    assert_eq!(read(&file).0, items[4..5]);
}

#[test]
fn a_snapshot_of_long_texts_is_recorded_and_only_a_text_that_no_frame_holds_is_cut() {
    let (_folder, file) = folder();
    let row = |number: u8, bytes: usize| {
        let mut row = TreeRow::of(ThreadId::from_parts(1, [number; 10]));
        row.status = ThreadStatus::Completed(Some("ä".repeat(bytes / 2)));
        Arc::new(row)
    };
    // More in all than a frame holds, some that have one by themselves, and one that has none.
    let mut rows: Vec<Arc<TreeRow>> = (0..250).map(|number| row(number, 100 << 10)).collect();
    rows.extend([row(250, 2 << 20), row(251, 15 << 20), row(252, 17 << 20), row(253, 10)]);
    let snapshot = TreeSnapshot::new(7, rows.clone());
    let gap = TapItem::Lagged { from: 8, to: 9, count: 2 };
    record(&file, &[TapItem::Snapshot(Arc::new(snapshot)), gap.clone()]);
    let (items, torn) = read(&file);
    let [TapItem::Snapshot(read), last] = &*items else { panic!("{} items", items.len()) };
    assert_eq!((last, torn), (&gap, None));
    assert_eq!((read.seq, read.rows.len()), (7, rows.len()));
    for row in &rows {
        let read = read.get(row.thread).unwrap();
        let (ThreadStatus::Completed(Some(read)), ThreadStatus::Completed(Some(text))) =
            (&read.status, &row.status)
        else {
            panic!("{:?}", read.thread);
        };
        if text.len() > 16 << 20 {
            let cut = read.strip_suffix('…').unwrap();
            assert!(text.starts_with(cut) && cut.len() == 64 << 10, "{}", cut.len());
        } else {
            assert!(read == text, "{}", text.len());
        }
    }
}

#[test]
fn what_is_no_recording_is_refused_and_left_alone() {
    let (_folder, file) = folder();
    for bytes in
        [&b"{\"type\":\"session_meta\"}\n"[..], &[0; 64], b"x", &[0xC1, 1, 0, 0, 0, 9, 9, 9, 9, 9]]
    {
        fs::write(&file, bytes).unwrap();
        let refused = Recorder::open(&file, RecordOptions::default());
        assert!(matches!(refused, Err(RecordError::NotARecording { .. })), "{refused:?}");
        assert!(matches!(Recording::open(&file), Err(RecordError::NotARecording { .. })));
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }
    // Of frames that are not ours, what names itself is a recording all the same.
    fs::remove_file(&file).unwrap();
    record(&file, &[]);
    let mut later = fs::read(&file).unwrap();
    later[0] = 0xC2;
    fs::write(&file, &later).unwrap();
    for refused in [
        Recording::open(&file).map(drop),
        Recorder::open(&file, RecordOptions::default()).map(drop),
    ] {
        let known =
            matches!(refused, Err(RecordError::UnknownVersion { found: 0xC2, expected: 0xC1, .. }));
        assert!(known, "{refused:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), later);
    let missing = file.with_extension("missing");
    assert!(matches!(Recording::open(&missing), Err(RecordError::Open { .. })));
    let nowhere = file.join("below").join("a file");
    assert!(matches!(
        Recorder::open(nowhere, RecordOptions::default()),
        Err(RecordError::Open { .. })
    ));
}

#[test]
fn one_recorder_at_a_time_has_a_file() {
    let (_folder, file) = folder();
    let first = Recorder::open(&file, RecordOptions::default()).unwrap();
    let second = Recorder::open(&file, RecordOptions::default());
    assert!(matches!(second, Err(RecordError::Busy { .. })), "{second:?}");
    drop(first);
    Recorder::open(&file, RecordOptions::default()).unwrap();
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_a_recording() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, file) = folder();
    record(&file, &[]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn past_its_size_a_file_is_put_aside_and_the_newest_are_kept() {
    let (_folder, file) = folder();
    let options = RecordOptions::default().with_file_bytes(2_000).with_files(3);
    let mut recorder = Recorder::open(&file, options).unwrap();
    for seq in 1..=200 {
        let mut event = Event::new(Fact::Thread(ThreadEvent::Delta { text: "x".repeat(20) }));
        event.seq = seq;
        recorder.write(&TapItem::Event(event.into())).unwrap();
    }
    recorder.flush().unwrap();
    let recorded = recorder.recorded();
    assert!(recorded.rotations > 5 && recorded.events == 200, "{recorded:?}");
    drop(recorder);
    let files = recording_files(&file);
    assert_eq!(files.len(), 3, "{files:?}");
    let mut seqs = Vec::new();
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() <= 2_000);
        seqs.extend(read(file).0.iter().map(|item| item.event().unwrap().seq));
    }
    let first = seqs[0];
    assert!(first > 1 && seqs.iter().copied().eq(first..=200), "the newest, in order: {seqs:?}");

    // With one file the old one makes room.
    let mut recorder = Recorder::open(&file, options.with_files(1)).unwrap();
    for seq in 201..=300 {
        recorder.write(&TapItem::Lagged { from: seq, to: seq, count: 1 }).unwrap();
    }
    recorder.flush().unwrap();
    drop(recorder);
    assert!(fs::metadata(&file).unwrap().len() <= 2_000);
    let last = read(&file).0.pop();
    assert_eq!(last, Some(TapItem::Lagged { from: 300, to: 300, count: 1 }));
}

#[test]
fn an_event_that_is_too_large_for_a_frame_stands_there_as_a_gap() {
    let (_folder, file) = folder();
    let text = "x".repeat(coppicer::FRAME_BYTES_MAX);
    let mut event = Event::new(Fact::Thread(ThreadEvent::Delta { text }));
    event.seq = 7;
    event.thread = Some(ThreadId::from_parts(1, [0; 10]));
    record(&file, &[TapItem::Event(event.into())]);
    assert_eq!(read(&file).0, [TapItem::Lagged { from: 7, to: 7, count: 1 }]);
}

#[tokio::test]
async fn a_recorder_takes_a_tap_to_its_end_and_its_recording_rebuilds_the_tree() {
    let (_folder, file) = folder();
    let engine = ScriptedEngine::always(Script::new().spawn(SpawnThread::new()));
    let world = World::new(engine).await;
    let options = TapOptions::all().with_capacity(100_000).with_from(TapFrom::Snapshot);
    let recorder = Recorder::open(&file, RecordOptions::default()).unwrap();
    let recording = tokio::spawn(recorder.run(world.tap(options).unwrap()));
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    for _ in 0..20 {
        root.run("go").await.unwrap();
    }
    let mut tap = world.tap(TapOptions::all().with_from(TapFrom::Snapshot)).unwrap();
    let Some(TapItem::Snapshot(expected)) = tap.try_next() else { panic!("no snapshot") };
    drop(tap);
    world.shutdown(BUDGET).await.unwrap();
    let recorded = recording.await.unwrap().unwrap();
    assert!(world.audit().await.is_empty(), "the recorder has let go of its tap");
    assert_eq!(recorded.lost, 0);
    let (items, torn) = read(&file);
    assert_eq!((items.len() as u64, torn), (recorded.events + 1, None));
    let mut tree = ThreadTree::default();
    for item in &items {
        match item {
            TapItem::Snapshot(snapshot) => tree = ThreadTree::from_snapshot(snapshot),
            TapItem::Event(event) if event.seq <= expected.seq => drop(tree.apply(event)),
            _ => {}
        }
    }
    assert_eq!(tree.snapshot().rows, expected.rows);
    assert_eq!(expected.rows.len(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_recording_that_began_late_says_what_trouble_there_is() {
    let (_folder, file) = folder();
    let asks = Script::new().then(Step::Ask("may I?".into(), Duration::from_secs(3_600)));
    let world = World::new(ScriptedEngine::always(asks)).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    let mut tap = world.watch();
    root.submit("ask").await.unwrap();
    World::event(&mut tap, |event| event.fact.name() == "question_asked").await;
    let (trouble, reason) = (StoreTrouble::DiskFull, "no room".to_owned());
    world.store.tell(&StoreHealth::Ailing { trouble, reason });
    World::event(&mut tap, |event| event.fact.name() == "store_ailing").await;
    let mut late = world.tap(TapOptions::all().with_from(TapFrom::Snapshot)).unwrap();
    let item = late.try_next().unwrap();
    let TapItem::Snapshot(snapshot) = &item else { panic!("{item:?}") };
    assert_eq!(snapshot.ailing.as_ref().map(|store| store.trouble), Some(trouble));
    let names: Vec<_> = snapshot.concerns.iter().map(|one| one.event.fact.name()).collect();
    assert_eq!(names, ["question_asked"]);
    record(&file, std::slice::from_ref(&item));
    assert_eq!(read(&file), (vec![item], None));
    drop((tap, late));
    world.end().await;
}

/// What version 1 wrote of a snapshot, as it was declared then.
#[derive(serde::Serialize)]
enum FrameOfVersion1 {
    #[expect(dead_code, reason = "it has its place")]
    Event,
    #[expect(dead_code, reason = "it has its place")]
    Lagged,
    Snapshot {
        seq: u64,
        rows: u64,
    },
    Rows(Vec<String>),
}

#[test]
fn a_recording_of_version_1_is_read_and_what_is_new_goes_to_a_file_of_its_own() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings");
    let old = fs::read(fixture.join("version-1.rec")).unwrap();
    let (_folder, file) = folder();
    fs::write(&file, &old).unwrap();
    let (items, torn) = read(&file);
    let seqs: Vec<u64> = items[1..].iter().map(|item| item.event().unwrap().seq).collect();
    assert!(seqs.iter().copied().eq(1..=41) && torn.is_none(), "{seqs:?}");
    assert!(matches!(&items[0], TapItem::Snapshot(snapshot) if snapshot.rows.is_empty()));

    // A snapshot with rows, behind the same events.
    let row = TreeRow::of(ThreadId::from_parts(1, [0; 10]));
    let rows = vec![serde_json::to_string(&row).unwrap()];
    let mut longer = old.clone();
    longer.extend(encode(&FrameOfVersion1::Snapshot { seq: 41, rows: 1 }).unwrap());
    longer.extend(encode(&FrameOfVersion1::Rows(rows)).unwrap());
    fs::write(&file, &longer).unwrap();
    let expected = TreeSnapshot::new(41, vec![row.into()]);
    assert_eq!(read(&file).0.last(), Some(&TapItem::Snapshot(expected.into())));

    // What is written now has no place in it.
    record(&file, &[TapItem::Lagged { from: 1, to: 2, count: 2 }]);
    let files = recording_files(&file);
    assert_eq!(files.len(), 2, "{files:?}");
    assert_eq!(fs::read(&files[0]).unwrap(), longer, "as it was");
    assert_eq!(read(&files[1]).0, [TapItem::Lagged { from: 1, to: 2, count: 2 }]);
}
