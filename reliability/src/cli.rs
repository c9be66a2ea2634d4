//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::child;
use crate::faults::{Faults, faults};
use crate::flips::{Flips, flips};
use crate::kill::{Kill, OpenKill, kill, open_kill};
use crate::power::{Power, power, raw_child};
use crate::session::TestError;
use crate::tally::Tally;
use crate::zombie::{Zombie, zombie};

/// Crash tests of Coppicer's store, each with an oracle outside of the process that is killed.
///
/// Prints one line of counts. Exit codes: 0 if every promise held or the test is skipped here, 1 if
/// one was broken or the test could not be carried out, 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(name = "coppicer-reliability", version, max_term_width = 100)]
struct Args {
    /// Replays the choices of a run; every run prints its own.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kills a child at any moment, again and again.
    Kill(Kill),
    /// Kills a child during the very first opening of a store.
    OpenKill(OpenKill),
    /// Takes the power away from a file system that a child's store is on.
    Power(Power),
    /// Has calls of the operating system fail under a child's store, and fills its disk.
    Faults(Faults),
    /// Flips single bits of a store's file.
    Flips(Flips),
    /// Lets a turn that was fenced off go on after its thread was resumed.
    Zombie(Zombie),
    /// Writes and flushes numbers, for a control.
    #[command(hide = true)]
    RawChild {
        /// The file.
        file: std::path::PathBuf,
        /// Acknowledges also what could not be flushed.
        #[arg(long)]
        careless: bool,
    },
    /// The process that is killed.
    #[command(hide = true)]
    Child(ChildArgs),
}

#[derive(Debug, clap::Args)]
struct ChildArgs {
    #[command(flatten)]
    args: child::Args,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let Args { seed, command } = Args::parse();
    match run(seed, command) {
        Ok(code) => code,
        // The parent was told through the pipe.
        Err(error) if error.downcast_ref::<child::ChildError>().is_some() => ExitCode::FAILURE,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            eprintln!("seed {seed}: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(seed: u64, command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let program = std::env::current_exe()?;
    let tally: Result<Tally, TestError> = match command {
        Command::Kill(args) => kill(&args, seed, &program),
        Command::OpenKill(args) => open_kill(&args, seed, &program),
        Command::Power(args) => power(&args, seed, &program),
        Command::Faults(args) => faults(&args, seed, &program),
        Command::Flips(args) => flips(&args, seed),
        Command::Zombie(args) => zombie(&args, seed),
        Command::RawChild { file, careless } => {
            raw_child(&file, careless)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Child(ChildArgs { args }) => {
            let args = child::Args { seed, ..args };
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            runtime.block_on(child::run(args))?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    Ok(tally?.report())
}
