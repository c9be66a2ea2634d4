//! What is wrong with the input of a run. The other sessions still run.

use std::path::PathBuf;

use coppicer::{Damage, ReadError, ResolveError, Seq, StoreError, ThreadId};

use crate::cli::files::FilesError;

/// One thing that is wrong with the input.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("{}:{}: {}; the line is kept aside", path.display(), damage.line, damage.reason)]
    Damage { path: PathBuf, damage: Damage },
    #[error(
        "{}: {lines} more damaged lines are kept aside; `coppicer check` names them",
        path.display()
    )]
    MoreDamage { path: PathBuf, lines: usize },
    #[error(
        "{} and {}: both are thread {thread}, and neither continues the other; neither runs, name \
         one of them", one.display(), other.display()
    )]
    SameId { thread: ThreadId, one: PathBuf, other: PathBuf },
    #[error(
        "{}{}: thread {thread} is its own ancestor, by way of {}; none of them runs",
        path.display(), at(*line), list(.way)
    )]
    ParentCycle { thread: ThreadId, path: PathBuf, line: Option<u64>, way: Vec<PathBuf> },
    #[error(
        "{}{}: the parent of thread {thread} does not run: {parent}; it does not run either",
        path.display(), at(*line)
    )]
    ParentStays { thread: ThreadId, parent: ThreadId, path: PathBuf, line: Option<u64> },
    #[error(
        "{}{}: the parent of thread {thread} is in none of the files, nor in the store: {parent}; \
         name its file too (the thread runs as a root)", path.display(), at(*line)
    )]
    NoParent { thread: ThreadId, parent: ThreadId, path: PathBuf, line: Option<u64> },
    #[error(
        "{}: the store has another thread {thread}, which differs from record {seq} on; it is left \
         alone, name another store", path.display()
    )]
    Differs { thread: ThreadId, path: PathBuf, seq: Seq },
    #[error("{}: thread {thread} cannot be imported", path.display())]
    NotImported {
        thread: ThreadId,
        path: PathBuf,
        #[source]
        source: StoreError,
    },
}

fn at(line: Option<u64>) -> String {
    line.map(|line| format!(":{line}")).unwrap_or_default()
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}
