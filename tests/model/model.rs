//! The model: what hosts were told, and what must be so because of it. Pure: no runtime, no store.
//!
//! Where operations overlap, more than one thing may be so: the model keeps the set.

use std::collections::BTreeMap;

use coppicer::{EdgeStatus, SubmissionId, ThreadId};

/// What the store may say of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) parent: Option<ThreadId>,
    open: bool,
    closed: bool,
}

/// Something under way that changes edges.
#[derive(Debug, Clone, Copy)]
enum Change {
    Close(ThreadId),
    Resume(Option<ThreadId>),
}

/// What hosts know.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Threads that some host was told of, oldest first.
    pub(crate) threads: Vec<ThreadId>,
    /// Accepted submissions.
    pub(crate) receipts: Vec<(ThreadId, SubmissionId)>,
    edges: BTreeMap<ThreadId, Edge>,
    under_way: BTreeMap<u64, Change>,
    /// Changes that met another one that touches the same edge.
    met: BTreeMap<u64, bool>,
    next: u64,
}

impl Edge {
    /// Whether the store may say this.
    pub(crate) fn allows(self, said: Option<(ThreadId, EdgeStatus)>) -> bool {
        match (self.parent, said) {
            (None, None) => true,
            (Some(parent), Some((said, status))) => {
                let may = if status == EdgeStatus::Open { self.open } else { self.closed };
                parent == said && may
            }
            _ => false,
        }
    }
}

impl Change {
    /// Whether both touch one edge and want it otherwise.
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Close(thread), Self::Resume(of)) | (Self::Resume(of), Self::Close(thread)) => {
                of.is_none_or(|of| of == thread)
            }
            _ => false,
        }
    }
}

impl Model {
    /// A host was told that there is a thread.
    pub(crate) fn spawned(&mut self, thread: ThreadId, parent: Option<ThreadId>) {
        self.threads.push(thread);
        self.edges.insert(thread, Edge { parent, open: true, closed: false });
    }

    /// The thread that a number names.
    pub(crate) fn pick(&self, number: usize) -> ThreadId {
        self.threads[number % self.threads.len()]
    }

    fn begin(&mut self, change: Change) -> u64 {
        self.next += 1;
        let mut meets = false;
        for (id, other) in &self.under_way {
            if other.meets(change) {
                meets = true;
                self.met.insert(*id, true);
            }
        }
        self.met.insert(self.next, meets);
        self.under_way.insert(self.next, change);
        self.next
    }

    /// A close begins: from now on the edge may be closed.
    pub(crate) fn closing(&mut self, thread: ThreadId) -> u64 {
        // One that was spawned by a turn is not in the model before a host asks about it.
        if let Some(edge) = self.edges.get_mut(&thread) {
            edge.closed = true;
        }
        self.begin(Change::Close(thread))
    }

    /// A close answered; `surely`: that the edge is closed.
    pub(crate) fn closed(&mut self, id: u64, surely: bool) {
        let met = self.met.remove(&id).unwrap_or(true);
        if let Some(Change::Close(thread)) = self.under_way.remove(&id)
            && let Some(edge) = self.edges.get_mut(&thread)
            && surely
            && !met
        {
            edge.open = false;
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
            if let Change::Close(thread) = change
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

    pub(crate) fn edges(&self) -> impl Iterator<Item = (ThreadId, Edge)> {
        self.edges.iter().map(|(thread, edge)| (*thread, *edge))
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
        model.spawned(root, None);
        model.spawned(child, Some(root));
        let said = |status| Some((root, status));
        let edge = |model: &Model| model.edges[&child];
        assert!(edge(&model).allows(said(EdgeStatus::Open)));
        assert!(!edge(&model).allows(said(EdgeStatus::Closed)));
        let close = model.closing(child);
        assert!(edge(&model).allows(said(EdgeStatus::Closed)));
        model.closed(close, true);
        assert!(!edge(&model).allows(said(EdgeStatus::Open)));
        let resume = model.resuming(Some(child));
        let close = model.closing(child);
        model.closed(close, true);
        model.resumed(resume);
        assert!(edge(&model).allows(said(EdgeStatus::Open)));
        assert!(edge(&model).allows(said(EdgeStatus::Closed)));
        assert!(!edge(&model).allows(None));
    }
}
