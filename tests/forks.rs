//! Forks and rollbacks of threads that live, sleep or ended: the reference's cases (12.1, 12.2,
//! 12.11) through a runtime, and P9.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    Engine, EngineError, EngineSession, Event, EventKind, Fact, ForkPoint, History, ImportThread,
    Line, MessagePhase, NewRecord, NewThread, Op, OpenContext, RecordClass, Script, ScriptedEngine,
    Seq, SessionMeta, SpawnThread, Step, StoreError, SubmitError, TapFilter, TapOptions,
    ThreadConfig, ThreadEvent, ThreadHandle, ThreadId, ThreadStatus, TurnContext, TurnInput,
    TurnOutput, model_view, text_of, turn_state, wire_validity,
};
use futures::future::BoxFuture;

const SHORT: Duration = Duration::from_millis(50);

/// Says everything again, and counts the turns.
fn counting(turns: &Arc<AtomicUsize>) -> ScriptedEngine {
    let turns = turns.clone();
    ScriptedEngine::new(move |_, input| {
        turns.fetch_add(1, Ordering::Relaxed);
        match input.text().as_str() {
            "call and hang" => Script::new()
                .then(Step::Call { name: "sh".into(), arguments: "{}".into(), output: None })
                .then(Step::Hang),
            text => Script::new().say(text),
        }
    })
}

/// The records without session metas: as the cases compare them.
fn items(history: &History) -> Vec<NewRecord> {
    let records = history.iter().filter(|record| record.class != RecordClass::Meta);
    records.cloned().map(NewRecord::from).collect()
}

fn before_user_message(records: &[NewRecord], nth: usize) -> &[NewRecord] {
    let mut users =
        records.iter().enumerate().filter(|(_, record)| record.class == RecordClass::UserMessage);
    &records[..users.nth(nth).unwrap().0]
}

fn users(history: &History) -> Vec<String> {
    let users = history.iter().filter(|record| record.class == RecordClass::UserMessage);
    users.filter_map(text_of).collect()
}

async fn history(thread: &ThreadHandle) -> History {
    let history = thread.history().await.unwrap();
    wire_validity(&history).unwrap();
    history
}

/// The thread's own meta line: a fork's history begins with its source's.
fn meta(history: &History) -> SessionMeta {
    SessionMeta::parse(&history.own_meta().unwrap().raw).unwrap()
}

fn count(history: &History, wanted: impl Fn(&RecordClass) -> bool) -> usize {
    history.iter().filter(|record| wanted(&record.class)).count()
}

fn is_marker(class: &RecordClass) -> bool {
    matches!(class, RecordClass::ContextualUserMessage)
}

fn is_abort(class: &RecordClass) -> bool {
    matches!(class, RecordClass::TurnAborted { .. })
}

#[tokio::test(start_paused = true)]
async fn fk_01_a_fork_of_a_fork_before_a_user_message() {
    let turns = Arc::default();
    let world = World::new(counting(&turns)).await;
    let source = world.spawn(SpawnThread::new()).await.unwrap();
    for text in ["first", "second", "third"] {
        source.run(text).await.unwrap();
    }
    let f0 = history(&source).await;
    let first = world.fork(source.id(), 1).await.unwrap();
    let f1 = history(&first).await;
    assert_eq!(items(&f1), before_user_message(&items(&f0), 1));
    let second = world.fork(first.id(), 0).await.unwrap();
    let f2 = history(&second).await;
    assert_eq!(items(&f2), before_user_message(&items(&f1), 0));
    assert_eq!(history(&source).await, f0, "the source is never written");
    assert_eq!(turns.load(Ordering::Relaxed), 3, "no fork runs a turn");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn fk_02_a_fork_at_a_boundary_starts_with_exactly_the_sources_items() {
    let world = World::new(ScriptedEngine::echo()).await;
    let source = world.spawn(SpawnThread::new()).await.unwrap();
    source.run("one").await.unwrap();
    for point in [ForkPoint::Interrupted, ForkPoint::LastStable, ForkPoint::NextStable] {
        let fork = world.fork(source.id(), point).await.unwrap();
        assert_eq!(items(&history(&fork).await), items(&history(&source).await));
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tm_03_a_bare_number_forks_before_that_user_message() {
    let world = World::new(ScriptedEngine::echo()).await;
    let source = world.spawn(SpawnThread::new()).await.unwrap();
    source.run("one").await.unwrap();
    source.run("two").await.unwrap();
    let by_number = world.fork(source.id(), 1).await.unwrap();
    let by_name = world.fork(source.id(), ForkPoint::BeforeUserMessage(1)).await.unwrap();
    assert_eq!(items(&history(&by_number).await), items(&history(&by_name).await));
    assert_eq!(users(&history(&by_number).await), ["one"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tm_10_a_fork_works_where_its_own_configuration_says() {
    let world = World::new(ScriptedEngine::echo()).await;
    let selected = ThreadConfig::default().with_cwd("/srv/selected");
    let source = world.spawn(SpawnThread::new().with_config(selected)).await.unwrap();
    source.run("one").await.unwrap();
    source.close(BUDGET).await.unwrap();
    let here = ThreadConfig::default().with_cwd("/srv/config");
    let request = SpawnThread::fork(source.id(), ForkPoint::Interrupted).with_config(here);
    let fork = world.spawn(request).await.unwrap();
    assert_eq!(meta(&history(&fork).await).cwd, "/srv/config");
    world.end().await;
}

fn unknown() -> ThreadId {
    "0197f0a2-4c11-7d3e-9a55-0c6f3a1b2c3d".parse().unwrap()
}

/// The id of a thread with these records and no actor.
async fn imported(world: &World, records: impl IntoIterator<Item = NewRecord>) -> ThreadId {
    let thread = NewThread::root(unknown(), 1);
    let history = records.into_iter().collect();
    world.import(ImportThread::new(thread, history)).await.unwrap().id
}

fn partial() -> [NewRecord; 2] {
    [
        Line::user_item(1, "hello"),
        Line::assistant_message(1, "partial", MessagePhase::None)[1].clone(),
    ]
}

#[tokio::test(start_paused = true)]
async fn tm_15_a_fork_of_an_imported_thread_has_an_id_of_its_own() {
    let world = World::new(ScriptedEngine::echo()).await;
    let source = imported(&world, [Line::user_item(1, "hello")]).await;
    let resumed = world.resume(source).await.unwrap();
    assert_eq!(resumed.id(), source);
    let fork = world.fork(source, ForkPoint::Interrupted).await.unwrap();
    assert_ne!(fork.id(), source);
    assert_eq!(meta(&history(&fork).await).forked_from, Some(source));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tm_23_tm_25_a_fork_of_an_interrupted_fork_has_one_boundary() {
    let world = World::new(ScriptedEngine::echo()).await;
    let source = imported(&world, partial()).await;
    let stored = world.store_history(source).await;
    assert!(turn_state(&stored).mid_turn);
    let mut from = source;
    for _ in 0..3 {
        let fork = world.fork(from, ForkPoint::Interrupted).await.unwrap();
        let forked = history(&fork).await;
        assert!(!turn_state(&forked).mid_turn);
        assert_eq!((count(&forked, is_marker), count(&forked, is_abort)), (1, 1));
        from = fork.id();
    }
    assert_eq!(world.store_history(source).await, stored, "the source is never written");
    world.end().await;
}

// source |turn: ……………… says "late answer" ⟶ the store holds the write
// spawn  |         flush? ………………………………………………………… ✓ with the answer
#[tokio::test(start_paused = true)]
async fn ac_21_a_fork_of_a_running_thread_waits_for_what_it_has_said() {
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "work" => Script::new()
            .then(Step::Ask("go on?".into(), Duration::from_secs(60)))
            .say("late answer")
            .then(Step::Hang),
        text => Script::new().say(text),
    });
    let world = World::new(engine).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let options = TapOptions::matching(TapFilter::all().kinds([EventKind::Question]));
    let mut questions = world.tap(options).unwrap();
    let turn = parent.submit("work").await.unwrap().submission;
    World::event(&mut questions, |event: &Event| event.turn.is_some()).await;
    drop(questions);
    world.store.hold(StoreOp::Append);
    let answered = parent.answer(format!("{turn}/q1").into(), "yes".into());
    let mut child = Box::pin(async {
        let (_, child) = tokio::join!(answered, async {
            // The flush comes behind what the turn says.
            tokio::task::yield_now().await;
            let request =
                SpawnThread::fork(parent.id(), ForkPoint::Interrupted).with_parent(parent.id());
            world.spawn(request.with_name("child")).await
        });
        child
    });
    assert!(tokio::time::timeout(SHORT, &mut child).await.is_err(), "it waits for the write");
    world.store.release(StoreOp::Append);
    let child = child.await.unwrap();
    let inherited = history(&child).await;
    let said = inherited.iter().filter_map(text_of).any(|text| text == "late answer");
    assert!(said, "{:?}", model_view(&inherited).items);
    assert_eq!(parent.status(), ThreadStatus::Running, "the source goes on");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_forks_meta_line_says_whose_fork_it_is_and_where_it_stands() {
    let world = World::new(ScriptedEngine::echo()).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    parent.run("one").await.unwrap();
    let mut config = ThreadConfig::default().with_role("explorer");
    config.nickname = Some("Noether".into());
    let request = SpawnThread::fork(parent.id(), ForkPoint::Interrupted)
        .with_parent(parent.id())
        .with_name("indexer")
        .with_config(config);
    let child = world.spawn(request).await.unwrap();
    let own = meta(&history(&child).await);
    assert_eq!((own.id, own.forked_from), (child.id(), Some(parent.id())));
    assert_eq!((own.parent, own.depth()), (Some(parent.id()), 1));
    assert_eq!(own.agent_path.as_deref(), Some("/root/indexer"));
    assert_eq!(own.agent_nickname.as_deref(), Some("Noether"));
    assert_eq!(own.agent_role.as_deref(), Some("explorer"));
    // An ordinary fork is a root of its own.
    let fork = world.fork(parent.id(), 0).await.unwrap();
    let own = meta(&history(&fork).await);
    assert_eq!((own.id, own.forked_from), (fork.id(), Some(parent.id())));
    assert_eq!((own.parent, own.depth(), own.agent_path), (None, 0, None));
    world.end().await;
}

// REF 2.8: the instructions are the configuration's, else the ones in the history's meta.
#[tokio::test(start_paused = true)]
async fn a_fork_of_a_fork_has_the_instructions_of_its_source() {
    let world = World::new(ScriptedEngine::echo()).await;
    let mut told = SessionMeta::new(unknown(), "/srv/demo");
    told.base_instructions = Some("Be brief.".into());
    told.model_provider = Some("acme".into());
    let source = imported(&world, [Line::session_meta(1, &told), Line::user_item(1, "x")]).await;
    let mut from = source;
    for _ in 0..2 {
        let fork = world.fork(from, ForkPoint::Interrupted).await.unwrap();
        let own = meta(&history(&fork).await);
        assert_eq!((own.id, own.forked_from), (fork.id(), Some(from)));
        assert_eq!(own.base_instructions, told.base_instructions);
        assert_eq!((own.model_provider, own.cwd), (told.model_provider.clone(), told.cwd.clone()));
        from = fork.id();
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_sleeps_or_was_closed_is_forked_without_being_woken() {
    let world = World::new(ScriptedEngine::echo()).await;
    for close in [false, true] {
        let source = world.spawn(SpawnThread::new()).await.unwrap();
        source.run("one").await.unwrap();
        let before = history(&source).await;
        if close {
            source.close(BUDGET).await.unwrap();
        } else {
            source.hibernate().await.unwrap();
        }
        let status = source.status();
        for point in [ForkPoint::Interrupted, ForkPoint::NextStable, ForkPoint::At(Seq(3))] {
            let fork = world.fork(source.id(), point.clone()).await.unwrap();
            let forked = history(&fork).await;
            assert!(forked.common_prefix(&before) >= 3, "{point:?}");
            assert_eq!(fork.run("on").await.unwrap().message(), Some("on"));
        }
        assert_eq!(source.status(), status, "it sleeps on");
        assert_eq!(world.store_history(source.id()).await.prefix(before.len()), before);
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_fork_in_a_tool_call_has_a_recorded_output_for_it() {
    let world = World::new(counting(&Arc::default())).await;
    let source = world.spawn(SpawnThread::new()).await.unwrap();
    let mut tap = source.events().unwrap();
    source.submit("call and hang").await.unwrap();
    World::event(&mut tap, |event| {
        matches!(
            event.fact,
            Fact::Thread(ThreadEvent::RecordAppended { class: RecordClass::ToolCall { .. }, .. })
        )
    })
    .await;
    drop(tap);
    let fork = world.fork(source.id(), ForkPoint::Interrupted).await.unwrap();
    let forked = history(&fork).await;
    assert_eq!(count(&forked, |class| matches!(class, RecordClass::ToolCall { .. })), 1);
    assert_eq!(count(&forked, |class| matches!(class, RecordClass::ToolOutput { .. })), 1);
    assert_eq!((count(&forked, is_marker), count(&forked, is_abort)), (1, 1));
    world.end().await;
}

// P9: a rollback is a record; it shows once it is durable, and not at all if it is refused.
#[tokio::test(start_paused = true)]
async fn a_rollback_shows_once_it_is_durable() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("one").await.unwrap();
    thread.run("two").await.unwrap();
    let before = history(&thread).await;

    world.store.hold(StoreOp::Append);
    let mut rollback = Box::pin(thread.submit(Op::Rollback { turns: 1 }));
    assert!(tokio::time::timeout(SHORT, &mut rollback).await.is_err(), "no receipt yet");
    let stored = world.store_history(thread.id()).await;
    assert_eq!(shown(&stored), shown(&before), "nothing of it shows");
    world.store.release(StoreOp::Append);
    rollback.await.unwrap();
    let after = history(&thread).await;
    assert_eq!(after.prefix(before.len()), before, "a record, never a rewrite");
    assert_eq!(shown(&after), ["one", "one"]);

    // The rolled-back turn is no place to fork at, and does not count.
    let fork = world.fork(thread.id(), ForkPoint::BeforeUserMessage(1)).await.unwrap();
    assert_eq!(shown(&history(&fork).await), ["one", "one"]);
    assert_eq!(fork.run("three").await.unwrap().message(), Some("three"));
    assert_eq!(shown(&history(&fork).await), ["one", "one", "three", "three"]);
    thread.close(BUDGET).await.unwrap();
    let again = world.resume(thread.id()).await.unwrap();
    assert_eq!(shown(&history(&again).await), ["one", "one"], "also for the next life");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_the_store_refuses_never_happened() {
    let world = World::new(ScriptedEngine::echo()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("one").await.unwrap();
    let before = history(&thread).await;
    world.store.fail_next(StoreOp::Append, StoreError::Unavailable { reason: "full".into() });
    let refused = thread.submit(Op::Rollback { turns: 1 }).await.unwrap_err();
    assert!(matches!(refused, SubmitError::Store { .. }), "{refused:?}");
    world.until(|audit| audit.count(coppicer::LeaseKind::PendingReply) == 0).await;
    let after = world.store_history(thread.id()).await;
    assert_eq!(shown(&after), shown(&before));
    assert_eq!(count(&after, |class| matches!(class, RecordClass::RolledBack { .. })), 0);
    world.end().await;
}

/// The texts that a model is shown.
fn shown(history: &History) -> Vec<String> {
    let view = model_view(history);
    view.items.iter().filter_map(|item| history.get(item.seq)).filter_map(text_of).collect()
}

/// Answers at once, and keeps the history that it was opened with.
#[derive(Clone, Default)]
struct Keeping(Arc<parking_lot::Mutex<Vec<History>>>);

impl Engine for Keeping {
    fn open(&self, cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        self.0.lock().push(cx.history);
        Box::pin(async { Ok(Box::new(Silent) as Box<dyn EngineSession>) })
    }
}

struct Silent;

impl EngineSession for Silent {
    fn run_turn<'a>(
        &'a mut self,
        _: &'a TurnContext,
        _: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        Box::pin(async { Ok(TurnOutput::default()) })
    }
}

#[tokio::test(start_paused = true)]
async fn forks_and_engines_share_the_records_of_their_source() {
    let engine = Keeping::default();
    let world = World::new(engine.clone()).await;
    let records = (0..10_000).flat_map(|number| Line::user_message(number, "hello"));
    let source = imported(&world, records).await;
    let stored = world.store_history(source).await;
    for point in [ForkPoint::Interrupted, ForkPoint::At(Seq(19_000))] {
        let fork = world.fork(source, point).await.unwrap();
        let forked = history(&fork).await;
        assert!(forked.shared_prefix(&stored) >= 19_000 / 64 * 64, "no record was copied");
        fork.run("go").await.unwrap();
    }
    let opened = std::mem::take(&mut *engine.0.lock());
    assert_eq!(opened.len(), 2);
    for handed_over in opened {
        assert!(
            handed_over.shared_prefix(&stored) >= 19_000 / 64 * 64,
            "nor handed over as a copy"
        );
    }
    world.end().await;
}

trait StoreHistory {
    /// What the store has, without a word to the thread.
    async fn store_history(&self, thread: ThreadId) -> History;
}

impl StoreHistory for World {
    async fn store_history(&self, thread: ThreadId) -> History {
        self.runtime().store().read(thread, None).await.unwrap()
    }
}
