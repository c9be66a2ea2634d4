//! The store: ownership and data of threads behind one trait, because the fence is checked in the
//! transaction that writes.
//!
//! What the actors ask is answered through a [`Done`], not a future: an actor's handler never waits
//! for a disk, many appends of one thread are in flight at once, and a store that answers at once
//! (memory) costs no task. Answers come in the order in which the requests were made, per thread.
//! What only hosts and tools ask are futures.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
mod memory;

use std::fmt;

use coppicer_messages::{
    AgentPath, Epoch, KnownSubmission, Mail, MailId, NewRecord, Raw, Seq, StoreError, SubmissionId,
    SubmissionState, ThreadConfig, ThreadId, ThreadStatus,
};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::history::History;

pub use memory::MemoryStore;

/// Where the answer of a store goes. Called once; a store that drops it unanswered has told the
/// caller [`StoreError::UnknownOutcome`].
pub struct Done<T>(Option<Box<Then<T>>>);

type Then<T> = dyn FnOnce(Result<T, StoreError>) + Send;

impl<T> Done<T> {
    /// Runs `then` with the answer. It must not block: a store calls it from its writer.
    pub fn new(then: impl FnOnce(Result<T, StoreError>) + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }

    /// A place for an answer that nobody needs.
    pub fn ignore() -> Self {
        Self(None)
    }

    /// Answers.
    pub fn tell(mut self, result: Result<T, StoreError>) {
        if let Some(then) = self.0.take() {
            then(result);
        }
    }
}

impl<T: Send + 'static> Done<T> {
    /// An answer that can be awaited.
    pub fn channel() -> (Self, impl Future<Output = Result<T, StoreError>> + Send + 'static) {
        let (to, from) = tokio::sync::oneshot::channel();
        let done = Self::new(move |result| drop(to.send(result)));
        let lost = || StoreError::UnknownOutcome { reason: "the store dropped the request".into() };
        (done, async move { from.await.unwrap_or_else(|_| Err(lost())) })
    }
}

impl<T> Drop for Done<T> {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(Err(StoreError::UnknownOutcome {
                reason: "the store dropped the request".into(),
            }));
        }
    }
}

impl<T> fmt::Debug for Done<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Done")
    }
}

/// The right to write one thread, until a newer one is granted (P1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Which thread.
    pub thread: ThreadId,
    /// Its incarnation.
    pub epoch: Epoch,
}

/// Whether a child belongs to its parent's tree when that is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeStatus {
    /// It does.
    Open,
    /// It was explicitly closed.
    Closed,
}

/// A thread that is to be made, together with its edge.
#[derive(Debug, Clone, PartialEq)]
pub struct NewThread {
    /// Its id; must be unknown to the store.
    pub id: ThreadId,
    /// Its parent; must be known. The edge begins `Open`.
    pub parent: Option<ThreadId>,
    /// The thread whose records before `cut` are its own first ones.
    pub base: Option<Base>,
    /// Levels below the root of its tree.
    pub depth: u32,
    /// Its path, if it has a name.
    pub path: Option<AgentPath>,
    /// What its host settled.
    pub config: ThreadConfig,
    /// Its status until it does something.
    pub status: ThreadStatus,
    /// The rollout that it was imported from.
    pub rollout_path: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub created_ms: u64,
}

impl NewThread {
    /// A root without a base.
    pub fn root(id: ThreadId, created_ms: u64) -> Self {
        Self {
            id,
            parent: None,
            base: None,
            depth: 0,
            path: None,
            config: ThreadConfig::default(),
            status: ThreadStatus::PendingInit,
            rollout_path: None,
            created_ms,
        }
    }
}

/// The beginning that a fork shares with its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Base {
    /// The source.
    pub thread: ThreadId,
    /// The first place that is not shared.
    pub cut: Seq,
}

/// What the store keeps of a thread beside its records.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredThread {
    /// Its id.
    pub id: ThreadId,
    /// Its parent and whether it belongs to that one's tree.
    pub parent: Option<(ThreadId, EdgeStatus)>,
    /// What it shares with its source, if it is a fork.
    pub base: Option<Base>,
    /// Levels below the root of its tree.
    pub depth: u32,
    /// Its path, if it has a name.
    pub path: Option<AgentPath>,
    /// What its host settled.
    pub config: ThreadConfig,
    /// Its last durable status.
    pub status: ThreadStatus,
    /// The rollout that it was imported from.
    pub rollout_path: Option<String>,
    /// The place of its next record.
    pub head: Seq,
    /// Its newest incarnation.
    pub epoch: Epoch,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// A submission as it is accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSubmission {
    /// Its id.
    pub id: SubmissionId,
    /// A digest of its body.
    pub digest: [u8; 16],
    /// Its op as JSON.
    pub body: Raw,
}

/// A submission that has no outcome yet.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenSubmission {
    /// Its id.
    pub id: SubmissionId,
    /// The head when it was accepted.
    pub seq: Seq,
    /// Its op as JSON.
    pub body: Raw,
    /// Where it is on its way.
    pub state: SubmissionState,
}

/// Mail on its way to another thread.
#[derive(Debug, Clone, PartialEq)]
pub struct MailTo {
    /// The reader.
    pub to: ThreadId,
    /// The mail.
    pub mail: Mail,
}

/// What one append writes: all of it, or nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The how-many-th append under its fence, from 1: the store refuses one that follows a refused
    /// one. 0 is not checked.
    pub number: u64,
    /// Records, at the expected head and the places after it.
    pub records: Vec<NewRecord>,
    /// Submissions that are accepted.
    pub accepted: Vec<NewSubmission>,
    /// Submissions that went on; an `Ended` one never changes again.
    pub states: Vec<(SubmissionId, SubmissionState)>,
    /// Mail to other threads, or to this one. Mail whose id its reader has had, or whose reader is
    /// not in the store, is left out.
    pub mail: Vec<MailTo>,
    /// Mail of this thread that was read.
    pub mail_taken: Vec<MailId>,
    /// The thread's status after it.
    pub status: Option<ThreadStatus>,
}

impl Batch {
    /// Whether it writes nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.accepted.is_empty()
            && self.states.is_empty()
            && self.mail.is_empty()
            && self.mail_taken.is_empty()
            && self.status.is_none()
    }
}

/// A thread that was acquired: the right to write it, and what waits in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Acquired {
    /// The right.
    pub fence: Fence,
    /// The thread.
    pub thread: StoredThread,
    /// Submissions without an outcome, in the order in which they were accepted.
    pub open: Vec<OpenSubmission>,
    /// Mail that was not read, in the order in which it came.
    pub mail: Vec<Mail>,
}

/// Durable threads.
///
/// Every store passes [the contract suite](contract). Writes of one thread are applied in the order
/// in which they were asked. Nothing that is refused changes anything.
pub trait ThreadStore: Send + Sync + 'static {
    /// Makes a thread with its edge and first records, and acquires it, in one transaction.
    ///
    /// # Errors
    /// `Exists`; `BadParent`; `NotFound` of the base; `Unavailable`; `UnknownOutcome`.
    fn create(&self, thread: NewThread, records: Vec<NewRecord>, done: Done<Acquired>);

    /// Takes the right to write: the epoch grows by one, and every older fence is refused from then on.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`; `UnknownOutcome`.
    fn acquire(&self, thread: ThreadId, done: Done<Acquired>);

    /// Writes a batch. The answer is the new head, after it is durable.
    ///
    /// Mail of the batch is applied before its `mail_taken`: a thread may take what it is sent in
    /// the same append.
    ///
    /// # Errors
    /// `Fenced`, also for a numbered append behind a refused one; `HeadConflict`; `TooLarge`;
    /// `Unavailable`; `UnknownOutcome`.
    fn append(&self, fence: Fence, expected: Seq, batch: Batch, done: Done<Seq>);

    /// Takes back a thread that was made and never shown to anybody: nothing of it remains.
    ///
    /// # Errors
    /// `Fenced` if somebody acquired it since; `Unavailable`; `UnknownOutcome`.
    fn undo_create(&self, fence: Fence, done: Done<()>);

    /// Sets the parent of `child` and whether it belongs to that one's tree.
    ///
    /// # Errors
    /// `Unavailable`; `UnknownOutcome`. An unknown child changes nothing and is no error (REF GS-06).
    fn put_edge(&self, child: ThreadId, edge: EdgeChange, done: Done<()>);

    /// Looks up a submission.
    ///
    /// # Errors
    /// `NotFound` of the thread; `Unavailable`.
    fn submission(&self, thread: ThreadId, id: &SubmissionId, done: Done<Option<KnownSubmission>>);

    /// The mail that a thread has not read, in the order in which it came.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    fn mail(&self, thread: ThreadId, done: Done<Vec<Mail>>);

    /// The thread, without its records.
    fn thread(&self, thread: ThreadId) -> BoxFuture<'_, Result<StoredThread, StoreError>>;

    /// Its records before `end` (all with `None`), its base's included.
    fn read(
        &self,
        thread: ThreadId,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<History, StoreError>>;

    /// Direct children, sorted by id; with a filter, those of that status.
    fn children(
        &self,
        parent: ThreadId,
        filter: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>>;

    /// All that is below `root`, by depth, then id. With a filter every edge on the way has that
    /// status. A cycle of edges ends: each thread comes once.
    fn descendants(
        &self,
        root: ThreadId,
        filter: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>>;

    /// At most `count` threads with ids after `after`, sorted by id. A stable cursor.
    fn list(
        &self,
        after: Option<ThreadId>,
        count: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredThread>, StoreError>>;
}

/// How an edge changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeChange {
    /// Only its status. A child without an edge stays without one.
    Status(EdgeStatus),
    /// Its parent and its status.
    Parent(ThreadId, EdgeStatus),
}

/// Breadth-first search over edges: by depth, then id, each thread once, cycles included.
pub fn descend(
    root: ThreadId,
    mut children: impl FnMut(ThreadId) -> Vec<ThreadId>,
) -> Vec<ThreadId> {
    let mut seen = std::collections::HashSet::from([root]);
    let mut found = Vec::new();
    let mut level = vec![root];
    while !level.is_empty() {
        let mut next: Vec<ThreadId> = level
            .iter()
            .flat_map(|&parent| children(parent))
            .filter(|&id| seen.insert(id))
            .collect();
        next.sort_unstable();
        found.extend_from_slice(&next);
        level = next;
    }
    found
}

/// A digest of a submission's body, to tell the same body from another under the same id
/// (FNV-1a, 128 bits; not for secrets).
pub fn digest(body: &[u8]) -> [u8; 16] {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash =
        body.iter().fold(OFFSET, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    hash.to_be_bytes()
}
