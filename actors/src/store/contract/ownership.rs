//! Who may write a thread, and how it comes and goes.

use coppicer_messages::{AgentPath, Epoch, Seq, StoreError, ThreadStatus};
use futures::FutureExt;

use super::words::{
    accepted, acquire, append, child, create, id, listed, look_up, make_root, records, root, texts,
    undo_create, written,
};
use super::{Case, Store};
use crate::store::{Base, Batch, EdgeStatus, Fence, NewThread};

cases! {
    async fn a_new_thread_is_there_with_its_edge_and_its_first_records(store) {
        make_root(&store, 1).await;
        let new = NewThread {
            depth: 1,
            path: Some("/root/worker".parse().unwrap()),
            rollout_path: Some("a/b.jsonl".into()),
            ..child(2, 1)
        };
        let acquired = create(&store, new.clone(), records(["a", "b"])).await.unwrap();
        assert_eq!(acquired.fence, Fence { thread: id(2), epoch: Epoch(1) });
        assert!(acquired.open.is_empty() && acquired.mail.is_empty());
        let stored = store.thread(id(2)).await.unwrap();
        assert_eq!(stored, acquired.thread);
        assert_eq!(stored.parent, Some((id(1), EdgeStatus::Open)));
        assert_eq!((stored.head, stored.epoch, stored.depth), (Seq(2), Epoch(1), 1));
        assert_eq!(stored.path, Some("/root/worker".parse::<AgentPath>().unwrap()));
        assert_eq!(stored.config, new.config);
        assert_eq!(stored.rollout_path.as_deref(), Some("a/b.jsonl"));
        assert_eq!((stored.status, stored.created_ms), (ThreadStatus::PendingInit, 7));
        assert_eq!(texts(&store, 2).await, ["a", "b"]);
        assert_eq!(store.children(id(1), None).await.unwrap(), [id(2)]);
    }

    async fn an_id_is_made_once(store) {
        create(&store, root(1), records(["first"])).await.unwrap();
        let refused = create(&store, root(1), records(["second"])).await;
        assert_eq!(refused, Err(StoreError::Exists { thread: id(1) }));
        assert_eq!(texts(&store, 1).await, ["first"]);
        assert_eq!(store.thread(id(1)).await.unwrap().epoch, Epoch(1));
    }

    async fn a_thread_of_an_unknown_parent_or_base_is_not_made(store) {
        let refused = create(&store, child(2, 1), records(["a"])).await;
        assert!(
            matches!(refused, Err(StoreError::BadParent { thread, parent, .. })
                if (thread, parent) == (id(2), id(1))),
            "{refused:?}"
        );
        make_root(&store, 1).await;
        let fork = NewThread { base: Some(Base { thread: id(9), cut: Seq(0) }), ..child(2, 1) };
        let refused = create(&store, fork, records(["a"])).await;
        assert_eq!(refused, Err(StoreError::NotFound { thread: id(9) }));
        assert_eq!(store.thread(id(2)).await, Err(StoreError::NotFound { thread: id(2) }));
        assert_eq!(store.children(id(1), None).await.unwrap(), []);
        assert_eq!(listed(&store, None, 10).await, [id(1)]);
    }

    async fn what_is_not_there_is_not_found(store) {
        let missing = StoreError::NotFound { thread: id(1) };
        assert_eq!(acquire(&store, 1).await, Err(missing.clone()));
        assert_eq!(store.thread(id(1)).await, Err(missing.clone()));
        assert_eq!(store.read(id(1), None).await.map(|_| ()), Err(missing.clone()));
        assert_eq!(look_up(&store, 1, "s").await, Err(missing.clone()));
        let fence = Fence { thread: id(1), epoch: Epoch(1) };
        assert_eq!(append(&store, fence, 0, Batch::default()).await, Err(missing));
        assert_eq!(store.children(id(1), None).await, Ok(vec![]));
        assert_eq!(store.descendants(id(1), None).await, Ok(vec![]));
    }

    async fn each_acquire_raises_the_epoch_and_fences_off_the_one_before(store) {
        let first = make_root(&store, 1).await;
        let second = acquire(&store, 1).await.unwrap();
        assert_eq!(second.fence.epoch, first.fence.epoch.next());
        assert_eq!(second.thread.epoch, second.fence.epoch);
        let refused = append(&store, first.fence, 0, written(["old"])).await;
        assert_eq!(refused, Err(StoreError::Fenced { thread: id(1) }));
        assert_eq!(append(&store, second.fence, 0, written(["new"])).await, Ok(Seq(1)));
        assert_eq!(texts(&store, 1).await, ["new"]);
        // An epoch from the future is none that was granted.
        let future = Fence { epoch: second.fence.epoch.next(), ..second.fence };
        let refused = append(&store, future, 1, written(["x"])).await;
        assert_eq!(refused, Err(StoreError::Fenced { thread: id(1) }));
    }

    async fn a_thread_that_is_taken_back_leaves_nothing(store) {
        make_root(&store, 1).await;
        let made = create(&store, child(2, 1), records(["a"])).await.unwrap();
        let batch = Batch { accepted: vec![accepted("s")], ..Batch::default() };
        append(&store, made.fence, 1, batch).await.unwrap();
        undo_create(&store, made.fence).await.unwrap();

        assert_eq!(store.thread(id(2)).await, Err(StoreError::NotFound { thread: id(2) }));
        assert!(store.read(id(2), None).await.is_err());
        assert!(look_up(&store, 2, "s").await.is_err());
        for filter in [None, Some(EdgeStatus::Open), Some(EdgeStatus::Closed)] {
            assert_eq!(store.children(id(1), filter).await.unwrap(), []);
            assert_eq!(store.descendants(id(1), filter).await.unwrap(), []);
        }
        assert_eq!(listed(&store, None, 10).await, [id(1)]);
        assert!(append(&store, made.fence, 1, written(["late"])).await.is_err());
        // Twice is as good as once, and the id is free again, with nothing of the old one.
        undo_create(&store, made.fence).await.unwrap();
        let again = create(&store, root(2), records(["new"])).await.unwrap();
        assert_eq!((again.thread.parent, again.thread.head), (None, Seq(1)));
        assert_eq!(look_up(&store, 2, "s").await.unwrap(), None);
        assert_eq!(texts(&store, 2).await, ["new"]);
    }

    async fn what_hangs_below_a_thread_goes_with_it_when_it_is_taken_back(store) {
        make_root(&store, 1).await;
        let made = create(&store, child(2, 1), Vec::new()).await.unwrap();
        create(&store, child(3, 2), records(["a"])).await.unwrap();
        undo_create(&store, made.fence).await.unwrap();
        assert_eq!(listed(&store, None, 10).await, [id(1)]);
        assert_eq!(store.thread(id(3)).await, Err(StoreError::NotFound { thread: id(3) }));
        assert_eq!(store.descendants(id(1), None).await, Ok(vec![]));
    }

    async fn a_thread_that_somebody_acquired_is_not_taken_back(store) {
        let made = make_root(&store, 1).await;
        acquire(&store, 1).await.unwrap();
        let refused = undo_create(&store, made.fence).await;
        assert_eq!(refused, Err(StoreError::Fenced { thread: id(1) }));
        assert!(store.thread(id(1)).await.is_ok());
    }
}
