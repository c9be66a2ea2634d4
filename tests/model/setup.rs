//! How threads of a case are set up: how they supervise and come back, and what they may use.

use std::time::Duration;

use coppicer::{
    AutoShutdown, Backoff, Budget, Children, Dimension, OnSpent, ParentClose, Restart,
    RestartPolicy, Strategy, ThreadConfig,
};

use crate::mix;
use crate::ops::{Case, Shape};

/// What a root has, where it is limited.
const ROOT_TOKENS: u64 = 400_000;
const ROOT_COST: u64 = 50_000;
const ROOT_WALL_MS: u64 = 900_000;
const ROOT_SPAWNS: u64 = 4_000;

/// How a thread supervises its children, and what follows when it crashes: by a number.
pub(crate) fn rules(seed: u64) -> ThreadConfig {
    let dice = |place: u64, sides: u64| mix(seed ^ place << 40) % sides;
    let mut children = Children::default();
    children.strategy = match dice(1, 4) {
        0 => Strategy::RestForOne,
        1 => Strategy::OneForAll,
        _ => Strategy::OneForOne,
    };
    children.auto_shutdown = match dice(2, 10) {
        0 => AutoShutdown::Any,
        1 => AutoShutdown::All,
        _ => AutoShutdown::Never,
    };
    let restart = match dice(3, 10) {
        0 => Restart::Temporary,
        1 => Restart::Permanent,
        _ => Restart::Transient,
    };
    let on_spent = match dice(4, 5) {
        0 => OnSpent::Close,
        1 => OnSpent::Escalate,
        _ => OnSpent::Park,
    };
    let initial = Duration::from_millis([0, 5, 100][dice(5, 3) as usize]);
    let max = Duration::from_secs(1);
    let policy = RestartPolicy::default()
        .with_restart(restart)
        .with_limit(dice(6, 4) as u32, Duration::from_secs(30))
        .with_backoff(Backoff { initial, factor: 2.0, max, jitter: 0.1 })
        .with_on_spent(on_spent);
    let config = ThreadConfig::default().with_restart(policy).with_children(children);
    let significant = restart != Restart::Permanent && dice(7, 4) == 0;
    if significant { config.significant() } else { config }
}

/// What a new thread may use: some of `above`, in some dimensions; in all that are limited there if
/// it may go on without its parent.
pub(crate) fn budget(seed: u64, above: &Budget, share: u64, all: bool) -> Budget {
    let dice = |place: u64, sides: u64| mix(seed ^ place << 32) % sides;
    let mut budget = Budget::new();
    for (place, what) in Dimension::ALL.into_iter().enumerate() {
        let left = above.of(what);
        if all && left.is_some() || dice(place as u64, 2) == 0 {
            *budget.of_mut(what) = Some(left.map_or(2_000, |left| left / share));
        }
    }
    budget
}

/// How many are below each of these.
pub(crate) fn below(parents: &[Option<usize>]) -> Vec<usize> {
    let mut below = vec![0; parents.len()];
    for place in (0..parents.len()).rev() {
        if let Some(parent) = parents[place] {
            below[parent] += below[place] + 1;
        }
    }
    below
}

impl Case {
    /// How the thread of this place is set up, below one that has so much left. Below it come some more.
    pub(crate) fn config(
        &self,
        place: usize,
        is_root: bool,
        above: &Budget,
        below: usize,
    ) -> ThreadConfig {
        let mut config = ThreadConfig::default();
        if let Some(seed) = self.rules {
            config = rules(seed ^ place as u64);
        }
        if self.detaches(place) {
            config.parent_close = ParentClose::Detach;
        }
        let Some(seed) = self.funds.map(|seed| mix(seed ^ place as u64)) else { return config };
        if is_root {
            let all = Budget::new()
                .with_tokens(ROOT_TOKENS)
                .with_cost_micros(ROOT_COST)
                .with_wall_ms(ROOT_WALL_MS)
                .with_spawns(ROOT_SPAWNS);
            let mut some = all;
            for (place, what) in Dimension::ALL.into_iter().enumerate() {
                if mix(seed ^ place as u64).is_multiple_of(4) {
                    *some.of_mut(what) = None;
                }
            }
            return config.with_budget(some);
        }
        // Below each other they would soon have nothing.
        let (one_in, share) = if matches!(self.shape, Shape::Chain) { (24, 3) } else { (5, 90) };
        let detaches = self.detaches(place);
        let limited = Dimension::ALL.into_iter().any(|what| above.of(what).is_some());
        if detaches && limited || seed.is_multiple_of(one_in) {
            let mut budget = budget(seed, above, share, detaches);
            budget.spawns = budget.spawns.map(|_| 6 * below as u64 + 4);
            config = config.with_budget(budget);
        }
        config
    }
}
