//! Where a turn may start: sets of turns that say no for sure, and yes in doubt.

/// Bits that stand for a turn in a set. With 16 bits of room for each turn, one set in two hundred
/// says yes to a turn that it does not have.
const BITS: usize = 3;

/// A turn's id, as the sets know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct TurnHash(u64);

impl TurnHash {
    pub(super) fn of(turn: &str) -> Self {
        // FNV-1a with a last mix: ids are short, and nothing here may depend on a random seed.
        let hash = turn.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        Self(hash ^ (hash >> 33))
    }

    /// The turn's bits in a set of `size` bits, a power of two.
    fn bits(self, size: usize) -> [usize; BITS] {
        [0, 21, 42].map(|turn| self.0.rotate_right(turn) as usize & (size - 1))
    }
}

/// The turns that start in one segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Starts(u128);

impl Starts {
    pub(super) fn of(turn: &str) -> Self {
        Self(Self::mask(TurnHash::of(turn)))
    }

    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn may_have(self, turn: TurnHash) -> bool {
        let mask = Self::mask(turn);
        self.0 & mask == mask
    }

    fn mask(turn: TurnHash) -> u128 {
        turn.bits(128).iter().fold(0, |mask, bit| mask | 1 << bit)
    }
}

/// The turns that start in many segments.
#[derive(Debug)]
pub(super) struct ManyStarts {
    words: Box<[u64]>,
}

impl ManyStarts {
    pub(super) fn of(turns: &[TurnHash]) -> Self {
        let size = (turns.len() * 16).next_power_of_two().max(64);
        let mut words = vec![0; size / 64];
        for turn in turns {
            for bit in turn.bits(size) {
                words[bit / 64] |= 1 << (bit % 64);
            }
        }
        Self { words: words.into() }
    }

    pub(super) fn may_have(&self, turn: TurnHash) -> bool {
        let bits = turn.bits(self.words.len() * 64);
        bits.iter().all(|bit| self.words[bit / 64] & (1 << (bit % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_says_yes_to_what_it_has_and_seldom_to_anything_else() {
        let hash =
            |number: usize| TurnHash::of(&format!("01a2032d-{number:04x}-7f71-90e6-f594d47c43d9"));
        for count in [0, 1, 7, 200, 6_000] {
            let turns: Vec<_> = (0..count).map(hash).collect();
            let many = ManyStarts::of(&turns);
            assert!(turns.iter().all(|&turn| many.may_have(turn)));
            let wrong = (10_000..20_000).filter(|&number| many.may_have(hash(number))).count();
            assert!(wrong < 150, "{count}: {wrong} of 10,000");
        }
        let few = Starts::of("a").plus(Starts::of("b"));
        assert!(few.may_have(TurnHash::of("a")) && few.may_have(TurnHash::of("b")));
        let wrong = (0..10_000).filter(|&number| few.may_have(hash(number))).count();
        assert!(wrong < 20, "{wrong} of 10,000");
    }
}
