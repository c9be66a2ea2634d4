//! Taps account for every event (P11): for each, emitted = delivered + filtered + lost + waiting.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod accounting;
mod cursors;
mod ends;
mod filters;
mod order;

use std::num::NonZeroU32;
use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Ended, Event, EventKind, Fact, LeaseKind, Limits, Phase, Rung, RuntimeEvent, Script,
    ScriptedEngine, SpawnThread, Step, Tap, TapCounts, TapError, TapEvent, TapFilter, TapFrom,
    TapItem, TapOptions, ThreadEvent, ThreadHandle, ThreadId, ThreadStatus, Usage,
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
fn events(tap: &mut Tap) -> Vec<TapEvent> {
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
