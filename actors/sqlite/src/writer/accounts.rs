//! Ledgers, and crashes that are kept. A thread without a budget has no row in either table.

use coppicer_messages::{CRASHES_KEPT_MAX, Charge, CrashRecord, Ledger, ThreadConfig, ThreadId};
use rusqlite::{Connection, OptionalExtension, params};

use super::records::json;
use crate::error::Fault;
use crate::rows::damaged_row;

/// Opens the account of a new thread, if it has a budget or if its making charged others.
pub(super) fn open(
    connection: &Connection,
    pk: i64,
    config: &ThreadConfig,
    charges: &[Charge],
) -> Result<(), Fault> {
    if config.budget.is_none() && charges.is_empty() {
        return Ok(());
    }
    let ledger = config.budget.map(|budget| json(&Ledger::new(budget))).transpose()?;
    let charged = (!charges.is_empty()).then(|| json(&charges)).transpose()?;
    connection
        .prepare_cached(
            "INSERT INTO account(thread, ledger, charged, crc)
             VALUES (?1, ?2, ?3, seal(?1, ?2, ?3))",
        )?
        .execute(params![pk, ledger, charged])?;
    charge(connection, charges).map(drop)
}

/// Changes ledgers: what they are after it. A thread that is not there, or has none, or whose ledger
/// is damaged, is left as it is: the damage is told when that thread is read.
pub(super) fn charge(
    connection: &Connection,
    charges: &[Charge],
) -> Result<Vec<Option<Ledger>>, Fault> {
    for charge in charges {
        if let Some((pk, mut ledger)) = ledger_of(connection, charge.to)? {
            ledger.apply(charge);
            connection
                .prepare_cached(
                    "UPDATE account SET ledger = ?2, crc = seal(thread, ?2, charged)
                     WHERE thread = ?1",
                )?
                .execute(params![pk, json(&ledger)?])?;
        }
    }
    let after = |charge: &Charge| Ok(ledger_of(connection, charge.to)?.map(|(_, ledger)| ledger));
    charges.iter().map(after).collect()
}

fn ledger_of(connection: &Connection, thread: ThreadId) -> Result<Option<(i64, Ledger)>, Fault> {
    let mut look = connection.prepare_cached(
        "SELECT a.thread, a.ledger FROM account a JOIN thread t ON t.pk = a.thread
         WHERE t.id = ?1 AND t.hidden = 0 AND a.ledger IS NOT NULL
           AND a.crc = seal(a.thread, a.ledger, a.charged)",
    )?;
    let found = look
        .query_row([thread.to_string()], |row| {
            let ledger: Option<Ledger> = serde_json::from_str(row.get_ref(1)?.as_str()?).ok();
            Ok(ledger.map(|ledger| (row.get(0), ledger)))
        })
        .optional()?
        .flatten();
    Ok(found.map(|(pk, ledger)| pk.map(|pk| (pk, ledger))).transpose()?)
}

/// Takes back what the making of a thread charged others. `ended`: its end has given its part back.
pub(super) fn take_back(connection: &Connection, pk: i64, ended: bool) -> Result<(), Fault> {
    let charged: Option<Option<String>> = connection
        .prepare_cached(
            "SELECT charged FROM account WHERE thread = ?1 AND crc = seal(thread, ledger, charged)",
        )?
        .query_row([pk], |row| row.get(0))
        .optional()?;
    let charges: Vec<Charge> = charged
        .flatten()
        .and_then(|charged| serde_json::from_str(&charged).ok())
        .unwrap_or_default();
    let back: Vec<Charge> = charges.into_iter().map(|charge| charge.undone(ended)).collect();
    charge(connection, &back).map(drop)
}

pub(super) const KEEP_CRASH: &str = "INSERT INTO crash(pk, thread, body, crc)
     SELECT n.pk, ?1, ?2, seal(n.pk, ?1, ?2)
     FROM (SELECT coalesce((SELECT pk FROM crash ORDER BY pk DESC LIMIT 1), 0) + 1 AS pk) n";

/// Keeps crashes; the oldest go when there are too many.
pub(super) fn keep_crashes(
    connection: &Connection,
    pk: i64,
    crashes: &[CrashRecord],
) -> Result<(), Fault> {
    for crash in crashes {
        connection.prepare_cached(KEEP_CRASH)?.execute(params![pk, json(crash)?])?;
    }
    if !crashes.is_empty() {
        connection
            .prepare_cached(
                "DELETE FROM crash WHERE thread = ?1 AND pk <=
                   (SELECT pk FROM crash WHERE thread = ?1 ORDER BY pk DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![pk, CRASHES_KEPT_MAX.cast_signed()])?;
    }
    Ok(())
}

/// The crashes of a thread that are kept, oldest first.
pub(crate) fn crashes(
    connection: &Connection,
    thread: ThreadId,
    pk: i64,
) -> Result<Vec<CrashRecord>, Fault> {
    let mut look = connection.prepare_cached(
        "SELECT body, crc = seal(pk, thread, body) FROM crash WHERE thread = ?1 ORDER BY pk",
    )?;
    let rows = look.query_map([pk], |row| {
        let crash = serde_json::from_str(row.get_ref(0)?.as_str()?).ok();
        Ok(crash.filter(|_| row.get(1).unwrap_or(false)))
    })?;
    let found = rows.collect::<rusqlite::Result<Option<Vec<CrashRecord>>>>()?;
    found.ok_or_else(|| damaged_row(thread))
}
