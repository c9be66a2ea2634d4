//! Handles: how hosts hold a thread. An address, not an actor: it stays valid across restarts.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use coppicer_messages::{
    Accepted, Answer, CloseError, CloseReport, CloseScope, ControlError, Deadline, EventKind,
    Interrupted, LeaseKind, Op, Outcome, OutcomeError, QuestionId, Reply, SpawnError, Submission,
    SubmissionId, SubmissionState, SubmitError, SupervisorMsg, TapError, ThreadId, ThreadMsg,
    ThreadStatus,
};

use crate::engine::TurnWorld;
use crate::history::{History, debug_check};
use crate::slot::{Arrival, Door, Slot, ThreadView};
use crate::store::{self, Done};
use crate::taps::{Tap, TapFilter, TapOptions};

/// One thread, as a host holds it.
///
/// A handle is an address: cheap to clone, valid across restarts of the thread, and dropping it
/// stops nothing. Two handles are equal if they are for the same life of the thread in this runtime:
/// a thread that was closed and resumed has a new one.
#[derive(Clone)]
pub struct ThreadHandle {
    slot: Arc<Slot>,
    /// Dropped after `slot`. It also knows what threads of the runtime share.
    last: LastWord,
}

/// Tells the supervisor that a thread without an actor is held by nobody any more: it may leave memory.
/// Said after the slot was let go of: of those who do so at once, the last one sees that nobody is left.
struct LastWord {
    world: Arc<TurnWorld>,
    of: Option<(ThreadId, Weak<Slot>)>,
}

impl Clone for LastWord {
    fn clone(&self) -> Self {
        Self { world: self.world.clone(), of: None }
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        // The table and the directory. An actor holds it too, and tells of its own end.
        const HELD_BY_NOBODY: usize = 2;
        if let Some((thread, slot)) = self.of.take()
            && slot.strong_count() == HELD_BY_NOBODY
        {
            self.world.uplink.send(SupervisorMsg::LetGo { thread });
        }
    }
}

impl Drop for ThreadHandle {
    fn drop(&mut self) {
        self.last.of = Some((self.slot.thread(), Arc::downgrade(&self.slot)));
    }
}

/// How a submission is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubmitOptions {
    /// How long the caller waits for the receipt; [`Limits::call_timeout`] if not said.
    ///
    /// [`Limits::call_timeout`]: coppicer_messages::Limits::call_timeout
    pub budget: Option<Duration>,
    /// Whether to wait in line when the inbox is full, instead of being refused at once.
    pub wait_for_place: bool,
}

impl SubmitOptions {
    /// Refused at once when the inbox is full.
    pub const fn new() -> Self {
        Self { budget: None, wait_for_place: false }
    }

    /// Sets how long the caller waits.
    #[must_use]
    pub const fn within(mut self, budget: Duration) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Waits in line when the inbox is full, first come first served.
    #[must_use]
    pub const fn wait_for_place(mut self) -> Self {
        self.wait_for_place = true;
        self
    }
}

impl ThreadHandle {
    /// The handle of a slot.
    #[doc(hidden)]
    pub fn new(slot: Arc<Slot>, world: Arc<TurnWorld>) -> Self {
        Self { slot, last: LastWord { world, of: None } }
    }

    /// The thread's id.
    pub fn id(&self) -> ThreadId {
        self.slot.thread()
    }

    /// Where it leads.
    pub(crate) const fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// What the thread draws on.
    #[doc(hidden)]
    pub fn purse(&self) -> Option<&crate::account::Purse> {
        self.slot.purse()
    }

    /// Whether the thread is hidden from hosts.
    #[doc(hidden)]
    pub fn is_internal(&self) -> bool {
        self.slot.is_internal()
    }

    /// The thread's status, without a message to it.
    pub fn status(&self) -> ThreadStatus {
        self.slot.with_view(|view| view.status.clone())
    }

    /// All that the thread publishes of itself, without a message to it.
    pub fn view(&self) -> ThreadView {
        self.slot.view()
    }

    /// Sends a submission; refused at once when the inbox is full. Answered once it is durable.
    ///
    /// Submissions through one handle are accepted in the order of the calls, if each is awaited.
    ///
    /// # Errors
    /// A [`SubmitError`]; only `Unknown` and `NoAnswer` leave open whether it was accepted.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the receipt. A submission that was not taken up by then is not
    /// executed; one that was may be. Send it again under the same id to know.
    pub async fn submit(&self, submission: impl Into<Submission>) -> Result<Accepted, SubmitError> {
        self.submit_with(submission, SubmitOptions::new()).await
    }

    /// Sends a submission, with options.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    ///
    /// # Cancel safety
    /// As [`submit`](Self::submit).
    pub async fn submit_with(
        &self,
        submission: impl Into<Submission>,
        options: SubmitOptions,
    ) -> Result<Accepted, SubmitError> {
        let deadline = self.deadline(options.budget);
        let submission = submission.into();
        if options.wait_for_place && !submission.op.is_control() {
            check(&self.last.world, &submission)?;
            let entry = Arrival::of(&submission.op);
            let make = || message(&self.last.world, &self.slot, submission, deadline);
            return self.slot.submit_in_line(entry, deadline, make).await?.wait().await;
        }
        submit_to(&self.last.world, &self.slot, submission, deadline).await
    }

    /// Sends a submission and waits for its outcome, as long as that takes.
    ///
    /// # Errors
    /// The submission was refused; the runtime has ended.
    ///
    /// # Cancel safety
    /// Dropping the future stops nothing: the submission goes on.
    pub async fn run(&self, submission: impl Into<Submission>) -> Result<Outcome, OutcomeError> {
        let mut submission = submission.into();
        // The id is made here, so that the wait for its outcome begins before it is sent.
        let made = submission.id.is_none();
        let id = submission.id.take().unwrap_or_else(|| self.new_id());
        if !made {
            let receipt = self.submit(submission.with_id(id)).await?;
            return self.outcome(&receipt.submission).await;
        }
        let far = self.deadline(Some(FAR));
        let waiting = self.await_outcome(&id, far);
        check(&self.last.world, &submission)?;
        let deadline = self.deadline(None);
        let to = lane_of(&submission.op);
        let make = || message_as(&self.last.world, &self.slot, submission, id, false, deadline);
        send(&self.slot, to, make)?.wait().await?;
        match waiting.wait_for_ever().await {
            Err(OutcomeError::Closed { submission, .. }) => self.settled(&submission, far).await,
            outcome => outcome,
        }
    }

    /// Waits for the outcome of a submission, as long as that takes. Answers at once for one that
    /// has ended, also in an earlier life of the thread or the host.
    ///
    /// # Errors
    /// The thread never accepted such a submission; the store cannot be read; the runtime has ended.
    pub async fn outcome(&self, submission: &SubmissionId) -> Result<Outcome, OutcomeError> {
        self.outcome_within(submission, FAR).await
    }

    /// Waits for the outcome of a submission until `budget` is over, whatever the store does.
    ///
    /// # Errors
    /// As [`outcome`](Self::outcome), and `NoAnswer`.
    ///
    /// # Cancel safety
    /// Dropping the future stops nothing: the submission goes on.
    pub async fn outcome_within(
        &self,
        submission: &SubmissionId,
        budget: Duration,
    ) -> Result<Outcome, OutcomeError> {
        let deadline = self.last.world.clock.deadline(budget);
        // Registered before looking, so that an outcome in between is not missed.
        let told = self.await_outcome(submission, deadline).wait();
        let mut told = std::pin::pin!(told);
        let told = tokio::select! {
            biased;
            told = &mut told => told,
            // A store that hangs holds up nobody who is told of the outcome meanwhile.
            found = self.look_up(submission, deadline) => match found? {
                Some(outcome) => return Ok(outcome),
                None => told.await,
            },
        };
        match told {
            Err(OutcomeError::Closed { .. }) => self.settled(submission, deadline).await,
            told => told,
        }
    }

    /// The outcome that the store has of a submission by now; none if it has not ended.
    async fn look_up(
        &self,
        submission: &SubmissionId,
        deadline: Deadline,
    ) -> Result<Option<Outcome>, OutcomeError> {
        let (done, found) = Done::channel();
        self.last.world.store.submission(self.id(), submission, done);
        match tokio::time::timeout_at(deadline.instant(), found).await {
            Err(_) => Err(OutcomeError::NoAnswer),
            Ok(Ok(Some(known))) => Ok(match known.state {
                SubmissionState::Ended(outcome) => Some(outcome),
                _ => None,
            }),
            Ok(Ok(None)) => {
                Err(OutcomeError::Unknown { thread: self.id(), submission: submission.clone() })
            }
            Ok(Err(error)) => Err(OutcomeError::Store(error)),
        }
    }

    /// The outcome of a submission whose thread is closed, if the store has one: it may have been
    /// written while nobody was left to tell it (P3).
    async fn settled(
        &self,
        submission: &SubmissionId,
        deadline: Deadline,
    ) -> Result<Outcome, OutcomeError> {
        let closed = || OutcomeError::Closed { thread: self.id(), submission: submission.clone() };
        self.look_up(submission, deadline).await?.ok_or_else(closed)
    }

    /// Stops the running turn. Answered once its end is durable; with
    /// [`Interrupted::NothingRan`] if none ran. Idempotent.
    ///
    /// # Errors
    /// Too many control messages wait; no answer in time.
    pub async fn interrupt(&self) -> Result<Interrupted, ControlError> {
        self.control(|reply| ThreadMsg::Interrupt { reply }).await
    }

    /// Parks the thread: its running turn is interrupted, and no other starts until it is
    /// [revived](Self::revive). What is queued stays queued; what is submitted meanwhile is refused.
    /// Durable once it is answered, and idempotent. Answered within
    /// [`Limits::call_timeout`](coppicer_messages::Limits::call_timeout).
    ///
    /// # Errors
    /// The thread is closing or closed; no answer in time.
    pub async fn park(&self) -> Result<(), ControlError> {
        self.control(|reply| ThreadMsg::Park { reply }).await
    }

    /// Lets a parked thread run again, with a fresh budget of restarts.
    ///
    /// # Errors
    /// The thread is not parked; no answer in time.
    pub async fn revive(&self) -> Result<(), ControlError> {
        self.control(|reply| ThreadMsg::Revive { reply }).await
    }

    /// Gives up the thread's actor until the next submission. Its inbox stays open.
    ///
    /// # Errors
    /// The thread has work; no answer in time.
    pub async fn hibernate(&self) -> Result<(), ControlError> {
        self.control(|reply| ThreadMsg::Hibernate { reply }).await
    }

    /// Answers an engine's question.
    ///
    /// # Errors
    /// No such question waits.
    pub async fn answer(
        &self,
        question: QuestionId,
        answer: serde_json::Value,
    ) -> Result<(), SubmitError> {
        let (reply, waiting) = self.channel(self.deadline(None));
        let msg = ThreadMsg::Answer { question, answer, reply };
        send_control(&self.slot, msg)?;
        waiting.wait().await
    }

    /// The thread's durable records, with all that was emitted before the call. Answered within
    /// [`Limits::call_timeout`](coppicer_messages::Limits::call_timeout).
    ///
    /// # Errors
    /// The store cannot be read, or does not answer in time (`Unavailable`).
    pub async fn history(&self) -> Result<History, coppicer_messages::StoreError> {
        let deadline = self.deadline(None);
        // A thread that is busy is asked to flush first; one that sleeps or is gone has nothing to
        // flush, and is not woken to be read.
        let flushed = if self.slot.door() == Door::Dormant {
            None
        } else {
            let flushed = self.control(|reply| ThreadMsg::Flush { reply }).await;
            flushed.ok().map(|flushed| flushed.head)
        };
        let read = self.last.world.store.read(self.id(), flushed);
        store::by(deadline, read).await.inspect(debug_check)
    }

    /// The thread's facts from now on.
    ///
    /// # Errors
    /// Too many taps; the runtime has ended.
    pub fn events(&self) -> Result<Tap, TapError> {
        self.last.world.hub.tap(TapOptions::matching(TapFilter::thread(self.id())))
    }

    /// The thread's changes of status from now on, numbered: none is skipped unless the stream says so.
    ///
    /// # Errors
    /// Too many taps; the runtime has ended.
    pub fn status_changes(&self) -> Result<Tap, TapError> {
        let filter = TapFilter::thread(self.id()).kinds([EventKind::Status]);
        self.last.world.hub.tap(TapOptions::matching(filter))
    }

    /// Closes the thread and all below it, within `budget`. The report arrives by then, whatever
    /// threads do (P5). Closing a closed thread is a success.
    ///
    /// # Errors
    /// No such thread; the runtime has ended.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the report; the close goes on.
    pub async fn close(&self, budget: Duration) -> Result<CloseReport, CloseError> {
        let lease = self.last.world.leases.grant_to(LeaseKind::PendingReply, self.slot.holdings());
        let slack = self.last.world.limits.close_slack;
        let deadline = self.deadline(Some(budget));
        let (reply, answer) = Reply::channel_with_slack(deadline, slack, Some(lease));
        let scope = CloseScope::Thread(self.id());
        if !self.last.world.uplink.send(SupervisorMsg::Close {
            scope,
            drain: Duration::ZERO,
            reply,
        }) {
            return Err(CloseError::RuntimeEnded);
        }
        answer.wait().await
    }

    /// Makes the thread's actor panic, as a fault of ours would.
    #[cfg(feature = "testing")]
    pub fn panic_for_test(&self) {
        self.slot.order(ThreadMsg::PanicForTest);
    }

    async fn control<T>(
        &self,
        msg: impl FnOnce(Reply<T, ControlError>) -> ThreadMsg,
    ) -> Result<T, ControlError> {
        let (reply, answer) = self.channel(self.deadline(None));
        match self.slot.control(msg(reply)) {
            Ok(()) => answer.wait().await,
            Err((msg, ControlError::NotFound { thread })) => {
                // Closed: some requests have an answer all the same.
                crate::slot::refuse_closed(msg, thread);
                answer.wait().await
            }
            Err((_, error)) => Err(error),
        }
    }

    fn await_outcome(
        &self,
        submission: &SubmissionId,
        deadline: Deadline,
    ) -> Answer<Outcome, OutcomeError> {
        let (reply, answer) = self.channel(deadline);
        self.slot.await_outcome(submission.clone(), reply);
        answer
    }

    fn new_id(&self) -> SubmissionId {
        self.last.world.ids.submission(self.last.world.clock.now().at_ms)
    }

    fn deadline(&self, budget: Option<Duration>) -> Deadline {
        self.last.world.clock.deadline(budget.unwrap_or(self.last.world.limits.call_timeout))
    }

    fn channel<T, E>(&self, deadline: Deadline) -> (Reply<T, E>, Answer<T, E>) {
        let lease = self.last.world.leases.grant_to(LeaseKind::PendingReply, self.slot.holdings());
        Reply::channel(deadline, Some(lease))
    }
}

/// Long enough to be no deadline.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The slot of a thread. One that has none is brought up first, if it is in the store and not closed.
///
/// # Errors
/// It could not be brought up by the deadline.
#[doc(hidden)]
pub async fn slot_or_wake(
    world: &TurnWorld,
    thread: ThreadId,
    deadline: Deadline,
) -> Result<Arc<Slot>, SpawnError> {
    loop {
        if let Some(slot) = (world.find)(thread) {
            return Ok(slot);
        }
        let lease = world.leases.grant_to(LeaseKind::PendingReply, world.leases.runtime());
        let (reply, answer) = Reply::channel(deadline, Some(lease));
        if !world.uplink.send(SupervisorMsg::Wake { thread, reply }) {
            return Err(SpawnError::RuntimeEnded);
        }
        // Up, and most likely still there; if it went to sleep again, it is woken again.
        answer.wait().await?;
    }
}

/// Why a submission to a thread without a slot was not accepted.
#[doc(hidden)]
pub fn not_woken(thread: ThreadId, refusal: SpawnError) -> SubmitError {
    match refusal {
        SpawnError::NotFound { thread } => SubmitError::NotFound { thread },
        SpawnError::Closed { .. } | SpawnError::Closing { .. } => SubmitError::Closed { thread },
        SpawnError::Store(error) => SubmitError::Store(error),
        SpawnError::NoAnswer => SubmitError::NoAnswer,
        SpawnError::RuntimeEnded => SubmitError::RuntimeEnded,
        reason => SubmitError::NotUp { thread, reason: Box::new(reason) },
    }
}

/// Sends a submission to a slot, refused at once when it is full.
pub(crate) async fn submit_to(
    world: &TurnWorld,
    slot: &Slot,
    submission: Submission,
    deadline: Deadline,
) -> Result<Accepted, SubmitError> {
    check(world, &submission)?;
    let to = lane_of(&submission.op);
    send(slot, to, || message(world, slot, submission, deadline))?.wait().await
}

/// Through the inbox; none for what goes into the control lane.
const fn lane_of(op: &Op) -> Option<Arrival> {
    if op.is_control() { None } else { Some(Arrival::of(op)) }
}

/// Puts a submission into the lane that it belongs to. A full inbox refuses before it is made.
fn send(
    slot: &Slot,
    inbox: Option<Arrival>,
    make: impl FnOnce() -> (ThreadMsg, Answer<Accepted, SubmitError>),
) -> Result<Answer<Accepted, SubmitError>, SubmitError> {
    if let Some(entry) = inbox {
        return slot.submit(entry, make);
    }
    let (msg, answer) = make();
    send_control(slot, msg)?;
    Ok(answer)
}

fn send_control(slot: &Slot, msg: ThreadMsg) -> Result<(), SubmitError> {
    slot.control(msg).map_err(|(_, error)| match error {
        ControlError::Overloaded { waiting } => {
            SubmitError::Overloaded { depth: waiting, capacity: waiting }
        }
        _ => SubmitError::Closed { thread: slot.thread() },
    })
}

/// What can be refused without asking the thread.
#[doc(hidden)]
pub fn check(world: &TurnWorld, submission: &Submission) -> Result<(), SubmitError> {
    let max = world.limits.submission_bytes_max;
    let got = match &submission.op {
        Op::UserInput { input, .. } => input.preview_len(),
        Op::AgentMessage { content, .. } => content.len(),
        Op::Inject { items } => items.iter().map(|item| item.to_string().len()).sum(),
        Op::UpdateConfig { settings } => settings.to_string().len(),
        Op::Answer { answer, .. } => answer.to_string().len(),
        _ => 0,
    };
    if got > max { Err(SubmitError::TooLarge { got, max }) } else { Ok(()) }
}

fn message(
    world: &TurnWorld,
    slot: &Slot,
    mut submission: Submission,
    deadline: Deadline,
) -> (ThreadMsg, Answer<Accepted, SubmitError>) {
    let chosen = submission.id.is_some();
    let id = submission.id.take().unwrap_or_else(|| world.ids.submission(world.clock.now().at_ms));
    message_as(world, slot, submission, id, chosen, deadline)
}

/// The message that carries a submission, and where its receipt arrives.
pub(crate) fn message_as(
    world: &TurnWorld,
    slot: &Slot,
    submission: Submission,
    id: SubmissionId,
    chosen: bool,
    deadline: Deadline,
) -> (ThreadMsg, Answer<Accepted, SubmitError>) {
    let lease = world.leases.grant_to(LeaseKind::PendingReply, slot.holdings());
    let (reply, answer) = Reply::channel(deadline, Some(lease));
    (ThreadMsg::Submit { submission, id, chosen, reply }, answer)
}

impl PartialEq for ThreadHandle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot)
    }
}

impl Eq for ThreadHandle {}

impl fmt::Debug for ThreadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadHandle")
            .field("thread", &self.id())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
