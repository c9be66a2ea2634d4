//! Threads that are to be brought up without being asked for: those that an earlier process left
//! unfinished, and those whose store could not write. Pure.
//!
//! At most so many are under way at once, each is tried again after a pause that is the same for
//! all, and no thread stands here twice.

use std::collections::{HashSet, VecDeque};

use coppicer_messages::ThreadId;
use tokio::time::Instant;

/// What is to come up next, later, and now.
#[derive(Debug)]
pub(super) struct Comebacks {
    most: usize,
    ready: VecDeque<ThreadId>,
    /// In the order of their times: the pause is the same for all.
    later: VecDeque<(Instant, ThreadId)>,
    under_way: HashSet<ThreadId>,
    /// Those in `ready` and `later`.
    known: HashSet<ThreadId>,
}

impl Comebacks {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            ready: VecDeque::new(),
            later: VecDeque::new(),
            under_way: HashSet::new(),
            known: HashSet::new(),
        }
    }

    /// `thread` is to come up as soon as there is room.
    pub(super) fn add(&mut self, thread: ThreadId) {
        if !self.under_way.contains(&thread) && self.known.insert(thread) {
            self.ready.push_back(thread);
        }
    }

    /// `thread` is to come up at `at`, which must not be before that of an earlier call.
    pub(super) fn add_later(&mut self, thread: ThreadId, at: Instant) {
        self.under_way.remove(&thread);
        if self.known.insert(thread) {
            self.later.push_back((at, thread));
        }
    }

    /// The pauses of all are over.
    pub(super) fn end_pauses(&mut self) {
        self.ready.extend(self.later.drain(..).map(|(_, thread)| thread));
    }

    /// When the next pause is over.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.later.front().map(|(at, _)| *at)
    }

    /// Ends the pauses that are over by `now`.
    pub(super) fn due(&mut self, now: Instant) {
        while self.later.front().is_some_and(|(at, _)| *at <= now) {
            self.ready.extend(self.later.pop_front().map(|(_, thread)| thread));
        }
    }

    /// The next thread to bring up, if there is room for one: it is under way from now on.
    pub(super) fn next(&mut self) -> Option<ThreadId> {
        if self.under_way.len() >= self.most {
            return None;
        }
        let thread = self.ready.pop_front()?;
        self.known.remove(&thread);
        self.under_way.insert(thread);
        Some(thread)
    }

    /// `thread` is up, or will not be: whether it was under way.
    pub(super) fn done(&mut self, thread: ThreadId) -> bool {
        self.under_way.remove(&thread)
    }

    /// Whether more of them should be looked for.
    pub(super) fn runs_low(&self) -> bool {
        self.ready.len() < self.most
    }

    /// Nothing comes up by itself any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.most);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(n: u64) -> ThreadId {
        ThreadId::from_parts(n, [0; 10])
    }

    #[test]
    fn at_most_so_many_are_under_way_and_each_comes_once() {
        let mut comebacks = Comebacks::new(2);
        for n in [1, 2, 3, 2, 1] {
            comebacks.add(id(n));
        }
        assert_eq!((comebacks.next(), comebacks.next()), (Some(id(1)), Some(id(2))));
        assert_eq!(comebacks.next(), None, "no room");
        comebacks.add(id(1));
        assert!(comebacks.done(id(1)), "it was under way");
        assert!(!comebacks.done(id(1)), "once");
        assert_eq!(
            comebacks.next(),
            Some(id(3)),
            "what is added while it is under way is that one"
        );
        assert!(comebacks.done(id(2)) && comebacks.done(id(3)));
        assert_eq!(comebacks.next(), None);
    }

    #[test]
    fn one_that_failed_comes_after_the_pause_or_as_soon_as_pauses_end() {
        let (mut comebacks, now) = (Comebacks::new(1), Instant::now());
        let pause = Duration::from_secs(1);
        comebacks.add(id(1));
        assert_eq!(comebacks.next(), Some(id(1)));
        comebacks.add_later(id(1), now + pause);
        comebacks.add_later(id(1), now + pause);
        comebacks.add_later(id(2), now + pause * 2);
        assert_eq!(comebacks.next_due(), Some(now + pause));
        comebacks.due(now);
        assert_eq!(comebacks.next(), None, "its pause is not over");
        comebacks.due(now + pause);
        assert_eq!(comebacks.next(), Some(id(1)));
        assert!(comebacks.done(id(1)));
        comebacks.end_pauses();
        assert_eq!((comebacks.next(), comebacks.next_due()), (Some(id(2)), None));
        comebacks.clear();
        assert_eq!((comebacks.next(), comebacks.done(id(2))), (None, false));
    }
}
