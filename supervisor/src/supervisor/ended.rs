//! What follows the end of a thread's actor: restarts, parking, dormancy (P6, P7).

use coppicer_actors::{Decision, Door};
use coppicer_messages::{
    Ended, Epoch, Phase, Rung, RuntimeEvent, SpawnOrigin, SupervisorTick, ThreadId, ThreadStatus,
};

use super::SupervisorState;
use super::close::How;
use super::spawn::Kind;
use super::table::Life;

impl SupervisorState {
    /// An incarnation is gone, with all that it owned. One that is not the current one changes
    /// nothing (SV-2).
    pub(super) fn on_ended(&mut self, thread: ThreadId, epoch: Epoch, how: Ended) {
        let Some(entry) = self.table.get_mut(thread).filter(|entry| entry.epoch == epoch) else {
            return;
        };
        entry.incarnation = None;
        let (slot, closing, wanted) = (entry.slot.clone(), entry.closing, entry.wanted);
        entry.wanted = false;
        slot.detach();
        self.publish(Some(&slot), RuntimeEvent::ThreadEnded { how: how.clone() });
        match how {
            Ended::Closed { rung } => self.finish(thread, rung, How::Completed, None),
            _ if closing => {
                let left = format!("it ended by itself while it was closing: {how:?}");
                self.show(&slot, ThreadStatus::Shutdown, Phase::Stopped);
                self.finish(thread, Rung::Killed, How::SubmitFailed, Some(&left));
            }
            Ended::Dormant => {
                self.show(&slot, ThreadStatus::Dormant, Phase::Dormant);
                if let Some(entry) = self.table.get_mut(thread) {
                    entry.life = Life::Dormant;
                }
                if wanted {
                    self.load(thread, SpawnOrigin::Activation, Vec::new(), Kind::Wake);
                }
            }
            Ended::Crashed { cause } => self.crashed(thread, &cause),
            // It went down with its parent, and comes back after it.
            Ended::Killed if self.goes_with_parent(thread) => self.await_parent(thread),
            Ended::Fenced => {
                let cause = "another runtime took over its thread".to_owned();
                self.show(&slot, ThreadStatus::Crashed(cause.clone()), Phase::Stopped);
                self.finish(thread, Rung::Fenced, How::SubmitFailed, Some(&cause));
            }
            _ => self.crashed(thread, "its actor was killed"),
        }
    }

    fn goes_with_parent(&self, thread: ThreadId) -> bool {
        let parent = self.table.get(thread).and_then(|entry| entry.parent);
        parent.is_some_and(|parent| self.table.get(parent).is_some())
    }

    pub(super) fn await_parent(&mut self, thread: ThreadId) {
        let Some(entry) = self.table.get_mut(thread) else { return };
        entry.life = Life::AwaitParent;
        let cause = "its parent crashed".to_owned();
        let slot = entry.slot.clone();
        self.show(&slot, ThreadStatus::Crashed(cause), Phase::Backoff);
    }

    /// Decides what follows a crash of a thread's actor.
    pub(super) fn crashed(&mut self, thread: ThreadId, cause: &str) {
        let (now, jitter) = (self.now().instant, self.shared.ids.fraction());
        let Some(entry) = self.table.get_mut(thread) else { return };
        entry.crashes += 1;
        let crash = entry.crashes;
        let slot = entry.slot.clone();
        slot.count_crash();
        let parking = entry.parking;
        let policy = entry.policy;
        let decision = entry.tracker.crashed(&policy, now, jitter);
        match decision {
            _ if parking => {
                // Not even a parked actor stays up: it is left without one until it is revived.
                entry.life = Life::Lost;
                entry.parking = false;
                slot.set_door(Door::Parked);
                self.show(&slot, ThreadStatus::Parked, Phase::Parked);
            }
            Decision::Again { restart, after } => {
                entry.life = Life::Backoff { crash };
                self.show(&slot, ThreadStatus::Crashed(cause.to_owned()), Phase::Backoff);
                self.publish(Some(&slot), RuntimeEvent::RestartScheduled { restart, after });
                self.arm(now + after, SupervisorTick::RestartDue { thread, crash });
            }
            Decision::Park => {
                entry.parking = true;
                slot.set_door(Door::Parked);
                self.show(&slot, ThreadStatus::Parked, Phase::Parked);
                self.publish(Some(&slot), RuntimeEvent::ThreadParked);
                self.load(thread, SpawnOrigin::Resume, Vec::new(), Kind::Parking);
            }
            Decision::Close => {
                entry.closing = true;
                self.show(&slot, ThreadStatus::Crashed(cause.to_owned()), Phase::Stopped);
                self.end_orphans(thread);
                self.finish(thread, Rung::Killed, How::SubmitFailed, Some(cause));
            }
        }
    }

    /// Ends what hung below a thread that does not come back: it went down with it.
    fn end_orphans(&mut self, thread: ThreadId) {
        let below: Vec<ThreadId> = self.table.subtree(thread).into_iter().skip(1).collect();
        for child in below.into_iter().rev() {
            if let Some(entry) = self.table.get_mut(child) {
                entry.closing = true;
                if let Some(incarnation) = &entry.incarnation {
                    incarnation.kill();
                }
                let slot = entry.slot.clone();
                self.show(&slot, ThreadStatus::Shutdown, Phase::Stopped);
                self.finish(child, Rung::Killed, How::SubmitFailed, None);
            }
        }
    }

    pub(super) fn on_restart_due(&mut self, thread: ThreadId, crash: u64) {
        let due = self.table.get(thread).is_some_and(|entry| entry.life == Life::Backoff { crash });
        if due && !self.ended {
            self.load(thread, SpawnOrigin::Resume, Vec::new(), Kind::Restart);
        }
    }

    /// Brings back what went down with a thread, in start order.
    pub(super) fn restart_children(&mut self, thread: ThreadId) {
        let children: Vec<ThreadId> = self.table.children(thread).collect();
        for child in children {
            let waits = self.table.get(child).is_some_and(|entry| entry.life == Life::AwaitParent);
            if waits {
                self.load(child, SpawnOrigin::Resume, Vec::new(), Kind::Restart);
            }
        }
    }

    /// Removes a thread that is over: its handle's door is shut, its leases go back, whoever waits
    /// for its end is told.
    pub(super) fn finish(&mut self, thread: ThreadId, rung: Rung, how: How, left: Option<&str>) {
        if let Some(entry) = self.table.remove(thread) {
            let shown = self.directory.find(thread).is_some();
            if shown && entry.slot.phase() != Phase::Stopped {
                self.show(&entry.slot, ThreadStatus::Shutdown, Phase::Stopped);
            }
            self.directory.remove(&entry.slot);
            entry.slot.end();
        }
        self.close_ended(thread, rung, how, left);
        for postponed in self.postponed.remove(&thread).unwrap_or_default() {
            self.on_spawn(postponed.request, postponed.asker, postponed.reply);
        }
    }
}
