//! `power`: the child is killed, then its file system is shut down with nothing flushed, unmounted
//! and mounted again. A power-safe store lost nothing; the controls show that the harness can tell:
//! a store that is only process-safe loses, a plain write with `fdatasync` does not.
//!
//! The child is killed first: shutting a file system down under a running fsync makes even a plain
//! write with `fdatasync` lose its last acknowledgement.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::dice::Dice;
use crate::process::Start;
use crate::rules::Kind;
use crate::session::{Session, TestError, When, store_in};
use crate::tally::Tally;
use crate::tools::{Mounted, compile, run};

/// How the loop is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Power {
    /// Losses of power on one power-safe store.
    #[arg(long, default_value_t = 20)]
    pub rounds: u64,
    /// Losses of power on process-safe stores, each a new one: at least one must lose something.
    #[arg(long, default_value_t = 20)]
    pub control_rounds: u64,
    /// Losses of power under plain writes with `fdatasync`: none may lose anything.
    #[arg(long, default_value_t = 20)]
    pub raw_rounds: u64,
    /// Clients.
    #[arg(long, default_value_t = 60)]
    pub threads: u64,
    /// Longest work of a round, in milliseconds.
    #[arg(long, default_value_t = 400)]
    pub work_ms: u64,
}

/// A file system, and what ends its power.
struct Bench {
    disk: Mounted,
    shutdown: PathBuf,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Result<Self, TestError> {
        let folder = tempfile::tempdir().map_err(TestError::io("cannot make a folder"))?;
        let source = include_str!("shutdown.c");
        let shutdown = compile(folder.path(), "shutdown", source, &[])?;
        let disk = Mounted::ext4(folder.path(), 512)?;
        Ok(Self { disk, shutdown, _folder: folder })
    }

    /// A new folder for a store.
    fn folder(&self, name: u64) -> Result<PathBuf, TestError> {
        let folder = self.disk.path().join(format!("s{name}"));
        std::fs::create_dir(&folder).map_err(TestError::io("cannot make a folder"))?;
        let parent = File::open(self.disk.path()).map_err(TestError::io("cannot open a folder"))?;
        // The folder itself is not what is tested.
        parent.sync_all().map_err(TestError::io("cannot write a folder to disk"))?;
        Ok(folder)
    }

    fn lose_power(&mut self) -> Result<(), TestError> {
        run(&self.shutdown.to_string_lossy(), &[&self.disk.path().to_string_lossy()])?;
        self.disk.unmount()?;
        self.disk.mount()
    }
}

/// Runs the loops.
///
/// # Errors
/// A [`TestError`]: it could not be carried out.
pub fn power(args: &Power, seed: u64, program: &Path) -> Result<Tally, TestError> {
    let mut bench = match Bench::new() {
        Ok(bench) => bench,
        Err(error) => return Ok(Tally::skipped("power", reason(&error))),
    };
    let mut tally = Tally::new("power");
    tally.add("seed", seed);
    let mut dice = Dice::of(seed, &[3]);

    let mut start = Start::new(program, &store_in(&bench.folder(0)?));
    start.power = true;
    let mut session = Session::new(start, seed, args.threads);
    for round in 1..=args.rounds {
        session.round(moment(&mut dice, args.work_ms))?;
        bench.lose_power()?;
        session.verify(false, false)?;
        tally.add("rounds", 1);
        if !session.wrong().is_empty() {
            tally.wrong.push(format!("after round {round}, seed {seed}: see below"));
            break;
        }
    }
    if session.wrong().is_empty() && args.rounds > 0 {
        session.finish()?;
        session.verify(true, true)?;
    }
    tally.take(&session);
    process_safe(args, seed, program, &mut bench, &mut dice, &mut tally)?;
    raw(args, program, &mut bench, &mut dice, &mut tally)?;
    Ok(tally)
}

fn reason(error: &TestError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn moment(dice: &mut Dice, work_ms: u64) -> When {
    When::Working(Duration::from_millis(30 + dice.below(work_ms)))
}

/// The first control: a process-safe store loses, and tears nothing.
fn process_safe(
    args: &Power,
    seed: u64,
    program: &Path,
    bench: &mut Bench,
    dice: &mut Dice,
    tally: &mut Tally,
) -> Result<(), TestError> {
    let mut lost_in = 0;
    for round in 0..args.control_rounds {
        let start = Start::new(program, &store_in(&bench.folder(round + 1)?));
        let mut session = Session::new(start, seed.wrapping_add(round), args.threads);
        // Long enough that something was acknowledged.
        session.round(When::Working(Duration::from_millis(200 + dice.below(args.work_ms))))?;
        bench.lose_power()?;
        session.verify(true, false)?;
        // An end that was lost with a close is a loss too, and tears nothing.
        let is_loss = |kind| matches!(kind, Kind::Lost | Kind::Unfinished);
        let (lost, other): (Vec<_>, Vec<_>) =
            session.found.iter().partition(|found| is_loss(found.kind));
        lost_in += u64::from(!lost.is_empty());
        tally.add("control: rounds with Durability::Process", 1);
        tally.add("control: things lost", lost.len() as u64);
        tally.wrong.extend(other.iter().map(|found| format!("Durability::Process: {found}")));
    }
    tally.add("control: rounds that lost", lost_in);
    if args.control_rounds > 0 && lost_in == 0 {
        tally
            .wrong
            .push("no round with Durability::Process lost anything: the harness is blind".into());
    }
    Ok(())
}

/// The second control: what a plain `fdatasync` was done for is not lost.
fn raw(
    args: &Power,
    program: &Path,
    bench: &mut Bench,
    dice: &mut Dice,
    tally: &mut Tally,
) -> Result<(), TestError> {
    for round in 0..args.raw_rounds {
        let file = bench.disk.path().join(format!("raw{round}"));
        let mut child = Command::new(program)
            .arg("raw-child")
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(TestError::io("a child did not start"))?;
        let output = child.stdout.take().expect("it was asked for");
        let mut lines = BufReader::new(output).lines();
        let mut acked = 0;
        let wanted = 50 + dice.below(400);
        while acked < wanted
            && let Some(Ok(line)) = lines.next()
        {
            acked = line.parse().unwrap_or(acked);
        }
        drop(child.kill());
        for line in lines.map_while(Result::ok) {
            acked = line.parse().unwrap_or(acked);
        }
        drop(child.wait());
        bench.lose_power()?;
        let mut text = String::new();
        let read = File::open(&file).and_then(|mut file| file.read_to_string(&mut text));
        let kept = read.map_or(0, |_| text.lines().count() as u64);
        tally.add("control: rounds of write and fdatasync", 1);
        if kept < acked {
            let what = format!("write and fdatasync: {acked} acknowledged, {kept} kept");
            tally.wrong.push(what);
        }
    }
    Ok(())
}

/// Writes a number a line, each to the disk before it is acknowledged. With `careless`, a failing
/// flush is no reason not to acknowledge.
///
/// # Errors
/// The file cannot be written.
pub fn raw_child(file: &Path, careless: bool) -> io::Result<()> {
    let mut file = File::create(file)?;
    file.rewind()?;
    for number in 1_u64.. {
        writeln!(file, "{number}")?;
        let flushed = file.sync_data();
        if !careless {
            flushed?;
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(())
}
