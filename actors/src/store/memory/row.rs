//! A thread as it is kept in memory: what most threads have, and pointers to what few have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use coppicer_messages::{
    AgentPath, Charge, CrashRecord, Epoch, KnownSubmission, Ledger, Mail, MailId, MailPage,
    MailPlace, MailRest, Raw, Seq, SubmissionId, ThreadConfig, ThreadDetails, ThreadId,
    ThreadPatch, ThreadStatus,
};

use crate::history::History;
use crate::seldom::{Blank, Seldom};
use crate::store::{Base, EdgeStatus, StoredThread};

/// A hash of a name.
pub(super) type NameKey = u64;

pub(super) struct Row {
    pub(super) kept: Kept,
    pub(super) history: History,
    /// Appends made under the newest fence.
    pub(super) appends: u64,
    pub(super) more: Seldom<More>,
}

/// What a thread has once something was asked of it, or it has children.
#[derive(Default)]
pub(super) struct More {
    pub(super) submissions: BTreeMap<SubmissionId, SubmissionRow>,
    pub(super) order: u64,
    /// Unread mail, with its place.
    pub(super) mail: Vec<(MailPlace, Mail)>,
    pub(super) mail_had: BTreeSet<MailId>,
    pub(super) children: BTreeSet<ThreadId>,
    /// Of a root: who below it has a name with this hash.
    pub(super) names: BTreeSet<(NameKey, ThreadId)>,
    /// What was asked of it last, unless its preview says the same.
    pub(super) task: Option<Box<str>>,
    pub(super) crashes: VecDeque<CrashRecord>,
    /// What its making changed in ledgers of others.
    pub(super) charged: Vec<Charge>,
}

impl Blank for More {
    const BLANK: &'static Self = &Self {
        submissions: BTreeMap::new(),
        order: 0,
        mail: Vec::new(),
        mail_had: BTreeSet::new(),
        children: BTreeSet::new(),
        names: BTreeSet::new(),
        task: None,
        crashes: VecDeque::new(),
        charged: Vec::new(),
    };

    fn is_blank(&self) -> bool {
        let Self { submissions, order, mail, mail_had, children, names, task, crashes, charged } =
            self;
        (submissions.is_empty() && *order == 0 && mail.is_empty() && mail_had.is_empty())
            && (children.is_empty() && names.is_empty())
            && (task.is_none() && crashes.is_empty() && charged.is_empty())
    }
}

impl More {
    /// Puts mail into the mailbox, unless it had it before.
    pub(super) fn post(&mut self, mail: Mail) {
        if self.mail_had.insert(mail.id.clone()) {
            self.mail.push((MailPlace(self.mail_had.len() as u64), mail));
        }
    }

    /// Unread mail from behind a place.
    pub(super) fn page(&self, after: MailPlace, most: usize) -> MailPage {
        let from = self.mail.partition_point(|(place, _)| *place <= after);
        let behind = self.mail.get(from..).unwrap_or_default();
        let (page, rest) = behind.split_at(most.min(behind.len()));
        let rest = MailRest {
            upto: page.last().map_or(after, |(place, _)| *place),
            more: !rest.is_empty(),
            triggers: rest.iter().any(|(_, mail)| mail.trigger),
        };
        MailPage { mail: page.iter().map(|(_, mail)| mail.clone()).collect(), rest }
    }
}

pub(super) struct SubmissionRow {
    pub(super) known: KnownSubmission,
    /// Kept until it has its outcome.
    pub(super) body: Option<Raw>,
    pub(super) order: u64,
}

/// A [`StoredThread`], without its id and its head, which its row has.
pub(super) struct Kept {
    pub(super) parent: Option<(ThreadId, EdgeStatus)>,
    pub(super) depth: u32,
    pub(super) path: Option<AgentPath>,
    pub(super) config: Arc<ThreadConfig>,
    pub(super) status: ThreadStatus,
    pub(super) settled: Seq,
    pub(super) epoch: Epoch,
    pub(super) created_ms: u64,
    pub(super) updated_ms: u64,
    pub(super) rare: Seldom<Rare>,
}

/// What few threads have.
#[derive(Default)]
pub(super) struct Rare {
    base: Option<Base>,
    rollout_path: Option<String>,
    details: ThreadDetails,
    pub(super) archived_ms: Option<u64>,
    pub(super) ledger: Option<Ledger>,
}

impl Blank for Rare {
    const BLANK: &'static Self = &Self {
        base: None,
        rollout_path: None,
        details: ThreadDetails::none(),
        archived_ms: None,
        ledger: None,
    };

    fn is_blank(&self) -> bool {
        let Self { base, rollout_path, details, archived_ms, ledger } = self;
        (base.is_none() && rollout_path.is_none() && archived_ms.is_none() && ledger.is_none())
            && *details == ThreadDetails::none()
    }
}

impl Kept {
    pub(super) fn of(stored: StoredThread) -> Self {
        let StoredThread { base, rollout_path, details, archived_ms, ledger, .. } = stored;
        Self {
            parent: stored.parent,
            depth: stored.depth,
            path: stored.path,
            config: stored.config,
            status: stored.status,
            settled: stored.settled,
            epoch: stored.epoch,
            created_ms: stored.created_ms,
            updated_ms: stored.updated_ms,
            rare: Rare { base, rollout_path, details, archived_ms, ledger }.into(),
        }
    }
}

impl Row {
    pub(super) fn head(&self) -> Seq {
        self.history.next_seq()
    }

    /// The thread, as it is told to others.
    pub(super) fn stored(&self, id: ThreadId) -> StoredThread {
        let kept = &self.kept;
        StoredThread {
            id,
            parent: kept.parent,
            base: kept.rare.base,
            depth: kept.depth,
            path: kept.path.clone(),
            config: kept.config.clone(),
            status: kept.status.clone(),
            rollout_path: kept.rare.rollout_path.clone(),
            details: kept.rare.details.clone(),
            task: self.more.task.as_deref().map(Into::into),
            head: self.head(),
            settled: kept.settled,
            epoch: kept.epoch,
            created_ms: kept.created_ms,
            updated_ms: kept.updated_ms,
            archived_ms: kept.rare.archived_ms,
            ledger: kept.rare.ledger,
        }
    }

    pub(super) fn patch(&mut self, id: ThreadId, patch: &ThreadPatch) {
        let mut stored = self.stored(id);
        stored.apply(patch);
        if stored.task.is_some() && stored.task == stored.details.preview {
            self.more.task = None;
        }
        self.kept = Kept::of(stored);
    }
}
