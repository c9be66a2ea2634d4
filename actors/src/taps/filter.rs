//! Which events a tap wants.

use coppicer_messages::{Event, EventKind, ThreadId};

use crate::lineage::Lineage;

/// Which events a tap wants. Each condition narrows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapFilter {
    pub(super) kinds: u32,
    lifecycle_only: bool,
    scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    All,
    Thread(ThreadId),
    Subtree(ThreadId),
}

impl TapFilter {
    /// Everything.
    pub const fn all() -> Self {
        Self { kinds: u32::MAX, lifecycle_only: false, scope: Scope::All }
    }

    /// Facts of one thread.
    pub const fn thread(thread: ThreadId) -> Self {
        Self { kinds: u32::MAX, lifecycle_only: false, scope: Scope::Thread(thread) }
    }

    /// Facts of a thread and of all below it, those spawned later included.
    pub const fn subtree(root: ThreadId) -> Self {
        Self { kinds: u32::MAX, lifecycle_only: false, scope: Scope::Subtree(root) }
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

    pub(super) fn passes(&self, event: &Event, lineage: &Lineage) -> bool {
        self.kinds & event.fact.kind().bit() != 0
            && (!self.lifecycle_only || event.fact.is_lifecycle())
            && match self.scope {
                Scope::All => true,
                Scope::Thread(thread) => event.thread == Some(thread),
                Scope::Subtree(root) => event.thread == Some(root) || lineage.contains(root),
            }
    }
}

impl Default for TapFilter {
    fn default() -> Self {
        Self::all()
    }
}
