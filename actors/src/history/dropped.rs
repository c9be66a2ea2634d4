//! What rollbacks took out, found by a look at what they took out and not at the whole history.

use coppicer_messages::{RecordClass, Seq};

use super::History;
use super::outline::{OutlineReader, counts};
use super::tree::Counted;

/// The records that rollbacks took out: the same as in an [`Outline`](super::Outline) of the whole
/// history.
///
/// Costs a pass over the turns that were rolled back and the ones just before them; over everything
/// in histories without turn events.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// Disjoint, ascending: records from..to do not count.
    ranges: Vec<(Seq, Seq)>,
    /// The starts of the turns that do not count.
    gone: Vec<Seq>,
}

/// What there is of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// All of it.
    Whole,
    /// What comes from the start of some turn on.
    End,
}

/// A stretch of the history that was read by itself.
struct Part {
    start: Seq,
    /// The record after the last that was read: a rollback.
    end: Seq,
    reader: OutlineReader,
}

impl Part {
    /// From the first record on: of the history, or of what was read of it.
    fn first(history: &History, seen: Seen) -> Self {
        let start = history.first_seq();
        let reader = match seen {
            Seen::Whole => OutlineReader::default(),
            Seen::End => OutlineReader::in_the_middle(),
        };
        Self { start, end: start, reader }
    }

    fn from(start: Seq, history: &History, seen: Seen) -> Self {
        if start <= history.first_seq() {
            return Self::first(history, seen);
        }
        Self { start, end: start, reader: OutlineReader::in_the_middle() }
    }

    /// Reads up to and with the rollback.
    fn read_on(mut self, history: &History, rollback: Seq) -> Self {
        for record in history.range(self.end, rollback.next()) {
            self.reader.read(record);
        }
        self.end = rollback.next();
        self
    }
}

impl Dropped {
    pub(super) fn of(history: &History) -> Self {
        Self::counting_looks(history).0
    }

    /// The same of the end of a history, from the start of some turn on; none if it depends on what
    /// stands before that.
    pub(super) fn of_end(history: &History) -> Option<Self> {
        let mut reader = PartsReader::of(history, Seen::End);
        let dropped = reader.read_all();
        (!reader.lost).then_some(dropped)
    }

    /// Also says how often it looked at a record: at most a few times at each.
    fn counting_looks(history: &History) -> (Self, u64) {
        let mut reader = PartsReader::of(history, Seen::Whole);
        (reader.read_all(), reader.looks)
    }
    /// Whether this record still counts.
    pub(super) fn counts(&self, seq: Seq) -> bool {
        counts(&self.ranges, seq)
    }

    /// Whether the turn that started here was taken out.
    pub(super) fn is_gone(&self, start: Seq) -> bool {
        self.gone.contains(&start)
    }

    /// How many records of this kind still count.
    pub(super) fn count(&self, history: &History, what: Counted) -> u64 {
        let dropped = self.ranges.iter().map(|&range| in_range(history, what, range));
        history.count(what) - dropped.sum::<u64>()
    }

    /// Record number `nth` (from 0) of this kind among those that still count.
    pub(super) fn nth(&self, history: &History, what: Counted, nth: u64) -> Option<Seq> {
        let mut dropped = 0;
        for &range in &self.ranges {
            if nth < history.count_before(what, range.0) - dropped {
                break;
            }
            dropped += in_range(history, what, range);
        }
        history.nth(what, nth.checked_add(dropped)?)
    }
}

fn in_range(history: &History, what: Counted, (from, to): (Seq, Seq)) -> u64 {
    history.count_before(what, to) - history.count_before(what, from)
}

struct PartsReader<'a> {
    history: &'a History,
    seen: Seen,
    parts: Vec<Part>,
    /// How many records were looked at.
    looks: u64,
    /// Whether something depended on what stands before the records that there are.
    lost: bool,
}

impl<'a> PartsReader<'a> {
    fn of(history: &'a History, seen: Seen) -> Self {
        Self { history, seen, parts: Vec::new(), looks: 0, lost: false }
    }

    fn read_all(&mut self) -> Dropped {
        let history = self.history;
        for nth in 0..history.count(Counted::Rollbacks) {
            let Some(record) = history.nth(Counted::Rollbacks, nth).and_then(|at| history.get(at))
            else {
                break;
            };
            if let RecordClass::RolledBack { turns: turns @ 1.. } = record.class {
                self.read(record.seq, u64::from(turns));
            }
            if self.looks > 2 * history.len() {
                // An odd history: what its rollbacks reach is only known from the front.
                self.lost |= self.seen == Seen::End;
                let all = self.read_on(Part::first(history, self.seen), history.next_seq());
                self.parts = vec![all];
                break;
            }
        }
        let mut dropped = Dropped::default();
        for part in self.parts.drain(..) {
            let (ranges, gone) = part.reader.into_dropped();
            dropped.ranges.extend(ranges);
            dropped.gone.extend(gone);
        }
        dropped
    }

    /// Reads what a rollback reaches: from some turns before it, or on from the part before, if that
    /// is so near. If that is not enough to be sure, from further back.
    fn read(&mut self, rollback: Seq, turns: u64) {
        let front = self.history.first_seq();
        let floor = self.parts.last().map_or(front, |part| part.end);
        let mut back = turns + 1;
        let part = match self.starts_back(floor, rollback, back) {
            Some(start) => Part::from(start, self.history, self.seen),
            None => self.parts.pop().unwrap_or_else(|| Part::first(self.history, self.seen)),
        };
        let mut part = self.read_on(part, rollback);
        while !part.reader.is_sure() {
            if part.start <= front {
                self.lost = true;
                break;
            }
            back = back.saturating_mul(4);
            let mut start = self.starts_back(front, part.start, back).unwrap_or(front);
            while let Some(earlier) = self.parts.pop_if(|earlier| earlier.end > start) {
                start = start.min(earlier.start);
            }
            part = self.read_on(Part::from(start, self.history, self.seen), rollback);
        }
        self.parts.push(part);
    }

    fn read_on(&mut self, part: Part, rollback: Seq) -> Part {
        self.looks += rollback.0 - part.end.0;
        part.read_on(self.history, rollback)
    }

    /// The `back`-th start of a turn before `to`; none if there are not so many from `from` on.
    fn starts_back(&mut self, from: Seq, to: Seq, back: u64) -> Option<Seq> {
        let mut left = back;
        let looked_at = self.history.range(from, to).rev().inspect(|_| self.looks += 1);
        let mut starts = looked_at
            .filter(|record| matches!(record.class, RecordClass::TurnStarted { .. }))
            .map(|record| record.seq);
        starts.find(|_| {
            left -= 1;
            left == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use coppicer_messages::{NewRecord, TurnRef};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::Outline;
    use super::*;

    fn any_class() -> impl Strategy<Value = RecordClass> {
        let turn = || select(vec![None, Some(TurnRef::from("a")), Some(TurnRef::from("b"))]);
        prop_oneof![
            4 => Just(RecordClass::UserMessage),
            1 => any::<bool>().prop_map(|trigger| RecordClass::Envelope { trigger }),
            1 => Just(RecordClass::DeveloperMessage),
            1 => Just(RecordClass::UserEvent),
            1 => Just(RecordClass::Reasoning),
            8 => turn().prop_map(|turn| RecordClass::TurnStarted { turn }),
            3 => turn().prop_map(|turn| RecordClass::TurnCompleted { turn, failed: false }),
            3 => (0u32..4).prop_map(|turns| RecordClass::RolledBack { turns }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 5_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn the_short_way_to_what_was_rolled_back_finds_the_same(
            classes in prop::collection::vec(any_class(), 0..40)
        ) {
            let history: History = classes
                .iter()
                .map(|class| NewRecord { at_ms: 0, class: class.clone(), raw: (*b"").into() })
                .collect();
            let (short, outline) = (Dropped::of(&history), Outline::of(&history));
            for record in &history {
                let wanted = outline.counts(record.seq);
                prop_assert_eq!(short.counts(record.seq), wanted, "{} {:?}", record.seq, classes);
                if matches!(record.class, RecordClass::TurnStarted { .. }) {
                    let turns = outline.turns();
                    let is_there = turns.iter().any(|turn| turn.start == record.seq && turn.explicit);
                    prop_assert_eq!(short.is_gone(record.seq), !is_there, "{} {:?}", record.seq, classes);
                }
            }
            for what in [Counted::UserMessages, Counted::ForkTurns] {
                let left: Vec<Seq> = history
                    .iter()
                    .filter(|record| what.has(&record.class) && outline.counts(record.seq))
                    .map(|record| record.seq)
                    .collect();
                prop_assert_eq!(short.count(&history, what), left.len() as u64);
                for nth in 0..=left.len() {
                    prop_assert_eq!(short.nth(&history, what, nth as u64), left.get(nth).copied());
                }
            }
        }
    }

    fn repeated(classes: &[RecordClass], times: usize) -> History {
        let records = classes.iter().cycle().take(classes.len() * times);
        let record =
            |class: &RecordClass| NewRecord { at_ms: 0, class: class.clone(), raw: (*b"").into() };
        records.map(record).collect()
    }

    fn turn(end: &str) -> [RecordClass; 3] {
        [
            RecordClass::TurnStarted { turn: Some("a".into()) },
            RecordClass::UserMessage,
            RecordClass::TurnCompleted { turn: Some(end.into()), failed: false },
        ]
    }

    #[test]
    fn only_what_rollbacks_reach_is_looked_at() {
        let mut history = repeated(&turn("a"), 10_000);
        history.extend(
            repeated(&[RecordClass::RolledBack { turns: 2 }], 1)
                .iter()
                .cloned()
                .map(NewRecord::from),
        );
        let (dropped, looks) = Dropped::counting_looks(&history);
        assert_eq!(dropped.count(&history, Counted::UserMessages), 9_998);
        assert!(looks < 40, "{looks}");
    }

    /// Ends that name no turn make every rollback ask for the whole history: it is read once.
    #[test]
    fn an_odd_history_is_not_read_again_for_each_rollback() {
        let rollback = [RecordClass::RolledBack { turns: 1 }];
        let odd = [&turn("x")[..], &turn("x"), &turn("x"), &rollback].concat();
        let history = repeated(&odd, 500);
        let (dropped, looks) = Dropped::counting_looks(&history);
        assert_eq!(dropped.count(&history, Counted::UserMessages), 1_000);
        assert!(looks <= 6 * history.len(), "{looks} looks at {} records", history.len());
    }
}
