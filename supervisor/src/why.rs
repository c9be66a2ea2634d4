//! Why a thread does what it does: one answer out of its slot, its actor, the supervisor's table and
//! the store.

mod show;

use std::sync::Arc;
use std::time::Duration;

use coppicer_actors::{Slot, StoredThread, ThreadView, count_mail};
use coppicer_messages::{
    AgentPath, Answer, Budget, ControlError, CrashRecord, Deadline, EntryAccount, EntryStage,
    Epoch, LeaseKind, Phase, QuestionId, QueuedSubmission, Reply, StoreError, SupervisorMsg,
    ThreadAccount, ThreadId, ThreadMsg, ThreadStatus, TurnId, TurnPhase, Wait,
};
use serde::{Deserialize, Serialize};

use crate::Runtime;
use crate::audit::{LeaseRow, rows_of};

/// Why one thread does what it does. Times are in milliseconds since the Unix epoch.
///
/// [`Display`](std::fmt::Display) tells it in some lines, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Why {
    /// Which thread.
    pub thread: ThreadId,
    /// When this was asked.
    pub asked_ms: u64,
    /// Its path, if it has a name.
    pub path: Option<AgentPath>,
    /// A name for people.
    pub nickname: Option<String>,
    /// Its role.
    pub role: Option<String>,
    /// The thread that it is a sub-agent of.
    pub parent: Option<ThreadId>,
    /// The thread that it began as a fork of.
    pub forked_from: Option<ThreadId>,
    /// What kind of session started it, if that was said.
    pub source: Option<String>,
    /// When it was made.
    pub created_ms: Option<u64>,
    /// Its status.
    pub status: ThreadStatus,
    /// Its phase; none of one that is in the store alone.
    pub phase: Option<Phase>,
    /// Where it is in its life, as the supervisor sees it; none of one that is in the store alone.
    pub stage: Option<EntryStage>,
    /// Its incarnation.
    pub epoch: Epoch,
    /// The running turn.
    pub turn: Option<WhyTurn>,
    /// What it waits for.
    pub waits_for: Vec<WaitsFor>,
    /// Threads whose turns wait for it.
    pub waiters: Vec<ThreadId>,
    /// What it holds.
    pub leases: Vec<LeaseRow>,
    /// Crashes of its engine and its actor since this runtime has it.
    pub crashes: u64,
    /// The last crash that is kept.
    pub last_crash: Option<CrashRecord>,
    /// The last error, if the last turn had one.
    pub last_error: Option<String>,
    /// Restarts of its actor that are left in the window that ends now; none without a place in the
    /// supervisor's table.
    pub actor_restarts_left: Option<u32>,
    /// Restarts of its engine that are left in the window that ends now; none without an actor.
    pub engine_restarts_left: Option<u32>,
    /// Restarts that its policy allows in a window.
    pub restarts_max: Option<u32>,
    /// What is left of its own budget, if it has one.
    pub budget_left: Option<Budget>,
    /// Submissions that wait.
    pub inbox: usize,
    /// Submissions that may wait; 0 of a thread that is in the store alone.
    pub inbox_capacity: usize,
    /// Of these, submissions that were accepted: durable, and not run yet.
    pub queued_count: usize,
    /// The first of those, in order; at most [`QUEUED_NAMED_MAX`](coppicer_messages::QUEUED_NAMED_MAX).
    pub queued: Vec<QueuedSubmission>,
    /// Mail that was not read.
    pub mail: usize,
    /// Who did not answer by the deadline: what they know is missing.
    pub silent: Vec<Silent>,
}

/// The running turn of a thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WhyTurn {
    /// Which.
    pub turn: TurnId,
    /// Since when.
    pub since_ms: Option<u64>,
    /// The how-many-th attempt at its submission.
    pub attempt: Option<u32>,
    /// What it is at; none before and between its attempts.
    pub phase: Option<TurnPhase>,
    /// Since when.
    pub phase_since_ms: Option<u64>,
    /// When it last made progress.
    pub progress_ms: Option<u64>,
}

/// Something that a thread waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitsFor {
    /// Its turn waits until threads have ended what they do.
    Threads {
        /// Which, with their status.
        threads: Vec<(ThreadId, ThreadStatus)>,
        /// For the first or for all of them.
        how: Wait,
    },
    /// Its turn waits for an answer of the host.
    Host {
        /// To which question.
        question: QuestionId,
    },
    /// Its next turn waits in line for a permit.
    Permit {
        /// Which.
        turn: TurnId,
    },
    /// Its turn pauses before its next attempt.
    Retry,
    /// No turn starts until then, after a crash of its engine.
    EngineBackoff {
        /// Until when.
        until_ms: Option<u64>,
    },
    /// Its actor comes back then, after it crashed.
    ActorBackoff {
        /// When.
        until_ms: Option<u64>,
    },
    /// Its actor is being brought up.
    Start,
    /// The store has not yet written what it did.
    Store,
    /// Its store could not write, and it comes back when that can.
    StoreRecovery,
    /// It went down with its parent, and comes back after it.
    Parent,
    /// It went down with a sibling, and comes back after it.
    Sibling,
    /// It closes: children end first, then its turn.
    Close,
    /// It is parked, until it is revived.
    Revival,
    /// It has nothing to do.
    Work,
}

/// Who did not answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Silent {
    /// The thread's actor.
    Actor,
    /// The supervisor.
    Supervisor,
    /// The store.
    Store,
}

/// Why a thread is not explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyError {
    /// No such thread is known here or in the store.
    #[error("there is no thread {thread}")]
    NotFound {
        /// Which.
        thread: ThreadId,
    },
    /// The thread is not in memory, and the store could not say what it knows of it.
    #[error("cannot read thread {thread}")]
    Store {
        /// Which.
        thread: ThreadId,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The thread is not in memory, and the store did not answer by the deadline.
    #[error("no answer by the deadline")]
    NoAnswer,
    /// The runtime has ended.
    #[error("the runtime has ended")]
    RuntimeEnded,
}

/// What the store says of a thread.
struct Stored {
    thread: StoredThread,
    last_crash: Option<CrashRecord>,
    mail: Option<usize>,
}

impl Runtime {
    /// Explains one thread: live, coming back, parked, dormant, closing, or in the store alone. Hidden
    /// ones too. Wakes nobody. Asks for at most [`Limits::call_timeout`]; who does not answer by then
    /// is named in the answer.
    ///
    /// # Errors
    /// A [`WhyError`]; nobody knows the thread, or nobody who does can say so.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    ///
    /// [`Limits::call_timeout`]: coppicer_messages::Limits::call_timeout
    pub async fn why(&self, thread: ThreadId) -> Result<Why, WhyError> {
        self.why_within(thread, self.limits().call_timeout).await
    }

    /// Explains one thread, asking for at most `budget`.
    ///
    /// # Errors
    /// As [`why`](Self::why).
    ///
    /// # Cancel safety
    /// As [`why`](Self::why).
    pub async fn why_within(&self, thread: ThreadId, budget: Duration) -> Result<Why, WhyError> {
        if self.has_ended() {
            return Err(WhyError::RuntimeEnded);
        }
        let shared = self.shared();
        let deadline = shared.clock.deadline(budget);
        let slot = self.slot(thread);
        let asks_actor = async {
            match slot.as_ref().filter(|slot| slot.is_attached()) {
                None => Ok(None),
                Some(slot) => {
                    let (kind, owner) = (LeaseKind::PendingReply, slot.holdings());
                    let lease = shared.leases.grant_to(kind, owner);
                    let (reply, answer) = Reply::channel(deadline, Some(lease));
                    slot.ask_awake(ThreadMsg::Explain { reply });
                    told(answer).await
                }
            }
        };
        let asks_supervisor = async {
            let (kind, owner) = (LeaseKind::PendingReply, shared.leases.runtime());
            let lease = shared.leases.grant_to(kind, owner);
            let (reply, answer) = Reply::channel(deadline, Some(lease));
            if self.send(SupervisorMsg::Explain { thread, reply }) {
                told(answer).await
            } else {
                Ok(None)
            }
        };
        let (account, entry, stored) =
            tokio::join!(asks_actor, asks_supervisor, self.ask_store(thread, deadline));
        let now_ms = shared.clock.now().at_ms;
        let mut why = match (&slot, &stored) {
            (Some(slot), _) => of_view(now_ms, slot.view()),
            (None, Ok(Some(stored))) => of_stored(now_ms, &stored.thread),
            (None, Ok(None)) => return Err(WhyError::NotFound { thread }),
            (None, Err(None)) => return Err(WhyError::NoAnswer),
            (None, Err(Some(source))) => {
                return Err(WhyError::Store { thread, source: source.clone() });
            }
        };
        why.silent.extend(account.is_err().then_some(Silent::Actor));
        why.silent.extend(entry.is_err().then_some(Silent::Supervisor));
        why.silent.extend(stored.is_err().then_some(Silent::Store));
        if let Some(stored) = stored.ok().flatten() {
            add_stored(&mut why, stored);
        }
        let account = account.ok().flatten();
        if let Some(account) = &account {
            add_account(&mut why, account);
        }
        let entry = entry.ok().flatten();
        if let Some(entry) = &entry {
            why.stage = Some(entry.stage);
            why.actor_restarts_left = Some(entry.actor_restarts_left);
        }
        why.waits_for = self.waits_for(&why, account.as_ref(), entry.as_ref());
        if let Some(slot) = &slot {
            why.waiters = slot.waiters();
        }
        why.leases = slot.as_deref().map(rows_of).unwrap_or_default();
        Ok(why)
    }

    /// What the store knows of a thread: none if nothing; an error without a cause if it did not
    /// answer in time.
    async fn ask_store(
        &self,
        thread: ThreadId,
        deadline: Deadline,
    ) -> Result<Option<Stored>, Option<StoreError>> {
        let read = async {
            let stored = match self.store().thread(thread).await {
                Ok(stored) => stored,
                Err(StoreError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(Some(error)),
            };
            let last_crash = self.store().crashes(thread).await.unwrap_or_default().pop();
            let mail = count_mail(&**self.store(), thread, usize::MAX).await.ok();
            Ok(Some(Stored { thread: stored, last_crash, mail }))
        };
        tokio::time::timeout_at(deadline.instant(), read).await.unwrap_or(Err(None))
    }

    fn waits_for(
        &self,
        why: &Why,
        account: Option<&ThreadAccount>,
        entry: Option<&EntryAccount>,
    ) -> Vec<WaitsFor> {
        let mut waits = Vec::new();
        if let Some(entry) = entry {
            let until_ms = entry.backoff_until_ms;
            waits.extend(match entry.stage {
                EntryStage::Coming => Some(WaitsFor::Start),
                EntryStage::Backoff => Some(WaitsFor::ActorBackoff { until_ms }),
                EntryStage::AwaitParent => Some(WaitsFor::Parent),
                EntryStage::AwaitSibling => Some(WaitsFor::Sibling),
                EntryStage::AwaitStore => Some(WaitsFor::StoreRecovery),
                _ => None,
            });
        }
        match why.turn.as_ref().and_then(|turn| turn.phase.clone()) {
            Some(TurnPhase::AwaitChild { threads, how }) => {
                let status_of = |&thread: &ThreadId| {
                    let slot = self.slot(thread);
                    (thread, slot.map_or(ThreadStatus::NotFound, |slot| slot.view().status))
                };
                waits.push(WaitsFor::Threads {
                    threads: threads.iter().map(status_of).collect(),
                    how,
                });
            }
            Some(TurnPhase::AwaitHost { question }) => waits.push(WaitsFor::Host { question }),
            _ => {}
        }
        if let Some(account) = account {
            let turn = account.awaits_permit.clone();
            waits.extend(turn.map(|turn| WaitsFor::Permit { turn }));
            waits.extend(account.retrying.then_some(WaitsFor::Retry));
            if why.phase == Some(Phase::Backoff) {
                waits.push(WaitsFor::EngineBackoff { until_ms: account.backoff_until_ms });
            }
            waits.extend(account.awaits_store.then_some(WaitsFor::Store));
        }
        let closing = entry.is_some_and(|entry| entry.closing);
        waits.extend(closing.then_some(WaitsFor::Close));
        let parked = why.status == ThreadStatus::Parked;
        waits.extend(parked.then_some(WaitsFor::Revival));
        if waits.is_empty() && why.turn.is_none() {
            waits.push(WaitsFor::Work);
        }
        waits
    }
}

/// An answer; none where there was nobody to give it, an error where it did not come in time.
async fn told<T>(answer: Answer<T, ControlError>) -> Result<Option<T>, ()> {
    match answer.wait().await {
        Ok(answer) => Ok(Some(answer)),
        Err(ControlError::NoAnswer) => Err(()),
        Err(_) => Ok(None),
    }
}

fn of_view(asked_ms: u64, view: ThreadView) -> Why {
    let turn = view.turn.map(|turn| WhyTurn {
        turn,
        since_ms: None,
        attempt: None,
        phase: view.turn_phase,
        phase_since_ms: view.turn_phase_since_ms,
        progress_ms: view.progress_ms,
    });
    Why {
        thread: view.thread,
        asked_ms,
        path: view.path,
        nickname: view.nickname,
        role: view.role,
        parent: view.parent,
        forked_from: view.forked_from,
        source: None,
        created_ms: None,
        status: view.status,
        phase: Some(view.phase),
        stage: None,
        epoch: view.epoch,
        turn,
        waits_for: Vec::new(),
        waiters: Vec::new(),
        leases: Vec::new(),
        crashes: view.crashes,
        last_crash: None,
        last_error: view.last_error,
        actor_restarts_left: None,
        engine_restarts_left: None,
        restarts_max: None,
        budget_left: None,
        inbox: view.inbox,
        inbox_capacity: view.inbox_capacity,
        queued_count: 0,
        queued: Vec::new(),
        mail: 0,
        silent: Vec::new(),
    }
}

fn of_stored(asked_ms: u64, stored: &StoredThread) -> Why {
    let mut view = ThreadView::of(stored.id);
    view.parent = stored.parent.map(|(parent, _)| parent);
    view.path.clone_from(&stored.path);
    view.nickname.clone_from(&stored.config.nickname);
    view.role.clone_from(&stored.config.role);
    view.status = stored.status.clone();
    view.epoch = stored.epoch;
    Why { phase: None, ..of_view(asked_ms, view) }
}

fn add_stored(why: &mut Why, stored: Stored) {
    let Stored { thread: stored, last_crash, mail } = stored;
    why.created_ms = Some(stored.created_ms);
    why.forked_from = why.forked_from.or_else(|| stored.base.as_ref().map(|base| base.thread));
    let config = &stored.config;
    why.source = config.thread_source.as_ref().or(config.source.as_ref()).cloned();
    why.restarts_max = Some(stored.config.restart.limit.count);
    why.budget_left = stored.ledger.map(|ledger| ledger.rest());
    why.last_crash = last_crash;
    why.mail = mail.unwrap_or_default();
}

fn add_account(why: &mut Why, account: &ThreadAccount) {
    why.queued_count = account.queue;
    why.queued.clone_from(&account.queued);
    why.mail = account.mail.unwrap_or(why.mail);
    why.engine_restarts_left = Some(account.engine_restarts_left);
    if let Some(turn) = &mut why.turn {
        turn.since_ms = account.turn_since_ms;
        turn.attempt = account.attempt;
    }
}

impl Runtime {
    fn slot(&self, thread: ThreadId) -> Option<Arc<Slot>> {
        self.directory().find(thread)
    }
}
