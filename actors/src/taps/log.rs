//! What passed one filter, for all taps that have it: portions in order, and how far each tap is.
//!
//! Publishing touches no tap: it adds a portion, and lets go of those that are outside of the bounds of
//! all taps or that all have taken. What a tap lost follows from how far it is, and its reader finds out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use super::TapFilter;
use super::journal::Block;
use super::marks::Fresh;
use super::portion::{self, Portion, Spare};

/// What waits for a tap at most: the newest events that are within both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

/// The events that passed a filter, by their place from 0 on.
pub(super) struct Log {
    filter: TapFilter,
    pub(super) state: Mutex<State>,
    ends: Apart<Ends>,
    goes_on: GoesOn,
}

/// How readers see without a lock that something was published for them and not offered yet.
enum GoesOn {
    /// Something of these kinds was.
    ByKind(Arc<Fresh>, u32),
    /// Where the log will end once all is offered.
    Until(Apart<AtomicU64>),
}

/// Where a log ends, for readers that look without the lock: each time that they take an event.
#[derive(Default)]
struct Ends {
    events: AtomicU64,
    bytes: AtomicU64,
}

/// In lines of the cache of its own: others are written for each event that is published.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

#[derive(Default)]
pub(super) struct State {
    kept: VecDeque<Kept>,
    /// Events that were emitted, and those that passed, with their bytes.
    pub(super) emitted: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// The number of the last event of the portions that it let go.
    last_gone: u64,
    /// The largest bounds of any tap.
    keep: Bounds,
    followers: Vec<Following>,
    pub(super) closed: bool,
}

/// A portion, with its place and the bytes before it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) portion: Arc<Portion>,
    pub(super) first: u64,
    /// The place behind its last event.
    pub(super) end: u64,
    pub(super) bytes: u64,
}

/// A tap.
struct Following {
    id: u64,
    bounds: Bounds,
    /// The place of the first event that its reader did not take over.
    next: u64,
    /// The number of that event, if it is gone.
    lost_from: Option<u64>,
    reader: Option<Waker>,
}

/// What is left to be done when nothing is locked any more: readers to wake, portions to free.
#[derive(Default)]
pub(super) struct Aftermath {
    pub(super) readers: Vec<Waker>,
    gone: Vec<Kept>,
    /// What fell out of the journal.
    pub(super) forgotten: Vec<Arc<Block>>,
}

impl Aftermath {
    /// Wakes, and frees what nobody has any more.
    #[inline]
    pub(super) fn carry_out(self, spare: &Spare) {
        // So it is mostly.
        if !(self.readers.is_empty() && self.gone.is_empty() && self.forgotten.is_empty()) {
            self.carry_out_all(spare);
        }
    }

    fn carry_out_all(self, spare: &Spare) {
        for reader in self.readers {
            reader.wake();
        }
        for Kept { portion, .. } in self.gone {
            spare.give(portion);
        }
    }
}

impl Kept {
    pub(super) fn has(&self, place: u64) -> bool {
        (self.first..self.end).contains(&place)
    }

    pub(super) fn seq(&self, place: u64) -> u64 {
        self.portion.seq((place - self.first) as usize)
    }

    /// Bytes before a place.
    pub(super) fn bytes_before(&self, place: u64) -> u64 {
        self.bytes + self.portion.bytes(0..(place - self.first) as usize) as u64
    }

    /// The first place, also that of the end, with so many bytes before it.
    pub(super) fn place_behind(&self, bytes: u64) -> u64 {
        self.first + self.portion.events_of(0, bytes.saturating_sub(self.bytes) as usize) as u64
    }
}

impl Log {
    pub(super) fn new(filter: TapFilter, fresh: &Arc<Fresh>) -> Self {
        let goes_on = if filter.asks_kinds_alone() {
            GoesOn::ByKind(fresh.clone(), filter.wanted())
        } else {
            GoesOn::Until(Apart::default())
        };
        let (state, ends) = (Mutex::default(), Apart::default());
        Self { filter, state, ends, goes_on }
    }

    pub(super) const fn filter(&self) -> &TapFilter {
        &self.filter
    }

    /// Takes in what passed of so many events that were emitted.
    pub(super) fn push(&self, emitted: usize, part: Option<Arc<Portion>>, after: &mut Aftermath) {
        let mut state = self.state.lock();
        state.emitted += emitted as u64;
        let Some(part) = part else { return };
        let (first, bytes) = (state.events, state.bytes);
        state.events += part.len() as u64;
        state.bytes += part.bytes(0..part.len()) as u64;
        let end = state.events;
        state.kept.push_back(Kept { portion: part, first, end, bytes });
        self.ends.0.events.store(state.events, Ordering::Release);
        self.ends.0.bytes.store(state.bytes, Ordering::Release);
        state.let_go(after);
    }

    /// So many events passed, those that are not pushed yet included. Of a filter that asks kinds alone
    /// nobody need say so.
    pub(super) fn expect(&self, passed: u64) {
        if let GoesOn::Until(until) = &self.goes_on {
            until.0.store(passed, Ordering::Release);
        }
    }

    /// Whether anything passed behind this place. It may have gone to another log of the same kinds.
    pub(super) fn goes_on_behind(&self, place: u64) -> bool {
        let fresh = match &self.goes_on {
            // Before the end: what is not fresh any more was pushed.
            GoesOn::ByKind(fresh, kinds) => fresh.has(*kinds),
            GoesOn::Until(until) => until.0.load(Ordering::Acquire) > place,
        };
        fresh || self.ends.0.events.load(Ordering::Acquire) > place
    }

    /// Whether a tap that is at this place, with so many bytes before it, could lose it to events that
    /// were not pushed yet.
    pub(super) fn is_near_full(&self, place: u64, bytes_before: u64, bounds: Bounds) -> bool {
        let events = self.ends.0.events.load(Ordering::Acquire) + portion::EVENTS_MAX as u64;
        let bytes = self.ends.0.bytes.load(Ordering::Acquire) + portion::BYTES_MAX as u64;
        // A reader may be ahead, by no more than what is not pushed yet.
        events.saturating_sub(place) > bounds.events
            || bytes.saturating_sub(bytes_before) > bounds.bytes
    }

    /// A tap follows from the end on: that place, and how many events were emitted before.
    pub(super) fn attach(&self, id: u64, bounds: Bounds) -> (u64, u64) {
        let mut state = self.state.lock();
        let next = state.events;
        state.followers.push(Following { id, bounds, next, lost_from: None, reader: None });
        state.widen();
        (next, state.emitted)
    }

    /// A tap follows no more. Whether its reader waits.
    pub(super) fn detach(&self, id: u64) -> Option<bool> {
        let mut state = self.state.lock();
        let at = state.followers.iter().position(|following| following.id == id)?;
        let gone = state.followers.swap_remove(at);
        state.widen();
        let mut after = Aftermath::default();
        state.let_go(&mut after);
        drop(state);
        Some(gone.reader.is_some())
    }

    pub(super) fn has_followers(&self) -> bool {
        !self.state.lock().followers.is_empty()
    }

    /// The ids of the taps.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.state.lock().followers.iter().map(|following| following.id).collect()
    }

    /// Wakes all whose readers wait.
    pub(super) fn wake(&self, after: &mut Aftermath) {
        let mut state = self.state.lock();
        after.readers.extend(state.followers.iter_mut().filter_map(|one| one.reader.take()));
    }

    /// Nothing comes any more.
    pub(super) fn close(&self, after: &mut Aftermath) {
        self.state.lock().closed = true;
        self.wake(after);
    }
}

impl State {
    fn widen(&mut self) {
        let wider = |keep: Bounds, one: &Following| Bounds {
            events: keep.events.max(one.bounds.events),
            bytes: keep.bytes.max(one.bounds.bytes),
        };
        self.keep = self.followers.iter().fold(Bounds::default(), wider);
    }

    /// Lets go of what no tap has any more: all took it over, or it is outside of the largest bounds.
    fn let_go(&mut self, after: &mut Aftermath) {
        let taken = self.followers.iter().map(|following| following.next).min();
        let behind = self.start(self.keep, None).max(taken.unwrap_or(u64::MAX));
        while let Some(oldest) = self.kept.front().filter(|kept| kept.end <= behind) {
            for following in &mut self.followers {
                if oldest.has(following.next) {
                    following.lost_from.get_or_insert_with(|| oldest.seq(following.next));
                    following.next = oldest.end;
                }
            }
            self.last_gone = oldest.portion.last_seq();
            after.gone.extend(self.kept.pop_front());
        }
    }

    /// The first place that is within these bounds, of a reader with this in its hand.
    pub(super) fn start(&self, bounds: Bounds, hand: Option<&Kept>) -> u64 {
        let by_events = self.events.saturating_sub(bounds.events);
        let bytes = self.bytes.saturating_sub(bounds.bytes);
        let here = || self.kept.front().map_or(self.events, |kept| kept.first);
        let by_bytes = match hand {
            Some(hand) if bytes <= hand.bytes_before(hand.end) => hand.place_behind(bytes),
            _ => match self.kept.partition_point(|kept| kept.bytes < bytes) {
                0 => here(),
                behind => self.kept[behind - 1].place_behind(bytes),
            },
        };
        by_events.max(by_bytes)
    }

    /// The number of the event before a place, for a reader with this in its hand.
    pub(super) fn seq_before(&self, place: u64, hand: Option<&Kept>) -> u64 {
        let before = place - 1;
        let kept = hand.filter(|hand| hand.has(before)).or_else(|| self.find(before));
        kept.map_or(self.last_gone, |kept| kept.seq(before))
    }

    pub(super) fn find(&self, place: u64) -> Option<&Kept> {
        let behind = self.kept.partition_point(|kept| kept.first <= place);
        self.kept.get(behind.checked_sub(1)?).filter(|kept| kept.has(place))
    }

    /// The number of the first event that a tap lost, if that is gone.
    pub(super) fn lost_from(&self, id: u64) -> Option<u64> {
        self.followers.iter().find(|following| following.id == id)?.lost_from
    }

    /// The reader of a tap took over all before this place.
    pub(super) fn took_over(&mut self, id: u64, next: u64, after: &mut Aftermath) {
        if let Some(following) = self.followers.iter_mut().find(|following| following.id == id) {
            following.next = next;
            following.lost_from = None;
        }
        self.let_go(after);
    }

    /// Where the portions end that it has.
    #[cfg(test)]
    pub(super) fn kept_ends(&self) -> Vec<u64> {
        self.kept.iter().map(|kept| kept.end).collect()
    }

    /// Wakes this reader at the next event. Whether it waited already.
    pub(super) fn wait(&mut self, id: u64, reader: &Waker) -> bool {
        let following = self.followers.iter_mut().find(|following| following.id == id);
        following.is_some_and(|one| one.reader.replace(reader.clone()).is_some())
    }
}
