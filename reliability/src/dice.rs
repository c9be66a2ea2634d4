//! Choices that a seed decides.

/// A small generator (`SplitMix64`): the same seed gives the same choices everywhere.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Choices of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Choices of a part of what `seed` decides, named by numbers.
    pub fn of(seed: u64, part: &[u64]) -> Self {
        part.iter().fold(Self(seed), |dice, &number| {
            let mut dice = Self(dice.0 ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
            Self(dice.draw())
        })
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.draw() % end }
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `options`.
    ///
    /// # Panics
    /// There are none.
    pub fn pick<'o, T>(&mut self, options: &'o [T]) -> &'o T {
        &options[self.below(options.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_choices_and_another_part_gives_others() {
        let of = |part: &[u64]| {
            let mut dice = Dice::of(7, part);
            [dice.draw(), dice.draw()]
        };
        assert_eq!(of(&[1, 2]), of(&[1, 2]));
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
    }
}
