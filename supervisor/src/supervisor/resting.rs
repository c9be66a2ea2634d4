//! Passivation: threads with nothing to do give up their actor, and dormant ones that nobody holds
//! leave memory. Requests that meet a full runtime wait for one that does.

use std::cell::RefCell;
use std::time::Duration;

use coppicer_actors::Bug;
use coppicer_messages::{
    ControlError, Deadline, LimitReached, Reply, SpawnError, SpawnOrigin, SupervisorTick, ThreadId,
    ThreadMsg,
};

use super::budgets::NotPaid;
use super::idle::Found;
use super::line::Owner;
use super::spawn::{Step, Waiter};
use super::table::{Entry, Life};
use super::{Postponed, SupervisorState};

/// Most threads that one request looks at to find one that may sleep. Each look that finds none is
/// paid for by what the thread did since the last.
const LOOKS_MAX: usize = 64;

/// Most threads that are asked to sleep at one go, when many have been idle for long enough.
const UNLOADS_MAX: usize = 256;

/// When it is looked again whether a dormant thread may leave memory that somebody held. After each look
/// twice as long, up to [`Limits::idle_after`](coppicer_messages::Limits::idle_after).
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What waits until a thread gives up its actor.
pub(super) enum ForRoom {
    /// A new thread or fork.
    Spawn(Postponed),
    /// A thread of the store.
    Find { thread: ThreadId, origin: SpawnOrigin, waiters: Vec<Waiter> },
    /// A dormant thread.
    Load { thread: ThreadId, origin: SpawnOrigin, waiters: Vec<Waiter> },
}

impl SupervisorState {
    // Sleep.

    /// A thread has an actor now: when it is looked at, and who has to make room for it.
    pub(super) fn watch_idle(&mut self, thread: ThreadId) {
        let due = Deadline::after(self.now().instant, self.shared.limits.idle_after).instant();
        self.idle.watch(thread, due);
        self.arm_idle();
        if self.table.residents() > self.shared.limits.idle_max.saturating_add(self.unloading) {
            self.unload_one(true);
        }
    }

    fn arm_idle(&mut self) {
        if let Some(due) = self.idle.next_due() {
            self.arm_first(due, SupervisorTick::IdleDue);
        }
    }

    pub(super) fn on_idle_due(&mut self) {
        self.came(SupervisorTick::IdleDue);
        for _ in 0..UNLOADS_MAX {
            if !self.unload_one(false) {
                break;
            }
        }
        // At once if more are due, behind what others have asked meanwhile.
        self.arm_idle();
    }

    /// Asks a thread to give up its actor: one that was idle for long enough, or if it must be, the
    /// one that was idle longest. False if there is none.
    fn unload_one(&mut self, must: bool) -> bool {
        let now = self.now().instant;
        let after = self.shared.limits.idle_after;
        let resting = RefCell::new(Vec::new());
        let table = &self.table;
        let look = |thread: ThreadId| match table.get(thread) {
            None => Found::Gone,
            Some(entry) if entry.life() == Life::Dormant => {
                resting.borrow_mut().push(thread);
                Found::Gone
            }
            Some(_) if !table.may_sleep(thread, now) => Found::Busy,
            Some(entry) => {
                entry.slot.idle_since().map_or(Found::Busy, |since| Found::Idle { since })
            }
        };
        let due_at = |since| Deadline::after(since, after).instant();
        let victim = self.idle.victim((!must).then_some(now), LOOKS_MAX, look, due_at, now);
        for thread in resting.into_inner() {
            self.let_go(thread);
        }
        let Some(thread) = victim else { return false };
        self.unload(thread);
        true
    }

    fn unload(&mut self, thread: ThreadId) {
        let Some(entry) = self.table.get_mut(thread) else { return };
        entry.unloading = true;
        self.unloading += 1;
        let deadline = self.shared.clock.deadline(self.shared.limits.call_timeout);
        let (reply, answer) = Reply::<(), ControlError>::channel(deadline, None);
        entry.slot.ask_awake(ThreadMsg::Hibernate { reply });
        let op = self.new_op();
        self.outside(
            op,
            async move { Step::Slept { thread, asleep: answer.wait().await.is_ok() } },
        );
    }

    /// A thread was asked to give up its actor. One that does is over soon: `on_ended` sees to it.
    pub(super) fn on_slept(&mut self, thread: ThreadId, asleep: bool) {
        // It had something to do after all.
        let due = Deadline::after(self.now().instant, self.shared.limits.idle_after).instant();
        let asked = |entry: &&mut Entry| entry.unloading && !asleep;
        let Some(entry) = self.table.get_mut(thread).filter(asked) else { return };
        entry.unloading = false;
        entry.trouble.stays_until = Some(due);
        self.unloading -= 1;
        self.room_came = true;
        if entry.life() == Life::Live {
            self.idle.watch(thread, due);
            self.arm_idle();
        }
    }

    /// Lets a dormant thread leave memory if nobody holds it, and what is above it too.
    pub(super) fn let_go(&mut self, thread: ThreadId) {
        if self.world.turns().seeded().has(Bug::StaleRemoval)
            && let Some(entry) = self.table.leave(thread)
        {
            return self.directory.remove(&entry.slot);
        }
        let mut next = Some(thread);
        while let Some(thread) = next.take().filter(|&thread| self.table.may_leave(thread)) {
            if self.directory.release(thread) {
                let left = self.table.leave(thread);
                self.idle.forget(thread);
                if let Some(entry) = &left {
                    self.left(entry);
                }
                next = left.and_then(|entry| entry.parent);
            } else {
                // Somebody holds it: looked at again, ever more rarely, if they do not say when they let
                // go. One who only reads does not.
                let Some(entry) = self.table.get_mut(thread) else { return };
                let after = LOOK_AGAIN.saturating_mul(1 << entry.looks.min(30));
                let after = after.min(self.shared.limits.idle_after);
                entry.looks = entry.looks.saturating_add(1);
                self.idle.watch(thread, Deadline::after(self.now().instant, after).instant());
                self.arm_idle();
            }
        }
    }

    // Room.

    /// Whether no further thread may have an actor.
    pub(super) fn is_full(&self) -> bool {
        self.table.residents() >= self.shared.limits.resident_max
    }

    /// Whether somebody gives up an actor, or was asked to: then it is worth waiting.
    pub(super) fn make_room(&mut self) -> bool {
        self.unloading > self.for_room.len() || self.unload_one(true) || self.unloading > 0
    }

    pub(super) fn no_room(&self) -> SpawnError {
        SpawnError::Limit(LimitReached {
            limit: "resident_max",
            value: self.shared.limits.resident_max as u64,
            holders: Vec::new(),
            retry_after: None,
            advice: "close a thread",
        })
    }

    /// Goes on with what waits for room, as far as there is some. What waits in vain is refused.
    pub(super) fn serve_room(&mut self) {
        if !std::mem::take(&mut self.room_came) {
            return;
        }
        self.lines.freed(Owner::Runtime);
        let waiting = self.for_room.len();
        for _ in 0..waiting {
            if self.is_full() {
                break;
            }
            let Some(next) = self.for_room.pop_front() else { break };
            match next {
                ForRoom::Spawn(Postponed { request, asker, reply }) => {
                    self.on_spawn(request, asker, reply);
                }
                ForRoom::Find { thread, origin, waiters } => {
                    self.find_again(thread, origin, waiters);
                }
                ForRoom::Load { thread, origin, waiters } => {
                    let sleeps = self
                        .table
                        .get(thread)
                        .is_some_and(|entry| entry.life() == Life::Dormant && !entry.closing);
                    if sleeps {
                        self.wake_up(thread, origin, waiters);
                    } else {
                        for waiter in waiters {
                            self.join_again(thread, waiter);
                        }
                    }
                }
            }
        }
        if self.for_room.is_empty() || !self.is_full() || self.make_room() {
            return;
        }
        let refusal = self.no_room();
        for next in std::mem::take(&mut self.for_room) {
            match next {
                ForRoom::Spawn(Postponed { request, asker, reply }) => {
                    let owner = Some(Owner::Runtime);
                    let unpaid = NotPaid { refusal: refusal.clone(), owner };
                    self.refuse_or_wait(request, asker, reply, unpaid);
                }
                ForRoom::Find { thread, origin: SpawnOrigin::Recovery, waiters } => {
                    self.refuse(waiters, &refusal);
                    self.recovery_failed(thread, &refusal, None);
                }
                ForRoom::Find { waiters, .. } => self.refuse(waiters, &refusal),
                // What waits in its inbox cannot be refused any more.
                ForRoom::Load { thread, origin, waiters } => {
                    self.refuse(waiters, &refusal);
                    self.for_room.push_back(ForRoom::Load { thread, origin, waiters: Vec::new() });
                }
            }
        }
    }

    pub(super) fn find_again(
        &mut self,
        thread: ThreadId,
        origin: SpawnOrigin,
        waiters: Vec<Waiter>,
    ) {
        if waiters.is_empty()
            && self.table.get(thread).is_none()
            && !self.coming.contains_key(&thread)
        {
            return self.find(thread, origin, waiters);
        }
        for waiter in waiters {
            self.join_again(thread, waiter);
        }
    }
}
