//! The server: takes connections in, within bounds, and hands their requests to the routes.

use std::sync::Arc;

use axum::Router;
use coppicer_supervisor::Runtime;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bounds::{
    CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_WITHIN, HEADERS_MAX, STALL_MAX, STOP_WITHIN,
};
use crate::guard::Guard;
use crate::metrics::Counters;
use crate::stall::Stalling;
use crate::stop::Stop;
use crate::watcher::Watcher;

/// What all requests share.
pub(crate) struct App {
    pub(crate) runtime: Runtime,
    pub(crate) guard: Guard,
    pub(crate) watcher: Watcher,
    pub(crate) counters: Counters,
    /// Places for streams.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) stop: Stop,
    /// Tells the places in streams of this start from those of another.
    pub(crate) boot: String,
    pub(crate) started_ms: u64,
    pub(crate) label: Option<String>,
    pub(crate) store: Option<String>,
}

/// Serves until it is told to stop; then lets answers that are under way end, for a moment.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: Stop) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.stopped() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Such as too many open files: it passes, and must not spin.
                tracing::warn!(%error, "the console cannot take a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    connection(stream, router, stop).await;
                    drop(place);
                });
            }
            Err(_) => turn_away(&stream),
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_WITHIN, ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// One connection, for as long as it lasts.
async fn connection(stream: TcpStream, router: Router, stop: Stop) {
    // Small answers are not to wait for more.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Stalling::new(stream, STALL_MAX));
    let service = TowerToHyperService::new(router);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(io, service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.stopped() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the console ended");
    }
}

/// Says that there is no place, if that can be said at once, and ends the connection.
fn turn_away(stream: &TcpStream) {
    const BODY: &str = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"code":"too_many_connections","detail":"all connections of this console are in use"}"#;
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
         Content-Length: {}\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n{BODY}",
        BODY.len()
    );
    let _ = stream.try_write(head.as_bytes());
}
