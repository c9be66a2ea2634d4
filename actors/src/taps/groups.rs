//! Who is offered what: taps that want the same share one look at each portion, and one log.

use std::sync::Arc;

use super::TapFilter;
use super::follower::Follower;
use super::log::{Aftermath, Bounds, Log};
use super::portion::{Portion, What};

/// The logs of all taps, one for each filter.
#[derive(Default)]
pub(super) struct Groups {
    list: Vec<Group>,
    taps: usize,
    /// Taps whose reader waits.
    awaited: usize,
}

/// Taps with the same filter. One that takes a sample of deltas is alone: which it takes depends on when
/// it began.
struct Group {
    log: Arc<Log>,
    awaited: usize,
    sample: Sample,
}

/// Which deltas are taken of those that pass otherwise: the first, and every n-th after it.
struct Sample {
    every: u64,
    /// Deltas of the portions that were offered.
    deltas: u64,
    /// Deltas since then, counted while a reader waits.
    ahead: u64,
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
            let sample = Sample { every, deltas: 0, ahead: 0 };
            self.list.push(Group { log: log.clone(), awaited: 0, sample });
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
        self.awaited -= usize::from(awaited);
        group.awaited -= usize::from(awaited);
        if !group.log.has_followers() {
            self.list.swap_remove(at);
        }
    }

    /// The reader of this tap waits, from behind all that was offered.
    pub(super) fn await_next(&mut self, follower: &Follower) {
        if let Some(at) = self.place(follower) {
            self.list[at].awaited += 1;
            self.awaited += 1;
        }
    }

    /// Wakes those who wait for an event that is about to be offered. To be told of each.
    pub(super) fn wake_for(&mut self, newest: &What, after: &mut Aftermath) {
        if self.awaited == 0 {
            return;
        }
        for group in self.list.iter_mut().filter(|group| group.awaited > 0) {
            if group.lets_in(newest) {
                group.log.wake(after);
                self.awaited -= std::mem::take(&mut group.awaited);
            }
        }
    }

    /// Offers every tap a portion.
    pub(super) fn offer(&mut self, portion: &Arc<Portion>, after: &mut Aftermath) {
        for group in &mut self.list {
            let part = group.part(portion);
            group.log.push(portion.len(), part.as_ref(), after);
        }
    }

    /// Ends every tap.
    pub(super) fn close(&mut self, after: &mut Aftermath) {
        for group in &mut self.list {
            group.log.close(after);
            group.awaited = 0;
        }
        self.awaited = 0;
    }

    fn place(&self, follower: &Follower) -> Option<usize> {
        self.list.iter().position(|group| Arc::ptr_eq(&group.log, follower.log()))
    }
}

impl Group {
    fn part(&mut self, portion: &Arc<Portion>) -> Option<Arc<Portion>> {
        let Self { log, sample, .. } = self;
        sample.ahead = 0;
        let filter = log.filter();
        if filter.is_all() {
            return Some(portion.clone());
        }
        portion.part(|what| what.passes(filter) && (!what.is_delta() || sample.take()))
    }

    /// Whether an event that was not offered yet will pass.
    fn lets_in(&mut self, what: &What) -> bool {
        what.passes(self.log.filter()) && (!what.is_delta() || self.sample.look_ahead())
    }
}

impl Sample {
    const fn take(&mut self) -> bool {
        self.deltas += 1;
        self.every == 1 || self.deltas % self.every == 1
    }

    const fn look_ahead(&mut self) -> bool {
        self.ahead += 1;
        self.every == 1 || (self.deltas + self.ahead) % self.every == 1
    }
}
