//! What a host does with threads as the store keeps them: import, list, patch, archive, delete. None of it
//! loads a thread, unless it has to be closed first.

use std::sync::Arc;
use std::time::Duration;

use coppicer_actors::{
    About, Done, Lineage, StoredThread, ThreadPage, ThreadQuery, is_settled, preview_of,
};
use coppicer_messages::{
    ArchiveError, CloseError, CloseReport, CloseScope, Deadline, DeleteError, NewRecord,
    PatchError, RuntimeEvent, StoreError, SupervisorMsg, ThreadId, ThreadPatch,
};

use crate::runtime::{ImportThread, Runtime};
use crate::supervisor::publish_of;

impl Runtime {
    /// Brings a thread into the store, without an actor: [`resume`](Self::resume) gives it one.
    ///
    /// # Errors
    /// The store has a thread of that id; its parent is unknown; the store refused, or did not answer within
    /// [`Limits::call_timeout`](coppicer_messages::Limits::call_timeout) (`UnknownOutcome`).
    pub async fn import(&self, mut import: ImportThread) -> Result<StoredThread, StoreError> {
        import.thread.settled = is_settled(&import.history);
        let details = &mut import.thread.details;
        details.preview = details.preview.take().or_else(|| preview_of(&import.history));
        let records = import.history.iter().cloned().map(NewRecord::from).collect();
        let (done, acquired) = Done::channel();
        self.store().create(import.thread, records, done);
        let late = |_| StoreError::UnknownOutcome { reason: "it did not answer in time".into() };
        let acquired = tokio::time::timeout(self.limits().call_timeout, acquired).await;
        let thread = acquired.map_err(late)??.thread;
        self.send(SupervisorMsg::Registered { more: 1 });
        Ok(thread)
    }

    /// A thread as the store has it, whether or not it has a slot.
    ///
    /// # Errors
    /// The store has no such thread, cannot be read, or does not answer within
    /// [`Limits::call_timeout`](coppicer_messages::Limits::call_timeout) (`Unavailable`).
    pub async fn stored(&self, thread: ThreadId) -> Result<StoredThread, StoreError> {
        self.answered(self.store().thread(thread)).await
    }

    /// A page of the threads in the store, whether or not they have a slot. Loads none of them.
    ///
    /// # Errors
    /// The cursor is none of this order; the store cannot be read, or does not answer within
    /// [`Limits::call_timeout`](coppicer_messages::Limits::call_timeout) (`Unavailable`).
    pub async fn threads(&self, query: ThreadQuery) -> Result<ThreadPage, StoreError> {
        self.answered(self.store().list(query)).await
    }

    /// Changes what is known of a thread, durably, and at once in what a live one shows. A change of
    /// its path frees the old one; facts of a live thread carry the old path until it has a new slot.
    ///
    /// # Errors
    /// Another thread of its tree has the path; the store refused; no answer within
    /// [`Limits::call_timeout`](coppicer_messages::Limits::call_timeout).
    ///
    /// # Cancel safety
    /// Dropping the future gives up the answer; a patch that was taken up goes on.
    pub async fn patch(
        &self,
        thread: ThreadId,
        patch: ThreadPatch,
    ) -> Result<StoredThread, PatchError> {
        let (reply, answer) = self.channel(self.limits().call_timeout);
        let patch = Box::new(patch);
        if !self.send(SupervisorMsg::Patch { thread, patch, reply }) {
            return Err(PatchError::RuntimeEnded);
        }
        answer.wait().await?;
        self.stored(thread).await.map_err(PatchError::Store)
    }

    /// Puts a thread into the archive, within `budget`: closes it and what is below it first, so
    /// that nothing writes to it any more, then archives it. It goes on to belong to its tree, and
    /// can be read, forked, resumed and rolled back. Twice is as good as once.
    ///
    /// # Errors
    /// It is not in the store, or could not be closed; the store refused, or did not answer in time.
    /// It is archived only if this says so, or says that it does not know.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the answer. The close goes on; the thread may not be archived.
    pub async fn archive(
        &self,
        thread: ThreadId,
        budget: Duration,
    ) -> Result<StoredThread, ArchiveError> {
        let deadline = self.shared().clock.deadline(budget);
        self.close_branch(thread, budget).await.map_err(ArchiveError::Close)?;
        self.set_archived(thread, true, deadline).await
    }

    /// Takes a thread out of the archive. [`resume`](Self::resume) opens it again.
    ///
    /// # Errors
    /// The store refused, does not have it, or did not answer within
    /// [`Limits::call_timeout`](coppicer_messages::Limits::call_timeout).
    pub async fn unarchive(&self, thread: ThreadId) -> Result<StoredThread, ArchiveError> {
        let deadline = self.shared().clock.deadline(self.limits().call_timeout);
        self.set_archived(thread, false, deadline).await
    }

    async fn set_archived(
        &self,
        thread: ThreadId,
        archived: bool,
        deadline: Deadline,
    ) -> Result<StoredThread, ArchiveError> {
        let about = tokio::time::timeout_at(deadline.instant(), self.about(thread)).await;
        let about = about.map_err(|_| ArchiveError::NoAnswer)?;
        let (done, answer) = Done::channel();
        let at_ms = archived.then(|| self.shared().clock.now().at_ms);
        self.store().archive(thread, at_ms, done);
        let answer = tokio::time::timeout_at(deadline.instant(), answer).await;
        let stored = answer.map_err(|_| ArchiveError::NoAnswer)?.map_err(ArchiveError::Store)?;
        let event =
            if archived { RuntimeEvent::ThreadArchived } else { RuntimeEvent::ThreadUnarchived };
        publish_of(self.shared(), &about, event);
        Ok(stored)
    }

    /// Deletes a thread and all below it, within `budget`: closes them first, then removes them from
    /// the store. Forks of them live on. Answers how many threads are gone.
    ///
    /// # Errors
    /// It is not in the store, or could not be closed; the store refused, or did not answer in time.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the answer. The close goes on; the thread may not be deleted.
    pub async fn delete(&self, thread: ThreadId, budget: Duration) -> Result<u64, DeleteError> {
        let deadline = self.shared().clock.deadline(budget);
        self.close_branch(thread, budget).await.map_err(DeleteError::Close)?;
        let about = tokio::time::timeout_at(deadline.instant(), self.about(thread)).await;
        let about = about.map_err(|_| DeleteError::NoAnswer)?;
        let (done, answer) = Done::channel();
        self.store().delete(thread, done);
        let answer = tokio::time::timeout_at(deadline.instant(), answer).await;
        let threads = answer.map_err(|_| DeleteError::NoAnswer)?.map_err(DeleteError::Store)?;
        let more = i64::try_from(threads).map_or(i64::MIN, |threads| -threads);
        self.send(SupervisorMsg::Registered { more });
        publish_of(self.shared(), &about, RuntimeEvent::ThreadDeleted { threads });
        Ok(threads)
    }

    /// Closes a thread and what is below it, leaving its edge as it is. What had not ended by the
    /// deadline is fenced off, so that nothing of it is written any more.
    async fn close_branch(
        &self,
        thread: ThreadId,
        budget: Duration,
    ) -> Result<CloseReport, CloseError> {
        // A part of the time is the store's, for what follows.
        let budget = budget.saturating_sub(budget / 4);
        let report = self.close_with(CloseScope::Branch(thread), Duration::ZERO, budget).await?;
        // It may have a life of which nobody here knows, or be none at all.
        if report.unknown.is_empty() { Ok(report) } else { Err(CloseError::NoAnswer) }
    }

    /// Who facts of a thread are about, from the store.
    async fn about(&self, thread: ThreadId) -> About {
        let store = Arc::clone(self.store());
        let mut about = About::of(thread);
        let Ok(stored) = store.thread(thread).await else { return about };
        about.parent = stored.parent.map(|(parent, _)| parent);
        about.path = stored.path;
        let mut above = Vec::new();
        let mut at = about.parent;
        while let Some(parent) = at.filter(|parent| !above.contains(parent)) {
            above.push(parent);
            at = store.thread(parent).await.ok().and_then(|stored| Some(stored.parent?.0));
        }
        about.lineage = above.iter().rev().fold(Lineage::default(), |above, &id| above.below(id));
        about.depth = about.lineage.depth();
        about
    }
}
