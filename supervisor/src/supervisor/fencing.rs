//! Fencing off: what had not ended when its close was due is killed, and loses the right to write (P1,
//! P5).
//!
//! Its report was told before. From then on nothing of it is restarted, and a resume waits for its
//! end; it stands in line here, and a portion goes after each message, so that the reports of other
//! closes, and whatever else is asked, do not wait for thousands.

use std::collections::VecDeque;
use std::sync::Arc;
use std::vec::IntoIter;

use coppicer_actors::{Done, Slot};
use coppicer_messages::{Ended, Rung, RuntimeEvent, ThreadId};

use super::SupervisorState;
use super::close::How;
use super::table::{Entry, Life};

/// Threads that are fenced off at one go.
const FENCE_MAX: usize = 256;

/// Threads that are to be fenced off, by the close that was due.
#[derive(Debug, Default)]
pub(super) struct Fences {
    of: VecDeque<(Option<u64>, IntoIter<ThreadId>)>,
}

impl Fences {
    /// What had not ended of a close; without one, whatever is left when the runtime ends.
    pub(super) fn add(&mut self, close: Option<u64>, threads: Vec<ThreadId>) {
        if !threads.is_empty() {
            self.of.push_back((close, threads.into_iter()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    fn next(&mut self) -> Option<(Option<u64>, ThreadId)> {
        let (close, threads) = self.of.front_mut()?;
        let next = threads.next().map(|thread| (*close, thread));
        if threads.as_slice().is_empty() {
            self.of.pop_front();
        }
        next
    }
}

impl SupervisorState {
    /// Fences off a portion of what stands in line. A thread that has ended meanwhile is in no close
    /// any more, also if it was resumed since.
    pub(super) fn go_on_fencing(&mut self) {
        if self.fences.is_empty() {
            return;
        }
        for _ in 0..FENCE_MAX {
            let Some((close, thread)) = self.fences.next() else { break };
            let is_in =
                |entry: &Entry| close.is_none_or(|close| entry.closes.place_in(close).is_some());
            if self.table.get(thread).is_some_and(is_in) {
                self.fence_off(thread);
            }
            self.report_due();
        }
        self.stop_when_done();
    }

    /// Ends a thread without a word, and lets go of all it held.
    fn fence_off(&mut self, thread: ThreadId) {
        if let Some(entry) = self.table.get_mut(thread) {
            entry.closing = true;
            if let Life::Coming { op } = entry.life()
                && let Some(spawning) = self.ops.get_mut(&op)
            {
                spawning.cancelled = true;
            }
            if let Some(incarnation) = &entry.incarnation {
                incarnation.kill();
                // What it has in flight is refused from here on (P1).
                let making = entry.making;
                self.revoke(thread, making);
            }
        }
        let gone = self.table.get(thread).and_then(Entry::slot_of_actor);
        let left = Some("its end was not durable by the deadline");
        self.finish(thread, Rung::Fenced, How::TimedOut, left);
        if let Some(slot) = gone {
            let how = Ended::Closed { rung: Rung::Fenced };
            self.publish(Some(&slot), RuntimeEvent::ThreadEnded { how });
        }
    }

    /// Takes the right to write a thread away from whoever has it. One that was made and not yet
    /// taken is undone instead: `making`, the spawn that makes it, is under way still.
    fn revoke(&mut self, thread: ThreadId, making: Option<u64>) {
        let spawning = making.and_then(|op| self.ops.get_mut(&op));
        match spawning.and_then(|spawning| spawning.made.take()) {
            Some(fence) => {
                self.shared.store.undo_create(fence, Done::ignore());
                self.on_registered(-1);
            }
            None => self.shared.store.acquire(thread, Done::ignore()),
        }
    }
}

impl Entry {
    /// The slot of a thread whose actor taps know of: that it is gone is a fact.
    pub(super) fn slot_of_actor(&self) -> Option<Arc<Slot>> {
        (self.incarnation.is_some() && !self.ends_only).then(|| self.slot.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_close_go_together_in_the_order_of_the_closes() {
        let ids: Vec<ThreadId> = (0..4).map(|n| ThreadId::from_parts(n, [0; 10])).collect();
        let mut fences = Fences::default();
        fences.add(Some(1), Vec::new());
        assert!(fences.is_empty());
        fences.add(Some(2), ids[..2].to_vec());
        fences.add(None, ids[2..].to_vec());
        let all: Vec<_> = std::iter::from_fn(|| fences.next()).collect();
        assert_eq!(all, [(Some(2), ids[0]), (Some(2), ids[1]), (None, ids[2]), (None, ids[3])]);
        assert!(fences.is_empty());
    }
}
