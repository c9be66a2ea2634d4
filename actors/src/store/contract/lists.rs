//! Lists of threads: conditions, orders, cursors (REF 5.2, 12.6, 12.7).

use coppicer_messages::{AgentPath, Change, ThreadConfig, ThreadPatch};
use futures::FutureExt;

use super::words::{append, archive, child, create, id, ids, make_root, patch, root};
use super::{Case, Store};
use crate::store::{Archived, Batch, NewThread, Order, SortBy, ThreadQuery};

async fn numbers(store: &Store, query: ThreadQuery) -> Vec<u64> {
    let page = store.list(query).await.expect("a list can be read");
    (0..100)
        .filter_map(|n| ids(&page).iter().position(|at| *at == id(n)).map(|at| (at, n)))
        .collect::<std::collections::BTreeMap<_, _>>()
        .into_values()
        .collect()
}

cases! {
    async fn ts_06_a_list_has_what_was_made_by_id(store) {
        for n in [2, 1] {
            make_root(&store, n).await;
        }
        let page = store.list(ThreadQuery::all()).await.unwrap();
        assert_eq!(ids(&page), [id(1), id(2)]);
        assert_eq!(page.next, None);
        assert_eq!(page.threads[0], store.thread(id(1)).await.unwrap());
    }

    async fn pages_have_every_thread_once_in_each_order(store) {
        for (n, created, updated) in [(1, 30, 5), (2, 10, 9), (3, 20, 9), (4, 20, 1), (5, 10, 7)] {
            let new = NewThread { created_ms: created, ..root(n) };
            let fence = create(&store, new, Vec::new()).await.unwrap().fence;
            let batch = Batch { updated_ms: Some(updated), ..Batch::default() };
            append(&store, fence, 0, batch).await.unwrap();
        }
        for (sort, order, expected) in [
            (SortBy::Id, Order::Ascending, [1, 2, 3, 4, 5]),
            (SortBy::Id, Order::Descending, [5, 4, 3, 2, 1]),
            (SortBy::Created, Order::Ascending, [2, 5, 3, 4, 1]),
            (SortBy::Created, Order::Descending, [1, 4, 3, 5, 2]),
            (SortBy::Updated, Order::Ascending, [4, 1, 5, 2, 3]),
            (SortBy::Updated, Order::Descending, [3, 2, 5, 1, 4]),
        ] {
            for size in 1..=6 {
                let mut seen = Vec::new();
                let mut after = None;
                loop {
                    let query = ThreadQuery::all().sorted(sort, order).take(size).after(after);
                    let page = store.list(query).await.unwrap();
                    assert!(page.threads.len() <= size);
                    seen.extend(ids(&page));
                    // A cursor can be kept as a text.
                    after = page.next.map(|next| next.to_string().parse().unwrap());
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(seen, expected.map(id), "{sort:?} {order:?} in pages of {size}");
            }
        }
    }

    async fn a_cursor_stays_where_it_is_while_threads_come_and_go(store) {
        for n in [10, 20, 30, 40] {
            create(&store, NewThread { created_ms: n, ..root(n) }, Vec::new()).await.unwrap();
        }
        let query = || ThreadQuery::new().take(2);
        let first = store.list(query()).await.unwrap();
        assert_eq!(ids(&first), [id(40), id(30)]);
        create(&store, NewThread { created_ms: 50, ..root(50) }, Vec::new()).await.unwrap();
        create(&store, NewThread { created_ms: 15, ..root(15) }, Vec::new()).await.unwrap();
        super::words::delete(&store, 30).await.unwrap();
        assert_eq!(numbers(&store, query().after(first.next)).await, [20, 15]);
        // One of another order is refused.
        let wrong = ThreadQuery::all().after(first.next);
        assert!(store.list(wrong).await.is_err());
    }

    async fn ls_27_archived_threads_are_listed_apart(store) {
        make_root(&store, 1).await;
        make_root(&store, 2).await;
        let archived = archive(&store, 2, Some(55)).await.unwrap();
        assert_eq!(archived.archived_ms, Some(55));
        let query = |archived| ThreadQuery::new().archived(archived);
        assert_eq!(numbers(&store, query(Archived::No)).await, [1]);
        assert_eq!(numbers(&store, query(Archived::Only)).await, [2]);
        assert_eq!(numbers(&store, query(Archived::Any)).await, [2, 1]);
    }

    async fn conditions_add_up(store) {
        let config = |source: &str, cwd: &str, model: &str| {
            let mut config = ThreadConfig::default().with_cwd(cwd);
            (config.source, config.model) = (Some(source.into()), Some(model.into()));
            config
        };
        for (n, source, cwd, model) in
            [(1, "cli", "/a", "m"), (2, "exec", "/a", "m"), (3, "cli", "/b", "n")]
        {
            let new = NewThread { config: config(source, cwd, model).into(), ..root(n) };
            create(&store, new, Vec::new()).await.unwrap();
        }
        create(&store, child(4, 1), Vec::new()).await.unwrap();
        let list = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        for (query, expected) in [
            (ThreadQuery::all(), &[1, 2, 3, 4][..]),
            (ThreadQuery::all().roots(), &[1, 2, 3]),
            (ThreadQuery { sources: list(&["cli"]), ..ThreadQuery::all() }, &[1, 3]),
            (ThreadQuery { cwds: list(&["/a", "/b"]), ..ThreadQuery::all() }, &[1, 2, 3]),
            (ThreadQuery { cwds: list(&[]), ..ThreadQuery::all() }, &[]),
            (ThreadQuery { models: list(&["n"]), ..ThreadQuery::all() }, &[3]),
            (
                ThreadQuery { sources: list(&["cli"]), cwds: list(&["/a"]), ..ThreadQuery::all() },
                &[1],
            ),
        ] {
            assert_eq!(numbers(&store, query.clone()).await, expected, "{query:?}");
        }
    }

    async fn a_search_finds_what_people_know_a_thread_by(store) {
        for n in 1..=6 {
            make_root(&store, n).await;
        }
        let set = |text: &str| Change::Set(text.to_owned());
        let path: AgentPath = "/root/scout_50".parse().unwrap();
        for (n, change) in [
            (1, ThreadPatch { name: set("Fix the SCOUT"), ..ThreadPatch::default() }),
            (2, ThreadPatch { title: set("a scout\u{27}s title"), ..ThreadPatch::default() }),
            (3, ThreadPatch { preview: set("100% scout_"), ..ThreadPatch::default() }),
            (4, ThreadPatch { nickname: set("Scout"), ..ThreadPatch::default() }),
            (5, ThreadPatch { path: Change::Set(path), ..ThreadPatch::default() }),
        ] {
            patch(&store, n, change).await.unwrap();
        }
        for (text, expected) in [
            ("scout", &[1, 2, 3, 4, 5][..]),
            ("the s", &[1]),
            // What a store might take for a pattern or a quote is plain text.
            ("0% s", &[3]),
            ("t_", &[3, 5]),
            ("%", &[3]),
            ("scout\u{27}s", &[2]),
            ("\"", &[]),
            ("*", &[]),
        ] {
            assert_eq!(numbers(&store, ThreadQuery::all().search(text)).await, expected, "{text}");
        }
    }
}
