//! The tables, their versions, and the check that a file has these and nothing else.

use rusqlite::Connection;

/// Says in the file's header that it is a store of ours: the bytes of "Copp".
pub(crate) const APPLICATION_ID: i64 = 0x436f_7070;

/// The steps to each version, from an empty file on. A step that was released never changes.
const STEPS: [&str; 6] = [
    include_str!("schema/v1.sql"),
    include_str!("schema/v2.sql"),
    include_str!("schema/v3.sql"),
    include_str!("schema/v4.sql"),
    include_str!("schema/v5.sql"),
    include_str!("schema/v6.sql"),
];

/// The newest version.
pub(crate) const VERSION: i64 = STEPS.len().cast_signed() as i64;

/// Brings a file from version `from` to the newest one, in one transaction of the caller's.
pub(crate) fn migrate(connection: &Connection, from: i64) -> rusqlite::Result<()> {
    for (step, version) in STEPS.iter().zip(1..).filter(|&(_, version)| version > from) {
        connection.execute_batch(step)?;
        connection.pragma_update(None, "user_version", version)?;
    }
    Ok(())
}

/// One table, index, view or trigger, as SQLite remembers it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object {
    kind: String,
    pub(crate) name: String,
    sql: Option<String>,
}

/// What stands in a file that is not what a store of `version` has, or what it lacks; in words.
pub(crate) fn foreign(connection: &Connection, version: i64) -> rusqlite::Result<Option<String>> {
    let expected = Connection::open_in_memory()?;
    crate::seal::teach(&expected)?;
    for step in STEPS.iter().take(usize::try_from(version).unwrap_or(0)) {
        expected.execute_batch(step)?;
    }
    let (expected, found) = (objects(&expected)?, objects(connection)?);
    let strange = found.iter().find(|object| !expected.contains(object));
    let missing = || expected.iter().find(|object| !found.contains(object));
    Ok(match strange {
        Some(object) => Some(format!("a {} `{}`", object.kind, printable(&object.name))),
        None => missing().map(|object| format!("no {} `{}`", object.kind, object.name)),
    })
}

fn objects(connection: &Connection) -> rusqlite::Result<Vec<Object>> {
    let mut rows = connection.prepare(
        "SELECT type, name, sql FROM sqlite_schema
         WHERE name NOT LIKE 'sqlite\\_autoindex\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_stat_' ESCAPE '\\'
         ORDER BY type, name",
    )?;
    let object = |row: &rusqlite::Row<'_>| {
        Ok(Object { kind: row.get(0)?, name: row.get(1)?, sql: row.get(2)? })
    };
    rows.query_map([], object)?.collect()
}

fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}
