//! The runtime: what a host builds, and asks for threads.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "testing")]
use coppicer_actors::{Bug, Seeded};
use coppicer_actors::{
    Clock, Door, EdgeStatus, Engine, History, IdSource, MemoryStore, NewThread, SlotCommon,
    StoreHealth, Tap, TapHub, TapOptions, ThreadHandle, ThreadStore, ThreadView, ThreadWorld,
    TraceBridge, TurnWorld, Uplink, check_submission, slot_or_wake,
};
use coppicer_messages::{
    Answer, CloseError, CloseReport, CloseScope, Deadline, ForkPoint, LeaseBook, LeaseKind, Limits,
    Origin, Reply, SpawnError, SpawnThread, StoreError, SupervisorMsg, TapError, ThreadId,
    ThreadStatus,
};
use ractor::{Actor, ActorRef};

use crate::audit::{Audit, audit, look};
use crate::directory::Directory;
use crate::nicknames::Nicknames;
use crate::supervisor::{Recover, Shared, SupervisorActor, SupervisorArgs};

/// Builds a [`Runtime`].
#[must_use = "a builder does nothing until it is started"]
pub struct RuntimeBuilder {
    engine: Option<Arc<dyn Engine>>,
    store: Option<Arc<dyn ThreadStore>>,
    limits: Limits,
    clock: Option<Clock>,
    ids: Option<IdSource>,
    recover: Recover,
    nicknames: Nicknames,
    traces: Option<Arc<dyn TraceBridge>>,
    #[cfg(feature = "testing")]
    seeded: Seeded,
}

/// Why a runtime did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Nothing runs turns.
    #[error("a runtime needs an engine: call `RuntimeBuilder::engine`")]
    NoEngine,
    /// The supervisor's actor did not start.
    #[error("cannot start the supervisor: {reason}")]
    Supervisor {
        /// Why.
        reason: String,
    },
}

impl RuntimeBuilder {
    /// What runs the turns. Needed.
    pub fn engine(mut self, engine: impl Engine) -> Self {
        self.engine = Some(Arc::new(engine));
        self
    }

    /// Where threads are kept; in memory if not said.
    pub fn store(self, store: impl ThreadStore) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// Where threads are kept, where others hold it too.
    pub fn shared_store(mut self, store: Arc<dyn ThreadStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// The bounds.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The clock; the system's if not said.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The source of ids; a random one if not said.
    pub fn ids(mut self, ids: IdSource) -> Self {
        self.ids = Some(ids);
        self
    }

    /// Which threads of the store come up by themselves: [`Recover::Unfinished`] if not said.
    pub const fn recover(mut self, recover: Recover) -> Self {
        self.recover = recover;
        self
    }

    /// The names that sub-agents without one of their own are given; ours if not said.
    pub fn nicknames(mut self, nicknames: Nicknames) -> Self {
        self.nicknames = nicknames;
        self
    }

    /// What ties the runtime's spans to a tracer that knows other processes; none if not said. Spans are
    /// told through the `tracing` facade either way.
    pub fn trace_bridge(mut self, bridge: impl TraceBridge) -> Self {
        self.traces = Some(Arc::new(bridge));
        self
    }

    /// Puts a fault of ours into the runtime, for a test to find.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub const fn seed_bug(mut self, bug: Bug) -> Self {
        self.seeded = Seeded::with(bug);
        self
    }

    /// Starts the runtime on the tokio runtime that this is called in. Threads that an earlier
    /// process left unfinished come up in the background, behind this.
    ///
    /// # Errors
    /// There is no engine; the supervisor did not start.
    pub async fn start(self) -> Result<Runtime, StartError> {
        let engine = self.engine.ok_or(StartError::NoEngine)?;
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new()));
        let clock = Arc::new(self.clock.unwrap_or_else(Clock::system));
        let ids = Arc::new(self.ids.unwrap_or_else(IdSource::random));
        let limits = Arc::new(self.limits);
        let leases = Arc::new(LeaseBook::default());
        let hub = Arc::new(TapHub::new(clock.clone(), leases.clone(), &limits));
        let directory = Arc::new(Directory::default());

        // The uplink leads to the actor that is started with it: the actor ties itself to it before its
        // first message, so that nothing it starts can come back too early.
        let to = Arc::new(std::sync::OnceLock::<ActorRef<SupervisorMsg>>::new());
        let uplink = {
            let to = to.clone();
            Uplink::new(move |msg| to.get().is_some_and(|actor| actor.cast(msg).is_ok()))
        };
        let find = {
            let directory = directory.clone();
            Arc::new(move |thread| directory.find(thread))
        };
        let world = ThreadWorld::new(
            clock.clone(),
            ids.clone(),
            limits.clone(),
            leases.clone(),
            hub.clone(),
            store.clone(),
            engine,
            uplink.clone(),
            find,
        );
        let world = world.with_traces(self.traces);
        #[cfg(feature = "testing")]
        let world = world.with_seeded(self.seeded);
        let turns = world.turns().clone();
        let slots = Arc::new(SlotCommon {
            inbox_max: limits.inbox_max,
            control_max: limits.control_max,
            leases: leases.clone(),
            uplink: uplink.clone(),
        });
        let shared = Shared { clock, ids, limits, leases, hub, store, uplink, slots };
        let args = SupervisorArgs {
            world,
            directory: directory.clone(),
            shared: shared.clone(),
            recover: self.recover,
            nicknames: self.nicknames,
            to,
        };
        let (_actor, _join) = Actor::spawn(None, SupervisorActor, args)
            .await
            .map_err(|error| StartError::Supervisor { reason: error.to_string() })?;
        watch_store(&shared);
        Ok(Runtime { inner: Arc::new(Inner { shared, directory, turns }) })
    }
}

impl fmt::Debug for RuntimeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Has the store tell the supervisor of its own state.
fn watch_store(shared: &Shared) {
    let uplink = shared.uplink.clone();
    shared.store.watch(Arc::new(move |health| {
        uplink.send(match health {
            StoreHealth::Ailing { trouble, reason } => {
                SupervisorMsg::StoreAiling { trouble, reason }
            }
            StoreHealth::Well => SupervisorMsg::StoreWell,
            StoreHealth::Damaged { thread, seq, reason } => {
                SupervisorMsg::StoreDamaged { thread, seq, reason }
            }
            other => return tracing::warn!(?other, "the store tells what is not known here"),
        });
    }));
}

/// A supervision runtime for agent threads, on the host's own tokio runtime.
///
/// Cheap to clone. Dropping it stops nothing: [`shutdown`](Self::shutdown) ends it.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Shared,
    directory: Arc<Directory>,
    turns: Arc<TurnWorld>,
}

/// What a resume of a whole tree brought back.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resumed {
    /// The thread that was asked for.
    pub thread: ThreadHandle,
    /// What came back below it over open edges, parents before children.
    pub below: Vec<ThreadHandle>,
    /// What did not: its branch stays in the store, and can be resumed later.
    pub failed: Vec<(ThreadId, SpawnError)>,
}

/// A thread that is brought into the store from elsewhere, with its records.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImportThread {
    /// What it is.
    pub thread: NewThread,
    /// Its records.
    pub history: History,
}

impl ImportThread {
    /// A thread and its records.
    pub const fn new(thread: NewThread, history: History) -> Self {
        Self { thread, history }
    }
}

impl Runtime {
    /// Starts to build one.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder {
            engine: None,
            store: None,
            limits: Limits::default(),
            clock: None,
            ids: None,
            recover: Recover::default(),
            nicknames: Nicknames::default(),
            traces: None,
            #[cfg(feature = "testing")]
            seeded: Seeded::default(),
        }
    }

    /// Brings a thread to life, within [`Limits::call_timeout`].
    ///
    /// Answered once the thread is durable, has an actor, and has accepted its first submission.
    ///
    /// # Errors
    /// A [`SpawnError`]; in every case nothing of the thread remains (P4).
    ///
    /// # Cancel safety
    /// Dropping the future undoes the spawn, unless it was answered already.
    pub async fn spawn(&self, request: SpawnThread) -> Result<ThreadHandle, SpawnError> {
        self.spawn_within(request, self.inner.shared.limits.call_timeout).await
    }

    /// Brings a thread to life within `budget`. A parent that sleeps is woken for it.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    ///
    /// # Cancel safety
    /// As [`spawn`](Self::spawn).
    pub async fn spawn_within(
        &self,
        request: SpawnThread,
        budget: Duration,
    ) -> Result<ThreadHandle, SpawnError> {
        if let Some(first) = &request.first {
            check_submission(&self.inner.turns, first)
                .map_err(|refusal| SpawnError::FirstSubmission(Box::new(refusal)))?;
        }
        let deadline = self.inner.shared.clock.deadline(budget);
        if let Some(parent) = request.parent {
            self.wake_parent(parent, deadline).await?;
        }
        let (reply, answer) = self.channel(deadline.left(self.inner.shared.clock.now().instant));
        let request = Box::new(request.caused_by(None));
        if !self.send(SupervisorMsg::Spawn { request, asker: None, reply }) {
            return Err(SpawnError::RuntimeEnded);
        }
        let thread = answer.wait().await?;
        // Between the answer and here it may have fallen asleep and left memory: it is woken then. Or
        // it may have ended.
        let slot =
            slot_or_wake(&self.inner.turns, thread, deadline).await.map_err(|no| match no {
                SpawnError::Closed { .. } | SpawnError::NotFound { .. } => {
                    SpawnError::Closing { thread }
                }
                other => other,
            })?;
        Ok(ThreadHandle::new(slot, self.inner.turns.clone()))
    }

    /// Wakes a thread that sleeps, because another is to be linked under it.
    pub(crate) async fn wake_parent(
        &self,
        parent: ThreadId,
        deadline: Deadline,
    ) -> Result<(), SpawnError> {
        let slot = self.inner.directory.find(parent);
        if slot.is_some_and(|slot| slot.door() != Door::Dormant) {
            return Ok(());
        }
        let (reply, answer) = self.channel(deadline.left(self.inner.shared.clock.now().instant));
        if !self.send(SupervisorMsg::Wake { thread: parent, reply }) {
            return Err(SpawnError::RuntimeEnded);
        }
        match answer.wait().await {
            Ok(_) => Ok(()),
            Err(SpawnError::NotFound { .. } | SpawnError::Closed { .. }) => {
                Err(SpawnError::ParentGone { parent })
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Gives a stored thread its actor. One that is live is the answer: the same handle (REF 1.5).
    /// One that is closing ends first. What is below it stays in the store until it is needed.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn); the stored thread is unchanged.
    pub async fn resume(&self, thread: ThreadId) -> Result<ThreadHandle, SpawnError> {
        self.spawn(SpawnThread::resume(thread)).await
    }

    /// Resumes a thread if it was imported from this rollout.
    ///
    /// # Errors
    /// As [`resume`](Self::resume); `PathMismatch` if it is live with another.
    pub async fn resume_from(
        &self,
        thread: ThreadId,
        rollout_path: impl Into<String>,
    ) -> Result<ThreadHandle, SpawnError> {
        let origin = Origin::Resume { thread, rollout_path: Some(rollout_path.into()) };
        self.spawn(SpawnThread::from_origin(origin)).await
    }

    /// Resumes a thread and exactly what is reachable from it over open edges (P8). Siblings come
    /// up side by side, parents before children.
    ///
    /// # Errors
    /// The thread itself cannot be resumed. What fails below it is in [`Resumed::failed`].
    pub async fn resume_tree(&self, thread: ThreadId) -> Result<Resumed, SpawnError> {
        let top = self.resume(thread).await?;
        let mut resumed = Resumed { thread: top, below: Vec::new(), failed: Vec::new() };
        let mut level = vec![thread];
        while !level.is_empty() {
            let mut next = Vec::new();
            for parent in std::mem::take(&mut level) {
                let children = self.store().children(parent, Some(EdgeStatus::Open));
                match self.answered(children).await {
                    Ok(children) => next.extend(children),
                    Err(error) => resumed.failed.push((parent, SpawnError::Store(error))),
                }
            }
            let coming = next.iter().map(|&child| async move { (child, self.resume(child).await) });
            for (child, result) in futures::future::join_all(coming).await {
                match result {
                    Ok(handle) => {
                        level.push(child);
                        resumed.below.push(handle);
                    }
                    Err(error) => resumed.failed.push((child, error)),
                }
            }
        }
        Ok(resumed)
    }

    /// Forks a thread: a new one begins with its history up to `at`. The source is not written.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub async fn fork(
        &self,
        from: ThreadId,
        at: impl Into<ForkPoint>,
    ) -> Result<ThreadHandle, SpawnError> {
        self.spawn(SpawnThread::fork(from, at)).await
    }

    /// The handle of a thread that has a slot: live, coming back, parked or dormant. Hidden threads
    /// are not found.
    pub fn get(&self, thread: ThreadId) -> Option<ThreadHandle> {
        self.find(thread).filter(|handle| !handle.is_internal())
    }

    /// What every thread publishes of itself, in order of their ids. Hidden threads are left out.
    pub fn list(&self) -> Vec<ThreadView> {
        let slots = self.inner.directory.all();
        slots.iter().map(|slot| slot.view()).filter(|view| !view.internal).collect()
    }

    /// A thread and all that is below it in the store, by depth, then id.
    ///
    /// # Errors
    /// The store has no such thread, cannot be read, or does not answer in time (`Unavailable`).
    pub async fn subtree(&self, thread: ThreadId) -> Result<Vec<ThreadId>, StoreError> {
        self.answered(self.store().thread(thread)).await?;
        let mut threads = vec![thread];
        threads.extend(self.answered(self.store().descendants(thread, None)).await?);
        Ok(threads)
    }

    /// The status of a thread; `NotFound` if it has no slot.
    pub fn status(&self, thread: ThreadId) -> ThreadStatus {
        self.get(thread).map_or(ThreadStatus::NotFound, |handle| handle.status())
    }

    /// Closes a thread and all below it, within `budget`. The report arrives by then, whatever
    /// threads do (P5). Closing what is closed already is a success.
    ///
    /// # Errors
    /// No such thread; the runtime has ended; [no answer](CloseError::NoAnswer), and it goes on.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the report; the close goes on.
    pub async fn close(
        &self,
        thread: ThreadId,
        budget: Duration,
    ) -> Result<CloseReport, CloseError> {
        self.close_with(CloseScope::Thread(thread), Duration::ZERO, budget).await
    }

    /// Closes every thread, hidden ones too. Edges stay open, and threads can be resumed afterwards.
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub async fn close_all(&self, budget: Duration) -> Result<CloseReport, CloseError> {
        self.close_with(CloseScope::All, Duration::ZERO, budget).await
    }

    /// Closes, letting running turns go on for up to `drain` before they are told to stop.
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub async fn close_with(
        &self,
        scope: CloseScope,
        drain: Duration,
        budget: Duration,
    ) -> Result<CloseReport, CloseError> {
        let (reply, answer) = self.close_channel(budget);
        if !self.send(SupervisorMsg::Close { scope, drain, reply }) {
            return Err(CloseError::RuntimeEnded);
        }
        answer.wait().await
    }

    /// Closes everything within `budget`, then ends the runtime and its taps. The second call finds
    /// nothing left and says so.
    ///
    /// Answered when taps have [`RuntimeEnded`](coppicer_messages::RuntimeEvent::RuntimeEnded) and their
    /// end: whoever drains one then finds both without waiting. Only where ending what had not ended by
    /// then takes longer than [`Limits::close_slack`] past the budget, the report comes first. Closes that
    /// others asked for are answered by the same deadline.
    ///
    /// # Errors
    /// The runtime has ended already; the host's threads are blocked, so that nothing could answer.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the report; the runtime ends all the same.
    pub async fn shutdown(&self, budget: Duration) -> Result<CloseReport, CloseError> {
        let (reply, answer) = self.close_channel(budget);
        let (scope, drain) = (CloseScope::All, Duration::ZERO);
        if !self.send(SupervisorMsg::Close { scope, drain, reply }) {
            return Err(CloseError::RuntimeEnded);
        }
        // Right behind it, so that nothing can start between the two.
        let (reply, ended) = self.close_channel(budget);
        self.send(SupervisorMsg::End { reply });
        let report = answer.wait().await;
        // The report is due by the deadline, and may be told before the last is killed.
        let _: Result<(), CloseError> = ended.wait().await;
        report
    }

    /// Subscribes to facts (P11).
    ///
    /// # Errors
    /// Too many taps; no capacity; a cursor outside the journal; the runtime has ended.
    pub fn tap(&self, options: TapOptions) -> Result<Tap, TapError> {
        self.inner.shared.hub.tap(options)
    }

    /// Every live lease with its owner, and whether the books agree (P10). Looks again for up to
    /// 100 ms while they do not, as under load they may not for a moment, and while turns that were
    /// killed have not let go.
    pub async fn audit(&self) -> Audit {
        audit(&self.inner.shared, &self.inner.directory).await
    }

    /// The audit at this moment; what is in motion may show as drift.
    pub fn audit_now(&self) -> Audit {
        look(&self.inner.shared, &self.inner.directory)
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn ThreadStore> {
        &self.inner.shared.store
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.inner.shared.limits
    }

    /// The time by the runtime's clock, which its facts are told by: milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.inner.shared.clock.now().at_ms
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.inner.shared.hub.is_closed()
    }

    pub(crate) fn find(&self, thread: ThreadId) -> Option<ThreadHandle> {
        let slot = self.inner.directory.find(thread)?;
        Some(ThreadHandle::new(slot, self.inner.turns.clone()))
    }

    pub(crate) fn send(&self, msg: SupervisorMsg) -> bool {
        self.inner.shared.uplink.send(msg)
    }

    pub(crate) fn turns(&self) -> &Arc<TurnWorld> {
        &self.inner.turns
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    fn close_channel<T, E>(&self, budget: Duration) -> (Reply<T, E>, Answer<T, E>) {
        let shared = &self.inner.shared;
        let lease = shared.leases.grant_to(LeaseKind::PendingReply, shared.leases.runtime());
        let slack = shared.limits.close_slack;
        Reply::channel_with_slack(shared.clock.deadline(budget), slack, Some(lease))
    }

    pub(crate) fn channel<T, E>(&self, budget: Duration) -> (Reply<T, E>, Answer<T, E>) {
        let shared = &self.inner.shared;
        let lease = shared.leases.grant_to(LeaseKind::PendingReply, shared.leases.runtime());
        Reply::channel(shared.clock.deadline(budget), Some(lease))
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("threads", &self.inner.directory).finish_non_exhaustive()
    }
}
