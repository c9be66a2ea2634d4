//! The hub: numbers facts and hands them to the taps, the journal and the tree.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use coppicer_messages::{
    Epoch, Event, EventKind, Fact, LeaseBook, LeaseKind, LimitReached, Limits, TapError, TurnId,
};
use parking_lot::Mutex;

use super::filter::BULK;
use super::journal::{Journal, Published};
use super::ring::Ring;
use super::tree::{ThreadTree, snapshot_of};
use super::{About, Tap, TapFrom, TapItem, TapOptions};
use crate::clock::Clock;
use crate::lineage::Lineage;

/// Fans facts out to taps.
pub struct TapHub {
    clock: Arc<Clock>,
    leases: Arc<LeaseBook>,
    taps_max: usize,
    events_max: usize,
    bytes_max: usize,
    /// The kinds that any tap wants.
    wanted: AtomicU32,
    state: Mutex<HubState>,
}

struct HubState {
    seq: u64,
    journal: Journal,
    /// Folded from every lifecycle fact up to `seq`.
    tree: ThreadTree,
    /// The last events, which some rings were not offered yet.
    recent: Vec<Published>,
    /// In order of their ids.
    taps: Vec<Attached>,
    /// Taps whose reader waits.
    awaited: usize,
    next_tap: u64,
    closed: bool,
}

/// Most events that a ring is offered at one go. Rings are offered what is new in portions, so that
/// publishing does not touch each of them for each event; at once if a reader waits or asks.
const RECENT_MAX: usize = 64;

struct Attached {
    ring: Arc<Ring>,
    /// How many of the recent events it was offered.
    taken: usize,
    /// Whether its reader waits.
    awaited: bool,
}

impl TapHub {
    /// A hub with the bounds of `limits`.
    pub fn new(clock: Arc<Clock>, leases: Arc<LeaseBook>, limits: &Limits) -> Self {
        Self {
            clock,
            leases,
            taps_max: limits.taps_max,
            events_max: limits.tap_events_max,
            bytes_max: limits.tap_bytes_max,
            wanted: AtomicU32::new(0),
            state: Mutex::new(HubState {
                seq: 0,
                journal: Journal::new(limits.journal_events_max, limits.journal_bytes_max),
                tree: ThreadTree::default(),
                recent: Vec::with_capacity(RECENT_MAX),
                taps: Vec::new(),
                awaited: 0,
                next_tap: 1,
                closed: false,
            }),
        }
    }

    /// Whether a tap wants facts of this kind.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.wanted.load(Ordering::Acquire) & kind.bit() != 0
    }

    /// Publishes a fact. Never waits; a record, usage or delta that no tap wants costs a look. One
    /// event is made for all taps.
    pub fn publish(
        &self,
        about: Option<&About>,
        epoch: Epoch,
        turn: Option<&TurnId>,
        kind: EventKind,
        fact: impl FnOnce() -> Fact,
    ) {
        // Records, usage and deltas are the bulk; they become events only for a tap that wants them.
        if kind.bit() & BULK != 0 && !self.wants(kind) {
            return;
        }
        // All that can be done before the number is known is done outside of the lock.
        let mut event = Event::new(fact());
        event.epoch = epoch;
        event.turn = turn.cloned();
        if let Some(about) = about {
            event.thread = Some(about.thread);
            event.parent = about.parent;
            event.path.clone_from(&about.path);
        }
        let lineage = about.map(|about| about.lineage.clone()).unwrap_or_default();
        self.number(event, lineage, None);
    }

    /// Publishes that a thread has another place: also to those who watch what was above it `before`.
    pub fn publish_move(&self, about: &About, before: &Lineage, epoch: Epoch, fact: Fact) {
        let mut event = Event::new(fact);
        event.epoch = epoch;
        event.thread = Some(about.thread);
        event.parent = about.parent;
        event.path.clone_from(&about.path);
        let both = before.iter().fold(about.lineage.clone(), |both, above| both.below(above));
        self.number(event, both, Some(&about.lineage));
    }

    /// Numbers an event and hands it out. `place`: what is above its thread, if that is less than all
    /// those who are told.
    fn number(&self, event: Event, lineage: Lineage, place: Option<&Lineage>) {
        let bytes = event.bytes();
        let mut event = Arc::new(event);
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.seq += 1;
        if let Some(event) = Arc::get_mut(&mut event) {
            event.seq = state.seq;
            event.at_ms = self.clock.now().at_ms;
        }
        let published = Published { event, lineage, bytes };
        if !state.taps.is_empty() {
            state.recent.push(published.clone());
            if state.recent.len() >= RECENT_MAX {
                state.offer_all();
            } else if state.awaited > 0 {
                state.offer_awaited();
            }
        }
        if published.event.fact.is_lifecycle() {
            state.tree.apply_below(&published.event, place.unwrap_or(&published.lineage));
            state.journal.push(published);
        }
    }

    /// Offers a ring what is new, if nobody holds the lock.
    pub(super) fn try_offer(&self, ring: &Ring) {
        if let Some(mut state) = self.state.try_lock() {
            state.offer(ring);
        }
    }

    /// Offers a ring what is new.
    pub(super) fn offer(&self, ring: &Ring) {
        self.state.lock().offer(ring);
    }

    /// Offers a ring what is new, and takes the next of it. If there is none, its reader is woken at
    /// the next event.
    pub(super) fn poll(&self, ring: &Ring, cx: &mut Context<'_>) -> Poll<Option<TapItem>> {
        let mut state = self.state.lock();
        state.offer(ring);
        let polled = ring.poll(cx);
        if polled.is_pending()
            && let Some(at) = state.place(ring)
            && !std::mem::replace(&mut state.taps[at].awaited, true)
        {
            state.awaited += 1;
        }
        polled
    }

    /// Opens a tap.
    ///
    /// # Errors
    /// No capacity; too many taps; a cursor outside the journal; the runtime has ended.
    pub fn tap(self: &Arc<Self>, options: TapOptions) -> Result<Tap, TapError> {
        let events_max = options.capacity.unwrap_or(self.events_max);
        let bytes_max = options.bytes.unwrap_or(self.bytes_max);
        if events_max == 0 || bytes_max == 0 {
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
        let ring = Ring::new(state.next_tap, options.filter, events_max, bytes_max);
        let image = match options.from {
            TapFrom::Now => None,
            TapFrom::Snapshot => Some((state.tree.image(), state.seq)),
            TapFrom::Cursor(cursor) => {
                ring.fill(state.journal.after(cursor, state.seq)?);
                None
            }
        };
        let ring = Arc::new(ring);
        state.next_tap += 1;
        let taken = state.recent.len();
        state.taps.push(Attached { ring: ring.clone(), taken, awaited: false });
        self.wanted.store(state.wanted(), Ordering::Release);
        drop(state);
        // The rows are picked and sorted while others publish.
        let snapshot = image.map(|(image, seq)| {
            let filter = ring.filter();
            Arc::new(snapshot_of(&image, seq, |thread, lineage| filter.covers(thread, lineage)))
        });
        let lease = self.leases.grant(LeaseKind::Tap);
        Ok(Tap { snapshot, ring, hub: Arc::downgrade(self), _lease: lease })
    }

    /// The sequence number of the last fact.
    pub fn seq(&self) -> u64 {
        self.state.lock().seq
    }

    /// The names of the live taps, for the audit.
    pub fn owners(&self) -> Vec<String> {
        self.state.lock().taps.iter().map(|tap| format!("tap {}", tap.ring.id())).collect()
    }

    /// Whether the runtime has ended, and every tap with it.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Ends every tap: readers get what waits, then the end.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.offer_all();
        let rings: Vec<Arc<Ring>> = state.taps.iter().map(|tap| tap.ring.clone()).collect();
        drop(state);
        for ring in rings {
            ring.close();
        }
    }

    pub(super) fn forget(&self, ring: &Ring) {
        let mut state = self.state.lock();
        if let Some(at) = state.place(ring) {
            let gone = state.taps.remove(at);
            state.awaited -= usize::from(gone.awaited);
        }
        if state.taps.is_empty() {
            state.recent.clear();
        }
        self.wanted.store(state.wanted(), Ordering::Release);
    }
}

impl Drop for TapHub {
    /// Taps end with the hub, whatever became of the runtime.
    fn drop(&mut self) {
        self.close();
    }
}

impl HubState {
    fn wanted(&self) -> u32 {
        self.taps.iter().fold(0, |wanted, tap| wanted | tap.ring.filter().wanted())
    }

    fn place(&self, ring: &Ring) -> Option<usize> {
        self.taps.binary_search_by_key(&ring.id(), |tap| tap.ring.id()).ok()
    }

    fn offer(&mut self, ring: &Ring) {
        if let Some(at) = self.place(ring) {
            self.offer_to(at);
        }
    }

    fn offer_to(&mut self, at: usize) {
        let Self { taps, recent, awaited, .. } = self;
        let tap = &mut taps[at];
        if tap.taken < recent.len() {
            let woken = tap.ring.offer(&recent[tap.taken..]);
            tap.taken = recent.len();
            if woken && std::mem::take(&mut tap.awaited) {
                *awaited -= 1;
            }
        }
    }

    fn offer_awaited(&mut self) {
        for at in 0..self.taps.len() {
            if self.taps[at].awaited {
                self.offer_to(at);
            }
        }
    }

    /// After this nothing is recent.
    fn offer_all(&mut self) {
        for at in 0..self.taps.len() {
            self.offer_to(at);
            self.taps[at].taken = 0;
        }
        self.recent.clear();
    }
}

impl fmt::Debug for TapHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapHub").field("seq", &self.seq()).finish_non_exhaustive()
    }
}
