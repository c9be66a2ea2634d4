//! `coppicer verify`: is everything in a store as it was written?

use std::io::{self, BufWriter, Write};

use coppicer::{Finding, ThreadId, Verification};
use serde::Serialize;

use super::store::{StoreArgs, work_on};
use super::{Failure, Verdict, text};

/// Checks a whole store: the file, every record's checksum, and what must hold between them.
///
/// Prints each finding (at most 1,000), and what was checked. Exit code 1 if anything is damaged or
/// broken. Changes nothing, and works beside a running `coppicer run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object a line: each finding, then what was checked.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct FindingRow {
    finding: String,
    thread: Option<ThreadId>,
    /// The place of the damaged record.
    record: Option<u64>,
}

#[derive(Serialize)]
struct Checked {
    threads: u64,
    records: u64,
    bytes: u64,
    findings: usize,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let found = work_on(args.store.open_to_read()?, async |store| {
        store.verify().await.map_err(Failure::StoreAsked)
    })?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        write_json(&mut out, &found)?;
    } else {
        write_text(&mut out, &found)?;
    }
    out.flush()?;
    Ok(Verdict::of(found.is_sound()))
}

fn write_json(out: &mut impl Write, found: &Verification) -> io::Result<()> {
    for finding in &found.findings {
        let (thread, record) = match finding {
            Finding::Record { thread, seq, .. } => (*thread, Some(seq.0)),
            Finding::Thread { thread, .. } => (*thread, None),
            _ => (None, None),
        };
        let row = FindingRow { finding: finding.to_string(), thread, record };
        writeln!(out, "{}", serde_json::to_string(&row)?)?;
    }
    let Verification { threads, records, bytes, .. } = *found;
    let checked = Checked { threads, records, bytes, findings: found.findings.len() };
    writeln!(out, "{}", serde_json::to_string(&checked)?)
}

fn write_text(out: &mut impl Write, found: &Verification) -> io::Result<()> {
    for finding in &found.findings {
        writeln!(out, "{}", text::one_line(&finding.to_string()))?;
    }
    let threads = text::count(found.threads as usize, "thread");
    let records = text::count(found.records as usize, "record");
    let bytes = text::count(found.bytes as usize, "byte");
    let verdict = match found.findings.len() {
        0 => "all sound".to_owned(),
        some => text::count(some, "finding"),
    };
    writeln!(out, "{threads}, {records}, {bytes}: {verdict}")
}
