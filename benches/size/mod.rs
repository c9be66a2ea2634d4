//! How much a bench does, by its arguments.

/// How much a bench does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Size {
    /// Whether it runs at all: `cargo test`, or `-- --test`.
    Smoke,
    /// `-- --quick`.
    Quick,
    /// `cargo bench`.
    Full,
}

impl Size {
    /// Cargo passes `--bench` to a bench that it measures, and not to one that it tests: criterion goes
    /// by that too.
    pub(crate) fn of_args() -> Self {
        let has = |flag: &str| std::env::args().any(|arg| arg == flag);
        if !has("--bench") || has("--test") {
            Self::Smoke
        } else if has("--quick") {
            Self::Quick
        } else {
            Self::Full
        }
    }

    /// Whether `cargo test` asks for other tests than the bench of this name, or only for their names.
    pub(crate) fn is_left_out(self, bench: &str) -> bool {
        let mut filters = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
        let only_names = std::env::args().any(|arg| arg == "--list");
        let by_name = filters.peek().is_some() && !filters.any(|filter| bench.contains(&filter));
        matches!(self, Self::Smoke) && (only_names || by_name)
    }

    /// The value for the size.
    #[allow(dead_code, reason = "some benches have one size")]
    pub(crate) fn pick<T>(self, smoke: T, quick: T, full: T) -> T {
        match self {
            Self::Smoke => smoke,
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}
