//! Parents and children (REF 12.5).

use coppicer_messages::{AgentPath, Change, ParentClose, StoreError, ThreadConfig, ThreadPatch};
use futures::FutureExt;

use super::words::{CLOSED, OPEN, children, descendants, edges, gs, put_edge, relocate};
use super::{Case, Store};
use crate::store::{Done, EdgeChange, NewThread, ThreadMove};

cases! {
    /// GS-01.
    async fn gs_01_children_are_listed_by_id_and_by_status(store) {
        edges(&store, &[(1, 3, CLOSED), (1, 2, OPEN)]).await;
        assert_eq!(children(&store, 1, None).await, [2, 3]);
        assert_eq!(children(&store, 1, Some(OPEN)).await, [2]);
        assert_eq!(children(&store, 1, Some(CLOSED)).await, [3]);
    }

    /// GS-02.
    async fn gs_02_an_edge_is_closed_where_it_is(store) {
        edges(&store, &[(10, 11, OPEN)]).await;
        put_edge(&store, 11, EdgeChange::Status(CLOSED)).await;
        assert_eq!(children(&store, 10, Some(OPEN)).await, [0; 0]);
        assert_eq!(children(&store, 10, Some(CLOSED)).await, [11]);
        assert_eq!(store.thread(gs(11)).await.unwrap().parent, Some((gs(10), CLOSED)));
        put_edge(&store, 11, EdgeChange::Status(OPEN)).await;
        assert_eq!(children(&store, 10, Some(OPEN)).await, [11]);
    }

    /// GS-03.
    async fn gs_03_descendants_come_by_depth_and_every_edge_on_the_way_matches(store) {
        edges(
            &store,
            &[
                (20, 22, OPEN),
                (20, 21, OPEN),
                (21, 24, OPEN),
                (22, 23, CLOSED),
                (20, 25, CLOSED),
                (25, 26, CLOSED),
            ],
        )
        .await;
        assert_eq!(descendants(&store, 20, None).await, [21, 22, 25, 23, 24, 26]);
        assert_eq!(descendants(&store, 20, Some(OPEN)).await, [21, 22, 24]);
        assert_eq!(descendants(&store, 20, Some(CLOSED)).await, [25, 26]);
    }

    /// GS-06*.
    async fn gs_06_the_status_of_an_unknown_edge_changes_nothing(store) {
        put_edge(&store, 1, EdgeChange::Status(CLOSED)).await;
        edges(&store, &[(1, 2, OPEN)]).await;
        // A root has no edge that could be closed.
        put_edge(&store, 1, EdgeChange::Status(CLOSED)).await;
        assert_eq!(store.thread(gs(1)).await.unwrap().parent, None);
        assert_eq!(children(&store, 1, None).await, [2]);
    }

    async fn a_child_is_not_put_below_a_thread_that_is_not_there(store) {
        edges(&store, &[(1, 2, OPEN)]).await;
        let (done, answer) = Done::channel();
        store.put_edge(gs(2), EdgeChange::Parent(gs(9), OPEN), done);
        let refused = answer.await;
        assert!(
            matches!(refused, Err(StoreError::BadParent { thread, parent, .. })
                if (thread, parent) == (gs(2), gs(9))),
            "{refused:?}"
        );
        assert_eq!(store.thread(gs(2)).await.unwrap().parent, Some((gs(1), OPEN)));
        assert_eq!(children(&store, 9, None).await, [0; 0]);
    }

    /// GS-07*.
    async fn gs_07_a_child_has_one_parent_the_latest(store) {
        edges(&store, &[(1, 5, OPEN), (2, 5, CLOSED)]).await;
        assert_eq!(children(&store, 1, None).await, [0; 0]);
        assert_eq!(children(&store, 2, None).await, [5]);
        assert_eq!(store.thread(gs(5)).await.unwrap().parent, Some((gs(2), CLOSED)));
    }

    /// GS-09*.
    async fn gs_09_a_cycle_of_edges_ends(store) {
        edges(&store, &[(1, 2, OPEN), (2, 1, OPEN)]).await;
        assert_eq!(descendants(&store, 1, None).await, [2]);
        assert_eq!(descendants(&store, 2, Some(OPEN)).await, [1]);
        edges(&store, &[(10, 11, OPEN), (11, 12, OPEN), (12, 10, OPEN), (13, 13, OPEN)]).await;
        assert_eq!(descendants(&store, 10, None).await, [11, 12]);
        assert_eq!(descendants(&store, 13, None).await, [0; 0]);
    }

    async fn a_thread_moves_with_its_new_paths_and_what_it_changes_in_ledgers(store) {
        edges(&store, &[(1, 2, OPEN), (2, 3, OPEN), (5, 6, OPEN)]).await;
        let path = |text: &str| text.parse::<AgentPath>().unwrap();
        let to = |edge, paths: &[(u128, Option<&str>)]| ThreadMove {
            thread: gs(2),
            edge,
            paths: paths.iter().map(|(n, text)| (gs(*n), text.map(path))).collect(),
            charges: Vec::new(),
            epoch: None,
        };
        let paths = [(2, Some("/root/a")), (3, Some("/root/a/b")), (99, Some("/root/c"))];
        relocate(&store, to(EdgeChange::Parent(gs(6), OPEN), &paths)).await.unwrap();
        assert_eq!(store.thread(gs(2)).await.unwrap().parent, Some((gs(6), OPEN)));
        assert_eq!(store.thread(gs(2)).await.unwrap().path, Some(path("/root/a")));
        assert_eq!(store.thread(gs(3)).await.unwrap().path, Some(path("/root/a/b")));
        assert_eq!(descendants(&store, 5, Some(OPEN)).await, [6, 2, 3]);
        assert_eq!(children(&store, 1, None).await, [0; 0]);
        let depth = async |n| store.thread(gs(n)).await.unwrap().depth;
        let above = depth(6).await;
        assert_eq!((depth(2).await, depth(3).await), (above + 1, above + 2));
        relocate(&store, to(EdgeChange::Root, &[(2, None)])).await.unwrap();
        let moved = store.thread(gs(2)).await.unwrap();
        assert_eq!((moved.parent, moved.path, moved.depth), (None, None, 0));
        assert_eq!(depth(3).await, 1);
        let bad = to(EdgeChange::Parent(gs(77), OPEN), &[(2, Some("/root/x"))]);
        let refused = relocate(&store, bad).await;
        assert!(matches!(refused, Err(StoreError::BadParent { .. })), "{refused:?}");
        let unmoved = store.thread(gs(2)).await.unwrap();
        assert_eq!((unmoved.parent, unmoved.path), (None, None), "nothing of it was written");
    }

    async fn a_move_of_an_earlier_life_is_refused_and_changes_nothing(store) {
        edges(&store, &[(1, 2, OPEN), (2, 3, OPEN), (5, 6, OPEN)]).await;
        let to = |epoch| ThreadMove {
            thread: gs(2),
            edge: EdgeChange::Parent(gs(6), OPEN),
            paths: vec![(gs(3), Some("/root/b".parse::<AgentPath>().unwrap()))],
            charges: Vec::new(),
            epoch: Some(epoch),
        };
        let acquired = async || {
            let (done, acquired) = Done::channel();
            store.acquire(gs(2), done);
            acquired.await.unwrap().fence.epoch
        };
        let (before, now) = (acquired().await, acquired().await);
        let refused = relocate(&store, to(before)).await;
        assert!(matches!(refused, Err(StoreError::Fenced { thread }) if thread == gs(2)), "{refused:?}");
        assert_eq!(store.thread(gs(2)).await.unwrap().parent, Some((gs(1), OPEN)));
        assert_eq!(store.thread(gs(3)).await.unwrap().path, None);
        relocate(&store, to(now)).await.unwrap();
        assert_eq!(store.thread(gs(2)).await.unwrap().parent, Some((gs(6), OPEN)));
        relocate(&store, ThreadMove { thread: gs(99), ..to(now) }).await.unwrap();
    }

    async fn a_thread_is_made_one_level_below_its_parent_wherever_that_is_by_then(store) {
        edges(&store, &[(1, 2, OPEN), (2, 3, OPEN)]).await;
        let charges = Vec::new();
        let edge = EdgeChange::Root;
        relocate(&store, ThreadMove { thread: gs(3), edge, paths: Vec::new(), charges, epoch: None })
            .await
            .unwrap();
        let new = NewThread { parent: Some(gs(3)), depth: 3, ..NewThread::root(gs(4), 1) };
        let (done, made) = Done::channel();
        store.create(new, Vec::new(), done);
        assert_eq!(made.await.unwrap().thread.depth, 1);
        assert_eq!(store.thread(gs(4)).await.unwrap().depth, 1);
    }

    async fn the_topmost_threads_that_outlive_their_parents_are_found_over_open_edges(store) {
        let make = async |n: u128, parent: Option<u128>, goes_on: bool| {
            let config = ThreadConfig::default().with_role("\"parent_close\":\"detach\"");
            let config = if goes_on { config.detached() } else { config };
            let parent = parent.map(gs);
            let new = NewThread { id: gs(n), parent, config: config.into(), ..NewThread::root(gs(n), 1) };
            let (done, made) = Done::channel();
            store.create(new, Vec::new(), done);
            made.await.unwrap();
        };
        for (n, parent, goes_on) in [
            (1, None, true),
            (4, Some(1), true),
            (2, Some(1), false),
            (5, Some(2), false),
            (3, Some(5), true),
            (6, Some(3), true),
            (7, Some(2), true),
        ] {
            make(n, parent, goes_on).await;
        }
        let found = async |n| {
            let found = store.detaching(gs(n)).await.unwrap();
            found.into_iter().map(|id| id.as_uuid().as_u128()).collect::<Vec<u128>>()
        };
        assert_eq!(found(1).await, [4, 7, 3], "by depth; not the thread itself");
        assert_eq!(found(4).await, [0; 0]);
        put_edge(&store, 5, EdgeChange::Status(CLOSED)).await;
        assert_eq!(found(1).await, [4, 7]);
        assert_eq!(found(5).await, [3]);
        for (policy, expected) in [(Change::Clear, vec![6]), (Change::Set(ParentClose::Detach), vec![3])] {
            let patch = ThreadPatch { parent_close: policy, ..ThreadPatch::default() };
            let (done, patched) = Done::channel();
            store.patch(gs(3), patch, done);
            patched.await.unwrap();
            assert_eq!(found(5).await, expected);
        }
        assert_eq!(found(99).await, [0; 0]);
    }
}
