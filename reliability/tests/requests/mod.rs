//! Random requests to a store, most of them sound.

use std::future::Future;

use coppicer::{
    Acquired, Amounts, Base, Batch, Budget, Change, Charge, CrashRecord, Done, EdgeChange,
    EdgeStatus, Fence, Ledger, Mail, MailId, MailPlace, MailTo, NewRecord, NewSubmission,
    NewThread, Outcome, Raw, RecordClass, Seq, StoreError, SubmissionId, SubmissionState,
    ThreadConfig, ThreadId, ThreadPatch, ThreadStatus, ThreadStore, TurnRef, digest,
};
use coppicer_reliability::dice::Dice;
use futures::FutureExt;
use futures::future::BoxFuture;

/// One request, which can be made of any store.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Create(Box<NewThread>, Vec<NewRecord>),
    Acquire(ThreadId),
    Append(Fence, Seq, Box<Batch>),
    UndoCreate(Fence),
    PutEdge(ThreadId, EdgeChange),
    Patch(ThreadId, Box<ThreadPatch>),
    Archive(ThreadId, Option<u64>),
    Delete(ThreadId),
    Charge(Vec<Charge>),
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Acquired(Box<Acquired>),
    Head(Seq),
    Thread(Box<coppicer::StoredThread>),
    Count(u64),
    Ledgers(Vec<Option<Ledger>>),
    Nothing,
}

type Answered = Result<Answer, StoreError>;

impl Request {
    /// Makes it; the answer comes later, also when the store is gone by then.
    pub(crate) fn begin(self, store: &dyn ThreadStore) -> BoxFuture<'static, Answered> {
        fn later<T: Send + 'static>(
            answer: impl Future<Output = Result<T, StoreError>> + Send + 'static,
            read: impl FnOnce(T) -> Answer + Send + 'static,
        ) -> BoxFuture<'static, Answered> {
            answer.map(|result| result.map(read)).boxed()
        }
        match self {
            Self::Create(new, records) => {
                let (done, answer) = Done::channel();
                store.create(*new, records, done);
                later(answer, |made| Answer::Acquired(Box::new(made)))
            }
            Self::Acquire(thread) => {
                let (done, answer) = Done::channel();
                store.acquire(thread, done);
                later(answer, |mut acquired| {
                    // A place is a number of the store's own: which one says nothing to others.
                    acquired.mail_rest.upto = MailPlace::default();
                    Answer::Acquired(Box::new(acquired))
                })
            }
            Self::Append(fence, expected, batch) => {
                let (done, answer) = Done::channel();
                store.append(fence, expected, *batch, done);
                later(answer, Answer::Head)
            }
            Self::UndoCreate(fence) => {
                let (done, answer) = Done::channel();
                store.undo_create(fence, done);
                later(answer, |()| Answer::Nothing)
            }
            Self::PutEdge(child, change) => {
                let (done, answer) = Done::channel();
                store.put_edge(child, change, done);
                later(answer, |()| Answer::Nothing)
            }
            Self::Patch(thread, patch) => {
                let (done, answer) = Done::channel();
                store.patch(thread, *patch, done);
                later(answer, |thread| Answer::Thread(Box::new(thread)))
            }
            Self::Archive(thread, at) => {
                let (done, answer) = Done::channel();
                store.archive(thread, at, done);
                later(answer, |thread| Answer::Thread(Box::new(thread)))
            }
            Self::Delete(thread) => {
                let (done, answer) = Done::channel();
                store.delete(thread, done);
                later(answer, Answer::Count)
            }
            Self::Charge(charges) => {
                let (done, answer) = Done::channel();
                store.charge(charges, done);
                later(answer, Answer::Ledgers)
            }
        }
    }

    /// Makes it and waits for the answer.
    pub(crate) async fn ask(self, store: &dyn ThreadStore) -> Answered {
        self.begin(store).await
    }
}

/// What the requests of one case are about.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) threads: Vec<ThreadId>,
    /// Those that are in the store now.
    there: Vec<ThreadId>,
    /// The newest fence of each thread, where its next record belongs, and how many appends were made.
    held: Vec<Option<(Fence, Seq, u64)>>,
    asked: Option<usize>,
    number: u64,
}

const THREADS: usize = 8;
const SUBMISSIONS: u64 = 5;

impl Case {
    pub(crate) fn new(seed: u64) -> Self {
        let id = |n: usize| {
            let mut random = [n as u8; 10];
            random[..8].copy_from_slice(&seed.to_le_bytes());
            ThreadId::from_parts(1_780_000_000_000 + seed * 100 + n as u64, random)
        };
        let threads = (0..THREADS).map(id).collect();
        Self { threads, there: Vec::new(), held: vec![None; THREADS], asked: None, number: 0 }
    }

    /// Every submission that a request may have been about.
    pub(crate) fn submissions(&self) -> Vec<(ThreadId, SubmissionId)> {
        let ids = |&thread| (0..SUBMISSIONS).map(move |n| (thread, name(n)));
        self.threads.iter().flat_map(ids).collect()
    }

    /// Looks at what is there.
    pub(crate) async fn look(&mut self, store: &dyn ThreadStore) {
        self.there.clear();
        for (&thread, held) in self.threads.iter().zip(&mut self.held) {
            if store.thread(thread).await.is_ok() {
                self.there.push(thread);
            } else {
                *held = None;
            }
        }
    }

    /// The next request.
    pub(crate) fn next(&mut self, dice: &mut Dice) -> Request {
        self.number += 1;
        self.asked = None;
        let at = dice.below(THREADS as u64) as usize;
        let thread = self.threads[at];
        match (self.held[at], dice.below(100)) {
            (None, 0..80) => {
                self.asked = Some(at);
                let new = self.new_thread(thread, dice);
                let count = dice.below(4);
                Request::Create(Box::new(new), (0..count).map(|n| self.record(n, dice)).collect())
            }
            (Some(_), 0..4) => Request::Create(Box::new(NewThread::root(thread, 7)), Vec::new()),
            (_, 0..62) => {
                self.asked = Some(at);
                self.append(at, dice)
            }
            (_, 62..66) => {
                let count = dice.below(3);
                Request::Charge((0..count).map(|_| self.charge(dice)).collect())
            }
            (_, 66..72) => {
                self.asked = Some(at);
                Request::Acquire(thread)
            }
            (_, 72..80) => {
                let status = if dice.chance(50) { EdgeStatus::Open } else { EdgeStatus::Closed };
                let change = match dice.below(10) {
                    0..7 => EdgeChange::Status(status),
                    7 => EdgeChange::Root,
                    _ => EdgeChange::Parent(self.mostly_there(dice), status),
                };
                Request::PutEdge(thread, change)
            }
            (_, 80..88) => Request::Patch(thread, Box::new(self.patch(dice))),
            (_, 88..94) => Request::Archive(thread, dice.chance(60).then_some(self.number)),
            (_, 94..97) => {
                let epoch = coppicer::Epoch(1 + dice.below(2));
                Request::UndoCreate(Fence { thread, epoch })
            }
            _ => Request::Delete(thread),
        }
    }

    /// Takes over what an answer says of the thread that was asked.
    pub(crate) fn learn(&mut self, answer: &Answered) {
        let Some(at) = self.asked.take() else { return };
        match (answer, self.held[at]) {
            (Ok(Answer::Acquired(acquired)), _) => {
                self.held[at] = Some((acquired.fence, acquired.thread.head, 0));
            }
            (Ok(Answer::Head(head)), Some((fence, _, appends))) => {
                self.held[at] = Some((fence, *head, appends + 1));
            }
            _ => {}
        }
    }

    fn new_thread(&self, thread: ThreadId, dice: &mut Dice) -> NewThread {
        let mut new = NewThread::root(thread, 1_000 + dice.below(50));
        if dice.chance(40) {
            new.parent = Some(self.mostly_there(dice)).filter(|&parent| parent != thread);
            new.depth = u32::from(new.parent.is_some());
        }
        if dice.chance(40) {
            let base = self.mostly_there(dice);
            let head = self.threads.iter().position(|&it| it == base).and_then(|at| self.held[at]);
            let head = head.map_or(0, |(_, head, _)| head.0);
            new.base = Some(Base { thread: base, cut: Seq(dice.below(head + 1)) });
        }
        new.settled = dice.chance(50);
        new.details.preview = dice.chance(50).then(|| format!("preview {}", self.number));
        let mut config = ThreadConfig::default();
        if dice.chance(50) {
            let mut budget = Budget::default();
            budget.tokens = Some(dice.below(100));
            config.budget = Some(budget);
        }
        if dice.chance(40) {
            new.charges.push(self.charge(dice));
        }
        config.cwd = dice.chance(50).then(|| format!("/w/{}", dice.below(5)));
        new.config = config.into();
        new
    }

    fn mostly_there(&self, dice: &mut Dice) -> ThreadId {
        let all = self.there.is_empty() || dice.chance(10);
        *dice.pick(if all { &self.threads } else { &self.there })
    }

    fn record(&self, place: u64, dice: &mut Dice) -> NewRecord {
        let turn = Some(TurnRef::from(format!("t{}", self.number)));
        let class = match dice.below(6) {
            0 => RecordClass::TurnStarted { turn },
            1 => RecordClass::Compaction { replaced: dice.chance(60) },
            2 => RecordClass::TurnContext { turn },
            3 => RecordClass::RolledBack { turns: dice.below(3) as u32 },
            4 => RecordClass::UserMessage,
            _ => RecordClass::Other,
        };
        let text =
            format!("record {} {place} {}", self.number, "x".repeat(dice.below(40) as usize));
        NewRecord { at_ms: dice.below(9), class, raw: Raw::from(text.as_bytes()) }
    }

    fn append(&self, at: usize, dice: &mut Dice) -> Request {
        let thread = self.threads[at];
        let unknown = (Fence { thread, epoch: coppicer::Epoch(1) }, Seq(0), 0);
        let (mut fence, mut head, appends) = self.held[at].unwrap_or(unknown);
        let mut batch = Batch { number: appends + 1, ..Batch::default() };
        match dice.below(100) {
            0..3 => fence.epoch = coppicer::Epoch(fence.epoch.0.wrapping_sub(1)),
            3..6 => head = Seq(head.0 + 1),
            6..9 => batch.number += 1,
            _ => {}
        }
        batch.records = (0..dice.below(4)).map(|n| self.record(n, dice)).collect();
        if dice.chance(50) {
            let body = format!("body {}", dice.below(3));
            batch.accepted.push(NewSubmission {
                id: name(dice.below(SUBMISSIONS)),
                digest: digest(body.as_bytes()),
                body: body.into_bytes().into(),
            });
        }
        if dice.chance(40) {
            let state = match dice.below(4) {
                0 => SubmissionState::Accepted,
                1 => SubmissionState::Running { attempt: 1 + dice.below(3) as u32 },
                2 => SubmissionState::Ended(Outcome::Interrupted),
                _ => SubmissionState::Ended(Outcome::Completed { message: Some("done".into()) }),
            };
            batch.states.push((name(dice.below(SUBMISSIONS)), state));
        }
        if dice.chance(30) {
            let (to, id) = (*dice.pick(&self.threads), MailId::from(format!("m{}", dice.below(6))));
            let mail = Mail {
                id,
                sender: Some(thread),
                author: "/root".into(),
                recipient: "/root/a".into(),
                content: format!("mail {}", self.number),
                trigger: dice.chance(50),
                trace: None,
            };
            batch.mail.push(MailTo { to, mail });
        }
        if dice.chance(20) {
            batch.mail_taken.push(MailId::from(format!("m{}", dice.below(6))));
        }
        if dice.chance(40) {
            batch.status = Some(match dice.below(5) {
                0 => ThreadStatus::Running,
                1 => ThreadStatus::Completed(Some("said".into())),
                2 => ThreadStatus::Errored("broken".into()),
                3 => ThreadStatus::Shutdown,
                _ => ThreadStatus::Completed(None),
            });
        }
        if dice.chance(20) {
            batch.patch = Some(Box::new(self.patch(dice)));
        }
        if dice.chance(20) {
            batch.charges.push(self.charge(dice));
        }
        if dice.chance(20) {
            let many = if dice.chance(20) { 20 } else { 1 };
            batch.crashes = (0..many).map(|n| self.crash(n)).collect();
        }
        batch.updated_ms = dice.chance(40).then_some(2_000 + self.number);
        batch.settled = dice.chance(40);
        Request::Append(fence, head, Box::new(batch))
    }

    /// Never less than nothing in a ledger: all amounts grow.
    fn charge(&self, dice: &mut Dice) -> Charge {
        let mut amount = Amounts::default();
        (amount.tokens, amount.spawns) = (dice.below(5).cast_signed(), dice.below(2).cast_signed());
        let mut charge = Charge::to(*dice.pick(&self.threads));
        match dice.below(3) {
            0 => charge.granted = amount,
            1 => charge.carved = amount,
            _ => charge.spent = amount,
        }
        charge
    }

    fn crash(&self, n: u64) -> CrashRecord {
        CrashRecord {
            at_ms: self.number,
            epoch: coppicer::Epoch(1),
            turn: None,
            seq: Seq(n),
            place: n,
            cause: format!("boom {}", self.number).into(),
        }
    }

    fn patch(&self, dice: &mut Dice) -> ThreadPatch {
        let mut patch = ThreadPatch::default();
        let change = |dice: &mut Dice| match dice.below(3) {
            0 => Change::Keep,
            1 => Change::Clear,
            _ => Change::Set(format!("text {}", self.number)),
        };
        patch.name = change(dice);
        patch.title = change(dice);
        patch.cwd = change(dice);
        patch.git.branch = change(dice);
        patch.nickname = change(dice);
        patch
    }
}

fn name(number: u64) -> SubmissionId {
    SubmissionId::new(format!("s{number}")).expect("a plain name")
}
