//! Which of the events that were not offered yet are of which kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use coppicer_messages::EventKind;

use super::TapFilter;
use super::filter::Seen;

const KINDS: usize = EventKind::ALL.len();

/// A bit for each event and kind: what passes a filter that asks for no more follows from that when the
/// events are offered, so that publishing looks at no such filter.
#[derive(Debug, Default)]
pub(super) struct Marks {
    kinds: [u64; KINDS],
    lifecycle: u64,
    fresh: Arc<Fresh>,
}

/// The kinds of the events that were not offered yet, for readers that look without a lock. In lines of
/// the cache of its own; written when one comes that was not there, and when all are offered.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Fresh(AtomicU32);

impl Fresh {
    /// Whether there is one of these kinds. Whoever sees that there is none sees what was offered.
    pub(super) fn has(&self, kinds: u32) -> bool {
        self.0.load(Ordering::Acquire) & kinds != 0
    }
}

impl Marks {
    pub(super) const fn fresh(&self) -> &Arc<Fresh> {
        &self.fresh
    }

    /// These are events that filters see the same in.
    pub(super) fn mark(&mut self, seen: &Seen<'_>, events: u64) {
        let bit = seen.kind.bit();
        self.kinds[bit.trailing_zeros() as usize] |= events;
        if seen.lifecycle {
            self.lifecycle |= events;
        }
        let kinds = self.fresh.0.load(Ordering::Relaxed);
        if kinds & bit == 0 {
            self.fresh.0.store(kinds | bit, Ordering::Release);
        }
    }

    /// Those that pass a filter by their kinds.
    pub(super) fn of(&self, filter: &TapFilter) -> u64 {
        let wanted = filter.wanted();
        let of_kind = (0..).zip(&self.kinds).filter(|(kind, _)| wanted & 1 << kind != 0);
        let passing = of_kind.fold(0, |passing, (_, events)| passing | events);
        if filter.asks_lifecycle() { passing & self.lifecycle } else { passing }
    }

    /// All were offered, and those who look at what was see them.
    pub(super) fn clear(&mut self) {
        (self.kinds, self.lifecycle) = ([0; KINDS], 0);
        self.fresh.0.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::Lineage;

    #[test]
    fn what_passes_by_its_kind_is_what_the_filter_says_of_each() {
        let lineage = Lineage::default();
        let mut marks = Marks::default();
        let kinds = EventKind::ALL.into_iter().cycle();
        let seen: Vec<Seen<'_>> = kinds
            .zip([true, false, false, true, true].into_iter().cycle())
            .map(|(kind, lifecycle)| Seen { kind, lifecycle, thread: None, lineage: &lineage })
            .take(64)
            .collect();
        for (at, seen) in seen.iter().enumerate() {
            assert_eq!(marks.fresh.has(seen.kind.bit()), at >= KINDS);
            marks.mark(seen, 1 << at);
        }
        let all = TapFilter::all;
        let some = [EventKind::Record, EventKind::Mail, EventKind::Turn];
        for filter in [all(), all().lifecycle(), all().kinds(some), all().kinds(some).lifecycle()] {
            let passes = |(at, seen): (usize, _)| u64::from(filter.passes(seen)) << at;
            let expected = seen.iter().enumerate().map(passes).fold(0, |set, bit| set | bit);
            let wanted = |set: u64, kind: EventKind| set & marks.kinds[kind.bit().ilog2() as usize];
            let bulk = [EventKind::Record, EventKind::Usage, EventKind::Delta];
            let bulk = bulk.into_iter().fold(0, |set, kind| set | wanted(marks.lifecycle, kind));
            assert_eq!(
                marks.of(&filter),
                expected & !if filter.asks_lifecycle() { bulk } else { 0 }
            );
        }
        marks.clear();
        assert_eq!((marks.of(&all()), marks.fresh.has(u32::MAX)), (0, false));
    }
}
