//! Reply ports: how a request carries the place where its answer goes.

use std::fmt;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::{Deadline, Lease};

/// Where the answer to one request goes, and by when. Answered at most once; dropping it
/// unanswered tells the caller that nobody will.
pub struct Reply<T, E> {
    deadline: Deadline,
    to: oneshot::Sender<Result<T, E>>,
}

impl<T, E> Reply<T, E> {
    /// A port and the receiver of its answer. The lease (a pending reply) is returned when the
    /// caller stops waiting.
    pub fn channel(deadline: Deadline, lease: Option<Lease>) -> (Self, Answer<T, E>) {
        let (to, from) = oneshot::channel();
        (Self { deadline, to }, Answer { deadline, from, _lease: lease })
    }

    /// A port whose caller waits `slack` longer than the deadline that it asks for: for answers that
    /// are given at the deadline itself.
    pub fn channel_with_slack(
        deadline: Deadline,
        slack: Duration,
        lease: Option<Lease>,
    ) -> (Self, Answer<T, E>) {
        let (reply, mut answer) = Self::channel(deadline, lease);
        answer.deadline = Deadline::after(deadline.instant(), slack);
        (reply, answer)
    }

    /// By when the caller wants its answer.
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Whether nobody waits any more: the deadline has passed, or the caller is gone. Such a
    /// request is not executed (P4).
    pub fn expired(&self, now: Instant) -> bool {
        self.deadline.passed(now) || self.to.is_closed()
    }

    /// Whether the caller is gone.
    pub fn is_closed(&self) -> bool {
        self.to.is_closed()
    }

    /// Answers. `Err` gives the answer back if nobody took it: what it granted must be undone.
    pub fn send(self, answer: Result<T, E>) -> Result<(), Result<T, E>> {
        self.to.send(answer)
    }

    /// Answers, where an answer that nobody takes needs no undoing.
    pub fn tell(self, answer: Result<T, E>) {
        drop(self.to.send(answer));
    }
}

impl<T, E> fmt::Debug for Reply<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// The caller's end of a [`Reply`].
#[must_use = "an answer comes only to those who wait for it"]
pub struct Answer<T, E> {
    deadline: Deadline,
    from: oneshot::Receiver<Result<T, E>>,
    _lease: Option<Lease>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// The deadline came first. What was asked may still be under way; each request says what that
    /// means for it.
    Deadline,
    /// The one who was asked is gone.
    Gone,
}

impl<T, E: From<NoAnswer>> Answer<T, E> {
    /// Waits for the answer, until the deadline.
    ///
    /// # Errors
    /// The refusal, or the error that stands for [`NoAnswer`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up the answer; a request that was not taken up by then is not
    /// executed.
    pub async fn wait(mut self) -> Result<T, E> {
        match tokio::time::timeout_at(self.deadline.instant(), &mut self.from).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(NoAnswer::Gone.into()),
            Err(_) => {
                // From here on the answerer learns that nobody waits; what it sent before counts.
                self.from.close();
                match self.from.try_recv() {
                    Ok(answer) => answer,
                    Err(_) => Err(NoAnswer::Deadline.into()),
                }
            }
        }
    }
}

impl<T, E: From<NoAnswer>> Answer<T, E> {
    /// Waits for the answer, whatever the deadline: for what takes as long as it takes.
    ///
    /// # Errors
    /// The refusal, or the error that stands for [`NoAnswer::Gone`].
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    pub async fn wait_for_ever(self) -> Result<T, E> {
        self.from.await.unwrap_or_else(|_| Err(NoAnswer::Gone.into()))
    }
}

impl<T, E> fmt::Debug for Answer<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}
