//! What of a budget goes along with a thread that moves, and what stays where it was (BU-1).

use coppicer::testing::BUDGET;
use coppicer::{AdoptError, Budget, LeaseKind, ThreadConfig, ThreadHandle};

use super::{below, named, world};

fn tokens(tokens: u64) -> ThreadConfig {
    ThreadConfig::default().with_budget(Budget::new().with_tokens(tokens))
}

// top (100) ─┬─ old ─┬─ plain ── leaf       plain draws on top, before and after
//            │       └─ owns (60)           its part is top's, before and after
//            ├─ new
//            └─ limited (10)
#[tokio::test(start_paused = true)]
async fn what_draws_on_the_same_budget_before_and_after_moves_and_nothing_is_carved_anew() {
    let world = world().await;
    let top = world.spawn(named("top").with_config(tokens(100))).await.unwrap();
    let (old, new) = (below(&world, &top, "old").await, below(&world, &top, "new").await);
    let limited = named("limited").with_parent(top.id()).with_config(tokens(10));
    let limited = world.spawn(limited).await.unwrap();
    let plain = below(&world, &old, "plain").await;
    let leaf = below(&world, &plain, "leaf").await;
    let owns = named("owns").with_parent(old.id()).with_config(tokens(60));
    let owns = world.spawn(owns).await.unwrap();
    let ledger = async |thread: &ThreadHandle| world.ledger(thread.id()).await.unwrap().unwrap();
    owns.run("use 20").await.unwrap();

    let (thread, limit) = (plain.id(), "budget.tokens");
    for to in [None, Some(limited.id())] {
        let refused = world.adopt(thread, to).await.unwrap_err();
        assert_eq!(refused, AdoptError::Budget { thread, limit }, "below {to:?}");
    }
    world.adopt(plain.id(), Some(new.id())).await.unwrap();
    world.adopt(owns.id(), Some(new.id())).await.unwrap();
    assert_eq!(ledger(&top).await.rest().tokens, Some(30), "60 and 10 are given away, as before");
    assert_eq!(ledger(&owns).await.rest().tokens, Some(40));
    assert_eq!(world.audit().await.count(LeaseKind::Budget), 2);
    plain.run("use 3").await.unwrap();
    leaf.run("use 4").await.unwrap();
    assert_eq!(ledger(&top).await.rest().tokens, Some(23), "it draws where it drew");
    for thread in [&top, &owns] {
        let stored = world.stored(thread.id()).await.unwrap().ledger;
        assert_eq!(stored, Some(ledger(thread).await), "in the store as in memory");
    }
    world.close(owns.id(), BUDGET).await.unwrap();
    assert_eq!(ledger(&top).await.rest().tokens, Some(63), "what it did not use is back");
    world.end().await;
}
