//! Carrying out closes: one thread with its subtree, or everything (P5).

use std::time::Duration;

use coppicer_actors::{Done, EdgeChange, EdgeStatus, StoredThread};
use coppicer_messages::{
    CloseError, CloseReport, CloseScope, LimitReached, Phase, Reply, Rung, RuntimeEvent,
    StoreError, SupervisorMsg, SupervisorTick, ThreadId, ThreadMsg, ThreadStatus,
};

use super::SupervisorState;
use super::close::{ClosePlan, Closing, How};
use super::spawn::Step;
use super::table::Life;

/// A close that is under way.
pub(super) struct CloseOp {
    plan: ClosePlan,
    reply: Reply<CloseReport, CloseError>,
    all: bool,
    /// Whether the store has yet to write that the thread was explicitly closed.
    edge_open: bool,
    /// Whether the thread is being looked up in the store.
    looking: Option<ThreadId>,
}

impl SupervisorState {
    pub(super) fn on_close(
        &mut self,
        scope: CloseScope,
        drain: Duration,
        reply: Reply<CloseReport, CloseError>,
    ) {
        let max = self.shared.limits.supervisor_requests_max;
        // Closing everything is never refused: the runtime ends behind it.
        if scope != CloseScope::All && self.ops.len() + self.closes.len() >= max {
            return reply.tell(Err(CloseError::Limit(LimitReached {
                limit: "supervisor_requests_max",
                value: max as u64,
                holders: Vec::new(),
                retry_after: Some(Duration::from_millis(100)),
                advice: "ask again when some requests are answered",
            })));
        }
        let close = self.new_op();
        let (all, threads) = match scope {
            CloseScope::All => {
                self.closing_all += 1;
                (true, self.everything())
            }
            CloseScope::Thread(thread) => (false, self.table.subtree(thread)),
            _ => return,
        };
        let now = self.now().instant;
        let rows: Vec<Closing> =
            threads.iter().filter_map(|&thread| self.closing_row(thread)).collect();
        let limits = self.shared.limits.clone();
        let plan = ClosePlan::new(&rows, now, reply.deadline().instant(), drain, &limits);
        // Intent before the signal: from here on nothing of it is restarted.
        for &thread in &threads {
            if let Some(entry) = self.table.get_mut(thread) {
                entry.closing = true;
            }
        }
        self.publish(None, RuntimeEvent::CloseStarted { threads: threads.len() });
        self.arm(plan.deadline(), SupervisorTick::CloseDue(close));
        let mut op = CloseOp { plan, reply, all, edge_open: false, looking: None };
        if let CloseScope::Thread(thread) = scope {
            if threads.contains(&thread) {
                op.edge_open = self.close_edge(close, thread);
            } else {
                op.looking = Some(thread);
                let store = self.shared.store.clone();
                self.outside(close, async move { Step::CloseTarget(store.thread(thread).await) });
            }
        }
        let leaves = op.plan.leaves();
        self.closes.insert(close, op);
        self.to_tell.extend(leaves.into_iter().map(|thread| (close, thread)));
        self.answer_close(close);
    }

    /// Every thread, parents before children, siblings in start order.
    pub(super) fn everything(&self) -> Vec<ThreadId> {
        let mut tops: Vec<(u64, ThreadId)> = self
            .table
            .ids()
            .filter_map(|thread| self.table.get(thread).map(|entry| (thread, entry)))
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

    fn closing_row(&self, thread: ThreadId) -> Option<Closing> {
        let entry = self.table.get(thread)?;
        Some(Closing { thread, parent: entry.parent, busy: entry.slot.is_busy() })
    }

    /// Has the store write that the thread was explicitly closed, if it is a sub-agent.
    fn close_edge(&self, close: u64, thread: ThreadId) -> bool {
        if self.table.get(thread).is_some_and(|entry| entry.parent.is_none()) {
            return false;
        }
        let uplink = self.shared.uplink.clone();
        let done = Done::new(move |result| {
            uplink.send(SupervisorMsg::EdgeClosed { close, result });
        });
        self.shared.store.put_edge(thread, EdgeChange::Status(EdgeStatus::Closed), done);
        true
    }

    pub(super) fn on_edge_closed(&mut self, close: u64, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::error!(%error, "the store could not write that a thread was closed");
        }
        if let Some(op) = self.closes.get_mut(&close) {
            op.edge_open = false;
            self.answer_close(close);
        }
    }

    /// A thread that is not here was looked up: closing what is closed is a success.
    pub(super) fn on_close_target(&mut self, close: u64, result: Result<StoredThread, StoreError>) {
        let Some(op) = self.closes.get_mut(&close) else { return };
        let Some(thread) = op.looking.take() else { return };
        match result {
            Ok(stored) => {
                let edge_open = stored.parent.is_some() && self.close_edge(close, thread);
                if let Some(op) = self.closes.get_mut(&close) {
                    op.edge_open = edge_open;
                }
                self.answer_close(close);
            }
            Err(_) => {
                if let Some(op) = self.closes.remove(&close) {
                    op.reply.tell(Err(CloseError::NotFound { thread }));
                }
            }
        }
    }

    /// Goes on with closes after each message: tells those whose children have ended, and reports
    /// what is due even if this actor is behind with its messages.
    pub(super) fn go_on_closing(&mut self) {
        while let Some((close, thread)) = self.to_tell.pop_front() {
            self.report_due();
            self.tell(close, thread);
        }
        self.report_due();
    }

    fn report_due(&mut self) {
        if self.closes.is_empty() {
            return;
        }
        let now = self.now().instant;
        let due = self.closes.iter().find(|(_, op)| now >= op.plan.deadline());
        if let Some((&close, _)) = due {
            self.on_close_due(close);
        }
    }

    /// Tells a thread of a plan to end; its children have.
    fn tell(&mut self, close: u64, thread: ThreadId) {
        let now = self.now().instant;
        let Some(op) = self.closes.get(&close) else { return };
        let tell_parent = !op.all && !op.plan.covers_parent_of(thread);
        let order = op.plan.order_for(thread, now, tell_parent);
        let Some(entry) = self.table.get_mut(thread) else {
            return self.close_ended(thread, Rung::Drained, How::Completed, None);
        };
        match entry.life {
            Life::Live => entry.slot.order(ThreadMsg::Close { order }),
            Life::Coming { op } => {
                // Its next step takes it back.
                if let Some(spawning) = self.ops.get_mut(&op) {
                    spawning.cancelled = true;
                }
            }
            Life::Dormant => {
                let slot = entry.slot.clone();
                self.show(&slot, ThreadStatus::Shutdown, Phase::Stopped);
                self.finish(thread, Rung::Drained, How::Completed, None);
            }
            Life::Backoff { .. } | Life::AwaitParent | Life::Lost => {
                let left = Some("it had crashed; what it had accepted waits in the store");
                self.finish(thread, Rung::Drained, How::SubmitFailed, left);
            }
        }
    }

    /// A thread has ended: whatever closes it goes on.
    pub(super) fn close_ended(
        &mut self,
        thread: ThreadId,
        rung: Rung,
        how: How,
        left: Option<&str>,
    ) {
        let now = self.now().instant;
        let awaited: Vec<u64> = self
            .closes
            .iter()
            .filter(|(_, op)| op.plan.awaits(thread))
            .map(|(&close, _)| close)
            .collect();
        for close in awaited {
            let Some(op) = self.closes.get_mut(&close) else { continue };
            let next = op.plan.ended(thread, rung, how, left.map(str::to_owned), now);
            self.to_tell.extend(next.map(|parent| (close, parent)));
            self.answer_close(close);
        }
    }

    /// The deadline: what has not ended is reported, then killed and fenced off (P5). The report
    /// goes first: killing thousands takes its time.
    pub(super) fn on_close_due(&mut self, close: u64) {
        let Some(op) = self.closes.remove(&close) else { return };
        let unended = op.plan.unended();
        let (reply, report) = self.report(op);
        reply.tell(Ok(report));
        for thread in unended {
            self.fence_off(thread);
        }
        self.stop_when_done();
    }

    /// Ends a thread without a word, and lets go of all it held.
    pub(super) fn fence_off(&mut self, thread: ThreadId) {
        if let Some(entry) = self.table.get_mut(thread) {
            entry.closing = true;
            if let Life::Coming { op } = entry.life
                && let Some(spawning) = self.ops.get_mut(&op)
            {
                spawning.cancelled = true;
            }
            if let Some(incarnation) = &entry.incarnation {
                incarnation.kill();
            }
        }
        let left = Some("its end was not durable by the deadline");
        self.finish(thread, Rung::Fenced, How::TimedOut, left);
    }

    fn answer_close(&mut self, close: u64) {
        let done = self
            .closes
            .get(&close)
            .is_some_and(|op| op.plan.is_done() && !op.edge_open && op.looking.is_none());
        if !done {
            return;
        }
        if let Some(op) = self.closes.remove(&close) {
            let (reply, report) = self.report(op);
            self.stop_when_done();
            reply.tell(Ok(report));
        }
    }

    fn report(&mut self, op: CloseOp) -> (Reply<CloseReport, CloseError>, CloseReport) {
        if op.all {
            self.closing_all -= 1;
        }
        let report = op.plan.report(self.now().instant);
        let (completed, timed_out) = (report.completed.len(), report.timed_out.len());
        self.publish(None, RuntimeEvent::CloseEnded { completed, timed_out });
        (op.reply, report)
    }
}
