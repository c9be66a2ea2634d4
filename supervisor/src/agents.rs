//! What a host asks of agents as a tree: waiting for them.

use std::time::Duration;

use coppicer_actors::{Wait, Waited, wait_for};
use coppicer_messages::ThreadId;

use crate::Runtime;

impl Runtime {
    /// Waits until threads have ended what they do, or until `budget` is over. As
    /// [`TurnContext::wait`](coppicer_actors::TurnContext::wait): event-driven; a thread that had
    /// ended before counts at once, and so does one that is not loaded.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the wait and nothing else.
    pub async fn wait(&self, threads: &[ThreadId], how: Wait, budget: Duration) -> Waited {
        let until = self.shared().clock.deadline(budget).instant();
        wait_for(self.turns(), threads, how, until).await
    }
}
