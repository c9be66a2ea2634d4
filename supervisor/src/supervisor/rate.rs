//! How many sub-agents a tree has spawned within the last minute. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The window.
const PERIOD: Duration = Duration::from_secs(60);

/// The spawns of one tree within the window.
#[derive(Debug, Default)]
pub(super) struct Rate {
    recent: VecDeque<Instant>,
}

impl Rate {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self { recent: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.recent.is_empty()
    }

    /// How long until one more may be spawned where there may be `max` a minute; zero if at once.
    pub(super) fn wait(&self, max: usize, now: Instant) -> Duration {
        // In the order of their times: found without looking at each.
        let old = |at: &Instant| now.saturating_duration_since(*at) >= PERIOD;
        let within = self.recent.len() - self.recent.partition_point(old);
        if within < max {
            return Duration::ZERO;
        }
        // So many have to leave the window that one more fits in.
        let leaves = self.recent.get(self.recent.len() - max.max(1));
        leaves.map_or(PERIOD, |&at| (at + PERIOD).saturating_duration_since(now))
    }

    /// One is spawned.
    pub(super) fn note(&mut self, now: Instant) {
        while self.recent.front().is_some_and(|&at| now.saturating_duration_since(at) >= PERIOD) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_next_is_due_when_the_oldest_leaves_the_window() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        for at in [0, 10, 20] {
            assert_eq!(rate.wait(3, start + s(at)), Duration::ZERO);
            rate.note(start + s(at));
        }
        assert_eq!(rate.wait(3, start + s(20)), s(40));
        assert_eq!(rate.wait(3, start + s(59)), s(1));
        assert_eq!(rate.wait(3, start + s(60)), Duration::ZERO, "to the moment");
        rate.note(start + s(60));
        assert_eq!(rate.wait(3, start + s(60)), s(10), "then the next one's");
        assert_eq!(rate.wait(2, start + s(60)), s(20), "a tighter bound waits for more of them");
        assert_eq!(rate.wait(0, start + s(60)), s(60), "none may ever");
        assert_eq!(rate.recent.len(), 3, "what left the window is forgotten");
    }
}
