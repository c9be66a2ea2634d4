//! Rows of threads, submissions and mail, and the values that they stand for.

use std::sync::LazyLock;

use coppicer_actors::{Base, EdgeStatus, StoredThread};
use coppicer_messages::{
    Epoch, Outcome, Seq, StoreError, SubmissionState, ThreadConfig, ThreadDetails, ThreadId,
    ThreadStatus,
};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::error::Fault;
use crate::seal;

/// The columns that [`thread_of`] reads, of `thread t`, `state s`, `status_text n`, `account a` and
/// `task k`.
pub(crate) const THREAD_COLUMNS: &str = "t.id, t.parent, t.edge, t.base, t.base_cut, t.depth, \
     t.path, t.rollout_path, t.created_ms, t.archived_ms, t.name, t.title, t.preview, t.git_sha, \
     t.git_branch, t.git_origin_url, t.cwd, t.model, t.source, t.thread_source, t.nickname, t.role, \
     t.config, s.head, s.settled, s.epoch, s.updated_ms, s.status, n.text, t.damaged_seq, t.pk, a.ledger, \
     k.text";

/// Whether the rows that [`THREAD_COLUMNS`] are of are as they were sealed: the column behind them.
pub(crate) static THREAD_HOLDS: LazyLock<String> = LazyLock::new(|| {
    let (thread, state) = (seal::THREAD.holds("t"), seal::STATE.holds("s"));
    let (text, account) = (seal::STATUS_TEXT.holds("n"), seal::ACCOUNT.holds("a"));
    let task = seal::TASK.holds("k");
    format!(
        "{thread} AND {state} AND (n.thread IS NULL OR {text}) AND (a.thread IS NULL OR {account}) \
         AND (k.thread IS NULL OR {task})"
    )
});

static FIND: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {THREAD_COLUMNS}, {} FROM {THREAD_TABLES} WHERE t.id = ?1 AND t.hidden = 0",
        *THREAD_HOLDS
    )
});

/// The tables that [`THREAD_COLUMNS`] are of.
pub(crate) const THREAD_TABLES: &str = "thread t JOIN state s ON s.thread = t.pk LEFT JOIN status_text n ON n.thread = t.pk \
     LEFT JOIN account a ON a.thread = t.pk LEFT JOIN task k ON k.thread = t.pk";

/// A thread as the store has it, and what only the store knows of it.
#[derive(Debug, Clone)]
pub(crate) struct ThreadRow {
    pub(crate) pk: i64,
    pub(crate) damaged_at: Option<Seq>,
    pub(crate) stored: StoredThread,
}

/// A number that SQLite keeps with a sign and that never has one.
pub(crate) fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
}

/// A number as SQLite keeps it. Every one of ours is below 2^63: places, times, counts.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn read<T>(at: usize, text: &str, parsed: Option<T>) -> rusqlite::Result<T> {
    parsed.ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        let error = format!("`{shown}` cannot be read");
        rusqlite::Error::FromSqlConversionFailure(at, Type::Text, error.into())
    })
}

pub(crate) fn id_at(row: &Row<'_>, at: usize) -> rusqlite::Result<ThreadId> {
    let text = row.get_ref(at)?.as_str()?;
    read(at, text, text.parse().ok())
}

pub(crate) fn optional_id_at(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<ThreadId>> {
    match row.get_ref(at)?.as_str_or_null()? {
        None => Ok(None),
        Some(text) => read(at, text, text.parse().ok()).map(Some),
    }
}

pub(crate) fn thread_of(row: &Row<'_>) -> rusqlite::Result<ThreadRow> {
    let parent = match optional_id_at(row, 1)? {
        None => None,
        Some(parent) => {
            let edge = row.get_ref(2)?.as_str()?;
            Some((parent, read(2, edge, edge_of(edge))?))
        }
    };
    let base = match optional_id_at(row, 3)? {
        None => None,
        Some(thread) => Some(Base { thread, cut: Seq(unsigned(row, 4)?) }),
    };
    let path = match row.get_ref(6)?.as_str_or_null()? {
        None => None,
        Some(text) => read(6, text, text.parse().ok()).map(Some)?,
    };
    let mut config = match row.get_ref(22)?.as_str_or_null()? {
        None => ThreadConfig::default(),
        Some(text) => read(22, text, serde_json::from_str(text).ok())?,
    };
    config.cwd = row.get(16)?;
    config.model = row.get(17)?;
    config.source = row.get(18)?;
    config.thread_source = row.get(19)?;
    config.nickname = row.get(20)?;
    config.role = row.get(21)?;
    let mut details = ThreadDetails::default();
    details.name = row.get(10)?;
    details.title = row.get(11)?;
    details.preview = row.get(12)?;
    details.git.sha = row.get(13)?;
    details.git.branch = row.get(14)?;
    details.git.origin_url = row.get(15)?;
    let depth: i64 = row.get(5)?;
    let archived_ms = row.get::<_, Option<i64>>(9)?.map(|_| unsigned(row, 9)).transpose()?;
    let stored = StoredThread {
        id: id_at(row, 0)?,
        parent,
        base,
        depth: u32::try_from(depth)
            .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(5, depth))?,
        path,
        config: config.into(),
        status: status_of(row.get_ref(27)?.as_str()?, row.get(28)?),
        rollout_path: row.get(7)?,
        details,
        task: row.get(32)?,
        head: Seq(unsigned(row, 23)?),
        settled: Seq(unsigned(row, 24)?),
        epoch: Epoch(unsigned(row, 25)?),
        created_ms: unsigned(row, 8)?,
        updated_ms: unsigned(row, 26)?,
        archived_ms,
        ledger: match row.get_ref(31)?.as_str_or_null()? {
            None => None,
            Some(text) => read(31, text, serde_json::from_str(text).ok()).map(Some)?,
        },
    };
    Ok(ThreadRow {
        pk: row.get(30)?,
        damaged_at: row
            .get::<_, Option<i64>>(29)?
            .map(|_| unsigned(row, 29).map(Seq))
            .transpose()?,
        stored,
    })
}

/// Where [`THREAD_HOLDS`] stands behind the other columns.
pub(crate) const HOLDS_AT: usize = 33;

/// What is said of a thread of which something beside its records is damaged.
pub(crate) const DAMAGED_ROW: &str =
    "what the store keeps of the thread does not match its checksum";

/// Something that the store keeps of a thread beside its records is damaged.
pub(crate) fn damaged_row(thread: ThreadId) -> Fault {
    let reason = DAMAGED_ROW.to_owned();
    StoreError::Corrupt { thread, seq: Seq(0), reason }.into()
}

/// The thread of this id.
pub(crate) fn find_thread(connection: &Connection, thread: ThreadId) -> Result<ThreadRow, Fault> {
    let mut statement = connection.prepare_cached(&FIND)?;
    let found = statement
        .query_row([thread.to_string()], |row| {
            let holds: bool = row.get(HOLDS_AT)?;
            // What does not hold may not even be of the right form.
            holds.then(|| thread_of(row)).transpose()
        })
        .optional()?
        .ok_or(StoreError::NotFound { thread })?;
    found.ok_or_else(|| damaged_row(thread))
}

pub(crate) fn edge_of(text: &str) -> Option<EdgeStatus> {
    match text {
        "open" => Some(EdgeStatus::Open),
        "closed" => Some(EdgeStatus::Closed),
        _ => None,
    }
}

pub(crate) const fn edge_text(edge: EdgeStatus) -> &'static str {
    match edge {
        EdgeStatus::Open => "open",
        EdgeStatus::Closed => "closed",
    }
}

/// A status by its wire name, and the text of those that have one.
pub(crate) fn status_of(name: &str, text: Option<String>) -> ThreadStatus {
    let or_empty = |text: Option<String>| text.unwrap_or_default();
    match name {
        "pending_init" => ThreadStatus::PendingInit,
        "running" => ThreadStatus::Running,
        "interrupted" => ThreadStatus::Interrupted,
        "completed" => ThreadStatus::Completed(text),
        "errored" => ThreadStatus::Errored(or_empty(text)),
        "shutdown" => ThreadStatus::Shutdown,
        "crashed" => ThreadStatus::Crashed(or_empty(text)),
        "parked" => ThreadStatus::Parked,
        "dormant" => ThreadStatus::Dormant,
        "not_found" => ThreadStatus::NotFound,
        "damaged" => ThreadStatus::Damaged(or_empty(text)),
        later => ThreadStatus::Errored(format!("a status of a later version: {later}")),
    }
}

/// The text of a status; the outer one says whether it can have one at all.
#[expect(clippy::option_option, reason = "a completed turn may have said nothing")]
pub(crate) fn status_text(status: &ThreadStatus) -> Option<Option<&str>> {
    match status {
        ThreadStatus::Completed(text) => Some(text.as_deref()),
        ThreadStatus::Errored(text) | ThreadStatus::Crashed(text) | ThreadStatus::Damaged(text) => {
            Some(Some(text))
        }
        _ => None,
    }
}

/// What of a configuration has no column of its own, as JSON; none if that is the default.
pub(crate) fn config_text(config: &ThreadConfig) -> Option<String> {
    let mut rest = config.clone();
    (rest.cwd, rest.model, rest.source) = (None, None, None);
    (rest.thread_source, rest.nickname, rest.role) = (None, None, None);
    if rest == ThreadConfig::default() {
        return None;
    }
    serde_json::to_string(&rest).ok()
}

/// A submission's state from its columns.
pub(crate) fn state_of(attempt: i64, outcome: Option<&str>) -> Option<SubmissionState> {
    Some(match outcome {
        Some(json) => SubmissionState::Ended(serde_json::from_str::<Outcome>(json).ok()?),
        None if attempt == 0 => SubmissionState::Accepted,
        None => SubmissionState::Running { attempt: u32::try_from(attempt).ok()? },
    })
}

pub(crate) fn state_at(row: &Row<'_>, at: usize) -> rusqlite::Result<SubmissionState> {
    let (attempt, outcome) = (row.get(at)?, row.get_ref(at + 1)?.as_str_or_null()?);
    read(at + 1, outcome.unwrap_or("an attempt"), state_of(attempt, outcome))
}

pub(crate) fn digest_at(row: &Row<'_>, at: usize) -> rusqlite::Result<[u8; 16]> {
    let bytes = row.get_ref(at)?.as_blob()?;
    read(at, "a digest", bytes.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_comes_back_from_its_columns() {
        for status in [
            ThreadStatus::PendingInit,
            ThreadStatus::Running,
            ThreadStatus::Interrupted,
            ThreadStatus::Completed(None),
            ThreadStatus::Completed(Some(String::new())),
            ThreadStatus::Completed(Some("done".into())),
            ThreadStatus::Errored("boom".into()),
            ThreadStatus::Shutdown,
            ThreadStatus::NotFound,
            ThreadStatus::Crashed("boom".into()),
            ThreadStatus::Parked,
            ThreadStatus::Dormant,
            ThreadStatus::Damaged("record 3".into()),
        ] {
            let text = status_text(&status).flatten().map(str::to_owned);
            assert_eq!(status_of(status.name(), text), status);
        }
    }

    #[test]
    fn a_default_configuration_takes_no_room_and_another_comes_back() {
        assert_eq!(config_text(&ThreadConfig::default().with_cwd("/w").with_role("r")), None);
        let hidden = ThreadConfig::default().internal();
        let text = config_text(&hidden).expect("it is not the default");
        assert_eq!(serde_json::from_str::<ThreadConfig>(&text).unwrap(), hidden);
    }
}
