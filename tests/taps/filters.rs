//! Filters, where an event is published.

use super::*;

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
async fn sampling_passes_every_nth_delta_and_counts_the_others_as_filtered() {
    let world = world().await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let tenth = TapFilter::all().sample_deltas(NonZeroU32::new(10).unwrap());
    let mut sampled = matching(&world, tenth);
    let mut all = matching(&world, TapFilter::all());
    for _ in 0..5 {
        deltas(&thread, 41).await;
    }
    let text = |event: &TapEvent| match &event.fact {
        Fact::Thread(ThreadEvent::Delta { text }) => Some(text.clone()),
        _ => None,
    };
    let (all_events, sampled_events) = (events(&mut all), events(&mut sampled));
    let deltas: Vec<String> = all_events.iter().filter_map(text).collect();
    let passed: Vec<String> = sampled_events.iter().filter_map(text).collect();
    assert_eq!(deltas.len(), 205);
    assert_eq!(passed, deltas.iter().step_by(10).cloned().collect::<Vec<_>>());
    let counts = sampled.counts();
    accounts(counts);
    assert_eq!((counts.filtered, counts.emitted), (184, all.counts().emitted));
    let others = |events: &[TapEvent]| events.iter().filter(|event| text(event).is_none()).count();
    assert_eq!(others(&sampled_events), others(&all_events), "only deltas are sampled");
    drop((all, sampled));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lifecycle_tap_has_no_delta_made_for_it() {
    let world = world().await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let tap = matching(&world, TapFilter::all().lifecycle());
    deltas(&thread, 100).await;
    assert_eq!(tap.counts().filtered, 0, "nobody wanted them");
    drop(tap);
    world.end().await;
}
