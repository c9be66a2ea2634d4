//! Budgets that add up: what is used is counted, what is given to sub-agents comes back with them,
//! and what is used up ends turns.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AbortReason, AgentPath, Amounts, Backoff, Budget, EventKind, Fact, FundError, LeaseKind,
    LimitReached, Limits, OnSpent, Op, Outcome, RecordClass, RestartPolicy, Script, ScriptedEngine,
    SpawnError, SpawnThread, Step, StoreError, SubmitError, TapFilter, TapOptions, ThreadConfig,
    ThreadEvent, ThreadHandle, ThreadId, ThreadStatus, Usage,
};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// "use N" uses N tokens, then works for a second and says what is left of the tokens.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|cx, input| {
        let text = input.text();
        let used =
            |tokens: &str| Usage { output_tokens: tokens.parse().unwrap(), ..Usage::default() };
        match text.split_once(' ') {
            Some(("use", tokens)) => {
                Script::new().then(Step::Usage(used(tokens))).sleep(secs(1)).say("used")
            }
            Some(("quick", tokens)) => Script::new().then(Step::Usage(used(tokens))).say("quick"),
            Some(("fail", tokens)) => Script::new().then(Step::Usage(used(tokens))).panic("boom"),
            Some(("work", seconds)) => {
                Script::new().sleep(secs(seconds.parse().unwrap())).say("worked")
            }
            _ if text == "left" => Script::new().say(format!("{:?}", cx.budget_left().tokens)),
            _ => Script::new().say(text),
        }
    })
}

async fn world() -> World {
    World::new(engine()).await
}

fn with(budget: Budget) -> SpawnThread {
    SpawnThread::new().with_config(ThreadConfig::default().with_budget(budget))
}

fn tokens(tokens: u64) -> Budget {
    Budget::new().with_tokens(tokens)
}

fn below(parent: &ThreadHandle, budget: Option<Budget>) -> SpawnThread {
    budget.map_or_else(SpawnThread::new, with).with_parent(parent.id())
}

async fn left(world: &World, thread: &ThreadHandle) -> Option<u64> {
    world.ledger(thread.id()).await.unwrap().unwrap().rest().tokens
}

async fn gone(world: &World, thread: &ThreadHandle) -> (Amounts, Amounts) {
    let ledger = world.ledger(thread.id()).await.unwrap().unwrap();
    let stored = world.stored(thread.id()).await.unwrap().ledger.unwrap();
    assert_eq!(ledger, stored, "memory and store agree");
    (ledger.spent, ledger.carved)
}

fn limit(error: &SubmitError) -> Option<&LimitReached> {
    match error {
        SubmitError::Limit(reached) => Some(reached),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_uses_more_than_there_is_ends_as_budget_limited() {
    let world = world().await;
    let thread = world.spawn(with(tokens(100))).await.unwrap();
    let filter = TapFilter::thread(thread.id()).kinds([EventKind::Turn]);
    let mut tap = world.tap(TapOptions::matching(filter)).unwrap();
    assert_eq!(thread.run("use 60").await.unwrap().message(), Some("used"));
    assert_eq!(thread.run("left").await.unwrap().message(), Some("Some(40)"));
    assert_eq!(thread.run("use 50").await.unwrap(), Outcome::Interrupted);
    assert_eq!(thread.status(), ThreadStatus::Interrupted);
    assert!(thread.view().last_error.unwrap().contains("budget.tokens of 100"));
    let spent = World::event(&mut tap, |event| {
        matches!(event.fact, Fact::Thread(ThreadEvent::BudgetSpent { .. }))
    })
    .await;
    let Fact::Thread(ThreadEvent::BudgetSpent { limit: what, granted }) = &spent.fact else {
        unreachable!()
    };
    assert_eq!((what.as_str(), *granted), ("budget.tokens", 100));
    let history = thread.history().await.unwrap();
    let aborted = history.iter().find_map(|record| match record.class {
        RecordClass::TurnAborted { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(aborted, Some(AbortReason::BudgetLimited));
    assert_eq!(gone(&world, &thread).await.0.tokens, 110, "what was used counts, all of it");

    let refused = thread.submit("more").await.unwrap_err();
    assert_eq!(limit(&refused).unwrap().limit, "budget.tokens");
    let compact = thread.submit(Op::Compact).await.unwrap_err();
    assert!(limit(&compact).is_some(), "a compaction is work too");
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_uses_exactly_what_there_is_completes_and_the_next_does_not_start() {
    let world = world().await;
    let thread = world.spawn(with(tokens(100))).await.unwrap();
    assert_eq!(thread.run("use 100").await.unwrap().message(), Some("used"));
    assert!(limit(&thread.submit("more").await.unwrap_err()).is_some());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn cost_ends_a_turn_as_tokens_do() {
    let spend = Usage { cost_micros: 11, ..Usage::default() };
    let script = Script::new().then(Step::Usage(spend)).then(Step::Hang);
    let world = World::new(ScriptedEngine::always(script)).await;
    let thread = world.spawn(with(Budget::new().with_cost_micros(10))).await.unwrap();
    assert_eq!(thread.run("go").await.unwrap(), Outcome::Interrupted);
    assert!(thread.view().last_error.unwrap().contains("budget.cost_micros"));
    world.end().await;
}

// turn     |■■■■■■■■■■ 10 s ■■■■■■■■■■|
// budget   |━━━━━━━ 4 s ━✗ told to stop
#[tokio::test(start_paused = true)]
async fn time_that_is_used_up_ends_the_turn_by_itself() {
    let world = world().await;
    let thread = world.spawn(with(Budget::new().with_wall_ms(5_000))).await.unwrap();
    assert_eq!(thread.run("work 1").await.unwrap().message(), Some("worked"));
    tokio::time::sleep(secs(100)).await; // no turn runs, and nothing is used
    let start = tokio::time::Instant::now();
    assert_eq!(thread.run("work 10").await.unwrap(), Outcome::Interrupted);
    assert_eq!(start.elapsed(), secs(4));
    assert_eq!(gone(&world, &thread).await.0.wall_ms, 5_000);
    assert!(limit(&thread.submit("work 1").await.unwrap_err()).is_some());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn turns_side_by_side_use_the_time_of_one_budget_together() {
    let world = world().await;
    let top = world.spawn(with(Budget::new().with_wall_ms(10_000))).await.unwrap();
    let child = world.spawn(below(&top, None)).await.unwrap();
    let start = tokio::time::Instant::now();
    let first = top.submit("work 100").await.unwrap();
    tokio::time::sleep(secs(4)).await;
    let second = child.submit("work 1").await.unwrap(); // 5 s are used when it is done, 4 + 1 + 1
    assert_eq!(child.outcome(&second.submission).await.unwrap().name(), "completed");
    assert_eq!(top.outcome(&first.submission).await.unwrap(), Outcome::Interrupted);
    assert_eq!(start.elapsed(), secs(9), "10 s of turns in 9 s");
    assert_eq!(gone(&world, &top).await.0.wall_ms, 10_000);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn all_turns_that_draw_on_what_is_used_up_end() {
    let world = world().await;
    let top = world.spawn(with(tokens(100))).await.unwrap();
    let one = world.spawn(below(&top, None)).await.unwrap();
    let two = world.spawn(below(&one, None)).await.unwrap();
    let other = world.spawn(with(tokens(100))).await.unwrap();
    let waiting = one.submit("work 1000").await.unwrap();
    let beside = other.submit("work 5").await.unwrap();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(two.run("use 101").await.unwrap(), Outcome::Interrupted);
    assert_eq!(one.outcome(&waiting.submission).await.unwrap(), Outcome::Interrupted);
    assert_eq!(other.outcome(&beside.submission).await.unwrap().name(), "completed");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_funded_thread_goes_on_with_what_waits() {
    let world = world().await;
    let top = world.spawn(with(tokens(1_000))).await.unwrap();
    let child = world.spawn(below(&top, Some(tokens(10)))).await.unwrap();
    child.run("use 10").await.unwrap();
    let mail = Op::AgentMessage { from: AgentPath::root(), content: "look".into(), trigger: true };
    child.submit(mail).await.unwrap();
    tokio::time::sleep(secs(3_600)).await;
    assert_eq!(child.view().turns, 1, "mail waits, and its reader stays awake for it");

    let too_much = world.fund(child.id(), tokens(991)).await.unwrap_err();
    assert!(matches!(too_much, FundError::Limit(ref met) if met.value == 990), "{too_much:?}");
    let other = world.fund(child.id(), Budget::new().with_spawns(1)).await.unwrap_err();
    assert!(matches!(other, FundError::NotLimited { limit: "budget.spawns", .. }), "{other:?}");
    let filter = TapFilter::thread(child.id()).kinds([EventKind::Turn]);
    let mut tap = world.tap(TapOptions::matching(filter)).unwrap();
    assert_eq!(world.fund(child.id(), tokens(90)).await.unwrap().tokens, Some(90));
    World::event(&mut tap, |event| {
        matches!(event.fact, Fact::Thread(ThreadEvent::TurnEnded { .. }))
    })
    .await;
    assert_eq!(child.run("left").await.unwrap().message(), Some("Some(90)"));
    assert_eq!(gone(&world, &top).await.1.tokens, 100, "it came out of what is above");
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_childs_part_comes_back_with_its_end_less_what_it_used() {
    let world = world().await;
    let top = world.spawn(with(tokens(100).with_spawns(9))).await.unwrap();
    let child = world.spawn(below(&top, Some(tokens(60)))).await.unwrap();
    let refused = world.spawn(below(&top, Some(tokens(50)))).await.unwrap_err();
    let SpawnError::Limit(reached) = refused else { panic!("{refused:?}") };
    assert_eq!((reached.limit, reached.value), ("budget.tokens", 40));
    assert_eq!(reached.holders, [child.id()]);
    let audit = world.audit().await;
    assert_eq!(audit.count(LeaseKind::Budget), 1);
    assert!(audit.is_clean(), "{audit:?}");

    child.run("use 25").await.unwrap();
    child.close(BUDGET).await.unwrap();
    let (spent, carved) = gone(&world, &top).await;
    assert_eq!((spent.tokens, spent.spawns, carved.tokens), (25, 1, 0));
    assert_eq!(world.audit().await.count(LeaseKind::Budget), 0);

    // It comes back with what it had left, or not at all.
    let greedy = world.spawn(below(&top, Some(tokens(50)))).await.unwrap();
    let refused = world.resume(child.id()).await.unwrap_err();
    assert!(matches!(refused, SpawnError::Limit(ref met) if met.value == 25), "{refused:?}");
    greedy.close(BUDGET).await.unwrap();
    let child = world.resume(child.id()).await.unwrap();
    assert_eq!(left(&world, &child).await, Some(35));
    assert_eq!(gone(&world, &child).await.0.tokens, 0);
    assert_eq!(gone(&world, &top).await.1.tokens, 35);
    child.close(BUDGET).await.unwrap();
    assert_eq!(left(&world, &top).await, Some(75));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_spawn_that_is_undone_costs_nothing() {
    let world = world().await;
    let top = world.spawn(with(tokens(100).with_spawns(9))).await.unwrap();
    let refused = world.spawn(below(&top, Some(tokens(60))).with_first("  ")).await;
    assert!(refused.is_err());
    let refused = world.spawn(below(&top, Some(tokens(0))).with_first("x")).await.unwrap_err();
    assert!(matches!(refused, SpawnError::FirstSubmission(_)), "it has nothing: {refused:?}");
    let late = async {
        world.store.hold(StoreOp::Create);
        let late = world.spawn_within(below(&top, Some(tokens(60))), secs(1)).await;
        assert_eq!(late.unwrap_err(), SpawnError::NoAnswer);
        world.store.release(StoreOp::Create);
        tokio::time::sleep(secs(1)).await;
    };
    late.await;
    let plain = async {
        world.store.hold(StoreOp::Create);
        let late = world.spawn_within(below(&top, None), secs(1)).await;
        assert_eq!(late.unwrap_err(), SpawnError::NoAnswer);
        world.store.release(StoreOp::Create);
        tokio::time::sleep(secs(1)).await;
    };
    plain.await;
    let (spent, carved) = gone(&world, &top).await;
    assert!(spent.is_zero() && carved.is_zero(), "{spent:?} {carved:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_closed_by_its_crashes_gives_back_too() {
    let world = world().await;
    let top = world.spawn(with(tokens(100))).await.unwrap();
    let mut request = below(&top, Some(tokens(60)));
    request.config.restart =
        RestartPolicy::default().with_limit(0, secs(60)).with_on_spent(OnSpent::Close);
    let child = world.spawn(request.clone()).await.unwrap();
    child.run("fail 5").await.unwrap();
    tokio::time::sleep(secs(1)).await;
    assert!(world.get(child.id()).is_none(), "it was closed");
    assert_eq!(left(&world, &top).await, Some(95));
    // The same when it is the actor that dies, in mid-turn.
    let child = world.spawn(request).await.unwrap();
    child.submit("use 7").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    child.panic_for_test();
    tokio::time::sleep(secs(1)).await;
    assert!(world.get(child.id()).is_none(), "it was closed");
    let (spent, carved) = gone(&world, &top).await;
    assert_eq!((spent.tokens, carved.tokens), (12, 0));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_crashes_and_comes_back_has_what_it_had() {
    let world = world().await;
    let mut request = with(tokens(100));
    let backoff = Backoff { initial: secs(1), factor: 1.0, max: secs(1), jitter: 0.0 };
    request.config.restart = RestartPolicy::default().with_backoff(backoff);
    let top = world.spawn(request).await.unwrap();
    top.submit("use 30").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    top.panic_for_test();
    tokio::time::sleep(secs(5)).await;
    assert_eq!(top.run("left").await.unwrap().message(), Some("Some(70)"));
    assert_eq!(gone(&world, &top).await.0.tokens, 30);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_host_finds_the_ledgers_as_they_were() {
    let first = world().await;
    let top = first.spawn(with(tokens(1_000).with_spawns(5))).await.unwrap();
    let done = first.spawn(below(&top, Some(tokens(300)))).await.unwrap();
    let lives = first.spawn(below(&top, Some(tokens(200)))).await.unwrap();
    let plain = first.spawn(below(&lives, None)).await.unwrap();
    done.run("quick 100").await.unwrap();
    plain.run("quick 50").await.unwrap();
    done.close(BUDGET).await.unwrap();
    let before = [gone(&first, &top).await, gone(&first, &lives).await];
    assert_eq!((before[0].0.tokens, before[0].1.tokens), (100, 200));
    // A host that dies: nothing is closed.
    let store = first.store.clone();
    let ids = [top.id(), lives.id(), plain.id(), done.id()];
    drop((top, done, lives, plain));
    std::mem::forget(first);

    let second = World::on(store, engine(), Limits::default()).await;
    // The lowest comes first, and draws on accounts that it brings with it.
    let plain = second.resume(ids[2]).await.unwrap();
    assert_eq!(plain.run("left").await.unwrap().message(), Some("Some(150)"));
    let top = second.resume(ids[0]).await.unwrap();
    let lives = second.resume(ids[1]).await.unwrap();
    assert_eq!([gone(&second, &top).await, gone(&second, &lives).await], before);
    let done = second.resume(ids[3]).await.unwrap();
    assert_eq!(left(&second, &done).await, Some(200));
    assert_eq!(gone(&second, &top).await.1.tokens, 400);
    let refused = second
        .spawn(below(&top, Some(tokens(501))).with_id(ThreadId::from_parts(5, [5; 10])))
        .await
        .unwrap_err();
    let SpawnError::Limit(reached) = refused else { panic!("{refused:?}") };
    assert_eq!((reached.value, reached.holders.len()), (500, 2));
    plain.run("quick 20").await.unwrap();
    lives.close(BUDGET).await.unwrap();
    done.close(BUDGET).await.unwrap();
    let (spent, carved) = gone(&second, &top).await;
    assert_eq!((spent.tokens, carved.tokens, spent.spawns), (170, 0, 3));
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_left_memory_keeps_its_part() {
    let mut limits = Limits::default();
    limits.idle_after = secs(60);
    let world = World::with_limits(engine(), limits).await;
    let top = world.spawn(with(tokens(100))).await.unwrap();
    let child = world.spawn(below(&top, Some(tokens(60)))).await.unwrap();
    child.run("quick 10").await.unwrap();
    let id = child.id();
    drop(child);
    tokio::time::sleep(secs(600)).await;
    assert!(world.get(id).is_none(), "it left memory");
    assert_eq!(left(&world, &top).await, Some(40));
    let refused = world.spawn(below(&top, Some(tokens(41)))).await.unwrap_err();
    assert!(matches!(refused, SpawnError::Limit(ref met) if met.holders == [id]), "{refused:?}");
    let child = world.resume(id).await.unwrap();
    assert_eq!(child.run("left").await.unwrap().message(), Some("Some(50)"));
    child.close(BUDGET).await.unwrap();
    assert_eq!(left(&world, &top).await, Some(90));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn spawns_are_counted_where_they_are_limited() {
    let world = world().await;
    let top = world.spawn(with(Budget::new().with_spawns(3))).await.unwrap();
    let child = world.spawn(below(&top, None)).await.unwrap();
    world.spawn(below(&child, None)).await.unwrap();
    let last = world.spawn(below(&child, None)).await.unwrap();
    last.close(BUDGET).await.unwrap();
    let refused = world.spawn(below(&child, None)).await.unwrap_err();
    let SpawnError::Limit(reached) = refused else { panic!("{refused:?}") };
    assert_eq!((reached.limit, reached.value), ("budget.spawns", 0), "ended ones count");
    assert_eq!(gone(&world, &top).await.0.spawns, 3);
    assert!(child.run("fine").await.is_ok(), "turns go on");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_money_goes_on_when_another_agent_gives_its_part_back() {
    let world = World::new(engine()).await;
    let part = || ThreadConfig::default().with_budget(Budget::new().with_tokens(100));
    let top = world.spawn(SpawnThread::new().with_config(part())).await.unwrap();
    // It draws on the part of the root, and hears of nobody's end.
    let draws = world.spawn(SpawnThread::new().with_parent(top.id())).await.unwrap();
    let first = draws.submit("work 10").await.unwrap();
    let waits = draws.submit("hello").await.unwrap();
    let holds = SpawnThread::new().with_parent(top.id()).with_config(part());
    let holds = world.spawn(holds).await.unwrap();
    assert_eq!(draws.outcome(&first.submission).await.unwrap().message(), Some("worked"));
    tokio::time::sleep(secs(60)).await;
    assert_eq!((draws.view().turn, draws.view().inbox), (None, 1), "all is given away");
    holds.close(BUDGET).await.unwrap();
    let outcome = draws.outcome_within(&waits.submission, secs(1)).await.unwrap();
    assert_eq!(outcome.message(), Some("hello"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn mail_that_came_while_an_end_was_on_its_way_is_worked_on_when_that_is_refused() {
    let world = world().await;
    let thread = world.spawn(with(tokens(100))).await.unwrap();
    let id = thread.id();
    world.store.hold(StoreOp::Append);
    let report = thread.close(Duration::from_millis(1)).await.unwrap();
    assert_eq!(report.timed_out, [id]);
    drop(thread);
    // It comes back for the mail, and has nothing: it may have ended.
    let mail = world.mail(id, AgentPath::root(), "left", true);
    let release = async {
        tokio::time::sleep(Duration::from_millis(15)).await;
        world.store.release(StoreOp::Append);
    };
    let (mail, ()) = tokio::join!(mail, release);
    mail.unwrap();
    tokio::time::sleep(secs(60)).await;
    let status = world.get(id).unwrap().status();
    assert!(matches!(status, ThreadStatus::Completed(_)), "{status:?}");
    world.end().await;
}

/// A root with 100 and a child with 60 of it, of a host that died, and the next host.
async fn next_host() -> (World, ThreadId, ThreadId) {
    let first = world().await;
    let top = first.spawn(with(tokens(100))).await.unwrap();
    let child = first.spawn(below(&top, Some(tokens(60)))).await.unwrap();
    child.run("quick 10").await.unwrap();
    let (store, ids) = (first.store.clone(), (top.id(), child.id()));
    drop((top, child));
    std::mem::forget(first);
    (World::on(store, engine(), Limits::default()).await, ids.0, ids.1)
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_could_not_be_brought_up_keeps_what_it_had() {
    let (world, top, child) = next_host().await;
    let stored = async |id| world.stored(id).await.unwrap().ledger.unwrap();
    let before = (stored(top).await, stored(child).await);
    let full = StoreError::Unavailable { reason: "disk full".into() };
    world.store.fail_next(StoreOp::Acquire, full);
    world.resume(child).await.unwrap_err();
    tokio::time::sleep(secs(1)).await;
    assert_eq!((stored(top).await, stored(child).await), before, "it may run elsewhere");
    let thread = world.resume(child).await.unwrap();
    assert_eq!(thread.run("left").await.unwrap().message(), Some("Some(50)"));
    drop(thread);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_is_fenced_off_gives_nothing_back_that_it_did_not_get() {
    let (world, top, child) = next_host().await;
    let stored = async |id| world.stored(id).await.unwrap().ledger.unwrap();
    let root = world.resume(top).await.unwrap();
    world.resume(child).await.unwrap().close(BUDGET).await.unwrap();
    let before = (stored(top).await, stored(child).await);
    assert_eq!((before.0.carved.tokens, before.0.spent.tokens), (0, 10));
    world.store.hold(StoreOp::Acquire);
    let resume = world.resume(child);
    let close = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let report = world.close(child, Duration::from_millis(5)).await.unwrap();
        assert_eq!(report.timed_out, [child]);
        world.store.release(StoreOp::Acquire);
    };
    let (resumed, ()) = tokio::join!(resume, close);
    resumed.unwrap_err();
    tokio::time::sleep(secs(1)).await;
    assert_eq!((stored(top).await, stored(child).await), before);
    assert_eq!(left(&world, &root).await, Some(90));
    drop(root);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_ends_elsewhere_while_it_is_brought_up_has_its_part_set_aside_again() {
    let first = world().await;
    let top = first.spawn(with(tokens(100))).await.unwrap();
    let child = first.spawn(below(&top, Some(tokens(60)))).await.unwrap();
    let second = World::on(first.store.clone(), engine(), Limits::default()).await;
    first.store.hold(StoreOp::Acquire);
    let resume = second.resume(child.id());
    let close = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        child.close(BUDGET).await.unwrap(); // the other host has looked it up
        first.store.release(StoreOp::Acquire);
    };
    let (again, ()) = tokio::join!(resume, close);
    let again = again.unwrap();
    assert_eq!(again.run("left").await.unwrap().message(), Some("Some(60)"));
    assert_eq!(first.stored(top.id()).await.unwrap().ledger.unwrap().carved.tokens, 60);
    again.close(BUDGET).await.unwrap();
    assert_eq!(first.stored(top.id()).await.unwrap().ledger.unwrap().carved.tokens, 0);
    drop((child, top, again));
    second.end().await;
    first.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_turn_used_is_counted_also_if_the_write_of_its_end_is_refused() {
    let world = world().await;
    let top = world.spawn(with(tokens(100))).await.unwrap();
    let child = world.spawn(below(&top, Some(tokens(60)))).await.unwrap();
    let id = child.id();
    child.submit("use 7").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.store.hold(StoreOp::Append);
    tokio::time::sleep(secs(2)).await; // its turn is over, and that is not written
    let report = child.close(secs(1)).await.unwrap();
    assert_eq!(report.timed_out, [id]);
    drop(child);
    world.store.release(StoreOp::Append);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(gone(&world, &top).await.0.tokens, 7);
    let ledger = world.stored(id).await.unwrap().ledger.unwrap();
    assert_eq!((ledger.budget.tokens, ledger.spent.tokens), (Some(0), 0), "it has nothing left");
    drop(top);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_after_an_end_is_there_once_when_the_thread_is_resumed() {
    let mut limits = Limits::default();
    limits.idle_after = secs(60);
    let world = World::with_limits(engine(), limits).await;
    let top = world.spawn(with(tokens(100))).await.unwrap();
    let parent = world.spawn(below(&top, Some(tokens(60)))).await.unwrap();
    let child = world.spawn(below(&parent, Some(tokens(40)))).await.unwrap();
    let id = child.id();
    drop(child);
    tokio::time::sleep(secs(600)).await;
    assert!(world.get(id).is_none(), "it sleeps in the store alone");
    parent.close(BUDGET).await.unwrap();
    let child = world.resume(id).await.unwrap();
    child.run("quick 10").await.unwrap();
    child.close(BUDGET).await.unwrap();
    let again = world.resume(parent.id()).await.unwrap();
    assert_eq!(left(&world, &again).await, Some(50));
    assert_eq!(left(&world, &top).await, Some(10), "50 are set aside for it, and 40 had been used");
    drop((child, parent, again, top));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_turn_used_is_counted_also_if_the_store_takes_nothing_for_a_while() {
    let world = world().await;
    let top = world.spawn(with(tokens(100))).await.unwrap();
    let child = world.spawn(below(&top, Some(tokens(60)))).await.unwrap();
    child.submit("use 7").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    for op in [StoreOp::Append, StoreOp::Charge] {
        world.store.fail_next(op, StoreError::Unavailable { reason: "disk full".into() });
    }
    tokio::time::sleep(secs(60)).await;
    child.run("quick 10").await.unwrap();
    let ledger = world.stored(child.id()).await.unwrap().ledger.unwrap();
    assert_eq!(ledger.spent.tokens, 17);
    drop((child, top));
    world.end().await;
}
