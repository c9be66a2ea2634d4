//! The thread's decisions, without an actor: inputs in, then what was decided.
//!
//! `Hands` carries effects out as the actor does, as if every write were durable at once, and keeps
//! book of them. Permits, ends of turns and times come only when a test says so.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use coppicer_messages::{
    AgentPath, Answer, CallId, CloseOrder, ControlError, Deadline, Delivery, Ended, Epoch,
    Interrupted, LeaseBook, LeaseKind, Limits, Mail, MailId, NewRecord, Now, OnCrash, Op, Outcome,
    Phase, Raw, RecordClass, Reply, RestartPolicy, Rung, Seq, Submission, SubmissionId,
    SubmissionState, SubmitError, ThreadConfig, ThreadEvent, ThreadId, ThreadStatus, ThreadTick,
    ToolKind, TurnId, TurnItem, TurnPermit,
};
use proptest::prelude::*;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::core::{ThreadCore, Waiting};
use super::effect::{Effect, Launch};
use super::running::TurnEnd;
use crate::restart::RestartTracker;
use crate::store::Batch;

const PERMITS: usize = 4;

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
    asked: VecDeque<TurnId>,
    launched: Vec<(TurnId, u32)>,
    items: Vec<TurnItem>,
    armed: Vec<(Instant, ThreadTick)>,
    /// Places of the inbox that are taken.
    places: i64,
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
            thread: ThreadId::from_parts(2, [0; 10]),
            epoch: Epoch(1),
            parent: None,
            author: "/root/me".into(),
            config: Arc::new(config),
            limits: Arc::new(Limits::default()),
            head: Seq(3),
            phase: Phase::Starting,
            status: ThreadStatus::PendingInit,
            turn: None,
            asking: None,
            queue: VecDeque::new(),
            mail: VecDeque::new(),
            mail_had: HashSet::new(),
            questions: HashMap::new(),
            closing: None,
            rung: Rung::Drained,
            tracker: RestartTracker::default(),
            crashes: 0,
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
        self.places += open.len() as i64;
        self.decide(|core, now, out| core.begin(Vec::new(), open, false, now, out));
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
            Effect::Show { .. } => {}
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
            Effect::FreeWindow { .. } => self.done.push("free window"),
            Effect::Park => self.done.push("park"),
            Effect::Unpark => self.done.push("unpark"),
            Effect::AskClose => self.done.push("ask close"),
            Effect::Sleep { .. } => self.done.push("sleep"),
            Effect::End(how) => self.over = Some(how),
            Effect::AskPermit { turn } => self.asked.push_back(turn),
            Effect::Cancel { .. } => self.done.push("cancel"),
            Effect::Kill { .. } => self.done.push("kill"),
            Effect::Fence { .. } => self.done.push("fence"),
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
        self.places += i64::from(place);
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

    fn end(&mut self, turn: &str, end: TurnEnd) {
        let turn = TurnId::new(turn).unwrap();
        self.decide(|core, now, out| core.turn_ended(&turn, &end, 0.0, now, out));
    }

    fn done(&mut self, turn: &str) {
        self.end(turn, TurnEnd::Done(None));
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
        let mail = mail(id, trigger);
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

fn mail(id: &str, trigger: bool) -> Mail {
    Mail {
        id: MailId::from(id),
        sender: None,
        author: "/root/other".into(),
        recipient: "/root/me".into(),
        content: format!("content of {id}"),
        trigger,
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

// Turns.

#[test]
fn th_1_a_second_input_waits_while_a_turn_runs_and_runs_after_it() {
    let mut hands = Hands::running("a");
    hands.submit("b", Delivery::Queue).unwrap();
    hands.submit("c", Delivery::Queue).unwrap();
    assert_eq!((hands.runs(), hands.queue()), (Some("a"), vec!["b", "c"]));
    assert!(hands.asked.is_empty(), "no second permit is asked for while a turn runs");
    hands.done("a");
    assert_eq!((hands.runs(), hands.queue()), (None, vec!["b", "c"]));
    assert_eq!(hands.asked, [turn("b")]);
    hands.permit();
    assert_eq!((hands.runs(), hands.queue()), (Some("b"), vec!["c"]));
    assert_eq!(hands.free_permits(), PERMITS - 1, "the permit of the ended turn went back");
}

#[test]
fn th_1_a_permit_that_comes_twice_starts_one_turn() {
    let mut hands = Hands::idle();
    hands.submit("a", Delivery::Queue).unwrap();
    let asked = hands.asked.pop_front().unwrap();
    hands.permit_for(&asked);
    hands.permit_for(&asked);
    assert_eq!(hands.launched, [(turn("a"), 1)]);
    assert_eq!(hands.free_permits(), PERMITS - 1, "the second permit went back");
}

#[test]
fn th_2_a_stale_turn_notice_changes_nothing() {
    let notices: [(&str, fn(&mut Hands)); 11] = [
        ("ended", |hands| hands.done("old")),
        ("panicked", |hands| hands.end("old", panicked())),
        ("transient", |hands| hands.end("old", transient())),
        ("emitted", |hands| hands.emit("old", &[call("x")])),
        ("permitted", |hands| hands.permit_for(&turn("old"))),
        ("steered", |hands| assert!(hands.take_steered("old").is_err())),
        ("asked", |hands| {
            let (reply, answer) = Reply::channel(hands.far(), None);
            hands.decide(|core, _, out| {
                core.asked(&turn("old"), "q".into(), serde_json::Value::Null, reply, out);
            });
            assert!(answered(answer).unwrap().is_err());
        }),
        ("grace", |hands| hands.tick(ThreadTick::GraceOver(turn("old")))),
        ("kill", |hands| hands.tick(ThreadTick::KillOver(turn("old")))),
        ("retry", |hands| hands.tick(ThreadTick::RetryDue(turn("old")))),
        ("backoff", |hands| hands.tick(ThreadTick::BackoffOver { crash: 1 })),
    ];
    for (notice, tell) in notices {
        for make in [Hands::idle as fn() -> Hands, || Hands::running("a")] {
            let mut hands = make();
            let (before, writes) = (hands.state(), hands.writes.len());
            let free = hands.free_permits();
            tell(&mut hands);
            assert_eq!(hands.state(), before, "{notice}");
            assert_eq!((hands.writes.len(), hands.free_permits()), (writes, free), "{notice}");
        }
    }
}

#[test]
fn th_2_the_end_of_a_turn_that_ended_already_changes_nothing() {
    let mut hands = Hands::running("a");
    hands.done("a");
    let before = hands.state();
    hands.end("a", panicked());
    assert_eq!(hands.state(), before);
    assert_eq!(hands.ended[&name("a")].len(), 1);
}

#[test]
fn th_2_a_killed_turn_can_add_nothing() {
    let mut hands = Hands::running("a");
    let _answer = hands.interrupt();
    hands.pass(ms(100));
    assert_eq!(hands.done, ["cancel", "kill"]);
    let head = hands.core.head;
    hands.emit("a", &[call("x")]);
    assert!(hands.take_steered("a").is_err());
    assert_eq!(hands.core.head, head);
}

#[test]
fn a_turn_that_ends_has_its_last_message_as_outcome() {
    let mut hands = Hands::running("a");
    hands.decide(|core, _, out| core.emitted(&turn("a"), Vec::new(), Some("said".into()), out));
    hands.done("a");
    assert_eq!(hands.outcome("a"), Some(&Outcome::Completed { message: Some("said".into()) }));
    assert_eq!(hands.core.status, ThreadStatus::Completed(Some("said".into())));
    assert_eq!((hands.core.phase, hands.places), (Phase::Idle, 0));
}

#[test]
fn th_5_a_call_that_a_turn_left_open_gets_an_output_in_the_write_of_the_turns_end() {
    for end in [
        TurnEnd::Done(None),
        TurnEnd::Failed("no".into()),
        panicked(),
        TurnEnd::Killed,
        TurnEnd::Fenced,
    ] {
        let mut hands = Hands::running("a");
        hands.emit("a", &[call("x"), output("x"), call("y")]);
        hands.emit("a", &[call("z")]);
        hands.end("a", end.clone());
        let last = hands.last_write();
        let outputs: Vec<&RecordClass> =
            last.records.iter().map(|record| &record.class).take(2).collect();
        assert_eq!(outputs, [&output("y"), &output("z")], "{end:?}");
        let ends = |class: &RecordClass| {
            matches!(class, RecordClass::TurnCompleted { .. } | RecordClass::TurnAborted { .. })
        };
        assert!(ends(&last.records.last().unwrap().class), "{end:?}: {last:?}");
        assert_eq!(last.states.len(), 1, "{end:?}: the outcome is in the same write");
    }
}

#[test]
fn a_turn_is_shown_before_its_submission_leaves_the_inbox() {
    // Else a thread with work would be seen with nothing to do, by those who wait for it to end.
    let mut hands = Hands::idle();
    hands.submit("a", Delivery::Queue).unwrap();
    let permit = hands.new_permit();
    let mut effects = Vec::new();
    hands.core.permitted(&turn("a"), permit, hands.now, &mut effects);
    let place = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted).unwrap();
    let write = place(|effect| matches!(effect, Effect::Write(_)));
    let show = place(|effect| matches!(effect, Effect::Show { .. }));
    let free = place(|effect| matches!(effect, Effect::FreePlace));
    assert!(write < show && show < free);
    assert!(Effect::FreePlace.waits_for_writes(), "else it would overtake what is shown");
}

// Submissions.

#[test]
fn th_3_what_is_queued_is_returned_when_the_thread_closes() {
    let mut hands = Hands::running("a");
    for id in ["b", "c"] {
        hands.submit(id, Delivery::Queue).unwrap();
    }
    hands.submit("d", Delivery::SteerOrQueue).unwrap();
    hands.close(ms(1_000));
    assert_eq!(hands.done, ["shut", "cancel"]);
    assert_eq!(hands.over, None, "it does not end before its turn");
    hands.end("a", TurnEnd::Stopped);
    assert_eq!(hands.outcome("a"), Some(&Outcome::Interrupted));
    for id in ["b", "c", "d"] {
        assert_eq!(hands.outcome(id), Some(&Outcome::Returned), "{id}");
    }
    assert_eq!(hands.over, Some(Ended::Closed { rung: Rung::Stopped }));
    assert_eq!(
        (hands.core.status.clone(), hands.core.phase),
        (ThreadStatus::Shutdown, Phase::Stopped)
    );
    assert_eq!(hands.places, 0);
    assert_eq!(hands.settled, [name("a"), name("d"), name("b"), name("c")]);
}

#[test]
fn th_4_once_it_closes_nothing_is_accepted_and_no_turn_starts() {
    let mut hands = Hands::running("a");
    hands.submit("b", Delivery::Queue).unwrap();
    hands.close(ms(1_000));
    let thread = hands.core.thread;
    let closed = Err(SubmitError::Closed { thread });
    for op in [Op::Interrupt, Op::Compact, Op::Close, Op::Rollback { turns: 1 }, Op::Hibernate] {
        assert_eq!(hands.send("x", op), closed);
    }
    assert_eq!(hands.submit("x", Delivery::Queue), closed);
    hands.mail("m", true);
    hands.end("a", TurnEnd::Stopped);
    assert!(hands.asked.is_empty());
}

#[test]
fn th_4_a_permit_that_comes_after_the_close_goes_back() {
    let mut hands = Hands::idle();
    hands.submit("a", Delivery::Queue).unwrap();
    hands.close(ms(1_000));
    assert_eq!(hands.outcome("a"), Some(&Outcome::Returned));
    hands.permit();
    assert!(hands.launched.is_empty());
    assert_eq!((hands.free_permits(), hands.leases.live(LeaseKind::TurnPermit)), (PERMITS, 0));
}

#[test]
fn a_refusal_gives_the_place_in_the_inbox_back_and_writes_nothing() {
    let mut hands = Hands::idle();
    for (submission, refusal) in [
        (Submission::input("  "), SubmitError::EmptyInput),
        (
            Op::Rollback { turns: 0 }.into(),
            SubmitError::BadRequest { field: "turns", reason: "must be at least 1".into() },
        ),
        (
            Op::UpdateConfig { settings: serde_json::json!([]) }.into(),
            SubmitError::BadRequest { field: "settings", reason: "must be a JSON object".into() },
        ),
        (
            Op::Inject { items: Vec::new() }.into(),
            SubmitError::BadRequest { field: "items", reason: "items must not be empty".into() },
        ),
        (Op::RefreshConfig.into(), SubmitError::Unsupported { op: "refresh_config" }),
    ] {
        assert_eq!(hands.send("x", submission), Err(refusal));
    }
    assert_eq!((hands.places, hands.writes.len()), (0, 0));
    assert_eq!(hands.core.status, ThreadStatus::PendingInit, "a refusal never moves a status");
}

// Steering (REF 7.6).

#[test]
fn se_01_there_is_nothing_to_steer_in_an_idle_thread() {
    let mut hands = Hands::idle();
    let steer = Delivery::Steer { expected: None };
    assert_eq!(hands.submit("s", steer), Err(SubmitError::NoActiveTurn));
    hands.submit("q", Delivery::SteerOrQueue).unwrap();
    assert_eq!(hands.queue(), ["q"]);
}

#[test]
fn se_02_se_04_a_steer_names_the_turn_that_it_means() {
    let mut hands = Hands::running("t");
    let steer = |expected| Delivery::Steer { expected: Some(turn(expected)) };
    assert_eq!(
        hands.submit("s", steer("different")),
        Err(SubmitError::ExpectedTurnMismatch { expected: turn("different"), actual: turn("t") })
    );
    hands.submit("s", steer("t")).unwrap();
    let steered = &hands.core.turn.as_ref().unwrap().steered;
    assert_eq!(steered.len(), 1);
}

#[test]
fn se_03_a_compaction_is_not_steered() {
    let mut hands = Hands::idle();
    hands.send("c", Op::Compact).unwrap();
    hands.permit();
    let steer = Delivery::Steer { expected: None };
    let refused = Err(SubmitError::NotSteerable { turn: turn("c"), kind: "compact" });
    assert_eq!(hands.submit("s", steer), refused);
    hands.submit("q", Delivery::SteerOrQueue).unwrap();
    assert_eq!(hands.queue(), ["q"]);
}

#[test]
fn se_07_input_for_an_idle_thread_is_refused_while_anything_runs_or_waits() {
    let mut hands = Hands::running("a");
    assert_eq!(hands.submit("x", Delivery::Refuse), Err(SubmitError::Busy { turn: turn("a") }));
    let _answer = hands.interrupt();
    hands.pass(ms(100));
    assert_eq!(
        hands.submit("x", Delivery::Refuse),
        Err(SubmitError::Busy { turn: turn("a") }),
        "a turn that is being killed runs still"
    );
    let mut hands = Hands::idle();
    hands.submit("b", Delivery::Refuse).unwrap();
    assert_eq!(
        hands.submit("x", Delivery::Refuse),
        Err(SubmitError::Busy { turn: turn("b") }),
        "a turn that waits for its permit is as good as running"
    );
}

#[test]
fn se_11_steered_input_comes_before_mail_and_both_in_order() {
    let mut hands = Hands::running("a");
    hands.mail("m1", false);
    hands.submit("s1", Delivery::SteerOrQueue).unwrap();
    hands.mail("m2", true);
    hands.submit("s2", Delivery::SteerOrQueue).unwrap();
    let items = hands.take_steered("a").unwrap();
    let names: Vec<&str> = items
        .iter()
        .map(|item| match item {
            TurnItem::Input { submission, .. } => submission.as_str(),
            TurnItem::Mail(mail) => &mail.id,
            _ => "?",
        })
        .collect();
    assert_eq!(names, ["s1", "s2", "m1", "m2"]);
    let taken = &hands.last_write().mail_taken;
    assert_eq!(taken.iter().map(|id| &**id).collect::<Vec<_>>(), ["m1", "m2"]);
    assert!(hands.take_steered("a").unwrap().is_empty());
    hands.done("a");
    for id in ["a", "s1", "s2"] {
        assert_eq!(hands.outcome(id), Some(&Outcome::Completed { message: None }), "{id}");
    }
}

#[test]
fn steered_input_that_the_turn_never_took_runs_next_before_what_was_queued() {
    let mut hands = Hands::running("a");
    hands.submit("q", Delivery::Queue).unwrap();
    hands.submit("s1", Delivery::SteerOrQueue).unwrap();
    hands.submit("s2", Delivery::Steer { expected: None }).unwrap();
    hands.done("a");
    assert_eq!(hands.queue(), ["s1", "s2", "q"]);
    assert_eq!(hands.outcome("s1"), None);
}

#[test]
fn a_turn_that_was_told_to_stop_takes_no_more_input() {
    let mut hands = Hands::running("a");
    let _answer = hands.interrupt();
    let steer = Delivery::Steer { expected: None };
    assert_eq!(hands.submit("s", steer), Err(SubmitError::NoActiveTurn));
    hands.submit("q", Delivery::SteerOrQueue).unwrap();
    assert_eq!(hands.queue(), ["q"]);
}

#[test]
fn inputs_that_wait_for_a_turn_are_bounded() {
    let mut hands = Hands::running("a");
    let max = hands.core.limits.steered_max;
    let steer = || Delivery::Steer { expected: None };
    for n in 0..max {
        hands.submit(&format!("s{n}"), steer()).unwrap();
    }
    let full = SubmitError::Overloaded { depth: max, capacity: max };
    assert_eq!(hands.submit("more", steer()), Err(full));
    hands.submit("queued", Delivery::SteerOrQueue).unwrap();
    assert_eq!(hands.queue(), ["queued"]);
}

// Mail (REF 7.8).

#[test]
fn queue_only_mail_starts_no_turn_and_comes_with_the_next_one() {
    let mut hands = Hands::idle();
    hands.mail("m", false);
    assert!(hands.asked.is_empty());
    hands.submit("a", Delivery::Queue).unwrap();
    hands.permit();
    let mails = hands.items.iter().filter(|item| matches!(item, TurnItem::Mail(_))).count();
    assert_eq!((hands.items.len(), mails), (2, 1));
    assert!(matches!(hands.items[0], TurnItem::Input { .. }), "input comes before mail");
}

#[test]
fn trigger_mail_starts_a_turn_of_its_own() {
    let mut hands = Hands::idle();
    hands.mail("m", true);
    assert_eq!(hands.asked.len(), 1);
    hands.permit();
    assert!(matches!(&hands.items[..], [TurnItem::Mail(mail)] if &*mail.id == "m"));
    let mail_turn = hands.runs().unwrap().to_owned();
    hands.mail("n", true);
    hands.done(&mail_turn);
    assert_eq!(hands.asked.len(), 1, "mail that came meanwhile starts the next turn");
    assert_ne!(hands.asked[0].as_str(), mail_turn);
}

#[test]
fn mail_that_the_store_told_of_is_not_read_again() {
    let mut hands = Hands::new();
    hands.core.mail.push_back(mail("m", false));
    hands.core.mail_had.insert(MailId::from("m"));
    hands.begin(Vec::new());
    hands.mail("m", false);
    assert_eq!(hands.core.mail.len(), 1);
}

#[test]
fn a_compaction_leaves_mail_for_the_next_regular_turn() {
    let mut hands = Hands::idle();
    hands.mail("m", false);
    hands.send("c", Op::Compact).unwrap();
    hands.permit();
    assert!(hands.items.is_empty());
    assert_eq!(hands.core.mail.len(), 1);
}

#[test]
fn p_12_each_end_of_a_turn_is_told_to_the_parent_once_in_the_write_of_the_end() {
    let mut hands = spawned_below();
    let mut ids = HashSet::new();
    for (id, end) in
        [("a", TurnEnd::Done(None)), ("b", TurnEnd::Failed("no".into())), ("c", panicked())]
    {
        hands.submit(id, Delivery::Queue).unwrap();
        hands.permit();
        hands.end(id, end);
        let mail = &hands.last_write().mail;
        assert_eq!(mail.len(), 1, "{id}");
        assert!(!mail[0].mail.trigger);
        assert!(ids.insert(mail[0].mail.id.clone()), "{id}: an id of its own");
        hands.pass(ms(200));
    }
    hands.close(ms(1_000));
    assert_eq!(hands.last_write().mail.len(), 1, "that it closed is told too");
    assert_eq!(hands.done.iter().filter(|done| **done == "deliver").count(), 4);
}

#[test]
fn a_parent_that_closes_in_the_same_stroke_is_not_told() {
    let mut hands = spawned_below();
    let until = hands.now.instant + ms(1_000);
    hands.order(CloseOrder {
        drain_until: hands.now.instant,
        stop_until: until,
        kill_until: until,
        tell_parent: false,
    });
    assert!(hands.last_write().mail.is_empty());
}

// Passing errors.

#[test]
fn a_passing_error_is_tried_again_after_pauses_that_double_and_fails_at_the_fourth() {
    let mut hands = Hands::running("a");
    let mut pauses = Vec::new();
    for _ in 1..4 {
        hands.end("a", transient());
        let (at, _) = hands.armed[0];
        pauses.push((at - hands.now.instant).as_millis());
        assert_eq!((hands.runs(), hands.outcome("a")), (Some("a"), None));
        hands.pass(at - hands.now.instant);
    }
    assert_eq!(pauses, [200, 400, 800]);
    let attempts: Vec<u32> = hands.launched.iter().map(|(_, attempt)| *attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    hands.end("a", transient());
    assert_eq!(hands.outcome("a"), Some(&Outcome::Failed { error: "try again".into() }));
    assert_eq!(hands.core.status, ThreadStatus::Errored("try again".into()));
    assert_eq!(hands.free_permits(), PERMITS);
}

#[test]
fn the_pause_is_what_the_engine_says_or_twice_as_long_when_it_is_overloaded() {
    let hint = |retry_after| TurnEnd::Transient { message: String::new(), retry_after };
    for (end, pause) in [
        (hint(Some(ms(7))), 7),
        (hint(Some(Duration::from_secs(3_600))), 30_000),
        (TurnEnd::Overloaded, 400),
        (TurnEnd::SessionLost("gone".into()), 200),
    ] {
        let mut hands = Hands::running("a");
        hands.end("a", end.clone());
        let (at, _) = hands.armed[0];
        assert_eq!((at - hands.now.instant).as_millis(), pause, "{end:?}");
        let lost = matches!(end, TurnEnd::SessionLost(_));
        assert_eq!(hands.done.contains(&"drop session"), lost, "{end:?}");
    }
}

#[test]
fn a_question_of_a_failed_attempt_waits_for_no_answer_any_more() {
    let mut hands = Hands::running("a");
    let (reply, answer) = Reply::channel(hands.far(), None);
    hands.decide(|core, _, out| {
        core.asked(&turn("a"), "a/q1".into(), serde_json::Value::Null, reply, out);
    });
    assert_eq!(hands.core.questions.len(), 1);
    hands.end("a", transient());
    assert!(hands.core.questions.is_empty());
    drop(answer);
}

#[test]
fn a_question_that_nobody_waits_for_any_more_makes_room_for_the_next() {
    let mut hands = Hands::running("a");
    for n in 0..=hands.core.limits.questions_max {
        let (reply, answer) = Reply::channel(hands.far(), None);
        hands.decide(|core, _, out| {
            core.asked(&turn("a"), format!("a/q{n}").into(), serde_json::Value::Null, reply, out);
        });
        drop(answer); // it timed out
    }
    assert_eq!(hands.core.questions.len(), 1);
}

#[test]
fn an_engine_that_says_it_was_stopped_and_was_not_has_failed() {
    let mut hands = Hands::running("a");
    hands.end("a", TurnEnd::Stopped);
    assert!(matches!(hands.outcome("a"), Some(Outcome::Failed { .. })));
}

// Crashes (P6, P7).

#[test]
fn a_crash_is_shown_then_a_pause_then_the_queue_goes_on() {
    let mut hands = Hands::running("a");
    hands.submit("b", Delivery::Queue).unwrap();
    hands.end("a", panicked());
    assert_eq!(hands.outcome("a"), Some(&Outcome::Crashed { cause: "boom".into() }));
    assert_eq!(hands.core.status, ThreadStatus::Crashed("boom".into()));
    assert_eq!((hands.core.phase, hands.queue()), (Phase::Backoff, vec!["b"]));
    assert_eq!(
        hands.tell_names(),
        ["accepted", "started", "accepted", "crashed", "ended", "backoff"]
    );
    assert!(hands.done.contains(&"over without session"));
    hands.submit("c", Delivery::Queue).unwrap();
    assert!(hands.asked.is_empty(), "no turn starts in the pause");
    hands.pass(ms(99));
    assert_eq!(hands.core.phase, Phase::Backoff);
    hands.pass(ms(1));
    assert_eq!((hands.core.phase, &hands.asked[0]), (Phase::Idle, &turn("b")));
}

#[test]
fn when_its_restarts_are_spent_a_thread_is_parked_and_a_revival_starts_afresh() {
    let policy = RestartPolicy::default().with_limit(1, Duration::from_secs(60));
    let mut hands = Hands::of(ThreadConfig::default().with_restart(policy));
    hands.begin(Vec::new());
    for id in ["a", "b", "c"] {
        hands.submit(id, Delivery::Queue).unwrap();
    }
    hands.permit();
    hands.end("a", panicked());
    hands.pass(ms(100));
    hands.permit();
    hands.end("b", panicked());
    assert_eq!(
        (hands.core.phase, hands.core.status.clone()),
        (Phase::Parked, ThreadStatus::Parked)
    );
    assert_eq!(hands.writes.last().unwrap().status, Some(ThreadStatus::Parked), "it is durable");
    assert!(hands.done.contains(&"park") && hands.asked.is_empty());
    assert_eq!(hands.queue(), ["c"], "what was accepted waits");
    let thread = hands.core.thread;
    assert_eq!(hands.submit("d", Delivery::Queue), Err(SubmitError::Parked { thread }));

    let (reply, answer) = Reply::channel(hands.far(), None);
    hands.decide(|core, now, out| core.revive(reply, now, out));
    assert_eq!(answered(answer), Some(Ok(())));
    assert!(hands.done.contains(&"unpark"));
    hands.permit();
    assert_eq!(hands.runs(), Some("c"));
    hands.end("c", panicked());
    assert_eq!(hands.core.phase, Phase::Backoff, "its budget is fresh");
}

#[test]
fn only_a_parked_thread_is_revived() {
    let mut hands = Hands::idle();
    let before = hands.state();
    let (reply, answer) = Reply::channel(hands.far(), None);
    hands.decide(|core, now, out| core.revive(reply, now, out));
    assert!(matches!(answered(answer), Some(Err(ControlError::WrongPhase { .. }))));
    assert_eq!(hands.state(), before);
}

#[test]
fn a_temporary_thread_asks_to_be_closed_and_runs_nothing_more() {
    let policy = RestartPolicy::default().with_restart(coppicer_messages::Restart::Temporary);
    let mut hands = Hands::of(ThreadConfig::default().with_restart(policy));
    hands.begin(Vec::new());
    hands.submit("a", Delivery::Queue).unwrap();
    hands.submit("b", Delivery::Queue).unwrap();
    hands.permit();
    hands.end("a", panicked());
    assert!(hands.done.contains(&"ask close"));
    assert!(hands.asked.is_empty(), "no turn starts on the way out");
    hands.close(ms(100));
    assert_eq!(hands.outcome("b"), Some(&Outcome::Returned));
}

#[test]
fn an_old_pause_does_not_end_a_newer_one() {
    let mut hands = Hands::running("a");
    hands.end("a", panicked());
    let old = hands.armed.pop().unwrap().1;
    hands.tick(old.clone());
    hands.submit("b", Delivery::Queue).unwrap();
    hands.permit();
    hands.end("b", panicked());
    hands.tick(old);
    assert_eq!(hands.core.phase, Phase::Backoff);
}

#[test]
fn what_ran_when_its_host_died_ends_or_is_tried_again_as_the_thread_is_configured() {
    let requeue = OnCrash::Requeue { attempts_max: 2 };
    for (on_crash, attempt, outcome) in [
        (OnCrash::Interrupt, 1, Some("interrupted")),
        (requeue, 1, None),
        (requeue, 2, Some("crashed")),
    ] {
        let mut hands = Hands::of(ThreadConfig::default().with_on_crash(on_crash));
        hands.core.status = ThreadStatus::Running;
        let input = |id, attempt| Waiting::Input {
            id: name(id),
            input: "text".into(),
            attempt,
            trace: None,
        };
        hands.begin(vec![
            (input("a", attempt + 1), SubmissionState::Running { attempt }),
            (input("b", 1), SubmissionState::Accepted),
        ]);
        assert_eq!(hands.outcome("a").map(Outcome::name), outcome, "{on_crash:?} {attempt}");
        let queue: &[&str] = if outcome.is_some() { &["b"] } else { &["a", "b"] };
        assert_eq!(hands.queue(), queue, "{on_crash:?} {attempt}");
        assert_ne!(hands.core.status, ThreadStatus::Running, "P6");
        if outcome.is_none() {
            assert_eq!(hands.asked, [turn("a.2")], "a further attempt has a turn id of its own");
            hands.permit();
            let said = |class: &RecordClass| matches!(class, RecordClass::UserMessage);
            let again = hands.last_write().records.iter().any(|record| said(&record.class));
            assert!(!again, "the input is in the history already");
        }
    }
}

// Stopping.

#[test]
fn an_interrupt_is_answered_once_the_turn_has_ended_and_says_how_far_it_had_to_go() {
    let cases: [(&str, fn(&mut Hands), Rung); 3] = [
        ("listens", |hands| hands.end("a", TurnEnd::Stopped), Rung::Stopped),
        (
            "does not listen",
            |hands| {
                hands.pass(ms(100));
                hands.end("a", TurnEnd::Killed);
            },
            Rung::Killed,
        ),
        ("blocks", |hands| hands.pass(ms(150)), Rung::Fenced),
    ];
    for (case, go_on, rung) in cases {
        let mut hands = Hands::running("a");
        let (first, second) = (hands.interrupt(), hands.interrupt());
        assert_eq!(hands.done, ["cancel"], "{case}: it is cancelled once");
        go_on(&mut hands);
        assert_eq!(hands.outcome("a"), Some(&Outcome::Interrupted), "{case}");
        assert_eq!(hands.core.status, ThreadStatus::Interrupted, "{case}");
        let found = Some(Ok(Interrupted::Turn { turn: turn("a"), rung }));
        assert_eq!(answered(first), found, "{case}");
        assert_eq!(answered(second), found, "{case}");
        assert_eq!(hands.free_permits(), PERMITS, "{case}");
    }
}

#[test]
fn a_turn_that_is_interrupted_before_it_begins_never_begins() {
    let mut hands = Hands::idle();
    hands.submit("a", Delivery::Queue).unwrap();
    let asked = hands.asked.pop_front().unwrap();
    let permit = hands.new_permit();
    // Its start is being written: the launch waits for that.
    let mut effects = Vec::new();
    hands.core.permitted(&asked, permit, hands.now, &mut effects);
    let answer = hands.interrupt();
    for effect in effects {
        hands.carry_out(effect);
    }
    assert!(hands.launched.is_empty());
    assert_eq!(hands.outcome("a"), Some(&Outcome::Interrupted));
    let found = Interrupted::Turn { turn: turn("a"), rung: Rung::Stopped };
    assert_eq!(answered(answer), Some(Ok(found)));
    assert_eq!(hands.free_permits(), PERMITS);
}

#[test]
fn an_interrupt_of_an_idle_thread_finds_nothing_and_changes_nothing() {
    let mut hands = Hands::idle();
    let before = hands.state();
    assert_eq!(answered(hands.interrupt()), Some(Ok(Interrupted::NothingRan)));
    assert_eq!(hands.state(), before);
}

#[test]
fn a_close_between_two_attempts_ends_the_turn_at_once() {
    let mut hands = Hands::running("a");
    hands.end("a", transient());
    hands.close(ms(1_000));
    assert_eq!(hands.outcome("a"), Some(&Outcome::Interrupted));
    assert_eq!(hands.over, Some(Ended::Closed { rung: Rung::Stopped }));
    let writes = hands.writes.len();
    hands.pass(Duration::from_secs(60));
    assert_eq!((hands.launched.len(), hands.writes.len()), (1, writes));
}

#[test]
fn a_passing_error_of_a_turn_that_was_told_to_stop_is_not_tried_again() {
    let mut hands = Hands::running("a");
    let _answer = hands.interrupt();
    hands.end("a", transient());
    assert_eq!(hands.outcome("a"), Some(&Outcome::Interrupted));
    assert_eq!(hands.runs(), None);
}

#[test]
fn a_turn_may_drain_until_its_time_is_over() {
    let drain = |hands: &mut Hands| {
        hands.order(CloseOrder {
            drain_until: hands.now.instant + ms(500),
            stop_until: hands.now.instant + ms(800),
            kill_until: hands.now.instant + ms(900),
            tell_parent: true,
        });
    };
    let mut hands = Hands::running("a");
    drain(&mut hands);
    hands.pass(ms(499));
    assert_eq!(hands.done, ["shut"], "it is not told to stop");
    hands.done("a");
    assert_eq!(hands.outcome("a").map(Outcome::name), Some("completed"));
    assert_eq!(hands.over, Some(Ended::Closed { rung: Rung::Drained }));

    let mut hands = Hands::running("a");
    drain(&mut hands);
    hands.pass(ms(500));
    assert_eq!(hands.done, ["shut", "cancel"]);
    hands.pass(ms(100));
    assert_eq!(hands.done, ["shut", "cancel", "kill"], "the grace of an interrupt");
    hands.end("a", TurnEnd::Killed);
    assert_eq!(hands.over, Some(Ended::Closed { rung: Rung::Killed }));
}

#[test]
fn a_second_order_may_be_stricter_and_is_never_laxer() {
    let order = |hands: &Hands, drain, stop, kill| CloseOrder {
        drain_until: hands.now.instant + ms(drain),
        stop_until: hands.now.instant + ms(stop),
        kill_until: hands.now.instant + ms(kill),
        tell_parent: false,
    };
    let mut hands = Hands::running("a");
    hands.order(order(&hands, 5_000, 6_000, 7_000));
    hands.order(order(&hands, 0, 10, 20));
    assert_eq!(hands.done, ["shut", "cancel"], "the stricter one stops it at once");
    hands.pass(ms(10));
    assert_eq!(hands.done, ["shut", "cancel", "kill"]);
    hands.pass(ms(10));
    assert_eq!(hands.over, Some(Ended::Closed { rung: Rung::Fenced }));

    let mut hands = Hands::running("a");
    hands.order(order(&hands, 0, 10, 20));
    hands.order(order(&hands, 5_000, 6_000, 7_000));
    hands.pass(ms(20));
    assert_eq!(
        hands.over,
        Some(Ended::Closed { rung: Rung::Fenced }),
        "the laxer one changes nothing"
    );
}

#[test]
fn a_thread_with_work_does_not_sleep() {
    let mut hands = Hands::idle();
    assert_eq!(hands.core.hibernate(), Ok(()));
    hands.submit("a", Delivery::Queue).unwrap();
    assert!(hands.core.hibernate().is_err());
    hands.permit();
    assert!(hands.core.hibernate().is_err());
    assert!(matches!(hands.send("h", Op::Hibernate), Err(SubmitError::Busy { .. })));
}

#[test]
fn rb_07_rb_08_a_rollback_is_refused_while_a_turn_runs_and_for_no_turns() {
    let mut hands = Hands::running("a");
    let busy = SubmitError::Busy { turn: turn("a") };
    assert_eq!(hands.send("r", Op::Rollback { turns: 1 }), Err(busy));
    hands.done("a");
    let refused = hands.send("r", Op::Rollback { turns: 0 });
    assert!(matches!(refused, Err(SubmitError::BadRequest { field: "turns", .. })), "{refused:?}");
    hands.send("r", Op::Rollback { turns: 1 }).unwrap();
    assert_eq!(hands.last_write().records[0].class, RecordClass::RolledBack { turns: 1 });
    assert!(hands.done.contains(&"drop session"));
}

// Laws.

#[derive(Debug, Clone)]
enum Input {
    Submit(u8),
    Compact,
    Mail(bool),
    AgentMessage(bool),
    Rollback,
    Permit,
    StalePermit,
    Emit(u8),
    TakeSteered,
    End(u8),
    StaleEnd,
    Interrupt,
    InterruptOp,
    Pass(u16),
    Revive,
    Close(u16),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => (0u8..5).prop_map(Input::Submit),
        1 => Just(Input::Compact),
        1 => any::<bool>().prop_map(Input::Mail),
        1 => any::<bool>().prop_map(Input::AgentMessage),
        1 => Just(Input::Rollback),
        6 => Just(Input::Permit),
        1 => Just(Input::StalePermit),
        2 => (0u8..3).prop_map(Input::Emit),
        2 => Just(Input::TakeSteered),
        6 => (0u8..9).prop_map(Input::End),
        1 => Just(Input::StaleEnd),
        2 => Just(Input::Interrupt),
        1 => Just(Input::InterruptOp),
        4 => (0u16..2_000).prop_map(Input::Pass),
        1 => Just(Input::Revive),
        1 => (0u16..500).prop_map(Input::Close),
    ]
}

impl Hands {
    fn apply(&mut self, step: usize, input: Input) {
        if self.over.is_some() {
            return; // the actor is gone
        }
        let id = format!("s{step}");
        let running = self.runs().map(str::to_owned);
        match input {
            Input::Submit(how) => {
                let expected = running.as_deref().map(turn);
                let delivery = match how {
                    0 | 1 => Delivery::Queue,
                    2 => Delivery::SteerOrQueue,
                    3 => Delivery::Steer { expected },
                    _ => Delivery::Refuse,
                };
                let _ = self.submit(&id, delivery);
            }
            Input::Compact => drop(self.send(&id, Op::Compact)),
            Input::Mail(trigger) => self.mail(&id, trigger),
            Input::AgentMessage(trigger) => {
                let from = AgentPath::root();
                let _ = self.send(&id, Op::AgentMessage { from, content: "hi".into(), trigger });
            }
            Input::Rollback => drop(self.send(&id, Op::Rollback { turns: 1 })),
            Input::Permit if !self.asked.is_empty() => self.permit(),
            Input::Permit => {}
            Input::StalePermit => self.permit_for(&turn("stale")),
            Input::Emit(what) => {
                let class = [call("x"), output("x"), RecordClass::Other];
                let to = running.unwrap_or_else(|| "stale".into());
                self.emit(&to, &class[usize::from(what)..=usize::from(what)]);
            }
            Input::TakeSteered => {
                let to = running.unwrap_or_else(|| "stale".into());
                let _ = self.take_steered(&to);
            }
            Input::End(how) => {
                let Some(running) = running else { return };
                use super::running::Stage;
                let stage = self.core.turn.as_ref().map(|turn| turn.stage);
                // Only a turn whose actor runs can end.
                if matches!(stage, Some(Stage::Live | Stage::Killed)) {
                    self.end(
                        &running,
                        match how {
                            0..=2 => TurnEnd::Done(Some("done".into())),
                            3 => transient(),
                            4 => TurnEnd::Overloaded,
                            5 => TurnEnd::Failed("no".into()),
                            6 => panicked(),
                            7 => TurnEnd::Killed,
                            _ => TurnEnd::Stopped,
                        },
                    );
                }
            }
            Input::StaleEnd => self.end("stale", panicked()),
            Input::Interrupt => drop(self.interrupt()),
            Input::InterruptOp => drop(self.send(&id, Op::Interrupt)),
            Input::Pass(time) => self.pass(ms(u64::from(time))),
            Input::Revive => {
                let (reply, _answer) = Reply::channel(self.far(), None);
                self.decide(|core, now, out| core.revive(reply, now, out));
            }
            Input::Close(budget) => self.close(ms(u64::from(budget))),
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        // TH-1.
        let live = self.leases.live(LeaseKind::TurnPermit);
        prop_assert_eq!(live, u64::from(self.core.turn.is_some()), "one permit for one turn");
        prop_assert_eq!(self.core.phase == Phase::Running, {
            self.core.turn.is_some() && self.core.closing.is_none()
        });
        // TH-3.
        let mut places: Vec<&SubmissionId> = self.core.queue.iter().map(Waiting::id).collect();
        let waiting = places.len();
        let mut steered = 0;
        if let Some(turn) = &self.core.turn {
            places.extend(&turn.submissions);
            places.extend(turn.steered.iter().map(|(id, _)| id));
            steered = turn.steered.len();
        }
        for (id, outcomes) in &self.ended {
            prop_assert_eq!(outcomes.len(), 1, "{} ended more than once", id);
            places.push(id);
        }
        places.sort_unstable();
        let mut accepted: Vec<&SubmissionId> = self.accepted.iter().collect();
        accepted.sort_unstable();
        prop_assert_eq!(places, accepted, "each accepted submission is in exactly one place");
        prop_assert_eq!(self.settled.len(), self.ended.len(), "who waits is told of each end");
        prop_assert_eq!(self.places, (waiting + steered) as i64, "places in the inbox");
        // The head is what was written.
        prop_assert_eq!(self.core.head, self.began.plus(self.records()));
        // TH-4.
        if self.over.is_some() {
            prop_assert!(self.core.turn.is_none() && self.core.queue.is_empty());
            prop_assert_eq!(self.core.phase, Phase::Stopped);
        }
        // P6.
        let runs = self.core.status == ThreadStatus::Running;
        prop_assert_eq!(runs, self.core.turn.is_some(), "status {:?}", self.core.status);
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_comes_the_laws_of_a_thread_hold(inputs in proptest::collection::vec(input(), 1..120)) {
        let policy = RestartPolicy::default().with_limit(2, Duration::from_secs(1));
        let mut hands = Hands::of(ThreadConfig::default().with_restart(policy));
        hands.begin(Vec::new());
        for (step, input) in inputs.into_iter().enumerate() {
            hands.apply(step, input);
            hands.check()?;
        }
        // However it stands, a close ends it, and everything has its outcome.
        if hands.over.is_none() {
            hands.close(ms(300));
            hands.pass(ms(1_000));
            hands.check()?;
        }
        prop_assert!(hands.over.is_some());
        prop_assert_eq!(hands.ended.len(), hands.accepted.len());
        prop_assert_eq!(hands.free_permits(), PERMITS);
    }
}
