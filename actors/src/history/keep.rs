//! What a sub-agent inherits of its parent's history (REF 2.10).

use std::sync::Arc;

use coppicer_messages::{MessagePhase, NewRecord, Record, RecordClass};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Line;
use super::fork::KeptRecord;
use super::replay::payload_of;
use super::text::message_text_of;

/// What a sub-agent inherits: what was said to and by its parent, but not how it worked.
///
/// Messages of users, developers and the system, final answers, events and compactions stay.
/// Commentary, mail, reasoning and tool calls do not. Turn contexts stay only with the whole
/// history, so that the child can tell what changed. Rolled-back turns and session metas of the
/// parent are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeepRules {
    all: bool,
    dropped_hints: Vec<String>,
    hint: Option<String>,
}

impl KeepRules {
    /// The rules for a sub-agent.
    pub fn for_subagent() -> Self {
        Self::default()
    }

    /// No rule but the rollbacks.
    pub(super) fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Leaves out developer messages whose only text is one of these: the parent's usage hints.
    #[must_use]
    pub fn without_hints(mut self, hints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.dropped_hints.extend(hints.into_iter().map(Into::into));
        self
    }

    /// Adds a developer message at the end of a whole history: the child's usage hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Which of the records that close the parent's unfinished turn the child gets: its calls and
    /// the marker are not the child's business.
    pub(super) fn closes_with(&self, class: &RecordClass) -> bool {
        self.all || matches!(class, RecordClass::TurnAborted { .. })
    }

    pub(super) fn hint(&self, whole: bool, now_ms: u64) -> Option<NewRecord> {
        let hint = self.hint.as_deref().filter(|_| whole)?;
        Some(Line::developer_item(now_ms, hint))
    }

    /// What the child gets of this record.
    pub(super) fn keep(&self, record: &Record, whole: bool) -> Option<KeptRecord> {
        let same = KeptRecord::Same(record.seq);
        if record.class == RecordClass::Meta {
            return None;
        }
        if self.all {
            return Some(same);
        }
        match &record.class {
            RecordClass::DeveloperMessage => {
                let is_hint = payload_of(&record.raw).is_some_and(|item| self.is_hint(item));
                (!is_hint).then_some(same)
            }
            RecordClass::AssistantMessage { phase: MessagePhase::Final }
            | RecordClass::UserMessage
            | RecordClass::ContextualUserMessage
            | RecordClass::TurnStarted { .. }
            | RecordClass::TurnCompleted { .. }
            | RecordClass::TurnAborted { .. }
            | RecordClass::RolledBack { .. }
            | RecordClass::UserEvent
            | RecordClass::AgentEvent
            | RecordClass::ErrorEvent
            | RecordClass::Usage
            | RecordClass::Other => Some(same),
            RecordClass::Compaction { .. } => {
                Some(self.without_hints_inside(record).unwrap_or(same))
            }
            RecordClass::TurnContext { .. } => whole.then_some(same),
            _ => None,
        }
    }

    fn is_hint(&self, item: &RawValue) -> bool {
        !self.dropped_hints.is_empty()
            && message_text_of(item.get().as_bytes()).is_some_and(|message| {
                message.role == "developer"
                    && message.input_texts == 1
                    && message.parts == 1
                    && self.dropped_hints.contains(&message.text)
            })
    }

    /// The compaction without the hints in its replacement history; none if it has none.
    fn without_hints_inside(&self, record: &Record) -> Option<KeptRecord> {
        #[derive(Deserialize)]
        struct Compacted<'a> {
            #[serde(borrow)]
            replacement_history: &'a RawValue,
        }
        if self.dropped_hints.is_empty() {
            return None;
        }
        let compacted: Compacted<'_> = serde_json::from_str(payload_of(&record.raw)?.get()).ok()?;
        let list = compacted.replacement_history.get();
        let items: Vec<&RawValue> = serde_json::from_str(list).ok()?;
        let kept: Vec<&str> =
            items.iter().filter(|item| !self.is_hint(item)).map(|item| item.get()).collect();
        if kept.len() == items.len() {
            return None;
        }
        // The list was read from the line, so it lies inside of it.
        let start = list.as_ptr() as usize - record.raw.as_ptr() as usize;
        let mut raw = record.raw[..start].to_vec();
        raw.push(b'[');
        raw.extend_from_slice(kept.join(",").as_bytes());
        raw.push(b']');
        raw.extend_from_slice(&record.raw[start + list.len()..]);
        let record_without =
            NewRecord { at_ms: record.at_ms, class: record.class.clone(), raw: Arc::from(raw) };
        Some(KeptRecord::Rewritten { of: record.seq, record: record_without })
    }
}
