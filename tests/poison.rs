//! Turns that crash: kept, tried again, and given up when they are poison (P3, P7).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use coppicer::faulty::FaultyStore;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AfterPoison, CRASHES_KEPT_MAX, Delivery, Limits, MemoryStore, OnCrash, Outcome, Phase, Poison,
    RecordClass, RestartPolicy, Script, ScriptedEngine, SpawnThread, Step, Submission,
    ThreadConfig, ThreadHandle, ThreadStatus, items_validity, model_view,
};

/// "poison" says something and panics, "late N" panics in the first N attempts, one remark later each
/// time; "hang" hangs.
fn engine() -> (ScriptedEngine, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let engine = ScriptedEngine::new(move |_, input| {
        let text = input.text();
        match text.split_once(' ').unwrap_or((&text, "")) {
            ("poison", _) => {
                counted.fetch_add(1, Ordering::SeqCst);
                Script::new()
                    .then(Step::Remark("I begin".into()))
                    .then(Step::Call { name: "sh".into(), arguments: "{}".into(), output: None })
                    .panic("boom")
            }
            ("late", most) => {
                let attempt = counted.fetch_add(1, Ordering::SeqCst) + 1;
                let script: Script = (0..attempt).map(|n| Step::Remark(n.to_string())).collect();
                if attempt <= most.parse().unwrap() {
                    script.panic("later")
                } else {
                    script.say("done")
                }
            }
            ("hang", _) => {
                counted.fetch_add(1, Ordering::SeqCst);
                Script::new().then(Step::Hang)
            }
            _ => Script::new().say(text),
        }
    });
    (engine, runs)
}

fn retrying(attempts_max: u32) -> ThreadConfig {
    let many = RestartPolicy::default().with_limit(1_000, Duration::from_secs(3_600));
    ThreadConfig::default().with_on_crash(OnCrash::Retry { attempts_max }).with_restart(many)
}

fn poison(same_place_max: u32, then: AfterPoison) -> Poison {
    let mut poison = Poison::default();
    (poison.same_place_max, poison.then) = (same_place_max, then);
    poison
}

async fn spawn(world: &World, config: ThreadConfig) -> ThreadHandle {
    world.spawn(SpawnThread::new().with_config(config)).await.unwrap()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(BUDGET, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_crashes_at_the_same_place_is_given_up_and_the_thread_goes_on() {
    let (engine, runs) = engine();
    let world = World::new(engine).await;
    let thread = spawn(&world, retrying(100)).await;
    let poisoned = thread.submit("poison").await.unwrap();
    let queued = thread.submit("and on").await.unwrap();
    let outcome = thread.outcome(&poisoned.submission).await.unwrap();
    assert_eq!(outcome, Outcome::Crashed { cause: "boom".into() });
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    assert_eq!(thread.outcome(&queued.submission).await.unwrap().message(), Some("and on"));
    let crashes = world.crashes(thread.id()).await.unwrap();
    let turns: Vec<&str> =
        crashes.iter().map(|crash| crash.turn.as_ref().unwrap().as_str()).collect();
    let id = poisoned.submission.as_str();
    assert_eq!(turns, [id, &format!("{id}.2"), &format!("{id}.3")]);
    assert!(crashes.iter().all(|crash| crash.place == crashes[0].place && crash.place > 0));
    let history = thread.history().await.unwrap();
    items_validity(&model_view(&history).items).unwrap();
    let asked = history.iter().filter(|record| record.class == RecordClass::UserMessage);
    assert_eq!(asked.count(), 2, "what was asked stands there once");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_gets_on_is_tried_again_up_to_its_attempts() {
    for (attempts_max, outcome) in [(6, "completed"), (4, "crashed")] {
        let (engine, runs) = engine();
        let world = World::new(engine).await;
        let thread = spawn(&world, retrying(attempts_max)).await;
        assert_eq!(thread.run("late 5").await.unwrap().name(), outcome);
        assert_eq!(runs.load(Ordering::SeqCst), attempts_max);
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_can_park_a_poisoned_thread_and_reviving_it_runs_what_is_queued() {
    let (engine, _) = engine();
    let world = World::new(engine).await;
    let config = retrying(100).with_poison(poison(2, AfterPoison::Park));
    let thread = spawn(&world, config).await;
    let poisoned = thread.submit("poison").await.unwrap();
    let queued = thread.submit("and on").await.unwrap();
    assert_eq!(thread.outcome(&poisoned.submission).await.unwrap().name(), "crashed");
    until("it is parked", || thread.status() == ThreadStatus::Parked).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(thread.view().inbox, 1);
    thread.revive().await.unwrap();
    assert_eq!(thread.outcome(&queued.submission).await.unwrap().message(), Some("and on"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_steered_a_turn_that_crashes_shares_its_fate() {
    let (engine, _) = engine();
    let world = World::new(engine).await;
    let thread = spawn(&world, retrying(2)).await;
    let scripted = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "first" if input.attempt == 1 => {
            Script::new().sleep(Duration::from_secs(1)).then(Step::TakeSteered).panic("boom")
        }
        text => Script::new().say(text),
    });
    let other = World::new(scripted).await;
    let steered = spawn(&other, retrying(3)).await;
    let first = steered.submit("first").await.unwrap();
    until("it runs", || steered.view().turn.is_some()).await;
    let delivery = Delivery::Steer { expected: None };
    let joined = steered.submit(Submission::input("more").with_delivery(delivery)).await.unwrap();
    assert!(joined.steered.is_some());
    for (receipt, said) in [(&first, "first"), (&joined, "more")] {
        let outcome = steered.outcome(&receipt.submission).await.unwrap();
        assert_eq!(outcome.message(), Some(said), "each is tried again");
    }
    assert_eq!(thread.run("hello").await.unwrap().message(), Some("hello"));
    other.end().await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_waits_to_be_tried_again_is_returned_when_its_thread_closes() {
    let (engine, runs) = engine();
    let world = World::new(engine).await;
    let thread = spawn(&world, retrying(100).with_poison(poison(50, AfterPoison::GoOn))).await;
    let poisoned = thread.submit("poison").await.unwrap();
    until("it crashed", || thread.view().phase == Phase::Backoff).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    world.close(thread.id(), BUDGET).await.unwrap();
    let outcome = world.store();
    let (done, known) = coppicer::Done::channel();
    outcome.submission(thread.id(), &poisoned.submission, done);
    let state = known.await.unwrap().unwrap().state;
    assert_eq!(
        state,
        coppicer::SubmissionState::Ended(Outcome::Returned),
        "it waited for its turn"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn by_default_one_crash_ends_the_submission() {
    let (engine, runs) = engine();
    let world = World::new(engine).await;
    let thread = spawn(&world, ThreadConfig::default()).await;
    assert_eq!(thread.run("poison").await.unwrap().name(), "crashed");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(world.crashes(thread.id()).await.unwrap().len(), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn crashes_of_the_actor_count_too_and_across_its_lives() {
    let (engine, runs) = engine();
    let world = World::new(engine).await;
    let thread = spawn(&world, retrying(100)).await;
    let hanging = thread.submit("hang").await.unwrap();
    for lives in 1..=3 {
        until("it runs", || runs.load(Ordering::SeqCst) == lives && thread.view().turn.is_some())
            .await;
        thread.panic_for_test();
    }
    let outcome = thread.outcome(&hanging.submission).await.unwrap();
    assert_eq!(outcome, Outcome::Crashed { cause: "asked to panic by a test".into() });
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    let crashes = world.crashes(thread.id()).await.unwrap();
    assert_eq!(crashes.iter().map(|crash| crash.epoch.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(crashes.iter().all(|crash| crash.turn.is_some()));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_dies_in_mid_turn_is_a_crash_that_the_next_one_keeps_and_counts() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    let mut id = None;
    let mut submission = None;
    let (engine, runs) = engine();
    let mut dead = Vec::new();
    for host in 1..=3 {
        let world = World::on(store.clone(), engine.clone(), Limits::default()).await;
        let thread = match id {
            None => spawn(&world, retrying(100)).await,
            Some(id) => world.resume(id).await.unwrap(),
        };
        id = Some(thread.id());
        if submission.is_none() {
            submission = Some(thread.submit("hang").await.unwrap().submission);
        }
        until("it runs", || runs.load(Ordering::SeqCst) == host).await;
        // The next one takes the thread over, as after the death of this one.
        dead.push(world);
    }
    let world = World::on(store, engine, Limits::default()).await;
    let thread = world.resume(id.unwrap()).await.unwrap();
    let outcome = thread.outcome(&submission.unwrap()).await.unwrap();
    assert_eq!(outcome, Outcome::Crashed { cause: "its host died in mid-turn".into() });
    assert_eq!(world.crashes(thread.id()).await.unwrap().len(), 3);
    assert_eq!(thread.run("hello").await.unwrap().message(), Some("hello"));
    world.end().await;
    for world in dead {
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_crashes_are_kept() {
    let (engine, _) = engine();
    let world = World::new(engine).await;
    let many = RestartPolicy::default().with_limit(1_000, Duration::from_secs(3_600));
    let thread = spawn(&world, ThreadConfig::default().with_restart(many)).await;
    for _ in 0..CRASHES_KEPT_MAX + 3 {
        thread.run("poison").await.unwrap();
    }
    let crashes = world.crashes(thread.id()).await.unwrap();
    assert_eq!(crashes.len(), CRASHES_KEPT_MAX);
    assert!(crashes.is_sorted_by_key(|crash| crash.seq));
    world.end().await;
}
