//! The core's decisions about control: interrupts, times that have come, closing, reviving.

use std::time::Duration;

use coppicer_messages::{
    CloseOrder, ControlError, Deadline, Ended, Flushed, Interrupted, LimitReached, Now, Outcome,
    Phase, Reply, SubmissionId, SubmissionState, ThreadEvent, ThreadStatus, ThreadTick, TurnId,
};

use tokio::time::Instant;

use super::core::ThreadCore;
use super::effect::Effect;
use super::running::{Cancelled, RunningTurn, Stage, TurnEnd};
use crate::store::Batch;

/// The moment `pause` from now, however long that is.
pub(super) fn later(now: Now, pause: Duration) -> Instant {
    Deadline::after(now.instant, pause).instant()
}

impl ThreadCore {
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
                let stop_until = later(now, self.limits.interrupt_grace);
                self.cancel(stop_until, now, out);
            }
        }
    }

    /// Tells the running turn to stop, if it was not told before; kills it at `stop_until`.
    pub(crate) fn cancel(&mut self, stop_until: Instant, now: Now, out: &mut Vec<Effect>) {
        let Some(running) = self.turn.as_mut() else { return };
        let turn = running.id.clone();
        let earlier = running.cancelled.as_ref().map(|cancelled| cancelled.stop_until);
        if earlier.is_some_and(|earlier| earlier <= stop_until) {
            return;
        }
        running.cancelled = Some(Cancelled { stop_until });
        match running.stage {
            Stage::Retrying => self.turn_ended(&turn, &TurnEnd::Stopped, 0.0, now, out),
            Stage::Starting => {} // `launched` ends it
            Stage::Live | Stage::Killed => {
                if earlier.is_none() {
                    out.push(Effect::Cancel { turn: turn.clone() });
                }
                out.push(Effect::Arm { at: stop_until, tick: ThreadTick::GraceOver(turn) });
            }
        }
    }

    /// The budget that the running turn draws on is used up: it is told to stop, as by an interrupt.
    pub(crate) fn budget_spent(
        &mut self,
        turn: &TurnId,
        limit: LimitReached,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let runs = |running: &&mut Box<RunningTurn>| {
            running.id == *turn && running.cancelled.is_none() && running.stage != Stage::Killed
        };
        let Some(running) = self.turn.as_mut().filter(runs) else { return };
        let event =
            ThreadEvent::BudgetSpent { limit: limit.limit.to_owned(), granted: limit.value };
        running.limited = Some(limit);
        out.push(self.publish(event));
        self.cancel(later(now, self.limits.interrupt_grace), now, out);
    }

    /// A time has come.
    pub(crate) fn tick(&mut self, tick: ThreadTick, now: Now, out: &mut Vec<Effect>) {
        match tick {
            ThreadTick::DrainOver(turn) if self.runs(&turn) => {
                let until = self.closing.as_ref().map_or(now.instant, |order| order.stop_until);
                self.cancel(until.min(later(now, self.limits.interrupt_grace)), now, out);
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
                    self.turn_ended(&turn, &TurnEnd::Fenced, 0.0, now, out);
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
            ThreadTick::MailDue => self.read_more_mail(out),
            ThreadTick::BackoffOver { crash }
                if self.phase == Phase::Backoff && self.crashes == crash =>
            {
                self.phase = Phase::Idle;
                out.push(self.show());
                self.next(now, out);
            }
            _ => {}
        }
    }

    pub(super) fn grace_over(&mut self, turn: &TurnId, now: Now, out: &mut Vec<Effect>) {
        let Some(running) = self.turn.as_mut().filter(|running| running.id == *turn) else {
            return;
        };
        let due = running.cancelled.as_ref().is_some_and(|c| c.stop_until <= now.instant);
        if !due || running.stage != Stage::Live {
            return;
        }
        running.stage = Stage::Killed;
        let mut kill_until = later(now, self.limits.kill_wait);
        if let Some(order) = &self.closing {
            kill_until = kill_until.min(order.kill_until);
        }
        out.push(Effect::Kill { turn: turn.clone() });
        out.push(Effect::Arm { at: kill_until, tick: ThreadTick::KillOver(turn.clone()) });
    }

    /// Ends the thread. A second order may only be stricter.
    pub(crate) fn close(&mut self, order: CloseOrder, now: Now, out: &mut Vec<Effect>) {
        let first = self.closing.is_none();
        let order = self.closing.as_ref().map_or(order, |before| CloseOrder {
            drain_until: order.drain_until.min(before.drain_until),
            stop_until: order.stop_until.min(before.stop_until),
            kill_until: order.kill_until.min(before.kill_until),
            tell_parent: order.tell_parent || before.tell_parent,
        });
        self.closing = Some(Box::new(order));
        if first {
            let came_to_end = self.phase == Phase::Stopping;
            self.phase = Phase::Stopping;
            self.asking = None;
            for reply in std::mem::take(&mut self.parking) {
                reply.tell(Err(self.wrong_phase("closing")));
            }
            out.push(Effect::Shut);
            if !came_to_end {
                out.push(self.show());
            }
        }
        match self.turn.as_ref() {
            None if first => self.finish_close(out),
            None => {}
            Some(running) if order.drain_until > now.instant && running.cancelled.is_none() => {
                let tick = ThreadTick::DrainOver(running.id.clone());
                out.push(Effect::Arm { at: order.drain_until, tick });
            }
            Some(_) => {
                let grace = later(now, self.limits.interrupt_grace);
                self.cancel(order.stop_until.min(grace), now, out);
            }
        }
    }

    pub(super) fn finish_close(&mut self, out: &mut Vec<Effect>) {
        let mut batch = Batch { status: Some(ThreadStatus::Shutdown), ..Batch::default() };
        let returned: Vec<SubmissionId> =
            self.queue.take().into_iter().map(|waiting| waiting.id().clone()).collect();
        for id in &returned {
            batch.states.push((id.clone(), SubmissionState::Ended(Outcome::Returned)));
        }
        self.status = ThreadStatus::Shutdown;
        let tell = self.closing.as_ref().is_some_and(|order| order.tell_parent);
        let told = tell.then(|| self.tell_parent(&mut batch, &ThreadStatus::Shutdown)).flatten();
        out.push(Effect::Refund);
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

    /// Stops the running turn and starts no other until it is revived. What is queued stays queued.
    pub(crate) fn park(&mut self, reply: Reply<(), ControlError>, now: Now, out: &mut Vec<Effect>) {
        if self.closing.is_some() || self.phase == Phase::Stopping {
            return reply.tell(Err(self.wrong_phase("closing")));
        }
        if self.phase == Phase::Parked {
            return out.push(Effect::Confirm { reply });
        }
        self.parking.push(reply);
        if self.turn.is_some() {
            self.cancel(later(now, self.limits.interrupt_grace), now, out);
        } else {
            self.sit(out);
        }
    }

    /// Nobody takes its crash over.
    pub(crate) fn sit_parked(&mut self, out: &mut Vec<Effect>) {
        if self.phase == Phase::Backoff && self.closing.is_none() {
            self.sit(out);
        }
    }

    /// Is parked from now on.
    pub(super) fn sit(&mut self, out: &mut Vec<Effect>) {
        self.asking = None;
        self.phase = Phase::Parked;
        self.status = ThreadStatus::Parked;
        let status = Some(ThreadStatus::Parked);
        out.push(self.write(Batch { status, ..Batch::default() }));
        out.push(Effect::Park);
        out.push(self.show());
        out.extend(self.parking.take().into_iter().map(|reply| Effect::Confirm { reply }));
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
        self.tracker.clear();
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
        let busy = self.turn.is_some()
            || self.asking.is_some()
            || !self.queue.is_empty()
            // It waits for money: asleep, nobody would tell the thread that there is some.
            || self.mail_starts()
            // It may find what starts a turn.
            || self.mail.is_read();
        if busy || self.phase != Phase::Idle {
            return Err(self.wrong_phase("busy"));
        }
        Ok(())
    }

    /// Where the thread stands once all is written.
    pub(crate) fn flushed(&self) -> Flushed {
        Flushed { head: self.head, running: self.turn.is_some() }
    }
}
