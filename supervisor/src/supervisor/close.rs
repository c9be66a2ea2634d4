//! Closing many threads by one deadline: a pure plan (P5).
//!
//! Children stop before parents, siblings side by side, last started first. The time is split over
//! the levels that have a running turn; idle ones need none.

use std::collections::HashMap;
use std::time::Duration;

use coppicer_messages::{CloseOrder, CloseReport, Limits, Rung, ThreadClosed, ThreadId};
use tokio::time::Instant;

/// One thread of a plan.
#[derive(Debug)]
struct Node {
    /// Its parent, if that is part of the plan.
    parent: Option<ThreadId>,
    /// Children of the plan that have not ended.
    waits_for: usize,
    busy: bool,
    /// Running turns on the longest way from its children down.
    busy_below: u32,
    ended: Option<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    rung: Rung,
    took: Duration,
    left: Option<String>,
    how: How,
}

/// In which list of the report a thread stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It ended, and its end is durable.
    Completed,
    /// It had crashed before it could be told.
    SubmitFailed,
    /// It had not ended by the deadline.
    TimedOut,
}

/// A close that is under way.
#[derive(Debug)]
pub(crate) struct ClosePlan {
    started: Instant,
    deadline: Instant,
    drain_until: Instant,
    nodes: HashMap<ThreadId, Node>,
    /// All of them, last started first.
    order: Vec<ThreadId>,
    left: usize,
    /// Most running turns on one way from a top of the plan to a leaf; at least 1.
    busy_levels: u32,
    kill_wait: Duration,
    grace: Duration,
}

/// What the plan needs to know of a thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closing {
    pub(crate) thread: ThreadId,
    pub(crate) parent: Option<ThreadId>,
    /// Whether a turn runs in it.
    pub(crate) busy: bool,
}

impl ClosePlan {
    /// A plan for `threads`, parents before children and siblings in start order, to be answered by
    /// `deadline`. A part of the time, at most [`Limits::close_margin`], is kept for the report.
    pub(crate) fn new(
        threads: &[Closing],
        started: Instant,
        deadline: Instant,
        drain: Duration,
        limits: &Limits,
    ) -> Self {
        let mut nodes: HashMap<ThreadId, Node> = HashMap::with_capacity(threads.len());
        for &Closing { thread, parent, busy } in threads {
            let parent = parent.filter(|parent| nodes.contains_key(parent));
            if let Some(parent) = parent.and_then(|parent| nodes.get_mut(&parent)) {
                parent.waits_for += 1;
            }
            nodes.insert(thread, Node { parent, waits_for: 0, busy, busy_below: 0, ended: None });
        }
        let mut busy_levels = 1;
        for closing in threads.iter().rev() {
            let node = &nodes[&closing.thread];
            let busy = node.busy_below + u32::from(node.busy);
            busy_levels = busy_levels.max(busy);
            if let Some(parent) = node.parent.and_then(|parent| nodes.get_mut(&parent)) {
                parent.busy_below = parent.busy_below.max(busy);
            }
        }
        let deadline = deadline.max(started);
        let deadline = deadline - limits.close_margin.min((deadline - started) / 4);
        Self {
            started,
            deadline,
            drain_until: started.checked_add(drain).map_or(deadline, |until| until.min(deadline)),
            left: nodes.len(),
            order: threads.iter().rev().map(|closing| closing.thread).collect(),
            nodes,
            busy_levels,
            kill_wait: limits.kill_wait,
            grace: limits.interrupt_grace,
        }
    }

    /// Adds a thread that ends after all the others: whether it can be told at once.
    pub(crate) fn put_on_top(&mut self, thread: ThreadId) -> bool {
        let mut top = Node { parent: None, waits_for: 0, busy: false, busy_below: 0, ended: None };
        for node in self.nodes.values_mut().filter(|node| node.parent.is_none()) {
            node.parent = Some(thread);
            top.waits_for += usize::from(node.ended.is_none());
            top.busy_below = top.busy_below.max(node.busy_below + u32::from(node.busy));
        }
        self.nodes.insert(thread, top);
        self.order.push(thread);
        self.left += 1;
        self.is_ready(thread)
    }

    /// Those that can be told at once, last started first.
    pub(crate) fn leaves(&self) -> Vec<ThreadId> {
        self.order.iter().copied().filter(|thread| self.is_ready(*thread)).collect()
    }

    fn is_ready(&self, thread: ThreadId) -> bool {
        self.nodes.get(&thread).is_some_and(|node| node.waits_for == 0 && node.ended.is_none())
    }

    /// Whether `thread` is part of it.
    pub(crate) fn covers(&self, thread: ThreadId) -> bool {
        self.nodes.contains_key(&thread)
    }

    /// Whether `thread` is part of it and has not ended.
    pub(crate) fn awaits(&self, thread: ThreadId) -> bool {
        self.nodes.get(&thread).is_some_and(|node| node.ended.is_none())
    }

    /// Whether the parent of `thread` closes in the same stroke.
    pub(crate) fn covers_parent_of(&self, thread: ThreadId) -> bool {
        self.nodes.get(&thread).is_some_and(|node| node.parent.is_some())
    }

    /// When `thread`, told now, has to go one rung further.
    pub(crate) fn order_for(
        &self,
        thread: ThreadId,
        now: Instant,
        tell_parent: bool,
    ) -> CloseOrder {
        let levels = self.nodes.get(&thread).map_or(1, |node| node.busy_below + 1);
        let whole = self.deadline.saturating_duration_since(self.started);
        let share = levels.min(self.busy_levels);
        let until = self.started + whole.mul_f64(f64::from(share) / f64::from(self.busy_levels));
        let left = until.saturating_duration_since(now);
        let kill = self.kill_wait.min(left / 4);
        let stop = self.grace.min(left / 2);
        CloseOrder {
            drain_until: self.drain_until.min(until - kill - stop),
            stop_until: until - kill,
            kill_until: until,
            tell_parent,
        }
    }

    /// `thread` has ended: its parent, if that can be told now.
    pub(crate) fn ended(
        &mut self,
        thread: ThreadId,
        rung: Rung,
        how: How,
        left: Option<String>,
        now: Instant,
    ) -> Option<ThreadId> {
        let took = now.saturating_duration_since(self.started);
        let node = self.nodes.get_mut(&thread).filter(|node| node.ended.is_none())?;
        node.ended = Some(Row { rung, took, left, how });
        self.left -= 1;
        let parent = node.parent?;
        let above = self.nodes.get_mut(&parent)?;
        above.waits_for -= 1;
        self.is_ready(parent).then_some(parent)
    }

    /// Whether all have ended.
    pub(crate) const fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Until when it may wait before anybody is told: a quarter of the time.
    pub(crate) fn ask_until(&self) -> Instant {
        self.started + self.deadline.saturating_duration_since(self.started) / 4
    }

    /// When the report is due.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Those that have not ended.
    pub(crate) fn unended(&self) -> Vec<ThreadId> {
        self.order.iter().copied().filter(|thread| self.awaits(*thread)).collect()
    }

    /// What became of each. Those that have not ended are fenced off.
    /// `unsettled`: the thread that was asked for, if what is kept of its close is not durable.
    pub(crate) fn report(
        &self,
        now: Instant,
        unsettled: Option<&(ThreadId, String)>,
    ) -> CloseReport {
        let mut report = CloseReport::default();
        let fenced = Row {
            rung: Rung::Fenced,
            took: now.saturating_duration_since(self.started),
            left: Some("its end was not durable by the deadline".into()),
            how: How::TimedOut,
        };
        let mut threads: Vec<ThreadId> = self.nodes.keys().copied().collect();
        threads.extend(unsettled.map(|(thread, _)| *thread));
        threads.sort_unstable();
        threads.dedup();
        for thread in threads {
            let mut row = match self.nodes.get(&thread) {
                Some(node) => node.ended.clone().unwrap_or_else(|| fenced.clone()),
                None => Row { rung: Rung::Drained, left: None, ..fenced.clone() },
            };
            if let Some((_, left)) = unsettled.filter(|(unsettled, _)| *unsettled == thread) {
                row.how = How::TimedOut;
                row.left.get_or_insert_with(|| left.clone());
            }
            match row.how {
                How::Completed => report.completed.push(thread),
                How::SubmitFailed => report.submit_failed.push(thread),
                How::TimedOut => report.timed_out.push(thread),
            }
            report.threads.push(ThreadClosed::new(thread, row.rung, row.took, row.left));
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> ThreadId {
        ThreadId::from_parts(n, [0; 10])
    }

    /// Thread n with parent p, and whether it is busy.
    fn plan(threads: &[(u64, Option<u64>, bool)], budget: Duration) -> (ClosePlan, Instant) {
        let now = Instant::now();
        let threads: Vec<Closing> = threads
            .iter()
            .map(|&(n, p, busy)| Closing { thread: id(n), parent: p.map(id), busy })
            .collect();
        let limits = Limits::default();
        (ClosePlan::new(&threads, now, now + budget, Duration::ZERO, &limits), now)
    }

    #[test]
    fn children_stop_before_parents_and_the_last_started_first() {
        let tree =
            [(1, None, false), (2, Some(1), false), (3, Some(1), false), (4, Some(2), false)];
        let (mut plan, now) = plan(&tree, Duration::from_secs(1));
        assert_eq!(plan.leaves(), [id(4), id(3)]);
        let mut end = |n| plan.ended(id(n), Rung::Drained, How::Completed, None, now);
        assert_eq!(end(3), None);
        assert_eq!(end(4), Some(id(2)));
        assert_eq!(end(4), None, "an end that is told twice counts once");
        assert_eq!(end(2), Some(id(1)));
        assert_eq!(end(1), None);
        assert!(plan.is_done());
        assert_eq!(plan.report(now, None).completed, [id(1), id(2), id(3), id(4)]);
    }

    #[test]
    fn a_thread_that_is_found_later_ends_after_those_below_it() {
        assert!(plan(&[], Duration::ZERO).0.put_on_top(id(1)), "nothing is below it");
        let (mut plan, now) = plan(&[(2, Some(1), false), (3, Some(1), false)], Duration::ZERO);
        assert_eq!(plan.ended(id(2), Rung::Drained, How::Completed, None, now), None);
        assert!(!plan.put_on_top(id(1)), "one below it has not ended");
        assert!(!plan.is_done());
        assert_eq!(plan.ended(id(3), Rung::Drained, How::Completed, None, now), Some(id(1)));
    }

    #[test]
    fn a_thread_whose_parent_stays_is_ready_at_once() {
        let (plan, _) = plan(&[(2, Some(1), false)], Duration::from_secs(1));
        assert_eq!(plan.leaves(), [id(2)]);
        assert!(!plan.covers_parent_of(id(2)));
    }

    #[test]
    fn time_is_split_over_levels_with_a_running_turn_and_idle_ones_take_none() {
        let tree = [(1, None, true), (2, Some(1), false), (3, Some(2), true)];
        let (plan, now) = plan(&tree, Duration::from_millis(2_020));
        let until = |n| (plan.order_for(id(n), now, false).kill_until - now).as_millis();
        assert_eq!(until(3), 1_000, "half of the time for the lower of two running turns");
        assert_eq!(until(2), 2_000, "an idle thread above it may wait as long as there is time");
        assert_eq!(until(1), 2_000);
    }

    #[test]
    fn a_chain_of_a_thousand_idle_threads_leaves_its_leaf_all_the_time() {
        let chain: Vec<_> = (1..=1_000).map(|n| (n, (n > 1).then(|| n - 1), n == 1_000)).collect();
        let (plan, now) = plan(&chain, Duration::from_millis(2_020));
        assert_eq!((plan.order_for(id(1_000), now, false).kill_until - now).as_millis(), 2_000);
    }

    #[test]
    fn what_has_not_ended_by_the_deadline_is_reported_as_fenced() {
        let (plan, now) = plan(&[(1, None, true)], Duration::from_millis(100));
        let report = plan.report(now, None);
        assert_eq!(report.timed_out, [id(1)]);
        assert_eq!(report.rung(id(1)), Some(Rung::Fenced));
    }

    #[test]
    fn rungs_follow_each_other_within_the_share_of_a_thread() {
        for ms in [0, 1, 7, 100, 1_000, 60_000] {
            let (plan, now) = plan(&[(1, None, true)], Duration::from_millis(ms));
            let order = plan.order_for(id(1), now, false);
            assert!(order.stop_until <= order.kill_until, "{ms}");
            assert!(order.kill_until <= now + Duration::from_millis(ms), "{ms}");
        }
    }
}
