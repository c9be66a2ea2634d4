//! The engines of a run: replay or script, and crashes by lot.

use std::fmt;
use std::sync::Arc;

use coppicer::{
    Engine, EngineError, EngineSession, Item, OpenContext, Placement, ReplayEngine, Script,
    ScriptedEngine, ThreadId, TurnContext, TurnId, TurnInput, TurnOutput, digest,
};
use futures::FutureExt;
use futures::future::BoxFuture;

/// What a thread's turns are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum EngineKind {
    /// What the session's own turns recorded, in order and from the first again.
    Replay,
    /// A tool call and an answer that repeats the input.
    Script,
}

/// The engine of a run. Each turn panics if the lot falls so.
pub(super) fn engine(kind: EngineKind, lot: Lot) -> impl Engine {
    let engine: Arc<dyn Engine> = match kind {
        EngineKind::Replay => Arc::new(ReplayEngine::new()),
        EngineKind::Script => Arc::new(ScriptedEngine::new(|_, input| {
            let text = input.text();
            Script::new().call("note", text.clone(), "noted").say(text)
        })),
    };
    CrashingEngine { engine, lot }
}

/// What a crash by lot says. Nobody has to be told of it on the terminal.
pub(super) const CRASH: &str = "crash by lot";

/// Decides which turns crash: by seed, thread and turn alone, so that time does not matter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lot {
    pub(super) seed: u64,
    /// From 0 to 1.
    pub(super) probability: f64,
}

/// Where in a turn the engine panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    /// Before anything is emitted.
    AtOnce,
    /// With a tool call open.
    InCall,
    /// When all was emitted.
    AtEnd,
}

impl Lot {
    fn draw(self, thread: ThreadId, turn: &TurnId) -> Option<Crash> {
        let digest = digest(format!("{}/{thread}/{turn}", self.seed).as_bytes());
        let digest = u128::from_be_bytes(digest);
        let drawn = mix((digest >> 64) as u64 ^ mix(digest as u64));
        let fraction = (drawn >> 11) as f64 / (1u64 << 53) as f64;
        (fraction < self.probability).then(|| match mix(drawn) % 3 {
            0 => Crash::AtOnce,
            1 => Crash::InCall,
            _ => Crash::AtEnd,
        })
    }
}

/// Spreads the bits of a number (the finisher of `SplitMix64`).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct CrashingEngine {
    engine: Arc<dyn Engine>,
    lot: Lot,
}

impl fmt::Debug for CrashingEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashingEngine").field("lot", &self.lot).finish_non_exhaustive()
    }
}

impl Engine for CrashingEngine {
    fn open(&self, cx: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        async move {
            let session = self.engine.open(cx).await?;
            Ok(Box::new(CrashingSession { session, lot: self.lot }) as Box<dyn EngineSession>)
        }
        .boxed()
    }
}

struct CrashingSession {
    session: Box<dyn EngineSession>,
    lot: Lot,
}

impl EngineSession for CrashingSession {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        let crash = self.lot.draw(cx.thread(), cx.turn());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(seed: u64, probability: f64) -> Vec<Option<Crash>> {
        let lot = Lot { seed, probability };
        let thread = |n: u8| ThreadId::from_parts(1_000, [n; 10]);
        let turn = |n: u32| TurnId::new(format!("run.{n}")).unwrap();
        (0..=255).flat_map(|t| (0..20).map(move |n| lot.draw(thread(t), &turn(n)))).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_and_the_share_is_the_probability() {
        assert_eq!(draws(1, 0.3), draws(1, 0.3));
        assert_ne!(draws(1, 0.3), draws(2, 0.3));
        let crashes = draws(1, 0.3).into_iter().flatten().count();
        let share = crashes as f64 / (256.0 * 20.0);
        assert!((0.27..0.33).contains(&share), "{share}");
        for crash in [Crash::AtOnce, Crash::InCall, Crash::AtEnd] {
            assert!(draws(1, 0.3).contains(&Some(crash)));
        }
    }

    #[test]
    fn nothing_and_everything_can_crash() {
        assert!(draws(1, 0.0).iter().all(Option::is_none));
        assert!(draws(1, 1.0).iter().all(Option::is_some));
    }
}
