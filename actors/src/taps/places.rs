//! Where the row of each thread stands: an index that has no ids, because the rows have them.

use std::hash::BuildHasher;

use coppicer_messages::{ThreadHasher, ThreadId};
use hashbrown::HashTable;

/// Places by thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    index: HashTable<Place>,
    hasher: ThreadHasher,
}

/// A place, and half of its thread's hash: enough to find it, so that growing reads no row.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    at: u32,
}

impl Place {
    /// The table looks at both ends of a hash.
    fn hash(self) -> u64 {
        let half = u64::from(self.hash);
        half << 32 | half
    }
}

impl Places {
    fn place(&self, thread: ThreadId, at: u32) -> Place {
        Place { hash: (self.hasher.hash_one(thread) >> 32) as u32, at }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Where a thread's row stands. `is_of`: whether the row at a place is its.
    pub(super) fn get(&self, thread: ThreadId, is_of: impl Fn(u32) -> bool) -> Option<u32> {
        let of = self.place(thread, 0);
        let same = |place: &Place| place.hash == of.hash && is_of(place.at);
        self.index.find(of.hash(), same).map(|place| place.at)
    }

    /// Notes where the row of a thread stands that has none yet.
    pub(super) fn insert(&mut self, thread: ThreadId, at: u32) {
        let place = self.place(thread, at);
        self.index.insert_unique(place.hash(), place, |place| place.hash());
    }

    /// Forgets it: where it stood.
    pub(super) fn remove(&mut self, thread: ThreadId, is_of: impl Fn(u32) -> bool) -> Option<u32> {
        let of = self.place(thread, 0);
        let same = |place: &Place| place.hash == of.hash && is_of(place.at);
        let found = self.index.find_entry(of.hash(), same).ok()?;
        Some(found.remove().0.at)
    }

    /// All places, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.index.iter().map(|place| place.at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> ThreadId {
        ThreadId::from_parts(7, [n; 10])
    }

    proptest! {
        /// Against a plain map, with rows that tell whose they are.
        #[test]
        fn places_are_those_of_a_map(steps in prop::collection::vec((any::<bool>(), any::<u8>()), 1..600)) {
            let (mut places, mut model) = (Places::default(), HashMap::new());
            let mut rows: Vec<ThreadId> = Vec::new();
            for (adds, n) in steps {
                let thread = id(n);
                if adds && !model.contains_key(&thread) {
                    rows.push(thread);
                    model.insert(thread, rows.len() as u32 - 1);
                    places.insert(thread, rows.len() as u32 - 1);
                } else if !adds {
                    let gone = places.remove(thread, |at| rows[at as usize] == thread);
                    prop_assert_eq!(gone, model.remove(&thread));
                }
                let found = places.get(thread, |at| rows[at as usize] == thread);
                prop_assert_eq!(found, model.get(&thread).copied());
                prop_assert_eq!(places.len(), model.len());
            }
            let (mut all, mut expected): (Vec<u32>, Vec<u32>) =
                (places.iter().collect(), model.into_values().collect());
            all.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(all, expected);
        }
    }
}
