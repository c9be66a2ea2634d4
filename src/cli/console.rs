//! The console of a runtime that a command runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coppicer::{Console, ConsoleOptions, Runtime};
use tempfile::TempDir;

use super::{Failure, say};

/// Where a console listens, and for whom.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConsoleArgs {
    /// Where the console listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7766")]
    listen: SocketAddr,
    /// Let the console listen on an address that others reach. There is no TLS: its token, and all that
    /// agents say, travel in the clear.
    #[arg(long)]
    insecure_bind: bool,
    /// A further name that the console goes by; can be given more than once. Requests that name
    /// another host are refused.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// The file that the console's token is written to, readable by its user alone; `console.token`
    /// beside the store if not said. It is removed at the end.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A console that was told of on standard error.
pub(super) struct Served {
    console: Console,
    /// The folder of the token's file, where no store has one.
    _folder: Option<TempDir>,
}

impl ConsoleArgs {
    /// Starts a console and says where it is. `store`: the file that keeps the threads, if there is one.
    pub(super) fn start(
        &self,
        runtime: &Runtime,
        store: Option<&Path>,
        label: &str,
    ) -> Result<Served, Failure> {
        let (token_file, folder) = match (&self.token_file, store) {
            (Some(file), _) => (file.clone(), None),
            (None, Some(store)) => (store.with_file_name("console.token"), None),
            (None, None) => {
                let folder = tempfile::Builder::new().prefix("coppicer-").tempdir();
                let folder = folder.map_err(Failure::Folder)?;
                (folder.path().join("console.token"), Some(folder))
            }
        };
        let mut options = ConsoleOptions::new(token_file).listen(self.listen).label(label);
        if self.insecure_bind {
            options = options.insecure_bind();
        }
        for name in &self.allow_host {
            options = options.name(name);
        }
        if let Some(store) = store {
            options = options.store(store.display().to_string());
        }
        let console = Console::start(runtime, options).map_err(Failure::Console)?;
        say(&format!("console: {}", console.url()));
        Ok(Served { console, _folder: folder })
    }
}

impl Served {
    /// Serves on, until the user has had enough, or for so long.
    pub(super) async fn keep(&self, until: impl Future<Output = ()>, at_most: Option<Duration>) {
        let end = async {
            match at_most {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = until => {}
            () = end => {}
            () = self.console.ended() => {}
        }
    }

    /// Ends it, once it was told that its runtime has ended: who follows it reads the last fact.
    pub(super) async fn stop(self) {
        const TOLD_WITHIN: Duration = Duration::from_secs(1);
        let _ = tokio::time::timeout(TOLD_WITHIN, self.console.ended()).await;
        self.console.stop().await;
    }
}
