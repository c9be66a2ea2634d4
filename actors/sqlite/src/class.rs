//! How the class of a record is kept in columns: a kind, a detail, and the id that it names.
//!
//! The numbers stand in every store: none is ever given to something else. A class of a later
//! version is kept as JSON under [`LATER`].

use coppicer_messages::{AbortReason, CallId, MessagePhase, RecordClass, ToolKind, TurnRef};

/// A class in columns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Code<'a> {
    pub(crate) kind: i64,
    pub(crate) detail: i64,
    pub(crate) reference: Option<std::borrow::Cow<'a, str>>,
}

/// The kinds, with the names that the view `records` has for them.
#[cfg(test)]
pub(crate) const KINDS: [(i64, &str); 22] = [
    (META, "meta"),
    (USER_MESSAGE, "user_message"),
    (3, "contextual_user_message"),
    (4, "developer_message"),
    (5, "assistant_message"),
    (6, "envelope"),
    (7, "reasoning"),
    (8, "tool_call"),
    (9, "tool_output"),
    (10, "other_item"),
    (TURN_STARTED, "turn_started"),
    (13, "turn_completed"),
    (14, "turn_aborted"),
    (ROLLED_BACK, "rolled_back"),
    (COMPACTION, "compaction"),
    (TURN_CONTEXT, "turn_context"),
    (18, "user_event"),
    (19, "agent_event"),
    (20, "error_event"),
    (21, "usage"),
    (22, "other"),
    (23, "opaque"),
];

// These six have an index of their own, `record_mark`: they say where a fork may be cut and where the
// model's view begins.
pub(crate) const META: i64 = 1;
pub(crate) const USER_MESSAGE: i64 = 2;
pub(crate) const TURN_STARTED: i64 = 12;
pub(crate) const ROLLED_BACK: i64 = 15;
pub(crate) const COMPACTION: i64 = 16;
pub(crate) const TURN_CONTEXT: i64 = 17;

/// A class that this version has no number for.
const LATER: i64 = 99;

pub(crate) fn encode(class: &RecordClass) -> Code<'_> {
    let plain = |kind| Code { kind, detail: 0, reference: None };
    let detailed = |kind, detail: bool| Code { kind, detail: i64::from(detail), reference: None };
    match class {
        RecordClass::Meta => plain(META),
        RecordClass::UserMessage => plain(USER_MESSAGE),
        RecordClass::ContextualUserMessage => plain(3),
        RecordClass::DeveloperMessage => plain(4),
        RecordClass::AssistantMessage { phase } => {
            let detail = match phase {
                MessagePhase::None => 0,
                MessagePhase::Commentary => 1,
                MessagePhase::Final => 2,
            };
            Code { kind: 5, detail, reference: None }
        }
        RecordClass::Envelope { trigger } => detailed(6, *trigger),
        RecordClass::Reasoning => plain(7),
        RecordClass::ToolCall { call, kind } => tool(8, call, *kind, class),
        RecordClass::ToolOutput { call, kind } => tool(9, call, *kind, class),
        RecordClass::OtherItem => plain(10),
        RecordClass::TurnStarted { turn } => {
            Code { kind: TURN_STARTED, detail: 0, reference: named(turn.as_ref()) }
        }
        RecordClass::TurnCompleted { turn, failed } => {
            Code { kind: 13, detail: i64::from(*failed), reference: named(turn.as_ref()) }
        }
        RecordClass::TurnAborted { turn, reason } => {
            Code { kind: 14, detail: abort_code(*reason), reference: named(turn.as_ref()) }
        }
        RecordClass::RolledBack { turns } => {
            Code { kind: ROLLED_BACK, detail: i64::from(*turns), reference: None }
        }
        RecordClass::Compaction { replaced } => detailed(COMPACTION, *replaced),
        RecordClass::TurnContext { turn } => {
            Code { kind: TURN_CONTEXT, detail: 0, reference: named(turn.as_ref()) }
        }
        RecordClass::UserEvent => plain(18),
        RecordClass::AgentEvent => plain(19),
        RecordClass::ErrorEvent => plain(20),
        RecordClass::Usage => plain(21),
        RecordClass::Other => plain(22),
        RecordClass::Opaque => plain(23),
        later => as_json(later),
    }
}

fn named(turn: Option<&TurnRef>) -> Option<std::borrow::Cow<'_, str>> {
    turn.map(|turn| (&**turn).into())
}

fn as_json(class: &RecordClass) -> Code<'_> {
    let json = serde_json::to_string(class).unwrap_or_default();
    Code { kind: LATER, detail: 0, reference: Some(json.into()) }
}

fn tool<'a>(code: i64, call: &'a CallId, kind: ToolKind, class: &'a RecordClass) -> Code<'a> {
    let detail = match kind {
        ToolKind::Function => 0,
        ToolKind::Custom => 1,
        ToolKind::Search => 2,
        _ => return as_json(class),
    };
    Code { kind: code, detail, reference: Some((&**call).into()) }
}

/// The reasons by number; one of a later version reads as `Other`, as it does in a rollout.
const REASONS: [(i64, AbortReason); 7] = [
    (0, AbortReason::Other),
    (1, AbortReason::Interrupted),
    (2, AbortReason::Replaced),
    (3, AbortReason::ReviewEnded),
    (4, AbortReason::BudgetLimited),
    (5, AbortReason::Crashed),
    (6, AbortReason::Failed),
];

fn abort_code(reason: AbortReason) -> i64 {
    REASONS.iter().find(|(_, known)| *known == reason).map_or(0, |(code, _)| *code)
}

/// The class; none if the columns are of no version that we know.
pub(crate) fn decode(kind: i64, detail: i64, reference: Option<&str>) -> Option<RecordClass> {
    let turn = || reference.map(TurnRef::from);
    let flag = || match detail {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    let tool = || {
        let kind = match detail {
            0 => ToolKind::Function,
            1 => ToolKind::Custom,
            2 => ToolKind::Search,
            _ => return None,
        };
        Some((CallId::from(reference?), kind))
    };
    Some(match kind {
        META => RecordClass::Meta,
        USER_MESSAGE => RecordClass::UserMessage,
        3 => RecordClass::ContextualUserMessage,
        4 => RecordClass::DeveloperMessage,
        5 => RecordClass::AssistantMessage {
            phase: match detail {
                0 => MessagePhase::None,
                1 => MessagePhase::Commentary,
                2 => MessagePhase::Final,
                _ => return None,
            },
        },
        6 => RecordClass::Envelope { trigger: flag()? },
        7 => RecordClass::Reasoning,
        8 => {
            let (call, kind) = tool()?;
            RecordClass::ToolCall { call, kind }
        }
        9 => {
            let (call, kind) = tool()?;
            RecordClass::ToolOutput { call, kind }
        }
        10 => RecordClass::OtherItem,
        TURN_STARTED => RecordClass::TurnStarted { turn: turn() },
        13 => RecordClass::TurnCompleted { turn: turn(), failed: flag()? },
        14 => {
            let reason = REASONS.iter().find(|(code, _)| *code == detail)?.1;
            RecordClass::TurnAborted { turn: turn(), reason }
        }
        ROLLED_BACK => RecordClass::RolledBack { turns: u32::try_from(detail).ok()? },
        COMPACTION => RecordClass::Compaction { replaced: flag()? },
        TURN_CONTEXT => RecordClass::TurnContext { turn: turn() },
        18 => RecordClass::UserEvent,
        19 => RecordClass::AgentEvent,
        20 => RecordClass::ErrorEvent,
        21 => RecordClass::Usage,
        22 => RecordClass::Other,
        23 => RecordClass::Opaque,
        LATER => serde_json::from_str(reference?).ok()?,
        _ => return None,
    })
}

/// The checksum of a record: over its place, its class and its bytes, so that none of them can
/// change unnoticed.
pub(crate) fn checksum(thread: i64, seq: u64, at_ms: u64, code: &Code<'_>, raw: &[u8]) -> i64 {
    let reference = code.reference.as_deref().unwrap_or_default().as_bytes();
    let mut head = [0u8; 49];
    head[..8].copy_from_slice(&thread.to_le_bytes());
    head[8..16].copy_from_slice(&seq.to_le_bytes());
    head[16..24].copy_from_slice(&at_ms.to_le_bytes());
    head[24..32].copy_from_slice(&code.kind.to_le_bytes());
    head[32..40].copy_from_slice(&code.detail.to_le_bytes());
    head[40] = u8::from(code.reference.is_some());
    // Its length, so that a byte cannot move between the two.
    head[41..].copy_from_slice(&(reference.len() as u64).to_le_bytes());
    let mut crc = crc32c::crc32c(&head);
    if !reference.is_empty() {
        crc = crc32c::crc32c_append(crc, reference);
    }
    i64::from(crc32c::crc32c_append(crc, raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_have_the_names_of_their_classes() {
        for (kind, name) in KINDS {
            let class = decode(kind, 0, Some("x")).expect("each kind can be read");
            assert_eq!(class.name(), name);
            assert_eq!(encode(&class).kind, kind);
        }
    }

    #[test]
    fn columns_of_no_known_version_are_told_apart_and_a_later_class_is_kept() {
        assert_eq!(decode(24, 0, None), None);
        assert_eq!(decode(6, 2, None), None);
        assert_eq!(decode(8, 0, None), None, "a call without an id");
        let class = RecordClass::RolledBack { turns: 3 };
        let Code { kind, detail, reference } = as_json(&class);
        assert_eq!(decode(kind, detail, reference.as_deref()), Some(class));
    }

    #[test]
    fn every_column_is_under_the_checksum() {
        let code = |kind, detail, reference: Option<&'static str>| Code {
            kind,
            detail,
            reference: reference.map(Into::into),
        };
        let base = checksum(1, 2, 3, &code(8, 0, Some("ab")), b"cd");
        for other in [
            checksum(2, 2, 3, &code(8, 0, Some("ab")), b"cd"),
            checksum(1, 3, 3, &code(8, 0, Some("ab")), b"cd"),
            checksum(1, 2, 4, &code(8, 0, Some("ab")), b"cd"),
            checksum(1, 2, 3, &code(9, 0, Some("ab")), b"cd"),
            checksum(1, 2, 3, &code(8, 1, Some("ab")), b"cd"),
            checksum(1, 2, 3, &code(8, 0, Some("abc")), b"d"),
            checksum(1, 2, 3, &code(8, 0, None), b"abcd"),
            checksum(1, 2, 3, &code(8, 0, Some("ab")), b"ce"),
        ] {
            assert_ne!(base, other);
        }
    }
}
