//! What is about the runtime as a whole.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ended, id_of, place_of};
use crate::board::Listed;
use crate::body::{Answer, Asked};
use crate::bounds::{self, AUDIT_ROWS_MAX, LANES_PAGE_MAX};
use crate::problem::Problem;
use crate::server::App;

/// Whether all is well, for who may know nothing else.
pub(super) async fn health(State(app): State<Arc<App>>) -> Answer<Value> {
    let ailing = app.watcher.look(|board| board.attention.is_store_ailing()).await;
    let (status, word) = match ailing {
        Some(false) => (StatusCode::OK, "ok"),
        Some(true) => (StatusCode::SERVICE_UNAVAILABLE, "ailing"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "ended"),
    };
    Answer(status, json!({ "status": word }))
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], app.counters.text()).into_response()
}

pub(super) async fn info(State(app): State<Arc<App>>) -> Answer<Value> {
    Answer::ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "boot": app.boot,
        "label": app.label,
        "store": app.store,
        "started_ms": app.started_ms,
        "now_ms": app.runtime.now_ms(),
        "limits": app.runtime.limits(),
        "bounds": bounds::shown(),
    }))
}

pub(super) async fn audit(State(app): State<Arc<App>>) -> Answer<Value> {
    let mut audit = app.runtime.audit().await;
    let rows = audit.live.len();
    audit.live.truncate(AUDIT_ROWS_MAX);
    Answer::ok(json!({
        "clean": audit.is_clean(),
        "rows": rows,
        "live": audit.live,
        "drift": audit.drift,
    }))
}

pub(super) async fn attention(State(app): State<Arc<App>>) -> Result<Answer<Listed>, Problem> {
    app.watcher.look(|board| board.attention.list()).await.map(Answer::ok).ok_or_else(ended)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LanesAsked {
    after: Option<String>,
}

pub(super) async fn lanes(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<LanesAsked>,
) -> Result<Answer<Value>, Problem> {
    let after = asked.after.and_then(|after| place_of(&app.boot, &after));
    let now_ms = app.runtime.now_ms();
    let news =
        app.watcher.look(move |board| board.lanes.after(after, LANES_PAGE_MAX, now_ms)).await;
    let news = news.ok_or_else(ended)?;
    let mut answer = json!(news);
    answer["next"] = json!(id_of(&app.boot, news.next));
    Ok(Answer::ok(answer))
}
