//! Places to go on from: each client of the facts has one at each moment, whatever its filter passes.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use coppicer_actors::{TapFrom, TapItem, TapOptions};
use coppicer_console::{ConsoleUrl, Follow, FollowOptions, Told};
use coppicer_messages::{EventKind, Limits, TapError, ThreadId};
use support::{BUDGET, Served, engine, proxy};
use tokio::sync::Notify;
use tokio::time::timeout;

/// A world whose journal has few of the facts that there were, and the oldest place that it knows.
async fn forgetful() -> (Served, u64) {
    let mut limits = Limits::default();
    limits.journal_events_max = 40;
    let served = Served::with(engine(), limits, |options| options).await;
    for _ in 0..10 {
        served.spawn("hello").await;
    }
    let first = served.world.runtime().tap(TapOptions::all().with_from(TapFrom::Cursor(0)));
    let Err(TapError::CursorOutside { from, .. }) = first else { panic!("{first:?}") };
    (served, from)
}

#[tokio::test]
async fn who_asks_for_more_than_the_journal_has_is_told_so_and_given_all_of_it() {
    let (served, oldest) = forgetful().await;
    let all = served.world.runtime().tap(TapOptions::all().with_from(TapFrom::Cursor(oldest)));
    let mut all = all.unwrap();
    let expected: Vec<u64> =
        std::iter::from_fn(|| Some(all.try_next()?.event().unwrap().seq)).collect();
    assert_eq!(expected.len(), 40);
    let boot = served.client.get_json("/api/info").await["boot"].as_str().unwrap().to_owned();
    let old = format!("{boot}-1");
    // The first look of a page, its look after it was asleep, and one at a runtime that is another since.
    for (from, last, reason) in [
        ("0".to_owned(), None, "too_old"),
        ("0".to_owned(), Some(&*old), "too_old"),
        (u64::MAX.to_string(), None, "other_boot"),
        ("0".to_owned(), Some("00000000-7"), "other_boot"),
    ] {
        let mut events = served.client.open(&format!("/api/events?from={from}"), last).await;
        let reset = events.next().await.unwrap();
        assert_eq!(
            (&*reset.name, &reset.data["reason"]),
            ("reset", &reason.into()),
            "{from} {last:?}"
        );
        for seq in &expected {
            let fact = events.next().await.unwrap();
            assert_eq!((&*fact.name, &fact.data["seq"]), ("fact", &(*seq).into()));
        }
    }
    drop(all);
    served.end().await;
}

#[tokio::test]
async fn who_was_told_nothing_yet_goes_on_from_where_it_began() {
    let served = Served::new().await;
    let thread = served.spawn("hello").await;
    for query in ["kind=crash", "kind=crash&from=now", "kind=crash&from=2"] {
        let mut quiet = served.client.open(&format!("/api/events?{query}"), None).await;
        let place = quiet.place(|_| true).await;
        drop(quiet);
        served.world.get(thread).unwrap().run("panic").await.unwrap();
        let mut again = served.client.open(&format!("/api/events?{query}"), Some(&place)).await;
        assert_eq!(
            again.next().await.unwrap().data["fact"]["thread"]["event"],
            "crashed",
            "{query}"
        );
        drop(again);
    }
    served.end().await;
}

#[tokio::test]
async fn the_place_of_who_is_told_nothing_does_not_grow_old() {
    let (served, oldest) = forgetful().await;
    let mut quiet = served.client.open("/api/events?kind=crash", None).await;
    let first: u64 = quiet.place(|_| true).await.split_once('-').unwrap().1.parse().unwrap();
    assert!(first > oldest);
    let mut last = ThreadId::from_parts(0, [0; 10]);
    for _ in 0..10 {
        last = served.spawn("hello").await;
    }
    // By now the journal does not reach back to where it began.
    let place = quiet.place(|place| place > first).await;
    drop(quiet);
    served.world.get(last).unwrap().run("panic").await.unwrap();
    let mut again = served.client.open("/api/events?kind=crash", Some(&place)).await;
    assert_eq!(again.next().await.unwrap().data["fact"]["thread"]["event"], "crashed", "no reset");
    drop(again);
    served.end().await;
}

#[tokio::test]
async fn who_follows_comes_back_to_a_lost_connection_and_misses_no_lifecycle_fact() {
    let served = Served::new().await;
    let mut all = served.world.watch();
    let cuts = Arc::new(Notify::new());
    let address = proxy(served.console.address(), cuts.clone(), Arc::default()).await;
    let url = ConsoleUrl::parse(&format!("http://{address}/"), Some(&served.client.token)).unwrap();
    let mut options = FollowOptions::default();
    (options.lifecycle, options.snapshot) = (true, true);
    let mut follow = Follow::new(url, &options);
    let (mut seen, mut turns) = (Vec::new(), 0);
    let mut told = async || {
        let told = timeout(BUDGET, follow.next()).await.expect("in time").unwrap().unwrap();
        if let Told::Fact(fact) = &told {
            seen.push(fact.seq);
            turns += usize::from(fact.fact.name() == "turn_ended");
        }
        (told, turns)
    };
    assert!(matches!(told().await.0, Told::Snapshot(_)));
    for round in 0..5 {
        served.spawn("hello").await;
        while told().await.1 <= 2 * round {}
        cuts.notify_one();
        served.spawn("and while the connection is cut").await;
        while told().await.0 != Told::Reconnected {}
    }
    served.spawn("the end").await;
    while told().await.1 < 11 {}
    let last = *seen.last().unwrap();
    let mut expected = Vec::new();
    while expected.last() != Some(&last) {
        match all.try_next().expect("the tap has what was told") {
            TapItem::Event(event) if event.fact.is_lifecycle() => expected.push(event.seq),
            _ => {}
        }
    }
    assert_eq!(seen, expected);
    drop((follow, all));
    served.end().await;
}

#[tokio::test]
async fn who_follows_what_did_not_happen_yet_misses_none_of_it_while_the_connection_is_cut() {
    let served = Served::new().await;
    let (cuts, ids) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let address = proxy(served.console.address(), cuts.clone(), ids.clone()).await;
    let url = ConsoleUrl::parse(&format!("http://{address}/"), Some(&served.client.token)).unwrap();
    let mut options = FollowOptions::default();
    options.kinds = vec![EventKind::Crash];
    let mut follow = Follow::new(url, &options);
    let thread = served.spawn("hello").await;
    let told_its_place = async {
        timeout(BUDGET, ids.notified()).await.expect("an id comes at once");
        // It is on its way; nothing shows that it was read.
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    tokio::select! {
        told = follow.next() => panic!("{told:?}"),
        () = told_its_place => {}
    }
    for round in 0..3 {
        cuts.notify_one();
        served.world.get(thread).unwrap().run("panic").await.unwrap();
        // Its pause behind the crash is of this kind too, and may be told before the connection is cut.
        let mut reconnected = false;
        let crash = loop {
            match timeout(BUDGET, follow.next()).await.expect("in time").unwrap() {
                Some(Told::Reconnected) => reconnected = true,
                Some(Told::Fact(fact)) if fact.fact.name() == "crashed" => break fact,
                Some(Told::Fact(_)) => {}
                told => panic!("{round}: {told:?}"),
            }
        };
        assert_eq!((crash.thread, reconnected), (Some(thread), true), "{round}");
    }
    drop(follow);
    served.end().await;
}
