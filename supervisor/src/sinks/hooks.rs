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
    AgentPath, Ended, Event, EventKind, Fact, Limits, Phase, RuntimeEvent, StoreTrouble, TapError,
    ThreadEvent, ThreadId, TurnId,
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
    /// Nine tenths of a limit are used.
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
        let limits = runtime.limits().clone();
        let mut tap = open(runtime, TapFrom::Snapshot)?;
        let mut watch = Watch::new(&limits);
        loop {
            match tap.next().await {
                None => break,
                Some(TapItem::Snapshot(snapshot)) => self.tell(watch.begin(&snapshot)),
                Some(TapItem::Event(event)) => self.tell(watch.event(&event)),
                Some(TapItem::Lagged { count, .. }) => {
                    match self.go_on(tap, count, &mut watch, runtime).await {
                        Ok(again) => tap = again,
                        Err(TapError::RuntimeEnded) => break,
                        Err(error) => return Err(error),
                    }
                }
                Some(_) => {}
            }
        }
        self.tell(watch.end());
        Ok(self.counts)
    }

    /// Goes on behind a gap. Ends are told as the journal has them; of the rest what still is so.
    async fn go_on(
        &mut self,
        mut tap: Tap,
        mut count: u64,
        watch: &mut Watch,
        runtime: &Runtime,
    ) -> Result<Tap, TapError> {
        let told = watch.told();
        loop {
            self.tell(vec![Told::Attention(Attention::Lagged { count })]);
            tap = again(tap, runtime, watch.tree.seq())?;
            match self.catch_up(&mut tap, watch).await {
                Some(lost) => count = lost,
                None => break,
            }
        }
        self.tell(watch.since(&told));
        Ok(tap)
    }

    /// Takes in what waits, and tells of ends. How many events were lost meanwhile, if some were.
    async fn catch_up(&mut self, tap: &mut Tap, watch: &mut Watch) -> Option<u64> {
        let mut taken = 0_usize;
        while let Some(item) = tap.try_next() {
            match item {
                TapItem::Snapshot(snapshot) => self.tell(watch.replace(&snapshot)),
                TapItem::Event(event) => self.tell(watch.follow(&event).0),
                TapItem::Lagged { count, .. } => return Some(count),
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

fn open(runtime: &Runtime, from: TapFrom) -> Result<Tap, TapError> {
    let quiet = [EventKind::Delta];
    let kinds = EventKind::ALL.into_iter().filter(|kind| !quiet.contains(kind));
    let filter = TapFilter::all().kinds(kinds);
    runtime.tap(TapOptions::matching(filter).with_from(from))
}

/// A tap behind that event, or from what is now if the journal does not reach back so far. The old one is
/// kept until then, because it has the rest if the runtime has ended; but not where there is room for one.
fn again(tap: Tap, runtime: &Runtime, seq: u64) -> Result<Tap, TapError> {
    let open = || match open(runtime, TapFrom::Cursor(seq)) {
        Err(TapError::CursorOutside { .. }) => open(runtime, TapFrom::Snapshot),
        opened => opened,
    };
    match open() {
        Err(TapError::RuntimeEnded) => Ok(tap),
        Err(TapError::Limit(_)) => {
            drop(tap);
            open()
        }
        opened => opened,
    }
}

#[derive(Debug, PartialEq)]
enum Told {
    Terminal(Terminal),
    Attention(Attention),
}

/// What decides. Pure: events and the time in, what is told out.
struct Watch {
    tree: ThreadTree,
    /// Since when they are.
    parked: BTreeMap<ThreadId, u64>,
    resident: Gauge,
    executing: Gauge,
}

/// What was told up to an event.
struct Before {
    seq: u64,
    ailing: Option<Arc<AilingStore>>,
    parked: BTreeMap<ThreadId, u64>,
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
            parked: BTreeMap::new(),
            resident: Gauge::new("resident_max", limits.resident_max as u64),
            executing: Gauge::new("executing_max", limits.executing_max as u64),
        }
    }

    /// What was told up to now.
    fn told(&self) -> Before {
        let (seq, ailing) = (self.tree.seq(), self.tree.ailing().cloned());
        Before { seq, ailing, parked: self.parked.clone() }
    }

    /// What needs attention now and was not told then.
    fn since(&mut self, before: &Before) -> Vec<Told> {
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
        let mut told: Vec<Told> = told.into_iter().map(Told::Attention).collect();
        told.extend(self.resident.tell());
        told.extend(self.executing.tell());
        told
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
        self.resident.used = 0;
        self.executing.used = 0;
        self.parked.clear();
        for row in &snapshot.rows {
            self.resident.used += u64::from(is_resident(row.phase));
            self.executing.used += u64::from(row.phase == Phase::Running);
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
        told.extend(self.resident.tell());
        told.extend(self.executing.tell());
        told
    }

    /// Takes an event in: which threads it ends, and whether it parks one.
    fn follow(&mut self, event: &Event) -> (Vec<Told>, Option<Attention>) {
        let Some(thread) = event.thread else {
            self.tree.apply(event);
            return (Vec::new(), None);
        };
        let before = self.tree.get(thread).map(|row| row.phase);
        if let TreeChange::Removed(rows) = self.tree.apply(event) {
            for row in &rows {
                self.moved(row.thread, Some(row.phase), None);
            }
            return (rows.into_iter().map(|row| Told::Terminal(Terminal { row })).collect(), None);
        }
        let after = self.tree.get(thread).map(|row| (row.phase, row.since_ms));
        if let Some((Phase::Parked, since_ms)) = after
            && let Some(known) = self.parked.get_mut(&thread)
        {
            *known = since_ms;
            return (Vec::new(), None);
        }
        let has_moved = before != after.map(|(phase, _)| phase);
        (Vec::new(), has_moved.then(|| self.moved(thread, before, after)).flatten())
    }

    /// A thread has another phase, or none any more.
    fn moved(
        &mut self,
        thread: ThreadId,
        before: Option<Phase>,
        after: Option<(Phase, u64)>,
    ) -> Option<Attention> {
        let since_ms = after.map(|(_, since_ms)| since_ms);
        let after = after.map(|(phase, _)| phase);
        let change = |used: &mut u64, holds: &dyn Fn(Phase) -> bool| {
            *used += u64::from(after.is_some_and(holds));
            *used = used.saturating_sub(u64::from(before.is_some_and(holds)));
        };
        change(&mut self.resident.used, &is_resident);
        change(&mut self.executing.used, &|phase| phase == Phase::Running);
        match since_ms {
            Some(since_ms) if after == Some(Phase::Parked) => {
                let known = self.parked.insert(thread, since_ms);
                known.is_none().then_some(Attention::Parked { thread })
            }
            _ => {
                self.parked.remove(&thread);
                None
            }
        }
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
