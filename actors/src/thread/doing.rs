//! Carrying out what a thread's core decided. Nothing here waits: what may only follow a write is
//! parked until the store reports it.

use std::sync::Arc;

use coppicer_messages::{
    ControlError, Ended, Fact, Reply, SubmitError, SupervisorMsg, ThreadEvent, ThreadMsg, TurnId,
};

use super::core::ThreadCore;
use super::effect::{Effect, Launch};
use super::mailbox::ReadMail;
use super::state::{LiveTurn, ThreadState};
use crate::bugs::Bug;
use crate::engine::{TurnClock, TurnContext, TurnInput, TurnLink};
use crate::slot::{Door, Slot, refuse_closed};
use crate::store::{Done, Fence};
use crate::traces::TurnTrace;
use crate::turn::{self, TurnArgs};

impl ThreadState {
    #[inline(never)] // see `caught`
    pub(super) fn decide(&mut self, decide: impl FnOnce(&mut ThreadCore, &mut Vec<Effect>)) {
        let mut effects = kept::list();
        self.look_at_budget();
        decide(&mut self.core, &mut effects);
        self.carry_out_all(effects);
    }

    #[inline(never)] // see `caught`
    fn carry_out_all(&mut self, mut effects: Vec<Effect>) {
        for effect in effects.drain(..) {
            if effect.waits_for_writes() && self.writes.are_pending() {
                let number = self.writes.made + u64::from(!self.writes.batch.is_empty());
                self.writes.parked.push_back((number, effect));
            } else {
                self.carry_out(effect);
            }
        }
        kept::give_back(effects);
        // A thread that does not ask any more gives up its place in line.
        if self
            .in_line
            .as_ref()
            .is_some_and(|place| self.core.asking.as_ref() != Some(place.turn()))
        {
            self.in_line = None;
        }
    }

    /// The only place where this actor touches the world. Nothing here waits.
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Write(batch) => self.gather(batch),
            Effect::Accept { reply, receipt } => {
                self.slot.touch(self.now().instant);
                reply.tell(Ok(receipt));
            }
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
            Effect::TellRecords { turn, from, classes } => {
                let (about, epoch) = (self.slot.about(), self.fence.epoch);
                self.world.turns.hub.tell_records(self.at_ms, about, epoch, turn, from, classes);
            }
            Effect::Show { status, phase, turn, waiting_for_host, has_work, ended } => {
                self.slot.touch(self.now().instant);
                let changed = self.slot.change_view(|view| {
                    if let Some(last) = ended {
                        view.turns += 1;
                        if last.error.is_some() || view.work.last_error.is_some() {
                            view.work.last_error = last.error;
                        }
                    }
                    view.turn = turn;
                    view.waiting_for_host = waiting_for_host;
                    view.has_work = has_work;
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
            Effect::ShowTask { task } => {
                self.slot.change_view(|view| view.work.last_task = Some(task));
            }
            Effect::Launch(launch) => self.launch(launch),
            Effect::GiveItems { reply, items } => reply.tell(Ok(items)),
            Effect::AnswerInterrupt { reply, found } => reply.tell(Ok(found)),
            Effect::AnswerFlush { reply, flushed } => reply.tell(Ok(flushed)),
            Effect::Confirm { reply } => reply.tell(Ok(())),
            Effect::Deliver { to, mail } => {
                // A dormant reader finds it in its mailbox when it wakes: queue-only mail wakes nobody.
                // One that is coming up is told, because it may have read the mailbox before.
                let wakes = mail.trigger;
                let told = |slot: &Arc<Slot>| wakes || slot.door() != Door::Dormant;
                match (self.world.turns.find)(to) {
                    Some(slot) if told(&slot) => {
                        if slot.control(ThreadMsg::Mail { mail }).is_err() {
                            slot.notice(ThreadMsg::LookForMail);
                        }
                    }
                    None if wakes => {
                        self.world.turns.uplink.send(SupervisorMsg::Activate { thread: to });
                    }
                    Some(_) | None => {}
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
            Effect::Unpark => {
                self.slot.set_door(Door::Open);
                let thread = self.fence.thread;
                self.world.turns.uplink.send(SupervisorMsg::Revived { thread });
            }
            Effect::TakePlace => self.slot.take_place(),
            Effect::TellCrash { spent } => {
                let Fence { thread, epoch } = self.fence;
                self.world.turns.uplink.send(SupervisorMsg::TurnCrashed { thread, epoch, spent });
            }
            Effect::AskClose => {
                let Fence { thread, epoch } = self.fence;
                self.world.turns.uplink.send(SupervisorMsg::CloseItself { thread, epoch });
            }
            Effect::ReadMail(ReadMail { after, most }) => {
                let (slot, epoch) = (self.slot.clone(), self.fence.epoch);
                let done =
                    Done::new(move |result| slot.notice(ThreadMsg::MailRead { epoch, result }));
                self.world.turns.store.mail_page(self.fence.thread, after, most, done);
            }
            Effect::TellAnswer { reply, answer } => reply.tell(Ok(answer)),
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
                    live.end();
                }
            }
            Effect::Fence { turn } => {
                if self.live_turn(&turn).is_some()
                    && let Some(live) = self.live.take()
                {
                    self.settle(&live.link);
                    live.link.count_as_zombie(&self.world.turns.leases, self.slot.holdings());
                }
            }
            Effect::TurnOver { turn, keep_session } => {
                if self.live_turn(&turn).is_some() {
                    self.live = None;
                }
                self.end_timers_of(&turn);
                if !keep_session {
                    self.session = None;
                }
            }
            Effect::Refund => {
                let own = self.slot.purse().and_then(|purse| purse.own());
                let begun = own.and_then(|own| own.begin_end(self.world.turns.store.clone()));
                if let Some((charges, refund)) = begun {
                    if self.core.seeded.has(Bug::DoubleRefund) {
                        self.writes.batch.charges.extend(charges.clone());
                    }
                    self.writes.batch.charges.extend(charges);
                    self.writes.refund = Some(Box::new(refund));
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
                for looking in std::mem::take(&mut self.looking_up) {
                    if !looking.submission.op.is_control() {
                        self.slot.free_place();
                    }
                    looking.reply.tell(Err(SubmitError::Closed { thread }));
                }
            }
        }
    }

    pub(super) fn live_turn(&self, turn: &TurnId) -> Option<&LiveTurn> {
        self.live.as_deref().filter(|live| live.turn == *turn)
    }

    pub(super) fn publish(&self, turn: Option<&TurnId>, event: ThreadEvent) {
        let about = Some(&**self.slot.about());
        let (epoch, fact) = (self.fence.epoch, Fact::Thread(event));
        self.world.turns.hub.tell(self.at_ms, about, epoch, turn, fact);
    }

    pub(super) fn ask_permit(&mut self, turn: TurnId) {
        self.in_line = self.world.permits.ask(&self.slot, turn).map(Box::new);
    }

    pub(super) fn launch(&mut self, launch: Launch) {
        let now = self.now();
        let mut runs = false;
        self.decide(|core, out| runs = core.launched(&launch.turn, now, out));
        if !runs {
            return;
        }
        let Launch { turn, attempt, kind, items, trace, seq } = launch;
        let turns = self.world.turns.clone();
        let spending = self.slot.purse().map(|purse| purse.begin(&self.slot, &turn, now.instant));
        let clock = Arc::new(TurnClock::starting(now.at_ms));
        let window = turns.limits.emit_window_max;
        let link = Arc::new(TurnLink::new(turn.clone(), window, clock.clone(), spending));
        let input = TurnInput { turn: turn.clone(), attempt, kind, items, trace };
        let (epoch, config) = (self.fence.epoch, self.core.config.clone());
        let of = self.trace.as_deref();
        let trace = TurnTrace::begin(&turns.traces, &self.slot, epoch, &config, of, &input);
        let own = trace.as_ref().and_then(|trace| trace.context());
        self.core.traced_by(own.as_ref().or(input.trace.as_ref()));
        let args = TurnArgs {
            cx: TurnContext {
                world: turns,
                slot: self.slot.clone(),
                link: link.clone(),
                epoch,
                seq,
                cause: input.trace.clone(),
                trace,
            },
            input,
            engine: self.world.engine.clone(),
            session: self.session.take(),
            config,
        };
        let shown = self.slot.show_clock(clock);
        self.live = Some(Box::new(LiveTurn { turn, task: turn::start(args), link, _shown: shown }));
        self.watch_turn(now);
        self.watch_time();
    }

    /// Leaves only: what is linked under this actor would go down with it.
    pub(super) fn sleep(&mut self, reply: Option<Reply<(), ControlError>>) {
        // Others that want it to sleep are nothing to wait for: each would wait for the other.
        let of_another = |effect: &Effect| !matches!(effect, Effect::Sleep { .. });
        let untold = self.writes.parked.iter().any(|(_, effect)| of_another(effect));
        if untold || self.writes.made != self.writes.durable || !self.writes.batch.is_empty() {
            // What was accepted or decided behind the request is written and told first.
            let number = self.writes.made + u64::from(!self.writes.batch.is_empty());
            self.writes.parked.push_back((number, Effect::Sleep { reply }));
            return;
        }
        let has_children = !self.myself.get_children().is_empty();
        let refusal = match self.core.hibernate() {
            Ok(()) if has_children => Some(self.core.wrong_phase("the parent of live threads")),
            // Taken out of the inbox, and not accepted yet: it must not be lost.
            Ok(()) if !self.looking_up.is_empty() => Some(self.core.wrong_phase("busy")),
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
            for (_, effect) in std::mem::take(&mut self.writes.parked) {
                if let Effect::Sleep { reply: Some(reply) } = effect {
                    reply.tell(Ok(()));
                }
            }
            self.end(Ended::Dormant);
        }
    }

    pub(super) fn end(&mut self, how: Ended) {
        self.exit.how = how;
        self.over = true;
        self.myself.stop(None);
    }
}

/// Lists for what is decided, empty: kept for each worker, not for each thread, because a list is in use
/// for the length of a decision only.
mod kept {
    use std::cell::RefCell;

    use super::Effect;

    /// One for each decision within another, and some.
    const LISTS_MAX: usize = 8;

    /// Most effects that a list which is kept has room for.
    const EFFECTS_MAX: usize = 64;

    thread_local! {
        static LISTS: RefCell<Vec<Vec<Effect>>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn list() -> Vec<Effect> {
        LISTS.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    pub(super) fn give_back(list: Vec<Effect>) {
        if list.is_empty() && list.capacity() <= EFFECTS_MAX {
            LISTS.with_borrow_mut(|lists| {
                if lists.len() < LISTS_MAX {
                    lists.push(list);
                }
            });
        }
    }
}
