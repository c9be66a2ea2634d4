//! A runaway agent meets its bounds: each of its turns spawns four sub-agents that do the same. Its
//! tree is bounded, its budget is carved, and an agent beside it keeps its pace.
//!
//! `cargo run --release --example runaway`

use std::time::Duration;

use coppicer::{
    Budget, Limits, Runtime, Script, ScriptedEngine, SpawnThread, Step, ThreadConfig, TreeLimits,
    Usage,
};
use tokio::time::Instant;

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "multiply" => {
            let usage = Usage { output_tokens: 10, ..Usage::default() };
            let child = SpawnThread::new().with_first("multiply");
            let spawn = std::iter::repeat_n(Step::TrySpawn(Box::new(child)), 4);
            std::iter::once(Step::Usage(usage)).chain(spawn).collect()
        }
        text => Script::new().say(text),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bounds = [
        ("no more than 2,000 spawns", Budget::new().with_spawns(2_000), TreeLimits::new()),
        ("no more than 20,000 tokens", Budget::new().with_tokens(20_000), TreeLimits::new()),
        ("no more than 2,000 threads", Budget::new(), TreeLimits::new().with_tree_max(2_000)),
        ("no deeper than 5 levels", Budget::new(), TreeLimits::new().with_depth_max(5)),
        (
            "no more than 2,000 spawns a minute",
            Budget::new(),
            TreeLimits::new().with_spawns_per_minute_max(2_000),
        ),
    ];
    for (name, budget, tree) in bounds {
        let mut limits = Limits::default();
        limits.executing_max = 8;
        let runtime = Runtime::builder().engine(engine()).limits(limits).start().await?;
        let config = ThreadConfig::default().with_budget(budget).with_tree(tree);
        let wild = runtime.spawn(SpawnThread::new().with_config(config)).await?;
        let beside = runtime.spawn(SpawnThread::new()).await?;
        let start = Instant::now();
        wild.submit("multiply").await?;
        let (mut threads, mut still, mut slowest) = (0, 0, Duration::ZERO);
        while still < 20 {
            let turn = Instant::now();
            beside.run("mine").await?;
            slowest = slowest.max(turn.elapsed());
            let now = runtime.list().len();
            still = if now == threads { still + 1 } else { 0 };
            threads = now;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!(
            "{name}: it stopped at {} threads after {:.1?}; the slowest turn beside it took {:.1?}",
            threads - 1,
            start.elapsed(),
            slowest,
        );
        runtime.shutdown(Duration::from_secs(30)).await?;
        assert!(runtime.audit().await.is_empty(), "something is still held");
    }
    Ok(())
}
