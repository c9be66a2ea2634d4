//! A runaway agent: each of its turns spawns four children that do the same, without end. Whichever
//! bound is there stops it, the engine sees typed refusals, and another tree keeps its pace.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Budget, Engine, EngineError, EngineSession, LeaseKind, LimitReached, Limits, OpenContext,
    SpawnError, SpawnThread, ThreadConfig, TreeLimits, TurnContext, TurnInput, TurnOutput, Usage,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// What the engines of one test saw.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    turns: u64,
    spawned: u64,
    refusals: Vec<LimitReached>,
}

impl Engine for Seen {
    fn open(&self, _: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let session = Box::new(Agent(self.clone())) as Box<dyn EngineSession>;
        futures::future::ready(Ok(session)).boxed()
    }
}

struct Agent(Seen);

impl EngineSession for Agent {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        async move {
            if input.text() != "multiply" {
                return Ok(TurnOutput::done());
            }
            self.0.0.lock().turns += 1;
            cx.usage(Usage { output_tokens: 10, cost_micros: 1, ..Usage::default() });
            tokio::select! {
                biased;
                () = cx.cancelled() => return Err(EngineError::Stopped),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
            for _ in 0..4 {
                match cx.spawn(SpawnThread::new().with_first("multiply")).await {
                    Ok(_) => self.0.0.lock().spawned += 1,
                    Err(SpawnError::Limit(reached)) => self.0.0.lock().refusals.push(reached),
                    Err(SpawnError::FirstSubmission(refusal)) => {
                        if let coppicer::SubmitError::Limit(reached) = *refusal {
                            self.0.0.lock().refusals.push(reached);
                        }
                    }
                    Err(SpawnError::Fenced) => return Err(EngineError::Stopped),
                    Err(other) => panic!("no typed limit: {other:?}"),
                }
            }
            Ok(TurnOutput::done())
        }
        .boxed()
    }
}

/// Lets one run away under these bounds, and says what its engines saw once nothing moves any more.
/// Meanwhile another tree runs turns beside it, at its own pace.
async fn run_away(config: ThreadConfig, change: impl FnOnce(&mut Limits)) -> Log {
    let mut limits = Limits::default();
    limits.executing_max = 4;
    limits.spawns_per_minute_max = 1_000_000;
    change(&mut limits);
    let seen = Seen::default();
    let world = World::with_limits(seen.clone(), limits).await;
    let beside = world.spawn(SpawnThread::new()).await.unwrap();
    let wild = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    wild.submit("multiply").await.unwrap();

    for _ in 0..20 {
        let start = tokio::time::Instant::now();
        assert_eq!(beside.run("mine").await.unwrap().name(), "completed");
        // Its fair share: at most one turn of the runaway before each of its own.
        assert!(start.elapsed() <= Duration::from_millis(15), "{:?}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let moves = || {
        let log = seen.0.lock();
        (log.turns, log.refusals.len())
    };
    let (mut before, mut still) = (moves(), 0);
    while still < 3 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        still = if moves() == before { still + 1 } else { 0 };
        before = moves();
    }
    assert_eq!(beside.run("fine").await.unwrap().name(), "completed");
    let audit = world.audit().await;
    assert_eq!(audit.count(LeaseKind::TurnPermit), 0, "it came to rest: {audit:?}");
    let report = world.close(wild.id(), BUDGET).await.unwrap();
    assert!(report.timed_out.is_empty());
    assert!(world.audit().await.is_clean());
    world.end().await;
    std::mem::take(&mut *seen.0.lock())
}

fn met(log: &Log) -> BTreeSet<&'static str> {
    log.refusals.iter().map(|reached| reached.limit).collect()
}

fn tree(limits: TreeLimits) -> ThreadConfig {
    ThreadConfig::default().with_tree(limits)
}

fn budget(budget: Budget) -> ThreadConfig {
    ThreadConfig::default().with_budget(budget)
}

#[tokio::test(start_paused = true)]
async fn its_budget_of_spawns_stops_it() {
    let log = run_away(budget(Budget::new().with_spawns(100)), |_| {}).await;
    assert_eq!((log.spawned, met(&log)), (100, ["budget.spawns"].into()));
    assert_eq!(log.turns, 101);
    assert_eq!(log.refusals.len(), 101 * 4 - 100, "each further one was refused");
}

#[tokio::test(start_paused = true)]
async fn the_size_of_its_tree_stops_it() {
    let log = run_away(tree(TreeLimits::new().with_tree_max(60)), |_| {}).await;
    assert_eq!((log.spawned, met(&log)), (59, ["tree_max"].into()));
    assert!(log.refusals.iter().all(|reached| reached.holders.len() == 16), "16 are named");
}

#[tokio::test(start_paused = true)]
async fn the_depth_of_its_tree_stops_it() {
    let log = run_away(tree(TreeLimits::new().with_depth_max(3)), |_| {}).await;
    assert_eq!((log.spawned, met(&log)), (4 + 16 + 64, ["depth_max"].into()));
}

#[tokio::test(start_paused = true)]
async fn the_children_that_a_thread_may_have_slow_it() {
    let limits = TreeLimits::new().with_children_max(2).with_depth_max(4);
    let log = run_away(tree(limits), |_| {}).await;
    assert_eq!((log.spawned, met(&log)), (2 + 4 + 8 + 16, ["children_max", "depth_max"].into()));
}

#[tokio::test(start_paused = true)]
async fn the_rate_of_its_tree_stops_it() {
    let log = run_away(tree(TreeLimits::new().with_spawns_per_minute_max(50)), |_| {}).await;
    assert_eq!((log.spawned, met(&log)), (50, ["spawns_per_minute_max"].into()));
    let minute = Duration::from_secs(60);
    assert!(log.refusals.iter().all(|met| met.retry_after.is_some_and(|wait| wait <= minute)));
}

#[tokio::test(start_paused = true)]
async fn its_tokens_stop_it() {
    let log = run_away(budget(Budget::new().with_tokens(500)), |_| {}).await;
    assert!((50..=54).contains(&log.turns), "10 tokens a turn, 4 turns at once: {}", log.turns);
    assert!(log.spawned <= 54 * 4, "{}", log.spawned);
}

#[tokio::test(start_paused = true)]
async fn its_cost_stops_it() {
    let log = run_away(budget(Budget::new().with_cost_micros(50)), |_| {}).await;
    assert!((50..=54).contains(&log.turns), "{}", log.turns);
}

#[tokio::test(start_paused = true)]
async fn its_time_stops_it() {
    let log = run_away(budget(Budget::new().with_wall_ms(500)), |_| {}).await;
    assert!((45..=60).contains(&log.turns), "10 ms a turn: {}", log.turns);
}

#[tokio::test(start_paused = true)]
async fn what_the_runtime_has_room_for_stops_it() {
    let log = run_away(ThreadConfig::default(), |limits| {
        limits.tree_max = 80;
        limits.registered_max = 70;
    })
    .await;
    assert_eq!(met(&log), ["registered_max"].into());
    assert_eq!(log.spawned, 68, "beside the two roots");
}
