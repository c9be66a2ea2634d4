//! What a host settles for its console.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// What a host settles for its console.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsoleOptions {
    /// Where it listens; port 0 takes a free one. Loopback, unless
    /// [`insecure_bind`](Self::insecure_bind) is set.
    pub listen: SocketAddr,
    /// Whether it may listen on an address that others reach. There is no TLS: the token and all that is
    /// shown travel in the clear.
    pub insecure_bind: bool,
    /// Further names that it goes by, without a port: requests that name another are refused.
    pub names: Vec<String>,
    /// The file that the token of this start is written to. What is there is replaced.
    pub token_file: PathBuf,
    /// What the page says of this runtime, such as what its engine is.
    pub label: Option<String>,
    /// Where its threads are kept, for the page to say.
    pub store: Option<String>,
}

impl ConsoleOptions {
    /// A console on a free port of 127.0.0.1, with its token in this file.
    pub fn new(token_file: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            insecure_bind: false,
            names: Vec::new(),
            token_file: token_file.into(),
            label: None,
            store: None,
        }
    }

    /// Sets where it listens.
    #[must_use]
    pub const fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Lets it listen on an address that others reach, without TLS.
    #[must_use]
    pub const fn insecure_bind(mut self) -> Self {
        self.insecure_bind = true;
        self
    }

    /// Adds a name that it goes by.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Sets what the page says of this runtime.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets where the page says that threads are kept.
    #[must_use]
    pub fn store(mut self, store: impl Into<String>) -> Self {
        self.store = Some(store.into());
        self
    }
}
