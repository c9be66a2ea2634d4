//! `coppicer export`: a thread as one session file.

use std::path::{Path, PathBuf};

use coppicer::{
    Done, History, MemoryStore, NewRecord, NewThread, RecordClass, SessionMeta, StoredThread,
    ThreadStore, read_session, resolve_history, write_flattened, write_history,
};

use super::store::find::find;
use super::store::{StoreArgs, work_on};
use super::{Failure, Verdict, history, out};

/// Writes a thread as one session file.
///
/// Of a store: a thread whose records are all its own comes as they are, so that an imported session
/// comes back byte for byte; a fork becomes a file that stands alone, with the history that it
/// begins in. Works beside a running `coppicer run`.
///
/// Of a session file (what names a file is one): it is imported into a store in memory and exported
/// again. A segment, or a fork that begins in another file, becomes a file that stands alone.
/// Damaged lines are told on standard error, and the exit code is 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A thread of the store (an id, 4 or more characters of its beginning, a name or a path), or a
    /// session file.
    #[arg(value_name = "THREAD|FILE")]
    source: PathBuf,
    /// The file to write. It appears whole or not at all.
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// Overwrite OUT if there is such a file.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreArgs,
    /// Look for the files that FILE's history begins in here too, not only beside it.
    #[arg(long, value_name = "DIR")]
    sessions: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let text = args.source.to_str().filter(|text| !looks_like_a_path(text));
    match text {
        Some(text) if !args.source.exists() => of_store(args, text),
        _ => of_file(args),
    }
}

/// Whether a text that is no file is more likely a file that is missing than a thread.
fn looks_like_a_path(text: &str) -> bool {
    text.starts_with('.') || Path::new(text).extension().is_some_and(|end| end == "jsonl")
}

fn of_store(args: &Args, text: &str) -> Result<Verdict, Failure> {
    let (thread, records) = work_on(args.store.open_to_read()?, async |store| {
        let thread = find(store, text).await?;
        let records = store.read(thread.id, None).await.map_err(Failure::StoreAsked)?;
        Ok((thread, records))
    })?;
    let meta = borrowed(&thread, &records);
    out::write_file(&args.out, args.force, |out| match &meta {
        None => write_history(out, &records),
        Some(meta) => write_flattened(out, meta, &records),
    })?;
    Ok(Verdict::Well)
}

/// The first line of a thread that has records of others and must stand alone; none if all of its
/// records are its own.
fn borrowed(thread: &StoredThread, records: &History) -> Option<SessionMeta> {
    let metas = records.iter().filter(|record| record.class == RecordClass::Meta);
    let metas: Vec<SessionMeta> =
        metas.filter_map(|record| SessionMeta::parse(&record.raw).ok()).collect();
    let own = metas.iter().rev().find(|meta| meta.id == thread.id);
    let all_own = thread.base.is_none()
        && metas.first().is_none_or(|meta| meta.id == thread.id)
        && metas.iter().all(|meta| meta.history_base.is_none());
    if all_own {
        return None;
    }
    Some(own.cloned().unwrap_or_else(|| {
        let cwd = thread.config.cwd.clone().unwrap_or_else(|| "/".to_owned());
        let mut meta = SessionMeta::new(thread.id, cwd);
        meta.created_ms = Some(thread.created_ms);
        meta.forked_from = thread.base.map(|base| base.thread);
        meta
    }))
}

fn of_file(args: &Args) -> Result<Verdict, Failure> {
    let file = read_session(&args.source)?;
    let whole = resolve_history(&file, args.sessions.as_deref())?;
    let store = MemoryStore::new();
    let created_ms = file.meta.created_ms.unwrap_or(0);
    let refused = |source| Failure::Store { path: args.source.clone(), source };
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
