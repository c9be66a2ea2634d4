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
use futures::{FutureExt, Stream};
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
    let facts = Facts { app, tap, reset, over: false, left: None, _permit: permit };
    Ok(sse(facts.into_stream()))
}

/// What a client of the events is sent.
struct Facts {
    app: Arc<App>,
    tap: Tap,
    reset: Option<&'static str>,
    over: bool,
    /// Items that are still given out, once the console stops.
    left: Option<u64>,
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
        let item = self.item().await;
        Some(match item {
            Ok(TapItem::Event(fact)) => event("fact", &*fact).id(id_of(&self.app.boot, fact.seq)),
            Ok(TapItem::Snapshot(snapshot)) => {
                event("snapshot", &*snapshot).id(id_of(&self.app.boot, snapshot.seq))
            }
            Ok(TapItem::Lagged { from, to, count }) => {
                // Without an id: who asks again with the last one gets what the journal has of the gap.
                self.over = true;
                event("lagged", &json!({ "from": from, "to": to, "count": count }))
            }
            Ok(_) => self.end(Reason::ConsoleStopped),
            Err(reason) => self.end(reason),
        })
    }

    /// The next item, or why there is none. Of a console that stops, what waited at that moment is read to
    /// its end; of a runtime that has ended, everything.
    async fn item(&mut self) -> Result<TapItem, Reason> {
        let stop = self.app.stop.clone();
        if self.left.is_none() {
            tokio::select! {
                biased;
                () = stop.stopped(), if stop.why() != Some(Reason::RuntimeEnded) => {}
                item = self.tap.next() => return item.ok_or(Reason::RuntimeEnded),
            }
        }
        let waiting = self.tap.counts().waiting;
        let left = self.left.get_or_insert(waiting);
        match self.tap.next().now_or_never() {
            Some(None) => Err(Reason::RuntimeEnded),
            Some(Some(item)) if *left > 0 => {
                *left -= 1;
                Ok(item)
            }
            Some(Some(_)) | None => Err(Reason::ConsoleStopped),
        }
    }

    fn end(&mut self, reason: Reason) -> Event {
        self.over = true;
        end(Some(reason))
    }
}

fn event(name: &str, data: &impl serde::Serialize) -> Event {
    Event::default().event(name).data(json_text(data))
}
