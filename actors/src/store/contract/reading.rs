//! Lists and histories.

use coppicer_messages::{Epoch, RecordClass, Seq};
use futures::FutureExt;

use super::words::{append, id, listed, make_root, record, texts, undo_create, written};
use super::{Case, Store};
use crate::store::{Batch, Fence};

cases! {
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
}
