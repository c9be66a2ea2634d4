//! Crashes and what follows them (P6, P7).

use std::time::Duration;

use coppicer_messages::{
    ControlError, Delivery, OnCrash, Outcome, Phase, RecordClass, Reply, RestartPolicy,
    SubmissionState, SubmitError, ThreadConfig, ThreadStatus,
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
            core.begin(Vec::new(), open, crate::thread::Rise::ToWork, now, out);
        });
        assert_eq!(hands.outcome("a").map(Outcome::name), Some("failed"));
        assert_eq!((hands.asked.len(), hands.places), (0, 0));
    }
}
