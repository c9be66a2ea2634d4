//! Each limit is a typed refusal, of the runtime's or of one tree's, and what ends makes room.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::time::Duration;

use coppicer::faulty::{FaultyStore, StoreOp};
use coppicer::testing::{BUDGET, World};
use coppicer::{
    EventKind, Fact, ImportThread, LeaseKind, LimitReached, Limits, MemoryStore, NewThread,
    RuntimeEvent, Script, ScriptedEngine, SpawnError, SpawnThread, Step, StoreError, StoreHealth,
    TapFilter, TapOptions, ThreadConfig, ThreadEvent, ThreadHandle, ThreadId, TreeLimits,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn below(parent: &ThreadHandle) -> SpawnThread {
    SpawnThread::new().with_parent(parent.id())
}

fn root(limits: TreeLimits) -> SpawnThread {
    SpawnThread::new().with_config(ThreadConfig::default().with_tree(limits))
}

async fn world(change: impl FnOnce(&mut Limits)) -> World {
    let mut limits = Limits::default();
    change(&mut limits);
    World::with_limits(engine(), limits).await
}

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "slow" => Script::new().sleep(ms(100)).say("slow"),
        "hang" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    })
}

/// The limit that a spawn meets, as `(name, value)`, and the whole refusal.
async fn met(world: &World, request: SpawnThread) -> (&'static str, u64, LimitReached) {
    match world.spawn(request).await.unwrap_err() {
        SpawnError::Limit(reached) => (reached.limit, reached.value, reached),
        other => panic!("no limit: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtime_says_how_much_of_its_limits_is_in_use() {
    let limits = {
        let mut limits = Limits::default();
        (limits.registered_max, limits.resident_max) = (70, 60);
        (limits.executing_max, limits.taps_max) = (50, 40);
        limits
    };
    let world = World::with_limits(engine(), limits).await;
    let used =
        || world.use_of_limits().iter().map(|of| (of.limit, of.used, of.value)).collect::<Vec<_>>();
    let taps = [world.watch(), world.watch()];
    let mut threads = Vec::new();
    for _ in 0..3 {
        threads.push(world.spawn(SpawnThread::new()).await.unwrap());
    }
    threads[0].submit("hang").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let expected = |registered, resident, executing, taps| {
        vec![
            ("registered_max", registered, 70),
            ("resident_max", resident, 60),
            ("executing_max", executing, 50),
            ("taps_max", taps, 40),
        ]
    };
    assert_eq!(used(), expected(3, 3, 1, 2));
    drop(taps);
    world.close(threads[0].id(), BUDGET).await.unwrap();
    assert_eq!(used(), expected(3, 2, 0, 0), "what is closed is known to the store");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn each_limit_of_the_runtime_is_a_typed_refusal() {
    let world = world(|limits| {
        limits.children_max = 3;
        limits.depth_max = 2;
        limits.tree_max = 5;
        limits.spawns_per_minute_max = 4;
    })
    .await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let mut children = Vec::new();
    for _ in 0..3 {
        children.push(world.spawn(below(&top)).await.unwrap());
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let (limit, value, reached) = met(&world, below(&top)).await;
    assert_eq!((limit, value), ("children_max", 3));
    let ids: Vec<ThreadId> = children.iter().map(ThreadHandle::id).collect();
    assert_eq!(reached.holders, ids, "who holds it, oldest first");

    let grandchild = world.spawn(below(&children[0])).await.unwrap();
    let (limit, value, reached) = met(&world, below(&grandchild)).await;
    assert_eq!((limit, value), ("depth_max", 2));
    assert!(reached.holders.is_empty(), "nobody in particular makes a tree deep");

    let (limit, value, reached) = met(&world, below(&children[1])).await;
    assert_eq!((limit, value), ("tree_max", 5));
    assert_eq!(reached.holders[0], top.id());
    assert_eq!(reached.holders.len(), 5);

    grandchild.close(BUDGET).await.unwrap();
    let (limit, value, reached) = met(&world, below(&children[1])).await;
    assert_eq!((limit, value), ("spawns_per_minute_max", 4));
    assert_eq!(reached.retry_after, Some(Duration::from_secs(30)), "to the moment");
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.spawn(below(&children[1])).await.unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_to_taps() {
    let world = world(|limits| limits.children_max = 0).await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let mut tap = world.watch();
    met(&world, below(&top)).await;
    let refused = |event: &coppicer::Event| {
        matches!(&event.fact, Fact::Runtime(RuntimeEvent::SpawnRefused { reason })
            if reason.contains("children_max"))
    };
    World::event(&mut tap, refused).await;
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_root_may_carry_tighter_limits_for_its_tree_alone() {
    let world = world(|limits| limits.children_max = 10).await;
    let tight = TreeLimits::new().with_children_max(2).with_depth_max(1).with_tree_max(3);
    let top = world.spawn(root(tight)).await.unwrap();
    let child = world.spawn(below(&top)).await.unwrap();
    assert_eq!(met(&world, below(&child)).await.0, "depth_max");
    world.spawn(below(&top)).await.unwrap();
    let (limit, value, _) = met(&world, below(&top)).await;
    assert_eq!((limit, value), ("tree_max", 3));
    // The runtime's own are not loosened by it, and another tree has none of it.
    let loose = world.spawn(root(TreeLimits::new().with_children_max(1_000))).await.unwrap();
    for _ in 0..10 {
        world.spawn(below(&loose)).await.unwrap();
    }
    let (limit, value, _) = met(&world, below(&loose)).await;
    assert_eq!((limit, value), ("children_max", 10));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_trees_limits_hold_for_a_part_of_it_that_is_resumed_alone() {
    let first = world(|_| {}).await;
    let tight = TreeLimits::new().with_depth_max(2).with_executing_max(1);
    let top = first.spawn(root(tight)).await.unwrap();
    let middle = first.spawn(below(&top)).await.unwrap().id();
    let low = first.spawn(SpawnThread::new().with_parent(middle)).await.unwrap().id();
    let store = first.store.clone();
    first.end().await;

    let second = World::on(store, engine(), Limits::default()).await;
    let low = second.resume(low).await.unwrap();
    let (limit, value, _) = met(&second, below(&low)).await;
    assert_eq!((limit, value), ("depth_max", 2));
    // The root is not here, and its bound of turns holds.
    let middle = second.resume(middle).await.unwrap();
    let (one, two) = tokio::join!(low.run("slow"), middle.run("slow"));
    assert_eq!((one.unwrap().name(), two.unwrap().name()), ("completed", "completed"));
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn turns_of_one_tree_run_side_by_side_up_to_its_bound() {
    let world = world(|_| {}).await;
    let top = world.spawn(root(TreeLimits::new().with_executing_max(2))).await.unwrap();
    let start = tokio::time::Instant::now();
    let mut runs = Vec::new();
    for _ in 0..6 {
        let child = world.spawn(below(&top)).await.unwrap();
        runs.push(tokio::spawn(async move { child.run("slow").await }));
    }
    let free = world.spawn(SpawnThread::new()).await.unwrap();
    let other = tokio::spawn(async move {
        free.run("slow").await.unwrap();
        tokio::time::Instant::now()
    });
    assert_eq!(other.await.unwrap() - start, ms(100), "another tree does not wait for it");
    for run in runs {
        run.await.unwrap().unwrap();
    }
    assert_eq!(start.elapsed(), ms(300), "two at a time");
    world.end().await;
}

// permits  |A|B|A|B|A|B|A … A: a thousand in line · B: one after the other
#[tokio::test(start_paused = true)]
async fn a_tree_with_a_thousand_waiting_turns_delays_another_by_its_fair_share() {
    let world = world(|limits| limits.executing_max = 1).await;
    let crowd = world.spawn(SpawnThread::new()).await.unwrap();
    for _ in 0..1_000 {
        world.spawn(below(&crowd).with_first("slow")).await.unwrap();
    }
    let quick = world.spawn(SpawnThread::new()).await.unwrap();
    let start = tokio::time::Instant::now();
    for _ in 0..5 {
        quick.run("mine").await.unwrap();
    }
    let waited = start.elapsed();
    // One turn of the crowd before each of its own, and the one that it met first in line.
    assert!(waited <= ms(6 * 100), "{waited:?}");
    let late = world.close(crowd.id(), BUDGET).await.unwrap();
    assert!(late.timed_out.is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_closes_gives_up_its_place_in_line() {
    let world = world(|limits| limits.executing_max = 1).await;
    let first = world.spawn(SpawnThread::new().with_first("hang")).await.unwrap();
    let waits = world.spawn(SpawnThread::new().with_first("never")).await.unwrap();
    let last = world.spawn(SpawnThread::new()).await.unwrap();
    waits.close(BUDGET).await.unwrap();
    first.interrupt().await.unwrap();
    assert_eq!(last.run("next").await.unwrap().message(), Some("next"));
    assert_eq!(world.audit().await.count(LeaseKind::TurnPermit), 0);
    world.end().await;
}

// REF 12.11, EX-01: two may run; a third waits for one of them, and runs when it is over.
#[tokio::test(start_paused = true)]
async fn ex_01_a_permit_that_is_given_back_is_the_next_ones() {
    let world = world(|limits| limits.executing_max = 2).await;
    let hangs = [
        world.spawn(SpawnThread::new().with_first("hang")).await.unwrap(),
        world.spawn(SpawnThread::new().with_first("hang")).await.unwrap(),
    ];
    let third = world.spawn(SpawnThread::new()).await.unwrap();
    let filter = TapFilter::thread(third.id()).kinds([EventKind::Turn]);
    let mut tap = world.tap(TapOptions::matching(filter)).unwrap();
    let receipt = third.submit("me").await.unwrap();
    tokio::time::sleep(BUDGET).await;
    assert_eq!(third.view().turn, None, "it waits, and is not refused");
    assert_eq!(world.audit().await.count(LeaseKind::TurnPermit), 2);
    hangs[0].interrupt().await.unwrap();
    let started = |event: &coppicer::Event| {
        matches!(event.fact, Fact::Thread(ThreadEvent::TurnStarted { .. }))
    };
    World::event(&mut tap, started).await;
    assert_eq!(third.outcome(&receipt.submission).await.unwrap().message(), Some("me"));
    drop(tap);
    world.end().await;
}

// REF 12.11, EX-02: what does not run is not counted. A root and its agents that are done hold none.
#[tokio::test(start_paused = true)]
async fn ex_02_agents_that_are_done_hold_no_permit() {
    let world = world(|limits| limits.executing_max = 1).await;
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    for _ in 0..5 {
        let child = world.spawn(below(&top)).await.unwrap();
        child.run("done").await.unwrap();
    }
    top.run("done too").await.unwrap();
    let audit = world.audit().await;
    assert_eq!((audit.count(LeaseKind::TurnPermit), audit.count(LeaseKind::Resident)), (0, 6));
    world.end().await;
}

// REF 12.9, AC-26, AC-28, AC-29; 12.10, AR-05 to AR-07: the place is free after a close, after a
// resume that failed, and after a spawn that was undone; and only then.
#[tokio::test(start_paused = true)]
async fn a_place_in_a_tree_is_free_after_a_close_a_failed_resume_and_an_undone_spawn() {
    let world = world(|_| {}).await;
    let top = world.spawn(root(TreeLimits::new().with_tree_max(2))).await.unwrap();
    let a = world.spawn(below(&top)).await.unwrap();
    assert_eq!(met(&world, below(&top)).await.0, "tree_max");
    a.close(BUDGET).await.unwrap();
    let b = world.spawn(below(&top)).await.unwrap();
    let refused = world.resume(a.id()).await.unwrap_err();
    assert!(
        matches!(refused, SpawnError::Limit(ref met) if met.limit == "tree_max"),
        "{refused:?}"
    );
    let unknown = ThreadId::from_parts(7, [7; 10]);
    assert_eq!(world.resume(unknown).await.unwrap_err(), SpawnError::NotFound { thread: unknown });
    b.close(BUDGET).await.unwrap();

    world.store.hold(StoreOp::Create);
    let late = world.spawn_within(below(&top), ms(50)).await.unwrap_err();
    assert_eq!(late, SpawnError::NoAnswer);
    assert_eq!(met(&world, below(&top)).await.0, "tree_max", "not undone yet");
    world.store.release(StoreOp::Create);
    tokio::time::sleep(ms(10)).await;
    world.resume(a.id()).await.unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_store_may_know_so_many_threads_and_no_more() {
    let first = world(|_| {}).await;
    for _ in 0..3 {
        first.spawn(SpawnThread::new()).await.unwrap();
    }
    let store = first.store.clone();
    first.end().await;

    let mut limits = Limits::default();
    limits.registered_max = 5;
    let second = World::on(store, engine(), limits).await;
    tokio::time::sleep(ms(1)).await; // the store has said how many there are
    let kept = second.spawn(SpawnThread::new()).await.unwrap();
    let imported = NewThread::root(ThreadId::from_parts(9, [9; 10]), 1);
    let history = kept.history().await.unwrap();
    let imported = second.import(ImportThread::new(imported, history)).await.unwrap();
    let (limit, value, _) = met(&second, SpawnThread::new()).await;
    assert_eq!((limit, value), ("registered_max", 5));
    let fork = second.fork(kept.id(), coppicer::ForkPoint::NextStable).await.unwrap_err();
    assert!(matches!(fork, SpawnError::Limit(ref met) if met.limit == "registered_max"));
    second.resume(imported.id).await.unwrap();
    assert_eq!(second.delete(imported.id, BUDGET).await.unwrap(), 1);
    let undone = second.spawn(SpawnThread::new().with_first("  ")).await;
    assert!(undone.is_err());
    second.spawn(SpawnThread::new()).await.unwrap();
    assert_eq!(met(&second, SpawnThread::new()).await.0, "registered_max");
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_say_how_many_threads_it_has_is_asked_until_it_does() {
    // After the pause, or as soon as it is well.
    for is_well in [false, true] {
        let store = FaultyStore::new(Arc::new(MemoryStore::new()));
        let broken = || StoreError::Unavailable { reason: "not now".into() };
        store.fail_next(StoreOp::Count, broken());
        store.fail_next(StoreOp::Count, broken());
        let mut limits = Limits::default();
        (limits.registered_max, limits.store_retry) = (2, Duration::from_secs(60));
        let world = World::on(store, engine(), limits).await;
        let mut tap = world.watch();
        tokio::time::sleep(ms(1)).await;
        for _ in 0..3 {
            world.spawn(SpawnThread::new()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(61)).await;
        world.spawn(SpawnThread::new()).await.unwrap();
        if is_well {
            world.store.tell(&StoreHealth::Well);
            tokio::time::sleep(ms(1)).await;
        } else {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(met(&world, SpawnThread::new()).await.0, "registered_max");
        let mut told = Vec::new();
        while let Some(item) = tap.try_next() {
            match &item.event().unwrap().fact {
                Fact::Runtime(RuntimeEvent::ThreadsNotCounted { .. }) => told.push(None),
                Fact::Runtime(RuntimeEvent::ThreadsCounted { threads }) => {
                    told.push(Some(*threads));
                }
                _ => {}
            }
        }
        assert_eq!(told.len() - told.iter().flatten().count(), 1, "told once: {told:?}");
        assert_eq!(told.last(), Some(&Some(4)));
        drop(tap);
        assert_eq!(world.store.calls(StoreOp::Count), 3, "and asked no more");
        world.end().await;
    }
}
