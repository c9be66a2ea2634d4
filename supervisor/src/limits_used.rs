//! How much of the limits of a runtime as a whole is in use.

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
