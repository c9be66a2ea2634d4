//! Limits of one tree, which its root carries.

use serde::{Deserialize, Serialize};

/// Tighter bounds for the tree of one root: each counts together with the runtime's
/// [`Limits`](crate::Limits), and the smaller of the two holds. Kept with the root; what a thread
/// that is no root carries of it counts once it is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TreeLimits {
    /// Levels below the root.
    pub depth_max: Option<u32>,
    /// Live sub-agents of one thread.
    pub children_max: Option<usize>,
    /// Live threads, the root included.
    pub tree_max: Option<usize>,
    /// Turns that run at once. Further ones wait in line.
    pub executing_max: Option<usize>,
    /// New sub-agents within a minute.
    pub spawns_per_minute_max: Option<usize>,
}

impl TreeLimits {
    /// No bounds but the runtime's.
    pub const fn new() -> Self {
        Self {
            depth_max: None,
            children_max: None,
            tree_max: None,
            executing_max: None,
            spawns_per_minute_max: None,
        }
    }

    /// Bounds the levels below the root.
    #[must_use]
    pub const fn with_depth_max(mut self, levels: u32) -> Self {
        self.depth_max = Some(levels);
        self
    }

    /// Bounds the live sub-agents of one thread.
    #[must_use]
    pub const fn with_children_max(mut self, threads: usize) -> Self {
        self.children_max = Some(threads);
        self
    }

    /// Bounds the live threads, the root included.
    #[must_use]
    pub const fn with_tree_max(mut self, threads: usize) -> Self {
        self.tree_max = Some(threads);
        self
    }

    /// Bounds the turns that run at once.
    #[must_use]
    pub const fn with_executing_max(mut self, turns: usize) -> Self {
        self.executing_max = Some(turns);
        self
    }

    /// Bounds the new sub-agents within a minute.
    #[must_use]
    pub const fn with_spawns_per_minute_max(mut self, threads: usize) -> Self {
        self.spawns_per_minute_max = Some(threads);
        self
    }
}
