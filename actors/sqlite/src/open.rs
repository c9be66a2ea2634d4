//! Opening a store: its folder, its owner, its file, and the check of what stands in it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{OpenError, says};
use crate::options::{
    Access, CHECKPOINT_PAGES, Durability, LOG_BYTES_MAX, STATEMENTS_MAX, SqliteOptions,
};
use crate::schema::{self, APPLICATION_ID, VERSION};

/// A store that was opened.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// Held for as long as the store is written; none when it is only read.
    pub(crate) owner: Option<Owner>,
}

/// The right to write a store: a lock on a file beside it, and a number in it that grows with each
/// opening.
#[derive(Debug)]
pub(crate) struct Owner {
    _lock: File,
    pub(crate) epoch: i64,
}

/// The path with `suffix` behind its last part.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

pub(crate) fn open(path: &Path, options: &SqliteOptions) -> Result<Opened, OpenError> {
    match options.access {
        Access::ReadOnly => {
            check_file(path)?;
            let connection = connect(path, options, Access::ReadOnly)?;
            let version = checked(path, &connection)?;
            if version < VERSION {
                let path = path.to_owned();
                return Err(OpenError::Older { path, found: version, known: VERSION });
            }
            Ok(Opened { connection, owner: None })
        }
        Access::ReadWrite => {
            let folder = folder_of(path);
            make_folder(&folder)?;
            let lock = lock(path)?;
            clear_away(path, &folder)?;
            if !path.exists() {
                create(path, &folder, options)?;
            }
            check_file(path)?;
            tighten(path)?;
            let connection = connect(path, options, Access::ReadWrite)?;
            let version = checked(path, &connection)?;
            let epoch = take_over(&connection, version).map_err(|error| database(path, &error))?;
            Ok(Opened { connection, owner: Some(Owner { _lock: lock, epoch }) })
        }
    }
}

/// A further connection to a store that this process has open: what it is was checked before.
pub(crate) fn connect_again(
    path: &Path,
    options: &SqliteOptions,
    access: Access,
) -> rusqlite::Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags |= match options.access {
        Access::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    // A plan that looks at bound values is made anew with each of them: many times what it saves.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    crate::seal::teach(&connection)?;
    connection.busy_timeout(options.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let set = |name, value: &dyn rusqlite::ToSql| connection.pragma_update(None, name, value);
    set("cell_size_check", &true)?;
    if access == Access::ReadOnly {
        set("query_only", &true)?;
        return Ok(connection);
    }
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    set(
        "synchronous",
        match options.durability {
            Durability::Power => &"full",
            Durability::Process => &"normal",
        },
    )?;
    // Where a flush is no flush (macOS).
    set("fullfsync", &true)?;
    set("checkpoint_fullfsync", &true)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_MAX, |_| Ok(()))?;
    Ok(connection)
}

fn connect(path: &Path, options: &SqliteOptions, access: Access) -> Result<Connection, OpenError> {
    connect_again(path, options, access).map_err(|error| database(path, &error))
}

/// The schema's version, if the file is a store of ours with nothing else in it.
fn checked(path: &Path, connection: &Connection) -> Result<i64, OpenError> {
    let failed = |error: rusqlite::Error| database(path, &error);
    let pragma = |name: &str| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed)
    };
    let id = pragma("application_id")?;
    if id != APPLICATION_ID {
        let reason = format!("its application id is {id:#x}, not {APPLICATION_ID:#x}");
        return Err(OpenError::NotAStore { path: path.to_owned(), reason });
    }
    let version = pragma("user_version")?;
    if version > VERSION {
        let path = path.to_owned();
        return Err(OpenError::Newer { path, found: version, known: VERSION });
    }
    if version < 1 {
        let reason = format!("its schema version is {version}");
        return Err(OpenError::NotAStore { path: path.to_owned(), reason });
    }
    match schema::foreign(connection, version).map_err(failed)? {
        Some(what) => Err(OpenError::Foreign { path: path.to_owned(), what }),
        None => Ok(version),
    }
}

/// Brings the schema up to date and takes the next owner's number, in one transaction.
fn take_over(connection: &Connection, version: i64) -> rusqlite::Result<i64> {
    let transaction = connection.unchecked_transaction()?;
    schema::migrate(&transaction, version)?;
    let epoch = transaction.query_row(
        "UPDATE meta SET value = value + 1 WHERE key = 'owner_epoch' RETURNING value",
        [],
        |row| row.get(0),
    )?;
    transaction.commit()?;
    Ok(epoch)
}

/// Makes the file under another name and gives it its own when it is whole and on disk, so that a
/// half-made one is never met.
fn create(path: &Path, folder: &Path, options: &SqliteOptions) -> Result<(), OpenError> {
    let temporary = beside(path, &format!(".tmp-{}", std::process::id()));
    let io = |what| move |source| OpenError::Io { path: path.to_owned(), what, source };
    let file = private().create_new(true).open(&temporary).map_err(io("cannot make the file"))?;
    let made = make(&temporary, options).map_err(|error| database(path, &error));
    let made = made.and_then(|()| file.sync_all().map_err(io("cannot write the file to disk")));
    if let Err(error) = made {
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    fs::rename(&temporary, path).map_err(io("cannot name the file"))?;
    sync_folder(folder).map_err(io("cannot write the folder to disk"))
}

fn make(path: &Path, options: &SqliteOptions) -> rusqlite::Result<()> {
    let connection = connect_again(path, options, Access::ReadWrite)?;
    let transaction = connection.unchecked_transaction()?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    schema::migrate(&transaction, 0)?;
    transaction.execute(
        "INSERT INTO meta(key, value)
         VALUES ('store_id', ?1), ('owner_epoch', 0), ('created_by', ?2)",
        (uuid::Uuid::now_v7().to_string(), concat!("coppicer ", env!("CARGO_PKG_VERSION"))),
    )?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn make_folder(folder: &Path) -> Result<(), OpenError> {
    let io = |what| move |source| OpenError::Io { path: folder.to_owned(), what, source };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(io("cannot make its folder"))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let about = fs::metadata(folder).map_err(io("cannot look at its folder"))?;
        let refused = |reason| Err(OpenError::Folder { path: folder.to_owned(), reason });
        let sticky = about.mode() & 0o1000 != 0;
        if about.mode() & 0o022 != 0 && !sticky {
            return refused("others can write in it; take their right away (chmod go-w)");
        }
    }
    Ok(())
}

fn check_file(path: &Path) -> Result<(), OpenError> {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        Err(source) => {
            let what = "cannot look at it";
            return Err(OpenError::Io { path: path.to_owned(), what, source });
        }
    };
    let reason = match about {
        about if !about.is_file() => "it is not a regular file",
        about if about.len() == 0 => "it is empty",
        _ => return Ok(()),
    };
    Err(OpenError::NotAStore { path: path.to_owned(), reason: reason.to_owned() })
}

/// Takes every right away from others.
fn tighten(path: &Path) -> Result<(), OpenError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
            let Ok(about) = fs::metadata(&file) else { continue };
            if about.permissions().mode() & 0o077 != 0 {
                let what = "cannot take the rights of others away";
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
                    .map_err(|source| OpenError::Io { path: file, what, source })?;
            }
        }
    }
    Ok(())
}

/// Locks the file beside the store, or says who has it.
fn lock(path: &Path) -> Result<File, OpenError> {
    let beside = beside(path, ".lock");
    let io = |what| {
        let path = beside.clone();
        move |source| OpenError::Io { path, what, source }
    };
    let mut file =
        private().create(true).truncate(false).open(&beside).map_err(io("cannot open its lock"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = file.read_to_string(&mut text);
            let pid = read.ok().and_then(|_| text.trim().parse().ok());
            return Err(OpenError::InUse { path: path.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(io("cannot lock it")(source)),
    }
    // Who has it, for people. That it cannot be written is no reason not to have it.
    let named = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = named {
        tracing::warn!(%error, "the owner of a store could not be named in its lock");
    }
    Ok(file)
}

/// Removes what a process left that ended while it made a store. The lock is held.
fn clear_away(path: &Path, folder: &Path) -> Result<(), OpenError> {
    if !path.exists() && beside(path, "-wal").exists() {
        let reason = "the file is gone and its write-ahead log (`-wal`) is there: \
                      put the file back, or move the log away"
            .to_owned();
        return Err(OpenError::NotAStore { path: path.to_owned(), reason });
    }
    let Some(name) = path.file_name() else { return Ok(()) };
    let mut prefix = name.to_owned();
    prefix.push(".tmp-");
    let prefix = prefix.to_string_lossy().into_owned();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            drop(fs::remove_file(entry.path()));
        }
    }
    Ok(())
}

fn database(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => {
            OpenError::NotAStore { path: path.to_owned(), reason: says(error) }
        }
        _ => OpenError::Database { path: path.to_owned(), reason: says(error) },
    }
}
