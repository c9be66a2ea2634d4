//! The rules find what is wrong, each kind by itself.

use super::*;
use coppicer::Budget;

use crate::words::Word;

/// The first seed whose script has a step of each kind within the first fourteen.
const SEED: u64 = 6;

/// What the root of the world has, and what each of its sub-agents is given.
const ROOT: i64 = 1_000;
const PART: i64 = 10;

const fn account(tokens: u64) -> Budget {
    Budget::new().with_tokens(tokens)
}

/// A part goes from the root to a sub-agent, or comes back; or is given away for good.
fn give(snapshot: &mut Snapshot, part: i64, for_good: i64) {
    let mut charge = coppicer::Charge::to(thread_of(SEED, step(0)));
    (charge.carved.tokens, charge.spent.tokens) = (part, for_good);
    root(snapshot).ledger.as_mut().unwrap().apply(&charge);
}

fn step(at: u64) -> StepId {
    StepId { slot: 0, life: 0, at }
}

/// Everything of the first `count` steps was acknowledged, and a store in which all of it stands.
fn world(count: u64) -> (Oracle, Snapshot) {
    let mut oracle = Oracle::new(SEED, 1);
    let mut snapshot = Snapshot { lives: BTreeSet::from([(0, 0)]), ..Snapshot::default() };
    let top = thread_of(SEED, step(0));
    for (what, at) in script(SEED, 0, 0).iter().zip(0..count) {
        let id = step(at);
        oracle.hear(&Word::Did(id));
        let mine = thread_of(SEED, id);
        if what.makes() {
            let mut seen = Seen { read: true, ..Seen::default() };
            match what {
                Step::Child => {
                    seen.parent = Some((top, true));
                    seen.ledger = Some(Ledger::new(account(PART.unsigned_abs())));
                    snapshot.children.entry(top).or_default().insert(mine);
                }
                Step::Fork => seen.base = Some((top, 0)),
                _ => seen.ledger = Some(Ledger::new(account(ROOT.unsigned_abs()))),
            }
            snapshot.threads.insert(mine, seen);
            if *what == Step::Child {
                give(&mut snapshot, PART, 0);
            }
        }
        if let Step::Move { made, to } = what {
            let [moved, to] = [*made, *to].map(|at| thread_of(SEED, step(at)));
            let seen = snapshot.threads.get_mut(&moved).unwrap();
            let from = seen.parent.replace((to, true)).unwrap().0;
            snapshot.children.get_mut(&from).unwrap().remove(&moved);
            snapshot.children.entry(to).or_default().insert(moved);
            match (from == top, to == top) {
                (true, false) => give(&mut snapshot, -PART, PART),
                (false, true) => give(&mut snapshot, PART, 0),
                _ => {}
            }
        }
        if let Step::Close { made } = what {
            let at = thread_of(SEED, step(*made));
            if snapshot.threads[&at].parent.is_some_and(|(parent, _)| parent == top) {
                give(&mut snapshot, -PART, 0);
            }
            let closed = snapshot.threads.get_mut(&thread_of(SEED, step(*made))).unwrap();
            closed.parent = closed.parent.map(|(parent, _)| (parent, false));
            closed.status = "shutdown";
        }
        if let Some(reader) = what.reader(at) {
            let outcome = Outcome::Completed { message: Some(answer_of(&mark_of(id))) };
            let outcome = serde_json::to_string(&outcome).unwrap();
            oracle.hear(&Word::Outcome(id, outcome.clone()));
            let found = Found { digest: digest_of(SEED, id), outcome: Some(outcome) };
            snapshot.submissions.insert(id, found);
            let seen = snapshot.threads.get_mut(&thread_of(SEED, step(reader))).unwrap();
            seen.texts.push(id);
            seen.head += 1;
            seen.records += 1;
        }
    }
    (oracle, snapshot)
}

fn kinds(oracle: &Oracle, snapshot: &Snapshot) -> Vec<Kind> {
    violations(oracle, snapshot, true).into_iter().map(|it| it.kind).collect()
}

/// How many steps of the script are needed to have one of each kind.
const COUNT: u64 = 14;

fn first(wanted: impl Fn(&Step) -> bool) -> u64 {
    let steps = script(SEED, 0, 0);
    let found = steps.iter().position(wanted).expect("the script has such a step");
    assert!((found as u64) < COUNT, "within the steps that were acknowledged: {steps:?}");
    found as u64
}

fn root(snapshot: &mut Snapshot) -> &mut Seen {
    snapshot.threads.get_mut(&thread_of(SEED, step(0))).unwrap()
}

#[test]
fn a_store_with_all_that_was_acknowledged_keeps_the_rules() {
    let (oracle, snapshot) = world(COUNT);
    assert_eq!(violations(&oracle, &snapshot, true), []);
}

#[test]
fn what_is_in_doubt_may_be_there_or_not() {
    let (_, more) = world(COUNT);
    let (oracle, _) = world(COUNT - 1);
    assert_eq!(violations(&oracle, &more, true), []);
}

#[test]
fn a_lost_thread_and_a_lost_submission_are_found() {
    let (oracle, mut snapshot) = world(COUNT);
    snapshot.submissions.remove(&step(0));
    root(&mut snapshot).texts.remove(0);
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Lost]);
    let (oracle, mut snapshot) = world(1);
    snapshot.threads.clear();
    assert!(kinds(&oracle, &snapshot).contains(&Kind::Lost));
}

#[test]
fn a_lost_text_of_a_completed_submission_is_found() {
    let (oracle, mut snapshot) = world(COUNT);
    root(&mut snapshot).texts.remove(0);
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Lost]);
}

#[test]
fn a_duplicated_text_and_a_misordered_one_are_found() {
    let (oracle, mut snapshot) = world(COUNT);
    let texts = &mut root(&mut snapshot).texts;
    texts.insert(0, texts[0]);
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Duplicated]);
    let (oracle, mut snapshot) = world(COUNT);
    root(&mut snapshot).texts.swap(0, 1);
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Misordered]);
}

#[test]
fn a_lost_and_a_changed_outcome_are_found() {
    let (oracle, mut snapshot) = world(COUNT);
    snapshot.submissions.get_mut(&step(0)).unwrap().outcome = None;
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Lost]);
    let interrupted = serde_json::to_string(&Outcome::Interrupted).unwrap();
    snapshot.submissions.get_mut(&step(0)).unwrap().outcome = Some(interrupted);
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Changed]);
}

#[test]
fn another_body_and_another_answer_are_found() {
    let (oracle, mut snapshot) = world(COUNT);
    snapshot.submissions.get_mut(&step(0)).unwrap().digest = [0; 16];
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Changed]);
}

#[test]
fn an_edge_that_is_half_there_is_found() {
    let child = thread_of(SEED, step(first(|step| *step == Step::Child)));
    let (oracle, mut snapshot) = world(COUNT);
    snapshot.threads.get_mut(&child).unwrap().parent = None;
    let found = kinds(&oracle, &snapshot);
    assert!(found.iter().all(|kind| *kind == Kind::HalfEdge) && found.len() == 2, "{found:?}");

    let (oracle, mut snapshot) = world(COUNT);
    snapshot.threads.remove(&thread_of(SEED, step(0)));
    assert!(kinds(&oracle, &snapshot).contains(&Kind::HalfEdge));
    let (oracle, mut snapshot) = world(COUNT);
    snapshot.children.clear();
    assert_eq!(kinds(&oracle, &snapshot), [Kind::HalfEdge]);
}

#[test]
fn a_fork_without_its_base_is_found() {
    let fork = thread_of(SEED, step(first(|step| *step == Step::Fork)));
    let (oracle, mut snapshot) = world(COUNT);
    snapshot.threads.get_mut(&fork).unwrap().base = None;
    assert_eq!(kinds(&oracle, &snapshot), [Kind::HalfEdge]);
}

#[test]
fn a_close_that_was_lost_or_never_asked_for_is_found() {
    let made = first(|step| *step == Step::Child);
    let child = thread_of(SEED, step(made));
    let close = first(|step| *step == Step::Close { made });
    let flip = |snapshot: &mut Snapshot| {
        let edge = &mut snapshot.threads.get_mut(&child).unwrap().parent;
        *edge = edge.map(|(parent, open)| (parent, !open));
    };
    let (oracle, mut snapshot) = world(close + 1);
    flip(&mut snapshot);
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Lost]);
    let (oracle, mut snapshot) = world(close + 1);
    snapshot.threads.get_mut(&child).unwrap().status = "running";
    assert_eq!(kinds(&oracle, &snapshot), [Kind::NotEnded]);
    let (mut oracle, mut snapshot) = world(close + 1);
    oracle.outcomes.clear();
    snapshot.submissions.get_mut(&step(made)).unwrap().outcome = None;
    let found = violations(&oracle, &snapshot, false);
    assert_eq!(found.iter().map(|it| it.kind).collect::<Vec<_>>(), [Kind::Unfinished]);
    let (oracle, mut snapshot) = world(close - 1);
    flip(&mut snapshot);
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Phantom]);
}

#[test]
fn a_move_that_was_lost_or_is_half_there_is_found() {
    let is_move = |step: &Step| matches!(step, Step::Move { to: 1.., .. });
    let at = first(is_move);
    let Step::Move { made, to } = script(SEED, 0, 0)[at as usize] else { unreachable!() };
    let [moved, to, top] = [made, to, 0].map(|at| thread_of(SEED, step(at)));
    let back = |snapshot: &mut Snapshot| {
        snapshot.threads.get_mut(&moved).unwrap().parent = Some((top, true));
        snapshot.children.get_mut(&to).unwrap().remove(&moved);
        snapshot.children.get_mut(&top).unwrap().insert(moved);
        give(snapshot, PART, -PART);
    };
    let (oracle, mut snapshot) = world(at + 1);
    back(&mut snapshot);
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Lost], "acknowledged, and not there");
    let (oracle, _) = world(at);
    assert_eq!(violations(&oracle, &snapshot, true), [], "in doubt: it is here or there");
    assert_eq!(violations(&oracle, &world(at + 1).1, true), []);
    let (_, mut snapshot) = world(at + 1);
    snapshot.children.get_mut(&top).unwrap().insert(moved);
    assert_eq!(kinds(&oracle, &snapshot), [Kind::HalfEdge], "in two places");
}

#[test]
fn an_account_that_gave_what_nobody_holds_or_more_than_it_has_is_found() {
    for (part, for_good) in [(PART, 0), (-PART, 0), (0, ROOT), (0, -2 * ROOT)] {
        let (oracle, mut snapshot) = world(COUNT);
        give(&mut snapshot, part, for_good);
        assert_eq!(kinds(&oracle, &snapshot), [Kind::Unbalanced], "{part} {for_good}");
    }
}

#[test]
fn a_lost_agent_is_found() {
    let (mut oracle, snapshot) = world(COUNT);
    oracle.hear(&Word::Agent(step(first(|step| *step == Step::Delegate))));
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Lost]);
}

#[test]
fn a_head_that_is_no_count_a_damaged_history_and_a_phantom_are_found() {
    let (oracle, mut snapshot) = world(COUNT);
    root(&mut snapshot).head += 1;
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Invalid]);
    let (oracle, mut snapshot) = world(COUNT);
    root(&mut snapshot).flaw = Some("record 3 is damaged".into());
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Invalid]);
    let (oracle, mut snapshot) = world(COUNT);
    snapshot.threads.insert(ThreadId::from_parts(1, [1; 10]), Seen::default());
    assert_eq!(kinds(&oracle, &snapshot), [Kind::Phantom]);
}
