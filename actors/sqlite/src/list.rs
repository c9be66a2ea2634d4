//! Lists and trees of threads.

use std::fmt::Write as _;

use coppicer_actors::{
    Archived, EdgeStatus, Order, SortBy, StoredThread, ThreadPage, ThreadQuery, descend,
};
use coppicer_messages::{Epoch, Seq, StoreError, ThreadDetails, ThreadId, ThreadStatus};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use crate::error::Fault;
use crate::rows::{
    DAMAGED_ROW, HOLDS_AT, THREAD_COLUMNS, THREAD_HOLDS, THREAD_TABLES, edge_text, id_at, signed,
    thread_of, unsigned,
};

/// The page that a query asks for.
pub(crate) fn list(connection: &Connection, query: &ThreadQuery) -> Result<ThreadPage, Fault> {
    let begin = query.begin()?;
    let mut values: Vec<Value> = Vec::new();
    let mut wheres = vec!["t.hidden = 0".to_owned()];
    match query.archived {
        Archived::No => wheres.push("t.archived_ms IS NULL".to_owned()),
        Archived::Only => wheres.push("t.archived_ms IS NOT NULL".to_owned()),
        Archived::Any => {}
    }
    if query.roots_only {
        wheres.push("t.parent IS NULL".to_owned());
    }
    for (column, list) in
        [("t.source", &query.sources), ("t.cwd", &query.cwds), ("t.model", &query.models)]
    {
        let Some(list) = list else { continue };
        let places: Vec<String> = list
            .iter()
            .map(|text| {
                values.push(Value::Text(text.clone()));
                format!("?{}", values.len())
            })
            .collect();
        wheres.push(format!("{column} IN ({})", places.join(", ")));
    }
    if let Some(text) = &query.search {
        values.push(Value::Text(pattern(text)));
        let place = values.len();
        let says = ["name", "title", "preview", "nickname", "path"]
            .map(|column| format!("t.{column} LIKE ?{place} ESCAPE '\\'"));
        wheres.push(format!("({})", says.join(" OR ")));
    }
    let (rising, direction) = match query.order {
        Order::Ascending => (">", "ASC"),
        Order::Descending => ("<", "DESC"),
    };
    let key = match query.sort {
        SortBy::Id => None,
        SortBy::Created => Some("t.created_ms"),
        SortBy::Updated => Some("s.updated_ms"),
    };
    if let Some(begin) = begin {
        values.push(Value::Text(begin.thread().to_string()));
        let thread = values.len();
        wheres.push(match key {
            None => format!("t.id {rising} ?{thread}"),
            Some(key) => {
                values.push(Value::Integer(signed(begin.key())));
                let time = values.len();
                format!("({key}, t.id) {rising} (?{time}, ?{thread})")
            }
        });
    }
    let mut sql = format!(
        "SELECT {THREAD_COLUMNS}, {} FROM {THREAD_TABLES} WHERE {} ORDER BY ",
        *THREAD_HOLDS,
        wheres.join(" AND ")
    );
    if let Some(key) = key {
        write!(sql, "{key} {direction}, ").expect("a text takes what is written");
    }
    write!(sql, "t.id {direction} LIMIT ").expect("a text takes what is written");
    let (size, mut most) = (query.page(), query.page() + 1);
    if size == 0 {
        return Ok(ThreadPage::default());
    }
    loop {
        // One more than the page, to know whether there is another.
        let mut look = connection.prepare(&format!("{sql}{most}"))?;
        let mut rows = look.query(params_from_iter(values.clone()))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(shown(row)?);
        }
        let mut page = ThreadPage::default();
        if found.len() < most {
            page.threads = found.into_iter().flatten().map(|(thread, _)| thread).collect();
            return Ok(page);
        }
        // A page ends with a thread whose row is sound: only that one says where it stands.
        let is_sound = |row: &Option<(StoredThread, bool)>| row.as_ref().is_some_and(|row| row.1);
        let last = match found[..most - 1].iter().rposition(is_sound) {
            Some(last) if most == size + 1 => last,
            Some(_) => found.iter().position(is_sound).unwrap_or(0),
            None => {
                most *= 2;
                continue;
            }
        };
        found.truncate(last + 1);
        page.threads = found.into_iter().flatten().map(|(thread, _)| thread).collect();
        page.next = page.threads.last().map(|thread| query.cursor_of(thread));
        let goes_on = |next| begin.is_none_or(|begin| query.compare(next, &begin).is_gt());
        return match page.next {
            Some(next) if !goes_on(&next) => {
                let reason = "the index of the list is damaged; verify the store".to_owned();
                Err(StoreError::Corrupt { thread: next.thread(), seq: Seq(0), reason }.into())
            }
            _ => Ok(page),
        };
    }
}

/// A thread as it is listed, and whether its row is sound: a damaged one with its id, so that it takes
/// no other along; none if not even that can be read.
fn shown(row: &Row<'_>) -> Result<Option<(StoredThread, bool)>, Fault> {
    if row.get::<_, bool>(HOLDS_AT)? {
        return Ok(Some((thread_of(row)?.stored, true)));
    }
    let Ok(id) = id_at(row, 0) else { return Ok(None) };
    let mut thread = match thread_of(row) {
        Ok(row) => row.stored,
        Err(_) => unreadable(id),
    };
    thread.status = ThreadStatus::Damaged(DAMAGED_ROW.to_owned());
    Ok(Some((thread, false)))
}

/// How many threads there are: from the index of those that are not hidden.
pub(crate) fn count(connection: &Connection) -> Result<u64, Fault> {
    let mut look = connection.prepare_cached("SELECT count(*) FROM thread WHERE hidden = 0")?;
    Ok(look.query_row([], |row| unsigned(row, 0))?)
}

/// A thread of which only the id is known.
fn unreadable(id: ThreadId) -> StoredThread {
    StoredThread {
        id,
        parent: None,
        base: None,
        depth: 0,
        path: None,
        config: std::sync::Arc::default(),
        status: ThreadStatus::NotFound,
        rollout_path: None,
        details: ThreadDetails::default(),
        task: None,
        head: Seq(0),
        settled: Seq(0),
        epoch: Epoch(0),
        created_ms: 0,
        updated_ms: 0,
        ledger: None,
        archived_ms: None,
    }
}

/// A pattern for what has this text in it.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Direct children by id, of every status or one.
pub(crate) fn children(
    connection: &Connection,
    parent: ThreadId,
    filter: Option<EdgeStatus>,
) -> Result<Vec<ThreadId>, Fault> {
    let mut look = connection.prepare_cached(
        "SELECT id FROM thread
         WHERE parent = ?1 AND hidden = 0 AND (?2 IS NULL OR edge = ?2) ORDER BY id",
    )?;
    let rows =
        look.query_map(params![parent.to_string(), filter.map(edge_text)], |row| id_at(row, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// All that is below `root`, by depth, then id.
pub(crate) fn descendants(
    connection: &Connection,
    root: ThreadId,
    filter: Option<EdgeStatus>,
) -> Result<Vec<ThreadId>, Fault> {
    let mut failed = None;
    let found = descend(root, |parent| {
        children(connection, parent, filter).unwrap_or_else(|fault| {
            failed.get_or_insert(fault);
            Vec::new()
        })
    });
    failed.map_or(Ok(found), Err)
}

/// Threads below `root`, over open edges, that go on when it is closed; of each branch the topmost.
pub(crate) fn detaching(connection: &Connection, root: ThreadId) -> Result<Vec<ThreadId>, Fault> {
    // A quote within a text of the configuration is escaped: this is its field.
    let mut look = connection.prepare_cached(
        r#"SELECT id, instr(ifnull(config, ''), '"parent_close":"detach"') > 0 FROM thread
           WHERE parent = ?1 AND hidden = 0 AND edge = 'open' ORDER BY id"#,
    )?;
    let (mut found, mut failed) = (Vec::new(), None);
    descend(root, |parent| {
        let mut below = || -> rusqlite::Result<Vec<(ThreadId, bool)>> {
            let row = |row: &Row<'_>| Ok((id_at(row, 0)?, row.get(1)?));
            look.query_map([parent.to_string()], row)?.collect()
        };
        let below = below().unwrap_or_else(|error| {
            failed.get_or_insert(error);
            Vec::new()
        });
        let (go_on, others): (Vec<_>, Vec<_>) = below.into_iter().partition(|(_, goes)| *goes);
        found.extend(go_on.into_iter().map(|(id, _)| id));
        others.into_iter().map(|(id, _)| id).collect()
    });
    failed.map_or(Ok(found), |error| Err(error.into()))
}

/// Threads that have something to do.
pub(crate) fn unfinished(
    connection: &Connection,
    after: Option<ThreadId>,
    count: usize,
) -> Result<Vec<ThreadId>, Fault> {
    let mut look = connection.prepare_cached(
        "SELECT t.id FROM (
           SELECT thread FROM submission WHERE outcome IS NULL
           UNION
           SELECT reader FROM mail WHERE body IS NOT NULL AND trigger = 1
         ) w JOIN thread t ON t.pk = w.thread JOIN state s ON s.thread = t.pk
         WHERE t.hidden = 0 AND t.id > ?1 AND s.status NOT IN ('shutdown', 'parked', 'damaged')
         ORDER BY t.id LIMIT ?2",
    )?;
    let after = after.map(|after| after.to_string()).unwrap_or_default();
    let rows = look.query_map(params![after, signed(count as u64)], |row| id_at(row, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether a thread has something to do.
pub(crate) fn is_unfinished(connection: &Connection, thread: ThreadId) -> Result<bool, Fault> {
    let mut look = connection.prepare_cached(
        "SELECT EXISTS (
           SELECT 1 FROM thread t JOIN state s ON s.thread = t.pk
           WHERE t.id = ?1 AND t.hidden = 0 AND s.status NOT IN ('shutdown', 'parked', 'damaged')
             AND (EXISTS (SELECT 1 FROM submission WHERE thread = t.pk AND outcome IS NULL)
               OR EXISTS (SELECT 1 FROM mail
                          WHERE reader = t.pk AND trigger = 1 AND body IS NOT NULL)))",
    )?;
    Ok(look.query_row([thread.to_string()], |row| row.get(0))?)
}
