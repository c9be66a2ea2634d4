//! Times that the supervisor waits for: one timer for all, set for the first. What is waited for no
//! more is taken out, so that nothing of it stays until its time has come.

use std::collections::BTreeSet;

use coppicer_messages::{SupervisorMsg, SupervisorTick};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::SupervisorState;

/// Most times that are told of at one go: others are heard in between.
const TELL_MAX: usize = 64;

/// What is to be told of, by its time. Pure, but for the handle of the timer.
#[derive(Debug, Default)]
pub(super) struct Times {
    due: BTreeSet<(Instant, SupervisorTick)>,
    /// The timer: when it ends, not after the first of `due`, and how to end it sooner.
    timer: Option<(Instant, AbortHandle)>,
}

impl Times {
    /// `tick` is to be told at `at`.
    fn add(&mut self, at: Instant, tick: SupervisorTick) {
        self.due.insert((at, tick));
    }

    /// Whether `tick` is told at `at` no more: it was to be.
    pub(super) fn forget(&mut self, at: Instant, tick: SupervisorTick) -> bool {
        self.due.remove(&(at, tick))
    }

    /// The next one whose time has come.
    fn next(&mut self, now: Instant) -> Option<SupervisorTick> {
        let (at, tick) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.forget(at, tick);
        Some(tick)
    }

    /// The next close whose report is due, whatever else is.
    pub(super) fn next_report(&mut self, now: Instant) -> Option<u64> {
        let mut due = self.due.iter().take_while(|(at, _)| *at <= now);
        let (at, close) = due.find_map(|&(at, tick)| match tick {
            SupervisorTick::CloseDue(close) => Some((at, close)),
            _ => None,
        })?;
        self.forget(at, SupervisorTick::CloseDue(close));
        Some(close)
    }

    /// When a timer has to end, if there is none or it would end too late.
    fn timer_for(&self) -> Option<Instant> {
        let (first, _) = *self.due.first()?;
        self.timer.as_ref().is_none_or(|(at, _)| first < *at).then_some(first)
    }
}

impl Drop for Times {
    fn drop(&mut self) {
        if let Some((_, timer)) = self.timer.take() {
            timer.abort();
        }
    }
}

impl SupervisorState {
    /// Has this actor told when a time has come. What is due already is told at once: a timer would
    /// wait for the end of its millisecond.
    pub(super) fn arm(&mut self, at: Instant, tick: SupervisorTick) {
        if at <= self.now().instant {
            self.shared.uplink.send(SupervisorMsg::Tick { tick });
            return;
        }
        self.times.add(at, tick);
        self.set_timer();
    }

    /// Sets the timer for the first of the times, if it is not.
    pub(super) fn set_timer(&mut self) {
        let Some(at) = self.times.timer_for() else { return };
        let uplink = self.shared.uplink.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            uplink.send(SupervisorMsg::Tick { tick: SupervisorTick::TimeDue });
        });
        if let Some((_, later)) = self.times.timer.replace((at, timer.abort_handle())) {
            later.abort();
        }
    }

    /// The timer has ended, or there is more to tell than at one go.
    pub(super) fn on_time_due(&mut self) {
        let now = self.now().instant;
        self.times.timer.take_if(|(at, _)| *at <= now);
        for _ in 0..TELL_MAX {
            let Some(tick) = self.times.next(now) else { return self.set_timer() };
            self.take(SupervisorMsg::Tick { tick });
        }
        let tick = SupervisorTick::TimeDue;
        self.shared.uplink.send(SupervisorMsg::Tick { tick });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Close n is due in n seconds.
    fn times(closes: &[u64]) -> (Times, impl Fn(u64) -> Instant + use<>) {
        let (mut times, start) = (Times::default(), Instant::now());
        let at = move |n| start + Duration::from_secs(n);
        for &n in closes {
            times.add(at(n), SupervisorTick::CloseDue(n));
        }
        (times, at)
    }

    #[test]
    fn what_is_due_is_told_in_order_and_once() {
        let (mut times, at) = times(&[3, 1, 2]);
        assert_eq!(times.next(at(0)), None);
        assert_eq!(times.next(at(2)), Some(SupervisorTick::CloseDue(1)));
        assert_eq!(times.next(at(2)), Some(SupervisorTick::CloseDue(2)));
        assert_eq!(times.next(at(2)), None);
        assert_eq!(times.timer_for(), Some(at(3)));
    }

    #[test]
    fn what_is_waited_for_no_more_leaves_nothing() {
        let (mut times, at) = times(&[1, 2]);
        assert!(times.forget(at(1), SupervisorTick::CloseDue(1)));
        assert!(!times.forget(at(1), SupervisorTick::CloseDue(1)));
        assert!(times.forget(at(2), SupervisorTick::CloseDue(2)));
        assert_eq!((times.due.len(), times.timer_for()), (0, None));
    }

    #[test]
    fn a_report_that_is_due_goes_before_all_that_is_due_beside_it() {
        let (mut times, at) = times(&[2, 4]);
        times.add(at(1), SupervisorTick::IdleDue);
        assert_eq!(times.next_report(at(1)), None);
        assert_eq!(times.next_report(at(3)), Some(2));
        assert_eq!(times.next_report(at(3)), None);
        assert_eq!(times.next(at(3)), Some(SupervisorTick::IdleDue));
    }

    #[tokio::test]
    async fn a_timer_is_set_anew_for_what_is_due_before_it_alone() {
        let (mut times, at) = times(&[2]);
        let timer = tokio::spawn(std::future::pending::<()>()).abort_handle();
        times.timer = Some((at(2), timer));
        assert_eq!(times.timer_for(), None);
        times.add(at(3), SupervisorTick::CloseDue(3));
        assert_eq!(times.timer_for(), None);
        times.add(at(1), SupervisorTick::CloseDue(1));
        assert_eq!(times.timer_for(), Some(at(1)));
    }
}
