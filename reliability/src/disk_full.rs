//! The full disk: a small file system fills up under a child's store. Nothing acknowledged is lost,
//! reads go on while it is full, and writes when it has room again.

use std::path::Path;
use std::time::Duration;

use crate::faults::{Health, RESUME};
use crate::process::{Next, Running, Start, now};
use crate::session::{Session, TestError, store_in};
use crate::tally::Tally;
use crate::tools::Mounted;
use crate::words::Word;

/// Bytes of the disk at first, and when it has room again.
const SMALL: u64 = 6 << 20;
const LARGE: u64 = 128 << 20;

/// How long it stays full.
const FULL: Duration = Duration::from_millis(1_500);

/// How long it may take to fill up.
const FILLS: Duration = Duration::from_secs(120);

/// One disk that fills up.
pub(crate) fn disk_full(
    program: &Path,
    seed: u64,
    threads: u64,
    tally: &mut Tally,
) -> Result<(), TestError> {
    let folder = tempfile::tempdir().map_err(TestError::io("cannot make a folder"))?;
    let disk = match Mounted::tmpfs(folder.path(), SMALL) {
        Ok(disk) => disk,
        Err(error) => {
            println!("full disk: skipped: {error}");
            return Ok(());
        }
    };
    let mut start = Start::new(program, &store_in(disk.path()));
    (start.power, start.read, start.call_ms) = (true, true, 5_000);
    let mut session = Session::new(start, seed, threads);
    let mut running = Running::start(&session.start, &session.oracle)?;
    let mut health = Health::default();
    let until = now() + FILLS;
    while !health.is_ailing {
        match running.next(until, &mut session.oracle)? {
            Next::Word(word) => health.hear(&word),
            Next::Nothing | Next::End => return Err(running.ended().into()),
        }
    }
    let full = now() + FULL;
    if !running.hear_until(full, &mut session.oracle, |word| health.hear(word))? {
        return Err(running.ended().into());
    }
    let (read, unread) = (health.read, std::mem::take(&mut health.unread));
    if read == 0 {
        tally.wrong.push("nothing could be read while the disk was full".into());
    }
    tally.wrong.extend(unread.iter().map(|why| format!("a read while the disk was full: {why}")));
    disk.resize(LARGE)?;
    let wanted = session.oracle.acks + threads * 2;
    let until = now() + RESUME;
    while session.oracle.acks < wanted || health.is_ailing {
        match running.next(until, &mut session.oracle)? {
            Next::Word(word) => health.hear(&word),
            Next::Nothing => {
                let ailing = health.is_ailing;
                tally.wrong.push(format!("no writes after the disk had room, ailing: {ailing}"));
                break;
            }
            Next::End => return Err(running.ended().into()),
        }
    }
    running.kill(&mut session.oracle, |word: &Word| health.hear(word))?;
    session.verify(true, false)?;
    if session.wrong().is_empty() {
        session.finish()?;
        session.verify(true, true)?;
    }
    tally.add("full disks", 1);
    tally.add("reads while full", read);
    tally.add("told unknown", health.unknown);
    tally.add("told refused", health.refused);
    tally.take(&session);
    drop(disk);
    Ok(())
}
