//! Damage: it is named, it takes its own thread out of use, and no other.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::sync::Arc;

use coppicer_actors::{
    Base, Batch, NewThread, Order, SortBy, StoreHealth, ThreadQuery, ThreadStore,
};
use coppicer_messages::{Outcome, Seq, StoreError, SubmissionState, ThreadStatus};
use coppicer_sqlite::{Finding, SqliteStore};
use parking_lot::Mutex;
use support::*;

/// A store with threads 1 and 2 of ten records each, closed.
async fn filled(path: &std::path::Path) {
    let store = SqliteStore::open(path).unwrap();
    for n in [1, 2] {
        let fence = root(&store, n).await;
        let all: Vec<String> = (0..10).map(|at| format!("record {at} of {n}")).collect();
        let mut batch = written(&all.iter().map(String::as_str).collect::<Vec<_>>());
        batch.accepted = vec![accepted("waits")];
        append(&store, fence, 0, batch).await.unwrap();
    }
    store.close();
}

fn harm(path: &std::path::Path, sql: &str) {
    let changed = shell(path).execute(sql, []).unwrap();
    assert!(changed > 0, "{sql}");
}

#[tokio::test]
async fn a_damaged_record_is_named_and_takes_its_thread_alone_out_of_use() {
    for (sql, reason) in [
        (
            "UPDATE record SET raw = CAST('Record 5 of 1' AS BLOB) WHERE thread = 1 AND seq = 5",
            "checksum",
        ),
        ("UPDATE record SET kind = 21 WHERE thread = 1 AND seq = 5", "checksum"),
        ("UPDATE record SET at_ms = 2 WHERE thread = 1 AND seq = 5", "checksum"),
        ("UPDATE record SET ref = 'x' WHERE thread = 1 AND seq = 5", "checksum"),
        ("DELETE FROM record WHERE thread = 1 AND seq = 5", "missing"),
    ] {
        let (_folder, path) = place();
        filled(&path).await;
        harm(&path, sql);
        let store = SqliteStore::open(&path).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let watch = told.clone();
        store.watch(Arc::new(move |health| watch.lock().push(health)));
        let fence = acquire(&store, 1).await.unwrap().fence;

        let error = store.read(id(1), None).await.unwrap_err();
        let named = matches!(&error, StoreError::Corrupt { thread, seq, reason: how }
            if (*thread, *seq) == (id(1), Seq(5)) && how.contains(reason));
        assert!(named, "{sql}: {error:?}");
        // Up to there it can be read, and forked.
        assert_eq!(store.read(id(1), Some(Seq(5))).await.unwrap().len(), 5);
        let base = Some(Base { thread: id(1), cut: Seq(5) });
        create(&store, NewThread { base, ..NewThread::root(id(3), 3) }, &["on"]).await.unwrap();
        assert_eq!(texts(&store, 3).await.unwrap().len(), 6);
        // It is fenced off, and ended; nobody waits for ever.
        let thread = store.thread(id(1)).await.unwrap();
        assert!(matches!(&thread.status, ThreadStatus::Damaged(what) if what.contains("record 5")));
        assert!(append(&store, fence, 10, written(&["late"])).await.is_err());
        assert!(matches!(acquire(&store, 1).await, Err(StoreError::Corrupt { seq: Seq(5), .. })));
        let ended = known(&store, 1, "waits").await.unwrap().unwrap().state;
        assert!(matches!(ended, SubmissionState::Ended(Outcome::Failed { .. })), "{ended:?}");
        assert_eq!(store.unfinished(None, 9).await.unwrap(), [id(2)]);
        // Told once, however often it is met.
        store.read(id(1), None).await.unwrap_err();
        let damaged = |health: &StoreHealth| matches!(health, StoreHealth::Damaged { thread, seq, .. } if (*thread, *seq) == (id(1), Seq(5)));
        assert_eq!(told.lock().iter().filter(|health| damaged(health)).count(), 1);
        // The others go on.
        let other = acquire(&store, 2).await.unwrap();
        assert_eq!(append(&store, other.fence, 10, written(&["on"])).await, Ok(Seq(11)));
        assert_eq!(texts(&store, 2).await.unwrap().len(), 11);
        assert_eq!(store.list(ThreadQuery::all()).await.unwrap().threads.len(), 3);

        let found = store.verify().await.unwrap();
        let record = |finding: &Finding| matches!(finding, Finding::Record { thread: Some(thread), seq: Seq(5), .. } if *thread == id(1));
        assert!(found.findings.iter().any(record), "{found:?}");
        let text = found.findings.iter().find(|finding| record(finding)).unwrap().to_string();
        assert!(text.starts_with(&format!("record 5 of thread {} is damaged", id(1))), "{text}");
    }
}

#[tokio::test]
async fn what_stands_beside_the_records_is_under_a_checksum_too() {
    for (sql, what) in [
        ("UPDATE thread SET cwd = 'elsewhere' WHERE pk = 1", "the row of a thread"),
        ("UPDATE thread SET parent = NULL, edge = 'open' WHERE pk = 1", "the row of a thread"),
        ("UPDATE state SET epoch = 9 WHERE thread = 1", "the state of a thread"),
        ("UPDATE state SET status = 'parked' WHERE thread = 1", "the state of a thread"),
        ("INSERT INTO task VALUES (1, 'another', 0)", "what was asked of a thread last"),
        ("UPDATE submission SET attempt = 3 WHERE thread = 1", "a submission"),
        ("UPDATE submission SET body = CAST('another' AS BLOB) WHERE thread = 1", "a submission"),
    ] {
        let (_folder, path) = place();
        filled(&path).await;
        harm(&path, sql);
        let store = SqliteStore::open(&path).unwrap();
        assert!(matches!(acquire(&store, 1).await, Err(StoreError::Corrupt { .. })), "{sql}");
        if !sql.contains("submission") {
            assert!(matches!(store.thread(id(1)).await, Err(StoreError::Corrupt { .. })), "{sql}");
        }
        // Listed all the same, as what it is; the other one is as it was.
        let listed = store.list(ThreadQuery::all()).await.unwrap().threads;
        assert_eq!(listed.len(), 2, "{sql}");
        acquire(&store, 2).await.unwrap();
        let found = store.verify().await.unwrap().findings;
        let told = found.iter().any(|finding| {
            matches!(finding, Finding::Thread { thread: Some(thread), what: told }
                if *thread == id(1) && told.contains(what))
        });
        assert!(
            told || listed.iter().any(|row| matches!(row.status, ThreadStatus::Damaged(_))),
            "{sql}: {found:?}"
        );
    }
}

#[tokio::test]
async fn a_verification_finds_what_contradicts_itself() {
    for (sql, what) in [
        (
            "DELETE FROM record WHERE thread = 1 AND seq = 9",
            "its head is not where its records end",
        ),
        ("DELETE FROM state WHERE thread = 1", "it has no state"),
        (
            "UPDATE thread SET parent = 'nobody', edge = 'open' WHERE pk = 1",
            "its parent is not there",
        ),
        ("UPDATE state SET settled = 11 WHERE thread = 1", "it is settled past its head"),
        ("UPDATE submission SET body = NULL WHERE thread = 1", "has no body"),
        ("DELETE FROM thread WHERE pk = 1", "records of a thread that is not there"),
    ] {
        let (_folder, path) = place();
        filled(&path).await;
        let store = SqliteStore::open(&path).unwrap();
        let before = store.verify().await.unwrap();
        assert!(before.is_sound(), "{before:?}");
        assert_eq!((before.threads, before.records), (2, 20));
        store.close();
        harm(&path, sql);
        let found = SqliteStore::open(&path).unwrap().verify().await.unwrap();
        assert!(
            found.findings.iter().any(|finding| finding.to_string().contains(what)),
            "{sql}: {found:?}"
        );
    }
}

#[tokio::test]
async fn a_damaged_base_takes_its_forks_reading_along_and_nothing_else() {
    let (_folder, path) = place();
    filled(&path).await;
    let store = SqliteStore::open(&path).unwrap();
    for (n, cut) in [(3, 8), (4, 3)] {
        let base = Some(Base { thread: id(1), cut: Seq(cut) });
        create(&store, NewThread { base, ..NewThread::root(id(n), n) }, &["on"]).await.unwrap();
    }
    store.close();
    harm(&path, "UPDATE record SET raw = CAST('x' AS BLOB) WHERE thread = 1 AND seq = 5");
    let store = SqliteStore::open(&path).unwrap();
    let error = store.read(id(3), None).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { thread, seq: Seq(5), .. } if thread == id(3)));
    assert_eq!(texts(&store, 4).await.unwrap().len(), 4, "its cut is before the damage");
    assert_eq!(store.thread(id(1)).await.unwrap().status, ThreadStatus::PendingInit, "not met yet");
    let batch = Batch { status: Some(ThreadStatus::Running), ..Batch::default() };
    let fence = acquire(&store, 4).await.unwrap().fence;
    append(&store, fence, 4, batch).await.unwrap();
}

#[tokio::test]
async fn a_list_with_damaged_rows_in_it_ends_and_has_every_sound_thread() {
    // Where a page ends with a damaged row, that row does not say where the next page begins.
    for (column, value) in
        [("created_ms", "0"), ("created_ms", "99"), ("cwd", "'x'"), ("depth", "-1")]
    {
        let (_folder, path) = place();
        let store = SqliteStore::open(&path).unwrap();
        for n in 1..=9 {
            root(&store, n).await;
        }
        store.close();
        for pk in [2, 5, 6, 9] {
            harm(&path, &format!("UPDATE thread SET {column} = {value} WHERE pk = {pk}"));
        }
        let store = SqliteStore::open(&path).unwrap();
        for (sort, order) in [
            (SortBy::Id, Order::Ascending),
            (SortBy::Created, Order::Ascending),
            (SortBy::Created, Order::Descending),
            (SortBy::Updated, Order::Descending),
        ] {
            for size in 1..=10 {
                let (mut seen, mut after) = (std::collections::BTreeSet::new(), None);
                for pages in 0.. {
                    assert!(pages < 30, "{column} {value} {sort:?} {order:?} in pages of {size}");
                    let query = ThreadQuery::all().sorted(sort, order).take(size).after(after);
                    let page = store.list(query).await.unwrap();
                    seen.extend(page.threads.iter().map(|thread| thread.id));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                for n in [1, 3, 4, 7, 8] {
                    assert!(seen.contains(&id(n)), "{n}: {column} {value} {sort:?} in {size}");
                }
            }
        }
    }
}
