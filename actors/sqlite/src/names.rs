//! What threads are called: found by tree and name. A tree is told by the row of its root, which each
//! thread below it has; whether what was found is closed is looked at on the way up.

use std::collections::HashSet;

use coppicer_messages::{AgentPath, StoreError, ThreadId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Fault;
use crate::list::children;
use crate::rows::id_at;
use crate::seal::SEAL_THREAD;

/// A kind of name.
#[derive(Clone, Copy)]
enum Kind {
    Path,
    Nickname,
}

impl Kind {
    /// Those of a tree, below its root, that are called this and are not closed themselves.
    const fn below(self) -> &'static str {
        match self {
            Self::Path => {
                "SELECT t.id, t.parent FROM thread t JOIN state s ON s.thread = t.pk
                 WHERE t.root = ?1 AND t.path = ?2 AND t.edge = 'open' AND t.hidden = 0
                   AND s.status <> 'shutdown'"
            }
            Self::Nickname => {
                "SELECT t.id, t.parent FROM thread t JOIN state s ON s.thread = t.pk
                 WHERE t.root = ?1 AND t.nickname = ?2 AND t.edge = 'open' AND t.hidden = 0
                   AND s.status <> 'shutdown'"
            }
        }
    }

    /// The root itself, and whether it is called this.
    const fn own(self) -> &'static str {
        match self {
            Self::Path => "SELECT pk, path IS ?2 FROM thread WHERE id = ?1 AND hidden = 0",
            Self::Nickname => "SELECT pk, nickname IS ?2 FROM thread WHERE id = ?1 AND hidden = 0",
        }
    }
}

/// The thread of the tree of `root` that has this path.
pub(crate) fn at_path(
    connection: &Connection,
    root: ThreadId,
    path: &AgentPath,
) -> Result<Option<ThreadId>, Fault> {
    find(connection, root, Kind::Path, path.as_str())
}

/// Which of these names threads of the tree have.
pub(crate) fn nicknames_taken(
    connection: &Connection,
    root: ThreadId,
    names: Vec<String>,
) -> Result<Vec<String>, Fault> {
    let mut taken = Vec::new();
    for name in names {
        if find(connection, root, Kind::Nickname, &name)?.is_some() {
            taken.push(name);
        }
    }
    Ok(taken)
}

fn find(
    connection: &Connection,
    root: ThreadId,
    kind: Kind,
    name: &str,
) -> Result<Option<ThreadId>, Fault> {
    let own: Option<(i64, bool)> = connection
        .prepare_cached(kind.own())?
        .query_row(params![root.to_string(), name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((pk, is_its)) = own else { return Ok(None) };
    if is_its {
        return Ok(Some(root));
    }
    let mut look = connection.prepare_cached(kind.below())?;
    let mut rows = look.query(params![pk, name])?;
    while let Some(row) = rows.next()? {
        let (thread, parent) = (id_at(row, 0)?, id_at(row, 1)?);
        if is_open(connection, root, parent)? {
            return Ok(Some(thread));
        }
    }
    Ok(None)
}

/// Whether nothing from here up to the root of the tree is closed. The root is not looked at.
fn is_open(connection: &Connection, root: ThreadId, thread: ThreadId) -> Result<bool, Fault> {
    let mut look = connection.prepare_cached(
        "SELECT t.parent FROM thread t JOIN state s ON s.thread = t.pk
         WHERE t.id = ?1 AND t.hidden = 0 AND t.edge = 'open' AND s.status <> 'shutdown'",
    )?;
    let (mut at, mut seen) = (thread, HashSet::new());
    while at != root {
        let above = look.query_row([at.to_string()], |row| id_at(row, 0)).optional()?;
        match above.filter(|_| seen.insert(at)) {
            Some(above) => at = above,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether `thread` may have this path in the tree of `near`, which it is or will be in.
pub(crate) fn check_path(
    connection: &Connection,
    near: ThreadId,
    path: &AgentPath,
    thread: ThreadId,
) -> Result<(), Fault> {
    let mut look = connection.prepare_cached(
        "SELECT ifnull(r.id, t.id) FROM thread t LEFT JOIN thread r ON r.pk = t.root
         WHERE t.id = ?1 AND t.hidden = 0",
    )?;
    let root = look.query_row([near.to_string()], |row| id_at(row, 0)).optional()?;
    let holder = root.map(|root| at_path(connection, root, path)).transpose()?.flatten();
    match holder.filter(|by| *by != thread) {
        Some(by) => Err(StoreError::PathTaken { path: path.to_string(), by }.into()),
        None => Ok(()),
    }
}

/// Says of a thread that has another parent now, and of all below it, in which tree they are.
pub(crate) fn set_root(connection: &Connection, thread: ThreadId) -> Result<(), Fault> {
    let mut look = connection.prepare_cached(
        "SELECT ifnull(p.root, p.pk), t.root, t.pk FROM thread t
         LEFT JOIN thread p ON p.id = t.parent AND p.hidden = 0
         WHERE t.id = ?1 AND t.hidden = 0",
    )?;
    let roots = look.query_row([thread.to_string()], |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, i64>(2)?))
    });
    let Some((root, before, pk)) = roots.optional()? else { return Ok(()) };
    if root == before {
        return Ok(());
    }
    let mut update = connection
        .prepare_cached("UPDATE thread SET root = ?2 WHERE id = ?1 AND hidden = 0 RETURNING pk")?;
    let mut next = vec![(thread, root)];
    let mut seen = HashSet::from([thread]);
    while let Some((id, root_of_it)) = next.pop() {
        let changed = update.query_row(params![id.to_string(), root_of_it], |row| row.get(0));
        let changed: Option<i64> = changed.optional()?;
        if let Some(changed) = changed {
            connection.prepare_cached(&SEAL_THREAD)?.execute([changed])?;
        }
        let below = children(connection, id, None)?;
        let root = Some(root.unwrap_or(pk));
        next.extend(below.into_iter().filter(|id| seen.insert(*id)).map(|id| (id, root)));
    }
    Ok(())
}
