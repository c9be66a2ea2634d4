//! `coppicer archive`, `unarchive` and `delete`: threads out of the way, back, and gone.

use std::io::{self, Write};

use coppicer::{Done, StoreError, StoredThread, ThreadStore};

use super::store::find::{FindError, find};
use super::store::row::label_of;
use super::store::{StoreArgs, now_ms, work_on};
use super::{Failure, Verdict, say, text};

/// Puts threads into the archive: `coppicer threads` leaves them out.
///
/// What is below a thread stays where it is. The threads that can be archived are, also if others
/// cannot; then the exit code is 1.
#[derive(Debug, clap::Args)]
pub(super) struct ArchiveArgs {
    #[command(flatten)]
    which: Which,
}

/// Takes threads out of the archive.
#[derive(Debug, clap::Args)]
pub(super) struct UnarchiveArgs {
    #[command(flatten)]
    which: Which,
}

/// Deletes threads, and all that is below them, for good.
///
/// Forks keep the records that they share with a deleted thread. The threads that can be deleted
/// are, also if others cannot; then the exit code is 1.
#[derive(Debug, clap::Args)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    which: Which,
    /// Say that you mean it: nothing is asked, and nothing comes back.
    #[arg(long, required = true)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Threads: ids, 4 or more characters of their beginnings, names or paths.
    #[arg(required = true, value_name = "THREAD")]
    threads: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn archive(args: &ArchiveArgs) -> Result<Verdict, Failure> {
    let now = now_ms();
    each(&args.which, &async |store, thread| {
        let (done, archived) = Done::channel();
        store.archive(thread.id, Some(now), done);
        archived.await?;
        Ok("archived".to_owned())
    })
}

pub(super) fn unarchive(args: &UnarchiveArgs) -> Result<Verdict, Failure> {
    each(&args.which, &async |store, thread| {
        let (done, archived) = Done::channel();
        store.archive(thread.id, None, done);
        archived.await?;
        Ok("taken out of the archive".to_owned())
    })
}

pub(super) fn delete(args: &DeleteArgs) -> Result<Verdict, Failure> {
    debug_assert!(args.yes, "the parser demands it");
    each(&args.which, &async |store, thread| {
        let (done, deleted) = Done::channel();
        store.delete(thread.id, done);
        match deleted.await {
            Ok(count) => Ok(format!("deleted, {} in all", text::count(count as usize, "thread"))),
            // It stood below one that was named before it.
            Err(StoreError::NotFound { .. }) => Ok("deleted with another".to_owned()),
            Err(error) => Err(error),
        }
    })
}

/// Does one thing to each of the threads, and prints what came of it. All are found before the first
/// is changed.
fn each(
    which: &Which,
    change: &impl AsyncFn(&dyn ThreadStore, &StoredThread) -> Result<String, StoreError>,
) -> Result<Verdict, Failure> {
    let (rows, well) = work_on(which.store.open()?, async |store| {
        let mut found: Vec<StoredThread> = Vec::new();
        let mut well = true;
        for text in &which.threads {
            match find(store, text).await {
                Ok(thread) if found.iter().any(|other| other.id == thread.id) => {}
                Ok(thread) => found.push(thread),
                Err(error @ FindError::Store { .. }) => return Err(error.into()),
                Err(error) => {
                    say(&format!("error: {}", text::with_causes(&error)));
                    well = false;
                }
            }
        }
        let mut rows = Vec::new();
        for thread in &found {
            match change(store, thread).await {
                Ok(what) => rows.push(format!("{}  {what}  {}", thread.id, label_of(thread))),
                Err(error) => {
                    say(&format!("error: thread {}: {}", thread.id, text::with_causes(&error)));
                    well = false;
                }
            }
        }
        Ok((rows, well))
    })?;
    let mut out = io::stdout().lock();
    for row in rows {
        writeln!(out, "{}", row.trim_end())?;
    }
    Ok(Verdict::of(well))
}
