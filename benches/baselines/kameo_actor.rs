//! Kameo: linked actors that answer. For the benches alone: the command does not carry a second actor
//! library along.

use kameo::actor::{ActorRef, Spawn};
use kameo::message::{Context, Message};

use super::keeper::told;

/// An actor that answers.
struct Echo;

impl kameo::Actor for Echo {
    type Args = Self;
    type Error = kameo::error::Infallible;

    async fn on_start(args: Self, _: ActorRef<Self>) -> Result<Self, Self::Error> {
        Ok(args)
    }
}

struct Ask;

impl Message<Ask> for Echo {
    type Reply = u32;

    async fn handle(&mut self, _: Ask, _: &mut Context<Self, u32>) -> u32 {
        1
    }
}

/// An actor, with those that are linked to it.
#[derive(Clone)]
pub(crate) struct KameoActor(ActorRef<Echo>);

impl KameoActor {
    /// Starts one that is linked to nobody.
    pub(crate) fn start() -> Self {
        Self(Echo::spawn(Echo))
    }

    /// Spawns one that is linked to this one.
    pub(crate) async fn spawn(&self) -> Self {
        Self(Echo::spawn_link(&self.0, Echo).await)
    }

    /// Asks it.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn ask(&self) -> Result<u32, String> {
        self.0.ask(Ask).await.map_err(told)
    }

    /// What a thread does for a turn at the least: an actor is spawned, answers, and stops.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn turn(&self) -> Result<u32, String> {
        let turn = self.spawn().await;
        let answer = turn.ask().await;
        turn.0.stop_gracefully().await.map_err(told)?;
        answer
    }

    /// Stops it, and waits until it has stopped.
    ///
    /// # Errors
    /// It has stopped already.
    pub(crate) async fn end(self) -> Result<(), String> {
        self.0.stop_gracefully().await.map_err(told)?;
        self.0.wait_for_shutdown().await;
        Ok(())
    }
}
