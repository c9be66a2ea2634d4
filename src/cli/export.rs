//! `coppicer export`: a thread as one session file.

use std::path::PathBuf;

use coppicer::{
    Done, MemoryStore, NewRecord, NewThread, ThreadStore, read_session, resolve_history,
    write_flattened, write_history,
};

use super::{Failure, Verdict, history, out};

/// Writes a thread as one session file.
///
/// The thread is imported into a store in memory and exported again. A file that has all of its
/// thread comes back byte for byte; a segment, or a fork that begins in another file, becomes a file
/// that stands alone, with the history that it begins in. Damaged lines are told on standard error,
/// and the exit code is 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A session file.
    file: PathBuf,
    /// The file to write. It appears whole or not at all.
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// Overwrite OUT if there is such a file.
    #[arg(long)]
    force: bool,
    /// Look for the files that the history begins in here too, not only beside FILE.
    #[arg(long, value_name = "DIR")]
    sessions: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let file = read_session(&args.file)?;
    let whole = resolve_history(&file, args.sessions.as_deref())?;
    let store = MemoryStore::new();
    let created_ms = file.meta.created_ms.unwrap_or(0);
    let refused = |source| Failure::Store { path: args.file.clone(), source };
    let records = whole.iter().cloned().map(NewRecord::from).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let stored = runtime
        .block_on(async {
            let (done, created) = Done::channel();
            store.create(NewThread::root(file.meta.id, created_ms), records, done);
            created.await?;
            store.read(file.meta.id, None).await
        })
        .map_err(refused)?;
    history::tell_damage(&file);
    out::write_file(&args.out, args.force, |out| match &file.meta.history_base {
        None => write_history(out, &stored),
        Some(_) => write_flattened(out, &file.meta, &stored),
    })?;
    Ok(Verdict::of(file.damage.is_empty()))
}
