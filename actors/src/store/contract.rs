//! The contract of a store, as a suite that every store runs.
//!
//! A store that passes [`all`] can carry threads: ownership is fenced, refusals change nothing,
//! outcomes are final, forks share, and edges can be listed whatever they look like. `GS-…` are the
//! cases of REF 12.5.

#![expect(
    clippy::unwrap_used,
    reason = "a suite of tests: it panics where a store breaks the contract"
)]

use std::sync::Arc;

use coppicer_messages::{
    AgentPath, Epoch, KnownSubmission, Mail, MailId, NewRecord, Outcome, Raw, RecordClass, Seq,
    StoreError, SubmissionId, SubmissionState, ThreadId, ThreadStatus,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    Acquired, Base, Batch, Done, EdgeChange, EdgeStatus, Fence, MailTo, NewSubmission, NewThread,
    ThreadStore, digest,
};

/// A store under test, fresh for each case.
pub type Store = Arc<dyn ThreadStore>;

/// One case: its name, and what it checks. It panics where the store breaks the contract.
pub type Case = (&'static str, fn(Store) -> BoxFuture<'static, ()>);

/// Runs every case, each on a fresh store from `make`.
///
/// # Panics
/// Where the store breaks the contract; the place says which case it was.
pub async fn all(make: impl Fn() -> Store) {
    for (_name, case) in CASES {
        case(make()).await;
    }
}

macro_rules! cases {
    ($($(#[$doc:meta])* async fn $name:ident($store:ident) $body:block)*) => {
        /// Every case, for stores that want a test of its own for each.
        pub const CASES: &[Case] = &[$((stringify!($name), |store| $name(store).boxed()),)*];

        $($(#[$doc])* async fn $name($store: Store) $body)*
    };
}

cases! {
    // Ownership.

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

    // Writing.

    async fn an_append_begins_at_the_head_or_is_refused(store) {
        let fence = make_root(&store, 1).await.fence;
        assert_eq!(append(&store, fence, 0, written(["a", "b"])).await, Ok(Seq(2)));
        for expected in [0, 1, 3] {
            let refused = append(&store, fence, expected, written(["c"])).await;
            let expected = Seq(expected);
            let conflict = StoreError::HeadConflict { thread: id(1), expected, head: Seq(2) };
            assert_eq!(refused, Err(conflict));
        }
        assert_eq!(texts(&store, 1).await, ["a", "b"]);
        // What writes no record leaves the head, and checks it all the same.
        let only_status = || Batch { status: Some(ThreadStatus::Running), ..Batch::default() };
        assert!(append(&store, fence, 1, only_status()).await.is_err());
        assert_eq!(append(&store, fence, 2, only_status()).await, Ok(Seq(2)));
        assert_eq!(store.thread(id(1)).await.unwrap().status, ThreadStatus::Running);
    }

    async fn one_append_writes_all_of_its_batch(store) {
        make_root(&store, 2).await;
        let fence = make_root(&store, 1).await.fence;
        let batch = Batch {
            records: records(["a", "b"]),
            accepted: vec![accepted("s"), accepted("t")],
            states: vec![(name("s"), SubmissionState::Running { attempt: 1 })],
            mail: vec![mail_to(2, "m")],
            status: Some(ThreadStatus::Running),
            ..Batch::default()
        };
        assert_eq!(append(&store, fence, 0, batch).await, Ok(Seq(2)));
        assert_eq!(texts(&store, 1).await, ["a", "b"]);
        let running = SubmissionState::Running { attempt: 1 };
        assert_eq!(look_up(&store, 1, "s").await.unwrap(), Some(known("s", 0, running)));
        let waiting = known("t", 0, SubmissionState::Accepted);
        assert_eq!(look_up(&store, 1, "t").await.unwrap(), Some(waiting));
        assert_eq!(look_up(&store, 2, "s").await.unwrap(), None, "ids are per thread");
        let thread = store.thread(id(1)).await.unwrap();
        assert_eq!((thread.head, thread.status), (Seq(2), ThreadStatus::Running));
        assert_eq!(mail_ids(&acquire(&store, 2).await.unwrap()), ["m"]);
    }

    async fn an_outcome_never_changes_again(store) {
        let fence = make_root(&store, 1).await.fence;
        let ended = SubmissionState::Ended(Outcome::Completed { message: Some("done".into()) });
        let batch = Batch { accepted: vec![accepted("s")], ..Batch::default() };
        append(&store, fence, 0, batch).await.unwrap();
        append(&store, fence, 0, state("s", ended.clone())).await.unwrap();
        for later in [
            SubmissionState::Accepted,
            SubmissionState::Running { attempt: 2 },
            SubmissionState::Ended(Outcome::Returned),
        ] {
            append(&store, fence, 0, state("s", later)).await.unwrap();
            let expected = known("s", 0, ended.clone());
            assert_eq!(look_up(&store, 1, "s").await.unwrap(), Some(expected));
        }
        // Nor is it taken up again when it is accepted again.
        let again = NewSubmission { digest: digest(b"another"), ..accepted("s") };
        let batch = Batch { accepted: vec![again], records: records(["r"]), ..Batch::default() };
        append(&store, fence, 0, batch).await.unwrap();
        assert_eq!(look_up(&store, 1, "s").await.unwrap(), Some(known("s", 0, ended)));
        assert!(acquire(&store, 1).await.unwrap().open.is_empty());
    }

    async fn a_state_of_a_submission_that_was_never_accepted_is_left_out(store) {
        let fence = make_root(&store, 1).await.fence;
        let ended = SubmissionState::Ended(Outcome::Returned);
        assert_eq!(append(&store, fence, 0, state("s", ended)).await, Ok(Seq(0)));
        assert_eq!(look_up(&store, 1, "s").await.unwrap(), None);
    }

    async fn what_has_no_outcome_comes_back_in_the_order_of_acceptance(store) {
        let fence = make_root(&store, 1).await.fence;
        let accept = |names: &[&str]| Batch {
            accepted: names.iter().map(|name| accepted(name)).collect(),
            records: records(["r"]),
            ..Batch::default()
        };
        append(&store, fence, 0, accept(&["z", "a"])).await.unwrap();
        append(&store, fence, 1, accept(&["m", "b"])).await.unwrap();
        append(&store, fence, 2, state("z", SubmissionState::Running { attempt: 3 })).await.unwrap();
        append(&store, fence, 2, state("m", SubmissionState::Ended(Outcome::Interrupted)))
            .await
            .unwrap();
        let open = acquire(&store, 1).await.unwrap().open;
        let seen: Vec<(&str, Seq, &SubmissionState)> =
            open.iter().map(|open| (open.id.as_str(), open.seq, &open.state)).collect();
        let running = SubmissionState::Running { attempt: 3 };
        let accepted = SubmissionState::Accepted;
        assert_eq!(
            seen,
            [("z", Seq(0), &running), ("a", Seq(0), &accepted), ("b", Seq(1), &accepted)]
        );
        assert_eq!(&*open[1].body, b"body of a", "bodies come back byte for byte");
    }

    async fn answers_come_in_the_order_of_the_requests(store) {
        const APPENDS: u64 = 200;
        let fence = make_root(&store, 1).await.fence;
        let answers = Arc::new(Mutex::new(Vec::new()));
        let (last, done) = tokio::sync::oneshot::channel();
        let mut last = Some(last);
        for n in 0..APPENDS {
            let answers = answers.clone();
            let last = if n == APPENDS - 1 { last.take() } else { None };
            let then = Done::new(move |result| {
                answers.lock().push((n, result));
                if let Some(last) = last {
                    let _ = last.send(());
                }
            });
            store.append(fence, Seq(n), written([&*n.to_string()]), then);
        }
        done.await.unwrap();
        let expected: Vec<_> = (0..APPENDS).map(|n| (n, Ok(Seq(n + 1)))).collect();
        assert_eq!(*answers.lock(), expected);
        let expected: Vec<String> = (0..APPENDS).map(|n| n.to_string()).collect();
        assert_eq!(texts(&store, 1).await, expected);
    }

    async fn an_append_behind_a_refused_one_is_refused_too(store) {
        // What was in flight when the fence fell, or a record went missing, must not be applied.
        let fence = make_root(&store, 1).await.fence;
        let asked: Vec<_> = [0, 5, 6]
            .into_iter()
            .map(|expected| {
                let (done, answer) = Done::channel();
                store.append(fence, Seq(expected), written(["x"]), done);
                answer
            })
            .collect();
        let answers = futures::future::join_all(asked).await;
        assert_eq!(answers[0], Ok(Seq(1)));
        for answer in &answers[1..] {
            assert!(matches!(answer, Err(StoreError::HeadConflict { .. })), "{answer:?}");
        }
        assert_eq!(texts(&store, 1).await, ["x"]);
    }

    async fn a_refusal_changes_nothing(store) {
        make_root(&store, 2).await;
        let old = make_root(&store, 1).await.fence;
        let fence = acquire(&store, 1).await.unwrap().fence;
        let before = Batch {
            records: records(["a"]),
            accepted: vec![accepted("s")],
            mail: vec![mail_to(1, "kept")],
            ..Batch::default()
        };
        append(&store, fence, 0, before).await.unwrap();
        let thread = store.thread(id(1)).await.unwrap();
        let everything = || Batch {
            records: records(["b"]),
            accepted: vec![accepted("t")],
            states: vec![(name("s"), SubmissionState::Ended(Outcome::Interrupted))],
            mail: vec![mail_to(2, "never")],
            mail_taken: vec![MailId::from("kept")],
            status: Some(ThreadStatus::Shutdown),
        };
        assert!(append(&store, old, 1, everything()).await.is_err());
        assert!(append(&store, fence, 7, everything()).await.is_err());
        assert!(create(&store, root(1), records(["b"])).await.is_err());
        assert!(undo_create(&store, old).await.is_err());

        assert_eq!(store.thread(id(1)).await.unwrap(), thread);
        assert_eq!(texts(&store, 1).await, ["a"]);
        let waiting = known("s", 0, SubmissionState::Accepted);
        assert_eq!(look_up(&store, 1, "s").await.unwrap(), Some(waiting));
        assert_eq!(look_up(&store, 1, "t").await.unwrap(), None);
        assert_eq!(mail_ids(&acquire(&store, 1).await.unwrap()), ["kept"]);
        assert_eq!(mail_ids(&acquire(&store, 2).await.unwrap()), [""; 0]);
    }

    // Mail.

    async fn the_same_mail_is_delivered_once_also_after_it_was_read(store) {
        let reader = make_root(&store, 2).await.fence;
        let writer = make_root(&store, 1).await.fence;
        let send = |ids: &[&str]| Batch {
            mail: ids.iter().map(|id| mail_to(2, id)).collect(),
            ..Batch::default()
        };
        append(&store, writer, 0, send(&["b", "a", "b"])).await.unwrap();
        append(&store, writer, 0, send(&["a"])).await.unwrap();
        let acquired = acquire(&store, 2).await.unwrap();
        assert_eq!(mail_ids(&acquired), ["b", "a"], "in the order in which they came");
        assert_eq!(acquired.mail[0], mail_to(2, "b").mail);
        assert!(append(&store, reader, 0, Batch::default()).await.is_err(), "it was fenced off");

        let taken = Batch { mail_taken: vec![MailId::from("b")], ..Batch::default() };
        append(&store, acquired.fence, 0, taken).await.unwrap();
        append(&store, writer, 0, send(&["b", "c"])).await.unwrap();
        assert_eq!(mail_ids(&acquire(&store, 2).await.unwrap()), ["a", "c"]);
    }

    async fn mail_is_taken_by_its_reader_alone(store) {
        make_root(&store, 2).await;
        let fence = make_root(&store, 1).await.fence;
        let both = Batch { mail: vec![mail_to(1, "m"), mail_to(2, "m")], ..Batch::default() };
        append(&store, fence, 0, both).await.unwrap();
        let taken = vec![MailId::from("m"), MailId::from("never had")];
        let taken = Batch { mail_taken: taken, ..Batch::default() };
        append(&store, fence, 0, taken).await.unwrap();
        assert_eq!(mail_ids(&acquire(&store, 1).await.unwrap()), [""; 0]);
        assert_eq!(mail_ids(&acquire(&store, 2).await.unwrap()), ["m"]);
    }

    async fn mail_to_a_thread_that_is_not_there_is_left_out(store) {
        // A sub-agent whose parent was taken back, or never came to this store, goes on.
        let fence = make_root(&store, 1).await.fence;
        let batch = Batch { mail: vec![mail_to(9, "m")], records: records(["a"]), ..Batch::default() };
        assert_eq!(append(&store, fence, 0, batch).await, Ok(Seq(1)));
        make_root(&store, 9).await;
        assert_eq!(mail_ids(&acquire(&store, 9).await.unwrap()), [""; 0]);
    }

    // Taking back.

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

    async fn a_thread_that_somebody_acquired_is_not_taken_back(store) {
        let made = make_root(&store, 1).await;
        acquire(&store, 1).await.unwrap();
        let refused = undo_create(&store, made.fence).await;
        assert_eq!(refused, Err(StoreError::Fenced { thread: id(1) }));
        assert!(store.thread(id(1)).await.is_ok());
    }

    // Edges.

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

    // Reading.

    async fn a_list_goes_on_where_it_stopped_whatever_comes_in_between(store) {
        for n in [5, 1, 3, 9, 7] {
            make_root(&store, n).await;
        }
        let first = listed(&store, None, 2).await;
        assert_eq!(first, [id(1), id(3)]);
        make_root(&store, 2).await;
        make_root(&store, 4).await;
        let second = listed(&store, Some(id(3)), 2).await;
        assert_eq!(second, [id(4), id(5)]);
        let gone = Fence { thread: id(5), epoch: Epoch(1) };
        undo_create(&store, gone).await.unwrap();
        assert_eq!(listed(&store, Some(id(5)), 10).await, [id(7), id(9)]);
        assert_eq!(listed(&store, Some(id(9)), 10).await, []);
        assert_eq!(listed(&store, None, 0).await, []);
    }

    async fn a_read_gives_the_records_before_its_end(store) {
        let fence = make_root(&store, 1).await.fence;
        append(&store, fence, 0, written(["a", "b", "c"])).await.unwrap();
        for (end, expected) in [(0, &[][..]), (2, &["a", "b"]), (3, &["a", "b", "c"])] {
            let history = store.read(id(1), Some(Seq(end))).await.unwrap();
            assert_eq!(history.len(), end);
            let read: Vec<&[u8]> = history.iter().map(|record| &*record.raw).collect();
            let expected: Vec<&[u8]> = expected.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(read, expected);
        }
        let all = store.read(id(1), Some(Seq(99))).await.unwrap();
        assert_eq!(all.len(), 3, "an end past the head is the head");
        // What was read is a snapshot.
        append(&store, fence, 3, written(["d"])).await.unwrap();
        assert_eq!(all.len(), 3);
        let record = all.get(Seq(1)).unwrap();
        assert_eq!((record.seq, record.at_ms, &record.class), (Seq(1), 1, &RecordClass::Other));
    }

    async fn many_records_come_back_byte_for_byte(store) {
        const RECORDS: u64 = 3_000;
        let fence = make_root(&store, 1).await.fence;
        let text = |n: u64| format!("{n} é \u{0} \"\\ {}", "x".repeat((n % 50) as usize));
        for from in (0..RECORDS).step_by(1_000) {
            let batch = Batch {
                records: (from..from + 1_000).map(|n| record(&text(n))).collect(),
                ..Batch::default()
            };
            append(&store, fence, from, batch).await.unwrap();
        }
        let expected: Vec<String> = (0..RECORDS).map(text).collect();
        assert_eq!(texts(&store, 1).await, expected);
    }

    // Forks.

    async fn a_fork_shares_its_base_and_neither_writes_the_other(store) {
        let source = make_root(&store, 1).await.fence;
        append(&store, source, 0, written(["a", "b", "c"])).await.unwrap();
        let base = Base { thread: id(1), cut: Seq(2) };
        let fork = NewThread { base: Some(base), ..root(2) };
        let fork = create(&store, fork, records(["x"])).await.unwrap();
        assert_eq!((fork.thread.base, fork.thread.head), (Some(base), Seq(3)));
        assert_eq!(fork.thread.parent, None, "a base is no parent");
        assert_eq!(texts(&store, 2).await, ["a", "b", "x"]);

        append(&store, source, 3, written(["d"])).await.unwrap();
        append(&store, fork.fence, 3, written(["y"])).await.unwrap();
        assert_eq!(texts(&store, 1).await, ["a", "b", "c", "d"]);
        assert_eq!(texts(&store, 2).await, ["a", "b", "x", "y"]);
        // The source is not acquired by being forked.
        assert_eq!(store.thread(id(1)).await.unwrap().epoch, source.epoch);
    }

    async fn a_fork_of_a_fork_can_be_cut_inside_the_base(store) {
        let source = make_root(&store, 1).await.fence;
        append(&store, source, 0, written(["a", "b", "c"])).await.unwrap();
        let fork = |n, of, cut| NewThread {
            base: Some(Base { thread: id(of), cut: Seq(cut) }),
            ..root(n)
        };
        create(&store, fork(2, 1, 2), records(["x", "y"])).await.unwrap();
        create(&store, fork(3, 2, 3), records(["p"])).await.unwrap();
        create(&store, fork(4, 2, 1), records(["q"])).await.unwrap();
        create(&store, fork(5, 2, 0), records(["r"])).await.unwrap();
        assert_eq!(texts(&store, 3).await, ["a", "b", "x", "p"]);
        assert_eq!(texts(&store, 4).await, ["a", "q"]);
        assert_eq!(texts(&store, 5).await, ["r"]);
        let head = store.read(id(3), Some(Seq(3))).await.unwrap();
        assert_eq!(head.len(), 3, "an end is counted from the first record of the base");
    }

    async fn a_fork_takes_no_submission_mail_or_child_along(store) {
        let source = make_root(&store, 1).await.fence;
        create(&store, child(3, 1), Vec::new()).await.unwrap();
        let batch = Batch {
            records: records(["a"]),
            accepted: vec![accepted("s")],
            mail: vec![mail_to(1, "m")],
            ..Batch::default()
        };
        append(&store, source, 0, batch).await.unwrap();
        let fork = NewThread { base: Some(Base { thread: id(1), cut: Seq(1) }), ..root(2) };
        create(&store, fork, Vec::new()).await.unwrap();
        let fork = acquire(&store, 2).await.unwrap();
        assert!(fork.open.is_empty() && fork.mail.is_empty());
        assert_eq!(look_up(&store, 2, "s").await.unwrap(), None);
        assert_eq!(store.children(id(2), None).await.unwrap(), []);
    }
}

// Words of the suite.

const OPEN: EdgeStatus = EdgeStatus::Open;
const CLOSED: EdgeStatus = EdgeStatus::Closed;

fn id(n: u64) -> ThreadId {
    ThreadId::from_parts(n, [0; 10])
}

/// An id in the style of REF 12.5.
fn gs(n: u128) -> ThreadId {
    ThreadId::from_uuid(Uuid::from_u128(n))
}

fn root(n: u64) -> NewThread {
    NewThread::root(id(n), 7)
}

fn child(n: u64, of: u64) -> NewThread {
    NewThread { parent: Some(id(of)), depth: 1, ..root(n) }
}

fn record(text: &str) -> NewRecord {
    NewRecord { at_ms: 1, class: RecordClass::Other, raw: Raw::from(text.as_bytes()) }
}

fn records<const N: usize>(texts: [&str; N]) -> Vec<NewRecord> {
    texts.map(record).into()
}

fn written<const N: usize>(texts: [&str; N]) -> Batch {
    Batch { records: records(texts), ..Batch::default() }
}

fn name(text: &str) -> SubmissionId {
    SubmissionId::new(text).expect("a plain name")
}

fn accepted(text: &str) -> NewSubmission {
    let body = format!("body of {text}");
    NewSubmission {
        id: name(text),
        digest: digest(body.as_bytes()),
        body: body.into_bytes().into(),
    }
}

fn known(text: &str, seq: u64, state: SubmissionState) -> KnownSubmission {
    KnownSubmission::new(accepted(text).digest, Seq(seq), state)
}

fn state(text: &str, state: SubmissionState) -> Batch {
    Batch { states: vec![(name(text), state)], ..Batch::default() }
}

fn mail_to(reader: u64, mail: &str) -> MailTo {
    let mail = Mail {
        id: MailId::from(mail),
        sender: Some(id(1)),
        author: "/root/a".into(),
        recipient: "/root/b".into(),
        content: format!("content of {mail}"),
        trigger: true,
    };
    MailTo { to: id(reader), mail }
}

fn mail_ids(acquired: &Acquired) -> Vec<&str> {
    acquired.mail.iter().map(|mail| &*mail.id).collect()
}

async fn create(
    store: &Store,
    new: NewThread,
    records: Vec<NewRecord>,
) -> Result<Acquired, StoreError> {
    let (done, answer) = Done::channel();
    store.create(new, records, done);
    answer.await
}

async fn make_root(store: &Store, n: u64) -> Acquired {
    create(store, root(n), Vec::new()).await.expect("a root under a new id is made")
}

async fn acquire(store: &Store, n: u64) -> Result<Acquired, StoreError> {
    let (done, answer) = Done::channel();
    store.acquire(id(n), done);
    answer.await
}

async fn append(
    store: &Store,
    fence: Fence,
    expected: u64,
    batch: Batch,
) -> Result<Seq, StoreError> {
    let (done, answer) = Done::channel();
    store.append(fence, Seq(expected), batch, done);
    answer.await
}

async fn undo_create(store: &Store, fence: Fence) -> Result<(), StoreError> {
    let (done, answer) = Done::channel();
    store.undo_create(fence, done);
    answer.await
}

async fn look_up(
    store: &Store,
    thread: u64,
    submission: &str,
) -> Result<Option<KnownSubmission>, StoreError> {
    let (done, answer) = Done::channel();
    store.submission(id(thread), &name(submission), done);
    answer.await
}

async fn texts(store: &Store, n: u64) -> Vec<String> {
    let history = store.read(id(n), None).await.expect("the thread can be read");
    let text = |raw: &Raw| String::from_utf8(raw.to_vec()).expect("what was written is text");
    history.iter().map(|record| text(&record.raw)).collect()
}

async fn listed(store: &Store, after: Option<ThreadId>, count: usize) -> Vec<ThreadId> {
    let threads = store.list(after, count).await.expect("a list can be read");
    threads.iter().map(|thread| thread.id).collect()
}

async fn put_edge(store: &Store, child: u128, change: EdgeChange) {
    let (done, answer) = Done::channel();
    store.put_edge(gs(child), change, done);
    answer.await.expect("an edge can be written");
}

/// Inserts edges, in this order, between threads that are made for them.
async fn edges(store: &Store, edges: &[(u128, u128, EdgeStatus)]) {
    for &(parent, child, status) in edges {
        for thread in [parent, child] {
            if store.thread(gs(thread)).await.is_err() {
                let made = create(store, NewThread::root(gs(thread), 7), Vec::new()).await;
                made.expect("a root under a new id is made");
            }
        }
        put_edge(store, child, EdgeChange::Parent(gs(parent), status)).await;
    }
}

fn numbers(threads: &[ThreadId]) -> Vec<u128> {
    threads.iter().map(|thread| thread.as_uuid().as_u128()).collect()
}

async fn children(store: &Store, parent: u128, filter: Option<EdgeStatus>) -> Vec<u128> {
    numbers(&store.children(gs(parent), filter).await.expect("edges can be read"))
}

async fn descendants(store: &Store, root: u128, filter: Option<EdgeStatus>) -> Vec<u128> {
    numbers(&store.descendants(gs(root), filter).await.expect("edges can be read"))
}

#[cfg(test)]
mod tests {
    use super::super::faulty::{FaultyStore, StoreOp};
    use super::super::{MemoryStore, descend};
    use super::*;

    #[tokio::test]
    async fn a_memory_store_keeps_the_contract() {
        all(|| Arc::new(MemoryStore::new())).await;
    }

    #[tokio::test]
    async fn a_faulty_store_without_faults_keeps_the_contract() {
        all(|| Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())))).await;
    }

    #[test]
    fn gs_04_edge_statuses_have_the_wire_names_of_the_reference() {
        for (status, json) in [(OPEN, "\"open\""), (CLOSED, "\"closed\"")] {
            assert_eq!(serde_json::to_string(&status).unwrap(), json);
            assert_eq!(serde_json::from_str::<EdgeStatus>(json).unwrap(), status);
        }
    }

    #[test]
    fn a_descent_meets_each_thread_once_where_ways_join() {
        // 1 → 2, 3; 2 → 4; 3 → 4; 4 → 1.
        let below = |thread: ThreadId| match thread.as_uuid().as_u128() {
            1 => vec![gs(3), gs(2)],
            2 | 3 => vec![gs(4)],
            4 => vec![gs(1)],
            _ => vec![],
        };
        assert_eq!(numbers(&descend(gs(1), below)), [2, 3, 4]);
    }

    fn faulty() -> (FaultyStore, Store) {
        let store = FaultyStore::new(Arc::new(MemoryStore::new()));
        (store.clone(), Arc::new(store))
    }

    #[tokio::test]
    async fn a_request_that_fails_was_not_applied_and_the_next_one_is() {
        let (faults, store) = faulty();
        let fence = make_root(&store, 1).await.fence;
        let error = StoreError::Unavailable { reason: "the disk is full".into() };
        faults.fail_next(StoreOp::Append, error.clone());
        assert_eq!(append(&store, fence, 0, written(["a"])).await, Err(error));
        assert_eq!(append(&store, fence, 0, written(["b"])).await, Ok(Seq(1)));
        assert_eq!(texts(&store, 1).await, ["b"]);
        assert_eq!(faults.calls(StoreOp::Append), 2);
    }

    #[tokio::test]
    async fn held_requests_are_applied_in_order_when_they_are_released() {
        let (faults, store) = faulty();
        let fence = make_root(&store, 1).await.fence;
        faults.hold(StoreOp::Append);
        let (done, first) = Done::channel();
        let mut first = Box::pin(first);
        store.append(fence, Seq(0), written(["a"]), done);
        let (done, second) = Done::channel();
        store.append(fence, Seq(1), written(["b"]), done);
        assert!(futures::poll!(&mut first).is_pending());
        assert_eq!(texts(&store, 1).await, [""; 0], "what is held is not applied");
        faults.release(StoreOp::Append);
        assert_eq!((first.await, second.await), (Ok(Seq(1)), Ok(Seq(2))));
        assert_eq!(append(&store, fence, 2, written(["c"])).await, Ok(Seq(3)));
        assert_eq!(texts(&store, 1).await, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_request_that_a_store_drops_has_an_unknown_outcome() {
        let (done, answer) = Done::<Seq>::channel();
        drop(done);
        assert!(matches!(answer.await, Err(StoreError::UnknownOutcome { .. })));
    }
}
