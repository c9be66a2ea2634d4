//! Waiting for threads to end what they do, from a turn or from the host.

use std::sync::Arc;
use std::time::Duration;

use coppicer_messages::{EventKind, Fact, ThreadEvent, ThreadId, ThreadStatus, TurnPhase, Wait};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::link::TurnWorld;
use super::pacing::PhaseGuard;
use super::{EngineError, TurnContext, TurnStopped};
use crate::slot::Slot;
use crate::stuck;

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
    /// Agents may wait for any thread. A wait that can never end, because all that could end it waits
    /// for this turn, is refused at once. Where two waits close a cycle in the same moment, both may
    /// be refused.
    ///
    /// # Errors
    /// [`WaitError::Stopped`]; [`WaitError::Cycle`], also for a wait for oneself.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the wait and nothing else.
    pub async fn wait(
        &self,
        threads: &[ThreadId],
        how: Wait,
        budget: Duration,
    ) -> Result<Waited, WaitError> {
        let until = self.world.clock.deadline(budget).instant();
        // Registered before looking, so that of two waits that close a cycle one sees the other.
        let _waiting = Waiting::begin(self, threads, how);
        if let Some(threads) = self.wait_cycle() {
            self.tell_cycle(&threads);
            return Err(WaitError::Cycle { threads });
        }
        tokio::select! {
            biased;
            waited = wait_for(&self.world, threads, how, until) => Ok(waited),
            () = self.link.cancel.cancelled() => Err(WaitError::Stopped(TurnStopped)),
        }
    }

    /// The cycle that holds up this turn, if one does.
    fn wait_cycle(&self) -> Option<Vec<ThreadId>> {
        stuck::cycle(self.thread(), self.world.limits.wait_walk_max, |thread| {
            let slot = (self.world.find)(thread);
            slot.and_then(|slot| slot.clock()).map_or_else(Vec::new, |clock| clock.waits())
        })
    }

    fn tell_cycle(&self, threads: &[ThreadId]) {
        if !self.link.is_revoked() {
            let fact = || Fact::Thread(ThreadEvent::WaitCycle { threads: threads.to_vec() });
            let (about, turn) = (Some(&**self.slot.about()), Some(&self.link.turn));
            self.world.hub.publish(about, self.epoch, turn, EventKind::Turn, fact);
        }
    }
}

/// Why a wait did not take place, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The turn was stopped.
    #[error(transparent)]
    Stopped(#[from] TurnStopped),
    /// The wait could never end.
    #[error("the wait closes a cycle of waits: {}", shown(threads))]
    Cycle {
        /// Each waits for the next, the last for the first.
        threads: Vec<ThreadId>,
    },
}

fn shown(threads: &[ThreadId]) -> String {
    let threads = threads.iter().chain(threads.first());
    threads.map(ToString::to_string).collect::<Vec<_>>().join(" -> ")
}

impl From<WaitError> for EngineError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Stopped(_) => Self::Stopped,
            WaitError::Cycle { .. } => Self::fatal(error.to_string()),
        }
    }
}

/// A registered wait of a turn, until it is dropped.
struct Waiting {
    thread: ThreadId,
    slots: Vec<Arc<Slot>>,
    _phase: PhaseGuard,
}

impl Waiting {
    fn begin(cx: &TurnContext, threads: &[ThreadId], how: Wait) -> Self {
        let find = |&thread: &ThreadId| (cx.world.find)(thread);
        let slots: Vec<Arc<Slot>> = threads.iter().filter_map(find).collect();
        let thread = cx.thread();
        for slot in &slots {
            slot.add_waiter(thread);
        }
        let phase = cx.begin(TurnPhase::AwaitChild { threads: threads.into(), how });
        Self { thread, slots, _phase: phase }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for slot in &self.slots {
            slot.remove_waiter(self.thread);
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
        Ok(slot) => slot.has_ended().then(|| (*thread, slot.with_view(|view| view.status.clone()))),
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
