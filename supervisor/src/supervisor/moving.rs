//! Moves of threads between and within trees: what goes on when its parent is closed, and adoption.
//!
//! A parent's close comes first and moves at once: what goes on is told so before the parent ends,
//! and the store is told in the same moment, before it hears of any end. If it could not write that,
//! it is asked again until it can; until then the thread does not leave memory. An adoption is
//! written first and carried out then, if it still may be: a close that came meanwhile wins.

use coppicer_actors::{
    About, Account, Acquired, Done, Door, EdgeChange, EdgeStatus, Lineage, Purse, ThreadMove,
};
use coppicer_messages::{
    AgentPath, Deadline, Epoch, Fact, Phase, RuntimeEvent, SpawnOrigin, StoreError, SupervisorMsg,
    SupervisorTick, ThreadId, ThreadMsg, ThreadStatus,
};

use super::SupervisorState;
use super::line::Owner;
use super::resting::ForRoom;
use super::spawn::{Kind, Step, Stored};
use super::table::{Absent, Entry, Life, Renaming, Replaced};

impl SupervisorState {
    /// Has a branch be somewhere else from now on, and tells who has to know.
    pub(super) fn put_branch(
        &mut self,
        thread: ThreadId,
        to: Option<ThreadId>,
        renaming: Option<&Renaming>,
        stored: Option<&Stored>,
    ) {
        let entry = self.table.get(thread);
        let (from, order) = entry.map_or((None, None), |entry| (entry.parent, Some(entry.order)));
        let old_root = entry.map(|entry| entry.root);
        // One without an entry sleeps in the store alone.
        let absent = match (entry, stored) {
            (Some(_), _) => None,
            (None, Some(stored)) => {
                let (lineage, path) = (stored.lineage.clone(), stored.thread.path.clone());
                Some(Absent { lineage, path })
            }
            (None, None) => self.table.absent(thread),
        };
        let before = entry.map_or_else(
            || absent.as_ref().map(|absent| absent.lineage.clone()).unwrap_or_default(),
            |entry| entry.slot.about().lineage.clone(),
        );
        let after = to.and_then(|to| self.table.get(to)).map(|above| above.slot.about());
        let after = after.map(|above| above.lineage.below(above.thread)).unwrap_or_default();
        self.places.moved(thread, before.clone(), after);
        // It waits for no sibling any more, and none for it.
        self.siblings_settled(thread);
        let replaced = self.table.reparent(thread, to, renaming);
        let new_order = self.table.get(thread).map(|entry| entry.order);
        // What brings it up, and what makes it: no others have its place.
        let coming = self.table.get(thread).map(|entry| match entry.life() {
            Life::Coming { op } => [Some(op), entry.making],
            _ => [None, entry.making],
        });
        for op in coming.into_iter().flatten().flatten() {
            if let Some(op) = self.ops.get_mut(&op).filter(|op| op.order == order) {
                op.order = new_order;
            }
        }
        self.bound_trees(thread, to);
        // The top first: what is told of those below it is told of its branch.
        for Replaced { slot, about, renamed } in replaced {
            let id = about.thread;
            if !slot.move_to(about) {
                tracing::error!(thread = %id, "a thread was moved too often for its slot");
            }
            if renamed || id == thread {
                slot.tell(ThreadMsg::Moved);
            }
            if id == thread {
                let about = slot.about().clone();
                let fact = RuntimeEvent::ThreadAdopted { from, to, path: about.path.clone() };
                let fact = Fact::Runtime(fact);
                self.shared.hub.publish_move(&about, &before, slot.epoch(), fact);
            } else if renamed || self.table.is_stray(id) {
                self.publish(Some(&slot), slot.describe());
            }
        }
        if let Some(Absent { path, .. }) = absent {
            let (mut about, from) = (About::of(thread), before.iter().next());
            about.path.clone_from(&path);
            let fact = Fact::Runtime(RuntimeEvent::ThreadAdopted { from, to, path });
            self.shared.hub.publish_move(&about, &before, Epoch(0), fact);
        }
        let cell = self.cell_for(to);
        if let Some(incarnation) = self.table.get(thread).and_then(|it| it.incarnation.as_ref()) {
            incarnation.link_under(cell);
        }
        self.goes_on_by_itself(thread);
        let owners = from.map(Owner::Parent).into_iter().chain(old_root.map(Owner::Tree));
        for owner in owners {
            self.lines.freed(owner);
        }
    }

    /// Turns of the new tree are bounded as its root says.
    fn bound_trees(&self, thread: ThreadId, to: Option<ThreadId>) {
        let max = self.table.get(thread).and_then(|entry| entry.rules.tree.executing_max);
        match to {
            None if max.is_some() => self.world.permits().bound_tree(thread, max),
            // It was a root, and what it allowed counts no more.
            Some(_) if max.is_some() => self.world.permits().bound_tree(thread, None),
            _ => {}
        }
    }

    /// A thread that was down with what was around it, which does not bring it back any more.
    fn goes_on_by_itself(&mut self, thread: ThreadId) {
        let life = self.table.get(thread).filter(|entry| !entry.closing).map(Entry::life);
        if !matches!(life, Some(Life::AwaitParent | Life::AwaitSibling)) || self.ended {
            return;
        }
        if self.parent_comes(thread) {
            self.table.set_life(thread, Life::AwaitParent);
        } else {
            self.load(thread, SpawnOrigin::Resume, Vec::new(), Kind::Restart);
        }
    }

    /// Links what is below a thread that has a new actor, and did not go down with the old one.
    pub(super) fn link_children(&self, thread: ThreadId) {
        let entry = self.table.get(thread).and_then(|entry| entry.incarnation.as_ref());
        let Some(cell) = entry.map(coppicer_actors::Incarnation::cell) else { return };
        for child in self.table.children(thread) {
            let child = self.table.get(child).filter(|child| child.life() == Life::Live);
            if let Some(incarnation) = child.and_then(|child| child.incarnation.as_ref()) {
                incarnation.link_under(cell.clone());
            }
        }
    }

    /// A new thread is made. What is above it may have moved while the store wrote it: then it has the
    /// depth and the path of the old place there.
    pub(super) fn place_new(&mut self, thread: ThreadId, depth: u32, path: Option<&AgentPath>) {
        let Some(entry) = self.table.get(thread) else { return };
        let about = entry.slot.about();
        if about.depth != depth || entry.path.as_ref() != path {
            let paths = vec![(thread, entry.path.clone())];
            let edge = edge_below(entry.parent, EdgeStatus::Open);
            self.write_place(
                0,
                ThreadMove { thread, edge, paths, charges: Vec::new(), epoch: None },
            );
        }
    }

    // What goes on when its parent is closed.

    /// Has a thread, with all below it, be a root of its own, because a parent of it closes. One
    /// without an entry is written once it is known from the store: [`Self::detach_stored`].
    pub(super) fn detach(&mut self, close: u64, thread: ThreadId) {
        let here = self.table.get(thread).map(|entry| entry.slot.about().lineage.clone());
        let lineage = here.or_else(|| Some(self.table.absent(thread)?.lineage));
        self.tear(thread, &lineage.unwrap_or_default());
        self.put_branch(thread, None, None, None);
        match self.table.get(thread) {
            Some(_) => self.write_detached(close, thread),
            None => self.table.is_to_be_placed(thread),
        }
    }

    /// The same, for one that sleeps in the store alone. It stays in memory until its new place is
    /// written. `told`: whether it was moved when the close began, for those below it.
    pub(super) fn detach_stored(&mut self, close: u64, mut stored: Stored, told: bool) {
        let thread = stored.thread.id;
        if let Some(path) = self.tear(thread, &stored.lineage) {
            stored.thread.path = Some(path);
        }
        if !told {
            self.put_branch(thread, None, None, Some(&stored));
        }
        stored.thread.parent = None;
        stored.lineage = Lineage::default();
        stored.tree = stored.thread.config.tree;
        stored.apart.clear();
        self.seat_asleep(&stored);
        self.write_detached(close, thread);
    }

    /// Gives a thread of the store its entry, and no actor.
    pub(super) fn seat_asleep(&mut self, stored: &Stored) {
        self.seat(stored, Life::Dormant);
        if let Some(entry) = self.table.get(stored.thread.id) {
            // It sleeps on: what comes for it wakes it.
            entry.slot.set_door(Door::Dormant);
            entry.slot.show(ThreadStatus::Dormant, Phase::Dormant);
        }
    }

    pub(super) fn write_detached(&mut self, close: u64, thread: ThreadId) {
        if self.goes_on_when_written(close, thread) {
            return;
        }
        let account = self.table.get(thread).and_then(|it| it.slot.purse()?.own().cloned());
        // One that nobody draws on any more is kept all the same.
        let donors = account.iter().flat_map(|account| account.donors()).collect::<Vec<_>>();
        let donors = self.accounts_here(donors);
        let charges = account.map(|account| Account::detach(&account)).unwrap_or_default();
        if let Some(entry) = self.table.get_mut(thread) {
            entry.adrift = false;
        }
        let edge = EdgeChange::Root;
        self.write_place(
            close,
            ThreadMove { thread, edge, paths: Vec::new(), charges, epoch: None },
        );
        self.keep_donors(donors);
    }

    /// Has the store write where a thread is, and asks it again for as long as it cannot. Until then
    /// only the entry of the thread says so.
    pub(super) fn write_place(&mut self, close: u64, mut to: ThreadMove) {
        self.places.wrote(to.thread);
        self.ledgers_change(&to.charges);
        let owed = self.owed.remove(&to.thread);
        let before = owed.clone();
        if let Some(owed) = owed {
            to.charges.extend(owed.charges);
            let known = |id: &ThreadId| to.paths.iter().any(|(other, _)| other == id);
            let more: Vec<_> = owed.paths.into_iter().filter(|(id, _)| !known(id)).collect();
            to.paths.extend(more);
        }
        to.epoch = self.life_of(to.thread);
        self.table.is_to_be_placed(to.thread);
        self.unsettled.begin(&to);
        if let Some(before) = before {
            self.move_settled(&before);
        }
        let (uplink, again) = (self.shared.uplink.clone(), Box::new(to.clone()));
        let done = Done::new(move |result: Result<(), StoreError>| {
            let step = Box::new(Step::Placed { to: again, result });
            uplink.send(SupervisorMsg::StepDone { op: close, step });
        });
        self.relocate(to, done);
    }

    /// The life of a thread in which it is moved: one that has an actor here.
    pub(super) fn life_of(&self, thread: ThreadId) -> Option<Epoch> {
        let entry = self.table.get(thread).filter(|entry| entry.life() == Life::Live);
        entry.map(|entry| entry.epoch)
    }

    /// Has the store write a move. It is refused if another runtime has taken the thread over. One that
    /// has no actor here may have one there, which knows nothing of the move, would tell the old parent of
    /// its ends and give back what is given away by the move: the move takes it over.
    pub(super) fn relocate(&self, mut to: ThreadMove, done: Done<()>) {
        let store = self.shared.store.clone();
        let sleeps = self.table.get(to.thread).is_none_or(|it| it.life() == Life::Dormant);
        if !sleeps {
            return store.relocate(to, done);
        }
        let thread = to.thread;
        let done = Done::new(move |result: Result<Acquired, StoreError>| match result {
            Err(StoreError::Unavailable { reason } | StoreError::UnknownOutcome { reason }) => {
                done.tell(Err(StoreError::Unavailable { reason }));
            }
            acquired => {
                to.epoch = acquired.ok().map(|acquired| acquired.fence.epoch);
                store.relocate(to, done);
            }
        });
        self.shared.store.acquire(thread, done);
    }

    /// The store wrote where a thread is, or could not.
    pub(super) fn on_placed(
        &mut self,
        close: u64,
        mut to: ThreadMove,
        result: Result<(), StoreError>,
    ) {
        let (thread, written) = (to.thread, to.clone());
        let life = self.life_of(thread);
        if matches!(result, Err(StoreError::Fenced { .. })) && life.is_some() && to.epoch != life {
            // It had another life here meanwhile. Where it is by now counts.
            if let Some(entry) = self.table.get(thread).filter(|entry| !entry.closing) {
                to.edge = edge_below(entry.parent, EdgeStatus::Open);
            }
            self.write_place(close, to);
            return self.move_settled(&written);
        }
        // One that was deleted meanwhile is nowhere. Where one is that another runtime has taken over is
        // that one's to say.
        let result = match result {
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(StoreError::Fenced { .. })
                if to.epoch.is_some() && (to.epoch == life || self.table.get(thread).is_none()) =>
            {
                tracing::warn!(%thread, "a thread was not moved: another runtime has taken it over");
                Ok(())
            }
            other => other,
        };
        match &result {
            Ok(()) => {
                self.table.is_placed(thread);
                self.places.wrote(thread);
                self.ledgers_change(&to.charges);
                self.let_go(thread);
                self.find_held_back();
            }
            Err(error) => {
                tracing::error!(%error, %thread, "the store could not write where a thread is");
                if matches!(error, StoreError::UnknownOutcome { .. }) {
                    // Rather too little is left of a budget than too much.
                    to.charges.clear();
                }
                self.unsettled.begin(&to);
                self.owed.insert(thread, to);
                let pause = self.shared.limits.store_retry;
                let at = Deadline::after(self.now().instant, pause).instant();
                self.arm_first(at, SupervisorTick::EdgesDue);
            }
        }
        self.move_settled(&written);
        self.close_detached(close, thread, result);
    }

    /// Another runtime has a thread: where it is is that one's to say. What is owed of it would take it
    /// over.
    pub(super) fn forget_place(&mut self, thread: ThreadId) {
        let Some(owed) = self.owed.remove(&thread) else { return };
        self.table.is_placed(thread);
        self.places.wrote(thread);
        self.ledgers_change(&owed.charges);
        self.move_settled(&owed);
        self.find_held_back();
    }

    /// A thread without an entry, or one above it, of which the store may not say where it is.
    pub(super) fn between_places(&self, thread: ThreadId, above: &Lineage) -> Option<ThreadId> {
        let mut places = std::iter::once(thread).chain(above.iter());
        places.find(|id| self.table.is_between_places(*id))
    }

    /// Looks again for threads that were, or hung below one, between two places.
    pub(super) fn find_held_back(&mut self) {
        self.look_up_held_targets();
        for held in std::mem::take(&mut self.held_back) {
            if let ForRoom::Find { thread, origin, waiters } = held {
                self.find_again(thread, origin, waiters);
            }
        }
    }

    /// Asks the store again for what it could not write. Where a thread is by now counts.
    pub(super) fn write_owed(&mut self) {
        self.came(SupervisorTick::EdgesDue);
        for (thread, mut to) in std::mem::take(&mut self.owed) {
            if let Some(entry) = self.table.get(thread).filter(|entry| !entry.closing) {
                to.edge = edge_below(entry.parent, EdgeStatus::Open);
            }
            self.write_place(0, to);
        }
    }

    /// What a thread's own account draws on, for those who move it.
    pub(super) fn own_purse(&self, thread: ThreadId) -> Option<Purse> {
        self.table.get(thread).and_then(|entry| entry.slot.purse().cloned())
    }
}

/// The edge below a parent; none of a root.
pub(super) const fn edge_below(parent: Option<ThreadId>, status: EdgeStatus) -> EdgeChange {
    match parent {
        Some(parent) => EdgeChange::Parent(parent, status),
        None => EdgeChange::Root,
    }
}
