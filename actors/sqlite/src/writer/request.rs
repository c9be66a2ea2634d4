//! What the writer is asked, and where its answers go.

use coppicer_actors::{
    Acquired, Batch, Done, EdgeChange, Fence, NewThread, StoredThread, ThreadMove,
};
use coppicer_messages::{
    Charge, KnownSubmission, Ledger, MailPage, MailPlace, NewRecord, Seq, StoreError, SubmissionId,
    ThreadId, ThreadPatch,
};

/// One request.
pub(crate) enum Request {
    Create {
        thread: Box<NewThread>,
        records: Vec<NewRecord>,
        done: Done<Acquired>,
    },
    Acquire {
        thread: ThreadId,
        done: Done<Acquired>,
    },
    Append {
        fence: Fence,
        expected: Seq,
        batch: Box<Batch>,
        done: Done<Seq>,
    },
    UndoCreate {
        fence: Fence,
        done: Done<()>,
    },
    PutEdge {
        child: ThreadId,
        change: EdgeChange,
        done: Done<()>,
    },
    Relocate {
        to: Box<ThreadMove>,
        done: Done<()>,
    },
    Submission {
        thread: ThreadId,
        id: SubmissionId,
        done: Done<Option<KnownSubmission>>,
    },
    Mail {
        thread: ThreadId,
        after: MailPlace,
        most: usize,
        done: Done<MailPage>,
    },
    Patch {
        thread: ThreadId,
        patch: Box<ThreadPatch>,
        done: Done<StoredThread>,
    },
    Archive {
        thread: ThreadId,
        at_ms: Option<u64>,
        done: Done<StoredThread>,
    },
    Delete {
        thread: ThreadId,
        done: Done<u64>,
    },
    Charge {
        charges: Vec<Charge>,
        done: Done<Vec<Option<Ledger>>>,
    },
    /// A reader found a damaged record.
    Quarantine {
        thread: ThreadId,
        seq: Seq,
        reason: String,
        done: Done<()>,
    },
}

impl Request {
    /// About how many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        /// What a request takes beside its texts.
        const BESIDE: usize = 256;
        let records = |records: &[NewRecord]| -> usize {
            records.iter().map(|record| record.raw.len() + BESIDE / 2).sum()
        };
        BESIDE
            + match self {
                Self::Create { records: new, .. } => records(new),
                Self::Append { batch, .. } => {
                    records(&batch.records)
                        + batch.accepted.iter().map(|new| new.body.len() + BESIDE).sum::<usize>()
                        + batch.mail.iter().map(|to| to.mail.content.len() + BESIDE).sum::<usize>()
                        + batch.states.len() * BESIDE
                }
                Self::Relocate { to, .. } => to.paths.len() * BESIDE,
                _ => 0,
            }
    }

    /// Answers that it was not carried out.
    pub(crate) fn refuse(self, error: StoreError) {
        match self {
            Self::Create { done, .. } | Self::Acquire { done, .. } => done.tell(Err(error)),
            Self::Append { done, .. } => done.tell(Err(error)),
            Self::UndoCreate { done, .. }
            | Self::PutEdge { done, .. }
            | Self::Relocate { done, .. }
            | Self::Quarantine { done, .. } => done.tell(Err(error)),
            Self::Submission { done, .. } => done.tell(Err(error)),
            Self::Mail { done, .. } => done.tell(Err(error)),
            Self::Patch { done, .. } | Self::Archive { done, .. } => done.tell(Err(error)),
            Self::Delete { done, .. } => done.tell(Err(error)),
            Self::Charge { done, .. } => done.tell(Err(error)),
        }
    }

    /// The thread that it is about.
    pub(crate) fn thread(&self) -> ThreadId {
        match self {
            Self::Charge { charges, .. } => {
                charges.first().map_or(ThreadId::from_parts(0, [0; 10]), |charge| charge.to)
            }
            Self::Create { thread, .. } => thread.id,
            Self::Append { fence, .. } | Self::UndoCreate { fence, .. } => fence.thread,
            Self::PutEdge { child, .. } => *child,
            Self::Relocate { to, .. } => to.thread,
            Self::Acquire { thread, .. }
            | Self::Submission { thread, .. }
            | Self::Mail { thread, .. }
            | Self::Patch { thread, .. }
            | Self::Archive { thread, .. }
            | Self::Delete { thread, .. }
            | Self::Quarantine { thread, .. } => *thread,
        }
    }

    /// Whether records may be left behind it that nobody needs.
    pub(crate) const fn may_leave_garbage(&self) -> bool {
        matches!(self, Self::UndoCreate { .. } | Self::Delete { .. })
    }

    /// Whether it changes nothing, so that its answer is certain whatever becomes of the commit.
    pub(crate) const fn only_reads(&self) -> bool {
        matches!(self, Self::Submission { .. } | Self::Mail { .. })
    }
}

/// What a request brought, told after the commit.
pub(crate) enum Answer {
    Acquired(Box<Acquired>),
    Head(Seq),
    Nothing,
    Known(Option<KnownSubmission>),
    Mail(MailPage),
    Thread(Box<StoredThread>),
    Count(u64),
    Ledgers(Vec<Option<Ledger>>),
    /// Whether it was not in quarantine before.
    Quarantined(bool),
}

/// Tells a request's answer. Each kind of request has one kind of answer.
pub(crate) fn tell(request: Request, answer: Result<Answer, StoreError>) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return request.refuse(error),
    };
    match (request, answer) {
        (Request::Create { done, .. } | Request::Acquire { done, .. }, Answer::Acquired(found)) => {
            done.tell(Ok(*found));
        }
        (Request::Append { done, .. }, Answer::Head(head)) => done.tell(Ok(head)),
        (
            Request::UndoCreate { done, .. }
            | Request::PutEdge { done, .. }
            | Request::Relocate { done, .. },
            Answer::Nothing,
        )
        | (Request::Quarantine { done, .. }, Answer::Quarantined(_)) => done.tell(Ok(())),
        (Request::Submission { done, .. }, Answer::Known(known)) => done.tell(Ok(known)),
        (Request::Mail { done, .. }, Answer::Mail(mail)) => done.tell(Ok(mail)),
        (Request::Patch { done, .. } | Request::Archive { done, .. }, Answer::Thread(thread)) => {
            done.tell(Ok(*thread));
        }
        (Request::Delete { done, .. }, Answer::Count(count)) => done.tell(Ok(count)),
        (Request::Charge { done, .. }, Answer::Ledgers(ledgers)) => done.tell(Ok(ledgers)),
        (request, _) => {
            tracing::error!("a request of the store had an answer of another kind");
            request.refuse(StoreError::UnknownOutcome { reason: "a fault in the store".into() });
        }
    }
}
