//! The actors of Coppicer: threads and turns, and what they work with: engines, histories, rollouts,
//! the store, and taps.
//!
//! Hosts use them through the facade crate `coppicer`. What is `#[doc(hidden)]` here is for
//! `coppicer-supervisor` alone.

mod account;
mod agents;
mod bugs;
mod caught;
mod clock;
mod engine;
mod handle;
mod history;
mod lineage;
mod permits;
mod poison;
mod restart;
mod rollout;
mod seldom;
mod slot;
mod store;
mod stuck;
mod taps;
mod thread;
mod traces;
mod turn;

#[doc(hidden)]
pub use account::{Account, AccountMove, Purse, Short};
pub use agents::{AgentList, AgentRow, FindAgentError, ListAgentsError};
#[doc(hidden)]
pub use agents::{agents, resolve as resolve_agent};
#[doc(hidden)]
pub use bugs::{Bug, Seeded};
pub use clock::{Clock, IdSource};
pub use engine::{
    EmitError, Engine, EngineError, EngineSession, Gate, HistoryError, Item, OpenContext,
    PhaseGuard, ProcessError, ProcessLease, Reads, ReplayEngine, Script, ScriptedEngine, Step,
    TurnContext, TurnInput, TurnKind, TurnOutput, TurnStopped, WaitError, Waited,
};
#[doc(hidden)]
pub use engine::{TurnWorld, wait_for};
pub use handle::{SubmitOptions, ThreadHandle};
#[doc(hidden)]
pub use handle::{check as check_submission, not_woken, slot_or_wake};
pub use history::{
    ABORTED_OUTPUT, Classified, Envelope, Excerpt, ExcerptAt, ExcerptQuery, Flaw, ForkBeginning,
    ForkOptions, ForkPlan, History, HistoryBase, HistoryMode, Iter as HistoryIter, KeepRules, Kept,
    KeptRecord, LINE_DEPTH_MAX, Line, LineFlaw, MarkerKind, MetaError, ModelView, NotBegun,
    OpenCall, Outline, Parting, RecordedOutcome, RecordedTurn, RollbackRefusal,
    SUMMARISED_USER_BYTES_MAX, SessionMeta, SessionSource, ThreadSpawn, TokenCounts, Turn,
    TurnState, ViewItem, before_nth_user_message, begin_fork, classify, classify_item,
    close_open_calls, close_turn, fork_turn_positions, is_settled, items_validity, model_view,
    open_calls, open_turn, plan_fork, plan_rollback, record_of, recorded_turns, text_of,
    turn_state, user_positions, user_turns, wire_validity,
};
pub use lineage::Lineage;
#[doc(hidden)]
pub use permits::Permits;
pub use restart::{Decision, RestartTracker};
pub use rollout::{
    BASES_MAX, Damage, DamageReason, FILES_MAX, LINE_BYTES_MAX, ReadError, ResolveError,
    RolloutLine, RolloutReader, SessionFile, SessionSet, read_session, read_session_from,
    resolve_history, session_files, write_flattened, write_history,
};
#[doc(hidden)]
pub use seldom::{Blank, Seldom};
pub use slot::ThreadView;
#[doc(hidden)]
pub use slot::{Arrival, Door, Slot, SlotCommon, Uplink};
pub use store::{
    Acquired, Archived, Base, Batch, Done, EdgeChange, EdgeStatus, Fence, MailTo, MemoryStore,
    NewSubmission, NewThread, OpenSubmission, Order, SortBy, StoreHealth, StoreWatch, StoredThread,
    ThreadCursor, ThreadMove, ThreadPage, ThreadQuery, ThreadStore, ViewStart, descend, digest,
    preview_of, view_start,
};
#[doc(hidden)]
pub use store::{by as answered_by, count_mail};
#[cfg(any(test, feature = "testing"))]
pub use store::{contract, faulty};
#[doc(hidden)]
pub use taps::About;
pub use taps::{
    AilingStore, Concern, Regained, Tap, TapBatch, TapCounts, TapEvent, TapEvents, TapFilter,
    TapFrom, TapHub, TapItem, TapOptions, ThreadTree, TreeChange, TreeRow, TreeSnapshot,
};
#[doc(hidden)]
pub use thread::{
    HOST_DIED, Incarnation, Rise, ThreadArgs, ThreadNotStarted, ThreadWorld, first_submission,
    start,
};
pub use traces::{TRACED_CALLS_MAX, TraceBridge};
