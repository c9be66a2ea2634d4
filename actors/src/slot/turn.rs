//! What a slot knows of the running turn, and of those who wait for it.

use std::sync::Arc;

use coppicer_messages::{Phase, ThreadId, ThreadStatus};

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

/// How a thread stands with what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It does something, has something to do, or did nothing yet.
    Works,
    /// It has ended what it did, and sleeps: the store knows how that ended.
    Sleeps,
    /// It has ended what it did.
    Ended(ThreadStatus),
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
        !matches!(self.standing(), Standing::Works)
    }

    /// How it stands with what it does, for those who wait for it.
    pub(crate) fn standing(&self) -> Standing {
        // In this order: what comes next is shown before its place in the inbox is given back.
        let (depth, over, has_actor) = {
            let lanes = self.lanes.lock();
            (lanes.used, lanes.ended, lanes.actor.is_some())
        };
        self.with_view(|view| match &view.status {
            // It never came up.
            status if over && !status.is_final() => Standing::Ended(ThreadStatus::NotFound),
            status if over => Standing::Ended(status.clone()),
            _ if depth > 0 || view.turn.is_some() || view.has_work => Standing::Works,
            // An actor is on its way, and says what there is to do.
            _ if view.phase == Phase::Starting => Standing::Works,
            _ if view.phase == Phase::Backoff && !has_actor => Standing::Works,
            ThreadStatus::Dormant => Standing::Sleeps,
            status if status.is_final() => Standing::Ended(status.clone()),
            _ => Standing::Works,
        })
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
