//! Deleting threads, and collecting what nobody needs any more.

use std::sync::LazyLock;

use coppicer_actors::Fence;
use coppicer_messages::{StoreError, ThreadId, ThreadStatus};
use rusqlite::{Connection, OptionalExtension, params};

use super::accounts;
use super::threads::seal_thread;
use crate::error::Fault;
use crate::list::descendants;
use crate::options::COLLECT_RECORDS;
use crate::rows::find_thread;
use crate::seal::THREAD;

/// Deletes a thread and all below it: how many.
pub(super) fn delete(connection: &Connection, thread: ThreadId) -> Result<u64, Fault> {
    let top = find_thread(connection, thread)?.pk;
    let mut gone = vec![top];
    for below in descendants(connection, thread, None)? {
        gone.push(find_thread(connection, below)?.pk);
    }
    for &pk in &gone {
        remove(connection, pk)?;
    }
    Ok(gone.len() as u64)
}

/// Takes back a thread that nobody was shown.
pub(super) fn undo_create(connection: &Connection, fence: Fence) -> Result<(), Fault> {
    let row = match find_thread(connection, fence.thread) {
        Err(Fault::Refused(StoreError::NotFound { .. })) => return Ok(()),
        found => found?,
    };
    if row.stored.epoch != fence.epoch {
        return Err(StoreError::Fenced { thread: fence.thread }.into());
    }
    let ended = row.stored.status == ThreadStatus::Shutdown;
    accounts::take_back(connection, row.pk, ended)?;
    delete(connection, fence.thread).map(drop)
}

/// Takes a thread out of sight. Its records stay until they are collected; those that forks share
/// stay with the forks.
fn remove(connection: &Connection, pk: i64) -> Result<(), Fault> {
    for sql in [
        "UPDATE thread SET hidden = 1, parent = NULL, edge = NULL WHERE pk = ?1",
        "DELETE FROM state WHERE thread = ?1",
        "DELETE FROM status_text WHERE thread = ?1",
        "DELETE FROM submission WHERE thread = ?1",
        "DELETE FROM mail WHERE reader = ?1",
        "DELETE FROM account WHERE thread = ?1",
        "DELETE FROM crash WHERE thread = ?1",
        "DELETE FROM task WHERE thread = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([pk])?;
    }
    seal_thread(connection, pk)?;
    // What it shared itself may be needed by nobody from here on.
    let mut bases = connection
        .prepare_cached("DELETE FROM lineage WHERE thread = ?1 RETURNING src")?
        .query_map([pk], |row| row.get::<_, i64>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    bases.push(pk);
    for base in bases {
        discard(connection, base)?;
    }
    Ok(())
}

/// Marks a hidden thread as one with records to collect.
fn discard(connection: &Connection, pk: i64) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO garbage(thread)
             SELECT pk FROM thread WHERE pk = ?1 AND hidden = 1",
        )?
        .execute([pk])?;
    Ok(())
}

/// Collects a portion in a transaction of its own: whether there is more. What may go is found anew
/// each time: the records of a hidden thread that no fork shares.
pub(super) fn collect(connection: &Connection) -> rusqlite::Result<bool> {
    let transaction = connection.unchecked_transaction()?;
    let next: Option<i64> = transaction
        .prepare_cached("SELECT thread FROM garbage LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(pk) = next else { return Ok(false) };
    let hidden = transaction.prepare_cached(&HIDDEN)?.exists([pk])?;
    let deleted = if hidden {
        transaction
            .prepare_cached(
                "DELETE FROM record WHERE rowid IN (
                   SELECT rowid FROM record WHERE thread = ?1
                     AND seq >= (SELECT coalesce(max(hi), 0) FROM lineage WHERE src = ?1)
                   LIMIT ?2)",
            )?
            .execute(params![pk, COLLECT_RECORDS.cast_signed() as i64])?
    } else {
        0
    };
    if deleted < COLLECT_RECORDS {
        transaction.prepare_cached("DELETE FROM garbage WHERE thread = ?1")?.execute([pk])?;
        // The row goes with the last record.
        transaction
            .prepare_cached(
                "DELETE FROM thread WHERE pk = ?1 AND hidden = 1
                   AND NOT EXISTS (SELECT 1 FROM lineage WHERE src = ?1)
                   AND NOT EXISTS (SELECT 1 FROM record WHERE thread = ?1)",
            )?
            .execute([pk])?;
    }
    transaction.commit()?;
    Ok(true)
}

/// Whether a thread is hidden, and its row says so soundly.
static HIDDEN: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT 1 FROM thread WHERE pk = ?1 AND hidden = 1 AND {}", THREAD.holds("thread"))
});
