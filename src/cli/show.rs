//! `coppicer show`: everything that a store knows of one thread.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use coppicer::{
    Budget, CrashRecord, Done, EdgeStatus, History, Ledger, StoreError, StoredThread, ThreadId,
    ThreadStore, open_calls, recorded_turns, turn_state,
};
use serde::Serialize;

use super::store::find::{before, find};
use super::store::row::ThreadRow;
use super::store::{StoreArgs, now_ms, work_on};
use super::{Failure, Verdict, text};

/// Columns of a value; a longer one is cut.
const VALUE_WIDTH: usize = 68;

/// Shows everything that a store knows of one thread.
///
/// Its records are read and checked: of a damaged thread those before the damage, and the exit code
/// is 1. Works beside a running `coppicer run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A thread: an id, 4 or more characters of its beginning, a name or a path.
    thread: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    row: ThreadRow,
    children: Vec<ThreadId>,
    /// The place before which nothing is open.
    settled: u64,
    /// Records by class, those of its base included.
    classes: BTreeMap<&'static str, u64>,
    turns: usize,
    /// Whether its last turn has no end.
    mid_turn: bool,
    /// Calls without an output.
    open_calls: usize,
    /// Whether it has submissions without an outcome, or mail that starts a turn.
    has_work: bool,
    /// Mail that waits; not known of a store that is only read.
    #[serde(skip_serializing_if = "Option::is_none")]
    mail: Option<usize>,
    /// Its account, if it has a budget of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<Ledger>,
    /// Its last crashes, oldest first.
    crashes: Vec<CrashRecord>,
    /// The damage, if a record is damaged.
    damage: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let (thread, shown) = work_on(args.store.open_to_read()?, async |store| {
        let thread = find(store, &args.thread).await?;
        let shown = look(store, &thread).await.map_err(Failure::StoreAsked)?;
        Ok((thread, shown))
    })?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&shown).map_err(io::Error::from)?)?;
    } else {
        write_rows(&mut out, &thread, &shown, now_ms())?;
    }
    out.flush()?;
    Ok(Verdict::of(shown.damage.is_none()))
}

async fn look(store: &dyn ThreadStore, thread: &StoredThread) -> Result<Shown, StoreError> {
    let id = thread.id;
    let (history, damage) = match store.read(id, None).await {
        Ok(history) => (history, None),
        Err(error @ StoreError::Corrupt { seq, .. }) => {
            (store.read(id, Some(seq)).await?, Some(error.to_string()))
        }
        Err(error) => return Err(error),
    };
    let mut classes = BTreeMap::new();
    for record in &history {
        *classes.entry(record.class.name()).or_default() += 1;
    }
    let (done, mail) = Done::channel();
    store.mail(id, done);
    let children = store.children(id, None).await?;
    let has_work = store.unfinished(before(id), 1).await?.contains(&id);
    Ok(Shown {
        row: thread.into(),
        children,
        settled: thread.settled.0,
        classes,
        turns: recorded_turns(&history).len(),
        mid_turn: turn_state(&history).mid_turn,
        open_calls: calls_of(&history),
        has_work,
        mail: mail.await.ok().map(|mail| mail.len()),
        ledger: thread.ledger,
        crashes: store.crashes(id).await?,
        damage,
    })
}

fn calls_of(history: &History) -> usize {
    open_calls(history).len()
}

fn write_rows(
    out: &mut impl Write,
    thread: &StoredThread,
    shown: &Shown,
    now_ms: u64,
) -> io::Result<()> {
    let mut row = |name: &str, value: Option<String>| match value {
        None => Ok(()),
        Some(value) => {
            writeln!(out, "{name:<11} {}", text::fit(&text::one_line(&value), VALUE_WIDTH))
        }
    };
    let ago = |at_ms: u64| format!("{} ago", text::age(now_ms, at_ms));
    let (details, config) = (&thread.details, &thread.config);
    row("thread", Some(thread.id.to_string()))?;
    row("name", details.name.clone())?;
    row("title", details.title.clone())?;
    row("preview", details.preview.clone())?;
    row("last task", thread.task.clone().filter(|task| details.preview.as_ref() != Some(task)))?;
    let status = match thread.status.text() {
        Some(text) => format!("{}: {text}", thread.status.name()),
        None => thread.status.name().to_owned(),
    };
    row("status", Some(status))?;
    row("DAMAGED", shown.damage.clone())?;
    row("path", thread.path.as_ref().map(ToString::to_string))?;
    row("nickname", config.nickname.clone())?;
    row("role", config.role.clone())?;
    row(
        "parent",
        thread.parent.map(|(parent, edge)| match edge {
            EdgeStatus::Open => format!("{parent}, {} below the root", level(thread.depth)),
            EdgeStatus::Closed => format!("{parent}, closed: it does not come back with it"),
        }),
    )?;
    for child in &shown.children {
        row("child", Some(child.to_string()))?;
    }
    let base = thread.base;
    row("fork of", base.map(|base| format!("{}, its first {} records", base.thread, base.cut)))?;
    row("records", Some(format!("{}, nothing open before {}", thread.head, shown.settled)))?;
    for (class, count) in &shown.classes {
        row("", Some(format!("{count:>6} {class}")))?;
    }
    let mid = if shown.mid_turn { ", the last one without an end" } else { "" };
    row("turns", Some(format!("{}{mid}", shown.turns)))?;
    row("open calls", Some(shown.open_calls.to_string()).filter(|_| shown.open_calls > 0))?;
    let work = if shown.has_work { "waits for its next life" } else { "none" };
    row("work", Some(work.to_owned()))?;
    row("mail", shown.mail.map(|mail| format!("{mail} unread")))?;
    row("budget", shown.ledger.map(|ledger| budget_text(&ledger)))?;
    for crash in &shown.crashes {
        row(
            "crash",
            Some(format!("{}, at record {}: {}", ago(crash.at_ms), crash.seq, crash.cause)),
        )?;
    }
    row("lives", Some(thread.epoch.to_string()))?;
    row("created", Some(ago(thread.created_ms)))?;
    row("updated", Some(ago(thread.updated_ms)))?;
    row("archived", thread.archived_ms.map(ago))?;
    row("cwd", config.cwd.clone())?;
    row("model", config.model.clone())?;
    row("source", config.source.clone())?;
    row("imported", thread.rollout_path.clone())
}

/// What is left of each thing that a budget limits.
fn budget_text(ledger: &Ledger) -> String {
    let Budget { tokens, cost_micros, wall_ms, spawns, .. } = ledger.rest();
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    let left = [
        tokens.zip(ledger.budget.tokens).map(|(left, of)| format!("{left} of {of} tokens")),
        cost_micros
            .zip(ledger.budget.cost_micros)
            .map(|(left, of)| format!("{left} of {of} millionths of cost")),
        wall_ms
            .zip(ledger.budget.wall_ms)
            .map(|(left, of)| format!("{} of {} seconds", seconds(left), seconds(of))),
        spawns.zip(ledger.budget.spawns).map(|(left, of)| format!("{left} of {of} spawns")),
    ];
    format!("{} left", left.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn level(depth: u32) -> String {
    text::count(depth as usize, "level")
}
