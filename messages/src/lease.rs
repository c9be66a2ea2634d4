//! Leases: counted rights that their owner gives back by dropping them (P10).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::Holdings;

/// The kinds of rights that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeaseKind {
    /// A place in the table of threads.
    Slot,
    /// A live actor of a thread.
    Resident,
    /// The right to run a turn.
    TurnPermit,
    /// A place in a thread's bounded inbox.
    InboxPermit,
    /// A caller that waits for an answer.
    PendingReply,
    /// A subscription to events.
    Tap,
    /// An external process that an engine started for a thread.
    Process,
    /// A turn whose code was told to stop and has not stopped: it can do no harm, but it holds a
    /// task or an OS thread until it returns.
    Zombie,
    /// A part of a budget that a thread was given out of one above it.
    Budget,
}

impl LeaseKind {
    /// Every kind, in the order of the audit.
    pub const ALL: [Self; 9] = [
        Self::Slot,
        Self::Resident,
        Self::TurnPermit,
        Self::InboxPermit,
        Self::PendingReply,
        Self::Tap,
        Self::Process,
        Self::Zombie,
        Self::Budget,
    ];

    /// The name on the wire, such as `turn_permit`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Resident => "resident",
            Self::TurnPermit => "turn_permit",
            Self::InboxPermit => "inbox_permit",
            Self::PendingReply => "pending_reply",
            Self::Tap => "tap",
            Self::Process => "process",
            Self::Zombie => "zombie",
            Self::Budget => "budget",
        }
    }

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Slot => 0,
            Self::Resident => 1,
            Self::TurnPermit => 2,
            Self::InboxPermit => 3,
            Self::PendingReply => 4,
            Self::Tap => 5,
            Self::Process => 6,
            Self::Zombie => 7,
            Self::Budget => 8,
        }
    }
}

/// The books: how many leases of each kind were granted and returned since the runtime started.
#[derive(Default)]
pub struct LeaseBook {
    granted: [AtomicU64; LeaseKind::ALL.len()],
    returned: [AtomicU64; LeaseKind::ALL.len()],
    runtime: Arc<Holdings>,
}

impl LeaseBook {
    /// Grants one lease of `kind`.
    pub fn grant(self: &Arc<Self>, kind: LeaseKind) -> Lease {
        self.note_granted(kind);
        Lease { book: self.clone(), kind, owner: None }
    }

    /// Grants one lease of `kind` to an owner, in whose row it is counted until it is given back.
    pub fn grant_to(self: &Arc<Self>, kind: LeaseKind, owner: &Arc<Holdings>) -> Lease {
        self.note_granted(kind);
        owner.add(kind);
        Lease { book: self.clone(), kind, owner: Some(owner.clone()) }
    }

    /// What the runtime itself holds: callers that wait for its supervisor.
    pub const fn runtime(&self) -> &Arc<Holdings> {
        &self.runtime
    }

    /// Notes a grant whose owner keeps count itself (inbox permits) and will call
    /// [`note_returned`](Self::note_returned).
    pub fn note_granted(&self, kind: LeaseKind) {
        self.granted[kind.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes the return of a lease granted by [`note_granted`](Self::note_granted).
    pub fn note_returned(&self, kind: LeaseKind) {
        self.returned[kind.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// How many leases of `kind` were granted so far.
    pub fn granted(&self, kind: LeaseKind) -> u64 {
        self.granted[kind.index()].load(Ordering::SeqCst)
    }

    /// How many leases of `kind` were given back so far.
    pub fn returned(&self, kind: LeaseKind) -> u64 {
        self.returned[kind.index()].load(Ordering::SeqCst)
    }

    /// How many leases of `kind` are out.
    pub fn live(&self, kind: LeaseKind) -> u64 {
        let returned = self.returned(kind);
        self.granted(kind).saturating_sub(returned)
    }
}

impl fmt::Debug for LeaseBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for kind in LeaseKind::ALL {
            map.entry(&kind, &self.live(kind));
        }
        map.finish()
    }
}

/// One counted right. Dropping it gives it back, exactly once.
#[must_use = "a lease that is dropped at once was never held"]
pub struct Lease {
    book: Arc<LeaseBook>,
    kind: LeaseKind,
    /// Who counts it too; none if its owner lists it otherwise.
    owner: Option<Arc<Holdings>>,
}

impl Lease {
    /// What it is a right to.
    pub const fn kind(&self) -> LeaseKind {
        self.kind
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(owner) = &self.owner {
            owner.take(self.kind);
        }
        self.book.note_returned(self.kind);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({:?})", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granted_is_live_plus_returned() {
        let book = Arc::new(LeaseBook::default());
        let first = book.grant(LeaseKind::Tap);
        let second = book.grant(LeaseKind::Tap);
        drop(first);
        assert_eq!((book.granted(LeaseKind::Tap), book.returned(LeaseKind::Tap)), (2, 1));
        assert_eq!(book.live(LeaseKind::Tap), 1);
        drop(second);
        assert_eq!(book.live(LeaseKind::Tap), 0);
    }

    #[test]
    fn an_owner_counts_what_it_holds() {
        let book = Arc::new(LeaseBook::default());
        let owner = Arc::new(Holdings::of(None));
        let lease = book.grant_to(LeaseKind::Zombie, &owner);
        assert_eq!((owner.count(LeaseKind::Zombie), book.live(LeaseKind::Zombie)), (1, 1));
        drop(lease);
        assert!(owner.is_empty() && book.live(LeaseKind::Zombie) == 0);
    }

    #[test]
    fn every_kind_has_a_place_of_its_own() {
        let mut places: Vec<usize> = LeaseKind::ALL.iter().map(|kind| kind.index()).collect();
        places.dedup();
        assert_eq!(places, (0..LeaseKind::ALL.len()).collect::<Vec<_>>());
    }
}
