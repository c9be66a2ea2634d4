//! `coppicer check`: are session files sound?

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use coppicer::{Damage, ReadError, SessionFile, read_session};

use super::{Failure, Verdict, files, text};

/// Checks that session files are sound.
///
/// Prints for each file what it has, by kind of record, and every damaged line as
/// `FILE:LINE: REASON`. Exit code 1 if a file is damaged, empty, or no session.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Session files, or folders with session files (`*.jsonl`) in them and below.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let (files, errors) = files::session_files(&args.paths);
    for error in &errors {
        super::say(&format!("error: {}", text::with_causes(error)));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut flawed = 0;
    for path in &files {
        let sound = match read_session(path) {
            Ok(file) => {
                write_counts(&mut out, &file)?;
                write_damage(&mut out, path, &file.damage)?;
                file.damage.is_empty()
            }
            Err(error) => {
                writeln!(out, "{}", text::printable(&text::with_causes(&error)))?;
                if let ReadError::NoMeta { damage, .. } = &error {
                    write_damage(&mut out, path, damage)?;
                }
                false
            }
        };
        flawed += usize::from(!sound);
    }
    let checked = text::count(files.len(), "file");
    match flawed {
        0 => writeln!(out, "{checked}, all sound")?,
        _ => writeln!(out, "{checked}, {flawed} damaged")?,
    }
    out.flush()?;
    Ok(Verdict::of(flawed == 0 && errors.is_empty()))
}

fn write_counts(out: &mut impl Write, file: &SessionFile) -> io::Result<()> {
    let mut counts = BTreeMap::new();
    for record in &file.history {
        *counts.entry(record.class.name()).or_insert(0u64) += 1;
    }
    let counts: Vec<String> =
        counts.into_iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let soundness = match file.damage.len() {
        0 => "sound".to_owned(),
        lines => text::count(lines, "damaged line"),
    };
    writeln!(
        out,
        "{}: {soundness}; thread {}; {}: {}",
        text::printable(&file.path.display().to_string()),
        file.meta.id,
        text::count(file.history.len() as usize, "record"),
        counts.join(", "),
    )
}

fn write_damage(out: &mut impl Write, path: &Path, damage: &[Damage]) -> io::Result<()> {
    for damage in damage {
        let line = format!("{}:{}: {}", path.display(), damage.line, damage.reason);
        writeln!(out, "{}", text::printable(&line))?;
    }
    Ok(())
}
