//! Turns: one at a time, stale notices, calls left open, passing errors.

use std::time::Duration;

use coppicer_messages::{Delivery, Outcome, Phase, RecordClass, Reply, ThreadStatus, ThreadTick};

use super::{Do, Hands, PERMITS, answered, call, ms, name, output, panicked, transient, turn};
use crate::thread::effect::Effect;
use crate::thread::running::TurnEnd;

#[test]
fn th_1_a_second_input_waits_while_a_turn_runs_and_runs_after_it() {
    let mut hands = Hands::running("a");
    hands.submit("b", Delivery::Queue).unwrap();
    hands.submit("c", Delivery::Queue).unwrap();
    assert_eq!((hands.runs(), hands.queue()), (Some("a"), vec!["b", "c"]));
    assert!(hands.asked.is_empty(), "no second permit is asked for while a turn runs");
    hands.done("a");
    assert_eq!((hands.runs(), hands.queue()), (None, vec!["b", "c"]));
    assert_eq!(hands.asked, [turn("b")]);
    hands.permit();
    assert_eq!((hands.runs(), hands.queue()), (Some("b"), vec!["c"]));
    assert_eq!(hands.free_permits(), PERMITS - 1, "the permit of the ended turn went back");
}

#[test]
fn th_1_a_permit_that_comes_twice_starts_one_turn() {
    let mut hands = Hands::idle();
    hands.submit("a", Delivery::Queue).unwrap();
    let asked = hands.asked.pop_front().unwrap();
    hands.permit_for(&asked);
    hands.permit_for(&asked);
    assert_eq!(hands.launched, [(turn("a"), 1)]);
    assert_eq!(hands.free_permits(), PERMITS - 1, "the second permit went back");
}

#[test]
fn th_2_a_stale_turn_notice_changes_nothing() {
    let notices: [(&str, Do); 11] = [
        ("ended", |hands| hands.done("old")),
        ("panicked", |hands| hands.end("old", &panicked())),
        ("transient", |hands| hands.end("old", &transient())),
        ("emitted", |hands| hands.emit("old", &[call("x")])),
        ("permitted", |hands| hands.permit_for(&turn("old"))),
        ("steered", |hands| assert!(hands.take_steered("old").is_err())),
        ("asked", |hands| {
            let (reply, answer) = Reply::channel(hands.far(), None);
            hands.decide(|core, _, out| {
                core.asked(&turn("old"), "q".into(), serde_json::Value::Null, reply, out);
            });
            assert!(answered(answer).unwrap().is_err());
        }),
        ("grace", |hands| hands.tick(ThreadTick::GraceOver(turn("old")))),
        ("kill", |hands| hands.tick(ThreadTick::KillOver(turn("old")))),
        ("retry", |hands| hands.tick(ThreadTick::RetryDue(turn("old")))),
        ("backoff", |hands| hands.tick(ThreadTick::BackoffOver { crash: 1 })),
    ];
    for (notice, tell) in notices {
        for make in [Hands::idle as fn() -> Hands, || Hands::running("a")] {
            let mut hands = make();
            let (before, writes) = (hands.state(), hands.writes.len());
            let free = hands.free_permits();
            tell(&mut hands);
            assert_eq!(hands.state(), before, "{notice}");
            assert_eq!((hands.writes.len(), hands.free_permits()), (writes, free), "{notice}");
        }
    }
}

#[test]
fn th_2_the_end_of_a_turn_that_ended_already_changes_nothing() {
    let mut hands = Hands::running("a");
    hands.done("a");
    let before = hands.state();
    hands.end("a", &panicked());
    assert_eq!(hands.state(), before);
    assert_eq!(hands.ended[&name("a")].len(), 1);
}

#[test]
fn th_2_a_killed_turn_can_add_nothing() {
    let mut hands = Hands::running("a");
    let _answer = hands.interrupt();
    hands.pass(ms(100));
    assert_eq!(hands.done, ["cancel", "kill"]);
    let head = hands.core.head;
    hands.emit("a", &[call("x")]);
    assert!(hands.take_steered("a").is_err());
    assert_eq!(hands.core.head, head);
}

#[test]
fn a_turn_that_ends_has_its_last_message_as_outcome() {
    let mut hands = Hands::running("a");
    hands.decide(|core, _, out| core.emitted(&turn("a"), Vec::new(), Some("said".into()), out));
    hands.done("a");
    assert_eq!(hands.outcome("a"), Some(&Outcome::Completed { message: Some("said".into()) }));
    assert_eq!(hands.core.status, ThreadStatus::Completed(Some("said".into())));
    assert_eq!((hands.core.phase, hands.places), (Phase::Idle, 0));
}

#[test]
fn th_5_a_call_that_a_turn_left_open_gets_an_output_in_the_write_of_the_turns_end() {
    for end in [
        TurnEnd::Done(None),
        TurnEnd::Failed("no".into()),
        panicked(),
        TurnEnd::Killed,
        TurnEnd::Fenced,
    ] {
        let mut hands = Hands::running("a");
        hands.emit("a", &[call("x"), output("x"), call("y")]);
        hands.emit("a", &[call("z")]);
        hands.end("a", &end);
        let last = hands.last_write();
        let outputs: Vec<&RecordClass> =
            last.records.iter().map(|record| &record.class).take(2).collect();
        assert_eq!(outputs, [&output("y"), &output("z")], "{end:?}");
        let ends = |class: &RecordClass| {
            matches!(class, RecordClass::TurnCompleted { .. } | RecordClass::TurnAborted { .. })
        };
        assert!(ends(&last.records.last().unwrap().class), "{end:?}: {last:?}");
        assert_eq!(last.states.len(), 1, "{end:?}: the outcome is in the same write");
    }
}

#[test]
fn a_turn_is_shown_before_its_submission_leaves_the_inbox() {
    // Else a thread with work would be seen with nothing to do, by those who wait for it to end.
    let mut hands = Hands::idle();
    hands.submit("a", Delivery::Queue).unwrap();
    let permit = hands.new_permit();
    let mut effects = Vec::new();
    hands.core.permitted(&turn("a"), permit, hands.now, &mut effects);
    let place = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted).unwrap();
    let write = place(|effect| matches!(effect, Effect::Write(_)));
    let show = place(|effect| matches!(effect, Effect::Show { .. }));
    let free = place(|effect| matches!(effect, Effect::FreePlace));
    assert!(write < show && show < free);
    assert!(Effect::FreePlace.waits_for_writes(), "else it would overtake what is shown");
}

#[test]
fn a_passing_error_is_tried_again_after_pauses_that_double_and_fails_at_the_fourth() {
    let mut hands = Hands::running("a");
    let mut pauses = Vec::new();
    for _ in 1..4 {
        hands.end("a", &transient());
        let (at, _) = hands.armed[0];
        pauses.push((at - hands.now.instant).as_millis());
        assert_eq!((hands.runs(), hands.outcome("a")), (Some("a"), None));
        hands.pass(at - hands.now.instant);
    }
    assert_eq!(pauses, [200, 400, 800]);
    let attempts: Vec<u32> = hands.launched.iter().map(|(_, attempt)| *attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    hands.end("a", &transient());
    assert_eq!(hands.outcome("a"), Some(&Outcome::Failed { error: "try again".into() }));
    assert_eq!(hands.core.status, ThreadStatus::Errored("try again".into()));
    assert_eq!(hands.free_permits(), PERMITS);
}

#[test]
fn the_pause_is_what_the_engine_says_or_twice_as_long_when_it_is_overloaded() {
    let hint = |retry_after| TurnEnd::Transient { message: String::new(), retry_after };
    for (end, pause) in [
        (hint(Some(ms(7))), 7),
        (hint(Some(Duration::from_secs(3_600))), 30_000),
        (TurnEnd::Overloaded, 400),
        (TurnEnd::SessionLost("gone".into()), 200),
    ] {
        let mut hands = Hands::running("a");
        hands.end("a", &end);
        let (at, _) = hands.armed[0];
        assert_eq!((at - hands.now.instant).as_millis(), pause, "{end:?}");
        let lost = matches!(end, TurnEnd::SessionLost(_));
        assert_eq!(hands.done.contains(&"drop session"), lost, "{end:?}");
    }
}

#[test]
fn a_question_of_a_failed_attempt_waits_for_no_answer_any_more() {
    let mut hands = Hands::running("a");
    let (reply, answer) = Reply::channel(hands.far(), None);
    hands.decide(|core, _, out| {
        core.asked(&turn("a"), "a/q1".into(), serde_json::Value::Null, reply, out);
    });
    assert_eq!(hands.core.questions.len(), 1);
    hands.end("a", &transient());
    assert!(hands.core.questions.is_empty());
    drop(answer);
}

#[test]
fn a_question_that_nobody_waits_for_any_more_makes_room_for_the_next() {
    let mut hands = Hands::running("a");
    for n in 0..=hands.core.limits.questions_max {
        let (reply, answer) = Reply::channel(hands.far(), None);
        hands.decide(|core, _, out| {
            core.asked(&turn("a"), format!("a/q{n}").into(), serde_json::Value::Null, reply, out);
        });
        drop(answer); // it timed out
    }
    assert_eq!(hands.core.questions.len(), 1);
}

#[test]
fn an_engine_that_says_it_was_stopped_and_was_not_has_failed() {
    let mut hands = Hands::running("a");
    hands.end("a", &TurnEnd::Stopped);
    assert!(matches!(hands.outcome("a"), Some(Outcome::Failed { .. })));
}
