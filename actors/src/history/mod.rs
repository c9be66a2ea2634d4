//! Histories: the records of one thread in memory, and everything that is decided on them.
//!
//! All of it is pure. [`History`] is the data structure; the files beside this one hold the
//! decisions: [`classify`] (what a line is), `turns` (turn state, positions), `fork` (fork plans),
//! `excerpt` and `begin` (forks planned on a piece of a history),
//! `replay` (what a model is shown), `valid` (the check that it is valid, and what closes it),
//! `write` (the lines that the runtime writes itself).

mod begin;
mod classify;
mod clock;
mod dropped;
mod excerpt;
mod fork;
mod fragments;
mod json;
mod keep;
mod marker;
mod meta;
mod meta_line;
mod outline;
mod parting;
mod recorded;
mod replay;
mod rollback;
mod scan;
mod skipped;
mod starts;
mod text;
mod tree;
mod turns;
mod valid;
mod write;

use std::sync::Arc;

use coppicer_messages::{NewRecord, Record, RecordClass, Seq};

pub use begin::{ForkBeginning, NotBegun, begin_fork};
pub use classify::{Classified, LINE_DEPTH_MAX, LineFlaw, classify, classify_item, record_of};
pub use excerpt::{Excerpt, ExcerptAt, ExcerptQuery};
pub use fork::{ForkOptions, ForkPlan, Kept, KeptRecord, plan_fork};
pub use keep::KeepRules;
pub use marker::MarkerKind;
pub use meta::{HistoryBase, HistoryMode, MetaError, SessionMeta, SessionSource, ThreadSpawn};
pub use outline::{Outline, RecordedOutcome, Turn};
pub use parting::Parting;
pub use recorded::{RecordedTurn, recorded_turns};
pub use replay::{ModelView, SUMMARISED_USER_BYTES_MAX, ViewItem, model_view};
pub use rollback::{RollbackRefusal, plan_rollback, user_turns};
pub(crate) use text::preview_in;
pub use text::text_of;
pub(crate) use turns::is_own;
pub use turns::{
    TurnState, before_nth_user_message, fork_turn_positions, open_turn, turn_state, user_positions,
};
pub(crate) use valid::debug_check;
pub use valid::{
    Flaw, OpenCall, close_open_calls, close_turn, is_settled, items_validity, open_calls,
    wire_validity,
};
pub use write::{ABORTED_OUTPUT, Envelope, Line, TokenCounts};

use starts::TurnHash;
use tree::{Counted, SEGMENT_RECORDS, Segment, Tree};

/// The records of one thread.
///
/// Sealed segments of records stand in a shared tree, the newest ones in a shared tail. So a
/// clone, a [`snapshot`](History::snapshot) and a [`prefix`](History::prefix) cost the same
/// whatever the length (a walk down the tree, at most six levels) and share every record with
/// their source. An appended record copies at most one tail of 64 entries, and only if that tail
/// is shared.
///
/// Records are numbered without gaps, from 0 on or, where only the end of a history was read, from
/// [`first_seq`](History::first_seq) on. What counts user messages or turns counts those it has.
#[derive(Clone, Default)]
pub struct History {
    /// The number of its first record.
    first: u64,
    sealed: Tree,
    tail: Arc<Segment>,
    /// How many records of `tail` belong to this history; a prefix may share a longer tail.
    tail_len: usize,
}

impl History {
    /// A history without records.
    pub fn new() -> Self {
        Self::default()
    }

    /// A history without records, whose first record will have number `first`: the end of one whose
    /// beginning was not read.
    pub fn starting_at(first: Seq) -> Self {
        Self { first: first.0, ..Self::default() }
    }

    /// The number of its first record; of the next one if it has none.
    pub fn first_seq(&self) -> Seq {
        Seq(self.first)
    }

    /// The records from number `from` on, as a history that begins there. Copies them.
    #[must_use]
    pub fn from(&self, from: Seq) -> Self {
        let from = from.max(self.first_seq()).min(self.next_seq());
        let mut rest = Self::starting_at(from);
        for record in self.iter_from(from) {
            rest.push(record.clone());
        }
        rest
    }

    /// How many records it has.
    pub fn len(&self) -> u64 {
        self.sealed_len() + self.tail_len as u64
    }

    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number that the next record gets.
    pub fn next_seq(&self) -> Seq {
        Seq(self.first + self.len())
    }

    /// Appends `record`.
    ///
    /// # Panics
    /// If its number is not [`next_seq`](History::next_seq): a gap would make every later decision
    /// about this history wrong.
    pub fn push(&mut self, record: Record) {
        assert_eq!(record.seq, self.next_seq(), "the records of a history have no gaps");
        if self.tail_len < self.tail.len() {
            self.tail = Arc::new(self.tail.first(self.tail_len));
        }
        Arc::make_mut(&mut self.tail).push(record);
        self.tail_len += 1;
        if self.tail_len == SEGMENT_RECORDS {
            self.sealed.push(std::mem::take(&mut self.tail));
            self.tail_len = 0;
        }
    }

    /// Appends `record` and returns the number it got.
    pub fn append(&mut self, record: NewRecord) -> Seq {
        let seq = self.next_seq();
        self.push(record.at(seq));
        seq
    }

    /// The record with this number.
    pub fn get(&self, seq: Seq) -> Option<&Record> {
        let sealed = self.sealed_len();
        let place = seq.0.checked_sub(self.first)?;
        if place < sealed {
            let at = place as usize;
            return self.sealed.get(at / SEGMENT_RECORDS)?.get(at % SEGMENT_RECORDS);
        }
        let at = (place - sealed) as usize;
        if at < self.tail_len { self.tail.get(at) } else { None }
    }

    /// The newest record.
    pub fn last(&self) -> Option<&Record> {
        self.get(Seq(self.next_seq().0.checked_sub(1)?))
    }

    /// All records, oldest first.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(self.first_seq())
    }

    /// The records from number `seq` on, oldest first; none if it is past the end.
    pub fn iter_from(&self, seq: Seq) -> Iter<'_> {
        self.range(seq, self.next_seq())
    }

    /// The records with numbers in `from..to`, as far as there are any.
    pub fn range(&self, from: Seq, to: Seq) -> Iter<'_> {
        let to = to.0.clamp(self.first, self.next_seq().0);
        Iter { history: self, from: from.0.clamp(self.first, to), to, front: &[] }
    }

    /// The records with numbers below `cut`, shared with this history; all of it if it has no other.
    #[must_use]
    pub fn prefix(&self, cut: u64) -> Self {
        let sealed = self.sealed_len();
        let cut = cut.saturating_sub(self.first);
        if cut >= self.len() {
            return self.clone();
        }
        if cut >= sealed {
            return Self { tail_len: (cut - sealed) as usize, ..self.clone() };
        }
        let (segments, rest) = (cut as usize / SEGMENT_RECORDS, cut as usize % SEGMENT_RECORDS);
        let tail = match (rest, self.sealed.get(segments)) {
            (1.., Some(segment)) => segment.clone(),
            _ => Arc::default(),
        };
        Self { first: self.first, sealed: self.sealed.prefix(segments), tail, tail_len: rest }
    }

    /// The history as it is now. Later appends to either do not show in the other.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        self.clone()
    }

    /// How many records at the front the two histories hold in common *by sharing memory*. Counts
    /// in segments of 64, so it may be less than what they have in common by content.
    pub fn shared_prefix(&self, other: &Self) -> u64 {
        if self.first != other.first {
            return 0;
        }
        let both = self.sealed.len().min(other.sealed.len());
        let shared = self.sealed.shared_prefix(&other.sealed).min(both);
        (shared * SEGMENT_RECORDS) as u64
    }

    /// How many records at the front the two histories have in common: those that they share, then
    /// those with the same bytes.
    pub fn common_prefix(&self, other: &Self) -> u64 {
        if self.first != other.first {
            return 0;
        }
        let shared = self.shared_prefix(other);
        let from = Seq(self.first + shared);
        let rest = self.iter_from(from).zip(other.iter_from(from));
        shared + rest.take_while(|(own, others)| own.raw == others.raw).count() as u64
    }

    /// The newest session meta: the thread's own. What stands before it in a fork's history are
    /// those of the threads that it was forked from. A walk down the tree.
    pub fn own_meta(&self) -> Option<&Record> {
        let newest = self.count(Counted::Metas).checked_sub(1)?;
        self.get(self.nth(Counted::Metas, newest)?)
    }

    /// The first user message, rolled back or not. A walk down the tree.
    pub(crate) fn first_user_message(&self) -> Option<&Record> {
        self.get(self.nth(Counted::UserMessages, 0)?)
    }

    /// How many records of this kind it has, rolled back or not.
    fn count(&self, what: Counted) -> u64 {
        // The tail is short: what it has is not noted with each record of each thread.
        let tail = self.tail.records()[..self.tail_len].iter();
        let tail = tail.filter(|record| what.has(&record.class)).count();
        self.sealed.summary().count(what) + tail as u64
    }

    /// How many records of this kind stand before `seq`. A walk down the tree.
    fn count_before(&self, what: Counted, seq: Seq) -> u64 {
        let place = seq.0.saturating_sub(self.first) as usize;
        let from = (place / SEGMENT_RECORDS).min(self.sealed.len());
        let rest = self.range(self.seq_at((from * SEGMENT_RECORDS) as u64), seq);
        let rest = rest.filter(|record| what.has(&record.class)).count();
        self.sealed.count_before(what, from) + rest as u64
    }

    /// Record number `nth` (from 0) of this kind, rolled back or not. A walk down the tree.
    fn nth(&self, what: Counted, nth: u64) -> Option<Seq> {
        let sealed = self.sealed.summary().count(what);
        let (from, skip) = if nth < sealed {
            let (segment, before) = self.sealed.find_nth(what, nth)?;
            ((segment * SEGMENT_RECORDS) as u64, nth - before)
        } else {
            (self.sealed_len(), nth - sealed)
        };
        self.iter_from(self.seq_at(from))
            .filter(|record| what.has(&record.class))
            .nth(usize::try_from(skip).ok()?)
            .map(|record| record.seq)
    }

    /// The number of the record at this place.
    fn seq_at(&self, place: u64) -> Seq {
        Seq(self.first + place)
    }

    /// The newest start of this turn, rolled back or not. Looks only into segments that may have it.
    fn start_of(&self, turn: &str) -> Option<Seq> {
        let is_start = |record: &&Record| matches!(&record.class, RecordClass::TurnStarted { turn: Some(id) } if **id == *turn);
        let tail = &self.tail.records()[..self.tail_len];
        if let Some(record) = tail.iter().rev().find(is_start) {
            return Some(record.seq);
        }
        self.sealed.find_start(TurnHash::of(turn), |segment| {
            segment.records().iter().rev().find(is_start).map(|record| record.seq)
        })
    }

    fn sealed_len(&self) -> u64 {
        (self.sealed.len() * SEGMENT_RECORDS) as u64
    }

    /// The run of records in memory that starts at `at`; empty at the end.
    fn run(&self, at: u64) -> &[Record] {
        let at = at - self.first;
        let sealed = self.sealed_len();
        if at >= sealed {
            return self.tail.records().get((at - sealed) as usize..self.tail_len).unwrap_or(&[]);
        }
        let at = at as usize;
        match self.sealed.get(at / SEGMENT_RECORDS) {
            Some(segment) => &segment.records()[at % SEGMENT_RECORDS..],
            None => &[],
        }
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Equal records in the same order, wherever they live.
impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        let from = Seq(self.first + self.shared_prefix(other));
        self.first == other.first
            && self.len() == other.len()
            && self.iter_from(from).eq(other.iter_from(from))
    }
}

impl Extend<NewRecord> for History {
    fn extend<I: IntoIterator<Item = NewRecord>>(&mut self, records: I) {
        for record in records {
            self.append(record);
        }
    }
}

impl FromIterator<NewRecord> for History {
    fn from_iter<I: IntoIterator<Item = NewRecord>>(records: I) -> Self {
        let mut history = Self::new();
        history.extend(records);
        history
    }
}

impl<'a> IntoIterator for &'a History {
    type Item = &'a Record;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Records of a history, in order. See [`History::iter`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    history: &'a History,
    from: u64,
    to: u64,
    front: &'a [Record],
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Record;

    fn next(&mut self) -> Option<&'a Record> {
        if self.from == self.to {
            return None;
        }
        if self.front.is_empty() {
            self.front = self.history.run(self.from);
        }
        let (record, rest) = self.front.split_first()?;
        self.front = rest;
        self.from += 1;
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.to - self.from) as usize;
        (left, Some(left))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.from == self.to {
            return None;
        }
        self.to -= 1;
        self.history.get(Seq(self.to))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn numbered(count: u64) -> History {
        (0..count)
            .map(|n| NewRecord {
                at_ms: n,
                class: RecordClass::Other,
                raw: Arc::from(n.to_string().as_bytes()),
            })
            .collect()
    }

    fn texts(history: &History) -> Vec<u64> {
        history.iter().map(|record| record.at_ms).collect()
    }

    #[test]
    fn a_history_gives_back_what_it_was_given() {
        for count in [0, 1, 63, 64, 65, 2_047, 2_048, 2_049, 70_000] {
            let history = numbered(count);
            assert_eq!(history.len(), count);
            assert!(history.iter().map(|r| r.seq.0).eq(0..count));
            assert!(history.iter().rev().map(|r| r.seq.0).eq((0..count).rev()));
            assert_eq!(history.get(Seq(count)), None);
        }
    }

    #[test]
    fn a_prefix_shares_its_records_and_both_go_on_apart() {
        for cut in [0, 1, 64, 100, 2_048, 4_999, 5_000] {
            let mut source = numbered(5_000);
            let mut fork = source.prefix(cut);
            fork.append(NewRecord {
                at_ms: 77,
                class: RecordClass::Other,
                raw: Arc::from(&b"x"[..]),
            });
            source.append(NewRecord {
                at_ms: 88,
                class: RecordClass::Other,
                raw: Arc::from(&b"y"[..]),
            });
            assert_eq!(texts(&fork), (0..cut).chain([77]).collect::<Vec<_>>());
            assert_eq!(texts(&source), (0..5_000).chain([88]).collect::<Vec<_>>());
            if cut > 0 {
                assert!(Arc::ptr_eq(
                    &fork.get(Seq(0)).unwrap().raw,
                    &source.get(Seq(0)).unwrap().raw
                ));
            }
            assert_eq!(fork.shared_prefix(&source), cut / 64 * 64);
        }
    }

    #[test]
    fn an_iterator_that_is_read_from_both_ends_meets_in_the_middle() {
        let history = numbered(200);
        let mut iter = history.range(Seq(10), Seq(150));
        let mut seen = Vec::new();
        while let Some(front) = iter.next() {
            seen.push(front.seq.0);
            seen.extend(iter.next_back().map(|r| r.seq.0));
        }
        seen.sort_unstable();
        assert_eq!(seen, (10..150).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "no gaps")]
    fn a_gap_is_refused() {
        let mut history = numbered(3);
        let record = history.get(Seq(1)).unwrap().clone();
        history.push(record);
    }

    #[test]
    fn the_end_of_a_history_has_its_records_under_their_numbers() {
        let whole = numbered(300);
        for from in [0, 1, 63, 64, 200, 299, 300, 400] {
            let end = whole.from(Seq(from));
            let from = from.min(300);
            assert_eq!((end.first_seq(), end.next_seq()), (Seq(from), Seq(300)));
            assert_eq!(end.len(), 300 - from);
            assert!(end.iter().eq(whole.iter_from(Seq(from))));
            assert!(end.iter().rev().eq(whole.iter_from(Seq(from)).rev()));
            assert_eq!(end.get(Seq(from.wrapping_sub(1))), None);
            assert_eq!(end.last(), whole.get(Seq(299)).filter(|last| last.seq.0 >= from));
            let cut = end.prefix(250);
            assert!(cut.iter().eq(whole.range(Seq(from), Seq(250))), "from {from}");
            let mut on = cut.clone();
            on.append(whole.get(Seq(0)).unwrap().clone().into());
            assert_eq!(on.next_seq().0, cut.next_seq().0 + 1);
        }
        assert_eq!(whole.common_prefix(&whole.from(Seq(10))), 0);
        assert_ne!(whole.from(Seq(300)), History::new(), "they go on at different numbers");
    }

    #[test]
    fn histories_cross_threads() {
        fn check<T: Send + Sync>() {}
        check::<History>();
    }

    proptest! {
        #[test]
        fn prefixes_of_prefixes_are_prefixes(len in 0u64..9_000, a in 0u64..9_000, b in 0u64..9_000, more in 0u64..300) {
            let source = numbered(len);
            let mut fork = source.prefix(a).prefix(b);
            let kept = len.min(a).min(b);
            prop_assert_eq!(fork.len(), kept);
            for n in 0..more {
                fork.append(NewRecord { at_ms: n, class: RecordClass::Other, raw: Arc::from(&b""[..]) });
            }
            prop_assert_eq!(texts(&fork), (0..kept).chain(0..more).collect::<Vec<_>>());
            prop_assert_eq!(texts(&source), (0..len).collect::<Vec<_>>());
        }
    }
}
