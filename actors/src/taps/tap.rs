//! One tap, as its reader holds it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use coppicer_messages::Lease;
use futures::Stream;

use super::follower::{Follower, Found, Outlook};
use super::{Regained, TapBatch, TapCounts, TapHub, TapItem, TreeSnapshot};

/// A bounded subscription: a stream of facts and gaps that ends with the runtime.
///
/// # Cancel safety
/// [`next`](Self::next) and [`next_batch`](Self::next_batch) lose nothing when they are dropped.
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
        let found = std::future::poll_fn(|cx| self.poll(cx)).await?;
        self.item(found)
    }

    /// The next item, if one waits.
    #[inline]
    pub fn try_next(&mut self) -> Option<TapItem> {
        if self.snapshot.is_none()
            && self.follower.is_at_hand()
            && let Some(event) = self.follower.take_event()
        {
            return Some(TapItem::Event(event));
        }
        let found = self.look()?;
        self.item(found)
    }

    /// As [`next`](Self::next), with all the events that are at hand in one, at most 64: for who reads
    /// all, an event costs a fraction of what it costs taken alone. They count as delivered once they are
    /// given out.
    pub async fn next_batch(&mut self) -> Option<TapBatch> {
        let found = std::future::poll_fn(|cx| self.poll(cx)).await?;
        self.batch(found)
    }

    /// The next batch, if anything waits.
    pub fn try_next_batch(&mut self) -> Option<TapBatch> {
        let found = self.look()?;
        self.batch(found)
    }

    #[inline]
    fn item(&mut self, found: Found) -> Option<TapItem> {
        match found {
            Found::Snapshot => self.snapshot.take().map(TapItem::Snapshot),
            Found::AtHand => self.follower.take_event().map(TapItem::Event),
            Found::Gap { from, to, count } => Some(TapItem::Lagged { from, to, count }),
        }
    }

    fn batch(&mut self, found: Found) -> Option<TapBatch> {
        match found {
            Found::Snapshot => self.snapshot.take().map(TapBatch::Snapshot),
            Found::AtHand => self.follower.take_events().map(TapBatch::Events),
            Found::Gap { from, to, count } => Some(TapBatch::Lagged { from, to, count }),
        }
    }

    /// What is next, if anything waits.
    fn look(&mut self) -> Option<Found> {
        self.slept = false;
        if self.snapshot.is_some() {
            return Some(Found::Snapshot);
        }
        if let Some(found) = self.next_offered() {
            return Some(found);
        }
        if !self.follower.has_more() {
            return None;
        }
        self.hub.upgrade()?.next(&mut self.follower)
    }

    /// What is next of what was offered.
    fn next_offered(&mut self) -> Option<Found> {
        if self.follower.is_at_hand() {
            return Some(Found::AtHand);
        }
        if !self.follower.has_more() {
            return None;
        }
        if self.follower.is_near_full()
            && let Some(hub) = self.hub.upgrade()
        {
            hub.try_offer();
        }
        self.follower.find()
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
    /// this tap may have waiting, for each call: it is for who has read all up to the gap, and reads what came
    /// before the next call.
    pub fn regain(&mut self, from: u64) -> Regained {
        let Some(hub) = self.hub.upgrade() else { return Regained::default() };
        let (regained, snapshot) = hub.regain(&mut self.follower, from);
        self.snapshot = snapshot.or_else(|| self.snapshot.take());
        regained
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Found>> {
        if self.snapshot.is_some() {
            return Poll::Ready(Some(Found::Snapshot));
        }
        // Who waited lets others run once before it looks. More comes of them meanwhile, which is read in one
        // go; tokio would have it run at once each time that the task before it told something. A waker
        // without data wakes nobody in particular: who looks with one looks once, and finds what is there.
        let looks_once = cx.waker().data().is_null();
        if std::mem::take(&mut self.slept) && !looks_once && self.follower.has_more() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(found) = self.next_offered() {
            return Poll::Ready(Some(found));
        }
        let polled = match self.hub.upgrade() {
            Some(hub) => hub.poll(&mut self.follower, cx),
            None => match self.follower.outlook(cx) {
                Outlook::Something => Poll::Ready(self.follower.find()),
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
        let found = std::task::ready!(self.poll(cx));
        Poll::Ready(found.and_then(|found| self.item(found)))
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
