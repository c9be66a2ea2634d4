//! The thread's decisions, without an actor: inputs in, then what was decided.
//!
//! `Hands` carries effects out as the actor does, as if every write were durable at once, and keeps
//! book of them. Permits, ends of turns and times come only when a test says so.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use coppicer_messages::{
    AgentPath, Answer, CallId, CloseOrder, ControlError, Deadline, Delivery, Ended, Epoch,
    Interrupted, LeaseBook, LeaseKind, Limits, Mail, MailId, NewRecord, Now, Outcome, Phase, Raw,
    RecordClass, Reply, Rung, Seq, Submission, SubmissionId, SubmissionState, SubmitError,
    ThreadConfig, ThreadEvent, ThreadId, ThreadStatus, ThreadTick, ToolKind, TurnId, TurnItem,
    TurnPermit,
};
use tokio::sync::Semaphore;
use tokio::time::Instant;

mod crashes;
mod input;
mod laws;
mod mail;
mod stopping;
mod turns;

use super::core::{ThreadCore, Waiting};
use super::effect::{Effect, Launch};
use super::running::TurnEnd;
use crate::seldom::Seldom;
use crate::store::Batch;

const PERMITS: usize = 4;

/// Something that is done to a thread.
type Do = fn(&mut Hands);

struct Hands {
    core: ThreadCore,
    now: Now,
    permits: Arc<Semaphore>,
    leases: Arc<LeaseBook>,
    began: Seq,
    /// Every append, in order.
    writes: Vec<Batch>,
    accepted: Vec<SubmissionId>,
    ended: HashMap<SubmissionId, Vec<Outcome>>,
    settled: Vec<SubmissionId>,
    events: Vec<ThreadEvent>,
    /// The phases that were shown, one after the other.
    phases: Vec<Phase>,
    asked: VecDeque<TurnId>,
    launched: Vec<(TurnId, u32)>,
    items: Vec<TurnItem>,
    armed: Vec<(Instant, ThreadTick)>,
    /// Places of the inbox that are taken.
    places: usize,
    /// What was done besides, by name.
    done: Vec<&'static str>,
    over: Option<Ended>,
}

fn name(text: &str) -> SubmissionId {
    SubmissionId::new(text).unwrap()
}

fn turn(text: &str) -> TurnId {
    TurnId::new(text).unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Hands {
    fn new() -> Self {
        Self::of(ThreadConfig::default())
    }

    fn of(config: ThreadConfig) -> Self {
        let core = ThreadCore {
            has_preview: true,
            last_trace: None,
            spent: None,
            seeded: crate::bugs::Seeded::default(),
            thread: ThreadId::from_parts(2, [0; 10]),
            epoch: Epoch(1),
            parent: None,
            path: AgentPath::root().join("me").ok(),
            config: Arc::new(config),
            limits: Arc::new(Limits::default()),
            head: Seq(3),
            phase: Phase::Starting,
            status: ThreadStatus::PendingInit,
            turn: None,
            asking: None,
            queue: Seldom::none(),
            mail: Seldom::none(),
            questions: Seldom::none(),
            closing: None,
            rung: Rung::Drained,
            tracker: Seldom::none(),
            crashes: 0,
            backoff_until_ms: None,
            crash_log: Seldom::none(),
            parking: Seldom::none(),
            mail_turns: 0,
        };
        Self {
            core,
            now: Now { instant: Instant::now(), at_ms: 1_000 },
            permits: Arc::new(Semaphore::new(PERMITS)),
            leases: Arc::default(),
            began: Seq(3),
            writes: Vec::new(),
            accepted: Vec::new(),
            ended: HashMap::new(),
            settled: Vec::new(),
            events: Vec::new(),
            phases: Vec::new(),
            asked: VecDeque::new(),
            launched: Vec::new(),
            items: Vec::new(),
            armed: Vec::new(),
            places: 0,
            done: Vec::new(),
            over: None,
        }
    }

    /// A thread that began, with nothing to do.
    fn idle() -> Self {
        let mut hands = Self::new();
        hands.begin(Vec::new());
        hands
    }

    /// A thread whose turn `turn` runs.
    fn running(turn: &str) -> Self {
        let mut hands = Self::idle();
        hands.submit(turn, Delivery::Queue).unwrap();
        hands.permit();
        assert_eq!(hands.runs(), Some(turn));
        hands
    }

    fn begin(&mut self, open: Vec<(Waiting, SubmissionState)>) {
        self.accepted.extend(open.iter().map(|(waiting, _)| waiting.id().clone()));
        self.places += open.len();
        let open = open.into_iter().map(|(waiting, state)| (Ok(waiting), state)).collect();
        self.decide(|core, now, out| {
            core.begin(Vec::new(), open, None, crate::thread::Rise::ToWork, now, out);
        });
    }

    fn decide<T>(&mut self, decide: impl FnOnce(&mut ThreadCore, Now, &mut Vec<Effect>) -> T) -> T {
        let mut effects = Vec::new();
        let result = decide(&mut self.core, self.now, &mut effects);
        for effect in effects {
            self.carry_out(effect);
        }
        result
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Write(batch) => {
                self.accepted.extend(batch.accepted.iter().map(|new| new.id.clone()));
                for (id, state) in &batch.states {
                    if let SubmissionState::Ended(outcome) = state {
                        self.ended.entry(id.clone()).or_default().push(outcome.clone());
                    }
                }
                self.writes.push(batch);
            }
            Effect::Accept { reply, receipt } => reply.tell(Ok(receipt)),
            Effect::Refuse { reply, refusal } => reply.tell(Err(refusal)),
            Effect::Settle { submission, .. } => self.settled.push(submission),
            Effect::Publish { event, .. } => self.events.push(event),
            Effect::Show { phase, .. } => {
                self.phases.push(phase);
                self.phases.dedup();
            }
            Effect::TellRecords { .. } | Effect::ShowTask { .. } => {}
            Effect::Launch(Launch { turn, attempt, items, .. }) => {
                if self.decide(|core, now, out| core.launched(&turn, now, out)) {
                    self.launched.push((turn, attempt));
                    self.items = items.to_vec();
                }
            }
            Effect::GiveItems { reply, items } => reply.tell(Ok(items)),
            Effect::AnswerInterrupt { reply, found } => reply.tell(Ok(found)),
            Effect::AnswerFlush { reply, flushed } => reply.tell(Ok(flushed)),
            Effect::Confirm { reply } => reply.tell(Ok(())),
            Effect::Deliver { .. } => self.done.push("deliver"),
            Effect::ReadMail(_) => self.done.push("read mail"),
            Effect::TellAnswer { reply, answer } => reply.tell(Ok(answer)),
            Effect::FreeWindow { .. } => self.done.push("free window"),
            Effect::Park => self.done.push("park"),
            Effect::Unpark => self.done.push("unpark"),
            Effect::TakePlace => self.places += 1,
            Effect::TellCrash { spent } => {
                self.done.push(if spent.is_some() { "escalate" } else { "tell crash" });
            }
            Effect::AskClose => self.done.push("ask close"),
            Effect::Sleep { .. } => self.done.push("sleep"),
            Effect::End(how) => self.over = Some(how),
            Effect::AskPermit { turn } => self.asked.push_back(turn),
            Effect::Cancel { .. } => self.done.push("cancel"),
            Effect::Kill { .. } => self.done.push("kill"),
            Effect::Fence { .. } => self.done.push("fence"),
            Effect::Refund => self.done.push("refund"),
            Effect::TurnOver { keep_session, .. } => {
                self.done.push(if keep_session { "over" } else { "over without session" });
            }
            Effect::DropSession => self.done.push("drop session"),
            Effect::Arm { at, tick } => self.armed.push((at, tick)),
            Effect::FreePlace => self.places -= 1,
            Effect::Shut => self.done.push("shut"),
        }
    }

    // Inputs.

    fn submit(&mut self, id: &str, delivery: Delivery) -> Result<(), SubmitError> {
        self.send(id, Submission::input(format!("text of {id}")).with_delivery(delivery))
    }

    fn send(&mut self, id: &str, submission: impl Into<Submission>) -> Result<(), SubmitError> {
        let submission = submission.into();
        let place = !submission.op.is_control();
        self.places += usize::from(place);
        let (reply, answer) = Reply::channel(self.far(), None);
        self.decide(|core, now, out| core.submit(name(id), submission, place, reply, now, out));
        answered(answer).expect("a submission is answered at once").map(|_| ())
    }

    /// Grants the permit that was asked for first.
    fn permit(&mut self) {
        let turn = self.asked.pop_front().expect("a permit was asked for");
        self.permit_for(&turn);
    }

    fn permit_for(&mut self, turn: &TurnId) {
        let permit = self.new_permit();
        self.decide(|core, now, out| core.permitted(turn, permit, now, out));
    }

    fn new_permit(&self) -> TurnPermit {
        let permit = self.permits.clone().try_acquire_owned().unwrap();
        TurnPermit::new(permit, self.leases.grant(LeaseKind::TurnPermit))
    }

    fn end(&mut self, turn: &str, end: &TurnEnd) {
        let turn = TurnId::new(turn).unwrap();
        self.decide(|core, now, out| core.turn_ended(&turn, end, 0.0, now, out));
    }

    fn done(&mut self, turn: &str) {
        self.end(turn, &TurnEnd::Done(None));
    }

    fn emit(&mut self, turn: &str, classes: &[RecordClass]) {
        let turn = TurnId::new(turn).unwrap();
        let record = |class: &RecordClass| NewRecord {
            at_ms: 1,
            class: class.clone(),
            raw: Raw::from(&b"{}"[..]),
        };
        let records = classes.iter().map(record).collect();
        self.decide(|core, _, out| core.emitted(&turn, records, None, out));
    }

    fn interrupt(&mut self) -> Answer<Interrupted, ControlError> {
        let (reply, answer) = Reply::channel(self.far(), None);
        self.decide(|core, now, out| core.interrupt(reply, now, out));
        answer
    }

    fn close(&mut self, budget: Duration) {
        let until = self.now.instant + budget;
        let order = CloseOrder {
            drain_until: self.now.instant,
            stop_until: until,
            kill_until: until,
            tell_parent: true,
        };
        self.order(order);
    }

    fn order(&mut self, order: CloseOrder) {
        self.decide(|core, now, out| core.close(order, now, out));
    }

    fn tick(&mut self, tick: ThreadTick) {
        self.decide(|core, now, out| core.tick(tick, now, out));
    }

    /// Lets time pass; what was asked to be told of is told in order.
    fn pass(&mut self, time: Duration) {
        let until = self.now.instant + time;
        loop {
            let next = self.armed.iter().enumerate().min_by_key(|(_, (at, _))| *at);
            let Some((place, &(at, _))) = next.filter(|(_, (at, _))| *at <= until) else { break };
            let (_, tick) = self.armed.remove(place);
            self.set(at.max(self.now.instant));
            self.tick(tick);
        }
        self.set(until);
    }

    fn set(&mut self, instant: Instant) {
        self.now.at_ms += (instant - self.now.instant).as_millis() as u64;
        self.now.instant = instant;
    }

    fn mail(&mut self, id: &str, trigger: bool) {
        let mail = letter(id, trigger);
        self.decide(|core, now, out| core.receive(mail, now, out));
    }

    fn take_steered(&mut self, turn: &str) -> Result<Vec<TurnItem>, ControlError> {
        let turn = TurnId::new(turn).unwrap();
        let (reply, answer) = Reply::channel(self.far(), None);
        self.decide(|core, now, out| core.take_steered(&turn, reply, now, out));
        answered(answer).unwrap()
    }

    fn far(&self) -> Deadline {
        Deadline::after(self.now.instant, Duration::from_secs(3_600))
    }

    // Views.

    fn runs(&self) -> Option<&str> {
        self.core.turn.as_ref().map(|turn| turn.id.as_str())
    }

    fn queue(&self) -> Vec<&str> {
        self.core.queue.iter().map(|waiting| waiting.id().as_str()).collect()
    }

    fn outcome(&self, id: &str) -> Option<&Outcome> {
        self.ended.get(&name(id)).map(|outcomes| &outcomes[0])
    }

    fn last_write(&self) -> &Batch {
        self.writes.last().unwrap()
    }

    fn records(&self) -> u64 {
        self.writes.iter().map(|batch| batch.records.len() as u64).sum()
    }

    fn free_permits(&self) -> usize {
        self.permits.available_permits()
    }

    /// All that a stale notice could have changed.
    fn state(&self) -> String {
        let core = &self.core;
        let turn = core.turn.as_ref().map(|turn| {
            (turn.id.clone(), turn.stage, turn.attempt, turn.steered.len(), turn.open_calls.len())
        });
        format!(
            "{:?} {:?} {:?} {turn:?} {:?} {:?} {} {} {:?} {:?} {} {}",
            core.head,
            core.phase,
            core.status,
            core.asking,
            self.queue(),
            core.mail.len(),
            core.questions.len(),
            self.done,
            self.over,
            self.events.len(),
            self.armed.len(),
        )
    }

    fn tell_names(&self) -> Vec<&'static str> {
        self.events.iter().map(kind_of).collect()
    }
}

fn kind_of(event: &ThreadEvent) -> &'static str {
    match event {
        ThreadEvent::SubmissionAccepted { .. } => "accepted",
        ThreadEvent::TurnStarted { .. } => "started",
        ThreadEvent::TurnRetried { .. } => "retried",
        ThreadEvent::TurnEnded { .. } => "ended",
        ThreadEvent::Crashed { .. } => "crashed",
        ThreadEvent::BackoffStarted { .. } => "backoff",
        _ => "other",
    }
}

/// The answer, if there is one already.
fn answered<T, E>(answer: Answer<T, E>) -> Option<Result<T, E>>
where
    E: From<coppicer_messages::NoAnswer>,
{
    use futures::FutureExt;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    answer.wait().now_or_never()
}

fn letter(id: &str, trigger: bool) -> Mail {
    Mail {
        id: MailId::from(id),
        sender: None,
        author: "/root/other".into(),
        recipient: "/root/me".into(),
        content: format!("content of {id}"),
        trigger,
        trace: None,
    }
}

fn call(id: &str) -> RecordClass {
    RecordClass::ToolCall { call: CallId::from(id), kind: ToolKind::Function }
}

fn output(id: &str) -> RecordClass {
    RecordClass::ToolOutput { call: CallId::from(id), kind: ToolKind::Function }
}

fn transient() -> TurnEnd {
    TurnEnd::Transient { message: "try again".into(), retry_after: None }
}

fn panicked() -> TurnEnd {
    TurnEnd::Panicked("boom".into())
}

fn spawned_below() -> Hands {
    let mut hands = Hands::new();
    hands.core.parent = Some(ThreadId::from_parts(1, [0; 10]));
    hands.begin(Vec::new());
    hands
}
