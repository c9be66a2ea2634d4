//! Which siblings go down with a child that crashed, and when they come back. Pure.
//!
//! Those that go down do so in the reverse of their start order. They come back in it once all that
//! fell have ended and every sibling that crashed is back, or does not come back by itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use coppicer_messages::{Strategy, ThreadId};

/// A child, as the strategy of its parent sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sibling {
    pub(super) thread: ThreadId,
    /// Whether it can go down: it has an actor, and is neither parked nor closing.
    pub(super) may_fall: bool,
}

/// Who goes down with `crashed`, of the children of its parent in start order; the last started
/// first.
pub(super) fn falls(
    strategy: Strategy,
    crashed: ThreadId,
    children: impl IntoIterator<Item = Sibling>,
) -> Vec<ThreadId> {
    let mut after = false;
    let mut down = Vec::new();
    for Sibling { thread, may_fall } in children {
        let chosen = match strategy {
            Strategy::OneForOne => false,
            Strategy::RestForOne => after,
            Strategy::OneForAll => true,
        };
        after |= thread == crashed;
        if chosen && may_fall && thread != crashed {
            down.push(thread);
        }
    }
    down.reverse();
    down
}

/// Children of one parent that are down together.
#[derive(Debug, Default)]
struct Group {
    /// Those that crashed and are not back.
    crashed: HashSet<ThreadId>,
    /// Those that were told to go down and have not ended.
    falling: HashSet<ThreadId>,
    /// Those that have, by start order.
    down: BTreeMap<u64, ThreadId>,
}

/// All groups of siblings that are down.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    groups: HashMap<ThreadId, Group>,
    /// Whose child each of them is.
    parents: HashMap<ThreadId, ThreadId>,
}

impl Siblings {
    /// `falling` go down with a child of `parent` that crashed; `crashed` names it if it is not there
    /// any more. A thread that fell and crashes by itself comes back as one that crashed.
    pub(super) fn begin(
        &mut self,
        parent: ThreadId,
        crashed: Option<ThreadId>,
        falling: &[ThreadId],
    ) {
        let known = crashed.is_some_and(|crashed| self.parents.contains_key(&crashed));
        if falling.is_empty() && !known {
            return;
        }
        let group = self.groups.entry(parent).or_default();
        for &thread in falling {
            group.falling.insert(thread);
            self.parents.insert(thread, parent);
        }
        if let Some(crashed) = crashed {
            group.falling.remove(&crashed);
            group.crashed.insert(crashed);
            self.parents.insert(crashed, parent);
        }
    }

    /// The end of `thread`, whose place among its siblings is `order`, has come: whether it goes
    /// down with a sibling.
    pub(super) fn fell(&mut self, thread: ThreadId, order: u64) -> bool {
        let group = self.parents.get(&thread).and_then(|parent| self.groups.get_mut(parent));
        let Some(group) = group else { return false };
        let falls = group.falling.remove(&thread);
        if falls {
            group.down.insert(order, thread);
        }
        falls
    }

    /// `thread` is back, or over, or does not come back by itself.
    pub(super) fn settled(&mut self, thread: ThreadId) -> Vec<ThreadId> {
        let Some(parent) = self.parents.remove(&thread) else { return Vec::new() };
        if let Some(group) = self.groups.get_mut(&parent) {
            group.crashed.remove(&thread);
            group.falling.remove(&thread);
            group.down.retain(|_, down| *down != thread);
        }
        self.come_back(parent)
    }

    /// Those that can come back now, in start order. They are in no group from then on.
    pub(super) fn come_back(&mut self, parent: ThreadId) -> Vec<ThreadId> {
        let complete = |group: &Group| group.crashed.is_empty() && group.falling.is_empty();
        if !self.groups.get(&parent).is_some_and(complete) {
            return Vec::new();
        }
        let back: Vec<ThreadId> = self
            .groups
            .remove(&parent)
            .into_iter()
            .flat_map(|group| group.down)
            .map(|(_, thread)| thread)
            .collect();
        for thread in &back {
            self.parents.remove(thread);
        }
        back
    }

    /// Whether nobody is down.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.parents.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> ThreadId {
        ThreadId::from_parts(n, [0; 10])
    }

    fn ids(n: &[u64]) -> Vec<ThreadId> {
        n.iter().copied().map(id).collect()
    }

    fn down(strategy: Strategy, crashed: u64) -> Vec<ThreadId> {
        // 1 to 5 in start order; 4 sleeps.
        let children = (1..=5).map(|n| Sibling { thread: id(n), may_fall: n != 4 });
        falls(strategy, id(crashed), children)
    }

    #[test]
    fn the_strategy_says_who_goes_down_and_the_last_started_goes_first() {
        assert_eq!(down(Strategy::OneForOne, 2), ids(&[]));
        assert_eq!(down(Strategy::RestForOne, 2), ids(&[5, 3]));
        assert_eq!(down(Strategy::RestForOne, 5), ids(&[]));
        assert_eq!(down(Strategy::OneForAll, 2), ids(&[5, 3, 1]));
        assert_eq!(down(Strategy::OneForAll, 9), ids(&[5, 3, 2, 1]), "it is gone already");
    }

    #[test]
    fn they_come_back_in_start_order_when_all_have_ended_and_the_crashed_one_is_back() {
        let mut siblings = Siblings::default();
        siblings.begin(id(9), Some(id(2)), &ids(&[5, 3, 1]));
        for (thread, order) in [(3, 30), (1, 10), (5, 50)] {
            assert!(siblings.fell(id(thread), order));
            assert_eq!(siblings.come_back(id(9)), []);
        }
        assert!(!siblings.fell(id(3), 30), "an end counts once");
        assert_eq!(siblings.settled(id(2)), ids(&[1, 3, 5]));
        assert!(siblings.is_empty());
    }

    #[test]
    fn one_that_crashed_and_lives_on_is_not_waited_for() {
        let mut siblings = Siblings::default();
        siblings.begin(id(9), None, &ids(&[3, 1]));
        assert!(siblings.fell(id(3), 30) && siblings.fell(id(1), 10));
        assert_eq!(siblings.come_back(id(9)), ids(&[1, 3]));
        assert!(siblings.is_empty());
    }

    #[test]
    fn one_that_is_closed_while_it_is_down_does_not_come_back_and_holds_nobody_up() {
        let mut siblings = Siblings::default();
        siblings.begin(id(9), Some(id(2)), &ids(&[3, 1]));
        assert!(siblings.fell(id(3), 30));
        assert_eq!(siblings.settled(id(1)), [], "it ended otherwise");
        assert_eq!(siblings.settled(id(2)), ids(&[3]));
        assert!(siblings.is_empty());
    }

    #[test]
    fn a_second_crash_while_they_are_down_is_waited_for_too() {
        let mut siblings = Siblings::default();
        siblings.begin(id(9), Some(id(2)), &ids(&[3, 1]));
        assert!(siblings.fell(id(1), 10));
        // 3 crashed by itself before it was told.
        siblings.begin(id(9), Some(id(3)), &[]);
        assert!(!siblings.fell(id(3), 30));
        assert_eq!(siblings.settled(id(2)), []);
        assert_eq!(siblings.settled(id(3)), ids(&[1]));
        assert!(siblings.is_empty());
    }

    #[test]
    fn a_crash_with_which_nobody_goes_down_is_not_kept() {
        let mut siblings = Siblings::default();
        siblings.begin(id(9), Some(id(2)), &[]);
        assert!(siblings.is_empty() && siblings.settled(id(2)).is_empty());
    }
}
