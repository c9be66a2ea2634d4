//! What each thread of a run is sent, and sending it.

use std::sync::Arc;

use coppicer::{
    History, Outcome, Submission, SubmissionId, ThreadHandle, ThreadId, recorded_turns, turn_state,
};
use futures::future::{BoxFuture, Shared};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::progress::Progress;

/// Most outcomes that wait to be counted.
const ENDED_MAX: usize = 1_024;

/// What one thread is sent, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// The input of a turn that the session left unfinished.
    unfinished: Option<String>,
    /// What further turns are sent, in order and from the first again.
    texts: Arc<[String]>,
    turns: u32,
}

impl Job {
    /// The unfinished turn again, then `turns` of the recorded inputs.
    pub(super) fn of_session(history: &History, turns: u32) -> Self {
        let recorded = recorded_turns(history);
        let unfinished = turn_state(history).mid_turn;
        let last = || recorded.last().and_then(|turn| turn.user_input.clone());
        let unfinished = unfinished.then(last).flatten();
        let texts = recorded.into_iter().filter_map(|turn| turn.user_input).collect();
        Self { unfinished, texts, turns }
    }

    /// `turns` of a fresh thread.
    pub(super) fn of_fresh(turns: u32) -> Self {
        Self { unfinished: None, texts: Arc::default(), turns }
    }

    pub(super) fn has_unfinished(&self) -> bool {
        self.unfinished.is_some()
    }

    /// How many submissions it is.
    pub(super) fn len(&self) -> usize {
        self.turns as usize + usize::from(self.has_unfinished())
    }

    /// The ids of its submissions, in order. The same in every run, so that the same ones crash.
    pub(super) fn ids(&self) -> impl Iterator<Item = SubmissionId> + use<> {
        let unfinished = self.unfinished.is_some().then(|| "unfinished".to_owned());
        let turns = (1..=self.turns).map(|turn| turn.to_string());
        unfinished.into_iter().chain(turns).map(|name| {
            SubmissionId::new(format!("run.{name}")).expect("a word or a number is a short id")
        })
    }

    /// Its inputs, in the order of [`ids`](Self::ids).
    fn inputs(&self) -> impl Iterator<Item = String> {
        let text = |turn: u32| match self.texts.len() {
            0 => format!("turn {turn}"),
            texts => self.texts[(turn as usize - 1) % texts].clone(),
        };
        self.unfinished.iter().cloned().chain((1..=self.turns).map(text))
    }
}

/// Done when the user interrupts the run.
pub(super) type Interrupt = Shared<BoxFuture<'static, ()>>;

/// Sends every thread what its job says, all threads side by side. Returns early when `interrupt`
/// is done: then what was not sent is not sent. Gives what went wrong.
pub(super) async fn send_all(
    jobs: Vec<(ThreadHandle, Job)>,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Sent {
    let (told, mut ended) = mpsc::channel(ENDED_MAX);
    let mut tasks = JoinSet::new();
    for (handle, job) in jobs {
        tasks.spawn(send(handle, job, told.clone()));
    }
    drop(told);
    let mut interrupt = interrupt.clone();
    let mut sent = Sent::default();
    loop {
        tokio::select! {
            biased;
            () = &mut interrupt => {
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
    for (submission, text) in job.ids().zip(job.inputs()) {
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
