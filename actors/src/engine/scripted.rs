//! An engine that follows a small script: for tests, examples and stress.

use std::sync::Arc;
use std::time::Duration;

use coppicer_messages::{Placement, SpawnThread, Submission, ThreadId, TurnItem, Usage, Wait};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex};

use super::{
    Engine, EngineError, EngineSession, Item, OpenContext, TurnContext, TurnInput, TurnOutput,
};

/// One step of a script.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Step {
    /// Say this, as the turn's answer.
    Say(String),
    /// Say this on the way.
    Remark(String),
    /// Stream this, without adding it to the history.
    Delta(String),
    /// Call a tool; without an output the call stays open.
    Call {
        /// The tool.
        name: String,
        /// Its arguments.
        arguments: String,
        /// What comes back.
        output: Option<String>,
    },
    /// Add a rollout line.
    Line(Vec<u8>),
    /// Count tokens.
    Usage(Usage),
    /// Let time pass; stops when the turn is cancelled.
    Sleep(Duration),
    /// Wait until the turn is cancelled.
    Hang,
    /// Take what came for the running turn, and say how many inputs and mails that were.
    TakeSteered,
    /// Ask the host, and say its answer.
    Ask(serde_json::Value, Duration),
    /// Spawn a sub-agent. Later steps name it by its place among the spawned ones, from 0.
    Spawn(Box<SpawnThread>),
    /// Spawn a sub-agent, and go on if that is refused.
    TrySpawn(Box<SpawnThread>),
    /// Send a submission to a sub-agent.
    Send(usize, Submission),
    /// Wait for all spawned sub-agents, and say how they ended.
    Wait(Wait, Duration),
    /// Wait for these threads, and say how they ended.
    WaitFor(Vec<ThreadId>, Wait, Duration),
    /// Have a tool at work that should be done after the first time, and is after the second.
    Tool(Duration, Duration),
    /// Say that the turn goes on.
    Progress,
    /// Close a sub-agent.
    Close(usize, Duration),
    /// Put a root below this thread, and say how that went.
    Adopt(ThreadId),
    /// Panic.
    Panic(String),
    /// Return this error.
    Fail(EngineError),
    /// Return this error in the first attempts at the turn, as many as said.
    FailFirst(u32, EngineError),
    /// Let time pass without listening to cancellation.
    IgnoreCancel(Duration),
    /// Block the OS thread.
    Block(Duration),
    /// Block the OS thread until the gate opens.
    BlockUntil(Gate),
}

/// What a scripted turn does.
#[derive(Debug, Clone, Default)]
pub struct Script(Vec<Step>);

impl Script {
    /// A turn that does nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a step.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }

    /// Says something, as the turn's answer.
    #[must_use]
    pub fn say(self, text: impl Into<String>) -> Self {
        self.then(Step::Say(text.into()))
    }

    /// Calls a tool that answers.
    #[must_use]
    pub fn call(
        self,
        name: impl Into<String>,
        arguments: impl Into<String>,
        output: impl Into<String>,
    ) -> Self {
        let output = Some(output.into());
        self.then(Step::Call { name: name.into(), arguments: arguments.into(), output })
    }

    /// Lets time pass.
    #[must_use]
    pub fn sleep(self, time: Duration) -> Self {
        self.then(Step::Sleep(time))
    }

    /// Panics.
    #[must_use]
    pub fn panic(self, text: impl Into<String>) -> Self {
        self.then(Step::Panic(text.into()))
    }

    /// Fails.
    #[must_use]
    pub fn fail(self, error: EngineError) -> Self {
        self.then(Step::Fail(error))
    }

    /// Spawns a sub-agent.
    #[must_use]
    pub fn spawn(self, request: SpawnThread) -> Self {
        self.then(Step::Spawn(Box::new(request)))
    }
}

impl FromIterator<Step> for Script {
    fn from_iter<T: IntoIterator<Item = Step>>(steps: T) -> Self {
        Self(steps.into_iter().collect())
    }
}

/// Something that blocked turns wait for.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    reached: usize,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens it, for good.
    pub fn open(&self) {
        self.0.0.lock().open = true;
        self.0.1.notify_all();
    }

    /// How many came to it so far.
    pub fn reached(&self) -> usize {
        self.0.0.lock().reached
    }

    fn wait(&self) {
        let mut state = self.0.0.lock();
        state.reached += 1;
        while !state.open {
            self.0.1.wait(&mut state);
        }
    }
}

type Choose = dyn Fn(&TurnContext, &TurnInput) -> Script + Send + Sync;

/// An engine whose turns follow scripts.
#[derive(Clone)]
pub struct ScriptedEngine {
    choose: Arc<Choose>,
    placement: Option<Placement>,
}

impl ScriptedEngine {
    /// Every turn follows the script that `choose` gives for it.
    pub fn new(
        choose: impl Fn(&TurnContext, &TurnInput) -> Script + Send + Sync + 'static,
    ) -> Self {
        Self { choose: Arc::new(choose), placement: None }
    }

    /// Every turn says what it was told.
    pub fn echo() -> Self {
        Self::new(|_, input| Script::new().say(input.text()))
    }

    /// Every turn follows the same script.
    pub fn always(script: Script) -> Self {
        Self::new(move |_, _| script.clone())
    }

    /// Runs its turns on OS threads of their own: for scripts that block.
    #[must_use]
    pub const fn on_own_threads(mut self) -> Self {
        self.placement = Some(Placement::Dedicated);
        self
    }
}

impl std::fmt::Debug for ScriptedEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedEngine").field("placement", &self.placement).finish_non_exhaustive()
    }
}

impl Engine for ScriptedEngine {
    fn open(&self, _cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let session = Session { engine: self.clone() };
        futures::future::ready(Ok(Box::new(session) as Box<dyn EngineSession>)).boxed()
    }
}

struct Session {
    engine: ScriptedEngine,
}

impl EngineSession for Session {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        let Script(steps) = (self.engine.choose)(cx, &input);
        async move {
            let mut children = Vec::new();
            for (place, step) in steps.into_iter().enumerate() {
                follow(cx, &input, place, step, &mut children).await?;
            }
            Ok(TurnOutput::done())
        }
        .boxed()
    }

    fn placement(&self) -> Option<Placement> {
        self.engine.placement
    }
}

async fn follow(
    cx: &TurnContext,
    input: &TurnInput,
    place: usize,
    step: Step,
    children: &mut Vec<ThreadId>,
) -> Result<(), EngineError> {
    if cx.is_cancelled() && !matches!(step, Step::IgnoreCancel(_) | Step::Block(_)) {
        return Err(EngineError::Stopped);
    }
    match step {
        Step::Say(text) => cx.emit(Item::answer(text)).await?,
        Step::Remark(text) => cx.emit(Item::remark(text)).await?,
        Step::Delta(text) => cx.delta(text),
        Step::Line(line) => cx.emit(Item::Line(line)).await?,
        Step::Usage(usage) => cx.usage(usage),
        Step::Progress => cx.progress(),
        Step::Panic(text) => panic!("{text}"),
        Step::Fail(error) => return Err(error),
        Step::FailFirst(attempts, error) if input.attempt <= attempts => return Err(error),
        Step::FailFirst(..) => {}
        Step::IgnoreCancel(time) => tokio::time::sleep(time).await,
        Step::Block(time) => block(time),
        Step::BlockUntil(gate) => gate.wait(),
        // The futures of these are large: a turn without them is not to carry them along.
        step => Box::pin(work(cx, input, place, step, children)).await?,
    }
    Ok(())
}

/// The steps that wait for others, or take several waits.
async fn work(
    cx: &TurnContext,
    input: &TurnInput,
    place: usize,
    step: Step,
    children: &mut Vec<ThreadId>,
) -> Result<(), EngineError> {
    match step {
        Step::Call { name, arguments, output } => {
            let call = format!("{}-{}-{place}", cx.turn(), input.attempt);
            cx.emit(Item::ToolCall { call: call.clone(), name, arguments }).await?;
            if let Some(output) = output {
                cx.emit(Item::ToolOutput { call, output }).await?;
            }
        }
        Step::Sleep(time) => sleep(cx, time).await?,
        Step::Hang => {
            cx.cancelled().await;
            return Err(EngineError::Stopped);
        }
        Step::TakeSteered => {
            let items = cx.steered().await?;
            let inputs = items.iter().filter(|item| matches!(item, TurnItem::Input { .. })).count();
            let mails = items.len() - inputs;
            cx.emit(Item::remark(format!("took {inputs} inputs and {mails} mails"))).await?;
        }
        Step::Ask(question, budget) => {
            let answer = cx.ask(question, budget).await?;
            cx.emit(Item::answer(answer.to_string())).await?;
        }
        Step::Spawn(request) => {
            let spawned = cx.spawn(*request).await;
            children.push(spawned.map_err(|error| EngineError::fatal(error.to_string()))?);
        }
        Step::TrySpawn(request) => match cx.spawn(*request).await {
            Ok(child) => children.push(child),
            Err(refusal) => cx.emit(Item::remark(refusal.to_string())).await?,
        },
        Step::Send(child, submission) => {
            let child = child_of(children, child)?;
            let sent = cx.send(child, submission).await;
            sent.map_err(|error| EngineError::fatal(error.to_string()))?;
        }
        Step::Wait(how, budget) => wait(cx, children, how, budget).await?,
        Step::WaitFor(threads, how, budget) => wait(cx, &threads, how, budget).await?,
        Step::Tool(within, takes) => {
            let _tool = cx.tool(within);
            sleep(cx, takes).await?;
        }
        Step::Close(child, budget) => {
            let child = child_of(children, child)?;
            let closed = cx.close(child, budget).await;
            closed.map_err(|error| EngineError::fatal(error.to_string()))?;
        }
        Step::Adopt(thread) => {
            let adopted = cx.adopt(thread).await;
            let said = adopted.map_or_else(|error| error.to_string(), |()| "adopted".to_owned());
            cx.emit(Item::answer(said)).await?;
        }
        // Carried out by `follow`.
        _ => {}
    }
    Ok(())
}

/// Lets time pass, unless the turn is cancelled.
pub(super) async fn sleep(cx: &TurnContext, time: Duration) -> Result<(), EngineError> {
    tokio::select! {
        biased;
        () = cx.cancelled() => Err(EngineError::Stopped),
        () = tokio::time::sleep(time) => Ok(()),
    }
}

async fn wait(
    cx: &TurnContext,
    threads: &[ThreadId],
    how: Wait,
    budget: Duration,
) -> Result<(), EngineError> {
    let waited = cx.wait(threads, how, budget).await?;
    let ended: Vec<&str> = waited.ended.iter().map(|(_, status)| status.name()).collect();
    Ok(cx.emit(Item::remark(format!("waited: {}", ended.join(", ")))).await?)
}

#[expect(clippy::disallowed_methods, reason = "this step is there to block its thread")]
fn block(time: Duration) {
    std::thread::sleep(time);
}

fn child_of(children: &[ThreadId], place: usize) -> Result<ThreadId, EngineError> {
    let none = || EngineError::fatal(format!("the script has spawned no sub-agent number {place}"));
    children.get(place).copied().ok_or_else(none)
}
