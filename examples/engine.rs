//! An engine of a host, in full: it counts words with a "tool", and stops when it is told to.
//!
//! `cargo run --example engine`

use std::time::Duration;

use coppicer::{
    Engine, EngineError, EngineSession, Fact, Item, OpenContext, Runtime, SpawnThread, TapOptions,
    ThreadEvent, TurnContext, TurnInput, TurnOutput,
};
use futures::FutureExt;
use futures::future::BoxFuture;

struct WordCounter;

/// What one thread keeps between its turns. Lost in a crash, and rebuilt from the history.
struct Session {
    turns: usize,
}

impl Engine for WordCounter {
    fn open(&self, cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let turns = coppicer::recorded_turns(&cx.history).len().saturating_sub(1);
        async move { Ok(Box::new(Session { turns }) as Box<dyn EngineSession>) }.boxed()
    }
}

impl EngineSession for Session {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        async move {
            self.turns += 1;
            let text = input.text();
            let call = format!("{}-count", cx.turn());
            cx.emit(Item::ToolCall {
                call: call.clone(),
                name: "count_words".into(),
                arguments: format!("{{\"bytes\":{}}}", text.len()),
            })
            .await?;
            // A real tool runs here, beside the wish to stop.
            tokio::select! {
                () = cx.cancelled() => return Err(EngineError::Stopped),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            let words = text.split_whitespace().count();
            cx.emit(Item::ToolOutput { call, output: words.to_string() }).await?;
            cx.emit(Item::answer(format!("{words} words in turn {}", self.turns))).await?;
            Ok(TurnOutput::done())
        }
        .boxed()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().engine(WordCounter).start().await?;
    let mut tap = runtime.tap(TapOptions::all())?;
    let thread = runtime.spawn(SpawnThread::new()).await?;
    for text in ["one two three", "and four more words"] {
        let outcome = thread.run(text).await?;
        println!("{text:?}: {}", outcome.message().unwrap_or("no answer"));
    }
    runtime.shutdown(Duration::from_secs(5)).await?;
    let mut ended = 0;
    while let Some(item) = tap.next().await {
        let turn_ended = |fact: &Fact| matches!(fact, Fact::Thread(ThreadEvent::TurnEnded { .. }));
        ended += usize::from(item.event().is_some_and(|event| turn_ended(&event.fact)));
    }
    println!("the tap saw {ended} turns end");
    Ok(())
}
