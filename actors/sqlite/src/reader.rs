//! Reading histories: page by page, each page one short transaction, every record checked.

use coppicer_actors::History;
use coppicer_messages::{Record, Seq, StoreError, ThreadId};
use rusqlite::{Connection, params};

use crate::class::{Code, checksum, decode};
use crate::error::{Fault, is_of_the_disk, says};
use crate::marks::{Marks, still_there};
use crate::options::PAGE_RECORDS;
use crate::rows::{damaged_row, find_thread, signed, unsigned};
use crate::writer::Share;

/// What a thread shares with others, oldest first, and where its own records begin.
pub(crate) fn lineage_of(
    connection: &Connection,
    thread: ThreadId,
    pk: i64,
) -> Result<(Vec<Share>, u64), Fault> {
    let mut look = connection.prepare_cached(
        "SELECT src, lo, hi, crc = seal(thread, ord, src, lo, hi) FROM lineage
             WHERE thread = ?1 ORDER BY ord",
    )?;
    let rows = look.query_map([pk], |row| {
        if !row.get::<_, bool>(3)? {
            return Ok(None);
        }
        Ok(Some(Share { src: row.get(0)?, lo: unsigned(row, 1)?, hi: unsigned(row, 2)? }))
    })?;
    let shares = rows.collect::<rusqlite::Result<Option<Vec<Share>>>>()?;
    let shares = shares.ok_or_else(|| damaged_row(thread))?;
    let own = shares.last().map_or(0, |share| share.hi);
    Ok((shares, own))
}

/// A record, or which one is damaged and how.
pub(crate) type Checked = Result<Record, (Seq, String)>;

/// At most [`PAGE_RECORDS`] records of `src` from place `at` on, before `hi`. Ends with the first
/// damaged one.
pub(crate) fn page(
    connection: &Connection,
    src: i64,
    at: u64,
    hi: u64,
) -> rusqlite::Result<Vec<Checked>> {
    page_within(connection, src, at, hi, usize::MAX)
}

/// The same; it also ends with the record with which so many bytes are reached.
fn page_within(
    connection: &Connection,
    src: i64,
    at: u64,
    hi: u64,
    bytes: usize,
) -> rusqlite::Result<Vec<Checked>> {
    let mut look = connection.prepare_cached(
        "SELECT seq, at_ms, kind, detail, ref, crc, raw FROM record
         WHERE thread = ?1 AND seq >= ?2 AND seq < ?3 ORDER BY seq LIMIT ?4",
    )?;
    let mut rows = look.query(params![src, signed(at), signed(hi), signed(PAGE_RECORDS)])?;
    let mut found = Vec::new();
    let (mut next, mut left) = (at, bytes);
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            // A page of the file that cannot be read is damage of what it holds, not of the store.
            Err(error) if !is_of_the_disk(&error) => {
                found.push(Err((Seq(next), says(&error))));
                break;
            }
            Err(error) => return Err(error),
        };
        let record = match check(row, src) {
            Ok(record) if record.seq.0 == next => record,
            Ok(record) => {
                let reason = format!("it is missing; the next one is {}", record.seq);
                found.push(Err((Seq(next), reason)));
                break;
            }
            Err(reason) => {
                found.push(Err((Seq(next), reason)));
                break;
            }
        };
        left = left.saturating_sub(record.raw.len());
        found.push(Ok(record));
        next += 1;
        if left == 0 {
            break;
        }
    }
    Ok(found)
}

fn check(row: &rusqlite::Row<'_>, src: i64) -> Result<Record, String> {
    let read = || -> rusqlite::Result<_> {
        let (seq, at_ms) = (unsigned(row, 0)?, unsigned(row, 1)?);
        let reference = row.get_ref(4)?.as_str_or_null()?;
        let code =
            Code { kind: row.get(2)?, detail: row.get(3)?, reference: reference.map(Into::into) };
        let raw = row.get_ref(6)?.as_blob()?;
        if checksum(src, seq, at_ms, &code, raw) != row.get::<_, i64>(5)? {
            return Ok(Err("its checksum does not match".to_owned()));
        }
        Ok(match decode(code.kind, code.detail, reference) {
            Some(class) => Ok(Record { seq: Seq(seq), at_ms, class, raw: raw.into() }),
            None => Err(format!("its kind {} is of a later version", code.kind)),
        })
    };
    read().unwrap_or_else(|error| Err(says(&error)))
}

/// The records of a thread in `from..end`, up to the one with which `bytes` are reached. Between two pages
/// others write; records never change, so what is read is one snapshot up to the head that was found first.
pub(crate) fn read_piece(
    connection: &Connection,
    thread: ThreadId,
    from: Seq,
    end: Option<Seq>,
    bytes: usize,
) -> Result<History, Fault> {
    let row = find_thread(connection, thread)?;
    let end = end.map_or(row.stored.head, |end| end.min(row.stored.head));
    let (mut shares, own) = lineage_of(connection, thread, row.pk)?;
    shares.push(Share { src: row.pk, lo: own, hi: u64::MAX });
    let history = read_within(connection, thread, &shares, (from.min(end).0, end.0), bytes)?;
    still_there(connection, &row)?;
    Ok(history)
}

/// The records in `from..to` of a thread that consists of these shares.
pub(crate) fn read_shares(
    connection: &Connection,
    thread: ThreadId,
    shares: &[Share],
    from: u64,
    to: u64,
) -> Result<History, Fault> {
    read_within(connection, thread, shares, (from, to), usize::MAX)
}

/// The same, up to the record with which so many bytes are reached.
fn read_within(
    connection: &Connection,
    thread: ThreadId,
    shares: &[Share],
    (from, to): (u64, u64),
    bytes: usize,
) -> Result<History, Fault> {
    let mut left = bytes;
    let mut history = if from == 0 { History::new() } else { History::starting_at(Seq(from)) };
    for share in shares {
        let hi = share.hi.min(to);
        let mut at = share.lo.max(from);
        while at < hi {
            let mut page = page_within(connection, share.src, at, hi, left)?;
            if page.is_empty() {
                page.push(Err((Seq(at), "it is missing".to_owned())));
            }
            for record in page {
                match record {
                    Ok(record) => {
                        left = left.saturating_sub(record.raw.len());
                        history.push(record);
                    }
                    Err((seq, reason)) => {
                        // It may have been deleted meanwhile.
                        find_thread(connection, thread)?;
                        return Err(StoreError::Corrupt { thread, seq, reason }.into());
                    }
                }
            }
            if left == 0 {
                return Ok(history);
            }
            at = history.next_seq().0;
        }
    }
    Ok(history)
}

/// Where the model's view of a thread begins: read from the records that say so, not from their
/// bytes.
pub(crate) fn find_view_start(
    connection: &Connection,
    thread: ThreadId,
    end: Option<Seq>,
) -> Result<Seq, Fault> {
    let row = find_thread(connection, thread)?;
    Ok(Marks::of(connection, &row, end)?.view_start()?)
}
