//! The locked map that agent hosts have: `RwLock<HashMap<ThreadId, Arc<Thread>>>` with a task per thread.
//!
//! As the manager that we replace does it: a bounded queue of 512 per thread, a loop that takes
//! submissions from it and starts a task for each turn, a latest status in a watch channel, events in a
//! channel that whoever has the thread reads, a history behind a lock. Kind to it where it could be
//! slower: its writer of files, its logs and its quadratic wait for a shutdown are left out, its event
//! channel has a bound.

use std::collections::HashMap;
use std::sync::Arc;

use coppicer::ThreadId;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Submissions that wait in a thread.
const SUBMISSIONS: usize = 512;

/// Events that wait for whoever reads them.
const EVENTS: usize = 512;

#[expect(clippy::disallowed_types, reason = "this is the locked map that is measured")]
type Locked<T> = tokio::sync::RwLock<T>;

#[expect(clippy::disallowed_types, reason = "it keeps its histories behind such locks")]
type History = tokio::sync::Mutex<Vec<String>>;

/// What a thread is asked.
enum Op {
    Input(String),
    Shutdown,
}

/// What a thread tells.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    TurnStarted,
    Message(String),
    TurnComplete(String),
}

/// The latest status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nothing ran yet.
    PendingInit,
    /// A turn runs.
    Running,
    /// The last turn's message.
    Completed(Option<String>),
    /// It was shut down.
    Shutdown,
}

/// One thread.
#[derive(Debug)]
pub(crate) struct Thread {
    to: mpsc::Sender<(u64, Op)>,
    #[expect(clippy::disallowed_types, reason = "as it does, so that many may wait for the next")]
    events: tokio::sync::Mutex<mpsc::Receiver<(u64, Event)>>,
    status: watch::Receiver<Status>,
    #[expect(clippy::disallowed_types, reason = "as it does, so that many may wait for its end")]
    ended: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Input(_) => "Input",
            Self::Shutdown => "Shutdown",
        })
    }
}

/// What the loop of a thread and its turns share.
struct Session {
    events: mpsc::Sender<(u64, Event)>,
    status: watch::Sender<Status>,
    history: History,
}

impl Session {
    async fn tell(&self, id: u64, event: Event) {
        match &event {
            Event::TurnStarted => drop(self.status.send_replace(Status::Running)),
            Event::TurnComplete(last) => {
                drop(self.status.send_replace(Status::Completed(Some(last.clone()))));
            }
            Event::Message(_) => {}
        }
        let _nobody_reads = self.events.send((id, event)).await;
    }

    /// A turn whose model answers at once.
    async fn turn(&self, id: u64, input: String) {
        self.tell(id, Event::TurnStarted).await;
        self.history.lock().await.push(input);
        let answer = "done".to_owned();
        self.history.lock().await.push(answer.clone());
        self.tell(id, Event::Message(answer.clone())).await;
        self.tell(id, Event::TurnComplete(answer)).await;
    }
}

async fn submission_loop(session: Arc<Session>, mut from: mpsc::Receiver<(u64, Op)>) {
    let mut running: Option<JoinHandle<()>> = None;
    while let Some((id, op)) = from.recv().await {
        match op {
            Op::Input(input) => {
                let turn = session.clone();
                running = Some(tokio::spawn(async move { turn.turn(id, input).await }));
            }
            Op::Shutdown => break,
        }
    }
    if let Some(running) = running {
        running.abort();
    }
    session.status.send_replace(Status::Shutdown);
}

impl Thread {
    fn spawn() -> Self {
        let (to, from) = mpsc::channel(SUBMISSIONS);
        let (tell, events) = mpsc::channel(EVENTS);
        let (set, status) = watch::channel(Status::PendingInit);
        let session = Session { events: tell, status: set, history: History::default() };
        let ended = tokio::spawn(submission_loop(Arc::new(session), from));
        Self { to, events: events.into(), status, ended: Some(ended).into() }
    }

    /// The latest status, without a message.
    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Sends an input, and reads events until its turn is complete. One caller at a time.
    ///
    /// # Errors
    /// The thread is gone.
    pub(crate) async fn run(&self, id: u64, input: &str) -> Result<String, String> {
        let gone = || "the thread is gone".to_owned();
        self.to.send((id, Op::Input(input.to_owned()))).await.map_err(|_| gone())?;
        loop {
            let next = self.events.lock().await.recv().await;
            match next.ok_or_else(gone)? {
                (of, Event::TurnComplete(last)) if of == id => return Ok(last),
                _ => {}
            }
        }
    }

    /// Tells it to end, and waits until it has.
    async fn shutdown(&self) {
        let _gone = self.to.send((0, Op::Shutdown)).await;
        if let Some(ended) = self.ended.lock().await.take() {
            let _ended = ended.await;
        }
    }
}

/// The map.
#[derive(Debug, Clone, Default)]
pub(crate) struct LockedMap(Arc<Locked<HashMap<ThreadId, Arc<Thread>>>>);

impl LockedMap {
    /// Spawns a thread and puts it into the map.
    pub(crate) async fn spawn(&self, id: ThreadId) -> Arc<Thread> {
        let thread = Arc::new(Thread::spawn());
        self.0.write().await.insert(id, thread.clone());
        thread
    }

    /// Looks a thread up.
    pub(crate) async fn get(&self, id: ThreadId) -> Option<Arc<Thread>> {
        self.0.read().await.get(&id).cloned()
    }

    /// Takes a thread out of the map, and ends it.
    pub(crate) async fn close(&self, id: ThreadId) {
        let removed = self.0.write().await.remove(&id);
        if let Some(thread) = removed {
            thread.shutdown().await;
        }
    }

    /// Ends all of them side by side, then takes them out of the map.
    pub(crate) async fn close_all(&self) {
        let threads: Vec<(ThreadId, Arc<Thread>)> =
            self.0.read().await.iter().map(|(&id, thread)| (id, thread.clone())).collect();
        let mut ending = JoinSet::new();
        for (id, thread) in threads {
            ending.spawn(async move {
                thread.shutdown().await;
                id
            });
        }
        while let Some(ended) = ending.join_next().await {
            if let Ok(id) = ended {
                self.0.write().await.remove(&id);
            }
        }
    }
}
