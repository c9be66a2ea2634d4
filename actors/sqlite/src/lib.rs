//! The embedded store of Coppicer: durable agent threads in one SQLite file.
//!
//! [`SqliteStore`] keeps threads, their trees, records, submissions and mail in one file, which
//! nobody but the runtime that opened it writes. One thread writes it in group commits, each of them
//! one fsync; what is acknowledged is on disk ([`Durability::Power`], the default). Forks share the
//! records of their source. Every record has a checksum, and a damaged one takes only its own thread
//! out of use. The sqlite3 shell can open the file: the views `threads`, `records`, `budgets`, `crashes` and `tree` are for
//! people.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use coppicer_actors::{ThreadQuery, ThreadStore};
//! use coppicer_sqlite::SqliteStore;
//!
//! let folder = tempfile::tempdir()?;
//! let store = SqliteStore::open(folder.path().join("store.db"))?;
//! assert!(store.list(ThreadQuery::new()).await?.threads.is_empty());
//! # Ok(())
//! # }
//! ```

mod class;
mod error;
mod list;
mod marks;
mod names;
mod open;
mod options;
mod pool;
mod reader;
mod rows;
mod schema;
mod seal;
mod store;
mod verify;
mod writer;

pub use error::OpenError;
pub use options::{Access, Durability, SqliteOptions};
pub use store::SqliteStore;
pub use verify::{Finding, Verification};
