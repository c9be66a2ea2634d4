//! Crashes that are kept, and turns that are not tried again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Epoch, Seq, TurnId};

/// How many crashes of one thread are kept; the oldest go first.
pub const CRASHES_KEPT_MAX: usize = 16;

/// A crash of a thread's engine or actor, or of its host in mid-turn. Kept with the thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashRecord {
    /// When it was recorded, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// In which incarnation.
    pub epoch: Epoch,
    /// In which turn, if one ran.
    pub turn: Option<TurnId>,
    /// The durable head at the crash.
    pub seq: Seq,
    /// How many records the attempt at the turn had written: two attempts that crash at the same
    /// place have the same.
    pub place: u64,
    /// What was said of it.
    pub cause: Arc<str>,
}

/// When a turn that crashes its thread is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Poison {
    /// Most crashes of one turn at the same place; at least 1. Counts where
    /// [`OnCrash::Retry`](crate::OnCrash::Retry) tries a turn again.
    pub same_place_max: u32,
    /// What follows then.
    pub then: AfterPoison,
}

impl Default for Poison {
    /// Three at the same place; then the thread goes on with what is queued.
    fn default() -> Self {
        Self { same_place_max: 3, then: AfterPoison::default() }
    }
}

/// What follows when a turn was closed as crashed for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterPoison {
    /// The thread goes on with what is queued.
    #[default]
    GoOn,
    /// The thread is parked.
    Park,
}
