//! `coppicer threads`: what a store has.

use std::io::{self, BufWriter, Write};

use coppicer::{
    Archived, Order, SortBy, StoredThread, ThreadCursor, ThreadPage, ThreadQuery, ThreadStore,
};
use serde::Serialize;

use super::store::row::{ThreadRow, label_of};
use super::store::{StoreArgs, now_ms, work_on};
use super::{Failure, Verdict, text};

/// Columns that a row takes at most.
const WIDTH: usize = 80;

/// Lists the threads of a store.
///
/// One line a thread: its id (with a `*`, it is in the archive), its status, how long ago a turn of it
/// last began or ended, its records, and what it is known by. The newest come first; with `--sort id`,
/// the lowest. Where more follow, the last line says how to go on. Works beside a running
/// `coppicer run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// Only threads in the archive.
    #[arg(long, conflicts_with = "all")]
    archived: bool,
    /// Threads in the archive too.
    #[arg(long)]
    all: bool,
    /// Only threads with this text in their name, title, preview, nickname or path.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// What they are sorted by.
    #[arg(long, value_enum, default_value_t = Sort::Created)]
    sort: Sort,
    /// Most threads that are listed.
    #[arg(long, value_name = "N", default_value_t = ThreadQuery::PAGE)]
    limit: usize,
    /// Go on behind this place: what the list before said, or the `cursor` of a thread.
    #[arg(long, value_name = "CURSOR")]
    after: Option<ThreadCursor>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Sort {
    Created,
    Updated,
    Id,
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    row: ThreadRow,
    /// The place behind this thread, for `--after`.
    cursor: String,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let query = query_of(args);
    let page =
        work_on(args.store.open_to_read()?, async |store| list(store, &query, args.limit).await)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        for thread in &page.threads {
            let cursor = query.cursor_of(thread).to_string();
            let listed = Listed { row: thread.into(), cursor };
            writeln!(out, "{}", serde_json::to_string(&listed).map_err(io::Error::from)?)?;
        }
    } else {
        write_table(&mut out, &page.threads, now_ms())?;
        match &page.next {
            Some(next) => writeln!(out, "more: --after {next}")?,
            None => writeln!(out, "{}", text::count(page.threads.len(), "thread"))?,
        }
    }
    out.flush()?;
    Ok(Verdict::Well)
}

fn query_of(args: &Args) -> ThreadQuery {
    let (sort, order) = match args.sort {
        Sort::Created => (SortBy::Created, Order::Descending),
        Sort::Updated => (SortBy::Updated, Order::Descending),
        Sort::Id => (SortBy::Id, Order::Ascending),
    };
    let archived = match (args.archived, args.all) {
        (true, _) => Archived::Only,
        (false, true) => Archived::Any,
        (false, false) => Archived::No,
    };
    let query = ThreadQuery::new().archived(archived).sorted(sort, order).after(args.after);
    match &args.search {
        Some(text) => query.search(text),
        None => query,
    }
}

/// As many pages as it takes.
async fn list(
    store: &dyn ThreadStore,
    query: &ThreadQuery,
    limit: usize,
) -> Result<ThreadPage, Failure> {
    let mut all = ThreadPage::default();
    all.next = query.after;
    loop {
        let count = (limit - all.threads.len()).min(ThreadQuery::PAGE_MAX);
        let page = store
            .list(query.clone().after(all.next).take(count))
            .await
            .map_err(Failure::StoreAsked)?;
        all.threads.extend(page.threads);
        all.next = page.next;
        if all.next.is_none() || all.threads.len() >= limit {
            return Ok(all);
        }
    }
}

/// Each column as wide as its widest cell; what the thread is known by gets the rest.
fn write_table(out: &mut impl Write, threads: &[StoredThread], now_ms: u64) -> io::Result<()> {
    let age = |thread: &StoredThread| text::age(now_ms, thread.updated_ms);
    let widest =
        |cell: &dyn Fn(&StoredThread) -> usize| threads.iter().map(cell).max().unwrap_or(0);
    let status_width = widest(&|thread| thread.status.name().len());
    let age_width = widest(&|thread| age(thread).len());
    let records_width = widest(&|thread| thread.head.to_string().len());
    for thread in threads {
        let archived = if thread.archived_ms.is_some() { "*" } else { " " };
        let row = format!(
            "{}{archived} {:<status_width$}  {:>age_width$}  {:>records_width$}  {}",
            thread.id,
            thread.status.name(),
            age(thread),
            thread.head,
            label_of(thread),
        );
        writeln!(out, "{}", text::fit(&row, WIDTH).trim_end())?;
    }
    Ok(())
}
