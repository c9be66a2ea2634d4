//! The threads of one tree, in start order. Most trees are a root alone: that takes no map.

use std::collections::BTreeMap;

use coppicer_messages::ThreadId;

/// Threads by start order.
#[derive(Debug, Default)]
pub(super) enum Members {
    #[default]
    None,
    One(u64, ThreadId),
    /// Two at some time, or more.
    Many(BTreeMap<u64, ThreadId>),
}

impl Members {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(..) => 1,
            Self::Many(many) => many.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn insert(&mut self, order: u64, thread: ThreadId) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(order, thread),
            Self::One(had, _) if had == order => Self::One(order, thread),
            Self::One(had, one) => Self::Many(BTreeMap::from([(had, one), (order, thread)])),
            Self::Many(mut many) => {
                many.insert(order, thread);
                Self::Many(many)
            }
        };
    }

    pub(super) fn remove(&mut self, order: u64) {
        match self {
            Self::One(had, _) if *had == order => *self = Self::None,
            Self::Many(many) => drop(many.remove(&order)),
            Self::None | Self::One(..) => {}
        }
    }

    /// In start order.
    pub(super) fn values(&self) -> impl Iterator<Item = &ThreadId> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(_, one) => (Some(one), None),
            Self::Many(many) => (None, Some(many.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> ThreadId {
        ThreadId::from_parts(n, [0; 10])
    }

    #[test]
    fn they_are_what_a_map_by_start_order_would_be() {
        // Every sequence of four steps on three places: one is put there, or taken away.
        for steps in 0..6_u64.pow(4) {
            let (mut members, mut map) = (Members::default(), BTreeMap::new());
            for step in (0..4).map(|at| steps / 6_u64.pow(at) % 6) {
                let (order, thread) = (step / 2, id(step / 2));
                if step % 2 == 0 {
                    members.insert(order, thread);
                    map.insert(order, thread);
                } else {
                    members.remove(order);
                    map.remove(&order);
                }
                assert!(members.values().eq(map.values()), "{members:?}, not {map:?}");
                assert_eq!((members.len(), members.is_empty()), (map.len(), map.is_empty()));
            }
        }
    }
}
