//! Threads that begin with the records of another.

use coppicer_messages::Seq;
use futures::FutureExt;

use super::words::{
    accepted, acquire, append, child, create, id, look_up, mail_to, make_root, records, root,
    texts, written,
};
use super::{Case, Store};
use crate::store::{Base, Batch, NewThread};

cases! {
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
