//! What a thread can be asked to do.

use serde::{Deserialize, Serialize};

use crate::{AgentPath, QuestionId, SubmissionId, ThreadId, TraceContext, TurnId};

/// One thing asked of a thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Op {
    /// Input of a user: starts a turn, steers the running one, or queues, as `delivery` allows.
    UserInput {
        /// What was said.
        input: UserInput,
        /// What to do with it while a turn runs.
        #[serde(default)]
        delivery: Delivery,
    },
    /// Mail from another agent: queue-only, or starting a turn.
    AgentMessage {
        /// Who wrote it.
        from: AgentPath,
        /// Its text.
        content: String,
        /// Whether it starts a turn when the thread is idle.
        trigger: bool,
    },
    /// Stop the running turn. Idempotent; nothing happens when none runs.
    Interrupt,
    /// Run a turn that shortens the history in the model's view.
    Compact,
    /// Take back the last user turns. Refused while a turn runs.
    Rollback {
        /// How many; at least 1.
        turns: u32,
    },
    /// Append records without a turn.
    Inject {
        /// The response items, each one JSON object.
        items: Vec<serde_json::Value>,
    },
    /// Change the thread's settings; running turns are not touched.
    UpdateConfig {
        /// The settings to set, a JSON object.
        settings: serde_json::Value,
    },
    /// Build the settings anew from their layers. Refused: layers are not part of this version.
    RefreshConfig,
    /// Answer an engine's question.
    Answer {
        /// Which question.
        question: QuestionId,
        /// The answer, any JSON.
        answer: serde_json::Value,
    },
    /// Give up the actor until the next submission. Refused while a turn runs.
    Hibernate,
    /// Close the thread, with the runtime's default budget. [`ThreadHandle::close`] says more.
    ///
    /// [`ThreadHandle::close`]: https://docs.rs/coppicer
    Close,
}

impl Op {
    /// The wire name of the kind.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UserInput { .. } => "user_input",
            Self::AgentMessage { .. } => "agent_message",
            Self::Interrupt => "interrupt",
            Self::Compact => "compact",
            Self::Rollback { .. } => "rollback",
            Self::Inject { .. } => "inject",
            Self::UpdateConfig { .. } => "update_config",
            Self::RefreshConfig => "refresh_config",
            Self::Answer { .. } => "answer",
            Self::Hibernate => "hibernate",
            Self::Close => "close",
        }
    }

    /// Whether it acts on what runs and therefore never waits behind input.
    pub const fn is_control(&self) -> bool {
        matches!(self, Self::Interrupt | Self::Answer { .. } | Self::Close)
    }
}

/// Input of a user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserInput {
    /// The parts, in order.
    pub parts: Vec<InputPart>,
}

impl UserInput {
    /// A short text that stands for the input: texts as they are, other parts as REF 3.6 names them.
    pub fn preview(&self) -> String {
        let mut preview = String::with_capacity(self.preview_len());
        for (at, part) in self.parts.iter().enumerate() {
            if at > 0 {
                preview.push('\n');
            }
            match part {
                InputPart::Text { text } => preview.push_str(text),
                InputPart::Image { .. } => preview.push_str("[image]"),
                InputPart::LocalImage { path } => {
                    preview.push_str("[local_image:");
                    preview.push_str(path);
                    preview.push(']');
                }
            }
        }
        preview
    }

    /// The length of the [preview](Self::preview) in bytes, without making it.
    pub fn preview_len(&self) -> usize {
        let len = |part: &InputPart| match part {
            InputPart::Text { text } => text.len(),
            InputPart::Image { .. } => "[image]".len(),
            InputPart::LocalImage { path } => "[local_image:]".len() + path.len(),
        };
        let breaks = self.parts.len().saturating_sub(1);
        self.parts.iter().map(len).sum::<usize>() + breaks
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.parts
            .iter()
            .all(|part| matches!(part, InputPart::Text { text } if text.trim().is_empty()))
    }
}

impl<T: Into<String>> From<T> for UserInput {
    fn from(text: T) -> Self {
        Self { parts: vec![InputPart::Text { text: text.into() }] }
    }
}

/// One part of a user's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum InputPart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image by address.
    Image {
        /// Its address, also a `data:` one.
        url: String,
    },
    /// An image in a file of the host.
    LocalImage {
        /// Its path.
        path: String,
    },
}

/// What becomes of input that meets a running turn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Delivery {
    /// It waits for its own turn.
    #[default]
    Queue,
    /// It joins the running turn if that turn can be steered, else it waits for its own turn.
    SteerOrQueue,
    /// It joins the running turn, or is refused.
    Steer {
        /// The turn that must be the running one.
        expected: Option<TurnId>,
    },
    /// It is refused.
    Refuse,
}

/// Something asked of a thread, with the id under which its outcome is kept.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Submission {
    /// The id chosen by the caller; `None` makes one.
    pub id: Option<SubmissionId>,
    /// What is asked.
    pub op: Op,
    /// W3C trace context of the caller: the cause of the turn, for the engine and for tracers. Kept with
    /// the submission; no part of what makes it the same when it is sent again.
    pub trace: Option<TraceContext>,
}

impl Submission {
    /// Asks for `op`, under an id that is made for it.
    pub const fn new(op: Op) -> Self {
        Self { id: None, op, trace: None }
    }

    /// Input of a user that waits for its own turn.
    pub fn input(input: impl Into<UserInput>) -> Self {
        Self::new(Op::UserInput { input: input.into(), delivery: Delivery::Queue })
    }

    /// Names it: sent again under the same id it runs nothing twice (P3).
    #[must_use]
    pub fn with_id(mut self, id: SubmissionId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets what becomes of user input that meets a running turn.
    #[must_use]
    pub fn with_delivery(mut self, how: Delivery) -> Self {
        if let Op::UserInput { delivery, .. } = &mut self.op {
            *delivery = how;
        }
        self
    }

    /// Sets the W3C trace context.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }
}

impl From<Op> for Submission {
    fn from(op: Op) -> Self {
        Self::new(op)
    }
}

impl From<&str> for Submission {
    fn from(text: &str) -> Self {
        Self::input(text)
    }
}

impl From<String> for Submission {
    fn from(text: String) -> Self {
        Self::input(text)
    }
}

/// Mail between agents, as it waits for its reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// Unique within the reader: the same mail told twice is read once.
    pub id: MailId,
    /// Who wrote it; none if it is no thread of this store.
    pub sender: Option<ThreadId>,
    /// The writer's path, or its id where it has none.
    pub author: String,
    /// The reader's path, or its id where it has none.
    pub recipient: String,
    /// The text.
    pub content: String,
    /// Whether it starts a turn when the reader is idle.
    pub trigger: bool,
    /// The W3C trace context of who wrote it; in what tells of the end of a sub-agent, that of its last
    /// turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// Unread mail that a thread is given when it is acquired: the rest is read when there is room for it.
pub const ACQUIRED_MAIL_MAX: usize = 4_096;

/// Mail that is read at once from a mailbox in the store, so that whoever reads it can do something else
/// in between.
pub const MAIL_PAGE_MAX: usize = 256;

/// A place in a thread's mailbox: what comes later has a higher one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailPlace(pub u64);

/// Unread mail from behind a place, and what is behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailPage {
    /// In the order in which it came.
    pub mail: Vec<Mail>,
    /// What is behind it.
    pub rest: MailRest,
}

/// What is behind a page of a mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailRest {
    /// Where the next page begins: the place of the last mail; of a page without any, the one that it was
    /// asked from.
    pub upto: MailPlace,
    /// Whether there is unread mail behind it.
    pub more: bool,
    /// Whether some of that starts a turn.
    pub triggers: bool,
}

/// Names one mail within its reader.
pub type MailId = std::sync::Arc<str>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_op_keeps_its_form_on_the_way_through_json() {
        let op =
            Op::UserInput { input: "ping-1".into(), delivery: Delivery::Steer { expected: None } };
        let json = serde_json::to_string(&op).unwrap();
        assert_eq!(
            json,
            r#"{"user_input":{"input":[{"type":"text","text":"ping-1"}],"delivery":{"steer":{"expected":null}}}}"#
        );
        assert_eq!(serde_json::from_str::<Op>(&json).unwrap(), op);
    }

    #[test]
    fn input_of_blanks_is_empty_and_an_image_is_not() {
        assert!(UserInput::from("  \n").is_empty());
        let image = UserInput { parts: vec![InputPart::Image { url: "x".into() }] };
        assert!(!image.is_empty());
        assert_eq!(image.preview(), "[image]");
    }
}
