//! A store that fails, or answers late, when it is told to.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use coppicer_messages::{
    AgentPath, Charge, CrashRecord, KnownSubmission, Ledger, Mail, MailPage, MailPlace, NewRecord,
    Record, Seq, StoreError, SubmissionId, ThreadId, ThreadPatch,
};
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use parking_lot::Mutex;

use super::{
    Acquired, Batch, Done, EdgeChange, EdgeStatus, Fence, NewThread, StoreHealth, StoreWatch,
    StoredThread, ThreadMove, ThreadPage, ThreadQuery, ThreadStore,
};
use crate::history::{Excerpt, ExcerptQuery, History};

/// The requests that faults can be put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreOp {
    /// [`ThreadStore::create`].
    Create,
    /// [`ThreadStore::acquire`].
    Acquire,
    /// [`ThreadStore::append`].
    Append,
    /// [`ThreadStore::put_edge`], and [`ThreadStore::relocate`].
    PutEdge,
    /// [`ThreadStore::charge`].
    Charge,
    /// [`ThreadStore::detaching`].
    Detaching,
    /// [`ThreadStore::submission`].
    Submission,
    /// [`ThreadStore::count`].
    Count,
    /// [`ThreadStore::nicknames_taken`].
    Names,
    /// [`ThreadStore::read_range`], and so [`ThreadStore::read`]; and [`ThreadStore::excerpt`].
    Read,
    /// What is asked of rows of threads: [`ThreadStore::thread`], [`ThreadStore::crashes`],
    /// [`ThreadStore::children`], [`ThreadStore::descendants`], [`ThreadStore::list`] and
    /// [`ThreadStore::unfinished`] and [`ThreadStore::is_unfinished`].
    Look,
    /// [`ThreadStore::mail`] and [`ThreadStore::mail_page`].
    Mail,
}

/// Wraps a store. Without a fault it is that store.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ThreadStore>,
    faults: Arc<Mutex<Faults>>,
    in_order: bool,
}

/// What a request that waits does in the end.
type GoOn = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Faults {
    held: Vec<StoreOp>,
    /// With the thread that an append is of: what is asked of it comes behind.
    waiting: VecDeque<(StoreOp, Option<ThreadId>, GoOn)>,
    failing: VecDeque<(StoreOp, StoreError)>,
    calls: Vec<StoreOp>,
    records_read: u64,
    bytes_read: u64,
    largest_read: u64,
    mails_read: u64,
    watches: Vec<StoreWatch>,
}

impl FaultyStore {
    /// A store without faults yet.
    pub fn new(inner: Arc<dyn ThreadStore>) -> Self {
        Self { inner, faults: Arc::default(), in_order: false }
    }

    /// The same, and a look-up waits behind an append of its thread that waits, as in a store that
    /// has one queue. Else it is answered meanwhile.
    #[must_use]
    pub const fn in_order(mut self) -> Self {
        self.in_order = true;
        self
    }

    /// From now on such requests wait: they are neither applied nor answered until they are released.
    pub fn hold(&self, op: StoreOp) {
        self.faults.lock().held.push(op);
    }

    /// Lets what waits go on, in order, and what comes later too.
    pub fn release(&self, op: StoreOp) {
        loop {
            let next = {
                let mut faults = self.faults.lock();
                faults.held.retain(|held| *held != op);
                let at = faults.waiting.iter().position(|(waiting, ..)| *waiting == op);
                at.and_then(|at| faults.waiting.remove(at))
            };
            match next {
                Some((.., go_on)) => go_on(),
                None => return,
            }
        }
    }

    /// The next such request fails, and changes nothing.
    pub fn fail_next(&self, op: StoreOp, error: StoreError) {
        self.faults.lock().failing.push_back((op, error));
    }

    /// Forgets the failures that were ordered and have not come.
    pub fn heal(&self) {
        self.faults.lock().failing.clear();
    }

    /// Tells those who watch, as a store would of itself.
    pub fn tell(&self, health: &StoreHealth) {
        let watches = self.faults.lock().watches.clone();
        for watch in watches {
            watch(health.clone());
        }
    }

    /// How many such requests there were.
    pub fn calls(&self, op: StoreOp) -> usize {
        self.faults.lock().calls.iter().filter(|call| **call == op).count()
    }

    /// How many records of histories were read.
    pub fn records_read(&self) -> u64 {
        self.faults.lock().records_read
    }

    /// How many bytes of records were read.
    pub fn bytes_read(&self) -> u64 {
        self.faults.lock().bytes_read
    }

    /// Most bytes of records that were read at one go.
    pub fn largest_read(&self) -> u64 {
        self.faults.lock().largest_read
    }

    /// How many mails were read page by page.
    pub fn mails_read(&self) -> u64 {
        self.faults.lock().mails_read
    }

    fn note_read<'r>(&self, records: impl Iterator<Item = &'r Record>) {
        let (count, bytes) = records
            .fold((0, 0), |(count, bytes), record| (count + 1, bytes + record.raw.len() as u64));
        let mut faults = self.faults.lock();
        faults.records_read += count;
        faults.bytes_read += bytes;
        faults.largest_read = faults.largest_read.max(bytes);
    }

    fn through<T: Send + 'static>(
        &self,
        op: StoreOp,
        done: Done<T>,
        ask: impl FnOnce(&dyn ThreadStore, Done<T>) + Send + 'static,
    ) {
        self.through_in_order(op, None, done, ask);
    }

    /// What is asked as a future: asked for when it may go through.
    fn behind<'a, T, A>(
        &self,
        op: StoreOp,
        ask: impl FnOnce() -> A + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>>
    where
        A: Future<Output = Result<T, StoreError>> + Send + 'a,
    {
        let (done, answer) = Done::channel();
        self.through(op, done, move |_, done: Done<()>| done.tell(Ok(())));
        async move {
            answer.await?;
            ask().await
        }
        .boxed()
    }

    /// As [`through`](Self::through), for what a store with one queue answers in the order in which
    /// it was asked of one thread.
    fn through_in_order<T: Send + 'static>(
        &self,
        op: StoreOp,
        of: Option<ThreadId>,
        done: Done<T>,
        ask: impl FnOnce(&dyn ThreadStore, Done<T>) + Send + 'static,
    ) {
        let mut faults = self.faults.lock();
        faults.calls.push(op);
        if let Some(at) = faults.failing.iter().position(|(failing, _)| *failing == op)
            && let Some((_, error)) = faults.failing.remove(at)
        {
            drop(faults);
            return done.tell(Err(error));
        }
        let inner = self.inner.clone();
        let mut waiting = faults.waiting.iter();
        let behind = waiting.find(|(_, other, _)| self.in_order && of.is_some() && *other == of);
        let behind = behind.map(|(other, ..)| *other);
        if let Some(behind) = behind.or_else(|| faults.held.contains(&op).then_some(op)) {
            faults.waiting.push_back((behind, of, Box::new(move || ask(&*inner, done))));
            return;
        }
        drop(faults);
        ask(&*inner, done);
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore")
            .field("held", &self.faults.lock().held)
            .finish_non_exhaustive()
    }
}

impl ThreadStore for FaultyStore {
    fn create(&self, thread: NewThread, records: Vec<NewRecord>, done: Done<Acquired>) {
        self.through(StoreOp::Create, done, |store, done| store.create(thread, records, done));
    }

    fn acquire(&self, thread: ThreadId, done: Done<Acquired>) {
        self.through(StoreOp::Acquire, done, move |store, done| store.acquire(thread, done));
    }

    fn append(&self, fence: Fence, expected: Seq, batch: Batch, done: Done<Seq>) {
        let of = Some(fence.thread);
        self.through_in_order(StoreOp::Append, of, done, move |store, done| {
            store.append(fence, expected, batch, done);
        });
    }

    fn undo_create(&self, fence: Fence, done: Done<()>) {
        self.inner.undo_create(fence, done);
    }

    fn put_edge(&self, child: ThreadId, edge: EdgeChange, done: Done<()>) {
        self.through(StoreOp::PutEdge, done, move |store, done| store.put_edge(child, edge, done));
    }

    fn relocate(&self, to: ThreadMove, done: Done<()>) {
        self.through(StoreOp::PutEdge, done, move |store, done| store.relocate(to, done));
    }

    fn submission(&self, thread: ThreadId, id: &SubmissionId, done: Done<Option<KnownSubmission>>) {
        let id = id.clone();
        self.through_in_order(StoreOp::Submission, Some(thread), done, move |store, done| {
            store.submission(thread, &id, done);
        });
    }

    fn mail(&self, thread: ThreadId, done: Done<Vec<Mail>>) {
        self.through_in_order(StoreOp::Mail, Some(thread), done, move |store, done| {
            store.mail(thread, done);
        });
    }

    fn mail_page(&self, thread: ThreadId, after: MailPlace, most: usize, done: Done<MailPage>) {
        let faults = self.faults.clone();
        let done = Done::new(move |page: Result<MailPage, _>| {
            faults.lock().mails_read += page.as_ref().map_or(0, |page| page.mail.len() as u64);
            done.tell(page);
        });
        self.through_in_order(StoreOp::Mail, Some(thread), done, move |store, done| {
            store.mail_page(thread, after, most, done);
        });
    }

    fn charge(&self, charges: Vec<Charge>, done: Done<Vec<Option<Ledger>>>) {
        self.through(StoreOp::Charge, done, move |store, done| store.charge(charges, done));
    }

    fn crashes(&self, thread: ThreadId) -> BoxFuture<'_, Result<Vec<CrashRecord>, StoreError>> {
        self.behind(StoreOp::Look, move || self.inner.crashes(thread))
    }

    fn count(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.behind(StoreOp::Count, move || self.inner.count())
    }

    fn thread(&self, thread: ThreadId) -> BoxFuture<'_, Result<StoredThread, StoreError>> {
        self.behind(StoreOp::Look, move || self.inner.thread(thread))
    }

    fn read_range(
        &self,
        thread: ThreadId,
        from: Seq,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<History, StoreError>> {
        self.behind(StoreOp::Read, move || {
            let read = self.inner.read_range(thread, from, end);
            read.inspect_ok(|history| self.note_read(history.iter()))
        })
    }

    fn read_piece(
        &self,
        thread: ThreadId,
        from: Seq,
        end: Option<Seq>,
        bytes: usize,
    ) -> BoxFuture<'_, Result<History, StoreError>> {
        self.behind(StoreOp::Read, move || {
            let read = self.inner.read_piece(thread, from, end, bytes);
            read.inspect_ok(|history| self.note_read(history.iter()))
        })
    }

    fn excerpt(
        &self,
        thread: ThreadId,
        end: Option<Seq>,
        query: ExcerptQuery,
    ) -> BoxFuture<'_, Result<Excerpt, StoreError>> {
        self.behind(StoreOp::Read, move || {
            let read = self.inner.excerpt(thread, end, query);
            read.inspect_ok(|excerpt| self.note_read(excerpt.records.iter()))
        })
    }

    fn view_start(
        &self,
        thread: ThreadId,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<Seq, StoreError>> {
        self.inner.view_start(thread, end)
    }

    fn children(
        &self,
        parent: ThreadId,
        filter: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.behind(StoreOp::Look, move || self.inner.children(parent, filter))
    }

    fn descendants(
        &self,
        root: ThreadId,
        filter: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.behind(StoreOp::Look, move || self.inner.descendants(root, filter))
    }

    fn detaching(&self, root: ThreadId) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.behind(StoreOp::Detaching, move || self.inner.detaching(root))
    }

    fn at_path(
        &self,
        root: ThreadId,
        path: &AgentPath,
    ) -> BoxFuture<'_, Result<Option<ThreadId>, StoreError>> {
        self.inner.at_path(root, path)
    }

    fn nicknames_taken(
        &self,
        root: ThreadId,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        let (done, answer) = Done::channel();
        self.through(StoreOp::Names, done, move |_, done: Done<()>| done.tell(Ok(())));
        async move {
            // What is answered late was read before.
            let taken = self.inner.nicknames_taken(root, names).await;
            answer.await?;
            taken
        }
        .boxed()
    }

    fn list(&self, query: ThreadQuery) -> BoxFuture<'_, Result<ThreadPage, StoreError>> {
        self.behind(StoreOp::Look, move || self.inner.list(query))
    }

    fn unfinished(
        &self,
        after: Option<ThreadId>,
        count: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.behind(StoreOp::Look, move || self.inner.unfinished(after, count))
    }

    fn is_unfinished(&self, thread: ThreadId) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.behind(StoreOp::Look, move || self.inner.is_unfinished(thread))
    }

    fn patch(&self, thread: ThreadId, patch: ThreadPatch, done: Done<StoredThread>) {
        self.inner.patch(thread, patch, done);
    }

    fn archive(&self, thread: ThreadId, at_ms: Option<u64>, done: Done<StoredThread>) {
        self.inner.archive(thread, at_ms, done);
    }

    fn delete(&self, thread: ThreadId, done: Done<u64>) {
        self.inner.delete(thread, done);
    }

    fn watch(&self, told: StoreWatch) {
        self.faults.lock().watches.push(told.clone());
        self.inner.watch(told);
    }
}
