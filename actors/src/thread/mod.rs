//! One agent thread: owns its conversation, runs at most one turn at a time.
//!
//! - Inbox: [`ThreadMsg`](coppicer_messages::ThreadMsg), through its slot; the actor's own mailbox only wakes it.
//! - Starts: one turn at a time, a task that it owns. Its sub-agents are linked under it.
//! - Publishes: [`ThreadEvent`](coppicer_messages::ThreadEvent), each after the write that it tells of.
//! - Dies: when it is closed or gives up its actor; when its store refuses an append; with its
//!   parent. The supervisor hears of each by [`SupervisorMsg::ThreadEnded`], exactly once.
//!
//! It runs no host code, so it does not crash with the agent.

mod accept;
mod account;
mod control;
mod core;
#[cfg(test)]
mod core_tests;
mod doing;
mod effect;
mod kept;
mod mailbox;
mod mailing;
mod moved;
mod records;
mod running;
mod spending;
mod state;
mod times;
mod turns;
mod watch;
mod writes;

use std::ops::Deref;
use std::sync::Arc;

use coppicer_messages::{
    Accepted, AgentPath, Answer, Charge, Deadline, Ended, Epoch, Lease, NewRecord, Op, Phase, Rung,
    RuntimeEvent, Submission, SubmissionState, SubmitError, SupervisorMsg, ThreadId, ThreadMsg,
    TraceContext, TurnId,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use crate::bugs::Seeded;
use crate::engine::{Engine, TurnWorld};
use crate::permits::Permits;
use crate::seldom::Seldom;
use crate::slot::{Slot, Uplink};
use crate::store::{Acquired, OpenSubmission};
use crate::traces::TraceBridge;
use core::{Restored, ThreadCore, Waiting};
use mailbox::Mailbox;
pub(crate) use running::TurnEnd;
use state::ThreadState;

/// The mailbox of a thread's actor: something waits in the slot.
pub(crate) struct Wake;

/// What a thread's actor lives on: one per runtime.
#[doc(hidden)]
#[derive(Clone)]
pub struct ThreadWorld(Arc<WorldParts>);

/// The parts of it. A thread points to them together.
#[doc(hidden)]
#[derive(Clone)]
pub struct WorldParts {
    pub(crate) turns: Arc<TurnWorld>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) permits: Arc<Permits>,
}

impl std::fmt::Debug for WorldParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorldParts")
    }
}

impl Deref for ThreadWorld {
    type Target = WorldParts;

    fn deref(&self) -> &WorldParts {
        &self.0
    }
}

impl ThreadWorld {
    /// Puts together what all threads of one runtime share.
    #[expect(clippy::too_many_arguments, reason = "the parts of one runtime")]
    pub fn new(
        clock: Arc<crate::clock::Clock>,
        ids: Arc<crate::clock::IdSource>,
        limits: Arc<coppicer_messages::Limits>,
        leases: Arc<coppicer_messages::LeaseBook>,
        hub: Arc<crate::taps::TapHub>,
        store: Arc<dyn crate::store::ThreadStore>,
        engine: Arc<dyn Engine>,
        uplink: Uplink,
        find: Arc<dyn Fn(ThreadId) -> Option<Arc<Slot>> + Send + Sync>,
    ) -> Self {
        let permits = Arc::new(Permits::new(limits.executing_max, leases.clone()));
        let seeded = Seeded::default();
        let traces = None;
        let turns =
            TurnWorld { clock, ids, limits, leases, hub, store, uplink, find, traces, seeded };
        Self(Arc::new(WorldParts { turns: Arc::new(turns), engine, permits }))
    }

    /// Who may run turns.
    pub fn permits(&self) -> &Arc<Permits> {
        &self.permits
    }

    /// The same with a bridge to the host's tracer.
    #[must_use]
    pub fn with_traces(mut self, bridge: Option<Arc<dyn TraceBridge>>) -> Self {
        self.turns_mut().traces = bridge;
        self
    }

    /// The same with a fault of ours in it.
    #[must_use]
    pub fn with_seeded(mut self, seeded: Seeded) -> Self {
        self.turns_mut().seeded = seeded;
        self
    }

    fn turns_mut(&mut self) -> &mut TurnWorld {
        let turns = Arc::get_mut(&mut self.0).and_then(|parts| Arc::get_mut(&mut parts.turns));
        turns.expect("a world is made before it is shared")
    }

    /// What its turns, and handles to its threads, share.
    pub fn turns(&self) -> &Arc<TurnWorld> {
        &self.turns
    }
}

/// One incarnation to start.
#[doc(hidden)]
pub struct ThreadArgs {
    pub world: ThreadWorld,
    pub slot: Arc<Slot>,
    pub acquired: Acquired,
    /// Records that close what a dead incarnation left open.
    pub recovery: Vec<NewRecord>,
    /// The turn that it left open, and how many records that one had written.
    pub left: Option<(TurnId, u64)>,
    /// What it crashed of, if it did.
    pub crash: Option<String>,
    /// What it comes up for.
    pub rise: Rise,
    /// What changes in ledgers because a thread that was closed is open again.
    pub charges: Vec<Charge>,
    /// What caused it, if its spawn said so.
    pub trace: Option<TraceContext>,
    /// What its first fact is: that it is there. None of one that only ends.
    pub told: Option<RuntimeEvent>,
}

/// What is kept of a turn that ran when its host died.
#[doc(hidden)]
pub const HOST_DIED: &str = "its host died in mid-turn";

/// What an incarnation comes up for.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rise {
    /// To work.
    ToWork,
    /// To sit there until it is revived or closed.
    ToSitParked,
    /// To write its end, and nothing else: an order to close waits in its slot.
    ToEnd,
}

/// The first submission of a new thread, and where its receipt arrives.
#[doc(hidden)]
pub fn first_submission(
    world: &TurnWorld,
    slot: &Slot,
    mut submission: Submission,
    deadline: Deadline,
) -> (ThreadMsg, Answer<Accepted, SubmitError>) {
    let id = submission.id.take();
    let id = id.unwrap_or_else(|| world.ids.submission(world.clock.now().at_ms));
    crate::handle::message_as(world, slot, submission, id, false, deadline)
}

/// A live actor, as its supervisor holds it.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Incarnation {
    actor: ActorRef<Wake>,
}

impl Incarnation {
    /// The cell that children are linked under.
    pub fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }

    /// Ends it at once, without a word. For what does not answer.
    pub fn kill(&self) {
        self.actor.kill();
    }

    /// Links it under another actor than before: it does not go down with that one any more. Changes
    /// nothing if either is on its way out.
    pub fn link_under(&self, above: ActorCell) {
        self.actor.get_cell().link(above);
    }
}

impl std::fmt::Debug for ThreadWorld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ThreadWorld")
    }
}

impl std::fmt::Debug for ThreadArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadArgs").field("fence", &self.acquired.fence).finish_non_exhaustive()
    }
}

/// Starts an actor linked under `above`. Does not wait: `pre_start` only puts its state together.
///
/// # Errors
/// That actor is ending.
#[doc(hidden)]
pub fn start(args: Box<ThreadArgs>, above: ActorCell) -> Result<Incarnation, ThreadNotStarted> {
    use futures::FutureExt;
    let spawning = ThreadActor::spawn_linked(None, ThreadActor, args, above);
    match spawning.now_or_never() {
        Some(Ok((actor, _join))) => Ok(Incarnation { actor }),
        Some(Err(error)) => Err(ThreadNotStarted { reason: describe(&error) }),
        None => Err(ThreadNotStarted { reason: "the actor did not start at once".into() }),
    }
}

fn describe(error: &SpawnErr) -> String {
    match error {
        SpawnErr::StartupFailed(inner) => inner.to_string(),
        other => other.to_string(),
    }
}

/// Why an actor did not start.
#[doc(hidden)]
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot start the thread's actor: {reason}")]
pub struct ThreadNotStarted {
    reason: String,
}

pub(crate) struct ThreadActor;

impl Actor for ThreadActor {
    type Msg = Wake;
    // Boxed: ractor moves both through several futures. None once it has stopped.
    type State = Option<Box<ThreadState>>;
    type Arguments = Box<ThreadArgs>;

    async fn pre_start(
        &self,
        myself: ActorRef<Wake>,
        args: Box<ThreadArgs>,
    ) -> Result<Option<Box<ThreadState>>, ActorProcessingErr> {
        Ok(Some(Box::new(ThreadState::assemble(*args, myself))))
    }

    async fn post_start(
        &self,
        _myself: ActorRef<Wake>,
        state: &mut Option<Box<ThreadState>>,
    ) -> Result<(), ActorProcessingErr> {
        state.as_mut().map_or(Ok(()), |state| state.guarded(ThreadState::begin))
    }

    async fn handle(
        &self,
        _myself: ActorRef<Wake>,
        _wake: Wake,
        state: &mut Option<Box<ThreadState>>,
    ) -> Result<(), ActorProcessingErr> {
        state.as_mut().map_or(Ok(()), |state| state.guarded(ThreadState::drain))
    }

    /// Sub-agents that end tell the supervisor themselves; ractor's default handler would stop this
    /// thread whenever one of them ends.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Wake>,
        _event: SupervisionEvent,
        _state: &mut Option<Box<ThreadState>>,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    /// Its end is told when nothing of it is left: ractor would hand its state to the supervisor, who
    /// had to free those of all threads by itself.
    async fn post_stop(
        &self,
        _myself: ActorRef<Wake>,
        state: &mut Option<Box<ThreadState>>,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(state) = state.take() {
            state.stop();
        }
        Ok(())
    }
}

/// Tells the supervisor, exactly once, that an incarnation is gone: at its stop, or wherever its
/// state is dropped if it dies otherwise.
pub(crate) struct ExitGuard {
    pub(crate) thread: ThreadId,
    pub(crate) epoch: Epoch,
    pub(crate) how: Ended,
    /// Where it is told; none once it was.
    world: Option<Arc<TurnWorld>>,
    resident: Option<Lease>,
}

impl ExitGuard {
    /// One that has nothing to tell.
    const fn told(thread: ThreadId, epoch: Epoch) -> Self {
        Self { thread, epoch, how: Ended::Killed, world: None, resident: None }
    }

    fn tell(&mut self) {
        if let Some(world) = self.world.take() {
            self.resident = None;
            let how = self.how.clone();
            world.uplink.send(SupervisorMsg::ThreadEnded {
                thread: self.thread,
                epoch: self.epoch,
                how,
            });
        }
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        self.tell();
    }
}

/// The submissions that wait in a thread that was acquired. One that cannot be read any more is
/// told as such, not run.
fn restore(open: Vec<OpenSubmission>) -> Vec<(Restored, SubmissionState)> {
    open.into_iter()
        .map(|open| {
            let attempt = match open.state {
                SubmissionState::Running { attempt } => attempt + 1,
                _ => 1,
            };
            let waiting = match kept::read(&open.body) {
                Some((Op::UserInput { input, .. }, trace)) => {
                    Ok(Waiting::Input { id: open.id, input, attempt, trace })
                }
                Some((Op::Compact, trace)) => Ok(Waiting::Compact { id: open.id, attempt, trace }),
                _ => Err(open.id),
            };
            (waiting, open.state)
        })
        .collect()
}

/// A core before its first decision. Takes what it keeps out of what was acquired.
fn new_core(world: &TurnWorld, acquired: &mut Acquired, path: Option<AgentPath>) -> ThreadCore {
    let stored = &acquired.thread;
    ThreadCore {
        thread: stored.id,
        epoch: acquired.fence.epoch,
        parent: stored.parent.map(|(parent, _)| parent),
        path,
        config: stored.config.clone(),
        limits: world.limits.clone(),
        head: stored.head,
        phase: Phase::Starting,
        status: stored.status.clone(),
        turn: None,
        asking: None,
        queue: Seldom::none(),
        mail: Mailbox::of(
            std::mem::take(&mut acquired.mail),
            acquired.mail_rest,
            world.limits.mail_max,
        )
        .into(),
        questions: Seldom::none(),
        closing: None,
        rung: Rung::Drained,
        tracker: Seldom::none(),
        crashes: 0,
        crash_log: std::mem::take(&mut acquired.crashes).into(),
        parking: Seldom::none(),
        backoff_until_ms: None,
        mail_turns: 0,
        has_preview: stored.details.preview.is_some(),
        last_trace: None,
        spent: None,
        seeded: world.seeded,
    }
}
