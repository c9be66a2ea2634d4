//! The queues of a slot.

use std::collections::VecDeque;

use coppicer_messages::{Outcome, OutcomeError, Reply, SubmissionId, ThreadMsg};
use ractor::ActorRef;
use tokio::sync::oneshot;

use super::{Arrival, Door, Slot};
use crate::seldom::Seldom;
use crate::thread::Wake;

pub(super) struct Lanes {
    pub(super) door: Door,
    /// Whether it is over for good: nothing is put in any more.
    pub(super) ended: bool,
    pub(super) actor: Option<ActorRef<Wake>>,
    /// Whether the actor was told that something waits, and has not found the lanes empty since.
    pub(super) woken: bool,
    pub(super) input: Seldom<VecDeque<ThreadMsg>>,
    pub(super) control: Seldom<VecDeque<ThreadMsg>>,
    /// Places of the inbox in use: submissions in `input`, and those accepted and not yet run.
    pub(super) used: u32,
    /// Of these, places handed to a caller that has not used them yet.
    pub(super) handed: u32,
    /// Those who wait for a place, first come first served.
    pub(super) line: Seldom<VecDeque<Waiting>>,
    pub(super) waiters: Seldom<Vec<(SubmissionId, Reply<Outcome, OutcomeError>)>>,
}

/// Somebody in line, with what is to go in.
pub(super) struct Waiting {
    pub(super) entry: Arrival,
    pub(super) to: oneshot::Sender<()>,
}

impl Lanes {
    pub(super) const fn new(door: Door) -> Self {
        Self {
            door,
            ended: false,
            actor: None,
            woken: false,
            input: Seldom::none(),
            control: Seldom::none(),
            used: 0,
            handed: 0,
            line: Seldom::none(),
            waiters: Seldom::none(),
        }
    }
}

/// A place in the inbox that is given back unless it is kept.
pub(super) struct Place<'a> {
    slot: &'a Slot,
    kept: bool,
}

impl<'a> Place<'a> {
    pub(super) const fn held(slot: &'a Slot) -> Self {
        Self { slot, kept: false }
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.slot.take_back_place();
        }
    }
}

/// Somebody who waits in line. A place that comes after they left goes to the next.
pub(super) struct InLine<'a> {
    slot: &'a Slot,
    from: oneshot::Receiver<()>,
}

impl<'a> InLine<'a> {
    pub(super) const fn new(slot: &'a Slot, from: oneshot::Receiver<()>) -> Self {
        Self { slot, from }
    }

    /// The place, once it is there; none if the line was sent away.
    pub(super) async fn place(&mut self) -> Option<Place<'a>> {
        (&mut self.from).await.ok().map(|()| Place::held(self.slot))
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.from.close();
        if self.from.try_recv().is_ok() {
            self.slot.take_back_place();
        }
    }
}
