//! What a model is shown of a history (REF 6.9).
//!
//! Rollbacks take out whole turns first ([`Outline`]); what is left is replayed from the oldest
//! record on. So a compaction inside a turn that was rolled back never happened (REF loses the
//! history before it), and the result is what it would be had the turns never been.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use coppicer_messages::{CallId, MessagePhase, Raw, Record, RecordClass, Seq, ToolKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::History;
use super::classify::classify_item;
use super::json::Object;
use super::outline::Outline;
use super::valid::{is_marker, items_validity};
use super::write::{aborted_output, message_item};

/// Bytes of user messages that a compaction without a replacement history keeps, newest first.
/// REF keeps 20,000 tokens and counts four bytes as one.
pub const SUMMARISED_USER_BYTES_MAX: usize = 80_000;

/// The items that a model is shown of a history.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ModelView {
    /// In order; valid for a model: each call has one output, after it.
    pub items: Vec<ViewItem>,
    /// The turn context that the next turn's context is a difference to; none if the next turn has
    /// to say all of it.
    pub reference: Option<Seq>,
    /// The turn context of the newest user turn: its model and settings.
    pub settings: Option<Seq>,
}

impl ModelView {
    /// The JSON array of all items.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = vec![b'['];
        for (at, item) in self.items.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(item.payload());
        }
        out.push(b']');
        out
    }
}

/// One response item.
#[derive(Clone)]
pub struct ViewItem {
    /// The record that it is in; for an output made up here, the record of its call.
    pub seq: Seq,
    /// What it is.
    pub class: RecordClass,
    raw: Raw,
    start: usize,
    end: usize,
}

impl ViewItem {
    /// Its JSON object, as the record has it.
    pub fn payload(&self) -> &[u8] {
        &self.raw[self.start..self.end]
    }

    pub(super) fn made(seq: Seq, class: RecordClass, payload: Vec<u8>) -> Self {
        let end = payload.len();
        Self { seq, class, raw: Arc::from(payload), start: 0, end }
    }

    /// An item inside the bytes of a record.
    fn inside(seq: Seq, class: RecordClass, raw: &Raw, item: &RawValue) -> Self {
        // `item` was read from `raw`, so it lies inside of it.
        let start = item.get().as_ptr() as usize - raw.as_ptr() as usize;
        Self { seq, class, raw: raw.clone(), start, end: start + item.get().len() }
    }
}

impl std::fmt::Debug for ViewItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.seq, self.class.name(), String::from_utf8_lossy(self.payload()))
    }
}

#[derive(Deserialize)]
struct LineOf<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct Compacted<'a> {
    #[serde(default)]
    message: String,
    #[serde(borrow, default)]
    replacement_history: Option<Vec<&'a RawValue>>,
}

/// The payload of a line.
pub(super) fn payload_of(line: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice::<LineOf<'_>>(line).ok().map(|line| line.payload)
}

/// The kind and the payload of a line.
pub(super) fn line_of(line: &[u8]) -> Option<(Cow<'_, str>, &str)> {
    let line = serde_json::from_slice::<LineOf<'_>>(line).ok()?;
    Some((line.kind, line.payload.get()))
}

/// What a model is shown of `history`.
///
/// Costs a pass over the whole history.
pub fn model_view(history: &History) -> ModelView {
    let view = view_of(history, &Outline::of(history));
    debug_assert_eq!(items_validity(&view.items), Ok(()), "P9: a view that is not valid");
    view
}

pub(super) fn view_of(history: &History, outline: &Outline) -> ModelView {
    let mut items = Vec::new();
    let mut compacted = None;
    for record in history.iter().filter(|record| outline.counts(record.seq)) {
        match &record.class {
            RecordClass::Compaction { .. } => {
                compacted = Some(record.seq);
                compact(&mut items, record);
            }
            class if class.is_item() => items.extend(item_of(record)),
            _ => {}
        }
    }
    let settings = outline
        .turns()
        .iter()
        .rev()
        .filter(|turn| turn.is_user_turn)
        .find_map(|turn| turn.context)
        .filter(|&context| outline.counts(context));
    let reference =
        settings.filter(|&context| compacted.is_none_or(|compacted| compacted < context));
    let mut items = paired(items);
    items.dedup_by(|item, before| is_marker(item) && is_marker(before));
    ModelView { items, reference, settings }
}

/// The item in a record of an item's class.
fn item_of(record: &Record) -> Option<ViewItem> {
    let line: LineOf<'_> = serde_json::from_slice(&record.raw).ok()?;
    if line.kind == "response_item" {
        return Some(ViewItem::inside(record.seq, record.class.clone(), &record.raw, line.payload));
    }
    // Envelope as a line of its own kind has no item: the model is shown the envelope as text.
    Some(mail_item(record, line.payload.get()))
}

fn mail_item(record: &Record, mail: &str) -> ViewItem {
    let payload = Object::bytes(|object| {
        message_item(object, "assistant", "output_text", mail, MessagePhase::Commentary);
    });
    ViewItem::made(record.seq, record.class.clone(), payload)
}

/// Carries out a compaction on the items so far.
fn compact(items: &mut Vec<ViewItem>, record: &Record) {
    let Some(payload) = payload_of(&record.raw) else {
        return;
    };
    let Ok(compacted) = serde_json::from_str::<Compacted<'_>>(payload.get()) else {
        return;
    };
    if let Some(replacement) = compacted.replacement_history {
        *items = replacement
            .into_iter()
            .filter_map(|item| {
                let class =
                    classify_item(item.get().as_bytes()).ok().filter(RecordClass::is_item)?;
                Some(ViewItem::inside(record.seq, class, &record.raw, item))
            })
            .collect();
        return;
    }
    items.retain(|item| item.class == RecordClass::UserMessage);
    let mut left = SUMMARISED_USER_BYTES_MAX;
    let fitting = items.iter().rev().take_while(|item| {
        let fits = item.payload().len() <= left;
        left = left.saturating_sub(item.payload().len());
        fits
    });
    let keep = fitting.count();
    items.drain(..items.len() - keep);
    let summary =
        if compacted.message.is_empty() { "(no summary available)" } else { &compacted.message };
    let payload = Object::bytes(|object| {
        message_item(object, "user", "input_text", summary, MessagePhase::None);
    });
    items.push(ViewItem::made(record.seq, RecordClass::UserMessage, payload));
}

/// Gives every call one output after it: outputs without a call go, second outputs go, and a call
/// without one is followed by an output that says `aborted`.
fn paired(items: Vec<ViewItem>) -> Vec<ViewItem> {
    // For each call, by place, whether an output of it follows; and the outputs to keep.
    let mut open: HashMap<(CallId, ToolKind), usize> = HashMap::new();
    let mut closed = HashSet::new();
    let mut surplus = HashSet::new();
    let mut calls = 0;
    for (place, item) in items.iter().enumerate() {
        match &item.class {
            RecordClass::ToolCall { call, kind } => {
                calls += 1;
                open.insert((call.clone(), *kind), place);
            }
            RecordClass::ToolOutput { call, kind } => match open.remove(&(call.clone(), *kind)) {
                Some(place) => {
                    closed.insert(place);
                }
                None => {
                    surplus.insert(place);
                }
            },
            _ => {}
        }
    }
    if surplus.is_empty() && closed.len() == calls {
        return items;
    }
    let mut paired = Vec::with_capacity(items.len() + calls - closed.len());
    for (place, item) in items.into_iter().enumerate() {
        if surplus.contains(&place) {
            continue;
        }
        let missing = match &item.class {
            RecordClass::ToolCall { call, kind } if !closed.contains(&place) => {
                Some(closing_item(item.seq, call, *kind))
            }
            _ => None,
        };
        paired.push(item);
        paired.extend(missing);
    }
    paired
}

fn closing_item(seq: Seq, call: &CallId, kind: ToolKind) -> ViewItem {
    let class = RecordClass::ToolOutput { call: call.clone(), kind };
    ViewItem::made(seq, class, Object::bytes(|object| aborted_output(object, call, kind)))
}
