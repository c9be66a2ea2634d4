use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use coppicer_messages::{ThreadEvent, ThreadId};
use futures::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::taps::{TapBatch, TapCounts, TapFilter, TapItem};

fn hub() -> Arc<TapHub> {
    let (clock, leases) = (Arc::new(Clock::system()), Arc::new(LeaseBook::default()));
    Arc::new(TapHub::new(clock, leases, &Limits::default()))
}

fn about() -> Arc<About> {
    Arc::new(About::of(ThreadId::from_parts(1, [0; 10])))
}

fn fenced(hub: &TapHub) {
    let fact = || Fact::Thread(ThreadEvent::TurnFenced);
    hub.publish(Some(&about()), Epoch(1), None, EventKind::Turn, fact);
}

fn delta(hub: &TapHub) {
    let fact = || Fact::Thread(ThreadEvent::Delta { text: "word".to_owned() });
    hub.publish(Some(&about()), Epoch(1), None, EventKind::Delta, fact);
}

fn records(hub: &TapHub, count: usize) {
    let classes = std::iter::repeat_n(RecordClass::UserMessage, count);
    hub.publish_records(&about(), Epoch(1), None, Seq(7), classes);
}

/// The numbers of the next items, at most so many.
fn read(tap: &mut Tap, most: usize) -> Vec<u64> {
    let items = std::iter::from_fn(|| tap.try_next()).take(most);
    items.map(|item| item.event().expect("nothing is lost").seq).collect()
}

proptest! {
    /// Taps with filters and paces of all kinds, of events of all kinds, see what passes and nothing
    /// twice, however portions are cut.
    #[test]
    fn each_tap_reads_what_passes_its_filter_in_order(
        steps in prop::collection::vec((0..4_usize, 1..40_usize, prop::collection::vec(0..30_usize, 6)), 1..60),
    ) {
        let hub = hub();
        let third = NonZeroU32::new(3).unwrap();
        let of = |kind| TapFilter::all().kinds([kind]);
        let filters = [
            TapFilter::all(),
            TapFilter::all(),
            TapFilter::all().lifecycle(),
            of(EventKind::Record),
            of(EventKind::Delta),
            of(EventKind::Delta).sample_deltas(third),
        ];
        let open = |filter| hub.tap(TapOptions::matching(filter)).unwrap();
        let mut taps: Vec<Tap> = filters.into_iter().map(open).collect();
        let mut told = Vec::new();
        let mut got = vec![Vec::new(); taps.len()];
        for (what, count, reads) in steps {
            for _ in 0..count {
                match what {
                    0 => fenced(&hub),
                    1 | 2 => delta(&hub),
                    _ => records(&hub, 1),
                }
                told.push(what);
            }
            for ((tap, got), most) in taps.iter_mut().zip(&mut got).zip(reads) {
                got.extend(read(tap, most));
            }
        }
        let numbered = || (1..).zip(&told);
        let of = |whats: &[usize]| -> Vec<u64> {
            numbered().filter(|(_, what)| whats.contains(what)).map(|(seq, _)| seq).collect()
        };
        let (all, deltas) = (of(&[0, 1, 2, 3]), of(&[1, 2]));
        let sample = deltas.iter().copied().step_by(3).collect();
        let expected = [all.clone(), all.clone(), of(&[0]), of(&[3]), deltas, sample];
        for ((tap, mut got), expected) in taps.iter_mut().zip(got).zip(expected) {
            got.extend(read(tap, usize::MAX));
            prop_assert_eq!(&got, &expected);
            let TapCounts { emitted, delivered, filtered, lost, waiting, .. } = tap.counts();
            prop_assert_eq!((emitted, lost, waiting), (all.len() as u64, 0, 0));
            prop_assert_eq!(emitted, delivered + filtered);
        }
    }
}

#[test]
fn records_of_one_write_are_events_one_after_the_other_shared_by_all_taps() {
    let hub = hub();
    let mut taps = [(); 2].map(|()| hub.tap(TapOptions::all()).unwrap());
    records(&hub, 3);
    let [one, other] =
        taps.each_mut().map(|tap| std::iter::from_fn(|| tap.try_next()).collect::<Vec<_>>());
    let places = one.iter().map(|item| match &item.event().unwrap().fact {
        Fact::Thread(ThreadEvent::RecordAppended { seq, .. }) => seq.0,
        other => panic!("{other:?}"),
    });
    assert_eq!(places.collect::<Vec<_>>(), [7, 8, 9]);
    for pair in one.iter().zip(&other) {
        let (one, other) = (pair.0.event().unwrap(), pair.1.event().unwrap());
        assert!(std::ptr::eq(one, other));
    }
}

#[test]
fn a_gap_begins_behind_what_was_read_before_it_was_offered() {
    let hub = hub();
    let mut tap = hub.tap(TapOptions::all().with_capacity(64)).unwrap();
    records(&hub, 5);
    assert_eq!(read(&mut tap, 5), [1, 2, 3, 4, 5]);
    records(&hub, 200);
    let gap = TapItem::Lagged { from: 6, to: 141, count: 136 };
    assert_eq!(tap.try_next(), Some(gap));
    assert_eq!(read(&mut tap, 99), (142..=205).collect::<Vec<_>>());
}

#[test]
fn a_batch_is_all_that_is_at_hand_and_items_and_batches_may_be_mixed() {
    let hub = hub();
    (0..70).for_each(|_| fenced(&hub));
    let now = TapOptions::all().with_capacity(64);
    let begun = hub.tap(now.clone().with_from(TapFrom::Snapshot)).unwrap();
    let behind = hub.tap(now.with_from(TapFrom::Cursor(2))).unwrap();
    let [mut begun, mut behind] = [begun, behind];
    let batch = |tap: &mut Tap| match tap.try_next_batch() {
        Some(TapBatch::Events(events)) => {
            let (len, mut seqs) = (events.len(), events.iter().map(|event| event.seq));
            let (first, last) = (seqs.next().unwrap(), seqs.last());
            (first, last.unwrap_or(first), len as u64)
        }
        Some(TapBatch::Lagged { from, to, count }) => (from, to, count),
        Some(TapBatch::Snapshot(snapshot)) => (snapshot.seq, snapshot.seq, 0),
        None => (0, 0, 0),
    };
    assert_eq!([batch(&mut begun), batch(&mut begun)], [(70, 70, 0), (0, 0, 0)]);
    assert_eq!(batch(&mut behind), (3, 66, 64), "what a cursor asked for comes in batches too");
    assert_eq!(read(&mut behind, 1), [67]);
    assert_eq!(batch(&mut behind), (68, 70, 3));
    records(&hub, 20);
    for tap in [&mut begun, &mut behind] {
        assert_eq!(read(tap, 2), [71, 72]);
        assert_eq!(batch(tap), (73, 90, 18));
        assert_eq!(batch(tap), (0, 0, 0));
    }
    records(&hub, 200);
    hub.close();
    for tap in [&mut begun, &mut behind] {
        assert_eq!(batch(tap), (91, 226, 136), "a gap is a batch by itself");
        let rest: Vec<_> =
            std::iter::from_fn(|| Some(batch(tap)).filter(|one| one.2 > 0)).collect();
        assert_eq!((rest[0].0, rest.iter().map(|one| one.2).sum::<u64>()), (227, 64));
        assert!(matches!(tap.next_batch().now_or_never(), Some(None)), "it has ended");
        let TapCounts { emitted, delivered, lost, waiting, .. } = tap.counts();
        assert_eq!((emitted, waiting), (delivered + lost, 0));
    }
}

#[test]
fn what_a_reader_took_over_before_it_was_offered_is_lost_like_all_else() {
    let hub = hub();
    let mut taps = [(); 2].map(|()| hub.tap(TapOptions::all().with_capacity(64)).unwrap());
    records(&hub, 5);
    let [early, late] = &mut taps;
    assert_eq!(read(early, 2), [1, 2], "three are in its hand");
    records(&hub, 60);
    assert_eq!(early.try_next().map(|item| item.event().unwrap().seq), Some(3), "63 wait");
    assert_eq!(late.try_next(), Some(TapItem::Lagged { from: 1, to: 1, count: 1 }));
    records(&hub, 140);
    for tap in [early, late] {
        let Some(TapItem::Lagged { to: 141, .. }) = tap.try_next() else { panic!() };
        assert_eq!(read(tap, 99), (142..=205).collect::<Vec<_>>());
        let TapCounts { emitted, delivered, lost, waiting, .. } = tap.counts();
        assert_eq!((emitted, delivered + lost, waiting), (205, 205, 0));
    }
}

#[test]
fn a_write_of_many_records_is_as_many_events_in_portions() {
    let hub = hub();
    let of = |kind| TapOptions::matching(TapFilter::all().kinds([kind]));
    let mut taps = [EventKind::Record, EventKind::Turn].map(|kind| hub.tap(of(kind)).unwrap());
    fenced(&hub);
    records(&hub, 0);
    records(&hub, 200);
    fenced(&hub);
    let [all, turns] = taps.each_mut().map(|tap| std::iter::from_fn(|| tap.try_next()));
    let places = all.map(|item| match item.event().unwrap() {
        Event { seq, fact: Fact::Thread(ThreadEvent::RecordAppended { seq: at, .. }), .. } => {
            (*seq, at.0)
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(places.collect::<Vec<_>>(), (2..=201).zip(7..).collect::<Vec<_>>());
    assert_eq!(turns.map(|item| item.event().unwrap().seq).collect::<Vec<_>>(), [1, 202]);
}

#[test]
fn what_a_reader_took_over_before_it_was_offered_counts_by_its_bytes_too() {
    let hub = hub();
    let bytes = 64 << 10;
    let mut taps = [(); 2].map(|()| hub.tap(TapOptions::all().with_bytes(bytes)).unwrap());
    let [early, late] = &mut taps;
    records(&hub, 64);
    assert_eq!(read(early, 99).len(), 64);
    records(&hub, 5);
    assert_eq!(read(early, 2), [65, 66], "three are in its hand");
    let room = bytes / Run::BYTES;
    records(&hub, room - 2);
    assert_eq!(early.try_next(), Some(TapItem::Lagged { from: 67, to: 67, count: 1 }));
    assert_eq!(late.try_next(), Some(TapItem::Lagged { from: 1, to: 67, count: 67 }));
    assert_eq!(read(early, 999), read(late, 999));
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_reader_that_waits_is_woken_by_the_first_event_that_it_wants_and_by_no_other() {
    let hub = hub();
    let third = NonZeroU32::new(3).unwrap();
    let sampled = TapFilter::all().kinds([EventKind::Delta]).sample_deltas(third);
    let (turns, all) = (TapFilter::all().kinds([EventKind::Turn]), TapFilter::all());
    let wait = |tap: &mut Tap| {
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        assert!(tap.next().boxed().poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        move || woken.0.load(Ordering::Relaxed)
    };
    let [mut all, mut turns, mut sampled] =
        [all, turns, sampled].map(|filter| hub.tap(TapOptions::matching(filter)).unwrap());
    let woken = [wait(&mut all), wait(&mut turns), wait(&mut sampled)];
    let counts = || woken.iter().map(|woken| woken()).collect::<Vec<_>>();
    records(&hub, 2);
    assert_eq!(counts(), [1, 0, 0]);
    fenced(&hub);
    assert_eq!(counts(), [1, 1, 0]);
    delta(&hub);
    assert_eq!(counts(), [1, 1, 1], "the first of a sample");
    assert_eq!((read(&mut all, 9).len(), read(&mut turns, 9).len()), (4, 1));
    assert_eq!(read(&mut sampled, 9), [4]);
    let woken = wait(&mut sampled);
    delta(&hub);
    delta(&hub);
    assert_eq!(woken(), 0, "two are left out");
    delta(&hub);
    assert_eq!(woken(), 1);
    let woken = wait(&mut turns);
    hub.close();
    assert_eq!(woken(), 1, "the end is told");
}

#[test]
fn a_reader_that_waited_lets_others_run_once_and_then_has_all_that_came() {
    let hub = hub();
    let mut tap = hub.tap(TapOptions::all()).unwrap();
    let woken = Arc::new(Woken::default());
    let waker = woken.clone().into();
    let next = |tap: &mut Tap| {
        let polled = tap.next().boxed().poll_unpin(&mut Context::from_waker(&waker));
        polled.map(|item| item.map(|item| item.event().unwrap().seq))
    };
    let woken = || woken.0.load(Ordering::Relaxed);
    assert_eq!((next(&mut tap), woken()), (Poll::Pending, 0));
    records(&hub, 2);
    assert_eq!(woken(), 1);
    assert_eq!((next(&mut tap), woken()), (Poll::Pending, 2), "it is on its way by itself");
    records(&hub, 2);
    for seq in 1..=4 {
        assert_eq!(
            (next(&mut tap), woken()),
            (Poll::Ready(Some(seq)), 2),
            "and takes all in one go"
        );
    }
    assert_eq!(next(&mut tap), Poll::Pending);
    records(&hub, 1);
    assert_eq!((read(&mut tap, 1), woken()), (vec![5], 3));
    records(&hub, 1);
    assert_eq!(next(&mut tap), Poll::Ready(Some(6)), "who looks by itself has not waited");
    assert_eq!((next(&mut tap), woken()), (Poll::Pending, 3));
    hub.close();
    assert_eq!((next(&mut tap), woken()), (Poll::Ready(None), 4), "the end keeps nobody waiting");
}

#[test]
fn who_looks_once_finds_what_is_there_though_it_waited() {
    let hub = hub();
    let mut tap = hub.tap(TapOptions::all()).unwrap();
    let look = |tap: &mut Tap| tap.next().now_or_never().flatten().is_some();
    for _ in 0..2 {
        assert!(!look(&mut tap));
        records(&hub, 2);
        assert!(look(&mut tap) && look(&mut tap));
    }
}

#[test]
fn no_event_is_older_than_the_one_before_it() {
    let hub = hub();
    let mut tap = hub.tap(TapOptions::all()).unwrap();
    let fenced = |at_ms| {
        let fact = Fact::Thread(ThreadEvent::TurnFenced);
        hub.tell(at_ms, Some(&about()), Epoch(1), None, fact);
    };
    fenced(7);
    fenced(5);
    let classes = std::iter::repeat_n(RecordClass::UserMessage, 2).collect();
    hub.tell_records(9, &about(), Epoch(1), None, Seq(0), classes);
    fenced(8);
    let times = std::iter::from_fn(|| tap.try_next()).map(|item| item.event().unwrap().at_ms);
    assert_eq!(times.collect::<Vec<_>>(), [7, 7, 9, 9, 9]);
}

/// A tap whose reader goes on behind each gap: what it read last, and what it is sure to read.
struct GoesOn {
    tap: Tap,
    /// Lifecycle events that pass its filter, of all that were published.
    life: Vec<u64>,
    last: u64,
    sure: VecDeque<u64>,
}

impl GoesOn {
    fn took(&mut self, seq: u64) {
        assert!(self.last < seq, "{seq} behind {}", self.last);
        self.last = seq;
        if self.sure.front().is_some_and(|&sure| sure <= seq) {
            assert_eq!(self.sure.pop_front(), Some(seq), "in order, and each");
        }
    }

    /// `begin`: what the journal forgot.
    fn lagged(&mut self, from: u64, to: u64, begin: u64) {
        assert!(self.last < from && from <= to, "{from} to {to} behind {}", self.last);
        assert!(self.sure.is_empty(), "{:?} were lost", self.sure);
        let regained = self.tap.regain(from);
        self.account();
        assert_eq!(regained.complete, begin < from);
        let first = self.life.partition_point(|&seq| seq < from.max(begin + 1));
        self.sure.extend(&self.life[first..]);
        if !regained.complete {
            assert!(matches!(self.tap.try_next(), Some(TapItem::Snapshot(_))));
        }
    }

    fn read(&mut self, most: usize, by_batch: bool, begin: u64) {
        for _ in 0..most {
            if by_batch {
                match self.tap.try_next_batch() {
                    Some(TapBatch::Events(events)) => {
                        self.account();
                        events.for_each(|event| self.took(event.seq));
                    }
                    Some(TapBatch::Lagged { from, to, .. }) => self.lagged(from, to, begin),
                    other => return assert!(other.is_none(), "{other:?}"),
                }
            } else {
                match self.tap.try_next() {
                    Some(TapItem::Event(event)) => self.took(event.seq),
                    Some(TapItem::Lagged { from, to, .. }) => self.lagged(from, to, begin),
                    other => return assert!(other.is_none(), "{other:?}"),
                }
            }
            self.account();
        }
    }

    fn account(&self) -> TapCounts {
        let counts = self.tap.counts();
        let TapCounts { emitted, delivered, filtered, lost, waiting, .. } = counts;
        assert_eq!(emitted, delivered + filtered + lost + waiting, "{counts:?}");
        counts
    }
}

proptest! {
    /// Behind a gap nothing is lost any more of what there was then, of the journal or of the ring; it comes in
    /// order and once, and at each moment all of it is accounted for.
    #[test]
    fn behind_a_gap_all_that_the_journal_has_comes_in_order_and_once(
        steps in prop::collection::vec(
            (0..5_usize, 1..40_usize, prop::collection::vec((0..30_usize, any::<bool>()), 5)),
            1..60,
        ),
        journal in 1..200_usize,
    ) {
        let mut limits = Limits::default();
        limits.journal_events_max = journal;
        let (clock, leases) = (Arc::new(Clock::system()), Arc::new(LeaseBook::default()));
        let hub = Arc::new(TapHub::new(clock, leases, &limits));
        let third = NonZeroU32::new(3).unwrap();
        let (all, of) = (TapFilter::all, |kinds| TapFilter::all().kinds(kinds));
        let filters = [
            (all(), 7),
            (all().lifecycle(), 3),
            (all().sample_deltas(third), 70),
            (of([EventKind::Record, EventKind::Delta]), 9),
            (TapFilter::thread(ThreadId::from_parts(1, [0; 10])), 100),
        ];
        let open = |(filter, most): (TapFilter, usize)| {
            let tap = hub.tap(TapOptions::matching(filter).with_capacity(most)).unwrap();
            GoesOn { tap, life: Vec::new(), last: 0, sure: VecDeque::new() }
        };
        let mut taps: Vec<GoesOn> = filters.into_iter().map(open).collect();
        let mut life = Vec::new();
        for (what, count, reads) in steps {
            for _ in 0..count {
                match what {
                    0 | 1 => {
                        fenced(&hub);
                        life.push(hub.seq());
                        taps.iter_mut().enumerate().filter(|(nth, _)| *nth != 3)
                            .for_each(|(_, tap)| tap.life.push(hub.seq()));
                    }
                    2 => delta(&hub),
                    _ => records(&hub, 1 + count % 7),
                }
            }
            let begin = life.len().checked_sub(journal + 1).map_or(0, |last| life[last]);
            for (tap, (most, by_batch)) in taps.iter_mut().zip(reads) {
                tap.read(most, by_batch, begin);
            }
        }
        hub.close();
        let begin = life.len().checked_sub(journal + 1).map_or(0, |last| life[last]);
        for tap in &mut taps {
            tap.read(usize::MAX, false, begin);
            prop_assert!(tap.sure.is_empty());
            prop_assert_eq!(tap.account().waiting, 0);
        }
    }
}
