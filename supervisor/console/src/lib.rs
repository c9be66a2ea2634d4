//! The console of Coppicer: a local web page, an HTTP API and metrics of one supervision runtime.
//!
//! [`Console::start`] serves a runtime on the tokio runtime that it is called in, on a loopback address,
//! to who has the token of this start. docs/http-api.md is the API; the page at `/` is built from it
//! alone. The runtime does not know of the console: everything that is shown follows from its taps and
//! from what any host may ask.
//!
//! ```
//! use std::time::Duration;
//!
//! use coppicer_actors::ScriptedEngine;
//! use coppicer_console::{Console, ConsoleOptions};
//! use coppicer_supervisor::Runtime;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let token_file = folder.path().join("console.token");
//! let runtime = Runtime::builder().engine(ScriptedEngine::echo()).start().await?;
//! let console = Console::start(&runtime, ConsoleOptions::new(token_file))?;
//! println!("{}", console.url()); // for a browser; whoever has it may do everything
//! runtime.shutdown(Duration::from_secs(5)).await?;
//! console.stop().await;
//! # Ok(())
//! # }
//! ```

mod board;
mod body;
mod bounds;
mod console;
mod follow;
mod guard;
mod history;
mod metrics;
mod options;
mod problem;
mod routes;
mod server;
mod stall;
mod stop;
mod text;
mod token;
mod watcher;

pub use console::{Console, ConsoleError};
pub use follow::{
    ConsoleClient, ConsoleUrl, ConsoleUrlError, Follow, FollowError, FollowOptions, KnownThread,
    Told,
};
pub use options::ConsoleOptions;
