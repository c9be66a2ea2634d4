//! One tap, as its reader holds it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use coppicer_messages::Lease;
use futures::Stream;

use super::ring::Ring;
use super::{TapCounts, TapHub, TapItem, TreeSnapshot};

/// A bounded subscription: a stream of facts and gaps that ends with the runtime.
///
/// # Cancel safety
/// [`next`](Self::next) loses nothing when it is dropped.
pub struct Tap {
    pub(super) snapshot: Option<Arc<TreeSnapshot>>,
    pub(super) ring: Arc<Ring>,
    pub(super) hub: Weak<TapHub>,
    pub(super) _lease: Lease,
}

impl Tap {
    /// The next item; `None` once the runtime has ended and everything was read.
    pub async fn next(&mut self) -> Option<TapItem> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// The next item, if one waits.
    pub fn try_next(&mut self) -> Option<TapItem> {
        if let Some(snapshot) = self.snapshot.take() {
            return Some(TapItem::Snapshot(snapshot));
        }
        let hub = self.hub.upgrade();
        if let Some(hub) = &hub {
            hub.try_offer(&self.ring);
        }
        self.ring.take().or_else(|| {
            hub?.offer(&self.ring);
            self.ring.take()
        })
    }

    /// Its counts so far. They are of events: a snapshot is none.
    pub fn counts(&self) -> TapCounts {
        if let Some(hub) = self.hub.upgrade() {
            hub.offer(&self.ring);
        }
        self.ring.counts()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<TapItem>> {
        match self.try_next() {
            Some(item) => Poll::Ready(Some(item)),
            None => match self.hub.upgrade() {
                Some(hub) => hub.poll(&self.ring, cx),
                None => self.ring.poll(cx),
            },
        }
    }
}

impl Stream for Tap {
    type Item = TapItem;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TapItem>> {
        self.poll(cx)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.forget(&self.ring);
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
