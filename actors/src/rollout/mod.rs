//! Rollout files: histories as JSON lines, read and written without loss.
//!
//! Nothing here is shared or kept open: a file is read from front to end, or written the same way.

mod bases;
mod reader;
mod session;

pub use bases::{BASES_MAX, FILES_MAX, ResolveError, SessionSet, resolve_history};
pub use reader::{Damage, DamageReason, LINE_BYTES_MAX, RolloutLine, RolloutReader};
pub use session::{
    ReadError, SessionFile, read_session, read_session_from, session_files, write_flattened,
    write_history,
};
