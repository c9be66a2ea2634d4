//! Why a store does not open, and what SQLite's errors mean.

use std::io;
use std::path::PathBuf;

use coppicer_messages::{StoreError, StoreTrouble};
use rusqlite::ErrorCode;

/// Why a store was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another part of this one, has it open for writing.
    #[error(
        "the store {} is in use{}; wait for it to end, open the store read-only, or take another file",
        path.display(), owner(*pid)
    )]
    InUse {
        /// The store.
        path: PathBuf,
        /// The process that has it, if it says so.
        pid: Option<u32>,
    },
    /// The file is something else.
    #[error("{} is no Coppicer store: {reason}", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later version wrote it.
    #[error(
        "the store {} has schema version {found}, and this program knows versions up to {known}: \
         open it with the newer program",
        path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// An earlier version wrote it, and it may only be read.
    #[error(
        "the store {} has schema version {found} and must be brought to {known} first: open it once for writing",
        path.display()
    )]
    Older {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// What it must have.
        known: i64,
    },
    /// It has tables, views or triggers that are not ours: it may do more than keep threads.
    #[error(
        "the store {} has {what}, which Coppicer did not put there; it is not opened",
        path.display()
    )]
    Foreign {
        /// The store.
        path: PathBuf,
        /// What stands in it.
        what: String,
    },
    /// Others could write in its folder.
    #[error("the folder {} is not safe for a store: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is no such file.
    #[error("there is no store {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot open the store {}: {what}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// SQLite cannot read it.
    #[error("cannot open the store {}: {reason}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

/// Why a request was not carried out: refused by what the store holds, or by SQLite.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Nothing was changed, and nothing is wrong with the store.
    Refused(StoreError),
    /// SQLite failed.
    Sqlite(rusqlite::Error),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Whether the whole store is ill, not one row of it: the disk is full or fails, memory is short,
/// the file is held by somebody.
pub(crate) fn is_of_the_disk(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NoLargeFileSupport
                | ErrorCode::NotADatabase
        ),
        None => false,
    }
}

/// What kind of trouble it is for who has to do something about it.
pub(crate) fn trouble_of(error: &rusqlite::Error) -> StoreTrouble {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreTrouble::DiskFull,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreTrouble::ReadOnly,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreTrouble::Busy,
        _ => StoreTrouble::Other,
    }
}

/// Whether bytes that were handed to the disk may be lost: everything that rests on them is read
/// again before it is used.
pub(crate) fn may_have_lost_writes(error: &rusqlite::Error) -> bool {
    !matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull))
}

/// What SQLite says, in words.
pub(crate) fn says(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(failure, Some(text)) => {
            format!("{text} (SQLite code {})", failure.extended_code)
        }
        other => other.to_string(),
    }
}

pub(crate) fn unavailable(error: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable { reason: says(error) }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn each_kind_of_trouble_is_known_from_the_error_that_sqlite_gives() {
        let fill = "INSERT INTO t SELECT randomblob(100000)";
        let full = Connection::open_in_memory().unwrap();
        full.execute_batch("CREATE TABLE t(x); PRAGMA max_page_count = 8").unwrap();
        let error = full.execute(fill, []).unwrap_err();
        assert_eq!(trouble_of(&error), StoreTrouble::DiskFull, "{error}");

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.db");
        let holder = Connection::open(&file).unwrap();
        holder.execute_batch("CREATE TABLE t(x); BEGIN IMMEDIATE").unwrap();
        let other = Connection::open(&file).unwrap();
        other.busy_timeout(std::time::Duration::ZERO).unwrap();
        let error = other.execute(fill, []).unwrap_err();
        assert_eq!(trouble_of(&error), StoreTrouble::Busy, "{error}");

        other.execute_batch("PRAGMA query_only = 1").unwrap();
        let error = other.execute(fill, []).unwrap_err();
        assert_eq!(trouble_of(&error), StoreTrouble::ReadOnly, "{error}");

        let error = Connection::open(folder.path().join("none/t.db")).unwrap_err();
        assert_eq!(trouble_of(&error), StoreTrouble::Other, "{error}");
    }
}
