//! Files of every version of the schema, past and present, open and have all that was put into them.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::fs;
use std::path::{Path, PathBuf};

use coppicer_actors::{Done, EdgeChange, EdgeStatus, ThreadQuery, ThreadStore};
use coppicer_messages::{
    Outcome, RecordClass, Seq, SubmissionId, SubmissionState, ThreadId, ThreadStatus,
};
use coppicer_sqlite::{OpenError, SqliteOptions, SqliteStore};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the fixtures are there")
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .collect();
    files.sort();
    files
}

fn id(n: u64) -> ThreadId {
    ThreadId::from_parts(1_780_473_600_000 + n, [n as u8; 10])
}

/// From the header of the file, so that nothing is written beside a fixture.
fn version(path: &Path) -> i64 {
    let header = fs::read(path).expect("a store can be read");
    i64::from(u32::from_be_bytes(header[60..64].try_into().expect("four bytes are four")))
}

#[test]
fn there_is_a_file_of_every_version() {
    let versions: Vec<i64> = fixtures().iter().map(|path| version(path)).collect();
    let folder = tempfile::tempdir().unwrap();
    let fresh = folder.path().join("fresh.db");
    SqliteStore::open(&fresh).unwrap().close();
    assert_eq!(versions, (1..=version(&fresh)).collect::<Vec<_>>(), "see examples/fixture.rs");
}

#[tokio::test]
async fn a_file_of_every_version_is_brought_up_to_date_with_all_that_is_in_it() {
    let newest = i64::try_from(fixtures().len()).unwrap();
    for fixture in fixtures() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        fs::copy(&fixture, &path).unwrap();
        let was = version(&path);
        if was < newest {
            let refused = SqliteStore::open_with(&path, SqliteOptions::new().read_only());
            assert!(
                matches!(refused, Err(OpenError::Older { found, known, .. }) if (found, known) == (was, newest)),
                "{refused:?}"
            );
        }
        let store = SqliteStore::open(&path).unwrap();
        look(&store, was).await;
        store.close();
        assert_eq!(version(&path), newest, "{}", fixture.display());
        // And again, as a file of the newest version.
        look(&SqliteStore::open(&path).unwrap(), was).await;
    }
}

/// `made`: the version that the file was made with.
async fn look(store: &SqliteStore, made: i64) {
    let root = store.thread(id(1)).await.unwrap();
    assert_eq!((root.head, root.settled, root.epoch.0), (Seq(5), Seq(1), 1));
    assert_eq!(root.status, ThreadStatus::Running);
    assert_eq!(root.details.name.as_deref(), Some("the first"));
    assert_eq!(root.config.role.as_deref(), Some("lead"));
    let last_task = if made >= 5 { "and again" } else { "hello" };
    assert_eq!(root.last_task(), Some(last_task));
    let history = store.read(id(1), None).await.unwrap();
    assert_eq!(history.len(), 5);
    assert_eq!(history.get(Seq(4)).unwrap().class, RecordClass::Opaque);
    assert_eq!(&*history.get(Seq(4)).unwrap().raw, "not json at all \u{0} é".as_bytes());
    assert!(
        matches!(&history.get(Seq(3)).unwrap().class, RecordClass::ToolCall { call, .. } if &**call == "c-1")
    );

    for (name, state) in [
        ("ended", SubmissionState::Ended(Outcome::Completed { message: Some("done".into()) })),
        ("running", SubmissionState::Running { attempt: 2 }),
        ("waiting", SubmissionState::Accepted),
    ] {
        let (done, known) = Done::channel();
        store.submission(id(1), &SubmissionId::new(name).unwrap(), done);
        assert_eq!(known.await.unwrap().unwrap().state, state);
    }
    let (done, mail) = Done::channel();
    store.mail(id(1), done);
    let mail = mail.await.unwrap();
    assert_eq!(mail.iter().map(|mail| &*mail.id).collect::<Vec<_>>(), ["m-2"]);
    assert_eq!(store.unfinished(None, 9).await.unwrap(), [id(1)]);

    let child = store.thread(id(2)).await.unwrap();
    assert_eq!(child.parent, Some((id(1), EdgeStatus::Closed)));
    assert_eq!(child.path.unwrap().to_string(), "/root/scout");
    assert!(child.config.internal);
    // It is found by its path in its tree, once its edge is open.
    for (edge, holder) in [(EdgeStatus::Open, Some(id(2))), (EdgeStatus::Closed, None)] {
        let (done, put) = Done::channel();
        store.put_edge(id(2), EdgeChange::Status(edge), done);
        put.await.unwrap();
        assert_eq!(store.at_path(id(1), &"/root/scout".parse().unwrap()).await, Ok(holder));
    }
    assert_eq!(child.status, ThreadStatus::Completed(Some("found it".into())));

    let fork = store.read(id(3), None).await.unwrap();
    assert_eq!(fork.len(), 5);
    assert_eq!(fork.prefix(3), history.prefix(3));
    let page = store.list(ThreadQuery::new()).await.unwrap();
    let with_budget = (made >= 3).then(|| id(4));
    let expected: Vec<ThreadId> = with_budget.into_iter().chain([id(2), id(1)]).collect();
    assert_eq!(page.threads.iter().map(|thread| thread.id).collect::<Vec<_>>(), expected);
    assert_eq!(root.ledger, None);
    assert_eq!(store.crashes(id(1)).await.unwrap(), []);
    if made >= 3 {
        let ledger = store.thread(id(4)).await.unwrap().ledger.unwrap();
        assert_eq!(ledger.rest().tokens, Some(750));
        let crashes = store.crashes(id(4)).await.unwrap();
        assert_eq!(crashes.iter().map(|crash| &*crash.cause).collect::<Vec<_>>(), ["boom"]);
    }
}
