//! Threads of the store: resumes, activations, and those who wait for them.

use coppicer_actors::{
    Acquired, Arrival, Done, EdgeStatus, Lineage, MarkerKind, StoredThread, ThreadStore,
    close_turn, first_submission, open_turn,
};
use coppicer_messages::{
    AbortReason, AgentPath, Asker, ParentClose, Reply, SpawnError, SpawnOrigin, SpawnThread,
    StoreError, SubmitError, SupervisorMsg, ThreadId, ThreadStatus,
};

use super::budgets::AccountAbove;
use super::recovery::Who;
use super::resting::ForRoom;
use super::spawn::{Kind, Left, Spawning, Step, Stored, Waiter, spawn_error};
use super::table::{Entry, Life};
use super::{Postponed, SupervisorState};

impl SupervisorState {
    pub(super) fn resume(
        &mut self,
        thread: ThreadId,
        rollout_path: Option<&str>,
        mut request: Box<SpawnThread>,
        asker: Option<Asker>,
        reply: Reply<ThreadId, SpawnError>,
    ) {
        if let Some(entry) = self.table.get(thread) {
            if entry.closing {
                // The old life ends first.
                let postponed = Postponed { request, asker, reply };
                self.postpone(thread, postponed);
                return;
            }
            let has = entry.slot.rollout_path();
            if rollout_path.is_some_and(|wanted| has.as_deref() != Some(wanted)) {
                return self.refuse(vec![Waiter::new(reply)], &SpawnError::PathMismatch { thread });
            }
        }
        let first = request.first.take();
        self.join(thread, Waiter { first, ..Waiter::new(reply) });
    }

    /// Has a request wait for the end of an earlier life of its thread.
    fn postpone(&mut self, thread: ThreadId, postponed: Postponed) {
        let now = self.now().instant;
        self.postponed.add(thread, postponed, |postponed| !postponed.reply.expired(now));
    }

    /// As a resume that is made now.
    pub(super) fn join_again(&mut self, thread: ThreadId, waiter: Waiter) {
        if self.ended || self.closing_all > 0 {
            return self.refuse(vec![waiter], &SpawnError::RuntimeEnded);
        }
        if waiter.wakes {
            return self.wake(thread, waiter);
        }
        if self.table.get(thread).is_some_and(|entry| entry.closing) {
            let mut request = Box::new(SpawnThread::resume(thread));
            request.first = waiter.first;
            let postponed = Postponed { request, asker: None, reply: waiter.reply };
            self.postpone(thread, postponed);
            return;
        }
        self.join(thread, waiter);
    }

    /// Has `waiter` wait for a thread, which is brought up if it does not come by itself.
    pub(super) fn join(&mut self, thread: ThreadId, mut waiter: Waiter) {
        let Some(life) = self.table.get(thread).map(Entry::life) else {
            let origin = if waiter.wakes { SpawnOrigin::Activation } else { SpawnOrigin::Resume };
            if let Some(op) = self.coming.get(&thread).and_then(|op| self.ops.get_mut(op)) {
                if origin == SpawnOrigin::Resume {
                    op.origin = origin;
                }
                return op.waiters.push(waiter); // single flight
            }
            return self.find(thread, origin, vec![waiter]);
        };
        match life {
            Life::Live => {
                self.welcome(thread, vec![waiter]);
            }
            Life::Coming { op } => {
                if let Some(op) = self.ops.get_mut(&op) {
                    waiter.joined = op.request.is_some();
                    op.waiters.push(waiter);
                }
            }
            // It comes by itself, and they are answered then.
            Life::Backoff { .. } | Life::AwaitParent | Life::AwaitSibling | Life::AwaitStore => {
                let now = self.now().instant;
                self.waiting.add(thread, waiter, |waiting| !waiting.reply.expired(now));
            }
            Life::Dormant | Life::Lost => {
                let origin =
                    if waiter.wakes { SpawnOrigin::Activation } else { SpawnOrigin::Resume };
                self.wake_up(thread, origin, vec![waiter]);
            }
        }
    }

    /// Answers those who waited for a thread that is up, each after its submission was accepted. A
    /// refused one is told so; the thread, which was there before, stays up. Whether anybody took it.
    pub(super) fn welcome(&self, thread: ThreadId, waiters: Vec<Waiter>) -> bool {
        let Some(entry) = self.table.get(thread) else { return false };
        let mut taken = false;
        for Waiter { reply, first, .. } in waiters {
            let Some(first) = first else {
                taken |= reply.send(Ok(thread)).is_ok();
                continue;
            };
            if reply.expired(self.now().instant) {
                continue; // P4
            }
            taken = true;
            let deadline = reply.deadline();
            let slot = &entry.slot;
            let comes = Arrival::of(&first.op);
            let make = || first_submission(self.world.turns(), slot, first, deadline);
            match slot.submit(comes, make) {
                Ok(answer) => drop(tokio::spawn(async move {
                    let accepted = answer.wait().await.map(|_| thread);
                    reply.tell(accepted.map_err(first_refused));
                })),
                Err(refusal) => reply.tell(Err(first_refused(refusal))),
            }
        }
        taken
    }

    pub(super) fn find(&mut self, thread: ThreadId, origin: SpawnOrigin, waiters: Vec<Waiter>) {
        let op = self.new_op();
        let mut spawning = Spawning::new(op, thread, Kind::Fresh, origin, waiters);
        spawning.places = self.places.now();
        self.ops.insert(op, spawning);
        self.coming.insert(thread, op);
        let store = self.shared.store.clone();
        let depth_max = self.shared.limits.depth_max;
        self.outside(op, async move {
            let found = async {
                let mut found = look_up(&*store, thread, depth_max).await?;
                found.lost_name = lost_name(&*store, &found).await?;
                Ok(found)
            };
            match found.await {
                Err(refusal) if origin == SpawnOrigin::Recovery => {
                    match store.thread(thread).await {
                        Ok(stored) => {
                            Step::FoundInPart { who: Box::new(Who::of(&stored)), refusal }
                        }
                        Err(_) => Step::Found(Err(refusal)),
                    }
                }
                found => Step::Found(found),
            }
        });
    }

    /// Acquires a thread that has a slot, and reads what closes its unfinished turn.
    pub(super) fn load(
        &mut self,
        thread: ThreadId,
        origin: SpawnOrigin,
        mut waiters: Vec<Waiter>,
        kind: Kind,
    ) {
        let op = self.new_op();
        let Some(order) = self.table.get(thread).map(|entry| entry.order) else { return };
        self.table.set_life(thread, Life::Coming { op });
        waiters.extend(self.waiting.take(thread));
        let mut spawning = Spawning::new(op, thread, kind, origin, waiters);
        spawning.order = Some(order);
        spawning.places = self.places.now();
        self.ops.insert(op, spawning);
        self.acquire(op, thread);
    }

    pub(super) fn acquire(&self, op: u64, thread: ThreadId) {
        let uplink = self.shared.uplink.clone();
        // It holds no store: the store itself may be the last who has it.
        let done = Done::new(move |acquired| {
            let step = Box::new(Step::Acquired(acquired));
            uplink.send(SupervisorMsg::StepDone { op, step });
        });
        self.shared.store.acquire(thread, done);
    }

    /// A stored thread was acquired: what it has left open is read, if it has.
    pub(super) fn on_acquired(&mut self, op: u64, acquired: Result<Acquired, StoreError>) {
        let Some(thread) = self.ops.get(&op).map(|spawning| spawning.thread) else { return };
        match acquired {
            Ok(acquired) if acquired.thread.settled != acquired.thread.head => {
                let (store, clock) = (self.shared.store.clone(), self.shared.clock.clone());
                self.outside(op, async move {
                    let StoredThread { settled, head, .. } = acquired.thread;
                    let open = store.read_range(thread, settled, Some(head)).await;
                    let loaded = open.map(|open| {
                        let (now_ms, marker) = (clock.now().at_ms, MarkerKind::ContextualUser);
                        let records = close_turn(&open, AbortReason::Interrupted, marker, now_ms);
                        (acquired, Left { records, turn: open_turn(&open) })
                    });
                    Step::Loaded(loaded.map_err(|error| spawn_error(thread, error)))
                });
            }
            acquired => {
                let loaded = acquired.map(|acquired| (acquired, Left::default()));
                let loaded = loaded.map_err(|error| spawn_error(thread, error));
                self.on_step(op, Step::Loaded(loaded));
            }
        }
    }

    pub(super) fn on_activate(&mut self, thread: ThreadId) {
        if self.ended {
            return;
        }
        let Some(entry) = self.table.get_mut(thread) else {
            // There is mail for it that starts a turn.
            if self.closing_all == 0 && !self.coming.contains_key(&thread) {
                self.find(thread, SpawnOrigin::Activation, Vec::new());
            }
            return;
        };
        if entry.closing {
            return;
        }
        match entry.life() {
            Life::Dormant => self.wake_up(thread, SpawnOrigin::Activation, Vec::new()),
            Life::Lost => self.load(thread, SpawnOrigin::Activation, Vec::new(), Kind::Parking),
            // Its actor is on its way out: `on_ended` sees to it.
            Life::Live => entry.wanted = true,
            Life::Coming { .. }
            | Life::Backoff { .. }
            | Life::AwaitParent
            | Life::AwaitSibling
            | Life::AwaitStore => {}
        }
    }

    /// Somebody has something for a thread that had no slot when they looked.
    pub(super) fn on_wake(&mut self, thread: ThreadId, reply: Reply<ThreadId, SpawnError>) {
        if reply.expired(self.now().instant) {
            return; // P4
        }
        if let Err(refusal) = self.check_room() {
            return reply.tell(Err(refusal));
        }
        self.wake(thread, Waiter::waking(reply));
    }

    fn wake(&mut self, thread: ThreadId, waiter: Waiter) {
        match self.table.get(thread).map(|entry| (entry.closing, entry.life())) {
            Some((true, _)) => waiter.reply.tell(Err(SpawnError::Closed { thread })),
            None | Some((_, Life::Coming { .. } | Life::Dormant)) => self.join(thread, waiter),
            // It has a slot by now: its inbox takes what comes, and wakes it.
            Some(_) => waiter.reply.tell(Ok(thread)),
        }
    }

    /// Whoever has a sub-agent that is awake is awake.
    pub(super) fn wake_for_child(&mut self, parent: ThreadId) {
        if self.table.get(parent).is_some_and(|entry| entry.life() == Life::Dormant) {
            self.wake_up(parent, SpawnOrigin::Activation, Vec::new());
        }
    }

    /// Gives a dormant thread its actor, once there is room for one.
    pub(super) fn wake_up(&mut self, thread: ThreadId, origin: SpawnOrigin, waiters: Vec<Waiter>) {
        if !self.is_full() {
            return self.load(thread, origin, waiters, Kind::Wake);
        }
        // What waits in its inbox cannot be refused any more, and waits for room.
        if self.make_room() || waiters.is_empty() {
            return self.for_room.push_back(ForRoom::Load { thread, origin, waiters });
        }
        let refusal = self.no_room();
        self.refuse(waiters, &refusal);
    }
}

/// A thread in the store, with what is above it.
pub(super) async fn look_up(
    store: &dyn ThreadStore,
    thread: ThreadId,
    depth_max: u32,
) -> Result<Stored, SpawnError> {
    let stored = store.thread(thread).await.map_err(|error| spawn_error(thread, error))?;
    let is_out = |stored: &StoredThread| {
        stored.status == ThreadStatus::Shutdown
            || matches!(stored.parent, Some((_, EdgeStatus::Closed)))
    };
    let mut closed_above = false;
    let mut accounts = Vec::new();
    let mut tree = stored.config.tree;
    let (mut above, mut apart) = (Vec::new(), Vec::new());
    let mut at = stored.parent;
    while let Some((parent, _)) = at {
        if above.contains(&parent) || parent == thread || above.len() as u32 >= depth_max {
            let reason = format!("its parents make a cycle at {parent}");
            return Err(SpawnError::Damaged { thread, reason });
        }
        above.push(parent);
        at = match store.thread(parent).await {
            Ok(stored) => {
                closed_above |= is_out(&stored);
                tree = stored.config.tree;
                if stored.config.parent_close == ParentClose::Detach {
                    apart.push((parent, stored.path.clone()));
                }
                let closed = stored.status == ThreadStatus::Shutdown;
                let account = |ledger| AccountAbove { thread: parent, ledger, closed };
                accounts.extend(stored.ledger.map(account));
                stored.parent
            }
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(SpawnError::Store(error)),
        };
    }
    let lineage = above.iter().rev().fold(Lineage::default(), |above, &id| above.below(id));
    let is_closed = is_out(&stored);
    let lost_name = None;
    Ok(Stored {
        thread: stored,
        lineage,
        is_closed,
        closed_above,
        accounts,
        tree,
        apart,
        lost_name,
    })
}

/// The path of a closed thread that another one of its tree has by now: what is closed has given
/// its name up.
async fn lost_name(
    store: &dyn ThreadStore,
    stored: &Stored,
) -> Result<Option<AgentPath>, SpawnError> {
    let thread = &stored.thread;
    let (true, Some(root), Some(path)) = (stored.is_closed, stored.lineage.root(), &thread.path)
    else {
        return Ok(None);
    };
    let holder = store.at_path(root, path).await.map_err(SpawnError::Store)?;
    Ok(holder.filter(|holder| *holder != thread.id).map(|_| path.clone()))
}

fn first_refused(refusal: SubmitError) -> SpawnError {
    SpawnError::FirstSubmission(Box::new(refusal))
}
