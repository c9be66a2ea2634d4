use std::time::Duration;

use coppicer_messages::{Outcome, Remedy, TurnPhase};
use serde_json::json;

use super::*;

fn id(number: u8) -> ThreadId {
    ThreadId::from_parts(u64::from(number), [number; 10])
}

fn told(attention: &mut Attention, at_ms: u64, thread: Option<u8>, fact: Fact) {
    let mut event = Event::new(fact);
    (event.at_ms, event.thread) = (at_ms, thread.map(id));
    attention.follow(&event);
}

fn kinds(attention: &Attention) -> Vec<(Kind, u64)> {
    attention.list().items.iter().map(|item| (item.kind, item.since_ms)).collect()
}

fn stuck(quiet_ms: u64, remedy: Remedy) -> Fact {
    Fact::Thread(ThreadEvent::TurnStuck {
        phase: TurnPhase::Model,
        quiet: Duration::from_millis(quiet_ms),
        remedy,
        waiters: Vec::new(),
        blockers: Vec::new(),
    })
}

fn turn_ended() -> Fact {
    let outcome = Outcome::Interrupted;
    Fact::Thread(ThreadEvent::TurnEnded { outcome, rung: None, took: Duration::ZERO })
}

fn asked(question: &str) -> Fact {
    Fact::Thread(ThreadEvent::QuestionAsked { question: question.into(), body: json!("may I?") })
}

#[test]
fn what_is_stuck_is_so_since_the_first_time_and_until_its_turn_ends() {
    let mut attention = Attention::default();
    told(&mut attention, 10, Some(1), stuck(100, Remedy::Tell));
    told(&mut attention, 20, Some(1), stuck(200, Remedy::Interrupt));
    told(&mut attention, 30, Some(2), stuck(100, Remedy::Tell));
    let list = attention.list();
    assert_eq!((list.count, list.items[0].since_ms), (2, 10));
    assert_eq!(
        (list.items[0].quiet_ms, list.items[0].remedy),
        (Some(200), Some(Remedy::Interrupt))
    );
    let version = attention.version();
    told(&mut attention, 40, Some(1), turn_ended());
    assert_eq!(kinds(&attention), [(Kind::Stuck, 30)]);
    assert!(attention.version() > version);
    let version = attention.version();
    told(&mut attention, 50, Some(1), turn_ended());
    assert_eq!(attention.version(), version, "nothing changed");
}

#[test]
fn each_question_is_answered_by_itself_and_all_are_over_with_their_turn() {
    let mut attention = Attention::default();
    for question in ["q1", "q2", "q3"] {
        told(&mut attention, 10, Some(1), asked(question));
    }
    told(&mut attention, 10, Some(2), asked("q1"));
    let answered = ThreadEvent::QuestionAnswered { question: "q2".into() };
    told(&mut attention, 20, Some(1), Fact::Thread(answered));
    let questions: Vec<_> =
        attention.list().items.into_iter().map(|item| (item.thread, item.question)).collect();
    let named = |thread, question: &str| (Some(id(thread)), Some(question.to_owned()));
    assert_eq!(questions, [named(1, "q1"), named(1, "q3"), named(2, "q1")]);
    told(&mut attention, 30, Some(1), turn_ended());
    assert_eq!(attention.count(), 1);
}

#[test]
fn the_gravest_is_first() {
    let mut attention = Attention::default();
    told(&mut attention, 10, Some(1), asked("q1"));
    let limit = "budget.tokens".to_owned();
    let spent = ThreadEvent::BudgetSpent { limit, granted: 9 };
    told(&mut attention, 11, Some(1), Fact::Thread(spent));
    let damage = ThreadEvent::DamageFound { what: "record 3".to_owned() };
    told(&mut attention, 12, Some(2), Fact::Thread(damage));
    let reason = "disk full".to_owned();
    told(
        &mut attention,
        13,
        None,
        Fact::Runtime(RuntimeEvent::StoreAiling { trouble: StoreTrouble::DiskFull, reason }),
    );
    assert!(attention.is_store_ailing());
    let expected =
        [(Kind::StoreAiling, 13), (Kind::Damaged, 12), (Kind::Asked, 10), (Kind::BudgetSpent, 11)];
    assert_eq!(kinds(&attention), expected);
    told(&mut attention, 14, None, Fact::Runtime(RuntimeEvent::StoreRecovered));
    told(&mut attention, 15, Some(1), Fact::Thread(ThreadEvent::TurnStarted { attempt: 1 }));
    assert_eq!(kinds(&attention), [(Kind::Damaged, 12), (Kind::Asked, 10)]);
    told(&mut attention, 16, Some(2), Fact::Runtime(RuntimeEvent::ThreadDeleted { threads: 1 }));
    assert_eq!(kinds(&attention), [(Kind::Asked, 10)]);
}

#[test]
fn a_parked_thread_is_one_until_it_is_another_phase_or_gone() {
    let mut attention = Attention::default();
    let mut row = TreeRow::of(id(1));
    (row.phase, row.since_ms) = (Phase::Parked, 10);
    attention.phase(id(1), Some(&row), Some("boom"));
    let version = attention.version();
    attention.phase(id(1), Some(&row), Some("boom"));
    assert_eq!((attention.count(), attention.version()), (1, version));
    assert_eq!(attention.list().items[0].text.as_deref(), Some("boom"));
    row.phase = Phase::Idle;
    attention.phase(id(1), Some(&row), None);
    assert_eq!(attention.count(), 0);
    row.phase = Phase::Parked;
    attention.phase(id(1), Some(&row), None);
    attention.phase(id(1), None, None);
    assert_eq!(attention.count(), 0);
}

#[test]
fn a_limit_is_near_at_nine_tenths_and_is_not_below_eight() {
    let mut attention = Attention::default();
    let mut at = |used| {
        let of = |limit, used| LimitUse::new(limit, used, 100);
        attention.used(&[of("resident_max", used), of("taps_max", 0)], 10);
        attention.count()
    };
    assert_eq!([89, 90, 95, 80, 79, 89, 90].map(&mut at), [0, 1, 1, 1, 0, 0, 1]);
    let item = attention.list().items.remove(0);
    assert_eq!(
        (item.limit.as_deref(), item.used, item.value),
        (Some("resident_max"), Some(90), Some(100))
    );
}

#[test]
fn after_a_gap_what_still_is_so_is_shown_and_since_when() {
    let mut tree = coppicer_actors::ThreadTree::default();
    let mut attention = Attention::default();
    let mut seq = 0;
    let mut happens = |attention: Option<&mut Attention>, thread, fact| {
        seq += 1;
        let mut event = Event::new(fact);
        (event.seq, event.at_ms, event.thread) = (seq, 10 * seq, Some(id(thread)));
        tree.apply(&event);
        if let Some(attention) = attention {
            attention.follow(&event);
        }
        tree.concerns()
    };
    let spawned = || {
        let origin = coppicer_messages::SpawnOrigin::New;
        Fact::Runtime(RuntimeEvent::ThreadSpawned { origin })
    };
    for thread in [1, 2] {
        happens(None, thread, spawned());
    }
    happens(Some(&mut attention), 1, stuck(1, Remedy::Tell));
    happens(Some(&mut attention), 1, asked("q1"));
    happens(None, 2, stuck(1, Remedy::Tell));
    let damage = Fact::Thread(ThreadEvent::DamageFound { what: "record 3".to_owned() });
    happens(None, 9, damage);
    happens(None, 1, turn_ended());
    let concerns = happens(None, 2, stuck(2, Remedy::Tell));
    let mut row = TreeRow::of(id(3));
    row.phase = Phase::Parked;
    attention.phase(id(3), Some(&row), None);
    attention.begin_anew(&concerns);
    assert_eq!(kinds(&attention), [(Kind::Damaged, 60), (Kind::Stuck, 50), (Kind::Parked, 0)]);
}

#[test]
fn a_thread_that_comes_up_after_all_is_no_failed_recovery() {
    let mut attention = Attention::default();
    let failed = || {
        Fact::Runtime(RuntimeEvent::RecoveryFailed {
            reason: "no".to_owned(),
            again: true,
            nickname: None,
        })
    };
    told(&mut attention, 10, Some(1), failed());
    told(&mut attention, 20, Some(1), failed());
    assert_eq!(kinds(&attention), [(Kind::RecoveryFailed, 10)]);
    let origin = coppicer_messages::SpawnOrigin::Recovery;
    told(&mut attention, 30, Some(1), Fact::Runtime(RuntimeEvent::ThreadSpawned { origin }));
    assert_eq!(attention.count(), 0);
}

#[test]
fn a_large_question_is_cut() {
    let mut attention = Attention::default();
    let body = json!({ "text": "y".repeat(100_000) });
    let asked = ThreadEvent::QuestionAsked { question: "q1".into(), body };
    told(&mut attention, 10, Some(1), Fact::Thread(asked));
    assert!(serde_json::to_string(&attention.list()).unwrap().len() < 5_000);
}

#[test]
fn after_a_gap_the_store_is_as_the_snapshot_says() {
    let mut tree = coppicer_actors::ThreadTree::default();
    let mut attention = Attention::default();
    let ails = |reason: &str| {
        let trouble = StoreTrouble::ReadOnly;
        Fact::Runtime(RuntimeEvent::StoreAiling { trouble, reason: reason.to_owned() })
    };
    let mut event = Event::new(ails("in the gap"));
    (event.seq, event.at_ms) = (1, 5);
    tree.apply(&event);
    attention.store(tree.ailing().map(|store| &**store));
    let item = attention.list().items.remove(0);
    assert_eq!(
        (item.kind, item.trouble, item.since_ms),
        (Kind::StoreAiling, Some(StoreTrouble::ReadOnly), 5)
    );
    let version = attention.version();
    attention.store(None);
    assert_eq!((attention.count(), attention.version()), (0, version + 1), "it recovered in a gap");
    told(&mut attention, 9, None, ails("told"));
    assert!(attention.is_store_ailing());
}
