//! Times that the supervisor waits for: one timer for all, set for the first. What is waited for no
//! more is taken out, so that nothing of it stays until its time has come.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Closes, by when their report is due: told of by themselves, before all else that is due.
    reports: BTreeSet<(Instant, u64)>,
    /// The times of ticks that have one time at most.
    only: BTreeMap<SupervisorTick, Instant>,
    /// The timer: when it ends, not after the first of all these, and how to end it sooner.
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

    /// `tick`, which has one time at most, is to be told at `at` or before: whether it was not.
    fn no_later(&mut self, at: Instant, tick: SupervisorTick) -> bool {
        match self.only.get(&tick) {
            Some(&before) if before <= at => return false,
            Some(&later) => drop(self.forget(later, tick)),
            None => {}
        }
        self.only.insert(tick, at);
        true
    }

    /// `tick`, which has one time at most, was told: that may have been for this time.
    fn came(&mut self, tick: SupervisorTick, now: Instant) {
        if self.only.get(&tick).is_some_and(|&at| at <= now) {
            self.only.remove(&tick);
        }
    }

    /// `tick`, which has one time at most, is not told any more.
    fn never(&mut self, tick: SupervisorTick) {
        if let Some(at) = self.only.remove(&tick) {
            self.forget(at, tick);
        }
    }

    /// The next one whose time has come.
    fn next(&mut self, now: Instant) -> Option<SupervisorTick> {
        let (at, tick) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.forget(at, tick);
        Some(tick)
    }

    /// The next close whose report is due.
    pub(super) fn next_report(&mut self, now: Instant) -> Option<u64> {
        let (at, close) = self.reports.first().copied().filter(|(at, _)| *at <= now)?;
        self.forget_report(at, close);
        Some(close)
    }

    /// The report of a close is not due at `at` any more.
    pub(super) fn forget_report(&mut self, at: Instant, close: u64) {
        self.reports.remove(&(at, close));
    }

    /// When a timer has to end, if there is none or it would end too late.
    fn timer_for(&self) -> Option<Instant> {
        let (due, report) = (self.due.first(), self.reports.first());
        let first = due.map(|(at, _)| *at).into_iter().chain(report.map(|(at, _)| *at)).min()?;
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

    /// The same for a tick that has one time at most: the first that it was asked for. Its handler
    /// says that it [came](Self::came), and asks for the next.
    pub(super) fn arm_first(&mut self, at: Instant, tick: SupervisorTick) {
        if self.times.no_later(at, tick) {
            self.arm(at, tick);
        }
    }

    /// A tick that has one time at most was told.
    pub(super) fn came(&mut self, tick: SupervisorTick) {
        self.times.came(tick, self.now().instant);
    }

    /// Nothing waits for a tick that has one time at most.
    pub(super) fn disarm(&mut self, tick: SupervisorTick) {
        self.times.never(tick);
    }

    /// Has the report of a close told when it is due. One that is due already comes behind what it has
    /// told its threads.
    pub(super) fn arm_report(&mut self, at: Instant, close: u64) {
        if at <= self.now().instant {
            let tick = SupervisorTick::CloseDue(close);
            self.shared.uplink.send(SupervisorMsg::Tick { tick });
            return;
        }
        self.times.reports.insert((at, close));
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
            self.report_due();
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

    /// Something of close n is due in n seconds.
    fn times(closes: &[u64]) -> (Times, impl Fn(u64) -> Instant + use<>) {
        let (mut times, start) = (Times::default(), Instant::now());
        let at = move |n| start + Duration::from_secs(n);
        for &n in closes {
            times.add(at(n), SupervisorTick::TellBy(n));
        }
        (times, at)
    }

    #[test]
    fn what_is_due_is_told_in_order_and_once() {
        let (mut times, at) = times(&[3, 1, 2]);
        assert_eq!(times.next(at(0)), None);
        assert_eq!(times.next(at(2)), Some(SupervisorTick::TellBy(1)));
        assert_eq!(times.next(at(2)), Some(SupervisorTick::TellBy(2)));
        assert_eq!(times.next(at(2)), None);
        assert_eq!(times.timer_for(), Some(at(3)));
    }

    #[test]
    fn what_is_waited_for_no_more_leaves_nothing() {
        let (mut times, at) = times(&[1, 2]);
        assert!(times.forget(at(1), SupervisorTick::TellBy(1)));
        assert!(!times.forget(at(1), SupervisorTick::TellBy(1)));
        assert!(times.forget(at(2), SupervisorTick::TellBy(2)));
        assert_eq!((times.due.len(), times.timer_for()), (0, None));
    }

    #[test]
    fn a_report_that_is_due_goes_before_all_that_is_due_beside_it() {
        let (mut times, at) = times(&[1, 4]);
        times.reports.extend([(at(3), 30), (at(2), 20), (at(2), 21), (at(5), 50)]);
        assert_eq!(times.timer_for(), Some(at(1)));
        assert_eq!(times.next_report(at(1)), None);
        assert_eq!((times.next_report(at(3)), times.next_report(at(3))), (Some(20), Some(21)));
        times.forget_report(at(3), 30);
        assert_eq!(times.next_report(at(3)), None);
        assert_eq!(times.next(at(3)), Some(SupervisorTick::TellBy(1)));
        assert_eq!(times.next(at(4)), Some(SupervisorTick::TellBy(4)));
        assert_eq!(times.timer_for(), Some(at(5)), "of a report");
    }

    #[test]
    fn a_tick_with_one_time_has_the_first_that_it_was_asked_for_and_leaves_no_other() {
        let (mut times, at) = times(&[]);
        let tick = SupervisorTick::LineDue;
        for (n, sooner) in [(9, true), (9, false), (10, false), (3, true), (2, true)] {
            assert_eq!(times.no_later(at(n), tick), sooner, "{n}");
            if sooner {
                times.add(at(n), tick);
            }
        }
        assert_eq!(times.due.len(), 1, "one for all of them");
        times.came(tick, at(1));
        assert!(!times.no_later(at(4), tick), "it was told for another reason");
        assert_eq!(times.next(at(2)), Some(tick));
        times.came(tick, at(2));
        assert!(times.no_later(at(4), tick), "it has come");
        times.add(at(4), tick);
        times.never(tick);
        assert_eq!((times.due.len(), times.only.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_timer_is_set_anew_for_what_is_due_before_it_alone() {
        let (mut times, at) = times(&[2]);
        let timer = tokio::spawn(std::future::pending::<()>()).abort_handle();
        times.timer = Some((at(2), timer));
        assert_eq!(times.timer_for(), None);
        times.add(at(3), SupervisorTick::TellBy(3));
        assert_eq!(times.timer_for(), None);
        times.add(at(1), SupervisorTick::TellBy(1));
        assert_eq!(times.timer_for(), Some(at(1)));
    }
}
