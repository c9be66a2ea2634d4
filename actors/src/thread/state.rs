//! The thread's hands: takes messages out of the slot, has its core decide, and carries it out.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use coppicer_messages::{
    Accepted, CloseScope, ControlError, Ended, EventKind, Fact, KnownSubmission, LeaseKind,
    NewRecord, Now, Op, Reply, Seq, StoreError, Submission, SubmissionId, SubmissionState,
    SubmitError, SupervisorMsg, ThreadEvent, ThreadMsg, ThreadTick, TurnId, TurnPermit,
};
use futures::FutureExt;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;

use super::core::{ThreadCore, Waiting};
use super::effect::{Effect, Launch};
use super::running::TurnEnd;
use super::{Author, ExitGuard, ThreadArgs, ThreadWorld, Wake, new_core, restore};
use crate::engine::{EngineError, EngineSession, TurnContext, TurnInput, TurnLink};
use crate::slot::{Door, Slot, refuse_closed};
use crate::store::{Batch, Done, Fence, digest};
use crate::turn::{TurnActor, TurnArgs, TurnState};

pub(crate) struct ThreadState {
    core: ThreadCore,
    world: ThreadWorld,
    slot: Arc<Slot>,
    fence: Fence,
    myself: ActorRef<Wake>,
    pub(super) exit: ExitGuard,
    recovery: Vec<NewRecord>,
    parked: bool,
    open: Vec<(Waiting, SubmissionState)>,
    session: Option<Box<dyn EngineSession>>,
    live: Option<LiveTurn>,
    writes: Writes,
    /// A submission whose id is being looked up: input waits behind it, to keep its order.
    looking_up: Option<LookedUp>,
    effects: Vec<Effect>,
    over: bool,
}

/// The turn whose actor runs.
struct LiveTurn {
    turn: TurnId,
    actor: ActorRef<()>,
    link: Arc<TurnLink>,
}

struct LookedUp {
    id: SubmissionId,
    submission: Submission,
    reply: Reply<Accepted, SubmitError>,
}

/// What was written, what is being written, and what may only follow it.
struct Writes {
    /// Gathered during one wake-up.
    batch: Batch,
    /// Where `batch` begins.
    from: Seq,
    /// Appends made so far, and those that are durable.
    made: u64,
    durable: u64,
    /// Waits for the append of its number.
    parked: VecDeque<(u64, Effect)>,
}

impl ThreadState {
    pub(super) fn assemble(args: ThreadArgs, myself: ActorRef<Wake>) -> Self {
        let ThreadArgs { world, slot, acquired, recovery, parked } = args;
        let about = slot.about();
        let author = Author::of(about.thread, about.path.as_ref());
        let core = new_core(&world.turns, &acquired, &author);
        let exit = ExitGuard {
            thread: about.thread,
            epoch: acquired.fence.epoch,
            how: Ended::Killed,
            uplink: Some(world.turns.uplink.clone()),
            resident: Some(world.turns.leases.grant(LeaseKind::Resident)),
        };
        let head = acquired.thread.head;
        let open = restore(acquired.open);
        slot.change_view(|view| view.epoch = acquired.fence.epoch);
        slot.attach(myself.clone(), open.len());
        Self {
            core,
            world,
            slot,
            fence: acquired.fence,
            myself,
            exit,
            recovery,
            parked,
            open,
            session: None,
            live: None,
            writes: Writes {
                batch: Batch::default(),
                from: head,
                made: 0,
                durable: 0,
                parked: VecDeque::new(),
            },
            looking_up: None,
            effects: Vec::new(),
            over: false,
        }
    }

    /// Runs a step. A panic in it ends the actor, and is told as what it is.
    pub(super) fn guarded(
        &mut self,
        step: impl FnOnce(&mut Self),
    ) -> Result<(), ActorProcessingErr> {
        match std::panic::catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(()) => Ok(()),
            Err(panic) => {
                let cause = panic_text(&*panic);
                self.exit.how = Ended::Crashed { cause: cause.clone() };
                Err(cause.into())
            }
        }
    }

    pub(super) fn begin(&mut self) {
        let now = self.now();
        let recovery = std::mem::take(&mut self.recovery);
        let open = std::mem::take(&mut self.open);
        let parked = self.parked;
        self.decide(|core, out| core.begin(recovery, open, parked, now, out));
        self.drain();
    }

    /// Takes what waits, control before input, then writes all that came of it in one append.
    pub(super) fn drain(&mut self) {
        let most = self.world.turns.limits.messages_per_wake_max;
        for _ in 0..most {
            if self.over {
                return;
            }
            if let Some(msg) = self.slot.take(self.looking_up.is_none()) {
                self.on_msg(msg);
            } else if !self.flush() {
                return;
            }
        }
        self.flush();
        // Others run first; then on.
        drop(self.myself.cast(Wake));
    }

    fn now(&self) -> Now {
        self.world.turns.clock.now()
    }

    fn on_msg(&mut self, msg: ThreadMsg) {
        let now = self.now();
        match msg {
            ThreadMsg::Submit { submission, id, chosen, reply } => {
                self.on_submit(submission, id, chosen, reply, now);
            }
            ThreadMsg::Interrupt { reply } if reply.expired(now.instant) => drop(reply),
            ThreadMsg::Interrupt { reply } => {
                self.decide(|core, out| core.interrupt(reply, now, out))
            }
            ThreadMsg::Answer { question, answer, reply } => self.decide(|core, out| {
                if !reply.expired(now.instant) {
                    reply.tell(core.answer(&question, answer, out));
                }
            }),
            ThreadMsg::Revive { reply } => self.decide(|core, out| core.revive(reply, now, out)),
            ThreadMsg::Hibernate { reply } => self.decide(|core, out| match core.hibernate() {
                Ok(()) => out.push(Effect::Sleep { reply: Some(reply) }),
                Err(refusal) => reply.tell(Err(refusal)),
            }),
            ThreadMsg::Flush { reply } => self.decide(|core, out| {
                out.push(Effect::AnswerFlush { reply, flushed: core.flushed() });
            }),
            ThreadMsg::Close { order } => self.decide(|core, out| core.close(order, now, out)),
            ThreadMsg::Mail { mail } => self.decide(|core, out| core.receive(mail, now, out)),
            ThreadMsg::TakeSteered { turn, reply } => {
                self.decide(|core, out| core.take_steered(&turn, reply, now, out));
            }
            ThreadMsg::Emitted { turn, records, said } => {
                self.decide(|core, out| core.emitted(&turn, records, said, out));
            }
            ThreadMsg::Asked { turn, question, body, reply } => {
                self.decide(|core, out| core.asked(&turn, question, body, reply, out));
            }
            ThreadMsg::Used { turn, usage } => self.on_used(&turn, usage),
            ThreadMsg::TurnGone { turn } => self.on_turn_gone(&turn, now),
            ThreadMsg::Permitted { turn, permit } => {
                self.decide(|core, out| core.permitted(&turn, permit, now, out));
            }
            ThreadMsg::Committed { epoch, append, result } if epoch == self.fence.epoch => {
                self.on_committed(append, result);
            }
            ThreadMsg::LookedUp { epoch, result } if epoch == self.fence.epoch => {
                self.on_looked_up(result, now);
            }
            ThreadMsg::Tick { epoch, tick } if epoch == self.fence.epoch => {
                self.decide(|core, out| core.tick(tick, now, out));
            }
            // Notices for an incarnation that is gone.
            ThreadMsg::Committed { .. } | ThreadMsg::LookedUp { .. } | ThreadMsg::Tick { .. } => {}
            ThreadMsg::PanicForTest => panic!("asked to panic by a test"),
            other => tracing::warn!(msg = other.name(), "a message of another version was dropped"),
        }
    }

    fn on_submit(
        &mut self,
        submission: Submission,
        id: SubmissionId,
        chosen: bool,
        reply: Reply<Accepted, SubmitError>,
        now: Now,
    ) {
        let place = !submission.op.is_control();
        if reply.expired(now.instant) {
            // P4: nobody waits for it any more, so it is not executed.
            if place {
                self.slot.free_place();
            }
            return;
        }
        if let Op::Answer { question, answer } = submission.op {
            return self.decide(|core, out| {
                let seq = core.head;
                let told = core.answer(&question, answer, out);
                reply.tell(told.map(|()| Accepted::new(id, seq)));
            });
        }
        if !chosen {
            return self.decide(|core, out| core.submit(id, submission, place, reply, now, out));
        }
        // What was accepted and is not written yet must be there when the store looks.
        self.flush();
        let (slot, epoch) = (self.slot.clone(), self.fence.epoch);
        let done = Done::new(move |result| slot.notice(ThreadMsg::LookedUp { epoch, result }));
        let thread = self.fence.thread;
        let asked = id.clone();
        self.looking_up = Some(LookedUp { id, submission, reply });
        self.world.turns.store.submission(thread, &asked, done);
    }

    fn on_looked_up(&mut self, result: Result<Option<KnownSubmission>, StoreError>, now: Now) {
        let Some(LookedUp { id, submission, reply }) = self.looking_up.take() else { return };
        let place = !submission.op.is_control();
        let answer = match result {
            Ok(None) if !reply.expired(now.instant) => {
                return self
                    .decide(|core, out| core.submit(id, submission, place, reply, now, out));
            }
            Ok(None) => Err(SubmitError::NoAnswer),
            Ok(Some(known)) => {
                let body = serde_json::to_vec(&submission.op).unwrap_or_default();
                if digest(&body) == known.digest {
                    let mut receipt = Accepted::new(id, known.seq);
                    receipt.duplicate = true;
                    Ok(receipt)
                } else {
                    Err(SubmitError::Conflict { submission: id })
                }
            }
            Err(error) => Err(SubmitError::Store(error)),
        };
        if place {
            self.slot.free_place();
        }
        reply.tell(answer);
    }

    fn on_used(&mut self, turn: &TurnId, usage: coppicer_messages::Usage) {
        if self.core.runs(turn) {
            self.slot.change_view(|view| view.usage += usage);
            self.publish(Some(turn), ThreadEvent::UsageReported { usage });
        }
    }

    /// A turn's actor ended: by itself, by a panic, or killed.
    pub(super) fn on_supervision(&mut self, event: SupervisionEvent) {
        let (actor, end, session) = match event {
            SupervisionEvent::ActorTerminated(cell, state, _) => {
                let report = state
                    .and_then(|mut state| state.take::<TurnState>().ok())
                    .and_then(|state| state.report);
                match report {
                    Some(report) => (cell.get_id(), end_of(report.result), report.session),
                    None => (cell.get_id(), TurnEnd::Killed, None),
                }
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                (cell.get_id(), TurnEnd::Panicked(error.to_string()), None)
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return,
        };
        if !self.is_live(actor) {
            return; // a sub-agent, or a turn that was fenced off
        }
        // What the turn emitted comes before its end.
        while let Some(msg) = self.slot.take(false) {
            self.on_msg(msg);
        }
        let Some(live) = self.live.as_ref().filter(|live| live.actor.get_id() == actor) else {
            return self.drain();
        };
        if end == TurnEnd::Killed && Arc::strong_count(&live.link) > 1 {
            // Its code runs on an OS thread of its own and has not let go: `TurnGone` tells, or the
            // tick that fences it off.
            return self.drain();
        }
        self.session = session;
        self.end_turn(end);
        self.drain();
    }

    fn is_live(&self, actor: ActorId) -> bool {
        self.live.as_ref().is_some_and(|live| live.actor.get_id() == actor)
    }

    fn on_turn_gone(&mut self, turn: &TurnId, _now: Now) {
        let killed =
            self.live.as_ref().is_some_and(|live| live.turn == *turn && live.link.is_revoked());
        if killed {
            self.end_turn(TurnEnd::Killed);
        }
    }

    fn end_turn(&mut self, end: TurnEnd) {
        let Some(live) = self.live.take() else { return };
        let (now, jitter) = (self.now(), self.world.turns.ids.fraction());
        self.decide(|core, out| core.turn_ended(&live.turn, end, jitter, now, out));
    }

    // Deciding and doing.

    fn decide(&mut self, decide: impl FnOnce(&mut ThreadCore, &mut Vec<Effect>)) {
        let mut effects = std::mem::take(&mut self.effects);
        decide(&mut self.core, &mut effects);
        for effect in effects.drain(..) {
            if effect.waits_for_writes() && self.writes.are_pending() {
                let number = self.writes.made + u64::from(!self.writes.batch.is_empty());
                self.writes.parked.push_back((number, effect));
            } else {
                self.carry_out(effect);
            }
        }
        self.effects = effects;
    }

    /// The only place where this actor touches the world. Nothing here waits.
    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Write(batch) => self.gather(batch),
            Effect::Accept { reply, receipt } => reply.tell(Ok(receipt)),
            Effect::Refuse { reply, refusal } => reply.tell(Err(refusal)),
            Effect::Settle { submission, outcome } => {
                let event = ThreadEvent::SubmissionEnded {
                    submission: submission.clone(),
                    outcome: outcome.clone(),
                };
                self.publish(None, event);
                self.slot.settle(&submission, &outcome);
            }
            Effect::Publish { turn, event } => {
                if matches!(event, ThreadEvent::Crashed { .. }) {
                    self.slot.change_view(|view| view.crashes += 1);
                }
                self.publish(turn.as_ref(), event);
            }
            Effect::Show { status, phase, turn, waiting_for_host, ended } => {
                let changed = self.slot.change_view(|view| {
                    if let Some(error) = ended {
                        view.turns += 1;
                        view.last_error = error;
                    }
                    view.turn = turn;
                    view.waiting_for_host = waiting_for_host;
                    let changed = view.status != status || view.phase != phase;
                    view.phase = phase;
                    if changed {
                        view.status = status.clone();
                        view.status_seq += 1;
                    }
                    changed.then_some(view.status_seq)
                });
                if let Some(status_seq) = changed {
                    self.publish(None, ThreadEvent::StatusChanged { status_seq, status, phase });
                }
            }
            Effect::Launch(launch) => self.launch(launch),
            Effect::GiveItems { reply, items } => reply.tell(Ok(items)),
            Effect::AnswerInterrupt { reply, found } => reply.tell(Ok(found)),
            Effect::AnswerFlush { reply, flushed } => reply.tell(Ok(flushed)),
            Effect::Confirm { reply } => reply.tell(Ok(())),
            Effect::Deliver { to, mail } => {
                // A reader that is not here finds it in its mailbox when it is acquired.
                if let Some(slot) = (self.world.turns.find)(to) {
                    drop(slot.control(ThreadMsg::Mail { mail }));
                }
            }
            Effect::FreeWindow { places } => {
                if let Some(live) = &self.live {
                    live.link
                        .window
                        .add_permits(places.min(self.world.turns.limits.emit_window_max));
                }
            }
            Effect::Park => self.slot.set_door(Door::Parked),
            Effect::Unpark => self.slot.set_door(Door::Open),
            Effect::AskClose => self.ask_close(),
            Effect::Sleep { reply } => self.sleep(reply),
            Effect::End(how) => self.end(how),
            Effect::AskPermit { turn } => self.ask_permit(turn),
            Effect::Cancel { turn } => {
                if let Some(live) = self.live_turn(&turn) {
                    live.link.cancel.cancel();
                }
            }
            Effect::Kill { turn } => {
                if let Some(live) = self.live_turn(&turn) {
                    live.link.revoke();
                    live.actor.kill();
                }
            }
            Effect::Fence { turn } => {
                if self.live_turn(&turn).is_some() {
                    if let Some(live) = self.live.take() {
                        live.link.count_as_zombie(&self.world.turns.leases);
                    }
                }
            }
            Effect::TurnOver { turn, keep_session } => {
                if self.live_turn(&turn).is_some() {
                    self.live = None;
                }
                if !keep_session {
                    self.session = None;
                }
            }
            Effect::DropSession => self.session = None,
            Effect::Arm { at, tick } => self.arm(at, tick),
            Effect::FreePlace => self.slot.free_place(),
            Effect::Shut => {
                self.slot.set_door(Door::Closed);
                let thread = self.fence.thread;
                for msg in self.slot.take_input() {
                    self.slot.free_place();
                    refuse_closed(msg, thread);
                }
                if let Some(looking) = self.looking_up.take() {
                    self.slot.free_place();
                    looking.reply.tell(Err(SubmitError::Closed { thread }));
                }
            }
        }
    }

    fn live_turn(&self, turn: &TurnId) -> Option<&LiveTurn> {
        self.live.as_ref().filter(|live| live.turn == *turn)
    }

    fn publish(&self, turn: Option<&TurnId>, event: ThreadEvent) {
        let about = Some(&**self.slot.about());
        let fact = Fact::Thread(event);
        let kind = fact.kind();
        self.world.turns.hub.publish(about, self.fence.epoch, turn, kind, || fact);
    }

    fn arm(&self, at: Instant, tick: ThreadTick) {
        let (slot, epoch) = (Arc::downgrade(&self.slot), self.fence.epoch);
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            if let Some(slot) = slot.upgrade() {
                slot.notice(ThreadMsg::Tick { epoch, tick });
            }
        });
    }

    fn ask_permit(&mut self, turn: TurnId) {
        let world = &self.world;
        if let Ok(permit) = world.permits.clone().try_acquire_owned() {
            let permit = TurnPermit::new(permit, world.turns.leases.grant(LeaseKind::TurnPermit));
            self.slot.notice(ThreadMsg::Permitted { turn, permit });
            return;
        }
        let (slot, permits) = (Arc::downgrade(&self.slot), world.permits.clone());
        let leases = world.turns.leases.clone();
        tokio::spawn(async move {
            let Ok(permit) = permits.acquire_owned().await else { return };
            if let Some(slot) = slot.upgrade() {
                let permit = TurnPermit::new(permit, leases.grant(LeaseKind::TurnPermit));
                slot.notice(ThreadMsg::Permitted { turn, permit });
            }
        });
    }

    fn launch(&mut self, launch: Launch) {
        let now = self.now();
        let mut runs = false;
        self.decide(|core, out| runs = core.launched(&launch.turn, now, out));
        if !runs {
            return;
        }
        let Launch { turn, attempt, kind, items, trace, seq } = launch;
        let turns = self.world.turns.clone();
        let link = Arc::new(TurnLink::new(turn.clone(), turns.limits.emit_window_max));
        let args = TurnArgs {
            cx: TurnContext {
                world: turns,
                slot: self.slot.clone(),
                link: link.clone(),
                epoch: self.fence.epoch,
                seq,
            },
            input: TurnInput { turn: turn.clone(), attempt, kind, items, trace },
            engine: self.world.engine.clone(),
            session: self.session.take(),
            config: self.core.config.clone(),
        };
        // Does not wait: the turn's `pre_start` only takes its arguments.
        let spawned =
            TurnActor::spawn_linked(None, TurnActor, args, self.myself.get_cell()).now_or_never();
        match spawned {
            Some(Ok((actor, _join))) => self.live = Some(LiveTurn { turn, actor, link }),
            _ => {
                let jitter = self.world.turns.ids.fraction();
                let end = TurnEnd::Failed("the turn's actor did not start".into());
                self.decide(|core, out| core.turn_ended(&turn, end, jitter, now, out));
            }
        }
    }

    fn ask_close(&self) {
        let deadline = self.world.turns.clock.deadline(self.world.turns.limits.call_timeout);
        let (reply, _nobody_waits) = Reply::channel(deadline, None);
        let scope = CloseScope::Thread(self.fence.thread);
        let drain = std::time::Duration::ZERO;
        self.world.turns.uplink.send(SupervisorMsg::Close { scope, drain, reply });
    }

    /// Leaves only: what is linked under this actor would go down with it.
    fn sleep(&mut self, reply: Option<Reply<(), ControlError>>) {
        let has_children = !self.myself.get_children().is_empty();
        let refusal = match self.core.hibernate() {
            Ok(()) if has_children => Some(self.core.wrong_phase("the parent of live threads")),
            Ok(()) => None,
            Err(refusal) => Some(refusal),
        };
        let asleep = refusal.is_none() && self.slot.try_sleep();
        if let Some(reply) = reply {
            reply.tell(match refusal {
                None if asleep => Ok(()),
                None => Err(self.core.wrong_phase("busy")),
                Some(refusal) => Err(refusal),
            });
        }
        if asleep {
            self.end(Ended::Dormant);
        }
    }

    fn end(&mut self, how: Ended) {
        self.exit.how = how;
        self.over = true;
        self.myself.stop(None);
    }

    // Writing.

    fn gather(&mut self, more: Batch) {
        let most = self.world.turns.limits.batch_records_max;
        if self.writes.batch.records.len() + more.records.len() > most {
            self.flush();
        }
        self.writes.add(more);
    }

    /// Appends what was gathered. False if there was nothing.
    fn flush(&mut self) -> bool {
        if self.writes.batch.is_empty() {
            return false;
        }
        let batch = std::mem::take(&mut self.writes.batch);
        let expected = self.writes.from;
        self.writes.from = expected.plus(batch.records.len() as u64);
        self.writes.made += 1;
        let append = self.writes.made;
        if self.world.turns.hub.wants(EventKind::Record) {
            let turn = self.core.turn.as_ref().map(|turn| turn.id.clone());
            for (place, record) in batch.records.iter().enumerate() {
                let seq = expected.plus(place as u64);
                let event = ThreadEvent::RecordAppended { seq, class: record.class.clone() };
                self.writes
                    .parked
                    .push_back((append, Effect::Publish { turn: turn.clone(), event }));
            }
        }
        let (slot, epoch) = (self.slot.clone(), self.fence.epoch);
        let done =
            Done::new(move |result| slot.notice(ThreadMsg::Committed { epoch, append, result }));
        self.world.turns.store.append(self.fence, expected, batch, done);
        true
    }

    fn on_committed(&mut self, append: u64, result: Result<Seq, StoreError>) {
        match result {
            Ok(_head) => {
                self.writes.durable = self.writes.durable.max(append);
                while let Some((_, effect)) =
                    self.writes.parked.pop_front_if(|(number, _)| *number <= append)
                {
                    self.carry_out(effect);
                    if self.over {
                        return;
                    }
                }
            }
            Err(error) => self.on_refused(&error),
        }
    }

    /// The store refused: what was decided is not so, and this incarnation cannot go on. Nothing
    /// that waited for the write is told as done.
    fn on_refused(&mut self, error: &StoreError) {
        for (_, effect) in std::mem::take(&mut self.writes.parked) {
            if let Effect::Accept { reply, receipt } = effect {
                reply.tell(Err(match error {
                    StoreError::UnknownOutcome { .. } => {
                        SubmitError::Unknown { submission: receipt.submission }
                    }
                    error => SubmitError::Store(error.clone()),
                }));
            }
        }
        if let Some(live) = self.live.take() {
            live.link.revoke();
            live.actor.kill();
        }
        let how = match error {
            StoreError::Fenced { .. } | StoreError::NotFound { .. } => Ended::Fenced,
            error => Ended::Crashed { cause: error.to_string() },
        };
        self.end(how);
    }
}

impl Drop for ThreadState {
    /// However the actor dies, its turn loses every right (P1).
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            live.link.revoke();
            live.actor.kill();
        }
    }
}

impl Writes {
    /// Whether something that was decided earlier is not durable, or not told yet.
    fn are_pending(&self) -> bool {
        !self.batch.is_empty() || self.made != self.durable || !self.parked.is_empty()
    }

    fn add(&mut self, more: Batch) {
        let batch = &mut self.batch;
        batch.records.extend(more.records);
        batch.accepted.extend(more.accepted);
        batch.states.extend(more.states);
        batch.mail.extend(more.mail);
        batch.mail_taken.extend(more.mail_taken);
        if more.status.is_some() {
            batch.status = more.status;
        }
    }
}

fn end_of(result: Result<crate::engine::TurnOutput, EngineError>) -> TurnEnd {
    match result {
        Ok(output) => TurnEnd::Done(output.message),
        Err(EngineError::Transient { message, retry_after }) => {
            TurnEnd::Transient { message, retry_after }
        }
        Err(EngineError::Overloaded) => TurnEnd::Overloaded,
        Err(EngineError::SessionLost { message }) => TurnEnd::SessionLost(message),
        Err(EngineError::Fatal { message }) => TurnEnd::Failed(message),
        Err(EngineError::Stopped) => TurnEnd::Stopped,
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}
