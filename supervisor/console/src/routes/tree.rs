//! The tree, as frames.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{ended, id_of, place_of};
use crate::board::{Place, Row, Seen, Totals};
use crate::body::{Answer, Asked};
use crate::bounds::{COMMENT_EVERY, FRAME_ROWS_MAX};
use crate::problem::{Problem, json_text};
use crate::server::App;
use crate::stop::Reason;
use crate::watcher::Mark;

/// What is new for one client.
#[derive(Debug, Serialize)]
struct Frame {
    id: String,
    full: bool,
    more: bool,
    seq: u64,
    at_ms: u64,
    rows: Vec<Arc<Row>>,
    removed: Vec<coppicer_messages::ThreadId>,
    totals: Totals,
    attention: Heed,
    events: Seen,
}

#[derive(Debug, Serialize)]
struct Heed {
    count: usize,
    version: u64,
}

/// The frame behind `place`, and where it ends; none if the watcher has ended.
async fn frame(app: &App, place: Option<Place>, anew: bool) -> Option<(Frame, Place)> {
    let (boot, at_ms) = (app.boot.clone(), app.runtime.now_ms());
    let look = move |board: &crate::board::Board| {
        let news = board.after(place, FRAME_ROWS_MAX);
        let frame = Frame {
            id: id_of(&boot, news.place),
            full: news.full,
            more: news.more,
            seq: board.seq(),
            at_ms,
            rows: news.rows,
            removed: news.removed,
            totals: board.totals(),
            attention: Heed { count: board.attention.count(), version: board.attention.version() },
            events: board.seen(),
        };
        (frame, news.place)
    };
    if anew { app.watcher.look_anew(look).await } else { app.watcher.look(look).await }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TreeAsked {
    after: Option<String>,
}

pub(super) async fn tree(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<TreeAsked>,
) -> Result<impl IntoResponse, Problem> {
    let place = asked.after.and_then(|after| place_of(&app.boot, &after));
    let (frame, _) = frame(&app, place, true).await.ok_or_else(ended)?;
    Ok(Answer::ok(frame))
}

pub(super) async fn stream(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<TreeAsked>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let permit = stream_place(&app)?;
    let place = last_id(&headers).or(asked.after.as_deref());
    let place = place.and_then(|id| place_of(&app.boot, id));
    let marks = app.watcher.marks();
    let frames = Frames { app, place, marks, next: Next::First, _permit: permit };
    Ok(sse(frames.into_stream()))
}

/// A place among the streams.
pub(super) fn stream_place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    app.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = "all streams of this console are in use";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail)
    })
}

/// Where a client was when it lost its stream.
pub(super) fn last_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok()
}

/// A stream of events, with comments where it is silent. Its connection ends with it.
pub(super) fn sse(events: impl Stream<Item = Event> + Send + 'static) -> impl IntoResponse {
    let events = futures::StreamExt::map(events, Ok::<_, Infallible>);
    let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
    (close, Sse::new(events).keep_alive(KeepAlive::new().interval(COMMENT_EVERY).text("")))
}

/// The last event of a stream.
pub(super) fn end(reason: Option<Reason>) -> Event {
    let reason = reason.unwrap_or(Reason::RuntimeEnded);
    Event::default().event("end").data(json_text(&serde_json::json!({ "reason": reason })))
}

/// What a client of the tree is sent: nothing is kept for it but how far it is.
struct Frames {
    app: Arc<App>,
    place: Option<Place>,
    marks: watch::Receiver<Mark>,
    next: Next,
    _permit: OwnedSemaphorePermit,
}

enum Next {
    /// A frame, whatever there is.
    First,
    /// A frame, when there is something to see.
    Wait,
    Over,
}

impl Frames {
    fn into_stream(self) -> impl Stream<Item = Event> + Send {
        futures::stream::unfold(self, |mut frames| async move {
            let event = frames.next().await?;
            Some((event, frames))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        match self.next {
            Next::First => self.marks.mark_unchanged(),
            Next::Over => return None,
            Next::Wait => tokio::select! {
                biased;
                () = self.app.stop.stopped() => return Some(self.end()),
                changed = self.marks.changed() => if changed.is_err() {
                    return Some(self.end());
                },
            },
        }
        let Some((frame, place)) = frame(&self.app, self.place, self.place.is_none()).await else {
            return Some(self.end());
        };
        self.place = Some(place);
        self.next = if frame.more { Next::First } else { Next::Wait };
        Some(Event::default().event("frame").id(&frame.id).data(json_text(&frame)))
    }

    fn end(&mut self) -> Event {
        self.next = Next::Over;
        end(self.app.stop.why())
    }
}
