//! The table of threads: what the locked map was. Pure: no clock, no store, no actor.
//!
//! SV-1: an id has at most one entry. SV-2: every end names its incarnation; one that names another
//! changes nothing. SV-3: a child's place in its parent's row is its start order. SV-4: nothing is
//! added below a thread that closes.

mod members;
mod names;
mod rare;
mod reparent;

use std::collections::{BTreeMap, BTreeSet, HashSet, hash_map};
use std::ops::Bound;
use std::sync::{Arc, LazyLock};

use coppicer_actors::{Incarnation, Seldom, Slot};
use coppicer_messages::{
    AgentPath, Children, Epoch, Lease, LimitReached, Limits, ParentClose, RestartPolicy,
    SpawnError, ThreadConfig, ThreadId, ThreadMap, TreeLimits,
};
pub(crate) use reparent::{Absent, Branch, Renaming, Replaced};
use tokio::time::Instant;

use self::members::Members;
use self::rare::{Names, Trouble};
use super::close::Place as ClosePlace;

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
    /// It went down with a sibling and comes back after it.
    AwaitSibling,
    /// Its store could not write; it comes back when that can. Not its own fault.
    AwaitStore,
    /// It has no actor until it is needed.
    Dormant,
    /// Its restarts are spent, and not even a parked actor could be started.
    Lost,
}

impl Life {
    /// Whether the thread has an actor, or is to have one without being asked.
    const fn is_resident(self) -> bool {
        match self {
            Self::Coming { .. }
            | Self::Live
            | Self::Backoff { .. }
            | Self::AwaitParent
            | Self::AwaitSibling
            | Self::AwaitStore => true,
            Self::Dormant | Self::Lost => false,
        }
    }
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts of one thread")]
pub(crate) struct Entry {
    pub(crate) slot: Arc<Slot>,
    pub(crate) parent: Option<ThreadId>,
    pub(crate) root: ThreadId,
    pub(crate) path: Option<AgentPath>,
    /// Its place among its siblings.
    pub(crate) order: u64,
    life: Life,
    pub(crate) epoch: Epoch,
    pub(crate) rules: Arc<Rules>,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) trouble: Seldom<Trouble>,
    /// Whether its end is its own doing.
    pub(crate) ends_itself: bool,
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
    /// Whether it was brought up by itself below something closed: only its entry says that it is
    /// not closed too.
    pub(crate) adrift: bool,
    /// Whether it was asked to give up its actor, and has not answered.
    pub(crate) unloading: bool,
    /// How often it was looked whether it may leave memory, since it fell asleep.
    pub(crate) looks: u8,
    /// The closes that wait for its end, and its place in each.
    pub(crate) closes: InCloses,
    /// The spawn that makes it, until that is answered.
    pub(crate) making: Option<u64>,
    /// Whether the store has not written yet where it is.
    pub(crate) unplaced: bool,
    /// Those above it that go on when their parents are closed, and their paths.
    pub(crate) apart: Box<[(ThreadId, Option<AgentPath>)]>,
    pub(crate) _lease: Lease,
}

/// The closes that a thread is part of, with its place in the plan of each: mostly one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum InCloses {
    #[default]
    None,
    One(u64, ClosePlace),
    More(Vec<(u64, ClosePlace)>),
}

impl InCloses {
    pub(crate) fn add(&mut self, close: u64, place: ClosePlace) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(close, place),
            Self::One(first, at) => Self::More(vec![(first, at), (close, place)]),
            Self::More(mut more) => {
                more.push((close, place));
                Self::More(more)
            }
        };
    }

    /// Its place in the plan of a close, if it is part of that.
    pub(crate) fn place_in(&self, close: u64) -> Option<ClosePlace> {
        self.iter().find(|(of, _)| *of == close).map(|(_, place)| place)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, ClosePlace)> {
        let (one, more) = match self {
            Self::None => (None, &[][..]),
            &Self::One(close, place) => (Some((close, place)), &[][..]),
            Self::More(more) => (None, &more[..]),
        };
        one.into_iter().chain(more.iter().copied())
    }
}

/// How a thread is supervised, and supervises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    pub(crate) restart: RestartPolicy,
    pub(crate) children: Children,
    pub(crate) significant: bool,
    pub(crate) parent_close: ParentClose,
    /// What it allows its tree once it is a root.
    pub(crate) tree: TreeLimits,
}

impl Rules {
    /// Those of a configuration. Threads that are configured by default share them.
    pub(crate) fn of(config: &ThreadConfig) -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<Rules>> =
            LazyLock::new(|| Arc::new(Rules::all_of(&ThreadConfig::default())));
        let rules = Self::all_of(config);
        if rules == **DEFAULT { DEFAULT.clone() } else { Arc::new(rules) }
    }

    const fn all_of(config: &ThreadConfig) -> Self {
        let &ThreadConfig { restart, children, significant, parent_close, tree, .. } = config;
        Self { restart, children, significant, parent_close, tree }
    }
}

impl Entry {
    /// Where it is. Changed by [`Table::set_life`].
    pub(crate) const fn life(&self) -> Life {
        self.life
    }
}

/// All threads that have a slot, and how they hang together.
#[derive(Default)]
pub(crate) struct Table {
    /// Boxed: the map grows without moving them.
    entries: ThreadMap<Box<Entry>>,
    /// Children by parent, in start order; also of parents that have no entry.
    children: ThreadMap<BTreeMap<u64, ThreadId>>,
    trees: ThreadMap<Tree>,
    /// Sub-agents whose parent has no entry.
    strays: BTreeSet<ThreadId>,
    /// Threads without an entry of which the store has not written yet where they are.
    unplaced: HashSet<ThreadId>,
    /// Threads that have an actor, or are to have one.
    residents: usize,
    next_order: u64,
}

/// What threads of one tree share.
#[derive(Default)]
struct Tree {
    /// Threads with an entry, in start order.
    members: Members,
    /// What its root allows.
    limits: Seldom<TreeLimits>,
    names: Seldom<Names>,
    /// 0 if all of it are here; else a number of the time from which on the store has some that are
    /// not.
    unread: u64,
}

/// Where a new thread is to be put.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) thread: ThreadId,
    pub(crate) parent: Option<ThreadId>,
    pub(crate) root: ThreadId,
    pub(crate) depth: u32,
    pub(crate) path: Option<AgentPath>,
    /// What the root allows.
    pub(crate) tree: TreeLimits,
}

/// Most holders of a limit that a refusal names.
const HOLDERS_MAX: usize = 16;

fn tighter<T: Ord>(runtime: T, tree: Option<T>) -> T {
    match tree {
        Some(tree) => runtime.min(tree),
        None => runtime,
    }
}

impl Table {
    pub(crate) fn get(&self, thread: ThreadId) -> Option<&Entry> {
        self.entries.get(&thread).map(|entry| &**entry)
    }

    pub(crate) fn get_mut(&mut self, thread: ThreadId) -> Option<&mut Entry> {
        self.entries.get_mut(&thread).map(|entry| &mut **entry)
    }

    /// All of them, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (ThreadId, &Entry)> {
        self.entries.iter().map(|(thread, entry)| (*thread, &**entry))
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
        let reached = |limit, value: u64, holders, advice| {
            Err(SpawnError::Limit(LimitReached {
                limit,
                value,
                holders,
                retry_after: None,
                advice,
            }))
        };
        if self.residents >= limits.resident_max {
            let max = limits.resident_max as u64;
            return reached("resident_max", max, Vec::new(), "close a thread");
        }
        let depth_max = tighter(limits.depth_max, place.tree.depth_max);
        if place.depth > depth_max {
            let advice = "do the work in this thread";
            return reached("depth_max", depth_max.into(), Vec::new(), advice);
        }
        let tree_max = tighter(limits.tree_max, place.tree.tree_max);
        if let Some(tree) =
            self.trees.get(&place.root).filter(|tree| tree.members.len() >= tree_max)
        {
            let holders = tree.members.values().copied().take(HOLDERS_MAX).collect();
            let advice = "close a sub-agent of this tree";
            return reached("tree_max", tree_max as u64, holders, advice);
        }
        let children_max = tighter(limits.children_max, place.tree.children_max);
        let siblings = place.parent.and_then(|parent| self.children.get(&parent));
        if place.parent.is_some() && siblings.map_or(0, BTreeMap::len) >= children_max {
            let siblings = siblings.into_iter().flat_map(BTreeMap::values);
            let holders = siblings.copied().take(HOLDERS_MAX).collect();
            let advice = "close a sub-agent of this thread";
            return reached("children_max", children_max as u64, holders, advice);
        }
        match place.path.as_ref().filter(|path| self.is_taken(place.root, path, thread)) {
            Some(path) => Err(SpawnError::PathTaken { path: path.to_string() }),
            None => Ok(()),
        }
    }

    /// Whether its tree may spawn one more now. Changes nothing.
    pub(crate) fn admit_rate(
        &self,
        place: &Place,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), LimitReached> {
        let Some(tree) = self.trees.get(&place.root) else { return Ok(()) };
        let max = tighter(limits.spawns_per_minute_max, place.tree.spawns_per_minute_max);
        let wait = tree.names.rate.wait(max, now);
        if wait.is_zero() {
            return Ok(());
        }
        Err(LimitReached {
            limit: "spawns_per_minute_max",
            value: max as u64,
            holders: Vec::new(),
            retry_after: (max > 0).then_some(wait),
            advice: "ask again later, or wait in line",
        })
    }

    /// Notes that a sub-agent is spawned.
    pub(crate) fn note_spawn(&mut self, root: ThreadId, now: Instant) {
        if let Some(tree) = self.trees.get_mut(&root) {
            tree.names.rate.note(now);
        }
    }

    /// The root of a thread's tree.
    pub(crate) fn root_of(&self, thread: ThreadId) -> Option<ThreadId> {
        self.entries.get(&thread).map(|entry| entry.root)
    }

    /// Whether a thread has a parent, and that one has no entry.
    pub(crate) fn is_stray(&self, thread: ThreadId) -> bool {
        self.strays.contains(&thread)
    }

    /// What the root of a tree allows; none if no thread of it is here.
    pub(crate) fn tree_limits(&self, root: ThreadId) -> Option<TreeLimits> {
        self.trees.get(&root).map(|tree| *tree.limits)
    }

    /// The first thread on the way up from `parent` that closes.
    pub(crate) fn closing_above(&self, parent: ThreadId) -> Option<ThreadId> {
        let closes = |id: ThreadId| self.entries.get(&id).is_some_and(|entry| entry.closing);
        if closes(parent) {
            return Some(parent);
        }
        let about = self.entries.get(&parent)?.slot.about();
        about.lineage.iter().find(|&above| closes(above))
    }

    /// How many threads have an actor, or are to have one.
    pub(crate) const fn residents(&self) -> usize {
        self.residents
    }

    /// Says where a thread is from now on.
    pub(crate) fn set_life(&mut self, thread: ThreadId, life: Life) {
        if let Some(entry) = self.entries.get_mut(&thread) {
            let before = std::mem::replace(&mut entry.life, life).is_resident();
            self.residents += usize::from(life.is_resident());
            self.residents -= usize::from(before);
        }
    }

    /// Whether a thread may give up its actor as far as the table knows: it has one, nothing of it
    /// is under way, and what is below it sleeps.
    pub(crate) fn may_sleep(&self, thread: ThreadId, now: Instant) -> bool {
        self.entries.get(&thread).is_some_and(|entry| {
            let is_asked =
                entry.unloading || entry.trouble.stays_until.is_some_and(|until| now < until);
            entry.life == Life::Live && !entry.closing && !is_asked && !entry.parking
        }) && !self
            .children(thread)
            .filter_map(|child| self.entries.get(&child))
            .any(|child| child.life.is_resident())
    }

    /// Whether a dormant thread may leave memory, if nobody holds it: what is below it has left, and
    /// the store alone tells that it is not closed.
    pub(crate) fn may_leave(&self, thread: ThreadId) -> bool {
        self.entries.get(&thread).is_some_and(|entry| {
            let only_here = entry.adrift || entry.unplaced || entry.trouble.moving.is_some();
            entry.life == Life::Dormant && !entry.closing && !entry.wanted && !only_here
        }) && self.children(thread).next().is_none()
    }

    /// Adds a thread that was admitted: its place among its siblings.
    pub(crate) fn insert(
        &mut self,
        place: Place,
        slot: Arc<Slot>,
        rules: Arc<Rules>,
        life: Life,
        lease: Lease,
    ) -> u64 {
        self.next_order += 1;
        let order = self.next_order;
        let Place { thread, parent, root, path, tree: limits, .. } = place;
        if let Some(parent) = parent {
            self.children.entry(parent).or_default().insert(order, thread);
        }
        let tree = self
            .trees
            .entry(root)
            .or_insert_with(|| Tree { limits: limits.into(), ..Tree::default() });
        tree.members.insert(order, thread);
        if let Some(path) = path.clone() {
            tree.names.paths.insert(path, thread);
        }
        if parent.is_some_and(|parent| !self.entries.contains_key(&parent)) {
            self.strays.insert(thread);
        }
        if let Some(children) = self.children.get(&thread) {
            for child in children.values() {
                self.strays.remove(child);
            }
        }
        self.residents += usize::from(life.is_resident());
        let entry = Entry {
            slot,
            parent,
            root,
            path,
            order,
            life,
            epoch: Epoch(0),
            rules,
            incarnation: None,
            trouble: Seldom::none(),
            ends_itself: false,
            closing: false,
            wanted: false,
            parking: false,
            told: false,
            ends_only: false,
            adrift: false,
            unloading: false,
            looks: 0,
            closes: InCloses::None,
            making: None,
            unplaced: false,
            apart: Box::default(),
            _lease: lease,
        };
        self.entries.insert(thread, Box::new(entry));
        order
    }

    /// Removes a thread that is over, and all its claims.
    pub(crate) fn remove(&mut self, thread: ThreadId) -> Option<Entry> {
        let entry = self.leave(thread)?;
        if let (Some(path), Some(tree)) = (entry.path.clone(), self.trees.get_mut(&entry.root)) {
            if tree.names.paths.get(&path) == Some(&thread) {
                tree.names.paths.remove(&path);
            }
            // What left memory below it is closed with it, and its names are free.
            let from = (Bound::Excluded(path.clone()), Bound::Unbounded);
            let below = tree.names.paths.range(from).take_while(|(name, _)| name.is_within(&path));
            let left: Vec<AgentPath> = below
                .filter(|(_, holder)| !self.entries.contains_key(*holder))
                .map(|(name, _)| name.clone())
                .collect();
            for name in left {
                tree.names.paths.remove(&name);
            }
        }
        Some(entry)
    }

    /// Removes a dormant thread from memory. Its name stays its own for as long as its tree is here.
    pub(crate) fn leave(&mut self, thread: ThreadId) -> Option<Entry> {
        let entry = *self.entries.remove(&thread)?;
        self.residents -= usize::from(entry.life.is_resident());
        if let Some(children) = entry.parent.and_then(|parent| self.children.get_mut(&parent)) {
            children.remove(&entry.order);
            if children.is_empty()
                && let Some(parent) = entry.parent
            {
                self.children.remove(&parent);
            }
        }
        self.strays.remove(&thread);
        if let Some(children) = self.children.get(&thread) {
            self.strays.extend(children.values());
        }
        if let hash_map::Entry::Occupied(mut tree) = self.trees.entry(entry.root) {
            tree.get_mut().members.remove(entry.order);
            if tree.get().members.is_empty() {
                tree.remove();
            }
        }
        Some(entry)
    }

    /// `thread` and all below it that has an entry, parents before children.
    pub(crate) fn subtree(&self, thread: ThreadId) -> Vec<ThreadId> {
        let mut found = Vec::new();
        if self.entries.contains_key(&thread) {
            found.push(thread);
        }
        self.add_children(&mut found, 0);
        // What hangs below a thread without an entry is found by what is above it.
        for (_, stray) in self.strays_below(thread) {
            let at = found.len();
            found.push(stray);
            self.add_children(&mut found, at);
        }
        found
    }

    /// Appends what is below the threads from place `at` on.
    fn add_children(&self, found: &mut Vec<ThreadId>, mut at: usize) {
        while let Some(&parent) = found.get(at) {
            found.extend(self.children(parent).filter(|child| self.entries.contains_key(child)));
            at += 1;
        }
    }
}
