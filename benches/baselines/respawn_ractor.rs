//! Raw ractor: a linked actor panics, its supervisor hears of it and spawns another, which answers.
//!
//! Nothing more: no state that comes back, no inbox that outlives the actor, no budget, no history.

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A child that answers until it is told to panic.
struct Child;

enum ChildMsg {
    /// Say when it was asked to panic, and panic with this text.
    Panic { text: &'static str, at: oneshot::Sender<Instant> },
    /// Answer.
    Ask(RpcReplyPort<u32>),
}

impl Actor for Child {
    type Msg = ChildMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<ChildMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<ChildMsg>,
        msg: ChildMsg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            ChildMsg::Panic { text, at } => {
                let _unread = at.send(Instant::now());
                panic!("{text}");
            }
            ChildMsg::Ask(reply) => {
                let _unread = reply.send(1);
            }
        }
        Ok(())
    }
}

/// Keeps one child.
struct Supervisor;

enum SupervisorMsg {
    /// Where the next child is told, once it is there. Answered when that is noted.
    Next(oneshot::Sender<ActorRef<ChildMsg>>, RpcReplyPort<()>),
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = Option<oneshot::Sender<ActorRef<ChildMsg>>>;
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<SupervisorMsg>,
        (): (),
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(None)
    }

    async fn handle(
        &self,
        _: ActorRef<SupervisorMsg>,
        SupervisorMsg::Next(to, noted): SupervisorMsg,
        next: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        *next = Some(to);
        let _unread = noted.send(());
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        next: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(..) = event
            && let Some(next) = next.take()
        {
            let (child, _join) = Actor::spawn_linked(None, Child, (), myself.get_cell()).await?;
            let _unread = next.send(child);
        }
        Ok(())
    }
}

/// A supervisor and its child.
pub(crate) struct Respawn {
    supervisor: ActorRef<SupervisorMsg>,
    child: ActorRef<ChildMsg>,
}

impl Respawn {
    /// Starts them.
    ///
    /// # Errors
    /// An actor did not start.
    pub(crate) async fn start() -> Result<Self, String> {
        let told = |error: ractor::SpawnErr| error.to_string();
        let (supervisor, _join) = Actor::spawn(None, Supervisor, ()).await.map_err(told)?;
        let spawned = Actor::spawn_linked(None, Child, (), supervisor.get_cell()).await;
        let (child, _join) = spawned.map_err(told)?;
        Ok(Self { supervisor, child })
    }

    /// Has the child panic with `text`, and asks the next one: from the panic to its answer.
    ///
    /// # Errors
    /// No answer came.
    pub(crate) async fn panic_and_ask(
        &mut self,
        text: &'static str,
    ) -> Result<std::time::Duration, String> {
        let (to, next) = oneshot::channel();
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let noted = self.supervisor.call(|noted| SupervisorMsg::Next(to, noted), None).await;
        noted.map_err(|e| told(&e))?;
        let (at, panicked) = oneshot::channel();
        self.child.cast(ChildMsg::Panic { text, at }).map_err(|e| told(&e))?;
        self.child = next.await.map_err(|e| told(&e))?;
        let asked = self.child.call(ChildMsg::Ask, None).await.map_err(|e| told(&e))?;
        let answered = Instant::now();
        match asked {
            ractor::rpc::CallResult::Success(_) => {}
            other => return Err(format!("{other:?}")),
        }
        Ok(answered - panicked.await.map_err(|e| told(&e))?)
    }

    /// Ends them.
    pub(crate) async fn end(self) {
        // Its child ends with it.
        let _ended = self.supervisor.stop_and_wait(None, None).await;
    }
}
