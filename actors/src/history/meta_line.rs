//! Writing a session meta.

use super::clock::timestamp;
use super::json::Object;
use super::meta::{HistoryMode, SessionMeta, SessionSource};

pub(super) fn write_meta(payload: &mut Object<'_>, at_ms: u64, meta: &SessionMeta) {
    payload.text("id", &meta.id.to_string());
    if let Some(source) = meta.forked_from {
        payload.text("forked_from_id", &source.to_string());
    }
    if let Some(parent) = meta.parent {
        payload.text("parent_thread_id", &parent.to_string());
    }
    payload.text("timestamp", &timestamp(meta.created_ms.unwrap_or(at_ms)));
    payload.text("cwd", &meta.cwd);
    payload.text("originator", &meta.originator);
    payload.text("cli_version", &meta.cli_version);
    write_source(payload, &meta.source);
    let kind =
        if matches!(meta.source, SessionSource::ThreadSpawn(_)) { "subagent" } else { "user" };
    payload.text("thread_source", kind);
    payload.text_if("agent_nickname", meta.agent_nickname.as_deref());
    payload.text_if("agent_role", meta.agent_role.as_deref());
    payload.text_if("agent_path", meta.agent_path.as_deref());
    payload.text_or_null("model_provider", meta.model_provider.as_deref());
    match &meta.base_instructions {
        Some(text) => payload.object("base_instructions", |object| object.text("text", text)),
        None => payload.raw("base_instructions", b"null"),
    }
    payload.text_if("history_mode", meta.history_mode.map(HistoryMode::as_str));
    if let Some(base) = &meta.history_base {
        payload.object("history_base", |object| {
            object.text("thread_id", &base.thread_id);
            object.number("end_ordinal_exclusive", base.end_ordinal_exclusive);
            object.number_if("end_byte_offset", base.end_byte_offset);
        });
    }
}

fn write_source(payload: &mut Object<'_>, source: &SessionSource) {
    match source {
        SessionSource::Cli => payload.text("source", "cli"),
        SessionSource::VsCode => payload.text("source", "vscode"),
        SessionSource::Exec => payload.text("source", "exec"),
        SessionSource::Mcp => payload.text("source", "mcp"),
        SessionSource::Named(name) => payload.text("source", name),
        SessionSource::Custom(name) => {
            payload.object("source", |object| object.text("custom", name));
        }
        SessionSource::Internal(name) => {
            payload.object("source", |object| object.text("internal", name));
        }
        SessionSource::SubAgent(name) => payload.object("source", |object| match name.as_str() {
            "review" | "compact" => object.text("subagent", name),
            _ => object.object("subagent", |object| object.text("other", name)),
        }),
        SessionSource::ThreadSpawn(spawn) => payload.object("source", |source| {
            source.object("subagent", |subagent| {
                subagent.object("thread_spawn", |object| {
                    object.text("parent_thread_id", &spawn.parent.to_string());
                    object.number("depth", u64::from(spawn.depth));
                    object.text_or_null("agent_path", spawn.agent_path.as_deref());
                    object.text_or_null("agent_nickname", spawn.agent_nickname.as_deref());
                    object.text_or_null("agent_role", spawn.agent_role.as_deref());
                });
            });
        }),
    }
}
