//! What a running turn can do.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coppicer_messages::{
    Accepted, AdoptError, Asker, Budget, CloseError, CloseReport, CloseScope, ControlError,
    Deadline, Epoch, EventKind, Fact, LeaseKind, Mail, MailId, NewRecord, Op, Reply, Seq,
    SpawnError, SpawnThread, StoreError, Submission, SubmitError, SupervisorMsg, ThreadEvent,
    ThreadId, ThreadMsg, ThreadStatus, TraceContext, TurnId, TurnItem, Usage,
};

use super::Item;
use super::clock::asks;
use super::errors::{EmitError, HistoryError, TurnStopped};
use super::link::{TurnLink, TurnWorld};
use crate::account::Spending;
use crate::handle::{check, not_woken, slot_or_wake, submit_to};
use crate::history::{History, Line, classify, debug_check};
use crate::slot::{Door, Slot};
use crate::store::{self, EdgeStatus, count_mail};
use crate::traces::TurnTrace;

/// What a running turn can do: add to its history, ask its host, and work with sub-agents.
///
/// Once the turn is killed, each of these fails and changes nothing.
pub struct TurnContext {
    pub(crate) world: Arc<TurnWorld>,
    pub(crate) slot: Arc<Slot>,
    pub(crate) link: Arc<TurnLink>,
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
    /// What caused the turn.
    pub(crate) cause: Option<TraceContext>,
    /// Its span, if somebody records it.
    pub(crate) trace: Option<Arc<TurnTrace>>,
}

impl TurnContext {
    /// The thread.
    pub fn thread(&self) -> ThreadId {
        self.slot.thread()
    }

    /// The turn.
    pub fn turn(&self) -> &TurnId {
        &self.link.turn
    }

    /// The incarnation.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// A key that no other attempt at any turn has: thread, incarnation, and the place where the
    /// attempt began. For tools that must not act twice.
    pub fn attempt_key(&self) -> String {
        format!("{}:{}:{}", self.thread(), self.epoch, self.seq)
    }

    /// Done when the turn is to stop. Select on it beside every wait.
    pub async fn cancelled(&self) {
        self.link.cancel.cancelled().await;
    }

    /// Whether the turn is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.link.cancel.is_cancelled()
    }

    /// Adds to the history. Returns once it is on its way, not once it is durable; waits while
    /// [`Limits::emit_window_max`](coppicer_messages::Limits::emit_window_max) records are not durable yet.
    ///
    /// # Errors
    /// The turn was killed; the item is too large, or no sound item.
    pub async fn emit(&self, item: Item) -> Result<(), EmitError> {
        let at_ms = self.world.clock.now().at_ms;
        let mut said = None;
        let records: Vec<NewRecord> = match item {
            Item::Message { text, phase } => {
                let records = Line::assistant_message(at_ms, &text, phase).into();
                said = Some(text);
                records
            }
            Item::ToolCall { call, name, arguments } => {
                vec![Line::function_call(at_ms, &call, &name, &arguments)]
            }
            Item::ToolOutput { call, output } => {
                vec![Line::function_call_output(at_ms, &call, &output)]
            }
            Item::Line(raw) => vec![sound_line(&raw)?],
        };
        self.emit_records(records, said).await
    }

    pub(crate) async fn emit_records(
        &self,
        records: Vec<NewRecord>,
        said: Option<String>,
    ) -> Result<(), EmitError> {
        let max = self.world.limits.record_bytes_max;
        if let Some(long) = records.iter().find(|record| record.raw.len() > max) {
            return Err(EmitError::TooLarge { got: long.raw.len(), max });
        }
        let places = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let places = places.min(self.world.limits.emit_window_max as u32);
        let permit = self.link.window.acquire_many(places).await.map_err(|_| TurnStopped)?;
        if self.link.is_revoked() {
            return Err(TurnStopped.into());
        }
        permit.forget(); // the thread gives the places back when the records are durable
        self.link.clock.note(&records, self.world.clock.now().at_ms);
        if let Some(trace) = &self.trace {
            trace.note(&records);
        }
        let turn = self.link.turn.clone();
        self.slot.notice(ThreadMsg::Emitted { turn, records, said });
        // The thread was just woken on this worker. An engine that blocks from here on would hold it
        // there, where no other worker can take it over.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Tells subscribers a piece of text on its way. Never durable, never waits.
    pub fn delta(&self, text: impl Into<String>) {
        if !self.link.is_revoked() {
            self.progress();
            let fact = || Fact::Thread(ThreadEvent::Delta { text: text.into() });
            let about = Some(&**self.slot.about());
            self.world.hub.publish(
                about,
                self.epoch,
                Some(&self.link.turn),
                EventKind::Delta,
                fact,
            );
        }
    }

    /// Counts tokens and cost, against the budgets that the thread draws on. More than there was ends
    /// the turn: it is cancelled, as by an interrupt. What is counted is durable with the next write
    /// of the thread, at the latest with the end of the turn.
    pub fn usage(&self, usage: Usage) {
        if !self.link.is_revoked() {
            self.progress();
            if let Some(trace) = &self.trace {
                trace.used(usage);
            }
            if let Some(spending) = &self.link.spending {
                spending.count(usage, self.world.clock.now().instant);
            }
            self.slot.change_view(|view| view.work.usage += usage);
            let fact = || Fact::Thread(ThreadEvent::UsageReported { usage });
            let about = Some(&**self.slot.about());
            self.world.hub.publish(
                about,
                self.epoch,
                Some(&self.link.turn),
                EventKind::Usage,
                fact,
            );
        }
    }

    /// What is left of the budgets that the thread draws on; none where nothing limits it. Others
    /// may draw on them too.
    pub fn budget_left(&self) -> Budget {
        let left = |spending: &Arc<Spending>| spending.left(self.world.clock.now().instant);
        self.link.spending.as_ref().map_or_else(Budget::new, left)
    }

    /// Asks the host and waits for its answer ([`Op::Answer`]) until `budget` is over. Meanwhile the
    /// thread says that it waits for its host.
    ///
    /// # Errors
    /// The turn was stopped; nobody answered in time.
    pub async fn ask(
        &self,
        question: serde_json::Value,
        budget: Duration,
    ) -> Result<serde_json::Value, ControlError> {
        self.alive()?;
        let number = self.link.questions.fetch_add(1, Ordering::Relaxed) + 1;
        let name: Arc<str> = Arc::from(format!("{}/q{number}", self.link.turn));
        let (reply, answer) = self.channel(self.world.clock.deadline(budget));
        let _asks = self.begin(asks(&name));
        self.slot.notice(ThreadMsg::Asked {
            turn: self.link.turn.clone(),
            question: name,
            body: question,
            reply,
        });
        self.unless_stopped(answer.wait()).await?
    }

    /// Takes input and mail that came for the running turn. Call it before each request to a model.
    /// What it returns is in the history.
    ///
    /// # Errors
    /// The turn was stopped.
    pub async fn steered(&self) -> Result<Vec<TurnItem>, ControlError> {
        self.alive()?;
        let (reply, answer) =
            self.channel(self.world.clock.deadline(self.world.limits.call_timeout));
        self.slot.notice(ThreadMsg::TakeSteered { turn: self.link.turn.clone(), reply });
        let taken = self.unless_stopped(answer.wait()).await?;
        self.progress();
        taken
    }

    /// The thread's durable records, with all that this turn emitted so far.
    ///
    /// # Errors
    /// The turn was stopped; the store cannot be read, or does not answer within
    /// [`Limits::call_timeout`](coppicer_messages::Limits::call_timeout).
    pub async fn history(&self) -> Result<History, HistoryError> {
        self.alive()?;
        let deadline = self.world.clock.deadline(self.world.limits.call_timeout);
        let (reply, answer) = self.channel(deadline);
        self.slot.notice(ThreadMsg::Flush { reply });
        let flushed = self.unless_stopped(answer.wait()).await??;
        let read = self.world.store.read(self.thread(), Some(flushed.head));
        let read = self.unless_stopped(store::by(deadline, read)).await?;
        Ok(read.inspect(debug_check)?)
    }

    /// Spawns a sub-agent of this thread.
    ///
    /// # Errors
    /// As [`Runtime::spawn`]; `Fenced` once the turn was killed.
    ///
    /// [`Runtime::spawn`]: https://docs.rs/coppicer
    pub async fn spawn(&self, request: SpawnThread) -> Result<ThreadId, SpawnError> {
        self.spawn_within(request, self.world.limits.call_timeout).await
    }

    /// Spawns a sub-agent of this thread within `budget`: with [`SpawnThread::or_wait`] it stands in
    /// line for so long if it meets a limit that may pass.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub async fn spawn_within(
        &self,
        request: SpawnThread,
        budget: Duration,
    ) -> Result<ThreadId, SpawnError> {
        if self.link.is_revoked() {
            return Err(SpawnError::Fenced);
        }
        if let Some(first) = &request.first {
            check(&self.world, first)
                .map_err(|refusal| SpawnError::FirstSubmission(Box::new(refusal)))?;
        }
        let deadline = self.world.clock.deadline(budget);
        let (reply, answer) = self.channel(deadline);
        let request = request.with_parent(self.thread()).caused_by(self.trace_context());
        let request = Box::new(request);
        let asker = Some(Asker { thread: self.thread(), epoch: self.epoch });
        if !self.world.uplink.send(SupervisorMsg::Spawn { request, asker, reply }) {
            return Err(SpawnError::RuntimeEnded);
        }
        tokio::select! {
            biased;
            answer = answer.wait() => {
                self.progress();
                answer
            }
            () = self.link.cancel.cancelled() => Err(SpawnError::Fenced),
        }
    }

    /// Sends a submission to another thread. One without an actor is brought up for it, unless it
    /// is closed.
    ///
    /// # Errors
    /// As a handle's `submit`; `Closed` of this thread once the turn was killed.
    pub async fn send(
        &self,
        to: ThreadId,
        submission: impl Into<Submission>,
    ) -> Result<Accepted, SubmitError> {
        if self.link.is_revoked() {
            return Err(SubmitError::Closed { thread: self.thread() });
        }
        self.progress();
        let mut submission = submission.into();
        submission.trace = submission.trace.or_else(|| self.trace_context());
        let deadline = self.world.clock.deadline(self.world.limits.call_timeout);
        let sleeps = |slot: &Arc<Slot>| slot.door() == Door::Dormant;
        if matches!(submission.op, Op::AgentMessage { trigger: false, .. })
            && (self.world.find)(to).is_none_or(|slot| sleeps(&slot))
        {
            return self.leave_mail(to, submission, deadline).await;
        }
        let slot = slot_or_wake(&self.world, to, deadline)
            .await
            .map_err(|refusal| not_woken(to, refusal))?;
        submit_to(&self.world, &slot, submission, deadline).await
    }

    /// Leaves queue-only mail for a thread without an actor: it wakes nobody.
    async fn leave_mail(
        &self,
        to: ThreadId,
        submission: Submission,
        deadline: Deadline,
    ) -> Result<Accepted, SubmitError> {
        check(&self.world, &submission)?;
        let Op::AgentMessage { from, content, trigger } = submission.op else {
            return Err(SubmitError::Unsupported { op: submission.op.name() });
        };
        if content.trim().is_empty() {
            return Err(SubmitError::EmptyInput);
        }
        let missing = |error| match error {
            StoreError::NotFound { thread } => SubmitError::NotFound { thread },
            error => SubmitError::Store(error),
        };
        let stored = store::by(deadline, self.world.store.thread(to)).await.map_err(missing)?;
        let out_of_tree = matches!(stored.parent, Some((_, EdgeStatus::Closed)));
        if out_of_tree || matches!(stored.status, ThreadStatus::Shutdown) {
            return Err(SubmitError::Closed { thread: to });
        }
        let capacity = self.world.limits.mail_max;
        let count = count_mail(&*self.world.store, to, capacity);
        let depth = store::by(deadline, count).await.map_err(missing)?;
        if depth >= capacity {
            return Err(SubmitError::Overloaded { depth, capacity });
        }
        let now_ms = self.world.clock.now().at_ms;
        let id = submission.id.unwrap_or_else(|| self.world.ids.submission(now_ms));
        let mail = Mail {
            id: MailId::from(id.as_str()),
            sender: Some(self.thread()),
            author: from.to_string(),
            recipient: to.to_string(),
            content,
            trigger,
            trace: submission.trace,
        };
        let (reply, answer) = self.channel(deadline);
        let turn = self.link.turn.clone();
        self.slot.notice(ThreadMsg::LeaveMail { turn, to, mail, reply });
        answer.wait().await
    }

    /// Sends mail to another thread, as this one. Mail with `trigger` brings up a thread that has no
    /// actor; other mail waits in its mailbox until something else does.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn mail(
        &self,
        to: ThreadId,
        content: impl Into<String>,
        trigger: bool,
    ) -> Result<Accepted, SubmitError> {
        let from =
            self.slot.about().path.clone().unwrap_or_else(coppicer_messages::AgentPath::root);
        self.send(to, Op::AgentMessage { from, content: content.into(), trigger }).await
    }

    /// Closes a sub-agent of this thread and all below it, within `budget`.
    ///
    /// # Errors
    /// As [`Runtime::close`]; a thread that is not below this one is not found.
    ///
    /// [`Runtime::close`]: https://docs.rs/coppicer
    pub async fn close(
        &self,
        thread: ThreadId,
        budget: Duration,
    ) -> Result<CloseReport, CloseError> {
        let deadline = self.world.clock.deadline(budget);
        let below = match (self.world.find)(thread) {
            Some(slot) => slot.about().lineage.contains(self.thread()),
            None => tokio::time::timeout_at(deadline.instant(), self.is_stored_below(thread))
                .await
                .map_err(|_| CloseError::NoAnswer)?,
        };
        if self.link.is_revoked() || !below {
            return Err(CloseError::NotFound { thread });
        }
        let (reply, answer) = self.channel(deadline);
        let scope = CloseScope::Thread(thread);
        if !self.world.uplink.send(SupervisorMsg::Close { scope, drain: Duration::ZERO, reply }) {
            return Err(CloseError::RuntimeEnded);
        }
        let closed = answer.wait().await;
        self.progress();
        closed
    }

    /// Puts a root, with all below it, below this thread, as [`Runtime::adopt`] does: one whose parent
    /// was closed and that goes on, for instance. A thread that has a parent is not taken away from it.
    ///
    /// # Errors
    /// As [`Runtime::adopt`]; [`AdoptError::HasParent`].
    ///
    /// # Cancel safety
    /// As [`Runtime::adopt`].
    ///
    /// [`Runtime::adopt`]: https://docs.rs/coppicer
    pub async fn adopt(&self, thread: ThreadId) -> Result<(), AdoptError> {
        if self.link.is_revoked() {
            return Err(AdoptError::Fenced);
        }
        let parent = Some(self.thread());
        let asker = Some(Asker { thread: self.thread(), epoch: self.epoch });
        let (reply, answer) =
            self.channel(self.world.clock.deadline(self.world.limits.call_timeout));
        if !self.world.uplink.send(SupervisorMsg::Adopt { thread, parent, asker, reply }) {
            return Err(AdoptError::RuntimeEnded);
        }
        let adopted = answer.wait().await.map(drop);
        self.progress();
        adopted
    }

    /// Whether a thread without a slot is below this one, and belongs to its tree.
    async fn is_stored_below(&self, thread: ThreadId) -> bool {
        let mut at = thread;
        for _ in 0..self.world.limits.depth_max {
            let Ok(stored) = self.world.store.thread(at).await else { return false };
            match stored.parent {
                Some((parent, EdgeStatus::Open)) if parent == self.thread() => return true,
                Some((parent, EdgeStatus::Open)) => at = parent,
                Some((_, EdgeStatus::Closed)) | None => return false,
            }
        }
        false
    }

    /// The status of a thread.
    pub fn status(&self, thread: ThreadId) -> ThreadStatus {
        (self.world.find)(thread)
            .map_or(ThreadStatus::NotFound, |slot| slot.with_view(|view| view.status.clone()))
    }

    fn channel<T, E>(&self, deadline: Deadline) -> (Reply<T, E>, coppicer_messages::Answer<T, E>) {
        let lease = self.world.leases.grant_to(LeaseKind::PendingReply, self.slot.holdings());
        Reply::channel(deadline, Some(lease))
    }

    fn alive(&self) -> Result<(), ControlError> {
        if self.link.is_revoked() {
            return Err(ControlError::WrongPhase { thread: self.thread(), phase: "stopped" });
        }
        Ok(())
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, ControlError> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.link.cancel.cancelled() => {
                Err(ControlError::WrongPhase { thread: self.thread(), phase: "stopping" })
            }
        }
    }
}

impl fmt::Debug for TurnContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnContext")
            .field("thread", &self.thread())
            .field("turn", &self.link.turn)
            .finish_non_exhaustive()
    }
}

fn sound_line(raw: &[u8]) -> Result<NewRecord, EmitError> {
    if raw.contains(&b'\n') {
        return Err(EmitError::BadLine { reason: "it has a line break".into() });
    }
    let classified = classify(raw);
    if let Some(flaw) = classified.flaw {
        return Err(EmitError::BadLine { reason: flaw.to_string() });
    }
    Ok(NewRecord { at_ms: classified.at_ms, class: classified.class, raw: Arc::from(raw) })
}
