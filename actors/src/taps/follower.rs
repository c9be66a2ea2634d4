//! How far one tap is in the log of its filter.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;

use super::filter::Seen;
use super::journal::Published;
use super::log::{Aftermath, Bounds, Kept, Log};
use super::portion::EVENTS_MAX;
use super::{TapCounts, TapEvent, TapEvents};

/// One tap in the log of its filter: a place, and what its reader took over.
///
/// What waits is within its bounds to the event. The oldest go first; a gap in front of what waits says
/// which are missing. Memory is let go of by portions, of which a reader holds one at most.
pub(super) struct Follower {
    id: u64,
    bounds: Bounds,
    log: Arc<Log>,
    /// What a cursor asked for, from the journal. In front of the gap, and never lost.
    backlog: VecDeque<TapEvent>,
    /// The place of the next event.
    next: u64,
    /// The portion with the next event: its reader takes those of it without a lock.
    hand: Option<Arc<Kept>>,
    /// What it had, and what was emitted before it.
    counts: TapCounts,
    emitted_before: u64,
    /// Where it began.
    from: u64,
}

/// What a reader has next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The tree, with which it begins.
    Snapshot,
    /// Events that it can take.
    AtHand,
    /// Those of these numbers are lost.
    Gap { from: u64, to: u64, count: u64 },
}

/// What there is for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    Something,
    /// It is woken when there is. `already`: that it was to be.
    Waits {
        already: bool,
    },
    Ended,
}

impl Follower {
    /// Follows from the end of the log on.
    pub(super) fn attach(id: u64, bounds: Bounds, log: Arc<Log>) -> Self {
        let (next, emitted_before) = log.attach(id, bounds);
        let counts = TapCounts::default();
        let (backlog, hand) = (VecDeque::new(), None);
        Self { id, bounds, log, backlog, next, hand, counts, emitted_before, from: next }
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) const fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Puts in what a cursor asked for.
    pub(super) fn fill<'p>(&mut self, published: impl Iterator<Item = &'p Published>) {
        for Published { event, lineage, .. } in published {
            self.counts.emitted += 1;
            if self.log.filter().passes(&Seen::of(event, lineage)) {
                self.backlog.push_back(event.clone().into());
            } else {
                self.counts.filtered += 1;
            }
        }
    }

    /// Whether events are at hand that nothing which was not offered yet could push out.
    #[inline]
    pub(super) fn is_at_hand(&self) -> bool {
        if !self.backlog.is_empty() {
            return true;
        }
        let Some(hand) = &self.hand else { return false };
        let is_near_full = |bytes| self.log.is_near_full(self.next, bytes, self.bounds);
        // What is in the hand is looked at only if all of it is too much.
        !(is_near_full(hand.bytes) && is_near_full(hand.bytes_before(self.next)))
    }

    /// The next of the events at hand.
    #[inline]
    pub(super) fn take_event(&mut self) -> Option<TapEvent> {
        if !self.backlog.is_empty() {
            return self.take_from_backlog();
        }
        let place = self.next;
        let is_last = place + 1 == self.hand.as_ref()?.end;
        let hand = if is_last { self.hand.take() } else { self.hand.clone() }?;
        self.next += 1;
        self.counts.delivered += 1;
        Some(TapEvent::in_hand(hand, place))
    }

    fn take_from_backlog(&mut self) -> Option<TapEvent> {
        let event = self.backlog.pop_front()?;
        if self.backlog.is_empty() {
            self.backlog = VecDeque::new();
        }
        self.counts.delivered += 1;
        Some(event)
    }

    /// All events at hand, up to as many as a portion has.
    pub(super) fn take_events(&mut self) -> Option<TapEvents> {
        let events = if self.backlog.is_empty() {
            let hand = self.hand.take()?;
            let from = std::mem::replace(&mut self.next, hand.end);
            TapEvents::in_hand(hand, from)
        } else if self.backlog.len() <= EVENTS_MAX {
            TapEvents::alone(std::mem::take(&mut self.backlog))
        } else {
            TapEvents::alone(self.backlog.drain(..EVENTS_MAX).collect())
        };
        self.counts.delivered += events.len() as u64;
        Some(events)
    }

    /// Whether something that was not offered yet could push out what waits.
    pub(super) fn is_near_full(&self) -> bool {
        let state = self.log.state.lock();
        let hand = self.hand.as_deref().or_else(|| state.find(self.next));
        match hand.map(|hand| hand.bytes_before(self.next)) {
            Some(before) => self.log.is_near_full(self.next, before, self.bounds),
            None => state.events > self.next,
        }
    }

    /// What is next of what was offered. What is at hand then is within the bounds.
    pub(super) fn find(&mut self) -> Option<Found> {
        if !self.backlog.is_empty() {
            return Some(Found::AtHand);
        }
        let mut after = Aftermath::default();
        let log = self.log.clone();
        let mut state = log.state.lock();
        let start = state.start(self.bounds, self.hand.as_deref());
        let (mut gap, mut old) = (None, None);
        if self.next < start {
            let from = match &self.hand {
                Some(hand) => Some(hand.seq(self.next)),
                None => state
                    .lost_from(self.id)
                    .or_else(|| state.find(self.next).map(|kept| kept.seq(self.next))),
            };
            let to = state.seq_before(start, self.hand.as_deref());
            let count = start - self.next;
            gap = Some(Found::Gap { from: from.unwrap_or(to), to, count });
            self.counts.lost += count;
            self.next = start;
            old = self.hand.take_if(|hand| !hand.has(start));
        }
        if self.hand.is_none() {
            self.hand = state.find(self.next).cloned().map(Arc::new);
            let next = self.hand.as_ref().map_or(self.next, |hand| hand.end);
            state.took_over(self.id, next, &mut after);
        }
        drop(state);
        drop((old, after)); // unlocked: it may be the last to have them
        gap.or_else(|| self.hand.is_some().then_some(Found::AtHand))
    }

    /// Takes what waits out of the log: none of it is lost any more. How many were lost until now.
    pub(super) fn take_over(&mut self) -> u64 {
        let lost_before = self.counts.lost;
        let mut waiting = VecDeque::new();
        while let Some(found) = self.find() {
            if found == Found::AtHand
                && let Some(events) = self.take_events()
            {
                self.counts.delivered -= events.len() as u64;
                waiting.extend(events);
            }
        }
        self.backlog = waiting;
        self.counts.lost - lost_before
    }

    /// Puts in what the journal has of `published` and was not taken over, in one order. How many that is.
    pub(super) fn put_in<'p>(&mut self, published: impl Iterator<Item = &'p Published>) -> u64 {
        let mut waiting = std::mem::take(&mut self.backlog);
        let mut regained = 0;
        for Published { event, lineage, .. } in published {
            while waiting.front().is_some_and(|waits| waits.seq < event.seq) {
                self.backlog.extend(waiting.pop_front());
            }
            let is_there = waiting.front().is_some_and(|waits| waits.seq == event.seq);
            if !is_there && self.log.filter().passes(&Seen::of(event, lineage)) {
                self.backlog.push_back(event.clone().into());
                regained += 1;
            }
        }
        self.backlog.append(&mut waiting);
        self.counts.emitted += regained;
        regained
    }

    /// Whether there is anything for its reader, offered or not, or the log may have ended: looks without
    /// a lock.
    pub(super) fn has_more(&self) -> bool {
        !self.backlog.is_empty() || self.log.goes_on_behind(self.next)
    }

    /// What there is for its reader, who is woken if there is nothing.
    pub(super) fn outlook(&self, cx: &Context<'_>) -> Outlook {
        let mut state = self.log.state.lock();
        if state.events > self.next || !self.backlog.is_empty() {
            Outlook::Something
        } else if state.closed {
            Outlook::Ended
        } else {
            Outlook::Waits { already: state.wait(self.id, cx.waker()) }
        }
    }

    /// Its counts, of what was offered.
    pub(super) fn counts(&self) -> TapCounts {
        let state = self.log.state.lock();
        let (emitted, passed) = (state.emitted - self.emitted_before, state.events - self.from);
        let start = state.start(self.bounds, self.hand.as_deref()).max(self.next);
        let mut counts = self.counts;
        counts.emitted += emitted;
        counts.filtered += emitted - passed;
        counts.lost += start - self.next;
        counts.waiting = state.events - start + self.backlog.len() as u64;
        counts
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
