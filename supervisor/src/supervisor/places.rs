//! Which threads have had another place of late: what the store said before that may be old.

use std::collections::VecDeque;

use coppicer_actors::Lineage;
use coppicer_messages::ThreadId;

/// Most changes that are remembered. What was asked before more of them is asked again.
const CHANGES_MAX: usize = 1_024;

/// Changes of places, numbered. One in memory counts, and so does one in the store: what is read in
/// between shows one place or the other.
#[derive(Default)]
pub(super) struct Places {
    changes: VecDeque<Change>,
    /// How many there were.
    count: u64,
}

/// A thread has another place, with all below it.
struct Change {
    thread: ThreadId,
    /// What was above it before, and what is now; none if that is not known any more.
    above: Option<[Lineage; 2]>,
}

impl Places {
    /// How many changes there were. What is asked from now on shows all of them.
    pub(super) const fn now(&self) -> u64 {
        self.count
    }

    /// A thread goes from below `before` to below `after`, here.
    pub(super) fn moved(&mut self, thread: ThreadId, before: Lineage, after: Lineage) {
        self.add(Change { thread, above: Some([before, after]) });
    }

    /// The place of a thread, or its ledger, is being written or was written.
    pub(super) fn wrote(&mut self, thread: ThreadId) {
        self.add(Change { thread, above: None });
    }

    fn add(&mut self, change: Change) {
        self.count += 1;
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }

    /// Whether a thread or something `above` it may have had another place since `asked`. Moves
    /// elsewhere do not count: a look-up must not be asked again for as long as others move.
    pub(super) fn changed_above(&self, asked: u64, thread: ThreadId, above: &Lineage) -> bool {
        self.any(asked, |change| change.thread == thread || above.contains(change.thread))
    }

    /// Whether something below a thread may have come or gone since `asked`.
    pub(super) fn changed_below(&self, asked: u64, thread: ThreadId) -> bool {
        self.any(asked, |change| match &change.above {
            Some(above) => change.thread == thread || above.iter().any(|it| it.contains(thread)),
            None => true,
        })
    }

    /// Whether anything had another place since `asked`.
    pub(super) const fn changed(&self, asked: u64) -> bool {
        asked != self.count
    }

    fn any(&self, asked: u64, counts: impl Fn(&Change) -> bool) -> bool {
        let since = usize::try_from(self.count - asked).unwrap_or(usize::MAX);
        if since > self.changes.len() {
            return true; // more than is remembered
        }
        self.changes.iter().rev().take(since).any(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> ThreadId {
        ThreadId::from_parts(n, [0; 10])
    }

    /// 3 below 2 below 1.
    fn above() -> Lineage {
        Lineage::default().below(id(1)).below(id(2))
    }

    #[test]
    fn only_what_is_above_a_thread_counts_for_its_place() {
        let mut places = Places::default();
        let asked = places.now();
        places.moved(id(9), Lineage::default(), above());
        places.wrote(id(9));
        assert!(places.changed(asked));
        assert!(!places.changed_above(asked, id(3), &above()), "a move elsewhere");
        places.wrote(id(1));
        assert!(places.changed_above(asked, id(3), &above()));
        let asked = places.now();
        assert!(!places.changed(asked) && !places.changed_above(asked, id(3), &above()));
        places.moved(id(3), above(), Lineage::default());
        assert!(places.changed_above(asked, id(3), &Lineage::default()), "it moved itself");
    }

    #[test]
    fn what_came_or_went_below_a_thread_counts_for_its_branch() {
        let mut places = Places::default();
        let asked = places.now();
        places.moved(id(8), Lineage::default(), Lineage::default().below(id(7)));
        assert!(!places.changed_below(asked, id(1)));
        places.moved(id(3), above(), Lineage::default());
        assert!(places.changed_below(asked, id(1)), "it left");
        let asked = places.now();
        places.moved(id(3), Lineage::default(), above());
        assert!(places.changed_below(asked, id(2)), "it came");
        let asked = places.now();
        places.wrote(id(3));
        assert!(places.changed_below(asked, id(5)), "nobody knows any more where it was");
    }

    #[test]
    fn what_was_asked_before_more_than_is_remembered_is_old() {
        let mut places = Places::default();
        let asked = places.now();
        for _ in 0..CHANGES_MAX {
            places.moved(id(9), Lineage::default(), Lineage::default());
        }
        assert!(!places.changed_above(asked, id(3), &above()));
        places.moved(id(9), Lineage::default(), Lineage::default());
        assert!(places.changed_above(asked, id(3), &above()));
        assert_eq!(places.changes.len(), CHANGES_MAX);
    }
}
