//! The supervisor of Coppicer: the runtime that hosts build, and the actor that replaces their map
//! of threads.
//!
//! Hosts use it through the facade crate `coppicer`.

mod agents;
mod audit;
mod directory;
mod keeping;
mod runtime;
mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;

pub use audit::{Audit, LeaseOwner, LeaseRow};
pub use runtime::{ImportThread, Resumed, Runtime, RuntimeBuilder, StartError};
pub use supervisor::Recover;
