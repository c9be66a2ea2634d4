//! An engine that calls one tool in each turn.

use coppicer::{
    Engine, EngineError, EngineSession, Item, OpenContext, TurnContext, TurnInput, TurnOutput,
};
use futures::future::BoxFuture;

/// Looks something up, and answers.
#[derive(Debug)]
pub struct Librarian;

impl Engine for Librarian {
    fn open(&self, _: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        Box::pin(async { Ok(Box::new(Self) as Box<dyn EngineSession>) })
    }
}

impl EngineSession for Librarian {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        Box::pin(async move {
            let say = |error: coppicer::EmitError| EngineError::fatal(error.to_string());
            // A model's host takes the context as the header `traceparent`; a tool server in its request.
            tracing::info!(traceparent = ?cx.trace_context(), "would ask a model");
            let call = "call-1".to_owned();
            let asked = Item::ToolCall {
                call: call.clone(),
                name: "look_up".into(),
                arguments: "{}".into(),
            };
            cx.emit(asked).await.map_err(say)?;
            // Within the call's span: what the tool traces is below it.
            let output = cx.in_call(&call, async { look_up(&input.text()) }).await;
            cx.emit(Item::ToolOutput { call, output: output.clone() }).await.map_err(say)?;
            Ok(TurnOutput::message(output))
        })
    }
}

fn look_up(words: &str) -> String {
    let _span = tracing::info_span!("read_index").entered();
    format!("{} is on shelf {}", words, words.len())
}
