//! The texts of messages.

use std::borrow::Cow;

use coppicer_messages::{Record, RecordClass};
use serde::Deserialize;

use super::replay::payload_of;

/// The text of a message.
pub(super) struct MessageText {
    pub(super) role: String,
    pub(super) text: String,
    pub(super) input_texts: usize,
    pub(super) parts: usize,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Vec<Part<'a>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

/// The text of a message item: its text parts, one after the other. None if it has no list of
/// parts.
pub(super) fn message_text_of(item: &[u8]) -> Option<MessageText> {
    let message: Message<'_> = serde_json::from_slice(item).ok()?;
    let texts = message.content.iter().filter_map(|part| part.text.as_deref());
    Some(MessageText {
        text: texts.collect::<Vec<_>>().concat(),
        role: message.role.into_owned(),
        input_texts: message.content.iter().filter(|part| part.kind == "input_text").count(),
        parts: message.content.len(),
    })
}

/// The text of a record that is a message or mail: its text parts, one after the other. None for
/// any other record.
pub fn text_of(record: &Record) -> Option<String> {
    match record.class {
        RecordClass::UserMessage
        | RecordClass::ContextualUserMessage
        | RecordClass::DeveloperMessage
        | RecordClass::AssistantMessage { .. }
        | RecordClass::Envelope { .. } => {
            let payload = payload_of(&record.raw)?;
            message_text_of(payload.get().as_bytes()).map(|message| message.text)
        }
        _ => None,
    }
}
