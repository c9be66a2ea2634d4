//! What do taps cost those who publish, and do turns slow down when ten of them listen?
//!
//! Units of work: one event published, with no, one and ten taps that nobody reads; one turn of a
//! thread that answers at once, kept in memory or on disk, with none and with ten taps; 1,000,000 events from four publishers with ten taps, one of
//! which never reads and one reads 1 %, each of which must account for every event. Baseline: the same
//! without a tap, in the same run, rounds in turns.
//!
//! `cargo bench --bench taps`; `-- --quick` for a tenth of it.

mod size;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coppicer::{
    Clock, Epoch, EventKind, Fact, Limits, Runtime, RuntimeBuilder, Script, ScriptedEngine,
    SpawnThread, SqliteStore, Step, Tap, TapCounts, TapFilter, TapFrom, TapItem, TapOptions,
    ThreadEvent, ThreadHandle, ThreadId,
};
use coppicer_actors::{About, Lineage, TapHub};
use coppicer_messages::LeaseBook;
use size::Size;
use tokio::time::Instant;

/// Threads that run turns side by side.
const THREADS: usize = 64;

/// Who publishes in the flood.
const PUBLISHERS: u64 = 4;

fn main() {
    let size = Size::of_args();
    if size.is_left_out("taps") {
        return;
    }
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a tokio runtime starts");
    tokio.block_on(async {
        publishing(size);
        snapshots(size);
        flood(size.pick(10_000, 100_000, 1_000_000)).await;
        let rounds = size.pick(1, 10, 40);
        let (in_memory, on_disk) = size.pick((2, 1), (100, 10), (100, 10));
        turns("in memory", Runtime::builder(), rounds, in_memory).await;
        let folder = tempfile::tempdir().expect("a folder can be made");
        let store = SqliteStore::open(folder.path().join("store.db")).expect("a store opens");
        turns("on disk", Runtime::builder().store(store), rounds, on_disk).await;
    });
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn hub() -> Arc<TapHub> {
    let (clock, leases) = (Arc::new(Clock::system()), Arc::new(LeaseBook::default()));
    Arc::new(TapHub::new(clock, leases, &Limits::default()))
}

fn about(n: u64) -> About {
    let mut about = About::of(ThreadId::from_parts(n, [0; 10]));
    about.lineage = Lineage::default().below(ThreadId::from_parts(0, [0; 10]));
    about
}

fn delta(hub: &TapHub, about: &About) {
    let fact = || Fact::Thread(ThreadEvent::Delta { text: "a few words ".to_owned() });
    hub.publish(Some(about), Epoch(1), None, EventKind::Delta, fact);
}

fn spawned(hub: &TapHub, about: &About) {
    let origin = coppicer::SpawnOrigin::New;
    let fact = || Fact::Runtime(coppicer::RuntimeEvent::ThreadSpawned { origin });
    hub.publish(Some(about), Epoch(1), None, EventKind::Runtime, fact);
}

fn status(hub: &TapHub, about: &About, status_seq: u64) {
    let (status, phase) = (coppicer::ThreadStatus::Running, coppicer::Phase::Running);
    let fact = || Fact::Thread(ThreadEvent::StatusChanged { status_seq, status, phase });
    hub.publish(Some(about), Epoch(1), None, EventKind::Status, fact);
}

/// Nanoseconds of one event, median of rounds.
fn publishing(size: Size) {
    let (rounds, count) = size.pick((1, 500), (5, 20_000), (21, 100_000));
    println!("one event published, in ns (median of {rounds} rounds of {count}):");
    println!("| taps, unread | delta | status |\n|---:|---:|---:|");
    let about = about(1);
    for taps in [0_usize, 1, 10] {
        let hub = hub();
        let held: Vec<Tap> = (0..taps).map(|_| hub.tap(TapOptions::all()).expect("room")).collect();
        let of = |publish: &dyn Fn(u64)| {
            let mut times: Vec<f64> = (0..rounds)
                .map(|round| {
                    let begin = Instant::now();
                    (0..count).for_each(|n| publish(round * count + n + 1));
                    begin.elapsed().as_nanos() as f64 / count as f64
                })
                .collect();
            median(&mut times)
        };
        let deltas = of(&|_| delta(&hub, &about));
        spawned(&hub, &about);
        let statuses = of(&|n| status(&hub, &about, n));
        println!("| {taps} | {deltas:.0} | {statuses:.0} |");
        drop(held);
    }
}

/// How long a subscription from a snapshot takes, and a publisher meanwhile.
fn snapshots(size: Size) {
    println!(
        "\na tap from a snapshot:\n| threads | opened in | first event after it |\n|---:|---:|---:|"
    );
    let counts: &[u64] = size.pick(&[100], &[1_000], &[1_000, 100_000]);
    for &threads in counts {
        let hub = hub();
        let abouts: Vec<About> = (1..=threads).map(about).collect();
        for about in &abouts {
            spawned(&hub, about);
        }
        let begin = Instant::now();
        let tap = hub.tap(TapOptions::all().with_from(TapFrom::Snapshot)).expect("room");
        let opened = begin.elapsed();
        let begin = Instant::now();
        status(&hub, &abouts[0], 1);
        println!("| {threads} | {opened:.1?} | {:.1?} |", begin.elapsed());
        drop(tap);
    }
}

/// P11 at its rate.
async fn flood(events: u64) {
    let hub = hub();
    let every = |n| NonZeroU32::new(n).expect("not zero");
    let root = ThreadId::from_parts(0, [0; 10]);
    let one = ThreadId::from_parts(1, [0; 10]);
    let all = TapOptions::all;
    let never = hub.tap(all()).expect("room");
    let mut seldom = hub.tap(all()).expect("room");
    let read: [(&str, TapOptions); 8] = [
        ("reads all", all()),
        ("a ring of 16", all().with_capacity(16)),
        ("a ring of 4 kB", all().with_bytes(4096)),
        ("every 10th", TapOptions::matching(TapFilter::all().sample_deltas(every(10)))),
        ("one thread", TapOptions::matching(TapFilter::thread(one))),
        ("a subtree", TapOptions::matching(TapFilter::subtree(root))),
        ("no deltas", TapOptions::matching(TapFilter::all().lifecycle())),
        ("from a snapshot", all().with_from(TapFrom::Snapshot)),
    ];
    let mut readers = Vec::new();
    for (name, options) in read {
        let mut tap = hub.tap(options).expect("room");
        readers.push(tokio::spawn(async move {
            let (mut events, mut missing) = (0_u64, 0_u64);
            while let Some(item) = tap.next().await {
                match item {
                    TapItem::Event(_) => events += 1,
                    TapItem::Lagged { count, .. } => missing += count,
                    _ => {}
                }
            }
            let counts = tap.counts();
            assert_eq!((counts.delivered, counts.lost), (events, missing), "{name}");
            (name, counts)
        }));
    }
    let seldom_read = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let publishers: Vec<_> = (1..=PUBLISHERS)
        .map(|n| {
            let (hub, told) = (hub.clone(), seldom_read.clone());
            let work = move || {
                let about = about(n);
                for n in 0..events / PUBLISHERS {
                    if n % 1_000 == 0 {
                        status(&hub, &about, n);
                    } else {
                        delta(&hub, &about);
                    }
                    if n % 25 == 0 {
                        told.fetch_add(1, Ordering::Relaxed);
                    }
                }
            };
            std::thread::Builder::new().spawn(work).expect("a thread starts")
        })
        .collect();
    // One item for each hundred events.
    let mut taken = 0;
    while publishers.iter().any(|publisher| !publisher.is_finished()) {
        while taken < seldom_read.load(Ordering::Relaxed) / 4 && seldom.try_next().is_some() {
            taken += 1;
        }
        tokio::task::yield_now().await;
    }
    for publisher in publishers {
        publisher.join().expect("publishing never fails");
    }
    let took = begin.elapsed();
    hub.close();
    let mut rows: Vec<(&str, TapCounts)> =
        vec![("never reads", never.counts()), ("reads 1 %", seldom.counts())];
    for reader in readers {
        rows.push(reader.await.expect("a reader ends with the hub"));
    }
    let per_second = events as f64 / took.as_secs_f64();
    println!("\n{events} events from {PUBLISHERS} publishers, ten taps: {per_second:.0} a second");
    println!(
        "| tap | emitted | delivered | filtered | lost | waiting |\n|---|---:|---:|---:|---:|---:|"
    );
    for (name, counts) in rows {
        let TapCounts { emitted, delivered, filtered, lost, waiting, .. } = counts;
        assert_eq!(emitted, events, "{name}");
        assert_eq!(emitted, delivered + filtered + lost + waiting, "{name}: {counts:?}");
        println!("| {name} | {emitted} | {delivered} | {filtered} | {lost} | {waiting} |");
    }
}

/// Turns a second with ten taps, beside none.
async fn turns(place: &str, builder: RuntimeBuilder, rounds: usize, each: usize) {
    let script = Script::new().then(Step::Remark("on it".into())).call("tool", "{}", "done");
    let engine = ScriptedEngine::always(script.then(Step::Say("done".into())));
    let runtime = builder.engine(engine).start().await.expect("a runtime starts");
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        threads.push(runtime.spawn(SpawnThread::new()).await.expect("a thread starts"));
    }
    let counting = runtime.tap(TapOptions::all()).expect("room");
    threads[0].run("go").await.expect("ends");
    println!("events of a turn: {}", counting.counts().emitted);
    drop(counting);
    println!(
        "\nturns a second of {THREADS} threads kept {place}, medians of {rounds} rounds each in turns:"
    );
    println!("| ten taps that | none | ten | ten / none |\n|---|---:|---:|---:|");
    round(&threads, each).await;
    for (name, pace) in [
        ("nobody reads", None),
        ("are read at 4 Hz", Some(Duration::from_millis(250))),
        ("are read at 100 Hz", Some(Duration::from_millis(10))),
        ("are read at once", Some(Duration::ZERO)),
    ] {
        let (mut none, mut ten, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..rounds {
            // In turns, each as often the first as the second: the machine is not the same all along.
            let mut pair = [0.0; 2];
            for taps in [n % 2, 1 - n % 2] {
                let held = if taps == 1 { listen(&runtime, pace) } else { Vec::new() };
                pair[taps] = round(&threads, each).await;
                for reader in held {
                    reader.abort();
                    let _aborted = reader.await;
                }
            }
            none.push(pair[0]);
            ten.push(pair[1]);
            ratios.push(pair[1] / pair[0]);
        }
        let (none, ten) = (median(&mut none), median(&mut ten));
        println!("| {name} | {none:.0} | {ten:.0} | {:.3} |", median(&mut ratios));
    }
    runtime.shutdown(Duration::from_secs(10)).await.expect("it ends");
}

/// Ten taps of all kinds of hosts: everything, lifecycle, one kind. Read each `pace`.
fn listen(runtime: &Runtime, pace: Option<Duration>) -> Vec<tokio::task::JoinHandle<()>> {
    (0..10)
        .map(|n| {
            let filter = match n {
                0..5 => TapFilter::all(),
                5..8 => TapFilter::all().lifecycle(),
                _ => TapFilter::all().kinds([EventKind::Turn]),
            };
            let mut tap = runtime.tap(TapOptions::matching(filter)).expect("room");
            tokio::spawn(async move {
                let Some(pace) = pace else { return std::future::pending().await };
                while tap.next().await.is_some() {
                    while tap.try_next().is_some() {}
                    if !pace.is_zero() {
                        tokio::time::sleep(pace).await;
                    }
                }
            })
        })
        .collect()
}

/// Turns a second of one round.
async fn round(threads: &[ThreadHandle], turns: usize) -> f64 {
    let begin = Instant::now();
    let work = threads.iter().cloned().map(|thread| {
        tokio::spawn(async move {
            for _ in 0..turns {
                thread.run("go").await.expect("a turn ends");
            }
        })
    });
    for thread in work.collect::<Vec<_>>() {
        thread.await.expect("no turn panics");
    }
    (threads.len() * turns) as f64 / begin.elapsed().as_secs_f64()
}
