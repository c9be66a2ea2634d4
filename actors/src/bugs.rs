//! Faults of ours that a test can ask for, to see whether it finds them. Without the `testing` feature
//! there is nothing to ask for: [`Seeded::has`] is `false` at compile time.

/// A fault that can be seeded, and the line that it spoils.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A thread that did not end in time keeps its place in the table's books.
    SlotLeak,
    /// A notice about a thread removes whatever life has its id by then.
    StaleRemoval,
    /// What waits in the inbox dies with the actor.
    LostMailbox,
    /// A new incarnation tells the parent of an end that the last one has told.
    DoubleNotice,
    /// What a thread has left of its budget goes back twice.
    DoubleRefund,
    /// A parked thread whose actor comes back runs what is queued.
    ParkedRuns,
}

/// Which fault is seeded: none, if nobody asked.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Seeded {
    #[cfg(feature = "testing")]
    bug: Option<Bug>,
}

impl Seeded {
    /// This one.
    #[cfg(feature = "testing")]
    pub const fn with(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether `bug` is seeded.
    #[inline]
    pub fn has(self, bug: Bug) -> bool {
        #[cfg(feature = "testing")]
        return self.bug == Some(bug);
        #[cfg(not(feature = "testing"))]
        {
            let _ = bug;
            false
        }
    }
}
