//! The process that is killed: a runtime on a store, an engine that writes known texts, and a client
//! for each slot. What it is to go on with comes through its standard input; what was acknowledged
//! goes out through its standard output.

mod client;
mod engine;

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coppicer::{
    Backoff, Done, Durability, Limits, RestartPolicy, Runtime, SqliteOptions, SqliteStore,
    StoreError, StoreHealth, ThreadStore,
};
use futures::future::join_all;
use parking_lot::Mutex;

use crate::oracle::GoesOn;
use crate::plan::{StepId, submission_of, thread_of};
use crate::words::Word;
use client::Client;
use engine::KnownTexts;

/// How the child works.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of a command line")]
pub struct Args {
    /// The store's file.
    #[arg(long)]
    pub store: PathBuf,
    /// Decides the scripts.
    #[arg(skip)]
    pub seed: u64,
    /// A power-safe store.
    #[arg(long)]
    pub power: bool,
    /// Ends when what was begun is finished, instead of going on for ever.
    #[arg(long)]
    pub finish: bool,
    /// Longest pause of a client between two steps, in milliseconds.
    #[arg(long, default_value_t = 60)]
    pub pause_ms: u64,
    /// The deadline of each call, in milliseconds.
    #[arg(long, default_value_t = 20_000)]
    pub call_ms: u64,
    /// Reads the roots' histories all the time, and tells whether it can.
    #[arg(long)]
    pub read: bool,
    /// Acknowledges before it is true, for a test of the test.
    #[arg(long = "break")]
    pub broken: bool,
}

/// Why the child ended early.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It was told nonsense.
    #[error("standard input: {0}")]
    Input(String),
    /// Its input cannot be read.
    #[error("standard input cannot be read")]
    Read(#[from] io::Error),
    /// The store did not open; the parent was told.
    #[error("the store did not open")]
    Open(#[from] coppicer::OpenError),
    /// The runtime did not start.
    #[error("the runtime did not start")]
    Start(#[from] coppicer::StartError),
}

/// Where words go.
#[derive(Debug, Clone, Default)]
pub struct Acks(Arc<Mutex<()>>);

impl Acks {
    /// Says a word. A parent that is gone hears nothing, and the child ends soon after it.
    pub fn say(&self, word: &Word) {
        let _one_at_a_time = self.0.lock();
        let line = format!("{word}\n");
        // One write: the pipe has all of a line or nothing.
        let mut out = io::stdout().lock();
        drop(out.write_all(line.as_bytes()).and_then(|()| out.flush()));
    }
}

/// A generous policy: what is tested here is the store, not a thread's budget.
pub(crate) fn restarts() -> RestartPolicy {
    let ms = Duration::from_millis;
    let backoff = Backoff { initial: ms(20), factor: 1.5, max: ms(200), jitter: 0.1 };
    RestartPolicy::default().with_limit(1_000_000, Duration::from_secs(60)).with_backoff(backoff)
}

/// Runs until it is killed, or finished.
///
/// # Errors
/// A [`ChildError`].
pub async fn run(args: Args) -> Result<(), ChildError> {
    let acks = Acks::default();
    let slots = read_slots()?;
    acks.say(&Word::Opening);
    let durability = if args.power { Durability::Power } else { Durability::Process };
    let opened = SqliteStore::open_with(&args.store, SqliteOptions::new().durability(durability));
    let store = match opened {
        Ok(store) => Arc::new(store),
        Err(error) => {
            acks.say(&Word::Refused(error.to_string()));
            return Err(error.into());
        }
    };
    acks.say(&Word::Open);
    {
        let acks = acks.clone();
        store.watch(Arc::new(move |health| match health {
            StoreHealth::Ailing { reason, .. } => acks.say(&Word::Ailing(reason)),
            StoreHealth::Well => acks.say(&Word::Well),
            _ => {}
        }));
    }
    let mut limits = Limits::default();
    limits.call_timeout = Duration::from_millis(args.call_ms);
    limits.store_retry = Duration::from_millis(100);
    let runtime = Runtime::builder()
        .engine(KnownTexts::new(args.seed, acks.clone()))
        .shared_store(store.clone())
        .limits(limits)
        .start()
        .await?;

    recover(&runtime, &store, &args, &slots).await;
    acks.say(&Word::Recovered);
    if args.read {
        let (store, acks, slots) = (store.clone(), acks.clone(), slots.clone());
        drop(tokio::spawn(async move { keep_reading(&store, &acks, args.seed, &slots).await }));
    }
    let clients = slots.into_iter().enumerate().map(|(slot, goes_on)| {
        let client = Client::new(runtime.clone(), acks.clone(), args.clone());
        tokio::spawn(async move { client.work(slot as u64, goes_on).await })
    });
    join_all(clients.collect::<Vec<_>>()).await;
    // Only with `finish`: every outcome was told.
    drop(runtime.shutdown(Duration::from_secs(20)).await);
    drop(runtime);
    acks.say(&Word::Finished);
    Ok(())
}

/// Brings back what was at work: the tree of each slot, and what else has something to do.
async fn recover(runtime: &Runtime, store: &SqliteStore, args: &Args, slots: &[GoesOn]) {
    let trees = slots.iter().enumerate().map(|(slot, goes_on)| async move {
        let life = goes_on.life;
        let root = thread_of(args.seed, StepId { slot: slot as u64, life, at: 0 });
        // Not there, if its making was not acknowledged.
        drop(runtime.resume_tree(root).await);
    });
    join_all(trees).await;
    let mut after = None;
    while let Ok(page) = store.unfinished(after, 256).await {
        after = page.last().copied();
        join_all(page.iter().map(|&thread| runtime.resume(thread))).await;
        if page.len() < 256 {
            break;
        }
    }
}

/// Reads the first root of each slot, again and again.
async fn keep_reading(store: &SqliteStore, acks: &Acks, seed: u64, slots: &[GoesOn]) {
    loop {
        for (slot, goes_on) in slots.iter().enumerate() {
            let step = StepId { slot: slot as u64, life: goes_on.life, at: 0 };
            let thread = thread_of(seed, step);
            let (done, known) = Done::channel();
            store.submission(thread, &submission_of(step), done);
            let read =
                async { store.read(thread, None).await.map(drop).and(known.await.map(drop)) };
            match read.await {
                Ok(()) => acks.say(&Word::Read(step)),
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => acks.say(&Word::Unread(step, error.to_string())),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// One line for each slot.
fn read_slots() -> Result<Vec<GoesOn>, ChildError> {
    let lines = io::stdin().lock().lines();
    lines.map(|line| line?.parse().map_err(ChildError::Input)).collect()
}
