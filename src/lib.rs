//! A supervision runtime for agent threads: an OTP-grade tree whose children are durable, forkable
//! conversations.
//!
//! Start with [`Runtime::builder`]. A [`Runtime`] makes, resumes, forks and closes threads; a
//! [`ThreadHandle`] is the address of one: [`run`](ThreadHandle::run) sends input and waits for the
//! outcome, [`submit`](ThreadHandle::submit) only for the receipt. What runs a turn is yours: an
//! [`Engine`] opens an [`EngineSession`] per thread, and a turn acts through its [`TurnContext`].
//!
//! ```
//! use coppicer::{Runtime, ScriptedEngine, SpawnThread};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder().engine(ScriptedEngine::echo()).start().await?;
//! let thread = runtime.spawn(SpawnThread::new()).await?;
//! assert_eq!(thread.run("hello").await?.message(), Some("hello"));
//! runtime.shutdown(Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | to … | see |
//! |---|---|
//! | bring a thread to life: new, resumed or forked | [`SpawnThread`], [`Runtime::spawn`], [`ForkPoint`] |
//! | plug in what runs turns | [`Engine`], [`EngineError`], [`ScriptedEngine`], [`ReplayEngine`] |
//! | send, steer, interrupt, answer | [`ThreadHandle`], [`Op`], [`Delivery`], [`SubmitError`] |
//! | let agents work with agents | [`TurnContext::spawn`], [`TurnContext::wait`], [`TurnContext::mail`] |
//! | decide what follows a crash | [`RestartPolicy`], [`OnCrash`] |
//! | bound what a tree may cost | [`Budget`], [`TreeLimits`], [`Runtime::fund`], [`LimitReached`] |
//! | watch | [`Runtime::tap`], [`Event`], [`ThreadTree`], [`ThreadView`], [`Runtime::audit`] |
//! | record, log, count, be called | [`Recorder`], [`Recording`], [`log_events`], [`Hooks`]; `count_events` (feature `metrics`) |
//! | look at it and act on it in a browser, or over HTTP | `Console` (feature `console`), docs/http-api.md |
//! | trace across processes | [`TraceContext`], [`Submission::with_trace`], [`TurnContext::trace_context`], [`TraceBridge`] |
//! | learn why a thread does what it does | [`Runtime::why`], [`Why`], [`TurnPhase`], [`StuckPolicy`] |
//! | close by a deadline | [`Runtime::close`], [`CloseReport`], [`Rung`] |
//! | read and write recorded sessions | [`read_session`], [`model_view`], [`plan_fork`], [`write_flattened`] |
//! | keep threads on disk | `SqliteStore` (feature `sqlite`), [`RuntimeBuilder::store`] |
//! | list, search, archive, patch and delete them | [`ThreadQuery`], [`ThreadPatch`], [`ThreadStore`] |
//! | keep threads elsewhere | [`ThreadStore`] and its contract suite (feature `testing`) |
//! | know every bound | [`Limits`] |
//!
//! Features: `cli` (default) is the `coppicer` command; hosts depend with `default-features = false`.
//! `metrics` adds `count_events`. `console` adds `Console`: a local page, an HTTP API and metrics. `sqlite` adds `SqliteStore`, the embedded durable store (part of `cli`). `testing` adds `World`, the fixture that our own tests use.

// The example of the README is compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

#[cfg(feature = "testing")]
pub use coppicer_actors::{contract, faulty};
#[cfg(feature = "testing")]
pub use coppicer_supervisor::testing;

pub use coppicer_actors::{
    ABORTED_OUTPUT, Acquired, AgentList, AgentRow, AilingStore, Archived, BASES_MAX, Base, Batch,
    Classified, Clock, Concern, Damage, DamageReason, Decision, Done, EdgeChange, EdgeStatus,
    EmitError, Engine, EngineError, EngineSession, Envelope, Excerpt, ExcerptAt, ExcerptQuery,
    FILES_MAX, Fence, FindAgentError, Flaw, ForkBeginning, ForkOptions, ForkPlan, Gate, History,
    HistoryBase, HistoryError, HistoryIter, HistoryMode, IdSource, Item, KeepRules, Kept,
    KeptRecord, LINE_BYTES_MAX, LINE_DEPTH_MAX, Line, LineFlaw, ListAgentsError, MailTo,
    MarkerKind, MemoryStore, MetaError, ModelView, NewSubmission, NewThread, NotBegun, OpenCall,
    OpenContext, OpenSubmission, Order, Outline, Parting, PhaseGuard, ProcessError, ProcessLease,
    ReadError, Reads, RecordedOutcome, RecordedTurn, Regained, ReplayEngine, ResolveError,
    RestartTracker, RolloutLine, RolloutReader, SUMMARISED_USER_BYTES_MAX, Script, ScriptedEngine,
    SessionFile, SessionMeta, SessionSet, SessionSource, SortBy, Step, StoreHealth, StoreWatch,
    StoredThread, SubmitOptions, TRACED_CALLS_MAX, Tap, TapBatch, TapCounts, TapEvent, TapEvents,
    TapFilter, TapFrom, TapItem, TapOptions, ThreadCursor, ThreadHandle, ThreadMove, ThreadPage,
    ThreadQuery, ThreadSpawn, ThreadStore, ThreadTree, ThreadView, TokenCounts, TraceBridge,
    TreeChange, TreeRow, TreeSnapshot, Turn, TurnContext, TurnInput, TurnKind, TurnOutput,
    TurnState, TurnStopped, ViewItem, ViewStart, WaitError, Waited, before_nth_user_message,
    begin_fork, classify, classify_item, close_open_calls, close_turn, descend, digest,
    fork_turn_positions, is_settled, items_validity, model_view, open_calls, plan_fork, preview_of,
    read_session, read_session_from, record_of, recorded_turns, resolve_history, text_of,
    turn_state, user_positions, user_turns, view_start, wire_validity, write_flattened,
    write_history,
};
#[cfg(feature = "console")]
pub use coppicer_console::{
    Console, ConsoleClient, ConsoleError, ConsoleOptions, ConsoleUrl, ConsoleUrlError, Follow,
    FollowError, FollowOptions, KnownThread, Told,
};
pub use coppicer_messages::{
    ACQUIRED_MAIL_MAX, AbortReason, Accepted, AdoptError, AfterPoison, AgentPath, Amounts,
    ArchiveError, Asker, AutoShutdown, Backoff, Budget, CONCERN_BYTES_MAX, CONCERNS_BYTES_MAX,
    CONCERNS_MAX, CRASHES_KEPT_MAX, CallId, Change, Charge, Children, CloseError, CloseOrder,
    CloseReport, CloseScope, CodecError, ControlError, CrashRecord, Deadline, DeleteError,
    Delivery, Dimension, Ended, EntryStage, Epoch, Event, EventKind, FRAME_BYTES_MAX,
    FRAME_BYTES_OVERHEAD, FRAME_VERSION, Fact, FactField, FactRow, ForkPoint, ForkRefusal,
    FundError, GitDetails, GitPatch, IdError, InputPart, Interrupted, KnownSubmission, Label,
    LeaseKind, Ledger, LimitReached, LimitRow, Limits, MAIL_PAGE_MAX, MOVES_MAX, Mail, MailId,
    MailPage, MailPlace, MailRest, MessagePhase, NewRecord, Now, OnCrash, OnLimit, OnSpent, Op,
    Origin, Outcome, OutcomeError, ParentClose, PatchError, PathError, Phase, Placement, Poison,
    QUEUED_NAMED_MAX, QuestionId, QueuedSubmission, Raw, Record, RecordClass, Remedy, Restart,
    RestartLimit, RestartPolicy, Rung, RuntimeEvent, Seq, SpawnError, SpawnOrigin, SpawnThread,
    StatusFact, StoreError, StoreTrouble, Strategy, StuckPolicy, Submission, SubmissionId,
    SubmissionState, SubmitError, TRACE_STATE_BYTES_MAX, TRACE_STATE_MEMBERS_MAX, TapError,
    ThreadClosed, ThreadConfig, ThreadDetails, ThreadEvent, ThreadId, ThreadPatch, ThreadStatus,
    ToolKind, TreeLimits, TurnId, TurnItem, TurnPhase, TurnRef, Usage, UserInput, Wait, decode,
    encode, status_after,
};
pub use coppicer_messages::{TraceContext, TraceContextError};
#[cfg(feature = "sqlite")]
pub use coppicer_sqlite::{
    Access, Durability, Finding, OpenError, SqliteOptions, SqliteStore, Verification,
};
pub use coppicer_supervisor::{
    Attention, Audit, HookCounts, Hooks, ImportThread, LeaseOwner, LeaseRow, LimitUse, NearChange,
    NearLimits, NicknameError, Nicknames, RecordError, RecordOptions, Recorded, Recorder,
    Recording, Recover, Resumed, Runtime, RuntimeBuilder, Silent, StartError, Terminal, WaitsFor,
    Why, WhyError, WhyTurn, log_events, recording_files,
};
#[cfg(feature = "metrics")]
pub use coppicer_supervisor::{METRICS, MetricKind, MetricRow, count_events, describe_metrics};
