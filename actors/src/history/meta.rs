//! Session metas: who a thread is, as the first line of its file says.

use std::collections::BTreeMap;

use coppicer_messages::{Record, ThreadId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::History;
use super::clock::parse_timestamp;

/// Who a thread is (REF 6.3). The first session meta of a file is the one that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionMeta {
    /// The thread.
    pub id: ThreadId,
    /// The thread that it was forked from.
    pub forked_from: Option<ThreadId>,
    /// The thread that spawned it.
    pub parent: Option<ThreadId>,
    /// Where its history begins, if not in its own file (paginated mode).
    pub history_base: Option<HistoryBase>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: Option<u64>,
    /// Its working directory.
    pub cwd: String,
    /// The program that made it.
    pub originator: String,
    /// The version of that program.
    pub cli_version: String,
    /// What kind of client or agent it is.
    pub source: SessionSource,
    /// The name of the agent.
    pub agent_nickname: Option<String>,
    /// The role of the agent.
    pub agent_role: Option<String>,
    /// The path of the agent in its tree.
    pub agent_path: Option<String>,
    /// The model provider.
    pub model_provider: Option<String>,
    /// The instructions that lead every request.
    pub base_instructions: Option<String>,
    /// How the file is kept; none in files of versions that knew one way only.
    pub history_mode: Option<HistoryMode>,
}

impl SessionMeta {
    /// The meta of a new root thread.
    pub fn new(id: ThreadId, cwd: impl Into<String>) -> Self {
        Self {
            id,
            forked_from: None,
            parent: None,
            history_base: None,
            created_ms: None,
            cwd: cwd.into(),
            originator: "coppicer".into(),
            cli_version: env!("CARGO_PKG_VERSION").into(),
            source: SessionSource::Cli,
            agent_nickname: None,
            agent_role: None,
            agent_path: None,
            model_provider: None,
            base_instructions: None,
            history_mode: None,
        }
    }

    /// Makes it the meta of a sub-agent.
    #[must_use]
    pub fn spawned_by(mut self, spawn: ThreadSpawn) -> Self {
        self.parent = Some(spawn.parent);
        self.agent_path.clone_from(&spawn.agent_path);
        self.agent_nickname.clone_from(&spawn.agent_nickname);
        self.agent_role.clone_from(&spawn.agent_role);
        self.source = SessionSource::ThreadSpawn(spawn);
        self
    }

    /// Makes it the meta of a fork of `source`.
    #[must_use]
    pub fn forked_from(mut self, source: ThreadId) -> Self {
        self.forked_from = Some(source);
        self
    }

    /// Takes over from the source of a fork what this meta does not say: the instructions that lead
    /// every request (REF 2.8), the model provider, and the directory if it is none or the root.
    #[must_use]
    pub fn inheriting(self, source: &History) -> Self {
        self.inheriting_of(source.own_meta())
    }

    /// The same, from the source's own meta line.
    pub(super) fn inheriting_of(mut self, line: Option<&Record>) -> Self {
        if let Some(theirs) = line.and_then(|record| Self::parse(&record.raw).ok()) {
            self.base_instructions = self.base_instructions.or(theirs.base_instructions);
            self.model_provider = self.model_provider.or(theirs.model_provider);
            if matches!(self.cwd.as_str(), "" | "/") {
                self.cwd = theirs.cwd;
            }
        }
        self
    }

    /// How deep in its tree the thread is: 0 for a root.
    pub fn depth(&self) -> u32 {
        match &self.source {
            SessionSource::ThreadSpawn(spawn) => spawn.depth,
            _ => 0,
        }
    }

    /// Reads the meta in a `session_meta` line.
    ///
    /// # Errors
    /// If the line is no session meta, or its id is no UUID.
    pub fn parse(line: &[u8]) -> Result<Self, MetaError> {
        let line: MetaLine<'_> = serde_json::from_slice(line)
            .map_err(|error| MetaError::Malformed { what: error.to_string() })?;
        if line.kind != "session_meta" {
            return Err(MetaError::Malformed { what: format!("a line of kind `{}`", line.kind) });
        }
        let mut fields: Fields = serde_json::from_str(line.payload.get())
            .map_err(|error| MetaError::Malformed { what: error.to_string() })?;
        let id = fields.id.take().ok_or(MetaError::NoId)?;
        let id = id.parse().map_err(|_| MetaError::BadId { text: cut(&id) })?;
        let thread = |field: &'static str, text: Option<String>| {
            text.map(|text| {
                text.parse().map_err(|_| MetaError::BadReference { field, text: cut(&text) })
            })
            .transpose()
        };
        let source = fields.source.map_or(Ok(SessionSource::VsCode), SourceField::into_source)?;
        let spawn = match &source {
            SessionSource::ThreadSpawn(spawn) => Some(spawn.clone()),
            _ => None,
        };
        let spawned = |pick: fn(&ThreadSpawn) -> Option<String>| spawn.as_ref().and_then(pick);
        Ok(Self {
            id,
            forked_from: thread("forked_from_id", fields.forked_from_id)?,
            parent: match thread("parent_thread_id", fields.parent_thread_id)? {
                Some(parent) => Some(parent),
                None => spawn.as_ref().map(|spawn| spawn.parent),
            },
            history_base: fields.history_base,
            created_ms: fields.timestamp.as_deref().and_then(parse_timestamp),
            cwd: fields.cwd.unwrap_or_default(),
            originator: fields.originator.unwrap_or_default(),
            cli_version: fields.cli_version.unwrap_or_default(),
            agent_nickname: fields
                .agent_nickname
                .or_else(|| spawned(|spawn| spawn.agent_nickname.clone())),
            agent_role: fields.agent_role.or_else(|| spawned(|spawn| spawn.agent_role.clone())),
            agent_path: fields.agent_path.or_else(|| spawned(|spawn| spawn.agent_path.clone())),
            source,
            model_provider: fields.model_provider,
            base_instructions: fields.base_instructions.and_then(|base| base.text),
            history_mode: fields.history_mode.as_deref().map(HistoryMode::from_name),
        })
    }
}

/// Why a session meta cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// It is no session meta.
    #[error("no session meta: {what}")]
    Malformed {
        /// What the reader says.
        what: String,
    },
    /// It has no id.
    #[error("a session meta without an id")]
    NoId,
    /// Its id is no UUID.
    #[error("the session id `{text}` is no UUID")]
    BadId {
        /// What stands there, cut at 64 characters.
        text: String,
    },
    /// It names another thread by something that is no UUID.
    #[error("`{field}` is `{text}`, which is no UUID")]
    BadReference {
        /// The field.
        field: &'static str,
        /// What stands there, cut at 64 characters.
        text: String,
    },
}

/// The file in which a history begins, and how much of it counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HistoryBase {
    /// The id of a thread, or of one segment file of a thread.
    pub thread_id: String,
    /// The base's records with a smaller ordinal count.
    pub end_ordinal_exclusive: u64,
    /// Where the base's file ends for this history, in bytes. A hint for readers that seek.
    #[serde(default)]
    pub end_byte_offset: Option<u64>,
}

/// How REF keeps a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HistoryMode {
    /// Plain events, whole histories.
    Legacy,
    /// Numbered lines, histories that begin in other files.
    Paginated,
    /// A mode of later versions.
    Other,
}

impl HistoryMode {
    fn from_name(name: &str) -> Self {
        match name {
            "legacy" => Self::Legacy,
            "paginated" => Self::Paginated,
            _ => Self::Other,
        }
    }

    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Paginated => "paginated",
            Self::Other => "other",
        }
    }
}

/// What kind of client or agent a thread belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionSource {
    /// A command line.
    Cli,
    /// An editor; also what a file means that does not say.
    VsCode,
    /// A run without a user.
    Exec,
    /// A tool server.
    Mcp,
    /// A source of a later version, by its name.
    Named(String),
    /// A host's own kind.
    Custom(String),
    /// The host's own work.
    Internal(String),
    /// A sub-agent that no spawn call made: `review`, `compact` or another word.
    SubAgent(String),
    /// A sub-agent that another thread spawned.
    ThreadSpawn(ThreadSpawn),
}

/// Where a sub-agent comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadSpawn {
    /// The thread that spawned it.
    pub parent: ThreadId,
    /// How deep in the tree it is, from 1.
    pub depth: u32,
    /// Its path in the tree.
    pub agent_path: Option<String>,
    /// Its name.
    pub agent_nickname: Option<String>,
    /// Its role.
    pub agent_role: Option<String>,
}

#[derive(Deserialize)]
struct MetaLine<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct Fields {
    id: Option<String>,
    forked_from_id: Option<String>,
    parent_thread_id: Option<String>,
    history_base: Option<HistoryBase>,
    timestamp: Option<String>,
    cwd: Option<String>,
    originator: Option<String>,
    cli_version: Option<String>,
    source: Option<SourceField>,
    agent_nickname: Option<String>,
    #[serde(alias = "agent_type")]
    agent_role: Option<String>,
    agent_path: Option<String>,
    model_provider: Option<String>,
    base_instructions: Option<BaseInstructions>,
    history_mode: Option<String>,
}

#[derive(Deserialize)]
struct BaseInstructions {
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SourceField {
    Name(String),
    Tagged(BTreeMap<String, SubSource>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SubSource {
    Name(String),
    Spawn { thread_spawn: SpawnField },
    Other { other: String },
    Unknown(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct SpawnField {
    parent_thread_id: String,
    #[serde(default)]
    depth: u32,
    agent_path: Option<String>,
    agent_nickname: Option<String>,
    #[serde(alias = "agent_type")]
    agent_role: Option<String>,
}

impl SourceField {
    fn into_source(self) -> Result<SessionSource, MetaError> {
        let tagged = match self {
            Self::Name(name) => {
                return Ok(match name.as_str() {
                    "cli" => SessionSource::Cli,
                    "vscode" => SessionSource::VsCode,
                    "exec" => SessionSource::Exec,
                    "mcp" => SessionSource::Mcp,
                    _ => SessionSource::Named(name),
                });
            }
            Self::Tagged(tagged) => tagged,
        };
        let Some((tag, value)) = tagged.into_iter().next() else {
            return Ok(SessionSource::Named("unknown".into()));
        };
        Ok(match (tag.as_str(), value) {
            ("custom", SubSource::Name(name)) => SessionSource::Custom(name),
            ("internal", SubSource::Name(name)) => SessionSource::Internal(name),
            ("subagent", SubSource::Name(name) | SubSource::Other { other: name }) => {
                SessionSource::SubAgent(name)
            }
            ("subagent", SubSource::Spawn { thread_spawn: spawn }) => {
                let parent =
                    spawn.parent_thread_id.parse().map_err(|_| MetaError::BadReference {
                        field: "parent_thread_id",
                        text: cut(&spawn.parent_thread_id),
                    })?;
                SessionSource::ThreadSpawn(ThreadSpawn {
                    parent,
                    depth: spawn.depth,
                    agent_path: spawn.agent_path,
                    agent_nickname: spawn.agent_nickname,
                    agent_role: spawn.agent_role,
                })
            }
            _ => SessionSource::Named(tag),
        })
    }
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
