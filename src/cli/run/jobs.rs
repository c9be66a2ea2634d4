//! What each thread of a run is sent, and sending it.

use coppicer_actors::{History, ThreadHandle, recorded_turns, turn_state};
use coppicer_messages::{Outcome, Submission, SubmissionId, ThreadId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::progress::Progress;

/// Most outcomes that wait to be counted.
const ENDED_MAX: usize = 1_024;

/// What one thread is sent, one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    pub(super) inputs: Vec<(SubmissionId, String)>,
    /// Whether the first of them is unfinished work.
    pub(super) has_unfinished: bool,
}

/// The job of a session: its unfinished turn again, then `turns` of its recorded inputs in order.
pub(super) fn of_session(history: &History, turns: u32) -> Job {
    let recorded = recorded_turns(history);
    let mut inputs = Vec::new();
    let unfinished = turn_state(history)
        .mid_turn
        .then(|| recorded.last().and_then(|turn| turn.user_input.clone()))
        .flatten();
    let has_unfinished = unfinished.is_some();
    inputs.extend(unfinished.map(|text| (id("unfinished"), text)));
    let texts: Vec<String> = recorded.into_iter().filter_map(|turn| turn.user_input).collect();
    inputs.extend((1..=turns).map(|turn| {
        let text = texts.get((turn as usize - 1) % texts.len().max(1)).cloned();
        (id(&turn.to_string()), text.unwrap_or_else(|| format!("turn {turn}")))
    }));
    Job { inputs, has_unfinished }
}

/// The job of a fresh thread.
pub(super) fn of_fresh(turns: u32) -> Job {
    let inputs = (1..=turns).map(|turn| (id(&turn.to_string()), format!("turn {turn}")));
    Job { inputs: inputs.collect(), has_unfinished: false }
}

fn id(name: &str) -> SubmissionId {
    SubmissionId::new(format!("run.{name}")).expect("short and plain")
}

/// Sends every thread what its job says, all threads side by side. Returns early when `interrupt`
/// is done: then what was not sent is not sent. Gives what went wrong.
pub(super) async fn send_all(
    jobs: Vec<(ThreadHandle, Job)>,
    progress: &mut Progress,
    interrupt: &mut (impl Future<Output = ()> + Unpin),
) -> Sent {
    let (told, mut ended) = mpsc::channel(ENDED_MAX);
    let mut tasks = JoinSet::new();
    for (handle, job) in jobs {
        tasks.spawn(send(handle, job, told.clone()));
    }
    drop(told);
    let mut sent = Sent::default();
    loop {
        tokio::select! {
            biased;
            () = &mut *interrupt => {
                sent.interrupted = true;
                break;
            }
            next = ended.recv() => match next {
                Some(Ok(outcome)) => {
                    progress.turn_ended(matches!(outcome, Outcome::Crashed { .. }));
                }
                Some(Err(failure)) => sent.failures.push(failure),
                None => break,
            },
        }
    }
    tasks.shutdown().await;
    sent
}

/// What came of sending.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) failures: Vec<String>,
    pub(super) interrupted: bool,
}

async fn send(handle: ThreadHandle, job: Job, told: mpsc::Sender<Result<Outcome, String>>) {
    let thread: ThreadId = handle.id();
    for (submission, text) in job.inputs {
        let input = Submission::input(text).with_id(submission.clone());
        let ended = handle.run(input).await.map_err(|error| {
            let error = crate::cli::text::with_causes(&error);
            format!("thread {thread}: {submission}: {error}")
        });
        let failed = ended.is_err();
        // Nobody counts any more when the run was interrupted.
        if told.send(ended).await.is_err() || failed {
            return;
        }
    }
}
