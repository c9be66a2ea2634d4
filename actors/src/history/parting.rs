//! Where two histories part.

use std::sync::Arc;

use coppicer_messages::{Record, RecordClass, Seq};

use super::History;
use super::replay::line_of;
use super::tree::Counted;

/// Where two histories part.
///
/// Session metas are left out of the comparison: each thread has its own. So are the time and the
/// number of a line, which a copy may have anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parting {
    /// How many records at the front are the same in memory: these were not compared.
    pub shared: u64,
    /// How many records they have in common, session metas not counted.
    pub common: u64,
    /// The first record of the one that the other does not have there; the end if it has them all.
    pub left: Seq,
    /// The same of the other.
    pub right: Seq,
}

impl Parting {
    /// Finds where `left` and `right` part: what they share in memory first, then what has the same
    /// content. Costs a pass over what they have in common but do not share.
    pub fn of(left: &History, right: &History) -> Self {
        let shared = left.shared_prefix(right);
        let own = |record: &&Record| record.class != RecordClass::Meta;
        let (at, other) = (left.seq_at(shared), right.seq_at(shared));
        let common = shared - left.count_before(Counted::Metas, at);
        let mut parting = Self { shared, common, left: at, right: other };
        let mut lefts = left.iter_from(parting.left).filter(own);
        let mut rights = right.iter_from(parting.right).filter(own);
        loop {
            let (next, other) = (lefts.next(), rights.next());
            parting.left = next.map_or(left.next_seq(), |record| record.seq);
            parting.right = other.map_or(right.next_seq(), |record| record.seq);
            match (next, other) {
                (Some(next), Some(other)) if is_same(next, other) => parting.common += 1,
                _ => return parting,
            }
        }
    }
}

fn is_same(left: &Record, right: &Record) -> bool {
    Arc::ptr_eq(&left.raw, &right.raw)
        || left.raw == right.raw
        || (left.class == right.class
            && match (line_of(&left.raw), line_of(&right.raw)) {
                (Some(left), Some(right)) => left == right,
                _ => false,
            })
}
