//! What a new thread or fork begins with: its meta line, and a fork's plan on a snapshot.

use std::sync::Arc;

use coppicer_actors::{
    Base, Excerpt, ExcerptQuery, ForkBeginning, ForkOptions, KeepRules, NotBegun, SessionMeta,
    SessionSource, Slot, ThreadSpawn, begin_fork,
};
use coppicer_messages::{
    AgentPath, ControlError, Deadline, Flushed, ForkPoint, ForkRefusal, NewRecord, Origin, Reply,
    Seq, SpawnError, SpawnThread, StoreError, ThreadId, ThreadMsg,
};

use super::Shared;
use super::spawn::spawn_error;

/// What a new thread or fork begins with.
pub(super) struct Planned {
    pub(super) base: Option<Base>,
    pub(super) records: Vec<NewRecord>,
    /// Whether nothing is open in it.
    pub(super) settled: bool,
    /// The beginning of its first user message.
    pub(super) preview: Option<String>,
}

/// The line that says who the thread is.
pub(super) fn meta_of(
    thread: ThreadId,
    request: &SpawnThread,
    depth: u32,
    path: Option<&AgentPath>,
) -> SessionMeta {
    let config = &request.config;
    let mut meta = SessionMeta::new(thread, config.cwd.clone().unwrap_or_else(|| "/".into()));
    meta.agent_nickname.clone_from(&config.nickname);
    meta.agent_role.clone_from(&config.role);
    meta.agent_path = path.map(ToString::to_string);
    if let Some(source) = &config.source {
        meta.source = SessionSource::Custom(source.clone());
    }
    if let Some(parent) = request.parent {
        meta = meta.spawned_by(ThreadSpawn {
            parent,
            depth,
            agent_path: path.map(ToString::to_string),
            agent_nickname: config.nickname.clone(),
            agent_role: config.role.clone(),
        });
    }
    match &request.origin {
        Origin::Fork { from, .. } => meta.forked_from(*from),
        _ => meta,
    }
}

/// Plans a fork on a snapshot: what runs is flushed first, and `NextStable` waits for its end.
pub(super) async fn plan(
    shared: &Shared,
    source: Option<Arc<Slot>>,
    from: ThreadId,
    at: ForkPoint,
    subagent: bool,
    deadline: Deadline,
    meta: SessionMeta,
) -> Result<Planned, SpawnError> {
    let refused = |reason| SpawnError::Fork { thread: from, reason };
    let keep = subagent.then(KeepRules::for_subagent);
    loop {
        let changed = source.as_ref().map(|slot| slot.changed());
        let end = match &source {
            Some(slot) => flushed(slot, deadline).await?,
            None => None,
        };
        let mut options = ForkOptions::at(shared.clock.now().at_ms);
        options.keep.clone_from(&keep);
        match begin(shared, from, end, &at, &options, &meta).await? {
            Err(ForkRefusal::NotYet { turn }) => match changed {
                // The next boundary: wait for a change of the source, then look again.
                Some(changed) => {
                    let waited = tokio::time::timeout_at(deadline.instant(), changed).await;
                    waited.map_err(|_| SpawnError::NoAnswer)?;
                }
                None => return Err(refused(ForkRefusal::NotYet { turn })),
            },
            Err(reason) => return Err(refused(reason)),
            Ok(ForkBeginning { cut, records, settled, preview }) => {
                let base = (cut > 0).then_some(Base { thread: from, cut: Seq(cut) });
                return Ok(Planned { base, records, settled, preview });
            }
        }
    }
}

/// Begins a fork on as much of its source as it takes.
async fn begin(
    shared: &Shared,
    from: ThreadId,
    end: Option<Seq>,
    at: &ForkPoint,
    options: &ForkOptions,
    meta: &SessionMeta,
) -> Result<Result<ForkBeginning, ForkRefusal>, SpawnError> {
    for attempt in 0.. {
        let query = ExcerptQuery::of_fork(at, attempt);
        let read = sound_part(shared, from, end, query.as_ref()).await;
        let excerpt = read.map_err(|error| spawn_error(from, error))?;
        match begin_fork(&excerpt, at, options, meta) {
            Err(NotBegun::NeedsMore) if query.is_some() => {}
            Err(NotBegun::NeedsMore) => break,
            Err(NotBegun::Refused(reason)) => return Ok(Err(reason)),
            Ok(begun) => return Ok(Ok(begun)),
        }
    }
    Ok(Err(ForkRefusal::Unsupported))
}

/// The records before `end`, or that piece of them; of a thread that is known to be damaged, before
/// the first damaged one.
async fn sound_part(
    shared: &Shared,
    from: ThreadId,
    mut end: Option<Seq>,
    query: Option<&ExcerptQuery>,
) -> Result<Excerpt, StoreError> {
    loop {
        let read = match query {
            Some(query) => shared.store.excerpt(from, end, query.clone()).await,
            None => shared.store.read(from, end).await.map(Excerpt::whole),
        };
        match read {
            Err(StoreError::Corrupt { seq, .. }) if end.is_none_or(|end| seq < end) => {
                end = Some(seq);
            }
            read => return read,
        }
    }
}

/// The durable head of a live thread; none if it has no actor that could tell.
async fn flushed(slot: &Slot, deadline: Deadline) -> Result<Option<Seq>, SpawnError> {
    if !slot.is_attached() {
        return Ok(None);
    }
    let (reply, answer) = Reply::<Flushed, ControlError>::channel(deadline, None);
    if slot.control(ThreadMsg::Flush { reply }).is_err() {
        return Ok(None);
    }
    match answer.wait().await {
        Ok(flushed) => Ok(Some(flushed.head)),
        Err(ControlError::NoAnswer) => Err(SpawnError::NoAnswer),
        Err(_) => Ok(None),
    }
}
