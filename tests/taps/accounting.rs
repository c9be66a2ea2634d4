//! Counts and gaps.

use super::*;

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

#[tokio::test(start_paused = true)]
async fn p_11_a_ring_is_bounded_in_bytes_too() {
    let world = world().await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let deltas_only = TapFilter::all().kinds([EventKind::Delta]);
    let mut all = matching(&world, deltas_only.clone());
    deltas(&thread, 1).await;
    let bytes = events(&mut all)[0].bytes();
    assert!(bytes > size_of::<Event>());
    let mut slow = world.tap(TapOptions::matching(deltas_only).with_bytes(5 * bytes)).unwrap();
    deltas(&thread, 9).await;
    let seqs: Vec<u64> = events(&mut all).iter().map(|event| event.seq).collect();
    let items = drain(&mut slow);
    assert_eq!(items[0], TapItem::Lagged { from: seqs[0], to: seqs[3], count: 4 });
    let read: Vec<u64> = items[1..].iter().map(|item| item.event().unwrap().seq).collect();
    assert_eq!(read, seqs[4..]);
    accounts(slow.counts());
    drop((all, slow));
    world.end().await;
}
