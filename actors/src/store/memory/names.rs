//! What threads are called: found by tree and name, at the root of each tree.
//!
//! A hash of the name stands there, not the name: who has it is looked at in its row, and so is whether
//! it is closed.

use coppicer_messages::{AgentPath, StoreError, ThreadId, ThreadPatch, ThreadStatus};

use uuid::Uuid;

use super::row::{NameKey, Row};
use super::{Rows, children};
use crate::store::{EdgeStatus, descend, digest};

/// What a thread can be called, by which it is found.
#[derive(Clone, Copy)]
enum Name<'a> {
    Path(&'a AgentPath),
    Nickname(&'a str),
}

impl Name<'_> {
    fn key(self) -> NameKey {
        let text = match self {
            Self::Path(path) => digest(path.as_str().as_bytes()),
            Self::Nickname(name) => digest(name.as_bytes()),
        };
        let key = u64::from_le_bytes(text[..8].try_into().unwrap_or_default());
        key ^ u64::from(matches!(self, Self::Path(_)))
    }

    fn is_of(self, row: &Row) -> bool {
        match self {
            Self::Path(path) => row.kept.path.as_ref() == Some(path),
            Self::Nickname(name) => row.kept.config.nickname.as_deref() == Some(name),
        }
    }
}

/// The topmost thread above a thread, or that itself.
pub(super) fn root_of(rows: &Rows, thread: ThreadId) -> ThreadId {
    let parent = |id: &ThreadId| {
        let (parent, _) = rows.get(id)?.kept.parent?;
        rows.contains_key(&parent).then_some(parent)
    };
    // No longer than there are threads, whatever an edge says.
    std::iter::successors(Some(thread), parent).take(rows.len()).last().unwrap_or(thread)
}

/// Whether neither a thread nor one between it and the root of its tree is closed.
fn is_open(rows: &Rows, root: ThreadId, thread: ThreadId) -> bool {
    let mut at = thread;
    for _ in 0..rows.len() {
        if at == root {
            return true;
        }
        match rows.get(&at) {
            Some(row) if row.kept.status != ThreadStatus::Shutdown => match row.kept.parent {
                Some((parent, EdgeStatus::Open)) => at = parent,
                Some((_, EdgeStatus::Closed)) | None => return false,
            },
            Some(_) | None => return false,
        }
    }
    false
}

fn find(rows: &Rows, root: ThreadId, name: Name<'_>) -> Option<ThreadId> {
    let row = rows.get(&root)?;
    if name.is_of(row) {
        return Some(root);
    }
    let key = name.key();
    let ends = [Uuid::nil(), Uuid::max()].map(ThreadId::from_uuid);
    let with_key = row.more.names.range((key, ends[0])..=(key, ends[1])).map(|(_, thread)| *thread);
    with_key
        .filter(|thread| rows.get(thread).is_some_and(|row| name.is_of(row)))
        .find(|&thread| is_open(rows, root, thread))
}

/// The thread of the tree that has this path.
pub(super) fn at_path(rows: &Rows, root: ThreadId, path: &AgentPath) -> Option<ThreadId> {
    find(rows, root, Name::Path(path))
}

/// Which of these names threads of the tree have.
pub(super) fn nicknames_taken(rows: &Rows, root: ThreadId, names: Vec<String>) -> Vec<String> {
    let is_taken = |name: &String| find(rows, root, Name::Nickname(name)).is_some();
    names.into_iter().filter(is_taken).collect()
}

/// Whether `thread` may have this path in the tree of `near`, which it is or will be in.
pub(super) fn check(
    rows: &Rows,
    near: ThreadId,
    path: &AgentPath,
    thread: ThreadId,
) -> Result<(), StoreError> {
    match at_path(rows, root_of(rows, near), path) {
        Some(by) if by != thread => Err(StoreError::PathTaken { path: path.to_string(), by }),
        Some(_) | None => Ok(()),
    }
}

/// Has a thread found by its names from here on.
pub(super) fn list(rows: &mut Rows, thread: ThreadId) {
    change(rows, thread, |row, entry| {
        row.more.names.insert(entry);
    });
}

/// Has it found by its names no more, which change, or it moves. Listed again, it is.
pub(super) fn unlist(rows: &mut Rows, thread: ThreadId) {
    change(rows, thread, |row, entry| {
        if let Some(more) = row.more.there() {
            more.names.remove(&entry);
        }
    });
}

fn change(rows: &mut Rows, thread: ThreadId, change: impl Fn(&mut Row, (NameKey, ThreadId))) {
    let root = root_of(rows, thread);
    if root == thread {
        return; // it is looked at by itself
    }
    let Some(row) = rows.get(&thread) else { return };
    let path = row.kept.path.as_ref().map(|path| Name::Path(path).key());
    let nickname = row.kept.config.nickname.as_deref().map(|name| Name::Nickname(name).key());
    if let Some(root) = rows.get_mut(&root) {
        for key in path.into_iter().chain(nickname) {
            change(root, (key, thread));
        }
    }
}

/// A thread and all that is below it, whatever its edges say.
pub(super) fn branch(rows: &Rows, thread: ThreadId) -> Vec<ThreadId> {
    let below = descend(thread, |parent| children(rows, parent, None));
    std::iter::once(thread).chain(below).collect()
}

/// Changes what is known of a thread, and by what it is found.
pub(super) fn apply(rows: &mut Rows, thread: ThreadId, patch: &ThreadPatch) {
    let renames = !patch.path.is_keep() || !patch.nickname.is_keep();
    if renames {
        unlist(rows, thread);
    }
    if let Some(row) = rows.get_mut(&thread) {
        row.patch(thread, patch);
    }
    if renames {
        list(rows, thread);
    }
}
