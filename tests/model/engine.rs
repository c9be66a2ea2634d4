//! The engine of a case: turns that do what they are told, and a list of those that run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coppicer::{
    Engine, EngineError, EngineSession, Epoch, OpenContext, ParentClose, Script, ScriptedEngine,
    SpawnThread, Step, Submission, ThreadId, TurnContext, TurnId, TurnInput, TurnOutput, Usage,
    Wait,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// Which turns run, as the engine sees it: what threads show has to agree.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    turns: BTreeMap<ThreadId, Vec<(TurnId, Epoch)>>,
    /// Turns whose last attempt ended so that another one follows.
    again: BTreeSet<(ThreadId, TurnId)>,
    /// Tokens that were used on somebody's budget.
    used: u64,
}

impl Running {
    /// The turns of a thread that run.
    pub(crate) fn of(&self, thread: ThreadId) -> Vec<(TurnId, Epoch)> {
        self.0.lock().turns.get(&thread).cloned().unwrap_or_default()
    }

    /// Tokens that were used on somebody's budget; a turn that is over may have counted some more.
    pub(crate) fn used(&self) -> u64 {
        self.0.lock().used
    }

    /// Whether a turn waits for its next attempt.
    pub(crate) fn comes_again(&self, thread: ThreadId, turn: &TurnId) -> bool {
        self.0.lock().again.contains(&(thread, turn.clone()))
    }
}

/// One run of a turn: taken off the list however it ends.
struct Run {
    running: Running,
    thread: ThreadId,
    turn: TurnId,
    epoch: Epoch,
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut state = self.running.0.lock();
        if let Some(turns) = state.turns.get_mut(&self.thread) {
            turns.retain(|(turn, epoch)| (turn, epoch) != (&self.turn, &self.epoch));
        }
    }
}

/// Runs scripts, and keeps the list.
#[derive(Debug)]
pub(crate) struct Watched {
    scripts: ScriptedEngine,
    running: Running,
}

impl Watched {
    pub(crate) fn new(running: Running) -> Self {
        Self { scripts: ScriptedEngine::new(|_, input| script(&input.text())), running }
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a turn does that is told `text`; mail and steered input are read as one text.
fn script(text: &str) -> Script {
    let child = || Box::new(SpawnThread::new());
    let first = |text: &str| Box::new(SpawnThread::new().with_first(text));
    let detached = || Box::new(SpawnThread::new().with_parent_close(ParentClose::Detach));
    let open_call = || Step::Call { name: "tool".into(), arguments: "{}".into(), output: None };
    match text.lines().next_back().unwrap_or_default() {
        "slow" => Script::new().sleep(ms(20)).say("slow"),
        "long" => Script::new().call("tool", "{}", "done").sleep(ms(400)).say("long"),
        "panic" => Script::new().panic("boom"),
        "open-call" => Script::new().then(open_call()).sleep(ms(3)).panic("boom"),
        "fatal" => Script::new().fail(EngineError::fatal("no")),
        "transient" => {
            let error =
                EngineError::Transient { message: "later".into(), retry_after: Some(ms(7)) };
            Script::new().then(Step::FailFirst(2, error)).say("at last")
        }
        "session-lost" => {
            let error = EngineError::SessionLost { message: "gone".into() };
            Script::new().then(Step::FailFirst(1, error)).say("again")
        }
        "stubborn" => Script::new().then(Step::IgnoreCancel(ms(900))).say("stubborn"),
        "steered" => Script::new().sleep(ms(8)).then(Step::TakeSteered).say("took it"),
        "spawn" => Script::new().then(Step::TrySpawn(detached())).say("spawned"),
        "brood" => Script::new()
            .then(Step::TrySpawn(first("say")))
            .then(Step::TrySpawn(first("slow")))
            .then(Step::Wait(Wait::All, ms(500)))
            .say("waited"),
        "use" => Script::new().sleep(ms(5)).say("used"),
        "splurge" => Script::new().sleep(ms(30)).say("splurged"),
        "post" => Script::new()
            .then(Step::Spawn(child()))
            .then(Step::Send(0, Submission::input("slow")))
            .say("posted"),
        text => Script::new().say(text),
    }
}

impl Engine for Watched {
    fn open(&self, cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let running = self.running.clone();
        async move {
            let session = self.scripts.open(cx).await?;
            Ok(Box::new(Session { session, running }) as Box<dyn EngineSession>)
        }
        .boxed()
    }
}

struct Session {
    session: Box<dyn EngineSession>,
    running: Running,
}

impl EngineSession for Session {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        let (thread, turn, epoch) = (cx.thread(), cx.turn().clone(), cx.epoch());
        let tokens = match input.text().lines().next_back() {
            Some("use") => 9,
            Some("splurge") => 3_000,
            _ => 0,
        };
        async move {
            let run = Run { running: self.running.clone(), thread, turn: turn.clone(), epoch };
            {
                let mut state = self.running.0.lock();
                state.again.remove(&(thread, turn.clone()));
                state.turns.entry(thread).or_default().push((turn.clone(), epoch));
            }
            if tokens > 0 {
                let limited = cx.budget_left().tokens.is_some();
                self.running.0.lock().used += if limited { tokens } else { 0 };
                cx.usage(Usage { output_tokens: tokens, ..Usage::default() });
            }
            let result = self.session.run_turn(cx, input).await;
            drop(run);
            let again = matches!(
                result,
                Err(EngineError::Transient { .. }
                    | EngineError::Overloaded
                    | EngineError::SessionLost { .. })
            );
            if again {
                self.running.0.lock().again.insert((thread, turn));
            }
            result
        }
        .boxed()
    }
}
