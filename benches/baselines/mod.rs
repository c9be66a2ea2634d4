//! Baselines that are written to be measured beside us: what the same thing costs without a runtime of
//! threads. Shared by the benches and by `coppicer stress`.

pub(crate) mod respawn_ractor;
pub(crate) mod respawn_tokio;
