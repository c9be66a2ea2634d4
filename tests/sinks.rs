//! Sinks: logs, counters and hooks, each on a tap alone.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Attention, HookCounts, Hooks, Limits, METRICS, Phase, RestartPolicy, Script, ScriptedEngine,
    Seq, SpawnThread, Step, StoreHealth, StoreTrouble, TapFilter, TapFrom, TapOptions,
    ThreadConfig, ThreadId, ThreadStatus, Usage, count_events, describe_metrics, log_events,
};
use parking_lot::Mutex;
use tracing::Level;

/// "hang" hangs, "sleep" sleeps for an hour with a record each minute, "panic" panics, "usage" counts.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match &*input.text() {
        "hang" => Script::new().then(Step::Hang),
        "sleep" => (0..60)
            .flat_map(|n| [Step::Remark(n.to_string()), Step::Sleep(Duration::from_secs(60))])
            .collect(),
        "panic" => Script::new().panic("as asked"),
        "usage" => Script::new().then(Step::Usage(usage())),
        _ => Script::new().then(Step::Delta("d".into())).say("done"),
    })
}

fn usage() -> Usage {
    let mut usage = Usage::default();
    (usage.input_tokens, usage.output_tokens, usage.cost_micros) = (100, 20, 7);
    usage
}

fn from_snapshot() -> TapOptions {
    TapOptions::all().with_from(TapFrom::Snapshot)
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(BUDGET, waiting).await.expect("it did not come to it in time");
}

// Logs.

/// Keeps what is logged: level and fields.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Logged>>>);

type Logged = (Level, BTreeMap<&'static str, String>);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "coppicer::events"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.lock().push((*event.metadata().level(), fields.0));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn each_lifecycle_fact_is_logged_once_at_the_level_of_its_kind() {
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let world = World::new(engine()).await;
    let mut expected = world.tap(TapOptions::matching(TapFilter::all().lifecycle())).unwrap();
    let logging = tokio::spawn(log_events(world.tap(TapOptions::all()).unwrap()));
    let thread = world.spawn(SpawnThread::new().with_name("poet")).await.unwrap();
    thread.run("hello").await.unwrap();
    thread.run("panic").await.unwrap();
    world.shutdown(BUDGET).await.unwrap();
    logging.await.unwrap();
    drop(guard);
    let mut names = Vec::new();
    while let Some(item) = expected.try_next() {
        names.push(item.event().unwrap().fact.name().to_owned());
    }
    let logged = log.0.lock().clone();
    let logged_names: Vec<_> = logged.iter().map(|(_, fields)| fields["event"].clone()).collect();
    assert_eq!(logged_names, names);
    let level = |name: &str| logged.iter().find(|(_, fields)| fields["event"] == name).unwrap().0;
    assert_eq!(level("thread_spawned"), Level::INFO);
    assert_eq!(level("crashed"), Level::ERROR);
    assert_eq!(level("backoff_started"), Level::WARN);
    assert_eq!(level("status_changed"), Level::DEBUG);
    let (_, crash) = logged.iter().find(|(_, fields)| fields["event"] == "crashed").unwrap();
    assert!(crash["fact"].contains("as asked"), "{crash:?}");
    assert_eq!(crash["path"], "/root/poet");
    drop(expected);
    assert!(world.audit().await.is_empty());
}

// Metrics.

/// Keeps what is counted, by name and labels.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<BTreeMap<String, f64>>>, Arc<Mutex<Vec<String>>>);

struct Cell(Counted, String);

impl Cell {
    fn add(&self, by: f64) {
        *self.0.0.lock().entry(self.1.clone()).or_default() += by;
    }
}

impl metrics::CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, value: u64) {
        self.0.0.lock().insert(self.1.clone(), value as f64);
    }
}

impl metrics::GaugeFn for Cell {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        self.0.0.lock().insert(self.1.clone(), value);
    }
}

impl metrics::HistogramFn for Cell {
    fn record(&self, _value: f64) {
        self.add(1.0);
    }
}

impl Counted {
    fn cell(&self, key: &metrics::Key) -> Arc<Cell> {
        let labels: Vec<_> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::new(Cell(self.clone(), name))
    }
}

impl metrics::Recorder for Counted {
    fn describe_counter(
        &self,
        key: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
        self.1.lock().push(key.as_str().to_owned());
    }

    fn describe_gauge(
        &self,
        key: metrics::KeyName,
        unit: Option<metrics::Unit>,
        text: metrics::SharedString,
    ) {
        self.describe_counter(key, unit, text);
    }

    fn describe_histogram(
        &self,
        key: metrics::KeyName,
        unit: Option<metrics::Unit>,
        text: metrics::SharedString,
    ) {
        self.describe_counter(key, unit, text);
    }

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(
        &self,
        key: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.cell(key))
    }
}

#[test]
fn events_are_counted_under_the_names_of_the_table_and_no_label_names_a_thread() {
    let counted = Counted::default();
    let recorder = counted.clone();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            describe_metrics();
            let world = World::new(engine()).await;
            let before = world.spawn(SpawnThread::new()).await.unwrap();
            let counting = tokio::spawn(count_events(world.tap(from_snapshot()).unwrap()));
            let thread = world.spawn(SpawnThread::new()).await.unwrap();
            for text in ["hello", "usage", "panic", "hello"] {
                thread.run(text).await.unwrap();
            }
            before.run("hello").await.unwrap();
            tokio::task::yield_now().await;
            let threads = counted.0.lock()["coppicer_threads{phase=idle}"];
            assert!((threads - 2.0).abs() < f64::EPSILON, "{threads}");
            world.shutdown(BUDGET).await.unwrap();
            counting.await.unwrap();
        });
    });
    let values = counted.0.lock().clone();
    let value = |name: &str| values.get(name).copied().unwrap_or_default() as i64;
    for (name, expected) in [
        ("coppicer_threads_spawned_total{origin=new}", 1),
        ("coppicer_threads_ended_total{how=closed}", 2),
        ("coppicer_threads{phase=idle}", 0),
        ("coppicer_threads{phase=running}", 0),
        ("coppicer_threads{phase=stopping}", 0),
        ("coppicer_submissions_accepted_total{}", 5),
        ("coppicer_submissions_ended_total{outcome=completed}", 4),
        ("coppicer_submissions_ended_total{outcome=crashed}", 1),
        ("coppicer_turns_started_total{}", 5),
        ("coppicer_turn_duration_seconds{outcome=completed}", 4),
        ("coppicer_crashes_total{}", 1),
        ("coppicer_tokens_total{kind=input}", 100),
        ("coppicer_tokens_total{kind=output}", 20),
        ("coppicer_cost_micros_total{}", 7),
        ("coppicer_deltas_total{}", 3),
        ("coppicer_events_lost_total{}", 0),
    ] {
        assert_eq!(value(name), expected, "{name} in {values:#?}");
    }
    for name in values.keys() {
        let (metric, labels) = name.split_once('{').unwrap();
        let row = METRICS.iter().find(|row| row.name == metric).unwrap();
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        let keys: Vec<_> = labels.map(|label| label.split_once('=').unwrap().0).collect();
        assert_eq!(keys, row.labels, "{name}");
        assert!(!name.contains("-7000-"), "the id of a thread: {name}");
    }
    let described = counted.1.lock().clone();
    assert_eq!(described, METRICS.iter().map(|row| row.name).collect::<Vec<_>>());
}

#[test]
fn metrics_have_names_of_prometheus() {
    for row in METRICS {
        let sound = row.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(sound && row.name.starts_with("coppicer_"), "{row:?}");
        let counts = row.kind == coppicer::MetricKind::Counter;
        assert_eq!(counts, row.name.ends_with("_total"), "{row:?}");
        assert!(row.what.ends_with('.') && !row.labels.contains(&"thread"), "{row:?}");
    }
}

// Hooks.

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<ThreadId>>>, Arc<Mutex<Vec<Attention>>>);

impl Heard {
    fn hooks(&self) -> Hooks {
        let (ends, attention) = (self.0.clone(), self.1.clone());
        Hooks::new()
            .on_terminal(move |terminal| ends.lock().push(terminal.row.thread))
            .on_attention(move |told| attention.lock().push(told))
    }
}

fn run(world: &World, hooks: Hooks) -> tokio::task::JoinHandle<HookCounts> {
    let runtime = world.runtime().clone();
    tokio::spawn(async move { hooks.run(&runtime).await.unwrap() })
}

#[tokio::test(start_paused = true)]
async fn a_host_is_called_once_for_each_thread_that_is_over_whenever_it_was_spawned() {
    let heard = Heard::default();
    let world = World::new(engine()).await;
    let early = world.spawn(SpawnThread::new()).await.unwrap();
    let hooks = run(&world, heard.hooks());
    tokio::task::yield_now().await;
    let late = world.spawn(SpawnThread::new()).await.unwrap();
    let child = world.spawn(SpawnThread::new().with_parent(late.id())).await.unwrap();
    late.run("panic").await.unwrap();
    child.panic_for_test();
    child.run("hello").await.unwrap();
    child.hibernate().await.unwrap();
    until(|| child.status() == ThreadStatus::Dormant).await;
    assert_eq!(*heard.0.lock(), [], "none of this is an end");
    world.close(early.id(), BUDGET).await.unwrap();
    until(|| heard.0.lock().len() == 1).await;
    let ids = [early.id(), child.id(), late.id()];
    world.shutdown(BUDGET).await.unwrap();
    let counts = hooks.await.unwrap();
    assert_eq!(*heard.0.lock(), ids);
    assert_eq!((counts.terminal, counts.panics), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_is_told_and_called_again() {
    let calls = Arc::new(Mutex::new(0));
    let world = World::new(engine()).await;
    let hooks = {
        let calls = calls.clone();
        Hooks::new().on_terminal(move |_| {
            *calls.lock() += 1;
            panic!("the host's own");
        })
    };
    let hooks = run(&world, hooks);
    tokio::task::yield_now().await;
    for _ in 0..3 {
        let thread = world.spawn(SpawnThread::new()).await.unwrap();
        thread.run("hello").await.unwrap();
    }
    world.shutdown(BUDGET).await.unwrap();
    let counts = hooks.await.unwrap();
    assert_eq!((*calls.lock(), counts.terminal, counts.panics), (3, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_which_nothing_is_told_is_stuck_once_and_one_that_says_something_is_not() {
    let heard = Heard::default();
    let mut limits = Limits::default();
    limits.stuck_after = Duration::from_secs(120);
    let world = World::with_limits(engine(), limits).await;
    let hooks = run(&world, heard.hooks());
    tokio::task::yield_now().await;
    let (silent, busy) = (
        world.spawn(SpawnThread::new()).await.unwrap(),
        world.spawn(SpawnThread::new()).await.unwrap(),
    );
    busy.submit("sleep").await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    silent.submit("hang").await.unwrap();
    tokio::time::sleep(Duration::from_secs(119)).await;
    assert_eq!(*heard.1.lock(), []);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = heard.1.lock().clone();
    let turn = silent.view().turn;
    let thread = silent.id();
    let Some(Attention::Stuck { silent: time, .. }) = told.first() else { panic!("{told:?}") };
    assert!((120..122).contains(&time.as_secs()), "{time:?}");
    assert_eq!(told, [Attention::Stuck { thread, turn, silent: *time }]);
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    assert_eq!(heard.1.lock().len(), 1, "once");
    silent.interrupt().await.unwrap();
    silent.run("hello").await.unwrap();
    silent.submit("hang").await.unwrap();
    tokio::time::sleep(Duration::from_secs(241)).await;
    assert_eq!(heard.1.lock().len(), 2, "again once it has got on");
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn parked_threads_an_ailing_store_and_limits_that_are_near_need_attention() {
    let heard = Heard::default();
    let limits = {
        let mut limits = Limits::default();
        limits.resident_max = 10;
        limits
    };
    let world = World::with_limits(engine(), limits).await;
    let hooks = run(&world, heard.hooks());
    tokio::task::yield_now().await;
    let policy = RestartPolicy::default().with_limit(1, Duration::from_secs(600));
    let config = ThreadConfig::default().with_restart(policy);
    let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    for _ in 0..2 {
        thread.panic_for_test();
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    assert_eq!(thread.view().phase, Phase::Parked);
    assert_eq!(*heard.1.lock(), [Attention::Parked { thread: thread.id() }]);
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(world.spawn(SpawnThread::new()).await.unwrap());
    }
    tokio::task::yield_now().await;
    let near = Attention::NearLimit { limit: "resident_max", used: 9, value: 10 };
    assert_eq!(heard.1.lock()[1..], [near], "once, at nine tenths");
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_is_told_that_the_disk_is_full_and_when_the_store_writes_again() {
    let heard = Heard::default();
    let world = World::new(engine()).await;
    let hooks = run(&world, heard.hooks());
    tokio::task::yield_now().await;
    let reason = || "database or disk is full".to_owned();
    let full = StoreHealth::Ailing { trouble: StoreTrouble::DiskFull, reason: reason() };
    world.store.tell(&full);
    world.store.tell(&full);
    world.store.tell(&StoreHealth::Well);
    let locked = StoreHealth::Ailing { trouble: StoreTrouble::Busy, reason: "locked".to_owned() };
    world.store.tell(&locked);
    world.store.tell(&StoreHealth::Well);
    until(|| heard.1.lock().len() >= 4).await;
    let ailing = |trouble, reason| Attention::StoreAiling { trouble, reason };
    let told = heard.1.lock().clone();
    let (first, second) = told.split_at(2);
    let recovered = Attention::StoreRecovered;
    assert_eq!(first, [ailing(StoreTrouble::DiskFull, reason()), recovered.clone()], "once");
    assert_eq!(second, [ailing(StoreTrouble::Busy, "locked".to_owned()), recovered]);
    assert_eq!(StoreTrouble::DiskFull.to_string(), "disk full");
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_is_told_of_damage_where_it_is_and_that_the_thread_is_over() {
    let heard = Heard::default();
    let world = World::new(engine()).await;
    let hooks = run(&world, heard.hooks());
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let beside = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("hello").await.unwrap();
    world.store.tell(&StoreHealth::Damaged {
        thread: thread.id(),
        seq: Seq(3),
        reason: "bad checksum".to_owned(),
    });
    until(|| !heard.0.lock().is_empty()).await;
    let what = "record 3: bad checksum".to_owned();
    assert_eq!(*heard.1.lock(), [Attention::Damaged { thread: thread.id(), what }]);
    assert_eq!(*heard.0.lock(), [thread.id()], "it alone");
    assert_eq!(beside.run("hello").await.unwrap().message(), Some("done"));
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn hooks_that_are_too_slow_miss_no_end() {
    let heard = Heard::default();
    let limits = {
        let mut limits = Limits::default();
        limits.tap_events_max = 8;
        limits
    };
    let world = World::with_limits(engine(), limits).await;
    let mut known = Vec::new();
    for _ in 0..20 {
        known.push(world.spawn(SpawnThread::new()).await.unwrap().id());
    }
    let hooks = run(&world, heard.hooks());
    tokio::task::yield_now().await;
    for &thread in &known {
        // The hooks get no turn in between: more happens than their tap holds.
        let spawns = futures::future::join_all((0..5).map(|_| world.spawn(SpawnThread::new())));
        let (closed, _spawned) = futures::join!(world.close(thread, BUDGET), spawns);
        closed.unwrap();
    }
    world.shutdown(BUDGET).await.unwrap();
    let counts = hooks.await.unwrap();
    // What came and went within one gap was never seen; of the others each end is told once.
    let ends = heard.0.lock().clone();
    let once: std::collections::BTreeSet<_> = ends.iter().collect();
    assert_eq!(once.len(), ends.len(), "none twice");
    assert!(known.iter().all(|id| once.contains(id)), "{ends:?}");
    let lagged = heard.1.lock().iter().any(|told| matches!(told, Attention::Lagged { .. }));
    assert!(lagged, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn hooks_that_begin_late_are_told_what_trouble_the_store_is_in_and_of_each_kind_of_it() {
    let world = World::new(engine()).await;
    let health = |trouble| StoreHealth::Ailing { trouble, reason: "as asked".to_owned() };
    let ailing = |trouble| Attention::StoreAiling { trouble, reason: "as asked".to_owned() };
    world.store.tell(&health(StoreTrouble::ReadOnly));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let heard = Heard::default();
    let hooks = run(&world, heard.hooks());
    until(|| !heard.1.lock().is_empty()).await;
    assert_eq!(*heard.1.lock(), [ailing(StoreTrouble::ReadOnly)], "it was so before they began");
    // Another kind of trouble asks for something else to be done.
    world.store.tell(&health(StoreTrouble::DiskFull));
    world.store.tell(&health(StoreTrouble::DiskFull));
    until(|| heard.1.lock().len() > 1).await;
    assert_eq!(heard.1.lock()[1..], [ailing(StoreTrouble::DiskFull)]);
    world.store.tell(&StoreHealth::Well);
    until(|| heard.1.lock().len() > 2).await;
    assert_eq!(heard.1.lock()[2..], [Attention::StoreRecovered]);
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}
