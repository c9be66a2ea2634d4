//! Archives, patches, deletion, and what has something to do.

use coppicer_messages::{
    Change, GitPatch, Outcome, Seq, StoreError, SubmissionState, ThreadPatch, ThreadStatus,
};
use futures::FutureExt;

use super::words::{
    accepted, acquire, append, archive, child, create, delete, id, listed, look_up, mail_to,
    make_root, patch, records, root, state, texts, written,
};
use super::{Case, Store};
use crate::store::{Base, Batch, EdgeStatus, MailTo, NewThread};

cases! {
    async fn a_patch_changes_what_it_names(store) {
        make_root(&store, 1).await;
        let set = |text: &str| Change::Set(text.to_owned());
        let first = ThreadPatch {
            name: set("old name"),
            preview: set("old preview"),
            nickname: set("Ash"),
            cwd: set("/w"),
            git: GitPatch { sha: set("abc123"), branch: set("main"), ..GitPatch::default() },
            ..ThreadPatch::default()
        };
        patch(&store, 1, first).await.unwrap();
        let second = ThreadPatch {
            name: Change::Clear,
            title: set("new title"),
            nickname: Change::Clear,
            git: GitPatch { branch: set("feature"), origin_url: Change::Clear, ..GitPatch::default() },
            ..ThreadPatch::default()
        };
        let patched = patch(&store, 1, second).await.unwrap();
        assert_eq!(store.thread(id(1)).await.unwrap(), patched);
        assert_eq!(patched.details.name, None);
        assert_eq!(patched.details.preview.as_deref(), Some("old preview"));
        assert_eq!(patched.details.title.as_deref(), Some("new title"));
        assert_eq!(patched.config.nickname, None);
        assert_eq!(patched.config.cwd.as_deref(), Some("/w"));
        let git = patched.details.git;
        assert_eq!((git.sha.as_deref(), git.branch.as_deref()), (Some("abc123"), Some("feature")));
        // It is no turn, and needs no fence.
        assert_eq!((patched.updated_ms, patched.epoch.0), (7, 1));
        let long = ThreadPatch { role: set(&"x".repeat(4_097)), ..ThreadPatch::default() };
        let refused = StoreError::TooLarge { what: "role", got: 4_097, max: 4_096 };
        assert_eq!(patch(&store, 1, long).await, Err(refused));
        let missing = patch(&store, 2, ThreadPatch::default()).await;
        assert_eq!(missing, Err(StoreError::NotFound { thread: id(2) }));
    }

    async fn ls_30_to_33_a_thread_goes_into_the_archive_and_comes_back_as_it_was(store) {
        let fence = make_root(&store, 1).await.fence;
        append(&store, fence, 0, written(["a"])).await.unwrap();
        let before = store.thread(id(1)).await.unwrap();
        let archived = archive(&store, 1, Some(50)).await.unwrap();
        assert_eq!(archived.archived_ms, Some(50));
        assert_eq!(archive(&store, 1, Some(60)).await.unwrap().archived_ms, Some(50));
        // What is in it can be read, written and acquired: it is only listed apart.
        assert_eq!(texts(&store, 1).await, ["a"]);
        append(&store, fence, 1, written(["b"])).await.unwrap();
        acquire(&store, 1).await.unwrap();
        let back = archive(&store, 1, None).await.unwrap();
        assert_eq!((back.archived_ms, back.details, back.config), (None, before.details, before.config));
        assert_eq!(archive(&store, 1, None).await.unwrap().archived_ms, None);
        assert_eq!(archive(&store, 2, None).await, Err(StoreError::NotFound { thread: id(2) }));
    }

    async fn ls_26_a_deleted_thread_is_gone_with_all_below_it(store) {
        make_root(&store, 1).await;
        let fence = create(&store, child(2, 1), records(["a"])).await.unwrap().fence;
        create(&store, child(3, 2), records(["b"])).await.unwrap();
        create(&store, child(4, 1), Vec::new()).await.unwrap();
        let batch = Batch {
            accepted: vec![accepted("s")],
            mail: vec![mail_to(2, "m")],
            ..Batch::default()
        };
        append(&store, fence, 1, batch).await.unwrap();
        assert_eq!(delete(&store, 2).await, Ok(2));
        for n in [2, 3] {
            assert_eq!(store.thread(id(n)).await, Err(StoreError::NotFound { thread: id(n) }));
            assert!(store.read(id(n), None).await.is_err());
        }
        assert_eq!(listed(&store, None, 10).await, [id(1), id(4)]);
        assert_eq!(store.children(id(1), None).await.unwrap(), [id(4)]);
        assert_eq!(store.descendants(id(1), None).await.unwrap(), [id(4)]);
        assert!(append(&store, fence, 1, written(["late"])).await.is_err());
        assert_eq!(delete(&store, 2).await, Err(StoreError::NotFound { thread: id(2) }));
        // The id is free, and nothing of the old thread comes back with it.
        let again = create(&store, root(2), records(["new"])).await.unwrap();
        assert_eq!((again.thread.parent, again.thread.head), (None, Seq(1)));
        assert_eq!(look_up(&store, 2, "s").await, Ok(None));
        assert_eq!(acquire(&store, 2).await.unwrap().mail, []);
    }

    async fn forks_keep_what_they_share_with_a_deleted_thread(store) {
        let fence = make_root(&store, 1).await.fence;
        append(&store, fence, 0, written(["a", "b", "c", "d"])).await.unwrap();
        let fork = |n, of, cut| NewThread {
            base: Some(Base { thread: id(of), cut: Seq(cut) }),
            ..root(n)
        };
        create(&store, fork(2, 1, 3), records(["x", "y"])).await.unwrap();
        create(&store, fork(3, 2, 4), records(["p"])).await.unwrap();
        create(&store, fork(4, 1, 1), records(["q"])).await.unwrap();
        delete(&store, 1).await.unwrap();
        assert_eq!(texts(&store, 2).await, ["a", "b", "c", "x", "y"]);
        assert_eq!(listed(&store, None, 10).await, [id(2), id(3), id(4)]);
        delete(&store, 2).await.unwrap();
        assert_eq!(texts(&store, 3).await, ["a", "b", "c", "x", "p"]);
        assert_eq!(texts(&store, 4).await, ["a", "q"]);
        assert_eq!(store.thread(id(3)).await.unwrap().base.map(|base| base.cut), Some(Seq(4)));
        // The ids are free, and a new thread under one shares nothing with the old.
        create(&store, root(1), records(["new"])).await.unwrap();
        assert_eq!(texts(&store, 1).await, ["new"]);
        assert_eq!(texts(&store, 4).await, ["a", "q"]);
        delete(&store, 3).await.unwrap();
        delete(&store, 4).await.unwrap();
        assert_eq!(listed(&store, None, 10).await, [id(1)]);
        assert_eq!(texts(&store, 1).await, ["new"]);
    }

    async fn what_has_something_to_do_is_found(store) {
        let mut fences = Vec::new();
        for n in 1..=7 {
            fences.push(make_root(&store, n).await.fence);
        }
        let fence = |n: usize| fences[n - 1];
        let open = || Batch { accepted: vec![accepted("s")], ..Batch::default() };
        let queue_only = |n| MailTo { mail: coppicer_messages::Mail {
            trigger: false, ..mail_to(n, "m").mail }, ..mail_to(n, "m") };
        append(&store, fence(2), 0, open()).await.unwrap();
        append(&store, fence(3), 0, open()).await.unwrap();
        append(&store, fence(3), 0, state("s", SubmissionState::Ended(Outcome::Returned)))
            .await
            .unwrap();
        let mail = vec![mail_to(4, "m"), queue_only(5)];
        append(&store, fence(1), 0, Batch { mail, ..Batch::default() }).await.unwrap();
        append(&store, fence(6), 0, open()).await.unwrap();
        append(&store, fence(6), 0, state("s", SubmissionState::Running { attempt: 1 }))
            .await
            .unwrap();
        let parked = Batch { status: Some(ThreadStatus::Parked), ..open() };
        append(&store, fence(7), 0, parked).await.unwrap();
        assert_eq!(store.unfinished(None, 10).await.unwrap(), [id(2), id(4), id(6)]);
        assert_eq!(store.unfinished(None, 2).await.unwrap(), [id(2), id(4)]);
        assert_eq!(store.unfinished(Some(id(4)), 2).await.unwrap(), [id(6)]);
        for n in 1..=9 {
            let is = store.is_unfinished(id(n)).await.unwrap();
            assert_eq!(is, [2, 4, 6].contains(&n), "{n}");
        }
        let taken = Batch { mail_taken: vec!["m".into()], ..Batch::default() };
        append(&store, fence(4), 0, taken).await.unwrap();
        let closed = Batch { status: Some(ThreadStatus::Shutdown), ..Batch::default() };
        append(&store, fence(6), 0, closed).await.unwrap();
        assert_eq!(store.unfinished(None, 10).await.unwrap(), [id(2)]);
    }

    async fn a_fork_of_an_archived_thread_and_a_child_of_one_are_made(store) {
        make_root(&store, 1).await;
        archive(&store, 1, Some(5)).await.unwrap();
        let fork = NewThread { base: Some(Base { thread: id(1), cut: Seq(0) }), ..root(2) };
        let fork = create(&store, fork, Vec::new()).await.unwrap();
        assert_eq!(fork.thread.archived_ms, None);
        let made = create(&store, child(3, 1), Vec::new()).await.unwrap();
        assert_eq!(made.thread.parent, Some((id(1), EdgeStatus::Open)));
    }
}
