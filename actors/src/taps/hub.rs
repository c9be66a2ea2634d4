//! The hub: numbers facts and hands them to the taps, the journal and the tree.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use coppicer_messages::{
    Epoch, Event, EventKind, Fact, LeaseBook, LeaseKind, LimitReached, Limits, RecordClass, Seq,
    TapError, TurnId,
};
use parking_lot::Mutex;

use super::concerns::Concerns;
use super::filter::{BULK, Seen};
use super::follower::{Follower, Found, Outlook};
use super::groups::Groups;
use super::journal::{Journal, Published, Since};
use super::log::{Aftermath, Bounds};
use super::portion::{Classes, Open, Run, Spare};
use super::rows::Image;
use super::tree::{AilingStore, ThreadTree, TreeSnapshot, concerns_of, snapshot_of};
use super::{About, Regained, Tap, TapFilter, TapFrom, TapOptions};
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
    spare: Arc<Spare>,
}

struct HubState {
    seq: u64,
    /// When the last event was.
    at_ms: u64,
    journal: Journal,
    /// Folded from every lifecycle fact up to `seq`.
    tree: ThreadTree,
    /// The last events, which no tap was offered yet. Taps are offered what is new in portions, so that
    /// publishing does not touch them for each event; sooner if a reader asks.
    open: Open,
    taps: Groups,
    next_tap: u64,
    closed: bool,
    spare: Arc<Spare>,
}

impl TapHub {
    /// A hub with the bounds of `limits`.
    pub fn new(clock: Arc<Clock>, leases: Arc<LeaseBook>, limits: &Limits) -> Self {
        let spare = Arc::new(Spare::default());
        Self {
            clock,
            leases,
            taps_max: limits.taps_max,
            events_max: limits.tap_events_max,
            bytes_max: limits.tap_bytes_max,
            wanted: AtomicU32::new(0),
            state: Mutex::new(HubState {
                seq: 0,
                at_ms: 0,
                journal: Journal::new(limits.journal_events_max, limits.journal_bytes_max),
                tree: ThreadTree::default(),
                open: Open::new(),
                taps: Groups::default(),
                next_tap: 1,
                closed: false,
                spare: spare.clone(),
            }),
            spare,
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
        if self.makes(kind) {
            self.tell(self.clock.now().at_ms, about, epoch, turn, fact());
        }
    }

    /// Records, usage and deltas are the bulk; they become events only for a tap that wants them.
    fn makes(&self, kind: EventKind) -> bool {
        kind.bit() & BULK == 0 || self.wants(kind)
    }

    /// Publishes a fact of which the time is known, in milliseconds since the Unix epoch. It is told as the
    /// one before it if that was later.
    pub(crate) fn tell(
        &self,
        at_ms: u64,
        about: Option<&About>,
        epoch: Epoch,
        turn: Option<&TurnId>,
        fact: Fact,
    ) {
        if !self.makes(fact.kind()) {
            return;
        }
        let mut event = Event::new(fact);
        (event.at_ms, event.epoch, event.turn) = (at_ms, epoch, turn.cloned());
        if let Some(about) = about {
            about.sign(&mut event);
            self.number(event, &about.lineage, &about.lineage);
        } else {
            self.number(event, &Lineage::default(), &Lineage::default());
        }
    }

    /// Publishes that records are durable, of which the first is at `from`. The same as so many facts
    /// one after the other; they become events only if a tap takes one.
    pub fn publish_records(
        &self,
        about: &Arc<About>,
        epoch: Epoch,
        turn: Option<&TurnId>,
        from: Seq,
        classes: impl IntoIterator<Item = RecordClass>,
    ) {
        if self.wants(EventKind::Record) {
            let classes = classes.into_iter().collect();
            let at_ms = self.clock.now().at_ms;
            self.tell_records(at_ms, about, epoch, turn.cloned(), from, classes);
        }
    }

    /// The same at a known time, with the list that the portions will keep.
    pub(crate) fn tell_records(
        &self,
        at_ms: u64,
        about: &Arc<About>,
        epoch: Epoch,
        turn: Option<TurnId>,
        from: Seq,
        classes: Classes,
    ) {
        if classes.is_empty() || !self.wants(EventKind::Record) {
            return;
        }
        let mut after = Aftermath::default();
        let (about, events) = (about.clone(), OnceLock::new());
        let mut run = Run { seq: 0, at_ms, about, epoch, turn, from, classes, events };
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        (run.seq, run.at_ms) = (state.seq + 1, state.time(at_ms));
        state.seq += run.classes.len() as u64;
        state.tell_records(run, &mut after);
        drop(state);
        after.carry_out(&self.spare);
    }

    /// Publishes that a thread has another place: also to those who watch what was above it `before`.
    pub fn publish_move(&self, about: &About, before: &Lineage, epoch: Epoch, fact: Fact) {
        let mut event = Event::new(fact);
        (event.at_ms, event.epoch) = (self.clock.now().at_ms, epoch);
        about.sign(&mut event);
        let both = before.iter().fold(about.lineage.clone(), |both, above| both.below(above));
        self.number(event, &both, &about.lineage);
    }

    /// Numbers an event of this moment and hands it out, to those who watch `told`. `place`: what is above its thread.
    fn number(&self, event: Event, told: &Lineage, place: &Lineage) {
        // All that can be done before the number is known is done outside of the lock.
        let (bytes, now) = (event.bytes(), event.at_ms);
        let mut event = Arc::new(event);
        let mut after = Aftermath::default();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.closed {
            return;
        }
        state.seq += 1;
        let at = state.open.len();
        let at_ms = state.time(now);
        if let Some(event) = Arc::get_mut(&mut event) {
            (event.seq, event.at_ms) = (state.seq, at_ms);
        }
        let seen = Seen::of(&event, told);
        if seen.lifecycle {
            state.tree.apply_below(&event, place);
            if !state.taps.is_empty() {
                state.taps.tell(&seen, at, 1, &mut after);
            }
            let (seq, lineage) = (state.seq, told.clone());
            state.journal.push(Published { seq, event, lineage, bytes }, &mut after.forgotten);
            state.put_last_of_journal(bytes, &mut after);
        } else if !state.taps.is_empty() {
            state.taps.tell(&seen, at, 1, &mut after);
            state.open.push(event, bytes);
            state.offer_if_full(&mut after);
        }
        drop(guard);
        after.carry_out(&self.spare);
    }

    /// Offers the taps what is new, if nobody holds the lock.
    pub(super) fn try_offer(&self) {
        if let Some(mut state) = self.state.try_lock() {
            let mut after = Aftermath::default();
            state.offer(&mut after);
            drop(state);
            after.carry_out(&self.spare);
        }
    }

    /// Offers the taps what is new.
    pub(super) fn offer(&self) {
        let mut after = Aftermath::default();
        self.state.lock().offer(&mut after);
        after.carry_out(&self.spare);
    }

    /// What is next for a tap that took all that was offered.
    pub(super) fn next(&self, follower: &mut Follower) -> Option<Found> {
        let mut after = Aftermath::default();
        let next = self.state.lock().next(follower, &mut after);
        after.carry_out(&self.spare);
        next
    }

    /// The same; if there is nothing, its reader is woken at the next event that it wants.
    pub(super) fn poll(&self, follower: &mut Follower, cx: &Context<'_>) -> Poll<Option<Found>> {
        let mut after = Aftermath::default();
        let mut state = self.state.lock();
        let polled = match state.next(follower, &mut after) {
            Some(found) => Poll::Ready(Some(found)),
            None => match follower.outlook(cx) {
                Outlook::Ended => Poll::Ready(None),
                Outlook::Something => Poll::Ready(follower.find()),
                Outlook::Waits { already } => {
                    if !already {
                        state.taps.await_next(follower);
                    }
                    Poll::Pending
                }
            },
        };
        drop(state);
        after.carry_out(&self.spare);
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
        let mut image = None;
        let mut since = None;
        let mut began_after = state.seq;
        match options.from {
            TapFrom::Now => {}
            TapFrom::Snapshot => image = Some(state.image()),
            TapFrom::Cursor(from) => began_after = from,
            TapFrom::Journal => began_after = state.journal.begin(),
        }
        if began_after != state.seq {
            since = Some(state.journal.after(began_after, state.seq)?);
        }
        // Others are offered what was before it.
        let mut after = Aftermath::default();
        state.offer(&mut after);
        let bounds = Bounds { events: events_max as u64, bytes: bytes_max as u64 };
        let id = state.next_tap;
        state.next_tap += 1;
        let mut follower = state.taps.attach(id, options.filter, bounds);
        self.wanted.store(state.taps.wanted(), Ordering::Release);
        drop(state);
        after.carry_out(&self.spare);
        // Events and rows are picked, and these sorted, while others publish.
        follower.fill(since.iter().flat_map(Since::iter));
        let snapshot = image.map(|image| image.for_tap(follower.log().filter()));
        let lease = self.leases.grant(LeaseKind::Tap);
        let hub = Arc::downgrade(self);
        Ok(Tap { snapshot, follower, hub, slept: false, began_after, _lease: lease })
    }

    /// The number that a tap can go on from, if its reader took everything that was published.
    pub(super) fn caught_up(&self, follower: &Follower) -> Option<u64> {
        let mut after = Aftermath::default();
        let mut state = self.state.lock();
        state.offer(&mut after);
        let seq = (!state.closed && !follower.has_more()).then_some(state.seq);
        drop(state);
        after.carry_out(&self.spare);
        seq
    }

    /// Goes on behind a gap that began at `from`: see [`Tap::regain`]. Where the journal does not reach it, also
    /// with the tree as it is now.
    pub(super) fn regain(
        &self,
        follower: &mut Follower,
        from: u64,
    ) -> (Regained, Option<Arc<TreeSnapshot>>) {
        let mut after = Aftermath::default();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.offer(&mut after);
        let (begin, cursor) = (state.journal.begin(), from.saturating_sub(1));
        let complete = begin <= cursor;
        // A number that is still to come has nothing behind it.
        let since = state.journal.after(cursor.clamp(begin, state.seq), state.seq).ok();
        let lost = follower.take_over();
        let image = (!complete).then(|| state.image());
        drop(guard);
        after.carry_out(&self.spare);
        // Events and rows are picked while others publish.
        let events = follower.put_in(since.iter().flat_map(Since::iter));
        let snapshot = image.map(|image| image.for_tap(follower.log().filter()));
        (Regained { events, lost, complete }, snapshot)
    }

    /// The sequence number of the last fact.
    pub fn seq(&self) -> u64 {
        self.state.lock().seq
    }

    /// The names of the live taps, for the audit.
    pub fn owners(&self) -> Vec<String> {
        self.state.lock().taps.ids().into_iter().map(|id| format!("tap {id}")).collect()
    }

    /// Whether the runtime has ended, and every tap with it.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Ends every tap: readers get what waits, then the end.
    pub fn close(&self) {
        let mut after = Aftermath::default();
        let mut state = self.state.lock();
        state.closed = true;
        state.offer(&mut after);
        state.taps.close(&mut after);
        drop(state);
        after.carry_out(&self.spare);
    }

    pub(super) fn forget(&self, follower: &Follower) {
        let mut state = self.state.lock();
        state.taps.detach(follower);
        if state.taps.is_empty() {
            state.open.clear();
        }
        self.wanted.store(state.taps.wanted(), Ordering::Release);
    }
}

impl Drop for TapHub {
    /// Taps end with the hub, whatever became of the runtime.
    fn drop(&mut self) {
        self.close();
    }
}

/// The tree at one event. Its rows are picked and sorted while others publish.
struct Pictured {
    image: Image,
    seq: u64,
    ailing: Option<Arc<AilingStore>>,
    concerns: Arc<Concerns>,
}

impl Pictured {
    /// What of it a tap with this filter is shown.
    fn for_tap(self, filter: &TapFilter) -> Arc<TreeSnapshot> {
        let ailing = self.ailing.filter(|_| filter.covers_runtime());
        let rows = |thread, lineage: &Lineage| filter.covers(thread, lineage);
        let concerns = concerns_of(&self.image, &self.concerns, |thread, lineage| {
            thread.map_or_else(|| filter.covers_runtime(), |thread| rows(thread, lineage))
        });
        let snapshot = snapshot_of(&self.image, self.seq, rows);
        Arc::new(snapshot.with_ailing(ailing).with_concerns(concerns))
    }
}

impl HubState {
    fn image(&self) -> Pictured {
        let (image, ailing) = (self.tree.image(), self.tree.ailing().cloned());
        Pictured { image, seq: self.seq, ailing, concerns: self.tree.image_of_concerns().clone() }
    }

    /// The time of the next event. Clocks are read before the lock is taken: no event is older than the one
    /// before it.
    fn time(&mut self, now: u64) -> u64 {
        self.at_ms = self.at_ms.max(now);
        self.at_ms
    }

    /// Hands out the records of a run, in portions.
    fn tell_records(&mut self, mut run: Run, after: &mut Aftermath) {
        if self.taps.is_empty() {
            return;
        }
        loop {
            let rest = run.split_off(self.open.room());
            self.taps.tell(&Seen::record(&run.about), self.open.len(), run.classes.len(), after);
            self.open.push_run(run);
            self.offer_if_full(after);
            match rest {
                Some(rest) => run = rest,
                None => break,
            }
        }
    }

    /// Puts the last event of the journal into the open portion, if there is a tap.
    fn put_last_of_journal(&mut self, bytes: usize, after: &mut Aftermath) {
        if self.taps.is_empty() {
            self.journal.seal_if_full();
        } else {
            self.open.push_last_of(&self.journal, bytes);
            self.offer_if_full(after);
        }
    }

    /// Offers the taps a portion, when it is full. Who waits for an event of it was told to ask.
    fn offer_if_full(&mut self, after: &mut Aftermath) {
        if self.open.is_full() {
            self.offer(after);
        }
    }

    /// What is next for a tap that took all that was offered.
    fn next(&mut self, follower: &mut Follower, after: &mut Aftermath) -> Option<Found> {
        if !follower.has_more() {
            return None;
        }
        self.offer(after);
        follower.find()
    }

    /// Offers the taps what is new. After this nothing is.
    fn offer(&mut self, after: &mut Aftermath) {
        if let Some(portion) = self.open.close(&self.spare, &mut self.journal) {
            self.taps.offer(&portion, after);
        }
    }
}

impl fmt::Debug for TapHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapHub").field("seq", &self.seq()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
