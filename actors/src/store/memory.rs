//! A store in memory: for tests, and for threads that need not outlive the process.

mod names;
mod row;

use std::collections::HashSet;
use std::fmt;

use coppicer_messages::{
    ACQUIRED_MAIL_MAX, AgentPath, CRASHES_KEPT_MAX, Change, Charge, CrashRecord, Epoch,
    KnownSubmission, Ledger, Mail, MailId, MailPage, MailPlace, MailRest, NewRecord, ParentClose,
    Seq, StoreError, SubmissionId, SubmissionState, ThreadId, ThreadMap, ThreadPatch, ThreadStatus,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{
    Acquired, Batch, Done, EdgeChange, EdgeStatus, Fence, NewThread, OpenSubmission, StoredThread,
    ThreadMove, ThreadPage, ThreadQuery, ThreadStore, descend, view_start,
};
use crate::history::History;
use row::{Kept, More, Row, SubmissionRow};

/// Threads in memory. Answers at once, from the caller's own thread.
#[derive(Default)]
pub struct MemoryStore {
    /// Boxed: the map grows without moving them.
    threads: Mutex<Rows>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many threads there are.
    pub fn len(&self) -> usize {
        self.threads.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("threads", &self.len()).finish()
    }
}

type Rows = ThreadMap<Box<Row>>;

fn not_found(thread: ThreadId) -> StoreError {
    StoreError::NotFound { thread }
}

fn create(
    rows: &mut Rows,
    new: NewThread,
    records: Vec<NewRecord>,
) -> Result<Acquired, StoreError> {
    let thread = new.id;
    if rows.contains_key(&thread) {
        return Err(StoreError::Exists { thread });
    }
    if let Some(parent) = new.parent
        && !rows.contains_key(&parent)
    {
        return Err(StoreError::BadParent { thread, parent, reason: "there is no such thread" });
    }
    if let (Some(parent), Some(path)) = (new.parent, &new.path) {
        names::check(rows, parent, path, thread)?;
    }
    let mut history = match new.base {
        Some(base) => {
            let source = rows.get(&base.thread).ok_or_else(|| not_found(base.thread))?;
            source.history.prefix(base.cut.0)
        }
        None => History::default(),
    };
    for record in records {
        history.append(record);
    }
    let mut depth = new.depth;
    if let Some(parent) = new.parent.and_then(|parent| rows.get_mut(&parent)) {
        parent.more.children.insert(thread);
        depth = parent.kept.depth + 1; // it may have been moved since it was asked for
    }
    let stored = StoredThread {
        id: thread,
        parent: new.parent.map(|parent| (parent, EdgeStatus::Open)),
        base: new.base,
        depth,
        path: new.path,
        ledger: new.config.budget.map(Ledger::new),
        config: new.config,
        status: new.status,
        rollout_path: new.rollout_path,
        details: new.details,
        task: None,
        head: history.next_seq(),
        settled: if new.settled { history.next_seq() } else { Seq(0) },
        epoch: Epoch(1),
        created_ms: new.created_ms,
        updated_ms: new.created_ms,
        archived_ms: None,
    };
    let more = More { charged: new.charges.clone(), ..More::default() };
    let row = Row { kept: Kept::of(stored), history, appends: 0, more: more.into() };
    rows.insert(thread, Box::new(row));
    names::list(rows, thread);
    charge(rows, &new.charges); // its own ledger too
    Ok(Acquired {
        fence: Fence { thread, epoch: Epoch(1) },
        thread: rows[&thread].stored(thread),
        open: Vec::new(),
        mail: Vec::new(),
        mail_rest: MailRest::default(),
        crashes: Vec::new(),
    })
}

fn acquire(rows: &mut Rows, thread: ThreadId) -> Result<Acquired, StoreError> {
    let row = rows.get_mut(&thread).ok_or_else(|| not_found(thread))?;
    row.kept.epoch = row.kept.epoch.next();
    row.appends = 0;
    let mut open: Vec<(u64, OpenSubmission)> = row
        .more
        .submissions
        .iter()
        .filter_map(|(id, submission)| {
            let body = submission.body.clone()?;
            let open = OpenSubmission {
                id: id.clone(),
                seq: submission.known.seq,
                body,
                state: submission.known.state.clone(),
            };
            Some((submission.order, open))
        })
        .collect();
    open.sort_by_key(|(order, _)| *order);
    let MailPage { mail, rest } = row.more.page(MailPlace(0), ACQUIRED_MAIL_MAX);
    Ok(Acquired {
        fence: Fence { thread, epoch: row.kept.epoch },
        thread: row.stored(thread),
        open: open.into_iter().map(|(_, open)| open).collect(),
        mail,
        mail_rest: rest,
        crashes: row.more.crashes.iter().cloned().collect(),
    })
}

/// Changes ledgers; those that there are.
fn charge(rows: &mut Rows, charges: &[Charge]) -> Vec<Option<Ledger>> {
    for charge in charges {
        let rare = rows.get_mut(&charge.to).and_then(|row| row.kept.rare.there());
        if let Some(ledger) = rare.and_then(|rare| rare.ledger.as_mut()) {
            ledger.apply(charge);
        }
    }
    let after = |charge: &Charge| rows.get(&charge.to).and_then(|row| row.kept.rare.ledger);
    charges.iter().map(after).collect()
}

fn append(rows: &mut Rows, fence: Fence, expected: Seq, batch: Batch) -> Result<Seq, StoreError> {
    let Fence { thread, epoch } = fence;
    let row = rows.get_mut(&thread).ok_or_else(|| not_found(thread))?;
    if row.kept.epoch != epoch {
        return Err(StoreError::Fenced { thread });
    }
    let head = row.head();
    if head != expected {
        return Err(StoreError::HeadConflict { thread, expected, head });
    }
    if batch.number != 0 {
        if batch.number != row.appends + 1 {
            // One before it was refused: what follows from it must not be applied either.
            return Err(StoreError::Fenced { thread });
        }
        row.appends = batch.number;
    }
    for record in batch.records {
        row.history.append(record);
    }
    for new in batch.accepted {
        let more = &mut *row.more;
        more.order += 1;
        let submission = SubmissionRow {
            known: KnownSubmission::new(new.digest, head, SubmissionState::Accepted),
            body: Some(new.body),
            order: more.order,
        };
        more.submissions.entry(new.id).or_insert(submission);
    }
    for (id, state) in batch.states {
        if let Some(submission) = row.more.submissions.get_mut(&id) {
            if matches!(submission.known.state, SubmissionState::Ended(_)) {
                continue;
            }
            if matches!(state, SubmissionState::Ended(_)) {
                submission.body = None;
            }
            submission.known.state = state;
        }
    }
    if let Some(status) = batch.status {
        row.kept.status = status;
    }
    if let Some(task) = batch.task {
        row.more.task = Some(task.into());
    }
    row.kept.updated_ms = batch.updated_ms.unwrap_or(row.kept.updated_ms);
    if batch.settled {
        row.kept.settled = row.head();
    }
    if !batch.crashes.is_empty() {
        let crashes = &mut row.more.crashes;
        crashes.extend(batch.crashes);
        let too_many = crashes.len().saturating_sub(CRASHES_KEPT_MAX);
        crashes.drain(..too_many);
    }
    let head = row.head();
    if let Some(patch) = &batch.patch {
        names::apply(rows, thread, patch);
    }
    charge(rows, &batch.charges);
    for out in batch.mail {
        if let Some(reader) = rows.get_mut(&out.to) {
            reader.more.post(out.mail);
        }
    }
    // After the mail: a thread may take what it is sent in the same append.
    if !batch.mail_taken.is_empty()
        && let Some(row) = rows.get_mut(&thread)
    {
        let taken: HashSet<&MailId> = batch.mail_taken.iter().collect();
        row.more.mail.retain(|(_, mail)| !taken.contains(&mail.id));
    }
    Ok(head)
}

fn undo_create(rows: &mut Rows, fence: Fence) -> Result<(), StoreError> {
    let Fence { thread, epoch } = fence;
    match rows.get(&thread) {
        None => Ok(()),
        Some(row) if row.kept.epoch != epoch => Err(StoreError::Fenced { thread }),
        Some(row) => {
            let ended = row.kept.status == ThreadStatus::Shutdown;
            let charged = row.more.charged.iter();
            let back: Vec<Charge> = charged.map(|charge| charge.undone(ended)).collect();
            charge(rows, &back);
            delete(rows, thread).map(drop)
        }
    }
}

fn put_edge(rows: &mut Rows, child: ThreadId, change: EdgeChange) -> Result<(), StoreError> {
    let Some(before) = rows.get(&child).map(|row| row.kept.parent) else { return Ok(()) };
    let after = match change {
        EdgeChange::Status(status) => before.map(|(parent, _)| (parent, status)),
        EdgeChange::Parent(parent, _) if !rows.contains_key(&parent) => {
            let reason = "there is no such thread";
            return Err(StoreError::BadParent { thread: child, parent, reason });
        }
        EdgeChange::Parent(parent, status) => Some((parent, status)),
        EdgeChange::Root => None,
    };
    let moves = before.map(|(parent, _)| parent) != after.map(|(parent, _)| parent);
    let branch = if moves { names::branch(rows, child) } else { Vec::new() };
    for thread in &branch {
        names::unlist(rows, *thread);
    }
    if let Some(row) = rows.get_mut(&child) {
        row.kept.parent = after;
    }
    if let Some(old) = before.and_then(|(parent, _)| rows.get_mut(&parent)) {
        old.more.children.remove(&child);
    }
    if let Some(new) = after.and_then(|(parent, _)| rows.get_mut(&parent)) {
        new.more.children.insert(child);
    }
    for thread in branch {
        names::list(rows, thread);
    }
    Ok(())
}

fn relocate(rows: &mut Rows, to: ThreadMove) -> Result<(), StoreError> {
    let ThreadMove { thread, edge, paths, charges, epoch } = to;
    if let (Some(epoch), Some(row)) = (epoch, rows.get(&thread))
        && row.kept.epoch != epoch
    {
        return Err(StoreError::Fenced { thread });
    }
    put_edge(rows, thread, edge)?;
    for (thread, path) in paths {
        names::unlist(rows, thread);
        if let Some(row) = rows.get_mut(&thread) {
            row.kept.path = path;
        }
        names::list(rows, thread);
    }
    charge(rows, &charges);
    // Levels of all that went along.
    let parent = rows.get(&thread).and_then(|row| row.kept.parent);
    let above = parent.and_then(|(parent, _)| rows.get(&parent));
    let mut level = vec![(thread, above.map_or(0, |above| above.kept.depth + 1))];
    let mut seen = HashSet::from([thread]);
    while let Some((id, depth)) = level.pop() {
        if let Some(row) = rows.get_mut(&id) {
            row.kept.depth = depth;
            let below = row.more.children.iter().copied();
            level.extend(below.filter(|child| seen.insert(*child)).map(|child| (child, depth + 1)));
        }
    }
    Ok(())
}

fn has_work(row: &Row) -> bool {
    let open = || row.more.submissions.values().any(|submission| submission.body.is_some());
    let at_rest = matches!(row.kept.status, ThreadStatus::Shutdown | ThreadStatus::Parked);
    !at_rest && (row.more.mail.iter().any(|(_, mail)| mail.trigger) || open())
}

fn unfinished(rows: &Rows, after: Option<ThreadId>, count: usize) -> Vec<ThreadId> {
    let behind = |id: &ThreadId| after.is_none_or(|after| *id > after);
    let mut found: Vec<ThreadId> =
        rows.iter().filter(|(id, row)| behind(id) && has_work(row)).map(|(id, _)| *id).collect();
    found.sort_unstable();
    found.truncate(count);
    found
}

/// Histories share their records, so what forks need of a deleted thread stays with them.
fn delete(rows: &mut Rows, thread: ThreadId) -> Result<u64, StoreError> {
    let parent = rows.get(&thread).ok_or_else(|| not_found(thread))?.kept.parent;
    let gone = names::branch(rows, thread);
    for id in &gone {
        names::unlist(rows, *id);
    }
    for id in &gone {
        rows.remove(id);
    }
    if let Some(parent) = parent.and_then(|(parent, _)| rows.get_mut(&parent)) {
        parent.more.children.remove(&thread);
    }
    Ok(gone.len() as u64)
}

fn patch(
    rows: &mut Rows,
    thread: ThreadId,
    patch: &ThreadPatch,
) -> Result<StoredThread, StoreError> {
    if let Some((what, got)) = patch.too_long() {
        return Err(StoreError::TooLarge { what, got, max: ThreadPatch::FIELD_BYTES_MAX });
    }
    if !rows.contains_key(&thread) {
        return Err(not_found(thread));
    }
    if let Change::Set(path) = &patch.path {
        names::check(rows, thread, path, thread)?;
    }
    names::apply(rows, thread, patch);
    rows.get(&thread).map(|row| row.stored(thread)).ok_or_else(|| not_found(thread))
}

fn children(rows: &Rows, parent: ThreadId, filter: Option<EdgeStatus>) -> Vec<ThreadId> {
    let Some(row) = rows.get(&parent) else { return Vec::new() };
    row.more
        .children
        .iter()
        .copied()
        .filter(|child| {
            let edge = rows.get(child).and_then(|row| row.kept.parent);
            filter.is_none_or(|wanted| edge.is_some_and(|(_, status)| status == wanted))
        })
        .collect()
}

impl ThreadStore for MemoryStore {
    fn create(&self, thread: NewThread, records: Vec<NewRecord>, done: Done<Acquired>) {
        let result = create(&mut self.threads.lock(), thread, records);
        done.tell(result);
    }

    fn acquire(&self, thread: ThreadId, done: Done<Acquired>) {
        let result = acquire(&mut self.threads.lock(), thread);
        done.tell(result);
    }

    fn append(&self, fence: Fence, expected: Seq, batch: Batch, done: Done<Seq>) {
        let result = append(&mut self.threads.lock(), fence, expected, batch);
        done.tell(result);
    }

    fn undo_create(&self, fence: Fence, done: Done<()>) {
        let result = undo_create(&mut self.threads.lock(), fence);
        done.tell(result);
    }

    fn put_edge(&self, child: ThreadId, edge: EdgeChange, done: Done<()>) {
        let result = put_edge(&mut self.threads.lock(), child, edge);
        done.tell(result);
    }

    fn relocate(&self, to: ThreadMove, done: Done<()>) {
        let result = relocate(&mut self.threads.lock(), to);
        done.tell(result);
    }

    fn submission(&self, thread: ThreadId, id: &SubmissionId, done: Done<Option<KnownSubmission>>) {
        let result = match self.threads.lock().get(&thread) {
            Some(row) => Ok(row.more.submissions.get(id).map(|row| row.known.clone())),
            None => Err(not_found(thread)),
        };
        done.tell(result);
    }

    fn mail(&self, thread: ThreadId, done: Done<Vec<Mail>>) {
        let result = match self.threads.lock().get(&thread) {
            Some(row) => Ok(row.more.page(MailPlace(0), usize::MAX).mail),
            None => Err(not_found(thread)),
        };
        done.tell(result);
    }

    fn mail_page(&self, thread: ThreadId, after: MailPlace, most: usize, done: Done<MailPage>) {
        let result = match self.threads.lock().get(&thread) {
            Some(row) => Ok(row.more.page(after, most)),
            None => Err(not_found(thread)),
        };
        done.tell(result);
    }

    fn charge(&self, charges: Vec<Charge>, done: Done<Vec<Option<Ledger>>>) {
        let ledgers = charge(&mut self.threads.lock(), &charges);
        done.tell(Ok(ledgers));
    }

    fn crashes(&self, thread: ThreadId) -> BoxFuture<'_, Result<Vec<CrashRecord>, StoreError>> {
        let found =
            self.threads.lock().get(&thread).map(|row| row.more.crashes.iter().cloned().collect());
        futures::future::ready(found.ok_or_else(|| not_found(thread))).boxed()
    }

    fn count(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        futures::future::ready(Ok(self.len() as u64)).boxed()
    }

    fn thread(&self, thread: ThreadId) -> BoxFuture<'_, Result<StoredThread, StoreError>> {
        let result = self.threads.lock().get(&thread).map(|row| row.stored(thread));
        futures::future::ready(result.ok_or_else(|| not_found(thread))).boxed()
    }

    fn read_range(
        &self,
        thread: ThreadId,
        from: Seq,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<History, StoreError>> {
        let result = match self.threads.lock().get(&thread) {
            Some(row) => {
                let whole = row.history.prefix(end.map_or(u64::MAX, |end| end.0));
                Ok(if from.0 == 0 { whole } else { whole.from(from) })
            }
            None => Err(not_found(thread)),
        };
        futures::future::ready(result).boxed()
    }

    fn view_start(
        &self,
        thread: ThreadId,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<Seq, StoreError>> {
        let result = match self.threads.lock().get(&thread) {
            Some(row) => {
                let history = row.history.prefix(end.map_or(u64::MAX, |end| end.0));
                Ok(view_start(&history))
            }
            None => Err(not_found(thread)),
        };
        futures::future::ready(result).boxed()
    }

    fn children(
        &self,
        parent: ThreadId,
        filter: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        let found = children(&self.threads.lock(), parent, filter);
        futures::future::ready(Ok(found)).boxed()
    }

    fn descendants(
        &self,
        root: ThreadId,
        filter: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        let rows = self.threads.lock();
        let found = descend(root, |parent| children(&rows, parent, filter));
        futures::future::ready(Ok(found)).boxed()
    }

    fn detaching(&self, root: ThreadId) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        let rows = self.threads.lock();
        let detaches = |id: &ThreadId| {
            let config = rows.get(id).map(|row| row.kept.config.parent_close);
            config == Some(ParentClose::Detach)
        };
        let mut found = Vec::new();
        descend(root, |parent| {
            let below = children(&rows, parent, Some(EdgeStatus::Open));
            let (go_on, others) = below.into_iter().partition(detaches);
            let mut go_on: Vec<ThreadId> = go_on;
            found.append(&mut go_on);
            others
        });
        futures::future::ready(Ok(found)).boxed()
    }

    fn at_path(
        &self,
        root: ThreadId,
        path: &AgentPath,
    ) -> BoxFuture<'_, Result<Option<ThreadId>, StoreError>> {
        let found = names::at_path(&self.threads.lock(), root, path);
        futures::future::ready(Ok(found)).boxed()
    }

    fn nicknames_taken(
        &self,
        root: ThreadId,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        let taken = names::nicknames_taken(&self.threads.lock(), root, names);
        futures::future::ready(Ok(taken)).boxed()
    }

    fn list(&self, query: ThreadQuery) -> BoxFuture<'_, Result<ThreadPage, StoreError>> {
        let rows = self.threads.lock();
        let page = query.page_of(rows.iter().map(|(id, row)| row.stored(*id)));
        futures::future::ready(page).boxed()
    }

    fn unfinished(
        &self,
        after: Option<ThreadId>,
        count: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        let found = unfinished(&self.threads.lock(), after, count);
        futures::future::ready(Ok(found)).boxed()
    }

    fn is_unfinished(&self, thread: ThreadId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let is = self.threads.lock().get(&thread).is_some_and(|row| has_work(row));
        futures::future::ready(Ok(is)).boxed()
    }

    fn patch(&self, thread: ThreadId, patch: ThreadPatch, done: Done<StoredThread>) {
        let result = self::patch(&mut self.threads.lock(), thread, &patch);
        done.tell(result);
    }

    fn archive(&self, thread: ThreadId, at_ms: Option<u64>, done: Done<StoredThread>) {
        let result = match self.threads.lock().get_mut(&thread) {
            Some(row) => {
                let archived_ms = at_ms.map(|at| row.kept.rare.archived_ms.unwrap_or(at));
                row.kept.rare.archived_ms = archived_ms;
                Ok(row.stored(thread))
            }
            None => Err(not_found(thread)),
        };
        done.tell(result);
    }

    fn delete(&self, thread: ThreadId, done: Done<u64>) {
        let result = delete(&mut self.threads.lock(), thread);
        done.tell(result);
    }
}
