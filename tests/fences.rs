//! What has not ended when its close is due: the reports of all that are due come first, and what is
//! fenced off goes in portions, so that nobody else waits for thousands (P4, P5).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    Ended, EventKind, Fact, LeaseKind, Limits, Rung, RuntimeEvent, ScriptedEngine, SpawnThread,
    Tap, TapFilter, TapOptions, ThreadEvent, ThreadHandle, ThreadId, ThreadStatus,
};
use futures::FutureExt as _;

const BUDGET_OF_CLOSE: Duration = Duration::from_secs(3);

/// Threads that are fenced off at one go: each tree here takes several.
const AT_ONE_GO: usize = 256;

/// A root with so many children.
async fn tree(world: &World, children: usize) -> (ThreadHandle, Vec<ThreadHandle>) {
    let top = world.spawn(SpawnThread::new()).await.unwrap();
    let mut below = Vec::new();
    for _ in 0..children {
        below.push(world.spawn(SpawnThread::new().with_parent(top.id())).await.unwrap());
    }
    (top, below)
}

fn facts(world: &World) -> Tap {
    let filter = TapFilter::all().kinds([EventKind::Runtime, EventKind::Status]);
    world.tap(TapOptions::matching(filter).with_capacity(100_000)).unwrap()
}

/// What a tap has, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Report,
    Over,
    Spawned,
    Ended,
}

fn told(tap: &mut Tap) -> Vec<Told> {
    let mut told = Vec::new();
    while let Some(item) = tap.try_next() {
        told.extend(match &item.event().unwrap().fact {
            Fact::Runtime(RuntimeEvent::CloseEnded { .. }) => Some(Told::Report),
            Fact::Runtime(RuntimeEvent::ThreadSpawned { .. }) => Some(Told::Spawned),
            Fact::Runtime(RuntimeEvent::RuntimeEnded) => Some(Told::Ended),
            Fact::Thread(ThreadEvent::StatusChanged { status: ThreadStatus::Shutdown, .. }) => {
                Some(Told::Over)
            }
            _ => None,
        });
    }
    told
}

fn count(told: &[Told], what: Told) -> usize {
    told.iter().filter(|it| **it == what).count()
}

/// When a close that begins now is due.
async fn until_due(limits: &Limits) {
    tokio::time::sleep(BUDGET_OF_CLOSE.saturating_sub(limits.close_margin)).await;
}

#[tokio::test(start_paused = true)]
async fn p5_all_closes_that_are_due_are_reported_before_anything_is_killed() {
    let world = World::new(ScriptedEngine::echo()).await;
    let (one, _) = tree(&world, 2 * AT_ONE_GO).await;
    let (two, _) = tree(&world, 10).await;
    let mut tap = facts(&world);
    world.store.hold(StoreOp::Append);
    let (first, second) = tokio::join!(one.close(BUDGET_OF_CLOSE), two.close(BUDGET_OF_CLOSE));
    for (report, threads) in [(first.unwrap(), 2 * AT_ONE_GO + 1), (second.unwrap(), 11)] {
        assert_eq!((report.count(Rung::Fenced), report.threads.len()), (threads, threads));
    }
    world.until(|audit| audit.count(LeaseKind::Slot) == 0).await;
    let told = told(&mut tap);
    assert_eq!(told[..2], [Told::Report; 2]);
    assert_eq!(count(&told, Told::Over), 2 * AT_ONE_GO + 12);
    drop(tap);
    world.store.release(StoreOp::Append);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p4_what_is_asked_while_thousands_are_fenced_off_does_not_wait_for_all_of_them() {
    let world = World::new(ScriptedEngine::echo()).await;
    let limits = Limits::default();
    let (top, _) = tree(&world, 8 * AT_ONE_GO).await;
    let mut tap = facts(&world);
    world.store.hold(StoreOp::Append);
    let spawn = async {
        until_due(&limits).await;
        world.spawn(SpawnThread::new()).await.unwrap();
    };
    let late = async {
        let close = top.close(BUDGET_OF_CLOSE);
        // One before the close, one after it: whichever the timer comes between, one is behind it.
        let after = async {
            until_due(&limits).await;
            world.spawn(SpawnThread::new()).await.unwrap();
        };
        tokio::join!(close, after).0.unwrap()
    };
    let ((), report) = tokio::join!(spawn, late);
    assert_eq!(report.count(Rung::Fenced), 8 * AT_ONE_GO + 1);
    world.until(|audit| audit.count(LeaseKind::Slot) == 2).await;
    let told = told(&mut tap);
    let place = |what| told.iter().rposition(|it| *it == what).unwrap();
    assert_eq!(count(&told, Told::Spawned), 2);
    assert!(place(Told::Spawned) < place(Told::Over), "both before the last is fenced off");
    drop(tap);
    world.store.release(StoreOp::Append);
    world.end().await;
}

// In line: others …, child (by its own close) → resumed, rest of its tree …, child (by the tree's)
/// Real time: what is resumed comes up beside the supervisor's work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_that_is_resumed_when_it_was_fenced_off_is_not_fenced_off_again() {
    let mut limits = Limits::default();
    limits.close_slack = BUDGET; // the reports are due at once, on a machine that may be busy
    let world = World::with_limits(ScriptedEngine::echo(), limits).await;
    let (others, _) = tree(&world, 4 * AT_ONE_GO).await;
    let (top, below) = tree(&world, 16 * AT_ONE_GO).await;
    let child = &below[0]; // the last started go first
    let (first, own, of_tree, resumed) = tokio::join!(
        others.close(Duration::ZERO),
        child.close(Duration::ZERO),
        top.close(Duration::ZERO),
        world.resume(child.id()),
    );
    assert_eq!(first.unwrap().count(Rung::Fenced), 4 * AT_ONE_GO + 1);
    assert_eq!(own.unwrap().rung(child.id()), Some(Rung::Fenced));
    assert_eq!(of_tree.unwrap().rung(child.id()), Some(Rung::Fenced));
    world.until(|audit| audit.count(LeaseKind::Slot) == 1).await;
    assert_eq!(resumed.unwrap().run("hello").await.unwrap().message(), Some("hello"));
    assert_eq!(world.list().len(), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_runtime_comes_behind_the_last_that_is_fenced_off() {
    let world = World::new(ScriptedEngine::echo()).await;
    let (_top, _) = tree(&world, 3 * AT_ONE_GO).await;
    let mut tap = facts(&world);
    world.store.hold(StoreOp::Append);
    let report = world.shutdown(BUDGET_OF_CLOSE).await.unwrap();
    assert_eq!(report.count(Rung::Fenced), 3 * AT_ONE_GO + 1);
    let told = told(&mut tap);
    assert_eq!((told[0], told.last()), (Told::Report, Some(&Told::Ended)));
    assert_eq!(count(&told, Told::Over), 3 * AT_ONE_GO + 1);
    assert_eq!(count(&told, Told::Ended), 1);
    drop(tap);
    let audit = world.audit().await;
    assert!(audit.is_empty(), "{audit:?}");
    world.store.release(StoreOp::Append);
}

// supervisor |■■■ 5 s behind ■■■|✓ close: ended all the same
// caller     |─ 1 s ─|
#[tokio::test(start_paused = true)]
async fn p5_a_close_that_is_taken_up_too_late_for_its_caller_closes_all_the_same() {
    let world = World::new(ScriptedEngine::echo()).await;
    let (top, _) = tree(&world, 3).await;
    let mut close = Box::pin(top.close(Duration::from_secs(1)));
    // Sent, and not taken up before its time has passed.
    assert!(close.as_mut().now_or_never().is_none());
    tokio::time::advance(Duration::from_secs(5)).await;
    // Nobody had to listen; who does hears of it.
    assert_eq!(close.await.unwrap().count(Rung::Fenced), 4);
    world.until(|audit| audit.count(LeaseKind::Slot) == 0).await;
    assert_eq!(world.runtime().status(top.id()), ThreadStatus::NotFound);
    assert!(world.close(top.id(), BUDGET).await.unwrap().timed_out.is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p5_a_close_without_any_time_is_reported_at_once_and_ends_what_it_names() {
    let world = World::new(ScriptedEngine::echo()).await;
    let (top, _) = tree(&world, 3).await;
    let before = tokio::time::Instant::now();
    let report = top.close(Duration::ZERO).await.unwrap();
    assert_eq!((report.threads.len(), before.elapsed()), (4, Duration::ZERO));
    world.until(|audit| audit.count(LeaseKind::Slot) == 0).await;
    world.end().await;
}

/// Threads that were told of as ended, and how far that had to go.
type Ends = Vec<(ThreadId, Rung)>;

/// What a tap has of a close in which some threads do not end: who was told of as ended, before the report and
/// behind it.
fn ends(tap: &mut Tap) -> (Ends, Ends) {
    let (mut before, mut behind, mut reports) = (Vec::new(), Vec::new(), 0);
    while let Some(item) = tap.try_next() {
        let event = item.event().unwrap();
        match &event.fact {
            Fact::Runtime(RuntimeEvent::CloseEnded { .. }) => reports += 1,
            Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Closed { rung } }) => {
                let end = (event.thread.unwrap(), *rung);
                if reports == 0 { before.push(end) } else { behind.push(end) }
            }
            Fact::Runtime(RuntimeEvent::RuntimeEnded) => {
                assert_eq!(tap.try_next(), None, "the last");
            }
            _ => {}
        }
    }
    assert!(reports <= 1);
    (before, behind)
}

fn sorted(ends: Ends) -> Vec<ThreadId> {
    let mut threads: Vec<ThreadId> = ends.into_iter().map(|(thread, _)| thread).collect();
    threads.sort_unstable();
    threads
}

#[tokio::test(start_paused = true)]
async fn p5_an_end_is_told_before_the_report_or_once_behind_it_if_its_thread_was_late() {
    let world = World::new(ScriptedEngine::echo()).await;
    let (top, _) = tree(&world, 2 * AT_ONE_GO).await;
    let (mut tap, mut first) = (facts(&world), facts(&world));
    let hold = async {
        let is_end = |fact: &Fact| matches!(fact, Fact::Runtime(RuntimeEvent::ThreadEnded { .. }));
        World::event(&mut first, |event| is_end(&event.fact)).await;
        world.store.hold(StoreOp::Append);
    };
    let (report, ()) = tokio::join!(top.close(BUDGET_OF_CLOSE), hold);
    let report = report.unwrap();
    assert!(!report.completed.is_empty() && !report.timed_out.is_empty(), "{report:?}");
    world.until(|audit| audit.count(LeaseKind::Slot) == 0).await;
    let (before, behind) = ends(&mut tap);
    assert!(behind.iter().all(|(_, rung)| *rung == Rung::Fenced));
    assert_eq!((sorted(before), sorted(behind)), (report.completed, report.timed_out));
    drop((tap, first));
    world.store.release(StoreOp::Append);
    world.end().await;
}

// caller |✓ the report, without waiting
// tap    |CloseEnded … ThreadEnded × 769 … RuntimeEnded|
#[tokio::test(start_paused = true)]
async fn p5_the_end_of_a_runtime_that_had_no_time_comes_behind_its_report_once_and_last() {
    let mut limits = Limits::default();
    limits.close_slack = Duration::ZERO;
    let world = World::with_limits(ScriptedEngine::echo(), limits).await;
    let (_top, below) = tree(&world, 3 * AT_ONE_GO).await;
    let mut tap = facts(&world);
    let report = world.shutdown(Duration::ZERO).await;
    let mut told = Vec::new();
    while let Some(item) = tap.next().await {
        told.push(item.event().unwrap().fact.clone());
    }
    let count = |wanted: &dyn Fn(&Fact) -> bool| told.iter().filter(|fact| wanted(fact)).count();
    let is_end = |fact: &Fact| matches!(fact, Fact::Runtime(RuntimeEvent::ThreadEnded { .. }));
    let is_last = |fact: &Fact| *fact == Fact::Runtime(RuntimeEvent::RuntimeEnded);
    assert_eq!((count(&is_end), count(&is_last)), (below.len() + 1, 1));
    assert!(is_last(told.last().unwrap()));
    drop((tap, report));
}
