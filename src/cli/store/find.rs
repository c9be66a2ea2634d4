//! Finds the thread that a user means: by its id, the beginning of its id, or what it is called.

use coppicer::{StoreError, StoredThread, ThreadCursor, ThreadId, ThreadQuery, ThreadStore};

use super::row::label_of;
use crate::cli::called::{Ambiguous, CANDIDATES_MAX, PREFIX_MIN, cut, is_called};

/// Why no thread is meant.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum FindError {
    #[error(
        "the store has no thread `{text}`; `coppicer threads --all` lists all (THREAD is an id, \
         {PREFIX_MIN} or more characters of its beginning, a name or a path)"
    )]
    Nobody { text: String },
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    #[error("cannot look for thread `{text}`")]
    Store {
        text: String,
        #[source]
        source: StoreError,
    },
}

/// The one thread that `text` means.
pub(in crate::cli) async fn find(
    store: &dyn ThreadStore,
    text: &str,
) -> Result<StoredThread, FindError> {
    let failed = |source| FindError::Store { text: cut(text), source };
    if let Ok(id) = text.parse::<ThreadId>() {
        match store.thread(id).await {
            Err(StoreError::NotFound { .. }) => {}
            found => return found.map_err(failed),
        }
    }
    let mut found = by_prefix(store, text).await.map_err(failed)?;
    for thread in by_name(store, text).await.map_err(failed)? {
        if !found.iter().any(|other| other.id == thread.id) {
            found.push(thread);
        }
    }
    match found.len() {
        0 => Err(FindError::Nobody { text: cut(text) }),
        1 => Ok(found.remove(0)),
        _ => {
            let name = |thread: &StoredThread| format!("{}  {}", thread.id, label_of(thread));
            Err(Ambiguous::new(text, found.iter().map(name).collect()).into())
        }
    }
}

/// Threads whose ids begin with `text`; more than are named only if there are.
async fn by_prefix(store: &dyn ThreadStore, text: &str) -> Result<Vec<StoredThread>, StoreError> {
    const SHAPE: &str = "00000000-0000-0000-0000-000000000000";
    let text = text.to_ascii_lowercase();
    if text.len() < PREFIX_MIN || text.len() > SHAPE.len() || !text.is_ascii() {
        return Ok(Vec::new());
    }
    let Ok(first) = format!("{text}{}", &SHAPE[text.len()..]).parse::<ThreadId>() else {
        return Ok(Vec::new());
    };
    let behind = before(first).map(ThreadCursor::behind);
    let query = ThreadQuery::all().take(CANDIDATES_MAX + 1).after(behind);
    let mut threads = store.list(query).await?.threads;
    threads.retain(|thread| thread.id.to_string().starts_with(&text));
    Ok(threads)
}

/// Threads that are called `text`, or whose path is that or ends in it.
async fn by_name(store: &dyn ThreadStore, text: &str) -> Result<Vec<StoredThread>, StoreError> {
    let mut found = Vec::new();
    if text.is_empty() {
        return Ok(found);
    }
    let mut after = None;
    loop {
        let page = store.list(ThreadQuery::all().search(text).after(after)).await?;
        found.extend(page.threads.into_iter().filter(|thread| is_meant(thread, text)));
        match page.next {
            Some(next) if found.len() <= CANDIDATES_MAX => after = Some(next),
            _ => return Ok(found),
        }
    }
}

fn is_meant(thread: &StoredThread, text: &str) -> bool {
    let path = thread.path.as_ref().map(ToString::to_string);
    let names = [thread.details.name.as_deref(), thread.config.nickname.as_deref()];
    is_called(text, path.as_deref(), names)
}

/// The id before this one; none before the first.
pub(in crate::cli) fn before(thread: ThreadId) -> Option<ThreadId> {
    let number = u128::from_str_radix(&thread.to_string().replace('-', ""), 16).ok()?;
    format!("{:032x}", number.checked_sub(1)?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_before_another_is_the_next_smaller_one() {
        let id = |text: &str| text.parse::<ThreadId>().unwrap();
        assert_eq!(
            before(id("0197f0a2-0000-0000-0000-000000000000")),
            Some(id("0197f0a1-ffff-ffff-ffff-ffffffffffff"))
        );
        assert_eq!(before(id("00000000-0000-0000-0000-000000000000")), None);
    }
}
