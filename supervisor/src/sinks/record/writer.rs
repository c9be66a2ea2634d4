//! Writing a recording.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use coppicer_actors::{Tap, TapItem};
use coppicer_messages::{Limits, encode};

use super::form::{self, Header, VERSION};
use super::reader::{holds_a_frame, rotated};
use super::{RecordError, Recording};

/// Items that are written at one go.
const BATCH_MAX: usize = 256;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// The bounds of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordOptions {
    /// Size at which a file is put aside and another begun, in bytes. One item may go past it.
    pub file_bytes_max: u64,
    /// Files that are kept, the newest among them; at least 1.
    pub files_max: usize,
}

impl RecordOptions {
    /// The bounds of these limits.
    pub const fn of(limits: &Limits) -> Self {
        let file_bytes_max = limits.recording_bytes_max as u64;
        Self { file_bytes_max, files_max: limits.recording_files_max }
    }

    /// Sets the size of a file.
    #[must_use]
    pub const fn with_file_bytes(mut self, bytes: u64) -> Self {
        self.file_bytes_max = bytes;
        self
    }

    /// Sets how many files are kept.
    #[must_use]
    pub const fn with_files(mut self, files: usize) -> Self {
        self.files_max = files;
        self
    }
}

impl Default for RecordOptions {
    fn default() -> Self {
        Self::of(&Limits::default())
    }
}

/// What a recorder has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// Events.
    pub events: u64,
    /// Events that the tap lost, which stand there as gaps.
    pub lost: u64,
    /// Bytes, in all files.
    pub bytes: u64,
    /// Times that a file was put aside.
    pub rotations: u64,
}

/// Writes the items of a tap to a file. One recorder at a time has a file.
///
/// Past its size a file is put aside as `FILE.1`, what was `FILE.1` as `FILE.2`, up to as many as are
/// kept; each can be read by itself. Those that are there from a time when more were kept go then.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: File,
    options: RecordOptions,
    /// Bytes of the file.
    written: u64,
    /// Bytes of its header.
    head: u64,
    buffer: Vec<u8>,
    recorded: Recorded,
}

impl Recorder {
    /// Opens a recording, or begins one. An item that a killed recorder left in the middle is taken
    /// off; a file with damage in it, and one of an earlier version, is put aside whole, also if
    /// [`RecordOptions::files_max`] is 1: then it is kept until the next one is full.
    ///
    /// # Errors
    /// It cannot be opened; another recorder has it; it is something else than a recording of this
    /// version or an earlier one, and is left alone.
    pub fn open(path: impl Into<PathBuf>, options: RecordOptions) -> Result<Self, RecordError> {
        let path = path.into();
        let file = open_file(&path, false)?;
        let mut recorder = Self {
            path,
            file,
            options,
            written: 0,
            head: 0,
            buffer: Vec::new(),
            recorded: Recorded::default(),
        };
        match recorder.heal()? {
            Healed::Begun(whole) => recorder.written = whole,
            Healed::Empty => recorder.begin()?,
            Healed::PutAside => recorder.put_aside()?,
        }
        Ok(recorder)
    }

    /// Where it writes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it has written so far.
    pub const fn recorded(&self) -> Recorded {
        self.recorded
    }

    /// Adds an item. It is in the file after the next [`flush`](Self::flush), or before.
    ///
    /// # Errors
    /// The file cannot be written; it ends with a whole item.
    pub fn write(&mut self, item: &TapItem) -> Result<(), RecordError> {
        let before = self.buffer.len();
        form::write(item, &mut self.buffer).map_err(|error| {
            self.buffer.truncate(before);
            self.failed(std::io::Error::other(error))
        })?;
        let size = self.written + self.buffer.len() as u64;
        if size > self.options.file_bytes_max && self.written + before as u64 > self.head {
            let item = self.buffer.split_off(before);
            self.flush()?;
            self.rotate()?;
            self.buffer = item;
        }
        match item {
            TapItem::Event(_) => self.recorded.events += 1,
            TapItem::Lagged { count, .. } => self.recorded.lost += count,
            _ => {}
        }
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what was gathered. It outlives the process; loss of power may take it.
    ///
    /// # Errors
    /// The file cannot be written; it ends with a whole item.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        if let Err(source) = self.file.write_all(&self.buffer) {
            // No half item stays, as far as the disk lets us.
            let _ = self.file.set_len(self.written);
            let _ = self.file.seek(SeekFrom::Start(self.written));
            return Err(self.failed(source));
        }
        self.written += self.buffer.len() as u64;
        self.recorded.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Records a tap until it ends, with its runtime. Files are written beside the async workers; a
    /// disk that is slower than the events shows as gaps in the recording.
    ///
    /// # Errors
    /// The file cannot be written.
    ///
    /// # Cancel safety
    /// Dropping the future ends the recording behind the items that were taken.
    pub async fn run(mut self, mut tap: Tap) -> Result<Recorded, RecordError> {
        while let Some(first) = tap.next().await {
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX
                && let Some(item) = tap.try_next()
            {
                batch.push(item);
            }
            let writing = tokio::task::spawn_blocking(move || {
                batch.iter().try_for_each(|item| self.write(item))?;
                self.flush()?;
                Ok(self)
            });
            self = writing.await.map_err(|_| RecordError::Stopped)??;
        }
        Ok(self.recorded)
    }

    fn failed(&self, source: std::io::Error) -> RecordError {
        RecordError::Write { path: self.path.clone(), source }
    }

    fn begin(&mut self) -> Result<(), RecordError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let header = Header::new(now.map_or(0, |since| since.as_millis() as u64));
        let header = encode(&header).map_err(|error| self.failed(std::io::Error::other(error)))?;
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(&header))
            .map_err(|source| self.failed(source))?;
        self.head = header.len() as u64;
        self.written = self.head;
        self.recorded.bytes += self.head;
        Ok(())
    }

    /// Brings an opened file to its last whole item.
    fn heal(&mut self) -> Result<Healed, RecordError> {
        let failed = |source| RecordError::Write { path: self.path.clone(), source };
        let copy = self.file.try_clone().map_err(failed)?;
        let mut recording = Recording::of(self.path.clone(), copy)?;
        self.head = recording.whole();
        if self.head == 0 {
            return Ok(Healed::Empty);
        }
        if recording.version() != VERSION {
            return Ok(Healed::PutAside);
        }
        for item in recording.by_ref() {
            match item {
                Ok(_) | Err(RecordError::Unknown { .. }) => {}
                Err(RecordError::Damaged { .. }) => return Ok(Healed::PutAside),
                Err(error) => return Err(error),
            }
        }
        let whole = recording.whole();
        if recording.torn().is_some() {
            // What looks like a torn frame may be one whose length is damaged.
            let mut rest = Vec::new();
            self.file
                .seek(SeekFrom::Start(recording.offset()))
                .and_then(|_| self.file.read_to_end(&mut rest))
                .map_err(failed)?;
            if holds_a_frame(&rest) {
                return Ok(Healed::PutAside);
            }
            self.file.set_len(whole).map_err(failed)?;
        }
        self.file.seek(SeekFrom::Start(whole)).map_err(failed)?;
        Ok(Healed::Begun(whole))
    }

    /// Puts the file aside, or ends it where it alone is kept, and begins another.
    fn rotate(&mut self) -> Result<(), RecordError> {
        self.begin_another(self.options.files_max.max(1))
    }

    /// Puts the file aside, also where it alone is kept: what is wrong with it may have to be looked at.
    /// It is kept until the next one is full.
    fn put_aside(&mut self) -> Result<(), RecordError> {
        self.begin_another(self.options.files_max.max(2))
    }

    /// Begins another file; of those that there were, it among them, so many are kept.
    fn begin_another(&mut self, kept: usize) -> Result<(), RecordError> {
        let failed = |source| RecordError::Write { path: self.path.clone(), source };
        // There are more if more were kept once.
        let path = self.path.clone();
        let too_many = (kept..).map(|number| rotated(&path, number));
        for file in too_many.take_while(|file| file.exists()) {
            fs::remove_file(file).map_err(failed)?;
        }
        if kept > 1 {
            for number in (1..kept - 1).rev() {
                move_file(&rotated(&self.path, number), &rotated(&self.path, number + 1))
                    .map_err(failed)?;
            }
            move_file(&self.path, &rotated(&self.path, 1)).map_err(failed)?;
            self.file = open_file(&self.path, true)?;
        }
        self.recorded.rotations += 1;
        self.begin()
    }
}

enum Healed {
    /// It is a recording that is whole up to there.
    Begun(u64),
    /// Nothing was in it yet.
    Empty,
    /// It has damage in the middle, or what is written now has no place in it.
    PutAside,
}

/// Opens for reading and writing; only its owner can. The lock is gone with the file.
fn open_file(path: &Path, new: bool) -> Result<File, RecordError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(new);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(path);
    let file = opened.map_err(|source| RecordError::Open { path: path.to_owned(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RecordError::Busy { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => {
            Err(RecordError::Open { path: path.to_owned(), source })
        }
    }
}

/// Moves a file over another, if it is there.
fn move_file(from: &Path, to: &Path) -> std::io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        moved => moved,
    }
}
