//! A session file: the history of one thread, or of one segment of it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use coppicer_messages::{RecordClass, Seq};

use super::reader::{Damage, DamageReason, RolloutLine, RolloutReader};
use crate::history::{History, HistoryMode, MetaError, SessionMeta};

/// One session file, read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionFile {
    /// Where it is.
    pub path: PathBuf,
    /// Who the thread is: its first session meta.
    pub meta: SessionMeta,
    /// The records of this file. If the meta names a base, what comes before them is elsewhere: see
    /// [`resolve_history`](super::resolve_history). Damaged lines are in it as
    /// [`RecordClass::Opaque`], except those that were skipped.
    pub history: History,
    /// The lines that are no sound records.
    pub damage: Vec<Damage>,
    /// How many records stand before the first damaged line; none if there is no damage.
    pub sound_len: Option<u64>,
    /// Whether the last line ends with a newline.
    pub ends_with_newline: bool,
    /// Blank lines: the record before which they stand, and their bytes.
    blanks: Vec<(Seq, Vec<u8>)>,
    /// The numbers of the records, in a file of the paginated mode.
    ordinals: Vec<Option<u64>>,
}

impl SessionFile {
    /// The id of the segment, if the file's name says that it is one: the second UUID in
    /// `rollout-<time>-<thread>_<segment>.jsonl`.
    pub fn segment(&self) -> Option<&str> {
        segment_of(&self.path)
    }

    /// The history up to the first damaged line: what a fork of a damaged thread may rely on.
    pub fn sound_history(&self) -> History {
        self.sound_len.map_or_else(|| self.history.clone(), |len| self.history.prefix(len))
    }

    /// How many of the file's records have a number smaller than `ordinal`.
    pub(super) fn records_before(&self, ordinal: u64) -> u64 {
        let later = self.ordinals.iter().position(|own| own.is_some_and(|own| own >= ordinal));
        later.unwrap_or(self.ordinals.len()) as u64
    }

    /// The first and the last number in the file.
    pub(super) fn ordinal_range(&self) -> Option<(u64, u64)> {
        let first = self.ordinals.iter().find_map(|own| *own)?;
        let last = self.ordinals.iter().rev().find_map(|own| *own)?;
        Some((first, last))
    }

    /// Writes the file again: the same bytes, if it has no damage that was skipped.
    ///
    /// # Errors
    /// As `out`.
    pub fn write_to(&self, mut out: impl Write) -> io::Result<()> {
        let mut blanks = self.blanks.iter().peekable();
        let mut newline_due = false;
        let mut line = |bytes: &[u8]| {
            if std::mem::replace(&mut newline_due, true) {
                out.write_all(b"\n")?;
            }
            out.write_all(bytes)
        };
        for record in &self.history {
            while let Some((_, blank)) = blanks.next_if(|(before, _)| *before <= record.seq) {
                line(blank)?;
            }
            line(&record.raw)?;
        }
        for (_, blank) in blanks {
            line(blank)?;
        }
        // Where a torn line was left out, the line before it keeps its newline.
        let is_torn = matches!(
            self.damage.last(),
            Some(Damage { reason: DamageReason::TornTail { .. }, .. })
        );
        if newline_due && (self.ends_with_newline || is_torn) {
            out.write_all(b"\n")?;
        }
        out.flush()
    }
}

pub(super) fn segment_of(path: &Path) -> Option<&str> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    let (before, segment) = stem.rsplit_once('_')?;
    let is_id =
        |text: &str| text.parse::<coppicer_messages::ThreadId>().is_ok() && text.len() == 36;
    let thread = before.get(before.len().checked_sub(36)?..)?;
    (is_id(segment) && is_id(thread)).then_some(segment)
}

/// Why a session file cannot be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is nothing at this path.
    #[error("{}: there is no such file; check the path", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// It is a folder.
    #[error("{}: this is a folder; name a file in it", path.display())]
    IsFolder {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{}: cannot be read; check its permissions and the disk", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It has no line.
    #[error("{}: the file is empty; a session begins with a `session_meta` line", path.display())]
    Empty {
        /// The path.
        path: PathBuf,
    },
    /// None of its lines says whose it is.
    #[error("{}: no `session_meta` line; the file is no session, or lost its first line{}", path.display(), first_damage(.damage))]
    NoMeta {
        /// The path.
        path: PathBuf,
        /// The lines that are no sound records.
        damage: Vec<Damage>,
    },
    /// The line that says whose it is cannot be used.
    #[error("{}: line {line}: {source}; mend the line, or remove the file", path.display())]
    BadMeta {
        /// The path.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        source: MetaError,
    },
}

fn first_damage(damage: &[Damage]) -> String {
    damage.first().map_or_else(String::new, |damage| format!(" ({damage})"))
}

/// Reads the session file at `path`.
///
/// # Errors
/// See [`ReadError`]. Damaged lines after the session meta are no error: they are in
/// [`SessionFile::damage`].
pub fn read_session(path: impl AsRef<Path>) -> Result<SessionFile, ReadError> {
    let path = path.as_ref();
    let io_error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ReadError::NotFound { path: path.to_owned() },
        io::ErrorKind::IsADirectory => ReadError::IsFolder { path: path.to_owned() },
        _ => ReadError::Io { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(io_error)?;
    if file.metadata().map_err(io_error)?.is_dir() {
        return Err(ReadError::IsFolder { path: path.to_owned() });
    }
    read_session_from(BufReader::with_capacity(128 * 1024, file), path)
}

/// Reads a session from `input`; `path` is what errors call it.
///
/// # Errors
/// See [`ReadError`].
pub fn read_session_from(input: impl BufRead, path: &Path) -> Result<SessionFile, ReadError> {
    let mut reader = RolloutReader::new(input);
    let mut meta = None;
    let mut history = History::new();
    let mut damage = Vec::new();
    let mut sound_len = None;
    let mut blanks = Vec::new();
    let mut ordinals = Vec::new();
    let mut line = 0;
    while let Some(next) =
        reader.next_line().map_err(|source| ReadError::Io { path: path.to_owned(), source })?
    {
        line += 1;
        match next {
            RolloutLine::Record { record, ordinal, damage: flaw } => {
                if record.class == RecordClass::Meta && meta.is_none() {
                    let parsed = SessionMeta::parse(&record.raw);
                    meta = Some(parsed.map_err(|source| ReadError::BadMeta {
                        path: path.to_owned(),
                        line,
                        source,
                    })?);
                }
                if let Some(flaw) = flaw {
                    sound_len.get_or_insert(history.len());
                    damage.push(flaw);
                }
                history.append(record);
                ordinals.push(ordinal);
            }
            RolloutLine::Blank(bytes) => blanks.push((history.next_seq(), bytes)),
            RolloutLine::Skipped(flaw) => {
                sound_len.get_or_insert(history.len());
                damage.push(flaw);
            }
        }
    }
    if ordinals.iter().all(Option::is_none) {
        ordinals = Vec::new();
    }
    let path = path.to_owned();
    match meta {
        Some(meta) => Ok(SessionFile {
            path,
            meta,
            history,
            damage,
            sound_len,
            ends_with_newline: reader.ends_with_newline(),
            blanks,
            ordinals,
        }),
        None if history.is_empty() && damage.is_empty() => Err(ReadError::Empty { path }),
        None => Err(ReadError::NoMeta { path, damage }),
    }
}

/// The session files at `path`: the file itself, or the files of a folder and of those below it
/// whose names end in `.jsonl`, in the order of their names. Links are not followed.
///
/// # Errors
/// If there is nothing at this path, or a folder cannot be listed.
pub fn session_files(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, ReadError> {
    let path = path.as_ref();
    let io_error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ReadError::NotFound { path: path.to_owned() },
        _ => ReadError::Io { path: path.to_owned(), source },
    };
    if !std::fs::metadata(path).map_err(io_error)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(io_error)? {
            let entry = entry.map_err(io_error)?;
            let kind = entry.file_type().map_err(io_error)?;
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|end| end == "jsonl") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Writes the records of `history` as they are, one a line.
///
/// # Errors
/// As `out`.
pub fn write_history(mut out: impl Write, history: &History) -> io::Result<()> {
    for record in history {
        out.write_all(&record.raw)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Writes `history` as a session file that stands alone: `meta` as its first line, without the
/// session metas of the threads that it was forked from, and in the paginated mode with numbers
/// without gaps. So a fork, or a thread that continues a base, opens in REF without its base.
///
/// # Errors
/// As `out`.
pub fn write_flattened(
    mut out: impl Write,
    meta: &SessionMeta,
    history: &History,
) -> io::Result<()> {
    let mut meta = meta.clone();
    meta.history_base = None;
    let at_ms = meta.created_ms.or(history.last().map(|record| record.at_ms)).unwrap_or(0);
    let numbered = meta.history_mode == Some(HistoryMode::Paginated);
    let first = crate::history::Line::session_meta(at_ms, &meta);
    let others = history.iter().filter(|record| record.class != RecordClass::Meta);
    let lines = std::iter::once(&first.raw).chain(others.map(|record| &record.raw));
    for (ordinal, raw) in lines.enumerate() {
        if numbered {
            out.write_all(&with_ordinal(raw, ordinal as u64))?;
        } else {
            out.write_all(raw)?;
        }
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// The line with this number: in place of the one it has, or after its opening brace.
fn with_ordinal(raw: &[u8], ordinal: u64) -> Vec<u8> {
    #[derive(serde::Deserialize)]
    struct Numbered<'a> {
        #[serde(borrow)]
        ordinal: Option<&'a serde_json::value::RawValue>,
    }
    let old = serde_json::from_slice::<Numbered<'_>>(raw).ok().and_then(|line| line.ordinal);
    let (from, to, text) = if let Some(old) = old {
        // The number was read from the line, so it lies inside of it.
        let from = old.get().as_ptr() as usize - raw.as_ptr() as usize;
        (from, from + old.get().len(), ordinal.to_string())
    } else if let Some(open) = raw.iter().position(|&byte| byte == b'{') {
        (open + 1, open + 1, format!("\"ordinal\":{ordinal},"))
    } else {
        return raw.to_vec();
    };
    [&raw[..from], text.as_bytes(), &raw[to..]].concat()
}
