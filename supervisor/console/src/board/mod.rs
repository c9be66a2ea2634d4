//! What the console knows of the runtime: rows of threads, lanes of turns, what needs attention. Pure:
//! facts, views and the time in, rows out.
//!
//! Facts say which threads there are, what they are and what happened to them, so a board that had a
//! snapshot and every fact after it is right. What no fact carries (how full an inbox is, what a turn
//! is at) is what a thread's view says; the board looks at the views of those threads that facts
//! touched, and of those that run, before it gives out a frame.

mod attention;
mod budget;
mod frames;
mod lanes;
mod row;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use coppicer_actors::{ThreadTree, ThreadView, TreeChange, TreeRow, TreeSnapshot};
use coppicer_messages::{Ended, Event, Fact, Phase, RuntimeEvent, ThreadEvent, ThreadId};
use coppicer_supervisor::LimitUse;
use serde::Serialize;

use crate::bounds::{ABOVE_MAX, GONE_KEEP_MS, GONE_MAX, LOOKS_MAX};
use attention::Attention;
pub(crate) use attention::Listed;
pub(crate) use budget::BudgetRow;
use frames::Frames;
pub(crate) use frames::{News, Place};
use lanes::Lanes;
use row::{Gone, Known};
pub(crate) use row::{Recent, Row};

/// What there is of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    pub(crate) threads: usize,
    pub(crate) by_phase: BTreeMap<&'static str, usize>,
    pub(crate) by_status: BTreeMap<&'static str, usize>,
    pub(crate) gone: usize,
}

/// How many facts were seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    pub(crate) seen: u64,
    pub(crate) lost: u64,
}

/// Everything that is shown of threads.
#[derive(Debug)]
pub(crate) struct Board {
    tree: ThreadTree,
    known: HashMap<ThreadId, Known>,
    /// Threads that are over and keep their row for a while.
    gone: HashMap<ThreadId, (Arc<TreeRow>, Gone)>,
    fading: VecDeque<(u64, ThreadId)>,
    /// Threads whose row may have changed, in the order in which they were touched.
    touched: VecDeque<ThreadId>,
    is_touched: HashSet<ThreadId>,
    /// Threads whose turn runs, and the one that was looked at last.
    running: BTreeSet<ThreadId>,
    looked_at: Option<ThreadId>,
    frames: Frames,
    by_phase: Counts,
    by_status: Counts,
    pub(crate) lanes: Lanes,
    pub(crate) attention: Attention,
    seen: Seen,
}

/// Numbers by name; one that is 0 is left out.
#[derive(Debug, Default)]
struct Counts(BTreeMap<&'static str, usize>);

impl Counts {
    fn add(&mut self, name: &'static str) {
        *self.0.entry(name).or_default() += 1;
    }

    fn take(&mut self, name: &'static str) {
        if let Some(count) = self.0.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(name);
            }
        }
    }
}

/// What a thread counts as.
type Counted = (Phase, &'static str);

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            tree: ThreadTree::default(),
            known: HashMap::new(),
            gone: HashMap::new(),
            fading: VecDeque::new(),
            touched: VecDeque::new(),
            is_touched: HashSet::new(),
            running: BTreeSet::new(),
            looked_at: None,
            frames: Frames::default(),
            by_phase: Counts::default(),
            by_status: Counts::default(),
            lanes: Lanes::default(),
            attention: Attention::default(),
            seen: Seen::default(),
        }
    }

    /// Begins, or begins again after a gap: what is not in the snapshot any more is over.
    pub(crate) fn begin(&mut self, snapshot: &TreeSnapshot, now_ms: u64) {
        let before = std::mem::replace(&mut self.tree, ThreadTree::from_snapshot(snapshot));
        for row in before.snapshot().rows {
            if self.tree.get(row.thread).is_none() {
                self.is_over(row, "unknown", None, now_ms);
            }
        }
        let tree = &self.tree;
        self.attention.begin_anew(&snapshot.concerns);
        self.attention.store(snapshot.ailing.as_deref());
        self.lanes.misses_until(now_ms);
        self.lanes.only(|thread| tree.get(thread).is_some_and(|row| row.turn.is_some()), now_ms);
        let is_parked = |row: &&Arc<TreeRow>| row.phase == Phase::Parked;
        self.lanes.parked(snapshot.rows.iter().filter(is_parked).map(|row| row.thread));
        (self.by_phase, self.by_status) = (Counts::default(), Counts::default());
        self.running.clear();
        for row in &snapshot.rows {
            self.gone.remove(&row.thread);
            self.count(None, Some((row.phase, row.status.name())));
            self.follow_row(row.thread);
            // There may have been facts that it missed.
            self.known.entry(row.thread).or_default().facts += 1;
            self.touch(row.thread);
            if let Some(turn) = &row.turn {
                self.lanes.runs(row.thread, turn.clone(), row.since_ms);
            }
        }
    }

    /// Facts were lost.
    pub(crate) fn lost(&mut self, count: u64) {
        self.seen.lost += count;
    }

    /// Takes in the next fact.
    pub(crate) fn follow(&mut self, event: &Event) {
        self.seen.seen += 1;
        self.attention.follow(event);
        self.lanes.follow(event);
        let Some(thread) = event.thread else { return };
        let before = self.tree.get(thread).map(counted);
        match self.tree.apply(event) {
            TreeChange::Removed(rows) => {
                let (how, rung) = end_of(event);
                for row in rows {
                    let counts = (row.thread == thread).then_some(before).flatten();
                    self.count(Some(counts.unwrap_or_else(|| counted(&row))), None);
                    self.is_over(row, how, rung, event.at_ms);
                }
            }
            TreeChange::Added(_) => {
                self.gone.remove(&thread);
                self.count(None, self.tree.get(thread).map(counted));
            }
            _ => self.count(before, self.tree.get(thread).map(counted)),
        }
        if self.tree.get(thread).is_some() {
            self.known.entry(thread).or_default().follow(event);
            self.touch(thread);
        } else if let Fact::Runtime(RuntimeEvent::ThreadEnded { .. }) = &event.fact {
            self.ended_later(event, thread);
        }
        if moves_amounts(&event.fact) {
            self.touch_budgets_above(event.parent);
        }
        self.follow_row(thread);
    }

    /// What a thread uses, is given or gives back is in the budgets above it.
    fn touch_budgets_above(&mut self, parent: Option<ThreadId>) {
        let mut next = parent;
        for _ in 0..ABOVE_MAX {
            let Some(above) = next else { return };
            next = self.tree.get(above).and_then(|row| row.parent);
            if self.known.get(&above).is_some_and(Known::has_budget) {
                self.touch(above);
            }
        }
    }

    /// How a thread ended may be told after it was shown as over.
    fn ended_later(&mut self, event: &Event, thread: ThreadId) {
        if let Some((_, gone)) = self.gone.get_mut(&thread) {
            (gone.how, gone.rung) = end_of(event);
            self.touch(thread);
        }
    }

    /// What follows from a row that may have changed.
    fn follow_row(&mut self, thread: ThreadId) {
        let row = self.tree.get(thread);
        if row.is_some_and(|row| row.turn.is_some()) {
            self.running.insert(thread);
        } else {
            self.running.remove(&thread);
        }
        let error = self.known.get(&thread).and_then(|known| known.last_error.as_ref());
        self.attention.phase(thread, row, error.map(|error| &*error.text));
    }

    fn is_over(
        &mut self,
        row: Arc<TreeRow>,
        how: &'static str,
        rung: Option<&'static str>,
        at_ms: u64,
    ) {
        let thread = row.thread;
        self.running.remove(&thread);
        self.attention.phase(thread, None, None);
        self.gone.insert(thread, (row, Gone { at_ms, how, rung }));
        self.fading.push_back((at_ms, thread));
        while self.fading.len() > GONE_MAX {
            self.fade_oldest();
        }
        self.touch(thread);
    }

    fn fade_oldest(&mut self) {
        let Some((at_ms, thread)) = self.fading.pop_front() else { return };
        // It may have come back, and may have gone again.
        if self.gone.get(&thread).is_some_and(|(_, gone)| gone.at_ms == at_ms) {
            self.gone.remove(&thread);
            self.touch(thread);
        }
    }

    fn touch(&mut self, thread: ThreadId) {
        if self.is_touched.insert(thread) {
            self.touched.push_back(thread);
        }
    }

    fn count(&mut self, before: Option<Counted>, after: Option<Counted>) {
        if before == after {
            return;
        }
        if let Some((phase, status)) = before {
            self.by_phase.take(phase.name());
            self.by_status.take(status);
        }
        if let Some((phase, status)) = after {
            self.by_phase.add(phase.name());
            self.by_status.add(status);
        }
    }

    /// So much is used of the limits of the runtime.
    pub(crate) fn use_of_limits(&mut self, uses: &[LimitUse], now_ms: u64) {
        self.attention.used(uses, now_ms);
    }

    /// Lets what is over fade.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while self.fading.front().is_some_and(|(at_ms, _)| at_ms + GONE_KEEP_MS <= now_ms) {
            self.fade_oldest();
        }
        self.lanes.expire(now_ms);
    }

    /// Makes the rows anew of threads that were touched, then of those that run, [`LOOKS_MAX`] at most;
    /// the others are next. Of very many half, so that they never grow without end. The newest change
    /// after it.
    pub(crate) fn refresh(&mut self, look: impl Fn(ThreadId) -> Option<ThreadView>) -> u64 {
        let touched = self.touched.len().min(LOOKS_MAX.max(self.touched.len() / 2));
        for _ in 0..touched {
            let Some(thread) = self.touched.pop_front() else { break };
            self.is_touched.remove(&thread);
            self.show(thread, &look);
        }
        for thread in self.next_running(LOOKS_MAX.saturating_sub(touched)) {
            self.show(thread, &look);
        }
        self.frames.last()
    }

    /// The next threads that run, in turns, each once.
    fn next_running(&mut self, max: usize) -> Vec<ThreadId> {
        let max = max.min(self.running.len());
        let behind = self.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.running.range((behind, Bound::Unbounded)).copied();
        let threads: Vec<ThreadId> = rest.chain(self.running.iter().copied()).take(max).collect();
        self.looked_at = threads.last().copied().or(self.looked_at);
        threads
    }

    fn show(&mut self, thread: ThreadId, look: impl Fn(ThreadId) -> Option<ThreadView>) {
        if let Some(row) = self.tree.get(thread) {
            let known = self.known.entry(thread).or_default();
            known.look(look(thread));
            self.frames.put(known.row(row, None));
        } else if let Some((row, gone)) = self.gone.get(&thread) {
            let known = self.known.entry(thread).or_default();
            known.look(None);
            self.frames.put(known.row(row, Some(gone.clone())));
        } else {
            self.known.remove(&thread);
            self.frames.remove(thread);
        }
    }

    /// What a client has not seen.
    pub(crate) fn after(&self, place: Option<Place>, max: usize) -> News {
        self.frames.after(place, max)
    }

    /// The row of a thread, as it was last shown.
    pub(crate) fn row(&self, thread: ThreadId) -> Option<Arc<Row>> {
        self.frames.get(thread).cloned()
    }

    /// What happened to a thread's engine and actor, oldest first.
    pub(crate) fn recent(&self, thread: ThreadId) -> Vec<Recent> {
        self.known
            .get(&thread)
            .map(|known| known.recent.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether the thread is in the tree.
    pub(crate) fn has(&self, thread: ThreadId) -> bool {
        self.tree.get(thread).is_some()
    }

    /// The last fact that it took in.
    pub(crate) const fn seq(&self) -> u64 {
        self.tree.seq()
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            threads: self.tree.len(),
            by_phase: self.by_phase.0.clone(),
            by_status: self.by_status.0.clone(),
            gone: self.gone.len(),
        }
    }

    pub(crate) const fn seen(&self) -> Seen {
        self.seen
    }
}

/// Whether a fact may change what is left of the budgets above its thread.
const fn moves_amounts(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Runtime(
            RuntimeEvent::ThreadSpawned { .. }
                | RuntimeEvent::ThreadEnded { .. }
                | RuntimeEvent::SpawnUndone
                | RuntimeEvent::ThreadAdopted { .. }
        ) | Fact::Thread(
            ThreadEvent::UsageReported { .. }
                | ThreadEvent::TurnEnded { .. }
                | ThreadEvent::BudgetSpent { .. }
        )
    )
}

const fn counted(row: &TreeRow) -> Counted {
    (row.phase, row.status.name())
}

/// How a fact says that a thread ended, and how far that had to go.
const fn end_of(event: &Event) -> (&'static str, Option<&'static str>) {
    match &event.fact {
        Fact::Runtime(RuntimeEvent::ThreadEnded { how }) => match how {
            Ended::Closed { rung } => ("closed", Some(rung.as_str())),
            how => (how.name(), None),
        },
        Fact::Runtime(RuntimeEvent::SpawnUndone) => ("spawn_undone", None),
        Fact::Runtime(RuntimeEvent::ThreadDeleted { .. }) => ("thread_deleted", None),
        Fact::Thread(ThreadEvent::StatusChanged { .. }) => ("closed", None),
        _ => ("unknown", None),
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
