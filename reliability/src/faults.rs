//! `faults`: calls of the operating system fail under the store of a child: a write (EIO, ENOSPC, half
//! of it), a flush (also one that loses what it was to flush), once, some times, or for a while. Every
//! caller has an answer by its deadline, nothing acknowledged is lost, and writes go on by themselves
//! when the fault is over.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::dice::Dice;
use crate::disk_full::disk_full;
use crate::process::{Next, PATIENCE, Running, Start, now};
use crate::session::{Session, TestError, store_in};
use crate::tally::Tally;
use crate::tools::compile;
use crate::words::Word;

/// How the trials are run.
#[derive(Debug, Clone, clap::Args)]
pub struct Faults {
    /// How many times faults are ordered.
    #[arg(long, default_value_t = 50)]
    pub trials: u64,
    /// Clients.
    #[arg(long, default_value_t = 60)]
    pub threads: u64,
    /// Trials on one store before the next one is begun.
    #[arg(long, default_value_t = 10)]
    pub store_trials: u64,
    /// Times that a disk is filled up.
    #[arg(long, default_value_t = 2)]
    pub full: u64,
}

/// How long writes may take to go on after a fault is over.
pub const RESUME: Duration = Duration::from_secs(20);

/// The modes of the shim, by their numbers.
const MODES: [&str; 5] =
    ["write EIO", "short write", "write ENOSPC", "fsync EIO", "fsync EIO that loses pages"];

/// The orders to the shim: a file that the child has in its memory.
struct Orders(File);

impl Orders {
    fn new(path: &Path) -> Result<Self, TestError> {
        let failed = TestError::io("cannot write orders");
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(path);
        let mut orders = Self(file.map_err(&failed)?);
        orders.write(&[0, 0, 0, 0])?;
        Ok(orders)
    }

    fn write(&mut self, numbers: &[u32]) -> Result<(), TestError> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        let written = self.0.seek(SeekFrom::Start(0)).and_then(|_| self.0.write_all(&bytes));
        written.map_err(TestError::io("cannot write orders"))
    }

    /// `mode` from now on, for so many calls.
    fn order(&mut self, mode: u32, calls: u32) -> Result<(), TestError> {
        self.write(&[mode, calls])
    }

    /// How many calls failed, and how many writes were taken back.
    fn hits(&mut self) -> Result<[u32; 2], TestError> {
        let failed = TestError::io("cannot read orders");
        self.0.seek(SeekFrom::Start(8)).map_err(&failed)?;
        let mut numbers = [0; 2];
        for number in &mut numbers {
            let mut bytes = [0; 4];
            self.0.read_exact(&mut bytes).map_err(&failed)?;
            *number = u32::from_ne_bytes(bytes);
        }
        Ok(numbers)
    }
}

/// The environment in which the shim works on the files of one store.
fn environment(shim: &Path, store: &Path, orders: &Path) -> Vec<(String, String)> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    vec![
        ("LD_PRELOAD".into(), text(shim)),
        ("FAULTS_PREFIX".into(), text(store)),
        ("FAULTS_ORDERS".into(), text(orders)),
    ]
}

/// The control: one who acknowledges although a flush failed loses what the shim takes back. How
/// many lines.
fn control(program: &Path, shim: &Path, folder: &Path) -> Result<u64, TestError> {
    let (file, orders_file) = (folder.join("careless"), folder.join("orders"));
    let mut orders = Orders::new(&orders_file)?;
    let mut child = Command::new(program)
        .args(["raw-child", "--careless"])
        .arg(&file)
        .envs(environment(shim, &file, &orders_file))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(TestError::io("a child did not start"))?;
    let output = child.stdout.take().expect("it was asked for");
    let mut acked: u64 = 0;
    for line in BufReader::new(output).lines().map_while(Result::ok).take(60) {
        acked = line.parse().unwrap_or(acked);
        match acked {
            20 => orders.order(5, 0)?,
            25 => orders.order(5, 1)?,
            _ => {}
        }
    }
    drop(child.kill());
    drop(child.wait());
    let text = std::fs::read(&file).map_err(TestError::io("cannot read what was written"))?;
    let kept = String::from_utf8_lossy(&text);
    let kept = kept.lines().filter(|line| line.parse().is_ok_and(|it: u64| it <= acked)).count();
    Ok(acked.saturating_sub(kept as u64))
}

/// Runs the trials.
///
/// # Errors
/// A [`TestError`]: they could not be carried out.
pub fn faults(args: &Faults, seed: u64, program: &Path) -> Result<Tally, TestError> {
    if !cfg!(target_os = "linux") {
        return Ok(Tally::skipped("faults", "calls are intercepted on Linux only"));
    }
    let folder = tempfile::tempdir().map_err(TestError::io("cannot make a folder"))?;
    let options = ["-shared", "-fPIC", "-ldl", "-lpthread"];
    let shim = match compile(folder.path(), "shim.so", include_str!("shim.c"), &options) {
        Ok(shim) => shim,
        Err(error) => return Ok(Tally::skipped("faults", error.to_string())),
    };
    let mut tally = Tally::new("faults");
    tally.add("seed", seed);
    let lost = control(program, &shim, folder.path())?;
    tally.add("control: lost by one who ignores a failed flush", lost);
    if lost == 0 {
        tally.wrong.push("one who ignores a failed flush lost nothing: the shim is blind".into());
    }
    let mut dice = Dice::of(seed, &[4]);
    let mut trial = 0;
    while trial < args.trials {
        let place = folder.path().join(format!("s{trial}"));
        std::fs::create_dir(&place).map_err(TestError::io("cannot make a folder"))?;
        let orders_file = place.join("orders");
        let mut orders = Orders::new(&orders_file)?;
        let mut start = Start::new(program, &store_in(&place));
        start.power = true;
        start.call_ms = 5_000;
        start.env = environment(&shim, &start.store, &orders_file);
        let mut session = Session::new(start, seed.wrapping_add(trial), args.threads);
        for _ in 0..args.store_trials.min(args.trials - trial) {
            trial += 1;
            one_trial(trial, &mut session, &mut orders, &mut dice, &mut tally)?;
            session.verify(false, false)?;
            if !session.wrong().is_empty() {
                tally.wrong.push(format!("after trial {trial}, seed {seed}: see below"));
                tally.take(&session);
                return Ok(tally);
            }
        }
        session.finish()?;
        session.verify(true, true)?;
        tally.take(&session);
    }
    for trial in 0..args.full {
        disk_full(program, seed.wrapping_add(trial), args.threads, &mut tally)?;
    }
    Ok(tally)
}

fn one_trial(
    trial: u64,
    session: &mut Session,
    orders: &mut Orders,
    dice: &mut Dice,
    tally: &mut Tally,
) -> Result<(), TestError> {
    let mode = (trial % MODES.len() as u64) as u32 + 1;
    let name = MODES[(mode - 1) as usize];
    let calls = match dice.below(3) {
        0 => 1,
        1 => 2 + dice.below(6) as u32,
        _ => u32::MAX,
    };
    let lasts = Duration::from_millis(20 + dice.below(600));
    let before = Duration::from_millis(20 + dice.below(250));
    let while_opening = dice.chance(12);
    let before_it = orders.hits()?;

    if while_opening {
        orders.order(mode, calls.min(4))?;
    }
    let mut running = Running::start(&session.start, &session.oracle)?;
    let mut health = Health::default();
    if while_opening {
        let until = now() + lasts.max(Duration::from_millis(300));
        running.hear_until(until, &mut session.oracle, |word| health.hear(word))?;
        orders.order(0, 0)?;
        // A store may refuse to open on a disk that fails, and opens when it does not any more.
        let refused = |what: &String| what.starts_with("the store did not open");
        if session.oracle.wrong.iter().any(refused) {
            session.oracle.wrong.retain(|what| !refused(what));
            tally.add("refused to open on a failing disk", 1);
            running.kill(&mut session.oracle, |_| {})?;
            running = Running::start(&session.start, &session.oracle)?;
            running.wait_for(&Word::Recovered, "recovered", &mut session.oracle)?;
        }
    } else {
        running.wait_for(&Word::Recovered, "recovered", &mut session.oracle)?;
        hear(&mut running, before, session, &mut health)?;
        // Writes are remembered from here on, to be lost with a flush that fails.
        orders.order(mode, 0)?;
        hear(&mut running, Duration::from_millis(20), session, &mut health)?;
        orders.order(mode, calls)?;
        hear(&mut running, lasts, session, &mut health)?;
        orders.order(0, 0)?;
    }

    // It goes on by itself.
    let wanted = session.oracle.acks + session.oracle.slots.len() as u64 * 2;
    let begun = now();
    let until = begun + RESUME;
    while session.oracle.acks < wanted || health.is_ailing {
        match running.next(until, &mut session.oracle)? {
            Next::Word(word) => health.hear(&word),
            Next::Nothing => {
                let (acks, ailing) = (session.oracle.acks, health.is_ailing);
                tally.wrong.push(format!(
                    "trial {trial} ({name}): writes did not go on within {RESUME:?}: \
                     {acks} of {wanted} acknowledgements, ailing: {ailing}; last: {}",
                    health.last
                ));
                break;
            }
            Next::End => return Err(running.ended().into()),
        }
    }
    let took = begun.elapsed().as_millis() as u64;
    hear(&mut running, Duration::from_millis(dice.below(100)), session, &mut health)?;
    running.kill(&mut session.oracle, |word| health.hear(word))?;

    let after_it = orders.hits()?;
    let [hits, back] = [0, 1].map(|at| u64::from(after_it[at].wrapping_sub(before_it[at])));
    tally.add("trials", 1);
    tally.add("trials with a fault that was met", u64::from(hits > 0));
    tally.add("calls that failed", hits);
    tally.add("writes taken back", back);
    tally.add("told unknown", health.unknown);
    tally.add("told refused", health.refused);
    tally.add("ailing told", health.ailing);
    tally.add("well told", health.well);
    let slowest = tally.count("ms until all went on, at most");
    tally.add("ms until all went on, at most", took.saturating_sub(slowest));
    Ok(())
}

fn hear(
    running: &mut Running,
    time: Duration,
    session: &mut Session,
    health: &mut Health,
) -> Result<(), TestError> {
    debug_assert!(time < PATIENCE);
    if running.hear_until(now() + time, &mut session.oracle, |word| health.hear(word))? {
        Ok(())
    } else {
        Err(running.ended().into())
    }
}

/// What was heard of the store's own state, and of refusals.
#[derive(Debug, Default)]
pub struct Health {
    /// Times that it told that it cannot write.
    pub ailing: u64,
    /// Times that it told that it writes again.
    pub well: u64,
    /// Whether it cannot write now.
    pub is_ailing: bool,
    /// Callers who were told that the outcome is unknown.
    pub unknown: u64,
    /// Callers who were told that nothing was done, or why they have to try again.
    pub refused: u64,
    /// Histories that were read while it could not write.
    pub read: u64,
    /// Reads that failed while it could not write.
    pub unread: Vec<String>,
    /// The last refusal.
    pub last: String,
}

impl Health {
    /// Hears a word.
    pub fn hear(&mut self, word: &Word) {
        match word {
            Word::Ailing(_) => (self.ailing, self.is_ailing) = (self.ailing + 1, true),
            Word::Well => (self.well, self.is_ailing) = (self.well + 1, false),
            Word::Error(_, why) => {
                let unknown = why.contains("unknown whether") || why.contains("no answer");
                *if unknown { &mut self.unknown } else { &mut self.refused } += 1;
                self.last.clone_from(why);
            }
            Word::Read(_) if self.is_ailing => self.read += 1,
            Word::Unread(_, why) if self.is_ailing => self.unread.push(why.clone()),
            _ => {}
        }
    }
}
