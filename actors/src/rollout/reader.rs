//! Reads rollout lines one by one, with bounded memory.

use std::io::{self, BufRead};
use std::sync::Arc;

use coppicer_messages::{NewRecord, RecordClass};

use crate::history::{Classified, LineFlaw, classify};

/// Longest line that is taken, in bytes without its newline. A longer one is damage, and is
/// skipped without being held in memory. As large as the largest record of a store.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One line of a rollout.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RolloutLine {
    /// A record. [`RecordClass::Opaque`] if it is damaged; then `damage` says why.
    Record {
        /// The record, byte for byte.
        record: NewRecord,
        /// Its number, in a file of the paginated mode.
        ordinal: Option<u64>,
        /// What is wrong with it.
        damage: Option<Damage>,
    },
    /// A line of white space, byte for byte without its newline.
    Blank(Vec<u8>),
    /// A line that is not given: too long, or torn.
    Skipped(Damage),
}

/// A line that is no sound record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Damage {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: DamageReason,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamageReason {
    /// It is no sound record.
    #[error(transparent)]
    Flaw(LineFlaw),
    /// It is longer than [`LINE_BYTES_MAX`].
    #[error("{bytes} bytes, more than {LINE_BYTES_MAX}")]
    TooLong {
        /// Its length in bytes.
        bytes: u64,
    },
    /// The file ends inside of it: its writer was killed.
    #[error("the file ends inside this line after {bytes} bytes")]
    TornTail {
        /// How much of it is there, in bytes.
        bytes: u64,
    },
}

/// Reads a rollout line by line.
#[derive(Debug)]
pub struct RolloutReader<R> {
    input: R,
    line: u64,
    buffer: Vec<u8>,
    ends_with_newline: bool,
}

impl<R: BufRead> RolloutReader<R> {
    /// A reader from the front of `input`.
    pub fn new(input: R) -> Self {
        Self { input, line: 0, buffer: Vec::new(), ends_with_newline: true }
    }

    /// Whether the newest line that was read ended with a newline; true before the first.
    pub fn ends_with_newline(&self) -> bool {
        self.ends_with_newline
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// As the input. After an error nothing more can be read.
    pub fn next_line(&mut self) -> io::Result<Option<RolloutLine>> {
        let Some(bytes) = self.fill()? else {
            return Ok(None);
        };
        self.line += 1;
        let line = self.line;
        if bytes > LINE_BYTES_MAX as u64 {
            return Ok(Some(RolloutLine::Skipped(Damage {
                line,
                reason: DamageReason::TooLong { bytes },
            })));
        }
        if self.buffer.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(RolloutLine::Blank(self.buffer.clone())));
        }
        let Classified { class, at_ms, ordinal, flaw } = classify(&self.buffer);
        let is_torn = !self.ends_with_newline
            && matches!(flaw, Some(LineFlaw::NotJson { .. } | LineFlaw::NotUtf8 { .. }));
        if is_torn {
            return Ok(Some(RolloutLine::Skipped(Damage {
                line,
                reason: DamageReason::TornTail { bytes },
            })));
        }
        debug_assert_eq!(flaw.is_some(), class == RecordClass::Opaque);
        Ok(Some(RolloutLine::Record {
            record: NewRecord { at_ms, class, raw: Arc::from(self.buffer.as_slice()) },
            ordinal,
            damage: flaw.map(|flaw| Damage { line, reason: DamageReason::Flaw(flaw) }),
        }))
    }

    /// Reads up to and with the next newline. Gives the line's length without it; of a line that is
    /// too long the buffer has nothing.
    fn fill(&mut self) -> io::Result<Option<u64>> {
        self.buffer.clear();
        let mut bytes = 0u64;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                let has_more = bytes > 0;
                if has_more {
                    self.ends_with_newline = false;
                }
                return Ok(has_more.then_some(bytes));
            }
            let newline = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..newline.unwrap_or(chunk.len())];
            bytes += part.len() as u64;
            if bytes <= LINE_BYTES_MAX as u64 {
                self.buffer.extend_from_slice(part);
            } else {
                self.buffer = Vec::new();
            }
            let used = part.len() + usize::from(newline.is_some());
            self.input.consume(used);
            if newline.is_some() {
                self.ends_with_newline = true;
                return Ok(Some(bytes));
            }
        }
    }
}

impl<R: BufRead> Iterator for RolloutReader<R> {
    type Item = io::Result<RolloutLine>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line().transpose()
    }
}
