//! One tap, as its reader holds it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use coppicer_messages::Lease;
use futures::Stream;

use super::follower::{Follower, Outlook};
use super::{Regained, TapCounts, TapHub, TapItem, TreeSnapshot};

/// A bounded subscription: a stream of facts and gaps that ends with the runtime.
///
/// # Cancel safety
/// [`next`](Self::next) loses nothing when it is dropped.
pub struct Tap {
    pub(super) snapshot: Option<Arc<TreeSnapshot>>,
    pub(super) follower: Follower,
    pub(super) hub: Weak<TapHub>,
    /// That its reader waited, and has not taken anything since.
    pub(super) slept: bool,
    pub(super) began_after: u64,
    pub(super) _lease: Lease,
}

impl Tap {
    /// The next item; `None` once the runtime has ended and everything was read. A task that waited and
    /// is woken lets others run once before it has the item, so that it finds what they tell too: until
    /// then it is pending, also for who asks once, such as `timeout` with no time.
    pub async fn next(&mut self) -> Option<TapItem> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// The next item, if one waits.
    #[inline]
    pub fn try_next(&mut self) -> Option<TapItem> {
        if self.snapshot.is_none()
            && let Some(item) = self.follower.take_at_hand()
        {
            return Some(item);
        }
        self.look()
    }

    /// The next item, if one waits that may not be in the hand.
    fn look(&mut self) -> Option<TapItem> {
        self.slept = false;
        if let Some(snapshot) = self.snapshot.take() {
            return Some(TapItem::Snapshot(snapshot));
        }
        if let Some(item) = self.next_offered() {
            return Some(item);
        }
        if !self.follower.has_more() {
            return None;
        }
        self.hub.upgrade()?.next(&mut self.follower)
    }

    /// The next item of what was offered.
    fn next_offered(&mut self) -> Option<TapItem> {
        self.follower.take_at_hand().or_else(|| {
            if !self.follower.has_more() {
                return None;
            }
            if self.follower.is_near_full()
                && let Some(hub) = self.hub.upgrade()
            {
                hub.try_offer();
            }
            self.follower.take()
        })
    }

    /// Its counts so far. They are of events: a snapshot is none.
    pub fn counts(&self) -> TapCounts {
        if let Some(hub) = self.hub.upgrade() {
            hub.offer();
        }
        self.follower.counts()
    }

    /// The number of the last event before those that it delivers.
    pub const fn began_after(&self) -> u64 {
        self.began_after
    }

    /// The number to go on from by [`TapFrom::Cursor`](super::TapFrom::Cursor), if its reader took all
    /// that there was: no event up to it that passes the filter is still to come. `None` while something
    /// waits, and once the runtime has ended. Of a tap that little passes it grows where the number of
    /// the last event that was read does not.
    pub fn caught_up(&self) -> Option<u64> {
        if self.snapshot.is_some() {
            return None;
        }
        self.hub.upgrade()?.caught_up(&self.follower)
    }

    /// Goes on behind a gap, given the number `from` that its [`TapItem::Lagged`] begins with. Next come the
    /// lifecycle events from there on that the journal has and the filter passes, together with all that
    /// waits, in order and each once: up to this moment nothing more is lost, however slowly it is read.
    /// Where the journal does not reach back to `from`, the tree as it is now comes before them, as one
    /// [`TapItem::Snapshot`], and what it has already is among them: a [`ThreadTree`](super::ThreadTree)
    /// passes over that.
    ///
    /// Takes no further tap, and works behind the end of the runtime as well, for as long as somebody holds
    /// the runtime; then there is nothing to regain. What it takes over is bounded by the journal and by what
    /// this tap may have waiting; it is for who has read all up to the gap.
    pub fn regain(&mut self, from: u64) -> Regained {
        let Some(hub) = self.hub.upgrade() else { return Regained::default() };
        let (regained, snapshot) = hub.regain(&mut self.follower, from);
        self.snapshot = snapshot.or_else(|| self.snapshot.take());
        regained
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<TapItem>> {
        if let Some(snapshot) = self.snapshot.take() {
            return Poll::Ready(Some(TapItem::Snapshot(snapshot)));
        }
        // Who waited lets others run once before it looks. More comes of them meanwhile, which is read in one
        // go; tokio would have it run at once each time that the task before it told something. A waker
        // without data wakes nobody in particular: who looks with one looks once, and finds what is there.
        let looks_once = cx.waker().data().is_null();
        if std::mem::take(&mut self.slept) && !looks_once && self.follower.has_more() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(item) = self.next_offered() {
            return Poll::Ready(Some(item));
        }
        let polled = match self.hub.upgrade() {
            Some(hub) => hub.poll(&mut self.follower, cx),
            None => match self.follower.outlook(cx) {
                Outlook::Something => Poll::Ready(self.follower.take()),
                Outlook::Waits { .. } => Poll::Pending,
                Outlook::Ended => Poll::Ready(None),
            },
        };
        self.slept = polled.is_pending();
        polled
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
            hub.forget(&self.follower);
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
