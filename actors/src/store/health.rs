//! What a store tells of its own state.

use std::sync::Arc;

use coppicer_messages::{Seq, StoreTrouble, ThreadId};

/// Where a store tells of its own state. It must not block.
pub type StoreWatch = Arc<dyn Fn(StoreHealth) + Send + Sync>;

/// What a store tells of its own state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreHealth {
    /// It cannot write. It reads on, and tries again with each request.
    Ailing {
        /// What kind of trouble it is.
        trouble: StoreTrouble,
        /// Why.
        reason: String,
    },
    /// It writes again.
    Well,
    /// It found a damaged record, and the thread is in quarantine.
    Damaged {
        /// Whose.
        thread: ThreadId,
        /// Which.
        seq: Seq,
        /// How.
        reason: String,
    },
}
