//! How many instructions does an operation take?
//!
//! Where times are too noisy: a fixed number of one operation, on one worker, to be run under callgrind.
//! The difference of two runs of different length is the operation's own, without what begins and ends
//! the process. `just instructions` (`.ci/instructions`) does that for each and prints a table;
//! `just callgrind turn` leaves a profile.
//!
//! `target/release/deps/instructions-… OPERATION COUNT`; without them each runs a few times.

mod baselines;
mod size;

use std::hint::black_box;
use std::time::Duration;

use baselines::locked_map::LockedMap;
use baselines::ractor_actor::RawActor;
use coppicer::{
    ForkPoint, Runtime, Script, ScriptedEngine, SpawnThread, Step, Submission, SubmitError,
    TapOptions, ThreadHandle, ThreadId,
};
use size::Size;

/// Operations by their names, in the order of the table. The script takes its list from the small run.
const OPERATIONS: [&str; 12] = [
    "spawn",
    "turn",
    "turn-ten-taps",
    "close",
    "fork",
    "status",
    "look-up",
    "answer",
    "refusal",
    "ractor-turn",
    "ractor-call",
    "map-turn",
];

/// How long a shutdown or a close may take: valgrind is slow.
const END: Duration = Duration::from_secs(600);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime starts");
    match &args[..] {
        [operation, count] if OPERATIONS.contains(&operation.as_str()) => {
            let count = count.parse().expect("COUNT is a number");
            tokio.block_on(run(operation, count));
        }
        _ if Size::of_args().is_left_out("instructions") => {}
        _ => {
            for operation in OPERATIONS {
                tokio.block_on(run(operation, 3));
                println!("{operation}");
            }
        }
    }
}

async fn start(script: Script) -> Runtime {
    let engine = ScriptedEngine::always(script);
    Runtime::builder().engine(engine).start().await.expect("a runtime with an engine starts")
}

async fn thread(runtime: &Runtime) -> ThreadHandle {
    runtime.spawn(SpawnThread::new()).await.expect("a thread is spawned")
}

async fn run(operation: &str, count: usize) {
    match operation {
        "ractor-turn" | "ractor-call" => {
            let root = RawActor::start().await.expect("an actor starts");
            for _ in 0..count {
                let answer =
                    if operation == "ractor-turn" { root.turn().await } else { root.ask().await };
                black_box(answer.expect("an actor answers"));
            }
            root.end_all().await.expect("the root stops");
        }
        "map-turn" => {
            let map = LockedMap::default();
            let thread = map.spawn(ThreadId::from_parts(1, [7; 10])).await;
            for n in 0..count {
                black_box(thread.run(n as u64, "go").await.expect("a turn ends"));
            }
            map.close_all().await;
        }
        "refusal" => {
            let runtime = start(Script::new().then(Step::Hang)).await;
            let thread = thread(&runtime).await;
            while !matches!(thread.submit("wait").await, Err(SubmitError::Overloaded { .. })) {}
            for _ in 0..count {
                let refused = thread.submit(Submission::input("no")).await;
                assert!(black_box(refused).is_err(), "the inbox is full");
            }
            runtime.shutdown(END).await.expect("it ends");
        }
        _ => ours(operation, count).await,
    }
}

/// What needs a thread that answers at once.
async fn ours(operation: &str, count: usize) {
    let runtime = start(Script::new().say("done")).await;
    let taps = if operation == "turn-ten-taps" { 10 } else { 0 };
    let taps: Vec<_> =
        (0..taps).map(|_| runtime.tap(TapOptions::all()).expect("there is room")).collect();
    let thread = thread(&runtime).await;
    let mut held = Vec::new();
    // Closing ends what spawning begins: both loops spawn as many, and one closes them.
    if operation == "close" {
        for _ in 0..count {
            held.push(self::thread(&runtime).await);
        }
        for thread in held.drain(..) {
            thread.close(END).await.expect("a thread is closed");
        }
    }
    for _ in 0..if operation == "close" { 0 } else { count } {
        match operation {
            "spawn" => held.push(self::thread(&runtime).await),
            "fork" => {
                let fork = runtime.fork(thread.id(), ForkPoint::Interrupted).await;
                held.push(fork.expect("a thread is forked"));
            }
            "turn" | "turn-ten-taps" => {
                drop(thread.run("go").await.expect("a turn has an outcome"));
            }
            "status" => drop(black_box(thread.status())),
            "look-up" => drop(black_box(runtime.get(thread.id()))),
            "answer" => drop(black_box(thread.interrupt().await)),
            other => unreachable!("{other} is in the list"),
        }
    }
    drop((held, taps));
    // Those that were spawned are not closed: the process ends without it, and so does what is counted.
    if operation != "spawn" && operation != "fork" {
        runtime.shutdown(END).await.expect("it ends");
    }
}
