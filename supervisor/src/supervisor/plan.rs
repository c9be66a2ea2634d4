//! What a new thread or fork begins with: its meta line, and a fork's plan on a snapshot.

use std::sync::Arc;

use coppicer_actors::{
    Base, ForkOptions, History, KeepRules, Kept, Line, SessionMeta, SessionSource, Slot,
    ThreadSpawn, is_settled, plan_fork, preview_of,
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
    let mut options = ForkOptions::at(shared.clock.now().at_ms);
    if subagent {
        options = options.with_keep(KeepRules::for_subagent());
    }
    loop {
        let changed = source.as_ref().map(|slot| slot.changed());
        let end = match &source {
            Some(slot) => flushed(slot, deadline).await?,
            None => None,
        };
        let history =
            sound_part(shared, from, end).await.map_err(|error| spawn_error(from, error))?;
        let plan = match plan_fork(&history, &at, &options) {
            Err(ForkRefusal::NotYet { turn }) => match changed {
                // The next boundary: wait for a change of the source, then look again.
                Some(changed) => {
                    let waited = tokio::time::timeout_at(deadline.instant(), changed).await;
                    waited.map_err(|_| SpawnError::NoAnswer)?;
                    continue;
                }
                None => return Err(refused(ForkRefusal::NotYet { turn })),
            },
            plan => plan.map_err(refused)?,
        };
        let now_ms = shared.clock.now().at_ms;
        let mut records = vec![Line::session_meta(now_ms, &meta)];
        let base = match &plan.kept {
            Kept::Prefix { cut: 0 } => None,
            Kept::Prefix { cut } => Some(Base { thread: from, cut: Seq(*cut) }),
            Kept::Selected(kept) => {
                records.extend(kept.iter().filter_map(|record| record.in_source(&history)));
                None
            }
        };
        records.extend(plan.closing);
        let mut fork = base.map_or_else(History::new, |base| history.prefix(base.cut.0));
        fork.extend(records.iter().cloned());
        let (settled, preview) = (is_settled(&fork), preview_of(&fork));
        return Ok(Planned { base, records, settled, preview });
    }
}

/// The records before `end`; of a damaged thread those before the first damaged one.
async fn sound_part(
    shared: &Shared,
    from: ThreadId,
    mut end: Option<Seq>,
) -> Result<History, StoreError> {
    loop {
        match shared.store.read(from, end).await {
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
