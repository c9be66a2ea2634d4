//! What follows a crash: a pure decision.

use std::collections::VecDeque;
use std::time::Duration;

use coppicer_messages::{OnSpent, Restart, RestartPolicy};
use tokio::time::Instant;

use crate::seldom::Blank;

/// What follows a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It comes back after a pause.
    Again {
        /// The how-many-th restart of the window.
        restart: u32,
        /// The pause.
        after: Duration,
    },
    /// It does not come back by itself.
    Park,
    /// It ends.
    Close,
    /// It is its parent's affair.
    Escalate,
}

/// The crashes of one child within its window. Siblings never share one.
#[derive(Debug, Clone, Default)]
pub struct RestartTracker {
    recent: VecDeque<Instant>,
}

impl Blank for RestartTracker {
    const BLANK: &'static Self = &Self::new();

    fn is_blank(&self) -> bool {
        self.recent.is_empty()
    }
}

impl RestartTracker {
    /// No crashes yet.
    pub const fn new() -> Self {
        Self { recent: VecDeque::new() }
    }

    /// Decides what follows a crash. `now` must not go backwards between calls; `jitter` is a random
    /// number from 0 to 1.
    pub fn crashed(&mut self, policy: &RestartPolicy, now: Instant, jitter: f32) -> Decision {
        match policy.restart {
            Restart::Temporary => return Decision::Close,
            Restart::Permanent | Restart::Transient => {}
        }
        let limit = policy.limit;
        while self.recent.front().is_some_and(|&at| now - at > limit.period) {
            self.recent.pop_front();
        }
        if self.recent.len() >= limit.count as usize {
            return match policy.on_spent {
                OnSpent::Close => Decision::Close,
                OnSpent::Escalate => Decision::Escalate,
                _ => Decision::Park,
            };
        }
        self.recent.push_back(now);
        let restart = self.recent.len() as u32;
        Decision::Again { restart, after: pause(policy, restart, jitter) }
    }

    /// Forgets what was: a revived thread has a fresh budget.
    pub fn reset(&mut self) {
        self.recent.clear();
    }

    /// How many restarts are left within the window that ends at `now`.
    pub fn left(&self, policy: &RestartPolicy, now: Instant) -> u32 {
        let recent = self.recent.iter().filter(|&&at| now - at <= policy.limit.period).count();
        policy.limit.count.saturating_sub(recent as u32)
    }
}

fn pause(policy: &RestartPolicy, restart: u32, jitter: f32) -> Duration {
    let backoff = policy.backoff;
    let exponent = f64::from(restart.saturating_sub(1).min(1_000));
    let factor = f64::from(backoff.factor.max(1.0)).powf(exponent);
    let seconds = (backoff.initial.as_secs_f64() * factor).min(backoff.max.as_secs_f64());
    let more = f64::from(backoff.jitter.clamp(0.0, 1.0)) * f64::from(jitter.clamp(0.0, 1.0));
    Duration::try_from_secs_f64(seconds * (1.0 + more)).unwrap_or(backoff.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RestartPolicy {
        RestartPolicy::default().with_limit(3, Duration::from_secs(10))
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut tracker = RestartTracker::default();
        let policy = policy().with_limit(20, Duration::from_secs(1000));
        let now = Instant::now();
        let pauses: Vec<u128> = (0..9)
            .map(|_| match tracker.crashed(&policy, now, 0.0) {
                Decision::Again { after, .. } => after.as_millis(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn the_fourth_crash_in_a_window_of_three_parks_and_a_later_one_does_not() {
        let mut tracker = RestartTracker::default();
        let start = Instant::now();
        for n in 1..=3 {
            let decision = tracker.crashed(&policy(), start, 0.0);
            assert!(matches!(decision, Decision::Again { restart, .. } if restart == n));
        }
        assert_eq!(tracker.left(&policy(), start), 0);
        assert_eq!(tracker.crashed(&policy(), start, 0.0), Decision::Park);
        let later = start + Duration::from_secs(11);
        assert_eq!(tracker.left(&policy(), later), 3);
        assert!(matches!(
            tracker.crashed(&policy(), later, 0.0),
            Decision::Again { restart: 1, .. }
        ));
    }

    #[test]
    fn a_temporary_child_does_not_come_back_and_on_spent_can_close() {
        let now = Instant::now();
        let temporary = policy().with_restart(Restart::Temporary);
        assert_eq!(RestartTracker::default().crashed(&temporary, now, 0.0), Decision::Close);
        let close = policy().with_limit(0, Duration::from_secs(1)).with_on_spent(OnSpent::Close);
        assert_eq!(RestartTracker::default().crashed(&close, now, 0.0), Decision::Close);
    }

    #[test]
    fn jitter_adds_at_most_its_share() {
        let Decision::Again { after, .. } =
            RestartTracker::default().crashed(&policy(), Instant::now(), 1.0)
        else {
            panic!("a first crash restarts");
        };
        assert_eq!(after.as_millis(), 110);
    }
}
