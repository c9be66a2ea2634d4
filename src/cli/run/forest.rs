//! Rebuilds trees of threads from what their metas say of their parents.

use std::collections::{BTreeMap, BTreeSet};

use coppicer::{AgentPath, ThreadId};

use super::load::{Session, meta_line};
use super::problem::Problem;

/// Where one thread stands in its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) thread: ThreadId,
    pub(super) parent: Option<ThreadId>,
    pub(super) depth: u32,
    /// Its path, if it has one that no other thread of its tree has.
    pub(super) path: Option<AgentPath>,
}

/// Parents that no session is of: a store may have them.
pub(super) fn parents_elsewhere(sessions: &BTreeMap<ThreadId, Session>) -> BTreeSet<ThreadId> {
    let parents = sessions.values().filter_map(|session| session.meta.parent);
    parents.filter(|parent| !sessions.contains_key(parent)).collect()
}

/// The places of all threads that can run, parents before children. `stored`: threads that the store
/// has, with their depths.
pub(super) fn plant(
    sessions: &BTreeMap<ThreadId, Session>,
    stored: &BTreeMap<ThreadId, u32>,
    problems: &mut Vec<Problem>,
) -> Vec<Place> {
    let mut parents = BTreeMap::new();
    for (&thread, session) in sessions {
        let parent = session.meta.parent;
        let elsewhere = parent.filter(|parent| !sessions.contains_key(parent));
        if let Some(parent) = elsewhere.filter(|parent| !stored.contains_key(parent)) {
            let (path, line) = (session.path.clone(), meta_line(&session.path));
            problems.push(Problem::NoParent { thread, parent, path, line });
        }
        parents.insert(thread, parent.filter(|parent| sessions.contains_key(parent)));
    }
    // What hangs on a thread of the store is no root.
    let hangs = |root: ThreadId| {
        let parent = sessions[&root].meta.parent?;
        stored.get(&parent).map(|depth| (parent, depth + 1))
    };
    let Grown { order, cycles, stay } = grow(&parents);
    for cycle in cycles {
        let files = cycle.iter().filter_map(|thread| sessions.get(thread));
        let mut way: Vec<_> = files.map(|session| session.path.clone()).collect();
        way.rotate_left(1);
        let (thread, path) = (cycle[0], sessions[&cycle[0]].path.clone());
        let line = meta_line(&path);
        problems.push(Problem::ParentCycle { thread, path, line, way });
    }
    for (thread, parent) in stay {
        let path = sessions[&thread].path.clone();
        let line = meta_line(&path);
        problems.push(Problem::ParentStays { thread, parent, path, line });
    }
    let mut taken = BTreeSet::new();
    order
        .into_iter()
        .map(|Standing { thread, parent, depth, root }| {
            let (parent, depth) = match hangs(root) {
                Some((above, below)) => (parent.or(Some(above)), depth + below),
                None => (parent, depth),
            };
            let text = sessions[&thread].meta.agent_path.as_deref();
            let path = text.and_then(|text| text.parse::<AgentPath>().ok());
            let path = path.filter(|path| parent.is_some() && taken.insert((root, path.clone())));
            Place { thread, parent, depth, path }
        })
        .collect()
}

/// A thread that is reached from a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    thread: ThreadId,
    parent: Option<ThreadId>,
    depth: u32,
    root: ThreadId,
}

#[derive(Debug, Default)]
struct Grown {
    /// Parents before children, by depth, then id.
    order: Vec<Standing>,
    /// Threads that are their own ancestors.
    cycles: Vec<Vec<ThreadId>>,
    /// Threads below a cycle, with their parents.
    stay: Vec<(ThreadId, ThreadId)>,
}

/// Pure: every parent that is named is a key.
fn grow(parents: &BTreeMap<ThreadId, Option<ThreadId>>) -> Grown {
    let mut children: BTreeMap<ThreadId, Vec<ThreadId>> = BTreeMap::new();
    let mut grown = Grown::default();
    for (&thread, &parent) in parents {
        match parent {
            Some(parent) => children.entry(parent).or_default().push(thread),
            None => grown.order.push(Standing { thread, parent: None, depth: 0, root: thread }),
        }
    }
    let mut reached: BTreeSet<ThreadId> = grown.order.iter().map(|at| at.thread).collect();
    let mut next = 0;
    while let Some(&Standing { thread: above, depth, root, .. }) = grown.order.get(next) {
        next += 1;
        for &thread in children.get(&above).into_iter().flatten() {
            reached.insert(thread);
            grown.order.push(Standing { thread, parent: Some(above), depth: depth + 1, root });
        }
    }
    // What no root reaches leads up into a cycle.
    let mut in_cycle = BTreeSet::new();
    for &start in parents.keys().filter(|thread| !reached.contains(thread)) {
        let mut way = Vec::new();
        let mut on_way = BTreeSet::new();
        let mut at = start;
        while on_way.insert(at) {
            way.push(at);
            match parents[&at] {
                Some(parent) => at = parent,
                None => break,
            }
        }
        let from = way.iter().position(|&thread| thread == at).unwrap_or(way.len());
        if !in_cycle.contains(&at) {
            in_cycle.extend(way[from..].iter().copied());
            grown.cycles.push(way[from..].to_vec());
        }
    }
    for (&thread, &parent) in parents {
        if let Some(parent) = parent
            && !reached.contains(&thread)
            && !in_cycle.contains(&thread)
        {
            grown.stay.push((thread, parent));
        }
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ThreadId {
        ThreadId::from_parts(1_000, [number; 10])
    }

    fn grown(edges: &[(u8, Option<u8>)]) -> Grown {
        grow(&edges.iter().map(|&(thread, parent)| (id(thread), parent.map(id))).collect())
    }

    #[test]
    fn parents_come_before_children_with_their_depth() {
        let grown = grown(&[(3, Some(2)), (2, Some(9)), (9, None), (1, Some(9)), (5, None)]);
        let order: Vec<_> = grown.order.iter().map(|at| (at.thread, at.depth, at.root)).collect();
        assert_eq!(
            order,
            [
                (id(5), 0, id(5)),
                (id(9), 0, id(9)),
                (id(1), 1, id(9)),
                (id(2), 1, id(9)),
                (id(3), 2, id(9)),
            ]
        );
        assert!(grown.cycles.is_empty() && grown.stay.is_empty());
    }

    #[test]
    fn a_cycle_is_found_once_and_what_hangs_below_it_stays() {
        let grown = grown(&[
            (1, Some(2)),
            (2, Some(3)),
            (3, Some(1)),
            (4, Some(1)),
            (5, Some(4)),
            (6, None),
        ]);
        assert_eq!(grown.order.len(), 1);
        assert_eq!(grown.cycles, [vec![id(1), id(2), id(3)]]);
        assert_eq!(grown.stay, [(id(4), id(1)), (id(5), id(4))]);
    }

    #[test]
    fn a_thread_can_be_its_own_parent_in_a_broken_file() {
        let grown = grown(&[(1, Some(1)), (2, None)]);
        assert_eq!(grown.cycles, [vec![id(1)]]);
        assert_eq!(grown.order.len(), 1);
    }
}
