//! Taps: bounded subscriptions to facts (P11).
//!
//! For each tap, emitted = delivered + filtered + lost + still waiting, at every moment. A tap that
//! never reads costs its ring and nothing else: publishing never waits for a reader.

mod filter;
mod ring;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use coppicer_messages::{
    AgentPath, Epoch, Event, EventKind, Fact, Lease, LeaseBook, LeaseKind, LimitReached, Limits,
    TapError, ThreadId, TurnId,
};
use futures::Stream;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::lineage::Lineage;
pub use filter::TapFilter;
use ring::Ring;

/// What a subscriber wants.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TapOptions {
    /// Which events.
    pub filter: TapFilter,
    /// Most events that wait unread; the oldest go first. `None`: [`Limits::tap_events_max`].
    pub capacity: Option<usize>,
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
    /// The lifecycle events after this sequence number that the journal has, then everything after
    /// the subscription.
    Cursor(u64),
}

impl TapOptions {
    /// Everything from now on.
    pub fn all() -> Self {
        Self { filter: TapFilter::all(), capacity: None, from: TapFrom::Now }
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
    Event(Arc<Event>),
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

impl TapItem {
    /// The fact, if it is one.
    pub fn event(&self) -> Option<&Event> {
        match self {
            Self::Event(event) => Some(event),
            Self::Lagged { .. } => None,
        }
    }
}

/// The counts of one tap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapCounts {
    /// Events published since it was opened, and those it took from the journal.
    pub emitted: u64,
    /// Events that its reader took.
    pub delivered: u64,
    /// Events that its filter left out.
    pub filtered: u64,
    /// Events that it lost.
    pub lost: u64,
    /// Events that wait in its ring.
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
}

/// Fans facts out to taps.
pub struct TapHub {
    clock: Arc<Clock>,
    leases: Arc<LeaseBook>,
    taps_max: usize,
    events_max: usize,
    journal_max: usize,
    /// The kinds that any tap wants.
    wanted: AtomicU32,
    state: Mutex<HubState>,
}

struct HubState {
    seq: u64,
    /// The newest event that fell out of the journal; 0 if none did.
    forgotten: u64,
    journal: VecDeque<(Arc<Event>, Lineage)>,
    taps: Vec<Arc<Ring>>,
    next_tap: u64,
    closed: bool,
}

impl TapHub {
    /// A hub with the bounds of `limits`.
    pub fn new(clock: Arc<Clock>, leases: Arc<LeaseBook>, limits: &Limits) -> Self {
        Self {
            clock,
            leases,
            taps_max: limits.taps_max,
            events_max: limits.tap_events_max,
            journal_max: limits.journal_events_max,
            wanted: AtomicU32::new(0),
            state: Mutex::new(HubState {
                seq: 0,
                forgotten: 0,
                journal: VecDeque::new(),
                taps: Vec::new(),
                next_tap: 1,
                closed: false,
            }),
        }
    }

    /// Whether a tap wants facts of this kind.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.wanted.load(Ordering::Acquire) & kind.bit() != 0
    }

    /// Publishes a fact. Never waits; a record, usage or delta that no tap wants costs a look.
    pub fn publish(
        &self,
        about: Option<&About>,
        epoch: Epoch,
        turn: Option<&TurnId>,
        kind: EventKind,
        fact: impl FnOnce() -> Fact,
    ) {
        // Records, usage and deltas are the bulk; they become events only for a tap that wants them.
        let bulk = matches!(kind, EventKind::Record | EventKind::Usage | EventKind::Delta);
        if bulk && !self.wants(kind) {
            return;
        }
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.seq += 1;
        let mut event = Event::new(fact());
        event.seq = state.seq;
        event.at_ms = self.clock.now().at_ms;
        event.epoch = epoch;
        event.turn = turn.cloned();
        if let Some(about) = about {
            event.thread = Some(about.thread);
            event.parent = about.parent;
            event.path.clone_from(&about.path);
        }
        let event = Arc::new(event);
        let lineage = about.map(|about| about.lineage.clone()).unwrap_or_default();
        for tap in &state.taps {
            tap.offer(&event, &lineage);
        }
        if event.fact.is_lifecycle() {
            state.journal.push_back((event, lineage));
            while state.journal.len() > self.journal_max {
                let oldest = state.journal.pop_front();
                state.forgotten = oldest.map_or(state.forgotten, |(event, _)| event.seq);
            }
        }
    }

    /// Opens a tap.
    ///
    /// # Errors
    /// No capacity; too many taps; a cursor outside the journal; the runtime has ended.
    pub fn tap(self: &Arc<Self>, options: TapOptions) -> Result<Tap, TapError> {
        let capacity = options.capacity.unwrap_or(self.events_max);
        if capacity == 0 {
            return Err(TapError::NoCapacity);
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(TapError::RuntimeEnded);
        }
        if state.taps.len() >= self.taps_max {
            return Err(TapError::Limit(LimitReached {
                limit: "taps_max",
                value: self.taps_max as u64,
                holders: Vec::new(),
                retry_after: None,
                advice: "drop a tap that is not read, or raise the limit",
            }));
        }
        let ring = Arc::new(Ring::new(state.next_tap, options.filter, capacity));
        if let TapFrom::Cursor(cursor) = options.from {
            // The last event that the journal had to let go.
            let from = state.forgotten;
            if cursor < from || cursor > state.seq {
                return Err(TapError::CursorOutside { cursor, from, to: state.seq });
            }
            let first = state.journal.partition_point(|(event, _)| event.seq <= cursor);
            for (event, lineage) in state.journal.range(first..) {
                ring.offer(event, lineage);
            }
        }
        state.next_tap += 1;
        state.taps.push(ring.clone());
        self.wanted.store(state.wanted(), Ordering::Release);
        drop(state);
        let lease = self.leases.grant(LeaseKind::Tap);
        Ok(Tap { ring, hub: Arc::downgrade(self), _lease: lease })
    }

    /// The sequence number of the last fact.
    pub fn seq(&self) -> u64 {
        self.state.lock().seq
    }

    /// The names of the live taps, for the audit.
    pub fn owners(&self) -> Vec<String> {
        self.state.lock().taps.iter().map(|tap| format!("tap {}", tap.id())).collect()
    }

    /// Whether the runtime has ended, and every tap with it.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Ends every tap: readers get what waits, then the end.
    pub fn close(&self) {
        let taps = {
            let mut state = self.state.lock();
            state.closed = true;
            state.taps.clone()
        };
        for tap in taps {
            tap.close();
        }
    }

    fn forget(&self, ring: &Arc<Ring>) {
        let mut state = self.state.lock();
        state.taps.retain(|tap| !Arc::ptr_eq(tap, ring));
        self.wanted.store(state.wanted(), Ordering::Release);
    }
}

impl HubState {
    fn wanted(&self) -> u32 {
        self.taps.iter().fold(0, |wanted, tap| wanted | tap.kinds())
    }
}

impl fmt::Debug for TapHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapHub").field("seq", &self.seq()).finish_non_exhaustive()
    }
}

/// A bounded subscription: a stream of facts and gaps that ends with the runtime.
///
/// # Cancel safety
/// [`next`](Self::next) loses nothing when it is dropped.
pub struct Tap {
    ring: Arc<Ring>,
    hub: Weak<TapHub>,
    _lease: Lease,
}

impl Tap {
    /// The next item; `None` once the runtime has ended and everything was read.
    pub async fn next(&mut self) -> Option<TapItem> {
        std::future::poll_fn(|cx| self.ring.poll(cx)).await
    }

    /// The next item, if one waits.
    pub fn try_next(&mut self) -> Option<TapItem> {
        self.ring.take()
    }

    /// Its counts so far.
    pub fn counts(&self) -> TapCounts {
        self.ring.counts()
    }
}

impl Stream for Tap {
    type Item = TapItem;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TapItem>> {
        self.ring.poll(cx)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.forget(&self.ring);
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
