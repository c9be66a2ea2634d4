//! The two streams: nothing twice and nothing missing, whatever becomes of connections.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use coppicer_actors::{Script, ScriptedEngine, Step, TapFilter, TapItem, TapOptions};
use coppicer_console::{ConsoleUrl, Follow, FollowOptions, Told};
use coppicer_messages::{EventKind, Limits, Outcome, SpawnThread, Usage};
use serde_json::Value;
use support::{BUDGET, Client, Event, Events, Served, engine};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, timeout};

/// What a page makes of frames.
#[derive(Default)]
struct Page {
    rows: BTreeMap<String, Value>,
    last: Option<String>,
    fulls: usize,
    frames: usize,
}

impl Page {
    fn take(&mut self, event: &Event) {
        let frame = &event.data;
        assert_eq!(event.id.as_deref(), frame["id"].as_str());
        self.frames += 1;
        if frame["full"].as_bool().unwrap() {
            self.fulls += 1;
            self.rows.clear();
        }
        for row in frame["rows"].as_array().unwrap() {
            self.rows.insert(row["thread"].as_str().unwrap().to_owned(), row.clone());
        }
        for thread in frame["removed"].as_array().unwrap() {
            self.rows.remove(thread.as_str().unwrap());
        }
        self.last.clone_from(&event.id);
    }

    /// Reads until `holds`, on this stream.
    async fn until(&mut self, events: &mut Events, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            let event = events.named("frame").await;
            self.take(&event);
        }
    }
}

/// The rows of a whole tree, asked for at once.
async fn tree(client: &Client) -> BTreeMap<String, Value> {
    let mut page = Page::default();
    let mut path = "/api/tree".to_owned();
    loop {
        let frame = client.get_json(&path).await;
        let id = frame["id"].as_str().unwrap().to_owned();
        path = format!("/api/tree?after={id}");
        let more = frame["more"].as_bool().unwrap();
        page.take(&Event { name: "frame".to_owned(), id: Some(id), data: frame });
        if !more {
            return page.rows;
        }
    }
}

#[tokio::test]
async fn a_page_that_loses_its_stream_in_a_spawn_storm_has_the_whole_tree_all_the_same() {
    const THREADS: usize = 600;
    let served = Served::new().await;
    let client = served.client.clone();
    let runtime = served.world.runtime().clone();
    let storm = tokio::spawn(async move {
        let mut above = None;
        for number in 0..THREADS {
            let mut request = SpawnThread::new().with_first(format!("hello {number}"));
            request.parent = above.filter(|_| !number.is_multiple_of(50));
            let thread = runtime.spawn(request).await.unwrap();
            above = (number.is_multiple_of(7)).then(|| thread.id()).or(above);
            if number.is_multiple_of(20) {
                tokio::time::sleep(Duration::from_millis(10)).await; // so that it spans several frames
            }
        }
    });
    let mut page = Page::default();
    while !storm.is_finished() {
        let mut events = client.open("/api/tree/stream", page.last.as_deref()).await;
        let event = events.named("frame").await;
        page.take(&event);
        // The stream is dropped here, in the middle of whatever comes.
    }
    storm.await.unwrap();
    let is_done = |row: &Value| row["status"] == "completed" && row["turns"] == 1;
    let mut events = client.open("/api/tree/stream", page.last.as_deref()).await;
    page.until(&mut events, |page| page.rows.len() == THREADS && page.rows.values().all(is_done))
        .await;
    assert_eq!(page.fulls, 1, "only the first frame was a whole one");
    assert_eq!(page.rows, tree(&client).await);
    drop(events);
    served.end().await;
}

#[tokio::test]
async fn what_is_over_goes_from_the_page_s_tree_too() {
    let served = Served::new().await;
    let thread = served.spawn("hello").await;
    let mut page = Page::default();
    let mut events = served.client.open("/api/tree/stream", None).await;
    page.until(&mut events, |page| page.rows.len() == 1).await;
    served.world.close(thread, BUDGET).await.unwrap();
    page.until(&mut events, |page| page.rows.values().all(|row| !row["gone"].is_null())).await;
    let gone = &page.rows[&thread.to_string()]["gone"];
    assert_eq!((&gone["how"], &gone["rung"]), (&"closed".into(), &"drained".into()));
    drop(events);
    served.end().await;
}

#[tokio::test]
async fn an_id_of_another_start_is_answered_by_a_whole_tree_and_a_reset() {
    let served = Served::new().await;
    served.spawn("hello").await;
    let mut frames = served.client.open("/api/tree/stream", Some("00000000-1")).await;
    assert_eq!(frames.named("frame").await.data["full"], true);
    let mut events = served.client.open("/api/events?from=snapshot", Some("00000000-1")).await;
    assert_eq!(events.next().await.unwrap().data["reason"], "other_boot");
    assert_eq!(events.next().await.unwrap().name, "snapshot");
    drop((frames, events));
    served.end().await;
}

#[tokio::test]
async fn a_place_that_the_journal_does_not_reach_is_answered_by_a_reset() {
    let mut limits = Limits::default();
    limits.journal_events_max = 20;
    let served = Served::with(engine(), limits, |options| options).await;
    let mut events = served.client.open("/api/events", None).await;
    served.spawn("hello").await;
    let first = events.named("fact").await;
    drop(events);
    for _ in 0..10 {
        served.spawn("hello").await;
    }
    let mut events = served.client.open("/api/events", first.id.as_deref()).await;
    assert_eq!(events.next().await.unwrap().data["reason"], "too_old");
    served.spawn("hello").await;
    assert_eq!(events.next().await.unwrap().name, "fact", "it goes on from now");
    drop(events);
    served.end().await;
}

#[tokio::test]
async fn facts_are_neither_missed_nor_told_twice_across_lost_connections() {
    let served = Served::new().await;
    let mut all = served.world.watch();
    let mut seen: Vec<u64> = Vec::new();
    let mut last: Option<String> = None;
    for _ in 0..12 {
        let mut events = served.client.open("/api/events?lifecycle=true", last.as_deref()).await;
        served.spawn("hello").await;
        for _ in 0..5 {
            let event = events.named("fact").await;
            seen.push(event.data["seq"].as_u64().unwrap());
            last = event.id;
        }
        drop(events);
        served.spawn("and while nobody listens").await;
    }
    let end = served.spawn("the end").await;
    let mut events = served.client.open("/api/events?lifecycle=true", last.as_deref()).await;
    let ends = |event: &Event| {
        let fact = &event.data["fact"]["thread"];
        event.data["thread"] == end.to_string() && fact["event"] == "turn_ended"
    };
    loop {
        let event = events.named("fact").await;
        seen.push(event.data["seq"].as_u64().unwrap());
        if ends(&event) {
            break;
        }
    }
    let first = seen[0];
    let mut expected = Vec::new();
    while expected.last() != seen.last() {
        match all.try_next() {
            Some(TapItem::Event(event)) if event.fact.is_lifecycle() && event.seq >= first => {
                expected.push(event.seq);
            }
            Some(_) => {}
            None => panic!("the tap has fewer events than the stream"),
        }
    }
    assert_eq!(seen, expected);
    drop((events, all));
    served.end().await;
}

#[tokio::test]
async fn filters_are_those_of_taps() {
    let served = Served::new().await;
    let root = served.world.spawn(SpawnThread::new()).await.unwrap();
    let below = served.world.spawn(SpawnThread::new().with_parent(root.id())).await.unwrap();
    let other = served.spawn("elsewhere").await;
    let of = async |query: &str| {
        let path = format!("/api/events?{query}");
        served.client.open(&path, None).await
    };
    let mut kinds = of("kind=turn,crash").await;
    let mut one = of(&format!("thread={}", root.id())).await;
    let mut tree = of(&format!("subtree={}&kind=turn&lifecycle=true", root.id())).await;
    let mut ready = of("from=snapshot&kind=damage").await;
    assert_eq!(ready.next().await.unwrap().data["rows"].as_array().unwrap().len(), 3);
    served.world.get(other).unwrap().run("hello").await.unwrap();
    below.run("panic").await.unwrap();
    root.run("hello").await.unwrap();
    assert_eq!(kinds.named("fact").await.data["thread"], other.to_string());
    let crash = kinds.until(|event| event.data["fact"]["thread"]["event"] == "crashed").await;
    assert_eq!(crash.data["thread"], below.id().to_string());
    assert_eq!(one.named("fact").await.data["thread"], root.id().to_string());
    assert_eq!(tree.named("fact").await.data["thread"], below.id().to_string());
    for bad in [
        "kind=nothing",
        "kind=",
        "thread=x",
        "lifecycle=yes",
        "from=tomorrow",
        "sample=0",
        "x=1",
        &format!("thread={other}&subtree={other}"),
    ] {
        let answer = served.client.get(&format!("/api/events?{bad}")).await;
        assert_eq!((answer.status, &*answer.code()), (400, "bad_query"), "{bad}");
    }
    drop((kinds, one, tree, ready));
    served.end().await;
}

/// Many pieces of text in one turn.
fn talker() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match &*input.text() {
        "talk" => {
            let piece = "x".repeat(4_000);
            let pieces = std::iter::repeat_n(Step::Delta(piece), 6_000);
            pieces.chain([Step::Say("done".to_owned())]).collect()
        }
        text => Script::new().say(text),
    })
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_and_dropped_and_goes_on_without_a_gap_of_lifecycle_facts()
 {
    let served = Served::with(talker(), Limits::default(), |options| options).await;
    let mut events = served.client.open("/api/events", None).await;
    let thread = served.world.spawn(SpawnThread::new()).await.unwrap();
    let first = events.named("fact").await;
    // 24 MB that nobody reads: more than the sockets and the ring hold.
    assert!(matches!(thread.run("talk").await.unwrap(), Outcome::Completed { .. }));
    let mut last = first.id;
    let lagged = loop {
        let event = events.next().await.expect("it is told before it is dropped");
        if event.name == "lagged" {
            break event;
        }
        assert_eq!(event.name, "fact");
        last = event.id;
    };
    assert!(lagged.data["count"].as_u64().unwrap() > 0 && lagged.id.is_none());
    assert!(events.next().await.is_none(), "and dropped");
    let mut again = served.client.open("/api/events?lifecycle=true", last.as_deref()).await;
    let ended = again.until(|event| event.data["fact"]["thread"]["event"] == "turn_ended").await;
    let gap = lagged.data["from"].as_u64().unwrap()..=lagged.data["to"].as_u64().unwrap();
    assert!(ended.data["seq"].as_u64().unwrap() >= *gap.start());
    drop(again);
    served.end().await;
}

#[tokio::test]
async fn a_reader_that_reads_nothing_holds_up_nobody() {
    let served = Served::with(talker(), Limits::default(), |options| options).await;
    let stalled = served.client.open("/api/events", None).await;
    let mut frames = served.client.open("/api/tree/stream", None).await;
    frames.named("frame").await;
    let thread = served.world.spawn(SpawnThread::new()).await.unwrap();
    let began = Instant::now();
    thread.run("talk").await.unwrap();
    frames.until(|event| event.data["rows"][0]["status"] == "completed").await;
    assert!(began.elapsed() < BUDGET);
    drop((stalled, frames));
    served.end().await;
}

#[tokio::test]
async fn a_flood_that_the_console_cannot_follow_is_counted_and_leaves_the_tree_right() {
    const FACTS: u64 = 100_000;
    let engine = ScriptedEngine::new(|_, input| match &*input.text() {
        "spend" => {
            let usage = Usage { input_tokens: 1, ..Usage::default() };
            let spend = std::iter::repeat_n(Step::Usage(usage), FACTS as usize);
            spend.chain([Step::Say("spent".to_owned())]).collect()
        }
        text => Script::new().say(text),
    });
    let served = Served::with(engine, Limits::default(), |options| options).await;
    let mut page = Page::default();
    let mut events = served.client.open("/api/tree/stream", None).await;
    let thread = served.spawn("spend").await;
    let other = served.spawn("hello").await;
    page.until(&mut events, |page| {
        page.rows.len() == 2 && page.rows.values().all(|row| row["status"] == "completed")
    })
    .await;
    assert_eq!(page.rows[&thread.to_string()]["tokens"]["total"], FACTS);
    assert_eq!(page.rows[&other.to_string()]["status_text"], "hello");
    assert_eq!(page.fulls, 1, "a client of the tree does not notice");
    let frame = served.client.get_json("/api/tree").await;
    assert!(frame["events"]["lost"].as_u64().unwrap() > 0, "{}", frame["events"]);
    assert_eq!(
        (&frame["totals"]["threads"], &frame["totals"]["by_phase"]["idle"]),
        (&2.into(), &2.into())
    );
    drop(events);
    served.end().await;
}

#[tokio::test]
async fn streams_end_with_the_runtime_and_nothing_is_left_of_the_console() {
    let served = Served::new().await;
    let thread = served.spawn("hello").await;
    let mut frames = served.client.open("/api/tree/stream", None).await;
    let mut events = served.client.open("/api/events?from=snapshot", None).await;
    frames.named("frame").await;
    events.named("snapshot").await;
    served.world.shutdown(BUDGET).await.unwrap();
    let ended =
        events.until(|event| event.data["fact"]["runtime"]["event"] == "thread_ended").await;
    assert_eq!(ended.data["thread"], thread.to_string(), "what was told before the end is read");
    let end = events.named("end").await;
    assert_eq!(end.data["reason"], "runtime_ended");
    assert_eq!(frames.named("end").await.data["reason"], "runtime_ended");
    assert!(events.next().await.is_none() && frames.next().await.is_none());
    timeout(BUDGET, served.console.ended()).await.expect("it ends with its runtime");
    let file = served.console.token_file().to_owned();
    served.console.stop().await;
    assert!(!file.exists());
    let audit = served.world.audit().await;
    assert!(audit.is_empty(), "{audit:?}");
}

#[tokio::test]
async fn streams_end_with_the_console_and_no_tap_is_left() {
    let served = Served::new().await;
    let mut frames = served.client.open("/api/tree/stream", None).await;
    let mut events = served.client.open("/api/events?from=snapshot", None).await;
    frames.named("frame").await;
    events.named("snapshot").await;
    let Served { world, console, client, .. } = served;
    console.stop().await;
    assert_eq!(frames.named("end").await.data["reason"], "console_stopped");
    assert_eq!(events.named("end").await.data["reason"], "console_stopped");
    let audit = world.audit().await;
    assert!(audit.is_empty(), "{audit:?}");
    assert!(TcpStream::connect(client.address).await.is_err(), "nobody listens");
    world.end().await;
}

#[tokio::test]
async fn a_console_that_is_dropped_holds_nothing() {
    let served = Served::new().await;
    let mut events = served.client.open("/api/events?from=snapshot", None).await;
    events.named("snapshot").await;
    let Served { world, console, .. } = served;
    let file = console.token_file().to_owned();
    drop(console);
    world.until(coppicer_supervisor::Audit::is_empty).await;
    assert!(!file.exists());
    world.end().await;
}

#[tokio::test]
async fn another_process_follows_a_console_and_comes_back_to_it() {
    let served = Served::new().await;
    let url: ConsoleUrl = served.console.url().parse().unwrap();
    let mut options = FollowOptions::default();
    options.snapshot = true;
    options.kinds = vec![EventKind::Turn];
    let mut follow = Follow::new(url.clone(), &options);
    let told = async |follow: &mut Follow| {
        timeout(BUDGET, follow.next()).await.expect("in time").expect("it goes on")
    };
    assert!(
        matches!(told(&mut follow).await, Some(Told::Snapshot(snapshot)) if snapshot.rows.is_empty())
    );
    let thread = served.spawn("hello").await;
    let Some(Told::Fact(fact)) = told(&mut follow).await else { panic!("no fact") };
    assert_eq!((fact.thread, fact.fact.name()), (Some(thread), "turn_started"));
    let Some(Told::Fact(fact)) = told(&mut follow).await else { panic!("no fact") };
    assert_eq!(fact.fact.name(), "turn_ended");
    served.world.shutdown(BUDGET).await.unwrap();
    assert_eq!(told(&mut follow).await, Some(Told::End { reason: "runtime_ended".to_owned() }));
    assert_eq!(told(&mut follow).await, None);
    served.console.stop().await;
    let gone = Follow::new(url, &options).next().await.unwrap_err();
    assert!(gone.to_string().starts_with("cannot reach the console"), "{gone}");
}

#[tokio::test]
async fn who_follows_with_another_token_is_told_why_that_fails() {
    let served = Served::new().await;
    let url = format!("http://{}/", served.console.address());
    let url = ConsoleUrl::parse(&url, Some("00")).unwrap();
    let refused = Follow::new(url, &FollowOptions::default()).next().await.unwrap_err();
    assert!(refused.to_string().contains("bad_token"), "{refused}");
    served.end().await;
}

/// Reads facts, none of which may be missing, up to the first of a thread that has a parent.
async fn each_fact(facts: &mut Events) {
    let mut before: Option<u64> = None;
    loop {
        let event = facts.next().await.expect("the stream goes on");
        assert_eq!(event.name, "fact", "{event:?}");
        let seq = event.data["seq"].as_u64().unwrap();
        assert!(before.is_none_or(|before| seq == before + 1), "{before:?}, then {seq}");
        before = Some(seq);
        let spawned = event.data["fact"]["runtime"]["event"] == "thread_spawned";
        if spawned && !event.data["parent"].is_null() {
            return;
        }
    }
}

/// 2,000 threads, 4,000 facts a second: the board misses none, a page that reads has what is so, and is
/// sent no more than 4 frames a second; who reads the facts themselves gets each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_threads_and_four_thousand_facts_a_second_are_shown() {
    const THREADS: usize = 2_000;
    const FACTS_A_SECOND: u64 = 4_000;
    const TIME: Duration = Duration::from_secs(3);
    const ROUNDS_MAX: usize = 4;
    let served = Served::with(ScriptedEngine::echo(), Limits::default(), |options| options).await;
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        threads.push(served.world.spawn(SpawnThread::new()).await.unwrap());
    }
    let counts = served.world.runtime();
    let counts =
        counts.tap(TapOptions::matching(TapFilter::all().kinds([EventKind::Damage]))).unwrap();
    let mut events = served.client.open("/api/tree/stream", None).await;
    let mut page = Page::default();
    page.until(&mut events, |page| page.rows.len() == THREADS).await;
    let mut facts = served.client.open("/api/events", None).await;
    // A machine that does something else meanwhile may not make the load at once.
    let mut rates = Vec::new();
    while rates.len() < ROUNDS_MAX && rates.last().is_none_or(|rate| *rate < 0.95) {
        let (began, frames, emitted) = (Instant::now(), page.frames, counts.counts().emitted);
        let reads = async {
            while began.elapsed() < TIME {
                let event = events.named("frame").await;
                page.take(&event);
            }
            (began.elapsed(), page.frames - frames)
        };
        let load = async {
            let mut pace = interval(Duration::from_millis(5));
            let mut sent = 0;
            while began.elapsed() < TIME {
                pace.tick().await;
                let due = began.elapsed().as_millis() as u64 * FACTS_A_SECOND / 1_000;
                // A turn makes ten facts, and more come while it runs.
                let made = counts.counts().emitted - emitted;
                for _ in 0..due.saturating_sub(made).div_ceil(10).min(100) {
                    threads[sent % THREADS].submit("hello").await.unwrap();
                    sent += 1;
                }
            }
            let rate = (counts.counts().emitted - emitted) as f64 / began.elapsed().as_secs_f64();
            let last = SpawnThread::new().with_parent(threads[0].id());
            (rate, served.world.spawn(last).await.unwrap().id())
        };
        let ((took, frames), (rate, last), ()) = tokio::join!(reads, load, each_fact(&mut facts));
        served.world.close(last, BUDGET).await.unwrap();
        println!("{rate:.0} facts and {:.1} frames a second", frames as f64 / took.as_secs_f64());
        assert!(frames as f64 <= took.as_secs_f64() * 4.0 + 2.0, "{frames} frames in {took:?}");
        rates.push(rate / FACTS_A_SECOND as f64);
    }
    assert!(rates.last() >= Some(&0.95), "the load was not made: {rates:?}");
    // Everything comes to rest, and then both have the same.
    drop(facts);
    let all = |page: &Page| {
        let live = || page.rows.values().filter(|row| row["gone"].is_null());
        let turns: u64 = live().map(|row| row["turns"].as_u64().unwrap()).sum();
        let idle = live().all(|row| row["phase"] == "idle" && row["inbox"]["used"] == 0);
        idle && live().count() == THREADS
            && turns == threads.iter().map(|thread| thread.view().turns).sum::<u64>()
    };
    page.until(&mut events, all).await;
    assert!(threads.iter().all(|thread| page.rows.contains_key(&thread.id().to_string())));
    let frame = served.client.get_json("/api/tree").await;
    assert_eq!(frame["events"]["lost"], 0);
    assert_eq!(page.fulls, 1);
    drop((events, threads, counts));
    served.end().await;
}
