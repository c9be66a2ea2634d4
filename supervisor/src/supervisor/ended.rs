//! What follows the end of a thread's actor: restarts, parking, dormancy (P6, P7).

use coppicer_actors::{Acquired, Bug, Decision, Door};
use coppicer_messages::{
    Deadline, Ended, Epoch, LeaseKind, Phase, Rung, RuntimeEvent, SpawnError, SpawnOrigin,
    SupervisorTick, ThreadId, ThreadStatus,
};

use ractor::ActorStatus;

use super::SupervisorState;
use super::close::How;
use super::spawn::{Kind, Left, Spawning};
use super::table::{Entry, InCloses, Life};

impl SupervisorState {
    /// An incarnation is gone, with all that it owned. One that is not the current one changes
    /// nothing (SV-2).
    pub(super) fn on_ended(&mut self, thread: ThreadId, epoch: Epoch, how: Ended) {
        let by_id = self.world.turns().seeded().has(Bug::StaleRemoval);
        let is_current = |entry: &&mut Entry| entry.epoch == epoch || by_id;
        let Some(entry) = self.table.get_mut(thread).filter(is_current) else { return };
        entry.incarnation = None;
        let how = match (how, entry.trouble.there().and_then(|trouble| trouble.crash_as.take())) {
            (Ended::Killed, Some(cause)) => Ended::Crashed { cause },
            (how, _) => how,
        };
        let order = entry.order;
        let (slot, closing, wanted) = (entry.slot.clone(), entry.closing, entry.wanted);
        let (told, ends_only) = (entry.told, entry.ends_only);
        entry.wanted = false;
        entry.looks = 0;
        self.unloading -= usize::from(std::mem::take(&mut entry.unloading));
        self.room_came = true;
        slot.detach();
        #[cfg(feature = "testing")]
        if self.world.turns().seeded().has(Bug::LostMailbox) {
            slot.lose_input();
        }
        if !ends_only {
            self.publish(Some(&slot), RuntimeEvent::ThreadEnded { how: how.clone() });
        }
        let falls = how == Ended::Killed && !closing && self.siblings.fell(thread, order);
        if !falls && !matches!(how, Ended::Crashed { .. }) {
            self.siblings_settled(thread);
        }
        match how {
            Ended::Closed { rung } => self.finish(thread, rung, How::Completed, None),
            Ended::Dormant if closing => {
                self.show(&slot, ThreadStatus::Dormant, Phase::Dormant);
                self.table.set_life(thread, Life::Dormant);
                self.end_if_told(thread);
            }
            // Its turn to be told comes yet.
            Ended::Crashed { .. } | Ended::Killed | Ended::StoreLost { .. } if closing && !told => {
                self.table.set_life(thread, Life::Lost);
            }
            _ if closing => {
                if how == Ended::Fenced {
                    // What it had is the other runtime's to give back.
                    self.forget_account(thread);
                }
                let left = format!("it ended by itself while it was closing: {how:?}");
                self.show(&slot, ThreadStatus::Shutdown, Phase::Stopped);
                self.finish(thread, Rung::Killed, How::SubmitFailed, Some(&left));
            }
            Ended::Dormant => {
                self.show(&slot, ThreadStatus::Dormant, Phase::Dormant);
                self.table.set_life(thread, Life::Dormant);
                self.restart_children(thread);
                drop(slot); // nobody here holds it
                if wanted {
                    self.wake_up(thread, SpawnOrigin::Activation, Vec::new());
                } else {
                    self.let_go(thread);
                }
            }
            Ended::Crashed { cause } => self.crashed(thread, &cause),
            Ended::StoreLost { .. } if self.parent_comes(thread) => self.await_parent(thread),
            Ended::StoreLost { reason } => self.await_store(thread, &reason),
            Ended::Damaged { what } => self.quarantined(thread, &what),
            Ended::Killed if falls => self.await_siblings(thread),
            // It went down with its parent, and comes back after it.
            Ended::Killed => self.await_parent(thread),
            Ended::Fenced => {
                let cause = "another runtime took over its thread".to_owned();
                self.show(&slot, ThreadStatus::Crashed(cause.clone()), Phase::Stopped);
                // What is below it went down with it, and is the other runtime's to bring back.
                self.end_orphans(thread);
                self.forget_account(thread);
                self.finish(thread, Rung::Fenced, How::SubmitFailed, Some(&cause));
            }
            _ => self.crashed(thread, "its actor was killed"),
        }
    }

    /// Whether another runtime had a thread since its last life here, and ended it or put it elsewhere:
    /// then what is known of it here, its account above all, is not so any more.
    /// `places`: changes of places before the store was asked for it.
    pub(super) fn was_elsewhere(&self, places: u64, acquired: &Acquired) -> bool {
        let Acquired { fence, thread: stored, .. } = acquired;
        let Some(entry) = self.table.get(fence.thread) else { return false };
        if entry.epoch == Epoch(0) || fence.epoch <= entry.epoch.next() {
            return false;
        }
        let ended = stored.status == ThreadStatus::Shutdown;
        let moves = entry.unplaced
            || entry.trouble.moving.is_some()
            || self.places.changed_above(places, fence.thread, &entry.slot.about().lineage);
        ended || !moves && stored.parent.map(|(parent, _)| parent) != entry.parent
    }

    /// A thread was to come back that another runtime has had meanwhile. It goes as one does that was
    /// taken over, with all below it. Whoever waits for it has it looked up as it is now, and so is one
    /// that the other left unfinished: it was taken from that one by now.
    pub(super) fn lost_meanwhile(&mut self, spawning: Spawning, acquired: &Acquired, left: &Left) {
        let thread = spawning.thread;
        let closes = self.table.get(thread).is_some_and(|entry| entry.closing);
        let at_rest =
            matches!(acquired.thread.status, ThreadStatus::Shutdown | ThreadStatus::Parked);
        let has_mail = acquired.mail_rest.triggers || acquired.mail.iter().any(|mail| mail.trigger);
        let has_work = !acquired.open.is_empty() || has_mail || left.turn.is_some();
        let cause = "another runtime took over its thread".to_owned();
        if let Some(slot) = self.table.get(thread).map(|entry| entry.slot.clone()) {
            self.show(&slot, ThreadStatus::Crashed(cause.clone()), Phase::Stopped);
        }
        self.end_orphans(thread);
        self.forget_account(thread);
        self.finish(thread, Rung::Fenced, How::SubmitFailed, Some(&cause));
        for waiter in spawning.waiters {
            self.join_again(thread, waiter);
        }
        if has_work && !at_rest && !closes {
            self.recovery.has_found(thread);
            self.comebacks.add(thread);
        }
    }

    pub(super) fn await_parent(&mut self, thread: ThreadId) {
        let Some(slot) = self.table.get(thread).map(|entry| entry.slot.clone()) else { return };
        self.table.set_life(thread, Life::AwaitParent);
        let cause = "its parent crashed".to_owned();
        self.show(&slot, ThreadStatus::Crashed(cause), Phase::Backoff);
        if !self.parent_comes(thread) {
            self.load(thread, SpawnOrigin::Resume, Vec::new(), Kind::Restart);
        }
    }

    /// Whether a thread's parent is on its way back, or on its way out and not yet reported.
    pub(super) fn parent_comes(&self, thread: ThreadId) -> bool {
        let parent = self.table.get(thread).and_then(|entry| entry.parent);
        parent.and_then(|parent| self.table.get(parent)).is_some_and(|entry| match entry.life() {
            Life::Coming { .. }
            | Life::Backoff { .. }
            | Life::AwaitParent
            | Life::AwaitSibling
            | Life::AwaitStore => true,
            Life::Live => entry
                .incarnation
                .as_ref()
                .is_none_or(|live| live.cell().get_status() >= ActorStatus::Stopping),
            Life::Dormant | Life::Lost => false,
        })
    }

    /// Ends a thread that closes and has no actor: one comes up only to write its end.
    pub(super) fn end_if_told(&mut self, thread: ThreadId) {
        if self.table.get(thread).is_some_and(|entry| entry.told) {
            self.load(thread, SpawnOrigin::Activation, Vec::new(), Kind::Parking);
        }
    }

    /// Decides what follows a crash of a thread's actor.
    pub(super) fn crashed(&mut self, thread: ThreadId, cause: &str) {
        let (now, jitter) = (self.now().instant, self.shared.ids.fraction());
        let Some(entry) = self.table.get_mut(thread) else { return };
        if entry.closing {
            if entry.told {
                let left = format!("its end could not be written: {cause}");
                self.finish(thread, Rung::Drained, How::SubmitFailed, Some(&left));
            } else {
                self.table.set_life(thread, Life::Lost);
            }
            return;
        }
        entry.trouble.crashes += 1;
        let crash = entry.trouble.crashes;
        let slot = entry.slot.clone();
        slot.count_crash();
        let parking = entry.parking;
        entry.trouble.fell_of = Some(cause.to_owned());
        let policy = entry.rules.restart;
        let decision = entry.trouble.tracker.crashed(&policy, now, jitter);
        match decision {
            _ if parking => {
                // Not even a parked actor stays up: it is left without one until it is revived.
                entry.parking = false;
                self.table.set_life(thread, Life::Lost);
                slot.set_door(Door::Parked);
                self.show(&slot, ThreadStatus::Parked, Phase::Parked);
                self.siblings_settled(thread);
                // Nothing comes back that those below it could wait for.
                self.restart_children(thread);
            }
            Decision::Again { restart, after } => {
                self.table.set_life(thread, Life::Backoff { crash });
                self.show(&slot, ThreadStatus::Crashed(cause.to_owned()), Phase::Backoff);
                self.publish(Some(&slot), RuntimeEvent::RestartScheduled { restart, after });
                // With a pause or without: they wait until it is back.
                self.take_down_siblings(thread, true);
                if after.is_zero() {
                    return self.on_restart_due(thread, crash);
                }
                let at = Deadline::after(now, after).instant();
                if let Some(entry) = self.table.get_mut(thread) {
                    entry.trouble.back_at = Some(at);
                }
                self.arm(at, SupervisorTick::RestartDue { thread, crash });
            }
            Decision::Escalate if self.escalate(thread, cause) => {}
            Decision::Park | Decision::Escalate => {
                let Some(entry) = self.table.get_mut(thread) else { return };
                entry.parking = true;
                slot.set_door(Door::Parked);
                self.show(&slot, ThreadStatus::Parked, Phase::Parked);
                self.publish(Some(&slot), RuntimeEvent::ThreadParked);
                self.load(thread, SpawnOrigin::Resume, Vec::new(), Kind::Parking);
            }
            Decision::Close => {
                // One comes up only to write its end.
                self.table.set_life(thread, Life::Lost);
                self.show(&slot, ThreadStatus::Crashed(cause.to_owned()), Phase::Stopping);
                self.close_itself(thread);
            }
        }
    }

    /// Ends what hung below a thread that does not come back: it went down with it.
    pub(super) fn end_orphans(&mut self, thread: ThreadId) {
        let below: Vec<ThreadId> = self.table.subtree(thread).into_iter().skip(1).collect();
        for child in below.into_iter().rev() {
            if let Some(entry) = self.table.get_mut(child) {
                entry.closing = true;
                if let Some(incarnation) = &entry.incarnation {
                    incarnation.kill();
                }
                let (slot, gone) = (entry.slot.clone(), entry.slot_of_actor());
                self.show(&slot, ThreadStatus::Shutdown, Phase::Stopped);
                self.forget_account(child);
                // Before it is out of its closes: one may have waited for it alone, and reports.
                if let Some(slot) = gone {
                    self.publish(Some(&slot), RuntimeEvent::ThreadEnded { how: Ended::Killed });
                }
                self.finish(child, Rung::Killed, How::SubmitFailed, None);
                self.report_due(); // there may be thousands
            }
        }
    }

    /// A revived thread has a fresh budget.
    pub(super) fn on_revived(&mut self, thread: ThreadId) {
        if let Some(entry) = self.table.get_mut(thread) {
            entry.parking = false;
            entry.trouble.tracker.reset();
        }
    }

    pub(super) fn on_restart_due(&mut self, thread: ThreadId, crash: u64) {
        let due = self
            .table
            .get(thread)
            .is_some_and(|entry| entry.life() == Life::Backoff { crash } && !entry.closing);
        if due && !self.ended {
            self.load(thread, SpawnOrigin::Resume, Vec::new(), Kind::Restart);
        }
    }

    /// Brings back what went down with a thread, in start order.
    pub(super) fn restart_children(&mut self, thread: ThreadId) {
        let children: Vec<ThreadId> = self.table.children(thread).collect();
        for child in children {
            let waits = {
                let child = self.table.get(child);
                child.is_some_and(|entry| entry.life() == Life::AwaitParent && !entry.closing)
            };
            if waits {
                self.load(child, SpawnOrigin::Resume, Vec::new(), Kind::Restart);
                self.report_due(); // there may be thousands
            }
        }
    }

    /// Removes a thread that is over: its handle's door is shut, its leases go back, whoever waits
    /// for its end is told.
    pub(super) fn finish(&mut self, thread: ThreadId, rung: Rung, how: How, left: Option<&str>) {
        let mut significant = None;
        let mut closes = InCloses::None;
        if let Some(mut entry) = self.table.remove(thread) {
            closes = std::mem::take(&mut entry.closes);
            self.settle(&entry);
            significant = entry.parent.filter(|_| entry.rules.significant && entry.ends_itself);
            if entry.slot.phase() != Phase::Stopped && self.directory.find(thread).is_some() {
                self.show(&entry.slot, ThreadStatus::Shutdown, Phase::Stopped);
            }
            self.directory.remove(&entry.slot);
            entry.slot.end();
            self.idle.forget(thread);
            if let Some(at) = entry.trouble.back_at {
                let tick = SupervisorTick::RestartDue { thread, crash: entry.trouble.crashes };
                self.times.forget(at, tick);
            }
            self.unloading -= usize::from(entry.unloading);
            self.room_came = true;
            if how == How::TimedOut && self.world.turns().seeded().has(Bug::SlotLeak) {
                std::mem::forget(self.shared.leases.grant(LeaseKind::Slot));
            }
        }
        self.came_back(thread);
        self.siblings_settled(thread);
        let waiting = self.waiting.take(thread);
        self.refuse(waiting, &SpawnError::Closing { thread });
        self.close_ended(&closes, rung, how, left);
        if let Some(parent) = significant {
            self.significant_ended(parent, thread);
        }
        for postponed in self.postponed.take(thread) {
            self.on_spawn(postponed.request, postponed.asker, postponed.reply);
        }
    }
}
