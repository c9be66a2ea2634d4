//! Crashes and what follows them (P6, P7).

use std::time::Duration;

use coppicer_messages::{
    AfterPoison, ControlError, Delivery, OnCrash, OnSpent, Outcome, Phase, Poison, RecordClass,
    Reply, RestartPolicy, SubmissionState, SubmitError, ThreadConfig, ThreadId, ThreadStatus,
};

use super::{Hands, answered, ms, name, panicked, turn};
use crate::thread::core::Waiting;

#[test]
fn a_crash_is_shown_then_a_pause_then_the_queue_goes_on() {
    let mut hands = Hands::running("a");
    hands.submit("b", Delivery::Queue).unwrap();
    hands.end("a", &panicked());
    assert_eq!(hands.outcome("a"), Some(&Outcome::Crashed { cause: "boom".into() }));
    assert_eq!(hands.core.status, ThreadStatus::Crashed("boom".into()));
    assert_eq!((hands.core.phase, hands.queue()), (Phase::Backoff, vec!["b"]));
    assert_eq!(
        hands.tell_names(),
        ["accepted", "started", "accepted", "crashed", "ended", "backoff"]
    );
    assert!(hands.done.contains(&"over without session"));
    hands.submit("c", Delivery::Queue).unwrap();
    assert!(hands.asked.is_empty(), "no turn starts in the pause");
    hands.pass(ms(99));
    assert_eq!(hands.core.phase, Phase::Backoff);
    hands.pass(ms(1));
    assert_eq!((hands.core.phase, &hands.asked[0]), (Phase::Idle, &turn("b")));
}

#[test]
fn when_its_restarts_are_spent_a_thread_is_parked_and_a_revival_starts_afresh() {
    let policy = RestartPolicy::default().with_limit(1, Duration::from_secs(60));
    let mut hands = Hands::of(ThreadConfig::default().with_restart(policy));
    hands.begin(Vec::new());
    for id in ["a", "b", "c"] {
        hands.submit(id, Delivery::Queue).unwrap();
    }
    hands.permit();
    hands.end("a", &panicked());
    hands.pass(ms(100));
    hands.permit();
    hands.end("b", &panicked());
    assert_eq!(
        (hands.core.phase, hands.core.status.clone()),
        (Phase::Parked, ThreadStatus::Parked)
    );
    assert_eq!(hands.writes.last().unwrap().status, Some(ThreadStatus::Parked), "it is durable");
    assert!(hands.done.contains(&"park") && hands.asked.is_empty());
    assert_eq!(hands.queue(), ["c"], "what was accepted waits");
    let thread = hands.core.thread;
    assert_eq!(hands.submit("d", Delivery::Queue), Err(SubmitError::Parked { thread }));

    let (reply, answer) = Reply::channel(hands.far(), None);
    hands.decide(|core, now, out| core.revive(reply, now, out));
    assert_eq!(answered(answer), Some(Ok(())));
    assert!(hands.done.contains(&"unpark"));
    hands.permit();
    assert_eq!(hands.runs(), Some("c"));
    hands.end("c", &panicked());
    assert_eq!(hands.core.phase, Phase::Backoff, "its budget is fresh");
}

#[test]
fn only_a_parked_thread_is_revived() {
    let mut hands = Hands::idle();
    let before = hands.state();
    let (reply, answer) = Reply::channel(hands.far(), None);
    hands.decide(|core, now, out| core.revive(reply, now, out));
    assert!(matches!(answered(answer), Some(Err(ControlError::WrongPhase { .. }))));
    assert_eq!(hands.state(), before);
}

#[test]
fn a_temporary_thread_asks_to_be_closed_and_runs_nothing_more() {
    let policy = RestartPolicy::default().with_restart(coppicer_messages::Restart::Temporary);
    let mut hands = Hands::of(ThreadConfig::default().with_restart(policy));
    hands.begin(Vec::new());
    hands.submit("a", Delivery::Queue).unwrap();
    hands.submit("b", Delivery::Queue).unwrap();
    hands.permit();
    hands.end("a", &panicked());
    assert!(hands.done.contains(&"ask close"));
    assert!(hands.asked.is_empty(), "no turn starts on the way out");
    hands.close(ms(100));
    assert_eq!(hands.outcome("b"), Some(&Outcome::Returned));
}

#[test]
fn an_old_pause_does_not_end_a_newer_one() {
    let mut hands = Hands::running("a");
    hands.end("a", &panicked());
    let old = hands.armed.pop().unwrap().1;
    hands.tick(old.clone());
    hands.submit("b", Delivery::Queue).unwrap();
    hands.permit();
    hands.end("b", &panicked());
    hands.tick(old);
    assert_eq!(hands.core.phase, Phase::Backoff);
}

#[test]
fn what_ran_when_its_host_died_ends_or_is_tried_again_as_the_thread_is_configured() {
    let requeue = OnCrash::Requeue { attempts_max: 2 };
    for (on_crash, attempt, outcome) in [
        (OnCrash::Interrupt, 1, Some("interrupted")),
        (requeue, 1, None),
        (requeue, 2, Some("crashed")),
    ] {
        let mut hands = Hands::of(ThreadConfig::default().with_on_crash(on_crash));
        hands.core.status = ThreadStatus::Running;
        let input = |id, attempt| Waiting::Input {
            id: name(id),
            input: "text".into(),
            attempt,
            trace: None,
        };
        hands.begin(vec![
            (input("a", attempt + 1), SubmissionState::Running { attempt }),
            (input("b", 1), SubmissionState::Accepted),
        ]);
        assert_eq!(hands.outcome("a").map(Outcome::name), outcome, "{on_crash:?} {attempt}");
        let queue: &[&str] = if outcome.is_some() { &["b"] } else { &["a", "b"] };
        assert_eq!(hands.queue(), queue, "{on_crash:?} {attempt}");
        assert_ne!(hands.core.status, ThreadStatus::Running, "P6");
        if outcome.is_none() {
            assert_eq!(hands.asked, [turn("a.2")], "a further attempt has a turn id of its own");
            hands.permit();
            let said = |class: &RecordClass| matches!(class, RecordClass::UserMessage);
            let again = hands.last_write().records.iter().any(|record| said(&record.class));
            assert!(!again, "the input is in the history already");
        }
    }
}

#[test]
fn what_cannot_be_read_any_more_is_told_as_such_and_not_run() {
    for state in [SubmissionState::Accepted, SubmissionState::Running { attempt: 1 }] {
        let mut hands = Hands::new();
        let open = vec![(Err(name("a")), state)];
        hands.places = 1;
        hands.decide(|core, now, out| {
            core.begin(Vec::new(), open, None, crate::thread::Rise::ToWork, now, out);
        });
        assert_eq!(hands.outcome("a").map(Outcome::name), Some("failed"));
        assert_eq!((hands.asked.len(), hands.places), (0, 0));
    }
}

fn retrying(attempts_max: u32) -> ThreadConfig {
    ThreadConfig::default().with_on_crash(OnCrash::Retry { attempts_max })
}

/// Runs the attempt that waits for its permit, has it write something, and panic.
fn crash_at(hands: &mut Hands, place: usize) -> String {
    hands.permit();
    let turn = hands.runs().expect("a turn runs").to_owned();
    hands.emit(&turn, &vec![RecordClass::Other; place]);
    hands.end(&turn, &panicked());
    if hands.core.phase == Phase::Backoff {
        let over = hands.armed.pop().expect("a pause is armed").1;
        hands.tick(over);
    }
    turn
}

#[test]
fn a_turn_that_panics_is_tried_again_and_ends_once_when_it_crashed_at_the_same_place_too_often() {
    let mut hands = Hands::of(retrying(10));
    hands.begin(Vec::new());
    hands.submit("a", Delivery::Queue).unwrap();
    hands.submit("b", Delivery::Queue).unwrap();
    for (place, turn) in [(2, "a"), (1, "a.2"), (2, "a.3")] {
        assert_eq!(crash_at(&mut hands, place), turn);
        assert_eq!(hands.outcome("a"), None, "it is tried again");
        assert_eq!(hands.queue(), ["a", "b"], "before what is queued");
        assert_eq!(hands.places, 2, "it holds its place again");
    }
    assert_eq!(crash_at(&mut hands, 2), "a.4");
    assert_eq!(hands.outcome("a").map(Outcome::name), Some("crashed"));
    let places: Vec<u64> = hands.core.crash_log.iter().map(|crash| crash.place).collect();
    assert_eq!(places, [2, 1, 2, 2]);
    let kept = hands.writes.iter().map(|batch| batch.crashes.len()).sum::<usize>();
    assert_eq!(kept, 4, "each crash is kept, in the write of its turn's end");
    hands.permit();
    assert_eq!(hands.runs(), Some("b"), "the thread goes on with what is queued");
}

#[test]
fn a_policy_can_park_a_thread_that_a_turn_has_poisoned() {
    let mut poison = Poison::default();
    (poison.same_place_max, poison.then) = (2, AfterPoison::Park);
    let mut hands = Hands::of(retrying(10).with_poison(poison));
    hands.begin(Vec::new());
    hands.submit("a", Delivery::Queue).unwrap();
    hands.submit("b", Delivery::Queue).unwrap();
    crash_at(&mut hands, 0);
    crash_at(&mut hands, 0);
    assert_eq!(hands.outcome("a").map(Outcome::name), Some("crashed"));
    assert_eq!((hands.core.phase, hands.queue()), (Phase::Parked, vec!["b"]));
    assert!(hands.asked.is_empty());
}

#[test]
fn a_thread_that_is_told_to_end_is_not_parked_for_its_poison() {
    let mut poison = Poison::default();
    (poison.same_place_max, poison.then) = (1, AfterPoison::Park);
    let mut hands = Hands::of(retrying(10).with_poison(poison));
    hands.begin(Vec::new());
    hands.submit("a", Delivery::Queue).unwrap();
    hands.permit();
    hands.close(ms(1_000));
    hands.end("a", &panicked());
    assert!(!hands.phases.contains(&Phase::Parked) && !hands.done.contains(&"park"));
    assert!(hands.writes.iter().all(|batch| batch.status != Some(ThreadStatus::Parked)));
    assert_eq!(hands.phases.last(), Some(&Phase::Stopped));
}

#[test]
fn a_turn_that_was_stopped_and_panics_is_not_tried_again() {
    let mut hands = Hands::of(retrying(10));
    hands.begin(Vec::new());
    hands.submit("a", Delivery::Queue).unwrap();
    hands.permit();
    let _answer = hands.interrupt();
    hands.end("a", &panicked());
    assert_eq!(hands.outcome("a").map(Outcome::name), Some("crashed"));
}

#[test]
fn what_a_parent_is_told_of_a_crash_depends_on_what_is_spent() {
    let policy = RestartPolicy::default()
        .with_limit(1, Duration::from_secs(60))
        .with_on_spent(OnSpent::Escalate);
    for (parent, told, phase) in [
        (Some(ThreadId::from_parts(9, [9; 10])), vec!["tell crash", "escalate"], Phase::Backoff),
        (None, vec!["park"], Phase::Parked),
    ] {
        let mut hands = Hands::of(ThreadConfig::default().with_restart(policy));
        hands.core.parent = parent;
        hands.begin(Vec::new());
        hands.submit("a", Delivery::Queue).unwrap();
        hands.submit("b", Delivery::Queue).unwrap();
        crash_at(&mut hands, 0);
        hands.permit();
        hands.end("b", &panicked());
        let known = ["tell crash", "escalate", "park"];
        let done: Vec<&str> =
            hands.done.iter().copied().filter(|done| known.contains(done)).collect();
        assert_eq!((done, hands.core.phase), (told, phase));
        assert!(hands.asked.is_empty(), "no turn starts");
    }
}
