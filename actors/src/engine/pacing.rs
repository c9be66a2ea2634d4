//! What a turn says of its own pace: that it goes on, and by when a tool should be done.

use std::sync::Arc;
use std::time::Duration;

use coppicer_messages::{ThreadMsg, TurnPhase};

use super::TurnContext;
use super::clock::TurnClock;
use crate::clock::Clock;

impl TurnContext {
    /// Says that the turn goes on. Whatever it does through this context says so too; call it where
    /// an engine works for long in silence, as often as you like: it costs a look at the clock.
    pub fn progress(&self) {
        self.link.clock.progress(self.world.clock.now().at_ms);
    }

    /// Says that a tool is at work, and should be done after `within`. Until the guard is dropped the
    /// turn is in [`TurnPhase::Tool`] with that deadline, and counts as stuck once it passes.
    pub fn tool(&self, within: Duration) -> PhaseGuard {
        let now = self.world.clock.now();
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = Some(now.at_ms.saturating_add(within_ms));
        let guard = self.begin(TurnPhase::Tool { deadline_ms });
        if !self.link.is_revoked() {
            let at = self.world.clock.deadline(within).instant();
            self.slot.notice(ThreadMsg::Watch { turn: self.link.turn.clone(), at });
        }
        guard
    }

    pub(super) fn begin(&self, phase: TurnPhase) -> PhaseGuard {
        let (turn, time) = (self.link.clock.clone(), self.world.clock.clone());
        let number = turn.begin(phase, time.now().at_ms);
        PhaseGuard { turn, time, number }
    }
}

/// A phase of a turn that lasts until this is dropped.
#[must_use = "the phase ends when the guard is dropped"]
pub struct PhaseGuard {
    turn: Arc<TurnClock>,
    time: Arc<Clock>,
    number: u64,
}

impl Drop for PhaseGuard {
    fn drop(&mut self) {
        self.turn.end(self.number, self.time.now().at_ms);
    }
}

impl std::fmt::Debug for PhaseGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PhaseGuard").field("number", &self.number).finish_non_exhaustive()
    }
}
