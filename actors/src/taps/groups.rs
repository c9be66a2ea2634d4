//! Who is offered what: taps that want the same share one look at each portion, and one log.

use std::sync::Arc;

use coppicer_messages::EventKind;

use super::TapFilter;
use super::filter::Seen;
use super::follower::Follower;
use super::log::{Aftermath, Bounds, Log};
use super::marks::Marks;
use super::portion::Portion;

/// The logs of all taps, one for each filter.
#[derive(Default)]
pub(super) struct Groups {
    list: Vec<Group>,
    taps: usize,
    marks: Marks,
    /// The kinds of which each event is looked at when it is published: a filter asks more of them than
    /// the kind, or a reader waits for one.
    looked_at: u32,
}

/// Taps with the same filter. One that takes a sample of deltas is alone: which it takes depends on when
/// it began.
struct Group {
    log: Arc<Log>,
    kinds: u32,
    /// That its filter asks no more: what passes follows from the marks.
    kinds_alone: bool,
    /// Otherwise, which events pass of those that were not offered yet: a bit for each.
    passing: u64,
    /// And how many passed.
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
            let log = Arc::new(Log::new(filter, self.marks.fresh()));
            self.list.push(Group::of(log.clone()));
            self.look_anew();
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
        self.look_anew();
        if self.taps == 0 {
            self.marks.clear();
        }
    }

    fn look_anew(&mut self) {
        let looks = |group: &&Group| !group.kinds_alone || group.awaited > 0;
        let kinds = self.list.iter().filter(looks).map(|group| group.kinds);
        self.looked_at = kinds.fold(0, |all, kinds| all | kinds);
    }

    /// The reader of this tap waits, from behind all that was offered.
    pub(super) fn await_next(&mut self, follower: &Follower) {
        if let Some(at) = self.place(follower) {
            self.list[at].awaited += 1;
            self.looked_at |= self.list[at].kinds;
        }
    }

    /// So many events that filters see the same in come behind the `at` that were not offered yet. Wakes
    /// those who wait for one.
    pub(super) fn tell(&mut self, seen: &Seen<'_>, at: usize, count: usize, after: &mut Aftermath) {
        let all = u64::MAX >> (u64::BITS as usize - count) << at;
        self.marks.mark(seen, all);
        if self.looked_at & seen.kind.bit() != 0 {
            self.look_at(seen, all, after);
        }
    }

    fn look_at(&mut self, seen: &Seen<'_>, all: u64, after: &mut Aftermath) {
        let mut woken = false;
        for group in &mut self.list {
            if group.takes(seen) {
                if !group.kinds_alone {
                    group.passing |= all;
                    group.passed += u64::from(all.count_ones());
                    group.log.expect(group.passed);
                }
                if group.awaited > 0 {
                    group.awaited = 0;
                    group.log.wake(after);
                    woken = true;
                }
            }
        }
        if woken {
            self.look_anew();
        }
    }

    /// Offers every tap a portion: all that it was told of since the last.
    pub(super) fn offer(&mut self, portion: &Arc<Portion>, after: &mut Aftermath) {
        for group in &mut self.list {
            let passing = if group.kinds_alone {
                self.marks.of(group.log.filter())
            } else {
                std::mem::take(&mut group.passing)
            };
            group.log.push(portion.len(), portion.part(passing), after);
        }
        self.marks.clear();
    }

    /// Ends every tap.
    pub(super) fn close(&mut self, after: &mut Aftermath) {
        for group in &mut self.list {
            group.log.close(after);
            group.awaited = 0;
        }
        self.look_anew();
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
            && self.log.filter().passes(seen)
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
