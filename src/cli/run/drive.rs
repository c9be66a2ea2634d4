//! One run: import, resume, send, close, verify.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coppicer::{
    CloseReport, IdSource, MemoryStore, Runtime, SpawnThread, SqliteStore, StoreError,
    SubmissionState, ThreadHandle, ThreadId, ThreadStore,
};
use futures::{FutureExt, StreamExt, stream};
use tokio::time::Instant;

use super::Args;
use super::engine::engine;
use super::forest::{Place, parents_elsewhere, plant};
use super::jobs::{self, Interrupt, Job, Orders};
use super::keep::{config, keep, stored_depths};
use super::load::{Loaded, load};
use super::lot::Lot;
use super::progress::Progress;
use super::record::{self, Recording};
use super::report::{Continued, Memory, Report};
use super::verify::{state_of, verify};
use crate::cli::memory::resident_bytes;
use crate::cli::{Failure, say, text};

/// Spawns and resumes that are under way at once.
const SPAWNS_MAX: usize = 256;

/// What a run leaves: its report, and the store, which must be closed when nothing runs any more.
pub(super) struct Driven {
    pub(super) report: Report,
    pub(super) store: Option<Arc<SqliteStore>>,
}

pub(super) async fn drive(args: &Args) -> Result<Driven, Failure> {
    let started = Instant::now();
    let recorder = args.record.as_deref().map(record::open).transpose()?;
    // A task of its own, so that the signal is caught from the start.
    let interrupt = tokio::spawn(interrupted()).map(drop).boxed().shared();
    let file = if args.memory { None } else { Some(Arc::new(args.store.open_or_make()?)) };
    let store: Arc<dyn ThreadStore> = match &file {
        Some(file) => file.clone(),
        None => Arc::new(MemoryStore::new()),
    };
    let Loaded { sessions, mut problems, files } = load(&args.paths);
    let stored = stored_depths(&*store, parents_elsewhere(&sessions)).await;
    let stored = stored.map_err(Failure::StoreAsked)?;
    let mut places = plant(&sessions, &stored, &mut problems);
    let lot = Lot { seed: args.seed, probability: args.crash };
    let orders = Orders { turns: args.turns, lot, engine: args.engine.engine };
    let mut jobs: BTreeMap<ThreadId, Job> = sessions
        .iter()
        .map(|(&thread, session)| (thread, Job::of_session(&session.history, orders)))
        .collect();
    let kept = keep(&*store, sessions, &places, &mut problems).await;
    places.retain(|place| kept.has(place.thread));
    jobs.retain(|&thread, _| kept.has(thread));

    let mut report = Report { files, seed: args.seed, ..Report::default() };
    report.store = file.as_ref().map(|file| file.path().display().to_string());
    for problem in problems {
        let problem = text::with_causes(&problem);
        say(&format!("error: {problem}"));
        report.problems.push(problem);
    }
    // Their ids follow from the seed.
    let ids = IdSource::seeded(args.seed);
    let fresh: Vec<ThreadId> = (0..args.threads.unwrap_or(0)).map(|_| ids.thread(0)).collect();
    let fresh_known = known_of(&*store, &fresh).await.map_err(Failure::StoreAsked)?;
    jobs.extend(fresh.iter().map(|&thread| (thread, Job::of_fresh(orders))));
    let known = kept.known.iter().chain(&fresh_known).copied();
    report.continued = find_done(&*store, known, &jobs).await;
    report.unfinished = jobs.values().filter(|job| job.has_unfinished()).count();
    let all = jobs.values().map(Job::len).sum::<usize>();
    let mut progress = Progress::new(all, args.json);

    let runtime = Runtime::builder()
        .engine(engine(args.engine))
        .shared_store(store.clone())
        .start()
        .await
        .map_err(Failure::Start)?;
    let recording = recorder.map(|recorder| record::start(&runtime, recorder)).transpose()?;
    #[cfg(feature = "console")]
    let console = {
        let path = file.as_ref().map(|file| file.path());
        let start = || args.console_at.start(&runtime, path, args.engine.engine.label());
        args.console.then(start).transpose()?
    };
    let mut up: BTreeSet<ThreadId> = BTreeSet::new();
    let handles = resume(&runtime, &places, &mut report).await;
    up.extend(handles.iter().map(ThreadHandle::id));
    let hangs = |place: &Place| place.parent.is_some_and(|parent| up.contains(&parent));
    let is_root = |place: &&Place| up.contains(&place.thread) && !hangs(place);
    report.trees = places.iter().filter(is_root).count();
    if !handles.is_empty() {
        let (threads, trees) =
            (text::count(handles.len(), "thread"), text::count(report.trees, "tree"));
        progress.phase(&format!("{threads} in {trees} resumed"));
    }
    send(handles, &jobs, &mut progress, &interrupt, &mut report).await;

    if !fresh.is_empty() && !report.interrupted {
        let before = resident_bytes();
        let handles = spawn(&runtime, &fresh, &fresh_known, &interrupt, &mut report).await;
        up.extend(handles.iter().map(ThreadHandle::id));
        report.trees += handles.len();
        progress.phase(&format!("{} spawned", text::count(handles.len(), "fresh thread")));
        let (count, spawned) = (handles.len(), resident_bytes());
        send(handles, &jobs, &mut progress, &interrupt, &mut report).await;
        report.memory = each(count, before, spawned, resident_bytes());
    }

    report.threads = up.len();
    report.restarts = runtime.list().iter().map(|view| view.crashes).sum();
    #[cfg(feature = "console")]
    if let Some(console) = console.as_ref().filter(|_| !report.interrupted) {
        progress.phase("all turns have ended; the console serves on");
        console.keep(interrupt.clone(), args.console_for).await;
    }
    progress.phase("closing");
    // It ends with the runtime; what it holds is to be back before the audit.
    let watchers_end = async {
        #[cfg(feature = "console")]
        if let Some(console) = console {
            console.stop().await;
        }
    };
    close(&runtime, args.deadline, recording, watchers_end, &mut report).await;
    progress.finish();
    // What did not come up is told as a failure, and has nothing to be judged by.
    jobs.retain(|thread, _| up.contains(thread));
    verify(&*store, &jobs, &mut report).await;
    report.wall_ms = started.elapsed().as_millis() as u64;
    Ok(Driven { report, store: file })
}

/// Sends each of the threads what its job says.
async fn send(
    handles: Vec<ThreadHandle>,
    jobs: &BTreeMap<ThreadId, Job>,
    progress: &mut Progress,
    interrupt: &Interrupt,
    report: &mut Report,
) {
    let work: Vec<_> = handles
        .into_iter()
        .filter_map(|handle| jobs.get(&handle.id()).cloned().map(|job| (handle, job)))
        .collect();
    let sent = jobs::send_all(work, progress, interrupt).await;
    report.failures.extend(sent.failures);
    report.interrupted |= sent.interrupted;
}

/// Done when the user interrupts the run. Where signals cannot be had, never.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// How much of this run the store has already. Looked up before the runtime starts, which goes on
/// with what is unfinished.
async fn find_done(
    store: &dyn ThreadStore,
    known: impl Iterator<Item = ThreadId>,
    jobs: &BTreeMap<ThreadId, Job>,
) -> Continued {
    let mut continued = Continued::default();
    for thread in known {
        continued.threads += 1;
        for submission in jobs.get(&thread).into_iter().flat_map(Job::ids) {
            match state_of(store, thread, &submission).await {
                Ok(Some(SubmissionState::Ended(_))) => continued.ended += 1,
                Ok(Some(_)) => continued.begun += 1,
                // They are sent one after the other.
                Ok(None) | Err(_) => break,
            }
        }
    }
    continued
}

/// Resumes every thread, parents before children.
async fn resume(runtime: &Runtime, places: &[Place], report: &mut Report) -> Vec<ThreadHandle> {
    let mut handles = Vec::new();
    for level in places.chunk_by(|one, other| one.depth == other.depth) {
        let resumes = level.iter().map(|place| {
            let thread = place.thread;
            runtime.resume(thread).map(move |resumed| (thread, resumed))
        });
        let mut resumed = stream::iter(resumes).buffer_unordered(SPAWNS_MAX);
        while let Some((thread, resumed)) = resumed.next().await {
            match resumed {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    let error = text::with_causes(&error);
                    report.failures.push(format!("thread {thread}: cannot be resumed: {error}"));
                }
            }
        }
    }
    handles
}

/// Fresh threads; those that the store has already are resumed. Fewer, if the run is interrupted.
async fn spawn(
    runtime: &Runtime,
    ids: &[ThreadId],
    known: &BTreeSet<ThreadId>,
    interrupt: &Interrupt,
    report: &mut Report,
) -> Vec<ThreadHandle> {
    let spawns = ids.iter().map(|&id| {
        let request = if known.contains(&id) {
            SpawnThread::resume(id)
        } else {
            SpawnThread::new().with_id(id).with_config(config())
        };
        runtime.spawn(request)
    });
    let spawned = stream::iter(spawns).buffer_unordered(SPAWNS_MAX);
    let mut spawned = spawned.take_until(interrupt.clone());
    let mut handles = Vec::with_capacity(ids.len());
    while let Some(handle) = spawned.next().await {
        match handle {
            Ok(handle) => handles.push(handle),
            Err(error) => report.failures.push(text::with_causes(&error)),
        }
    }
    handles
}

/// Those of `threads` that the store has.
async fn known_of(
    store: &dyn ThreadStore,
    threads: &[ThreadId],
) -> Result<BTreeSet<ThreadId>, StoreError> {
    let look = threads.iter().map(|&thread| store.thread(thread).map(move |found| (thread, found)));
    let mut looked = stream::iter(look).buffer_unordered(SPAWNS_MAX);
    let mut known = BTreeSet::new();
    while let Some((thread, found)) = looked.next().await {
        match found {
            Ok(_) => drop(known.insert(thread)),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(known)
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

async fn close(
    runtime: &Runtime,
    deadline: Duration,
    recording: Option<Recording>,
    watchers_end: impl Future<Output = ()>,
    report: &mut Report,
) {
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
    if let Some(recording) = recording {
        recording.finish(report).await;
    }
    watchers_end.await;
    let audit = runtime.audit().await;
    let drift = audit.drift.iter().map(|(kind, by)| format!("{kind:?} drifts by {by}"));
    let held = audit.live.iter().map(|row| {
        format!("{} {:?} held by {:?} after everything was closed", row.count, row.kind, row.owner)
    });
    report.audit = drift.chain(held).collect();
}
