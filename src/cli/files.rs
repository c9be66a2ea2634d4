//! Finds session files.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Levels of folders that are looked into. Links are not followed, so there is no way back.
const LEVELS_MAX: usize = 64;

/// Why a path gives no session files.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error("{}: there is no such file or folder; check the path", path.display())]
    NotFound { path: PathBuf },
    #[error("{}: cannot be read; check its permissions", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: no session files (`*.jsonl`) in this folder", path.display())]
    NoSessions { path: PathBuf },
    #[error("{}: folders nest deeper than {LEVELS_MAX} levels", path.display())]
    TooDeep { path: PathBuf },
}

/// The session files at `paths`: a file as it is named, of a folder every `*.jsonl` in it and below,
/// sorted. Each file comes once. What cannot be looked at is told beside the files.
pub(super) fn session_files(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<FilesError>) {
    let mut files = Vec::new();
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        let known = files.len();
        match fs::metadata(path) {
            Ok(kind) if kind.is_dir() => {
                let mut found = Vec::new();
                let errors_before = errors.len();
                below(path, LEVELS_MAX, &mut found, &mut errors);
                if found.is_empty() && errors.len() == errors_before {
                    errors.push(FilesError::NoSessions { path: path.clone() });
                }
                files.extend(found);
            }
            Ok(_) => files.push(path.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                errors.push(FilesError::NotFound { path: path.clone() });
            }
            Err(source) => errors.push(FilesError::Unreadable { path: path.clone(), source }),
        }
        let fresh = files.split_off(known);
        files.extend(
            fresh.into_iter().filter(|file| {
                seen.insert(file.canonicalize().unwrap_or_else(|_| file.to_owned()))
            }),
        );
    }
    (files, errors)
}

fn below(folder: &Path, levels: usize, files: &mut Vec<PathBuf>, errors: &mut Vec<FilesError>) {
    let mut unreadable = |source| {
        errors.push(FilesError::Unreadable { path: folder.to_owned(), source });
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) => return unreadable(source),
    };
    let mut paths = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => paths.push(entry.path()),
            Err(source) => unreadable(source),
        }
    }
    paths.sort();
    for path in paths {
        let Ok(kind) = path.symlink_metadata() else {
            continue; // It went away since.
        };
        if kind.is_dir() {
            if levels == 1 {
                errors.push(FilesError::TooDeep { path });
            } else {
                below(&path, levels - 1, files, errors);
            }
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
}
