//! The ring of one tap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use coppicer_messages::{Event, Fact, ThreadEvent};
use parking_lot::Mutex;

use super::journal::Published;
use super::{TapCounts, TapFilter, TapItem};

/// What waits for one reader. The oldest go first; one gap, always in front of what waits, says
/// which are missing.
pub(super) struct Ring {
    id: u64,
    filter: TapFilter,
    events_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What a cursor asked for, from the journal. In front of the gap, and never lost.
    backlog: VecDeque<Arc<Event>>,
    waiting: VecDeque<(Arc<Event>, usize)>,
    /// Of what waits, without the backlog.
    bytes: usize,
    gap: Option<Gap>,
    counts: TapCounts,
    /// Deltas that passed all but the sampling.
    deltas: u64,
    reader: Option<Waker>,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Gap {
    from: u64,
    to: u64,
    count: u64,
}

impl Ring {
    pub(super) fn new(id: u64, filter: TapFilter, events_max: usize, bytes_max: usize) -> Self {
        Self { id, filter, events_max, bytes_max, state: Mutex::default() }
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) const fn filter(&self) -> &TapFilter {
        &self.filter
    }

    /// Puts in what a cursor asked for. Before the ring is offered anything.
    pub(super) fn fill<'p>(&self, published: impl Iterator<Item = &'p Published>) {
        let mut state = self.state.lock();
        for Published { event, lineage, .. } in published {
            state.counts.emitted += 1;
            if self.filter.passes(event, lineage) {
                state.backlog.push_back(event.clone());
            } else {
                state.counts.filtered += 1;
            }
        }
    }

    /// Takes in what its filter lets pass. Whether somebody who waited was woken.
    pub(super) fn offer(&self, published: &[Published]) -> bool {
        let mut state = self.state.lock();
        let news = state.counts.lost + state.waiting.len() as u64;
        for published in published {
            self.take_in(&mut state, published);
        }
        let woken = state.counts.lost + state.waiting.len() as u64 != news;
        if woken && let Some(reader) = state.reader.take() {
            drop(state);
            reader.wake();
            return true;
        }
        false
    }

    fn take_in(&self, state: &mut State, Published { event, lineage, bytes }: &Published) {
        state.counts.emitted += 1;
        if !self.filter.passes(event, lineage) || state.skips(event, &self.filter) {
            state.counts.filtered += 1;
            return;
        }
        while state.waiting.len() >= self.events_max || state.bytes + bytes > self.bytes_max {
            let Some((oldest, bytes)) = state.waiting.pop_front() else {
                // Larger than all that may wait.
                return state.lose(event.seq);
            };
            state.bytes -= bytes;
            state.lose(oldest.seq);
        }
        state.bytes += bytes;
        state.waiting.push_back((event.clone(), *bytes));
    }

    pub(super) fn take(&self) -> Option<TapItem> {
        self.state.lock().take()
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<TapItem>> {
        let mut state = self.state.lock();
        if let Some(item) = state.take() {
            return Poll::Ready(Some(item));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        if let Some(reader) = state.reader.take() {
            drop(state);
            reader.wake();
        }
    }

    pub(super) fn counts(&self) -> TapCounts {
        let state = self.state.lock();
        let waiting = (state.backlog.len() + state.waiting.len()) as u64;
        TapCounts { waiting, ..state.counts }
    }
}

impl State {
    /// Whether sampling leaves an event out: all deltas but every n-th.
    fn skips(&mut self, event: &Event, filter: &TapFilter) -> bool {
        let every = u64::from(filter.delta_sample.get());
        if every == 1 || !matches!(event.fact, Fact::Thread(ThreadEvent::Delta { .. })) {
            return false;
        }
        self.deltas += 1;
        self.deltas % every != 1
    }

    fn lose(&mut self, seq: u64) {
        self.counts.lost += 1;
        let gap = self.gap.get_or_insert(Gap { from: seq, to: seq, count: 0 });
        gap.to = seq;
        gap.count += 1;
    }

    fn take(&mut self) -> Option<TapItem> {
        if let Some(event) = self.backlog.pop_front() {
            if self.backlog.is_empty() {
                self.backlog = VecDeque::new();
            }
            self.counts.delivered += 1;
            return Some(TapItem::Event(event));
        }
        if let Some(Gap { from, to, count }) = self.gap.take() {
            return Some(TapItem::Lagged { from, to, count });
        }
        let (event, bytes) = self.waiting.pop_front()?;
        self.bytes -= bytes;
        self.counts.delivered += 1;
        Some(TapItem::Event(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::taps::journal::tests::published;

    fn items(ring: &Ring) -> Vec<(u64, u64)> {
        let item = |item| match item {
            TapItem::Event(event) => (event.seq, event.seq),
            TapItem::Lagged { from, to, .. } => (from, to),
            other @ TapItem::Snapshot(_) => panic!("{other:?}"),
        };
        std::iter::from_fn(|| ring.take()).map(item).collect()
    }

    fn ring(events_max: usize, bytes_max: usize) -> Ring {
        Ring::new(1, TapFilter::all(), events_max, bytes_max)
    }

    #[test]
    fn the_oldest_go_when_their_bytes_are_needed() {
        let ring = ring(100, 100);
        for (seq, bytes) in [(1, 40), (2, 40), (3, 10), (4, 50)] {
            ring.offer(&[published(seq, bytes)]);
        }
        assert_eq!(ring.state.lock().bytes, 100);
        ring.offer(&[published(5, 1)]);
        assert_eq!(items(&ring), [(1, 2), (3, 3), (4, 4), (5, 5)]);
        assert_eq!(ring.state.lock().bytes, 0);
        let counts = ring.counts();
        assert_eq!((counts.emitted, counts.delivered, counts.lost), (5, 3, 2));
    }

    #[test]
    fn an_event_that_is_larger_than_the_ring_is_a_gap() {
        let ring = ring(100, 100);
        for (seq, bytes) in [(1, 40), (2, 101), (3, 100)] {
            ring.offer(&[published(seq, bytes)]);
        }
        assert_eq!(items(&ring), [(1, 2), (3, 3)]);
        ring.offer(&[published(4, 101)]);
        assert_eq!(items(&ring), [(4, 4)], "a reader is told, though nothing waits");
        assert_eq!(ring.counts().lost, 3);
    }

    #[test]
    fn what_a_cursor_asked_for_is_in_front_of_the_gap_and_never_lost() {
        let ring = ring(2, 100);
        let journal = [published(1, 90), published(2, 90), published(3, 90)];
        ring.fill(journal.iter());
        for seq in 4..=9 {
            ring.offer(&[published(seq, 10)]);
        }
        assert_eq!(ring.counts().waiting, 5);
        assert_eq!(items(&ring), [(1, 1), (2, 2), (3, 3), (4, 7), (8, 8), (9, 9)]);
        let counts = ring.counts();
        assert_eq!((counts.emitted, counts.delivered, counts.lost), (9, 5, 4));
    }
}
