//! The form of a recording's frames. A type of its own: what is in memory may change.

use std::sync::Arc;

use coppicer_actors::{TapItem, TreeRow, TreeSnapshot};
use coppicer_messages::{AgentPath, CodecError, Epoch, Event, ThreadId, TurnId, encode};
use serde::{Deserialize, Serialize};

/// What tells a recording from other frames.
const MAGIC: [u8; 8] = *b"copptap\n";

/// The version of what is in this file.
pub(super) const VERSION: u16 = 1;

/// Rows of a snapshot in one frame.
const ROWS: usize = 256;

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
    /// A snapshot begins, of as many rows.
    Snapshot {
        seq: u64,
        rows: u64,
    },
    /// Rows of the snapshot, each as JSON.
    Rows(Vec<String>),
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
            let rows = snapshot.rows.len() as u64;
            to.extend(encode(&Frame::Snapshot { seq: snapshot.seq, rows })?);
            for rows in snapshot.rows.chunks(ROWS) {
                let json = |row: &Arc<TreeRow>| serde_json::to_string(&**row).unwrap_or_default();
                to.extend(encode(&Frame::Rows(rows.iter().map(json).collect()))?);
            }
        }
        // An item that is not known here has no form.
        _ => {}
    }
    Ok(())
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

/// A snapshot whose rows come in several frames.
#[derive(Debug)]
pub(super) struct Rows {
    seq: u64,
    want: u64,
    have: Vec<Arc<TreeRow>>,
}

impl Rows {
    pub(super) const fn new(seq: u64, want: u64) -> Self {
        Self { seq, want, have: Vec::new() }
    }

    pub(super) fn add(&mut self, rows: &[String]) -> Result<(), String> {
        for row in rows {
            let row = serde_json::from_str(row).map_err(|error| format!("a row: {error}"))?;
            self.have.push(Arc::new(row));
        }
        Ok(())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.have.len() as u64 >= self.want
    }

    pub(super) fn snapshot(self) -> TreeSnapshot {
        TreeSnapshot::new(self.seq, self.have)
    }
}
