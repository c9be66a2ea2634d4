//! Writes result files: whole, or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Why a result file was not written. What stood there before is unchanged.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutError {
    #[error("{}: there is a file already; name another, or overwrite it with --force", path.display())]
    Exists { path: PathBuf },
    #[error("{}: this is a folder; name a file in it", path.display())]
    IsFolder { path: PathBuf },
    #[error("{}: cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Writes `path` in one stroke: beside it first, then under its name. Without `force` a file that
/// stands there stays. Only its owner can read the file, as befits a session.
///
/// # Errors
/// See [`OutError`].
pub(super) fn write_file(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), OutError> {
    let failed = |source| OutError::Write { path: path.to_owned(), source };
    if path.is_dir() {
        return Err(OutError::IsFolder { path: path.to_owned() });
    }
    if !force && path.symlink_metadata().is_ok() {
        return Err(OutError::Exists { path: path.to_owned() });
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
    let mut buffered = BufWriter::new(&mut file);
    write(&mut buffered).and_then(|()| buffered.flush()).map_err(failed)?;
    drop(buffered);
    file.as_file().sync_all().map_err(failed)?;
    let moved = if force { file.persist(path) } else { file.persist_noclobber(path) };
    match moved {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            Err(OutError::Exists { path: path.to_owned() })
        }
        Err(error) => Err(failed(error.error)),
    }
}
