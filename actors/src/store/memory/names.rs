//! Paths of children: each is that of one child of its parent that is not closed.

use coppicer_messages::{AgentPath, StoreError, ThreadId, ThreadStatus};

use super::row::Row;
use super::{Rows, children};
use crate::store::{EdgeStatus, Named, descend};

/// Whether a thread is in the tree of `parent`, as far as it says itself.
fn is_open_below(row: &Row, parent: ThreadId) -> bool {
    let edge = row.kept.parent == Some((parent, EdgeStatus::Open));
    edge && row.kept.status != ThreadStatus::Shutdown
}

/// The child of `parent` that has this path and is not closed.
pub(super) fn holder(rows: &Rows, parent: ThreadId, path: &AgentPath) -> Option<ThreadId> {
    let child = *rows.get(&parent)?.more.paths.get(path)?;
    rows.get(&child).filter(|row| is_open_below(row, parent)).map(|_| child)
}

/// Whether `thread` may have this path below `parent`.
pub(super) fn check(
    rows: &Rows,
    parent: ThreadId,
    path: &AgentPath,
    thread: ThreadId,
) -> Result<(), StoreError> {
    match holder(rows, parent, path) {
        Some(by) if by != thread => Err(StoreError::PathTaken { path: path.to_string(), by }),
        Some(_) | None => Ok(()),
    }
}

/// Notes the path of a child that is not closed, if no other one has it.
pub(super) fn take(rows: &mut Rows, child: ThreadId) {
    let Some(row) = rows.get(&child) else { return };
    let (Some((parent, _)), Some(path)) = (row.kept.parent, row.kept.path.clone()) else { return };
    if is_open_below(row, parent)
        && holder(rows, parent, &path).is_none()
        && let Some(parent) = rows.get_mut(&parent)
    {
        parent.more.paths.insert(path, child);
    }
}

/// Forgets the path of a child, which it has not any more from here on.
pub(super) fn give_back(rows: &mut Rows, child: ThreadId) {
    let Some(row) = rows.get(&child) else { return };
    let (Some((parent, _)), Some(path)) = (row.kept.parent, row.kept.path.clone()) else { return };
    let paths = rows.get_mut(&parent).and_then(|parent| parent.more.there());
    if let Some(parent) = paths
        && parent.paths.get(&path) == Some(&child)
    {
        parent.paths.remove(&path);
    }
}

/// What `root` and those below it are called, as far as nothing of the way is closed.
pub(super) fn of_tree(rows: &Rows, root: ThreadId) -> Vec<Named> {
    let is_shut =
        |id: &ThreadId| rows.get(id).is_none_or(|row| row.kept.status == ThreadStatus::Shutdown);
    let below = descend(root, |parent| {
        let mut below = children(rows, parent, Some(EdgeStatus::Open));
        below.retain(|id| !is_shut(id));
        below
    });
    let named = |id: ThreadId| {
        let row = rows.get(&id)?;
        let (path, nickname) = (row.kept.path.clone(), row.kept.config.nickname.clone());
        (path.is_some() || nickname.is_some()).then_some(Named { thread: id, path, nickname })
    };
    std::iter::once(root).chain(below).filter_map(named).collect()
}
