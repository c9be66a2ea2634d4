//! Changes of edges, and what hangs below them.

use coppicer_messages::{AgentPath, Charge, Epoch, ThreadId};

use super::EdgeStatus;

/// How an edge changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeChange {
    /// Only its status. A child without an edge stays without one.
    Status(EdgeStatus),
    /// Its parent and its status.
    Parent(ThreadId, EdgeStatus),
    /// It has no parent any more: it is a root.
    Root,
}

/// A move of a thread with all below it.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadMove {
    /// Which.
    pub thread: ThreadId,
    /// Where to.
    pub edge: EdgeChange,
    /// Threads of the branch whose paths are others there.
    pub paths: Vec<(ThreadId, Option<AgentPath>)>,
    /// What changes in ledgers.
    pub charges: Vec<Charge>,
    /// The life of the thread in which it is moved, if its host has one: once another host has taken the
    /// thread over, the move is refused.
    pub epoch: Option<Epoch>,
}

/// Breadth-first search over edges: by depth, then id, each thread once, cycles included.
pub fn descend(
    root: ThreadId,
    mut children: impl FnMut(ThreadId) -> Vec<ThreadId>,
) -> Vec<ThreadId> {
    let mut seen = std::collections::HashSet::from([root]);
    let mut found = Vec::new();
    let mut level = vec![root];
    while !level.is_empty() {
        let mut next: Vec<ThreadId> = level
            .iter()
            .flat_map(|&parent| children(parent))
            .filter(|&id| seen.insert(id))
            .collect();
        next.sort_unstable();
        found.extend_from_slice(&next);
        level = next;
    }
    found
}
