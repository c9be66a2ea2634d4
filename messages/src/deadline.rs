//! Deadlines: absolute times that travel inside requests.

use std::time::Duration;

use tokio::time::Instant;

/// The time by which a request must be answered, on the runtime's clock (virtual in tests).
///
/// It is absolute, so that every hop measures against the same moment. A request that is taken up
/// after its deadline is not executed (P4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment `instant`.
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The moment `budget` after `now`; some 30 years ahead if that cannot be represented.
    pub fn after(now: Instant, budget: Duration) -> Self {
        const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
        Self(now.checked_add(budget).unwrap_or_else(|| now + FAR))
    }

    /// Whether the moment has come.
    pub fn passed(self, now: Instant) -> bool {
        now >= self.0
    }

    /// How much is left; zero once it has passed.
    pub fn left(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// The moment itself.
    pub const fn instant(self) -> Instant {
        self.0
    }
}
