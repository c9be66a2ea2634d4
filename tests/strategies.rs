//! What a crash means for siblings and parents: strategies, escalation, significant children (P7).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    AutoShutdown, Children, Event, EventKind, Fact, LeaseKind, Limits, OnCrash, OnSpent, Op,
    Outcome, Phase, Placement, RecordClass, Restart, RestartPolicy, RuntimeEvent, Script,
    ScriptedEngine, SpawnError, SpawnThread, Step, Strategy, Tap, TapFilter, TapItem, TapOptions,
    ThreadConfig, ThreadHandle, ThreadId, ThreadStatus, wire_validity,
};

/// "panic" panics; "hang" hangs; "ignore" works on for long, whatever it is told; all else is said.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "panic" => Script::new().panic("boom"),
        "hang" => Script::new().then(Step::Hang),
        "ignore" => Script::new().then(Step::IgnoreCancel(Duration::from_secs(3_600))),
        text => Script::new().say(text),
    })
}

fn supervising(strategy: Strategy, auto_shutdown: AutoShutdown) -> ThreadConfig {
    let mut children = Children::default();
    (children.strategy, children.auto_shutdown) = (strategy, auto_shutdown);
    ThreadConfig::default().with_children(children)
}

async fn spawn(world: &World, config: ThreadConfig) -> ThreadHandle {
    world.spawn(SpawnThread::new().with_config(config)).await.unwrap()
}

async fn below(world: &World, parent: &ThreadHandle, config: ThreadConfig) -> ThreadHandle {
    let request = SpawnThread::new().with_parent(parent.id()).with_config(config);
    world.spawn(request).await.unwrap()
}

/// Comes back without a pause.
fn at_once() -> ThreadConfig {
    let mut at_once = RestartPolicy::default().backoff;
    (at_once.initial, at_once.max) = (Duration::ZERO, Duration::ZERO);
    ThreadConfig::default().with_restart(RestartPolicy::default().with_backoff(at_once))
}

/// A parent with four children, who have a child each.
async fn family(
    world: &World,
    strategy: Strategy,
) -> (ThreadHandle, Vec<ThreadHandle>, Vec<ThreadHandle>) {
    family_of(world, strategy, ThreadConfig::default()).await
}

async fn family_of(
    world: &World,
    strategy: Strategy,
    config: ThreadConfig,
) -> (ThreadHandle, Vec<ThreadHandle>, Vec<ThreadHandle>) {
    let parent = spawn(world, supervising(strategy, AutoShutdown::Never)).await;
    let (mut children, mut grandchildren) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let child = below(world, &parent, config.clone()).await;
        grandchildren.push(below(world, &child, ThreadConfig::default()).await);
        children.push(child);
    }
    (parent, children, grandchildren)
}

fn lifecycle(world: &World) -> Tap {
    world.tap(TapOptions::matching(TapFilter::all().kinds([EventKind::Runtime]))).unwrap()
}

/// Which of `threads` ended, and which came back, by their places among them, in order.
fn ends_and_returns(tap: &mut Tap, threads: &[ThreadHandle]) -> (Vec<usize>, Vec<usize>) {
    let (mut ends, mut returns) = (Vec::new(), Vec::new());
    while let Some(item) = tap.try_next() {
        let TapItem::Event(event) = item else { panic!("the tap lost events") };
        let place = |of: &Event| threads.iter().position(|thread| Some(thread.id()) == of.thread);
        match (&event.fact, place(&event)) {
            (Fact::Runtime(RuntimeEvent::ThreadEnded { .. }), Some(at)) => ends.push(at),
            (Fact::Runtime(RuntimeEvent::ThreadRestarted), Some(at)) => returns.push(at),
            _ => {}
        }
    }
    (ends, returns)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(BUDGET, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

async fn all_idle(threads: &[ThreadHandle]) {
    until("all are idle", || threads.iter().all(|thread| thread.view().phase == Phase::Idle)).await;
}

#[tokio::test(start_paused = true)]
async fn p_7_siblings_go_down_last_started_first_and_come_back_in_start_order_behind_the_crashed_one()
 {
    let cases = [
        (Strategy::OneForOne, vec![1], vec![1]),
        (Strategy::RestForOne, vec![1, 3, 2], vec![1, 2, 3]),
        (Strategy::OneForAll, vec![1, 3, 2, 0], vec![1, 0, 2, 3]),
    ];
    // With a pause and without.
    let configs = [ThreadConfig::default(), at_once()];
    let cases = configs.iter().flat_map(|config| cases.iter().map(move |case| (case, config)));
    for ((strategy, ends, returns), config) in cases {
        let (strategy, ends, returns) = (*strategy, ends.clone(), returns.clone());
        let world = World::new(engine()).await;
        let (parent, children, grandchildren) = family_of(&world, strategy, config.clone()).await;
        let mut tap = lifecycle(&world);
        children[1].panic_for_test();
        let down = ends.len();
        until("they went down", || {
            world.list().iter().filter(|view| view.epoch.0 > 1).count() >= 2 * down
        })
        .await;
        all_idle(&children).await;
        all_idle(&grandchildren).await;
        assert_eq!(ends_and_returns(&mut tap, &children), (ends.clone(), returns), "{strategy:?}");
        assert_eq!(parent.view().epoch.0, 1, "their parent goes on");
        for (at, (child, below)) in children.iter().zip(&grandchildren).enumerate() {
            let lives = if ends.contains(&at) { 2 } else { 1 };
            let epochs = (child.view().epoch.0, below.view().epoch.0);
            assert_eq!(epochs, (lives, lives), "with what is below it: {strategy:?}, child {at}");
            assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"));
        }
        drop(tap);
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn p_7_a_turn_that_crashes_takes_the_siblings_down_and_its_own_thread_lives() {
    let world = World::new(engine()).await;
    let (_parent, children, _) = family(&world, Strategy::OneForAll).await;
    assert!(matches!(children[1].run("panic").await.unwrap(), Outcome::Crashed { .. }));
    until("three are back", || {
        children.iter().filter(|child| child.view().epoch.0 == 2).count() == 3
    })
    .await;
    all_idle(&children).await;
    let epochs: Vec<u64> = children.iter().map(|child| child.view().epoch.0).collect();
    assert_eq!(epochs, [2, 1, 2, 2]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_7_a_turn_that_crashes_without_a_pause_takes_the_siblings_down_too() {
    let world = World::new(engine()).await;
    let parent = spawn(&world, supervising(Strategy::OneForAll, AutoShutdown::Never)).await;
    let fragile = below(&world, &parent, at_once()).await;
    let threads = [fragile, below(&world, &parent, ThreadConfig::default()).await];
    let mut tap = lifecycle(&world);
    assert!(matches!(threads[0].run("panic").await.unwrap(), Outcome::Crashed { .. }));
    all_idle(&threads).await;
    assert_eq!(ends_and_returns(&mut tap, &threads), (vec![1], vec![1]));
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_7_what_a_sibling_ran_is_closed_and_what_it_has_queued_runs_after_it_is_back() {
    let world = World::new(engine()).await;
    let parent = spawn(&world, supervising(Strategy::OneForAll, AutoShutdown::Never)).await;
    let fragile = below(&world, &parent, ThreadConfig::default()).await;
    let again = ThreadConfig::default().with_on_crash(OnCrash::Requeue { attempts_max: 2 });
    for (config, outcome) in [(ThreadConfig::default(), "interrupted"), (again, "crashed")] {
        let sibling = below(&world, &parent, config).await;
        let running = sibling.submit("hang").await.unwrap();
        until("it runs", || sibling.view().turn.is_some()).await;
        let queued = sibling.submit("queued").await.unwrap();
        fragile.run("panic").await.unwrap();
        if outcome == "crashed" {
            // Tried again, and down again.
            until("it runs again", || sibling.view().epoch.0 == 2 && sibling.view().turn.is_some())
                .await;
            fragile.run("panic").await.unwrap();
        }
        let ended = sibling.outcome(&running.submission).await.unwrap();
        assert_eq!(ended.name(), outcome);
        assert_eq!(sibling.outcome(&queued.submission).await.unwrap().message(), Some("queued"));
        assert_eq!(wire_validity(&sibling.history().await.unwrap()), Ok(()));
        world.close(sibling.id(), BUDGET).await.unwrap();
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_7_none_of_the_siblings_pays_for_it_and_siblings_share_no_budget() {
    let world = World::new(engine()).await;
    let parent = spawn(&world, supervising(Strategy::OneForAll, AutoShutdown::Never)).await;
    let policy = RestartPolicy::default().with_limit(3, Duration::from_secs(3_600));
    let children = [
        below(&world, &parent, ThreadConfig::default().with_restart(policy)).await,
        below(&world, &parent, ThreadConfig::default().with_restart(policy)).await,
    ];
    let mut lives = 1;
    for _ in 0..3 {
        for child in &children {
            child.panic_for_test();
            lives += 1;
            until("both came back", || children.iter().all(|child| child.view().epoch.0 == lives))
                .await;
            all_idle(&children).await;
        }
    }
    // Six times down each, and three crashes of its own each: the fourth parks.
    children[0].panic_for_test();
    until("it is parked", || children[0].status() == ThreadStatus::Parked).await;
    all_idle(&children[1..]).await;
    assert_eq!(children[1].run("hello").await.unwrap().message(), Some("hello"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_1_a_sibling_comes_back_only_behind_its_old_life_though_its_code_goes_on() {
    let world = World::new(engine()).await;
    let (_parent, children, _) = family(&world, Strategy::OneForAll).await;
    children[3].submit("ignore").await.unwrap();
    until("it runs", || children[3].view().turn.is_some()).await;
    let mut tap = lifecycle(&world);
    children[0].panic_for_test();
    until("it is back", || children[3].view().epoch.0 == 2).await;
    let mut ended = false;
    while let Some(TapItem::Event(event)) = tap.try_next() {
        match event.fact {
            Fact::Runtime(RuntimeEvent::ThreadEnded { .. })
                if event.thread == Some(children[3].id()) =>
            {
                ended = true;
            }
            Fact::Runtime(RuntimeEvent::ThreadRestarted)
                if event.thread == Some(children[3].id()) =>
            {
                assert!(ended, "the old life ended first");
            }
            _ => {}
        }
    }
    assert!(ended);
    assert_eq!(children[3].run("hello").await.unwrap().message(), Some("hello"));
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_7_parked_sleeping_and_closing_siblings_stay_as_they_are() {
    let world = World::new(engine()).await;
    let (_parent, children, _) = family(&world, Strategy::OneForAll).await;
    let leaf = spawn(&world, ThreadConfig::default()).await;
    children[0].park().await.unwrap();
    world.close(world.subtree(children[2].id()).await.unwrap()[1], BUDGET).await.unwrap();
    children[2].hibernate().await.unwrap();
    children[1].panic_for_test();
    until("the last is back", || children[3].view().epoch.0 == 2).await;
    all_idle(&children[3..]).await;
    assert_eq!((children[0].status(), children[0].view().epoch.0), (ThreadStatus::Parked, 1));
    assert_eq!(children[2].status(), ThreadStatus::Dormant);
    assert_eq!(leaf.view().epoch.0, 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_5_a_parent_that_closes_while_its_children_are_down_closes_them_all() {
    let world = World::new(engine()).await;
    let (parent, children, grandchildren) = family(&world, Strategy::OneForAll).await;
    children[1].panic_for_test();
    until("they are down", || children[0].view().phase == Phase::Backoff).await;
    let report = world.close(parent.id(), BUDGET).await.unwrap();
    assert!(report.timed_out.is_empty(), "{report:?}");
    assert_eq!(report.threads.len(), 1 + children.len() + grandchildren.len());
    assert_eq!(world.list().len(), 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_7_crashes_of_several_siblings_at_once_leave_nobody_behind() {
    for strategy in [Strategy::RestForOne, Strategy::OneForAll] {
        let world = World::new(engine()).await;
        let (parent, children, grandchildren) = family(&world, strategy).await;
        for round in 0..3 {
            children[round].panic_for_test();
            children[3].panic_for_test();
            tokio::time::sleep(Duration::from_millis(40 * round as u64)).await;
            children[2].panic_for_test();
            if round == 2 {
                parent.panic_for_test();
            }
        }
        until("all came down", || children.iter().all(|child| child.view().epoch.0 > 1)).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        all_idle(&children).await;
        all_idle(&grandchildren).await;
        for child in &children {
            assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"));
        }
        world.end().await;
    }
}

// Escalation.

fn escalating(count: u32) -> ThreadConfig {
    let policy = RestartPolicy::default()
        .with_limit(count, Duration::from_secs(3_600))
        .with_on_spent(OnSpent::Escalate);
    ThreadConfig::default().with_restart(policy)
}

#[tokio::test(start_paused = true)]
async fn p_7_restarts_that_are_spent_are_the_parents_affair_which_comes_back_with_all_below_it() {
    for by_engine in [false, true] {
        let world = World::new(engine()).await;
        let root = spawn(&world, ThreadConfig::default()).await;
        let parent = below(&world, &root, ThreadConfig::default()).await;
        let beside = below(&world, &parent, ThreadConfig::default()).await;
        let fragile = below(&world, &parent, escalating(1)).await;
        let lives = || (root.view().epoch.0, parent.view().epoch.0, beside.view().epoch.0);
        for _ in 0..2 {
            if by_engine {
                fragile.run("panic").await.unwrap();
            } else {
                fragile.panic_for_test();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        until("the parent is back", || lives() == (1, 2, 2)).await;
        all_idle(&[root.clone(), parent.clone(), beside.clone(), fragile.clone()]).await;
        let crashes = world.crashes(parent.id()).await.unwrap();
        assert!(crashes[0].cause.contains(&fragile.id().to_string()), "{crashes:?}");
        // Its budget is fresh: one more crash is its own affair.
        fragile.panic_for_test();
        tokio::time::sleep(Duration::from_secs(1)).await;
        all_idle(std::slice::from_ref(&fragile)).await;
        assert_eq!(lives(), (1, 2, 2));
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn p_7_escalation_goes_up_as_far_as_restarts_are_spent_and_a_root_is_parked() {
    let world = World::new(engine()).await;
    let root = spawn(&world, escalating(1)).await;
    let parent = below(&world, &root, escalating(0)).await;
    let fragile = below(&world, &parent, escalating(0)).await;
    fragile.panic_for_test();
    until("the root came down", || root.view().epoch.0 == 2).await;
    let all = [root.clone(), parent.clone(), fragile.clone()];
    all_idle(&all).await;
    fragile.panic_for_test();
    until("the root is parked", || root.status() == ThreadStatus::Parked).await;
    all_idle(&all[1..]).await;
    root.revive().await.unwrap();
    assert_eq!(root.run("hello").await.unwrap().message(), Some("hello"));
    // The engine of a root has nobody to turn to either.
    let alone = spawn(&world, escalating(0)).await;
    alone.run("panic").await.unwrap();
    assert_eq!(alone.status(), ThreadStatus::Parked);
    world.end().await;
}

// Significant children.

fn significant() -> ThreadConfig {
    ThreadConfig::default().significant()
}

async fn ended(world: &World, thread: ThreadId) {
    until("it is closed", || world.get(thread).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_closes_with_any_or_with_the_last_of_its_significant_children() {
    for (auto, after_one) in
        [(AutoShutdown::Never, false), (AutoShutdown::Any, true), (AutoShutdown::All, false)]
    {
        let world = World::new(engine()).await;
        let parent = spawn(&world, supervising(Strategy::OneForOne, auto)).await;
        let beside = below(&world, &parent, ThreadConfig::default()).await;
        let first = below(&world, &parent, significant()).await;
        let second = below(&world, &parent, significant()).await;
        beside.submit(Op::Close).await.unwrap();
        ended(&world, beside.id()).await;
        first.submit(Op::Close).await.unwrap();
        ended(&world, first.id()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.get(parent.id()).is_none(), after_one, "{auto:?}");
        if !after_one {
            second.submit(Op::Close).await.unwrap();
            ended(&world, second.id()).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(world.get(parent.id()).is_none(), auto == AutoShutdown::All, "{auto:?}");
        }
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_significant_child_that_crashes_for_good_counts_and_one_that_is_closed_or_sleeps_does_not()
 {
    let world = World::new(engine()).await;
    let temporary = RestartPolicy::default().with_restart(Restart::Temporary);
    for by_engine in [false, true] {
        let top = spawn(&world, supervising(Strategy::OneForOne, AutoShutdown::Any)).await;
        let mut middle = supervising(Strategy::OneForOne, AutoShutdown::Any);
        middle.significant = true;
        let parent = below(&world, &top, middle).await;
        let closed = below(&world, &parent, significant()).await;
        let sleeper = below(&world, &parent, significant()).await;
        let child = below(&world, &parent, significant().with_restart(temporary)).await;
        world.close(closed.id(), BUDGET).await.unwrap();
        sleeper.hibernate().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(world.get(parent.id()).is_some(), "neither is an end of its own");
        if by_engine {
            child.run("panic").await.unwrap();
        } else {
            child.panic_for_test();
        }
        // And so on upwards: the middle ended by itself, and was significant.
        ended(&world, top.id()).await;
        for gone in [&parent, &sleeper, &child] {
            assert_eq!(world.status(gone.id()), ThreadStatus::NotFound);
        }
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn all_means_also_those_that_left_memory() {
    let world = World::new(engine()).await;
    let parent = spawn(&world, supervising(Strategy::OneForOne, AutoShutdown::All)).await;
    let sleeper = below(&world, &parent, significant()).await;
    let sleeps = sleeper.id();
    sleeper.hibernate().await.unwrap();
    drop(sleeper);
    until("it left memory", || world.get(sleeps).is_none()).await;
    let child = below(&world, &parent, significant()).await;
    child.submit(Op::Close).await.unwrap();
    ended(&world, child.id()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.get(parent.id()).is_some(), "one of them sleeps");
    world.submit(sleeps, Op::Close).await.unwrap();
    ended(&world, parent.id()).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_permanent_child_cannot_be_significant() {
    let world = World::new(engine()).await;
    let parent = spawn(&world, ThreadConfig::default()).await;
    let permanent = RestartPolicy::default().with_restart(Restart::Permanent);
    let request = SpawnThread::new()
        .with_parent(parent.id())
        .with_config(significant().with_restart(permanent));
    let refused = world.spawn(request).await.unwrap_err();
    assert!(matches!(refused, SpawnError::BadConfig { field: "significant", .. }), "{refused}");
    assert_eq!(world.audit().await.count(LeaseKind::Slot), 1, "nothing remains");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_12_a_parent_hears_once_of_a_child_that_does_not_come_back() {
    let world = World::new(engine()).await;
    let parent = spawn(&world, ThreadConfig::default()).await;
    let closing = RestartPolicy::default()
        .with_limit(0, Duration::from_secs(60))
        .with_on_spent(OnSpent::Close);
    let child = below(&world, &parent, ThreadConfig::default().with_restart(closing)).await;
    let mut tap = lifecycle(&world);
    child.panic_for_test();
    ended(&world, child.id()).await;
    let (ends, _) = ends_and_returns(&mut tap, std::slice::from_ref(&child));
    assert_eq!(ends, [0], "its end is told once");
    assert_eq!(world.store().thread(child.id()).await.unwrap().status, ThreadStatus::Shutdown);
    parent.run("read the mail").await.unwrap();
    let history = parent.history().await.unwrap();
    let mail = |class: &RecordClass| matches!(class, RecordClass::Envelope { .. });
    let told = history.iter().filter(|record| mail(&record.class));
    assert_eq!(told.count(), 1);
    drop(tap);
    world.end().await;
}

#[tokio::test]
async fn a_sibling_whose_code_blocks_is_fenced_off_and_counted_until_it_returns() {
    let gate = coppicer::Gate::new();
    let engine = {
        let gate = gate.clone();
        ScriptedEngine::new(move |_, input| match input.text().as_str() {
            "block" => Script::new().then(Step::BlockUntil(gate.clone())),
            "panic" => Script::new().panic("boom"),
            text => Script::new().say(text),
        })
    };
    let world = World::new(engine).await;
    let parent = spawn(&world, supervising(Strategy::OneForAll, AutoShutdown::Never)).await;
    let own = ThreadConfig::default().with_placement(Placement::Dedicated);
    let blocked = below(&world, &parent, own).await;
    let fragile = below(&world, &parent, ThreadConfig::default()).await;
    let submitted = blocked.submit("block").await.unwrap();
    until("it blocks", || gate.reached() == 1).await;
    fragile.run("panic").await.unwrap();
    until("it is back", || blocked.view().epoch.0 == 2).await;
    assert_eq!(blocked.outcome(&submitted.submission).await.unwrap(), Outcome::Interrupted);
    assert_eq!(blocked.run("hello").await.unwrap().message(), Some("hello"));
    assert_eq!(world.audit().await.count(LeaseKind::Zombie), 1, "its old code");
    gate.open();
    world.until(|audit| audit.count(LeaseKind::Zombie) == 0).await;
    world.end().await;
}

// Escalation with nobody to escalate to: the parent sleeps in the store alone.
#[tokio::test(start_paused = true)]
async fn a_thread_whose_parent_is_not_there_to_take_its_crash_over_is_parked() {
    let mut limits = Limits::default();
    limits.idle_after = Duration::from_secs(10);
    let world = World::with_limits(engine(), limits).await;
    let parent = spawn(&world, ThreadConfig::default()).await.id();
    let policy = RestartPolicy::default()
        .with_limit(0, Duration::from_secs(60))
        .with_on_spent(OnSpent::Escalate);
    let request = SpawnThread::new().with_parent(parent);
    let request = request.with_config(ThreadConfig::default().with_restart(policy));
    let child = world.spawn(request).await.unwrap().id();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let child = world.resume(child).await.unwrap();
    assert!(world.get(parent).is_none(), "it sleeps");
    assert!(matches!(child.run("panic").await.unwrap(), Outcome::Crashed { .. }));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((child.status(), child.view().phase), (ThreadStatus::Parked, Phase::Parked));
    child.revive().await.unwrap();
    assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"));
    drop(child);
    world.end().await;
}
