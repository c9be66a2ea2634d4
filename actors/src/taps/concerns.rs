//! What needs somebody and is not over, folded from lifecycle facts. Pure: facts in, what is open out.
//!
//! A row of the tree says what a thread is; it does not say that its engine asks, that its turn is stuck,
//! that its budget is used up, or that a record of it is damaged. Who begins late, or missed facts in a gap,
//! has that from here and not from the journal, which may have forgotten it.

use std::collections::BTreeMap;
use std::sync::Arc;

use coppicer_messages::{
    CONCERN_BYTES_MAX, CONCERNS_BYTES_MAX, CONCERNS_MAX, Ended, Event, Fact, QuestionId,
    RuntimeEvent, ThreadEvent, ThreadId,
};
use serde::{Deserialize, Serialize};

use crate::lineage::Lineage;

/// Something that needs somebody and is not over: a question, a stuck turn, a budget that is used up, a
/// damaged record, or a recovery that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Concern {
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The last fact that told of it. Of a question of more than [`CONCERN_BYTES_MAX`] the body is null.
    pub event: Arc<Event>,
}

/// Bounded in number and bytes: what was told of longest ago is forgotten first.
#[derive(Debug, Clone, Default)]
pub(super) struct Concerns {
    open: BTreeMap<About, Open>,
    /// By the number of the last fact.
    by_seq: BTreeMap<u64, About>,
    bytes: usize,
}

/// What it is about: there is one of each. In order of threads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct About {
    thread: Option<ThreadId>,
    kind: Kind,
    question: Option<QuestionId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Stuck,
    Asked,
    BudgetSpent,
    RecoveryFailed,
    Damaged,
}

impl Kind {
    const FIRST: Self = Self::Stuck;

    /// Whether it is over with the turn that it is about.
    const fn is_of_a_turn(self) -> bool {
        matches!(self, Self::Stuck | Self::Asked)
    }
}

#[derive(Debug, Clone)]
struct Open {
    concern: Concern,
    lineage: Lineage,
    bytes: usize,
}

impl Concerns {
    /// Whether a fact may change anything: asked with each.
    pub(super) fn heeds(&self, event: &Event) -> bool {
        begins(event).is_some() || (!self.open.is_empty() && ends(&event.fact))
    }

    /// Takes in a fact. `has_row`: whether its thread has a row, of the incarnation that the fact tells of.
    pub(super) fn follow(&mut self, event: &Event, lineage: &Lineage, has_row: bool) {
        let thread = event.thread;
        match &event.fact {
            Fact::Runtime(RuntimeEvent::StoreRecovered) => {
                self.end(&About { thread: None, kind: Kind::RecoveryFailed, question: None });
            }
            Fact::Runtime(RuntimeEvent::ThreadSpawned { .. } | RuntimeEvent::ThreadRestarted) => {
                self.forget(thread, |kind| kind.is_of_a_turn() || kind == Kind::RecoveryFailed);
            }
            Fact::Runtime(RuntimeEvent::ThreadDeleted { .. } | RuntimeEvent::SpawnUndone) => {
                self.forget(thread, |_| true);
            }
            Fact::Runtime(RuntimeEvent::ThreadEnded { how }) if has_row => {
                let over = matches!(how, Ended::Closed { .. } | Ended::Damaged { .. });
                self.forget(thread, |kind| kind.is_of_a_turn() || (over && kind != Kind::Damaged));
            }
            Fact::Thread(ThreadEvent::QuestionAnswered { question }) if has_row => {
                let question = Some(question.clone());
                self.end(&About { thread, kind: Kind::Asked, question });
            }
            Fact::Thread(ThreadEvent::TurnStarted { .. } | ThreadEvent::BudgetFunded { .. })
                if has_row =>
            {
                self.end(&About { thread, kind: Kind::BudgetSpent, question: None });
            }
            Fact::Thread(ThreadEvent::TurnEnded { .. } | ThreadEvent::Crashed { .. })
                if has_row =>
            {
                self.forget(thread, Kind::is_of_a_turn);
            }
            _ => {}
        }
        let Some((kind, question)) = begins(event) else { return };
        let alone = matches!(kind, Kind::Damaged | Kind::RecoveryFailed);
        let about = About { thread, kind, question };
        // That a thread ended by damage may be told after the damage was.
        let told = matches!(event.fact, Fact::Runtime(RuntimeEvent::ThreadEnded { .. }))
            && self.open.contains_key(&about);
        if !told && (has_row || alone) {
            self.begin(about, event, lineage);
        }
    }

    /// These threads are over: no more is wanted of them, but damage stays.
    pub(super) fn are_over(&mut self, threads: impl IntoIterator<Item = ThreadId>) {
        for thread in threads {
            self.forget(Some(thread), |kind| kind != Kind::Damaged);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Those of which the thread is `wanted`, in the order in which they were told.
    pub(super) fn list(&self, wanted: impl Fn(Option<ThreadId>, &Lineage) -> bool) -> Vec<Concern> {
        let open = self.by_seq.values().filter_map(|about| Some((about, self.open.get(about)?)));
        let wanted = open.filter(|(about, open)| wanted(about.thread, &open.lineage));
        wanted.map(|(_, open)| open.concern.clone()).collect()
    }

    /// What a snapshot says of them.
    pub(super) fn of(concerns: &[Concern]) -> Self {
        let mut all = Self::default();
        for Concern { since_ms, event } in concerns {
            if let Some((kind, question)) = begins(event) {
                let about = About { thread: event.thread, kind, question };
                let concern = Concern { since_ms: *since_ms, event: event.clone() };
                all.put(about, concern, Lineage::default());
            }
        }
        all
    }

    fn begin(&mut self, about: About, event: &Event, lineage: &Lineage) {
        let known = self.open.get(&about).map(|open| open.concern.since_ms);
        let since_ms = known.unwrap_or(event.at_ms);
        let concern = Concern { since_ms, event: Arc::new(small(event)) };
        self.put(about, concern, lineage.clone());
    }

    fn put(&mut self, about: About, concern: Concern, lineage: Lineage) {
        self.end(&about);
        let bytes = concern.event.bytes();
        self.bytes += bytes;
        self.by_seq.insert(concern.event.seq, about.clone());
        self.open.insert(about, Open { concern, lineage, bytes });
        while self.open.len() > CONCERNS_MAX || self.bytes > CONCERNS_BYTES_MAX {
            let Some((_, oldest)) = self.by_seq.first_key_value() else { break };
            self.end(&oldest.clone());
        }
    }

    fn end(&mut self, about: &About) {
        if let Some(open) = self.open.remove(about) {
            self.by_seq.remove(&open.concern.event.seq);
            self.bytes -= open.bytes;
        }
    }

    /// Ends what a thread has of these kinds.
    fn forget(&mut self, thread: Option<ThreadId>, kinds: impl Fn(Kind) -> bool) {
        let from = About { thread, kind: Kind::FIRST, question: None };
        let of_thread = self.open.range(from..).map(|(about, _)| about);
        let of_thread = of_thread.take_while(|about| about.thread == thread);
        let over: Vec<About> = of_thread.filter(|about| kinds(about.kind)).cloned().collect();
        for about in over {
            self.end(&about);
        }
    }
}

impl PartialEq for Concerns {
    /// Equal if they say the same, wherever their threads are.
    fn eq(&self, other: &Self) -> bool {
        self.open.len() == other.open.len()
            && self.open.iter().all(|(about, open)| {
                other.open.get(about).is_some_and(|theirs| theirs.concern == open.concern)
            })
    }
}

/// The event, without what may be long.
fn small(event: &Event) -> Event {
    let mut small = event.clone();
    if let Fact::Thread(ThreadEvent::QuestionAsked { body, .. }) = &mut small.fact
        && event.bytes() > CONCERN_BYTES_MAX
    {
        *body = serde_json::Value::Null;
    }
    small
}

/// What a fact begins.
fn begins(event: &Event) -> Option<(Kind, Option<QuestionId>)> {
    Some(match &event.fact {
        Fact::Thread(ThreadEvent::TurnStuck { .. }) => (Kind::Stuck, None),
        Fact::Thread(ThreadEvent::QuestionAsked { question, .. }) => {
            (Kind::Asked, Some(question.clone()))
        }
        Fact::Thread(ThreadEvent::BudgetSpent { .. }) => (Kind::BudgetSpent, None),
        Fact::Thread(ThreadEvent::DamageFound { .. })
        | Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Damaged { .. } }) => {
            (Kind::Damaged, None)
        }
        Fact::Runtime(RuntimeEvent::RecoveryFailed { .. }) => (Kind::RecoveryFailed, None),
        _ => return None,
    })
}

/// Whether a fact may end something.
const fn ends(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Runtime(
            RuntimeEvent::StoreRecovered
                | RuntimeEvent::ThreadSpawned { .. }
                | RuntimeEvent::ThreadRestarted
                | RuntimeEvent::ThreadDeleted { .. }
                | RuntimeEvent::SpawnUndone
                | RuntimeEvent::ThreadEnded { .. }
        ) | Fact::Thread(
            ThreadEvent::QuestionAnswered { .. }
                | ThreadEvent::TurnStarted { .. }
                | ThreadEvent::BudgetFunded { .. }
                | ThreadEvent::TurnEnded { .. }
                | ThreadEvent::Crashed { .. }
        )
    )
}

#[cfg(test)]
#[path = "concerns_tests.rs"]
mod tests;
