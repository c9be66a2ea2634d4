//! `coppicer verify`: is everything in a store as it was written?

use std::io::{self, BufWriter, Write};

use super::store::{StoreArgs, work_on};
use super::{Failure, Verdict, text};

/// Checks a whole store: the file, every record's checksum, and what must hold between them.
///
/// Prints each finding, and what was checked. Exit code 1 if anything is damaged or broken. Changes
/// nothing, and works beside a running `coppicer run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object a line: each finding, then what was checked.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let found = work_on(args.store.open_to_read()?, async |store| {
        checked::verify(store).await.map_err(Failure::StoreAsked)
    })?;
    let findings: Vec<String> = found.findings.iter().map(ToString::to_string).collect();
    let sound = findings.is_empty();
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        for finding in &findings {
            writeln!(out, "{}", serde_json::json!({ "finding": finding }))?;
        }
        let (threads, records, bytes) = (found.threads, found.records, found.bytes);
        let row = serde_json::json!({
            "threads": threads, "records": records, "bytes": bytes, "findings": findings.len(),
        });
        writeln!(out, "{row}")?;
    } else {
        for finding in &findings {
            writeln!(out, "{}", text::one_line(finding))?;
        }
        let threads = text::count(found.threads as usize, "thread");
        let records = text::count(found.records as usize, "record");
        let bytes = text::count(found.bytes as usize, "byte");
        let verdict = match findings.len() {
            0 => "all sound".to_owned(),
            some => text::count(some, "finding"),
        };
        writeln!(out, "{threads}, {records}, {bytes}: {verdict}")?;
    }
    out.flush()?;
    Ok(Verdict::of(sound))
}

/// Stands in for the store's own verification, with the same shape, until that is there.
mod checked {
    use std::fmt;

    use coppicer::{SqliteStore, StoreError, ThreadQuery, ThreadStore};

    #[derive(Debug, Default)]
    pub(super) struct Verification {
        pub(super) threads: u64,
        pub(super) records: u64,
        pub(super) bytes: u64,
        pub(super) findings: Vec<Finding>,
    }

    #[derive(Debug, Clone)]
    pub(super) struct Finding(StoreError);

    impl fmt::Display for Finding {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }

    pub(super) async fn verify(store: &SqliteStore) -> Result<Verification, StoreError> {
        let (mut found, mut after) = (Verification::default(), None);
        loop {
            let page = store.list(ThreadQuery::all().after(after)).await?;
            for thread in &page.threads {
                found.threads += 1;
                match store.read(thread.id, None).await {
                    Ok(history) => {
                        found.records += history.len();
                        let bytes = history.iter().map(|record| record.raw.len() as u64);
                        found.bytes += bytes.sum::<u64>();
                    }
                    Err(StoreError::NotFound { .. }) => {} // deleted meanwhile
                    Err(error @ StoreError::Corrupt { .. }) => found.findings.push(Finding(error)),
                    Err(error) => return Err(error),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }
}
