//! An engine that writes known texts, and spawns a sub-agent where a step says so.

use std::time::Duration;

use coppicer::{
    Engine, EngineError, EngineSession, Item, OpenContext, Reads, SpawnThread, Submission,
    SubmissionId, ThreadConfig, TurnContext, TurnInput, TurnItem, TurnOutput, Usage,
};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use super::{Acks, restarts};
use crate::dice::Dice;
use crate::plan::{Step, StepId, agent_of, answer_of, mark_of, marked, script};
use crate::words::Word;

#[derive(Debug, Clone)]
pub(super) struct KnownTexts {
    seed: u64,
    acks: Acks,
}

impl KnownTexts {
    pub(super) const fn new(seed: u64, acks: Acks) -> Self {
        Self { seed, acks }
    }
}

impl Engine for KnownTexts {
    fn open(&self, _cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        ready(Ok(Box::new(self.clone()) as Box<dyn EngineSession>)).boxed()
    }

    fn reads(&self) -> Reads {
        Reads::ModelView
    }
}

impl EngineSession for KnownTexts {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        self.turn(cx, input).boxed()
    }
}

impl KnownTexts {
    async fn turn(&self, cx: &TurnContext, input: TurnInput) -> Result<TurnOutput, EngineError> {
        let said = input.items.iter().find_map(|item| match item {
            TurnItem::Input { input, .. } => Some(input.preview()),
            _ => None,
        });
        let Some(said) = said else {
            // Mail only: an agent told of its end.
            cx.emit(Item::answer("noted")).await?;
            return Ok(TurnOutput::done());
        };
        let step = marked(&said);
        cx.usage(Usage { output_tokens: 3, ..Usage::default() });
        let mut dice = Dice::of(self.seed, &[step.map_or(0, |step| step.at), said.len() as u64]);
        if dice.chance(30) {
            let call = format!("{}-{}", cx.turn(), input.attempt);
            let name = "tool".to_owned();
            cx.emit(Item::ToolCall { call: call.clone(), name, arguments: "{}".into() }).await?;
            pause(cx, dice.below(8)).await?;
            cx.emit(Item::ToolOutput { call, output: "done".into() }).await?;
        }
        for part in 0..dice.below(3) {
            cx.emit(Item::remark(format!("part {part}"))).await?;
        }
        if dice.chance(20) {
            pause(cx, dice.below(20)).await?;
        }
        if let Some(step) = step {
            let steps = script(self.seed, step.slot, step.life);
            if steps.get(step.at as usize) == Some(&Step::Delegate) {
                self.delegate(cx, step).await;
            }
        }
        let mark = step.map_or_else(|| said.clone(), mark_of);
        cx.emit(Item::answer(answer_of(&mark))).await?;
        Ok(TurnOutput::done())
    }

    async fn delegate(&self, cx: &TurnContext, step: StepId) {
        let first =
            Submission::input("a task").with_id(SubmissionId::new("task").expect("a plain name"));
        let request = SpawnThread::new()
            .with_id(agent_of(self.seed, step))
            .with_config(ThreadConfig::default().with_restart(restarts()))
            .with_first(first);
        if cx.spawn(request).await.is_ok() {
            self.acks.say(&Word::Agent(step));
        }
    }
}

async fn pause(cx: &TurnContext, ms: u64) -> Result<(), EngineError> {
    tokio::select! {
        biased;
        () = cx.cancelled() => Err(EngineError::Stopped),
        () = tokio::time::sleep(Duration::from_millis(ms)) => Ok(()),
    }
}
