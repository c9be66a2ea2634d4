//! What the store has after everything was closed: the durable outcomes, and sound histories.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use coppicer::{
    Done, StoreError, SubmissionId, SubmissionState, ThreadId, ThreadStore, digest, open_calls,
    turn_state, wire_validity,
};

use super::jobs::Job;
use super::report::Report;
use crate::cli::text;

/// What is said of a submission without a durable outcome.
const LOST: &str = "lost";

/// Counts the durable outcomes of all jobs, and checks every history.
pub(super) async fn verify(
    store: &dyn ThreadStore,
    jobs: &BTreeMap<ThreadId, Job>,
    report: &mut Report,
) {
    let mut outcomes = String::new();
    for (&thread, job) in jobs {
        for submission in job.ids() {
            let name = match state_of(store, thread, &submission).await {
                Ok(Some(SubmissionState::Ended(outcome))) => outcome.name(),
                // What was not sent any more has no outcome, nor what would have come after it.
                Ok(None) if report.interrupted => break,
                Ok(_) | Err(_) => {
                    report.lost += 1;
                    LOST
                }
            };
            // Writing to a string does not fail.
            let _ = writeln!(outcomes, "{thread} {submission} {name}");
            if name != LOST {
                *report.turns.entry(name.to_owned()).or_default() += 1;
            }
        }
        if let Err(flaw) = check_history(store, thread).await {
            report.invalid_histories.push(format!("thread {thread}: {flaw}"));
        }
    }
    report.outcomes = digest(outcomes.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
}

pub(super) async fn state_of(
    store: &dyn ThreadStore,
    thread: ThreadId,
    submission: &SubmissionId,
) -> Result<Option<SubmissionState>, StoreError> {
    let (done, found) = Done::channel();
    store.submission(thread, submission, done);
    Ok(found.await?.map(|known| known.state))
}

/// A history is sound if a model can be shown it, and nothing in it is open.
async fn check_history(store: &dyn ThreadStore, thread: ThreadId) -> Result<(), String> {
    let history = store.read(thread, None).await.map_err(|error| text::with_causes(&error))?;
    wire_validity(&history).map_err(|flaw| flaw.to_string())?;
    let calls = open_calls(&history).len();
    if calls > 0 {
        return Err(format!("{} without an output", text::count(calls, "tool call")));
    }
    if turn_state(&history).mid_turn {
        return Err("its last turn has no end".to_owned());
    }
    Ok(())
}
