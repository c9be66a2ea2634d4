//! The directory: from id to slot. Written by the supervisor alone, read by anyone without a message.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use coppicer_actors::Slot;
use coppicer_messages::{Holdings, ThreadHasher, ThreadId};
use dashmap::DashMap;
use parking_lot::Mutex;

/// Where threads are found.
#[derive(Default)]
pub(crate) struct Directory {
    /// One more than the threads that the store knows; 0 until it said how many.
    registered: AtomicU64,
    slots: DashMap<ThreadId, Arc<Slot>, ThreadHasher>,
    /// Threads that are being made: not found by anybody yet, and they hold what they hold.
    coming: DashMap<ThreadId, Arc<Slot>, ThreadHasher>,
    departed: Mutex<Departed>,
}

/// What threads hold that are here no more: callers that wait, code that would not stop. Those that
/// nobody counts on any more are swept out whenever there are twice as many as after the last sweep.
#[derive(Default)]
struct Departed {
    holdings: Vec<Weak<Holdings>>,
    swept: usize,
}

impl Departed {
    const SWEEP_MIN: usize = 64;

    fn add(&mut self, holdings: &Arc<Holdings>) {
        if self.holdings.len() >= (2 * self.swept).max(Self::SWEEP_MIN) {
            self.sweep();
        }
        self.holdings.push(Arc::downgrade(holdings));
    }

    fn sweep(&mut self) {
        self.holdings.retain(|holdings| holdings.strong_count() > 0);
        self.swept = self.holdings.len();
    }
}

impl Directory {
    /// How many threads the store knows, if it has said so.
    pub(crate) fn registered(&self) -> Option<u64> {
        self.registered.load(Ordering::Relaxed).checked_sub(1)
    }

    pub(crate) fn set_registered(&self, count: Option<u64>) {
        self.registered.store(count.map_or(0, |count| count.saturating_add(1)), Ordering::Relaxed);
    }

    /// The slot of a thread, hidden ones included.
    pub(crate) fn find(&self, thread: ThreadId) -> Option<Arc<Slot>> {
        self.slots.get(&thread).map(|slot| slot.value().clone())
    }

    /// The slots of threads that are being made.
    pub(crate) fn coming(&self) -> Vec<Arc<Slot>> {
        self.coming.iter().map(|slot| slot.value().clone()).collect()
    }

    /// All slots, hidden ones included, in order of their ids.
    pub(crate) fn all(&self) -> Vec<Arc<Slot>> {
        let mut slots: Vec<Arc<Slot>> =
            self.slots.iter().map(|slot| slot.value().clone()).collect();
        slots.sort_unstable_by_key(|slot| slot.thread());
        slots
    }

    /// What threads still hold that are in the directory no more.
    pub(crate) fn departed(&self) -> Vec<Arc<Holdings>> {
        let mut departed = self.departed.lock();
        departed.sweep();
        let holdings = departed.holdings.iter().filter_map(Weak::upgrade);
        holdings.filter(|holdings| !holdings.is_empty()).collect()
    }

    /// Lists a thread that is being made, for the audit alone.
    pub(crate) fn reserve(&self, slot: Arc<Slot>) {
        self.coming.insert(slot.thread(), slot);
    }

    /// Only the supervisor writes.
    pub(crate) fn insert(&self, slot: Arc<Slot>) {
        let thread = slot.thread();
        self.slots.insert(thread, slot);
        self.coming.remove(&thread);
    }

    /// Removes a slot that is at rest and that nobody holds, beside the table and this directory:
    /// true if it did. Nobody can get hold of it in between, because readers look under the lock
    /// that this is decided under.
    pub(crate) fn release(&self, thread: ThreadId) -> bool {
        const HELD_BY_NOBODY_ELSE: usize = 2;
        let free =
            |slot: &Arc<Slot>| Arc::strong_count(slot) == HELD_BY_NOBODY_ELSE && slot.is_at_rest();
        let removed = self.slots.remove_if(&thread, |_, slot| free(slot));
        if let Some((_, slot)) = &removed {
            self.departed.lock().add(slot.holdings());
        }
        removed.is_some()
    }

    /// Removes this very slot: a newer one under the same id stays.
    pub(crate) fn remove(&self, slot: &Arc<Slot>) {
        // Listed first: what it holds is never out of sight.
        self.departed.lock().add(slot.holdings());
        for slots in [&self.slots, &self.coming] {
            slots.remove_if(&slot.thread(), |_, found| Arc::ptr_eq(found, slot));
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("threads", &self.slots.len()).finish_non_exhaustive()
    }
}
