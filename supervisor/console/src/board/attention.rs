//! What needs somebody now.

use std::collections::BTreeMap;

use coppicer_actors::{AilingStore, Concern, TreeRow};
use coppicer_messages::{
    Ended, Event, Fact, Phase, RuntimeEvent, StoreTrouble, ThreadEvent, ThreadId, TurnId,
};
use coppicer_supervisor::{LimitUse, NearChange, NearLimits};
use serde::Serialize;
use serde_json::Value;

use crate::bounds::{ATTENTION_MAX, ROW_TEXT_MAX};
use crate::text::cut;

/// Gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    StoreAiling,
    Damaged,
    Stuck,
    Asked,
    Parked,
    BudgetSpent,
    RecoveryFailed,
    NearLimit,
}

/// One thing that needs somebody.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thread: Option<ThreadId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Of a thread that has no row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nickname: Option<String>,
    pub(crate) since_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<StoreTrouble>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turn: Option<TurnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quiet_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<coppicer_messages::Remedy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) question: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<u64>,
}

impl Item {
    const fn new(kind: Kind, thread: Option<ThreadId>, since_ms: u64) -> Self {
        Self {
            kind,
            thread,
            path: None,
            nickname: None,
            since_ms,
            text: None,
            trouble: None,
            turn: None,
            phase: None,
            quiet_ms: None,
            remedy: None,
            question: None,
            body: None,
            limit: None,
            used: None,
            value: None,
        }
    }
}

/// One answer about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Listed {
    pub(crate) version: u64,
    pub(crate) count: usize,
    pub(crate) items: Vec<Item>,
}

/// What an item is about: there is one of each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct About {
    kind: Kind,
    thread: Option<ThreadId>,
    /// Of a question, or of a limit.
    what: String,
}

/// Followed from facts; bounded by threads and their questions.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    version: u64,
    items: BTreeMap<About, Item>,
    near: NearLimits,
}

impl Attention {
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn is_store_ailing(&self) -> bool {
        self.items.keys().any(|about| about.kind == Kind::StoreAiling)
    }

    pub(crate) fn count(&self) -> usize {
        self.items.len()
    }

    /// What is known of it, gravest first, then oldest.
    pub(crate) fn list(&self) -> Listed {
        let mut items: Vec<&Item> = self.items.values().collect();
        items.sort_by_key(|item| (item.kind, item.since_ms));
        let items = items.into_iter().take(ATTENTION_MAX).cloned().collect();
        Listed { version: self.version, count: self.items.len(), items }
    }

    /// Takes in a fact.
    pub(crate) fn follow(&mut self, event: &Event) {
        let thread = event.thread;
        match &event.fact {
            Fact::Runtime(RuntimeEvent::StoreAiling { trouble, reason }) => {
                self.store_ails(*trouble, reason, event.at_ms);
            }
            Fact::Runtime(RuntimeEvent::StoreRecovered) => {
                self.end(Kind::StoreAiling, None, "");
                self.end(Kind::RecoveryFailed, None, "");
            }
            Fact::Runtime(RuntimeEvent::ThreadSpawned { .. } | RuntimeEvent::ThreadRestarted) => {
                self.end(Kind::RecoveryFailed, thread, "");
            }
            Fact::Runtime(RuntimeEvent::ThreadDeleted { .. } | RuntimeEvent::SpawnUndone) => {
                self.forget(thread, |_| true);
            }
            Fact::Runtime(RuntimeEvent::ThreadEnded { how }) => {
                let over = matches!(how, Ended::Closed { .. } | Ended::Damaged { .. });
                self.forget(thread, |kind| of_a_turn(kind) || (over && kind != Kind::Damaged));
            }
            Fact::Thread(ThreadEvent::QuestionAnswered { question }) => {
                self.end(Kind::Asked, thread, question);
            }
            Fact::Thread(ThreadEvent::TurnStarted { .. } | ThreadEvent::BudgetFunded { .. }) => {
                self.end(Kind::BudgetSpent, thread, "");
            }
            Fact::Thread(ThreadEvent::TurnEnded { .. } | ThreadEvent::Crashed { .. }) => {
                self.forget(thread, of_a_turn);
            }
            _ => {}
        }
        if let Some((what, item)) = begun(event) {
            self.begin(what, item);
        }
    }

    fn store_ails(&mut self, trouble: StoreTrouble, reason: &str, since_ms: u64) {
        let (text, trouble) = (Some(cut(reason, ROW_TEXT_MAX)), Some(trouble));
        let item = Item { text, trouble, ..Item::new(Kind::StoreAiling, None, since_ms) };
        self.begin("", item);
    }

    /// What a snapshot says of the store: what was told of it before may have been in a gap.
    pub(crate) fn store(&mut self, ailing: Option<&AilingStore>) {
        match ailing {
            Some(AilingStore { trouble, reason, since_ms, .. }) => {
                self.store_ails(*trouble, reason, *since_ms);
            }
            None => self.end(Kind::StoreAiling, None, ""),
        }
    }

    /// A thread is in this phase now; none if it has no row any more.
    pub(crate) fn phase(&mut self, thread: ThreadId, row: Option<&TreeRow>, why: Option<&str>) {
        match row {
            Some(row) if row.phase == Phase::Parked => {
                let item = Item {
                    path: row.path.as_ref().map(|path| path.as_str().to_owned()),
                    text: why.map(str::to_owned),
                    ..Item::new(Kind::Parked, Some(thread), row.since_ms)
                };
                let about = about(&item, "");
                if !self.items.contains_key(&about) {
                    self.begin("", item);
                }
            }
            _ => self.end(Kind::Parked, Some(thread), ""),
        }
    }

    /// So much is used of limits.
    pub(crate) fn used(&mut self, uses: &[LimitUse], at_ms: u64) {
        for change in self.near.look(uses) {
            match change {
                NearChange::Near(LimitUse { limit, used, value, .. }) => {
                    let item = Item {
                        limit: Some(limit.to_owned()),
                        used: Some(used),
                        value: Some(value),
                        ..Item::new(Kind::NearLimit, None, at_ms)
                    };
                    self.begin(limit, item);
                }
                NearChange::Over(of) => self.end(Kind::NearLimit, None, of.limit),
                _ => {}
            }
        }
    }

    /// Begins, or begins again after a gap, with what still needs somebody. Parked threads, the store and
    /// limits are told of by themselves.
    pub(crate) fn begin_anew(&mut self, concerns: &[Concern]) {
        let before = self.items.len();
        self.items.retain(|about, _| {
            matches!(about.kind, Kind::StoreAiling | Kind::Parked | Kind::NearLimit)
        });
        self.version += u64::from(self.items.len() != before);
        for concern in concerns {
            if let Some((what, item)) = begun(&concern.event) {
                self.begin(what, Item { since_ms: concern.since_ms, ..item });
            }
        }
    }

    fn begin(&mut self, what: &str, item: Item) {
        let about = about(&item, what);
        let since_ms = self.items.get(&about).map_or(item.since_ms, |known| known.since_ms);
        self.items.insert(about, Item { since_ms, ..item });
        self.version += 1;
    }

    fn end(&mut self, kind: Kind, thread: Option<ThreadId>, what: &str) {
        let about = About { kind, thread, what: what.to_owned() };
        self.version += u64::from(self.items.remove(&about).is_some());
    }

    /// Ends what a thread has of these kinds.
    fn forget(&mut self, thread: Option<ThreadId>, kinds: impl Fn(Kind) -> bool) {
        let all = [
            Kind::Damaged,
            Kind::Stuck,
            Kind::Asked,
            Kind::Parked,
            Kind::BudgetSpent,
            Kind::RecoveryFailed,
        ];
        for kind in all.into_iter().filter(|&kind| kinds(kind)) {
            let from = About { kind, thread, what: String::new() };
            let of_thread = self.items.range(from..);
            let over: Vec<About> = of_thread
                .map(|(about, _)| about)
                .take_while(|about| about.kind == kind && about.thread == thread)
                .cloned()
                .collect();
            for about in over {
                self.items.remove(&about);
                self.version += 1;
            }
        }
    }
}

/// What a fact begins, and what of its kind it is.
fn begun(event: &Event) -> Option<(&str, Item)> {
    let item = |kind, text: Option<&str>| Item {
        path: event.path.as_ref().map(|path| path.as_str().to_owned()),
        text: text.map(|text| cut(text, ROW_TEXT_MAX)),
        turn: event.turn.clone(),
        ..Item::new(kind, event.thread, event.at_ms)
    };
    Some(match &event.fact {
        Fact::Runtime(RuntimeEvent::RecoveryFailed { reason, nickname, .. }) => {
            let nickname = nickname.clone();
            ("", Item { nickname, ..item(Kind::RecoveryFailed, Some(reason)) })
        }
        Fact::Thread(ThreadEvent::DamageFound { what })
        | Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Damaged { what } }) => {
            ("", item(Kind::Damaged, Some(what)))
        }
        Fact::Thread(ThreadEvent::TurnStuck { phase, quiet, remedy, .. }) => {
            let stuck = Item {
                phase: Some(phase.name()),
                quiet_ms: Some(quiet.as_millis() as u64),
                remedy: Some(*remedy),
                ..item(Kind::Stuck, None)
            };
            ("", stuck)
        }
        Fact::Thread(ThreadEvent::QuestionAsked { question, body }) => {
            let (asked, body) = (Some(question.to_string()), Some(small(body)));
            (question, Item { question: asked, body, ..item(Kind::Asked, None) })
        }
        Fact::Thread(ThreadEvent::BudgetSpent { limit, .. }) => {
            let limit = Some(limit.clone());
            ("", Item { limit, ..item(Kind::BudgetSpent, None) })
        }
        _ => return None,
    })
}

/// Whether it is over with the turn that it is about.
const fn of_a_turn(kind: Kind) -> bool {
    matches!(kind, Kind::Stuck | Kind::Asked)
}

fn about(item: &Item, what: &str) -> About {
    About { kind: item.kind, thread: item.thread, what: what.to_owned() }
}

/// A question's body, if it is small; else the beginning of its text.
fn small(body: &Value) -> Value {
    const BODY_BYTES_MAX: usize = 4_096;
    let text = body.to_string();
    if text.len() <= BODY_BYTES_MAX {
        body.clone()
    } else {
        Value::String(cut(&text, BODY_BYTES_MAX))
    }
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
