//! A tap from a snapshot has the whole tree, at any moment: what was, then what comes, without a gap
//! and without a repeat (P11).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::BTreeSet;
use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentPath, Change, Fact, Limits, ParentClose, Phase, RestartPolicy, RuntimeEvent, Script,
    ScriptedEngine, SpawnThread, Tap, TapFilter, TapFrom, TapItem, TapOptions, ThreadConfig,
    ThreadId, ThreadPatch, ThreadStatus, ThreadTree, ThreadView, TreeRow, TreeSnapshot,
};

/// "grow D W": W sub-agents that each grow D - 1 levels more. "panic" panics. Else it says something.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| {
        let text = input.text();
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["grow", depth, width] => {
                let (depth, width): (u32, u32) = (depth.parse().unwrap(), width.parse().unwrap());
                let child = |n| {
                    let child = SpawnThread::new().with_name(format!("n{n}"));
                    if depth > 1 {
                        child.with_first(format!("grow {} {width}", depth - 1).as_str())
                    } else {
                        child
                    }
                };
                (0..width).fold(Script::new(), |script, n| script.spawn(child(n)))
            }
            ["panic"] => Script::new().panic("as asked"),
            _ => Script::new().say("done"),
        }
    })
}

fn lifecycle(from: TapFrom) -> TapOptions {
    TapOptions::matching(TapFilter::all().lifecycle()).with_from(from)
}

/// The first item of a tap from a snapshot.
fn snapshot(tap: &mut Tap) -> TreeSnapshot {
    match tap.try_next() {
        Some(TapItem::Snapshot(snapshot)) => (*snapshot).clone(),
        other => panic!("the snapshot comes first: {other:?}"),
    }
}

fn now(world: &World, filter: TapFilter) -> TreeSnapshot {
    let options = TapOptions::matching(filter).with_from(TapFrom::Snapshot);
    snapshot(&mut world.tap(options).unwrap())
}

/// Applies all that waits, whose numbers must rise.
fn follow(tree: &mut ThreadTree, tap: &mut Tap) {
    while let Some(item) = tap.try_next() {
        let TapItem::Event(event) = item else { panic!("{item:?}") };
        assert!(event.seq > tree.seq(), "a repeat: {event:?}");
        tree.apply(&event);
    }
}

/// The tree once nothing more is told: a thread shows that it is idle before all that is told of that.
async fn at_rest(world: &World) -> TreeSnapshot {
    loop {
        let snapshot = now(world, TapFilter::all());
        tokio::time::sleep(Duration::from_millis(5)).await;
        if now(world, TapFilter::all()).seq == snapshot.seq {
            return snapshot;
        }
    }
}

async fn until_grown(world: &World, root: ThreadId, threads: usize) {
    let grown = async {
        while world.subtree(root).await.unwrap().len() < threads
            || world.list().iter().any(|view| view.phase != Phase::Idle)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(BUDGET, grown).await.expect("the tree has grown");
}

/// A row says of a thread what its view says.
fn agrees(row: &TreeRow, view: &ThreadView) {
    assert_eq!(row.thread, view.thread);
    assert_eq!((row.parent, &row.path), (view.parent, &view.path), "{view:?}");
    assert_eq!(
        (row.nickname.as_deref(), row.role.as_deref()),
        (view.nickname.as_deref(), view.role.as_deref()),
        "{view:?}"
    );
    assert_eq!((&row.status, row.phase), (&view.status, view.phase), "{row:?}\n{view:?}");
    assert_eq!((row.status_seq, row.epoch), (view.status_seq, view.epoch), "{row:?}\n{view:?}");
    assert_eq!((&row.turn, u64::from(row.turns)), (&view.turn, view.turns), "{row:?}\n{view:?}");
    assert_eq!(u64::from(row.crashes), view.crashes, "{row:?}\n{view:?}");
}

fn all_agree(world: &World) {
    let (rows, views) = (now(world, TapFilter::all()).rows, world.list());
    assert_eq!(rows.len(), views.len());
    for (row, view) in rows.iter().zip(&views) {
        agrees(row, view);
    }
}

/// Subscribes at many moments of a storm, one tap from each; some of them break off and go on from
/// their cursor.
async fn storm(depth: u32, width: u32, threads: usize) {
    let world = World::new(engine()).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    let mut spawns = world.tap(lifecycle(TapFrom::Now)).unwrap();
    root.submit(format!("grow {depth} {width}").as_str()).await.unwrap();
    let mut readers = Vec::new();
    let mut mid_storm = 0;
    for n in 0..40_usize {
        World::event(&mut spawns, |event| {
            matches!(event.fact, Fact::Runtime(RuntimeEvent::ThreadSpawned { .. }))
        })
        .await;
        let mut tap = world.tap(lifecycle(TapFrom::Snapshot)).unwrap();
        let mut tree = ThreadTree::from_snapshot(&snapshot(&mut tap));
        mid_storm += usize::from(tree.len() < threads);
        if n.is_multiple_of(3) {
            // It loses its connection, here or after it has read some, and comes back later.
            for _ in 0..n {
                match tap.try_next() {
                    Some(TapItem::Event(event)) => drop(tree.apply(&event)),
                    other => assert_eq!(other, None),
                }
            }
            drop(tap);
            tokio::task::yield_now().await;
            tap = world.tap(lifecycle(TapFrom::Cursor(tree.seq()))).unwrap();
        }
        readers.push((tree, tap));
    }
    assert!(mid_storm > 30, "{mid_storm}");
    until_grown(&world, root.id(), threads).await;
    let reported: BTreeSet<ThreadId> =
        world.subtree(root.id()).await.unwrap().into_iter().collect();
    assert_eq!(reported.len(), threads);
    let end = at_rest(&world).await;
    for (mut tree, mut tap) in readers {
        follow(&mut tree, &mut tap);
        let rebuilt: BTreeSet<ThreadId> = tree.rows().map(|row| row.thread).collect();
        assert_eq!(rebuilt, reported);
        assert_eq!(tree.snapshot(), end, "row by row");
    }
    for row in &end.rows {
        assert_eq!(row.parent, world.stored(row.thread).await.unwrap().parent.map(|(id, _)| id));
    }
    all_agree(&world);
    drop(spawns);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_11_a_tap_from_the_middle_of_a_spawn_storm_rebuilds_exactly_the_tree_that_comes_of_it() {
    storm(3, 6, 259).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p_11_it_does_so_too_where_actors_tell_facts_side_by_side() {
    storm(3, 6, 259).await;
}

#[tokio::test(start_paused = true)]
async fn p_11_a_snapshot_agrees_with_what_threads_show_through_crashes_sleep_and_closes() {
    let world = World::new(engine()).await;
    let limited = RestartPolicy::default().with_limit(1, Duration::from_secs(600));
    let config = ThreadConfig::default().with_restart(limited).with_role("tester");
    let mut first = world.tap(lifecycle(TapFrom::Snapshot)).unwrap();
    let mut tree = ThreadTree::from_snapshot(&snapshot(&mut first));
    assert!(tree.is_empty());
    let root = world.spawn(SpawnThread::new().with_config(config.clone())).await.unwrap();
    root.run("grow 2 3").await.unwrap();
    until_grown(&world, root.id(), 13).await;
    all_agree(&world);

    let tree_of_it = world.subtree(root.id()).await.unwrap();
    let leaf = world.get(tree_of_it[12]).unwrap();
    leaf.run("panic").await.unwrap();
    leaf.run("hello").await.unwrap();
    all_agree(&world);
    leaf.panic_for_test(); // its actor this time
    leaf.run("hello").await.unwrap();
    all_agree(&world);
    let other = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    for _ in 0..2 {
        other.panic_for_test();
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    assert_eq!(other.status(), ThreadStatus::Parked);
    all_agree(&world);
    leaf.hibernate().await.unwrap();
    until(|| leaf.status() == ThreadStatus::Dormant).await;
    all_agree(&world);
    world.close(tree_of_it[1], BUDGET).await.unwrap();
    let end = now(&world, TapFilter::all());
    assert_eq!(end.rows.len(), 14 - 4);
    all_agree(&world);
    follow(&mut tree, &mut first);
    assert_eq!(tree.snapshot(), end, "one who was there from the start has the same");
    drop(first);
    world.end().await;
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(BUDGET, waiting).await.expect("it did not come to it in time");
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_left_memory_stays_in_the_tree_until_it_is_closed() {
    let limits = {
        let mut limits = Limits::default();
        limits.idle_after = Duration::from_secs(60);
        limits
    };
    let world = World::with_limits(engine(), limits).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    root.run("grow 2 2").await.unwrap();
    until_grown(&world, root.id(), 7).await;
    let ids = world.subtree(root.id()).await.unwrap();
    let top = root.id();
    drop(root);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.list().is_empty(), "{:?}", world.list());
    let asleep = now(&world, TapFilter::all());
    let threads: Vec<ThreadId> = asleep.rows.iter().map(|row| row.thread).collect();
    assert_eq!(threads.len(), 7);
    assert!(asleep.rows.iter().all(|row| row.status == ThreadStatus::Dormant));

    // One wakes: its row is the same one, in a new life.
    world.submit(ids[6], "hello").await.unwrap();
    until(|| world.status(ids[6]) == ThreadStatus::Completed(Some("done".into()))).await;
    let awake = now(&world, TapFilter::all());
    let (before, after) = (asleep.get(ids[6]).unwrap(), awake.get(ids[6]).unwrap());
    assert_eq!((after.phase, after.turns), (Phase::Idle, before.turns + 1));
    assert!(after.epoch > before.epoch);
    assert_eq!(awake.rows.len(), 7);

    // A close covers what is below, also what is not in memory.
    world.close(ids[1], BUDGET).await.unwrap();
    assert_eq!(now(&world, TapFilter::all()).rows.len(), 4);
    world.close(top, BUDGET).await.unwrap();
    assert_eq!(now(&world, TapFilter::all()).rows, []);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_patched_thread_has_its_new_names_in_the_tree() {
    let world = World::new(engine()).await;
    let thread = world.spawn(SpawnThread::new().with_name("poet")).await.unwrap();
    let id = thread.id();
    let path = Some(AgentPath::root().join("bard").unwrap());
    assert_ne!(thread.view().path, path);
    let patch = ThreadPatch {
        nickname: Change::Set("Ada".into()),
        path: path.clone().map_or(Change::Keep, Change::Set),
        ..ThreadPatch::default()
    };
    world.patch(id, patch).await.unwrap();
    all_agree(&world);
    let row = now(&world, TapFilter::all()).get(id).unwrap().clone();
    assert_eq!((row.nickname.as_deref(), &row.path), (Some("Ada"), &path));
    thread.run("hello").await.unwrap();
    thread.hibernate().await.unwrap();
    thread.run("hello").await.unwrap();
    all_agree(&world);
    drop(thread);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_has_the_rows_that_the_filter_is_about() {
    let world = World::new(engine()).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    root.run("grow 2 2").await.unwrap();
    until_grown(&world, root.id(), 7).await;
    let other = world.spawn(SpawnThread::new()).await.unwrap();
    let child = world.subtree(root.id()).await.unwrap()[1];
    let below: BTreeSet<ThreadId> = world.subtree(child).await.unwrap().into_iter().collect();
    let rows = |filter| -> BTreeSet<ThreadId> {
        now(&world, filter).rows.iter().map(|row| row.thread).collect()
    };
    assert_eq!(rows(TapFilter::all()).len(), 8);
    assert_eq!(rows(TapFilter::subtree(child)), below);
    assert_eq!(rows(TapFilter::thread(other.id())), BTreeSet::from([other.id()]));
    assert_eq!(rows(TapFilter::thread(ThreadId::from_parts(1, [0; 10]))), BTreeSet::new());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_no_event_and_its_number_is_a_cursor() {
    let world = World::new(engine()).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    root.run("grow 1 3").await.unwrap();
    until_grown(&world, root.id(), 4).await;
    let mut tap = world.tap(lifecycle(TapFrom::Snapshot)).unwrap();
    assert_eq!(tap.counts(), world.tap(lifecycle(TapFrom::Now)).unwrap().counts());
    let begins = snapshot(&mut tap);
    root.run("hello").await.unwrap();
    let mut again = world.tap(lifecycle(TapFrom::Cursor(begins.seq))).unwrap();
    let read = |tap: &mut Tap| std::iter::from_fn(|| tap.try_next()).collect::<Vec<_>>();
    let (live, again_items) = (read(&mut tap), read(&mut again));
    assert!(live.len() > 3);
    assert_eq!(live, again_items);
    drop((tap, again));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_11_a_tree_whose_branches_move_is_rebuilt_from_a_snapshot_and_what_comes_after_it() {
    let mut limits = Limits::default();
    limits.idle_after = Duration::from_secs(60);
    let world = World::with_limits(engine(), limits).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    root.run("grow 3 2").await.unwrap();
    until_grown(&world, root.id(), 15).await;
    let ids = world.subtree(root.id()).await.unwrap();
    let detached = SpawnThread::new().with_parent_close(ParentClose::Detach);
    let sleeper = detached.clone().with_parent(ids[1]).with_name("sleeper");
    let sleeper = world.spawn(sleeper).await.unwrap().id();
    let stays = world.spawn(detached.with_parent(ids[1]).with_name("stays")).await.unwrap();
    let other = world.spawn(SpawnThread::new().with_name("other")).await.unwrap();
    let mut taps: Vec<(ThreadTree, Tap)> = Vec::new();
    let mut watch = |world: &World| {
        let mut tap = world.tap(lifecycle(TapFrom::Snapshot)).unwrap();
        taps.push((ThreadTree::from_snapshot(&snapshot(&mut tap)), tap));
    };
    watch(&world);
    world.adopt(ids[2], Some(other.id())).await.unwrap();
    all_agree(&world);
    watch(&world);
    let other_id = other.id();
    let below_other: BTreeSet<ThreadId> =
        world.subtree(other_id).await.unwrap().into_iter().collect();
    assert_eq!(below_other.len(), 8);
    let covered = |filter| -> BTreeSet<ThreadId> {
        now(&world, filter).rows.iter().map(|row| row.thread).collect()
    };
    assert_eq!(covered(TapFilter::subtree(other_id)), below_other, "with all below it");
    // Some sleep, in memory and out of it, before the next moves.
    drop(root);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.get(sleeper).is_none() && world.get(ids[2]).is_none());
    watch(&world);
    let report = world.close(ids[1], BUDGET).await.unwrap();
    assert_eq!(report.detached.len(), 2);
    watch(&world);
    let asleep = now(&world, TapFilter::all());
    let row = asleep.get(sleeper).expect("what sleeps and goes on keeps its row");
    assert_eq!((row.parent, row.phase), (None, Phase::Dormant));
    world.adopt(sleeper, Some(other_id)).await.unwrap();
    world.adopt(stays.id(), Some(sleeper)).await.unwrap();
    world.adopt(ids[2], None).await.unwrap();
    stays.run("hello").await.unwrap();
    watch(&world);
    let end = now(&world, TapFilter::all());
    for (mut tree, mut tap) in taps {
        follow(&mut tree, &mut tap);
        assert_eq!(tree.snapshot(), end, "row by row");
    }
    for row in &end.rows {
        let stored = world.stored(row.thread).await.unwrap();
        assert_eq!(row.parent, stored.parent.map(|(id, _)| id), "{row:?}");
        assert_eq!(row.path, stored.path, "{row:?}");
    }
    for view in world.list() {
        let row = end.get(view.thread).unwrap();
        assert_eq!((row.parent, &row.path), (view.parent, &view.path));
    }
    let reported: BTreeSet<ThreadId> = world.subtree(other_id).await.unwrap().into_iter().collect();
    assert_eq!(reported, BTreeSet::from([other_id, sleeper, stays.id()]));
    let rows: BTreeSet<ThreadId> =
        now(&world, TapFilter::subtree(other_id)).rows.iter().map(|row| row.thread).collect();
    assert_eq!(rows, reported);
    drop((other, stays));
    world.end().await;
}
