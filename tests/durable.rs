//! P1, P2, P3, P7, P8 on a real file: hosts that die, and hosts that take over what they left.
//!
//! A host is a tokio runtime of its own. It dies by being dropped in the middle of what it does:
//! nothing is closed, nobody is told. (Processes that are killed: `coppicer-reliability`.)

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coppicer::{
    Delivery, EdgeStatus, Engine, Fact, ForkPoint, Limits, OnCrash, Op, Outcome, OutcomeError,
    ParentClose, RecordClass, Runtime, Script, ScriptedEngine, SpawnError, SpawnThread,
    SqliteStore, Step, Submission, SubmissionId, SubmitError, TapItem, TapOptions, ThreadConfig,
    ThreadEvent, ThreadHandle, ThreadId, ThreadQuery, ThreadStatus, UserInput, model_view,
    wire_validity,
};
use tempfile::TempDir;

/// Long enough for everything that does not hang.
const BUDGET: Duration = Duration::from_secs(20);

/// A folder with a store in it, and the hosts that use it one after the other.
struct Place {
    _folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        Self { _folder: folder, path }
    }

    /// Runs a host until `work` is done, and ends it as a host should be ended.
    fn host<W: Future<Output = ()>>(&self, engine: impl Engine, work: impl FnOnce(Runtime) -> W) {
        let tokio = tokio_runtime();
        tokio.block_on(async {
            let runtime = start(&self.path, engine).await;
            tokio::time::timeout(BUDGET, work(runtime.clone())).await.expect("it hangs");
            runtime.shutdown(BUDGET).await.unwrap();
            assert!(runtime.audit().await.is_empty());
        });
        tokio.shutdown_timeout(BUDGET);
    }

    /// Runs a host that dies when `work` is done.
    fn dying<W: Future<Output = ()>>(&self, engine: impl Engine, work: impl FnOnce(Runtime) -> W) {
        let tokio = tokio_runtime();
        tokio.block_on(async {
            let runtime = start(&self.path, engine).await;
            tokio::time::timeout(BUDGET, work(runtime)).await.expect("it hangs");
        });
        tokio.shutdown_timeout(BUDGET);
    }

    fn sound(&self) {
        let found = tokio_runtime()
            .block_on(async { SqliteStore::open(&self.path).unwrap().verify().await.unwrap() });
        assert!(found.is_sound(), "{found:?}");
    }
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn start(path: &Path, engine: impl Engine) -> Runtime {
    let store = SqliteStore::open(path).unwrap();
    Runtime::builder().engine(engine).store(store).start().await.unwrap()
}

fn name(text: &str) -> SubmissionId {
    SubmissionId::new(text).unwrap()
}

/// Says what it is told; `hang` opens a call and never comes back.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new()
            .then(Step::Call { name: "sh".into(), arguments: "{}".into(), output: None })
            .then(Step::Hang),
        text => Script::new().say(text),
    })
}

async fn until_running(thread: &ThreadHandle) {
    while thread.status() != ThreadStatus::Running {
        tokio::task::yield_now().await;
    }
}

/// Until the call that the hanging turn opens is durable.
async fn until_called(thread: &ThreadHandle) {
    loop {
        let history = thread.history().await.unwrap();
        if history.iter().any(|record| matches!(record.class, RecordClass::ToolCall { .. })) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_submission_sent_again_to_a_later_host_gets_its_first_receipt_and_runs_nothing_twice() {
    let place = Place::new();
    let mut first = None;
    let mut thread = None;
    place.host(engine(), async |runtime: Runtime| {
        let handle = runtime.spawn(SpawnThread::new()).await.unwrap();
        let receipt = handle.submit(Submission::input("hello").with_id(name("s"))).await.unwrap();
        assert!(!receipt.duplicate);
        handle.outcome(&name("s")).await.unwrap();
        first = Some(receipt);
        thread = Some(handle.id());
    });
    let (first, thread) = (first.unwrap(), thread.unwrap());
    for _ in 0..2 {
        place.host(engine(), async |runtime: Runtime| {
            let handle = runtime.resume(thread).await.unwrap();
            let again = handle.submit(Submission::input("hello").with_id(name("s"))).await.unwrap();
            assert_eq!((again.seq, again.duplicate), (first.seq, true));
            let outcome = handle.outcome(&name("s")).await.unwrap();
            assert_eq!(outcome.message(), Some("hello"));
            let other = handle.submit(Submission::input("another").with_id(name("s"))).await;
            assert_eq!(other, Err(SubmitError::Conflict { submission: name("s") }));
            let unknown = handle.outcome(&name("never")).await.unwrap_err();
            assert!(matches!(unknown, OutcomeError::Unknown { .. }), "{unknown:?}");
            let history = handle.history().await.unwrap();
            let said = history.iter().filter(|r| r.class == RecordClass::UserMessage).count();
            assert_eq!(said, 1, "it ran once");
        });
    }
    place.sound();
}

#[test]
fn what_a_dead_host_left_gets_its_one_outcome_though_nobody_asks_for_it() {
    for (on_crash, running, attempts) in [
        (OnCrash::Interrupt, Outcome::Interrupted, 1),
        (OnCrash::Requeue { attempts_max: 3 }, completed("hang"), 2),
        (OnCrash::Requeue { attempts_max: 1 }, crashed(), 1),
    ] {
        let place = Place::new();
        let mut thread = None;
        place.dying(engine(), async |runtime: Runtime| {
            let config = ThreadConfig::default().with_on_crash(on_crash);
            let handle = runtime.spawn(SpawnThread::new().with_config(config)).await.unwrap();
            handle.run("before").await.unwrap();
            for (id, text) in [("running", "hang"), ("queued", "later"), ("last", "still later")] {
                handle.submit(Submission::input(text).with_id(name(id))).await.unwrap();
            }
            until_called(&handle).await;
            thread = Some(handle.id());
        });
        let thread = thread.unwrap();
        // The next host's engine does not hang. Nobody resumes the thread, nobody submits to it.
        place.host(ScriptedEngine::echo(), async |runtime: Runtime| {
            let handle = loop {
                match runtime.get(thread) {
                    Some(handle) => break handle,
                    None => tokio::task::yield_now().await,
                }
            };
            assert_eq!(handle.outcome(&name("running")).await.unwrap(), running, "{on_crash:?}");
            assert_eq!(handle.outcome(&name("queued")).await.unwrap(), completed("later"));
            assert_eq!(handle.outcome(&name("last")).await.unwrap(), completed("still later"));
            let history = handle.history().await.unwrap();
            wire_validity(&history).unwrap();
            let count = |wanted: fn(&RecordClass) -> bool| {
                history.iter().filter(|record| wanted(&record.class)).count()
            };
            assert_eq!(count(|class| matches!(class, RecordClass::ToolCall { .. })), 1);
            assert_eq!(count(|class| matches!(class, RecordClass::ToolOutput { .. })), 1);
            assert_eq!(count(|class| *class == RecordClass::UserMessage), 4, "each input once");
            let started = count(|class| matches!(class, RecordClass::TurnStarted { .. }));
            assert_eq!(started, 3 + attempts, "{on_crash:?}");
            wire_validity(&history).unwrap();
            assert!(!model_view(&history).items.is_empty());
        });
        place.sound();
    }
}

fn completed(text: &str) -> Outcome {
    Outcome::Completed { message: Some(text.into()) }
}

fn crashed() -> Outcome {
    Outcome::Crashed { cause: "its host died in mid-turn".into() }
}

#[test]
fn ac_42_ac_44_a_tree_comes_back_over_its_open_edges_with_names_and_depths() {
    for closes_child in [true, false] {
        let place = Place::new();
        let mut ids = Vec::new();
        let tree = async |runtime: &Runtime| {
            let root = runtime.spawn(SpawnThread::new()).await.unwrap();
            let mut config = ThreadConfig::default().with_role("explorer");
            config.nickname = Some("Ash".into());
            let child = SpawnThread::new().with_parent(root.id()).with_name("explorer");
            let child = runtime.spawn(child.with_config(config)).await.unwrap();
            let below = SpawnThread::new().with_parent(child.id()).with_name("worker");
            let below = runtime.spawn(below).await.unwrap();
            for thread in [&root, &child, &below] {
                thread.run("persist").await.unwrap();
            }
            [root.id(), child.id(), below.id()]
        };
        let fill = async |runtime: Runtime| {
            ids.extend(tree(&runtime).await);
            if closes_child {
                runtime.close(ids[1], BUDGET).await.unwrap();
            }
        };
        // AC-42 and AC-44 shut down; a host that dies leaves the same tree.
        if closes_child {
            place.host(engine(), fill);
        } else {
            place.dying(engine(), fill);
        }
        let ids: Vec<ThreadId> = ids.clone();
        place.host(engine(), async |runtime: Runtime| {
            let resumed = runtime.resume_tree(ids[0]).await.unwrap();
            assert!(resumed.failed.is_empty(), "{:?}", resumed.failed);
            let back: Vec<ThreadId> = resumed.below.iter().map(ThreadHandle::id).collect();
            if closes_child {
                assert!(back.is_empty(), "a closed edge blocks the descent");
                assert_eq!(runtime.status(ids[1]), ThreadStatus::NotFound);
                let stored = runtime.store().thread(ids[1]).await.unwrap();
                assert_eq!(stored.parent, Some((ids[0], EdgeStatus::Closed)));
                return;
            }
            assert_eq!(back, ids[1..]);
            let views: Vec<_> = resumed.below.iter().map(ThreadHandle::view).collect();
            let path = |at: usize| views[at].path.as_ref().map(ToString::to_string).unwrap();
            assert_eq!((path(0).as_str(), views[0].depth), ("/root/explorer", 1));
            assert_eq!((path(1).as_str(), views[1].depth), ("/root/explorer/worker", 2));
            // AC-36: a resumed sub-agent is who it was.
            assert_eq!(views[0].nickname.as_deref(), Some("Ash"));
            assert_eq!(views[0].role.as_deref(), Some("explorer"));
            assert_eq!(resumed.below[1].run("on").await.unwrap(), completed("on"));
        });
        place.sound();
    }
}

#[test]
fn ac_46_a_child_that_is_gone_takes_its_branch_out_of_the_resume_and_no_more() {
    let place = Place::new();
    let mut ids = Vec::new();
    place.host(engine(), async |runtime: Runtime| {
        let root = runtime.spawn(SpawnThread::new()).await.unwrap();
        for child in ["c", "d"] {
            let child = SpawnThread::new().with_parent(root.id()).with_name(child);
            let child = runtime.spawn(child).await.unwrap();
            let below = SpawnThread::new().with_parent(child.id());
            ids.extend([child.id(), runtime.spawn(below).await.unwrap().id()]);
        }
        ids.push(root.id());
    });
    // Its records are gone, as when somebody deletes a rollout.
    let connection = rusqlite::Connection::open(&place.path).unwrap();
    connection
        .execute(
            "DELETE FROM record WHERE thread = (SELECT pk FROM thread WHERE id = ?1)",
            [ids[0].to_string()],
        )
        .unwrap();
    connection.close().unwrap();
    // What lies in its row is damaged too, or nothing would have to be read.
    let harm = rusqlite::Connection::open(&place.path).unwrap();
    harm.execute("UPDATE thread SET cwd = 'x' WHERE id = ?1", [ids[0].to_string()]).unwrap();
    harm.close().unwrap();
    place.host(engine(), async |runtime: Runtime| {
        let resumed = runtime.resume_tree(ids[4]).await.unwrap();
        let back: Vec<ThreadId> = resumed.below.iter().map(ThreadHandle::id).collect();
        assert_eq!(back, [ids[2], ids[3]], "the other branch");
        let failed: Vec<ThreadId> = resumed.failed.iter().map(|(thread, _)| *thread).collect();
        assert_eq!(failed, [ids[0]], "named, as a placeholder");
        assert_eq!(runtime.status(ids[1]), ThreadStatus::NotFound);
        // Its branch stays listed.
        let below = runtime.store().descendants(ids[4], None).await.unwrap();
        assert_eq!(below.len(), 4);
    });
}

#[test]
fn mail_waits_on_disk_for_a_reader_that_is_not_there() {
    let place = Place::new();
    let mut ids = Vec::new();
    place.host(engine(), async |runtime: Runtime| {
        let parent = runtime.spawn(SpawnThread::new()).await.unwrap();
        let child = SpawnThread::new().with_parent(parent.id()).with_name("child");
        let child = runtime.spawn(child).await.unwrap();
        child.run("done").await.unwrap();
        ids.extend([parent.id(), child.id()]);
    });
    // P12: of the child's end the parent hears in its next turn, in another process.
    place.host(engine(), async |runtime: Runtime| {
        let parent = runtime.resume(ids[0]).await.unwrap();
        parent.run("what is new?").await.unwrap();
        let history = parent.history().await.unwrap();
        let told =
            history.iter().filter(|r| matches!(r.class, RecordClass::Envelope { .. })).count();
        assert_eq!(told, 1, "once");
        parent.run("and now?").await.unwrap();
        let history = parent.history().await.unwrap();
        let told =
            history.iter().filter(|r| matches!(r.class, RecordClass::Envelope { .. })).count();
        assert_eq!(told, 1, "and never again");
    });
}

#[test]
fn a_host_that_was_overtaken_can_write_nothing_any_more() {
    // P1: the file has one owner; a thread has one life.
    let place = Place::new();
    place.host(engine(), async |runtime: Runtime| {
        let busy = SqliteStore::open(&place.path).unwrap_err();
        assert!(busy.to_string().contains("in use"), "{busy}");
        let handle = runtime.spawn(SpawnThread::new()).await.unwrap();
        handle.submit("hang").await.unwrap();
        until_running(&handle).await;
        // Another incarnation takes over behind its back.
        let (done, acquired) = coppicer::Done::channel();
        runtime.store().acquire(handle.id(), done);
        let next = acquired.await.unwrap();
        let head = next.thread.head;
        let refused = handle.submit(Submission::input("late")).await;
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(runtime.store().thread(handle.id()).await.unwrap().head, head);
    });
    place.sound();
}

#[test]
fn many_dormant_threads_are_listed_without_loading_one() {
    const THREADS: usize = 2_000;
    let place = Place::new();
    place.host(engine(), async |runtime: Runtime| {
        let spawns = (0..THREADS).map(|_| runtime.spawn(SpawnThread::new()));
        for spawned in futures::future::join_all(spawns).await {
            spawned.unwrap();
        }
    });
    place.host(engine(), async |runtime: Runtime| {
        let (mut seen, mut after) = (0, None);
        loop {
            let query = ThreadQuery::new().take(300).after(after);
            let page = runtime.store().list(query).await.unwrap();
            seen += page.threads.len();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, THREADS);
        assert!(runtime.list().is_empty(), "none has a slot");
        assert_eq!(runtime.audit().await.count(coppicer::LeaseKind::Resident), 0);
    });
}

#[test]
fn a_steered_input_a_compaction_and_a_rollback_are_durable_too() {
    let place = Place::new();
    let mut thread = None;
    place.host(engine(), async |runtime: Runtime| {
        let handle = runtime.spawn(SpawnThread::new()).await.unwrap();
        handle.run("one").await.unwrap();
        handle.run("two").await.unwrap();
        handle.run(Op::Rollback { turns: 1 }).await.unwrap();
        let op =
            Op::UserInput { input: UserInput::from("three"), delivery: Delivery::SteerOrQueue };
        handle.run(op).await.unwrap();
        thread = Some(handle.id());
    });
    place.host(engine(), async |runtime: Runtime| {
        let handle = runtime.resume(thread.unwrap()).await.unwrap();
        let history = handle.history().await.unwrap();
        let view = model_view(&history);
        let users = view.items.iter().filter(|item| item.class == RecordClass::UserMessage).count();
        assert_eq!(users, 2, "the second turn was taken back");
        assert_eq!(handle.view().status, ThreadStatus::PendingInit);
        let stored = runtime.store().thread(handle.id()).await.unwrap();
        assert_eq!(stored.details.preview.as_deref(), Some("one"));
        assert_eq!(stored.settled, stored.head);
    });
}

#[test]
fn limits_of_a_host_are_the_same_on_disk() {
    // A host that passivates at once finds everything again on disk.
    let place = Place::new();
    let tokio = tokio_runtime();
    tokio.block_on(async {
        let mut limits = Limits::default();
        limits.idle_max = 3;
        let store = Arc::new(SqliteStore::open(&place.path).unwrap());
        let runtime = Runtime::builder()
            .engine(engine())
            .shared_store(store)
            .limits(limits)
            .start()
            .await
            .unwrap();
        let mut handles = Vec::new();
        for n in 0..12 {
            let handle = runtime.spawn(SpawnThread::new()).await.unwrap();
            handle.run(format!("turn {n}")).await.unwrap();
            handles.push(handle);
        }
        for (n, handle) in handles.iter().enumerate() {
            assert_eq!(handle.run("again").await.unwrap(), completed("again"), "thread {n}");
        }
        runtime.shutdown(BUDGET).await.unwrap();
        assert!(runtime.audit().await.is_empty());
    });
    tokio.shutdown_timeout(BUDGET);
    place.sound();
}

#[test]
fn a_damaged_thread_is_told_of_is_not_resumed_and_can_be_forked_up_to_the_damage() {
    let place = Place::new();
    let mut ids = Vec::new();
    place.host(engine(), async |runtime: Runtime| {
        for _ in 0..2 {
            let handle = runtime.spawn(SpawnThread::new()).await.unwrap();
            for text in ["one", "two", "three"] {
                handle.run(text).await.unwrap();
            }
            ids.push(handle.id());
        }
    });
    let harm = rusqlite::Connection::open(&place.path).unwrap();
    let sql = "UPDATE record SET raw = CAST('{}' AS BLOB) WHERE seq = 9
                 AND thread = (SELECT pk FROM thread WHERE id = ?1)";
    assert_eq!(harm.execute(sql, [ids[0].to_string()]).unwrap(), 1);
    harm.close().unwrap();
    place.host(engine(), async |runtime: Runtime| {
        let mut tap = runtime.tap(TapOptions::all()).unwrap();
        // Nothing of it was open, so nothing of it is read: it comes up, and fails where it is read.
        let damaged = runtime.resume(ids[0]).await.unwrap();
        let outcome = damaged.run("on").await;
        let failed = matches!(&outcome, Ok(Outcome::Failed { error }) if error.contains("damaged"));
        assert!(failed, "{outcome:?}");
        loop {
            match tap.next().await {
                Some(TapItem::Event(event)) => {
                    if let Fact::Thread(ThreadEvent::DamageFound { what }) = &event.fact {
                        assert!(what.contains("record 9"), "{what}");
                        assert_eq!(event.thread, Some(ids[0]));
                        break;
                    }
                }
                other => panic!("no damage was told of: {other:?}"),
            }
        }
        let refused = runtime.resume(ids[0]).await.unwrap_err();
        assert!(matches!(refused, SpawnError::Damaged { .. }), "{refused:?}");
        let stored = runtime.stored(ids[0]).await.unwrap();
        assert!(matches!(stored.status, ThreadStatus::Damaged(_)), "{:?}", stored.status);

        let fork = runtime.fork(ids[0], ForkPoint::Interrupted).await.unwrap();
        let history = fork.history().await.unwrap();
        wire_validity(&history).unwrap();
        assert_eq!(fork.run("on").await.unwrap(), completed("on"));
        // The other one is as it was.
        let sound = runtime.resume(ids[1]).await.unwrap();
        assert_eq!(sound.run("on").await.unwrap(), completed("on"));
    });
}

#[test]
fn ac_37_an_archived_thread_is_forked_and_resumed_by_a_later_host() {
    let place = Place::new();
    let mut thread = None;
    place.host(engine(), async |runtime: Runtime| {
        let handle = runtime.spawn(SpawnThread::new()).await.unwrap();
        handle.run("keep me").await.unwrap();
        runtime.archive(handle.id(), BUDGET).await.unwrap();
        thread = Some(handle.id());
    });
    let thread = thread.unwrap();
    place.host(engine(), async |runtime: Runtime| {
        let page = runtime.threads(ThreadQuery::new()).await.unwrap();
        assert!(page.threads.is_empty(), "it is listed with the archived");
        let fork = runtime.fork(thread, ForkPoint::Interrupted).await.unwrap();
        assert_eq!(fork.run("on").await.unwrap(), completed("on"));
        let handle = runtime.resume(thread).await.unwrap();
        assert_eq!(handle.id(), thread);
        assert_eq!(handle.run("on").await.unwrap(), completed("on"));
        // Deleted, it leaves its fork whole.
        runtime.delete(thread, BUDGET).await.unwrap();
        assert!(runtime.stored(thread).await.is_err());
        assert_eq!(fork.run("and on").await.unwrap(), completed("and on"));
        wire_validity(&fork.history().await.unwrap()).unwrap();
    });
    place.sound();
}

#[test]
fn p8_moves_are_on_disk_when_they_are_answered_and_a_host_that_dies_loses_none() {
    let place = Place::new();
    let ids: Arc<parking_lot::Mutex<Vec<ThreadId>>> = Arc::default();
    let told = ids.clone();
    place.dying(ScriptedEngine::echo(), async move |runtime| {
        let named = |name: &str| SpawnThread::new().with_name(name);
        let old = runtime.spawn(named("old")).await.unwrap();
        let new = runtime.spawn(named("new")).await.unwrap();
        let below = async |parent: &ThreadHandle, request: SpawnThread| {
            runtime.spawn(request.with_parent(parent.id())).await.unwrap()
        };
        let orphan = below(&old, named("orphan").with_parent_close(ParentClose::Detach)).await;
        let leaf = below(&orphan, named("leaf")).await;
        let adopted = below(&old, named("adopted")).await;
        let under = below(&adopted, named("under")).await;
        runtime.adopt(adopted.id(), Some(new.id())).await.unwrap();
        let report = runtime.close(old.id(), BUDGET).await.unwrap();
        assert_eq!(report.detached, [orphan.id()]);
        let all = [old, new, orphan, leaf, adopted, under];
        told.lock().extend(all.iter().map(ThreadHandle::id));
    });
    place.sound();
    let ids = ids.lock().clone();
    place.host(ScriptedEngine::echo(), async move |runtime| {
        let [old, new, orphan, leaf, adopted, under] = ids[..] else { panic!("{ids:?}") };
        let back = async |top| {
            let resumed = runtime.resume_tree(top).await.unwrap();
            assert!(resumed.failed.is_empty());
            let row = |it: &ThreadHandle| {
                let view = it.view();
                (view.thread, view.depth, view.path.unwrap().to_string())
            };
            resumed.below.iter().map(row).collect::<Vec<_>>()
        };
        assert_eq!(back(old).await, []);
        assert_eq!(back(orphan).await, [(leaf, 1, "/root/old/orphan/leaf".to_owned())]);
        let expected = [
            (adopted, 1, "/root/new/adopted".to_owned()),
            (under, 2, "/root/new/adopted/under".to_owned()),
        ];
        assert_eq!(back(new).await, expected);
        for (thread, depth) in [(orphan, 0), (leaf, 1), (adopted, 1), (under, 2)] {
            assert_eq!(runtime.stored(thread).await.unwrap().depth, depth);
        }
        assert_eq!(runtime.stored(orphan).await.unwrap().parent, None);
    });
    place.sound();
}
