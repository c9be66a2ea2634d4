//! The journal: the lifecycle events that a cursor can go back to.

use std::collections::VecDeque;
use std::sync::Arc;

use coppicer_messages::{Event, TapError};

use crate::lineage::Lineage;

/// An event that was published, with what is above its thread and about how much memory it takes.
#[derive(Debug, Clone)]
pub(super) struct Published {
    /// The event's, so that nobody looks at an event to let it go.
    pub(super) seq: u64,
    pub(super) event: Arc<Event>,
    pub(super) lineage: Lineage,
    pub(super) bytes: usize,
}

/// Events one after the other, which the journal shares with portions: these count a block once, and
/// touch none of its events when they go.
pub(super) type Block = Vec<Published>;

/// Most events of a block that no portion asks for.
const BLOCK_EVENTS_MAX: usize = 64;

/// Fewer events than this are no block yet: a portion takes them one by one.
const FEW: usize = 16;

/// Bounded in events and bytes: the oldest go first. Their memory goes by blocks.
#[derive(Debug)]
pub(super) struct Journal {
    blocks: VecDeque<Arc<Block>>,
    /// The newest events, which are no block yet.
    open: Block,
    /// How many of the oldest block, or of the open one if there is no other, are gone.
    gone: usize,
    events: usize,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
    /// The newest event that fell out; 0 if none did.
    forgotten: u64,
}

impl Journal {
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Self {
        let (blocks, open) = (VecDeque::new(), Vec::new());
        let (gone, events, bytes, forgotten) = (0, 0, 0, 0);
        Self { blocks, open, gone, events, bytes, events_max, bytes_max, forgotten }
    }

    /// Takes an event in, and lets others go for it. Gives the blocks of which none is left, so that who
    /// holds a lock need not free them.
    pub(super) fn push(&mut self, published: Published, gone: &mut Vec<Arc<Block>>) {
        self.events += 1;
        self.bytes += published.bytes;
        self.open.push(published);
        while self.events > self.events_max || self.bytes > self.bytes_max {
            let block = self.blocks.front().map_or(&self.open, |block| &**block);
            let Some(oldest) = block.get(self.gone) else { break };
            self.events -= 1;
            self.bytes -= oldest.bytes;
            self.forgotten = oldest.seq;
            self.gone += 1;
            if self.blocks.front().is_some_and(|block| block.len() == self.gone) {
                gone.extend(self.blocks.pop_front());
                self.gone = 0;
            }
        }
    }

    /// How many events are no block yet.
    pub(super) const fn unsealed(&self) -> usize {
        self.open.len()
    }

    /// One that is no block yet.
    pub(super) fn unsealed_event(&self, at: usize) -> &Arc<Event> {
        &self.open[at].event
    }

    /// Makes a block of the newest events, if nobody else will and they are enough.
    pub(super) fn seal_if_full(&mut self) {
        if self.open.len() >= BLOCK_EVENTS_MAX {
            let _kept = self.seal();
        }
    }

    /// Whether they are too few to be a block.
    pub(super) const fn has_few(&self) -> bool {
        self.open.len() < FEW
    }

    /// The newest events as a block, unless they are few.
    pub(super) fn seal_for_portion(&mut self) -> Option<Arc<Block>> {
        (!self.has_few()).then(|| self.seal())
    }

    fn seal(&mut self) -> Arc<Block> {
        let room = Vec::with_capacity(self.open.len());
        let block = Arc::new(std::mem::replace(&mut self.open, room));
        if self.blocks.is_empty() && self.gone == block.len() {
            self.gone = 0;
        } else {
            self.blocks.push_back(block.clone());
        }
        block
    }

    /// The oldest cursor that it can go on from.
    pub(super) const fn begin(&self) -> u64 {
        self.forgotten
    }

    /// What it has after `cursor`; `newest` is the last event of all. Shared: who holds a lock need not go
    /// through the events.
    pub(super) fn after(&self, cursor: u64, newest: u64) -> Result<Since, TapError> {
        let from = self.forgotten;
        if cursor < from || cursor > newest {
            return Err(TapError::CursorOutside { cursor, from, to: newest });
        }
        // Those that are gone are not after it.
        let is_before = |published: &Published| published.seq <= cursor;
        let first = self.blocks.partition_point(|block| block.last().is_none_or(is_before));
        let blocks = self.blocks.range(first..).cloned().collect();
        let behind = self.open.partition_point(is_before);
        Ok(Since { blocks, open: self.open[behind..].to_vec(), cursor })
    }
}

/// What the journal had after an event.
#[derive(Debug)]
pub(super) struct Since {
    blocks: Vec<Arc<Block>>,
    open: Block,
    cursor: u64,
}

impl Since {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Published> {
        let blocks = self.blocks.iter().flat_map(|block| block.iter());
        blocks.chain(&self.open).skip_while(|published| published.seq <= self.cursor)
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
        Published { seq, event: Arc::new(event), lineage: Lineage::default(), bytes }
    }

    /// Takes it in; how many events the blocks had that went.
    fn push(journal: &mut Journal, seq: u64, bytes: usize) -> usize {
        let mut gone = Vec::new();
        journal.push(published(seq, bytes), &mut gone);
        gone.iter().map(|block| block.len()).sum()
    }

    fn seqs(journal: &Journal, cursor: u64) -> Option<Vec<u64>> {
        let after = journal.after(cursor, 1_000).ok()?;
        Some(after.iter().map(|published| published.event.seq).collect())
    }

    #[test]
    fn it_lets_the_oldest_go_past_either_bound() {
        let mut journal = Journal::new(3, 100);
        for (seq, bytes) in [(1, 10), (2, 10), (5, 10)] {
            push(&mut journal, seq, bytes);
        }
        assert_eq!(seqs(&journal, 0), Some(vec![1, 2, 5]));
        assert_eq!(seqs(&journal, 3), Some(vec![5]), "numbers between belong to what is not kept");
        push(&mut journal, 7, 10);
        assert_eq!((seqs(&journal, 0), seqs(&journal, 1)), (None, Some(vec![2, 5, 7])));
        push(&mut journal, 8, 85);
        assert_eq!((seqs(&journal, 4), seqs(&journal, 5)), (None, Some(vec![7, 8])));
        push(&mut journal, 9, 101);
        assert_eq!((seqs(&journal, 8), seqs(&journal, 9)), (None, Some(Vec::new())));
        assert_eq!((journal.bytes, journal.events), (0, 0));
    }

    #[test]
    fn memory_goes_with_the_last_event_of_a_block() {
        let mut journal = Journal::new(20, 1_000);
        let mut gone = 0;
        for seq in 1..=16 {
            assert!(journal.seal_for_portion().is_none(), "they are few");
            gone += push(&mut journal, seq, 1);
        }
        assert_eq!(journal.seal_for_portion().map(|block| block.len()), Some(16));
        assert_eq!(journal.unsealed(), 0);
        for seq in 17..=35 {
            gone += push(&mut journal, seq, 1);
            let from = seq.saturating_sub(20);
            let kept: Vec<u64> = (from + 1..=seq).collect();
            assert_eq!((seqs(&journal, from), gone), (Some(kept), 0));
        }
        assert_eq!(push(&mut journal, 36, 1), 16, "the last of the first block");
        journal.seal_if_full();
        assert_eq!(journal.unsealed(), 20, "no block yet");
        assert_eq!(seqs(&journal, 30), Some((31..=36).collect()));
    }

    #[test]
    fn what_went_before_it_was_a_block_is_in_no_block_of_the_journal() {
        let mut journal = Journal::new(100, 10);
        for seq in 1..=80 {
            push(&mut journal, seq, 11);
            journal.seal_if_full();
        }
        assert!(journal.blocks.is_empty() && journal.unsealed() == 16);
        let block = journal.seal_for_portion().unwrap();
        assert_eq!((block.len(), journal.blocks.len()), (16, 0), "a portion has it alone");
        push(&mut journal, 81, 10);
        assert_eq!(seqs(&journal, 80), Some(vec![81]));
        assert_eq!((journal.bytes, journal.events), (10, 1));
    }
}
