//! How taps begin and end.

use std::collections::BTreeSet;

use coppicer::faulty::StoreOp;
use tokio::time::Instant;

use super::*;

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

/// All that waits in a tap whose last is that the runtime has ended, and behind which it ends: without
/// waiting.
fn to_the_end(tap: &mut Tap) -> Vec<TapEvent> {
    let events = events(tap);
    let last = events.last().map(|event| event.fact.clone());
    assert_eq!(last, Some(Fact::Runtime(RuntimeEvent::RuntimeEnded)), "{events:?}");
    assert_eq!(futures::FutureExt::now_or_never(tap.next()), Some(None), "it has ended");
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_awaited_the_shutdown_finds_the_end_in_a_tap_without_waiting() {
    for round in 0..200 {
        let world = world().await;
        let mut tap = matching(&world, TapFilter::all());
        for _ in 0..round % 3 {
            world.spawn(SpawnThread::new()).await.unwrap();
        }
        world.shutdown(BUDGET).await.unwrap();
        to_the_end(&mut tap);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_closes_of_others_and_not_past_its_own_deadline() {
    let world = world().await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let child = world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap().id();
    // The child's end is written at once, that it was closed never.
    world.store.hold(StoreOp::PutEdge);
    let close = {
        let runtime = world.runtime().clone();
        tokio::spawn(async move { runtime.close(child, Duration::from_secs(600)).await })
    };
    let mut tap = matching(&world, TapFilter::all());
    World::event(&mut tap, |event| event.fact.name() == "thread_ended").await;
    let before = Instant::now();
    world.shutdown(Duration::from_secs(2)).await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_secs(2), "the other had its chance");
    to_the_end(&mut tap);
    let report = close.await.unwrap().unwrap();
    assert!(report.threads.iter().any(|row| row.left.is_some()), "{report:?}");
    world.store.release(StoreOp::PutEdge);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_fences_off_tells_that_too_before_the_end() {
    let world = world().await;
    let mut threads = BTreeSet::new();
    for _ in 0..20 {
        threads.insert(world.spawn(SpawnThread::new()).await.unwrap().id());
    }
    let mut tap = matching(&world, TapFilter::all());
    world.store.hold(StoreOp::Append);
    let report = world.shutdown(Duration::from_secs(1)).await.unwrap();
    assert_eq!(report.timed_out.len(), threads.len());
    let ended = to_the_end(&mut tap).into_iter().filter(|event| {
        let stopped = Phase::Stopped;
        matches!(&event.fact, Fact::Thread(ThreadEvent::StatusChanged { phase, .. }) if *phase == stopped)
    });
    assert_eq!(ended.filter_map(|event| event.thread).collect::<BTreeSet<_>>(), threads);
    drop(tap);
    world.store.release(StoreOp::Append);
    world.until(coppicer::Audit::is_empty).await;
}
