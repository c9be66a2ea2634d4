//! The client of one slot: carries out its script step by step, tells each acknowledgement, and sends
//! again what was not acknowledged.

use std::time::Duration;

use coppicer::{
    Budget, ForkPoint, OnCrash, Outcome, Runtime, SpawnError, SpawnThread, SubmitError,
    ThreadConfig, ThreadHandle, ThreadId,
};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::task::JoinHandle;

use super::{Acks, Args, restarts};
use crate::dice::Dice;
use crate::oracle::GoesOn;
use crate::plan::{Step, StepId, script, submission, submission_of, thread_of};
use crate::words::Word;

/// How much later than its deadline an answer may come on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// What a root may use, and what a sub-agent of it is given: both limit the same, so that it can be
/// moved.
const ROOT: Budget = Budget::new().with_tokens(1_000_000_000).with_spawns(1_000_000);
const CHILD: Budget = Budget::new().with_tokens(10_000).with_spawns(10);

/// The budget of a close.
const CLOSE: Duration = Duration::from_secs(3);

/// The pause before a refused step is tried again.
const AGAIN: Duration = Duration::from_millis(40);

/// How far a client that is to be found out is ahead of the truth: about as long as a step takes
/// else, so that at any kill half of the clients have told something that is not so.
const TOO_EARLY: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(super) struct Client {
    runtime: Runtime,
    acks: Acks,
    args: Args,
}

impl Client {
    pub(super) const fn new(runtime: Runtime, acks: Acks, args: Args) -> Self {
        Self { runtime, acks, args }
    }

    /// Works from a step on: for ever, or to the end of the life.
    pub(super) async fn work(&self, slot: u64, goes_on: GoesOn) {
        let mut next = StepId { slot, life: goes_on.life, at: goes_on.at };
        let mut dice = Dice::of(self.args.seed, &[next.slot, next.life, next.at, 9]);
        let mut waiting = FuturesUnordered::new();
        let steps = script(self.args.seed, next.slot, next.life);
        for at in goes_on.waits {
            let Some(reader) = steps.get(at as usize).and_then(|step| step.reader(at)) else {
                continue;
            };
            waiting.push(self.tell_later(reader, StepId { at, ..next }));
        }
        loop {
            let steps = script(self.args.seed, next.slot, next.life);
            let Some(step) = steps.get(next.at as usize) else {
                // Outcomes of a life are told before the next one begins.
                while waiting.next().await.is_some() {}
                if self.args.finish {
                    return;
                }
                next = StepId { life: next.life + 1, at: 0, ..next };
                continue;
            };
            // A close returns what waits in the thread: outcomes after it would be unknown to us.
            if let Step::Close { .. } = step {
                while waiting.next().await.is_some() {}
            }
            if self.args.broken {
                self.acks.say(&Word::Did(next));
                tokio::time::sleep(TOO_EARLY).await;
            }
            self.persist(step, next).await;
            if !self.args.broken {
                self.acks.say(&Word::Did(next));
            }
            if let Some(reader) = step.reader(next.at) {
                let waits = self.tell_later(reader, next);
                if let Step::Say { wait: true, .. } = step {
                    drop(waits.await);
                } else {
                    waiting.push(waits);
                }
            }
            next.at += 1;
            let pause = Duration::from_millis(dice.below(self.args.pause_ms + 1));
            tokio::time::sleep(pause).await;
        }
    }

    /// Tells the outcome of a step's submission to the thread that step `reader` made.
    fn tell_later(&self, reader: u64, id: StepId) -> JoinHandle<()> {
        let thread = thread_of(self.args.seed, StepId { at: reader, ..id });
        let told = self.clone();
        tokio::spawn(async move { told.tell_outcome(thread, id).await })
    }

    /// Carries a step out, however often it has to be sent.
    async fn persist(&self, step: &Step, id: StepId) {
        while let Err(why) = self.carry_out(step, id).await {
            self.acks.say(&Word::Error(id, why));
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn carry_out(&self, step: &Step, id: StepId) -> Result<(), String> {
        let seed = self.args.seed;
        let root = thread_of(seed, StepId { at: 0, ..id });
        let thread = thread_of(seed, id);
        match step {
            Step::Open => self.make(id, SpawnThread::new().with_id(thread), Some(ROOT)).await,
            Step::Child => {
                let request = SpawnThread::new().with_id(thread).with_parent(root);
                self.make(id, request.with_name(format!("c{}", id.at)), Some(CHILD)).await
            }
            Step::Fork => {
                let request = SpawnThread::fork(root, ForkPoint::LastStable).with_id(thread);
                self.make(id, request, None).await
            }
            Step::Say { to, .. } => {
                self.submit(id, thread_of(seed, StepId { at: *to, ..id })).await
            }
            Step::Delegate => self.submit(id, root).await,
            Step::Move { made, to } => {
                let [thread, to] = [made, to].map(|at| thread_of(seed, StepId { at: *at, ..id }));
                let moved = self.runtime.adopt(thread, Some(to));
                self.in_time(id, "adopt", self.call(), moved).await?.map_err(|error| text(&error))
            }
            Step::Close { made } => {
                let thread = thread_of(seed, StepId { at: *made, ..id });
                let closed =
                    self.in_time(id, "close", CLOSE, self.runtime.close(thread, CLOSE)).await?;
                match closed {
                    Ok(report)
                        if report.timed_out.is_empty() && report.submit_failed.is_empty() =>
                    {
                        Ok(())
                    }
                    Ok(report) => {
                        let left = report.threads.iter().find_map(|row| row.left.clone());
                        Err(format!("the close left: {}", left.unwrap_or_default()))
                    }
                    Err(error) => Err(text(&error)),
                }
            }
        }
    }

    /// Makes a thread with the step's submission as its first.
    async fn make(
        &self,
        id: StepId,
        request: SpawnThread,
        budget: Option<Budget>,
    ) -> Result<(), String> {
        let mut config = ThreadConfig::default().with_restart(restarts());
        config.budget = budget;
        if id.slot.is_multiple_of(3) {
            config = config.with_on_crash(OnCrash::Requeue { attempts_max: 1_000 });
        }
        let thread = request.id.ok_or("no id")?;
        let request = request.with_config(config).with_first(submission(self.args.seed, id));
        let budget = self.call();
        match self.in_time(id, "spawn", budget, self.runtime.spawn(request)).await? {
            Ok(_) => Ok(()),
            // It was made by a call that was not acknowledged.
            Err(SpawnError::Exists { .. } | SpawnError::PathTaken { .. }) => {
                self.submit(id, thread).await
            }
            Err(SpawnError::ParentGone { parent }) => {
                self.handle(id, parent).await?;
                Err("its parent was gone".into())
            }
            Err(error) => Err(text(&error)),
        }
    }

    async fn submit(&self, id: StepId, thread: ThreadId) -> Result<(), String> {
        let handle = self.handle(id, thread).await?;
        let sent = handle.submit(submission(self.args.seed, id));
        match self.in_time(id, "submit", self.call(), sent).await? {
            Ok(receipt) if receipt.submission == submission_of(id) => Ok(()),
            Ok(receipt) => Err(format!("a receipt of {}", receipt.submission)),
            Err(SubmitError::Closed { .. } | SubmitError::NotFound { .. }) => {
                let resumed = self.runtime.resume(thread);
                self.in_time(id, "resume", self.call(), resumed)
                    .await?
                    .map_err(|error| text(&error))?;
                Err("it was closed".into())
            }
            Err(SubmitError::Parked { .. }) => {
                self.in_time(id, "revive", self.call(), handle.revive())
                    .await?
                    .map_err(|it| text(&it))?;
                Err("it was parked".into())
            }
            Err(error) => Err(text(&error)),
        }
    }

    async fn handle(&self, id: StepId, thread: ThreadId) -> Result<ThreadHandle, String> {
        if let Some(handle) = self.runtime.get(thread) {
            return Ok(handle);
        }
        let resumed = self.runtime.resume(thread);
        self.in_time(id, "resume", self.call(), resumed).await?.map_err(|error| text(&error))
    }

    /// Waits for an outcome, and tells it.
    async fn tell_outcome(&self, thread: ThreadId, id: StepId) {
        let budget = Duration::from_millis(500);
        loop {
            if let Ok(handle) = self.handle(id, thread).await {
                let submission = submission_of(id);
                let waits = handle.outcome_within(&submission, budget);
                match self.in_time(id, "outcome", budget, waits).await {
                    Ok(Ok(outcome)) => return self.acks.say(&Word::Outcome(id, json(&outcome))),
                    Ok(Err(coppicer::OutcomeError::NoAnswer)) => continue,
                    _ => {}
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn call(&self) -> Duration {
        Duration::from_millis(self.args.call_ms)
    }

    /// Every call ends by its deadline; one that does not is told.
    async fn in_time<T>(
        &self,
        id: StepId,
        what: &str,
        budget: Duration,
        call: impl Future<Output = T>,
    ) -> Result<T, String> {
        if let Ok(answer) = tokio::time::timeout(budget + SLACK, call).await {
            return Ok(answer);
        }
        self.acks.say(&Word::Late(id, what.to_owned()));
        Err(format!("{what} did not end by its deadline"))
    }
}

/// An error with its causes.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn json(outcome: &Outcome) -> String {
    serde_json::to_string(outcome).unwrap_or_default()
}
