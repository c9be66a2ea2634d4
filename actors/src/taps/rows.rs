//! Rows that are copied on write: an image of all of them is taken in a moment, and shares them.

use std::sync::Arc;

use coppicer_messages::ThreadId;

use super::TreeRow;
use crate::lineage::Lineage;

/// Rows per chunk. An image costs a pointer for each chunk, the first write into a chunk after it
/// this many pointers more.
const CHUNK: usize = 64;

/// A row, and what is above its thread.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) row: Arc<TreeRow>,
    pub(super) lineage: Lineage,
}

type Chunk = Vec<Option<Entry>>;

/// Rows by their place.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    chunks: Vec<Arc<Chunk>>,
    free: Vec<u32>,
    end: u32,
}

/// All rows as they were at one moment.
#[derive(Debug)]
pub(super) struct Image(Vec<Arc<Chunk>>);

impl Rows {
    pub(super) fn get(&self, place: u32) -> Option<&Entry> {
        let (chunk, at) = split(place);
        self.chunks.get(chunk)?.get(at)?.as_ref()
    }

    /// Whether the row at a place is that of a thread.
    pub(super) fn is_of(&self, place: u32, thread: ThreadId) -> bool {
        self.get(place).is_some_and(|entry| entry.row.thread == thread)
    }

    /// The row, to be changed. Images keep the one that they have.
    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut TreeRow> {
        let (chunk, at) = split(place);
        let entry = Arc::make_mut(self.chunks.get_mut(chunk)?).get_mut(at)?.as_mut()?;
        Some(Arc::make_mut(&mut entry.row))
    }

    /// Says what is above the thread of a row.
    pub(super) fn set_lineage(&mut self, place: u32, lineage: Lineage) {
        let (chunk, at) = split(place);
        let chunk = self.chunks.get_mut(chunk).map(Arc::make_mut);
        if let Some(entry) = chunk.and_then(|chunk| chunk.get_mut(at)?.as_mut()) {
            entry.lineage = lineage;
        }
    }

    pub(super) fn insert(&mut self, entry: Entry) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.end += 1;
            self.end - 1
        });
        let (chunk, at) = split(place);
        if chunk == self.chunks.len() {
            self.chunks.push(Arc::new(Vec::with_capacity(CHUNK)));
        }
        let chunk = Arc::make_mut(&mut self.chunks[chunk]);
        if at == chunk.len() {
            chunk.push(Some(entry));
        } else {
            chunk[at] = Some(entry);
        }
        place
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<Entry> {
        let (chunk, at) = split(place);
        let entry = Arc::make_mut(self.chunks.get_mut(chunk)?).get_mut(at)?.take()?;
        self.free.push(place);
        if self.free.len() == self.end as usize {
            *self = Self::default(); // the last one
        }
        Some(entry)
    }

    pub(super) fn image(&self) -> Image {
        Image(self.chunks.clone())
    }
}

impl Image {
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().flat_map(|chunk| chunk.iter().flatten())
    }
}

const fn split(place: u32) -> (usize, usize) {
    (place as usize / CHUNK, place as usize % CHUNK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(n: u64) -> Entry {
        let row = TreeRow::of(ThreadId::from_parts(n, [0; 10]));
        Entry { row: Arc::new(row), lineage: Lineage::default() }
    }

    fn turns(image: &Image) -> Vec<u32> {
        let mut turns: Vec<u32> = image.entries().map(|entry| entry.row.turns).collect();
        turns.sort_unstable();
        turns
    }

    proptest! {
        /// Rows against a plain map, with an image kept at every step of some.
        #[test]
        fn an_image_stays_as_it_was(steps in prop::collection::vec((0..4_u8, any::<u32>()), 1..400)) {
            let mut rows = Rows::default();
            let mut model = std::collections::BTreeMap::new();
            let mut images = Vec::new();
            for (n, (step, pick)) in steps.into_iter().enumerate() {
                let picked = model.keys().nth(pick as usize % model.len().max(1)).copied();
                match (step, picked) {
                    (0 | 1, _) => {
                        let place = rows.insert(entry(n as u64));
                        prop_assert_eq!(model.insert(place, 0), None, "a place is given once");
                    }
                    (2, Some(place)) => {
                        rows.get_mut(place).unwrap().turns = n as u32;
                        model.insert(place, n as u32);
                    }
                    (_, Some(place)) => {
                        prop_assert_eq!(rows.remove(place).unwrap().row.turns, model.remove(&place).unwrap());
                        prop_assert!(rows.get(place).is_none() && rows.remove(place).is_none());
                    }
                    (_, None) => {}
                }
                if n % 7 == 0 {
                    let mut expected: Vec<u32> = model.values().copied().collect();
                    expected.sort_unstable();
                    images.push((rows.image(), expected));
                }
            }
            for (image, expected) in &images {
                prop_assert_eq!(&turns(image), expected);
            }
        }
    }
}
