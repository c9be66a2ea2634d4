//! The way into a slot's inbox: a place is taken at once, or waited for in line.

use coppicer_messages::{Accepted, Answer, Deadline, LeaseKind, SubmitError, ThreadMsg};
use tokio::sync::oneshot;

use super::lanes::{InLine, Lanes, Place, Waiting};
use super::{Arrival, Door, Slot};

impl Slot {
    /// Puts a submission into the inbox, or refuses at once: without a permit nothing is allocated.
    ///
    /// # Errors
    /// `Overloaded`, `Parked` (never for mail), `Closed`; nothing was queued.
    pub fn submit(
        &self,
        entry: Arrival,
        make: impl FnOnce() -> (ThreadMsg, Answer<Accepted, SubmitError>),
    ) -> Result<Answer<Accepted, SubmitError>, SubmitError> {
        let mut lanes = self.lanes.lock();
        self.check_door(&lanes, entry)?;
        if lanes.used as usize >= self.common.inbox_max {
            return Err(self.overloaded(&lanes));
        }
        lanes.used += 1;
        self.common.leases.note_granted(LeaseKind::InboxPermit);
        Ok(self.push_input(lanes, make))
    }

    /// Puts a submission into the inbox, waiting in line for a place until `deadline`.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); `NoAnswer` if no place came free by the deadline.
    pub(crate) async fn submit_in_line(
        &self,
        entry: Arrival,
        deadline: Deadline,
        make: impl FnOnce() -> (ThreadMsg, Answer<Accepted, SubmitError>),
    ) -> Result<Answer<Accepted, SubmitError>, SubmitError> {
        let place = {
            let mut lanes = self.lanes.lock();
            self.check_door(&lanes, entry)?;
            if (lanes.used as usize) < self.common.inbox_max {
                lanes.used += 1;
                lanes.handed += 1;
                self.common.leases.note_granted(LeaseKind::InboxPermit);
                None
            } else if lanes.line.len() >= self.common.control_max {
                return Err(self.overloaded(&lanes));
            } else {
                let (to, from) = oneshot::channel();
                lanes.line.push_back(Waiting { entry, to });
                Some(InLine::new(self, from))
            }
        };
        let held = match place {
            None => Place::held(self),
            Some(mut in_line) => {
                match tokio::time::timeout_at(deadline.instant(), in_line.place()).await {
                    Ok(Some(place)) => place,
                    Ok(None) => {
                        // The line was sent away: the door says why.
                        self.check_door(&self.lanes.lock(), entry)?;
                        return Err(SubmitError::Closed { thread: self.thread() });
                    }
                    Err(_) => return Err(SubmitError::NoAnswer),
                }
            }
        };
        let mut lanes = self.lanes.lock();
        if let Err(refusal) = self.check_door(&lanes, entry) {
            drop(lanes); // the place takes the lock when it goes back
            return Err(refusal);
        }
        lanes.handed = lanes.handed.saturating_sub(1);
        held.keep();
        Ok(self.push_input(lanes, make))
    }

    /// Puts the first submission of a new thread into its inbox, before the actor is there.
    pub fn submit_first(&self, msg: ThreadMsg) {
        let mut lanes = self.lanes.lock();
        lanes.used += 1;
        self.common.leases.note_granted(LeaseKind::InboxPermit);
        lanes.input.push_back(msg);
    }

    fn check_door(&self, lanes: &Lanes, entry: Arrival) -> Result<(), SubmitError> {
        let thread = self.thread();
        match lanes.door {
            door if door.takes(entry) => Ok(()),
            Door::Parked => Err(SubmitError::Parked { thread }),
            Door::Open | Door::Dormant | Door::Closed => Err(SubmitError::Closed { thread }),
        }
    }

    fn overloaded(&self, lanes: &Lanes) -> SubmitError {
        SubmitError::Overloaded { depth: lanes.used as usize, capacity: self.common.inbox_max }
    }

    fn push_input(
        &self,
        mut lanes: parking_lot::MutexGuard<'_, Lanes>,
        make: impl FnOnce() -> (ThreadMsg, Answer<Accepted, SubmitError>),
    ) -> Answer<Accepted, SubmitError> {
        let (msg, answer) = make();
        lanes.input.push_back(msg);
        self.wake(lanes);
        answer
    }
}
