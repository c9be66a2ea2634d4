//! Closing many threads by one deadline: a pure plan (P5).
//!
//! Children stop before parents, siblings side by side, last started first. The time is split over
//! the levels that have a running turn; idle ones need none.

use std::collections::HashSet;
use std::time::Duration;

use coppicer_messages::{CloseOrder, CloseReport, Limits, Rung, ThreadClosed, ThreadId};
use tokio::time::Instant;

/// The place of a thread in a plan: parents stand before children.
pub(crate) type Place = u32;

/// One thread of a plan.
#[derive(Debug)]
struct Node {
    thread: ThreadId,
    /// Its parent, if that is part of the plan.
    parent: Option<Place>,
    /// Children of the plan that have not ended.
    waits_for: u32,
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
    /// Parents before children, siblings in start order; behind `planned`, what was put on top.
    nodes: Vec<Node>,
    planned: usize,
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
    /// Its parent's place, if that is part of the plan.
    pub(crate) parent: Option<Place>,
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
        let mut nodes: Vec<Node> = Vec::with_capacity(threads.len());
        for &Closing { thread, parent, busy } in threads {
            if let Some(parent) = parent.and_then(|parent| nodes.get_mut(parent as usize)) {
                parent.waits_for += 1;
            }
            let node = Node { thread, parent, waits_for: 0, busy, busy_below: 0, ended: None };
            nodes.push(node);
        }
        let mut busy_levels = 1;
        for at in (0..nodes.len()).rev() {
            let node = &nodes[at];
            let busy = node.busy_below + u32::from(node.busy);
            busy_levels = busy_levels.max(busy);
            if let Some(parent) = node.parent.and_then(|parent| nodes.get_mut(parent as usize)) {
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
            planned: nodes.len(),
            nodes,
            busy_levels,
            kill_wait: limits.kill_wait,
            grace: limits.interrupt_grace,
        }
    }

    /// Adds a thread that ends after all the others: its place, and whether it can be told at once.
    pub(crate) fn put_on_top(&mut self, thread: ThreadId) -> (Place, bool) {
        let place = place(self.nodes.len());
        let mut top =
            Node { thread, parent: None, waits_for: 0, busy: false, busy_below: 0, ended: None };
        for node in self.nodes.iter_mut().filter(|node| node.parent.is_none()) {
            node.parent = Some(place);
            top.waits_for += u32::from(node.ended.is_none());
            top.busy_below = top.busy_below.max(node.busy_below + u32::from(node.busy));
        }
        self.nodes.push(top);
        self.left += 1;
        (place, self.is_ready(place))
    }

    fn node(&self, place: Place) -> Option<&Node> {
        self.nodes.get(place as usize)
    }

    /// Last started first.
    fn places(&self) -> impl Iterator<Item = Place> {
        (0..self.planned).rev().chain(self.planned..self.nodes.len()).map(place)
    }

    /// Those that can be told at once, last started first.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = Place> {
        self.places().filter(|&place| self.is_ready(place))
    }

    fn is_ready(&self, place: Place) -> bool {
        self.node(place).is_some_and(|node| node.waits_for == 0 && node.ended.is_none())
    }

    /// Which thread has this place.
    pub(crate) fn thread(&self, place: Place) -> Option<ThreadId> {
        self.node(place).map(|node| node.thread)
    }

    /// Its threads.
    pub(crate) fn threads(&self) -> HashSet<ThreadId> {
        self.nodes.iter().map(|node| node.thread).collect()
    }

    /// Whether the parent of a thread closes in the same stroke.
    pub(crate) fn covers_parent_of(&self, place: Place) -> bool {
        self.node(place).is_some_and(|node| node.parent.is_some())
    }

    /// When a thread, told now, has to go one rung further.
    pub(crate) fn order_for(&self, place: Place, now: Instant, tell_parent: bool) -> CloseOrder {
        let levels = self.node(place).map_or(1, |node| node.busy_below + 1);
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

    /// A thread has ended: its parent, if that can be told now.
    pub(crate) fn ended(
        &mut self,
        place: Place,
        rung: Rung,
        how: How,
        left: Option<String>,
        now: Instant,
    ) -> Option<Place> {
        let took = now.saturating_duration_since(self.started);
        let node = self.nodes.get_mut(place as usize).filter(|node| node.ended.is_none())?;
        node.ended = Some(Row { rung, took, left, how });
        self.left -= 1;
        let parent = node.parent?;
        let above = self.nodes.get_mut(parent as usize)?;
        above.waits_for -= 1;
        self.is_ready(parent).then_some(parent)
    }

    /// Whether anybody is part of it.
    pub(crate) fn covers_any(&self) -> bool {
        !self.nodes.is_empty()
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
        let unended = self.places().filter_map(|place| self.node(place));
        unended.filter(|node| node.ended.is_none()).map(|node| node.thread).collect()
    }

    /// What became of each. Those that have not ended are fenced off.
    /// `unsettled`: the thread that was asked for, if what is kept of its close is not durable.
    pub(crate) fn report(
        self,
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
        let mut rows: Vec<(ThreadId, Row)> = Vec::with_capacity(self.nodes.len() + 1);
        rows.extend(self.nodes.into_iter().map(|node| {
            let row = node.ended.unwrap_or_else(|| fenced.clone());
            (node.thread, row)
        }));
        // Stable: ids mostly are in start order, and this is one pass then.
        rows.sort_by_key(|(thread, _)| *thread);
        if let Some(&(thread, _)) = unsettled
            && let Err(at) = rows.binary_search_by_key(&thread, |(thread, _)| *thread)
        {
            rows.insert(at, (thread, Row { rung: Rung::Drained, left: None, ..fenced }));
        }
        for (thread, mut row) in rows {
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

fn place(at: usize) -> Place {
    Place::try_from(at).expect("limits bound how many threads there are")
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
        // Threads are numbered from the first one on.
        let first = threads.first().map_or(1, |(n, ..)| *n);
        let place = |n: u64| n.checked_sub(first).map(|at| Place::try_from(at).unwrap());
        let threads: Vec<Closing> = threads
            .iter()
            .map(|&(n, p, busy)| Closing { thread: id(n), parent: p.and_then(place), busy })
            .collect();
        let limits = Limits::default();
        (ClosePlan::new(&threads, now, now + budget, Duration::ZERO, &limits), now)
    }

    #[test]
    fn children_stop_before_parents_and_the_last_started_first() {
        let tree =
            [(1, None, false), (2, Some(1), false), (3, Some(1), false), (4, Some(2), false)];
        let (mut plan, now) = plan(&tree, Duration::from_secs(1));
        assert_eq!(plan.leaves().collect::<Vec<_>>(), [3, 2]);
        assert_eq!(plan.thread(3), Some(id(4)));
        let mut end = |n: Place| plan.ended(n - 1, Rung::Drained, How::Completed, None, now);
        assert_eq!(end(3), None);
        assert_eq!(end(4), Some(1));
        assert_eq!(end(4), None, "an end that is told twice counts once");
        assert_eq!(end(2), Some(0));
        assert_eq!(end(1), None);
        assert!(plan.is_done());
        assert_eq!(plan.report(now, None).completed, [id(1), id(2), id(3), id(4)]);
    }

    #[test]
    fn a_thread_that_is_found_later_ends_after_those_below_it() {
        let top = plan(&[], Duration::ZERO).0.put_on_top(id(1));
        assert_eq!(top, (0, true), "nothing is below it");
        let (mut plan, now) = plan(&[(2, Some(1), false), (3, Some(1), false)], Duration::ZERO);
        assert_eq!(plan.ended(0, Rung::Drained, How::Completed, None, now), None);
        assert_eq!(plan.put_on_top(id(1)), (2, false), "one below it has not ended");
        assert!(!plan.is_done());
        assert_eq!(plan.ended(1, Rung::Drained, How::Completed, None, now), Some(2));
        assert_eq!(plan.unended(), [id(1)]);
    }

    #[test]
    fn a_thread_whose_parent_stays_is_ready_at_once() {
        let (plan, _) = plan(&[(2, Some(1), false)], Duration::from_secs(1));
        assert_eq!(plan.leaves().collect::<Vec<_>>(), [0]);
        assert!(!plan.covers_parent_of(0));
    }

    #[test]
    fn time_is_split_over_levels_with_a_running_turn_and_idle_ones_take_none() {
        let tree = [(1, None, true), (2, Some(1), false), (3, Some(2), true)];
        let (plan, now) = plan(&tree, Duration::from_millis(2_020));
        let until = |n: Place| (plan.order_for(n - 1, now, false).kill_until - now).as_millis();
        assert_eq!(until(3), 1_000, "half of the time for the lower of two running turns");
        assert_eq!(until(2), 2_000, "an idle thread above it may wait as long as there is time");
        assert_eq!(until(1), 2_000);
    }

    #[test]
    fn a_chain_of_a_thousand_idle_threads_leaves_its_leaf_all_the_time() {
        let chain: Vec<_> = (1..=1_000).map(|n| (n, (n > 1).then(|| n - 1), n == 1_000)).collect();
        let (plan, now) = plan(&chain, Duration::from_millis(2_020));
        assert_eq!((plan.order_for(999, now, false).kill_until - now).as_millis(), 2_000);
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
            let order = plan.order_for(0, now, false);
            assert!(order.stop_until <= order.kill_until, "{ms}");
            assert!(order.kill_until <= now + Duration::from_millis(ms), "{ms}");
        }
    }
}
