//! What publishing allocates: counted by the allocator. One test in a file of its own: nothing else may
//! allocate meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::alloc::System;
use std::sync::Arc;

use coppicer_actors::{About, Clock, Tap, TapFilter, TapHub, TapOptions};
use coppicer_messages::{
    Epoch, EventKind, Fact, LeaseBook, Limits, Phase, RecordClass, RuntimeEvent, Seq, SpawnOrigin,
    ThreadEvent, ThreadId, ThreadStatus,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The promise: bytes that a thread costs in the tree, at most.
const ROW_BYTES_MAX: usize = 600;

const EVENTS: usize = 6_400;

/// In how many writes so many records come.
const WRITES: usize = EVENTS / 8;

/// What the portions of so many events may take: four for each 64, for all taps together.
const PORTIONS: usize = EVENTS / 16;

/// None for an event: what the test's runner allocates beside it.
const FEW: usize = EVENTS / 100;

/// What may be kept of thousands of events: less than a byte of each.
const KEPT_MAX: usize = 4_096;

fn hub(limits: &Limits) -> Arc<TapHub> {
    let (clock, leases) = (Arc::new(Clock::system()), Arc::new(LeaseBook::default()));
    Arc::new(TapHub::new(clock, leases, limits))
}

fn about(n: u64) -> About {
    About::of(ThreadId::from_parts(n, [0; 10]))
}

/// What publishing so many deltas allocates.
fn deltas(hub: &TapHub, about: &About) -> Stats {
    let region = Region::new(ALLOCATOR);
    for _ in 0..EVENTS {
        let fact = || Fact::Thread(ThreadEvent::Delta { text: "some words".to_owned() });
        hub.publish(Some(about), Epoch(1), None, EventKind::Delta, fact);
    }
    region.change()
}

/// What publishing so many records allocates, eight in a write. Each write brings its list along.
fn records(hub: &TapHub, about: &Arc<About>) -> Stats {
    let writes: Vec<_> = vec![vec![RecordClass::UserMessage; 8]; WRITES];
    let region = Region::new(ALLOCATOR);
    for (at, classes) in (0..).step_by(8).zip(writes) {
        hub.publish_records(about, Epoch(1), None, Seq(at), classes);
    }
    region.change()
}

#[test]
fn one_event_is_made_for_all_taps_none_for_nobody_and_a_thread_costs_a_row() {
    publishing();
    rows();
}

fn publishing() {
    let about = about(1);
    let hub = hub(&Limits::default());
    assert!(deltas(&hub, &about).allocations < FEW, "nobody listens");
    let elsewhere = TapOptions::matching(TapFilter::all().lifecycle());
    let lifecycle = hub.tap(elsewhere).unwrap();
    assert!(deltas(&hub, &about).allocations < FEW, "nobody wants them");
    drop(lifecycle);
    let mut taps: Vec<Tap> = Vec::new();
    let mut costs = Vec::new();
    for count in [1, 10] {
        while taps.len() < count {
            taps.push(hub.tap(TapOptions::all()).unwrap());
        }
        deltas(&hub, &about); // until the rings are full
        let change = deltas(&hub, &about);
        costs.push(change.allocations);
        let told = records(&hub, &Arc::new(about.clone()));
        let most = WRITES + PORTIONS;
        assert!(told.allocations <= most, "a write that nobody takes is no events: {told:?}");
        deltas(&hub, &about);
        assert!(change.allocations <= EVENTS * 2 + PORTIONS, "an event and its text: {change:?}");
        let kept = change.bytes_allocated.abs_diff(change.bytes_deallocated);
        assert!(kept < KEPT_MAX, "full rings take no more: {change:?}");
    }
    assert!(costs[0].abs_diff(costs[1]) < FEW, "whether one listens or ten: {costs:?}");
    drop(taps);
}

fn rows() {
    const THREADS: u64 = 64 * 256;
    let limits = {
        let mut limits = Limits::default();
        limits.journal_events_max = 16;
        limits
    };
    let hub = hub(&limits);
    let abouts: Vec<About> = (0..THREADS).map(about).collect();
    let region = Region::new(ALLOCATOR);
    for about in &abouts {
        let origin = SpawnOrigin::New;
        let fact = || Fact::Runtime(RuntimeEvent::ThreadSpawned { origin });
        hub.publish(Some(about), Epoch(1), None, EventKind::Runtime, fact);
    }
    let kept = |region: &Region<'_, System>| {
        let change = region.change();
        change.bytes_allocated.saturating_sub(change.bytes_deallocated)
    };
    let each = kept(&region) / THREADS as usize;
    assert!(each <= ROW_BYTES_MAX, "{each} bytes for each thread");
    let region = Region::new(ALLOCATOR);
    for (n, about) in abouts.iter().enumerate() {
        let (status_seq, status, phase) = (n as u64 + 1, ThreadStatus::Dormant, Phase::Dormant);
        let fact = || Fact::Thread(ThreadEvent::StatusChanged { status_seq, status, phase });
        hub.publish(Some(about), Epoch(1), None, EventKind::Status, fact);
    }
    assert!(kept(&region) < KEPT_MAX, "a fact changes a row, and keeps nothing: {}", kept(&region));
}
