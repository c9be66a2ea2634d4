//! What was published, in portions that all taps share.

use std::sync::{Arc, OnceLock};

use coppicer_messages::{Epoch, Event, Fact, RecordClass, Seq, ThreadEvent, TurnId};
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::About;
use super::journal::{Block, Journal, Published};

/// Most events of a portion.
pub(super) const EVENTS_MAX: usize = 64;

/// A portion takes no more events once they have so many bytes.
pub(super) const BYTES_MAX: usize = 64 << 10;

/// A part that has one of so many events of a block, or more, shares it; one that has fewer takes its own
/// events one by one, and does not hold the others. So what is held for a tap is at most so many times what
/// it has.
const SHARED_IN: usize = 4;

/// A portion with room for fewer gives that back when it is closed.
const ROOMY: usize = EVENTS_MAX / 2;

/// Events one after the other, which nobody changes any more.
#[derive(Debug)]
pub(super) struct Portion {
    told: Vec<Told>,
    runs: Vec<Run>,
    life: Option<Arc<Block>>,
    /// The number of the last, so that nobody looks at an event to let it go.
    last: u64,
}

/// One event.
#[derive(Debug)]
struct Told {
    what: What,
    /// Bytes of this one and of those before it in its portion.
    end: usize,
}

#[derive(Debug)]
enum What {
    /// An event of the journal, in the block of this portion.
    Life(u32),
    /// Any other, and one of the journal where few are in a portion.
    Event(Arc<Event>),
    /// One of a run of this portion.
    Record { run: u32, nth: u32 },
}

/// That records of one write are durable. These are the bulk, and many are lost or left out: they become
/// events when the first tap takes one, which the others then share.
#[derive(Debug)]
pub(crate) struct Run {
    /// The number of the first.
    pub(super) seq: u64,
    pub(super) at_ms: u64,
    pub(super) about: Arc<About>,
    pub(super) epoch: Epoch,
    pub(super) turn: Option<TurnId>,
    /// The place of the first.
    pub(super) from: Seq,
    pub(super) classes: Classes,
    pub(super) events: OnceLock<Box<[Arc<Event>]>>,
}

/// What records of one write are: mostly one or two.
pub(crate) type Classes = SmallVec<[RecordClass; 2]>;

impl Run {
    /// [`Event::bytes`] of each.
    pub(super) const BYTES: usize = size_of::<Event>();

    /// Cuts it behind so many records; gives what is left, if anything is.
    pub(super) fn split_off(&mut self, records: usize) -> Option<Self> {
        if self.classes.len() <= records {
            return None;
        }
        let classes = self.classes.drain(records..).collect();
        let (about, turn) = (self.about.clone(), self.turn.clone());
        let (seq, from) = (self.seq + records as u64, self.from.plus(records as u64));
        Some(Self { seq, about, turn, from, classes, events: OnceLock::new(), ..*self })
    }

    fn event(&self, nth: usize) -> &Arc<Event> {
        let make = |(n, class): (u64, &RecordClass)| {
            let (seq, class) = (self.from.plus(n), class.clone());
            let fact = Fact::Thread(ThreadEvent::RecordAppended { seq, class });
            let mut event = Event::new(fact);
            self.about.sign(&mut event);
            (event.epoch, event.turn) = (self.epoch, self.turn.clone());
            (event.seq, event.at_ms) = (self.seq + n, self.at_ms);
            Arc::new(event)
        };
        &self.events.get_or_init(|| (0..).zip(&self.classes).map(make).collect())[nth]
    }
}

/// The places of a portion that are in a set, a bit for each.
pub(super) fn places(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let first = set.trailing_zeros() as usize;
        set &= set.checked_sub(1)?;
        Some(first)
    })
}

impl Portion {
    fn of(told: Vec<Told>, runs: Vec<Run>, life: Option<Arc<Block>>) -> Self {
        let mut portion = Self { told, runs, life, last: 0 };
        portion.last = portion.len().checked_sub(1).map_or(0, |last| portion.seq(last));
        portion
    }

    /// The number of the last event.
    pub(super) const fn last_seq(&self) -> u64 {
        self.last
    }

    pub(super) const fn len(&self) -> usize {
        self.told.len()
    }

    /// The number of an event.
    pub(super) fn seq(&self, at: usize) -> u64 {
        match &self.told[at].what {
            What::Life(at) => self.published(*at).seq,
            What::Event(event) => event.seq,
            What::Record { run, nth } => self.runs[*run as usize].seq + u64::from(*nth),
        }
    }

    /// An event, which is made if it is the first time that it is asked for.
    pub(super) fn event(&self, at: usize) -> &Arc<Event> {
        match &self.told[at].what {
            What::Life(at) => &self.published(*at).event,
            What::Event(event) => event,
            What::Record { run, nth } => self.runs[*run as usize].event(*nth as usize),
        }
    }

    fn published(&self, at: u32) -> &Published {
        let block = self.life.as_deref().map_or(&[][..], Vec::as_slice);
        &block[at as usize]
    }

    /// Bytes of these events together.
    pub(super) fn bytes(&self, range: std::ops::Range<usize>) -> usize {
        end(&self.told, range.end) - end(&self.told, range.start)
    }

    /// How many events from `at` on have so many bytes together; all that are left if those have less.
    pub(super) fn events_of(&self, at: usize, bytes: usize) -> usize {
        if bytes == 0 {
            return 0;
        }
        let enough = end(&self.told, at) + bytes;
        let left = &self.told[at..];
        (left.partition_point(|told| told.end < enough) + 1).min(left.len())
    }

    /// Those of a set, in order: the portion itself if that is all, none if it is nothing.
    pub(super) fn part(self: &Arc<Self>, set: u64) -> Option<Arc<Self>> {
        if set.count_ones() as usize == self.len() {
            return Some(self.clone());
        }
        if set == 0 {
            return None;
        }
        let is_life = |at: &usize| matches!(self.told[*at].what, What::Life(_));
        let life = places(set).filter(is_life).count();
        let life = self.life.as_ref().filter(|block| life * SHARED_IN >= block.len()).cloned();
        let mut part = Vec::with_capacity(set.count_ones() as usize);
        let mut bytes = 0;
        for at in places(set) {
            bytes += self.bytes(at..at + 1);
            let what = match self.told[at].what {
                What::Life(at) if life.is_some() => What::Life(at),
                _ => What::Event(self.event(at).clone()),
            };
            part.push(Told { what, end: bytes });
        }
        Some(Arc::new(Self::of(part, Vec::new(), life)))
    }
}

/// Bytes of the first so many.
fn end(told: &[Told], count: usize) -> usize {
    count.checked_sub(1).map_or(0, |last| told[last].end)
}

/// A portion that takes more.
#[derive(Debug)]
pub(super) struct Open {
    told: Vec<Told>,
    runs: Vec<Run>,
    /// Whether an event of the journal is in it.
    life: bool,
}

impl Open {
    pub(super) fn new() -> Self {
        Self { told: Vec::with_capacity(EVENTS_MAX), runs: Vec::new(), life: false }
    }

    pub(super) fn push(&mut self, event: Arc<Event>, bytes: usize) {
        self.tell(What::Event(event), bytes);
    }

    /// Takes the last event of the journal.
    pub(super) fn push_last_of(&mut self, journal: &Journal, bytes: usize) {
        self.tell(What::Life(journal.unsealed() as u32 - 1), bytes);
        self.life = true;
    }

    fn tell(&mut self, what: What, bytes: usize) {
        let end = self.bytes() + bytes;
        self.told.push(Told { what, end });
    }

    /// Takes the records of a run, for which there is room.
    pub(super) fn push_run(&mut self, made: Run) {
        let (run, bytes) = (self.runs.len() as u32, self.bytes());
        let told = (0..made.classes.len()).map(|n| Told {
            what: What::Record { run, nth: n as u32 },
            end: bytes + (n + 1) * Run::BYTES,
        });
        self.told.extend(told);
        self.runs.push(made);
    }

    pub(super) fn is_full(&self) -> bool {
        self.told.len() >= EVENTS_MAX || self.bytes() >= BYTES_MAX
    }

    /// How many more events it takes.
    pub(super) const fn room(&self) -> usize {
        EVENTS_MAX - self.told.len()
    }

    fn bytes(&self) -> usize {
        end(&self.told, self.told.len())
    }

    pub(super) const fn len(&self) -> usize {
        self.told.len()
    }

    pub(super) fn clear(&mut self) {
        self.told.clear();
        self.runs.clear();
        self.life = false;
    }

    /// What it has so far, if that is anything. It goes on empty, in the memory of a portion that is gone if
    /// there is one.
    pub(super) fn close(&mut self, spare: &Spare, journal: &mut Journal) -> Option<Arc<Portion>> {
        if self.told.is_empty() {
            return None;
        }
        let mut life = None;
        if std::mem::take(&mut self.life) {
            for told in self.told.iter_mut().filter(|_| journal.has_few()) {
                if let What::Life(at) = told.what {
                    told.what = What::Event(journal.unsealed_event(at as usize).clone());
                }
            }
            life = journal.seal_for_portion();
        }
        if self.told.len() < ROOMY {
            let (told, runs) = (self.told.drain(..).collect(), self.runs.drain(..).collect());
            return Some(Arc::new(Portion::of(told, runs, life)));
        }
        let Self { told, runs, .. } =
            std::mem::replace(self, spare.take().unwrap_or_else(Self::new));
        Some(Arc::new(Portion::of(told, runs, life)))
    }
}

/// The memory of portions that are gone: with full rings one goes for each that comes.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Open>>);

/// Most portions whose memory is kept.
const SPARE_MAX: usize = 4;

impl Spare {
    fn take(&self) -> Option<Open> {
        self.0.try_lock()?.pop()
    }

    /// Frees what is in a portion, if nobody else has it, and keeps its memory.
    pub(super) fn give(&self, portion: Arc<Portion>) {
        let Some(Portion { mut told, mut runs, .. }) = Arc::into_inner(portion) else { return };
        if told.capacity() >= EVENTS_MAX && runs.capacity() <= EVENTS_MAX {
            told.clear();
            runs.clear();
            if let Some(mut spare) = self.0.try_lock()
                && spare.len() < SPARE_MAX
            {
                spare.push(Open { told, runs, life: false });
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use coppicer_messages::ThreadId;
    use smallvec::smallvec;

    use super::*;
    use crate::taps::journal::tests::published;

    fn open(facts: &[(u64, usize)]) -> Open {
        let mut open = Open::new();
        for &(seq, bytes) in facts {
            open.push(published(seq, bytes).event, bytes);
        }
        open
    }

    fn journal() -> Journal {
        Journal::new(usize::MAX, usize::MAX)
    }

    fn close(open: &mut Open) -> Option<Arc<Portion>> {
        open.close(&Spare::default(), &mut journal())
    }

    /// Facts of these numbers, as large as is said.
    pub(in crate::taps) fn portion(facts: &[(u64, usize)]) -> Arc<Portion> {
        close(&mut open(facts)).expect("a portion has events")
    }

    fn run(seq: u64, records: usize) -> Run {
        Run {
            seq,
            at_ms: 7,
            about: Arc::new(About::of(ThreadId::from_parts(1, [0; 10]))),
            epoch: Epoch(2),
            turn: Some(TurnId::of_attempt(&"s".parse().unwrap(), 1)),
            from: Seq(seq * 10),
            classes: smallvec![RecordClass::UserMessage; records],
            events: OnceLock::new(),
        }
    }

    fn seqs(portion: &Portion) -> Vec<u64> {
        (0..portion.len()).map(|at| portion.seq(at)).collect()
    }

    #[test]
    fn a_run_becomes_events_for_all_who_take_them_and_none_before() {
        let mut open = Open::new();
        open.push(published(2, 10).event, 10);
        open.push_run(run(3, 2));
        let whole = close(&mut open).unwrap();
        assert_eq!(seqs(&whole.part(0b111).unwrap()), [2, 3, 4]);
        assert!(whole.runs[0].events.get().is_none(), "who looks at numbers makes no event");
        let part = whole.part(0b101).unwrap();
        assert_eq!((seqs(&whole), seqs(&part)), (vec![2, 3, 4], vec![2, 4]));
        let made = whole.event(2);
        assert!(Arc::ptr_eq(made, part.event(1)));
        assert_eq!((made.seq, made.at_ms, made.epoch), (4, 7, Epoch(2)));
        assert_eq!(made.bytes(), Run::BYTES);
        let fact = ThreadEvent::RecordAppended { seq: Seq(31), class: RecordClass::UserMessage };
        assert_eq!(made.fact, Fact::Thread(fact));
        assert!(made.thread.is_some() && made.turn.is_some());
    }

    #[test]
    fn a_part_has_what_was_chosen_with_its_bytes() {
        let facts = [(1, 10), (2, 20), (4, 30), (7, 40)];
        let whole = portion(&facts);
        assert_eq!((whole.bytes(0..4), whole.bytes(1..3), whole.bytes(2..2)), (100, 50, 0));
        let part = whole.part(0b0110).unwrap();
        assert_eq!(seqs(&part), [2, 4]);
        assert_eq!((part.bytes(0..1), part.bytes(0..2)), (20, 50));
        assert!(Arc::ptr_eq(&whole.part(0b1111).unwrap(), &whole), "all is no copy");
        assert!(whole.part(0).is_none());
    }

    /// A portion of so many events of the journal, with a record behind each.
    fn lively(journal: &mut Journal, events: u64) -> Arc<Portion> {
        let mut open = Open::new();
        for n in 0..events {
            journal.push(published(2 * n + 1, 5), &mut Vec::new());
            open.push_last_of(journal, 5);
            open.push_run(run(2 * n + 2, 1));
        }
        open.close(&Spare::default(), journal).unwrap()
    }

    #[test]
    fn events_of_the_journal_are_shared_by_blocks_unless_they_are_few() {
        let (every_fourth, one) = (0x1111_1111, 0b101);
        for (events, in_block, shared) in [(15, false, 0), (16, true, 2)] {
            let mut journal = journal();
            let whole = lively(&mut journal, events);
            assert_eq!(seqs(&whole), (1..=2 * events).collect::<Vec<_>>());
            assert_eq!(whole.life.is_some(), in_block);
            let set = (1 << whole.len()) - 1;
            let parts = [every_fourth & set, one].map(|set| whole.part(set).unwrap());
            for (part, set) in parts.iter().zip([every_fourth & set, one]) {
                for (at, from) in places(set).enumerate() {
                    assert!(
                        Arc::ptr_eq(part.event(at), whole.event(from)),
                        "no event is made twice"
                    );
                    assert_eq!(part.seq(at), whole.seq(from));
                }
                assert_eq!(part.bytes(0..part.len()), 5 * part.len());
            }
            let sharing = parts.iter().filter(|part| part.life.is_some()).count();
            assert_eq!(
                sharing + usize::from(in_block),
                shared,
                "one that has an eighth holds its own"
            );
        }
    }

    #[test]
    fn events_are_counted_until_they_have_enough_bytes() {
        let portion = portion(&[(1, 10), (2, 20), (3, 30)]);
        let of = |at, bytes| portion.events_of(at, bytes);
        assert_eq!([of(0, 0), of(0, 1), of(0, 10), of(0, 11), of(0, 31)], [0, 1, 1, 2, 3]);
        assert_eq!([of(1, 20), of(1, 21), of(1, 1_000)], [1, 2, 2]);
    }

    #[test]
    fn a_portion_ends_with_its_events_or_its_bytes() {
        let mut open = Open::new();
        assert!(close(&mut open).is_none());
        for seq in 1..=EVENTS_MAX as u64 {
            assert!(!open.is_full());
            open.push_run(run(seq, 1));
        }
        assert!(open.is_full() && open.room() == 0);
        assert_eq!(close(&mut open).map(|portion| portion.len()), Some(EVENTS_MAX));
        open.push(published(1, 1).event, BYTES_MAX);
        assert!(open.is_full(), "one large event is a portion");
        assert_eq!(close(&mut open).map(|portion| portion.len()), Some(1));
        assert!(!open.is_full() && close(&mut open).is_none(), "it goes on empty");
    }

    #[test]
    fn a_portion_that_is_gone_leaves_its_memory_unless_somebody_has_it() {
        let (spare, facts) = (Spare::default(), [(1, 1); EVENTS_MAX]);
        let close = || open(&facts).close(&spare, &mut journal()).unwrap();
        let (held, gone) = (close(), close());
        let memory = gone.told.as_ptr();
        spare.give(held.clone());
        assert!(spare.take().is_none() && held.len() == EVENTS_MAX);
        spare.give(gone);
        let again = spare.take().unwrap();
        assert!(again.told.is_empty() && again.told.as_ptr() == memory);
        spare.give(portion(&facts[..1]));
        assert!(spare.take().is_none(), "it has no room");
        (0..=SPARE_MAX)
            .map(|_| close())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|portion| spare.give(portion));
        assert_eq!(spare.0.lock().len(), SPARE_MAX);
    }
}
