//! The directory: from id to slot. Written by the supervisor alone, read by anyone without a message.

use std::fmt;
use std::sync::Arc;

use coppicer_actors::Slot;
use coppicer_messages::ThreadId;
use dashmap::DashMap;

/// Where threads are found.
#[derive(Default)]
pub(crate) struct Directory {
    slots: DashMap<ThreadId, Arc<Slot>>,
}

impl Directory {
    /// The slot of a thread, hidden ones included.
    pub(crate) fn find(&self, thread: ThreadId) -> Option<Arc<Slot>> {
        self.slots.get(&thread).map(|slot| slot.value().clone())
    }

    /// All slots, hidden ones included, in order of their ids.
    pub(crate) fn all(&self) -> Vec<Arc<Slot>> {
        let mut slots: Vec<Arc<Slot>> =
            self.slots.iter().map(|slot| slot.value().clone()).collect();
        slots.sort_unstable_by_key(|slot| slot.thread());
        slots
    }

    /// Only the supervisor writes.
    pub(crate) fn insert(&self, slot: Arc<Slot>) {
        self.slots.insert(slot.thread(), slot);
    }

    /// Removes a slot that is at rest and that nobody holds, beside the table and this directory:
    /// true if it did. Nobody can get hold of it in between, because readers look under the lock
    /// that this is decided under.
    pub(crate) fn release(&self, thread: ThreadId) -> bool {
        const HELD_BY_NOBODY_ELSE: usize = 2;
        let free =
            |slot: &Arc<Slot>| Arc::strong_count(slot) == HELD_BY_NOBODY_ELSE && slot.is_at_rest();
        self.slots.remove_if(&thread, |_, slot| free(slot)).is_some()
    }

    /// Removes this very slot: a newer one under the same id stays.
    pub(crate) fn remove(&self, slot: &Arc<Slot>) {
        self.slots.remove_if(&slot.thread(), |_, found| Arc::ptr_eq(found, slot));
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("threads", &self.slots.len()).finish()
    }
}
