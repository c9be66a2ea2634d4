//! Ledgers, crashes that are kept, and counts.

use coppicer_messages::{
    Amounts, Budget, CRASHES_KEPT_MAX, Charge, CrashRecord, Epoch, Ledger, Seq, StoreError,
    ThreadConfig, ThreadStatus,
};
use futures::FutureExt;

use super::words::{
    OPEN, acquire, append, child, children, create, delete, edges, id, make_root, put_edge,
    records, root, undo_create, written,
};
use super::{Case, Store};
use crate::store::{Batch, Done, EdgeChange, NewThread};

fn tokens(tokens: i64) -> Amounts {
    let mut amounts = Amounts::default();
    amounts.tokens = tokens;
    amounts
}

fn with_budget(new: NewThread, tokens: u64) -> NewThread {
    let mut budget = Budget::default();
    budget.tokens = Some(tokens);
    NewThread { config: ThreadConfig::default().with_budget(budget).into(), ..new }
}

fn spent(to: u64, amount: i64) -> Charge {
    let mut charge = Charge::to(id(to));
    charge.spent = tokens(amount);
    charge
}

fn carved(from: u64, amount: i64) -> Charge {
    let mut charge = Charge::to(id(from));
    charge.carved = tokens(amount);
    charge
}

fn crash(n: u64) -> CrashRecord {
    CrashRecord {
        at_ms: n,
        epoch: Epoch(1),
        turn: None,
        seq: Seq(n),
        place: 2,
        cause: format!("boom \u{0} {n}").into(),
    }
}

async fn ledger(store: &Store, n: u64) -> Ledger {
    store.thread(id(n)).await.unwrap().ledger.expect("it has a budget")
}

async fn charge(store: &Store, charges: Vec<Charge>) -> Vec<Option<Ledger>> {
    let (done, answer) = Done::channel();
    store.charge(charges, done);
    answer.await.unwrap()
}

cases! {
    async fn a_thread_with_a_budget_has_an_account_and_no_other_has(store) {
        make_root(&store, 1).await;
        let made = create(&store, with_budget(root(2), 100), Vec::new()).await.unwrap();
        assert_eq!(store.thread(id(1)).await.unwrap().ledger, None);
        assert_eq!(made.thread.ledger, Some(ledger(&store, 2).await));
        assert_eq!(ledger(&store, 2).await.rest().tokens, Some(100));
        let charges = vec![spent(2, 30), spent(1, 5), spent(9, 5), carved(2, 50)];
        let after = charge(&store, charges).await;
        let left: Vec<_> = after.iter().map(|after| after.map(|ledger| ledger.rest().tokens)).collect();
        assert_eq!(left, [Some(Some(20)), None, None, Some(Some(20))]);
        assert_eq!(acquire(&store, 2).await.unwrap().thread.ledger, after[0]);
        assert_eq!(charge(&store, Vec::new()).await, []);
    }

    async fn what_an_append_charges_is_written_with_it_or_not_at_all(store) {
        create(&store, with_budget(root(1), 100), Vec::new()).await.unwrap();
        let fence = make_root(&store, 2).await.fence;
        let charging = |number| Batch { number, charges: vec![spent(1, 10)], ..written(["a"]) };
        append(&store, fence, 0, charging(1)).await.unwrap();
        assert_eq!(ledger(&store, 1).await.spent.tokens, 10);
        assert!(append(&store, fence, 7, charging(2)).await.is_err(), "another head");
        assert!(append(&store, fence, 1, charging(9)).await.is_err(), "behind a refused one");
        let old = fence;
        let new = acquire(&store, 2).await.unwrap().fence;
        assert!(append(&store, old, 1, charging(2)).await.is_err(), "an older fence");
        assert_eq!(ledger(&store, 1).await.spent.tokens, 10);
        let only = Batch { charges: vec![spent(1, 1)], ..Batch::default() };
        append(&store, new, 1, only).await.unwrap();
        assert_eq!(ledger(&store, 1).await.spent.tokens, 11);
    }

    async fn what_making_a_thread_charges_is_taken_back_when_it_is_undone(store) {
        create(&store, with_budget(root(1), 100), Vec::new()).await.unwrap();
        let new = |n| NewThread {
            charges: vec![carved(1, 40), spent(1, 1)],
            ..with_budget(child(n, 1), 40)
        };
        create(&store, new(2), Vec::new()).await.unwrap();
        assert!(create(&store, new(2), Vec::new()).await.is_err(), "the id is taken");
        assert_eq!(ledger(&store, 1).await.rest().tokens, Some(59), "once");
        let undone = create(&store, new(3), Vec::new()).await.unwrap().fence;
        assert_eq!(ledger(&store, 1).await.rest().tokens, Some(18));
        let late = acquire(&store, 3).await.unwrap().fence;
        assert!(undo_create(&store, undone).await.is_err());
        assert_eq!(ledger(&store, 1).await.rest().tokens, Some(18), "a refusal changes nothing");
        undo_create(&store, late).await.unwrap();
        assert_eq!(ledger(&store, 1).await.rest().tokens, Some(59));
        // A thread that is deleted was not undone.
        delete(&store, 2).await.unwrap();
        assert_eq!(ledger(&store, 1).await.rest().tokens, Some(59));
        // A thread without a budget of its own charges too.
        let spawn = NewThread { charges: vec![spent(1, 1)], ..child(4, 1) };
        let fence = create(&store, spawn, Vec::new()).await.unwrap().fence;
        assert_eq!(ledger(&store, 1).await.spent.tokens, 2);
        undo_create(&store, fence).await.unwrap();
        assert_eq!(ledger(&store, 1).await.spent.tokens, 1);
        assert_eq!(store.thread(id(1)).await.unwrap().ledger.map(|l| l.budget.tokens), Some(Some(100)));
        // One that has ended gave its part back with that.
        let before = ledger(&store, 1).await.rest().tokens;
        let ended = create(&store, new(5), Vec::new()).await.unwrap().fence;
        let end = Batch {
            status: Some(ThreadStatus::Shutdown),
            charges: vec![carved(1, -40)],
            ..Batch::default()
        };
        append(&store, ended, 0, end).await.unwrap();
        undo_create(&store, ended).await.unwrap();
        assert_eq!(ledger(&store, 1).await.rest().tokens, before, "once");
    }

    async fn a_grant_raises_a_budget_and_a_new_thread_under_an_old_id_has_none_of_it(store) {
        create(&store, with_budget(root(1), 100), Vec::new()).await.unwrap();
        let mut grant = Charge::to(id(1));
        grant.granted = tokens(11);
        assert_eq!(charge(&store, vec![grant]).await[0].unwrap().rest().tokens, Some(111));
        delete(&store, 1).await.unwrap();
        assert_eq!(charge(&store, vec![grant]).await, [None]);
        make_root(&store, 1).await;
        assert_eq!(store.thread(id(1)).await.unwrap().ledger, None);
        assert_eq!(store.crashes(id(1)).await.unwrap(), []);
    }

    async fn the_newest_crashes_of_a_thread_are_kept_oldest_first(store) {
        let fence = make_root(&store, 1).await.fence;
        make_root(&store, 2).await;
        assert_eq!(acquire(&store, 1).await.unwrap().crashes, []);
        let fence = crate::store::Fence { epoch: fence.epoch.next(), ..fence };
        let most = CRASHES_KEPT_MAX as u64;
        let crashed = |range: std::ops::Range<u64>| Batch {
            crashes: range.map(crash).collect(),
            ..Batch::default()
        };
        append(&store, fence, 0, crashed(0..1)).await.unwrap();
        assert!(append(&store, fence, 5, crashed(7..9)).await.is_err());
        assert_eq!(store.crashes(id(1)).await.unwrap(), [crash(0)]);
        append(&store, fence, 0, crashed(1..most + 3)).await.unwrap();
        let kept: Vec<CrashRecord> = (3..most + 3).map(crash).collect();
        assert_eq!(store.crashes(id(1)).await.unwrap(), kept);
        assert_eq!(acquire(&store, 1).await.unwrap().crashes, kept);
        assert_eq!(store.crashes(id(2)).await.unwrap(), [], "each thread has its own");
        assert_eq!(store.crashes(id(3)).await, Err(StoreError::NotFound { thread: id(3) }));
    }

    async fn threads_are_counted(store) {
        assert_eq!(store.count().await, Ok(0));
        make_root(&store, 1).await;
        create(&store, child(2, 1), records(["a"])).await.unwrap();
        let fence = create(&store, child(3, 2), Vec::new()).await.unwrap().fence;
        assert!(create(&store, root(1), Vec::new()).await.is_err());
        assert_eq!(store.count().await, Ok(3));
        undo_create(&store, fence).await.unwrap();
        assert_eq!(store.count().await, Ok(2));
        delete(&store, 1).await.unwrap();
        assert_eq!(store.count().await, Ok(0));
    }

    async fn a_child_can_become_a_root_and_takes_along_what_is_below_it(store) {
        edges(&store, &[(1, 2, OPEN), (2, 3, OPEN), (1, 4, OPEN)]).await;
        put_edge(&store, 2, EdgeChange::Root).await;
        put_edge(&store, 99, EdgeChange::Root).await;
        assert_eq!(children(&store, 1, None).await, [4]);
        assert_eq!(children(&store, 2, None).await, [3]);
        assert_eq!(store.thread(super::words::gs(2)).await.unwrap().parent, None);
        put_edge(&store, 2, EdgeChange::Status(OPEN)).await;
        assert_eq!(store.thread(super::words::gs(2)).await.unwrap().parent, None);
        put_edge(&store, 2, EdgeChange::Parent(super::words::gs(4), OPEN)).await;
        assert_eq!(super::words::descendants(&store, 1, None).await, [4, 2, 3]);
    }
}
