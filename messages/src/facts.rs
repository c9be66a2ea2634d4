//! How facts are declared: once, with what they are about. The rest follows from it: the enum, the
//! kind and name of each, and the table.

use std::fmt::Write;

/// One fact, as the table of facts has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FactRow {
    /// Its name on the wire.
    pub event: &'static str,
    /// Its kind, for filters.
    pub kind: crate::EventKind,
    /// When it is told.
    pub when: String,
    /// What it says beside who it is about.
    pub fields: Vec<FactField>,
    /// Whether the journal keeps it, so that a cursor can read it again; otherwise it is ephemeral.
    pub lifecycle: bool,
}

/// One field of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FactField {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it says.
    pub what: String,
}

impl FactField {
    pub(crate) fn of(name: &'static str, lines: &[&str]) -> Self {
        Self { name, what: text(lines) }
    }
}

impl FactRow {
    /// The rows as a table in Markdown.
    pub fn markdown(rows: &[Self]) -> String {
        let mut table =
            String::from("| event | kind | when | fields | kept |\n|---|---|---|---|---|\n");
        for Self { event, kind, when, fields, lifecycle } in rows {
            let fields: Vec<String> = fields
                .iter()
                .map(|FactField { name, what }| format!("`{name}`: {}", what.trim_end_matches('.')))
                .collect();
            let kept = if *lifecycle { "journal" } else { "ephemeral" };
            let (kind, fields) = (kind.name(), fields.join("; "));
            // Writing to a string does not fail.
            let _ = writeln!(table, "| `{event}` | {kind} | {when} | {fields} | {kept} |");
        }
        table
    }
}

/// The lines of a doc comment as one text, without the brackets of its links.
pub(crate) fn text(lines: &[&str]) -> String {
    let words = lines.iter().flat_map(|line| line.split_whitespace());
    words.collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`")
}

/// Longest name of a fact on the wire, in bytes.
const NAME_BYTES_MAX: usize = 48;

/// A name on the wire.
pub(crate) struct WireName([u8; NAME_BYTES_MAX], usize);

impl WireName {
    /// `TurnEnded` as `turn_ended`, as serde has it.
    pub(crate) const fn of(camel: &str) -> Self {
        let camel = camel.as_bytes();
        let mut name = [0; NAME_BYTES_MAX];
        let (mut at, mut len) = (0, 0);
        while at < camel.len() {
            if camel[at].is_ascii_uppercase() && at > 0 {
                name[len] = b'_';
                len += 1;
            }
            name[len] = camel[at].to_ascii_lowercase();
            len += 1;
            at += 1;
        }
        Self(name, len)
    }

    pub(crate) const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.0.split_at(self.1).0) {
            Ok(name) => name,
            Err(_) => panic!("the name of a fact is ASCII"),
        }
    }
}

/// Declares an enum of facts. Each variant says `#[fact(Kind, lifecycle)]` if the journal keeps it, or
/// `#[fact(Kind, ephemeral)]`. A field that came later has `#[serde(default)]`, so that older recordings are read.
macro_rules! facts {
    (@lifecycle lifecycle) => { true };
    (@lifecycle ephemeral) => { false };
    (
        $(#[$attr:meta])*
        pub enum $enum:ident {
            $(
                $(#[doc = $when:literal])+
                #[fact($kind:ident, $kept:ident)]
                $name:ident $({
                    $( $(#[doc = $what:literal])+ $(#[serde($serde:ident)])? $field:ident: $type:ty, )*
                })?,
            )*
        }
    ) => {
        $(#[$attr])*
        pub enum $enum {
            $(
                $(#[doc = $when])+
                #[doc = concat!("\n\nKind `", stringify!($kind), "`, ", stringify!($kept), ".")]
                $name $({
                    $( $(#[doc = $what])+ $(#[serde($serde)])? $field: $type, )*
                })?,
            )*
        }

        impl $enum {
            /// Whether it is kept in the journal and can be read again from a cursor.
            pub const fn is_lifecycle(&self) -> bool {
                match self {
                    $(Self::$name { .. } => facts!(@lifecycle $kept),)*
                }
            }

            /// The kind, for filters.
            pub const fn kind(&self) -> crate::EventKind {
                match self {
                    $(Self::$name { .. } => crate::EventKind::$kind,)*
                }
            }

            /// The name on the wire, such as `turn_ended`.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => {
                        const NAME: crate::facts::WireName =
                            crate::facts::WireName::of(stringify!($name));
                        NAME.as_str()
                    })*
                }
            }

            /// The table of these facts.
            pub fn table() -> Vec<crate::FactRow> {
                vec![$({
                    const NAME: crate::facts::WireName =
                        crate::facts::WireName::of(stringify!($name));
                    crate::FactRow {
                        event: NAME.as_str(),
                        kind: crate::EventKind::$kind,
                        when: crate::facts::text(&[$($when),+]),
                        fields: vec![$($(
                            crate::FactField::of(stringify!($field), &[$($what),+]),
                        )*)?],
                        lifecycle: facts!(@lifecycle $kept),
                    }
                },)*]
            }
        }
    };
}
pub(crate) use facts;

#[cfg(test)]
mod tests {
    use crate::{EventKind, Fact, RuntimeEvent, Seq, ThreadEvent};

    #[test]
    fn a_name_is_the_one_that_serde_writes() {
        let events = [
            Fact::Runtime(RuntimeEvent::SpawnUndone),
            Fact::Runtime(RuntimeEvent::CloseStarted { threads: 1 }),
            Fact::Thread(ThreadEvent::TurnFenced),
            Fact::Thread(ThreadEvent::Delta { text: String::new() }),
            Fact::Thread(ThreadEvent::RecordAppended {
                seq: Seq(0),
                class: crate::RecordClass::Other,
            }),
        ];
        for fact in events {
            let wire = serde_json::to_value(&fact).unwrap();
            let inner = wire.as_object().unwrap().values().next().unwrap();
            assert_eq!(inner["event"], fact.name());
            let row = Fact::table().into_iter().find(|row| row.event == fact.name()).unwrap();
            assert_eq!((row.kind, row.lifecycle), (fact.kind(), fact.is_lifecycle()));
        }
    }

    #[test]
    fn the_table_says_of_each_fact_when_it_is_told_and_what_each_field_is() {
        let table = Fact::table();
        for row in &table {
            assert!(row.when.ends_with('.') && row.when.len() > 10, "{row:?}");
            assert!(row.fields.iter().all(|field| !field.what.is_empty()), "{row:?}");
            assert!(!row.when.contains('|'), "{row:?}");
        }
        let mut names: Vec<_> = table.iter().map(|row| row.event).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), table.len(), "a name stands for one fact");
        let kinds = |kind| table.iter().any(|row| row.kind == kind);
        assert!(EventKind::ALL.into_iter().all(kinds), "a kind without a fact");
        assert!(EventKind::ALL.iter().enumerate().all(|(at, kind)| kind.bit() == 1 << at));
    }

    #[test]
    fn an_event_is_at_least_as_large_as_its_text() {
        let event = |text: &str| {
            crate::Event::new(Fact::Thread(ThreadEvent::Delta { text: text.to_owned() })).bytes()
        };
        assert_eq!(event(&"x".repeat(1_000)) - event(""), 1_000);
        let body = serde_json::json!({ "list": [1, 2.5, null, { "text": "y".repeat(1_000) }] });
        let asked = Fact::Thread(ThreadEvent::QuestionAsked { question: "q".into(), body });
        assert!(crate::Event::new(asked).bytes() > 1_000 + size_of::<crate::Event>());
    }
}
