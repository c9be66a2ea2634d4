//! The writer: one OS thread with the one connection that writes.
//!
//! What waits in its queue becomes one transaction, one fsync; so batches form by themselves, and
//! nobody waits for a timer. Answers are told after the commit, in the order of the requests. A
//! commit that fails is never tried again on the same connection: its requests have an unknown
//! outcome, the connection is made anew and what is in the file is checked.

mod accounts;
mod collect;
mod commit;
mod gates;
mod health;
mod mail;
mod records;
mod request;
mod threads;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::thread::JoinHandle;
use std::time::Duration;

use coppicer_actors::StoreWatch;
use coppicer_messages::StoreError;

use crate::open::{Opened, Owner};
use crate::options::SqliteOptions;
use crate::pool::Pool;
pub(crate) use accounts::crashes;
use commit::Committer;
pub(crate) use health::Health;
pub(crate) use mail::mail_page;
pub(crate) use request::Request;
pub(crate) use threads::{Share, submission};

/// The queue of the writer, and the thread behind it.
pub(crate) struct Writer {
    /// None once it is told to end, and in a store that is only read.
    queue: Option<SyncSender<Request>>,
    waiting_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
    pub(crate) health: Arc<Health>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the writer.
    ///
    /// # Errors
    /// The process has no more threads.
    pub(crate) fn start(
        path: PathBuf,
        opened: Opened,
        owner: Owner,
        options: SqliteOptions,
        pool: Arc<Pool>,
    ) -> std::io::Result<Self> {
        let (queue, requests) = sync_channel(options.queue_requests_max.max(1));
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let health = Arc::new(Health::default());
        let bytes_max = options.queue_bytes_max;
        let taken = Taken {
            requests,
            waiting_bytes: waiting_bytes.clone(),
            requests_max: options.commit_requests_max.max(1),
            bytes_max: options.commit_bytes_max,
        };
        let committer =
            Committer::new(path, opened.connection, owner, options, pool, health.clone());
        let thread = std::thread::Builder::new()
            .name("coppicer-store".into())
            .spawn(move || run(&taken, committer))?;
        Ok(Self { queue: Some(queue), waiting_bytes, bytes_max, health, thread: Some(thread) })
    }

    /// A writer that refuses everything: of a store that is only read.
    pub(crate) fn none() -> Self {
        Self {
            queue: None,
            waiting_bytes: Arc::default(),
            bytes_max: 0,
            health: Arc::default(),
            thread: None,
        }
    }

    /// Whether there is one: not in a store that is only read.
    pub(crate) const fn is_there(&self) -> bool {
        self.queue.is_some()
    }

    /// Puts a request into the queue, or refuses it at once. Never blocks.
    pub(crate) fn ask(&self, request: Request) {
        let unavailable = |reason: &str| StoreError::Unavailable { reason: reason.to_owned() };
        let Some(queue) = &self.queue else {
            return request.refuse(unavailable("it was opened only for reading"));
        };
        let bytes = request.bytes();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting > 0 && waiting + bytes > self.bytes_max {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return request.refuse(unavailable("too many bytes wait to be written; try again"));
        }
        match queue.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(request)) => {
                self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                request.refuse(unavailable("too many requests wait to be written; try again"));
            }
            Err(TrySendError::Disconnected(request)) => {
                self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                request.refuse(unavailable("the store is closed"));
            }
        }
    }

    pub(crate) fn watch(&self, told: &StoreWatch) {
        self.health.watch(told);
    }

    /// Carries out what waits, then ends the writer and lets go of the file.
    pub(crate) fn close(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // An answer may hold the last handle of the store: then this is the writer itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("the writer of the store had panicked");
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the writer takes from its queue at one go.
struct Taken {
    requests: Receiver<Request>,
    waiting_bytes: Arc<AtomicUsize>,
    requests_max: usize,
    bytes_max: usize,
}

enum Next {
    Batch(Vec<Request>),
    /// Nothing came for a while.
    Quiet,
    /// Nobody is left who could ask.
    End,
}

impl Taken {
    /// Waits for a request (at most `patience`), and takes what else waits.
    fn next(&self, patience: Option<Duration>) -> Next {
        let first = match patience {
            None => self.requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(patience) => self.requests.recv_timeout(patience),
        };
        let first = match first {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Next::Quiet,
            Err(RecvTimeoutError::Disconnected) => return Next::End,
        };
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while batch.len() < self.requests_max && bytes < self.bytes_max {
            match self.requests.try_recv() {
                Ok(request) => {
                    bytes += request.bytes();
                    batch.push(request);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Next::Batch(batch)
    }
}

fn run(taken: &Taken, mut committer: Committer) {
    // What an earlier process left to collect.
    let mut more_to_collect = true;
    loop {
        let patience = more_to_collect.then_some(Duration::ZERO);
        match taken.next(patience) {
            Next::Batch(batch) => {
                let deleted = batch.iter().any(Request::may_leave_garbage);
                committer.commit(batch);
                more_to_collect |= deleted;
            }
            Next::Quiet => more_to_collect = committer.collect(),
            Next::End => break,
        }
    }
    committer.close();
}
