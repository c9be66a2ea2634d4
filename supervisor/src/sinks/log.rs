//! Lifecycle facts as `tracing` events.

use coppicer_actors::{Tap, TapBatch};
use coppicer_messages::{Ended, Event, Fact, Outcome, RuntimeEvent, ThreadEvent};
use tracing::Level;

/// Logs each lifecycle fact of a tap until it ends. The target is `coppicer::events`; the fields are
/// `event`, `seq`, `thread`, `path`, `epoch`, `turn` and `fact`, the fact as JSON.
///
/// | level | facts |
/// |---|---|
/// | error | crashes, damage, a store that cannot write, threads that are parked |
/// | warn | refusals, retries, pauses and restarts, turns that failed or were fenced, ends that missed their deadline |
/// | info | spawns, ends, closes, turns, questions, what was patched, archived and deleted |
/// | debug | statuses, submissions, mail |
///
/// Gaps are logged as warnings. What no subscriber wants costs a look.
pub async fn log_events(mut tap: Tap) {
    while let Some(batch) = tap.next_batch().await {
        match batch {
            TapBatch::Events(events) => {
                events.iter().filter(|event| event.fact.is_lifecycle()).for_each(log);
            }
            TapBatch::Lagged { from, to, count } => {
                tracing::warn!(target: TARGET, from, to, count, "events were lost");
            }
            _ => {}
        }
        // A tap that always has something would keep its worker to itself.
        tokio::task::consume_budget().await;
    }
}

const TARGET: &str = "coppicer::events";

fn level(fact: &Fact) -> Level {
    match fact {
        Fact::Runtime(event) => match event {
            RuntimeEvent::StoreAiling { .. }
            | RuntimeEvent::ThreadParked
            | RuntimeEvent::RecoveryFailed { again: false, .. }
            | RuntimeEvent::ThreadEnded { how: Ended::Crashed { .. } | Ended::Damaged { .. } } => {
                Level::ERROR
            }
            RuntimeEvent::SpawnRefused { .. }
            | RuntimeEvent::SpawnUndone
            | RuntimeEvent::RestartScheduled { .. }
            | RuntimeEvent::RecoveryFailed { .. }
            | RuntimeEvent::ThreadsNotCounted { .. }
            | RuntimeEvent::ThreadEnded {
                how: Ended::Killed | Ended::Fenced | Ended::StoreLost { .. },
            } => Level::WARN,
            RuntimeEvent::CloseEnded { timed_out, .. } if *timed_out > 0 => Level::WARN,
            RuntimeEvent::ThreadDescribed { .. } => Level::DEBUG,
            _ => Level::INFO,
        },
        Fact::Thread(event) => match event {
            ThreadEvent::Crashed { .. } | ThreadEvent::DamageFound { .. } => Level::ERROR,
            ThreadEvent::TurnRetried { .. }
            | ThreadEvent::BackoffStarted { .. }
            | ThreadEvent::TurnFenced
            | ThreadEvent::TurnEnded {
                outcome: Outcome::Failed { .. } | Outcome::Crashed { .. },
                ..
            } => Level::WARN,
            ThreadEvent::TurnStarted { .. }
            | ThreadEvent::TurnEnded { .. }
            | ThreadEvent::QuestionAsked { .. }
            | ThreadEvent::QuestionAnswered { .. } => Level::INFO,
            _ => Level::DEBUG,
        },
    }
}

fn log(event: &Event) {
    // The level of a callsite is fixed where it stands, so each has its own.
    macro_rules! at {
        ($level:expr) => {
            if tracing::enabled!(target: TARGET, $level) {
                let Event { seq, thread, path, epoch, turn, fact, .. } = event;
                let fact_json = serde_json::to_string(fact).unwrap_or_default();
                tracing::event!(
                    target: TARGET,
                    $level,
                    event = fact.name(),
                    seq,
                    thread = thread.as_ref().map(tracing::field::display),
                    path = path.as_ref().map(tracing::field::display),
                    epoch = epoch.0,
                    turn = turn.as_ref().map(tracing::field::display),
                    fact = fact_json,
                );
            }
        };
    }
    match level(&event.fact) {
        Level::ERROR => at!(Level::ERROR),
        Level::WARN => at!(Level::WARN),
        Level::INFO => at!(Level::INFO),
        _ => at!(Level::DEBUG),
    }
}
