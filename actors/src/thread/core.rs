//! The thread's decisions: no clock, no store, no actor. Inputs in, effects out.
//!
//! TH-1: at most one turn runs. TH-2: what names a turn that is not the running one is stale and
//! changes nothing. TH-3: every accepted submission is in exactly one place: the queue, the running
//! turn, or ended. TH-4: once stopping, nothing is accepted and no turn starts. TH-5: a call that a
//! turn left open gets an output in the same write as the turn's end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use coppicer_messages::{
    Accepted, AfterPoison, AgentPath, CRASHES_KEPT_MAX, CloseOrder, ControlError, CrashRecord,
    Epoch, LimitReached, Limits, Mail, MailId, NewRecord, Now, OnCrash, Outcome, Phase, QuestionId,
    QueuedSubmission, Reply, Rung, Seq, Submission, SubmissionId, SubmissionState, SubmitError,
    ThreadConfig, ThreadEvent, ThreadId, ThreadStatus, TraceContext, TurnId, UserInput,
};

use super::Rise;
use super::effect::{Effect, Last};
use super::mailbox::Mailbox;
use super::running::{RunningTurn, Stage};
use super::{HOST_DIED, accept, records};
use crate::bugs::{Bug, Seeded};
use crate::poison::{self, Retrial};
use crate::restart::RestartTracker;
use crate::seldom::Seldom;
use crate::store::{Batch, MailTo};

/// Work that waits for its turn.
#[derive(Debug, Clone)]
pub(crate) enum Waiting {
    /// A user's input.
    Input { id: SubmissionId, input: UserInput, attempt: u32, trace: Option<TraceContext> },
    /// A compaction.
    Compact { id: SubmissionId, attempt: u32, trace: Option<TraceContext> },
}

impl Waiting {
    pub(crate) const fn id(&self) -> &SubmissionId {
        match self {
            Self::Input { id, .. } | Self::Compact { id, .. } => id,
        }
    }

    pub(crate) const fn trace(&self) -> Option<&TraceContext> {
        match self {
            Self::Input { trace, .. } | Self::Compact { trace, .. } => trace.as_ref(),
        }
    }

    /// What is said of it to who asks why the thread does what it does.
    pub(crate) fn named(&self) -> QueuedSubmission {
        let op = match self {
            Self::Input { .. } => "user_input",
            Self::Compact { .. } => "compact",
        };
        QueuedSubmission::new(self.id().clone(), op)
    }
}

/// Work that an earlier life accepted; only its id if its body cannot be read any more.
pub(crate) type Restored = Result<Waiting, SubmissionId>;

pub(crate) struct ThreadCore {
    pub(crate) thread: ThreadId,
    pub(crate) epoch: Epoch,
    pub(crate) parent: Option<ThreadId>,
    /// The path that its mail is signed with; without one it is signed with its id.
    pub(crate) path: Option<AgentPath>,
    pub(crate) config: Arc<ThreadConfig>,
    pub(crate) limits: Arc<Limits>,
    /// The head once all that was decided is written.
    pub(crate) head: Seq,
    pub(crate) phase: Phase,
    pub(crate) status: ThreadStatus,
    pub(crate) turn: Option<Box<RunningTurn>>,
    /// A turn that waits for its permit.
    pub(crate) asking: Option<TurnId>,
    pub(crate) queue: Seldom<VecDeque<Waiting>>,
    pub(crate) mail: Seldom<Mailbox>,
    pub(crate) questions: Seldom<BTreeMap<QuestionId, Reply<serde_json::Value, ControlError>>>,
    pub(crate) closing: Option<Box<CloseOrder>>,
    /// The furthest rung that a stop in this close had to go.
    pub(crate) rung: Rung,
    pub(crate) tracker: Seldom<RestartTracker>,
    pub(crate) crashes: u64,
    /// Crashes that are kept, oldest first.
    pub(crate) crash_log: Seldom<Vec<CrashRecord>>,
    /// Those who wait until it is parked.
    pub(crate) parking: Seldom<Vec<Reply<(), ControlError>>>,
    /// Until when no turn starts after a crash, in milliseconds since the Unix epoch.
    pub(crate) backoff_until_ms: Option<u64>,
    /// Turns that mail started, to name them.
    pub(crate) mail_turns: u64,
    /// Whether the thread has a preview already.
    pub(crate) has_preview: bool,
    /// Of a sub-agent: the trace context of its last turn, which its parent is told with its end.
    pub(crate) last_trace: Option<Box<TraceContext>>,
    /// What is used up of the budget that it draws on: no turn starts until there is more.
    pub(crate) spent: Option<Box<LimitReached>>,
    pub(crate) seeded: Seeded,
}

impl ThreadCore {
    /// What has to be written before anything else: what a dead incarnation left open.
    pub(crate) fn begin(
        &mut self,
        recovery: Vec<NewRecord>,
        open: Vec<(Restored, SubmissionState)>,
        crash: Option<CrashRecord>,
        rise: Rise,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        // A turn that an earlier life left, and that is not tried again.
        let mut left = recovery.iter().any(|record| record.class.is_turn_end());
        let mut batch = Batch { records: recovery, ..Batch::default() };
        let cause = crash.as_ref().map(|crash| crash.cause.clone());
        self.keep(crash, &mut batch);
        let mut poisoned = false;
        for (restored, state) in open {
            if let (Ok(waiting), SubmissionState::Running { .. }) = (&restored, &state) {
                self.traced_by(waiting.trace());
            }
            let outcome = match (&state, self.config.on_crash) {
                _ if restored.is_err() => {
                    Some(Outcome::Failed { error: "what was asked cannot be read any more".into() })
                }
                (SubmissionState::Running { .. }, OnCrash::Interrupt) => Some(Outcome::Interrupted),
                (
                    SubmissionState::Running { attempt },
                    OnCrash::Requeue { attempts_max } | OnCrash::Retry { attempts_max },
                ) => {
                    let poison = |it: &Waiting| self.retrial(it.id(), *attempt) == Retrial::Over;
                    let is_poison = cause.is_some() && restored.as_ref().is_ok_and(poison);
                    poisoned |= is_poison;
                    let cause = || cause.as_deref().unwrap_or(HOST_DIED).to_owned();
                    (is_poison || *attempt >= attempts_max)
                        .then(|| Outcome::Crashed { cause: cause() })
                }
                _ => None,
            };
            match (restored, outcome) {
                (Ok(waiting), None) => {
                    left &= !matches!(state, SubmissionState::Running { .. });
                    self.queue.push_back(waiting);
                }
                (restored, outcome) => {
                    let id = restored.map_or_else(|id| id, |waiting| waiting.id().clone());
                    let outcome = outcome.unwrap_or(Outcome::Interrupted);
                    batch.states.push((id.clone(), SubmissionState::Ended(outcome.clone())));
                    out.push(Effect::FreePlace);
                    out.push(Effect::Settle { submission: id, outcome });
                }
            }
        }
        // One that was closed and is open again is so durably: what it accepts is found by the next
        // process though nobody asks for it.
        let opened = self.status == ThreadStatus::Shutdown && rise == Rise::ToWork;
        self.status = std::mem::replace(&mut self.status, ThreadStatus::PendingInit).reborn();
        let runs = self.seeded.has(Bug::ParkedRuns);
        let stays_parked = self.status == ThreadStatus::Parked && !runs;
        // The parent hears of a turn that its host or its actor left (P12).
        let told_before = self.status.is_final() && self.seeded.has(Bug::DoubleNotice);
        left |= !batch.states.is_empty() || told_before;
        let told = if left { self.tell_parent(&mut batch, &self.status) } else { None };
        let parked = rise == Rise::ToSitParked
            || poisoned && self.config.poison.then == AfterPoison::Park && rise == Rise::ToWork;
        if parked {
            self.status = ThreadStatus::Parked;
        }
        if !batch.is_empty() || opened || (parked && !stays_parked) {
            batch.status = Some(self.status.clone());
            // Before the outcomes that it settles.
            out.insert(0, self.write(batch));
        }
        out.extend(told);
        if rise == Rise::ToEnd {
            // Nothing is shown and no turn starts: its order to close waits for it.
            self.phase = Phase::Stopping;
            return;
        }
        if parked || stays_parked {
            self.phase = Phase::Parked;
            out.push(Effect::Park);
            return out.push(self.show());
        }
        self.phase = Phase::Idle;
        out.push(self.show());
        self.next(now, out);
    }

    // Submissions.

    /// Accepts or refuses a submission. `place`: whether it took one of the inbox.
    pub(crate) fn submit(
        &mut self,
        id: SubmissionId,
        submission: Submission,
        place: bool,
        reply: Reply<Accepted, SubmitError>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        match accept::decide(self, &submission, now.at_ms) {
            Ok(acceptance) => {
                accept::carry(self, id, submission, acceptance, place, reply, now, out);
            }
            Err(refusal) => {
                if place {
                    out.push(Effect::FreePlace);
                }
                out.push(Effect::Refuse { reply, refusal });
            }
        }
    }

    /// Answers an engine's question.
    pub(crate) fn answer(
        &mut self,
        question: &QuestionId,
        answer: serde_json::Value,
        out: &mut Vec<Effect>,
    ) -> Result<(), SubmitError> {
        if !self.waits_for_answer(question) {
            return Err(SubmitError::UnknownQuestion { question: question.clone() });
        }
        self.answered(question, answer, out);
        Ok(())
    }

    /// Whether a turn still waits for the answer to `question`.
    pub(crate) fn waits_for_answer(&self, question: &QuestionId) -> bool {
        self.questions.get(question).is_some_and(|reply| !reply.is_closed())
    }

    pub(crate) fn answered(
        &mut self,
        question: &QuestionId,
        answer: serde_json::Value,
        out: &mut Vec<Effect>,
    ) {
        if let Some(reply) = self.questions.there().and_then(|asked| asked.remove(question)) {
            out.push(Effect::TellAnswer { reply, answer });
            out.push(self.publish(ThreadEvent::QuestionAnswered { question: question.clone() }));
            out.push(self.show());
        }
    }

    /// The running turn asks its host.
    pub(crate) fn asked(
        &mut self,
        turn: &TurnId,
        question: QuestionId,
        body: serde_json::Value,
        reply: Reply<serde_json::Value, ControlError>,
        out: &mut Vec<Effect>,
    ) {
        // Those that nobody waits for any more, their time being over, hold no place.
        if let Some(questions) = self.questions.there() {
            questions.retain(|_, reply| !reply.is_closed());
        }
        if !self.runs(turn) || self.questions.len() >= self.limits.questions_max {
            let waiting = self.questions.len();
            return reply.tell(Err(ControlError::Overloaded { waiting }));
        }
        self.questions.insert(question.clone(), reply);
        out.push(self.publish(ThreadEvent::QuestionAsked { question, body }));
        out.push(self.show());
    }

    /// Keeps a crash, here and in the store.
    pub(super) fn keep(&mut self, crash: Option<CrashRecord>, batch: &mut Batch) {
        let Some(crash) = crash else { return };
        self.crash_log.push(crash.clone());
        let too_many = self.crash_log.len().saturating_sub(CRASHES_KEPT_MAX);
        self.crash_log.drain(..too_many);
        batch.crashes.push(crash);
    }

    /// Whether work whose attempt of this number crashed is tried again.
    pub(super) fn retrial(&self, submission: &SubmissionId, attempt: u32) -> Retrial {
        let config = &self.config;
        poison::after(config.on_crash, config.poison, submission, attempt, &self.crash_log)
    }

    /// The turn that runs, or the one that comes next; none if nothing is to be done.
    pub(crate) fn busy_with(&self) -> Option<TurnId> {
        let running = self.turn.as_ref().map(|turn| &turn.id).or(self.asking.as_ref());
        let next = || self.queue.front().map(|waiting| TurnId::of_attempt(waiting.id(), 1));
        running.cloned().or_else(next)
    }

    /// Whether `turn` runs and may still act.
    pub(crate) fn runs(&self, turn: &TurnId) -> bool {
        self.turn
            .as_ref()
            .is_some_and(|running| running.id == *turn && running.stage != Stage::Killed)
    }

    /// Advances the head over a batch.
    pub(crate) fn write(&mut self, batch: Batch) -> Effect {
        self.head = self.head.plus(batch.records.len() as u64);
        Effect::Write(batch)
    }

    pub(crate) fn publish(&self, event: ThreadEvent) -> Effect {
        Effect::Publish { turn: self.turn.as_ref().map(|turn| turn.id.clone()), event }
    }

    /// Whether a turn comes next, for those who wait for it, at once or after a pause: not if it waits
    /// for money, or to be revived.
    fn has_work(&self) -> bool {
        let starts = || !self.queue.is_empty() || self.mail_starts();
        let may_start = matches!(self.phase, Phase::Idle | Phase::Backoff)
            && self.turn.is_none()
            && self.parking.is_empty();
        may_start
            && self.closing.is_none()
            && self.spent.is_none()
            && (self.asking.is_some() || starts())
    }

    /// Mail came. What is to start a turn is shown: it holds no place in the inbox that would tell of it.
    pub(super) fn mail_came(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.next(now, out);
        if self.phase == Phase::Backoff && self.mail_starts() {
            out.push(self.show());
        }
    }

    /// Whether mail waits that starts a turn.
    pub(super) fn mail_starts(&self) -> bool {
        self.mail.starts()
    }

    pub(crate) fn show(&self) -> Effect {
        Effect::Show {
            status: self.status.clone(),
            phase: self.phase,
            turn: self.turn.as_ref().map(|turn| turn.id.clone()),
            waiting_for_host: self.questions.values().any(|reply| !reply.is_closed()),
            has_work: self.has_work(),
            ended: None,
        }
    }

    pub(super) fn show_last(&self, error: Option<String>) -> Effect {
        Effect::Show {
            status: self.status.clone(),
            phase: self.phase,
            turn: None,
            waiting_for_host: false,
            has_work: self.has_work(),
            ended: Some(Last { error }),
        }
    }

    /// The turn that runs has this context, or was caused by it.
    pub(crate) fn traced_by(&mut self, trace: Option<&TraceContext>) {
        self.last_trace = trace.filter(|_| self.parent.is_some()).cloned().map(Box::new);
    }

    /// P12: one mail for each end, named by its place, so that it is told once.
    pub(super) fn tell_parent(&self, batch: &mut Batch, status: &ThreadStatus) -> Option<Effect> {
        let parent = self.parent?;
        let place = self.head.plus(batch.records.len() as u64);
        let mail = Mail {
            id: MailId::from(format!("{}:{}:{place}:{}", self.thread, self.epoch, status.name())),
            sender: Some(self.thread),
            author: self.author(),
            recipient: parent.to_string(),
            content: records::notification(&self.author(), status),
            trigger: false,
            trace: self.last_trace.as_deref().cloned(),
        };
        batch.mail.push(MailTo { to: parent, mail: mail.clone() });
        Some(Effect::Deliver { to: parent, mail })
    }

    /// How it signs its mail.
    pub(crate) fn author(&self) -> String {
        self.path.as_ref().map_or_else(|| self.thread.to_string(), ToString::to_string)
    }

    pub(crate) fn wrong_phase(&self, phase: &'static str) -> ControlError {
        ControlError::WrongPhase { thread: self.thread, phase }
    }
}
