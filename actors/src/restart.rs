//! What follows a crash: a pure decision.

use std::collections::VecDeque;
use std::time::Duration;

use coppicer_messages::{OnSpent, Restart, RestartLimit, RestartPolicy};
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

/// Groups of crashes that one tracker keeps apart within its window, and at most two more. A policy that
/// allows no more restarts than that is followed to the moment; of one that allows more, crashes that
/// are less than this part of the window apart may be one group, and count until the last of them has
/// left it. So there are never more restarts within a window than its policy says.
const GROUPS_MAX: u32 = 1_024;

/// The crashes of one child within its window. Siblings never share one.
#[derive(Debug, Clone, Default)]
pub struct RestartTracker {
    recent: VecDeque<Group>,
    /// How many crashes `recent` stands for.
    count: u32,
}

/// Crashes that count as one moment.
#[derive(Debug, Clone, Copy)]
struct Group {
    first: Instant,
    crashes: u32,
}

/// How far apart the crashes of one group are, at most.
fn step(limit: RestartLimit) -> Duration {
    if limit.count <= GROUPS_MAX { Duration::ZERO } else { limit.period / GROUPS_MAX }
}

/// Whether some of a group are within the window that ends at `now`.
fn counts(group: &Group, limit: RestartLimit, now: Instant) -> bool {
    now.saturating_duration_since(group.first) <= limit.period.saturating_add(step(limit))
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
        Self { recent: VecDeque::new(), count: 0 }
    }

    /// Decides what follows a crash. `now` must not go backwards between calls; `jitter` is a random
    /// number from 0 to 1.
    pub fn crashed(&mut self, policy: &RestartPolicy, now: Instant, jitter: f32) -> Decision {
        match policy.restart {
            Restart::Temporary => return Decision::Close,
            Restart::Permanent | Restart::Transient => {}
        }
        let limit = policy.limit;
        while let Some(gone) = self.recent.front().filter(|group| !counts(group, limit, now)) {
            self.count -= gone.crashes;
            self.recent.pop_front();
        }
        if self.count >= limit.count {
            return match policy.on_spent {
                OnSpent::Close => Decision::Close,
                OnSpent::Escalate => Decision::Escalate,
                _ => Decision::Park,
            };
        }
        let apart = |last: &Group| now.saturating_duration_since(last.first);
        match self.recent.back_mut() {
            Some(last) if apart(last) < step(limit) => last.crashes += 1,
            _ => self.recent.push_back(Group { first: now, crashes: 1 }),
        }
        self.count += 1;
        let restart = self.count;
        Decision::Again { restart, after: pause(policy, restart, jitter) }
    }

    /// Forgets what was: a revived thread has a fresh budget.
    pub fn reset(&mut self) {
        self.recent.clear();
        self.count = 0;
    }

    /// How many restarts are left within the window that ends at `now`.
    pub fn left(&self, policy: &RestartPolicy, now: Instant) -> u32 {
        let gone = self.recent.iter().take_while(|group| !counts(group, policy.limit, now));
        let gone: u32 = gone.map(|group| group.crashes).sum();
        policy.limit.count.saturating_sub(self.count - gone)
    }
}

/// A share between 0 and 1; none of what is no number.
fn share(of: f32) -> f64 {
    if of.is_nan() { 0.0 } else { f64::from(of.clamp(0.0, 1.0)) }
}

fn pause(policy: &RestartPolicy, restart: u32, jitter: f32) -> Duration {
    let backoff = policy.backoff;
    if backoff.initial.is_zero() {
        return Duration::ZERO; // times a factor that may be infinite
    }
    let exponent = f64::from(restart.saturating_sub(1).min(1_000));
    let factor = f64::from(backoff.factor.max(1.0)).powf(exponent);
    let seconds = (backoff.initial.as_secs_f64() * factor).min(backoff.max.as_secs_f64());
    let more = share(backoff.jitter) * share(jitter);
    // The longest that there is, if it is longer than that.
    Duration::try_from_secs_f64(seconds * (1.0 + more)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use coppicer_messages::Backoff;
    use proptest::prelude::*;

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

    #[test]
    fn no_pause_stays_none_however_often_it_is_multiplied() {
        let none = Duration::ZERO;
        let backoff =
            Backoff { initial: none, factor: 10.0, max: Duration::from_secs(10), jitter: 0.0 };
        let policy = policy().with_backoff(backoff).with_limit(10_000, Duration::from_secs(1));
        let (mut tracker, now) = (RestartTracker::default(), Instant::now());
        for n in 1..=2_000 {
            let again = Decision::Again { restart: n, after: none };
            assert_eq!(tracker.crashed(&policy, now, 0.0), again);
        }
    }

    #[test]
    fn a_window_of_very_many_crashes_is_kept_in_a_bounded_place_and_its_bound_holds() {
        let (count, period) = (100_000, Duration::from_secs(1_000));
        let policy = policy().with_limit(count, period);
        let (mut tracker, start) = (RestartTracker::default(), Instant::now());
        for n in 0..count {
            let now = start + Duration::from_millis(n.into()) * 5;
            assert!(matches!(tracker.crashed(&policy, now, 0.0), Decision::Again { .. }));
        }
        // After 500 s: none has left the window, and there is no restart more.
        let end = start + Duration::from_secs(500);
        assert_eq!(tracker.left(&policy, end), 0);
        assert_eq!(tracker.crashed(&policy, end, 0.0), Decision::Park);
        // A second after the first of them left it, those of the first second, or nearly, have.
        let left = tracker.left(&policy, start + period + Duration::from_secs(2));
        assert!((200..=400).contains(&left), "{left}");
        let later = start + Duration::from_secs(1_502);
        assert_eq!(tracker.left(&policy, later), count);
        assert!(matches!(tracker.crashed(&policy, later, 0.0), Decision::Again { restart: 1, .. }));
        assert_eq!(tracker.recent.len(), 1);
        // For longer than a window, never so many in one.
        let mut tracker = RestartTracker::default();
        for n in 0..150_000 {
            let now = start + Duration::from_micros(10_500) * n;
            assert!(matches!(tracker.crashed(&policy, now, 0.0), Decision::Again { .. }));
            assert!(tracker.recent.len() <= GROUPS_MAX as usize + 2, "{}", tracker.recent.len());
        }
    }

    fn float() -> impl Strategy<Value = f32> {
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, -0.0];
        prop_oneof![proptest::sample::select(odd.to_vec()), any::<f32>(), 0.0_f32..20.0]
    }

    fn duration() -> impl Strategy<Value = Duration> {
        let odd = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
        let some = (0_u64..100_000).prop_map(Duration::from_millis);
        let any = (any::<u64>(), 0_u32..1_000_000_000).prop_map(|(s, ns)| Duration::new(s, ns));
        prop_oneof![proptest::sample::select(odd.to_vec()), some, any]
    }

    proptest! {
        /// `initial × factor^(n-1)`, at most `max`, plus up to `jitter` of it; whatever the numbers.
        #[test]
        fn a_pause_is_within_its_bounds(
            (initial, max) in (duration(), duration()),
            (factor, jitter, random) in (float(), float(), float()),
            restart in prop_oneof![1_u32..400, any::<u32>()],
        ) {
            let policy = policy().with_backoff(Backoff { initial, factor, max, jitter });
            let seconds = |pause: Duration| pause.as_secs_f64();
            let took = pause(&policy, restart, random);
            let after = seconds(took);
            let (least, most) = (seconds(initial.min(max)), seconds(max));
            // What a float can tell of a time, and of a nanosecond.
            let nearly = |of: f64| of * 1e-9 + 1e-9;
            let share = if jitter.is_nan() { 0.0 } else { f64::from(jitter.clamp(0.0, 1.0)) };
            prop_assert!(after >= least - nearly(least), "{after} of at least {least}");
            prop_assert!(after <= most * (1.0 + share) + nearly(most), "{after} of {most}");
            if initial.is_zero() || max.is_zero() {
                prop_assert!(took.is_zero());
            }
            let plain = Backoff { initial, factor, max, jitter: f32::NAN };
            let next = policy.with_backoff(plain);
            prop_assert!(pause(&next, restart, random) <= pause(&next, restart.saturating_add(1), random));
        }
    }
}
