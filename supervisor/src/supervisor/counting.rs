//! How many threads the store knows: it is asked when the runtime starts, and until it says. Then this
//! runtime counts along.

use coppicer_messages::{Deadline, LimitReached, RuntimeEvent, StoreError, SupervisorTick};

use super::SupervisorState;
use super::line::Owner;
use super::spawn::{Spawning, Step};

/// How many threads the store knows, and how many are being made.
#[derive(Debug, Default)]
pub(super) struct Registered {
    /// None until it has said: nothing is refused for it then.
    count: Option<u64>,
    /// Whether it is being asked.
    asking: bool,
    /// Whether taps were told that it does not say.
    told: bool,
    being_made: u64,
}

impl Registered {
    /// Whether one more would be too many, as far as is known.
    fn is_full(&self, max: u64) -> bool {
        self.count.is_some_and(|count| count.saturating_add(self.being_made) >= max)
    }

    fn add(&mut self, more: i64) {
        self.count = self.count.map(|count| count.saturating_add_signed(more));
    }
}

impl SupervisorState {
    /// Asks the store how many threads there are, if it has not said.
    pub(super) fn count_again(&mut self) {
        let known = self.registered.count.is_some();
        if known || self.ended || std::mem::replace(&mut self.registered.asking, true) {
            return;
        }
        self.disarm(SupervisorTick::CountDue);
        let store = self.shared.store.clone();
        self.outside(0, async move { Step::Counted(store.count().await) });
    }

    pub(super) fn on_count_due(&mut self) {
        self.came(SupervisorTick::CountDue);
        self.count_again();
    }

    /// What was made while the store was asked is counted, or is told behind this.
    pub(super) fn on_counted(&mut self, result: Result<u64, StoreError>) {
        self.registered.asking = false;
        match result {
            Ok(threads) => {
                self.registered.count = Some(threads);
                self.show_registered();
                if std::mem::take(&mut self.registered.told) {
                    self.publish(None, RuntimeEvent::ThreadsCounted { threads });
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.registered.told, true) {
                    let reason = error.to_string();
                    self.publish(None, RuntimeEvent::ThreadsNotCounted { reason });
                }
                let pause = self.shared.limits.store_retry;
                let at = Deadline::after(self.now().instant, pause).instant();
                self.arm_first(at, SupervisorTick::CountDue);
            }
        }
    }

    /// A new thread is being made.
    pub(super) const fn making(&mut self) {
        self.registered.being_made += 1;
    }

    /// The store knows a new thread, or never will.
    pub(super) fn made(&mut self, spawning: &mut Spawning) {
        self.registered.being_made -= u64::from(std::mem::take(&mut spawning.being_made));
    }

    pub(super) fn on_registered(&mut self, more: i64) {
        self.registered.add(more);
        self.show_registered();
        if more < 0 {
            self.lines.freed(Owner::Runtime);
        }
    }

    /// For who asks how much of each limit is in use.
    fn show_registered(&self) {
        self.directory.set_registered(self.registered.count);
    }

    pub(super) fn check_registered(&self) -> Result<(), LimitReached> {
        let max = self.shared.limits.registered_max;
        if !self.registered.is_full(max) {
            return Ok(());
        }
        Err(LimitReached {
            limit: "registered_max",
            value: max,
            holders: Vec::new(),
            retry_after: None,
            advice: "delete a thread",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_refused_until_the_store_has_said_and_what_is_being_made_counts() {
        let mut registered = Registered { being_made: 9, ..Registered::default() };
        registered.add(5);
        assert!(!registered.is_full(1));
        registered.count = Some(3);
        assert!(registered.is_full(12) && !registered.is_full(13));
        registered.add(-2);
        registered.being_made = 0;
        assert!(registered.is_full(1) && !registered.is_full(2));
    }
}
