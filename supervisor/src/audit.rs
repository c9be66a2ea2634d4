//! The audit: every live lease with its owner, and whether the books agree (P10).

use coppicer_messages::{LeaseKind, ThreadId};

use crate::directory::Directory;
use crate::supervisor::Shared;

/// Who holds leases.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseOwner {
    /// A thread.
    Thread(ThreadId),
    /// A tap, by its name.
    Tap(String),
    /// Callers and turns that are not told apart.
    Unnamed,
}

/// Leases of one kind that one owner holds.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Looks once. Under load, what is in motion may show as drift.
pub(crate) fn look(shared: &Shared, directory: &Directory) -> Audit {
    let mut live = Vec::new();
    let mut add = |kind, owner, count: u64| {
        if count > 0 {
            live.push(LeaseRow { kind, owner, count });
        }
    };
    for slot in directory.all() {
        let owner = || LeaseOwner::Thread(slot.thread());
        add(LeaseKind::Slot, owner(), 1);
        add(LeaseKind::Resident, owner(), u64::from(slot.is_attached()));
        add(LeaseKind::TurnPermit, owner(), u64::from(slot.is_busy()));
        add(LeaseKind::InboxPermit, owner(), slot.depth() as u64);
    }
    for tap in shared.hub.owners() {
        add(LeaseKind::Tap, LeaseOwner::Tap(tap), 1);
    }
    for kind in [LeaseKind::PendingReply, LeaseKind::Zombie] {
        add(kind, LeaseOwner::Unnamed, shared.leases.live(kind));
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

/// Looks again when the books disagree, as they may for a moment under load.
pub(crate) async fn audit(shared: &Shared, directory: &Directory) -> Audit {
    const LOOKS_MAX: u32 = 50;
    let mut audit = look(shared, directory);
    for _ in 1..LOOKS_MAX {
        if audit.is_clean() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        audit = look(shared, directory);
    }
    audit
}
