//! What a model is told of a turn that was cut short (REF 2.7).

use coppicer_messages::AbortReason;

/// What a fork or an interrupt writes for the model to see (REF 2.7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MarkerKind {
    /// Nothing: only the event says that the turn was aborted.
    Disabled,
    /// A user-role message that does not count as one.
    #[default]
    ContextualUser,
    /// A developer-role message.
    Developer,
}

/// What a marker says first, by the reason; for the user's and the developer's voice.
const fn marker_reason(reason: AbortReason) -> [&'static str; 2] {
    match reason {
        AbortReason::Crashed | AbortReason::Failed => [
            "The turn before this ended early because the program that ran it failed.",
            "The turn before this ended early: the program that ran it failed.",
        ],
        AbortReason::BudgetLimited => [
            "The turn before this was stopped because its budget ran out.",
            "The turn before this was stopped: its budget ran out.",
        ],
        _ => [
            "The turn before this was interrupted on purpose.",
            "The user interrupted the turn before this on purpose.",
        ],
    }
}

const MARKER_FOR_USER: &str = "Processes that it started may still be running. A tool call may \
have been carried out in part: look before you repeat it.";

const MARKER_FOR_DEVELOPER: &str = "Processes that it started may still be running, and its last \
tool calls may have been carried out in part. Check the state of things before you repeat any of \
them.";

/// The text of a marker; none if it is disabled.
pub(super) fn marker_text(kind: MarkerKind, reason: AbortReason) -> Option<String> {
    let [to_user, to_developer] = marker_reason(reason);
    let (first, rest) = match kind {
        MarkerKind::Disabled => return None,
        MarkerKind::ContextualUser => (to_user, MARKER_FOR_USER),
        MarkerKind::Developer => (to_developer, MARKER_FOR_DEVELOPER),
    };
    Some(format!("<turn_aborted>\n{first} {rest}\n</turn_aborted>"))
}
