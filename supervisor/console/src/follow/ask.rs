//! Asking a console from another process: single answers of its API, beside its streams.

use std::collections::BTreeMap;
use std::io;

use axum::body::Bytes;
use axum::http::{Request, StatusCode, header};
use coppicer_messages::ThreadId;
use coppicer_supervisor::Why;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::{ANSWER_WITHIN, ConsoleUrl, FollowError};

/// Most bytes of an answer that is no stream: a whole frame of the tree, whose texts are cut, or one
/// thread.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Most bytes of a refusal.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// Asks a console.
#[derive(Debug, Clone)]
pub struct ConsoleClient {
    url: ConsoleUrl,
}

/// A thread that a console knows, by what it is called.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct KnownThread {
    /// Which.
    pub thread: ThreadId,
    /// Its path, if it has one.
    pub path: Option<String>,
    /// A name for people.
    pub nickname: Option<String>,
    /// What its host calls it. None of one that was found in the tree.
    pub name: Option<String>,
}

impl ConsoleClient {
    /// Asks the console there. Connects with each question.
    pub const fn new(url: ConsoleUrl) -> Self {
        Self { url }
    }

    /// Why a thread does what it does: [`Runtime::why`](coppicer_supervisor::Runtime::why) of the
    /// console's runtime. Wakes nobody.
    ///
    /// # Errors
    /// A [`FollowError`]; `Refused` with the code `not_found` if there is no such thread.
    pub async fn why(&self, thread: ThreadId) -> Result<Why, FollowError> {
        #[derive(Deserialize)]
        struct Detail {
            why: Why,
        }
        let detail: Detail = self.get(&format!("/api/threads/{thread}")).await?;
        Ok(detail.why)
    }

    /// The threads in the console's tree, and those of its store in which `text` stands, as far as one
    /// page of them goes. By their ids; each once.
    ///
    /// # Errors
    /// A [`FollowError`].
    pub async fn threads(&self, text: &str) -> Result<Vec<KnownThread>, FollowError> {
        #[derive(Deserialize)]
        struct Frame {
            id: String,
            more: bool,
            rows: Vec<KnownThread>,
        }
        #[derive(Deserialize)]
        struct List {
            threads: Vec<KnownThread>,
        }
        let search = encoded(text);
        let list: List =
            self.get(&format!("/api/threads?archived=any&count=200&search={search}")).await?;
        let mut found: BTreeMap<ThreadId, KnownThread> =
            list.threads.into_iter().map(|row| (row.thread, row)).collect();
        let mut after = String::new();
        loop {
            let frame: Frame = self.get(&format!("/api/tree{after}")).await?;
            for row in frame.rows {
                found.entry(row.thread).or_insert(row);
            }
            if !frame.more {
                return Ok(found.into_values().collect());
            }
            after = format!("?after={}", encoded(&frame.id));
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, FollowError> {
        let mut asked = ask(&self.url, path, "application/json", None).await?;
        let body = Limited::new(&mut asked.body, ANSWER_BYTES_MAX).collect();
        let body = match timeout(ANSWER_WITHIN, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return Err(no_console(&self.url, &error.to_string())),
            Err(_) => return Err(unreachable(&self.url, io::ErrorKind::TimedOut.into())),
        };
        serde_json::from_slice(&body).map_err(|error| no_console(&self.url, &error.to_string()))
    }
}

/// An answer that was not refused, and the connection that it comes over.
pub(super) struct Asked {
    pub(super) content_type: Vec<u8>,
    pub(super) body: Incoming,
    driver: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Asks for `path` over a connection of its own.
pub(super) async fn ask(
    url: &ConsoleUrl,
    path: &str,
    accept: &str,
    last: Option<&str>,
) -> Result<Asked, FollowError> {
    let late = |_| unreachable(url, io::ErrorKind::TimedOut.into());
    let socket = timeout(ANSWER_WITHIN, TcpStream::connect(url.address())).await;
    let socket = socket.map_err(late)?.map_err(|source| unreachable(url, source))?;
    let other = |error: hyper::Error| unreachable(url, io::Error::other(error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(other)?;
    let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    let mut request = Request::get(path)
        .header(header::HOST, &url.authority)
        .header(header::ACCEPT, accept)
        .header(header::AUTHORIZATION, format!("Bearer {}", url.token));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let request =
        request.body(Empty::<Bytes>::new()).map_err(|error| no_console(url, &error.to_string()))?;
    let answer = timeout(ANSWER_WITHIN, sender.send_request(request)).await;
    let (head, body) = answer.map_err(late)?.map_err(other)?.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE);
    let content_type = kind.map(|kind| kind.as_bytes().to_vec()).unwrap_or_default();
    let asked = Asked { content_type, body, driver };
    if head.status == StatusCode::OK {
        Ok(asked)
    } else {
        Err(refused(url, head.status, asked).await)
    }
}

async fn refused(url: &ConsoleUrl, status: StatusCode, mut asked: Asked) -> FollowError {
    #[derive(Deserialize)]
    struct Problem {
        code: String,
        detail: String,
    }
    let body = Limited::new(&mut asked.body, PROBLEM_BYTES_MAX).collect();
    let body = match timeout(ANSWER_WITHIN, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => Bytes::new(),
    };
    match serde_json::from_slice(&body) {
        Ok(Problem { code, detail }) => FollowError::Refused { url: url.clone(), code, detail },
        Err(_) => no_console(url, &format!("it answers {status}")),
    }
}

fn unreachable(url: &ConsoleUrl, source: io::Error) -> FollowError {
    FollowError::Unreachable { url: url.clone(), source }
}

pub(super) fn no_console(url: &ConsoleUrl, reason: &str) -> FollowError {
    FollowError::NotAConsole { url: url.clone(), reason: reason.to_owned() }
}

/// A text as a value of a query.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut query, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            let _ = write!(query, "%{byte:02X}"); // a string takes what is written
        }
        query
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_value_of_a_query_whatever_is_in_it() {
        assert_eq!(encoded("/root/a b&c=d#é"), "%2Froot%2Fa%20b%26c%3Dd%23%C3%A9");
        assert_eq!(encoded("0197f0a2-_.~"), "0197f0a2-_.~");
    }
}
