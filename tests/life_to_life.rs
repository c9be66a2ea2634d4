//! What goes from one life of a thread's actor to the next, and in which order lives end. Each was
//! found by `tests/model`.

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentPath, EdgeStatus, Fact, LeaseKind, Limits, Op, RuntimeEvent, Script, ScriptedEngine,
    SpawnThread, Step, StoreError, Submission, SubmissionId, SubmitError, ThreadEvent,
    ThreadHandle, ThreadStatus,
};

/// Waits until the store was asked for it so often.
async fn asked(world: &World, op: StoreOp, times: usize) {
    let asked = async {
        while world.store.calls(op) < times {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BUDGET, asked).await.expect("the store is asked in time");
}

fn submit(
    thread: &ThreadHandle,
    submission: Submission,
) -> tokio::task::JoinHandle<Result<(), SubmitError>> {
    let thread = thread.clone();
    tokio::spawn(async move { thread.submit(submission).await.map(drop) })
}

// submit |── looked up ──✗ the actor crashes ── backoff ──✓ accepted by the next
#[tokio::test(start_paused = true)]
async fn a_submission_that_was_taken_up_and_not_accepted_waits_for_the_next_life() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    world.store.hold(StoreOp::Submission);
    let ids = ["first", "second"].map(|id| SubmissionId::new(id).unwrap());
    let sent = ids.clone().map(|id| submit(&thread, Submission::input(id.as_str()).with_id(id)));
    asked(&world, StoreOp::Submission, 1).await;
    thread.panic_for_test();
    tokio::task::yield_now().await;
    world.store.release(StoreOp::Submission);
    for sent in sent {
        sent.await.unwrap().expect("its caller waits for as long as it said");
    }
    for id in ids {
        let outcome = thread.outcome_within(&id, BUDGET).await.unwrap();
        assert_eq!(outcome.message(), Some(id.as_str()));
    }
    assert_eq!(thread.view().inbox, 0, "each gave its place back");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_write_that_nobody_hears_of_any_more_is_told_to_ask_again() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    world.store.hold(StoreOp::Append);
    let appends = world.store.calls(StoreOp::Append);
    let id = SubmissionId::new("once").unwrap();
    let again = Submission::input("hello").with_id(id.clone());
    let sent = submit(&thread, again.clone());
    asked(&world, StoreOp::Append, appends + 1).await;
    thread.panic_for_test();
    let answer = sent.await.unwrap();
    assert_eq!(answer, Err(SubmitError::Unknown { submission: id.clone() }));
    world.store.release(StoreOp::Append);
    thread.submit(again).await.unwrap();
    thread.outcome_within(&id, BUDGET).await.expect("accepted once, it has one outcome");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_hangs_below_a_crashed_thread_goes_down_last_started_first() {
    let world = World::new(ScriptedEngine::echo()).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    let mut below = Vec::new();
    let mut parent = root.id();
    for place in 0..24 {
        let child = world.spawn(SpawnThread::new().with_parent(parent)).await.unwrap().id();
        below.push(child);
        if place % 8 == 7 {
            parent = child;
        }
    }
    let mut tap = world.watch();
    root.panic_for_test();
    let mut gone = Vec::new();
    while gone.len() < below.len() {
        let ended = World::event(&mut tap, |event| {
            let ended = matches!(event.fact, Fact::Runtime(RuntimeEvent::ThreadEnded { .. }));
            ended && event.thread != Some(root.id())
        });
        gone.push(ended.await.thread.unwrap());
    }
    below.reverse();
    assert_eq!(gone, below);
    drop(tap);
    world.end().await;
}

// host 1   |── the root crashed, its restart is due ──────────── comes back, with its child
// host 2            |── closes the child ✓
#[tokio::test(start_paused = true)]
async fn what_another_host_closed_meanwhile_is_not_restarted() {
    let world = World::new(ScriptedEngine::echo()).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    let child = world.spawn(SpawnThread::new().with_parent(root.id())).await.unwrap();
    root.panic_for_test();
    let other = World::on(world.store.clone(), ScriptedEngine::echo(), Limits::default()).await;
    other.close(child.id(), BUDGET).await.unwrap();
    tokio::time::sleep(BUDGET).await;
    assert!(world.get(root.id()).is_some() && world.get(child.id()).is_none());
    let stored = world.stored(child.id()).await.unwrap();
    assert_eq!(stored.status, ThreadStatus::Shutdown);
    assert_eq!(stored.parent, Some((root.id(), EdgeStatus::Closed)), "its edge is not opened");
    world.end().await;
    other.end().await;
}

// child  |── mail starts a turn ──✗ goes down with its parent ── the turn is closed as interrupted
// parent |─────────────────────── ✗ ── back ─────────────────── hears of it
#[tokio::test(start_paused = true)]
async fn a_parent_hears_of_a_turn_that_mail_had_started_and_a_crash_ended() {
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "go" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    });
    let world = World::new(engine).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    let child = world.spawn(SpawnThread::new().with_parent(root.id())).await.unwrap();
    let mut tap = world.watch();
    let from = AgentPath::root();
    child.submit(Op::AgentMessage { from, content: "go".into(), trigger: true }).await.unwrap();
    World::event(&mut tap, |event| {
        matches!(event.fact, Fact::Thread(ThreadEvent::TurnStarted { .. }))
    })
    .await;
    root.panic_for_test();
    World::event(&mut tap, |event| {
        let mail = matches!(event.fact, Fact::Thread(ThreadEvent::MailReceived { .. }));
        mail && event.thread == Some(root.id())
    })
    .await;
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_close_that_meets_a_resume_that_fails_does_not_say_that_the_end_is_written() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let id = thread.id();
    thread.hibernate().await.unwrap();
    drop(thread);
    world.until(|audit| audit.count(LeaseKind::Slot) == 0).await;
    let full = StoreError::Unavailable { reason: "disk full".into() };
    world.store.fail_next(StoreOp::Acquire, full);
    let runtime = world.runtime().clone();
    let resumed = tokio::spawn(async move { runtime.resume(id).await.map(drop) });
    let runtime = world.runtime().clone();
    let closed = tokio::spawn(async move { runtime.close(id, BUDGET).await });
    assert!(resumed.await.unwrap().is_err());
    let report = closed.await.unwrap().unwrap();
    let is_shut = world.stored(id).await.unwrap().status == ThreadStatus::Shutdown;
    assert_eq!(report.completed.contains(&id), is_shut, "{report:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn two_who_send_a_thread_to_sleep_behind_a_write_are_both_answered() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    world.store.hold(StoreOp::Append);
    let appends = world.store.calls(StoreOp::Append);
    let item = serde_json::json!({"type": "message", "role": "user", "content": []});
    let sent = submit(&thread, Submission::new(Op::Inject { items: vec![item] }));
    asked(&world, StoreOp::Append, appends + 1).await;
    let sleeps = [(), ()].map(|()| {
        let thread = thread.clone();
        tokio::spawn(async move { thread.hibernate().await })
    });
    tokio::time::sleep(std::time::Duration::from_millis(1)).await; // virtual
    world.store.release(StoreOp::Append);
    sent.await.unwrap().unwrap();
    for slept in sleeps {
        slept.await.unwrap().unwrap();
    }
    assert_eq!(thread.status(), ThreadStatus::Dormant);
    world.end().await;
}
