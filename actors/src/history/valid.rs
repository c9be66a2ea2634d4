//! What makes a history valid for a model, and the records that make it so (P9).

use std::collections::HashMap;

use coppicer_messages::{AbortReason, CallId, NewRecord, RecordClass, Seq, ToolKind};

use super::outline::Outline;
use super::replay::{ViewItem, view_of};
use super::turns::{TurnState, turn_state};
use super::{History, Line, MarkerKind};

/// Why a history is not valid for a model (P9).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// A call without an output.
    #[error("item {at}: the call `{call}` has no output")]
    OpenCall {
        /// The place in the list.
        at: usize,
        /// The call.
        call: CallId,
    },
    /// An output whose call does not come before it, or that has one already.
    #[error("item {at}: an output of `{call}`, which is no open call")]
    StrayOutput {
        /// The place in the list.
        at: usize,
        /// The call that it names.
        call: CallId,
    },
    /// The same interruption is told twice.
    #[error("item {at}: a second marker of the same interruption")]
    SecondMarker {
        /// The place in the list.
        at: usize,
    },
    /// A fork has something that its source did not have before the cut, and that closes nothing.
    #[error("record {at} of the fork comes from after the cut, or from nowhere")]
    AfterCut {
        /// The record of the fork.
        at: Seq,
    },
    /// A fork ends with a call without a recorded output.
    #[error("record {at}: the call `{call}` is left open at the end")]
    LeftOpen {
        /// The record of the call.
        at: Seq,
        /// The call.
        call: CallId,
    },
    /// Something that is no response item.
    #[error("item {at}: a {kind} is nothing that a model is shown")]
    NoItem {
        /// The place in the list.
        at: usize,
        /// What it is.
        kind: &'static str,
    },
}

/// Checks that a model can be shown `history`: of what it is shown, each call has exactly one
/// output, after it; each output has a call; an interruption is told once.
///
/// Debug builds check every history that the runtime shows, forks or resumes. Costs a pass over all
/// of it.
///
/// # Errors
/// The first flaw from the front; open calls come last.
pub fn wire_validity(history: &History) -> Result<(), Flaw> {
    items_validity(&view_of(history, &Outline::of(history)).items)
}

/// In debug builds: fails if a model cannot be shown `history`. Nothing in release builds.
pub(crate) fn debug_check(history: &History) {
    debug_assert_eq!(wire_validity(history), Ok(()), "P9: a history that is not valid for a model");
}

/// Checks that a model can be shown `items`: each call has exactly one output, after it; each
/// output has a call; an interruption is told once.
///
/// # Errors
/// The first flaw from the front; open calls come last.
pub fn items_validity(items: &[ViewItem]) -> Result<(), Flaw> {
    let mut open: Vec<(usize, &CallId, ToolKind)> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        match &item.class {
            RecordClass::ToolCall { call, kind } => open.push((at, call, *kind)),
            RecordClass::ToolOutput { call, kind } => {
                let place = open.iter().rposition(|&(_, id, tool)| id == call && tool == *kind);
                match place {
                    Some(place) => drop(open.remove(place)),
                    None => {
                        return Err(Flaw::StrayOutput { at, call: call.clone() });
                    }
                }
            }
            RecordClass::ContextualUserMessage | RecordClass::DeveloperMessage
                if at > 0 && is_marker(item) && is_marker(&items[at - 1]) =>
            {
                return Err(Flaw::SecondMarker { at });
            }
            class if !class.is_item() => {
                return Err(Flaw::NoItem { at, kind: class.name() });
            }
            _ => {}
        }
    }
    match open.first() {
        Some(&(at, call, _)) => Err(Flaw::OpenCall { at, call: call.clone() }),
        None => Ok(()),
    }
}

pub(super) fn is_marker(item: &ViewItem) -> bool {
    says_interrupted(&item.class, item.payload())
}

fn says_interrupted(class: &RecordClass, json: &[u8]) -> bool {
    matches!(class, RecordClass::ContextualUserMessage | RecordClass::DeveloperMessage)
        && contains(json, b"\"<turn_aborted>")
}

/// Whether the model was told already: a writer may have been cut off between the marker and the
/// event.
fn ends_with_marker(history: &History) -> bool {
    let newest = history.iter().rev().find(|record| record.class.is_item());
    newest.is_some_and(|record| says_interrupted(&record.class, &record.raw))
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
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

/// The calls of the newest turn that have no output, oldest first.
///
/// Calls of older turns that were never closed (the files of a crashed REF have such) are not
/// among them: an output that is appended now would stand far behind its call.
/// [`model_view`](super::model_view) closes those in their place.
pub fn open_calls(history: &History) -> Vec<OpenCall> {
    let parts_turns = |class: &RecordClass| {
        matches!(
            class,
            RecordClass::TurnStarted { .. }
                | RecordClass::RolledBack { turns: 1.. }
                | RecordClass::Compaction { .. }
        )
    };
    let start = history.iter().rev().find(|record| parts_turns(&record.class));
    let start = start.map_or(Seq(0), |record| record.seq);
    let mut open: HashMap<(&CallId, ToolKind), Seq> = HashMap::new();
    for record in history.iter_from(start) {
        match &record.class {
            // Of two open calls with one id an output can close the newer one only.
            RecordClass::ToolCall { call, kind } => {
                open.insert((call, *kind), record.seq);
            }
            RecordClass::ToolOutput { call, kind } => {
                open.remove(&(call, *kind));
            }
            _ => {}
        }
    }
    let mut open: Vec<_> = open
        .into_iter()
        .map(|((call, kind), seq)| OpenCall { seq, call: call.clone(), kind })
        .collect();
    open.sort_unstable_by_key(|open| open.seq);
    open
}

/// Whether nothing is open at the end of `history`: no turn runs, and the newest one's calls have
/// their outputs.
pub fn is_settled(history: &History) -> bool {
    !turn_state(history).mid_turn && open_calls(history).is_empty()
}

/// The outputs that close the open calls of the newest turn, in the order of the calls.
pub fn close_open_calls(history: &History, now_ms: u64) -> Vec<NewRecord> {
    open_calls(history)
        .iter()
        .map(|open| Line::aborted_output(now_ms, &open.call, open.kind))
        .collect()
}

/// What ends the unfinished turn of a history, if there is one: outputs for its open calls, the
/// marker that tells the model (only if the turn had an input: otherwise there is nothing to
/// tell), and the event. The marker is written for every reason that cuts a turn short against
/// its will; not for a turn that another one replaced.
///
/// Empty if the history ends at a boundary. Appended, it makes the history end at one.
pub fn close_turn(
    history: &History,
    reason: AbortReason,
    marker: MarkerKind,
    now_ms: u64,
) -> Vec<NewRecord> {
    close_turn_in_state(history, &turn_state(history), reason, marker, now_ms)
}

pub(super) fn close_turn_in_state(
    history: &History,
    state: &TurnState,
    reason: AbortReason,
    marker: MarkerKind,
    now_ms: u64,
) -> Vec<NewRecord> {
    let mut closing = close_open_calls(history, now_ms);
    if !state.mid_turn {
        debug_check_closed(history, &closing);
        return closing;
    }
    let told = matches!(
        reason,
        AbortReason::Interrupted
            | AbortReason::Crashed
            | AbortReason::Failed
            | AbortReason::BudgetLimited
    );
    let tell = told && has_input(history, state) && !ends_with_marker(history);
    let marker = if tell { marker } else { MarkerKind::Disabled };
    closing.extend(Line::interrupted_boundary(now_ms, state.turn.as_deref(), marker, reason));
    debug_check_closed(history, &closing);
    closing
}

/// In debug builds: fails if `closing` does not make the history valid, with its calls closed by
/// records.
fn debug_check_closed(history: &History, closing: &[NewRecord]) {
    if cfg!(debug_assertions) {
        let mut closed = history.clone();
        closed.extend(closing.iter().cloned());
        debug_check(&closed);
        debug_assert_eq!(open_calls(&closed), [], "P9: a call without a recorded output");
    }
}

/// Whether the unfinished turn has anything that a model would wonder about: its user's message,
/// mail, or something that the agent did.
pub(super) fn has_input(history: &History, state: &TurnState) -> bool {
    let Some(start) = state.start else {
        return true;
    };
    history.iter_from(start).any(|record| {
        record.class.is_item()
            && !matches!(
                record.class,
                RecordClass::DeveloperMessage
                    | RecordClass::ContextualUserMessage
                    | RecordClass::OtherItem
            )
    })
}
