//! Trouble of the store: it cannot write for a while, or a record of it is damaged. Neither is a
//! thread's own fault, and neither uses up its restarts.

use std::time::Duration;

use coppicer_actors::{About, Slot};
use coppicer_messages::{
    Deadline, Ended, Epoch, EventKind, Fact, Phase, Rung, RuntimeEvent, Seq, SpawnError,
    StoreError, StoreTrouble, SupervisorTick, ThreadEvent, ThreadId, ThreadStatus,
};
use tokio::time::timeout;

use super::SupervisorState;
use super::close::How;
use super::resume::look_up;
use super::spawn::Step;
use super::table::{Entry, Life};

/// Damaged threads whose place is looked up at once. Further ones are told of without it.
const DAMAGED_LOOKS_MAX: usize = 64;

/// How long the store has for that.
const DAMAGED_LOOK: Duration = Duration::from_secs(1);

impl SupervisorState {
    pub(super) fn on_store_ailing(&mut self, trouble: StoreTrouble, reason: String) {
        if self.store_ails.replace(trouble) != Some(trouble) {
            self.publish(None, RuntimeEvent::StoreAiling { trouble, reason });
        }
    }

    pub(super) fn on_store_well(&mut self) {
        if self.store_ails.take().is_some() {
            self.publish(None, RuntimeEvent::StoreRecovered);
        }
        self.comebacks.end_pauses();
        self.recovery.end_pause();
        self.count_again();
        self.write_owed();
    }

    /// A thread that was on its way back is not: by the store's fault, by damage, or by a crash.
    pub(super) fn not_back(&mut self, thread: ThreadId, refusal: &SpawnError) {
        match refusal {
            SpawnError::Store(
                error @ (StoreError::Unavailable { .. } | StoreError::UnknownOutcome { .. }),
            ) => self.await_store(thread, &error.to_string()),
            SpawnError::Damaged { reason, .. } => self.quarantined(thread, reason),
            refusal => self.crashed(thread, &refusal.to_string()),
        }
    }

    /// Has a thread try again when the store can write, for as long as that takes.
    pub(super) fn await_store(&mut self, thread: ThreadId, reason: &str) {
        let Some(entry) = self.table.get(thread) else { return };
        if entry.closing {
            return self.crashed(thread, reason); // no way back, only an end
        }
        let slot = entry.slot.clone();
        self.table.set_life(thread, Life::AwaitStore);
        self.show(&slot, ThreadStatus::Crashed(reason.to_owned()), Phase::Backoff);
        let pause = self.shared.limits.store_retry;
        let at = Deadline::after(self.now().instant, pause).instant();
        self.comebacks.add_later(thread, at);
        self.arm_comebacks();
    }

    pub(super) fn arm_comebacks(&mut self) {
        if let Some(at) = self.comebacks.next_due() {
            self.arm_first(at, SupervisorTick::ComebackDue);
        }
    }

    /// The store has put a thread into quarantine: nothing of it can be written any more.
    pub(super) fn on_store_damaged(&mut self, thread: ThreadId, seq: Seq, reason: &str) {
        let what = format!("record {seq}: {reason}");
        if self.table.get(thread).is_some() || self.damaged_looks >= DAMAGED_LOOKS_MAX {
            return self.damaged(thread, &what, &About::of(thread));
        }
        // Only the store knows where it is. Who hears of it wants to know by what name it goes.
        self.damaged_looks += 1;
        let op = self.new_op();
        let store = self.shared.store.clone();
        let depth_max = self.shared.limits.depth_max;
        self.outside(op, async move {
            let stored = timeout(DAMAGED_LOOK, look_up(&*store, thread, depth_max)).await;
            let mut about = About::of(thread);
            if let Ok(Ok(stored)) = stored {
                about.parent = stored.thread.parent.map(|(parent, _)| parent);
                about.path.clone_from(&stored.thread.path);
                about.depth = stored.thread.depth;
                about.lineage = stored.lineage;
            }
            Step::DamagedPlace { thread, what, about: Box::new(about) }
        });
    }

    pub(super) fn on_damaged_place(&mut self, thread: ThreadId, what: &str, about: &About) {
        self.damaged_looks -= 1;
        self.damaged(thread, what, about);
    }

    /// Tells of a damaged thread, by its slot if it has one, and ends it.
    fn damaged(&mut self, thread: ThreadId, what: &str, about: &About) {
        let slot = self.table.get(thread).map(|entry| entry.slot.clone());
        let event = || Fact::Thread(ThreadEvent::DamageFound { what: what.to_owned() });
        let (about, epoch) = match &slot {
            Some(slot) => (&**slot.about(), slot.epoch()),
            None => (about, Epoch(0)),
        };
        self.shared.hub.publish(Some(about), epoch, None, EventKind::Damage, event);
        if let Some(slot) = self.table.get(thread).and_then(Entry::slot_of_actor) {
            let how = Ended::Damaged { what: what.to_owned() };
            self.publish(Some(&slot), RuntimeEvent::ThreadEnded { how });
        }
        self.quarantined(thread, what);
    }

    /// Ends a damaged thread for good. What is above and beside it goes on, and what is below it
    /// comes back by itself.
    pub(super) fn quarantined(&mut self, thread: ThreadId, what: &str) {
        let Some(entry) = self.table.get_mut(thread) else { return };
        entry.closing = true;
        let slot = entry.slot.clone();
        if let Some(incarnation) = &entry.incarnation {
            incarnation.kill();
        }
        if let Life::Coming { op } = entry.life()
            && let Some(spawning) = self.ops.get_mut(&op)
        {
            spawning.cancelled = true;
            let waiters = std::mem::take(&mut spawning.waiters);
            self.refuse(waiters, &SpawnError::Damaged { thread, reason: what.to_owned() });
        }
        self.show_damage(&slot, what);
        self.finish(thread, Rung::Killed, How::SubmitFailed, Some(what));
        self.restart_children(thread);
    }

    pub(super) fn show_damage(&self, slot: &Slot, what: &str) {
        self.show(slot, ThreadStatus::Damaged(what.to_owned()), Phase::Stopped);
    }
}
