//! Threads as they come, are acquired, and change what is known of them. Every function checks
//! first and writes then: a refusal has changed nothing.

use std::collections::HashSet;

use coppicer_actors::{
    Acquired, Base, EdgeChange, EdgeStatus, Fence, NewThread, OpenSubmission, StoredThread,
    ThreadMove,
};
use coppicer_messages::{
    ACQUIRED_MAIL_MAX, Change, Epoch, KnownSubmission, MailPage, MailPlace, MailRest, NewRecord,
    Outcome, Seq, StoreError, SubmissionId, ThreadId, ThreadPatch, ThreadStatus,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::records::{check_records, copy_records, insert_records, say_status};
use super::{accounts, mail};
use crate::error::Fault;
use crate::list::children;
use crate::names::{check_path, set_root};
use crate::options::SqliteOptions;
use crate::reader::lineage_of;
use crate::rows::{
    ThreadRow, config_text, damaged_row, digest_at, edge_text, find_thread, signed, state_at,
};
use crate::seal::SEAL_THREAD;

pub(super) fn create(
    connection: &Connection,
    new: &NewThread,
    records: &[NewRecord],
    options: &SqliteOptions,
) -> Result<Acquired, Fault> {
    let thread = new.id;
    check_records(records, options)?;
    if exists(connection, thread)? {
        return Err(StoreError::Exists { thread }.into());
    }
    if let Some(parent) = new.parent
        && !exists(connection, parent)?
    {
        let reason = "there is no such thread";
        return Err(StoreError::BadParent { thread, parent, reason }.into());
    }
    if let (Some(parent), Some(path)) = (new.parent, &new.path) {
        check_path(connection, parent, path, thread)?;
    }
    let base = match new.base {
        None => None,
        Some(base) => Some((find_thread(connection, base.thread)?, base)),
    };
    let beginning = base.as_ref().map(|(row, base)| base.cut.min(row.stored.head));
    let mut head = beginning.unwrap_or_default();
    let shares = match &base {
        None => Vec::new(),
        Some((row, _)) => shared(connection, row, head)?,
    };
    let flat = shares.len() > options.lineage_max;
    let pk = insert_thread(connection, new, if flat { Seq(0) } else { head })?;
    if flat {
        copy_records(connection, pk, &shares)?;
    } else {
        for (ord, share) in (0i64..).zip(&shares) {
            connection
                .prepare_cached(
                    "INSERT INTO lineage(thread, ord, src, lo, hi, crc)
                     VALUES (?1, ?2, ?3, ?4, ?5, seal(?1, ?2, ?3, ?4, ?5))",
                )?
                .execute(params![pk, ord, share.src, signed(share.lo), signed(share.hi)])?;
        }
    }
    accounts::open(connection, pk, &new.config, &new.charges)?;
    insert_records(connection, pk, head, records)?;
    head = head.plus(records.len() as u64);
    let settled = if new.settled { head } else { Seq(0) };
    connection
        .prepare_cached(
            "INSERT INTO state(thread, head, settled, epoch, appends, updated_ms, status, crc)
             VALUES (?1, ?2, ?3, 1, 0, ?4, ?5, seal(?1, ?2, ?3, 1, 0, ?4, ?5))",
        )?
        .execute(params![
            pk,
            signed(head.0),
            signed(settled.0),
            signed(new.created_ms),
            new.status.name()
        ])?;
    say_status(connection, pk, &new.status)?;
    let fence = Fence { thread, epoch: Epoch(1) };
    let stored = find_thread(connection, thread)?.stored;
    Ok(Acquired {
        fence,
        thread: stored,
        open: Vec::new(),
        mail: Vec::new(),
        mail_rest: MailRest::default(),
        crashes: Vec::new(),
    })
}

/// A run of records that a thread shares with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) src: i64,
    pub(crate) lo: u64,
    pub(crate) hi: u64,
}

/// Where the records of a thread before `cut` are.
fn shared(connection: &Connection, base: &ThreadRow, cut: Seq) -> Result<Vec<Share>, Fault> {
    let (mut shares, own) = lineage_of(connection, base.stored.id, base.pk)?;
    shares.push(Share { src: base.pk, lo: own, hi: u64::MAX });
    shares.retain_mut(|share| {
        share.hi = share.hi.min(cut.0);
        share.lo < share.hi
    });
    Ok(shares)
}

fn insert_thread(connection: &Connection, new: &NewThread, own: Seq) -> Result<i64, Fault> {
    let NewThread { config, details, .. } = new;
    let mut insert = connection.prepare_cached(
        "INSERT INTO thread(id, parent, edge, base, base_cut, head_base, depth, path, rollout_path,
           created_ms, name, title, preview, git_sha, git_branch, git_origin_url, cwd, model, source,
           thread_source, nickname, role, config, root)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6,
           ifnull((SELECT p.depth + 1 FROM thread p WHERE p.id = ?2 AND p.hidden = 0), ?7), ?8, ?9, ?10,
           ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
           (SELECT ifnull(p.root, p.pk) FROM thread p WHERE p.id = ?2 AND p.hidden = 0))",
    )?;
    let pk = insert.insert(params![
        new.id.to_string(),
        new.parent.map(|parent| parent.to_string()),
        new.parent.map(|_| edge_text(EdgeStatus::Open)),
        new.base.map(|base| base.thread.to_string()),
        new.base.map(|Base { cut, .. }| signed(cut.0)),
        signed(own.0),
        new.depth,
        new.path.as_ref().map(ToString::to_string),
        new.rollout_path,
        signed(new.created_ms),
        details.name,
        details.title,
        details.preview,
        details.git.sha,
        details.git.branch,
        details.git.origin_url,
        config.cwd,
        config.model,
        config.source,
        config.thread_source,
        config.nickname,
        config.role,
        config_text(config),
    ])?;
    seal_thread(connection, pk)?;
    Ok(pk)
}

/// Seals the row of a thread after a change to it.
pub(super) fn seal_thread(connection: &Connection, pk: i64) -> Result<(), Fault> {
    connection.prepare_cached(&SEAL_THREAD)?.execute([pk])?;
    Ok(())
}

fn exists(connection: &Connection, thread: ThreadId) -> Result<bool, Fault> {
    let mut look =
        connection.prepare_cached("SELECT 1 FROM thread WHERE id = ?1 AND hidden = 0")?;
    Ok(look.exists([thread.to_string()])?)
}

pub(super) fn acquire(connection: &Connection, thread: ThreadId) -> Result<Acquired, Fault> {
    let mut row = find_thread(connection, thread)?;
    if let (Some(seq), ThreadStatus::Damaged(reason)) = (row.damaged_at, &row.stored.status) {
        return Err(StoreError::Corrupt { thread, seq, reason: reason.clone() }.into());
    }
    row.stored.epoch = row.stored.epoch.next();
    connection
        .prepare_cached(
            "UPDATE state SET epoch = ?2, appends = 0,
               crc = seal(thread, head, settled, ?2, 0, updated_ms, status)
             WHERE thread = ?1",
        )?
        .execute(params![row.pk, signed(row.stored.epoch.0)])?;
    let MailPage { mail, rest: mail_rest } =
        mail::page(connection, &row, MailPlace::default(), ACQUIRED_MAIL_MAX)?;
    Ok(Acquired {
        fence: Fence { thread, epoch: row.stored.epoch },
        open: open_submissions(connection, &row)?,
        mail,
        mail_rest,
        crashes: accounts::crashes(connection, thread, row.pk)?,
        thread: row.stored,
    })
}

fn open_submissions(
    connection: &Connection,
    row: &ThreadRow,
) -> Result<Vec<OpenSubmission>, Fault> {
    let mut look = connection.prepare_cached(
        "SELECT id, seq, attempt, outcome, body,
           crc = seal(pk, thread, id, digest, seq, attempt, outcome, body)
         FROM submission WHERE thread = ?1 AND outcome IS NULL ORDER BY pk",
    )?;
    let rows = look.query_map([row.pk], |row| {
        if !row.get::<_, bool>(5)? {
            return Ok(None);
        }
        let id = row.get_ref(0)?.as_str()?;
        let id = SubmissionId::new(id).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
        })?;
        Ok(Some(OpenSubmission {
            id,
            seq: Seq(crate::rows::unsigned(row, 1)?),
            state: state_at(row, 2)?,
            body: row.get_ref(4)?.as_blob_or_null()?.unwrap_or_default().into(),
        }))
    })?;
    let open = rows.collect::<rusqlite::Result<Option<Vec<_>>>>()?;
    open.ok_or_else(|| damaged_row(row.stored.id))
}

pub(crate) fn submission(
    connection: &Connection,
    thread: ThreadId,
    id: &SubmissionId,
) -> Result<Option<KnownSubmission>, Fault> {
    let pk = find_thread(connection, thread)?.pk;
    let mut look = connection.prepare_cached(
        "SELECT digest, seq, attempt, outcome,
           crc = seal(pk, thread, id, digest, seq, attempt, outcome, body)
         FROM submission WHERE thread = ?1 AND id = ?2",
    )?;
    let found = look.query_row(params![pk, id.as_str()], |row| {
        if !row.get::<_, bool>(4)? {
            return Ok(None);
        }
        let seq = Seq(crate::rows::unsigned(row, 1)?);
        Ok(Some(KnownSubmission::new(digest_at(row, 0)?, seq, state_at(row, 2)?)))
    });
    match found.optional()? {
        None => Ok(None),
        Some(None) => Err(damaged_row(thread)),
        Some(known) => Ok(known),
    }
}

pub(super) fn put_edge(
    connection: &Connection,
    child: ThreadId,
    change: EdgeChange,
) -> Result<(), Fault> {
    if let EdgeChange::Parent(parent, _) = change
        && exists(connection, child)?
        && !exists(connection, parent)?
    {
        let reason = "there is no such thread";
        return Err(StoreError::BadParent { thread: child, parent, reason }.into());
    }
    let changed = match change {
        EdgeChange::Status(status) => connection
            .prepare_cached(
                "UPDATE thread SET edge = ?2 WHERE id = ?1 AND hidden = 0 AND parent IS NOT NULL
                 RETURNING pk",
            )?
            .query_row(params![child.to_string(), edge_text(status)], |row| row.get(0)),
        EdgeChange::Root => connection
            .prepare_cached(
                "UPDATE thread SET parent = NULL, edge = NULL WHERE id = ?1 AND hidden = 0 RETURNING pk",
            )?
            .query_row(params![child.to_string()], |row| row.get(0)),
        EdgeChange::Parent(parent, status) => connection
            .prepare_cached(
                "UPDATE thread SET parent = ?2, edge = ?3 WHERE id = ?1 AND hidden = 0 RETURNING pk",
            )?
            .query_row(
                params![child.to_string(), parent.to_string(), edge_text(status)],
                |row| row.get(0),
            ),
    };
    let Some(pk) = changed.optional()? else { return Ok(()) };
    seal_thread(connection, pk)?;
    set_root(connection, child)
}

pub(super) fn relocate(connection: &Connection, to: &ThreadMove) -> Result<(), Fault> {
    if let Some(epoch) = to.epoch {
        check_life(connection, to.thread, epoch)?;
    }
    put_edge(connection, to.thread, to.edge)?;
    let mut update = connection
        .prepare_cached("UPDATE thread SET path = ?2 WHERE id = ?1 AND hidden = 0 RETURNING pk")?;
    for (thread, path) in &to.paths {
        let path = path.as_ref().map(ToString::to_string);
        let changed = update.query_row(params![thread.to_string(), path], |row| row.get(0));
        if let Some(pk) = changed.optional()? {
            seal_thread(connection, pk)?;
        }
    }
    accounts::charge(connection, &to.charges)?;
    set_depths(connection, to.thread)
}

/// Whether a thread, if there is one, is in the life that it is moved in.
fn check_life(connection: &Connection, thread: ThreadId, epoch: Epoch) -> Result<(), Fault> {
    match find_thread(connection, thread) {
        Ok(row) if row.stored.epoch != epoch => Err(StoreError::Fenced { thread }.into()),
        Ok(_) | Err(Fault::Refused(StoreError::NotFound { .. })) => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// Sets the levels of a thread that was moved and of all that went along.
fn set_depths(connection: &Connection, thread: ThreadId) -> Result<(), Fault> {
    let depth: Option<u32> = connection
        .prepare_cached(
            "SELECT ifnull((SELECT p.depth + 1 FROM thread p WHERE p.id = t.parent AND p.hidden = 0), 0)
             FROM thread t WHERE t.id = ?1 AND t.hidden = 0",
        )?
        .query_row([thread.to_string()], |row| row.get(0))
        .optional()?;
    let Some(depth) = depth else { return Ok(()) };
    let mut update = connection.prepare_cached(
        "UPDATE thread SET depth = ?2 WHERE id = ?1 AND hidden = 0 AND depth <> ?2 RETURNING pk",
    )?;
    let mut level = vec![(thread, depth)];
    let mut seen = HashSet::from([thread]);
    while let Some((id, depth)) = level.pop() {
        let changed = update.query_row(params![id.to_string(), depth], |row| row.get(0));
        if let Some(pk) = changed.optional()? {
            seal_thread(connection, pk)?;
        }
        let below = children(connection, id, None)?;
        level.extend(below.into_iter().filter(|id| seen.insert(*id)).map(|id| (id, depth + 1)));
    }
    Ok(())
}

pub(super) fn patch(
    connection: &Connection,
    thread: ThreadId,
    patch: &ThreadPatch,
) -> Result<StoredThread, Fault> {
    if let Some((what, got)) = patch.too_long() {
        return Err(StoreError::TooLarge { what, got, max: ThreadPatch::FIELD_BYTES_MAX }.into());
    }
    let mut row = find_thread(connection, thread)?;
    if let Change::Set(path) = &patch.path {
        check_path(connection, thread, path, thread)?;
    }
    apply_patch(connection, &mut row, patch)?;
    Ok(row.stored)
}

pub(super) fn apply_patch(
    connection: &Connection,
    row: &mut ThreadRow,
    patch: &ThreadPatch,
) -> Result<(), Fault> {
    row.stored.apply(patch);
    let StoredThread { config, details, path, .. } = &row.stored;
    connection
        .prepare_cached(
            "UPDATE thread SET name = ?2, title = ?3, preview = ?4, git_sha = ?5, git_branch = ?6,
               git_origin_url = ?7, cwd = ?8, model = ?9, thread_source = ?10, nickname = ?11,
               role = ?12, path = ?13
             WHERE pk = ?1",
        )?
        .execute(params![
            row.pk,
            details.name,
            details.title,
            details.preview,
            details.git.sha,
            details.git.branch,
            details.git.origin_url,
            config.cwd,
            config.model,
            config.thread_source,
            config.nickname,
            config.role,
            path.as_ref().map(ToString::to_string),
        ])?;
    if !patch.parent_close.is_keep() {
        connection
            .prepare_cached("UPDATE thread SET config = ?2 WHERE pk = ?1")?
            .execute(params![row.pk, config_text(config)])?;
    }
    seal_thread(connection, row.pk)
}

pub(super) fn archive(
    connection: &Connection,
    thread: ThreadId,
    at_ms: Option<u64>,
) -> Result<StoredThread, Fault> {
    let mut row = find_thread(connection, thread)?;
    row.stored.archived_ms = at_ms.map(|at| row.stored.archived_ms.unwrap_or(at));
    connection
        .prepare_cached("UPDATE thread SET archived_ms = ?2 WHERE pk = ?1")?
        .execute(params![row.pk, row.stored.archived_ms.map(signed)])?;
    seal_thread(connection, row.pk)?;
    Ok(row.stored)
}

/// Takes a thread out of use whose record `seq` is damaged: fenced, its open submissions ended.
/// False if it was already.
pub(super) fn quarantine(
    connection: &Connection,
    thread: ThreadId,
    seq: Seq,
    reason: &str,
) -> Result<bool, Fault> {
    // Read as it is: it may be its own row that is damaged.
    let found = connection
        .prepare_cached(
            "SELECT t.pk, t.damaged_seq, s.status FROM thread t JOIN state s ON s.thread = t.pk
             WHERE t.id = ?1 AND t.hidden = 0",
        )?
        .query_row([thread.to_string()], |row| {
            let known = row.get::<_, Option<i64>>(1)?.is_some();
            Ok((row.get::<_, i64>(0)?, known && row.get_ref(2)?.as_str()? == "damaged"))
        })
        .optional()?;
    let Some((pk, known)) = found else {
        return Err(StoreError::NotFound { thread }.into());
    };
    if known {
        return Ok(false);
    }
    let status = ThreadStatus::Damaged(format!("record {seq}: {reason}"));
    connection
        .prepare_cached("UPDATE thread SET damaged_seq = ?2 WHERE pk = ?1")?
        .execute(params![pk, signed(seq.0)])?;
    seal_thread(connection, pk)?;
    connection
        .prepare_cached(
            "UPDATE state SET epoch = epoch + 1, appends = 0, status = ?2,
               crc = seal(thread, head, settled, epoch + 1, 0, updated_ms, ?2)
             WHERE thread = ?1",
        )?
        .execute(params![pk, status.name()])?;
    say_status(connection, pk, &status)?;
    let outcome =
        Outcome::Failed { error: format!("the thread is damaged: record {seq}: {reason}") };
    connection
        .prepare_cached(
            "UPDATE submission SET outcome = ?2, body = NULL,
               crc = seal(pk, thread, id, digest, seq, attempt, ?2, NULL)
             WHERE thread = ?1 AND outcome IS NULL",
        )?
        .execute(params![pk, super::records::json(&outcome)?])?;
    Ok(true)
}
