//! Sinks: logs and counters, each on a tap alone. Hooks: `tests/hooks.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::BTreeMap;
use std::sync::Arc;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    METRICS, Script, ScriptedEngine, SpawnThread, Step, TapFilter, TapFrom, TapOptions, Usage,
    count_events, describe_metrics, log_events,
};
use parking_lot::Mutex;
use tracing::Level;

/// "panic" panics, "usage" counts.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match &*input.text() {
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
