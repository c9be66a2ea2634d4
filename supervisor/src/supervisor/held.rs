//! Requests that wait for something to happen to a thread, by that thread. Pure.

use std::collections::HashMap;

use coppicer_messages::ThreadId;

/// Those that wait for one thread before it is looked who of them still does.
const TIDY_MIN: usize = 64;

/// Who waits, for which thread; how many there are is known without looking at them.
pub(super) struct Held<T> {
    of: HashMap<ThreadId, Those<T>>,
    count: usize,
}

struct Those<T> {
    who: Vec<T>,
    tidy_at: usize,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { of: HashMap::new(), count: 0 }
    }
}

impl<T> Held<T> {
    /// How many wait.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Has somebody wait for a thread. Now and then it is looked who of the others `waits` no more: twice
    /// as many have to come before the next look as it left.
    pub(super) fn add(&mut self, thread: ThreadId, who: T, waits: impl Fn(&T) -> bool) {
        let new = || Those { who: Vec::new(), tidy_at: TIDY_MIN };
        let those = self.of.entry(thread).or_insert_with(new);
        if those.who.len() >= those.tidy_at {
            let before = those.who.len();
            those.who.retain(waits);
            self.count -= before - those.who.len();
            those.tidy_at = TIDY_MIN.max(2 * those.who.len());
        }
        those.who.push(who);
        self.count += 1;
    }

    /// What a thread was waited for has happened: those who did, in their order.
    pub(super) fn take(&mut self, thread: ThreadId) -> Vec<T> {
        let who = self.of.remove(&thread).map(|those| those.who).unwrap_or_default();
        self.count -= who.len();
        who
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> ThreadId {
        ThreadId::from_parts(n, [0; 10])
    }

    #[test]
    fn those_of_a_thread_come_in_their_order_and_are_counted() {
        let mut held = Held::default();
        for (thread, who) in [(1, 10), (2, 20), (1, 11)] {
            held.add(id(thread), who, |_| true);
        }
        assert_eq!((held.len(), held.take(id(1)), held.len()), (3, vec![10, 11], 1));
        assert_eq!((held.take(id(1)), held.take(id(2)), held.len()), (vec![], vec![20], 0));
    }

    #[test]
    fn those_who_do_not_wait_any_more_are_dropped_without_looking_at_all_for_each() {
        let (mut held, looks) = (Held::default(), std::cell::Cell::new(0));
        for n in 0..10_000_u64 {
            // Of a hundred one waits on.
            held.add(id(1), n, |who| {
                looks.set(looks.get() + 1);
                who % 100 == 0
            });
        }
        assert!(held.len() < 400, "{}", held.len());
        assert!(looks.get() < 40_000, "{}", looks.get());
        let left = held.take(id(1));
        assert_eq!(left.iter().filter(|who| *who % 100 == 0).count(), 100);
        assert!(left.is_sorted());
        assert_eq!(held.len(), 0);
    }
}
