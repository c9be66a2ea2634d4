//! The texts of messages.

use std::borrow::Cow;

use coppicer_messages::{Record, RecordClass, ThreadPatch};
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
    #[serde(borrow)]
    content: Content<'a>,
}

/// Envelope as a line of its own has a plain text; every message has parts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    #[serde(borrow)]
    Parts(Vec<Part<'a>>),
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

/// The text of a message item: its text parts, one after the other. None if it has no content.
pub(super) fn message_text_of(item: &[u8]) -> Option<MessageText> {
    let message: Message<'_> = serde_json::from_slice(item).ok()?;
    let role = message.role.into_owned();
    Some(match message.content {
        Content::Text(text) => {
            MessageText { role, text: text.into_owned(), input_texts: 0, parts: 0 }
        }
        Content::Parts(parts) => MessageText {
            role,
            text: parts.iter().filter_map(|part| part.text.as_deref()).collect(),
            input_texts: parts.iter().filter(|part| part.kind == "input_text").count(),
            parts: parts.len(),
        },
    })
}

/// What a list shows of a thread that begins with this message.
pub(crate) fn preview_in(message: &Record) -> Option<String> {
    ThreadPatch::default().with_preview(&text_of(message)?).preview.value()
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
