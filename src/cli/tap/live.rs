//! Events of a console, as they happen.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coppicer::{ConsoleUrl, ConsoleUrlError, Follow, FollowOptions, TapItem, ThreadId, Told};

use super::Picked;
use crate::cli::{Failure, Verdict, duration, say};

/// How to follow a console.
#[derive(Debug, clap::Args)]
pub(super) struct LiveArgs {
    /// The address of a console, as `coppicer serve` and `coppicer run --console` print it. Quote it: a
    /// shell may take `#` for a comment.
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Read the console's token from this file, instead of from the address.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    token_file: Option<PathBuf>,
    /// Show the threads that are there first.
    #[arg(long, conflicts_with = "replay")]
    snapshot: bool,
    /// Of the pieces of text show only the first, and every N-th after it.
    #[arg(long, value_name = "N", conflicts_with = "replay")]
    sample: Option<NonZeroU32>,
    /// Follow for this long, instead of until the console ends: 500ms, 10s, 2m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse, conflicts_with = "replay")]
    at_most: Option<Duration>,
}

/// Why a console is not followed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum LiveFailure {
    #[error(transparent)]
    Url(#[from] ConsoleUrlError),
    #[error("cannot read the token in {}", path.display())]
    Token {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{thread}` is the beginning of an id: name the whole of it to follow a console")]
    Prefix { thread: String },
    #[error(transparent)]
    Follow(#[from] coppicer::FollowError),
}

impl LiveArgs {
    pub(super) const fn url(&self) -> Option<&String> {
        self.url.as_ref()
    }
}

pub(super) fn run(args: &super::Args, url: &str) -> Result<Verdict, Failure> {
    let live = &args.live;
    let url = console_url(url, live.token_file.as_deref())?;
    let mut options = FollowOptions::default();
    options.kinds.clone_from(&args.kind);
    options.thread = whole(args.thread.as_deref())?;
    options.subtree = whole(args.subtree.as_deref())?;
    options.lifecycle = args.lifecycle;
    options.sample = live.sample.map(NonZeroU32::get);
    options.snapshot = live.snapshot;
    let follow = Follow::new(url, &options);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(show(args, follow));
    runtime.shutdown_background();
    ended.map(|()| Verdict::Well)
}

/// The address of a console, with the token of a file if one is named.
pub(in crate::cli) fn console_url(
    url: &str,
    token_file: Option<&Path>,
) -> Result<ConsoleUrl, LiveFailure> {
    let token = token_file.map(|path| {
        let failed = |source| LiveFailure::Token { path: path.to_owned(), source };
        fs::read_to_string(path).map_err(failed)
    });
    Ok(ConsoleUrl::parse(url, token.transpose()?.as_deref())?)
}

fn whole(thread: Option<&str>) -> Result<Option<ThreadId>, LiveFailure> {
    let read =
        |text: &str| text.parse().map_err(|_| LiveFailure::Prefix { thread: text.to_owned() });
    thread.map(read).transpose()
}

/// Shows what comes, until the console ends, the time is over, or the user interrupts it.
async fn show(args: &super::Args, mut follow: Follow) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    // The console has picked already; subtrees reach further than what this process knows.
    let picked = Picked::everything(args);
    let end = async {
        match args.live.at_most {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let (mut end, mut interrupted) = (std::pin::pin!(end), std::pin::pin!(interrupted));
    let mut picked = picked;
    loop {
        let told = tokio::select! {
            biased;
            () = &mut interrupted => return Ok(out.flush()?),
            () = &mut end => return Ok(out.flush()?),
            told = follow.next() => told,
        };
        let told = match told {
            Ok(Some(told)) => told,
            Ok(None) => return Ok(out.flush()?),
            Err(error) => {
                out.flush()?;
                return Err(LiveFailure::Follow(error).into());
            }
        };
        match told {
            Told::Fact(fact) => picked.show(&TapItem::Event((*fact).into()), &mut out)?,
            Told::Snapshot(snapshot) => {
                picked.show(&TapItem::Snapshot(snapshot.into()), &mut out)?;
            }
            Told::Lagged { from, to, count } => {
                picked.show(&TapItem::Lagged { from, to, count }, &mut out)?;
            }
            Told::Reset { reason } => {
                out.flush()?;
                say(&format!("begins anew ({reason}): events of the time in between are missing"));
            }
            Told::Reconnected => say("connected again"),
            Told::End { reason } => {
                out.flush()?;
                say(&format!("the end: {reason}"));
            }
            _ => {}
        }
        // Each line is seen when it happens.
        out.flush()?;
    }
}
