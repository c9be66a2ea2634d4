//! What a host wants to be called for: threads that are over, and what needs somebody's attention.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use coppicer_actors::{
    Tap, TapFilter, TapFrom, TapItem, TapOptions, ThreadTree, TreeChange, TreeRow, TreeSnapshot,
};
use coppicer_messages::{
    Event, EventKind, Fact, Limits, Phase, RuntimeEvent, StoreTrouble, TapError, ThreadEvent,
    ThreadId, TurnId,
};

use crate::Runtime;

/// A thread that is over: closed, undone, deleted, fenced off or damaged. It takes nothing more in this
/// life; a closed one can be resumed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Terminal {
    /// The thread as it was last shown.
    pub row: Arc<TreeRow>,
}

/// What needs somebody's attention. Told once when it begins; again when it comes back.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Attention {
    /// A running turn makes no progress, or its tool is late: see
    /// [`StuckPolicy`](coppicer_messages::StuckPolicy).
    Stuck {
        /// Which thread.
        thread: ThreadId,
        /// Which turn.
        turn: Option<TurnId>,
        /// For how long.
        silent: Duration,
    },
    /// The restarts of a thread are spent. It can be read, forked, closed and revived.
    Parked {
        /// Which.
        thread: ThreadId,
    },
    /// The engine of a thread asks its host.
    Asked {
        /// Which.
        thread: ThreadId,
    },
    /// A record of a thread is damaged.
    Damaged {
        /// Which.
        thread: ThreadId,
        /// Where and how.
        what: String,
    },
    /// A budget is used up: no turn of those who draw on it starts until it is funded.
    BudgetSpent {
        /// Which thread draws on it.
        thread: ThreadId,
        /// What of it, such as `budget.tokens`.
        limit: String,
        /// How much that was.
        granted: u64,
    },
    /// A thread that an earlier process left unfinished could not be brought up.
    RecoveryFailed {
        /// Which; none if the store could not even say which there are.
        thread: Option<ThreadId>,
        /// Why.
        reason: String,
        /// Whether it is tried again.
        again: bool,
    },
    /// Nine tenths of a limit are used.
    NearLimit {
        /// Its name.
        limit: &'static str,
        /// How much of it is used.
        used: u64,
        /// Its value.
        value: u64,
    },
    /// The store cannot write, such as on a full disk: nothing is acknowledged until it can. Also told
    /// when the hooks begin, if it is so then.
    StoreAiling {
        /// What kind of trouble it is; a full disk is [`StoreTrouble::DiskFull`].
        trouble: StoreTrouble,
        /// Why.
        reason: String,
    },
    /// The store writes again.
    StoreRecovered,
    /// The hooks were too slow, and events were lost. No end of a thread is missed.
    Lagged {
        /// How many events.
        count: u64,
    },
}

/// How often the hooks were called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookCounts {
    /// Calls for threads that are over.
    pub terminal: u64,
    /// Calls for attention.
    pub attention: u64,
    /// Of these, calls that panicked.
    pub panics: u64,
}

type Hook<T> = Box<dyn FnMut(T) + Send>;

/// Calls a host's closures, from one task of its own. A closure that takes long delays only the others:
/// the events wait in the hooks' own bounded tap. One that panics is logged, and called again the next
/// time.
#[must_use = "hooks do nothing until they are run"]
pub struct Hooks {
    on_terminal: Option<Hook<Terminal>>,
    on_attention: Option<Hook<Attention>>,
    counts: HookCounts,
}

impl Hooks {
    /// No hooks.
    pub const fn new() -> Self {
        Self {
            on_terminal: None,
            on_attention: None,
            counts: HookCounts { terminal: 0, attention: 0, panics: 0 },
        }
    }

    /// Called once for each life of a thread that is over.
    pub fn on_terminal(mut self, hook: impl FnMut(Terminal) + Send + 'static) -> Self {
        self.on_terminal = Some(Box::new(hook));
        self
    }

    /// Called when something needs attention.
    pub fn on_attention(mut self, hook: impl FnMut(Attention) + Send + 'static) -> Self {
        self.on_attention = Some(Box::new(hook));
        self
    }

    /// Runs until the runtime has ended and everything was told. Threads that are there already are
    /// followed too.
    ///
    /// # Errors
    /// There is no room for a tap, or the runtime has ended.
    ///
    /// # Cancel safety
    /// Dropping the future ends the hooks.
    pub async fn run(mut self, runtime: &Runtime) -> Result<HookCounts, TapError> {
        let limits = runtime.limits().clone();
        let mut tap = open(runtime)?;
        let mut watch = Watch::new(&limits);
        loop {
            let item = tap.next().await;
            match item {
                None => {
                    self.tell(watch.end());
                    return Ok(self.counts);
                }
                Some(TapItem::Snapshot(snapshot)) => self.tell(watch.begin(&snapshot)),
                Some(TapItem::Event(event)) => self.tell(watch.event(&event)),
                Some(TapItem::Lagged { count, .. }) => {
                    self.tell(vec![Told::Attention(Attention::Lagged { count })]);
                    // What the gap hid is in what the tree is now.
                    match open(runtime) {
                        Ok(again) => tap = again,
                        Err(TapError::RuntimeEnded) => {}
                        Err(error) => return Err(error),
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn tell(&mut self, told: Vec<Told>) {
        for told in told {
            let called = match told {
                Told::Terminal(terminal) => {
                    self.counts.terminal += 1;
                    call(self.on_terminal.as_mut(), terminal)
                }
                Told::Attention(attention) => {
                    self.counts.attention += 1;
                    call(self.on_attention.as_mut(), attention)
                }
            };
            if !called {
                self.counts.panics += 1;
                tracing::error!("a hook panicked, and is called again the next time");
            }
        }
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// Whether it came back, or there is none.
fn call<T>(hook: Option<&mut Hook<T>>, told: T) -> bool {
    hook.is_none_or(|hook| catch_unwind(AssertUnwindSafe(|| hook(told))).is_ok())
}

fn open(runtime: &Runtime) -> Result<Tap, TapError> {
    let quiet = [EventKind::Delta];
    let kinds = EventKind::ALL.into_iter().filter(|kind| !quiet.contains(kind));
    let filter = TapFilter::all().kinds(kinds);
    runtime.tap(TapOptions::matching(filter).with_from(TapFrom::Snapshot))
}

#[derive(Debug, PartialEq)]
enum Told {
    Terminal(Terminal),
    Attention(Attention),
}

/// What decides. Pure: events and the time in, what is told out.
struct Watch {
    tree: ThreadTree,
    parked: BTreeSet<ThreadId>,
    resident: Gauge,
    executing: Gauge,
    /// Whether the store was told of as ailing, and not as recovered.
    ailing: bool,
}

/// How much of a limit is used.
struct Gauge {
    limit: &'static str,
    value: u64,
    used: u64,
    told: bool,
}

impl Gauge {
    const fn new(limit: &'static str, value: u64) -> Self {
        Self { limit, value, used: 0, told: false }
    }

    /// Tells when nine tenths are reached; again only after it fell below eight.
    fn tell(&mut self) -> Option<Told> {
        let Self { limit, value, used, .. } = *self;
        let tenths = used.saturating_mul(10);
        if tenths < value.saturating_mul(8) {
            self.told = false;
        }
        let near = tenths >= value.saturating_mul(9) && !std::mem::replace(&mut self.told, true);
        near.then_some(Told::Attention(Attention::NearLimit { limit, used, value }))
    }
}

const fn is_resident(phase: Phase) -> bool {
    !matches!(phase, Phase::Dormant | Phase::Stopped)
}

impl Watch {
    fn new(limits: &Limits) -> Self {
        Self {
            tree: ThreadTree::default(),
            parked: BTreeSet::new(),
            resident: Gauge::new("resident_max", limits.resident_max as u64),
            executing: Gauge::new("executing_max", limits.executing_max as u64),
            ailing: false,
        }
    }

    /// Begins, or begins again after a gap: what is not there any more is over.
    fn begin(&mut self, snapshot: &TreeSnapshot) -> Vec<Told> {
        let before = std::mem::replace(&mut self.tree, ThreadTree::from_snapshot(snapshot));
        let gone = before.snapshot().rows.into_iter();
        let gone = gone.filter(|row| self.tree.get(row.thread).is_none());
        let mut told: Vec<Told> = gone.map(|row| Told::Terminal(Terminal { row })).collect();
        let was_ailing = std::mem::replace(&mut self.ailing, snapshot.ailing.is_some());
        told.extend(match &snapshot.ailing {
            Some(store) if !was_ailing => {
                let (trouble, reason) = (store.trouble, store.reason.clone());
                Some(Told::Attention(Attention::StoreAiling { trouble, reason }))
            }
            None if was_ailing => Some(Told::Attention(Attention::StoreRecovered)),
            _ => None,
        });
        self.resident.used = 0;
        self.executing.used = 0;
        let was_parked = std::mem::take(&mut self.parked);
        for row in &snapshot.rows {
            self.resident.used += u64::from(is_resident(row.phase));
            self.executing.used += u64::from(row.phase == Phase::Running);
            if row.phase == Phase::Parked {
                self.parked.insert(row.thread);
                if !was_parked.contains(&row.thread) {
                    told.push(Told::Attention(Attention::Parked { thread: row.thread }));
                }
            }
        }
        told.extend(self.resident.tell());
        told.extend(self.executing.tell());
        told
    }

    fn event(&mut self, event: &Event) -> Vec<Told> {
        let mut told = Vec::new();
        if let Some(attention) = attention_of(event) {
            told.push(Told::Attention(attention));
        }
        let Some(thread) = event.thread else {
            self.tree.apply(event);
            self.ailing = self.tree.ailing().is_some();
            return told;
        };
        let before = self.tree.get(thread).map(|row| row.phase);
        if let TreeChange::Removed(rows) = self.tree.apply(event) {
            for row in rows {
                self.moved(row.thread, Some(row.phase), None);
                told.push(Told::Terminal(Terminal { row }));
            }
        } else {
            let after = self.tree.get(thread).map(|row| row.phase);
            if before != after {
                let parked = self.moved(thread, before, after);
                told.extend(parked.map(Told::Attention));
            }
        }
        told.extend(self.resident.tell());
        told.extend(self.executing.tell());
        told
    }

    /// A thread has another phase, or none any more.
    fn moved(
        &mut self,
        thread: ThreadId,
        before: Option<Phase>,
        after: Option<Phase>,
    ) -> Option<Attention> {
        let change = |used: &mut u64, holds: &dyn Fn(Phase) -> bool| {
            *used += u64::from(after.is_some_and(holds));
            *used = used.saturating_sub(u64::from(before.is_some_and(holds)));
        };
        change(&mut self.resident.used, &is_resident);
        change(&mut self.executing.used, &|phase| phase == Phase::Running);
        if after == Some(Phase::Parked) {
            self.parked.insert(thread).then_some(Attention::Parked { thread })
        } else {
            self.parked.remove(&thread);
            None
        }
    }

    /// The runtime has ended. What a gap hid is over too; what sleeps goes on to sleep in the store.
    fn end(self) -> Vec<Told> {
        let rows = self.tree.snapshot().rows.into_iter();
        let over = rows.filter(|row| row.phase != Phase::Dormant);
        over.map(|row| Told::Terminal(Terminal { row })).collect()
    }
}

fn attention_of(event: &Event) -> Option<Attention> {
    let thread = event.thread;
    match &event.fact {
        Fact::Thread(ThreadEvent::TurnStuck { quiet, .. }) => thread
            .map(|thread| Attention::Stuck { thread, turn: event.turn.clone(), silent: *quiet }),
        Fact::Runtime(RuntimeEvent::StoreAiling { trouble, reason }) => {
            Some(Attention::StoreAiling { trouble: *trouble, reason: reason.clone() })
        }
        Fact::Runtime(RuntimeEvent::StoreRecovered) => Some(Attention::StoreRecovered),
        Fact::Runtime(RuntimeEvent::RecoveryFailed { reason, again }) => {
            Some(Attention::RecoveryFailed { thread, reason: reason.clone(), again: *again })
        }
        Fact::Thread(ThreadEvent::BudgetSpent { limit, granted }) => {
            let (limit, granted) = (limit.clone(), *granted);
            thread.map(|thread| Attention::BudgetSpent { thread, limit, granted })
        }
        Fact::Thread(ThreadEvent::QuestionAsked { .. }) => {
            thread.map(|thread| Attention::Asked { thread })
        }
        Fact::Thread(ThreadEvent::DamageFound { what }) => {
            thread.map(|thread| Attention::Damaged { thread, what: what.clone() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_fact(seq: u64, fact: RuntimeEvent) -> Event {
        let mut event = Event::new(Fact::Runtime(fact));
        event.seq = seq;
        event
    }

    #[test]
    fn what_a_gap_hid_of_the_store_is_told_behind_it() {
        let (trouble, reason) = (StoreTrouble::DiskFull, "full".to_owned());
        let ails = RuntimeEvent::StoreAiling { trouble, reason: reason.clone() };
        let mut tree = ThreadTree::default();
        let well = tree.snapshot();
        tree.apply(&store_fact(1, ails.clone()));
        let ailing = tree.snapshot();
        let told_ailing =
            || vec![Told::Attention(Attention::StoreAiling { trouble, reason: reason.clone() })];
        let told_well = || vec![Told::Attention(Attention::StoreRecovered)];

        let mut watch = Watch::new(&Limits::default());
        assert_eq!(watch.begin(&well), []);
        assert_eq!(watch.begin(&ailing), told_ailing(), "it began in the gap");
        assert_eq!(watch.begin(&ailing), [], "it goes on");
        assert_eq!(watch.begin(&well), told_well(), "it was over in the gap");
        assert_eq!(watch.event(&store_fact(2, ails)), told_ailing());
        assert_eq!(watch.begin(&ailing), [], "told by its fact");
        assert_eq!(watch.event(&store_fact(3, RuntimeEvent::StoreRecovered)), told_well());
        assert_eq!(watch.begin(&well), [], "told by its fact");
    }
    #[test]
    fn a_budget_that_is_used_up_and_a_recovery_that_failed_need_attention() {
        let thread = ThreadId::from_parts(1, [1; 10]);
        let mut watch = Watch::new(&Limits::default());
        let (limit, granted) = ("budget.tokens".to_owned(), 9);
        let spent = ThreadEvent::BudgetSpent { limit: limit.clone(), granted };
        let mut event = Event::new(Fact::Thread(spent));
        (event.seq, event.thread) = (1, Some(thread));
        let told = Attention::BudgetSpent { thread, limit, granted };
        assert_eq!(watch.event(&event), [Told::Attention(told)]);
        let reason = "no such model".to_owned();
        let failed = RuntimeEvent::RecoveryFailed { reason: reason.clone(), again: true };
        let told = Attention::RecoveryFailed { thread: None, reason, again: true };
        assert_eq!(watch.event(&store_fact(2, failed)), [Told::Attention(told)]);
    }
}
