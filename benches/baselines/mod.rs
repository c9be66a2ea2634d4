//! Baselines that are written to be measured beside us: what the same thing costs without a runtime of
//! threads. Shared by the benches and by `coppicer stress`; each takes its part.
#![allow(dead_code, reason = "no bench has use for every part of every baseline")]

pub(crate) mod bare_sqlite;
pub(crate) mod jsonl;
pub(crate) mod keeper;
pub(crate) mod locked_map;
pub(crate) mod ractor_actor;
pub(crate) mod respawn_ractor;
pub(crate) mod respawn_tokio;
pub(crate) mod tokio_task;
