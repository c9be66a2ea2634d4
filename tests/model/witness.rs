//! A store that sees each write and knows what may be written: an oracle for P1, P3 and P12 that does
//! not ask the runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coppicer::{
    Acquired, AgentPath, Batch, Charge, CrashRecord, Done, EdgeChange, EdgeStatus, Epoch, Fence,
    History, KnownSubmission, Ledger, Mail, MailId, MailPage, MailPlace, MemoryStore, NewRecord,
    NewThread, ParentClose, RecordClass, Seq, StoreError, StoredThread, SubmissionId,
    SubmissionState, ThreadId, ThreadMove, ThreadPage, ThreadPatch, ThreadQuery, ThreadStatus,
    ThreadStore,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::ledgers::Ledgers;

/// What was written of one thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) parent: Option<(ThreadId, EdgeStatus)>,
    pub(crate) depth: u32,
    pub(crate) epoch: Epoch,
    pub(crate) status: Option<ThreadStatus>,
    head: Seq,
    appends: u64,
    /// Those whom it may tell of its ends, if it may be moved.
    may_tell: Option<BTreeSet<ThreadId>>,
    pub(crate) submissions: BTreeMap<SubmissionId, SubmissionState>,
    /// Mail that it had, and whether it was taken.
    pub(crate) mail: BTreeMap<MailId, bool>,
    /// The stamp of its last `shutdown`.
    pub(crate) shut_at: Option<u64>,
    /// Hosts that ask for its revival now.
    reviving: usize,
    /// Whether one has since it was parked.
    revived: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) rows: BTreeMap<ThreadId, Row>,
    /// Threads that were there and are not any more.
    pub(crate) undone: usize,
    /// What they may use, and what they have used.
    pub(crate) ledgers: Ledgers,
    /// Counts writes.
    pub(crate) stamp: u64,
    /// Promises that were broken.
    pub(crate) broken: Vec<String>,
    /// What was written, for comparing two runs; none if nobody compares.
    pub(crate) trace: Option<Vec<String>>,
}

const NOTICE: &str = "<subagent_notification>";

impl Seen {
    fn note(&mut self, line: impl FnOnce() -> String) {
        self.stamp += 1;
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    fn created(&mut self, new: &NewThread, head: Seq) {
        self.note(|| format!("create {} below {:?} {:?}", new.id, new.parent, new.charges));
        if let Some(parent) = new.parent
            && !self.rows.contains_key(&parent)
        {
            self.broken.push(format!("P8: {} was made below {parent}, which is gone", new.id));
        }
        let above = new.parent.and_then(|parent| self.rows.get(&parent));
        let depth = above.map_or(new.depth, |above| above.depth + 1);
        let row = Row {
            parent: new.parent.map(|parent| (parent, EdgeStatus::Open)),
            depth,
            epoch: Epoch(1),
            status: Some(new.status.clone()),
            head,
            may_tell: (new.config.parent_close == ParentClose::Detach)
                .then(|| new.parent.into_iter().collect()),
            ..Row::default()
        };
        self.rows.insert(new.id, row);
        self.ledgers.made(new.id, new.config.budget.map(Ledger::new), &new.charges);
    }

    fn acquired(&mut self, acquired: &Acquired) {
        let thread = acquired.fence.thread;
        self.note(|| format!("acquire {thread} {}", acquired.fence.epoch));
        let Some(row) = self.rows.get_mut(&thread) else { return };
        if acquired.fence.epoch != row.epoch.next() {
            self.broken.push(format!("P1: {thread} was acquired twice with one epoch"));
        }
        row.epoch = acquired.fence.epoch;
        row.appends = 0;
    }

    fn removed(&mut self, thread: ThreadId) {
        self.note(|| format!("remove {thread}"));
        let row = self.rows.get(&thread);
        let ended = row.is_some_and(|row| row.status == Some(ThreadStatus::Shutdown));
        self.ledgers.undone(thread, ended);
        let mut gone = vec![thread];
        while let Some(thread) = gone.pop() {
            self.undone += usize::from(self.rows.remove(&thread).is_some());
            let below =
                self.rows.iter().filter(|(_, row)| row.parent.is_some_and(|(p, _)| p == thread));
            gone.extend(below.map(|(id, _)| *id));
        }
    }

    fn edge(&mut self, child: ThreadId, change: EdgeChange) {
        self.note(|| format!("edge {child} {change:?}"));
        let Some(row) = self.rows.get_mut(&child) else { return };
        row.parent = match change {
            EdgeChange::Status(status) => row.parent.map(|(parent, _)| (parent, status)),
            EdgeChange::Parent(parent, status) => Some((parent, status)),
            EdgeChange::Root => None,
        };
    }

    /// A host asks for the revival of a thread, or has been answered.
    pub(crate) fn reviving(&mut self, thread: ThreadId, asks: bool) {
        let Some(row) = self.rows.get_mut(&thread) else { return };
        row.revived |= asks;
        row.reviving = if asks { row.reviving + 1 } else { row.reviving.saturating_sub(1) };
    }

    /// A thread is to be moved: while it is, its ends may be told to the one or the other.
    pub(crate) fn may_move(&mut self, thread: ThreadId, to: Option<ThreadId>) {
        if let Some(row) = self.rows.get_mut(&thread) {
            let from = row.parent.map(|(parent, _)| parent);
            row.may_tell.get_or_insert_default().extend(from.into_iter().chain(to));
        }
    }

    fn relocated(&mut self, to: &ThreadMove) {
        let counted = self.ledgers.counted(&self.rows);
        self.note(|| format!("relocate {} {:?}", to.thread, to.charges));
        self.edge(to.thread, to.edge);
        self.ledgers.applied_moving(to.thread, &to.charges);
        self.ledgers.moved(&self.rows, counted);
        let parent = self.rows.get(&to.thread).and_then(|row| row.parent);
        let above = parent.and_then(|(parent, _)| self.rows.get(&parent));
        let mut next = vec![(to.thread, above.map_or(0, |above| above.depth + 1))];
        while let Some((thread, depth)) = next.pop() {
            if let Some(row) = self.rows.get_mut(&thread) {
                row.depth = depth;
            }
            let is_below = |row: &Row| row.parent.is_some_and(|(parent, _)| parent == thread);
            let below = self.rows.iter().filter(|(_, row)| is_below(row));
            next.extend(below.map(|(id, _)| (*id, depth + 1)));
        }
    }

    fn appended(&mut self, fence: Fence, expected: Seq, batch: &Batch) {
        let thread = fence.thread;
        self.note(|| {
            let classes: Vec<&str> =
                batch.records.iter().map(|record| record.class.name()).collect();
            format!(
                "append {thread} {} #{} at {expected}: {classes:?} {:?} {:?} mail {} taken {} {:?}",
                fence.epoch,
                batch.number,
                batch.states,
                batch.status,
                batch.mail.len(),
                batch.mail_taken.len(),
                batch.charges
            )
        });
        let stamp = self.stamp;
        let Some((parent, mut broken)) = self.rows.get_mut(&thread).map(|row| {
            let mut broken = Vec::new();
            if fence.epoch != row.epoch {
                broken.push(format!("P1: {thread} was written by {} in {}", fence.epoch, row.epoch));
            }
            if expected != row.head || batch.number != row.appends + 1 {
                broken.push(format!("P1: an append of {thread} left a gap"));
            }
            row.head = expected.plus(batch.records.len() as u64);
            row.appends = batch.number;
            for new in &batch.accepted {
                let before = row.submissions.insert(new.id.clone(), SubmissionState::Accepted);
                if before.is_some() {
                    broken.push(format!("P3: {thread} accepted {} twice", new.id));
                }
            }
            for (id, state) in &batch.states {
                match row.submissions.insert(id.clone(), state.clone()) {
                    None => broken.push(format!("P3: {thread} ran {id}, which it never accepted")),
                    Some(SubmissionState::Ended(first)) => {
                        broken.push(format!("P3: {id} of {thread} was {first:?}, then {state:?}"));
                        row.submissions.insert(id.clone(), SubmissionState::Ended(first));
                    }
                    Some(SubmissionState::Running { attempt: first }) => {
                        if matches!(state, SubmissionState::Running { attempt } if *attempt <= first) {
                            broken.push(format!("P3: attempt {first} at {id} of {thread} ran twice"));
                        }
                    }
                    Some(_) => {}
                }
            }
            // P7: what is parked runs again when it is revived, and not before.
            let was_parked = row.status == Some(ThreadStatus::Parked) && !row.revived;
            let starts = batch.records.iter().any(|it| matches!(it.class, RecordClass::TurnStarted { .. }));
            if was_parked && starts {
                broken.push(format!("P7: a turn of {thread} starts, which is parked"));
            }
            if let Some(status) = &batch.status {
                if *status == ThreadStatus::Shutdown {
                    row.shut_at = Some(stamp);
                } else if was_parked && *status != ThreadStatus::Parked {
                    broken.push(format!("P7: {thread} is {status:?}, and nobody revived it"));
                }
                if *status == ThreadStatus::Parked && row.status != Some(ThreadStatus::Parked) {
                    row.revived = row.reviving > 0;
                }
                row.status = Some(status.clone());
            }
            (row.parent, broken)
        }) else {
            return;
        };
        self.ledgers.applied_by(thread, &batch.charges);
        broken.extend(self.posted(thread, parent.map(|(parent, _)| parent), batch));
        self.broken.append(&mut broken);
    }

    /// Mail: each end of a child is told once, in the write of the end; what is read was there.
    fn posted(&mut self, thread: ThreadId, parent: Option<ThreadId>, batch: &Batch) -> Vec<String> {
        let mut broken = Vec::new();
        let mut notices = 0;
        let may_tell = self.rows.get(&thread).and_then(|row| row.may_tell.clone());
        for letter in &batch.mail {
            let notice = letter.mail.content.starts_with(NOTICE);
            notices += usize::from(notice);
            let may_move = may_tell.as_ref().is_some_and(|may| may.contains(&letter.to));
            if notice && Some(letter.to) != parent && !may_move {
                broken.push(format!("P12: {thread} told its end to {}", letter.to));
            }
            let Some(reader) = self.rows.get_mut(&letter.to) else { continue };
            if reader.mail.insert(letter.mail.id.clone(), false).is_some() {
                broken.push(format!("P12: {} got {} twice", letter.to, letter.mail.id));
            }
        }
        let ends = batch.records.iter().filter(|record| record.class.is_turn_end()).count();
        // A thread that closes together with its parent does not tell it.
        let most = ends + usize::from(batch.status == Some(ThreadStatus::Shutdown));
        // Of one that may be moved the store need not know yet that it has no parent any more.
        let least = if may_tell.is_some() { 0 } else { ends };
        if (parent.is_some() || may_tell.is_some()) && !(least..=most).contains(&notices) {
            broken.push(format!(
                "P12: {thread} had {ends} ends of turns and told its parent of {notices}"
            ));
        }
        let Some(row) = self.rows.get_mut(&thread) else { return broken };
        for id in &batch.mail_taken {
            if row.mail.insert(id.clone(), true) != Some(false) {
                broken.push(format!("P12: {thread} took {id}, which did not wait"));
            }
        }
        let is_mail = |class: &RecordClass| matches!(class, RecordClass::Envelope { .. });
        let read = batch.records.iter().filter(|record| is_mail(&record.class)).count();
        if read != batch.mail_taken.len() {
            let taken = batch.mail_taken.len();
            broken.push(format!("P12: {thread} took {taken} mails and wrote {read} down"));
        }
        broken
    }
}

/// A memory store, and what it was asked to write.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    store: Arc<MemoryStore>,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl Witness {
    pub(crate) fn new(traced: bool) -> Self {
        let trace = traced.then(Vec::new);
        let seen = Seen { trace, ..Seen::default() };
        Self { store: Arc::new(MemoryStore::new()), seen: Arc::new(Mutex::new(seen)) }
    }

    /// Notes what was done before whoever asked hears of it.
    fn then<T: Send + 'static>(
        &self,
        done: Done<T>,
        note: impl FnOnce(&mut Seen, &T) + Send + 'static,
    ) -> Done<T> {
        let seen = self.seen.clone();
        Done::new(move |result| {
            if let Ok(answer) = &result {
                note(&mut seen.lock(), answer);
            }
            done.tell(result);
        })
    }
}

impl ThreadStore for Witness {
    fn create(&self, thread: NewThread, records: Vec<NewRecord>, done: Done<Acquired>) {
        let new = thread.clone();
        let done = self.then(done, move |seen, acquired| seen.created(&new, acquired.thread.head));
        self.store.create(thread, records, done);
    }

    fn acquire(&self, thread: ThreadId, done: Done<Acquired>) {
        let done = self.then(done, Seen::acquired);
        self.store.acquire(thread, done);
    }

    fn append(&self, fence: Fence, expected: Seq, batch: Batch, done: Done<Seq>) {
        let written = batch.clone();
        let done = self.then(done, move |seen, _| seen.appended(fence, expected, &written));
        self.store.append(fence, expected, batch, done);
    }

    fn undo_create(&self, fence: Fence, done: Done<()>) {
        let done = self.then(done, move |seen, ()| seen.removed(fence.thread));
        self.store.undo_create(fence, done);
    }

    fn put_edge(&self, child: ThreadId, edge: EdgeChange, done: Done<()>) {
        let done = self.then(done, move |seen, ()| seen.edge(child, edge));
        self.store.put_edge(child, edge, done);
    }

    fn relocate(&self, to: ThreadMove, done: Done<()>) {
        let moved = to.clone();
        let done = self.then(done, move |seen, ()| seen.relocated(&moved));
        self.store.relocate(to, done);
    }

    fn delete(&self, thread: ThreadId, done: Done<u64>) {
        let done = self.then(done, move |seen, _| seen.removed(thread));
        self.store.delete(thread, done);
    }

    fn submission(&self, thread: ThreadId, id: &SubmissionId, done: Done<Option<KnownSubmission>>) {
        self.store.submission(thread, id, done);
    }

    fn mail(&self, thread: ThreadId, done: Done<Vec<Mail>>) {
        self.store.mail(thread, done);
    }

    fn mail_page(&self, thread: ThreadId, after: MailPlace, most: usize, done: Done<MailPage>) {
        self.store.mail_page(thread, after, most, done);
    }

    fn charge(&self, charges: Vec<Charge>, done: Done<Vec<Option<Ledger>>>) {
        let changed = charges.clone();
        let done = self.then(done, move |seen, _| {
            seen.note(|| format!("charge {changed:?}"));
            let Seen { ledgers, rows, .. } = seen;
            ledgers.applied(rows, &changed);
        });
        self.store.charge(charges, done);
    }

    fn crashes(&self, thread: ThreadId) -> BoxFuture<'_, Result<Vec<CrashRecord>, StoreError>> {
        self.store.crashes(thread)
    }

    fn count(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.count()
    }

    fn thread(&self, thread: ThreadId) -> BoxFuture<'_, Result<StoredThread, StoreError>> {
        self.store.thread(thread)
    }

    fn read_range(
        &self,
        thread: ThreadId,
        from: Seq,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<History, StoreError>> {
        self.store.read_range(thread, from, end)
    }

    fn view_start(
        &self,
        thread: ThreadId,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<Seq, StoreError>> {
        self.store.view_start(thread, end)
    }

    fn children(
        &self,
        parent: ThreadId,
        filter: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.store.children(parent, filter)
    }

    fn descendants(
        &self,
        root: ThreadId,
        filter: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.store.descendants(root, filter)
    }

    fn detaching(&self, root: ThreadId) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.store.detaching(root)
    }

    fn at_path(
        &self,
        root: ThreadId,
        path: &AgentPath,
    ) -> BoxFuture<'_, Result<Option<ThreadId>, StoreError>> {
        self.store.at_path(root, path)
    }

    fn nicknames_taken(
        &self,
        root: ThreadId,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        self.store.nicknames_taken(root, names)
    }

    fn list(&self, query: ThreadQuery) -> BoxFuture<'_, Result<ThreadPage, StoreError>> {
        self.store.list(query)
    }

    fn unfinished(
        &self,
        after: Option<ThreadId>,
        count: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.store.unfinished(after, count)
    }

    fn patch(&self, thread: ThreadId, patch: ThreadPatch, done: Done<StoredThread>) {
        self.store.patch(thread, patch, done);
    }

    fn archive(&self, thread: ThreadId, at_ms: Option<u64>, done: Done<StoredThread>) {
        self.store.archive(thread, at_ms, done);
    }
}
