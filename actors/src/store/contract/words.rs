//! The words in which the cases are written.

use coppicer_messages::{
    KnownSubmission, Mail, MailId, NewRecord, Raw, RecordClass, Seq, StoreError, SubmissionId,
    SubmissionState, ThreadId, ThreadPatch,
};
use uuid::Uuid;

use super::Store;
use crate::store::{
    Acquired, Batch, Done, EdgeChange, EdgeStatus, Fence, MailTo, NewSubmission, NewThread,
    StoredThread, ThreadCursor, ThreadMove, ThreadPage, ThreadQuery, digest,
};

pub(super) const OPEN: EdgeStatus = EdgeStatus::Open;
pub(super) const CLOSED: EdgeStatus = EdgeStatus::Closed;

pub(super) fn id(n: u64) -> ThreadId {
    ThreadId::from_parts(n, [0; 10])
}

/// An id in the style of REF 12.5.
pub(super) fn gs(n: u128) -> ThreadId {
    ThreadId::from_uuid(Uuid::from_u128(n))
}

pub(super) fn root(n: u64) -> NewThread {
    NewThread::root(id(n), 7)
}

pub(super) fn child(n: u64, of: u64) -> NewThread {
    NewThread { parent: Some(id(of)), depth: 1, ..root(n) }
}

pub(super) fn record(text: &str) -> NewRecord {
    NewRecord { at_ms: 1, class: RecordClass::Other, raw: Raw::from(text.as_bytes()) }
}

pub(super) fn records<const N: usize>(texts: [&str; N]) -> Vec<NewRecord> {
    texts.map(record).into()
}

pub(super) fn written<const N: usize>(texts: [&str; N]) -> Batch {
    Batch { records: records(texts), ..Batch::default() }
}

pub(super) fn name(text: &str) -> SubmissionId {
    SubmissionId::new(text).expect("a plain name")
}

pub(super) fn accepted(text: &str) -> NewSubmission {
    let body = format!("body of {text}");
    NewSubmission {
        id: name(text),
        digest: digest(body.as_bytes()),
        body: body.into_bytes().into(),
    }
}

pub(super) fn known(text: &str, seq: u64, state: SubmissionState) -> KnownSubmission {
    KnownSubmission::new(accepted(text).digest, Seq(seq), state)
}

pub(super) fn state(text: &str, state: SubmissionState) -> Batch {
    Batch { states: vec![(name(text), state)], ..Batch::default() }
}

pub(super) fn mail_to(reader: u64, mail: &str) -> MailTo {
    let mail = Mail {
        id: MailId::from(mail),
        sender: Some(id(1)),
        author: "/root/a".into(),
        recipient: "/root/b".into(),
        content: format!("content of {mail}"),
        trigger: true,
        trace: None,
    };
    MailTo { to: id(reader), mail }
}

pub(super) fn mail_ids(acquired: &Acquired) -> Vec<&str> {
    acquired.mail.iter().map(|mail| &*mail.id).collect()
}

pub(super) async fn create(
    store: &Store,
    new: NewThread,
    records: Vec<NewRecord>,
) -> Result<Acquired, StoreError> {
    let (done, answer) = Done::channel();
    store.create(new, records, done);
    answer.await
}

pub(super) async fn make_root(store: &Store, n: u64) -> Acquired {
    create(store, root(n), Vec::new()).await.expect("a root under a new id is made")
}

pub(super) async fn acquire(store: &Store, n: u64) -> Result<Acquired, StoreError> {
    let (done, answer) = Done::channel();
    store.acquire(id(n), done);
    answer.await
}

pub(super) async fn append(
    store: &Store,
    fence: Fence,
    expected: u64,
    batch: Batch,
) -> Result<Seq, StoreError> {
    let (done, answer) = Done::channel();
    store.append(fence, Seq(expected), batch, done);
    answer.await
}

pub(super) async fn undo_create(store: &Store, fence: Fence) -> Result<(), StoreError> {
    let (done, answer) = Done::channel();
    store.undo_create(fence, done);
    answer.await
}

pub(super) async fn look_up(
    store: &Store,
    thread: u64,
    submission: &str,
) -> Result<Option<KnownSubmission>, StoreError> {
    let (done, answer) = Done::channel();
    store.submission(id(thread), &name(submission), done);
    answer.await
}

pub(super) async fn texts(store: &Store, n: u64) -> Vec<String> {
    let history = store.read(id(n), None).await.expect("the thread can be read");
    let text = |raw: &Raw| String::from_utf8(raw.to_vec()).expect("what was written is text");
    history.iter().map(|record| text(&record.raw)).collect()
}

pub(super) async fn listed(store: &Store, after: Option<ThreadId>, count: usize) -> Vec<ThreadId> {
    let query = ThreadQuery::all().after(after.map(ThreadCursor::behind)).take(count);
    ids(&store.list(query).await.expect("a list can be read"))
}

pub(super) fn ids(page: &ThreadPage) -> Vec<ThreadId> {
    page.threads.iter().map(|thread| thread.id).collect()
}

pub(super) async fn patch(
    store: &Store,
    n: u64,
    patch: ThreadPatch,
) -> Result<StoredThread, StoreError> {
    let (done, answer) = Done::channel();
    store.patch(id(n), patch, done);
    answer.await
}

pub(super) async fn archive(
    store: &Store,
    n: u64,
    at_ms: Option<u64>,
) -> Result<StoredThread, StoreError> {
    let (done, answer) = Done::channel();
    store.archive(id(n), at_ms, done);
    answer.await
}

pub(super) async fn delete(store: &Store, n: u64) -> Result<u64, StoreError> {
    let (done, answer) = Done::channel();
    store.delete(id(n), done);
    answer.await
}

pub(super) async fn relocate(store: &Store, to: ThreadMove) -> Result<(), StoreError> {
    let (done, answer) = Done::channel();
    store.relocate(to, done);
    answer.await
}

pub(super) async fn put_edge(store: &Store, child: u128, change: EdgeChange) {
    let (done, answer) = Done::channel();
    store.put_edge(gs(child), change, done);
    answer.await.expect("an edge can be written");
}

/// Inserts edges, in this order, between threads that are made for them.
pub(super) async fn edges(store: &Store, edges: &[(u128, u128, EdgeStatus)]) {
    for &(parent, child, status) in edges {
        for thread in [parent, child] {
            if store.thread(gs(thread)).await.is_err() {
                let made = create(store, NewThread::root(gs(thread), 7), Vec::new()).await;
                made.expect("a root under a new id is made");
            }
        }
        put_edge(store, child, EdgeChange::Parent(gs(parent), status)).await;
    }
}

pub(super) fn numbers(threads: &[ThreadId]) -> Vec<u128> {
    threads.iter().map(|thread| thread.as_uuid().as_u128()).collect()
}

pub(super) async fn children(store: &Store, parent: u128, filter: Option<EdgeStatus>) -> Vec<u128> {
    numbers(&store.children(gs(parent), filter).await.expect("edges can be read"))
}

pub(super) async fn descendants(
    store: &Store,
    root: u128,
    filter: Option<EdgeStatus>,
) -> Vec<u128> {
    numbers(&store.descendants(gs(root), filter).await.expect("edges can be read"))
}
