//! Records and turns as the page shows them. Pure.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

use coppicer_actors::{ABORTED_OUTPUT, text_of};
use coppicer_messages::{Record, RecordClass, Seq, StoreError};
use serde::Serialize;
use serde_json::Value;

use crate::bounds::{HISTORY_BYTES_MAX, NAME_MAX, RECORD_TEXT_MAX};
use crate::text::{cut, cut_marked};

/// One record.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Shown {
    pub(crate) seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_ms: Option<u64>,
    pub(crate) class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) call: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    pub(crate) bytes: usize,
    pub(crate) marks: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) raw: Option<String>,
}

/// One record as it is shown. `shared`: the place before which records are those of a fork's base.
pub(crate) fn shown(record: &Record, shared: Seq, raw: bool) -> Shown {
    let mut shown = Shown {
        seq: record.seq.0,
        at_ms: (record.at_ms > 0).then_some(record.at_ms),
        class: record.class.name(),
        bytes: record.raw.len(),
        raw: raw.then(|| String::from_utf8_lossy(&record.raw).into_owned()),
        ..Shown::default()
    };
    let text = match &record.class {
        RecordClass::ToolCall { call, .. } => {
            shown.call = Some(cut(call, NAME_MAX));
            let payload = payload(record);
            shown.name = payload.as_ref().and_then(call_name);
            payload.as_ref().and_then(call_text)
        }
        RecordClass::ToolOutput { call, .. } => {
            shown.call = Some(cut(call, NAME_MAX));
            payload(record).as_ref().and_then(|payload| member_text(payload, "output"))
        }
        RecordClass::TurnStarted { turn } | RecordClass::TurnContext { turn } => {
            shown.turn = turn.as_ref().map(|turn| cut(turn, NAME_MAX));
            None
        }
        RecordClass::TurnCompleted { turn, failed } => {
            shown.turn = turn.as_ref().map(|turn| cut(turn, NAME_MAX));
            shown.marks.extend(failed.then_some("failed"));
            None
        }
        RecordClass::TurnAborted { turn, reason } => {
            shown.turn = turn.as_ref().map(|turn| cut(turn, NAME_MAX));
            shown.reason = Some(reason.as_str());
            None
        }
        RecordClass::RolledBack { turns } => Some(format!("{turns} turns")),
        RecordClass::ErrorEvent => {
            payload(record).as_ref().and_then(|payload| member_text(payload, "message"))
        }
        RecordClass::Opaque => Some(String::from_utf8_lossy(&record.raw).into_owned()),
        _ => text_of(record),
    };
    if closes(&record.class, text.as_deref()) {
        shown.marks.push("closing");
    }
    if record.class == RecordClass::Opaque {
        shown.marks.push("opaque");
    }
    if record.seq < shared {
        shown.marks.push("shared");
    }
    if let Some(text) = text {
        let (text, is_cut) = cut_marked(&text, RECORD_TEXT_MAX);
        shown.text = Some(text);
        shown.marks.extend(is_cut.then_some("cut"));
    }
    shown
}

/// A record that cannot be read.
pub(crate) fn damaged(seq: Seq, reason: &str) -> Shown {
    Shown {
        seq: seq.0,
        class: "damaged",
        text: Some(cut_marked(reason, RECORD_TEXT_MAX).0),
        marks: vec!["damaged"],
        ..Shown::default()
    }
}

/// Where and how a read found damage.
pub(crate) fn damage_of(error: &StoreError) -> Option<(Seq, &str)> {
    match error {
        StoreError::Corrupt { seq, reason, .. } => Some((*seq, reason)),
        _ => None,
    }
}

/// Whether it was written to close what a turn left open.
fn closes(class: &RecordClass, text: Option<&str>) -> bool {
    match class {
        RecordClass::TurnAborted { .. } => true,
        RecordClass::ToolOutput { .. } => text == Some(ABORTED_OUTPUT),
        RecordClass::ContextualUserMessage | RecordClass::DeveloperMessage => {
            text.is_some_and(|text| text.trim_start().starts_with("<turn_aborted>"))
        }
        _ => false,
    }
}

fn payload(record: &Record) -> Option<Value> {
    let mut line: Value = serde_json::from_slice(&record.raw).ok()?;
    line.get_mut("payload").map(Value::take)
}

fn member_text(payload: &Value, member: &str) -> Option<String> {
    match payload.get(member)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

fn call_name(payload: &Value) -> Option<String> {
    let text = |name: &str| payload.get(name).and_then(Value::as_str).map(str::to_owned);
    text("name").or_else(|| text("type")).map(|name| cut(&name, NAME_MAX))
}

fn call_text(payload: &Value) -> Option<String> {
    ["arguments", "input", "action"].into_iter().find_map(|member| member_text(payload, member))
}

/// One turn of a history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct TurnRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turn: Option<String>,
    pub(crate) from_seq: u64,
    pub(crate) to_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to_ms: Option<u64>,
    pub(crate) outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    pub(crate) records: u64,
    pub(crate) calls: Vec<CallRow>,
}

/// One tool call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct CallRow {
    pub(crate) call: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to_ms: Option<u64>,
    pub(crate) closing: bool,
}

/// The last turns of records that follow each other, oldest first, told record by record. Records before
/// the first turn that begins among them belong to one that began earlier, and are left out.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// How many are kept.
    max: usize,
    rows: VecDeque<TurnRow>,
    /// Whether there were more.
    more: bool,
    /// Whether the last one goes on.
    open: bool,
    /// Its calls by their place.
    calls: HashMap<String, usize>,
}

impl Turns {
    pub(crate) fn last(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// The turns, and whether there were more before them.
    pub(crate) fn rows(self) -> (Vec<TurnRow>, bool) {
        (self.rows.into(), self.more)
    }

    /// Takes in the next record.
    pub(crate) fn take(&mut self, record: &Record) {
        let at_ms = (record.at_ms > 0).then_some(record.at_ms);
        if let RecordClass::TurnStarted { .. } = &record.class {
            return self.begin(record, at_ms);
        }
        let Some(turn) = self.rows.back_mut().filter(|_| self.open) else { return };
        turn.to_seq = record.seq.0;
        turn.records += 1;
        match &record.class {
            RecordClass::UserMessage | RecordClass::Envelope { .. } if turn.input.is_none() => {
                turn.input = shown(record, Seq(0), false).text;
            }
            RecordClass::AssistantMessage { .. } => {
                turn.message = shown(record, Seq(0), false).text;
            }
            RecordClass::ToolCall { .. } => {
                let Shown { call, name, .. } = shown(record, Seq(0), false);
                let call = call.unwrap_or_default();
                self.calls.insert(call.clone(), turn.calls.len());
                turn.calls.push(CallRow {
                    call,
                    name,
                    seq: record.seq.0,
                    from_ms: at_ms,
                    to_ms: None,
                    closing: false,
                });
            }
            RecordClass::ToolOutput { .. } => {
                let Shown { call, marks, .. } = shown(record, Seq(0), false);
                if let Some(&place) = call.and_then(|call| self.calls.get(&call)) {
                    turn.calls[place].to_ms = at_ms;
                    turn.calls[place].closing = marks.contains(&"closing");
                }
            }
            RecordClass::TurnCompleted { failed, .. } => {
                turn.outcome = if *failed { "failed" } else { "completed" };
                turn.to_ms = at_ms;
                self.open = false;
            }
            RecordClass::TurnAborted { reason, .. } => {
                turn.outcome = "aborted";
                turn.reason = Some(reason.as_str());
                turn.to_ms = at_ms;
                self.open = false;
            }
            _ => {}
        }
    }

    fn begin(&mut self, record: &Record, at_ms: Option<u64>) {
        self.calls.clear();
        self.open = true;
        self.rows.push_back(TurnRow {
            turn: shown(record, Seq(0), false).turn,
            from_seq: record.seq.0,
            to_seq: record.seq.0,
            from_ms: at_ms,
            to_ms: None,
            outcome: "open",
            reason: None,
            input: None,
            message: None,
            records: 1,
            calls: Vec::new(),
        });
        if self.rows.len() > self.max {
            self.rows.pop_front();
            self.more = true;
        }
    }
}

/// One page of a history, of [`HISTORY_BYTES_MAX`] and at least one record: the first that it is given, or the
/// last.
#[derive(Debug)]
pub(crate) struct Page {
    records: VecDeque<Shown>,
    bytes: usize,
    last: bool,
    /// Whether it was given more.
    full: bool,
}

impl Page {
    pub(crate) const fn of_first() -> Self {
        Self { records: VecDeque::new(), bytes: 0, last: false, full: false }
    }

    pub(crate) const fn of_last() -> Self {
        Self { records: VecDeque::new(), bytes: 0, last: true, full: false }
    }

    /// Takes in the next record. Whether that was enough.
    pub(crate) fn take(&mut self, record: Shown) -> ControlFlow<()> {
        self.bytes += size(&record);
        self.records.push_back(record);
        while self.bytes > HISTORY_BYTES_MAX && self.records.len() > 1 {
            self.full = true;
            let out = if self.last { self.records.pop_front() } else { self.records.pop_back() };
            self.bytes -= out.as_ref().map_or(0, size);
            if !self.last {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes in the page that ends where this one begins, as much of its end as there is room for. Whether that
    /// was enough.
    pub(crate) fn put_before(&mut self, before: Self) -> ControlFlow<()> {
        self.full |= before.full;
        for record in before.records.into_iter().rev() {
            let bytes = size(&record);
            if self.bytes + bytes > HISTORY_BYTES_MAX && !self.records.is_empty() {
                self.full = true;
                break;
            }
            self.bytes += bytes;
            self.records.push_front(record);
        }
        if self.full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub(crate) fn records(self) -> Vec<Shown> {
        self.records.into()
    }
}

/// About how many bytes it is in an answer.
fn size(record: &Shown) -> usize {
    let texts = [&record.text, &record.raw, &record.name, &record.call, &record.turn];
    texts.into_iter().flatten().map(String::len).sum::<usize>() + 128
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
