//! The store itself: requests to the writer, reads from the pool.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coppicer_actors::{
    Acquired, Batch, Done, EdgeChange, EdgeStatus, Excerpt, ExcerptQuery, Fence, History,
    NewThread, StoreWatch, StoredThread, ThreadMove, ThreadPage, ThreadQuery, ThreadStore,
};
use coppicer_messages::{
    AgentPath, Charge, CrashRecord, KnownSubmission, Ledger, Mail, MailPage, MailPlace, NewRecord,
    Seq, StoreError, SubmissionId, ThreadId, ThreadPatch,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use rusqlite::Connection;

use crate::error::{Fault, OpenError};
use crate::open::open;
use crate::options::SqliteOptions;
use crate::pool::Pool;
use crate::verify::{Verification, verify};
use crate::writer::{Request, Writer, crashes, mail_page, submission};
use crate::{list, marks, names, reader, rows};

/// Threads in one SQLite file.
///
/// Dropping it carries out what waits and lets go of the file; what was not answered by then may or
/// may not be in it. Use it inside a tokio runtime: reads run on its blocking threads.
pub struct SqliteStore {
    path: PathBuf,
    pool: Arc<Pool>,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the store at `path`, or makes one there, with the default [`SqliteOptions`]. Blocks for
    /// some file accesses; after a crash also for the replay of the write-ahead log (at most some
    /// megabytes).
    ///
    /// # Errors
    /// An [`OpenError`]; nothing was changed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, SqliteOptions::default())
    }

    /// Opens the store at `path` with other options.
    ///
    /// # Errors
    /// An [`OpenError`]; nothing was changed.
    pub fn open_with(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        let path = path.as_ref().to_owned();
        let mut opened = open(&path, &options)?;
        let pool = Arc::new(Pool::new(path.clone(), options.clone()));
        let writer = match opened.owner.take() {
            None => Writer::none(),
            Some(owner) => Writer::start(path.clone(), opened, owner, options, pool.clone())
                .map_err(|source| OpenError::Io {
                    path: path.clone(),
                    what: "cannot start its writer",
                    source,
                })?,
        };
        Ok(Self { path, pool, writer })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Carries out what waits and lets go of the file. Blocks for as long as that takes.
    pub fn close(mut self) {
        self.writer.close();
    }

    /// Checks the whole store as it is now: the file (SQLite's own check), every checksum, and what
    /// must be so between threads, records, edges and submissions. Reads every page; writes go on.
    ///
    /// # Errors
    /// `Unavailable`: the file cannot be read at all. What is wrong in it is in the answer.
    pub async fn verify(&self) -> Result<Verification, StoreError> {
        self.pool.read(verify).await.map_err(|failed| failed.0)
    }

    /// Reads, and tells what was found.
    fn tell<T: Send + 'static>(
        &self,
        done: Done<T>,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) {
        let pool = self.pool.clone();
        drop(tokio::spawn(async move {
            done.tell(pool.read(read).await.map_err(|failed| failed.0));
        }));
    }

    /// Reads. A damaged record that is met takes its thread out of use.
    async fn read_with<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = match self.pool.read(read).await {
            Ok(value) => return Ok(value),
            Err(failed) => failed,
        };
        if let Some((thread, seq, reason)) = failed.damage() {
            let (done, noted) = Done::channel();
            self.writer.ask(Request::Quarantine { thread, seq, reason, done });
            // A store that cannot note it now meets it again with the next read.
            drop(noted.await);
        }
        Err(failed.0)
    }
}

impl ThreadStore for SqliteStore {
    fn create(&self, thread: NewThread, records: Vec<NewRecord>, done: Done<Acquired>) {
        self.writer.ask(Request::Create { thread: Box::new(thread), records, done });
    }

    fn acquire(&self, thread: ThreadId, done: Done<Acquired>) {
        self.writer.ask(Request::Acquire { thread, done });
    }

    fn append(&self, fence: Fence, expected: Seq, batch: Batch, done: Done<Seq>) {
        self.writer.ask(Request::Append { fence, expected, batch: Box::new(batch), done });
    }

    fn undo_create(&self, fence: Fence, done: Done<()>) {
        self.writer.ask(Request::UndoCreate { fence, done });
    }

    fn put_edge(&self, child: ThreadId, edge: EdgeChange, done: Done<()>) {
        self.writer.ask(Request::PutEdge { child, change: edge, done });
    }

    fn relocate(&self, to: ThreadMove, done: Done<()>) {
        self.writer.ask(Request::Relocate { to: Box::new(to), done });
    }

    // Through the writer, so that what was asked before is seen; where there is none, nothing was.

    fn submission(&self, thread: ThreadId, id: &SubmissionId, done: Done<Option<KnownSubmission>>) {
        let id = id.clone();
        if self.writer.is_there() {
            return self.writer.ask(Request::Submission { thread, id, done });
        }
        self.tell(done, move |connection| submission(connection, thread, &id));
    }

    fn mail(&self, thread: ThreadId, done: Done<Vec<Mail>>) {
        let page = Done::new(|page: Result<MailPage, _>| done.tell(page.map(|page| page.mail)));
        self.mail_page(thread, MailPlace::default(), usize::MAX, page);
    }

    fn mail_page(&self, thread: ThreadId, after: MailPlace, most: usize, done: Done<MailPage>) {
        if self.writer.is_there() {
            return self.writer.ask(Request::Mail { thread, after, most, done });
        }
        self.tell(done, move |connection| mail_page(connection, thread, after, most));
    }

    fn charge(&self, charges: Vec<Charge>, done: Done<Vec<Option<Ledger>>>) {
        self.writer.ask(Request::Charge { charges, done });
    }

    fn crashes(&self, thread: ThreadId) -> BoxFuture<'_, Result<Vec<CrashRecord>, StoreError>> {
        self.read_with(move |connection| {
            let pk = rows::find_thread(connection, thread)?.pk;
            crashes(connection, thread, pk)
        })
        .boxed()
    }

    fn count(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.read_with(list::count).boxed()
    }

    fn thread(&self, thread: ThreadId) -> BoxFuture<'_, Result<StoredThread, StoreError>> {
        self.read_with(move |connection| Ok(rows::find_thread(connection, thread)?.stored)).boxed()
    }

    fn read_range(
        &self,
        thread: ThreadId,
        from: Seq,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<History, StoreError>> {
        self.read_piece(thread, from, end, usize::MAX)
    }

    fn read_piece(
        &self,
        thread: ThreadId,
        from: Seq,
        end: Option<Seq>,
        bytes: usize,
    ) -> BoxFuture<'_, Result<History, StoreError>> {
        let read = move |connection: &_| reader::read_piece(connection, thread, from, end, bytes);
        self.read_with(read).boxed()
    }

    fn excerpt(
        &self,
        thread: ThreadId,
        end: Option<Seq>,
        query: ExcerptQuery,
    ) -> BoxFuture<'_, Result<Excerpt, StoreError>> {
        self.read_with(move |connection| marks::excerpt(connection, thread, end, &query)).boxed()
    }

    fn view_start(
        &self,
        thread: ThreadId,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<Seq, StoreError>> {
        self.read_with(move |connection| reader::find_view_start(connection, thread, end)).boxed()
    }

    fn children(
        &self,
        parent: ThreadId,
        filter: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.read_with(move |connection| list::children(connection, parent, filter)).boxed()
    }

    fn descendants(
        &self,
        root: ThreadId,
        filter: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.read_with(move |connection| list::descendants(connection, root, filter)).boxed()
    }

    fn detaching(&self, root: ThreadId) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.read_with(move |connection| list::detaching(connection, root)).boxed()
    }

    fn at_path(
        &self,
        root: ThreadId,
        path: &AgentPath,
    ) -> BoxFuture<'_, Result<Option<ThreadId>, StoreError>> {
        let path = path.clone();
        self.read_with(move |connection| names::at_path(connection, root, &path)).boxed()
    }

    fn nicknames_taken(
        &self,
        root: ThreadId,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        self.read_with(move |connection| names::nicknames_taken(connection, root, names)).boxed()
    }

    fn list(&self, query: ThreadQuery) -> BoxFuture<'_, Result<ThreadPage, StoreError>> {
        self.read_with(move |connection| list::list(connection, &query)).boxed()
    }

    fn unfinished(
        &self,
        after: Option<ThreadId>,
        count: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.read_with(move |connection| list::unfinished(connection, after, count)).boxed()
    }

    fn is_unfinished(&self, thread: ThreadId) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.read_with(move |connection| list::is_unfinished(connection, thread)).boxed()
    }

    fn patch(&self, thread: ThreadId, patch: ThreadPatch, done: Done<StoredThread>) {
        self.writer.ask(Request::Patch { thread, patch: Box::new(patch), done });
    }

    fn archive(&self, thread: ThreadId, at_ms: Option<u64>, done: Done<StoredThread>) {
        self.writer.ask(Request::Archive { thread, at_ms, done });
    }

    fn delete(&self, thread: ThreadId, done: Done<u64>) {
        self.writer.ask(Request::Delete { thread, done });
    }

    fn watch(&self, told: StoreWatch) {
        self.writer.watch(&told);
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}
