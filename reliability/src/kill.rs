//! `kill`: a child is killed at any moment, again and again, on the same store; nothing of what it
//! acknowledged may be lost, doubled, out of order or half there. `open-kill`: the same during the
//! very first opening of a new file.

use std::path::Path;
use std::time::Duration;

use crate::dice::Dice;
use crate::process::{Next, PATIENCE, Running, Start, now};
use crate::session::{Session, TestError, When, store_in};
use crate::tally::Tally;
use crate::words::Word;

/// How the loop is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Kill {
    /// How many times a child is killed.
    #[arg(long, default_value_t = 300)]
    pub rounds: u64,
    /// Clients, each with a root that is at work; sub-agents and forks come on top.
    #[arg(long, default_value_t = 120)]
    pub threads: u64,
    /// Rounds on one store before the next one is begun.
    #[arg(long, default_value_t = 60)]
    pub store_rounds: u64,
    /// Rounds between two complete checks of what can have changed.
    #[arg(long, default_value_t = 5)]
    pub check_every: u64,
    /// Longest work of a round, in milliseconds.
    #[arg(long, default_value_t = 400)]
    pub work_ms: u64,
    /// A store that is power-safe too: slower, same promises.
    #[arg(long)]
    pub power: bool,
    /// Has the child acknowledge before it is true: the test must fail.
    #[arg(long = "break", hide = true)]
    pub broken: bool,
}

/// Runs the loop.
///
/// # Errors
/// A [`TestError`]: it could not be carried out.
pub fn kill(args: &Kill, seed: u64, program: &Path) -> Result<Tally, TestError> {
    let mut tally = Tally::new("kill");
    tally.add("seed", seed);
    tally.add("clients", args.threads);
    let mut dice = Dice::of(seed, &[1]);
    let mut round = 0;
    while round < args.rounds {
        let folder = tempfile::tempdir().map_err(TestError::io("cannot make a folder"))?;
        let mut start = Start::new(program, &store_in(folder.path()));
        (start.power, start.broken) = (args.power, args.broken);
        let mut session = Session::new(start, seed.wrapping_add(round), args.threads);
        for on_store in 1..=args.store_rounds.min(args.rounds - round) {
            round += 1;
            let when = When::choose(&mut dice, args.work_ms);
            let in_open = session.round(when)?;
            tally.add("rounds", 1);
            tally.add("killed while it opened or recovered", u64::from(in_open));
            if on_store % args.check_every == 0 {
                session.verify(false, false)?;
            }
            if !session.wrong().is_empty() {
                let wrong = format!("after round {round}, seed {seed}: see below");
                tally.wrong.push(wrong);
                tally.take(&session);
                return Ok(tally);
            }
        }
        session.verify(true, false)?;
        if session.wrong().is_empty() && !args.broken {
            session.finish()?;
            session.verify(true, true)?;
        }
        tally.take(&session);
        tally.add("stores", 1);
    }
    Ok(tally)
}

/// How the first opening is killed.
#[derive(Debug, Clone, clap::Args)]
pub struct OpenKill {
    /// How many times.
    #[arg(long, default_value_t = 60)]
    pub rounds: u64,
}

/// Kills the first opening of a new file; it must open afterwards and take work.
///
/// # Errors
/// A [`TestError`]: it could not be carried out.
pub fn open_kill(args: &OpenKill, seed: u64, program: &Path) -> Result<Tally, TestError> {
    let mut tally = Tally::new("open-kill");
    tally.add("seed", seed);
    let mut dice = Dice::of(seed, &[2]);
    let longest = first_opening(seed, program)?.mul_f64(1.1);
    tally.add("an opening in µs", longest.as_micros() as u64);
    for round in 0..args.rounds {
        let folder = tempfile::tempdir().map_err(TestError::io("cannot make a folder"))?;
        let start = Start::new(program, &store_in(folder.path()));
        let mut session = Session::new(start, seed.wrapping_add(round), 3);
        let mut running = Running::start(&session.start, &session.oracle)?;
        running.wait_for(&Word::Opening, "opening", &mut session.oracle)?;
        let after = Duration::from_micros(dice.below(longest.as_micros() as u64));
        let mut opened = false;
        let until = now() + after;
        running.hear_until(until, &mut session.oracle, |word| opened |= *word == Word::Open)?;
        running.kill(&mut session.oracle, |word| opened |= *word == Word::Open)?;
        tally.add("rounds", 1);
        tally.add("killed before it was open", u64::from(!opened));
        tally.add("left half made", u64::from(half_made(folder.path())));

        // It opens, and takes work.
        let mut running = Running::start(&session.start, &session.oracle)?;
        let until = now() + PATIENCE;
        while session.oracle.acks < 3 {
            match running.next(until, &mut session.oracle)? {
                Next::Word(Word::Refused(why)) => {
                    tally.wrong.push(format!("round {round} after {after:?}: {why}"));
                    break;
                }
                Next::Word(_) => {}
                Next::Nothing | Next::End => return Err(running.ended().into()),
            }
        }
        running.kill(&mut session.oracle, |_| {})?;
        session.verify(true, false)?;
        tally.wrong.extend(session.found.iter().map(|it| format!("round {round}: {it}")));
    }
    Ok(tally)
}

/// How long the first opening of a file takes here: moments of kills are spread over that.
fn first_opening(seed: u64, program: &Path) -> Result<Duration, TestError> {
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        let folder = tempfile::tempdir().map_err(TestError::io("cannot make a folder"))?;
        let start = Start::new(program, &store_in(folder.path()));
        let mut session = Session::new(start, seed, 1);
        let mut running = Running::start(&session.start, &session.oracle)?;
        running.wait_for(&Word::Opening, "opening", &mut session.oracle)?;
        let begun = now();
        running.wait_for(&Word::Open, "open", &mut session.oracle)?;
        longest = longest.max(begun.elapsed());
    }
    Ok(longest)
}

/// Whether a file under a temporary name was left.
fn half_made(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name.contains(".tmp-"))
}
