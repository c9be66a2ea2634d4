//! A fact as a tap gives it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use coppicer_messages::Event;

use super::log::Kept;

/// A fact as a tap gives it: it reads as an [`Event`], which all taps share. Cheap to clone.
///
/// A fact from a live tap stands in a portion of at most 64 events, and keeps that in memory. Who keeps
/// few facts for long clones the [`Event`].
#[derive(Clone)]
pub struct TapEvent(Held);

#[derive(Clone)]
enum Held {
    Alone(Arc<Event>),
    /// In the hand of the reader that took it. The hand is counted, not what all taps share: that count is
    /// in a line of the cache which all who read would pass round for each event.
    InHand {
        hand: Arc<Kept>,
        at: u32,
    },
}

impl TapEvent {
    /// The event of a place that the hand has.
    #[inline]
    pub(super) fn in_hand(hand: Arc<Kept>, place: u64) -> Self {
        let at = (place - hand.first) as u32;
        Self(Held::InHand { hand, at })
    }
}

impl Deref for TapEvent {
    type Target = Event;

    #[inline]
    fn deref(&self) -> &Event {
        match &self.0 {
            Held::Alone(event) => event,
            Held::InHand { hand, at } => hand.portion.event(*at as usize),
        }
    }
}

impl AsRef<Event> for TapEvent {
    fn as_ref(&self) -> &Event {
        self
    }
}

impl From<Arc<Event>> for TapEvent {
    fn from(event: Arc<Event>) -> Self {
        Self(Held::Alone(event))
    }
}

impl From<Event> for TapEvent {
    fn from(event: Event) -> Self {
        Self::from(Arc::new(event))
    }
}

/// Equal if the events are.
impl PartialEq for TapEvent {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (&**self, &**other);
        std::ptr::eq(one, other) || one == other
    }
}

impl fmt::Debug for TapEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
