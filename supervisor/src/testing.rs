//! `World`: the one fixture for tests of threads, and of hosts that embed them.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use coppicer_actors::faulty::FaultyStore;
use coppicer_actors::{Clock, Engine, IdSource, MemoryStore, Tap, TapEvent, TapItem, TapOptions};
use coppicer_messages::{CloseReport, Event, Limits};

use crate::{Audit, Runtime};

#[doc(hidden)]
pub use coppicer_actors::Bug;

/// A runtime of its own with a memory store, ids from a seed, and a clock that begins at a fixed
/// time. Use it under `#[tokio::test(start_paused = true)]`, so that time is virtual.
///
/// End it with [`end`](Self::end). Dropped with an actor or a lease alive, it fails the test.
#[derive(Debug)]
pub struct World {
    runtime: Runtime,
    /// The store, for faults.
    pub store: FaultyStore,
}

/// Wall time at which worlds begin: 2026-06-03T08:00:00Z.
pub const BEGINS_AT_MS: u64 = 1_780_473_600_000;

/// The budget of everything in a test that has no other.
pub const BUDGET: Duration = Duration::from_secs(10);

impl World {
    /// A world whose turns are run by `engine`.
    pub async fn new(engine: impl Engine) -> Self {
        Self::with_limits(engine, Limits::default()).await
    }

    /// A world with other bounds.
    pub async fn with_limits(engine: impl Engine, limits: Limits) -> Self {
        Self::on(FaultyStore::new(Arc::new(MemoryStore::new())), engine, limits).await
    }

    /// A world on a store that may have lived in another world before.
    pub async fn on(store: FaultyStore, engine: impl Engine, limits: Limits) -> Self {
        let runtime = Runtime::builder()
            .engine(engine)
            .store(store.clone())
            .limits(limits)
            .clock(Clock::starting_at(BEGINS_AT_MS))
            .ids(IdSource::seeded(42))
            .start()
            .await
            .expect("a runtime with an engine starts");
        Self { runtime, store }
    }

    /// Closes everything, checks that nothing is held any more, and ends the runtime.
    ///
    /// # Panics
    /// Something did not end in time, or a lease is still held.
    pub async fn end(self) -> CloseReport {
        let report = self.runtime.shutdown(BUDGET).await.expect("the runtime had not ended");
        assert!(report.timed_out.is_empty(), "did not end in time: {report:?}");
        let audit = self.runtime.audit().await;
        assert!(audit.is_empty(), "held after everything was closed: {audit:?}");
        report
    }

    /// The next event of a tap that `wanted` accepts.
    ///
    /// # Panics
    /// None came within [`BUDGET`], or the tap lost some.
    pub async fn event(tap: &mut Tap, wanted: impl Fn(&Event) -> bool) -> TapEvent {
        let found = async {
            loop {
                match tap.next().await {
                    Some(TapItem::Event(event)) if wanted(&event) => return event,
                    Some(TapItem::Event(_)) => {}
                    Some(other) => panic!("the tap lost events: {other:?}"),
                    None => panic!("the runtime ended before the event came"),
                }
            }
        };
        tokio::time::timeout(BUDGET, found).await.expect("the event did not come in time")
    }

    /// The runtime itself.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Opens a tap for everything.
    ///
    /// # Panics
    /// The runtime has ended.
    pub fn watch(&self) -> Tap {
        self.runtime.tap(TapOptions::all()).expect("a world has room for a tap")
    }

    /// Waits until `holds` of the audit.
    ///
    /// # Panics
    /// It does not within [`BUDGET`].
    pub async fn until(&self, holds: impl Fn(&Audit) -> bool) {
        let waiting = async {
            while !holds(&self.runtime.audit().await) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(BUDGET, waiting).await.expect("the audit did not come to it in time");
    }
}

impl Deref for World {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        &self.runtime
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let audit = self.runtime.audit_now();
            let held =
                audit.live.iter().any(|row| row.kind != coppicer_messages::LeaseKind::PendingReply);
            assert!(!held, "a world was dropped with actors or leases alive: {audit:?}");
        }
    }
}
