//! Mailboxes, page by page.

use coppicer_messages::{Mail, MailPage, MailPlace, MailRest, ThreadId};
use rusqlite::{Connection, params};

use crate::error::Fault;
use crate::rows::{ThreadRow, damaged_row, find_thread, signed, unsigned};

/// Unread mail with its place.
type Letter = (u64, Mail);

pub(crate) fn mail_page(
    connection: &Connection,
    thread: ThreadId,
    after: MailPlace,
    most: usize,
) -> Result<MailPage, Fault> {
    page(connection, &find_thread(connection, thread)?, after, most)
}

/// The index has unread mail by whether it starts a turn: each kind is read in order, as much of it as
/// could be in the page and one more, and the two are merged.
pub(super) fn page(
    connection: &Connection,
    row: &ThreadRow,
    after: MailPlace,
    most: usize,
) -> Result<MailPage, Fault> {
    let mut found = letters(connection, row, false, after, most)?;
    found.extend(letters(connection, row, true, after, most)?);
    found.sort_unstable_by_key(|(place, _)| *place);
    let behind = found.split_off(most.min(found.len()));
    let rest = MailRest {
        upto: found.last().map_or(after, |(place, _)| MailPlace(*place)),
        more: !behind.is_empty(),
        triggers: behind.iter().any(|(_, mail)| mail.trigger),
    };
    Ok(MailPage { mail: found.into_iter().map(|(_, mail)| mail).collect(), rest })
}

fn letters(
    connection: &Connection,
    row: &ThreadRow,
    trigger: bool,
    after: MailPlace,
    most: usize,
) -> Result<Vec<Letter>, Fault> {
    let mut look = connection.prepare_cached(
        "SELECT body, crc = seal(pk, reader, id, trigger, body), pk FROM mail
         WHERE reader = ?1 AND trigger = ?2 AND body IS NOT NULL AND pk > ?3
         ORDER BY pk LIMIT ?4",
    )?;
    let most = signed((most as u64).saturating_add(1));
    let asked = params![row.pk, trigger, signed(after.0), most];
    let rows = look.query_map(asked, |row| {
        if !row.get::<_, bool>(1)? {
            return Ok(None);
        }
        let mail = serde_json::from_str(row.get_ref(0)?.as_str()?).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
        })?;
        Ok(Some((unsigned(row, 2)?, mail)))
    })?;
    let letters = rows.collect::<rusqlite::Result<Option<Vec<_>>>>()?;
    letters.ok_or_else(|| damaged_row(row.stored.id))
}
