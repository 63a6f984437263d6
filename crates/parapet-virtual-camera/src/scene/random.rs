//! Numbers drawn from a seed: the same seed gives the same scene on every machine.
//!
//! `SplitMix64` (Steele, Lea, Flood 2014): a counter and a mix, no state worth guarding. Not for
//! secrets.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed ^ 0x9e37_79b9_7f4a_7c15);
        random.next();
        random
    }

    /// A stream of its own for a part, so that adding one part does not change another.
    pub(crate) fn branch(&self, part: u64) -> Self {
        Self::new(self.0 ^ part.wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly between two numbers.
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// One of a slice that is not empty.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.next() % choices.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_its_branches_differ() {
        let draw = |mut random: Random| (0..8).map(|_| random.next()).collect::<Vec<_>>();
        assert_eq!(draw(Random::new(7)), draw(Random::new(7)));
        assert_ne!(draw(Random::new(7)), draw(Random::new(8)));
        assert_ne!(
            draw(Random::new(7).branch(1)),
            draw(Random::new(7).branch(2))
        );
    }

    #[test]
    fn a_number_between_two_stays_between_them() {
        let mut random = Random::new(1);
        for _ in 0..1000 {
            let value = random.between(-2.0, 3.0);
            assert!((-2.0..3.0).contains(&value), "{value}");
        }
    }
}
