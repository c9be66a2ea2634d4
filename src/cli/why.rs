//! `coppicer why`: why a thread of a running host does what it does.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use coppicer::{ConsoleClient, FollowError, KnownThread, ThreadId, Why};

use super::called::{Ambiguous, PREFIX_MIN, cut, is_called};
use super::tap::live::{LiveFailure, console_url};
use super::{Failure, Verdict, say, text};

/// Says why a thread of a running host does what it does.
///
/// Who spawned it, its phase, the running turn and when that made progress, what it waits for and who
/// waits for it, what it holds, its last crash, the restarts and the budget that are left, and its inbox.
/// A thread that sleeps is not woken. Who did not answer in time is named.
///
/// The host must run and serve a console: restarts that are left, and what is waited for, are nowhere
/// else. What a store keeps of a thread (last status, crashes, budget) `coppicer show THREAD` says
/// without one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The address of a console, as `coppicer serve` and `coppicer run --console` print it. Quote it: a
    /// shell may take `#` for a comment.
    #[arg(value_name = "URL")]
    url: String,
    /// A thread: an id, 4 or more characters of its beginning, a name or a path.
    thread: String,
    /// Read the console's token from this file, instead of from the address.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Why no thread is meant.
#[derive(Debug, thiserror::Error)]
pub(super) enum WhichError {
    #[error(
        "the console has no thread `{text}` (THREAD is an id, {PREFIX_MIN} or more characters of its \
         beginning, a name or a path)"
    )]
    Nobody { text: String },
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let client = ConsoleClient::new(console_url(&args.url, args.token_file.as_deref())?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let thread = which(&client, &args.thread).await?;
        client.why(thread).await.map_err(|error| match error {
            FollowError::Refused { code, .. } if code == "not_found" => nobody(&args.thread),
            error => LiveFailure::Follow(error).into(),
        })
    });
    if matches!(&answer, Err(Failure::Live(LiveFailure::Follow(FollowError::Unreachable { .. })))) {
        say(
            "a host must run for this; `coppicer show THREAD` says what its store keeps of a thread",
        );
    }
    show(&answer?, args.json)?;
    Ok(Verdict::Well)
}

fn show(why: &Why, json: bool) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if json {
        writeln!(out, "{}", text::escaped(&serde_json::to_string(why)?))?;
    } else {
        for line in why.to_string().lines() {
            writeln!(out, "{}", text::escaped(line))?;
        }
    }
    out.flush()
}

fn nobody(text: &str) -> Failure {
    WhichError::Nobody { text: cut(text) }.into()
}

/// The one thread of the console that `text` means.
async fn which(client: &ConsoleClient, text: &str) -> Result<ThreadId, Failure> {
    if let Ok(thread) = text.parse() {
        return Ok(thread);
    }
    let mut known = client.threads(text).await.map_err(LiveFailure::Follow)?;
    known.retain(|one| is_meant(one, text));
    match known.len() {
        0 => Err(nobody(text)),
        1 => Ok(known[0].thread),
        _ => {
            let candidates = known.iter().map(label_of).collect();
            Err(WhichError::from(Ambiguous::new(text, candidates)).into())
        }
    }
}

fn is_meant(one: &KnownThread, text: &str) -> bool {
    let begins = || one.thread.to_string().starts_with(&text.to_ascii_lowercase());
    is_called(text, one.path.as_deref(), [one.nickname.as_deref(), one.name.as_deref()])
        || text.len() >= PREFIX_MIN && begins()
}

fn label_of(one: &KnownThread) -> String {
    let names = [&one.path, &one.name, &one.nickname];
    let name = names.into_iter().flatten().next().map(String::as_str).unwrap_or_default();
    format!("{}  {}", one.thread, text::one_line(name))
}
