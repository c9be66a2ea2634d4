//! What the threads of a tree are called, as far as they are here, or were.

use coppicer_messages::{AgentPath, ThreadId};

use super::{Table, Tree};
use crate::nicknames::Round;

impl Table {
    /// Whether another thread of the tree has this path.
    pub(crate) fn is_taken(&self, root: ThreadId, path: &AgentPath, by_not: ThreadId) -> bool {
        let holder = self.trees.get(&root).and_then(|tree| tree.names.paths.get(path));
        holder.is_some_and(|&holder| holder != by_not)
    }

    /// Takes a path for a thread, if its tree has entries.
    pub(crate) fn take_path(&mut self, root: ThreadId, path: AgentPath, thread: ThreadId) {
        if let Some(tree) = self.trees.get_mut(&root) {
            tree.names.paths.insert(path, thread);
        }
    }

    /// Frees a path that `thread` has.
    pub(crate) fn free_path(&mut self, root: ThreadId, path: &AgentPath, thread: ThreadId) {
        if let Some(tree) = self.trees.get_mut(&root)
            && tree.names.paths.get(path) == Some(&thread)
        {
            tree.names.paths.remove(path);
        }
    }

    /// Chooses a name for a thread that is put into a tree next.
    pub(crate) fn choose_nickname(
        &mut self,
        root: ThreadId,
        candidates: &[String],
        pick: impl FnOnce(usize) -> usize,
    ) -> String {
        self.trees.entry(root).or_default().names.nicknames.choose(candidates, pick)
    }

    /// Notes that the store has threads of a tree whose names are not here.
    pub(crate) fn forget_names(&mut self, root: ThreadId) {
        self.next_order += 1;
        if let Some(tree) = self.trees.get_mut(&root) {
            tree.unread = self.next_order;
            if let Some(names) = tree.names.there() {
                names.nicknames.forget();
            }
        }
    }

    /// Whether it is known which names of a list may be given in a tree, and one may.
    pub(crate) fn knows_nicknames(
        &self,
        root: ThreadId,
        list: Option<&str>,
        names: &[String],
    ) -> bool {
        let knows = |tree: &Tree| tree.unread == 0 || tree.names.nicknames.knows(list, names);
        self.trees.get(&root).is_none_or(knows)
    }

    /// The round whose names of a list are asked for next.
    pub(crate) fn next_round(&self, root: ThreadId, list: Option<&str>) -> u32 {
        self.trees.get(&root).map_or(0, |tree| tree.names.nicknames.next_round(list))
    }

    /// Since when the store has threads of a tree whose names are not here, as a number; none if it
    /// has not.
    pub(crate) fn unread_since(&self, root: ThreadId) -> Option<u64> {
        self.trees.get(&root).map(|tree| tree.unread).filter(|&since| since > 0)
    }

    /// Takes over what the store said of the names of a list, unless that is old: more came that is
    /// not here since then. What has an entry has told its names itself.
    pub(crate) fn learn_nicknames(
        &mut self,
        root: ThreadId,
        since: u64,
        list: Option<&str>,
        round: Round,
    ) {
        if let Some(tree) = self.trees.get_mut(&root).filter(|tree| tree.unread == since) {
            tree.names.nicknames.learn(list, round);
        }
    }

    /// Notes a name that was chosen elsewhere for a thread of a tree that has entries.
    pub(crate) fn take_nickname(&mut self, root: ThreadId, name: &str) {
        if let Some(tree) = self.trees.get_mut(&root) {
            tree.names.nicknames.take(name);
        }
    }
}
