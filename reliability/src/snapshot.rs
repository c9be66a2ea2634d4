//! Reads a store from outside of the process that wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use coppicer::{
    Done, Durability, EdgeStatus, History, KnownSubmission, OpenError, RecordClass, SqliteOptions,
    SqliteStore, StoreError, StoredThread, SubmissionState, ThreadId, ThreadQuery, ThreadStore,
    text_of, wire_validity,
};
use futures::StreamExt;

use crate::oracle::Oracle;
use crate::plan::{StepId, marked, script, submission_of, thread_of};
use crate::rules::{Found, Seen, Snapshot};

/// Why a store could not be looked at. In every crash test that is a violation.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// It does not open.
    #[error("the store does not open")]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error("the store cannot be read")]
    Read(#[from] StoreError),
}

/// Threads that are read at once.
const READS: usize = 4;

/// Looks at the lives `lives` of the store at `path`, and at the edges of all threads.
///
/// # Errors
/// The store does not open, or cannot be read as a whole.
pub async fn look(
    path: &Path,
    oracle: &Oracle,
    lives: &BTreeSet<(u64, u64)>,
) -> Result<Snapshot, LookError> {
    let options = SqliteOptions::new().durability(Durability::Process);
    let store = SqliteStore::open_with(path, options)?;
    let seen = look_at(&store, oracle, lives).await;
    store.close();
    Ok(seen?)
}

async fn look_at(
    store: &SqliteStore,
    oracle: &Oracle,
    lives: &BTreeSet<(u64, u64)>,
) -> Result<Snapshot, StoreError> {
    let stored = all_threads(store).await?;
    let mut snapshot = Snapshot { lives: lives.clone(), ..Snapshot::default() };
    let parents: BTreeSet<ThreadId> =
        stored.values().filter_map(|it| it.parent).map(|(parent, _)| parent).collect();
    for &parent in &parents {
        let below = store.children(parent, None).await?.into_iter().collect();
        snapshot.children.insert(parent, below);
    }

    let mut wanted = Vec::new();
    let mut asked = Vec::new();
    for &(slot, life) in lives {
        for (step, at) in script(oracle.seed, slot, life).iter().zip(0..) {
            let id = StepId { slot, life, at };
            let thread = thread_of(oracle.seed, id);
            if step.makes() {
                wanted.push(thread);
            }
            if let Some(reader) = step.reader(at) {
                asked.push((id, thread_of(oracle.seed, StepId { slot, life, at: reader })));
            }
        }
    }
    let known = asked.into_iter().filter(|(_, thread)| stored.contains_key(thread)).map(
        |(step, thread)| async move {
            let (done, answer) = Done::channel();
            store.submission(thread, &submission_of(step), done);
            answer.await.map(|found| found.map(|found| (step, found_of(&found))))
        },
    );
    let mut known = futures::stream::iter(known).buffer_unordered(512);
    while let Some(found) = known.next().await {
        snapshot.submissions.extend(found?);
    }
    drop(known);

    let wanted: BTreeSet<ThreadId> = wanted.into_iter().collect();
    let stored = &stored;
    let reading = stored.iter().map(|(&thread, row)| {
        let read = wanted.contains(&thread);
        async move { (thread, seen_of(store, row, read).await) }
    });
    let mut reading = futures::stream::iter(reading).buffer_unordered(READS);
    while let Some((thread, seen)) = reading.next().await {
        snapshot.threads.insert(thread, seen);
    }
    Ok(snapshot)
}

/// Every thread of the store.
///
/// # Errors
/// The store cannot be read.
pub async fn all_threads(
    store: &dyn ThreadStore,
) -> Result<BTreeMap<ThreadId, StoredThread>, StoreError> {
    let mut threads = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.list(ThreadQuery::all().after(after)).await?;
        threads.extend(page.threads.into_iter().map(|thread| (thread.id, thread)));
        after = page.next;
        if after.is_none() {
            return Ok(threads);
        }
    }
}

fn found_of(known: &KnownSubmission) -> Found {
    let outcome = match &known.state {
        SubmissionState::Ended(outcome) => serde_json::to_string(outcome).ok(),
        _ => None,
    };
    Found { digest: known.digest, outcome }
}

async fn seen_of(store: &SqliteStore, row: &StoredThread, read: bool) -> Seen {
    let mut seen = Seen {
        parent: row.parent.map(|(parent, edge)| (parent, edge == EdgeStatus::Open)),
        base: row.base.map(|base| (base.thread, base.cut.0)),
        status: row.status.name(),
        head: row.head.0,
        ledger: row.ledger,
        read,
        ..Seen::default()
    };
    if !read {
        return seen;
    }
    let history = match store.read(row.id, None).await {
        Ok(history) => history,
        Err(error) => {
            seen.flaw = Some(error.to_string());
            return seen;
        }
    };
    seen.records = history.len();
    let cut = seen.base.map_or(0, |(_, cut)| cut);
    seen.texts = texts(&history, cut);
    if let Err(flaw) = wire_validity(&history) {
        seen.flaw = Some(format!("not valid for a model: {flaw}"));
    }
    if let Some(base) = row.base {
        match store.read(base.thread, Some(base.cut)).await {
            Ok(of_base) => {
                let of_fork = history.prefix(cut);
                if !of_base.iter().eq(of_fork.iter()) {
                    seen.flaw = Some(format!("differs from its base {}", base.thread));
                }
            }
            Err(error) => seen.flaw = Some(format!("its base: {error}")),
        }
    }
    seen
}

fn texts(history: &History, cut: u64) -> Vec<StepId> {
    history
        .iter_from(coppicer::Seq(cut))
        .filter(|record| record.class == RecordClass::UserMessage)
        .filter_map(|record| marked(&text_of(record)?))
        .collect()
}
