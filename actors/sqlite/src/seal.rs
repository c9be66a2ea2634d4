//! The checksum of a row: every table has one, so that nothing in the file changes unnoticed.
//!
//! It is a function of SQL, `seal(column, …)`, so that a row is sealed in the statement that writes
//! it and checked in the one that reads it. Records have one of their own kind (`class::checksum`),
//! made where their bytes are at hand.

use std::sync::LazyLock;

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;

/// The columns of a table that its seal covers.
pub(crate) struct Sealed {
    pub(crate) table: &'static str,
    /// What a finding says of its rows.
    pub(crate) what: &'static str,
    columns: &'static [&'static str],
}

pub(crate) const THREAD: Sealed = Sealed {
    table: "thread",
    what: "the row of a thread",
    columns: &[
        "pk",
        "id",
        "hidden",
        "parent",
        "edge",
        "base",
        "base_cut",
        "head_base",
        "depth",
        "path",
        "rollout_path",
        "created_ms",
        "archived_ms",
        "damaged_seq",
        "name",
        "title",
        "preview",
        "git_sha",
        "git_branch",
        "git_origin_url",
        "cwd",
        "model",
        "source",
        "thread_source",
        "nickname",
        "role",
        "config",
        "root",
    ],
};

pub(crate) const STATE: Sealed = Sealed {
    table: "state",
    what: "the state of a thread",
    columns: &["thread", "head", "settled", "epoch", "appends", "updated_ms", "status"],
};

pub(crate) const STATUS_TEXT: Sealed =
    Sealed { table: "status_text", what: "the status of a thread", columns: &["thread", "text"] };

pub(crate) const LINEAGE: Sealed = Sealed {
    table: "lineage",
    what: "what a fork shares",
    columns: &["thread", "ord", "src", "lo", "hi"],
};

pub(crate) const SUBMISSION: Sealed = Sealed {
    table: "submission",
    what: "a submission",
    columns: &["pk", "thread", "id", "digest", "seq", "attempt", "outcome", "body"],
};

pub(crate) const MAIL: Sealed =
    Sealed { table: "mail", what: "mail", columns: &["pk", "reader", "id", "trigger", "body"] };

pub(crate) const ACCOUNT: Sealed = Sealed {
    table: "account",
    what: "the account of a thread",
    columns: &["thread", "ledger", "charged"],
};

pub(crate) const CRASH: Sealed =
    Sealed { table: "crash", what: "a crash that is kept", columns: &["pk", "thread", "body"] };

pub(crate) const TASK: Sealed =
    Sealed { table: "task", what: "what was asked of a thread last", columns: &["thread", "text"] };

/// Every table whose rows are sealed.
pub(crate) const ALL: [Sealed; 9] =
    [THREAD, STATE, STATUS_TEXT, LINEAGE, SUBMISSION, MAIL, ACCOUNT, CRASH, TASK];

impl Sealed {
    /// The seal of a row of the table under this alias.
    pub(crate) fn of(&self, alias: &str) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|column| format!("{alias}.{column}")).collect();
        format!("seal({})", columns.join(", "))
    }

    /// The column that says whose a row is.
    pub(crate) fn owner(&self) -> &'static str {
        let owners = ["thread", "reader", "pk"];
        owners.into_iter().find(|owner| self.columns.contains(owner)).unwrap_or("pk")
    }

    /// Whether a row of the table under this alias is as it was sealed.
    pub(crate) fn holds(&self, alias: &str) -> String {
        format!("{alias}.crc = {}", self.of(alias))
    }
}

/// Seals the row of a thread after a change to it.
pub(crate) static SEAL_THREAD: LazyLock<String> =
    LazyLock::new(|| format!("UPDATE thread SET crc = {} WHERE pk = ?1", THREAD.of("thread")));

/// Teaches a connection to seal.
pub(crate) fn teach(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function("seal", -1, flags, |row| Ok(seal(row)))
}

fn seal(row: &Context<'_>) -> i64 {
    of((0..row.len()).map(|column| row.get_raw(column)))
}

/// The seal of a row with these values.
pub(crate) fn of<'a>(values: impl IntoIterator<Item = ValueRef<'a>>) -> i64 {
    let mut seal = Seal::default();
    for value in values {
        let (kind, bytes): (u8, &[u8]) = match value {
            ValueRef::Null => (0, &[]),
            ValueRef::Integer(number) => {
                seal.add(&[1]);
                seal.add(&number.to_le_bytes());
                continue;
            }
            ValueRef::Real(number) => {
                seal.add(&[2]);
                seal.add(&number.to_le_bytes());
                continue;
            }
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(blob) => (4, blob),
        };
        seal.add(&[kind]);
        seal.add(&(bytes.len() as u64).to_le_bytes());
        seal.add(bytes);
    }
    seal.end()
}

/// Bytes under one crc32c: short ones are put together first, since each call has its price.
struct Seal {
    crc: u32,
    waiting: [u8; Seal::WAITING],
    len: usize,
}

impl Default for Seal {
    fn default() -> Self {
        Self { crc: 0, waiting: [0; Self::WAITING], len: 0 }
    }
}

impl Seal {
    const WAITING: usize = 128;

    fn add(&mut self, bytes: &[u8]) {
        if bytes.len() > Self::WAITING - self.len {
            self.flush();
            if bytes.len() > Self::WAITING {
                self.crc = crc32c::crc32c_append(self.crc, bytes);
                return;
            }
        }
        self.waiting[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn flush(&mut self) {
        self.crc = crc32c::crc32c_append(self.crc, &self.waiting[..self.len]);
        self.len = 0;
    }

    fn end(mut self) -> i64 {
        self.flush();
        i64::from(self.crc)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seal_tells_kinds_lengths_and_places_apart() {
        let connection = Connection::open_in_memory().unwrap();
        teach(&connection).unwrap();
        let seals: Vec<i64> = [
            "seal('ab', 'c')",
            "seal('a', 'bc')",
            "seal('abc')",
            "seal('abc', NULL)",
            "seal(NULL, 'abc')",
            "seal(x'616263')",
            "seal(1)",
            "seal('1')",
            "seal(1.0)",
            "seal(0)",
            "seal(NULL)",
            "seal('')",
        ]
        .iter()
        .map(|sql| connection.query_row(&format!("SELECT {sql}"), [], |row| row.get(0)).unwrap())
        .collect();
        let distinct: BTreeSet<&i64> = seals.iter().collect();
        assert_eq!(distinct.len(), seals.len(), "{seals:?}");
    }

    #[test]
    fn a_seal_is_the_crc_of_all_bytes_in_a_row_however_long_they_are() {
        for lengths in [[0, 0, 0], [1, 110, 1], [100, 20, 7], [128, 119, 0], [300, 3, 130]] {
            let texts = lengths.map(|length| "x".repeat(length));
            let mut bytes = Vec::new();
            for text in &texts {
                bytes.push(3);
                bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            let seal = of(texts.iter().map(|text| ValueRef::Text(text.as_bytes())));
            assert_eq!(seal, i64::from(crc32c::crc32c(&bytes)), "{lengths:?}");
        }
    }

    #[test]
    fn every_column_of_every_table_is_under_a_seal() {
        let connection = Connection::open_in_memory().unwrap();
        teach(&connection).unwrap();
        crate::schema::migrate(&connection, 0).unwrap();
        for sealed in ALL {
            let sql = format!("SELECT name FROM pragma_table_info('{}')", sealed.table);
            let mut look = connection.prepare(&sql).unwrap();
            let names: BTreeSet<String> =
                look.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            let expected = sealed.columns.iter().copied().chain(["crc"]).map(str::to_owned);
            assert_eq!(names, expected.collect(), "{}", sealed.table);
        }
    }
}
