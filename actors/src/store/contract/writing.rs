//! What one append writes, in which order, and what a refused one changes.

use coppicer_messages::{
    MailId, Outcome, Seq, StoreError, SubmissionState, ThreadPatch, ThreadStatus,
};
use futures::FutureExt;

use super::words::{
    accepted, acquire, append, create, delete, id, known, look_up, mail_ids, mail_to, make_root,
    name, patch, records, root, state, texts, undo_create, written,
};
use super::{Case, Store};
use crate::store::{Batch, Done, NewSubmission, NewThread, ThreadQuery, digest};

cases! {
    async fn what_was_asked_last_is_kept_and_what_was_asked_before_is_not(store) {
        let made = make_root(&store, 1).await;
        let task = async || {
            let thread = store.thread(id(1)).await.unwrap();
            (thread.task.clone(), thread.last_task().map(str::to_owned))
        };
        assert_eq!(task().await, (None, None));
        let asked = |text: &str| Batch { task: Some(text.into()), ..Batch::default() };
        append(&store, made.fence, 0, asked("first")).await.unwrap();
        let preview = ThreadPatch::default().with_preview("first");
        patch(&store, 1, preview).await.unwrap();
        assert_eq!(task().await.1.as_deref(), Some("first"));
        for text in ["second é", "second é", "third"] {
            append(&store, made.fence, 0, asked(text)).await.unwrap();
            assert_eq!(task().await.1.as_deref(), Some(text));
        }
        append(&store, made.fence, 0, written(["a"])).await.unwrap();
        // A write that is refused has asked nothing.
        let fence = acquire(&store, 1).await.unwrap();
        assert_eq!(fence.thread.last_task(), Some("third"));
        assert!(append(&store, made.fence, 1, asked("late")).await.is_err());
        let listed = store.list(ThreadQuery::all()).await.unwrap().threads;
        assert_eq!(listed[0].last_task(), Some("third"));
        delete(&store, 1).await.unwrap();
        make_root(&store, 1).await;
        assert_eq!(task().await, (None, None), "another of the same id was asked nothing");
        let preview = ThreadPatch::default().with_preview("how it began");
        patch(&store, 1, preview).await.unwrap();
        assert_eq!(task().await, (None, Some("how it began".into())));
    }

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

    async fn an_append_tells_until_where_nothing_is_open(store) {
        let fence = make_root(&store, 1).await.fence;
        let settled = |n: u64| Batch { settled: true, ..written([&*n.to_string()]) };
        append(&store, fence, 0, settled(0)).await.unwrap();
        append(&store, fence, 1, written(["open"])).await.unwrap();
        let thread = store.thread(id(1)).await.unwrap();
        assert_eq!((thread.settled, thread.head), (Seq(1), Seq(2)));
        append(&store, fence, 2, settled(2)).await.unwrap();
        assert_eq!(store.thread(id(1)).await.unwrap().settled, Seq(3));
        let whole = NewThread { settled: true, ..root(2) };
        let made = create(&store, whole, records(["a", "b"])).await.unwrap();
        assert_eq!(made.thread.settled, Seq(2));
    }

    async fn an_append_changes_what_is_known_of_its_thread(store) {
        let fence = make_root(&store, 1).await.fence;
        let batch = Batch {
            patch: Some(Box::new(ThreadPatch::default().with_preview("what is asked"))),
            updated_ms: Some(77),
            ..Batch::default()
        };
        append(&store, fence, 0, batch).await.unwrap();
        append(&store, fence, 0, written(["a"])).await.unwrap();
        let thread = store.thread(id(1)).await.unwrap();
        assert_eq!(thread.details.preview.as_deref(), Some("what is asked"));
        assert_eq!((thread.updated_ms, thread.created_ms), (77, 7));
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
        let (answers, mut told) = tokio::sync::mpsc::channel(APPENDS as usize);
        for n in 0..APPENDS {
            let answers = answers.clone();
            let done = Done::new(move |result| answers.try_send((n, result)).unwrap());
            store.append(fence, Seq(n), written([&*n.to_string()]), done);
        }
        for n in 0..APPENDS {
            assert_eq!(told.recv().await, Some((n, Ok(Seq(n + 1)))));
        }
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
            number: 0,
            records: records(["b"]),
            accepted: vec![accepted("t")],
            states: vec![(name("s"), SubmissionState::Ended(Outcome::Interrupted))],
            mail: vec![mail_to(2, "never")],
            mail_taken: vec![MailId::from("kept")],
            task: Some("never".into()),
            status: Some(ThreadStatus::Shutdown),
            patch: Some(Box::new(ThreadPatch::default().with_name("never"))),
            updated_ms: Some(99),
            crashes: Vec::new(),
            charges: Vec::new(),
            settled: true,
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
}
