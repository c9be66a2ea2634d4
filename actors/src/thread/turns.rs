//! The core's decisions about turns: when one starts, what it may do, and what its end means.

use std::time::Duration;

use coppicer_messages::{
    Accepted, AfterPoison, ControlError, CrashRecord, Interrupted, Mail, NewRecord, Now, Phase,
    Reply, Rung, SubmissionId, SubmissionState, SubmitError, ThreadEvent, ThreadId, ThreadPatch,
    ThreadStatus, ThreadTick, TraceContext, TurnId, TurnItem, TurnPermit,
};

use super::control::later;
use super::core::{ThreadCore, Waiting};
use super::effect::{Effect, Launch};
use super::records;
use super::running::{RunningTurn, Stage, TurnEnd};
use crate::engine::TurnKind;
use crate::poison::Retrial;
use crate::restart::Decision;
use crate::store::{Batch, MailTo};

/// What caused a turn without input: the first mail that started it and says so.
fn cause_of(items: &[TurnItem]) -> Option<TraceContext> {
    items.iter().find_map(|item| match item {
        TurnItem::Mail(mail) if mail.trigger => mail.trace.clone(),
        _ => None,
    })
}

impl ThreadCore {
    /// Starts the next turn, if there is work and nothing is in its way.
    pub(crate) fn next(&mut self, now: Now, out: &mut Vec<Effect>) {
        let free = self.phase == Phase::Idle && self.turn.is_none() && self.asking.is_none();
        if !free || self.closing.is_some() || self.spent.is_some() {
            return;
        }
        let turn = match self.queue.front() {
            Some(Waiting::Input { id, attempt, .. } | Waiting::Compact { id, attempt, .. }) => {
                TurnId::of_attempt(id, *attempt)
            }
            None if self.mail.is_ready() => self.name_mail_turn(now),
            // What is to start it has to be read first.
            None if self.mail_starts() => return self.read_more_mail(out),
            None => return,
        };
        self.asking = Some(turn.clone());
        if self.queue.is_empty() {
            out.push(self.show()); // mail holds no place in the inbox that would tell of it
        }
        out.push(Effect::AskPermit { turn });
    }

    pub(super) fn name_mail_turn(&mut self, now: Now) -> TurnId {
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
        if self.closing.is_some() || self.phase != Phase::Idle || self.spent.is_some() {
            return out.push(self.show()); // the permit goes back; what waits goes on waiting
        }
        let work = self.queue.pop_front();
        let had_place = work.is_some();
        let mut running = Box::new(RunningTurn::new(turn.clone(), now, permit));
        let mut batch =
            Batch { records: vec![records::turn_started(turn, now.at_ms)], ..Batch::default() };
        let mut items = Vec::with_capacity(1 + self.mail.len());
        match work {
            Some(Waiting::Input { id, input, attempt, trace }) => {
                if attempt <= 1 {
                    batch.records.extend(records::user_input(&input, now.at_ms));
                }
                if !self.has_preview {
                    self.has_preview = true;
                    let patch = ThreadPatch::default().with_preview(&input.preview());
                    batch.patch = Some(Box::new(patch));
                }
                batch.states.push((id.clone(), SubmissionState::Running { attempt }));
                running.submissions.push(id.clone());
                running.attempt = attempt;
                running.trace = trace;
                items.push(TurnItem::Input { submission: id, input });
            }
            Some(Waiting::Compact { id, attempt, trace }) => {
                batch.states.push((id.clone(), SubmissionState::Running { attempt }));
                running.submissions.push(id);
                running.attempt = attempt;
                running.kind = TurnKind::Compact;
                running.trace = trace;
            }
            None => {}
        }
        if running.kind == TurnKind::Regular {
            self.take_mail(&mut batch, &mut items, now, out);
            if !had_place {
                running.trace = cause_of(&items);
            }
        }
        self.traced_by(running.trace.as_ref());
        running.first_attempt = running.attempt;
        batch.status = Some(ThreadStatus::Running);
        batch.updated_ms = Some(now.at_ms);
        let attempt = running.attempt;
        running.items = items.into();
        self.turn = Some(running);
        self.phase = Phase::Running;
        self.status = ThreadStatus::Running;
        // Shown before the place in the inbox is given back, so that a thread with work is never
        // seen with nothing to do.
        out.insert(0, self.write(batch));
        out.push(self.show());
        if had_place {
            out.push(Effect::FreePlace);
        }
        out.push(self.publish(ThreadEvent::TurnStarted { attempt }));
        out.push(self.launch());
    }

    pub(super) fn launch(&self) -> Effect {
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
    pub(super) fn take_mail(
        &mut self,
        batch: &mut Batch,
        items: &mut Vec<TurnItem>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(mailbox) = self.mail.there() else { return };
        // The rest comes with the next look.
        for mail in mailbox.take((self.limits.batch_records_max / 2).max(1)) {
            batch.records.push(records::envelope(&mail, now.at_ms));
            batch.mail_taken.push(mail.id.clone());
            out.push(Effect::Publish {
                turn: self.turn.as_ref().map(|turn| turn.id.clone()),
                event: ThreadEvent::MailDelivered { mail: mail.id.clone() },
            });
            items.push(TurnItem::Mail(mail));
        }
        self.put_mail_away();
        self.read_more_mail(out);
    }

    /// Whether the launched turn is to run: false if it was stopped before it began.
    pub(crate) fn launched(&mut self, turn: &TurnId, now: Now, out: &mut Vec<Effect>) -> bool {
        let Some(running) = self.turn.as_mut().filter(|running| running.id == *turn) else {
            return false;
        };
        if running.cancelled.is_some() {
            self.turn_ended(&turn.clone(), &TurnEnd::Killed, 0.0, now, out);
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
            for (id, input, trace) in running.steered.drain(..) {
                batch.records.extend(records::user_input(&input, now.at_ms));
                batch.states.push((id.clone(), SubmissionState::Running { attempt: 1 }));
                running.submissions.push(id.clone());
                running.taken.push(Waiting::Input {
                    id: id.clone(),
                    input: input.clone(),
                    attempt: 1,
                    trace,
                });
                items.push(TurnItem::Input { submission: id, input });
                out.push(Effect::FreePlace);
            }
        }
        if self.turn.as_ref().is_some_and(|running| !running.mail_waits) {
            self.take_mail(&mut batch, &mut items, now, out);
        }
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

    /// The running turn leaves mail in a mailbox whose owner it is not to wake: in a write of its own
    /// thread, because that one has no actor that could accept it.
    pub(crate) fn leave_mail(
        &mut self,
        turn: &TurnId,
        to: ThreadId,
        mail: Mail,
        reply: Reply<Accepted, SubmitError>,
        out: &mut Vec<Effect>,
    ) {
        if !self.runs(turn) {
            return reply.tell(Err(SubmitError::Closed { thread: self.thread }));
        }
        let receipt = SubmissionId::new(&*mail.id).map(|id| Accepted::new(id, self.head));
        let receipt = match receipt {
            Ok(receipt) => receipt,
            Err(error) => return reply.tell(Err(error.into())),
        };
        let letter = MailTo { to, mail: mail.clone() };
        out.push(self.write(Batch { mail: vec![letter], ..Batch::default() }));
        out.push(Effect::Accept { reply, receipt });
        out.push(Effect::Deliver { to, mail });
    }

    /// The turn is over. `jitter`: a random number from 0 to 1, for the pause after a crash.
    pub(crate) fn turn_ended(
        &mut self,
        turn: &TurnId,
        end: &TurnEnd,
        jitter: f32,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(running) = self.turn.take_if(|running| running.id == *turn) else {
            return; // stale (TH-2)
        };
        let mut running = running;
        if let Some(pause) = running.retry_after(end, &self.limits)
            && running.cancelled.is_none()
            && self.closing.is_none()
        {
            return self.retry(running, end, pause, now, out);
        }
        let crash = match end {
            TurnEnd::Panicked(cause) => Some(CrashRecord {
                at_ms: now.at_ms,
                epoch: self.epoch,
                turn: Some(running.id.clone()),
                seq: self.head,
                place: running.place,
                cause: cause.as_str().into(),
            }),
            _ => None,
        };
        let crashed = crash.is_some();
        let verdict = running.verdict(end);
        let (id, took) = (running.id.clone(), now.instant - running.started.instant);

        let mut batch = Batch {
            records: records::turn_ended(&running, &verdict, took, now.at_ms),
            status: Some(verdict.status.clone()),
            updated_ms: Some(now.at_ms),
            ..Batch::default()
        };
        self.keep(crash, &mut batch);
        let first = running.submissions.first().filter(|_| crashed);
        let retrial =
            first.map_or(Retrial::Never, |first| self.retrial(first, running.first_attempt));
        let stops = running.cancelled.is_some() || self.closing.is_some();
        let again = retrial == Retrial::Again && !stops;
        let mut told = None;
        if !again {
            for submission in &running.submissions {
                let ended = SubmissionState::Ended(verdict.outcome.clone());
                batch.states.push((submission.clone(), ended));
            }
            told = self.tell_parent(&mut batch, &verdict.status);
        }
        self.status = verdict.status;
        if self.closing.is_none() {
            self.phase = Phase::Idle;
        }
        self.questions.clear();
        if let Some(rung) = verdict.rung {
            self.rung = self.rung.max(rung);
        }
        // Input that the turn never took waits for a turn of its own, in front.
        for (id, input, trace) in running.steered.drain(..).rev() {
            self.queue.push_front(Waiting::Input { id, input, attempt: 1, trace });
        }
        if again {
            self.queue_again(&mut running, out);
        }
        // Before what tells others of it.
        let first = self.write(batch);
        out.insert(0, first);
        out.extend(told);
        if let TurnEnd::Panicked(cause) = end {
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
        for submission in running.submissions.drain(..).filter(|_| !again) {
            let outcome = verdict.outcome.clone();
            out.push(Effect::Settle { submission, outcome });
        }
        out.push(Effect::TurnOver { turn: id.clone(), keep_session: verdict.keep_session });
        let cause = end.describe();
        let given_up = retrial == Retrial::Over && self.closing.is_none();
        if crashed && given_up && self.config.poison.then == AfterPoison::Park {
            self.crashes += 1;
            self.sit(out);
        } else if crashed && self.parking.is_empty() {
            self.after_crash(&cause, jitter, now, out);
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
        } else if self.parking.is_empty() {
            self.next(now, out);
        } else {
            self.sit(out);
        }
    }

    /// Queues what a crashed turn worked on once more, in front. It had given its places back.
    fn queue_again(&mut self, running: &mut RunningTurn, out: &mut Vec<Effect>) {
        for mut waiting in running.take_work().into_iter().rev() {
            let (Waiting::Input { attempt, .. } | Waiting::Compact { attempt, .. }) = &mut waiting;
            *attempt += 1;
            out.push(Effect::TakePlace);
            self.queue.push_front(waiting);
        }
    }

    pub(super) fn retry(
        &mut self,
        mut running: Box<RunningTurn>,
        end: &TurnEnd,
        after: Duration,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let error = end.describe();
        running.attempt += 1;
        running.mail_waits = false;
        running.stage = Stage::Retrying;
        let (turn, attempt) = (running.id.clone(), running.attempt);
        if matches!(end, TurnEnd::SessionLost(_)) {
            out.push(Effect::DropSession);
        }
        let event = ThreadEvent::TurnRetried { attempt, after, error };
        out.push(Effect::Publish { turn: Some(turn.clone()), event });
        out.push(Effect::Arm { at: later(now, after), tick: ThreadTick::RetryDue(turn) });
        self.turn = Some(running);
        // The attempt that asked is over.
        if !self.questions.is_empty() {
            self.questions.clear();
            out.push(self.show());
        }
    }

    pub(super) fn after_crash(
        &mut self,
        cause: &str,
        jitter: f32,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        self.crashes += 1;
        if self.closing.is_some() {
            return;
        }
        match self.tracker.crashed(&self.config.restart, now.instant, jitter) {
            Decision::Again { restart, after } => {
                out.push(self.publish(ThreadEvent::BackoffStarted { crash: restart, after }));
                if self.parent.is_some() {
                    out.push(Effect::TellCrash { spent: None }); // the siblings' affair, with a pause or none
                }
                if after.is_zero() {
                    return; // no pause: what is queued goes on at once
                }
                self.phase = Phase::Backoff;
                let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                self.backoff_until_ms = Some(now.at_ms.saturating_add(after_ms));
                let tick = ThreadTick::BackoffOver { crash: self.crashes };
                out.push(Effect::Arm { at: later(now, after), tick });
            }
            // It goes down with its parent, and comes back with it.
            Decision::Escalate if self.parent.is_some() => {
                self.phase = Phase::Backoff;
                out.push(Effect::TellCrash { spent: Some(cause.to_owned()) });
            }
            Decision::Park | Decision::Escalate => self.sit(out),
            Decision::Close => {
                self.phase = Phase::Stopping; // no turn starts on the way out
                out.push(Effect::AskClose);
            }
        }
    }
}
