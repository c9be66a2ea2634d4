//! What the supervisor says of a thread when it is asked why that does what it does, and what it does
//! about one whose turn is stuck.

use coppicer_messages::{ControlError, EntryAccount, EntryStage, Epoch, Reply, ThreadId};
use tokio::time::Instant;

use super::SupervisorState;
use super::table::Life;

impl SupervisorState {
    pub(super) fn on_explain(&self, thread: ThreadId, reply: Reply<EntryAccount, ControlError>) {
        let now = self.now();
        if reply.expired(now.instant) {
            return; // P4
        }
        reply.tell(self.table.get(thread).ok_or(ControlError::NotFound { thread }).map(|entry| {
            let stage = match entry.life() {
                Life::Coming { .. } => EntryStage::Coming,
                Life::Live => EntryStage::Live,
                Life::Backoff { .. } => EntryStage::Backoff,
                Life::AwaitParent => EntryStage::AwaitParent,
                Life::AwaitSibling => EntryStage::AwaitSibling,
                Life::AwaitStore => EntryStage::AwaitStore,
                Life::Dormant => EntryStage::Dormant,
                Life::Lost => EntryStage::Lost,
            };
            let left = entry.trouble.tracker.left(&entry.rules.restart, now.instant);
            let mut account = EntryAccount::new(stage, left);
            account.backoff_until_ms = entry
                .trouble
                .back_at
                .filter(|_| stage == EntryStage::Backoff)
                .map(|at| now.at_ms.saturating_add(millis_until(at, now.instant)));
            account.closing = entry.closing;
            account.told_to_end = entry.told;
            account
        }));
    }

    /// A thread's turn is stuck, and its policy goes as far as a restart.
    pub(super) fn on_stuck(&mut self, thread: ThreadId, epoch: Epoch, cause: String) {
        if self.table.get(thread).is_some_and(|entry| entry.epoch == epoch) {
            self.restart(thread, cause);
        }
    }
}

fn millis_until(at: Instant, now: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
}
