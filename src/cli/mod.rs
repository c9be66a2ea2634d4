//! The command line: one module per subcommand.
//!
//! Results go to standard output, messages to standard error. Exit codes: 0 all is well, 1 something
//! is wrong with the input or the work, 2 wrong usage, 130 ended by an interrupt.

mod archive;
mod called;
mod check;
#[cfg(feature = "console")]
mod console;
mod diff;
mod duration;
mod export;
mod files;
mod fork;
mod history;
mod memory;
mod out;
mod run;
#[cfg(feature = "console")]
mod serve;
mod show;
mod store;
mod stress;
mod tap;
mod text;
mod threads;
mod tree;
mod verify;
#[cfg(feature = "console")]
mod why;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs recorded agent sessions as supervised threads, works on the store that keeps them, and checks,
/// shows and forks session files.
///
/// Results go to standard output, messages to standard error. Exit codes: 0 if all is well, 1 if
/// something is wrong with the input or the work, 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(name = "coppicer", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    #[cfg(feature = "console")]
    Serve(serve::Args),
    Threads(threads::Args),
    Show(show::Args),
    Tree(tree::Args),
    Import(run::import::Args),
    Export(export::Args),
    Archive(archive::ArchiveArgs),
    Unarchive(archive::UnarchiveArgs),
    Delete(archive::DeleteArgs),
    Verify(verify::Args),
    Check(check::Args),
    History(history::Args),
    Fork(fork::Args),
    Diff(diff::Args),
    Stress(stress::Args),
    Tap(tap::Args),
    #[cfg(feature = "console")]
    Why(why::Args),
}

/// Why a command ended early. The text is all that the user sees.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Read(#[from] coppicer::ReadError),
    #[error(transparent)]
    Resolve(#[from] coppicer::ResolveError),
    #[error(transparent)]
    Files(#[from] files::FilesError),
    #[error(transparent)]
    Out(#[from] out::OutError),
    #[error(transparent)]
    Fork(#[from] fork::Refused),
    #[error(transparent)]
    Open(#[from] store::OpenFailure),
    #[error(transparent)]
    Find(#[from] store::find::FindError),
    #[error("the store cannot do it")]
    StoreAsked(#[source] coppicer::StoreError),
    #[error("{}: the store of this run refused it", path.display())]
    Store {
        path: PathBuf,
        #[source]
        source: coppicer::StoreError,
    },
    #[error("cannot start the runtime")]
    Start(#[source] coppicer::StartError),
    #[error(transparent)]
    Stress(#[from] stress::Broken),
    #[error(transparent)]
    Tap(coppicer::TapError),
    #[error(transparent)]
    Recording(coppicer::RecordError),
    #[cfg(feature = "console")]
    #[error("cannot start the console")]
    Console(#[source] coppicer::ConsoleError),
    #[cfg(feature = "console")]
    #[error("cannot make a folder for the console's token")]
    Folder(#[source] io::Error),
    #[cfg(feature = "console")]
    #[error(transparent)]
    Live(#[from] tap::live::LiveFailure),
    #[cfg(feature = "console")]
    #[error(transparent)]
    Which(#[from] why::WhichError),
    #[error("cannot write the result")]
    Stdout(#[source] io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Stdout(error)
    }
}

/// How a command ended: whether everything was well with the input and the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Well,
    Flawed,
    Interrupted,
}

impl Verdict {
    fn of(well: bool) -> Self {
        if well { Self::Well } else { Self::Flawed }
    }
}

pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    let ended = match args.command {
        Command::Run(args) => run::run(&args),
        #[cfg(feature = "console")]
        Command::Serve(args) => serve::run(&args),
        Command::Threads(args) => threads::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Tree(args) => tree::run(&args),
        Command::Import(args) => run::import::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Archive(args) => archive::archive(&args),
        Command::Unarchive(args) => archive::unarchive(&args),
        Command::Delete(args) => archive::delete(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Check(args) => check::run(&args),
        Command::History(args) => history::run(&args),
        Command::Fork(args) => fork::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Stress(args) => stress::run(&args),
        Command::Tap(args) => tap::run(&args),
        #[cfg(feature = "console")]
        Command::Why(args) => why::run(&args),
    };
    match ended {
        Ok(Verdict::Well) => ExitCode::SUCCESS,
        Ok(Verdict::Flawed) => ExitCode::from(1),
        Ok(Verdict::Interrupted) => ExitCode::from(130),
        // Nobody reads on: `coppicer … | head` is no failure.
        Err(Failure::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&format!("error: {}", text::with_causes(&failure)));
            ExitCode::from(1)
        }
    }
}

/// Tells the user something beside the result. That nobody listens is no failure.
fn say(message: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text::printable(message));
}
