//! Times that an incarnation waits for. Each has a timer, which ends with what it is for: a turn that is
//! over leaves none, and neither does an actor that is gone.

use std::sync::Arc;

use coppicer_messages::{ThreadMsg, ThreadTick, TurnId};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::state::ThreadState;
use crate::seldom::Seldom;

/// Timers that are set. Dropped, they end.
#[derive(Default)]
pub(super) struct Timers(Seldom<Vec<(ThreadTick, AbortHandle)>>);

impl Timers {
    fn add(&mut self, tick: ThreadTick, timer: AbortHandle) {
        // At most a few, so those that have ended are no burden until then.
        self.0.retain(|(_, timer)| !timer.is_finished());
        self.0.push((tick, timer));
    }

    fn end(&mut self, is_over: impl Fn(&ThreadTick) -> bool) {
        let Some(timers) = self.0.there() else { return };
        timers.retain(|(tick, timer)| {
            let over = is_over(tick);
            if over {
                timer.abort();
            }
            !over
        });
        if timers.is_empty() {
            self.0.clear();
        }
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.end(|_| true);
    }
}

const fn turn_of(tick: &ThreadTick) -> Option<&TurnId> {
    match tick {
        ThreadTick::DrainOver(turn)
        | ThreadTick::GraceOver(turn)
        | ThreadTick::KillOver(turn)
        | ThreadTick::BudgetDue(turn)
        | ThreadTick::RetryDue(turn) => Some(turn),
        _ => None,
    }
}

impl ThreadState {
    /// What is due already comes at once: a timer would wait for the end of its millisecond.
    pub(super) fn arm(&mut self, at: Instant, tick: ThreadTick) {
        let epoch = self.fence.epoch;
        if at <= self.now().instant {
            return self.slot.notice(ThreadMsg::Tick { epoch, tick });
        }
        let timer = self.timer(at, tick.clone());
        self.timers.add(tick, timer);
    }

    /// Sends this incarnation a tick at a time, unless it is aborted or the slot is gone by then.
    pub(super) fn timer(&self, at: Instant, tick: ThreadTick) -> AbortHandle {
        let (slot, epoch) = (Arc::downgrade(&self.slot), self.fence.epoch);
        let waiting = tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            if let Some(slot) = slot.upgrade() {
                slot.notice(ThreadMsg::Tick { epoch, tick });
            }
        });
        waiting.abort_handle()
    }

    /// Nothing waits for the times of a turn any more.
    pub(super) fn end_timers_of(&mut self, turn: &TurnId) {
        self.timers.end(|tick| turn_of(tick) == Some(turn));
    }

    /// The time that its turn may run is looked at anew.
    pub(super) fn end_budget_timer(&mut self) {
        self.timers.end(|tick| matches!(tick, ThreadTick::BudgetDue(_)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn turn(n: u64) -> TurnId {
        TurnId::new(format!("turn-{n}")).unwrap()
    }

    async fn let_them_end() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    fn sleeper() -> AbortHandle {
        tokio::spawn(tokio::time::sleep(Duration::from_secs(3_600))).abort_handle()
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_over_leaves_no_timer_and_others_stay() {
        let mut timers = Timers::default();
        let (of_it, of_another, of_none) = (sleeper(), sleeper(), sleeper());
        timers.add(ThreadTick::BudgetDue(turn(1)), of_it.clone());
        timers.add(ThreadTick::BudgetDue(turn(2)), of_another.clone());
        timers.add(ThreadTick::BackoffOver { crash: 1 }, of_none.clone());
        timers.end(|tick| turn_of(tick) == Some(&turn(1)));
        let_them_end().await;
        let ended = [&of_it, &of_another, &of_none].map(AbortHandle::is_finished);
        assert_eq!(ended, [true, false, false]);
        drop(timers);
        let_them_end().await;
        assert!(of_another.is_finished() && of_none.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_have_ended_do_not_pile_up() {
        let mut timers = Timers::default();
        for n in 0..100 {
            let timer = sleeper();
            timers.add(ThreadTick::GraceOver(turn(n)), timer.clone());
            timer.abort();
            let_them_end().await;
        }
        assert_eq!(timers.0.len(), 1);
    }
}
