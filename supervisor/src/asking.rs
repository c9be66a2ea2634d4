//! What a host asks of one thread by its id, whether or not it has an actor.

use coppicer_actors::{SubmitOptions, ThreadHandle, answered_by, not_woken, slot_or_wake};
use coppicer_messages::{
    Accepted, ControlError, CrashRecord, Deadline, Interrupted, SpawnError, StoreError, Submission,
    SubmitError, ThreadId,
};

use crate::Runtime;

impl Runtime {
    /// Sends a submission to a thread. One without an actor is brought up for it; however many
    /// callers there are, it comes up once.
    ///
    /// # Errors
    /// As [`ThreadHandle::submit`]; `NotFound` if it is not in the store; `Closed` if it is, or what
    /// it belongs to: [`resume`](Self::resume) opens it again.
    ///
    /// # Cancel safety
    /// As [`ThreadHandle::submit`]. The thread may come up all the same.
    pub async fn submit(
        &self,
        thread: ThreadId,
        submission: impl Into<Submission>,
    ) -> Result<Accepted, SubmitError> {
        let deadline = self.shared().clock.deadline(self.shared().limits.call_timeout);
        let handle =
            self.handle_or_wake(thread, deadline).await.map_err(|no| not_woken(thread, no))?;
        let left = deadline.left(self.shared().clock.now().instant);
        handle.submit_with(submission, SubmitOptions::new().within(left)).await
    }

    /// Stops the running turn of a thread. One without an actor is brought up for it: a turn that an
    /// earlier process left running is closed then.
    ///
    /// # Errors
    /// As [`ThreadHandle::interrupt`]; `NotFound` if it is not in the store, or closed.
    pub async fn interrupt(&self, thread: ThreadId) -> Result<Interrupted, ControlError> {
        self.woken(thread).await?.interrupt().await
    }

    /// Parks a thread, as [`ThreadHandle::park`]. One without an actor is brought up for it.
    ///
    /// # Errors
    /// As [`ThreadHandle::park`]; `NotFound` if it is not in the store, or closed.
    pub async fn park(&self, thread: ThreadId) -> Result<(), ControlError> {
        self.woken(thread).await?.park().await
    }

    /// Lets a parked thread run again, as [`ThreadHandle::revive`]. One without an actor is brought
    /// up for it.
    ///
    /// # Errors
    /// As [`ThreadHandle::revive`]; `NotFound` if it is not in the store, or closed.
    pub async fn revive(&self, thread: ThreadId) -> Result<(), ControlError> {
        self.woken(thread).await?.revive().await
    }

    /// The last crashes of a thread, oldest first: of its engine, of its actor, and of hosts that died
    /// in mid-turn. At most [`CRASHES_KEPT_MAX`](coppicer_messages::CRASHES_KEPT_MAX).
    ///
    /// # Errors
    /// The store has no such thread, cannot be read, or does not answer in time (`Unavailable`).
    pub async fn crashes(&self, thread: ThreadId) -> Result<Vec<CrashRecord>, StoreError> {
        self.answered(self.store().crashes(thread)).await
    }

    /// What the store answers within [`Limits::call_timeout`](coppicer_messages::Limits::call_timeout).
    pub(crate) async fn answered<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        answered_by(self.shared().clock.deadline(self.limits().call_timeout), answer).await
    }

    /// The handle of a thread, brought up if it has no actor, to ask something of it.
    async fn woken(&self, thread: ThreadId) -> Result<ThreadHandle, ControlError> {
        let deadline = self.shared().clock.deadline(self.shared().limits.call_timeout);
        self.handle_or_wake(thread, deadline).await.map_err(|no| match no {
            SpawnError::NotFound { .. }
            | SpawnError::Closed { .. }
            | SpawnError::Closing { .. } => ControlError::NotFound { thread },
            SpawnError::NoAnswer => ControlError::NoAnswer,
            SpawnError::RuntimeEnded => ControlError::RuntimeEnded,
            reason => ControlError::NotUp { thread, reason: Box::new(reason) },
        })
    }

    pub(crate) async fn handle_or_wake(
        &self,
        thread: ThreadId,
        deadline: Deadline,
    ) -> Result<ThreadHandle, SpawnError> {
        if self.has_ended() {
            return Err(SpawnError::RuntimeEnded);
        }
        let slot = slot_or_wake(self.turns(), thread, deadline).await?;
        let handle = ThreadHandle::new(slot, self.turns().clone());
        if handle.is_internal() { Err(SpawnError::NotFound { thread }) } else { Ok(handle) }
    }
}
