//! Taps: bounded subscriptions to facts (P11).
//!
//! For each tap, emitted = delivered + filtered + lost + still waiting, at every moment. A tap that
//! never reads costs what waits for it and nothing else: publishing never waits for a reader, and does not
//! touch taps one by one. Taps with the same filter share one log, and each is a place in it.
//!
//! One lock numbers events, adds them to the logs, and folds them into the tree of threads and the
//! journal, so that a tap can begin with exactly what was before its first event.

mod concerns;
mod event;
mod filter;
mod follower;
mod groups;
mod hub;
mod journal;
mod log;
mod marks;
mod places;
mod portion;
mod rows;
mod tap;
mod tree;

use std::sync::Arc;

use coppicer_messages::{AgentPath, Event, ThreadId};

use crate::lineage::Lineage;
pub use concerns::Concern;
pub use event::{TapEvent, TapEvents};
pub use filter::TapFilter;
pub use hub::TapHub;
pub(crate) use portion::Classes;
pub use tap::Tap;
pub use tree::{AilingStore, ThreadTree, TreeChange, TreeRow, TreeSnapshot};

/// What a subscriber wants.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TapOptions {
    /// Which events.
    pub filter: TapFilter,
    /// Most events that wait unread; the oldest go first. `None`: `Limits::tap_events_max`.
    pub capacity: Option<usize>,
    /// Most bytes of events that wait unread, by [`Event::bytes`]; the oldest go first. An event that
    /// is larger by itself is lost. `None`: `Limits::tap_bytes_max`.
    pub bytes: Option<usize>,
    /// From where on.
    pub from: TapFrom,
}

/// From where on a tap delivers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TapFrom {
    /// Events published after the subscription.
    #[default]
    Now,
    /// The tree of threads at the subscription, as one [`TapItem::Snapshot`], then every event after
    /// it: without a gap, and without a repeat. Of threads that the filter leaves out there is no row;
    /// its kinds are of events alone. It also says whether the store cannot write, and what needs
    /// somebody.
    Snapshot,
    /// The lifecycle events after this sequence number, from the journal, then everything after the
    /// subscription. Goes on from the last event that was read, or from
    /// [`TreeSnapshot::seq`]; ephemeral events in between are gone.
    Cursor(u64),
    /// All lifecycle events that the journal has, then everything after the subscription.
    /// [`Tap::began_after`] says how far back that is.
    Journal,
}

impl TapOptions {
    /// Everything from now on.
    pub fn all() -> Self {
        Self { filter: TapFilter::all(), capacity: None, bytes: None, from: TapFrom::Now }
    }

    /// What passes `filter`, from now on.
    pub fn matching(filter: TapFilter) -> Self {
        Self { filter, ..Self::all() }
    }

    /// Sets how many events may wait unread.
    #[must_use]
    pub const fn with_capacity(mut self, events: usize) -> Self {
        self.capacity = Some(events);
        self
    }

    /// Sets how many bytes of events may wait unread.
    #[must_use]
    pub const fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Sets from where on it delivers.
    #[must_use]
    pub const fn with_from(mut self, from: TapFrom) -> Self {
        self.from = from;
        self
    }
}

impl Default for TapOptions {
    fn default() -> Self {
        Self::all()
    }
}

/// One item of a tap.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TapItem {
    /// A fact. All taps share the one value.
    Event(TapEvent),
    /// The tree of threads at the subscription, the first item of a tap from [`TapFrom::Snapshot`]; or as
    /// it was when [`Tap::regain`] did not find a gap in the journal any more.
    Snapshot(Arc<TreeSnapshot>),
    /// Events that this tap would have had and that were lost because it did not read in time.
    Lagged {
        /// Sequence number of the first.
        from: u64,
        /// Sequence number of the last.
        to: u64,
        /// How many.
        count: u64,
    },
}

/// What a tap has next, as [`Tap::next_batch`] gives it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TapBatch {
    /// Facts in order: one at least, 64 at most.
    Events(TapEvents),
    /// As [`TapItem::Snapshot`].
    Snapshot(Arc<TreeSnapshot>),
    /// As [`TapItem::Lagged`].
    Lagged {
        /// Sequence number of the first.
        from: u64,
        /// Sequence number of the last.
        to: u64,
        /// How many.
        count: u64,
    },
}

impl TapItem {
    /// The fact, if it is one.
    pub fn event(&self) -> Option<&Event> {
        match self {
            Self::Event(event) => Some(event),
            Self::Snapshot(_) | Self::Lagged { .. } => None,
        }
    }
}

/// What [`Tap::regain`] could do about a gap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Regained {
    /// Events that it took from the journal. They were lost and come after all.
    pub events: u64,
    /// Events that were lost since the gap was told: no item tells of these any more. Those that the journal
    /// has are among `events`.
    pub lost: u64,
    /// Whether no lifecycle event is missing: the journal still reaches back to the beginning of the gap.
    /// Else a snapshot comes next, unless nobody holds the runtime any more.
    pub complete: bool,
}

impl Regained {
    /// How many events of a gap of so many, and of what was lost since it was told, stay lost.
    pub const fn lost_of(&self, count: u64) -> u64 {
        count.saturating_add(self.lost).saturating_sub(self.events)
    }
}

/// The counts of one tap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapCounts {
    /// Events published since it was opened, and those it took from the journal: at its beginning, and behind
    /// a gap again.
    pub emitted: u64,
    /// Events that its reader took.
    pub delivered: u64,
    /// Events that its filter left out.
    pub filtered: u64,
    /// Events that it lost.
    pub lost: u64,
    /// Events that wait for its reader.
    pub waiting: u64,
}

/// Who a fact is about: filled in once by its thread, shared by all its facts.
#[derive(Debug, Clone)]
pub struct About {
    /// The thread.
    pub thread: ThreadId,
    /// Its parent.
    pub parent: Option<ThreadId>,
    /// Its path.
    pub path: Option<AgentPath>,
    /// Levels below the root of its tree.
    pub depth: u32,
    /// All that is above it.
    pub lineage: Lineage,
}

impl About {
    /// A thread of which only the id is known.
    pub fn of(thread: ThreadId) -> Self {
        Self { thread, parent: None, path: None, depth: 0, lineage: Lineage::default() }
    }

    /// Says in an event that it is about this thread.
    fn sign(&self, event: &mut Event) {
        event.thread = Some(self.thread);
        event.parent = self.parent;
        event.path.clone_from(&self.path);
    }
}
