//! The `coppicer` command: runs recorded sessions as supervised threads, works on the store that keeps
//! them, and checks, shows and forks session files.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
