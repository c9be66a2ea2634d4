//! The steps of a spawn: what a notice brought, what comes next, and how a spawn is undone.

use coppicer_actors::{
    Acquired, Done, EdgeChange, EdgeStatus, HOST_DIED, Purse, Rise, ThreadArgs, ThreadView,
    first_submission, start,
};
use coppicer_messages::{
    Accepted, Answer, LeaseKind, Rung, RuntimeEvent, SpawnError, SpawnOrigin, StoreError,
    SubmitError, ThreadId, ThreadStatus,
};

use super::SupervisorState;
use super::close::How;
use super::line::Owner;
use super::recovery::Who;
use super::resting::ForRoom;
use super::spawn::{Kind, Left, Spawning, Step, Stored, Waiter, spawn_error};
use super::table::{Life, Place, Rules};

impl SupervisorState {
    pub(super) fn on_step(&mut self, op: u64, step: Step) {
        match step {
            Step::CloseTarget(result) => return self.on_close_target(op, result),
            Step::FirstDone(result) => return self.on_first_done(op, result),
            Step::Acquired(result) => return self.on_acquired(op, result),
            Step::Unfinished(result) => return self.on_unfinished(result),
            Step::Slept { thread, asleep } => return self.on_slept(thread, asleep),
            Step::LastSignificant { parent, last } => {
                return self.on_last_significant(parent, last);
            }
            Step::PatchChecked(result) => return self.on_patch_checked(op, result),
            Step::Patched(result) => return self.on_patched(op, result),
            Step::Surveyed(result) => return self.on_surveyed(op, result),
            Step::Moved(result) => return self.on_moved(op, result),
            Step::Detaching(result) => return self.on_detaching(op, result),
            Step::GoesOn { thread, result } => return self.on_goes_on(op, thread, result),
            Step::Placed { to, result } => return self.on_placed(op, *to, result),
            Step::Funded(result) => return self.on_funded(op, result),
            Step::Counted(result) => return self.on_counted(result),
            Step::DamagedPlace { thread, what, about } => {
                return self.on_damaged_place(thread, &what, &about);
            }
            Step::Names { of, found } => return self.on_names(&of, found),
            Step::FoundInPart { who, refusal } => {
                if let Some(thread) = self.ops.get(&op).map(|spawning| spawning.thread) {
                    self.learn_who(thread, || *who);
                }
                return self.on_step(op, Step::Found(Err(refusal)));
            }
            Step::Planned(_) | Step::Created(_) | Step::Found(_) | Step::Loaded(_) => {}
        }
        let Some(mut spawning) = self.ops.remove(&op) else { return };
        let thread = spawning.thread;
        let now = self.now();
        match &step {
            Step::Created(result) => {
                self.made(&mut spawning);
                if let Ok(acquired) = result {
                    spawning.made = Some(acquired.fence);
                    self.on_registered(1);
                }
            }
            Step::Loaded(Ok((acquired, _))) if spawning.taken_back => {
                spawning.made = Some(acquired.fence);
            }
            Step::Found(_) => {
                self.coming.remove(&thread);
                if self.table.get(thread).is_some() {
                    // Somebody else brought it to life meanwhile.
                    self.came_back(thread);
                    for waiter in spawning.waiters {
                        self.join_again(thread, waiter);
                    }
                    return;
                }
            }
            _ => {}
        }
        if spawning.cancelled {
            return self.undo(spawning, &SpawnError::Closing { thread });
        }
        // One that was there before comes up whether or not somebody waits, and so does one that
        // nobody asked for.
        if spawning.kind == Kind::Fresh
            && !spawning.waiters.is_empty()
            && spawning.waiters.iter().all(|waiter| waiter.reply.expired(now.instant))
        {
            return self.undo(spawning, &SpawnError::NoAnswer);
        }
        match step {
            Step::Planned(Ok(planned)) => {
                let place = self.table.get(thread).map(|entry| {
                    let about = entry.slot.about();
                    (about.depth, about.path.clone())
                });
                if let (Some((depth, path)), Some(request)) = (place, spawning.request.as_ref()) {
                    let charges = spawning.charges.clone();
                    self.create(op, thread, request, depth, path, planned, charges);
                }
                self.ops.insert(op, spawning);
            }
            Step::Created(Ok(acquired)) => self.bring_up(op, spawning, acquired, Left::default()),
            Step::Found(Ok(stored)) => self.on_found(op, spawning, &stored),
            Step::Loaded(Ok((acquired, left)))
                if self.was_elsewhere(spawning.places, &acquired) =>
            {
                self.lost_meanwhile(spawning, &acquired, &left);
            }
            Step::Loaded(Ok((acquired, left))) => {
                self.bring_up(op, spawning, acquired, left);
            }
            Step::Planned(Err(refusal))
            | Step::Found(Err(refusal))
            | Step::Loaded(Err(refusal)) => {
                self.undo(spawning, &refusal);
            }
            Step::Created(Err(error)) => self.undo(spawning, &spawn_error(thread, error)),
            Step::FirstDone(_)
            | Step::FoundInPart { .. }
            | Step::Acquired(_)
            | Step::CloseTarget(_)
            | Step::Unfinished(_)
            | Step::Slept { .. }
            | Step::LastSignificant { .. }
            | Step::PatchChecked(_)
            | Step::Patched(_)
            | Step::Surveyed(_)
            | Step::Moved(_)
            | Step::Detaching(_)
            | Step::GoesOn { .. }
            | Step::Placed { .. }
            | Step::Funded(_)
            | Step::DamagedPlace { .. }
            | Step::Names { .. }
            | Step::Counted(_) => {}
        }
    }

    /// The slot of a stored thread is published before it is acquired: mail that is written in
    /// between is told to the slot, mail that was written before is read with it.
    fn on_found(&mut self, op: u64, mut spawning: Spawning, stored: &Stored) {
        let thread = spawning.thread;
        let origin = spawning.origin;
        if origin == SpawnOrigin::Recovery {
            self.learn_who(thread, || Who::of(&stored.thread).below(&stored.lineage));
        }
        if self.places.changed_above(spawning.places, thread, &stored.lineage) {
            // What is above it may be something else by now.
            return self.find(thread, origin, spawning.waiters);
        }
        if self.between_places(thread, &stored.lineage).is_some() {
            let waiters = spawning.waiters;
            return self.held_back.push(ForRoom::Find { thread, origin, waiters });
        }
        let is_shut = stored.thread.status == ThreadStatus::Shutdown;
        if stored.is_closed || stored.closed_above {
            // What is sent to it does not open it again.
            let (woken, others): (Vec<Waiter>, Vec<Waiter>) =
                spawning.waiters.into_iter().partition(|waiter| waiter.wakes);
            self.refuse(woken, &SpawnError::Closed { thread });
            spawning.waiters = others;
            let nobody_asks = spawning.waiters.is_empty();
            if nobody_asks && (origin != SpawnOrigin::Recovery || is_shut) {
                return self.came_back(thread);
            }
            if let (false, Some(path)) = (nobody_asks, &stored.lost_name) {
                let path = path.to_string();
                return self.undo(spawning, &SpawnError::PathTaken { path });
            }
        }
        if let ThreadStatus::Damaged(reason) = &stored.thread.status {
            let reason = reason.clone();
            return self.undo(spawning, &SpawnError::Damaged { thread, reason });
        }
        if self.is_full() && self.make_room() {
            let waiters = spawning.waiters;
            return self.for_room.push_back(ForRoom::Find { thread, origin, waiters });
        }
        let closing = stored
            .lineage
            .iter()
            .find(|&above| self.table.get(above).is_some_and(|entry| entry.closing));
        let admitted = match closing {
            Some(thread) => Err(SpawnError::Closing { thread }),
            None if self.closing_all > 0 => Err(SpawnError::RuntimeEnded),
            None => self.table.admit(&stored.place(), &self.shared.limits),
        };
        if let Err(refusal) = admitted {
            return self.undo(spawning, &refusal);
        }
        // Kept until its slot has it.
        let purse = self.purse_of(stored);
        if let (true, Some(account)) = (is_shut, purse.as_ref().and_then(Purse::own)) {
            let now = self.now().instant;
            if let Err(short) = account.reopen(now) {
                return self.undo(spawning, &SpawnError::Limit(short.refusal));
            }
            spawning.reopened = true;
        }
        // A resume opens its own edge again.
        let adrift = stored.closed_above || (stored.is_closed && origin != SpawnOrigin::Resume);
        spawning.order = Some(self.seat(stored, Life::Coming { op }));
        if let Some(entry) = self.table.get_mut(thread) {
            entry.adrift = adrift;
        }
        self.ops.insert(op, spawning);
        self.acquire(op, thread);
    }

    /// Gives a stored thread its slot and its place in the table.
    pub(super) fn seat(&mut self, stored: &Stored, life: Life) -> u64 {
        let purse = self.purse_of(stored);
        let place = stored.place();
        self.bound_tree(&place);
        let Stored { thread: stored, lineage, apart, .. } = stored;
        let mut view = ThreadView::of(stored.id);
        view.parent = stored.parent.map(|(parent, _)| parent);
        view.path.clone_from(&stored.path);
        view.nickname.clone_from(&stored.config.nickname);
        view.role.clone_from(&stored.config.role);
        view.depth = lineage.depth();
        view.last_task = stored.last_task().map(str::to_owned);
        view.internal = stored.config.internal;
        view.forked_from = stored.base.map(|base| base.thread);
        view.rollout_path.clone_from(&stored.rollout_path);
        view.status = stored.status.clone().reborn();
        let slot = self.new_slot(stored.path.clone(), lineage.clone(), view);
        slot.set_purse(purse);
        let lease = self.shared.leases.grant_to(LeaseKind::Slot, slot.holdings());
        let rules = Rules::of(&stored.config);
        let root = place.root;
        let is_new = self.table.tree_limits(root).is_none();
        let order = self.table.insert(place, slot.clone(), rules, life, lease);
        if is_new {
            self.table.forget_names(root);
        }
        if let Some(name) = &stored.config.nickname {
            self.table.take_nickname(root, name);
        }
        if let Some(entry) = self.table.get_mut(stored.id) {
            entry.apart = apart.clone().into_boxed_slice();
        }
        self.directory.insert(slot);
        order
    }

    /// Starts the actor, publishes the thread, and answers.
    pub(super) fn bring_up(
        &mut self,
        op: u64,
        mut spawning: Spawning,
        mut acquired: Acquired,
        left: Left,
    ) {
        let thread = spawning.thread;
        let Some(entry) = self.table.get_mut(thread) else { return };
        // What closes comes up only to end: its end is written by its actor.
        let ends = entry.closing;
        let slot = entry.slot.clone();
        entry.epoch = acquired.fence.epoch;
        let account = slot.purse().and_then(Purse::own);
        let charges = match account {
            // It does not come back, so that it has nothing again.
            Some(account) if ends && std::mem::take(&mut spawning.reopened) => {
                account.close_again();
                Vec::new()
            }
            Some(account) if acquired.thread.status == ThreadStatus::Shutdown => {
                // Its last end may have been written after it was looked up, also by another host.
                if let (Some(ledger), false) = (acquired.thread.ledger, spawning.reopened) {
                    account.ended_elsewhere(ledger);
                }
                let now = self.shared.clock.now().instant;
                if let Err(short) = account.reopen(now) {
                    tracing::warn!(%thread, of = %short.of, "nothing is left for it above it");
                }
                account.reopening()
            }
            _ => Vec::new(),
        };
        let parent = entry.parent;
        // It may have been moved since the store was asked.
        let edge = acquired.thread.parent.map_or(EdgeStatus::Open, |(_, status)| status);
        acquired.thread.parent = parent.map(|parent| (parent, edge));
        if spawning.request.is_some() {
            self.place_new(thread, acquired.thread.depth, acquired.thread.path.as_ref());
        }
        let first = spawning.request.as_mut().and_then(|request| request.first.take());
        let trace = spawning.request.as_ref().and_then(|request| request.trace.clone());
        let waiting = first.map(|first| {
            let deadline = spawning.deadline(self);
            let (msg, answer) = first_submission(self.world.turns(), &slot, first, deadline);
            slot.submit_first(msg);
            answer
        });
        // What comes back by itself decides nothing: whoever closed it meanwhile is right.
        let asked_for = matches!(spawning.kind, Kind::Fresh | Kind::Wake);
        let resumed = spawning.origin == SpawnOrigin::Resume && asked_for;
        if resumed && matches!(acquired.thread.parent, Some((_, EdgeStatus::Closed))) {
            // It belongs to its tree again (REF 3.9).
            let done = Done::new(move |result: Result<(), StoreError>| {
                if let Err(error) = result {
                    tracing::error!(%error, %thread, "the store could not open an edge again");
                }
            });
            self.shared.store.put_edge(thread, EdgeChange::Status(EdgeStatus::Open), done);
        }
        let trouble = self.table.get_mut(thread).and_then(|entry| entry.trouble.there());
        let fell_of = trouble.and_then(|trouble| trouble.fell_of.take());
        // A turn that nobody here started, and that nobody ended.
        let host_died = spawning.kind == Kind::Fresh && left.turn.is_some();
        let args = Box::new(ThreadArgs {
            world: self.world.clone(),
            slot: slot.clone(),
            acquired,
            recovery: left.records,
            crash: fell_of.or_else(|| host_died.then(|| HOST_DIED.to_owned())),
            left: left.turn,
            charges,
            trace,
            rise: match spawning.kind {
                _ if ends => Rise::ToEnd,
                Kind::Parking => Rise::ToSitParked,
                _ => Rise::ToWork,
            },
            told: match spawning.kind {
                _ if ends => None, // it is not back: it only ends
                Kind::Restart | Kind::Parking => Some(RuntimeEvent::ThreadRestarted),
                Kind::Fresh | Kind::Wake => {
                    Some(RuntimeEvent::ThreadSpawned { origin: spawning.origin })
                }
            },
        });
        // Found by whoever is told of it.
        self.directory.insert(slot);
        // Under the supervisor first: its parent may be on its way out, and may come back.
        match start(args, self.myself.get_cell()) {
            Ok(incarnation) => {
                if parent.is_some() {
                    incarnation.link_under(self.cell_for(parent));
                }
                if let Some(entry) = self.table.get_mut(thread) {
                    entry.incarnation = Some(incarnation);
                }
                self.table.set_life(thread, Life::Live);
            }
            // This actor is on its way out.
            Err(_) => return self.undo(spawning, &SpawnError::RuntimeEnded),
        }
        if let Some(entry) = self.table.get_mut(thread) {
            entry.ends_only |= ends;
        }
        self.siblings_settled(thread);
        self.link_children(thread);
        self.restart_children(thread);
        self.came_back(thread);
        self.watch_idle(thread);
        self.lines.freed(Owner::Parent(thread));
        match waiting {
            Some(answer) => self.await_first(op, spawning, answer),
            None if ends => self.refuse(spawning.waiters, &SpawnError::Closing { thread }),
            None => self.answer(spawning),
        }
    }

    pub(super) fn await_first(
        &mut self,
        op: u64,
        spawning: Spawning,
        answer: Answer<Accepted, SubmitError>,
    ) {
        self.ops.insert(op, spawning);
        self.outside(op, async move { Step::FirstDone(answer.wait().await) });
    }

    pub(super) fn on_first_done(&mut self, op: u64, result: Result<Accepted, SubmitError>) {
        let Some(spawning) = self.ops.remove(&op) else { return };
        match result {
            Ok(_) => self.answer(spawning),
            Err(refusal) => {
                self.undo(spawning, &SpawnError::FirstSubmission(Box::new(refusal)));
            }
        }
    }

    /// Tells those who wait. A new thread that nobody takes is undone.
    pub(super) fn answer(&mut self, mut spawning: Spawning) {
        let thread = spawning.thread;
        let waiters = std::mem::take(&mut spawning.waiters);
        let taken = self.welcome(thread, waiters);
        if !taken && spawning.made.is_some() {
            return self.undo(spawning, &SpawnError::NoAnswer);
        }
        if let Some(entry) = self.table.get_mut(thread) {
            entry.making = entry.making.filter(|making| *making != spawning.op);
        }
    }

    /// Takes back all that was done for a spawn: no actor, slot, place or record of it remains. A
    /// thread that was in the store is only let go; one that was there before goes on as after a
    /// crash, or ends if it is closing. What another brought to life under the same id stays.
    pub(super) fn undo(&mut self, mut spawning: Spawning, refusal: &SpawnError) {
        let own = self.table.get(spawning.thread);
        let own = own.filter(|entry| spawning.order == Some(entry.order));
        if let Some(slot) = own.map(|entry| entry.slot.clone()) {
            self.unpay(&mut spawning, &slot);
        }
        self.made(&mut spawning);
        if spawning.made.is_some() {
            self.on_registered(-1);
        }
        let Spawning { op, thread, kind, origin, order, waiters, made, cancelled, .. } = spawning;
        if self.coming.get(&thread) == Some(&op) {
            self.coming.remove(&thread);
        }
        let own = self.table.get(thread).filter(|entry| order == Some(entry.order));
        let (life, epoch) =
            own.map_or((None, None), |entry| (Some(entry.life()), Some(entry.epoch)));
        if let Some(mut fence) = made {
            // It may have crashed and come back meanwhile.
            fence.epoch = fence.epoch.max(epoch.unwrap_or_default());
            self.shared.store.undo_create(fence, Done::ignore());
        }
        let (joined, waiters): (Vec<Waiter>, Vec<Waiter>) =
            waiters.into_iter().partition(|waiter| waiter.joined);
        self.refuse(waiters, refusal);
        let comes = life == Some(Life::Coming { op });
        let who = self.recovery.take_who(thread);
        match life {
            Some(_) if comes && kind != Kind::Fresh && !cancelled => {
                self.not_back(thread, refusal);
            }
            Some(life) if comes || kind == Kind::Fresh => {
                if let (SpawnError::Damaged { reason, .. }, Some(entry)) =
                    (refusal, self.table.get(thread))
                {
                    self.show_damage(&entry.slot, reason);
                }
                self.take_back(thread, life, origin, made.is_some(), refusal);
            }
            _ => {}
        }
        if origin == SpawnOrigin::Recovery && kind == Kind::Fresh {
            self.recovery_failed(thread, refusal, who);
        } else {
            self.came_back(thread);
        }
        // They asked for what is in the store, and are told what is there now.
        for waiter in joined {
            self.join_again(thread, waiter);
        }
    }

    /// Removes the entry that an undone spawn had made, wherever it is by now, and what is below it.
    fn take_back(
        &mut self,
        thread: ThreadId,
        life: Life,
        origin: SpawnOrigin,
        new: bool,
        refusal: &SpawnError,
    ) {
        if let Life::Coming { op } = life
            && let Some(restart) = self.ops.get_mut(&op)
        {
            restart.cancelled = true;
            restart.taken_back = true;
        }
        if new {
            self.end_orphans(thread);
        }
        if let Some(entry) = self.table.get(thread) {
            if let Some(incarnation) = &entry.incarnation {
                incarnation.kill();
            }
            if *refusal == SpawnError::NoAnswer {
                self.publish(Some(&entry.slot), RuntimeEvent::SpawnUndone);
            }
        }
        // Of a new one nothing remains. One of the store that was to come up may have been closed
        // meanwhile: then nobody wrote its end.
        if matches!(origin, SpawnOrigin::New | SpawnOrigin::Fork) {
            return self.finish(thread, Rung::Drained, How::Completed, None);
        }
        let left = format!("its end could not be written: {refusal}");
        self.finish(thread, Rung::Drained, How::SubmitFailed, Some(&left));
    }

    pub(super) fn refuse(&self, waiters: Vec<Waiter>, refusal: &SpawnError) {
        let asked = waiters.iter().any(|waiter| !waiter.wakes);
        if asked && *refusal != SpawnError::NoAnswer {
            let reason = refusal.to_string();
            self.publish(None, RuntimeEvent::SpawnRefused { reason });
        }
        for waiter in waiters {
            waiter.reply.tell(Err(refusal.clone()));
        }
    }
}

impl Stored {
    /// Where it is in the table.
    pub(super) fn place(&self) -> Place {
        let (thread, lineage) = (&self.thread, &self.lineage);
        Place {
            thread: thread.id,
            parent: thread.parent.map(|(parent, _)| parent),
            root: lineage.root().unwrap_or(thread.id),
            depth: lineage.depth(),
            path: thread.path.clone(),
            tree: self.tree,
        }
    }
}
