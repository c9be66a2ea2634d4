//! Which files are opened, by whom, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::fs;

use coppicer_actors::{ThreadQuery, ThreadStore};
use coppicer_messages::{Seq, StoreError};
use coppicer_sqlite::{Durability, OpenError, SqliteOptions, SqliteStore};
use support::*;

#[cfg(unix)]
fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn what_was_written_is_there_when_the_store_is_opened_again() {
    for durability in [Durability::Power, Durability::Process] {
        let (_folder, path) = place();
        let options = SqliteOptions::new().durability(durability);
        let store = SqliteStore::open_with(&path, options.clone()).unwrap();
        let fence = root(&store, 1).await;
        append(&store, fence, 0, written(&["a", "b"])).await.unwrap();
        store.close();
        let store = SqliteStore::open_with(&path, options).unwrap();
        assert_eq!(texts(&store, 1).await.unwrap(), ["a", "b"]);
        // The fence of the earlier owner holds until somebody acquires the thread.
        let next = acquire(&store, 1).await.unwrap();
        assert_eq!(next.fence.epoch, fence.epoch.next());
        let stale = append(&store, fence, 2, written(&["late"])).await;
        assert_eq!(stale, Err(StoreError::Fenced { thread: id(1) }));
        assert_eq!(append(&store, next.fence, 2, written(&["c"])).await, Ok(Seq(3)));
    }
}

#[tokio::test]
async fn a_second_owner_is_told_who_has_the_store_and_may_read_it() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let fence = root(&store, 1).await;
    append(&store, fence, 0, written(&["a"])).await.unwrap();
    let refused = SqliteStore::open(&path).unwrap_err();
    let own = std::process::id();
    assert!(
        matches!(refused, OpenError::InUse { pid: Some(pid), .. } if pid == own),
        "{refused:?}"
    );
    assert!(refused.to_string().contains(&format!("by process {own}")), "{refused}");

    let reader = SqliteStore::open_with(&path, SqliteOptions::new().read_only()).unwrap();
    assert_eq!(texts(&reader, 1).await.unwrap(), ["a"]);
    append(&store, fence, 1, written(&["b"])).await.unwrap();
    assert_eq!(texts(&reader, 1).await.unwrap(), ["a", "b"], "it sees what is committed");
    assert!(reader.verify().await.unwrap().is_sound());
    assert_eq!(known(&reader, 1, "never").await, Ok(None));
    let (done, mail) = coppicer_actors::Done::channel();
    reader.mail(id(1), done);
    assert_eq!(mail.await, Ok(vec![]));
    let refused = append(&reader, fence, 2, written(&["c"])).await.unwrap_err();
    assert!(refused.to_string().contains("only for reading"), "{refused}");
    store.close();
    SqliteStore::open(&path).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("made/for/it");
    let path = below.join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    root(&store, 1).await;
    assert_eq!(mode(&below), 0o700);
    for file in ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"] {
        assert_eq!(mode(&below.join(file)), 0o600, "{file}");
    }
    store.close();
    // Rights that others were given since are taken away.
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    SqliteStore::open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    // Where others can put files, nothing is kept.
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let refused = SqliteStore::open(open.join("store.db")).unwrap_err();
    assert!(matches!(refused, OpenError::Folder { .. }), "{refused:?}");
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_is() {
    let (folder, path) = place();
    let refused = |path: &std::path::Path| SqliteStore::open(path).unwrap_err();
    for content in [&b""[..], b"something else", &[0u8; 5_000], b"SQLite format 3\0 and no more"] {
        fs::write(&path, content).unwrap();
        let error = refused(&path);
        assert!(
            matches!(error, OpenError::NotAStore { .. } | OpenError::Database { .. }),
            "{error:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let other = folder.path().join("other.db");
    shell(&other).execute_batch("CREATE TABLE t(x)").unwrap();
    assert!(matches!(refused(&other), OpenError::NotAStore { .. }));
    let missing = folder.path().join("missing.db");
    let error = SqliteStore::open_with(&missing, SqliteOptions::new().read_only()).unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error:?}");
    assert!(!missing.exists());
    assert!(matches!(refused(folder.path()), OpenError::NotAStore { .. }), "a folder");
}

#[test]
fn a_store_of_a_later_version_says_what_to_do() {
    let (_folder, path) = place();
    SqliteStore::open(&path).unwrap().close();
    shell(&path).pragma_update(None, "user_version", 77).unwrap();
    let refused = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 77, .. }), "{refused:?}");
    assert!(refused.to_string().contains("newer program"), "{refused}");
}

#[test]
fn a_store_in_which_somebody_put_more_than_threads_is_not_opened() {
    for (sql, what) in [
        (
            "CREATE TRIGGER evil AFTER INSERT ON record BEGIN DELETE FROM thread; END",
            "trigger `evil`",
        ),
        ("CREATE VIEW evil AS SELECT 1", "view `evil`"),
        ("CREATE TABLE evil(x)", "table `evil`"),
        ("CREATE INDEX evil ON record(raw)", "index `evil`"),
        ("DROP VIEW tree", "no view `tree`"),
        ("DROP VIEW tree; CREATE VIEW tree AS SELECT load_extension('x')", "view `tree`"),
        ("ALTER TABLE thread ADD COLUMN evil ANY", "table `thread`"),
    ] {
        let (_folder, path) = place();
        SqliteStore::open(&path).unwrap().close();
        shell(&path).execute_batch(sql).unwrap();
        for options in [SqliteOptions::new(), SqliteOptions::new().read_only()] {
            let refused = SqliteStore::open_with(&path, options).unwrap_err();
            assert!(matches!(refused, OpenError::Foreign { .. }), "{sql}: {refused:?}");
            assert!(refused.to_string().contains(what), "{sql}: {refused}");
        }
    }
}

#[tokio::test]
async fn what_an_interrupted_creation_left_is_cleared_away() {
    let (folder, path) = place();
    for left in ["store.db.tmp-1", "store.db.tmp-1-journal", "store.db.tmp-77"] {
        fs::write(folder.path().join(left), "half of a store").unwrap();
    }
    fs::write(folder.path().join("mine.txt"), "mine").unwrap();
    let store = SqliteStore::open(&path).unwrap();
    assert!(store.list(ThreadQuery::new()).await.unwrap().threads.is_empty());
    store.close();
    let mut left: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["mine.txt", "store.db", "store.db.lock"]);
    // A log without its file is somebody's data, and is not run over.
    fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    fs::write(folder.path().join("store.db-wal"), "a log").unwrap();
    let refused = SqliteStore::open(&path).unwrap_err();
    assert!(refused.to_string().contains("put the file back"), "{refused}");
}
