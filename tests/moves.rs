//! Moves on several workers at once, with all else that can happen to a tree: nothing leaks, nobody
//! is lost, and the store has what is shown (P1, P8, P10).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::testing::World;
use coppicer::{
    Limits, ParentClose, Script, ScriptedEngine, SpawnError, SpawnThread, ThreadHandle, ThreadId,
};

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "panic" => Script::new().panic("boom"),
        text => Script::new().sleep(Duration::from_millis(1)).say(text),
    })
}

/// `SplitMix64`.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Does what may be done to trees, at random.
async fn stir(world: &World, threads: &[ThreadId], mut seed: u64) {
    for _ in 0..120 {
        let pick = |n: u64| threads[n as usize % threads.len()];
        let (thread, other) = (pick(next(&mut seed)), pick(next(&mut seed)));
        let what = next(&mut seed) % 12;
        let step = async {
            match what {
                0..=3 => drop(world.adopt(thread, Some(other)).await),
                4 => drop(world.adopt(thread, None).await),
                5 => {
                    let budget = Duration::from_millis(next(&mut seed) % 40);
                    drop(world.close(thread, budget).await);
                }
                6 | 7 => drop(world.resume(thread).await),
                8 => {
                    if let Some(thread) = world.get(thread) {
                        thread.panic_for_test();
                    }
                }
                9 => {
                    if let Some(thread) = world.get(thread) {
                        drop(thread.hibernate().await);
                    }
                }
                10 => drop(world.submit(thread, "panic").await),
                _ => drop(world.submit(thread, "hello").await),
            }
        };
        if tokio::time::timeout(ANSWER_MAX, step).await.is_err() {
            let why = world.runtime().why(thread).await;
            panic!("step {what} of {thread} and {other} is not answered: {why:#?}");
        }
    }
}

/// Real time: what is asked is answered by its own deadline in any case, and much sooner if nothing is
/// lost.
const ANSWER_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn trees_that_are_moved_from_many_sides_hold_together() {
    let mut limits = Limits::default();
    limits.idle_after = Duration::from_millis(20);
    let world = World::with_limits(engine(), limits).await;
    // Held, so that none leaves memory before the last is spawned.
    let mut tree: Vec<ThreadHandle> = Vec::new();
    for n in 0..48_usize {
        let mut request = SpawnThread::new().with_name(format!("n{n}"));
        if n >= 4 {
            request = request.with_parent(tree[(n - 4) / 2].id());
        }
        if n.is_multiple_of(3) {
            request = request.with_parent_close(ParentClose::Detach);
        }
        tree.push(world.spawn(request).await.unwrap());
    }
    let threads: Vec<ThreadId> = tree.drain(..).map(|thread| thread.id()).collect();
    let sides = (0..6).map(|side| stir(&world, &threads, 7 + side));
    futures::future::join_all(sides).await;
    // Each thread can be had again, and is where it shows to be once all is written.
    for &thread in &threads {
        let settles = async {
            loop {
                let why = match world.resume(thread).await {
                    Ok(up) => match is_where_it_shows_to_be(&world, &up).await {
                        Ok(()) => return,
                        Err(why) => why,
                    },
                    Err(refusal @ SpawnError::PathTaken { .. }) => panic!("{refusal}"),
                    Err(refusal) => refusal.to_string(),
                };
                eprintln!("not yet: {why}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(ANSWER_MAX, settles).await.is_err() {
            let (why, stored) = (world.runtime().why(thread).await, world.stored(thread).await);
            panic!("{thread} does not come to rest: {why:#?} {stored:#?}");
        }
    }
    world.end().await;
}

async fn is_where_it_shows_to_be(world: &World, up: &ThreadHandle) -> Result<(), String> {
    let (view, stored) = (up.view(), world.stored(up.id()).await.unwrap());
    let here = (view.parent, view.depth, view.path.clone());
    let there = (stored.parent.map(|(parent, _)| parent), stored.depth, stored.path.clone());
    if here != there {
        return Err(format!("{}: {here:?} is shown, {there:?} is stored", up.id()));
    }
    let Some(parent) = view.parent else { return Ok(()) };
    let above = world.stored(parent).await.unwrap();
    let (path, of) = (stored.path.unwrap(), above.path.unwrap());
    if above.depth + 1 != stored.depth || !path.is_within(&of) {
        let (depth, over) = (stored.depth, above.depth);
        return Err(format!("{} is {path} at {depth}, its parent {of} at {over}", up.id()));
    }
    Ok(())
}
