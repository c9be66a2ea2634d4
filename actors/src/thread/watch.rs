//! Watching the running turn: when its progress is looked at, and what is done if there was none.
//!
//! A thread has one timer at most. It is set for the first look that may find something, and set
//! again when it has come: progress itself only winds the turn's clock.

use std::collections::HashSet;
use std::time::Duration;

use coppicer_messages::{
    Deadline, Now, Remedy, SupervisorMsg, ThreadEvent, ThreadId, ThreadMsg, ThreadTick, TurnId,
    TurnPhase,
};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::control::later;
use super::state::ThreadState;
use crate::engine::TurnClock;
use crate::seldom::Blank;
use crate::slot::Slot;
use crate::stuck::{self, End, Link, Looked, Periods, Verdict};

/// How many of those who wait for a stuck thread are named.
const WAITERS_TOLD_MAX: usize = 64;

/// What a thread remembers of looks at its turns.
#[derive(Default)]
pub(super) struct Watch {
    timer: Option<Timer>,
    /// What was done last, and when, in milliseconds since the Unix epoch.
    last: Option<(Remedy, u64)>,
}

impl Blank for Watch {
    const BLANK: &'static Self = &Self { timer: None, last: None };

    fn is_blank(&self) -> bool {
        self.timer.is_none() && self.last.is_none()
    }
}

/// A look that is to come. Dropped, it does not.
struct Timer {
    at: Instant,
    task: AbortHandle,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ThreadState {
    fn periods(&self) -> Periods {
        Periods::of(&self.core.config.stuck, &self.world.turns.limits)
    }

    /// A turn was launched.
    pub(super) fn watch_turn(&mut self, now: Now) {
        self.look_by(later(now, self.periods().after));
    }

    /// Sets the timer, unless it is set for an earlier time.
    pub(super) fn look_by(&mut self, at: Instant) {
        if self.watch.timer.as_ref().is_some_and(|timer| timer.at <= at) {
            return;
        }
        self.watch.timer = Some(Timer { at, task: self.timer(at, ThreadTick::StuckDue) });
    }

    /// The turn set itself a deadline.
    pub(super) fn on_watch(&mut self, turn: &TurnId, at: Instant) {
        if self.live_turn(turn).is_some() {
            self.look_by(at);
        }
    }

    pub(super) fn on_stuck_due(&mut self) {
        if let Some(watch) = self.watch.there() {
            watch.timer = None;
        }
        self.look(None);
    }

    /// Another thread waits for this one, and has no more patience than that.
    pub(super) fn on_holds_up(&mut self, patience: Duration) {
        self.look(Some(patience));
    }

    /// A turn came to its own end: that is progress.
    pub(super) fn turn_went_well(&mut self) {
        if let Some(watch) = self.watch.there() {
            watch.last = None;
        }
    }

    /// Looks at the running turn, and acts if it is stuck.
    fn look(&mut self, patience: Option<Duration>) {
        let Some(live) = self.live.as_ref().filter(|live| !live.link.is_revoked()) else { return };
        let (turn, clock, now) = (live.turn.clone(), live.link.clock.clone(), self.now());
        let own = self.periods();
        let periods = patience.map_or(own, |patience| own.at_most(patience));
        let moved_since =
            |(_, acted_ms): &mut (_, u64)| clock.has_moved() && clock.progress_ms() > *acted_ms;
        if let Some(watch) = self.watch.there() {
            watch.last.take_if(moved_since);
        }
        let (phase, _) = clock.phase();
        let (progress_ms, now_ms) = (clock.progress_ms(), now.at_ms);
        let looked = Looked { phase: &phase, progress_ms, last: self.watch.last, now_ms };
        match stuck::judge(&looked, &periods) {
            Verdict::NotYet { at_ms } => {
                let left = Duration::from_millis(at_ms.saturating_sub(now_ms));
                return self.look_by(Deadline::after(now.instant, left).instant());
            }
            Verdict::Rest => {}
            Verdict::LookBelow => {
                let first = self.watch.last.is_none();
                self.watch.last = Some((Remedy::Tell, now_ms));
                self.look_below(&turn, &phase, &clock, first, now);
            }
            Verdict::Act(remedy) => {
                self.watch.last = Some((remedy, now_ms));
                self.tell_stuck(&turn, phase.clone(), &clock, remedy, Vec::new(), now);
                self.act(&turn, &phase, remedy, now);
            }
        }
        self.look_by(later(now, periods.of_phase(&phase)));
    }

    fn act(&mut self, turn: &TurnId, phase: &TurnPhase, remedy: Remedy, now: Now) {
        match remedy {
            Remedy::Interrupt => {
                let grace = later(now, self.world.turns.limits.interrupt_grace);
                self.decide(|core, out| core.cancel(grace, now, out));
            }
            Remedy::Restart => {
                let cause = format!("turn {turn} made no progress in phase {}", phase.name());
                let (thread, epoch) = (self.fence.thread, self.fence.epoch);
                self.world.turns.uplink.send(SupervisorMsg::Stuck { thread, epoch, cause });
            }
            _ => {}
        }
    }

    /// Has those who hold up this turn looked at. What cannot be acted on is told of, once.
    fn look_below(
        &self,
        turn: &TurnId,
        phase: &TurnPhase,
        clock: &TurnClock,
        first: bool,
        now: Now,
    ) {
        let (world, patience) = (&self.world.turns, self.periods().after);
        let ends = stuck::blockers(self.fence.thread, world.limits.stuck_chain_max, |thread| {
            (world.find)(thread).map_or(Link::Ended, |slot| link_of(&slot))
        });
        let mut pausing = Vec::new();
        for (thread, end) in ends {
            match end {
                End::Pauses => pausing.push(thread),
                End::Runs => {
                    // One without an actor has nothing to be looked at, and is not woken for it.
                    if let Some(slot) = (world.find)(thread) {
                        slot.ask_awake(ThreadMsg::HoldsUp { patience });
                    }
                }
            }
        }
        if first && !pausing.is_empty() {
            pausing.truncate(WAITERS_TOLD_MAX);
            self.tell_stuck(turn, phase.clone(), clock, Remedy::Tell, pausing, now);
        }
    }

    fn tell_stuck(
        &self,
        turn: &TurnId,
        phase: TurnPhase,
        clock: &TurnClock,
        remedy: Remedy,
        blockers: Vec<ThreadId>,
        now: Now,
    ) {
        let quiet = Duration::from_millis(now.at_ms.saturating_sub(clock.progress_ms()));
        let waiters = self.waiters();
        let event = ThreadEvent::TurnStuck { phase, quiet, remedy, waiters, blockers };
        self.publish(Some(turn), event);
    }

    /// Those who wait for this thread, and those who wait for them.
    fn waiters(&self) -> Vec<ThreadId> {
        let mut found = self.slot.waiters();
        let mut met: HashSet<ThreadId> = found.iter().copied().collect();
        met.insert(self.fence.thread);
        let mut at = 0;
        while let Some(&thread) = found.get(at).filter(|_| found.len() < WAITERS_TOLD_MAX) {
            let slot = (self.world.turns.find)(thread);
            let more = slot.map(|slot| slot.waiters()).unwrap_or_default();
            found.extend(more.into_iter().filter(|thread| met.insert(*thread)));
            at += 1;
        }
        found.truncate(WAITERS_TOLD_MAX);
        found
    }
}

/// Where a thread stands in a chain of waits.
fn link_of(slot: &Slot) -> Link {
    match slot.clock() {
        Some(clock) => {
            let waits = clock.waits();
            if waits.is_empty() { Link::Is(End::Runs) } else { Link::Waits(waits) }
        }
        None if slot.has_ended() => Link::Ended,
        None => Link::Is(End::Pauses),
    }
}
