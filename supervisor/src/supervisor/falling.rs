//! What a crash means for those around it: siblings that go down with it, a parent whose affair it
//! becomes, and one that closes with its significant children.

use std::time::Duration;

use coppicer_actors::Door;
use coppicer_actors::{EdgeStatus, ThreadStore};
use coppicer_messages::{
    AutoShutdown, CloseScope, Epoch, Phase, Reply, SpawnOrigin, StoreError, Strategy, ThreadId,
    ThreadMsg, ThreadStatus,
};

use super::SupervisorState;
use super::siblings::{Sibling, falls};
use super::spawn::{Kind, Step};
use super::table::{Entry, Life};

impl SupervisorState {
    /// Restarts a live thread on purpose: its actor is killed, with all below it, and comes back
    /// from history as after a crash of this cause, by its policy and at the cost of its budget.
    /// False if it has no actor or closes: then nothing is done.
    pub(super) fn restart(&mut self, thread: ThreadId, cause: String) -> bool {
        let Some(entry) = self.table.get_mut(thread).filter(|entry| !entry.closing) else {
            return false;
        };
        let Some(incarnation) = &entry.incarnation else { return false };
        incarnation.kill();
        entry.trouble.crash_as = Some(cause);
        true
    }

    /// A turn of a thread crashed. `spent`: its restarts are, and it is its parent's affair.
    pub(super) fn on_turn_crashed(&mut self, thread: ThreadId, epoch: Epoch, spent: Option<&str>) {
        let current = |entry: &&Entry| entry.epoch == epoch && !entry.closing;
        let Some(entry) = self.table.get(thread).filter(current) else { return };
        let slot = entry.slot.clone();
        match spent {
            Some(cause) if !self.restart_parent(thread, cause) => slot.tell(ThreadMsg::SitParked),
            Some(_) => {}
            None => self.take_down_siblings(thread, false),
        }
    }

    /// A thread whose restarts are spent makes it its parent's affair; without one, it is parked.
    /// False if it has to be parked.
    pub(super) fn escalate(&mut self, thread: ThreadId, cause: &str) -> bool {
        let Some(entry) = self.table.get_mut(thread) else { return true };
        entry.trouble.tracker.reset();
        let slot = entry.slot.clone();
        let comes = self.parent_comes(thread);
        if !comes && !self.restart_parent(thread, cause) {
            return false;
        }
        self.table.set_life(thread, Life::AwaitParent);
        self.show(&slot, ThreadStatus::Crashed(cause.to_owned()), Phase::Backoff);
        self.siblings_settled(thread);
        true
    }

    fn restart_parent(&mut self, thread: ThreadId, cause: &str) -> bool {
        let parent = self.table.get(thread).and_then(|entry| entry.parent);
        parent.is_some_and(|parent| {
            self.restart(
                parent,
                format!("the restarts of its sub-agent {thread} are spent: {cause}"),
            )
        })
    }

    // Siblings.

    /// Has the siblings that the strategy of their parent names go down with a child that crashed.
    /// `gone`: whether it has no actor any more, and they wait until it is back.
    pub(super) fn take_down_siblings(&mut self, crashed: ThreadId, gone: bool) {
        let Some(parent) = self.table.get(crashed).and_then(|entry| entry.parent) else { return };
        let strategy = self.table.get(parent).map(|entry| entry.rules.children.strategy);
        let strategy = strategy.unwrap_or(Strategy::OneForOne);
        let falling = if strategy == Strategy::OneForOne {
            Vec::new()
        } else {
            let sibling = |thread| {
                let may_fall = self.table.get(thread).is_some_and(|entry| {
                    entry.life() == Life::Live
                        && entry.incarnation.is_some()
                        && !entry.closing
                        && !entry.parking
                        && entry.slot.door() != Door::Parked
                });
                Sibling { thread, may_fall }
            };
            falls(strategy, crashed, self.table.children(parent).map(sibling))
        };
        self.siblings.begin(parent, gone.then_some(crashed), &falling);
        for thread in falling {
            if let Some(incarnation) =
                self.table.get(thread).and_then(|entry| entry.incarnation.as_ref())
            {
                incarnation.kill();
            }
        }
    }

    /// A thread that was killed went down with a sibling, and comes back after it.
    pub(super) fn await_siblings(&mut self, thread: ThreadId) {
        let Some(entry) = self.table.get(thread) else { return };
        let (slot, parent) = (entry.slot.clone(), entry.parent);
        self.table.set_life(thread, Life::AwaitSibling);
        let cause = "a sibling crashed".to_owned();
        self.show(&slot, ThreadStatus::Crashed(cause), Phase::Backoff);
        if let Some(parent) = parent {
            let back = self.siblings.come_back(parent);
            self.come_back(back);
        }
    }

    /// A thread is back, or over, or does not come back by itself: its siblings need not wait for it.
    pub(super) fn siblings_settled(&mut self, thread: ThreadId) {
        let back = self.siblings.settled(thread);
        self.come_back(back);
    }

    fn come_back(&mut self, threads: Vec<ThreadId>) {
        for thread in threads {
            let waits = |entry: &Entry| entry.life() == Life::AwaitSibling && !entry.closing;
            if !self.table.get(thread).is_some_and(waits) || self.ended {
                continue;
            }
            if self.parent_comes(thread) {
                self.table.set_life(thread, Life::AwaitParent);
            } else {
                self.load(thread, SpawnOrigin::Resume, Vec::new(), Kind::Restart);
                self.report_due(); // there may be thousands
            }
        }
    }

    // Ends that a thread brings about itself.

    /// A thread asks for its own end.
    pub(super) fn on_close_itself(&mut self, thread: ThreadId, epoch: Epoch) {
        if self.table.get(thread).is_some_and(|entry| entry.epoch == epoch) {
            self.close_itself(thread);
        }
    }

    /// Closes a thread with all below it, as its own doing.
    pub(super) fn close_itself(&mut self, thread: ThreadId) {
        let Some(entry) = self.table.get_mut(thread).filter(|entry| !entry.closing) else { return };
        entry.ends_itself = true;
        let deadline = self.shared.clock.deadline(self.shared.limits.call_timeout);
        let (reply, _nobody_waits) = Reply::channel(deadline, None);
        self.on_close(CloseScope::Thread(thread), Duration::ZERO, reply);
    }

    /// A significant child of `parent` has ended by itself.
    pub(super) fn significant_ended(&mut self, parent: ThreadId, child: ThreadId) {
        let Some(entry) = self.table.get(parent).filter(|entry| !entry.closing) else { return };
        match entry.rules.children.auto_shutdown {
            AutoShutdown::Never => {}
            AutoShutdown::Any => self.close_itself(parent),
            AutoShutdown::All => {
                // Some may sleep in the store alone.
                let (op, store) = (self.new_op(), self.shared.store.clone());
                self.outside(op, async move {
                    let last = is_last(&*store, parent, child).await;
                    Step::LastSignificant { parent, last }
                });
            }
        }
    }

    pub(super) fn on_last_significant(&mut self, parent: ThreadId, last: Result<bool, StoreError>) {
        match last {
            Ok(true) => self.close_itself(parent),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, %parent, "whether a thread is to close is not known");
            }
        }
    }
}

/// Whether `child` was the last significant child of `parent` that was not over.
async fn is_last(
    store: &dyn ThreadStore,
    parent: ThreadId,
    child: ThreadId,
) -> Result<bool, StoreError> {
    for other in store.children(parent, Some(EdgeStatus::Open)).await? {
        let stored = store.thread(other).await?;
        let over = stored.status == ThreadStatus::Shutdown || other == child;
        if stored.config.significant && !over {
            return Ok(false);
        }
    }
    Ok(true)
}
