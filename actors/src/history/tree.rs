//! The sealed part of a history: a shared tree of full segments.
//!
//! A vector as a tree with fan-out 32: a change copies the way to one leaf and shares the rest.

use std::sync::Arc;

use coppicer_messages::Record;

/// Records of a full segment. Small enough that copying a shared tail costs about a microsecond,
/// large enough that the tree above stays below one pointer in sixty records.
pub(super) const SEGMENT_RECORDS: usize = 64;

const FAN_OUT: usize = 32;
const FAN_OUT_BITS: u32 = 5;

/// A run of at most [`SEGMENT_RECORDS`] records.
#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    records: Vec<Record>,
}

impl Segment {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Record> {
        self.records.get(at)
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn first(&self, count: usize) -> Self {
        Self {
            records: self.records[..count].to_vec(),
        }
    }

    pub(super) fn push(&mut self, record: Record) {
        // Most threads have few records: grow by doubling from one, not from the default of four.
        if self.records.len() == self.records.capacity() {
            let more = self.records.len().clamp(1, SEGMENT_RECORDS / 2);
            self.records.reserve_exact(more);
        }
        self.records.push(record);
    }
}

#[derive(Debug, Clone)]
enum Node {
    Leaf(Vec<Arc<Segment>>),
    Branch(Vec<Arc<Node>>),
}

/// Full segments, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    root: Option<Arc<Node>>,
    /// How many segments.
    len: usize,
    /// How many levels of branches stand above the leaves.
    height: u32,
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, at: usize) -> Option<&Arc<Segment>> {
        if at >= self.len {
            return None;
        }
        let mut node = self.root.as_deref()?;
        let mut level = self.height;
        loop {
            match node {
                Node::Branch(children) => {
                    node = children.get(slot(at, level))?;
                    level -= 1;
                }
                Node::Leaf(segments) => return segments.get(slot(at, 0)),
            }
        }
    }

    pub(super) fn push(&mut self, segment: Arc<Segment>) {
        if self.len == capacity(self.height) {
            if let Some(root) = self.root.take() {
                self.root = Some(Arc::new(Node::Branch(vec![root])));
                self.height += 1;
            }
        }
        let root = self
            .root
            .get_or_insert_with(|| Arc::new(Node::Leaf(Vec::new())));
        push_under(root, self.height, self.len, segment);
        self.len += 1;
    }

    /// The first `len` segments. Shares all of them, and every node but those on the way to the
    /// last.
    pub(super) fn prefix(&self, len: usize) -> Self {
        let Some(last) = len.checked_sub(1) else {
            return Self::default();
        };
        if len >= self.len {
            return self.clone();
        }
        let (mut root, mut height) = (self.root.clone(), self.height);
        // A tree of a shorter length may need fewer levels.
        while height > 0 && len <= capacity(height - 1) {
            root = match root.as_deref() {
                Some(Node::Branch(children)) => children.first().cloned(),
                _ => root,
            };
            height -= 1;
        }
        Self {
            root: root.map(|root| cut_after(&root, height, last)),
            len,
            height,
        }
    }

    /// How many segments at the front are the same in memory.
    pub(super) fn shared_prefix(&self, other: &Self) -> usize {
        let both = self.len.min(other.len);
        // Sharing has no holes: what comes after an unshared segment is unshared too.
        let same = |at: usize| match (self.get(at), other.get(at)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        let (mut low, mut high) = (0, both);
        while low < high {
            let middle = low + (high - low) / 2;
            if same(middle) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        low
    }
}

/// The child of a node at `level` (0: leaf) on the way to segment `at`.
fn slot(at: usize, level: u32) -> usize {
    (at >> (FAN_OUT_BITS * level)) % FAN_OUT
}

/// The segments that fit under a root of this height.
fn capacity(height: u32) -> usize {
    FAN_OUT.saturating_pow(height + 1)
}

fn push_under(node: &mut Arc<Node>, level: u32, at: usize, segment: Arc<Segment>) {
    match Arc::make_mut(node) {
        Node::Leaf(segments) => segments.push(segment),
        Node::Branch(children) => {
            let slot = slot(at, level);
            if slot == children.len() {
                let empty = if level == 1 {
                    Node::Leaf(Vec::new())
                } else {
                    Node::Branch(Vec::new())
                };
                children.push(Arc::new(empty));
            }
            push_under(&mut children[slot], level - 1, at, segment);
        }
    }
}

fn cut_after(node: &Arc<Node>, level: u32, last: usize) -> Arc<Node> {
    let slot = slot(last, level);
    Arc::new(match &**node {
        Node::Leaf(segments) => Node::Leaf(segments[..=slot].to_vec()),
        Node::Branch(children) => {
            let mut kept = children[..=slot].to_vec();
            if let Some(way) = kept.last_mut() {
                *way = cut_after(way, level - 1, last);
            }
            Node::Branch(kept)
        }
    })
}
