//! Cases of REF 12.9 (sessions) and 12.10 by their ids, as far as no other file has them:
//! SE-01 to SE-05, SE-07, SE-11 and SE-17 are in `tests/reference_cases.rs`, SE-09 to SE-13 in the
//! core's own tests, EX-01 and EX-02 in `tests/limits.rs`.
//!
//! Without a like here: TL-10 and TL-32 by their wording (the tools of a model are the host's). AR-04:
//! `tests/agent_cases.rs`; SE-15: no queue ends with its senders, `tests/instead.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    Delivery, EventKind, Fact, Interrupted, Op, Outcome, Script, ScriptedEngine, SpawnThread, Step,
    Submission, SubmitError, TapFilter, TapItem, TapOptions, ThreadEvent, ThreadHandle, ThreadId,
    ThreadStatus, Wait,
};

/// "hang" hangs; "wait" waits for its host and takes what came; all else is said.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    })
}

#[tokio::test(start_paused = true)]
async fn ac_33_who_waits_for_a_thread_that_never_was_is_told_not_found_and_nobody_else_is() {
    let never = ThreadId::from_parts(9, [9; 10]);
    let wait = Step::WaitFor(vec![never], Wait::All, Duration::from_secs(10));
    let world = World::new(ScriptedEngine::always(Script::new().then(wait).say("done"))).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(parent.run("go").await.unwrap().name(), "completed");
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
    let history = parent.history().await.unwrap();
    let lines: Vec<String> =
        history.iter().map(|record| String::from_utf8_lossy(&record.raw).into_owned()).collect();
    assert!(lines.iter().any(|line| line.contains("waited: not_found")), "{lines:?}");
    // REF tells the parent by mail, though no end was durable; here mail tells of ends.
    let told = |line: &String| line.contains("subagent_notification");
    assert!(!lines.iter().any(told), "{lines:?}");
    world.end().await;
}

async fn world() -> World {
    World::new(engine()).await
}

async fn spawn(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.unwrap()
}

async fn hang(thread: &ThreadHandle) {
    thread.submit("hang").await.unwrap();
    while thread.view().turn.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn mail(text: &str, trigger: bool) -> Op {
    Op::AgentMessage { from: "/root/other".parse().unwrap(), content: text.into(), trigger }
}

#[tokio::test(start_paused = true)]
async fn se_06_input_that_steered_a_turn_and_was_not_taken_is_not_lost_when_it_is_aborted() {
    let world = world().await;
    let thread = spawn(&world).await;
    hang(&thread).await;
    let delivery = Delivery::Steer { expected: None };
    let steered = thread.submit(Submission::input("mine").with_delivery(delivery)).await.unwrap();
    assert!(steered.steered.is_some());
    thread.interrupt().await.unwrap();
    let outcome = thread.outcome(&steered.submission).await.unwrap();
    assert_eq!(outcome.message(), Some("mine"), "it has a turn of its own");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_08_a_thread_with_trigger_mail_is_not_idle() {
    let world = world().await;
    let thread = spawn(&world).await;
    hang(&thread).await;
    thread.submit(mail("wake", true)).await.unwrap();
    let filter = TapFilter::thread(thread.id()).kinds([EventKind::Turn]);
    let mut tap = world.tap(TapOptions::matching(filter)).unwrap();
    thread.interrupt().await.unwrap();
    World::event(&mut tap, |event| {
        matches!(event.fact, Fact::Thread(ThreadEvent::TurnStarted { .. }))
    })
    .await;
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_10_trigger_mail_that_came_after_the_answer_starts_the_next_turn() {
    let answers = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "work" => Script::new().say("done").sleep(Duration::from_secs(1)).then(Step::TakeSteered),
        text => Script::new().say(format!("read {text}")),
    });
    let world = World::new(answers).await;
    let thread = spawn(&world).await;
    let work = thread.submit("work").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    thread.submit(mail("late", true)).await.unwrap();
    thread.outcome(&work.submission).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(thread.status(), ThreadStatus::Completed(Some("read late".into())));
    assert_eq!(thread.view().turns, 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_14_closing_an_idle_thread_is_one_write_and_appends_no_record() {
    let world = world().await;
    let thread = spawn(&world).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (head, appends) =
        (thread.history().await.unwrap().len(), world.store.calls(StoreOp::Append));
    world.close(thread.id(), BUDGET).await.unwrap();
    let stored = world.store().thread(thread.id()).await.unwrap();
    assert_eq!((stored.head.0, stored.status), (head, ThreadStatus::Shutdown));
    assert_eq!(world.store.calls(StoreOp::Append), appends + 1);
    assert_eq!(world.store.calls(StoreOp::Create), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_16_a_close_aborts_the_turn_then_stops_the_thread() {
    let world = world().await;
    let thread = spawn(&world).await;
    hang(&thread).await;
    let filter = TapFilter::thread(thread.id());
    let kinds = filter.kinds([EventKind::Turn, EventKind::Runtime]);
    let mut tap = world.tap(TapOptions::matching(kinds)).unwrap();
    world.close(thread.id(), BUDGET).await.unwrap();
    let mut order = Vec::new();
    while let Some(TapItem::Event(event)) = tap.try_next() {
        match &event.fact {
            Fact::Thread(ThreadEvent::TurnEnded { outcome, .. }) => {
                assert_eq!(*outcome, Outcome::Interrupted);
                order.push("turn aborted");
            }
            Fact::Runtime(_) => order.push("thread stopped"),
            Fact::Thread(_) => {}
        }
    }
    assert_eq!(order, ["turn aborted", "thread stopped"]);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_18_a_close_that_comes_while_another_is_under_way_waits_for_the_end() {
    let ignores = Script::new().then(Step::IgnoreCancel(Duration::from_secs(60)));
    let world = World::new(ScriptedEngine::always(ignores)).await;
    let thread = spawn(&world).await;
    thread.submit("go").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let runtime = world.runtime().clone();
    let id = thread.id();
    let first = tokio::spawn(async move { runtime.close(id, BUDGET).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut second = Box::pin(world.close(id, BUDGET));
    assert!(tokio::time::timeout(Duration::from_millis(10), &mut second).await.is_err(), "pending");
    assert_eq!((&mut second).await.unwrap().completed, [id]);
    drop(second);
    assert_eq!(first.await.unwrap().unwrap().completed, [id]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_19_mail_that_is_there_already_is_read_by_a_turn_that_looks_for_it() {
    let reads = ScriptedEngine::always(Script::new().then(Step::TakeSteered));
    let world = World::new(reads).await;
    let thread = spawn(&world).await;
    for text in ["one", "two"] {
        thread.submit(mail(text, false)).await.unwrap();
    }
    let filter = TapFilter::thread(thread.id()).kinds([EventKind::Mail]);
    let mut tap = world.tap(TapOptions::matching(filter)).unwrap();
    thread.run("go").await.unwrap();
    let delivered = std::iter::from_fn(|| tap.try_next()).filter(|item| {
        matches!(
            item.event().map(|event| &event.fact),
            Some(Fact::Thread(ThreadEvent::MailDelivered { .. }))
        )
    });
    assert_eq!(delivered.count(), 2);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ar_06_a_place_is_held_by_who_is_live_until_that_one_is_closed() {
    let mut limits = coppicer::Limits::default();
    limits.children_max = 1;
    let world = World::with_limits(engine(), limits).await;
    let root = spawn(&world).await;
    let below = || SpawnThread::new().with_parent(root.id());
    let child = world.spawn(below()).await.unwrap();
    child.run("done").await.unwrap();
    assert!(world.spawn(below()).await.is_err(), "one that has ended its turn holds its place");
    world.close(child.id(), BUDGET).await.unwrap();
    world.spawn(below()).await.unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tl_21_tl_27_a_wait_ends_with_what_it_waits_for_and_a_closed_thread_is_not_found() {
    let world = world().await;
    let thread = spawn(&world).await;
    hang(&thread).await;
    let budget = Duration::from_millis(10);
    let waited = world.wait(&[thread.id()], Wait::All, budget).await;
    assert!(waited.timed_out, "a budget is what it says; nothing raises it");
    assert_eq!(thread.status(), ThreadStatus::Running, "as it was before the close");
    world.close(thread.id(), BUDGET).await.unwrap();
    assert_eq!(world.status(thread.id()), ThreadStatus::NotFound);
    assert_eq!(thread.submit("late").await, Err(SubmitError::Closed { thread: thread.id() }));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tl_16_an_interrupt_then_input_are_taken_in_this_order() {
    let world = world().await;
    let thread = spawn(&world).await;
    hang(&thread).await;
    assert!(matches!(thread.interrupt().await.unwrap(), Interrupted::Turn { .. }));
    assert_eq!(thread.run("hi").await.unwrap().message(), Some("hi"));
    world.end().await;
}
