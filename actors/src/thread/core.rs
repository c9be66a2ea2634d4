//! The thread's decisions: no clock, no store, no actor. Inputs in, effects out.
//!
//! TH-1: at most one turn runs. TH-2: what names a turn that is not the running one is stale and
//! changes nothing. TH-3: every accepted submission is in exactly one place: the queue, the running
//! turn, or ended. TH-4: once stopping, nothing is accepted and no turn starts. TH-5: a call that a
//! turn left open gets an output in the same write as the turn's end.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use coppicer_messages::{
    Accepted, CloseOrder, ControlError, Ended, Epoch, Flushed, Interrupted, Limits, Mail, MailId,
    NewRecord, Now, OnCrash, Outcome, Phase, QuestionId, Reply, Rung, Seq, Submission,
    SubmissionId, SubmissionState, SubmitError, ThreadConfig, ThreadEvent, ThreadId, ThreadStatus,
    ThreadTick, TurnId, TurnItem, TurnPermit, UserInput,
};

use super::effect::{Effect, Launch};
use super::running::{Cancelled, RunningTurn, Stage, TurnEnd};
use super::{accept, records};
use crate::engine::TurnKind;
use crate::restart::{Decision, RestartTracker};
use crate::store::{Batch, MailTo};

/// Work that waits for its turn.
#[derive(Debug, Clone)]
pub(crate) enum Waiting {
    /// A user's input.
    Input { id: SubmissionId, input: UserInput, attempt: u32, trace: Option<String> },
    /// A compaction.
    Compact { id: SubmissionId, attempt: u32 },
}

impl Waiting {
    pub(crate) const fn id(&self) -> &SubmissionId {
        match self {
            Self::Input { id, .. } | Self::Compact { id, .. } => id,
        }
    }
}

pub(crate) struct ThreadCore {
    pub(crate) thread: ThreadId,
    pub(crate) epoch: Epoch,
    pub(crate) parent: Option<ThreadId>,
    pub(crate) author: String,
    pub(crate) config: Arc<ThreadConfig>,
    pub(crate) limits: Arc<Limits>,
    /// The head once all that was decided is written.
    pub(crate) head: Seq,
    pub(crate) phase: Phase,
    pub(crate) status: ThreadStatus,
    pub(crate) turn: Option<RunningTurn>,
    /// A turn that waits for its permit.
    pub(crate) asking: Option<TurnId>,
    pub(crate) queue: VecDeque<Waiting>,
    pub(crate) mail: VecDeque<Mail>,
    /// Mail that came from the store when this incarnation began: told again, it is old.
    pub(crate) mail_had: HashSet<MailId>,
    pub(crate) questions: HashMap<QuestionId, Reply<serde_json::Value, ControlError>>,
    pub(crate) closing: Option<CloseOrder>,
    /// The furthest rung that a stop in this close had to go.
    pub(crate) rung: Rung,
    pub(crate) tracker: RestartTracker,
    pub(crate) crashes: u64,
    /// Turns that mail started, to name them.
    pub(crate) mail_turns: u64,
}

impl ThreadCore {
    /// What has to be written before anything else: what a dead incarnation left open.
    pub(crate) fn begin(
        &mut self,
        recovery: Vec<NewRecord>,
        open: Vec<(Waiting, SubmissionState)>,
        parked: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let mut batch = Batch { records: recovery, ..Batch::default() };
        for (waiting, state) in open {
            let outcome = match (&state, self.config.on_crash) {
                (SubmissionState::Running { .. }, OnCrash::Interrupt) => Some(Outcome::Interrupted),
                (SubmissionState::Running { attempt }, OnCrash::Requeue { attempts_max })
                    if *attempt >= attempts_max =>
                {
                    Some(Outcome::Crashed { cause: "its host died in mid-turn".into() })
                }
                _ => None,
            };
            match outcome {
                Some(outcome) => {
                    let id = waiting.id().clone();
                    batch.states.push((id.clone(), SubmissionState::Ended(outcome.clone())));
                    out.push(Effect::FreePlace);
                    out.push(Effect::Settle { submission: id, outcome });
                }
                None => self.queue.push_back(waiting),
            }
        }
        if self.status == ThreadStatus::Running {
            self.status = ThreadStatus::Interrupted;
        }
        let stays_parked = self.status == ThreadStatus::Parked;
        if parked {
            self.status = ThreadStatus::Parked;
        }
        if !batch.is_empty() || (parked && !stays_parked) {
            batch.status = Some(self.status.clone());
            // Before the outcomes that it settles.
            out.insert(0, self.write(batch));
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
                accept::carry(self, id, submission, acceptance, place, reply, now, out)
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
        let unknown = || SubmitError::UnknownQuestion { question: question.clone() };
        let reply = self.questions.remove(question).ok_or_else(unknown)?;
        reply.tell(Ok(answer));
        out.push(self.publish(ThreadEvent::QuestionAnswered { question: question.clone() }));
        out.push(self.show());
        Ok(())
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
        if !self.runs(turn) || self.questions.len() >= self.limits.questions_max {
            let waiting = self.questions.len();
            return reply.tell(Err(ControlError::Overloaded { waiting }));
        }
        self.questions.insert(question.clone(), reply);
        out.push(self.publish(ThreadEvent::QuestionAsked { question, body }));
        out.push(self.show());
    }

    // Turns.

    /// Starts the next turn, if there is work and nothing is in its way.
    pub(crate) fn next(&mut self, now: Now, out: &mut Vec<Effect>) {
        let free = self.phase == Phase::Idle && self.turn.is_none() && self.asking.is_none();
        if !free || self.closing.is_some() {
            return;
        }
        let turn = match self.queue.front() {
            Some(Waiting::Input { id, attempt, .. } | Waiting::Compact { id, attempt }) => {
                TurnId::of_attempt(id, *attempt)
            }
            None if self.mail.iter().any(|mail| mail.trigger) => self.name_mail_turn(now),
            None => return,
        };
        self.asking = Some(turn.clone());
        out.push(Effect::AskPermit { turn });
    }

    fn name_mail_turn(&mut self, now: Now) -> TurnId {
        self.mail_turns += 1;
        let name = format!("mail-{}-{}-{}", self.epoch, self.mail_turns, now.at_ms);
        TurnId::new(name).expect("a name of letters, digits and dashes")
    }

    /// The turn may run: its start is written, then it runs.
    pub(crate) fn permitted(
        &mut self,
        turn: &TurnId,
        permit: TurnPermit,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if self.asking.as_ref() != Some(turn) {
            return; // stale: the permit goes back
        }
        self.asking = None;
        if self.closing.is_some() || self.phase != Phase::Idle {
            return;
        }
        let work = self.queue.pop_front();
        let mut running = RunningTurn::new(turn.clone(), now, permit);
        let mut batch =
            Batch { records: vec![records::turn_started(turn, now.at_ms)], ..Batch::default() };
        let mut items = Vec::new();
        match work {
            Some(Waiting::Input { id, input, attempt, trace }) => {
                if attempt <= 1 {
                    batch.records.extend(records::user_input(&input, now.at_ms));
                }
                batch.states.push((id.clone(), SubmissionState::Running { attempt }));
                running.submissions.push(id.clone());
                running.attempt = attempt;
                running.trace = trace;
                items.push(TurnItem::Input { submission: id, input });
                out.push(Effect::FreePlace);
            }
            Some(Waiting::Compact { id, attempt }) => {
                batch.states.push((id.clone(), SubmissionState::Running { attempt }));
                running.submissions.push(id);
                running.attempt = attempt;
                running.kind = TurnKind::Compact;
                out.push(Effect::FreePlace);
            }
            None => {}
        }
        if running.kind == TurnKind::Regular {
            self.take_mail(&mut batch, &mut items, now, out);
        }
        running.first_attempt = running.attempt;
        batch.status = Some(ThreadStatus::Running);
        let attempt = running.attempt;
        running.items = items.into();
        self.turn = Some(running);
        self.phase = Phase::Running;
        self.status = ThreadStatus::Running;
        // Shown before the place in the inbox is given back, so that a thread with work is never
        // seen with nothing to do.
        out.insert(0, self.write(batch));
        out.push(self.show());
        out.push(self.publish(ThreadEvent::TurnStarted { attempt }));
        out.push(self.launch());
    }

    fn launch(&self) -> Effect {
        let turn = self.turn.as_ref().expect("a turn is launched when it was made");
        Effect::Launch(Launch {
            turn: turn.id.clone(),
            attempt: turn.attempt,
            kind: turn.kind,
            items: turn.items.clone(),
            trace: turn.trace.clone(),
            seq: self.head,
        })
    }

    /// Moves all mail into a turn's input, in the order in which it came.
    fn take_mail(
        &mut self,
        batch: &mut Batch,
        items: &mut Vec<TurnItem>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        for mail in self.mail.drain(..) {
            batch.records.push(records::envelope(&mail, now.at_ms));
            batch.mail_taken.push(mail.id.clone());
            out.push(Effect::Publish {
                turn: self.turn.as_ref().map(|turn| turn.id.clone()),
                event: ThreadEvent::MailDelivered { mail: mail.id.clone() },
            });
            items.push(TurnItem::Mail(mail));
        }
    }

    /// Whether the launched turn is to run: false if it was stopped before it began.
    pub(crate) fn launched(&mut self, turn: &TurnId, now: Now, out: &mut Vec<Effect>) -> bool {
        let Some(running) = self.turn.as_mut().filter(|running| running.id == *turn) else {
            return false;
        };
        if running.cancelled.is_some() {
            self.turn_ended(&turn.clone(), TurnEnd::Killed, 0.0, now, out);
            return false;
        }
        running.stage = Stage::Live;
        true
    }

    /// The running turn takes what came for it.
    pub(crate) fn take_steered(
        &mut self,
        turn: &TurnId,
        reply: Reply<Vec<TurnItem>, ControlError>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if !self.runs(turn) {
            return reply.tell(Err(self.wrong_phase("not running this turn")));
        }
        let mut batch = Batch::default();
        let mut items = Vec::new();
        if let Some(running) = self.turn.as_mut() {
            for (id, input) in running.steered.drain(..) {
                batch.records.extend(records::user_input(&input, now.at_ms));
                batch.states.push((id.clone(), SubmissionState::Running { attempt: 1 }));
                running.submissions.push(id.clone());
                items.push(TurnItem::Input { submission: id, input });
                out.push(Effect::FreePlace);
            }
        }
        self.take_mail(&mut batch, &mut items, now, out);
        if !batch.is_empty() {
            out.insert(0, self.write(batch));
        }
        out.push(Effect::GiveItems { reply, items });
    }

    /// The running turn adds records.
    pub(crate) fn emitted(
        &mut self,
        turn: &TurnId,
        new: Vec<NewRecord>,
        said: Option<String>,
        out: &mut Vec<Effect>,
    ) {
        if !self.runs(turn) {
            return; // a zombie, or late: nothing of it counts (P1)
        }
        let Some(running) = self.turn.as_mut() else { return };
        for record in &new {
            running.note(&record.class);
        }
        if said.is_some() {
            running.said = said;
        }
        let places = new.len();
        out.push(self.write(Batch { records: new, ..Batch::default() }));
        out.push(Effect::FreeWindow { places });
    }

    /// The turn is over. `jitter`: a random number from 0 to 1, for the pause after a crash.
    pub(crate) fn turn_ended(
        &mut self,
        turn: &TurnId,
        end: TurnEnd,
        jitter: f32,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(running) = self.turn.take_if(|running| running.id == *turn) else {
            return; // stale (TH-2)
        };
        let mut running = running;
        if let Some(pause) = running.retry_after(&end, &self.limits) {
            if running.cancelled.is_none() && self.closing.is_none() {
                return self.retry(running, &end, pause, now, out);
            }
        }
        let crashed = matches!(end, TurnEnd::Panicked(_));
        let verdict = running.verdict(&end);
        let (id, took) = (running.id.clone(), now.instant - running.started.instant);

        let mut batch = Batch {
            records: records::turn_ended(&running, &verdict, took, now.at_ms),
            status: Some(verdict.status.clone()),
            ..Batch::default()
        };
        for submission in &running.submissions {
            let ended = SubmissionState::Ended(verdict.outcome.clone());
            batch.states.push((submission.clone(), ended));
        }
        let told = self.tell_parent(&mut batch, &verdict.status);
        self.status = verdict.status;
        self.phase = Phase::Idle;
        self.questions.clear();
        if let Some(rung) = verdict.rung {
            self.rung = self.rung.max(rung);
        }
        // Input that the turn never took waits for a turn of its own, in front.
        for (id, input) in running.steered.drain(..).rev() {
            self.queue.push_front(Waiting::Input { id, input, attempt: 1, trace: None });
        }
        // Before what tells others of it.
        let first = self.write(batch);
        out.insert(0, first);
        out.extend(told);
        if let TurnEnd::Panicked(cause) = &end {
            out.push(Effect::Publish {
                turn: Some(id.clone()),
                event: ThreadEvent::Crashed { cause: cause.clone() },
            });
        }
        out.push(Effect::Publish {
            turn: Some(id.clone()),
            event: ThreadEvent::TurnEnded {
                outcome: verdict.outcome.clone(),
                rung: verdict.rung,
                took,
            },
        });
        for submission in running.submissions.drain(..) {
            let outcome = verdict.outcome.clone();
            out.push(Effect::Settle { submission, outcome });
        }
        out.push(Effect::TurnOver { turn: id.clone(), keep_session: verdict.keep_session });
        if crashed {
            self.after_crash(jitter, now, out);
        }
        out.push(self.show_last(verdict.error));
        for reply in running.interrupts.drain(..) {
            let found =
                Interrupted::Turn { turn: id.clone(), rung: verdict.rung.unwrap_or(Rung::Drained) };
            out.push(Effect::AnswerInterrupt { reply, found });
        }
        drop(running); // its permit goes back
        if self.closing.is_some() {
            self.finish_close(out);
        } else {
            self.next(now, out);
        }
    }

    fn retry(
        &mut self,
        mut running: RunningTurn,
        end: &TurnEnd,
        after: Duration,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let error = end.describe();
        running.attempt += 1;
        running.stage = Stage::Retrying;
        let (turn, attempt) = (running.id.clone(), running.attempt);
        if matches!(end, TurnEnd::SessionLost(_)) {
            out.push(Effect::DropSession);
        }
        let event = ThreadEvent::TurnRetried { attempt, after, error };
        out.push(Effect::Publish { turn: Some(turn.clone()), event });
        out.push(Effect::Arm { at: now.instant + after, tick: ThreadTick::RetryDue(turn) });
        self.turn = Some(running);
    }

    fn after_crash(&mut self, jitter: f32, now: Now, out: &mut Vec<Effect>) {
        self.crashes += 1;
        if self.closing.is_some() {
            return;
        }
        match self.tracker.crashed(&self.config.restart, now.instant, jitter) {
            Decision::Again { restart, after } => {
                self.phase = Phase::Backoff;
                out.push(self.publish(ThreadEvent::BackoffStarted { crash: restart, after }));
                let tick = ThreadTick::BackoffOver { crash: self.crashes };
                out.push(Effect::Arm { at: now.instant + after, tick });
            }
            Decision::Park => {
                self.phase = Phase::Parked;
                self.status = ThreadStatus::Parked;
                let status = Some(ThreadStatus::Parked);
                out.push(self.write(Batch { status, ..Batch::default() }));
                out.push(Effect::Park);
            }
            Decision::Close => out.push(Effect::AskClose),
        }
    }

    // Control.

    /// Stops the running turn. Answered once its end is durable.
    pub(crate) fn interrupt(
        &mut self,
        reply: Reply<Interrupted, ControlError>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        match self.turn.as_mut() {
            None => out.push(Effect::AnswerInterrupt { reply, found: Interrupted::NothingRan }),
            Some(running) => {
                running.interrupts.push(reply);
                let stop_until = now.instant + self.limits.interrupt_grace;
                self.cancel(stop_until, now, out);
            }
        }
    }

    /// Tells the running turn to stop, if it was not told before; kills it at `stop_until`.
    pub(crate) fn cancel(
        &mut self,
        stop_until: tokio::time::Instant,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(running) = self.turn.as_mut() else { return };
        let turn = running.id.clone();
        let earlier = running.cancelled.as_ref().map(|cancelled| cancelled.stop_until);
        if earlier.is_some_and(|earlier| earlier <= stop_until) {
            return;
        }
        running.cancelled = Some(Cancelled { stop_until });
        match running.stage {
            Stage::Retrying => self.turn_ended(&turn, TurnEnd::Stopped, 0.0, now, out),
            Stage::Starting => {} // `launched` ends it
            Stage::Live | Stage::Killed => {
                if earlier.is_none() {
                    out.push(Effect::Cancel { turn: turn.clone() });
                }
                out.push(Effect::Arm { at: stop_until, tick: ThreadTick::GraceOver(turn) });
            }
        }
    }

    /// A time has come.
    pub(crate) fn tick(&mut self, tick: ThreadTick, now: Now, out: &mut Vec<Effect>) {
        match tick {
            ThreadTick::DrainOver(turn) => {
                if self.runs(&turn) {
                    let until = self.closing.map_or(now.instant, |order| order.stop_until);
                    self.cancel(until.min(now.instant + self.limits.interrupt_grace), now, out);
                }
            }
            ThreadTick::GraceOver(turn) => self.grace_over(&turn, now, out),
            ThreadTick::KillOver(turn) => {
                let fenced = self
                    .turn
                    .as_ref()
                    .is_some_and(|running| running.id == turn && running.stage == Stage::Killed);
                if fenced {
                    out.push(Effect::Fence { turn: turn.clone() });
                    out.push(Effect::Publish {
                        turn: Some(turn.clone()),
                        event: ThreadEvent::TurnFenced,
                    });
                    self.turn_ended(&turn, TurnEnd::Fenced, 0.0, now, out);
                }
            }
            ThreadTick::RetryDue(turn) => {
                let Some(running) = self.turn.as_mut().filter(|running| running.id == turn) else {
                    return;
                };
                if running.stage == Stage::Retrying {
                    running.stage = Stage::Starting;
                    let effect = self.launch();
                    out.push(effect);
                }
            }
            ThreadTick::BackoffOver { crash } => {
                if self.phase == Phase::Backoff && self.crashes == crash {
                    self.phase = Phase::Idle;
                    out.push(self.show());
                    self.next(now, out);
                }
            }
            _ => {}
        }
    }

    fn grace_over(&mut self, turn: &TurnId, now: Now, out: &mut Vec<Effect>) {
        let Some(running) = self.turn.as_mut().filter(|running| running.id == *turn) else {
            return;
        };
        let due = running.cancelled.as_ref().is_some_and(|c| c.stop_until <= now.instant);
        if !due || running.stage != Stage::Live {
            return;
        }
        running.stage = Stage::Killed;
        let mut kill_until = now.instant + self.limits.kill_wait;
        if let Some(order) = self.closing {
            kill_until = kill_until.min(order.kill_until);
        }
        out.push(Effect::Kill { turn: turn.clone() });
        out.push(Effect::Arm { at: kill_until, tick: ThreadTick::KillOver(turn.clone()) });
    }

    /// Ends the thread. A second order may only be stricter.
    pub(crate) fn close(&mut self, order: CloseOrder, now: Now, out: &mut Vec<Effect>) {
        let first = self.closing.is_none();
        self.closing = Some(order);
        if first {
            self.phase = Phase::Stopping;
            self.asking = None;
            out.push(Effect::Shut);
            out.push(self.show());
        }
        match self.turn.as_ref() {
            None if first => self.finish_close(out),
            None => {}
            Some(running) if order.drain_until > now.instant && running.cancelled.is_none() => {
                let tick = ThreadTick::DrainOver(running.id.clone());
                out.push(Effect::Arm { at: order.drain_until, tick });
            }
            Some(_) => {
                let grace = now.instant + self.limits.interrupt_grace;
                self.cancel(order.stop_until.min(grace), now, out);
            }
        }
    }

    fn finish_close(&mut self, out: &mut Vec<Effect>) {
        let mut batch = Batch { status: Some(ThreadStatus::Shutdown), ..Batch::default() };
        let returned: Vec<SubmissionId> =
            self.queue.drain(..).map(|waiting| waiting.id().clone()).collect();
        for id in &returned {
            batch.states.push((id.clone(), SubmissionState::Ended(Outcome::Returned)));
        }
        self.status = ThreadStatus::Shutdown;
        let tell = self.closing.is_some_and(|order| order.tell_parent);
        let told = tell.then(|| self.tell_parent(&mut batch, &ThreadStatus::Shutdown)).flatten();
        out.push(self.write(batch));
        out.extend(told);
        for submission in returned {
            out.push(Effect::FreePlace);
            out.push(Effect::Settle { submission, outcome: Outcome::Returned });
        }
        self.phase = Phase::Stopped;
        out.push(self.show());
        out.push(Effect::End(Ended::Closed { rung: self.rung }));
    }

    /// Lets a parked thread run again.
    pub(crate) fn revive(
        &mut self,
        reply: Reply<(), ControlError>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if self.phase != Phase::Parked {
            return reply.tell(Err(self.wrong_phase("not parked")));
        }
        self.tracker.reset();
        self.phase = Phase::Idle;
        self.status = ThreadStatus::PendingInit;
        let status = Some(self.status.clone());
        out.push(self.write(Batch { status, ..Batch::default() }));
        out.push(Effect::Unpark);
        out.push(self.show());
        out.push(Effect::Confirm { reply });
        self.next(now, out);
    }

    /// Gives up the actor, if nothing is under way.
    pub(crate) fn hibernate(&mut self) -> Result<(), ControlError> {
        let busy = self.turn.is_some() || self.asking.is_some() || !self.queue.is_empty();
        if busy || self.phase != Phase::Idle {
            return Err(self.wrong_phase("busy"));
        }
        Ok(())
    }

    /// Where the thread stands once all is written.
    pub(crate) fn flushed(&self) -> Flushed {
        Flushed { head: self.head, running: self.turn.is_some() }
    }

    /// Mail that is durable in this thread's mailbox.
    pub(crate) fn receive(&mut self, mail: Mail, now: Now, out: &mut Vec<Effect>) {
        if self.mail_had.remove(&mail.id) {
            return; // the store had told of it when this incarnation began
        }
        out.push(self.publish(ThreadEvent::MailReceived { mail: mail.id.clone() }));
        self.mail.push_back(mail);
        self.next(now, out);
    }

    // Parts.

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

    pub(crate) fn show(&self) -> Effect {
        Effect::Show {
            status: self.status.clone(),
            phase: self.phase,
            turn: self.turn.as_ref().map(|turn| turn.id.clone()),
            waiting_for_host: !self.questions.is_empty(),
            ended: None,
        }
    }

    fn show_last(&self, error: Option<String>) -> Effect {
        Effect::Show {
            status: self.status.clone(),
            phase: self.phase,
            turn: None,
            waiting_for_host: false,
            ended: Some(error),
        }
    }

    /// P12: one mail for each end, named by its place, so that it is told once.
    fn tell_parent(&self, batch: &mut Batch, status: &ThreadStatus) -> Option<Effect> {
        let parent = self.parent?;
        let place = self.head.plus(batch.records.len() as u64);
        let mail = Mail {
            id: MailId::from(format!("{}:{}:{place}:{}", self.thread, self.epoch, status.name())),
            sender: Some(self.thread),
            author: self.author.clone(),
            recipient: parent.to_string(),
            content: records::notification(&self.author, status),
            trigger: false,
        };
        batch.mail.push(MailTo { to: parent, mail: mail.clone() });
        Some(Effect::Deliver { to: parent, mail })
    }

    pub(crate) fn wrong_phase(&self, phase: &'static str) -> ControlError {
        ControlError::WrongPhase { thread: self.thread, phase }
    }
}
