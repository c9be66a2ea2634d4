//! Mail on its way from one thread to another.

use coppicer_messages::{ACQUIRED_MAIL_MAX, MAIL_PAGE_MAX, MailId, MailPlace, MailRest, Seq};
use futures::FutureExt;

use super::words::{acquire, append, id, mail_ids, mail_to, make_root, records};
use super::{Case, Store};
use crate::store::{Batch, Done};

async fn page(
    store: &Store,
    thread: u64,
    after: MailPlace,
    most: usize,
) -> (Vec<String>, MailRest) {
    let (done, page) = Done::channel();
    store.mail_page(id(thread), after, most, done);
    let page = page.await.unwrap();
    (page.mail.iter().map(|mail| mail.id.to_string()).collect(), page.rest)
}

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

    async fn a_mailbox_is_read_page_by_page(store) {
        let reader = make_root(&store, 2).await.fence;
        let writer = make_root(&store, 1).await.fence;
        make_root(&store, 3).await;
        let letter = |to, id: &str, trigger| {
            let mut letter = mail_to(to, id);
            letter.mail.trigger = trigger;
            letter
        };
        // Mail of others lies in between.
        let mail = ["a", "b", "c", "d", "e", "f"].iter().flat_map(|id| {
            [letter(2, id, *id == "b" || *id == "e"), letter(3, id, true)]
        });
        append(&store, writer, 0, Batch { mail: mail.collect(), ..Batch::default() }).await.unwrap();
        let (ids, rest) = page(&store, 2, MailPlace(0), 3).await;
        assert_eq!((ids.concat().as_str(), rest.more, rest.triggers), ("abc", true, true));
        let (ids, end) = page(&store, 2, rest.upto, 3).await;
        assert_eq!((ids.concat().as_str(), end.more, end.triggers), ("def", false, false));
        let (ids, none) = page(&store, 2, end.upto, 3).await;
        assert_eq!((ids.len(), none), (0, end), "nothing is behind it");
        let (ids, there) = page(&store, 2, rest.upto, 0).await;
        assert_eq!((ids.len(), there.upto, there.more, there.triggers), (0, rest.upto, true, true));
        // What is taken is left out, and moves no place of another.
        let taken = vec![MailId::from("c"), MailId::from("e")];
        append(&store, reader, 0, Batch { mail_taken: taken, ..Batch::default() }).await.unwrap();
        append(&store, writer, 0, Batch { mail: vec![letter(2, "g", false)], ..Batch::default() })
            .await
            .unwrap();
        let (ids, next) = page(&store, 2, rest.upto, 2).await;
        assert_eq!((ids.concat().as_str(), next.more, next.triggers), ("df", true, false));
        assert_eq!(next.upto, end.upto);
        assert_eq!(page(&store, 2, next.upto, 2).await.0, ["g"]);
        assert_eq!(page(&store, 2, MailPlace(0), usize::MAX).await.0.concat(), "abdfg");
    }

    async fn a_thread_that_is_acquired_is_given_so_much_of_its_mail(store) {
        make_root(&store, 2).await;
        let writer = make_root(&store, 1).await.fence;
        let ids: Vec<String> = (0..=ACQUIRED_MAIL_MAX).map(|n| n.to_string()).collect();
        for some in ids.chunks(1_000) {
            let mail = some.iter().map(|id| mail_to(2, id)).collect();
            append(&store, writer, 0, Batch { mail, ..Batch::default() }).await.unwrap();
        }
        let acquired = acquire(&store, 2).await.unwrap();
        assert_eq!(mail_ids(&acquired), ids[..ACQUIRED_MAIL_MAX]);
        assert!(acquired.mail_rest.more && acquired.mail_rest.triggers);
        let (last, rest) = page(&store, 2, acquired.mail_rest.upto, MAIL_PAGE_MAX).await;
        assert_eq!((last, rest.more), (ids[ACQUIRED_MAIL_MAX..].to_vec(), false));
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
