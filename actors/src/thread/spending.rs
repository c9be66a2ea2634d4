//! What a thread does about its budget: it looks whether there is some before it decides, has what
//! its turn uses written with its own writes, and watches the time that turns may run.

use std::sync::Arc;

use coppicer_messages::{Charge, Deadline, StoreError, ThreadTick, TurnId};

use super::core::ThreadCore;
use super::state::ThreadState;
use crate::engine::TurnLink;
use crate::slot::Slot;
use crate::store::{Done, ThreadStore};

impl ThreadState {
    /// Tells the core what is used up. If something is, the thread is told when there is more.
    pub(super) fn look_at_budget(&mut self) {
        if self.slot.purse().is_none() {
            return;
        }
        let slot = self.slot.clone();
        let Some(purse) = slot.purse() else { return };
        let now = self.now().instant;
        self.core.spent = purse.spent(now).map(Box::new);
        if self.core.spent.is_some() && !self.waits_for_budget {
            purse.wait(&slot);
            self.waits_for_budget = true;
            // It may have come in between.
            self.core.spent = purse.spent(now).map(Box::new);
        }
    }

    /// There may be more, or less.
    pub(super) fn on_budget_changed(&mut self) {
        self.waits_for_budget = false;
        let now = self.now();
        self.decide(|core: &mut ThreadCore, out| core.next(now, out));
        self.watch_time();
    }

    /// Looks again when the time may be used up that turns may run.
    pub(super) fn watch_time(&mut self) {
        let Some(live) = &self.live else { return };
        let Some(spending) = &live.link.spending else { return };
        let now = self.now().instant;
        if let Some(left) = spending.look_at_time(now) {
            let at = Deadline::after(now, left).instant();
            let turn = live.turn.clone();
            self.end_budget_timer();
            self.arm(at, ThreadTick::BudgetDue(turn));
        }
    }

    pub(super) fn on_budget_due(&mut self, turn: &TurnId) {
        if self.live_turn(turn).is_some() {
            self.watch_time();
        }
    }

    /// Has what a turn that is over used written with its end.
    pub(super) fn settle(&mut self, link: &Arc<TurnLink>) {
        if let Some(spending) = &link.spending {
            let charges = spending.end(self.now().instant);
            self.writes.usage.extend(charges);
        }
    }

    /// The same for a turn whose thread's actor dies: nothing is written with it any more.
    pub(super) fn settle_outside(&self, link: &Arc<TurnLink>) {
        if let Some(spending) = &link.spending {
            let charges = spending.end(self.now().instant);
            if !charges.is_empty() {
                charge_alone(&*self.world.turns.store, &self.slot, charges);
            }
        }
    }
}

/// Has what turns used written by itself. If the store surely does not take that either, it is kept for the
/// next write of a turn that draws on the same.
pub(super) fn charge_alone(store: &dyn ThreadStore, slot: &Arc<Slot>, charges: Vec<Charge>) {
    let (slot, used) = (slot.clone(), charges.clone());
    let done = Done::new(move |result| {
        if let (Err(StoreError::Unavailable { .. }), Some(purse)) = (result, slot.purse()) {
            purse.is_owed(&used);
        }
    });
    store.charge(charges, done);
}
