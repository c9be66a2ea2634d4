//! Records: the durable entries of a thread's history, and the small typed view of each.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Seq, TurnId};

/// One durable entry of a history.
///
/// `raw` is one line of a rollout (without its newline), kept byte for byte, so that an export
/// gives back what was imported. Everything that plans (forks, turn state, rollback, replay into
/// the model's view) works on `class`.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Place in the thread, from 0 without gaps.
    pub seq: Seq,
    /// When it was written, in milliseconds since the Unix epoch; 0 if the line does not say.
    pub at_ms: u64,
    /// What the runtime needs to know of it.
    pub class: RecordClass,
    /// The line, as it was written.
    pub raw: Raw,
}

/// The bytes of a record, shared and never changed.
pub type Raw = Arc<[u8]>;

/// A record that has no place in a history yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRecord {
    /// When it was written, in milliseconds since the Unix epoch; 0 if the line does not say.
    pub at_ms: u64,
    /// What the runtime needs to know of it.
    pub class: RecordClass,
    /// The line, without its newline.
    pub raw: Raw,
}

impl NewRecord {
    /// The record at place `seq`.
    pub fn at(self, seq: Seq) -> Record {
        Record { seq, at_ms: self.at_ms, class: self.class, raw: self.raw }
    }
}

impl From<Record> for NewRecord {
    fn from(record: Record) -> Self {
        Self { at_ms: record.at_ms, class: record.class, raw: record.raw }
    }
}

/// Why a turn was cut short, with the wire names of REF and our own `crashed`, `killed` and `failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AbortReason {
    /// Somebody asked for it, or the thread closed.
    Interrupted,
    /// A new turn took its place.
    Replaced,
    /// A review ended.
    ReviewEnded,
    /// A budget ran out.
    BudgetLimited,
    /// The engine panicked, or the host died in mid-turn.
    Crashed,
    /// The engine gave up with an error.
    Failed,
    /// A reason that this version does not know.
    #[serde(other)]
    Other,
}

impl AbortReason {
    /// The reason with this wire name; [`AbortReason::Other`] for a name of later versions.
    pub fn from_name(name: &str) -> Self {
        match name {
            "interrupted" => Self::Interrupted,
            "replaced" => Self::Replaced,
            "review_ended" => Self::ReviewEnded,
            "budget_limited" => Self::BudgetLimited,
            "crashed" => Self::Crashed,
            "failed" => Self::Failed,
            _ => Self::Other,
        }
    }

    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Replaced => "replaced",
            Self::ReviewEnded => "review_ended",
            Self::BudgetLimited => "budget_limited",
            Self::Crashed => "crashed",
            Self::Failed => "failed",
            Self::Other => "other",
        }
    }
}

/// The small typed view of a record: only what a decision needs.
///
/// Ids inside are shared text; a class owns no part of the record's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RecordClass {
    /// A session meta line. The first of a thread says who it is.
    Meta,
    /// A user's message: a place before which a fork may be cut.
    UserMessage,
    /// A user-role message that the host put there (environment, skills, markers; REF 2.3).
    ContextualUserMessage,
    /// A developer- or system-role message.
    DeveloperMessage,
    /// An assistant's message.
    AssistantMessage {
        /// Whether it is marked as the final answer of its turn.
        phase: MessagePhase,
    },
    /// Mail between agents: an assistant-role commentary message whose text is an envelope, or an
    /// item of kind `agent_message`.
    Envelope {
        /// Whether it starts a turn.
        trigger: bool,
    },
    /// A reasoning item.
    Reasoning,
    /// A tool call that expects an output with the same id.
    ToolCall {
        /// The id that its output repeats.
        call: CallId,
        /// Which kind of output closes it.
        kind: ToolKind,
    },
    /// The output of a tool call.
    ToolOutput {
        /// The id of its call.
        call: CallId,
        /// Which kind of call it closes.
        kind: ToolKind,
    },
    /// A response item without a pair that the model is shown (web search, image generation, …).
    OtherItem,
    /// A turn began.
    TurnStarted {
        /// Its id; none in files that leave it out.
        turn: Option<TurnRef>,
    },
    /// A turn ran to its end.
    TurnCompleted {
        /// Its id; none in files that leave it out.
        turn: Option<TurnRef>,
        /// Whether the line carries an error: the turn gave up.
        failed: bool,
    },
    /// A turn was cut short.
    TurnAborted {
        /// Its id; none in files that leave it out.
        turn: Option<TurnRef>,
        /// Why.
        reason: AbortReason,
    },
    /// The last `turns` user turns do not count any more.
    RolledBack {
        /// How many.
        turns: u32,
    },
    /// The history before was replaced, in the model's view, by a shorter one.
    Compaction {
        /// Whether the record holds the replacement; otherwise it has a summary only.
        replaced: bool,
    },
    /// The settings of a turn.
    TurnContext {
        /// Its id; none in files that leave it out.
        turn: Option<TurnRef>,
    },
    /// The event twin of a user's message (legacy `user_message`, paginated `item_completed`).
    UserEvent,
    /// The event twin of an assistant's message.
    AgentEvent,
    /// An event that marks the running turn as failed.
    ErrorEvent,
    /// Token usage.
    Usage,
    /// Any other event, or a line of a kind that this version does not know. Kept byte for byte.
    Other,
    /// A line that is no JSON object of the expected form. Kept byte for byte; never shown.
    Opaque,
}

/// The phase of an assistant's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MessagePhase {
    /// Not said.
    None,
    /// Said on the way.
    Commentary,
    /// The answer.
    Final,
}

/// The kinds of tool calls that have an output line of their own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ToolKind {
    /// `function_call` and `function_call_output`; also `local_shell_call`.
    Function,
    /// `custom_tool_call` and `custom_tool_call_output`.
    Custom,
    /// `tool_search_call` and `tool_search_output`.
    Search,
}

/// The id that ties a tool call to its output. Any text: it is the engine's.
pub type CallId = Arc<str>;

/// A turn id as a file has it: any text, so also one that is no [`TurnId`].
pub type TurnRef = Arc<str>;

impl RecordClass {
    /// Whether a model may be shown it: a response item of a kind that this version knows.
    pub const fn is_item(&self) -> bool {
        match self {
            Self::UserMessage
            | Self::ContextualUserMessage
            | Self::DeveloperMessage
            | Self::AssistantMessage { .. }
            | Self::Envelope { .. }
            | Self::Reasoning
            | Self::ToolCall { .. }
            | Self::ToolOutput { .. }
            | Self::OtherItem => true,
            Self::Meta
            | Self::TurnStarted { .. }
            | Self::TurnCompleted { .. }
            | Self::TurnAborted { .. }
            | Self::RolledBack { .. }
            | Self::Compaction { .. }
            | Self::TurnContext { .. }
            | Self::UserEvent
            | Self::AgentEvent
            | Self::ErrorEvent
            | Self::Usage
            | Self::Other
            | Self::Opaque => false,
        }
    }

    /// Whether a user turn begins here: a user's message, or any mail (REF 2.3).
    pub const fn is_turn_boundary(&self) -> bool {
        matches!(self, Self::UserMessage | Self::Envelope { .. })
    }

    /// Whether a turn ends here, of itself or cut short.
    pub const fn is_turn_end(&self) -> bool {
        matches!(self, Self::TurnCompleted { .. } | Self::TurnAborted { .. })
    }

    /// A short name for counts and reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::UserMessage => "user_message",
            Self::ContextualUserMessage => "contextual_user_message",
            Self::DeveloperMessage => "developer_message",
            Self::AssistantMessage { .. } => "assistant_message",
            Self::Envelope { .. } => "envelope",
            Self::Reasoning => "reasoning",
            Self::ToolCall { .. } => "tool_call",
            Self::ToolOutput { .. } => "tool_output",
            Self::OtherItem => "other_item",
            Self::TurnStarted { .. } => "turn_started",
            Self::TurnCompleted { .. } => "turn_completed",
            Self::TurnAborted { .. } => "turn_aborted",
            Self::RolledBack { .. } => "rolled_back",
            Self::Compaction { .. } => "compaction",
            Self::TurnContext { .. } => "turn_context",
            Self::UserEvent => "user_event",
            Self::AgentEvent => "agent_event",
            Self::ErrorEvent => "error_event",
            Self::Usage => "usage",
            Self::Other => "other",
            Self::Opaque => "opaque",
        }
    }
}

impl From<&TurnId> for TurnRef {
    fn from(turn: &TurnId) -> Self {
        Arc::from(turn.as_str())
    }
}
