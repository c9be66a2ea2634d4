//! What a host asks of agents as a tree: listing them, finding one by its path, waiting for them,
//! and mail.

use std::time::Duration;

use coppicer_actors::{
    AgentList, FindAgentError, ListAgentsError, Waited, agents, resolve_agent, wait_for,
};
use coppicer_messages::{Accepted, AgentPath, Op, SubmitError, ThreadId, Wait};

use crate::Runtime;

impl Runtime {
    /// The agents of the tree that `thread` belongs to, whose paths begin with `prefix`, which may be
    /// relative to that thread's own: the root first, then by path and id. Agents without a path
    /// come with the prefix `/root` or none. Closed and hidden ones are left out; those that sleep
    /// are not, and are not woken. Looks at this tree alone, at
    /// [`Limits::agents_listed_max`](coppicer_messages::Limits::agents_listed_max) threads of it; the
    /// list says how many more there are ([`AgentList::not_looked_at`]).
    ///
    /// # Errors
    /// There is no such thread; the prefix is no path; the store cannot be read.
    pub async fn agents(
        &self,
        thread: ThreadId,
        prefix: Option<&str>,
    ) -> Result<AgentList, ListAgentsError> {
        agents(self.turns(), thread, prefix).await
    }

    /// The thread that a reference stands for: an id, or a path in the tree of `from`, which may be
    /// relative to that thread's own.
    ///
    /// # Errors
    /// It stands for none, or for none of those that are looked at; the store cannot be read.
    pub async fn resolve(
        &self,
        from: ThreadId,
        reference: &str,
    ) -> Result<ThreadId, FindAgentError> {
        resolve_agent(self.turns(), from, reference).await
    }

    /// Sends mail to a thread in the name of an agent. With `trigger` it starts a turn when the thread
    /// is idle; other mail comes with the next turn, or joins the running one. It waits in one that
    /// is parked. One without an actor is brought up for it.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), but never `Parked`.
    ///
    /// # Cancel safety
    /// As [`submit`](Self::submit).
    pub async fn mail(
        &self,
        to: ThreadId,
        from: AgentPath,
        content: impl Into<String>,
        trigger: bool,
    ) -> Result<Accepted, SubmitError> {
        self.submit(to, Op::AgentMessage { from, content: content.into(), trigger }).await
    }

    /// Waits until threads have ended what they do, or until `budget` is over. As
    /// [`TurnContext::wait`](coppicer_actors::TurnContext::wait): event-driven; a thread that had
    /// ended before counts at once, one that sleeps is not woken, and what an earlier host left
    /// unfinished is brought up.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the wait and nothing else.
    pub async fn wait(&self, threads: &[ThreadId], how: Wait, budget: Duration) -> Waited {
        let deadline = self.shared().clock.deadline(budget);
        wait_for(self.turns(), threads, how, deadline).await
    }
}
