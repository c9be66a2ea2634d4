//! Hooks: a host's closures for threads that are over, and for what needs attention.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Attention, HookCounts, Hooks, LeaseKind, Limits, Phase, RestartPolicy, Script, ScriptedEngine,
    Seq, SpawnThread, Step, StoreHealth, StoreTrouble, TapOptions, ThreadConfig, ThreadId,
    ThreadStatus,
};
use parking_lot::Mutex;

/// "hang" hangs, "sleep" sleeps for an hour with a record each minute, "panic" panics,
/// "ask" asks its host, "late" has a tool that is.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match &*input.text() {
        "hang" => Script::new().then(Step::Hang),
        "sleep" => (0..60)
            .flat_map(|n| [Step::Remark(n.to_string()), Step::Sleep(Duration::from_secs(60))])
            .collect(),
        "panic" => Script::new().panic("as asked"),
        "ask" => Script::new().then(Step::Ask("may I?".into(), BUDGET)),
        "late" => Script::new().then(Step::Tool(Duration::from_millis(1), BUDGET)),
        _ => Script::new().then(Step::Delta("d".into())).say("done"),
    })
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(BUDGET, waiting).await.expect("it did not come to it in time");
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<ThreadId>>>, Arc<Mutex<Vec<Attention>>>);

impl Heard {
    fn hooks(&self) -> Hooks {
        let (ends, attention) = (self.0.clone(), self.1.clone());
        Hooks::new()
            .on_terminal(move |terminal| ends.lock().push(terminal.row.thread))
            .on_attention(move |told| attention.lock().push(told))
    }
}

fn run(world: &World, hooks: Hooks) -> tokio::task::JoinHandle<HookCounts> {
    let runtime = world.runtime().clone();
    tokio::spawn(async move { hooks.run(&runtime).await.unwrap() })
}

#[tokio::test(start_paused = true)]
async fn a_host_is_called_once_for_each_thread_that_is_over_whenever_it_was_spawned() {
    let heard = Heard::default();
    let world = World::new(engine()).await;
    let early = world.spawn(SpawnThread::new()).await.unwrap();
    let hooks = run(&world, heard.hooks());
    tokio::task::yield_now().await;
    let late = world.spawn(SpawnThread::new()).await.unwrap();
    let child = world.spawn(SpawnThread::new().with_parent(late.id())).await.unwrap();
    late.run("panic").await.unwrap();
    child.panic_for_test();
    child.run("hello").await.unwrap();
    child.hibernate().await.unwrap();
    until(|| child.status() == ThreadStatus::Dormant).await;
    assert_eq!(*heard.0.lock(), [], "none of this is an end");
    world.close(early.id(), BUDGET).await.unwrap();
    until(|| heard.0.lock().len() == 1).await;
    let ids = [early.id(), child.id(), late.id()];
    world.shutdown(BUDGET).await.unwrap();
    let counts = hooks.await.unwrap();
    assert_eq!(*heard.0.lock(), ids);
    assert_eq!((counts.terminal, counts.panics), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_is_told_and_called_again() {
    let calls = Arc::new(Mutex::new(0));
    let world = World::new(engine()).await;
    let hooks = {
        let calls = calls.clone();
        Hooks::new().on_terminal(move |_| {
            *calls.lock() += 1;
            panic!("the host's own");
        })
    };
    let hooks = run(&world, hooks);
    tokio::task::yield_now().await;
    for _ in 0..3 {
        let thread = world.spawn(SpawnThread::new()).await.unwrap();
        thread.run("hello").await.unwrap();
    }
    world.shutdown(BUDGET).await.unwrap();
    let counts = hooks.await.unwrap();
    assert_eq!((*calls.lock(), counts.terminal, counts.panics), (3, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_which_nothing_is_told_is_stuck_once_and_one_that_says_something_is_not() {
    let heard = Heard::default();
    let mut limits = Limits::default();
    limits.stuck_after = Duration::from_secs(120);
    let world = World::with_limits(engine(), limits).await;
    let hooks = run(&world, heard.hooks());
    tokio::task::yield_now().await;
    let (silent, busy) = (
        world.spawn(SpawnThread::new()).await.unwrap(),
        world.spawn(SpawnThread::new()).await.unwrap(),
    );
    busy.submit("sleep").await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    silent.submit("hang").await.unwrap();
    tokio::time::sleep(Duration::from_secs(119)).await;
    assert_eq!(*heard.1.lock(), []);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = heard.1.lock().clone();
    let turn = silent.view().turn;
    let thread = silent.id();
    let Some(Attention::Stuck { silent: time, .. }) = told.first() else { panic!("{told:?}") };
    assert!((120..122).contains(&time.as_secs()), "{time:?}");
    assert_eq!(told, [Attention::Stuck { thread, turn, silent: *time }]);
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    assert_eq!(heard.1.lock().len(), 1, "once");
    silent.interrupt().await.unwrap();
    silent.run("hello").await.unwrap();
    silent.submit("hang").await.unwrap();
    tokio::time::sleep(Duration::from_secs(241)).await;
    assert_eq!(heard.1.lock().len(), 2, "again once it has got on");
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn parked_threads_an_ailing_store_and_limits_that_are_near_need_attention() {
    let heard = Heard::default();
    let limits = {
        let mut limits = Limits::default();
        limits.resident_max = 10;
        limits
    };
    let world = World::with_limits(engine(), limits).await;
    let hooks = run(&world, heard.hooks());
    tokio::task::yield_now().await;
    let policy = RestartPolicy::default().with_limit(1, Duration::from_secs(600));
    let config = ThreadConfig::default().with_restart(policy);
    let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    for _ in 0..2 {
        thread.panic_for_test();
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    assert_eq!(thread.view().phase, Phase::Parked);
    assert_eq!(*heard.1.lock(), [Attention::Parked { thread: thread.id() }]);
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(world.spawn(SpawnThread::new()).await.unwrap());
    }
    tokio::task::yield_now().await;
    until(|| heard.1.lock().len() > 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = heard.1.lock()[1..].to_vec();
    let is_near =
        matches!(told[..], [Attention::NearLimit { limit: "resident_max", used: 9.., value: 10 }]);
    assert!(is_near, "once, at nine tenths: {told:?}");
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_is_told_that_the_disk_is_full_and_when_the_store_writes_again() {
    let heard = Heard::default();
    let world = World::new(engine()).await;
    let hooks = run(&world, heard.hooks());
    tokio::task::yield_now().await;
    let reason = || "database or disk is full".to_owned();
    let full = StoreHealth::Ailing { trouble: StoreTrouble::DiskFull, reason: reason() };
    world.store.tell(&full);
    world.store.tell(&full);
    world.store.tell(&StoreHealth::Well);
    let locked = StoreHealth::Ailing { trouble: StoreTrouble::Busy, reason: "locked".to_owned() };
    world.store.tell(&locked);
    world.store.tell(&StoreHealth::Well);
    until(|| heard.1.lock().len() >= 4).await;
    let ailing = |trouble, reason| Attention::StoreAiling { trouble, reason };
    let told = heard.1.lock().clone();
    let (first, second) = told.split_at(2);
    let recovered = Attention::StoreRecovered;
    assert_eq!(first, [ailing(StoreTrouble::DiskFull, reason()), recovered.clone()], "once");
    assert_eq!(second, [ailing(StoreTrouble::Busy, "locked".to_owned()), recovered]);
    assert_eq!(StoreTrouble::DiskFull.to_string(), "disk full");
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_is_told_of_damage_where_it_is_and_that_the_thread_is_over() {
    let heard = Heard::default();
    let world = World::new(engine()).await;
    let hooks = run(&world, heard.hooks());
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let beside = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("hello").await.unwrap();
    world.store.tell(&StoreHealth::Damaged {
        thread: thread.id(),
        seq: Seq(3),
        reason: "bad checksum".to_owned(),
    });
    until(|| !heard.0.lock().is_empty()).await;
    let what = "record 3: bad checksum".to_owned();
    assert_eq!(*heard.1.lock(), [Attention::Damaged { thread: thread.id(), what }]);
    assert_eq!(*heard.0.lock(), [thread.id()], "it alone");
    assert_eq!(beside.run("hello").await.unwrap().message(), Some("done"));
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn hooks_that_are_too_slow_miss_no_end() {
    let heard = Heard::default();
    let mut limits = Limits::default();
    // Where there is room for one tap they have it behind a gap too.
    (limits.tap_events_max, limits.taps_max) = (8, 1);
    let world = World::with_limits(engine(), limits).await;
    let mut known = Vec::new();
    for _ in 0..20 {
        known.push(world.spawn(SpawnThread::new()).await.unwrap().id());
    }
    let hooks = run(&world, heard.hooks());
    tokio::task::yield_now().await;
    let mut over = known.clone();
    for &thread in &known {
        // The hooks get no turn in between: more happens than their tap holds.
        let in_the_gap = async {
            let short = world.spawn(SpawnThread::new()).await.unwrap().id();
            world.close(short, BUDGET).await.unwrap();
            short
        };
        let spawns = futures::future::join_all((0..5).map(|_| world.spawn(SpawnThread::new())));
        let (closed, short, _spawned) =
            futures::join!(world.close(thread, BUDGET), in_the_gap, spawns);
        closed.unwrap();
        over.push(short);
    }
    until(|| heard.0.lock().len() >= over.len()).await;
    let mut ends = heard.0.lock().clone();
    ends.sort_unstable();
    over.sort_unstable();
    assert_eq!(ends, over, "each end once, also of what came and went within one gap");
    world.shutdown(BUDGET).await.unwrap();
    let counts = hooks.await.unwrap();
    let ends = heard.0.lock().clone();
    let once: std::collections::BTreeSet<_> = ends.iter().collect();
    assert_eq!(once.len(), ends.len(), "none twice");
    let lagged = heard.1.lock().iter().any(|told| matches!(told, Attention::Lagged { .. }));
    assert!(lagged, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn hooks_that_begin_late_are_told_what_trouble_the_store_is_in_and_of_each_kind_of_it() {
    let world = World::new(engine()).await;
    let health = |trouble| StoreHealth::Ailing { trouble, reason: "as asked".to_owned() };
    let ailing = |trouble| Attention::StoreAiling { trouble, reason: "as asked".to_owned() };
    world.store.tell(&health(StoreTrouble::ReadOnly));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let heard = Heard::default();
    let hooks = run(&world, heard.hooks());
    until(|| !heard.1.lock().is_empty()).await;
    assert_eq!(*heard.1.lock(), [ailing(StoreTrouble::ReadOnly)], "it was so before they began");
    // Another kind of trouble asks for something else to be done.
    world.store.tell(&health(StoreTrouble::DiskFull));
    world.store.tell(&health(StoreTrouble::DiskFull));
    until(|| heard.1.lock().len() > 1).await;
    assert_eq!(heard.1.lock()[1..], [ailing(StoreTrouble::DiskFull)]);
    world.store.tell(&StoreHealth::Well);
    until(|| heard.1.lock().len() > 2).await;
    assert_eq!(heard.1.lock()[2..], [Attention::StoreRecovered]);
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}

// hooks   |— asked(0) ■■■ blocked ■■■■■■■■■■■■■■■■■■■■■■■■■■|— lagged, what is open
// world             asks(1), late(2), asks(3) and is stopped, damage(4)
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn hooks_that_are_too_slow_are_told_of_what_still_needs_attention_and_of_nothing_twice() {
    let heard = Heard::default();
    let mut limits = Limits::default();
    limits.tap_events_max = 8;
    let world = World::with_limits(engine(), limits).await;
    let mut threads = Vec::new();
    for _ in 0..5 {
        threads.push(world.spawn(SpawnThread::new()).await.unwrap());
    }
    let everything = TapOptions::all().with_capacity(100_000);
    let mut tap = world.tap(everything).unwrap();
    let mut told = async |name: &str| {
        World::event(&mut tap, |event| event.fact.name() == name).await;
    };
    // It began before the hooks, and is told when they do.
    threads[0].submit("ask").await.unwrap();
    told("question_asked").await;
    let (gate, opened) = std::sync::mpsc::sync_channel::<()>(1);
    let list = heard.1.clone();
    let hooks = Hooks::new().on_attention(move |told| {
        list.lock().push(told);
        // Until the gate is gone.
        let _ = opened.recv();
    });
    let hooks = run(&world, hooks);
    until(|| !heard.1.lock().is_empty()).await;
    let asked = |at: usize| Attention::Asked { thread: threads[at].id() };
    assert_eq!(*heard.1.lock(), [asked(0)]);
    threads[1].submit("ask").await.unwrap();
    told("question_asked").await;
    threads[2].submit("late").await.unwrap();
    told("turn_stuck").await;
    threads[3].submit("ask").await.unwrap();
    told("question_asked").await;
    threads[3].interrupt().await.unwrap();
    told("turn_ended").await;
    let (thread, reason) = (threads[4].id(), "bad checksum".to_owned());
    world.store.tell(&StoreHealth::Damaged { thread, seq: Seq(3), reason });
    told("damage_found").await;
    for _ in 0..20 {
        world.spawn(SpawnThread::new()).await.unwrap();
    }
    drop(gate);
    until(|| heard.1.lock().len() >= 5).await;
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
    let list = heard.1.lock().clone();
    let lagged = matches!(list[1], Attention::Lagged { count } if count > 8);
    let stuck = matches!(list[3], Attention::Stuck { thread, .. } if thread == threads[2].id());
    assert!(lagged && stuck, "{list:?}");
    let what = "record 3: bad checksum".to_owned();
    let damaged = Attention::Damaged { thread, what };
    assert_eq!([&list[0], &list[2], &list[4]], [&asked(0), &asked(1), &damaged]);
    let once_more = list[5..].iter().any(|told| !matches!(told, Attention::Lagged { .. }));
    assert!(!once_more, "{list:?}");
    drop(tap);
}

#[tokio::test(start_paused = true)]
async fn each_limit_of_the_runtime_that_is_near_is_told_also_where_no_fact_tells_of_it() {
    let heard = Heard::default();
    let mut limits = Limits::default();
    (limits.registered_max, limits.taps_max, limits.executing_max) = (10, 10, 10);
    let world = World::with_limits(engine(), limits).await;
    let hooks = run(&world, heard.hooks());
    let told = async |count: usize| {
        until(|| heard.1.lock().len() >= count).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        heard.1.lock().split_off(0)
    };
    let near = |limit, used| Attention::NearLimit { limit, used, value: 10 };
    // They have begun, and the taps come without a fact. They have the tenth.
    assert_eq!(told(0).await, []);
    let taps: Vec<_> = (0..8).map(|_| world.watch()).collect();
    assert_eq!(told(1).await, [near("taps_max", 9)]);
    drop(taps);
    assert_eq!(told(0).await, []);
    let mut threads = Vec::new();
    for _ in 0..9 {
        threads.push(world.spawn(SpawnThread::new()).await.unwrap());
    }
    assert_eq!(told(1).await, [near("registered_max", 9)]);
    for thread in &threads {
        thread.submit("hang").await.unwrap();
    }
    assert_eq!(told(1).await, [near("executing_max", 9)]);
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}

// hooks  |— in a closure ■■■■■■■■■■■■■■■■■■■■■■■■■■■■|— lagged, all ends
// world            spawns and closes many, and ends
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_thread_that_came_and_went_in_the_last_gap_of_a_runtime_is_told_of_too() {
    let mut limits = Limits::default();
    limits.tap_events_max = 8;
    let world = World::with_limits(engine(), limits).await;
    let (gate, opened) = std::sync::mpsc::sync_channel::<()>(1);
    let heard = Heard::default();
    let ends = heard.0.clone();
    let hooks = Hooks::new().on_terminal(move |terminal| {
        ends.lock().push(terminal.row.thread);
        // Until the gate is gone.
        let _ = opened.recv();
    });
    let hooks = run(&world, hooks);
    world.until(|audit| audit.count(LeaseKind::Tap) == 1).await;
    let mut over = Vec::new();
    for n in 0..20 {
        let thread = world.spawn(SpawnThread::new()).await.unwrap();
        world.close(thread.id(), BUDGET).await.unwrap();
        over.push(thread.id());
        if n == 0 {
            until(|| !heard.0.lock().is_empty()).await;
        }
    }
    world.shutdown(BUDGET).await.unwrap();
    drop(gate);
    hooks.await.unwrap();
    let ends = heard.0.lock().clone();
    assert_eq!(ends, over, "each end once, in order");
}

// hooks  |— an end ■■■■■|— lagged, an end ■, an end ■, an end ■ … asked(0)
// world    many come and go, asks(0)  |+ 1    |+ 1    |+ 1
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_hears_of_ends_without_end_behind_a_gap_hears_of_what_needs_attention_too() {
    let mut limits = Limits::default();
    limits.tap_events_max = 8;
    let world = World::with_limits(engine(), limits).await;
    let asking = world.spawn(SpawnThread::new()).await.unwrap();
    let mut tap = world.tap(TapOptions::all().with_capacity(100_000)).unwrap();
    let heard = Heard::default();
    let list = heard.1.clone();
    let (over, mut is_over) = tokio::sync::mpsc::channel(100);
    let (more, there_is) = std::sync::mpsc::sync_channel::<()>(100);
    let hooks =
        Hooks::new().on_attention(move |told| list.lock().push(told)).on_terminal(move |_| {
            let _ = over.try_send(());
            // Another thread is over before it comes back; once the test looks, it is not held up.
            let _ = there_is.recv();
        });
    let hooks = run(&world, hooks);
    world.until(|audit| audit.count(LeaseKind::Tap) == 2).await;
    let come_and_go = async |count: usize| {
        for _ in 0..count {
            let thread = world.spawn(SpawnThread::new()).await.unwrap();
            world.close(thread.id(), BUDGET).await.unwrap();
        }
    };
    come_and_go(1).await;
    is_over.recv().await.unwrap();
    come_and_go(20).await;
    asking.submit("ask").await.unwrap();
    World::event(&mut tap, |event| event.fact.name() == "question_asked").await;
    let asked = Attention::Asked { thread: asking.id() };
    let is_told = || heard.1.lock().contains(&asked);
    for _ in 0..60 {
        more.send(()).unwrap();
        is_over.recv().await.unwrap();
        if is_told() {
            break;
        }
        come_and_go(1).await;
    }
    assert!(is_told(), "{:?}", heard.1.lock());
    drop((more, tap));
    world.shutdown(BUDGET).await.unwrap();
    hooks.await.unwrap();
}
