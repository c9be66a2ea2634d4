use std::task::Waker;

use proptest::prelude::*;

use super::*;
use crate::taps::TapFilter;
use crate::taps::journal::tests::published;
use crate::taps::portion::tests::portion;

/// What is next, when everything was offered.
fn find(tap: &mut Follower) -> Option<Found> {
    if tap.is_at_hand() { Some(Found::AtHand) } else { tap.find() }
}

/// The next item, as a reader takes it to whom everything was offered.
fn read(tap: &mut Follower) -> Option<(u64, u64)> {
    match find(tap)? {
        Found::AtHand => tap.take_event().map(|event| (event.seq, event.seq)),
        Found::Gap { from, to, .. } => Some((from, to)),
        Found::Snapshot => panic!("it has none"),
    }
}

/// The same with all that is at hand at once, or a gap.
fn batch(tap: &mut Follower) -> Vec<(u64, u64)> {
    match find(tap) {
        Some(Found::AtHand) => {}
        Some(Found::Gap { from, to, .. }) => return vec![(from, to)],
        other => {
            assert_eq!(other, None);
            return Vec::new();
        }
    }
    let events = tap.take_events().unwrap();
    let seen: Vec<_> = events.iter().map(|event| (event.seq, event.seq)).collect();
    assert!(!seen.is_empty() && seen.len() == events.len());
    assert!(events.map(|event| event.seq).eq(seen.iter().map(|seen| seen.0)), "either way");
    seen
}

fn items(tap: &mut Follower) -> Vec<(u64, u64)> {
    std::iter::from_fn(|| read(tap)).collect()
}

/// The n-th tap of a log.
fn follow(n: u64, log: &Arc<Log>, events: u64, bytes: u64) -> Follower {
    Follower::attach(n, Bounds { events, bytes }, log.clone())
}

fn log() -> Arc<Log> {
    Arc::new(Log::new(TapFilter::all(), &Arc::default()))
}

fn offer(log: &Log, facts: &[(u64, usize)]) {
    log.push(facts.len(), Some(portion(facts)), &mut Aftermath::default());
}

fn facts(from: u64, to: u64) -> Vec<(u64, usize)> {
    (from..=to).map(|seq| (seq, 1)).collect()
}

fn kept(log: &Log) -> Vec<u64> {
    log.state.lock().kept_ends()
}

#[test]
fn the_oldest_go_when_their_bytes_are_needed() {
    let log = log();
    let mut tap = follow(1, &log, 100, 100);
    for fact in [(1, 40), (2, 40), (3, 10), (4, 50), (5, 1)] {
        offer(&log, &[fact]);
    }
    let counts = tap.counts();
    assert_eq!((counts.waiting, counts.lost), (3, 2));
    assert_eq!(items(&mut tap), [(1, 2), (3, 3), (4, 4), (5, 5)]);
    let counts = tap.counts();
    assert_eq!((counts.emitted, counts.delivered, counts.lost), (5, 3, 2));
}

#[test]
fn an_event_that_is_larger_than_may_wait_is_a_gap() {
    let log = log();
    let mut tap = follow(1, &log, 100, 100);
    offer(&log, &[(1, 40), (2, 101), (3, 100)]);
    assert_eq!(items(&mut tap), [(1, 2), (3, 3)]);
    offer(&log, &[(4, 101)]);
    let cx = Context::from_waker(Waker::noop());
    assert_eq!(tap.outlook(&cx), Outlook::Something, "a reader is told, though nothing waits");
    assert_eq!(items(&mut tap), [(4, 4)]);
    assert_eq!(tap.counts().lost, 3);
}

#[test]
fn what_a_cursor_asked_for_is_in_front_of_the_gap_and_never_lost() {
    let log = log();
    let mut tap = follow(1, &log, 2, 100);
    let journal = [published(1, 90), published(2, 90), published(3, 90)];
    tap.fill(journal.iter());
    for seq in 4..=9 {
        offer(&log, &[(seq, 10)]);
    }
    assert_eq!(tap.counts().waiting, 5);
    assert_eq!(items(&mut tap), [(1, 1), (2, 2), (3, 3), (4, 7), (8, 8), (9, 9)]);
    let counts = tap.counts();
    assert_eq!((counts.emitted, counts.delivered, counts.lost), (9, 5, 4));
}

#[test]
fn what_is_in_the_hand_of_a_reader_is_lost_before_what_is_newer() {
    let log = log();
    let mut tap = follow(1, &log, 100, u64::MAX / 2);
    offer(&log, &facts(1, 10));
    assert_eq!((read(&mut tap), read(&mut tap)), (Some((1, 1)), Some((2, 2))));
    assert!(tap.hand.is_some() && kept(&log).is_empty(), "it took the portion over");
    let counts = tap.counts();
    assert_eq!((counts.delivered, counts.waiting), (2, 8), "what is in the hand waits");
    for from in [11, 61] {
        offer(&log, &facts(from, from + 49));
    }
    let rest = items(&mut tap);
    assert_eq!((rest[0], rest[1], rest.len()), ((3, 10), (11, 11), 101));
    assert_eq!((tap.counts().delivered, tap.counts().lost), (102, 8));
}

#[test]
fn a_log_keeps_what_some_tap_has_yet_to_take_and_is_in_its_bounds() {
    let log = log();
    let mut quick = follow(1, &log, 1_000, u64::MAX / 2);
    let slow = follow(2, &log, 20, u64::MAX / 2);
    for from in [1, 11, 21, 31] {
        offer(&log, &facts(from, from + 9));
    }
    assert_eq!(kept(&log), [10, 20, 30, 40], "the quick one may have it all");
    assert_eq!((slow.counts().waiting, slow.counts().lost), (20, 20));
    assert_eq!(items(&mut quick).len(), 40);
    drop(quick);
    log.detach(1);
    assert_eq!(kept(&log), [30, 40], "the slow one has 20");
    log.detach(2);
    assert!(kept(&log).is_empty(), "nobody has anything");
}

/// A ring that holds one event after the other.
#[derive(Default)]
struct Model {
    waiting: VecDeque<(u64, usize)>,
    gap: Option<(u64, u64)>,
    lost: u64,
}

impl Model {
    fn put(&mut self, fact: (u64, usize), events_max: usize, bytes_max: usize) {
        self.waiting.push_back(fact);
        let bytes = |model: &Self| model.waiting.iter().map(|fact| fact.1).sum::<usize>();
        while self.waiting.len() > events_max || bytes(self) > bytes_max {
            let (seq, _) = self.waiting.pop_front().unwrap();
            self.gap = Some((self.gap.map_or(seq, |gap| gap.0), seq));
            self.lost += 1;
        }
    }

    fn take(&mut self) -> Option<(u64, u64)> {
        self.gap.take().or_else(|| self.waiting.pop_front().map(|(seq, _)| (seq, seq)))
    }
}

/// A tap, what it should have, and its bounds.
struct Beside {
    tap: Follower,
    model: Model,
    bounds: (usize, usize),
}

proptest! {
    /// Portions of any size, and taps of all bounds and paces in one log, each against a ring that holds
    /// one event after the other: the same is lost, and the same is read.
    #[test]
    fn portions_are_kept_as_if_each_event_came_by_itself(
        bounds in prop::collection::vec((1..200_usize, 50..100_000_usize), 1..4),
        steps in prop::collection::vec(
            (prop::collection::vec(1..900_usize, 1..=64), prop::collection::vec(0..90_usize, 3)),
            1..40,
        ),
    ) {
        let log = log();
        let mut taps: Vec<Beside> = (1..).zip(&bounds).map(|(n, &bounds)| {
            let tap = follow(n, &log, bounds.0 as u64, bounds.1 as u64);
            Beside { tap, model: Model::default(), bounds }
        }).collect();
        let mut seq = 0;
        for (sizes, reads) in steps {
            let facts: Vec<(u64, usize)> =
                sizes.into_iter().map(|bytes| { seq += 1; (seq, bytes) }).collect();
            offer(&log, &facts);
            for (Beside { tap, model, bounds }, reads) in taps.iter_mut().zip(reads) {
                for &fact in &facts {
                    model.put(fact, bounds.0, bounds.1);
                }
                let TapCounts { lost, waiting, .. } = tap.counts();
                prop_assert_eq!((lost, waiting), (model.lost, model.waiting.len() as u64));
                if reads % 2 == 0 {
                    for _ in 0..reads {
                        prop_assert_eq!(read(tap), model.take());
                    }
                } else {
                    for next in batch(tap) {
                        prop_assert_eq!(Some(next), model.take());
                    }
                }
                let TapCounts { emitted, delivered, lost, waiting, .. } = tap.counts();
                prop_assert_eq!(emitted, delivered + lost + waiting);
            }
        }
        for Beside { tap, model, .. } in &mut taps {
            while let Some(next) = model.take() {
                prop_assert_eq!(read(tap), Some(next));
            }
            prop_assert_eq!(read(tap), None);
        }
        prop_assert!(kept(&log).is_empty(), "all was taken");
    }
}

#[test]
fn what_is_read_while_it_is_pushed_out_is_delivered_or_lost_and_never_both() {
    const EVENTS: u64 = 200_000;
    let log = log();
    let mut tap = follow(1, &log, 256, u64::MAX / 2);
    let pushed = log.clone();
    let push = move || {
        for from in (1..=EVENTS).step_by(32) {
            offer(&pushed, &facts(from, from + 31));
        }
    };
    let publisher = std::thread::Builder::new().name("publisher".into()).spawn(push).unwrap();
    let mut next = 1;
    while next <= EVENTS {
        let one_by_one = next % 3 != 0;
        let found = if one_by_one { read(&mut tap).into_iter().collect() } else { batch(&mut tap) };
        if found.is_empty() {
            std::thread::yield_now();
        }
        for (from, to) in found {
            assert_eq!(from, next, "in order, without a gap that is not told");
            next = to + 1;
        }
    }
    publisher.join().unwrap();
    let counts = tap.counts();
    assert_eq!((counts.emitted, counts.waiting), (EVENTS, 0));
    assert_eq!(counts.delivered + counts.lost, EVENTS);
}
