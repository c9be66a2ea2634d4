//! Why a thread does what it does, for threads in every phase.

use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Backoff, Budget, EntryStage, Limits, Op, Phase, RestartPolicy, Script, ScriptedEngine, Silent,
    SpawnThread, Step, ThreadConfig, ThreadId, TurnPhase, Wait, WaitsFor, Why, WhyError,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match &*input.text() {
        "lead" => Script::new()
            .spawn(SpawnThread::new().with_name("worker").with_first("hang"))
            .then(Step::Wait(Wait::All, HOUR)),
        "hang" => Script::new().then(Step::Hang),
        "ask" => Script::new().then(Step::Ask("may I?".into(), HOUR)),
        "panic" => Script::new().panic("boom"),
        text => Script::new().say(text),
    })
}

/// A pause of a minute after each crash, and one restart.
fn slow_restarts() -> ThreadConfig {
    let minute = Duration::from_secs(60);
    let backoff = Backoff { initial: minute, factor: 1.0, max: minute, jitter: 0.0 };
    let policy = RestartPolicy::default().with_limit(1, HOUR).with_backoff(backoff);
    ThreadConfig::default().with_restart(policy)
}

/// The lines for people name what the struct has.
fn says(why: &Why, words: &[&str]) {
    let text = why.to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_waits_names_its_child_and_the_child_names_who_waits() {
    let world = World::new(engine()).await;
    let lead = world.spawn(SpawnThread::new().with_first("lead")).await.unwrap();
    tokio::time::sleep(5 * SECOND).await;
    let child = world.subtree(lead.id()).await.unwrap()[1];

    let why = world.why(lead.id()).await.unwrap();
    let WaitsFor::Threads { threads, how } = &why.waits_for[0] else { panic!("{why}") };
    assert_eq!((threads[0].0, threads[0].1.name(), *how), (child, "running", Wait::All));
    let turn = why.turn.as_ref().unwrap();
    assert!(matches!(turn.phase, Some(TurnPhase::AwaitChild { .. })));
    assert_eq!(turn.attempt, Some(1));
    let since = why.asked_ms - turn.phase_since_ms.unwrap();
    assert!((4_900..=5_000).contains(&since), "{since}");
    assert_eq!((why.stage, why.phase), (Some(EntryStage::Live), Some(Phase::Running)));
    assert_eq!((why.actor_restarts_left, why.engine_restarts_left), (Some(5), Some(5)));
    says(&why, &["as a root", "in await_child since 5.0", "all of", &child.to_string()]);

    let why = world.why(child).await.unwrap();
    assert_eq!((why.parent, &*why.waiters), (Some(lead.id()), &[lead.id()][..]));
    assert_eq!(why.path.as_ref().map(ToString::to_string).as_deref(), Some("/root/worker"));
    says(&why, &["/root/worker", "as a sub-agent of", "waited for by", "holds: 1 turn_permit"]);
    assert!(why.silent.is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_host_is_asked_and_who_stands_in_line_for_a_permit_is_named() {
    let mut limits = Limits::default();
    limits.executing_max = 1;
    let world = World::with_limits(engine(), limits).await;
    let asks = world.spawn(SpawnThread::new().with_first("ask")).await.unwrap();
    let waits = world.spawn(SpawnThread::new().with_first("hello")).await.unwrap();
    waits.submit("and more").await.unwrap();
    let compact = waits.submit(Op::Compact).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let why = world.why(asks.id()).await.unwrap();
    assert!(matches!(&why.waits_for[..], [WaitsFor::Host { .. }]), "{why}");
    says(&why, &["the host's answer to"]);
    let why = world.why(waits.id()).await.unwrap();
    assert!(matches!(&why.waits_for[..], [WaitsFor::Permit { .. }]), "{why}");
    assert_eq!((why.inbox, why.queued_count), (3, 3));
    let ops: Vec<&str> = why.queued.iter().map(|queued| &*queued.op).collect();
    assert_eq!(ops, ["user_input", "user_input", "compact"]);
    assert_eq!(why.queued[2].submission, compact.submission);
    says(&why, &["a permit for turn", "inbox: 3 of 512"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_pauses_after_a_crash_says_until_when_and_what_is_left() {
    let world = World::new(engine()).await;
    let spawn = || SpawnThread::new().with_config(slow_restarts());
    let engine_crash = world.spawn(spawn().with_first("panic")).await.unwrap();
    let actor_crash = world.spawn(spawn()).await.unwrap();
    actor_crash.panic_for_test();
    tokio::time::sleep(10 * SECOND).await;

    let why = world.why(engine_crash.id()).await.unwrap();
    let [WaitsFor::EngineBackoff { until_ms: Some(until_ms) }] = why.waits_for[..] else {
        panic!("{why}")
    };
    assert!((49_000..=50_100).contains(&(until_ms - why.asked_ms)));
    assert_eq!((why.engine_restarts_left, why.actor_restarts_left), (Some(0), Some(1)));
    assert_eq!((why.crashes, why.restarts_max), (1, Some(1)));
    says(&why, &["the end of its engine's pause for 50.0", "engine 0, of 1; 1 crashes"]);

    let why = world.why(actor_crash.id()).await.unwrap();
    let [WaitsFor::ActorBackoff { until_ms: Some(until_ms) }] = why.waits_for[..] else {
        panic!("{why}")
    };
    assert!((49_000..=50_100).contains(&(until_ms - why.asked_ms)));
    assert_eq!((why.stage, why.actor_restarts_left), (Some(EntryStage::Backoff), Some(0)));
    assert_eq!(why.engine_restarts_left, None, "it has no actor that could say so");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_a_dormant_and_a_stored_thread_are_explained_and_not_woken() {
    let world = World::new(engine()).await;
    let parked = world
        .spawn(SpawnThread::new().with_config(slow_restarts()).with_first("panic"))
        .await
        .unwrap();
    tokio::time::sleep(61 * SECOND).await;
    parked.submit("panic").await.unwrap();
    tokio::time::sleep(SECOND).await;
    let why = world.why(parked.id()).await.unwrap();
    assert_eq!(why.phase, Some(Phase::Parked));
    assert!(why.waits_for.contains(&WaitsFor::Revival), "{why}");
    says(&why, &["its revival"]);

    let dormant = world.spawn(SpawnThread::new()).await.unwrap();
    dormant.run("hello").await.unwrap();
    dormant.hibernate().await.unwrap();
    let why = world.why(dormant.id()).await.unwrap();
    assert_eq!((why.stage, why.phase), (Some(EntryStage::Dormant), Some(Phase::Dormant)));
    assert_eq!(why.waits_for, [WaitsFor::Work]);
    assert_eq!(dormant.view().phase, Phase::Dormant, "it sleeps on");

    let id = dormant.id();
    drop(dormant);
    tokio::time::sleep(SECOND).await;
    assert!(world.get(id).is_none(), "it has left memory");
    let why = world.why(id).await.unwrap();
    assert_eq!((why.stage, why.phase, why.inbox_capacity), (None, None, 0));
    assert!(why.created_ms.is_some() && why.leases.is_empty());
    says(&why, &["in the store alone", "waits for: work"]);
    assert!(world.get(id).is_none(), "nobody brought it up");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_closes_says_so_and_one_that_was_closed_is_read_from_the_store() {
    let deaf = ScriptedEngine::always(Script::new().then(Step::IgnoreCancel(HOUR)));
    let world = World::new(deaf).await;
    let thread = world.spawn(SpawnThread::new().with_first("go")).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let (closed, why) = tokio::join!(thread.close(5 * SECOND), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.why(thread.id()).await.unwrap()
    });
    closed.unwrap();
    assert!(why.waits_for.contains(&WaitsFor::Close), "{why}");
    let why = world.why(thread.id()).await.unwrap();
    assert_eq!((why.status.name(), why.stage), ("shutdown", None));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_budget_and_its_rest_are_named() {
    let world = World::new(engine()).await;
    let budget: Budget = serde_json::from_str(r#"{"tokens":1000}"#).unwrap();
    let config = ThreadConfig::default().with_budget(budget);
    let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    let why = world.why(thread.id()).await.unwrap();
    let ledger = world.store().thread(thread.id()).await.unwrap().ledger;
    assert_eq!(why.budget_left, ledger.map(|ledger| ledger.rest()));
    assert_eq!(why.budget_left.and_then(|left| left.tokens), Some(1_000));
    says(&why, &["budget left: 1000 tokens"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_thread_is_an_error_by_type() {
    let world = World::new(engine()).await;
    let thread = ThreadId::from_parts(7, [7; 10]);
    assert_eq!(world.why(thread).await, Err(WhyError::NotFound { thread }));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_by_the_deadline_is_named_and_the_rest_is_told() {
    let world = World::new(engine()).await;
    let thread = world.spawn(SpawnThread::new().with_first("hang")).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let why = world.why_within(thread.id(), Duration::ZERO).await.unwrap();
    assert_eq!(why.silent, [Silent::Actor, Silent::Supervisor]);
    assert_eq!((why.stage, why.engine_restarts_left), (None, None));
    assert_eq!((why.phase, why.turn.is_some()), (Some(Phase::Running), true), "from its view");
    says(&why, &["no answer in time: Actor"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn why_is_data_that_goes_through_json() {
    let world = World::new(engine()).await;
    let lead = world.spawn(SpawnThread::new().with_first("lead")).await.unwrap();
    tokio::time::timeout(BUDGET, tokio::time::sleep(SECOND)).await.unwrap();
    let why = world.why(lead.id()).await.unwrap();
    let json = serde_json::to_string(&why).unwrap();
    assert_eq!(serde_json::from_str::<Why>(&json).unwrap(), why);
    world.end().await;
}
