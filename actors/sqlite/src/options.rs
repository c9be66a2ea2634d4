//! How a store is opened, and its bounds.

use std::time::Duration;

/// What an acknowledgement outlives (P2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power, if the operating system and the drive honour a flush: each group commit is one
    /// fsync.
    #[default]
    Power,
    /// The end of the process, also by `kill -9`. A loss of power may take the last commits, and
    /// never tears one.
    Process,
}

/// What a store may be used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    /// Everything. One process at a time: a second one is refused.
    #[default]
    ReadWrite,
    /// Reading, also while another process writes. Every write is refused as `Unavailable`.
    ReadOnly,
}

/// How a store is opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// What an acknowledgement outlives.
    pub durability: Durability,
    /// What it may be used for.
    pub access: Access,
    /// Requests that wait for the writer; one more is refused as `Unavailable`. Default 262,144.
    pub queue_requests_max: usize,
    /// Bytes of the requests that wait for the writer. Default 256 MiB.
    pub queue_bytes_max: usize,
    /// Requests of one group commit. Default 1,024.
    pub commit_requests_max: usize,
    /// Bytes of one group commit; a single larger request is one of its own. Default 8 MiB.
    pub commit_bytes_max: usize,
    /// Reads at once, each with a connection of its own. Further ones wait. Default 4.
    pub readers_max: usize,
    /// Bytes of one record. Default 16 MiB.
    pub record_bytes_max: usize,
    /// Threads that a fork can stand on: a fork of a deeper one gets copies of their records.
    /// Default 1,000.
    pub lineage_max: usize,
    /// How long the writer waits for another process that holds the file, such as an sqlite3 shell.
    /// Default 5 s.
    pub busy_timeout: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            access: Access::default(),
            queue_requests_max: 262_144,
            queue_bytes_max: 256 << 20,
            commit_requests_max: 1_024,
            commit_bytes_max: 8 << 20,
            readers_max: 4,
            record_bytes_max: 16 << 20,
            lineage_max: 1_000,
            busy_timeout: Duration::from_secs(5),
        }
    }
}

impl SqliteOptions {
    /// The defaults: power-safe, for reading and writing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what an acknowledgement outlives.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Only for reading.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }
}

/// Records of one page of a read: a page is one short read transaction.
pub(crate) const PAGE_RECORDS: u64 = 1_000;

/// Records that one transaction of the collector deletes.
pub(crate) const COLLECT_RECORDS: usize = 2_000;

/// Threads whose state the writer remembers: about 200 bytes each.
pub(crate) const GATES_MAX: usize = 65_536;

/// Pages of the write-ahead log after which it is written back, by the commit that meets them.
pub(crate) const CHECKPOINT_PAGES: u32 = 1_000;

/// Bytes that the write-ahead log is cut back to.
pub(crate) const LOG_BYTES_MAX: u32 = 64 << 20;

/// Prepared statements that a connection keeps.
pub(crate) const STATEMENTS_MAX: usize = 128;

/// The largest file that is checked whole after a failed write; of a larger one the threads that
/// the write was for are.
pub(crate) const QUICK_CHECK_BYTES_MAX: u64 = 256 << 20;
