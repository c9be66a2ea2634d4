//! How much of the limits of a runtime as a whole is in use.

use std::time::Duration;

use coppicer_messages::LeaseKind;

use crate::runtime::Runtime;

/// How much of one limit is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitUse {
    /// The field of [`Limits`](coppicer_messages::Limits).
    pub limit: &'static str,
    /// How much of it is in use.
    pub used: u64,
    /// The limit.
    pub value: u64,
}

impl LimitUse {
    /// So much of this limit.
    pub const fn new(limit: &'static str, used: u64, value: u64) -> Self {
        Self { limit, used, value }
    }
}

/// How often who watches limits looks at them at least: taps come and go without a fact.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Which limits are near: from nine tenths of one on, until less than eight tenths are used. The one place
/// where that is decided, for hooks and for the console. Pure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NearLimits {
    near: Vec<&'static str>,
}

/// What is another for a limit since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NearChange {
    /// It is near now.
    Near(LimitUse),
    /// It is not any more.
    Over(LimitUse),
}

impl NearLimits {
    /// Takes in how much is used now. A limit that is not among it stays what it was.
    #[must_use = "what changed is told once"]
    pub fn look(&mut self, uses: &[LimitUse]) -> Vec<NearChange> {
        let mut changes = Vec::new();
        for &of in uses {
            let tenths = of.used.saturating_mul(10);
            match self.near.iter().position(|near| *near == of.limit) {
                Some(at) if tenths < of.value.saturating_mul(8) => {
                    self.near.swap_remove(at);
                    changes.push(NearChange::Over(of));
                }
                None if tenths >= of.value.saturating_mul(9) => {
                    self.near.push(of.limit);
                    changes.push(NearChange::Near(of));
                }
                _ => {}
            }
        }
        changes
    }
}

impl Runtime {
    /// How much is in use of each limit of the runtime as a whole that can run full: `registered_max` (once
    /// the store has said how many threads it has), `resident_max`, `executing_max` and `taps_max`. From
    /// counts that are kept anyway: it costs the same however many threads there are. Those of one thread or
    /// one tree are not among them; a refusal names these.
    pub fn use_of_limits(&self) -> Vec<LimitUse> {
        let (limits, shared) = (self.limits(), self.shared());
        let live = |kind| shared.leases.live(kind);
        let of = |limit, used, value: u64| LimitUse { limit, used, value };
        let registered = self.directory().registered();
        let registered = registered.map(|used| of("registered_max", used, limits.registered_max));
        let others = [
            of("resident_max", live(LeaseKind::Resident), limits.resident_max as u64),
            of("executing_max", live(LeaseKind::TurnPermit), limits.executing_max as u64),
            of("taps_max", live(LeaseKind::Tap), limits.taps_max as u64),
        ];
        registered.into_iter().chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_near_at_nine_tenths_and_is_not_below_eight_and_each_is_told_once() {
        let mut near = NearLimits::default();
        let mut at = |used| {
            let uses = [LimitUse::new("resident_max", used, 100), LimitUse::new("taps_max", 0, 10)];
            near.look(&uses)
                .into_iter()
                .map(|change| matches!(change, NearChange::Near(_)))
                .collect()
        };
        let told: Vec<Vec<bool>> = [89, 90, 95, 80, 79, 89, 90].map(&mut at).into();
        let (none, is_near, is_over) = (Vec::new(), vec![true], vec![false]);
        let expected = [&none, &is_near, &none, &none, &is_over, &none, &is_near];
        assert_eq!(told.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_limit_is_near_by_itself_and_one_that_is_not_known_stays_what_it_was() {
        let mut near = NearLimits::default();
        let (one, two) =
            (LimitUse::new("taps_max", 9, 10), LimitUse::new("registered_max", 10, 10));
        assert_eq!(near.look(&[one]), [NearChange::Near(one)]);
        assert_eq!(near.look(&[two]), [NearChange::Near(two)]);
        assert_eq!(near.look(&[]), []);
        assert_eq!(near.look(&[one, two]), []);
    }
}
