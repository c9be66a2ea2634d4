//! An engine that replays what a thread's history recorded, turn by turn.

use std::collections::HashMap;
use std::time::Duration;

use coppicer_messages::{CallId, NewRecord, RecordClass, Seq};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::scripted::sleep;
use super::{Engine, EngineError, EngineSession, OpenContext, TurnContext, TurnInput, TurnOutput};
use crate::history::{History, RecordedTurn, record_of, recorded_turns, text_of};

/// Replays recorded sessions: the n-th turn that a thread runs adds what its n-th recorded turn had
/// added, from the first again after the last. A thread without recorded turns says what it was told.
///
/// Calls get ids of their own, so that no id stands twice in one history.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplayEngine {
    pace: Duration,
}

impl ReplayEngine {
    /// An engine that replays each thread's own history, as fast as it can.
    pub const fn new() -> Self {
        Self { pace: Duration::ZERO }
    }

    /// Takes about so long for each recorded item, from half to one and a half of it; the same item
    /// takes the same time in each run.
    #[must_use]
    pub const fn with_pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }
}

/// How long an item takes: scattered by its place, so that threads with equal histories differ little
/// and items of one history much.
fn pause(pace: Duration, turn: usize, seq: Seq) -> Duration {
    let spread = (seq.0.wrapping_mul(0x9e37_79b9) ^ (turn as u64).wrapping_mul(0x85eb_ca6b)) % 1000;
    pace / 2 + pace * spread as u32 / 1000
}

impl Engine for ReplayEngine {
    fn open(&self, cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let turns = recorded_turns(&cx.history);
        // The turn that is about to run is the last one in the history.
        let next = turns.len().saturating_sub(1);
        let turns = turns.into_iter().filter(|turn| !turn.items.is_empty()).collect();
        let session = Session { pace: self.pace, history: cx.history, turns, next };
        futures::future::ready(Ok(Box::new(session) as Box<dyn EngineSession>)).boxed()
    }
}

struct Session {
    pace: Duration,
    history: History,
    turns: Vec<RecordedTurn>,
    next: usize,
}

impl EngineSession for Session {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        let place = self.next;
        self.next += 1;
        async move {
            let Some(turn) =
                (!self.turns.is_empty()).then(|| &self.turns[place % self.turns.len()])
            else {
                self.pass(cx, &RecordClass::Other, pause(self.pace, place, Seq(0))).await?;
                cx.emit(super::Item::answer(input.text())).await?;
                return Ok(TurnOutput::done());
            };
            let mut renamed = HashMap::new();
            for (item, seq) in turn.items.iter().enumerate() {
                if cx.is_cancelled() {
                    return Err(EngineError::Stopped);
                }
                let Some(record) = self.history.get(*seq) else { continue };
                let said = matches!(record.class, RecordClass::AssistantMessage { .. })
                    .then(|| text_of(record))
                    .flatten();
                let fresh = match &record.class {
                    RecordClass::ToolCall { call, .. } => {
                        let id = format!("{}-{}-{item}", cx.turn(), input.attempt);
                        renamed.insert(call.clone(), CallId::from(id.as_str()));
                        rename_call(&record.raw, &id)
                    }
                    RecordClass::ToolOutput { call, .. } => match renamed.get(call) {
                        Some(id) => rename_call(&record.raw, id),
                        None => continue, // its call was not replayed
                    },
                    _ => Some(NewRecord {
                        at_ms: record.at_ms,
                        class: record.class.clone(),
                        raw: record.raw.clone(),
                    }),
                };
                if let Some(fresh) = fresh {
                    self.pass(cx, &record.class, pause(self.pace, place, *seq)).await?;
                    cx.emit_records(vec![fresh], said).await?;
                }
            }
            Ok(TurnOutput::done())
        }
        .boxed()
    }
}

impl Session {
    /// Lets the time of an item pass: that of an output is its tool's.
    async fn pass(
        &self,
        cx: &TurnContext,
        class: &RecordClass,
        time: Duration,
    ) -> Result<(), EngineError> {
        if time.is_zero() {
            return Ok(());
        }
        let tool = matches!(class, RecordClass::ToolOutput { .. });
        let _tool = tool.then(|| cx.tool(self.pace * 10));
        sleep(cx, time).await
    }
}

/// The line with another call id.
fn rename_call(line: &[u8], id: &str) -> Option<NewRecord> {
    let mut value: serde_json::Value = serde_json::from_slice(line).ok()?;
    *value.get_mut("payload")?.get_mut("call_id")? = id.into();
    Some(record_of(value.to_string().as_bytes()))
}
