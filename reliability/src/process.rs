//! A child process and its pipe, from the parent's side.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use crate::oracle::Oracle;
use crate::words::Word;

/// Words that wait for the parent.
const WORDS_MAX: usize = 65_536;

/// How long a child may take to open, recover and finish before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// What a parent and its child failed at, beside the promises that are tested.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The child did not start.
    #[error("a child did not start")]
    Start(#[source] io::Error),
    /// It said something that is no word.
    #[error("a child said nonsense: {0}")]
    Nonsense(String),
    /// It ended by itself.
    #[error("a child ended by itself, {status}: {last}")]
    Ended {
        /// How.
        status: String,
        /// The last that was heard of it.
        last: String,
    },
    /// It did not come so far in time.
    #[error("a child did not come to `{wanted}` within {PATIENCE:?}")]
    Stuck {
        /// How far.
        wanted: &'static str,
    },
}

/// How a child is started.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of a command line")]
pub struct Start {
    /// The program: the binary of this crate.
    pub program: PathBuf,
    /// The store's file.
    pub store: PathBuf,
    /// A power-safe store.
    pub power: bool,
    /// Finishes instead of going on for ever.
    pub finish: bool,
    /// Acknowledges too early.
    pub broken: bool,
    /// Reads all the time.
    pub read: bool,
    /// Longest pause of a client, in milliseconds.
    pub pause_ms: u64,
    /// Deadline of each call, in milliseconds.
    pub call_ms: u64,
    /// Environment of the child alone.
    pub env: Vec<(String, String)>,
}

impl Start {
    /// A child of `program` on `store`.
    pub fn new(program: &Path, store: &Path) -> Self {
        Self {
            program: program.to_owned(),
            store: store.to_owned(),
            power: false,
            finish: false,
            broken: false,
            read: false,
            pause_ms: 60,
            call_ms: 20_000,
            env: Vec::new(),
        }
    }
}

/// A child that runs. Killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    words: Receiver<Result<Word, String>>,
    last: String,
}

/// What came next of a child.
#[derive(Debug)]
pub enum Next {
    /// A word, heard by the oracle already.
    Word(Word),
    /// Nothing in that time.
    Nothing,
    /// It has ended.
    End,
}

impl Running {
    /// Starts a child, to go on where the oracle is.
    ///
    /// # Errors
    /// It did not start.
    pub fn start(start: &Start, oracle: &Oracle) -> Result<Self, ProcessError> {
        let mut command = Command::new(&start.program);
        command.arg("child").arg("--store").arg(&start.store);
        command.args(["--seed", &oracle.seed.to_string()]);
        command.args(["--pause-ms", &start.pause_ms.to_string()]);
        command.args(["--call-ms", &start.call_ms.to_string()]);
        for (flag, wanted) in [
            ("--power", start.power),
            ("--finish", start.finish),
            ("--break", start.broken),
            ("--read", start.read),
        ] {
            if wanted {
                command.arg(flag);
            }
        }
        command.envs(start.env.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(ProcessError::Start)?;
        let mut input = child.stdin.take().expect("it was asked for");
        for slot in (0..oracle.slots.len()).filter_map(|slot| oracle.goes_on(slot)) {
            writeln!(input, "{slot}").map_err(ProcessError::Start)?;
        }
        drop(input);
        let output = child.stdout.take().expect("it was asked for");
        let (to, words) = sync_channel(WORDS_MAX);
        std::thread::Builder::new()
            .name("words of a child".into())
            .spawn(move || {
                for line in BufReader::new(output).lines() {
                    let word =
                        line.map_err(|error| error.to_string()).and_then(|line| line.parse());
                    if to.send(word).is_err() {
                        return;
                    }
                }
            })
            .map_err(ProcessError::Start)?;
        Ok(Self { child, words, last: "nothing".into() })
    }

    /// What comes next until `until`. The oracle hears it.
    ///
    /// # Errors
    /// It is no word.
    pub fn next(&mut self, until: Instant, oracle: &mut Oracle) -> Result<Next, ProcessError> {
        let left = until.saturating_duration_since(now());
        match self.words.recv_timeout(left) {
            Ok(Ok(word)) => {
                oracle.hear(&word);
                self.last = word.to_string();
                Ok(Next::Word(word))
            }
            Ok(Err(nonsense)) => Err(ProcessError::Nonsense(nonsense)),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }

    /// Hears everything until `until`; true if the child is still there then.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn hear_until(
        &mut self,
        until: Instant,
        oracle: &mut Oracle,
        mut each: impl FnMut(&Word),
    ) -> Result<bool, ProcessError> {
        loop {
            match self.next(until, oracle)? {
                Next::Word(word) => each(&word),
                Next::Nothing => return Ok(true),
                Next::End => return Ok(false),
            }
        }
    }

    /// Hears everything up to `wanted`, in [`PATIENCE`].
    ///
    /// # Errors
    /// As [`next`](Self::next); it ended, or is stuck.
    pub fn wait_for(
        &mut self,
        wanted: &Word,
        name: &'static str,
        oracle: &mut Oracle,
    ) -> Result<(), ProcessError> {
        let until = now() + PATIENCE;
        loop {
            match self.next(until, oracle)? {
                Next::Word(word) if word == *wanted => return Ok(()),
                Next::Word(_) => {}
                Next::Nothing => return Err(ProcessError::Stuck { wanted: name }),
                Next::End => return Err(self.ended()),
            }
        }
    }

    /// That it ended by itself.
    pub fn ended(&mut self) -> ProcessError {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |it| it.to_string());
        ProcessError::Ended { status, last: self.last.clone() }
    }

    /// Sends SIGKILL, hears what was said before, and waits for the end.
    ///
    /// # Errors
    /// What was said is no word.
    pub fn kill(
        &mut self,
        oracle: &mut Oracle,
        mut each: impl FnMut(&Word),
    ) -> Result<(), ProcessError> {
        drop(self.child.kill());
        drop(self.child.wait());
        let until = now() + PATIENCE;
        while let Next::Word(word) = self.next(until, oracle)? {
            each(&word);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The real time: what is measured here is another process.
#[expect(clippy::disallowed_methods, reason = "another process follows no clock of ours")]
pub fn now() -> Instant {
    Instant::now()
}
