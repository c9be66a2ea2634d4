//! `coppicer tree`: threads below the threads that they belong to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};

use coppicer::{EdgeStatus, StoredThread, ThreadId, ThreadQuery, ThreadStore};
use serde::Serialize;

use super::store::find::find;
use super::store::row::{ThreadRow, label_of};
use super::store::{StoreArgs, work_on};
use super::{Failure, Verdict, text};

/// Columns that a row takes at most.
const WIDTH: usize = 80;

/// Shows the trees of a store: each thread with what is below it.
///
/// A thread that was closed on its own, and does not come back with its parent, is marked `closed`;
/// one in the archive `archived`. Works beside a running `coppicer run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this thread and what is below it: an id, 4 or more characters of its beginning, a name
    /// or a path.
    thread: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object a line, parents before children, with `level` from 0.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Branch {
    level: usize,
    #[serde(flatten)]
    row: ThreadRow,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let (threads, top) = work_on(args.store.open_to_read()?, async |store| {
        Ok(match &args.thread {
            None => (every_thread(store).await?, None),
            Some(text) => {
                let top = find(store, text).await?;
                (subtree(store, &top).await?, Some(top.id))
            }
        })
    })?;
    let order = grow(&threads, top);
    let mut out = BufWriter::new(io::stdout().lock());
    for &(level, at) in &order {
        let thread = &threads[at];
        if args.json {
            let branch = Branch { level, row: thread.into() };
            writeln!(out, "{}", serde_json::to_string(&branch).map_err(io::Error::from)?)?;
        } else {
            writeln!(out, "{}", text::fit(&line_of(level, thread), WIDTH).trim_end())?;
        }
    }
    if !args.json {
        let roots = order.iter().filter(|(level, _)| *level == 0).count();
        let (threads, trees) = (text::count(order.len(), "thread"), text::count(roots, "tree"));
        writeln!(out, "{threads} in {trees}")?;
    }
    out.flush()?;
    Ok(Verdict::Well)
}

fn line_of(level: usize, thread: &StoredThread) -> String {
    let closed = matches!(thread.parent, Some((_, EdgeStatus::Closed)));
    let marks = [(closed, " closed"), (thread.archived_ms.is_some(), " archived")];
    let marks: String = marks.into_iter().filter(|(set, _)| *set).map(|(_, mark)| mark).collect();
    let indent = "  ".repeat(level);
    format!("{indent}{}  {}{marks}  {}", thread.id, thread.status.name(), label_of(thread))
}

/// Every thread of a store, by id.
pub(super) async fn every_thread(store: &dyn ThreadStore) -> Result<Vec<StoredThread>, Failure> {
    let (mut threads, mut after) = (Vec::new(), None);
    loop {
        let page =
            store.list(ThreadQuery::all().after(after)).await.map_err(Failure::StoreAsked)?;
        threads.extend(page.threads);
        after = page.next;
        if after.is_none() {
            return Ok(threads);
        }
    }
}

async fn subtree(
    store: &dyn ThreadStore,
    top: &StoredThread,
) -> Result<Vec<StoredThread>, Failure> {
    let mut threads = vec![top.clone()];
    for id in store.descendants(top.id, None).await.map_err(Failure::StoreAsked)? {
        // One that was deleted meanwhile is left out.
        threads.extend(store.thread(id).await.ok());
    }
    Ok(threads)
}

/// The order in which threads are shown: each with its level, and followed by what is below it.
/// Pure. A thread whose parent is not among them stands for itself, and so does one that is its own
/// ancestor: every thread comes once.
fn grow(threads: &[StoredThread], top: Option<ThreadId>) -> Vec<(usize, usize)> {
    let known: BTreeSet<ThreadId> = threads.iter().map(|thread| thread.id).collect();
    let mut below: BTreeMap<ThreadId, Vec<usize>> = BTreeMap::new();
    let mut roots = Vec::new();
    for (at, thread) in threads.iter().enumerate() {
        match thread.parent.filter(|(parent, _)| known.contains(parent)) {
            Some((parent, _)) if Some(thread.id) != top => {
                below.entry(parent).or_default().push(at);
            }
            _ => roots.push(at),
        }
    }
    let mut order = Vec::with_capacity(threads.len());
    let mut shown = BTreeSet::new();
    // What no root leads to is in a cycle, or below one.
    for start in roots.into_iter().chain(0..threads.len()) {
        let mut next = vec![(0, start)];
        while let Some((level, at)) = next.pop() {
            if !shown.insert(at) {
                continue;
            }
            order.push((level, at));
            let children = below.get(&threads[at].id).into_iter().flatten();
            next.extend(children.rev().map(|&child| (level + 1, child)));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use coppicer::{Epoch, Seq, ThreadDetails, ThreadStatus};

    fn thread(number: u8, parent: Option<u8>) -> StoredThread {
        let id = |number: u8| ThreadId::from_parts(1, [number; 10]);
        StoredThread {
            id: id(number),
            parent: parent.map(|parent| (id(parent), EdgeStatus::Open)),
            base: None,
            depth: 0,
            path: None,
            config: std::sync::Arc::default(),
            status: ThreadStatus::PendingInit,
            rollout_path: None,
            task: None,
            details: ThreadDetails::default(),
            head: Seq(0),
            settled: Seq(0),
            epoch: Epoch(1),
            created_ms: 0,
            updated_ms: 0,
            archived_ms: None,
            ledger: None,
        }
    }

    #[test]
    fn each_thread_is_followed_by_what_is_below_it_and_comes_once() {
        let threads = [
            thread(0, None),
            thread(1, Some(0)),
            thread(2, Some(1)),
            thread(3, Some(0)),
            thread(4, Some(9)), // its parent is not in the store
            thread(5, Some(6)), // a cycle
            thread(6, Some(5)),
        ];
        let order = grow(&threads, None);
        assert_eq!(order, [(0, 0), (1, 1), (2, 2), (1, 3), (0, 4), (0, 5), (1, 6)]);
        assert_eq!(grow(&threads[5..], Some(threads[6].id)), [(0, 1), (1, 0)]);
    }
}
