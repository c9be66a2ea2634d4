//! Waits that can never end are refused when they begin.

use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Fact, Outcome, Script, ScriptedEngine, SpawnThread, Step, SubmissionId, Tap, TapItem,
    ThreadEvent, ThreadHandle, ThreadId, Wait,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// Turns do what they are told: `any` and `all` wait for ids after so many seconds, while which they
/// count as busy; `sleep` sleeps for so many; else they say it.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| {
        let text = input.text();
        let words: Vec<&str> = text.split(' ').collect();
        let after = || Script::new().sleep(SECOND * words[1].parse().expect("seconds"));
        let ids = || words[2..].iter().map(|id| id.parse::<ThreadId>().expect("an id")).collect();
        match words[0] {
            "any" => after().then(Step::WaitFor(ids(), Wait::Any, HOUR)).say("waited"),
            "all" => after().then(Step::WaitFor(ids(), Wait::All, HOUR)).say("waited"),
            "sleep" => after().say("slept"),
            text => Script::new().say(text),
        }
    })
}

async fn threads<const N: usize>(world: &World) -> [ThreadHandle; N] {
    let mut threads = Vec::new();
    for _ in 0..N {
        threads.push(world.spawn(SpawnThread::new()).await.expect("a thread starts"));
    }
    threads.try_into().expect("as many as asked for")
}

/// Has a thread wait for others after so many seconds.
async fn wait(
    thread: &ThreadHandle,
    how: &str,
    after: u32,
    others: &[&ThreadHandle],
) -> SubmissionId {
    let ids = others.iter().map(|thread| thread.id().to_string());
    let words = [how.to_owned(), after.to_string()].into_iter().chain(ids);
    thread.submit(words.collect::<Vec<_>>().join(" ")).await.expect("accepted").submission
}

async fn sleep(thread: &ThreadHandle, seconds: u32) -> SubmissionId {
    thread.submit(format!("sleep {seconds}")).await.expect("accepted").submission
}

/// How it ended, which is before its wait's own deadline.
async fn ended(thread: &ThreadHandle, submission: &SubmissionId) -> Outcome {
    thread.outcome_within(submission, HOUR / 2).await.expect("it does not wait for ever")
}

fn is_refusal(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { error } if error.contains("cycle of waits"))
}

fn cycles(tap: &mut Tap) -> Vec<(ThreadId, Vec<ThreadId>)> {
    let mut found = Vec::new();
    while let Some(Some(item)) = futures::FutureExt::now_or_never(tap.next()) {
        if let TapItem::Event(event) = item
            && let Fact::Thread(ThreadEvent::WaitCycle { threads }) = &event.fact
        {
            found.push((event.thread.expect("a thread's fact"), threads.clone()));
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_itself_is_refused_at_once() {
    let world = World::new(engine()).await;
    let mut tap = world.watch();
    let [one] = threads(&world).await;
    let begin = tokio::time::Instant::now();
    let submission = wait(&one, "all", 1, &[&one]).await;
    assert!(is_refusal(&ended(&one, &submission).await));
    assert!(begin.elapsed() < 2 * SECOND, "at once, not by its deadline");
    assert_eq!(cycles(&mut tap), [(one.id(), vec![one.id()])]);
    drop(tap);
    world.end().await;
}

// a ──► b ──► c
// ▲───────────┘ refused; then b and a go on
#[tokio::test(start_paused = true)]
async fn the_wait_that_closes_a_ring_is_refused_and_the_others_go_on() {
    let world = World::new(engine()).await;
    let mut tap = world.watch();
    let [a, b, c] = threads(&world).await;
    let first = wait(&a, "all", 1, &[&b]).await;
    let second = wait(&b, "any", 2, &[&c]).await;
    let third = wait(&c, "all", 3, &[&a]).await;
    assert!(is_refusal(&ended(&c, &third).await));
    assert_eq!(cycles(&mut tap), [(c.id(), vec![c.id(), a.id(), b.id()])]);
    assert_eq!(ended(&b, &second).await.message(), Some("waited"));
    assert_eq!(ended(&a, &first).await.message(), Some("waited"));
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_any_is_no_cycle_while_one_of_them_works() {
    let world = World::new(engine()).await;
    let mut tap = world.watch();
    let [a, b, works] = threads(&world).await;
    let slept = sleep(&works, 60).await;
    let second = wait(&b, "all", 2, &[&a]).await;
    let first = wait(&a, "any", 1, &[&b, &works]).await;
    for (thread, submission) in [(&works, slept), (&a, first), (&b, second)] {
        assert!(matches!(ended(thread, &submission).await, Outcome::Completed { .. }));
    }
    assert_eq!(cycles(&mut tap), []);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_that_could_end_a_wait_for_any_closes_the_cycle() {
    let world = World::new(engine()).await;
    let mut tap = world.watch();
    let [a, b, c] = threads(&world).await;
    let first = wait(&a, "any", 1, &[&b, &c]).await;
    let second = wait(&b, "all", 2, &[&a]).await;
    let third = wait(&c, "all", 3, &[&a]).await;
    assert!(is_refusal(&ended(&c, &third).await));
    let found = cycles(&mut tap);
    assert_eq!(found.len(), 1, "the wait of b was none: c could still end that of a");
    assert_eq!(found[0].0, c.id());
    assert_eq!(ended(&a, &first).await.message(), Some("waited"));
    assert_eq!(ended(&b, &second).await.message(), Some("waited"));
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn two_waits_that_close_a_cycle_in_the_same_moment_do_not_both_miss_it() {
    let world = World::new(engine()).await;
    let [a, b] = threads(&world).await;
    let first = wait(&a, "all", 1, &[&b]).await;
    let second = wait(&b, "all", 1, &[&a]).await;
    let both = [ended(&a, &first).await, ended(&b, &second).await];
    assert!(both.iter().any(is_refusal), "{both:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_waits_on_two_workers_do_not_both_miss_their_cycle() {
    let world = World::new(ScriptedEngine::new(|_, input| {
        let other = input.text().parse::<ThreadId>().unwrap();
        // A moment in which both are running before either waits.
        Script::new().sleep(Duration::from_millis(20)).then(Step::WaitFor(
            vec![other],
            Wait::All,
            HOUR,
        ))
    }))
    .await;
    for _ in 0..25 {
        let [a, b] = threads(&world).await;
        let both = async { tokio::join!(a.run(b.id().to_string()), b.run(a.id().to_string())) };
        let (one, other) =
            tokio::time::timeout(BUDGET, both).await.expect("neither waits for an hour");
        assert!(is_refusal(&one.unwrap()) || is_refusal(&other.unwrap()));
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_chain_of_waits_is_none_and_ends_from_its_end() {
    let world = World::new(engine()).await;
    let mut tap = world.watch();
    let [last] = threads(&world).await;
    sleep(&last, 60).await;
    let (mut before, mut chain) = (last, Vec::new());
    for _ in 0..100 {
        let [thread] = threads(&world).await;
        let submission = wait(&thread, "all", 1, &[&before]).await;
        chain.push((thread.clone(), submission));
        before = thread;
    }
    for (thread, submission) in &chain {
        assert_eq!(ended(thread, submission).await.message(), Some("waited"));
    }
    assert_eq!(cycles(&mut tap), []);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_given_up_closes_no_cycle() {
    let world = World::new(engine()).await;
    let mut tap = world.watch();
    let [a, b] = threads(&world).await;
    let second = wait(&b, "all", 9, &[&a]).await;
    wait(&a, "all", 1, &[&b]).await;
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(world.why(b.id()).await.unwrap().waiters, [a.id()]);
    a.interrupt().await.unwrap();
    assert_eq!(world.why(b.id()).await.unwrap().waiters, [], "nobody waits for it any more");
    assert_eq!(ended(&b, &second).await.message(), Some("waited"));
    assert_eq!(cycles(&mut tap), []);
    drop(tap);
    world.end().await;
}
