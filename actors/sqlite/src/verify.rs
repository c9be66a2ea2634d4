//! Checking a whole store: its file, every checksum, and what must be so between the tables.

use std::fmt;

use coppicer_messages::{Seq, ThreadId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{Fault, says};
use crate::reader::page;
use crate::rows::unsigned;
use crate::seal;

/// What a check of a whole store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// Threads that were checked.
    pub threads: u64,
    /// Records that were checked, those that only forks need included.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// What is wrong, at most [`FINDINGS_MAX`](Self::FINDINGS_MAX).
    pub findings: Vec<Finding>,
}

impl Verification {
    /// Most findings that are told.
    pub const FINDINGS_MAX: usize = 1_000;

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < Self::FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// One thing that is wrong with a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// SQLite finds the file damaged.
    File {
        /// What it says.
        what: String,
    },
    /// A record is damaged or missing.
    Record {
        /// Whose; none if only forks of a deleted thread need it.
        thread: Option<ThreadId>,
        /// Which.
        seq: Seq,
        /// How.
        what: String,
    },
    /// Something else of a thread is damaged, or contradicts itself.
    Thread {
        /// Which; none if that cannot be read.
        thread: Option<ThreadId>,
        /// What.
        what: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |thread: &Option<ThreadId>| {
            thread.map_or_else(|| "a thread".to_owned(), |thread| format!("thread {thread}"))
        };
        match self {
            Self::File { what } => write!(f, "the file is damaged: {what}"),
            Self::Record { thread, seq, what } => {
                write!(f, "record {seq} of {} is damaged: {what}", name(thread))
            }
            Self::Thread { thread, what } => write!(f, "{}: {what}", name(thread)),
        }
    }
}

/// What must be so of every thread, as a query for those of which it is not.
const INVARIANTS: [(&str, &str); 9] = [
    (
        "it has no state",
        "SELECT t.id FROM thread t WHERE t.hidden = 0
           AND NOT EXISTS (SELECT 1 FROM state s WHERE s.thread = t.pk)",
    ),
    (
        "its head is not where its records end",
        "SELECT t.id FROM thread t JOIN state s ON s.thread = t.pk WHERE t.hidden = 0
           AND s.head <> t.head_base + (SELECT count(*) FROM record r WHERE r.thread = t.pk)",
    ),
    (
        "its records before its head are not all there",
        "SELECT t.id FROM thread t JOIN state s ON s.thread = t.pk WHERE t.hidden = 0
           AND s.head <> coalesce((SELECT max(r.seq) + 1 FROM record r WHERE r.thread = t.pk), t.head_base)",
    ),
    (
        "what it shares does not reach from 0 to where its own records begin",
        "SELECT t.id FROM thread t WHERE t.hidden = 0 AND t.head_base <>
           coalesce((SELECT sum(l.hi - l.lo) FROM lineage l WHERE l.thread = t.pk), 0)",
    ),
    (
        "a record that it shares is gone",
        "SELECT t.id FROM thread t JOIN lineage l ON l.thread = t.pk WHERE t.hidden = 0
           AND (SELECT count(*) FROM record r WHERE r.thread = l.src AND r.seq >= l.lo AND r.seq < l.hi)
             <> l.hi - l.lo",
    ),
    (
        "its parent is not there",
        "SELECT t.id FROM thread t WHERE t.hidden = 0 AND t.parent IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM thread p WHERE p.id = t.parent AND p.hidden = 0)",
    ),
    (
        "a submission without an outcome has no body",
        "SELECT DISTINCT t.id FROM thread t JOIN submission b ON b.thread = t.pk
           WHERE t.hidden = 0 AND b.outcome IS NULL AND b.body IS NULL",
    ),
    (
        "its ledger has less than nothing",
        "SELECT t.id FROM thread t JOIN account a ON a.thread = t.pk WHERE t.hidden = 0 AND a.ledger IS NOT NULL
           AND min(json_extract(a.ledger, '$.spent.tokens'), json_extract(a.ledger, '$.spent.cost_micros'),
             json_extract(a.ledger, '$.spent.wall_ms'), json_extract(a.ledger, '$.spent.spawns'),
             json_extract(a.ledger, '$.carved.tokens'), json_extract(a.ledger, '$.carved.cost_micros'),
             json_extract(a.ledger, '$.carved.wall_ms'), json_extract(a.ledger, '$.carved.spawns')) < 0",
    ),
    (
        "it is settled past its head",
        "SELECT t.id FROM thread t JOIN state s ON s.thread = t.pk
           WHERE t.hidden = 0 AND s.settled > s.head",
    ),
];

/// What must not be left over.
const STRAYS: [(&str, &str); 7] = [
    (
        "records of a thread that is not there",
        "SELECT count(*) FROM record r WHERE NOT EXISTS (SELECT 1 FROM thread t WHERE t.pk = r.thread)",
    ),
    (
        "states of threads that are not there",
        "SELECT count(*) FROM state s WHERE NOT EXISTS
           (SELECT 1 FROM thread t WHERE t.pk = s.thread AND t.hidden = 0)",
    ),
    (
        "submissions of threads that are not there",
        "SELECT count(*) FROM submission b WHERE NOT EXISTS
           (SELECT 1 FROM thread t WHERE t.pk = b.thread AND t.hidden = 0)",
    ),
    (
        "accounts of threads that are not there",
        "SELECT count(*) FROM account a WHERE NOT EXISTS
           (SELECT 1 FROM thread t WHERE t.pk = a.thread AND t.hidden = 0)",
    ),
    (
        "tasks of threads that are not there",
        "SELECT count(*) FROM task k WHERE NOT EXISTS
           (SELECT 1 FROM thread t WHERE t.pk = k.thread AND t.hidden = 0)",
    ),
    (
        "crashes of threads that are not there",
        "SELECT count(*) FROM crash c WHERE NOT EXISTS
           (SELECT 1 FROM thread t WHERE t.pk = c.thread AND t.hidden = 0)",
    ),
    (
        "mail to threads that are not there",
        "SELECT count(*) FROM mail m WHERE NOT EXISTS
           (SELECT 1 FROM thread t WHERE t.pk = m.reader AND t.hidden = 0)",
    ),
];

/// Checks everything. Reads every page of the file.
pub(crate) fn verify(connection: &Connection) -> Result<Verification, Fault> {
    // One snapshot: what is written meanwhile is not half seen.
    let snapshot = connection.unchecked_transaction()?;
    let mut found = Verification::default();
    file(&snapshot, &mut found)?;
    let steps = [seals, threads, invariants, strays];
    for step in steps {
        match step(&snapshot, &mut found) {
            Ok(()) => {}
            // Where the file is damaged, not every question has an answer.
            Err(error) if !found.is_sound() => found.find(Finding::File { what: says(&error) }),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn file(connection: &Connection, found: &mut Verification) -> rusqlite::Result<()> {
    let sql = format!("PRAGMA integrity_check({})", Verification::FINDINGS_MAX);
    let mut check = connection.prepare(&sql)?;
    let mut rows = check.query([])?;
    loop {
        match rows.next() {
            Ok(None) => return Ok(()),
            Ok(Some(row)) => {
                let what: String = row.get(0)?;
                if what != "ok" {
                    found.find(Finding::File { what });
                }
            }
            Err(error) => {
                found.find(Finding::File { what: says(&error) });
                return Ok(());
            }
        }
    }
}

/// The thread that a number stands for.
fn name(connection: &Connection, pk: i64) -> Option<ThreadId> {
    let mut look = connection.prepare_cached("SELECT id FROM thread WHERE pk = ?1").ok()?;
    let id: Option<String> = look.query_row([pk], |row| row.get(0)).optional().ok()?;
    id.and_then(|id| id.parse().ok())
}

fn seals(connection: &Connection, found: &mut Verification) -> rusqlite::Result<()> {
    for sealed in seal::ALL {
        let (table, owner) = (sealed.table, sealed.owner());
        let sql = format!("SELECT {owner} FROM {table} WHERE NOT ({})", sealed.holds(table));
        let mut look = connection.prepare(&sql)?;
        let broken: Vec<i64> =
            look.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for pk in broken {
            let what = format!("{} does not match its checksum", sealed.what);
            found.find(Finding::Thread { thread: name(connection, pk), what });
        }
    }
    Ok(())
}

fn threads(connection: &Connection, found: &mut Verification) -> rusqlite::Result<()> {
    let (threads, records, bytes) = connection.query_row(
        "SELECT (SELECT count(*) FROM thread WHERE hidden = 0), count(*), coalesce(sum(length(raw)), 0)
         FROM record",
        [],
        |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?, unsigned(row, 2)?)),
    )?;
    (found.threads, found.records, found.bytes) = (threads, records, bytes);
    // Of a deleted thread only what forks share: the rest may be half collected.
    let mut look = connection.prepare(
        "SELECT pk, head_base, CASE hidden WHEN 0 THEN 9223372036854775807 ELSE
           (SELECT coalesce(max(hi), 0) FROM lineage WHERE src = pk) END
         FROM thread ORDER BY pk",
    )?;
    let all: Vec<(i64, u64, u64)> = look
        .query_map([], |row| Ok((row.get(0)?, unsigned(row, 1)?, unsigned(row, 2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut first =
        connection.prepare("SELECT min(seq) FROM record WHERE thread = ?1 AND seq >= ?2")?;
    for (pk, own, end) in all {
        let mut at = own;
        loop {
            let page = page(connection, pk, at, end)?;
            if page.is_empty() {
                break;
            }
            for record in page {
                match record {
                    Ok(record) => at = record.seq.0 + 1,
                    Err((seq, what)) => {
                        found.find(Finding::Record { thread: name(connection, pk), seq, what });
                        // On behind it, and behind what is missing.
                        let next: Option<i64> = first
                            .query_row(params![pk, seq.0.cast_signed() + 1], |row| row.get(0))?;
                        at = next.map_or(u64::MAX, i64::cast_unsigned);
                    }
                }
            }
            if at == u64::MAX {
                break;
            }
        }
    }
    Ok(())
}

fn invariants(connection: &Connection, found: &mut Verification) -> rusqlite::Result<()> {
    for (what, sql) in INVARIANTS {
        let mut look = connection.prepare(sql)?;
        let broken: Vec<String> =
            look.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for id in broken {
            found.find(Finding::Thread { thread: id.parse().ok(), what: what.to_owned() });
        }
    }
    Ok(())
}

fn strays(connection: &Connection, found: &mut Verification) -> rusqlite::Result<()> {
    for (what, sql) in STRAYS {
        let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
        if count > 0 {
            found.find(Finding::Thread { thread: None, what: format!("{count} {what}") });
        }
    }
    Ok(())
}
