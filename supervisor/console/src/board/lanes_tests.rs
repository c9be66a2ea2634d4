use coppicer_messages::Outcome;

use super::*;

fn id(number: u8) -> ThreadId {
    ThreadId::from_parts(u64::from(number), [number; 10])
}

fn event(at_ms: u64, number: u8, fact: Fact) -> Event {
    let mut event = Event::new(fact);
    (event.at_ms, event.thread) = (at_ms, Some(id(number)));
    event.turn = Some(format!("turn-{number}").parse().unwrap());
    event
}

fn started(at_ms: u64, number: u8) -> Event {
    event(at_ms, number, Fact::Thread(ThreadEvent::TurnStarted { attempt: 1 }))
}

fn ended(at_ms: u64, number: u8) -> Event {
    let outcome = Outcome::Completed { message: None };
    let took = std::time::Duration::ZERO;
    event(at_ms, number, Fact::Thread(ThreadEvent::TurnEnded { outcome, rung: None, took }))
}

fn crashed(at_ms: u64, number: u8) -> Event {
    event(at_ms, number, Fact::Thread(ThreadEvent::Crashed { cause: "boom".to_owned() }))
}

#[test]
fn a_turn_comes_when_it_begins_and_again_when_it_ends() {
    let mut lanes = Lanes::default();
    lanes.follow(&started(10, 1));
    let first = lanes.after(None, 10, 20);
    assert_eq!((first.full, first.spans.len(), first.spans[0].to_ms), (true, 1, None));
    assert!(lanes.after(Some(first.next), 10, 20).spans.is_empty());
    lanes.follow(&ended(30, 1));
    lanes.follow(&crashed(31, 2));
    let second = lanes.after(Some(first.next), 10, 40);
    assert_eq!((second.full, second.spans.len(), second.marks.len()), (false, 1, 1));
    let span = &second.spans[0];
    assert_eq!((span.from_ms, span.to_ms, span.outcome), (10, Some(30), Some("completed")));
    assert_eq!((second.marks[0].kind, second.marks[0].text.as_deref()), ("crash", Some("boom")));
}

#[test]
fn a_turn_without_an_end_is_lost_with_its_actor_or_with_the_next() {
    let mut lanes = Lanes::default();
    lanes.follow(&started(10, 1));
    lanes.follow(&started(20, 1));
    let killed = RuntimeEvent::ThreadEnded { how: Ended::Killed };
    lanes.follow(&event(30, 1, Fact::Runtime(killed)));
    let spans = lanes.after(None, 10, 40).spans;
    let shown: Vec<_> = spans.iter().map(|span| (span.from_ms, span.to_ms, span.outcome)).collect();
    assert_eq!(shown, [(10, Some(20), Some("lost")), (20, Some(30), Some("lost"))]);
}

#[test]
fn the_oldest_go_first_and_it_is_said_since_when_nothing_is_missing() {
    let mut lanes = Lanes::default();
    for turn in 0..LANE_SPANS_MAX as u64 + 10 {
        lanes.follow(&started(turn * 10, 1));
        lanes.follow(&ended(turn * 10 + 5, 1));
    }
    for mark in 0..LANE_MARKS_MAX as u64 + 10 {
        lanes.follow(&crashed(mark, 2));
    }
    let mut news = lanes.after(None, 1_000, 0);
    assert_eq!(news.complete_from_ms, 95, "the tenth span ended then");
    let (mut spans, mut marks) = (news.spans.len(), news.marks.len());
    while news.more {
        news = lanes.after(Some(news.next), 1_000, 0);
        assert!(!news.full);
        spans += news.spans.len();
        marks += news.marks.len();
    }
    assert_eq!((spans, marks), (LANE_SPANS_MAX, LANE_MARKS_MAX));
    assert_eq!(lanes.changes.len(), LANE_SPANS_MAX + LANE_MARKS_MAX);
}

#[test]
fn what_is_too_old_goes_and_what_runs_stays() {
    let mut lanes = Lanes::default();
    lanes.follow(&started(10, 1));
    lanes.follow(&ended(20, 1));
    lanes.follow(&crashed(20, 1));
    lanes.follow(&started(30, 2));
    lanes.expire(21 + LANES_KEEP_MS);
    let news = lanes.after(None, 10, 0);
    assert_eq!((news.spans.len(), news.marks.len(), news.complete_from_ms), (1, 0, 21));
    lanes.expire(10 * LANES_KEEP_MS);
    assert_eq!(lanes.after(None, 10, 0).spans.len(), 1, "it runs");
    lanes.follow(&ended(10 * LANES_KEEP_MS, 2));
    lanes.expire(12 * LANES_KEEP_MS);
    assert!(lanes.after(None, 10, 0).spans.is_empty() && lanes.changes.is_empty());
}

#[test]
fn after_a_gap_only_what_runs_is_open() {
    let mut lanes = Lanes::default();
    lanes.follow(&started(10, 1));
    lanes.follow(&started(10, 2));
    lanes.only(|thread| thread == id(2), 50);
    lanes.runs(id(2), "turn-2".parse().unwrap(), 10);
    lanes.runs(id(3), "turn-3".parse().unwrap(), 40);
    let spans = lanes.after(None, 10, 0).spans;
    let mut shown: Vec<_> = spans.iter().map(|span| (span.thread, span.to_ms)).collect();
    shown.sort_unstable();
    assert_eq!(shown, [(id(1), Some(50)), (id(2), None), (id(3), None)]);
}

#[test]
fn a_thread_that_is_parked_by_whomever_has_one_mark_each_time() {
    let shown = |at_ms, phase| {
        let status = coppicer_messages::ThreadStatus::Parked;
        event(at_ms, 1, Fact::Thread(ThreadEvent::StatusChanged { status_seq: 1, status, phase }))
    };
    let mut lanes = Lanes::default();
    lanes.follow(&shown(10, Phase::Parked));
    lanes.follow(&event(11, 1, Fact::Runtime(RuntimeEvent::ThreadParked)));
    lanes.follow(&shown(12, Phase::Parked));
    lanes.follow(&shown(20, Phase::Idle));
    lanes.follow(&shown(30, Phase::Parked));
    let marks = lanes.after(None, 10, 40).marks;
    let marks: Vec<_> = marks.iter().map(|mark| (mark.kind, mark.at_ms)).collect();
    assert_eq!(marks, [("parked", 10), ("parked", 30)]);
}
