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
use coppicer_supervisor::Runtime;
use futures::{FutureExt, Stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::tree::{end, last_id, sse, stream_place};
use super::{id_of, place_of};
use crate::body::Asked;
use crate::bounds::{PLACE_EVERY, STREAM_BYTES_MAX, STREAM_EVENTS_MAX};
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
    let last = last_id(&headers).map(|id| place_of(&app.boot, id));
    let (tap, reset) = match last {
        None => open(&app.runtime, &options, from)?,
        Some(None) => {
            let (tap, _) = open(&app.runtime, &options, from)?;
            (tap, Some(OTHER_BOOT))
        }
        Some(Some(seq)) => match open_at(&app.runtime, &options, TapFrom::Cursor(seq))? {
            Ok(tap) => (tap, None),
            Err(outside) => {
                let (tap, _) = open(&app.runtime, &options, from)?;
                (tap, Some(outside))
            }
        },
    };
    Ok(sse(Facts::new(app, tap, reset, permit).into_stream()))
}

/// Why a client cannot go on from where it was.
const TOO_OLD: &str = "too_old";
const OTHER_BOOT: &str = "other_boot";

/// Opens a tap. From a number that the journal does not reach it begins with all that the journal has; then
/// also why.
fn open(
    runtime: &Runtime,
    options: &TapOptions,
    from: TapFrom,
) -> Result<(Tap, Option<&'static str>), TapError> {
    Ok(match open_at(runtime, options, from)? {
        Ok(tap) => (tap, None),
        Err(outside) => (runtime.tap(options.clone().with_from(TapFrom::Journal))?, Some(outside)),
    })
}

/// Opens a tap there and nowhere else, or says why the journal does not reach that place.
fn open_at(
    runtime: &Runtime,
    options: &TapOptions,
    from: TapFrom,
) -> Result<Result<Tap, &'static str>, TapError> {
    match runtime.tap(options.clone().with_from(from)) {
        Ok(tap) => Ok(Ok(tap)),
        // A number that is still to come is of another runtime.
        Err(TapError::CursorOutside { cursor, to, .. }) if cursor > to => Ok(Err(OTHER_BOOT)),
        Err(TapError::CursorOutside { .. }) => Ok(Err(TOO_OLD)),
        Err(error) => Err(error),
    }
}

/// What a client of the events is sent.
///
/// It has a place to go on from at each moment, also if nothing passes its filter for hours: its first
/// words are an id, and while facts are told that are not for it, a new one comes every [`PLACE_EVERY`].
struct Facts {
    app: Arc<App>,
    tap: Tap,
    reset: Option<&'static str>,
    /// The place that it begins at, until that was said.
    opening: Option<u64>,
    /// The last place that it was told, and when that is looked at again.
    place: u64,
    look_at: Instant,
    over: bool,
    /// Items that are still given out, once the console stops.
    left: Option<u64>,
    _permit: OwnedSemaphorePermit,
}

/// Something for a client.
enum News {
    Item(TapItem),
    /// Everything up to there was sent.
    Place(u64),
}

impl Facts {
    fn new(
        app: Arc<App>,
        tap: Tap,
        reset: Option<&'static str>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let place = tap.began_after();
        let look_at = Instant::now() + PLACE_EVERY;
        let opening = Some(place);
        Self { app, tap, reset, opening, place, look_at, over: false, left: None, _permit: permit }
    }

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
        if let Some(place) = self.opening.take() {
            return Some(self.at(place, Event::default().comment("")));
        }
        let news = self.news().await;
        Some(match news {
            Ok(News::Item(TapItem::Event(fact))) => self.at(fact.seq, event("fact", &*fact)),
            Ok(News::Item(TapItem::Snapshot(snapshot))) => {
                self.at(snapshot.seq, event("snapshot", &*snapshot))
            }
            Ok(News::Item(TapItem::Lagged { from, to, count })) => {
                // Without an id: who asks again with the last one gets what the journal has of the gap.
                self.over = true;
                event("lagged", &json!({ "from": from, "to": to, "count": count }))
            }
            Ok(News::Item(_)) => self.end(Reason::ConsoleStopped),
            Ok(News::Place(place)) => self.at(place, Event::default().comment("")),
            Err(reason) => self.end(reason),
        })
    }

    /// The event, with the place that a client is at once it has it.
    fn at(&mut self, place: u64, event: Event) -> Event {
        self.place = place;
        event.id(id_of(&self.app.boot, place))
    }

    /// What comes next. While that is nothing, the place that everything up to was sent, if it moves.
    async fn news(&mut self) -> Result<News, Reason> {
        loop {
            match timeout_at(self.look_at, self.item()).await {
                Ok(item) => return item.map(News::Item),
                Err(_) => self.look_at = Instant::now() + PLACE_EVERY,
            }
            if let Some(place) = self.tap.caught_up().filter(|place| *place > self.place) {
                return Ok(News::Place(place));
            }
        }
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
