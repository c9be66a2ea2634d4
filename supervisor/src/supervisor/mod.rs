//! The supervisor: owns the table of threads, admission, restarts and closing.
//!
//! - Inbox: [`SupervisorMsg`].
//! - Starts: thread actors, linked under their parent's actor (roots under this one); short tasks
//!   that wait for the store and come back with a notice. Its handlers never wait.
//! - Publishes: [`RuntimeEvent`], and the directory.
//! - Dies: when the runtime ends.

mod adopt;
mod budgets;
mod close;
mod closing;
mod comebacks;
mod counting;
mod ended;
mod explaining;
mod falling;
mod fencing;
mod held;
mod idle;
mod line;
mod moving;
mod naming;
mod patching;
mod places;
mod plan;
mod rate;
mod recovery;
mod resting;
mod resume;
mod siblings;
mod spawn;
mod steps;
mod table;
mod times;
mod trouble;
mod unsettled;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};

use coppicer_actors::{About, Account, Slot, ThreadMove, ThreadWorld, Uplink};
use coppicer_messages::{
    Asker, CloseError, EventKind, Fact, LeaseBook, Limits, Now, Phase, Reply, RuntimeEvent,
    SpawnError, SpawnThread, StoreTrouble, SupervisorMsg, SupervisorTick, ThreadEvent, ThreadId,
    ThreadStatus,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::directory::Directory;
use crate::nicknames::Nicknames;
use adopt::Adopting;
use budgets::Funding;
use close::Place;
use closing::CloseOp;
use comebacks::Comebacks;
use counting::Registered;
use fencing::Fences;
use held::Held;
use idle::IdleQueue;
use line::{Lines, Owner};
use naming::{ListIn, Naming};
use patching::Patching;
use places::Places;
pub use recovery::Recover;
use recovery::Recovery;
use resting::ForRoom;
use siblings::Siblings;
use spawn::{Spawning, Step, Waiter};
use table::Table;
use times::Times;
use unsettled::Unsettled;

pub(crate) struct SupervisorActor;

/// What the supervisor lives on.
pub(crate) struct SupervisorArgs {
    pub(crate) world: ThreadWorld,
    pub(crate) directory: Arc<Directory>,
    pub(crate) shared: Shared,
    pub(crate) recover: Recover,
    pub(crate) nicknames: Nicknames,
    /// Where the uplink finds this actor.
    pub(crate) to: Arc<OnceLock<ActorRef<SupervisorMsg>>>,
}

/// What the supervisor and the runtime's handles share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) clock: Arc<coppicer_actors::Clock>,
    pub(crate) ids: Arc<coppicer_actors::IdSource>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) leases: Arc<LeaseBook>,
    pub(crate) hub: Arc<coppicer_actors::TapHub>,
    pub(crate) store: Arc<dyn coppicer_actors::ThreadStore>,
    pub(crate) uplink: Uplink,
    pub(crate) slots: Arc<coppicer_actors::SlotCommon>,
}

/// A request that waits for the end of an earlier life of its thread.
struct Postponed {
    request: Box<SpawnThread>,
    asker: Option<Asker>,
    reply: Reply<ThreadId, SpawnError>,
}

pub(crate) struct SupervisorState {
    world: ThreadWorld,
    directory: Arc<Directory>,
    shared: Shared,
    table: Table,
    nicknames: Nicknames,
    ops: HashMap<u64, Spawning>,
    /// Resumes under way, by thread: a second one joins the first.
    coming: HashMap<ThreadId, u64>,
    closes: BTreeMap<u64, CloseOp>,
    times: Times,
    /// Threads of closes whose children have ended, to be told next.
    to_tell: VecDeque<(u64, Place)>,
    /// Threads of closes that were answered and have not ended, to be fenced off next.
    fences: Fences,
    /// Whether a notice to go on with both is on its way.
    telling_on: bool,
    postponed: Held<Postponed>,
    /// Those who wait for threads that come back by themselves.
    waiting: Held<Waiter>,
    /// Threads that are down with a sibling.
    siblings: Siblings,
    /// What comes up without being asked for.
    comebacks: Comebacks,
    recovery: Recovery,
    /// Why the store has said that it cannot write.
    store_ails: Option<StoreTrouble>,
    /// Damaged threads that are looked up now.
    damaged_looks: usize,
    /// Threads with an actor, by when each may have been idle for long enough.
    idle: IdleQueue,
    /// Threads that were asked to give up their actor and have not answered.
    unloading: usize,
    /// What waits until a thread gives up its actor, and whether to look at it.
    for_room: VecDeque<ForRoom>,
    room_came: bool,
    patches: HashMap<u64, Patching>,
    /// Spawns that wait for the names of a list.
    naming: HashMap<ListIn, Naming>,
    moves: HashMap<u64, Adopting>,
    /// Changes of places: what the store said of a thread before one may be old.
    places: Places,
    /// Threads that were looked up and hang below one whose place the store does not have yet.
    held_back: Vec<ForRoom>,
    /// Places of threads that the store could not write.
    owed: BTreeMap<ThreadId, ThreadMove>,
    /// Accounts that moves change which the store has not written.
    unsettled: Unsettled,
    /// Accounts that somebody draws on.
    accounts: HashMap<ThreadId, Weak<Account>>,
    /// How many of them there are before those that nobody draws on are dropped.
    accounts_tidy_at: usize,
    fundings: HashMap<u64, Funding>,
    /// Those who wait for a limit to pass, and whose line is served right now.
    lines: Lines<Postponed>,
    serving: Option<Owner>,
    /// How many threads the store knows.
    registered: Registered,
    /// Closes of everything under way: nothing new starts.
    closing_all: u32,
    ended: bool,
    /// Those who wait for the end of the runtime.
    ending: Vec<Reply<(), CloseError>>,
    next_op: u64,
    myself: ActorRef<SupervisorMsg>,
}

impl Actor for SupervisorActor {
    type Msg = SupervisorMsg;
    type State = SupervisorState;
    type Arguments = SupervisorArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<SupervisorMsg>,
        args: SupervisorArgs,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        drop(args.to.set(myself.clone()));
        let comebacks = Comebacks::new(args.shared.limits.recoveries_max);
        Ok(SupervisorState {
            world: args.world,
            directory: args.directory,
            shared: args.shared,
            table: Table::default(),
            nicknames: args.nicknames,
            ops: HashMap::new(),
            coming: HashMap::new(),
            closes: BTreeMap::new(),
            times: Times::default(),
            to_tell: VecDeque::new(),
            fences: Fences::default(),
            telling_on: false,
            postponed: Held::default(),
            waiting: Held::default(),
            siblings: Siblings::default(),
            comebacks,
            recovery: Recovery::new(args.recover),
            store_ails: None,
            damaged_looks: 0,
            idle: IdleQueue::default(),
            unloading: 0,
            for_room: VecDeque::new(),
            room_came: false,
            patches: HashMap::new(),
            naming: HashMap::new(),
            moves: HashMap::new(),
            places: Places::default(),
            held_back: Vec::new(),
            owed: BTreeMap::new(),
            unsettled: Unsettled::default(),
            accounts: HashMap::new(),
            accounts_tidy_at: budgets::TIDY_MIN,
            fundings: HashMap::new(),
            lines: Lines::default(),
            serving: None,
            registered: Registered::default(),
            closing_all: 0,
            ended: false,
            ending: Vec::new(),
            next_op: 0,
            myself,
        })
    }

    async fn post_start(
        &self,
        _myself: ActorRef<SupervisorMsg>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.count_again();
        state.bring_back();
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<SupervisorMsg>,
        msg: SupervisorMsg,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        // A panic in a handler is a defect; it must not take every thread down with it.
        let name = msg.name();
        let handled = catch_unwind(AssertUnwindSafe(|| {
            state.take(msg);
            state.go_on_closing();
            state.serve_room();
            state.serve_lines();
            state.bring_back();
        }));
        if handled.is_err() {
            tracing::error!(msg = name, "the supervisor panicked, and goes on");
            state.set_timer();
        }
        state.tell_on();
        Ok(())
    }

    /// Threads tell their own end ([`SupervisorMsg::ThreadEnded`]), whichever way they die and
    /// whoever they are linked to. ractor's default handler would stop this actor with the first
    /// thread that ends.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<SupervisorMsg>,
        _event: SupervisionEvent,
        _state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl SupervisorState {
    fn take(&mut self, msg: SupervisorMsg) {
        match msg {
            SupervisorMsg::Spawn { request, asker, reply } => self.on_spawn(request, asker, reply),
            SupervisorMsg::Activate { thread } => self.on_activate(thread),
            SupervisorMsg::Wake { thread, reply } => self.on_wake(thread, reply),
            SupervisorMsg::Patch { thread, patch, reply } => self.on_patch(thread, *patch, reply),
            SupervisorMsg::Fund { thread, more, reply } => self.on_fund(thread, more, reply),
            SupervisorMsg::Adopt { thread, parent, asker, reply } => {
                self.on_adopt(thread, parent, asker, reply);
            }
            SupervisorMsg::Registered { more } => self.on_registered(more),
            SupervisorMsg::Explain { thread, reply } => self.on_explain(thread, reply),
            SupervisorMsg::Stuck { thread, epoch, cause } => self.on_stuck(thread, epoch, cause),
            SupervisorMsg::LetGo { thread } => self.let_go(thread),
            SupervisorMsg::StoreAiling { trouble, reason } => {
                self.on_store_ailing(trouble, reason);
            }
            SupervisorMsg::StoreWell => self.on_store_well(),
            SupervisorMsg::StoreDamaged { thread, seq, reason } => {
                self.on_store_damaged(thread, seq, &reason);
            }
            SupervisorMsg::Close { scope, drain, reply } => self.on_close(scope, drain, reply),
            SupervisorMsg::CloseItself { thread, epoch } => self.on_close_itself(thread, epoch),
            SupervisorMsg::TurnCrashed { thread, epoch, spent } => {
                self.on_turn_crashed(thread, epoch, spent.as_deref());
            }
            SupervisorMsg::End { reply } => self.on_end(reply),
            SupervisorMsg::StepDone { op, step } => {
                if let Ok(step) = step.downcast::<Step>() {
                    self.on_step(op, *step);
                } else {
                    tracing::error!(op, "a step of another type was dropped");
                }
            }
            SupervisorMsg::ThreadEnded { thread, epoch, how } => self.on_ended(thread, epoch, how),
            SupervisorMsg::Tick { tick: SupervisorTick::TimeDue } => self.on_time_due(),
            SupervisorMsg::Tick { tick: SupervisorTick::CloseDue(close) } => {
                self.on_close_due(close);
            }
            SupervisorMsg::Tick { tick: SupervisorTick::TellBy(close) } => self.on_tell_by(close),
            SupervisorMsg::Tick { tick: SupervisorTick::TellOn } => self.telling_on = false,
            SupervisorMsg::Tick { tick: SupervisorTick::EndDue } => self.on_end_due(),
            SupervisorMsg::Tick { tick: SupervisorTick::ComebackDue } => self.on_comeback_due(),
            SupervisorMsg::Tick { tick: SupervisorTick::EdgesDue } => self.write_owed(),
            SupervisorMsg::Tick { tick: SupervisorTick::CountDue } => self.on_count_due(),
            SupervisorMsg::Tick { tick: SupervisorTick::IdleDue } => self.on_idle_due(),
            SupervisorMsg::Tick { tick: SupervisorTick::LineDue } => self.on_line_due(),
            SupervisorMsg::Tick { tick: SupervisorTick::RestartDue { thread, crash } } => {
                self.on_restart_due(thread, crash);
            }
            SupervisorMsg::EdgeClosed { close, result } => self.on_edge_closed(close, result),
            SupervisorMsg::Revived { thread } => self.on_revived(thread),
            other => tracing::warn!(msg = other.name(), "a message of another version was dropped"),
        }
    }

    fn now(&self) -> Now {
        self.shared.clock.now()
    }

    fn new_op(&mut self) -> u64 {
        self.next_op += 1;
        self.next_op
    }

    fn publish(&self, slot: Option<&Slot>, event: RuntimeEvent) {
        let about = slot.map(|slot| &**slot.about());
        let epoch = slot.map(Slot::epoch).unwrap_or_default();
        self.shared.hub.publish(about, epoch, None, EventKind::Runtime, || Fact::Runtime(event));
    }

    /// Tells taps of a thread that may have no slot.
    fn publish_of(&self, thread: ThreadId, event: RuntimeEvent) {
        match self.table.get(thread) {
            Some(entry) => self.publish(Some(&entry.slot), event),
            None => publish_of(&self.shared, &About::of(thread), event),
        }
    }

    /// Shows a status that no actor is there to show, and tells taps of it.
    fn show(&self, slot: &Slot, status: ThreadStatus, phase: Phase) {
        if let Some(status_seq) = slot.show(status.clone(), phase) {
            let fact = || Fact::Thread(ThreadEvent::StatusChanged { status_seq, status, phase });
            let about = Some(&**slot.about());
            self.shared.hub.publish(about, slot.epoch(), None, EventKind::Status, fact);
        }
    }

    /// Runs a step outside, and gets its result as a notice.
    fn outside(&self, op: u64, work: impl Future<Output = Step> + Send + 'static) {
        let uplink = self.shared.uplink.clone();
        tokio::spawn(async move {
            let step = Box::new(work.await);
            uplink.send(SupervisorMsg::StepDone { op, step });
        });
    }

    /// The actor that children of `parent` are linked under.
    fn cell_for(&self, parent: Option<ThreadId>) -> ActorCell {
        parent
            .and_then(|parent| self.table.get(parent))
            .and_then(|entry| entry.incarnation.as_ref())
            .map_or_else(|| self.myself.get_cell(), coppicer_actors::Incarnation::cell)
    }

    fn on_end(&mut self, reply: Reply<(), CloseError>) {
        let due = reply.deadline().instant();
        self.ending.push(reply);
        // From here on nothing starts. What closes is answered first.
        self.ended = true;
        self.stop_when_done();
        if !self.closes.is_empty() {
            self.arm(due, SupervisorTick::EndDue);
        }
    }

    /// Closes that others asked for may have more time than the end of the runtime has.
    fn on_end_due(&mut self) {
        let closes: Vec<u64> = self.closes.keys().copied().collect();
        for close in closes {
            self.on_close_due(close);
        }
    }

    /// Ends the runtime once every close is answered and nothing is left.
    fn stop_when_done(&mut self) {
        if !self.ended || !self.closes.is_empty() || !self.fences.is_empty() {
            return;
        }
        // Usually nothing: it was closed before. What was not goes down without a word.
        let left = self.everything();
        if !left.is_empty() {
            return self.fences.add(None, left);
        }
        self.publish(None, RuntimeEvent::RuntimeEnded);
        self.shared.hub.close();
        for reply in std::mem::take(&mut self.ending) {
            reply.tell(Ok(()));
        }
        self.myself.stop(None);
    }
}

/// Tells taps of a thread that has no slot.
pub(crate) fn publish_of(shared: &Shared, about: &About, event: RuntimeEvent) {
    let epoch = coppicer_messages::Epoch(0);
    shared.hub.publish(Some(about), epoch, None, EventKind::Runtime, || Fact::Runtime(event));
}
