//! What threads are called: a path is that of one child of its parent that is not closed.

use coppicer_messages::{
    AgentPath, Change, StoreError, ThreadConfig, ThreadId, ThreadPatch, ThreadStatus,
};
use futures::FutureExt;

use super::words::{
    CLOSED, OPEN, acquire, append, child, create, delete, id, make_root, patch, relocate,
    undo_create,
};
use super::{Case, Store};
use crate::store::{Acquired, Batch, Done, EdgeChange, Named, NewThread, ThreadMove};

fn path(text: &str) -> AgentPath {
    text.parse().expect("a path of a test is one")
}

fn named(n: u64, of: u64, name: &str) -> NewThread {
    NewThread { path: Some(path(name)), ..child(n, of) }
}

async fn spawn(store: &Store, n: u64, of: u64, name: &str) -> Result<Acquired, StoreError> {
    create(store, named(n, of, name), Vec::new()).await
}

fn taken<T>(name: &str, by: u64) -> Result<T, StoreError> {
    Err(StoreError::PathTaken { path: name.into(), by: id(by) })
}

async fn put_edge(store: &Store, n: u64, edge: EdgeChange) {
    let (done, put) = Done::channel();
    store.put_edge(id(n), edge, done);
    put.await.unwrap();
}

async fn at(store: &Store, parent: u64, name: &str) -> Option<ThreadId> {
    store.child_at(id(parent), &path(name)).await.unwrap()
}

async fn rename(store: &Store, n: u64, name: &str) -> Result<(), StoreError> {
    let change = ThreadPatch { path: Change::Set(path(name)), ..ThreadPatch::default() };
    patch(store, n, change).await.map(drop)
}

fn status(status: ThreadStatus) -> Batch {
    Batch { status: Some(status), ..Batch::default() }
}

async fn called(store: &Store, root: u64) -> Vec<(ThreadId, Option<String>, Option<String>)> {
    let told = |Named { thread, path, nickname }| (thread, path.map(|it| it.to_string()), nickname);
    store.names(id(root)).await.unwrap().into_iter().map(told).collect()
}

cases! {
    async fn a_path_is_that_of_one_child_of_its_parent(store) {
        make_root(&store, 1).await;
        make_root(&store, 2).await;
        spawn(&store, 3, 1, "/root/a").await.unwrap();
        assert_eq!(at(&store, 1, "/root/a").await, Some(id(3)));
        assert_eq!(spawn(&store, 4, 1, "/root/a").await, taken("/root/a", 3));
        let nothing = store.thread(id(4)).await;
        assert_eq!(nothing, Err(StoreError::NotFound { thread: id(4) }), "nothing was written");
        assert_eq!(store.children(id(1), None).await.unwrap(), [id(3)]);
        // Another name, another parent, no name.
        spawn(&store, 4, 1, "/root/b").await.unwrap();
        spawn(&store, 5, 2, "/root/a").await.unwrap();
        for n in [6, 7] {
            create(&store, child(n, 1), Vec::new()).await.unwrap();
        }
        assert_eq!(at(&store, 2, "/root/a").await, Some(id(5)));
        assert_eq!((at(&store, 2, "/root/b").await, at(&store, 9, "/root/a").await), (None, None));
        // Who knows no more of it than its id can still be acquired under it.
        acquire(&store, 3).await.unwrap();
        assert_eq!(at(&store, 1, "/root/a").await, Some(id(3)));
    }

    async fn a_closed_child_gives_its_path_up_and_takes_it_again_if_nobody_has_it(store) {
        make_root(&store, 1).await;
        let first = spawn(&store, 2, 1, "/root/a").await.unwrap().fence;
        append(&store, first, 0, status(ThreadStatus::Completed(None))).await.unwrap();
        assert_eq!(spawn(&store, 3, 1, "/root/a").await, taken("/root/a", 2));
        append(&store, first, 0, status(ThreadStatus::Shutdown)).await.unwrap();
        assert_eq!(at(&store, 1, "/root/a").await, None);
        append(&store, first, 0, status(ThreadStatus::PendingInit)).await.unwrap();
        assert_eq!(spawn(&store, 3, 1, "/root/a").await, taken("/root/a", 2), "it is back");
        append(&store, first, 0, status(ThreadStatus::Shutdown)).await.unwrap();
        let second = spawn(&store, 3, 1, "/root/a").await.unwrap().fence;
        assert_eq!(at(&store, 1, "/root/a").await, Some(id(3)));
        // Out of the tree by its edge is closed too.
        put_edge(&store, 3, EdgeChange::Status(CLOSED)).await;
        assert_eq!(at(&store, 1, "/root/a").await, None);
        put_edge(&store, 3, EdgeChange::Status(OPEN)).await;
        assert_eq!(at(&store, 1, "/root/a").await, Some(id(3)));
        undo_create(&store, second).await.unwrap();
        assert_eq!(at(&store, 1, "/root/a").await, None);
        spawn(&store, 4, 1, "/root/a").await.unwrap();
        delete(&store, 4).await.unwrap();
        spawn(&store, 5, 1, "/root/a").await.unwrap();
    }

    async fn a_new_path_is_checked_and_the_old_one_is_free(store) {
        make_root(&store, 1).await;
        for (n, name) in [(2, "/root/a"), (3, "/root/b")] {
            spawn(&store, n, 1, name).await.unwrap();
        }
        assert_eq!(rename(&store, 3, "/root/a").await, taken("/root/a", 2));
        assert_eq!(store.thread(id(3)).await.unwrap().path, Some(path("/root/b")));
        rename(&store, 3, "/root/b").await.unwrap();
        rename(&store, 3, "/root/c").await.unwrap();
        assert_eq!(at(&store, 1, "/root/c").await, Some(id(3)));
        spawn(&store, 4, 1, "/root/b").await.unwrap();
        let clear = ThreadPatch { path: Change::Clear, ..ThreadPatch::default() };
        patch(&store, 2, clear).await.unwrap();
        spawn(&store, 5, 1, "/root/a").await.unwrap();
    }

    async fn a_path_moves_with_its_thread(store) {
        for n in [1, 2] {
            make_root(&store, n).await;
        }
        spawn(&store, 3, 1, "/root/a").await.unwrap();
        spawn(&store, 4, 3, "/root/a/b").await.unwrap();
        let to = |edge, paths: &[(u64, &str)]| ThreadMove {
            thread: id(3),
            edge,
            paths: paths.iter().map(|(n, name)| (id(*n), Some(path(name)))).collect(),
            charges: Vec::new(),
        };
        let below = EdgeChange::Parent(id(2), OPEN);
        relocate(&store, to(below, &[(3, "/root/x"), (4, "/root/x/b")])).await.unwrap();
        assert_eq!(at(&store, 1, "/root/a").await, None);
        assert_eq!(at(&store, 2, "/root/x").await, Some(id(3)));
        assert_eq!(at(&store, 3, "/root/x/b").await, Some(id(4)));
        assert_eq!(spawn(&store, 5, 2, "/root/x").await, taken("/root/x", 3));
        relocate(&store, to(EdgeChange::Root, &[])).await.unwrap();
        assert_eq!(at(&store, 2, "/root/x").await, None);
        put_edge(&store, 3, EdgeChange::Parent(id(1), OPEN)).await;
        assert_eq!(at(&store, 1, "/root/x").await, Some(id(3)));
    }

    async fn the_names_of_a_tree_are_those_of_what_is_not_closed_in_it(store) {
        let root = NewThread { path: Some(path("/root")), ..NewThread::root(id(1), 7) };
        create(&store, root, Vec::new()).await.unwrap();
        let mut shut = Vec::new();
        for (n, of, name, nickname) in [
            (4, 1, Some("/root/a"), Some("Ash")),
            (2, 1, None, Some("Beech")),
            (3, 1, None, None),
            (5, 3, Some("/root/c"), None),
            (6, 1, Some("/root/shut"), Some("Cedar")),
            (7, 6, Some("/root/shut/d"), Some("Damson")),
            (8, 1, Some("/root/out"), Some("Elder")),
            (9, 8, Some("/root/out/e"), None),
        ] {
            let mut config = ThreadConfig::default();
            config.nickname = nickname.map(Into::into);
            let new = NewThread { path: name.map(path), config: config.into(), ..child(n, of) };
            let made = create(&store, new, Vec::new()).await.unwrap();
            shut.extend((n == 6).then_some(made.fence));
        }
        append(&store, shut[0], 0, status(ThreadStatus::Shutdown)).await.unwrap();
        put_edge(&store, 8, EdgeChange::Status(CLOSED)).await;
        let row = |n, name: Option<&str>, nickname: Option<&str>| {
            (id(n), name.map(str::to_owned), nickname.map(str::to_owned))
        };
        let expected = [
            row(1, Some("/root"), None),
            row(2, None, Some("Beech")),
            row(4, Some("/root/a"), Some("Ash")),
            row(5, Some("/root/c"), None),
        ];
        assert_eq!(called(&store, 1).await, expected);
        assert_eq!(called(&store, 3).await, [row(5, Some("/root/c"), None)]);
        assert_eq!(called(&store, 77).await, []);
    }
}
