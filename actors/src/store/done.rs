//! Answers of a store: where they go, and how long somebody waits for one.

use std::fmt;

use coppicer_messages::{Deadline, StoreError};

/// Where the answer of a store goes. Called once; a store that drops it unanswered has told the
/// caller [`StoreError::UnknownOutcome`].
pub struct Done<T>(Option<Box<Then<T>>>);

type Then<T> = dyn FnOnce(Result<T, StoreError>) + Send;

impl<T> Done<T> {
    /// Runs `then` with the answer. It must not block: a store calls it from its writer.
    pub fn new(then: impl FnOnce(Result<T, StoreError>) + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }

    /// A place for an answer that nobody needs.
    pub fn ignore() -> Self {
        Self(None)
    }

    /// Answers.
    pub fn tell(mut self, result: Result<T, StoreError>) {
        if let Some(then) = self.0.take() {
            then(result);
        }
    }
}

impl<T: Send + 'static> Done<T> {
    /// An answer that can be awaited.
    pub fn channel() -> (Self, impl Future<Output = Result<T, StoreError>> + Send + 'static) {
        let (to, from) = tokio::sync::oneshot::channel();
        let done = Self::new(move |result| drop(to.send(result)));
        let lost = || StoreError::UnknownOutcome { reason: "the store dropped the request".into() };
        (done, async move { from.await.unwrap_or_else(|_| Err(lost())) })
    }
}

impl<T> Drop for Done<T> {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(Err(StoreError::UnknownOutcome {
                reason: "the store dropped the request".into(),
            }));
        }
    }
}

impl<T> fmt::Debug for Done<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Done")
    }
}

/// What a store answers by a deadline: a caller waits no longer for one that hangs (P4).
///
/// # Errors
/// The store's; `Unavailable` if it did not answer in time. For reads: whether a write that was not
/// answered was applied is not known.
///
/// # Cancel safety
/// Dropping the future gives up the answer.
pub async fn by<T>(
    deadline: Deadline,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = |_| Err(StoreError::Unavailable { reason: "it did not answer in time".into() });
    tokio::time::timeout_at(deadline.instant(), answer).await.unwrap_or_else(late)
}
