//! The table of threads: what the locked map was. Pure: no clock, no store, no actor.
//!
//! SV-1: an id has at most one entry. SV-2: every end names its incarnation; one that names another
//! changes nothing. SV-3: a child's place in its parent's row is its start order. SV-4: nothing is
//! added below a thread that closes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use coppicer_actors::{Incarnation, RestartTracker, Slot};
use coppicer_messages::{
    AgentPath, Epoch, Lease, LimitReached, Limits, RestartPolicy, SpawnError, ThreadId,
};

/// Where a thread is, as its supervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// A spawn, resume or restart is under way.
    Coming { op: u64 },
    /// It has an actor.
    Live,
    /// It crashed and comes back after a pause.
    Backoff { crash: u64 },
    /// It went down with its parent and comes back after it.
    AwaitParent,
    /// It has no actor until it is needed.
    Dormant,
    /// Its restarts are spent, and not even a parked actor could be started.
    Lost,
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts of one thread")]
pub(crate) struct Entry {
    pub(crate) slot: Arc<Slot>,
    pub(crate) parent: Option<ThreadId>,
    pub(crate) root: ThreadId,
    pub(crate) path: Option<AgentPath>,
    /// Its place among its siblings.
    pub(crate) order: u64,
    pub(crate) life: Life,
    pub(crate) epoch: Epoch,
    pub(crate) policy: RestartPolicy,
    pub(crate) tracker: RestartTracker,
    pub(crate) crashes: u64,
    pub(crate) incarnation: Option<Incarnation>,
    /// Whether it is being closed: intent is recorded before the signal.
    pub(crate) closing: bool,
    /// Whether a message came while its actor was on its way out.
    pub(crate) wanted: bool,
    /// Whether it was started only to sit parked.
    pub(crate) parking: bool,
    /// Whether it was told to end: what comes up meanwhile only ends.
    pub(crate) told: bool,
    /// Whether its actor came up only to end, of which no fact was told.
    pub(crate) ends_only: bool,
    pub(crate) _lease: Lease,
}

/// All threads that have a slot, and how they hang together.
#[derive(Default)]
pub(crate) struct Table {
    entries: HashMap<ThreadId, Entry>,
    /// Children by parent, in start order; also of parents that have no entry.
    children: HashMap<ThreadId, BTreeMap<u64, ThreadId>>,
    trees: HashMap<ThreadId, usize>,
    paths: HashMap<(ThreadId, AgentPath), ThreadId>,
    next_order: u64,
}

/// Where a new thread is to be put.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) thread: ThreadId,
    pub(crate) parent: Option<ThreadId>,
    pub(crate) root: ThreadId,
    pub(crate) depth: u32,
    pub(crate) path: Option<AgentPath>,
}

impl Table {
    pub(crate) fn get(&self, thread: ThreadId) -> Option<&Entry> {
        self.entries.get(&thread)
    }

    pub(crate) fn get_mut(&mut self, thread: ThreadId) -> Option<&mut Entry> {
        self.entries.get_mut(&thread)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ThreadId> {
        self.entries.keys().copied()
    }

    /// Children in start order.
    pub(crate) fn children(&self, parent: ThreadId) -> impl DoubleEndedIterator<Item = ThreadId> {
        self.children.get(&parent).into_iter().flat_map(|children| children.values().copied())
    }

    /// Whether a thread may be put there. Changes nothing.
    pub(crate) fn admit(&self, place: &Place, limits: &Limits) -> Result<(), SpawnError> {
        let thread = place.thread;
        if self.entries.contains_key(&thread) {
            return Err(SpawnError::Exists { thread });
        }
        let limit = |limit, value: usize, advice| {
            let holders = place.parent.map(|parent| self.children(parent).take(16).collect());
            Err(SpawnError::Limit(LimitReached {
                limit,
                value: value as u64,
                holders: holders.unwrap_or_default(),
                retry_after: None,
                advice,
            }))
        };
        if self.entries.len() >= limits.resident_max {
            return limit("resident_max", limits.resident_max, "close a thread");
        }
        if place.depth > limits.depth_max {
            return limit("depth_max", limits.depth_max as usize, "do the work in this thread");
        }
        if self.trees.get(&place.root).is_some_and(|&size| size >= limits.tree_max) {
            return limit("tree_max", limits.tree_max, "close a sub-agent of this tree");
        }
        let siblings =
            place.parent.and_then(|parent| self.children.get(&parent)).map_or(0, BTreeMap::len);
        if siblings >= limits.children_max {
            return limit("children_max", limits.children_max, "close a sub-agent of this thread");
        }
        match &place.path {
            Some(path) if self.paths.contains_key(&(place.root, path.clone())) => {
                Err(SpawnError::PathTaken { path: path.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// The first thread on the way up that closes.
    pub(crate) fn closing_above(&self, thread: ThreadId) -> Option<ThreadId> {
        let mut at = Some(thread);
        while let Some(entry) = at.and_then(|id| self.entries.get(&id)) {
            if entry.closing {
                return at;
            }
            at = entry.parent;
        }
        None
    }

    /// Adds a thread that was admitted: its place among its siblings.
    pub(crate) fn insert(
        &mut self,
        place: Place,
        slot: Arc<Slot>,
        policy: RestartPolicy,
        life: Life,
        lease: Lease,
    ) -> u64 {
        self.next_order += 1;
        let order = self.next_order;
        let Place { thread, parent, root, path, .. } = place;
        if let Some(parent) = parent {
            self.children.entry(parent).or_default().insert(order, thread);
        }
        *self.trees.entry(root).or_default() += 1;
        if let Some(path) = path.clone() {
            self.paths.insert((root, path), thread);
        }
        let entry = Entry {
            slot,
            parent,
            root,
            path,
            order,
            life,
            epoch: Epoch(0),
            policy,
            tracker: RestartTracker::default(),
            crashes: 0,
            incarnation: None,
            closing: false,
            wanted: false,
            parking: false,
            told: false,
            ends_only: false,
            _lease: lease,
        };
        self.entries.insert(thread, entry);
        order
    }

    /// Removes a thread and all its claims.
    pub(crate) fn remove(&mut self, thread: ThreadId) -> Option<Entry> {
        let entry = self.entries.remove(&thread)?;
        if let Some(children) = entry.parent.and_then(|parent| self.children.get_mut(&parent)) {
            children.remove(&entry.order);
            if children.is_empty()
                && let Some(parent) = entry.parent
            {
                self.children.remove(&parent);
            }
        }
        if let Some(size) = self.trees.get_mut(&entry.root) {
            *size -= 1;
            if *size == 0 {
                self.trees.remove(&entry.root);
            }
        }
        if let Some(path) = entry.path.clone() {
            self.paths.remove(&(entry.root, path));
        }
        Some(entry)
    }

    /// `thread` and all below it that has an entry, parents before children.
    pub(crate) fn subtree(&self, thread: ThreadId) -> Vec<ThreadId> {
        let mut found = Vec::new();
        if self.entries.contains_key(&thread) {
            found.push(thread);
        } else {
            // Not here itself: what hangs below it is found by what is above each.
            found.extend(self.entries.iter().filter_map(|(&id, entry)| {
                let top = entry.slot.about().lineage.contains(thread)
                    && entry.parent.is_none_or(|parent| !self.entries.contains_key(&parent));
                top.then_some(id)
            }));
            found.sort_unstable();
        }
        let mut at = 0;
        while let Some(&parent) = found.get(at) {
            found.extend(self.children(parent).filter(|child| self.entries.contains_key(child)));
            at += 1;
        }
        found
    }
}
