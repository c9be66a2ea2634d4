//! The metrics of the runtime, as Prometheus reads them: a recorder of the console's own, so that
//! nothing global to the process is taken.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coppicer_actors::{Tap, TapFilter, TapFrom, TapOptions};
use coppicer_messages::TapError;
use coppicer_supervisor::{METRICS, MetricKind, Runtime, count_events};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use parking_lot::Mutex;

use crate::bounds::{WATCH_BYTES_MAX, WATCH_EVENTS_MAX};
use crate::stop::Stop;

/// Upper bounds of a histogram's buckets, in its unit.
const BUCKETS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0];

/// What was counted. Bounded: names and labels come from a fixed table, and no label names a thread.
#[derive(Clone, Default)]
pub(crate) struct Counters {
    series: Arc<Mutex<HashMap<Key, Series>>>,
}

/// A metric's name and its labels, as they are written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name(String, String);

#[derive(Clone)]
enum Series {
    Counter(Arc<AtomicU64>),
    /// The bits of a float.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Buckets>),
}

#[derive(Default)]
struct Buckets {
    counts: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    /// The bits of a float.
    sum: AtomicU64,
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        for (bound, count) in BUCKETS.iter().zip(&self.counts) {
            if value <= *bound {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let add = |bits: u64| Some((f64::from_bits(bits) + value).to_bits());
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Counts the facts of a runtime, until it ends or the console stops.
    ///
    /// # Errors
    /// There is no room for a tap; the runtime has ended.
    pub(crate) fn count(
        &self,
        runtime: &Runtime,
        stop: Stop,
    ) -> Result<impl Future<Output = ()> + Send + use<>, TapError> {
        let options = TapOptions::matching(TapFilter::all())
            .with_from(TapFrom::Snapshot)
            .with_capacity(WATCH_EVENTS_MAX)
            .with_bytes(WATCH_BYTES_MAX);
        let counted = self.clone().count_tap(runtime.tap(options)?);
        Ok(async move {
            tokio::select! {
                () = counted => {}
                () = stop.stopped() => {}
            }
        })
    }

    async fn count_tap(self, tap: Tap) {
        let mut counting = pin!(count_events(tap));
        let counted = std::future::poll_fn(|cx| {
            metrics::with_local_recorder(&self, || counting.as_mut().poll(cx))
        });
        counted.await;
    }

    /// Everything, in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let series = self.series.lock().clone();
        let series: BTreeMap<Name, Series> =
            series.into_iter().map(|(key, series)| (Name::of(&key), series)).collect();
        let mut text = String::new();
        // Writing to a string does not fail.
        for row in METRICS {
            let of_row: Vec<_> = series.iter().filter(|(name, _)| name.0 == row.name).collect();
            if of_row.is_empty() {
                continue;
            }
            let kind = match row.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
                _ => "untyped",
            };
            let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", row.name, row.what, row.name);
            for (Name(name, labels), series) in of_row {
                series.write(&mut text, name, labels);
            }
        }
        text
    }

    fn series(&self, key: &Key, make: impl FnOnce() -> Series) -> Series {
        let mut all = self.series.lock();
        if let Some(series) = all.get(key) {
            return series.clone();
        }
        all.entry(key.clone()).or_insert_with(make).clone()
    }
}

impl Name {
    fn of(key: &Key) -> Self {
        let mut labels: Vec<String> = key
            .labels()
            .map(|label| format!("{}=\"{}\"", label.key(), escaped(label.value())))
            .collect();
        labels.sort_unstable();
        Self(key.name().to_owned(), labels.join(","))
    }
}

impl Series {
    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let braced = |labels: &str| match labels {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        match self {
            Self::Counter(value) => {
                let value = value.load(Ordering::Relaxed);
                let _ = writeln!(text, "{name}{} {value}", braced(labels));
            }
            Self::Gauge(value) => {
                let value = f64::from_bits(value.load(Ordering::Relaxed));
                let _ = writeln!(text, "{name}{} {value}", braced(labels));
            }
            Self::Histogram(buckets) => {
                let comma = if labels.is_empty() { "" } else { "," };
                let count = buckets.count.load(Ordering::Relaxed);
                for (bound, below) in BUCKETS.iter().zip(&buckets.counts) {
                    let below = below.load(Ordering::Relaxed);
                    let _ =
                        writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}");
                }
                let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
                let sum = f64::from_bits(buckets.sum.load(Ordering::Relaxed));
                let _ = writeln!(text, "{name}_sum{} {sum}", braced(labels));
                let _ = writeln!(text, "{name}_count{} {count}", braced(labels));
            }
        }
    }
}

/// The value of a label, as it is written.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Recorder for Counters {
    // The table says what each is.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.series(key, || Series::Counter(Arc::default())) {
            Series::Counter(value) => Counter::from_arc(value),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.series(key, || Series::Gauge(Arc::default())) {
            Series::Gauge(value) => Gauge::from_arc(value),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match self.series(key, || Series::Histogram(Arc::default())) {
            Series::Histogram(buckets) => Histogram::from_arc(buckets),
            _ => Histogram::noop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use coppicer_actors::{ScriptedEngine, StoreHealth, ThreadHandle};
    use coppicer_messages::{Limits, SpawnThread, StoreTrouble};
    use coppicer_supervisor::testing::{BUDGET, World};
    use futures::FutureExt;
    use metrics::{counter, gauge, histogram, with_local_recorder};

    use super::*;

    /// The value of a series; 0 if there is none.
    fn value(counters: &Counters, name: &str) -> u64 {
        let text = counters.text();
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or(0)
    }

    /// Counts a tap that holds few events, behind a flood that it has no time to read.
    async fn after_a_flood(limits: Limits) -> (World, Counters, Vec<ThreadHandle>) {
        let world = World::with_limits(ScriptedEngine::echo(), limits).await;
        let mut before = Vec::new();
        for _ in 0..5 {
            before.push(world.spawn(SpawnThread::new()).await.unwrap());
        }
        let health = |trouble| StoreHealth::Ailing { trouble, reason: "as asked".to_owned() };
        world.store.tell(&health(StoreTrouble::DiskFull));
        let options = TapOptions::all().with_from(TapFrom::Snapshot).with_capacity(4);
        let tap = world.tap(options).unwrap();
        let mut live = Vec::new();
        for thread in before {
            world.close(thread.id(), BUDGET).await.unwrap();
        }
        world.store.tell(&StoreHealth::Well);
        for _ in 0..20 {
            live.push(world.spawn(SpawnThread::new()).await.unwrap());
        }
        let counters = Counters::new();
        // It reads what waits, in so many portions at most, and then waits itself.
        let mut counted = Box::pin(counters.clone().count_tap(tap));
        for _ in 0..100 {
            assert!((&mut counted).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        (world, counters, live)
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_gap_the_gauges_are_what_is_so_and_the_counters_have_what_the_journal_has() {
        let (world, counters, live) = after_a_flood(Limits::default()).await;
        assert_eq!(value(&counters, "coppicer_threads{phase=\"idle\"}"), live.len() as u64);
        assert_eq!(value(&counters, "coppicer_store_ailing"), 0);
        assert_eq!(value(&counters, "coppicer_threads_spawned_total{origin=\"new\"}"), 20);
        assert_eq!(value(&counters, "coppicer_threads_ended_total{how=\"closed\"}"), 5);
        assert_eq!(value(&counters, "coppicer_events_lost_total"), 0, "each is in the journal");
        drop(live);
        world.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_gap_that_the_journal_does_not_reach_the_gauges_begin_anew() {
        let mut limits = Limits::default();
        limits.journal_events_max = 10;
        let (world, counters, live) = after_a_flood(limits).await;
        assert_eq!(value(&counters, "coppicer_threads{phase=\"idle\"}"), live.len() as u64);
        assert_eq!(value(&counters, "coppicer_threads{phase=\"starting\"}"), 0);
        assert_eq!(value(&counters, "coppicer_store_ailing"), 0);
        assert!(value(&counters, "coppicer_events_lost_total") > 0);
        drop(live);
        world.end().await;
    }

    #[test]
    fn what_is_counted_is_written_as_prometheus_reads_it() {
        let counters = Counters::new();
        with_local_recorder(&counters, || {
            counter!("coppicer_restarts_total").increment(2);
            counter!("coppicer_restarts_total").increment(1);
            counter!("coppicer_events_total", "kind" => "tu\"rn\n").increment(5);
            gauge!("coppicer_threads", "phase" => "idle").increment(2.0);
            gauge!("coppicer_threads", "phase" => "idle").decrement(1.0);
            histogram!("coppicer_turn_duration_seconds", "outcome" => "completed").record(0.02);
            histogram!("coppicer_turn_duration_seconds", "outcome" => "completed").record(4_000.0);
        });
        let text = counters.text();
        for line in [
            "# TYPE coppicer_restarts_total counter",
            "coppicer_restarts_total 3",
            "coppicer_events_total{kind=\"tu\\\"rn\\n\"} 5",
            "coppicer_threads{phase=\"idle\"} 1",
            "coppicer_turn_duration_seconds_bucket{outcome=\"completed\",le=\"0.01\"} 0",
            "coppicer_turn_duration_seconds_bucket{outcome=\"completed\",le=\"0.05\"} 1",
            "coppicer_turn_duration_seconds_bucket{outcome=\"completed\",le=\"1800\"} 1",
            "coppicer_turn_duration_seconds_bucket{outcome=\"completed\",le=\"+Inf\"} 2",
            "coppicer_turn_duration_seconds_sum{outcome=\"completed\"} 4000.02",
            "coppicer_turn_duration_seconds_count{outcome=\"completed\"} 2",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
    }
}
