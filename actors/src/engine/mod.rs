//! Engines: what a host plugs in to run a turn. The only place where host code runs.

mod clock;
mod context;
mod errors;
mod link;
mod pacing;
mod process;
mod replay;
mod scripted;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use coppicer_messages::{
    AgentPath, Epoch, MessagePhase, Placement, ThreadConfig, ThreadId, TraceContext, TurnId,
    TurnItem,
};
use futures::future::BoxFuture;

use crate::history::History;

pub(crate) use clock::{TurnClock, WaitFor};
pub use context::TurnContext;
pub use errors::{EmitError, HistoryError, TurnStopped};
pub(crate) use link::TurnLink;
#[doc(hidden)]
pub use link::TurnWorld;
pub use pacing::PhaseGuard;
pub(crate) use process::ProcessBook;
pub use process::{ProcessError, ProcessLease};
pub use replay::ReplayEngine;
pub use scripted::{Gate, Script, ScriptedEngine, Step};
#[doc(hidden)]
pub use wait::wait_for;
pub use wait::{WaitError, Waited};

/// Runs the turns of threads: a model loop, an external agent process, a script.
pub trait Engine: Send + Sync + 'static {
    /// Opens what one thread needs, from its history. Called lazily, before the first turn of a
    /// session; again after a crash, a lost session, a rollback or injected records.
    fn open(&self, cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>>;

    /// How much of a thread's history it needs to open a session: all of it, if not said.
    fn reads(&self) -> Reads {
        Reads::Whole
    }
}

/// How much of a thread's history an engine needs to open a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reads {
    /// All of it.
    #[default]
    Whole,
    /// What a model is shown: from the turn of the newest compaction on, where the history has one
    /// that stands for all before it. Opening a long thread costs what came since.
    ModelView,
}

/// What one thread needs while it runs turns. Lost when a turn panics or is killed.
pub trait EngineSession: Send + 'static {
    /// Runs one turn. Must end soon after `cx.cancelled()`. Dropping the future frees what it holds.
    ///
    /// # Errors
    /// An [`EngineError`] says what follows: another attempt, a new session, or the end of the turn.
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>>;

    /// Where the next turn runs, if not where the thread's configuration says. An engine that may
    /// block says [`Placement::Dedicated`].
    fn placement(&self) -> Option<Placement> {
        None
    }
}

/// What an engine learns of a thread when it opens a session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OpenContext {
    /// Which thread.
    pub thread: ThreadId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// Its path, if it has a name.
    pub path: Option<AgentPath>,
    /// What its host settled.
    pub config: Arc<ThreadConfig>,
    /// Its durable records, up to the turn that is about to run; as many of them as the engine
    /// [`reads`](Engine::reads).
    pub history: History,
    pub(crate) processes: ProcessBook,
}

/// What one turn works on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TurnInput {
    /// Which turn.
    pub turn: TurnId,
    /// Which attempt at it, from 1.
    pub attempt: u32,
    /// What kind of turn.
    pub kind: TurnKind,
    /// Input and mail, in order. All of it is in the history already.
    pub items: Arc<[TurnItem]>,
    /// What caused the turn: the W3C trace context of its submission, or of the mail that started it.
    /// [`TurnContext::trace_context`] is the turn's own, for what it calls.
    pub trace: Option<TraceContext>,
}

impl TurnInput {
    /// The text of the users' input, joined by newlines.
    pub fn text(&self) -> String {
        let texts: Vec<String> = self
            .items
            .iter()
            .map(|item| match item {
                TurnItem::Input { input, .. } => input.preview(),
                TurnItem::Mail(mail) => mail.content.clone(),
                _ => String::new(),
            })
            .collect();
        texts.join("\n")
    }
}

/// The kinds of turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TurnKind {
    /// Works on input and mail. Can be steered.
    Regular,
    /// Shortens the history in the model's view. Cannot be steered.
    Compact,
}

impl TurnKind {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Compact => "compact",
        }
    }
}

/// How a turn ended well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnOutput {
    /// The last message. `None`: the last one that was emitted, if any.
    pub message: Option<String>,
}

impl TurnOutput {
    /// Ended, with what was emitted.
    pub const fn done() -> Self {
        Self { message: None }
    }

    /// Ended with this last message, which is not emitted.
    pub fn message(text: impl Into<String>) -> Self {
        Self { message: Some(text.into()) }
    }
}

/// How a turn ended badly, and what follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// It may work soon: the turn is tried again in the same session.
    #[error("{message}")]
    Transient {
        /// What happened.
        message: String,
        /// After which pause; the runtime's own if none is said.
        retry_after: Option<Duration>,
    },
    /// Too much is asked of the model's host: tried again, with twice the pause.
    #[error("the engine is overloaded")]
    Overloaded,
    /// The session is gone: tried again in a new one.
    #[error("the engine's session was lost: {message}")]
    SessionLost {
        /// What happened.
        message: String,
    },
    /// It will not work: the turn fails.
    #[error("{message}")]
    Fatal {
        /// What happened.
        message: String,
    },
    /// The turn was told to stop, and did.
    #[error("stopped")]
    Stopped,
}

impl EngineError {
    /// The turn fails with this message.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::Fatal { message: message.into() }
    }
}

impl From<TurnStopped> for EngineError {
    fn from(_: TurnStopped) -> Self {
        Self::Stopped
    }
}

/// Something that a turn adds to the history.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// A message of the assistant.
    Message {
        /// The text.
        text: String,
        /// Said on the way, or the answer.
        phase: MessagePhase,
    },
    /// A tool call. Its output must follow before the turn ends; else the runtime records one that
    /// says `aborted`.
    ToolCall {
        /// Ties it to its output; unique in the thread.
        call: String,
        /// The tool.
        name: String,
        /// Its arguments, as the model wrote them.
        arguments: String,
    },
    /// The output of a tool call.
    ToolOutput {
        /// The call.
        call: String,
        /// What came back.
        output: String,
    },
    /// A rollout line of any kind, byte for byte: one JSON object with `type` and `payload`.
    Line(Vec<u8>),
}

impl Item {
    /// The answer of the turn.
    pub fn answer(text: impl Into<String>) -> Self {
        Self::Message { text: text.into(), phase: MessagePhase::Final }
    }

    /// A remark on the way.
    pub fn remark(text: impl Into<String>) -> Self {
        Self::Message { text: text.into(), phase: MessagePhase::Commentary }
    }
}
