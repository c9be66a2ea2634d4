//! Which threads may have been idle for long: a queue by the time at which each is looked at next.
//! Pure.
//!
//! A thread is looked at when it would have been idle for long enough, had it done nothing since the
//! last look. If it did something, it gets a second chance, at the time that follows from that; so a
//! look that finds no victim is paid for by what the thread did.

use std::collections::BTreeSet;

use coppicer_messages::{ThreadId, ThreadMap};
use tokio::time::Instant;

/// Threads with an actor, by when each is looked at.
#[derive(Debug, Default)]
pub(super) struct IdleQueue {
    due: BTreeSet<(Instant, ThreadId)>,
    of: ThreadMap<Instant>,
}

/// What a look at one thread found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It has no actor any more, or another has taken over.
    Gone,
    /// It works, or something below it does.
    Busy,
    /// It has done nothing since.
    Idle { since: Instant },
}

impl IdleQueue {
    /// `thread` is looked at when it is `due`, and no more at another time.
    pub(super) fn watch(&mut self, thread: ThreadId, due: Instant) {
        if let Some(before) = self.of.insert(thread, due) {
            self.due.remove(&(before, thread));
        }
        self.due.insert((due, thread));
    }

    /// `thread` is not looked at any more.
    pub(super) fn forget(&mut self, thread: ThreadId) {
        if let Some(before) = self.of.remove(&thread) {
            self.due.remove(&(before, thread));
        }
    }

    /// Nobody is looked at any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When the next look is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The thread that was idle longest: out of the queue, to be slept. With `until`, only one that was
    /// due by then. `due_at` says when a thread is due that did something at a time. At most so many
    /// `looks`; those that get a second chance are put back.
    pub(super) fn victim(
        &mut self,
        until: Option<Instant>,
        looks: usize,
        look: impl Fn(ThreadId) -> Found,
        due_at: impl Fn(Instant) -> Instant,
        now: Instant,
    ) -> Option<ThreadId> {
        let mut busy = Vec::new();
        let mut victim = None;
        for _ in 0..looks {
            let Some(&(due, thread)) = self.due.first() else { break };
            if until.is_some_and(|until| due > until) {
                break;
            }
            self.forget(thread);
            match look(thread) {
                Found::Gone => {}
                // Put back behind the others, so that none is looked at twice.
                Found::Busy => busy.push(thread),
                // It did something since it was put here.
                Found::Idle { since } if due_at(since) > due => {
                    self.watch(thread, due_at(since));
                }
                Found::Idle { .. } => {
                    victim = Some(thread);
                    break;
                }
            }
        }
        for thread in busy {
            self.watch(thread, due_at(now));
        }
        victim
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;

    const AFTER: Duration = Duration::from_secs(60);

    fn id(n: u64) -> ThreadId {
        ThreadId::from_parts(n, [0; 10])
    }

    /// Threads 1.. that were last active at these seconds (none: busy), each watched from 0 on.
    struct Case {
        queue: IdleQueue,
        start: Instant,
        active: RefCell<Vec<Option<u64>>>,
        looks: RefCell<usize>,
    }

    impl Case {
        fn new(active: &[Option<u64>]) -> Self {
            let (mut queue, start) = (IdleQueue::default(), Instant::now());
            for n in 1..=active.len() as u64 {
                queue.watch(id(n), start + AFTER);
            }
            let active = RefCell::new(active.to_vec());
            Self { queue, start, active, looks: RefCell::new(0) }
        }

        fn victim(&mut self, now: u64, force: bool) -> Option<ThreadId> {
            let (active, start, looks) = (&self.active, self.start, &self.looks);
            let look = |thread: ThreadId| {
                *looks.borrow_mut() += 1;
                let at = (1..=20).find(|&n| id(n) == thread).unwrap() as usize - 1;
                match active.borrow().get(at) {
                    None => Found::Gone,
                    Some(None) => Found::Busy,
                    Some(Some(at)) => Found::Idle { since: start + Duration::from_secs(*at) },
                }
            };
            let now = start + Duration::from_secs(now);
            self.queue.victim((!force).then_some(now), 8, look, |at| at + AFTER, now)
        }
    }

    #[test]
    fn nobody_sleeps_before_it_was_idle_for_long_enough_and_then_each_once() {
        let mut case = Case::new(&[Some(0), Some(0)]);
        assert_eq!(case.victim(59, false), None);
        assert_eq!(*case.looks.borrow(), 0, "nobody is looked at before its time");
        assert_eq!(case.victim(60, false), Some(id(1)));
        assert_eq!(case.victim(60, false), Some(id(2)));
        assert_eq!(case.victim(60, false), None);
        assert_eq!(case.queue.next_due(), None);
    }

    #[test]
    fn one_that_did_something_gets_a_second_chance_exactly_as_long_as_it_has_earned() {
        let mut case = Case::new(&[Some(10)]);
        assert_eq!(case.victim(60, false), None);
        assert_eq!(case.queue.next_due(), Some(case.start + Duration::from_secs(70)));
        assert_eq!(case.victim(70, false), Some(id(1)));
    }

    #[test]
    fn one_that_works_is_looked_at_once_in_each_period() {
        let mut case = Case::new(&[None]);
        for now in (0..600).step_by(5) {
            assert_eq!(case.victim(now, false), None);
        }
        assert_eq!(*case.looks.borrow(), 9);
    }

    #[test]
    fn above_the_cap_the_one_that_was_idle_longest_goes_and_looks_are_bounded() {
        let mut case = Case::new(&[Some(9), None, Some(3), Some(5)]);
        assert_eq!(case.victim(10, true), Some(id(3)), "idle longest");
        assert_eq!(case.victim(10, true), Some(id(4)));
        assert_eq!(case.victim(10, true), Some(id(1)));
        let mut busy = Case::new(&[None; 20]);
        assert_eq!(busy.victim(10, true), None);
        assert_eq!(*busy.looks.borrow(), 8);
    }

    #[test]
    fn one_that_is_gone_is_not_looked_at_again() {
        let mut case = Case::new(&[Some(0)]);
        case.active.borrow_mut().clear();
        assert_eq!((case.victim(60, false), case.queue.next_due()), (None, None));
        case.queue.watch(id(1), case.start);
        case.queue.forget(id(1));
        assert_eq!(case.queue.next_due(), None);
    }
}
