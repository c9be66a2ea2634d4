//! What a host wants to be called for: threads that are over, and what needs somebody's attention.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use coppicer_actors::{
    AilingStore, Tap, TapFilter, TapFrom, TapItem, TapOptions, ThreadTree, TreeChange, TreeRow,
    TreeSnapshot,
};
use coppicer_messages::{
    AgentPath, Ended, Event, Fact, Phase, RuntimeEvent, StoreTrouble, TapError, ThreadEvent,
    ThreadId, TurnId,
};
use tokio::time::{MissedTickBehavior, interval};

use crate::Runtime;
use crate::limits_used::{LOOK_EVERY, LimitUse, NearChange, NearLimits};

/// A thread that is over: closed, undone, deleted, fenced off or damaged. It takes nothing more in this
/// life; a closed one can be resumed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Terminal {
    /// The thread as it was last shown.
    pub row: Arc<TreeRow>,
}

/// What needs somebody's attention. Told once when it begins; again when it comes back. What began before
/// the hooks did and is not over is told when they begin.
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
        /// Its path, if it has one and the store could say it: there may be no row of it.
        path: Option<AgentPath>,
        /// A name for people, likewise.
        nickname: Option<String>,
        /// Why.
        reason: String,
        /// Whether it is tried again.
        again: bool,
    },
    /// Nine tenths of a limit of the runtime are used: one of those of
    /// [`Runtime::use_of_limits`]. Looked at behind each event and four times a second; told again once less
    /// than eight tenths were seen in between.
    NearLimit {
        /// Its name.
        limit: &'static str,
        /// How much of it is used.
        used: u64,
        /// Its value.
        value: u64,
    },
    /// The store cannot write, such as on a full disk: nothing is acknowledged until it can. Told again if
    /// it is trouble of another kind.
    StoreAiling {
        /// What kind of trouble it is; a full disk is [`StoreTrouble::DiskFull`].
        trouble: StoreTrouble,
        /// Why.
        reason: String,
    },
    /// The store writes again.
    StoreRecovered,
    /// The hooks were too slow, and events were lost. Ends of threads among them are told behind this, from
    /// the journal (where that does not reach back so far: of those threads that the hooks knew), and then what
    /// began meanwhile and still needs attention.
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
        let mut tap = open(runtime)?;
        let mut watch = Watch::default();
        let mut limits = interval(LOOK_EVERY);
        limits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let item = tokio::select! {
                item = tap.next() => item,
                _ = limits.tick() => {
                    self.tell(watch.limits(&runtime.use_of_limits()));
                    continue;
                }
            };
            match item {
                None => break,
                Some(TapItem::Snapshot(snapshot)) => self.tell(watch.begin(&snapshot)),
                Some(TapItem::Event(event)) => self.tell(watch.event(&event)),
                Some(TapItem::Lagged { from, count, .. }) => {
                    self.go_on(&mut tap, (from, count), &mut watch).await;
                }
                Some(_) => {}
            }
            self.tell(watch.limits(&runtime.use_of_limits()));
        }
        self.tell(watch.end());
        Ok(self.counts)
    }

    /// Goes on behind a gap. Ends are told as the journal has them; of the rest what still is so.
    async fn go_on(&mut self, tap: &mut Tap, gap: (u64, u64), watch: &mut Watch) {
        let told = watch.told();
        let mut next = Some(gap);
        while let Some((from, count)) = next {
            // Before anything is told, which may take long.
            let count = count + tap.regain(from).lost;
            let waiting = tap.counts().waiting;
            self.tell(vec![Told::Attention(Attention::Lagged { count })]);
            next = self.catch_up(tap, waiting, watch).await;
        }
        self.tell(watch.since(&told));
    }

    /// Takes in so many events that wait, and tells of ends. Where the next gap begins and how many it has, if
    /// there is one. What comes meanwhile is told as it comes: where ends come faster than a host hears of
    /// them, it would hear of nothing else.
    async fn catch_up(
        &mut self,
        tap: &mut Tap,
        waiting: u64,
        watch: &mut Watch,
    ) -> Option<(u64, u64)> {
        let (mut left, mut taken) = (waiting, 0_usize);
        while left > 0 {
            match tap.try_next()? {
                TapItem::Snapshot(snapshot) => self.tell(watch.replace(&snapshot)),
                TapItem::Event(event) => {
                    left -= 1;
                    self.tell(watch.follow(&event).0);
                }
                TapItem::Lagged { from, count, .. } => return Some((from, count)),
                _ => {}
            }
            taken += 1;
            if taken.is_multiple_of(AT_ONCE_MAX) {
                tokio::task::yield_now().await;
            }
        }
        None
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

/// Events that are taken in at one go before others get their turn.
const AT_ONCE_MAX: usize = 512;

/// All that hooks tell of are lifecycle events, which the journal has as well.
fn open(runtime: &Runtime) -> Result<Tap, TapError> {
    let options = TapOptions::matching(TapFilter::all().lifecycle());
    runtime.tap(options.with_from(TapFrom::Snapshot))
}

#[derive(Debug, PartialEq)]
enum Told {
    Terminal(Terminal),
    Attention(Attention),
}

/// What decides. Pure: events and how much is used in, what is told out.
#[derive(Default)]
struct Watch {
    tree: ThreadTree,
    /// Since when they are.
    parked: BTreeMap<ThreadId, u64>,
    near: NearLimits,
}

/// What was told up to an event.
struct Before {
    seq: u64,
    ailing: Option<Arc<AilingStore>>,
    parked: BTreeMap<ThreadId, u64>,
}

impl Watch {
    /// What was told up to now.
    fn told(&self) -> Before {
        let (seq, ailing) = (self.tree.seq(), self.tree.ailing().cloned());
        Before { seq, ailing, parked: self.parked.clone() }
    }

    /// What needs attention now and was not told then.
    fn since(&self, before: &Before) -> Vec<Told> {
        let mut told = Vec::new();
        told.extend(match self.tree.ailing() {
            Some(store) if before.ailing.as_ref() != Some(store) => {
                let (trouble, reason) = (store.trouble, store.reason.clone());
                Some(Attention::StoreAiling { trouble, reason })
            }
            None if before.ailing.is_some() => Some(Attention::StoreRecovered),
            _ => None,
        });
        let concerns = self.tree.concerns();
        let new = concerns.iter().filter(|concern| concern.event.seq > before.seq);
        told.extend(new.filter_map(|concern| attention_of(&concern.event)));
        let parked = self.parked.iter();
        let parked = parked.filter(|&(thread, since)| before.parked.get(thread) != Some(since));
        told.extend(parked.map(|(&thread, _)| Attention::Parked { thread }));
        told.into_iter().map(Told::Attention).collect()
    }

    /// So much is used of limits.
    fn limits(&mut self, uses: &[LimitUse]) -> Vec<Told> {
        let near = self.near.look(uses).into_iter().filter_map(|change| match change {
            NearChange::Near(LimitUse { limit, used, value }) => {
                Some(Attention::NearLimit { limit, used, value })
            }
            NearChange::Over(_) => None,
        });
        near.map(Told::Attention).collect()
    }

    /// Begins with what is so.
    fn begin(&mut self, snapshot: &TreeSnapshot) -> Vec<Told> {
        let before = self.told();
        let mut told = self.replace(snapshot);
        told.extend(self.since(&before));
        told
    }

    /// Takes a snapshot for what it knew: what is not there any more is over.
    fn replace(&mut self, snapshot: &TreeSnapshot) -> Vec<Told> {
        let before = std::mem::replace(&mut self.tree, ThreadTree::from_snapshot(snapshot));
        let gone = before.snapshot().rows.into_iter();
        let gone = gone.filter(|row| self.tree.get(row.thread).is_none());
        self.parked.clear();
        for row in &snapshot.rows {
            if row.phase == Phase::Parked {
                self.parked.insert(row.thread, row.since_ms);
            }
        }
        gone.map(|row| Told::Terminal(Terminal { row })).collect()
    }

    fn event(&mut self, event: &Event) -> Vec<Told> {
        let attention = attention_of(event).filter(|_| !self.is_told(event));
        let (over, parked) = self.follow(event);
        let mut told: Vec<Told> = attention.into_iter().map(Told::Attention).collect();
        told.extend(over);
        told.extend(parked.map(Told::Attention));
        told
    }

    /// Takes an event in: which threads it ends, and whether it parks one.
    fn follow(&mut self, event: &Event) -> (Vec<Told>, Option<Attention>) {
        let Some(thread) = event.thread else {
            self.tree.apply(event);
            return (Vec::new(), None);
        };
        if let TreeChange::Removed(rows) = self.tree.apply(event) {
            for row in &rows {
                self.parked.remove(&row.thread);
            }
            return (rows.into_iter().map(|row| Told::Terminal(Terminal { row })).collect(), None);
        }
        let row = self.tree.get(thread);
        let Some(since_ms) = row.filter(|row| row.phase == Phase::Parked).map(|row| row.since_ms)
        else {
            self.parked.remove(&thread);
            return (Vec::new(), None);
        };
        let known = self.parked.insert(thread, since_ms);
        (Vec::new(), known.is_none().then_some(Attention::Parked { thread }))
    }

    /// That a thread ended by damage says nothing new behind the damage.
    fn is_told(&self, event: &Event) -> bool {
        matches!(
            &event.fact,
            Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Damaged { .. } })
        ) && self.tree.concerns().iter().any(|concern| {
            let damage = &concern.event;
            let found = matches!(damage.fact, Fact::Thread(ThreadEvent::DamageFound { .. }));
            found && damage.thread == event.thread
        })
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
        Fact::Runtime(RuntimeEvent::RecoveryFailed { reason, again, nickname }) => {
            let (path, nickname) = (event.path.clone(), nickname.clone());
            let (reason, again) = (reason.clone(), *again);
            Some(Attention::RecoveryFailed { thread, path, nickname, reason, again })
        }
        Fact::Thread(ThreadEvent::BudgetSpent { limit, granted }) => {
            let (limit, granted) = (limit.clone(), *granted);
            thread.map(|thread| Attention::BudgetSpent { thread, limit, granted })
        }
        Fact::Thread(ThreadEvent::QuestionAsked { .. }) => {
            thread.map(|thread| Attention::Asked { thread })
        }
        Fact::Thread(ThreadEvent::DamageFound { what })
        | Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Damaged { what } }) => {
            thread.map(|thread| Attention::Damaged { thread, what: what.clone() })
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "hooks_tests.rs"]
mod tests;
