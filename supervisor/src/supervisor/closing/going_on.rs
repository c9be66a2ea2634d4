//! What goes on when a thread above it is closed, as far as the close waits for it.

use std::collections::{BTreeSet, HashSet};

use coppicer_actors::{EdgeChange, ThreadMove, ThreadStore};
use coppicer_messages::{SpawnError, StoreError, ThreadId};

use super::super::SupervisorState;
use super::super::resume::look_up;
use super::super::spawn::{Step, Stored};

/// What is below a thread that closes and goes on.
#[derive(Default)]
pub(super) struct GoingOn {
    pub(super) threads: BTreeSet<ThreadId>,
    /// Those of which the store has not written it.
    pub(super) unwritten: usize,
    /// Whether the store is asked which ones sleep in it alone.
    pub(super) asking: bool,
    /// What is not durable of it, or not known.
    pub(super) failed: Option<String>,
    /// Those that were moved when the close began and sleep in the store alone: not written yet.
    pub(super) absent: BTreeSet<ThreadId>,
}

impl GoingOn {
    pub(super) const fn is_settled(&self) -> bool {
        self.unwritten == 0 && !self.asking
    }

    /// What of it is not durable when the report is given.
    pub(super) fn left(&self) -> Option<String> {
        let told = |what: &str| Some(what.to_owned());
        match self {
            Self { asking: true, .. } => {
                told("whether threads that sleep below it go on was not known by the deadline")
            }
            Self { failed: Some(failed), .. } => told(failed),
            Self { unwritten: 1.., .. } => {
                told("that threads below it go on was not durable by the deadline")
            }
            _ => None,
        }
    }
}

impl SupervisorState {
    /// Asks the store which threads below one that closes go on and sleep in it alone.
    pub(super) fn ask_detaching(&self, close: u64, thread: ThreadId) {
        let (store, depth_max) = (self.shared.store.clone(), self.shared.limits.depth_max);
        self.outside(
            close,
            async move { Step::Detaching(detaching(&*store, thread, depth_max).await) },
        );
    }

    /// Those that go on and sleep in the store alone are roots from now on.
    pub(in super::super) fn on_detaching(
        &mut self,
        close: u64,
        result: Result<Vec<Stored>, SpawnError>,
    ) {
        let Some(op) = self.closes.get_mut(&close) else { return };
        let old = |&thread: &ThreadId| self.places.changed_below(op.places, thread);
        if let Some(thread) = op.target.filter(old) {
            // What it said may be old.
            op.places = self.places.now();
            return self.ask_detaching(close, thread);
        }
        op.going_on.asking = false;
        let mut absent = std::mem::take(&mut op.going_on.absent);
        let found = result.unwrap_or_else(|error| {
            op.going_on.failed =
                Some(format!("which threads that sleep below it go on is not known: {error}"));
            Vec::new()
        });
        let covered = if found.is_empty() { HashSet::new() } else { op.plan.threads() };
        for stored in found {
            let thread = stored.thread.id;
            // One with an entry was seen when the close began, or came up since. One that closes with
            // the rest, since it was being closed already, may have ended.
            let here = self.table.get(thread).is_some();
            let Some(op) = self.closes.get_mut(&close) else { return };
            // What came up since is written with those that the store did not tell of.
            let told = !here && absent.remove(&thread);
            if !here && !covered.contains(&thread) && (op.going_on.threads.insert(thread) || told) {
                op.going_on.unwritten += 1;
                self.detach_stored(close, stored, told);
            }
        }
        // Those came up since, or the store could not say it.
        if let Some(op) = self.closes.get_mut(&close) {
            op.going_on.unwritten += absent.len();
        }
        self.write_absent(close, absent);
        self.begin_telling(close);
        self.answer_close(close);
    }

    /// Has the store write that threads which sleep in it go on: they were moved when the close began,
    /// whether or not the store has told of them by its end. Whether they have budgets it alone knows.
    pub(super) fn write_absent(&mut self, close: u64, absent: impl IntoIterator<Item = ThreadId>) {
        for thread in absent {
            let (store, depth_max) = (self.shared.store.clone(), self.shared.limits.depth_max);
            self.outside(close, async move {
                let result = look_up(&*store, thread, depth_max).await.map(Box::new);
                Step::GoesOn { thread, result }
            });
        }
    }

    pub(in super::super) fn on_goes_on(
        &mut self,
        close: u64,
        thread: ThreadId,
        result: Result<Box<Stored>, SpawnError>,
    ) {
        if self.table.get(thread).is_some() {
            self.write_detached(close, thread);
        } else if let Ok(stored) = result
            && stored.thread.ledger.is_some()
        {
            self.detach_stored(close, *stored, true);
        } else {
            let (edge, paths, charges) = (EdgeChange::Root, Vec::new(), Vec::new());
            self.write_place(close, ThreadMove { thread, edge, paths, charges, epoch: None });
        }
    }

    /// The store wrote that a thread goes on, or could not and is asked again.
    pub(in super::super) fn close_detached(
        &mut self,
        close: u64,
        thread: ThreadId,
        result: Result<(), StoreError>,
    ) {
        let Some(op) = self.closes.get_mut(&close) else { return };
        op.going_on.unwritten = op.going_on.unwritten.saturating_sub(1);
        if let Err(error) = result {
            op.going_on.failed = Some(format!("that {thread} goes on is not durable yet: {error}"));
        }
        self.answer_close(close);
    }
}

/// The threads below one that closes that go on, as the store has them.
async fn detaching(
    store: &dyn ThreadStore,
    thread: ThreadId,
    depth_max: u32,
) -> Result<Vec<Stored>, SpawnError> {
    let mut found = Vec::new();
    for thread in store.detaching(thread).await.map_err(SpawnError::Store)? {
        match look_up(store, thread, depth_max).await {
            Ok(stored) => found.push(stored),
            Err(SpawnError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
