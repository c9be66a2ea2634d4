//! The queue behind turn permits. Pure.
//!
//! A tree stands in the round once for as long as something of it waits and may run. Each time it
//! is its turn, one of it runs; it goes to the end of the round when the next place comes free, behind
//! those who came meanwhile.

use std::collections::{BTreeMap, HashMap, VecDeque};

use coppicer_messages::ThreadId;

/// Who waits, and how many run.
pub(crate) struct FairQueue<T> {
    max: usize,
    running: usize,
    trees: HashMap<ThreadId, Tree<T>>,
    /// Trees with somebody who may run, next first.
    round: VecDeque<ThreadId>,
    /// Trees that were served since a place came free, and have more that may run.
    served: Vec<ThreadId>,
    tickets: u64,
}

struct Tree<T> {
    max: usize,
    running: usize,
    /// By ticket: first come first served.
    line: BTreeMap<u64, T>,
    in_round: bool,
}

impl<T> Tree<T> {
    fn may_run(&self) -> bool {
        !self.line.is_empty() && self.running < self.max
    }

    fn is_idle(&self) -> bool {
        self.line.is_empty() && self.running == 0 && self.max == usize::MAX && !self.in_round
    }
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { max: usize::MAX, running: 0, line: BTreeMap::new(), in_round: false }
    }
}

impl<T> FairQueue<T> {
    /// At most `max` run at once.
    pub(crate) fn new(max: usize) -> Self {
        let (trees, round) = (HashMap::new(), VecDeque::new());
        Self { max, running: 0, trees, round, served: Vec::new(), tickets: 0 }
    }

    /// At most `max` of this tree run at once: whether that is another bound than before.
    pub(crate) fn bound(&mut self, tree: ThreadId, max: usize) -> bool {
        let before = self.trees.get(&tree).map_or(usize::MAX, |tree| tree.max);
        if before != max {
            self.change(tree, |tree| tree.max = max);
        }
        before != max
    }

    /// Takes a place for one of this tree without a line, if there is room and nobody waits for it.
    pub(crate) fn take_free(&mut self, tree: ThreadId) -> bool {
        if self.running >= self.max || self.is_waited_for() {
            return false;
        }
        // Those of this tree who wait do so for its own bound.
        let line = self.trees.entry(tree).or_default();
        if !line.line.is_empty() || line.running >= line.max {
            return false;
        }
        line.running += 1;
        self.running += 1;
        true
    }

    /// Whether somebody waits who may run when there is room.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.round.is_empty() || !self.served.is_empty()
    }

    /// Puts somebody at the end of the line of a tree.
    pub(crate) fn ask(&mut self, tree: ThreadId, who: T) -> u64 {
        self.tickets += 1;
        let ticket = self.tickets;
        self.change(tree, |tree| drop(tree.line.insert(ticket, who)));
        ticket
    }

    /// Somebody does not wait any more. One who was served is not in line, and nothing changes.
    pub(crate) fn leave(&mut self, tree: ThreadId, ticket: u64) {
        if self.trees.contains_key(&tree) {
            self.change(tree, |tree| drop(tree.line.remove(&ticket)));
        }
    }

    /// One of this tree runs no more.
    pub(crate) fn give_back(&mut self, tree: ThreadId) {
        self.running = self.running.saturating_sub(1);
        self.round.extend(self.served.drain(..));
        self.change(tree, |tree| tree.running = tree.running.saturating_sub(1));
    }

    /// Who runs next, if there is room; counts as running from here on.
    pub(crate) fn next(&mut self) -> Option<(ThreadId, T)> {
        while self.running < self.max {
            if self.round.is_empty() {
                self.round.extend(self.served.drain(..));
            }
            let tree = self.round.pop_front()?;
            let Some(line) = self.trees.get_mut(&tree) else { continue };
            let first = if line.may_run() { line.line.pop_first() } else { None };
            if first.is_some() {
                line.running += 1;
                self.running += 1;
            }
            if line.may_run() {
                self.served.push(tree); // it is in the round still, at its end
            } else {
                line.in_round = false;
                self.change(tree, |_| ());
            }
            if let Some((_, who)) = first {
                return Some((tree, who));
            }
        }
        None
    }

    fn change(&mut self, tree: ThreadId, change: impl FnOnce(&mut Tree<T>)) {
        let line = self.trees.entry(tree).or_default();
        change(line);
        if line.may_run() && !line.in_round {
            line.in_round = true;
            self.round.push_back(tree);
        }
        if line.is_idle() {
            self.trees.remove(&tree);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(n: u64) -> ThreadId {
        ThreadId::from_parts(n, [0; 10])
    }

    fn served(queue: &mut FairQueue<u64>) -> Vec<u64> {
        std::iter::from_fn(|| queue.next().map(|(_, who)| who)).collect()
    }

    #[test]
    fn a_tree_with_a_thousand_in_line_delays_another_by_one_place() {
        let mut queue = FairQueue::new(1);
        for who in 0..1_000 {
            queue.ask(tree(1), who);
        }
        assert_eq!(served(&mut queue), [0]);
        queue.ask(tree(2), 5_000);
        queue.ask(tree(2), 5_001);
        let mut order = Vec::new();
        for _ in 0..4 {
            let running = if order.last().is_some_and(|who| *who >= 5_000) { 2 } else { 1 };
            queue.give_back(tree(running));
            order.extend(served(&mut queue));
        }
        assert_eq!(order, [5_000, 1, 5_001, 2], "in turns, each in its order");
    }

    #[test]
    fn a_tree_that_was_served_is_behind_those_who_came_before_its_place_was_free_and_no_others() {
        let mut queue = FairQueue::new(1);
        for who in [10, 11] {
            queue.ask(tree(1), who);
        }
        assert_eq!(served(&mut queue), [10]);
        queue.ask(tree(2), 20);
        queue.give_back(tree(1));
        queue.ask(tree(3), 30);
        let mut order = served(&mut queue);
        for running in [2, 1] {
            queue.give_back(tree(running));
            order.extend(served(&mut queue));
        }
        assert_eq!(order, [20, 11, 30]);
    }

    #[test]
    fn a_tree_at_its_own_bound_waits_and_holds_up_nobody() {
        let mut queue = FairQueue::new(4);
        queue.bound(tree(1), 1);
        for who in 0..3 {
            queue.ask(tree(1), who);
        }
        queue.ask(tree(2), 10);
        assert_eq!(served(&mut queue), [0, 10]);
        queue.give_back(tree(2));
        assert!(served(&mut queue).is_empty(), "that place is not for the first tree");
        queue.give_back(tree(1));
        assert_eq!(served(&mut queue), [1]);
        queue.bound(tree(1), 2);
        assert_eq!(served(&mut queue), [2], "a wider bound lets the next one run");
    }

    #[test]
    fn who_comes_while_others_wait_does_not_overtake_them() {
        let mut queue = FairQueue::new(1);
        assert!(queue.take_free(tree(1)));
        assert!(!queue.take_free(tree(2)), "all run that may");
        queue.ask(tree(2), 2);
        queue.give_back(tree(1));
        assert!(!queue.take_free(tree(1)), "one waits for the place that came free");
        assert_eq!(served(&mut queue), [2]);
        queue.give_back(tree(2));
        assert!(queue.trees.is_empty(), "nothing of it remains");
    }

    #[test]
    fn who_leaves_the_line_is_not_served() {
        let mut queue = FairQueue::new(1);
        let first = queue.ask(tree(1), 0);
        assert_eq!(served(&mut queue), [0]);
        let second = queue.ask(tree(1), 1);
        queue.ask(tree(1), 2);
        queue.leave(tree(1), second);
        queue.leave(tree(1), first);
        queue.give_back(tree(1));
        assert_eq!(served(&mut queue), [2]);
        queue.give_back(tree(1));
        assert!(queue.trees.is_empty() && queue.round.is_empty(), "nothing of it remains");
        assert!(queue.served.is_empty());
    }

    proptest! {
        /// Whatever happens: the bounds hold, nobody who may run waits, and nothing is forgotten.
        #[test]
        fn bounds_hold_and_room_is_used(
            max in 1_usize..5,
            bound in 1_usize..4,
            steps in proptest::collection::vec((0_u8..4, 0_u64..4), 0..200),
        ) {
            let mut queue = FairQueue::new(max);
            queue.bound(tree(0), bound);
            let mut waiting: Vec<(u64, u64)> = Vec::new();
            let mut running: Vec<u64> = Vec::new();
            for (what, of) in steps {
                match what {
                    // As who asks does: a place that is free, else one in line.
                    0 | 1 if queue.take_free(tree(of)) => running.push(of),
                    0 | 1 => {
                        let ticket = queue.ask(tree(of), of);
                        waiting.push((of, ticket));
                    }
                    2 => {
                        if let Some(at) = running.iter().position(|run| *run == of) {
                            running.swap_remove(at);
                            queue.give_back(tree(of));
                        }
                    }
                    _ => {
                        if let Some(at) = waiting.iter().rposition(|(tree, _)| *tree == of) {
                            let (_, ticket) = waiting.remove(at);
                            queue.leave(tree(of), ticket);
                        }
                    }
                }
                while let Some((_, who)) = queue.next() {
                    let at = waiting.iter().position(|(tree, _)| *tree == who).unwrap();
                    waiting.remove(at);
                    running.push(who);
                }
                let of_first = running.iter().filter(|tree| **tree == 0).count();
                prop_assert!(running.len() <= max && of_first <= bound);
                let may = |tree: u64| tree != 0 || of_first < bound;
                let idle = waiting.iter().filter(|(tree, _)| may(*tree)).count();
                prop_assert!(running.len() == max || idle == 0, "room was left unused");
            }
        }
    }
}
