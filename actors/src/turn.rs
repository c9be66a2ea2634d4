//! One turn: runs the engine's future in a task of its own, which its thread owns.
//!
//! - Inbox: nothing. So it is no actor: a task costs a tenth of one, and a turn is what is made most.
//! - Reports: exactly once, by [`ThreadMsg::TurnGone`] behind all that it emitted; how it ended, and the
//!   engine's session, wait in its link. A kill leaves nothing there, and neither does a tokio runtime
//!   that goes down.
//! - Dies: when it is done, panics, or is killed. A kill drops the future at its next await.

use std::sync::Arc;

use coppicer_messages::{Placement, Seq, StoreError, ThreadConfig, ThreadMsg};
use tokio::task::AbortHandle;
use tracing::Instrument;

use crate::caught::caught_in;
use crate::engine::{
    Engine, EngineError, EngineSession, OpenContext, ProcessBook, Reads, TurnContext, TurnInput,
    TurnLink, TurnOutput,
};
use crate::history::debug_check;
use crate::slot::Slot;
use crate::thread::TurnEnd;

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

/// Starts a turn. Aborting it drops its future at its next await, and what it held with it.
pub(crate) fn start(args: TurnArgs) -> AbortHandle {
    let gone = Gone { slot: args.cx.slot.clone(), link: args.cx.link.clone() };
    let span = args.cx.span();
    tokio::spawn(run(args, gone).instrument(span)).abort_handle()
}

/// Tells the thread that the code of a turn is gone, however that came about.
struct Gone {
    slot: Arc<Slot>,
    link: Arc<TurnLink>,
}

impl Gone {
    /// It came to its own end.
    fn with(self, report: TurnReport) {
        *self.link.report.lock() = Some(report);
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Outside of the engine's future: a session that panicked while it was dropped.
            let end = TurnEnd::Panicked("the engine's session panicked when it was dropped".into());
            self.link.report.lock().get_or_insert(TurnReport { end, session: None });
        }
        self.slot.notice(ThreadMsg::TurnGone { turn: self.link.turn.clone() });
    }
}

async fn run(args: TurnArgs, gone: Gone) {
    let TurnArgs { cx, input, engine, session, config } = args;
    let session = match session {
        Some(session) => session,
        None => match caught_in(open(&cx, &*engine, &config)).await {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => {
                let end = end_of(Err(error));
                cx.ended(&end);
                return gone.with(TurnReport { end, session: None });
            }
            Err(cause) => {
                let end = TurnEnd::Panicked(cause);
                cx.ended(&end);
                return gone.with(TurnReport { end, session: None });
            }
        },
    };
    match session.placement().unwrap_or(config.placement) {
        Placement::Shared => {
            let report = run_turn(session, &cx, input).await;
            // What it held is free before its end is told.
            drop(cx);
            gone.with(report);
        }
        Placement::Dedicated => dedicated(cx, input, session, gone),
    }
}

/// Runs the engine's future. A session that panicked is dropped.
async fn run_turn(
    mut session: Box<dyn EngineSession>,
    cx: &TurnContext,
    input: TurnInput,
) -> TurnReport {
    let report = match caught_in(async { session.run_turn(cx, input).await }).await {
        Ok(result) => TurnReport { end: end_of(result), session: Some(session) },
        Err(cause) => TurnReport { end: TurnEnd::Panicked(cause), session: None },
    };
    cx.ended(&report.end);
    report
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
    config: &Arc<ThreadConfig>,
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

/// Runs the turn on an OS thread of its own, where code that blocks holds up nobody else. Killed, it
/// drops the future at its next await; until then the thread counts as a zombie.
fn dedicated(cx: TurnContext, input: TurnInput, session: Box<dyn EngineSession>, gone: Gone) {
    let runtime = tokio::runtime::Handle::current();
    // Stands until the OS thread is there: if it cannot be started, that is what is told.
    let error = EngineError::Transient {
        message: "cannot start an OS thread for the turn".into(),
        retry_after: None,
    };
    let unstarted = TurnReport { end: end_of(Err(error)), session: None };
    *gone.link.report.lock() = Some(unstarted);
    let span = cx.span();
    let work = move || {
        gone.link.report.lock().take();
        let turn = async move {
            tokio::select! {
                biased;
                () = cx.link.revoked() => None,
                report = run_turn(session, &cx, input) => Some(report),
            }
        };
        match runtime.block_on(caught_in(turn.instrument(span))) {
            Ok(Some(report)) => gone.with(report),
            Ok(None) => {}
            Err(cause) => {
                gone.with(TurnReport { end: TurnEnd::Panicked(cause), session: None });
            }
        }
    };
    let spawned = std::thread::Builder::new().name("coppicer-turn".into()).spawn(work);
    if let Err(error) = spawned {
        tracing::warn!(%error, "cannot start an OS thread for a turn");
    }
}
