//! A console under load: threads in trees of twenty, whose turns make so many facts a second.
//!
//! `cargo run -p coppicer-console --example load -- [THREADS] [FACTS_A_SECOND] [SECONDS] [PORT]`, without
//! arguments 2,000 threads and 4,000 facts for a minute. Prints the address of the console, then what was
//! really made.

use std::error::Error;
use std::time::Duration;

use coppicer_actors::{Script, ScriptedEngine, Step, TapFilter, TapOptions, ThreadHandle};
use coppicer_console::{Console, ConsoleOptions};
use coppicer_messages::{EventKind, SpawnThread, Usage};
use coppicer_supervisor::Runtime;
use tokio::time::{Instant, interval};

/// Threads of one tree.
const TREE: usize = 20;

/// Facts of one turn, about; they come while it runs.
const FACTS_OF_A_TURN: u64 = 14;

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| {
        let text = input.text();
        let number: u64 = text.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(1);
        if number.is_multiple_of(997) {
            return Script::new().panic("the engine of this turn is broken");
        }
        let usage =
            Usage { input_tokens: 100 + number % 50, output_tokens: 20, ..Usage::default() };
        Script::new()
            .then(Step::Usage(usage))
            .call("shell", format!("{{\"cmd\":\"step {number}\"}}"), "done")
            .sleep(Duration::from_millis(50 + number % 400))
            .then(Step::Delta("so ".to_owned()))
            .say(format!("turn {number} is done"))
    })
}

async fn spawn(runtime: &Runtime, count: usize) -> Result<Vec<ThreadHandle>, Box<dyn Error>> {
    let mut threads: Vec<ThreadHandle> = Vec::with_capacity(count);
    while threads.len() < count {
        let place = threads.len() % TREE;
        let mut request = SpawnThread::new().with_name(format!("worker_{place}"));
        if place > 0 {
            // The first below the root, then two below each.
            let above = threads.len() - place + (place - 1) / 2;
            request = request.with_parent(threads[above].id());
        }
        threads.push(runtime.spawn(request).await?);
    }
    Ok(threads)
}

/// Crashes are part of the load; their messages would only hide the others.
#[expect(clippy::disallowed_methods, reason = "this process is the host, and has one runtime")]
fn quieten_crashes() {
    std::panic::set_hook(Box::new(|_| {}));
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    quieten_crashes();
    let mut args = std::env::args().skip(1);
    let mut number = |default: usize| args.next().map_or(Ok(default), |text| text.parse());
    let (count, a_second, seconds, port) =
        (number(2_000)?, number(4_000)?, number(60)?, number(0)?);
    let folder = tempfile::tempdir()?;
    let runtime = Runtime::builder().engine(engine()).start().await?;
    let listen = format!("127.0.0.1:{port}").parse()?;
    let options = ConsoleOptions::new(folder.path().join("console.token"))
        .listen(listen)
        .label("no model: a load for the console");
    let console = Console::start(&runtime, options)?;
    println!("console: {}", console.url());

    let threads = spawn(&runtime, count).await?;
    println!("{count} threads");
    // Counts every fact, and takes none.
    let tap = runtime.tap(TapOptions::matching(TapFilter::all().kinds([EventKind::Damage])))?;
    let began = Instant::now();
    let mut pace = interval(Duration::from_millis(10));
    let mut next = 0;
    while began.elapsed() < Duration::from_secs(seconds as u64) {
        pace.tick().await;
        let due = began.elapsed().as_millis() as u64 * a_second as u64 / 1_000;
        let behind = due.saturating_sub(tap.counts().emitted) / FACTS_OF_A_TURN;
        for _ in 0..behind.min(64) {
            next += 1;
            // A full inbox is one of the things to look at.
            let _ = threads[next * 7 % count].submit(format!("step {next}")).await;
        }
    }
    let made = tap.counts().emitted;
    let took = began.elapsed().as_secs_f64();
    println!("{made} facts in {took:.1} s: {:.0} a second", made as f64 / took);
    drop(tap);
    drop(threads);
    runtime.shutdown(Duration::from_secs(10)).await?;
    console.stop().await;
    let audit = runtime.audit().await;
    println!("left by the audit: {}", audit.live.len());
    Ok(())
}
