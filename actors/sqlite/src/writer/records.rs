//! One append: everything in it, or nothing.

use coppicer_actors::{Batch, Fence};
use coppicer_messages::{NewRecord, RecordClass, Seq, StoreError, SubmissionState, ThreadStatus};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, params, params_from_iter};

use super::accounts::{charge, keep_crashes};
use super::gates::{Gate, Gates};
use super::threads::{Share, apply_patch};
use crate::class::{Code, checksum, encode};
use crate::error::Fault;
use crate::options::SqliteOptions;
use crate::rows::{find_thread, signed, status_text};
use crate::seal;

pub(super) fn check_records(records: &[NewRecord], options: &SqliteOptions) -> Result<(), Fault> {
    let max = options.record_bytes_max;
    match records.iter().map(|record| record.raw.len()).find(|&got| got > max) {
        Some(got) => Err(StoreError::TooLarge { what: "record", got, max }.into()),
        None => Ok(()),
    }
}

pub(super) fn append(
    connection: &Connection,
    gates: &mut Gates,
    fence: Fence,
    expected: Seq,
    batch: &Batch,
    options: &SqliteOptions,
) -> Result<Seq, Fault> {
    let Fence { thread, epoch } = fence;
    let gate = gates.of(connection, thread)?;
    let head = gate.head;
    if gate.epoch != epoch.0 {
        return Err(StoreError::Fenced { thread }.into());
    }
    if head != expected {
        return Err(StoreError::HeadConflict { thread, expected, head }.into());
    }
    if batch.number != 0 && batch.number != gate.appends + 1 {
        // One before it was refused: what follows from it must not be applied either.
        return Err(StoreError::Fenced { thread }.into());
    }
    check_records(&batch.records, options)?;

    let pk = gate.pk;
    let after = head.plus(batch.records.len() as u64);
    let status = batch.status.as_ref().map(ThreadStatus::name);
    let next = Gate {
        pk,
        epoch: gate.epoch,
        head: after,
        settled: if batch.settled { after } else { gate.settled },
        appends: if batch.number == 0 { gate.appends } else { batch.number },
        updated_ms: batch.updated_ms.unwrap_or(gate.updated_ms),
        status: status.map_or_else(|| gate.status.clone(), str::to_owned),
    };
    gates.change(connection, thread, (epoch.0, head), next)?;
    insert_records(connection, pk, head, &batch.records)?;
    submissions(connection, gates, pk, head, batch)?;
    if let Some(status) = &batch.status {
        say_status(connection, pk, status)?;
    }
    if let Some(task) = &batch.task {
        connection.prepare_cached(SAY_TASK)?.execute(params![pk, task])?;
    }
    if let Some(patch) = &batch.patch {
        apply_patch(connection, &mut find_thread(connection, thread)?, patch)?;
    }
    keep_crashes(connection, pk, &batch.crashes)?;
    charge(connection, &batch.charges)?;
    mail(connection, pk, batch)?;
    Ok(after)
}

/// What was asked last; a text that is there already is not written again.
const SAY_TASK: &str = "INSERT INTO task(thread, text, crc) VALUES (?1, ?2, seal(?1, ?2))
     ON CONFLICT(thread) DO UPDATE SET text = excluded.text, crc = excluded.crc
     WHERE text <> excluded.text OR crc <> excluded.crc";

pub(super) const ACCEPT: &str =
    "INSERT INTO submission(pk, thread, id, digest, seq, attempt, outcome, body, crc)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT(thread, id) DO NOTHING";

fn submissions(
    connection: &Connection,
    gates: &mut Gates,
    pk: i64,
    head: Seq,
    batch: &Batch,
) -> Result<(), Fault> {
    for new in &batch.accepted {
        let number = gates.next_submission(connection)?;
        let row = [
            ValueRef::Integer(number),
            ValueRef::Integer(pk),
            ValueRef::Text(new.id.as_str().as_bytes()),
            ValueRef::Blob(&new.digest),
            ValueRef::Integer(signed(head.0)),
            ValueRef::Integer(0),
            ValueRef::Null,
            ValueRef::Blob(&new.body),
        ];
        connection.prepare_cached(ACCEPT)?.execute(params_from_iter(
            row.into_iter().chain([ValueRef::Integer(seal::of(row))]).map(ToSqlOutput::Borrowed),
        ))?;
    }
    for (id, state) in &batch.states {
        match state {
            SubmissionState::Ended(outcome) => connection
                .prepare_cached(
                    "UPDATE submission SET outcome = ?3, body = NULL,
                       crc = seal(pk, thread, id, digest, seq, attempt, ?3, NULL)
                     WHERE thread = ?1 AND id = ?2 AND outcome IS NULL",
                )?
                .execute(params![pk, id.as_str(), json(outcome)?])?,
            state => {
                let attempt = match state {
                    SubmissionState::Running { attempt } => *attempt,
                    _ => 0,
                };
                connection
                    .prepare_cached(
                        "UPDATE submission SET attempt = ?3,
                           crc = seal(pk, thread, id, digest, seq, ?3, outcome, body)
                         WHERE thread = ?1 AND id = ?2 AND outcome IS NULL",
                    )?
                    .execute(params![pk, id.as_str(), attempt])?
            }
        };
    }
    Ok(())
}

pub(super) const SEND_MAIL: &str = "INSERT INTO mail(pk, reader, id, trigger, body, crc)
     SELECT n.pk, t.pk, ?2, ?3, ?4, seal(n.pk, t.pk, ?2, ?3, ?4)
     FROM thread t, (SELECT coalesce((SELECT pk FROM mail ORDER BY pk DESC LIMIT 1), 0) + 1 AS pk) n
     WHERE t.id = ?1 AND t.hidden = 0
     ON CONFLICT(reader, id) DO NOTHING";

fn mail(connection: &Connection, pk: i64, batch: &Batch) -> Result<(), Fault> {
    for out in &batch.mail {
        connection.prepare_cached(SEND_MAIL)?.execute(params![
            out.to.to_string(),
            &*out.mail.id,
            out.mail.trigger,
            json(&out.mail)?
        ])?;
    }
    // After the mail: a thread may take what it is sent in the same append.
    for id in &batch.mail_taken {
        connection
            .prepare_cached(
                "UPDATE mail SET body = NULL, crc = seal(pk, reader, id, trigger, NULL)
                 WHERE reader = ?1 AND id = ?2",
            )?
            .execute(params![pk, &**id])?;
    }
    Ok(())
}

pub(super) fn insert_records(
    connection: &Connection,
    pk: i64,
    from: Seq,
    records: &[NewRecord],
) -> Result<(), Fault> {
    if records.is_empty() {
        return Ok(());
    }
    let mut insert = insertion(connection)?;
    for (record, place) in records.iter().zip(from.0..) {
        insert_one(&mut insert, pk, place, record.at_ms, &record.class, &record.raw)?;
    }
    Ok(())
}

fn insertion(connection: &Connection) -> rusqlite::Result<rusqlite::CachedStatement<'_>> {
    connection.prepare_cached(
        "INSERT INTO record(thread, seq, at_ms, kind, detail, ref, crc, raw)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
}

fn insert_one(
    insert: &mut rusqlite::CachedStatement<'_>,
    pk: i64,
    seq: u64,
    at_ms: u64,
    class: &RecordClass,
    raw: &[u8],
) -> Result<(), Fault> {
    let at_ms = at_ms.min(i64::MAX as u64);
    let code = encode(class);
    let crc = checksum(pk, seq, at_ms, &code, raw);
    let Code { kind, detail, reference } = code;
    insert.execute(params![pk, signed(seq), signed(at_ms), kind, detail, reference, crc, raw])?;
    Ok(())
}

/// Gives a thread copies of the records that it would otherwise share over too many steps.
pub(super) fn copy_records(
    connection: &Connection,
    pk: i64,
    shares: &[Share],
) -> Result<(), Fault> {
    let mut insert = insertion(connection)?;
    for share in shares {
        let mut at = share.lo;
        while at < share.hi {
            let page = crate::reader::page(connection, share.src, at, share.hi)?;
            if page.is_empty() {
                return Err(StoreError::Unavailable {
                    reason: "a record of the base is missing; verify the store".into(),
                }
                .into());
            }
            for record in page {
                let record = record.map_err(|(seq, reason)| StoreError::Unavailable {
                    reason: format!("record {seq} of the base is damaged: {reason}"),
                })?;
                insert_one(
                    &mut insert,
                    pk,
                    record.seq.0,
                    record.at_ms,
                    &record.class,
                    &record.raw,
                )?;
                at = record.seq.0 + 1;
            }
        }
    }
    Ok(())
}

/// Keeps the text of a status, if it has one; its name stands in the state.
pub(super) fn say_status(
    connection: &Connection,
    pk: i64,
    status: &ThreadStatus,
) -> Result<(), Fault> {
    match status_text(status) {
        None => {} // what an earlier status said is not read
        Some(None) => {
            connection
                .prepare_cached("DELETE FROM status_text WHERE thread = ?1")?
                .execute([pk])?;
        }
        Some(Some(text)) => {
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO status_text(thread, text, crc)
                     VALUES (?1, ?2, seal(?1, ?2))",
                )?
                .execute(params![pk, text])?;
        }
    }
    Ok(())
}

/// A value of ours as JSON: it has no map with keys that are no text.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| {
        StoreError::Unavailable { reason: format!("a value cannot be written: {error}") }.into()
    })
}
