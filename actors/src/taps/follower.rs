//! How far one tap is in the log of its filter.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;

use coppicer_messages::Event;

use super::filter::Seen;
use super::journal::Published;
use super::log::{Aftermath, Bounds, Kept, Log};
use super::portion::{self, Open};
use super::{TapCounts, TapItem};

/// One tap in the log of its filter: a place, and what its reader took over.
///
/// What waits is within its bounds to the event. The oldest go first; a gap in front of what waits says
/// which are missing. Memory is let go of by portions, of which a reader holds one at most.
pub(super) struct Follower {
    id: u64,
    bounds: Bounds,
    log: Arc<Log>,
    /// What a cursor asked for, from the journal. In front of the gap, and never lost.
    backlog: VecDeque<Arc<Event>>,
    /// The place of the next event.
    next: u64,
    /// The portion with the next event: its reader takes those of it without a lock.
    hand: Option<Kept>,
    /// What it had, and what was emitted before it.
    counts: TapCounts,
    emitted_before: u64,
    /// Where it began.
    from: u64,
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
                self.backlog.push_back(event.clone());
            } else {
                self.counts.filtered += 1;
            }
        }
    }

    /// The next item, unless something that was not offered yet could push it out, or there is nothing
    /// in the hand.
    pub(super) fn take_at_hand(&mut self) -> Option<TapItem> {
        if let Some(event) = self.backlog.pop_front() {
            if self.backlog.is_empty() {
                self.backlog = VecDeque::new();
            }
            self.counts.delivered += 1;
            return Some(TapItem::Event(event));
        }
        let hand = self.hand.as_ref()?;
        if self.log.is_near_full(self.next, hand.bytes_before(self.next), self.bounds) {
            return None;
        }
        self.take_from_hand()
    }

    fn take_from_hand(&mut self) -> Option<TapItem> {
        let hand = self.hand.as_ref()?;
        let event = hand.event(self.next);
        self.next += 1;
        self.counts.delivered += 1;
        if self.next == hand.end() {
            self.hand = None;
        }
        Some(TapItem::Event(event))
    }

    /// Whether something that was not offered yet could push out what waits.
    pub(super) fn is_near_full(&self) -> bool {
        let state = self.log.state.lock();
        let hand = self.hand.as_ref().or_else(|| state.find(self.next));
        match hand.map(|hand| hand.bytes_before(self.next)) {
            Some(before) => self.log.is_near_full(self.next, before, self.bounds),
            None => state.events > self.next,
        }
    }

    /// The next item of what was offered.
    pub(super) fn take(&mut self) -> Option<TapItem> {
        if !self.backlog.is_empty() {
            return self.take_at_hand();
        }
        let mut after = Aftermath::default();
        let log = self.log.clone();
        let mut state = log.state.lock();
        let start = state.start(self.bounds, self.hand.as_ref());
        let (mut gap, mut old) = (None, None);
        if self.next < start {
            let from = match &self.hand {
                Some(hand) => Some(hand.seq(self.next)),
                None => state
                    .lost_from(self.id)
                    .or_else(|| state.find(self.next).map(|kept| kept.seq(self.next))),
            };
            let to = state.seq_before(start, self.hand.as_ref());
            let count = start - self.next;
            gap = Some(TapItem::Lagged { from: from.unwrap_or(to), to, count });
            self.counts.lost += count;
            self.next = start;
            old = self.hand.take_if(|hand| !hand.has(start));
        }
        if self.hand.is_none() {
            self.hand = state.find(self.next).cloned();
            let next = self.hand.as_ref().map_or(self.next, Kept::end);
            state.took_over(self.id, next, &mut after);
        }
        drop(state);
        drop((old, after)); // unlocked: it may be the last to have them
        gap.or_else(|| self.take_from_hand())
    }

    /// Whether there is anything for its reader, offered or not, or the log may have ended: looks without
    /// a lock.
    pub(super) fn has_more(&self) -> bool {
        !self.backlog.is_empty() || self.log.goes_on_behind(self.next)
    }

    /// Whether it may take events that were not offered yet: those that wait there push nothing out.
    pub(super) fn may_go_ahead(&self) -> bool {
        self.bounds.events >= portion::EVENTS_MAX as u64
            && self.bounds.bytes >= portion::BYTES_MAX as u64
    }

    /// The next event, if all that was offered is taken, of those that were not offered yet; those behind
    /// it come into the hand. `passing`: which of them are for this tap. Nobody may offer meanwhile.
    pub(super) fn take_ahead(
        &mut self,
        open: &Open,
        passing: u64,
        after: &mut Aftermath,
    ) -> Option<TapItem> {
        let mut state = self.log.state.lock();
        let ahead = self.next.checked_sub(state.events)?;
        let mut left = passing;
        for _ in 0..ahead {
            left &= left.checked_sub(1)?;
        }
        let portion = Arc::new(open.part(left)?);
        let bytes = state.bytes + open.bytes_of(passing & !left) as u64;
        let hand = Kept { portion, first: self.next, bytes };
        state.took_over(self.id, hand.end(), after);
        drop(state);
        self.hand = Some(hand);
        self.take_from_hand()
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
        let start = state.start(self.bounds, self.hand.as_ref()).max(self.next);
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
