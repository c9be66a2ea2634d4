//! `coppicer import`: recorded sessions into a store.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;

use coppicer::{ThreadId, ThreadStore, recorded_turns};

use super::forest::{Place, parents_elsewhere, plant};
use super::keep::{keep, stored_depths};
use super::load::{Loaded, load};
use crate::cli::store::{StoreArgs, work_on};
use crate::cli::{Failure, Verdict, say, text};

/// Imports sessions into a store, and says what it holds of them.
///
/// Trees are rebuilt from what the sessions say of their parents; several files of one thread are one
/// session if each continues the one before. A session that the store has already is left as it is,
/// with all that came after it: importing twice changes nothing. One line a thread, parents before
/// children. What is wrong with a session is told on standard error, also that the store has another
/// thread under its id; the others are imported, and the exit code is 1.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Session files, or folders with session files (`*.jsonl`) in them and below.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(in crate::cli) fn run(args: &Args) -> Result<Verdict, Failure> {
    let Loaded { sessions, mut problems, files } = load(&args.paths);
    let (kept, rows) = work_on(args.store.open_or_make()?, async |store| {
        let stored = stored_depths(store, parents_elsewhere(&sessions)).await;
        let places = plant(&sessions, &stored.map_err(Failure::StoreAsked)?, &mut problems);
        let kept = keep(store, sessions, &places, &mut problems).await;
        let mut rows = Vec::with_capacity(places.len());
        for place in preorder(&places).into_iter().filter(|place| kept.has(place.thread)) {
            let stored = store.thread(place.thread).await.map_err(Failure::StoreAsked)?;
            let history = store.read(place.thread, None).await.map_err(Failure::StoreAsked)?;
            let indent = "  ".repeat(place.depth as usize);
            let name = stored.path.map(|path| format!("  {path}")).unwrap_or_default();
            let turns = text::count(recorded_turns(&history).len(), "turn");
            let records = text::count(history.len() as usize, "record");
            let known = if kept.new.contains(&place.thread) { "" } else { "  (was there)" };
            rows.push(format!("{indent}{}{name}  {records}, {turns}{known}", place.thread));
        }
        Ok((kept, rows))
    })?;
    for problem in &problems {
        say(&format!("error: {}", text::with_causes(problem)));
    }
    let mut out = io::stdout().lock();
    for row in &rows {
        writeln!(out, "{}", text::printable(row))?;
    }
    let (threads, files) = (text::count(rows.len(), "thread"), text::count(files, "file"));
    writeln!(out, "{threads} from {files}, {} new", kept.new.len())?;
    Ok(Verdict::of(problems.is_empty()))
}

/// Each thread followed by what is below it.
fn preorder(places: &[Place]) -> Vec<&Place> {
    let given: BTreeSet<ThreadId> = places.iter().map(|place| place.thread).collect();
    let mut below: BTreeMap<Option<ThreadId>, Vec<&Place>> = BTreeMap::new();
    for place in places {
        // What hangs on a thread of the store that is not given stands for itself.
        let parent = place.parent.filter(|parent| given.contains(parent));
        below.entry(parent).or_default().push(place);
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
