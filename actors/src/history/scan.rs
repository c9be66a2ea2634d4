//! The one pass over a line's JSON: collects the few fields that a class depends on.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::classify::{LineFlaw, decode};
use super::skipped::check_what_is_skipped;

/// The envelope of a line.
#[derive(Debug, Default)]
pub(super) struct ScannedLine<'a> {
    pub(super) timestamp: Option<Cow<'a, str>>,
    pub(super) ordinal: Option<u64>,
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) payload: Option<Payload<'a>>,
}

/// The fields of a payload, of whatever kind. Fields of an unexpected type are [`Value::Other`].
#[derive(Debug, Default)]
pub(super) struct Payload<'a> {
    pub(super) kind: Value<'a>,
    pub(super) role: Value<'a>,
    pub(super) phase: Value<'a>,
    pub(super) execution: Value<'a>,
    pub(super) call_id: Value<'a>,
    pub(super) turn_id: Value<'a>,
    pub(super) reason: Value<'a>,
    pub(super) cause: Value<'a>,
    pub(super) num_turns: Option<u64>,
    pub(super) trigger_turn: Value<'a>,
    pub(super) error: Value<'a>,
    pub(super) error_info: Value<'a>,
    pub(super) item_kind: Value<'a>,
    pub(super) has_id: bool,
    pub(super) replaced: bool,
    pub(super) content: Vec<Part<'a>>,
}

/// A part of a message's content that has a text.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) kind: PartKind,
    pub(super) text: Option<&'a RawValue>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartKind {
    InputText,
    OutputText,
    Other,
}

/// A value of any kind, of which only small ones are kept.
#[derive(Debug, Default)]
pub(super) enum Value<'a> {
    #[default]
    Missing,
    Null,
    Flag(bool),
    Text(Cow<'a, str>),
    List,
    Other,
}

impl Value<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_present(&self) -> bool {
        !matches!(self, Self::Missing | Self::Null)
    }
}

/// What an envelope of mail between agents must have.
#[derive(Debug, serde::Deserialize)]
pub(super) struct MailFields {
    author: IsText,
    recipient: IsText,
    content: IsText,
    #[serde(rename = "trigger_turn")]
    pub(super) trigger: bool,
}

impl MailFields {
    pub(super) fn is_sound(&self) -> bool {
        self.author.0 && self.recipient.0 && self.content.0
    }
}

pub(super) fn scan_line(text: &str) -> Result<ScannedLine<'_>, LineFlaw> {
    check_what_is_skipped(text)?;
    serde_json::from_str(text).map_err(|error| flaw(&error))
}

pub(super) fn scan_payload(text: &str) -> Result<Payload<'_>, LineFlaw> {
    check_what_is_skipped(text)?;
    serde_json::from_str(text).map_err(|error| flaw(&error))
}

/// The mail that is written as JSON in a text; none if the text is something else.
pub(super) fn first_text_object(raw: &RawValue) -> Option<MailFields> {
    let text = decode(raw)?;
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str(&text).ok()
}

pub(super) fn flaw(error: &serde_json::Error) -> LineFlaw {
    let mut what = error.to_string();
    // The line is one line: only the column helps.
    if let Some(at) = what.find(" at line 1 column") {
        let column = what.split_off(at + " at line 1".len());
        what.truncate(at);
        what.push_str(" at");
        what.push_str(&column);
    }
    if error.is_data() { LineFlaw::Malformed { what } } else { LineFlaw::NotJson { what } }
}

/// Reads one field, refusing a second one of the same name.
fn once<'de, T, A: MapAccess<'de>>(
    map: &mut A,
    slot: &mut T,
    is_empty: impl Fn(&T) -> bool,
    name: &'static str,
    read: impl FnOnce(&mut A) -> Result<T, A::Error>,
) -> Result<(), A::Error> {
    if !is_empty(slot) {
        return Err(de::Error::duplicate_field(name));
    }
    *slot = read(map)?;
    Ok(())
}

macro_rules! keys {
    ($name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        #[derive(Clone, Copy)]
        enum $name { $($variant,)* Unknown }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Key;
                impl Visitor<'_> for Key {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a field name")
                    }
                    fn visit_str<E>(self, text: &str) -> Result<$name, E> {
                        Ok(match text { $($text => $name::$variant,)* _ => $name::Unknown })
                    }
                }
                deserializer.deserialize_identifier(Key)
            }
        }
    };
}

keys!(LineKey { Timestamp = "timestamp", Ordinal = "ordinal", Kind = "type", Payload = "payload" });
keys!(PayloadKey {
    Kind = "type",
    Id = "id",
    Role = "role",
    Phase = "phase",
    Execution = "execution",
    CallId = "call_id",
    TurnId = "turn_id",
    Reason = "reason",
    Cause = "cause",
    NumTurns = "num_turns",
    TriggerTurn = "trigger_turn",
    Error = "error",
    ErrorInfo = "codex_error_info",
    Item = "item",
    ReplacementHistory = "replacement_history",
    Content = "content",
});
keys!(PartKey { Kind = "type", Text = "text" });

impl<'de: 'a, 'a> Deserialize<'de> for ScannedLine<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Line;
        impl<'de> Visitor<'de> for Line {
            type Value = ScannedLine<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut line = ScannedLine::default();
                let (mut timestamp, mut kind) = <(Value<'_>, Value<'_>)>::default();
                let mut ordinal = None;
                while let Some(key) = map.next_key()? {
                    match key {
                        LineKey::Timestamp => value(&mut map, &mut timestamp, "timestamp")?,
                        LineKey::Ordinal => number(&mut map, &mut ordinal, "ordinal")?,
                        LineKey::Kind => value(&mut map, &mut kind, "type")?,
                        LineKey::Payload => {
                            once(&mut map, &mut line.payload, Option::is_none, "payload", |map| {
                                map.next_value().map(Some)
                            })?;
                        }
                        LineKey::Unknown => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                line.timestamp = into_text(timestamp);
                line.kind = into_text(kind);
                line.ordinal = whole(ordinal);
                Ok(line)
            }
        }
        deserializer.deserialize_map(Line)
    }
}

fn into_text(value: Value<'_>) -> Option<Cow<'_, str>> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

fn value<'de, A: MapAccess<'de>>(
    map: &mut A,
    slot: &mut Value<'de>,
    name: &'static str,
) -> Result<(), A::Error> {
    once(map, slot, |slot| matches!(slot, Value::Missing), name, MapAccess::next_value)
}

/// A number as text: what it looks like to a visitor depends on features of `serde_json` that a
/// host may turn on.
fn number<'de, A: MapAccess<'de>>(
    map: &mut A,
    slot: &mut Option<&'de RawValue>,
    name: &'static str,
) -> Result<(), A::Error> {
    once(map, slot, Option::is_none, name, |map| map.next_value().map(Some))
}

/// The number, if it is a whole one.
fn whole(number: Option<&RawValue>) -> Option<u64> {
    number?.get().parse().ok()
}

impl<'de: 'a, 'a> Deserialize<'de> for Payload<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Payload<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object as payload")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut to = Payload::default();
                let (mut history, mut content) = (Value::Missing, None);
                let (mut item, mut num_turns) = (None, None);
                while let Some(key) = map.next_key()? {
                    match key {
                        PayloadKey::Kind => value(&mut map, &mut to.kind, "type")?,
                        PayloadKey::Id => {
                            to.has_id = true;
                            map.next_value::<IgnoredAny>()?;
                        }
                        PayloadKey::Role => value(&mut map, &mut to.role, "role")?,
                        PayloadKey::Phase => value(&mut map, &mut to.phase, "phase")?,
                        PayloadKey::Execution => value(&mut map, &mut to.execution, "execution")?,
                        PayloadKey::CallId => value(&mut map, &mut to.call_id, "call_id")?,
                        PayloadKey::TurnId => value(&mut map, &mut to.turn_id, "turn_id")?,
                        PayloadKey::Reason => value(&mut map, &mut to.reason, "reason")?,
                        PayloadKey::Cause => value(&mut map, &mut to.cause, "cause")?,
                        PayloadKey::NumTurns => number(&mut map, &mut num_turns, "num_turns")?,
                        PayloadKey::TriggerTurn => {
                            value(&mut map, &mut to.trigger_turn, "trigger_turn")?;
                        }
                        PayloadKey::Error => value(&mut map, &mut to.error, "error")?,
                        PayloadKey::ErrorInfo => {
                            value(&mut map, &mut to.error_info, "codex_error_info")?;
                        }
                        PayloadKey::Item => {
                            once(&mut map, &mut item, Option::is_none, "item", |map| {
                                map.next_value::<Kinded<'de>>().map(Some)
                            })?;
                        }
                        PayloadKey::ReplacementHistory => {
                            value(&mut map, &mut history, "replacement_history")?;
                        }
                        PayloadKey::Content => {
                            once(&mut map, &mut content, Option::is_none, "content", |map| {
                                map.next_value::<Parts<'de>>().map(Some)
                            })?;
                        }
                        PayloadKey::Unknown => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                to.num_turns = whole(num_turns);
                to.replaced = matches!(history, Value::List);
                to.content = content.map(|Parts(parts)| parts).unwrap_or_default();
                to.item_kind = item.map(|Kinded(kind)| kind).unwrap_or_default();
                Ok(to)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Expands to the visits of values that a visitor takes note of but does not look into.
macro_rules! visit_others {
    ($de:lifetime, $value:expr; $($what:ident),*) => { $(visit_others!(@$what $de, $value);)* };
    (@scalars $de:lifetime, $value:expr) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok($value) }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok($value) }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok($value) }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok($value) }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok($value) }
    };
    (@text $de:lifetime, $value:expr) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok($value) }
    };
    (@list $de:lifetime, $value:expr) => {
        fn visit_seq<A: SeqAccess<$de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
    (@object $de:lifetime, $value:expr) => {
        fn visit_map<A: MapAccess<$de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
                Ok(Value::Flag(flag))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Value::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Value::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Value::Other)
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Value::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Value::Text(Cow::Owned(text.to_owned())))
            }
            visit_others!('de, Value::List; list);
            visit_others!('de, Value::Other; object);
        }
        deserializer.deserialize_any(Any)
    }
}

/// The `type` of an object; missing for any other value.
#[derive(Debug, Default)]
struct Kinded<'a>(Value<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Kinded<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Item;
        impl<'de> Visitor<'de> for Item {
            type Value = Kinded<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an item")
            }
            visit_others!('de, Kinded::default(); scalars, text, list);
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut kind = Value::Missing;
                while let Some(key) = map.next_key()? {
                    match key {
                        PartKey::Kind => value(&mut map, &mut kind, "type")?,
                        PartKey::Text | PartKey::Unknown => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Kinded(kind))
            }
        }
        deserializer.deserialize_any(Item)
    }
}

/// The parts of a message; none if its content is no list.
struct Parts<'a>(Vec<Part<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of parts")
            }
            visit_others!('de, Parts(Vec::new()); scalars, text, object);
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = list.next_element()? {
                    parts.push(part);
                }
                Ok(Parts(parts))
            }
        }
        deserializer.deserialize_any(List)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Part<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Part<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part")
            }
            visit_others!('de, Part { kind: PartKind::Other, text: None }; scalars, text, list);
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut kind, mut text) = (Value::Missing, None);
                while let Some(key) = map.next_key()? {
                    match key {
                        PartKey::Kind => value(&mut map, &mut kind, "type")?,
                        PartKey::Text => {
                            once(&mut map, &mut text, Option::is_none, "text", |map| {
                                map.next_value::<&'de RawValue>().map(Some)
                            })?;
                        }
                        PartKey::Unknown => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let kind = match kind.text() {
                    Some("input_text") => PartKind::InputText,
                    Some("output_text") => PartKind::OutputText,
                    _ => PartKind::Other,
                };
                Ok(Part { kind, text })
            }
        }
        deserializer.deserialize_any(Fields)
    }
}

/// Whether a value is a text.
#[derive(Debug)]
struct IsText(bool);

impl<'de> Deserialize<'de> for IsText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(matches!(value, Value::Text(_))))
    }
}
