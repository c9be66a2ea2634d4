//! The slot of a thread: what outlives its actor.
//!
//! A ractor mailbox is unbounded and dies with its actor, and what was in it is lost. So the inbox,
//! its depth gauge, the waiting callers and the published view of a thread live here, and the actor
//! only gets a wake-up. A slot's lock guards queues, never a decision, and is held for a push or a pop.

mod entry;
mod lanes;
mod place;
mod purse;
mod rest;
mod turn;
mod uplink;
mod view;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};

use coppicer_messages::{
    ControlError, Epoch, Holdings, LeaseBook, LeaseKind, Op, Outcome, OutcomeError, Reply,
    SubmissionId, SubmitError, SupervisorMsg, ThreadId, ThreadMsg,
};
use parking_lot::Mutex;
use ractor::ActorRef;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::account::Purse;
use crate::taps::About;
use crate::thread::Wake;
use lanes::{Lanes, Waiting};
use place::Places;
use turn::TurnSide;
pub(crate) use turn::{ShownClock, Standing};
pub use uplink::Uplink;
pub(crate) use view::Shown;
pub use view::ThreadView;

/// Whether a thread takes submissions, and what has to happen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// It takes them; an actor is there, or comes without being asked.
    Open,
    /// It takes them; the first one has to ask for an actor.
    Dormant,
    /// It takes none until it is revived, but mail.
    Parked,
    /// It takes none any more.
    Closed,
}

/// What comes to the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Mail: a parked thread takes it, for when it is revived.
    Mail,
    /// All else.
    Work,
}

impl Arrival {
    /// What a submission of this op is.
    pub const fn of(op: &Op) -> Self {
        if matches!(op, Op::AgentMessage { .. }) { Self::Mail } else { Self::Work }
    }
}

impl Door {
    /// Whether what comes may go in.
    const fn takes(self, entry: Arrival) -> bool {
        match self {
            Self::Open | Self::Dormant => true,
            Self::Parked => matches!(entry, Arrival::Mail),
            Self::Closed => false,
        }
    }
}

/// What outlives the actor of one thread.
///
/// In this order, so that a look-up in the directory reads one line of the cache: the counters in front of
/// a shared slot, and these two.
#[repr(C)]
pub struct Slot {
    thread: ThreadId,
    internal: bool,
    places: Places,
    common: Arc<SlotCommon>,
    /// What it, its callers and its turns hold.
    holdings: Arc<Holdings>,
    lanes: Mutex<Lanes>,
    shown: Mutex<Shown>,
    changed: Notify,
    /// What the thread draws on; none if nothing limits it.
    purse: OnceLock<Box<Purse>>,
    turn: Mutex<TurnSide>,
}

/// What the slots of one runtime share.
#[derive(Debug)]
pub struct SlotCommon {
    /// Submissions that may wait in a thread's inbox.
    pub inbox_max: usize,
    /// Requests that may wait in its control lane, and callers in line for its inbox.
    pub control_max: usize,
    /// The books.
    pub leases: Arc<LeaseBook>,
    /// The way up.
    pub uplink: Uplink,
}

impl Slot {
    /// The slot of a thread that has no actor yet.
    pub fn new(about: Arc<About>, view: ThreadView, common: Arc<SlotCommon>, door: Door) -> Self {
        Self {
            thread: about.thread,
            internal: view.internal,
            holdings: Arc::new(Holdings::of(Some(about.thread))),
            places: Places::new(about),
            common,
            lanes: Mutex::new(Lanes::new(door)),
            shown: Mutex::new(Shown::of(view, Instant::now())),
            changed: Notify::new(),
            purse: OnceLock::new(),
            turn: Mutex::default(),
        }
    }

    /// Which thread.
    pub const fn thread(&self) -> ThreadId {
        self.thread
    }

    /// Whether it is hidden from hosts: for as long as there is a slot.
    pub const fn is_internal(&self) -> bool {
        self.internal
    }

    /// What the thread holds, and what is held on its behalf.
    pub const fn holdings(&self) -> &Arc<Holdings> {
        &self.holdings
    }

    /// A copy of what the thread publishes of itself.
    pub fn view(&self) -> ThreadView {
        let (depth, door) = {
            let lanes = self.lanes.lock();
            (lanes.used as usize, lanes.door)
        };
        let about = self.about();
        let mut view = ThreadView::of(about.thread);
        (view.parent, view.depth) = (about.parent, about.depth);
        view.internal = self.internal;
        self.shown.lock().tell(&mut view);
        view.inbox = depth;
        view.inbox_capacity = self.common.inbox_max;
        view.closed = door == Door::Closed;
        let own = self.purse().and_then(Purse::own);
        view.ledger = own.map(|account| account.ledger());
        if let Some(clock) = self.clock() {
            let (phase, since_ms) = clock.phase();
            (view.turn_phase, view.turn_phase_since_ms) = (Some(phase), Some(since_ms));
            view.progress_ms = Some(clock.progress_ms());
        }
        view
    }

    /// Looks at the view without copying it.
    pub(crate) fn with_view<T>(&self, look: impl FnOnce(&Shown) -> T) -> T {
        look(&self.shown.lock())
    }

    /// Changes the view and wakes those who wait for a change.
    pub(crate) fn change_view<T>(&self, change: impl FnOnce(&mut Shown) -> T) -> T {
        let result = change(&mut self.shown.lock());
        self.changed.notify_waiters();
        result
    }

    /// Told at each change of the view. Take it before looking, so that none is missed.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Puts a request or notice into the control lane.
    ///
    /// # Errors
    /// Gives the message back if the thread is closed, or if callers already wait in numbers.
    #[expect(clippy::result_large_err, reason = "the message is given back whole, not copied")]
    pub fn control(&self, msg: ThreadMsg) -> Result<(), (ThreadMsg, ControlError)> {
        let mut lanes = self.lanes.lock();
        if lanes.door == Door::Closed {
            return Err((msg, ControlError::NotFound { thread: self.thread() }));
        }
        if lanes.control.len() >= self.common.control_max {
            return Err((msg, ControlError::Overloaded { waiting: lanes.control.len() }));
        }
        lanes.control.push_back(msg);
        self.wake(lanes);
        Ok(())
    }

    /// Puts a notice of what the actor itself started into the control lane: never refused, because
    /// the actor bounds how much it starts. Without an actor it is for one that is gone, and what it
    /// carries goes back.
    pub(crate) fn notice(&self, msg: ThreadMsg) {
        let mut lanes = self.lanes.lock();
        if lanes.actor.is_none() {
            drop(lanes);
            return drop(msg);
        }
        lanes.control.push_back(msg);
        self.wake(lanes);
    }

    /// Tells the actor, if there is one, of something that its next incarnation knows anyway.
    pub fn tell(&self, msg: ThreadMsg) {
        self.notice(msg);
    }

    /// Tells the actor to close: into the control lane, whatever the door.
    pub fn order(&self, msg: ThreadMsg) {
        let mut lanes = self.lanes.lock();
        if !lanes.ended {
            lanes.control.push_back(msg);
            self.wake(lanes);
        }
    }

    /// Wakes the actor once for all that waits, or asks for one.
    fn wake(&self, mut lanes: parking_lot::MutexGuard<'_, Lanes>) {
        if lanes.door == Door::Dormant && lanes.actor.is_none() {
            lanes.door = Door::Open;
            drop(lanes);
            self.common.uplink.send(SupervisorMsg::Activate { thread: self.thread() });
            return;
        }
        if lanes.woken {
            return;
        }
        if let Some(actor) = lanes.actor.clone() {
            lanes.woken = true;
            drop(lanes);
            // A dead actor is replaced by one that looks into the lanes when it starts.
            drop(actor.cast(Wake));
        } else if lanes.door == Door::Parked {
            drop(lanes);
            self.common.uplink.send(SupervisorMsg::Activate { thread: self.thread() });
        }
    }

    /// Ties an incarnation to the slot. `queued`: accepted submissions that it brings along, each
    /// of which takes a place in the inbox.
    pub(crate) fn attach(&self, actor: ActorRef<Wake>, queued: usize) {
        let mut lanes = self.lanes.lock();
        let used = lanes.input.len() as u32 + lanes.handed + queued as u32;
        for _ in lanes.used..used {
            self.common.leases.note_granted(LeaseKind::InboxPermit);
        }
        for _ in used..lanes.used {
            self.common.leases.note_returned(LeaseKind::InboxPermit);
        }
        lanes.used = used;
        if lanes.door == Door::Dormant {
            lanes.door = Door::Open;
        }
        lanes.actor = Some(actor);
        lanes.woken = false;
        if !lanes.input.is_empty() || !lanes.control.is_empty() {
            self.wake(lanes);
        }
    }

    /// Takes this incarnation away, if it is still the one that is tied to the slot.
    pub(crate) fn detach_from(&self, actor: &ActorRef<Wake>) {
        let is_another = |tied: &ActorRef<Wake>| tied.get_id() != actor.get_id();
        if !self.lanes.lock().actor.as_ref().is_some_and(is_another) {
            self.detach();
        }
    }

    /// Takes the incarnation away. Requests that wait stay; notices for it go, with what they carry.
    pub fn detach(&self) {
        let notices: VecDeque<ThreadMsg> = {
            let mut lanes = self.lanes.lock();
            lanes.actor = None;
            lanes.woken = false;
            let waiting = lanes.control.take();
            if waiting.capacity() == 0 {
                return;
            }
            let (requests, notices) =
                waiting.into_iter().partition::<VecDeque<_>, _>(ThreadMsg::is_request);
            lanes.control = requests.into();
            notices
        };
        drop(notices);
    }

    /// Loses what waits in the inbox, as a mailbox does that dies with its actor.
    #[cfg(feature = "testing")]
    pub fn lose_input(&self) {
        drop(self.take_input());
    }

    /// Opens or shuts the door. A closed one refuses what waits at it and in the inbox.
    pub fn set_door(&self, door: Door) {
        let mut lanes = self.lanes.lock();
        if lanes.door == Door::Closed {
            return;
        }
        lanes.door = door;
        let stays = |waiting: &Waiting| door.takes(waiting.entry);
        if let Some(line) = lanes.line.there().filter(|_| door != Door::Dormant) {
            line.retain(stays);
        }
    }

    /// Whether an incarnation is tied to it.
    pub fn is_attached(&self) -> bool {
        self.lanes.lock().actor.is_some()
    }

    /// Whether it takes submissions.
    pub fn door(&self) -> Door {
        self.lanes.lock().door
    }

    /// What the actor takes next: control before input; input only if it wants some. If there is nothing,
    /// it is woken for what comes, unless it stays awake, and looks again.
    pub(crate) fn take(&self, want_input: bool, stays_awake: bool) -> Option<ThreadMsg> {
        let mut lanes = self.lanes.lock();
        if let Some(msg) = lanes.control.pop_front() {
            return Some(msg);
        }
        if want_input && let Some(msg) = lanes.input.pop_front() {
            return Some(msg);
        }
        lanes.woken &= stays_awake;
        None
    }

    /// Puts back, in front, what an actor took and did not get to: its place was never given up.
    pub(crate) fn put_back(&self, msg: ThreadMsg, is_control: bool) {
        let mut lanes = self.lanes.lock();
        if lanes.ended {
            drop(lanes);
            return refuse_closed(msg, self.thread());
        }
        let lane = if is_control { &mut lanes.control } else { &mut lanes.input };
        lane.push_front(msg);
    }

    /// Takes what waits in the inbox, to refuse it.
    pub(crate) fn take_input(&self) -> Vec<ThreadMsg> {
        self.lanes.lock().input.take().into()
    }

    /// Frees one place of the inbox; the first in line gets it.
    pub(crate) fn free_place(&self) {
        let mut lanes = self.lanes.lock();
        while let Some(next) = lanes.line.pop_front() {
            if next.to.send(()).is_ok() {
                lanes.handed += 1;
                return; // the place changes hands
            }
        }
        // None is left when the slot has ended: then it gave them all back.
        if lanes.used > 0 {
            lanes.used -= 1;
            self.common.leases.note_returned(LeaseKind::InboxPermit);
        }
        drop(lanes);
        self.changed.notify_waiters();
    }

    /// Takes one place of the inbox for work that had given its own back, also if all are taken.
    pub(crate) fn take_place(&self) {
        self.lanes.lock().used += 1;
        self.common.leases.note_granted(LeaseKind::InboxPermit);
    }

    /// Takes back a place that was handed to somebody who did not use it.
    fn take_back_place(&self) {
        let mut lanes = self.lanes.lock();
        lanes.handed = lanes.handed.saturating_sub(1);
        drop(lanes);
        self.free_place();
    }

    /// How many submissions wait: those in the inbox and those accepted and not yet run.
    pub fn depth(&self) -> usize {
        self.lanes.lock().used as usize
    }

    /// Waits for an outcome: answered by [`settle`](Self::settle).
    pub fn await_outcome(&self, submission: SubmissionId, reply: Reply<Outcome, OutcomeError>) {
        let mut lanes = self.lanes.lock();
        if lanes.ended {
            drop(lanes);
            return reply.tell(Err(OutcomeError::Closed { thread: self.thread(), submission }));
        }
        lanes.waiters.retain(|(_, waiting)| !waiting.is_closed());
        lanes.waiters.push((submission, reply));
    }

    /// The submissions whose outcomes are waited for.
    pub(crate) fn awaited(&self) -> Vec<SubmissionId> {
        let lanes = self.lanes.lock();
        lanes.waiters.iter().map(|(submission, _)| submission.clone()).collect()
    }

    /// Tells those who wait for it.
    pub fn settle(&self, submission: &SubmissionId, outcome: &Outcome) {
        loop {
            let mut lanes = self.lanes.lock();
            let next = lanes.waiters.iter().position(|(id, _)| id == submission);
            let Some((_, reply)) = next.map(|at| lanes.waiters.remove(at)) else { return };
            drop(lanes);
            reply.tell(Ok(outcome.clone()));
        }
    }

    /// Ends the slot for good: nothing is taken any more, whoever waits is told.
    pub fn end(&self) {
        let (first, input, control, waiters) = {
            let mut lanes = self.lanes.lock();
            let first = !std::mem::replace(&mut lanes.ended, true);
            lanes.door = Door::Closed;
            lanes.actor = None;
            lanes.line.clear();
            for _ in 0..lanes.used {
                self.common.leases.note_returned(LeaseKind::InboxPermit);
            }
            lanes.used = 0;
            (
                first,
                std::mem::take(&mut lanes.input),
                std::mem::take(&mut lanes.control),
                std::mem::take(&mut lanes.waiters),
            )
        };
        self.changed.notify_waiters();
        if first {
            self.leave_purse();
        }
        let thread = self.thread();
        for msg in input.into_iter().chain(control) {
            refuse_closed(msg, thread);
        }
        for (submission, reply) in waiters {
            reply.tell(Err(OutcomeError::Closed { thread, submission }));
        }
    }

    /// The newest incarnation that published itself here.
    pub fn epoch(&self) -> Epoch {
        self.with_view(|view| view.epoch)
    }
}

/// Answers a request that meets a closed thread.
pub(crate) fn refuse_closed(msg: ThreadMsg, thread: ThreadId) {
    match msg {
        ThreadMsg::Submit { reply, .. } => reply.tell(Err(SubmitError::Closed { thread })),
        ThreadMsg::Answer { reply, .. } => reply.tell(Err(SubmitError::Closed { thread })),
        ThreadMsg::Interrupt { reply } => {
            reply.tell(Ok(coppicer_messages::Interrupted::NothingRan));
        }
        ThreadMsg::Revive { reply } | ThreadMsg::Hibernate { reply } => {
            reply.tell(Err(ControlError::WrongPhase { thread, phase: "closed" }));
        }
        ThreadMsg::Flush { reply } => reply.tell(Err(ControlError::NotFound { thread })),
        // Notices need no answer; the turn's requests end with their turn.
        _ => {}
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("thread", &self.thread())
            .field("depth", &self.depth())
            .field("door", &self.door())
            .finish_non_exhaustive()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.end();
    }
}
