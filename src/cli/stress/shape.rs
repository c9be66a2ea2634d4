//! Shapes of trees, and which of their threads misbehave. Pure.

use std::fmt;

/// How a tree is shaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Shape {
    /// A root, and all others below it.
    Flat,
    /// Ten levels below the root, each a steady factor wider than the one above.
    Deep,
    /// Each thread below the one before.
    Chain,
}

/// Levels below the root of a deep tree.
const DEEP: i32 = 10;

/// Most threads of a chain: a tree may be 1,024 deep.
const CHAIN_MAX: usize = 1_000;

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flat => "flat",
            Self::Deep => "deep",
            Self::Chain => "chain",
        })
    }
}

impl Shape {
    /// How many of `threads` a tree of this shape has.
    pub(super) fn threads(self, threads: usize) -> usize {
        match self {
            Self::Flat | Self::Deep => threads,
            Self::Chain => threads.min(CHAIN_MAX),
        }
    }

    /// The parent of each thread, by its place: level by level, the root first.
    pub(super) fn parents(self, threads: usize) -> Vec<Option<usize>> {
        let threads = self.threads(threads);
        match self {
            Self::Flat => (0..threads).map(|n| (n > 0).then_some(0)).collect(),
            Self::Chain => (0..threads).map(|n| n.checked_sub(1)).collect(),
            Self::Deep => deep(threads),
        }
    }
}

/// Level k has about factor^k threads, and all of them `threads`.
fn deep(threads: usize) -> Vec<Option<usize>> {
    let count = |factor: f64| (0..=DEEP).map(|k| factor.powi(k)).sum::<f64>();
    let (mut low, mut high) = (1.0, threads.max(2) as f64);
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if count(middle) < threads as f64 { low = middle } else { high = middle }
    }
    let mut parents = Vec::with_capacity(threads);
    let mut above = 0..0;
    for level in 0..=DEEP {
        let begins = parents.len();
        let rest = threads - begins;
        #[expect(clippy::cast_sign_loss, reason = "a power of a positive number")]
        let wide = (low.powi(level).round() as usize).max(1);
        let wide = if level == DEEP { rest } else { wide.min(rest) };
        parents
            .extend((0..wide).map(|n| (level > 0).then(|| above.start + n * above.len() / wide)));
        if wide > 0 {
            above = begins..begins + wide;
        }
    }
    parents
}

/// How a thread of a tree behaves when it is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Nothing runs in it.
    Idle,
    /// Its turn ends when it is told to.
    Obeys,
    /// Its turn does not listen, and lets others run.
    Deaf,
    /// Its turn holds its OS thread.
    Blocks,
}

/// The manners of `threads`: so many per cent of them wedged, every other one deaf and the others
/// blocking, so many per cent obeying; spread evenly. The root is idle.
pub(super) fn manners(threads: usize, wedged: f64, obeying: f64) -> Vec<Manner> {
    let mut manners = vec![Manner::Idle; threads];
    let count = |percent: f64| {
        #[expect(clippy::cast_sign_loss, reason = "a share is not negative")]
        let count = (threads as f64 * percent / 100.0).round() as usize;
        count.min(threads.saturating_sub(1))
    };
    let wedged = count(wedged);
    for n in 0..wedged {
        let place = 1 + n * (threads - 1) / wedged;
        manners[place] = if n % 2 == 0 { Manner::Deaf } else { Manner::Blocks };
    }
    let idle: Vec<usize> = (1..threads).filter(|&n| manners[n] == Manner::Idle).collect();
    let obeying = count(obeying).min(idle.len());
    for n in 0..obeying {
        let place = n * idle.len() / obeying;
        manners[idle[place]] = Manner::Obeys;
    }
    manners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depths(parents: &[Option<usize>]) -> Vec<usize> {
        let mut depths: Vec<usize> = Vec::new();
        for (place, parent) in parents.iter().enumerate() {
            assert!(parent.is_none_or(|parent| parent < place), "parents come first");
            depths.push(parent.map_or(0, |parent| depths[parent] + 1));
        }
        depths
    }

    #[test]
    fn each_shape_has_one_root_and_its_depth() {
        for (shape, threads, expected, deepest) in [
            (Shape::Flat, 10_000, 10_000, 1),
            (Shape::Deep, 10_000, 10_000, 10),
            (Shape::Deep, 11, 11, 10),
            (Shape::Chain, 10_000, 1_000, 999),
            (Shape::Chain, 7, 7, 6),
            (Shape::Flat, 1, 1, 0),
        ] {
            let parents = shape.parents(threads);
            assert_eq!(parents.len(), expected, "{shape}");
            assert_eq!(parents.iter().filter(|parent| parent.is_none()).count(), 1, "{shape}");
            assert_eq!(depths(&parents).into_iter().max(), Some(deepest), "{shape} of {threads}");
        }
    }

    #[test]
    fn a_deep_tree_widens_by_a_steady_factor() {
        let depths = depths(&Shape::Deep.parents(10_000));
        let wide = |level| depths.iter().filter(|&&depth| depth == level).count() as f64;
        for level in 3..10 {
            let factor = wide(level + 1) / wide(level);
            assert!((2.0..2.7).contains(&factor), "level {level}: {factor}");
        }
    }

    #[test]
    fn the_wedged_are_as_many_as_asked_half_of_them_blocking_and_the_root_is_idle() {
        for (threads, wedged, obeying) in [
            (10_000, 10.0, 1.0),
            (1_000, 1.0, 1.0),
            (10, 50.0, 50.0),
            (10_000, 0.0, 0.0),
            (1, 9.0, 9.0),
        ] {
            let manners = manners(threads, wedged, obeying);
            let count = |manner| manners.iter().filter(|&&is| is == manner).count();
            #[expect(clippy::cast_sign_loss, reason = "a share is not negative")]
            let asked = (threads as f64 * wedged / 100.0).round() as usize;
            let asked = asked.min(threads - 1);
            assert_eq!(count(Manner::Deaf) + count(Manner::Blocks), asked, "{threads}, {wedged}");
            assert_eq!(count(Manner::Blocks), asked / 2);
            assert_eq!(manners[0], Manner::Idle);
        }
    }
}
