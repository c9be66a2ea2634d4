//! Who is offered what: taps that want the same share one look at each portion, and one log.

use std::sync::Arc;

use coppicer_messages::EventKind;

use super::TapFilter;
use super::filter::Seen;
use super::follower::Follower;
use super::log::{Aftermath, Bounds, Log};
use super::portion::Portion;

/// The logs of all taps, one for each filter.
#[derive(Default)]
pub(super) struct Groups {
    list: Vec<Group>,
    taps: usize,
}

/// Taps with the same filter. One that takes a sample of deltas is alone: which it takes depends on when
/// it began.
struct Group {
    log: Arc<Log>,
    /// What its filter says of most events without being asked.
    kinds: u32,
    kinds_alone: bool,
    /// Which events pass of those that were not offered yet: a bit for each.
    passing: u64,
    /// Events that passed.
    passed: u64,
    /// Taps whose reader waits.
    awaited: usize,
    /// Of the deltas that pass otherwise, the first and every so many-th after it are taken.
    every: u64,
    /// Deltas so far.
    deltas: u64,
}

impl Groups {
    pub(super) const fn len(&self) -> usize {
        self.taps
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.taps == 0
    }

    /// The ids of all taps, in order.
    pub(super) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.list.iter().flat_map(|group| group.log.ids()).collect();
        ids.sort_unstable();
        ids
    }

    /// The kinds that any tap wants.
    pub(super) fn wanted(&self) -> u32 {
        self.list.iter().fold(0, |wanted, group| wanted | group.log.filter().wanted())
    }

    /// A tap, from behind all that was offered.
    pub(super) fn attach(&mut self, id: u64, filter: TapFilter, bounds: Bounds) -> Follower {
        let every = u64::from(filter.delta_sample.get());
        let same = |group: &&Group| every == 1 && *group.log.filter() == filter;
        let log = if let Some(group) = self.list.iter().find(same) {
            group.log.clone()
        } else {
            let log = Arc::new(Log::new(filter));
            self.list.push(Group::of(log.clone()));
            log
        };
        self.taps += 1;
        Follower::attach(id, bounds, log)
    }

    pub(super) fn detach(&mut self, follower: &Follower) {
        let Some(at) = self.place(follower) else { return };
        let group = &mut self.list[at];
        let Some(awaited) = group.log.detach(follower.id()) else { return };
        self.taps -= 1;
        group.awaited -= usize::from(awaited);
        if !group.log.has_followers() {
            self.list.swap_remove(at);
        }
    }

    /// The reader of this tap waits, from behind all that was offered.
    pub(super) fn await_next(&mut self, follower: &Follower) {
        if let Some(at) = self.place(follower) {
            self.list[at].awaited += 1;
        }
    }

    /// So many events that filters see the same in come behind the `at` that were not offered yet. Wakes
    /// those who wait for one.
    pub(super) fn tell(&mut self, seen: &Seen<'_>, at: usize, count: usize, after: &mut Aftermath) {
        let all = u64::MAX >> (u64::BITS as usize - count) << at;
        for group in &mut self.list {
            if group.takes(seen) {
                group.passing |= all;
                group.passed += count as u64;
                group.log.expect(group.passed);
                if group.awaited > 0 {
                    group.awaited = 0;
                    group.log.wake(after);
                }
            }
        }
    }

    /// Offers every tap a portion: all that it was told of since the last.
    pub(super) fn offer(&mut self, portion: &Arc<Portion>, after: &mut Aftermath) {
        for group in &mut self.list {
            let part = portion.part(std::mem::take(&mut group.passing));
            group.log.push(portion.len(), part, after);
        }
    }

    /// Ends every tap.
    pub(super) fn close(&mut self, after: &mut Aftermath) {
        for group in &mut self.list {
            group.log.close(after);
            group.awaited = 0;
        }
    }

    fn place(&self, follower: &Follower) -> Option<usize> {
        self.list.iter().position(|group| Arc::ptr_eq(&group.log, follower.log()))
    }
}

impl Group {
    fn of(log: Arc<Log>) -> Self {
        let filter = log.filter();
        let (kinds, kinds_alone) = (filter.wanted(), filter.asks_kinds_alone());
        let every = u64::from(filter.delta_sample.get());
        let (passing, passed, awaited, deltas) = (0, 0, 0, 0);
        Self { log, kinds, kinds_alone, passing, passed, awaited, every, deltas }
    }

    /// Whether an event passes. To be asked once for each.
    fn takes(&mut self, seen: &Seen<'_>) -> bool {
        self.kinds & seen.kind.bit() != 0
            && (self.kinds_alone || self.log.filter().passes(seen))
            && (self.every == 1 || self.samples(seen))
    }

    fn samples(&mut self, seen: &Seen<'_>) -> bool {
        if seen.kind != EventKind::Delta {
            return true;
        }
        self.deltas += 1;
        self.deltas % self.every == 1
    }
}
