//! The list of stored threads.

use std::sync::Arc;

use axum::extract::State;
use coppicer_actors::{Archived, Order, SortBy, StoredThread, ThreadQuery};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ended, from_store};
use crate::body::{Answer, Asked};
use crate::bounds::LIST_MAX;
use crate::problem::Problem;
use crate::server::App;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListAsked {
    search: Option<String>,
    #[serde(default)]
    archived: WhichArchived,
    #[serde(default)]
    roots: bool,
    #[serde(default)]
    sort: Sort,
    #[serde(default)]
    order: Direction,
    after: Option<String>,
    count: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WhichArchived {
    #[default]
    No,
    Only,
    Any,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    Id,
    #[default]
    Created,
    Updated,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Direction {
    Asc,
    #[default]
    Desc,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<ListAsked>,
) -> Result<Answer<Value>, Problem> {
    const COUNT: usize = 50;
    let count = asked.count.unwrap_or(COUNT);
    if !(1..=LIST_MAX).contains(&count) {
        return Err(Problem::bad_request("bad_query", format!("`count` is 1 to {LIST_MAX}")));
    }
    let sort = match asked.sort {
        Sort::Id => SortBy::Id,
        Sort::Created => SortBy::Created,
        Sort::Updated => SortBy::Updated,
    };
    let order = match asked.order {
        Direction::Asc => Order::Ascending,
        Direction::Desc => Order::Descending,
    };
    let archived = match asked.archived {
        WhichArchived::No => Archived::No,
        WhichArchived::Only => Archived::Only,
        WhichArchived::Any => Archived::Any,
    };
    let after = asked.after.map(|after| after.parse()).transpose()?;
    let mut query =
        ThreadQuery::new().archived(archived).sorted(sort, order).after(after).take(count);
    if let Some(text) = asked.search.filter(|text| !text.is_empty()) {
        query = query.search(text);
    }
    if asked.roots {
        query = query.roots();
    }
    let page = from_store(app.runtime.store().list(query)).await?;
    let ids: Vec<_> = page.threads.iter().map(|thread| thread.id).collect();
    let has = move |board: &crate::board::Board| {
        ids.into_iter().map(|id| board.has(id)).collect::<Vec<_>>()
    };
    let in_tree = app.watcher.look(has).await.ok_or_else(ended)?;
    let rows = page.threads.iter().zip(in_tree).map(|(thread, in_tree)| row(thread, in_tree));
    Ok(Answer::ok(json!({
        "threads": rows.collect::<Vec<_>>(),
        "next": page.next.map(|next| next.to_string()),
    })))
}

fn row(thread: &StoredThread, in_tree: bool) -> Value {
    json!({
        "thread": thread.id,
        "status": thread.status.name(),
        "created_ms": thread.created_ms,
        "updated_ms": thread.updated_ms,
        "head": thread.head.0,
        "parent": thread.parent.map(|(parent, _)| parent),
        "path": thread.path,
        "nickname": thread.config.nickname,
        "role": thread.config.role,
        "name": thread.details.name,
        "title": thread.details.title,
        "preview": thread.details.preview,
        "last_task": thread.last_task(),
        "archived_ms": thread.archived_ms,
        "in_tree": in_tree,
    })
}
