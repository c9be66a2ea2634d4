//! What one page of a history or a timeline reads of the store, whatever the thread has.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use coppicer_actors::{Script, ScriptedEngine, Step};
use coppicer_messages::{Limits, ThreadId};
use support::Served;

/// "N of B" makes N remarks of B bytes each.
fn talker() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| {
        let text = input.text();
        let (count, bytes) = text.split_once(" of ").unwrap();
        let remark = Step::Remark("x".repeat(bytes.parse().unwrap()));
        let remarks: Script = std::iter::repeat_n(remark, count.parse().unwrap()).collect();
        remarks.say("done")
    })
}

/// What was read for one answer.
#[derive(Debug)]
struct Read {
    records: u64,
    bytes: u64,
    shown: usize,
}

async fn read(served: &Served, thread: ThreadId, path: &str) -> Read {
    let store = &served.world.store;
    let before = (store.records_read(), store.bytes_read());
    let answer = served.client.get_json(&format!("/api/threads/{thread}/{path}")).await;
    let shown = ["records", "turns"].iter().find_map(|name| answer[name].as_array());
    let shown = shown.unwrap().len();
    Read { records: store.records_read() - before.0, bytes: store.bytes_read() - before.1, shown }
}

#[tokio::test]
async fn a_page_reads_the_records_that_it_shows_and_no_more_of_a_long_history() {
    let served = Served::with(talker(), Limits::default(), |options| options).await;
    let thread = served.spawn("12000 of 10").await;
    for (path, count) in [
        ("history", 50),
        ("history?count=1", 1),
        ("history?count=200", 200),
        ("history?before=6000&count=200", 200),
        ("history?from=0", 50),
        ("history?from=11000&count=200", 200),
    ] {
        let read = read(&served, thread, path).await;
        assert_eq!((read.records, read.shown), (count, count as usize), "{path}");
    }
    // Of a timeline the records are looked at, not shown.
    let timeline = read(&served, thread, "timeline").await;
    assert!((1..=5_000).contains(&timeline.records), "{timeline:?}");
    served.end().await;
}

#[tokio::test]
async fn a_page_of_large_records_reads_about_what_it_shows_and_little_at_one_go() {
    const RECORD: u64 = 300 << 10;
    const PAGE: u64 = 1 << 20;
    let served = Served::with(talker(), Limits::default(), |options| options).await;
    let thread = served.spawn(&format!("100 of {RECORD}")).await;
    let history = served.client.get_json(&format!("/api/threads/{thread}/history?count=1")).await;
    let head = history["head"].as_u64().unwrap();
    assert!(head > 100);
    for path in [
        "history?raw=true&count=200".to_owned(),
        format!("history?raw=true&count=200&before={}", head / 2),
        "history?raw=true&count=200&from=3".to_owned(),
    ] {
        let read = read(&served, thread, &path).await;
        // What it shows, as much again, and a piece.
        assert!(read.shown >= 3 && read.bytes <= 3 * PAGE + RECORD, "{path}: {read:?}");
    }
    // Texts are cut, so that all of them have room in a page; they are read one piece after the other.
    let cut = read(&served, thread, "history?count=100").await;
    assert_eq!((cut.records, cut.shown), (100, 100));
    let largest = served.world.store.largest_read();
    assert!(largest <= PAGE + RECORD + 1_000, "{largest}");
    served.end().await;
}
