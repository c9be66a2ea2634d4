//! Histories that begin in other files: segments and forks of REF's paginated mode.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coppicer_messages::NewRecord;

use super::session::{ReadError, SessionFile, read_session, segment_of};
use crate::history::{History, SessionMeta};

/// Most bases behind each other. REF makes one for each revert and each fork of a fork.
pub const BASES_MAX: usize = 1_000;

/// Most files that are looked at for a base.
pub const FILES_MAX: usize = 100_000;

/// Why a history cannot be put together. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// No file has the base.
    #[error(
        "{}: its history begins in `{base}`, and no file here is that thread or segment; name the \
         folder that has it", file.display()
    )]
    MissingBase {
        /// The file that names the base.
        file: PathBuf,
        /// The id of a thread or segment.
        base: String,
    },
    /// The base ends too early.
    #[error(
        "{}: its history needs the records of `{base}` up to number {needed}, and {} ends \
         before", file.display(), base_file.display()
    )]
    ShortBase {
        /// The file that names the base.
        file: PathBuf,
        /// The id of a thread or segment.
        base: String,
        /// The file of the base.
        base_file: PathBuf,
        /// The first number that is not needed any more.
        needed: u64,
    },
    /// The files name each other as bases.
    #[error("{}: its history begins in itself, by way of `{base}`", file.display())]
    Cycle {
        /// The file.
        file: PathBuf,
        /// The base that leads back.
        base: String,
    },
    /// More than [`BASES_MAX`] bases behind each other.
    #[error("{}: more than {BASES_MAX} bases behind each other", file.display())]
    TooManyBases {
        /// The file.
        file: PathBuf,
    },
    /// A base cannot be read.
    #[error("cannot read a base")]
    Read(#[from] ReadError),
}

/// Session files among which bases are found.
#[derive(Debug, Default)]
pub struct SessionSet {
    /// By id of a thread (whole files and first segments) or of a segment.
    files: HashMap<String, Vec<PathBuf>>,
    count: usize,
    read: HashMap<PathBuf, Arc<SessionFile>>,
}

impl SessionSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the session files in `folder` and below. Files that are no sessions are passed over.
    pub fn add_folder(&mut self, folder: &Path) {
        self.add(folder, usize::MAX);
    }

    /// Adds a file that was read already.
    pub fn add_file(&mut self, file: Arc<SessionFile>) {
        self.note(&file.path, &file.meta.id.to_string());
        self.read.insert(file.path.clone(), file);
    }

    /// Adds what may have the bases of `file`: the files beside it and in the folders beside its
    /// own; if these are the days of a calendar (`sessions/2026/06/03`), all of the calendar.
    pub fn add_around(&mut self, file: &Path) {
        let Some(folder) =
            file.parent().map(|folder| folder.canonicalize().unwrap_or(folder.to_owned()))
        else {
            return;
        };
        let is_date = |folder: &Path| {
            let name = folder.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
            })
        };
        let calendar = folder.ancestors().take(4).take_while(|folder| is_date(folder)).last();
        if let Some(year) = calendar {
            self.add(year.parent().unwrap_or(year), 4);
            return;
        }
        self.add(&folder, 1);
        if let Some(parent) = folder.parent() {
            self.add(parent, 2);
        }
    }

    fn add(&mut self, folder: &Path, levels: usize) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            // Links are not followed: they may lead back.
            let Ok(kind) = path.symlink_metadata() else {
                continue;
            };
            if kind.is_dir() {
                if levels > 1 {
                    self.add(&path, levels - 1);
                }
            } else if path.extension().is_some_and(|extension| extension == "jsonl")
                && self.count < FILES_MAX
                && let Some(id) = thread_of(&path)
            {
                self.note(&path, &id);
            }
        }
    }

    fn note(&mut self, path: &Path, thread: &str) {
        let id = segment_of(path).unwrap_or(thread).to_owned();
        let files = self.files.entry(id).or_default();
        if !files.iter().any(|known| known == path) {
            files.push(path.to_owned());
            self.count += 1;
        }
    }

    /// The whole history of the thread in `file`: the records of its bases as far as they count,
    /// then its own. Numbered anew from 0.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub fn history_of(&mut self, file: &SessionFile) -> Result<History, ResolveError> {
        let mut on_the_way = Vec::new();
        self.assemble(file, None, &mut on_the_way)
    }

    /// `end`: only records with a smaller number.
    fn assemble(
        &mut self,
        file: &SessionFile,
        end: Option<u64>,
        on_the_way: &mut Vec<PathBuf>,
    ) -> Result<History, ResolveError> {
        let own = end.map_or(file.history.len(), |end| file.records_before(end));
        let Some(base) = &file.meta.history_base else {
            return Ok(file.history.prefix(own));
        };
        if on_the_way.len() >= BASES_MAX {
            return Err(ResolveError::TooManyBases { file: file.path.clone() });
        }
        on_the_way.push(file.path.clone());
        let needed =
            end.map_or(base.end_ordinal_exclusive, |end| end.min(base.end_ordinal_exclusive));
        let base_file = self.find(file, &base.thread_id, needed, on_the_way)?;
        let mut history = self.assemble(&base_file, Some(needed), on_the_way)?;
        on_the_way.pop();
        history.extend(file.history.prefix(own).iter().cloned().map(NewRecord::from));
        Ok(history)
    }

    /// The file of a base. Of several copies, one that has all the records that are needed, beside
    /// `file` if there is one.
    fn find(
        &mut self,
        file: &SessionFile,
        base: &str,
        needed: u64,
        on_the_way: &[PathBuf],
    ) -> Result<Arc<SessionFile>, ResolveError> {
        let mut candidates = self.files.get(base).cloned().unwrap_or_default();
        let same = |a: &Path, b: &Path| {
            a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
        };
        let known = candidates.len();
        candidates.retain(|path| !on_the_way.iter().any(|used| same(used, path)));
        if candidates.is_empty() {
            let (file, base) = (file.path.clone(), base.to_owned());
            return Err(if known > 0 {
                ResolveError::Cycle { file, base }
            } else {
                ResolveError::MissingBase { file, base }
            });
        }
        candidates.sort_by_key(|path| path.parent() != file.path.parent());
        let mut short = None;
        for path in candidates {
            let read = self.read(&path)?;
            let reaches = read.ordinal_range().is_some_and(|(_, last)| last + 1 >= needed);
            if reaches || needed == 0 {
                return Ok(read);
            }
            short.get_or_insert(path);
        }
        Err(ResolveError::ShortBase {
            file: file.path.clone(),
            base: base.to_owned(),
            base_file: short.unwrap_or_default(),
            needed,
        })
    }

    fn read(&mut self, path: &Path) -> Result<Arc<SessionFile>, ResolveError> {
        if let Some(file) = self.read.get(path) {
            return Ok(file.clone());
        }
        let file = Arc::new(read_session(path)?);
        self.read.insert(path.to_owned(), file.clone());
        Ok(file)
    }
}

/// The whole history of the thread in `file`, with its bases found around it or in the folder
/// `sessions`.
///
/// # Errors
/// See [`ResolveError`].
pub fn resolve_history(
    file: &SessionFile,
    sessions: Option<&Path>,
) -> Result<History, ResolveError> {
    let mut set = SessionSet::new();
    if file.meta.history_base.is_some() {
        set.add_around(&file.path);
        if let Some(folder) = sessions {
            set.add_folder(folder);
        }
    }
    set.history_of(file)
}

/// The thread whose file this is: by the meta in its first line.
fn thread_of(path: &Path) -> Option<String> {
    /// A session meta may carry long instructions.
    const META_BYTES_MAX: u64 = super::reader::LINE_BYTES_MAX as u64;
    let file = fs::File::open(path).ok()?;
    let mut line = Vec::new();
    std::io::Read::take(BufReader::new(file), META_BYTES_MAX).read_until(b'\n', &mut line).ok()?;
    SessionMeta::parse(&line).ok().map(|meta| meta.id.to_string())
}
