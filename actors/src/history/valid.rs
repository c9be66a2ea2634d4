//! What makes a history valid for a model, and the records that make it so (P9).

use std::collections::HashMap;

use coppicer_messages::{CallId, NewRecord, RecordClass, Seq, ToolKind};

use super::{History, Line};

/// The calls of a history that have no output yet, oldest first.
pub fn open_calls(history: &History) -> Vec<OpenCall> {
    let mut open: HashMap<(CallId, ToolKind), Seq> = HashMap::new();
    for record in history {
        match &record.class {
            RecordClass::ToolCall { call, kind } => {
                open.insert((call.clone(), *kind), record.seq);
            }
            RecordClass::ToolOutput { call, kind } => {
                open.remove(&(call.clone(), *kind));
            }
            _ => {}
        }
    }
    let mut open: Vec<_> = open
        .into_iter()
        .map(|((call, kind), seq)| OpenCall { seq, call, kind })
        .collect();
    open.sort_by_key(|call| call.seq);
    open
}

/// A tool call without an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCall {
    /// The record of the call.
    pub seq: Seq,
    /// Its id.
    pub call: CallId,
    /// Which kind of output closes it.
    pub kind: ToolKind,
}

/// The outputs that close the open calls of `history`, in the order of the calls.
pub fn close_open_calls(history: &History, now_ms: u64) -> Vec<NewRecord> {
    open_calls(history)
        .iter()
        .map(|open| Line::aborted_output(now_ms, &open.call, open.kind))
        .collect()
}
