//! One run: import, resume, send, close, verify.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coppicer::{
    Backoff, CloseReport, IdSource, ImportThread, MemoryStore, NewThread, RestartPolicy, Runtime,
    SpawnThread, ThreadConfig, ThreadHandle, ThreadId,
};
use futures::{FutureExt, StreamExt, stream};
use tokio::time::Instant;

use super::Args;
use super::engine::{Lot, engine};
use super::forest::{Place, plant};
use super::jobs::{self, Interrupt, Job};
use super::load::{Loaded, Session, load};
use super::memory::resident_bytes;
use super::progress::Progress;
use super::report::{Memory, Report};
use super::verify::verify;
use crate::cli::{Failure, say, text};

/// Spawns and resumes that are under way at once.
const SPAWNS_MAX: usize = 256;

pub(super) async fn drive(args: &Args) -> Result<Report, Failure> {
    let started = Instant::now();
    // A task of its own, so that the signal is caught from the start.
    let interrupt = tokio::spawn(interrupted()).map(drop).boxed().shared();
    let Loaded { sessions, mut problems, files } = load(&args.paths);
    let places = plant(&sessions, &mut problems);
    let mut report = Report { files, seed: args.seed, ..Report::default() };
    for problem in problems {
        let problem = text::with_causes(&problem);
        say(&format!("error: {problem}"));
        report.problems.push(problem);
    }
    let fresh = args.threads.unwrap_or(0);
    let mut jobs: BTreeMap<ThreadId, Job> = places
        .iter()
        .map(|place| (place.thread, Job::of_session(&sessions[&place.thread].history, args.turns)))
        .collect();
    report.unfinished = jobs.values().filter(|job| job.has_unfinished()).count();
    let all = jobs.values().map(Job::len).sum::<usize>();
    let mut progress = Progress::new(all + fresh * args.turns as usize, args.json);

    let store = Arc::new(MemoryStore::new());
    let lot = Lot { seed: args.seed, probability: args.crash };
    let runtime = Runtime::builder()
        .engine(engine(args.engine, lot))
        .shared_store(store.clone())
        .start()
        .await
        .map_err(Failure::Start)?;

    import(&runtime, sessions, &places, &mut report).await;
    let handles = resume(&runtime, &places, &mut report).await;
    report.threads = handles.len();
    let running: BTreeSet<ThreadId> = handles.iter().map(ThreadHandle::id).collect();
    let is_root = |place: &&Place| place.parent.is_none() && running.contains(&place.thread);
    report.trees = places.iter().filter(is_root).count();
    if report.threads > 0 {
        let (threads, trees) =
            (text::count(report.threads, "thread"), text::count(report.trees, "tree"));
        progress.phase(&format!("{threads} in {trees} resumed"));
    }
    let work: Vec<_> = handles
        .into_iter()
        .filter_map(|handle| jobs.get(&handle.id()).cloned().map(|job| (handle, job)))
        .collect();
    let sent = jobs::send_all(work, &mut progress, &interrupt).await;
    report.failures.extend(sent.failures);
    report.interrupted = sent.interrupted;

    if fresh > 0 && !report.interrupted {
        let before = resident_bytes();
        let handles = spawn(&runtime, fresh, args.seed, &interrupt, &mut report).await;
        report.threads += handles.len();
        report.trees += handles.len();
        progress.phase(&format!("{} spawned", text::count(handles.len(), "fresh thread")));
        let spawned = resident_bytes();
        let job = Job::of_fresh(args.turns);
        let count = handles.len();
        jobs.extend(handles.iter().map(|handle| (handle.id(), job.clone())));
        let work = handles.into_iter().map(|handle| (handle, job.clone())).collect();
        let sent = jobs::send_all(work, &mut progress, &interrupt).await;
        report.failures.extend(sent.failures);
        report.interrupted = sent.interrupted;
        report.memory = each(count, before, spawned, resident_bytes());
    }

    report.restarts = runtime.list().iter().map(|view| view.crashes).sum();
    progress.phase("closing");
    close(&runtime, args.deadline, &mut report).await;
    progress.finish();
    verify(&*store, &jobs, &mut report).await;
    report.wall_ms = started.elapsed().as_millis() as u64;
    Ok(report)
}

/// Done when the user interrupts the run. Where signals cannot be had, never.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What every thread of a run is given: as many restarts as it takes, at once, so that chance and
/// time decide nothing.
fn config() -> ThreadConfig {
    let pause = Duration::from_millis(1);
    let backoff = Backoff { initial: pause, factor: 1.0, max: pause, jitter: 0.0 };
    let policy =
        RestartPolicy::default().with_limit(u32::MAX, Duration::from_secs(1)).with_backoff(backoff);
    ThreadConfig::default().with_restart(policy)
}

pub(super) async fn import(
    runtime: &Runtime,
    mut sessions: BTreeMap<ThreadId, Session>,
    places: &[Place],
    report: &mut Report,
) {
    for place in places {
        let Some(Session { meta, path, history }) = sessions.remove(&place.thread) else {
            continue;
        };
        let mut thread = NewThread::root(place.thread, meta.created_ms.unwrap_or(0));
        thread.parent = place.parent;
        thread.depth = place.depth;
        thread.path.clone_from(&place.path);
        thread.rollout_path = Some(path.display().to_string());
        thread.config = config().with_cwd(meta.cwd);
        thread.config.nickname = meta.agent_nickname;
        thread.config.role = meta.agent_role;
        if let Err(error) = runtime.import(ImportThread::new(thread, history)).await {
            let error = text::with_causes(&error);
            report.failures.push(format!("{}: cannot be imported: {error}", path.display()));
        }
    }
}

/// Resumes every tree, from its root.
async fn resume(runtime: &Runtime, places: &[Place], report: &mut Report) -> Vec<ThreadHandle> {
    let roots = places.iter().filter(|place| place.parent.is_none());
    let resumes = roots.map(|place| {
        let root = place.thread;
        runtime.resume_tree(root).map(move |resumed| (root, resumed))
    });
    let mut resumed = stream::iter(resumes).buffer_unordered(SPAWNS_MAX);
    let mut handles = Vec::new();
    while let Some((root, tree)) = resumed.next().await {
        let mut failed = |thread: ThreadId, error| {
            let error = text::with_causes(error);
            report.failures.push(format!("thread {thread}: cannot be resumed: {error}"));
        };
        match tree {
            Ok(tree) => {
                handles.push(tree.thread);
                handles.extend(tree.below);
                for (thread, error) in &tree.failed {
                    failed(*thread, error);
                }
            }
            Err(error) => failed(root, &error),
        }
    }
    handles
}

/// Fresh threads, with ids that follow from the seed. Fewer, if the run is interrupted.
async fn spawn(
    runtime: &Runtime,
    count: usize,
    seed: u64,
    interrupt: &Interrupt,
    report: &mut Report,
) -> Vec<ThreadHandle> {
    let ids = IdSource::seeded(seed);
    let spawns = (0..count).map(|_| {
        let id = ids.thread(0);
        runtime.spawn(SpawnThread::new().with_id(id).with_config(config()))
    });
    let spawned = stream::iter(spawns).buffer_unordered(SPAWNS_MAX);
    let mut spawned = spawned.take_until(interrupt.clone());
    let mut handles = Vec::with_capacity(count);
    while let Some(handle) = spawned.next().await {
        match handle {
            Ok(handle) => handles.push(handle),
            Err(error) => report.failures.push(text::with_causes(&error)),
        }
    }
    handles
}

/// Bytes of each of `count` threads.
fn each(
    count: usize,
    before: Option<u64>,
    spawned: Option<u64>,
    idle: Option<u64>,
) -> Option<Memory> {
    let share = |after: u64| Some(after.saturating_sub(before?) / count.max(1) as u64);
    Some(Memory { threads: count, spawned_bytes: share(spawned?)?, idle_bytes: share(idle?)? })
}

async fn close(runtime: &Runtime, deadline: Duration, report: &mut Report) {
    let started = Instant::now();
    match runtime.shutdown(deadline).await {
        Ok(CloseReport { threads, timed_out, submit_failed, .. }) => {
            for row in &threads {
                *report.shutdown.entry(row.rung.as_str().to_owned()).or_default() += 1;
            }
            report.timed_out = timed_out.len();
            let lost = submit_failed.iter().map(|id| format!("thread {id}: crashed in the close"));
            report.failures.extend(lost);
        }
        Err(error) => {
            report.failures.push(format!("the shutdown failed: {}", text::with_causes(&error)));
        }
    }
    report.shutdown_ms = started.elapsed().as_millis() as u64;
    let audit = runtime.audit().await;
    let drift = audit.drift.iter().map(|(kind, by)| format!("{kind:?} drifts by {by}"));
    let held = audit.live.iter().map(|row| {
        format!("{} {:?} held by {:?} after everything was closed", row.count, row.kind, row.owner)
    });
    report.audit = drift.chain(held).collect();
}
