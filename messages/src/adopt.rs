//! Refusals of moves within and between trees.

use crate::{LimitReached, NoAnswer, PathError, StoreError, ThreadId};

/// Why a thread was not put below another, or made a root. It is where it was, unless the variant
/// says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// The store has no such thread.
    #[error("there is no thread {thread}")]
    NotFound {
        /// Which.
        thread: ThreadId,
    },
    /// It is closed, or what it belongs to is: resume it first.
    #[error("thread {thread} is closed")]
    Closed {
        /// Which.
        thread: ThreadId,
    },
    /// This thread is being closed: the one that was to move, the new parent, or one above that.
    #[error("thread {thread} is closing")]
    Closing {
        /// Which.
        thread: ThreadId,
    },
    /// It is being made, and whoever asked for it has not heard of it yet.
    #[error("thread {thread} is being made")]
    BeingMade {
        /// Which.
        thread: ThreadId,
    },
    /// It is being moved already, or the new parent is, or one above that; or it was moved by
    /// another while the store wrote this move, and is where that put it.
    #[error("thread {thread} is moved by somebody else")]
    Moving {
        /// Which.
        thread: ThreadId,
    },
    /// The new parent is the thread itself, or below it.
    #[error("thread {parent} cannot adopt {thread}, which it is itself or is below")]
    Cycle {
        /// Which was to move.
        thread: ThreadId,
        /// The parent that it was to have.
        parent: ThreadId,
    },
    /// The new parent has no actor and could not be woken, or is over.
    #[error("parent {parent} is gone")]
    ParentGone {
        /// Which.
        parent: ThreadId,
    },
    /// A turn adopts roots alone: it takes no thread away from another.
    #[error("thread {thread} has a parent, {parent}")]
    HasParent {
        /// Which was to move.
        thread: ThreadId,
        /// Its parent.
        parent: ThreadId,
    },
    /// The turn that asked is not the running one any more.
    #[error("the turn that asked is over")]
    Fenced,
    /// A bound of the new tree, of the new parent, or of the account that its budget would be carved
    /// from.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// It draws on a budget that is not its own, where it is or where it was to go, and not on the same
    /// one before and after. Moving would make it free of that, or would have it draw on what was not
    /// meant for it.
    #[error("thread {thread} has no {limit} of its own, and another thread would limit it in that")]
    Budget {
        /// Which.
        thread: ThreadId,
        /// What it is limited in, such as `budget.tokens`.
        limit: &'static str,
    },
    /// Another thread of the new tree has a path that it, or one below it, would have.
    #[error("agent path `{path}` already exists in the new tree")]
    PathTaken {
        /// The path.
        path: String,
    },
    /// A path below the new parent would be none.
    #[error("the path below the new parent is no path")]
    BadPath(#[from] PathError),
    /// The store refused, or does not say. If it does not say, the thread may be found in its new
    /// place by the next process.
    #[error("cannot store the move")]
    Store(#[source] StoreError),
    /// The deadline came first: it may still be moved.
    #[error("no answer by the deadline; look where the thread is")]
    NoAnswer,
    /// The runtime has ended.
    #[error("the runtime has ended")]
    RuntimeEnded,
}

impl From<NoAnswer> for AdoptError {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::Deadline => Self::NoAnswer,
            NoAnswer::Gone => Self::RuntimeEnded,
        }
    }
}
