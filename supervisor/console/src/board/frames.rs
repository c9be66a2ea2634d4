//! Rows with versions: what a client has not seen is what is newer than the last thing it saw.
//!
//! Each change of a row takes the next number. A client's place is the number of the newest change that
//! it was sent, so that one that reads slowly gets fewer and larger frames, and one that comes back
//! gets what it missed, once. Nothing is kept for any client.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use coppicer_messages::ThreadId;

use super::Row;
use crate::bounds::REMOVALS_MAX;

/// How far a client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The newest change that it was sent.
    at: u64,
    /// Removals up to this change cannot be of rows that it has: it began from nothing then.
    began: u64,
}

/// What is new for a client.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct News {
    /// Whether it has to forget what it has.
    pub(crate) full: bool,
    /// Whether there is more.
    pub(crate) more: bool,
    /// How far it is with this.
    pub(crate) place: Place,
    pub(crate) rows: Vec<Arc<Row>>,
    pub(crate) removed: Vec<ThreadId>,
}

#[cfg(test)]
impl News {
    pub(crate) fn is_empty(&self) -> bool {
        !self.full && self.rows.is_empty() && self.removed.is_empty()
    }
}

/// The rows, by the change that made them what they are.
#[derive(Debug, Default)]
pub(super) struct Frames {
    last: u64,
    changes: BTreeMap<u64, ThreadId>,
    rows: HashMap<ThreadId, (u64, Option<Arc<Row>>)>,
    /// Removals that are still told of, oldest first.
    removals: VecDeque<(u64, ThreadId)>,
    /// The newest removal that is not told of any more.
    forgotten: u64,
}

impl Frames {
    /// The row of a thread, if it has one.
    pub(super) fn get(&self, thread: ThreadId) -> Option<&Arc<Row>> {
        self.rows.get(&thread)?.1.as_ref()
    }

    /// The newest change.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// Sets a row. One that is what it was is no change.
    pub(super) fn put(&mut self, row: Row) {
        let thread = row.thread;
        if self.get(thread).is_some_and(|shown| **shown == row) {
            return;
        }
        self.change(thread, Some(Arc::new(row)));
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, thread: ThreadId) {
        if self.get(thread).is_none() {
            return;
        }
        self.change(thread, None);
        self.removals.push_back((self.last, thread));
        while self.removals.len() > REMOVALS_MAX {
            self.forget_oldest();
        }
    }

    fn change(&mut self, thread: ThreadId, row: Option<Arc<Row>>) {
        self.last += 1;
        if let Some((before, _)) = self.rows.insert(thread, (self.last, row)) {
            self.changes.remove(&before);
        }
        self.changes.insert(self.last, thread);
    }

    fn forget_oldest(&mut self) {
        let Some((at, thread)) = self.removals.pop_front() else { return };
        self.forgotten = at;
        // It may have a row again.
        if self.rows.get(&thread).is_some_and(|(change, row)| *change == at && row.is_none()) {
            self.rows.remove(&thread);
            self.changes.remove(&at);
        }
    }

    /// What is behind `place`, at most `max` rows and removals.
    pub(super) fn after(&self, place: Option<Place>, max: usize) -> News {
        let known = place.filter(|place| self.can_go_on_from(*place));
        let from = known.unwrap_or(Place { at: 0, began: self.last });
        let mut news = News { full: known.is_none(), place: from, ..News::default() };
        let mut changes = self.changes.range(from.at + 1..);
        for (&at, &thread) in changes.by_ref().take(max) {
            news.place.at = at;
            match self.get(thread) {
                Some(row) => news.rows.push(row.clone()),
                // Of a removal from before it began it never had the row.
                None if at > from.began => news.removed.push(thread),
                None => {}
            }
        }
        news.more = changes.next().is_some();
        if !news.more {
            // Everything up to here is known to it, also what was removed and forgotten in between.
            news.place = Place { at: self.last, began: self.last };
        }
        news
    }

    fn can_go_on_from(&self, place: Place) -> bool {
        place.at <= self.last
            && place.began <= self.last
            && self.forgotten <= place.at.max(place.began)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at == self.began {
            write!(f, "{}", self.at)
        } else {
            write!(f, "{}.{}", self.at, self.began)
        }
    }
}

impl FromStr for Place {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at, began) = text.split_once('.').unwrap_or((text, text));
        Ok(Self { at: at.parse()?, began: began.parse()? })
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
