//! Interrupts and closing.

use std::time::Duration;

use coppicer_messages::{
    CloseOrder, ControlError, Delivery, Ended, Interrupted, Op, Outcome, Phase, RecordClass, Reply,
    Rung, SubmitError, ThreadStatus,
};

use super::{Do, Hands, PERMITS, answered, ms, panicked, transient, turn};
use crate::thread::running::TurnEnd;

#[test]
fn an_interrupt_is_answered_once_the_turn_has_ended_and_says_how_far_it_had_to_go() {
    let cases: [(&str, Do, Rung); 3] = [
        ("listens", |hands| hands.end("a", &TurnEnd::Stopped), Rung::Stopped),
        (
            "does not listen",
            |hands| {
                hands.pass(ms(100));
                hands.end("a", &TurnEnd::Killed);
            },
            Rung::Killed,
        ),
        ("blocks", |hands| hands.pass(ms(150)), Rung::Fenced),
    ];
    for (case, go_on, rung) in cases {
        let mut hands = Hands::running("a");
        let (first, second) = (hands.interrupt(), hands.interrupt());
        assert_eq!(hands.done, ["cancel"], "{case}: it is cancelled once");
        go_on(&mut hands);
        assert_eq!(hands.outcome("a"), Some(&Outcome::Interrupted), "{case}");
        assert_eq!(hands.core.status, ThreadStatus::Interrupted, "{case}");
        let found = Some(Ok(Interrupted::Turn { turn: turn("a"), rung }));
        assert_eq!(answered(first), found, "{case}");
        assert_eq!(answered(second), found, "{case}");
        assert_eq!(hands.free_permits(), PERMITS, "{case}");
    }
}

#[test]
fn a_turn_that_is_interrupted_before_it_begins_never_begins() {
    let mut hands = Hands::idle();
    hands.submit("a", Delivery::Queue).unwrap();
    let asked = hands.asked.pop_front().unwrap();
    let permit = hands.new_permit();
    // Its start is being written: the launch waits for that.
    let mut effects = Vec::new();
    hands.core.permitted(&asked, permit, hands.now, &mut effects);
    let answer = hands.interrupt();
    for effect in effects {
        hands.carry_out(effect);
    }
    assert!(hands.launched.is_empty());
    assert_eq!(hands.outcome("a"), Some(&Outcome::Interrupted));
    let found = Interrupted::Turn { turn: turn("a"), rung: Rung::Stopped };
    assert_eq!(answered(answer), Some(Ok(found)));
    assert_eq!(hands.free_permits(), PERMITS);
}

#[test]
fn an_interrupt_of_an_idle_thread_finds_nothing_and_changes_nothing() {
    let mut hands = Hands::idle();
    let before = hands.state();
    assert_eq!(answered(hands.interrupt()), Some(Ok(Interrupted::NothingRan)));
    assert_eq!(hands.state(), before);
}

#[test]
fn a_close_between_two_attempts_ends_the_turn_at_once() {
    let mut hands = Hands::running("a");
    hands.end("a", &transient());
    hands.close(ms(1_000));
    assert_eq!(hands.outcome("a"), Some(&Outcome::Interrupted));
    assert_eq!(hands.over, Some(Ended::Closed { rung: Rung::Stopped }));
    let writes = hands.writes.len();
    hands.pass(Duration::from_secs(60));
    assert_eq!((hands.launched.len(), hands.writes.len()), (1, writes));
}

#[test]
fn a_thread_that_is_told_to_end_is_stopping_until_it_is_stopped() {
    let ends: [Do; 3] = [
        |hands| hands.done("a"),
        |hands| hands.end("a", &transient()),
        |hands| hands.end("a", &panicked()),
    ];
    for end in ends {
        let mut hands = Hands::running("a");
        hands.submit("b", Delivery::Queue).unwrap();
        hands.close(ms(1_000));
        end(&mut hands);
        let last: Vec<Phase> = hands.phases.iter().rev().take(3).rev().copied().collect();
        assert_eq!(last, [Phase::Running, Phase::Stopping, Phase::Stopped]);
    }
}

#[test]
fn a_passing_error_of_a_turn_that_was_told_to_stop_is_not_tried_again() {
    let mut hands = Hands::running("a");
    let _answer = hands.interrupt();
    hands.end("a", &transient());
    assert_eq!(hands.outcome("a"), Some(&Outcome::Interrupted));
    assert_eq!(hands.runs(), None);
}

#[test]
fn a_turn_may_drain_until_its_time_is_over() {
    let drain = |hands: &mut Hands| {
        hands.order(CloseOrder {
            drain_until: hands.now.instant + ms(500),
            stop_until: hands.now.instant + ms(800),
            kill_until: hands.now.instant + ms(900),
            tell_parent: true,
        });
    };
    let mut hands = Hands::running("a");
    drain(&mut hands);
    hands.pass(ms(499));
    assert_eq!(hands.done, ["shut"], "it is not told to stop");
    hands.done("a");
    assert_eq!(hands.outcome("a").map(Outcome::name), Some("completed"));
    assert_eq!(hands.over, Some(Ended::Closed { rung: Rung::Drained }));

    let mut hands = Hands::running("a");
    drain(&mut hands);
    hands.pass(ms(500));
    assert_eq!(hands.done, ["shut", "cancel"]);
    hands.pass(ms(100));
    assert_eq!(hands.done, ["shut", "cancel", "kill"], "the grace of an interrupt");
    hands.end("a", &TurnEnd::Killed);
    assert_eq!(hands.over, Some(Ended::Closed { rung: Rung::Killed }));
}

#[test]
fn a_second_order_may_be_stricter_and_is_never_laxer() {
    let order = |hands: &Hands, drain, stop, kill| CloseOrder {
        drain_until: hands.now.instant + ms(drain),
        stop_until: hands.now.instant + ms(stop),
        kill_until: hands.now.instant + ms(kill),
        tell_parent: false,
    };
    let mut hands = Hands::running("a");
    hands.order(order(&hands, 5_000, 6_000, 7_000));
    hands.order(order(&hands, 0, 10, 20));
    assert_eq!(hands.done, ["shut", "cancel"], "the stricter one stops it at once");
    hands.pass(ms(10));
    assert_eq!(hands.done, ["shut", "cancel", "kill"]);
    hands.pass(ms(10));
    assert_eq!(hands.over, Some(Ended::Closed { rung: Rung::Fenced }));

    let mut hands = Hands::running("a");
    hands.order(order(&hands, 0, 10, 20));
    hands.order(order(&hands, 5_000, 6_000, 7_000));
    hands.pass(ms(20));
    assert_eq!(
        hands.over,
        Some(Ended::Closed { rung: Rung::Fenced }),
        "the laxer one changes nothing"
    );
}

#[test]
fn a_thread_with_work_does_not_sleep() {
    let mut hands = Hands::idle();
    assert_eq!(hands.core.hibernate(), Ok(()));
    hands.submit("a", Delivery::Queue).unwrap();
    assert!(hands.core.hibernate().is_err());
    hands.permit();
    assert!(hands.core.hibernate().is_err());
    assert!(matches!(hands.send("h", Op::Hibernate), Err(SubmitError::Busy { .. })));
}

#[test]
fn rb_07_rb_08_a_rollback_is_refused_while_a_turn_runs_and_for_no_turns() {
    let mut hands = Hands::running("a");
    let busy = SubmitError::Busy { turn: turn("a") };
    assert_eq!(hands.send("r", Op::Rollback { turns: 1 }), Err(busy));
    hands.done("a");
    let refused = hands.send("r", Op::Rollback { turns: 0 });
    assert!(matches!(refused, Err(SubmitError::BadRequest { field: "turns", .. })), "{refused:?}");
    hands.send("r", Op::Rollback { turns: 1 }).unwrap();
    assert_eq!(hands.last_write().records[0].class, RecordClass::RolledBack { turns: 1 });
    assert!(hands.done.contains(&"drop session"));
}

#[test]
fn a_thread_that_is_parked_interrupts_its_turn_and_keeps_what_is_queued() {
    let mut hands = Hands::running("a");
    hands.submit("b", Delivery::Queue).unwrap();
    let park = |hands: &mut Hands| {
        let (reply, answer) = Reply::channel(hands.far(), None);
        hands.decide(|core, now, out| core.park(reply, now, out));
        answer
    };
    let answer = park(&mut hands);
    assert!(hands.done.contains(&"cancel"));
    assert_eq!(hands.core.phase, Phase::Running, "it stops first");
    hands.end("a", &TurnEnd::Stopped);
    assert!(matches!(answered(answer), Some(Ok(()))));
    assert_eq!((hands.core.phase, hands.queue()), (Phase::Parked, vec!["b"]));
    assert_eq!(hands.outcome("a").map(Outcome::name), Some("interrupted"));
    let again = park(&mut hands);
    assert!(matches!(answered(again), Some(Ok(()))), "twice is as good as once");
    let (reply, revived) = Reply::channel(hands.far(), None);
    hands.decide(|core, now, out| core.revive(reply, now, out));
    assert!(matches!(answered(revived), Some(Ok(()))));
    hands.permit();
    assert_eq!(hands.runs(), Some("b"));
    let waits = park(&mut hands);
    hands.close(ms(100));
    assert!(matches!(answered(waits), Some(Err(ControlError::WrongPhase { .. }))), "it closes");
}

#[test]
fn a_parent_that_is_to_hear_of_an_end_hears_of_it_whatever_is_ordered_later() {
    let mut hands = Hands::running("a");
    hands.close(ms(900));
    let now = hands.now.instant;
    let at = now + ms(100);
    let later = CloseOrder { drain_until: now, stop_until: at, kill_until: at, tell_parent: false };
    hands.order(later);
    let order = hands.core.closing.as_deref().unwrap();
    assert_eq!((order.tell_parent, order.kill_until), (true, at));
}
