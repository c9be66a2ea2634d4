//! The ring of one tap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use coppicer_messages::Event;
use parking_lot::Mutex;

use super::{TapCounts, TapFilter, TapItem};
use crate::lineage::Lineage;

/// What waits for one reader. The oldest go first; one gap, always in front of what waits, says
/// which are missing.
pub(super) struct Ring {
    id: u64,
    filter: TapFilter,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Event>>,
    gap: Option<Gap>,
    counts: TapCounts,
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
    pub(super) fn new(id: u64, filter: TapFilter, capacity: usize) -> Self {
        Self { id, filter, capacity, state: Mutex::default() }
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) const fn kinds(&self) -> u32 {
        self.filter.kinds
    }

    pub(super) fn offer(&self, event: &Arc<Event>, lineage: &Lineage) {
        let passes = self.filter.passes(event, lineage);
        let mut state = self.state.lock();
        state.counts.emitted += 1;
        if !passes {
            state.counts.filtered += 1;
            return;
        }
        if state.waiting.len() == self.capacity
            && let Some(oldest) = state.waiting.pop_front()
        {
            state.counts.lost += 1;
            let seq = oldest.seq;
            let gap = state.gap.get_or_insert(Gap { from: seq, to: seq, count: 0 });
            gap.to = seq;
            gap.count += 1;
        }
        state.waiting.push_back(event.clone());
        if let Some(reader) = state.reader.take() {
            drop(state);
            reader.wake();
        }
    }

    pub(super) fn take(&self) -> Option<TapItem> {
        Self::take_from(&mut self.state.lock())
    }

    fn take_from(state: &mut State) -> Option<TapItem> {
        if let Some(Gap { from, to, count }) = state.gap.take() {
            return Some(TapItem::Lagged { from, to, count });
        }
        let event = state.waiting.pop_front()?;
        state.counts.delivered += 1;
        Some(TapItem::Event(event))
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<TapItem>> {
        let mut state = self.state.lock();
        if let Some(item) = Self::take_from(&mut state) {
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
        TapCounts { waiting: state.waiting.len() as u64, ..state.counts }
    }
}
