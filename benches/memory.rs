//! What does a thread that does nothing cost in bytes, and an operation in allocations?
//!
//! Counted by the allocator, so these numbers do not depend on the machine: bytes that are asked for and
//! kept by each thread, without the slack of the allocator (`coppicer stress idle` has what a process
//! grows by); allocations and bytes of one operation on a store in memory, wherever in the process they
//! happen. Baselines in the same run: a tokio task with its channel, the locked map, linked actors of
//! ractor and of kameo.
//!
//! `cargo bench --bench memory`; `-- --json` prints one object a figure, as `coppicer stress` does.

mod baselines;
#[path = "../src/cli/stress/figure.rs"]
#[allow(dead_code, reason = "the command has use for more of it")]
mod figure;
#[path = "baselines/kameo_actor.rs"]
#[allow(dead_code, reason = "the bench of turns has use for more of it")]
mod kameo_actor;
mod size;

use std::alloc::System;
use std::time::Duration;

use baselines::keeper;
use baselines::locked_map::LockedMap;
use baselines::ractor_actor::RawActor;
use baselines::tokio_task::Task;
use coppicer::{
    ForkPoint, Runtime, Script, ScriptedEngine, SpawnThread, Step, Submission, SubmitError,
    ThreadHandle, ThreadId,
};
use figure::{Figure, Target};
use kameo_actor::KameoActor;
use size::Size;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let size = Size::of_args();
    if size.is_left_out("memory") {
        return;
    }
    let json = std::env::args().any(|arg| arg == "--json");
    // One worker: whatever happens is over when the next thing begins.
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime starts");
    let figures = tokio.block_on(async {
        let mut figures = idle(size.pick(200, 20_000, 20_000)).await;
        figures.extend(operations(size.pick(20, 1_000, 1_000)).await);
        figures
    });
    for figure in figures {
        if json {
            println!("{}", serde_json::to_string(&figure).expect("a figure is JSON"));
            continue;
        }
        let beside = figure.baseline.as_deref().zip(figure.ratio);
        let beside =
            beside.map_or_else(String::new, |(name, ratio)| format!("{ratio:.2} x {name}"));
        let target = figure.target.map_or_else(String::new, |target| target.to_string());
        let (name, value) = (&figure.figure, figure.value);
        println!("{name:<58} {value:>10.1} {:<12} {beside:<24} {target}", figure.unit);
    }
}

fn id(n: usize) -> ThreadId {
    ThreadId::from_parts(n as u64, [7; 10])
}

/// Lets everybody come to rest: nothing was allocated or freed for a while.
async fn settle() {
    loop {
        let region = Region::new(ALLOCATOR);
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
        let change = region.change();
        if change.allocations == 0 && change.deallocations == 0 {
            return;
        }
    }
}

/// Bytes that are kept.
fn kept(stats: Stats) -> f64 {
    stats.bytes_allocated.cast_signed().wrapping_sub(stats.bytes_deallocated.cast_signed()) as f64
}

// Threads that do nothing.

async fn idle(threads: usize) -> Vec<Figure> {
    let warm = threads / 10;
    let root = RawActor::start().await.expect("an actor starts");
    let mut actors = Vec::with_capacity(warm + threads);
    for _ in 0..warm {
        actors.push(root.spawn().await.expect("an actor starts"));
    }
    let region = Region::new(ALLOCATOR);
    for _ in 0..threads {
        actors.push(root.spawn().await.expect("an actor starts"));
    }
    settle().await;
    let ractor = kept(region.change()) / threads as f64;
    drop(actors);
    root.end_all().await.expect("the root stops");
    settle().await;

    let root = KameoActor::start();
    let mut actors = Vec::with_capacity(warm + threads);
    for _ in 0..warm {
        actors.push(root.spawn().await);
    }
    let region = Region::new(ALLOCATOR);
    for _ in 0..threads {
        actors.push(root.spawn().await);
    }
    settle().await;
    let kameo = kept(region.change()) / threads as f64;
    drop(actors);
    root.end().await.expect("the root stops");
    settle().await;

    let map = LockedMap::default();
    for n in 0..warm {
        map.spawn(id(n)).await;
    }
    let region = Region::new(ALLOCATOR);
    for n in 0..threads {
        map.spawn(id(warm + n)).await;
    }
    settle().await;
    let locked = kept(region.change()) / threads as f64;
    map.close_all().await;
    settle().await;

    let mut tasks: Vec<Task> = Vec::with_capacity(threads);
    let region = Region::new(ALLOCATOR);
    tasks.extend((0..threads).map(|_| Task::spawn()));
    settle().await;
    let raw = kept(region.change()) / threads as f64;
    Task::end_all(tasks).await;

    let mut ours = [0.0; 2];
    for (run, bytes) in [false, true].into_iter().zip(&mut ours) {
        let runtime = runtime(Script::new().say("done")).await;
        let mut held = spawn(&runtime, warm, run).await;
        held.reserve_exact(threads);
        settle().await;
        let region = Region::new(ALLOCATOR);
        held.append(&mut spawn(&runtime, threads, run).await);
        settle().await;
        *bytes = kept(region.change()) / threads as f64;
        drop(held);
        end(runtime).await;
    }
    let [fresh, after] = ours;
    let figure =
        |name: &str, value| Figure::new("idle", format!("asked for by {name}"), value, "B");
    vec![
        figure("a thread with an actor, before a turn", fresh)
            .beside("raw ractor", ractor)
            .judged(Target::RatioAtMost(1.25), !cfg!(debug_assertions)),
        figure("a thread with an actor, before a turn", fresh).beside("kameo", kameo),
        figure("a thread with an actor, before a turn", fresh).beside("locked map", locked),
        figure("a thread with an actor, before a turn", fresh).beside("raw tokio", raw),
        figure("a thread with an actor, after a turn", after).beside("raw ractor", ractor),
    ]
}

async fn runtime(script: Script) -> Runtime {
    let engine = ScriptedEngine::always(script);
    Runtime::builder().engine(engine).start().await.expect("a runtime with an engine starts")
}

async fn end(runtime: Runtime) {
    runtime.shutdown(Duration::from_secs(60)).await.expect("it ends");
}

async fn spawn(runtime: &Runtime, count: usize, run: bool) -> Vec<ThreadHandle> {
    let mut threads = Vec::with_capacity(count);
    for _ in 0..count {
        let thread = runtime.spawn(SpawnThread::new()).await.expect("a thread is spawned");
        if run {
            thread.run("go").await.expect("a turn has an outcome");
        }
        threads.push(thread);
    }
    threads
}

// Operations.

/// Counts what `count` runs of an operation allocate.
async fn counted<F: Future>(count: usize, mut run: impl FnMut(usize) -> F) -> (f64, f64) {
    for n in 0..=count / 10 {
        drop(run(n).await);
    }
    settle().await;
    let region = Region::new(ALLOCATOR);
    for n in 0..count {
        drop(run(n).await);
    }
    settle().await;
    let change = region.change();
    (change.allocations as f64 / count as f64, change.bytes_allocated as f64 / count as f64)
}

async fn operations(count: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut give = |name: &str, (allocations, bytes): (f64, f64)| {
        let figure =
            |what, value, unit| Figure::new("allocations", format!("{name}, {what}"), value, unit);
        figures.push(figure("allocations", allocations, "allocations"));
        figures.push(figure("bytes", bytes, "B"));
    };

    let runtime = runtime(Script::new().say("done")).await;
    let thread = runtime.spawn(SpawnThread::new()).await.expect("a thread is spawned");
    let close = Duration::from_secs(1);
    give("a turn", counted(count, |_| thread.run("go")).await);
    give("a status through a handle", counted(count, |_| async { thread.status() }).await);
    give("a look-up", counted(count, |_| async { runtime.get(thread.id()) }).await);
    give("an answer of the actor", counted(count, |_| thread.interrupt()).await);
    let spawned = |_| async {
        let thread = runtime.spawn(SpawnThread::new()).await.expect("a thread is spawned");
        thread.close(close).await
    };
    give("a spawn and a close", counted(count, spawned).await);
    let forked = |_| async {
        let fork = runtime.fork(thread.id(), ForkPoint::Interrupted).await;
        fork.expect("a thread is forked").close(close).await
    };
    give("a fork and a close", counted(count, forked).await);
    drop(thread);
    end(runtime).await;

    let root = RawActor::start().await.expect("an actor starts");
    give("raw ractor: a spawn, a call and a stop", counted(count, |_| root.turn()).await);
    give("raw ractor: a call", counted(count, |_| root.ask()).await);
    root.end_all().await.expect("the root stops");
    let locked = LockedMap::default().spawn(id(1)).await;
    give("locked map: a turn", counted(count, |n| locked.run(n as u64, "go")).await);

    figures.push(refusal(count).await);
    figures
}

/// What a refusal allocates when an inbox is full. The submission is the caller's.
async fn refusal(count: usize) -> Figure {
    let runtime = runtime(Script::new().then(Step::Hang)).await;
    let thread = runtime.spawn(SpawnThread::new()).await.expect("a thread is spawned");
    while !matches!(thread.submit("wait").await, Err(SubmitError::Overloaded { .. })) {}
    let mut given: Vec<Option<Submission>> =
        (0..=2 * count).map(|_| Some(Submission::input("no"))).collect();
    let (allocations, _) = counted(count, |_| {
        let submission = given.pop().flatten().expect("as many as runs");
        thread.submit(submission)
    })
    .await;
    drop(thread);
    end(runtime).await;
    let figure = Figure::new("refuse", "allocations of a refusal", allocations, "allocations");
    figure.judged(Target::Exactly(0.0), true)
}
