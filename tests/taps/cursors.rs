//! Reading again from a cursor.

use super::*;

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
    let mut pieces: Vec<TapEvent> = Vec::new();
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
async fn a_cursor_that_asks_for_more_than_a_ring_holds_gets_all_of_it() {
    let world = world().await;
    let mut whole = matching(&world, TapFilter::all().lifecycle());
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    for _ in 0..20 {
        thread.run("hello").await.unwrap();
    }
    let options = TapOptions::matching(TapFilter::all().lifecycle());
    let options = options.with_capacity(2).with_from(TapFrom::Cursor(0));
    let mut again = world.tap(options).unwrap();
    let expected = events(&mut whole);
    assert!(expected.len() > 100);
    accounts(again.counts());
    assert_eq!(again.counts().waiting, expected.len() as u64);
    thread.run("hello").await.unwrap();
    let items = drain(&mut again);
    let read: Vec<_> = items.iter().filter_map(TapItem::event).cloned().collect();
    let last = events(&mut whole);
    assert!(read.iter().eq(expected.iter().chain(&last[last.len() - 2..]).map(|event| &**event)));
    let gap = TapItem::Lagged {
        from: last[0].seq,
        to: last[last.len() - 3].seq,
        count: last.len() as u64 - 2,
    };
    assert_eq!(items[expected.len()], gap, "what came after the subscription is bounded as ever");
    accounts(again.counts());
    drop((whole, again));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_tap_from_the_journal_has_all_that_there_is_and_says_from_where_on() {
    let limits = {
        let mut limits = Limits::default();
        limits.journal_events_max = 4;
        limits
    };
    let world = World::with_limits(engine(), limits).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let mut live = matching(&world, TapFilter::all().lifecycle());
    thread.run("hello").await.unwrap();
    let told = events(&mut live);
    let mut from = world.tap(TapOptions::all().with_from(TapFrom::Journal)).unwrap();
    let began = from.began_after();
    assert_eq!(events(&mut from), told[told.len() - 4..]);
    assert!(began < told[told.len() - 4].seq && began >= told[told.len() - 5].seq, "{began}");
    let now = matching(&world, TapFilter::all());
    assert!(now.began_after() >= told.last().unwrap().seq);
    drop((live, from, now));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_told_nothing_knows_a_place_to_go_on_from_all_the_same() {
    let world = world().await;
    let (busy, idle) = (
        world.spawn(SpawnThread::new()).await.unwrap(),
        world.spawn(SpawnThread::new()).await.unwrap(),
    );
    let of_idle = || TapOptions::matching(TapFilter::thread(idle.id()).lifecycle());
    let mut all = matching(&world, TapFilter::all());
    let mut quiet = world.tap(of_idle()).unwrap();
    busy.run("hello").await.unwrap();
    assert_eq!(all.caught_up(), None, "something waits");
    let last = events(&mut all).last().unwrap().seq;
    assert_eq!((all.caught_up(), quiet.caught_up()), (Some(last), Some(last)));
    idle.run("hello").await.unwrap();
    assert_eq!(quiet.caught_up(), None);
    let told = events(&mut quiet);
    let mut again = world.tap(of_idle().with_from(TapFrom::Cursor(last))).unwrap();
    assert_eq!(events(&mut again), told);
    let unread = world.tap(TapOptions::all().with_from(TapFrom::Snapshot)).unwrap();
    assert_eq!(unread.caught_up(), None, "the snapshot waits");
    drop((all, again, unread));
    world.shutdown(BUDGET).await.unwrap();
    events(&mut quiet);
    assert_eq!(quiet.caught_up(), None, "nothing can be gone on from");
}

#[tokio::test(start_paused = true)]
async fn what_a_gap_hid_is_in_the_journal_and_in_the_tree_as_it_is() {
    for journal in [1_000, 8] {
        let limits = {
            let mut limits = Limits::default();
            (limits.journal_events_max, limits.taps_max) = (journal, 2);
            limits
        };
        let world = World::with_limits(engine(), limits).await;
        let turns = TapFilter::all().kinds([EventKind::Turn, EventKind::Usage]);
        let mut all = matching(&world, turns.clone());
        let mut slow = world.tap(TapOptions::matching(turns).with_capacity(3)).unwrap();
        let thread = world.spawn(SpawnThread::new()).await.unwrap();
        for _ in 0..10 {
            thread.run("usage").await.unwrap();
        }
        let told = events(&mut all);
        let Some(TapItem::Lagged { from, count, .. }) = slow.try_next() else { panic!("no gap") };
        let regained = slow.regain(from);
        let hidden = told.iter().take(count as usize).filter(|event| event.fact.is_lifecycle());
        let hidden: Vec<u64> = hidden.map(|event| event.seq).collect();
        let waited: Vec<u64> = told[count as usize..].iter().map(|event| event.seq).collect();
        assert_eq!((regained.complete, regained.lost), (journal == 1_000, 0));
        assert_eq!(regained.complete, hidden.len() as u64 == regained.events);
        if !regained.complete {
            let Some(TapItem::Snapshot(now)) = slow.try_next() else { panic!("no snapshot") };
            assert_eq!(now.get(thread.id()).unwrap().turns, 10);
            assert!(now.seq >= told.last().unwrap().seq);
        }
        let rest: Vec<u64> = events(&mut slow).iter().map(|event| event.seq).collect();
        let from_journal = &hidden[hidden.len() - regained.events as usize..];
        assert_eq!(rest, [from_journal, &waited].concat(), "of its filter, in order, each once");
        accounts(slow.counts());
        drop((all, slow));
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_gap_that_was_regained_nothing_is_lost_however_slowly_it_is_read() {
    let world = world().await;
    let kinds = TapFilter::all().kinds([EventKind::Turn, EventKind::Usage]);
    let mut all = matching(&world, kinds.clone());
    let mut slow = world.tap(TapOptions::matching(kinds).with_capacity(3)).unwrap();
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    for _ in 0..10 {
        thread.run("usage").await.unwrap();
    }
    let Some(TapItem::Lagged { from, to, .. }) = slow.try_next() else { panic!("no gap") };
    // A full ring has a further gap with each event, until it is read.
    thread.run("usage").await.unwrap();
    let told = events(&mut all);
    let regained = slow.regain(from);
    assert!(regained.complete && regained.lost > 0, "{regained:?}");
    thread.run("hello").await.unwrap();
    let later = events(&mut all);
    let lifecycle = |event: &&TapEvent| event.fact.is_lifecycle();
    let expected = told.iter().filter(lifecycle).chain(&later).map(|event| event.seq);
    let rest: Vec<TapEvent> = events(&mut slow);
    let rest: Vec<u64> = rest.iter().filter(lifecycle).map(|event| event.seq).collect();
    assert_eq!(rest, expected.collect::<Vec<_>>(), "{from} to {to}");
    accounts(slow.counts());
    // What is still to come hides nothing.
    assert_eq!(slow.regain(u64::MAX).events, 0);
    world.shutdown(BUDGET).await.unwrap();
    // Behind the end too.
    let journal = slow.regain(0);
    assert!(journal.complete && journal.events > 0, "{journal:?}");
    assert_eq!(events(&mut slow).len() as u64, journal.events);
    accounts(slow.counts());
    drop((all, slow));
}
