//! Cases of REF 12.6, 12.7 and 12.8 on disk. REF keeps a file per thread and looks for it; here one
//! store has all, so what is about finding files (LS-13 to LS-15, LS-19, LS-21 to LS-25) has no like.
//! Listing, patches and archives (LS-26 to LS-33, TS-02 to TS-06) are in the contract suite.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::fs;

use coppicer_actors::{Archived, Batch, Done, NewThread, ThreadQuery, ThreadStore, record_of};
use coppicer_messages::{Seq, StoreError, ThreadConfig, ThreadPatch};
use coppicer_sqlite::{OpenError, SqliteOptions, SqliteStore};
use support::*;

#[tokio::test]
async fn ls_01_what_was_appended_is_in_the_file_and_nothing_is_after_the_writer_went() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let fence = root(&store, 1).await;
    append(&store, fence, 0, written(&["first live write"])).await.unwrap();
    // Another process sees it: it is in the file.
    let reader = SqliteStore::open_with(&path, SqliteOptions::new().read_only()).unwrap();
    assert_eq!(texts(&reader, 1).await.unwrap(), ["first live write"]);
    acquire(&store, 1).await.unwrap();
    let late = append(&store, fence, 1, written(&["late"])).await;
    assert_eq!(late, Err(StoreError::Fenced { thread: id(1) }));
}

#[tokio::test]
async fn ls_02_an_append_derives_nothing_and_ls_03_what_is_told_with_it_is_kept() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let fence = root(&store, 1).await;
    let user = r#"{"type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"observed append"}]}}"#;
    let records = vec![record_of(user.as_bytes())];
    append(&store, fence, 0, Batch { records, ..Batch::default() }).await.unwrap();
    assert_eq!(store.thread(id(1)).await.unwrap().details.preview, None);
    let patch = Some(Box::new(ThreadPatch::default().with_preview("observed append")));
    append(&store, fence, 1, Batch { patch, ..Batch::default() }).await.unwrap();
    let details = store.thread(id(1)).await.unwrap().details;
    assert_eq!(details.preview.as_deref(), Some("observed append"));
}

#[tokio::test]
async fn ls_04_ls_09_what_is_taken_back_leaves_no_row_and_takes_no_append() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let fence = root(&store, 1).await;
    let (done, undone) = Done::channel();
    store.undo_create(fence, done);
    undone.await.unwrap();
    let late = append(&store, fence, 0, written(&["late"])).await;
    assert_eq!(late, Err(StoreError::NotFound { thread: id(1) }));
    store.close();
    assert!(
        SqliteStore::open(&path)
            .unwrap()
            .list(ThreadQuery::all())
            .await
            .unwrap()
            .threads
            .is_empty()
    );
}

#[tokio::test]
async fn ls_10_a_second_store_on_the_same_file_goes_on_where_the_first_ended() {
    let (_folder, path) = place();
    let first = SqliteStore::open(&path).unwrap();
    let fence = root(&first, 1).await;
    append(&first, fence, 0, written(&["before resume"])).await.unwrap();
    first.close();
    let second = SqliteStore::open(&path).unwrap();
    let fence = acquire(&second, 1).await.unwrap().fence;
    append(&second, fence, 1, written(&["after resume"])).await.unwrap();
    assert_eq!(texts(&second, 1).await.unwrap(), ["before resume", "after resume"]);
}

#[tokio::test]
async fn ls_11_ls_12_an_id_has_one_live_writer() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let fence = root(&store, 1).await;
    let again = create(&store, NewThread::root(id(1), 1), &["other"]).await;
    assert_eq!(again, Err(StoreError::Exists { thread: id(1) }));
    // A resume is no second writer: it takes the place of the first.
    let next = acquire(&store, 1).await.unwrap().fence;
    assert!(append(&store, fence, 0, written(&["x"])).await.is_err());
    assert_eq!(append(&store, next, 0, written(&["y"])).await, Ok(Seq(1)));
}

#[tokio::test]
async fn ls_16_ls_20_an_archived_thread_takes_appends_and_is_listed_with_the_archived() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let fence =
        create(&store, NewThread::root(id(1), 1), &["Archived user message"]).await.unwrap();
    let (done, archived) = Done::channel();
    store.archive(id(1), Some(9), done);
    assert_eq!(archived.await.unwrap().archived_ms, Some(9));
    append(&store, fence.fence, 1, written(&["on"])).await.unwrap();
    assert_eq!(texts(&store, 1).await.unwrap(), ["Archived user message", "on"]);
    let list = async |archived| {
        let page = store.list(ThreadQuery::new().archived(archived)).await.unwrap();
        page.threads.len()
    };
    assert_eq!((list(Archived::No).await, list(Archived::Only).await), (0, 1));
}

#[tokio::test]
async fn ls_17_ls_18_ls_28_a_thread_is_read_with_all_that_a_list_shows_of_it() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let mut new = NewThread::root(id(1), 1_735_923_600_000);
    let mut config = ThreadConfig::default().with_cwd("/w");
    config.source = Some("cli".into());
    new.config = config.into();
    new.details.preview = Some("Hello from user".into());
    new.rollout_path = Some("sessions/rollout.jsonl".into());
    create(&store, new, &["meta", "Hello from user"]).await.unwrap();
    let stored = store.thread(id(1)).await.unwrap();
    assert_eq!(stored.details.preview.as_deref(), Some("Hello from user"));
    assert_eq!(stored.rollout_path.as_deref(), Some("sessions/rollout.jsonl"));
    assert_eq!((stored.archived_ms, stored.created_ms), (None, 1_735_923_600_000));
    let mut query = ThreadQuery::new();
    query.sources = Some(vec!["cli".into()]);
    let page = store.list(query).await.unwrap();
    assert_eq!((page.threads, page.next), (vec![stored], None));
    assert_eq!(texts(&store, 1).await.unwrap().len(), 2);
}

#[tokio::test]
async fn ts_07_ts_08_what_was_never_made_is_not_found() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let missing = StoreError::NotFound { thread: id(7) };
    assert_eq!(store.thread(id(7)).await, Err(missing.clone()));
    assert_eq!(store.read(id(7), None).await.map(|_| ()), Err(missing.clone()));
    assert_eq!(acquire(&store, 7).await, Err(missing));
}

#[tokio::test]
async fn rw_01_records_are_in_their_order_and_sent_again_they_change_nothing() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let fence = root(&store, 1).await;
    let numbered = |number, text| Batch { number, ..written(&[text]) };
    append(&store, fence, 0, numbered(1, "buffered-event")).await.unwrap();
    append(&store, fence, 1, numbered(2, "first-user-message")).await.unwrap();
    // The same append again, by its number or by its place.
    assert!(append(&store, fence, 1, numbered(2, "first-user-message")).await.is_err());
    assert!(append(&store, fence, 2, numbered(2, "first-user-message")).await.is_err());
    store.close();
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(texts(&store, 1).await.unwrap(), ["buffered-event", "first-user-message"]);
}

#[tokio::test]
async fn rw_02_a_file_in_the_way_of_the_folder_is_an_error_and_when_it_is_gone_all_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let blocker = folder.path().join("sessions");
    fs::write(&blocker, "in the way").unwrap();
    let path = blocker.join("store.db");
    let refused = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(refused, OpenError::Io { .. }), "{refused:?}");
    assert_eq!(fs::read(&blocker).unwrap(), b"in the way");
    fs::remove_file(&blocker).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let fence = root(&store, 1).await;
    append(&store, fence, 0, written(&["buffered-before-persist"])).await.unwrap();
    assert_eq!(texts(&store, 1).await.unwrap(), ["buffered-before-persist"]);
}
