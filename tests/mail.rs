//! Mail between agents, to threads in every phase (REF 7.8; SE-09 to SE-13 by id in the tests of the
//! thread's core, `core_tests::mail`).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentPath, History, Limits, RecordClass, RestartPolicy, Script, ScriptedEngine, SpawnThread,
    Step, Submission, SubmitError, ThreadConfig, ThreadHandle, ThreadStatus, Wait,
};

/// "post" spawns a sub-agent and sends mail to it; all else is said again, or does what it says.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "panic" => Script::new().panic("boom"),
        "answer" => Script::new()
            .say("the answer")
            .sleep(Duration::from_millis(100))
            .then(Step::TakeSteered),
        "work" => Script::new().sleep(Duration::from_millis(100)).then(Step::TakeSteered),
        text => Script::new().say(text),
    })
}

async fn spawn(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.expect("a root is spawned")
}

/// A thread whose restarts are spent.
async fn parked(world: &World) -> ThreadHandle {
    let mut restart = RestartPolicy::default();
    restart.limit.count = 0;
    let config = ThreadConfig::default().with_restart(restart);
    let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    thread.run("panic").await.unwrap();
    thread
}

async fn post(world: &World, to: &ThreadHandle, content: &str, trigger: bool) {
    world.mail(to.id(), AgentPath::root(), content, trigger).await.unwrap();
}

fn letters(history: &History) -> usize {
    let is_mail = |record: &&coppicer::Record| matches!(record.class, RecordClass::Envelope { .. });
    history.iter().filter(is_mail).count()
}

fn done(text: &str) -> ThreadStatus {
    ThreadStatus::Completed(Some(text.into()))
}

#[tokio::test(start_paused = true)]
async fn mail_joins_a_running_turn_before_its_answer_and_waits_for_the_next_after_it() {
    for (text, taken, left) in [("work", 1, "late"), ("answer", 0, "mail\nlate")] {
        let world = World::new(engine()).await;
        let thread = spawn(&world).await;
        let receipt = thread.submit(text).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        post(&world, &thread, "mail", false).await;
        thread.outcome(&receipt.submission).await.unwrap();
        let history = thread.history().await.unwrap();
        assert_eq!(letters(&history), taken, "{text}");
        let took = history.iter().filter_map(coppicer::text_of).next_back().unwrap();
        assert_eq!(took, format!("took 0 inputs and {taken} mails"));
        tokio::time::sleep(BUDGET).await;
        assert_eq!(thread.view().turns, 1, "mail without a trigger starts no turn");
        post(&world, &thread, "late", true).await;
        world.wait(&[thread.id()], Wait::All, BUDGET).await;
        assert_eq!(thread.status(), done(left));
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn mail_for_a_thread_that_sleeps_wakes_it_if_it_is_to_start_a_turn() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    thread.run("hello").await.unwrap();
    thread.hibernate().await.unwrap();
    post(&world, &thread, "quiet", false).await;
    assert_eq!(thread.view().turns, 1);
    thread.hibernate().await.unwrap();
    post(&world, &thread, "loud", true).await;
    world.wait(&[thread.id()], Wait::All, BUDGET).await;
    assert_eq!(thread.status(), done("quiet\nloud"), "in the order in which it came");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn mail_for_a_thread_that_pauses_after_a_crash_is_read_when_it_is_back() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    thread.run("panic").await.unwrap();
    assert_eq!(thread.status().name(), "crashed");
    post(&world, &thread, "quiet", false).await;
    post(&world, &thread, "loud", true).await;
    tokio::time::sleep(BUDGET).await;
    assert_eq!(thread.status(), done("quiet\nloud"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn mail_for_a_parked_thread_waits_until_it_is_revived() {
    let world = World::new(engine()).await;
    let thread = parked(&world).await;
    assert_eq!(thread.status(), ThreadStatus::Parked);
    post(&world, &thread, "quiet", false).await;
    post(&world, &thread, "loud", true).await;
    let refused = thread.submit("work").await.unwrap_err();
    assert_eq!(refused, SubmitError::Parked { thread: thread.id() }, "other work is refused");
    tokio::time::sleep(BUDGET).await;
    assert_eq!(thread.status(), ThreadStatus::Parked);
    thread.revive().await.unwrap();
    tokio::time::sleep(BUDGET).await;
    assert_eq!(thread.status(), done("quiet\nloud"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn mail_for_a_parked_thread_is_there_after_its_host_died() {
    let world = World::new(engine()).await;
    let thread = parked(&world).await;
    post(&world, &thread, "loud", true).await;
    let next = World::on(world.store.clone(), engine(), Limits::default()).await;
    let again = next.resume(thread.id()).await.unwrap();
    assert_eq!(again.status(), ThreadStatus::Parked);
    again.revive().await.unwrap();
    tokio::time::sleep(BUDGET).await;
    assert_eq!(again.status(), done("loud"));
    next.end().await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn mail_for_a_thread_that_closes_or_is_closed_is_refused() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    thread.submit("work").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let (closed, refused) = tokio::join!(world.close(thread.id(), BUDGET), async {
        tokio::task::yield_now().await;
        world.mail(thread.id(), AgentPath::root(), "mail", true).await
    });
    closed.unwrap();
    assert_eq!(refused, Err(SubmitError::Closed { thread: thread.id() }));
    let refused = world.mail(thread.id(), AgentPath::root(), "mail", true).await;
    assert_eq!(refused, Err(SubmitError::Closed { thread: thread.id() }));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_last_asked_of_a_thread_is_shown_in_short() {
    let world = World::new(engine()).await;
    let thread = spawn(&world).await;
    assert_eq!(thread.view().last_task, None);
    thread.submit(Submission::input("x".repeat(1_000))).await.unwrap();
    assert_eq!(thread.view().last_task.unwrap().len(), 256);
    post(&world, &thread, "by mail", false).await;
    assert_eq!(thread.view().last_task.as_deref(), Some("by mail"));
    assert!(thread.submit("").await.is_err());
    assert_eq!(thread.view().last_task.as_deref(), Some("by mail"), "a refusal changes nothing");
    world.end().await;
}

// parent   |── rests, room for 8 mails ─────────|■ turn ■|■ turn ■| ...
// child    |■|■|■| 50 turns, each told once |✗ back
#[tokio::test(start_paused = true)]
async fn p12_a_parent_with_more_notices_than_it_has_room_for_reads_each_once_and_in_order() {
    let mut limits = Limits::default();
    limits.mail_max = 8;
    let world = World::with_limits(engine(), limits).await;
    let parent = spawn(&world).await;
    let child = world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap();
    for n in 0..50 {
        child.run(format!("turn {n}")).await.unwrap();
    }
    assert_eq!(world.why(parent.id()).await.unwrap().mail, 50, "some here, the rest in the store");
    child.panic_for_test();
    tokio::time::sleep(BUDGET).await;
    assert!(child.view().crashes > 0 && child.status() == done("turn 49"));
    let mut rounds = 0;
    while world.why(parent.id()).await.unwrap().mail > 0 {
        parent.run("work").await.unwrap();
        rounds += 1;
        assert!(rounds <= 10, "each turn takes what there is room for");
    }
    let history = parent.history().await.unwrap();
    let told: Vec<usize> = (0..50)
        .map(|n| {
            let said = format!("turn {n}\"");
            let is_it = |record: &&coppicer::Record| {
                matches!(record.class, RecordClass::Envelope { .. })
                    && String::from_utf8_lossy(&record.raw).replace('\\', "").contains(&said)
            };
            let places: Vec<usize> = history
                .iter()
                .enumerate()
                .filter(|(_, record)| is_it(record))
                .map(|(at, _)| at)
                .collect();
            assert_eq!(places.len(), 1, "{said} is told once");
            places[0]
        })
        .collect();
    assert!(told.is_sorted(), "in the order in which it came");
    assert_eq!(letters(&history), 50);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_with_a_full_mailbox_answers_while_its_children_come_back() {
    let mut limits = Limits::default();
    limits.mail_max = 16;
    let world = World::with_limits(engine(), limits).await;
    let parent = spawn(&world).await;
    let child = world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap();
    for n in 0..600 {
        child.run(n.to_string()).await.unwrap();
    }
    // What is read of a mailbox that has no room is whether there is more: not one page of it.
    let before = world.store.mails_read();
    child.panic_for_test();
    tokio::time::sleep(BUDGET).await;
    parent.interrupt().await.unwrap();
    assert_eq!(world.store.mails_read() - before, 0);
    world.end().await;
}
