//! Puts sessions into a store, or finds that it has them already.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coppicer::{
    Backoff, Done, History, NewRecord, NewThread, OnCrash, RestartPolicy, Seq, StoreError,
    ThreadConfig, ThreadId, ThreadStore, is_settled, preview_of,
};
use futures::{StreamExt, stream};

use super::forest::Place;
use super::load::{Session, meta_line};
use super::problem::Problem;

/// Sessions that are put in at once: together they stay well below what a store lets wait.
const IMPORTS_MAX: usize = 8;

/// What the store has of the sessions that it was given.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Threads that it was given now.
    pub(super) new: BTreeSet<ThreadId>,
    /// Threads that it had, with records that begin as the session's do.
    pub(super) known: BTreeSet<ThreadId>,
}

impl Kept {
    pub(super) fn has(&self, thread: ThreadId) -> bool {
        self.new.contains(&thread) || self.known.contains(&thread)
    }
}

/// What every thread of a run is given: as many restarts and attempts as it takes, at once, so that
/// chance, time and the moment of a kill decide nothing.
pub(super) fn config() -> ThreadConfig {
    let pause = Duration::from_millis(1);
    let backoff = Backoff { initial: pause, factor: 1.0, max: pause, jitter: 0.0 };
    let policy =
        RestartPolicy::default().with_limit(u32::MAX, Duration::from_secs(1)).with_backoff(backoff);
    ThreadConfig::default()
        .with_restart(policy)
        .with_on_crash(OnCrash::Requeue { attempts_max: u32::MAX })
}

/// Imports every session that has a place, parents before children. One that the store has is left as
/// it is there; one that differs from what the store has is a problem, and so is all below it.
pub(super) async fn keep(
    store: &dyn ThreadStore,
    mut sessions: BTreeMap<ThreadId, Session>,
    places: &[Place],
    problems: &mut Vec<Problem>,
) -> Kept {
    let mut kept = Kept::default();
    let given: BTreeSet<ThreadId> = places.iter().map(|place| place.thread).collect();
    for level in places.chunk_by(|one, other| one.depth == other.depth) {
        let mut imports = Vec::new();
        for place in level {
            let Some(session) = sessions.remove(&place.thread) else { continue };
            let parent = place.parent.filter(|parent| given.contains(parent));
            match parent.filter(|&parent| !kept.has(parent)) {
                Some(parent) => {
                    let line = meta_line(&session.path);
                    let (thread, path) = (place.thread, session.path);
                    problems.push(Problem::ParentStays { thread, parent, path, line });
                }
                None => imports.push(import(store, place, session)),
            }
        }
        let mut imports = stream::iter(imports).buffered(IMPORTS_MAX);
        while let Some((thread, imported)) = imports.next().await {
            match imported {
                Ok(Imported::New) => drop(kept.new.insert(thread)),
                Ok(Imported::Known) => drop(kept.known.insert(thread)),
                Err(problem) => problems.push(problem),
            }
        }
    }
    // What the store has keeps the place that it has there.
    problems.retain(|problem| !matches!(problem, Problem::NoParent { thread, .. } if kept.known.contains(thread)));
    kept
}

/// The depths of those of `threads` that the store has.
pub(super) async fn stored_depths(
    store: &dyn ThreadStore,
    threads: BTreeSet<ThreadId>,
) -> Result<BTreeMap<ThreadId, u32>, StoreError> {
    let mut depths = BTreeMap::new();
    for thread in threads {
        match store.thread(thread).await {
            Ok(stored) => drop(depths.insert(thread, stored.depth)),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(depths)
}

enum Imported {
    New,
    Known,
}

async fn import(
    store: &dyn ThreadStore,
    place: &Place,
    session: Session,
) -> (ThreadId, Result<Imported, Problem>) {
    let (id, path) = (place.thread, session.path.clone());
    let failed = |source| Problem::NotImported { path: path.clone(), thread: id, source };
    let result = match store.thread(id).await {
        Ok(_) => match first_difference(store, id, &session.history).await {
            Ok(None) => Ok(Imported::Known),
            Ok(Some(seq)) => Err(Problem::Differs { path: path.clone(), thread: id, seq }),
            Err(error) => Err(failed(error)),
        },
        Err(StoreError::NotFound { .. }) => {
            let (done, created) = Done::channel();
            let records = session.history.iter().cloned().map(NewRecord::from).collect();
            store.create(new_thread(place, session), records, done);
            created.await.map(|_| Imported::New).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    };
    (id, result)
}

fn new_thread(place: &Place, session: Session) -> NewThread {
    let Session { meta, path, history } = session;
    let mut thread = NewThread::root(place.thread, meta.created_ms.unwrap_or(0));
    thread.parent = place.parent;
    thread.depth = place.depth;
    thread.path.clone_from(&place.path);
    thread.rollout_path = Some(path.display().to_string());
    let mut config = config().with_cwd(meta.cwd);
    config.nickname = meta.agent_nickname;
    config.role = meta.agent_role;
    thread.config = config.into();
    thread.settled = is_settled(&history);
    thread.details.preview = preview_of(&history);
    thread
}

/// The first of the session's records that the store's thread does not have at its place.
async fn first_difference(
    store: &dyn ThreadStore,
    thread: ThreadId,
    session: &History,
) -> Result<Option<Seq>, StoreError> {
    let stored = store.read(thread, Some(session.next_seq())).await?;
    let differs = |seq: &u64| {
        let (one, other) = (session.get(Seq(*seq)), stored.get(Seq(*seq)));
        one.map(|record| &record.raw) != other.map(|record| &record.raw)
    };
    Ok((0..session.len()).find(differs).map(Seq))
}
