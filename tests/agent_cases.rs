//! Cases of agents and their trees, by their ids in REF 12.2, 12.3, 12.10.
//!
//! Names for people: `tests/nicknames.rs`. Waits: `tests/waiting.rs`. Mail: `tests/mail.rs`. Limits
//! (AC-26, AC-28, AC-29, AR-05 to AR-07, EX-01, EX-02): `tests/limits.rs`. Others:
//! `tests/session_cases.rs`, `tests/reference_cases.rs`, `tests/persistence_cases.rs`.
//!
//! Without a like here: TL-01 to TL-09, TL-17, TL-18, TL-23 to TL-25 (the tools of a
//! model and their arguments are the host's; TL-16 is in `tests/session_cases.rs`); TL-29 (a host may
//! close any thread).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    AgentRow, FindAgentError, Limits, ListAgentsError, RecordClass, Script, ScriptedEngine,
    SpawnError, SpawnThread, Step, ThreadConfig, ThreadHandle, ThreadId, ThreadStatus,
};

fn below(parent: &ThreadHandle, name: &str) -> SpawnThread {
    SpawnThread::new().with_parent(parent.id()).with_name(name)
}

fn names(rows: &[AgentRow]) -> Vec<String> {
    rows.iter().map(AgentRow::name).collect()
}

async fn world() -> World {
    World::new(ScriptedEngine::echo()).await
}

async fn root(world: &World) -> ThreadHandle {
    world.spawn(SpawnThread::new()).await.expect("a root is spawned")
}

#[tokio::test(start_paused = true)]
async fn ac_12_an_unknown_thread_is_not_found() {
    let world = world().await;
    assert_eq!(world.status(ThreadId::from_parts(9, [0; 10])), ThreadStatus::NotFound);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_25_to_ac_27_a_tree_has_a_limit_and_a_closed_agent_gives_its_place_back() {
    let mut limits = Limits::default();
    limits.tree_max = 2; // the root counts here
    let world = World::with_limits(ScriptedEngine::echo(), limits).await;
    let top = root(&world).await;
    let a = world.spawn(below(&top, "a")).await.unwrap();
    let same_runtime = world.runtime().clone();
    let refused = same_runtime.spawn(below(&top, "b")).await.unwrap_err();
    let SpawnError::Limit(limit) = refused else { panic!("{refused:?}") };
    assert_eq!((limit.limit, limit.value), ("tree_max", 2));
    assert_eq!(limit.holders, [top.id(), a.id()], "who holds it, oldest first");
    a.close(BUDGET).await.unwrap();
    world.spawn(below(&top, "b")).await.unwrap();
    // AC-28: a resume needs a place too, and its stored thread is unchanged.
    let stored = async || {
        let history = world.store().read(a.id(), None).await.unwrap();
        (world.stored(a.id()).await.unwrap(), history.len())
    };
    let before = stored().await;
    let refused = world.resume(a.id()).await.unwrap_err();
    assert!(matches!(refused, SpawnError::Limit(_)), "{refused:?}");
    assert_eq!(stored().await, before);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ar_13_ar_18_each_root_is_the_root_of_its_own_tree() {
    let world = world().await;
    for _ in 0..2 {
        let top = root(&world).await;
        let a = world.spawn(below(&top, "a")).await.unwrap();
        for from in [&top, &a] {
            assert_eq!(world.resolve(from.id(), "/root").await, Ok(top.id()));
        }
        assert_eq!(world.resolve(top.id(), "a").await, Ok(a.id()));
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_01_who_has_a_parent_is_no_root_also_where_nobody_else_of_its_tree_is_in_memory() {
    let mut limits = Limits::default();
    limits.idle_after = Duration::from_secs(60);
    let world = World::with_limits(ScriptedEngine::echo(), limits).await;
    let (top, a) = {
        let top = root(&world).await;
        let a = world.spawn(below(&top, "a")).await.unwrap();
        assert_eq!(world.resolve(a.id(), "/root").await, Ok(top.id()));
        (top.id(), a.id())
    };
    tokio::time::sleep(Duration::from_secs(600)).await; // virtual
    assert!(world.get(top).is_none() && world.get(a).is_none(), "both left memory");
    let a = world.resume(a).await.unwrap();
    assert!(world.get(top).is_none(), "it came up by itself");
    assert_eq!(world.resolve(a.id(), "/root").await, Ok(top));
    assert_eq!((a.view().depth, a.view().path.unwrap().as_str()), (1, "/root/a"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ar_04_a_sub_agent_is_as_deep_as_its_place_says_whatever_it_is_for() {
    let mut limits = Limits::default();
    limits.depth_max = 1;
    let world = World::with_limits(ScriptedEngine::echo(), limits).await;
    let top = root(&world).await;
    let mut config = ThreadConfig::default();
    config.thread_source = Some("review".into());
    let review = world.spawn(below(&top, "review").with_config(config.clone())).await.unwrap();
    assert_eq!((top.view().depth, review.view().depth), (0, 1));
    let refused = world.spawn(below(&review, "deeper").with_config(config)).await.unwrap_err();
    assert!(matches!(refused, SpawnError::Limit(_)), "{refused:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_29_a_resume_of_an_unknown_thread_holds_no_place() {
    let mut limits = Limits::default();
    limits.resident_max = 1;
    let world = World::with_limits(ScriptedEngine::echo(), limits).await;
    let unknown = ThreadId::from_parts(9, [0; 10]);
    assert_eq!(world.resume(unknown).await, Err(SpawnError::NotFound { thread: unknown }));
    root(&world).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_30_ac_32_the_direct_parent_alone_hears_of_an_end() {
    let world = world().await;
    let top = root(&world).await;
    let worker = world.spawn(below(&top, "worker_a")).await.unwrap();
    let tester = world.spawn(below(&worker, "tester")).await.unwrap();
    tester.run("done").await.unwrap();
    // The mail is read with the next turn of each.
    worker.run("go on").await.unwrap();
    let heard = |history: &coppicer::History| {
        let mails = history.iter().filter(|r| matches!(r.class, RecordClass::Envelope { .. }));
        mails.map(|record| String::from_utf8_lossy(&record.raw).into_owned()).collect::<Vec<_>>()
    };
    let mails = heard(&worker.history().await.unwrap());
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert!(mails[0].contains("/root/worker_a/tester") && mails[0].contains("completed"));
    tester.close(BUDGET).await.unwrap();
    worker.run("and on").await.unwrap();
    let mails = heard(&worker.history().await.unwrap());
    assert!(mails.len() == 2 && mails[1].contains("shutdown"), "AC-30: {mails:?}");
    top.run("hello").await.unwrap();
    let mails = heard(&top.history().await.unwrap());
    let of_worker = |mail: &String| mail.contains(r#"\"author\":\"/root/worker_a\""#);
    assert!(mails.iter().all(of_worker), "{mails:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ac_39_a_subtree_is_what_hangs_below_a_thread() {
    let world = world().await;
    let p = root(&world).await;
    let c = world.spawn(below(&p, "c")).await.unwrap();
    let g = world.spawn(below(&c, "g")).await.unwrap();
    assert_eq!(world.subtree(p.id()).await.unwrap(), [p.id(), c.id(), g.id()]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ar_03_a_child_is_one_level_deeper_and_too_deep_is_refused() {
    let mut limits = Limits::default();
    limits.depth_max = 1;
    let world = World::with_limits(ScriptedEngine::echo(), limits).await;
    let top = root(&world).await;
    assert_eq!(top.view().depth, 0, "AR-02");
    let child = world.spawn(below(&top, "child")).await.unwrap();
    assert_eq!(child.view().depth, 1);
    let refused = world.spawn(below(&child, "deeper")).await.unwrap_err();
    assert!(matches!(refused, SpawnError::Limit(limit) if limit.limit == "depth_max"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn ar_14_ar_15_ar_16_a_path_is_held_by_one_agent_until_it_is_closed() {
    let world = world().await;
    let top = root(&world).await;
    let undone = below(&top, "researcher").with_first("");
    assert!(world.spawn(undone).await.is_err());
    let researcher = world.spawn(below(&top, "researcher")).await.unwrap(); // AR-14
    assert_eq!(world.resolve(top.id(), "researcher").await, Ok(researcher.id()), "AR-15");
    let refused = world.spawn(below(&top, "researcher")).await.unwrap_err();
    assert_eq!(refused, SpawnError::PathTaken { path: "/root/researcher".into() }, "AR-16");
    researcher.close(BUDGET).await.unwrap();
    let path = "/root/researcher".parse().unwrap();
    let gone = world.resolve(top.id(), "researcher").await.unwrap_err();
    assert_eq!(gone, FindAgentError::UnknownPath { path });
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tl_11_tl_13_agents_are_listed_with_the_root_first_and_closed_ones_are_not() {
    let world = world().await;
    let top = root(&world).await;
    let worker = world.spawn(below(&top, "worker")).await.unwrap();
    worker.run("task text 1").await.unwrap();
    let hidden = SpawnThread::new().with_config(ThreadConfig::default().internal());
    world.spawn(hidden.with_parent(top.id())).await.unwrap();
    let rows = world.agents(top.id(), None).await.unwrap();
    assert_eq!(names(&rows), ["/root", "/root/worker"]);
    assert_eq!(rows[0].last_task.as_deref(), Some("Main thread"));
    assert_eq!(rows[1].status, ThreadStatus::Completed(Some("task text 1".into())));
    assert_eq!(rows[1].last_task.as_deref(), Some("task text 1"));
    assert_eq!(rows[1].nickname, worker.view().nickname);
    worker.close(BUDGET).await.unwrap();
    assert_eq!(names(&world.agents(top.id(), None).await.unwrap()), ["/root"], "TL-13");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tl_12_a_prefix_is_relative_to_the_caller_and_ends_at_whole_segments() {
    let world = world().await;
    let top = root(&world).await;
    let researcher = world.spawn(below(&top, "researcher")).await.unwrap();
    let worker = world.spawn(below(&researcher, "worker")).await.unwrap();
    world.spawn(below(&researcher, "worker_2")).await.unwrap();
    let nameless = SpawnThread::new().with_parent(top.id());
    let nameless = world.spawn(nameless).await.unwrap();
    worker.run("build").await.unwrap();
    let list = |from: ThreadId, prefix| {
        let world = &world;
        async move { names(&world.agents(from, prefix).await.unwrap()) }
    };
    let rows = world.agents(researcher.id(), Some("worker")).await.unwrap();
    assert_eq!(names(&rows), ["/root/researcher/worker"]);
    assert_eq!(rows[0].last_task.as_deref(), Some("build"));
    let all = list(worker.id(), Some("/root")).await;
    let id = nameless.id().to_string();
    let paths = ["/root/researcher", "/root/researcher/worker", "/root/researcher/worker_2"];
    assert_eq!(all, [&["/root", &id][..], &paths[..]].concat());
    assert_eq!(list(top.id(), None).await, all);
    assert_eq!(list(top.id(), Some("researcher")).await, paths, "what has no path is not in it");
    let bad = world.agents(top.id(), Some("Bad")).await.unwrap_err();
    assert!(matches!(bad, ListAgentsError::BadPrefix(_)));
    let unknown = ThreadId::from_parts(9, [0; 10]);
    let gone = world.agents(unknown, None).await.unwrap_err();
    assert_eq!(gone, ListAgentsError::NotFound { thread: unknown });
    // Another tree has agents of its own.
    let other = root(&world).await;
    assert_eq!(list(other.id(), None).await, ["/root"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn agents_that_left_memory_are_listed_and_found_and_not_woken() {
    let world = world().await;
    let top = root(&world).await;
    let sleeper = world.spawn(below(&top, "sleeper")).await.unwrap();
    sleeper.run("dream").await.unwrap();
    let id = sleeper.id();
    sleeper.hibernate().await.unwrap();
    drop(sleeper);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.get(id), None, "it left memory");
    let rows = world.agents(top.id(), None).await.unwrap();
    assert_eq!(names(&rows), ["/root", "/root/sleeper"]);
    let row = &rows[1];
    assert_eq!((row.thread, row.loaded), (id, false));
    assert_eq!(row.last_task.as_deref(), Some("dream"));
    assert!(row.nickname.is_some());
    assert_eq!(world.resolve(top.id(), "/root/sleeper").await, Ok(id));
    assert_eq!(names(&world.agents(id, None).await.unwrap()), names(&rows), "from itself too");
    assert_eq!(world.get(id), None);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_says_how_many_it_leaves_out_and_a_path_that_it_leaves_out_is_not_said_to_be_none() {
    for (most, left_out) in [(4, 0), (3, 1), (1, 3)] {
        let mut limits = Limits::default();
        limits.agents_listed_max = most;
        let world = World::with_limits(ScriptedEngine::echo(), limits).await;
        let top = root(&world).await;
        let mut kept = Vec::new();
        for name in ["a", "b", "c"] {
            kept.push(world.spawn(below(&top, name)).await.unwrap());
        }
        let list = world.agents(top.id(), None).await.unwrap();
        assert_eq!((list.len(), list.not_looked_at), (4 - left_out, left_out));
        assert_eq!(list.is_whole(), left_out == 0);
        let last = world.resolve(top.id(), "c").await;
        if let Err(error) = &last {
            let told = format!("{left_out} threads of the tree were not looked at");
            assert!(error.to_string().contains(&told), "{error}");
        }
        assert_eq!(last.is_ok(), left_out == 0, "{last:?}");
        let unknown = world.resolve(top.id(), "nobody").await.unwrap_err();
        let is_unknown = matches!(unknown, FindAgentError::UnknownPath { .. });
        assert_eq!(is_unknown, left_out == 0, "{unknown}");
        assert_eq!(world.resolve(top.id(), &kept[2].id().to_string()).await, Ok(kept[2].id()));
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reference_is_an_id_first_and_else_a_path() {
    let world = world().await;
    let top = root(&world).await;
    let a = world.spawn(below(&top, "a")).await.unwrap();
    let b = world.spawn(below(&a, "b")).await.unwrap();
    let find = |from: ThreadId, reference: String| {
        let world = &world;
        async move { world.resolve(from, &reference).await }
    };
    assert_eq!(find(top.id(), b.id().to_string()).await, Ok(b.id()));
    assert_eq!(find(a.id(), "b".into()).await, Ok(b.id()));
    assert_eq!(find(top.id(), "a/b".into()).await, Ok(b.id()));
    assert_eq!(find(b.id(), "/root".into()).await, Ok(top.id()));
    let unknown = ThreadId::from_parts(9, [0; 10]);
    let refused = find(top.id(), unknown.to_string()).await.unwrap_err();
    assert_eq!(refused, FindAgentError::UnknownId { thread: unknown });
    let refused = find(top.id(), "b".into()).await.unwrap_err();
    assert!(refused.to_string().contains("live agent path `/root/b` not found"), "{refused}");
    let refused = find(top.id(), "../b".into()).await.unwrap_err();
    assert!(matches!(refused, FindAgentError::BadReference { .. }), "{refused:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tl_14_tl_15_each_end_of_a_turn_is_told_once_and_an_interrupt_too() {
    // TL-15 differs on purpose: an interrupted turn is an end, and is told.
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    });
    let world = World::new(engine).await;
    let top = root(&world).await;
    let worker = world.spawn(below(&top, "worker")).await.unwrap();
    worker.run("first done").await.unwrap();
    worker.run("second done").await.unwrap();
    worker.submit("hang").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    worker.interrupt().await.unwrap();
    top.run("hello").await.unwrap();
    let history = top.history().await.unwrap();
    let mails = history.iter().filter(|r| matches!(r.class, RecordClass::Envelope { .. }));
    let mails: Vec<&RecordClass> = mails.map(|record| &record.class).collect();
    assert_eq!(mails.len(), 3);
    let trigger = |class: &&RecordClass| matches!(class, RecordClass::Envelope { trigger: true });
    assert!(!mails.iter().any(trigger), "none of them starts a turn");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tl_28_tl_30_a_branch_that_is_closed_resumed_and_closed_again_stays_out_of_its_tree() {
    let world = world().await;
    let p = root(&world).await;
    let c = world.spawn(below(&p, "c")).await.unwrap().id();
    let g = SpawnThread::new().with_parent(c).with_name("g");
    let g = world.spawn(g).await.unwrap().id();
    let statuses = |world: &World| [c, g].map(|thread| world.status(thread).name());
    world.close(c, BUDGET).await.unwrap();
    assert_eq!(statuses(&world), ["not_found"; 2]);
    let resumed = world.resume_tree(c).await.unwrap();
    assert!(resumed.failed.is_empty());
    assert_eq!(statuses(&world), ["pending_init"; 2]);
    assert_eq!(world.resolve(p.id(), "c/g").await, Ok(g), "with its name");
    world.close(c, BUDGET).await.unwrap();
    world.close(p.id(), BUDGET).await.unwrap();
    let resumed = world.resume_tree(p.id()).await.unwrap();
    assert!(resumed.below.is_empty() && resumed.failed.is_empty());
    assert_eq!(statuses(&world), ["not_found"; 2]);
    // TL-28: closing what is closed is a success, and its name is free.
    world.close(c, BUDGET).await.unwrap();
    let replacement = below(&p, "c").with_id(ThreadId::from_parts(9, [3; 10]));
    world.spawn(replacement).await.unwrap();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn tl_31_tl_32_a_resume_of_a_running_thread_changes_nothing() {
    let world = world().await;
    let thread = root(&world).await;
    thread.run("hello").await.unwrap();
    let before = (thread.status(), world.list().len(), thread.view().epoch);
    let again = world.resume(thread.id()).await.unwrap();
    assert_eq!(again, thread);
    assert_eq!((again.status(), world.list().len(), again.view().epoch), before);
    thread.close(BUDGET).await.unwrap();
    let again = world.resume(thread.id()).await.unwrap();
    assert_ne!(again.status(), ThreadStatus::NotFound, "TL-31");
    assert!(!again.submit("hello").await.unwrap().submission.as_str().is_empty());
    world.end().await;
}
