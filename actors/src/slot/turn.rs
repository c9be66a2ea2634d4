//! What a slot knows of the running turn, and of those who wait for it.

use std::sync::Arc;

use coppicer_messages::ThreadId;

use super::Slot;
use crate::engine::TurnClock;
use crate::seldom::Seldom;

/// The part of a slot that is about who waits for whom.
#[derive(Default)]
pub(super) struct TurnSide {
    /// The clock of the running turn.
    clock: Option<Arc<TurnClock>>,
    /// Threads whose turns wait for this one, once for each wait.
    waiters: Seldom<Vec<ThreadId>>,
}

impl Slot {
    /// The clock of the turn that runs.
    pub(crate) fn clock(&self) -> Option<Arc<TurnClock>> {
        self.turn.lock().clock.clone()
    }

    /// Shows the clock of the turn that runs from now on, until it is dropped.
    pub(crate) fn show_clock(self: &Arc<Self>, clock: Arc<TurnClock>) -> ShownClock {
        self.turn.lock().clock = Some(clock.clone());
        ShownClock { slot: self.clone(), clock }
    }

    /// A thread's turn waits for this one.
    pub(crate) fn add_waiter(&self, thread: ThreadId) {
        self.turn.lock().waiters.push(thread);
    }

    /// It does not any more.
    pub(crate) fn remove_waiter(&self, thread: ThreadId) {
        let mut turn = self.turn.lock();
        let Some(waiters) = turn.waiters.there() else { return };
        if let Some(place) = waiters.iter().rposition(|&waiter| waiter == thread) {
            waiters.swap_remove(place);
        }
    }

    /// Threads whose turns wait for this one, in order of their ids.
    pub fn waiters(&self) -> Vec<ThreadId> {
        let mut waiters = Vec::clone(&self.turn.lock().waiters);
        waiters.sort_unstable();
        waiters.dedup();
        waiters
    }

    /// Whether it has ended what it does, for those who wait for it.
    pub(crate) fn has_ended(&self) -> bool {
        self.depth() == 0 && self.with_view(|view| view.status.is_final() && view.turn.is_none())
    }
}

/// That a slot shows the clock of a turn.
pub(crate) struct ShownClock {
    slot: Arc<Slot>,
    clock: Arc<TurnClock>,
}

impl Drop for ShownClock {
    fn drop(&mut self) {
        self.slot.turn.lock().clock.take_if(|shown| Arc::ptr_eq(shown, &self.clock));
    }
}
