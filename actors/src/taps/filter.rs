//! Which events a tap wants.

use std::num::NonZeroU32;

use coppicer_messages::{Event, EventKind, ThreadId};

use super::About;
use crate::lineage::Lineage;

/// Which events a tap wants. Each condition narrows it. Evaluated where an event is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapFilter {
    kinds: u32,
    lifecycle_only: bool,
    scope: Scope,
    pub(super) delta_sample: NonZeroU32,
}

/// What filters look at in an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'e> {
    pub(super) kind: EventKind,
    pub(super) lifecycle: bool,
    pub(super) thread: Option<ThreadId>,
    /// What is above that thread.
    pub(super) lineage: &'e Lineage,
}

impl<'e> Seen<'e> {
    pub(super) fn of(event: &Event, lineage: &'e Lineage) -> Self {
        let (kind, lifecycle) = (event.fact.kind(), event.fact.is_lifecycle());
        Self { kind, lifecycle, thread: event.thread, lineage }
    }

    /// That a record of this thread is durable.
    pub(super) const fn record(about: &'e About) -> Self {
        let (kind, lineage) = (EventKind::Record, &about.lineage);
        Self { kind, lifecycle: false, thread: Some(about.thread), lineage }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    All,
    Thread(ThreadId),
    Subtree(ThreadId),
}

/// Kinds without a lifecycle fact: the bulk of all events.
pub(super) const BULK: u32 =
    EventKind::Record.bit() | EventKind::Usage.bit() | EventKind::Delta.bit();

impl TapFilter {
    const fn scoped(scope: Scope) -> Self {
        Self { kinds: u32::MAX, lifecycle_only: false, scope, delta_sample: NonZeroU32::MIN }
    }

    /// Everything.
    pub const fn all() -> Self {
        Self::scoped(Scope::All)
    }

    /// Facts of one thread.
    pub const fn thread(thread: ThreadId) -> Self {
        Self::scoped(Scope::Thread(thread))
    }

    /// Facts of a thread and of all below it, those spawned later included.
    pub const fn subtree(root: ThreadId) -> Self {
        Self::scoped(Scope::Subtree(root))
    }

    /// Only facts of these kinds.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        self.kinds = kinds.into_iter().fold(0, |set, kind| set | kind.bit());
        self
    }

    /// Only facts that the journal keeps.
    #[must_use]
    pub const fn lifecycle(mut self) -> Self {
        self.lifecycle_only = true;
        self
    }

    /// Of the deltas that pass otherwise only the first, and every `every`-th after it. The others
    /// count as filtered.
    #[must_use]
    pub const fn sample_deltas(mut self, every: NonZeroU32) -> Self {
        self.delta_sample = every;
        self
    }

    /// The kinds that may pass.
    pub(super) const fn wanted(&self) -> u32 {
        if self.lifecycle_only { self.kinds & !BULK } else { self.kinds }
    }

    /// Whether it asks no more of an event than its kind and whether the journal keeps it.
    pub(super) fn asks_kinds_alone(&self) -> bool {
        self.covers_runtime() && self.delta_sample == NonZeroU32::MIN
    }

    /// Whether it is of facts alone that the journal keeps.
    pub(super) const fn asks_lifecycle(&self) -> bool {
        self.lifecycle_only
    }

    /// Whether an event passes, sampling aside.
    pub(super) fn passes(&self, seen: &Seen<'_>) -> bool {
        self.kinds & seen.kind.bit() != 0
            && (!self.lifecycle_only || seen.lifecycle)
            && match (&self.scope, seen.thread) {
                (Scope::All, _) => true,
                (_, Some(thread)) => self.covers(thread, seen.lineage),
                (_, None) => false,
            }
    }

    /// Whether it is about the runtime as a whole too, whatever else it asks.
    pub(super) fn covers_runtime(&self) -> bool {
        self.scope == Scope::All
    }

    /// Whether it is about this thread, whatever else it asks.
    pub(super) fn covers(&self, thread: ThreadId, lineage: &Lineage) -> bool {
        match self.scope {
            Scope::All => true,
            Scope::Thread(wanted) => thread == wanted,
            Scope::Subtree(root) => thread == root || lineage.contains(root),
        }
    }
}

impl Default for TapFilter {
    fn default() -> Self {
        Self::all()
    }
}

#[cfg(test)]
mod tests {
    use coppicer_messages::Fact;

    use super::*;

    #[test]
    fn no_kind_of_the_bulk_has_a_lifecycle_fact() {
        for row in Fact::table() {
            assert!(!row.lifecycle || row.kind.bit() & BULK == 0, "{row:?}");
        }
    }
}
