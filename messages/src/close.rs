//! Closing threads, subtrees, and everything (P5).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{Rung, ThreadId};

/// What is closed. Descendants are always part of it, children before parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseScope {
    /// One thread and everything below it. Its edge becomes `closed`, so that a resume of its
    /// parent does not bring it back; edges below it stay open (REF 3.8).
    Thread(ThreadId),
    /// One thread and everything below it, before it is archived or deleted. Its edge stays as it
    /// is: it goes on to belong to its tree.
    Branch(ThreadId),
    /// Every thread. Edges stay open, and nothing new is accepted from then on.
    All,
}

/// One thread's part of a close: when to go one rung further. Each moment is absolute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseOrder {
    /// Until then a running turn may come to its own end.
    pub drain_until: Instant,
    /// Until then a cancelled turn may end by itself.
    pub stop_until: Instant,
    /// Until then a killed turn may be gone; after that it is fenced off.
    pub kill_until: Instant,
    /// Whether the parent is told. Not when it closes in the same stroke.
    pub tell_parent: bool,
}

/// What became of one thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ThreadClosed {
    /// Which thread.
    pub thread: ThreadId,
    /// The rung it reached.
    pub rung: Rung,
    /// How long it took, from the request.
    pub took: Duration,
    /// What was left behind, in words; none if all was released.
    pub left: Option<String>,
}

impl ThreadClosed {
    /// A row of the report.
    pub const fn new(thread: ThreadId, rung: Rung, took: Duration, left: Option<String>) -> Self {
        Self { thread, rung, took, left }
    }
}

/// What became of everything that was to close. Lists are sorted by id. What had not ended when the report
/// was given is fenced off right behind it, before it can be resumed.
///
/// # Order
/// The report is due by its deadline whatever threads and the store do, so it waits for no fence. Taps have the
/// `ThreadEnded` of each thread that ended in time, then
/// [`CloseEnded`](crate::RuntimeEvent::CloseEnded), then the `ThreadEnded` of each of
/// [`timed_out`](Self::timed_out) that had an actor, once, as fencing reaches it: while thousands are fenced off,
/// the caller has the report before the last of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CloseReport {
    /// Threads that ended, and whose end is durable.
    pub completed: Vec<ThreadId>,
    /// Threads that had crashed before they could be told.
    pub submit_failed: Vec<ThreadId>,
    /// Threads that had not ended by the deadline. They are fenced: nothing of them can be written.
    /// Except [`unknown`](Self::unknown) ones, which had no life here.
    pub timed_out: Vec<ThreadId>,
    /// Each thread's rung and time.
    pub threads: Vec<ThreadClosed>,
    /// Those of `timed_out` that only the store could know, while it said nothing of them by the
    /// deadline, or could not read them: whether there are such threads, and whether they are closed,
    /// is not known. Nobody told them to end; ask again.
    #[serde(default)]
    pub unknown: Vec<ThreadId>,
    /// Threads that were below what closed and go on, as roots
    /// ([`ParentClose::Detach`](crate::ParentClose::Detach)), also such as sleep in the store alone.
    /// They stand in no other list.
    #[serde(default)]
    pub detached: Vec<ThreadId>,
}

impl CloseReport {
    /// The rung that `thread` reached, if it was part of the close.
    pub fn rung(&self, thread: ThreadId) -> Option<Rung> {
        self.threads.iter().find(|row| row.thread == thread).map(|row| row.rung)
    }

    /// How many threads reached `rung`.
    pub fn count(&self, rung: Rung) -> usize {
        self.threads.iter().filter(|row| row.rung == rung).count()
    }
}
