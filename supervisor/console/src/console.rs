//! The console, as its host holds it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coppicer_messages::TapError;
use coppicer_supervisor::Runtime;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::bounds::{CONNECTIONS_MAX, SEND_BUFFER_BYTES, STREAMS_MAX};
use crate::guard::Guard;
use crate::metrics::Counters;
use crate::options::ConsoleOptions;
use crate::routes;
use crate::server::{App, serve};
use crate::stop::{Reason, Stop};
use crate::token::{Token, TokenFile, random_hex};
use crate::watcher;

/// Why a console did not start. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsoleError {
    /// The address is one that others reach.
    #[error(
        "{address} is no loopback address: others could read the token, since there is no TLS; allow it with `insecure_bind`"
    )]
    NotLoopback {
        /// Which.
        address: SocketAddr,
    },
    /// It cannot listen there.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The token cannot be made or written.
    #[error("cannot write the token to {}", path.display())]
    Token {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The runtime has no room for its taps, or has ended.
    #[error("cannot watch the runtime")]
    Watch(#[source] TapError),
}

/// A console that serves one runtime: a page, an HTTP API, and metrics.
///
/// It ends with its runtime, with [`stop`](Self::stop), or when it is dropped; then it holds no tap, no
/// lease and no port any more, and its token file is gone.
#[must_use = "a console that is dropped has ended"]
pub struct Console {
    address: SocketAddr,
    token: Token,
    file: TokenFile,
    stop: Stop,
    tasks: Vec<JoinHandle<()>>,
}

impl Console {
    /// Starts a console for a runtime, on the tokio runtime that this is called in.
    ///
    /// # Errors
    /// A [`ConsoleError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(runtime: &Runtime, options: ConsoleOptions) -> Result<Self, ConsoleError> {
        let ConsoleOptions { listen, insecure_bind, names, token_file, label, store } = options;
        if !listen.ip().is_loopback() && !insecure_bind {
            return Err(ConsoleError::NotLoopback { address: listen });
        }
        let failed = |source| ConsoleError::Listen { address: listen, source };
        let listener = bind(listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let token = |source| ConsoleError::Token { path: token_file.clone(), source };
        let secret = Token::random().map_err(token)?;
        let boot = random_hex::<4>().map_err(token)?;

        let stop = Stop::default();
        let (watcher, watching) =
            watcher::start(runtime, stop.clone()).map_err(ConsoleError::Watch)?;
        let counters = Counters::new();
        let counting = counters.count(runtime, stop.clone()).map_err(ConsoleError::Watch)?;
        let file = TokenFile::write(&token_file, &secret).map_err(token)?;
        let app = Arc::new(App {
            runtime: runtime.clone(),
            guard: Guard::new(secret.clone(), address, &names),
            watcher,
            counters,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            stop: stop.clone(),
            boot,
            started_ms: runtime.now_ms(),
            label,
            store,
        });
        let serving = serve(listener, routes::router(app), stop.clone());
        let tasks = vec![tokio::spawn(watching), tokio::spawn(counting), tokio::spawn(serving)];
        Ok(Self { address, token: secret, file, stop, tasks })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for a browser, or for `coppicer tap`. The token is in its fragment, which is not
    /// sent: show it to nobody else.
    pub fn url(&self) -> String {
        format!("http://{}/#token={}", self.address, self.token.as_str())
    }

    /// The file that the token is in.
    pub fn token_file(&self) -> &Path {
        self.file.path()
    }

    /// Waits until it has ended with its runtime.
    ///
    /// # Cancel safety
    /// Dropping the future stops nothing.
    pub async fn ended(&self) {
        self.stop.stopped().await;
    }

    /// Stops it. Streams end with an event that says so; answers that are under way have a second.
    pub async fn stop(mut self) {
        self.stop.stop(Reason::ConsoleStopped);
        for task in std::mem::take(&mut self.tasks) {
            // One that panicked was told of by the panic.
            let _ = task.await;
        }
    }
}

/// Listens there. What waits for a client that does not read is bounded.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(CONNECTIONS_MAX as u32)
}

impl Drop for Console {
    fn drop(&mut self) {
        self.stop.stop(Reason::ConsoleStopped);
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("address", &self.address).finish_non_exhaustive()
    }
}
