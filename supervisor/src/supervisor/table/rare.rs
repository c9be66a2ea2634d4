//! What few entries and few trees have.

use std::collections::BTreeMap;

use coppicer_actors::{Blank, RestartTracker};
use coppicer_messages::{AgentPath, ThreadId};
use tokio::time::Instant;

use super::super::rate::Rate;
use crate::nicknames::NamesUsed;

/// What few threads have at a time: crashes, and what is done to them beside work and closing.
#[derive(Default)]
pub(crate) struct Trouble {
    pub(crate) tracker: RestartTracker,
    pub(crate) crashes: u64,
    /// What it was killed for, if that counts as a crash of its own.
    pub(crate) crash_as: Option<String>,
    /// What the next incarnation keeps as the cause of its predecessor's crash.
    pub(crate) fell_of: Option<String>,
    /// When it comes back after its last crash, if it was to pause.
    pub(crate) back_at: Option<Instant>,
    /// Until when it is not asked again to give up its actor, because it had something to do after all.
    pub(crate) stays_until: Option<Instant>,
    /// The move of it that the store writes.
    pub(crate) moving: Option<u64>,
}

impl Blank for Trouble {
    const BLANK: &'static Self = &Self {
        tracker: RestartTracker::new(),
        crashes: 0,
        crash_as: None,
        fell_of: None,
        back_at: None,
        stays_until: None,
        moving: None,
    };

    fn is_blank(&self) -> bool {
        let Self { tracker, crashes, crash_as, fell_of, back_at, stays_until, moving } = self;
        (tracker.is_blank() && *crashes == 0 && crash_as.is_none() && fell_of.is_none())
            && (back_at.is_none() && stays_until.is_none() && moving.is_none())
    }
}

/// What a tree has that has names, or more threads than its root.
#[derive(Default)]
pub(super) struct Names {
    /// What was spawned of late.
    pub(super) rate: Rate,
    /// Names that are taken, also by dormant threads that left memory. Gone with the last entry.
    pub(super) paths: BTreeMap<AgentPath, ThreadId>,
    /// Names for people that were given in it, also to threads that are gone.
    pub(super) nicknames: NamesUsed,
}

impl Blank for Names {
    const BLANK: &'static Self =
        &Self { rate: Rate::new(), paths: BTreeMap::new(), nicknames: NamesUsed::new() };

    fn is_blank(&self) -> bool {
        let Self { rate, paths, nicknames } = self;
        rate.is_empty() && paths.is_empty() && nicknames.is_empty()
    }
}
