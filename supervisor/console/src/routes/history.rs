//! The records and the turns of one thread, in pages.

use std::sync::Arc;

use axum::extract::{Path, State};
use coppicer_actors::{History, StoredThread};
use coppicer_messages::{Seq, StoreError, ThreadId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{Answer, Asked, thread_of};
use crate::bounds::{HISTORY_BYTES_MAX, HISTORY_MAX, TIMELINE_MAX, TIMELINE_RECORDS_MAX};
use crate::history::{Shown, damage_of, damaged, shown, turns_of};
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
async fn stored(app: &App, thread: ThreadId) -> Result<StoredThread, StoreError> {
    app.runtime.store().thread(thread).await
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
    let backwards = asked.from.is_none();
    let records = read(&app, thread, first, end, |record| shown(record, shared, asked.raw)).await?;
    let records = within_bytes(records, backwards);
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

/// Reads records in order. One that is damaged is named in its place, and what is behind it is read
/// on: each try of it is at least one record further.
async fn read(
    app: &App,
    thread: ThreadId,
    first: u64,
    end: u64,
    mut show: impl FnMut(&coppicer_messages::Record) -> Shown,
) -> Result<Vec<Shown>, StoreError> {
    let mut records = Vec::new();
    let mut at = first;
    while at < end {
        let error = match app.runtime.store().read_range(thread, Seq(at), Some(Seq(end))).await {
            Ok(history) => {
                records.extend(history.iter().map(&mut show));
                break;
            }
            Err(error) => error,
        };
        let Some((seq, reason)) = damage_of(&error).filter(|(seq, _)| (at..end).contains(&seq.0))
        else {
            return Err(error);
        };
        if seq.0 > at {
            let before = app.runtime.store().read_range(thread, Seq(at), Some(seq)).await?;
            records.extend(before.iter().map(&mut show));
        }
        records.push(damaged(seq, reason));
        at = seq.0 + 1;
    }
    Ok(records)
}

/// As many as fit, at least one: from the end if the page goes backwards.
fn within_bytes(mut records: Vec<Shown>, backwards: bool) -> Vec<Shown> {
    let size = |record: &Shown| {
        let texts = [&record.text, &record.raw, &record.name, &record.call];
        texts.into_iter().flatten().map(String::len).sum::<usize>() + 128
    };
    if backwards {
        records.reverse();
    }
    let mut bytes = 0;
    let fit = records
        .iter()
        .take_while(|record| {
            bytes += size(record);
            bytes <= HISTORY_BYTES_MAX
        })
        .count();
    records.truncate(fit.max(1));
    if backwards {
        records.reverse();
    }
    records
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
    let (history, begin) = readable_end(&app, thread, first, end).await?;
    let mut turns = turns_of(history.iter());
    let all = turns.len();
    let turns = turns.split_off(all.saturating_sub(count));
    // What is before the first turn that is shown is the next page's; without a turn among so many
    // records, what is before them.
    let next_before = match turns.first() {
        Some(first) => Some(first.from_seq).filter(|_| all > turns.len() || begin > 0),
        None => Some(begin).filter(|&begin| begin > 0),
    };
    Ok(Answer::ok(json!({
        "thread": thread,
        "head": head,
        "next_before": next_before,
        "turns": turns,
    })))
}

/// The end of a history that can be read: what is behind the last damaged record of the range.
async fn readable_end(
    app: &App,
    thread: ThreadId,
    first: u64,
    end: u64,
) -> Result<(History, u64), StoreError> {
    let mut at = first;
    loop {
        match app.runtime.store().read_range(thread, Seq(at), Some(Seq(end))).await {
            Ok(history) => return Ok((history, at)),
            Err(error) => match damage_of(&error) {
                Some((seq, _)) if (at..end).contains(&seq.0) => at = seq.0 + 1,
                _ => return Err(error),
            },
        }
    }
}
