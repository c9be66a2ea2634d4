//! Which submissions are accepted, and what accepting them means.

use coppicer_messages::{
    Accepted, Delivery, Mail, MailId, NewRecord, Now, Op, Outcome, Phase, Reply, Submission,
    SubmissionId, SubmissionState, SubmitError, ThreadEvent, ThreadPatch, TurnId,
};

use super::control::later;
use super::core::{ThreadCore, Waiting};
use super::effect::Effect;
use super::kept;
use crate::engine::TurnKind;
use crate::history::Line;
use crate::store::{Batch, MailTo, NewSubmission, digest};

/// What accepting a submission means.
pub(super) enum Acceptance {
    /// It waits for its turn.
    Queue,
    /// It joins the running turn.
    Steer(TurnId),
    /// It goes into the mailbox.
    Mail,
    /// It is done with these records.
    Write { records: Vec<NewRecord>, session_stale: bool },
    /// It stops the running turn.
    Interrupt,
    /// It answers an engine's question.
    Answer,
    /// It lets the actor go.
    Hibernate,
    /// It closes the thread.
    Close,
}

/// Accepts, or refuses with a reason. Changes nothing.
pub(super) fn decide(
    core: &ThreadCore,
    submission: &Submission,
    at_ms: u64,
) -> Result<Acceptance, SubmitError> {
    if core.closing.is_some() {
        return Err(SubmitError::Closed { thread: core.thread });
    }
    // Mail waits until the thread is revived.
    let waits = matches!(submission.op, Op::Close | Op::AgentMessage { .. });
    if core.phase == Phase::Parked && !waits {
        return Err(SubmitError::Parked { thread: core.thread });
    }
    let idle = || match core.turn.as_ref().map(|turn| &turn.id).or(core.asking.as_ref()) {
        Some(turn) => Err(SubmitError::Busy { turn: turn.clone() }),
        None => Ok(()),
    };
    match &submission.op {
        Op::UserInput { input, .. } if input.is_empty() => Err(SubmitError::EmptyInput),
        Op::UserInput { delivery, .. } => {
            let acceptance = deliver(core, delivery)?;
            if matches!(acceptance, Acceptance::Queue) {
                funded(core)?;
            }
            Ok(acceptance)
        }
        Op::AgentMessage { content, .. } if content.trim().is_empty() => {
            Err(SubmitError::EmptyInput)
        }
        // Where the store has more than there is room for here, there is no more room.
        Op::AgentMessage { .. } if core.mail.has_more() || !core.has_room_for_mail() => {
            let capacity = core.limits.mail_max;
            Err(SubmitError::Overloaded { depth: core.mail.len().max(capacity), capacity })
        }
        Op::AgentMessage { .. } => Ok(Acceptance::Mail),
        Op::Interrupt => Ok(Acceptance::Interrupt),
        Op::Compact => funded(core).map(|()| Acceptance::Queue),
        Op::Rollback { turns: 0 } => {
            Err(SubmitError::BadRequest { field: "turns", reason: "must be at least 1".into() })
        }
        Op::Rollback { turns } => {
            idle()?;
            Ok(Acceptance::Write {
                records: vec![Line::rolled_back(at_ms, *turns)],
                session_stale: true,
            })
        }
        Op::Inject { items } => {
            idle()?;
            Ok(Acceptance::Write { records: injected(core, items, at_ms)?, session_stale: true })
        }
        Op::UpdateConfig { settings } if !settings.is_object() => Err(SubmitError::BadRequest {
            field: "settings",
            reason: "must be a JSON object".into(),
        }),
        Op::UpdateConfig { settings } => {
            let records = vec![Line::settings_applied(at_ms, core.thread, settings)];
            Ok(Acceptance::Write { records, session_stale: false })
        }
        Op::Hibernate => {
            let busy = |turn| Err(SubmitError::Busy { turn });
            core.busy_with().map_or(Ok(Acceptance::Hibernate), busy)
        }
        Op::Close => Ok(Acceptance::Close),
        Op::Answer { question, .. } if core.waits_for_answer(question) => Ok(Acceptance::Answer),
        Op::Answer { question, .. } => {
            Err(SubmitError::UnknownQuestion { question: question.clone() })
        }
        op => Err(SubmitError::Unsupported { op: op.name() }),
    }
}

/// Work that could not start is refused, not kept waiting for money.
fn funded(core: &ThreadCore) -> Result<(), SubmitError> {
    core.spent.as_deref().map_or(Ok(()), |limit| Err(SubmitError::Limit(limit.clone())))
}

/// Whether input starts or awaits a turn, or joins the running one (REF 7.6).
fn deliver(core: &ThreadCore, delivery: &Delivery) -> Result<Acceptance, SubmitError> {
    // One that was told to stop takes nothing more.
    let running = core.turn.as_ref().filter(|turn| turn.cancelled.is_none());
    let steerable = |turn: &super::running::RunningTurn| {
        turn.kind == TurnKind::Regular && turn.steered.len() < core.limits.steered_max
    };
    match (delivery, running) {
        (Delivery::Steer { .. }, None) => Err(SubmitError::NoActiveTurn),
        (Delivery::Steer { expected }, Some(turn)) => {
            if let Some(expected) = expected.as_ref().filter(|expected| **expected != turn.id) {
                return Err(SubmitError::ExpectedTurnMismatch {
                    expected: expected.clone(),
                    actual: turn.id.clone(),
                });
            }
            if turn.kind != TurnKind::Regular {
                let kind = turn.kind.as_str();
                return Err(SubmitError::NotSteerable { turn: turn.id.clone(), kind });
            }
            if !steerable(turn) {
                return Err(SubmitError::Overloaded {
                    depth: turn.steered.len(),
                    capacity: core.limits.steered_max,
                });
            }
            Ok(Acceptance::Steer(turn.id.clone()))
        }
        (Delivery::SteerOrQueue, Some(turn)) if steerable(turn) => {
            Ok(Acceptance::Steer(turn.id.clone()))
        }
        (Delivery::Refuse, _) => match core.busy_with() {
            Some(turn) => Err(SubmitError::Busy { turn }),
            None => Ok(Acceptance::Queue),
        },
        _ => Ok(Acceptance::Queue),
    }
}

fn injected(
    core: &ThreadCore,
    items: &[serde_json::Value],
    at_ms: u64,
) -> Result<Vec<NewRecord>, SubmitError> {
    let bad = |reason: String| SubmitError::BadRequest { field: "items", reason };
    if items.is_empty() {
        return Err(bad("items must not be empty".into()));
    }
    if items.len() > core.limits.batch_records_max {
        return Err(bad(format!("at most {} items at once", core.limits.batch_records_max)));
    }
    let record = |(index, item): (usize, &serde_json::Value)| {
        Line::response_item(at_ms, item.to_string().as_bytes())
            .map_err(|flaw| bad(format!("item {index}: {flaw}")))
    };
    items.iter().enumerate().map(record).collect()
}

/// Carries an acceptance out: all of it is in one write, and the receipt follows it.
#[expect(clippy::too_many_arguments, reason = "the parts of one submission")]
pub(super) fn carry(
    core: &mut ThreadCore,
    id: SubmissionId,
    submission: Submission,
    acceptance: Acceptance,
    place: bool,
    reply: Reply<Accepted, SubmitError>,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let op = submission.op.name();
    let body = serde_json::to_vec(&submission.op).unwrap_or_default();
    // The trace is no part of it: who sends it again has another span.
    let digest = digest(&body);
    let body = kept::body(body, submission.trace.as_ref()).into();
    let accepted = NewSubmission { id: id.clone(), digest, body };
    let mut receipt = Accepted::new(id.clone(), core.head);
    let mut batch = Batch { accepted: vec![accepted], ..Batch::default() };
    let ended = || SubmissionState::Ended(Outcome::Completed { message: None });
    let at_once = !matches!(acceptance, Acceptance::Queue | Acceptance::Steer(_));
    batch.task = task_of(&submission.op);
    let task = batch.task.clone().map(|task| Effect::ShowTask { task });
    let mut after = Vec::new();
    match acceptance {
        Acceptance::Queue => core.queue.push_back(match submission.op {
            Op::UserInput { input, .. } => {
                Waiting::Input { id: id.clone(), input, attempt: 1, trace: submission.trace }
            }
            _ => Waiting::Compact { id: id.clone(), attempt: 1, trace: submission.trace },
        }),
        Acceptance::Steer(turn) => {
            if let (Some(running), Op::UserInput { input, .. }) =
                (core.turn.as_mut(), submission.op)
            {
                running.steered.push((id.clone(), input, submission.trace));
                running.mail_waits = false; // the turn goes on
            }
            receipt.steered = Some(turn);
            after.push(core.publish(ThreadEvent::Steered { submission: id.clone() }));
        }
        Acceptance::Mail => {
            if let Op::AgentMessage { from, content, trigger } = submission.op {
                let mail = Mail {
                    id: MailId::from(id.as_str()),
                    sender: None,
                    author: from.to_string(),
                    recipient: core.author(),
                    content,
                    trigger,
                    trace: submission.trace,
                };
                batch.mail.push(MailTo { to: core.thread, mail: mail.clone() });
                after.push(core.publish(ThreadEvent::MailReceived { mail: mail.id.clone() }));
                core.mail.accept(mail);
            }
        }
        Acceptance::Write { records, session_stale } => {
            batch.records = records;
            if session_stale {
                after.push(Effect::DropSession);
            }
        }
        Acceptance::Interrupt => {
            let until = later(now, core.limits.interrupt_grace);
            core.cancel(until, now, &mut after);
        }
        Acceptance::Answer => {
            if let Op::Answer { question, answer } = submission.op {
                core.answered(&question, answer, &mut after);
            }
        }
        Acceptance::Hibernate => after.push(Effect::Sleep { reply: None }),
        Acceptance::Close => after.push(Effect::AskClose),
    }
    if at_once {
        batch.states.push((id.clone(), ended()));
    }
    out.push(core.write(batch));
    out.push(Effect::Accept { reply, receipt });
    let event = ThreadEvent::SubmissionAccepted { submission: id.clone(), op: op.to_owned() };
    out.push(core.publish(event));
    if at_once {
        // Before its place in the inbox is given back, so that a thread with work is never seen with
        // nothing to do.
        core.mail_came(now, out);
        if place {
            out.push(Effect::FreePlace);
        }
        let outcome = Outcome::Completed { message: None };
        out.push(Effect::Settle { submission: id, outcome });
    }
    out.extend(task);
    out.append(&mut after);
    core.next(now, out);
}

/// What a submission asks for, in short: the beginning of input and of mail (REF 3.6).
fn task_of(op: &Op) -> Option<String> {
    let text = match op {
        Op::UserInput { input, .. } => input.preview(),
        Op::AgentMessage { content, .. } => content.clone(),
        _ => return None,
    };
    ThreadPatch::default().with_preview(&text).preview.value()
}
