//! What can be done to threads.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use coppicer_messages::{
    Budget, CloseScope, ControlError, Delivery, ForkPoint, Interrupted, Op, Rung, SpawnThread,
    Submission, SubmitError, ThreadConfig, ThreadId, ThreadStatus, TraceContext,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::from_store;
use crate::board::BudgetRow;
use crate::body::{Answer, Posted, thread_of};
use crate::bounds::CLOSE_WITHIN_MAX_MS;
use crate::problem::Problem;
use crate::server::App;

/// What a request says that caused it (W3C trace context). One that cannot be read is none, and so are
/// two; several headers of its state are one list, as the standard has it.
fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all("traceparent").iter();
    let (parent, second) = (parents.next()?, parents.next());
    let parent = parent.to_str().ok().filter(|_| second.is_none())?;
    let states = headers.get_all("tracestate").iter().map(|state| state.to_str());
    let state = states.collect::<Result<Vec<_>, _>>().map(|states| states.join(","));
    TraceContext::from_headers(parent, state.ok().as_deref()).ok()
}

type Done = Result<Answer<Value>, Problem>;

/// What was told to a thread. One that is closed has no actor to tell, and is not unknown for that.
async fn told<T>(
    app: &App,
    thread: ThreadId,
    result: Result<T, ControlError>,
) -> Result<T, Problem> {
    let error = match result {
        Ok(done) => return Ok(done),
        Err(error) => error,
    };
    if let ControlError::NotFound { .. } = error
        && let Ok(stored) = from_store(app.runtime.store().thread(thread)).await
        && stored.status == ThreadStatus::Shutdown
    {
        return Err(SubmitError::Closed { thread }.into());
    }
    Err(error.into())
}

/// A request that has nothing to say: `{}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spawn {
    input: Option<String>,
    name: Option<String>,
    parent: Option<ThreadId>,
    nickname: Option<String>,
    role: Option<String>,
    cwd: Option<String>,
    model: Option<String>,
    budget: Option<Budget>,
}

pub(super) async fn spawn(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Posted(asked): Posted<Spawn>,
) -> Done {
    let mut config = ThreadConfig::default();
    config.nickname = asked.nickname;
    config.role = asked.role;
    config.cwd = asked.cwd;
    config.model = asked.model;
    config.budget = asked.budget;
    let mut request = SpawnThread::new().with_config(config);
    request.name = asked.name;
    request.parent = asked.parent;
    request.trace = trace_of(&headers);
    request.first = asked.input.map(Submission::input);
    let handle = app.runtime.spawn(request).await?;
    Ok(Answer(StatusCode::CREATED, json!({ "thread": handle.id(), "path": handle.view().path })))
}

pub(super) async fn resume(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Posted(Nothing {}): Posted<Nothing>,
) -> Done {
    let handle = app.runtime.resume(thread_of(&id)?).await?;
    Ok(Answer::ok(json!({ "thread": handle.id(), "path": handle.view().path })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fork {
    at: Option<ForkPoint>,
    input: Option<String>,
    nickname: Option<String>,
}

pub(super) async fn fork(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Posted(asked): Posted<Fork>,
) -> Done {
    let from = thread_of(&id)?;
    let mut request = SpawnThread::fork(from, asked.at.unwrap_or(ForkPoint::LastStable));
    request.config.nickname = asked.nickname;
    request.trace = trace_of(&headers);
    request.first = asked.input.map(Submission::input);
    let handle = app.runtime.spawn(request).await?;
    Ok(Answer(StatusCode::CREATED, json!({ "thread": handle.id(), "forked_from": from })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submit {
    input: Option<String>,
    delivery: Option<Delivery>,
    op: Option<Op>,
    id: Option<String>,
}

pub(super) async fn submit(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Posted(asked): Posted<Submit>,
) -> Done {
    let thread = thread_of(&id)?;
    let op = match (asked.input, asked.op) {
        (Some(text), None) => {
            Op::UserInput { input: text.into(), delivery: asked.delivery.unwrap_or_default() }
        }
        (None, Some(op)) if asked.delivery.is_none() => op,
        _ => {
            let detail = "say `input`, with or without `delivery`, or `op`";
            return Err(Problem::bad_request("bad_json", detail));
        }
    };
    let mut submission = Submission::new(op);
    submission.trace = trace_of(&headers);
    if let Some(id) = asked.id {
        let named = id.parse();
        submission = submission.with_id(named.map_err(|error: coppicer_messages::IdError| {
            Problem::bad_request("bad_request", format!("bad id: {error}"))
        })?);
    }
    let accepted = app.runtime.submit(thread, submission).await?;
    Ok(Answer(
        StatusCode::ACCEPTED,
        json!({
            "submission": accepted.submission,
            "seq": accepted.seq,
            "duplicate": accepted.duplicate,
            "steered": accepted.steered,
        }),
    ))
}

pub(super) async fn interrupt(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Posted(Nothing {}): Posted<Nothing>,
) -> Done {
    let thread = thread_of(&id)?;
    let found = told(&app, thread, app.runtime.interrupt(thread).await).await?;
    Ok(Answer::ok(match found {
        Interrupted::Turn { turn, rung } => {
            json!({ "interrupted": true, "turn": turn, "rung": rung })
        }
        _ => json!({ "interrupted": false }),
    }))
}

pub(super) async fn park(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Posted(Nothing {}): Posted<Nothing>,
) -> Done {
    let thread = thread_of(&id)?;
    told(&app, thread, app.runtime.park(thread).await).await?;
    Ok(Answer::ok(json!({})))
}

pub(super) async fn revive(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Posted(Nothing {}): Posted<Nothing>,
) -> Done {
    let thread = thread_of(&id)?;
    told(&app, thread, app.runtime.revive(thread).await).await?;
    Ok(Answer::ok(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fund {
    more: Budget,
}

pub(super) async fn fund(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Posted(asked): Posted<Fund>,
) -> Done {
    if asked.more == Budget::default() {
        let detail = "say in `more` how much of what, such as `{\"tokens\": 1000}`";
        return Err(Problem::bad_request("bad_request", detail));
    }
    let left = app.runtime.fund(thread_of(&id)?, asked.more).await?;
    Ok(Answer::ok(json!({ "left": BudgetRow::limited(&left) })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Close {
    within_ms: Option<u64>,
    drain_ms: Option<u64>,
}

pub(super) async fn close(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Posted(asked): Posted<Close>,
) -> Done {
    const WITHIN_MS: u64 = 5_000;
    let scope = CloseScope::Thread(thread_of(&id)?);
    let within_ms = asked.within_ms.unwrap_or(WITHIN_MS);
    let drain_ms = asked.drain_ms.unwrap_or(0);
    if !(1..=CLOSE_WITHIN_MAX_MS).contains(&within_ms) || drain_ms > within_ms {
        let detail =
            format!("`within_ms` is 1 to {CLOSE_WITHIN_MAX_MS}, `drain_ms` no more than it");
        return Err(Problem::bad_request("bad_request", detail));
    }
    let (drain, within) = (Duration::from_millis(drain_ms), Duration::from_millis(within_ms));
    let report = app.runtime.close_with(scope, drain, within).await?;
    let rungs = [Rung::Drained, Rung::Stopped, Rung::Killed, Rung::Fenced];
    let rungs = rungs.map(|rung| (rung.as_str().to_owned(), json!(report.count(rung))));
    let threads = report.threads.iter().map(|row| {
        json!({
            "thread": row.thread,
            "rung": row.rung,
            "took_ms": row.took.as_millis() as u64,
            "left": row.left,
        })
    });
    Ok(Answer::ok(json!({
        "completed": report.completed,
        "submit_failed": report.submit_failed,
        "timed_out": report.timed_out,
        "unknown": report.unknown,
        "detached": report.detached,
        "threads": threads.collect::<Vec<_>>(),
        "rungs": serde_json::Map::from_iter(rungs),
    })))
}
