//! What we do instead of each weakness that REF names in 14.1 to 14.5, by its number there.
//!
//! Where another file shows it, the table names the test, and [`every_weakness_has_a_test`] looks
//! whether it is there; the others stand here.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::BTreeSet;
use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    Engine, EngineError, EngineSession, EventKind, Fact, Interrupted, LeaseKind, Limits, OnSpent,
    Op, OpenContext, Outcome, RecordClass, RestartPolicy, Script, ScriptedEngine, SpawnThread,
    Step, StoreError, SubmitError, TapFilter, TapItem, TapOptions, ThreadConfig, ThreadEvent,
    ThreadHandle, ThreadStatus,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

/// The weakness, the file under `tests/`, and the test.
const INSTEAD: [(&str, &str, &str); 32] = [
    ("1", "instead", "a_panic_of_an_actor_is_told_to_status_parent_and_taps_and_it_comes_back"),
    ("2", "crashes", "a_crashed_turn_is_never_shown_as_running_and_its_end_is_told_once_in_order"),
    ("3", "instead", "a_thread_whose_handles_are_gone_goes_on_and_is_closed_like_any_other"),
    ("4", "instead", "a_thread_whose_end_failed_or_hung_is_written_again_after_a_resume"),
    ("5", "closing", "a_thread_is_closed_in_whatever_phase_it_is_and_its_end_is_durable"),
    ("6", "races", "a_spawn_whose_actor_crashed_before_its_first_submission_is_undone_whole"),
    ("7", "recovery", "what_an_earlier_process_accepted_gets_its_outcome_though_nobody_asks"),
    ("8", "reference_cases", "tm_09_an_internal_thread_is_hidden_and_is_shut_down_with_everything"),
    ("9", "deadlines", "nothing_is_spawned_below_a_closing_thread"),
    ("10", "deadlines", "a_resume_during_a_close_waits_for_the_end_of_the_old_life"),
    ("11", "instead", "a_thread_that_could_not_write_its_end_is_not_reported_as_completed"),
    ("12", "deadlines", "a_shutdown_while_the_store_hangs_is_answered_by_its_deadline_and_fences"),
    ("13", "closing", "a_subtree_a_thread_and_everything_are_closed_by_the_same_rules"),
    ("14", "instead", "what_comes_behind_a_close_is_refused_and_what_waited_is_returned"),
    ("15", "instead", "mail_that_waits_starts_no_turn_in_a_thread_that_closes"),
    ("15a", "races", "a_resume_that_races_a_spawn_leaves_the_live_thread_alone"),
    ("16", "instead", "an_interrupt_does_not_wait_behind_a_full_inbox"),
    ("17", "taps/accounting", "p_11_every_tap_accounts_for_every_event_whether_it_reads_or_not"),
    ("18", "taps/order", "every_change_from_spawn_over_a_crash_to_the_close_is_an_event_in_order"),
    ("19", "instead", "a_receipt_leads_to_an_outcome_that_can_be_asked_for_afterwards"),
    ("20", "instead", "an_engine_that_is_slow_to_open_holds_up_no_interrupt"),
    ("21", "passivation", "ten_who_have_something_for_a_dormant_thread_bring_up_one_incarnation"),
    ("22", "instead", "a_resume_of_a_live_thread_takes_no_second_slot"),
    ("23", "instead", "a_slot_comes_back_by_whatever_way_its_thread_ends"),
    ("24", "deadlines", "a_late_spawn_is_undone_and_nothing_of_it_remains"),
    ("25", "agents", "a_name_is_taken_once_in_a_tree_and_free_again_after_the_close"),
    ("26", "instead", "a_failed_turn_stays_errored_and_the_parent_hears_why"),
    ("27", "instead", "a_request_that_is_refused_changes_no_status"),
    ("28", "crashes", "a_parent_hears_of_each_end_of_a_sub_agent_once"),
    ("29", "taps/order", "a_status_stream_skips_no_status_whoever_sets_it"),
    ("30", "instead", "a_turn_of_any_kind_is_shown_as_running"),
    ("31", "crashes", "a_parent_that_was_not_there_hears_of_it_when_it_comes_back"),
];

#[test]
fn every_weakness_has_a_test() {
    let numbers: BTreeSet<String> =
        (1..=31).map(|n| n.to_string()).chain(["15a".to_owned()]).collect();
    let named: BTreeSet<String> = INSTEAD.iter().map(|(number, ..)| (*number).to_owned()).collect();
    assert_eq!(named, numbers);
    for (number, file, test) in INSTEAD {
        let path = format!("{}/tests/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        let source =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let at = source.find(&format!("async fn {test}("));
        let at = at.unwrap_or_else(|| panic!("weakness {number}: no test {test} in {path}"));
        let before = source[..at].trim_end();
        assert!(
            before.ends_with(']') && before.rfind("#[tokio::test").is_some(),
            "{test} is a test"
        );
    }
}

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "panic" => Script::new().panic("boom"),
        "hang" => Script::new().then(Step::Hang),
        "fail" => Script::new().fail(EngineError::fatal("no model")),
        text => Script::new().say(text),
    })
}

async fn world() -> World {
    World::new(engine()).await
}

async fn spawn(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.unwrap()
}

async fn below(world: &World, parent: &ThreadHandle) -> ThreadHandle {
    world.spawn(SpawnThread::new().with_parent(parent.id())).await.unwrap()
}

async fn hang(thread: &ThreadHandle) {
    thread.submit("hang").await.unwrap();
    while thread.view().turn.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What a thread was told of its sub-agents, once it has read its mail.
async fn told(thread: &ThreadHandle) -> Vec<String> {
    thread.run("read").await.unwrap();
    let history = thread.history().await.unwrap();
    let mail = history.iter().filter(|it| matches!(it.class, RecordClass::Envelope { .. }));
    mail.map(|record| String::from_utf8_lossy(&record.raw).into_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_an_actor_is_told_to_status_parent_and_taps_and_it_comes_back() {
    let world = world().await;
    let parent = spawn(&world).await;
    let child = below(&world, &parent).await;
    let running = child.submit("hang").await.unwrap();
    while child.view().turn.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let filter = TapFilter::thread(child.id()).kinds([EventKind::Status]);
    let mut tap = world.tap(TapOptions::matching(filter)).unwrap();
    child.panic_for_test();
    let crashed = World::event(&mut tap, |event| {
        let Fact::Thread(ThreadEvent::StatusChanged { status, .. }) = &event.fact else {
            return false;
        };
        assert_ne!(*status, ThreadStatus::Running, "it is not shown as running");
        matches!(status, ThreadStatus::Crashed(_))
    });
    crashed.await;
    assert_eq!(child.outcome(&running.submission).await.unwrap(), Outcome::Interrupted);
    assert_eq!(child.run("hello").await.unwrap().message(), Some("hello"), "its handle works on");
    assert_eq!(child.view().epoch.0, 2);
    let told = told(&parent).await;
    assert_eq!(told.len(), 2, "the turn that it left, and the one after: {told:?}");
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_whose_handles_are_gone_goes_on_and_is_closed_like_any_other() {
    // SE-15: no queue ends with its senders here.
    let world = world().await;
    let thread = spawn(&world).await;
    hang(&thread).await;
    let id = thread.id();
    drop(thread);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.status(id), ThreadStatus::Running);
    let report = world.close(id, BUDGET).await.unwrap();
    assert_eq!(report.completed, [id]);
    assert_eq!(world.store().thread(id).await.unwrap().status, ThreadStatus::Shutdown);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_could_not_write_its_end_is_not_reported_as_completed() {
    let world = world().await;
    let thread = spawn(&world).await;
    world.store.fail_next(StoreOp::Append, StoreError::Unavailable { reason: "disk full".into() });
    let report = world.close(thread.id(), BUDGET).await.unwrap();
    assert!(report.completed.is_empty(), "{report:?}");
    assert_eq!(report.submit_failed, [thread.id()]);
    assert!(report.threads[0].left.is_some(), "and it says what was left");
    world.end().await;
}

/// The right to write goes to the next life, whatever became of the last: nobody has to give it back.
#[tokio::test(start_paused = true)]
async fn a_thread_whose_end_failed_or_hung_is_written_again_after_a_resume() {
    let world = world().await;
    let full = || StoreError::Unavailable { reason: "disk full".into() };
    for way in ["the write of its end fails", "that hangs", "its actor dies", "the turn hangs"] {
        let thread = spawn(&world).await;
        thread.run("before").await.unwrap();
        let (id, epoch) = (thread.id(), thread.view().epoch);
        let head = world.stored(id).await.unwrap().head;
        match way {
            "the write of its end fails" => {
                world.store.fail_next(StoreOp::Append, full());
                let report = world.close(id, BUDGET).await.unwrap();
                assert_eq!(report.submit_failed, [id], "{way}");
            }
            "that hangs" => {
                world.store.hold(StoreOp::Append);
                let report = world.close(id, Duration::from_secs(1)).await.unwrap();
                assert_eq!(report.timed_out, [id], "{way}");
                world.store.release(StoreOp::Append);
            }
            "its actor dies" => {
                thread.panic_for_test();
                world.close(id, BUDGET).await.unwrap();
            }
            _ => {
                hang(&thread).await;
                thread.panic_for_test();
            }
        }
        let again = world.resume(id).await.unwrap_or_else(|no| panic!("{way}: {no}"));
        let said = again.run("after").await.unwrap();
        assert_eq!(said, Outcome::Completed { message: Some("after".into()) }, "{way}");
        assert!(again.view().epoch > epoch, "{way}");
        // What is left of the last life writes nothing any more.
        let (done, late) = coppicer::Done::channel();
        let fence = coppicer::Fence { thread: id, epoch };
        world.store().append(fence, head, coppicer::Batch::default(), done);
        assert_eq!(late.await, Err(StoreError::Fenced { thread: id }), "{way}");
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_a_close_is_refused_and_what_waited_is_returned() {
    let world = world().await;
    let thread = spawn(&world).await;
    hang(&thread).await;
    let waits = thread.submit("waits").await.unwrap();
    let outcome = thread.outcome(&waits.submission);
    let (closed, outcome, late) = tokio::join!(world.close(thread.id(), BUDGET), outcome, async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        thread.submit("late").await
    });
    closed.unwrap();
    assert_eq!(outcome.unwrap(), Outcome::Returned);
    assert_eq!(late, Err(SubmitError::Closed { thread: thread.id() }));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn mail_that_waits_starts_no_turn_in_a_thread_that_closes() {
    let world = world().await;
    let thread = spawn(&world).await;
    hang(&thread).await;
    let from = "/root/other".parse().unwrap();
    thread.submit(Op::AgentMessage { from, content: "wake".into(), trigger: true }).await.unwrap();
    let filter = TapFilter::thread(thread.id()).kinds([EventKind::Turn]);
    let mut tap = world.tap(TapOptions::matching(filter)).unwrap();
    world.close(thread.id(), BUDGET).await.unwrap();
    while let Some(TapItem::Event(event)) = tap.try_next() {
        let started = matches!(event.fact, Fact::Thread(ThreadEvent::TurnStarted { .. }));
        assert!(!started, "no turn starts on the way out");
    }
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_does_not_wait_behind_a_full_inbox() {
    let mut limits = Limits::default();
    limits.inbox_max = 3;
    let world = World::with_limits(engine(), limits).await;
    let thread = spawn(&world).await;
    hang(&thread).await;
    for _ in 0..3 {
        thread.submit("hang").await.unwrap();
    }
    assert!(matches!(thread.submit("more").await, Err(SubmitError::Overloaded { .. })));
    let before = Instant::now();
    let interrupted = thread.interrupt().await.unwrap();
    assert!(matches!(interrupted, Interrupted::Turn { .. }));
    assert!(before.elapsed() < Duration::from_millis(200));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_receipt_leads_to_an_outcome_that_can_be_asked_for_afterwards() {
    let world = world().await;
    let thread = spawn(&world).await;
    let mut receipts = Vec::new();
    for (text, outcome) in [("hello", "completed"), ("fail", "failed"), ("panic", "crashed")] {
        receipts.push((thread.submit(text).await.unwrap().submission, outcome));
    }
    for (submission, outcome) in receipts.iter().chain(&receipts) {
        assert_eq!(thread.outcome(submission).await.unwrap().name(), *outcome);
    }
    world.end().await;
}

/// Takes long to open, and does not listen meanwhile.
struct SlowToOpen;

impl Engine for SlowToOpen {
    fn open(&self, _: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        async {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            Err(EngineError::fatal("too late"))
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_slow_to_open_holds_up_no_interrupt() {
    let world = World::new(SlowToOpen).await;
    let thread = spawn(&world).await;
    let submitted = thread.submit("hello").await.unwrap();
    while thread.view().turn.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before = Instant::now();
    thread.interrupt().await.unwrap();
    assert!(before.elapsed() < Duration::from_millis(300), "{:?}", before.elapsed());
    assert_eq!(thread.outcome(&submitted.submission).await.unwrap(), Outcome::Interrupted);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_of_a_live_thread_takes_no_second_slot() {
    let world = world().await;
    let thread = spawn(&world).await;
    for _ in 0..5 {
        assert_eq!(world.resume(thread.id()).await.unwrap().id(), thread.id());
    }
    let audit = world.audit().await;
    assert_eq!((audit.count(LeaseKind::Slot), audit.count(LeaseKind::Resident)), (1, 1));
    assert_eq!(thread.view().epoch.0, 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_slot_comes_back_by_whatever_way_its_thread_ends() {
    let mut limits = Limits::default();
    limits.tree_max = 2;
    let world = World::with_limits(engine(), limits).await;
    let root = spawn(&world).await;
    let closing = RestartPolicy::default()
        .with_limit(0, Duration::from_secs(60))
        .with_on_spent(OnSpent::Close);
    for way in ["close", "by itself", "engine", "actor", "sleep"] {
        let config = ThreadConfig::default().with_restart(closing);
        let request = SpawnThread::new().with_parent(root.id()).with_config(config);
        let child = world.spawn(request.clone()).await.unwrap();
        assert!(world.spawn(request).await.is_err(), "there is room for one");
        match way {
            "close" => drop(world.close(child.id(), BUDGET).await.unwrap()),
            "by itself" => drop(child.submit(Op::Close).await.unwrap()),
            "engine" => drop(child.run("panic").await.unwrap()),
            "actor" => child.panic_for_test(),
            _ => child.hibernate().await.unwrap(),
        }
        drop(child);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.audit().await.count(LeaseKind::Slot), 1, "{way}");
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_turn_stays_errored_and_the_parent_hears_why() {
    let world = world().await;
    let parent = spawn(&world).await;
    let child = below(&world, &parent).await;
    child.run("fail").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(child.status(), ThreadStatus::Errored("no model".into()));
    let told = told(&parent).await;
    assert!(
        told.len() == 1 && told[0].contains("errored") && told[0].contains("no model"),
        "{told:?}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_changes_no_status() {
    let world = world().await;
    let thread = spawn(&world).await;
    thread.run("hello").await.unwrap();
    let before = (thread.status(), thread.view().status_seq);
    thread.submit(Op::Rollback { turns: 0 }).await.unwrap_err();
    thread.submit("  ").await.unwrap_err();
    thread.submit(Op::Inject { items: Vec::new() }).await.unwrap_err();
    thread.revive().await.unwrap_err();
    assert_eq!((thread.status(), thread.view().status_seq), before);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_any_kind_is_shown_as_running() {
    let world = World::new(ScriptedEngine::always(Script::new().then(Step::Hang))).await;
    let thread = spawn(&world).await;
    let from = "/root/other".parse().unwrap();
    let mail = Op::AgentMessage { from, content: "wake".into(), trigger: true };
    for op in [Op::Compact, mail] {
        thread.submit(op).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(thread.status(), ThreadStatus::Running);
        thread.interrupt().await.unwrap();
        assert_eq!(thread.status(), ThreadStatus::Interrupted);
    }
    world.end().await;
}
