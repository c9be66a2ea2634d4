//! `coppicer import`: what a store holds of recorded sessions.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use coppicer::{MemoryStore, Runtime, ScriptedEngine, ThreadId, ThreadStore, recorded_turns};

use super::drive::import;
use super::forest::{Place, plant};
use super::load::{Loaded, load};
use super::report::Report;
use crate::cli::{Failure, Verdict, text};

/// Imports sessions into a store, and says what it holds then.
///
/// Trees are rebuilt from what the sessions say of their parents; several files of one thread are one
/// session if each continues the one before. The store of this version is memory, so nothing is kept:
/// the command shows what would be, one line a thread, parents before children. What is wrong with a
/// session is told on standard error; the others are imported, and the exit code is 1.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Session files, or folders with session files (`*.jsonl`) in them and below.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

pub(in crate::cli) fn run(args: &Args) -> Result<Verdict, Failure> {
    let Loaded { sessions, mut problems, files } = load(&args.paths);
    let places = plant(&sessions, &mut problems);
    let flawed = !problems.is_empty();
    for problem in problems {
        eprintln!("error: {}", text::printable(&text::with_causes(&problem)));
    }
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (rows, report) = tokio.block_on(async {
        let store = Arc::new(MemoryStore::new());
        let runtime = Runtime::builder()
            .engine(ScriptedEngine::echo())
            .shared_store(store.clone())
            .start()
            .await
            .map_err(Failure::Start)?;
        let mut report = Report { files, ..Report::default() };
        import(&runtime, sessions, &places, &mut report).await;
        let mut rows = Vec::with_capacity(places.len());
        for place in preorder(&places) {
            let (Ok(stored), Ok(history)) =
                (store.thread(place.thread).await, store.read(place.thread, None).await)
            else {
                continue; // refused; `report.failures` says why
            };
            let indent = "  ".repeat(stored.depth as usize);
            let name = stored.path.map(|path| format!("  {path}")).unwrap_or_default();
            let turns = text::count(recorded_turns(&history).len(), "turn");
            let records = text::count(history.len() as usize, "record");
            rows.push(format!("{indent}{}{name}  {records}, {turns}", place.thread));
        }
        Ok::<_, Failure>((rows, report))
    })?;
    for failure in &report.failures {
        eprintln!("error: {}", text::printable(failure));
    }
    let mut out = io::stdout().lock();
    for row in &rows {
        writeln!(out, "{}", text::printable(row))?;
    }
    let (threads, files) = (text::count(rows.len(), "thread"), text::count(files, "file"));
    writeln!(out, "{threads} from {files}")?;
    Ok(Verdict::of(!flawed && report.failures.is_empty()))
}

/// Each thread followed by what is below it.
fn preorder(places: &[Place]) -> Vec<&Place> {
    let mut below: BTreeMap<Option<ThreadId>, Vec<&Place>> = BTreeMap::new();
    for place in places {
        below.entry(place.parent).or_default().push(place);
    }
    let mut next: Vec<&Place> = below.remove(&None).unwrap_or_default();
    next.reverse();
    let mut order = Vec::with_capacity(places.len());
    while let Some(place) = next.pop() {
        order.push(place);
        next.extend(below.remove(&Some(place.thread)).unwrap_or_default().into_iter().rev());
    }
    order
}
