//! Connections for reading: a few, each used by one read at a time.

use std::path::PathBuf;
use std::sync::Arc;

use coppicer_messages::{Seq, StoreError, ThreadId};
use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::error::{Fault, unavailable};
use crate::open::connect_again;
use crate::options::{Access, SqliteOptions};

/// Connections that nobody uses now, and the places for those in use.
pub(crate) struct Pool {
    path: PathBuf,
    options: SqliteOptions,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
    /// Held by each read, and against them by a writer that must be alone with the file.
    gate: RwLock<()>,
}

impl Pool {
    pub(crate) fn new(path: PathBuf, options: SqliteOptions) -> Self {
        let places = Arc::new(Semaphore::new(options.readers_max.max(1)));
        Self { path, options, idle: Mutex::default(), places, gate: RwLock::default() }
    }

    /// Runs `read` on a connection of its own, off the host's workers.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Failed> {
        let ended = || StoreError::Unavailable { reason: "the store is closed".into() };
        let place = self.places.clone().acquire_owned().await.map_err(|_| Failed(ended()))?;
        let pool = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            pool.run(read)
        });
        match work.await {
            Ok(result) => result.map_err(Failed),
            Err(error) => {
                let reason = format!("a read of the store ended early: {error}");
                Err(Failed(StoreError::Unavailable { reason }))
            }
        }
    }

    fn run<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        let _reading = self.gate.read();
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect_again(&self.path, &self.options, Access::ReadOnly)
                .map_err(|error| unavailable(&error))?,
        };
        match read(&connection) {
            Ok(value) => {
                self.idle.lock().push(connection);
                Ok(value)
            }
            Err(Fault::Refused(error)) => {
                self.idle.lock().push(connection);
                Err(error)
            }
            // Not used again: the next read has a fresh one.
            Err(Fault::Sqlite(error)) => Err(unavailable(&error)),
        }
    }

    /// Runs `work` while nobody reads and no connection for reading is open.
    pub(crate) fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        let _alone = self.gate.write();
        self.idle.lock().clear();
        work()
    }
}

/// Why a read failed.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) StoreError);

impl Failed {
    /// The damaged record that a read met.
    pub(crate) fn damage(&self) -> Option<(ThreadId, Seq, String)> {
        match &self.0 {
            StoreError::Corrupt { thread, seq, reason } => Some((*thread, *seq, reason.clone())),
            _ => None,
        }
    }
}
