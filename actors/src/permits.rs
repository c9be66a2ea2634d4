//! Turn permits: who of those that wait runs next. Trees take turns, so that one with a thousand
//! waiting turns delays another by its fair share only; within a tree first come first served.

mod queue;

use std::sync::{Arc, Weak};

use coppicer_messages::{LeaseBook, LeaseKind, ThreadId, ThreadMsg, TurnId, TurnPermit};
use parking_lot::Mutex;

use crate::slot::Slot;
use queue::FairQueue;

/// The turn permits of one runtime. Its lock guards a queue and is held for a push or a pop.
pub struct Permits {
    lines: Mutex<Lines>,
    leases: Arc<LeaseBook>,
}

struct Lines {
    queue: FairQueue<Waiting>,
    /// Whether somebody hands out places: what comes free meanwhile is theirs to give.
    serving: bool,
}

/// A turn that waits for its permit.
struct Waiting {
    slot: Weak<Slot>,
    turn: TurnId,
}

impl Permits {
    /// At most `max` turns run at once.
    pub(crate) fn new(max: usize, leases: Arc<LeaseBook>) -> Self {
        Self { lines: Mutex::new(Lines { queue: FairQueue::new(max), serving: false }), leases }
    }

    /// Bounds the turns of one tree that run at once; `None` lifts the bound.
    pub fn bound_tree(self: &Arc<Self>, tree: ThreadId, max: Option<usize>) {
        let changed = self.lines.lock().queue.bound(tree, max.unwrap_or(usize::MAX));
        if changed {
            self.serve();
        }
    }

    /// Asks for a permit, which comes as [`ThreadMsg::Permitted`]: at once if one is free and nobody
    /// waits. Else dropping the place in line gives it up; dropped once it was served, that changes
    /// nothing.
    pub(crate) fn ask(self: &Arc<Self>, slot: &Arc<Slot>, turn: TurnId) -> Option<InLine> {
        let tree = slot.about().lineage.root().unwrap_or_else(|| slot.thread());
        let mut lines = self.lines.lock();
        if lines.queue.take_free(tree) {
            drop(lines);
            self.permit(slot, tree, turn);
            return None;
        }
        let waiting = Waiting { slot: Arc::downgrade(slot), turn: turn.clone() };
        let ticket = lines.queue.ask(tree, waiting);
        drop(lines);
        let place = InLine { permits: self.clone(), tree, ticket, turn };
        self.serve();
        Some(place)
    }

    fn permit(self: &Arc<Self>, slot: &Arc<Slot>, tree: ThreadId, turn: TurnId) {
        let place = Held { permits: self.clone(), tree };
        let lease = self.leases.grant_to(LeaseKind::TurnPermit, slot.holdings());
        let permit = TurnPermit::new(place, lease);
        slot.notice(ThreadMsg::Permitted { turn, permit });
    }

    /// Hands out what is free. What comes free by that is handed out by the one who is at it.
    fn serve(self: &Arc<Self>) {
        let mut lines = self.lines.lock();
        if std::mem::replace(&mut lines.serving, true) {
            return;
        }
        while let Some((tree, Waiting { slot, turn })) = lines.queue.next() {
            drop(lines);
            match slot.upgrade() {
                Some(slot) => self.permit(&slot, tree, turn),
                None => drop(Held { permits: self.clone(), tree }),
            }
            lines = self.lines.lock();
        }
        lines.serving = false;
    }
}

impl std::fmt::Debug for Permits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permits")
    }
}

/// The place of one turn that runs.
struct Held {
    permits: Arc<Permits>,
    tree: ThreadId,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut lines = self.permits.lines.lock();
        lines.queue.give_back(self.tree);
        if lines.queue.is_waited_for() {
            drop(lines);
            self.permits.serve();
        }
    }
}

/// A place in line.
pub(crate) struct InLine {
    permits: Arc<Permits>,
    tree: ThreadId,
    ticket: u64,
    turn: TurnId,
}

impl InLine {
    /// Whose it is.
    pub(crate) const fn turn(&self) -> &TurnId {
        &self.turn
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.permits.lines.lock().queue.leave(self.tree, self.ticket);
    }
}
