//! Raw tokio, the floor: a task, a bounded channel, an answer over a oneshot.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Messages that wait in a task's channel: as many as in a thread's inbox.
const CHANNEL: usize = 512;

/// A task that answers, and ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task {
    to: mpsc::Sender<oneshot::Sender<u32>>,
    join: JoinHandle<()>,
}

impl Task {
    /// Spawns it.
    pub(crate) fn spawn() -> Self {
        let (to, mut from) = mpsc::channel::<oneshot::Sender<u32>>(CHANNEL);
        let join = tokio::spawn(async move {
            while let Some(reply) = from.recv().await {
                let _unread = reply.send(1);
            }
        });
        Self { to, join }
    }

    /// Asks it.
    ///
    /// # Errors
    /// The task is gone.
    pub(crate) async fn ask(&self) -> Result<u32, String> {
        let (reply, answer) = oneshot::channel();
        self.to.send(reply).await.map_err(|_| "the task is gone".to_owned())?;
        answer.await.map_err(|_| "the task did not answer".to_owned())
    }

    /// What a thread does for a turn at the least: another task is spawned, and answers.
    ///
    /// # Errors
    /// The task is gone.
    pub(crate) async fn turn() -> Result<u32, String> {
        Self::spawn().ask().await
    }

    /// Ends it, and waits until it has ended.
    pub(crate) async fn end(self) {
        drop(self.to);
        let _ended = self.join.await;
    }

    /// Ends many, and waits until all have ended.
    pub(crate) async fn end_all(tasks: Vec<Self>) {
        let joins: Vec<_> = tasks.into_iter().map(Self::join_after_end).collect();
        for join in joins {
            let _ended = join.await;
        }
    }

    fn join_after_end(self) -> JoinHandle<()> {
        drop(self.to);
        self.join
    }
}
