//! What a thread's actor and the supervisor say of a thread when they are asked why it does what it
//! does.

use serde::{Deserialize, Serialize};

use crate::{QuestionId, SubmissionId, TurnId};

/// How many of the submissions that wait in a thread are named in its account.
pub const QUEUED_NAMED_MAX: usize = 64;

/// A submission that was accepted and not run yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueuedSubmission {
    /// Which.
    pub submission: SubmissionId,
    /// The wire name of its op.
    pub op: String,
}

impl QueuedSubmission {
    /// One that waits.
    pub fn new(submission: SubmissionId, op: &str) -> Self {
        Self { submission, op: op.to_owned() }
    }
}

/// What a thread's actor says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ThreadAccount {
    /// Submissions that were accepted and not run yet.
    pub queue: usize,
    /// The first of them, in order; at most [`QUEUED_NAMED_MAX`].
    pub queued: Vec<QueuedSubmission>,
    /// Mail that was not read yet; none if the store has more of it than the thread has here.
    pub mail: Option<usize>,
    /// The turn that waits in line for a permit.
    pub awaits_permit: Option<TurnId>,
    /// Whether it waits for the store to write.
    pub awaits_store: bool,
    /// Since when its turn runs, in milliseconds since the Unix epoch.
    pub turn_since_ms: Option<u64>,
    /// The how-many-th attempt at its submission the turn is.
    pub attempt: Option<u32>,
    /// Whether the turn pauses before its next attempt.
    pub retrying: bool,
    /// Until when no turn starts after a crash, in milliseconds since the Unix epoch.
    pub backoff_until_ms: Option<u64>,
    /// Questions that the host has not answered.
    pub questions: Vec<QuestionId>,
    /// Restarts of its engine that are left in the window that ends now.
    pub engine_restarts_left: u32,
    /// Whether it was told to close.
    pub closing: bool,
}

/// What the supervisor says of a thread that has a place in its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EntryAccount {
    /// Where it is in its life.
    pub stage: EntryStage,
    /// Until when it pauses before its actor comes back, in milliseconds since the Unix epoch.
    pub backoff_until_ms: Option<u64>,
    /// Restarts of its actor that are left in the window that ends now.
    pub actor_restarts_left: u32,
    /// Whether it is being closed.
    pub closing: bool,
    /// Whether its children are gone, and it was told to end.
    pub told_to_end: bool,
}

impl EntryAccount {
    /// What is known without a pause and without a close.
    pub const fn new(stage: EntryStage, actor_restarts_left: u32) -> Self {
        Self {
            stage,
            backoff_until_ms: None,
            actor_restarts_left,
            closing: false,
            told_to_end: false,
        }
    }
}

/// Where a thread is in its life, as its supervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryStage {
    /// Its actor is being brought up.
    Coming,
    /// It has an actor.
    Live,
    /// It pauses after a crash of its actor.
    Backoff,
    /// It went down with its parent, and comes back after it.
    AwaitParent,
    /// It went down with a sibling, and comes back after it.
    AwaitSibling,
    /// It waits until the store can write.
    AwaitStore,
    /// It has no actor until it is needed.
    Dormant,
    /// It is parked, without an actor.
    Lost,
}
