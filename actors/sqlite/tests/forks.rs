//! Forks on disk: shared, collected when nobody needs them any more, and never too deep.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use coppicer_actors::{Base, NewThread, ThreadStore};
use coppicer_messages::{Seq, StoreError};
use coppicer_sqlite::{SqliteOptions, SqliteStore};
use support::*;

fn fork(n: u64, of: u64, cut: u64) -> NewThread {
    let base = Some(Base { thread: id(of), cut: Seq(cut) });
    NewThread { base, ..NewThread::root(id(n), n) }
}

/// Rows of a table, counted by another connection once the collector is done.
async fn settle_and_count(store: SqliteStore, path: &std::path::Path, table: &str) -> i64 {
    // The writer collects between requests, and ends only when it has carried out what waits; a
    // store that is opened again goes on where it stopped.
    store.close();
    let store = SqliteStore::open(path).unwrap();
    let garbage = || -> i64 {
        let sql = "SELECT count(*) FROM garbage";
        shell(path).query_row(sql, [], |row| row.get(0)).unwrap()
    };
    while garbage() > 0 {
        store.thread(id(999)).await.unwrap_err();
    }
    store.close();
    let sql = format!("SELECT count(*) FROM {table}");
    shell(path).query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_fork_writes_a_row_and_no_copy() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let fence = root(&store, 1).await;
    let all: Vec<String> = (0..3_000).map(|n| format!("record {n}")).collect();
    append(&store, fence, 0, written(&all.iter().map(String::as_str).collect::<Vec<_>>()))
        .await
        .unwrap();
    create(&store, fork(2, 1, 2_500), &["on"]).await.unwrap();
    create(&store, fork(3, 2, 2_501), &["further"]).await.unwrap();
    assert_eq!(texts(&store, 3).await.unwrap()[..2_500], all[..2_500]);
    assert_eq!(texts(&store, 3).await.unwrap()[2_500..], ["on", "further"]);
    store.close();
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        shell(&path).query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("record"), count("lineage")), (3_002, 3));
}

#[tokio::test]
async fn what_no_fork_needs_is_collected_and_what_one_needs_is_not() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let fence = root(&store, 1).await;
    let all: Vec<String> = (0..9_000).map(|n| n.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    append(&store, fence, 0, written(&all)).await.unwrap();
    create(&store, fork(2, 1, 10), &["x"]).await.unwrap();
    create(&store, fork(3, 1, 4), &["y"]).await.unwrap();
    assert_eq!(delete(&store, 1).await, Ok(1));
    assert_eq!(settle_and_count(store, &path, "record").await, 10 + 2);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(texts(&store, 2).await.unwrap().len(), 11);
    assert_eq!(delete(&store, 2).await, Ok(1));
    assert_eq!(settle_and_count(store, &path, "record").await, 4 + 1);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(texts(&store, 3).await.unwrap(), ["0", "1", "2", "3", "y"]);
    assert!(store.verify().await.unwrap().is_sound());
    assert_eq!(delete(&store, 3).await, Ok(1));
    assert_eq!(settle_and_count(store, &path, "record").await, 0);
    let count: i64 =
        shell(&path).query_row("SELECT count(*) FROM thread", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 0, "no hidden thread is left either");
}

#[tokio::test]
async fn a_chain_of_forks_past_the_limit_gets_copies_and_goes_on() {
    let (_folder, path) = place();
    let mut options = SqliteOptions::new();
    options.lineage_max = 3;
    let store = SqliteStore::open_with(&path, options).unwrap();
    create(&store, NewThread::root(id(1), 1), &["1"]).await.unwrap();
    for n in 2..=10 {
        let text = n.to_string();
        let made = create(&store, fork(n, n - 1, n - 1), &[&text]).await.unwrap();
        assert_eq!(made.thread.head, Seq(n));
        let expected: Vec<String> = (1..=n).map(|n| n.to_string()).collect();
        assert_eq!(texts(&store, n).await.unwrap(), expected);
    }
    assert!(store.verify().await.unwrap().is_sound());
    store.close();
    let deepest: i64 = shell(&path)
        .query_row(
            "SELECT max(n) FROM (SELECT count(*) n FROM lineage GROUP BY thread)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(deepest, 3);
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_and_one_that_just_fits_is_kept() {
    let (_folder, path) = place();
    let mut options = SqliteOptions::new();
    options.record_bytes_max = 1_000;
    let store = SqliteStore::open_with(&path, options).unwrap();
    let fence = root(&store, 1).await;
    let (fits, too_large) = ("x".repeat(1_000), "x".repeat(1_001));
    append(&store, fence, 0, written(&[&fits])).await.unwrap();
    let refused = append(&store, fence, 1, written(&["a", &too_large])).await;
    let error = StoreError::TooLarge { what: "record", got: 1_001, max: 1_000 };
    assert_eq!(refused, Err(error.clone()));
    assert_eq!(create(&store, NewThread::root(id(2), 2), &[&too_large]).await, Err(error));
    assert_eq!(texts(&store, 1).await.unwrap(), [fits]);
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_at_once_and_what_it_took_is_kept() {
    let (_folder, path) = place();
    let mut options = SqliteOptions::new();
    (options.queue_bytes_max, options.queue_requests_max) = (20_000, 8);
    let store = SqliteStore::open_with(&path, options).unwrap();
    let fence = root(&store, 1).await;
    let text = "x".repeat(1_000);
    let appends = (0..200).map(|n| {
        let mut batch = written(&[&text]);
        batch.number = n + 1;
        append(&store, fence, n, batch)
    });
    let answers = futures::future::join_all(appends).await;
    let kept = answers.iter().take_while(|answer| answer.is_ok()).count();
    assert!(kept > 0 && kept < 200, "{kept}");
    let busy = matches!(&answers[kept], Err(StoreError::Unavailable { reason }) if reason.contains("wait"));
    assert!(busy, "{:?}", answers[kept]);
    assert!(answers[kept..].iter().all(Result::is_err), "what follows a refused one is refused");
    assert_eq!(texts(&store, 1).await.unwrap().len(), kept);
    // It takes more when there is room again.
    let fence = acquire(&store, 1).await.unwrap().fence;
    assert!(append(&store, fence, kept as u64, written(&["on"])).await.is_ok());
}
