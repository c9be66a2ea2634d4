//! Lists of threads: what to look for, in which order, and cursors that stay where they are while
//! threads come and go.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use coppicer_messages::{StoreError, ThreadId};

use super::StoredThread;

/// Whether threads of the archive are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Archived {
    /// Only those that are not in it.
    #[default]
    No,
    /// Only those that are.
    Only,
    /// Both.
    Any,
}

/// What a list is sorted by. Threads with the same time are sorted by id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortBy {
    /// By id, which for ids made here is by creation.
    Id,
    /// By the time at which they were made.
    #[default]
    Created,
    /// By the time at which a turn of theirs last began or ended.
    Updated,
}

/// In which direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

/// Which threads to list. Conditions add up; REF 5.2 has the same ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadQuery {
    /// Whether those in the archive count.
    pub archived: Archived,
    /// Text that stands in the name, title, preview, nickname or path, upper and lower case alike
    /// (ASCII).
    pub search: Option<String>,
    /// Kinds of sessions; `None` for all.
    pub sources: Option<Vec<String>>,
    /// Working directories; `None` for all, and an empty list for none.
    pub cwds: Option<Vec<String>>,
    /// Models; `None` for all.
    pub models: Option<Vec<String>>,
    /// Only threads without a parent.
    pub roots_only: bool,
    /// What they are sorted by.
    pub sort: SortBy,
    /// In which direction.
    pub order: Order,
    /// Where the page before ended.
    pub after: Option<ThreadCursor>,
    /// Most threads of this page, at most [`PAGE_MAX`](Self::PAGE_MAX).
    pub count: usize,
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ThreadPage {
    /// The threads.
    pub threads: Vec<StoredThread>,
    /// Where the next page begins; none if this was the last.
    pub next: Option<ThreadCursor>,
}

impl ThreadQuery {
    /// Most threads of one page.
    pub const PAGE_MAX: usize = 1_000;

    /// Threads of a page where nothing else is said.
    pub const PAGE: usize = 25;

    /// The newest threads that are not in the archive.
    pub fn new() -> Self {
        Self { count: Self::PAGE, ..Self::default() }
    }

    /// Every thread, archived ones too, by id.
    pub fn all() -> Self {
        Self {
            archived: Archived::Any,
            sort: SortBy::Id,
            order: Order::Ascending,
            count: Self::PAGE_MAX,
            ..Self::default()
        }
    }

    /// Sets whether those in the archive count.
    #[must_use]
    pub const fn archived(mut self, archived: Archived) -> Self {
        self.archived = archived;
        self
    }

    /// Sets the text to look for.
    #[must_use]
    pub fn search(mut self, text: impl Into<String>) -> Self {
        self.search = Some(text.into());
        self
    }

    /// Sets the order.
    #[must_use]
    pub const fn sorted(mut self, sort: SortBy, order: Order) -> Self {
        self.sort = sort;
        self.order = order;
        self
    }

    /// Goes on behind this place.
    #[must_use]
    pub fn after(mut self, cursor: Option<ThreadCursor>) -> Self {
        self.after = cursor;
        self
    }

    /// Sets the size of a page.
    #[must_use]
    pub const fn take(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// Only threads without a parent.
    #[must_use]
    pub const fn roots(mut self) -> Self {
        self.roots_only = true;
        self
    }

    /// Only threads of these working directories.
    #[must_use]
    pub fn in_cwds(mut self, cwds: Vec<String>) -> Self {
        self.cwds = Some(cwds);
        self
    }

    /// Whether `thread` meets the conditions.
    pub fn matches(&self, thread: &StoredThread) -> bool {
        let archived = match self.archived {
            Archived::No => thread.archived_ms.is_none(),
            Archived::Only => thread.archived_ms.is_some(),
            Archived::Any => true,
        };
        let one_of = |list: &Option<Vec<String>>, value: Option<&String>| match list {
            None => true,
            Some(list) => value.is_some_and(|value| list.contains(value)),
        };
        archived
            && !(self.roots_only && thread.parent.is_some())
            && one_of(&self.sources, thread.config.source.as_ref())
            && one_of(&self.cwds, thread.config.cwd.as_ref())
            && one_of(&self.models, thread.config.model.as_ref())
            && self.search.as_deref().is_none_or(|text| says(thread, text))
    }

    /// The place of `thread` in a list of this order.
    pub fn cursor_of(&self, thread: &StoredThread) -> ThreadCursor {
        let key = match self.sort {
            SortBy::Id => 0,
            SortBy::Created => thread.created_ms,
            SortBy::Updated => thread.updated_ms,
        };
        ThreadCursor { sort: self.sort, key, thread: thread.id }
    }

    /// The order of two places.
    pub fn compare(&self, one: &ThreadCursor, other: &ThreadCursor) -> Ordering {
        let rising = (one.key, one.thread).cmp(&(other.key, other.thread));
        match self.order {
            Order::Ascending => rising,
            Order::Descending => rising.reverse(),
        }
    }

    /// How many threads this page may have.
    pub fn page(&self) -> usize {
        self.count.min(Self::PAGE_MAX)
    }

    /// The place where it begins, if it is one of this order.
    ///
    /// # Errors
    /// The cursor is one of another order.
    pub fn begin(&self) -> Result<Option<ThreadCursor>, StoreError> {
        match self.after {
            Some(cursor) if cursor.sort != self.sort => {
                Err(StoreError::BadCursor { cursor: cursor.to_string() })
            }
            after => Ok(after),
        }
    }

    /// The page that this query has among `threads`, for stores without an index.
    ///
    /// # Errors
    /// `BadCursor`.
    pub fn page_of(
        &self,
        threads: impl IntoIterator<Item = StoredThread>,
    ) -> Result<ThreadPage, StoreError> {
        let begin = self.begin()?;
        let mut found: Vec<(ThreadCursor, StoredThread)> = threads
            .into_iter()
            .filter(|thread| self.matches(thread))
            .map(|thread| (self.cursor_of(&thread), thread))
            .filter(|(at, _)| begin.is_none_or(|begin| self.compare(at, &begin).is_gt()))
            .collect();
        found.sort_unstable_by(|one, other| self.compare(&one.0, &other.0));
        let more = found.len() > self.page();
        found.truncate(self.page());
        let next = found.last().filter(|_| more).map(|(at, _)| *at);
        Ok(ThreadPage { threads: found.into_iter().map(|(_, thread)| thread).collect(), next })
    }
}

fn says(thread: &StoredThread, text: &str) -> bool {
    let path = thread.path.as_ref().map(ToString::to_string);
    let fields = [
        &thread.details.name,
        &thread.details.title,
        &thread.details.preview,
        &thread.config.nickname,
        &path,
    ];
    let text = text.to_ascii_lowercase();
    fields.into_iter().flatten().any(|field| field.to_ascii_lowercase().contains(&text))
}

/// A place in a list: behind one thread. Its text can be kept and read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadCursor {
    sort: SortBy,
    key: u64,
    thread: ThreadId,
}

impl ThreadCursor {
    /// Behind this id, in a list that is sorted by id.
    pub const fn behind(thread: ThreadId) -> Self {
        Self { sort: SortBy::Id, key: 0, thread }
    }

    /// The time that the list is sorted by, in milliseconds since the Unix epoch; 0 by id.
    pub const fn key(&self) -> u64 {
        self.key
    }

    /// The thread that it is behind.
    pub const fn thread(&self) -> ThreadId {
        self.thread
    }
}

impl fmt::Display for ThreadCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = match self.sort {
            SortBy::Id => "id",
            SortBy::Created => "created",
            SortBy::Updated => "updated",
        };
        write!(f, "{sort}:{}:{}", self.key, self.thread)
    }
}

impl FromStr for ThreadCursor {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let read = || {
            let (sort, rest) = text.split_once(':')?;
            let (key, thread) = rest.split_once(':')?;
            let sort = match sort {
                "id" => SortBy::Id,
                "created" => SortBy::Created,
                "updated" => SortBy::Updated,
                _ => return None,
            };
            Some(Self { sort, key: key.parse().ok()?, thread: thread.parse().ok()? })
        };
        read().ok_or_else(|| StoreError::BadCursor { cursor: text.chars().take(64).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_the_same_after_it_was_text_and_ls_29_another_text_is_refused() {
        let cursor = ThreadCursor {
            sort: SortBy::Updated,
            key: 7,
            thread: ThreadId::from_parts(1, [2; 10]),
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in
            ["", "not-a-cursor", "id:0", "id:x:0197f0a2-4c11-7d3e-9a55-0c6f3a1b2c3d", "id:0:x"]
        {
            let refused = bad.parse::<ThreadCursor>().unwrap_err();
            assert!(matches!(refused, StoreError::BadCursor { .. }), "{bad}");
        }
        let query = ThreadQuery::new().after(Some(cursor));
        assert!(query.page_of([]).is_err(), "a cursor of another order is none of this list");
    }
}
