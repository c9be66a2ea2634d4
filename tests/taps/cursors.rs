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
