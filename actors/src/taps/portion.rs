//! What was published, in portions that all taps share.

use std::sync::{Arc, OnceLock};

use coppicer_messages::{Epoch, Event, EventKind, Fact, RecordClass, Seq, ThreadEvent, TurnId};

use super::{About, TapFilter};
use crate::lineage::Lineage;

/// Most events of a portion.
pub(super) const EVENTS_MAX: usize = 64;

/// A portion takes no more events once they have so many bytes.
pub(super) const BYTES_MAX: usize = 64 << 10;

/// A portion with room for fewer gives that back when it is closed.
const ROOMY: usize = EVENTS_MAX / 2;

/// Events one after the other, which nobody changes any more.
#[derive(Debug)]
pub(super) struct Portion {
    told: Vec<Told>,
}

/// One event.
#[derive(Debug)]
struct Told {
    what: What,
    /// Bytes of this one and of those before it in its portion.
    end: usize,
}

#[derive(Debug)]
pub(super) enum What {
    /// An event, and what is above its thread.
    Event(Arc<Event>, Lineage),
    Record(Record),
}

/// That a record is durable. These are the bulk, and many are lost or left out: one becomes an event when
/// the first tap takes it, which the others then share.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) at_ms: u64,
    pub(super) about: Arc<About>,
    pub(super) epoch: Epoch,
    pub(super) turn: Option<TurnId>,
    pub(super) place: Seq,
    pub(super) class: RecordClass,
    pub(super) event: OnceLock<Arc<Event>>,
}

impl Record {
    /// [`Event::bytes`] of each.
    pub(super) const BYTES: usize = size_of::<Event>();

    fn event(&self) -> &Arc<Event> {
        self.event.get_or_init(|| {
            let (seq, class) = (self.place, self.class.clone());
            let fact = Fact::Thread(ThreadEvent::RecordAppended { seq, class });
            let mut event = self.about.event(fact, self.epoch, self.turn.as_ref());
            event.seq = self.seq;
            event.at_ms = self.at_ms;
            Arc::new(event)
        })
    }
}

impl What {
    fn seq(&self) -> u64 {
        match self {
            Self::Event(event, _) => event.seq,
            Self::Record(record) => record.seq,
        }
    }

    pub(super) fn event(&self) -> &Arc<Event> {
        match self {
            Self::Event(event, _) => event,
            Self::Record(record) => record.event(),
        }
    }

    fn kind(&self) -> EventKind {
        match self {
            Self::Event(event, _) => event.fact.kind(),
            Self::Record(_) => EventKind::Record,
        }
    }

    /// Whether it is a piece of text, of which a filter may take a sample.
    pub(super) fn is_delta(&self) -> bool {
        self.kind() == EventKind::Delta
    }

    /// Whether it passes a filter, sampling aside.
    pub(super) fn passes(&self, filter: &TapFilter) -> bool {
        match self {
            Self::Event(event, lineage) => filter.passes(event, lineage),
            Self::Record(Record { about, .. }) => filter.passes_record(about),
        }
    }
}

impl Portion {
    pub(super) const fn len(&self) -> usize {
        self.told.len()
    }

    /// The number of an event.
    pub(super) fn seq(&self, at: usize) -> u64 {
        self.told[at].what.seq()
    }

    /// An event, which is made if it is the first time that it is asked for.
    pub(super) fn event(&self, at: usize) -> Arc<Event> {
        self.told[at].what.event().clone()
    }

    /// Bytes of these events together.
    pub(super) fn bytes(&self, range: std::ops::Range<usize>) -> usize {
        self.end(range.end) - self.end(range.start)
    }

    /// How many events from `at` on have so many bytes together; all that are left if those have less.
    pub(super) fn events_of(&self, at: usize, bytes: usize) -> usize {
        if bytes == 0 {
            return 0;
        }
        let enough = self.end(at) + bytes;
        let left = &self.told[at..];
        (left.partition_point(|told| told.end < enough) + 1).min(left.len())
    }

    fn end(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| self.told[last].end)
    }

    /// What `chosen` says of each, in order: the portion itself if that is all, none if it is nothing.
    pub(super) fn part(
        self: &Arc<Self>,
        mut chosen: impl FnMut(&What) -> bool,
    ) -> Option<Arc<Self>> {
        debug_assert!(self.len() <= EVENTS_MAX, "a bit for each");
        let set = |set: u64, (at, told): (usize, &Told)| set | u64::from(chosen(&told.what)) << at;
        let passing = self.told.iter().enumerate().fold(0, set);
        let count = passing.count_ones() as usize;
        if count == self.len() {
            return Some(self.clone());
        }
        if count == 0 {
            return None;
        }
        let mut part = Open { told: Vec::with_capacity(count) };
        for at in (0..self.len()).filter(|at| passing >> at & 1 == 1) {
            let what = What::Event(self.event(at), Lineage::default());
            part.push(what, self.bytes(at..at + 1));
        }
        Some(Arc::new(Self { told: part.told }))
    }
}

/// A portion that takes more.
#[derive(Debug)]
pub(super) struct Open {
    told: Vec<Told>,
}

impl Open {
    pub(super) fn new() -> Self {
        Self { told: Vec::with_capacity(EVENTS_MAX) }
    }

    pub(super) fn push(&mut self, what: What, bytes: usize) {
        self.told.push(Told { what, end: self.bytes() + bytes });
    }

    pub(super) fn is_full(&self) -> bool {
        self.told.len() >= EVENTS_MAX || self.bytes() >= BYTES_MAX
    }

    fn bytes(&self) -> usize {
        self.told.last().map_or(0, |told| told.end)
    }

    pub(super) const fn len(&self) -> usize {
        self.told.len()
    }

    /// The n-th event, from 0, of those that are wanted.
    pub(super) fn nth(&self, n: usize, wanted: impl Fn(&What) -> bool) -> Option<&What> {
        self.told.iter().map(|told| &told.what).filter(|what| wanted(what)).nth(n)
    }

    pub(super) fn clear(&mut self) {
        self.told.clear();
    }

    /// What it has so far, if that is anything. It goes on empty.
    pub(super) fn close(&mut self) -> Option<Arc<Portion>> {
        let told = match self.told.len() {
            0 => return None,
            1..ROOMY => self.told.drain(..).collect(),
            _ => std::mem::replace(&mut self.told, Vec::with_capacity(EVENTS_MAX)),
        };
        Some(Arc::new(Portion { told }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use coppicer_messages::ThreadId;

    use super::*;
    use crate::taps::journal::tests::published;

    /// Facts of these numbers, as large as is said.
    pub(in crate::taps) fn portion(facts: &[(u64, usize)]) -> Arc<Portion> {
        let mut open = Open::new();
        for &(seq, bytes) in facts {
            open.push(What::Event(published(seq, bytes).event, Lineage::default()), bytes);
        }
        open.close().expect("a portion has events")
    }

    fn record(seq: u64) -> What {
        let turn = TurnId::of_attempt(&"s".parse().unwrap(), 1);
        What::Record(Record {
            seq,
            at_ms: 7,
            about: Arc::new(About::of(ThreadId::from_parts(1, [0; 10]))),
            epoch: Epoch(2),
            turn: Some(turn),
            place: Seq(seq * 10),
            class: RecordClass::UserMessage,
            event: OnceLock::new(),
        })
    }

    #[test]
    fn a_record_is_one_event_for_all_who_take_it_and_none_before() {
        let what = record(3);
        let What::Record(Record { event, .. }) = &what else { panic!("{what:?}") };
        assert!(what.passes(&TapFilter::all()) && event.get().is_none(), "a filter makes no event");
        let made = what.event().clone();
        assert!(Arc::ptr_eq(&made, what.event()));
        assert_eq!((made.seq, made.at_ms, made.epoch), (3, 7, Epoch(2)));
        assert_eq!((made.bytes(), made.fact.kind()), (Record::BYTES, what.kind()));
        let fact = ThreadEvent::RecordAppended { seq: Seq(30), class: RecordClass::UserMessage };
        assert_eq!(made.fact, Fact::Thread(fact));
        assert!(made.thread.is_some() && made.turn.is_some());
        assert!(!what.passes(&TapFilter::all().lifecycle()));
        assert!(!what.passes(&TapFilter::all().kinds([EventKind::Turn])));
        assert!(!what.passes(&TapFilter::thread(ThreadId::from_parts(2, [0; 10]))));
    }

    #[test]
    fn a_part_has_what_was_chosen_with_its_bytes() {
        let whole = portion(&[(1, 10), (2, 20), (4, 30), (7, 40)]);
        assert_eq!((whole.bytes(0..4), whole.bytes(1..3), whole.bytes(2..2)), (100, 50, 0));
        let part = whole.part(|what| what.seq() % 2 == 0).unwrap();
        assert_eq!((part.len(), part.seq(0), part.seq(1)), (2, 2, 4));
        assert_eq!((part.bytes(0..1), part.bytes(0..2)), (20, 50));
        assert!(Arc::ptr_eq(&whole.part(|_| true).unwrap(), &whole), "all is no copy");
        assert!(whole.part(|_| false).is_none());
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
        assert!(open.close().is_none());
        for seq in 1..=EVENTS_MAX as u64 {
            assert!(!open.is_full());
            open.push(record(seq), Record::BYTES);
        }
        assert!(open.is_full());
        assert_eq!(open.close().map(|portion| portion.len()), Some(EVENTS_MAX));
        open.push(record(1), BYTES_MAX);
        assert!(open.is_full(), "one large event is a portion");
        assert_eq!(open.close().map(|portion| portion.len()), Some(1));
        assert!(!open.is_full() && open.close().is_none(), "it goes on empty");
    }
}
