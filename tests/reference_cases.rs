//! Cases of the reference system that our runtime must pass too, by their ids in REF 12.
//!
//! Where REF speaks of a manager that was dropped, a runtime has ended; where it looks into its log
//! of ops, `SubmissionAccepted` events and the durable history tell.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    AbortReason, AgentPath, Delivery, EdgeStatus, Ended, Event, EventKind, Fact, ForkPoint,
    History, ImportThread, Interrupted, Line, NewThread, Op, Outcome, RecordClass, Rung,
    RuntimeEvent, Script, ScriptedEngine, SpawnError, SpawnThread, Step, Submission, SubmissionId,
    SubmitError, Tap, TapEvent, TapFilter, TapItem, TapOptions, ThreadConfig, ThreadEvent,
    ThreadHandle, ThreadId, ThreadStatus, TurnId,
};
use serde_json::json;

/// What turns do by what they are told: "hang" until cancelled, "ignore" that they are cancelled,
/// "work" until the host answers and then take what came meanwhile; all else is said again.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        "ignore" => Script::new().then(Step::IgnoreCancel(Duration::from_secs(60))),
        "work" => Script::new()
            .then(Step::Ask(json!("go on?"), Duration::from_secs(60)))
            .then(Step::TakeSteered),
        text => Script::new().say(text),
    })
}

async fn world() -> World {
    World::new(engine()).await
}

fn unknown() -> ThreadId {
    "0197f0a2-4c11-7d3e-9a55-0c6f3a1b2c3d".parse().unwrap()
}

fn tap(world: &World, kinds: impl IntoIterator<Item = EventKind>) -> Tap {
    world.tap(TapOptions::matching(TapFilter::all().kinds(kinds))).unwrap()
}

async fn spawn(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.unwrap()
}

/// Starts a turn and returns once it runs.
async fn start(world: &World, thread: &ThreadHandle, text: &str) -> TurnId {
    let mut turns = tap(world, [EventKind::Turn]);
    let receipt = thread.submit(text).await.unwrap();
    let started = World::event(&mut turns, |event| {
        event.thread == Some(thread.id())
            && matches!(event.fact, Fact::Thread(ThreadEvent::TurnStarted { .. }))
    });
    let turn = started.await.turn.clone().unwrap();
    assert_eq!(turn.as_str(), receipt.submission.as_str());
    turn
}

/// Starts a turn that waits for its host.
async fn start_work(world: &World, thread: &ThreadHandle) -> TurnId {
    let mut questions = tap(world, [EventKind::Question]);
    let turn = start(world, thread, "work").await;
    World::event(&mut questions, |event| event.turn.as_ref() == Some(&turn)).await;
    turn
}

async fn go_on(thread: &ThreadHandle, turn: &TurnId) -> Outcome {
    thread.answer(format!("{turn}/q1").into(), json!("yes")).await.unwrap();
    thread.outcome(&SubmissionId::new(turn.as_str()).unwrap()).await.unwrap()
}

fn drain(tap: &mut Tap) -> Vec<TapEvent> {
    let mut events = Vec::new();
    while let Some(item) = tap.try_next() {
        match item {
            TapItem::Event(event) => events.push(event),
            other => panic!("the tap lost events: {other:?}"),
        }
    }
    events
}

fn classes(history: &History) -> Vec<RecordClass> {
    history.iter().map(|record| record.class.clone()).collect()
}

fn steer(expected: Option<&str>) -> Delivery {
    Delivery::Steer { expected: expected.map(|turn| TurnId::new(turn).unwrap()) }
}

fn input(text: &str, delivery: Delivery) -> Submission {
    Submission::input(text).with_delivery(delivery)
}

fn sorted<const N: usize>(handles: [&ThreadHandle; N]) -> Vec<ThreadId> {
    let mut ids: Vec<ThreadId> = handles.iter().map(|handle| handle.id()).collect();
    ids.sort_by_key(ToString::to_string);
    ids
}

// 12.1 The manager.

#[tokio::test(start_paused = true)]
async fn tm_03_a_bare_number_is_a_fork_point() {
    assert_eq!(ForkPoint::from(3), ForkPoint::BeforeUserMessage(3));
    let world = world().await;
    let source = spawn(&world).await;
    for text in ["one", "two"] {
        source.run(text).await.unwrap();
    }
    let fork = world.fork(source.id(), 1).await.unwrap();
    let users = |history: &History| {
        history.iter().filter(|record| record.class == RecordClass::UserMessage).count()
    };
    assert_eq!(users(&fork.history().await.unwrap()), 1);
    assert_eq!(users(&source.history().await.unwrap()), 2, "the source is unchanged");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tm_06_shutdown_all_reports_both_roots_sorted() {
    let world = world().await;
    let (first, second) = (spawn(&world).await, spawn(&world).await);
    let report = world.close_all(Duration::from_secs(10)).await.unwrap();
    assert_eq!(report.completed, sorted([&first, &second]));
    assert!(report.submit_failed.is_empty() && report.timed_out.is_empty());
    assert!(world.list().is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tm_09_an_internal_thread_is_hidden_and_is_shut_down_with_everything() {
    let world = world().await;
    let hidden = SpawnThread::new().with_config(ThreadConfig::default().internal());
    let hidden = world.spawn(hidden).await.unwrap();
    assert!(world.list().is_empty());
    assert_eq!(world.get(hidden.id()), None);
    assert_eq!(world.status(hidden.id()), ThreadStatus::NotFound);
    let report = world.close_all(Duration::from_secs(10)).await.unwrap();
    assert_eq!(report.completed, [hidden.id()]);
    assert!(report.submit_failed.is_empty() && report.timed_out.is_empty());
    world.end().await;
}

/// A thread that was imported from the rollout `a.jsonl`, and runs.
async fn imported(world: &World) -> ThreadHandle {
    let mut thread = NewThread::root(unknown(), 1);
    thread.rollout_path = Some("a.jsonl".into());
    let mut history = History::new();
    for record in Line::user_message(1, "hello") {
        history.append(record);
    }
    world.import(ImportThread::new(thread, history)).await.unwrap();
    world.resume_from(unknown(), "a.jsonl").await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn tm_12_resuming_a_running_thread_gives_the_same_handle() {
    let world = world().await;
    let thread = imported(&world).await;
    assert_eq!(world.resume_from(thread.id(), "a.jsonl").await.unwrap(), thread);
    assert_eq!(world.resume(thread.id()).await.unwrap(), thread, "no path matches every one");
    let refused = world.resume_from(thread.id(), "b.jsonl").await;
    assert_eq!(refused, Err(SpawnError::PathMismatch { thread: thread.id() }));
    assert_eq!(world.list().len(), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tm_13_resuming_a_thread_that_was_shut_down_gives_a_new_handle_of_the_same_id() {
    let world = world().await;
    let old = imported(&world).await;
    old.close(BUDGET).await.unwrap();
    let new = world.resume_from(old.id(), "a.jsonl").await.unwrap();
    assert_eq!(new.id(), old.id());
    assert_ne!(new, old);
    assert_eq!((old.status(), new.status()), (ThreadStatus::Shutdown, ThreadStatus::PendingInit));
    let closed = Err(SubmitError::Closed { thread: old.id() });
    assert_eq!(old.submit("late").await, closed, "the old one stays closed");
    new.run("hello").await.unwrap();
    world.end().await;
}

// 12.2 Agent control.

#[tokio::test(start_paused = true)]
async fn ac_02_ac_03_ac_09_ac_10_when_the_runtime_has_ended_it_says_so() {
    let world = world().await;
    let thread = spawn(&world).await;
    world.shutdown(BUDGET).await.unwrap();
    for id in [thread.id(), unknown()] {
        assert_eq!(world.submit(id, "hello").await, Err(SubmitError::RuntimeEnded), "AC-02");
        assert_eq!(world.status(id), ThreadStatus::NotFound, "AC-03");
        assert_eq!(world.resume(id).await, Err(SpawnError::RuntimeEnded), "AC-10");
    }
    let spawned = world.spawn(SpawnThread::new()).await;
    assert_eq!(spawned, Err(SpawnError::RuntimeEnded), "AC-09");
    assert!(world.tap(TapOptions::all()).is_err());
}

// AC-04 to AC-08, the pure mapping, stand beside `status_after`. Here is what they come to.
#[tokio::test(start_paused = true)]
async fn ac_04_to_ac_08_a_thread_shows_each_status_of_the_reference() {
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "fail" => Script::new().fail(coppicer::EngineError::fatal("boom")),
        "hang" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    });
    let world = World::new(engine).await;
    let thread = spawn(&world).await;
    thread.run("done").await.unwrap();
    assert_eq!(thread.status(), ThreadStatus::Completed(Some("done".into())), "AC-05");
    thread.run("fail").await.unwrap();
    assert_eq!(thread.status(), ThreadStatus::Errored("boom".into()), "AC-06");
    start(&world, &thread, "hang").await;
    assert_eq!(thread.status(), ThreadStatus::Running, "AC-04");
    thread.interrupt().await.unwrap();
    assert_eq!(thread.status(), ThreadStatus::Interrupted, "AC-07");
    thread.close(BUDGET).await.unwrap();
    assert_eq!(thread.status(), ThreadStatus::Shutdown, "AC-08");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_11_ac_12_an_unknown_thread_takes_no_input_and_is_not_found() {
    let world = world().await;
    let thread = unknown();
    assert_eq!(world.submit(thread, "hello").await, Err(SubmitError::NotFound { thread }));
    assert_eq!(world.status(thread), ThreadStatus::NotFound);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_13_a_started_thread_is_pending_init() {
    let world = world().await;
    let thread = spawn(&world).await;
    assert_eq!(world.status(thread.id()), ThreadStatus::PendingInit);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_14_there_is_no_handle_to_subscribe_through_for_an_unknown_thread() {
    let world = world().await;
    assert_eq!(world.get(unknown()), None);
    let resumed = world.resume(unknown()).await;
    assert_eq!(resumed, Err(SpawnError::NotFound { thread: unknown() }));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_15_a_subscriber_sees_a_thread_shut_down() {
    let world = world().await;
    let thread = spawn(&world).await;
    assert_eq!(thread.status(), ThreadStatus::PendingInit);
    let mut changes = thread.status_changes().unwrap();
    thread.submit(Op::Close).await.unwrap();
    World::event(&mut changes, |event| {
        matches!(
            &event.fact,
            Fact::Thread(ThreadEvent::StatusChanged { status: ThreadStatus::Shutdown, .. })
        )
    })
    .await;
    assert_eq!(thread.status(), ThreadStatus::Shutdown);
    drop(changes);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_16_input_is_accepted_under_an_id_and_is_in_the_history_as_it_was_sent() {
    let world = world().await;
    let thread = spawn(&world).await;
    let mut accepted = tap(&world, [EventKind::Submission]);
    let receipt = thread.submit("ping-1").await.unwrap();
    assert!(!receipt.submission.as_str().is_empty());
    let event = World::event(&mut accepted, |_| true).await;
    let expected = ThreadEvent::SubmissionAccepted {
        submission: receipt.submission.clone(),
        op: "user_input".into(),
    };
    assert_eq!((event.thread, &event.fact), (Some(thread.id()), &Fact::Thread(expected)));
    thread.outcome(&receipt.submission).await.unwrap();
    let history = thread.history().await.unwrap();
    let said: Vec<_> =
        history.iter().filter(|record| record.class == RecordClass::UserMessage).collect();
    assert_eq!(said.len(), 1);
    let line: serde_json::Value = serde_json::from_slice(&said[0].raw).unwrap();
    assert_eq!(line["payload"]["content"], json!([{ "type": "input_text", "text": "ping-1" }]));
    drop(accepted);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_17_queue_only_mail_waits_and_starts_no_turn() {
    let world = world().await;
    let thread = spawn(&world).await;
    let mut events = tap(&world, [EventKind::Submission, EventKind::Mail, EventKind::Turn]);
    let mail =
        |trigger| Op::AgentMessage { from: AgentPath::root(), content: "ping-1".into(), trigger };
    let receipt = thread.submit(mail(false)).await.unwrap();
    assert!(!receipt.submission.as_str().is_empty());
    World::event(&mut events, |event| {
        matches!(&event.fact, Fact::Thread(ThreadEvent::MailReceived { mail })
            if &**mail == receipt.submission.as_str())
    })
    .await;
    assert_eq!(thread.status(), ThreadStatus::PendingInit);
    let envelope = |class: &RecordClass| matches!(class, RecordClass::Envelope { .. });
    let history = thread.history().await.unwrap();
    assert!(!classes(&history).iter().any(envelope), "it is not in the history yet");
    tokio::time::advance(Duration::from_secs(5)).await;
    let started = |event: &Event| event.fact.kind() == EventKind::Turn;
    assert!(!drain(&mut events).iter().any(|event| started(event)), "no turn starts");
    // It is read with the next turn, whatever starts that.
    thread.run("hello").await.unwrap();
    let history = thread.history().await.unwrap();
    assert_eq!(classes(&history).iter().filter(|class| envelope(class)).count(), 1);
    drop(events);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_18_a_thread_is_spawned_with_its_first_input() {
    let world = world().await;
    let mut accepted = tap(&world, [EventKind::Submission]);
    let thread = world.spawn(SpawnThread::new().with_first("spawned")).await.unwrap();
    assert_eq!(world.get(thread.id()), Some(thread.clone()));
    let event = World::event(&mut accepted, |_| true).await;
    assert_eq!(event.thread, Some(thread.id()));
    let Fact::Thread(ThreadEvent::SubmissionAccepted { submission, op }) = &event.fact else {
        panic!("{event:?}");
    };
    assert_eq!(op, "user_input");
    let outcome = thread.outcome(submission).await.unwrap();
    assert_eq!(outcome, Outcome::Completed { message: Some("spawned".into()) });
    drop(accepted);
    world.end().await;
}

/// P, c below it, g below that.
struct Tree {
    p: ThreadHandle,
    c: ThreadHandle,
    g: ThreadHandle,
}

impl Tree {
    async fn grow(world: &World) -> Self {
        let below = |parent: &ThreadHandle, role: &str| {
            let config = ThreadConfig::default().with_role(role);
            SpawnThread::new().with_parent(parent.id()).with_config(config)
        };
        let p = spawn(world).await;
        let c = world.spawn(below(&p, "explorer")).await.unwrap();
        let g = world.spawn(below(&c, "worker")).await.unwrap();
        for thread in [&p, &c, &g] {
            thread.run("persist").await.unwrap();
        }
        Self { p, c, g }
    }

    fn ids(&self) -> [ThreadId; 3] {
        [self.p.id(), self.c.id(), self.g.id()]
    }

    fn statuses(&self, world: &World) -> [&'static str; 3] {
        self.ids().map(|thread| world.status(thread).name())
    }
}

/// Which threads ended because they were closed, in order.
fn closed(events: &mut Tap) -> Vec<ThreadId> {
    let closed = |event: &Event| {
        let how = Ended::Closed { rung: Rung::Drained };
        event.fact == Fact::Runtime(RuntimeEvent::ThreadEnded { how })
    };
    let events = drain(events);
    events.iter().filter(|event| closed(event)).filter_map(|event| event.thread).collect()
}

const GONE: [&str; 3] = ["not_found"; 3];
const HERE: [&str; 3] = ["pending_init"; 3];

#[tokio::test(start_paused = true)]
async fn ac_40_closing_a_tree_closes_each_thread_once_children_first() {
    let world = world().await;
    let tree = Tree::grow(&world).await;
    let mut events = tap(&world, [EventKind::Runtime]);
    let report = world.close(tree.p.id(), BUDGET).await.unwrap();
    assert_eq!(report.completed, sorted([&tree.p, &tree.c, &tree.g]));
    assert_eq!(tree.statuses(&world), GONE);
    assert_eq!(closed(&mut events), [tree.g.id(), tree.c.id(), tree.p.id()]);
    drop(events);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_41_what_was_closed_before_its_tree_is_not_closed_again() {
    let world = world().await;
    let tree = Tree::grow(&world).await;
    let mut events = tap(&world, [EventKind::Runtime]);
    let report = world.close(tree.c.id(), BUDGET).await.unwrap();
    assert_eq!(report.completed, sorted([&tree.c, &tree.g]));
    let report = world.close(tree.p.id(), BUDGET).await.unwrap();
    assert_eq!(report.completed, [tree.p.id()]);
    assert_eq!(tree.statuses(&world), GONE);
    assert_eq!(closed(&mut events), [tree.g.id(), tree.c.id(), tree.p.id()]);
    drop(events);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_42_a_closed_edge_keeps_its_branch_out_of_a_resume() {
    let world = world().await;
    let tree = Tree::grow(&world).await;
    world.close(tree.c.id(), BUDGET).await.unwrap();
    world.close(tree.p.id(), BUDGET).await.unwrap();
    let resumed = world.resume_tree(tree.p.id()).await.unwrap();
    assert!(resumed.below.is_empty() && resumed.failed.is_empty(), "{resumed:?}");
    assert_eq!(tree.statuses(&world), ["pending_init", "not_found", "not_found"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_42_a_closed_branch_that_is_resumed_belongs_to_its_tree_again() {
    // REF 3.9, step 6: a resume opens the edge again. Edges below it had stayed open.
    let world = world().await;
    let tree = Tree::grow(&world).await;
    world.close(tree.c.id(), BUDGET).await.unwrap();
    let open =
        || async { world.store().children(tree.p.id(), Some(EdgeStatus::Open)).await.unwrap() };
    assert_eq!(open().await, []);
    let resumed = world.resume_tree(tree.c.id()).await.unwrap();
    assert_eq!(resumed.below.iter().map(ThreadHandle::id).collect::<Vec<_>>(), [tree.g.id()]);
    assert_eq!(open().await, [tree.c.id()]);
    world.close_all(BUDGET).await.unwrap();
    world.resume_tree(tree.p.id()).await.unwrap();
    assert_eq!(tree.statuses(&world), HERE);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_44_after_a_shutdown_of_all_a_resume_brings_the_whole_tree_back() {
    let world = world().await;
    let tree = Tree::grow(&world).await;
    let report = world.close_all(Duration::from_secs(5)).await.unwrap();
    assert!(report.submit_failed.is_empty() && report.timed_out.is_empty());
    assert_eq!(tree.statuses(&world), GONE);
    let resumed = world.resume_tree(tree.p.id()).await.unwrap();
    let below: Vec<ThreadId> = resumed.below.iter().map(ThreadHandle::id).collect();
    assert_eq!(below, [tree.c.id(), tree.g.id()], "parents before children");
    assert_eq!(tree.statuses(&world), HERE);
    let view = world.get(tree.g.id()).unwrap().view();
    assert_eq!((view.parent, view.depth), (Some(tree.c.id()), 2), "where it was before");
    assert_eq!(view.role.as_deref(), Some("worker"));
    world.end().await;
}

// 12.9 Steering, abort, shutdown.

#[tokio::test(start_paused = true)]
async fn se_01_an_idle_thread_cannot_be_steered() {
    let world = world().await;
    let thread = spawn(&world).await;
    let refused = thread.submit(input("steer", steer(None))).await;
    assert_eq!(refused, Err(SubmitError::NoActiveTurn));
    assert_eq!(thread.status(), ThreadStatus::PendingInit, "a refusal never moves a status");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_02_steering_another_turn_than_the_running_one_is_refused() {
    let world = world().await;
    let thread = spawn(&world).await;
    let turn = start(&world, &thread, "hang").await;
    let refused = thread.submit(input("steer", steer(Some("different-turn-id")))).await;
    let expected = TurnId::new("different-turn-id").unwrap();
    assert_eq!(refused, Err(SubmitError::ExpectedTurnMismatch { expected, actual: turn }));
    assert_eq!(thread.status(), ThreadStatus::Running, "a refusal never moves a status");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_03_a_compaction_takes_no_input() {
    // REF's other half is its reviews: they are turns like any other here, and take input.
    let compact = ScriptedEngine::always(Script::new().then(Step::Hang));
    let world = World::new(compact).await;
    let thread = spawn(&world).await;
    let mut turns = tap(&world, [EventKind::Turn]);
    thread.submit(Op::Compact).await.unwrap();
    let turn = World::event(&mut turns, |_| true).await.turn.clone().unwrap();
    let refused = thread.submit(input("steer", steer(None))).await;
    assert_eq!(refused, Err(SubmitError::NotSteerable { turn, kind: "compact" }));
    drop(turns);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_04_steered_input_joins_the_running_turn_and_shares_its_outcome() {
    let world = world().await;
    let thread = spawn(&world).await;
    let turn = start_work(&world, &thread).await;
    let receipt = thread.submit(input("follow up", steer(Some(turn.as_str())))).await.unwrap();
    assert_eq!(receipt.steered, Some(turn.clone()));
    assert_eq!(thread.view().inbox, 1, "it waits to be taken");
    let outcome = go_on(&thread, &turn).await;
    assert_eq!(outcome.message(), Some("took 1 inputs and 0 mails"));
    assert_eq!(thread.outcome(&receipt.submission).await.unwrap(), outcome);
    assert_eq!(thread.view().inbox, 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_05_an_interrupt_leaves_a_marker_then_the_aborted_turn_and_nothing_after() {
    for (text, rung) in [("hang", Rung::Stopped), ("ignore", Rung::Killed)] {
        let world = world().await;
        let thread = spawn(&world).await;
        let turn = start(&world, &thread, text).await;
        let mut records = tap(&world, [EventKind::Record]);
        let found = thread.interrupt().await.unwrap();
        assert_eq!(found, Interrupted::Turn { turn: turn.clone(), rung }, "{text}");
        let aborted = RecordClass::TurnAborted {
            turn: Some((&turn).into()),
            reason: AbortReason::Interrupted,
        };
        let expected = [RecordClass::ContextualUserMessage, aborted];
        let appended: Vec<RecordClass> = drain(&mut records)
            .iter()
            .map(|event| match &event.fact {
                Fact::Thread(ThreadEvent::RecordAppended { class, .. }) => class.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(appended, expected, "{text}");
        tokio::time::advance(Duration::from_secs(61)).await;
        let history = thread.history().await.unwrap();
        assert_eq!(classes(&history)[history.len() as usize - 2..], expected, "{text}");
        drop(records);
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn se_07_input_that_needs_an_idle_thread_is_refused_while_a_turn_runs() {
    let world = world().await;
    let thread = spawn(&world).await;
    let turn = start(&world, &thread, "hang").await;
    let head = thread.history().await.unwrap().len();
    let refused = thread.submit(input("item", Delivery::Refuse)).await;
    assert_eq!(refused, Err(SubmitError::Busy { turn }));
    assert_eq!(thread.view().inbox, 0, "nothing waits");
    assert_eq!(thread.history().await.unwrap().len(), head);
    thread.interrupt().await.unwrap();
    thread.submit(input("item", Delivery::Refuse)).await.unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_11_a_running_turn_takes_steered_input_before_mail() {
    let world = world().await;
    let thread = spawn(&world).await;
    let turn = start_work(&world, &thread).await;
    let head = thread.history().await.unwrap().next_seq();
    let mail = Op::AgentMessage { from: AgentPath::root(), content: "mail".into(), trigger: false };
    thread.submit(mail).await.unwrap();
    thread.submit(input("follow up", steer(None))).await.unwrap();
    let outcome = go_on(&thread, &turn).await;
    assert_eq!(outcome.message(), Some("took 1 inputs and 1 mails"));
    let history = thread.history().await.unwrap();
    let taken: Vec<&str> = history
        .iter_from(head)
        .map(|record| record.class.name())
        .filter(|name| ["user_message", "envelope"].contains(name))
        .collect();
    assert_eq!(taken, ["user_message", "envelope"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn se_17_two_closes_at_once_both_succeed() {
    for text in ["hello", "hang", "ignore"] {
        let world = world().await;
        let thread = spawn(&world).await;
        start(&world, &thread, text).await;
        let mut events = tap(&world, [EventKind::Runtime]);
        let (first, second) = tokio::join!(thread.close(BUDGET), thread.close(BUDGET));
        for report in [first, second] {
            let report = report.unwrap();
            assert_eq!(report.completed, [thread.id()], "{text}: {report:?}");
        }
        let ended = drain(&mut events);
        let ended = ended
            .iter()
            .filter(|event| matches!(event.fact, Fact::Runtime(RuntimeEvent::ThreadEnded { .. })));
        assert_eq!(ended.count(), 1, "{text}: it ends once");
        drop(events);
        // A third one finds it closed, which is a success too.
        thread.close(BUDGET).await.unwrap();
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rb_07_a_rollback_is_refused_while_a_turn_runs() {
    let world = world().await;
    let thread = spawn(&world).await;
    thread.run("hello").await.unwrap();
    let turn = start(&world, &thread, "hang").await;
    let before = thread.history().await.unwrap();
    let refused = thread.submit(Op::Rollback { turns: 1 }).await;
    assert_eq!(refused, Err(SubmitError::Busy { turn }));
    assert_eq!(classes(&thread.history().await.unwrap()), classes(&before));
    assert_eq!(thread.status(), ThreadStatus::Running, "a refusal never moves a status");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn rb_08_a_rollback_of_no_turns_is_refused() {
    let world = world().await;
    let thread = spawn(&world).await;
    thread.run("hello").await.unwrap();
    let (before, status) = (thread.history().await.unwrap(), thread.status());
    let refused = thread.submit(Op::Rollback { turns: 0 }).await;
    assert!(matches!(refused, Err(SubmitError::BadRequest { field: "turns", .. })), "{refused:?}");
    assert_eq!(classes(&thread.history().await.unwrap()), classes(&before));
    assert_eq!((thread.status(), thread.view().inbox), (status, 0));
    world.end().await;
}
