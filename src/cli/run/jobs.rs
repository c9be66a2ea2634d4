//! What each thread of a run is sent, and sending it.

use std::sync::Arc;

use coppicer::{
    History, Outcome, OutcomeError, Submission, SubmissionId, SubmitError, ThreadHandle, ThreadId,
    digest, recorded_turns, turn_state,
};
use futures::future::{BoxFuture, Shared};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::engine::EngineKind;
use super::lot::Lot;
use super::progress::Progress;

/// Most outcomes that wait to be counted.
const ENDED_MAX: usize = 1_024;

/// How often a submission is sent again when it is not known whether it was accepted.
const TRIES_MAX: u32 = 10;

/// What one thread is sent, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// The input of a turn that the session left unfinished.
    unfinished: Option<String>,
    /// What further turns are sent, in order and from the first again.
    texts: Arc<[String]>,
    order: Orders,
    /// Tells these inputs from others.
    key: Arc<str>,
}

/// What every job of a run has in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Orders {
    pub(super) turns: u32,
    pub(super) lot: Lot,
    pub(super) engine: EngineKind,
}

impl Job {
    /// The unfinished turn again, then the recorded inputs.
    pub(super) fn of_session(history: &History, order: Orders) -> Self {
        let recorded = recorded_turns(history);
        let unfinished = turn_state(history).mid_turn;
        let last = || recorded.last().and_then(|turn| turn.user_input.clone());
        let unfinished = unfinished.then(last).flatten();
        let texts: Arc<[String]> =
            recorded.into_iter().filter_map(|turn| turn.user_input).collect();
        let all = serde_json::to_vec(&(&unfinished, &*texts)).unwrap_or_default();
        let key =
            digest(&all)[..8].iter().fold(String::new(), |key, byte| format!("{key}{byte:02x}"));
        Self { unfinished, texts, order, key: key.into() }
    }

    /// The turns of a fresh thread.
    pub(super) fn of_fresh(order: Orders) -> Self {
        Self { unfinished: None, texts: Arc::default(), order, key: "fresh".into() }
    }

    pub(super) fn has_unfinished(&self) -> bool {
        self.unfinished.is_some()
    }

    /// How many submissions it is.
    pub(super) fn len(&self) -> usize {
        self.order.turns as usize + usize::from(self.has_unfinished())
    }

    /// The ids of its submissions, in order. The same whenever the same is run, so that the same ones
    /// crash, and what an earlier run of the store has done is not done again.
    pub(super) fn ids(&self) -> impl Iterator<Item = SubmissionId> + use<> {
        let unfinished = self.unfinished.is_some().then(|| "unfinished".to_owned());
        let Orders { turns, lot, engine } = self.order;
        let key = self.key.clone();
        let names = unfinished.into_iter().chain((1..=turns).map(|turn| turn.to_string()));
        names.map(move |name| lot.submission(engine.as_str(), &key, &name))
    }

    /// Its inputs, in the order of [`ids`](Self::ids).
    fn inputs(&self) -> impl Iterator<Item = String> {
        let text = |turn: u32| match self.texts.len() {
            0 => format!("turn {turn}"),
            texts => self.texts[(turn as usize - 1) % texts].clone(),
        };
        self.unfinished.iter().cloned().chain((1..=self.order.turns).map(text))
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
        let ended = run(&handle, input).await.map_err(|error| {
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

/// Sends it until it is known what became of it: the same id runs nothing twice (P3).
async fn run(handle: &ThreadHandle, input: Submission) -> Result<Outcome, OutcomeError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match handle.run(input.clone()).await {
            Err(OutcomeError::Refused(SubmitError::NoAnswer | SubmitError::Unknown { .. }))
                if tries < TRIES_MAX => {}
            ended => return ended,
        }
    }
}
