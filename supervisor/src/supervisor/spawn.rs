//! The road of every new, resumed and forked thread: check, reserve, write, start, publish, answer.
//! Each step has an undo, and what misses its deadline is undone (P4, P8).

use std::sync::Arc;

use coppicer_actors::{
    About, Acquired, Done, Door, Fence, Line, Lineage, NewThread, Purse, Slot, StoredThread,
    ThreadMove, ThreadView,
};
use coppicer_messages::{
    Accepted, AdoptError, AgentPath, Asker, Charge, Deadline, Dimension, LeaseKind, LimitReached,
    NewRecord, Origin, ParentClose, PatchError, Reply, Restart, SpawnError, SpawnOrigin,
    SpawnThread, StoreError, Submission, SubmitError, SupervisorMsg, ThreadDetails, ThreadId,
    ThreadStatus, TreeLimits, TurnId,
};

use super::adopt::Surveyed;
use super::budgets::{AccountAbove, NotPaid};
use super::naming::{ListIn, Naming};
use super::plan::{Planned, meta_of, plan};
use super::recovery::Who;
use super::resting::ForRoom;
use super::table::{Entry, Life, Place, Rules};
use super::{Postponed, SupervisorState};
use crate::nicknames::Round;

/// Why a thread may not go on without its parent.
pub(super) const NEEDS_BUDGET: &str = "what goes on without its parent needs a budget of its own \
     for all that its parent is limited in";

/// A spawn, resume, fork, activation or restart that is under way.
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one spawn")]
pub(super) struct Spawning {
    pub(super) op: u64,
    pub(super) thread: ThreadId,
    pub(super) kind: Kind,
    pub(super) origin: SpawnOrigin,
    /// Those who wait for it. None waits for an activation or a restart.
    pub(super) waiters: Vec<Waiter>,
    /// Which entry it brings up; none while its thread is only looked up.
    pub(super) order: Option<u64>,
    pub(super) request: Option<Box<SpawnThread>>,
    /// A new thread: the right that undoes it.
    pub(super) made: Option<Fence>,
    /// What a new thread was paid out of.
    pub(super) above: Option<Purse>,
    /// What its making changes in ledgers.
    pub(super) charges: Vec<Charge>,
    /// Whether it counts as one that the store does not know yet.
    pub(super) being_made: bool,
    /// Whether a thread that was closed got its budget again for it.
    pub(super) reopened: bool,
    /// Changes of places before the store was asked for its thread.
    pub(super) places: u64,
    /// Whether a close came in between.
    pub(super) cancelled: bool,
    /// Whether the thread itself is taken back meanwhile: what is acquired is for its undoing.
    pub(super) taken_back: bool,
}

/// One who waits for a thread.
pub(super) struct Waiter {
    pub(super) reply: Reply<ThreadId, SpawnError>,
    /// What is submitted before it is answered.
    pub(super) first: Option<Submission>,
    /// Whether it joined the making of a new thread, as a resume.
    pub(super) joined: bool,
    /// Whether it only has something for the thread: one that is closed stays so.
    pub(super) wakes: bool,
}

/// What a spawning brings up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A thread whose entry was made for it. Undoing it removes the entry.
    Fresh,
    /// A dormant thread.
    Wake,
    /// A thread that crashed.
    Restart,
    /// A thread whose restarts are spent: it comes up only to sit parked.
    Parking,
}

/// A step that ran outside, and what it brought.
pub(super) enum Step {
    /// What a new thread or fork begins with.
    Planned(Result<Planned, SpawnError>),
    /// The store made a thread.
    Created(Result<Acquired, StoreError>),
    /// A stored thread, and what is above it.
    Found(Result<Stored, SpawnError>),
    /// One that is to come up by itself could not be looked up as a whole: who it is.
    FoundInPart { who: Box<Who>, refusal: SpawnError },
    /// A stored thread was acquired.
    Acquired(Result<Acquired, StoreError>),
    /// The same, and what closes its unfinished turn.
    Loaded(Result<(Acquired, Left), SpawnError>),
    /// The first submission was accepted or refused.
    FirstDone(Result<Accepted, SubmitError>),
    /// A thread that is to be closed and is not here was looked up in the store.
    CloseTarget(Result<Stored, SpawnError>),
    /// A page of threads that an earlier process left unfinished.
    Unfinished(Result<Vec<ThreadId>, StoreError>),
    /// Whether the last significant child of a thread has ended.
    LastSignificant { parent: ThreadId, last: Result<bool, StoreError> },
    /// A thread gave up its actor, or did not.
    Slept { thread: ThreadId, asleep: bool },
    /// A thread that is to be patched was looked up, and whether its new path is taken.
    PatchChecked(Result<Stored, PatchError>),
    /// The store wrote that a thread was funded.
    Funded(Result<(), StoreError>),
    /// Where a thread stands that is damaged and in the store alone, as far as the store could say.
    DamagedPlace { thread: ThreadId, what: String, about: Box<About> },
    /// Which names of a list may still be given in a tree.
    Names { of: ListIn, found: Result<Round, StoreError> },
    /// How many threads the store knows.
    Counted(Result<u64, StoreError>),
    /// What the store says of a thread that is to be moved.
    Surveyed(Result<Box<Surveyed>, AdoptError>),
    /// The store wrote a move.
    Moved(Result<(), StoreError>),
    /// Which threads below one that closes go on and sleep in the store alone.
    Detaching(Result<Vec<Stored>, SpawnError>),
    /// A thread that goes on from a close and sleeps in the store alone, if its account has to be written.
    GoesOn { thread: ThreadId, result: Result<Box<Stored>, SpawnError> },
    /// The store wrote where a thread is, or could not and is asked again.
    Placed { to: Box<ThreadMove>, result: Result<(), StoreError> },
    /// The store patched a thread.
    Patched(Result<StoredThread, StoreError>),
}

/// What a dead incarnation left open in the history of its thread.
#[derive(Default)]
pub(super) struct Left {
    /// Records that close it.
    pub(super) records: Vec<NewRecord>,
    /// The turn, and how many records it had written.
    pub(super) turn: Option<(TurnId, u64)>,
}

/// A thread as the store has it.
pub(super) struct Stored {
    pub(super) thread: StoredThread,
    /// What is above it.
    pub(super) lineage: Lineage,
    /// Whether it was closed itself, or taken out of its tree.
    pub(super) is_closed: bool,
    /// Whether something above it was.
    pub(super) closed_above: bool,
    /// The accounts above it, nearest first.
    pub(super) accounts: Vec<AccountAbove>,
    /// What its root allows.
    pub(super) tree: TreeLimits,
    /// Those above it that go on when their parents are closed, and their paths.
    pub(super) apart: Vec<(ThreadId, Option<AgentPath>)>,
    /// Its path, if it is closed and another thread has taken that since.
    pub(super) lost_name: Option<AgentPath>,
}

impl SupervisorState {
    pub(super) fn on_spawn(
        &mut self,
        request: Box<SpawnThread>,
        asker: Option<Asker>,
        reply: Reply<ThreadId, SpawnError>,
    ) {
        let now = self.now();
        if reply.expired(now.instant) {
            return; // P4: nobody waits for it any more
        }
        match self.check(&request, asker) {
            Ok(()) => {}
            Err(refusal) => return self.refuse(vec![Waiter::new(reply)], &refusal),
        }
        match request.origin.clone() {
            Origin::Resume { thread, rollout_path } => {
                self.resume(thread, rollout_path.as_deref(), request, asker, reply);
            }
            _ => self.make(request, asker, reply),
        }
    }

    /// Whether a request may be taken up at all.
    pub(super) fn check_room(&self) -> Result<(), SpawnError> {
        if self.ended || self.closing_all > 0 {
            return Err(SpawnError::RuntimeEnded);
        }
        let waiting = self.postponed.len()
            + self.waiting.len()
            + self.naming.values().map(Naming::len).sum::<usize>();
        let changes = self.patches.len() + self.moves.len() + self.held_back.len();
        let under_way =
            self.ops.len() + self.closes.len() + changes + self.for_room.len() + waiting;
        let max = self.shared.limits.supervisor_requests_max;
        if under_way >= max {
            return Err(SpawnError::Limit(LimitReached {
                limit: "supervisor_requests_max",
                value: max as u64,
                holders: Vec::new(),
                retry_after: Some(std::time::Duration::from_millis(100)),
                advice: "ask again when some requests are answered",
            }));
        }
        Ok(())
    }

    fn check(&self, request: &SpawnThread, asker: Option<Asker>) -> Result<(), SpawnError> {
        self.check_room()?;
        if let Some(asker) = asker {
            let current =
                self.table.get(asker.thread).is_some_and(|entry| entry.epoch == asker.epoch);
            if !current {
                return Err(SpawnError::Fenced);
            }
        }
        if request.config.significant && request.config.restart.restart == Restart::Permanent {
            return Err(SpawnError::BadConfig {
                field: "significant",
                reason: "a permanent thread never ends by itself; let it be transient or temporary",
            });
        }
        if request.config.parent_close == ParentClose::Detach
            && let Some(above) = self.purse_above(request.parent)
        {
            let own = request.config.budget.unwrap_or_default();
            let of = |what: &Dimension| above.draws_on(*what).is_some() && own.of(*what).is_none();
            if Dimension::ALL.iter().any(of) {
                let (field, reason) = ("parent_close", NEEDS_BUDGET);
                return Err(SpawnError::BadConfig { field, reason });
            }
        }
        if let Some(parent) = request.parent {
            // One that sleeps went to sleep right now, and is woken.
            let is_up = |entry: &Entry| matches!(entry.life(), Life::Live | Life::Dormant);
            if !self.table.get(parent).is_some_and(is_up) {
                return Err(SpawnError::ParentGone { parent });
            }
            if let Some(thread) = self.table.closing_above(parent) {
                return Err(SpawnError::Closing { thread });
            }
        }
        Ok(())
    }

    // New threads and forks.

    fn make(
        &mut self,
        mut request: Box<SpawnThread>,
        asker: Option<Asker>,
        reply: Reply<ThreadId, SpawnError>,
    ) {
        if let Some(list) = self.names_to_read(&request) {
            return self.read_names(list, Postponed { request, asker, reply });
        }
        if self.is_full() && self.make_room() {
            let postponed = Postponed { request, asker, reply };
            return self.for_room.push_back(ForRoom::Spawn(postponed));
        }
        let now = self.now();
        let thread = request.id.unwrap_or_else(|| self.shared.ids.thread(now.at_ms));
        let place = self.place(thread, &request);
        let paid = place.and_then(|place| Ok((place, self.pay(thread, &request)?)));
        let (place, (purse, charges)) = match paid {
            Ok(paid) => paid,
            Err(unpaid) => return self.refuse_or_wait(request, asker, reply, unpaid),
        };
        self.name(&place, &mut request);
        let above = self.purse_above(request.parent);
        self.bound_tree(&place);
        let lineage = self.lineage_below(request.parent);
        let mut view = ThreadView::of(thread);
        view.parent = request.parent;
        view.path.clone_from(&place.path);
        view.nickname.clone_from(&request.config.nickname);
        view.role.clone_from(&request.config.role);
        view.depth = place.depth;
        view.internal = request.config.internal;
        if let Origin::Fork { from, .. } = &request.origin {
            view.forked_from = Some(*from);
        }
        let slot = self.new_slot(place.path.clone(), lineage, view);
        slot.set_purse(purse);
        let op = self.new_op();
        let lease = self.shared.leases.grant_to(LeaseKind::Slot, slot.holdings());
        self.directory.reserve(slot.clone());
        let depth = place.depth;
        let path = place.path.clone();
        let root = place.root;
        let rules = Rules::of(&request.config);
        let order = self.table.insert(place, slot, rules, Life::Coming { op }, lease);
        if let Some(name) = &request.config.nickname {
            self.table.take_nickname(root, name);
        }
        if let Some(entry) = self.table.get_mut(thread) {
            entry.making = Some(op);
        }
        if let Some(parent) = request.parent {
            self.table.note_spawn(root, now.instant);
            self.wake_for_child(parent);
        }
        self.making();
        let origin = match &request.origin {
            Origin::Fork { .. } => SpawnOrigin::Fork,
            _ => SpawnOrigin::New,
        };
        let meta = meta_of(thread, &request, depth, path.as_ref());
        let deadline = reply.deadline();
        if let Origin::Fork { from, at } = request.origin.clone() {
            let source = self.directory.find(from);
            let shared = self.shared.clone();
            let subagent = request.parent == Some(from);
            let plan = async move {
                Step::Planned(plan(&shared, source, from, at, subagent, deadline, meta).await)
            };
            self.outside(op, plan);
        } else {
            let records = vec![Line::session_meta(now.at_ms, &meta)];
            let planned = Planned { base: None, records, settled: true, preview: None };
            self.create(op, thread, &request, depth, path, planned, charges.clone());
        }
        let mut spawning = Spawning::new(op, thread, Kind::Fresh, origin, vec![Waiter::new(reply)]);
        spawning.order = Some(order);
        spawning.request = Some(request);
        (spawning.above, spawning.charges, spawning.being_made) = (above, charges, true);
        self.ops.insert(op, spawning);
    }

    /// Where the thread is to be put, if it may be.
    fn place(&self, thread: ThreadId, request: &SpawnThread) -> Result<Place, NotPaid> {
        let parent = request.parent.and_then(|parent| self.table.get(parent));
        let depth = parent.map_or(0, |entry| entry.slot.about().depth + 1);
        let path = match (&request.name, parent) {
            (None, _) => None,
            (Some(name), None) => Some(AgentPath::root().join(name).map_err(SpawnError::from)?),
            (Some(name), Some(entry)) => {
                let above = entry.path.clone().unwrap_or_else(AgentPath::root);
                Some(above.join(name).map_err(SpawnError::from)?)
            }
        };
        let root = parent.map_or(thread, |entry| entry.root);
        let tree = self.table.tree_limits(root).unwrap_or(request.config.tree);
        let place = Place { thread, parent: request.parent, root, depth, path, tree };
        self.admit_new(&place)?;
        Ok(place)
    }

    /// Gives a sub-agent that has none a name for people, and a root that asks for one.
    fn name(&mut self, place: &Place, request: &mut SpawnThread) {
        let wants = request.parent.is_some() || request.nicknamed;
        if !wants || request.config.nickname.is_some() {
            return;
        }
        let candidates = self.nicknames.candidates(request.config.role.as_deref());
        let pick = |free| self.shared.ids.below(free);
        let name = self.table.choose_nickname(place.root, candidates, pick);
        request.config.nickname = Some(name);
    }

    fn lineage_below(&self, parent: Option<ThreadId>) -> Lineage {
        let entry = parent.and_then(|parent| self.table.get(parent));
        entry.map_or_else(Lineage::default, |entry| {
            let about = entry.slot.about();
            about.lineage.below(about.thread)
        })
    }

    pub(super) fn new_slot(
        &self,
        path: Option<AgentPath>,
        lineage: Lineage,
        view: ThreadView,
    ) -> Arc<Slot> {
        let about =
            About { thread: view.thread, parent: view.parent, path, depth: view.depth, lineage };
        Arc::new(Slot::new(Arc::new(about), view, self.shared.slots.clone(), Door::Open))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one thread")]
    pub(super) fn create(
        &self,
        op: u64,
        thread: ThreadId,
        request: &SpawnThread,
        depth: u32,
        path: Option<AgentPath>,
        planned: Planned,
        charges: Vec<Charge>,
    ) {
        let mut new = NewThread {
            id: thread,
            parent: request.parent,
            base: planned.base,
            depth,
            path,
            config: request.config.shared(),
            status: ThreadStatus::PendingInit,
            rollout_path: None,
            details: ThreadDetails::default(),
            settled: planned.settled,
            charges,
            created_ms: self.now().at_ms,
        };
        new.details.preview = planned.preview;
        let uplink = self.shared.uplink.clone();
        let done = Done::new(move |result| {
            let step = Box::new(Step::Created(result));
            uplink.send(SupervisorMsg::StepDone { op, step });
        });
        self.shared.store.create(new, planned.records, done);
    }
}

impl Spawning {
    pub(super) fn deadline(&self, state: &SupervisorState) -> Deadline {
        let latest = self.waiters.iter().map(|waiter| waiter.reply.deadline()).max();
        latest.unwrap_or_else(|| state.shared.clock.deadline(state.shared.limits.call_timeout))
    }

    pub(super) const fn new(
        op: u64,
        thread: ThreadId,
        kind: Kind,
        origin: SpawnOrigin,
        waiters: Vec<Waiter>,
    ) -> Self {
        Self {
            op,
            thread,
            kind,
            origin,
            waiters,
            order: None,
            request: None,
            made: None,
            above: None,
            charges: Vec::new(),
            being_made: false,
            reopened: false,
            places: 0,
            cancelled: false,
            taken_back: false,
        }
    }
}

impl Waiter {
    /// One who waits for a thread and submits nothing to it.
    pub(super) const fn new(reply: Reply<ThreadId, SpawnError>) -> Self {
        Self { reply, first: None, joined: false, wakes: false }
    }

    /// One who has something for a thread, if it is not closed.
    pub(super) const fn waking(reply: Reply<ThreadId, SpawnError>) -> Self {
        Self { reply, first: None, joined: false, wakes: true }
    }
}

pub(super) fn spawn_error(thread: ThreadId, error: StoreError) -> SpawnError {
    match error {
        StoreError::NotFound { thread: missing } if missing == thread => {
            SpawnError::NotFound { thread }
        }
        StoreError::Exists { thread } => SpawnError::Exists { thread },
        StoreError::BadParent { parent, .. } => SpawnError::ParentGone { parent },
        StoreError::PathTaken { path, .. } => SpawnError::PathTaken { path },
        StoreError::Corrupt { seq, reason, .. } => {
            SpawnError::Damaged { thread, reason: format!("record {seq}: {reason}") }
        }
        error => SpawnError::Store(error),
    }
}
