//! One host of a case: a runtime on the case's store, what its callers ask, and what their answers
//! have to be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coppicer::faulty::{FaultyStore, StoreOp};
use coppicer::{
    AdoptError, AgentPath, Budget, CloseError, CloseReport, CloseScope, ControlError, Delivery,
    Dimension, ForkPoint, Op, ParentClose, Runtime, SpawnError, SpawnThread, StoreError,
    Submission, SubmissionId, SubmitError, ThreadHandle, ThreadId, ThreadStatus, ThreadView,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::engine::Running;
use crate::model::Model;
use crate::ops::{self, Held, How};
use crate::setup;
use crate::witness::Witness;

/// How long a caller waits where it does not say.
pub(crate) const CALL: Duration = Duration::from_secs(2);

/// Everything that outlives a host.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) model: Model,
    /// Promises that were broken.
    pub(crate) broken: Vec<String>,
    /// What was asked and answered, for comparing two runs; none if nobody compares.
    pub(crate) trace: Option<Vec<String>>,
    /// The how-many-th host is there.
    pub(crate) life: u64,
    /// Requests that the store holds back.
    pub(crate) held: usize,
    /// Whether a request of the store may have failed.
    pub(crate) faulty: bool,
    /// Whether there was more than one host at a time.
    pub(crate) shared: bool,
    /// Whether one of them let a thread go without its end in the store meanwhile: it fenced it off at a
    /// deadline, or its actor was gone. It gives back what that had left, by a charge that has no fence:
    /// before that it would have to ask the store whether the thread is in the life that it had here. Where
    /// the other host had it, moved it or ended it since, both give back the same.
    pub(crate) cut_short: bool,
}

impl Book {
    /// A close was answered.
    pub(crate) fn ended(&mut self, answer: &Result<CloseReport, CloseError>) {
        let late = answer
            .as_ref()
            .is_ok_and(|report| !report.timed_out.is_empty() || !report.submit_failed.is_empty());
        self.cut_short |= self.shared && late;
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }
}

/// What a caller holds.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) book: Arc<Mutex<Book>>,
    pub(crate) witness: Witness,
    pub(crate) store: FaultyStore,
    pub(crate) running: Running,
    pub(crate) kept: Arc<Mutex<BTreeMap<ThreadId, ThreadHandle>>>,
    pub(crate) life: u64,
    /// Whether threads of the case have rules, and whether some have budgets.
    pub(crate) rules: bool,
    pub(crate) funds: bool,
}

const fn store_op(held: Held) -> StoreOp {
    match held {
        Held::Create => StoreOp::Create,
        Held::Acquire => StoreOp::Acquire,
        Held::Append => StoreOp::Append,
        Held::PutEdge => StoreOp::PutEdge,
        Held::Detaching => StoreOp::Detaching,
        Held::Submission => StoreOp::Submission,
        Held::Read => StoreOp::Read,
    }
}

pub(crate) const HELD: [StoreOp; 7] = [
    StoreOp::Create,
    StoreOp::Acquire,
    StoreOp::Append,
    StoreOp::PutEdge,
    StoreOp::Detaching,
    StoreOp::Submission,
    StoreOp::Read,
];

fn submission(work: ops::Work, how: How, id: Option<u8>) -> Submission {
    let delivery = match how {
        How::Queue => Delivery::Queue,
        How::SteerOrQueue => Delivery::SteerOrQueue,
        How::Steer => Delivery::Steer { expected: None },
        How::Refuse => Delivery::Refuse,
    };
    let submission = Submission::input(work.text()).with_delivery(delivery);
    match id {
        // The same id for the same work: whoever sends it again means the same.
        Some(id) => {
            let id = SubmissionId::new(format!("{}-{id}", work.text())).expect("a sound id");
            submission.with_id(id)
        }
        None => submission,
    }
}

impl Host {
    /// Whether this is the host that the case goes on with.
    fn is_current(&self) -> bool {
        self.book.lock().life == self.life
    }

    fn broke(&self, what: String) {
        self.book.lock().broken.push(what);
    }

    fn note(&self, line: impl FnOnce() -> String) {
        self.book.lock().note(line);
    }

    fn pick(&self, number: usize) -> ThreadId {
        self.book.lock().model.pick(number)
    }

    /// P4: an answer comes by its deadline.
    fn in_time(&self, what: &str, since: Instant, budget: Duration) {
        let took = since.elapsed();
        if took > budget + Duration::from_millis(2) && self.is_current() {
            self.broke(format!("P4: {what} took {took:?} of {budget:?}"));
        }
    }

    /// Carries out one operation. Each is a task of its own, so that they meet.
    pub(crate) async fn carry_out(self, op: ops::Op) {
        match op {
            ops::Op::Spawn { below, name, first, detached, rule, fund, ms } => {
                let mut request = SpawnThread::new();
                if self.rules {
                    request.config = setup::rules(rule);
                }
                if detached {
                    request = request.with_parent_close(ParentClose::Detach);
                }
                request.parent = below.map(|below| self.pick(below));
                if let Some(seed) = fund.filter(|_| self.funds) {
                    let above = request.parent.map(|above| self.runtime.budget_left(above));
                    // Half of them as much as there is, for which others may come first.
                    let share = if seed.is_multiple_of(2) { 1 } else { 6 };
                    let above = above.unwrap_or_default();
                    request.config.budget = Some(setup::budget(seed, &above, share, detached));
                }
                request.name = name.map(|name| format!("n{name}"));
                request.first = first.map(|first| Submission::input(first.text()));
                self.spawn(request, Duration::from_millis(ms)).await;
            }
            ops::Op::Adopt { thread, below } => {
                self.adopt(self.pick(thread), below.map(|below| self.pick(below))).await;
            }
            ops::Op::Fork { from, below, point } => {
                let point = match point {
                    0 => ForkPoint::Interrupted,
                    1 => ForkPoint::LastStable,
                    2 => ForkPoint::NextStable,
                    _ => ForkPoint::BeforeUserMessage(1),
                };
                let mut request = SpawnThread::fork(self.pick(from), point);
                request.parent = below.map(|below| self.pick(below));
                self.spawn(request, CALL).await;
            }
            ops::Op::Submit { to, work, how, id } => {
                self.submit(self.pick(to), submission(work, how, id)).await;
            }
            ops::Op::Keep { to } => {
                if let Some(thread) = self.runtime.get(self.pick(to)) {
                    self.kept.lock().insert(thread.id(), thread);
                }
            }
            ops::Op::LetGo { to } => {
                let thread = self.pick(to);
                drop(self.kept.lock().remove(&thread));
            }
            ops::Op::Compact { to } => {
                self.submit(self.pick(to), Submission::new(Op::Compact)).await;
            }
            ops::Op::Mail { to, trigger } => {
                let from = AgentPath::root();
                let op = Op::AgentMessage { from, content: "say".into(), trigger };
                self.submit(self.pick(to), Submission::new(op)).await;
            }
            ops::Op::Interrupt { to } => {
                let (thread, since) = (self.pick(to), Instant::now());
                let answer = self.runtime.interrupt(thread).await;
                self.in_time("an interrupt", since, CALL);
                self.note(|| format!("interrupt {thread}: {answer:?}"));
            }
            ops::Op::Panic { to } => {
                if let Some(thread) = self.runtime.get(self.pick(to)) {
                    thread.panic_for_test();
                }
            }
            ops::Op::Hibernate { to } => {
                if let Some(thread) = self.runtime.get(self.pick(to)) {
                    let answer = thread.hibernate().await;
                    self.note(|| format!("hibernate {}: {answer:?}", thread.id()));
                }
            }
            ops::Op::Park { to } => {
                if let Some(thread) = self.runtime.get(self.pick(to)) {
                    let since = Instant::now();
                    let answer = thread.park().await;
                    self.in_time("a park", since, CALL);
                    self.note(|| format!("park {}: {answer:?}", thread.id()));
                }
            }
            ops::Op::Revive { to } => {
                if let Some(thread) = self.runtime.get(self.pick(to)) {
                    drop(self.revive(&thread).await);
                }
            }
            ops::Op::Fund { to, tokens } => {
                let (thread, since) = (self.pick(to), Instant::now());
                let change = self.book.lock().model.resuming(Some(thread));
                let more = Budget::new().with_tokens(tokens);
                let answer = self.runtime.fund(thread, more).await;
                self.book.lock().model.resumed(change);
                self.in_time("a funding", since, CALL);
                self.note(|| format!("fund {thread} by {tokens}: {answer:?}"));
            }
            ops::Op::Resume { to } => {
                let (thread, since) = (self.pick(to), Instant::now());
                let change = self.book.lock().model.resuming(Some(thread));
                let answer = self.runtime.resume(thread).await;
                self.book.lock().model.resumed(change);
                self.in_time("a resume", since, CALL);
                self.note(|| format!("resume {thread}: {:?}", answer.map(|handle| handle.id())));
            }
            ops::Op::ResumeTree { to } => {
                let thread = self.pick(to);
                let change = self.book.lock().model.resuming(None);
                let answer = self.runtime.resume_tree(thread).await;
                self.book.lock().model.resumed(change);
                let back = answer.map(|resumed| (resumed.below.len(), resumed.failed.len()));
                self.note(|| format!("resume tree {thread}: {back:?}"));
            }
            ops::Op::Close { to, ms } => {
                self.close(Some(self.pick(to)), Duration::from_millis(ms)).await;
            }
            ops::Op::CloseAll { ms } => self.close(None, Duration::from_millis(ms)).await,
            ops::Op::Hold { what, ms } => {
                self.book.lock().held += 1;
                self.store.hold(store_op(what));
                tokio::time::sleep(Duration::from_millis(ms)).await;
                if self.is_current() {
                    self.store.release(store_op(what));
                    let mut book = self.book.lock();
                    book.held = book.held.saturating_sub(1);
                }
            }
            ops::Op::Fail { what } => {
                self.book.lock().faulty = true;
                let full = StoreError::Unavailable { reason: "disk full".into() };
                self.store.fail_next(store_op(what), full);
            }
            ops::Op::Restart { .. } => {} // the case itself does that
        }
    }

    pub(crate) async fn revive(&self, thread: &ThreadHandle) -> Result<(), ControlError> {
        self.witness.seen.lock().reviving(thread.id(), true);
        let since = Instant::now();
        let answer = thread.revive().await;
        self.in_time("a revival", since, CALL);
        // One that was not answered may come yet.
        if !matches!(answer, Err(ControlError::NoAnswer)) {
            self.witness.seen.lock().reviving(thread.id(), false);
        }
        self.note(|| format!("revive {}: {answer:?}", thread.id()));
        answer
    }

    async fn spawn(&self, request: SpawnThread, budget: Duration) {
        let (parent, since) = (request.parent, Instant::now());
        let detaches = request.config.parent_close == ParentClose::Detach;
        let answer = self.runtime.spawn_within(request, budget).await;
        self.in_time("a spawn", since, budget);
        self.note(|| {
            format!("spawn below {parent:?}: {:?}", answer.as_ref().map(ThreadHandle::id))
        });
        if let Ok(thread) = answer {
            self.book.lock().model.spawned(thread.id(), parent, detaches);
        }
    }

    /// P8: a thread is where its host was told that it is.
    async fn adopt(&self, thread: ThreadId, to: Option<ThreadId>) {
        self.witness.seen.lock().may_move(thread, to);
        let change = self.book.lock().model.adopting(thread, to);
        let since = Instant::now();
        let answer = self.runtime.adopt(thread, to).await;
        self.in_time("an adoption", since, CALL);
        self.note(|| format!("adopt {thread} below {to:?}: {answer:?}"));
        let whether = match &answer {
            Ok(()) => Some(true),
            // Some may have been found out when it was written already, and is taken back then.
            Err(
                AdoptError::NoAnswer
                | AdoptError::RuntimeEnded
                | AdoptError::Store(StoreError::UnknownOutcome { .. })
                | AdoptError::Closing { .. }
                | AdoptError::Closed { .. }
                | AdoptError::Moving { .. }
                | AdoptError::ParentGone { .. }
                | AdoptError::Cycle { .. },
            ) => None,
            Err(_) => Some(false),
        };
        if self.is_current() {
            self.book.lock().model.adopted(change, to, whether);
        }
    }

    async fn submit(&self, thread: ThreadId, submission: Submission) {
        let (is_mail, since) = (matches!(submission.op, Op::AgentMessage { .. }), Instant::now());
        let kept = self.kept.lock().get(&thread).cloned();
        let answer = match kept {
            Some(kept) => kept.submit(submission).await,
            None => self.runtime.submit(thread, submission).await,
        };
        self.in_time("a submission", since, CALL);
        self.note(|| format!("submit to {thread}: {answer:?}"));
        match answer {
            Ok(receipt) => {
                // P2: it was written before it was acknowledged.
                let written = self.witness.seen.lock().rows.get(&thread).is_some_and(|row| {
                    row.submissions.contains_key(&receipt.submission)
                        || row.mail.contains_key(receipt.submission.as_str())
                });
                if !written {
                    let id = &receipt.submission;
                    self.broke(format!("P2: {thread} acknowledged {id} and did not write it"));
                }
                if !is_mail {
                    self.book.lock().model.receipts.push((thread, receipt.submission));
                }
            }
            // P7: it waits for as long as its caller does, whatever becomes of actors.
            Err(SubmitError::NoAnswer) if since.elapsed() < CALL && self.is_current() => {
                self.broke(format!("P7: {thread} lost a submission after {:?}", since.elapsed()));
            }
            Err(_) => {}
        }
    }

    /// P5: the report comes by the deadline, and has everything that was to close.
    async fn close(&self, target: Option<ThreadId>, budget: Duration) {
        let before = self.live_below(target);
        let stamp = self.witness.seen.lock().stamp;
        let change = target.map(|thread| self.book.lock().model.closing(thread));
        let since = Instant::now();
        let scope = target.map_or(CloseScope::All, CloseScope::Thread);
        let answer = self.runtime.close_with(scope, Duration::ZERO, budget).await;
        let took = since.elapsed();
        self.note(|| format!("close {target:?} within {budget:?}: {answer:?}"));
        self.book.lock().ended(&answer);
        let surely = answer.as_ref().is_ok_and(|report| {
            let row = report.threads.iter().find(|row| Some(row.thread) == target);
            row.is_none_or(|row| row.left.is_none())
        });
        if !self.is_current() {
            return;
        }
        if let Some(change) = change {
            let detached = answer.as_ref().map(|report| report.detached.clone());
            self.book.lock().model.closed(change, surely, &detached.unwrap_or_default());
        }
        match answer {
            Ok(report) if took > budget + Duration::from_millis(2) => {
                self.broke(format!("P5: a report came after {took:?} of {budget:?}: {report:?}"));
            }
            Ok(report) => self.check_report(target, &report, &before, stamp),
            Err(CloseError::NotFound { thread })
                if !self.witness.seen.lock().rows.contains_key(&thread) => {}
            Err(error) => self.broke(format!("P5: a close was not answered: {error}")),
        }
    }

    /// What a close covers, as far as it has an actor: the views of now.
    fn live_below(&self, target: Option<ThreadId>) -> Vec<ThreadView> {
        let seen = self.witness.seen.lock();
        let covers = |view: &ThreadView| {
            let mut at = Some(view.thread);
            while let Some(thread) = at {
                if target.is_none_or(|target| target == thread) {
                    return true;
                }
                at = seen.rows.get(&thread).and_then(|row| row.parent).map(|(parent, _)| parent);
            }
            false
        };
        self.runtime.list().into_iter().filter(|view| covers(view)).collect()
    }

    fn check_report(
        &self,
        target: Option<ThreadId>,
        report: &CloseReport,
        before: &[ThreadView],
        stamp: u64,
    ) {
        let rows: BTreeSet<ThreadId> = report.threads.iter().map(|row| row.thread).collect();
        let lists = [&report.completed, &report.submit_failed, &report.timed_out];
        let listed: BTreeSet<ThreadId> = lists.into_iter().flatten().copied().collect();
        let in_all: usize = lists.iter().map(|list| list.len()).sum();
        if rows != listed || in_all != listed.len() || rows.len() != report.threads.len() {
            self.broke(format!("P5: the lists of a report do not agree: {report:?}"));
        }
        let unknown =
            |thread: &ThreadId| Some(*thread) == target && report.timed_out.contains(thread);
        if !report.unknown.iter().all(unknown) {
            self.broke(format!("P5: what is not known is not what was asked for: {report:?}"));
        }
        if let Some(both) = report.detached.iter().find(|thread| rows.contains(thread)) {
            self.broke(format!("P5: {both} was closed and goes on: {report:?}"));
        }
        // What goes on, and what was put elsewhere meanwhile, is not covered.
        let covered = |thread: ThreadId| {
            let seen = self.witness.seen.lock();
            let mut at = Some(thread);
            while let Some(thread) = at.filter(|thread| !report.detached.contains(thread)) {
                if target.is_none_or(|target| target == thread) {
                    return Some(true);
                }
                // The store may not have been able to write yet that it is elsewhere.
                at = match self.runtime.get(thread) {
                    Some(here) => here.view().parent,
                    None => seen.rows.get(&thread)?.parent.map(|(parent, _)| parent),
                };
            }
            Some(false)
        };
        let covered = |thread| covered(thread) == Some(true);
        let missing = |view: &&ThreadView| !rows.contains(&view.thread) && covered(view.thread);
        for view in before.iter().filter(missing) {
            let now = self.runtime.get(view.thread).map(|thread| thread.view());
            let goes_on = now.is_some_and(|now| now.epoch == view.epoch && !now.closed);
            if goes_on && view.status != ThreadStatus::Dormant {
                let thread = view.thread;
                self.broke(format!("P5: the close of {target:?} forgot {thread}"));
            }
        }
        let seen = self.witness.seen.lock();
        let written = |thread: &&ThreadId| {
            seen.rows.get(thread).is_none_or(|row| {
                row.shut_at > Some(stamp) || row.status == Some(ThreadStatus::Shutdown)
            })
        };
        let unwritten = report.completed.iter().find(|thread| !written(thread));
        if let Some(thread) = unwritten.copied() {
            drop(seen);
            self.broke(format!(
                "P5: {thread} is reported as completed, and its end is not written"
            ));
        }
    }

    /// Does what a thread with open submissions may wait for: it is up, revived, and has something to
    /// use.
    pub(crate) async fn help(&self, thread: ThreadId, fund: bool) {
        let mut above = vec![thread];
        {
            let seen = self.witness.seen.lock();
            while let Some((parent, _)) = above.last().and_then(|at| seen.rows.get(at)?.parent) {
                above.push(parent);
            }
        }
        for (place, at) in above.iter().rev().enumerate().filter(|_| fund) {
            let ledger = self.witness.seen.lock().ledgers.of(*at);
            let Some(ledger) = ledger else { continue };
            // Each has enough for those below it.
            let enough = 1u64 << (50 - place.min(40));
            let mut more = Budget::new();
            for what in Dimension::ALL {
                *more.of_mut(what) = ledger.budget.of(what).map(|_| enough);
            }
            drop(self.bring_up(*at).await);
            let answer = self.runtime.fund(*at, more).await;
            self.note(|| format!("fund {at} by {more:?}: {answer:?}"));
        }
        drop(self.bring_up(thread).await);
        if let Some(handle) = self.runtime.get(thread)
            && handle.status() == ThreadStatus::Parked
        {
            drop(self.revive(&handle).await);
        }
    }

    /// Brings a thread up again whatever faults are left.
    pub(crate) async fn bring_up(&self, thread: ThreadId) -> Result<(), SpawnError> {
        let mut up = Ok(());
        for _ in 0..8 {
            up = self.runtime.resume(thread).await.map(drop);
            if !matches!(up, Err(SpawnError::Store(_))) {
                break;
            }
        }
        up
    }
}
