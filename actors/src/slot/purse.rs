//! What a thread draws on outlives its actor, as its slot does.

use super::Slot;
use crate::account::Purse;

impl Slot {
    /// Says what the thread draws on. Once, before it has an actor.
    pub fn set_purse(&self, purse: Option<Purse>) {
        if let Some(purse) = purse {
            drop(self.purse.set(Box::new(purse)));
        }
    }

    /// What the thread draws on; none if nothing limits it.
    pub fn purse(&self) -> Option<&Purse> {
        self.purse.get().map(|purse| &**purse)
    }
}
