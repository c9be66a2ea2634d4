//! The agents of one tree, from the tree itself: listing them, and finding one by its path (REF
//! 3.11). Threads that are in memory show what they publish; of others the store is asked.

use coppicer_messages::{AgentPath, PathError, StoreError, ThreadId, ThreadStatus};
use futures::{StreamExt, TryStreamExt};

use crate::engine::{TurnContext, TurnWorld};
use crate::store::{self, EdgeStatus, StoredThread};

/// Threads that are looked up in the store at once.
const LOOK_UPS_MAX: usize = 16;

/// One agent of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentRow {
    /// Which thread.
    pub thread: ThreadId,
    /// Its path, if it has one.
    pub path: Option<AgentPath>,
    /// A name for people.
    pub nickname: Option<String>,
    /// Its role.
    pub role: Option<String>,
    /// Its status; of one that is not in memory the last durable one.
    pub status: ThreadStatus,
    /// What was last asked of it, in short, also of one that is not in memory; "Main thread" of the
    /// root.
    pub last_task: Option<String>,
    /// Whether it is in memory.
    pub loaded: bool,
}

impl AgentRow {
    /// What it is called in a list: its path, else its id.
    pub fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| self.thread.to_string(), ToString::to_string)
    }
}

/// Agents of one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentList {
    /// Those that were found.
    pub rows: Vec<AgentRow>,
    /// Threads of the tree that were not looked at, because it has more than
    /// [`Limits::agents_listed_max`](coppicer_messages::Limits::agents_listed_max): closed and hidden
    /// ones and those of other prefixes among them. 0 if the list is whole.
    pub not_looked_at: usize,
}

impl AgentList {
    /// Whether nothing is missing.
    pub const fn is_whole(&self) -> bool {
        self.not_looked_at == 0
    }
}

impl std::ops::Deref for AgentList {
    type Target = [AgentRow];

    fn deref(&self) -> &[AgentRow] {
        &self.rows
    }
}

impl IntoIterator for AgentList {
    type Item = AgentRow;
    type IntoIter = std::vec::IntoIter<AgentRow>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

/// Why agents were not listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListAgentsError {
    /// There is no thread that they could be listed from.
    #[error("there is no thread {thread} whose tree could be listed")]
    NotFound {
        /// Which.
        thread: ThreadId,
    },
    /// The prefix is no path.
    #[error("bad prefix: {0}; give an absolute path, or one relative to the caller's")]
    BadPrefix(#[source] PathError),
    /// The store cannot be read.
    #[error("cannot read the tree")]
    Store(#[source] StoreError),
}

/// Why no agent was found under a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindAgentError {
    /// There is no thread of this id.
    #[error("there is no agent with id {thread}; list the agents to see those there are")]
    UnknownId {
        /// Which.
        thread: ThreadId,
    },
    /// No agent of the tree that is not closed has this path.
    #[error("live agent path `{path}` not found; list the agents to see those there are")]
    UnknownPath {
        /// The path, made absolute.
        path: AgentPath,
    },
    /// No agent that was looked at has this path, and the tree has more than are looked at.
    #[error(
        "agent path `{path}` not found, and {not_looked_at} threads of the tree were not looked at; \
         raise `agents_listed_max`, or name the agent by its id"
    )]
    NotLookedAt {
        /// The path, made absolute.
        path: AgentPath,
        /// Threads that were not looked at.
        not_looked_at: usize,
    },
    /// The reference is neither an id nor a path.
    #[error("`{reference}` is neither an id nor a path: {reason}")]
    BadReference {
        /// What was given.
        reference: String,
        /// Why it is no path.
        #[source]
        reason: PathError,
    },
    /// There is no tree to look in, or it cannot be read.
    #[error(transparent)]
    Tree(#[from] ListAgentsError),
}

impl TurnContext {
    /// The agents of this thread's tree whose paths begin with `prefix`, which may be relative to
    /// this thread's own: the root first, then by path and id. Agents without a path come with the
    /// prefix `/root` or none. Closed and hidden ones are left out; those that sleep are not. The
    /// list says whether it is [whole](AgentList::is_whole).
    ///
    /// # Errors
    /// The prefix is no path; the store cannot be read.
    pub async fn agents(&self, prefix: Option<&str>) -> Result<AgentList, ListAgentsError> {
        agents(&self.world, self.thread(), prefix).await
    }

    /// The thread that a reference stands for: an id, or a path, which may be relative to this
    /// thread's own.
    ///
    /// # Errors
    /// It stands for none; the store cannot be read.
    pub async fn resolve(&self, reference: &str) -> Result<ThreadId, FindAgentError> {
        resolve(&self.world, self.thread(), reference).await
    }
}

/// The agents of the tree that `from` belongs to.
pub async fn agents(
    world: &TurnWorld,
    from: ThreadId,
    prefix: Option<&str>,
) -> Result<AgentList, ListAgentsError> {
    in_time(world, list_agents(world, from, prefix)).await
}

/// What the store is asked about a tree is answered within the time of a call.
async fn in_time<T, E: From<ListAgentsError>>(
    world: &TurnWorld,
    looking: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let deadline = world.clock.deadline(world.limits.call_timeout);
    let found = async { Ok(looking.await) };
    let found = store::by(deadline, found).await;
    found.unwrap_or_else(|late| Err(ListAgentsError::Store(late).into()))
}

async fn list_agents(
    world: &TurnWorld,
    from: ThreadId,
    prefix: Option<&str>,
) -> Result<AgentList, ListAgentsError> {
    let (root, own) = place_of(world, from).await?;
    let prefix = prefix.map(|prefix| own.resolve(prefix)).transpose();
    let prefix = prefix.map_err(ListAgentsError::BadPrefix)?;
    let mut list = list_of(world, root).await?;
    list.rows.retain(|row| admits(prefix.as_ref(), row));
    sort(root, &mut list.rows);
    Ok(list)
}

/// The thread that `reference` stands for, seen from `from`.
pub async fn resolve(
    world: &TurnWorld,
    from: ThreadId,
    reference: &str,
) -> Result<ThreadId, FindAgentError> {
    in_time(world, find_agent(world, from, reference)).await
}

async fn find_agent(
    world: &TurnWorld,
    from: ThreadId,
    reference: &str,
) -> Result<ThreadId, FindAgentError> {
    if let Ok(thread) = reference.parse::<ThreadId>() {
        let known = match (world.find)(thread) {
            Some(slot) => !slot.is_internal(),
            None => match world.store.thread(thread).await {
                Ok(stored) => !stored.config.internal,
                Err(StoreError::NotFound { .. }) => false,
                Err(error) => return Err(ListAgentsError::Store(error).into()),
            },
        };
        return if known { Ok(thread) } else { Err(FindAgentError::UnknownId { thread }) };
    }
    let (root, own) = place_of(world, from).await?;
    let path = own.resolve(reference).map_err(|reason| FindAgentError::BadReference {
        reference: reference.to_owned(),
        reason,
    })?;
    let list = list_of(world, root).await?;
    let not_looked_at = list.not_looked_at;
    match list.into_iter().find(|row| row.path.as_ref() == Some(&path)) {
        Some(row) => Ok(row.thread),
        None if not_looked_at > 0 => Err(FindAgentError::NotLookedAt { path, not_looked_at }),
        None => Err(FindAgentError::UnknownPath { path }),
    }
}

/// The root of a thread's tree, and the path that references are relative to.
async fn place_of(
    world: &TurnWorld,
    from: ThreadId,
) -> Result<(ThreadId, AgentPath), ListAgentsError> {
    if let Some(slot) = (world.find)(from) {
        let root = slot.about().lineage.root().unwrap_or(from);
        let path = slot.with_view(|view| view.path.clone());
        return Ok((root, path.unwrap_or_else(AgentPath::root)));
    }
    let read = |error| match error {
        StoreError::NotFound { thread } if thread == from => ListAgentsError::NotFound { thread },
        error => ListAgentsError::Store(error),
    };
    let stored = world.store.thread(from).await.map_err(read)?;
    let path = stored.path.unwrap_or_else(AgentPath::root);
    let (mut root, mut above) = (from, stored.parent);
    for _ in 0..world.limits.depth_max {
        let Some((parent, _)) = above else { break };
        root = parent;
        above = match world.store.thread(parent).await {
            Ok(stored) => stored.parent,
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(ListAgentsError::Store(error)),
        };
    }
    Ok((root, path))
}

/// Every agent of a tree that is neither closed nor hidden, the root among them, as far as the limit
/// lets look.
async fn list_of(world: &TurnWorld, root: ThreadId) -> Result<AgentList, ListAgentsError> {
    let below = match world.store.descendants(root, Some(EdgeStatus::Open)).await {
        Ok(below) => below,
        Err(StoreError::NotFound { .. }) => Vec::new(),
        Err(error) => return Err(ListAgentsError::Store(error)),
    };
    let most = world.limits.agents_listed_max;
    let not_looked_at = (below.len() + 1).saturating_sub(most);
    let threads = std::iter::once(root).chain(below).take(most);
    let rows = futures::stream::iter(threads.map(|thread| row_of(world, thread)));
    let rows: Vec<Option<AgentRow>> = rows.buffered(LOOK_UPS_MAX).try_collect().await?;
    let mut rows: Vec<AgentRow> = rows.into_iter().flatten().collect();
    if let Some(top) = rows.iter_mut().find(|row| row.thread == root) {
        top.path.get_or_insert_with(AgentPath::root);
        top.last_task = Some("Main thread".into());
    }
    Ok(AgentList { rows, not_looked_at })
}

/// What is shown of a thread, unless it is closed, hidden, or gone.
async fn row_of(world: &TurnWorld, thread: ThreadId) -> Result<Option<AgentRow>, ListAgentsError> {
    if let Some(slot) = (world.find)(thread) {
        let view = slot.view();
        return Ok((!view.internal && !view.closed).then_some(AgentRow {
            thread,
            path: view.path,
            nickname: view.nickname,
            role: view.role,
            status: view.status,
            last_task: view.last_task,
            loaded: true,
        }));
    }
    match world.store.thread(thread).await {
        Ok(stored) if is_hidden(&stored) => Ok(None),
        Ok(stored) => Ok(Some(AgentRow {
            thread,
            path: stored.path,
            nickname: stored.config.nickname.clone(),
            role: stored.config.role.clone(),
            status: stored.status,
            last_task: stored.task.or(stored.details.preview),
            loaded: false,
        })),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(ListAgentsError::Store(error)),
    }
}

fn is_hidden(stored: &StoredThread) -> bool {
    stored.config.internal || stored.status == ThreadStatus::Shutdown
}

/// Whether a row is asked for: what has no path is below the root and nowhere else.
fn admits(prefix: Option<&AgentPath>, row: &AgentRow) -> bool {
    match (prefix, &row.path) {
        (None, _) => true,
        (Some(prefix), Some(path)) => path.is_within(prefix),
        (Some(prefix), None) => prefix.is_root(),
    }
}

/// The root first, then by path, those without one before all, then by id.
fn sort(root: ThreadId, rows: &mut [AgentRow]) {
    rows.sort_by_cached_key(|row| {
        let path = row.path.as_ref().map_or("", AgentPath::as_str).to_owned();
        (row.thread != root, path, row.thread.to_string())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u64, path: Option<&str>) -> AgentRow {
        AgentRow {
            thread: ThreadId::from_parts(n, [0; 10]),
            path: path.map(|path| path.parse().unwrap()),
            nickname: None,
            role: None,
            status: ThreadStatus::PendingInit,
            last_task: None,
            loaded: true,
        }
    }

    #[test]
    fn the_root_comes_first_then_those_without_a_path_then_the_others_by_path() {
        let mut rows = [
            row(5, Some("/root/b")),
            row(4, Some("/root/a")),
            row(3, None),
            row(2, None),
            row(9, Some("/root")),
        ];
        sort(rows[4].thread, &mut rows);
        let names: Vec<String> = rows.iter().map(AgentRow::name).collect();
        let id = |n| ThreadId::from_parts(n, [0; 10]).to_string();
        assert_eq!(names, ["/root".into(), id(2), id(3), "/root/a".into(), "/root/b".into()]);
    }

    #[test]
    fn a_prefix_admits_whole_segments_and_the_root_alone_what_has_no_path() {
        let prefix = |text: &str| text.parse::<AgentPath>().unwrap();
        assert!(admits(Some(&prefix("/root/a")), &row(1, Some("/root/a/b"))));
        assert!(!admits(Some(&prefix("/root/a")), &row(1, Some("/root/ab"))));
        assert!(!admits(Some(&prefix("/root/a")), &row(1, None)));
        assert!(admits(Some(&prefix("/root")), &row(1, None)) && admits(None, &row(1, None)));
    }
}
