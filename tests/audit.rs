//! Every lease has an owner, and the audit names it (P10): threads, the runtime that is asked, taps,
//! processes; also when the turn was killed, and when the thread is gone.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;
use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    Audit, Engine, EngineError, EngineSession, Gate, LeaseKind, LeaseOwner, Limits, OpenContext,
    ProcessError, ProcessLease, Script, ScriptedEngine, SpawnThread, Step, TapOptions,
    ThreadHandle, ThreadId, ThreadStatus, TurnContext, TurnInput, TurnOutput, Wait,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

fn hanging() -> ScriptedEngine {
    ScriptedEngine::always(Script::new().then(Step::Hang))
}

async fn hang(world: &World) -> ThreadHandle {
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.submit("hang").await.unwrap();
    until(|| thread.status() == ThreadStatus::Running).await;
    thread
}

async fn until(holds: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it did not come to hold");
}

/// How many leases of a kind a thread owns.
fn owned(audit: &Audit, thread: ThreadId, kind: LeaseKind) -> u64 {
    audit.held_by(thread).filter(|row| row.kind == kind).map(|row| row.count).sum()
}

fn names(audit: &Audit, thread: ThreadId) -> Vec<(String, u64)> {
    let name = |row: &coppicer::LeaseRow| match &row.owner {
        LeaseOwner::Process { name, .. } => Some((name.clone(), row.count)),
        _ => None,
    };
    audit.held_by(thread).filter_map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_running_thread_owns_its_slot_its_actor_its_permit_and_what_waits_in_it() {
    let world = World::new(hanging()).await;
    let [busy, idle] = [hang(&world).await, world.spawn(SpawnThread::new()).await.unwrap()];
    busy.submit("waits").await.unwrap();
    let audit = world.audit().await;
    for kind in
        [LeaseKind::Slot, LeaseKind::Resident, LeaseKind::TurnPermit, LeaseKind::InboxPermit]
    {
        assert_eq!(owned(&audit, busy.id(), kind), 1, "{kind:?}");
    }
    assert_eq!(owned(&audit, idle.id(), LeaseKind::TurnPermit), 0);
    assert_eq!(owned(&audit, idle.id(), LeaseKind::Slot), 1);
    assert!(audit.is_clean(), "{audit:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pending_reply_is_owned_by_the_thread_that_is_asked() {
    let world = World::new(hanging()).await;
    let thread = hang(&world).await;
    let turn = coppicer::SubmissionId::new(thread.view().turn.unwrap().as_str()).unwrap();
    let mut waiting = Box::pin(thread.outcome(&turn));
    assert!((&mut waiting).now_or_never().is_none());
    let audit = world.audit().await;
    assert_eq!(owned(&audit, thread.id(), LeaseKind::PendingReply), 1, "{audit:?}");
    assert!(audit.is_clean(), "{audit:?}");
    // Also when it is gone: a caller that waits for the store on behalf of a closed thread.
    world.store.hold(StoreOp::Submission);
    let mut again = Box::pin(thread.outcome(&turn));
    assert!((&mut again).now_or_never().is_none());
    drop(waiting);
    thread.close(BUDGET).await.unwrap();
    assert_eq!(world.get(thread.id()), None);
    let audit = world.audit().await;
    assert_eq!(owned(&audit, thread.id(), LeaseKind::PendingReply), 1, "{audit:?}");
    assert!(audit.is_clean(), "{audit:?}");
    world.store.release(StoreOp::Submission);
    drop(again);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pending_reply_is_owned_by_the_thread_whose_turn_asks_or_by_the_runtime_that_is_asked() {
    let question = Step::Ask(serde_json::json!("?"), Duration::from_secs(60));
    let world = World::new(ScriptedEngine::always(Script::new().then(question))).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.submit("ask").await.unwrap();
    until(|| thread.view().waiting_for_host).await;
    let audit = world.audit().await;
    assert_eq!(owned(&audit, thread.id(), LeaseKind::PendingReply), 1, "{audit:?}");
    world.store.hold(StoreOp::Create);
    let mut spawning = Box::pin(world.spawn(SpawnThread::new()));
    assert!((&mut spawning).now_or_never().is_none());
    let audit = world.audit().await;
    let of_runtime = |row: &&coppicer::LeaseRow| row.owner == LeaseOwner::Runtime;
    let rows: Vec<_> = audit.live.iter().filter(of_runtime).collect();
    assert_eq!(rows.len(), 1, "{audit:?}");
    assert_eq!((rows[0].kind, rows[0].count), (LeaseKind::PendingReply, 1));
    assert!(audit.is_clean(), "{audit:?}");
    world.store.release(StoreOp::Create);
    spawning.await.unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_tap_is_listed_by_itself_until_it_is_dropped() {
    let world = World::new(ScriptedEngine::echo()).await;
    let tap = world.tap(TapOptions::all()).unwrap();
    let audit = world.audit().await;
    let of_tap = |row: &&coppicer::LeaseRow| matches!(row.owner, LeaseOwner::Tap(_));
    let rows: Vec<_> = audit.live.iter().filter(of_tap).collect();
    assert_eq!((rows.len(), rows[0].kind, rows[0].count), (1, LeaseKind::Tap, 1));
    assert!(audit.is_clean(), "{audit:?}");
    drop(tap);
    assert_eq!(world.audit().await.count(LeaseKind::Tap), 0);
    world.end().await;
}

#[tokio::test]
async fn code_that_would_not_stop_is_owned_by_its_thread_also_after_that_is_gone() {
    let gate = Gate::new();
    let script = Script::new().then(Step::BlockUntil(gate.clone()));
    let world = World::new(ScriptedEngine::always(script).on_own_threads()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let id = thread.id();
    thread.submit("block").await.unwrap();
    world.until(|_| gate.reached() == 1).await;
    thread.close(Duration::from_millis(500)).await.unwrap();
    drop(thread);
    assert_eq!(world.get(id), None, "it is gone");
    let audit = world.audit().await;
    assert_eq!(owned(&audit, id, LeaseKind::Zombie), 1, "{audit:?}");
    assert!(audit.is_clean(), "{audit:?}");
    gate.open();
    world.until(|audit| audit.count(LeaseKind::Zombie) == 0).await;
    world.end().await;
}

/// Holds processes: one per session, one or more per turn, kept by the test when it wants to.
#[derive(Clone, Default)]
struct Shells {
    kept: Arc<Mutex<Vec<ProcessLease>>>,
    refused: Arc<Mutex<Vec<ProcessError>>>,
}

struct ShellSession {
    shells: Shells,
    _server: ProcessLease,
}

impl Engine for Shells {
    fn open(&self, cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let shells = self.clone();
        async move {
            let server = cx.process("server")?;
            Ok(Box::new(ShellSession { shells, _server: server }) as Box<dyn EngineSession>)
        }
        .boxed()
    }
}

impl EngineSession for ShellSession {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        async move {
            let shell = cx.process("shell")?;
            assert_eq!(shell.name(), "shell");
            match input.text().as_str() {
                "keep" => self.shells.kept.lock().push(shell),
                "too many" => {
                    let refused = cx.process("one too many").map(drop).unwrap_err();
                    self.shells.refused.lock().push(refused);
                }
                _ => {
                    let _shell = shell;
                    cx.cancelled().await;
                    std::future::pending::<()>().await; // it does not stop, and is killed
                }
            }
            Ok(TurnOutput::done())
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_is_listed_by_thread_and_name_and_given_back_when_its_turn_is_killed() {
    let world = World::new(Shells::default()).await;
    let thread = hang(&world).await;
    let one = |name: &str| (name.to_owned(), 1);
    let audit = world.audit().await;
    assert_eq!(names(&audit, thread.id()), [one("server"), one("shell")]);
    assert!(audit.is_clean() && audit.count(LeaseKind::Process) == 2, "{audit:?}");
    // The kill drops the turn's future, and the session with it.
    thread.interrupt().await.unwrap();
    let audit = world.audit().await;
    assert_eq!(names(&audit, thread.id()), []);
    assert!(audit.is_clean(), "{audit:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_outlives_its_thread_is_still_listed_under_it() {
    let shells = Shells::default();
    let world = World::new(shells.clone()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("keep").await.unwrap();
    let id = thread.id();
    thread.close(BUDGET).await.unwrap();
    drop(thread);
    let audit = world.audit().await;
    assert_eq!(names(&audit, id), [("shell".to_owned(), 1)], "the session is gone, the shell not");
    assert!(audit.is_clean(), "{audit:?}");
    shells.kept.lock().clear();
    assert_eq!(world.audit().await.count(LeaseKind::Process), 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_has_no_more_processes_than_its_bound() {
    let mut limits = Limits::default();
    limits.processes_max = 2;
    let shells = Shells::default();
    let world = World::with_limits(shells.clone(), limits).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("too many").await.unwrap();
    assert_eq!(*shells.refused.lock(), [ProcessError::TooMany { max: 2 }]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_threads_that_come_and_go_leave_nothing_behind_in_the_audit() {
    let world = World::new(ScriptedEngine::echo()).await;
    for _ in 0..10 {
        for _ in 0..1_000 {
            world.spawn(SpawnThread::new()).await.unwrap();
        }
        world.close_all(BUDGET).await.unwrap();
    }
    assert!(world.audit().await.is_empty());
    assert!(!world.wait(&[], Wait::All, BUDGET).await.timed_out);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p_10_a_thread_that_is_being_made_is_listed_with_what_it_holds() {
    let world = World::new(ScriptedEngine::echo()).await;
    let id = ThreadId::from_parts(7, [7; 10]);
    world.store.hold(StoreOp::Create);
    let runtime = world.runtime().clone();
    let request = SpawnThread::new().with_id(id).with_first("hello");
    let spawning = tokio::spawn(async move { runtime.spawn(request).await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let audit = world.audit_now();
    assert!(audit.is_clean(), "{audit:?}");
    assert!(audit.held_by(id).any(|row| row.kind == LeaseKind::Slot), "{audit:?}");
    assert!(world.get(id).is_none(), "nobody finds it yet");
    world.store.release(StoreOp::Create);
    spawning.await.unwrap().unwrap();
    assert_eq!(world.audit().await.count(LeaseKind::Slot), 1, "it is listed once");
    world.end().await;
}
