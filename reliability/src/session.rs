//! One store and what is known of it: children come and go on it, one after the other.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::dice::Dice;
use crate::oracle::Oracle;
use crate::process::{Next, PATIENCE, ProcessError, Running, Start, now};
use crate::rules::{Kind, Violation, violations};
use crate::snapshot::look;
use crate::words::Word;

/// Why a test could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// A child.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The operating system.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A tool of the operating system.
    #[error("{what}: {said}")]
    Tool {
        /// What was tried.
        what: String,
        /// What it said.
        said: String,
    },
}

impl TestError {
    /// The operating system refused `what`.
    pub fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// Where in a child's life it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So long after it said that it opens the store.
    Opening(Duration),
    /// So long after the store was open, while threads come back.
    Recovering(Duration),
    /// So long after all of them were back.
    Working(Duration),
}

impl When {
    /// A moment that `dice` decide: one in five while the store is opened or threads come back.
    pub fn choose(dice: &mut Dice, work_ms: u64) -> Self {
        let micros = |dice: &mut Dice, end: u64| Duration::from_micros(dice.below(end));
        // The moment may come later than the phase lasts, so some more are aimed at it.
        match dice.below(100) {
            0..16 => Self::Opening(micros(dice, 6_000)),
            16..28 => Self::Recovering(micros(dice, 60_000)),
            _ => Self::Working(Duration::from_millis(10) + micros(dice, work_ms * 1_000)),
        }
    }
}

/// One store.
#[derive(Debug)]
pub struct Session {
    /// How its children are started.
    pub start: Start,
    /// What is known of it.
    pub oracle: Oracle,
    /// What broke the rules.
    pub found: Vec<Violation>,
    /// Lives up to these were verified to their end: they cannot change any more.
    settled: Vec<u64>,
    /// Threads that were closed and do not say so.
    pub not_ended: BTreeSet<String>,
    /// Calls that were refused.
    pub errors: u64,
    /// Times that the store was read and checked.
    pub checks: u64,
}

impl Session {
    /// A new store, with `slots` clients.
    pub fn new(start: Start, seed: u64, slots: u64) -> Self {
        let settled = (0..slots).map(|_| 0).collect();
        let oracle = Oracle::new(seed, slots);
        Self {
            start,
            oracle,
            found: Vec::new(),
            settled,
            not_ended: BTreeSet::new(),
            errors: 0,
            checks: 0,
        }
    }

    /// Starts a child and kills it: whether that was before all threads were back.
    ///
    /// # Errors
    /// The child ended by itself.
    pub fn round(&mut self, when: When) -> Result<bool, TestError> {
        let mut running = Running::start(&self.start, &self.oracle)?;
        let (mark, after) = match when {
            When::Opening(after) => (Word::Opening, after),
            When::Recovering(after) => (Word::Open, after),
            When::Working(after) => (Word::Recovered, after),
        };
        let mut until = now() + PATIENCE;
        let mut recovered = false;
        loop {
            match running.next(until, &mut self.oracle)? {
                Next::Word(word) => {
                    recovered |= word == Word::Recovered;
                    self.note(&word);
                    if word == mark {
                        until = now() + after;
                    }
                }
                Next::Nothing => break,
                Next::End => return Err(running.ended().into()),
            }
        }
        let errors = &mut self.errors;
        running.kill(&mut self.oracle, |word| {
            recovered |= *word == Word::Recovered;
            *errors += u64::from(matches!(word, Word::Error(..)));
        })?;
        Ok(!recovered)
    }

    fn note(&mut self, word: &Word) {
        if let Word::Error(..) = word {
            self.errors += 1;
        }
    }

    /// Has a child finish what was begun, and end by itself.
    ///
    /// # Errors
    /// It does not.
    pub fn finish(&mut self) -> Result<(), TestError> {
        let start = Start { finish: true, ..self.start.clone() };
        let mut running = Running::start(&start, &self.oracle)?;
        running.wait_for(&Word::Finished, "finished", &mut self.oracle)?;
        Ok(())
    }

    /// Reads the store and checks it: the lives that can have changed, or `all` of them.
    ///
    /// # Errors
    /// There is no runtime to read it in.
    pub fn verify(&mut self, all: bool, finished: bool) -> Result<(), TestError> {
        let mut lives = BTreeSet::new();
        for (slot, (&(life, _), settled)) in
            self.oracle.slots.iter().zip(&mut self.settled).enumerate()
        {
            let from = if all { 0 } else { *settled };
            lives.extend((from..=life).map(|life| (slot as u64, life)));
            // Closed before this look, so whole in it.
            *settled = life;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(TestError::io("cannot make a runtime to read the store in"))?;
        self.checks += 1;
        match runtime.block_on(look(&self.start.store, &self.oracle, &lives)) {
            Ok(snapshot) => {
                let found = violations(&self.oracle, &snapshot, finished).into_iter();
                let (remarks, found): (Vec<_>, Vec<_>) =
                    found.partition(|found| found.kind == Kind::NotEnded);
                self.not_ended.extend(remarks.into_iter().map(|remark| remark.what));
                self.found.extend(found);
                for (&step, found) in &snapshot.submissions {
                    if let Some(outcome) = &found.outcome {
                        self.oracle.learn(step, outcome);
                    }
                }
            }
            Err(error) => {
                let mut what = error.to_string();
                if let Some(cause) = std::error::Error::source(&error) {
                    what = format!("{what}: {cause}");
                }
                self.found.push(Violation { kind: Kind::Invalid, what });
            }
        }
        Ok(())
    }

    /// Everything that is wrong so far, in words.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = self.oracle.wrong.clone();
        wrong.extend(self.found.iter().map(ToString::to_string));
        wrong
    }
}

/// The file of a store in `folder`.
pub fn store_in(folder: &Path) -> std::path::PathBuf {
    folder.join("store.db")
}

/// A folder in memory, where there is one: for what asks nothing of a disk.
///
/// # Errors
/// None can be made, in memory or on disk.
pub fn folder_in_memory() -> Result<tempfile::TempDir, TestError> {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .map_err(TestError::io("cannot make a folder"))
}
