//! The routes, as docs/http-api.md has them.

mod act;
mod events;
mod history;
pub(crate) mod page;
mod rest;
mod thread;
mod threads;
mod tree;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use coppicer_messages::StoreError;
use tokio::time::timeout;

use crate::bounds::DETAIL_WITHIN;
use crate::guard::guarded;
use crate::problem::Problem;
use crate::server::App;

/// Everything that is served.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(page::routes())
        .route("/healthz", get(rest::health))
        .route("/metrics", get(rest::metrics))
        .route("/api/info", get(rest::info))
        .route("/api/audit", get(rest::audit))
        .route("/api/attention", get(rest::attention))
        .route("/api/lanes", get(rest::lanes))
        .route("/api/tree", get(tree::tree))
        .route("/api/tree/stream", get(tree::stream))
        .route("/api/events", get(events::events))
        .route("/api/threads", get(threads::list).post(act::spawn))
        .route("/api/threads/{id}", get(thread::thread))
        .route("/api/threads/{id}/history", get(history::history))
        .route("/api/threads/{id}/timeline", get(history::timeline))
        .route("/api/threads/{id}/submit", post(act::submit))
        .route("/api/threads/{id}/interrupt", post(act::interrupt))
        .route("/api/threads/{id}/fork", post(act::fork))
        .route("/api/threads/{id}/close", post(act::close))
        .route("/api/threads/{id}/park", post(act::park))
        .route("/api/threads/{id}/revive", post(act::revive))
        .route("/api/threads/{id}/resume", post(act::resume))
        .route("/api/threads/{id}/fund", post(act::fund))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "no_such_path", "nothing is here"))
        .method_not_allowed_fallback(async || {
            let detail = "this path takes another method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        .layer(from_fn_with_state(app.clone(), guarded))
        .with_state(app)
}

/// That the console has ended in the middle of a request.
pub(crate) fn ended() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "runtime_ended", "the runtime has ended")
}

/// A place in a stream: of which start, and where.
pub(crate) fn id_of(boot: &str, place: impl std::fmt::Display) -> String {
    format!("{boot}-{place}")
}

/// The place, if the id is one of this start.
pub(crate) fn place_of<P: std::str::FromStr>(boot: &str, id: &str) -> Option<P> {
    let (of, place) = id.split_once('-')?;
    (of == boot).then(|| place.parse().ok()).flatten()
}

/// What the store says, if it says so in time.
async fn from_store<T>(read: impl Future<Output = Result<T, StoreError>>) -> Result<T, Problem> {
    match timeout(DETAIL_WITHIN, read).await {
        Ok(read) => Ok(read?),
        Err(_) => Err(Problem::no_answer(format!(
            "the store did not answer within {} s; ask again, and look at what it needs",
            DETAIL_WITHIN.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_waited_for_so_long_and_no_longer() {
        let before = tokio::time::Instant::now();
        let hangs = from_store(std::future::pending::<Result<(), StoreError>>()).await;
        assert_eq!(before.elapsed(), DETAIL_WITHIN);
        let status = hangs.unwrap_err().into_response().status();
        assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(from_store(async { Ok(7) }).await.unwrap(), 7);
    }
}
