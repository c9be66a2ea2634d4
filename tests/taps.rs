//! Taps account for every event (P11): for each, emitted = delivered + filtered + lost + waiting.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Ended, Event, EventKind, Fact, LeaseKind, Limits, Phase, Rung, RuntimeEvent, Script,
    ScriptedEngine, SpawnThread, Step, Tap, TapCounts, TapError, TapFilter, TapFrom, TapItem,
    TapOptions, ThreadEvent, ThreadHandle, ThreadId, ThreadStatus, Usage,
};
use futures::StreamExt;

/// Says what it is told; "deltas N" streams N pieces of text; "hang" hangs; "spawn" spawns.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| {
        let text = input.text();
        match text.split_once(' ').unwrap_or((&text, "")) {
            ("deltas", count) => {
                (0..count.parse::<u32>().unwrap()).map(|n| Step::Delta(n.to_string())).collect()
            }
            ("hang", _) => Script::new().then(Step::Hang),
            ("spawn", _) => Script::new().spawn(SpawnThread::new()),
            ("usage", _) => Script::new().then(Step::Usage(Usage::default())),
            _ => Script::new().say(text),
        }
    })
}

async fn world() -> World {
    World::new(engine()).await
}

fn accounts(counts: TapCounts) {
    let sum = counts.delivered + counts.filtered + counts.lost + counts.waiting;
    assert_eq!(counts.emitted, sum, "{counts:?}");
}

/// All that waits, as it comes.
fn drain(tap: &mut Tap) -> Vec<TapItem> {
    std::iter::from_fn(|| tap.try_next()).collect()
}

/// All that waits, none of it lost.
fn events(tap: &mut Tap) -> Vec<Arc<Event>> {
    let event = |item| match item {
        TapItem::Event(event) => event,
        other => panic!("the tap lost events: {other:?}"),
    };
    drain(tap).into_iter().map(event).collect()
}

fn matching(world: &World, filter: TapFilter) -> Tap {
    world.tap(TapOptions::matching(filter)).unwrap()
}

async fn deltas(thread: &ThreadHandle, count: u32) {
    thread.run(format!("deltas {count}")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p_11_every_tap_accounts_for_every_event_whether_it_reads_or_not() {
    let world = world().await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let deltas_only = TapFilter::all().kinds([EventKind::Delta]);
    let small = |filter| TapOptions::matching(filter).with_capacity(16);
    let never = world.tap(small(TapFilter::all())).unwrap();
    let mut some = world.tap(small(TapFilter::all())).unwrap();
    let filtering = world.tap(small(deltas_only.clone())).unwrap();
    let elsewhere = matching(&world, TapFilter::thread(ThreadId::from_parts(1, [0; 10])));
    let large = TapOptions::matching(TapFilter::all()).with_capacity(100_000);
    let mut all = world.tap(large).unwrap();

    let mut read = 0;
    for round in 0..20 {
        deltas(&thread, 200).await;
        for _ in 0..round {
            read += u64::from(matches!(some.try_next(), Some(TapItem::Event(_))));
        }
        for tap in [&never, &some, &filtering, &elsewhere, &all] {
            accounts(tap.counts());
        }
    }
    let emitted = all.counts().emitted;
    assert!(emitted > 4_000, "{emitted}");
    for tap in [&never, &some, &filtering, &elsewhere] {
        assert_eq!(tap.counts().emitted, emitted, "each is offered every event");
    }
    assert_eq!((never.counts().waiting, never.counts().lost), (16, emitted - 16));
    assert_eq!((never.counts().delivered, never.counts().filtered), (0, 0));
    assert!(read > 0 && some.counts().lost > 0);
    assert_eq!(some.counts().delivered, read);
    let passed = 20 * 200;
    assert_eq!(filtering.counts().filtered, emitted - passed);
    assert_eq!((filtering.counts().lost, filtering.counts().waiting), (passed - 16, 16));
    assert_eq!(elsewhere.counts().filtered, emitted);
    assert_eq!(events(&mut all).len() as u64, emitted, "one that keeps up loses none");
    accounts(all.counts());
    drop((never, some, filtering, elsewhere, all));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_11_a_gap_is_in_the_stream_where_the_events_would_have_been() {
    let world = world().await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let mut all = matching(&world, TapFilter::all());
    let mut slow = world.tap(TapOptions::all().with_capacity(8)).unwrap();
    for read in [0, 5, 3, 100] {
        deltas(&thread, 50).await;
        let expected: Vec<u64> = events(&mut all).iter().map(|event| event.seq).collect();
        let mut got: Vec<u64> = Vec::new();
        let mut gaps = 0;
        let mut items = drain(&mut slow).into_iter().take(read + 9);
        match items.next().unwrap() {
            TapItem::Lagged { from, to, count } => {
                assert_eq!(count, to - from + 1, "an unfiltered gap has no holes");
                got.extend(from..=to);
                gaps += 1;
            }
            other => panic!("the gap comes first: {other:?}"),
        }
        for item in items {
            got.push(item.event().expect("one gap, in front of what waits").seq);
        }
        assert_eq!(gaps, 1);
        assert_eq!(got, expected, "gap and events together are all that happened");
    }
    accounts(slow.counts());
    drop((all, slow));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_11_a_filtered_gap_counts_only_what_the_tap_would_have_had() {
    let world = world().await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let mut all = matching(&world, TapFilter::all());
    let filter = TapFilter::all().kinds([EventKind::Submission]);
    let mut slow = world.tap(TapOptions::matching(filter).with_capacity(1)).unwrap();
    for _ in 0..3 {
        deltas(&thread, 10).await;
    }
    let wanted: Vec<u64> = events(&mut all)
        .iter()
        .filter(|event| event.fact.kind() == EventKind::Submission)
        .map(|event| event.seq)
        .collect();
    assert_eq!(wanted.len(), 6, "accepted and ended, three times");
    let gap = TapItem::Lagged { from: wanted[0], to: wanted[4], count: 5 };
    let items = drain(&mut slow);
    assert_eq!((items.len(), &items[0]), (2, &gap));
    assert_eq!(items[1].event().unwrap().seq, wanted[5]);
    drop((all, slow));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn sequence_numbers_rise_by_one_for_a_tap_that_reads_everything() {
    let world = world().await;
    let mut tap = matching(&world, TapFilter::all());
    let threads = futures::future::join_all((0..10).map(|_| world.spawn(SpawnThread::new()))).await;
    let runs = threads.iter().map(|thread| {
        let thread = thread.as_ref().unwrap();
        async move {
            for _ in 0..5 {
                deltas(thread, 20).await;
            }
        }
    });
    futures::future::join_all(runs).await;
    let seqs: Vec<u64> = events(&mut tap).iter().map(|event| event.seq).collect();
    assert!(seqs.len() > 1_000);
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1));
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_by_kind_passes_that_kind_alone() {
    let world = world().await;
    let kinds =
        [EventKind::Turn, EventKind::Record, EventKind::Usage, EventKind::Delta, EventKind::Status];
    let mut taps: Vec<(EventKind, Tap)> = kinds
        .into_iter()
        .map(|kind| (kind, matching(&world, TapFilter::all().kinds([kind]))))
        .collect();
    let mut none = matching(&world, TapFilter::all().kinds([]));
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("usage").await.unwrap();
    deltas(&thread, 3).await;
    for (kind, tap) in &mut taps {
        let events = events(tap);
        assert!(!events.is_empty(), "{kind:?}");
        assert!(events.iter().all(|event| event.fact.kind() == *kind), "{kind:?}: {events:?}");
    }
    assert_eq!(events(&mut none).len(), 0);
    drop((taps, none));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_by_thread_passes_that_thread_alone_and_one_by_subtree_also_what_is_spawned_later()
{
    let world = world().await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    let other = world.spawn(SpawnThread::new()).await.unwrap();
    let mut of_root = matching(&world, TapFilter::thread(root.id()));
    let mut of_tree = matching(&world, TapFilter::subtree(root.id()));
    // A child by the host, and a grandchild by the child's own turn.
    let child = SpawnThread::new().with_parent(root.id());
    let child = world.spawn(child).await.unwrap();
    child.run("spawn").await.unwrap();
    root.run("hello").await.unwrap();
    other.run("hello").await.unwrap();
    let tree = world.subtree(root.id()).await.unwrap();
    assert_eq!(tree.len(), 3);
    let grandchild = world.get(tree[2]).unwrap();
    grandchild.run("hello").await.unwrap();

    let threads = |tap: &mut Tap| {
        let mut threads: Vec<ThreadId> =
            events(tap).iter().map(|event| event.thread.unwrap()).collect();
        threads.sort_unstable();
        threads.dedup();
        threads
    };
    assert_eq!(threads(&mut of_root), [root.id()]);
    let mut expected = tree.clone();
    expected.sort_unstable();
    assert_eq!(threads(&mut of_tree), expected);
    drop((of_root, of_tree));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lifecycle_tap_has_exactly_what_a_cursor_can_read_again() {
    let world = world().await;
    let mut live = matching(&world, TapFilter::all().lifecycle());
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("usage").await.unwrap();
    deltas(&thread, 5).await;
    let live_events = events(&mut live);
    assert!(live_events.iter().all(|event| event.fact.is_lifecycle()));
    let options = TapOptions::all().with_from(TapFrom::Cursor(0));
    let mut again = world.tap(options).unwrap();
    assert_eq!(events(&mut again), live_events);
    drop((live, again));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_goes_on_without_gap_or_repeat() {
    let world = world().await;
    let lifecycle = TapFilter::all().lifecycle();
    let mut whole = matching(&world, lifecycle.clone());
    let mut pieces: Vec<Arc<Event>> = Vec::new();
    let mut cursor = 0;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    for round in 0..5 {
        deltas(&thread, 5).await;
        let options = TapOptions::matching(lifecycle.clone()).with_from(TapFrom::Cursor(cursor));
        let mut piece = world.tap(options).unwrap();
        deltas(&thread, 5).await; // from the journal, and live
        let mut read = events(&mut piece);
        read.truncate(read.len() - round); // it broke off before it had read all
        cursor = read.last().unwrap().seq;
        pieces.extend(read);
        accounts(piece.counts());
    }
    let options = TapOptions::matching(lifecycle).with_from(TapFrom::Cursor(cursor));
    let mut rest = world.tap(options).unwrap();
    pieces.extend(events(&mut rest));
    assert_eq!(pieces, events(&mut whole));
    drop((whole, rest));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_outside_the_journal_is_refused() {
    let limits = {
        let mut limits = Limits::default();
        limits.journal_events_max = 4;
        limits
    };
    let world = World::with_limits(engine(), limits).await;
    let from = |cursor| TapOptions::all().with_from(TapFrom::Cursor(cursor));
    let refused = world.tap(from(1)).map(|_| ());
    assert_eq!(refused, Err(TapError::CursorOutside { cursor: 1, from: 0, to: 0 }));
    let mut all = matching(&world, TapFilter::all().lifecycle());
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("hello").await.unwrap();
    let seqs: Vec<u64> = events(&mut all).iter().map(|event| event.seq).collect();
    let oldest = seqs[seqs.len() - 4];
    let refused = world.tap(from(0)).map(|_| ()).unwrap_err();
    let TapError::CursorOutside { cursor: 0, from: first, to } = refused else {
        panic!("{refused:?}");
    };
    assert!(first < oldest && to >= *seqs.last().unwrap());
    let mut kept = world.tap(from(first)).unwrap();
    let kept_seqs: Vec<u64> = events(&mut kept).iter().map(|event| event.seq).collect();
    assert_eq!(kept_seqs, seqs[seqs.len() - 4..], "the oldest cursor that works");
    drop((all, kept));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_tap_reads_what_waits_then_ends_with_the_runtime() {
    let world = world().await;
    let mut tap = matching(&world, TapFilter::all());
    let mut waiting = matching(&world, TapFilter::all().kinds([EventKind::Delta]));
    let reader = tokio::spawn(async move { waiting.next().await });
    world.spawn(SpawnThread::new()).await.unwrap();
    world.shutdown(BUDGET).await.unwrap();
    let all = async { (&mut tap).collect::<Vec<_>>().await };
    let read = tokio::time::timeout(BUDGET, all).await.expect("the tap ends");
    let last = read.last().unwrap().event().unwrap();
    assert_eq!(last.fact, Fact::Runtime(RuntimeEvent::RuntimeEnded));
    let reader = tokio::time::timeout(BUDGET, reader).await.expect("who waits is woken");
    assert_eq!(reader.unwrap(), None);
    accounts(tap.counts());
    let refused = world.tap(TapOptions::all()).map(|_| ());
    assert_eq!(refused, Err(TapError::RuntimeEnded));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_tap_returns_its_lease_and_makes_room() {
    let limits = {
        let mut limits = Limits::default();
        limits.taps_max = 2;
        limits
    };
    let world = World::with_limits(engine(), limits).await;
    let first = matching(&world, TapFilter::all());
    let second = matching(&world, TapFilter::all());
    assert_eq!(world.audit().await.count(LeaseKind::Tap), 2);
    let refused = world.tap(TapOptions::all()).map(|_| ());
    assert!(matches!(&refused, Err(TapError::Limit(limit)) if limit.limit == "taps_max"));
    drop(first);
    assert_eq!(world.audit().await.count(LeaseKind::Tap), 1);
    let third = matching(&world, TapFilter::all());
    drop((second, third));
    let audit = world.audit().await;
    assert!(audit.is_empty(), "{audit:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_tap_without_room_is_refused() {
    let world = world().await;
    let refused = world.tap(TapOptions::all().with_capacity(0)).map(|_| ());
    assert_eq!(refused, Err(TapError::NoCapacity));
    assert_eq!(world.audit().await.count(LeaseKind::Tap), 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_given_up_loses_nothing() {
    let world = world().await;
    let mut tap = matching(&world, TapFilter::all().kinds([EventKind::Delta]));
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    for _ in 0..10 {
        let given_up = tokio::time::timeout(Duration::from_millis(1), tap.next()).await;
        assert!(given_up.is_err());
        deltas(&thread, 1).await;
        assert_eq!(events(&mut tap).len(), 1);
    }
    drop(tap);
    world.end().await;
}

// Every change of a thread's life is an event.

/// What the events of one thread say, in short.
fn story(events: &[Arc<Event>]) -> Vec<String> {
    let short = |event: &Arc<Event>| match &event.fact {
        Fact::Runtime(RuntimeEvent::ThreadSpawned { .. }) => "spawned".into(),
        Fact::Runtime(RuntimeEvent::ThreadEnded { how }) => match how {
            Ended::Closed { .. } => "ended: closed".into(),
            Ended::Crashed { .. } => "ended: crashed".into(),
            Ended::Dormant => "ended: dormant".into(),
            other => format!("ended: {other:?}"),
        },
        Fact::Runtime(RuntimeEvent::RestartScheduled { .. }) => "restart scheduled".into(),
        Fact::Runtime(RuntimeEvent::ThreadRestarted) => "restarted".into(),
        Fact::Runtime(RuntimeEvent::ThreadParked) => "parked".into(),
        Fact::Thread(ThreadEvent::StatusChanged { status, phase, .. }) => {
            format!("{} {}", status.name(), format!("{phase:?}").to_lowercase())
        }
        Fact::Thread(ThreadEvent::SubmissionAccepted { .. }) => "accepted".into(),
        Fact::Thread(ThreadEvent::SubmissionEnded { outcome, .. }) => {
            format!("outcome {}", outcome.name())
        }
        Fact::Thread(ThreadEvent::TurnStarted { .. }) => "turn started".into(),
        Fact::Thread(ThreadEvent::TurnEnded { .. }) => "turn ended".into(),
        other => format!("{other:?}"),
    };
    events.iter().map(short).collect()
}

/// Numbers of the statuses that a tap saw rise by one.
fn statuses_without_gap(events: &[Arc<Event>]) -> Vec<ThreadStatus> {
    let mut statuses = Vec::new();
    let mut last = None;
    for event in events {
        if let Fact::Thread(ThreadEvent::StatusChanged { status_seq, status, .. }) = &event.fact {
            assert!(last.is_none_or(|last| *status_seq == last + 1), "{:?}", story(events));
            last = Some(*status_seq);
            statuses.push(status.clone());
        }
    }
    statuses
}

#[tokio::test(start_paused = true)]
async fn every_change_from_spawn_over_a_crash_to_the_close_is_an_event_in_order() {
    let world = world().await;
    let mut tap = matching(&world, TapFilter::all().lifecycle());
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("hello").await.unwrap();
    let mut restarts = matching(&world, TapFilter::all().kinds([EventKind::Runtime]));
    let hanging = thread.submit("hang").await.unwrap();
    while thread.status() != ThreadStatus::Running {
        tokio::task::yield_now().await;
    }
    thread.panic_for_test();
    World::event(&mut restarts, |event| event.fact == Fact::Runtime(RuntimeEvent::ThreadRestarted))
        .await;
    thread.outcome(&hanging.submission).await.unwrap();
    thread.close(BUDGET).await.unwrap();
    let events: Vec<Arc<Event>> =
        events(&mut tap).into_iter().filter(|event| event.thread == Some(thread.id())).collect();
    assert_eq!(
        story(&events),
        [
            "spawned",
            "pending_init idle",
            "accepted",
            "running running",
            "turn started",
            "turn ended",
            "outcome completed",
            "completed idle",
            "accepted",
            "running running",
            "turn started",
            "ended: crashed",
            "crashed backoff",
            "restart scheduled",
            "restarted",
            "outcome interrupted",
            "interrupted idle",
            "interrupted stopping",
            "shutdown stopped",
            "ended: closed",
        ]
    );
    statuses_without_gap(&events);
    drop((tap, restarts));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_status_stream_skips_no_status_whoever_sets_it() {
    // Dormant, crashed and parked are set by the supervisor, while no actor is there to tell.
    let policy = coppicer::RestartPolicy::default().with_limit(1, Duration::from_secs(60));
    let config = coppicer::ThreadConfig::default().with_restart(policy);
    let world = world().await;
    let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    let mut changes = thread.status_changes().unwrap();
    let mut seen = Vec::new();
    let name = |event: &Event| match &event.fact {
        Fact::Thread(ThreadEvent::StatusChanged { status, .. }) => status.name(),
        _ => "?",
    };
    let mut until = async |changes: &mut Tap, wanted: &str| {
        loop {
            let event = World::event(changes, |_| true).await;
            let done = name(&event) == wanted;
            seen.push(event);
            if done {
                return;
            }
        }
    };
    thread.hibernate().await.unwrap();
    until(&mut changes, "dormant").await;
    thread.run("hello").await.unwrap();
    until(&mut changes, "completed").await;
    thread.panic_for_test();
    until(&mut changes, "crashed").await;
    until(&mut changes, "completed").await;
    thread.panic_for_test();
    until(&mut changes, "parked").await;
    assert_eq!(thread.view().phase, Phase::Parked);
    thread.close(BUDGET).await.unwrap();
    until(&mut changes, "shutdown").await;
    statuses_without_gap(&seen);
    drop(changes);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_is_closed_in_the_pause_after_a_crash_is_shown_as_shut_down() {
    let world = world().await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let mut changes = thread.status_changes().unwrap();
    thread.panic_for_test();
    World::event(&mut changes, |_| thread.view().phase == Phase::Backoff).await;
    thread.close(BUDGET).await.unwrap();
    assert_eq!(thread.status(), ThreadStatus::Shutdown);
    let statuses = statuses_without_gap(&events(&mut changes));
    assert_eq!(statuses, [ThreadStatus::Shutdown]);
    drop(changes);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_missed_its_close_is_shown_as_shut_down() {
    // Its last append is held, so that it cannot end by the deadline.
    use coppicer::faulty::StoreOp;
    let world = world().await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let mut changes = thread.status_changes().unwrap();
    world.store.hold(StoreOp::Append);
    let report = thread.close(Duration::from_millis(100)).await.unwrap();
    assert_eq!(report.rung(thread.id()), Some(Rung::Fenced));
    World::event(&mut changes, |event| {
        matches!(
            &event.fact,
            Fact::Thread(ThreadEvent::StatusChanged { status: ThreadStatus::Shutdown, .. })
        )
    })
    .await;
    world.store.release(StoreOp::Append);
    drop(changes);
    world.end().await;
}
