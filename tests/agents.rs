//! Agents that work with agents, and with their host: what a running turn can do.

use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentPath, Delivery, EdgeStatus, EventKind, Fact, ForkPoint, Limits, OnCrash, Op, Outcome,
    RecordClass, Script, ScriptedEngine, SpawnThread, Step, Submission, SubmitError, TapFilter,
    TapOptions, ThreadConfig, ThreadEvent, ThreadStatus, Usage, Wait, items_validity, model_view,
    wire_validity,
};

/// A turn that is told "lead" spawns two workers, sends one more work, waits, and closes the other.
fn team() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "lead" => Script::new()
            .spawn(SpawnThread::new().with_name("fast").with_first("work"))
            .spawn(SpawnThread::new().with_name("slow").with_first("dawdle"))
            .then(Step::Send(0, Submission::input("more work")))
            .then(Step::Wait(Wait::Any, BUDGET))
            .then(Step::Close(1, Duration::from_secs(1)))
            .then(Step::Wait(Wait::All, BUDGET))
            .then(Step::TakeSteered)
            .say("led"),
        "dawdle" => Script::new().sleep(Duration::from_secs(3_600)),
        text => Script::new().sleep(Duration::from_millis(10)).say(text),
    })
}

fn remarks(history: &coppicer::History) -> Vec<String> {
    let said =
        |record: &coppicer::Record| matches!(record.class, RecordClass::AssistantMessage { .. });
    history.iter().filter(|record| said(record)).filter_map(coppicer::text_of).collect()
}

#[tokio::test(start_paused = true)]
async fn a_turn_spawns_sends_waits_for_and_closes_sub_agents() {
    let world = World::new(team()).await;
    let lead = world.spawn(SpawnThread::new()).await.unwrap();
    assert_eq!(lead.run("lead").await.unwrap().message(), Some("led"));
    let said = remarks(&lead.history().await.unwrap());
    assert_eq!(said[0], "waited: completed", "any: the fast one, while the other still ran");
    assert_eq!(said[1], "waited: completed, not_found", "all: one ended its work, one is closed");
    assert_eq!(said[2], "took 0 inputs and 4 mails", "two ends of work, an interrupt, a close");

    let store = world.runtime().store().clone();
    let open = store.children(lead.id(), Some(EdgeStatus::Open)).await.unwrap();
    assert_eq!(open.len(), 1, "the closed one does not belong to the tree any more");
    let view = world.get(open[0]).unwrap().view();
    assert_eq!(view.path, Some("/root/fast".parse::<AgentPath>().unwrap()));
    assert_eq!((view.depth, view.parent), (1, Some(lead.id())));
    assert_eq!(world.subtree(lead.id()).await.unwrap().len(), 3);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_runaway_agent_meets_a_typed_limit_and_the_rest_is_unharmed() {
    let mut limits = Limits::default();
    limits.children_max = 3;
    let engine = ScriptedEngine::new(|_, input| {
        let greedy = Step::TrySpawn(Box::new(SpawnThread::new()));
        match input.text().as_str() {
            "greedy" => std::iter::repeat_n(greedy, 5).collect::<Script>().say("done"),
            text => Script::new().say(text),
        }
    });
    let world = World::with_limits(engine, limits).await;
    let greedy = world.spawn(SpawnThread::new()).await.unwrap();
    let other = world.spawn(SpawnThread::new()).await.unwrap();
    greedy.run("greedy").await.unwrap();
    let said = remarks(&greedy.history().await.unwrap());
    let refused = said.iter().filter(|text| text.contains("limit children_max of 3")).count();
    assert_eq!(refused, 2, "{said:?}");
    assert_eq!(other.run("fine").await.unwrap().message(), Some("fine"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_once_in_a_tree_and_free_again_after_the_close() {
    let world = World::new(ScriptedEngine::echo()).await;
    let root = world.spawn(SpawnThread::new()).await.unwrap();
    let request = || SpawnThread::new().with_parent(root.id()).with_name("worker");
    let worker = world.spawn(request()).await.unwrap();
    let refused = world.spawn(request()).await.unwrap_err();
    assert_eq!(refused, coppicer::SpawnError::PathTaken { path: "/root/worker".into() });
    let bad = world.spawn(SpawnThread::new().with_parent(root.id()).with_name("Bad Name")).await;
    assert!(matches!(bad.unwrap_err(), coppicer::SpawnError::BadPath(_)));
    worker.close(BUDGET).await.unwrap();
    world.spawn(request()).await.unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_engine_asks_and_the_host_answers() {
    let question = serde_json::json!({ "may I": "run rm" });
    let script = Script::new().then(Step::Ask(question.clone(), Duration::from_secs(60)));
    let world = World::new(ScriptedEngine::always(script)).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let filter = TapFilter::thread(thread.id()).kinds([EventKind::Question]);
    let mut tap = world.tap(TapOptions::matching(filter)).unwrap();
    let receipt = thread.submit("go").await.unwrap();
    let asked = World::event(&mut tap, |_| true).await;
    let Fact::Thread(ThreadEvent::QuestionAsked { question: name, body }) = &asked.fact else {
        panic!("{asked:?}");
    };
    assert_eq!(*body, question);
    assert!(thread.view().waiting_for_host);
    let unknown = thread.answer("nobody".into(), serde_json::Value::Null).await.unwrap_err();
    assert!(matches!(unknown, SubmitError::UnknownQuestion { .. }));
    thread.answer(name.clone(), serde_json::json!("no")).await.unwrap();
    assert_eq!(thread.outcome(&receipt.submission).await.unwrap().message(), Some("\"no\""));
    assert!(!thread.view().waiting_for_host);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn steered_input_joins_the_running_turn_and_shares_its_outcome() {
    let script = Script::new().sleep(Duration::from_millis(50)).then(Step::TakeSteered);
    let world = World::new(ScriptedEngine::always(script)).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let first = thread.submit("first").await.unwrap();
    let steer = Submission::input("and this").with_delivery(Delivery::SteerOrQueue);
    tokio::task::yield_now().await;
    let second = thread.submit(steer).await.unwrap();
    assert_eq!(
        second.steered.as_ref().map(coppicer::TurnId::as_str),
        Some(first.submission.as_str())
    );
    let outcome = thread.outcome(&second.submission).await.unwrap();
    assert_eq!(outcome.message(), Some("took 1 inputs and 0 mails"));
    assert_eq!(thread.outcome(&first.submission).await.unwrap(), outcome);
    assert_eq!(thread.view().turns, 1);
    // Input that the turn never takes waits for a turn of its own.
    let late_world =
        World::new(ScriptedEngine::always(Script::new().sleep(Duration::from_millis(50)))).await;
    let thread = late_world.spawn(SpawnThread::new()).await.unwrap();
    thread.submit("first").await.unwrap();
    tokio::task::yield_now().await;
    let steer = Submission::input("late").with_delivery(Delivery::SteerOrQueue);
    let late = thread.submit(steer).await.unwrap();
    assert!(late.steered.is_some());
    assert_eq!(thread.outcome(&late.submission).await.unwrap().name(), "completed");
    assert_eq!(thread.view().turns, 2);
    late_world.end().await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn trigger_mail_starts_a_turn_and_queue_only_mail_waits_for_one() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let mail = |content: &str, trigger| Op::AgentMessage {
        from: AgentPath::root(),
        content: content.into(),
        trigger,
    };
    thread.submit(mail("quiet", false)).await.unwrap();
    assert_eq!(thread.status(), ThreadStatus::PendingInit, "no turn");
    let mut tap = thread.status_changes().unwrap();
    thread.submit(mail("loud", true)).await.unwrap();
    World::event(&mut tap, |event| {
        matches!(&event.fact, Fact::Thread(ThreadEvent::StatusChanged { status, .. })
            if *status == ThreadStatus::Completed(Some("quiet\nloud".into())))
    })
    .await;
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn records_without_a_turn_are_written_whole_or_refused() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("one").await.unwrap();
    thread.run("two").await.unwrap();
    thread.submit(Op::Rollback { turns: 1 }).await.unwrap();
    let view = model_view(&thread.history().await.unwrap());
    assert_eq!(view.items.len(), 2, "the second turn does not count any more");
    let none = thread.submit(Op::Rollback { turns: 0 }).await.unwrap_err();
    assert!(matches!(none, SubmitError::BadRequest { field: "turns", .. }));

    let note = serde_json::json!({
        "type": "message", "role": "developer",
        "content": [{ "type": "input_text", "text": "a note" }],
    });
    thread.submit(Op::Inject { items: vec![note] }).await.unwrap();
    let bad = Op::Inject { items: vec![serde_json::json!({ "type": 7 })] };
    assert!(matches!(
        thread.submit(bad).await.unwrap_err(),
        SubmitError::BadRequest { field: "items", .. }
    ));
    let empty = Op::Inject { items: Vec::new() };
    assert!(matches!(thread.submit(empty).await.unwrap_err(), SubmitError::BadRequest { .. }));
    thread
        .submit(Op::UpdateConfig { settings: serde_json::json!({ "model": "large" }) })
        .await
        .unwrap();
    let refused = thread.submit(Op::RefreshConfig).await.unwrap_err();
    assert_eq!(refused, SubmitError::Unsupported { op: "refresh_config" });
    let view = model_view(&thread.history().await.unwrap());
    items_validity(&view.items).unwrap();
    assert_eq!(view.items.len(), 3);
    assert_eq!(thread.run("three").await.unwrap().message(), Some("three"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn usage_adds_up_and_deltas_reach_subscribers_only() {
    let usage = Usage { input_tokens: 5, output_tokens: 2, ..Usage::default() };
    let script = Script::new()
        .then(Step::Delta("hel".into()))
        .then(Step::Usage(usage))
        .then(Step::Usage(usage))
        .say("hello");
    let world = World::new(ScriptedEngine::always(script)).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let filter = TapFilter::thread(thread.id()).kinds([EventKind::Delta]);
    let mut tap = world.tap(TapOptions::matching(filter)).unwrap();
    thread.run("go").await.unwrap();
    let delta = World::event(&mut tap, |_| true).await;
    assert_eq!(delta.fact, Fact::Thread(ThreadEvent::Delta { text: "hel".into() }));
    drop(tap);
    assert_eq!(thread.view().usage.total_tokens(), 14);
    let history = thread.history().await.unwrap();
    assert!(!history.iter().any(|record| record.raw.windows(5).any(|part| part == b"\"hel\"")));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_waits_for_the_store_when_it_emits_faster_than_that_commits() {
    let mut limits = Limits::default();
    limits.emit_window_max = 4;
    let script = std::iter::repeat_n(Step::Remark("x".into()), 100).collect();
    let world = World::with_limits(ScriptedEngine::always(script), limits).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let outcome = thread.run("go").await.unwrap();
    assert_eq!(outcome.name(), "completed");
    assert_eq!(remarks(&thread.history().await.unwrap()).len(), 100);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_died_in_mid_turn_finds_it_closed_or_queued_again() {
    for (on_crash, outcome) in [
        (OnCrash::Interrupt, "interrupted"),
        (OnCrash::Requeue { attempts_max: 3 }, "completed"),
        (OnCrash::Requeue { attempts_max: 1 }, "crashed"),
    ] {
        let hangs = ScriptedEngine::always(
            Script::new()
                .then(Step::Call { name: "sh".into(), arguments: "{}".into(), output: None })
                .then(Step::Hang),
        );
        let world = World::new(hangs).await;
        let config = ThreadConfig::default().with_on_crash(on_crash);
        let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
        let id = coppicer::SubmissionId::new("mine").unwrap();
        let mut tap = thread.events().unwrap();
        thread.submit(Submission::input("go").with_id(id.clone())).await.unwrap();
        World::event(&mut tap, |event| {
            matches!(
                event.fact,
                Fact::Thread(ThreadEvent::RecordAppended {
                    class: RecordClass::ToolCall { .. },
                    ..
                })
            )
        })
        .await;
        drop(tap);
        // Another runtime opens the same store, as after the death of the first.
        let next = World::on(world.store.clone(), ScriptedEngine::echo(), Limits::default()).await;
        let again = next.resume(thread.id()).await.unwrap();
        assert_eq!(again.outcome(&id).await.unwrap().name(), outcome, "{on_crash:?}");
        let history = again.history().await.unwrap();
        let outputs = |r: &&coppicer::Record| matches!(r.class, RecordClass::ToolOutput { .. });
        assert_eq!(history.iter().filter(outputs).count(), 1, "the open call has its output");
        wire_validity(&history).unwrap();
        // The first runtime's thread is a zombie now: its writes are refused (P1).
        let zombie = thread.interrupt().await;
        assert!(!matches!(zombie, Ok(coppicer::Interrupted::Turn { .. })), "{zombie:?}");
        assert_eq!(again.history().await.unwrap().len(), history.len());
        next.end().await;
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fork_of_a_running_thread_is_closed_and_its_source_goes_on() {
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "slow" => Script::new()
            .then(Step::Call { name: "sh".into(), arguments: "{}".into(), output: None })
            .sleep(Duration::from_millis(100))
            .say("done"),
        text => Script::new().say(text),
    });
    let world = World::new(engine).await;
    let source = world.spawn(SpawnThread::new()).await.unwrap();
    source.run("one").await.unwrap();
    let mut tap = source.events().unwrap();
    let running = source.submit("slow").await.unwrap();
    World::event(&mut tap, |event| {
        matches!(
            event.fact,
            Fact::Thread(ThreadEvent::RecordAppended { class: RecordClass::ToolCall { .. }, .. })
        )
    })
    .await;
    drop(tap);
    for point in [ForkPoint::Interrupted, ForkPoint::LastStable, ForkPoint::BeforeUserMessage(1)] {
        let fork = world.fork(source.id(), point.clone()).await.unwrap();
        assert_eq!(fork.view().forked_from, Some(source.id()));
        assert_eq!(fork.run("on").await.unwrap().message(), Some("on"), "{point:?}");
        wire_validity(&fork.history().await.unwrap()).unwrap();
    }
    let outcome = source.outcome(&running.submission).await.unwrap();
    assert_eq!(outcome, Outcome::Completed { message: Some("done".into()) });
    let unknown = world.fork(source.id(), ForkPoint::After("nobody".into())).await.unwrap_err();
    assert!(matches!(unknown, coppicer::SpawnError::Fork { .. }), "{unknown:?}");
    world.end().await;
}
