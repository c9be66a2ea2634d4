//! The store: ownership and data of threads behind one trait, because the fence is checked in the
//! transaction that writes.
//!
//! What the actors ask is answered through a [`Done`], not a future: an actor's handler never waits
//! for a disk, many appends of one thread are in flight at once, and a store that answers at once
//! (memory) costs no task. Answers come in the order in which the requests were made, per thread.
//! What only hosts and tools ask are futures.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
mod done;
mod edges;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
mod health;
mod mailbox;
mod memory;
mod query;
mod view_start;

use std::sync::Arc;

use coppicer_messages::{
    AgentPath, Change, Charge, CrashRecord, Epoch, KnownSubmission, Ledger, Mail, MailId, MailPage,
    MailPlace, MailRest, NewRecord, ParentClose, Raw, Seq, StoreError, SubmissionId,
    SubmissionState, ThreadConfig, ThreadDetails, ThreadId, ThreadPatch, ThreadStatus,
};
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use serde::{Deserialize, Serialize};

use crate::history::{Excerpt, ExcerptQuery, History};

pub use done::{Done, by};
pub use edges::{EdgeChange, ThreadMove, descend};
pub use health::{StoreHealth, StoreWatch};
pub use mailbox::count_mail;
pub use memory::MemoryStore;
pub use query::{Archived, Order, SortBy, ThreadCursor, ThreadPage, ThreadQuery};
pub use view_start::{ViewStart, view_start};

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
    /// Levels below the root of its tree, as its host knows it. The store has it one level below its
    /// parent, also if that was moved meanwhile.
    pub depth: u32,
    /// Its path, if it has a name.
    pub path: Option<AgentPath>,
    /// What its host settled.
    pub config: Arc<ThreadConfig>,
    /// Its status until it does something.
    pub status: ThreadStatus,
    /// The rollout that it was imported from.
    pub rollout_path: Option<String>,
    /// What people know it by.
    pub details: ThreadDetails,
    /// Whether its first records end at a boundary: no turn runs in them and no call is open.
    pub settled: bool,
    /// What its making changes in the ledgers of threads above it: taken back if it is undone. Its
    /// own ledger begins with the budget of its configuration.
    pub charges: Vec<Charge>,
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
            config: Arc::default(),
            status: ThreadStatus::PendingInit,
            rollout_path: None,
            details: ThreadDetails::default(),
            settled: false,
            charges: Vec::new(),
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
    pub config: Arc<ThreadConfig>,
    /// Its last durable status.
    pub status: ThreadStatus,
    /// The rollout that it was imported from.
    pub rollout_path: Option<String>,
    /// What people know it by.
    pub details: ThreadDetails,
    /// What was asked of it last, in short: see [`last_task`](Self::last_task).
    pub task: Option<String>,
    /// The place of its next record.
    pub head: Seq,
    /// The place before which nothing is open: its records up to there end at a boundary.
    pub settled: Seq,
    /// Its newest incarnation.
    pub epoch: Epoch,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When a turn of it last began or ended, in milliseconds since the Unix epoch.
    pub updated_ms: u64,
    /// Since when it is in the archive, in milliseconds since the Unix epoch.
    pub archived_ms: Option<u64>,
    /// Its account, if it has a budget of its own.
    pub ledger: Option<Ledger>,
}

impl StoredThread {
    /// What was asked of it last, in short: by input or by mail; of one of which nothing was asked, how
    /// its history began.
    pub fn last_task(&self) -> Option<&str> {
        self.task.as_deref().or(self.details.preview.as_deref())
    }

    /// Carries out a patch.
    pub fn apply(&mut self, patch: &ThreadPatch) {
        self.details.apply(patch);
        let ThreadPatch { cwd, model, thread_source, nickname, role, path, .. } = patch.clone();
        let texts = [&cwd, &model, &thread_source, &nickname, &role];
        if texts.iter().any(|text| !text.is_keep()) {
            let config = Arc::make_mut(&mut self.config);
            cwd.apply(&mut config.cwd);
            model.apply(&mut config.model);
            thread_source.apply(&mut config.thread_source);
            nickname.apply(&mut config.nickname);
            role.apply(&mut config.role);
        }
        path.apply(&mut self.path);
        match patch.parent_close {
            Change::Keep => {}
            Change::Clear => {
                Arc::make_mut(&mut self.config).parent_close = ParentClose::default();
            }
            Change::Set(policy) => Arc::make_mut(&mut self.config).parent_close = policy,
        }
    }
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
    /// What is asked of the thread with it, in short.
    pub task: Option<String>,
    /// The thread's status after it.
    pub status: Option<ThreadStatus>,
    /// What changes of what is known of the thread; boxed, because few appends change any of it.
    pub patch: Option<Box<ThreadPatch>>,
    /// When a turn of the thread began or ended with it, in milliseconds since the Unix epoch.
    pub updated_ms: Option<u64>,
    /// Crashes to keep; the oldest of the thread go when there are more than
    /// [`CRASHES_KEPT_MAX`](coppicer_messages::CRASHES_KEPT_MAX).
    pub crashes: Vec<CrashRecord>,
    /// Changes of ledgers, of this thread's and of others.
    pub charges: Vec<Charge>,
    /// Whether nothing is open after it: no turn runs, and every call has its output. Writes nothing
    /// by itself.
    pub settled: bool,
}

impl Batch {
    /// Whether it writes nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.accepted.is_empty()
            && self.states.is_empty()
            && self.mail.is_empty()
            && self.mail_taken.is_empty()
            && self.task.is_none()
            && self.status.is_none()
            && self.patch.is_none()
            && self.updated_ms.is_none()
            && self.crashes.is_empty()
            && self.charges.is_empty()
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
    /// Mail that was not read, in the order in which it came: at most [`ACQUIRED_MAIL_MAX`].
    ///
    /// [`ACQUIRED_MAIL_MAX`]: coppicer_messages::ACQUIRED_MAIL_MAX
    pub mail: Vec<Mail>,
    /// What of it is still in the store.
    pub mail_rest: MailRest,
    /// Crashes that are kept, oldest first.
    pub crashes: Vec<CrashRecord>,
}

/// Durable threads.
///
/// Every store passes [the contract suite](contract). Writes of one thread are applied in the order
/// in which they were asked. Nothing that is refused changes anything.
pub trait ThreadStore: Send + Sync + 'static {
    /// Makes a thread with its edge and first records, and acquires it, in one transaction. Its path
    /// is its own in its tree: see [`at_path`](Self::at_path).
    ///
    /// # Errors
    /// `Exists`; `BadParent`; `PathTaken`; `NotFound` of the base; `Unavailable`; `UnknownOutcome`.
    fn create(&self, thread: NewThread, records: Vec<NewRecord>, done: Done<Acquired>);

    /// Takes the right to write: the epoch grows by one, and every older fence is refused from then on.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt`, if a damaged record was found in it; `Unavailable`; `UnknownOutcome`.
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

    /// Takes back a thread that was made and never shown to anybody: nothing of it remains, nor of
    /// what its first turn put below it.
    ///
    /// # Errors
    /// `Fenced` if somebody acquired it since; `Unavailable`; `UnknownOutcome`.
    fn undo_create(&self, fence: Fence, done: Done<()>);

    /// Sets the parent of `child` and whether it belongs to that one's tree.
    ///
    /// # Errors
    /// `BadParent`, if there is no such parent; `Unavailable`; `UnknownOutcome`. An unknown child changes
    /// nothing and is no error (REF GS-06).
    fn put_edge(&self, child: ThreadId, edge: EdgeChange, done: Done<()>);

    /// Moves a thread with all below it, in one transaction: its edge, the paths that are named, the
    /// depths of all of them, and charges. An unknown thread changes nothing and is
    /// no error, as for [`put_edge`](Self::put_edge).
    ///
    /// # Errors
    /// `BadParent`, if there is no such parent; `Fenced`, if the thread is in another life than
    /// [the one named](ThreadMove::epoch); `Unavailable`; `UnknownOutcome`.
    fn relocate(&self, to: ThreadMove, done: Done<()>);

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

    /// At most `most` of the mail that a thread has not read, from behind a place of its mailbox, in the
    /// order in which it came, and whether there is more; with 0, only that. Places of a thread's mail
    /// grow, and mean the same in every life of the store.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    fn mail_page(&self, thread: ThreadId, after: MailPlace, most: usize, done: Done<MailPage>);

    /// Changes ledgers, in one transaction. Unfenced. Answers the ledgers after it, in the order of
    /// the charges; none where a thread has none.
    ///
    /// # Errors
    /// `Unavailable`; `UnknownOutcome`.
    fn charge(&self, charges: Vec<Charge>, done: Done<Vec<Option<Ledger>>>);

    /// Crashes of a thread that are kept, oldest first.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    fn crashes(&self, thread: ThreadId) -> BoxFuture<'_, Result<Vec<CrashRecord>, StoreError>>;

    /// How many threads there are.
    ///
    /// # Errors
    /// `Unavailable`.
    fn count(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// The thread, without its records.
    fn thread(&self, thread: ThreadId) -> BoxFuture<'_, Result<StoredThread, StoreError>>;

    /// Its records in `from..end` (to the head with `None`), its base's included. With a `from` past
    /// 0, a history that [begins later](History::starting_at).
    ///
    /// A record that is found damaged quarantines the thread: its status is `Damaged` from then on,
    /// submissions without an outcome end as `Failed`, and it is not acquired any more. What is
    /// before the damage can be read.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` names the first damaged record; `Unavailable`.
    fn read_range(
        &self,
        thread: ThreadId,
        from: Seq,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<History, StoreError>>;

    /// Its records before `end`, from the first on.
    ///
    /// # Errors
    /// As [`read_range`](Self::read_range).
    fn read(
        &self,
        thread: ThreadId,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<History, StoreError>> {
        self.read_range(thread, Seq(0), end)
    }

    /// The first of its records in `from..end`: up to the one with which `bytes` of them are reached, so
    /// at least one. What is read in pieces, each from the [next](History::next_seq) record on, takes that
    /// much memory and one record. A store that has them on a disk reads no further than that.
    ///
    /// # Errors
    /// As [`read_range`](Self::read_range); of damage behind the piece, or none.
    fn read_piece(
        &self,
        thread: ThreadId,
        from: Seq,
        end: Option<Seq>,
        bytes: usize,
    ) -> BoxFuture<'_, Result<History, StoreError>> {
        let piece = move |history: History| {
            let mut read = 0;
            let is_last = |record: &&coppicer_messages::Record| {
                read += record.raw.len();
                read >= bytes
            };
            let last = history.iter().find(is_last).map(|record| record.seq.0);
            last.map_or_else(|| history.clone(), |last| history.prefix(last + 1))
        };
        self.read_range(thread, from, end).map_ok(piece).boxed()
    }

    /// A piece of its records before `end`, so that a fork need not read all of them: that piece, or
    /// [all of them](Excerpt::whole), as it is done unless a store knows better. What is not read is not
    /// checked for damage, unless it was found before.
    ///
    /// # Errors
    /// As [`read_range`](Self::read_range).
    fn excerpt(
        &self,
        thread: ThreadId,
        end: Option<Seq>,
        query: ExcerptQuery,
    ) -> BoxFuture<'_, Result<Excerpt, StoreError>> {
        drop(query);
        self.read(thread, end).map_ok(Excerpt::whole).boxed()
    }

    /// From where on its records before `end` have to be read to know what a model is shown: see
    /// [`view_start`].
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    fn view_start(
        &self,
        thread: ThreadId,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<Seq, StoreError>>;

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

    /// Threads below `root`, over open edges, that go on when it is closed
    /// ([`ParentClose::Detach`](coppicer_messages::ParentClose)): of each branch the topmost, by depth,
    /// then id.
    ///
    /// # Errors
    /// `Unavailable`.
    fn detaching(&self, root: ThreadId) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>>;

    /// The thread of the tree below `root`, or that itself, that has this path: neither closed, by its
    /// status or its edge, nor below one that is. Takes no longer for a larger tree; its depth counts.
    ///
    /// # Errors
    /// `Unavailable`.
    fn at_path(
        &self,
        root: ThreadId,
        path: &AgentPath,
    ) -> BoxFuture<'_, Result<Option<ThreadId>, StoreError>>;

    /// Which of these names for people such threads of the tree have: a look-up for each name, as
    /// [`at_path`](Self::at_path).
    ///
    /// # Errors
    /// `Unavailable`.
    fn nicknames_taken(
        &self,
        root: ThreadId,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>>;

    /// A page of threads. Cursors are stable: threads that come and go move no other one.
    ///
    /// # Errors
    /// `BadCursor`; `Unavailable`.
    fn list(&self, query: ThreadQuery) -> BoxFuture<'_, Result<ThreadPage, StoreError>>;

    /// At most `count` threads behind `after` that have something to do, by id: submissions without
    /// an outcome, or unread mail that starts a turn. Closed, parked and damaged ones are left out.
    ///
    /// # Errors
    /// `Unavailable`.
    fn unfinished(
        &self,
        after: Option<ThreadId>,
        count: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>>;

    /// Whether a thread is among the [unfinished](Self::unfinished).
    ///
    /// # Errors
    /// `Unavailable`. An unknown thread is not unfinished.
    fn is_unfinished(&self, thread: ThreadId) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.unfinished(None, usize::MAX).map_ok(move |all| all.contains(&thread)).boxed()
    }

    /// Changes what is known of a thread. Unfenced: it decides nothing. A new path is its own in its
    /// tree, as in [`create`](Self::create).
    ///
    /// # Errors
    /// `NotFound`; `PathTaken`; `TooLarge`; `Unavailable`; `UnknownOutcome`.
    fn patch(&self, thread: ThreadId, patch: ThreadPatch, done: Done<StoredThread>);

    /// Puts a thread into the archive, at this time, or takes it out. Twice is as good as once; what
    /// is in it keeps its time.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`; `UnknownOutcome`.
    fn archive(&self, thread: ThreadId, at_ms: Option<u64>, done: Done<StoredThread>);

    /// Deletes a thread and all that is below it; answers how many. Records that forks share are
    /// kept, hidden, for as long as a fork needs them; all others are collected. Mail to a deleted
    /// thread is left out from then on, and its fences are refused.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`; `UnknownOutcome`.
    fn delete(&self, thread: ThreadId, done: Done<u64>);

    /// Has the store tell of its own state from now on. One that is never ill tells nothing.
    fn watch(&self, told: StoreWatch) {
        drop(told);
    }
}

/// The preview of a thread: the beginning of its first user message.
pub fn preview_of(history: &History) -> Option<String> {
    crate::history::preview_in(history.first_user_message()?)
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
