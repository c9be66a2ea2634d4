//! What comes in and goes out as JSON.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use coppicer_messages::ThreadId;
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bounds::{BODY_BYTES_MAX, BODY_WITHIN};
use crate::problem::{Problem, json_text};
use crate::server::App;

/// An answer in JSON.
pub(crate) struct Answer<T>(pub(crate) StatusCode, pub(crate) T);

impl<T: Serialize> Answer<T> {
    pub(crate) const fn ok(value: T) -> Self {
        Self(StatusCode::OK, value)
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/json");
        (self.0, [(header::CONTENT_TYPE, kind)], json_text(&self.1)).into_response()
    }
}

/// The query of a request.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(asked)| Self(asked))
            .map_err(|error| Problem::bad_request("bad_query", error.body_text()))
    }
}

/// The body of a request, as JSON.
pub(crate) struct Posted<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Posted<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "bad_content_type",
                "the body must be `application/json`",
            ));
        }
        let too_large = || {
            let detail = format!("a body has at most {BODY_BYTES_MAX} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        };
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
            return Err(too_large());
        }
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
        let body = match tokio::time::timeout(BODY_WITHIN, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(too_large());
            }
            Ok(Err(_)) => return Err(Problem::bad_request("bad_json", "the body is incomplete")),
            Err(_) => {
                return Err(Problem::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "body_too_slow",
                    "the body did not arrive in time",
                ));
            }
        };
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Problem::bad_request("bad_json", error.to_string()))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (kind, more) = (kinds.next(), kinds.next());
    let kind = kind.and_then(|kind| kind.to_str().ok()).filter(|_| more.is_none());
    let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

/// The thread that a path names.
pub(crate) fn thread_of(text: &str) -> Result<ThreadId, Problem> {
    text.parse().map_err(|_| Problem::bad_request("bad_id", "a thread's id is a UUID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_said_once_and_with_or_without_a_charset() {
        let with = |kinds: &[&str]| {
            let mut headers = HeaderMap::new();
            for kind in kinds {
                headers.append(header::CONTENT_TYPE, kind.parse().unwrap());
            }
            is_json(&headers)
        };
        assert!(with(&["application/json"]) && with(&["Application/JSON; charset=utf-8"]));
        for other in ["text/plain", "application/json5", "multipart/form-data", "", "text/json"] {
            assert!(!with(&[other]), "{other}");
        }
        assert!(!with(&[]) && !with(&["application/json", "text/plain"]));
    }
}
