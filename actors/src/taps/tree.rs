//! The tree of threads, folded from lifecycle facts. Pure: facts in, rows out.
//!
//! Every row follows from the facts alone, so that whoever has the tree as it was at one event and
//! all facts after it has the tree as it is. A row comes with the fact that its thread has an actor
//! and goes when its end is told. What gives up its actor, or leaves memory, stays as dormant; what
//! is dormant below a thread that is shut down goes with it, because that closes it too.
//!
//! A thread costs its row, a place and an index entry, some 250 bytes with a path and a short
//! status; a fact costs a look-up and the change of one row.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use coppicer_messages::{
    AgentPath, Ended, Epoch, Event, Fact, Label, Phase, RuntimeEvent, StoreTrouble, ThreadEvent,
    ThreadId, ThreadMap, ThreadStatus, TurnId,
};
use serde::{Deserialize, Serialize};

use super::concerns::{Concern, Concerns};
use super::places::Places;
use super::rows::{Entry, Image, Rows};
use crate::lineage::Lineage;

/// One thread of a tree, as facts tell of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TreeRow {
    /// Its id.
    pub thread: ThreadId,
    /// Its parent, which need not have a row.
    pub parent: Option<ThreadId>,
    /// Its path, if it has a name.
    pub path: Option<AgentPath>,
    /// A name for people.
    pub nickname: Option<Label>,
    /// Its role.
    pub role: Option<Label>,
    /// Whether it is hidden from lists.
    pub internal: bool,
    /// Its status.
    pub status: ThreadStatus,
    /// The number of that status.
    pub status_seq: u64,
    /// Its phase.
    pub phase: Phase,
    /// Since when it has this status and phase, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Its incarnation.
    pub epoch: Epoch,
    /// The running turn.
    pub turn: Option<TurnId>,
    /// Turns that ended since it has its row.
    pub turns: u32,
    /// Crashes of its engine and its actor since it has its row.
    pub crashes: u32,
    /// Times that its actor came back after it was gone, since it has its row.
    pub restarts: u32,
}

impl TreeRow {
    /// The row of a thread of which nothing was told yet.
    pub const fn of(thread: ThreadId) -> Self {
        Self {
            thread,
            parent: None,
            path: None,
            nickname: None,
            role: None,
            internal: false,
            status: ThreadStatus::PendingInit,
            status_seq: 0,
            phase: Phase::Starting,
            since_ms: 0,
            epoch: Epoch(0),
            turn: None,
            turns: 0,
            crashes: 0,
            restarts: 0,
        }
    }
}

/// A store that cannot write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AilingStore {
    /// What kind of trouble it is.
    pub trouble: StoreTrouble,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// The tree as it was at one event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TreeSnapshot {
    /// Every fact up to this sequence number is in it, and none after.
    pub seq: u64,
    /// The threads, in order of their ids. Snapshots share rows that did not change in between.
    pub rows: Vec<Arc<TreeRow>>,
    /// The trouble of the store, if it cannot write. A tap of one thread or subtree is not told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ailing: Option<Arc<AilingStore>>,
    /// What needs somebody and is not over, in the order in which it was told. Parked threads are not
    /// among it: their rows say that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concerns: Vec<Concern>,
}

impl TreeSnapshot {
    /// A snapshot from its parts, such as those of a recording.
    pub fn new(seq: u64, mut rows: Vec<Arc<TreeRow>>) -> Self {
        rows.sort_unstable_by_key(|row| row.thread);
        Self { seq, rows, ailing: None, concerns: Vec::new() }
    }

    /// The same of a store that is in this trouble.
    #[must_use]
    pub fn with_ailing(mut self, ailing: Option<Arc<AilingStore>>) -> Self {
        self.ailing = ailing;
        self
    }

    /// The same where this needs somebody.
    #[must_use]
    pub fn with_concerns(mut self, concerns: Vec<Concern>) -> Self {
        self.concerns = concerns;
        self
    }

    /// The row of a thread.
    pub fn get(&self, thread: ThreadId) -> Option<&TreeRow> {
        let at = self.rows.binary_search_by_key(&thread, |row| row.thread).ok()?;
        self.rows.get(at).map(|row| &**row)
    }
}

/// What a fact did to a tree.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TreeChange {
    /// Nothing.
    Unchanged,
    /// A thread has a row now.
    Added(ThreadId),
    /// A row is another one now.
    Changed(ThreadId),
    /// These are over: the thread with its last status, and what went with it.
    Removed(Vec<Arc<TreeRow>>),
}

/// A tree of threads that follows facts: [`TapFrom::Snapshot`](super::TapFrom::Snapshot) gives one to
/// begin with, [`apply`](Self::apply) goes on. After a gap of lifecycle facts only a new snapshot is
/// right.
#[derive(Debug, Clone, Default)]
pub struct ThreadTree {
    seq: u64,
    rows: Rows,
    places: Places,
    /// Threads with a row by parent, also of parents that have none.
    children: ThreadMap<BTreeSet<ThreadId>>,
    ailing: Option<Arc<AilingStore>>,
    concerns: Arc<Concerns>,
}

impl ThreadTree {
    /// The tree of a snapshot.
    pub fn from_snapshot(snapshot: &TreeSnapshot) -> Self {
        let (seq, ailing) = (snapshot.seq, snapshot.ailing.clone());
        let concerns = Arc::new(Concerns::of(&snapshot.concerns));
        let mut tree = Self { seq, ailing, concerns, ..Self::default() };
        for row in &snapshot.rows {
            tree.insert(Entry { row: row.clone(), lineage: Lineage::default() });
        }
        tree
    }

    /// The sequence number of the last event that was applied: the cursor to go on from.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// The trouble of the store, if it cannot write.
    pub const fn ailing(&self) -> Option<&Arc<AilingStore>> {
        self.ailing.as_ref()
    }

    /// What needs somebody and is not over, in the order in which it was told.
    pub fn concerns(&self) -> Vec<Concern> {
        self.concerns.list(|_, _| true)
    }

    /// How many threads have a row.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no thread has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row of a thread.
    pub fn get(&self, thread: ThreadId) -> Option<&TreeRow> {
        self.rows.get(self.place(thread)?).map(|entry| &*entry.row)
    }

    /// The threads with this parent, in order of their ids.
    pub fn children(&self, parent: ThreadId) -> impl Iterator<Item = ThreadId> {
        self.children.get(&parent).into_iter().flatten().copied()
    }

    /// Every row, in no order.
    pub fn rows(&self) -> impl Iterator<Item = &TreeRow> {
        self.places.iter().filter_map(|place| self.rows.get(place)).map(|entry| &*entry.row)
    }

    /// The tree as it is.
    pub fn snapshot(&self) -> TreeSnapshot {
        let snapshot = snapshot_of(&self.image(), self.seq, |_, _| true);
        snapshot.with_ailing(self.ailing.clone()).with_concerns(self.concerns())
    }

    /// Takes in the next event. One that it has already changes nothing.
    pub fn apply(&mut self, event: &Event) -> TreeChange {
        self.apply_below(event, &Lineage::default())
    }

    /// The same, for an event of which it is known what is above its thread.
    pub(super) fn apply_below(&mut self, event: &Event, lineage: &Lineage) -> TreeChange {
        if event.seq <= self.seq {
            return TreeChange::Unchanged;
        }
        self.seq = event.seq;
        match &event.fact {
            Fact::Runtime(RuntimeEvent::StoreAiling { trouble, reason }) => {
                let (reason, since_ms) = (reason.clone(), event.at_ms);
                self.ailing = Some(Arc::new(AilingStore { trouble: *trouble, reason, since_ms }));
            }
            Fact::Runtime(RuntimeEvent::StoreRecovered) => self.ailing = None,
            _ => {}
        }
        if self.concerns.heeds(event) {
            let row = event.thread.and_then(|thread| self.get(thread));
            let has_row = row.is_some_and(|row| !is_stale(event, row));
            Arc::make_mut(&mut self.concerns).follow(event, lineage, has_row);
        }
        let change = self.follow(event, lineage);
        if let TreeChange::Removed(rows) = &change
            && !self.concerns.is_empty()
        {
            let threads = rows.iter().map(|row| row.thread);
            Arc::make_mut(&mut self.concerns).are_over(threads);
        }
        change
    }

    fn follow(&mut self, event: &Event, lineage: &Lineage) -> TreeChange {
        let Some(thread) = event.thread else { return TreeChange::Unchanged };
        match &event.fact {
            Fact::Runtime(RuntimeEvent::ThreadSpawned { .. }) => self.rise(event, lineage, false),
            Fact::Runtime(RuntimeEvent::ThreadRestarted) => self.rise(event, lineage, true),
            Fact::Runtime(RuntimeEvent::SpawnUndone | RuntimeEvent::ThreadDeleted { .. }) => {
                self.remove(thread, |_| true)
            }
            // What was told of an earlier incarnation comes too late.
            _ if self.get(thread).is_none_or(|row| is_stale(event, row)) => TreeChange::Unchanged,
            Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Closed { .. } }) => {
                self.remove(thread, is_dormant)
            }
            Fact::Thread(ThreadEvent::StatusChanged { status, phase: Phase::Stopped, .. }) => {
                self.change(thread, |row| row.status = status.clone());
                let closes = *status == ThreadStatus::Shutdown;
                self.remove(thread, |row| closes && is_dormant(row))
            }
            Fact::Runtime(RuntimeEvent::ThreadAdopted { to, path, .. }) => {
                self.adopt(thread, *to, path.as_ref(), lineage)
            }
            fact => {
                if matches!(fact, Fact::Runtime(RuntimeEvent::ThreadDescribed { .. }))
                    && let Some(place) = self.place(thread)
                {
                    self.rows.set_lineage(place, lineage.clone());
                }
                self.change(thread, |row| follow(row, event, fact))
            }
        }
    }

    /// A thread that has a row has another parent, and what is below it another lineage.
    fn adopt(
        &mut self,
        thread: ThreadId,
        to: Option<ThreadId>,
        path: Option<&AgentPath>,
        lineage: &Lineage,
    ) -> TreeChange {
        let from = self.get(thread).and_then(|row| row.parent);
        self.forget_child(from, thread);
        if let Some(parent) = to {
            self.children.entry(parent).or_default().insert(thread);
        }
        let mut next = vec![(thread, lineage.clone())];
        let mut seen = HashSet::from([thread]);
        while let Some((thread, lineage)) = next.pop() {
            let below = lineage.below(thread);
            let children = self.children(thread).filter(|child| seen.insert(*child));
            next.extend(children.map(|child| (child, below.clone())));
            if let Some(place) = self.place(thread) {
                self.rows.set_lineage(place, lineage);
            }
        }
        self.change(thread, |row| {
            row.parent = to;
            row.path = path.cloned();
        })
    }

    fn forget_child(&mut self, parent: Option<ThreadId>, thread: ThreadId) {
        let Some(parent) = parent else { return };
        if let Some(siblings) = self.children.get_mut(&parent) {
            siblings.remove(&thread);
            if siblings.is_empty() {
                self.children.remove(&parent);
            }
        }
    }

    /// A thread has an actor. What it shows stays until that shows another.
    fn rise(&mut self, event: &Event, lineage: &Lineage, again: bool) -> TreeChange {
        let Some(thread) = event.thread else { return TreeChange::Unchanged };
        let added = self.place(thread).is_none();
        if added {
            let mut row = TreeRow::of(thread);
            row.parent = event.parent;
            row.since_ms = event.at_ms;
            self.insert(Entry { row: Arc::new(row), lineage: lineage.clone() });
        }
        self.change(thread, |row| {
            row.path.clone_from(&event.path);
            row.epoch = event.epoch;
            row.turn = None;
            row.restarts += u32::from(again);
            if !again {
                // It may have another slot than before, which counts from the beginning.
                row.status_seq = 0;
            }
        });
        if added { TreeChange::Added(thread) } else { TreeChange::Changed(thread) }
    }

    fn change(&mut self, thread: ThreadId, change: impl FnOnce(&mut TreeRow)) -> TreeChange {
        let place = self.place(thread);
        match place.and_then(|place| self.rows.get_mut(place)) {
            Some(row) => {
                change(row);
                TreeChange::Changed(thread)
            }
            None => TreeChange::Unchanged,
        }
    }

    fn place(&self, thread: ThreadId) -> Option<u32> {
        self.places.get(thread, |at| self.rows.is_of(at, thread))
    }

    fn insert(&mut self, entry: Entry) {
        let (thread, parent) = (entry.row.thread, entry.row.parent);
        if let Some(parent) = parent {
            self.children.entry(parent).or_default().insert(thread);
        }
        let place = self.rows.insert(entry);
        self.places.insert(thread, place);
    }

    /// Removes a thread, and of what is below it what `goes_too`, as far as that reaches.
    fn remove(&mut self, thread: ThreadId, goes_too: impl Fn(&TreeRow) -> bool) -> TreeChange {
        let mut removed = Vec::new();
        let mut next = vec![thread];
        while let Some(thread) = next.pop() {
            let below =
                self.children(thread).filter(|&child| self.get(child).is_some_and(&goes_too));
            next.extend(below);
            removed.extend(self.take_out(thread));
        }
        if removed.is_empty() { TreeChange::Unchanged } else { TreeChange::Removed(removed) }
    }

    fn take_out(&mut self, thread: ThreadId) -> Option<Arc<TreeRow>> {
        let rows = &self.rows;
        let place = self.places.remove(thread, |at| rows.is_of(at, thread))?;
        let row = self.rows.remove(place)?.row;
        self.forget_child(row.parent, thread);
        Some(row)
    }

    /// All rows of this moment, at the cost of a pointer for each 64.
    pub(super) fn image(&self) -> Image {
        self.rows.image()
    }

    /// What needs somebody at this moment.
    pub(super) const fn image_of_concerns(&self) -> &Arc<Concerns> {
        &self.concerns
    }
}

/// Equal if they stand at the same event, have the same rows, and know the same of the store and of what
/// needs somebody.
impl PartialEq for ThreadTree {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
            && self.len() == other.len()
            && self.ailing == other.ailing
            && self.concerns == other.concerns
            && self.rows().all(|row| other.get(row.thread) == Some(row))
    }
}

/// The snapshot of an image: the rows that are `wanted`.
pub(super) fn snapshot_of(
    image: &Image,
    seq: u64,
    wanted: impl Fn(ThreadId, &Lineage) -> bool,
) -> TreeSnapshot {
    let wanted = image.entries().filter(|entry| wanted(entry.row.thread, &entry.lineage));
    TreeSnapshot::new(seq, wanted.map(|entry| entry.row.clone()).collect())
}

/// Of what needs somebody, that of `wanted` threads. Where a thread with a row hangs, the image says.
pub(super) fn concerns_of(
    image: &Image,
    concerns: &Concerns,
    wanted: impl Fn(Option<ThreadId>, &Lineage) -> bool,
) -> Vec<Concern> {
    if concerns.is_empty() {
        return Vec::new();
    }
    let places: ThreadMap<&Lineage> =
        image.entries().map(|entry| (entry.row.thread, &entry.lineage)).collect();
    concerns.list(|thread, then| {
        let now = thread.and_then(|thread| places.get(&thread).copied());
        wanted(thread, now.unwrap_or(then))
    })
}

/// Whether it was told of an earlier incarnation than the row's. Facts of no incarnation never are.
fn is_stale(event: &Event, row: &TreeRow) -> bool {
    event.epoch != Epoch(0) && event.epoch < row.epoch
}

fn is_dormant(row: &TreeRow) -> bool {
    row.phase == Phase::Dormant
}

/// What a fact says of a thread that has a row.
fn follow(row: &mut TreeRow, event: &Event, fact: &Fact) {
    row.epoch = row.epoch.max(event.epoch);
    match fact {
        Fact::Runtime(RuntimeEvent::ThreadDescribed { path, nickname, role, internal }) => {
            row.path.clone_from(path);
            row.nickname = nickname.as_deref().map(Into::into);
            row.role = role.as_deref().map(Into::into);
            row.internal = *internal;
        }
        Fact::Runtime(RuntimeEvent::ThreadEnded { how }) => {
            row.turn = None;
            row.crashes += u32::from(matches!(how, Ended::Crashed { .. }));
        }
        // Two who tell of one slot may overtake each other.
        Fact::Thread(ThreadEvent::StatusChanged { status_seq, status, phase })
            if *status_seq > row.status_seq =>
        {
            row.status.clone_from(status);
            row.status_seq = *status_seq;
            row.phase = *phase;
            row.since_ms = event.at_ms;
            if !matches!(phase, Phase::Running | Phase::Stopping) {
                row.turn = None;
            }
        }
        Fact::Thread(ThreadEvent::TurnStarted { .. }) => row.turn.clone_from(&event.turn),
        Fact::Thread(ThreadEvent::TurnEnded { .. }) => {
            row.turn = None;
            row.turns += 1;
        }
        Fact::Thread(ThreadEvent::Crashed { .. }) => row.crashes += 1,
        // They change no row.
        _ => {}
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
