//! What ties a turn to its thread and its runtime.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use coppicer_messages::{Holdings, Lease, LeaseBook, LeaseKind, Limits, ThreadId, TurnId};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::clock::TurnClock;
use crate::account::Spending;
use crate::bugs::Seeded;
use crate::clock::{Clock, IdSource};
use crate::slot::{Slot, Uplink};
use crate::store::ThreadStore;
use crate::taps::TapHub;
use crate::traces::Bridge;
use crate::turn::TurnReport;

/// What all turns of one runtime share.
pub struct TurnWorld {
    pub(crate) clock: Arc<Clock>,
    pub(crate) ids: Arc<IdSource>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) leases: Arc<LeaseBook>,
    pub(crate) hub: Arc<TapHub>,
    pub(crate) store: Arc<dyn ThreadStore>,
    pub(crate) uplink: Uplink,
    pub(crate) find: Arc<dyn Fn(ThreadId) -> Option<Arc<Slot>> + Send + Sync>,
    pub(crate) traces: Bridge,
    pub(crate) seeded: Seeded,
}

impl TurnWorld {
    /// The fault that a test has seeded.
    pub const fn seeded(&self) -> Seeded {
        self.seeded
    }
}

/// What ties one turn to its thread. Revoked when the turn is killed: from then on it can write,
/// emit and start nothing (P1).
pub(crate) struct TurnLink {
    pub(crate) turn: TurnId,
    pub(crate) cancel: CancellationToken,
    pub(crate) revoked: AtomicBool,
    /// Places for records that the store has not committed. The thread gives them back.
    pub(crate) window: Semaphore,
    pub(crate) questions: AtomicU64,
    /// What it uses, if something is limited.
    pub(crate) spending: Option<Arc<Spending>>,
    pub(crate) clock: Arc<TurnClock>,
    killed: Notify,
    /// How it ended, once its code is gone; nothing if it was killed.
    pub(crate) report: Mutex<Option<TurnReport>>,
    /// Counts the turn as a zombie from when it is fenced off until its code lets go of this link.
    zombie: Mutex<Option<Lease>>,
}

impl TurnLink {
    pub(crate) fn new(
        turn: TurnId,
        window: usize,
        clock: Arc<TurnClock>,
        spending: Option<Arc<Spending>>,
    ) -> Self {
        Self {
            turn,
            cancel: CancellationToken::new(),
            revoked: AtomicBool::new(false),
            window: Semaphore::new(window),
            questions: AtomicU64::new(0),
            spending,
            clock,
            killed: Notify::new(),
            report: Mutex::new(None),
            zombie: Mutex::new(None),
        }
    }

    /// Done when the turn was killed.
    pub(crate) async fn revoked(&self) {
        let killed = self.killed.notified();
        if !self.is_revoked() {
            killed.await;
        }
    }

    /// Counts the turn as a zombie until its code is gone.
    pub(crate) fn count_as_zombie(&self, leases: &Arc<LeaseBook>, owner: &Arc<Holdings>) {
        *self.zombie.lock() = Some(leases.grant_to(LeaseKind::Zombie, owner));
    }

    /// Takes every right from the turn.
    pub(crate) fn revoke(&self) {
        self.revoked.store(true, Ordering::SeqCst);
        self.cancel.cancel();
        self.killed.notify_waiters();
        self.window.close();
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for TurnWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TurnWorld")
    }
}
