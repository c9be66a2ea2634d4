//! The `coppicer` command: runs recorded sessions as supervised threads, and checks, shows and
//! forks their files.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
