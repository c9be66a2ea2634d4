//! The rules: what must hold of a store, given what was acknowledged. Pure, so that they can be shown
//! to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use coppicer::{Amounts, Dimension, Ledger, Outcome, ThreadId};

use crate::oracle::Oracle;
use crate::plan::{Step, StepId, agent_of, answer_of, digest_of, mark_of, script, thread_of};

/// What was read of one thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its parent, and whether the edge is open.
    pub parent: Option<(ThreadId, bool)>,
    /// What it is a fork of, and where it was cut.
    pub base: Option<(ThreadId, u64)>,
    /// The name of its status.
    pub status: &'static str,
    /// Its account, if it has a budget.
    pub ledger: Option<Ledger>,
    /// The place of its next record, as its row says.
    pub head: u64,
    /// How many records were read.
    pub records: u64,
    /// The steps whose texts stand in its own records, in order.
    pub texts: Vec<StepId>,
    /// What is wrong with its history: it cannot be read, differs from its base, or is not valid for
    /// a model.
    pub flaw: Option<String>,
    /// Whether its history was read.
    pub read: bool,
}

/// What was read of one submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The digest of its body.
    pub digest: [u8; 16],
    /// Its outcome as JSON, if it has one.
    pub outcome: Option<String>,
}

/// What was read of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All threads.
    pub threads: BTreeMap<ThreadId, Seen>,
    /// The children that the store lists for those that have some.
    pub children: BTreeMap<ThreadId, BTreeSet<ThreadId>>,
    /// The submissions of the lives that were read.
    pub submissions: BTreeMap<StepId, Found>,
    /// The lives that were read: slot and life.
    pub lives: BTreeSet<(u64, u64)>,
}

/// Kinds of violations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Something acknowledged is not there.
    Lost,
    /// Something is there twice.
    Duplicated,
    /// Something is there in another order.
    Misordered,
    /// An edge, or a fork, is half there.
    HalfEdge,
    /// Something acknowledged is there otherwise than it was told.
    Changed,
    /// A history cannot be read, or is not valid.
    Invalid,
    /// Something was never asked for.
    Phantom,
    /// What accounts gave away is not what is held.
    Unbalanced,
    /// Something has no end though all is finished.
    Unfinished,
    /// A thread was closed, and its status does not say so. Counted, and no broken promise: a close
    /// of a thread without an actor writes its edge only.
    NotEnded,
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of which kind.
    pub kind: Kind,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

#[derive(Default)]
struct Verdict(Vec<Violation>);

impl Verdict {
    fn say(&mut self, kind: Kind, what: String) {
        self.0.push(Violation { kind, what });
    }
}

/// What of `snapshot` breaks the rules. With `finished`, everything acknowledged must have its end.
pub fn violations(oracle: &Oracle, snapshot: &Snapshot, finished: bool) -> Vec<Violation> {
    let mut verdict = Verdict::default();
    edges(snapshot, &mut verdict);
    ledgers(snapshot, &mut verdict);
    let mut expected = BTreeSet::new();
    for (slot, &(newest, _)) in oracle.slots.iter().enumerate() {
        for life in 0..=newest {
            known_threads(oracle, slot as u64, life, &mut expected);
        }
    }
    for thread in snapshot.threads.keys().filter(|thread| !expected.contains(thread)) {
        verdict.say(Kind::Phantom, format!("thread {thread} was never asked for"));
    }
    for &(slot, life) in &snapshot.lives {
        one_life(oracle, snapshot, slot, life, finished, &mut verdict);
    }
    verdict.0
}

/// Rules of every store: no edge and no fork is half there, heads are counts.
fn edges(snapshot: &Snapshot, verdict: &mut Verdict) {
    for (thread, seen) in &snapshot.threads {
        if let Some((parent, _)) = seen.parent {
            if !snapshot.threads.contains_key(&parent) {
                verdict.say(
                    Kind::HalfEdge,
                    format!("{thread} has a parent {parent} that is not there"),
                );
            }
            if !snapshot.children.get(&parent).is_some_and(|below| below.contains(thread)) {
                verdict.say(Kind::HalfEdge, format!("{parent} does not list its child {thread}"));
            }
        }
        if let Some((base, _)) = seen.base
            && !snapshot.threads.contains_key(&base)
        {
            verdict
                .say(Kind::HalfEdge, format!("{thread} is a fork of {base}, which is not there"));
        }
        if seen.read && seen.records != seen.head {
            let (head, records) = (seen.head, seen.records);
            verdict.say(
                Kind::Invalid,
                format!("{thread} has its head at {head} and {records} records"),
            );
        }
        if let Some(flaw) = &seen.flaw {
            verdict.say(Kind::Invalid, format!("{thread}: {flaw}"));
        }
    }
    for (parent, below) in &snapshot.children {
        for child in below {
            let edge = snapshot.threads.get(child).and_then(|seen| seen.parent);
            if edge.is_none_or(|(of, _)| of != *parent) {
                verdict.say(Kind::HalfEdge, format!("{parent} lists a child {child} that is none"));
            }
        }
    }
}

/// What each account gave away is what those below it hold that are not over, each from the nearest
/// that limits it; and nobody gave away more than it had.
fn ledgers(snapshot: &Snapshot, verdict: &mut Verdict) {
    let account = |thread: ThreadId| snapshot.threads.get(&thread).and_then(|seen| seen.ledger);
    let above = |thread: ThreadId| Some(snapshot.threads.get(&thread)?.parent?.0);
    let mut held: BTreeMap<ThreadId, Amounts> = BTreeMap::new();
    let live = || snapshot.threads.iter().filter(|(_, seen)| seen.status != "shutdown");
    for (&thread, seen) in live() {
        for what in Dimension::ALL {
            let Some(part) = seen.ledger.and_then(|ledger| ledger.budget.of(what)) else {
                continue;
            };
            // A cycle of edges is told of elsewhere, and ends here.
            let donor = std::iter::successors(above(thread), |&at| above(at))
                .take(snapshot.threads.len())
                .find(|&at| account(at).is_some_and(|it| it.budget.of(what).is_some()));
            if let Some(donor) = donor {
                *held.entry(donor).or_default().of_mut(what) += part.cast_signed();
            }
        }
    }
    for (&thread, seen) in live() {
        let Some(ledger) = seen.ledger else { continue };
        let held = held.get(&thread).copied().unwrap_or_default();
        for what in Dimension::ALL {
            let Some(budget) = ledger.budget.of(what) else { continue };
            let (gave, has, limit) = (ledger.carved.of(what), held.of(what), what.limit());
            if gave != has {
                let what = format!("{thread} gave {gave} of {limit} away, and {has} are held");
                verdict.say(Kind::Unbalanced, what);
            }
            if gave + ledger.spent.of(what) > budget.cast_signed() || ledger.spent.of(what) < 0 {
                let what = format!("{thread} has used and given more of {limit} than {budget}");
                verdict.say(Kind::Unbalanced, what);
            }
        }
    }
}

fn known_threads(oracle: &Oracle, slot: u64, life: u64, expected: &mut BTreeSet<ThreadId>) {
    for (step, at) in script(oracle.seed, slot, life).iter().zip(0..) {
        let id = StepId { slot, life, at };
        if !oracle.may(id) {
            return;
        }
        if step.makes() {
            expected.insert(thread_of(oracle.seed, id));
        }
        if *step == Step::Delegate {
            expected.insert(agent_of(oracle.seed, id));
        }
    }
}

fn one_life(
    oracle: &Oracle,
    snapshot: &Snapshot,
    slot: u64,
    life: u64,
    finished: bool,
    verdict: &mut Verdict,
) {
    let seed = oracle.seed;
    let root = thread_of(seed, StepId { slot, life, at: 0 });
    let steps = script(seed, slot, life);
    let closed = |made: u64| {
        (0..).zip(&steps).find(|(_, step)| **step == Step::Close { made }).map(|(at, _)| at)
    };
    for (step, at) in steps.iter().zip(0..) {
        let id = StepId { slot, life, at };
        if !oracle.may(id) {
            break;
        }
        let did = oracle.did(id);
        if step.makes() {
            let thread = thread_of(seed, id);
            match snapshot.threads.get(&thread) {
                None if did => verdict.say(Kind::Lost, format!("thread {thread} of step {id}")),
                None => {}
                Some(seen) => {
                    let places = Places::of(oracle, &steps, id);
                    made(oracle, step, id, &places, seen, closed(at), verdict);
                }
            }
        }
        if let Some(reader) = step.reader(at) {
            let thread = thread_of(seed, StepId { slot, life, at: reader });
            submitted(oracle, snapshot, id, did, thread, finished, verdict);
        }
        if let Step::Close { made } = step
            && did
        {
            ended(oracle, snapshot, id, *made, verdict);
        }
        if *step == Step::Delegate && oracle.agents.contains(&id) {
            let agent = agent_of(seed, id);
            match snapshot.threads.get(&agent).map(|seen| seen.parent) {
                None => verdict.say(Kind::Lost, format!("agent {agent} of step {id}")),
                Some(Some((parent, _))) if parent == root => {}
                Some(_) => {
                    verdict.say(
                        Kind::HalfEdge,
                        format!("agent {agent} of step {id} is not below {root}"),
                    );
                }
            }
        }
    }
    for at in 0..steps.len() as u64 {
        let thread = thread_of(seed, StepId { slot, life, at });
        if let Some(seen) = snapshot.threads.get(&thread) {
            in_order(thread, seen, verdict);
        }
    }
}

/// A thread whose close was acknowledged has nothing to do any more, and says that it is shut down.
fn ended(oracle: &Oracle, snapshot: &Snapshot, id: StepId, made: u64, verdict: &mut Verdict) {
    let thread = thread_of(oracle.seed, StepId { at: made, ..id });
    if let Some(seen) = snapshot.threads.get(&thread)
        && seen.status != "shutdown"
    {
        let status = seen.status;
        verdict.say(Kind::NotEnded, format!("step {id} closed {thread}, which is {status}"));
    }
    for (step, at) in script(oracle.seed, id.slot, id.life).iter().zip(0..id.at) {
        let sent = StepId { at, ..id };
        let open = snapshot.submissions.get(&sent).is_some_and(|found| found.outcome.is_none());
        if step.reader(at) == Some(made) && open {
            verdict.say(Kind::Unfinished, format!("step {id} closed {thread}, and {sent} is open"));
        }
    }
}

/// The threads that the sub-agent of a step was put below.
struct Places {
    /// Where it was put last, and where it may have been put since.
    now: BTreeSet<ThreadId>,
    /// Where it was before a move that was acknowledged.
    before: BTreeSet<ThreadId>,
}

impl Places {
    fn of(oracle: &Oracle, steps: &[Step], id: StepId) -> Self {
        let thread = |at: u64| thread_of(oracle.seed, StepId { at, ..id });
        let mut places = Self { now: BTreeSet::from([thread(0)]), before: BTreeSet::new() };
        for (step, at) in steps.iter().zip(0..) {
            let Step::Move { made, to } = step else { continue };
            let step = StepId { at, ..id };
            if *made != id.at || !oracle.may(step) {
                continue;
            }
            if oracle.did(step) {
                places.before.append(&mut places.now);
            }
            places.now.insert(thread(*to));
        }
        places
    }
}

/// A thread that a step made, as it must be.
fn made(
    oracle: &Oracle,
    step: &Step,
    id: StepId,
    places: &Places,
    seen: &Seen,
    closed: Option<u64>,
    verdict: &mut Verdict,
) {
    match step {
        Step::Child => {
            let Some((parent, open)) = seen.parent else {
                return verdict
                    .say(Kind::HalfEdge, format!("the child of step {id} has no parent"));
            };
            if !places.now.contains(&parent) {
                let was = places.before.contains(&parent);
                let kind = if was { Kind::Lost } else { Kind::HalfEdge };
                verdict.say(kind, format!("the child of step {id} is below {parent}"));
            }
            let close = closed.map(|at| StepId { at, ..id });
            if close.is_some_and(|close| oracle.did(close)) && open {
                verdict.say(Kind::Lost, format!("the close of the child of step {id}"));
            }
            if !close.is_some_and(|close| oracle.may(close)) && !open {
                verdict.say(Kind::Phantom, format!("a close of the child of step {id}"));
            }
        }
        Step::Fork => {
            let root = thread_of(oracle.seed, StepId { at: 0, ..id });
            if seen.base.is_none_or(|(base, _)| base != root) {
                let base = seen.base;
                verdict.say(Kind::HalfEdge, format!("the fork of step {id} has the base {base:?}"));
            }
        }
        _ => {
            if seen.parent.is_some() || seen.base.is_some() {
                verdict.say(Kind::Changed, format!("the root of step {id} has a parent or a base"));
            }
        }
    }
}

/// A submission that a step sent, as it must be.
fn submitted(
    oracle: &Oracle,
    snapshot: &Snapshot,
    id: StepId,
    did: bool,
    thread: ThreadId,
    finished: bool,
    verdict: &mut Verdict,
) {
    let seen = snapshot.threads.get(&thread);
    let texts = seen.map_or(0, |seen| seen.texts.iter().filter(|&&text| text == id).count());
    if texts > 1 {
        verdict.say(Kind::Duplicated, format!("the text of {id} stands {texts} times"));
    }
    let Some(found) = snapshot.submissions.get(&id) else {
        if did {
            verdict.say(Kind::Lost, format!("submission {id}"));
        }
        if texts > 0 {
            verdict.say(Kind::Phantom, format!("the text of {id}, which is no submission"));
        }
        return;
    };
    if found.digest != digest_of(oracle.seed, id) {
        verdict.say(Kind::Changed, format!("the body of submission {id}"));
    }
    match (oracle.outcomes.get(&id), &found.outcome) {
        (Some(told), None) => verdict.say(Kind::Lost, format!("the outcome {told} of {id}")),
        (Some(told), Some(found)) if told != found => {
            verdict.say(Kind::Changed, format!("the outcome of {id} was {told}, and is {found}"));
        }
        (None, None) if finished => {
            verdict.say(Kind::Unfinished, format!("submission {id} has no outcome"));
        }
        _ => {}
    }
    let outcome = found.outcome.as_deref().and_then(|text| serde_json::from_str(text).ok());
    if let Some(Outcome::Completed { message }) = outcome {
        let wanted = answer_of(&mark_of(id));
        if message.as_deref() != Some(&*wanted) {
            verdict.say(Kind::Changed, format!("the answer to {id} is {message:?}"));
        }
        if texts == 0 && seen.is_some_and(|seen| seen.read) {
            verdict.say(Kind::Lost, format!("the text of {id}, which was completed"));
        }
    }
}

/// What was sent one after the other stands one after the other.
fn in_order(thread: ThreadId, seen: &Seen, verdict: &mut Verdict) {
    for pair in seen.texts.windows(2) {
        if pair[0] > pair[1] {
            let [one, other] = [pair[0], pair[1]];
            verdict.say(Kind::Misordered, format!("{one} stands before {other} in {thread}"));
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
