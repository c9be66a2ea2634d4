//! Raw ractor: linked actors that answer calls. No store, no inbox with a bound, no events, no edges.

use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

/// What both kinds of actor are asked.
#[derive(Debug)]
pub(crate) enum Msg {
    /// Answer.
    Ask(RpcReplyPort<u32>),
}

/// An actor that answers, and lets those below it end as they like.
struct Echo;

impl Actor for Echo {
    type Msg = Msg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        Msg::Ask(reply): Msg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let _unread = reply.send(1);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Msg>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// An actor, with those that are linked below it.
#[derive(Debug, Clone)]
pub(crate) struct RawActor(ActorRef<Msg>);

impl RawActor {
    /// Starts one that nobody supervises.
    ///
    /// # Errors
    /// It did not start.
    pub(crate) async fn start() -> Result<Self, String> {
        let (actor, _join) = Actor::spawn(None, Echo, ()).await.map_err(told)?;
        Ok(Self(actor))
    }

    /// Spawns one that is linked below this one.
    ///
    /// # Errors
    /// It did not start.
    pub(crate) async fn spawn(&self) -> Result<Self, String> {
        let spawned = Actor::spawn_linked(None, Echo, (), self.0.get_cell()).await;
        let (actor, _join) = spawned.map_err(told)?;
        Ok(Self(actor))
    }

    /// Calls it.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn ask(&self) -> Result<u32, String> {
        match self.0.call(Msg::Ask, None).await.map_err(told)? {
            CallResult::Success(answer) => Ok(answer),
            other => Err(format!("{other:?}")),
        }
    }

    /// What a thread does for a turn at the least: an actor is spawned below it, answers, and stops.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn turn(&self) -> Result<u32, String> {
        let turn = self.spawn().await?;
        let answer = turn.ask().await;
        turn.0.stop(None);
        answer
    }

    /// Stops it, and waits until it has stopped.
    ///
    /// # Errors
    /// Another one stops it.
    pub(crate) async fn end(self) -> Result<(), String> {
        self.0.stop_and_wait(None, None).await.map_err(told)
    }

    /// Stops those below it, waits for them, and stops it.
    ///
    /// # Errors
    /// Another one stops it.
    pub(crate) async fn end_all(self) -> Result<(), String> {
        self.0.stop_children_and_wait(None, None).await;
        self.end().await
    }
}
