//! Reading a recording.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coppicer_actors::TapItem;
use coppicer_messages::{CodecError, FRAME_BYTES_MAX, FRAME_BYTES_OVERHEAD, FRAME_VERSION, decode};
use serde::de::DeserializeOwned;

use super::RecordError;
use super::form::{Frame, Header, MAGIC, Parts, VERSION, VERSION_READ_MIN};

/// Bytes of a frame before its payload: version and length.
const FRAME_HEAD: usize = 5;

/// One file of a recording: an iterator over its items, in the order in which the tap gave them.
///
/// A file that ends in the middle of an item, as one does whose writer was killed, is read up to the
/// last whole one; [`torn`](Self::torn) says so. A damaged item is an `Err` that says where, and reading
/// goes on behind it as long as that place is known. Holds one item in memory.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: BufReader<File>,
    begun_ms: u64,
    /// Where the next frame begins.
    offset: u64,
    /// Up to where there are whole items.
    whole: u64,
    /// A snapshot of which not all was read, and where it begins.
    parts: Option<(u64, Parts)>,
    version: u16,
    torn: Option<u64>,
    over: bool,
}

/// What stands at a place of a file.
enum Found<T> {
    Frame(T),
    /// The end, or the middle of a frame.
    End {
        torn: bool,
    },
    /// Damage; whether it is known where the next frame begins.
    Damage {
        source: CodecError,
        goes_on: bool,
    },
}

impl Recording {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// It cannot be opened or read, or is no recording of a version that is known here: 1 or 2.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, RecordError> {
        let path = path.into();
        let file =
            File::open(&path).map_err(|source| RecordError::Open { path: path.clone(), source })?;
        Self::of(path, file)
    }

    pub(super) fn of(path: PathBuf, file: File) -> Result<Self, RecordError> {
        let mut recording = Self {
            path,
            file: BufReader::new(file),
            begun_ms: 0,
            offset: 0,
            whole: 0,
            parts: None,
            version: VERSION,
            torn: None,
            over: false,
        };
        let path = recording.path.clone();
        match recording.frame::<Header>()? {
            Found::Frame(header)
                if header.is_ours() && (VERSION_READ_MIN..=VERSION).contains(&header.version) =>
            {
                recording.version = header.version;
                recording.begun_ms = header.begun_ms;
                recording.whole = recording.offset;
            }
            Found::Frame(header) if header.is_ours() => {
                let (found, expected) = (header.version, VERSION);
                return Err(RecordError::UnknownVersion { path, found, expected });
            }
            // Cut before anything was in it.
            Found::End { .. } => {
                recording.torn = Some(0);
                recording.over = true;
            }
            Found::Damage { source: CodecError::UnknownVersion { found }, .. }
                if found >> 4 == FRAME_VERSION >> 4 && recording.names_itself()? =>
            {
                let (found, expected) = (u16::from(found), u16::from(FRAME_VERSION));
                return Err(RecordError::UnknownVersion { path, found, expected });
            }
            Found::Frame(_) | Found::Damage { .. } => {
                return Err(RecordError::NotARecording { path });
            }
        }
        Ok(recording)
    }

    /// Its version.
    pub(super) const fn version(&self) -> u16 {
        self.version
    }

    /// When the file was begun, in milliseconds since the Unix epoch; 0 if it was cut before it said so.
    pub const fn begun_ms(&self) -> u64 {
        self.begun_ms
    }

    /// Where the item begins that the file ends in the middle of, once it was read to the end.
    pub const fn torn(&self) -> Option<u64> {
        self.torn
    }

    /// Up to where whole items were read.
    pub(super) const fn whole(&self) -> u64 {
        self.whole
    }

    /// Where the frame begins that it would read next.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether what follows says that this is a recording, though its frames are not ours.
    fn names_itself(&mut self) -> Result<bool, RecordError> {
        /// Where it would say so, however long a frame's beginning is.
        const WITHIN: usize = 64;
        let mut begin = Vec::new();
        self.read_to(&mut begin, WITHIN)?;
        Ok(begin.windows(MAGIC.len()).any(|bytes| bytes == MAGIC))
    }

    /// What the next frame is.
    fn frame<T: DeserializeOwned>(&mut self) -> Result<Found<T>, RecordError> {
        let mut frame = Vec::with_capacity(256);
        self.read_to(&mut frame, FRAME_HEAD)?;
        let Some((&[version, length @ ..], _)) = frame.split_first_chunk::<FRAME_HEAD>() else {
            let begins = frame.first().is_none_or(|&first| first == FRAME_VERSION);
            return Ok(match frame.first() {
                Some(&found) if !begins => {
                    let source = CodecError::UnknownVersion { found };
                    Found::Damage { source, goes_on: false }
                }
                first => Found::End { torn: first.is_some() },
            });
        };
        let length = u32::from_le_bytes(length) as usize;
        let is_frame = version == FRAME_VERSION && length <= FRAME_BYTES_MAX - FRAME_BYTES_OVERHEAD;
        if is_frame {
            let need = length + FRAME_BYTES_OVERHEAD;
            self.read_to(&mut frame, need)?;
            if frame.len() < need {
                return Ok(Found::End { torn: true });
            }
        }
        Ok(match decode(&frame) {
            Ok((value, used)) => {
                self.offset += used as u64;
                Found::Frame(value)
            }
            Err(source) => {
                self.offset += if is_frame { frame.len() as u64 } else { 0 };
                Found::Damage { source, goes_on: is_frame }
            }
        })
    }

    /// Reads until there are `len` bytes, or the file ends.
    fn read_to(&mut self, frame: &mut Vec<u8>, len: usize) -> Result<(), RecordError> {
        let missing = (len - frame.len()) as u64;
        let read = (&mut self.file).take(missing).read_to_end(frame);
        let failed = |source: io::Error| RecordError::Read {
            path: self.path.clone(),
            offset: self.offset,
            source,
        };
        read.map(drop).map_err(failed)
    }

    fn unknown(&self, offset: u64, reason: String) -> RecordError {
        RecordError::Unknown { path: self.path.clone(), offset, reason }
    }

    /// A snapshot begins here.
    fn parts(
        &mut self,
        begins: u64,
        parts: Result<Parts, String>,
    ) -> Result<Option<TapItem>, RecordError> {
        self.parts = None;
        self.parts = Some((begins, parts.map_err(|reason| self.unknown(begins, reason))?));
        Ok(self.whole_snapshot())
    }

    /// A part of a snapshot is here.
    fn add(
        &mut self,
        begins: u64,
        add: impl FnOnce(&mut Parts) -> Result<(), String>,
    ) -> Result<Option<TapItem>, RecordError> {
        let Some((_, parts)) = &mut self.parts else {
            return Err(self.unknown(begins, "a part of no snapshot".into()));
        };
        if let Err(reason) = add(parts) {
            self.parts = None;
            return Err(self.unknown(begins, reason));
        }
        Ok(self.whole_snapshot())
    }

    fn whole_snapshot(&mut self) -> Option<TapItem> {
        let (_, parts) = self.parts.take_if(|(_, parts)| parts.is_whole())?;
        Some(TapItem::Snapshot(Arc::new(parts.snapshot())))
    }

    fn read(&mut self) -> Result<Option<TapItem>, RecordError> {
        loop {
            let begins = self.offset;
            let frame = match self.frame::<Frame>() {
                Ok(Found::Frame(frame)) => frame,
                Ok(Found::End { torn }) => {
                    self.over = true;
                    let parts = self.parts.take().map(|(begins, _)| begins);
                    self.torn = parts.or(torn.then_some(begins));
                    return Ok(None);
                }
                Ok(Found::Damage { source, goes_on }) => {
                    self.over = !goes_on;
                    self.parts = None;
                    let path = self.path.clone();
                    return Err(RecordError::Damaged { path, offset: begins, source });
                }
                Err(error) => {
                    self.over = true;
                    return Err(error);
                }
            };
            let item = match frame {
                Frame::Rows(rows) => self.add(begins, |parts| parts.add_rows(&rows))?,
                Frame::Concerns(concerns) => {
                    self.add(begins, |parts| parts.add_concerns(&concerns))?
                }
                Frame::Snapshot { seq, rows } => {
                    self.parts(begins, Parts::new(seq, rows, None, 0))?
                }
                Frame::Tree { seq, rows, ailing, concerns } => {
                    self.parts(begins, Parts::new(seq, rows, ailing.as_deref(), concerns))?
                }
                Frame::Lagged { from, to, count } => Some(TapItem::Lagged { from, to, count }),
                Frame::Event(event) => match event.event() {
                    Ok(event) => Some(TapItem::Event(event.into())),
                    Err(reason) => {
                        self.whole = self.offset;
                        return Err(self.unknown(begins, reason));
                    }
                },
            };
            if item.is_some() {
                self.whole = self.offset;
                return Ok(item);
            }
        }
    }
}

impl Iterator for Recording {
    type Item = Result<TapItem, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over { None } else { self.read().transpose() }
    }
}

/// The files of a recording that was rotated, the oldest first: `FILE.2`, `FILE.1`, `FILE`.
pub fn recording_files(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    files.extend((1..).map(|number| rotated(path, number)).take_while(|file| file.exists()));
    files.reverse();
    files
}

/// The name of the file that was rotated `number` times.
pub(super) fn rotated(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Whether there is a whole frame in what follows a torn one: then it is not the end of a file that was
/// cut, but damage.
pub(super) fn holds_a_frame(bytes: &[u8]) -> bool {
    /// Most places that are tried.
    const TRIES_MAX: usize = 10_000;
    let places = bytes.iter().enumerate().skip(1).filter(|&(_, &byte)| byte == FRAME_VERSION);
    places.take(TRIES_MAX).any(|(at, _)| decode::<Frame>(&bytes[at..]).is_ok())
}
