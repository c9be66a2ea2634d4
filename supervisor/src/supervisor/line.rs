//! Lines of requests that wait for a limit to pass: one for each who has the limit, first come first
//! served. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use coppicer_messages::ThreadId;
use tokio::time::Instant;

/// Who has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    /// The runtime.
    Runtime,
    /// The tree of this root.
    Tree(ThreadId),
    /// This thread, of its children.
    Parent(ThreadId),
    /// This thread, of its budget.
    Account(ThreadId),
}

/// Who waits, and which lines are to be looked at.
pub(super) struct Lines<T> {
    of: HashMap<Owner, VecDeque<Waiting<T>>>,
    waiting: usize,
    freed: BTreeSet<Owner>,
    /// When lines are looked at, for whom.
    due: BTreeMap<(Instant, u64), Owner>,
    /// Who came last.
    last: u64,
}

/// One who waits. The times that its line is looked at for it end with its waiting.
struct Waiting<T> {
    number: u64,
    due: Due,
    who: T,
}

/// When a line is looked at for somebody who waits in it: when its limit may have passed, and at its
/// deadline.
pub(super) type Due = [Instant; 2];

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self {
            of: HashMap::new(),
            waiting: 0,
            freed: BTreeSet::new(),
            due: BTreeMap::new(),
            last: 0,
        }
    }
}

impl<T> Lines<T> {
    /// How many wait.
    pub(super) const fn len(&self) -> usize {
        self.waiting
    }

    /// Puts somebody at the end of a line, or back at its front. The line is looked at when one of
    /// their times has come.
    pub(super) fn push(&mut self, owner: Owner, who: T, due: Due, front: bool) {
        self.waiting += 1;
        self.last += 1;
        let number = self.last;
        self.due.extend(due.map(|due| ((due, number), owner)));
        let waiting = Waiting { number, due, who };
        let line = self.of.entry(owner).or_default();
        if front { line.push_front(waiting) } else { line.push_back(waiting) }
    }

    /// When a line is to be looked at next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|(&(due, _), _)| due)
    }

    /// What a limit counts may have become less: its line is to be looked at.
    pub(super) fn freed(&mut self, owner: Owner) {
        if self.of.contains_key(&owner) {
            self.freed.insert(owner);
        }
    }

    /// All lines are to be looked at.
    pub(super) fn freed_all(&mut self) {
        self.freed.extend(self.of.keys());
    }

    /// A time has come.
    pub(super) fn time_is(&mut self, now: Instant) {
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            let owner = first.remove();
            self.freed(owner);
        }
    }

    /// A line that is to be looked at.
    pub(super) fn next_freed(&mut self) -> Option<Owner> {
        self.freed.pop_first()
    }

    /// The first of a line.
    pub(super) fn pop(&mut self, owner: Owner) -> Option<T> {
        let line = self.of.get_mut(&owner)?;
        let first = line.pop_front();
        if line.is_empty() {
            self.of.remove(&owner);
        }
        let Waiting { number, due, who } = first?;
        self.waiting -= 1;
        for due in due {
            self.due.remove(&(due, number));
        }
        Some(who)
    }

    /// Drops those that nobody waits for any more.
    pub(super) fn tidy(&mut self, waits: impl Fn(&T) -> bool) {
        for line in self.of.values_mut() {
            line.retain(|Waiting { number, due, who }| {
                let stays = waits(who);
                for due in due.iter().filter(|_| !stays) {
                    self.due.remove(&(*due, *number));
                }
                stays
            });
        }
        self.of.retain(|_, line| !line.is_empty());
        self.waiting = self.of.values().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tree(n: u64) -> Owner {
        Owner::Tree(ThreadId::from_parts(n, [0; 10]))
    }

    #[test]
    fn each_line_is_served_in_its_order_and_only_when_something_came_free() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        for (owner, who) in [(tree(1), 1), (tree(2), 2), (tree(1), 3)] {
            lines.push(owner, who, [now; 2], false);
        }
        assert_eq!(lines.next_freed(), None);
        lines.freed(tree(1));
        lines.freed(Owner::Runtime);
        assert_eq!(lines.next_freed(), Some(tree(1)));
        assert_eq!(lines.next_freed(), None, "nobody waits for the runtime");
        assert_eq!(lines.pop(tree(1)), Some(1));
        lines.push(tree(1), 1, [now; 2], true);
        assert_eq!(
            (lines.pop(tree(1)), lines.pop(tree(1)), lines.pop(tree(1))),
            (Some(1), Some(3), None)
        );
        assert_eq!(lines.len(), 1);
    }

    #[test]
    fn a_line_is_looked_at_when_its_time_has_come() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        lines.push(tree(1), 1, [later, later + Duration::from_secs(1)], false);
        lines.time_is(now);
        assert_eq!(lines.next_freed(), None);
        lines.time_is(later);
        assert_eq!((lines.next_freed(), lines.next_freed()), (Some(tree(1)), None));
        lines.tidy(|_| false);
        lines.freed_all();
        assert_eq!((lines.len(), lines.next_freed()), (0, None));
    }

    #[test]
    fn who_does_not_wait_any_more_leaves_no_time() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        let at = |n| now + Duration::from_secs(n);
        for n in 0..1_000 {
            // Served before its times have come; many have the same deadline.
            lines.push(tree(n % 7), n, [at(60), at(3_600)], n % 2 == 0);
            assert_eq!(lines.pop(tree(n % 7)), Some(n));
        }
        assert_eq!((lines.due.len(), lines.next_due()), (0, None));
        for (n, due) in [(1, [at(1), at(9)]), (2, [at(2), at(9)]), (3, [at(9), at(9)])] {
            lines.push(tree(1), n, due, false);
        }
        lines.tidy(|n| *n != 1);
        assert_eq!((lines.due.len(), lines.next_due()), (3, Some(at(2))));
        lines.time_is(at(2));
        assert_eq!(lines.next_due(), Some(at(9)), "its deadline stays");
        assert_eq!(lines.pop(tree(1)), Some(2));
        assert_eq!((lines.due.len(), lines.next_due()), (1, Some(at(9))), "that of the other");
        assert_eq!(lines.pop(tree(1)), Some(3));
        assert_eq!(lines.due.len(), 0);
    }
}
