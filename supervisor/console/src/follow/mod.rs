//! Following the events of a console from another process: the client of `GET /api/events`; and asking
//! it something (`ask.rs`).

mod ask;
mod sse;
mod url;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::Duration;

use coppicer_actors::TreeSnapshot;
use coppicer_messages::{Event, EventKind, ThreadId};
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use ask::{Asked, ask, no_console};
pub use ask::{ConsoleClient, KnownThread};
use sse::{SseEvent, SseReader};
pub use url::{ConsoleUrl, ConsoleUrlError};

/// How often a lost connection is tried again before that is given up.
const TRIES_MAX: u32 = 8;

/// The pause before the first further try; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long a connection, or the head of an answer, may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long a stream may be silent: three of its comments.
const SILENT_MAX: Duration = Duration::from_secs(45);

/// Which events to follow. Evaluated where they are published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowOptions {
    /// Only these kinds; all if there is none.
    pub kinds: Vec<EventKind>,
    /// Only of this thread.
    pub thread: Option<ThreadId>,
    /// Only of this thread and of all below it.
    pub subtree: Option<ThreadId>,
    /// Only what the journal keeps.
    pub lifecycle: bool,
    /// Of the pieces of text only the first, and every so-many-th after it.
    pub sample: Option<u32>,
    /// Whether the tree as it is comes first.
    pub snapshot: bool,
}

/// What a console tells.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Told {
    /// A fact.
    Fact(Box<Event>),
    /// The tree as it is.
    Snapshot(TreeSnapshot),
    /// Facts that were lost because they were not read in time. The lifecycle facts among them come
    /// next, from the journal.
    Lagged {
        /// Number of the first.
        from: u64,
        /// Number of the last.
        to: u64,
        /// How many.
        count: u64,
    },
    /// It cannot go on from where it was before the connection was lost, and begins anew: facts of the
    /// time in between are missing.
    Reset {
        /// Why.
        reason: String,
    },
    /// The connection was lost, and there is another one.
    Reconnected,
    /// The console or its runtime has ended. Nothing comes behind this.
    End {
        /// Which.
        reason: String,
    },
}

/// Why a console cannot be followed any further, or does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// It cannot be reached.
    #[error("cannot reach the console at {url}")]
    Unreachable {
        /// Which.
        url: ConsoleUrl,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It refused the request.
    #[error("the console at {url} refused: {detail} ({code})")]
    Refused {
        /// Which.
        url: ConsoleUrl,
        /// Of what kind.
        code: String,
        /// Why.
        detail: String,
    },
    /// What answers there is no console that this version knows.
    #[error("what answers at {url} is no console: {reason}")]
    NotAConsole {
        /// Which.
        url: ConsoleUrl,
        /// How that shows.
        reason: String,
    },
}

/// The events of a console, as they happen. A lost connection is made again, and goes on without a gap
/// of lifecycle facts and without a repeat.
pub struct Follow {
    url: ConsoleUrl,
    query: String,
    last: Option<String>,
    stream: Option<Stream>,
    /// What was read and not given out.
    waiting: VecDeque<Told>,
    /// Whether there was a connection before.
    connected: bool,
    over: bool,
}

/// One connection.
struct Stream {
    asked: Asked,
    reader: SseReader,
}

impl Follow {
    /// Follows a console. Connects with the first [`next`](Self::next).
    pub fn new(url: ConsoleUrl, options: &FollowOptions) -> Self {
        let query = query_of(options);
        Self {
            url,
            query,
            last: None,
            stream: None,
            waiting: VecDeque::new(),
            connected: false,
            over: false,
        }
    }

    /// What comes next; none behind [`Told::End`].
    ///
    /// # Errors
    /// A [`FollowError`]; nothing more comes.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing; a connection that was being made is made anew.
    pub async fn next(&mut self) -> Result<Option<Told>, FollowError> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                return Ok(Some(told));
            }
            if self.over {
                return Ok(None);
            }
            let Some(stream) = &mut self.stream else {
                self.connect().await?;
                continue;
            };
            match timeout(SILENT_MAX, stream.asked.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let Some(bytes) = frame.data_ref() else { continue };
                    let Ok(events) = stream.reader.take(bytes) else {
                        return Err(self.no_console("too large"));
                    };
                    if let Some(id) = stream.reader.last_id() {
                        self.last = Some(id.to_owned());
                    }
                    for event in events {
                        self.take(&event)?;
                    }
                }
                // The end without a word, an error, or silence: the connection is lost.
                Ok(Some(Err(_)) | None) | Err(_) => self.stream = None,
            }
        }
    }

    fn take(&mut self, event: &SseEvent) -> Result<(), FollowError> {
        #[derive(Deserialize)]
        struct Gap {
            from: u64,
            to: u64,
            count: u64,
        }
        #[derive(Deserialize)]
        struct Why {
            reason: String,
        }
        fn read<'d, T: Deserialize<'d>>(data: &'d str) -> Result<T, String> {
            serde_json::from_str(data).map_err(|error| error.to_string())
        }
        let data = &event.data;
        let told = match &*event.name {
            "fact" => read(data).map(|fact| Told::Fact(Box::new(fact))),
            "snapshot" => read(data).map(Told::Snapshot),
            "lagged" => read(data).map(|Gap { from, to, count }| Told::Lagged { from, to, count }),
            "reset" => read(data).map(|Why { reason }| Told::Reset { reason }),
            "end" => read(data).map(|Why { reason }| Told::End { reason }),
            // Of a later version.
            _ => return Ok(()),
        };
        let told = told.map_err(|reason| self.no_console(&reason))?;
        self.over |= matches!(told, Told::End { .. });
        self.waiting.push_back(told);
        Ok(())
    }

    /// Connects, several times if it was connected before.
    async fn connect(&mut self) -> Result<(), FollowError> {
        let mut pause = FIRST_PAUSE;
        let mut tries = if self.connected { TRIES_MAX } else { 1 };
        loop {
            tries -= 1;
            match self.try_connect().await {
                Ok(stream) => {
                    self.stream = Some(stream);
                    if std::mem::replace(&mut self.connected, true) {
                        self.waiting.push_back(Told::Reconnected);
                    }
                    return Ok(());
                }
                Err(error @ FollowError::Unreachable { .. }) if tries > 0 => {
                    tracing::debug!(%error, "the console cannot be reached");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_connect(&self) -> Result<Stream, FollowError> {
        let path = format!("/api/events{}", self.query);
        let asked = ask(&self.url, &path, "text/event-stream", self.last.as_deref()).await?;
        if asked.content_type.starts_with(b"text/event-stream") {
            return Ok(Stream { asked, reader: SseReader::default() });
        }
        Err(self.no_console("it answers no events"))
    }

    fn no_console(&self, reason: &str) -> FollowError {
        no_console(&self.url, reason)
    }
}

fn query_of(options: &FollowOptions) -> String {
    let FollowOptions { kinds, thread, subtree, lifecycle, sample, snapshot } = options;
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let parts = [
        (!kinds.is_empty()).then(|| format!("kind={}", kinds.join(","))),
        thread.map(|thread| format!("thread={thread}")),
        subtree.map(|root| format!("subtree={root}")),
        lifecycle.then(|| "lifecycle=true".to_owned()),
        sample.map(|every| format!("sample={every}")),
        snapshot.then(|| "from=snapshot".to_owned()),
    ];
    let query: Vec<String> = parts.into_iter().flatten().collect();
    if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("url", &self.url).finish_non_exhaustive()
    }
}
