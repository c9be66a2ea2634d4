//! Reads the sessions of a run: one for each thread, with its whole history.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coppicer::{
    History, RecordClass, ResolveError, RolloutLine, RolloutReader, SessionFile, SessionMeta,
    SessionSet, ThreadId, read_session,
};

use super::problem::Problem;
use crate::cli::files::session_files;

/// Damaged lines of one file that are told one by one.
const DAMAGE_MAX: usize = 20;

/// One thread, as its files have it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) meta: SessionMeta,
    pub(super) path: PathBuf,
    /// All of its records, also those that stand in other files.
    pub(super) history: History,
}

/// What the files at the paths of a run have.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// One for each thread, by id.
    pub(super) sessions: BTreeMap<ThreadId, Session>,
    pub(super) problems: Vec<Problem>,
    pub(super) files: usize,
}

/// Reads all sessions at `paths`.
///
/// Several files of one thread are one session if each continues the one before: a copy that was
/// taken later, or a segment. The newest counts.
pub(super) fn load(paths: &[PathBuf]) -> Loaded {
    let (files, errors) = session_files(paths);
    let mut loaded = Loaded { files: files.len(), ..Loaded::default() };
    loaded.problems.extend(errors.into_iter().map(Problem::Files));
    let mut set = SessionSet::new();
    let mut by_thread: BTreeMap<ThreadId, Vec<Arc<SessionFile>>> = BTreeMap::new();
    for path in files {
        match read_session(&path) {
            Ok(file) => {
                note_damage(&file, &mut loaded.problems);
                let file = Arc::new(file);
                set.add_file(file.clone());
                by_thread.entry(file.meta.id).or_default().push(file);
            }
            Err(error) => loaded.problems.push(error.into()),
        }
    }
    for (thread, files) in by_thread {
        match newest(thread, &files).and_then(|file| session(&mut set, file)) {
            Ok(session) => {
                loaded.sessions.insert(thread, session);
            }
            Err(problem) => loaded.problems.push(problem),
        }
    }
    loaded
}

fn note_damage(file: &SessionFile, problems: &mut Vec<Problem>) {
    let path = &file.path;
    let shown = file.damage.iter().take(DAMAGE_MAX).cloned();
    problems.extend(shown.map(|damage| Problem::Damage { path: path.clone(), damage }));
    if file.damage.len() > DAMAGE_MAX {
        let lines = file.damage.len() - DAMAGE_MAX;
        problems.push(Problem::MoreDamage { path: path.clone(), lines });
    }
}

/// Bases are found among the files of the run, else around the file.
fn session(set: &mut SessionSet, file: &SessionFile) -> Result<Session, Problem> {
    let history = match set.history_of(file) {
        Err(ResolveError::MissingBase { .. } | ResolveError::ShortBase { .. }) => {
            set.add_around(&file.path);
            set.history_of(file)?
        }
        resolved => resolved?,
    };
    Ok(Session { meta: file.meta.clone(), path: file.path.clone(), history })
}

/// The file that says most of a thread. Segments are newer than the file that they continue, and
/// have ids that rise.
fn newest(thread: ThreadId, files: &[Arc<SessionFile>]) -> Result<&SessionFile, Problem> {
    let mut by_segment: BTreeMap<Option<&str>, Vec<&SessionFile>> = BTreeMap::new();
    for file in files {
        let segment = file.segment().filter(|_| file.meta.history_base.is_some());
        by_segment.entry(segment).or_default().push(file);
    }
    let mut newest = &*files[0];
    for copies in by_segment.into_values() {
        newest = longest(thread, &copies)?;
    }
    Ok(newest)
}

/// The longest of several copies, if each other is how it began.
fn longest<'a>(thread: ThreadId, copies: &[&'a SessionFile]) -> Result<&'a SessionFile, Problem> {
    let longest = copies.iter().fold(copies[0], |longest, copy| {
        if copy.history.len() > longest.history.len() { copy } else { longest }
    });
    let stray =
        copies.iter().find(|copy| longest.history.prefix(copy.history.len()) != copy.history);
    match stray {
        None => Ok(longest),
        Some(stray) => {
            Err(Problem::SameId { thread, one: longest.path.clone(), other: stray.path.clone() })
        }
    }
}

/// The line of a file that says whose it is.
pub(super) fn meta_line(path: &Path) -> Option<u64> {
    let reader = RolloutReader::new(BufReader::new(File::open(path).ok()?));
    let is_meta = |line: &RolloutLine| matches!(line, RolloutLine::Record { record, .. } if record.class == RecordClass::Meta);
    (1..).zip(reader.map_while(Result::ok)).find(|(_, line)| is_meta(line)).map(|(at, _)| at)
}
