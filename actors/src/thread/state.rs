//! The thread's hands: takes messages out of the slot, has its core decide, and carries it out.

use std::collections::VecDeque;
use std::sync::Arc;

use coppicer_messages::{
    Accepted, Charge, CrashRecord, Ended, Epoch, EventKind, Fact, KnownSubmission, LeaseKind,
    NewRecord, Now, Reply, StoreError, Submission, SubmissionId, SubmissionState, SubmitError,
    SupervisorMsg, ThreadEvent, ThreadId, ThreadMsg, ThreadTick, TurnId,
};
use ractor::{ActorProcessingErr, ActorRef};
use tokio::task::AbortHandle;

use super::core::{Restored, ThreadCore};
use super::effect::Effect;
use super::running::TurnEnd;
use super::times::Timers;
use super::watch::Watch;
use super::writes::Writes;
use super::{ExitGuard, Rise, ThreadArgs, ThreadWorld, Wake, new_core, restore};
use crate::caught::caught;
use crate::engine::{EngineSession, TurnLink, TurnWorld};
use crate::permits::InLine;
use crate::seldom::{Blank, Seldom};
use crate::slot::{ShownClock, Slot};
use crate::store::{Done, Fence, digest};
use crate::traces::ThreadTrace;

pub(crate) struct ThreadState {
    pub(super) core: ThreadCore,
    pub(super) world: ThreadWorld,
    pub(super) slot: Arc<Slot>,
    pub(super) fence: Fence,
    pub(super) myself: ActorRef<Wake>,
    pub(super) exit: ExitGuard,
    rise: Rise,
    /// What it begins with; blank once it has begun.
    beginning: Seldom<Beginning>,
    /// Where it stands in line for a turn permit.
    pub(super) in_line: Option<Box<InLine>>,
    /// Whether it is told when there is more of its budget.
    pub(super) waits_for_budget: bool,
    pub(super) session: Option<Box<dyn EngineSession>>,
    pub(super) live: Option<Box<LiveTurn>>,
    pub(super) writes: Writes,
    /// Submissions whose ids are looked up, one after the other: input waits behind them, to keep
    /// its order.
    pub(super) looking_up: Seldom<VecDeque<LookedUp>>,
    pub(super) watch: Seldom<Watch>,
    pub(super) timers: Timers,
    pub(super) over: bool,
    /// When the message that it handles was taken: the time of all facts that follow.
    pub(super) at_ms: u64,
    /// Its span, if somebody records it.
    pub(super) trace: Option<Box<ThreadTrace>>,
    /// The last field: dropped after all that holds the slot.
    let_go: LetGo,
}

/// What an incarnation finds of those before it.
#[derive(Default)]
struct Beginning {
    recovery: Vec<NewRecord>,
    crash: Option<CrashRecord>,
    open: Vec<(Restored, SubmissionState)>,
    charges: Vec<Charge>,
}

impl Blank for Beginning {
    const BLANK: &'static Self =
        &Self { recovery: Vec::new(), crash: None, open: Vec::new(), charges: Vec::new() };

    fn is_blank(&self) -> bool {
        let Self { recovery, crash, open, charges } = self;
        recovery.is_empty() && crash.is_none() && open.is_empty() && charges.is_empty()
    }
}

/// Tells the supervisor that an actor that went to sleep has let go of its slot.
struct LetGo {
    thread: ThreadId,
    world: Arc<TurnWorld>,
    asleep: bool,
}

impl Drop for LetGo {
    fn drop(&mut self) {
        if self.asleep {
            self.world.uplink.send(SupervisorMsg::LetGo { thread: self.thread });
        }
    }
}

/// The turn that runs.
pub(super) struct LiveTurn {
    pub(super) turn: TurnId,
    pub(super) task: AbortHandle,
    pub(super) link: Arc<TurnLink>,
    pub(super) _shown: ShownClock,
}

impl LiveTurn {
    /// Takes every right from the turn, and drops its future at its next await.
    pub(super) fn end(&self) {
        self.link.revoke();
        self.task.abort();
    }
}

pub(super) struct LookedUp {
    id: SubmissionId,
    pub(super) submission: Submission,
    pub(super) reply: Reply<Accepted, SubmitError>,
}

impl ThreadState {
    pub(super) fn assemble(args: ThreadArgs, myself: ActorRef<Wake>) -> Self {
        let ThreadArgs {
            world,
            slot,
            mut acquired,
            recovery,
            left,
            crash,
            rise,
            charges,
            told,
            trace,
        } = args;
        let about = slot.about();
        let core = new_core(&world.turns, &mut acquired, about.path.clone());
        let exit = ExitGuard {
            thread: about.thread,
            epoch: acquired.fence.epoch,
            how: Ended::Killed,
            world: Some(world.turns.clone()),
            resident: Some(world.turns.leases.grant_to(LeaseKind::Resident, slot.holdings())),
        };
        let let_go = LetGo { thread: about.thread, world: world.turns.clone(), asleep: false };
        let head = acquired.thread.head;
        let crash = crash.map(|cause| {
            let (turn, place) = left.map_or((None, 0), |(turn, place)| (Some(turn), place));
            let epoch = Epoch(acquired.fence.epoch.0.saturating_sub(1));
            let at_ms = world.turns.clock.now().at_ms;
            CrashRecord { at_ms, epoch, turn, seq: head, place, cause: cause.into() }
        });
        let open = restore(acquired.open);
        let epoch = acquired.fence.epoch;
        slot.change_view(|view| {
            view.epoch = epoch;
            view.has_work = true; // until it says what there is to do
        });
        // The first that is told of it: it has done nothing yet.
        let description = told.as_ref().and_then(|_| slot.description());
        for event in told.into_iter().chain(description) {
            let fact = || Fact::Runtime(event);
            world.turns.hub.publish(Some(slot.about()), epoch, None, EventKind::Runtime, fact);
        }
        let bridge = &world.turns.traces;
        let trace = ThreadTrace::begin(bridge, slot.about(), epoch, &core.config, trace.as_ref());
        slot.attach(myself.clone(), open.len());
        let beginning = Beginning { recovery, crash, open, charges };
        Self {
            core,
            world,
            slot,
            fence: acquired.fence,
            myself,
            exit,
            rise,
            beginning: beginning.into(),
            in_line: None,
            waits_for_budget: false,
            session: None,
            live: None,
            writes: Writes::starting_at(head),
            looking_up: Seldom::none(),
            watch: Seldom::none(),
            timers: Timers::default(),
            over: false,
            at_ms: 0,
            trace: trace.map(Box::new),
            let_go,
        }
    }

    /// Runs a step. A panic in it ends the actor, and is told as what it is.
    pub(super) fn guarded(
        &mut self,
        step: impl FnOnce(&mut Self),
    ) -> Result<(), ActorProcessingErr> {
        caught(|| step(self)).map_err(|cause| {
            self.exit.how = Ended::Crashed { cause: cause.clone() };
            self.take_down();
            cause.into()
        })
    }

    /// What was taken up and not accepted waits for the next incarnation. Whoever waits for a write
    /// that nobody hears of any more has to ask again. Before the end is told: the next incarnation
    /// counts what waits.
    fn give_back(&mut self) {
        for looking in std::mem::take(&mut self.looking_up).into_iter().rev() {
            let LookedUp { id, submission, reply } = looking;
            let is_control = submission.op.is_control();
            let msg = ThreadMsg::Submit { submission, id, chosen: true, reply };
            self.slot.put_back(msg, is_control);
        }
        for (_, effect) in std::mem::take(&mut self.writes.parked) {
            if let Effect::Accept { reply, receipt } = effect {
                reply.tell(Err(SubmitError::Unknown { submission: receipt.submission }));
            }
        }
    }

    /// Kills its turn and what is linked under this actor, which is on its way out: last started
    /// first (SV-3). ractor does the latter too, in no order.
    pub(super) fn take_down(&self) {
        if let Some(live) = &self.live {
            live.end();
        }
        let mut below = vec![self.myself.get_cell()];
        let mut at = 0;
        while let Some(actor) = below.get(at) {
            let mut children = actor.get_children();
            children.sort_unstable_by_key(ractor::ActorCell::get_id);
            below.append(&mut children);
            at += 1;
        }
        for actor in below.drain(1..).rev() {
            actor.kill();
        }
    }

    pub(super) fn begin(&mut self) {
        let now = self.now();
        self.at_ms = now.at_ms;
        let Beginning { recovery, crash, open, charges } = self.beginning.take();
        if self.rise == Rise::ToWork {
            // With the write that says that it is open again.
            if !charges.is_empty() {
                self.writes.batch.charges.extend(charges);
            }
        }
        let rise = self.rise;
        self.decide(|core, out| core.begin(recovery, open, crash, rise, now, out));
        self.make_up();
        self.drain();
    }

    /// Tells what an earlier incarnation had made durable and could not tell any more: outcomes that
    /// are waited for, and mail in the parent's mailbox.
    fn make_up(&self) {
        for id in self.slot.awaited() {
            let (slot, hub) = (self.slot.clone(), self.world.turns.hub.clone());
            let (asked, epoch) = (id.clone(), self.fence.epoch);
            let done = Done::new(move |found| {
                if let Ok(Some(KnownSubmission {
                    state: SubmissionState::Ended(outcome), ..
                })) = found
                {
                    let event = ThreadEvent::SubmissionEnded {
                        submission: id.clone(),
                        outcome: outcome.clone(),
                    };
                    let fact = || Fact::Thread(event);
                    hub.publish(Some(&**slot.about()), epoch, None, EventKind::Submission, fact);
                    slot.settle(&id, &outcome);
                }
            });
            self.world.turns.store.submission(self.fence.thread, &asked, done);
        }
        if let Some(parent) = self.core.parent.and_then(|parent| (self.world.turns.find)(parent))
            && parent.is_attached()
        {
            drop(parent.control(ThreadMsg::LookForMail));
        }
    }

    /// Takes what waits, control before input, then writes all that came of it in one append.
    #[inline(never)] // see `caught`
    pub(super) fn drain(&mut self) {
        let most = self.world.turns.limits.messages_per_wake_max;
        for _ in 0..most {
            if self.over {
                return;
            }
            // What is written wakes this actor once it is durable, unless that is so at once.
            let stays_awake = !self.writes.batch.is_empty();
            if let Some(msg) = self.slot.take(self.looking_up.is_empty(), stays_awake) {
                self.on_msg(msg);
            } else if !self.flush() {
                return;
            }
        }
        self.flush();
        // Others run first; then on.
        drop(self.myself.cast(Wake));
    }

    pub(super) fn now(&self) -> Now {
        self.world.turns.clock.now()
    }

    #[inline(never)] // see `caught`
    pub(super) fn on_msg(&mut self, msg: ThreadMsg) {
        let now = self.now();
        self.at_ms = now.at_ms;
        match msg {
            ThreadMsg::Submit { submission, id, chosen, reply } => {
                self.on_submit(submission, id, chosen, reply, now);
            }
            ThreadMsg::Interrupt { reply } if reply.expired(now.instant) => drop(reply),
            ThreadMsg::Interrupt { reply } => {
                self.decide(|core, out| core.interrupt(reply, now, out));
            }
            ThreadMsg::Answer { question, answer, reply } => self.decide(|core, out| {
                if !reply.expired(now.instant) {
                    reply.tell(core.answer(&question, answer, out));
                }
            }),
            ThreadMsg::Park { reply }
            | ThreadMsg::Revive { reply }
            | ThreadMsg::Hibernate { reply }
                if reply.expired(now.instant) =>
            {
                drop(reply); // P4: nobody waits for it any more
            }
            ThreadMsg::Park { reply } => self.decide(|core, out| core.park(reply, now, out)),
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
            ThreadMsg::LookForMail => self.decide(ThreadCore::look_for_mail),
            ThreadMsg::SitParked => self.decide(ThreadCore::sit_parked),
            ThreadMsg::Moved => self.on_moved(),
            ThreadMsg::MailRead { epoch, result } if epoch == self.fence.epoch => {
                self.decide(|core, out| core.mail_read(result.ok(), now, out));
            }
            ThreadMsg::TakeSteered { turn, reply } => {
                self.decide(|core, out| core.take_steered(&turn, reply, now, out));
            }
            ThreadMsg::Emitted { turn, records, said } => {
                self.decide(|core, out| core.emitted(&turn, records, said, out));
            }
            ThreadMsg::LeaveMail { turn, to, mail, reply } => {
                self.decide(|core, out| core.leave_mail(&turn, to, mail, reply, out));
            }
            ThreadMsg::Asked { turn, question, body, reply } => {
                self.decide(|core, out| core.asked(&turn, question, body, reply, out));
            }
            ThreadMsg::Explain { reply } => {
                if !reply.expired(now.instant) {
                    reply.tell(Ok(self.core.account(self.writes.are_pending(), now)));
                }
            }
            ThreadMsg::Watch { turn, at } => self.on_watch(&turn, at),
            ThreadMsg::HoldsUp { patience } => self.on_holds_up(patience),
            ThreadMsg::TurnGone { turn } => self.on_turn_gone(&turn),
            ThreadMsg::BudgetSpent { turn, limit } => {
                self.decide(|core, out| core.budget_spent(&turn, limit, now, out));
            }
            ThreadMsg::LookAtBudget => self.on_budget_changed(),
            ThreadMsg::Tick { epoch, tick: ThreadTick::BudgetDue(turn) }
                if epoch == self.fence.epoch =>
            {
                self.on_budget_due(&turn);
            }
            ThreadMsg::Permitted { turn, permit } => {
                self.decide(|core, out| core.permitted(&turn, permit, now, out));
            }
            ThreadMsg::Committed { epoch, append, result } if epoch == self.fence.epoch => {
                self.on_committed(append, result);
            }
            ThreadMsg::LookedUp { epoch, result } if epoch == self.fence.epoch => {
                self.on_looked_up(result, now);
            }
            ThreadMsg::Tick { epoch, tick: ThreadTick::StuckDue } if epoch == self.fence.epoch => {
                self.on_stuck_due();
            }
            ThreadMsg::Tick { epoch, tick } if epoch == self.fence.epoch => {
                self.decide(|core, out| core.tick(tick, now, out));
            }
            // Notices for an incarnation that is gone.
            ThreadMsg::Committed { .. }
            | ThreadMsg::LookedUp { .. }
            | ThreadMsg::MailRead { .. }
            | ThreadMsg::Tick { .. } => {}
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
        if !chosen || self.core.closing.is_some() {
            return self.decide(|core, out| core.submit(id, submission, place, reply, now, out));
        }
        self.looking_up.push_back(LookedUp { id, submission, reply });
        if self.looking_up.len() == 1 {
            self.look_up_next();
        }
    }

    /// Has the store look up the first of those that wait for it.
    fn look_up_next(&mut self) {
        let Some(asked) = self.looking_up.front().map(|looking| looking.id.clone()) else { return };
        // What was accepted and is not written yet must be there when the store looks.
        self.flush();
        let (slot, epoch) = (self.slot.clone(), self.fence.epoch);
        let done = Done::new(move |result| slot.notice(ThreadMsg::LookedUp { epoch, result }));
        self.world.turns.store.submission(self.fence.thread, &asked, done);
    }

    fn on_looked_up(&mut self, result: Result<Option<KnownSubmission>, StoreError>, now: Now) {
        let Some(looked_up) = self.looking_up.pop_front() else { return };
        self.admit(looked_up, result, now);
        self.look_up_next();
    }

    /// Accepts what is new, and answers what is known.
    fn admit(
        &mut self,
        looked_up: LookedUp,
        found: Result<Option<KnownSubmission>, StoreError>,
        now: Now,
    ) {
        let LookedUp { id, submission, reply } = looked_up;
        let place = !submission.op.is_control();
        let answer = match found {
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

    /// The code of a turn is gone: it came to its end, or was killed. What it emitted came before.
    fn on_turn_gone(&mut self, turn: &TurnId) {
        let Some(live) = self.live_turn(turn) else {
            return; // it was fenced off
        };
        let report = live.link.report.lock().take();
        let (end, session) = match report {
            Some(report) => (report.end, report.session),
            None if live.link.is_revoked() => (TurnEnd::Killed, None),
            // Nobody here killed it: the tokio runtime goes down and drops its tasks, in any order.
            // The turn has not ended; the next host finds it unfinished.
            None => return,
        };
        self.session = session;
        self.end_turn(&end);
    }

    fn end_turn(&mut self, end: &TurnEnd) {
        let Some(live) = self.live.take() else { return };
        self.settle(&live.link);
        if matches!(end, TurnEnd::Done(_)) {
            self.turn_went_well();
        }
        let (now, jitter) = (self.now(), self.world.turns.ids.fraction());
        self.decide(|core, out| core.turn_ended(&live.turn, end, jitter, now, out));
    }
}

impl ThreadState {
    /// Lets go of all that an incarnation holds of its turn and its engine: before its end is told, so
    /// that the next one does not begin beside it, and so that no supervisor keeps it, to whom ractor
    /// hands this state. The turn loses every right (P1).
    fn release(&mut self, how: &Ended) {
        if let Some(live) = self.live.take() {
            live.end();
            live.link.count_as_zombie(&self.world.turns.leases, self.slot.holdings());
            self.settle_outside(&live.link);
        }
        if let Some(trace) = self.trace.take() {
            trace.end(how);
        }
        self.timers = Timers::default();
        self.session = None;
        self.core.turn = None; // its permit goes back
        self.core.queue.clear();
        self.core.mail.clear();
        self.give_back();
    }

    /// Ends it, and tells of it when it holds nothing more, its slot included: so the supervisor finds
    /// a thread that went to sleep held by nobody.
    pub(super) fn stop(mut self: Box<Self>) {
        let Fence { thread, epoch } = self.fence;
        let mut exit = std::mem::replace(&mut self.exit, ExitGuard::told(thread, epoch));
        self.release(&exit.how);
        self.slot.detach_from(&self.myself);
        drop(self);
        exit.tell();
    }
}

impl Drop for ThreadState {
    /// However the actor dies.
    fn drop(&mut self) {
        let how = self.exit.how.clone();
        self.release(&how);
        self.let_go.asleep = how == Ended::Dormant;
    }
}
