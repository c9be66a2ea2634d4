//! One thread, with all that is known of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use coppicer_actors::{EdgeStatus, StoredThread};
use coppicer_messages::{CrashRecord, Ledger, StoreError, ThreadId};
use coppicer_supervisor::{WaitsFor, Why};
use serde_json::{Value, json};

use super::{ended, from_store};
use crate::board::{BudgetRow, Recent, Row};
use crate::body::{Answer, thread_of};
use crate::bounds::{CHILDREN_MAX, DETAIL_WITHIN};
use crate::problem::Problem;
use crate::server::App;

pub(super) async fn thread(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Answer<Value>, Problem> {
    let thread = thread_of(&id)?;
    let seen = app.watcher.look_anew(move |board| (board.row(thread), board.recent(thread)));
    let store = app.runtime.store();
    let read = async {
        let stored = store.thread(thread).await?;
        let crashes = store.crashes(thread).await?;
        let mut children = store.children(thread, Some(EdgeStatus::Open)).await?;
        children.truncate(CHILDREN_MAX);
        let ledger = app.runtime.ledger(thread).await?;
        Ok::<_, StoreError>(Kept { stored, crashes, children, ledger })
    };
    let why = app.runtime.why_within(thread, DETAIL_WITHIN);
    let (why, read, seen) = tokio::join!(why, from_store(read), seen);
    let (why, (row, recent)) = (why?, seen.ok_or_else(ended)?);
    // What the store could not say in time is left out, as `why.silent` says.
    let stored = read.ok();
    Ok(Answer::ok(detail(thread, &why, stored.as_ref(), row.as_deref(), &recent)))
}

/// What the store keeps of a thread.
struct Kept {
    stored: StoredThread,
    crashes: Vec<CrashRecord>,
    children: Vec<ThreadId>,
    ledger: Option<Ledger>,
}

fn detail(
    thread: ThreadId,
    why: &Why,
    stored: Option<&Kept>,
    row: Option<&Row>,
    recent: &[Recent],
) -> Value {
    let text = why.to_string();
    let policy = stored.map(|stored| stored.stored.config.restart);
    let backoff_until_ms = why.waits_for.iter().find_map(|waits| match waits {
        WaitsFor::EngineBackoff { until_ms } | WaitsFor::ActorBackoff { until_ms } => *until_ms,
        _ => None,
    });
    let crashes = stored.map(|stored| &*stored.crashes);
    json!({
        "thread": thread,
        "row": row,
        "stored": stored.map(|stored| of_stored(&stored.stored)),
        "why": why,
        "why_text": text.lines().collect::<Vec<_>>(),
        "inbox": inbox(why),
        "restarts": {
            "max": why.restarts_max,
            "period_ms": policy.map(|policy| policy.limit.period.as_millis() as u64),
            "engine_left": why.engine_restarts_left,
            "actor_left": why.actor_restarts_left,
            "backoff_until_ms": backoff_until_ms,
            "crashes": crashes.unwrap_or_default(),
            "recent": recent,
        },
        "budget": stored.and_then(|stored| stored.ledger.as_ref()).map(BudgetRow::of),
        "children": stored.map(|stored| &*stored.children).unwrap_or_default(),
    })
}

fn of_stored(stored: &StoredThread) -> Value {
    json!({
        "created_ms": stored.created_ms,
        "updated_ms": stored.updated_ms,
        "archived_ms": stored.archived_ms,
        "head": stored.head.0,
        "settled": stored.settled.0,
        "epoch": stored.epoch.0,
        "depth": stored.depth,
        "status": stored.status.name(),
        "parent": stored.parent.map(|(parent, _)| parent),
        "edge": stored.parent.map(|(_, edge)| edge),
        "base": stored.base.map(|base| json!({ "thread": base.thread, "cut": base.cut.0 })),
        "path": stored.path,
        "rollout_path": stored.rollout_path,
        "name": stored.details.name,
        "title": stored.details.title,
        "preview": stored.details.preview,
        "last_task": stored.last_task(),
        "config": stored.config,
    })
}

fn inbox(why: &Why) -> Value {
    let mut by_kind: BTreeMap<&str, usize> = BTreeMap::new();
    for queued in &why.queued {
        *by_kind.entry(&queued.op).or_default() += 1;
    }
    let not_taken_up = why.inbox.saturating_sub(why.queued_count);
    let unlisted = why.queued_count.saturating_sub(why.queued.len());
    for (kind, count) in [("waiting", not_taken_up), ("unlisted", unlisted), ("mail", why.mail)] {
        if count > 0 {
            by_kind.insert(kind, count);
        }
    }
    json!({
        "used": why.inbox,
        "capacity": why.inbox_capacity,
        "mail": why.mail,
        "queued": why.queued,
        "by_kind": by_kind,
    })
}
