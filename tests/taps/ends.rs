//! How taps begin and end.

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
