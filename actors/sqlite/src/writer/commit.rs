//! One group commit, and what follows when it fails.

use std::path::PathBuf;
use std::sync::Arc;

use coppicer_actors::StoreHealth;
use coppicer_messages::{Seq, StoreError, StoreTrouble};
use rusqlite::{Connection, TransactionBehavior};

use super::gates::Gates;
use super::health::Health;
use super::mail::mail_page;
use super::request::{Answer, Request, tell};
use super::{accounts, collect, records, threads};
use crate::error::{Fault, is_of_the_disk, may_have_lost_writes, says, trouble_of, unavailable};
use crate::open::{Owner, connect_again};
use crate::options::{Access, QUICK_CHECK_BYTES_MAX, SqliteOptions};
use crate::pool::Pool;

/// The connection that writes, and what it takes to get another.
pub(super) struct Committer {
    path: PathBuf,
    /// None after a failure, until another could be made.
    connection: Option<Connection>,
    gates: Gates,
    /// Whether the file may hold what is not on disk: it is written back before anything else.
    suspect: bool,
    owner: Owner,
    options: SqliteOptions,
    pool: Arc<Pool>,
    health: Arc<Health>,
}

/// Why a batch was not committed.
enum Failure {
    /// Nothing of it was applied.
    NotApplied(rusqlite::Error),
    /// The commit itself failed: it may or may not have been applied.
    Unknown(rusqlite::Error),
    /// The store belongs to another by now.
    NotOurs,
}

impl Committer {
    pub(super) fn new(
        path: PathBuf,
        connection: Connection,
        owner: Owner,
        options: SqliteOptions,
        pool: Arc<Pool>,
        health: Arc<Health>,
    ) -> Self {
        let connection = Some(connection);
        let gates = Gates::default();
        Self { path, connection, gates, suspect: false, owner, options, pool, health }
    }

    /// Carries out a batch in one transaction, and answers every request.
    pub(super) fn commit(&mut self, batch: Vec<Request>) {
        if let Err(error) = self.connect() {
            let refusal = unavailable(&error);
            self.health.ailing(trouble_of(&error), &says(&error));
            return refuse(batch, &refusal);
        }
        match self.try_commit(&batch.iter().collect::<Vec<_>>()) {
            Ok(answers) => {
                // A look-up shows nothing of whether the store can write.
                if !batch.iter().all(Request::only_reads) {
                    self.health.well();
                }
                for (request, answer) in batch.into_iter().zip(answers) {
                    self.after(&request, &answer);
                    tell(request, answer);
                }
            }
            Err(Failure::NotApplied(error)) if batch.len() > 1 && !is_of_the_disk(&error) => {
                // One of them met damage: each for itself, so that it takes no other along.
                tracing::error!(error = says(&error), "a group commit is made one by one");
                for request in batch {
                    self.commit(vec![request]);
                }
            }
            Err(Failure::NotApplied(error)) if is_of_the_disk(&error) => {
                self.part(&error);
                self.refuse_writes(batch, &unavailable(&error), &error);
            }
            // Alone by now: what the file has of its thread cannot be read.
            Err(Failure::NotApplied(error)) => {
                for request in batch {
                    let (thread, reason) = (request.thread(), says(&error));
                    request.refuse(StoreError::Corrupt { thread, seq: Seq(0), reason });
                }
            }
            Err(Failure::Unknown(error)) => {
                self.part(&error);
                let reason = format!("the commit failed: {}", says(&error));
                self.refuse_writes(batch, &StoreError::UnknownOutcome { reason }, &error);
            }
            Err(Failure::NotOurs) => {
                let reason = "another process took the store over".to_owned();
                self.health.ailing(StoreTrouble::Other, &reason);
                let refusal = StoreError::Unavailable { reason };
                refuse(batch, &refusal);
            }
        }
    }

    fn try_commit(
        &mut self,
        batch: &[&Request],
    ) -> Result<Vec<Result<Answer, StoreError>>, Failure> {
        let result = self.transact(batch);
        if result.is_err() {
            self.gates.forget_all();
        }
        result
    }

    fn transact(&mut self, batch: &[&Request]) -> Result<Vec<Result<Answer, StoreError>>, Failure> {
        let connection = self.connection.as_mut().expect("connected before");
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Failure::NotApplied)?;
        let epoch: i64 = transaction
            .prepare_cached("SELECT value FROM meta WHERE key = 'owner_epoch'")
            .and_then(|mut look| look.query_row([], |row| row.get(0)))
            .map_err(Failure::NotApplied)?;
        if epoch != self.owner.epoch {
            return Err(Failure::NotOurs);
        }
        let mut answers = Vec::with_capacity(batch.len());
        for request in batch {
            match apply(&transaction, &mut self.gates, request, &self.options) {
                Ok(answer) => answers.push(Ok(answer)),
                Err(Fault::Refused(error)) => answers.push(Err(error)),
                // Dropping the transaction takes all of it back.
                Err(Fault::Sqlite(error)) => return Err(Failure::NotApplied(error)),
            }
        }
        transaction.commit().map_err(Failure::Unknown)?;
        Ok(answers)
    }

    /// Refuses what a failed batch was to write. What it was to look up is looked up again: what is
    /// durable can be read while nothing can be written. Answers come in the order of the requests.
    fn refuse_writes(
        &mut self,
        batch: Vec<Request>,
        refusal: &StoreError,
        error: &rusqlite::Error,
    ) {
        let reads: Vec<&Request> = batch.iter().filter(|request| request.only_reads()).collect();
        let again = !reads.is_empty() && reads.len() < batch.len();
        let found = if again && self.connect().is_ok() {
            match self.try_commit(&reads) {
                Ok(found) => found,
                Err(Failure::NotApplied(error) | Failure::Unknown(error)) => {
                    self.part(&error);
                    Vec::new()
                }
                Err(Failure::NotOurs) => Vec::new(),
            }
        } else {
            Vec::new()
        };
        let mut found = found.into_iter();
        for request in batch {
            if !request.only_reads() {
                request.refuse(refusal.clone());
            } else if let Some(answer) = found.next() {
                tell(request, answer);
            } else {
                request.refuse(unavailable(error));
            }
        }
    }

    /// What is told of beside the answer.
    fn after(&self, request: &Request, answer: &Result<Answer, StoreError>) {
        if let (Request::Quarantine { thread, seq, reason, .. }, Ok(Answer::Quarantined(true))) =
            (request, answer)
        {
            let (thread, seq, reason) = (*thread, *seq, reason.clone());
            self.health.damaged(&StoreHealth::Damaged { thread, seq, reason });
        }
    }

    /// Lets go of a connection whose transaction failed.
    fn part(&mut self, error: &rusqlite::Error) {
        self.suspect |= may_have_lost_writes(error);
        self.health.ailing(trouble_of(error), &says(error));
        self.connection = None;
    }

    /// Makes a connection if there is none, and checks what is in the file.
    fn connect(&mut self) -> rusqlite::Result<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        let (path, options, suspect) = (&self.path, &self.options, self.suspect);
        let make = || {
            let connection = connect_again(path, options, Access::ReadWrite)?;
            if suspect {
                // A failed flush may have lost pages that reading still shows: the log is read from
                // its beginning, since nobody has the file open, and all of it is written again.
                let busy: i64 =
                    connection
                        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
                if busy != 0 {
                    return Err(refused("another process reads the store"));
                }
            }
            check(&connection)?;
            Ok(connection)
        };
        let connection = if suspect { self.pool.alone(make) } else { make() }?;
        self.connection = Some(connection);
        self.suspect = false;
        Ok(())
    }

    /// Collects a portion of what nobody needs: whether there is more.
    pub(super) fn collect(&mut self) -> bool {
        let Some(connection) = &self.connection else { return false };
        match collect::collect(connection) {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(error = says(&error), "deleted records could not be collected");
                if is_of_the_disk(&error) {
                    self.part(&error);
                }
                false
            }
        }
    }

    pub(super) fn close(self) {
        if let Some(Err((_, error))) = self.connection.map(Connection::close) {
            tracing::warn!(error = says(&error), "the store was not closed cleanly");
        }
    }
}

fn refuse(batch: Vec<Request>, refusal: &StoreError) {
    for request in batch {
        request.refuse(refusal.clone());
    }
}

/// What is checked of a file after a write to it failed.
fn check(connection: &Connection) -> rusqlite::Result<()> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let bytes = pragma("page_count")?.saturating_mul(pragma("page_size")?);
    if bytes.cast_unsigned() > QUICK_CHECK_BYTES_MAX {
        // Every record is checked when it is read.
        return Ok(());
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(refused(&verdict)) }
}

fn refused(reason: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
    rusqlite::Error::SqliteFailure(code, Some(reason.to_owned()))
}

/// Carries out one request inside the transaction of its batch.
fn apply(
    connection: &Connection,
    gates: &mut Gates,
    request: &Request,
    options: &SqliteOptions,
) -> Result<Answer, Fault> {
    // What changes the state of threads beside an append.
    match request {
        Request::Acquire { thread, .. } | Request::Quarantine { thread, .. } => {
            gates.forget(*thread);
        }
        // Of a whole branch.
        Request::UndoCreate { .. } | Request::Delete { .. } => gates.forget_all(),
        _ => {}
    }
    Ok(match request {
        Request::Create { thread, records, .. } => {
            let made = whole(connection, || threads::create(connection, thread, records, options))?;
            Answer::Acquired(Box::new(made))
        }
        Request::Acquire { thread, .. } => {
            Answer::Acquired(Box::new(threads::acquire(connection, *thread)?))
        }
        Request::Append { fence, expected, batch, .. } => {
            Answer::Head(records::append(connection, gates, *fence, *expected, batch, options)?)
        }
        Request::UndoCreate { fence, .. } => {
            collect::undo_create(connection, *fence)?;
            Answer::Nothing
        }
        Request::PutEdge { child, change, .. } => {
            threads::put_edge(connection, *child, *change)?;
            Answer::Nothing
        }
        Request::Relocate { to, .. } => {
            threads::relocate(connection, to)?;
            Answer::Nothing
        }
        Request::Submission { thread, id, .. } => {
            Answer::Known(threads::submission(connection, *thread, id)?)
        }
        Request::Mail { thread, after, most, .. } => {
            Answer::Mail(mail_page(connection, *thread, *after, *most)?)
        }
        Request::Patch { thread, patch, .. } => {
            Answer::Thread(Box::new(threads::patch(connection, *thread, patch)?))
        }
        Request::Archive { thread, at_ms, .. } => {
            Answer::Thread(Box::new(threads::archive(connection, *thread, *at_ms)?))
        }
        Request::Delete { thread, .. } => Answer::Count(collect::delete(connection, *thread)?),
        Request::Charge { charges, .. } => Answer::Ledgers(accounts::charge(connection, charges)?),
        Request::Quarantine { thread, seq, reason, .. } => {
            Answer::Quarantined(threads::quarantine(connection, *thread, *seq, reason)?)
        }
    })
}

/// Carries out what can still be refused when some of it was written: then that is taken back.
fn whole<T>(connection: &Connection, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    connection.execute_batch("SAVEPOINT whole")?;
    let result = work();
    if matches!(result, Err(Fault::Refused(_))) {
        connection.execute_batch("ROLLBACK TO whole")?;
    }
    connection.execute_batch("RELEASE whole")?;
    result
}
