//! What threads are called: a path is that of one thread of its tree that is not closed, nor below one
//! that is.

use coppicer_messages::{
    AgentPath, Change, StoreError, ThreadConfig, ThreadId, ThreadPatch, ThreadStatus,
};
use futures::FutureExt;

use super::words::{
    CLOSED, OPEN, acquire, append, child, create, delete, id, make_root, patch, relocate,
    undo_create,
};
use super::{Case, Store};
use crate::store::{Acquired, Batch, Done, EdgeChange, NewThread, ThreadMove};

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

async fn at(store: &Store, root: u64, name: &str) -> Option<ThreadId> {
    store.at_path(id(root), &path(name)).await.unwrap()
}

async fn rename(store: &Store, n: u64, name: &str) -> Result<(), StoreError> {
    let change = ThreadPatch { path: Change::Set(path(name)), ..ThreadPatch::default() };
    patch(store, n, change).await.map(drop)
}

fn status(status: ThreadStatus) -> Batch {
    Batch { status: Some(status), ..Batch::default() }
}

/// Which of these names are taken, in the order in which they were asked for.
async fn nicknames(store: &Store, root: u64, names: &[&str]) -> Vec<String> {
    let names = names.iter().map(ToString::to_string).collect();
    store.nicknames_taken(id(root), names).await.unwrap()
}

fn called(nickname: &str) -> ThreadPatch {
    ThreadPatch { nickname: Change::Set(nickname.into()), ..ThreadPatch::default() }
}

cases! {
    async fn a_path_is_that_of_one_thread_of_its_tree(store) {
        make_root(&store, 1).await;
        make_root(&store, 2).await;
        spawn(&store, 3, 1, "/root/a").await.unwrap();
        assert_eq!(at(&store, 1, "/root/a").await, Some(id(3)));
        assert_eq!(spawn(&store, 4, 1, "/root/a").await, taken("/root/a", 3));
        let nothing = store.thread(id(4)).await;
        assert_eq!(nothing, Err(StoreError::NotFound { thread: id(4) }), "nothing was written");
        assert_eq!(store.children(id(1), None).await.unwrap(), [id(3)]);
        // Nor anywhere else in the tree, also below a thread without a name, nor by a patch.
        create(&store, child(8, 1), Vec::new()).await.unwrap();
        assert_eq!(spawn(&store, 4, 8, "/root/a").await, taken("/root/a", 3));
        assert_eq!(rename(&store, 8, "/root/a").await, taken("/root/a", 3));
        assert_eq!(rename(&store, 1, "/root/a").await, taken("/root/a", 3));
        spawn(&store, 9, 8, "/root/below").await.unwrap();
        assert_eq!(at(&store, 1, "/root/below").await, Some(id(9)));
        assert_eq!(spawn(&store, 4, 1, "/root/below").await, taken("/root/below", 9));
        // Another name, another tree, no name.
        spawn(&store, 4, 1, "/root/b").await.unwrap();
        spawn(&store, 5, 2, "/root/a").await.unwrap();
        for n in [6, 7] {
            create(&store, child(n, 1), Vec::new()).await.unwrap();
        }
        assert_eq!(at(&store, 2, "/root/a").await, Some(id(5)));
        assert_eq!((at(&store, 2, "/root/b").await, at(&store, 77, "/root/a").await), (None, None));
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
            epoch: None,
        };
        let below = EdgeChange::Parent(id(2), OPEN);
        relocate(&store, to(below, &[(3, "/root/x"), (4, "/root/x/b")])).await.unwrap();
        assert_eq!(at(&store, 1, "/root/a").await, None);
        assert_eq!(at(&store, 2, "/root/x").await, Some(id(3)));
        assert_eq!(at(&store, 2, "/root/x/b").await, Some(id(4)));
        assert_eq!(spawn(&store, 5, 2, "/root/x").await, taken("/root/x", 3));
        relocate(&store, to(EdgeChange::Root, &[])).await.unwrap();
        assert_eq!(at(&store, 2, "/root/x").await, None);
        assert_eq!((at(&store, 3, "/root/x").await, at(&store, 3, "/root/x/b").await), (Some(id(3)), Some(id(4))));
        put_edge(&store, 3, EdgeChange::Parent(id(1), OPEN)).await;
        assert_eq!(at(&store, 1, "/root/x").await, Some(id(3)));
        assert_eq!(at(&store, 1, "/root/x/b").await, Some(id(4)), "with all that is below it");
        assert_eq!(at(&store, 3, "/root/x/b").await, None);
    }

    async fn the_names_of_a_tree_are_those_of_what_is_not_closed_in_it(store) {
        let root = NewThread { path: Some(path("/root")), ..NewThread::root(id(1), 7) };
        create(&store, root, Vec::new()).await.unwrap();
        let mut shut = Vec::new();
        for (n, of, name, nickname) in [
            (4, 1, Some("/root/a"), Some("Ash")),
            (2, 1, None, Some("Beech")),
            (3, 1, None, None),
            (5, 3, Some("/root/c"), Some("Crab")),
            (6, 1, Some("/root/shut"), Some("Cedar")),
            (7, 6, Some("/root/shut/d"), Some("Damson")),
            (8, 1, Some("/root/out"), Some("Elder")),
            (9, 8, Some("/root/out/e"), Some("Fir")),
        ] {
            let mut config = ThreadConfig::default();
            config.nickname = nickname.map(Into::into);
            let new = NewThread { path: name.map(path), config: config.into(), ..child(n, of) };
            let made = create(&store, new, Vec::new()).await.unwrap();
            shut.extend((n == 6).then_some(made.fence));
        }
        append(&store, shut[0], 0, status(ThreadStatus::Shutdown)).await.unwrap();
        put_edge(&store, 8, EdgeChange::Status(CLOSED)).await;
        let all = ["Fir", "Ash", "Beech", "Cedar", "Crab", "Damson", "Elder", "Gean"];
        assert_eq!(nicknames(&store, 1, &all).await, ["Ash", "Beech", "Crab"]);
        assert_eq!(nicknames(&store, 77, &all).await, [""; 0]);
        for (name, holder) in [
            ("/root", Some(1)),
            ("/root/a", Some(4)),
            ("/root/c", Some(5)),
            ("/root/shut", None),
            ("/root/shut/d", None),
            ("/root/out/e", None),
        ] {
            assert_eq!(at(&store, 1, name).await, holder.map(id), "{name}");
        }
        // Another one has the name meanwhile, and keeps it.
        spawn(&store, 10, 3, "/root/shut/d").await.unwrap();
        append(&store, shut[0], 0, status(ThreadStatus::Completed(None))).await.unwrap();
        assert!(at(&store, 1, "/root/shut/d").await.is_some());
        assert_eq!(nicknames(&store, 1, &all).await, ["Ash", "Beech", "Cedar", "Crab", "Damson"]);
        // Another name, and none.
        patch(&store, 4, called("Gean")).await.unwrap();
        let clear = ThreadPatch { nickname: Change::Clear, ..ThreadPatch::default() };
        patch(&store, 2, clear).await.unwrap();
        delete(&store, 6).await.unwrap();
        assert_eq!(nicknames(&store, 1, &all).await, ["Crab", "Gean"]);
        // A branch has them in the tree that it is in.
        put_edge(&store, 3, EdgeChange::Root).await;
        assert_eq!(nicknames(&store, 1, &all).await, ["Gean"]);
        assert_eq!(nicknames(&store, 3, &all).await, ["Crab"]);
    }
}
