//! Raw tokio: a task panics, who holds its join handle spawns another, which answers over a channel.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Messages that wait in a task's channel.
const CHANNEL: usize = 512;

enum Msg {
    Panic { text: &'static str, at: oneshot::Sender<Instant> },
    Ask(oneshot::Sender<u32>),
}

fn task() -> (mpsc::Sender<Msg>, JoinHandle<()>) {
    let (to, mut from) = mpsc::channel(CHANNEL);
    let join = tokio::spawn(async move {
        while let Some(msg) = from.recv().await {
            match msg {
                Msg::Panic { text, at } => {
                    let _unread = at.send(Instant::now());
                    panic!("{text}");
                }
                Msg::Ask(reply) => {
                    let _unread = reply.send(1);
                }
            }
        }
    });
    (to, join)
}

/// A task that is spawned again when it panics.
pub(crate) struct Respawn {
    to: mpsc::Sender<Msg>,
    join: JoinHandle<()>,
}

impl Respawn {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let (to, join) = task();
        Self { to, join }
    }

    /// Has the task panic with `text`, and asks the next one: from the panic to its answer.
    ///
    /// # Errors
    /// No answer came.
    pub(crate) async fn panic_and_ask(
        &mut self,
        text: &'static str,
    ) -> Result<std::time::Duration, String> {
        let gone = || "the task is gone".to_owned();
        let (at, panicked) = oneshot::channel();
        self.to.send(Msg::Panic { text, at }).await.map_err(|_| gone())?;
        let panic = (&mut self.join).await;
        if panic.is_ok() {
            return Err("the task did not panic".into());
        }
        (self.to, self.join) = task();
        let (reply, answer) = oneshot::channel();
        self.to.send(Msg::Ask(reply)).await.map_err(|_| gone())?;
        let _one = answer.await.map_err(|_| gone())?;
        let answered = Instant::now();
        Ok(answered - panicked.await.map_err(|_| gone())?)
    }
}
