//! Moves within the table: a branch below another parent, or as a tree of its own. O(branch).
//!
//! SV-8: after a move every thread of the branch is in one tree, the one of its root, with its name,
//! and has above it what is above it; nothing of it is left where it was.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use coppicer_actors::{About, Lineage, Slot};
use coppicer_messages::{
    AdoptError, AgentPath, LimitReached, Limits, ParentClose, PathError, ThreadId,
};

use super::{Entry, HOLDERS_MAX, Table, Tree, tighter};

/// What a close of a thread covers, and what below it goes on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Branch {
    /// Those that close, parents before children.
    pub(crate) closes: Vec<ThreadId>,
    /// Those that go on with all below them, as roots. They need not have an entry.
    pub(crate) goes_on: Vec<ThreadId>,
}

/// How paths of a branch change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Renaming {
    from: AgentPath,
    to: AgentPath,
}

impl Renaming {
    /// What becomes of the paths below a thread called `name` that goes below a parent called
    /// `parent`. A thread without a name has none there either, and what is below it keeps its own.
    ///
    /// # Errors
    /// The path would be none.
    pub(crate) fn below(
        parent: Option<&AgentPath>,
        name: Option<&AgentPath>,
    ) -> Result<Option<Self>, PathError> {
        let Some(from) = name.filter(|name| !name.is_root()) else { return Ok(None) };
        let to = parent.cloned().unwrap_or_else(AgentPath::root).join(from.name())?;
        Ok((to != *from).then(|| Self { from: from.clone(), to }))
    }

    /// The new path of one thread of the branch; none if it keeps its own.
    ///
    /// # Errors
    /// It would be too long.
    pub(crate) fn of(&self, path: &AgentPath) -> Result<Option<AgentPath>, PathError> {
        let renamed = path.renamed(&self.from, &self.to)?;
        Ok((renamed != *path).then_some(renamed))
    }
}

/// What is known of a thread that has no entry from one below it that has.
#[derive(Debug, Clone)]
pub(crate) struct Absent {
    pub(crate) lineage: Lineage,
    pub(crate) path: Option<AgentPath>,
}

impl Entry {
    /// The path of a thread above this one, if that goes on when its parent is closed.
    fn parts(&self, above: ThreadId) -> Option<&Option<AgentPath>> {
        self.apart.iter().find(|(id, _)| *id == above).map(|(_, path)| path)
    }
}

/// A thread of a branch that was moved: what is to be said of it from now on.
pub(crate) struct Replaced {
    pub(crate) slot: Arc<Slot>,
    pub(crate) about: About,
    /// Whether its path is another one.
    pub(crate) renamed: bool,
}

impl Table {
    /// What a close of `thread` covers.
    pub(crate) fn branch(&self, thread: ThreadId) -> Branch {
        let mut branch = Branch::default();
        if self.entries.contains_key(&thread) {
            branch.closes.push(thread);
        }
        self.split_below(&mut branch, 0);
        for (_, stray) in self.strays_below(thread) {
            let Some(entry) = self.entries.get(&stray) else { continue };
            let lineage = &entry.slot.about().lineage;
            let between: Vec<ThreadId> = lineage.iter().take_while(|&id| id != thread).collect();
            if between.iter().any(|id| branch.goes_on.contains(id)) {
                continue;
            }
            // The topmost that parts it from what closes.
            let apart = between.iter().rev().find(|id| entry.parts(**id).is_some());
            if let Some(&apart) = apart {
                branch.goes_on.push(apart);
            } else if self.goes_on(stray) {
                branch.goes_on.push(stray);
            } else {
                let at = branch.closes.len();
                branch.closes.push(stray);
                self.split_below(&mut branch, at);
            }
        }
        branch
    }

    fn split_below(&self, branch: &mut Branch, mut at: usize) {
        while let Some(&parent) = branch.closes.get(at) {
            for child in self.children(parent) {
                if self.goes_on(child) {
                    branch.goes_on.push(child);
                } else if self.entries.contains_key(&child) {
                    branch.closes.push(child);
                }
            }
            at += 1;
        }
    }

    /// Whether a thread goes on when its parent is closed. One that is being made is not yet
    /// anybody's, and one that closes by itself does so.
    fn goes_on(&self, thread: ThreadId) -> bool {
        self.entries.get(&thread).is_some_and(|entry| {
            let goes_on = entry.rules.parent_close == ParentClose::Detach;
            goes_on && entry.making.is_none() && !entry.closing
        })
    }

    /// Threads without a parent here that are below `thread`, nearest first.
    pub(super) fn strays_below(&self, thread: ThreadId) -> Vec<(u32, ThreadId)> {
        let mut strays: Vec<(u32, ThreadId)> = self
            .strays
            .iter()
            .filter_map(|stray| Some((self.entries.get(stray)?.slot.about(), *stray)))
            .filter(|(about, _)| about.lineage.contains(thread))
            .map(|(about, stray)| (about.depth, stray))
            .collect();
        strays.sort_unstable();
        strays
    }

    /// Whether the store may say of a thread that it is elsewhere than it is.
    pub(crate) fn is_between_places(&self, thread: ThreadId) -> bool {
        let moves = |entry: &Entry| entry.unplaced || entry.trouble.moving.is_some();
        self.unplaced.contains(&thread) || self.get(thread).is_some_and(moves)
    }

    /// The store is to write where a thread is, whether or not it has an entry.
    pub(crate) fn is_to_be_placed(&mut self, thread: ThreadId) {
        match self.entries.get_mut(&thread) {
            Some(entry) => entry.unplaced = true,
            None => drop(self.unplaced.insert(thread)),
        }
    }

    /// The store has written it.
    pub(crate) fn is_placed(&mut self, thread: ThreadId) {
        self.unplaced.remove(&thread);
        if let Some(entry) = self.entries.get_mut(&thread) {
            entry.unplaced = false;
        }
    }

    /// What is known of a thread without an entry that goes on when its parent is closed.
    pub(crate) fn absent(&self, thread: ThreadId) -> Option<Absent> {
        self.strays.iter().find_map(|stray| {
            let entry = self.entries.get(stray)?;
            let path = entry.parts(thread)?.clone();
            let lineage = &entry.slot.about().lineage;
            let above: Vec<ThreadId> = lineage.iter().skip_while(|id| *id != thread).collect();
            let above = above.into_iter().skip(1).rev();
            let lineage = above.fold(Lineage::default(), |lineage, id| lineage.below(id));
            Some(Absent { lineage, path })
        })
    }

    /// Whether a branch may be put below `to`, or be a tree of its own. Changes nothing.
    pub(crate) fn admit_branch(
        &self,
        thread: ThreadId,
        to: Option<ThreadId>,
        limits: &Limits,
    ) -> Result<(), AdoptError> {
        let reached = |limit, value: u64, holders, advice| {
            let retry_after = None;
            Err(AdoptError::Limit(LimitReached { limit, value, holders, retry_after, advice }))
        };
        let branch = self.subtree(thread);
        let depth_of = |id: ThreadId| self.entries.get(&id).map_or(0, |it| it.slot.about().depth);
        let top = depth_of(thread);
        let height = branch.iter().map(|&id| depth_of(id).saturating_sub(top)).max().unwrap_or(0);
        let parent = to.and_then(|to| self.entries.get(&to));
        let tree = parent.and_then(|parent| self.trees.get(&parent.root));
        let own = self.entries.get(&thread).map(|entry| entry.rules.tree).unwrap_or_default();
        let allowed = tree.map_or(own, |tree| *tree.limits);
        let depth = parent.map_or(0, |parent| parent.slot.about().depth + 1) + height;
        let depth_max = tighter(limits.depth_max, allowed.depth_max);
        if depth > depth_max {
            let advice = "put it below a thread that is nearer to its root";
            return reached("depth_max", depth_max.into(), Vec::new(), advice);
        }
        let tree_max = tighter(limits.tree_max, allowed.tree_max);
        let root = self.entries.get(&thread).map_or(thread, |entry| entry.root);
        let stays = parent.is_some_and(|parent| parent.root == root);
        let others = if stays { 0 } else { tree.map_or(0, |tree| tree.members.len()) };
        if !stays && others + branch.len() > tree_max {
            let members = tree.into_iter().flat_map(|tree| tree.members.values());
            let holders = members.copied().take(HOLDERS_MAX).collect();
            return reached("tree_max", tree_max as u64, holders, "close a thread of that tree");
        }
        let children_max = tighter(limits.children_max, allowed.children_max);
        let siblings = to.and_then(|to| self.children.get(&to));
        if siblings.map_or(0, BTreeMap::len) >= children_max && to.is_some() {
            let holders = siblings.into_iter().flat_map(|siblings| siblings.values());
            let holders = holders.copied().take(HOLDERS_MAX).collect();
            let advice = "close a sub-agent of the new parent";
            return reached("children_max", children_max as u64, holders, advice);
        }
        Ok(())
    }

    /// The paths of a branch that change, as far as its threads are here.
    ///
    /// # Errors
    /// One would be too long.
    pub(crate) fn renamed(
        &self,
        thread: ThreadId,
        renaming: &Renaming,
    ) -> Result<Vec<(ThreadId, AgentPath)>, PathError> {
        let mut renamed = Vec::new();
        for id in self.subtree(thread) {
            let path = self.entries.get(&id).and_then(|entry| entry.path.as_ref());
            if let Some(path) = path.map(|path| renaming.of(path)).transpose()?.flatten() {
                renamed.push((id, path));
            }
        }
        Ok(renamed)
    }

    /// The paths of a branch, as far as its threads are here.
    pub(crate) fn paths_of(&self, thread: ThreadId) -> Vec<(ThreadId, AgentPath)> {
        let path = |id: ThreadId| Some((id, self.entries.get(&id)?.path.clone()?));
        self.subtree(thread).into_iter().filter_map(path).collect()
    }

    /// Puts a branch below `to`, which has an entry, or makes it a tree of its own. Its top is the
    /// last among its new siblings. The top need not have an entry, if it becomes a root.
    pub(crate) fn reparent(
        &mut self,
        thread: ThreadId,
        to: Option<ThreadId>,
        renaming: Option<&Renaming>,
    ) -> Vec<Replaced> {
        let branch = self.subtree(thread);
        let above = to.and_then(|to| self.entries.get(&to));
        let root = above.map_or(thread, |above| above.root);
        let lineage = above.map_or_else(Lineage::default, |above| {
            let about = above.slot.about();
            about.lineage.below(about.thread)
        });
        // Where it was.
        let from = self.entries.get(&thread).map(|entry| (entry.parent, entry.order));
        if let Some((Some(parent), order)) = from
            && let Some(siblings) = self.children.get_mut(&parent)
        {
            siblings.remove(&order);
            if siblings.is_empty() {
                self.children.remove(&parent);
            }
        }
        self.strays.remove(&thread);
        let names = self.take_out(&branch, thread);
        // Where it goes.
        if let Some(entry) = self.entries.get_mut(&thread) {
            self.next_order += 1;
            entry.order = self.next_order;
            entry.parent = to;
            if let Some(to) = to {
                self.children.entry(to).or_default().insert(entry.order, thread);
            }
        }
        let limits = self.entries.get(&thread).map(|entry| entry.rules.tree).unwrap_or_default();
        let new = || Tree { limits: limits.into(), ..Tree::default() };
        let mut lineages: HashMap<ThreadId, Lineage> = HashMap::from([(thread, lineage)]);
        let mut replaced = Vec::with_capacity(branch.len());
        for id in branch {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.root = root;
            let name = entry.path.as_ref().zip(renaming);
            let name = name.and_then(|(path, renaming)| renaming.of(path).ok().flatten());
            let renamed = name.is_some();
            if renamed {
                entry.path = name;
            }
            let lineage = entry
                .parent
                .filter(|_| id != thread)
                .and_then(|parent| Some(lineages.get(&parent)?.below(parent)))
                .unwrap_or_else(|| moved_lineage(entry.slot.about(), thread, &lineages[&thread]));
            lineages.insert(id, lineage.clone());
            let about = About {
                thread: id,
                parent: entry.parent,
                path: entry.path.clone(),
                depth: lineage.depth(),
                lineage,
            };
            replaced.push(Replaced { slot: entry.slot.clone(), about, renamed });
            let tree = self.trees.entry(root).or_insert_with(new);
            tree.members.insert(entry.order, id);
            if let Some(path) = entry.path.clone() {
                tree.names.paths.insert(path, id);
            }
            if let Some(name) = entry.slot.view().nickname {
                tree.names.nicknames.take(&name);
            }
        }
        if let Some(tree) = self.trees.get_mut(&root) {
            for (path, holder) in names {
                let renamed = renaming.and_then(|renaming| renaming.of(&path).ok().flatten());
                tree.names.paths.entry(renamed.unwrap_or(path)).or_insert(holder);
            }
        }
        // Of those of the branch that are in the store alone not all names are here.
        self.forget_names(root);
        replaced
    }

    /// Takes a branch out of its tree. The names of those below it that left memory, which go with
    /// it.
    fn take_out(&mut self, branch: &[ThreadId], thread: ThreadId) -> Vec<(AgentPath, ThreadId)> {
        let first = branch.iter().find_map(|id| self.entries.get(id));
        let Some(root) = first.map(|entry| entry.root) else { return Vec::new() };
        let mut names = Vec::new();
        let Some(tree) = self.trees.get_mut(&root) else { return names };
        for entry in branch.iter().filter_map(|id| self.entries.get(id)) {
            tree.members.remove(entry.order);
            if let Some(path) = &entry.path
                && tree.names.paths.get(path) == Some(&entry.slot.thread())
            {
                tree.names.paths.remove(path);
            }
        }
        if let Some(path) = self.entries.get(&thread).and_then(|entry| entry.path.as_ref()) {
            let from = (Bound::Excluded(path.clone()), Bound::Unbounded);
            let below = tree.names.paths.range(from).take_while(|(name, _)| name.is_within(path));
            names = below
                .filter(|(_, holder)| !self.entries.contains_key(*holder))
                .map(|(name, holder)| (name.clone(), *holder))
                .collect();
            for (name, _) in &names {
                tree.names.paths.remove(name);
            }
        }
        if tree.members.is_empty() {
            self.trees.remove(&root);
        }
        names
    }
}

/// The lineage of a thread below `top` that has no parent here, once `above` is above `top`.
fn moved_lineage(about: &About, top: ThreadId, above: &Lineage) -> Lineage {
    if about.thread == top {
        return above.clone();
    }
    let mut between: Vec<ThreadId> = Vec::new();
    for id in about.lineage.iter() {
        between.push(id);
        if id == top {
            break;
        }
    }
    between.into_iter().rev().fold(above.clone(), |above, id| above.below(id))
}

#[cfg(test)]
#[path = "reparent_tests.rs"]
mod tests;
