//! The model: what hosts were told, and what must be so because of it. Pure: no runtime, no store.
//!
//! Where operations overlap, more than one thing may be so: the model keeps the set.

use std::collections::{BTreeMap, BTreeSet};

use coppicer::{EdgeStatus, SubmissionId, ThreadId};

/// What the store may say of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edge {
    /// Parents that the thread may have.
    pub(crate) parents: BTreeSet<Option<ThreadId>>,
    /// Whether it goes on when its parent is closed.
    detaches: bool,
    open: bool,
    closed: bool,
}

/// Something under way that changes edges.
#[derive(Debug, Clone)]
enum Change {
    /// With the threads that may be roots because of it, and were not sure to be before.
    Close(ThreadId, Vec<ThreadId>),
    Resume(Option<ThreadId>),
    /// Whether its new parent is one that it was not sure to have before.
    Adopt(ThreadId, bool),
}

/// What hosts know.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Threads that some host was told of, oldest first.
    pub(crate) threads: Vec<ThreadId>,
    /// Accepted submissions.
    pub(crate) receipts: Vec<(ThreadId, SubmissionId)>,
    /// Whether threads may close by themselves, by their rules.
    pub(crate) by_themselves: bool,
    edges: BTreeMap<ThreadId, Edge>,
    under_way: BTreeMap<u64, Change>,
    /// Changes that met another one that touches the same edge.
    met: BTreeMap<u64, bool>,
    next: u64,
}

impl Edge {
    /// Whether the store may say this.
    pub(crate) fn allows(&self, said: Option<(ThreadId, EdgeStatus)>) -> bool {
        let may = match said {
            None | Some((_, EdgeStatus::Open)) => self.open,
            Some((_, EdgeStatus::Closed)) => self.closed,
        };
        // A root has no edge that could be closed.
        let parent = said.map(|(parent, _)| parent);
        self.parents.contains(&parent) && (may || parent.is_none())
    }
}

impl Change {
    /// Whether both touch one edge and want it otherwise.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Close(thread, _), Self::Resume(of))
            | (Self::Resume(of), Self::Close(thread, _)) => of.is_none_or(|of| of == *thread),
            (Self::Adopt(thread, _), Self::Adopt(other, _)) => thread == other,
            // A close moves what goes on, and ends what is to move.
            (Self::Adopt(..) | Self::Close(..), Self::Close(..))
            | (Self::Close(..), Self::Adopt(..)) => true,
            // Both open edges.
            (Self::Adopt(..) | Self::Resume(_), Self::Resume(_))
            | (Self::Resume(_), Self::Adopt(..)) => false,
        }
    }
}

impl Model {
    /// A host was told that there is a thread.
    pub(crate) fn spawned(&mut self, thread: ThreadId, parent: Option<ThreadId>, detaches: bool) {
        self.threads.push(thread);
        // It may have gone on without its parent before its host was told.
        let closing = self.under_way.values().any(|it| matches!(it, Change::Close(..)));
        let mut parents = BTreeSet::from([parent]);
        let closing = closing || self.by_themselves;
        parents.extend((closing && detaches).then_some(None));
        let closed = self.by_themselves;
        self.edges.insert(thread, Edge { parents, detaches, open: true, closed });
    }

    /// The thread that a number names.
    pub(crate) fn pick(&self, number: usize) -> ThreadId {
        self.threads[number % self.threads.len()]
    }

    fn begin(&mut self, change: Change) -> u64 {
        self.next += 1;
        let mut meets = false;
        for (id, other) in &self.under_way {
            if other.meets(&change) {
                meets = true;
                self.met.insert(*id, true);
            }
        }
        self.met.insert(self.next, meets);
        self.under_way.insert(self.next, change);
        self.next
    }

    /// A close begins: from now on the edge may be closed, and whatever goes on may be a root.
    pub(crate) fn closing(&mut self, thread: ThreadId) -> u64 {
        // One that was spawned by a turn is not in the model before a host asks about it.
        if let Some(edge) = self.edges.get_mut(&thread) {
            edge.closed = true;
        }
        let mut may = Vec::new();
        for (id, edge) in self.edges.iter_mut().filter(|(_, edge)| edge.detaches) {
            if edge.parents.insert(None) {
                may.push(*id);
            }
        }
        self.begin(Change::Close(thread, may))
    }

    /// A close answered; `surely`: that what it says is written.
    pub(crate) fn closed(&mut self, id: u64, surely: bool, detached: &[ThreadId]) {
        let met = self.met.remove(&id).unwrap_or(true);
        let Some(Change::Close(thread, may)) = self.under_way.remove(&id) else { return };
        if !surely || met {
            return;
        }
        if let Some(edge) = self.edges.get_mut(&thread) {
            edge.open = false;
        }
        for id in may.into_iter().filter(|_| !self.by_themselves) {
            if let Some(edge) = self.edges.get_mut(&id) {
                edge.parents.remove(&None);
            }
        }
        for id in detached {
            if let Some(edge) = self.edges.get_mut(id) {
                edge.parents = BTreeSet::from([None]);
            }
        }
    }

    /// A thread is to have another parent.
    pub(crate) fn adopting(&mut self, thread: ThreadId, to: Option<ThreadId>) -> u64 {
        let edge = self.edges.get_mut(&thread);
        let new = edge.is_some_and(|edge| edge.parents.insert(to));
        self.begin(Change::Adopt(thread, new))
    }

    /// It has, or has not; none if that is not known.
    pub(crate) fn adopted(&mut self, id: u64, to: Option<ThreadId>, whether: Option<bool>) {
        let met = self.met.remove(&id).unwrap_or(true);
        let Some(Change::Adopt(thread, new)) = self.under_way.remove(&id) else { return };
        let Some(edge) = self.edges.get_mut(&thread).filter(|_| !met) else { return };
        match (whether, new) {
            (Some(true), _) => {
                edge.parents = BTreeSet::from([to]);
                // Its new parent may be closed at any time.
                let may = self.by_themselves && edge.detaches;
                edge.parents.extend(may.then_some(None));
            }
            (Some(false), true) => drop(edge.parents.remove(&to)),
            _ => {}
        }
    }

    /// A resume begins: of a thread, or of what is below it too. From now on edges may be open.
    pub(crate) fn resuming(&mut self, thread: Option<ThreadId>) -> u64 {
        match thread {
            Some(thread) => {
                if let Some(edge) = self.edges.get_mut(&thread) {
                    edge.open = true;
                }
            }
            None => self.edges.values_mut().for_each(|edge| edge.open = true),
        }
        self.begin(Change::Resume(thread))
    }

    /// A resume answered. One that found the thread live has not touched its edge.
    pub(crate) fn resumed(&mut self, id: u64) {
        self.under_way.remove(&id);
        self.met.remove(&id);
    }

    /// The host is gone: what was under way may or may not have been done.
    pub(crate) fn host_gone(&mut self) {
        for change in std::mem::take(&mut self.under_way).into_values() {
            if let Change::Close(thread, _) = change
                && let Some(edge) = self.edges.get_mut(&thread)
            {
                (edge.open, edge.closed) = (true, true);
            }
        }
        self.met.clear();
    }

    /// A host that was let go of may still carry out any of what was asked.
    pub(crate) fn host_let_go(&mut self) {
        self.host_gone();
        for edge in self.edges.values_mut() {
            edge.open = true;
        }
    }

    pub(crate) fn edges(&self) -> impl Iterator<Item = (ThreadId, &Edge)> {
        self.edges.iter().map(|(thread, edge)| (*thread, edge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (ThreadId, ThreadId) {
        (ThreadId::from_parts(1, [1; 10]), ThreadId::from_parts(1, [2; 10]))
    }

    #[test]
    fn a_close_by_itself_closes_and_one_that_meets_a_resume_may_not_have() {
        let (root, child) = ids();
        let mut model = Model::default();
        model.spawned(root, None, false);
        model.spawned(child, Some(root), false);
        let said = |status| Some((root, status));
        let edge = |model: &Model| model.edges[&child].clone();
        assert!(edge(&model).allows(said(EdgeStatus::Open)));
        assert!(!edge(&model).allows(said(EdgeStatus::Closed)));
        let close = model.closing(child);
        assert!(edge(&model).allows(said(EdgeStatus::Closed)));
        model.closed(close, true, &[]);
        assert!(!edge(&model).allows(said(EdgeStatus::Open)));
        let resume = model.resuming(Some(child));
        let close = model.closing(child);
        model.closed(close, true, &[]);
        model.resumed(resume);
        assert!(edge(&model).allows(said(EdgeStatus::Open)));
        assert!(edge(&model).allows(said(EdgeStatus::Closed)));
        assert!(!edge(&model).allows(None));
    }

    #[test]
    fn a_thread_is_where_hosts_were_told_and_in_either_place_meanwhile() {
        let (root, child) = ids();
        let mut model = Model::default();
        model.spawned(root, None, false);
        model.spawned(child, Some(root), true);
        let below = Some((root, EdgeStatus::Open));
        let allows = |model: &Model, said| model.edges[&child].allows(said);
        assert!(allows(&model, below) && !allows(&model, None));
        let close = model.closing(root);
        assert!(allows(&model, below) && allows(&model, None));
        model.closed(close, true, &[child]);
        assert!(!allows(&model, below) && allows(&model, None));
        let adoption = model.adopting(child, Some(root));
        assert!(allows(&model, below) && allows(&model, None));
        model.adopted(adoption, Some(root), Some(false));
        assert!(!allows(&model, below) && allows(&model, None));
        let adoption = model.adopting(child, Some(root));
        model.adopted(adoption, Some(root), Some(true));
        assert!(allows(&model, below) && !allows(&model, None));
        let adoption = model.adopting(child, None);
        let close = model.closing(root);
        model.adopted(adoption, None, Some(true));
        model.closed(close, true, &[]);
        assert!(allows(&model, below) && allows(&model, None), "they met");
    }
}
