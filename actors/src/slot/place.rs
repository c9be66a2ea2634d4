//! Where a thread is in its tree. Read with each fact that it tells, changed by a move, which is rare:
//! a thread that never moved pays one look for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use coppicer_messages::MOVES_MAX;

use super::Slot;
use crate::taps::About;

/// Rows of places: the n-th has room for 2^n.
const ROWS: usize = MOVES_MAX.ilog2() as usize;

/// The place of one thread, and those before it: whoever reads one may go on to use it.
pub(super) struct Places {
    first: Arc<About>,
    later: OnceLock<Box<Later>>,
}

/// Where a thread was put since it has its slot.
#[derive(Default)]
struct Later {
    moves: AtomicUsize,
    rows: [OnceLock<Row>; ROWS],
}

type Row = Box<[OnceLock<Arc<About>>]>;

impl Places {
    pub(super) const fn new(first: Arc<About>) -> Self {
        Self { first, later: OnceLock::new() }
    }

    pub(super) fn now(&self) -> &Arc<About> {
        match self.later.get() {
            None => &self.first,
            Some(later) => later.last().unwrap_or(&self.first),
        }
    }

    fn moves(&self) -> usize {
        self.later.get().map_or(0, |later| later.moves.load(Ordering::Acquire))
    }

    /// Only the supervisor writes.
    fn put(&self, about: Arc<About>) -> bool {
        self.later.get_or_init(Box::default).add(about)
    }
}

impl Later {
    fn last(&self) -> Option<&Arc<About>> {
        let moves = self.moves.load(Ordering::Acquire);
        let (row, at) = split(moves.checked_sub(1)?);
        self.rows.get(row)?.get()?.get(at)?.get()
    }

    fn add(&self, about: Arc<About>) -> bool {
        let moves = self.moves.load(Ordering::Acquire);
        let (row, at) = split(moves);
        let Some(row) = self.rows.get(row) else { return false };
        let row = row.get_or_init(|| (0..=moves).map(|_| OnceLock::new()).collect());
        let added = row.get(at).is_some_and(|place| place.set(about).is_ok());
        if added {
            self.moves.store(moves + 1, Ordering::Release);
        }
        added
    }
}

/// The row of the n-th place, and where it is in there.
const fn split(n: usize) -> (usize, usize) {
    let row = (n + 1).ilog2() as usize;
    (row, n + 1 - (1 << row))
}

impl Slot {
    /// Which thread, and what is above it.
    pub fn about(&self) -> &Arc<About> {
        self.places.now()
    }

    /// How often the thread was moved since it has this slot.
    pub fn moves(&self) -> usize {
        self.places.moves()
    }

    /// The thread is somewhere else from now on. False if it moved too often for this slot, which
    /// whoever moves it has to see to.
    pub fn move_to(&self, about: About) -> bool {
        let path = about.path.clone();
        let moved = self.places.put(Arc::new(about));
        self.change_view(|shown| shown.path = path);
        moved
    }
}

#[cfg(test)]
mod tests {
    use coppicer_messages::ThreadId;

    use super::*;

    fn about(depth: u32) -> About {
        About { depth, ..About::of(ThreadId::from_parts(1, [0; 10])) }
    }

    #[test]
    fn the_last_place_counts_and_those_before_stay_readable() {
        let places = Places::new(Arc::new(about(0)));
        let first = places.now();
        for n in 1..200 {
            assert!(places.put(Arc::new(about(n))));
            assert_eq!((places.now().depth, places.moves()), (n, n as usize));
        }
        assert_eq!(first.depth, 0);
    }

    #[test]
    fn there_are_so_many_moves_and_no_more() {
        let places = Places::new(Arc::new(about(0)));
        let mut moves = 0;
        while places.put(Arc::new(about(moves + 1))) {
            moves += 1;
        }
        assert_eq!(moves as usize, MOVES_MAX - 1);
        assert_eq!(places.now().depth, moves);
    }
}
