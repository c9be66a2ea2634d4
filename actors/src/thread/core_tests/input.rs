//! Submissions, steering (REF 7.6) and mail (REF 7.8).

use std::collections::HashSet;

use coppicer_messages::{
    CloseOrder, Delivery, Ended, LeaseKind, MailRest, Op, Outcome, Phase, Rung, Submission,
    SubmitError, ThreadStatus, TurnItem,
};

use super::{Hands, PERMITS, letter, ms, name, panicked, spawned_below, turn};
use crate::thread::mailbox::Mailbox;
use crate::thread::running::TurnEnd;

#[test]
fn th_3_what_is_queued_is_returned_when_the_thread_closes() {
    let mut hands = Hands::running("a");
    for id in ["b", "c"] {
        hands.submit(id, Delivery::Queue).unwrap();
    }
    hands.submit("d", Delivery::SteerOrQueue).unwrap();
    hands.close(ms(1_000));
    assert_eq!(hands.done, ["shut", "cancel"]);
    assert_eq!(hands.over, None, "it does not end before its turn");
    hands.end("a", &TurnEnd::Stopped);
    assert_eq!(hands.outcome("a"), Some(&Outcome::Interrupted));
    for id in ["b", "c", "d"] {
        assert_eq!(hands.outcome(id), Some(&Outcome::Returned), "{id}");
    }
    assert_eq!(hands.over, Some(Ended::Closed { rung: Rung::Stopped }));
    assert_eq!(
        (hands.core.status.clone(), hands.core.phase),
        (ThreadStatus::Shutdown, Phase::Stopped)
    );
    assert_eq!(hands.places, 0);
    assert_eq!(hands.settled, [name("a"), name("d"), name("b"), name("c")]);
}

#[test]
fn th_4_once_it_closes_nothing_is_accepted_and_no_turn_starts() {
    let mut hands = Hands::running("a");
    hands.submit("b", Delivery::Queue).unwrap();
    hands.close(ms(1_000));
    let thread = hands.core.thread;
    let closed = Err(SubmitError::Closed { thread });
    for op in [Op::Interrupt, Op::Compact, Op::Close, Op::Rollback { turns: 1 }, Op::Hibernate] {
        assert_eq!(hands.send("x", op), closed);
    }
    assert_eq!(hands.submit("x", Delivery::Queue), closed);
    hands.mail("m", true);
    hands.end("a", &TurnEnd::Stopped);
    assert!(hands.asked.is_empty());
}

#[test]
fn th_4_a_permit_that_comes_after_the_close_goes_back() {
    let mut hands = Hands::idle();
    hands.submit("a", Delivery::Queue).unwrap();
    hands.close(ms(1_000));
    assert_eq!(hands.outcome("a"), Some(&Outcome::Returned));
    hands.permit();
    assert!(hands.launched.is_empty());
    assert_eq!((hands.free_permits(), hands.leases.live(LeaseKind::TurnPermit)), (PERMITS, 0));
}

#[test]
fn a_refusal_gives_the_place_in_the_inbox_back_and_writes_nothing() {
    let mut hands = Hands::idle();
    for (submission, refusal) in [
        (Submission::input("  "), SubmitError::EmptyInput),
        (
            Op::Rollback { turns: 0 }.into(),
            SubmitError::BadRequest { field: "turns", reason: "must be at least 1".into() },
        ),
        (
            Op::UpdateConfig { settings: serde_json::json!([]) }.into(),
            SubmitError::BadRequest { field: "settings", reason: "must be a JSON object".into() },
        ),
        (
            Op::Inject { items: Vec::new() }.into(),
            SubmitError::BadRequest { field: "items", reason: "items must not be empty".into() },
        ),
        (Op::RefreshConfig.into(), SubmitError::Unsupported { op: "refresh_config" }),
    ] {
        assert_eq!(hands.send("x", submission), Err(refusal));
    }
    assert_eq!((hands.places, hands.writes.len()), (0, 0));
    assert_eq!(hands.core.status, ThreadStatus::PendingInit, "a refusal never moves a status");
}

#[test]
fn se_01_there_is_nothing_to_steer_in_an_idle_thread() {
    let mut hands = Hands::idle();
    let steer = Delivery::Steer { expected: None };
    assert_eq!(hands.submit("s", steer), Err(SubmitError::NoActiveTurn));
    hands.submit("q", Delivery::SteerOrQueue).unwrap();
    assert_eq!(hands.queue(), ["q"]);
}

#[test]
fn se_02_se_04_a_steer_names_the_turn_that_it_means() {
    let mut hands = Hands::running("t");
    let steer = |expected| Delivery::Steer { expected: Some(turn(expected)) };
    assert_eq!(
        hands.submit("s", steer("different")),
        Err(SubmitError::ExpectedTurnMismatch { expected: turn("different"), actual: turn("t") })
    );
    hands.submit("s", steer("t")).unwrap();
    let steered = &hands.core.turn.as_ref().unwrap().steered;
    assert_eq!(steered.len(), 1);
}

#[test]
fn se_03_a_compaction_is_not_steered() {
    let mut hands = Hands::idle();
    hands.send("c", Op::Compact).unwrap();
    hands.permit();
    let steer = Delivery::Steer { expected: None };
    let refused = Err(SubmitError::NotSteerable { turn: turn("c"), kind: "compact" });
    assert_eq!(hands.submit("s", steer), refused);
    hands.submit("q", Delivery::SteerOrQueue).unwrap();
    assert_eq!(hands.queue(), ["q"]);
}

#[test]
fn se_07_input_for_an_idle_thread_is_refused_while_anything_runs_or_waits() {
    let mut hands = Hands::running("a");
    assert_eq!(hands.submit("x", Delivery::Refuse), Err(SubmitError::Busy { turn: turn("a") }));
    let _answer = hands.interrupt();
    hands.pass(ms(100));
    assert_eq!(
        hands.submit("x", Delivery::Refuse),
        Err(SubmitError::Busy { turn: turn("a") }),
        "a turn that is being killed runs still"
    );
    let mut hands = Hands::idle();
    hands.submit("b", Delivery::Refuse).unwrap();
    assert_eq!(
        hands.submit("x", Delivery::Refuse),
        Err(SubmitError::Busy { turn: turn("b") }),
        "a turn that waits for its permit is as good as running"
    );
}

#[test]
fn se_11_steered_input_comes_before_mail_and_both_in_order() {
    let mut hands = Hands::running("a");
    hands.mail("m1", false);
    hands.submit("s1", Delivery::SteerOrQueue).unwrap();
    hands.mail("m2", true);
    hands.submit("s2", Delivery::SteerOrQueue).unwrap();
    let items = hands.take_steered("a").unwrap();
    let names: Vec<&str> = items
        .iter()
        .map(|item| match item {
            TurnItem::Input { submission, .. } => submission.as_str(),
            TurnItem::Mail(mail) => &mail.id,
            _ => "?",
        })
        .collect();
    assert_eq!(names, ["s1", "s2", "m1", "m2"]);
    let taken = &hands.last_write().mail_taken;
    assert_eq!(taken.iter().map(|id| &**id).collect::<Vec<_>>(), ["m1", "m2"]);
    assert!(hands.take_steered("a").unwrap().is_empty());
    hands.done("a");
    for id in ["a", "s1", "s2"] {
        assert_eq!(hands.outcome(id), Some(&Outcome::Completed { message: None }), "{id}");
    }
}

#[test]
fn steered_input_that_the_turn_never_took_runs_next_before_what_was_queued() {
    let mut hands = Hands::running("a");
    hands.submit("q", Delivery::Queue).unwrap();
    hands.submit("s1", Delivery::SteerOrQueue).unwrap();
    hands.submit("s2", Delivery::Steer { expected: None }).unwrap();
    hands.done("a");
    assert_eq!(hands.queue(), ["s1", "s2", "q"]);
    assert_eq!(hands.outcome("s1"), None);
}

#[test]
fn a_turn_that_was_told_to_stop_takes_no_more_input() {
    let mut hands = Hands::running("a");
    let _answer = hands.interrupt();
    let steer = Delivery::Steer { expected: None };
    assert_eq!(hands.submit("s", steer), Err(SubmitError::NoActiveTurn));
    hands.submit("q", Delivery::SteerOrQueue).unwrap();
    assert_eq!(hands.queue(), ["q"]);
}

#[test]
fn inputs_that_wait_for_a_turn_are_bounded() {
    let mut hands = Hands::running("a");
    let max = hands.core.limits.steered_max;
    let steer = || Delivery::Steer { expected: None };
    for n in 0..max {
        hands.submit(&format!("s{n}"), steer()).unwrap();
    }
    let full = SubmitError::Overloaded { depth: max, capacity: max };
    assert_eq!(hands.submit("more", steer()), Err(full));
    hands.submit("queued", Delivery::SteerOrQueue).unwrap();
    assert_eq!(hands.queue(), ["queued"]);
}

#[test]
fn queue_only_mail_starts_no_turn_and_comes_with_the_next_one() {
    let mut hands = Hands::idle();
    hands.mail("m", false);
    assert!(hands.asked.is_empty());
    hands.submit("a", Delivery::Queue).unwrap();
    hands.permit();
    let mails = hands.items.iter().filter(|item| matches!(item, TurnItem::Mail(_))).count();
    assert_eq!((hands.items.len(), mails), (2, 1));
    assert!(matches!(hands.items[0], TurnItem::Input { .. }), "input comes before mail");
}

#[test]
fn trigger_mail_starts_a_turn_of_its_own() {
    let mut hands = Hands::idle();
    hands.mail("m", true);
    assert_eq!(hands.asked.len(), 1);
    hands.permit();
    assert!(matches!(&hands.items[..], [TurnItem::Mail(mail)] if &*mail.id == "m"));
    let mail_turn = hands.runs().unwrap().to_owned();
    hands.mail("n", true);
    hands.done(&mail_turn);
    assert_eq!(hands.asked.len(), 1, "mail that came meanwhile starts the next turn");
    assert_ne!(hands.asked[0].as_str(), mail_turn);
}

#[test]
fn mail_that_the_store_told_of_is_not_read_again() {
    let mut hands = Hands::new();
    hands.core.mail = Mailbox::of(vec![letter("m", false)], MailRest::default(), 16).into();
    hands.begin(Vec::new());
    hands.mail("m", false);
    assert_eq!(hands.core.mail.len(), 1);
}

#[test]
fn a_compaction_leaves_mail_for_the_next_regular_turn() {
    let mut hands = Hands::idle();
    hands.mail("m", false);
    hands.send("c", Op::Compact).unwrap();
    hands.permit();
    assert!(hands.items.is_empty());
    assert_eq!(hands.core.mail.len(), 1);
}

#[test]
fn p_12_each_end_of_a_turn_is_told_to_the_parent_once_in_the_write_of_the_end() {
    let mut hands = spawned_below();
    let mut ids = HashSet::new();
    for (id, end) in
        [("a", TurnEnd::Done(None)), ("b", TurnEnd::Failed("no".into())), ("c", panicked())]
    {
        hands.submit(id, Delivery::Queue).unwrap();
        hands.permit();
        hands.end(id, &end);
        let mail = &hands.last_write().mail;
        assert_eq!(mail.len(), 1, "{id}");
        assert!(!mail[0].mail.trigger);
        assert!(ids.insert(mail[0].mail.id.clone()), "{id}: an id of its own");
        hands.pass(ms(200));
    }
    hands.close(ms(1_000));
    assert_eq!(hands.last_write().mail.len(), 1, "that it closed is told too");
    assert_eq!(hands.done.iter().filter(|done| **done == "deliver").count(), 4);
}

#[test]
fn a_parent_that_closes_in_the_same_stroke_is_not_told() {
    let mut hands = spawned_below();
    let until = hands.now.instant + ms(1_000);
    hands.order(CloseOrder {
        drain_until: hands.now.instant,
        stop_until: until,
        kill_until: until,
        tell_parent: false,
    });
    assert!(hands.last_write().mail.is_empty());
}
