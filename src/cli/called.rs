//! What a user calls a thread by: its id, the beginning of that, a name or a path.

/// Characters of an id that say which one is meant, at least.
pub(super) const PREFIX_MIN: usize = 4;

/// Candidates that are named.
pub(super) const CANDIDATES_MAX: usize = 10;

/// Characters that are shown of what a user called a thread.
const SHOWN_MAX: usize = 64;

/// What a user wrote can be any of several threads.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` can be any of these threads; write more of the id:{}", list(candidates))]
pub(super) struct Ambiguous {
    text: String,
    candidates: Vec<String>,
}

impl Ambiguous {
    pub(super) fn new(text: &str, candidates: Vec<String>) -> Self {
        Self { text: cut(text), candidates }
    }
}

fn list(candidates: &[String]) -> String {
    let shown = candidates.iter().take(CANDIDATES_MAX).map(|one| format!("\n  {one}"));
    let more = if candidates.len() > CANDIDATES_MAX { "\n  …" } else { "" };
    shown.chain([more.to_owned()]).collect()
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// Whether `text` is one of these names, the path, or the last part of it.
pub(super) fn is_called<const N: usize>(
    text: &str,
    path: Option<&str>,
    names: [Option<&str>; N],
) -> bool {
    let last = path.and_then(|path| path.rsplit('/').next());
    let names = names.into_iter().chain([path, last]).flatten();
    !text.is_empty() && names.into_iter().any(|name| name == text)
}
