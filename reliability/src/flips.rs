//! `flips`: one bit of a store's file is flipped, at a place that a seed decides, and everything is
//! read. Each flip must be noticed, or change nothing that can be read.

use std::collections::BTreeSet;
use std::path::Path;

use coppicer::{Durability, SqliteOptions, SqliteStore, StoreError};
use rusqlite::{Connection, OpenFlags, types::Value};

use crate::dice::Dice;
use crate::dump::{Dump, dump};
use crate::fill::{Filled, fill};
use crate::session::{TestError, folder_in_memory};
use crate::tally::Tally;

/// How it is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Flips {
    /// How many places.
    #[arg(long, default_value_t = 150)]
    pub places: u64,
    /// Threads of the store.
    #[arg(long, default_value_t = 40)]
    pub threads: u64,
}

/// What became of a flip.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The store did not open.
    Refused,
    /// A checksum named a record, and its thread was taken out of use.
    Checksum,
    /// SQLite, or a value that cannot be read, gave an error.
    Error,
    /// Something that can be read is otherwise, and only a verification of the store says so: a row
    /// that an index does not find any more.
    Verification,
    /// All that can be read is as it was.
    Harmless,
    /// Something that can be read is otherwise, and nobody said so: what.
    Unnoticed(Vec<String>),
}

/// What a flip did, by what was read before and after it.
pub fn judge(before: &Dump, after: &Dump) -> Verdict {
    let mut unnoticed = Vec::new();
    let (mut checksum, mut error) = (false, false);
    let quarantined = |found: &str| found.contains("Damaged(") || found.contains("is damaged");
    let any_quarantine = after.values().any(|found| match found {
        Ok(found) => quarantined(found),
        Err(error) => matches!(error, StoreError::Corrupt { .. }),
    });
    for (what, was) in before {
        match (was, &after[what]) {
            (was, is) if was == is => {}
            (_, Err(StoreError::Corrupt { .. })) => checksum = true,
            // It says that there is no such thing: that is no notice.
            (_, Err(StoreError::NotFound { .. })) => unnoticed.push(what.clone()),
            (_, Err(_)) => error = true,
            (_, Ok(is)) if quarantined(is) => checksum = true,
            (_, Ok(_)) if what == "unfinished" && any_quarantine => {}
            (_, Ok(_)) => unnoticed.push(what.clone()),
        }
    }
    match (unnoticed.is_empty(), checksum, error) {
        (false, ..) => Verdict::Unnoticed(unnoticed),
        (true, true, _) => Verdict::Checksum,
        (true, false, true) => Verdict::Error,
        (true, false, false) => Verdict::Harmless,
    }
}

/// Runs it.
///
/// # Errors
/// A [`TestError`]: it could not be carried out.
pub fn flips(args: &Flips, seed: u64) -> Result<Tally, TestError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(TestError::io("cannot make a runtime"))?;
    let folder = folder_in_memory()?;
    let sound = folder.path().join("sound.db");
    let filled = runtime.block_on(async {
        let store = open(&sound)?;
        let filled = fill(&store, seed, args.threads).await.map_err(|error| error.to_string())?;
        store.close();
        Ok::<_, String>(filled)
    });
    let filled = filled.map_err(|said| TestError::Tool { what: "filling a store".into(), said })?;
    let bytes = std::fs::read(&sound).map_err(TestError::io("cannot read the store"))?;

    let mut tally = Tally::new("flips");
    tally.add("seed", seed);
    tally.add("bytes", bytes.len() as u64);
    let before = runtime.block_on(read_copy(folder.path(), &bytes, &filled))?;
    let Ok((before, true)) = before else {
        tally.wrong.push("a copy without a flip does not open, or is not sound".into());
        return Ok(tally);
    };
    let mut dice = Dice::of(seed, &[7]);
    let mut columns: BTreeSet<String> = BTreeSet::new();
    for _ in 0..args.places {
        let place = dice.below(bytes.len() as u64) as usize;
        let bit = dice.below(8);
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << bit;
        let after = runtime.block_on(read_copy(folder.path(), &flipped, &filled))?;
        let verdict =
            after.map_or(Verdict::Refused, |(after, sound)| match judge(&before, &after) {
                Verdict::Unnoticed(_) if !sound => Verdict::Verification,
                verdict => verdict,
            });
        tally.add("places", 1);
        match verdict {
            Verdict::Refused => tally.add("not opened", 1),
            Verdict::Checksum => tally.add("noticed by a checksum", 1),
            Verdict::Error => tally.add("noticed by SQLite or a value", 1),
            Verdict::Verification => tally.add("noticed by a verification", 1),
            Verdict::Harmless => tally.add("harmless", 1),
            Verdict::Unnoticed(what) => {
                let found = changed_columns(folder.path(), &bytes, &flipped)?;
                tally.add("unnoticed", 1);
                let what = what.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
                let names: Vec<&str> = found.iter().map(String::as_str).collect();
                let names = names.join(", ");
                tally.wrong.push(format!("bit {bit} of byte {place} ({names}) changes {what}"));
                columns.extend(found);
            }
        }
    }
    if !columns.is_empty() {
        let columns: Vec<String> = columns.into_iter().collect();
        println!("flips: columns whose flips got through: {}", columns.join(", "));
    }
    Ok(tally)
}

fn open(path: &Path) -> Result<SqliteStore, String> {
    let options = SqliteOptions::new().durability(Durability::Process);
    SqliteStore::open_with(path, options).map_err(|error| error.to_string())
}

/// Writes `bytes` as a store, opens it, and reads everything; then verifies it: whether it is sound.
async fn read_copy(
    folder: &Path,
    bytes: &[u8],
    filled: &Filled,
) -> Result<Result<(Dump, bool), String>, TestError> {
    let place = tempfile::tempdir_in(folder).map_err(TestError::io("cannot make a folder"))?;
    let file = place.path().join("store.db");
    std::fs::write(&file, bytes).map_err(TestError::io("cannot write a copy"))?;
    let store = match open(&file) {
        Ok(store) => store,
        Err(why) => return Ok(Err(why)),
    };
    let verified = store.verify().await;
    let found = dump(&store, &filled.threads, &filled.submissions, true).await;
    store.close();
    Ok(Ok((found, verified.is_ok_and(|found| found.is_sound()))))
}

/// The columns that a flip changed, read without the store; an index or a page's own bytes if none.
fn changed_columns(
    folder: &Path,
    bytes: &[u8],
    flipped: &[u8],
) -> Result<BTreeSet<String>, TestError> {
    let failed = |error: rusqlite::Error| TestError::Tool {
        what: "reading a copy by SQL".into(),
        said: error.to_string(),
    };
    let place = tempfile::tempdir_in(folder).map_err(TestError::io("cannot make a folder"))?;
    let mut connections = Vec::new();
    for (name, bytes) in [("sound", bytes), ("flipped", flipped)] {
        let file = place.path().join(name);
        std::fs::write(&file, bytes).map_err(TestError::io("cannot write a copy"))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        connections.push(Connection::open_with_flags(file, flags).map_err(failed)?);
    }
    let [sound, flipped] = &connections[..] else { return Ok(BTreeSet::new()) };
    let mut changed = BTreeSet::new();
    for (table, columns) in tables(sound).map_err(failed)? {
        let was = rows(sound, &table, columns.len()).map_err(failed)?;
        let Ok(is) = rows(flipped, &table, columns.len()) else {
            changed.insert(format!("{table}.(a page that cannot be read)"));
            continue;
        };
        if was.len() != is.len() {
            changed.insert(format!("{table}.(rows that are gone or new)"));
            continue;
        }
        for (was, is) in was.iter().zip(&is) {
            for (place, column) in columns.iter().enumerate() {
                if was[place] != is[place] {
                    changed.insert(format!("{table}.{column}"));
                }
            }
        }
    }
    if changed.is_empty() {
        // All rows are as they were when they are read one after the other.
        let verdict = flipped.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
        let verdict: String = verdict.unwrap_or_else(|error| error.to_string());
        let index = verdict.split_once("missing from index ").map(|(_, name)| name.trim());
        changed.insert(format!("index.{}", index.unwrap_or("(the structure of a page)")));
    }
    Ok(changed)
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<(String, Vec<String>)>> {
    let mut look = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names = look.query_map([], |row| row.get::<_, String>(0))?;
    let names = names.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut tables = Vec::new();
    for name in names {
        let mut look = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
        let columns = look.query_map([&name], |row| row.get(0))?.collect::<Result<_, _>>()?;
        drop(look);
        tables.push((name, columns));
    }
    Ok(tables)
}

fn rows(connection: &Connection, table: &str, count: usize) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut look = connection.prepare(&format!("SELECT * FROM {table} NOT INDEXED"))?;
    let row = |row: &rusqlite::Row<'_>| (0..count).map(|at| row.get(at)).collect();
    look.query_map([], row)?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coppicer::{Seq, ThreadId};

    fn of(entries: &[(&str, Result<&str, StoreError>)]) -> Dump {
        entries
            .iter()
            .map(|(what, found)| ((*what).into(), found.clone().map(str::to_owned)))
            .collect()
    }

    #[test]
    fn a_change_that_nobody_tells_of_is_unnoticed_and_an_error_is_notice() {
        let thread = ThreadId::from_parts(1, [1; 10]);
        let before = of(&[("row", Ok("a")), ("history", Ok("b")), ("unfinished", Ok("[1]"))]);
        assert_eq!(judge(&before, &before), Verdict::Harmless);

        let mut after = before.clone();
        after.insert("row".into(), Ok("c".into()));
        assert_eq!(judge(&before, &after), Verdict::Unnoticed(vec!["row".into()]));

        let corrupt = StoreError::Corrupt { thread, seq: Seq(1), reason: "crc".into() };
        let after = of(&[
            ("row", Ok("Damaged(\"crc\")")),
            ("history", Err(corrupt)),
            ("unfinished", Ok("[]")),
        ]);
        assert_eq!(judge(&before, &after), Verdict::Checksum);

        let failed = StoreError::Unavailable { reason: "malformed".into() };
        let after = of(&[("row", Err(failed)), ("history", Ok("b")), ("unfinished", Ok("[1]"))]);
        assert_eq!(judge(&before, &after), Verdict::Error);

        let gone = StoreError::NotFound { thread };
        let after = of(&[("row", Err(gone)), ("history", Ok("b")), ("unfinished", Ok("[1]"))]);
        assert_eq!(judge(&before, &after), Verdict::Unnoticed(vec!["row".into()]));
    }
}
