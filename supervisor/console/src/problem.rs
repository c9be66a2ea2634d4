//! Problem details: why a request was not done, with a code that stays.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use coppicer_messages::{
    CloseError, ControlError, FundError, LimitReached, SpawnError, StoreError, SubmitError,
    TapError,
};
use coppicer_supervisor::WhyError;
use serde::Serialize;
use serde_json::{Map, Value, json};

use coppicer_messages::text::{escaped, with_causes};

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    /// What the error knows beside its text.
    fields: Map<String, Value>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), fields: Map::new() }
    }

    /// Nobody answered in time.
    pub(crate) fn no_answer(detail: impl Into<String>) -> Self {
        let (status, code) = NO_ANSWER;
        Self::new(status, code, detail)
    }

    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    #[cfg(test)]
    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }
}

/// The JSON of an answer, with what would steer a terminal escaped.
pub(crate) fn json_text(value: &impl Serialize) -> String {
    match serde_json::to_string(value) {
        Ok(text) => escaped(&text).into_owned(),
        Err(error) => {
            // Only maps with keys that are no text fail, and there are none.
            tracing::error!(%error, "an answer cannot be written as JSON");
            "null".to_owned()
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, detail, fields } = self;
        let mut body = Map::from_iter([
            ("type".to_owned(), json!("about:blank")),
            ("title".to_owned(), json!(status.canonical_reason().unwrap_or("Error"))),
            ("status".to_owned(), json!(status.as_u16())),
            ("code".to_owned(), json!(code)),
            ("detail".to_owned(), json!(detail)),
        ]);
        body.extend(fields);
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response =
            (status, [(header::CONTENT_TYPE, kind)], json_text(&body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
const CONFLICT: StatusCode = StatusCode::CONFLICT;
const BAD_REQUEST: StatusCode = StatusCode::BAD_REQUEST;
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
const NO_ANSWER: (StatusCode, &str) = (StatusCode::GATEWAY_TIMEOUT, "no_answer");
const RUNTIME_ENDED: (StatusCode, &str) = (UNAVAILABLE, "runtime_ended");
const NO_THREAD: (StatusCode, &str) = (NOT_FOUND, "not_found");
const LIMIT: (StatusCode, &str) = (StatusCode::TOO_MANY_REQUESTS, "limit");

fn of(error: &dyn std::error::Error, (status, code): (StatusCode, &'static str)) -> Problem {
    Problem::new(status, code, with_causes(error))
}

fn limit(problem: Problem, limit: &LimitReached) -> Problem {
    let problem =
        problem.with("limit", limit.limit).with("value", limit.value).with("advice", limit.advice);
    let problem = match &*limit.holders {
        [] => problem,
        holders => problem.with("holders", json!(holders)),
    };
    match limit.retry_after {
        Some(after) => problem.with("retry_after_ms", after.as_millis() as u64),
        None => problem,
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::NotFound { .. } => NO_THREAD,
            StoreError::Exists { .. } => (CONFLICT, "exists"),
            StoreError::PathTaken { .. } => (CONFLICT, "path_taken"),
            StoreError::Fenced { .. } => (CONFLICT, "fenced"),
            StoreError::Corrupt { .. } => (StatusCode::GONE, "damaged"),
            StoreError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            StoreError::BadCursor { .. } => (BAD_REQUEST, "bad_cursor"),
            StoreError::Unsupported { .. } => (BAD_REQUEST, "unsupported"),
            _ => (UNAVAILABLE, "store"),
        };
        let problem = of(&error, kind);
        match &error {
            StoreError::Corrupt { thread, seq, .. } => {
                problem.with("thread", thread.to_string()).with("seq", seq.0)
            }
            StoreError::NotFound { thread } => problem.with("thread", thread.to_string()),
            _ => problem,
        }
    }
}

impl From<SpawnError> for Problem {
    fn from(error: SpawnError) -> Self {
        let kind = match &error {
            SpawnError::NotFound { .. } => NO_THREAD,
            SpawnError::Exists { .. } => (CONFLICT, "exists"),
            SpawnError::ParentGone { .. } => (NOT_FOUND, "parent_gone"),
            SpawnError::Closing { .. } => (CONFLICT, "closing"),
            SpawnError::Closed { .. } => (CONFLICT, "closed"),
            SpawnError::Fenced => (CONFLICT, "fenced"),
            SpawnError::PathTaken { .. } => (CONFLICT, "path_taken"),
            SpawnError::BadPath(_) => (BAD_REQUEST, "bad_path"),
            SpawnError::BadConfig { .. } => (BAD_REQUEST, "bad_config"),
            SpawnError::PathMismatch { .. } => (CONFLICT, "path_mismatch"),
            SpawnError::Limit(_) => LIMIT,
            SpawnError::Fork { .. } => (BAD_REQUEST, "fork_refused"),
            SpawnError::Store(source) => return Self::from(source.clone()),
            SpawnError::Damaged { .. } => (StatusCode::GONE, "damaged"),
            SpawnError::FirstSubmission(refusal) => return Self::from((**refusal).clone()),
            SpawnError::NoAnswer => NO_ANSWER,
            SpawnError::RuntimeEnded => RUNTIME_ENDED,
            _ => (UNAVAILABLE, "not_up"),
        };
        let problem = of(&error, kind);
        match &error {
            SpawnError::Limit(reached) => limit(problem, reached),
            SpawnError::NotFound { thread }
            | SpawnError::Exists { thread }
            | SpawnError::Closing { thread }
            | SpawnError::Closed { thread }
            | SpawnError::Damaged { thread, .. }
            | SpawnError::ParentGone { parent: thread } => {
                problem.with("thread", thread.to_string())
            }
            SpawnError::BadConfig { field, .. } => problem.with("field", *field),
            _ => problem,
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let kind = match &error {
            SubmitError::NotFound { .. } => NO_THREAD,
            SubmitError::Overloaded { .. } => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
            SubmitError::Closed { .. } => (CONFLICT, "closed"),
            SubmitError::Parked { .. } => (CONFLICT, "parked"),
            SubmitError::Limit(_) => LIMIT,
            SubmitError::EmptyInput => (BAD_REQUEST, "empty_input"),
            SubmitError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            SubmitError::BadRequest { .. } => (BAD_REQUEST, "bad_request"),
            SubmitError::Conflict { .. } => (CONFLICT, "conflict"),
            SubmitError::NoActiveTurn => (CONFLICT, "no_active_turn"),
            SubmitError::ExpectedTurnMismatch { .. } => (CONFLICT, "turn_mismatch"),
            SubmitError::NotSteerable { .. } => (CONFLICT, "not_steerable"),
            SubmitError::Busy { .. } => (CONFLICT, "busy"),
            SubmitError::UnknownQuestion { .. } => (NOT_FOUND, "unknown_question"),
            SubmitError::Unsupported { .. } => (BAD_REQUEST, "unsupported"),
            SubmitError::NotUp { reason, .. } => return Self::from((**reason).clone()),
            SubmitError::Store(source) => return Self::from(source.clone()),
            SubmitError::Unknown { .. } | SubmitError::NoAnswer => NO_ANSWER,
            SubmitError::RuntimeEnded => RUNTIME_ENDED,
            _ => (UNAVAILABLE, "not_up"),
        };
        let problem = of(&error, kind);
        match &error {
            SubmitError::Limit(reached) => limit(problem, reached),
            SubmitError::Overloaded { depth, capacity } => {
                problem.with("depth", *depth).with("capacity", *capacity)
            }
            SubmitError::Closed { thread }
            | SubmitError::Parked { thread }
            | SubmitError::NotFound { thread } => problem.with("thread", thread.to_string()),
            SubmitError::Unknown { submission } | SubmitError::Conflict { submission } => {
                problem.with("submission", submission.to_string())
            }
            SubmitError::BadRequest { field, .. } => problem.with("field", *field),
            _ => problem,
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let kind = match &error {
            ControlError::NotFound { .. } => NO_THREAD,
            ControlError::Overloaded { .. } => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
            ControlError::WrongPhase { .. } => (CONFLICT, "wrong_phase"),
            ControlError::NotUp { reason, .. } => return Self::from((**reason).clone()),
            ControlError::NoAnswer => NO_ANSWER,
            ControlError::RuntimeEnded => RUNTIME_ENDED,
            _ => (UNAVAILABLE, "not_up"),
        };
        let problem = of(&error, kind);
        match &error {
            ControlError::NotFound { thread } => problem.with("thread", thread.to_string()),
            ControlError::WrongPhase { phase, .. } => problem.with("phase", *phase),
            _ => problem,
        }
    }
}

impl From<CloseError> for Problem {
    fn from(error: CloseError) -> Self {
        let kind = match &error {
            CloseError::NotFound { .. } => NO_THREAD,
            CloseError::Limit(_) => LIMIT,
            CloseError::RuntimeEnded => RUNTIME_ENDED,
            _ => NO_ANSWER,
        };
        let problem = of(&error, kind);
        match &error {
            CloseError::Limit(reached) => limit(problem, reached),
            CloseError::NotFound { thread } => problem.with("thread", thread.to_string()),
            _ => problem,
        }
    }
}

impl From<FundError> for Problem {
    fn from(error: FundError) -> Self {
        let kind = match &error {
            FundError::NotUp { reason, .. } => return Self::from((**reason).clone()),
            FundError::Store(source) => return Self::from(source.clone()),
            FundError::NotLimited { .. } => (CONFLICT, "not_limited"),
            FundError::Limit(_) => LIMIT,
            FundError::RuntimeEnded => RUNTIME_ENDED,
            _ => NO_ANSWER,
        };
        let problem = of(&error, kind);
        match &error {
            FundError::Limit(reached) => limit(problem, reached),
            FundError::NotLimited { thread, limit } => {
                problem.with("thread", thread.to_string()).with("limit", *limit)
            }
            _ => problem,
        }
    }
}

impl From<WhyError> for Problem {
    fn from(error: WhyError) -> Self {
        match error {
            WhyError::NotFound { thread } => {
                of(&error, NO_THREAD).with("thread", thread.to_string())
            }
            WhyError::Store { source, .. } => Self::from(source),
            WhyError::RuntimeEnded => of(&error, RUNTIME_ENDED),
            _ => of(&error, NO_ANSWER),
        }
    }
}

impl From<TapError> for Problem {
    fn from(error: TapError) -> Self {
        match &error {
            TapError::RuntimeEnded => of(&error, RUNTIME_ENDED),
            TapError::Limit(_) => of(&error, (UNAVAILABLE, "too_many_taps")),
            _ => of(&error, (BAD_REQUEST, "bad_query")),
        }
    }
}

#[cfg(test)]
mod tests {
    use coppicer_messages::{ForkRefusal, ThreadId};

    use super::*;

    async fn body(problem: Problem) -> (StatusCode, Value) {
        let response = problem.into_response();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_typed_error_has_its_code_its_status_and_what_it_knows() {
        let thread = ThreadId::from_parts(1, [2; 10]);
        let reached = LimitReached {
            limit: "children_max",
            value: 7,
            holders: vec![thread],
            retry_after: Some(std::time::Duration::from_millis(20)),
            advice: "close one",
        };
        let (status, json) = body(SpawnError::Limit(reached).into()).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!((&json["code"], &json["limit"]), (&json!("limit"), &json!("children_max")));
        assert_eq!((&json["value"], &json["retry_after_ms"]), (&json!(7), &json!(20)));
        assert_eq!(json["holders"], json!([thread.to_string()]));
        let (status, json) = body(SubmitError::Parked { thread }.into()).await;
        assert_eq!((status.as_u16(), &json["status"]), (409, &json!(409)));
        assert_eq!(
            (&json["code"], &json["thread"]),
            (&json!("parked"), &json!(thread.to_string()))
        );
        let fork = SpawnError::Fork { thread, reason: ForkRefusal::Unsupported };
        assert_eq!(Problem::from(fork).code(), "fork_refused");
    }

    #[tokio::test]
    async fn an_error_within_an_error_is_the_one_that_is_told() {
        let thread = ThreadId::from_parts(1, [2; 10]);
        let inner = SpawnError::Closed { thread };
        let outer = ControlError::NotUp { thread, reason: Box::new(inner.clone()) };
        assert_eq!(Problem::from(outer), Problem::from(inner));
        let first = SpawnError::FirstSubmission(Box::new(SubmitError::EmptyInput));
        assert_eq!(Problem::from(first).code(), "empty_input");
        let store = StoreError::Unavailable { reason: "disk\u{1b}[31m full".to_owned() };
        let response = Problem::from(SubmitError::Store(store)).into_response();
        let bytes = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
        assert!(!bytes.contains(&0x1b), "what would steer a terminal is escaped");
    }
}
