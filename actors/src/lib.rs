//! The actors of Coppicer.

mod history;
mod rollout;

pub use history::{
    ABORTED_OUTPUT, Classified, Flaw, ForkOptions, ForkPlan, ForkRefusal, History, HistoryBase,
    HistoryMode, Iter as HistoryIter, KeepRules, Kept, KeptRecord, LINE_DEPTH_MAX, Line, LineFlaw,
    Mail, MarkerKind, MetaError, ModelView, OpenCall, Outline, RecordedOutcome, RecordedTurn,
    RollbackRefusal, SUMMARISED_USER_BYTES_MAX, SessionMeta, SessionSource, ThreadSpawn,
    TokenCounts, Turn, TurnState, ViewItem, before_nth_user_message, classify, classify_item,
    close_open_calls, close_turn, fork_turn_positions, model_view, open_calls, plan_fork,
    plan_rollback, record_of, recorded_turns, text_of, turn_state, user_positions, user_turns,
    wire_validity,
};
pub use rollout::{
    BASES_MAX, Damage, DamageReason, FILES_MAX, LINE_BYTES_MAX, ReadError, ResolveError,
    RolloutLine, RolloutReader, SessionFile, SessionSet, read_session, read_session_from,
    resolve_history, session_files, write_flattened, write_history,
};
