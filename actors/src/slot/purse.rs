//! What a thread draws on outlives its actor, as its slot does.

use super::Slot;
use crate::account::Purse;

impl Slot {
    /// Says what the thread draws on. Once, before it has an actor.
    pub fn set_purse(&self, purse: Option<Purse>) {
        let Some(purse) = purse else { return };
        let own = purse.own().cloned();
        if self.purse.set(Box::new(purse)).is_ok()
            && let Some(own) = own
        {
            own.seat();
        }
    }

    /// The slot goes: its account may stay, for those who draw on it.
    pub(super) fn leave_purse(&self) {
        if let Some(own) = self.purse().and_then(Purse::own) {
            own.unseat();
        }
    }

    /// What the thread draws on; none if nothing limits it.
    pub fn purse(&self) -> Option<&Purse> {
        self.purse.get().map(|purse| &**purse)
    }
}
