//! Records that plans look for, found by the index `record_mark`: without a look at those in between.

use coppicer_actors::{Excerpt, ExcerptAt, ExcerptQuery, History};
use coppicer_messages::{Record, Seq, StoreError, ThreadId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::class::{COMPACTION, META, ROLLED_BACK, TURN_CONTEXT, TURN_STARTED, USER_MESSAGE};
use crate::error::Fault;
use crate::reader::{lineage_of, page, read_shares};
use crate::rows::{ThreadRow, find_thread, signed, unsigned};
use crate::writer::Share;

/// Where the records of one thread before some place stand: its bases' first, its own last.
pub(crate) struct Marks<'a> {
    connection: &'a Connection,
    thread: ThreadId,
    shares: Vec<Share>,
    /// How many records there are.
    pub(crate) end: u64,
}

impl<'a> Marks<'a> {
    pub(crate) fn of(
        connection: &'a Connection,
        row: &ThreadRow,
        end: Option<Seq>,
    ) -> Result<Self, Fault> {
        let thread = row.stored.id;
        let end = end.map_or(row.stored.head, |end| end.min(row.stored.head)).0;
        let (mut shares, own) = lineage_of(connection, thread, row.pk)?;
        shares.push(Share { src: row.pk, lo: own, hi: u64::MAX });
        Ok(Self { connection, thread, shares, end })
    }

    /// The stretches of `from..to`, oldest first: whose, and from where to where.
    fn stretches(
        &self,
        from: u64,
        to: u64,
    ) -> impl DoubleEndedIterator<Item = (i64, i64, i64)> + use<'_> {
        let cut = move |share: &Share| {
            let (lo, hi) = (share.lo.max(from), share.hi.min(to));
            (lo < hi).then_some((share.src, signed(lo), signed(hi)))
        };
        self.shares.iter().filter_map(cut)
    }

    /// The newest `count` of this kind before `to`, with at least this detail, newest first.
    fn newest(&self, kind: i64, detail: i64, to: u64, count: u64) -> rusqlite::Result<Vec<u64>> {
        // The kind stands in the text, where it says which index serves.
        let detailed = if detail > 0 { format!("AND detail >= {detail}") } else { String::new() };
        let sql = format!(
            "SELECT seq FROM record WHERE thread = ?1 AND kind = {kind} AND seq >= ?2 AND seq < ?3
             {detailed} ORDER BY seq DESC LIMIT ?4"
        );
        let mut look = self.connection.prepare_cached(&sql)?;
        let mut found = Vec::new();
        for (src, lo, hi) in self.stretches(0, to).rev() {
            let left = count.saturating_sub(found.len() as u64);
            if left == 0 {
                break;
            }
            let rows =
                look.query_map(params![src, lo, hi, signed(left)], |row| unsigned(row, 0))?;
            for seq in rows {
                found.push(seq?);
            }
        }
        Ok(found)
    }

    fn newest_one(&self, kind: i64, detail: i64, to: u64) -> rusqlite::Result<Option<u64>> {
        Ok(self.newest(kind, detail, to, 1)?.first().copied())
    }

    /// Number `nth` (from 0) of this kind from `from` on.
    fn nth(&self, kind: i64, from: u64, mut nth: u64) -> rusqlite::Result<Option<u64>> {
        let which = format!("thread = ?1 AND kind = {kind} AND seq >= ?2 AND seq < ?3");
        let find = format!("SELECT seq FROM record WHERE {which} ORDER BY seq LIMIT 1 OFFSET ?4");
        let count = format!("SELECT count(*) FROM record WHERE {which}");
        let mut find = self.connection.prepare_cached(&find)?;
        let mut count = self.connection.prepare_cached(&count)?;
        for (src, lo, hi) in self.stretches(from, self.end) {
            let found = find
                .query_row(params![src, lo, hi, signed(nth)], |row| unsigned(row, 0))
                .optional()?;
            if found.is_some() {
                return Ok(found);
            }
            nth -= count.query_row(params![src, lo, hi], |row| unsigned(row, 0))?.min(nth);
        }
        Ok(None)
    }

    /// The newest start of this turn. Looks at the starts of those after it, newest first.
    fn start_of(&self, turn: &str) -> rusqlite::Result<Option<u64>> {
        let mut look = self.connection.prepare_cached(&format!(
            "SELECT seq FROM record WHERE thread = ?1 AND kind = {TURN_STARTED} AND ref = ?4
             AND seq >= ?2 AND seq < ?3 ORDER BY seq DESC LIMIT 1",
        ))?;
        for (src, lo, hi) in self.stretches(0, self.end).rev() {
            let found =
                look.query_row(params![src, lo, hi, turn], |row| unsigned(row, 0)).optional()?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The record at this place, checked.
    fn record(&self, seq: u64) -> Result<Record, Fault> {
        let missing = || Err((Seq(seq), "it is missing".to_owned()));
        let found = match self.stretches(seq, seq + 1).next() {
            Some((src, ..)) => page(self.connection, src, seq, seq + 1)?.pop(),
            None => None,
        };
        let thread = self.thread;
        found
            .unwrap_or_else(missing)
            .map_err(|(seq, reason)| StoreError::Corrupt { thread, seq, reason }.into())
    }

    /// From where on a view has to be read: see [`ViewStart`](coppicer_actors::ViewStart).
    pub(crate) fn view_start(&self) -> rusqlite::Result<Seq> {
        let find = || {
            let Some(compacted) = self.newest_one(COMPACTION, 1, self.end)? else {
                return Ok(None);
            };
            let rolled_back = self.newest_one(ROLLED_BACK, 1, self.end)?;
            if rolled_back.is_some_and(|seq| seq > compacted) {
                return Ok(None);
            }
            let Some(settings) = self.newest_one(TURN_CONTEXT, 0, self.end)? else {
                return Ok(None);
            };
            self.newest_one(TURN_STARTED, 0, compacted.min(settings))
        };
        find().map(|found: Option<u64>| Seq(found.unwrap_or(0)))
    }

    fn excerpt(&self, query: &ExcerptQuery) -> Result<Excerpt, Fault> {
        let end = self.end;
        let (start, at) = match &query.at {
            ExcerptAt::End => (None, Some(end)),
            ExcerptAt::Record(seq) => (None, Some(seq.0.min(end))),
            ExcerptAt::UserMessage(nth) => {
                (None, Some(self.nth(USER_MESSAGE, 0, *nth)?.unwrap_or(end)))
            }
            ExcerptAt::Turn(turn) => {
                let start = self.start_of(turn)?;
                (start, start)
            }
            ExcerptAt::AfterTurn(turn) => match self.start_of(turn)? {
                Some(start) => {
                    let next = self.nth(TURN_STARTED, start + 1, 0)?;
                    (Some(start), Some(next.unwrap_or(end)))
                }
                None => (None, None),
            },
        };
        let newest_rollback = || self.newest_one(ROLLED_BACK, 1, end);
        let rolled_back = match (&query.at, start) {
            (ExcerptAt::End | ExcerptAt::Record(_), _) => false,
            (ExcerptAt::UserMessage(_), _) => newest_rollback()?.is_some(),
            (_, Some(start)) => newest_rollback()?.is_some_and(|rollback| rollback > start),
            (_, None) => false,
        };
        let records = match at {
            Some(at) => {
                let turns = query.turns.max(1);
                let back = self.newest(TURN_STARTED, 0, at, turns)?;
                let from = if back.len() as u64 == turns { back.last().copied() } else { None };
                self.read(from.unwrap_or(0), at)?
            }
            None => History::new(),
        };
        let record = |seq: Option<u64>| seq.map(|seq| self.record(seq)).transpose();
        Ok(Excerpt {
            records,
            len: Seq(end),
            at: at.map(Seq),
            start: start.map(Seq),
            rolled_back,
            meta: record(self.newest_one(META, 0, end)?)?,
            first_user_message: record(self.nth(USER_MESSAGE, 0, 0)?)?,
        })
    }

    fn read(&self, from: u64, to: u64) -> Result<History, Fault> {
        read_shares(self.connection, self.thread, &self.shares, from, to)
    }
}

/// What a plan looks at of a thread's records before `end`.
pub(crate) fn excerpt(
    connection: &Connection,
    thread: ThreadId,
    end: Option<Seq>,
    query: &ExcerptQuery,
) -> Result<Excerpt, Fault> {
    let row = find_thread(connection, thread)?;
    let marks = Marks::of(connection, &row, end)?;
    if let Some(seq) = row.damaged_at.filter(|seq| seq.0 < marks.end) {
        let reason = "it was found damaged before".to_owned();
        return Err(StoreError::Corrupt { thread, seq, reason }.into());
    }
    let excerpt = marks.excerpt(query)?;
    still_there(connection, &row)?;
    Ok(excerpt)
}

/// Its number may have gone to another thread, if it was deleted meanwhile.
pub(crate) fn still_there(connection: &Connection, row: &ThreadRow) -> Result<(), Fault> {
    let thread = row.stored.id;
    if find_thread(connection, thread)?.pk == row.pk {
        Ok(())
    } else {
        Err(StoreError::NotFound { thread }.into())
    }
}
