//! A thread of a store, as a row for people and as JSON.

use coppicer::{StoredThread, ThreadConfig, ThreadId};
use serde::Serialize;

use super::super::text;

/// What a store says of a thread, without its records. Times are in milliseconds since the Unix
/// epoch.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ThreadRow {
    pub(in crate::cli) thread: ThreadId,
    status: &'static str,
    /// What belongs to the status: the last message, or what went wrong.
    status_text: Option<String>,
    name: Option<String>,
    title: Option<String>,
    preview: Option<String>,
    /// What was asked of it last, in short.
    last_task: Option<String>,
    path: Option<String>,
    nickname: Option<String>,
    role: Option<String>,
    parent: Option<ThreadId>,
    /// Whether it comes back with its parent: `open` or `closed`.
    edge: Option<coppicer::EdgeStatus>,
    depth: u32,
    forked_from: Option<ThreadId>,
    forked_at: Option<u64>,
    records: u64,
    epoch: u64,
    created_ms: u64,
    updated_ms: u64,
    archived_ms: Option<u64>,
    cwd: Option<String>,
    model: Option<String>,
    source: Option<String>,
    rollout_path: Option<String>,
}

impl From<&StoredThread> for ThreadRow {
    fn from(thread: &StoredThread) -> Self {
        let last_task = thread.last_task().map(str::to_owned);
        let StoredThread { details, config, .. } = thread.clone();
        let ThreadConfig { nickname, role, cwd, model, source, .. } = (*config).clone();
        Self {
            thread: thread.id,
            status: thread.status.name(),
            status_text: thread.status.text().map(ToOwned::to_owned),
            name: details.name,
            title: details.title,
            preview: details.preview,
            last_task,
            path: thread.path.as_ref().map(ToString::to_string),
            nickname,
            role,
            parent: thread.parent.map(|(parent, _)| parent),
            edge: thread.parent.map(|(_, edge)| edge),
            depth: thread.depth,
            forked_from: thread.base.map(|base| base.thread),
            forked_at: thread.base.map(|base| base.cut.0),
            records: thread.head.0,
            epoch: thread.epoch.0,
            created_ms: thread.created_ms,
            updated_ms: thread.updated_ms,
            archived_ms: thread.archived_ms,
            cwd,
            model,
            source,
            rollout_path: thread.rollout_path.clone(),
        }
    }
}

/// What a person knows a thread by, in one line; empty if nothing is known.
pub(in crate::cli) fn label_of(thread: &StoredThread) -> String {
    let path = thread.path.as_ref().map(ToString::to_string);
    let names = [&thread.details.name, &thread.details.title, &path, &thread.config.nickname];
    let label = names.into_iter().chain([&thread.details.preview]).flatten().next();
    text::one_line(label.map(String::as_str).unwrap_or_default())
}
