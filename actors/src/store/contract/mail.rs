//! Mail on its way from one thread to another.

use coppicer_messages::{MailId, Seq};
use futures::FutureExt;

use super::words::{acquire, append, mail_ids, mail_to, make_root, records};
use super::{Case, Store};
use crate::store::Batch;

cases! {
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
}
