//! Facts as they happen: one tap for each client.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::Event;
use coppicer_actors::{Tap, TapFilter, TapFrom, TapItem, TapOptions};
use coppicer_messages::{EventKind, TapError, ThreadId};
use futures::Stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::tree::{end, last_id, sse, stream_place};
use super::{id_of, place_of};
use crate::body::Asked;
use crate::bounds::{STREAM_BYTES_MAX, STREAM_EVENTS_MAX};
use crate::problem::{Problem, json_text};
use crate::server::App;
use crate::stop::Reason;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsAsked {
    kind: Option<String>,
    thread: Option<ThreadId>,
    subtree: Option<ThreadId>,
    #[serde(default)]
    lifecycle: bool,
    sample: Option<NonZeroU32>,
    from: Option<String>,
}

impl EventsAsked {
    fn filter(&self) -> Result<TapFilter, Problem> {
        let mut filter = match (self.thread, self.subtree) {
            (None, None) => TapFilter::all(),
            (Some(thread), None) => TapFilter::thread(thread),
            (None, Some(root)) => TapFilter::subtree(root),
            (Some(_), Some(_)) => {
                return Err(bad_query("`thread` and `subtree` do not go together"));
            }
        };
        if let Some(kinds) = &self.kind {
            let kinds = kinds.split(',').map(kind_of).collect::<Result<HashSet<_>, _>>()?;
            filter = filter.kinds(kinds);
        }
        if self.lifecycle {
            filter = filter.lifecycle();
        }
        if let Some(every) = self.sample {
            filter = filter.sample_deltas(every);
        }
        Ok(filter)
    }

    fn from(&self) -> Result<TapFrom, Problem> {
        match self.from.as_deref() {
            None | Some("now") => Ok(TapFrom::Now),
            Some("snapshot") => Ok(TapFrom::Snapshot),
            Some(number) => number
                .parse()
                .map(TapFrom::Cursor)
                .map_err(|_| bad_query("`from` is `now`, `snapshot` or the number of an event")),
        }
    }
}

fn bad_query(detail: impl Into<String>) -> Problem {
    Problem::bad_request("bad_query", detail)
}

fn kind_of(name: &str) -> Result<EventKind, Problem> {
    EventKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let names = EventKind::ALL.map(EventKind::name).join(", ");
        bad_query(format!("`kind` is one or more of {names}"))
    })
}

pub(super) async fn events(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<EventsAsked>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let permit = stream_place(&app)?;
    let options = TapOptions::matching(asked.filter()?)
        .with_capacity(STREAM_EVENTS_MAX)
        .with_bytes(STREAM_BYTES_MAX);
    let from = asked.from()?;
    // A client that comes back goes on where it was; one that cannot begins anew, and is told so.
    let (from, anew) = match last_id(&headers) {
        None => (from, None),
        Some(id) => match place_of(&app.boot, id) {
            Some(seq) => (TapFrom::Cursor(seq), Some(from)),
            None => (from, Some(from)),
        },
    };
    let opened = app.runtime.tap(options.clone().with_from(from));
    let (tap, reset) = match (opened, anew) {
        (Err(TapError::CursorOutside { .. }), Some(anew)) => {
            (app.runtime.tap(options.with_from(anew))?, Some("too_old"))
        }
        (opened, Some(_)) if !matches!(from, TapFrom::Cursor(_)) => (opened?, Some("other_boot")),
        (opened, _) => (opened?, None),
    };
    let facts = Facts { app, tap, reset, over: false, _permit: permit };
    Ok(sse(facts.into_stream()))
}

/// What a client of the events is sent.
struct Facts {
    app: Arc<App>,
    tap: Tap,
    reset: Option<&'static str>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Facts {
    fn into_stream(self) -> impl Stream<Item = Event> + Send {
        futures::stream::unfold(self, |mut facts| async move {
            let event = facts.next().await?;
            Some((event, facts))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        if let Some(reason) = self.reset.take() {
            return Some(event("reset", &json!({ "reason": reason })));
        }
        let stop = self.app.stop.clone();
        if stop.why() == Some(Reason::ConsoleStopped) {
            return Some(self.end());
        }
        let item = tokio::select! {
            // What is left of a runtime that has ended is read to its end.
            biased;
            item = self.tap.next() => item,
            () = stop.stopped() => None,
        };
        Some(match item {
            Some(TapItem::Event(fact)) => event("fact", &*fact).id(id_of(&self.app.boot, fact.seq)),
            Some(TapItem::Snapshot(snapshot)) => {
                event("snapshot", &*snapshot).id(id_of(&self.app.boot, snapshot.seq))
            }
            Some(TapItem::Lagged { from, to, count }) => {
                // Without an id: who asks again with the last one gets what the journal has of the gap.
                self.over = true;
                event("lagged", &json!({ "from": from, "to": to, "count": count }))
            }
            Some(_) | None => self.end(),
        })
    }

    fn end(&mut self) -> Event {
        self.over = true;
        end(self.app.stop.why())
    }
}

fn event(name: &str, data: &impl serde::Serialize) -> Event {
    Event::default().event(name).data(json_text(data))
}
