//! Moves against a plain map of parents.

use std::collections::BTreeMap;

use coppicer_actors::{Door, SlotCommon, ThreadView, Uplink};
use coppicer_messages::{LeaseBook, LeaseKind, ThreadConfig, TreeLimits};
use proptest::prelude::*;

use super::super::{Life, Place, Rules};
use super::*;

fn id(n: u64) -> ThreadId {
    ThreadId::from_parts(n, [0; 10])
}

#[derive(Default)]
struct Plant {
    table: Table,
    leases: Arc<LeaseBook>,
    parents: BTreeMap<u64, Option<u64>>,
}

impl Plant {
    fn root_of(&self, mut n: u64) -> u64 {
        while let Some(parent) = self.parents[&n] {
            n = parent;
        }
        n
    }

    fn is_within(&self, mut n: u64, top: u64) -> bool {
        loop {
            match self.parents[&n] {
                _ if n == top => return true,
                Some(parent) => n = parent,
                None => return false,
            }
        }
    }

    fn grow(&mut self, n: u64, parent: Option<u64>, config: &ThreadConfig) {
        self.parents.insert(n, parent);
        let above = parent.and_then(|parent| self.table.get(id(parent)));
        let lineage = above.map_or_else(Lineage::default, |above| {
            above.slot.about().lineage.below(above.slot.thread())
        });
        let path = above.and_then(|above| above.path.clone()).unwrap_or_else(AgentPath::root);
        let path = Some(path.join(&format!("n{n}")).unwrap());
        let depth = lineage.depth();
        let about =
            About { thread: id(n), parent: parent.map(id), path: path.clone(), depth, lineage };
        let uplink = Uplink::new(|_| true);
        let mut view = ThreadView::of(id(n));
        (view.parent, view.depth) = (parent.map(id), depth);
        let leases = self.leases.clone();
        let common = SlotCommon { inbox_max: 8, control_max: 8, leases, uplink };
        let slot = Arc::new(Slot::new(Arc::new(about), view, Arc::new(common), Door::Open));
        let lease = self.leases.grant_to(LeaseKind::Slot, slot.holdings());
        let root = id(self.root_of(n));
        let tree = config.tree;
        let place = Place { thread: id(n), parent: parent.map(id), root, depth, path, tree };
        self.table.insert(place, slot, Rules::of(config), Life::Dormant, lease);
    }

    fn put(&mut self, n: u64, to: Option<u64>) {
        let path = |n: u64| self.table.get(id(n)).and_then(|entry| entry.path.clone());
        let name = path(n);
        let parent = to.and_then(path);
        let renaming = to.map(|_| Renaming::below(parent.as_ref(), name.as_ref()).unwrap());
        let replaced = self.table.reparent(id(n), to.map(id), renaming.flatten().as_ref());
        for Replaced { slot, about, .. } in replaced {
            assert!(slot.move_to(about));
        }
        if self.parents.contains_key(&n) {
            self.parents.insert(n, to);
        }
    }

    /// SV-8.
    fn check(&self) {
        let mut members: BTreeMap<ThreadId, Vec<ThreadId>> = BTreeMap::new();
        for (&n, &parent) in &self.parents {
            let root = id(self.root_of(n));
            members.entry(root).or_default().push(id(n));
            let Some(entry) = self.table.get(id(n)) else { continue };
            assert_eq!((entry.parent, entry.root), (parent.map(id), root));
            let about = entry.slot.about();
            assert_eq!((about.parent, &about.path), (entry.parent, &entry.path));
            let mut above = Vec::new();
            let mut at = parent;
            while let Some(parent) = at {
                above.push(id(parent));
                at = self.parents[&parent];
            }
            assert_eq!(about.lineage.iter().collect::<Vec<_>>(), above, "of {n}");
            assert_eq!(about.depth as usize, above.len());
            assert_eq!(
                (entry.slot.view().parent, entry.slot.view().depth),
                (about.parent, about.depth)
            );
            let stray = parent.is_some_and(|parent| self.table.get(id(parent)).is_none());
            assert_eq!(self.table.is_stray(id(n)), stray);
            let tree = &self.table.trees[&root];
            let path = entry.path.as_ref().unwrap();
            assert_eq!(tree.names.paths.get(path), Some(&id(n)));
            let parent = parent.and_then(|parent| self.table.get(id(parent)));
            if let Some(above) = parent.and_then(|parent| parent.path.as_ref()) {
                assert!(path.is_within(above), "{path} below {above}");
            }
        }
        for (root, tree) in &self.table.trees {
            let mut here: Vec<ThreadId> = tree.members.values().copied().collect();
            here.sort_unstable();
            let mut known = members.remove(root).unwrap_or_default();
            known.retain(|id| self.table.get(*id).is_some());
            assert_eq!(here, known);
        }
        let rows = self.table.children.values().map(BTreeMap::len).sum::<usize>();
        let with_parent = |entry: &&Entry| entry.parent.is_some();
        let entries = self.parents.keys().filter_map(|&n| self.table.get(id(n)));
        assert_eq!(rows, entries.filter(with_parent).count());
    }
}

proptest! {
    #[test]
    fn sv_8_a_branch_is_whole_wherever_it_is_put(
        parents in prop::collection::vec(any::<prop::sample::Index>(), 2..24),
        moves in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8), 1..24),
        leaves in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut plant = Plant::default();
        let count = parents.len() as u64;
        for (n, parent) in (0..count).zip(&parents) {
            let parent = (n > 1).then(|| parent.index(n as usize) as u64);
            plant.grow(n, parent, &ThreadConfig::default());
        }
        plant.check();
        for leaf in leaves {
            // Some sleep in the store alone, and are above others all the same.
            drop(plant.table.leave(id(leaf.index(count as usize) as u64)));
        }
        for (thread, to, how) in moves {
            let thread = thread.index(count as usize) as u64;
            let to = (how > 0).then(|| to.index(count as usize) as u64);
            let here = |n: u64| plant.table.get(id(n)).is_some();
            let fits = to.is_none_or(|to| here(to) && !plant.is_within(to, thread));
            if fits && (here(thread) || to.is_none()) && plant.parents[&thread] != to {
                plant.put(thread, to);
                plant.check();
            }
        }
    }
}

#[test]
fn a_close_covers_all_but_the_branches_that_go_on() {
    let mut plant = Plant::default();
    let (closes, goes_on) = (ThreadConfig::default(), ThreadConfig::default().detached());
    plant.grow(1, None, &goes_on);
    for (n, parent, config) in [
        (2, 1, &closes),
        (3, 1, &goes_on),
        (4, 3, &closes),
        (5, 2, &goes_on),
        (6, 2, &closes),
        (7, 5, &goes_on),
    ] {
        plant.grow(n, Some(parent), config);
    }
    let ids = |ns: &[u64]| ns.iter().copied().map(id).collect::<Vec<_>>();
    let branch = plant.table.branch(id(1));
    assert_eq!((branch.closes, branch.goes_on), (ids(&[1, 2, 6]), ids(&[3, 5])));
    // One that closes by itself, and one that is being made, go with the rest.
    plant.table.get_mut(id(3)).unwrap().closing = true;
    plant.table.get_mut(id(5)).unwrap().making = Some(9);
    let branch = plant.table.branch(id(1));
    assert_eq!((branch.closes, branch.goes_on), (ids(&[1, 2, 3, 5, 6, 4]), ids(&[7])));
}

#[test]
fn what_has_no_entry_and_goes_on_takes_along_what_is_below_it() {
    let mut plant = Plant::default();
    for n in 1..=4 {
        plant.grow(n, (n > 1).then(|| n - 1), &ThreadConfig::default());
    }
    let path = plant.table.get(id(2)).unwrap().path.clone();
    drop(plant.table.leave(id(2)));
    let branch = plant.table.branch(id(1));
    assert_eq!(branch.closes, [id(1), id(3), id(4)]);
    plant.table.get_mut(id(3)).unwrap().apart = vec![(id(2), path.clone())].into_boxed_slice();
    let branch = plant.table.branch(id(1));
    assert_eq!((branch.closes, branch.goes_on), (vec![id(1)], vec![id(2)]));
    let absent = plant.table.absent(id(2)).unwrap();
    assert_eq!(absent.path, path);
    assert_eq!(absent.lineage.iter().collect::<Vec<_>>(), [id(1)]);
    plant.put(2, None);
    plant.check();
    assert_eq!(plant.table.get(id(4)).unwrap().slot.about().depth, 2);
    assert_eq!(plant.table.branch(id(1)).goes_on, []);
}

#[test]
fn limits_of_the_new_tree_hold_for_the_whole_branch() {
    let mut plant = Plant::default();
    let tree = |limits| ThreadConfig::default().with_tree(limits);
    let tight = TreeLimits::new().with_depth_max(2).with_children_max(2).with_tree_max(4);
    plant.grow(1, None, &tree(tight));
    plant.grow(2, Some(1), &ThreadConfig::default());
    plant.grow(3, None, &tree(TreeLimits::new().with_tree_max(2)));
    for (n, parent) in [(4, 3), (5, 4), (6, 3)] {
        plant.grow(n, Some(parent), &ThreadConfig::default());
    }
    let admit = |plant: &Plant, n, to: Option<u64>| match plant.table.admit_branch(
        id(n),
        to.map(id),
        &Limits::default(),
    ) {
        Ok(()) => "fits",
        Err(AdoptError::Limit(reached)) => reached.limit,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(admit(&plant, 4, Some(2)), "depth_max", "2, and one below it");
    assert_eq!(admit(&plant, 3, Some(1)), "depth_max");
    assert_eq!(admit(&plant, 4, Some(1)), "fits");
    assert_eq!(admit(&plant, 6, Some(2)), "fits");
    plant.grow(7, Some(2), &ThreadConfig::default());
    assert_eq!(admit(&plant, 4, Some(1)), "tree_max");
    assert_eq!(admit(&plant, 7, Some(1)), "fits", "it is of that tree already");
    plant.put(7, Some(1));
    assert_eq!(admit(&plant, 6, Some(1)), "children_max");
    // A root has the limits of its own.
    plant.put(6, None);
    assert_eq!(plant.table.tree_limits(id(6)), Some(TreeLimits::new()));
    assert_eq!(admit(&plant, 4, None), "fits");
}

#[test]
fn a_name_is_the_last_of_a_path_and_what_has_none_gets_none() {
    let path = |text: &str| text.parse::<AgentPath>().unwrap();
    let below = |parent: &str, name: &str| Renaming::below(Some(&path(parent)), Some(&path(name)));
    let renaming = below("/root/a", "/root/x/y").unwrap().unwrap();
    assert_eq!(renaming.of(&path("/root/x/y")), Ok(Some(path("/root/a/y"))));
    assert_eq!(renaming.of(&path("/root/x/y/z")), Ok(Some(path("/root/a/y/z"))));
    assert_eq!(renaming.of(&path("/root/x/yy")), Ok(None));
    assert_eq!(below("/root/a", "/root/a/y"), Ok(None));
    assert_eq!(below("/root/a", "/root"), Ok(None), "a root's path is no name");
    assert_eq!(Renaming::below(Some(&path("/root/a")), None), Ok(None));
    let long = format!("/root/{}", "x".repeat(AgentPath::BYTES_MAX - 8));
    assert!(matches!(below(&long, "/root/yy"), Err(PathError::TooLong { .. })));
}
