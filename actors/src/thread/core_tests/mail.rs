//! Whom mail is for: the running turn, or the next one (REF 7.8).

use coppicer_messages::{
    AgentPath, Delivery, Limits, MailPage, MailPlace, MessagePhase, Op, Phase, RecordClass, Reply,
    SubmitError, TurnItem,
};

use super::{Hands, call, letter, ms, transient};
use crate::thread::running::TurnEnd;

fn answer() -> RecordClass {
    RecordClass::AssistantMessage { phase: MessagePhase::Final }
}

/// A running turn that has given its answer, and for which mail came since.
fn has_answered(trigger: bool) -> Hands {
    let mut hands = Hands::running("a");
    hands.emit("a", &[answer()]);
    hands.mail("m", trigger);
    hands
}

fn kinds(items: &[TurnItem]) -> Vec<&'static str> {
    let kind = |item: &TurnItem| match item {
        TurnItem::Input { .. } => "input",
        _ => "mail",
    };
    items.iter().map(kind).collect()
}

#[test]
fn se_09_se_10_mail_that_comes_after_the_answer_waits_for_the_next_turn() {
    for trigger in [false, true] {
        let mut hands = has_answered(trigger);
        assert!(hands.take_steered("a").unwrap().is_empty(), "the turn is as good as over");
        hands.end("a", &TurnEnd::Killed);
        assert_eq!(hands.core.mail.len(), 1, "still queued");
        assert_eq!(hands.asked.len(), usize::from(trigger), "only a trigger starts a turn");
        hands.submit("b", Delivery::Queue).unwrap();
        hands.permit();
        assert!(kinds(&hands.items).contains(&"mail"));
    }
}

#[test]
fn se_11_se_12_steered_input_brings_mail_back_to_the_running_turn_and_a_late_answer_changes_nothing()
 {
    let mut hands = has_answered(false);
    hands.submit("s", Delivery::Steer { expected: None }).unwrap();
    hands.emit("a", &[answer()]); // SE-12: ignored while steered input waits
    assert_eq!(kinds(&hands.take_steered("a").unwrap()), ["input", "mail"]);
    hands.emit("a", &[answer()]);
    hands.mail("n", false);
    assert!(hands.take_steered("a").unwrap().is_empty(), "now it is the answer");
}

#[test]
fn se_13_a_tool_call_brings_mail_back_to_the_running_turn() {
    let mut hands = has_answered(false);
    hands.emit("a", &[call("c")]);
    assert_eq!(kinds(&hands.take_steered("a").unwrap()), ["mail"]);
}

#[test]
fn a_remark_is_no_answer_and_another_attempt_has_given_none() {
    let mut hands = Hands::running("a");
    let remark = RecordClass::AssistantMessage { phase: MessagePhase::Commentary };
    hands.emit("a", &[remark]);
    hands.mail("m", false);
    assert_eq!(kinds(&hands.take_steered("a").unwrap()), ["mail"]);
    hands.emit("a", &[answer()]);
    hands.mail("n", false);
    hands.end("a", &transient());
    hands.pass(ms(1_000));
    assert_eq!(kinds(&hands.take_steered("a").unwrap()), ["mail"]);
}

#[test]
fn mail_for_a_parked_thread_waits_until_it_is_revived() {
    let mut hands = Hands::idle();
    hands.core.phase = Phase::Parked;
    let mail = Op::AgentMessage { from: AgentPath::root(), content: "m".into(), trigger: true };
    hands.send("m", mail).unwrap();
    assert!(hands.asked.is_empty());
    assert_eq!(
        hands.submit("a", Delivery::Queue),
        Err(SubmitError::Parked { thread: hands.core.thread })
    );
    let (reply, _answer) = Reply::channel(hands.far(), None);
    hands.decide(|core, now, out| core.revive(reply, now, out));
    assert_eq!(hands.asked.len(), 1);
}

#[test]
fn a_mailbox_that_could_not_be_read_is_read_again_after_a_pause() {
    let mut hands = Hands::idle();
    hands.decide(|core, _, out| core.look_for_mail(out));
    hands.decide(|core, now, out| core.mail_read(None, now, out));
    assert_eq!(hands.done, ["read mail"]);
    assert!(hands.core.hibernate().is_ok(), "its next life reads it anyway");
    hands.pass(hands.core.limits.store_retry);
    assert_eq!(hands.done, ["read mail", "read mail"]);
    let mut page = MailPage::default();
    page.mail.push(letter("m", true));
    page.rest.upto = MailPlace(1);
    hands.decide(|core, now, out| core.mail_read(Some(page), now, out));
    assert_eq!(hands.asked.len(), 1, "what it found starts a turn");
}

#[test]
fn mail_that_has_no_room_is_read_for_the_turn_that_takes_the_rest() {
    let mut hands = Hands::idle();
    let mut limits = Limits::default();
    limits.mail_max = 2;
    hands.core.limits = limits.into();
    for id in ["a", "b", "c"] {
        hands.mail(id, id == "c");
    }
    assert_eq!(hands.core.mail.len(), 2);
    let op = Op::AgentMessage { from: AgentPath::root(), content: "d".into(), trigger: false };
    assert_eq!(hands.send("d", op), Err(SubmitError::Overloaded { depth: 2, capacity: 2 }));
    assert_eq!(hands.asked.len(), 1, "what starts a turn is behind what is here");
    hands.permit();
    assert_eq!(kinds(&hands.items), ["mail", "mail"]);
    assert_eq!(hands.done, ["read mail"]);
    let page = MailPage { mail: vec![letter("c", true)], ..MailPage::default() };
    hands.decide(|core, now, out| core.mail_read(Some(page), now, out));
    let turn = hands.runs().unwrap().to_owned();
    assert_eq!(kinds(&hands.take_steered(&turn).unwrap()), ["mail"]);
}
