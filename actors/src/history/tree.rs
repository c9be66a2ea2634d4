//! The sealed part of a history: a shared tree of full segments.
//!
//! A vector as a tree with fan-out 32: a change copies the way to one leaf and shares the rest.

use std::sync::Arc;

use coppicer_messages::{Record, RecordClass};

use super::starts::{ManyStarts, Starts, TurnHash};

/// Records of a full segment. Small enough that copying a shared tail costs about a microsecond,
/// large enough that the tree above stays below one pointer in sixty records.
pub(super) const SEGMENT_RECORDS: usize = 64;

const FAN_OUT: usize = 32;
const FAN_OUT_BITS: u32 = 5;

/// Levels whose full nodes know which turns start below them: 2,048 and 65,536 records. Above them
/// there are few nodes, and noting the turns would take too long at once.
const SEALED_LEVELS: u32 = 2;

/// Records that are counted per stretch, so that one is found by its number without a look at the
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// User messages (REF 2.3).
    UserMessages,
    /// Places from which a sub-agent may inherit (REF 2.9).
    ForkTurns,
    /// Rollbacks.
    Rollbacks,
    /// Session metas: of the thread, and of those that it was forked from.
    Metas,
}

impl Counted {
    pub(super) fn has(self, class: &RecordClass) -> bool {
        match self {
            Self::UserMessages => matches!(class, RecordClass::UserMessage),
            Self::ForkTurns => {
                matches!(class, RecordClass::UserMessage | RecordClass::Envelope { trigger: true })
            }
            Self::Rollbacks => matches!(class, RecordClass::RolledBack { .. }),
            Self::Metas => matches!(class, RecordClass::Meta),
        }
    }
}

/// What a stretch of records holds, so that planning need not look at each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Summary {
    user_messages: u64,
    fork_turns: u64,
    rollbacks: u64,
    metas: u64,
    starts: Starts,
}

impl Summary {
    fn of(record: &Record) -> Self {
        let counted = |what: Counted| u64::from(what.has(&record.class));
        Self {
            user_messages: counted(Counted::UserMessages),
            fork_turns: counted(Counted::ForkTurns),
            rollbacks: counted(Counted::Rollbacks),
            metas: counted(Counted::Metas),
            starts: match &record.class {
                RecordClass::TurnStarted { turn: Some(turn) } => Starts::of(turn),
                _ => Starts::default(),
            },
        }
    }

    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            user_messages: self.user_messages + other.user_messages,
            fork_turns: self.fork_turns + other.fork_turns,
            rollbacks: self.rollbacks + other.rollbacks,
            metas: self.metas + other.metas,
            starts: self.starts.plus(other.starts),
        }
    }

    pub(super) fn count(&self, what: Counted) -> u64 {
        match what {
            Counted::UserMessages => self.user_messages,
            Counted::ForkTurns => self.fork_turns,
            Counted::Rollbacks => self.rollbacks,
            Counted::Metas => self.metas,
        }
    }

    pub(super) fn sum<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        records.into_iter().fold(Self::default(), |sum, record| sum.plus(Self::of(record)))
    }
}

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
        Self { records: self.records[..count].to_vec() }
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
struct Node {
    summary: Summary,
    /// The turns that start below it; only of full nodes of the lower levels.
    starts: Option<Arc<ManyStarts>>,
    children: Children,
}

#[derive(Debug, Clone)]
enum Children {
    Segments(Vec<Leaf>),
    Nodes(Vec<Arc<Node>>),
}

/// A full segment, and what is asked of many segments without a look into them.
#[derive(Debug, Clone)]
struct Leaf {
    summary: Summary,
    segment: Arc<Segment>,
}

impl Node {
    fn leaf() -> Self {
        Self::with(Summary::default(), Children::Segments(Vec::new()))
    }

    fn branch(nodes: Vec<Arc<Self>>) -> Self {
        let summary = nodes.iter().fold(Summary::default(), |sum, node| sum.plus(node.summary));
        Self::with(summary, Children::Nodes(nodes))
    }

    fn with(summary: Summary, children: Children) -> Self {
        Self { summary, starts: None, children }
    }

    /// Notes the turns that start below it, once nothing is added any more.
    fn seal(&mut self) {
        let mut turns = Vec::new();
        self.each_record(&mut |record| {
            if let RecordClass::TurnStarted { turn: Some(turn) } = &record.class {
                turns.push(TurnHash::of(turn));
            }
        });
        self.starts = Some(Arc::new(ManyStarts::of(&turns)));
    }

    fn each_record(&self, look: &mut impl FnMut(&Record)) {
        match &self.children {
            Children::Nodes(nodes) => nodes.iter().for_each(|node| node.each_record(look)),
            Children::Segments(leaves) => {
                leaves.iter().flat_map(|leaf| leaf.segment.records()).for_each(look);
            }
        }
    }
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
            match &node.children {
                Children::Nodes(nodes) => {
                    node = nodes.get(slot(at, level))?;
                    level -= 1;
                }
                Children::Segments(segments) => {
                    return segments.get(slot(at, 0)).map(|leaf| &leaf.segment);
                }
            }
        }
    }

    pub(super) fn summary(&self) -> Summary {
        self.root.as_deref().map_or_else(Summary::default, |root| root.summary)
    }

    /// The segment with counted record number `nth` (from 0), and how many come before the segment.
    pub(super) fn find_nth(&self, what: Counted, nth: u64) -> Option<(usize, u64)> {
        let mut node = self.root.as_deref()?;
        let (mut level, mut segment, mut before) = (self.height, 0, 0);
        loop {
            let (slot, counted) = match &node.children {
                Children::Nodes(nodes) => {
                    let counts = nodes.iter().map(|node| node.summary.count(what));
                    let (slot, counted) = find(counts, nth - before)?;
                    node = &nodes[slot];
                    (slot, counted)
                }
                Children::Segments(leaves) => {
                    let counts = leaves.iter().map(|leaf| leaf.summary.count(what));
                    let (slot, counted) = find(counts, nth - before)?;
                    return Some((segment + slot, before + counted));
                }
            };
            before += counted;
            segment += slot << (FAN_OUT_BITS * level);
            level -= 1;
        }
    }

    /// How many counted records the first `segments` segments have.
    pub(super) fn count_before(&self, what: Counted, segments: usize) -> u64 {
        if segments >= self.len {
            return self.summary().count(what);
        }
        let mut before = 0;
        let (mut node, mut level) = (self.root.as_deref(), self.height);
        while let Some(inner) = node {
            let slot = slot(segments, level);
            match &inner.children {
                Children::Nodes(nodes) => {
                    before +=
                        nodes[..slot].iter().map(|node| node.summary.count(what)).sum::<u64>();
                    node = nodes.get(slot).map(|node| &**node);
                    level -= 1;
                }
                Children::Segments(leaves) => {
                    let counts = leaves[..slot].iter().map(|leaf| leaf.summary.count(what));
                    return before + counts.sum::<u64>();
                }
            }
        }
        before
    }

    /// Asks the segments in which this turn may start, newest first, until one answers.
    pub(super) fn find_start<T>(
        &self,
        turn: TurnHash,
        mut ask: impl FnMut(&Segment) -> Option<T>,
    ) -> Option<T> {
        self.root.as_deref().and_then(|root| find_start(root, turn, &mut ask))
    }

    pub(super) fn push(&mut self, segment: Arc<Segment>) {
        if self.len == capacity(self.height)
            && let Some(root) = self.root.take()
        {
            self.root = Some(Arc::new(Node::branch(vec![root])));
            self.height += 1;
        }
        let root = self.root.get_or_insert_with(|| Arc::new(Node::leaf()));
        let summary = Summary::sum(segment.records());
        push_under(root, self.height, self.len, segment, summary);
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
                Some(Node { children: Children::Nodes(nodes), .. }) => nodes.first().cloned(),
                _ => root,
            };
            height -= 1;
        }
        Self { root: root.map(|root| cut_after(&root, height, last)), len, height }
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
                low = middle + 1;
            } else {
                high = middle;
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

/// The place of item `nth` among stretches with these counts, and how many come before the place.
fn find(counts: impl Iterator<Item = u64>, nth: u64) -> Option<(usize, u64)> {
    let mut before = 0;
    for (place, count) in counts.enumerate() {
        if nth < before + count {
            return Some((place, before));
        }
        before += count;
    }
    None
}

fn push_under(
    node: &mut Arc<Node>,
    level: u32,
    at: usize,
    segment: Arc<Segment>,
    summary: Summary,
) {
    let node = Arc::make_mut(node);
    node.summary = node.summary.plus(summary);
    match &mut node.children {
        Children::Segments(leaves) => leaves.push(Leaf { summary, segment }),
        Children::Nodes(nodes) => {
            let slot = slot(at, level);
            if slot == nodes.len() {
                let empty = if level == 1 { Node::leaf() } else { Node::branch(Vec::new()) };
                nodes.push(Arc::new(empty));
            }
            push_under(&mut nodes[slot], level - 1, at, segment, summary);
        }
    }
    if level < SEALED_LEVELS && (at + 1).is_multiple_of(capacity(level)) {
        node.seal();
    }
}

fn cut_after(node: &Arc<Node>, level: u32, last: usize) -> Arc<Node> {
    let slot = slot(last, level);
    Arc::new(match &node.children {
        Children::Segments(leaves) => {
            let kept = leaves[..=slot].to_vec();
            let counts = kept.iter().map(|leaf| leaf.summary);
            let summary = counts.fold(Summary::default(), Summary::plus);
            Node::with(summary, Children::Segments(kept))
        }
        Children::Nodes(nodes) => {
            let mut kept = nodes[..=slot].to_vec();
            if let Some(way) = kept.last_mut() {
                *way = cut_after(way, level - 1, last);
            }
            Node::branch(kept)
        }
    })
}

fn find_start<T>(
    node: &Node,
    turn: TurnHash,
    ask: &mut impl FnMut(&Segment) -> Option<T>,
) -> Option<T> {
    if node.starts.as_ref().is_some_and(|starts| !starts.may_have(turn)) {
        return None;
    }
    match &node.children {
        Children::Nodes(nodes) => nodes.iter().rev().find_map(|node| find_start(node, turn, ask)),
        Children::Segments(leaves) => leaves
            .iter()
            .rev()
            .filter(|leaf| leaf.summary.starts.may_have(turn))
            .find_map(|leaf| ask(&leaf.segment)),
    }
}

#[cfg(test)]
mod tests {
    use coppicer_messages::{NewRecord, Seq, TurnRef};
    use proptest::prelude::*;

    use super::super::History;
    use super::*;

    /// A record of one of a few classes; `number` picks which, and the id of a turn.
    fn record(number: u16) -> NewRecord {
        let turn = || Some(TurnRef::from((number / 8).to_string()));
        let class = match number % 8 {
            0 => RecordClass::UserMessage,
            1 => RecordClass::Envelope { trigger: number.is_multiple_of(3) },
            2 => RecordClass::RolledBack { turns: 0 },
            3 => RecordClass::Meta,
            4 => RecordClass::TurnStarted { turn: turn() },
            5 => RecordClass::TurnStarted { turn: None },
            _ => RecordClass::Other,
        };
        NewRecord { at_ms: 0, class, raw: (*b"").into() }
    }

    #[test]
    fn the_start_of_a_turn_is_found_through_every_level() {
        let start = |number: u64| NewRecord {
            at_ms: 0,
            class: RecordClass::TurnStarted { turn: Some(number.to_string().into()) },
            raw: (*b"").into(),
        };
        let whole: History = (0..140_000).map(|n| start(n / 10 * (n % 10))).collect();
        for cut in [140_000, 131_072, 131_071, 65_537, 65_536, 2_048, 70] {
            let history = whole.prefix(cut);
            for number in (0..cut - 1).step_by(1_999) {
                let turn = (number / 10 * (number % 10)).to_string();
                let is_start = |class: &RecordClass| matches!(class, RecordClass::TurnStarted { turn: Some(id) } if **id == *turn);
                let newest = history.iter().rev().find(|record| is_start(&record.class));
                assert_eq!(
                    history.start_of(&turn),
                    newest.map(|record| record.seq),
                    "{turn} in {cut}"
                );
            }
            assert_eq!(history.start_of("none"), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 60,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        // More than 2,048 records are more than one node, so that the walks go down levels.
        #[test]
        fn what_the_tree_finds_is_what_a_look_at_every_record_finds(
            numbers in prop::collection::vec(0u16..4_000, 0..7_000), cut in any::<prop::sample::Index>()
        ) {
            let whole: History = numbers.iter().map(|&number| record(number)).collect();
            for history in [whole.prefix(cut.index(numbers.len() + 1) as u64), whole] {
                for what in [
                    Counted::UserMessages, Counted::ForkTurns, Counted::Rollbacks, Counted::Metas,
                ] {
                    let places: Vec<Seq> = history
                        .iter()
                        .filter(|record| what.has(&record.class))
                        .map(|record| record.seq)
                        .collect();
                    prop_assert_eq!(history.count(what), places.len() as u64);
                    for nth in (0..places.len() + 2).step_by(7) {
                        prop_assert_eq!(history.nth(what, nth as u64), places.get(nth).copied());
                    }
                    for at in (0..history.len() + 2).step_by(61) {
                        let before = places.partition_point(|place| place.0 < at) as u64;
                        prop_assert_eq!(history.count_before(what, Seq(at)), before);
                    }
                }
                let newest = |class: &dyn Fn(&RecordClass) -> bool| {
                    history.iter().rev().find(|record| class(&record.class)).map(|record| record.seq)
                };
                for number in (0..520u16).step_by(5) {
                    let turn = TurnRef::from(number.to_string());
                    let is_start = |class: &RecordClass| {
                        *class == RecordClass::TurnStarted { turn: Some(turn.clone()) }
                    };
                    prop_assert_eq!(history.start_of(&turn), newest(&is_start), "{}", turn);
                }
                let meta = newest(&|class| *class == RecordClass::Meta);
                prop_assert_eq!(history.own_meta().map(|record| record.seq), meta);
            }
        }
    }
}
