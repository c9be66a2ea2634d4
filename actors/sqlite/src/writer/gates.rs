//! What decides whether a writer may write: the state of each thread, as it is in the file once the
//! transaction under way is committed.
//!
//! The file has one owner, so what was read once is so until this writer changes it. It decides; the
//! statement that writes checks it again, against the file. After a failed transaction nothing that
//! was remembered counts.

use std::collections::HashMap;

use coppicer_messages::{Seq, StoreError, ThreadId};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Fault;
use crate::options::GATES_MAX;
use crate::rows::{damaged_row, signed, unsigned};
use crate::seal;

/// The state of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gate {
    pub(super) pk: i64,
    pub(super) epoch: u64,
    pub(super) head: Seq,
    pub(super) settled: Seq,
    pub(super) appends: u64,
    pub(super) updated_ms: u64,
    pub(super) status: String,
}

/// The states that are remembered.
#[derive(Default)]
pub(super) struct Gates(HashMap<ThreadId, Gate>);

impl Gates {
    /// The state of a thread.
    pub(super) fn of(&mut self, connection: &Connection, thread: ThreadId) -> Result<&Gate, Fault> {
        if !self.0.contains_key(&thread) {
            let gate = read(connection, thread)?;
            if self.0.len() >= GATES_MAX {
                self.0.clear();
            }
            self.0.insert(thread, gate);
        }
        self.0.get(&thread).ok_or(Fault::Refused(StoreError::NotFound { thread }))
    }

    /// Changes the state of a thread from what [`of`](Self::of) told.
    pub(super) fn change(
        &mut self,
        connection: &Connection,
        thread: ThreadId,
        from: (u64, Seq),
        to: Gate,
    ) -> Result<(), Fault> {
        let changed = connection
            .prepare_cached(
                "UPDATE state SET head = ?2, settled = ?3, appends = ?4, updated_ms = ?5, status = ?6,
                   crc = ?7
                 WHERE thread = ?1 AND epoch = ?8 AND head = ?9",
            )?
            .execute(params![
                to.pk,
                signed(to.head.0),
                signed(to.settled.0),
                signed(to.appends),
                signed(to.updated_ms),
                to.status,
                to.seal(),
                signed(from.0),
                signed(from.1.0),
            ])?;
        if changed != 1 {
            // Somebody else writes this file. Nobody may.
            self.0.remove(&thread);
            return Err(StoreError::Fenced { thread }.into());
        }
        self.0.insert(thread, to);
        Ok(())
    }

    /// What is remembered of a thread counts no more.
    pub(super) fn forget(&mut self, thread: ThreadId) {
        self.0.remove(&thread);
    }

    /// Nothing that is remembered counts any more.
    pub(super) fn forget_all(&mut self) {
        self.0.clear();
    }
}

impl Gate {
    /// The seal of its row: what SQL's `seal` makes of it.
    fn seal(&self) -> i64 {
        let integer = |number: u64| ValueRef::Integer(signed(number));
        seal::of([
            ValueRef::Integer(self.pk),
            integer(self.head.0),
            integer(self.settled.0),
            integer(self.epoch),
            integer(self.appends),
            integer(self.updated_ms),
            ValueRef::Text(self.status.as_bytes()),
        ])
    }
}

fn read(connection: &Connection, thread: ThreadId) -> Result<Gate, Fault> {
    let mut look = connection.prepare_cached(
        "SELECT s.thread, s.epoch, s.head, s.settled, s.appends, s.updated_ms, s.status, s.crc
         FROM thread t JOIN state s ON s.thread = t.pk WHERE t.id = ?1 AND t.hidden = 0",
    )?;
    let found = look.query_row([thread.to_string()], |row| {
        let gate = Gate {
            pk: row.get(0)?,
            epoch: unsigned(row, 1)?,
            head: Seq(unsigned(row, 2)?),
            settled: Seq(unsigned(row, 3)?),
            appends: unsigned(row, 4)?,
            updated_ms: unsigned(row, 5)?,
            status: row.get(6)?,
        };
        Ok((row.get::<_, i64>(7)? == gate.seal()).then_some(gate))
    });
    let found = found.optional()?.ok_or(StoreError::NotFound { thread })?;
    found.ok_or_else(|| damaged_row(thread))
}
