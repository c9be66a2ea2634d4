//! Waiting for threads to end what they do, from a turn or from the host.

use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use coppicer_messages::{
    Deadline, EventKind, Fact, SpawnError, StoreError, ThreadEvent, ThreadId, ThreadStatus,
    TurnPhase, Wait,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;

use super::link::TurnWorld;
use super::pacing::PhaseGuard;
use super::{EngineError, TurnContext, TurnStopped};
use crate::handle::{ThreadHandle as Held, slot_or_wake};
use crate::slot::{Slot, Standing};
use crate::stuck;

/// What became of a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// Those that had ended what they did, with their status, in the order in which they were asked
    /// for. `NotFound` is one that is closed, or was never there.
    pub ended: Vec<(ThreadId, ThreadStatus)>,
    /// Whether the deadline came first.
    pub timed_out: bool,
}

impl TurnContext {
    /// Waits until threads have ended what they do, or until `budget` is over. Event-driven: a
    /// thread that had ended before counts at once. An interrupted thread has ended what it did; one
    /// whose actor crashed and comes back has not, and neither has one with mail that starts a turn.
    /// One that waits for more of its budget has.
    ///
    /// A thread that sleeps counts with what it did last, and is not woken. What an earlier host left
    /// unfinished, or a thread that did nothing yet, is brought up and waited for. A store that cannot
    /// say how a thread stands is asked again each
    /// [`Limits::store_retry`](coppicer_messages::Limits::store_retry).
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
        let deadline = self.world.clock.deadline(budget);
        // Registered before looking, so that of two waits that close a cycle one sees the other.
        let _waiting = Waiting::begin(self, threads, how);
        if let Some(threads) = self.wait_cycle() {
            self.tell_cycle(&threads);
            return Err(WaitError::Cycle { threads });
        }
        tokio::select! {
            biased;
            waited = wait_for(&self.world, threads, how, deadline) => Ok(waited),
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
    /// By handles, which tell when they let go: a thread that sleeps may leave memory then.
    slots: Vec<Held>,
    _phase: PhaseGuard,
}

impl Waiting {
    fn begin(cx: &TurnContext, threads: &[ThreadId], how: Wait) -> Self {
        let held = |&thread: &ThreadId| Some(Held::new((cx.world.find)(thread)?, cx.world.clone()));
        let slots: Vec<Held> = threads.iter().filter_map(held).collect();
        let thread = cx.thread();
        for held in &slots {
            held.slot().add_waiter(thread);
        }
        let phase = cx.begin(TurnPhase::AwaitChild { threads: threads.into(), how });
        Self { thread, slots, _phase: phase }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for held in &self.slots {
            held.slot().remove_waiter(self.thread);
        }
    }
}

/// Waits for threads until a deadline. Dropping the future leaves nothing behind.
pub async fn wait_for(
    world: &Arc<TurnWorld>,
    threads: &[ThreadId],
    how: Wait,
    deadline: Deadline,
) -> Waited {
    let board = Board::of(threads, how);
    // Side by side: who is asked for in the store holds up nobody who is here.
    let follow = |(at, &thread)| follow(world, thread, at, &board, deadline);
    let mut followed: FuturesUnordered<_> = threads.iter().enumerate().map(follow).collect();
    let enough = std::future::poll_fn(|cx| {
        // None of them comes to an end: each goes on to tell the board of changes.
        let _: Poll<Option<()>> = followed.poll_next_unpin(cx);
        if board.has_enough() { Poll::Ready(()) } else { Poll::Pending }
    });
    let timed_out = tokio::select! {
        biased;
        () = enough => false,
        () = tokio::time::sleep_until(deadline.instant()) => true,
    };
    drop(followed);
    Waited { ended: board.ended(), timed_out }
}

/// Which of those who are waited for have ended what they do. Told by those who follow them: a change
/// of one is a look at that one.
struct Board {
    how: Wait,
    rows: Mutex<Rows>,
}

struct Rows {
    rows: Vec<Row>,
    /// How many have ended.
    ended: usize,
}

struct Row {
    thread: ThreadId,
    /// The slot by which it is followed; none while that is the store. Held by who follows it.
    slot: Weak<Slot>,
    ended: Option<ThreadStatus>,
}

impl Rows {
    fn set(&mut self, at: usize, status: Option<ThreadStatus>) {
        let Some(row) = self.rows.get_mut(at) else { return };
        let was = std::mem::replace(&mut row.ended, status);
        self.ended = self.ended + usize::from(row.ended.is_some()) - usize::from(was.is_some());
    }
}

impl Board {
    fn of(threads: &[ThreadId], how: Wait) -> Self {
        let row = |&thread| Row { thread, slot: Weak::new(), ended: None };
        let rows = threads.iter().map(row).collect();
        Self { how, rows: Mutex::new(Rows { rows, ended: 0 }) }
    }

    fn tell(&self, at: usize, status: Option<ThreadStatus>) {
        self.rows.lock().set(at, status);
    }

    /// From now on it is its slot that tells.
    fn has_slot(&self, at: usize, slot: &Arc<Slot>) {
        if let Some(row) = self.rows.lock().rows.get_mut(at) {
            row.slot = Arc::downgrade(slot);
        }
    }

    fn has_enough(&self) -> bool {
        let mut rows = self.rows.lock();
        if !self.suffices(&rows) {
            return false;
        }
        // What came to the inbox of one that had ended changes nothing that is shown until it is taken up.
        let again = |(at, row): (usize, &Row)| {
            let works = || row.slot.upgrade().is_some_and(|slot| !slot.has_ended());
            (row.ended.is_some() && works()).then_some(at)
        };
        let again: Vec<usize> = rows.rows.iter().enumerate().filter_map(again).collect();
        for at in again {
            rows.set(at, None);
        }
        self.suffices(&rows)
    }

    fn suffices(&self, rows: &Rows) -> bool {
        match self.how {
            Wait::Any => rows.ended > 0 || rows.rows.is_empty(),
            Wait::All => rows.ended == rows.rows.len(),
        }
    }

    fn ended(&self) -> Vec<(ThreadId, ThreadStatus)> {
        let rows = std::mem::take(&mut self.rows.lock().rows);
        rows.into_iter().filter_map(|row| Some((row.thread, row.ended?))).collect()
    }
}

/// Follows one thread, and tells the board how it stands, until it is dropped.
async fn follow(
    world: &Arc<TurnWorld>,
    thread: ThreadId,
    at: usize,
    board: &Board,
    deadline: Deadline,
) {
    let slot = loop {
        let held = match (world.find)(thread) {
            Some(slot) => Ok(slot),
            None => match stored(world, thread).await {
                Stored::Ended(status) => {
                    board.tell(at, Some(status));
                    return std::future::pending().await;
                }
                // What it left is gone on with, also if nobody else asks for it.
                Stored::Unfinished => slot_or_wake(world, thread, deadline).await,
                Stored::Unknown => Err(SpawnError::NoAnswer),
            },
        };
        match held {
            Ok(slot) => break slot,
            Err(
                SpawnError::NotFound { .. } | SpawnError::Closed { .. } | SpawnError::RuntimeEnded,
            ) => {
                board.tell(at, Some(ThreadStatus::NotFound));
                return std::future::pending().await;
            }
            // Neither says what became of it.
            Err(_) => tokio::time::sleep(world.limits.store_retry).await,
        }
    };
    board.has_slot(at, &slot);
    let held = Held::new(slot, world.clone());
    let slot = held.slot();
    loop {
        // Registered before looking, so that no change falls in between.
        let mut changed = std::pin::pin!(slot.changed());
        match slot.standing() {
            Standing::Works => board.tell(at, None),
            Standing::Ended(status) => board.tell(at, Some(status)),
            Standing::Sleeps => {
                let ended = asleep(world, thread);
                tokio::select! {
                    biased;
                    () = &mut changed => continue,
                    ended = ended => board.tell(at, ended),
                }
            }
        }
        changed.await;
    }
}

/// What the store says of a thread to those who wait for it.
enum Stored {
    /// It has ended what it did, or is not there any more.
    Ended(ThreadStatus),
    /// It did nothing yet, or an earlier host left something to do.
    Unfinished,
    /// The store cannot say now.
    Unknown,
}

async fn stored(world: &TurnWorld, thread: ThreadId) -> Stored {
    let status = match world.store.thread(thread).await {
        Ok(stored) => stored.status,
        Err(StoreError::NotFound { .. }) => return Stored::Ended(ThreadStatus::NotFound),
        Err(_) => return Stored::Unknown,
    };
    match status {
        ThreadStatus::Shutdown => Stored::Ended(ThreadStatus::NotFound),
        status if !status.is_final() => Stored::Unfinished,
        status => match world.store.is_unfinished(thread).await {
            Ok(true) => Stored::Unfinished,
            Ok(false) => Stored::Ended(status),
            Err(_) => Stored::Unknown,
        },
    }
}

/// How a thread that sleeps ended what it did; none if it did nothing yet.
async fn asleep(world: &TurnWorld, thread: ThreadId) -> Option<ThreadStatus> {
    loop {
        match stored(world, thread).await {
            Stored::Ended(status) => return Some(status),
            Stored::Unfinished => return None,
            Stored::Unknown => tokio::time::sleep(world.limits.store_retry).await,
        }
    }
}
