//! What do a spawn, a turn and a status query cost, beside the floor and the locked map?
//!
//! Units of work: one thread spawned; one submission from `run` to its outcome with an engine that
//! answers at once and a store in memory; one question for a thread's status. Baselines in the same
//! run: a tokio task with a channel, a linked ractor actor, and the locked map that we replace
//! (`RwLock<HashMap>` with a task per thread).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coppicer::{Runtime, Script, ScriptedEngine, SpawnThread, Step};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};

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
    let engine = ScriptedEngine::always(Script::new().then(Step::Say("done".into())));
    Runtime::builder().engine(engine).start().await.expect("a runtime with an engine starts")
}

// The floor: a task, a channel, an answer.

type Ask = oneshot::Sender<u32>;

fn raw_task() -> mpsc::Sender<Ask> {
    let (to, mut from) = mpsc::channel::<Ask>(512);
    tokio::spawn(async move {
        while let Some(reply) = from.recv().await {
            let _unread = reply.send(1);
        }
    });
    to
}

async fn ask(task: &mpsc::Sender<Ask>) -> u32 {
    let (reply, answer) = oneshot::channel();
    task.send(reply).await.expect("the task lives");
    answer.await.expect("the task answers")
}

// The locked map, as the system that we replace has it.

#[derive(Clone, Default)]
#[expect(clippy::disallowed_types, reason = "this is the locked map that is measured")]
struct LockedMap(Arc<tokio::sync::RwLock<HashMap<u64, mpsc::Sender<Ask>>>>);

impl LockedMap {
    async fn spawn(&self, id: u64) {
        self.0.write().await.insert(id, raw_task());
    }

    async fn status(&self, id: u64) -> u32 {
        let task = self.0.read().await.get(&id).cloned().expect("the thread is there");
        ask(&task).await
    }
}

// Raw ractor.

struct Echo;

enum EchoMsg {
    Ask(RpcReplyPort<u32>),
}

impl Actor for Echo {
    type Msg = EchoMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<EchoMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<EchoMsg>,
        EchoMsg::Ask(reply): EchoMsg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let _unread = reply.send(1);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<EchoMsg>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

async fn actor() -> ActorRef<EchoMsg> {
    Actor::spawn(None, Echo, ()).await.expect("an actor starts").0
}

/// Times `count` rounds of `round`, without the setup.
async fn timed<F: Future>(count: u64, mut round: impl FnMut(u64) -> F) -> Duration {
    let begin = now();
    for n in 0..count {
        round(n).await;
    }
    begin.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn spawn(c: &mut Criterion) {
    let tokio = tokio_runtime();
    let mut group = c.benchmark_group("spawn/1_thread");
    group.throughput(Throughput::Elements(1));
    group.bench_function("raw_tokio", |b| {
        b.iter_custom(|count| tokio.block_on(timed(count, |_| async { drop(raw_task()) })));
    });
    group.bench_function("locked_map", |b| {
        b.iter_custom(|count| {
            tokio.block_on(async {
                let map = LockedMap::default();
                timed(count, |n| map.spawn(n)).await
            })
        });
    });
    group.bench_function("raw_ractor_linked", |b| {
        b.iter_custom(|count| {
            tokio.block_on(async {
                let root = actor().await;
                let took = timed(count, |_| async {
                    drop(Actor::spawn_linked(None, Echo, (), root.get_cell()).await);
                })
                .await;
                root.stop_and_wait(None, None).await.expect("the root stops");
                took
            })
        });
    });
    group.bench_function("coppicer", |b| {
        b.iter_custom(|count| {
            tokio.block_on(async {
                let runtime = coppicer_runtime().await;
                let took = timed(count, |_| async {
                    runtime.spawn(SpawnThread::new()).await.expect("a thread is spawned");
                })
                .await;
                runtime.shutdown(Duration::from_secs(60)).await.expect("it ends");
                took
            })
        });
    });
    group.finish();
}

fn turn(c: &mut Criterion) {
    let tokio = tokio_runtime();
    let mut group = c.benchmark_group("turn/1_submission");
    group.throughput(Throughput::Elements(1));
    group.bench_function("raw_ractor_spawn_linked_and_call", |b| {
        b.iter_custom(|count| {
            tokio.block_on(async {
                let root = actor().await;
                timed(count, |_| async {
                    let spawned = Actor::spawn_linked(None, Echo, (), root.get_cell()).await;
                    let turn = spawned.expect("an actor starts").0;
                    drop(turn.call(EchoMsg::Ask, None).await);
                    turn.stop(None);
                })
                .await
            })
        });
    });
    group.bench_function("coppicer", |b| {
        b.iter_custom(|count| {
            tokio.block_on(async {
                let runtime = coppicer_runtime().await;
                let thread = runtime.spawn(SpawnThread::new()).await.expect("a thread is spawned");
                let took = timed(count, |_| async {
                    thread.run("go").await.expect("a turn has an outcome");
                })
                .await;
                runtime.shutdown(Duration::from_secs(60)).await.expect("it ends");
                took
            })
        });
    });
    group.finish();
}

fn status(c: &mut Criterion) {
    let tokio = tokio_runtime();
    let mut group = c.benchmark_group("status/1_of_1000_threads");
    group.throughput(Throughput::Elements(1));
    group.bench_function("locked_map_ask", |b| {
        b.iter_custom(|count| {
            tokio.block_on(async {
                let map = LockedMap::default();
                for n in 0..RESIDENT as u64 {
                    map.spawn(n).await;
                }
                timed(count, |n| map.status(n % RESIDENT as u64)).await
            })
        });
    });
    group.bench_function("raw_ractor_call", |b| {
        b.iter_custom(|count| {
            tokio.block_on(async {
                let echo = actor().await;
                timed(count, |_| async { drop(echo.call(EchoMsg::Ask, None).await) }).await
            })
        });
    });
    group.bench_function("coppicer_get_and_status", |b| {
        b.iter_custom(|count| {
            tokio.block_on(async {
                let runtime = coppicer_runtime().await;
                let mut ids = Vec::with_capacity(RESIDENT);
                for _ in 0..RESIDENT {
                    let spawned = runtime.spawn(SpawnThread::new()).await;
                    ids.push(spawned.expect("a thread is spawned").id());
                }
                let look = |n: u64| std::future::ready(runtime.status(ids[n as usize % RESIDENT]));
                let took = timed(count, look).await;
                runtime.shutdown(Duration::from_secs(60)).await.expect("it ends");
                took
            })
        });
    });
    group.finish();
}

criterion_group!(benches, spawn, turn, status);
criterion_main!(benches);
