//! Crash tests of Coppicer's store: see the library of the same name.

fn main() -> std::process::ExitCode {
    coppicer_reliability::cli::main()
}
