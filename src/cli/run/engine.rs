//! The engines of a run: replay or script, and crashes by lot.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use coppicer::{
    Engine, EngineError, EngineSession, Item, OpenContext, Placement, ReplayEngine, Script,
    ScriptedEngine, Step, SubmissionId, TurnContext, TurnInput, TurnItem, TurnOutput,
};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::lot::{self, Crash, Lot};
use super::told;

/// What a thread's turns are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum EngineKind {
    /// What the session's own turns recorded, in order and from the first again.
    Replay,
    /// A tool call and an answer that repeats the input.
    Script,
    /// What the input tells it to do, line by line: /ask QUESTION (of the host), /use TOKENS, /sleep TIME,
    /// /tool WITHIN TAKES (should be done within the one time, takes the other), /call TOOL (left open),
    /// /spawn NAME [INPUT], /fail TEXT, /panic TEXT, /hang. Other lines are said.
    Told,
}

impl EngineKind {
    /// Its name on the command line.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Script => "script",
            Self::Told => "told",
        }
    }

    /// What the console says of it.
    #[cfg(feature = "console")]
    pub(in crate::cli) const fn label(self) -> &'static str {
        match self {
            Self::Replay => "no model: turns replay what each thread's session recorded",
            Self::Script => "no model: each turn is a tool call and repeats its input",
            Self::Told => {
                "no model: each turn does what its input tells it to, such as /ask may I?"
            }
        }
    }
}

/// What turns are made of, and how long that takes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(in crate::cli) struct EngineArgs {
    /// What the turns are made of.
    #[arg(long, value_enum, default_value_t = EngineKind::Replay)]
    pub(in crate::cli) engine: EngineKind,
    /// How long each item of a turn takes, about, so that there is something to watch: 200ms, 2s. Without
    /// it turns are as fast as they can.
    #[arg(long, value_name = "TIME", default_value = "0s", hide_default_value = true)]
    #[arg(value_parser = crate::cli::duration::parse)]
    pace: Duration,
}

/// The engine of a run. Each turn panics if the lot falls so.
pub(in crate::cli) fn engine(args: EngineArgs) -> impl Engine {
    let pace = args.pace;
    let engine: Arc<dyn Engine> = match args.engine {
        EngineKind::Replay => Arc::new(ReplayEngine::new().with_pace(pace)),
        EngineKind::Told => Arc::new(ScriptedEngine::new(|_, input| told::script(&told_by(input)))),
        EngineKind::Script => Arc::new(ScriptedEngine::new(move |cx, input| {
            let text = input.text();
            let script = Script::new().call("note", text.clone(), "noted");
            if pace.is_zero() {
                return script.say(text);
            }
            // Scattered, so that threads that began together do not stay together.
            let takes = pace.mul_f64(0.5 + lot::share(&format!("{}/{}", cx.thread(), cx.turn())));
            Script::new()
                .sleep(takes)
                .then(Step::Tool(10 * pace, takes))
                .call("note", text.clone(), "noted")
                .say(text)
        })),
    };
    CrashingEngine { engine }
}

/// What a crash by lot says. Nobody has to be told of it on the terminal.
pub(super) const CRASH: &str = "crash by lot";

struct CrashingEngine {
    engine: Arc<dyn Engine>,
}

impl fmt::Debug for CrashingEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashingEngine").finish_non_exhaustive()
    }
}

impl Engine for CrashingEngine {
    fn open(&self, cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        async move {
            let session = self.engine.open(cx).await?;
            Ok(Box::new(CrashingSession { session }) as Box<dyn EngineSession>)
        }
        .boxed()
    }
}

struct CrashingSession {
    session: Box<dyn EngineSession>,
}

impl EngineSession for CrashingSession {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        let crash = submission_of(&input).and_then(|id| Lot::drawn_for(cx.thread(), id));
        async move {
            match crash {
                None => self.session.run_turn(cx, input).await,
                Some(Crash::AtOnce) => panic!("{CRASH}, at once"),
                Some(Crash::InCall) => {
                    let call = format!("{}-lot", cx.attempt_key());
                    let (name, arguments) = ("lot".to_owned(), "{}".to_owned());
                    cx.emit(Item::ToolCall { call, name, arguments }).await?;
                    panic!("{CRASH}, in a tool call")
                }
                Some(Crash::AtEnd) => {
                    self.session.run_turn(cx, input).await?;
                    panic!("{CRASH}, at the end")
                }
            }
        }
        .boxed()
    }

    fn placement(&self) -> Option<Placement> {
        self.session.placement()
    }
}

/// What people told a turn: what mail says gives no orders.
fn told_by(input: &TurnInput) -> String {
    let texts = input.items.iter().filter_map(|item| match item {
        TurnItem::Input { input, .. } => Some(input.preview()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// What the turn works on; none if mail started it.
fn submission_of(input: &TurnInput) -> Option<&SubmissionId> {
    input.items.iter().find_map(|item| match item {
        TurnItem::Input { submission, .. } => Some(submission),
        _ => None,
    })
}
