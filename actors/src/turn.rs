//! One turn: runs the engine's future, linked under its thread.
//!
//! - Inbox: nothing. It works in `post_start` and stops itself.
//! - Reports: exactly once, by the supervision event of its end, which carries its state: how it ended
//!   and the engine's session. A kill comes back without a state.
//! - Dies: when it is done, panics, or is killed. A kill drops the future at its next await.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use coppicer_messages::{Placement, Seq, StoreError, ThreadConfig, ThreadMsg, TurnId};
use futures::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::engine::{
    Engine, EngineError, EngineSession, OpenContext, ProcessBook, Reads, TurnContext, TurnInput,
    TurnOutput,
};
use crate::history::debug_check;
use crate::slot::Slot;
use crate::thread::{TurnEnd, panic_text};

pub(crate) struct TurnActor;

/// What a turn runs on.
pub(crate) struct TurnArgs {
    pub(crate) cx: TurnContext,
    pub(crate) input: TurnInput,
    pub(crate) engine: Arc<dyn Engine>,
    /// The open session; none before the first turn and after a crash.
    pub(crate) session: Option<Box<dyn EngineSession>>,
    pub(crate) config: Arc<ThreadConfig>,
}

/// What comes back.
pub(crate) struct TurnReport {
    pub(crate) end: TurnEnd,
    pub(crate) session: Option<Box<dyn EngineSession>>,
}

pub(crate) struct TurnState {
    args: Option<TurnArgs>,
    pub(crate) report: Option<TurnReport>,
}

impl Actor for TurnActor {
    type Msg = ();
    type State = TurnState;
    type Arguments = TurnArgs;

    async fn pre_start(
        &self,
        _myself: ActorRef<()>,
        args: TurnArgs,
    ) -> Result<TurnState, ActorProcessingErr> {
        Ok(TurnState { args: Some(args), report: None })
    }

    async fn post_start(
        &self,
        myself: ActorRef<()>,
        state: &mut TurnState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(args) = state.args.take() {
            state.report = Some(run(args).await);
        }
        myself.stop(None);
        Ok(())
    }
}

async fn run(args: TurnArgs) -> TurnReport {
    let TurnArgs { cx, input, engine, session, config } = args;
    let session = match session {
        Some(session) => session,
        None => match open(&cx, &*engine, &config).await {
            Ok(session) => session,
            Err(error) => return TurnReport { end: end_of(Err(error)), session: None },
        },
    };
    match session.placement().unwrap_or(config.placement) {
        Placement::Shared => run_turn(session, &cx, input).await,
        Placement::Dedicated => dedicated(cx, input, session).await,
    }
}

/// A panic is caught next to where it happens, and not by the actor, so that it is carried through
/// fewer frames. The session is dropped with it.
async fn run_turn(
    mut session: Box<dyn EngineSession>,
    cx: &TurnContext,
    input: TurnInput,
) -> TurnReport {
    let turn = async { session.run_turn(cx, input).await };
    match AssertUnwindSafe(turn).catch_unwind().await {
        Ok(result) => TurnReport { end: end_of(result), session: Some(session) },
        Err(panic) => TurnReport { end: TurnEnd::Panicked(panic_text(&*panic)), session: None },
    }
}

fn end_of(result: Result<TurnOutput, EngineError>) -> TurnEnd {
    match result {
        Ok(output) => TurnEnd::Done(output.message),
        Err(EngineError::Transient { message, retry_after }) => {
            TurnEnd::Transient { message, retry_after }
        }
        Err(EngineError::Overloaded) => TurnEnd::Overloaded,
        Err(EngineError::SessionLost { message }) => TurnEnd::SessionLost(message),
        Err(EngineError::Fatal { message }) => TurnEnd::Failed(message),
        Err(EngineError::Stopped) => TurnEnd::Stopped,
    }
}

async fn open(
    cx: &TurnContext,
    engine: &dyn Engine,
    config: &ThreadConfig,
) -> Result<Box<dyn EngineSession>, EngineError> {
    let (store, thread, end) = (&cx.world.store, cx.thread(), Some(cx.seq));
    let read = async {
        let from = match engine.reads() {
            Reads::Whole => Seq(0),
            Reads::ModelView => store.view_start(thread, end).await?,
        };
        store.read_range(thread, from, end).await
    };
    let history = read.await.map_err(|error: StoreError| {
        EngineError::fatal(format!("cannot read the history: {error}"))
    })?;
    debug_check(&history);
    let open = OpenContext {
        thread: cx.thread(),
        epoch: cx.epoch,
        path: cx.slot.about().path.clone(),
        config: config.clone(),
        history,
        processes: ProcessBook::new(&cx.world, cx.slot.holdings()),
    };
    engine.open(open).await
}

/// Tells the thread that the code of a dedicated turn is gone, however that came about.
struct Gone {
    slot: Arc<Slot>,
    turn: TurnId,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.slot.notice(ThreadMsg::TurnGone { turn: self.turn.clone() });
    }
}

/// Runs the turn on an OS thread of its own, where code that blocks holds up nobody else. Killed, it
/// drops the future at its next await; until then the thread counts as a zombie.
async fn dedicated(
    cx: TurnContext,
    input: TurnInput,
    session: Box<dyn EngineSession>,
) -> TurnReport {
    type Ended = Result<TurnReport, Box<dyn Any + Send>>;
    let (to, from) = oneshot::channel::<Ended>();
    let runtime = tokio::runtime::Handle::current();
    let gone = Gone { slot: cx.slot.clone(), turn: cx.turn().clone() };
    let work = move || {
        let _gone = gone;
        let turn = async move {
            tokio::select! {
                biased;
                () = cx.link.revoked() => None,
                report = run_turn(session, &cx, input) => Some(report),
            }
        };
        let ended = runtime.block_on(AssertUnwindSafe(turn).catch_unwind());
        if let Some(ended) = ended.transpose() {
            drop(to.send(ended));
        }
    };
    let spawned = std::thread::Builder::new().name("coppicer-turn".into()).spawn(work);
    if let Err(error) = spawned {
        let error = EngineError::Transient {
            message: format!("cannot start a thread for the turn: {error}"),
            retry_after: None,
        };
        return TurnReport { end: end_of(Err(error)), session: None };
    }
    match from.await {
        Ok(Ok(report)) => report,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => TurnReport { end: TurnEnd::Stopped, session: None },
    }
}
