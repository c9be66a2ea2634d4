//! Waiting for threads to end what they do, from a turn or from the host.

use std::sync::Arc;
use std::time::Duration;

use coppicer_messages::{ThreadId, ThreadStatus};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::context::{TurnContext, TurnStopped};
use super::link::TurnWorld;
use crate::slot::Slot;

/// What a wait for threads waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The first of them to end what it does.
    Any,
    /// All of them.
    All,
}

/// What became of a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// Those that had ended what they did, with their status, in the order in which they were asked
    /// for. A thread that is not loaded counts.
    pub ended: Vec<(ThreadId, ThreadStatus)>,
    /// Whether the deadline came first.
    pub timed_out: bool,
}

/// A thread that is waited for: its slot, or what it counts as without one.
type WaitedFor = (ThreadId, Result<Arc<Slot>, ThreadStatus>);

impl TurnContext {
    /// Waits until threads have ended what they do, or until `budget` is over. Event-driven: a
    /// thread that had ended before counts at once, and so does one that is not loaded. An
    /// interrupted thread has ended what it did; one that crashed and comes back has not.
    ///
    /// # Errors
    /// The turn was stopped.
    pub async fn wait(
        &self,
        threads: &[ThreadId],
        how: Wait,
        budget: Duration,
    ) -> Result<Waited, TurnStopped> {
        let until = self.world.clock.deadline(budget).instant();
        tokio::select! {
            biased;
            waited = wait_for(&self.world, threads, how, until) => Ok(waited),
            () = self.link.cancel.cancelled() => Err(TurnStopped),
        }
    }
}

/// Waits for threads until an instant. Dropping the future leaves nothing behind.
pub async fn wait_for(
    world: &TurnWorld,
    threads: &[ThreadId],
    how: Wait,
    until: Instant,
) -> Waited {
    let mut slots: Vec<WaitedFor> = Vec::with_capacity(threads.len());
    for &thread in threads {
        let slot = match (world.find)(thread) {
            Some(slot) => Ok(slot),
            None => Err(stored_status(world, thread, until).await),
        };
        slots.push((thread, slot));
    }
    tokio::select! {
        biased;
        ended = enough_ended(&slots, how) => Waited { ended, timed_out: false },
        () = tokio::time::sleep_until(until) => Waited { ended: ended(&slots), timed_out: true },
    }
}

/// Done when enough of them have ended.
async fn enough_ended(slots: &[WaitedFor], how: Wait) -> Vec<(ThreadId, ThreadStatus)> {
    loop {
        let changes: FuturesUnordered<_> =
            slots.iter().filter_map(|(_, slot)| slot.as_ref().ok()).map(|s| s.changed()).collect();
        let mut changes = Box::pin(changes);
        // Registered before looking, so that no change falls in between.
        let _registered = futures::poll!(changes.next());
        let done = ended(slots);
        let enough = match how {
            Wait::Any => !done.is_empty() || slots.is_empty(),
            Wait::All => done.len() == slots.len(),
        };
        if enough {
            return done;
        }
        changes.next().await;
    }
}

fn ended(slots: &[WaitedFor]) -> Vec<(ThreadId, ThreadStatus)> {
    let status_of = |(thread, slot): &WaitedFor| match slot {
        Err(status) => Some((*thread, status.clone())),
        Ok(slot) => {
            let waiting = slot.depth() > 0;
            slot.with_view(|view| {
                let idle = !waiting && view.status.is_final() && view.turn.is_none();
                idle.then(|| (*thread, view.status.clone()))
            })
        }
    };
    slots.iter().filter_map(status_of).collect()
}

/// What a thread without a slot counts as: one that sleeps has ended what it did; what is closed is
/// not found.
async fn stored_status(world: &TurnWorld, thread: ThreadId, until: Instant) -> ThreadStatus {
    match tokio::time::timeout_at(until, world.store.thread(thread)).await {
        Ok(Ok(stored)) if stored.status.is_final() => match stored.status {
            ThreadStatus::Shutdown => ThreadStatus::NotFound,
            status => status,
        },
        Ok(_) | Err(_) => ThreadStatus::NotFound,
    }
}
