//! All that can be read of a store through [`ThreadStore`], as text: to compare two stores, or one
//! with itself.

use std::collections::BTreeMap;
use std::fmt::Debug;

use coppicer::{
    Archived, Done, EdgeStatus, Order, Seq, SortBy, StoreError, SubmissionId, ThreadId,
    ThreadQuery, ThreadStore,
};
use futures::future::join_all;

/// What was read, by what was asked.
pub type Dump = BTreeMap<String, Result<String, StoreError>>;

/// Whose, in the names of a dump.
fn whose(thread: ThreadId) -> String {
    format!("thread {thread}")
}

fn text<T: Debug>(found: Result<T, StoreError>) -> Result<String, StoreError> {
    found.map(|found| format!("{found:?}"))
}

/// Reads everything. With `acquire`, threads are taken over at the end, to see what waits in them.
pub async fn dump(
    store: &dyn ThreadStore,
    threads: &[ThreadId],
    submissions: &[(ThreadId, SubmissionId)],
    acquire: bool,
) -> Dump {
    let mut dump = Dump::new();
    lists(store, &mut dump).await;
    let whole = threads.iter().map(|&thread| one(store, thread));
    dump.extend(join_all(whole).await.into_iter().flatten());
    let known = submissions.iter().map(|(thread, id)| async move {
        let (done, found) = Done::channel();
        store.submission(*thread, id, done);
        (format!("{}: submission {id}", whose(*thread)), text(found.await))
    });
    dump.extend(join_all(known).await);
    dump.insert("unfinished".into(), text(store.unfinished(None, 10_000).await));
    if acquire {
        for &thread in threads {
            let (done, acquired) = Done::channel();
            store.acquire(thread, done);
            dump.insert(format!("{}: acquired", whose(thread)), text(acquired.await));
        }
    }
    dump
}

/// What is told of one thread. A damaged record that is met takes the thread out of use: rows are
/// read before histories.
async fn one(store: &dyn ThreadStore, thread: ThreadId) -> Dump {
    let mut dump = Dump::new();
    let mut add =
        |what: &str, found| drop(dump.insert(format!("{}: {what}", whose(thread)), found));
    add("row", text(store.thread(thread).await));
    let history = store.read(thread, None).await;
    add("history", text(history.map(|it| it.iter().cloned().collect::<Vec<_>>())));
    add("later", text(store.read_range(thread, Seq(2), None).await.map(|it| it.len())));
    add("view start", text(store.view_start(thread, None).await));
    for filter in [None, Some(EdgeStatus::Open), Some(EdgeStatus::Closed)] {
        add(&format!("children {filter:?}"), text(store.children(thread, filter).await));
        add(&format!("below {filter:?}"), text(store.descendants(thread, filter).await));
    }
    let (done, mail) = Done::channel();
    store.mail(thread, done);
    add("mail", text(mail.await));
    add("crashes", text(store.crashes(thread).await));
    dump
}

async fn lists(store: &dyn ThreadStore, dump: &mut Dump) {
    dump.insert("count".to_owned(), text(store.count().await));
    let base = |archived| ThreadQuery::all().archived(archived);
    let queries = [
        ("by id", base(Archived::Any)),
        ("newest", base(Archived::Any).sorted(SortBy::Created, Order::Descending)),
        ("changed", base(Archived::Any).sorted(SortBy::Updated, Order::Ascending)),
        ("archive", base(Archived::Only)),
        ("at hand", base(Archived::No)),
        ("roots", base(Archived::Any).roots()),
        ("found", base(Archived::Any).search("1")),
        ("in a folder", base(Archived::Any).in_cwds(vec!["/w/1".into(), "/w/4".into()])),
    ];
    for (name, query) in queries {
        let mut ids = Vec::new();
        let mut query = query.take(15);
        let found = loop {
            match store.list(query.clone()).await {
                Ok(page) => {
                    ids.extend(page.threads.iter().map(|thread| thread.id));
                    match page.next {
                        Some(next) => query = query.after(Some(next)),
                        None => break Ok(ids),
                    }
                }
                Err(error) => break Err(error),
            }
        };
        dump.insert(format!("list {name}"), text(found));
    }
}
