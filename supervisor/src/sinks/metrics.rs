//! Events as counters, through the `metrics` facade. Nothing is counted anywhere else.

use coppicer_actors::{Tap, TapBatch, ThreadTree, TreeChange, TreeSnapshot};
use coppicer_messages::{Ended, Event, EventKind, Fact, RuntimeEvent, SpawnOrigin, ThreadEvent};
use metrics::{Unit, counter, gauge, histogram};

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Values by how often.
    Histogram,
}

/// One metric: its name, kind, unit, labels and meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricRow {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its unit, as Prometheus has it.
    pub unit: &'static str,
    /// Its labels, none of which names a thread.
    pub labels: &'static [&'static str],
    /// What it says.
    pub what: &'static str,
}

macro_rules! metrics_table {
    ($($const:ident: $kind:ident, $name:literal, $unit:literal, [$($label:literal),*], $what:literal;)*) => {
        $(const $const: &str = $name;)*

        /// Every metric.
        pub const METRICS: &[MetricRow] = &[$(MetricRow {
            name: $name,
            kind: MetricKind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            what: $what,
        }),*];
    };
}

metrics_table! {
    EVENTS: Counter, "coppicer_events_total", "events", ["kind"], "Events that the sink has read.";
    EVENTS_LOST: Counter, "coppicer_events_lost_total", "events", [], "Events that the sink's tap lost and the journal does not have: the counters miss them.";
    SPAWNED: Counter, "coppicer_threads_spawned_total", "threads", ["origin"], "Threads that were brought to life.";
    ENDED: Counter, "coppicer_threads_ended_total", "threads", ["how"], "Actors of threads that are gone.";
    THREADS: Gauge, "coppicer_threads", "threads", ["phase"], "Threads that this runtime has, by phase.";
    REFUSED: Counter, "coppicer_spawns_refused_total", "spawns", [], "Spawns, resumes and forks that were refused.";
    UNDONE: Counter, "coppicer_spawns_undone_total", "spawns", [], "Spawns, resumes and forks that were taken back.";
    RESTARTS: Counter, "coppicer_restarts_total", "restarts", [], "Actors that came back.";
    PARKED: Counter, "coppicer_threads_parked_total", "threads", [], "Threads whose restarts were spent.";
    CRASHES: Counter, "coppicer_crashes_total", "crashes", [], "Crashes of engines and actors.";
    SUBMISSIONS: Counter, "coppicer_submissions_accepted_total", "submissions", [], "Submissions that became durable.";
    OUTCOMES: Counter, "coppicer_submissions_ended_total", "submissions", ["outcome"], "Submissions that have their outcome.";
    TURNS: Counter, "coppicer_turns_started_total", "turns", [], "Turns that were started, each attempt.";
    TURNS_RETRIED: Counter, "coppicer_turns_retried_total", "turns", [], "Turns that are tried again after a passing error.";
    TURNS_FENCED: Counter, "coppicer_turns_fenced_total", "turns", [], "Turns whose code would not stop.";
    TURN_SECONDS: Histogram, "coppicer_turn_duration_seconds", "seconds", ["outcome"], "How long turns took.";
    RECORDS: Counter, "coppicer_records_total", "records", [], "Records that became durable.";
    MAIL: Counter, "coppicer_mail_received_total", "messages", [], "Mail between agents.";
    QUESTIONS: Counter, "coppicer_questions_total", "questions", [], "Questions of engines to their host.";
    TOKENS: Counter, "coppicer_tokens_total", "tokens", ["kind"], "Tokens used; cached ones are input too, reasoning ones output.";
    COST: Counter, "coppicer_cost_micros_total", "micros", [], "Cost, in millionths of the host's currency.";
    DELTAS: Counter, "coppicer_deltas_total", "deltas", [], "Pieces of text on their way.";
    DAMAGE: Counter, "coppicer_damage_total", "findings", [], "Damage that the store found.";
    STORE_AILING: Gauge, "coppicer_store_ailing", "", [], "1 while the store cannot write.";
}

/// Tells the recorder that the host has installed what each metric is. Once, before counting.
pub fn describe_metrics() {
    for row in METRICS {
        let unit = match row.unit {
            "seconds" => Unit::Seconds,
            _ => Unit::Count,
        };
        match row.kind {
            MetricKind::Counter => metrics::describe_counter!(row.name, unit, row.what),
            MetricKind::Gauge => metrics::describe_gauge!(row.name, unit, row.what),
            MetricKind::Histogram => metrics::describe_histogram!(row.name, unit, row.what),
        }
    }
}

/// Counts the events of a tap until it ends, in the recorder that is installed when it is polled. Open
/// the tap from a snapshot, so that the gauges begin with what is there; filter out the kinds that need
/// no counting.
///
/// Behind a gap it goes on from the journal, which has the lifecycle events that were lost: they are counted
/// late, and the gauges stay right. Where the journal does not reach back that far, counters miss what it does
/// not have, and the gauges begin anew with what is there now. A gap that is read when nobody holds the runtime any
/// more stays one, also in the gauges.
pub async fn count_events(mut tap: Tap) {
    let mut threads = Threads::default();
    while let Some(batch) = tap.next_batch().await {
        match batch {
            TapBatch::Events(events) => {
                for event in events.iter() {
                    count(event);
                    threads.follow(event);
                }
            }
            TapBatch::Snapshot(snapshot) => threads.begin(&snapshot),
            TapBatch::Lagged { from, count: lost, .. } => {
                counter!(EVENTS_LOST).increment(tap.regain(from).lost_of(lost));
            }
            _ => {}
        }
        // A tap that always has something would keep its worker to itself.
        tokio::task::consume_budget().await;
    }
}

/// The tree, for the gauges.
#[derive(Default)]
struct Threads {
    tree: ThreadTree,
}

impl Threads {
    /// Begins, or begins anew: what it had counted goes out of the gauges, which others may count into too.
    fn begin(&mut self, snapshot: &TreeSnapshot) {
        for row in self.tree.rows() {
            gauge!(THREADS, "phase" => row.phase.name()).decrement(1.0);
        }
        self.tree = ThreadTree::from_snapshot(snapshot);
        for row in self.tree.rows() {
            gauge!(THREADS, "phase" => row.phase.name()).increment(1.0);
        }
        self.show_store();
    }

    fn show_store(&self) {
        gauge!(STORE_AILING).set(f64::from(u8::from(self.tree.ailing().is_some())));
    }

    fn follow(&mut self, event: &Event) {
        if !event.fact.is_lifecycle() {
            return;
        }
        let before = event.thread.and_then(|thread| self.tree.get(thread)).map(|row| row.phase);
        match self.tree.apply(event) {
            TreeChange::Added(thread) | TreeChange::Changed(thread) => {
                let after = self.tree.get(thread).map(|row| row.phase);
                if before != after {
                    if let Some(before) = before {
                        gauge!(THREADS, "phase" => before.name()).decrement(1.0);
                    }
                    if let Some(after) = after {
                        gauge!(THREADS, "phase" => after.name()).increment(1.0);
                    }
                }
            }
            TreeChange::Removed(rows) => {
                for row in rows {
                    gauge!(THREADS, "phase" => row.phase.name()).decrement(1.0);
                }
            }
            _ => {}
        }
        if event.fact.kind() == EventKind::Runtime {
            self.show_store();
        }
    }
}

fn count(event: &Event) {
    counter!(EVENTS, "kind" => event.fact.kind().name()).increment(1);
    match &event.fact {
        Fact::Runtime(event) => match event {
            RuntimeEvent::ThreadSpawned { origin } => {
                counter!(SPAWNED, "origin" => origin_name(*origin)).increment(1);
            }
            RuntimeEvent::SpawnRefused { .. } => counter!(REFUSED).increment(1),
            RuntimeEvent::SpawnUndone => counter!(UNDONE).increment(1),
            RuntimeEvent::ThreadEnded { how } => {
                counter!(ENDED, "how" => how.name()).increment(1);
                if matches!(how, Ended::Crashed { .. }) {
                    counter!(CRASHES).increment(1);
                }
            }
            RuntimeEvent::ThreadRestarted => counter!(RESTARTS).increment(1),
            RuntimeEvent::ThreadParked => counter!(PARKED).increment(1),
            _ => {}
        },
        Fact::Thread(event) => match event {
            ThreadEvent::SubmissionAccepted { .. } => counter!(SUBMISSIONS).increment(1),
            ThreadEvent::SubmissionEnded { outcome, .. } => {
                counter!(OUTCOMES, "outcome" => outcome.name()).increment(1);
            }
            ThreadEvent::TurnStarted { .. } => counter!(TURNS).increment(1),
            ThreadEvent::TurnRetried { .. } => counter!(TURNS_RETRIED).increment(1),
            ThreadEvent::TurnFenced => counter!(TURNS_FENCED).increment(1),
            ThreadEvent::TurnEnded { outcome, took, .. } => {
                histogram!(TURN_SECONDS, "outcome" => outcome.name()).record(took.as_secs_f64());
            }
            ThreadEvent::Crashed { .. } => counter!(CRASHES).increment(1),
            ThreadEvent::RecordAppended { .. } => counter!(RECORDS).increment(1),
            ThreadEvent::MailReceived { .. } => counter!(MAIL).increment(1),
            ThreadEvent::QuestionAsked { .. } => counter!(QUESTIONS).increment(1),
            ThreadEvent::UsageReported { usage } => {
                for (kind, tokens) in [
                    ("input", usage.input_tokens),
                    ("cached_input", usage.cached_input_tokens),
                    ("output", usage.output_tokens),
                    ("reasoning_output", usage.reasoning_output_tokens),
                ] {
                    counter!(TOKENS, "kind" => kind).increment(tokens);
                }
                counter!(COST).increment(usage.cost_micros);
            }
            ThreadEvent::Delta { .. } => counter!(DELTAS).increment(1),
            ThreadEvent::DamageFound { .. } => counter!(DAMAGE).increment(1),
            _ => {}
        },
    }
}

const fn origin_name(origin: SpawnOrigin) -> &'static str {
    match origin {
        SpawnOrigin::New => "new",
        SpawnOrigin::Resume => "resume",
        SpawnOrigin::Fork => "fork",
        SpawnOrigin::Activation => "activation",
        SpawnOrigin::Recovery => "recovery",
    }
}
