//! The journal: the lifecycle events that a cursor can go back to.

use std::collections::VecDeque;
use std::sync::Arc;

use coppicer_messages::{Event, TapError};

use crate::lineage::Lineage;

/// An event that was published, with what is above its thread and about how much memory it takes.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) event: Arc<Event>,
    pub(super) lineage: Lineage,
    pub(super) bytes: usize,
}

/// Bounded in events and bytes: the oldest go first.
#[derive(Debug)]
pub(super) struct Journal {
    events: VecDeque<Published>,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
    /// The newest event that fell out; 0 if none did.
    forgotten: u64,
}

impl Journal {
    pub(super) const fn new(events_max: usize, bytes_max: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, events_max, bytes_max, forgotten: 0 }
    }

    /// Takes an event in, and lets others go for it. Gives the last of them, so that who holds a lock need
    /// not free it: it is mostly the only one.
    pub(super) fn push(&mut self, published: Published) -> Option<Published> {
        self.bytes += published.bytes;
        self.events.push_back(published);
        let mut gone = None;
        while self.events.len() > self.events_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.forgotten = oldest.event.seq;
            gone = Some(oldest);
        }
        gone
    }

    /// What it has after `cursor`; `newest` is the last event of all.
    pub(super) fn after(
        &self,
        cursor: u64,
        newest: u64,
    ) -> Result<impl Iterator<Item = &Published>, TapError> {
        let from = self.forgotten;
        if cursor < from || cursor > newest {
            return Err(TapError::CursorOutside { cursor, from, to: newest });
        }
        let first = self.events.partition_point(|published| published.event.seq <= cursor);
        Ok(self.events.range(first..))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use coppicer_messages::{Fact, RuntimeEvent};

    use super::*;

    /// A fact of this number, as large as is said.
    pub(in crate::taps) fn published(seq: u64, bytes: usize) -> Published {
        let mut event = Event::new(Fact::Runtime(RuntimeEvent::StoreRecovered));
        event.seq = seq;
        Published { event: Arc::new(event), lineage: Lineage::default(), bytes }
    }

    fn seqs(journal: &Journal, cursor: u64) -> Option<Vec<u64>> {
        let after = journal.after(cursor, 100).ok()?;
        Some(after.map(|published| published.event.seq).collect())
    }

    #[test]
    fn it_lets_the_oldest_go_past_either_bound() {
        let mut journal = Journal::new(3, 100);
        for (seq, bytes) in [(1, 10), (2, 10), (5, 10)] {
            journal.push(published(seq, bytes));
        }
        assert_eq!(seqs(&journal, 0), Some(vec![1, 2, 5]));
        assert_eq!(seqs(&journal, 3), Some(vec![5]), "numbers between belong to what is not kept");
        let gone = journal.push(published(7, 10));
        assert_eq!(gone.map(|gone| gone.event.seq), Some(1));
        assert_eq!((seqs(&journal, 0), seqs(&journal, 1)), (None, Some(vec![2, 5, 7])));
        journal.push(published(8, 85));
        assert_eq!((seqs(&journal, 4), seqs(&journal, 5)), (None, Some(vec![7, 8])));
        journal.push(published(9, 101));
        assert_eq!((seqs(&journal, 8), seqs(&journal, 9)), (None, Some(Vec::new())));
        assert_eq!(journal.bytes, 0);
    }
}
