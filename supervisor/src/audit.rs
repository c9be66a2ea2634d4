//! The audit: every live lease with its owner, and whether the books agree (P10).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use coppicer_actors::Slot;
use coppicer_messages::{Holdings, LeaseKind, ThreadId};
use serde::{Deserialize, Serialize};

use crate::directory::Directory;
use crate::supervisor::Shared;

/// Who holds leases. A thread that is gone still owns what is held on its behalf: callers that wait
/// for it, and code of its turns that would not stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeaseOwner {
    /// A thread.
    Thread(ThreadId),
    /// A tap, by its name.
    Tap(String),
    /// An external process that the engine of a thread started, by the name that it gave it.
    Process {
        /// Whose.
        thread: ThreadId,
        /// Its name.
        name: String,
    },
    /// The runtime itself: its supervisor is asked by the host.
    Runtime,
}

/// Leases of one kind that one owner holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeaseRow {
    /// What they are rights to.
    pub kind: LeaseKind,
    /// Who holds them.
    pub owner: LeaseOwner,
    /// How many.
    pub count: u64,
}

/// Every live lease, and whether granted = live + returned for each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// Live leases by owner.
    pub live: Vec<LeaseRow>,
    /// Kinds where the books and the owners disagree: the books' count less the owners'. Must be
    /// empty whenever nothing is in motion.
    pub drift: Vec<(LeaseKind, i64)>,
}

impl Audit {
    /// The leases that are held by a thread or on its behalf.
    pub fn held_by(&self, thread: ThreadId) -> impl Iterator<Item = &LeaseRow> {
        self.live.iter().filter(move |row| match &row.owner {
            LeaseOwner::Thread(owner) | LeaseOwner::Process { thread: owner, .. } => {
                *owner == thread
            }
            LeaseOwner::Tap(_) | LeaseOwner::Runtime => false,
        })
    }

    /// How many leases of `kind` are live.
    pub fn count(&self, kind: LeaseKind) -> u64 {
        self.live.iter().filter(|row| row.kind == kind).map(|row| row.count).sum()
    }

    /// Whether the books agree with the owners.
    pub fn is_clean(&self) -> bool {
        self.drift.is_empty()
    }

    /// Whether the books agree and nothing is held.
    pub fn is_empty(&self) -> bool {
        self.is_clean() && self.live.is_empty()
    }
}

/// Lists what a thread holds, and what is held on its behalf.
pub(crate) fn add_rows_of(slot: &Slot, add: &mut impl FnMut(LeaseKind, LeaseOwner, u64)) {
    let thread = slot.thread();
    let owner = || LeaseOwner::Thread(thread);
    add(LeaseKind::Slot, owner(), 1);
    add(LeaseKind::Resident, owner(), u64::from(slot.is_attached()));
    add(LeaseKind::TurnPermit, owner(), u64::from(slot.is_busy()));
    add(LeaseKind::InboxPermit, owner(), slot.depth() as u64);
    let account = slot.purse().and_then(coppicer_actors::Purse::own);
    let carved = account.is_some_and(|account| account.is_carved());
    add(LeaseKind::Budget, owner(), u64::from(carved));
    add_held(thread, slot.holdings(), add);
}

/// What one thread holds, and what is held on its behalf.
pub(crate) fn rows_of(slot: &Slot) -> Vec<LeaseRow> {
    let mut live = Vec::new();
    add_rows_of(slot, &mut |kind, owner, count| {
        if count > 0 {
            live.push(LeaseRow { kind, owner, count });
        }
    });
    live
}

/// Lists what is held on behalf of a thread beside its own rights, also when it is gone.
fn add_held(
    thread: ThreadId,
    holdings: &Holdings,
    add: &mut impl FnMut(LeaseKind, LeaseOwner, u64),
) {
    for kind in [LeaseKind::PendingReply, LeaseKind::Zombie] {
        add(kind, LeaseOwner::Thread(thread), holdings.count(kind));
    }
    let mut processes: BTreeMap<String, u64> = BTreeMap::new();
    for name in holdings.processes() {
        *processes.entry(name).or_default() += 1;
    }
    for (name, count) in processes {
        add(LeaseKind::Process, LeaseOwner::Process { thread, name }, count);
    }
}

/// Looks once. Under load, what is in motion may show as drift.
pub(crate) fn look(shared: &Shared, directory: &Directory) -> Audit {
    let mut live = Vec::new();
    let mut add = |kind, owner, count: u64| {
        if count > 0 {
            live.push(LeaseRow { kind, owner, count });
        }
    };
    let mut listed = HashSet::new();
    for slot in directory.coming().into_iter().chain(directory.all()) {
        if listed.insert(Arc::as_ptr(slot.holdings())) {
            add_rows_of(&slot, &mut add);
        }
    }
    for holdings in directory.departed() {
        if let Some(thread) = holdings.thread()
            && listed.insert(Arc::as_ptr(&holdings))
        {
            add_held(thread, &holdings, &mut add);
        }
    }
    for tap in shared.hub.owners() {
        add(LeaseKind::Tap, LeaseOwner::Tap(tap), 1);
    }
    let runtime = shared.leases.runtime();
    for kind in LeaseKind::ALL {
        add(kind, LeaseOwner::Runtime, runtime.count(kind));
    }
    let mut audit = Audit { live, drift: Vec::new() };
    for kind in LeaseKind::ALL {
        let drift = shared.leases.live(kind).cast_signed() - audit.count(kind).cast_signed();
        if drift != 0 {
            audit.drift.push((kind, drift));
        }
    }
    audit
}

/// Looks again when the books disagree, as they may for a moment under load, and while code that was
/// told to go has not let go yet, as most does at once.
pub(crate) async fn audit(shared: &Shared, directory: &Directory) -> Audit {
    const LOOKS_MAX: u32 = 50;
    let mut audit = look(shared, directory);
    for _ in 1..LOOKS_MAX {
        if audit.is_clean() && audit.count(LeaseKind::Zombie) == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        audit = look(shared, directory);
    }
    audit
}
