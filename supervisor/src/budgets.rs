//! What a host does with budgets: look at them, and give more.

use coppicer_actors::Purse;
use coppicer_messages::{
    Budget, FundError, Ledger, SpawnError, StoreError, SupervisorMsg, ThreadId,
};

use crate::Runtime;

impl Runtime {
    /// The account of a thread: what it was granted, has used, and has given to threads below it.
    /// `None` if it has no budget of its own. The time of turns that run counts when they end.
    ///
    /// Of a closed thread, what it had given back to the one above it is still in there: it has so
    /// much when it is resumed.
    ///
    /// # Errors
    /// The store has no such thread, or cannot be read.
    pub async fn ledger(&self, thread: ThreadId) -> Result<Option<Ledger>, StoreError> {
        let handle = self.find(thread);
        match handle.as_ref().map(|handle| handle.purse().and_then(Purse::own)) {
            Some(account) => Ok(account.map(|account| account.ledger())),
            None => Ok(self.stored(thread).await?.ledger),
        }
    }

    /// What is left of the budgets that a thread draws on, its own or those above it; none where
    /// nothing limits it, and of a thread that has no slot. Others may draw on them too.
    pub fn budget_left(&self, thread: ThreadId) -> Budget {
        let left = |purse: &Purse| purse.left(self.shared().clock.now().instant);
        self.find(thread).and_then(|handle| handle.purse().map(left)).unwrap_or_default()
    }

    /// Gives a thread more of what its own budget limits, out of the accounts above it. Work that
    /// waits for it goes on. One that sleeps is brought up for it. Answers what it has left, once
    /// that is durable.
    ///
    /// # Errors
    /// The thread is not up, and could not be brought up; it has no such budget of its own; too
    /// little is left above it; the store refused; no answer within
    /// [`Limits::call_timeout`](coppicer_messages::Limits::call_timeout).
    ///
    /// # Cancel safety
    /// Dropping the future gives up the answer. The thread may be funded all the same.
    pub async fn fund(&self, thread: ThreadId, more: Budget) -> Result<Budget, FundError> {
        let deadline = self.shared().clock.deadline(self.limits().call_timeout);
        let up = self.handle_or_wake(thread, deadline).await;
        let _stays = up.map_err(|reason| match reason {
            SpawnError::NoAnswer => FundError::NoAnswer,
            SpawnError::RuntimeEnded => FundError::RuntimeEnded,
            reason => FundError::NotUp { thread, reason: Box::new(reason) },
        })?;
        let (reply, answer) = self.channel(deadline.left(self.shared().clock.now().instant));
        if !self.send(SupervisorMsg::Fund { thread, more, reply }) {
            return Err(FundError::RuntimeEnded);
        }
        answer.wait().await
    }
}
