//! External processes that an engine starts: counted, and listed under their thread.

use std::fmt;
use std::sync::Arc;

use coppicer_messages::{Holdings, Lease, LeaseBook, LeaseKind, Limits};

use super::{OpenContext, TurnContext, TurnStopped, TurnWorld};

/// That an engine holds an external process. Keep it with the process, and drop it when that is
/// gone: until then the audit lists it under its thread, also if the turn was killed meanwhile or
/// the thread closed.
#[must_use = "a lease that is dropped at once was never held"]
pub struct ProcessLease {
    name: String,
    number: u64,
    owner: Arc<Holdings>,
    _lease: Lease,
}

impl ProcessLease {
    /// The name that the engine gave it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for ProcessLease {
    fn drop(&mut self) {
        self.owner.forget_process(self.number);
    }
}

impl fmt::Debug for ProcessLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessLease({:?})", self.name)
    }
}

/// Why a process may not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The turn was stopped: it starts nothing any more.
    #[error(transparent)]
    Stopped(#[from] TurnStopped),
    /// The thread has as many as it may have
    /// ([`Limits::processes_max`](coppicer_messages::Limits::processes_max)).
    #[error("the thread has {max} processes, and may have no more")]
    TooMany {
        /// How many it may have.
        max: usize,
    },
}

impl From<ProcessError> for super::EngineError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::Stopped(_) => Self::Stopped,
            other @ ProcessError::TooMany { .. } => Self::fatal(other.to_string()),
        }
    }
}

/// What a session needs to hold processes.
#[derive(Clone)]
pub(crate) struct ProcessBook {
    leases: Arc<LeaseBook>,
    limits: Arc<Limits>,
    owner: Arc<Holdings>,
}

impl ProcessBook {
    pub(crate) fn new(world: &TurnWorld, owner: &Arc<Holdings>) -> Self {
        let (leases, limits) = (world.leases.clone(), world.limits.clone());
        Self { leases, limits, owner: owner.clone() }
    }

    fn enter(&self, name: String) -> Result<ProcessLease, ProcessError> {
        let max = self.limits.processes_max;
        let Some(number) = self.owner.list_process(name.clone(), max) else {
            return Err(ProcessError::TooMany { max });
        };
        let lease = self.leases.grant_to(LeaseKind::Process, &self.owner);
        Ok(ProcessLease { name, number, owner: self.owner.clone(), _lease: lease })
    }
}

impl fmt::Debug for ProcessBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessBook")
    }
}

impl TurnContext {
    /// Says that the turn starts an external process. Take it before the process starts; names need
    /// not be unique.
    ///
    /// # Errors
    /// The turn was stopped; the thread has too many.
    pub fn process(&self, name: impl Into<String>) -> Result<ProcessLease, ProcessError> {
        if self.link.is_revoked() {
            return Err(TurnStopped.into());
        }
        ProcessBook::new(&self.world, self.slot.holdings()).enter(name.into())
    }
}

impl OpenContext {
    /// Says that the session starts an external process, as [`TurnContext::process`].
    ///
    /// # Errors
    /// The thread has too many.
    pub fn process(&self, name: impl Into<String>) -> Result<ProcessLease, ProcessError> {
        self.processes.enter(name.into())
    }
}
