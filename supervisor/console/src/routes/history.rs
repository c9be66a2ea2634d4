//! The records and the turns of one thread, in pages.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::{Path, State};
use coppicer_actors::StoredThread;
use coppicer_messages::{Record, Seq, StoreError, ThreadId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::from_store;
use crate::body::{Answer, Asked, thread_of};
use crate::bounds::{HISTORY_MAX, READ_BYTES_MAX, TIMELINE_MAX, TIMELINE_RECORDS_MAX};
use crate::history::{Page, Shown, Turns, damage_of, damaged, shown};
use crate::problem::Problem;
use crate::server::App;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryAsked {
    from: Option<u64>,
    before: Option<u64>,
    count: Option<u64>,
    #[serde(default)]
    raw: bool,
}

/// What is durable of a thread: what it did in the last moment may not be there yet.
async fn stored(app: &App, thread: ThreadId) -> Result<StoredThread, Problem> {
    from_store(app.runtime.store().thread(thread)).await
}

pub(super) async fn history(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(asked): Asked<HistoryAsked>,
) -> Result<Answer<Value>, Problem> {
    const COUNT: u64 = 50;
    let thread = thread_of(&id)?;
    let count = count_of(asked.count, COUNT, HISTORY_MAX)?;
    let stored = stored(&app, thread).await?;
    let head = stored.head.0;
    let (first, end) = match (asked.from, asked.before) {
        (Some(_), Some(_)) => {
            let detail = "`from` and `before` do not go together";
            return Err(Problem::bad_request("bad_query", detail));
        }
        (Some(from), None) => (from.min(head), from.saturating_add(count).min(head)),
        (None, before) => {
            let end = before.unwrap_or(head).min(head);
            (end.saturating_sub(count), end)
        }
    };
    let shared = stored.base.map_or(Seq(0), |base| base.cut);
    let show = |found: Found<'_>| match found {
        Found::Record(record) => shown(record, shared, asked.raw),
        Found::Damage(seq, reason) => damaged(seq, reason),
    };
    let page = if asked.from.is_some() {
        let mut page = Page::of_first();
        from_store(read(&app, thread, first, end, |found| page.take(show(found)))).await?;
        page
    } else {
        from_store(read_last(&app, thread, first, end, show)).await?
    };
    let records = page.records();
    let first = records.first().map_or(first, |record| record.seq);
    let next = records.last().map_or(end, |record| record.seq + 1);
    Ok(Answer::ok(json!({
        "thread": thread,
        "head": head,
        "first": first,
        "next": next,
        "more_before": first > 0,
        "more_after": next < head,
        "records": records,
    })))
}

fn count_of(asked: Option<u64>, default: u64, max: u64) -> Result<u64, Problem> {
    match asked.unwrap_or(default) {
        count if (1..=max).contains(&count) => Ok(count),
        _ => Err(Problem::bad_request("bad_query", format!("`count` is 1 to {max}"))),
    }
}

/// The last page before `end`: from there back in windows that double, until it is full, so that of large
/// records about twice as many are read as it has. Each window is read in its order.
async fn read_last(
    app: &App,
    thread: ThreadId,
    first: u64,
    end: u64,
    show: impl Fn(Found<'_>) -> Shown,
) -> Result<Page, StoreError> {
    let mut page = Page::of_last();
    let (mut at, mut window) = (end, 1);
    while at > first {
        let from = at.saturating_sub(window).max(first);
        let mut before = Page::of_last();
        read(app, thread, from, at, |found| before.take(show(found))).await?;
        if page.put_before(before).is_break() {
            break;
        }
        (at, window) = (from, window * 2);
    }
    Ok(page)
}

/// What stands at a place of a history.
enum Found<'r> {
    Record(&'r Record),
    /// Where it is damaged, and how.
    Damage(Seq, &'r str),
}

/// Reads records in order, until there are enough: in pieces, so that it does not hold all of them. One that
/// is damaged is named in its place, and what is behind it is read on: each try is at least one record
/// further, or one of what is before the damage.
async fn read(
    app: &App,
    thread: ThreadId,
    first: u64,
    end: u64,
    mut take: impl FnMut(Found<'_>) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut at = first;
    let mut damage: Option<(Seq, String)> = None;
    while at < end {
        if let Some((seq, reason)) = damage.take_if(|(seq, _)| seq.0 == at) {
            at += 1;
            if take(Found::Damage(seq, &reason)).is_break() {
                break;
            }
            continue;
        }
        let until = damage.as_ref().map_or(end, |(seq, _)| seq.0);
        let store = app.runtime.store();
        match store.read_piece(thread, Seq(at), Some(Seq(until)), READ_BYTES_MAX).await {
            Ok(piece) => {
                let enough = piece.iter().any(|record| take(Found::Record(record)).is_break());
                if enough || piece.is_empty() {
                    break;
                }
                at = piece.next_seq().0;
            }
            Err(error) => match damage_of(&error) {
                Some((seq, reason)) if (at..until).contains(&seq.0) => {
                    damage = Some((seq, reason.to_owned()));
                }
                _ => return Err(error),
            },
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineAsked {
    before: Option<u64>,
    count: Option<u64>,
}

pub(super) async fn timeline(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(asked): Asked<TimelineAsked>,
) -> Result<Answer<Value>, Problem> {
    const COUNT: u64 = 20;
    let thread = thread_of(&id)?;
    let count = count_of(asked.count, COUNT, TIMELINE_MAX as u64)? as usize;
    let stored = stored(&app, thread).await?;
    let head = stored.head.0;
    let end = asked.before.unwrap_or(head).min(head);
    let first = end.saturating_sub(TIMELINE_RECORDS_MAX);
    // Shown is the end that can be read: what is behind the last damaged record.
    let (mut turns, mut begin) = (Turns::last(count), first);
    let all = read(&app, thread, first, end, |found| {
        match found {
            Found::Record(record) => turns.take(record),
            Found::Damage(seq, _) => (turns, begin) = (Turns::last(count), seq.0 + 1),
        }
        ControlFlow::Continue(())
    });
    from_store(all).await?;
    let (turns, more) = turns.rows();
    // What is before the first turn that is shown is the next page's; without a turn among so many
    // records, what is before them.
    let next_before = match turns.first() {
        Some(first) => Some(first.from_seq).filter(|_| more || begin > 0),
        None => Some(begin).filter(|&begin| begin > 0),
    };
    Ok(Answer::ok(json!({
        "thread": thread,
        "head": head,
        "next_before": next_before,
        "turns": turns,
    })))
}
