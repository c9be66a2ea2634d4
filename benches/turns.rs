//! What do a spawn, a turn and a status query cost, beside the floor, the locked map and the peers?
//!
//! Units of work: one thread spawned; one submission from `run` to its outcome with an engine that
//! answers at once and a store in memory; one question for a thread's status. Baselines in the same
//! run: a tokio task with a channel, linked actors of ractor and of kameo, and the locked map that we
//! replace. `coppicer stress` has the same at the sizes of the targets, without kameo.

mod baselines;
#[path = "baselines/kameo_actor.rs"]
mod kameo_actor;

use std::hint::black_box;
use std::time::{Duration, Instant};

use baselines::keeper;
use baselines::locked_map::LockedMap;
use baselines::ractor_actor::RawActor;
use baselines::tokio_task::Task;
use coppicer::{Runtime, Script, ScriptedEngine, SpawnThread, ThreadId};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use kameo_actor::KameoActor;

/// Threads that exist while one is asked.
const RESIDENT: usize = 1_000;

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a tokio runtime starts")
}

async fn coppicer_runtime() -> Runtime {
    let engine = ScriptedEngine::always(Script::new().say("done"));
    Runtime::builder().engine(engine).start().await.expect("a runtime with an engine starts")
}

async fn end(runtime: Runtime) {
    runtime.shutdown(Duration::from_secs(60)).await.expect("it ends");
}

async fn raw_actor() -> RawActor {
    RawActor::start().await.expect("an actor starts")
}

fn id(n: u64) -> ThreadId {
    ThreadId::from_parts(n, [7; 10])
}

/// Times `count` rounds of `round`, without the setup.
async fn timed<F: Future>(count: u64, mut round: impl FnMut(u64) -> F) -> Duration {
    let begin = now();
    for n in 0..count {
        black_box(round(n).await);
    }
    begin.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// A group whose benches each run on a runtime with two workers, in a task of one of them.
fn bench<F>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, run: impl Fn(u64) -> F)
where
    F: Future<Output = Duration> + Send + 'static,
{
    let tokio = tokio_runtime();
    group.bench_function(name, |b| {
        b.iter_custom(|count| {
            let run = tokio.spawn(run(count));
            tokio.block_on(run).expect("a bench does not panic")
        });
    });
}

fn spawn(c: &mut Criterion) {
    let mut group = c.benchmark_group("spawn/1_thread");
    group.throughput(Throughput::Elements(1));
    bench(&mut group, "raw_tokio", |count| timed(count, |_| async { drop(Task::spawn()) }));
    bench(&mut group, "locked_map", |count| async move {
        let map = LockedMap::default();
        let took = timed(count, |n| map.spawn(id(n))).await;
        map.close_all().await;
        took
    });
    bench(&mut group, "raw_ractor_linked", |count| async move {
        let root = raw_actor().await;
        let took = timed(count, |_| root.spawn()).await;
        root.end_all().await.expect("the root stops");
        took
    });
    bench(&mut group, "kameo_linked", |count| async move {
        let root = KameoActor::start();
        let took = timed(count, |_| root.spawn()).await;
        root.end().await.expect("the root stops");
        took
    });
    bench(&mut group, "coppicer", |count| async move {
        let runtime = coppicer_runtime().await;
        let took = timed(count, |_| runtime.spawn(SpawnThread::new())).await;
        end(runtime).await;
        took
    });
    group.finish();
}

fn turn(c: &mut Criterion) {
    let mut group = c.benchmark_group("turn/1_submission");
    group.throughput(Throughput::Elements(1));
    bench(&mut group, "raw_tokio_spawn_and_ask", |count| timed(count, |_| Task::turn()));
    bench(&mut group, "locked_map", |count| async move {
        let thread = LockedMap::default().spawn(id(1)).await;
        timed(count, |n| thread.run(n, "go")).await
    });
    bench(&mut group, "raw_ractor_spawn_linked_and_call", |count| async move {
        let root = raw_actor().await;
        let took = timed(count, |_| root.turn()).await;
        root.end_all().await.expect("the root stops");
        took
    });
    bench(&mut group, "kameo_spawn_linked_and_ask", |count| async move {
        let root = KameoActor::start();
        let took = timed(count, |_| root.turn()).await;
        root.end().await.expect("the root stops");
        took
    });
    bench(&mut group, "coppicer", |count| async move {
        let runtime = coppicer_runtime().await;
        let thread = runtime.spawn(SpawnThread::new()).await.expect("a thread is spawned");
        let took = timed(count, |_| thread.run("go")).await;
        end(runtime).await;
        took
    });
    group.finish();
}

fn status(c: &mut Criterion) {
    let mut group = c.benchmark_group("status/1_of_1000_threads");
    group.throughput(Throughput::Elements(1));
    bench(&mut group, "raw_tokio_ask", |count| async move {
        let task = Task::spawn();
        timed(count, |_| task.ask()).await
    });
    bench(&mut group, "locked_map", |count| async move {
        let map = LockedMap::default();
        for n in 0..RESIDENT as u64 {
            map.spawn(id(n)).await;
        }
        let took = timed(count, |n| {
            let map = &map;
            async move { map.get(id(n % RESIDENT as u64)).await.map(|thread| thread.status()) }
        })
        .await;
        map.close_all().await;
        took
    });
    bench(&mut group, "raw_ractor_call", |count| async move {
        let actor = raw_actor().await;
        timed(count, |_| actor.ask()).await
    });
    bench(&mut group, "kameo_ask", |count| async move {
        let actor = KameoActor::start();
        timed(count, |_| actor.ask()).await
    });
    bench(&mut group, "coppicer_get_and_status", |count| async move {
        let runtime = coppicer_runtime().await;
        let mut ids = Vec::with_capacity(RESIDENT);
        for _ in 0..RESIDENT {
            let spawned = runtime.spawn(SpawnThread::new()).await;
            ids.push(spawned.expect("a thread is spawned").id());
        }
        let look = |n: u64| std::future::ready(runtime.status(ids[n as usize % RESIDENT]));
        let took = timed(count, look).await;
        end(runtime).await;
        took
    });
    group.finish();
}

criterion_group!(benches, spawn, turn, status);
criterion_main!(benches);
