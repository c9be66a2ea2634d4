//! What a host does with the shape of trees: put a thread below another one, or make it a root.

use coppicer_messages::{AdoptError, SpawnError, SupervisorMsg, ThreadId};

use crate::Runtime;

impl Runtime {
    /// Puts a thread, with all below it, below `parent`, or makes it a root. It goes on undisturbed:
    /// its turn, inbox, history, handles and waiters are what they were, whatever phase it is in;
    /// only one that is closed has to be resumed first. It is the last among its new siblings. A
    /// parent that sleeps is woken. Where it is already is as good as moved.
    ///
    /// Answered once the move is durable. From then on its ends are told to its new parent; one that
    /// comes while the move is written is told to one of the two.
    ///
    /// - Its path becomes one below the new parent's, with its own name at the end, and so do the
    ///   paths below it. A root keeps the paths that it had. Nicknames stay as they are.
    /// - What it has left of a budget of its own is carved from the new parent's; what its old parent
    ///   had given it stays given away.
    ///
    /// Where a path is taken to be free, the store is asked for the threads of both trees.
    ///
    /// # Errors
    /// An [`AdoptError`]: it is where it was, unless that says otherwise. A close of either that
    /// begins while the move is written wins, and so does one of its old parent.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the answer; a move that was taken up goes on.
    pub async fn adopt(
        &self,
        thread: ThreadId,
        parent: Option<ThreadId>,
    ) -> Result<(), AdoptError> {
        let deadline = self.shared().clock.deadline(self.limits().call_timeout);
        if let Some(parent) = parent.filter(|&parent| parent != thread) {
            self.wake_parent(parent, deadline).await.map_err(|refusal| match refusal {
                SpawnError::NoAnswer => AdoptError::NoAnswer,
                SpawnError::RuntimeEnded => AdoptError::RuntimeEnded,
                SpawnError::Limit(reached) => AdoptError::Limit(reached),
                SpawnError::Store(error) => AdoptError::Store(error),
                _ => AdoptError::ParentGone { parent },
            })?;
        }
        let (reply, answer) = self.channel(deadline.left(self.shared().clock.now().instant));
        if !self.send(SupervisorMsg::Adopt { thread, parent, asker: None, reply }) {
            return Err(AdoptError::RuntimeEnded);
        }
        answer.wait().await.map(drop)
    }
}
