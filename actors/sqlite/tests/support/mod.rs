//! The words in which these tests are written.
#![allow(dead_code, reason = "each test binary uses some of them")]
#![allow(clippy::unwrap_used, reason = "the words of tests")]

use std::path::{Path, PathBuf};

use coppicer_actors::{
    Acquired, Batch, Done, Fence, NewSubmission, NewThread, ThreadStore, digest,
};
use coppicer_messages::{
    KnownSubmission, NewRecord, RecordClass, Seq, StoreError, SubmissionId, ThreadId,
};
use coppicer_sqlite::SqliteStore;
use tempfile::TempDir;

pub(crate) fn id(n: u64) -> ThreadId {
    ThreadId::from_parts(n, [0; 10])
}

pub(crate) fn record(text: &str) -> NewRecord {
    NewRecord { at_ms: 1, class: RecordClass::Other, raw: text.as_bytes().into() }
}

pub(crate) fn written(texts: &[&str]) -> Batch {
    Batch { records: texts.iter().map(|text| record(text)).collect(), ..Batch::default() }
}

pub(crate) fn accepted(name: &str) -> NewSubmission {
    let body = format!("body of {name}").into_bytes();
    let id = SubmissionId::new(name).unwrap();
    NewSubmission { id, digest: digest(&body), body: body.into() }
}

/// A folder and the file of a store in it.
pub(crate) fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

pub(crate) async fn create(
    store: &SqliteStore,
    new: NewThread,
    texts: &[&str],
) -> Result<Acquired, StoreError> {
    let (done, answer) = Done::channel();
    store.create(new, written(texts).records, done);
    answer.await
}

pub(crate) async fn root(store: &SqliteStore, n: u64) -> Fence {
    create(store, NewThread::root(id(n), n), &[]).await.unwrap().fence
}

pub(crate) async fn acquire(store: &SqliteStore, n: u64) -> Result<Acquired, StoreError> {
    let (done, answer) = Done::channel();
    store.acquire(id(n), done);
    answer.await
}

pub(crate) async fn append(
    store: &SqliteStore,
    fence: Fence,
    at: u64,
    batch: Batch,
) -> Result<Seq, StoreError> {
    let (done, answer) = Done::channel();
    store.append(fence, Seq(at), batch, done);
    answer.await
}

pub(crate) async fn delete(store: &SqliteStore, n: u64) -> Result<u64, StoreError> {
    let (done, answer) = Done::channel();
    store.delete(id(n), done);
    answer.await
}

pub(crate) async fn known(
    store: &SqliteStore,
    n: u64,
    name: &str,
) -> Result<Option<KnownSubmission>, StoreError> {
    let (done, answer) = Done::channel();
    store.submission(id(n), &SubmissionId::new(name).unwrap(), done);
    answer.await
}

pub(crate) async fn texts(store: &SqliteStore, n: u64) -> Result<Vec<String>, StoreError> {
    let history = store.read(id(n), None).await?;
    Ok(history.iter().map(|r| String::from_utf8(r.raw.to_vec()).unwrap()).collect())
}

/// The file as a person with a shell would open it. The store must be closed, or only read from.
pub(crate) fn shell(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}
