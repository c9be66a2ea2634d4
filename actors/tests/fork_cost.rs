//! What a fork keeps in memory does not grow with the history: counted by the allocator, so that
//! the bench's table cannot drift unseen. One test in a file of its own: nothing else may allocate
//! meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::alloc::System;

use coppicer_actors::{ForkOptions, History, Line, SessionMeta, plan_fork};
use coppicer_messages::{ForkPoint, NewRecord, Seq, ThreadId};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::*;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The promise: bytes that one fork keeps, at most.
const FORK_BYTES_MAX: usize = 16 * 1024;

fn session(turns: usize) -> History {
    history((0..turns).flat_map(|number| turn(&number.to_string())))
}

fn kept(source: &History, point: &ForkPoint, own: &NewRecord) -> usize {
    let region = Region::new(ALLOCATOR);
    let plan = plan_fork(source, point, &ForkOptions::at(1)).unwrap();
    let mut fork = plan.history(source);
    drop(plan);
    fork.append(own.clone());
    let change = region.change();
    change.bytes_allocated - change.bytes_deallocated
}

#[test]
fn forks_and_snapshots_keep_the_same_few_bytes_whatever_the_length() {
    snapshots();
    forks();
}

fn snapshots() {
    for turns in [200, 20_000] {
        let source = session(turns);
        let region = Region::new(ALLOCATOR);
        let snapshot = source.snapshot();
        assert_eq!(region.change().bytes_allocated, 0, "a snapshot is a few counted pointers");
        let prefix = source.prefix(source.len() / 2);
        assert!(region.change().bytes_allocated <= 8 * 1024, "{:?}", region.change());
        assert!(snapshot.shared_prefix(&prefix) > 0);
    }
}

fn forks() {
    let id = ThreadId::from_parts(1, [1; 10]);
    let own = Line::session_meta(1, &SessionMeta::new(id, "/srv/demo").forked_from(id));
    for turns in [200, 2_000, 20_000] {
        let mut source = session(turns);
        let middle = turns / 2;
        let mut points = vec![
            ForkPoint::Interrupted,
            ForkPoint::LastStable,
            ForkPoint::BeforeUserMessage(middle),
            ForkPoint::At(Seq(middle as u64 * 6)),
            ForkPoint::After(middle.to_string().into()),
            ForkPoint::Before("0".into()),
            ForkPoint::LastTurns(3),
        ];
        for phase in ["idle", "rolled back", "in a tool call"] {
            for point in &points {
                let bytes = kept(&source, point, &own);
                assert!(
                    bytes <= FORK_BYTES_MAX,
                    "{turns} turns, {phase}, {point:?}: {bytes} bytes"
                );
            }
            match phase {
                "idle" => source.extend([RB(2)]),
                _ => source.extend([TS("running"), U("u"), FC("c")]),
            }
            points.push(ForkPoint::BeforeUserMessage(turns - 3));
        }
    }
}
