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

/// The number of the newest submission. Not by `max`, for which SQLite reads all of them where it stands
/// in an expression.
const NEWEST_SUBMISSION: &str = "SELECT pk FROM submission ORDER BY pk DESC LIMIT 1";

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
pub(super) struct Gates {
    threads: HashMap<ThreadId, Gate>,
    /// The number of the newest submission of all threads, once one was looked for.
    last_submission: Option<i64>,
}

impl Gates {
    /// The state of a thread.
    pub(super) fn of(&mut self, connection: &Connection, thread: ThreadId) -> Result<&Gate, Fault> {
        if !self.threads.contains_key(&thread) {
            let gate = read(connection, thread)?;
            if self.threads.len() >= GATES_MAX {
                self.threads.clear();
            }
            self.threads.insert(thread, gate);
        }
        self.threads.get(&thread).ok_or(Fault::Refused(StoreError::NotFound { thread }))
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
            self.threads.remove(&thread);
            return Err(StoreError::Fenced { thread }.into());
        }
        self.threads.insert(thread, to);
        Ok(())
    }

    /// What is remembered of a thread counts no more.
    pub(super) fn forget(&mut self, thread: ThreadId) {
        self.threads.remove(&thread);
    }

    /// Nothing that is remembered counts any more.
    pub(super) fn forget_all(&mut self) {
        self.threads.clear();
        self.last_submission = None;
    }

    /// The number that the next submission gets.
    pub(super) fn next_submission(&mut self, connection: &Connection) -> rusqlite::Result<i64> {
        let last = match self.last_submission {
            Some(last) => last,
            None => connection
                .prepare_cached(NEWEST_SUBMISSION)?
                .query_row([], |row| row.get(0))
                .optional()?
                .unwrap_or(0),
        };
        self.last_submission = Some(last + 1);
        Ok(last + 1)
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

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::writer::accounts::KEEP_CRASH;
    use crate::writer::records::{ACCEPT, SEND_MAIL};

    #[test]
    fn what_is_added_to_a_table_takes_no_look_at_what_is_in_it() {
        let connection = Connection::open_in_memory().unwrap();
        seal::teach(&connection).unwrap();
        crate::schema::migrate(&connection, 0).unwrap();
        let thread =
            "INSERT INTO thread(pk, id, head_base, depth, created_ms) VALUES (1, 'a', 0, 0, 0)";
        connection.execute(thread, []).unwrap();
        for (sql, values) in [(SEND_MAIL, 4), (KEEP_CRASH, 2)] {
            let mut add = connection.prepare(sql).unwrap();
            let (mut second, mut last) = (0, 0);
            for number in 0..50 {
                let thread = if sql == SEND_MAIL { "a" } else { "1" };
                let rest = [number.to_string(), "0".into(), "{}".into()];
                let values = std::iter::once(thread.to_owned()).chain(rest).take(values);
                let before = add.get_status(StatementStatus::VmStep);
                assert_eq!(add.execute(rusqlite::params_from_iter(values)).unwrap(), 1);
                last = add.get_status(StatementStatus::VmStep) - before;
                if number == 1 {
                    second = last;
                }
            }
            assert!(last <= second + 10, "{sql}: {second} steps, then {last}");
        }
        let mut accept = connection.prepare(ACCEPT).unwrap();
        for number in 1..=50 {
            let row = params![
                number,
                1,
                number.to_string(),
                [0u8; 16],
                0,
                0,
                None::<String>,
                [0u8; 2],
                0
            ];
            assert_eq!(accept.execute(row).unwrap(), 1);
        }
        assert_eq!(accept.get_status(StatementStatus::FullscanStep), 0);
        let mut look = connection.prepare(NEWEST_SUBMISSION).unwrap();
        assert_eq!(look.query_row([], |row| row.get::<_, i64>(0)).unwrap(), 50);
        assert!(look.get_status(StatementStatus::VmStep) < 20);
    }

    #[test]
    fn submissions_are_numbered_on_and_anew_after_a_failure() {
        let connection = Connection::open_in_memory().unwrap();
        seal::teach(&connection).unwrap();
        crate::schema::migrate(&connection, 0).unwrap();
        let mut gates = Gates::default();
        assert_eq!(gates.next_submission(&connection).unwrap(), 1);
        assert_eq!(gates.next_submission(&connection).unwrap(), 2);
        gates.forget_all();
        assert_eq!(gates.next_submission(&connection).unwrap(), 1, "nothing of it was written");
        let submission = "INSERT INTO submission(pk, thread, id, digest, seq, attempt) VALUES (7, 1, 'a', x'', 0, 0)";
        connection.execute(submission, []).unwrap();
        gates.forget_all();
        assert_eq!(gates.next_submission(&connection).unwrap(), 8);
    }
}
