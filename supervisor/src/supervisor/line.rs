//! Lines of requests that wait for a limit to pass: one for each who has the limit, first come first
//! served. Pure.

use std::collections::{BTreeSet, HashMap, VecDeque};

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
    of: HashMap<Owner, VecDeque<T>>,
    waiting: usize,
    freed: BTreeSet<Owner>,
    due: BTreeSet<(Instant, Owner)>,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { of: HashMap::new(), waiting: 0, freed: BTreeSet::new(), due: BTreeSet::new() }
    }
}

impl<T> Lines<T> {
    /// How many wait.
    pub(super) const fn len(&self) -> usize {
        self.waiting
    }

    /// Puts somebody at the end of a line, or back at its front.
    pub(super) fn push(&mut self, owner: Owner, who: T, front: bool) {
        self.waiting += 1;
        let line = self.of.entry(owner).or_default();
        if front { line.push_front(who) } else { line.push_back(who) }
    }

    /// A line is to be looked at when this time has come.
    pub(super) fn look_at(&mut self, owner: Owner, due: Instant) {
        self.due.insert((due, owner));
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
        while let Some(&(due, owner)) = self.due.first().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, owner));
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
        self.waiting -= usize::from(first.is_some());
        first
    }

    /// Drops those that nobody waits for any more.
    pub(super) fn tidy(&mut self, waits: impl Fn(&T) -> bool) {
        for line in self.of.values_mut() {
            line.retain(&waits);
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
        let mut lines = Lines::default();
        for (owner, who) in [(tree(1), 1), (tree(2), 2), (tree(1), 3)] {
            lines.push(owner, who, false);
        }
        assert_eq!(lines.next_freed(), None);
        lines.freed(tree(1));
        lines.freed(Owner::Runtime);
        assert_eq!(lines.next_freed(), Some(tree(1)));
        assert_eq!(lines.next_freed(), None, "nobody waits for the runtime");
        assert_eq!(lines.pop(tree(1)), Some(1));
        lines.push(tree(1), 1, true);
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
        lines.push(tree(1), 1, false);
        lines.look_at(tree(1), later);
        lines.time_is(now);
        assert_eq!(lines.next_freed(), None);
        lines.time_is(later);
        assert_eq!((lines.next_freed(), lines.next_freed()), (Some(tree(1)), None));
        lines.tidy(|_| false);
        lines.freed_all();
        assert_eq!((lines.len(), lines.next_freed()), (0, None));
    }
}
