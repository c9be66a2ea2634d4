//! The form of a recording's frames. A type of its own: what is in memory may change.

use std::sync::Arc;

use coppicer_actors::{AilingStore, Concern, TapItem, TreeRow, TreeSnapshot};
use coppicer_messages::{
    AgentPath, CodecError, Epoch, Event, FRAME_BYTES_MAX, FRAME_BYTES_OVERHEAD, ThreadId,
    ThreadStatus, TurnId, encode,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What tells a recording from other frames.
pub(super) const MAGIC: [u8; 8] = *b"copptap\n";

/// The version of what is in a file that is written now.
pub(super) const VERSION: u16 = 2;

/// The oldest version that is read. Version 1 says of a snapshot its rows alone.
pub(super) const VERSION_READ_MIN: u16 = 1;

/// Rows of a snapshot in one frame.
const ROWS: usize = 256;

/// What needs somebody, of a snapshot, in one frame.
const CONCERNS: usize = 16;

/// Bytes of such parts in one frame, as JSON. One that is larger has a frame of its own.
const FRAME_PARTS_BYTES: usize = 1 << 20;

/// Bytes of a row that a frame holds, and those of its text if it is larger.
const ROW_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_BYTES_OVERHEAD - 64;
const ROW_TEXT_MAX: usize = 64 << 10;

/// The first frame of each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    magic: [u8; 8],
    pub(super) version: u16,
    /// When the file was begun, in milliseconds since the Unix epoch.
    pub(super) begun_ms: u64,
}

impl Header {
    pub(super) const fn new(begun_ms: u64) -> Self {
        Self { magic: MAGIC, version: VERSION, begun_ms }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.magic == MAGIC
    }
}

/// Every other frame.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Frame {
    Event(EventForm),
    Lagged {
        from: u64,
        to: u64,
        count: u64,
    },
    /// A snapshot of version 1 begins, of as many rows.
    Snapshot {
        seq: u64,
        rows: u64,
    },
    /// Rows of the snapshot, each as JSON.
    Rows(Vec<String>),
    /// A snapshot begins, of as many rows and concerns.
    Tree {
        seq: u64,
        rows: u64,
        /// The trouble of the store as JSON, if it cannot write.
        ailing: Option<String>,
        concerns: u64,
    },
    /// Concerns of the snapshot, behind its rows, each as JSON.
    Concerns(Vec<String>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EventForm {
    seq: u64,
    at_ms: u64,
    thread: Option<ThreadId>,
    parent: Option<ThreadId>,
    path: Option<AgentPath>,
    epoch: u64,
    turn: Option<TurnId>,
    /// The fact as JSON.
    fact: String,
}

/// Appends the frames of an item. An event that has no frame, because it is too large for one, stands
/// there as a gap.
pub(super) fn write(item: &TapItem, to: &mut Vec<u8>) -> Result<(), CodecError> {
    match item {
        TapItem::Event(event) => {
            let frame = form(event)
                .map_or_else(|| Ok(gap(event)), |form| encode(&Frame::Event(form)))
                .or_else(|error| match error {
                    CodecError::TooLarge { .. } => Ok(gap(event)),
                    error => Err(error),
                })?;
            to.extend(frame);
        }
        TapItem::Lagged { from, to: last, count } => {
            to.extend(encode(&Frame::Lagged { from: *from, to: *last, count: *count })?);
        }
        TapItem::Snapshot(snapshot) => {
            let (seq, rows) = (snapshot.seq, snapshot.rows.len() as u64);
            let ailing = snapshot.ailing.as_deref().map(json);
            let concerns = snapshot.concerns.len() as u64;
            to.extend(encode(&Frame::Tree { seq, rows, ailing, concerns })?);
            let rows = snapshot.rows.iter().map(|row| row_json(row));
            in_frames(rows, ROWS, Frame::Rows, to)?;
            in_frames(snapshot.concerns.iter().map(json), CONCERNS, Frame::Concerns, to)?;
        }
        // An item that is not known here has no form.
        _ => {}
    }
    Ok(())
}

fn json(part: &impl Serialize) -> String {
    serde_json::to_string(part).unwrap_or_default()
}

/// Parts in frames of at most `count` parts and [`FRAME_PARTS_BYTES`]. One that is larger has one of its own.
fn in_frames(
    parts: impl Iterator<Item = String>,
    count: usize,
    frame: impl Fn(Vec<String>) -> Frame,
    to: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let (mut these, mut bytes) = (Vec::new(), 0);
    for part in parts {
        let full = these.len() == count || bytes + part.len() > FRAME_PARTS_BYTES;
        if full && !these.is_empty() {
            to.extend(encode(&frame(std::mem::take(&mut these)))?);
            bytes = 0;
        }
        bytes += part.len();
        these.push(part);
    }
    if !these.is_empty() {
        to.extend(encode(&frame(these))?);
    }
    Ok(())
}

/// A row, without the end of its texts if no frame would hold it.
fn row_json(row: &TreeRow) -> String {
    let whole = json(row);
    if whole.len() <= ROW_BYTES_MAX {
        return whole;
    }
    let mut row = row.clone();
    match &mut row.status {
        ThreadStatus::Completed(Some(text))
        | ThreadStatus::Errored(text)
        | ThreadStatus::Crashed(text)
        | ThreadStatus::Damaged(text) => cut(text),
        _ => {}
    }
    for name in [&mut row.nickname, &mut row.role].into_iter().flatten() {
        let mut text = name.to_string();
        cut(&mut text);
        *name = text.into();
    }
    json(&row)
}

fn cut(text: &mut String) {
    if text.len() > ROW_TEXT_MAX {
        let end = (0..=ROW_TEXT_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

fn gap(event: &Event) -> Vec<u8> {
    let seq = event.seq;
    encode(&Frame::Lagged { from: seq, to: seq, count: 1 }).unwrap_or_default()
}

fn form(event: &Event) -> Option<EventForm> {
    let Event { seq, at_ms, thread, parent, path, epoch, turn, fact, .. } = event;
    Some(EventForm {
        seq: *seq,
        at_ms: *at_ms,
        thread: *thread,
        parent: *parent,
        path: path.clone(),
        epoch: epoch.0,
        turn: turn.clone(),
        fact: serde_json::to_string(fact).ok()?,
    })
}

impl EventForm {
    /// The event, or what of it is not known.
    pub(super) fn event(self) -> Result<Event, String> {
        let Self { seq, at_ms, thread, parent, path, epoch, turn, fact } = self;
        let fact = serde_json::from_str(&fact).map_err(|error| format!("event {seq}: {error}"))?;
        let mut event = Event::new(fact);
        event.seq = seq;
        event.at_ms = at_ms;
        event.thread = thread;
        event.parent = parent;
        event.path = path;
        event.epoch = Epoch(epoch);
        event.turn = turn;
        Ok(event)
    }
}

/// A snapshot whose parts come in several frames.
#[derive(Debug)]
pub(super) struct Parts {
    seq: u64,
    rows: (u64, Vec<Arc<TreeRow>>),
    ailing: Option<Arc<AilingStore>>,
    concerns: (u64, Vec<Concern>),
}

impl Parts {
    /// One that has so many rows and concerns.
    pub(super) fn new(
        seq: u64,
        rows: u64,
        ailing: Option<&str>,
        concerns: u64,
    ) -> Result<Self, String> {
        let ailing = ailing.map(|ailing| read(ailing, "the trouble of the store")).transpose()?;
        let (rows, concerns) = ((rows, Vec::new()), (concerns, Vec::new()));
        Ok(Self { seq, rows, ailing: ailing.map(Arc::new), concerns })
    }

    pub(super) fn add_rows(&mut self, rows: &[String]) -> Result<(), String> {
        for row in rows {
            self.rows.1.push(Arc::new(read(row, "a row")?));
        }
        Ok(())
    }

    pub(super) fn add_concerns(&mut self, concerns: &[String]) -> Result<(), String> {
        for concern in concerns {
            self.concerns.1.push(read(concern, "what needs somebody")?);
        }
        Ok(())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.rows.1.len() as u64 >= self.rows.0 && self.concerns.1.len() as u64 >= self.concerns.0
    }

    pub(super) fn snapshot(self) -> TreeSnapshot {
        let snapshot = TreeSnapshot::new(self.seq, self.rows.1);
        snapshot.with_ailing(self.ailing).with_concerns(self.concerns.1)
    }
}

fn read<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("{what}: {error}"))
}
