//! `coppicer stress taps`: do turns slow down when ten taps listen, and does each account (P11)?

#[cfg(feature = "console")]
mod console;

use std::time::Duration;

use coppicer::{
    EventKind, Runtime, Script, ScriptedEngine, SqliteStore, Step, Tap, TapBatch, TapCounts,
    TapFilter, TapOptions, ThreadHandle,
};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::Broken;
use super::figure::Target;
use super::frame::{Common, Frame, Layout};
use super::load::{self, on_worker};
use super::rounds::Rounds;
use crate::cli::{Failure, duration};

/// Threads that run turns side by side.
const THREADS: usize = 64;

/// Taps that listen.
const TAPS: usize = 10;

/// What is left of the throughput with ten taps.
const KEPT: Target = Target::RatioAtLeast(0.9);

/// Runs the turns of 64 threads with ten taps, beside none.
///
/// Each turn says a remark, calls a tool and answers: 17 events. Taps are of all kinds: everything,
/// lifecycle, turns alone; read never, at 4 Hz, or at once, in batches of which each event is looked at.
/// Threads in memory, whose turns take no time of their own, are the worst case; on disk is what hosts
/// have. Targets: 0.9 of the throughput without taps; of each tap emitted = delivered + filtered + lost + waiting, exactly.
/// With the feature `console` also a console that one client reads, beside none; it has no target.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How long each part of a round is measured; 300ms if not said, with --quick 100ms, with --smoke 10ms.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    round: Option<Duration>,
    /// Rounds with and without taps; 20 if not said, with --quick 8, with --smoke 2.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    #[command(flatten)]
    disk: load::Disk,
}

/// How ten taps are read.
#[derive(Debug, Clone, Copy)]
enum Pace {
    Never,
    Each(Duration),
    AtOnce,
}

const PACES: [(Pace, &str); 3] = [
    (Pace::Never, "that nobody reads"),
    (Pace::Each(Duration::from_millis(250)), "read at 4 Hz"),
    (Pace::AtOnce, "read at once"),
];

/// Parts of the scenario that its progress counts.
const STEPS: usize = 2 * (PACES.len() + cfg!(feature = "console") as usize);

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let millis = Duration::from_millis;
    let time = args.round.unwrap_or(common.pick(millis(10), millis(100), millis(300)));
    let rounds = args.rounds.map_or(common.pick(2, 8, 20), |n| n as usize);
    let mut frame = Frame::new("taps", common, Layout::Figures, STEPS);
    let (mut events, mut unaccounted) = (0, 0);
    for place in ["in memory", "on disk"] {
        let script = Script::new().then(Step::Remark("on it".into())).call("tool", "{}", "done");
        let engine = ScriptedEngine::always(script.say("done"));
        let builder = Runtime::builder().engine(engine);
        let folder = args.disk.folder()?;
        let builder = if place == "on disk" {
            let store = SqliteStore::open(folder.path().join("store.db"));
            builder.store(store.map_err(|e| Broken::Disk(e.to_string()))?)
        } else {
            builder
        };
        let runtime = load::start(builder).await?;
        let threads = load::roots(&runtime, THREADS).await?;
        on_worker(turns(threads.clone(), time)).await?;
        for (pace, name) in PACES {
            frame.step(&format!("{place}, ten taps {name}"));
            let mut with = Rounds::new(format!("turns {place}, ten taps {name}"), "turns/s");
            for round in 0..rounds {
                // In turns, each as often the first as the second.
                for taps in [round % 2 == 0, round % 2 != 0] {
                    if !taps {
                        let rate = on_worker(turns(threads.clone(), time)).await?;
                        with.beside("none", rate);
                        continue;
                    }
                    let listening = listen(&runtime, pace)?;
                    with.ours(on_worker(turns(threads.clone(), time)).await?);
                    for tap in listening {
                        let counts = tap.counts().await?;
                        let TapCounts { emitted, delivered, filtered, lost, waiting, .. } = counts;
                        events += emitted;
                        unaccounted += emitted.abs_diff(delivered + filtered + lost + waiting);
                    }
                }
            }
            frame.rounds(with, &[(Some("none"), KEPT)]);
        }
        #[cfg(feature = "console")]
        {
            frame.step(&format!("{place}, a console with one reader"));
            frame.rounds(console::measure(&runtime, &threads, place, rounds, time).await?, &[]);
        }
        drop(threads);
        load::end(runtime).await?;
    }
    frame.give(frame.figure("events, times taps", events as f64, "events"));
    let unaccounted =
        frame.figure("events that a tap does not account for", unaccounted as f64, "");
    frame.judge(unaccounted, Target::Exactly(0.0));
    Ok(frame)
}

/// A tap, alone or with who reads it.
enum Listening {
    Unread(Tap),
    Read(JoinHandle<TapCounts>, oneshot::Sender<()>),
}

impl Listening {
    async fn counts(self) -> Result<TapCounts, Broken> {
        match self {
            Self::Unread(tap) => Ok(tap.counts()),
            Self::Read(reader, over) => {
                // A reader that has ended hears of nothing any more.
                let _ended = over.send(());
                Ok(reader.await?)
            }
        }
    }
}

fn listen(runtime: &Runtime, pace: Pace) -> Result<Vec<Listening>, Broken> {
    let mut listening = Vec::with_capacity(TAPS);
    for n in 0..TAPS {
        let filter = match n {
            0..5 => TapFilter::all(),
            5..8 => TapFilter::all().lifecycle(),
            _ => TapFilter::all().kinds([EventKind::Turn]),
        };
        let tap = runtime.tap(TapOptions::matching(filter)).map_err(Broken::Tap)?;
        listening.push(match pace {
            Pace::Never => Listening::Unread(tap),
            Pace::Each(pause) => read(tap, Some(pause)),
            Pace::AtOnce => read(tap, None),
        });
    }
    Ok(listening)
}

fn read(mut tap: Tap, pause: Option<Duration>) -> Listening {
    let (over, mut told) = oneshot::channel();
    let reader = tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                _ = &mut told => return tap.counts(),
                next = tap.next_batch() => match next {
                    Some(batch) => look(batch),
                    None => return tap.counts(),
                },
            }
            while let Some(batch) = tap.try_next_batch() {
                look(batch);
            }
            if let Some(pause) = pause {
                tokio::select! {
                    biased;
                    _ = &mut told => return tap.counts(),
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    });
    Listening::Read(reader, over)
}

/// Looks at each fact, as who reads all would.
fn look(batch: TapBatch) {
    if let TapBatch::Events(events) = batch {
        events.iter().for_each(|event| {
            std::hint::black_box(event.seq);
        });
    }
}

/// Turns a second.
async fn turns(threads: Vec<ThreadHandle>, time: Duration) -> Result<f64, Broken> {
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for thread in threads {
        callers.spawn(async move {
            let mut turns = 0_u64;
            while begun.elapsed() < time {
                thread.run("go").await?;
                turns += 1;
            }
            Ok::<_, Broken>(turns)
        });
    }
    let mut turns = 0;
    while let Some(caller) = callers.join_next().await {
        turns += caller??;
    }
    Ok(turns as f64 / begun.elapsed().as_secs_f64())
}
