//! The store that a command works on: where it is, and how it is opened.

pub(super) mod find;
pub(super) mod row;

use std::env;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use coppicer::{OpenError, SqliteOptions, SqliteStore};
use etcetera::BaseStrategy;

use super::Failure;

/// Names another default store.
const VARIABLE: &str = "COPPICER_STORE";

/// Which store.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StoreArgs {
    /// The file that keeps the threads. Without it: the one that `COPPICER_STORE` names, else
    /// `coppicer/store.db` in the user's folder for data (on Linux `$XDG_DATA_HOME` or
    /// `~/.local/share`).
    #[arg(long, value_name = "FILE")]
    pub(super) store: Option<PathBuf>,
}

/// Why a store cannot be worked on. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenFailure {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(
        "there is no store {}; `coppicer run` and `coppicer import` make one, --store names another",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error("no folder for data is known; name a store with --store or {VARIABLE}")]
    NoFolder(#[source] etcetera::HomeDirError),
}

impl StoreArgs {
    /// The store's file.
    ///
    /// # Errors
    /// None is named, and the platform tells no folder for data.
    pub(super) fn path(&self) -> Result<PathBuf, OpenFailure> {
        if let Some(path) = &self.store {
            return Ok(path.clone());
        }
        if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        let places =
            etcetera::base_strategy::choose_native_strategy().map_err(OpenFailure::NoFolder)?;
        Ok(places.data_dir().join("coppicer").join("store.db"))
    }

    /// Opens it for writing; makes it if there is none.
    pub(super) fn open_or_make(&self) -> Result<SqliteStore, OpenFailure> {
        Ok(SqliteStore::open(self.path()?)?)
    }

    /// Opens it for writing, if there is one.
    pub(super) fn open(&self) -> Result<SqliteStore, OpenFailure> {
        let path = self.path()?;
        if !path.exists() {
            return Err(OpenFailure::Missing { path });
        }
        Ok(SqliteStore::open(path)?)
    }

    /// Opens it for reading, also while another process writes it.
    pub(super) fn open_to_read(&self) -> Result<SqliteStore, OpenFailure> {
        let options = SqliteOptions::new().read_only();
        match SqliteStore::open_with(self.path()?, options) {
            Err(OpenError::Missing { path }) => Err(OpenFailure::Missing { path }),
            opened => Ok(opened?),
        }
    }
}

/// Works on a store, and lets go of it.
pub(super) fn work_on<T>(
    store: SqliteStore,
    work: impl AsyncFnOnce(&SqliteStore) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work(&store));
    drop(runtime);
    store.close();
    result
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
