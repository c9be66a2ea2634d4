//! A fact as a tap gives it.

use std::collections::VecDeque;
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

/// Facts one after the other, as a tap gives all that are at hand: taking them as they are costs nothing for
/// each, and nothing that taps share is counted.
///
/// An iterator of [`TapEvent`]s; [`iter`](Self::iter) looks at those that are left, in place. Keeps in memory
/// what a [`TapEvent`] does.
#[derive(Clone)]
pub struct TapEvents(Several);

#[derive(Clone)]
enum Several {
    Alone(VecDeque<TapEvent>),
    /// Those of the hand from a place on, up to another.
    InHand {
        hand: Arc<Kept>,
        from: u32,
        to: u32,
    },
}

impl TapEvents {
    pub(super) const fn alone(events: VecDeque<TapEvent>) -> Self {
        Self(Several::Alone(events))
    }

    /// The events that the hand has from a place on.
    pub(super) fn in_hand(hand: Arc<Kept>, place: u64) -> Self {
        let (from, to) = ((place - hand.first) as u32, (hand.end - hand.first) as u32);
        Self(Several::InHand { hand, from, to })
    }

    /// Those that were not taken yet, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Event> {
        (0..self.len()).map(|nth| match &self.0 {
            Several::Alone(events) => &*events[nth],
            Several::InHand { hand, from, .. } => hand.portion.event(*from as usize + nth),
        })
    }
}

impl Iterator for TapEvents {
    type Item = TapEvent;

    fn next(&mut self) -> Option<TapEvent> {
        match &mut self.0 {
            Several::Alone(events) => events.pop_front(),
            Several::InHand { from, to, .. } if from == to => None,
            Several::InHand { hand, from, .. } => {
                let (hand, at) = (hand.clone(), *from);
                *from += 1;
                Some(TapEvent(Held::InHand { hand, at }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Several::Alone(events) => events.len(),
            Several::InHand { from, to, .. } => (to - from) as usize,
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for TapEvents {}

impl std::iter::FusedIterator for TapEvents {}

impl fmt::Debug for TapEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
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
