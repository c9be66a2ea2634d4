//! Who is above a thread: a shared list, one link per thread.

use std::sync::Arc;

use coppicer_messages::ThreadId;

/// The ancestors of a thread, nearest first. Threads of one tree share the links, so that each costs
/// one link however deep it is.
#[derive(Debug, Clone, Default)]
pub struct Lineage(Option<Arc<Link>>);

#[derive(Debug)]
struct Link {
    parent: ThreadId,
    above: Lineage,
}

impl Lineage {
    /// The lineage of the children of `parent`, whose own lineage this is.
    #[must_use]
    pub fn below(&self, parent: ThreadId) -> Self {
        Self(Some(Arc::new(Link { parent, above: self.clone() })))
    }

    /// The ancestors, nearest first.
    pub fn iter(&self) -> impl Iterator<Item = ThreadId> {
        std::iter::successors(self.0.as_deref(), |link| link.above.0.as_deref())
            .map(|link| link.parent)
    }

    /// Whether `thread` is above.
    pub fn contains(&self, thread: ThreadId) -> bool {
        self.iter().any(|ancestor| ancestor == thread)
    }

    /// How many are above.
    pub fn depth(&self) -> u32 {
        self.iter().count() as u32
    }

    /// The root of the tree; none for a root itself.
    pub fn root(&self) -> Option<ThreadId> {
        self.iter().last()
    }
}

impl Drop for Lineage {
    /// Unlinks one by one: a deep tree must not overflow the stack when its last thread goes.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(link) = next {
            match Arc::try_unwrap(link) {
                Ok(mut link) => next = link.above.0.take(),
                Err(_) => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lineage_of_a_million_levels_is_dropped_without_recursion() {
        let id = |n: u64| ThreadId::from_parts(n, [0; 10]);
        let deep = (0..1_000_000).fold(Lineage::default(), |above, n| above.below(id(n)));
        assert!(deep.contains(id(0)) && !deep.contains(id(1_000_000)));
        assert_eq!((deep.depth(), deep.root()), (1_000_000, Some(id(0))));
        drop(deep);
    }
}
