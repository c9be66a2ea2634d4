//! Carrying out closes: one thread with its subtree, or everything (P5).

mod going_on;

use std::time::Duration;

use coppicer_actors::{Done, EdgeChange, EdgeStatus};
use coppicer_messages::{
    CloseError, CloseReport, CloseScope, Reply, Rung, RuntimeEvent, SpawnError, StoreError,
    SupervisorMsg, SupervisorTick, ThreadId, ThreadMsg, ThreadStatus,
};

use super::SupervisorState;
use super::close::{ClosePlan, Closing, How, Place};
use super::resume::look_up;
use super::spawn::{Step, Stored};
use super::table::{Branch, InCloses, Life};
use going_on::GoingOn;

/// Threads that are told to end at one go.
const TELL_MAX: usize = 256;

/// A close that is under way.
pub(super) struct CloseOp {
    plan: ClosePlan,
    reply: Reply<CloseReport, CloseError>,
    all: bool,
    /// The one thread that was asked for.
    target: Option<ThreadId>,
    edge: Edge,
    /// What is not durable of it, and why.
    edge_failed: Option<(ThreadId, String)>,
    /// Whether the thread goes on to belong to its tree.
    keeps_edge: bool,
    /// The thread is being looked up in the store.
    looking: Option<LookUp>,
    /// The thread, if the store could not say anything of it.
    unknown: Option<ThreadId>,
    going_on: GoingOn,
    /// Changes of places before the store was asked what goes on.
    places: u64,
    /// Whether threads are told to end: once the store has said what goes on, or took too long.
    tells: bool,
}

/// A thread that is not here is looked up.
#[derive(Debug, Clone, Copy)]
struct LookUp {
    thread: ThreadId,
    /// Changes of places before the store was asked.
    places: u64,
    /// Whether it is asked again once it has written where the thread is.
    held: bool,
}

/// What the store has yet to write of a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// Nothing.
    Settled,
    /// That the thread was explicitly closed.
    Open,
    /// The same, tried again after an error.
    OpenStill,
}

impl Edge {
    const fn of(open: bool) -> Self {
        if open { Self::Open } else { Self::Settled }
    }
}

impl SupervisorState {
    pub(super) fn on_close(
        &mut self,
        scope: CloseScope,
        drain: Duration,
        reply: Reply<CloseReport, CloseError>,
    ) {
        // A close is never refused, whatever else is under way: it makes room. Nor is one left undone
        // that is taken up too late for its caller: its threads would go on (P5 goes before P4).
        let close = self.new_op();
        let (all, branch) = match scope {
            CloseScope::All => {
                self.closing_all += 1;
                (true, Branch { closes: self.everything(), goes_on: Vec::new() })
            }
            CloseScope::Thread(thread) | CloseScope::Branch(thread) => {
                (false, self.table.branch(thread))
            }
            _ => return,
        };
        let Branch { closes: threads, goes_on } = branch;
        if all {
            // What has not come up by itself yet stays in the store.
            self.stop_recovering();
            self.find_held_back();
            self.lines.freed_all();
            // Nobody is put to sleep any more.
            self.idle.clear();
        }
        let now = self.now().instant;
        let rows = self.intend(close, &threads);
        let limits = self.shared.limits.clone();
        let plan = ClosePlan::new(&rows, now, reply.deadline().instant(), drain, &limits);
        self.publish(None, RuntimeEvent::CloseStarted { threads: threads.len() });
        self.arm_report(plan.deadline(), close);
        let mut op = CloseOp {
            plan,
            reply,
            all,
            target: None,
            edge: Edge::Settled,
            edge_failed: None,
            keeps_edge: matches!(scope, CloseScope::Branch(_)),
            looking: None,
            unknown: None,
            going_on: GoingOn::default(),
            places: 0,
            tells: false,
        };
        if let CloseScope::Thread(thread) | CloseScope::Branch(thread) = scope {
            op.target = Some(thread);
            let (here, absent): (Vec<ThreadId>, Vec<ThreadId>) =
                goes_on.into_iter().partition(|&thread| self.table.get(thread).is_some());
            op.going_on.unwritten = here.len();
            op.going_on.threads.extend(here.iter().chain(&absent));
            op.going_on.absent.extend(&absent);
            op.going_on.asking = true;
            // Before anything of it is told to end, and before the store hears of an end.
            for thread in here.into_iter().chain(absent) {
                self.detach(close, thread);
            }
            op.places = self.places.now();
            self.ask_detaching(close, thread);
            if !op.keeps_edge {
                self.closed_on_its_way(thread);
            }
            if threads.contains(&thread) {
                op.edge = Edge::of(!op.keeps_edge && self.close_edge(close, thread));
            } else {
                op.looking = Some(self.look_up_target(close, thread));
            }
        }
        let waits = op.going_on.asking;
        let ask_until = op.plan.ask_until();
        self.closes.insert(close, op);
        if waits {
            self.arm(ask_until, SupervisorTick::TellBy(close));
        } else {
            self.begin_telling(close);
        }
        self.answer_close(close);
    }

    /// Tells the leaves of a close to end, once.
    fn begin_telling(&mut self, close: u64) {
        let Some(op) = self.closes.get_mut(&close) else { return };
        if !std::mem::replace(&mut op.tells, true) {
            self.to_tell.extend(op.plan.leaves().map(|place| (close, place)));
        }
    }

    /// The store takes its time to say what goes on: the close does not wait for it.
    pub(super) fn on_tell_by(&mut self, close: u64) {
        self.begin_telling(close);
    }

    /// Every thread, parents before children, siblings in start order.
    pub(super) fn everything(&self) -> Vec<ThreadId> {
        let mut tops: Vec<(u64, ThreadId)> = self
            .table
            .entries()
            .filter(|(_, entry)| entry.parent.is_none_or(|parent| self.table.get(parent).is_none()))
            .map(|(thread, entry)| (entry.order, thread))
            .collect();
        tops.sort_unstable();
        let mut threads: Vec<ThreadId> = tops.into_iter().map(|(_, thread)| thread).collect();
        let mut at = 0;
        while let Some(&parent) = threads.get(at) {
            threads.extend(self.table.children(parent));
            at += 1;
        }
        threads
    }

    /// Intent before the signal: from here on nothing of these threads is restarted. They get their
    /// places in the plan of the close, parents before children.
    fn intend(&mut self, close: u64, threads: &[ThreadId]) -> Vec<Closing> {
        let mut rows = Vec::with_capacity(threads.len());
        for &thread in threads {
            let Some(entry) = self.table.get(thread) else { continue };
            let parent = entry.parent.and_then(|parent| self.table.get(parent));
            let parent = parent.and_then(|parent| parent.closes.place_in(close));
            let Some(entry) = self.table.get_mut(thread) else { continue };
            entry.closing = true;
            entry.closes.add(close, Place::try_from(rows.len()).unwrap_or(Place::MAX));
            rows.push(Closing { thread, parent, busy: entry.slot.is_busy() });
        }
        rows
    }

    /// Has the store write that the thread was explicitly closed, if it is a sub-agent.
    fn close_edge(&self, close: u64, thread: ThreadId) -> bool {
        if self.table.get(thread).is_some_and(|entry| entry.parent.is_none()) {
            return false;
        }
        self.put_closed(close, thread);
        true
    }

    fn put_closed(&self, close: u64, thread: ThreadId) {
        let uplink = self.shared.uplink.clone();
        let done = Done::new(move |result| {
            uplink.send(SupervisorMsg::EdgeClosed { close, result });
        });
        self.shared.store.put_edge(thread, EdgeChange::Status(EdgeStatus::Closed), done);
    }

    pub(super) fn on_edge_closed(&mut self, close: u64, result: Result<(), StoreError>) {
        let Some(op) = self.closes.get_mut(&close) else { return };
        if let (Err(error), Some(thread)) = (result, op.target) {
            tracing::error!(%error, %thread, "the store could not write that a thread was closed");
            if op.edge == Edge::Open {
                op.edge = Edge::OpenStill;
                return self.put_closed(close, thread);
            }
            op.edge_failed = Some((thread, format!("its edge is still open: {error}")));
        }
        op.edge = Edge::Settled;
        self.answer_close(close);
    }

    fn look_up_target(&self, close: u64, thread: ThreadId) -> LookUp {
        let (store, depth_max) = (self.shared.store.clone(), self.shared.limits.depth_max);
        self.outside(
            close,
            async move { Step::CloseTarget(look_up(&*store, thread, depth_max).await) },
        );
        LookUp { thread, places: self.places.now(), held: false }
    }

    /// A thread that was not here was looked up: closing what is closed is a success, and one that
    /// is not comes up to write its end.
    pub(super) fn on_close_target(&mut self, close: u64, result: Result<Stored, SpawnError>) {
        let Some(op) = self.closes.get_mut(&close) else { return };
        let Some(LookUp { thread, places, .. }) = op.looking else { return };
        // What it said may be old.
        let is_old = match &result {
            Ok(stored) => self.places.changed_above(places, thread, &stored.lineage),
            Err(SpawnError::Damaged { .. }) => self.places.changed(places),
            Err(_) => false,
        };
        let between = |stored: &Stored| self.between_places(thread, &stored.lineage).is_some();
        let held = !is_old && result.as_ref().is_ok_and(between);
        let again = is_old.then(|| self.look_up_target(close, thread));
        let Some(op) = self.closes.get_mut(&close) else { return };
        op.looking = again.or_else(|| held.then_some(LookUp { thread, places, held }));
        if op.looking.is_some() {
            return;
        }
        let keeps_edge = op.keeps_edge;
        match result {
            Ok(stored) => {
                let is_child = stored.thread.parent.is_some();
                let edge_open = !keeps_edge && is_child && self.close_edge(close, thread);
                if let Some(op) = self.closes.get_mut(&close) {
                    op.edge = Edge::of(edge_open);
                }
                self.end_stored(close, &stored);
                self.answer_close(close);
            }
            Err(SpawnError::NotFound { .. }) if !op.plan.covers_any() => {
                if let Some(mut op) = self.end_close(close) {
                    self.write_absent(close, std::mem::take(&mut op.going_on.absent));
                    op.reply.tell(Err(CloseError::NotFound { thread }));
                    self.stop_when_done();
                }
            }
            // There is nothing that could be ended of one that cannot be read. What is below it ends all the same.
            Err(SpawnError::Damaged { .. } | SpawnError::NotFound { .. }) => {
                self.answer_close(close);
            }
            Err(error) => {
                op.unknown = Some(thread);
                op.edge_failed = Some((thread, format!("it could not be looked up: {error}")));
                self.answer_close(close);
            }
        }
    }

    /// Looks up again what could not be told from its place.
    pub(super) fn look_up_held_targets(&mut self) {
        let held = |op: &CloseOp| op.looking.filter(|it| it.held).map(|it| it.thread);
        let held: Vec<(u64, ThreadId)> =
            self.closes.iter().filter_map(|(&close, op)| Some((close, held(op)?))).collect();
        for (close, thread) in held {
            let looking = Some(self.look_up_target(close, thread));
            if let Some(op) = self.closes.get_mut(&close) {
                op.looking = looking;
            }
        }
    }

    /// Has a thread of the store end after what is below it, unless it is closed.
    fn end_stored(&mut self, close: u64, stored: &Stored) {
        let thread = stored.thread.id;
        if matches!(stored.thread.status, ThreadStatus::Shutdown | ThreadStatus::Damaged(_)) {
            return;
        }
        if self.table.get(thread).is_none() {
            self.seat(stored, Life::Dormant);
        }
        let Some(op) = self.closes.get_mut(&close) else { return };
        let (place, ready) = op.plan.put_on_top(thread);
        // Intent before the signal.
        if let Some(entry) = self.table.get_mut(thread) {
            entry.closing = true;
            entry.closes.add(close, place);
        }
        if ready && op.tells {
            self.to_tell.push_back((close, place));
        }
    }

    /// Goes on with closes after each message: reports what is due even if this actor is behind with
    /// its messages, tells those whose children have ended, and fences off what was too late.
    pub(super) fn go_on_closing(&mut self) {
        for _ in 0..TELL_MAX {
            let Some((close, place)) = self.to_tell.pop_front() else { break };
            self.report_due();
            self.tell(close, place);
        }
        self.report_due();
        self.go_on_fencing();
    }

    /// Comes back for the others after those that were just woken: so this actor is never far behind
    /// them.
    pub(super) fn tell_on(&mut self) {
        let rest = !self.to_tell.is_empty() || !self.fences.is_empty();
        if rest && !std::mem::replace(&mut self.telling_on, true) {
            let tick = SupervisorTick::TellOn;
            self.shared.uplink.send(SupervisorMsg::Tick { tick });
        }
    }

    /// Reports all closes that are due. Only what they say is made here, so whoever has much to do may
    /// ask for it in between.
    pub(super) fn report_due(&mut self) {
        if self.closes.is_empty() {
            return;
        }
        let now = self.now().instant;
        while let Some(close) = self.times.next_report(now) {
            self.on_close_due(close);
        }
    }

    /// A close is under way no more: neither does anything wait for its times.
    fn end_close(&mut self, close: u64) -> Option<CloseOp> {
        let op = self.closes.remove(&close)?;
        self.times.forget_report(op.plan.deadline(), close);
        self.times.forget(op.plan.ask_until(), SupervisorTick::TellBy(close));
        Some(op)
    }

    /// Tells a thread of a plan to end; its children have.
    fn tell(&mut self, close: u64, place: Place) {
        let now = self.now().instant;
        let Some(op) = self.closes.get(&close) else { return };
        let Some(thread) = op.plan.thread(place) else { return };
        if self.tell_waits(close, place, thread) {
            return;
        }
        let Some(op) = self.closes.get(&close) else { return };
        let tell_parent = !op.all && !op.plan.covers_parent_of(place);
        let order = op.plan.order_for(place, now, tell_parent);
        let Some(entry) = self.table.get_mut(thread) else {
            let gone = InCloses::One(close, place);
            return self.close_ended(&gone, Rung::Drained, How::Completed, None);
        };
        entry.told = true;
        entry.slot.order(ThreadMsg::Close { order });
        match entry.life() {
            Life::Live => {}
            Life::Coming { op } => {
                // A new one is taken back by its next step; one that was there finds its order.
                if let Some(spawning) = self.ops.get_mut(&op).filter(|op| op.request.is_some()) {
                    spawning.cancelled = true;
                }
            }
            Life::Dormant
            | Life::Backoff { .. }
            | Life::AwaitParent
            | Life::AwaitSibling
            | Life::AwaitStore
            | Life::Lost => self.end_if_told(thread),
        }
    }

    /// A thread has ended: whatever closes it goes on.
    pub(super) fn close_ended(
        &mut self,
        closes: &InCloses,
        rung: Rung,
        how: How,
        left: Option<&str>,
    ) {
        if *closes == InCloses::None {
            return;
        }
        let now = self.now().instant;
        for (close, place) in closes.iter() {
            let Some(op) = self.closes.get_mut(&close) else { continue };
            let next = op.plan.ended(place, rung, how, left.map(str::to_owned), now);
            self.to_tell.extend(next.map(|parent| (close, parent)));
            self.answer_close(close);
        }
    }

    /// The deadline: what has not ended is reported, and stands in line to be killed and fenced off
    /// (P5). Killing thousands takes its time, which other reports do not have.
    pub(super) fn on_close_due(&mut self, close: u64) {
        let Some(mut op) = self.end_close(close) else { return };
        let absent = std::mem::take(&mut op.going_on.absent);
        let unended = op.plan.unended();
        if let Some(LookUp { thread, .. }) = op.looking {
            // Nobody knows whether there is one. What is below it has been told that it closes.
            op.unknown = Some(thread);
            let left = "it could not be looked up by the deadline".to_owned();
            op.edge_failed = Some((thread, left));
        }
        let (reply, report) = self.report(op);
        reply.tell(Ok(report));
        self.write_absent(close, absent);
        self.fences.add(Some(close), unended);
        self.stop_when_done();
    }

    fn answer_close(&mut self, close: u64) {
        let done = self.closes.get(&close).is_some_and(|op| {
            let settled = op.edge == Edge::Settled && op.looking.is_none();
            op.plan.is_done() && settled && op.going_on.is_settled()
        });
        if !done {
            return;
        }
        if let Some(op) = self.end_close(close) {
            let (reply, report) = self.report(op);
            self.stop_when_done();
            reply.tell(Ok(report));
        }
    }

    fn report(&mut self, mut op: CloseOp) -> (Reply<CloseReport, CloseError>, CloseReport) {
        if op.all {
            self.closing_all -= 1;
        }
        if let (true, Some(thread)) = (op.edge != Edge::Settled, op.target) {
            let left = "whether its edge is closed was not known by the deadline".to_owned();
            op.edge_failed = Some((thread, left));
        }
        let going_on = std::mem::take(&mut op.going_on);
        if let (Some(left), Some(thread)) = (going_on.left(), op.target) {
            let row = op.edge_failed.get_or_insert_with(|| (thread, String::new()));
            row.1 = if row.1.is_empty() { left } else { format!("{}; {left}", row.1) };
        }
        let mut report = op.plan.report(self.now().instant, op.edge_failed.as_ref());
        report.unknown.extend(op.unknown);
        report.detached = going_on.threads.into_iter().collect();
        let (completed, timed_out) = (report.completed.len(), report.timed_out.len());
        self.publish(None, RuntimeEvent::CloseEnded { completed, timed_out });
        (op.reply, report)
    }
}
