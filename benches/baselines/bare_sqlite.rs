//! Bare rusqlite: the rows that our store writes, in group commits of one writer thread, each flushed. No
//! fence, no seals, no trees, no submissions.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::keeper::{Keeper, RECORD_BYTES, told};

/// Rows that wait to be written.
const QUEUE: usize = 65_536;

/// Rows of one commit.
const BATCH: usize = 1_024;

/// A thread, a place, a record, and where the answer goes.
type Row = (u64, u64, Vec<u8>, oneshot::Sender<()>);

/// A database and its writer, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct BareSqlite {
    to: SyncSender<Row>,
}

impl BareSqlite {
    /// Makes one with so many threads in a folder.
    ///
    /// # Errors
    /// It cannot be made there.
    pub(crate) fn new(folder: &Path, threads: u64) -> Result<Self, String> {
        let connection = Connection::open(folder.join("bare.db")).map_err(told)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1000;
                 CREATE TABLE state(
                   thread INTEGER PRIMARY KEY, head INTEGER NOT NULL, settled INTEGER NOT NULL,
                   epoch INTEGER NOT NULL, appends INTEGER NOT NULL, updated_ms INTEGER NOT NULL,
                   status TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
                 CREATE TABLE record(
                   thread INTEGER NOT NULL, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL,
                   kind INTEGER NOT NULL, detail INTEGER NOT NULL, ref TEXT, crc INTEGER NOT NULL,
                   raw BLOB NOT NULL) STRICT;
                 CREATE UNIQUE INDEX record_place ON record(thread, seq);",
            )
            .map_err(told)?;
        for n in 0..threads {
            let insert = "INSERT INTO state VALUES (?1, 0, 0, 1, 0, 1, 'pending_init', 0)";
            connection.execute(insert, [n.cast_signed()]).map_err(told)?;
        }
        let (to, from) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new().name("bare".into());
        // What fails is told by the answers that do not come.
        writer.spawn(move || drop(Self::write(connection, &from))).map_err(told)?;
        Ok(Self { to })
    }

    fn write(mut connection: Connection, from: &Receiver<Row>) -> rusqlite::Result<()> {
        while let Ok(first) = from.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH {
                match from.try_recv() {
                    Ok(next) => batch.push(next),
                    Err(_) => break,
                }
            }
            let transaction = connection.transaction()?;
            for (n, at, raw, _) in &batch {
                let (n, at) = (n.cast_signed(), at.cast_signed());
                transaction
                    .prepare_cached("INSERT INTO record VALUES (?1, ?2, 1, 22, 0, NULL, ?3, ?4)")?
                    .execute(params![n, at, 1_234_567, raw])?;
                transaction
                    .prepare_cached(
                        "UPDATE state SET head = ?2, settled = ?3, appends = ?4, updated_ms = 1,
                           status = 'pending_init', crc = ?5 WHERE thread = ?1",
                    )?
                    .execute(params![n, at + 1, 0, 0, 1_234_567])?;
            }
            transaction.commit()?;
            for (.., done) in batch {
                let _unread = done.send(());
            }
        }
        Ok(())
    }
}

impl Keeper for BareSqlite {
    async fn append(&self, n: u64, at: u64) -> Result<(), String> {
        let (done, kept) = oneshot::channel();
        let raw = vec![b'x'; RECORD_BYTES];
        self.to.try_send((n, at, raw, done)).map_err(told)?;
        kept.await.map_err(told)
    }
}
